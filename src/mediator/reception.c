// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A fixed table of guests, each a connected socket and a timer; a free place has no descriptor.
 *
 *   FREE --add--> WAITING --first packet--> handed over as a port, or refused
 *                    |-----end of file----> closed without a word
 *                    `-----time, or displaced by a newcomer--> closed
 *
 * The first packet is looked at in place, without room for descriptors; it is taken by the provider that its
 * magic names, which checks all of it. So whoever connects and says nothing, or something else, costs a
 * place in the table for VHX_RECEPTION_NS at most, and whoever comes with an offer always finds one: the
 * oldest silent connection leaves for it. All lines of the log here can be brought about at will, so all share
 * one limit.
 */
#include "mediator/reception.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "exchange/ivshmem.h"
#include "exchange/local.h"
#include "exchange/offer.h"

struct arrival {
	struct vhx_reception *reception;
	struct vhx_loop_fd watch; /* fd -1: free */
	struct vhx_loop_timer timer;
};

struct vhx_reception {
	struct vhx_reception_config cfg;
	struct arrival arrivals[VHX_RECEPTION_MAX];
	struct vhx_reception_stats stats;
	struct vhx_log_limit lines;
};

#define reception_log(r, level, ...) \
	vhx_log_limited((r)->cfg.log, &(r)->lines, vhx_loop_now((r)->cfg.loop), level, __VA_ARGS__)

/* Both take the socket over, also when they fail. */
static int section_open(struct vhx_reception *r, int sock, struct vhx_port **port)
{
	return vhx_local_open(sock, r->cfg.ring_len, port);
}

static int window_open(struct vhx_reception *r, int sock, struct vhx_port **port)
{
	return vhx_ivshmem_accept(sock, port);
}

static const struct {
	uint32_t magic;
	int (*open)(struct vhx_reception *r, int sock, struct vhx_port **port);
} kinds[] = {
	{ VHX_OFFER_SECTION, section_open },
	{ VHX_OFFER_WINDOW, window_open },
};

/* Takes @sock over. */
static int port_open(struct vhx_reception *r, int sock, uint32_t magic, struct vhx_port **port)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(kinds); i++) {
		if (kinds[i].magic == magic)
			return kinds[i].open(r, sock, port);
	}
	close(sock);
	return -EPROTO;
}

static void refuse(struct vhx_reception *r, int reason)
{
	r->stats.refused++;
	reception_log(r, VHX_LOG_WARNING, "channel: refused: %s",
		      reason == -EPROTO ? "its first packet offers nothing that we know"
					: strerror(-reason));
}

/* The first packet is there (@magic), or never comes (@ret). Takes @sock over. */
static void receive(struct vhx_reception *r, int sock, int ret, uint32_t magic)
{
	struct vhx_port *port = NULL;

	if (ret)
		close(sock);
	else
		ret = port_open(r, sock, magic, &port);
	if (!ret) {
		r->stats.met++;
		r->cfg.met(r->cfg.ctx, port);
	} else if (ret != -EPIPE && ret != -EAGAIN) {
		/* Those two are peers that died at this moment. */
		refuse(r, ret);
	}
}

/* Returns the socket, which stays open. */
static int arrival_remove(struct arrival *a)
{
	int sock = a->watch.fd;

	vhx_loop_fd_del(a->reception->cfg.loop, &a->watch);
	vhx_loop_timer_cancel(a->reception->cfg.loop, &a->timer);
	a->watch.fd = -1;
	return sock;
}

static void arrival_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct arrival *a = vhx_container_of(w, struct arrival, watch);
	uint32_t magic = 0;
	int ret = vhx_offer_peek(w->fd, &magic);

	if (ret != -EAGAIN)
		receive(a->reception, arrival_remove(a), ret, magic);
}

static void arrival_silent(struct arrival *a, const char *why)
{
	struct vhx_reception *r = a->reception;

	close(arrival_remove(a));
	r->stats.silent++;
	reception_log(r, VHX_LOG_INFO, "channel: a connection that says nothing was closed%s", why);
}

static void arrival_expired(struct vhx_loop_timer *t)
{
	arrival_silent(vhx_container_of(t, struct arrival, timer), "");
}

/* A free place, or the one whose time is up first. */
static struct arrival *place_find(struct vhx_reception *r)
{
	struct arrival *oldest = &r->arrivals[0];
	uint32_t i;

	for (i = 0; i < VHX_RECEPTION_MAX; i++) {
		if (r->arrivals[i].watch.fd < 0)
			return &r->arrivals[i];
		if (r->arrivals[i].timer.due_ns < oldest->timer.due_ns)
			oldest = &r->arrivals[i];
	}
	arrival_silent(oldest, ": others wait");
	return oldest;
}

void vhx_reception_add(struct vhx_reception *r, int sock)
{
	struct arrival *a;
	uint32_t magic = 0;
	int ret = vhx_offer_peek(sock, &magic);

	/* Who connects mostly offers at once. */
	if (ret != -EAGAIN) {
		receive(r, sock, ret, magic);
		return;
	}
	a = place_find(r);
	a->watch.fd = sock;
	ret = vhx_loop_fd_add(r->cfg.loop, &a->watch);
	if (ret) {
		a->watch.fd = -1;
		close(sock);
		refuse(r, ret);
		return;
	}
	vhx_loop_timer_arm(r->cfg.loop, &a->timer, VHX_RECEPTION_NS);
}

int vhx_reception_new(const struct vhx_reception_config *cfg, struct vhx_reception **reception)
{
	struct vhx_reception *r = calloc(1, sizeof(*r));
	uint32_t i;

	if (!r)
		return -ENOMEM;
	r->cfg = *cfg;
	for (i = 0; i < VHX_RECEPTION_MAX; i++) {
		struct arrival *a = &r->arrivals[i];

		a->reception = r;
		a->watch =
			(struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = arrival_ready };
		a->timer.expired = arrival_expired;
		vhx_list_init(&a->timer.node);
	}
	*reception = r;
	return 0;
}

void vhx_reception_free(struct vhx_reception *r)
{
	uint32_t i;

	if (!r)
		return;
	for (i = 0; i < VHX_RECEPTION_MAX; i++) {
		if (r->arrivals[i].watch.fd >= 0)
			close(arrival_remove(&r->arrivals[i]));
	}
	free(r);
}

uint32_t vhx_reception_waiting(const struct vhx_reception *r)
{
	uint32_t i, cnt = 0;

	for (i = 0; i < VHX_RECEPTION_MAX; i++)
		cnt += r->arrivals[i].watch.fd >= 0;
	return cnt;
}

const struct vhx_reception_stats *vhx_reception_stats(const struct vhx_reception *r)
{
	return &r->stats;
}
