// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A backend must not be able to connect: the monitor socket of a VMM of the same user is one call away from all of the
 * guest's memory. A vsock device has to, each time that a guest connects. What is needed of that is one path and a
 * number behind it, so this is what can be had:
 *
 *   backend --tag, port, type--> connector --connect(2)--> PATH_port
 *           <--tag, result, fd--
 *
 * The path was given by the operator and is fixed by the fork; a backend that was taken over can choose the number.
 * connect(2) does not wait here (vhx_unix_connect), and a file system that does lets this device wait and no other.
 *
 * It is nobody's child to be waited for: a process between the two ends at once. It ends when the device closes its
 * end of the socket, by will or by death.
 */
#include "mediator/connector.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/vsock_connect.h"
#include "mediator/attendant.h"
#include "util/unix_socket.h"

struct task {
	const char *path;
	enum vhx_confine_mode mode;
};

/* In the connector. */

static int port_connect(const struct task *task, const struct vhx_vsock_ask *ask)
{
	char path[VHX_UNIX_PATH_MAX];
	struct vhx_error ignored;
	int len = snprintf(path, sizeof(path), "%s%s_%u", task->path, ask->seqpacket ? ".seq" : "",
			   ask->port);

	if (len < 0 || (size_t)len >= sizeof(path))
		return -ENAMETOOLONG;
	return vhx_unix_connect(path, ask->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM, &ignored);
}

static void asks_serve(int sock, const struct task *task)
{
	struct vhx_vsock_answer answer;
	struct vhx_vsock_ask ask;
	int fd;

	while (recv(sock, &ask, sizeof(ask), 0) == sizeof(ask)) {
		fd = port_connect(task, &ask);
		answer = (struct vhx_vsock_answer){ .tag = ask.tag, .result = fd < 0 ? fd : 0 };
		vhx_attendant_answer(sock, &answer, sizeof(answer), fd);
		if (fd >= 0)
			close(fd);
	}
}

static void process_run(int sock, const void *ctx)
{
	const struct task *task = ctx;
	const struct vhx_confine_config cfg = { .mode = task->mode,
						.role = &vhx_confine_connector };
	struct vhx_error err;

	/* The one between ends here. */
	if (fork())
		return;
	if (!vhx_confine_begin(cfg.mode, &err) && !vhx_confine(&cfg, &err))
		asks_serve(sock, task);
}

/* In the program. */

int vhx_connector_start(const char *path, enum vhx_confine_mode mode, int *sock)
{
	const struct task task = { .path = path, .mode = mode };
	struct vhx_attendant a;
	int ret = vhx_attendant_open(&a, process_run, &task);

	if (ret)
		return ret;
	while (waitpid(a.pid, NULL, 0) < 0 && errno == EINTR)
		;
	*sock = a.sock;
	return 0;
}
