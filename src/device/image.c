// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Lock. Advisory OFD locks on the bytes that QEMU uses for raw images, so that either program refuses an
 * image that the other has open in a way that does not go together. For each permission there are two
 * bytes: a read lock on the first says "I use it", one on the second "nobody else may". Read locks of
 * several processes never clash, so one first takes its own and then looks whether somebody holds the
 * opposite byte; two that start at once may both be refused, never both be let in. A writer here uses
 * consistent-read and write, a reader consistent-read; both share neither write nor resize. So
 * there is one writer, or any number of readers.
 *
 * The locks belong to the open file description that does the I/O: a killed process holds them until the
 * kernel has ended its last write, which is what fences a successor. An image may be opened without (two
 * backends wait for one guest that migrates): then who does I/O claims it first.
 *
 * Identity. uuid names the medium, not its content or size: device and inode number, and the birth
 * time where there is one (inode numbers are used again). cache_id names what a completed, unflushed
 * write depends on: with the page cache that is this boot of the kernel, with O_DIRECT nothing that the death of a
 * process, or of the kernel, would take along.
 */
#include "device/image.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device/holder.h"

#define IMAGE_SECTOR 512u

/* O_DIRECT alignment where the kernel cannot tell: right on every disk sold. */
#define IMAGE_DIRECT_ALIGN 4096u

/* A unit above this would not fit the fields of the VirtIO config space, nor be a disk. */
#define IMAGE_BLOCK_MAX (64u * 1024)

#define IMAGE_HOLDER_LEN 64

#define BOOT_ID_LEN 36 /* as text */

/* Shared with QEMU (block/file-posix.c): first byte of either group, and permissions within. */
#define LOCK_USED_BASE 100
#define LOCK_UNSHARED_BASE 200
#define PERM_CONSISTENT_READ 0
#define PERM_WRITE 1
#define PERM_RESIZE 3
#define PERM_CNT 5

#define BIT(n) (1u << (n))

#define LOCK_READER_USES BIT(PERM_CONSISTENT_READ)
#define LOCK_WRITER_USES (BIT(PERM_CONSISTENT_READ) | BIT(PERM_WRITE))
#define LOCK_UNSHARED (BIT(PERM_WRITE) | BIT(PERM_RESIZE))

/*
 * Lock
 */

static int lock_byte(int fd, int cmd, short type, off_t at, short *found)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	if (fcntl(fd, cmd, &fl) < 0)
		return -errno;
	*found = fl.l_type;
	return 0;
}

static int lock_take(int fd, off_t base, unsigned int permissions)
{
	short found;
	int i, ret;

	for (i = 0; i < PERM_CNT; i++) {
		if (!(permissions & BIT(i)))
			continue;
		ret = lock_byte(fd, F_OFD_SETLK, F_RDLCK, base + i, &found);
		if (ret < 0)
			return ret == -EACCES ? -EAGAIN : ret;
	}
	return 0;
}

/* -EAGAIN: somebody else holds one of these bytes. */
static int lock_check(int fd, off_t base, unsigned int permissions)
{
	short found = F_UNLCK;
	int i, ret;

	for (i = 0; i < PERM_CNT; i++) {
		if (!(permissions & BIT(i)))
			continue;
		ret = lock_byte(fd, F_OFD_GETLK, F_WRLCK, base + i, &found);
		if (ret < 0)
			return ret;
		if (found != F_UNLCK)
			return -EAGAIN;
	}
	return 0;
}

static void lock_release(int fd)
{
	struct flock fl = { .l_type = F_UNLCK,
			    .l_whence = SEEK_SET,
			    .l_start = LOCK_USED_BASE,
			    .l_len = LOCK_UNSHARED_BASE + PERM_CNT - LOCK_USED_BASE };

	(void)fcntl(fd, F_OFD_SETLK, &fl);
}

static int image_lock(struct vhx_image *img, struct vhx_error *err)
{
	unsigned int uses = img->readonly ? LOCK_READER_USES : LOCK_WRITER_USES;
	char holder[IMAGE_HOLDER_LEN];
	int ret = lock_take(img->fd, LOCK_USED_BASE, uses);

	if (!ret)
		ret = lock_take(img->fd, LOCK_UNSHARED_BASE, LOCK_UNSHARED);
	if (!ret)
		ret = lock_check(img->fd, LOCK_UNSHARED_BASE, uses);
	if (!ret)
		ret = lock_check(img->fd, LOCK_USED_BASE, LOCK_UNSHARED);
	if (ret == -EAGAIN) {
		vhx_holder_describe(img->fd, holder, sizeof(holder));
		vhx_error_set(err, "locked by %s", holder);
	} else if (ret < 0) {
		vhx_error_set(err, "cannot be locked: %s", strerror(-ret));
	}
	return ret;
}

