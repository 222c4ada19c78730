// SPDX-License-Identifier: BSD-3-Clause
/*
 * virtio-scsi on real files, on a disk (the working directory) and on tmpfs: each command's answer, each error by its
 * sense, whatever a driver may write instead of a command, task management with I/O in flight, events. The sync of the
 * thread engine is wrapped, to hold it and to make it fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "device/scsi.h"
#include "device/scsi_cdb.h"
#include "device/scsi_layout.h"
#include "fake_backend.h"

#define HANG_GUARD_S 120
#define BLOCK 512u
#define BLOCKS 16384u /* of unit 0: 8 MiB */
#define BLOCKS_1 4096u /* of unit 1, which is read-only in most tests */
#define MAX_REQUEST (256u * 1024)
#define REQ sizeof(struct virtio_scsi_cmd_req)
#define SENSE 96u
#define RESP (sizeof(struct virtio_scsi_cmd_resp) + SENSE)

/*
 * Wraps; threads of the engine use these, so accesses are atomic.
 */

static int fail_fdatasync; /* errno, once */
static unsigned int fsyncs_seen;
static pthread_mutex_t fdatasync_gate = PTHREAD_MUTEX_INITIALIZER; /* held: none of them ends */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	int error = __atomic_exchange_n(&fail_fdatasync, 0, __ATOMIC_RELAXED);

	__atomic_add_fetch(&fsyncs_seen, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&fdatasync_gate);
	pthread_mutex_unlock(&fdatasync_gate);
	if (!error)
		return __real_fdatasync(fd);
	errno = error;
	return -1;
}

/*
 * Fixture
 */

struct place {
	const char *dir;
	enum vhx_io_kind io;
	bool direct;
};

static const struct place disk = { ".", VHX_IO_THREADS, false };
static const struct place disk_uring = { ".", VHX_IO_AUTO, false };
static const struct place disk_direct = { ".", VHX_IO_AUTO, true };
static const struct place shm = { "/dev/shm", VHX_IO_AUTO, false };

struct env {
	const struct place *place;
	struct vhx_loop *loop;
	struct vhx_device *dev;
	struct vhx_queue control, event, queue;
	uint32_t block; /* of unit 0 */
	int fds[2];
	char paths[2][64];
};

static uint8_t pattern(uint64_t at, unsigned int seed)
{
	return (uint8_t)(at ^ (at >> 8) * 7 ^ (at >> 16) * 13 ^ seed);
}

static void image_make(struct env *e, unsigned int n, uint32_t blocks)
{
	uint8_t *buf = malloc((size_t)blocks * BLOCK);
	size_t i;

	assert_non_null(buf);
	for (i = 0; i < (size_t)blocks * BLOCK; i++)
		buf[i] = pattern(i, 0);
	snprintf(e->paths[n], sizeof(e->paths[n]), "%s/vhx-scsi-XXXXXX", e->place->dir);
	e->fds[n] = mkstemp(e->paths[n]);
	assert_true(e->fds[n] >= 0);
	assert_int_equal(write(e->fds[n], buf, (size_t)blocks * BLOCK), (ssize_t)blocks * BLOCK);
	free(buf);
}

static struct vhx_scsi_config config_of(struct env *e)
{
	return (struct vhx_scsi_config){
		.id = "s0",
		.luns = { { .path = e->paths[0], .serial = "serial-of-unit-0" },
			  { .path = e->paths[1], .readonly = true } },
		.lun_cnt = 2,
		.direct = e->place->direct,
		.max_request = MAX_REQUEST,
		.io = e->place->io,
	};
}

