/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a vhost-user back-end connects to us, in place of us to it (mediator/dialer.h): as Open vSwitch's
 * dpdkvhostuserclient ports do, and others that are to find a VMM again by themselves.
 */
#ifndef VHX_MEDIATOR_AWAITER_H
#define VHX_MEDIATOR_AWAITER_H

#include "util/error.h"

struct vhx_awaiter;

/*
 * Listens on @path, for our own user and root only, or takes the socket that a service manager passed for it. 0, or what
 * vhx_unix_listen() says, with a text. @patience_ms: see below.
 */
int vhx_awaiter_new(const char *path, int patience_ms, struct vhx_awaiter **awaiter,
		    struct vhx_error *err);

/*
 * A connected, non-blocking stream socket, the caller's; or negative with a text. Whoever else connects meanwhile waits in
 * the backlog. The first call waits for up to the patience, later ones never. @ctx: the awaiter.
 */
int vhx_awaiter_connect(void *ctx, struct vhx_error *err);

/* The socket's file goes as well. */
void vhx_awaiter_free(void *ctx);

#endif
