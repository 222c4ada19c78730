// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A device owns its image, one I/O engine, a fixed table of operations and a timer. Requests belong to the
 * backend; the device holds one from a submit that returned 0 until it completes or drops it.
 *
 *   submit --served in place--> completed            data is in memory: no operation needed
 *      |
 *      +--> operation free? --yes--> in flight --> completed or dropped
 *                 |                     ^
 *                 no --> waiting list --+            (node; the answer's staging is there already)
 *
 * An operation walks through stages: `next` says what to do with the result of the one in flight. Short
 * transfers are resumed; a range request does one segment, and one try of it, at a time.
 *
 * Reset. A queue that is being reset has its waiting requests dropped at once and those in flight
 * when the kernel is done with the current stage, with no further stage started; then it is quiesced.
 *
 * Caching. Data in the page cache is read straight into the outgoing message (RWF_NOWAIT). On tmpfs all data
 * is, so reads and writes are plain system calls; swapped-out pages are the one case in which that waits.
 * With O_DIRECT the buffers must be aligned, so everything is staged.
 *
 * Handover. While a guest migrates, two backends have its disk: that of the source, and that of the
 * destination, which waits. Such a device does not lock its image when it opens it, but when the first request
 * comes, and gives it back when every queue that was used is reset, which is how a VMM's stop arrives here. A request
 * that comes while another process holds the image waits, for ever if need be: two writers would be worse. `held` is
 * always true of a device without handover.
 *
 *   submit --not held--> unheld --claimed, in order--> as above
 *
 * Stable storage. Completed writes are volatile only while the driver accepted that: 5.2.6.2, it
 * negotiated FLUSH, and has not switched the cache off (CONFIG_WCE). Otherwise writes carry RWF_DSYNC, and
 * ranges are followed by fdatasync. An fdatasync that failed may have thrown the data away that it could not
 * write, and the next one would not know: so the failure is remembered, also that of a request that a reset
 * drops, and every later FLUSH fails too.
 *
 * Hostile driver. All of a request's bytes are private copies. Each field is checked before it is used,
 * with arithmetic that cannot wrap; what is wrong ends that request with IOERR or UNSUPP, and nothing else.
 * What it can make us hold is bounded by the table of operations and by the backend's staging. What
 * it can make us log is limited.
 *
 * Announced limits (5.2.4). seg_max leaves two descriptors of the queue for head and status, and size_max is
 * what makes seg_max * size_max stay within max_request, so a stock driver never builds a larger
 * request. size_max is a whole number of 4 KiB pages. A guest with 64 KiB pages needs size_max >= 64 KiB: for
 * it, choose a queue of 16.
 */
#include "device/blk.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/blk_layout.h"
#include "device/image.h"
#include "util/checked.h"

/* Operations in flight per device: twice what saturates an NVMe disk; more only adds memory. */
#define BLK_DEPTH 256u

/*
 * With head and status, a chain for a queue of 128, which is what VMMs make by default: the size of the
 * queue is chosen after the driver was told seg_max, and bounds the length of a chain (2.7.5.3.1).
 */
#define BLK_SEG_MAX 126u
#define BLK_QUEUE_SIZE_LEAST 4u

/* Segments of one DISCARD, checked before the first is done. Linux merges that many at best. */
#define BLK_RANGES_MAX 16u
/* 1 GiB and 64 MiB: a reset waits for a range in flight, and zeroes may have to be written. */
#define BLK_DISCARD_SECTORS_MAX (1u << 21)
#define BLK_ZEROES_SECTORS_MAX (1u << 17)

/* Zeroes written per system call: 256 KiB. */
#define BLK_ZERO_PAGES 64u

#define BLK_TYPE_CNT 6 /* request types that we know */

/* A page of data less or more per message is what this can cost. */
#define BLK_PIECE_GRAIN 64u
/* Reads between two searches, which cost a dozen refused reservations. */
#define BLK_PIECE_AGE_MAX 1024u

#define BLK_RESIZE_CHECK_NS 1000000000ull

/* Between two tries to have an image that another holds: what a migrating guest waits longer, at the most. */
#define BLK_CLAIM_NS 10000000ull

/* Device bits: 0-23 and 50-63 (VirtIO 6). */
#define BLK_FEATURE_BITS (~0ull << 50 | 0xffffffull)

#define BIT64(n) (1ull << (n))

struct blk;

struct blk_op {
	struct vhx_io_op io;
	struct blk *blk;
	struct vhx_request *req; /* NULL: free */
	void (*next)(struct blk_op *op, int res);
	uint64_t off; /* of the transfer, in the image */
	uint64_t done; /* bytes of it */
	uint64_t len;
	const struct iovec *iov;
	unsigned int iov_cnt;
	struct iovec rest; /* what is left of one iovec, to resume a short transfer */
	unsigned int range_idx;
	unsigned int range_cnt;
	unsigned int way; /* which of the ways to zero a range is being tried */
	struct vhx_list sync_node; /* in blk.sync_waiting or .sync_group */
};

struct blk {
	struct vhx_device dev;
	struct vhx_image image;
	struct vhx_io *io;
	struct vhx_loop_timer resize_check;
	uint64_t capacity; /* sectors */
	uint64_t features; /* negotiated */
	bool no_discard;
	bool volatile_writes; /* see above */
	bool flush_failed;
	char serial[VIRTIO_BLK_ID_BYTES];
	struct virtio_blk_config config; /* the original of dev.config */
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
	struct blk_op *free_ops[BLK_DEPTH];
	unsigned int free_cnt;
	struct vhx_queue *resets[VHX_BLK_QUEUES_MAX]; /* waiting for their last operation */
	unsigned int reset_cnt;
	uint32_t piece_max; /* largest reservation, as far as known */
	uint32_t piece_age; /* reads since it was forgotten */
	struct iovec zero_iov[BLK_ZERO_PAGES];
	struct blk_op ops[BLK_DEPTH];
};

struct blk_head {
	uint32_t type;
	uint64_t sector;
};

/* One row per request type. */
struct blk_type {
	uint32_t type;
	bool writes; /* refused on a read-only device */
	uint64_t feature; /* that must be negotiated, 0: none */
	/* 0: taken, -EAGAIN as of ops->submit. */
	int (*serve)(struct blk *blk, struct vhx_request *req, const struct blk_head *head);
	/* Starts the slow path, which serve chose by request_defer(). NULL: it never does. */
	void (*start)(struct blk_op *op, const struct blk_head *head);
};

_Alignas(VHX_PAGE) static const uint8_t zero_page[VHX_PAGE];

static struct blk *blk_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct blk, dev);
}

