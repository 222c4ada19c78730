// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A device is one target with up to 16 logical units, each on a medium (medium.c) of its own. Queue 0 brings
 * task management, queue 1 buffers for events, the others commands, of any unit.
 *
 * A command is {lun, tag, CDB} and data, one way. commands[] says what there is: a row judges and answers, or defers to an
 * operation of the unit's medium. The answer is {sense, residual, status, response}, in front of the data that was read: so
 * data of a read goes out in one reservation with its response, or is staged with a page of its own for the
 * response, which keeps what direct I/O reads aligned.
 *
 * Units. What is wrong with an address ends as VirtIO has it: another target is BAD_TARGET; a unit that this one
 * does not have is there for INQUIRY, REPORT LUNS and REQUEST SENSE, which say so. A unit attention is told once, by
 * the first command that is neither of these. A unit whose image was cut to nothing is not ready: it has no last block to
 * tell of.
 *
 * Task management. What waits is ended at once, I/O in flight is not interrupted: the function ends when the last command
 * that it is about has. `seq` tells those from commands that came later. Behind a command that the backend holds for
 * lack of room there may be others that we have not seen, and that came before the function: so it begins when each queue
 * of which one was held then has had none, and is about all that were seen until then. A query says whether one of its
 * commands is not over then, in flight or not begun. A reset of a unit leaves a unit attention.
 *
 * Resets of queues reach every medium; the queue is quiesced when the last of them says so.
 *
 * Events. A unit whose image has another size has a unit attention, and an event that waits for a buffer; both are told
 * once, however often the size changes meanwhile. Units neither come nor go, but HOTPLUG is offered all the same: Linux
 * posts buffers for events only where it is.
 *
 * Stable storage. The write cache is on and stays on (no MODE SELECT): a command is durable after SYNCHRONIZE CACHE,
 * or with FUA.
 *
 * Hostile driver. As in blk.c: private copies, each field checked before it is used, in arithmetic that cannot wrap. A
 * command that has no room for its response is completed with nothing. The CDB length that a driver may choose in
 * config space stays 32 bytes, since its data is aligned behind that. Functions that wait are few, and are looked at once per
 * pass, not with each command that ends meanwhile.
 */
#include "device/scsi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/identity.h"
#include "device/medium.h"
#include "device/scsi_cdb.h"
#include "device/scsi_layout.h"
#include "util/checked.h"

/* As of a disk: with request and response, a chain for a queue of 128. */
#define SCSI_SEG_MAX 126u
#define SCSI_QUEUE_SIZE_LEAST 4u
#define SCSI_QUEUES_ALL (VHX_SCSI_QUEUES_MAX + VIRTIO_SCSI_REQUESTQ)

#define SCSI_SECTOR 512u /* unit of max_sectors */
#define SCSI_CMD_PER_LUN \
	128u /* at least what a driver keeps in flight per unit; queues bound it anyway */

/* The least that a driver may choose has a whole sense, the most is what SPC-4 4.5.1 has. */
#define SCSI_SENSE_SIZE_MIN SCSI_SENSE_LEN
#define SCSI_SENSE_SIZE_MAX 252u
#define SCSI_RESP_MAX (sizeof(struct virtio_scsi_cmd_resp) + SCSI_SENSE_SIZE_MAX)

/* Ranges of one UNMAP, checked before the first is done. */
#define SCSI_UNMAP_RANGES_MAX 16u
/* 1 GiB and 64 MiB: a reset waits for a range in flight, and zeroes may have to be written. */
#define SCSI_UNMAP_BYTES_MAX (1u << 30)
#define SCSI_SAME_BYTES_MAX (64u << 20)

/*
 * Functions that wait at once: drivers give one after the other, or one per command that is late. Each is held against
 * all that is in flight whenever something has ended.
 */
#define SCSI_TMFS_MAX 64u
#define SCSI_SEQ_OPEN UINT64_MAX /* of a function that has not begun */

#define SCSI_FEATURE_BITS (~0ull << 50 | 0xffffffull)
#define BIT64(n) (1ull << (n))

#define REQ_LEN ((uint32_t)sizeof(struct virtio_scsi_cmd_req))
#define RESP_LEN ((uint32_t)sizeof(struct virtio_scsi_cmd_resp))

_Static_assert(sizeof(struct virtio_scsi_cmd_req) <= VHX_REQUEST_HEAD_MAX, "heads hold a request");
_Static_assert(RESP_LEN + SCSI_SENSE_LEN <= VHX_TAIL_MAX, "a failure is a tail");
_Static_assert(SCSI_QUEUES_ALL <= VHX_MEDIUM_QUEUES_MAX, "queues of a medium");
_Static_assert(8 + 8 * VHX_SCSI_LUNS_MAX <= SCSI_DATA_MAX, "REPORT LUNS");
_Static_assert(VHX_SCSI_SERIAL_MAX == SCSI_SERIAL_MAX, "serial numbers");

struct scsi;

struct scsi_lun {
	struct scsi *scsi;
	unsigned int number;
	char name[VHX_DEVICE_ID_MAX + 16]; /* for the log: "scsi0 lun1" */
	struct vhx_scsi_unit unit;
	uint32_t attention; /* sense, 0: none */
	bool event_due;
	struct vhx_medium medium;
};

struct scsi {
	struct vhx_device dev;
	struct virtio_scsi_config config; /* the original of dev.config */
	uint64_t features; /* negotiated */
	bool no_discard;
	uint32_t resp_len; /* with the driver's sense_size */
	uint32_t max_request;
	uint64_t seq; /* of the last command */
	uint64_t refused; /* by queue: its first command waits in the backend for room */
	struct vhx_list events; /* buffers for them */
	struct vhx_list tmfs; /* functions that wait for commands to end */
	unsigned int tmf_cnt;
	bool tmfs_due; /* one may have nothing to wait for any more */
	struct vhx_loop_hook hook;
	unsigned int pending[SCSI_QUEUES_ALL]; /* media that a reset of the queue waits for */
	unsigned int lun_cnt;
	struct scsi_lun *luns[VHX_SCSI_LUNS_MAX];
};

/* One command, parsed; made anew whenever it is needed. */
struct scsi_task {
	struct scsi *scsi;
	struct scsi_lun *lun; /* NULL: not there */
	struct vhx_request *req;
	uint8_t cdb[SCSI_CDB_MAX];
	struct vhx_scsi_range range;
	uint32_t resp_len;
	uint32_t out_len, in_len; /* of data */
};

/* One row per command. */
struct scsi_command {
	uint8_t opcode;
	bool writes; /* refused by a unit that is read-only */
	bool always; /* also without a unit, and in front of a unit attention */
	/* 0: taken, -EAGAIN as of ops->submit. */
	int (*serve)(struct scsi_task *t);
	/* Starts what serve deferred. NULL: it never does. */
	void (*start)(struct vhx_medium_op *op, struct scsi_task *t);
};

static struct scsi *scsi_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct scsi, dev);
}

static struct scsi_lun *lun_of(struct vhx_medium *m)
{
	return vhx_container_of(m, struct scsi_lun, medium);
}

/*
 * In priv[0]: its place among all commands, from 1 on; of a task management function, that of the last before it, or
 * SCSI_SEQ_OPEN.
 */
static uint64_t *request_seq(struct vhx_request *req)
{
	return &req->priv[0];
}

/* In priv[1] of a function that has not begun: the queues, by bit, of which it has to see more. */
static uint64_t *request_unseen(struct vhx_request *req)
{
	return &req->priv[1];
}

