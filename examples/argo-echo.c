// SPDX-License-Identifier: BSD-3-Clause
/*
 * Serves a domain of a Xen host: what comes on a stream goes back on it.
 *
 *   cc argo-echo.c $(pkg-config --cflags --libs libvhx-argo) -o argo-echo
 *   ./argo-echo 5 7        dom0: domain 5 may connect to port 7
 *   vhx-argo-cat 0 7       domain 5
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vhx/argo_endpoint.h>

/* One stream, to its end. Whoever sends and does not read is not read, either: there is room for one piece. */
static int echo(struct vhx_argo_stream *s)
{
	char buf[4096];
	int64_t held = 0, n;

	for (;;) {
		n = held ? vhx_argo_stream_send(s, buf, (size_t)held)
			 : vhx_argo_stream_recv(s, buf, sizeof(buf));
		if (n == 0 || (n < 0 && n != -EAGAIN))
			break;
		if (n < 0) {
			vhx_argo_stream_wait(s, -1);
		} else if (held) {
			held -= n;
			memmove(buf, buf + n, (size_t)held);
		} else {
			held = n;
		}
	}
	while (n == 0 && (n = vhx_argo_stream_shutdown(s)) == -EAGAIN)
		n = vhx_argo_stream_wait(s, -1);
	return (int)n;
}

int main(int argc, char **argv)
{
	struct vhx_argo_driver *driver;
	struct vhx_argo_listener *listener;
	struct vhx_argo_stream *stream;
	int err;

	if (argc != 3)
		return 2;
	err = vhx_argo_driver_open(&driver);
	if (!err)
		err = vhx_argo_listener_open(driver, (uint32_t)strtoul(argv[2], NULL, 0),
					     (uint16_t)strtoul(argv[1], NULL, 0), &listener);
	while (!err || err == -EAGAIN) {
		if (err)
			vhx_argo_listener_wait(listener, -1);
		err = vhx_argo_listener_accept(listener, driver, &stream);
		if (err)
			continue;
		fprintf(stderr, "a stream ended: %s\n", strerror(-echo(stream)));
		vhx_argo_stream_close(stream);
	}
	fprintf(stderr, "argo-echo: %s\n", strerror(-err));
	return 1;
}
