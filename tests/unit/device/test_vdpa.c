// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bridge to a vDPA device, between a driver that is the fake backend's and a device that fails, lies and hangs. What
 * all tests but those of starts end with: the loop's thread made no call of a device that was shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"
#include "fake_vdpa.h"
#include "../fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vhx/endian.h>

#include "device/vdpa.h"

#define NET 1
#define BLK 2
#define RNG 4
#define GPU 16
#define TURNS 4000
#define CHAIN_MAX 64u
#define SIZE_MAX_AT 8u
#define WRITEBACK 32u
#define F_SIZE_MAX (1ull << 1)
#define F_SEG_MAX (1ull << 2)
#define F_FLUSH (1ull << 9)
#define F_MQ (1ull << 12)
#define F_INDIRECT (1ull << 28)
#define F_VERSION_1 (1ull << 32)
#define F_PACKED (1ull << 34)
#define S_NEEDS_RESET 0x40u

/* A device of the loop, its driver's queues, and what is behind it. */
struct end {
	struct vhx_device *dev;
	struct vhx_queue queues[FAKE_VDPA_RINGS];
	struct fake_vdpa peer;
};

static struct vhx_loop *loop;
static struct end a, b;
static struct vhx_error error;
static int fds_before;
static char lines[4096];

static void line_take(void *ctx, enum vhx_log_level level, const char *text)
{
	size_t len = strlen(lines);

	snprintf(lines + len, sizeof(lines) - len, "%s\n", text);
}

static const struct vhx_log line_log = { .emit = line_take, .level = VHX_LOG_WARNING };

static int end_try(struct end *e, const struct vhx_vdpa_config *config)
{
	struct vhx_vdpa_config cfg = *config;
	uint16_t i;

	for (i = 0; i < FAKE_VDPA_RINGS; i++)
		e->queues[i] = (struct vhx_queue){ .index = i };
	cfg.id = e == &a ? "a" : "b";
	cfg.path = FAKE_VDPA_PATH;
	cfg.queue_size = 256;
	fake_vdpa_next(&e->peer);
	return vhx_vdpa_new(loop, &cfg, &line_log, &e->dev, &error);
}

static void end_open(struct end *e, bool split)
{
	const struct vhx_vdpa_config cfg = { .split = split };

	assert_int_equal(end_try(e, &cfg), 0);
	e->peer.calls_by_loop = 0;
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
}

static void turn(void)
{
	unsigned int i;

	assert_int_equal(vhx_loop_once(loop, 1), 0);
	for (i = 0; i < FAKE_VDPA_RINGS; i++) {
		if (a.dev)
			fake_room(a.dev, &a.queues[i]);
		if (b.dev)
			fake_room(b.dev, &b.queues[i]);
	}
}

#define turn_until(cond)                               \
	do {                                           \
		unsigned int turns_ = 0;               \
		while (!(cond)) {                      \
			turn();                        \
			assert_true(++turns_ < TURNS); \
		}                                      \
	} while (0)

/* Some turns in which nothing is expected. */
static void turns(void)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		turn();
}

static void end_close(struct end *e)
{
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	assert_int_equal(fake_vdpa_get(&e->peer, calls_by_loop), 0);
}

static void closed_at_last(struct end *e)
{
	turn_until(fake_vdpa_get(&e->peer, fd) < 0);
}

static int test_setup(void **state)
{
	fake_init();
	lines[0] = '\0';
	fake_vdpa_init(&b.peer);
	fake_vdpa_init(&a.peer);
	a.dev = NULL;
	b.dev = NULL;
	fds_before = fds_open();
	return vhx_loop_new(0, &loop);
}

/* Closes what is open. A worker that was left ends soon after its call. */
static int test_teardown(void **state)
{
	unsigned int tries = 0;

	if (a.dev)
		end_close(&a);
	if (b.dev)
		end_close(&b);
	assert_int_equal(fake.in_flight, 0);
	vhx_loop_free(loop);
	while (fds_open() != fds_before) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		assert_true(++tries < TURNS);
	}
	return 0;
}

/* A chain that the device has taken. */
struct taken {
	struct vhx_chain chain;
	struct iovec out[CHAIN_MAX], in[CHAIN_MAX];
};

static bool take(struct end *e, uint16_t index, struct taken *t)
{
	t->chain = (struct vhx_chain){
		.out = t->out, .in = t->in, .out_max = CHAIN_MAX, .in_max = CHAIN_MAX
	};
	return fake_vdpa_pop(&e->peer, index, &t->chain);
}

#define take_one(e, index, t) turn_until(take(e, index, t))

static struct fake_request *blk_send(struct end *e, uint32_t type, uint32_t out_len,
				     uint32_t in_len, uint8_t fill)
{
	uint8_t *out = calloc(1, 16 + (size_t)out_len);
	vhx_le32 t = vhx_le32_of(type);
	struct fake_request *r;

	assert_non_null(out);
	memcpy(out, &t, sizeof(t));
	memset(out + 16, fill, out_len);
	r = fake_request_new(e->dev, &e->queues[0], out, 16 + out_len, in_len + 1);
	free(out);
	fake_submit(r);
	return r;
}

static struct fake_request *blk_read(struct end *e, uint32_t len)
{
	return blk_send(e, 0, 0, len, 0);
}