/* In priv[1] of a command: the row of commands[]. */
static uint64_t *request_row(struct vhx_request *req)
{
	return &req->priv[1];
}

/* In priv[2]: bytes of its response: the driver may change its mind about later ones. */
static uint64_t *request_resp_len(struct vhx_request *req)
{
	return &req->priv[2];
}

/*
 * Addresses (5.6.6.1): 1, target, a single level LUN structure, zeroes
 */

/* The number; -ENOENT: no such target. Negative numbers aside, whether there is such a unit is another question. */
static int lun_parse(const uint8_t lun[VIRTIO_SCSI_LUN_LEN])
{
	if (lun[0] != 1 || lun[1] != 0 || memcmp(lun + 4, "\0\0\0", 4))
		return -ENOENT;
	/* Peripheral addressing, bus 0, or flat addressing: SAM-5 4.7.7. */
	return (lun[2] & 0xc0) == 0x40 || !lun[2] ? (lun[2] & 0x3f) << 8 | lun[3] : INT32_MAX;
}

/* By peripheral addressing: of events Linux takes these bytes as they are for the number. */
static void lun_write(uint8_t lun[VIRTIO_SCSI_LUN_LEN], unsigned int number)
{
	memset(lun, 0, VIRTIO_SCSI_LUN_LEN);
	lun[0] = 1;
	lun[3] = (uint8_t)number;
}

static struct scsi_lun *lun_find(struct scsi *scsi, int number)
{
	return number >= 0 && (unsigned int)number < scsi->lun_cnt ? scsi->luns[number] : NULL;
}

/*
 * Answers
 */

static uint32_t resid_of(const struct scsi_task *t, uint32_t done)
{
	return (t->in_len ? t->in_len : t->out_len) - done;
}

/* A function may have waited for it. They are looked at once for all that end together: see scsi_kick(). */
static void task_over(struct scsi *scsi)
{
	scsi->tmfs_due = true;
}

/* Ends a command with a response and no data. @used: with what follows it. */
static int task_respond(struct scsi_task *t, uint8_t response, uint8_t status, uint32_t sense,
			uint32_t done)
{
	struct {
		struct virtio_scsi_cmd_resp resp;
		uint8_t sense[SCSI_SENSE_LEN];
	} tail = { 0 };
	uint32_t len = RESP_LEN;

	tail.resp.resid = vhx_le32_of(resid_of(t, done));
	tail.resp.status = status;
	tail.resp.response = response;
	if (status == SCSI_CHECK_CONDITION) {
		tail.resp.sense_len = vhx_le32_of(SCSI_SENSE_LEN);
		vhx_scsi_sense(sense, tail.sense);
		len += SCSI_SENSE_LEN;
	}
	vhx_request_complete(t->req, 0, &tail, 0, len, len);
	task_over(t->scsi);
	return 0;
}

static int task_good(struct scsi_task *t, uint32_t done)
{
	return task_respond(t, VIRTIO_SCSI_S_OK, SCSI_GOOD, 0, done);
}

static int task_check(struct scsi_task *t, uint32_t sense)
{
	return task_respond(t, VIRTIO_SCSI_S_OK, SCSI_CHECK_CONDITION, sense, 0);
}

static int task_overrun(struct scsi_task *t)
{
	return task_respond(t, VIRTIO_SCSI_S_OVERRUN, SCSI_GOOD, 0, 0);
}

/* What a response says in front of @done bytes of data: 12 bytes, and no sense. */
static void response_write(const struct scsi_task *t, uint8_t *to, uint32_t done)
{
	struct virtio_scsi_cmd_resp resp = { .resid = vhx_le32_of(resid_of(t, done)) };

	memset(to, 0, t->resp_len);
	memcpy(to, &resp, sizeof(resp));
}

/* Staging for the response, in a page of its own, and @len bytes of data. 0 or -EAGAIN. */
static int task_stage(struct scsi_task *t, uint32_t len)
{
	int ret = vhx_request_in_buffer_led(t->req, 0, t->resp_len, len);

	if (!ret)
		response_write(t, t->req->in[0].iov_base, len);
	return ret;
}

static void task_finish_staged(struct scsi_task *t, uint32_t len)
{
	uint32_t valid = t->resp_len + len;

	vhx_request_complete(t->req, valid, NULL, 0, 0, valid);
	task_over(t->scsi);
}

/* Answers with @len bytes that are there: SCSI_DATA_MAX at most. */
static int task_data(struct scsi_task *t, const uint8_t *data, uint32_t len, uint32_t sense)
{
	uint32_t resp_len = t->resp_len;
	bool later = false;
	uint8_t *p;

	if (!len)
		return task_check(t, sense);
	len = (uint32_t)vhx_min_u64(len, vhx_scsi_allocation(t->cdb));
	if (len > t->in_len)
		return task_overrun(t);
	if (!len)
		return task_good(t, 0);
	p = vhx_request_in_reserve(t->req, 0, resp_len + len, &later);
	if (p) {
		response_write(t, p, len);
		memcpy(p + resp_len, data, len);
		vhx_request_in_commit(t->req, resp_len + len);
		vhx_request_complete(t->req, 0, NULL, 0, 0, resp_len + len);
		task_over(t->scsi);
		return 0;
	}
	if (later || task_stage(t, len))
		return -EAGAIN;
	memcpy(t->req->in[1].iov_base, data, len);
	task_finish_staged(t, len);
	return 0;
}

/*
 * What needs no medium
 */

static int ready_serve(struct scsi_task *t)
{
	return t->lun->unit.blocks ? task_good(t, 0) : task_check(t, SCSI_SENSE_NOT_READY);
}

static int inquiry_serve(struct scsi_task *t)
{
	uint8_t data[SCSI_DATA_MAX];
	uint32_t sense, len;

	len = vhx_scsi_inquiry(t->lun ? &t->lun->unit : NULL, t->cdb, data, &sense);
	return task_data(t, data, len, sense);
}

static int luns_serve(struct scsi_task *t)
{
	uint8_t data[SCSI_DATA_MAX];
	uint32_t sense, len;

	len = vhx_scsi_report_luns(t->scsi->lun_cnt, t->cdb, data, &sense);
	return task_data(t, data, len, sense);
}

static int sense_serve(struct scsi_task *t)
{
	uint32_t sense = t->lun ? t->lun->attention : SCSI_SENSE_LUN;
	uint8_t data[SCSI_DATA_MAX];
	int ret;

	if (t->cdb[1]) /* descriptor format */
		return task_check(t, SCSI_SENSE_FIELD);
	vhx_scsi_sense(sense, data);
	ret = task_data(t, data, SCSI_SENSE_LEN, 0);
	if (!ret && t->lun)
		t->lun->attention = 0;
	return ret;
}

static int mode_serve(struct scsi_task *t)
{
	uint8_t data[SCSI_DATA_MAX];
	uint32_t sense, len;

	len = vhx_scsi_mode_sense(&t->lun->unit, t->cdb, data, &sense);
	return task_data(t, data, len, sense);
}

static int capacity_10_serve(struct scsi_task *t)
{
	uint8_t data[SCSI_DATA_MAX];
	uint32_t sense, len;

	len = vhx_scsi_capacity_10(&t->lun->unit, data, &sense);
	return task_data(t, data, len, sense);
}

