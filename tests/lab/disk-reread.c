// SPDX-License-Identifier: BSD-3-Clause
/*
 * disk-reread FILE BYTES SPAN: until it is killed, reads BYTES at places at random below SPAN, past the cache, into one
 * buffer that it has touched once before. From then on nobody but the device writes to the buffer's pages: where they
 * are kept track of by who wrote (dirty log), it is by the device's own word alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ALIGNMENT 4096ul
/* An emulated processor has others to serve. */
#define PAUSE_NS 2000000l

static int reread(int fd, void *buf, unsigned long bytes, unsigned long places)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };
	ssize_t n;

	do {
		n = pread(fd, buf, bytes, (off_t)((unsigned long)random() % places * bytes));
		nanosleep(&pause, NULL);
	} while (n == (ssize_t)bytes);
	return n < 0 ? -errno : -EIO;
}

int main(int argc, char **argv)
{
	unsigned long bytes = argc == 4 ? strtoul(argv[2], NULL, 0) : 0;
	unsigned long span = argc == 4 ? strtoul(argv[3], NULL, 0) : 0;
	void *buf;
	int fd;

	if (!bytes || bytes % ALIGNMENT || span < bytes) {
		fprintf(stderr, "usage: disk-reread FILE BYTES SPAN\n");
		return 2;
	}
	buf = aligned_alloc(ALIGNMENT, bytes);
	fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (!buf || fd < 0) {
		fprintf(stderr, "disk-reread: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	memset(buf, 0x5a, bytes);
	fprintf(stderr, "disk-reread: %s\n", strerror(-reread(fd, buf, bytes, span / bytes)));
	return 1;
}