static void env_open(struct env *e, const struct vhx_scsi_config *c)
{
	struct vhx_error err = { "" };

	if (vhx_scsi_new(e->loop, c, NULL, &e->dev, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
}

static uint32_t get32(const struct env *e, size_t off)
{
	vhx_le32 v;

	memcpy(&v, e->dev->config + off, sizeof(v));
	return vhx_le32_get(v);
}

static int set32(struct env *e, uint32_t off, uint32_t value)
{
	vhx_le32 v = vhx_le32_of(value);

	return e->dev->ops->set_config(e->dev, off, &v, sizeof(v));
}

static uint32_t block_measure(struct env *e);

static int set_up(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	struct vhx_scsi_config c;

	assert_non_null(e);
	alarm(HANG_GUARD_S);
	fake_init();
	e->place = *state;
	e->control.index = VIRTIO_SCSI_CONTROLQ;
	e->event.index = VIRTIO_SCSI_EVENTQ;
	e->queue.index = VIRTIO_SCSI_REQUESTQ;
	image_make(e, 0, BLOCKS);
	image_make(e, 1, BLOCKS_1);
	assert_int_equal(vhx_loop_new(0, &e->loop), 0);
	c = config_of(e);
	env_open(e, &c);
	e->block = block_measure(e);
	*state = e;
	return 0;
}

static int tear_down(void **state)
{
	struct env *e = *state;
	unsigned int i;

	fail_fdatasync = 0;
	if (e->dev)
		e->dev->ops->close(e->dev);
	assert_int_equal(fake.in_flight, 0);
	vhx_loop_free(e->loop);
	for (i = 0; i < 2; i++) {
		close(e->fds[i]);
		unlink(e->paths[i]);
	}
	free(e);
	alarm(0);
	return 0;
}

/*
 * Commands
 */

struct cdb {
	uint8_t bytes[SCSI_CDB_MAX];
};

static void be_write(uint8_t *p, uint64_t v, unsigned int len)
{
	while (len--) {
		p[len] = (uint8_t)v;
		v >>= 8;
	}
}

/* READ, WRITE and their like. */
static struct cdb cdb_range(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks)
{
	struct cdb c = { { opcode, flags } };

	switch (opcode >> 5) {
	case 0:
		be_write(c.bytes + 1, lba, 3);
		c.bytes[4] = (uint8_t)blocks;
		break;
	case 4:
		be_write(c.bytes + 2, lba, 8);
		be_write(c.bytes + 10, blocks, 4);
		break;
	case 5:
		be_write(c.bytes + 2, lba, 4);
		be_write(c.bytes + 6, blocks, 4);
		break;
	default:
		be_write(c.bytes + 2, lba, 4);
		be_write(c.bytes + 7, blocks, 2);
		break;
	}
	return c;
}

static uint64_t next_tag;

/* @address: 8 bytes, or NULL for @lun. */
static struct fake_request *command_new(struct env *e, unsigned int lun, const struct cdb *cdb,
					const void *data, uint32_t out_len, uint32_t in_len)
{
	struct virtio_scsi_cmd_req head = { .lun = { 1, 0, 0x40, (uint8_t)lun } };
	uint8_t *out = malloc(REQ + out_len);
	struct fake_request *r;

	assert_non_null(out);
	next_tag++;
	memcpy(head.id, &next_tag, sizeof(head.id));
	memcpy(head.cdb, cdb->bytes, sizeof(head.cdb));
	memcpy(out, &head, REQ);
	if (out_len)
		memcpy(out + REQ, data, out_len);
	r = fake_request_new(e->dev, &e->queue, out, (uint32_t)REQ + out_len,
			     (uint32_t)RESP + in_len);
	free(out);
	return r;
}

struct answer {
	uint8_t response, status;
	uint32_t sense, resid, used_len;
	uint8_t data[MAX_REQUEST];
};

static struct answer answer; /* the last one */

static void answer_take(struct fake_request *r)
{
	struct virtio_scsi_cmd_resp resp;
	const uint8_t *sense = r->answer + sizeof(resp);

	assert_true(r->completed);
	assert_true(r->used_len >= sizeof(resp));
	memcpy(&resp, r->answer, sizeof(resp));
	answer.response = resp.response;
	answer.status = resp.status;
	answer.resid = vhx_le32_get(resp.resid);
	answer.used_len = r->used_len;
	answer.sense = 0;
	if (vhx_le32_get(resp.sense_len)) {
		assert_int_equal(vhx_le32_get(resp.sense_len), SCSI_SENSE_LEN);
		assert_int_equal(resp.status, SCSI_CHECK_CONDITION);
		assert_int_equal(r->used_len, sizeof(resp) + SCSI_SENSE_LEN);
		assert_int_equal(sense[0], 0x70);
		answer.sense = SCSI_SENSE((uint32_t)sense[2], (uint32_t)sense[12],
					  (uint32_t)sense[13]);
	}
	memset(answer.data, 0xee, sizeof(answer.data));
	if (r->used_len > RESP)
		memcpy(answer.data, r->answer + RESP, r->used_len - RESP);
	fake_request_free(r);
}

/* Submits, waits, frees; the answer is in `answer`. */
static void run(struct fake_request *r)
{
	fake_submit(r);
	fake_wait(r);
	answer_take(r);
}

static void do_in(struct env *e, unsigned int lun, struct cdb cdb, uint32_t in_len)
{
	run(command_new(e, lun, &cdb, NULL, 0, in_len));
}

static void do_out(struct env *e, unsigned int lun, struct cdb cdb, const void *data, uint32_t len)
{
	run(command_new(e, lun, &cdb, data, len, 0));
}

static void assert_good(uint32_t resid)
{
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(answer.sense, 0);
	assert_int_equal(answer.status, SCSI_GOOD);
	assert_int_equal(answer.resid, resid);
}

static void assert_sense(uint32_t sense)
{
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(answer.status, SCSI_CHECK_CONDITION);
	assert_int_equal(answer.sense, sense);
}

static uint32_t block_measure(struct env *e)
{
	do_in(e, 0, (struct cdb){ { SCSI_READ_CAPACITY_10 } }, 8);
	assert_good(0);
	return vhx_be32_read(answer.data + 4);
}

static void assert_pattern(const uint8_t *buf, uint64_t at, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (buf[i] != pattern(at + i, seed))
			fail_msg("byte %zu of %zu is 0x%02x", i, len, buf[i]);
	}
}

static uint8_t *pattern_new(uint64_t at, size_t len, unsigned int seed)
{
	uint8_t *buf = malloc(len);
	size_t i;

	assert_non_null(buf);
	for (i = 0; i < len; i++)
		buf[i] = pattern(at + i, seed);
	return buf;
}

static void do_write(struct env *e, uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks,
		     unsigned int seed)
{
	uint32_t len = blocks * e->block;
	uint8_t *buf = pattern_new(lba * e->block, len, seed);

	do_out(e, 0, cdb_range(opcode, flags, lba, blocks), buf, len);
	free(buf);
}

static void drop_cache(struct env *e)
{
	assert_int_equal(fsync(e->fds[0]), 0);
	assert_int_equal(posix_fadvise(e->fds[0], 0, 0, POSIX_FADV_DONTNEED), 0);
}

/*
 * Reads and writes
 */

static void test_read_and_write_of_every_length_of_cdb(void **state)
{
	static const uint8_t ops[][2] = {
		{ SCSI_WRITE_6, SCSI_READ_6 },
		{ SCSI_WRITE_10, SCSI_READ_10 },
		{ SCSI_WRITE_12, SCSI_READ_12 },
		{ SCSI_WRITE_16, SCSI_READ_16 },
	};
	static const uint32_t blocks[] = { 1, 3, 8, 17, 32 };
	struct env *e = *state;
	unsigned int i, j, seed = 1;

	for (i = 0; i < VHX_ARRAY_SIZE(ops); i++) {
		for (j = 0; j < VHX_ARRAY_SIZE(blocks); j++, seed++) {
			uint32_t len = blocks[j] * e->block;
			uint64_t lba = 1 + 64 * i;

			do_write(e, ops[i][0], 0, lba, blocks[j], seed);
			assert_good(0);
			if (seed % 2)
				drop_cache(e);
			do_in(e, 0, cdb_range(ops[i][1], 0, lba, blocks[j]), len);
			assert_good(0);
			assert_int_equal(answer.used_len, RESP + len);
			assert_pattern(answer.data, lba * e->block, len, seed);
		}
	}
}

static void test_largest_read_staged_and_in_place(void **state)
{
	struct env *e = *state;
	uint32_t blocks = MAX_REQUEST / e->block;

	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 8, blocks), MAX_REQUEST);
	assert_good(0);
	assert_pattern(answer.data, 8 * e->block, MAX_REQUEST, 0);
	/* No such room in a message: all of it is staged. */
	fake.reserve_max = 1000;
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 8, blocks), MAX_REQUEST);
	assert_good(0);
	assert_pattern(answer.data, 8 * e->block, MAX_REQUEST, 0);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 8, blocks + 1), MAX_REQUEST);
	assert_sense(SCSI_SENSE_FIELD);
}

static void test_no_room_now(void **state)
{
	struct env *e = *state;
	uint32_t len = 8 * e->block;

	drop_cache(e);
	fake.later = 3;
	fake.no_staging = 3;
	do_in(e, 0, cdb_range(SCSI_READ_16, 0, 100, 8), len);
	assert_good(0);
	assert_pattern(answer.data, 100 * e->block, len, 0);
	fake.later = 2;
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 255 } }, 255);
	assert_good(255 - 36);
	fake.reserve_max = 0;
	fake.no_staging = 2;
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 255 } }, 255);
	assert_good(255 - 36);
	assert_memory_equal(answer.data + 8, "VHX     virtio-hmx disk ", 24);
}

/* More room than the command needs is left over, of a write to the byte. */
static void test_buffers_larger_than_the_transfer(void **state)
{
	struct env *e = *state;
	uint32_t len = 20 * 4096;
	uint8_t *buf = pattern_new(0, len, 9);
	uint32_t blocks = 2 * 4096 / e->block + 1, done = blocks * e->block;

	do_out(e, 0, cdb_range(SCSI_WRITE_10, 0, 0, blocks), buf, len);
	assert_good(len - done);
	do_out(e, 0, cdb_range(SCSI_WRITE_10, 0, 256, 1), buf, len);
	assert_good(len - e->block);
	free(buf);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 0, blocks + 1), done + e->block + 100);
	assert_good(100);
	assert_pattern(answer.data, 0, done, 9);
	assert_pattern(answer.data + done, done, e->block, 0);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 256, 2), 2 * e->block);
	assert_pattern(answer.data, 0, e->block, 9);
	assert_pattern(answer.data + e->block, 257 * e->block, e->block, 0);
}

static void test_buffers_smaller_than_the_transfer(void **state)
{
	struct env *e = *state;
	uint8_t byte = 0;

	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 0, 2), 2 * e->block - 1);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 0, 2), 0);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
	do_out(e, 0, cdb_range(SCSI_WRITE_10, 0, 0, 2), &byte, 1);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 255 } }, 35);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
	/* The data goes the other way: there is no room for it. */
	do_out(e, 0, cdb_range(SCSI_READ_10, 0, 0, 1), &byte, 1);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
}

static void test_ranges_at_and_over_the_end(void **state)
{
	static const struct {
		uint8_t opcode;
		uint64_t lba;
		uint32_t blocks;
	} bad[] = {
		{ SCSI_READ_10, BLOCKS, 1 },
		{ SCSI_READ_10, BLOCKS - 1, 2 },
		{ SCSI_READ_10, UINT32_MAX, 1 },
		{ SCSI_READ_12, 0, UINT32_MAX },
		{ SCSI_READ_16, UINT64_MAX, 1 },
		{ SCSI_READ_16, UINT64_MAX / BLOCK + 1, 1 },
		{ SCSI_READ_16, UINT64_MAX, UINT32_MAX },
		{ SCSI_WRITE_16, UINT64_MAX - 7, 8 },
		{ SCSI_VERIFY_16, UINT64_MAX, 1 },
		{ SCSI_SYNCHRONIZE_CACHE_16, BLOCKS + 1ull, 0 },
		{ SCSI_WRITE_SAME_16, UINT64_MAX, 1 },
	};
	struct env *e = *state;
	uint8_t data[BLOCK] = { 0 };
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++) {
		struct cdb cdb = cdb_range(bad[i].opcode, 0, bad[i].lba, bad[i].blocks);

		if (bad[i].opcode == SCSI_WRITE_16 || bad[i].opcode == SCSI_WRITE_SAME_16)
			do_out(e, 0, cdb, data, sizeof(data));
		else
			do_in(e, 0, cdb, BLOCK);
		assert_sense(SCSI_SENSE_LBA);
	}
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, BLOCKS - 1, 1), BLOCK);
	assert_good(0);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, BLOCKS, 0), 0);
	assert_good(0);
	/* Of 6 bytes 0 means 256. */
	do_in(e, 0, cdb_range(SCSI_READ_6, 0, 0, 0), 256 * BLOCK);
	assert_good(0);
	assert_pattern(answer.data, 0, 256 * BLOCK, 0);
}

