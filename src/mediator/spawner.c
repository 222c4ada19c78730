// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A request is one byte, since all that could be asked for is fixed by the fork: a frontend that was taken over can
 * have its own backend started, and nothing else. The answer is a packet of fixed size, with the channel's
 * descriptor where there is one. The frontend waits for it, as it waited for fork(2) before: the spawner is its
 * own, was never spoken to by a peer, and answers at once.
 *
 *   frontend --REAP|START--> spawner --fork, exec--> backend
 *            <--answer, fd--
 *
 * The spawner ends when the frontend closes the socket or dies, after its backend has: the image is free then.
 */
#include "mediator/spawner.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum request {
	REQUEST_REAP,
	REQUEST_START,
};

struct answer {
	int32_t result;
	int32_t status;
	struct vhx_error err;
};

/* In the spawner. */
struct process {
	struct vhx_spawn_config cfg;
	int sock;
	pid_t backend; /* 0: none */
};

static void reap(struct process *p, struct answer *answer, int *fd)
{
	int status = 0;

	answer->result = -ECHILD;
	if (!p->backend)
		return;
	answer->result = -EBUSY;
	if (waitpid(p->backend, &status, WNOHANG) != p->backend)
		return;
	p->backend = 0;
	answer->result = 0;
	answer->status = status;
}

static void start(struct process *p, struct answer *answer, int *fd)
{
	answer->result = p->backend ? -EBUSY : vhx_spawn(&p->cfg, fd, &p->backend, &answer->err);
}

static void (*const requests[])(struct process *p, struct answer *answer, int *fd) = {
	[REQUEST_REAP] = reap,
	[REQUEST_START] = start,
};

static void process_run(struct process *p)
{
	uint8_t request;
	ssize_t n;

	for (;;) {
		struct answer answer = { 0 };
		int fd = -1;

		n = recv(p->sock, &request, sizeof(request), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(request) || request >= VHX_ARRAY_SIZE(requests))
			break;
		requests[request](p, &answer, &fd);
		vhx_attendant_answer(p->sock, &answer, sizeof(answer), fd);
		if (fd >= 0)
			close(fd);
	}
	if (p->backend)
		waitpid(p->backend, NULL, 0);
}

static void process_main(int sock, const void *cfg)
{
	struct process p = { .cfg = *(const struct vhx_spawn_config *)cfg, .sock = sock };

	process_run(&p);
}

int vhx_spawner_open(const struct vhx_spawn_config *cfg, struct vhx_spawner *s)
{
	return vhx_attendant_open(&s->attendant, process_main, cfg);
}

/* The answer's result; -EPIPE when there is none. */
static int ask(const struct vhx_spawner *s, enum request what, struct answer *answer, int *fd)
{
	uint8_t request = what;
	int ret = vhx_attendant_ask(&s->attendant, &request, sizeof(request), answer,
				    sizeof(*answer), fd);

	return ret ?: answer->result;
}

int vhx_spawner_reap(const struct vhx_spawner *s, int *status)
{
	struct answer answer;
	int fd;
	int ret = ask(s, REQUEST_REAP, &answer, &fd);

	if (!ret)
		*status = answer.status;
	return ret;
}

int vhx_spawner_start(const struct vhx_spawner *s, int *sock, struct vhx_error *err)
{
	struct answer answer;
	int ret = ask(s, REQUEST_START, &answer, sock);

	if (ret == -EPIPE)
		vhx_error_set(err, "the process that starts backends is gone");
	else if (ret)
		*err = answer.err;
	else if (*sock < 0)
		/* It was sent; the limit of open files did not let it in. */
		vhx_error_set(err, "%s", strerror(EMFILE));
	return ret ?: *sock < 0 ? -EMFILE : 0;
}

void vhx_spawner_close(struct vhx_spawner *s)
{
	vhx_attendant_close(&s->attendant);
}
