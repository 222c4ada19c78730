// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Here is what all ends have in common: which kind a text names, the watches, and how the owner hears of a link
 * that goes up or down. The kinds are in net_tap.c, net_stream.c and net_dgram.c.
 *
 *   offline --somebody is there (at once, but for listen)--> online --it left, or broke the framing--> offline
 *
 * A peer that left can be followed by another one only where we are who is connected to: a backend that is
 * confined opens nothing any more. Whoever starts the backend again gives it a new end, and the guest stays.
 *
 * The owner learns of a change by the loop and not within its own call, so that it need not fear for the lists that
 * it walks. Packets to nobody are gone, as from an unplugged cable.
 *
 * Nothing here trusts what is received: a length is checked before it counts, and frames are bytes.
 */
#include "device/net_end.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TELL_NS 1u /* the next turn of the loop */

/* Watches */

static void line_update(struct vhx_net_line *l)
{
	struct vhx_net_end *e = l->end;
	bool out = l->out || (e->unsent && l == e->lines);
	uint32_t events = (l->in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0);

	if (l->watch.fd < 0 || (!events && !l->watched) ||
	    (l->watched && l->watch.events == events))
		return;
	if (!events) {
		vhx_loop_fd_del(e->loop, &l->watch);
		l->watched = false;
	} else if (l->watched) {
		vhx_loop_fd_modify(e->loop, &l->watch, events);
	} else {
		l->watch.events = events;
		l->watched = !vhx_loop_fd_add(e->loop, &l->watch);
	}
}

void vhx_net_end_want_in(struct vhx_net_end *e, unsigned int pair, bool want)
{
	e->lines[pair].in = want;
	line_update(&e->lines[pair]);
}

void vhx_net_end_want_out(struct vhx_net_end *e, unsigned int pair, bool want)
{
	e->lines[pair].out = want;
	line_update(&e->lines[pair]);
}

static void line_close(struct vhx_net_line *l)
{
	if (l->watched)
		vhx_loop_fd_del(l->end->loop, &l->watch);
	l->watched = false;
	if (l->watch.fd >= 0)
		close(l->watch.fd);
	l->watch.fd = -1;
}

void vhx_net_end_line_set(struct vhx_net_end *e, unsigned int pair, int fd)
{
	line_close(&e->lines[pair]);
	e->lines[pair].watch.fd = fd;
	line_update(&e->lines[pair]);
}

/* Coming and going */

static void online_set(struct vhx_net_end *e, bool online)
{
	e->online = online;
	if (!e->tell.due_ns)
		vhx_loop_timer_arm(e->loop, &e->tell, TELL_NS);
}

static void tell_expired(struct vhx_loop_timer *t)
{
	struct vhx_net_end *e = vhx_container_of(t, struct vhx_net_end, tell);

	e->events->changed(e);
	if (!e->online && e->ops->over)
		e->ops->over(e);
}

void vhx_net_end_met(struct vhx_net_end *e)
{
	online_set(e, true);
}

static void end_gone(struct vhx_net_end *e)
{
	unsigned int i;

	for (i = 0; i < e->pairs; i++)
		line_close(&e->lines[i]);
	e->unsent = false;
	online_set(e, false);
}

static void end_flush(struct vhx_net_end *e)
{
	if (e->unsent && e->ops->flush(e) == -EPIPE)
		end_gone(e);
}

static void line_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_net_line *l = vhx_container_of(w, struct vhx_net_line, watch);
	struct vhx_net_end *e = l->end;
	unsigned int pair = (unsigned int)(l - e->lines);

	/* What it sent before it left counts all the same. */
	if (events & (EPOLLERR | EPOLLHUP) && !(l->in && events & EPOLLIN)) {
		end_gone(e);
		return;
	}
	if (events & EPOLLOUT)
		end_flush(e);
	line_update(l);
	if (events & EPOLLOUT && l->out)
		e->events->writable(e, pair);
	if (events & EPOLLIN && l->in)
		e->events->readable(e, pair);
}

/* Packets */