static void test_read_only_unit(void **state)
{
	static const uint8_t ops[] = { SCSI_WRITE_6,	  SCSI_WRITE_10, SCSI_WRITE_12,
				       SCSI_WRITE_16,	  SCSI_UNMAP,	 SCSI_WRITE_SAME_10,
				       SCSI_WRITE_SAME_16 };
	struct env *e = *state;
	uint8_t data[BLOCK] = { 0 };
	unsigned int i;

	for (i = 0; i < sizeof(ops); i++) {
		do_out(e, 1, cdb_range(ops[i], 0, 0, 1), data, sizeof(data));
		assert_sense(SCSI_SENSE_READONLY);
	}
	do_in(e, 1, cdb_range(SCSI_READ_10, 0, 7, 2), 2 * BLOCK);
	assert_good(0);
	assert_pattern(answer.data, 7 * BLOCK, 2 * BLOCK, 0);
	do_in(e, 1, (struct cdb){ { SCSI_MODE_SENSE_6, 8, 0x3f, 0, 255 } }, 255);
	assert_int_equal(answer.data[2], 0x90);
	do_in(e, 1, cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0), 0);
	assert_good(0);
}

static void test_protection_is_refused(void **state)
{
	struct env *e = *state;

	do_in(e, 0, cdb_range(SCSI_READ_10, 0x20, 0, 1), BLOCK);
	assert_sense(SCSI_SENSE_FIELD);
	do_in(e, 0, cdb_range(SCSI_VERIFY_10, 0x02, 0, 1), 0);
	assert_sense(SCSI_SENSE_FIELD);
	do_in(e, 0, cdb_range(SCSI_VERIFY_10, 0, 0, 1), 0);
	assert_good(0);
}

/*
 * Stable storage
 */

static void test_sync_and_fua(void **state)
{
	struct env *e = *state;
	unsigned int before = __atomic_load_n(&fsyncs_seen, __ATOMIC_RELAXED);

	do_in(e, 0, cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0), 0);
	assert_good(0);
	do_in(e, 0, cdb_range(SCSI_SYNCHRONIZE_CACHE_16, 0, 5, 6), 0);
	assert_good(0);
	do_in(e, 0, (struct cdb){ { SCSI_START_STOP_UNIT } }, 0); /* stop */
	assert_good(0);
	assert_int_equal(fsyncs_seen - before, 3);
	do_in(e, 0, (struct cdb){ { SCSI_START_STOP_UNIT, 0, 0, 0, 1 } }, 0);
	assert_good(0);
	do_in(e, 0, (struct cdb){ { SCSI_START_STOP_UNIT, 0, 0, 0, 2 } }, 0); /* eject */
	assert_sense(SCSI_SENSE_FIELD);
	do_write(e, SCSI_WRITE_10, SCSI_FUA, 3, 2, 5);
	assert_good(0);
	assert_int_equal(fsyncs_seen - before, 3);
}

static void test_failed_flush_stays_failed(void **state)
{
	struct env *e = *state;

	__atomic_store_n(&fail_fdatasync, EIO, __ATOMIC_RELAXED);
	do_in(e, 0, cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0), 0);
	assert_sense(SCSI_SENSE_WRITE_ERROR);
	do_in(e, 0, cdb_range(SCSI_SYNCHRONIZE_CACHE_16, 0, 0, 0), 0);
	assert_sense(SCSI_SENSE_WRITE_ERROR);
	/* Another unit has a cache of its own. */
	do_in(e, 1, cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0), 0);
	assert_good(0);
}

static void test_image_cut_short(void **state)
{
	struct env *e = *state;

	fake.reserve_max = 0;
	assert_int_equal(ftruncate(e->fds[0], 4096), 0);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 4096, 8), 4096);
	assert_sense(SCSI_SENSE_READ_ERROR);
	assert_int_equal(answer.resid, 4096);
}

/*
 * UNMAP and WRITE SAME
 */

static struct cdb cdb_unmap(uint32_t len, uint8_t flags)
{
	struct cdb c = { { SCSI_UNMAP, flags } };

	be_write(c.bytes + 7, len, 2);
	return c;
}

static uint32_t unmap_list(uint8_t *list, unsigned int cnt, const uint64_t (*ranges)[2])
{
	unsigned int i;

	memset(list, 0, 8 + 16 * cnt);
	be_write(list, 6 + 16 * cnt, 2);
	be_write(list + 2, 16 * cnt, 2);
	for (i = 0; i < cnt; i++) {
		be_write(list + 8 + 16 * i, ranges[i][0], 8);
		be_write(list + 16 + 16 * i, ranges[i][1], 4);
	}
	return 8 + 16 * cnt;
}

static void test_unmap(void **state)
{
	static const uint64_t ranges[][2] = { { 64, 64 }, { 0, 0 }, { 1024, 512 } };
	struct env *e = *state;
	struct stat before, after;
	uint8_t list[8 + 16 * 3];
	uint32_t len = unmap_list(list, 3, ranges);

	fsync(e->fds[0]);
	fstat(e->fds[0], &before);
	do_out(e, 0, cdb_unmap(len, 0), list, len);
	assert_good(0);
	fsync(e->fds[0]);
	fstat(e->fds[0], &after);
	assert_true(after.st_blocks <= before.st_blocks - 512);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 128, 8), 4096);
	assert_pattern(answer.data, 128 * BLOCK, 4096, 0);
	do_out(e, 0, cdb_unmap(0, 0), NULL, 0);
	assert_good(0);
}

static void test_bad_unmap(void **state)
{
	static const uint64_t over[][2] = { { BLOCKS - 1, 2 } };
	static const uint64_t wrap[][2] = { { UINT64_MAX, UINT32_MAX } };
	static const uint64_t many[17][2] = { { 0 } };
	struct env *e = *state;
	uint8_t list[8 + 16 * 17];

	do_out(e, 0, cdb_unmap(24, 0), list, unmap_list(list, 1, over));
	assert_sense(SCSI_SENSE_LBA);
	do_out(e, 0, cdb_unmap(24, 0), list, unmap_list(list, 1, wrap));
	assert_sense(SCSI_SENSE_LBA);
	do_out(e, 0, cdb_unmap(sizeof(list), 0), list, unmap_list(list, 17, many));
	assert_sense(SCSI_SENSE_LIST_FIELD);
	do_out(e, 0, cdb_unmap(24, 1), list, 24);
	assert_sense(SCSI_SENSE_FIELD);
	do_out(e, 0, cdb_unmap(7, 0), list, 7);
	assert_sense(SCSI_SENSE_LIST_LENGTH);
	do_out(e, 0, cdb_unmap(25, 0), list, 24);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
	/* More descriptors in the header than bytes: those that are there. */
	unmap_list(list, 17, many);
	do_out(e, 0, cdb_unmap(24, 0), list, 24);
	assert_good(0);
}

static void assert_zero(struct env *e, uint64_t lba, uint32_t blocks)
{
	uint32_t i;

	do_in(e, 0, cdb_range(SCSI_READ_16, 0, lba, blocks), blocks * BLOCK);
	assert_good(0);
	for (i = 0; i < blocks * BLOCK; i++)
		assert_int_equal(answer.data[i], 0);
}