/* In priv[0]: bytes of a read, or of it and the status, that went out in place; kept over an -EAGAIN. */
static uint64_t *request_progress(struct vhx_request *req)
{
	return &req->priv[0];
}

/* In priv[1]: the row of types[], from submit on. */
static uint64_t *request_row(struct vhx_request *req)
{
	return &req->priv[1];
}

static const struct blk_type types[BLK_TYPE_CNT];

/*
 * Answers
 */

static void request_finish(struct vhx_request *req, uint8_t status)
{
	/* The status is the last byte; alone, it is a prefix. Behind a gap it does not count (2.7.8.2). */
	vhx_request_complete(req, 0, &status, req->in_len - 1, 1, req->in_len == 1);
}

/* A read, whose bytes up to the status have been sent or lie in the staging (@valid). */
static void request_finish_read(struct vhx_request *req, uint32_t valid)
{
	const uint8_t status = VIRTIO_BLK_S_OK;

	vhx_request_complete(req, valid, &status, req->in_len - 1, 1, req->in_len);
}

static int request_refuse(struct vhx_request *req, uint8_t status)
{
	request_finish(req, status);
	return 0;
}

static void blk_log_io(struct blk *blk, const char *what, uint64_t off, int error)
{
	vhx_log_limited(blk->dev.log, &blk->errors, vhx_loop_now(blk->dev.loop), VHX_LOG_ERROR,
			"%s: %s at byte %llu failed: %s", blk->dev.id, what,
			(unsigned long long)off, strerror(error));
}

/*
 * Operations
 */

static bool queue_resetting(const struct blk *blk, const struct vhx_queue *queue)
{
	unsigned int i;

	for (i = 0; i < blk->reset_cnt; i++) {
		if (blk->resets[i] == queue)
			return true;
	}
	return false;
}

static bool queue_busy(const struct blk *blk, const struct vhx_queue *queue)
{
	unsigned int i;

	for (i = 0; i < BLK_DEPTH; i++) {
		if (blk->ops[i].req && blk->ops[i].req->queue == queue)
			return true;
	}
	return false;
}

/* @queue is done with the image: the last one gives it back, before anybody hears of it. */
static void image_leave(struct blk *blk, const struct vhx_queue *queue)
{
	blk->used &= ~BIT64(vhx_queue_index(queue));
	if (!blk->handover || blk->used)
		return;
	vhx_loop_timer_cancel(blk->dev.loop, &blk->claim);
	if (!blk->held)
		return;
	blk->held = false;
	vhx_image_release(&blk->image);
	vhx_log(blk->dev.log, VHX_LOG_INFO, "%s: image given back", blk->dev.id);
}

static void queue_quiesce(struct blk *blk, struct vhx_queue *queue)
{
	unsigned int i;

	if (queue_busy(blk, queue))
		return;
	for (i = 0; i < blk->reset_cnt; i++) {
		if (blk->resets[i] == queue)
			blk->resets[i] = blk->resets[--blk->reset_cnt];
	}
	image_leave(blk, queue);
	vhx_queue_quiesced(queue);
}

static void request_parse(const struct vhx_request *req, struct blk_head *head)
{
	struct virtio_blk_outhdr hdr;

	memcpy(&hdr, req->head, sizeof(hdr));
	head->type = vhx_le32_get(hdr.type);
	head->sector = vhx_le64_get(hdr.sector);
}

static void op_start(struct blk *blk, struct vhx_request *req)
{
	struct blk_op *op = blk->free_ops[--blk->free_cnt];
	struct blk_head head;

	request_parse(req, &head);
	op->req = req;
	op->done = 0;
	types[*request_row(req)].start(op, &head);
}

/*
 * May start the next request on the same operation: nothing of @op is the caller's any more. Requests that end
 * as they start (a DISCARD of nothing) come back here from within: the outermost call goes on with the next one,
 * so that a guest cannot choose how deep the stack gets.
 */
static void op_free(struct blk_op *op)
{
	struct blk *blk = op->blk;
	struct vhx_request *req;

	op->req = NULL;
	blk->free_ops[blk->free_cnt++] = op;
	if (blk->restarting)
		return;
	blk->restarting = true;
	while (blk->free_cnt && !vhx_list_empty(&blk->waiting)) {
		req = vhx_list_first_entry(&blk->waiting, struct vhx_request, node);
		vhx_list_del(&req->node);
		op_start(blk, req);
	}
	blk->restarting = false;
}

/* Takes a request, its staging included, into the slow path. */
static int request_defer(struct blk *blk, struct vhx_request *req)
{
	if (blk->free_cnt) {
		op_start(blk, req);
	} else {
		vhx_list_init(&req->node);
		vhx_list_add_tail(&blk->waiting, &req->node);
	}
	return 0;
}

static void op_finish(struct blk_op *op, uint8_t status)
{
	struct vhx_request *req = op->req;

	op_free(op);
	request_finish(req, status);
}

static void op_drop(struct blk_op *op)
{
	struct vhx_queue *queue = op->req->queue;
	struct vhx_request *req = op->req;
	struct blk *blk = op->blk;

	op_free(op);
	vhx_request_drop(req);
	queue_quiesce(blk, queue);
}

/* The end of the device. */
static void op_abandon(struct blk_op *op, int res)
{
	struct vhx_request *req = op->req;

	op_free(op);
	vhx_request_drop(req);
}

static void flush_fail(struct blk *blk, int error)
{
	if (blk->flush_failed)
		return;
	blk->flush_failed = true;
	vhx_log(blk->dev.log, VHX_LOG_ERROR,
		"%s: flush failed: %s; data may be lost, no later flush will succeed", blk->dev.id,
		strerror(error));
}

/*
 * The kernel says once that data was lost. A synchronous write that fails so consumed an error that may
 * be of earlier, completed writes: then no later flush would report it.
 */
