/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a long-running program opens for whoever operates it: the control socket, metrics, and SIGHUP for new settings;
 * each if its settings ask for it.
 */
#ifndef VHX_MEDIATOR_OPERATION_H
#define VHX_MEDIATOR_OPERATION_H

#include "mediator/control.h"
#include "mediator/metrics.h"
#include "mediator/reload.h"

struct vhx_operation_config {
	struct vhx_program *program;
	struct vhx_source *source;
	void *settings; /* in use, of the program: begin with the common ones */
	const struct vhx_control_command *commands; /* stay valid until it is closed */
	unsigned int commands_cnt;
	int (*stats)(void *ctx, struct json_object *into); /* for metrics */
	/* As of struct vhx_reload_config. */
	int (*apply)(void *ctx, const void *wanted, bool commit, struct vhx_error *err);
	void *ctx; /* of all these */
};

struct vhx_operation {
	struct vhx_control_socket *control; /* NULL: not asked for */
	struct vhx_metrics *metrics; /* likewise */
	struct vhx_reload reload;
};

/* 0, or a negative errno with a text; to be closed then too. */
int vhx_operation_open(struct vhx_operation *o, const struct vhx_operation_config *cfg,
		       struct vhx_error *err);
/* May be called on one that was never opened, if it was zero. */
void vhx_operation_close(struct vhx_operation *o);

#endif
