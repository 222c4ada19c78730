/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hands a trace of a program's messages to a client of its control socket: `vhxctl trace`. One client at a time.
 */
#ifndef VHX_MEDIATOR_TRACER_H
#define VHX_MEDIATOR_TRACER_H

#include "link/trace.h"
#include "loop/loop.h"

struct json_object;

struct vhx_tracer {
	struct vhx_loop *loop;
	struct vhx_trace trace; /* what links are given */
	struct vhx_loop_fd watch; /* fd -1: nobody traces */
	struct vhx_loop_timer timer;
};

/* Zero-cost until somebody asks. @t outlives all links that have its trace. */
void vhx_tracer_init(struct vhx_tracer *t, struct vhx_loop *loop);
/* Ends what runs. May be repeated. */
void vhx_tracer_fini(struct vhx_tracer *t);

/*
 * A control command that takes its client over, see vhx_control_command.take. @request may say "snap".
 * 0: @fd is the tracer's; -EBUSY, -EINVAL, -ENOMEM, ...: it is still the caller's.
 *
 * The client gets pcapng blocks until it shuts down its sending side; what was recorded by then still comes.
 */
int vhx_tracer_take(struct vhx_tracer *t, struct json_object *request, int fd);

#endif
