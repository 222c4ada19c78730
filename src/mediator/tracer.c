// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 *   IDLE       no client, the trace is off and has no memory
 *   RUNNING    the trace is on; what it has is written whenever the client takes it
 *   ENDING     the client has shut down its side: the trace is off, the rest is written, then IDLE
 *
 * The descriptor is watched for EPOLLOUT only while there is something to write. A client that takes nothing makes
 * the trace drop messages, and costs its buffer; in ENDING it has VHX_TRACER_END_NS.
 *
 * Written from the loop's callbacks, never from where a message is recorded: that is in the middle of a pass.
 */
#include "mediator/tracer.h"

#include <json-c/json.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/base.h"

#define VHX_TRACER_END_NS 5000000000ull

static void tracer_stop(struct vhx_tracer *t)
{
	if (t->watch.fd < 0)
		return;
	vhx_loop_timer_cancel(t->loop, &t->timer);
	vhx_loop_fd_del(t->loop, &t->watch);
	close(t->watch.fd);
	t->watch.fd = -1;
	vhx_trace_stop(&t->trace);
	vhx_trace_fini(&t->trace);
}

static void tracer_want(struct vhx_tracer *t, uint32_t events)
{
	if (t->watch.events != events && vhx_loop_fd_modify(t->loop, &t->watch, events))
		tracer_stop(t);
}

/* From within a pass: only the next iteration writes. */
static void trace_ready(void *ctx)
{
	struct vhx_tracer *t = ctx;

	/* That it fails, for want of kernel memory, costs the trace time: the next message asks again. */
	if (t->watch.active && !(t->watch.events & EPOLLOUT))
		(void)vhx_loop_fd_modify(t->loop, &t->watch, t->watch.events | EPOLLOUT);
}

/* True: all of it is out. */
static bool tracer_write(struct vhx_tracer *t)
{
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	msg.msg_iovlen = vhx_trace_peek(&t->trace, iov);
	if (!msg.msg_iovlen)
		return true;
	n = sendmsg(t->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		tracer_stop(t);
		return false;
	}
	if (n > 0)
		vhx_trace_take(&t->trace, (size_t)n);
	return !vhx_trace_peek(&t->trace, iov);
}

/* The client says nothing but its end. */
static void tracer_hear(struct vhx_tracer *t)
{
	char byte;
	ssize_t n = recv(t->watch.fd, &byte, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n) {
		tracer_stop(t);
		return;
	}
	vhx_trace_stop(&t->trace);
	vhx_loop_timer_arm(t->loop, &t->timer, VHX_TRACER_END_NS);
	tracer_want(t, EPOLLOUT);
}

static void tracer_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_tracer *t = vhx_container_of(w, struct vhx_tracer, watch);

	if (events & (EPOLLERR | EPOLLHUP)) {
		tracer_stop(t);
		return;
	}
	if (events & EPOLLIN)
		tracer_hear(t);
	if (w->fd < 0 || !(events & EPOLLOUT) || !tracer_write(t))
		return;
	if (t->trace.on)
		tracer_want(t, EPOLLIN);
	else
		tracer_stop(t);
}

static void tracer_expired(struct vhx_loop_timer *timer)
{
	tracer_stop(vhx_container_of(timer, struct vhx_tracer, timer));
}

void vhx_tracer_init(struct vhx_tracer *t, struct vhx_loop *loop)
{
	*t = (struct vhx_tracer){ .loop = loop,
				  .watch = { .fd = -1, .ready = tracer_ready },
				  .timer = { .expired = tracer_expired } };
	vhx_list_init(&t->timer.node);
}

void vhx_tracer_fini(struct vhx_tracer *t)
{
	if (t->loop)
		tracer_stop(t);
}

static int snap_of(struct json_object *request, uint32_t *snap)
{
	struct json_object *value;
	int64_t number;

	*snap = 0;
	if (!request || !json_object_object_get_ex(request, "snap", &value))
		return 0;
	if (!json_object_is_type(value, json_type_int))
		return -EINVAL;
	number = json_object_get_int64(value);
	if (number < 0 || number > VHX_TRACE_SNAP_MAX)
		return -EINVAL;
	*snap = (uint32_t)number;
	return 0;
}

int vhx_tracer_take(struct vhx_tracer *t, struct json_object *request, int fd)
{
	uint32_t snap;
	int ret = snap_of(request, &snap);

	if (!ret)
		ret = vhx_trace_start(&t->trace, snap, trace_ready, t);
	if (ret)
		return ret;
	t->watch.fd = fd;
	t->watch.events = EPOLLIN | EPOLLOUT;
	ret = vhx_loop_fd_add(t->loop, &t->watch);
	if (!ret)
		return 0;
	t->watch.fd = -1;
	vhx_trace_stop(&t->trace);
	vhx_trace_fini(&t->trace);
	return ret;
}
