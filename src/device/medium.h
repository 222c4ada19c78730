/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a disk is behind its protocol: an image, the engine that does its I/O, and a fixed table of operations.
 * virtio-blk has one, virtio-scsi one per logical unit. A request belongs to the backend; the medium holds it
 * from vhx_medium_submit() or vhx_medium_defer() on until its protocol completes it or a reset drops it.
 *
 * Theory of operation: medium.c.
 */
#ifndef VHX_DEVICE_MEDIUM_H
#define VHX_DEVICE_MEDIUM_H

#include "backend/device.h"
#include "device/image.h"
#include "device/io.h"
#include "util/error.h"

/* Operations in flight per medium: twice what saturates an NVMe disk; more only adds memory. */
#define VHX_MEDIUM_DEPTH 256u
#define VHX_MEDIUM_QUEUES_MAX 64u
/* Zeroes written per system call: 256 KiB. */
#define VHX_MEDIUM_ZERO_PAGES 64u

struct vhx_medium;

/* One piece of work for a request. The fields down to @step are the protocol's. */
struct vhx_medium_op {
	struct vhx_medium *medium;
	struct vhx_request *req; /* NULL: free */
	unsigned int step, step_cnt; /* for the protocol; not touched here */
	/* The medium's own */
	struct vhx_io_op io;
	void (*next)(struct vhx_medium_op *op, int res);
	void (*done)(struct vhx_medium_op *op, int error);
	uint64_t off; /* of the transfer, in the image */
	uint64_t progress; /* bytes of it that are done */
	uint64_t len;
	const struct iovec *iov;
	unsigned int iov_cnt;
	struct iovec rest; /* what is left of one iovec, to resume a short transfer */
	unsigned int tries; /* of the stage, that the kernel could not do at the moment */
	struct vhx_list again_node; /* in again */
	const int *way; /* of the ways to zero a range, the one that is being tried */
	struct vhx_list sync_node; /* in sync_waiting or sync_group */
};

/* What a protocol makes of it. All are called in the loop's thread. */
struct vhx_medium_ops {
	/* As of vhx_device_ops.submit: a request that waited for the image, or not. */
	int (*serve)(struct vhx_medium *m, struct vhx_request *req);
	/* There is an operation for a deferred request: begins its work by one of vhx_medium_op_*(). */
	void (*start)(struct vhx_medium_op *op);
	/* m->size is another one. */
	void (*resized)(struct vhx_medium *m);
	/* Partner of vhx_medium_reset(): nothing of @queue can touch the image any more. */
	void (*quiesced)(struct vhx_medium *m, struct vhx_queue *queue);
};

struct vhx_medium_config {
	const char *name; /* for the log; must outlive the medium */
	struct vhx_image_config image;
	bool handover; /* the image is locked only while a driver uses it; see medium.c */
	enum vhx_io_kind io;
};

struct vhx_medium {
	const struct vhx_medium_ops *ops;
	struct vhx_image image;
	uint64_t size; /* bytes, whole blocks of the image */
	bool flush_failed; /* see medium.c */
	/* The medium's own */
	const char *name;
	const struct vhx_log *log;
	struct vhx_loop *loop;
	struct vhx_io *io;
	struct vhx_loop_timer resize_check;
	struct vhx_log_limit errors;
	bool handover;
	bool held; /* the image is ours to do I/O on */
	bool claim_said;
	uint64_t used; /* by index: queues of which a request came since their reset */
	struct vhx_loop_timer claim; /* the next try */
	struct vhx_list unheld; /* requests that came while it was not */
	struct vhx_list waiting; /* requests for which no operation was free */
	bool restarting; /* op_free() is working it off */
	/* One fdatasync at a time: see sync_start() */
	bool syncing;
	struct vhx_list sync_group; /* operations that end with the one that runs */
	struct vhx_list sync_waiting; /* and those that came after it had begun */
	struct vhx_list again; /* operations whose stage is tried once more with the timer */
	struct vhx_loop_timer again_timer;
	struct vhx_medium_op *free_ops[VHX_MEDIUM_DEPTH];
	unsigned int free_cnt;
	struct vhx_queue *resets[VHX_MEDIUM_QUEUES_MAX]; /* waiting for their last operation */
	unsigned int reset_cnt;
	struct iovec zero_iov[VHX_MEDIUM_ZERO_PAGES];
	struct vhx_medium_op operations[VHX_MEDIUM_DEPTH];
};

