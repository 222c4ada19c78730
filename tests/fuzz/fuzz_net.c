// SPDX-License-Identifier: BSD-3-Clause
/*
 * A network device between a driver and a peer of its stream that both do anything: bytes instead of frames,
 * buffers of any length, headers and commands of any content, resets at any time.
 */
#include "fuzz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"
#include "device/net.h"
#include "device/net_layout.h"

#define QUEUES 3u
#define CONTROL 2u
#define BUFFER_MAX 4096u
#define STEPS_MAX 200u

static struct fuzz_device d;
static int peer;

static void features_choose(struct fuzz_input *in)
{
	d.dev->ops->set_features(d.dev, fuzz_u32(in) & d.dev->features);
}

static void device_make(struct fuzz_input *in)
{
	struct vhx_net_config cfg = { .id = "n0", .offload = true, .mtu = 1500 };
	struct vhx_error err;
	char end[16];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
		abort();
	peer = fds[1];
	snprintf(end, sizeof(end), "fd:%d", fds[0]);
	cfg.end = end;
	fuzz_device_begin(&d);
	if (vhx_net_new(d.loop, &cfg, NULL, &d.dev, &err))
		abort();
	features_choose(in);
}

static void peer_write(const uint8_t *bytes, size_t len)
{
	if (peer >= 0 && send(peer, bytes, len, MSG_NOSIGNAL) < 0)
		return; /* the device's side is full, or gone */
}

static void do_raw(struct fuzz_input *in)
{
	uint8_t bytes[64];

	peer_write(bytes, fuzz_bytes(in, bytes, sizeof(bytes)));
}

static void do_frame(struct fuzz_input *in)
{
	static uint8_t bytes[4 + 65535];
	uint32_t len = fuzz_u16(in);

	bytes[2] = (uint8_t)(len >> 8);
	bytes[3] = (uint8_t)len;
	bytes[4] = fuzz_u8(in);
	peer_write(bytes, 4 + len);
}

static void do_post(struct fuzz_input *in)
{
	fuzz_device_give(&d, 0, NULL, 0, fuzz_u16(in) % BUFFER_MAX);
}

static void do_packet(struct fuzz_input *in)
{
	static uint8_t bytes[VHX_NET_PACKET_MAX + 100];
	uint32_t len = fuzz_u32(in) % sizeof(bytes);

	fuzz_bytes(in, bytes, sizeof(struct virtio_net_hdr));
	fuzz_device_give(&d, 1, bytes, len, fuzz_u8(in));
}

static void do_command(struct fuzz_input *in)
{
	uint8_t bytes[1024];
	uint32_t len = fuzz_bytes(in, bytes, sizeof(bytes));

	fuzz_device_give(&d, CONTROL, bytes, len, fuzz_u8(in) % 3);
}

static void do_read(struct fuzz_input *in)
{
	static uint8_t bytes[1 << 16];

	if (peer >= 0 && recv(peer, bytes, sizeof(bytes), 0) == 0)
		return;
}

static void do_turn(struct fuzz_input *in)
{
	vhx_loop_once(d.loop, 0);
	fake_room(d.dev, &d.queues[0]);
}

static void queue_reset(struct vhx_queue *q)
{
	q->quiesced = 0;
	d.dev->ops->reset(d.dev, q);
	FUZZ_CHECK(q->quiesced == 1);
	if (q == &d.queues[0])
		fake.group_open = 0;
}

static void do_reset(struct fuzz_input *in)
{
	queue_reset(&d.queues[fuzz_u8(in) % QUEUES]);
}

static void do_restart(struct fuzz_input *in)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		queue_reset(&d.queues[i]);
	d.dev->ops->restarted(d.dev);
	features_choose(in);
}

static void do_room(struct fuzz_input *in)
{
	fake.later = fuzz_u8(in) % 4;
	fake.later_skip = fuzz_u8(in) % 4;
	fake.reserve_max = fuzz_u16(in) | 1;
}

static void do_config(struct fuzz_input *in)
{
	uint8_t bytes[12];
	uint32_t len = fuzz_bytes(in, bytes, sizeof(bytes));

	if (len)
		d.dev->ops->set_config(d.dev, fuzz_u8(in) % (13 - len), bytes, len);
}

static void do_leave(struct fuzz_input *in)
{
	if (fuzz_u8(in) < 0xc0 || peer < 0)
		return;
	close(peer);
	peer = -1;
}

static void (*const steps[])(struct fuzz_input *in) = {
	do_raw,	 do_frame, do_frame,   do_post,	 do_post, do_packet, do_command,
	do_read, do_turn,  do_restart, do_reset, do_room, do_config, do_leave,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	unsigned int i;

	device_make(&in);
	for (i = 0; i < STEPS_MAX && in.len; i++)
		steps[fuzz_u8(&in) % VHX_ARRAY_SIZE(steps)](&in);
	for (i = 0; i < QUEUES; i++)
		queue_reset(&d.queues[i]);
	fuzz_device_check_idle(&d);
	d.dev->ops->close(d.dev);
	if (peer >= 0)
		close(peer);
	return 0;
}

/* Features; then buffers, a frame that needs two of them, a turn, a packet, a command, and half a frame. */
static const uint8_t seed[] = {
	0xff, 0xff, 0xff, 0xff, 3, 0xf6, 5, 3, 0xf6, 5, 1, 0xd0, 7, 0, 8, 5, 100, 0, 0, 0,
	12,   0,    0,	  0,	0, 0,	 0, 0, 0,    0, 0, 0,	 0, 0, 0, 6, 11,  0, 1, 0,
	0,    0,    0,	  0,	1, 0,	 0, 0, 0,    1, 0, 6,	 0, 0, 0, 0, 60,  1, 2, 8,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = { { seed, sizeof(seed) }, { NULL, 0 } };
