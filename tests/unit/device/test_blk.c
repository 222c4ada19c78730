// SPDX-License-Identifier: BSD-3-Clause
/*
 * virtio-blk on real files: on a disk (VHX_TEST_DISK_DIR, the working directory, /var/tmp) and on tmpfs,
 * through io_uring and threads, cached and direct. The system calls of the thread engine are wrapped, to make them fail or
 * come up short, and so are the allocators, to count.
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

#include "device/blk.h"
#include "device/blk_layout.h"
#include "fake_backend.h"
#include "util/barrier.h"

struct io_uring;

#define HANG_GUARD_S 120
#define IMAGE_LEN (8u * 1024 * 1024)
#define SECTORS (IMAGE_LEN / VIRTIO_BLK_SECTOR)
#define ALL_FEATURES (~0ull)

/*
 * Wraps, by the names that calls have with 64-bit file offsets. Threads of the engine use these variables,
 * so accesses are atomic.
 */

static int fail_fdatasync; /* errno, once */
static int fail_fallocate; /* errno, always */
static int fail_dsync; /* errno, of one write with RWF_DSYNC */
static unsigned int short_to; /* transfers are cut to this, 0: not */
static unsigned int cuts; /* how often */
static unsigned int dsync_seen; /* writes with RWF_DSYNC */
static unsigned int fsyncs_seen; /* calls of fdatasync */
static pthread_mutex_t fdatasync_gate = PTHREAD_MUTEX_INITIALIZER; /* held: none of them ends */
static unsigned int allocations;
static unsigned int direct_unit; /* that statx reports, 0: the true one */
static int refuse_io_uring; /* errno, always */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);
ssize_t __real_preadv64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags);
void *__real_malloc(size_t len);
void *__wrap_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len);

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

int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
	int error = vhx_load_relaxed(&fail_fallocate);

	if (!error)
		return __real_fallocate64(fd, mode, off, len);
	errno = error;
	return -1;
}

/* The first iovec only, and no more of it than short_to. */
static const struct iovec *cut(const struct iovec *iov, struct iovec *one, int *cnt)
{
	unsigned int max = vhx_load_relaxed(&short_to);

	if (!max)
		return iov;
	__atomic_add_fetch(&cuts, 1, __ATOMIC_RELAXED);
	*one = iov[0];
	one->iov_len = vhx_min_u64(one->iov_len, max);
	*cnt = 1;
	return one;
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	struct iovec one;

	iov = cut(iov, &one, &cnt);
	return __real_preadv64v2(fd, iov, cnt, off, flags);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	struct iovec one;
	int error = 0;

	iov = cut(iov, &one, &cnt);
	if (flags & RWF_DSYNC) {
		__atomic_add_fetch(&dsync_seen, 1, __ATOMIC_RELAXED);
		error = __atomic_exchange_n(&fail_dsync, 0, __ATOMIC_RELAXED);
	}
	if (error) {
		errno = error;
		return -1;
	}
	return __real_pwritev64v2(fd, iov, cnt, off, flags);
}

int __real_statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx);
int __wrap_statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx);

/* Claims another unit of direct I/O than the file system has, a larger one, which always works too. */
int __wrap_statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx)
{
	int ret = __real_statx(dir, path, flags, mask, stx);

	if (ret == 0 && direct_unit && (mask & STATX_DIOALIGN)) {
		stx->stx_mask |= STATX_DIOALIGN;
		stx->stx_dio_mem_align = stx->stx_dio_offset_align = direct_unit;
	}
	return ret;
}

void *__wrap_malloc(size_t len)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	return __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	return __real_calloc(n, len);
}

/*
 * Fixture
 */

struct medium {
	const char *dir;
	enum vhx_io_kind io;
	bool direct, readonly;
	unsigned int unit;
	bool loop; /* a block device on a file there */
};

/* Not a tmpfs: main() goes to such a directory. */
static const struct medium disk_uring = { ".", VHX_IO_AUTO, false, false, 0 };
static const struct medium disk_threads = { ".", VHX_IO_THREADS, false, false, 0 };
static const struct medium disk_direct = { ".", VHX_IO_AUTO, true, false, 4096 };
static const struct medium disk_direct_threads = { ".", VHX_IO_THREADS, true, false, 0 };
static const struct medium disk_readonly = { ".", VHX_IO_AUTO, false, true, 0 };
static const struct medium shm = { "/dev/shm", VHX_IO_AUTO, false, false, 0 };

/* Needs root and the loop driver: main() sees to that as well. */
static const struct medium block_dev = { ".", VHX_IO_AUTO, false, false, 0, true };

struct env {
	const struct medium *medium;
	struct vhx_loop *loop;
	struct vhx_device *dev;
	struct vhx_queue queue;
	struct vhx_log log;
	unsigned int errors_logged;
	int fd; /* the image, by another description */
	uint32_t unit;
	char path[64]; /* what the device opens */
	char file[64];
};

static void count_errors(void *ctx, enum vhx_log_level level, const char *text)
{
	struct env *e = ctx;

	e->errors_logged += level == VHX_LOG_ERROR;
}

/* A byte that tells positions and generations apart. */
static uint8_t pattern(uint64_t at, unsigned int seed)
{
	return (uint8_t)(at ^ (at >> 8) * 7 ^ (at >> 16) * 13 ^ seed);
}

static void pattern_fill(uint8_t *buf, uint64_t at, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = pattern(at + i, seed);
}

static void image_fill(int fd)
{
	static uint8_t buf[IMAGE_LEN];

	pattern_fill(buf, 0, sizeof(buf), 0);
	assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(fdatasync(fd), 0);
}

static struct virtio_blk_config config(const struct vhx_device *dev)
{
	struct virtio_blk_config c;

	memcpy(&c, dev->config, sizeof(c));
	return c;
}

static void env_open(struct env *e)
{
	struct vhx_blk_config c = { .id = "disk0",
				    .path = e->path,
				    .fd = -1,
				    .readonly = e->medium->readonly,
				    .direct = e->medium->direct,
				    .serial = "serial-of-20-bytes!!",
				    .num_queues = 4,
				    .io = e->medium->io };
	struct vhx_error err = { "" };

	if (vhx_blk_new(e->loop, &c, &e->log, &e->dev, &err) < 0)
		fail_msg("%s", err.text);
	e->dev->backend = (struct vhx_backend_device *)e; /* never looked into */
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
	e->unit = vhx_le32_get(config(e->dev).blk_size);
}

/* The loop device of a file; false: none to be had. */
static bool loop_attach(const char *file, char *path, size_t len)
{
	char line[128];
	bool ok;
	FILE *f;

	snprintf(line, sizeof(line), "losetup -f --show %s 2>/dev/null", file);
	f = popen(line, "r");
	ok = f && fgets(path, (int)len, f);
	if (ok)
		path[strcspn(path, "\n")] = '\0';
	return f && pclose(f) == 0 && ok;
}

static void loop_detach(const char *path)
{
	char line[128];

	snprintf(line, sizeof(line), "losetup -d %s", path);
	assert_int_equal(system(line), 0);
}

static bool loop_available(void)
{
	char file[] = "vhx-loop-XXXXXX", path[64];
	int fd = mkstemp(file);
	bool ok = fd >= 0 && ftruncate(fd, 4096) == 0 && loop_attach(file, path, sizeof(path));

	if (ok)
		loop_detach(path);
	close(fd);
	unlink(file);
	return ok;
}

