/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Storage operations that may wait, behind one interface: io_uring, or a few threads where io_uring is
 * refused (seccomp profiles of containers do). Operations belong to the caller and are not touched between
 * vhx_io_queue() and their done callback, which runs on the loop's thread.
 */
#ifndef VHX_DEVICE_IO_H
#define VHX_DEVICE_IO_H

#include <sys/uio.h>

#include "loop/loop.h"
#include "util/base.h"
#include "util/list.h"

struct vhx_io;

enum vhx_io_code {
	VHX_IO_READV, /* iov, iov_cnt, off, flags: RWF_* */
	VHX_IO_WRITEV, /* the same */
	VHX_IO_FDATASYNC, /* nothing */
	VHX_IO_FALLOCATE, /* off, len, flags: FALLOC_FL_* */
	VHX_IO_CODE_CNT_,
};

struct vhx_io_op {
	struct vhx_list node; /* the engine's */
	enum vhx_io_code code;
	int fd;
	int flags;
	const struct iovec *iov;
	unsigned int iov_cnt;
	uint64_t off;
	uint64_t len;
	int res; /* bytes, 0, or a negative errno: the raw result, short transfers included */
	void (*done)(struct vhx_io_op *op);
};

enum vhx_io_kind {
	VHX_IO_AUTO, /* io_uring, else threads */
	VHX_IO_URING,
	VHX_IO_THREADS,
};

/*
 * @depth: most operations between queue and done at any time.
 * 0; -ENOSYS and what io_uring_setup(2) says when VHX_IO_URING is not to be had; -ENOMEM, -EAGAIN.
 */
int vhx_io_new(struct vhx_loop *loop, enum vhx_io_kind kind, unsigned int depth,
	       struct vhx_io **io);
/* Nothing may be in flight. */
void vhx_io_free(struct vhx_io *io);

/* Gathers @op; it starts with the next vhx_io_submit(), at the latest. */
void vhx_io_queue(struct vhx_io *io, struct vhx_io_op *op);
/* Starts all that was gathered, in one system call. Needless from a done callback: follows by itself. */
void vhx_io_submit(struct vhx_io *io);
/* Blocks until nothing is in flight, calling done callbacks; for the end of a device only. */
void vhx_io_wait(struct vhx_io *io);

const char *vhx_io_name(const struct vhx_io *io);
uint64_t vhx_io_memory(const struct vhx_io *io);

#endif
