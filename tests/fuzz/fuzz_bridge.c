// SPDX-License-Identifier: BSD-3-Clause
/*
 * A bridge between a driver and a vhost-user back-end that both do anything: requests of any length, resets at any
 * time; answers out of nowhere, any bytes on either channel, any bytes at any place of the bridge's memory, calls.
 */
#include "fuzz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/device/fake_vhost_user.h"
#include "device.h"
#include "device/vhost_user.h"

#define BUFFER_MAX 9000u
#define STEPS_MAX 150u

_Static_assert(FAKE_RINGS <= FUZZ_QUEUES_MAX, "bounds");

static struct fuzz_device d;
static struct fake_peer peer;

/* Of each kind: a status at the end, buffers that are merged, answers that are filled. */
static const uint32_t types[] = { 2, 1, 26, 19 };

static void device_make(struct fuzz_input *in)
{
	struct vhx_bridge_config cfg = {
		.id = "b0",
		.name = "b0",
		.device_id = types[fuzz_u8(in) % VHX_ARRAY_SIZE(types)],
		.tag = "t",
		.split = fuzz_u8(in) & 1,
		.host_cache = fuzz_u8(in) & 1,
		.connector = { .connect = fake_peer_connect, .ctx = &peer },
	};
	struct vhx_error err;

	fuzz_device_begin(&d);
	fake_peer_init(&peer);
	if (cfg.device_id != 2)
		peer.features = (peer.features & ~0xffffffull) | 1ull << 15;
	if (cfg.device_id == 19)
		peer.features &= ~0xffffffull;
	if (cfg.device_id != 2)
		peer.protocol &= ~(VHX_VU_P_CONFIG | VHX_VU_P_BACKEND_REQ);
	peer.queue_num = FAKE_RINGS;
	if (fuzz_u8(in) & 1)
		peer.protocol |= VHX_VU_P_INFLIGHT_SHMFD;
	d.dev = NULL;
	if (vhx_bridge_new(d.loop, &cfg, NULL, &d.dev, &err))
		return;
	d.dev->ops->set_features(d.dev, d.dev->features);
}

static void do_request(struct fuzz_input *in)
{
	static uint8_t out[BUFFER_MAX];
	uint16_t queue = fuzz_u8(in) % d.dev->num_queues;
	uint32_t out_len = fuzz_u16(in) % BUFFER_MAX, in_len = fuzz_u16(in) % BUFFER_MAX;

	/* A queue that is being reset gets nothing. */
	if (d.queues[queue].quiesced == 2)
		return;
	out[0] = fuzz_u8(in);
	fuzz_device_give(&d, queue, out, fuzz_u8(in) & 3 ? out_len : 0, in_len);
}

static void turn(void)
{
	uint16_t i;

	fake_peer_serve(&peer);
	vhx_loop_once(d.loop, 0);
	for (i = 0; i < d.dev->num_queues; i++)
		fake_room(d.dev, &d.queues[i]);
}

static void do_turn(struct fuzz_input *in)
{
	turn();
}

/* As a device would: some of what it has. */
static void do_serve(struct fuzz_input *in)
{
	struct iovec out[16], buf[16];
	struct vhx_chain c = { .out = out, .in = buf, .out_max = 16, .in_max = 16 };
	uint16_t i = fuzz_u8(in) % d.dev->num_queues;
	struct fake_ring *r = &peer.rings[i];

	if (!r->running || r->ring.broken || vhx_vring_pop(&r->ring, &c) <= 0)
		return;
	vhx_vring_push(&r->ring, c.id, fuzz_u16(in));
	if (vhx_vring_flush(&r->ring) || fuzz_u8(in) & 1)
		fake_peer_call(&peer, i);
}

static void do_scribble(struct fuzz_input *in)
{
	struct fake_ring *r = &peer.rings[fuzz_u8(in) % d.dev->num_queues];
	uint64_t gpa, at;
	uint8_t *p;

	if (!r->running)
		return;
	at = (fuzz_u8(in) & 1 ? r->addr.used : r->addr.desc) + fuzz_u8(in);
	p = vhx_vu_memory_user(&peer.memory, at, 4, &gpa);
	if (p)
		*p = fuzz_u8(in);
	fake_peer_call(&peer, (uint16_t)(r - peer.rings));
}

