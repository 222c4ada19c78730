/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New settings for a program that runs: all of them, or none and a reason.
 */
#ifndef VHX_MEDIATOR_RELOAD_H
#define VHX_MEDIATOR_RELOAD_H

#include "mediator/program.h"
#include "mediator/source.h"

struct json_object;
struct vhx_control_request;

struct vhx_reload_config {
	struct vhx_program *program;
	struct vhx_source *source;
	void *settings; /* in use, replaced as a whole */
	/*
	 * @wanted differs in what may change. @commit false: 0, or negative with a text if it cannot be; true: does
	 * it, and cannot fail.
	 */
	int (*apply)(void *ctx, const void *wanted, bool commit, struct vhx_error *err);
	void *ctx;
};

struct vhx_reload {
	struct vhx_reload_config cfg;
	struct vhx_loop_fd hangup; /* SIGHUP's; fd -1: not watched */
};

/* SIGHUP reads the configuration file again, where there is one. 0 or a negative errno. */
int vhx_reload_open(struct vhx_reload *r, const struct vhx_reload_config *cfg);
void vhx_reload_close(struct vhx_reload *r);

/* From @fd instead of the file, unless that is -1. 0, or negative with a text, and nothing has changed. */
int vhx_reload_run(struct vhx_reload *r, int fd, struct vhx_error *err);

/* {"command":"reload"}, a file may come along. For a struct vhx_control_command. */
int vhx_reload_change(struct vhx_reload *r, struct vhx_control_request *req, struct vhx_error *err);

/*
 * For apply: who may connect to a socket that is there. Its path, mode and group stay. @name is for @err.
 */
int vhx_reload_policy(struct vhx_unix_policy *live, const struct vhx_unix_policy *wanted,
		      bool commit, const char *name, struct vhx_error *err);

/* For apply: the control socket of the common settings. */
int vhx_reload_control(struct vhx_reload *r, const struct vhx_program_settings *wanted, bool commit,
		       struct vhx_error *err);

#endif
