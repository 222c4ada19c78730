// SPDX-License-Identifier: BSD-3-Clause
/*
 * disk-batch FILE read|write BYTES ROUNDS DEPTH STEP: ROUNDS times, DEPTH requests of BYTES each, STEP
 * of them per io_submit(); the next round begins when all have been completed. Requests lie BYTES
 * apart, so that the kernel merges none of them. FILE is opened with O_DIRECT. The same call is the
 * same work each time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of requests per round, and bytes of one; a kernel's own are lower. */
#define DEPTH_MAX 256ul
#define BYTES_MAX (1ul << 20)
#define ALIGNMENT 4096ul

struct job {
	int fd;
	uint16_t opcode;
	unsigned long bytes, rounds, depth, step;
	aio_context_t ctx;
	uint8_t *buf;
	struct iocb cbs[DEPTH_MAX];
	struct iocb *list[DEPTH_MAX];
	struct io_event events[DEPTH_MAX];
};

static void round_prepare(struct job *j, unsigned long round)
{
	unsigned long i;

	for (i = 0; i < j->depth; i++) {
		j->cbs[i] = (struct iocb){
			.aio_fildes = (uint32_t)j->fd,
			.aio_lio_opcode = j->opcode,
			.aio_buf = (uintptr_t)(j->buf + i * j->bytes),
			.aio_nbytes = j->bytes,
			.aio_offset = (int64_t)((round * j->depth + i) * 2 * j->bytes),
		};
		j->list[i] = &j->cbs[i];
	}
}

static int round_submit(struct job *j)
{
	unsigned long done = 0, cnt;
	long ret;

	while (done < j->depth) {
		cnt = j->depth - done < j->step ? j->depth - done : j->step;
		ret = syscall(SYS_io_submit, j->ctx, cnt, j->list + done);
		if (ret <= 0)
			return ret ? -errno : -EIO;
		done += (unsigned long)ret;
	}
	return 0;
}

static int round_collect(struct job *j)
{
	unsigned long i;
	long ret = syscall(SYS_io_getevents, j->ctx, j->depth, j->depth, j->events, NULL);

	if (ret != (long)j->depth)
		return ret < 0 ? -errno : -EIO;
	for (i = 0; i < j->depth; i++) {
		if (j->events[i].res != (int64_t)j->bytes)
			return -EIO;
	}
	return 0;
}

static int job_run(struct job *j)
{
	unsigned long round;
	int ret = 0;

	if (syscall(SYS_io_setup, DEPTH_MAX, &j->ctx))
		return -errno;
	for (round = 0; !ret && round < j->rounds; round++) {
		round_prepare(j, round);
		ret = round_submit(j);
		if (!ret)
			ret = round_collect(j);
	}
	syscall(SYS_io_destroy, j->ctx);
	return ret;
}

static int job_parse(struct job *j, char **argv)
{
	j->opcode = strcmp(argv[2], "write") ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
	j->bytes = strtoul(argv[3], NULL, 0);
	j->rounds = strtoul(argv[4], NULL, 0);
	j->depth = strtoul(argv[5], NULL, 0);
	j->step = strtoul(argv[6], NULL, 0);
	if (!j->bytes || j->bytes > BYTES_MAX || !j->depth || j->depth > DEPTH_MAX || !j->step)
		return -EINVAL;
	return 0;
}

int main(int argc, char **argv)
{
	static struct job job;
	int ret;

	if (argc != 7 || job_parse(&job, argv)) {
		fprintf(stderr, "usage: disk-batch FILE read|write BYTES ROUNDS DEPTH STEP\n");
		return 2;
	}
	job.buf = aligned_alloc(ALIGNMENT,
				job.depth * ((job.bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1)));
	job.fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (!job.buf || job.fd < 0) {
		fprintf(stderr, "disk-batch: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	memset(job.buf, 0x5a, job.depth * job.bytes);
	ret = job_run(&job);
	if (ret)
		fprintf(stderr, "disk-batch: %s: %s\n", argv[1], strerror(-ret));
	close(job.fd);
	free(job.buf);
	return !!ret;
}