ssize_t vhx_net_end_receive(struct vhx_net_end *e, unsigned int pair, const struct iovec *iov,
			    int cnt)
{
	ssize_t n = e->online ? e->ops->receive(e, pair, iov, cnt) : 0;

	if (n >= 0)
		return n;
	end_gone(e);
	return 0;
}

int vhx_net_end_send(struct vhx_net_end *e, unsigned int pair, const struct virtio_net_hdr *hdr,
		     const struct iovec *iov, int cnt)
{
	int ret = e->online ? e->ops->send(e, pair, hdr, iov, cnt) : 0;

	line_update(&e->lines[0]);
	if (ret != -EPIPE)
		return ret;
	end_gone(e);
	return 0;
}

bool vhx_net_end_buffered(const struct vhx_net_end *e)
{
	return e->online && e->ops->buffered && e->ops->buffered(e);
}

void vhx_net_end_set_offload(struct vhx_net_end *e, uint64_t features)
{
	if (e->ops->set_offload)
		e->ops->set_offload(e, features);
}

void vhx_net_end_set_pair(struct vhx_net_end *e, unsigned int pair, bool used)
{
	if (e->lines[pair].used == used)
		return;
	e->lines[pair].used = used;
	if (e->ops->set_pair)
		e->ops->set_pair(e, pair, used);
}

size_t vhx_net_iov_put(const struct iovec *iov, int cnt, size_t off, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;
	size_t begin = 0, end = off;
	int i;

	for (i = 0; i < cnt && len; i++) {
		size_t at = end - begin, n;

		begin += iov[i].iov_len;
		if (at >= iov[i].iov_len)
			continue;
		n = vhx_min_u64(len, iov[i].iov_len - at);
		memcpy((uint8_t *)iov[i].iov_base + at, from, n);
		from += n;
		len -= n;
		end += n;
	}
	return end;
}

/* Inherited descriptors: what they are decides. */

static const struct vhx_net_end_ops *fd_kind(int fd, struct vhx_error *err)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int), peer_len = sizeof(peer);
	struct ifreq ifr = { 0 };
	int type;

	if (!ioctl(fd, TUNGETIFF, &ifr))
		return &vhx_net_tap_ops;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		vhx_error_set(err, "descriptor %d: %s", fd,
			      errno == EBADF ? "nobody passed it" : "neither a tap nor a socket");
	else if (getpeername(fd, (struct sockaddr *)&peer, &peer_len))
		vhx_error_set(err, "descriptor %d: a socket that is not connected", fd);
	else
		return type == SOCK_STREAM ? &vhx_net_stream_ops : &vhx_net_dgram_ops;
	return NULL;
}

/* "3:4:5" */
static int fds_parse(const char *rest, int fds[VHX_NET_PAIRS_MAX], unsigned int *cnt,
		     struct vhx_error *err)
{
	const char *p = rest;
	unsigned long v;
	char *end;

	*cnt = 0;
	do {
		v = strtoul(p, &end, 10);
		if (end == p || *p < '0' || *p > '9' || v > INT32_MAX || (*end && *end != ':') ||
		    *cnt == VHX_NET_PAIRS_MAX) {
			vhx_error_set(err, "'%s' is not N[:N...], at most %u descriptors", rest,
				      VHX_NET_PAIRS_MAX);
			return -EINVAL;
		}
		fds[(*cnt)++] = (int)v;
		p = end + 1;
	} while (*end);
	return 0;
}

static int fd_open(struct vhx_net_end *e, const char *rest, struct vhx_error *err)
{
	const struct vhx_net_end_ops *ops;
	int fds[VHX_NET_PAIRS_MAX], ret;
	unsigned int cnt, i;

	ret = fds_parse(rest, fds, &cnt, err);
	if (ret)
		return ret;
	if (cnt != e->pairs) {
		vhx_error_set(err, "%u queue pairs, but %u descriptors", e->pairs, cnt);
		return -EINVAL;
	}
	for (i = 0; i < cnt; i++) {
		ops = fd_kind(fds[i], err);
		if (!ops)
			return -EINVAL;
		if (i && ops != e->ops) {
			vhx_error_set(err, "descriptors %d and %d are not of one kind", fds[0],
				      fds[i]);
			return -EINVAL;
		}
		e->ops = ops;
		vhx_net_end_line_set(e, i, fds[i]);
		fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
	}
	return e->ops->open(e, NULL, err);
}

