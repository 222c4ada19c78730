// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A device is the requests, features and config space of virtio-blk over one medium (medium.c), which has the
 * image, does the I/O, and knows of reset, handover and lost flushes. Requests belong to the backend; from a submit that
 * returned 0 on they are here or with the medium.
 *
 * A request is judged in submit: refused, served in place, or deferred to an operation of the medium, whose pieces of
 * work are begun here. A range request does one segment at a time.
 *
 * Stable storage. Completed writes are volatile only while the driver accepted that: 5.2.6.2, it
 * negotiated FLUSH, and has not switched the cache off (CONFIG_WCE). Otherwise writes are durable, and
 * ranges are followed by a sync.
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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/blk_layout.h"
#include "device/medium.h"
#include "util/checked.h"

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

#define BLK_TYPE_CNT 6 /* request types that we know */

/* A page of data less or more per message is what this can cost. */
#define BLK_PIECE_GRAIN 64u
/* Reads between two searches, which cost a dozen refused reservations. */
#define BLK_PIECE_AGE_MAX 1024u

/* Device bits: 0-23 and 50-63 (VirtIO 6). */
#define BLK_FEATURE_BITS (~0ull << 50 | 0xffffffull)

#define BIT64(n) (1ull << (n))

struct blk {
	struct vhx_device dev;
	uint64_t capacity; /* sectors */
	uint64_t features; /* negotiated */
	bool no_discard;
	bool volatile_writes; /* see above */
	char serial[VIRTIO_BLK_ID_BYTES];
	struct virtio_blk_config config; /* the original of dev.config */
	uint32_t piece_max; /* largest reservation, as far as known */
	uint32_t piece_age; /* reads since it was forgotten */
	struct vhx_medium medium;
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
	/* Starts the slow path, which serve chose by vhx_medium_defer(). NULL: it never does. */
	void (*start)(struct vhx_medium_op *op, const struct blk_head *head);
};

static struct blk *blk_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct blk, dev);
}