static bool io_lost_data(const struct vhx_io_op *io)
{
	if (io->code == VHX_IO_FDATASYNC)
		return io->res < 0;
	return io->code == VHX_IO_WRITEV && (io->flags & RWF_DSYNC) &&
	       (io->res == -EIO || io->res == -ENOSPC || io->res == -EDQUOT);
}

static void op_end(struct blk_op *op, int res)
{
	if (vhx_unlikely(op->blk->reset_cnt) && queue_resetting(op->blk, op->req->queue))
		op_drop(op);
	else
		op->next(op, res);
}

static void sync_done(struct blk_op *op, int res);

static void op_done(struct vhx_io_op *io)
{
	struct blk_op *op = vhx_container_of(io, struct blk_op, io);

	/* First of all: it is true of the image, whether or not this request is wanted any more. */
	if (vhx_unlikely(io_lost_data(io)))
		flush_fail(op->blk, -io->res);
	if (io->code == VHX_IO_FDATASYNC)
		sync_done(op, io->res);
	else
		op_end(op, io->res);
}

static void op_queue(struct blk_op *op, enum vhx_io_code code, void (*next)(struct blk_op *, int))
{
	op->io.code = code;
	op->io.fd = op->blk->image.fd;
	op->io.done = op_done;
	op->next = next;
	vhx_io_queue(op->blk->io, &op->io);
}

/*
 * Syncs. The kernel tells of lost data once per open file: of two fdatasyncs side by side one takes the error, and
 * the other, which may end first, says that all is well. So there is one at a time; who comes meanwhile waits
 * for the next, which begins after all of them came and so ends for all of them.
 */

static void sync_start(struct blk *blk)
{
	struct blk_op *op;

	if (blk->syncing || vhx_list_empty(&blk->sync_waiting))
		return;
	blk->syncing = true;
	op = vhx_list_first_entry(&blk->sync_waiting, struct blk_op, sync_node);
	vhx_list_del(&op->sync_node);
	vhx_list_splice_tail(&blk->sync_group, &blk->sync_waiting);
	op_queue(op, VHX_IO_FDATASYNC, op->next);
}

static void op_sync(struct blk_op *op, void (*next)(struct blk_op *op, int res))
{
	op->next = next;
	vhx_list_init(&op->sync_node);
	vhx_list_add_tail(&op->blk->sync_waiting, &op->sync_node);
	sync_start(op->blk);
}

static void sync_done(struct blk_op *op, int res)
{
	struct blk *blk = op->blk;
	struct vhx_list group;

	blk->syncing = false;
	vhx_list_init(&group);
	vhx_list_splice_tail(&group, &blk->sync_group);
	/* Before requests end: what they start belongs to the sync after the next. */
	sync_start(blk);
	op_end(op, res);
	while (!vhx_list_empty(&group)) {
		op = vhx_list_first_entry(&group, struct blk_op, sync_node);
		vhx_list_del(&op->sync_node);
		op_end(op, res);
	}
}

/*
 * Transfers: READV and WRITEV until op->len bytes are done
 */

static void transfer_continue(struct blk_op *op);

static const char *io_name(enum vhx_io_code code)
{
	static const char *const names[VHX_IO_CODE_CNT_] = {
		[VHX_IO_READV] = "read",
		[VHX_IO_WRITEV] = "write",
		[VHX_IO_FDATASYNC] = "flush",
		[VHX_IO_FALLOCATE] = "discard or write zeroes",
	};

	return names[code];
}

static void transfer_failed(struct blk_op *op, int res)
{
	blk_log_io(op->blk, io_name(op->io.code), op->off + op->done, res ? -res : EIO);
	op_finish(op, VIRTIO_BLK_S_IOERR);
}

static void transfer_finish(struct blk_op *op)
{
	struct vhx_request *req = op->req;
	uint32_t valid = (uint32_t)op->done;

	if (op->io.code == VHX_IO_WRITEV) {
		op_finish(op, VIRTIO_BLK_S_OK);
		return;
	}
	op_free(op);
	request_finish_read(req, valid);
}

/* 0 bytes: the image became shorter under us. */
static void transfer_next(struct blk_op *op, int res)
{
	if (res <= 0 && res != -EINTR) {
		transfer_failed(op, res);
		return;
	}
	if (res > 0)
		op->done += (uint64_t)res;
	if (op->done >= op->len)
		transfer_finish(op);
	else
		transfer_continue(op);
}

/* What is left of the iovec in which byte @done lies. */
static struct iovec iov_rest(const struct iovec *iov, uint64_t done)
{
	while (done >= iov->iov_len)
		done -= (iov++)->iov_len;
	return (struct iovec){ (uint8_t *)iov->iov_base + done, iov->iov_len - done };
}

static void transfer_continue(struct blk_op *op)
{
	op->io.iov = op->iov;
	op->io.iov_cnt = op->iov_cnt;
	if (op->done) {
		op->rest = iov_rest(op->iov, op->done);
		op->io.iov = &op->rest;
		op->io.iov_cnt = 1;
	}
	op->io.off = op->off + op->done;
	op_queue(op, op->io.code, transfer_next);
}

static int write_flags(const struct blk *blk)
{
	return blk->volatile_writes || blk->image.in_memory ? 0 : RWF_DSYNC;
}

/*
 * READ (5.2.6: VIRTIO_BLK_T_IN)
 */

/* Does a transfer of @len bytes at @sector lie within the disk, in units that the image can do? */
static bool transfer_valid(const struct blk *blk, uint64_t sector, uint64_t len)
{
	if (len == 0 || len % blk->image.block_size)
		return false;
	if (!vhx_range_within(sector, len / VIRTIO_BLK_SECTOR, blk->capacity))
		return false;
	return sector * VIRTIO_BLK_SECTOR % blk->image.block_size == 0;
}

/* All @len bytes without waiting? Only possible when not direct. */
static bool image_read_now(const struct vhx_image *img, void *buf, uint32_t len, uint64_t off)
{
	struct iovec iov = { buf, len };

	return preadv2(img->fd, &iov, 1, (off_t)off, img->in_memory ? 0 : RWF_NOWAIT) ==
	       (ssize_t)len;
}