static int set_up(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	alarm(HANG_GUARD_S);
	fake_init();
	e->medium = *state;
	direct_unit = e->medium->unit;
	e->log = (struct vhx_log){ count_errors, e, VHX_LOG_DEBUG };
	snprintf(e->file, sizeof(e->file), "%s/vhx-blk-XXXXXX", e->medium->dir);
	e->fd = mkstemp(e->file);
	assert_true(e->fd >= 0);
	image_fill(e->fd);
	memcpy(e->path, e->file, sizeof(e->path));
	if (e->medium->loop)
		assert_true(loop_attach(e->file, e->path, sizeof(e->path)));
	assert_int_equal(vhx_loop_new(0, &e->loop), 0);
	env_open(e);
	*state = e;
	return 0;
}

static int tear_down(void **state)
{
	struct env *e = *state;

	fail_fdatasync = fail_fallocate = fail_dsync = refuse_io_uring = 0;
	short_to = 0;
	if (e->dev)
		e->dev->ops->close(e->dev);
	assert_int_equal(fake.in_flight, 0);
	vhx_loop_free(e->loop);
	if (e->medium->loop)
		loop_detach(e->path);
	close(e->fd);
	unlink(e->file);
	free(e);
	alarm(0);
	return 0;
}

static struct fake_request *request_new(struct env *e, uint32_t type, uint64_t sector,
					const void *payload, uint32_t payload_len, uint32_t in_len)
{
	struct virtio_blk_outhdr hdr = { vhx_le32_of(type), vhx_le32_of(0), vhx_le64_of(sector) };
	uint8_t *out = malloc(sizeof(hdr) + payload_len);
	struct fake_request *r;

	assert_non_null(out);
	memcpy(out, &hdr, sizeof(hdr));
	if (payload_len)
		memcpy(out + sizeof(hdr), payload, payload_len);
	r = fake_request_new(e->dev, &e->queue, out, (uint32_t)sizeof(hdr) + payload_len, in_len);
	free(out);
	return r;
}

static uint8_t status_of(const struct fake_request *r)
{
	assert_true(r->completed);
	assert_true(r->sent[r->req.in_len - 1]);
	return r->answer[r->req.in_len - 1];
}

/* Submits, waits, frees. Returns the status. */
static uint8_t run(struct fake_request *r)
{
	uint8_t status;

	fake_submit(r);
	fake_wait(r);
	status = status_of(r);
	fake_request_free(r);
	return status;
}

static uint8_t do_write(struct env *e, uint64_t sector, uint32_t len, unsigned int seed)
{
	uint8_t *buf = malloc(len);
	struct fake_request *r;

	assert_non_null(buf);
	pattern_fill(buf, sector * VIRTIO_BLK_SECTOR, len, seed);
	r = request_new(e, VIRTIO_BLK_T_OUT, sector, buf, len, 1);
	free(buf);
	return run(r);
}

static uint8_t do_simple(struct env *e, uint32_t type)
{
	return run(request_new(e, type, 0, NULL, 0, 1));
}

static void assert_pattern(const uint8_t *buf, uint64_t at, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (buf[i] != pattern(at + i, seed))
			fail_msg("byte %zu of %zu is 0x%02x", i, len, buf[i]);
	}
}

/* Reads through the device and compares. Returns the number of pieces sent in place. */
static unsigned int check_read(struct env *e, uint64_t sector, uint32_t len, unsigned int seed)
{
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_IN, sector, NULL, 0, len + 1);
	unsigned int commits;

	fake_submit(r);
	fake_wait(r);
	assert_int_equal(status_of(r), VIRTIO_BLK_S_OK);
	assert_int_equal(r->used_len, len + 1);
	assert_pattern(r->answer, sector * VIRTIO_BLK_SECTOR, len, seed);
	commits = r->commits;
	fake_request_free(r);
	return commits;
}

static void drop_cache(struct env *e)
{
	assert_int_equal(fsync(e->fd), 0);
	assert_int_equal(posix_fadvise(e->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

/*
 * Reads and writes
 */

static void test_write_then_read_back(void **state)
{
	static const uint32_t lens[] = { 512, 1024, 4096, 8192, 12288 + 512, 65536, 1016 * 1024 };
	struct env *e = *state;
	uint64_t sector = 8;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		if (lens[i] % e->unit)
			continue;
		assert_int_equal(do_write(e, sector, lens[i], 0x55), VIRTIO_BLK_S_OK);
		check_read(e, sector, lens[i], 0x55);
		sector += lens[i] / VIRTIO_BLK_SECTOR / 8 * 8 + 8;
	}
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
	check_read(e, 0, 4096, 0);
	assert_int_equal(e->errors_logged, 0);
}

static void test_first_and_last_sector(void **state)
{
	struct env *e = *state;
	uint32_t sectors = e->unit / VIRTIO_BLK_SECTOR;

	assert_int_equal(do_write(e, 0, e->unit, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(do_write(e, SECTORS - sectors, e->unit, 2), VIRTIO_BLK_S_OK);
	check_read(e, 0, e->unit, 1);
	check_read(e, SECTORS - sectors, e->unit, 2);
}

static void test_uncached_read_is_staged(void **state)
{
	struct env *e = *state;

	drop_cache(e);
	check_read(e, 64, 131072, 0);
	check_read(e, 64, 131072, 0);
	drop_cache(e);
	check_read(e, 4096, e->unit, 0);
}

static void test_many_uncached_reads_at_once(void **state)
{
	struct fake_request *r[600]; /* more than there are operations */
	struct env *e = *state;
	unsigned int i;

	drop_cache(e);
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		r[i] = request_new(e, VIRTIO_BLK_T_IN, (uint64_t)i * 16, NULL, 0, 8193);
		fake.in_flight++;
		assert_int_equal(e->dev->ops->submit(e->dev, &r[i]->req), 0);
	}
	e->dev->ops->kick(e->dev);
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		fake_wait(r[i]);
		assert_int_equal(status_of(r[i]), VIRTIO_BLK_S_OK);
		assert_pattern(r[i]->answer, (uint64_t)i * 8192, 8192, 0);
		fake_request_free(r[i]);
	}
}

static void test_read_in_place_is_one_piece_with_status(void **state)
{
	assert_int_equal(check_read(*state, 8, 4096, 0), 1);
	assert_int_equal(check_read(*state, 8, 131072, 0), 1);
}

static void test_read_larger_than_a_message_goes_in_pieces(void **state)
{
	struct env *e = *state;

	fake.reserve_max = 65536 - 40;
	/* No more of them than the messages can carry whole pages: 15. */
	assert_int_equal(check_read(e, 0, 131072, 0), 3);
	assert_int_equal(check_read(e, 0, 61440, 0), 1);
	assert_int_equal(check_read(e, 8, 1016 * 1024, 0), 17);
}

static void test_read_whose_status_alone_does_not_fit(void **state)
{
	fake.reserve_max = 8192;
	check_read(*state, 0, 8192, 0);
	check_read(*state, 0, 16384, 0);
	check_read(*state, 0, 16384 + 512, 0);
}

static void test_read_without_place_is_staged(void **state)
{
	fake.reserve_max = 0;
	assert_int_equal(check_read(*state, 0, 512, 0), 0);
	assert_int_equal(check_read(*state, 3, 131072, 0), 0);
}

static void test_read_waits_for_room_and_keeps_progress(void **state)
{
	struct env *e = *state;
	int i;

	fake.reserve_max = 16384;
	check_read(e, 0, 131072, 0);
	for (i = 0; i < 8; i++) {
		fake.later = 3;
		fake.no_staging = 2;
		check_read(e, 5, 131072, 0);
		assert_int_equal(fake.later, 0);
	}
}

static void test_short_transfers_are_resumed(void **state)
{
	struct env *e = *state;
	uint32_t len = 4 * 4096;

	fake.reserve_max = 0;
	vhx_store_relaxed(&short_to, e->medium->direct ? e->unit : 1000);
	if (e->unit == VIRTIO_BLK_SECTOR)
		len += 512;
	cuts = 0;
	assert_int_equal(do_write(e, 8, len, 0x33), VIRTIO_BLK_S_OK);
	check_read(e, 8, len, 0x33);
	assert_true(vhx_load_relaxed(&cuts) >= 2 * len / 4096);
}

static void test_image_shrunk_behind_our_back(void **state)
{
	struct env *e = *state;

	assert_int_equal(ftruncate(e->fd, IMAGE_LEN / 2), 0);
	assert_int_equal(run(request_new(e, VIRTIO_BLK_T_IN, SECTORS - 8, NULL, 0, 4097)),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(e->errors_logged, 1);
	check_read(e, 0, 4096, 0);
}

static void test_errors_logged_are_limited(void **state)
{
	struct env *e = *state;
	int i;

	assert_int_equal(ftruncate(e->fd, IMAGE_LEN / 2), 0);
	for (i = 0; i < 100; i++)
		assert_int_equal(run(request_new(e, VIRTIO_BLK_T_IN, SECTORS - 8, NULL, 0, 4097)),
				 VIRTIO_BLK_S_IOERR);
	assert_true(e->errors_logged >= 1 && e->errors_logged < 100);
}

/*
 * Bad requests
 */

static void expect(struct env *e, struct fake_request *r, uint8_t status)
{
	assert_int_equal(run(r), status);
	check_read(e, 0, 4096, 0); /* and life goes on, with the image as it was */
}

static void test_request_without_room_for_a_status(void **state)
{
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_IN, 0, NULL, 0, 0);

	fake_submit(r);
	assert_true(r->completed);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
}

static void test_head_cut_short(void **state)
{
	struct env *e = *state;
	uint8_t out[15] = { 0 };
	uint32_t len;

	for (len = 0; len <= sizeof(out); len++)
		expect(e, fake_request_new(e->dev, &e->queue, out, len, 513), VIRTIO_BLK_S_IOERR);
}

static void test_type_unknown(void **state)
{
	static const uint32_t types[] = { 2, 3, 5, 10, 12, 14, 15, 0x80000000, UINT32_MAX };
	struct env *e = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++)
		expect(e, request_new(e, types[i], 0, NULL, 0, 513), VIRTIO_BLK_S_UNSUPP);
}

static void test_too_big(void **state)
{
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_IN, 0, NULL, 0, 4097);

	r->req.too_big = true;
	expect(e, r, VIRTIO_BLK_S_IOERR);
}