static void finish(struct end *e, uint16_t index, struct taken *t, uint8_t status)
{
	struct iovec *last = &t->in[t->chain.in_cnt - 1];

	((uint8_t *)last->iov_base)[last->iov_len - 1] = status;
	fake_vdpa_push(&e->peer, index, t->chain.id, t->chain.in_len);
}

static void ended_with(struct fake_request *r, uint8_t status)
{
	assert_true(r->completed);
	assert_true(r->sent[r->req.in_len - 1]);
	assert_int_equal(r->answer[r->req.in_len - 1], status);
	fake_request_free(r);
}

static bool over(const struct fake_request *r)
{
	return r->completed || r->dropped;
}

/* Serves whatever comes until @r has ended. */
static void serve_until(struct end *e, struct fake_request *r)
{
	struct taken t;

	turn_until((take(e, 0, &t) ? finish(e, 0, &t, 0) : (void)0, over(r)));
}

static void read_is_served(struct end *e)
{
	struct fake_request *r = blk_read(e, 512);

	serve_until(e, r);
	ended_with(r, 0);
}

/* A driver that leaves, as the backend shows it: its one queue ended. */
static void driver_leaves(struct end *e)
{
	unsigned int before = e->queues[0].quiesced;

	fake.restarts = e->dev;
	e->dev->ops->reset(e->dev, &e->queues[0]);
	turn_until(e->queues[0].quiesced != before);
	fake.restarts = NULL;
}

static void driver_begins(struct end *e)
{
	driver_leaves(e);
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
}

/* What the device is told */

static void test_features_are_masked(void **state)
{
	const uint64_t platform = F_VERSION_1 | 1ull << 33 | 1ull << 36;
	const uint64_t rings = 1ull << 28 | 1ull << 29;

	/* Nothing of the rings crosses, nor what this bridge does not know. */
	a.peer.features = ~(F_PACKED | F_SIZE_MAX | F_SEG_MAX);
	end_open(&a, false);
	assert_true(a.dev->features & F_SIZE_MAX && a.dev->features & F_SEG_MAX);
	assert_int_equal(a.dev->features >> 24, 0);
	assert_int_equal(a.dev->features & (1ull << 15 | 1ull << 0), 0);
	assert_int_equal(a.dev->ops->set_features(a.dev, F_VERSION_1), -EINVAL);
	assert_int_equal(a.dev->ops->set_features(a.dev, 1ull << 15), -EINVAL);
	/* The limits are ours; the rest is what the driver chose, and what rings want. */
	assert_int_equal(a.dev->ops->set_features(a.dev, F_FLUSH | F_SIZE_MAX | F_SEG_MAX), 0);
	read_is_served(&a);
	assert_true(a.peer.driver_features == (F_FLUSH | rings | platform));
}

static void test_packed_ring_is_the_operators_choice(void **state)
{
	end_open(&a, true);
	end_open(&b, false);
	read_is_served(&a);
	read_is_served(&b);
	assert_false(a.peer.driver_features & F_PACKED);
	assert_true(b.peer.driver_features & F_PACKED);
}

static void test_config_is_the_devices_within_our_limits(void **state)
{
	end_open(&a, false);
	assert_int_equal(a.dev->config_len, FAKE_VDPA_CONFIG);
	assert_memory_equal(a.dev->config, a.peer.config, 8);
	assert_int_equal(a.dev->config[12], 254);
	/* While it runs, and while it does not. */
	fake.config_changes = 0;
	read_is_served(&a);
	fake_vdpa_set(&a.peer, config[0], 7);
	fake_vdpa_config_call(&a.peer);
	turn_until(fake.config_changes);
	assert_int_equal(a.dev->config[0], 7);
	driver_leaves(&a);
	fake_vdpa_set(&a.peer, config[0], 9);
	assert_int_equal(a.dev->ops->set_features(a.dev, a.dev->features), 0);
	turn_until(fake.config_changes == 2);
	assert_int_equal(a.dev->config[0], 9);
	/* What says nothing new is not told. */
	fake_vdpa_config_call(&a.peer);
	turns();
	assert_int_equal(fake.config_changes, 2);
}

static void test_config_write_reaches_the_device(void **state)
{
	const uint8_t one = 1;

	end_open(&a, false);
	assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &one, 1), 0);
	assert_int_equal(a.dev->config[WRITEBACK], 1);
	turn_until(fake_vdpa_get(&a.peer, config[WRITEBACK]) == 1);
	turns();
	assert_int_equal(a.dev->config[WRITEBACK], 1);
	assert_int_equal(fake.config_changes, 1);
	assert_string_equal(lines, "");
}

/* The driver reads what the device has, and is told of it. */
static void test_config_write_that_the_device_does_not_take(void **state)
{
	const uint8_t one = 1;

	end_open(&a, false);
	turns();
	fake.config_changes = 0;
	fake_vdpa_set(&a.peer, write_ignored, true);
	assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &one, 1), 0);
	turn_until(fake.config_changes == 1);
	assert_int_equal(a.dev->config[WRITEBACK], 0);
	a.peer.fails = VHOST_VDPA_SET_CONFIG;
	fake_vdpa_set(&a.peer, fails_errno, EIO);
	assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &one, 1), 0);
	turn_until(fake.config_changes == 2);
	assert_int_equal(a.dev->config[WRITEBACK], 0);
	assert_string_equal(lines,
			    "a: /dev/null refused a write of its config: Input/output error\n");
}

static bool within(const struct fake_vdpa *p, uint64_t addr)
{
	return addr >= p->iova && addr < p->iova + p->len;
}

