// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Listening sockets are made at the start, and their files removed at the end. A client is handed to the owner at
 * once, which gives it a place among its connections; what it has to say first is read with MSG_PEEK, so that the
 * bytes behind the line stay in the socket for the connection.
 *
 * Connecting by name is what a confined backend gave up. The connector (mediator/connector.c) does it: questions go
 * to it one packet each, answers come back in any order, known by their tags. Without a connector, or when it has
 * ended, everything that is asked is refused.
 *
 * Clients and the connector are programs of the host. A client can say nonsense, which ends it, or nothing, for which
 * the owner has a timer. An answer that nobody waits for costs its descriptor, which is closed.
 */
#include "device/vsock_host.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/vsock_connect.h"
#include "util/unix_fds.h"

/* "CONNECT 4294967295\n" and some. */
#define GREETING_MAX 32u

static const char greeting[] = "CONNECT ";

/* Listening */

static void listener_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_vsock_listener *l = vhx_container_of(w, struct vhx_vsock_listener, watch);
	int fd = vhx_unix_accept_spare(w->fd, &l->spare_fd);

	if (fd >= 0)
		l->host->events->accepted(l->host, fd, l == &l->host->listeners[1]);
}

static int listener_open(struct vhx_vsock_host *h, unsigned int i, const char *path,
			 struct vhx_error *err)
{
	struct vhx_vsock_listener *l = &h->listeners[i];
	int ret = vhx_unix_listen(&l->sock, path, i ? SOCK_SEQPACKET : SOCK_STREAM, 0600, err);

	if (ret)
		return ret;
	l->host = h;
	l->spare_fd = vhx_unix_spare_open();
	l->watch = (struct vhx_loop_fd){ .fd = l->sock.fd,
					 .events = EPOLLIN,
					 .ready = listener_ready };
	return vhx_loop_fd_add(h->loop, &l->watch);
}

static void listener_close(struct vhx_vsock_listener *l)
{
	if (!l->host)
		return;
	vhx_loop_fd_del(l->host->loop, &l->watch);
	vhx_unix_unlisten(&l->sock);
	if (l->spare_fd >= 0)
		close(l->spare_fd);
	l->host = NULL;
}

/* Clients */

/* "P\n" */
static bool port_parse(const char *p, uint32_t *port)
{
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*port = (uint32_t)v;
	return *p == '\n';
}

int vhx_vsock_greeting_read(int fd, bool seqpacket, uint32_t *port)
{
	char text[GREETING_MAX + 1] = "";
	ssize_t n = recv(fd, text, GREETING_MAX, MSG_PEEK | MSG_DONTWAIT);
	const char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -EPIPE;
	end = memchr(text, '\n', (size_t)n);
	if (!end)
		return n < (ssize_t)GREETING_MAX ? 0 : -EPROTO;
	if (memcmp(text, greeting, strlen(greeting)) || !port_parse(text + strlen(greeting), port))
		return -EPROTO;
	/* What is behind it in its message could not be left there. */
	if (seqpacket && end - text + 1 < n)
		return -EPROTO;
	n = end - text + 1;
	return recv(fd, text, (size_t)n, MSG_DONTWAIT) == n ? 1 : -EPIPE;
}

int vhx_vsock_greeting_answer(int fd, uint32_t port)
{
	char text[GREETING_MAX];
	int len = snprintf(text, sizeof(text), "OK %u\n", port);

	return send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) == len ? 0 : -EPIPE;
}

/* The connector */

static void connector_end(struct vhx_vsock_host *h)
{
	vhx_loop_fd_del(h->loop, &h->connector);
	close(h->connector.fd);
	h->connector.fd = -1;
	h->asked = 0;
}

/* 1: an answer, and *@fd or -1. 0: none now. -EPIPE: never again. */
static int answer_read(int sock, struct vhx_vsock_answer *answer, int *fd)
{
	struct vhx_unix_fds fds = { .fds = fd, .max = 1 };
	ssize_t n;

	*fd = -1;
	n = vhx_unix_recv_fds(sock, answer, sizeof(*answer), MSG_DONTWAIT, &fds);
	if (n < 0)
		return n == -EAGAIN || n == -EINTR ? 0 : -EPIPE;
	return n == sizeof(*answer) ? 1 : -EPIPE;
}

static void connector_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_vsock_host *h = vhx_container_of(w, struct vhx_vsock_host, connector);
	struct vhx_vsock_answer answer;
	int fd, ret = answer_read(w->fd, &answer, &fd);

	if (ret > 0) {
		h->asked -= h->asked > 0;
		if (fd < 0 && !answer.result)
			answer.result = -ECONNREFUSED;
		h->events->answered(h, answer.tag, fd >= 0 ? fd : answer.result);
	} else if (ret < 0) {
		if (fd >= 0)
			close(fd);
		connector_end(h);
		h->events->forsaken(h);
	}
}

int vhx_vsock_host_ask(struct vhx_vsock_host *h, uint64_t tag, uint32_t port, bool seqpacket)
{
	struct vhx_vsock_ask ask = { .tag = tag, .port = port, .seqpacket = seqpacket };

	if (h->connector.fd < 0)
		return -ECONNREFUSED;
	if (h->asked == VHX_VSOCK_ASKS_MAX)
		return -EAGAIN;
	if (send(h->connector.fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(ask))
		return -ECONNREFUSED;
	h->asked++;
	return 0;
}

/* Life */

int vhx_vsock_host_open(struct vhx_vsock_host *h, const char *path, bool seqpacket, int connector,
			struct vhx_loop *loop, const struct vhx_vsock_host_events *events,
			struct vhx_error *err)
{
	char second[VHX_UNIX_PATH_MAX];
	int ret;

	*h = (struct vhx_vsock_host){ .events = events, .loop = loop, .connector.fd = -1 };
	ret = listener_open(h, 0, path, err);
	if (!ret && seqpacket) {
		snprintf(second, sizeof(second), "%s.seq", path);
		ret = listener_open(h, 1, second, err);
	}
	if (!ret && connector >= 0) {
		h->connector = (struct vhx_loop_fd){ .fd = connector,
						     .events = EPOLLIN,
						     .ready = connector_ready };
		ret = vhx_loop_fd_add(loop, &h->connector);
	}
	if (ret) {
		h->connector.fd = -1;
		vhx_vsock_host_close(h);
	}
	return ret;
}

void vhx_vsock_host_close(struct vhx_vsock_host *h)
{
	if (!h->events)
		return;
	listener_close(&h->listeners[0]);
	listener_close(&h->listeners[1]);
	if (h->connector.fd >= 0)
		connector_end(h);
	h->events = NULL;
}
