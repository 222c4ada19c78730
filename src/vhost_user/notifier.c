// SPDX-License-Identifier: BSD-3-Clause
/*
 * Notification descriptors.
 *
 * They come from the VMM and share one open file with it: status flags are its business, set by it
 * at any time, and ours to leave alone. So whether a read or write would wait is never taken from
 * O_NONBLOCK:
 *
 * - read: RWF_NOWAIT, which the kernel honours for eventfd and pipe whatever the file's flags are;
 *   where it is refused, poll first.
 * - write: poll for POLLOUT first. Not writable means saturated or full: the reader has unread
 *   notifications, one more tells it nothing. The kernel has no non-waiting write to an eventfd, so
 *   a VMM that saturates the counter between these two calls could hold up the writing thread until
 *   it drains the counter.
 *
 * Only eventfd, pipe and unix socket are accepted: files of other kinds (FUSE, tty, ...) may wait
 * although poll says ready. Linux VMMs use eventfds; User-Mode Linux passes pipes for its
 * interrupts. Writing to a pipe without a reader raises SIGPIPE: programs that serve a VMM ignore
 * that signal.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vhost_user/notifier.h"

static bool fd_is_eventfd(int fd)
{
	char link[64], target[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return true; /* no /proc: the mode of an anonymous inode has to do */
	target[n] = '\0';
	return !strcmp(target, "anon_inode:[eventfd]");
}

int vhx_vu_notifier_check(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
		return 0;
	/* An anonymous inode has no type bits. */
	if (!(st.st_mode & S_IFMT) && fd_is_eventfd(fd))
		return 0;
	return -EINVAL;
}

static bool fd_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) == 1 && (p.revents & events) && !(p.revents & POLLERR);
}

void vhx_vu_notifier_raise(int fd)
{
	const uint64_t one = 1;

	/* Any failure: the reader is gone, or has a notification already. */
	if (fd >= 0 && fd_ready(fd, POLLOUT) && write(fd, &one, sizeof(one)) < 0)
		return;
}

bool vhx_vu_notifier_clear(int fd)
{
	uint64_t value;
	struct iovec iov = { &value, sizeof(value) };
	ssize_t n;

	if (fd < 0)
		return false;
	n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
		n = fd_ready(fd, POLLIN) ? read(fd, &value, sizeof(value)) : -1;
	return n > 0;
}