static void test_failed_read_counts_no_bytes(void **state)
{
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_IN, SECTORS, NULL, 0, 513);

	fake_submit(r);
	assert_int_equal(status_of(r), VIRTIO_BLK_S_IOERR);
	assert_int_equal(r->used_len, 0);
	assert_false(r->sent[0]);
	fake_request_free(r);
}

static void test_read_beyond_the_end(void **state)
{
	static const uint64_t sectors[] = { SECTORS,	SECTORS - 7,	   SECTORS + 1,
					    UINT64_MAX, UINT64_MAX - 7,	   UINT64_MAX / 512,
					    1ull << 55, (1ull << 63) / 512 };
	struct env *e = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(sectors); i++)
		expect(e, request_new(e, VIRTIO_BLK_T_IN, sectors[i], NULL, 0, 4097),
		       VIRTIO_BLK_S_IOERR);
}

static void test_write_beyond_the_end(void **state)
{
	static const uint8_t data[4096];
	struct env *e = *state;
	struct stat st;

	expect(e, request_new(e, VIRTIO_BLK_T_OUT, SECTORS - 7, data, 4096, 1), VIRTIO_BLK_S_IOERR);
	expect(e, request_new(e, VIRTIO_BLK_T_OUT, UINT64_MAX, data, 4096, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fstat(e->fd, &st), 0);
	assert_int_equal(st.st_size, IMAGE_LEN);
}

static void test_length_not_whole_sectors(void **state)
{
	static const uint32_t lens[] = { 0, 1, 511, 513, 4095 };
	static const uint8_t data[4096];
	struct env *e = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		expect(e, request_new(e, VIRTIO_BLK_T_IN, 0, NULL, 0, lens[i] + 1),
		       VIRTIO_BLK_S_IOERR);
		expect(e, request_new(e, VIRTIO_BLK_T_OUT, 0, data, lens[i], 1),
		       VIRTIO_BLK_S_IOERR);
	}
}

static void test_direct_request_not_whole_blocks(void **state)
{
	static const uint8_t data[4096];
	struct env *e = *state;

	assert_int_equal(e->unit, 4096);
	assert_int_equal(run(request_new(e, VIRTIO_BLK_T_OUT, 0, data, 512, 1)),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(request_new(e, VIRTIO_BLK_T_IN, 1, NULL, 0, e->unit + 1)),
			 VIRTIO_BLK_S_IOERR);
}

static void test_write_with_room_for_more_than_a_status(void **state)
{
	static const uint8_t data[512];
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_OUT, 100, data, 512, 9);

	fake_submit(r);
	fake_wait(r);
	assert_int_equal(status_of(r), VIRTIO_BLK_S_OK);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
}

static void test_writes_to_a_readonly_device(void **state)
{
	static const struct virtio_blk_range range = { .num_sectors = { 8 } };
	static const uint8_t data[512];
	struct env *e = *state;

	assert_true(e->dev->features & (1ull << VIRTIO_BLK_F_RO));
	assert_false(e->dev->features & (1ull << VIRTIO_BLK_F_DISCARD));
	expect(e, request_new(e, VIRTIO_BLK_T_OUT, 0, data, 512, 1), VIRTIO_BLK_S_IOERR);
	expect(e, request_new(e, VIRTIO_BLK_T_DISCARD, 0, &range, 16, 1), VIRTIO_BLK_S_IOERR);
	expect(e, request_new(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, &range, 16, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
}

/*
 * GET_ID
 */

static void test_get_id(void **state)
{
	static const uint32_t lens[] = { 0, 1, 19, 20, 21, 63 };
	struct fake_request *r;
	struct env *e = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		r = request_new(e, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, lens[i] + 1);
		fake_submit(r);
		assert_int_equal(status_of(r), VIRTIO_BLK_S_OK);
		assert_int_equal(r->used_len, lens[i] + 1);
		assert_memory_equal(r->answer, "serial-of-20-bytes!!",
				    vhx_min_u64(lens[i], VIRTIO_BLK_ID_BYTES));
		fake_request_free(r);
	}
	expect(e, request_new(e, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, 65), VIRTIO_BLK_S_IOERR);
}

/*
 * FLUSH and the write cache
 */

static void test_failed_flush_stays_failed(void **state)
{
	struct env *e = *state;

	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
	vhx_store_relaxed(&fail_fdatasync, EIO);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_IOERR);
	assert_int_equal(e->errors_logged, 1);
	/* A new driver does not make it good. */
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_IOERR);
	check_read(e, 8, 512, 1);

	/* Opening the image again does. */
	e->dev->ops->close(e->dev);
	env_open(e);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
}

