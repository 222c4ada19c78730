// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Credit, guest to host. We give the guest buf_alloc bytes ahead of what the host took (fwd_cnt). So whatever comes
 * within the credit has room here, a packet never waits for a reader, and a reader that reads nothing stops its own
 * connection alone. The buffer is made when a socket refuses the first byte, and is as large as the credit.
 *
 * Credit, host to guest. What the socket has is read only as far as the guest has room for it, and straight into its
 * receive buffer: between the two nothing is kept of a stream. A message is read whole, since a unix socket gives it
 * up in one piece; it is bounded (VHX_VSOCK_MESSAGE_MAX), and only one at a time is here.
 *
 * Messages that are kept for the host have their ends marked by one bit per byte of the buffer, so that their number
 * is not bounded by more than the credit is. Empty ones do not cross: on a unix socket they would look like its end.
 *
 * The socket is watched edge-triggered: @readable stays until a read finds nothing, and room to write is looked for
 * whenever an event comes. Where the kernel had no memory for a write there is no event to come: a timer looks then.
 * No call here ends the connection, or sends a packet: results and fields say what is due.
 *
 * A hostile guest fills its own buffer. A hostile host program can send messages that are too large, and is cut off.
 */
#include "device/vsock_conn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/vsock.h"

/*
 * A write that the kernel has no memory for is tried again so often, so far apart: 10 s, as long as a guest is given to
 * answer. A host that is short of memory for longer ends programs.
 */
#define RETRY_NS 100000000ull
#define RETRIES_MAX 100u

/* A packet in pages: 64 KiB of them, and one where it does not begin with one. */
#define IOV_CNT 18

uint32_t vhx_vsock_conn_credit(const struct vhx_vsock_conn *c)
{
	uint32_t sent = c->tx_cnt - c->peer_fwd_cnt;

	/* A guest that shrank its buffer, or counts what it was never sent, gets nothing. */
	return sent < c->peer_buf_alloc ? c->peer_buf_alloc - sent : 0;
}

bool vhx_vsock_conn_kept(const struct vhx_vsock_conn *c)
{
	return c->buffer.len > 0;
}

/* The buffer */

static int buffer_make(struct vhx_vsock_conn *c)
{
	struct vhx_vsock_buffer *b = &c->buffer;
	size_t marks = c->seqpacket ? c->buf_alloc / 8 : 0;

	if (b->bytes)
		return 0;
	b->bytes = malloc(c->buf_alloc + marks);
	if (!b->bytes)
		return -ENOMEM;
	memset(b->bytes + c->buf_alloc, 0, marks);
	return 0;
}

static void buffer_free(struct vhx_vsock_buffer *b)
{
	free(b->bytes);
	*b = (struct vhx_vsock_buffer){ 0 };
}

static void buffer_put(struct vhx_vsock_conn *c, const uint8_t *bytes, uint32_t len)
{
	struct vhx_vsock_buffer *b = &c->buffer;

	assert(len <= c->buf_alloc - b->len);
	while (len) {
		uint32_t at = (b->head + b->len) % c->buf_alloc;
		uint32_t n = (uint32_t)vhx_min_u64(len, c->buf_alloc - at);

		memcpy(b->bytes + at, bytes, n);
		b->len += n;
		bytes += n;
		len -= n;
	}
}

/* The credit is a multiple of 8. */
static uint8_t *mark_of(const struct vhx_vsock_conn *c, uint32_t at)
{
	return c->buffer.bytes + c->buf_alloc + at / 8;
}

static void mark_set(struct vhx_vsock_conn *c, uint32_t at, bool end)
{
	uint8_t bit = (uint8_t)(1u << at % 8);

	if (end)
		*mark_of(c, at) |= bit;
	else
		*mark_of(c, at) &= (uint8_t)~bit;
}

/* The first message's length; 0: none is whole. Its bytes are looked at once, however often it is tried to send it. */
static uint32_t message_find(struct vhx_vsock_conn *c)
{
	struct vhx_vsock_buffer *b = &c->buffer;
	uint32_t i, at;

	for (i = 0; !b->first && i < b->len - b->open; i++) {
		at = (b->head + i) % c->buf_alloc;
		if (*mark_of(c, at) >> at % 8 & 1)
			b->first = i + 1;
	}
	return b->first;
}

static int buffer_iov(const struct vhx_vsock_conn *c, uint32_t len, struct iovec iov[2])
{
	const struct vhx_vsock_buffer *b = &c->buffer;
	uint32_t first = (uint32_t)vhx_min_u64(len, c->buf_alloc - b->head);

	iov[0] = (struct iovec){ b->bytes + b->head, first };
	iov[1] = (struct iovec){ b->bytes, len - first };
	return len > first ? 2 : 1;
}

