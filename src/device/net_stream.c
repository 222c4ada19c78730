// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Frames on a unix stream socket, each behind its length (4 bytes, big-endian): what passt and QEMU's -netdev stream
 * speak. We connect (stream), or are connected to by one peer at a time (listen); others wait in the backlog.
 *
 *   in    read(2) fills a buffer of two frames; frames are taken out of it one by one
 *   out   a frame goes out at once; of one that went in part the rest is kept here, since half a frame is none, and
 *         a driver may take back the buffer that it lies in. No other frame is taken before that rest is gone.
 *
 * A length of nothing, or above the largest frame, is not believed: the framing is lost and so is the peer. What a
 * peer can make us hold is the two buffers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/net_end.h"

#define PREFIX_LEN 4u
#define IN_MAX (2 * (PREFIX_LEN + VHX_ETHER_FRAME_MAX))

struct vhx_net_stream {
	uint32_t in_head, in_len; /* what is in @in lies in [in_head, in_head + in_len) */
	uint32_t out_head, out_len;
	uint8_t in[IN_MAX];
	uint8_t out[PREFIX_LEN + VHX_ETHER_FRAME_MAX];
};

static uint32_t be32_get(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void be32_put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* In */

/* Length of the frame that is here whole; 0: none is. -EPROTO. */
static int frame_find(const struct vhx_net_stream *s)
{
	uint32_t len;

	if (s->in_len < PREFIX_LEN)
		return 0;
	len = be32_get(s->in + s->in_head);
	if (!len || len > VHX_ETHER_FRAME_MAX)
		return -EPROTO;
	return len <= s->in_len - PREFIX_LEN ? (int)len : 0;
}

/* Bytes; 0: none now. -EPIPE. */
static ssize_t fill(struct vhx_net_end *e)
{
	struct vhx_net_stream *s = e->stream;
	ssize_t n;

	/* Less than a frame is left: the rest of it has room behind. */
	memmove(s->in, s->in + s->in_head, s->in_len);
	s->in_head = 0;
	n = recv(e->lines[0].watch.fd, s->in + s->in_len, IN_MAX - s->in_len, MSG_DONTWAIT);
	if (n > 0)
		s->in_len += (uint32_t)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n > 0 ? n : -EPIPE;
}

static ssize_t stream_receive(struct vhx_net_end *e, unsigned int pair, const struct iovec *iov,
			      int cnt)
{
	static const struct virtio_net_hdr hdr;
	struct vhx_net_stream *s = e->stream;
	size_t end;
	ssize_t n;
	int len;

	while (!(len = frame_find(s))) {
		n = fill(e);
		if (n <= 0)
			return n;
	}
	if (len < 0)
		return len;
	end = vhx_net_iov_put(iov, cnt, 0, &hdr, sizeof(hdr));
	end = vhx_net_iov_put(iov, cnt, end, s->in + s->in_head + PREFIX_LEN, (size_t)len);
	s->in_head += PREFIX_LEN + (uint32_t)len;
	s->in_len -= PREFIX_LEN + (uint32_t)len;
	return (ssize_t)end;
}

static bool stream_buffered(const struct vhx_net_end *e)
{
	return frame_find(e->stream) != 0;
}

/* Out */

/* Bytes that were taken; 0: none now. -EPIPE. */
static ssize_t out_write(const struct vhx_net_end *e, struct iovec *iov, int cnt)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)cnt };
	ssize_t n = sendmsg(e->lines[0].watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
		return 0;
	return n < 0 ? -EPIPE : n;
}

static int stream_flush(struct vhx_net_end *e)
{
	struct vhx_net_stream *s = e->stream;
	struct iovec iov = { s->out + s->out_head, s->out_len };
	ssize_t n = out_write(e, &iov, 1);

	if (n < 0)
		return (int)n;
	s->out_head += (uint32_t)n;
	s->out_len -= (uint32_t)n;
	e->unsent = s->out_len;
	return e->unsent ? -EAGAIN : 0;
}

