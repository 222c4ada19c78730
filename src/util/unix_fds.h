/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that go over a unix socket beside its bytes (SCM_RIGHTS).
 */
#ifndef VHX_UTIL_UNIX_FDS_H
#define VHX_UTIL_UNIX_FDS_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "util/base.h"

/* What any caller has room for: the longest that are passed are the memory tables of VMMs. */
#define VHX_UNIX_FDS_MAX 32u

struct vhx_unix_fds {
	int *fds; /* the caller's, room for @max of them: at most VHX_UNIX_FDS_MAX */
	unsigned int max;
	unsigned int cnt; /* that came: the caller's from now on, and close-on-exec */
	bool surplus; /* more were sent than these, and are closed */
};

/*
 * As recvmsg(2). Whatever the peer sends, no descriptor is left open that @fds does not have. Bytes or a negative errno;
 * then nothing came.
 */
ssize_t vhx_unix_recv_fds(int sock, void *buf, size_t len, int flags, struct vhx_unix_fds *fds);

/* As sendmsg(2), with @fd beside the bytes, unless it is -1; it stays the caller's. Bytes or a negative errno. */
ssize_t vhx_unix_send_fd(int sock, const struct iovec *iov, unsigned int iov_cnt, int fd,
			 int flags);

#endif
