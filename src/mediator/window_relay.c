// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A relay owns a window and one socket to the backend; the bell is its caller's.
 *
 *   WAITING --connected, window offered--> CONNECTED --end of the socket--> WAITING
 *
 * While WAITING the next attempt is armed; what the guest rings is taken and dropped, since every life of
 * a host begins with a look at its guest. When the socket ends the backend can no longer write: it has
 * unmapped the window, or is dead. Only then GONE is stored in its section, in its name, and the guest rung;
 * then the next backend is connected. So GONE never hits the life of a successor.
 *
 * Events are merged, never lost: an event that finds its way full goes to somebody who has one to take.
 * Nothing here waits: packets go with MSG_DONTWAIT, bells are non-blocking. A bell is shared with its guest's
 * VMM, which can make it blocking, drain it or fill it; that would stop this relay, which serves nobody else,
 * and is why a backend never gets it.
 *
 * A backend has the window's file. It can add no seals to it, and what it punches out of it is allocated again
 * before the next one is offered it: what it does ends with it.
 *
 * A backend can send packets without end, which costs VHX_WINDOW_RELAY_BATCH per event and rings its own
 * guest; one that leaves as soon as it came is connected once a second.
 */
#include "mediator/window_relay.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange/ivshmem.h"
#include "exchange/section.h"
#include "util/unix_socket.h"

struct vhx_window_relay {
	struct vhx_window_relay_config cfg;
	int window;
	struct vhx_section_header *host; /* its section's header, for one word */
	struct vhx_loop_fd backend; /* fd -1: WAITING */
	struct vhx_loop_fd bell;
	struct vhx_loop_timer retry;
	uint64_t retry_ns;
	uint64_t connected_ns; /* when it was */
	struct vhx_log_limit lines;
	bool said_waiting;
};

#define relay_log(r, level, ...) \
	vhx_log_limited((r)->cfg.log, &(r)->lines, vhx_loop_now((r)->cfg.loop), level, __VA_ARGS__)

static void guest_ring(struct vhx_window_relay *r)
{
	const uint64_t one = 1;

	/* A full one says enough. */
	if (write(r->cfg.bell.out, &one, sizeof(one)) == sizeof(one))
		r->cfg.stats->wakes_to_guest++;
}

static void retry_arm(struct vhx_window_relay *r)
{
	vhx_loop_timer_arm(r->cfg.loop, &r->retry, r->retry_ns);
	r->retry_ns = vhx_min_u64(2 * r->retry_ns, VHX_WINDOW_RELAY_RETRY_MAX_NS);
}

static void backend_lost(struct vhx_window_relay *r)
{
	uint64_t lived = vhx_loop_now(r->cfg.loop) - r->connected_ns;

	vhx_loop_fd_del(r->cfg.loop, &r->backend);
	close(r->backend.fd);
	r->backend.fd = -1;
	/* Release: pairs with the guest's acquire when it looks at its peer. */
	vhx_word_store_release(&r->host->state, VHX_WINDOW_GONE);
	guest_ring(r);
	relay_log(r, VHX_LOG_INFO, "backend: left");
	if (lived >= VHX_WINDOW_RELAY_RETRY_MAX_NS)
		r->retry_ns = VHX_WINDOW_RELAY_RETRY_MIN_NS;
	retry_arm(r);
}

static void backend_wake(struct vhx_window_relay *r)
{
	static const char wake;

	if (r->backend.fd < 0)
		return;
	if (send(r->backend.fd, &wake, sizeof(wake), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(wake))
		r->cfg.stats->wakes_to_backend++;
	else if (errno != EAGAIN && errno != EINTR)
		backend_lost(r);
}

static void bell_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_window_relay *r = vhx_container_of(w, struct vhx_window_relay, bell);
	uint64_t rung;
	ssize_t n = read(w->fd, &rung, sizeof(rung));

	if (n == sizeof(rung)) {
		backend_wake(r);
	} else if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
		/* Not an event any more; whoever owns it finds that out by itself. */
		relay_log(r, VHX_LOG_WARNING, "guest: its bell is broken");
		vhx_loop_fd_del(r->cfg.loop, w);
	}
}