static int action_in_serve(struct scsi_task *t)
{
	uint8_t data[SCSI_DATA_MAX];
	uint32_t sense, len;

	if ((t->cdb[1] & 0x1f) != SCSI_SA_READ_CAPACITY_16)
		return task_check(t, SCSI_SENSE_FIELD);
	len = vhx_scsi_capacity_16(&t->lun->unit, data, &sense);
	return task_data(t, data, len, sense);
}

/*
 * READ and WRITE
 */

static uint64_t task_off(const struct scsi_task *t)
{
	return t->range.lba * t->lun->unit.block_size;
}

/* Only once the range is known to be valid. */
static uint32_t task_bytes(const struct scsi_task *t)
{
	return t->range.blocks * t->lun->unit.block_size;
}

static bool range_valid(const struct scsi_lun *lun, const struct vhx_scsi_range *range)
{
	return vhx_range_within(range->lba, range->blocks, lun->unit.blocks);
}

/* The range of a READ or WRITE that @room bytes were brought for: 1: go on; else it was answered, with 0. */
static int transfer_judge(struct scsi_task *t, uint32_t room)
{
	/* READ(6) and WRITE(6) keep the address in byte 1. */
	if (t->cdb[0] >> 5 && (t->cdb[1] & SCSI_PROTECT))
		return task_check(t, SCSI_SENSE_FIELD);
	if (!range_valid(t->lun, &t->range))
		return task_check(t, SCSI_SENSE_LBA);
	if (t->range.blocks > t->lun->unit.transfer_max)
		return task_check(t, SCSI_SENSE_FIELD);
	if (task_bytes(t) > room)
		return task_overrun(t);
	return t->range.blocks ? 1 : task_good(t, 0);
}

static void task_failed(struct vhx_medium_op *op, struct scsi_task *t, int error, uint32_t sense)
{
	vhx_medium_op_end(op);
	task_check(t, error == -ENOSPC || error == -EDQUOT ? SCSI_SENSE_SPACE : sense);
}

static void task_of(struct scsi *scsi, struct vhx_request *req, struct scsi_task *t);

static void op_task(const struct vhx_medium_op *op, struct scsi_task *t)
{
	task_of(lun_of(op->medium)->scsi, op->req, t);
	t->lun = lun_of(op->medium);
}

/* With the response in front of it, in one message: a read that fails half way could not take that back. */
static bool read_now(struct scsi_task *t, bool *later)
{
	uint32_t resp_len = t->resp_len, len = task_bytes(t);
	uint8_t *p;

	*later = false;
	if (!vhx_medium_read_now_able(&t->lun->medium) ||
	    resp_len + len > vhx_request_in_reserve_max(t->req))
		return false;
	p = vhx_request_in_reserve(t->req, 0, resp_len + len, later);
	if (!p)
		return false;
	if (!vhx_medium_read_now(&t->lun->medium, p + resp_len, len, task_off(t))) {
		vhx_request_in_commit(t->req, 0);
		return false;
	}
	response_write(t, p, len);
	vhx_request_in_commit(t->req, resp_len + len);
	vhx_request_complete(t->req, 0, NULL, 0, 0, resp_len + len);
	task_over(t->scsi);
	return true;
}

static int read_serve(struct scsi_task *t)
{
	int ret = transfer_judge(t, t->in_len);
	bool later;

	if (ret <= 0 || read_now(t, &later))
		return 0;
	if (later || task_stage(t, task_bytes(t)))
		return -EAGAIN;
	return vhx_medium_defer(&t->lun->medium, t->req);
}

static void read_done(struct vhx_medium_op *op, int error)
{
	struct scsi_task t;

	op_task(op, &t);
	if (error) {
		task_failed(op, &t, error, SCSI_SENSE_READ_ERROR);
		return;
	}
	vhx_medium_op_end(op);
	task_finish_staged(&t, task_bytes(&t));
}

static void read_start(struct vhx_medium_op *op, struct scsi_task *t)
{
	vhx_medium_op_read(op, t->req->in + 1, t->req->in_cnt - 1, task_bytes(t), task_off(t),
			   read_done);
}

static int write_serve(struct scsi_task *t)
{
	int ret = transfer_judge(t, t->out_len);

	if (ret <= 0)
		return 0;
	if (!t->lun->medium.image.in_memory)
		return vhx_medium_defer(&t->lun->medium, t->req);
	ret = vhx_medium_write_now(&t->lun->medium, t->req->out, t->req->out_cnt, task_bytes(t),
				   task_off(t));
	if (!ret)
		return task_good(t, task_bytes(t));
	return task_check(t, ret == -ENOSPC ? SCSI_SENSE_SPACE : SCSI_SENSE_WRITE_ERROR);
}

static void write_done(struct vhx_medium_op *op, int error)
{
	struct scsi_task t;

	op_task(op, &t);
	if (error) {
		task_failed(op, &t, error, SCSI_SENSE_WRITE_ERROR);
		return;
	}
	vhx_medium_op_end(op);
	task_good(&t, task_bytes(&t));
}

static void write_start(struct vhx_medium_op *op, struct scsi_task *t)
{
	bool durable = t->cdb[0] >> 5 && (t->cdb[1] & SCSI_FUA);

	vhx_medium_op_write(op, t->req->out, t->req->out_cnt, task_bytes(t), task_off(t), durable,
			    write_done);
}

/*
 * SYNCHRONIZE CACHE, START STOP UNIT, VERIFY
 */

/* Of work that moves no data. */
static void plain_done(struct vhx_medium_op *op, int error)
{
	struct scsi_task t;

	op_task(op, &t);
	if (error) {
		task_failed(op, &t, error, SCSI_SENSE_WRITE_ERROR);
		return;
	}
	vhx_medium_op_end(op);
	task_good(&t, 0);
}

static int cache_flush(struct scsi_task *t)
{
	int due = vhx_medium_sync_due(&t->lun->medium);

	if (due > 0)
		return vhx_medium_defer(&t->lun->medium, t->req);
	return due < 0 ? task_check(t, SCSI_SENSE_WRITE_ERROR) : task_good(t, 0);
}

/* Part of a cache is as good as all of it. No blocks means those to the end. */
static int sync_serve(struct scsi_task *t)
{
	if (!range_valid(t->lun, &t->range))
		return task_check(t, SCSI_SENSE_LBA);
	return cache_flush(t);
}

static void sync_start(struct vhx_medium_op *op, struct scsi_task *t)
{
	vhx_medium_op_sync(op, plain_done);
}

/* A disk that is stopped writes its cache, and is as good as one that runs. */
static int start_stop_serve(struct scsi_task *t)
{
	uint8_t how = t->cdb[4];

	if (how & 0xf2) /* power conditions, and loading: it is not removable */
		return task_check(t, SCSI_SENSE_FIELD);
	return how & 0x05 ? task_good(t, 0) : cache_flush(t); /* START, NO_FLUSH */
}

/* Blocks are what they are: there is no comparison with the driver's. */
static int verify_serve(struct scsi_task *t)
{
	if (t->cdb[1] & (SCSI_PROTECT | SCSI_BYTCHK))
		return task_check(t, SCSI_SENSE_FIELD);
	if (!range_valid(t->lun, &t->range))
		return task_check(t, SCSI_SENSE_LBA);
	return task_good(t, 0);
}

/*
 * UNMAP and WRITE SAME
 */

static void unmap_get(const struct vhx_request *req, unsigned int idx, struct vhx_scsi_range *range)
{
	uint8_t d[SCSI_UNMAP_DESCRIPTOR_LEN] = { 0 };

	vhx_request_out_read(req, REQ_LEN + SCSI_UNMAP_HEADER_LEN + idx * SCSI_UNMAP_DESCRIPTOR_LEN,
			     d, sizeof(d));
	range->lba = vhx_be64_read(d);
	range->blocks = vhx_be32_read(d + 8);
}

