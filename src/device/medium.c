// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A medium owns its image, one I/O engine, a fixed table of operations and three timers. What a request
 * says and how it is answered is its protocol's (blk.c, scsi.c); when it may run, and how its bytes come and go, is
 * decided here.
 *
 *   serve --served in place--> completed             data is in memory: no operation needed
 *      | defer
 *      +--> operation free? --yes--> in flight --> completed or dropped
 *                 |                     ^
 *                 no --> waiting list --+            (node; the answer's staging is there already)
 *
 * An operation walks through stages: `next` says what to do with the result of the one in flight, `done` is called
 * when a piece of work is over, and may begin the next one. Short transfers are resumed; a range is zeroed by
 * one try at a time. A stage that the kernel cannot do at the moment is done again a little later, for a bounded time.
 *
 * Reset. A queue that is being reset has its waiting requests dropped at once and those in flight
 * when the kernel is done with the current stage, with no further stage started; then it is quiesced.
 *
 * Caching. Data in the page cache is read straight into the outgoing message (RWF_NOWAIT). On tmpfs all data
 * is, so reads and writes are plain system calls; swapped-out pages are the one case in which that waits.
 * With O_DIRECT the buffers must be aligned, so everything is staged.
 *
 * Handover. While a guest migrates, two backends have its disk: that of the source, and that of the
 * destination, which waits. Such a medium does not lock its image when it opens it, but when the first request
 * comes, and gives it back when every queue that was used is reset, which is how a VMM's stop arrives here. A request
 * that comes while another process holds the image waits, for ever if need be: two writers would be worse. `held` is
 * always true of a medium without handover.
 *
 *   submit --not held--> unheld --claimed, in order--> serve
 *
 * Stable storage. Durable writes carry RWF_DSYNC, and ranges are followed by fdatasync, which is for the protocol to ask
 * for. An fdatasync that failed may have thrown the data away that it could not
 * write, and the next one would not know: so the failure is remembered, also that of a request that a reset
 * drops, and every later flush fails too.
 *
 * A hostile driver's bytes are the protocol's to check. What it can make us hold is bounded by the table of operations and by
 * the backend's staging. What it can make us log is limited.
 */
#include "device/medium.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#define RESIZE_CHECK_NS 1000000000ull

/* Between two tries to have an image that another holds: what a migrating guest waits longer, at the most. */
#define CLAIM_NS 10000000ull

/*
 * A stage that the kernel could not do at the moment is tried again so often, so far apart: 2 s. What a driver of a disk is
 * short of comes back with the next requests that end, in milliseconds; a file that says so for longer (of FUSE; one that
 * another process made non-blocking under us) has failed. A reset waits for a sync that long, and guests' drivers
 * give a request 30 s.
 */
#define AGAIN_NS 10000000ull
#define AGAIN_MAX 200u

#define BIT64(n) (1ull << (n))

_Alignas(VHX_PAGE) static const uint8_t zero_page[VHX_PAGE];

static void medium_log_io(struct vhx_medium *m, const char *what, uint64_t off, int error)
{
	vhx_log_limited(m->log, &m->errors, vhx_loop_now(m->loop), VHX_LOG_ERROR,
			"%s: %s at byte %llu failed: %s", m->name, what, (unsigned long long)off,
			strerror(error));
}

/*
 * Operations
 */

static bool queue_resetting(const struct vhx_medium *m, const struct vhx_queue *queue)
{
	unsigned int i;

	for (i = 0; i < m->reset_cnt; i++) {
		if (m->resets[i] == queue)
			return true;
	}
	return false;
}

static bool queue_busy(const struct vhx_medium *m, const struct vhx_queue *queue)
{
	unsigned int i;

	for (i = 0; i < VHX_MEDIUM_DEPTH; i++) {
		if (m->operations[i].req && m->operations[i].req->queue == queue)
			return true;
	}
	return false;
}

/* @queue is done with the image: the last one gives it back, before anybody hears of it. */
static void image_leave(struct vhx_medium *m, const struct vhx_queue *queue)
{
	m->used &= ~BIT64(vhx_queue_index(queue));
	if (!m->handover || m->used)
		return;
	vhx_loop_timer_cancel(m->loop, &m->claim);
	if (!m->held)
		return;
	m->held = false;
	vhx_image_release(&m->image);
	vhx_log(m->log, VHX_LOG_INFO, "%s: image given back", m->name);
}

static void queue_quiesce(struct vhx_medium *m, struct vhx_queue *queue)
{
	unsigned int i;

	if (queue_busy(m, queue))
		return;
	for (i = 0; i < m->reset_cnt; i++) {
		if (m->resets[i] == queue)
			m->resets[i] = m->resets[--m->reset_cnt];
	}
	image_leave(m, queue);
	m->ops->quiesced(m, queue);
}

static void op_start(struct vhx_medium *m, struct vhx_request *req)
{
	struct vhx_medium_op *op = m->free_ops[--m->free_cnt];

	op->req = req;
	m->ops->start(op);
}

/*
 * May start the next request on the same operation: nothing of @op is the caller's any more. Requests that end
 * as they start (a discard of nothing) come back here from within: the outermost call goes on with the next one,
 * so that a guest cannot choose how deep the stack gets.
 */
static void op_free(struct vhx_medium_op *op)
{
	struct vhx_medium *m = op->medium;
	struct vhx_request *req;

	op->req = NULL;
	m->free_ops[m->free_cnt++] = op;
	if (m->restarting)
		return;
	m->restarting = true;
	while (m->free_cnt && !vhx_list_empty(&m->waiting)) {
		req = vhx_list_first_entry(&m->waiting, struct vhx_request, node);
		vhx_list_del(&req->node);
		op_start(m, req);
	}
	m->restarting = false;
}

int vhx_medium_defer(struct vhx_medium *m, struct vhx_request *req)
{
	if (m->free_cnt) {
		op_start(m, req);
	} else {
		vhx_list_init(&req->node);
		vhx_list_add_tail(&m->waiting, &req->node);
	}
	return 0;
}

struct vhx_request *vhx_medium_op_end(struct vhx_medium_op *op)
{
	struct vhx_request *req = op->req;

	op_free(op);
	return req;
}

static void op_drop(struct vhx_medium_op *op)
{
	struct vhx_queue *queue = op->req->queue;
	struct vhx_medium *m = op->medium;

	vhx_request_drop(vhx_medium_op_end(op));
	queue_quiesce(m, queue);
}

/* The end of the medium. */
static void op_abandon(struct vhx_medium_op *op, int res)
{
	vhx_request_drop(vhx_medium_op_end(op));
}

static void flush_fail(struct vhx_medium *m, int error)
{
	if (m->flush_failed)
		return;
	m->flush_failed = true;
	vhx_log(m->log, VHX_LOG_ERROR,
		"%s: flush failed: %s; data may be lost, no later flush will succeed", m->name,
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

static void stage_end(struct vhx_medium_op *op, int res)
{
	if (vhx_unlikely(op->medium->reset_cnt) && queue_resetting(op->medium, op->req->queue))
		op_drop(op);
	else
		op->next(op, res);
}

/* Nobody waits for it any more. A sync goes on under a reset, for those that end with it. */
static bool stage_unwanted(const struct vhx_medium_op *op)
{
	return op->io.code != VHX_IO_FDATASYNC && queue_resetting(op->medium, op->req->queue);
}

/*
 * The kernel could not do it now, and nothing was done or lost: io_uring's workers are interrupted, and a disk's driver is
 * short of something, at times.
 */
static bool stage_again(const struct vhx_medium_op *op)
{
	return (op->io.res == -EINTR || op->io.res == -EAGAIN) && op->next != op_abandon &&
	       op->tries < AGAIN_MAX && !stage_unwanted(op);
}

static void stage_later(struct vhx_medium_op *op)
{
	struct vhx_medium *m = op->medium;

	op->tries++;
	vhx_list_add_tail(&m->again, &op->again_node);
	if (!m->again_timer.due_ns)
		vhx_loop_timer_arm(m->loop, &m->again_timer, AGAIN_NS);
}

static void sync_done(struct vhx_medium_op *op, int res);

static void stage_over(struct vhx_medium_op *op)
{
	if (op->io.code == VHX_IO_FDATASYNC)
		sync_done(op, op->io.res);
	else
		stage_end(op, op->io.res);
}

static void again_expired(struct vhx_loop_timer *t)
{
	struct vhx_medium *m = vhx_container_of(t, struct vhx_medium, again_timer);
	struct vhx_medium_op *op;
	struct vhx_list due;

	vhx_list_init(&due);
	vhx_list_splice_tail(&due, &m->again);
	while (!vhx_list_empty(&due)) {
		op = vhx_list_first_entry(&due, struct vhx_medium_op, again_node);
		vhx_list_del(&op->again_node);
		if (stage_unwanted(op))
			stage_over(op);
		else
			vhx_io_queue(m->io, &op->io);
	}
	vhx_io_submit(m->io);
}

static void stage_done(struct vhx_io_op *io)
{
	struct vhx_medium_op *op = vhx_container_of(io, struct vhx_medium_op, io);

	if (vhx_unlikely(stage_again(op))) {
		stage_later(op);
		return;
	}
	/* First of all: it is true of the image, whether or not this request is wanted any more. */
	if (vhx_unlikely(io_lost_data(io)))
		flush_fail(op->medium, -io->res);
	stage_over(op);
}

static void stage_queue(struct vhx_medium_op *op, enum vhx_io_code code,
			void (*next)(struct vhx_medium_op *op, int res))
{
	op->io.code = code;
	op->io.fd = op->medium->image.fd;
	op->io.done = stage_done;
	op->next = next;
	op->tries = 0;
	vhx_io_queue(op->medium->io, &op->io);
}

static void work_failed(struct vhx_medium_op *op, int res)
{
	static const char *const names[VHX_IO_CODE_CNT_] = {
		[VHX_IO_READV] = "read",
		[VHX_IO_WRITEV] = "write",
		[VHX_IO_FDATASYNC] = "flush",
		[VHX_IO_FALLOCATE] = "discard or write zeroes",
	};
	/* Zeroes may be written, too. */
	enum vhx_io_code code = op->way ? VHX_IO_FALLOCATE : op->io.code;

	medium_log_io(op->medium, names[code], op->off + op->progress, res ? -res : EIO);
	op->done(op, res ? res : -EIO);
}

/*
 * Syncs. The kernel tells of lost data once per open file: of two fdatasyncs side by side one takes the error, and
 * the other, which may end first, says that all is well. So there is one at a time; who comes meanwhile waits
 * for the next, which begins after all of them came and so ends for all of them.
 */

static void sync_start(struct vhx_medium *m)
{
	struct vhx_medium_op *op;

	if (m->syncing || vhx_list_empty(&m->sync_waiting))
		return;
	m->syncing = true;
	op = vhx_list_first_entry(&m->sync_waiting, struct vhx_medium_op, sync_node);
	vhx_list_del(&op->sync_node);
	vhx_list_splice_tail(&m->sync_group, &m->sync_waiting);
	stage_queue(op, VHX_IO_FDATASYNC, op->next);
}

/* Its own failure, or that of a synchronous write meanwhile, which may have taken this one's error. */
static void sync_next(struct vhx_medium_op *op, int res)
{
	op->done(op, op->medium->flush_failed ? -EIO : 0);
}

void vhx_medium_op_sync(struct vhx_medium_op *op, vhx_medium_done done)
{
	op->next = sync_next;
	op->done = done;
	vhx_list_init(&op->sync_node);
	vhx_list_add_tail(&op->medium->sync_waiting, &op->sync_node);
	sync_start(op->medium);
}

static void sync_done(struct vhx_medium_op *op, int res)
{
	struct vhx_medium *m = op->medium;
	struct vhx_list group;

	m->syncing = false;
	vhx_list_init(&group);
	vhx_list_splice_tail(&group, &m->sync_group);
	/* Before requests end: what they start belongs to the sync after the next. */
	sync_start(m);
	stage_end(op, res);
	while (!vhx_list_empty(&group)) {
		op = vhx_list_first_entry(&group, struct vhx_medium_op, sync_node);
		vhx_list_del(&op->sync_node);
		stage_end(op, res);
	}
}

int vhx_medium_sync_due(const struct vhx_medium *m)
{
	if (m->flush_failed)
		return -EIO;
	return !m->image.in_memory && !m->image.readonly;
}

/*
 * Transfers: READV and WRITEV until op->len bytes are done
 */

static void transfer_continue(struct vhx_medium_op *op);

/* 0 bytes: the image became shorter under us. */
static void transfer_next(struct vhx_medium_op *op, int res)
{
	if (res <= 0) {
		work_failed(op, res);
		return;
	}
	op->progress += (uint64_t)res;
	if (op->progress >= op->len)
		op->done(op, 0);
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

/* Those of @cnt iovecs that hold nothing beyond @len bytes. */
static unsigned int iov_within(const struct iovec *iov, unsigned int cnt, uint64_t len)
{
	unsigned int i;

	for (i = 0; i < cnt && iov[i].iov_len <= len; i++)
		len -= iov[i].iov_len;
	return i;
}

static void transfer_continue(struct vhx_medium_op *op)
{
	op->io.iov = op->iov;
	op->io.iov_cnt = op->iov_cnt;
	if (op->progress || !op->iov_cnt) {
		op->rest = iov_rest(op->iov, op->progress);
		op->rest.iov_len = vhx_min_u64(op->rest.iov_len, op->len - op->progress);
		op->io.iov = &op->rest;
		op->io.iov_cnt = 1;
	}
	op->io.off = op->off + op->progress;
	stage_queue(op, op->io.code, transfer_next);
}

static void work_begin(struct vhx_medium_op *op, uint64_t len, uint64_t off, vhx_medium_done done)
{
	op->off = off;
	op->len = len;
	op->progress = 0;
	op->way = NULL;
	op->done = done;
	op->io.flags = 0;
}

void vhx_medium_op_read(struct vhx_medium_op *op, const struct iovec *iov, unsigned int cnt,
			uint64_t len, uint64_t off, vhx_medium_done done)
{
	work_begin(op, len, off, done);
	op->iov = iov;
	op->iov_cnt = iov_within(iov, cnt, len);
	op->io.code = VHX_IO_READV;
	transfer_continue(op);
}

void vhx_medium_op_write(struct vhx_medium_op *op, const struct iovec *iov, unsigned int cnt,
			 uint64_t len, uint64_t off, bool durable, vhx_medium_done done)
{
	work_begin(op, len, off, done);
	op->iov = iov;
	op->iov_cnt = iov_within(iov, cnt, len);
	op->io.code = VHX_IO_WRITEV;
	op->io.flags = durable && !op->medium->image.in_memory ? RWF_DSYNC : 0;
	transfer_continue(op);
}

bool vhx_medium_read_now(const struct vhx_medium *m, void *buf, uint32_t len, uint64_t off)
{
	struct iovec iov = { buf, len };

	return preadv2(m->image.fd, &iov, 1, (off_t)off, m->image.in_memory ? 0 : RWF_NOWAIT) ==
	       (ssize_t)len;
}

int vhx_medium_write_now(struct vhx_medium *m, const struct iovec *iov, unsigned int cnt,
			 uint64_t len, uint64_t off)
{
	struct iovec rest;
	uint64_t done = 0;
	int error;
	ssize_t n;

	cnt = iov_within(iov, cnt, len);
	n = cnt ? pwritev(m->image.fd, iov, (int)cnt, (off_t)off) : 0;
	while (n >= 0 && (done += (uint64_t)n) < len) {
		rest = iov_rest(iov, done);
		rest.iov_len = vhx_min_u64(rest.iov_len, len - done);
		n = pwritev(m->image.fd, &rest, 1, (off_t)(off + done));
		if (!n)
			break;
	}
	if (done == len)
		return 0;
	error = n < 0 ? errno : EIO;
	medium_log_io(m, "write", off + done, error);
	return -error;
}

/*
 * Ranges
 *
 * Ways to zero one, tried in order until one is supported; 0 means to write zeroes. A discard is
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

static void range_allocate(struct vhx_medium_op *op,
			   void (*next)(struct vhx_medium_op *op, int res))
{
	op->io.flags = *op->way;
	op->io.off = op->off;
	op->io.len = op->len;
	stage_queue(op, VHX_IO_FALLOCATE, next);
}

static void discard_next(struct vhx_medium_op *op, int res)
{
	if (res < 0 && !way_unsupported(res))
		work_failed(op, res);
	else
		op->done(op, 0);
}

void vhx_medium_op_discard(struct vhx_medium_op *op, uint64_t len, uint64_t off,
			   vhx_medium_done done)
{
	work_begin(op, len, off, done);
	op->way = ways_unmap;
	range_allocate(op, discard_next);
}

static void fill_next(struct vhx_medium_op *op, int res);

/* Writes the next zeroes. */
static void fill_continue(struct vhx_medium_op *op)
{
	uint64_t left = op->len - op->progress;

	op->io.iov = op->medium->zero_iov;
	op->io.iov_cnt = (unsigned int)vhx_min_u64(left / VHX_PAGE, VHX_MEDIUM_ZERO_PAGES);
	if (left < VHX_PAGE) {
		op->rest = (struct iovec){ op->medium->zero_iov[0].iov_base, left };
		op->io.iov = &op->rest;
		op->io.iov_cnt = 1;
	}
	op->io.off = op->off + op->progress;
	op->io.flags = 0;
	stage_queue(op, VHX_IO_WRITEV, fill_next);
}

static void fill_next(struct vhx_medium_op *op, int res)
{
	if (res <= 0) {
		work_failed(op, res);
		return;
	}
	op->progress += (uint64_t)res;
	if (op->progress < op->len)
		fill_continue(op);
	else
		op->done(op, 0);
}

static void zero_try(struct vhx_medium_op *op);

static void zero_next(struct vhx_medium_op *op, int res)
{
	if (res >= 0) {
		op->done(op, 0);
	} else if (way_unsupported(res)) {
		op->way++;
		zero_try(op);
	} else {
		work_failed(op, res);
	}
}

static void zero_try(struct vhx_medium_op *op)
{
	if (*op->way)
		range_allocate(op, zero_next);
	else
		fill_continue(op);
}

void vhx_medium_op_zero(struct vhx_medium_op *op, uint64_t len, uint64_t off, bool unmap,
			vhx_medium_done done)
{
	work_begin(op, len, off, done);
	op->way = unmap ? ways_unmap : ways_keep;
	zero_try(op);
}

/*
 * Who has the image
 */

static void resize_apply(struct vhx_medium *m, uint64_t size)
{
	size -= size % m->image.block_size;
	if (size == m->size)
		return;
	m->size = size;
	m->ops->resized(m);
}

static void resize_check_expired(struct vhx_loop_timer *t)
{
	struct vhx_medium *m = vhx_container_of(t, struct vhx_medium, resize_check);
	uint64_t size;

	vhx_loop_timer_arm(m->loop, t, RESIZE_CHECK_NS);
	if (vhx_image_measure(&m->image, &size) == 0)
		resize_apply(m, size);
}

/* The image may have grown under its last owner. */
static bool image_claim(struct vhx_medium *m)
{
	struct vhx_error err;
	uint64_t size;

	if (vhx_image_claim(&m->image, &err)) {
		if (!m->claim_said)
			vhx_log(m->log, VHX_LOG_NOTICE, "%s: waits for its image: %s", m->name,
				err.text);
		m->claim_said = true;
		vhx_loop_timer_arm(m->loop, &m->claim, CLAIM_NS);
		return false;
	}
	m->claim_said = false;
	m->held = true;
	vhx_log(m->log, VHX_LOG_INFO, "%s: image taken", m->name);
	if (!vhx_image_measure(&m->image, &size))
		resize_apply(m, size);
	return true;
}

/* In their order; one for which there is no room waits for vhx_medium_room(), and the others with it. */
static void unheld_serve(struct vhx_medium *m)
{
	while (!vhx_list_empty(&m->unheld)) {
		struct vhx_request *req = vhx_list_first_entry(&m->unheld, struct vhx_request,
							       node);

		vhx_list_del(&req->node);
		if (!m->ops->serve(m, req))
			continue;
		vhx_list_add_head(&m->unheld, &req->node);
		break;
	}
	vhx_io_submit(m->io);
}

static void claim_expired(struct vhx_loop_timer *t)
{
	struct vhx_medium *m = vhx_container_of(t, struct vhx_medium, claim);

	if (image_claim(m))
		unheld_serve(m);
}

void vhx_medium_room(struct vhx_medium *m)
{
	if (m->held)
		unheld_serve(m);
}

int vhx_medium_submit(struct vhx_medium *m, struct vhx_request *req)
{
	if (!m->handover)
		return m->ops->serve(m, req);
	m->used |= BIT64(vhx_queue_index(req->queue));
	if (m->held && vhx_list_empty(&m->unheld))
		return m->ops->serve(m, req);
	if (!m->held && !m->claim.due_ns && image_claim(m))
		return m->ops->serve(m, req);
	vhx_list_init(&req->node);
	vhx_list_add_tail(&m->unheld, &req->node);
	return 0;
}

void vhx_medium_kick(struct vhx_medium *m)
{
	vhx_io_submit(m->io);
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

bool vhx_medium_busy(const struct vhx_medium *m, vhx_medium_match match, void *ctx)
{
	unsigned int i;

	for (i = 0; i < VHX_MEDIUM_DEPTH; i++) {
		if (m->operations[i].req && match(m->operations[i].req, ctx))
			return true;
	}
	return false;
}

static bool list_holds(const struct vhx_list *list, vhx_medium_match match, void *ctx)
{
	struct vhx_list *pos;

	vhx_list_for_each (pos, list) {
		if (match(vhx_list_entry(pos, struct vhx_request, node), ctx))
			return true;
	}
	return false;
}

bool vhx_medium_holds(const struct vhx_medium *m, vhx_medium_match match, void *ctx)
{
	return vhx_medium_busy(m, match, ctx) || list_holds(&m->unheld, match, ctx) ||
	       list_holds(&m->waiting, match, ctx);
}

void vhx_medium_withdraw(struct vhx_medium *m, vhx_medium_match match,
			 void (*end)(struct vhx_request *req, void *ctx), void *ctx)
{
	struct vhx_list *const lists[] = { &m->unheld, &m->waiting };
	struct vhx_list *pos, *tmp;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lists); i++) {
		vhx_list_for_each_safe (pos, tmp, lists[i]) {
			struct vhx_request *req = vhx_list_entry(pos, struct vhx_request, node);

			if (!match(req, ctx))
				continue;
			vhx_list_del(&req->node);
			end(req, ctx);
		}
	}
}

void vhx_medium_reset(struct vhx_medium *m, struct vhx_queue *queue)
{
	list_drop(&m->unheld, queue);
	list_drop(&m->waiting, queue);
	assert(m->reset_cnt < VHX_MEDIUM_QUEUES_MAX && !queue_resetting(m, queue));
	m->resets[m->reset_cnt++] = queue;
	/* What was gathered and not yet submitted would never end. */
	vhx_io_submit(m->io);
	/* The first of them may have been what the others stood behind: nobody will tell of room for it any more. */
	if (m->held)
		unheld_serve(m);
	queue_quiesce(m, queue);
}

/*
 * Life
 */

void vhx_medium_init(struct vhx_medium *m, const struct vhx_medium_ops *ops, struct vhx_loop *loop,
		     const struct vhx_log *log)
{
	unsigned int i;

	m->ops = ops;
	m->loop = loop;
	m->log = log;
	m->image.fd = -1;
	m->resize_check.expired = resize_check_expired;
	vhx_list_init(&m->resize_check.node);
	m->claim.expired = claim_expired;
	vhx_list_init(&m->claim.node);
	vhx_list_init(&m->unheld);
	vhx_list_init(&m->waiting);
	vhx_list_init(&m->sync_group);
	vhx_list_init(&m->sync_waiting);
	vhx_list_init(&m->again);
	m->again_timer.expired = again_expired;
	vhx_list_init(&m->again_timer.node);
	/* writev(2) takes no pointers to const, and does not write through these. */
	for (i = 0; i < VHX_MEDIUM_ZERO_PAGES; i++)
		m->zero_iov[i] = (struct iovec){ (void *)zero_page, VHX_PAGE };
	for (i = 0; i < VHX_MEDIUM_DEPTH; i++) {
		m->operations[i].medium = m;
		vhx_list_init(&m->operations[i].again_node);
		m->free_ops[m->free_cnt++] = &m->operations[i];
	}
}

int vhx_medium_open(struct vhx_medium *m, const struct vhx_medium_config *config,
		    struct vhx_error *err)
{
	struct vhx_image_config image = config->image;
	int ret;

	m->name = config->name;
	m->handover = config->handover;
	m->held = !config->handover;
	image.unlocked = config->handover;
	ret = vhx_io_new(m->loop, config->io, VHX_MEDIUM_DEPTH, &m->io);
	if (ret < 0) {
		vhx_error_set(err, "no way to do I/O: %s", strerror(-ret));
		return ret;
	}
	ret = vhx_image_open(&m->image, &image, err);
	if (ret < 0)
		return ret;
	m->size = m->image.size - m->image.size % m->image.block_size;
	vhx_loop_timer_arm(m->loop, &m->resize_check, RESIZE_CHECK_NS);
	return 0;
}

/* Like a reset of every queue, except that it waits, and reports to nobody. */
void vhx_medium_close(struct vhx_medium *m)
{
	struct vhx_medium_op *op;
	unsigned int i;

	list_drop(&m->unheld, NULL);
	list_drop(&m->waiting, NULL);
	while (!vhx_list_empty(&m->sync_waiting)) {
		op = vhx_list_first_entry(&m->sync_waiting, struct vhx_medium_op, sync_node);
		vhx_list_del(&op->sync_node);
		op_abandon(op, 0);
	}
	for (i = 0; i < VHX_MEDIUM_DEPTH; i++)
		m->operations[i].next = op_abandon;
	m->reset_cnt = 0;
	while (!vhx_list_empty(&m->again)) {
		op = vhx_list_first_entry(&m->again, struct vhx_medium_op, again_node);
		vhx_list_del(&op->again_node);
		stage_over(op);
	}
	if (m->io)
		vhx_io_wait(m->io);
	vhx_loop_timer_cancel(m->loop, &m->resize_check);
	vhx_loop_timer_cancel(m->loop, &m->claim);
	vhx_loop_timer_cancel(m->loop, &m->again_timer);
	vhx_io_free(m->io);
	vhx_image_close(&m->image);
}

uint64_t vhx_medium_memory(const struct vhx_medium *m)
{
	return vhx_io_memory(m->io);
}