static void nothing_close(struct vhx_net_end *e)
{
}

static const struct vhx_net_end_ops fd_ops = {
	.name = "fd",
	.offload = true,
	.open = fd_open,
	.close = nothing_close,
};

/* Life */

static const struct vhx_net_end_ops *const kinds[] = {
	&vhx_net_tap_ops, &vhx_net_stream_ops, &vhx_net_listen_ops, &vhx_net_dgram_ops, &fd_ops,
};

/* The kind, and what is behind its colon. NULL with a line. */
static const struct vhx_net_end_ops *kind_find(const char *text, const char **rest,
					       struct vhx_error *err)
{
	size_t len = strcspn(text, ":"), i;

	for (i = 0; i < VHX_ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i]->name) != len || memcmp(kinds[i]->name, text, len))
			continue;
		if (text[len] && text[len + 1]) {
			*rest = text + len + 1;
			return kinds[i];
		}
		vhx_error_set(err, "%s: what to open is missing behind it", kinds[i]->name);
		return NULL;
	}
	vhx_error_set(err,
		      "'%s' is none of tap:NAME, stream:PATH, listen:PATH, dgram:LOCAL:REMOTE, "
		      "fd:N[:N...]",
		      text);
	return NULL;
}

int vhx_net_end_check(const char *text, struct vhx_error *err)
{
	const char *rest;

	if (!kind_find(text, &rest, err))
		return -EINVAL;
	if (strlen(text) < VHX_NET_END_TEXT_MAX)
		return 0;
	vhx_error_set(err, "an end is at most %u bytes long", VHX_NET_END_TEXT_MAX - 1);
	return -ENAMETOOLONG;
}

static void lines_init(struct vhx_net_end *e)
{
	unsigned int i;

	for (i = 0; i < VHX_NET_PAIRS_MAX; i++) {
		e->lines[i].end = e;
		e->lines[i].watch = (struct vhx_loop_fd){ .fd = -1, .ready = line_ready };
		e->lines[i].used = true;
	}
}

static int end_open(struct vhx_net_end *e, const char *text, struct vhx_error *err)
{
	const char *rest;
	int ret = vhx_net_end_check(text, err);

	if (ret)
		return ret;
	e->ops = kind_find(text, &rest, err);
	ret = e->ops->open(e, rest, err);
	if (!ret && e->pairs > 1 && !e->ops->set_pair) {
		vhx_error_set(err, "%s: only a tap has more than one queue pair", text);
		ret = -EINVAL;
	}
	e->offload &= e->ops->offload;
	return ret;
}

int vhx_net_end_open(struct vhx_net_end *e, const char *text, unsigned int pairs, bool offload,
		     struct vhx_loop *loop, const struct vhx_net_end_events *events,
		     struct vhx_error *err)
{
	int ret;

	assert(pairs && pairs <= VHX_NET_PAIRS_MAX);
	*e = (struct vhx_net_end){
		.events = events,
		.loop = loop,
		.pairs = pairs,
		.offload = offload,
		.listener = { .fd = -1 },
		.accept = { .fd = -1 },
		.spare_fd = -1,
		.tell = { .expired = tell_expired },
	};
	vhx_list_init(&e->tell.node);
	lines_init(e);
	snprintf(e->text, sizeof(e->text), "%s", text);
	ret = end_open(e, text, err);
	if (ret)
		vhx_net_end_close(e);
	return ret;
}

void vhx_net_end_close(struct vhx_net_end *e)
{
	unsigned int i;

	if (!e->loop)
		return;
	vhx_loop_timer_cancel(e->loop, &e->tell);
	for (i = 0; i < VHX_NET_PAIRS_MAX; i++)
		line_close(&e->lines[i]);
	if (e->ops)
		e->ops->close(e);
	e->online = false;
	e->loop = NULL;
}