/* EAGAIN is of the moment; the kernel lost nothing. */
static void test_work_that_cannot_be_done_now_is_tried_again(void **state)
{
	struct env *e = *state;

	assert_int_equal(do_write(e, 0, e->unit, 1), VIRTIO_BLK_S_OK);
	vhx_store_relaxed(&fail_fdatasync, EAGAIN);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
	assert_int_equal(e->dev->ops->set_features(e->dev, 0), 0);
	vhx_store_relaxed(&fail_dsync, EAGAIN);
	assert_int_equal(do_write(e, 0, e->unit, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&fail_dsync), 0);
	assert_int_equal(e->errors_logged, 0);
	check_read(e, 0, e->unit, 2);
}

static uint8_t do_range(struct env *e, uint32_t type, uint64_t sector, uint32_t cnt,
			uint32_t flags);

/* What the kernel says for long is an error, and not of the moment. */
static void test_work_that_can_never_be_done_fails(void **state)
{
	const struct virtio_blk_range range = { .num_sectors = { 8 } };
	struct env *e = *state;
	struct fake_request *r;

	vhx_store_relaxed(&fail_fallocate, EAGAIN);
	r = request_new(e, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), 1);
	expect(e, r, VIRTIO_BLK_S_IOERR);
	assert_int_equal(e->errors_logged, 1);
	/* A reset does not wait for that, */
	r = request_new(e, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), 1);
	fake_submit(r);
	vhx_loop_once(e->loop, 5);
	e->dev->ops->reset(e->dev, &e->queue);
	fake_wait(r);
	assert_true(r->dropped);
	assert_int_equal(e->queue.quiesced, 1);
	fake_request_free(r);
	assert_int_equal(e->errors_logged, 1);
	vhx_store_relaxed(&fail_fallocate, 0);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
	/* nor does the end. */
	vhx_store_relaxed(&fail_fdatasync, EAGAIN);
	r = request_new(e, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 1);
	fake_submit(r);
	while (vhx_load_relaxed(&fail_fdatasync))
		vhx_loop_once(e->loop, 1);
	vhx_loop_once(e->loop, 5);
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	assert_true(r->dropped);
	fake_request_free(r);
}

static int set_writeback(struct env *e, uint8_t value)
{
	return e->dev->ops->set_config(e->dev, offsetof(struct virtio_blk_config, writeback),
				       &value, 1);
}

static void test_write_cache_follows_writeback(void **state)
{
	struct env *e = *state;

	dsync_seen = 0;
	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&dsync_seen), 0);
	assert_int_equal(set_writeback(e, 0), 0);
	assert_int_equal(config(e->dev).writeback, 0);
	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&dsync_seen), 1);
	assert_int_equal(set_writeback(e, 1), 0);
	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&dsync_seen), 1);
	/* A reset turns it on again. */
	assert_int_equal(set_writeback(e, 0), 0);
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
	assert_int_equal(config(e->dev).writeback, 1);
}

static void test_write_cache_is_off_for_a_driver_without_flush(void **state)
{
	struct env *e = *state;

	assert_int_equal(e->dev->ops->set_features(e->dev, 0), 0);
	dsync_seen = 0;
	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&dsync_seen), 1);
	assert_int_equal(e->dev->ops->set_features(e->dev, 1ull << VIRTIO_BLK_F_FLUSH), 0);
	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&dsync_seen), 1);
}