static void buffer_drop(struct vhx_vsock_conn *c, uint32_t len)
{
	c->buffer.head = (c->buffer.head + len) % c->buf_alloc;
	c->buffer.len -= len;
	c->buffer.first = 0;
	c->fwd_cnt += len;
}

/* To the host */

/* The host takes no more: what it was to get is gone, and the guest is told. */
static void host_deaf(struct vhx_vsock_conn *c)
{
	buffer_drop(c, c->buffer.len);
	c->buffer.open = 0;
	if (c->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
		return;
	c->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	c->owe |= VHX_VSOCK_OWE(SHUTDOWN);
}

/* Nothing may lie in the socket whose leaving would be an event. */
static bool write_again(struct vhx_vsock_conn *c)
{
	if (c->retries == RETRIES_MAX)
		return false;
	if (!c->retry.due_ns)
		vhx_loop_timer_arm(c->dev->loop, &c->retry, RETRY_NS);
	return true;
}

/* How many bytes; 0: none now, or never again. -EMSGSIZE. */
static int socket_write(struct vhx_vsock_conn *c, struct iovec *iov, int cnt)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)cnt };
	ssize_t n = sendmsg(c->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0) {
		c->retries = 0;
		return (int)n;
	}
	if (errno == EMSGSIZE)
		return -EMSGSIZE;
	if (errno == EAGAIN)
		return 0;
	if ((errno == EINTR || errno == ENOBUFS || errno == ENOMEM) && write_again(c))
		return 0;
	host_deaf(c);
	return 0;
}

/*
 * All that the guest sent before it shut its sending half is through. Once: shutdown(2) is an event of the socket's,
 * and would be answered by the next.
 */
static void reader_end(struct vhx_vsock_conn *c)
{
	if (c->ended || !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) || c->buffer.len)
		return;
	c->ended = true;
	shutdown(c->watch.fd, SHUT_WR);
}

/* What can go out now: of a stream all, else the first message. */
static uint32_t flush_len(struct vhx_vsock_conn *c)
{
	return c->seqpacket ? message_find(c) : c->buffer.len;
}

int vhx_vsock_conn_flush(struct vhx_vsock_conn *c)
{
	struct iovec iov[2];
	uint32_t len, at;
	int n;

	while ((len = flush_len(c))) {
		n = socket_write(c, iov, buffer_iov(c, len, iov));
		if (n <= 0)
			return n;
		at = (c->buffer.head + len - 1) % c->buf_alloc;
		if (c->seqpacket)
			mark_set(c, at, false);
		buffer_drop(c, (uint32_t)n);
	}
	reader_end(c);
	return 0;
}

/* Bytes of a request, without a way through the buffer. As socket_write(). */
static int request_write(struct vhx_vsock_conn *c, const struct vhx_request *req, uint32_t off,
			 uint32_t len)
{
	struct iovec iov[IOV_CNT];
	unsigned int cnt = vhx_request_out_iov(req, off, iov, IOV_CNT), i;
	uint32_t left = len;

	for (i = 0; i < cnt && left; i++) {
		iov[i].iov_len = vhx_min_u64(iov[i].iov_len, left);
		left -= (uint32_t)iov[i].iov_len;
	}
	assert(!left);
	return socket_write(c, iov, (int)i);
}

static int request_keep(struct vhx_vsock_conn *c, const struct vhx_request *req, uint32_t off,
			uint32_t len)
{
	struct iovec iov;
	int ret = buffer_make(c);

	while (!ret && len && vhx_request_out_iov(req, off, &iov, 1)) {
		uint32_t n = (uint32_t)vhx_min_u64(len, iov.iov_len);

		buffer_put(c, iov.iov_base, n);
		off += n;
		len -= n;
	}
	return ret;
}

static int stream_take(struct vhx_vsock_conn *c, const struct vhx_request *req, uint32_t off,
		       uint32_t len)
{
	int n = c->buffer.len ? 0 : request_write(c, req, off, len);

	if (n < 0)
		return n;
	c->fwd_cnt += (uint32_t)n;
	len -= (uint32_t)n;
	if (!len)
		return 0;
	if (c->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->fwd_cnt += len;
		return 0;
	}
	return request_keep(c, req, off + (uint32_t)n, len);
}

