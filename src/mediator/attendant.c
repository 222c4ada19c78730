// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/attendant.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/unix_fds.h"

/* Nothing else of what was open before the fork is the attendant's: sockets of virtual machines least of all. */
static int descriptors_close(int sock)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (dup3(sock, STDERR_FILENO + 1, O_CLOEXEC) >= 0)
		sock = STDERR_FILENO + 1;
	close_range((unsigned int)sock + 1, ~0u, 0);
	return sock;
}

_Noreturn static void process_main(int sock, void (*run)(int sock, const void *ctx),
				   const void *ctx)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	run(descriptors_close(sock), ctx);
	_exit(0);
}

int vhx_attendant_open(struct vhx_attendant *a, void (*run)(int sock, const void *ctx),
		       const void *ctx)
{
	int ends[2], ret;

	*a = (struct vhx_attendant){ .sock = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	a->pid = fork();
	if (a->pid < 0) {
		ret = -errno;
		close(ends[0]);
		close(ends[1]);
		return ret;
	}
	if (!a->pid) {
		/* Its own end of it: else it would never see the end of the other. */
		close(ends[0]);
		process_main(ends[1], run, ctx);
	}
	close(ends[1]);
	a->sock = ends[0];
	return 0;
}

void vhx_attendant_answer(int sock, const void *answer, size_t answer_len, int fd)
{
	struct iovec iov = { .iov_base = (void *)answer, .iov_len = answer_len };

	if (vhx_unix_send_fd(sock, &iov, 1, fd, MSG_NOSIGNAL) >= 0 || fd < 0)
		return;
	/* Too many descriptors of this user are under way (ETOOMANYREFS): an answer without one says that. */
	vhx_unix_send_fd(sock, &iov, 1, -1, MSG_NOSIGNAL);
}

int vhx_attendant_ask(const struct vhx_attendant *a, const void *request, size_t request_len,
		      void *answer, size_t answer_len, int *fd)
{
	struct vhx_unix_fds fds = { .fds = fd, .max = 1 };
	ssize_t n;

	*fd = -1;
	if (send(a->sock, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len)
		return -EPIPE;
	do {
		n = vhx_unix_recv_fds(a->sock, answer, answer_len, 0, &fds);
	} while (n == -EINTR);
	if (n == (ssize_t)answer_len)
		return 0;
	if (fds.cnt)
		close(*fd);
	*fd = -1;
	return -EPIPE;
}

void vhx_attendant_close(struct vhx_attendant *a)
{
	if (a->sock < 0)
		return;
	close(a->sock);
	a->sock = -1;
	while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