/* 5.2.5.2: it may switch a cache on, and does not have one before that. */
static void test_write_cache_is_off_at_first_for_a_driver_that_cannot_flush(void **state)
{
	struct env *e = *state;
	uint64_t features = e->dev->features & ~(1ull << VIRTIO_BLK_F_FLUSH);

	dsync_seen = 0;
	assert_int_equal(e->dev->ops->set_features(e->dev, features), 0);
	assert_int_equal(config(e->dev).writeback, 0);
	assert_int_equal(do_write(e, 0, e->unit, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(dsync_seen, 1);
	assert_int_equal(set_writeback(e, 1), 0);
	assert_int_equal(do_write(e, 0, e->unit, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(dsync_seen, 1);
}

static void test_config_write_refused(void **state)
{
	const uint8_t two = 2, zeroes[8] = { 0 };
	struct env *e = *state;

	assert_int_equal(e->dev->ops->set_config(e->dev, 0, zeroes, 8), -EINVAL);
	assert_int_equal(e->dev->ops->set_config(e->dev, 32, zeroes, 2), -EINVAL);
	assert_int_equal(e->dev->ops->set_config(e->dev, 31, zeroes, 1), -EINVAL);
	assert_int_equal(e->dev->ops->set_config(e->dev, 32, &two, 1), -EINVAL);
	assert_int_equal(e->dev->ops->set_features(e->dev, 1ull << VIRTIO_BLK_F_FLUSH), 0);
	assert_int_equal(set_writeback(e, 0), -EINVAL);
	assert_int_equal(config(e->dev).writeback, 1);
}

/*
 * DISCARD and WRITE_ZEROES
 */

static uint8_t do_range(struct env *e, uint32_t type, uint64_t sector, uint32_t cnt, uint32_t flags)
{
	struct virtio_blk_range range = { vhx_le64_of(sector), vhx_le32_of(cnt),
					  vhx_le32_of(flags) };

	return run(request_new(e, type, 0, &range, sizeof(range), 1));
}

static void check_zeroes(struct env *e, uint64_t sector, uint32_t cnt)
{
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_IN, sector, NULL, 0,
					     cnt * VIRTIO_BLK_SECTOR + 1);
	uint32_t i;

	fake_submit(r);
	fake_wait(r);
	assert_int_equal(status_of(r), VIRTIO_BLK_S_OK);
	for (i = 0; i < cnt * VIRTIO_BLK_SECTOR; i++)
		assert_int_equal(r->answer[i], 0);
	fake_request_free(r);
}

static void check_around(struct env *e, uint64_t sector, uint32_t cnt)
{
	uint32_t sectors = e->unit / VIRTIO_BLK_SECTOR;

	check_zeroes(e, sector, cnt);
	check_read(e, sector - sectors, e->unit, 0);
	check_read(e, sector + cnt, e->unit, 0);
}

static void test_discard_punches_a_hole(void **state)
{
	struct stat before, after;
	struct env *e = *state;

	assert_int_equal(fstat(e->fd, &before), 0);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_DISCARD, 2048, 1024, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(fstat(e->fd, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(after.st_size, IMAGE_LEN);
	check_around(e, 2048, 1024);
}

static void test_discard_of_several_ranges(void **state)
{
	struct virtio_blk_range ranges[16] = { 0 };
	struct env *e = *state;
	size_t i;

	for (i = 0; i < 16; i++) {
		ranges[i].sector = vhx_le64_of(64 + i * 32);
		ranges[i].num_sectors = vhx_le32_of(i == 7 ? 0 : 16);
	}
	assert_int_equal(run(request_new(e, VIRTIO_BLK_T_DISCARD, 0, ranges, sizeof(ranges), 1)),
			 VIRTIO_BLK_S_OK);
	for (i = 0; i < 16; i++) {
		if (i == 7)
			check_read(e, 64 + i * 32, 8192, 0);
		else
			check_around(e, 64 + i * 32, 16);
	}
}

static void test_write_zeroes_with_and_without_unmap(void **state)
{
	struct stat before, after;
	struct env *e = *state;

	assert_int_equal(fstat(e->fd, &before), 0);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
	check_around(e, 8, 8);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 2048, 1024, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(fstat(e->fd, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	check_around(e, 2048, 1024);
}

static void test_write_zeroes_where_fallocate_is_not_supported(void **state)
{
	uint32_t odd = 0;
	struct env *e = *state;

	if (e->unit == VIRTIO_BLK_SECTOR)
		odd = 3;
	vhx_store_relaxed(&fail_fallocate, EOPNOTSUPP);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8 + odd, 1600 + odd, 0),
			 VIRTIO_BLK_S_OK);
	check_around(e, 8 + odd, 1600 + odd);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 4096, 8, 1), VIRTIO_BLK_S_OK);
	check_around(e, 4096, 8);
	/* A discard is advice. */
	assert_int_equal(do_range(e, VIRTIO_BLK_T_DISCARD, 8192, 8, 0), VIRTIO_BLK_S_OK);
	check_read(e, 8192, 4096, 0);
	assert_int_equal(e->errors_logged, 0);
}

static void test_write_zeroes_that_fails(void **state)
{
	struct env *e = *state;

	vhx_store_relaxed(&fail_fallocate, ENOSPC);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(e->errors_logged, 1);
}

static void test_write_zeroes_without_cache_is_synced(void **state)
{
	struct env *e = *state;

	assert_int_equal(set_writeback(e, 0), 0);
	fsyncs_seen = 0;
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(vhx_load_relaxed(&fsyncs_seen), 1);
}

static void test_range_payload_malformed(void **state)
{
	static const struct virtio_blk_range ranges[17];
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	struct env *e = *state;
	size_t i;

	for (i = 0; i < 2; i++) {
		expect(e, request_new(e, types[i], 0, NULL, 0, 1), VIRTIO_BLK_S_IOERR);
		expect(e, request_new(e, types[i], 0, ranges, 15, 1), VIRTIO_BLK_S_IOERR);
		expect(e, request_new(e, types[i], 0, ranges, 17, 1), VIRTIO_BLK_S_IOERR);
		expect(e, request_new(e, types[i], 0, ranges, sizeof(ranges), 1),
		       VIRTIO_BLK_S_IOERR);
	}
	expect(e, request_new(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges, 32, 1), VIRTIO_BLK_S_IOERR);
}

static void test_range_out_of_bounds(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	struct env *e = *state;
	size_t i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(do_range(e, types[i], SECTORS, 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(e, types[i], SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(e, types[i], UINT64_MAX, 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(e, types[i], 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	}
	check_read(e, SECTORS - 8, 4096, 0);
}

static void test_range_flags_unknown(void **state)
{
	struct env *e = *state;

	assert_int_equal(do_range(e, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_DISCARD, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 1u << 31),
			 VIRTIO_BLK_S_UNSUPP);
	check_read(e, 0, 4096, 0);
}

static void test_one_bad_range_of_many_changes_nothing(void **state)
{
	struct virtio_blk_range ranges[2] = { { .num_sectors = vhx_le32_of(8) },
					      { .num_sectors = vhx_le32_of(8),
						.sector = vhx_le64_of(SECTORS) } };
	struct env *e = *state;

	expect(e, request_new(e, VIRTIO_BLK_T_DISCARD, 0, ranges, sizeof(ranges), 1),
	       VIRTIO_BLK_S_IOERR);
}

static void test_range_not_negotiated(void **state)
{
	struct env *e = *state;

	assert_int_equal(e->dev->ops->set_features(e->dev, 0), 0);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(do_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	check_read(e, 0, 4096, 0);
}

/*
 * Features, limits, resize
 */

static void test_features_not_offered(void **state)
{
	struct env *e = *state;

	assert_int_equal(e->dev->ops->set_features(e->dev, 1ull << VIRTIO_BLK_F_RO), -EINVAL);
	/* Bits 24-49 are not the device's to judge. */
	assert_int_equal(e->dev->ops->set_features(e->dev, 1ull << 32), 0);
}

static void test_limits_keep_a_stock_driver_within_max_request(void **state)
{
	static const struct {
		uint32_t max_request;
		uint16_t queue_size;
	} cases[] = { { 0, 0 },		{ 4096, 4 },	{ 4096, 1024 }, { 65536, 128 },
		      { 4194304, 256 }, { 1048576, 4 }, { 100000, 64 } };
	struct env *e = *state;
	uint64_t seg_max, size_max;
	struct vhx_device *dev;
	struct vhx_error err;
	size_t i;

	e->dev->ops->close(e->dev);
	e->dev = NULL;
	for (i = 0; i < VHX_ARRAY_SIZE(cases); i++) {
		const struct vhx_blk_config c = { .id = "d",
						  .path = e->path,
						  .fd = -1,
						  .max_request = cases[i].max_request,
						  .queue_size = cases[i].queue_size };
		struct virtio_blk_config bc;

		assert_int_equal(vhx_blk_new(e->loop, &c, &e->log, &dev, &err), 0);
		bc = config(dev);
		seg_max = vhx_le32_get(bc.seg_max);
		size_max = vhx_le32_get(bc.size_max);
		assert_true(seg_max >= 1 && size_max >= 4096 && size_max % 4096 == 0);
		assert_true(seg_max + 2 <= dev->queue_size_max);
		assert_true(seg_max * size_max <= dev->max_in - 1);
		assert_true(seg_max * size_max <= dev->max_out - 16);
		assert_int_equal(dev->num_queues, 1);
		assert_false(dev->features & (1ull << VIRTIO_BLK_F_MQ));
		dev->ops->close(dev);
	}
}

static void test_configuration_refused(void **state)
{
	const struct vhx_blk_config bad[] = {
		{ .id = "disk0", .fd = -1 },
		{ .id = "disk0", .fd = -1, .path = "x", .num_queues = 65 },
		{ .id = "disk0", .fd = -1, .path = "x", .queue_size = 3 },
		{ .id = "disk0", .fd = -1, .path = "x", .queue_size = 2 },
		{ .id = "disk0", .fd = -1, .path = "x", .queue_size = 2048 },
		{ .id = "disk0", .fd = -1, .path = "x", .max_request = 4095 },
		{ .id = "disk0", .fd = -1, .path = "x", .max_request = 4194305 },
		{ .id = "disk0", .fd = -1, .path = "x", .serial = "123456789012345678901" },
	};
	struct env *e = *state;
	struct vhx_device *dev;
	struct vhx_error err;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++) {
		assert_int_equal(vhx_blk_new(e->loop, &bad[i], NULL, &dev, &err), -EINVAL);
		assert_memory_equal(err.text, "disk0: ", 7);
	}
}

static void test_image_refused_with_its_name(void **state)
{
	const struct vhx_blk_config c = { .id = "disk0", .fd = -1, .path = "no-such-image" };
	struct env *e = *state;
	struct vhx_device *dev;
	struct vhx_error err;

	assert_int_equal(vhx_blk_new(e->loop, &c, NULL, &dev, &err), -ENOENT);
	assert_string_equal(err.text, "disk0: image no-such-image: No such file or directory");
}

static void wait_for_capacity(struct env *e, uint64_t sectors)
{
	while (vhx_le64_get(config(e->dev).capacity) != sectors)
		assert_int_equal(vhx_loop_once(e->loop, -1), 0);
}

static void test_resize_is_noticed_and_announced(void **state)
{
	struct env *e = *state;

	assert_int_equal(ftruncate(e->fd, 2 * IMAGE_LEN), 0);
	wait_for_capacity(e, 2 * SECTORS);
	assert_int_equal(fake.config_changes, 1);
	assert_int_equal(do_write(e, 2 * SECTORS - 8, 4096, 9), VIRTIO_BLK_S_OK);

	/* What is left of an odd size is not announced. */
	assert_int_equal(ftruncate(e->fd, IMAGE_LEN + 100), 0);
	wait_for_capacity(e, SECTORS);
	assert_int_equal(fake.config_changes, 2);
	assert_int_equal(do_write(e, SECTORS, 4096, 9), VIRTIO_BLK_S_IOERR);
}

/*
 * Reset, close, memory
 */

static void test_reset_of_an_idle_queue(void **state)
{
	struct env *e = *state;

	e->dev->ops->reset(e->dev, &e->queue);
	assert_int_equal(e->queue.quiesced, 1);
	check_read(e, 0, 4096, 0);
}

static void test_reset_with_io_in_flight(void **state)
{
	struct fake_request *r[400];
	struct vhx_queue other = { 0 };
	struct env *e = *state;
	unsigned int i;

	fake.reserve_max = 0;
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		r[i] = request_new(e, VIRTIO_BLK_T_IN, (uint64_t)i * 8, NULL, 0, 4097);
		if (i % 4 == 0)
			r[i]->req.queue = &other;
		fake.in_flight++;
		assert_int_equal(e->dev->ops->submit(e->dev, &r[i]->req), 0);
	}
	/* No kick: the reset itself must see to it that what was gathered ends. */
	e->dev->ops->reset(e->dev, &e->queue);
	while (!e->queue.quiesced)
		assert_int_equal(vhx_loop_once(e->loop, -1), 0);
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		if (i % 4)
			assert_true(r[i]->dropped);
	}
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		fake_wait(r[i]);
		if (i % 4 == 0)
			assert_int_equal(status_of(r[i]), VIRTIO_BLK_S_OK);
		fake_request_free(r[i]);
	}
	assert_int_equal(e->queue.quiesced, 1);
	assert_int_equal(other.quiesced, 0);
	check_read(e, 0, 4096, 0);
}

static void test_reset_stops_zeroing_between_two_writes(void **state)
{
	const struct virtio_blk_range range = { .num_sectors = { SECTORS } };
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, &range, sizeof(range),
					     1);

	vhx_store_relaxed(&fail_fallocate, EOPNOTSUPP);
	fake_submit(r);
	e->dev->ops->reset(e->dev, &e->queue);
	assert_int_equal(e->queue.quiesced, 0);
	fake_wait(r);
	assert_true(r->dropped);
	assert_int_equal(e->queue.quiesced, 1);
	fake_request_free(r);
	check_read(e, SECTORS - 8, 4096, 0);
}

/* Resets the queue of @r, of which a system call is in flight, and sees @r dropped. */
static void reset_under(struct env *e, struct fake_request *r)
{
	e->dev->ops->reset(e->dev, &e->queue);
	assert_int_equal(e->queue.quiesced, 0);
	pthread_mutex_unlock(&fdatasync_gate);
	fake_wait(r);
	assert_true(r->dropped);
	assert_int_equal(e->queue.quiesced, 1);
	fake_request_free(r);
}

static void assert_flush_failed(struct env *e)
{
	assert_int_equal(e->errors_logged, 1);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_IOERR);
	/* A new driver does not make it good. */
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
	assert_int_equal(do_simple(e, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_IOERR);
	assert_int_equal(e->errors_logged, 1);
}

static void test_flush_that_fails_under_a_reset_stays_failed(void **state)
{
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 1);

	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	vhx_store_relaxed(&fail_fdatasync, EIO);
	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	reset_under(e, r);
	assert_flush_failed(e);
}

static void test_synchronous_write_that_fails_under_a_reset_fails_flushes(void **state)
{
	static const uint8_t data[4096];
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_OUT, 8, data, sizeof(data), 1);

	assert_int_equal(set_writeback(e, 0), 0);
	vhx_store_relaxed(&fail_dsync, EIO);
	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	reset_under(e, r);
	assert_int_equal(vhx_load_relaxed(&fail_dsync), 0);
	assert_flush_failed(e);
}

/* The range is done, and the reset meets the fdatasync behind it. */
static void test_sync_of_a_range_that_fails_under_a_reset_fails_flushes(void **state)
{
	const struct virtio_blk_range range = { .num_sectors = { 8 } };
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_WRITE_ZEROES, 0, &range, sizeof(range),
					     1);

	assert_int_equal(set_writeback(e, 0), 0);
	vhx_store_relaxed(&fail_fdatasync, EIO);
	vhx_store_relaxed(&fsyncs_seen, 0);
	pthread_mutex_lock(&fdatasync_gate);
	fake_submit(r);
	while (!vhx_load_relaxed(&fsyncs_seen))
		assert_int_equal(vhx_loop_once(e->loop, 1), 0);
	reset_under(e, r);
	assert_flush_failed(e);
}