/*
 * Identity
 */

/* Spreads every bit of @v over the whole word (a bijection, so it loses nothing). */
static uint64_t mix64(uint64_t v)
{
	v ^= v >> 32;
	v *= 0xd6e8feb86659fd93ull;
	v ^= v >> 32;
	v *= 0xd6e8feb86659fd93ull;
	v ^= v >> 32;
	return v;
}

/* FNV-1a of 64 bits: good enough to tell media apart, no defence against who makes them up. */
static uint64_t hash64(uint64_t h, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static void identity_hash(const char *tag, const void *buf, size_t len, uint8_t id[16])
{
	uint64_t seed = hash64(0xcbf29ce484222325ull, tag, strlen(tag));
	uint64_t half[2] = {
		mix64(hash64(seed, buf, len)),
		mix64(hash64(mix64(seed), buf, len)),
	};

	memcpy(id, half, 16);
}

static void image_identify_medium(struct vhx_image *img, const struct stat *st)
{
	uint64_t words[4] = { 0 };
	struct statx stx;

	if (img->block_dev) {
		words[0] = st->st_rdev;
	} else {
		words[0] = st->st_dev;
		words[1] = st->st_ino;
		if (statx(img->fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) == 0 &&
		    (stx.stx_mask & STATX_BTIME)) {
			words[2] = (uint64_t)stx.stx_btime.tv_sec;
			words[3] = stx.stx_btime.tv_nsec;
		}
	}
	identity_hash("image", words, sizeof(words), img->uuid);
}

/* Of the kernel, so one for the process; 0 bytes: not known yet. */
static char boot_id[BOOT_ID_LEN];
static size_t boot_id_len;

static bool boot_id_known(void)
{
	int fd;

	if (boot_id_len == BOOT_ID_LEN)
		return true;
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, boot_id, BOOT_ID_LEN) == BOOT_ID_LEN)
		boot_id_len = BOOT_ID_LEN;
	close(fd);
	return boot_id_len == BOOT_ID_LEN;
}

void vhx_image_prepare(void)
{
	(void)boot_id_known();
}

void vhx_image_identify_cached(const uint8_t uuid[16], uint8_t cache_id[16])
{
	char id[16 + BOOT_ID_LEN];
	const void *unique = id;

	memcpy(id, uuid, 16);
	if (boot_id_known())
		memcpy(id + 16, boot_id, BOOT_ID_LEN);
	if (boot_id_known())
		identity_hash("cached", id, sizeof(id), cache_id);
	else if (getrandom(cache_id, 16, 0) != 16) /* unknown: equal to no other */
		memcpy(cache_id, &unique, sizeof(unique));
}

static void image_identify_cache(struct vhx_image *img)
{
	if (img->direct)
		identity_hash("direct", img->uuid, 16, img->cache_id);
	else
		vhx_image_identify_cached(img->uuid, img->cache_id);
}

/*
 * Kind, size, units
 */