/* Whole descriptors of a list of @len bytes, as far as it says that they are there. */
static uint32_t unmap_cnt(const struct scsi_task *t, uint32_t len)
{
	uint8_t header[SCSI_UNMAP_HEADER_LEN] = { 0 };

	vhx_request_out_read(t->req, REQ_LEN, header, sizeof(header));
	len = (uint32_t)vhx_min_u64(len - SCSI_UNMAP_HEADER_LEN, vhx_be16_read(header + 2));
	return len / SCSI_UNMAP_DESCRIPTOR_LEN;
}

static uint32_t unmap_check(const struct scsi_task *t, uint32_t cnt)
{
	struct vhx_scsi_range range;
	uint64_t blocks = 0;
	uint32_t i;

	if (cnt > SCSI_UNMAP_RANGES_MAX)
		return SCSI_SENSE_LIST_FIELD;
	for (i = 0; i < cnt; i++) {
		unmap_get(t->req, i, &range);
		if (!range_valid(t->lun, &range))
			return SCSI_SENSE_LBA;
		blocks += range.blocks; /* 16 numbers of 32 bits */
	}
	return blocks > t->lun->unit.unmap_max ? SCSI_SENSE_LIST_FIELD : 0;
}

static int unmap_serve(struct scsi_task *t)
{
	uint32_t len = vhx_be16_read(t->cdb + 7), sense, cnt;

	if (!t->lun->unit.unmap_max)
		return task_check(t, SCSI_SENSE_OPCODE);
	if (t->cdb[1] & 1) /* ANCHOR */
		return task_check(t, SCSI_SENSE_FIELD);
	if (len > t->out_len)
		return task_overrun(t);
	if (!len)
		return task_good(t, 0);
	if (len < SCSI_UNMAP_HEADER_LEN)
		return task_check(t, SCSI_SENSE_LIST_LENGTH);
	cnt = unmap_cnt(t, len);
	sense = unmap_check(t, cnt);
	if (sense)
		return task_check(t, sense);
	return vhx_medium_defer(&t->lun->medium, t->req);
}

static void unmap_continue(struct vhx_medium_op *op);

static void unmap_done(struct vhx_medium_op *op, int error)
{
	if (error) {
		plain_done(op, error);
		return;
	}
	op->step++;
	unmap_continue(op);
}

static void unmap_continue(struct vhx_medium_op *op)
{
	uint32_t block_size = lun_of(op->medium)->unit.block_size;
	struct vhx_scsi_range range;
	struct scsi_task t;

	for (; op->step < op->step_cnt; op->step++) {
		unmap_get(op->req, op->step, &range);
		if (!range.blocks)
			continue;
		vhx_medium_op_discard(op, (uint64_t)range.blocks * block_size,
				      range.lba * block_size, unmap_done);
		return;
	}
	op_task(op, &t);
	vhx_medium_op_end(op);
	task_good(&t, vhx_be16_read(t.cdb + 7));
}

static void unmap_start(struct vhx_medium_op *op, struct scsi_task *t)
{
	op->step = 0;
	op->step_cnt = unmap_cnt(t, vhx_be16_read(t->cdb + 7));
	unmap_continue(op);
}

static bool out_zero(const struct vhx_request *req, uint32_t off, uint32_t len)
{
	uint8_t piece[64];

	while (len) {
		uint32_t n = (uint32_t)vhx_min_u64(len, sizeof(piece)), i;

		if (vhx_request_out_read(req, off, piece, n) != n)
			return false;
		for (i = 0; i < n; i++) {
			if (piece[i])
				return false;
		}
		off += n;
		len -= n;
	}
	return true;
}

/* Bytes of data that WRITE SAME brings: a block, or none. */
static uint32_t same_brings(const struct scsi_task *t)
{
	bool none = t->cdb[0] == SCSI_WRITE_SAME_16 && (t->cdb[1] & SCSI_WS_NDOB);

	return none ? 0 : t->lun->unit.block_size;
}

/* Zeroes are what file systems write with it, and all that can be had without writing them. */
static int same_serve(struct scsi_task *t)
{
	uint32_t brings = same_brings(t);

	if ((t->cdb[1] & (SCSI_PROTECT | SCSI_WS_ANCHOR)) || !t->range.blocks ||
	    t->range.blocks > t->lun->unit.same_max)
		return task_check(t, SCSI_SENSE_FIELD);
	if (!range_valid(t->lun, &t->range))
		return task_check(t, SCSI_SENSE_LBA);
	if (brings > t->out_len)
		return task_overrun(t);
	if (!out_zero(t->req, REQ_LEN, brings))
		return task_check(t, SCSI_SENSE_LIST_FIELD);
	return vhx_medium_defer(&t->lun->medium, t->req);
}

static void same_done(struct vhx_medium_op *op, int error)
{
	struct scsi_task t;

	if (error) {
		plain_done(op, error);
		return;
	}
	op_task(op, &t);
	vhx_medium_op_end(op);
	task_good(&t, same_brings(&t));
}

static void same_start(struct vhx_medium_op *op, struct scsi_task *t)
{
	bool unmap = (t->cdb[1] & SCSI_WS_UNMAP) && t->lun->unit.unmap_max;

	vhx_medium_op_zero(op, task_bytes(t), task_off(t), unmap, same_done);
}

/*
 * Commands
 */

static const struct scsi_command commands[] = {
	{ SCSI_TEST_UNIT_READY, .serve = ready_serve },
	{ SCSI_REQUEST_SENSE, .always = true, .serve = sense_serve },
	{ SCSI_READ_6, .serve = read_serve, .start = read_start },
	{ SCSI_WRITE_6, .writes = true, .serve = write_serve, .start = write_start },
	{ SCSI_INQUIRY, .always = true, .serve = inquiry_serve },
	{ SCSI_MODE_SENSE_6, .serve = mode_serve },
	{ SCSI_START_STOP_UNIT, .serve = start_stop_serve, .start = sync_start },
	{ SCSI_READ_CAPACITY_10, .serve = capacity_10_serve },
	{ SCSI_READ_10, .serve = read_serve, .start = read_start },
	{ SCSI_WRITE_10, .writes = true, .serve = write_serve, .start = write_start },
	{ SCSI_VERIFY_10, .serve = verify_serve },
	{ SCSI_SYNCHRONIZE_CACHE_10, .serve = sync_serve, .start = sync_start },
	{ SCSI_WRITE_SAME_10, .writes = true, .serve = same_serve, .start = same_start },
	{ SCSI_UNMAP, .writes = true, .serve = unmap_serve, .start = unmap_start },
	{ SCSI_MODE_SENSE_10, .serve = mode_serve },
	{ SCSI_READ_16, .serve = read_serve, .start = read_start },
	{ SCSI_WRITE_16, .writes = true, .serve = write_serve, .start = write_start },
	{ SCSI_VERIFY_16, .serve = verify_serve },
	{ SCSI_SYNCHRONIZE_CACHE_16, .serve = sync_serve, .start = sync_start },
	{ SCSI_WRITE_SAME_16, .writes = true, .serve = same_serve, .start = same_start },
	{ SCSI_SERVICE_ACTION_IN_16, .serve = action_in_serve },
	{ SCSI_REPORT_LUNS, .always = true, .serve = luns_serve },
	{ SCSI_READ_12, .serve = read_serve, .start = read_start },
	{ SCSI_WRITE_12, .writes = true, .serve = write_serve, .start = write_start },
};