static void test_write_same(void **state)
{
	struct env *e = *state;
	uint8_t data[BLOCK] = { 0 };
	uint64_t base = 0;
	unsigned int i;

	static const struct {
		uint8_t opcode, flags;
	} kinds[] = {
		{ SCSI_WRITE_SAME_10, 0 },
		{ SCSI_WRITE_SAME_10, SCSI_WS_UNMAP },
		{ SCSI_WRITE_SAME_16, 0 },
		{ SCSI_WRITE_SAME_16, SCSI_WS_UNMAP },
		{ SCSI_WRITE_SAME_16, SCSI_WS_UNMAP | SCSI_WS_NDOB },
	};
	for (i = 0; i < VHX_ARRAY_SIZE(kinds); i++, base += 64) {
		bool none = kinds[i].flags & SCSI_WS_NDOB;

		do_out(e, 0, cdb_range(kinds[i].opcode, kinds[i].flags, base + 3, 30), data,
		       none ? 0 : BLOCK);
		assert_good(0);
		assert_zero(e, base + 3, 30);
		do_in(e, 0, cdb_range(SCSI_READ_10, 0, base + 33, 1), BLOCK);
		assert_pattern(answer.data, (base + 33) * BLOCK, BLOCK, 0);
	}
}

static void test_bad_write_same(void **state)
{
	struct env *e = *state;
	uint8_t data[BLOCK] = { [BLOCK - 1] = 1 };

	do_out(e, 0, cdb_range(SCSI_WRITE_SAME_10, 0, 0, 1), data, BLOCK);
	assert_sense(SCSI_SENSE_LIST_FIELD);
	do_out(e, 0, cdb_range(SCSI_WRITE_SAME_10, 0, 0, 1), data, BLOCK - 1);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OVERRUN);
	do_out(e, 0, cdb_range(SCSI_WRITE_SAME_10, 0, 0, 0), data, BLOCK);
	assert_sense(SCSI_SENSE_FIELD);
	do_out(e, 0, cdb_range(SCSI_WRITE_SAME_10, SCSI_WS_ANCHOR, 0, 1), data, BLOCK);
	assert_sense(SCSI_SENSE_FIELD);
	do_out(e, 0, cdb_range(SCSI_WRITE_SAME_16, 0, 0, UINT32_MAX), data, BLOCK);
	assert_sense(SCSI_SENSE_FIELD);
}

static void test_units_that_are_not_thin(void **state)
{
	struct env *e = *state;
	struct vhx_scsi_config c = config_of(e);
	uint8_t data[BLOCK] = { 0 };

	e->dev->ops->close(e->dev);
	c.no_discard = true;
	env_open(e, &c);
	do_out(e, 0, cdb_unmap(24, 0), data, 24);
	assert_sense(SCSI_SENSE_OPCODE);
	do_out(e, 0, cdb_range(SCSI_WRITE_SAME_16, SCSI_WS_UNMAP, 8, 8), data, BLOCK);
	assert_good(0);
	assert_zero(e, 8, 8);
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 1, 0xb2, 0, 255 } }, 255);
	assert_int_equal(answer.data[5], 0);
}

/*
 * What describes a unit
 */

static void test_inquiry(void **state)
{
	struct env *e = *state;

	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 36 } }, 36);
	assert_good(0);
	assert_int_equal(answer.data[0], 0);
	assert_int_equal(answer.data[4], 31);
	assert_memory_equal(answer.data + 8, "VHX     virtio-hmx disk 0001", 28);
	/* As much as there is room for. */
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 5 } }, 100);
	assert_good(95);
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 0 } }, 0);
	assert_good(0);
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0x80, 0, 36 } }, 36);
	assert_sense(SCSI_SENSE_FIELD);
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 1, 0x84, 0, 36 } }, 36);
	assert_sense(SCSI_SENSE_FIELD);
}

static void test_vital_product_data(void **state)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
	struct env *e = *state;
	uint32_t i, len;

	for (i = 0; i < sizeof(pages); i++) {
		do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 1, pages[i], 0, 255 } }, 255);
		len = 4u + vhx_be16_read(answer.data + 2);
		assert_good(255 - len);
		assert_int_equal(answer.data[1], pages[i]);
		if (pages[i] == 0x00)
			assert_memory_equal(answer.data + 4, pages, sizeof(pages));
		if (pages[i] == 0x80)
			assert_memory_equal(answer.data + 4, "serial-of-unit-0", 16);
		if (pages[i] == 0xb0) {
			assert_int_equal(vhx_be32_read(answer.data + 8), MAX_REQUEST / BLOCK);
			assert_int_equal(vhx_be32_read(answer.data + 24), 16);
		}
		if (pages[i] == 0xb2)
			assert_int_equal(answer.data[5], 0xe0);
	}
	/* Of a serial number that is made of the medium, all pages fit their room too. */
	do_in(e, 1, (struct cdb){ { SCSI_INQUIRY, 1, 0x80, 0, 255 } }, 255);
	assert_int_equal(answer.data[3], 32);
	do_in(e, 1, (struct cdb){ { SCSI_INQUIRY, 1, 0x83, 0, 255 } }, 255);
	assert_int_equal(vhx_be16_read(answer.data + 2), 4 + 8 + 32 + 4 + 8);
	assert_int_equal(answer.data[4 + 4 + 8 + 32 + 4] >> 4, 3);
}

static void test_capacity(void **state)
{
	struct env *e = *state;
	struct cdb cdb = { { SCSI_SERVICE_ACTION_IN_16, SCSI_SA_READ_CAPACITY_16 } };

	do_in(e, 0, (struct cdb){ { SCSI_READ_CAPACITY_10 } }, 8);
	assert_int_equal(vhx_be32_read(answer.data), BLOCKS - 1);
	assert_int_equal(vhx_be32_read(answer.data + 4), BLOCK);
	cdb.bytes[13] = 32;
	do_in(e, 0, cdb, 32);
	assert_good(0);
	assert_int_equal(vhx_be64_read(answer.data), BLOCKS - 1);
	assert_int_equal(answer.data[14], 0x80);
	cdb.bytes[1] = 0x12;
	do_in(e, 0, cdb, 32);
	assert_sense(SCSI_SENSE_FIELD);
}

/* More blocks than 32 bits can tell: READ CAPACITY(10) says so, and (16) what there is. */
static void test_capacity_beyond_32_bits(void **state)
{
	const struct vhx_scsi_unit unit = { .blocks = 1ull << 33, .block_size = 4096 };
	uint8_t data[SCSI_DATA_MAX];
	uint32_t sense;

	assert_int_equal(vhx_scsi_capacity_10(&unit, data, &sense), 8);
	assert_int_equal(vhx_be32_read(data), UINT32_MAX);
	assert_int_equal(vhx_scsi_capacity_16(&unit, data, &sense), 32);
	assert_int_equal(vhx_be64_read(data), (1ull << 33) - 1);
	vhx_scsi_mode_sense(&unit, (const uint8_t[32]){ SCSI_MODE_SENSE_10, 0, 8 }, data, &sense);
	assert_int_equal(vhx_be32_read(data + 8), UINT32_MAX);
}

static void test_mode_sense(void **state)
{
	struct env *e = *state;

	do_in(e, 0, (struct cdb){ { SCSI_MODE_SENSE_6, 0, 0x3f, 0, 255 } }, 255);
	assert_good(255 - (4 + 8 + 20 + 12));
	assert_int_equal(answer.data[0], 4 + 8 + 20 + 12 - 1);
	assert_int_equal(answer.data[2], 0x10);
	assert_int_equal(answer.data[3], 8);
	assert_int_equal(answer.data[12], 0x08);
	assert_int_equal(answer.data[14], 0x04);
	do_in(e, 0, (struct cdb){ { SCSI_MODE_SENSE_10, 8, 0x48, 0, 0, 0, 0, 1, 0 } }, 256);
	assert_good(256 - (8 + 20));
	assert_int_equal(answer.data[8 + 2], 0); /* nothing can be changed */
	do_in(e, 0, (struct cdb){ { SCSI_MODE_SENSE_6, 0, 0xff, 0, 255 } }, 255);
	assert_sense(SCSI_SENSE_SAVING);
	do_in(e, 0, (struct cdb){ { SCSI_MODE_SENSE_6, 0, 0x1c, 0, 255 } }, 255);
	assert_sense(SCSI_SENSE_FIELD);
	do_in(e, 0, (struct cdb){ { SCSI_MODE_SENSE_6, 0, 0x08, 1, 255 } }, 255);
	assert_sense(SCSI_SENSE_FIELD);
}

