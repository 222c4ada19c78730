/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of a vsock device as far as it is no connection yet: sockets that are listened on, what their
 * clients begin with, and asking for connections. Private to vsock.c.
 */
#ifndef VHX_DEVICE_VSOCK_HOST_H
#define VHX_DEVICE_VSOCK_HOST_H

#include "device/vsock.h"
#include "loop/loop.h"

/* Asked at once: so many answers fit the socket, and a queue behind a slow file system is no longer than that. */
#define VHX_VSOCK_ASKS_MAX 32u

struct vhx_vsock_host;

/* The owner's, called from the loop. Descriptors are its own from then on. */
struct vhx_vsock_host_events {
	void (*accepted)(struct vhx_vsock_host *h, int fd, bool seqpacket);
	/* @fd is negative, an errno, where nobody could be reached. */
	void (*answered)(struct vhx_vsock_host *h, uint64_t tag, int fd);
	/* There is nobody to ask any more: nothing that was asked will be answered. */
	void (*forsaken)(struct vhx_vsock_host *h);
};

struct vhx_vsock_listener {
	struct vhx_vsock_host *host;
	struct vhx_unix_listener sock;
	struct vhx_loop_fd watch;
	int spare_fd;
};

struct vhx_vsock_host {
	const struct vhx_vsock_host_events *events;
	struct vhx_loop *loop;
	struct vhx_vsock_listener listeners[2]; /* of streams, of sequenced packets */
	struct vhx_loop_fd connector;
	unsigned int asked; /* and not answered */
};

/* 0 or negative with a line; then nothing is left open. @connector becomes its own on success; -1: there is none. */
int vhx_vsock_host_open(struct vhx_vsock_host *h, const char *path, bool seqpacket, int connector,
			struct vhx_loop *loop, const struct vhx_vsock_host_events *events,
			struct vhx_error *err);
/* May be repeated, on what is zero as well. */
void vhx_vsock_host_close(struct vhx_vsock_host *h);

/* Asks for a connection to @port. 0; -EAGAIN: after the next answer; -ECONNREFUSED: there is nobody to ask. */
int vhx_vsock_host_ask(struct vhx_vsock_host *h, uint64_t tag, uint32_t port, bool seqpacket);

/*
 * How a client of the listening socket begins: "CONNECT P\n", and not a byte more is taken; @seqpacket: a message of just
 * that. 1: *@port; 0: not all of it is there; -EPROTO, or -EPIPE: it left.
 */
int vhx_vsock_greeting_read(int fd, bool seqpacket, uint32_t *port);
/* "OK N\n". 0 or -EPIPE. */
int vhx_vsock_greeting_answer(int fd, uint32_t port);

#endif
