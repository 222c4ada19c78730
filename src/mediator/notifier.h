/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a service manager is told (sd_notify(3)): that the program serves, what it does, that it is alive.
 */
#ifndef VHX_MEDIATOR_NOTIFIER_H
#define VHX_MEDIATOR_NOTIFIER_H

#include "loop/loop.h"
#include "mediator/attendant.h"

/* A line for people, with its NUL. */
#define VHX_NOTIFIER_STATUS_MAX 128u

/* Writes what the program does into @text: "2 devices, 1 in use". */
typedef void vhx_notifier_status_fn(void *ctx, char text[VHX_NOTIFIER_STATUS_MAX]);

struct vhx_notifier {
	struct vhx_attendant attendant;
	struct vhx_loop *loop;
	struct vhx_loop_timer timer;
	uint64_t period_ns;
	bool watched;
	vhx_notifier_status_fn *status;
	void *ctx;
	char said[VHX_NOTIFIER_STATUS_MAX];
};

/* Before anything is opened. 0, also where no service manager asks; or a negative errno. */
int vhx_notifier_open(struct vhx_notifier *n, struct vhx_loop *loop);

/* READY=1. From now on the status when it has changed, and the watchdog's sign of life, by the loop. */
void vhx_notifier_ready(struct vhx_notifier *n, vhx_notifier_status_fn *status, void *ctx);

/* RELOADING=1; READY=1 with the next call of vhx_notifier_reloaded(). */
void vhx_notifier_reloading(struct vhx_notifier *n);
void vhx_notifier_reloaded(struct vhx_notifier *n);

/* STOPPING=1. May be repeated. */
void vhx_notifier_close(struct vhx_notifier *n);

#endif
