/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between io.c and its engines; nobody else includes it.
 */
#ifndef VHX_DEVICE_IO_ENGINE_H
#define VHX_DEVICE_IO_ENGINE_H

#include "device/io.h"

struct vhx_io_ops {
	const char *name;
	void (*queue)(struct vhx_io *io, struct vhx_io_op *op);
	void (*submit)(struct vhx_io *io);
	/* Delivers what has completed, through vhx_io_deliver(); true: something had. */
	bool (*reap)(struct vhx_io *io);
	/* Something to reap or to submit again? Free of side effects. */
	bool (*ready)(const struct vhx_io *io);
	/* Sleeps until something has completed. */
	void (*wait)(struct vhx_io *io);
	void (*free)(struct vhx_io *io);
};

/* Engines embed this first. */
struct vhx_io {
	const struct vhx_io_ops *ops;
	struct vhx_loop *loop;
	struct vhx_loop_fd event; /* eventfd: something has completed */
	struct vhx_loop_hook hook;
	unsigned int depth;
	unsigned int in_flight;
	uint64_t memory;
};

/* Each makes a bare engine; io.c completes it. */
int vhx_io_uring_new(unsigned int depth, int event_fd, struct vhx_io **io);
int vhx_io_threads_new(unsigned int depth, int event_fd, struct vhx_io **io);

static inline void vhx_io_deliver(struct vhx_io *io, struct vhx_io_op *op, int res)
{
	assert(io->in_flight > 0);
	io->in_flight--;
	op->res = res;
	op->done(op);
}

#endif
