// SPDX-License-Identifier: BSD-3-Clause
/*
 * A SCSI device with a driver that does anything: commands of any bytes and buffers of any length, functions, event
 * buffers, resets at any time, while its image changes its size.
 */
#include "fuzz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"
#include "device/scsi.h"
#include "device/scsi_layout.h"

#define QUEUES 4u
#define IN_MAX 8192u
#define OUT_MAX 4096u
#define IMAGE_LEN (1u << 20)
#define STEPS_MAX 100u

static struct fuzz_device d;
static char path[] = "/dev/shm/vhx-fuzz-scsi-XXXXXX",
	    path_readonly[] = "/dev/shm/vhx-fuzz-scsi-XXXXXX";
static int image = -1;

static void images_remove(void)
{
	unlink(path);
	unlink(path_readonly);
}

static void images_make(void)
{
	int fd;

	image = mkstemp(path);
	fd = mkstemp(path_readonly);
	if (image < 0 || fd < 0 || ftruncate(fd, IMAGE_LEN))
		abort();
	close(fd);
	atexit(images_remove);
}

static void device_make(struct fuzz_input *in)
{
	struct vhx_scsi_config cfg = {
		.id = "s0",
		.luns = { { .path = path }, { .path = path_readonly, .readonly = true } },
		.lun_cnt = 2,
		.num_queues = QUEUES - VIRTIO_SCSI_REQUESTQ,
		.max_request = 16384,
		.io = VHX_IO_THREADS,
	};
	struct vhx_error err;

	if (image < 0)
		images_make();
	if (ftruncate(image, IMAGE_LEN))
		abort();
	fuzz_device_begin(&d);
	if (vhx_scsi_new(d.loop, &cfg, NULL, &d.dev, &err))
		abort();
	d.dev->ops->set_features(d.dev, fuzz_u32(in) & d.dev->features);
}

static void do_raw(struct fuzz_input *in)
{
	uint8_t out[128];
	uint32_t len = fuzz_bytes(in, out, sizeof(out));

	fuzz_device_give(&d, fuzz_u8(in) % QUEUES, out, len, fuzz_u16(in) % IN_MAX);
}

/* A command for a unit that is there, with a CDB and data of any bytes. */
static void do_command(struct fuzz_input *in)
{
	static uint8_t out[sizeof(struct virtio_scsi_cmd_req) + OUT_MAX];
	struct virtio_scsi_cmd_req head = { .lun = { 1, 0, 0, fuzz_u8(in) % 3 } };
	uint32_t out_len = 0, in_len = 0;

	head.id[0] = fuzz_u8(in) % 8;
	fuzz_bytes(in, head.cdb, sizeof(head.cdb));
	memset(out, 0, sizeof(out));
	memcpy(out, &head, sizeof(head));
	if (fuzz_u8(in) % 2) {
		out_len = fuzz_u16(in) % OUT_MAX;
		fuzz_bytes(in, out + sizeof(head), 64);
	} else {
		in_len = fuzz_u16(in) % IN_MAX;
	}
	fuzz_device_give(&d, VIRTIO_SCSI_REQUESTQ + fuzz_u8(in) % 2, out,
			 (uint32_t)sizeof(head) + out_len, 108 + in_len);
}

static void do_function(struct fuzz_input *in)
{
	struct virtio_scsi_ctrl_tmf tmf = {
		.type = vhx_le32_of(fuzz_u8(in) % 4),
		.subtype = vhx_le32_of(fuzz_u8(in) % 9),
		.lun = { 1, 0, 0, fuzz_u8(in) % 3 },
	};

	tmf.id[0] = fuzz_u8(in) % 8;
	fuzz_device_give(&d, VIRTIO_SCSI_CONTROLQ, (const uint8_t *)&tmf, sizeof(tmf),
			 fuzz_u8(in) % 6);
}

static void do_event_buffer(struct fuzz_input *in)
{
	fuzz_device_give(&d, VIRTIO_SCSI_EVENTQ, (const uint8_t *)"", 0, fuzz_u8(in) % 32);
}

static void do_turn(struct fuzz_input *in)
{
	unsigned int i;

	vhx_loop_once(d.loop, 0);
	for (i = 0; i < QUEUES; i++)
		fake_room(d.dev, &d.queues[i]);
}

static void do_resize(struct fuzz_input *in)
{
	if (ftruncate(image, 512 * (1 + fuzz_u16(in) % 4096)))
		abort();
}

static void do_config(struct fuzz_input *in)
{
	uint8_t bytes[4];

	fuzz_bytes(in, bytes, sizeof(bytes));
	d.dev->ops->set_config(d.dev, fuzz_u8(in) % 33, bytes, 4);
}

static void do_room(struct fuzz_input *in)
{
	fake.later = fuzz_u8(in) % 4;
	fake.later_skip = fuzz_u8(in) % 4;
	fake.no_staging = fuzz_u8(in) % 4;
	fake.reserve_max = fuzz_u16(in);
}

static void queue_reset(struct vhx_queue *q)
{
	q->quiesced = 0;
	d.dev->ops->reset(d.dev, q);
	while (!q->quiesced)
		vhx_loop_once(d.loop, -1);
	FUZZ_CHECK(q->quiesced == 1);
}

static void do_reset(struct fuzz_input *in)
{
	queue_reset(&d.queues[fuzz_u8(in) % QUEUES]);
}

static void (*const steps[])(struct fuzz_input *in) = {
	do_command,	 do_command, do_command, do_command, do_raw,  do_function,
	do_event_buffer, do_turn,    do_resize,	 do_config,  do_room, do_reset,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	unsigned int i;

	device_make(&in);
	for (i = 0; i < STEPS_MAX && in.len; i++)
		steps[fuzz_u8(&in) % VHX_ARRAY_SIZE(steps)](&in);
	for (i = QUEUES; i-- > 0;)
		queue_reset(&d.queues[i]);
	fuzz_device_check_idle(&d);
	d.dev->ops->close(d.dev);
	return 0;
}

/* Features; then a READ(10) of two blocks, a WRITE(10), an UNMAP, a reset of the unit, and a turn. */
static const uint8_t seed[] = {
	0xff, 0xff, 0xff, 0xff, 0, 0,  1,  10, 0,    0x28, 0, 0, 0, 0, 4, 0, 0, 2,  0, 0,
	0,    4,    0,	  1,	0, 2,  10, 0,  0x2a, 0,	   0, 0, 0, 4, 0, 0, 1, 0,  1, 0,
	2,    0,    0,	  1,	2, 0,  3,  10, 0,    0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0, 1,
	24,   0,    24,	  0,	0, 22, 0,  16, 0,    0,	   0, 0, 0, 0, 0, 0, 0, 0,  0, 8,
	0,    0,    0,	  16,	0, 0,  0,  0,  0,    5,	   0, 5, 0, 0, 1, 7,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = { { seed, sizeof(seed) }, { NULL, 0 } };