static unsigned int command_row(uint8_t opcode)
{
	unsigned int row = 0;

	while (row < VHX_ARRAY_SIZE(commands) && commands[row].opcode != opcode)
		row++;
	return row;
}

/* Of a request whose lengths were checked. */
static void task_of(struct scsi *scsi, struct vhx_request *req, struct scsi_task *t)
{
	struct virtio_scsi_cmd_req head;

	memcpy(&head, req->head, sizeof(head));
	*t = (struct scsi_task){
		.scsi = scsi,
		.lun = lun_find(scsi, lun_parse(head.lun)),
		.req = req,
		.out_len = req->out_len - REQ_LEN,
		.resp_len = (uint32_t)*request_resp_len(req),
		.in_len = req->in_len - (uint32_t)*request_resp_len(req),
	};
	memcpy(t->cdb, head.cdb, sizeof(t->cdb));
	vhx_scsi_range_get(t->cdb, &t->range);
}

static int attention_tell(struct scsi_task *t)
{
	uint32_t sense = t->lun->attention;

	t->lun->attention = 0;
	return task_check(t, sense);
}

/* When the image of its unit is ours, if it has one. */
static int command_serve(struct vhx_medium *m, struct vhx_request *req)
{
	struct scsi_task t;

	task_of(lun_of(m)->scsi, req, &t);
	t.lun = lun_of(m);
	return commands[*request_row(req)].serve(&t);
}

static int command_submit(struct scsi *scsi, struct vhx_request *req)
{
	const struct scsi_command *command;
	struct scsi_task t;
	unsigned int row;

	if (!*request_seq(req)) {
		*request_seq(req) = ++scsi->seq;
		*request_resp_len(req) = scsi->resp_len;
	}
	if (req->out_len < REQ_LEN || req->in_len < *request_resp_len(req)) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return 0;
	}
	task_of(scsi, req, &t);
	if (lun_parse(req->head) < 0)
		return task_respond(&t, VIRTIO_SCSI_S_BAD_TARGET, SCSI_GOOD, 0, 0);
	if (req->too_big || (t.out_len && t.in_len))
		return task_respond(&t, VIRTIO_SCSI_S_FAILURE, SCSI_GOOD, 0, 0);
	row = command_row(t.cdb[0]);
	if (row == VHX_ARRAY_SIZE(commands))
		return task_check(&t, t.lun ? SCSI_SENSE_OPCODE : SCSI_SENSE_LUN);
	command = &commands[row];
	*request_row(req) = row;
	if (command->always)
		return command->serve(&t);
	if (!t.lun)
		return task_check(&t, SCSI_SENSE_LUN);
	if (t.lun->attention)
		return attention_tell(&t);
	if (command->writes && t.lun->unit.readonly)
		return task_check(&t, SCSI_SENSE_READONLY);
	return vhx_medium_submit(&t.lun->medium, req);
}

static void op_start(struct vhx_medium_op *op)
{
	struct scsi_task t;

	op_task(op, &t);
	commands[*request_row(op->req)].start(op, &t);
}

/*
 * Task management
 */

struct tmf {
	const struct tmf_row *row;
	int number; /* of the unit */
	uint8_t id[8];
	uint64_t seq; /* commands up to this one are meant */
};

struct tmf_row {
	uint32_t subtype;
	bool one; /* the task that it names, instead of all of the unit */
	bool target; /* all units */
	bool aborts;
	bool resets; /* units, which have an attention then */
	uint8_t response; /* of commands that it ends */
};

/* Of the functions of 5.6.6.2 those that a target without ACA has. */
static const struct tmf_row tmf_rows[] = {
	{ VIRTIO_SCSI_T_TMF_ABORT_TASK, .one = true, .aborts = true,
	  .response = VIRTIO_SCSI_S_ABORTED },
	{ VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, .aborts = true, .response = VIRTIO_SCSI_S_ABORTED },
	{ VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET, .aborts = true, .response = VIRTIO_SCSI_S_ABORTED },
	{ VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, .target = true, .aborts = true, .resets = true,
	  .response = VIRTIO_SCSI_S_RESET },
	{ VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, .aborts = true, .resets = true,
	  .response = VIRTIO_SCSI_S_RESET },
	{ VIRTIO_SCSI_T_TMF_QUERY_TASK, .one = true },
	{ VIRTIO_SCSI_T_TMF_QUERY_TASK_SET },
};

static void tmf_of(struct vhx_request *req, struct tmf *tmf)
{
	struct virtio_scsi_ctrl_tmf head;
	size_t i;

	memcpy(&head, req->head, sizeof(head));
	*tmf = (struct tmf){ .number = lun_parse(head.lun), .seq = *request_seq(req) };
	memcpy(tmf->id, head.id, sizeof(tmf->id));
	for (i = 0; i < VHX_ARRAY_SIZE(tmf_rows); i++) {
		if (tmf_rows[i].subtype == vhx_le32_get(head.subtype))
			tmf->row = &tmf_rows[i];
	}
}

/* Is this command meant? The medium has it, so it is well-formed, and its unit the medium's. */
static bool tmf_matches(const struct vhx_request *req, void *ctx)
{
	const struct tmf *tmf = ctx;

	if (req->priv[0] > tmf->seq)
		return false;
	return !tmf->row->one || !memcmp(req->head + offsetof(struct virtio_scsi_cmd_req, id),
					 tmf->id, sizeof(tmf->id));
}

static void tmf_end_task(struct vhx_request *req, void *ctx)
{
	const struct tmf *tmf = ctx;
	const struct virtio_scsi_cmd_resp resp = { .response = tmf->row->response };

	vhx_request_complete(req, 0, &resp, 0, sizeof(resp), sizeof(resp));
}

static bool tmf_concerns(const struct tmf *tmf, const struct scsi_lun *lun)
{
	return tmf->row->target || lun->number == (unsigned int)tmf->number;
}

/* Is one of its commands not over? Of a query also: one that has not begun. */
static bool tmf_busy(struct scsi *scsi, struct tmf *tmf)
{
	bool (*const find)(const struct vhx_medium *m, vhx_medium_match match, void *ctx) =
		tmf->row->aborts ? vhx_medium_busy : vhx_medium_holds;
	unsigned int i;

	for (i = 0; i < scsi->lun_cnt; i++) {
		if (tmf_concerns(tmf, scsi->luns[i]) &&
		    find(&scsi->luns[i]->medium, tmf_matches, tmf))
			return true;
	}
	return false;
}

static void control_respond(struct vhx_request *req, uint8_t response)
{
	vhx_request_complete(req, 0, &response, 0, 1, 1);
}

static void tmf_abort(struct scsi *scsi, struct tmf *tmf)
{
	unsigned int i;

	for (i = 0; i < scsi->lun_cnt; i++) {
		struct scsi_lun *lun = scsi->luns[i];

		if (!tmf_concerns(tmf, lun))
			continue;
		vhx_medium_withdraw(&lun->medium, tmf_matches, tmf_end_task, tmf);
	}
}

static void tmf_finish(struct scsi *scsi, struct tmf *tmf, struct vhx_request *req, bool found)
{
	unsigned int i;

	for (i = 0; tmf->row->resets && i < scsi->lun_cnt; i++) {
		if (tmf_concerns(tmf, scsi->luns[i]))
			scsi->luns[i]->attention = SCSI_SENSE_RESET;
	}
	vhx_list_del(&req->node);
	scsi->tmf_cnt--;
	control_respond(req, found ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED
				   : VIRTIO_SCSI_S_FUNCTION_COMPLETE);
}