/* Makes @m, which holds nothing yet, such that vhx_medium_close() is allowed. */
void vhx_medium_init(struct vhx_medium *m, const struct vhx_medium_ops *ops, struct vhx_loop *loop,
		     const struct vhx_log *log);
/* Opens and locks the image. Errors as vhx_image_open(), and of the I/O engine, with a text. */
int vhx_medium_open(struct vhx_medium *m, const struct vhx_medium_config *config,
		    struct vhx_error *err);
/* Waits for I/O that is in flight, drops its requests, and reports to nobody. */
void vhx_medium_close(struct vhx_medium *m);
uint64_t vhx_medium_memory(const struct vhx_medium *m);

/* Partners of the device's operations of these names. */
int vhx_medium_submit(struct vhx_medium *m, struct vhx_request *req);
void vhx_medium_kick(struct vhx_medium *m);
void vhx_medium_room(struct vhx_medium *m);
void vhx_medium_reset(struct vhx_medium *m, struct vhx_queue *queue);

/*
 * For task management. @match says of a request that this medium has whether it is meant. busy(): is one of them in
 * flight? holds(): or does one wait for an operation or for the image? withdraw() takes those out that wait so, and
 * calls @end for each, which completes it.
 */
typedef bool (*vhx_medium_match)(const struct vhx_request *req, void *ctx);

bool vhx_medium_busy(const struct vhx_medium *m, vhx_medium_match match, void *ctx);
bool vhx_medium_holds(const struct vhx_medium *m, vhx_medium_match match, void *ctx);
void vhx_medium_withdraw(struct vhx_medium *m, vhx_medium_match match,
			 void (*end)(struct vhx_request *req, void *ctx), void *ctx);

/* Takes a request, its staging included: ops->start() follows, now or when an operation is free. Returns 0. */
int vhx_medium_defer(struct vhx_medium *m, struct vhx_request *req);

/* Can data be had without waiting? */
static inline bool vhx_medium_read_now_able(const struct vhx_medium *m)
{
	return m->image.in_memory || m->image.nowait;
}

/* All @len bytes at @off without waiting? Else nothing can be said of @buf. */
bool vhx_medium_read_now(const struct vhx_medium *m, void *buf, uint32_t len, uint64_t off);
/* Into memory, at once; only when image.in_memory. 0 or an errno, logged. */
int vhx_medium_write_now(struct vhx_medium *m, const struct iovec *iov, unsigned int cnt,
			 uint64_t len, uint64_t off);

/* What a flush has to do: 1: vhx_medium_op_sync(); 0: nothing; -EIO: one has failed, and no other will succeed. */
int vhx_medium_sync_due(const struct vhx_medium *m);

/*
 * The work of an operation, one at a time: @done follows with 0 or a negative errno, logged, unless its queue
 * is reset meanwhile, which drops the request. Everything given stays valid until then. Offsets and lengths are
 * of whole blocks within the image.
 *
 * The iovecs may hold more than @len bytes; what is over is left alone. @durable: on stable storage when it is
 * done. zero() zeroes, by @unmap in a way that frees space if there is one; discard() is advice.
 */
typedef void (*vhx_medium_done)(struct vhx_medium_op *op, int error);

void vhx_medium_op_read(struct vhx_medium_op *op, const struct iovec *iov, unsigned int cnt,
			uint64_t len, uint64_t off, vhx_medium_done done);
void vhx_medium_op_write(struct vhx_medium_op *op, const struct iovec *iov, unsigned int cnt,
			 uint64_t len, uint64_t off, bool durable, vhx_medium_done done);
void vhx_medium_op_sync(struct vhx_medium_op *op, vhx_medium_done done);
void vhx_medium_op_discard(struct vhx_medium_op *op, uint64_t len, uint64_t off,
			   vhx_medium_done done);
void vhx_medium_op_zero(struct vhx_medium_op *op, uint64_t len, uint64_t off, bool unmap,
			vhx_medium_done done);

/* The last of it: gives the operation back and returns its request, which the caller completes. */
struct vhx_request *vhx_medium_op_end(struct vhx_medium_op *op);

#endif