static struct blk *blk_of_medium(struct vhx_medium *m)
{
	return vhx_container_of(m, struct blk, medium);
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

static void request_parse(const struct vhx_request *req, struct blk_head *head)
{
	struct virtio_blk_outhdr hdr;

	memcpy(&hdr, req->head, sizeof(hdr));
	head->type = vhx_le32_get(hdr.type);
	head->sector = vhx_le64_get(hdr.sector);
}

static void op_finish(struct vhx_medium_op *op, int error)
{
	request_finish(vhx_medium_op_end(op), error ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void op_start(struct vhx_medium_op *op)
{
	struct blk_head head;

	request_parse(op->req, &head);
	types[*request_row(op->req)].start(op, &head);
}

/*
 * READ (5.2.6: VIRTIO_BLK_T_IN)
 */

/* Does a transfer of @len bytes at @sector lie within the disk, in units that the image can do? */
static bool transfer_valid(const struct blk *blk, uint64_t sector, uint64_t len)
{
	if (len == 0 || len % blk->medium.image.block_size)
		return false;
	if (!vhx_range_within(sector, len / VIRTIO_BLK_SECTOR, blk->capacity))
		return false;
	return sector * VIRTIO_BLK_SECTOR % blk->medium.image.block_size == 0;
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
	if (!vhx_medium_read_now(&blk->medium, p, len, off + done)) {
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
	return vhx_medium_defer(&blk->medium, req);
}

static int read_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	uint32_t data_len = req->in_len - 1;
	uint64_t *progress = request_progress(req);
	int ret;

	if (!transfer_valid(blk, head->sector, data_len))
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (!vhx_medium_read_now_able(&blk->medium))
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

static void read_done(struct vhx_medium_op *op, int error)
{
	uint32_t valid = (uint32_t)op->len;

	if (error)
		op_finish(op, error);
	else
		request_finish_read(vhx_medium_op_end(op), valid);
}

static void read_start(struct vhx_medium_op *op, const struct blk_head *head)
{
	struct vhx_request *req = op->req;
	uint64_t done = *request_progress(req);

	vhx_medium_op_read(op, req->in, req->in_cnt, req->in_len - 1 - done,
			   head->sector * VIRTIO_BLK_SECTOR + done, read_done);
}

/*
 * WRITE (VIRTIO_BLK_T_OUT)
 */

static uint64_t write_len(const struct vhx_request *req)
{
	return req->out_len - sizeof(struct virtio_blk_outhdr);
}

static int write_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	int ret;

	if (!transfer_valid(blk, head->sector, write_len(req)))
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (!blk->medium.image.in_memory)
		return vhx_medium_defer(&blk->medium, req);
	ret = vhx_medium_write_now(&blk->medium, req->out, req->out_cnt, write_len(req),
				   head->sector * VIRTIO_BLK_SECTOR);
	return request_refuse(req, ret ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void write_start(struct vhx_medium_op *op, const struct blk_head *head)
{
	struct vhx_request *req = op->req;

	vhx_medium_op_write(op, req->out, req->out_cnt, write_len(req),
			    head->sector * VIRTIO_BLK_SECTOR,
			    !blk_of_medium(op->medium)->volatile_writes, op_finish);
}

/*
 * FLUSH
 */

static int flush_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	int due = vhx_medium_sync_due(&blk->medium);

	if (due > 0)
		return vhx_medium_defer(&blk->medium, req);
	return request_refuse(req, due < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void flush_start(struct vhx_medium_op *op, const struct blk_head *head)
{
	vhx_medium_op_sync(op, op_finish);
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
	return vhx_medium_defer(&blk->medium, req);
}

static int discard_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	return ranges_serve(blk, req, BLK_RANGES_MAX, BLK_DISCARD_SECTORS_MAX, 0);
}

static int zeroes_serve(struct blk *blk, struct vhx_request *req, const struct blk_head *head)
{
	return ranges_serve(blk, req, 1, BLK_ZEROES_SECTORS_MAX, VIRTIO_BLK_RANGE_UNMAP);
}

static void ranges_continue(struct vhx_medium_op *op);

static void range_done(struct vhx_medium_op *op, int error)
{
	if (error) {
		op_finish(op, error);
		return;
	}
	op->step++;
	ranges_continue(op);
}

/* The ranges are done. What they changed is metadata and data like that of a write. */
static void ranges_finish(struct vhx_medium_op *op)
{
	if (!blk_of_medium(op->medium)->volatile_writes && !op->medium->image.in_memory)
		vhx_medium_op_sync(op, op_finish);
	else
		op_finish(op, 0);
}

static void range_start(struct vhx_medium_op *op, const struct blk_range *range)
{
	uint64_t off = range->sector * VIRTIO_BLK_SECTOR;
	uint64_t len = (uint64_t)range->cnt * VIRTIO_BLK_SECTOR;
	struct blk_head head;

	request_parse(op->req, &head);
	if (head.type == VIRTIO_BLK_T_DISCARD)
		vhx_medium_op_discard(op, len, off, range_done);
	else
		vhx_medium_op_zero(op, len, off,
				   (range->flags & VIRTIO_BLK_RANGE_UNMAP) &&
					   !blk_of_medium(op->medium)->no_discard,
				   range_done);
}

static void ranges_continue(struct vhx_medium_op *op)
{
	struct blk_range range;

	for (; op->step < op->step_cnt; op->step++) {
		range_get(op->req, op->step, &range);
		if (range.cnt) {
			range_start(op, &range);
			return;
		}
	}
	ranges_finish(op);
}

static void ranges_start(struct vhx_medium_op *op, const struct blk_head *head)
{
	op->step = 0;
	op->step_cnt = range_cnt(op->req);
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

static int request_serve(struct vhx_medium *m, struct vhx_request *req)
{
	struct blk *blk = blk_of_medium(m);
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
	if (type->writes && m->image.readonly)
		return request_refuse(req, VIRTIO_BLK_S_IOERR);
	if (type->feature & ~blk->features)
		return request_refuse(req, VIRTIO_BLK_S_UNSUPP);
	return type->serve(blk, req, &head);
}

static void blk_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	vhx_medium_room(&blk_of(dev)->medium);
}

static int blk_submit(struct vhx_device *dev, struct vhx_request *req)
{
	return vhx_medium_submit(&blk_of(dev)->medium, req);
}

static void blk_kick(struct vhx_device *dev)
{
	vhx_medium_kick(&blk_of(dev)->medium);
}

static void blk_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	vhx_medium_reset(&blk_of(dev)->medium, queue);
}

static void queue_quiesced(struct vhx_medium *m, struct vhx_queue *queue)
{
	vhx_queue_quiesced(queue);
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
	/* 5.2.5.2: what a driver starts from. One that cannot flush has to ask for a cache. */
	blk->config.writeback = !(features & BIT64(VIRTIO_BLK_F_CONFIG_WCE)) ||
				(features & BIT64(VIRTIO_BLK_F_FLUSH));
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

static void medium_resized(struct vhx_medium *m)
{
	struct blk *blk = blk_of_medium(m);
	uint64_t capacity = m->size / VIRTIO_BLK_SECTOR;

	vhx_log(blk->dev.log, VHX_LOG_NOTICE, "%s: resized from %llu to %llu sectors", blk->dev.id,
		(unsigned long long)blk->capacity, (unsigned long long)capacity);
	blk->capacity = capacity;
	blk->config.capacity = vhx_le64_of(capacity);
	config_publish(blk);
	if (blk->dev.backend)
		vhx_device_config_changed(&blk->dev);
}

static const struct vhx_medium_ops medium_ops = {
	.serve = request_serve,
	.start = op_start,
	.resized = medium_resized,
	.quiesced = queue_quiesced,
};

/*
 * Life
 */

static void blk_close(struct vhx_device *dev)
{
	struct blk *blk = blk_of(dev);

	vhx_medium_close(&blk->medium);
	free(blk);
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
	if (blk->medium.image.readonly)
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
	uint32_t sectors_per_block = blk->medium.image.block_size / VIRTIO_BLK_SECTOR;

	/* At least one page: max_request is one at least. */
	seg_max = (uint32_t)vhx_min_u64(seg_max, max_request / VHX_PAGE);
	c->seg_max = vhx_le32_of(seg_max);
	c->size_max = vhx_le32_of(max_request / seg_max / VHX_PAGE * VHX_PAGE);
	c->num_queues = vhx_le16_of(blk->dev.num_queues);
	c->max_discard_sectors = vhx_le32_of(BLK_DISCARD_SECTORS_MAX);
	c->max_discard_seg = vhx_le32_of(BLK_RANGES_MAX);
	c->discard_sector_alignment = vhx_le32_of((uint32_t)vhx_max_u64(
		blk->medium.image.physical_size / VIRTIO_BLK_SECTOR, sectors_per_block));
	c->max_write_zeroes_sectors = vhx_le32_of(BLK_ZEROES_SECTORS_MAX);
	c->max_write_zeroes_seg = vhx_le32_of(1);
	c->write_zeroes_may_unmap = !blk->no_discard;
}

static void config_fill_medium(struct blk *blk)
{
	const struct vhx_image *img = &blk->medium.image;
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
		snprintf(hex + 2 * i, 3, "%02x", blk->medium.image.uuid[i]);
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
	blk->dev.ops = &blk_ops;
	blk->dev.log = log;
	blk->dev.loop = loop;
	blk->dev.num_queues = c->num_queues ? c->num_queues : 1;
	blk->dev.queue_size_max = c->queue_size ? c->queue_size : VHX_BLK_QUEUE_SIZE_DEFAULT;
	snprintf(blk->dev.id, sizeof(blk->dev.id), "%s", c->id);
	blk->no_discard = c->no_discard;
	blk->piece_max = UINT32_MAX;
	vhx_medium_init(&blk->medium, &medium_ops, loop, log);
}

/* Once the image is open: all that follows from it. */
static void blk_describe(struct blk *blk, const struct vhx_blk_config *c)
{
	uint32_t max_request = c->max_request ? c->max_request : VHX_BLK_DATA_DEFAULT;
	struct vhx_device *dev = &blk->dev;

	blk->capacity = blk->medium.size / VIRTIO_BLK_SECTOR;
	serial_fill(blk, c->serial);
	dev->features = features_offered(blk);
	dev->max_out = (uint32_t)sizeof(struct virtio_blk_outhdr) + max_request;
	dev->max_in = max_request + 1;
	dev->config_len = sizeof(struct virtio_blk_config);
	config_fill_limits(blk, max_request);
	config_fill_medium(blk);
	config_publish(blk);
	memcpy(dev->uuid, blk->medium.image.uuid, sizeof(dev->uuid));
	memcpy(dev->cache_id, blk->medium.image.cache_id, sizeof(dev->cache_id));
	dev->memory = sizeof(*blk) + vhx_medium_memory(&blk->medium);
}

static int blk_open(struct blk *blk, const struct vhx_blk_config *c, struct vhx_error *err)
{
	const struct vhx_medium_config medium = {
		.name = blk->dev.id,
		.image = {
			.path = c->path,
			.fd = c->fd,
			.readonly = c->readonly,
			.direct = c->direct,
		},
		.handover = c->handover,
		.io = c->io,
	};

	return vhx_medium_open(&blk->medium, &medium, err);
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
		goto close_blk;
	blk_describe(blk, config);
	vhx_log(log, VHX_LOG_INFO, "%s: %llu sectors, %s, I/O by %s", blk->dev.id,
		(unsigned long long)blk->capacity,
		blk->medium.image.readonly ? "read-only" : "writable", vhx_io_name(blk->medium.io));
	*device = &blk->dev;
	return 0;

close_blk:
	blk_close(&blk->dev);
name_device:
	vhx_error_prefix(err, "%s", config->id);
	return ret;
}
