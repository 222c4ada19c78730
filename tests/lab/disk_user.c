// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reads go past the page cache (O_DIRECT) into pages of the process itself, so that a byte that the device
 * claims and never wrote is still the canary when read() returns. A backend that lies can send any data, and does
 * not know the canary; so any of it in an answer is stale memory of this kernel.
 */
#include "disk_user.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <signal.h>
#include <linux/fs.h>
#include <unistd.h>

#include "mutator.h"

#define SECTOR 512u
#define BUFFER (256u << 10)
#define CANARY 0xc0dec0ffee5ca1edull
/* A disk that only fails is looked at again, in case it is another one by now. */
#define ERRORS_MAX 4
#define OPS_MAX 2000
#define LOOK_AGAIN_US 2000

void vhx_disk_pattern(void *sector, uint64_t number)
{
	uint64_t words[SECTOR / 8];
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(words); i++)
		words[i] = (number * 1000003u + i) & 0x7fffffffffffffffull;
	memcpy(sector, words, sizeof(words));
}

static void canary_fill(uint64_t *buf, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		buf[i] = CANARY;
}

static bool canary_found(const uint64_t *buf, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes / 8; i++) {
		if (buf[i] == CANARY)
			return true;
	}
	return false;
}

/* Any virtio disk: the last that the directory names. -1: there is none, or it does not open. */
static int disk_open(uint64_t *bytes)
{
	char path[300] = "";
	struct dirent *e;
	DIR *d = opendir("/sys/block");
	int fd;

	while (d && (e = readdir(d))) {
		if (!strncmp(e->d_name, "vd", 2))
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
	}
	if (d)
		closedir(d);
	fd = path[0] ? open(path, O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
	if (fd < 0)
		return -1;
	if (!ioctl(fd, BLKGETSIZE64, bytes) && *bytes >= BUFFER)
		return fd;
	close(fd);
	return -1;
}

/* One operation at a random place. False: it failed. */
static bool disk_read(int fd, struct vhx_disk_user_stats *s, uint64_t *buf, size_t len, off_t off)
{
	ssize_t n;

	canary_fill(buf, len);
	n = pread(fd, buf, len, off);
	if (n < 0)
		return false;
	s->reads++;
	if (canary_found(buf, (size_t)n))
		s->exposed++;
	return true;
}

static bool disk_write(int fd, struct vhx_disk_user_stats *s, uint64_t *buf, size_t len, off_t off)
{
	size_t i;

	for (i = 0; i < len / SECTOR; i++)
		vhx_disk_pattern((uint8_t *)buf + i * SECTOR, (uint64_t)off / SECTOR + i);
	if (pwrite(fd, buf, len, off) != (ssize_t)len)
		return false;
	s->writes++;
	return true;
}

static bool disk_flush(int fd, struct vhx_disk_user_stats *s)
{
	if (fdatasync(fd))
		return false;
	s->flushes++;
	return true;
}

static void disk_use(int fd, uint64_t bytes, struct vhx_disk_user_stats *s, struct vhx_random *r,
		     uint64_t *buf)
{
	unsigned int i, errors = 0;

	for (i = 0; i < OPS_MAX && errors < ERRORS_MAX; i++) {
		size_t len = SECTOR * (1 + vhx_random_below(r, BUFFER / SECTOR));
		off_t off = (off_t)(SECTOR * (vhx_random_next(r) % ((bytes - len) / SECTOR + 1)));
		uint32_t op = vhx_random_below(r, 16);
		bool ok;

		if (op < 10)
			ok = disk_read(fd, s, buf, len, off);
		else if (op < 15)
			ok = disk_write(fd, s, buf, len, off);
		else
			ok = disk_flush(fd, s);
		if (!ok) {
			s->errors++;
			errors++;
		}
	}
}

static uint64_t *buffer_new(void)
{
	void *buf;

	return posix_memalign(&buf, 4096, BUFFER) ? NULL : buf;
}

static void user_run(struct vhx_disk_user_stats *s, uint64_t seed)
{
	struct vhx_random r = { .state = seed };
	uint64_t *buf = buffer_new();
	uint64_t bytes;
	int fd;

	if (!buf)
		_exit(1);
	for (;;) {
		fd = disk_open(&bytes);
		if (fd < 0) {
			usleep(LOOK_AGAIN_US);
			continue;
		}
		s->opens++;
		disk_use(fd, bytes, s, &r, buf);
		close(fd);
	}
}

static pid_t process_start(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t vhx_disk_user_start(struct vhx_disk_user_stats *stats, uint64_t seed)
{
	pid_t pid = process_start();

	if (!pid)
		user_run(stats, seed);
	return pid;
}

static bool range_verify(int fd, uint64_t *buf, uint64_t *want, size_t len, off_t off)
{
	size_t i;

	for (i = 0; i < len / SECTOR; i++)
		vhx_disk_pattern((uint8_t *)want + i * SECTOR, (uint64_t)off / SECTOR + i);
	canary_fill(buf, len);
	return pread(fd, buf, len, off) == (ssize_t)len && !memcmp(buf, want, len);
}

static int verify_run(void)
{
	struct vhx_disk_user_stats stats = { 0 };
	uint64_t *buf = buffer_new(), *want = buffer_new();
	uint64_t bytes, off;
	int fd;

	if (!buf || !want)
		return 1;
	while ((fd = disk_open(&bytes)) < 0)
		usleep(LOOK_AGAIN_US);
	for (off = 0; off + BUFFER <= bytes; off += BUFFER) {
		if (!disk_write(fd, &stats, buf, BUFFER, (off_t)off))
			return 2;
	}
	if (!disk_flush(fd, &stats))
		return 3;
	for (off = 0; off + BUFFER <= bytes; off += BUFFER) {
		if (!range_verify(fd, buf, want, BUFFER, (off_t)off))
			return 4;
	}
	return 0;
}

pid_t vhx_disk_verify_start(void)
{
	pid_t pid = process_start();

	if (!pid)
		_exit(verify_run());
	return pid;
}