/* From byte @off of the pieces on. */
static void rest_keep(struct vhx_net_end *e, const struct iovec *iov, int cnt, size_t off)
{
	struct vhx_net_stream *s = e->stream;
	int i;

	s->out_head = 0;
	s->out_len = 0;
	for (i = 0; i < cnt; i++) {
		size_t skip = vhx_min_u64(off, iov[i].iov_len);

		memcpy(s->out + s->out_len, (const uint8_t *)iov[i].iov_base + skip,
		       iov[i].iov_len - skip);
		s->out_len += (uint32_t)(iov[i].iov_len - skip);
		off -= skip;
	}
	e->unsent = s->out_len;
}

static int stream_send(struct vhx_net_end *e, unsigned int pair, const struct virtio_net_hdr *hdr,
		       const struct iovec *iov, int cnt)
{
	struct iovec all[VHX_NET_IOV_MAX + 1];
	uint8_t prefix[PREFIX_LEN];
	size_t len = 0;
	ssize_t n;
	int i;

	if (e->unsent) {
		int ret = stream_flush(e);

		if (ret)
			return ret;
	}
	all[0] = (struct iovec){ prefix, sizeof(prefix) };
	for (i = 0; i < cnt; i++) {
		all[i + 1] = iov[i];
		len += iov[i].iov_len;
	}
	be32_put(prefix, (uint32_t)len);
	n = out_write(e, all, cnt + 1);
	if (n <= 0)
		return n ? (int)n : -EAGAIN;
	if ((size_t)n < sizeof(prefix) + len)
		rest_keep(e, all, cnt + 1, (size_t)n);
	return 0;
}

/* Life */

static void stream_begin(struct vhx_net_end *e)
{
	e->stream->in_head = 0;
	e->stream->in_len = 0;
	e->stream->out_len = 0;
}

static int stream_init(struct vhx_net_end *e, struct vhx_error *err)
{
	e->stream = malloc(sizeof(*e->stream));
	if (!e->stream) {
		vhx_error_set(err, "out of memory");
		return -ENOMEM;
	}
	e->memory += sizeof(*e->stream);
	stream_begin(e);
	return 0;
}

static int stream_open(struct vhx_net_end *e, const char *rest, struct vhx_error *err)
{
	int fd, ret;

	ret = stream_init(e, err);
	if (ret)
		return ret;
	if (rest) {
		fd = vhx_unix_connect(rest, SOCK_STREAM, err);
		if (fd < 0)
			return fd;
		vhx_net_end_line_set(e, 0, fd);
	}
	e->online = true;
	return 0;
}

static void stream_close(struct vhx_net_end *e)
{
	free(e->stream);
	e->stream = NULL;
}

/* listen */

static void accept_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_net_end *e = vhx_container_of(w, struct vhx_net_end, accept);
	int fd = vhx_unix_accept_spare(w->fd, &e->spare_fd);

	if (fd < 0)
		return;
	vhx_loop_fd_del(e->loop, w);
	stream_begin(e);
	vhx_net_end_line_set(e, 0, fd);
	vhx_net_end_met(e);
}

static void listen_again(struct vhx_net_end *e)
{
	vhx_loop_fd_add(e->loop, &e->accept);
}

static int listen_open(struct vhx_net_end *e, const char *rest, struct vhx_error *err)
{
	int ret = stream_init(e, err);

	if (!ret)
		ret = vhx_unix_listen(&e->listener, rest, SOCK_STREAM, 0600, err);
	if (ret)
		return ret;
	e->spare_fd = vhx_unix_spare_open();
	e->accept = (struct vhx_loop_fd){ .fd = e->listener.fd,
					  .events = EPOLLIN,
					  .ready = accept_ready };
	return vhx_loop_fd_add(e->loop, &e->accept);
}

static void listen_close(struct vhx_net_end *e)
{
	vhx_loop_fd_del(e->loop, &e->accept);
	if (e->listener.fd >= 0)
		vhx_unix_unlisten(&e->listener);
	if (e->spare_fd >= 0)
		close(e->spare_fd);
	stream_close(e);
}

const struct vhx_net_end_ops vhx_net_stream_ops = {
	.name = "stream",
	.open = stream_open,
	.close = stream_close,
	.receive = stream_receive,
	.send = stream_send,
	.buffered = stream_buffered,
	.flush = stream_flush,
};

const struct vhx_net_end_ops vhx_net_listen_ops = {
	.name = "listen",
	.open = listen_open,
	.close = listen_close,
	.receive = stream_receive,
	.send = stream_send,
	.buffered = stream_buffered,
	.flush = stream_flush,
	.over = listen_again,
};
