/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one who connects to a vhost-user back-end for a confined program, which cannot connect to anything any more: a
 * process of its own, which knows one path and is asked by one byte.
 */
#ifndef VHX_MEDIATOR_DIALER_H
#define VHX_MEDIATOR_DIALER_H

#include "confine/confine.h"

struct vhx_dialer;

/* Forks it; it is confined as @mode says. 0; -ENOMEM, or what fork(2) says: -EPERM in a program that is confined already. */
int vhx_dialer_new(const char *path, enum vhx_confine_mode mode, struct vhx_dialer **dialer);

/*
 * A connected, non-blocking stream socket, the caller's; or negative with a text: nobody listens there, no
 * rights, -EPIPE: the dialer is gone. Waits for the dialer, which never does. @ctx: the dialer.
 */
int vhx_dialer_connect(void *ctx, struct vhx_error *err);

/* Ends it. */
void vhx_dialer_free(void *ctx);

#endif