static void test_report_luns(void **state)
{
	struct env *e = *state;
	struct cdb cdb = { { SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 1, 0 } };
	uint8_t expected[24] = { [3] = 16, [17] = 1 };

	do_in(e, 0, cdb, 256);
	assert_good(256 - 24);
	assert_memory_equal(answer.data, expected, 24);
	do_in(e, 7, cdb, 256); /* through a unit that is not there */
	assert_good(256 - 24);
	cdb.bytes[2] = 1;
	do_in(e, 0, cdb, 256);
	assert_good(256 - 8);
	cdb.bytes[2] = 3;
	do_in(e, 0, cdb, 256);
	assert_sense(SCSI_SENSE_FIELD);
	cdb.bytes[2] = cdb.bytes[8] = 0;
	cdb.bytes[9] = 15;
	do_in(e, 0, cdb, 256);
	assert_sense(SCSI_SENSE_FIELD);
}

/*
 * Addresses and malformed requests
 */

static void test_units_that_are_not_there(void **state)
{
	struct env *e = *state;

	do_in(e, 2, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 36 } }, 36);
	assert_good(0);
	assert_int_equal(answer.data[0], 0x7f);
	do_in(e, 2, (struct cdb){ { SCSI_INQUIRY, 1, 0x80, 0, 36 } }, 36);
	assert_sense(SCSI_SENSE_FIELD);
	do_in(e, 2, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_sense(SCSI_SENSE_LUN);
	do_in(e, 2, cdb_range(SCSI_READ_10, 0, 0, 1), BLOCK);
	assert_sense(SCSI_SENSE_LUN);
	do_in(e, 2, (struct cdb){ { SCSI_REQUEST_SENSE, 0, 0, 0, 18 } }, 18);
	assert_good(0);
	assert_int_equal(answer.data[2], 5);
	assert_int_equal(answer.data[12], 0x25);
	do_in(e, 2, (struct cdb){ { 0xff } }, 0);
	assert_sense(SCSI_SENSE_LUN);
}

static void test_addresses(void **state)
{
	static const struct {
		uint8_t lun[8];
		uint8_t response;
	} rows[] = {
		{ { 1, 0, 0, 0 }, VIRTIO_SCSI_S_OK },
		{ { 1, 0, 0, 1 }, VIRTIO_SCSI_S_OK },
		{ { 1, 0, 0x40, 1 }, VIRTIO_SCSI_S_OK },
		{ { 1, 1, 0x40, 0 }, VIRTIO_SCSI_S_BAD_TARGET },
		{ { 0, 0, 0x40, 0 }, VIRTIO_SCSI_S_BAD_TARGET },
		{ { 2, 0, 0x40, 0 }, VIRTIO_SCSI_S_BAD_TARGET },
		{ { 1, 0, 0x40, 0, 0, 0, 0, 1 }, VIRTIO_SCSI_S_BAD_TARGET },
		{ { 0xc1, 1 }, VIRTIO_SCSI_S_BAD_TARGET },
	};
	struct env *e = *state;
	struct cdb cdb = { { SCSI_TEST_UNIT_READY } };
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		struct fake_request *r = command_new(e, 0, &cdb, NULL, 0, 0);

		memcpy(r->req.head, rows[i].lun, 8);
		run(r);
		assert_int_equal(answer.response, rows[i].response);
		assert_int_equal(answer.status, SCSI_GOOD);
	}
}

static void test_unknown_commands(void **state)
{
	struct env *e = *state;
	unsigned int opcode, known = 0;

	for (opcode = 0; opcode < 256; opcode++) {
		do_in(e, 1, (struct cdb){ { (uint8_t)opcode } }, 0);
		known += answer.sense != SCSI_SENSE_OPCODE;
	}
	assert_int_equal(known, 24);
}

static void test_malformed_requests(void **state)
{
	static const uint8_t out[REQ + 8192] = { 1, 0, 0x40, 0 };
	static const uint32_t lens[][2] = {
		{ 0, 0 }, { REQ - 1, RESP }, { REQ, RESP - 1 }, { REQ, 11 }, { 1, 1000 },
	};
	struct env *e = *state;
	struct fake_request *r;
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		r = fake_request_new(e->dev, &e->queue, out, lens[i][0], lens[i][1]);
		fake_submit(r);
		assert_true(r->completed);
		assert_int_equal(r->used_len, 0);
		fake_request_free(r);
	}
	/* Data both ways (INOUT was not offered), and more than was announced. */
	r = fake_request_new(e->dev, &e->queue, out, REQ + 512, RESP + 512);
	run(r);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_FAILURE);
	r = fake_request_new(e->dev, &e->queue, out, REQ, e->dev->max_in + 1);
	run(r);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_FAILURE);
}

static void test_config(void **state)
{
	struct env *e = *state;
	struct cdb cdb = { { SCSI_TEST_UNIT_READY } };
	struct fake_request *r;

	assert_int_equal(get32(e, offsetof(struct virtio_scsi_config, num_queues)), 1);
	assert_int_equal(get32(e, offsetof(struct virtio_scsi_config, max_sectors)),
			 MAX_REQUEST / 512);
	assert_int_equal(get32(e, 20), 96);
	assert_int_equal(get32(e, 24), 32);
	assert_int_equal(set32(e, 20, 96), 0);
	assert_int_equal(set32(e, 24, 32), 0);
	assert_int_equal(set32(e, 24, 16), -EINVAL);
	assert_int_equal(set32(e, 20, 17), -EINVAL);
	assert_int_equal(set32(e, 20, UINT32_MAX), -EINVAL);
	assert_int_equal(set32(e, 0, 1), -EINVAL);
	assert_int_equal(e->dev->ops->set_config(e->dev, 20, "x", 1), -EINVAL);
	/* A longer sense, for commands from then on: one that has no room for it gets nothing. */
	assert_int_equal(set32(e, 20, 252), 0);
	assert_int_equal(get32(e, 20), 252);
	r = command_new(e, 0, &cdb, NULL, 0, 0);
	fake_submit(r);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
	do_in(e, 0, cdb, 252 - 96);
	assert_good(0);
	/* A reset makes it what it was. */
	assert_int_equal(e->dev->ops->set_features(e->dev, 0), 0);
	assert_int_equal(get32(e, 20), 96);
	do_in(e, 0, cdb, 0);
	assert_good(0);
	assert_int_equal(e->dev->ops->set_features(e->dev, 1), -EINVAL);
}

/* The driver writes the config while a command is in flight, whose response has another length. */
static void test_sense_size_changes_in_flight(void **state)
{
	struct env *e = *state;
	struct cdb cdb = cdb_range(SCSI_READ_10, 0, 16, 8);
	struct fake_request *r = command_new(e, 0, &cdb, NULL, 0, 4096);

	fake.reserve_max = 0;
	fake_submit(r);
	assert_int_equal(set32(e, 20, 252), 0);
	fake_wait(r);
	answer_take(r);
	assert_good(0);
	assert_pattern(answer.data, 16 * BLOCK, 4096, 0);
}

/*
 * Task management
 */

static struct fake_request *tmf_new(struct env *e, uint32_t subtype, unsigned int lun, uint64_t tag)
{
	struct virtio_scsi_ctrl_tmf tmf = {
		.type = vhx_le32_of(VIRTIO_SCSI_T_TMF),
		.subtype = vhx_le32_of(subtype),
		.lun = { 1, 0, 0x40, (uint8_t)lun },
	};

	memcpy(tmf.id, &tag, sizeof(tmf.id));
	return fake_request_new(e->dev, &e->control, &tmf, sizeof(tmf), 1);
}

static uint8_t control_end(struct fake_request *r)
{
	uint8_t response;

	fake_wait(r);
	assert_int_equal(r->used_len, 1);
	response = r->answer[0];
	fake_request_free(r);
	return response;
}

