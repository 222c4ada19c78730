/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VHX_TESTS_FDS_H
#define VHX_TESTS_FDS_H

#include <sys/uio.h>

/* More than anybody has room for. */
#define FDS_SENT_MAX 64u

/* How many descriptors this process has: for a test to find one that was left open. */
int fds_open(void);

/* As sendmsg(2), with @cnt of them beside the bytes: also as many as nobody would send who means well. */
ssize_t fds_send(int sock, const struct iovec *iov, unsigned int iov_cnt, const int *fds,
		 unsigned int cnt);

#endif