/*
 * How much fits one reservation is the backend's secret; it depends on the provider and the size of its
 * ring. It is found by bisection after a refusal, remembered, and forgotten now and then, should the refusal
 * have had another reason. @refused: a length that was. As read_piece().
 */
static int piece_learn(struct blk *blk, struct vhx_request *req, uint32_t in_off, uint32_t refused)
{
	uint32_t fits = 0, try;
	bool later = false;

	while (refused - fits > BLK_PIECE_GRAIN) {
		try = fits + (refused - fits) / 2;
		if (vhx_request_in_reserve(req, in_off, try, &later)) {
			vhx_request_in_commit(req, 0);
			fits = try;
		} else if (later) {
			return -EAGAIN;
		} else {
			refused = try;
		}
	}
	blk->piece_max = fits;
	return 1;
}

/* Data bytes of the next piece: the rest, with a status behind it, or whole pages. */
static uint32_t piece_len(const struct blk *blk, uint32_t rest)
{
	return rest < blk->piece_max ? rest : blk->piece_max / VHX_PAGE * VHX_PAGE;
}

/*
 * Sends the next piece of a read in place; @rest: bytes of data that are left. 1: progress was
 * made; 0: take the slow path; -EAGAIN: once more when there is room.
 */
static int read_piece(struct blk *blk, struct vhx_request *req, uint64_t off, uint32_t rest)
{
	uint32_t done = (uint32_t)*request_progress(req), len = piece_len(blk, rest);
	uint32_t with_status = len == rest && len < blk->piece_max;
	bool later = false;
	uint8_t *p;

	if (!len)
		return 0;
	p = vhx_request_in_reserve(req, done, len + with_status, &later);
	if (!p)
		return later ? -EAGAIN : piece_learn(blk, req, done, len + with_status);
	if (!image_read_now(&blk->image, p, len, off + done)) {
		vhx_request_in_commit(req, 0);
		return 0;
	}
	if (with_status)
		p[len] = VIRTIO_BLK_S_OK;
	vhx_request_in_commit(req, len + with_status);
	*request_progress(req) += len + with_status;
	return 1;
}

static int read_slow(struct blk *blk, struct vhx_request *req)
{
	uint32_t done = (uint32_t)*request_progress(req);

	if (vhx_request_in_buffer(req, done, req->in_len - 1 - done) < 0)
		return -EAGAIN;
	return request_defer(blk, req);
}

static int read_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	uint32_t data_len = req->in_len - 1;
	uint64_t *progress = request_progress(req);
	int ret;

	if (!transfer_valid(blk, head->sector, data_len))
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (!blk->image.in_memory && !blk->image.nowait)
		return read_slow(blk, req);
	if (blk->piece_age++ % BLK_PIECE_AGE_MAX == 0)
		blk->piece_max = UINT32_MAX;
	while (*progress < data_len) {
		ret = read_piece(blk, req, head->sector * VIRTIO_BLK_SECTOR,
				 data_len - (uint32_t)*progress);
		if (ret < 0)
			return ret;
		if (ret == 0)
			return read_slow(blk, req);
	}
	if (*progress == req->in_len)
		vhx_request_complete(req, 0, NULL, 0, 0, req->in_len);
	else
		request_finish_read(req, 0);
	return 0;
}

static void read_start(struct blk_op *op, const struct blk_head *head)
{
	struct vhx_request *req = op->req;

	op->off = head->sector * VIRTIO_BLK_SECTOR + *request_progress(req);
	op->len = req->in_len - 1 - *request_progress(req);
	op->iov = req->in;
	op->iov_cnt = req->in_cnt;
	op->io.code = VHX_IO_READV;
	op->io.flags = 0;
	transfer_continue(op);
}

/*
 * WRITE (VIRTIO_BLK_T_OUT)
 */

/* All of it at once, into memory. */
static uint8_t image_write_now(struct blk *blk, const struct vhx_request *req, uint64_t off)
{
	uint64_t len = req->out_len - sizeof(struct virtio_blk_outhdr), done = 0;
	struct iovec rest;
	ssize_t n;

	n = pwritev(blk->image.fd, req->out, (int)req->out_cnt, (off_t)off);
	while (n > 0 && (done += (uint64_t)n) < len) {
		rest = iov_rest(req->out, done);
		n = pwritev(blk->image.fd, &rest, 1, (off_t)(off + done));
	}
	if (done == len)
		return VIRTIO_BLK_S_OK;
	blk_log_io(blk, io_name(VHX_IO_WRITEV), off + done, n < 0 ? errno : EIO);
	return VIRTIO_BLK_S_IOERR;
}

static int write_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	uint64_t off = head->sector * VIRTIO_BLK_SECTOR;

	if (!transfer_valid(blk, head->sector, req->out_len - sizeof(struct virtio_blk_outhdr)))
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (!blk->image.in_memory)
		return request_defer(blk, req);
	request_finish(req, image_write_now(blk, req, off));
	return 0;
}

static void write_start(struct blk_op *op, const struct blk_head *head)
{
	op->off = head->sector * VIRTIO_BLK_SECTOR;
	op->len = op->req->out_len - sizeof(struct virtio_blk_outhdr);
	op->iov = op->req->out;
	op->iov_cnt = op->req->out_cnt;
	op->io.code = VHX_IO_WRITEV;
	op->io.flags = write_flags(op->blk);
	transfer_continue(op);
}

/*
 * FLUSH
 */

static int flush_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	if (blk->flush_failed)
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (blk->image.in_memory || blk->image.readonly)
		return request_refuse(req, VIRTIO_BLK_S_OK);
	return request_defer(blk, req);
}