static void test_rings_are_in_the_bridges_own_memory(void **state)
{
	const struct fake_vdpa_ring *r = &a.peer.rings[0];
	struct fake_request *req;
	struct taken t;
	uint8_t *base;

	a.peer.iova_first = 0x7654321000;
	a.peer.ring_size_max = 100;
	end_open(&a, true);
	req = blk_read(&a, 4096);
	take_one(&a, 0, &t);
	/* One mapping, where the device can reach it, and no address of ours. */
	assert_int_equal(a.peer.maps, 1);
	assert_true(a.peer.iova == a.peer.iova_first && a.peer.iova != a.peer.uaddr);
	assert_true(a.peer.len < 4u << 20);
	assert_int_equal(r->size, 64);
	assert_int_equal(r->base, 0);
	assert_true(within(&a.peer, r->addr.desc_user_addr));
	assert_true(within(&a.peer, r->addr.avail_user_addr));
	assert_true(within(&a.peer, r->addr.used_user_addr));
	base = (uint8_t *)(uintptr_t)a.peer.uaddr;
	assert_true((uint8_t *)t.in[0].iov_base >= base);
	assert_true((uint8_t *)t.in[0].iov_base + 4096 <= base + a.peer.len);
	finish(&a, 0, &t, 0);
	turn_until(over(req));
	ended_with(req, 0);
}

static void test_queues_are_as_many_as_the_config_says(void **state)
{
	const struct vhx_vdpa_config cfg = { .queues = 3 };

	a.peer.queues = 4;
	a.peer.config[34] = 2;
	end_open(&a, false);
	assert_int_equal(a.dev->num_queues, 2);
	assert_int_equal(a.dev->config[34], 2);
	end_close(&a);
	closed_at_last(&a);
	a.peer.features &= ~F_MQ;
	end_open(&a, false);
	assert_int_equal(a.dev->num_queues, 1);
	end_close(&a);
	closed_at_last(&a);
	assert_int_equal(end_try(&a, &cfg), 0);
	a.peer.calls_by_loop = 0;
	assert_int_equal(a.dev->num_queues, 3);
}

/* Requests */

static void requests_are_passed_and_answered(bool split)
{
	struct fake_request *w, *r;
	struct taken tw, tr;

	end_open(&a, split);
	w = blk_send(&a, 1, 8192, 0, 0x5a);
	r = blk_read(&a, 70000);
	take_one(&a, 0, &tw);
	take_one(&a, 0, &tr);
	assert_int_equal(tw.chain.out_len, 16 + 8192);
	assert_int_equal(((uint8_t *)tw.out[0].iov_base)[0], 1);
	assert_int_equal(((uint8_t *)tw.out[1].iov_base)[8191], 0x5a);
	assert_int_equal(tr.in[0].iov_len, 70000);
	assert_false(over(w) || over(r));
	finish(&a, 0, &tw, 0);
	memset(tr.in[0].iov_base, 0x77, 70000);
	finish(&a, 0, &tr, 0);
	turn_until(over(r));
	assert_true(over(w) && w->order < r->order);
	ended_with(w, 0);
	assert_int_equal(r->used_len, 70001);
	assert_int_equal(r->answer[0], 0x77);
	assert_int_equal(r->answer[69999], 0x77);
	ended_with(r, 0);
}

static void test_requests_by_a_split_ring(void **state)
{
	requests_are_passed_and_answered(true);
}

static void test_requests_by_a_packed_ring(void **state)
{
	requests_are_passed_and_answered(false);
}

/* What it cannot answer in order, it answers as it can: the driver hears that order. */
/* 5.2.4: a disk says how long a segment may be, and how many a request may have. */
static void limits_set(struct end *e, uint32_t size_max, uint32_t seg_max)
{
	const vhx_le32 limits[2] = { vhx_le32_of(size_max), vhx_le32_of(seg_max) };

	memcpy(e->peer.config + SIZE_MAX_AT, limits, sizeof(limits));
}

static void config_says(const struct end *e, uint32_t size_max, uint32_t seg_max)
{
	vhx_le32 limits[2];

	memcpy(limits, e->dev->config + SIZE_MAX_AT, sizeof(limits));
	assert_int_equal(vhx_le32_get(limits[0]), size_max);
	assert_int_equal(vhx_le32_get(limits[1]), seg_max);
}

static void segs_are_within(const struct iovec *iov, unsigned int cnt, uint32_t size_max)
{
	unsigned int i;

	for (i = 0; i < cnt; i++)
		assert_true(iov[i].iov_len <= size_max);
}

/* @len bytes each way, in @segs pieces. */
static void cut_into(struct end *e, uint32_t len, unsigned int segs, uint32_t size_max)
{
	struct fake_request *w = blk_send(e, 1, len, 0, 0x5a), *r = blk_read(e, len);
	struct taken tw, tr;
	unsigned int i;

	take_one(e, 0, &tw);
	take_one(e, 0, &tr);
	assert_int_equal(tw.chain.out_cnt, 1 + segs);
	assert_int_equal(tr.chain.in_cnt, segs + 1);
	segs_are_within(tw.out, tw.chain.out_cnt, size_max);
	segs_are_within(tr.in, tr.chain.in_cnt, size_max);
	assert_int_equal(tw.chain.out_len, 16 + len);
	assert_int_equal(tr.chain.in_len, len + 1);
	for (i = 1; i <= segs; i++)
		assert_int_equal(((uint8_t *)tw.out[i].iov_base)[tw.out[i].iov_len - 1], 0x5a);
	for (i = 0; i < segs; i++)
		memset(tr.in[i].iov_base, (int)i + 1, tr.in[i].iov_len);
	finish(e, 0, &tw, 0);
	finish(e, 0, &tr, 0);
	turn_until(over(w) && over(r));
	for (i = 0; i < len; i++)
		assert_int_equal(r->answer[i], i / size_max + 1);
	ended_with(w, 0);
	ended_with(r, 0);
}