static uint8_t do_tmf(struct env *e, uint32_t subtype, unsigned int lun, uint64_t tag)
{
	struct fake_request *r = tmf_new(e, subtype, lun, tag);

	fake_submit(r);
	return control_end(r);
}

static void test_abort_waits_for_the_command(void **state)
{
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct fake_request *r = command_new(e, 0, &sync, NULL, 0, 0), *tmf;
	uint64_t tag = next_tag;

	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, tag),
			 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_QUERY_TASK, 1, tag),
			 VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	/* Other commands are none of its business. */
	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, tag + 1),
			 VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	tmf = tmf_new(e, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, tag);
	fake_submit(tmf);
	assert_int_equal(vhx_loop_once(e->loop, 10000000), 0);
	assert_false(tmf->completed);
	pthread_mutex_unlock(&fdatasync_gate);
	assert_int_equal(control_end(tmf), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	assert_true(r->completed);
	answer_take(r);
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_good(0);
}

static void test_reset_of_a_unit_leaves_an_attention(void **state)
{
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct fake_request *r = command_new(e, 0, &sync, NULL, 0, 0), *tmf, *later;

	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	tmf = tmf_new(e, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0);
	fake_submit(tmf);
	/* One that comes behind is not meant. */
	later = command_new(e, 0, &sync, NULL, 0, 0);
	fake_submit(later);
	assert_false(tmf->completed);
	pthread_mutex_unlock(&fdatasync_gate);
	assert_int_equal(control_end(tmf), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	fake_wait(later);
	assert_true(r->completed);
	answer_take(r);
	answer_take(later);
	assert_good(0);
	/* Told once, and not by these. */
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 36 } }, 36);
	assert_good(0);
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_sense(SCSI_SENSE_RESET);
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_good(0);
	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, 0, 0),
			 VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	do_in(e, 1, (struct cdb){ { SCSI_REQUEST_SENSE, 0, 0, 0, 18 } }, 18);
	assert_int_equal(answer.data[2], 6);
	do_in(e, 1, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_good(0);
}

