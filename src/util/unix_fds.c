// SPDX-License-Identifier: BSD-3-Clause
#include "util/unix_fds.h"

#include <string.h>
#include <unistd.h>

/* Also where a peer fills several control messages: those that do not fit the caller's room any more are closed. */
static void fds_take(struct vhx_unix_fds *fds, const struct cmsghdr *c)
{
	size_t cnt = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	size_t i;
	int fd;

	for (i = 0; i < cnt; i++) {
		memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
		if (fds->cnt < fds->max) {
			fds->fds[fds->cnt++] = fd;
		} else {
			close(fd);
			fds->surplus = true;
		}
	}
}

ssize_t vhx_unix_recv_fds(int sock, void *buf, size_t len, int flags, struct vhx_unix_fds *fds)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VHX_UNIX_FDS_MAX * sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(fds->max * sizeof(int)),
	};
	struct cmsghdr *c;
	ssize_t n;

	assert(fds->max <= VHX_UNIX_FDS_MAX);
	fds->cnt = 0;
	fds->surplus = false;
	n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			fds_take(fds, c);
	}
	/* What the kernel had no room for, or we no descriptors, it has closed. */
	fds->surplus |= !!(msg.msg_flags & MSG_CTRUNC);
	return n;
}

ssize_t vhx_unix_send_fd(int sock, const struct iovec *iov, unsigned int iov_cnt, int fd, int flags)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = vhx_unconst(iov), .msg_iovlen = iov_cnt };
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	n = sendmsg(sock, &msg, flags);
	return n < 0 ? -errno : n;
}