static void flush_next(struct blk_op *op, int res)
{
	/* Its own failure, or that of a synchronous write meanwhile, which may have taken this one's error. */
	op_finish(op, op->blk->flush_failed ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void flush_start(struct blk_op *op, const struct blk_head *head)
{
	op_sync(op, flush_next);
}

/*
 * GET_ID
 */

static int id_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	uint8_t answer[VHX_TAIL_MAX] = { 0 };
	uint32_t len = req->in_len - 1;

	if (len >= sizeof(answer))
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	memcpy(answer, blk->serial, vhx_min_u64(len, VIRTIO_BLK_ID_BYTES));
	answer[len] = VIRTIO_BLK_S_OK;
	vhx_request_complete(req, 0, answer, 0, req->in_len, req->in_len);
	return 0;
}

/*
 * DISCARD and WRITE_ZEROES: ranges
 */

struct blk_range {
	uint64_t sector;
	uint32_t cnt; /* sectors */
	uint32_t flags;
};

/* Payload bytes lie in whole pages, of which a range never crosses the end. */
_Static_assert(VHX_PAGE % sizeof(struct virtio_blk_range) == 0, "a range crosses a page");

static void range_get(const struct vhx_request *req, unsigned int idx, struct blk_range *range)
{
	size_t off = idx * sizeof(struct virtio_blk_range);
	struct virtio_blk_range r;

	memcpy(&r, (const uint8_t *)req->out[off / VHX_PAGE].iov_base + off % VHX_PAGE, sizeof(r));
	range->sector = vhx_le64_get(r.sector);
	range->cnt = vhx_le32_get(r.num_sectors);
	range->flags = vhx_le32_get(r.flags);
}

static uint32_t range_cnt(const struct vhx_request *req)
{
	return (uint32_t)((req->out_len - sizeof(struct virtio_blk_outhdr)) /
			  sizeof(struct virtio_blk_range));
}

/* 5.2.6.2: unknown flags, and unmap in a discard, are UNSUPP; what is out of bounds is IOERR. */
static uint8_t range_check(const struct blk *blk, const struct blk_range *range,
			   uint32_t sectors_max, uint32_t flags_known)
{
	if (range->flags & ~flags_known)
		return VIRTIO_BLK_S_UNSUPP;
	if (range->cnt > sectors_max || !vhx_range_within(range->sector, range->cnt, blk->capacity))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

static int ranges_serve(struct blk *blk, struct vhx_request *req, uint32_t ranges_max,
			uint32_t sectors_max, uint32_t flags_known)
{
	uint32_t len = req->out_len - (uint32_t)sizeof(struct virtio_blk_outhdr);
	struct blk_range range;
	uint8_t status;
	uint32_t i;

	if (!len || len % sizeof(struct virtio_blk_range) || range_cnt(req) > ranges_max)
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	for (i = 0; i < range_cnt(req); i++) {
		range_get(req, i, &range);
		status = range_check(blk, &range, sectors_max, flags_known);
		if (status != VIRTIO_BLK_S_OK)
			return request_refuse(req, status);
	}
	return request_defer(blk, req);
}

static int discard_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	return ranges_serve(blk, req, BLK_RANGES_MAX, BLK_DISCARD_SECTORS_MAX, 0);
}

static int zeroes_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	return ranges_serve(blk, req, 1, BLK_ZEROES_SECTORS_MAX, VIRTIO_BLK_RANGE_UNMAP);
}

/*
 * Ways to zero a range, tried in order until one is supported; 0 means to write zeroes. A discard is
 * advice: where holes cannot be punched, it has been heard.
 */
static const int ways_unmap[] = {
	FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	0,
};

static const int ways_keep[] = {
	FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	0,
};

static bool way_unsupported(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENOTTY;
}

static void ranges_continue(struct blk_op *op);

static void ranges_failed(struct blk_op *op, int res)
{
	blk_log_io(op->blk, io_name(VHX_IO_FALLOCATE), op->off + op->done, res ? -res : EIO);
	op_finish(op, VIRTIO_BLK_S_IOERR);
}

static void range_finish(struct blk_op *op)
{
	op->range_idx++;
	op->way = 0;
	ranges_continue(op);
}

static void discard_next(struct blk_op *op, int res)
{
	if (res < 0 && !way_unsupported(res))
		ranges_failed(op, res);
	else
		range_finish(op);
}

static void fill_next(struct blk_op *op, int res);

/* Writes the next zeroes. */
static void fill_continue(struct blk_op *op)
{
	uint64_t left = op->len - op->done;

	op->io.iov = op->blk->zero_iov;
	op->io.iov_cnt = (unsigned int)vhx_min_u64(left / VHX_PAGE, BLK_ZERO_PAGES);
	if (left < VHX_PAGE) {
		op->rest = (struct iovec){ op->blk->zero_iov[0].iov_base, left };
		op->io.iov = &op->rest;
		op->io.iov_cnt = 1;
	}
	op->io.off = op->off + op->done;
	op->io.flags = 0;
	op_queue(op, VHX_IO_WRITEV, fill_next);
}

static void fill_next(struct blk_op *op, int res)
{
	if (res <= 0 && res != -EINTR) {
		ranges_failed(op, res);
		return;
	}
	if (res > 0)
		op->done += (uint64_t)res;
	if (op->done < op->len)
		fill_continue(op);
	else
		range_finish(op);
}

static void zeroes_next(struct blk_op *op, int res)
{
	if (res >= 0) {
		range_finish(op);
	} else if (way_unsupported(res)) {
		op->way++;
		ranges_continue(op);
	} else {
		ranges_failed(op, res);
	}
}

static void range_allocate(struct blk_op *op, int mode, void (*next)(struct blk_op *op, int res))
{
	op->io.flags = mode;
	op->io.off = op->off;
	op->io.len = op->len;
	op_queue(op, VHX_IO_FALLOCATE, next);
}

static void range_zero(struct blk_op *op, bool unmap)
{
	const int *ways = unmap ? ways_unmap : ways_keep;

	if (ways[op->way])
		range_allocate(op, ways[op->way], zeroes_next);
	else
		fill_continue(op);
}

/* The ranges are done. What they changed is metadata and data like that of a write. */
static void ranges_finish(struct blk_op *op)
{
	if (write_flags(op->blk) & RWF_DSYNC)
		op_sync(op, flush_next);
	else
		op_finish(op, VIRTIO_BLK_S_OK);
}

static void ranges_continue(struct blk_op *op)
{
	struct blk_range range = { 0 };
	struct blk_head head;

	while (op->range_idx < op->range_cnt) {
		range_get(op->req, op->range_idx, &range);
		if (range.cnt)
			break;
		op->range_idx++;
	}
	if (op->range_idx == op->range_cnt) {
		ranges_finish(op);
		return;
	}
	request_parse(op->req, &head);
	op->off = range.sector * VIRTIO_BLK_SECTOR;
	op->len = (uint64_t)range.cnt * VIRTIO_BLK_SECTOR;
	op->done = 0;
	if (head.type == VIRTIO_BLK_T_DISCARD)
		range_allocate(op, ways_unmap[0], discard_next);
	else
		range_zero(op, (range.flags & VIRTIO_BLK_RANGE_UNMAP) && !op->blk->no_discard);
}

