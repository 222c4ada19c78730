// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * What can be asked for is fixed by the fork: a program that was taken over gets a connection to the back-end that it
 * has one to already, and to nothing else. The answer is a packet of fixed size, with the socket where there is
 * one. The program waits for it: the dialer is its own, was never spoken to by a peer, and connect(2) on a
 * non-blocking unix socket does not wait either.
 *
 * The dialer confines itself to just that, and ends when the program closes its end or dies.
 */
#include "mediator/dialer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mediator/attendant.h"
#include "util/unix_socket.h"

struct vhx_dialer {
	struct vhx_attendant attendant;
};

struct task {
	const char *path;
	enum vhx_confine_mode mode;
};

struct answer {
	int32_t result;
	struct vhx_error err;
};

/* In the process. */

static void process_run(int sock, const void *ctx)
{
	const struct task *task = ctx;
	const struct vhx_confine_config cfg = { .mode = task->mode,
						.role = &vhx_confine_connector };
	struct vhx_error ignored;
	uint8_t request;

	if (vhx_confine_begin(cfg.mode, &ignored) || vhx_confine(&cfg, &ignored))
		return;
	while (recv(sock, &request, sizeof(request), 0) == sizeof(request)) {
		struct answer answer = { 0 };
		int fd = vhx_unix_connect(task->path, SOCK_STREAM, &answer.err);

		answer.result = fd < 0 ? fd : 0;
		vhx_attendant_answer(sock, &answer, sizeof(answer), fd);
		if (fd >= 0)
			close(fd);
	}
}

/* In the program. */

int vhx_dialer_new(const char *path, enum vhx_confine_mode mode, struct vhx_dialer **dialer)
{
	const struct task task = { .path = path, .mode = mode };
	struct vhx_dialer *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	ret = vhx_attendant_open(&c->attendant, process_run, &task);
	if (ret) {
		free(c);
		return ret;
	}
	*dialer = c;
	return 0;
}

int vhx_dialer_connect(void *ctx, struct vhx_error *err)
{
	struct vhx_dialer *c = ctx;
	const uint8_t request = 0;
	struct answer answer;
	int fd, ret;

	ret = vhx_attendant_ask(&c->attendant, &request, sizeof(request), &answer, sizeof(answer),
				&fd);
	ret = ret ?: answer.result;
	if (ret == -EPIPE)
		vhx_error_set(err, "the process that connects to it is gone");
	else if (ret)
		*err = answer.err;
	else if (fd < 0)
		/* It was sent; the limit of open files did not let it in. */
		vhx_error_set(err, "%s", strerror(EMFILE));
	return ret ?: fd < 0 ? -EMFILE : fd;
}

void vhx_dialer_free(void *ctx)
{
	struct vhx_dialer *c = ctx;

	vhx_attendant_close(&c->attendant);
	free(c);
}