static void test_segments_are_no_longer_than_the_device_says(void **state)
{
	/* As vdpa_sim_blk says it; with rings of either format, and without indirect descriptors. */
	limits_set(&a, 4096, 32);
	limits_set(&b, 4096, 32);
	a.peer.features &= ~F_INDIRECT;
	end_open(&a, true);
	end_open(&b, false);
	config_says(&a, 4096, 32);
	cut_into(&a, 32 * 4096, 32, 4096);
	cut_into(&a, 4097, 2, 4096);
	cut_into(&b, 32 * 4096, 32, 4096);
	cut_into(&b, 4 * 4096, 4, 4096);
}

static void test_requests_are_no_longer_than_the_device_says(void **state)
{
	struct fake_request *r, *w;
	struct taken t;

	limits_set(&a, 4096, 2);
	end_open(&a, true);
	config_says(&a, 4096, 2);
	/* Its driver was told, and did not heed it. */
	r = blk_read(&a, 2 * 4096 + 512);
	w = blk_send(&a, 1, 3 * 4096, 0, 0x5a);
	ended_with(r, 1);
	ended_with(w, 1);
	turns();
	assert_false(take(&a, 0, &t));
	cut_into(&a, 2 * 4096, 2, 4096);
}

/* What a device says of its limits, and what its driver is told. */
static void test_limits_of_devices(void **state)
{
	static const struct {
		uint32_t size_max, seg_max;
		uint16_t ring;
		uint32_t says_size_max, says_seg_max;
	} rows[] = {
		/* None. */
		{ 0, 0, 256, 4096, 254 },
		{ 0, 7, 256, 4096, 254 },
		/* As many as a bridge cuts. */
		{ 65536, 0, 256, 4096, 254 },
		{ 4096, 0, 256, 4096, 32 },
		{ 4096, UINT32_MAX, 256, 4096, 32 },
		{ UINT32_MAX, UINT32_MAX, 256, 4096, 254 },
		{ UINT32_MAX, 1, 256, 4096, 254 },
		{ 65536, 2, 256, 4096, 32 },
		/* As many as go into a ring. */
		{ 4096, 32, 16, 4096, 6 },
		{ 4096, 32, 4, 4096, 1 },
		/* Not what any disk can work with. */
		{ 1, 1, 256, 512, 1 },
		{ 512, 4, 256, 2048, 1 },
	};
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		limits_set(&a, rows[i].size_max, rows[i].seg_max);
		a.peer.ring_size_max = rows[i].ring;
		end_open(&a, true);
		config_says(&a, rows[i].says_size_max, rows[i].says_seg_max);
		read_is_served(&a);
		end_close(&a);
		closed_at_last(&a);
	}
}

static void test_answers_keep_the_devices_order(void **state)
{
	struct fake_request *r[3];
	struct taken t[3];
	int i;

	end_open(&a, false);
	for (i = 0; i < 3; i++)
		r[i] = blk_read(&a, 512);
	for (i = 0; i < 3; i++)
		take_one(&a, 0, &t[i]);
	for (i = 2; i >= 0; i--)
		finish(&a, 0, &t[i], i == 1);
	turn_until(over(r[0]));
	assert_true(r[2]->order < r[1]->order && r[1]->order < r[0]->order);
	ended_with(r[0], 0);
	ended_with(r[1], 1);
	ended_with(r[2], 0);
}

static void test_calls_for_nothing(void **state)
{
	struct fake_request *r;
	struct taken t;
	int i;

	end_open(&a, true);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	for (i = 0; i < 100; i++) {
		fake_vdpa_forge(&a.peer, 0, 0, 0, 0);
		turn();
	}
	assert_false(over(r));
	finish(&a, 0, &t, 0);
	turn_until(over(r));
	ended_with(r, 0);
}

/* A device that breaks its ring, or asks for a reset */

/* It is reset, and gets the request once more; the other one never hears of it. */
static void a_breach_ends_the_device_only(uint32_t id, uint32_t len, uint16_t cnt,
					  const char *fault)
{
	struct fake_request *r, *other;
	char text[128];
	struct taken t;

	end_open(&a, true);
	end_open(&b, true);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	other = blk_read(&b, 512);
	take_one(&b, 0, &t);
	fake_vdpa_forge(&a.peer, 0, id, len, cnt);
	turn_until(fake_vdpa_get(&a.peer, starts) == 2);
	assert_int_equal(a.peer.resets, 2);
	assert_int_equal(b.peer.resets, 1);
	assert_false(over(r) || over(other));
	finish(&b, 0, &t, 0);
	turn_until(over(other));
	ended_with(other, 0);
	serve_until(&a, r);
	ended_with(r, 0);
	snprintf(text, sizeof(text), "a: queue 0: the device broke the ring: %s\n", fault);
	assert_string_equal(lines, text);
	read_is_served(&a);
}