/* What waits ends now. Nothing that is meant can come to wait later: all of it was seen. */
static void tmf_begin(struct scsi *scsi, struct vhx_request *req)
{
	struct tmf tmf;

	*request_seq(req) = scsi->seq;
	tmf_of(req, &tmf);
	if (tmf.row->aborts)
		tmf_abort(scsi, &tmf);
	scsi->tmfs_due = true;
}

/*
 * At the end of a pass the backend holds no command of a queue that was not refused: all that came before these functions
 * was seen there. One that is refused later, with the next commands, is none of their business.
 */
static void tmfs_begin(struct scsi *scsi)
{
	struct vhx_list *pos;

	vhx_list_for_each (pos, &scsi->tmfs) {
		struct vhx_request *req = vhx_list_entry(pos, struct vhx_request, node);

		if (*request_seq(req) != SCSI_SEQ_OPEN)
			continue;
		*request_unseen(req) &= scsi->refused;
		if (!*request_unseen(req))
			tmf_begin(scsi, req);
	}
}

/* Ends those functions that wait for nothing any more, as queries do once they have begun. */
static void tmfs_check(struct scsi *scsi)
{
	struct vhx_list *pos, *tmp;
	struct tmf tmf;
	bool found;

	scsi->tmfs_due = false;
	vhx_list_for_each_safe (pos, tmp, &scsi->tmfs) {
		struct vhx_request *req = vhx_list_entry(pos, struct vhx_request, node);

		if (*request_seq(req) == SCSI_SEQ_OPEN)
			continue;
		tmf_of(req, &tmf);
		found = tmf_busy(scsi, &tmf);
		if (!found || !tmf.row->aborts)
			tmf_finish(scsi, &tmf, req, found);
	}
}

static void tmf_submit(struct scsi *scsi, struct vhx_request *req)
{
	struct tmf tmf;

	if (req->out_len < sizeof(struct virtio_scsi_ctrl_tmf)) {
		control_respond(req, VIRTIO_SCSI_S_FAILURE);
		return;
	}
	tmf_of(req, &tmf);
	if (tmf.number < 0)
		control_respond(req, VIRTIO_SCSI_S_BAD_TARGET);
	else if (!tmf.row)
		control_respond(req, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	else if (!tmf.row->target && !lun_find(scsi, tmf.number))
		control_respond(req, VIRTIO_SCSI_S_INCORRECT_LUN);
	else if (scsi->tmf_cnt == SCSI_TMFS_MAX)
		control_respond(req, VIRTIO_SCSI_S_FAILURE);
	else {
		vhx_list_init(&req->node);
		vhx_list_add_tail(&scsi->tmfs, &req->node);
		scsi->tmf_cnt++;
		*request_seq(req) = SCSI_SEQ_OPEN;
		*request_unseen(req) = scsi->refused;
		if (!scsi->refused)
			tmf_begin(scsi, req);
	}
}

/* Asynchronous notifications are of changers and media: there are none. */
static void an_submit(struct scsi *scsi, struct vhx_request *req)
{
	uint8_t answer[VIRTIO_SCSI_AN_RESP_LEN] = { 0 };
	struct virtio_scsi_ctrl_an head;

	if (req->out_len < sizeof(head) || req->in_len < sizeof(answer)) {
		control_respond(req, VIRTIO_SCSI_S_FAILURE);
		return;
	}
	memcpy(&head, req->head, sizeof(head));
	if (lun_parse(head.lun) < 0)
		answer[4] = VIRTIO_SCSI_S_BAD_TARGET;
	else if (!lun_find(scsi, lun_parse(head.lun)))
		answer[4] = VIRTIO_SCSI_S_INCORRECT_LUN;
	vhx_request_complete(req, 0, answer, 0, sizeof(answer), sizeof(answer));
}

static void control_submit(struct scsi *scsi, struct vhx_request *req)
{
	vhx_le32 type;

	if (!req->in_len || req->too_big || req->out_len < sizeof(type)) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return;
	}
	memcpy(&type, req->head, sizeof(type));
	switch (vhx_le32_get(type)) {
	case VIRTIO_SCSI_T_TMF:
		tmf_submit(scsi, req);
		break;
	case VIRTIO_SCSI_T_AN_QUERY:
	case VIRTIO_SCSI_T_AN_SUBSCRIBE:
		an_submit(scsi, req);
		break;
	default:
		control_respond(req, VIRTIO_SCSI_S_FAILURE);
		break;
	}
}

/*
 * Events
 */

static void event_send(struct scsi *scsi, struct scsi_lun *lun)
{
	struct vhx_request *req = vhx_list_first_entry(&scsi->events, struct vhx_request, node);
	struct virtio_scsi_event event = {
		.event = vhx_le32_of(VIRTIO_SCSI_T_PARAM_CHANGE),
		/* 5.6.6.3: additional sense code, and its qualifier above it */
		.reason = vhx_le32_of((SCSI_SENSE_CAPACITY >> 8 & 0xff) |
				      (SCSI_SENSE_CAPACITY & 0xff) << 8),
	};

	lun_write(event.lun, lun->number);
	vhx_list_del(&req->node);
	lun->event_due = false;
	vhx_request_complete(req, 0, &event, 0, sizeof(event), sizeof(event));
}

static void events_check(struct scsi *scsi)
{
	unsigned int i;

	if (!(scsi->features & BIT64(VIRTIO_SCSI_F_CHANGE)))
		return;
	for (i = 0; i < scsi->lun_cnt && !vhx_list_empty(&scsi->events); i++) {
		if (scsi->luns[i]->event_due)
			event_send(scsi, scsi->luns[i]);
	}
}

/* Buffers that are none are of no use to anybody. */
static void event_submit(struct scsi *scsi, struct vhx_request *req)
{
	if (req->out_len || req->in_len < sizeof(struct virtio_scsi_event)) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return;
	}
	vhx_list_init(&req->node);
	vhx_list_add_tail(&scsi->events, &req->node);
	events_check(scsi);
}

static void unit_measure(struct scsi_lun *lun)
{
	lun->unit.blocks = lun->medium.size / lun->unit.block_size;
}

static void medium_resized(struct vhx_medium *m)
{
	struct scsi_lun *lun = lun_of(m);
	uint64_t blocks = lun->unit.blocks;

	unit_measure(lun);
	vhx_log(lun->scsi->dev.log, VHX_LOG_NOTICE, "%s: resized from %llu to %llu blocks",
		lun->name, (unsigned long long)blocks, (unsigned long long)lun->unit.blocks);
	lun->attention = SCSI_SENSE_CAPACITY;
	lun->event_due = true;
	events_check(lun->scsi);
}

/*
 * Queues
 */

static int scsi_submit(struct vhx_device *dev, struct vhx_request *req)
{
	uint16_t index = vhx_queue_index(req->queue);
	struct scsi *scsi = scsi_of(dev);
	int ret = 0;

	if (index == VIRTIO_SCSI_CONTROLQ) {
		control_submit(scsi, req);
	} else if (index == VIRTIO_SCSI_EVENTQ) {
		event_submit(scsi, req);
	} else {
		ret = command_submit(scsi, req);
		if (ret)
			scsi->refused |= BIT64(index);
		else
			scsi->refused &= ~BIT64(index);
	}
	return ret;
}

