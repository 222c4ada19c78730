// SPDX-License-Identifier: BSD-3-Clause
/*
 * Messages in and out.
 *
 * In: header first, checked as soon as it is whole; then exactly the payload that it announced, so
 * that bytes and descriptors of the next message stay in the socket. Descriptors may ride on any
 * byte of a message; all that come are taken into the message and closed with it, unless a handler
 * took them.
 *
 * Out: one sendmsg that must take everything. A peer that does not read fills the socket and loses the
 * connection; nothing is ever queued here.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/unix_fds.h"
#include "vhost_user/message.h"

_Static_assert(VHX_VU_FDS_MAX <= VHX_UNIX_FDS_MAX, "bounds");

/* Reads at most @len bytes to @to: their number, 0 if there are none now, or an error. */
static ssize_t part_recv(struct vhx_vu_message *m, int sock, void *to, size_t len)
{
	struct vhx_unix_fds fds = { .fds = m->fds + m->fd_cnt, .max = VHX_VU_FDS_MAX - m->fd_cnt };
	ssize_t n = vhx_unix_recv_fds(sock, to, len, MSG_DONTWAIT, &fds);

	if (n < 0)
		return n == -EAGAIN || n == -EINTR ? 0 : n;
	m->fd_cnt += fds.cnt;
	if (fds.surplus)
		return -EPROTO;
	if (!n)
		return m->got ? -EPROTO : -ENOTCONN;
	return n;
}

static bool header_ok(const struct vhx_vu_message *m)
{
	const struct vhx_vu_header *h = &m->hdr;

	return (h->flags & VHX_VU_VERSION_MASK) == VHX_VU_VERSION &&
	       (h->flags & VHX_VU_FLAG_REPLY) == m->reply &&
	       h->size <= sizeof(union vhx_vu_payload);
}

int vhx_vu_message_recv(struct vhx_vu_message *m, int sock)
{
	for (;;) {
		bool in_header = m->got < sizeof(m->hdr);
		size_t off = in_header ? m->got : m->got - sizeof(m->hdr);
		size_t len = (in_header ? sizeof(m->hdr) : m->hdr.size) - off;
		uint8_t *to = in_header ? (uint8_t *)&m->hdr : m->payload.bytes;
		ssize_t n;

		if (!in_header && !len)
			return 1;
		n = part_recv(m, sock, to + off, len);
		if (n <= 0)
			return (int)n;
		m->got += (size_t)n;
		if (m->got == sizeof(m->hdr) && !header_ok(m))
			return -EPROTO;
	}
}

void vhx_vu_message_reset(struct vhx_vu_message *m)
{
	for (unsigned int i = 0; i < m->fd_cnt; i++) {
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	}
	m->fd_cnt = 0;
	m->got = 0;
	/* A short payload must not inherit bytes from the message before it. */
	memset(&m->payload, 0, sizeof(m->payload));
}

int vhx_vu_message_take_fd(struct vhx_vu_message *m, unsigned int i)
{
	int fd;

	assert(i < m->fd_cnt);
	fd = m->fds[i];
	m->fds[i] = -1;
	return fd;
}

int vhx_vu_message_send(int sock, const struct vhx_vu_header *hdr, const void *payload, int fd)
{
	struct iovec iov[2] = { { (void *)hdr, sizeof(*hdr) }, { (void *)payload, hdr->size } };
	ssize_t n = vhx_unix_send_fd(sock, iov, 2, fd, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return (int)n;
	return (size_t)n == sizeof(*hdr) + hdr->size ? 0 : -EAGAIN;
}