static void test_used_id_out_of_range(void **state)
{
	a_breach_ends_the_device_only(65535, 1, 1, vhx_ring_fault_name(VHX_RING_USED_ID));
}

static void test_used_id_that_it_has_not(void **state)
{
	a_breach_ends_the_device_only(77, 1, 1, vhx_ring_fault_name(VHX_RING_USED_ID));
}

static void test_used_length_over_the_room(void **state)
{
	a_breach_ends_the_device_only(0, 514, 1, vhx_ring_fault_name(VHX_RING_USED_LEN));
}

static void test_used_index_overrun(void **state)
{
	a_breach_ends_the_device_only(0, 1, 2, vhx_ring_fault_name(VHX_RING_USED_OVERRUN));
}

static void test_request_that_breaks_the_device_each_time(void **state)
{
	struct fake_request *r;
	struct taken t;
	int i;

	end_open(&a, true);
	r = blk_read(&a, 512);
	for (i = 0; i < 3; i++) {
		take_one(&a, 0, &t);
		fake_vdpa_forge(&a.peer, 0, 65535, 0, 1);
	}
	turn_until(over(r));
	ended_with(r, 1);
	read_is_served(&a);
}

static void test_device_that_needs_a_reset(void **state)
{
	struct fake_request *r;
	struct taken t;

	end_open(&a, false);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	fake_vdpa_set(&a.peer, status, a.peer.status | S_NEEDS_RESET);
	fake_vdpa_config_call(&a.peer);
	turn_until(fake_vdpa_get(&a.peer, starts) == 2);
	assert_string_equal(lines, "a: /dev/null needs a reset\n");
	serve_until(&a, r);
	ended_with(r, 0);
}

/* A device that is gone */

static void gone_at(unsigned long request, int err)
{
	struct fake_request *r;
	char text[64];

	lines[0] = '\0';
	a.peer.fails = request;
	fake_vdpa_set(&a.peer, fails_errno, err);
	r = blk_read(&a, 512);
	turn_until(over(r));
	ended_with(r, 1);
	/* No second try, and no second line, before another driver. */
	r = blk_read(&a, 512);
	assert_true(over(r));
	ended_with(r, 1);
	snprintf(text, sizeof(text), "a: failed: /dev/null: %s\n", strerror(err));
	assert_string_equal(lines, text);
	fake_vdpa_set(&a.peer, fails_errno, 0);
	driver_begins(&a);
	read_is_served(&a);
	driver_begins(&a);
}

static void test_device_that_is_gone_at_its_start(void **state)
{
	static const unsigned long calls[] = {
		VHOST_VDPA_SET_STATUS,	    VHOST_VDPA_GET_STATUS, VHOST_SET_FEATURES,
		VHOST_SET_VRING_NUM,	    VHOST_SET_VRING_BASE,  VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_KICK,	    VHOST_SET_VRING_CALL,  VHOST_VDPA_SET_VRING_ENABLE,
		VHOST_VDPA_SET_CONFIG_CALL,
	};
	size_t i;

	end_open(&a, false);
	end_open(&b, false);
	for (i = 0; i < VHX_ARRAY_SIZE(calls); i++) {
		gone_at(calls[i], ENODEV);
		gone_at(calls[i], EIO);
		read_is_served(&b);
	}
}

static void test_device_that_does_not_come_up(void **state)
{
	struct fake_request *r;

	end_open(&a, false);
	a.peer.status_never = 4;
	r = blk_read(&a, 512);
	turn_until(over(r));
	ended_with(r, 1);
	assert_string_equal(lines, "a: failed: /dev/null: Input/output error\n");
	/* And it is left in the state of a device that nobody drives. */
	assert_int_equal(fake_vdpa_get(&a.peer, status), 0);
}

/* It can still be at work: on the bridge's memory, and no request of it is with anybody. */
static void test_device_that_cannot_be_reset(void **state)
{
	struct fake_request *r;
	struct taken t;

	end_open(&a, false);
	end_open(&b, false);
	r = blk_send(&a, 1, 512, 0, 3);
	take_one(&a, 0, &t);
	a.peer.fails = VHOST_VDPA_SET_STATUS;
	fake_vdpa_set(&a.peer, fails_errno, EIO);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	assert_string_equal(lines, "a: failed: /dev/null: Input/output error\n");
	read_is_served(&b);
}

/* Resets */

static void test_reset_of_a_queue_is_answered_when_the_device_let_go(void **state)
{
	struct fake_request *r;
	struct taken t;

	end_open(&a, false);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	turn_until(a.queues[0].quiesced == 1);
	assert_int_equal(fake_vdpa_get(&a.peer, status), 0);
	assert_int_equal(a.peer.resets, 2);
	assert_true(r->dropped);
	fake_request_free(r);
	a.dev->ops->restarted(a.dev);
	read_is_served(&a);
	assert_int_equal(a.queues[0].quiesced, 1);
}

static void open_net(void)
{
	a.peer.device_id = NET;
	a.peer.queues = 2;
	a.peer.config_len = 12;
	end_open(&a, false);
}

static struct fake_request *post(struct end *e)
{
	struct fake_request *r = fake_request_new(e->dev, &e->queues[0], "", 0, 1500);

	fake_submit(r);
	return r;
}

static struct fake_request *packet(struct end *e)
{
	static const uint8_t bytes[64];
	struct fake_request *r = fake_request_new(e->dev, &e->queues[1], bytes, sizeof(bytes), 0);