static void scsi_kick(struct vhx_device *dev)
{
	struct scsi *scsi = scsi_of(dev);
	unsigned int i;

	for (i = 0; i < scsi->lun_cnt; i++)
		vhx_medium_kick(&scsi->luns[i]->medium);
	/* What was refused before may have been taken since, and all that was behind it. */
	tmfs_begin(scsi);
	if (scsi->tmfs_due)
		tmfs_check(scsi);
}

/* After I/O that ended without a pass of the backend's. */
static bool scsi_hook_run(struct vhx_loop_hook *h)
{
	struct scsi *scsi = vhx_container_of(h, struct scsi, hook);

	if (scsi->tmfs_due)
		tmfs_check(scsi);
	return false;
}

/* What has ended behind it in this turn. */
static bool scsi_hook_due(struct vhx_loop_hook *h)
{
	const struct scsi *scsi = vhx_container_of(h, struct scsi, hook);

	return scsi->tmf_cnt && scsi->tmfs_due;
}

static void scsi_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct scsi *scsi = scsi_of(dev);
	unsigned int i;

	for (i = 0; i < scsi->lun_cnt; i++)
		vhx_medium_room(&scsi->luns[i]->medium);
}

static void list_drop(struct vhx_list *list)
{
	while (!vhx_list_empty(list)) {
		struct vhx_request *req = vhx_list_first_entry(list, struct vhx_request, node);

		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

static void scsi_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	uint16_t index = vhx_queue_index(queue);
	struct scsi *scsi = scsi_of(dev);
	unsigned int i;

	scsi->refused &= ~BIT64(index);
	if (index < VIRTIO_SCSI_REQUESTQ) {
		list_drop(index == VIRTIO_SCSI_CONTROLQ ? &scsi->tmfs : &scsi->events);
		if (index == VIRTIO_SCSI_CONTROLQ)
			scsi->tmf_cnt = 0;
		vhx_queue_quiesced(queue);
		return;
	}
	scsi->pending[index] = scsi->lun_cnt;
	for (i = 0; i < scsi->lun_cnt; i++)
		vhx_medium_reset(&scsi->luns[i]->medium, queue);
}

static void medium_quiesced(struct vhx_medium *m, struct vhx_queue *queue)
{
	struct scsi *scsi = lun_of(m)->scsi;

	if (--scsi->pending[vhx_queue_index(queue)])
		return;
	vhx_queue_quiesced(queue);
	/* Commands that a function waited for may have gone this way. */
	task_over(scsi);
}

static const struct vhx_medium_ops medium_ops = {
	.serve = command_serve,
	.start = op_start,
	.resized = medium_resized,
	.quiesced = medium_quiesced,
};

static void scsi_queue_limits(const struct vhx_device *dev, uint16_t index,
			      struct vhx_device_limits *limits)
{
	switch (index) {
	case VIRTIO_SCSI_CONTROLQ:
		limits->head_len = sizeof(struct virtio_scsi_ctrl_tmf);
		limits->max_out = limits->head_len;
		limits->max_in = VIRTIO_SCSI_AN_RESP_LEN;
		limits->max_staged = 0;
		break;
	case VIRTIO_SCSI_EVENTQ:
		limits->max_out = 0;
		limits->max_in = sizeof(struct virtio_scsi_event);
		limits->max_staged = 0;
		break;
	default:
		/* The response has a page of its own. */
		limits->max_staged += VHX_PAGE;
		break;
	}
}

/*
 * Features and config space
 */

static void config_publish(struct scsi *scsi)
{
	memcpy(scsi->dev.config, &scsi->config, sizeof(scsi->config));
}

static void sense_size_set(struct scsi *scsi, uint32_t size)
{
	scsi->config.sense_size = vhx_le32_of(size);
	scsi->resp_len = RESP_LEN + size;
	config_publish(scsi);
}

static int scsi_set_features(struct vhx_device *dev, uint64_t features)
{
	struct scsi *scsi = scsi_of(dev);

	if (features & SCSI_FEATURE_BITS & ~dev->features)
		return -EINVAL;
	scsi->features = features & SCSI_FEATURE_BITS;
	sense_size_set(scsi, VIRTIO_SCSI_SENSE_DEFAULT);
	return 0;
}

/* 5.6.4: of two fields that a driver may write, one is as it is. Commands in flight keep what they had: it is for before. */
static int scsi_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	vhx_le32 value;

	if (len != sizeof(value))
		return -EINVAL;
	memcpy(&value, buf, sizeof(value));
	if (off == offsetof(struct virtio_scsi_config, cdb_size))
		return vhx_le32_get(value) == VIRTIO_SCSI_CDB_DEFAULT ? 0 : -EINVAL;
	if (off != offsetof(struct virtio_scsi_config, sense_size) ||
	    vhx_le32_get(value) < SCSI_SENSE_SIZE_MIN || vhx_le32_get(value) > SCSI_SENSE_SIZE_MAX)
		return -EINVAL;
	sense_size_set(scsi_of(dev), vhx_le32_get(value));
	return 0;
}

/* Its units are as before to the next driver, and what happened to them is told in their descriptions. */
static void scsi_restarted(struct vhx_device *dev)
{
	struct scsi *scsi = scsi_of(dev);
	unsigned int i;

	for (i = 0; i < scsi->lun_cnt; i++) {
		scsi->luns[i]->attention = 0;
		scsi->luns[i]->event_due = false;
	}
}

/*
 * Life
 */

static void lun_free(struct scsi_lun *lun)
{
	vhx_medium_close(&lun->medium);
	free(lun);
}

static void scsi_close(struct vhx_device *dev)
{
	struct scsi *scsi = scsi_of(dev);
	unsigned int i;

	vhx_loop_hook_del(dev->loop, &scsi->hook);
	list_drop(&scsi->tmfs);
	list_drop(&scsi->events);
	for (i = 0; i < scsi->lun_cnt; i++)
		lun_free(scsi->luns[i]);
	free(scsi);
}

static const struct vhx_device_ops scsi_ops = {
	.name = "scsi",
	.device_id = VIRTIO_ID_SCSI,
	.head_len = sizeof(struct virtio_scsi_cmd_req),
	.queue_limits = scsi_queue_limits,
	.submit = scsi_submit,
	.kick = scsi_kick,
	.room = scsi_room,
	.reset = scsi_reset,
	.restarted = scsi_restarted,
	.set_features = scsi_set_features,
	.set_config = scsi_set_config,
	.close = scsi_close,
};

static int config_invalid(struct vhx_error *err, const char *what)
{
	vhx_error_set(err, "%s", what);
	return -EINVAL;
}

static int config_check(const struct vhx_scsi_config *c, struct vhx_error *err)
{
	unsigned int i;

	if (strlen(c->id) >= VHX_DEVICE_ID_MAX)
		return config_invalid(err, "id is longer than 63 bytes");
	if (c->num_queues > VHX_SCSI_QUEUES_MAX)
		return config_invalid(err, "num-queues must be 1 to 62");
	if (c->queue_size &&
	    (!vhx_is_power_of_2(c->queue_size) || c->queue_size < SCSI_QUEUE_SIZE_LEAST ||
	     c->queue_size > VHX_SCSI_QUEUE_SIZE_MAX))
		return config_invalid(err, "queue-size must be a power of 2, 4 to 1024");
	if (c->max_request &&
	    (c->max_request < VHX_SCSI_DATA_MIN || c->max_request > VHX_SCSI_DATA_MAX))
		return config_invalid(err, "max-request must be 4 KiB to 4092 KiB");
	if (!c->lun_cnt || c->lun_cnt > VHX_SCSI_LUNS_MAX)
		return config_invalid(err, "there must be 1 to 16 units");
	for (i = 0; i < c->lun_cnt; i++) {
		if (c->luns[i].serial && strlen(c->luns[i].serial) > VHX_SCSI_SERIAL_MAX)
			return config_invalid(err, "serial is longer than 36 bytes");
	}
	return 0;
}

