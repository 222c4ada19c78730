// SPDX-License-Identifier: BSD-3-Clause
/*
 * The io_uring engine: one ring, one entry in it for each operation that can be in flight, so that neither
 * queue of the ring can overflow. Entries are gathered until submit, which is one system call for all.
 *
 * io_uring is a second door to most of the kernel, past any filter of system calls. So the ring is made disabled, told
 * which operations it will ever take, and then enabled: reads, writes, fsync and fallocate on descriptors that the
 * process holds. Neither files nor buffers nor personalities can be registered later. A kernel that cannot restrict a
 * ring (before 5.10) is one without io_uring to us: threads do the work.
 *
 * The kernel may refuse a submission for the moment (no memory, an interrupted call); what it did not take
 * stays in the submission queue, ready() says so, and the loop's hook tries again.
 */
#include "device/io_engine.h"

#include <liburing.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	struct vhx_io io;
	struct io_uring ring;
};

static struct uring *uring_of(const struct vhx_io *io)
{
	return vhx_container_of(io, struct uring, io);
}

static void prep_readv(struct io_uring_sqe *sqe, const struct vhx_io_op *op)
{
	io_uring_prep_readv2(sqe, op->fd, op->iov, op->iov_cnt, op->off, op->flags);
}

static void prep_writev(struct io_uring_sqe *sqe, const struct vhx_io_op *op)
{
	io_uring_prep_writev2(sqe, op->fd, op->iov, op->iov_cnt, op->off, op->flags);
}

static void prep_fdatasync(struct io_uring_sqe *sqe, const struct vhx_io_op *op)
{
	io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
}

static void prep_fallocate(struct io_uring_sqe *sqe, const struct vhx_io_op *op)
{
	io_uring_prep_fallocate(sqe, op->fd, op->flags, (off_t)op->off, (off_t)op->len);
}

static void (*const preps[VHX_IO_CODE_CNT_])(struct io_uring_sqe *, const struct vhx_io_op *) = {
	[VHX_IO_READV] = prep_readv,
	[VHX_IO_WRITEV] = prep_writev,
	[VHX_IO_FDATASYNC] = prep_fdatasync,
	[VHX_IO_FALLOCATE] = prep_fallocate,
};

static void uring_queue(struct vhx_io *io, struct vhx_io_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring_of(io)->ring);

	/* Never: the ring has as many entries as operations may be in flight. */
	assert(sqe);
	if (!sqe)
		__builtin_unreachable();
	preps[op->code](sqe, op);
	io_uring_sqe_set_data(sqe, op);
}

static void uring_submit(struct vhx_io *io)
{
	struct uring *u = uring_of(io);

	if (io_uring_sq_ready(&u->ring))
		(void)io_uring_submit(&u->ring);
}

static bool uring_ready(const struct vhx_io *io)
{
	const struct uring *u = uring_of(io);

	return io_uring_cq_ready(&u->ring) || io_uring_sq_ready(&u->ring);
}

static bool uring_reap(struct vhx_io *io)
{
	struct uring *u = uring_of(io);
	struct io_uring_cqe *cqe;
	bool any = false;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct vhx_io_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		/* Seen before the callback: that may queue, and the entry is read already. */
		io_uring_cqe_seen(&u->ring, cqe);
		vhx_io_deliver(io, op, res);
		any = true;
	}
	return any;
}

/* What the kernel had no memory to take before is offered again: to wait for it alone would be for ever. */
static void uring_wait(struct vhx_io *io)
{
	(void)io_uring_submit_and_wait(&uring_of(io)->ring, 1);
}

static void uring_free(struct vhx_io *io)
{
	struct uring *u = uring_of(io);

	io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct vhx_io_ops uring_ops = {
	.name = "io_uring",
	.queue = uring_queue,
	.submit = uring_submit,
	.reap = uring_reap,
	.ready = uring_ready,
	.wait = uring_wait,
	.free = uring_free,
};

static const uint8_t opcodes_needed[] = {
	IORING_OP_READV,
	IORING_OP_WRITEV,
	IORING_OP_FSYNC,
	IORING_OP_FALLOCATE,
};

/* An older kernel, or a filter, may lack some of them. */
static int uring_probe(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	int ret = 0;
	size_t i;

	if (!probe)
		return -ENOSYS;
	for (i = 0; i < VHX_ARRAY_SIZE(opcodes_needed); i++) {
		if (!io_uring_opcode_supported(probe, opcodes_needed[i]))
			ret = -ENOSYS;
	}
	io_uring_free_probe(probe);
	return ret;
}

static long ring_register(const struct io_uring *ring, unsigned int what, void *arg,
			  unsigned int cnt)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, arg, cnt);
}

static int uring_restrict(struct io_uring *ring)
{
	struct io_uring_restriction rows[VHX_ARRAY_SIZE(opcodes_needed)] = { 0 };
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		rows[i].opcode = IORING_RESTRICTION_SQE_OP;
		rows[i].sqe_op = opcodes_needed[i];
	}
	/* liburing 2.3 declares functions for these two, and does not export them. */
	if (ring_register(ring, IORING_REGISTER_RESTRICTIONS, rows, VHX_ARRAY_SIZE(rows)) < 0 ||
	    ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	return 0;
}

int vhx_io_uring_new(unsigned int depth, int event_fd, struct vhx_io **io)
{
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return -ENOMEM;
	ret = io_uring_queue_init(depth, &u->ring, IORING_SETUP_R_DISABLED);
	if (ret < 0)
		goto free_uring;
	ret = uring_probe(&u->ring);
	if (ret < 0)
		goto exit_ring;
	ret = io_uring_register_eventfd(&u->ring, event_fd);
	if (ret < 0)
		goto exit_ring;
	ret = uring_restrict(&u->ring);
	if (ret < 0)
		goto exit_ring;
	u->io.ops = &uring_ops;
	u->io.memory = sizeof(*u) + u->ring.sq.ring_sz + u->ring.cq.ring_sz +
		       (uint64_t)*u->ring.sq.kring_entries * sizeof(struct io_uring_sqe);
	*io = &u->io;
	return 0;

exit_ring:
	io_uring_queue_exit(&u->ring);
free_uring:
	free(u);
	return ret;
}