static void ranges_start(struct blk_op *op, const struct blk_head *head)
{
	op->range_idx = 0;
	op->range_cnt = range_cnt(op->req);
	op->way = 0;
	ranges_continue(op);
}

/*
 * Requests
 */

static const struct blk_type types[BLK_TYPE_CNT] = {
	{ VIRTIO_BLK_T_IN, false, 0, read_serve, read_start },
	{ VIRTIO_BLK_T_OUT, true, 0, write_serve, write_start },
	{ VIRTIO_BLK_T_FLUSH, false, 0, flush_serve, flush_start },
	{ VIRTIO_BLK_T_GET_ID, false, 0, id_serve, NULL },
	{ VIRTIO_BLK_T_DISCARD, true, BIT64(VIRTIO_BLK_F_DISCARD), discard_serve, ranges_start },
	{ VIRTIO_BLK_T_WRITE_ZEROES, true, BIT64(VIRTIO_BLK_F_WRITE_ZEROES), zeroes_serve,
	  ranges_start },
};

/* Row of @type, or BLK_TYPE_CNT. */
static unsigned int type_row(uint32_t type)
{
	unsigned int row = 0;

	while (row < BLK_TYPE_CNT && types[row].type != type)
		row++;
	return row;
}

static int request_serve(struct blk *blk, struct vhx_request *req)
{
	const struct blk_type *type;
	struct blk_head head;
	unsigned int row;

	if (req->in_len == 0) { /* not even room for a status */
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return 0;
	}
	if (req->too_big || req->out_len < sizeof(struct virtio_blk_outhdr))
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	request_parse(req, &head);
	row = type_row(head.type);
	if (row == BLK_TYPE_CNT)
		return request_refuse(req, VIRTIO_BLK_S_UNSUPP);
	type = &types[row];
	*request_row(req) = row;
	if (type->writes && blk->image.readonly)
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (type->feature & ~blk->features)
		return request_refuse(req, VIRTIO_BLK_S_UNSUPP);
	return type->serve(blk, req, &head);
}

static void resize_apply(struct blk *blk, uint64_t size);

/* The image may have grown under its last owner. */
static bool image_claim(struct blk *blk)
{
	struct vhx_error err;
	uint64_t size;

	if (vhx_image_claim(&blk->image, &err)) {
		if (!blk->claim_said)
			vhx_log(blk->dev.log, VHX_LOG_NOTICE, "%s: waits for its image: %s",
				blk->dev.id, err.text);
		blk->claim_said = true;
		vhx_loop_timer_arm(blk->dev.loop, &blk->claim, BLK_CLAIM_NS);
		return false;
	}
	blk->claim_said = false;
	blk->held = true;
	vhx_log(blk->dev.log, VHX_LOG_INFO, "%s: image taken", blk->dev.id);
	if (!vhx_image_measure(&blk->image, &size))
		resize_apply(blk, size);
	return true;
}

/* In their order; one for which there is no room waits for blk_room(), and the others with it. */
static void unheld_serve(struct blk *blk)
{
	while (!vhx_list_empty(&blk->unheld)) {
		struct vhx_request *req =
			vhx_list_first_entry(&blk->unheld, struct vhx_request, node);

		vhx_list_del(&req->node);
		if (!request_serve(blk, req))
			continue;
		vhx_list_add_head(&blk->unheld, &req->node);
		break;
	}
	vhx_io_submit(blk->io);
}

static void claim_expired(struct vhx_loop_timer *t)
{
	struct blk *blk = vhx_container_of(t, struct blk, claim);

	if (image_claim(blk))
		unheld_serve(blk);
}

static void blk_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct blk *blk = blk_of(dev);

	if (blk->held)
		unheld_serve(blk);
}

static void request_park(struct blk *blk, struct vhx_request *req)
{
	vhx_list_init(&req->node);
	vhx_list_add_tail(&blk->unheld, &req->node);
}

static int blk_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct blk *blk = blk_of(dev);

	if (!blk->handover)
		return request_serve(blk, req);
	blk->used |= BIT64(vhx_queue_index(req->queue));
	if (blk->held && vhx_list_empty(&blk->unheld))
		return request_serve(blk, req);
	if (!blk->held && !blk->claim.due_ns && image_claim(blk))
		return request_serve(blk, req);
	request_park(blk, req);
	return 0;
}

static void blk_kick(struct vhx_device *dev)
{
	vhx_io_submit(blk_of(dev)->io);
}

static void list_drop(struct vhx_list *list, const struct vhx_queue *queue)
{
	struct vhx_list *pos, *tmp;

	vhx_list_for_each_safe (pos, tmp, list) {
		struct vhx_request *req = vhx_list_entry(pos, struct vhx_request, node);

		if (queue && req->queue != queue)
			continue;
		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

static void blk_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct blk *blk = blk_of(dev);

	list_drop(&blk->unheld, queue);
	list_drop(&blk->waiting, queue);
	assert(blk->reset_cnt < VHX_BLK_QUEUES_MAX && !queue_resetting(blk, queue));
	blk->resets[blk->reset_cnt++] = queue;
	/* What was gathered and not yet submitted would never end. */
	vhx_io_submit(blk->io);
	queue_quiesce(blk, queue);
}

/*
 * Features and config space
 */

/* What the driver reads has no alignment of its own, so it is a copy. */
static void config_publish(struct blk *blk)
{
	_Static_assert(sizeof(blk->config) <= VHX_DEVICE_CONFIG_MAX, "config space");
	memcpy(blk->dev.config, &blk->config, sizeof(blk->config));
}

static void cache_update(struct blk *blk)
{
	if (blk->features & BIT64(VIRTIO_BLK_F_CONFIG_WCE))
		blk->volatile_writes = blk->config.writeback;
	else
		blk->volatile_writes = blk->features & BIT64(VIRTIO_BLK_F_FLUSH);
}

static int blk_set_features(struct vhx_device *dev, uint64_t features)
{
	struct blk *blk = blk_of(dev);

	if (features & BLK_FEATURE_BITS & ~dev->features)
		return -EINVAL;
	blk->features = features & BLK_FEATURE_BITS;
	blk->piece_age = 0; /* a new driver, maybe over another exchange */
	blk->config.writeback = 1; /* 5.2.5.2: what a reset starts from */
	config_publish(blk);
	cache_update(blk);
	return 0;
}

/* Writable is one byte, writeback, once CONFIG_WCE is negotiated (5.2.4). */
static int blk_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	struct blk *blk = blk_of(dev);
	uint8_t value;

	if (!(blk->features & BIT64(VIRTIO_BLK_F_CONFIG_WCE)) ||
	    off != offsetof(struct virtio_blk_config, writeback) || len != 1)
		return -EINVAL;
	memcpy(&value, buf, 1);
	if (value > 1)
		return -EINVAL;
	blk->config.writeback = value;
	config_publish(blk);
	cache_update(blk);
	return 0;
}