/* Submits flushes of which the first one is held in the kernel, and lets go. */
static void flush_side_by_side(struct env *e, struct fake_request **r, unsigned int cnt)
{
	unsigned int i;

	vhx_store_relaxed(&fsyncs_seen, 0);
	pthread_mutex_lock(&fdatasync_gate);
	for (i = 0; i < cnt; i++) {
		r[i] = request_new(e, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 1);
		fake_submit(r[i]);
	}
	while (!vhx_load_relaxed(&fsyncs_seen))
		assert_int_equal(vhx_loop_once(e->loop, 1), 0);
	/* Time for others to begin, if any would. */
	for (i = 0; i < 20; i++)
		assert_int_equal(vhx_loop_once(e->loop, 1), 0);
	assert_int_equal(vhx_load_relaxed(&fsyncs_seen), 1);
	pthread_mutex_unlock(&fdatasync_gate);
	for (i = 0; i < cnt; i++)
		fake_wait(r[i]);
}

/* Of two fdatasyncs at once one takes the error and the other, perhaps the first to end, hears of nothing. */
static void test_flush_beside_one_that_fails_is_not_answered_ok(void **state)
{
	struct env *e = *state;
	struct fake_request *r[2];
	unsigned int i;

	assert_int_equal(do_write(e, 8, 512, 1), VIRTIO_BLK_S_OK);
	vhx_store_relaxed(&fail_fdatasync, EIO);
	flush_side_by_side(e, r, 2);
	for (i = 0; i < 2; i++) {
		assert_int_equal(r[i]->answer[0], VIRTIO_BLK_S_IOERR);
		fake_request_free(r[i]);
	}
}

static void test_flushes_that_wait_share_one_sync(void **state)
{
	struct env *e = *state;
	struct fake_request *r[6];
	unsigned int i;

	flush_side_by_side(e, r, 6);
	assert_int_equal(vhx_load_relaxed(&fsyncs_seen), 2);
	for (i = 0; i < 6; i++) {
		assert_int_equal(r[i]->answer[0], VIRTIO_BLK_S_OK);
		fake_request_free(r[i]);
	}
}

