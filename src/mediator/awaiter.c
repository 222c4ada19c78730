// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/awaiter.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "util/unix_socket.h"

struct vhx_awaiter {
	struct vhx_unix_listener sock;
	int patience_ms; /* of the next call */
};

int vhx_awaiter_new(const char *path, int patience_ms, struct vhx_awaiter **awaiter,
		    struct vhx_error *err)
{
	struct vhx_awaiter *a = calloc(1, sizeof(*a));
	int ret;

	if (!a) {
		vhx_error_set(err, "out of memory");
		return -ENOMEM;
	}
	ret = vhx_unix_listen(&a->sock, path, SOCK_STREAM, 0600, err);
	if (ret) {
		free(a);
		return ret;
	}
	a->patience_ms = patience_ms;
	*awaiter = a;
	return 0;
}

int vhx_awaiter_connect(void *ctx, struct vhx_error *err)
{
	struct vhx_awaiter *a = ctx;
	struct pollfd p = { .fd = a->sock.fd, .events = POLLIN };
	int fd;

	/* A signal that ends the program ends the wait, too. */
	if (a->patience_ms)
		(void)poll(&p, 1, a->patience_ms);
	a->patience_ms = 0;
	fd = vhx_unix_accept(a->sock.fd);
	if (fd == -EAGAIN)
		vhx_error_set(err, "%s: no back-end has connected", a->sock.path);
	else if (fd < 0)
		vhx_error_set(err, "%s: %s", a->sock.path, strerror(-fd));
	return fd;
}

void vhx_awaiter_free(void *ctx)
{
	struct vhx_awaiter *a = ctx;

	vhx_unix_unlisten(&a->sock);
	free(a);
}
