// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/attendant.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

union fd_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

void vhx_attendant_answer(int sock, const void *answer, size_t answer_len, int fd)
{
	struct iovec iov = { .iov_base = (void *)answer, .iov_len = answer_len };
	union fd_control control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0 || fd < 0)
		return;
	/* Too many descriptors of this user are under way (ETOOMANYREFS): an answer without one says that. */
	msg.msg_control = NULL;
	msg.msg_controllen = 0;
	(void)sendmsg(sock, &msg, MSG_NOSIGNAL);
}

static int fd_of(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

int vhx_attendant_ask(const struct vhx_attendant *a, const void *request, size_t request_len,
		      void *answer, size_t answer_len, int *fd)
{
	struct iovec iov = { .iov_base = answer, .iov_len = answer_len };
	union fd_control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	*fd = -1;
	if (send(a->sock, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len)
		return -EPIPE;
	do {
		n = recvmsg(a->sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)answer_len)
		return -EPIPE;
	*fd = fd_of(&msg);
	return 0;
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
