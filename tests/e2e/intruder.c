// SPDX-License-Identifier: BSD-3-Clause
/*
 * A backend that was taken over: confines itself as vhx-backend does, by the same code and the same table, and then
 * tries one door to another process.
 *
 *   intruder backend|nothing DOOR PID ADDRESS FD SOCKET
 *
 * PID is the victim, ADDRESS a place of guest memory in it, FD its descriptor of that memory, SOCKET a unix stream
 * socket of it. Exit status: 0 the way is open, 1 it is closed (the last line says how), 2 the trial itself failed. A
 * process that the filter ends was stopped as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine/confine.h"

#define OPEN 0
#define CLOSED 1
#define BROKEN 2

struct victim {
	pid_t pid;
	uintptr_t address;
	int fd;
	const char *socket;
};

/* Makes a door of a call: not negative is open. */
static int verdict(const char *what, long ret)
{
	if (ret >= 0) {
		printf("%s: open\n", what);
		return OPEN;
	}
	printf("%s: closed: %s\n", what, strerror(errno));
	return CLOSED;
}

static int try_mem(const struct victim *v)
{
	char path[64], byte;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)v->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return verdict("/proc/PID/mem", fd < 0 ? fd : pread(fd, &byte, 1, (off_t)v->address));
}

static int try_fd(const struct victim *v)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)v->pid, v->fd);
	return verdict("/proc/PID/fd", open(path, O_RDWR | O_CLOEXEC));
}

static int try_readv(const struct victim *v)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)v->address, 1 };

	return verdict("process_vm_readv", process_vm_readv(v->pid, &here, 1, &there, 1, 0));
}

static int try_writev(const struct victim *v)
{
	char byte = 0;
	struct iovec here = { &byte, 1 }, there = { (void *)v->address, 1 };

	/* What is there already, so that an open door does no harm; if it can be read. */
	(void)process_vm_readv(v->pid, &here, 1, &there, 1, 0);
	return verdict("process_vm_writev", process_vm_writev(v->pid, &here, 1, &there, 1, 0));
}

static int try_ptrace(const struct victim *v)
{
	return verdict("ptrace", ptrace(PTRACE_SEIZE, v->pid, NULL, NULL));
}

static int try_getfd(const struct victim *v)
{
	long pidfd = syscall(SYS_pidfd_open, v->pid, 0);

	return verdict("pidfd_getfd",
		       pidfd < 0 ? pidfd : syscall(SYS_pidfd_getfd, pidfd, v->fd, 0));
}

static int try_connect(const struct victim *v)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(sun.sun_path, v->socket, sizeof(sun.sun_path) - 1);
	return verdict("connect", fd < 0 ? fd : connect(fd, (struct sockaddr *)&sun, sizeof(sun)));
}

static int try_uring(const struct victim *v)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(4, &ring, 0);

	errno = -ret;
	return verdict("io_uring_setup", ret);
}

static int try_exec(const struct victim *v)
{
	/* OPEN, if it comes to that. */
	execl("/bin/true", "true", (char *)NULL);
	return verdict("execve", -1);
}

static int try_fork(const struct victim *v)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return verdict("fork", pid);
}

static int try_kill(const struct victim *v)
{
	return verdict("kill", kill(v->pid, SIGCONT));
}

static int try_namespace(const struct victim *v)
{
	return verdict("unshare", unshare(CLONE_NEWUSER));
}

static int try_executable(const struct victim *v)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return verdict("executable memory", p == MAP_FAILED ? -1 : 0);
}

static int try_file(const struct victim *v)
{
	return verdict("open", open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int try_remove(const struct victim *v)
{
	return verdict("unlink", unlink(v->socket));
}

static const struct {
	const char *name;
	int (*run)(const struct victim *v);
} doors[] = {
	{ "mem", try_mem },
	{ "fd", try_fd },
	{ "readv", try_readv },
	{ "writev", try_writev },
	{ "ptrace", try_ptrace },
	{ "getfd", try_getfd },
	{ "connect", try_connect },
	{ "uring", try_uring },
	{ "exec", try_exec },
	{ "fork", try_fork },
	{ "kill", try_kill },
	{ "unshare", try_namespace },
	{ "execmem", try_executable },
	{ "file", try_file },
	{ "remove", try_remove },
};

struct attempt {
	int (*run)(const struct victim *v);
	struct victim victim;
	int result;
};

/* A thread that was started behind the door is as good as none. */
static void *attempt_main(void *arg)
{
	struct attempt *a = arg;

	a->result = a->run(&a->victim);
	return NULL;
}

static int confine(const char *as)
{
	struct vhx_confine_config cfg = {
		.mode = VHX_CONFINE_ON,
		.role = &vhx_confine_backend,
	};
	struct vhx_error err;

	if (!strcmp(as, "nothing"))
		return 0;
	if (!vhx_confine_begin(cfg.mode, &err) && !vhx_confine(&cfg, &err))
		return 0;
	printf("%s\n", err.text);
	return -1;
}

static int door_find(struct attempt *a, const char *name)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(doors); i++) {
		if (!strcmp(doors[i].name, name))
			a->run = doors[i].run;
	}
	return a->run ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct attempt a = { .result = BROKEN };
	pthread_t thread;

	if (argc != 7 || door_find(&a, argv[2])) {
		fprintf(stderr, "usage: intruder backend|nothing DOOR PID ADDRESS FD SOCKET\n");
		return BROKEN;
	}
	a.victim.pid = atoi(argv[3]);
	a.victim.address = strtoull(argv[4], NULL, 16);
	a.victim.fd = atoi(argv[5]);
	a.victim.socket = argv[6];
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (confine(argv[1]))
		return BROKEN;
	if (pthread_create(&thread, NULL, attempt_main, &a) || pthread_join(thread, NULL))
		return BROKEN;
	return a.result;
}