/* Nobody asks this device again, but the operator is told. */
static void test_flush_that_fails_under_a_close_is_logged(void **state)
{
	struct env *e = *state;
	struct fake_request *r = request_new(e, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 1);

	vhx_store_relaxed(&fail_fdatasync, EIO);
	fake_submit(r);
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	assert_true(r->dropped);
	assert_int_equal(e->errors_logged, 1);
	fake_request_free(r);
}

static void test_close_with_io_in_flight(void **state)
{
	struct fake_request *r[400];
	struct env *e = *state;
	unsigned int i;

	fake.reserve_max = 0;
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		r[i] = request_new(e, VIRTIO_BLK_T_IN, (uint64_t)i * 8, NULL, 0, 4097);
		fake.in_flight++;
		assert_int_equal(e->dev->ops->submit(e->dev, &r[i]->req), 0);
	}
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		assert_true(r[i]->dropped);
		fake_request_free(r[i]);
	}
}

static void test_no_allocation_on_the_data_path(void **state)
{
	static const uint8_t data[65536];
	struct env *e = *state;
	struct fake_request *r[4];
	unsigned int i, before = 0;

	r[0] = request_new(e, VIRTIO_BLK_T_IN, 0, NULL, 0, 65537);
	r[1] = request_new(e, VIRTIO_BLK_T_OUT, 256, data, sizeof(data), 1);
	r[2] = request_new(e, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 1);
	r[3] = request_new(e, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, 21);
	for (i = 0; i < 40; i++) {
		if (i == 4)
			before = vhx_load_relaxed(&allocations);
		fake.reserve_max = i % 8 < 4 ? UINT32_MAX : 0;
		fake_request_rearm(r[i % 4]);
		fake_submit(r[i % 4]);
		fake_wait(r[i % 4]);
		assert_int_equal(status_of(r[i % 4]), VIRTIO_BLK_S_OK);
	}
	assert_int_equal(vhx_load_relaxed(&allocations), before);
	for (i = 0; i < 4; i++)
		fake_request_free(r[i]);
}

int __real_io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags);
int __wrap_io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags);

int __wrap_io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
{
	if (refuse_io_uring)
		return -refuse_io_uring;
	return __real_io_uring_queue_init(entries, ring, flags);
}

static void test_threads_serve_where_io_uring_is_refused(void **state)
{
	static const int refusals[] = { EPERM, ENOSYS };
	struct vhx_io *io;
	struct env *e = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(refusals); i++) {
		refuse_io_uring = refusals[i];
		assert_int_equal(vhx_io_new(e->loop, VHX_IO_URING, 8, &io), -refusals[i]);
		assert_int_equal(vhx_io_new(e->loop, VHX_IO_AUTO, 8, &io), 0);
		assert_string_equal(vhx_io_name(io), "threads");
		vhx_io_free(io);
		e->dev->ops->close(e->dev);
		env_open(e);
		drop_cache(e);
		check_read(e, 0, 131072, 0);
	}
	refuse_io_uring = 0;
}

/* A second device on the same image, which waits for it. */
static struct vhx_device *handover_open(struct env *e)
{
	struct vhx_blk_config c = {
		.id = "disk1", .path = e->path, .fd = -1, .handover = true, .io = e->medium->io
	};
	struct vhx_error err = { "" };
	struct vhx_device *dev = NULL;

	if (vhx_blk_new(e->loop, &c, &e->log, &dev, &err) < 0)
		fail_msg("%s", err.text);
	dev->backend = (struct vhx_backend_device *)e;
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
	return dev;
}

static struct fake_request *read_of(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct virtio_blk_outhdr hdr = { vhx_le32_of(VIRTIO_BLK_T_IN) };

	return fake_request_new(dev, queue, &hdr, sizeof(hdr), 4097);
}

/* Long enough for a dozen tries. */
static void loop_for_a_while(struct env *e)
{
	uint64_t end = vhx_loop_clock() + 150000000;

	while (vhx_loop_clock() < end)
		assert_int_equal(vhx_loop_once(e->loop, 10), 0);
}

static void test_handover_waits_until_the_image_is_given_back(void **state)
{
	struct vhx_queue queue = { 0 }, other = { .index = 1 };
	struct fake_request *first, *second;
	struct vhx_device *dev;
	struct env *e = *state;

	dev = handover_open(e);
	first = read_of(dev, &queue);
	second = read_of(dev, &other);
	fake_submit(first);
	fake_submit(second);
	loop_for_a_while(e);
	assert_false(first->completed);
	/* Its owner ends: a write of it is what the next one reads. */
	assert_int_equal(do_write(e, 0, 4096, 7), VIRTIO_BLK_S_OK);
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	fake_wait(first);
	fake_wait(second);
	assert_int_equal(status_of(first), VIRTIO_BLK_S_OK);
	assert_pattern(first->answer, 0, 4096, 7);
	fake_request_free(first);
	fake_request_free(second);
	dev->ops->close(dev);
}

static void test_handover_gives_back_with_the_last_queue(void **state)
{
	struct vhx_queue queue = { 0 }, other = { .index = 1 }, theirs = { 0 };
	struct fake_request *r[3];
	struct vhx_device *a, *b;
	struct env *e = *state;

	e->dev->ops->close(e->dev);
	e->dev = NULL;
	a = handover_open(e);
	b = handover_open(e);
	r[0] = read_of(a, &queue);
	r[1] = read_of(a, &other);
	r[2] = read_of(b, &theirs);
	fake_submit(r[0]);
	fake_submit(r[1]);
	fake_submit(r[2]);
	fake_wait(r[0]);
	fake_wait(r[1]);
	a->ops->reset(a, &queue);
	loop_for_a_while(e);
	assert_false(r[2]->completed);
	a->ops->reset(a, &other);
	assert_int_equal(queue.quiesced + other.quiesced, 2);
	fake_wait(r[2]);
	assert_int_equal(status_of(r[2]), VIRTIO_BLK_S_OK);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	fake_request_free(r[2]);
	a->ops->close(a);
	b->ops->close(b);
}

static void test_handover_drops_what_waits_under_a_reset(void **state)
{
	struct vhx_queue queue = { 0 };
	struct vhx_device *dev;
	struct fake_request *r;
	struct env *e = *state;

	dev = handover_open(e);
	r = read_of(dev, &queue);
	fake_submit(r);
	dev->ops->reset(dev, &queue);
	assert_true(r->dropped);
	assert_int_equal(queue.quiesced, 1);
	fake_request_free(r);
	/* And does not take the image for nobody. */
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	loop_for_a_while(e);
	env_open(e);
	dev->ops->close(dev);
}

/* Who had the image leaves it, and what waited for that in @queue is refused room. */
static void image_give_up(struct env *e, const struct vhx_queue *queue)
{
	fake.later = 1;
	fake.no_staging = 1;
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	while (!queue->room_wanted)
		assert_int_equal(vhx_loop_once(e->loop, -1), 0);
}

/* Refused room while it works off what waited: the rest comes with the room, in order. */
static void test_handover_waits_for_room(void **state)
{
	struct vhx_queue queue = { 0 };
	struct fake_request *r[2];
	struct vhx_device *dev;
	struct env *e = *state;

	dev = handover_open(e);
	r[0] = read_of(dev, &queue);
	r[1] = read_of(dev, &queue);
	fake_submit(r[0]);
	fake_submit(r[1]);
	image_give_up(e, &queue);
	assert_false(r[0]->completed || r[1]->completed);
	fake.later = 0;
	fake.no_staging = 0;
	fake_room(dev, &queue);
	fake_wait(r[0]);
	fake_wait(r[1]);
	assert_int_equal(status_of(r[0]), VIRTIO_BLK_S_OK);
	assert_true(r[0]->order < r[1]->order);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	dev->ops->close(dev);
}

