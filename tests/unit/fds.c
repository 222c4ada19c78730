// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fds.h"

#include <dirent.h>
#include <string.h>
#include <sys/socket.h>

#include "util/base.h"

int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int cnt = 0;

	assert_non_null(dir);
	while (readdir(dir))
		cnt++;
	closedir(dir);
	return cnt;
}

ssize_t fds_send(int sock, const struct iovec *iov, unsigned int iov_cnt, const int *fds,
		 unsigned int cnt)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_SENT_MAX * sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = vhx_unconst(iov), .msg_iovlen = iov_cnt };

	assert_true(cnt <= FDS_SENT_MAX);
	if (cnt) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(cnt * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(cnt * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, cnt * sizeof(int));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL);
}