/* More commands than there are operations: those that wait end at once, with the function's response. */
static void test_abort_of_commands_that_wait(void **state)
{
	enum { COMMANDS = 300 };
	static struct fake_request *r[COMMANDS];
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct fake_request *tmf;
	unsigned int i, aborted = 0;

	pthread_mutex_lock(&fdatasync_gate);
	for (i = 0; i < COMMANDS; i++) {
		r[i] = command_new(e, 0, &sync, NULL, 0, 0);
		fake_submit(r[i]);
	}
	tmf = tmf_new(e, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0);
	fake_submit(tmf);
	pthread_mutex_unlock(&fdatasync_gate);
	assert_int_equal(control_end(tmf), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	for (i = 0; i < COMMANDS; i++) {
		assert_true(r[i]->completed);
		answer_take(r[i]);
		aborted += answer.response == VIRTIO_SCSI_S_ABORTED;
	}
	assert_int_equal(aborted, COMMANDS - 256);
}

/*
 * The backend holds a command for which there is no room, and another one behind it that the device has not seen. Both
 * came before the function, which is answered when both have ended.
 */
static void test_abort_waits_for_commands_behind_a_refused_one(void **state)
{
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct cdb inquiry = { { SCSI_INQUIRY, 0, 0, 0, 36 } };
	struct fake_request *refused = command_new(e, 0, &inquiry, NULL, 0, 36), *behind, *tmf;
	bool early;

	fake.later = 1;
	fake.submitting = true;
	assert_int_equal(e->dev->ops->submit(e->dev, &refused->req), -EAGAIN);
	fake.submitting = false;
	tmf = tmf_new(e, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0);
	fake_submit(tmf);
	assert_false(tmf->completed);
	behind = command_new(e, 0, &sync, NULL, 0, 0);
	pthread_mutex_lock(&fdatasync_gate);
	/* Room comes: one pass. */
	fake.in_flight += 2;
	assert_int_equal(e->dev->ops->submit(e->dev, &refused->req), 0);
	assert_int_equal(e->dev->ops->submit(e->dev, &behind->req), 0);
	e->dev->ops->kick(e->dev);
	early = tmf->completed;
	pthread_mutex_unlock(&fdatasync_gate);
	assert_false(early);
	assert_true(refused->completed);
	assert_int_equal(control_end(tmf), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	assert_true(behind->completed);
	fake_request_free(refused);
	fake_request_free(behind);
}

/* A command that waits for an operation is as much there as one in flight. */
static void test_query_finds_commands_that_have_not_begun(void **state)
{
	enum { OPERATIONS = 256 };
	static struct fake_request *r[OPERATIONS + 1];
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	uint8_t found, other;
	unsigned int i;

	pthread_mutex_lock(&fdatasync_gate);
	for (i = 0; i <= OPERATIONS; i++) {
		r[i] = command_new(e, 0, &sync, NULL, 0, 0);
		fake_submit(r[i]);
	}
	found = do_tmf(e, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, next_tag);
	other = do_tmf(e, VIRTIO_SCSI_T_TMF_QUERY_TASK, 1, next_tag);
	pthread_mutex_unlock(&fdatasync_gate);
	for (i = 0; i <= OPERATIONS; i++) {
		fake_wait(r[i]);
		fake_request_free(r[i]);
	}
	assert_int_equal(found, VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	assert_int_equal(other, VIRTIO_SCSI_S_FUNCTION_COMPLETE);
}

/* It is not seen yet, and came before the query: this waits until it was, and tells of it. */
static void test_query_finds_a_command_behind_a_refused_one(void **state)
{
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct cdb inquiry = { { SCSI_INQUIRY, 0, 0, 0, 36 } };
	struct fake_request *refused = command_new(e, 0, &inquiry, NULL, 0, 36), *behind, *task,
			    *set;
	bool early;

	fake.later = 1;
	fake.submitting = true;
	assert_int_equal(e->dev->ops->submit(e->dev, &refused->req), -EAGAIN);
	fake.submitting = false;
	behind = command_new(e, 0, &sync, NULL, 0, 0);
	task = tmf_new(e, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, next_tag);
	set = tmf_new(e, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0);
	fake_submit(task);
	fake_submit(set);
	early = task->completed || set->completed;
	pthread_mutex_lock(&fdatasync_gate);
	/* Room comes: one pass. */
	fake.in_flight += 2;
	assert_int_equal(e->dev->ops->submit(e->dev, &refused->req), 0);
	assert_int_equal(e->dev->ops->submit(e->dev, &behind->req), 0);
	e->dev->ops->kick(e->dev);
	pthread_mutex_unlock(&fdatasync_gate);
	fake_wait(behind);
	assert_false(early);
	assert_int_equal(control_end(task), VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	assert_int_equal(control_end(set), VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	fake_request_free(refused);
	fake_request_free(behind);
}

/* There is always one, under load on several queues. */
static void test_function_does_not_wait_for_commands_refused_later(void **state)
{
	struct env *e = *state;
	struct vhx_queue other = { .index = VIRTIO_SCSI_REQUESTQ + 1 };
	struct cdb inquiry = { { SCSI_INQUIRY, 0, 0, 0, 36 } };
	struct fake_request *before = command_new(e, 0, &inquiry, NULL, 0, 36), *later, *tmf;

	later = command_new(e, 0, &inquiry, NULL, 0, 36);
	later->req.queue = &other;
	fake.later = 1;
	fake.submitting = true;
	assert_int_equal(e->dev->ops->submit(e->dev, &before->req), -EAGAIN);
	fake.submitting = false;
	tmf = tmf_new(e, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0);
	fake_submit(tmf);
	assert_false(tmf->completed);
	/* One pass, in which one queue gets room, and the other none. */
	fake.in_flight += 2;
	assert_int_equal(e->dev->ops->submit(e->dev, &before->req), 0);
	fake.later = 1;
	fake.submitting = true;
	assert_int_equal(e->dev->ops->submit(e->dev, &later->req), -EAGAIN);
	fake.submitting = false;
	e->dev->ops->kick(e->dev);
	assert_true(tmf->completed);
	assert_int_equal(control_end(tmf), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	assert_int_equal(e->dev->ops->submit(e->dev, &later->req), 0);
	fake_request_free(before);
	fake_request_free(later);
}

/* Each is held against all that is in flight: a driver must not choose how much work that is. */
static void test_functions_that_wait_are_bounded(void **state)
{
	enum { FUNCTIONS = 64 };
	static struct fake_request *tmf[FUNCTIONS + 1];
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct fake_request *r = command_new(e, 0, &sync, NULL, 0, 0);
	unsigned int i;
	bool refused;

	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	for (i = 0; i <= FUNCTIONS; i++) {
		tmf[i] = tmf_new(e, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0);
		fake_submit(tmf[i]);
	}
	refused = tmf[FUNCTIONS]->completed && !tmf[FUNCTIONS - 1]->completed;
	pthread_mutex_unlock(&fdatasync_gate);
	assert_true(refused);
	assert_int_equal(control_end(tmf[FUNCTIONS]), VIRTIO_SCSI_S_FAILURE);
	for (i = 0; i < FUNCTIONS; i++)
		assert_int_equal(control_end(tmf[i]), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	fake_request_free(r);
	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0),
			 VIRTIO_SCSI_S_FUNCTION_COMPLETE);
}

static void test_bad_functions(void **state)
{
	struct env *e = *state;
	uint8_t raw[24] = { 9 };
	struct fake_request *r;

	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_CLEAR_ACA, 0, 0),
			 VIRTIO_SCSI_S_FUNCTION_REJECTED);
	assert_int_equal(do_tmf(e, 77, 0, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
	assert_int_equal(do_tmf(e, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 2, 0),
			 VIRTIO_SCSI_S_INCORRECT_LUN);
	r = fake_request_new(e->dev, &e->control, raw, sizeof(raw), 1); /* no such type */
	fake_submit(r);
	assert_int_equal(control_end(r), VIRTIO_SCSI_S_FAILURE);
	raw[0] = 0;
	r = fake_request_new(e->dev, &e->control, raw, 23, 1); /* cut short */
	fake_submit(r);
	assert_int_equal(control_end(r), VIRTIO_SCSI_S_FAILURE);
	r = fake_request_new(e->dev, &e->control, raw, 24, 1); /* no target */
	fake_submit(r);
	assert_int_equal(control_end(r), VIRTIO_SCSI_S_BAD_TARGET);
	r = fake_request_new(e->dev, &e->control, raw, 24, 0);
	fake_submit(r);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
	r = fake_request_new(e->dev, &e->control, raw, 3, 1);
	fake_submit(r);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
}

static void test_asynchronous_notification(void **state)
{
	struct virtio_scsi_ctrl_an an = {
		.type = vhx_le32_of(VIRTIO_SCSI_T_AN_QUERY),
		.lun = { 1, 0, 0x40, 1 },
		.event_requested = vhx_le32_of(~0u),
	};
	static const uint8_t nothing[5] = { 0 };
	struct env *e = *state;
	struct fake_request *r = fake_request_new(e->dev, &e->control, &an, sizeof(an), 5);

	fake_submit(r);
	assert_int_equal(r->used_len, 5);
	assert_memory_equal(r->answer, nothing, 5);
	fake_request_free(r);
	an.lun[3] = 5;
	r = fake_request_new(e->dev, &e->control, &an, sizeof(an), 5);
	fake_submit(r);
	assert_int_equal(r->answer[4], VIRTIO_SCSI_S_INCORRECT_LUN);
	fake_request_free(r);
}

/*
 * Events and queues
 */

static void resize_wait(struct env *e, uint32_t blocks)
{
	struct cdb cdb = { { SCSI_READ_CAPACITY_10 } };

	do {
		assert_int_equal(vhx_loop_once(e->loop, 100000000), 0);
		do_in(e, 0, cdb, 8);
	} while (answer.sense || vhx_be32_read(answer.data) != blocks - 1);
}

static void test_resize_is_an_event_and_an_attention(void **state)
{
	struct env *e = *state;
	struct fake_request *r = fake_request_new(e->dev, &e->event, NULL, 0, 16);
	struct virtio_scsi_event event;

	fake_submit(r);
	assert_int_equal(ftruncate(e->fds[0], 2 * BLOCKS * BLOCK), 0);
	fake_wait(r);
	assert_int_equal(r->used_len, 16);
	memcpy(&event, r->answer, sizeof(event));
	assert_int_equal(vhx_le32_get(event.event), VIRTIO_SCSI_T_PARAM_CHANGE);
	assert_int_equal(vhx_le32_get(event.reason), 0x092a);
	assert_memory_equal(event.lun, "\1\0\0\0\0\0\0", 8);
	fake_request_free(r);
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_sense(SCSI_SENSE_CAPACITY);
	do_in(e, 0, (struct cdb){ { SCSI_READ_CAPACITY_10 } }, 8);
	assert_int_equal(vhx_be32_read(answer.data), 2 * BLOCKS - 1);
}

/* It has no last block: what all ones would say is the largest disk that there is. */
static void test_unit_cut_to_nothing_is_not_ready(void **state)
{
	struct env *e = *state;
	struct cdb capacity = { { SCSI_SERVICE_ACTION_IN_16, SCSI_SA_READ_CAPACITY_16 } };
	struct fake_request *r = fake_request_new(e->dev, &e->event, NULL, 0, 16);

	capacity.bytes[13] = 32;
	fake_submit(r);
	assert_int_equal(ftruncate(e->fds[0], 100), 0); /* less than a block */
	fake_wait(r);
	fake_request_free(r);
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_sense(SCSI_SENSE_CAPACITY);
	do_in(e, 0, (struct cdb){ { SCSI_READ_CAPACITY_10 } }, 8);
	assert_sense(SCSI_SENSE(0x2u, 0x04u, 0x03u));
	do_in(e, 0, capacity, 32);
	assert_sense(SCSI_SENSE(0x2u, 0x04u, 0x03u));
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_sense(SCSI_SENSE(0x2u, 0x04u, 0x03u));
	/* What needs no block goes on, and what needs one finds none. */
	do_in(e, 0, (struct cdb){ { SCSI_INQUIRY, 0, 0, 0, 36 } }, 36);
	assert_good(0);
	do_in(e, 0, cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0), 0);
	assert_good(0);
	do_in(e, 0, cdb_range(SCSI_READ_10, 0, 0, 1), 512);
	assert_sense(SCSI_SENSE_LBA);
	assert_int_equal(ftruncate(e->fds[0], BLOCKS * BLOCK), 0);
	resize_wait(e, BLOCKS);
	do_in(e, 0, (struct cdb){ { SCSI_TEST_UNIT_READY } }, 0);
	assert_good(0);
}

/* It waits for a buffer; one that is too small is of no use. */
static void test_event_without_a_buffer(void **state)
{
	struct env *e = *state;
	struct fake_request *r;

	assert_int_equal(ftruncate(e->fds[0], 2 * BLOCKS * BLOCK), 0);
	resize_wait(e, 2 * BLOCKS);
	r = fake_request_new(e->dev, &e->event, NULL, 0, 15);
	fake_submit(r);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
	r = fake_request_new(e->dev, &e->event, NULL, 0, 16);
	fake_submit(r);
	assert_true(r->completed);
	assert_int_equal(r->used_len, 16);
	fake_request_free(r);
}

static void test_no_event_without_the_feature(void **state)
{
	struct env *e = *state;
	struct fake_request *r = fake_request_new(e->dev, &e->event, NULL, 0, 16);

	assert_int_equal(e->dev->ops->set_features(e->dev, 0), 0);
	fake_submit(r);
	assert_int_equal(ftruncate(e->fds[0], 2 * BLOCKS * BLOCK), 0);
	resize_wait(e, 2 * BLOCKS);
	assert_false(r->completed);
	e->dev->ops->reset(e->dev, &e->event);
	assert_true(r->dropped);
	assert_int_equal(e->event.quiesced, 1);
	fake_request_free(r);
}

static void test_reset_of_queues(void **state)
{
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct fake_request *r = command_new(e, 0, &sync, NULL, 0, 0), *tmf;

	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	tmf = tmf_new(e, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0);
	fake_submit(tmf);
	e->dev->ops->reset(e->dev, &e->queue);
	assert_int_equal(e->queue.quiesced, 0);
	pthread_mutex_unlock(&fdatasync_gate);
	fake_wait(r);
	assert_true(r->dropped);
	assert_int_equal(e->queue.quiesced, 1);
	/* What it was about is gone. */
	assert_int_equal(control_end(tmf), VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	fake_request_free(r);
	e->dev->ops->reset(e->dev, &e->control);
	assert_int_equal(e->control.quiesced, 1);
}

static void test_close_drops_what_is_in_flight(void **state)
{
	struct env *e = *state;
	struct cdb sync = cdb_range(SCSI_SYNCHRONIZE_CACHE_10, 0, 0, 0);
	struct fake_request *r = command_new(e, 0, &sync, NULL, 0, 0), *posted;

	posted = fake_request_new(e->dev, &e->event, NULL, 0, 16);
	fake_submit(posted);
	fake_submit(r);
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	assert_true(r->dropped && posted->dropped);
	fake_request_free(r);
	fake_request_free(posted);
}

/*
 * Configurations
 */

static void test_identity(void **state)
{
	struct env *e = *state;
	struct vhx_scsi_config c = config_of(e);
	uint8_t uuid[16];

	memcpy(uuid, e->dev->uuid, sizeof(uuid));
	e->dev->ops->close(e->dev);
	env_open(e, &c);
	assert_memory_equal(e->dev->uuid, uuid, sizeof(uuid));
	/* The same media in other places are another device. */
	e->dev->ops->close(e->dev);
	c.luns[0].path = e->paths[1];
	c.luns[1].path = e->paths[0];
	env_open(e, &c);
	assert_memory_not_equal(e->dev->uuid, uuid, sizeof(uuid));
	e->dev->ops->close(e->dev);
	c = config_of(e);
	c.lun_cnt = 1;
	env_open(e, &c);
	assert_memory_not_equal(e->dev->uuid, uuid, sizeof(uuid));
}

static void assert_refused(struct env *e, const struct vhx_scsi_config *c, const char *text)
{
	struct vhx_device *dev;
	struct vhx_error err = { "" };

	assert_true(vhx_scsi_new(e->loop, c, NULL, &dev, &err) < 0);
	if (strncmp(err.text, text, strlen(text)))
		fail_msg("'%s' instead of '%s'", err.text, text);
}

static void test_bad_configurations(void **state)
{
	struct env *e = *state;
	struct vhx_scsi_config c = config_of(e);

	/* Its images are locked. */
	assert_refused(e, &c, "s0: lun0: ");
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	c.luns[1].path = "/nonexistent";
	assert_refused(e, &c, "s0: lun1: ");
	c = config_of(e);
	c.luns[1].path = c.luns[0].path; /* twice */
	assert_refused(e, &c, "s0: lun1: ");
	c = config_of(e);
	c.lun_cnt = 0;
	assert_refused(e, &c, "s0: there must be 1 to 16 units");
	c = config_of(e);
	c.num_queues = 63;
	assert_refused(e, &c, "s0: num-queues");
	c = config_of(e);
	c.queue_size = 100;
	assert_refused(e, &c, "s0: queue-size");
	c = config_of(e);
	c.max_request = 100;
	assert_refused(e, &c, "s0: max-request");
	c = config_of(e);
	c.luns[0].serial = "0123456789012345678901234567890123456";
	assert_refused(e, &c, "s0: serial");
	env_open(e, &(struct vhx_scsi_config){
			    .id = "s0", .luns = { { .path = e->paths[0] } }, .lun_cnt = 1 });
}

#define ON(name, place)                                                               \
	{                                                                             \
#name " on " #place, (name), set_up, tear_down, vhx_unconst(&(place)) \
	}

/* Goes to a directory that is no tmpfs. */
static bool go_to_disk(void)
{
	const char *dirs[] = { getenv("VHX_TEST_DISK_DIR"), ".", "/var/tmp" };
	struct statfs fs;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(dirs); i++) {
		if (!dirs[i] || statfs(dirs[i], &fs) < 0 || fs.f_type == TMPFS_MAGIC)
			continue;
		if (access(dirs[i], W_OK) == 0 && chdir(dirs[i]) == 0)
			return true;
	}
	return false;
}

static bool shm_is_tmpfs(void)
{
	struct statfs fs;

	return statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	       access("/dev/shm", W_OK) == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(test_read_and_write_of_every_length_of_cdb, disk_uring),
		ON(test_read_and_write_of_every_length_of_cdb, disk),
		ON(test_read_and_write_of_every_length_of_cdb, disk_direct),
		ON(test_read_and_write_of_every_length_of_cdb, shm),
		ON(test_largest_read_staged_and_in_place, disk_uring),
		ON(test_largest_read_staged_and_in_place, disk_direct),
		ON(test_largest_read_staged_and_in_place, shm),
		ON(test_no_room_now, disk_uring),
		ON(test_no_room_now, shm),
		ON(test_buffers_larger_than_the_transfer, disk_uring),
		ON(test_buffers_larger_than_the_transfer, disk_direct),
		ON(test_buffers_larger_than_the_transfer, shm),
		ON(test_buffers_smaller_than_the_transfer, disk_uring),
		ON(test_ranges_at_and_over_the_end, disk_uring),
		ON(test_read_only_unit, disk_uring),
		ON(test_protection_is_refused, shm),
		ON(test_sync_and_fua, disk),
		ON(test_failed_flush_stays_failed, disk),
		ON(test_image_cut_short, disk_uring),
		ON(test_unmap, disk_uring),
		ON(test_unmap, shm),
		ON(test_bad_unmap, shm),
		ON(test_write_same, disk_uring),
		ON(test_write_same, shm),
		ON(test_bad_write_same, shm),
		ON(test_units_that_are_not_thin, shm),
		ON(test_inquiry, shm),
		ON(test_vital_product_data, shm),
		ON(test_capacity, shm),
		ON(test_capacity_beyond_32_bits, shm),
		ON(test_mode_sense, shm),
		ON(test_report_luns, shm),
		ON(test_units_that_are_not_there, shm),
		ON(test_addresses, shm),
		ON(test_unknown_commands, shm),
		ON(test_malformed_requests, shm),
		ON(test_config, shm),
		ON(test_sense_size_changes_in_flight, disk_uring),
		ON(test_abort_waits_for_the_command, disk),
		ON(test_reset_of_a_unit_leaves_an_attention, disk),
		ON(test_abort_of_commands_that_wait, disk),
		ON(test_abort_waits_for_commands_behind_a_refused_one, disk),
		ON(test_query_finds_commands_that_have_not_begun, disk),
		ON(test_query_finds_a_command_behind_a_refused_one, disk),
		ON(test_function_does_not_wait_for_commands_refused_later, disk),
		ON(test_functions_that_wait_are_bounded, disk),
		ON(test_bad_functions, shm),
		ON(test_asynchronous_notification, shm),
		ON(test_resize_is_an_event_and_an_attention, shm),
		ON(test_unit_cut_to_nothing_is_not_ready, shm),
		ON(test_unit_cut_to_nothing_is_not_ready, disk_uring),
		ON(test_event_without_a_buffer, shm),
		ON(test_no_event_without_the_feature, shm),
		ON(test_reset_of_queues, disk),
		ON(test_close_drops_what_is_in_flight, disk_uring),
		ON(test_identity, shm),
		ON(test_bad_configurations, shm),
	};

	bool on_disk = go_to_disk(), on_shm = shm_is_tmpfs();

	if (!on_disk && !on_shm) {
		puts("skipped: no disk to write to (VHX_TEST_DISK_DIR), no tmpfs on /dev/shm");
		return 77;
	}
	if (!on_disk)
		cmocka_set_test_filter("* on shm");
	if (!on_shm)
		cmocka_set_skip_filter("* on shm");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
