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

#include "vhost_user/message.h"

union fd_control {
	struct cmsghdr align;
	char space[CMSG_SPACE(VHX_VU_FDS_MAX * sizeof(int))];
};

/* Takes over the descriptors of one control message. False: more came than a message may carry. */
static bool fds_take(struct vhx_vu_message *m, const struct cmsghdr *c)
{
	unsigned int cnt = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	bool fits = true;

	for (unsigned int i = 0; i < cnt; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
		if (m->fd_cnt < VHX_VU_FDS_MAX) {
			m->fds[m->fd_cnt++] = fd;
		} else {
			close(fd);
			fits = false;
		}
	}
	return fits;
}

static bool control_take(struct vhx_vu_message *m, struct msghdr *msg)
{
	bool fits = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && !fds_take(m, c))
			fits = false;
	}
	return fits;
}

/* Reads at most @len bytes to @to: their number, 0 if there are none now, or an error. */
static ssize_t part_recv(struct vhx_vu_message *m, int sock, void *to, size_t len)
{
	struct iovec iov = { to, len };
	union fd_control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!control_take(m, &msg))
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

static void control_put(struct msghdr *msg, union fd_control *control, int fd)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->space;
	msg->msg_controllen = CMSG_SPACE(sizeof(fd));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

int vhx_vu_message_send(int sock, const struct vhx_vu_header *hdr, const void *payload, int fd)
{
	struct iovec iov[2] = { { (void *)hdr, sizeof(*hdr) }, { (void *)payload, hdr->size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	union fd_control control;
	ssize_t n;

	if (fd >= 0)
		control_put(&msg, &control, fd);
	n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return (size_t)n == sizeof(*hdr) + hdr->size ? 0 : -EAGAIN;
}