static void resize_apply(struct blk *blk, uint64_t size)
{
	uint64_t capacity = size / blk->image.block_size *
			    (blk->image.block_size / VIRTIO_BLK_SECTOR);

	if (capacity == blk->capacity)
		return;
	vhx_log(blk->dev.log, VHX_LOG_NOTICE, "%s: resized from %llu to %llu sectors", blk->dev.id,
		(unsigned long long)blk->capacity, (unsigned long long)capacity);
	blk->capacity = capacity;
	blk->config.capacity = vhx_le64_of(capacity);
	config_publish(blk);
	if (blk->dev.backend)
		vhx_device_config_changed(&blk->dev);
}

static void resize_check_expired(struct vhx_loop_timer *t)
{
	struct blk *blk = vhx_container_of(t, struct blk, resize_check);
	uint64_t size;

	vhx_loop_timer_arm(blk->dev.loop, t, BLK_RESIZE_CHECK_NS);
	if (vhx_image_measure(&blk->image, &size) == 0)
		resize_apply(blk, size);
}

/*
 * Life
 */

static void blk_free(struct blk *blk)
{
	vhx_loop_timer_cancel(blk->dev.loop, &blk->resize_check);
	vhx_loop_timer_cancel(blk->dev.loop, &blk->claim);
	vhx_io_free(blk->io);
	vhx_image_close(&blk->image);
	free(blk);
}

/* Like a reset of every queue, except that it waits, and reports to nobody. */
static void blk_close(struct vhx_device *dev)
{
	struct blk *blk = blk_of(dev);
	struct blk_op *op;
	unsigned int i;

	list_drop(&blk->unheld, NULL);
	list_drop(&blk->waiting, NULL);
	while (!vhx_list_empty(&blk->sync_waiting)) {
		op = vhx_list_first_entry(&blk->sync_waiting, struct blk_op, sync_node);
		vhx_list_del(&op->sync_node);
		op_abandon(op, 0);
	}
	for (i = 0; i < BLK_DEPTH; i++)
		blk->ops[i].next = op_abandon;
	blk->reset_cnt = 0;
	vhx_io_wait(blk->io);
	blk_free(blk);
}

static const struct vhx_device_ops blk_ops = {
	.name = "blk",
	.device_id = VIRTIO_ID_BLOCK,
	.head_len = sizeof(struct virtio_blk_outhdr),
	.submit = blk_submit,
	.kick = blk_kick,
	.room = blk_room,
	.reset = blk_reset,
	.set_features = blk_set_features,
	.set_config = blk_set_config,
	.close = blk_close,
};

static uint64_t features_offered(const struct blk *blk)
{
	uint64_t features = BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_SEG_MAX) |
			    BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_FLUSH) |
			    BIT64(VIRTIO_BLK_F_TOPOLOGY);

	if (blk->dev.num_queues > 1)
		features |= BIT64(VIRTIO_BLK_F_MQ);
	if (blk->image.readonly)
		return features | BIT64(VIRTIO_BLK_F_RO);
	features |= BIT64(VIRTIO_BLK_F_CONFIG_WCE) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES);
	if (!blk->no_discard)
		features |= BIT64(VIRTIO_BLK_F_DISCARD);
	return features;
}

static void config_fill_limits(struct blk *blk, uint32_t max_request)
{
	struct virtio_blk_config *c = &blk->config;
	uint32_t seg_max = (uint32_t)vhx_min_u64(blk->dev.queue_size_max - 2, BLK_SEG_MAX);
	uint32_t sectors_per_block = blk->image.block_size / VIRTIO_BLK_SECTOR;

	/* At least one page: max_request is one at least. */
	seg_max = (uint32_t)vhx_min_u64(seg_max, max_request / VHX_PAGE);
	c->seg_max = vhx_le32_of(seg_max);
	c->size_max = vhx_le32_of(max_request / seg_max / VHX_PAGE * VHX_PAGE);
	c->num_queues = vhx_le16_of(blk->dev.num_queues);
	c->max_discard_sectors = vhx_le32_of(BLK_DISCARD_SECTORS_MAX);
	c->max_discard_seg = vhx_le32_of(BLK_RANGES_MAX);
	c->discard_sector_alignment = vhx_le32_of((uint32_t)vhx_max_u64(
		blk->image.physical_size / VIRTIO_BLK_SECTOR, sectors_per_block));
	c->max_write_zeroes_sectors = vhx_le32_of(BLK_ZEROES_SECTORS_MAX);
	c->max_write_zeroes_seg = vhx_le32_of(1);
	c->write_zeroes_may_unmap = !blk->no_discard;
}

static void config_fill_medium(struct blk *blk)
{
	const struct vhx_image *img = &blk->image;
	struct virtio_blk_config *c = &blk->config;
	uint32_t exp = (uint32_t)__builtin_ctz(img->physical_size / img->block_size);

	c->capacity = vhx_le64_of(blk->capacity);
	c->blk_size = vhx_le32_of(img->block_size);
	c->topology.physical_block_exp = (uint8_t)exp;
	c->topology.min_io_size = vhx_le16_of((uint16_t)(img->physical_size / img->block_size));
	c->topology.opt_io_size = vhx_le32_of(img->optimal_size / img->block_size);
	c->writeback = 1;
}