static int message_take(struct vhx_vsock_conn *c, const struct vhx_request *req, uint32_t off,
			uint32_t len, bool end)
{
	struct vhx_vsock_buffer *b = &c->buffer;
	int ret;

	if (!len && !(end && b->open))
		return 0;
	if (end && len && !b->len) {
		ret = request_write(c, req, off, len);
		if (ret < 0)
			return ret;
		c->fwd_cnt += (uint32_t)ret;
		len -= (uint32_t)ret;
		if (!len)
			return 0;
	}
	if (c->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->fwd_cnt += len;
		return 0;
	}
	ret = request_keep(c, req, off, len);
	if (ret)
		return ret;
	b->open += len;
	if (!end)
		return 0;
	mark_set(c, (b->head + b->len - 1) % c->buf_alloc, true);
	b->open = 0;
	return vhx_vsock_conn_flush(c);
}

int vhx_vsock_conn_take(struct vhx_vsock_conn *c, const struct vhx_request *req, uint32_t off,
			uint32_t len, bool end)
{
	assert(len <= c->buf_alloc - (c->rx_cnt - c->fwd_cnt));
	c->rx_cnt += len;
	if (c->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->fwd_cnt += len;
		return 0;
	}
	return c->seqpacket ? message_take(c, req, off, len, end) : stream_take(c, req, off, len);
}

void vhx_vsock_conn_guest_shut(struct vhx_vsock_conn *c, unsigned int flags)
{
	unsigned int news = flags & ~c->guest_shut;

	c->guest_shut |= flags;
	if (news & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		shutdown(c->watch.fd, SHUT_RD);
		free(c->message);
		c->message = NULL;
		c->readable = false;
	}
	/* What is left of a message that will not be finished is nobody's. */
	if (news & VIRTIO_VSOCK_SHUTDOWN_SEND && c->buffer.open) {
		c->buffer.len -= c->buffer.open;
		c->fwd_cnt += c->buffer.open;
		c->buffer.open = 0;
	}
	reader_end(c);
}

/* To the guest */

/* What recv(2) said: bytes, 0 none now, or -EPIPE. */
static int read_result(struct vhx_vsock_conn *c, ssize_t n)
{
	if (n > 0)
		return (int)n;
	/* A host that left bytes unread: said once, and of messages before those that it sent. */
	if (n < 0 && (errno == EINTR || errno == ECONNRESET))
		return 0;
	c->readable = false;
	return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
}

static int stream_read(struct vhx_vsock_conn *c, void *buf, uint32_t max)
{
	return read_result(c, recv(c->watch.fd, buf, max, MSG_DONTWAIT));
}

/* The next message, whole, into c->message. 1; 0: none now; -EPIPE, -ENOMEM, -EMSGSIZE. */
static int message_fetch(struct vhx_vsock_conn *c)
{
	uint8_t first;
	int len = read_result(c, recv(c->watch.fd, &first, 1, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC));
	ssize_t n;
	int ret;

	if (len <= 0)
		return len;
	if ((uint32_t)len > vhx_min_u64(VHX_VSOCK_MESSAGE_MAX, c->peer_buf_alloc))
		return -EMSGSIZE;
	c->message = malloc((size_t)len);
	if (!c->message)
		return -ENOMEM;
	c->message_len = (uint32_t)len;
	c->message_off = 0;
	n = recv(c->watch.fd, c->message, (size_t)len, MSG_DONTWAIT);
	if (n == len)
		return 1;
	ret = n < 0 ? read_result(c, n) : -EPIPE;
	free(c->message);
	c->message = NULL;
	return ret;
}

static int message_read(struct vhx_vsock_conn *c, void *buf, uint32_t max, uint32_t *flags)
{
	uint32_t n;
	int ret;

	if (!c->message) {
		ret = message_fetch(c);
		if (ret <= 0)
			return ret;
	}
	n = (uint32_t)vhx_min_u64(max, c->message_len - c->message_off);
	memcpy(buf, c->message + c->message_off, n);
	c->message_off += n;
	if (c->message_off < c->message_len)
		return (int)n;
	free(c->message);
	c->message = NULL;
	*flags = VIRTIO_VSOCK_SEQ_EOM;
	return (int)n;
}

int vhx_vsock_conn_read(struct vhx_vsock_conn *c, void *buf, uint32_t max, uint32_t *flags)
{
	int n;

	assert(max && max <= vhx_vsock_conn_credit(c));
	*flags = 0;
	n = c->seqpacket ? message_read(c, buf, max, flags) : stream_read(c, buf, max);
	if (n > 0)
		c->tx_cnt += (uint32_t)n;
	return n;
}

void vhx_vsock_conn_clear(struct vhx_vsock_conn *c)
{
	vhx_loop_timer_cancel(c->dev->loop, &c->retry);
	if (c->watch.fd >= 0) {
		vhx_loop_fd_del(c->dev->loop, &c->watch);
		close(c->watch.fd);
		c->watch.fd = -1;
	}
	buffer_free(&c->buffer);
	free(c->message);
	c->message = NULL;
}