	fake_submit(r);
	return r;
}

/* One of three queues, all features: the third, and what is said on it, are nobody's. */
static void test_control_queue_of_a_network_is_left_alone(void **state)
{
	const uint64_t control = 0x3full << 17 | 1ull << 23;
	struct fake_request *r;
	struct taken t;

	a.peer.device_id = NET;
	a.peer.queues = 3;
	a.peer.config_len = 12;
	end_open(&a, true);
	assert_int_equal(a.dev->num_queues, 2);
	assert_int_equal(a.dev->features & control, 0);
	assert_int_equal(a.dev->ops->set_features(a.dev, 1ull << 17), -EINVAL);
	r = packet(&a);
	take_one(&a, 1, &t);
	assert_int_equal(a.peer.driver_features & control, 0);
	assert_true(a.peer.rings[1].enabled);
	assert_false(a.peer.rings[2].enabled);
	fake_vdpa_push(&a.peer, 1, t.chain.id, 0);
	turn_until(over(r));
	fake_request_free(r);
}

/* A whole device is reset for one queue of it: what it owes to others comes back before, and they go on. */
static void test_reset_of_one_queue_loses_nothing_of_others(void **state)
{
	struct fake_request *buffer, *sent, *later;
	struct taken t;

	open_net();
	buffer = post(&a);
	sent = packet(&a);
	take_one(&a, 1, &t);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	later = packet(&a);
	turns();
	assert_int_equal(a.queues[0].quiesced, 0);
	assert_int_equal(a.peer.resets, 1);
	fake_vdpa_push(&a.peer, 1, t.chain.id, 0);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(sent->completed && buffer->dropped && !over(later));
	take_one(&a, 1, &t);
	assert_int_equal(a.peer.starts, 2);
	fake_vdpa_push(&a.peer, 1, t.chain.id, 0);
	turn_until(over(later));
	fake_request_free(buffer);
	fake_request_free(sent);
	fake_request_free(later);
}

/* One that never answers holds up the others' reset for a time, and what it was given ends. */
static void test_reset_does_not_wait_for_ever_for_what_others_are_owed(void **state)
{
	struct fake_request *buffer, *sent;
	struct taken t;

	open_net();
	buffer = post(&a);
	sent = packet(&a);
	take_one(&a, 1, &t);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	fake_vdpa_skip(4);
	turns();
	assert_int_equal(a.queues[0].quiesced, 0);
	fake_vdpa_skip(2);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(buffer->dropped && sent->completed);
	fake_request_free(buffer);
	fake_request_free(sent);
}

/* A device that hangs */

#define hangs(e) turn_until(fake_vdpa_get(&(e)->peer, hanging) == 1)
#define still_hangs(e) assert_int_equal(fake_vdpa_get(&(e)->peer, hanging), 1)

/* The status was set by the thread of the loop, which waited for it. */
static void test_start_that_hangs_holds_up_no_other_device(void **state)
{
	struct fake_request *r;
	int i;

	end_open(&a, false);
	end_open(&b, false);
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	for (i = 0; i < 10; i++)
		read_is_served(&b);
	still_hangs(&a);
	assert_false(over(r));
	fake_vdpa_set(&a.peer, hangs, false);
	serve_until(&a, r);
	ended_with(r, 0);
}

static void test_reset_that_hangs_holds_up_no_other_device(void **state)
{
	struct fake_request *r, *next;
	struct taken t;
	int i;

	end_open(&a, false);
	end_open(&b, false);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	fake_vdpa_set(&a.peer, hangs, true);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	hangs(&a);
	for (i = 0; i < 10; i++)
		read_is_served(&b);
	still_hangs(&a);
	fake_vdpa_skip(6);
	turn();
	assert_string_equal(lines, "a: /dev/null does not answer: it is to stop\n");
	/* It may still write what was read into the memory. */
	assert_int_equal(a.queues[0].quiesced, 0);
	assert_false(over(r));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	a.dev->ops->restarted(a.dev);
	next = blk_read(&a, 512);
	serve_until(&a, next);
	ended_with(next, 0);
}

/* The queue's end comes while the device is being reset for another reason. */
static void test_queue_is_reset_while_the_reset_hangs(void **state)
{
	struct fake_request *given, *waiting;
	struct taken t;

	end_open(&a, true);
	given = blk_read(&a, 512);
	take_one(&a, 0, &t);
	turns();
	fake_vdpa_set(&a.peer, hangs, true);
	fake_vdpa_forge(&a.peer, 0, 65535, 0, 1);
	hangs(&a);
	waiting = blk_read(&a, 512);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	turns();
	assert_int_equal(a.queues[0].quiesced, 0);
	assert_true(waiting->dropped && !over(given));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(given->dropped);
	fake_request_free(given);
	fake_request_free(waiting);
	a.dev->ops->restarted(a.dev);
	read_is_served(&a);
}

/* Of a ring that is broken each time, until the pause is a second. */
static void breaches(unsigned int cnt)
{
	struct fake_request *r = NULL;
	struct taken t;

	while (cnt--) {
		if (!r)
			r = blk_read(&a, 512);
		take_one(&a, 0, &t);
		fake_vdpa_forge(&a.peer, 0, 65535, 0, 1);
		turn_until(fake_vdpa_get(&a.peer, status) == 0);
		turns();
		fake_vdpa_skip(2);
		if (!over(r))
			continue;
		fake_request_free(r);
		r = NULL;
	}
	assert_null(r);
}