/* Without one of the operator's, the first half of the uuid and a bit more, in hexadecimal. */
static void serial_fill(struct blk *blk, const char *serial)
{
	char hex[VIRTIO_BLK_ID_BYTES + 1];
	size_t i;

	if (serial) {
		memcpy(blk->serial, serial, strnlen(serial, VIRTIO_BLK_ID_BYTES));
		return;
	}
	for (i = 0; i < VIRTIO_BLK_ID_BYTES / 2; i++)
		snprintf(hex + 2 * i, 3, "%02x", blk->image.uuid[i]);
	memcpy(blk->serial, hex, VIRTIO_BLK_ID_BYTES);
}

static int config_invalid(struct vhx_error *err, const char *what)
{
	vhx_error_set(err, "%s", what);
	return -EINVAL;
}

static int config_check(const struct vhx_blk_config *c, struct vhx_error *err)
{
	if (strlen(c->id) >= VHX_DEVICE_ID_MAX)
		return config_invalid(err, "id is longer than 63 bytes");
	if (c->num_queues > VHX_BLK_QUEUES_MAX)
		return config_invalid(err, "num-queues must be 1 to 64");
	if (c->queue_size &&
	    (!vhx_is_power_of_2(c->queue_size) || c->queue_size < BLK_QUEUE_SIZE_LEAST ||
	     c->queue_size > VHX_BLK_QUEUE_SIZE_MAX))
		return config_invalid(err, "queue-size must be a power of 2, 4 to 1024");
	if (c->max_request &&
	    (c->max_request < VHX_BLK_DATA_MIN || c->max_request > VHX_BLK_DATA_MAX))
		return config_invalid(err, "max-request must be 4 KiB to 4 MiB");
	if (c->serial && strlen(c->serial) > VIRTIO_BLK_ID_BYTES)
		return config_invalid(err, "serial is longer than 20 bytes");
	if (c->fd < 0 && !c->path)
		return config_invalid(err, "no image given");
	return 0;
}

static void blk_init(struct blk *blk, struct vhx_loop *loop, const struct vhx_blk_config *c,
		     const struct vhx_log *log)
{
	unsigned int i;

	blk->dev.ops = &blk_ops;
	blk->dev.log = log;
	blk->dev.loop = loop;
	blk->dev.num_queues = c->num_queues ? c->num_queues : 1;
	blk->dev.queue_size_max = c->queue_size ? c->queue_size : VHX_BLK_QUEUE_SIZE_DEFAULT;
	snprintf(blk->dev.id, sizeof(blk->dev.id), "%s", c->id);
	blk->no_discard = c->no_discard;
	blk->handover = c->handover;
	blk->held = !c->handover;
	blk->image.fd = -1;
	blk->resize_check.expired = resize_check_expired;
	blk->claim.expired = claim_expired;
	vhx_list_init(&blk->claim.node);
	vhx_list_init(&blk->unheld);
	blk->piece_max = UINT32_MAX;
	vhx_list_init(&blk->waiting);
	vhx_list_init(&blk->sync_group);
	vhx_list_init(&blk->sync_waiting);
	/* writev(2) takes no pointers to const, and does not write through these. */
	for (i = 0; i < BLK_ZERO_PAGES; i++)
		blk->zero_iov[i] = (struct iovec){ (void *)zero_page, VHX_PAGE };
	for (i = 0; i < BLK_DEPTH; i++) {
		blk->ops[i].blk = blk;
		blk->free_ops[blk->free_cnt++] = &blk->ops[i];
	}
}

/* Once the image is open: all that follows from it. */
static void blk_describe(struct blk *blk, const struct vhx_blk_config *c)
{
	uint32_t max_request = c->max_request ? c->max_request : VHX_BLK_DATA_DEFAULT;
	struct vhx_device *dev = &blk->dev;

	blk->capacity = blk->image.size / VIRTIO_BLK_SECTOR;
	serial_fill(blk, c->serial);
	dev->features = features_offered(blk);
	dev->max_out = (uint32_t)sizeof(struct virtio_blk_outhdr) + max_request;
	dev->max_in = max_request + 1;
	dev->config_len = sizeof(struct virtio_blk_config);
	config_fill_limits(blk, max_request);
	config_fill_medium(blk);
	config_publish(blk);
	memcpy(dev->uuid, blk->image.uuid, sizeof(dev->uuid));
	memcpy(dev->cache_id, blk->image.cache_id, sizeof(dev->cache_id));
	dev->memory = sizeof(*blk) + vhx_io_memory(blk->io);
}

static int blk_open(struct blk *blk, const struct vhx_blk_config *c, struct vhx_error *err)
{
	struct vhx_image_config image = {
		.path = c->path,
		.fd = c->fd,
		.readonly = c->readonly,
		.direct = c->direct,
		.unlocked = c->handover,
	};
	int ret;

	ret = vhx_io_new(blk->dev.loop, c->io, BLK_DEPTH, &blk->io);
	if (ret < 0) {
		vhx_error_set(err, "no way to do I/O: %s", strerror(-ret));
		return ret;
	}
	return vhx_image_open(&blk->image, &image, err);
}

int vhx_blk_new(struct vhx_loop *loop, const struct vhx_blk_config *config,
		const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct blk *blk;
	int ret;

	ret = config_check(config, err);
	if (ret < 0)
		goto name_device;
	blk = calloc(1, sizeof(*blk));
	if (!blk) {
		vhx_error_set(err, "out of memory");
		ret = -ENOMEM;
		goto name_device;
	}
	blk_init(blk, loop, config, log);
	ret = blk_open(blk, config, err);
	if (ret < 0)
		goto free_blk;
	blk_describe(blk, config);
	vhx_loop_timer_arm(loop, &blk->resize_check, BLK_RESIZE_CHECK_NS);
	vhx_log(log, VHX_LOG_INFO, "%s: %llu sectors, %s, I/O by %s", blk->dev.id,
		(unsigned long long)blk->capacity, blk->image.readonly ? "read-only" : "writable",
		vhx_io_name(blk->io));
	*device = &blk->dev;
	return 0;

free_blk:
	blk_free(blk);
name_device:
	vhx_error_prefix(err, "%s", config->id);
	return ret;
}
