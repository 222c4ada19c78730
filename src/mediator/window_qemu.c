// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A server owns a listening socket, and while a QEMU is connected that socket, a relay with its
 * window, and the eventfds: one that the guest rings us with, and one per vector that interrupts the guest.
 *
 *   IDLE --connection--> SENDING --all told--> SERVING --end of the socket--> IDLE
 *                           `-------end of the socket, or a word from QEMU------^
 *
 * The protocol goes one way: numbers of 8 bytes, signed, little-endian, each with at most one descriptor. Ours
 * are
 *
 *   0           version
 *   1           QEMU's own id
 *   -1  window
 *   0   eventfd   for each vector: how peer 1 rings us. It is the same one each time
 *   1   eventfd   for each vector: how peer 1 is interrupted
 *
 * A device with fewer vectors leaves some unused, one with more has some that nobody raises. A message may
 * leave in pieces: its descriptor goes with its first byte.
 *
 * QEMU never connects again by itself, so that the window stays with the connection; when it ends, everything
 * of it goes. A second QEMU is closed at once with a line in the log. What connects here gets a window and
 * the events of the backend: the socket's policy says who that is.
 */
#include "mediator/window_qemu.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/unix_fds.h"
#include "util/unix_socket.h"

#define PROTOCOL_VERSION 0
#define HOST_ID 0
#define GUEST_ID 1
#define WINDOW_MESSAGE (-1)

#define HEAD_MESSAGES 3u /* before the eventfds */

struct vhx_window_qemu {
	struct vhx_window_qemu_config cfg;
	struct vhx_unix_listener sock;
	struct vhx_loop_fd watch;
	int spare_fd;
	struct vhx_unix_guard guard;
	struct vhx_log_limit lines;
	/* The connection */
	struct vhx_loop_fd client; /* fd -1: IDLE */
	struct vhx_window_relay *relay;
	int from_guest; /* eventfds */
	int to_guest[VHX_WINDOW_VECTORS_MAX];
	uint32_t told; /* messages that left whole */
	uint32_t told_bytes; /* of the next one */
	struct vhx_window_relay_stats stats;
	uint64_t guests, refused;
};

struct message {
	int64_t value;
	int fd; /* -1: none */
};

#define qemu_log(q, level, ...) \
	vhx_log_limited((q)->cfg.log, &(q)->lines, vhx_loop_now((q)->cfg.loop), level, __VA_ARGS__)

static uint32_t message_cnt(const struct vhx_window_qemu *q)
{
	return HEAD_MESSAGES + 2 * q->cfg.vectors;
}

static struct message message_at(const struct vhx_window_qemu *q, uint32_t i)
{
	const struct message head[HEAD_MESSAGES] = {
		{ PROTOCOL_VERSION, -1 },
		{ GUEST_ID, -1 },
		{ WINDOW_MESSAGE, vhx_window_relay_window(q->relay) },
	};

	if (i < HEAD_MESSAGES)
		return head[i];
	i -= HEAD_MESSAGES;
	if (i < q->cfg.vectors)
		return (struct message){ HOST_ID, q->from_guest };
	return (struct message){ GUEST_ID, q->to_guest[i - q->cfg.vectors] };
}

/* Bytes that left, or -errno. */
static ssize_t message_send(int sock, const struct message *m, uint32_t done)
{
	uint64_t bytes = htole64((uint64_t)m->value);
	struct iovec iov = { (char *)&bytes + done, sizeof(bytes) - done };

	return vhx_unix_send_fd(sock, &iov, 1, done ? -1 : m->fd, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* 0: all is told. -EAGAIN: go on when there is room. */
static int messages_send(struct vhx_window_qemu *q)
{
	while (q->told < message_cnt(q)) {
		struct message m = message_at(q, q->told);
		ssize_t n = message_send(q->client.fd, &m, q->told_bytes);

		if (n < 0)
			return (int)n;
		q->told_bytes += (uint32_t)n;
		if (q->told_bytes < sizeof(m.value))
			continue;
		q->told_bytes = 0;
		q->told++;
	}
	return 0;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void bells_close(struct vhx_window_qemu *q)
{
	uint32_t i;

	fd_close(&q->from_guest);
	for (i = 0; i < VHX_WINDOW_VECTORS_MAX; i++)
		fd_close(&q->to_guest[i]);
}

static int bells_open(struct vhx_window_qemu *q)
{
	uint32_t i;

	q->from_guest = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->from_guest < 0)
		return -errno;
	for (i = 0; i < q->cfg.vectors; i++) {
		q->to_guest[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (q->to_guest[i] < 0)
			return -errno;
	}
	return 0;
}

/* Any state -> IDLE. */
static void client_end(struct vhx_window_qemu *q)
{
	if (q->client.fd >= 0)
		vhx_loop_fd_del(q->cfg.loop, &q->client);
	fd_close(&q->client.fd);
	vhx_window_relay_free(q->relay);
	q->relay = NULL;
	bells_close(q);
}

static void client_gone(struct vhx_window_qemu *q)
{
	client_end(q);
	qemu_log(q, VHX_LOG_INFO, "guest: QEMU left");
}

static void client_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_window_qemu *q = vhx_container_of(w, struct vhx_window_qemu, client);
	char byte;
	ssize_t n;
	int ret = 0;

	if (events & EPOLLOUT) {
		ret = messages_send(q);
		if (!ret)
			ret = vhx_loop_fd_modify(q->cfg.loop, w, EPOLLIN);
	}
	if (ret && ret != -EAGAIN && ret != -EINTR) {
		client_gone(q);
		return;
	}
	/* Nothing is ever said by a QEMU: what is readable is its end. */
	n = recv(w->fd, &byte, sizeof(byte), MSG_DONTWAIT);
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		client_gone(q);
}

static int client_begin(struct vhx_window_qemu *q, int sock)
{
	struct vhx_window_relay_config cfg = {
		.loop = q->cfg.loop,
		.log = q->cfg.log,
		.backend = q->cfg.backend,
		.size = q->cfg.size,
		.stats = &q->stats,
	};
	int ret;

	q->client.fd = sock;
	q->client.events = EPOLLIN | EPOLLOUT;
	q->told = 0;
	q->told_bytes = 0;
	ret = vhx_loop_fd_add(q->cfg.loop, &q->client);
	if (!ret)
		ret = bells_open(q);
	if (ret)
		return ret;
	cfg.bell = (struct vhx_window_bell){ q->from_guest, q->to_guest[0] };
	return vhx_window_relay_new(&cfg, &q->relay);
}

void vhx_window_qemu_accept(struct vhx_window_qemu *q, int sock)
{
	int ret;

	if (q->client.fd >= 0) {
		close(sock);
		q->refused++;
		qemu_log(q, VHX_LOG_WARNING,
			 "guest: a second QEMU was refused: one has the window");
		return;
	}
	ret = client_begin(q, sock);
	if (ret) {
		client_end(q);
		qemu_log(q, VHX_LOG_WARNING, "guest: refused: %s", strerror(-ret));
		return;
	}
	q->guests++;
	qemu_log(q, VHX_LOG_INFO, "guest: QEMU connected");
}

static void listener_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_window_qemu *q = vhx_container_of(w, struct vhx_window_qemu, watch);
	int sock = vhx_unix_accept_spare(q->sock.fd, &q->spare_fd);

	if (sock >= 0 && vhx_unix_guard_admit(&q->guard, sock, vhx_loop_now(q->cfg.loop)))
		close(sock);
	else if (sock >= 0)
		vhx_window_qemu_accept(q, sock);
	else if (sock != -EAGAIN && sock != -ECONNABORTED && sock != -EINTR)
		qemu_log(q, VHX_LOG_WARNING, "guest: refused: %s", strerror(-sock));
}

static struct vhx_window_qemu *qemu_new(const struct vhx_window_qemu_config *cfg)
{
	struct vhx_window_qemu *q = calloc(1, sizeof(*q));
	uint32_t i;

	if (!q)
		return NULL;
	q->cfg = *cfg;
	q->guard = (struct vhx_unix_guard){
		.policy = cfg->policy, .name = "guest", .log = cfg->log
	};
	q->client = (struct vhx_loop_fd){ .fd = -1, .ready = client_ready };
	q->from_guest = -1;
	for (i = 0; i < VHX_WINDOW_VECTORS_MAX; i++)
		q->to_guest[i] = -1;
	return q;
}

int vhx_window_qemu_open(const struct vhx_window_qemu_config *cfg, struct vhx_window_qemu **qemu,
			 struct vhx_error *err)
{
	struct vhx_window_qemu *q = qemu_new(cfg);
	int ret;

	assert(cfg->vectors && cfg->vectors <= VHX_WINDOW_VECTORS_MAX);
	if (!q) {
		vhx_error_set(err, "%s: %s", cfg->path, strerror(ENOMEM));
		return -ENOMEM;
	}
	ret = vhx_unix_listen_policy(&q->sock, cfg->path, SOCK_STREAM, cfg->policy, err);
	if (ret)
		goto free_qemu;
	q->spare_fd = vhx_unix_spare_open();
	q->watch = (struct vhx_loop_fd){ .fd = q->sock.fd,
					 .events = EPOLLIN,
					 .ready = listener_ready };
	ret = vhx_loop_fd_add(cfg->loop, &q->watch);
	if (ret) {
		vhx_error_set(err, "%s: %s", cfg->path, strerror(-ret));
		goto unlisten;
	}
	*qemu = q;
	return 0;

unlisten:
	fd_close(&q->spare_fd);
	vhx_unix_unlisten(&q->sock);
free_qemu:
	free(q);
	return ret;
}

void vhx_window_qemu_close(struct vhx_window_qemu *q)
{
	if (!q)
		return;
	client_end(q);
	vhx_loop_fd_del(q->cfg.loop, &q->watch);
	fd_close(&q->spare_fd);
	vhx_unix_unlisten(&q->sock);
	free(q);
}

void vhx_window_qemu_stats(const struct vhx_window_qemu *q, struct vhx_window_qemu_stats *stats)
{
	*stats = (struct vhx_window_qemu_stats){
		.relay = q->stats,
		.guests = q->guests,
		.refused = q->refused,
		.guest = q->client.fd >= 0 ? "connected" : "waiting",
		.backend = q->relay ? vhx_window_relay_state(q->relay) : "idle",
		.memory = sizeof(*q) + (q->relay ? q->cfg.size : 0),
	};
}
