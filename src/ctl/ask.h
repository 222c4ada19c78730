/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client of a program's control socket (mediator/control.h).
 */
#ifndef VHX_CTL_ASK_H
#define VHX_CTL_ASK_H

#include "util/base.h"
#include "util/error.h"

struct json_object;

/* Monotonic. */
uint64_t vhx_ctl_now_ms(void);

/* A connected descriptor, or negative with a text. Waits a bounded time for a server that is busy. */
int vhx_ctl_connect(const char *path, struct vhx_error *err);

/* An argument of a command, see mediator/control.h. */
struct vhx_ctl_argument {
	const char *name, *value;
};

struct vhx_ctl_request {
	const char *command;
	const struct vhx_ctl_argument *arguments;
	unsigned int arguments_cnt;
	int fd; /* to go along, or -1; stays the caller's */
};

/*
 * Has the program at @path do what @req says. 0; or negative with a text, of the program or of the way to it:
 * -EPROTO where it refused.
 */
int vhx_ctl_change(const char *path, const struct vhx_ctl_request *req, struct vhx_error *err);

/* The object that the program answered, to be put; NULL with a text: nobody there, too late, no object. */
struct json_object *vhx_ctl_ask(const char *path, const char *command, struct vhx_error *err);

#endif
