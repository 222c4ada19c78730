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

#include "../unit/device/fake_backend.h"
#include "device/net.h"
#include "device/net_layout.h"

#define QUEUES 3u
#define CONTROL 2u
#define REQUESTS_MAX 64u
#define BUFFER_MAX 4096u
#define STEPS_MAX 200u

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queues[QUEUES];
static struct fake_request *requests[REQUESTS_MAX];
static int peer;

static void features_choose(struct fuzz_input *in)
{
	dev->ops->set_features(dev, fuzz_u32(in) & dev->features);
}

static void device_make(struct fuzz_input *in)
{
	struct vhx_net_config cfg = { .id = "n0", .offload = true, .mtu = 1500 };
	struct vhx_error err;
	char end[16];
	uint16_t i;
	int fds[2];

	if (!loop && vhx_loop_new(0, &loop))
		abort();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
		abort();
	peer = fds[1];
	snprintf(end, sizeof(end), "fd:%d", fds[0]);
	cfg.end = end;
	fake_init();
	for (i = 0; i < QUEUES; i++)
		queues[i] = (struct vhx_queue){ .index = i };
	if (vhx_net_new(loop, &cfg, NULL, &dev, &err))
		abort();
	features_choose(in);
}

static void requests_reap(void)
{
	unsigned int i;

	for (i = 0; i < REQUESTS_MAX; i++) {
		if (!requests[i] || !(requests[i]->completed || requests[i]->dropped))
			continue;
		fake_request_free(requests[i]);
		requests[i] = NULL;
	}
}

static void request_give(unsigned int queue, const uint8_t *out, uint32_t out_len, uint32_t in_len)
{
	unsigned int i;

	requests_reap();
	for (i = 0; i < REQUESTS_MAX && requests[i]; i++)
		;
	if (i == REQUESTS_MAX)
		return;
	requests[i] = fake_request_new(dev, &queues[queue], out, out_len, in_len);
	fake_submit(requests[i]);
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
	request_give(0, NULL, 0, fuzz_u16(in) % BUFFER_MAX);
}

static void do_packet(struct fuzz_input *in)
{
	static uint8_t bytes[VHX_NET_PACKET_MAX + 100];
	uint32_t len = fuzz_u32(in) % sizeof(bytes);

	fuzz_bytes(in, bytes, sizeof(struct virtio_net_hdr));
	request_give(1, bytes, len, fuzz_u8(in));
}

static void do_command(struct fuzz_input *in)
{
	uint8_t bytes[1024];
	uint32_t len = fuzz_bytes(in, bytes, sizeof(bytes));

	request_give(CONTROL, bytes, len, fuzz_u8(in) % 3);
}

static void do_read(struct fuzz_input *in)
{
	static uint8_t bytes[1 << 16];

	if (peer >= 0 && recv(peer, bytes, sizeof(bytes), 0) == 0)
		return;
}

static void do_turn(struct fuzz_input *in)
{
	vhx_loop_once(loop, 0);
	fake_room(dev, &queues[0]);
}

static void queue_reset(struct vhx_queue *q)
{
	q->quiesced = 0;
	dev->ops->reset(dev, q);
	FUZZ_CHECK(q->quiesced == 1);
	if (q == &queues[0])
		fake.group_open = 0;
}

static void do_reset(struct fuzz_input *in)
{
	queue_reset(&queues[fuzz_u8(in) % QUEUES]);
}

static void do_restart(struct fuzz_input *in)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		queue_reset(&queues[i]);
	dev->ops->restarted(dev);
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
		dev->ops->set_config(dev, fuzz_u8(in) % (13 - len), bytes, len);
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
		queue_reset(&queues[i]);
	requests_reap();
	for (i = 0; i < REQUESTS_MAX; i++)
		FUZZ_CHECK(!requests[i]);
	FUZZ_CHECK(!fake.in_flight);
	dev->ops->close(dev);
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