/* The long pauses after breaches were the last driver's, also where it leaves because of one. */
static void test_driver_that_begins_does_not_wait_for_a_pause(void **state)
{
	struct fake_request *r;
	struct taken t;

	end_open(&a, true);
	breaches(9);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	fake_vdpa_forge(&a.peer, 0, 65535, 0, 1);
	turn_until(fake_vdpa_get(&a.peer, status) == 0);
	turns();
	fake_vdpa_hold(800);
	driver_begins(&a);
	assert_true(r->dropped);
	fake_request_free(r);
	read_is_served(&a);
	fake_vdpa_hold(0);
	driver_begins(&a);
	breaches(9);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	fake_vdpa_set(&a.peer, hangs, true);
	fake_vdpa_forge(&a.peer, 0, 65535, 0, 1);
	hangs(&a);
	fake.restarts = a.dev;
	a.dev->ops->reset(a.dev, &a.queues[0]);
	assert_false(over(r));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(over(r));
	fake.restarts = NULL;
	fake_request_free(r);
	fake_vdpa_hold(800);
	read_is_served(&a);
	fake_vdpa_hold(0);
}

/* Until it is reset, the device goes on: what it has answered by then is not given to it again. */
static void test_answer_that_comes_while_the_reset_hangs(void **state)
{
	struct fake_request *r, *w;
	struct taken tr, tw;

	a.peer.queues = 2;
	a.peer.config[34] = 2;
	end_open(&a, false);
	r = blk_read(&a, 512);
	take_one(&a, 0, &tr);
	w = fake_request_new(a.dev, &a.queues[1], (uint8_t[17]){ 1 }, 17, 1);
	fake_submit(w);
	take_one(&a, 1, &tw);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	fake_vdpa_set(&a.peer, hangs, true);
	fake_vdpa_skip(6);
	hangs(&a);
	finish(&a, 1, &tw, 0);
	turns();
	assert_false(over(w));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	ended_with(w, 0);
}

/* The device has nothing of it: its driver need not wait, and neither need the next one. */
static void test_driver_leaves_while_the_start_hangs(void **state)
{
	struct fake_request *r;

	end_open(&a, false);
	turns();
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	assert_int_equal(a.queues[0].quiesced, 1);
	assert_true(r->dropped);
	fake_request_free(r);
	a.dev->ops->restarted(a.dev);
	assert_int_equal(a.dev->ops->set_features(a.dev, F_FLUSH), 0);
	r = blk_read(&a, 512);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	assert_int_equal(a.queues[0].quiesced, 2);
	assert_true(r->dropped);
	fake_request_free(r);
	r = blk_read(&a, 512);
	still_hangs(&a);
	fake_vdpa_set(&a.peer, hangs, false);
	serve_until(&a, r);
	ended_with(r, 0);
	/* The start of the first one was undone, and this is the second one's. */
	assert_int_equal(a.peer.starts, 2);
	assert_int_equal(a.peer.resets, 2);
	assert_true((a.peer.driver_features & 0xffffff) == F_FLUSH);
}

static void test_config_is_written_while_the_start_hangs(void **state)
{
	uint8_t value, i, refused = 0;
	struct fake_request *r;

	end_open(&a, false);
	turns();
	fake.config_changes = 0;
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	/* Of the same bytes the last one counts. */
	for (value = 1; value < 100; value++)
		assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &value, 1), 0);
	for (i = 36; i < 56; i++)
		refused += a.dev->ops->set_config(a.dev, i, &value, 1) == -EINVAL;
	assert_int_equal(refused, 20 - 7);
	assert_int_equal(a.dev->config[WRITEBACK], 99);
	still_hangs(&a);
	fake_vdpa_set(&a.peer, hangs, false);
	serve_until(&a, r);
	ended_with(r, 0);
	turns();
	assert_int_equal(a.peer.config[WRITEBACK], 99);
	assert_int_equal(a.peer.config[42], 100);
	assert_int_equal(a.peer.config[43], 0);
	assert_int_equal(fake.config_changes, 0);
}

/* What the call was told of is there until it is through: the start maps the memory behind the hang. */
static void test_device_is_closed_while_the_start_hangs(void **state)
{
	struct fake_request *r;

	end_open(&a, false);
	end_open(&b, false);
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	end_close(&a);
	still_hangs(&a);
	assert_true(r->dropped);
	fake_request_free(r);
	read_is_served(&b);
	assert_true(fake_vdpa_get(&a.peer, fd) >= 0);
	fake_vdpa_set(&a.peer, hangs, false);
	closed_at_last(&a);
	assert_int_equal(a.peer.maps, 1);
	assert_int_equal(a.peer.starts, 1);
	assert_int_equal(a.peer.calls_by_loop, 0);
}

/* Closing the file resets the device, too. */
static void test_device_that_hangs_is_closed(void **state)
{
	end_open(&a, false);
	end_open(&b, false);
	read_is_served(&a);
	turns();
	fake_vdpa_set(&a.peer, hangs_on_close, true);
	end_close(&a);
	still_hangs(&a);
	read_is_served(&b);
	fake_vdpa_set(&a.peer, hangs_on_close, false);
	closed_at_last(&a);
}