static void backend_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_window_relay *r = vhx_container_of(w, struct vhx_window_relay, backend);
	bool rung = false;
	ssize_t n = 1;
	char byte;
	uint32_t i;

	for (i = 0; n > 0 && i < VHX_WINDOW_RELAY_BATCH; i++) {
		n = recv(w->fd, &byte, sizeof(byte), MSG_DONTWAIT);
		rung |= n > 0;
	}
	if (rung)
		guest_ring(r);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		backend_lost(r);
}

/* A connected socket on which the window has been offered, or -errno. */
static int backend_meet(struct vhx_window_relay *r)
{
	int sock = vhx_unix_connect(r->cfg.backend, SOCK_SEQPACKET, NULL);
	int ret;

	if (sock < 0)
		return sock;
	ret = vhx_ivshmem_window_refill(r->window, r->cfg.size);
	if (!ret)
		ret = vhx_ivshmem_window_offer(sock, r->window, r->cfg.size);
	if (!ret) {
		r->backend.fd = sock;
		ret = vhx_loop_fd_add(r->cfg.loop, &r->backend);
	}
	if (!ret)
		return sock;
	r->backend.fd = -1;
	close(sock);
	return ret;
}

static void connect_try(struct vhx_loop_timer *t)
{
	struct vhx_window_relay *r = vhx_container_of(t, struct vhx_window_relay, retry);
	int ret = backend_meet(r);

	if (ret >= 0) {
		r->said_waiting = false;
		r->connected_ns = vhx_loop_now(r->cfg.loop);
		r->cfg.stats->connects++;
		relay_log(r, VHX_LOG_INFO, "backend: connected to %s", r->cfg.backend);
		return;
	}
	if (!r->said_waiting)
		relay_log(r, VHX_LOG_NOTICE, "backend: waiting for %s: %s", r->cfg.backend,
			  strerror(-ret));
	r->said_waiting = true;
	retry_arm(r);
}

static int window_make(struct vhx_window_relay *r)
{
	int err;

	r->window = vhx_ivshmem_window_create(r->cfg.size);
	if (r->window < 0)
		return r->window;
	r->host = mmap(NULL, sizeof(*r->host), PROT_READ | PROT_WRITE, MAP_SHARED, r->window, 0);
	if (r->host != MAP_FAILED)
		return 0;
	err = -errno;
	close(r->window);
	return err;
}

static void window_drop(struct vhx_window_relay *r)
{
	munmap(r->host, sizeof(*r->host));
	close(r->window);
}

int vhx_window_relay_new(const struct vhx_window_relay_config *cfg, struct vhx_window_relay **relay)
{
	struct vhx_window_relay *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->cfg = *cfg;
	r->retry_ns = VHX_WINDOW_RELAY_RETRY_MIN_NS;
	r->retry.expired = connect_try;
	vhx_list_init(&r->retry.node);
	r->backend = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = backend_ready };
	r->bell =
		(struct vhx_loop_fd){ .fd = cfg->bell.in, .events = EPOLLIN, .ready = bell_ready };
	ret = window_make(r);
	if (ret)
		goto free_relay;
	ret = vhx_loop_fd_add(cfg->loop, &r->bell);
	if (ret)
		goto drop_window;
	connect_try(&r->retry);
	*relay = r;
	return 0;

drop_window:
	window_drop(r);
free_relay:
	free(r);
	return ret;
}

void vhx_window_relay_free(struct vhx_window_relay *r)
{
	if (!r)
		return;
	vhx_loop_timer_cancel(r->cfg.loop, &r->retry);
	vhx_loop_fd_del(r->cfg.loop, &r->bell);
	if (r->backend.fd >= 0) {
		vhx_loop_fd_del(r->cfg.loop, &r->backend);
		close(r->backend.fd);
	}
	window_drop(r);
	free(r);
}

int vhx_window_relay_window(const struct vhx_window_relay *r)
{
	return r->window;
}

const char *vhx_window_relay_state(const struct vhx_window_relay *r)
{
	return r->backend.fd >= 0 ? "connected" : "waiting";
}