static void bytes_send(struct fuzz_input *in, int sock)
{
	uint8_t bytes[64];
	uint32_t len = fuzz_u8(in) % sizeof(bytes), i;

	for (i = 0; i < len; i++)
		bytes[i] = fuzz_u8(in);
	if (sock >= 0 && send(sock, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void do_answer(struct fuzz_input *in)
{
	bytes_send(in, peer.sock);
}

static void do_ask(struct fuzz_input *in)
{
	if (fuzz_u8(in) & 1)
		fake_peer_ask(&peer, VHX_VU_BACKEND_CONFIG_CHANGE, fuzz_u8(in) & 1);
	else
		bytes_send(in, peer.backend_fd);
}

static void do_lie(struct fuzz_input *in)
{
	peer.lie = fuzz_u8(in) % FAKE_LIES_CNT_;
	peer.lie_about = fuzz_u8(in) % 42;
}

static void do_leave(struct fuzz_input *in)
{
	if (fuzz_u8(in) & 1)
		fake_peer_leave(&peer);
	peer.absent = fuzz_u8(in) & 1;
}

static void do_room(struct fuzz_input *in)
{
	fake.later = fuzz_u8(in) % 4;
	fake.later_skip = fuzz_u8(in) % 4;
	fake.reserve_max = fuzz_u16(in) | 1;
}

static void do_config(struct fuzz_input *in)
{
	const uint8_t byte = fuzz_u8(in);

	if (d.dev->config_len)
		d.dev->ops->set_config(d.dev, fuzz_u8(in) % d.dev->config_len, &byte, 1);
}

static bool queue_reset(struct vhx_queue *q)
{
	q->quiesced = 0;
	d.dev->ops->reset(d.dev, q);
	return q->quiesced;
}

/* Its end comes at the latest with that of the back-end. */
static void all_reset(void)
{
	uint16_t i;

	for (i = 0; i < d.dev->num_queues; i++)
		queue_reset(&d.queues[i]);
	fake_peer_leave(&peer);
	turn();
	for (i = 0; i < d.dev->num_queues; i++)
		FUZZ_CHECK(d.queues[i].quiesced == 1);
	fake.group_open = 0;
}

static void do_restart(struct fuzz_input *in)
{
	all_reset();
	d.dev->ops->restarted(d.dev);
	d.dev->ops->set_features(d.dev, fuzz_u32(in) & d.dev->features);
}

static void (*const steps[])(struct fuzz_input *in) = {
	do_request, do_request, do_turn, do_turn,  do_serve, do_serve,	do_scribble,
	do_answer,  do_ask,	do_lie,	 do_leave, do_room,  do_config, do_restart,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	unsigned int i;

	device_make(&in);
	if (!d.dev)
		return 0;
	for (i = 0; i < STEPS_MAX && in.len; i++)
		steps[fuzz_u8(&in) % VHX_ARRAY_SIZE(steps)](&in);
	all_reset();
	fuzz_device_check_idle(&d);
	d.dev->ops->close(d.dev);
	fake_peer_leave(&peer);
	if (peer.inflight_fd >= 0)
		close(peer.inflight_fd);
	return 0;
}

/* A disk: a request, turns until its ring runs, the device's answer, a turn, a byte in the used ring, the end. */
static const uint8_t seed[] = {
	0, 0, 1, 0, 0, 0, 16, 0, 1, 2,	0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,  2, 2, 2, 2,
	4, 0, 1, 2, 1, 2, 2,  0, 0, 16, 0, 1, 2, 0, 1, 6, 0, 1, 2, 9, 2, 10, 1, 0, 2, 2,
};
/* A network: buffers of 1500 bytes, a packet. */
static const uint8_t seed_net[] = {
	1, 1, 0, 0, 0, 0, 0, 0, 0xdc, 5, 0, 0, 0, 1, 0,	 2, 0, 0, 0, 1,
	2, 2, 2, 2, 2, 2, 2, 2, 2,    2, 2, 2, 4, 0, 60, 0, 1, 2, 2,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = { { seed, sizeof(seed) },
						{ seed_net, sizeof(seed_net) },
						{ NULL, 0 } };
