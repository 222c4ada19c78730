// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * An engine carries out operations; this file ties it to the loop. Completions are announced on an eventfd,
 * so that a sleeping loop wakes, and looked for by a hook, so that a loop that spins before it
 * sleeps sees them without a system call. Both end in the engine's reap, on the loop's thread; what done
 * callbacks queue is submitted right after.
 *
 * Operations in flight are bounded by the depth given at creation, which the caller keeps: it has that many
 * operations and no more. Engines size their tables by it, so queueing cannot fail.
 */
#include "device/io.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device/io_engine.h"

static bool io_progress(struct vhx_io *io)
{
	bool any = io->ops->reap(io);

	io->ops->submit(io);
	return any;
}

static void io_event_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_io *io = vhx_container_of(w, struct vhx_io, event);
	uint64_t cnt;
	ssize_t n = read(w->fd, &cnt, sizeof(cnt));

	(void)n;
	io_progress(io);
}

static bool io_hook_poll(struct vhx_loop_hook *h)
{
	const struct vhx_io *io = vhx_container_of(h, struct vhx_io, hook);

	return io->ops->ready(io);
}

static bool io_hook_run(struct vhx_loop_hook *h)
{
	struct vhx_io *io = vhx_container_of(h, struct vhx_io, hook);

	return io->ops->ready(io) && io_progress(io);
}

static int engine_new(enum vhx_io_kind kind, unsigned int depth, int event_fd, struct vhx_io **io)
{
	int ret;

	if (kind == VHX_IO_THREADS)
		return vhx_io_threads_new(depth, event_fd, io);
	ret = vhx_io_uring_new(depth, event_fd, io);
	if (ret < 0 && kind == VHX_IO_AUTO)
		ret = vhx_io_threads_new(depth, event_fd, io);
	return ret;
}

int vhx_io_new(struct vhx_loop *loop, enum vhx_io_kind kind, unsigned int depth, struct vhx_io **io)
{
	int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct vhx_io *e;
	int ret;

	if (event_fd < 0)
		return -errno;
	ret = engine_new(kind, depth, event_fd, &e);
	if (ret < 0)
		goto close_event;
	e->loop = loop;
	e->depth = depth;
	e->event =
		(struct vhx_loop_fd){ .fd = event_fd, .events = EPOLLIN, .ready = io_event_ready };
	ret = vhx_loop_fd_add(loop, &e->event);
	if (ret < 0)
		goto free_engine;
	e->hook = (struct vhx_loop_hook){ .run = io_hook_run,
					  .prepare = io_hook_poll,
					  .poll = io_hook_poll };
	vhx_loop_hook_add(loop, &e->hook);
	*io = e;
	return 0;

free_engine:
	e->ops->free(e);
close_event:
	close(event_fd);
	return ret;
}

void vhx_io_free(struct vhx_io *io)
{
	int event_fd;

	if (!io)
		return;
	assert(io->in_flight == 0);
	vhx_loop_hook_del(io->loop, &io->hook);
	vhx_loop_fd_del(io->loop, &io->event);
	event_fd = io->event.fd;
	io->ops->free(io);
	close(event_fd);
}

void vhx_io_queue(struct vhx_io *io, struct vhx_io_op *op)
{
	assert(io->in_flight < io->depth && op->done);
	io->in_flight++;
	io->ops->queue(io, op);
}

void vhx_io_submit(struct vhx_io *io)
{
	io->ops->submit(io);
}

void vhx_io_wait(struct vhx_io *io)
{
	io->ops->submit(io);
	while (io->in_flight) {
		io->ops->wait(io);
		io_progress(io);
	}
}

const char *vhx_io_name(const struct vhx_io *io)
{
	return io->ops->name;
}

uint64_t vhx_io_memory(const struct vhx_io *io)
{
	return io->memory;
}