/* And not some time later; but for when this thread ran and the other did not. */
static void test_device_that_is_well_is_closed_when_close_returns(void **state)
{
	unsigned int closed = 0, i;

	for (i = 0; i < 20; i++) {
		end_open(&a, false);
		/* As is one that nobody has driven. */
		if (i % 2)
			read_is_served(&a);
		end_close(&a);
		closed += fake_vdpa_get(&a.peer, fd) < 0;
		closed_at_last(&a);
	}
	assert_true(closed >= 10);
}

/* Starts */

static void refused(const struct vhx_vdpa_config *cfg, int ret, const char *text)
{
	assert_int_equal(end_try(&a, cfg), ret);
	assert_string_equal(error.text, text);
	assert_null(strchr(text, '\n'));
	assert_int_equal(a.peer.fd, -1);
}

static void test_every_refusal_has_its_line(void **state)
{
	static const struct vhx_vdpa_config plain, two = { .queues = 2 }, many = { .queues = 65 };

	a.peer.fails = VHOST_SET_OWNER;
	a.peer.fails_errno = EBUSY;
	refused(&plain, -EBUSY, "a: /dev/null: Device or resource busy");
	a.peer.fails_errno = ENOTTY;
	refused(&plain, -ENOTTY, "a: /dev/null: this is no vDPA device");
	a.peer.fails = VHOST_VDPA_GET_CONFIG;
	a.peer.fails_errno = EIO;
	refused(&plain, -EIO, "a: /dev/null: Input/output error");
	a.peer.fails_errno = 0;
	a.peer.device_id = GPU;
	refused(&plain, -EOPNOTSUPP,
		"a: /dev/null: a gpu cannot be bridged: its requests carry guest addresses, which "
		"never cross to a backend");
	a.peer.device_id = BLK;
	a.peer.features &= ~F_VERSION_1;
	refused(&plain, -EOPNOTSUPP, "a: /dev/null: the device knows nothing of VirtIO 1");
	a.peer.features |= F_VERSION_1;
	a.peer.config_len = 8;
	refused(&plain, -EPROTO, "a: /dev/null: its config space is too small for one of its type");
	a.peer.config_len = FAKE_VDPA_CONFIG;
	refused(&two, -ERANGE,
		"a: /dev/null: queues=2: the device has 1, and one of its type from 1 to 1");
	a.peer.queues = 200;
	refused(&many, -ERANGE,
		"a: /dev/null: queues=65: the device has 200, and one of its type from 1 to 64");
	a.peer.device_id = NET;
	a.peer.queues = 1;
	refused(&plain, -ERANGE,
		"a: /dev/null: queues=2: the device has 1, and one of its type from 2 to 2");
	a.peer.device_id = BLK;
	a.peer.iova_last = 0x1000;
	refused(&plain, -ERANGE, "a: /dev/null: Numerical result out of range");
	assert_string_equal(lines, "");
}

/* The kernel refuses to read a config of no length. */
static void test_type_without_a_config(void **state)
{
	static const uint8_t none[1];
	struct fake_request *r;
	struct taken t;

	a.peer.device_id = RNG;
	a.peer.config_len = 0;
	end_open(&a, false);
	r = fake_request_new(a.dev, &a.queues[0], none, 0, 16);
	fake_submit(r);
	take_one(&a, 0, &t);
	memset(t.in[0].iov_base, 0x42, 16);
	fake_vdpa_push(&a.peer, 0, t.chain.id, 16);
	turn_until(over(r));
	assert_int_equal(r->used_len, 16);
	assert_int_equal(r->answer[15], 0x42);
	fake_request_free(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_features_are_masked),
		T(test_packed_ring_is_the_operators_choice),
		T(test_config_is_the_devices_within_our_limits),
		T(test_config_write_reaches_the_device),
		T(test_config_write_that_the_device_does_not_take),
		T(test_rings_are_in_the_bridges_own_memory),
		T(test_queues_are_as_many_as_the_config_says),
		T(test_requests_by_a_split_ring),
		T(test_requests_by_a_packed_ring),
		T(test_segments_are_no_longer_than_the_device_says),
		T(test_requests_are_no_longer_than_the_device_says),
		T(test_limits_of_devices),
		T(test_answers_keep_the_devices_order),
		T(test_calls_for_nothing),
		T(test_used_id_out_of_range),
		T(test_used_id_that_it_has_not),
		T(test_used_length_over_the_room),
		T(test_used_index_overrun),
		T(test_request_that_breaks_the_device_each_time),
		T(test_device_that_needs_a_reset),
		T(test_device_that_is_gone_at_its_start),
		T(test_device_that_does_not_come_up),
		T(test_device_that_cannot_be_reset),
		T(test_reset_of_a_queue_is_answered_when_the_device_let_go),
		T(test_control_queue_of_a_network_is_left_alone),
		T(test_reset_of_one_queue_loses_nothing_of_others),
		T(test_reset_does_not_wait_for_ever_for_what_others_are_owed),
		T(test_start_that_hangs_holds_up_no_other_device),
		T(test_reset_that_hangs_holds_up_no_other_device),
		T(test_queue_is_reset_while_the_reset_hangs),
		T(test_driver_that_begins_does_not_wait_for_a_pause),
		T(test_answer_that_comes_while_the_reset_hangs),
		T(test_driver_leaves_while_the_start_hangs),
		T(test_config_is_written_while_the_start_hangs),
		T(test_device_is_closed_while_the_start_hangs),
		T(test_device_that_hangs_is_closed),
		T(test_device_that_is_well_is_closed_when_close_returns),
		T(test_every_refusal_has_its_line),
		T(test_type_without_a_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