/* Without one of the operator's, the uuid in hexadecimal. */
static void unit_serial(struct vhx_scsi_unit *unit, const char *serial)
{
	size_t i;

	if (serial) {
		snprintf(unit->serial, sizeof(unit->serial), "%s", serial);
		return;
	}
	for (i = 0; i < sizeof(unit->uuid); i++)
		snprintf(unit->serial + 2 * i, 3, "%02x", unit->uuid[i]);
}

/* Once the image is open: all that follows from it. */
static void unit_describe(struct scsi_lun *lun, const char *serial)
{
	const struct vhx_image *img = &lun->medium.image;
	struct scsi *scsi = lun->scsi;
	uint32_t block = img->block_size;

	lun->unit = (struct vhx_scsi_unit){
		.block_size = block,
		.physical_exp = (uint32_t)__builtin_ctz(img->physical_size / block),
		.optimal_blocks = img->optimal_size / block,
		.transfer_max = scsi->max_request / block,
		.same_max = SCSI_SAME_BYTES_MAX / block,
		.readonly = img->readonly,
	};
	if (!scsi->no_discard && !img->readonly) {
		lun->unit.unmap_max = SCSI_UNMAP_BYTES_MAX / block;
		lun->unit.unmap_ranges_max = SCSI_UNMAP_RANGES_MAX;
	}
	memcpy(lun->unit.uuid, img->uuid, sizeof(lun->unit.uuid));
	unit_serial(&lun->unit, serial);
	unit_measure(lun);
}

static int lun_open(struct scsi *scsi, const struct vhx_scsi_config *c, unsigned int number,
		    struct vhx_error *err)
{
	struct vhx_medium_config medium = {
		.image = {
			.path = c->luns[number].path,
			.fd = -1,
			.readonly = c->luns[number].readonly,
			.direct = c->direct,
		},
		.handover = c->handover,
		.io = c->io,
	};
	struct scsi_lun *lun = calloc(1, sizeof(*lun));
	int ret;

	if (!lun) {
		vhx_error_set(err, "out of memory");
		return -ENOMEM;
	}
	lun->scsi = scsi;
	lun->number = number;
	snprintf(lun->name, sizeof(lun->name), "%s lun%u", scsi->dev.id, number);
	vhx_medium_init(&lun->medium, &medium_ops, scsi->dev.loop, scsi->dev.log);
	medium.name = lun->name;
	ret = vhx_medium_open(&lun->medium, &medium, err);
	if (ret < 0) {
		vhx_error_prefix(err, "lun%u", number);
		lun_free(lun);
		return ret;
	}
	unit_describe(lun, c->luns[number].serial);
	scsi->luns[scsi->lun_cnt++] = lun;
	scsi->dev.memory += sizeof(*lun) + vhx_medium_memory(&lun->medium);
	return 0;
}

static void config_fill(struct scsi *scsi)
{
	struct virtio_scsi_config *c = &scsi->config;
	uint32_t seg_max = (uint32_t)vhx_min_u64(scsi->dev.queue_size_max - 2, SCSI_SEG_MAX);

	c->num_queues = vhx_le32_of(scsi->dev.num_queues - VIRTIO_SCSI_REQUESTQ);
	c->seg_max = vhx_le32_of((uint32_t)vhx_min_u64(seg_max, scsi->max_request / VHX_PAGE));
	c->max_sectors = vhx_le32_of(scsi->max_request / SCSI_SECTOR);
	c->cmd_per_lun = vhx_le32_of(SCSI_CMD_PER_LUN);
	c->event_info_size = vhx_le32_of(sizeof(struct virtio_scsi_event));
	c->cdb_size = vhx_le32_of(VIRTIO_SCSI_CDB_DEFAULT);
	c->max_lun = vhx_le32_of(VHX_SCSI_LUNS_MAX - 1);
	sense_size_set(scsi, VIRTIO_SCSI_SENSE_DEFAULT);
}

/* It is the same device when all of its media are, in their places. */
static void scsi_identify(struct scsi *scsi)
{
	unsigned int i;

	for (i = 0; i < scsi->lun_cnt; i++) {
		const struct vhx_image *img = &scsi->luns[i]->medium.image;

		vhx_identity_combine(scsi->dev.uuid, img->uuid);
		vhx_identity_combine(scsi->dev.cache_id, img->cache_id);
	}
}

static void scsi_init(struct scsi *scsi, struct vhx_loop *loop, const struct vhx_scsi_config *c,
		      const struct vhx_log *log)
{
	struct vhx_device *dev = &scsi->dev;

	dev->ops = &scsi_ops;
	dev->log = log;
	dev->loop = loop;
	dev->features = BIT64(VIRTIO_SCSI_F_HOTPLUG) | BIT64(VIRTIO_SCSI_F_CHANGE);
	dev->num_queues = (uint16_t)(VIRTIO_SCSI_REQUESTQ + (c->num_queues ? c->num_queues : 1));
	dev->queue_size_max = c->queue_size ? c->queue_size : VHX_SCSI_QUEUE_SIZE_DEFAULT;
	dev->config_len = sizeof(scsi->config);
	dev->memory = sizeof(*scsi);
	snprintf(dev->id, sizeof(dev->id), "%s", c->id);
	scsi->no_discard = c->no_discard;
	scsi->max_request = c->max_request ? c->max_request : VHX_SCSI_DATA_DEFAULT;
	dev->max_out = REQ_LEN + scsi->max_request;
	dev->max_in = (uint32_t)SCSI_RESP_MAX + scsi->max_request;
	vhx_list_init(&scsi->events);
	vhx_list_init(&scsi->tmfs);
	scsi->hook = (struct vhx_loop_hook){ .run = scsi_hook_run, .prepare = scsi_hook_due };
	vhx_loop_hook_add(loop, &scsi->hook);
	config_fill(scsi);
}

int vhx_scsi_new(struct vhx_loop *loop, const struct vhx_scsi_config *config,
		 const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct scsi *scsi;
	unsigned int i;
	int ret;

	ret = config_check(config, err);
	if (ret < 0)
		goto name_device;
	scsi = calloc(1, sizeof(*scsi));
	if (!scsi) {
		vhx_error_set(err, "out of memory");
		ret = -ENOMEM;
		goto name_device;
	}
	scsi_init(scsi, loop, config, log);
	for (i = 0; i < config->lun_cnt; i++) {
		ret = lun_open(scsi, config, i, err);
		if (ret < 0)
			goto close_scsi;
	}
	scsi_identify(scsi);
	for (i = 0; i < scsi->lun_cnt; i++)
		vhx_log(log, VHX_LOG_INFO, "%s: %llu blocks of %u, %s, I/O by %s",
			scsi->luns[i]->name, (unsigned long long)scsi->luns[i]->unit.blocks,
			scsi->luns[i]->unit.block_size,
			scsi->luns[i]->unit.readonly ? "read-only" : "writable",
			vhx_io_name(scsi->luns[i]->medium.io));
	*device = &scsi->dev;
	return 0;

close_scsi:
	scsi_close(&scsi->dev);
name_device:
	vhx_error_prefix(err, "%s", config->id);
	return ret;
}