int vhx_image_measure(const struct vhx_image *img, uint64_t *size)
{
	struct stat st;

	if (img->block_dev)
		return ioctl(img->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	if (fstat(img->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int image_kind(struct vhx_image *img, const struct stat *st, struct vhx_error *err)
{
	if (S_ISDIR(st->st_mode)) {
		vhx_error_set(err, "is a directory");
		return -EISDIR;
	}
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode)) {
		vhx_error_set(err, "neither a regular file nor a block device");
		return -EINVAL;
	}
	img->block_dev = S_ISBLK(st->st_mode);
	return 0;
}

static uint32_t direct_align(const struct vhx_image *img)
{
#ifdef STATX_DIOALIGN
	struct statx stx;
	uint32_t align;

	if (statx(img->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align) {
		align = stx.stx_dio_offset_align;
		return align > stx.stx_dio_mem_align ? align : stx.stx_dio_mem_align;
	}
#endif
	return IMAGE_DIRECT_ALIGN;
}

static uint32_t unit_clamp(uint64_t unit, uint32_t least)
{
	if (!vhx_is_power_of_2(unit) || unit < least || unit > IMAGE_BLOCK_MAX)
		return least;
	return (uint32_t)unit;
}

static void image_units(struct vhx_image *img, const struct stat *st)
{
	unsigned int physical = 0, optimal = 0;
	int logical = 0;

	img->block_size = IMAGE_SECTOR;
	if (!img->block_dev) {
		if (img->direct)
			img->block_size = unit_clamp(direct_align(img), IMAGE_SECTOR);
		img->physical_size = unit_clamp((uint64_t)st->st_blksize, img->block_size);
		return;
	}
	if (ioctl(img->fd, BLKSSZGET, &logical) == 0 && logical > 0)
		img->block_size = unit_clamp((uint64_t)logical, IMAGE_SECTOR);
	(void)ioctl(img->fd, BLKPBSZGET, &physical);
	(void)ioctl(img->fd, BLKIOOPT, &optimal);
	img->physical_size = unit_clamp(physical, img->block_size);
	img->optimal_size = optimal % img->block_size ? 0 : optimal;
}

static int image_check_size(struct vhx_image *img, struct vhx_error *err)
{
	int ret = vhx_image_measure(img, &img->size);

	if (ret < 0) {
		vhx_error_set(err, "size unknown: %s", strerror(-ret));
		return ret;
	}
	if (img->size == 0) {
		vhx_error_set(err, "empty: a disk needs at least %u bytes", img->block_size);
		return -EINVAL;
	}
	if (img->size % img->block_size) {
		vhx_error_set(err, "size of %llu bytes is not a multiple of %u%s",
			      (unsigned long long)img->size, img->block_size,
			      img->block_size > IMAGE_SECTOR ? ", the unit of direct I/O there"
							     : "");
		return -EINVAL;
	}
	return 0;
}

static void image_probe_cache(struct vhx_image *img)
{
	struct statfs fs;
	uint8_t byte;
	struct iovec iov = { &byte, 1 };

	if (img->direct)
		return;
	img->in_memory = !img->block_dev && fstatfs(img->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
	img->nowait = preadv2(img->fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
}

/*
 * Opening
 */

/*
 * O_NONBLOCK is cleared: io_uring would answer EAGAIN instead of waiting for the disk. O_APPEND would turn
 * every write into one at the end, and cannot be wanted.
 */
static int image_set_flags(struct vhx_image *img, struct vhx_error *err)
{
	int flags = fcntl(img->fd, F_GETFL), ret;

	if (flags < 0) {
		ret = -errno;
		vhx_error_set(err, "%s", strerror(-ret));
		return ret;
	}
	if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY ||
	    (!img->readonly && (flags & O_ACCMODE) != O_RDWR)) {
		vhx_error_set(err, "not open for %s", img->readonly ? "reading" : "writing");
		return -EACCES;
	}
	flags &= ~(O_NONBLOCK | O_APPEND | O_DIRECT);
	if (fcntl(img->fd, F_SETFL, flags | (img->direct ? O_DIRECT : 0)) < 0) {
		ret = -errno;
		vhx_error_set(err, "%s: %s", img->direct ? "no direct I/O there" : "fcntl",
			      strerror(-ret));
		return ret;
	}
	return 0;
}

static int image_setup(struct vhx_image *img, const struct vhx_image_config *config,
		       struct vhx_error *err)
{
	struct stat st;
	int ret;

	if (fstat(img->fd, &st) < 0) {
		ret = -errno;
		vhx_error_set(err, "%s", strerror(-ret));
		return ret;
	}
	ret = image_kind(img, &st, err);
	if (!ret)
		ret = image_set_flags(img, err);
	if (ret < 0)
		return ret;
	image_units(img, &st);
	ret = image_check_size(img, err);
	if (ret < 0)
		return ret;
	image_probe_cache(img);
	image_identify_medium(img, &st);
	image_identify_cache(img);
	return config->unlocked ? 0 : image_lock(img, err);
}

/* O_NONBLOCK: the path may be a FIFO, which would wait for its other end. */
static int image_open_path(struct vhx_image *img, const char *path, struct vhx_error *err)
{
	int ret;

	img->fd = open(path,
		       (img->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (img->fd >= 0)
		return 0;
	ret = -errno;
	vhx_error_set(err, "%s", ret == -EISDIR ? "is a directory" : strerror(-ret));
	return ret;
}

int vhx_image_open(struct vhx_image *img, const struct vhx_image_config *config,
		   struct vhx_error *err)
{
	bool opened = config->fd < 0;
	int ret = 0;

	assert(config->path || !opened);
	*img = (struct vhx_image){ .fd = config->fd,
				   .readonly = config->readonly,
				   .direct = config->direct };
	if (opened)
		ret = image_open_path(img, config->path, err);
	if (!ret)
		ret = image_setup(img, config, err);
	if (!ret)
		return 0;
	if (config->path)
		vhx_error_prefix(err, "image %s", config->path);
	else
		vhx_error_prefix(err, "image on descriptor %d", config->fd);
	if (opened)
		vhx_image_close(img);
	else
		lock_release(config->fd);
	img->fd = -1;
	return ret;
}

int vhx_image_claim(struct vhx_image *img, struct vhx_error *err)
{
	int ret = image_lock(img, err);

	if (ret)
		lock_release(img->fd);
	return ret;
}

void vhx_image_release(struct vhx_image *img)
{
	lock_release(img->fd);
}

void vhx_image_close(struct vhx_image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}