/* The first of those that wait goes with its queue, and with it the only one who would be told of room. */
static void test_handover_goes_on_when_the_refused_request_is_reset(void **state)
{
	struct vhx_queue queue = { 0 }, other = { .index = 1 };
	struct fake_request *r[2];
	struct vhx_device *dev;
	struct env *e = *state;

	dev = handover_open(e);
	r[0] = read_of(dev, &queue);
	r[1] = read_of(dev, &other);
	fake_submit(r[0]);
	fake_submit(r[1]);
	image_give_up(e, &queue);
	fake.later = 0;
	fake.no_staging = 0;
	dev->ops->reset(dev, &queue);
	assert_true(r[0]->dropped);
	loop_for_a_while(e);
	assert_true(r[1]->completed);
	assert_int_equal(status_of(r[1]), VIRTIO_BLK_S_OK);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	dev->ops->close(dev);
}

static void test_memory_is_accounted(void **state)
{
	struct env *e = *state;

	assert_true(e->dev->memory > 16384 && e->dev->memory < 2 * 1024 * 1024);
}

#define ON(medium, f)                                                                   \
	{                                                                               \
#f " on " #medium, f, set_up, tear_down, (void *)(uintptr_t) & (medium) \
	}

#define ON_CACHED(f) ON(shm, f), ON(disk_uring, f), ON(disk_threads, f)
#define ON_ALL(f) ON_CACHED(f), ON(disk_direct, f), ON(disk_direct_threads, f)
#define ON_THREADS(f) ON(disk_threads, f), ON(disk_direct_threads, f)

static bool is_tmpfs(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && fs.f_type == TMPFS_MAGIC && access(dir, W_OK) == 0;
}

/* Changes to the first directory that is a disk's, for the media there; false: there is none. */
static bool disk_enter(void)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL(test_write_then_read_back),
		ON_ALL(test_first_and_last_sector),
		ON_ALL(test_uncached_read_is_staged),
		ON_ALL(test_many_uncached_reads_at_once),
		ON_CACHED(test_read_in_place_is_one_piece_with_status),
		ON_CACHED(test_read_larger_than_a_message_goes_in_pieces),
		ON_CACHED(test_read_whose_status_alone_does_not_fit),
		ON_CACHED(test_read_without_place_is_staged),
		ON_CACHED(test_read_waits_for_room_and_keeps_progress),
		ON_THREADS(test_short_transfers_are_resumed),
		ON_CACHED(test_image_shrunk_behind_our_back),
		ON(disk_uring, test_errors_logged_are_limited),
		ON_CACHED(test_request_without_room_for_a_status),
		ON_CACHED(test_head_cut_short),
		ON_CACHED(test_type_unknown),
		ON_CACHED(test_too_big),
		ON_CACHED(test_failed_read_counts_no_bytes),
		ON_ALL(test_read_beyond_the_end),
		ON_ALL(test_write_beyond_the_end),
		ON_ALL(test_length_not_whole_sectors),
		ON(disk_direct, test_direct_request_not_whole_blocks),
		ON_CACHED(test_write_with_room_for_more_than_a_status),
		ON(disk_readonly, test_writes_to_a_readonly_device),
		ON(disk_readonly, test_uncached_read_is_staged),
		ON_CACHED(test_get_id),
		ON_THREADS(test_failed_flush_stays_failed),
		ON_THREADS(test_work_that_cannot_be_done_now_is_tried_again),
		ON_THREADS(test_work_that_can_never_be_done_fails),
		ON(disk_threads, test_write_cache_follows_writeback),
		ON(disk_threads, test_write_cache_is_off_for_a_driver_without_flush),
		ON(disk_threads, test_write_cache_is_off_at_first_for_a_driver_that_cannot_flush),
		ON(disk_uring, test_config_write_refused),
		ON_ALL(test_discard_punches_a_hole),
		ON_CACHED(test_discard_of_several_ranges),
		ON_ALL(test_write_zeroes_with_and_without_unmap),
		ON_THREADS(test_write_zeroes_where_fallocate_is_not_supported),
		ON(disk_threads, test_write_zeroes_that_fails),
		ON(disk_threads, test_write_zeroes_without_cache_is_synced),
		ON_CACHED(test_range_payload_malformed),
		ON_CACHED(test_range_out_of_bounds),
		ON_CACHED(test_range_flags_unknown),
		ON_CACHED(test_one_bad_range_of_many_changes_nothing),
		ON_CACHED(test_range_not_negotiated),
		ON(disk_uring, test_features_not_offered),
		ON(disk_uring, test_limits_keep_a_stock_driver_within_max_request),
		ON(disk_uring, test_configuration_refused),
		ON(disk_uring, test_image_refused_with_its_name),
		ON(disk_uring, test_resize_is_noticed_and_announced),
		ON_ALL(test_reset_of_an_idle_queue),
		ON_ALL(test_reset_with_io_in_flight),
		ON(disk_threads, test_reset_stops_zeroing_between_two_writes),
		ON_THREADS(test_flush_that_fails_under_a_reset_stays_failed),
		ON_THREADS(test_flush_beside_one_that_fails_is_not_answered_ok),
		ON_THREADS(test_flushes_that_wait_share_one_sync),
		ON_THREADS(test_synchronous_write_that_fails_under_a_reset_fails_flushes),
		ON_THREADS(test_sync_of_a_range_that_fails_under_a_reset_fails_flushes),
		ON_THREADS(test_flush_that_fails_under_a_close_is_logged),
		ON_ALL(test_close_with_io_in_flight),
		ON_ALL(test_no_allocation_on_the_data_path),
		ON(disk_uring, test_threads_serve_where_io_uring_is_refused),
		ON(disk_uring, test_handover_waits_until_the_image_is_given_back),
		ON(disk_threads, test_handover_waits_until_the_image_is_given_back),
		ON(disk_uring, test_handover_gives_back_with_the_last_queue),
		ON(disk_uring, test_handover_drops_what_waits_under_a_reset),
		ON(shm, test_handover_waits_for_room),
		ON(shm, test_handover_goes_on_when_the_refused_request_is_reset),
		ON(disk_uring, test_memory_is_accounted),
		ON(disk_threads, test_memory_is_accounted),
	};

	const struct CMUnitTest block_dev_tests[] = {
		ON(block_dev, test_write_then_read_back),
		ON(block_dev, test_first_and_last_sector),
		ON(block_dev, test_uncached_read_is_staged),
		ON(block_dev, test_write_beyond_the_end),
		ON(block_dev, test_discard_punches_a_hole),
		ON(block_dev, test_write_zeroes_with_and_without_unmap),
		ON(block_dev, test_reset_with_io_in_flight),
	};
	bool disk = disk_enter(), tmpfs = is_tmpfs("/dev/shm");
	int failed;

	if (!disk && !tmpfs) {
		puts("skipped: no disk to write to (VHX_TEST_DISK_DIR), no tmpfs on /dev/shm");
		return 77;
	}
	if (!disk)
		cmocka_set_test_filter("* on shm");
	if (!tmpfs)
		cmocka_set_skip_filter("* on shm");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (disk && loop_available())
		failed += cmocka_run_group_tests(block_dev_tests, NULL, NULL);
	return failed;
}
