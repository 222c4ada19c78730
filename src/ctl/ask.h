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

/* The object that the program answered, to be put; NULL with a text: nobody there, too late, no object. */
struct json_object *vhx_ctl_ask(const char *path, const char *command, struct vhx_error *err);

#endif
