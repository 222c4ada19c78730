// SPDX-License-Identifier: BSD-3-Clause
/*
 * The exchange contract (src/exchange/exchange.h), held against one provider: the one that the command line
 * names. Each test is named after the clause or the fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

#include <cmocka.h>

#include "exchange/writer.h"
#include "far_port.h"
#include "pairs.h"

#define RING (64u << 10)
#define SMALL_RING (16u << 10)

static const struct provider *provider;

struct fixture {
	struct vhx_port *a, *b;
	uint8_t *out, *in; /* max_message + 1 bytes each */
};

static void fixture_open(struct fixture *f, uint32_t ring_len)
{
	struct vhx_port *ends[2];

	assert_int_equal(provider->pair(ring_len, ends), 0);
	f->a = ends[0];
	f->b = ends[1];
	assert_true(vhx_port_ready(f->a));
	assert_true(vhx_port_ready(f->b));
	assert_int_equal(f->a->max_message, f->b->max_message);
	f->out = test_malloc(f->a->max_message + 1);
	f->in = test_malloc(f->a->max_message + 1);
}

static void fixture_close(struct fixture *f)
{
	vhx_port_close(f->a);
	vhx_port_close(f->b);
	test_free(f->out);
	test_free(f->in);
}

static uint8_t pattern(uint32_t seed, uint32_t at)
{
	return (uint8_t)(seed * 31 + at * 7 + (at >> 8));
}

static void pattern_fill(uint8_t *buf, uint32_t seed, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = pattern(seed, i);
}

static int send_pattern(struct fixture *f, struct vhx_port *p, uint32_t seed, uint32_t len)
{
	struct iovec iov = { .iov_base = f->out, .iov_len = len };

	pattern_fill(f->out, seed, len);
	return vhx_port_send(p, seed, &iov, 1);
}

/* The next message is exactly the one that send_pattern() made of @seed and @len. */
static void expect_pattern(struct fixture *f, struct vhx_port *p, uint32_t seed, uint32_t len)
{
	struct vhx_msg msg;

	assert_int_equal(vhx_port_peek(p, &msg), 1);
	assert_int_equal(msg.type, seed);
	assert_int_equal(msg.len, len);
	vhx_port_read(p, 0, f->in, len);
	pattern_fill(f->out, seed, len);
	assert_memory_equal(f->in, f->out, len);
	vhx_port_consume(p);
}

static void expect_nothing(struct vhx_port *p)
{
	struct vhx_msg msg;

	assert_int_equal(vhx_port_peek(p, &msg), 0);
}

/*
 * Nothing is there to do, and a wake will come. A provider that wakes itself, to look after its peer, may have that to do
 * first, which a look for messages does: on a slow machine its time comes in any test.
 */
static void expect_rest(struct vhx_port *p)
{
	if (!(p->ops->caps & VHX_PORT_SLEEP_FLAG) && vhx_port_prepare_wait(p))
		expect_nothing(p);
	assert_int_equal(vhx_port_prepare_wait(p), 0);
}

/* ---- messages ---- */

static void test_messages_whole_in_order_never_merged(void **state)
{
	struct fixture f;

	fixture_open(&f, RING);
	for (uint32_t len = 0; len < 100; len++)
		assert_int_equal(send_pattern(&f, f.a, 1000 + len, len), 0);
	for (uint32_t len = 0; len < 100; len++)
		expect_pattern(&f, f.b, 1000 + len, len);
	expect_nothing(f.b);
	expect_nothing(f.a);
	fixture_close(&f);
}

static void test_both_ways_at_once(void **state)
{
	struct fixture f;

	fixture_open(&f, RING);
	for (uint32_t i = 0; i < 50; i++) {
		assert_int_equal(send_pattern(&f, f.a, i, i * 3), 0);
		assert_int_equal(send_pattern(&f, f.b, ~i, i * 5), 0);
	}
	for (uint32_t i = 0; i < 50; i++) {
		expect_pattern(&f, f.b, i, i * 3);
		expect_pattern(&f, f.a, ~i, i * 5);
	}
	fixture_close(&f);
}

static void test_message_empty_one_byte_and_maximum(void **state)
{
	struct fixture f;

	fixture_open(&f, RING);
	assert_int_equal(vhx_port_send(f.a, 7, NULL, 0), 0);
	expect_pattern(&f, f.b, 7, 0);
	for (uint32_t round = 0; round < 9; round++) {
		assert_int_equal(send_pattern(&f, f.a, round, 1), 0);
		expect_pattern(&f, f.b, round, 1);
		assert_int_equal(send_pattern(&f, f.a, round, f.a->max_message), 0);
		expect_pattern(&f, f.b, round, f.a->max_message);
	}
	fixture_close(&f);
}

static void test_message_type_all_values(void **state)
{
	static const uint32_t types[] = { 0, 1, 0x7fffffff, 0x80000000, UINT32_MAX };
	struct fixture f;

	fixture_open(&f, RING);
	for (size_t i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		assert_int_equal(send_pattern(&f, f.a, types[i], 10), 0);
		expect_pattern(&f, f.b, types[i], 10);
	}
	fixture_close(&f);
}

static void test_message_too_big(void **state)
{
	struct fixture f;
	struct iovec huge[2];
	void *buf;

	fixture_open(&f, RING);
	assert_int_equal(send_pattern(&f, f.a, 1, f.a->max_message + 1), -EMSGSIZE);
	/* Lengths whose sum wraps must not look small. */
	huge[0] = (struct iovec){ .iov_base = f.out, .iov_len = SIZE_MAX - 8 };
	huge[1] = (struct iovec){ .iov_base = f.out, .iov_len = 16 };
	assert_int_equal(vhx_port_send(f.a, 1, huge, 2), -EMSGSIZE);
	if (f.a->ops->caps & VHX_PORT_RESERVE) {
		assert_int_equal(vhx_port_reserve(f.a, f.a->max_message + 1, &buf), -EMSGSIZE);
		assert_int_equal(vhx_port_reserve(f.a, UINT32_MAX, &buf), -EMSGSIZE);
	}
	expect_nothing(f.b);
	assert_int_equal(f.a->stats.sends, 0);
	assert_int_equal(send_pattern(&f, f.a, 2, 10), 0);
	expect_pattern(&f, f.b, 2, 10);
	fixture_close(&f);
}

static void test_gather_up_to_iov_max(void **state)
{
	struct fixture f;
	struct iovec *iov;
	unsigned int max;
	uint32_t len = 0;

	fixture_open(&f, RING);
	max = f.a->ops->iov_max;
	iov = test_calloc(max + 1, sizeof(*iov));
	pattern_fill(f.out, 5, f.a->max_message);
	for (unsigned int i = 0; i < max; i++) {
		/* Lengths 0 to 6, so that no piece is aligned. */
		iov[i] = (struct iovec){ .iov_base = f.out + len, .iov_len = i % 7 };
		len += i % 7;
	}
	assert_int_equal(vhx_port_send(f.a, 5, iov, max), 0);
	expect_pattern(&f, f.b, 5, len);
	iov[max] = (struct iovec){ .iov_base = f.out, .iov_len = 1 };
	assert_int_equal(vhx_port_send(f.a, 5, iov, max + 1), -EINVAL);
	expect_nothing(f.b);
	test_free(iov);
	fixture_close(&f);
}

static void test_read_in_pieces_and_repeated_peek(void **state)
{
	struct fixture f;
	struct vhx_msg msg;

	fixture_open(&f, RING);
	assert_int_equal(send_pattern(&f, f.a, 3, 1000), 0);
	assert_int_equal(send_pattern(&f, f.a, 4, 20), 0);
	for (uint32_t off = 0; off < 1000; off += 125) {
		assert_int_equal(vhx_port_peek(f.b, &msg), 1);
		assert_int_equal(msg.len, 1000);
		vhx_port_read(f.b, off, f.in + off, 125);
	}
	pattern_fill(f.out, 3, 1000);
	assert_memory_equal(f.in, f.out, 1000);
	vhx_port_consume(f.b);
	/* Consumed without having been read: the next one is not disturbed. */
	assert_int_equal(send_pattern(&f, f.a, 5, 30), 0);
	assert_int_equal(vhx_port_peek(f.b, &msg), 1);
	vhx_port_consume(f.b);
	expect_pattern(&f, f.b, 5, 30);
	fixture_close(&f);
}

/* ---- rings ---- */

/* An emulated processor has time for less. */
static uint32_t wrap_offsets = UINT32_MAX;
static uint32_t full_rounds = 3;

static void test_wrap_at_every_offset(void **state)
{
	struct fixture f;
	uint32_t ring_len;

	fixture_open(&f, SMALL_RING);
	/* Not every provider has rings so small. */
	ring_len = f.a->tx_ring_len + VHX_SLOT;
	/* Each message moves the start by one slot more than the ring divides by. */
	for (uint32_t off = 0; off < ring_len && off / VHX_SLOT < wrap_offsets; off += VHX_SLOT) {
		uint32_t filler = ring_len / 2 + VHX_SLOT;

		assert_int_equal(send_pattern(&f, f.a, off, 200), 0);
		expect_pattern(&f, f.b, off, 200);
		filler -= vhx_footprint(200);
		/* Moves on by the rest, so that two rounds come back one slot (or two) later. */
		while (filler) {
			uint32_t max = vhx_footprint(f.a->max_message & ~(VHX_SLOT - 1));
			uint32_t step = filler < max ? filler : max;

			assert_int_equal(send_pattern(&f, f.a, 1, step - VHX_SLOT_HEADER), 0);
			expect_pattern(&f, f.b, 1, step - VHX_SLOT_HEADER);
			filler -= step;
		}
	}
	fixture_close(&f);
}

static void test_long_run_of_mixed_lengths(void **state)
{
	struct fixture f;
	uint64_t sent = 0;

	/* Every length class at many offsets, over many turns of the ring. */
	fixture_open(&f, SMALL_RING);
	for (uint32_t i = 0; sent < 64 * (uint64_t)SMALL_RING; i++) {
		uint32_t len = (i * 2654435761u) % (f.a->max_message + 1);

		assert_int_equal(send_pattern(&f, f.a, i, len), 0);
		expect_pattern(&f, f.b, i, len);
		sent += vhx_footprint(len);
	}
	fixture_close(&f);
}

static uint32_t fill_ring(struct fixture *f, struct vhx_port *p, uint32_t len)
{
	uint32_t n = 0;

	while (send_pattern(f, p, n, len) == 0)
		n++;
	assert_int_equal(send_pattern(f, p, n, len), -EAGAIN);
	return n;
}

static void test_ring_completely_full_then_drained(void **state)
{
	static const uint32_t lens[] = { 0, 1, 16, 17, 100, 1000 };
	struct fixture f;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		fixture_open(&f, SMALL_RING);
		for (uint32_t round = 0; round < full_rounds; round++) {
			uint32_t n = fill_ring(&f, f.a, lens[i]);

			/* tx_ring_len is what the ring holds: all of it can be used, no more. */
			assert_int_equal(n, f.a->tx_ring_len / vhx_footprint(lens[i]));
			for (uint32_t m = 0; m < n; m++)
				expect_pattern(&f, f.b, m, lens[i]);
			expect_nothing(f.b);
		}
		fixture_close(&f);
	}
}

static void test_full_both_ways_drains_without_sending(void **state)
{
	struct fixture f;
	uint32_t na, nb;

	fixture_open(&f, SMALL_RING);
	na = fill_ring(&f, f.a, 300);
	nb = fill_ring(&f, f.b, 300);
	for (uint32_t m = 0; m < na; m++)
		expect_pattern(&f, f.b, m, 300);
	for (uint32_t m = 0; m < nb; m++)
		expect_pattern(&f, f.a, m, 300);
	fixture_close(&f);
}

static void test_room_is_there_when_a_later_message_arrives(void **state)
{
	struct fixture f;
	struct vhx_msg msg;
	uint32_t n;

	/* What credit stands on: consume, tell the sender, and it finds the room, without any wait. */
	fixture_open(&f, SMALL_RING);
	n = fill_ring(&f, f.a, 1000);
	for (uint32_t i = 0; i < 200; i++) {
		assert_int_equal(vhx_port_peek(f.b, &msg), 1);
		vhx_port_consume(f.b);
		assert_int_equal(send_pattern(&f, f.b, i, 4), 0);
		expect_pattern(&f, f.a, i, 4);
		assert_int_equal(send_pattern(&f, f.a, n + i, 1000), 0);
	}
	fixture_close(&f);
}

/* ---- would-block, waiting ---- */

static void drain(struct fixture *f, struct vhx_port *p)
{
	struct vhx_msg msg;
	int ret;

	while ((ret = vhx_port_peek(p, &msg)) == 1)
		vhx_port_consume(p);
	assert_int_equal(ret, 0);
}

static void test_would_block_then_writable_event(void **state)
{
	struct fixture f;

	fixture_open(&f, SMALL_RING);
	fill_ring(&f, f.a, 500);
	expect_rest(f.a);
	drain(&f, f.b);
	assert_true(port_sleep(f.a));
	assert_int_equal(vhx_port_event(f.a), 0);
	assert_int_equal(send_pattern(&f, f.a, 1, 500), 0);
	expect_pattern(&f, f.b, 1, 500);
	assert_true(f.a->stats.would_blocks >= 1);
	fixture_close(&f);
}

static void test_peer_drains_between_check_and_wait(void **state)
{
	struct fixture f;

	fixture_open(&f, SMALL_RING);
	fill_ring(&f, f.a, 500);
	drain(&f, f.b);
	/* Either there is work already or the event is there: never a sleep without end. */
	if (vhx_port_prepare_wait(f.a) == 0)
		assert_true(port_sleep(f.a));
	assert_int_equal(vhx_port_event(f.a), 0);
	assert_int_equal(send_pattern(&f, f.a, 1, 500), 0);
	fixture_close(&f);
}

static void test_writable_event_for_the_largest_that_was_refused(void **state)
{
	struct fixture f;
	struct vhx_msg msg;
	int rounds = 0;

	fixture_open(&f, SMALL_RING);
	fill_ring(&f, f.a, 16);
	assert_int_equal(send_pattern(&f, f.a, 9, f.a->max_message), -EAGAIN);
	/* The peer takes one at a time and goes to sleep each time: the room comes bit by bit. */
	while (send_pattern(&f, f.a, 9, f.a->max_message) == -EAGAIN) {
		int ready = vhx_port_prepare_wait(f.a);

		assert_in_range(ready, 0, 1);
		assert_int_equal(vhx_port_peek(f.b, &msg), 1);
		vhx_port_consume(f.b);
		assert_int_equal(vhx_port_prepare_wait(f.b), 1);
		vhx_port_event(f.a);
		assert_true(++rounds < 10000);
	}
	drain(&f, f.b);
	fixture_close(&f);
}

static void test_consumer_gives_room_before_it_sleeps(void **state)
{
	struct fixture f;
	struct vhx_msg msg;

	fixture_open(&f, SMALL_RING);
	fill_ring(&f, f.a, 500);
	expect_rest(f.a);
	/* One of many, the rest stays: nothing but the wait tells the sender. */
	assert_int_equal(vhx_port_peek(f.b, &msg), 1);
	vhx_port_consume(f.b);
	assert_int_equal(vhx_port_prepare_wait(f.b), 1);
	assert_true(port_sleep(f.a));
	assert_int_equal(vhx_port_event(f.a), 0);
	assert_int_equal(send_pattern(&f, f.a, 1, 500), 0);
	fixture_close(&f);
}

static void test_small_send_does_not_end_the_wait_of_a_large_one(void **state)
{
	struct fixture f;
	struct vhx_msg msg;

	fixture_open(&f, SMALL_RING);
	fill_ring(&f, f.a, 16);
	assert_int_equal(send_pattern(&f, f.a, 9, f.a->max_message), -EAGAIN);
	assert_int_equal(vhx_port_peek(f.b, &msg), 1);
	vhx_port_consume(f.b);
	assert_int_equal(vhx_port_prepare_wait(f.b), 1);
	assert_int_equal(send_pattern(&f, f.a, 9, 16), 0);
	expect_rest(f.a);
	drain(&f, f.b);
	assert_true(port_sleep(f.a));
	assert_int_equal(vhx_port_event(f.a), 0);
	assert_int_equal(send_pattern(&f, f.a, 9, f.a->max_message), 0);
	fixture_close(&f);
}

static void test_prepare_wait_sees_message_and_peeked_message(void **state)
{
	struct fixture f;
	struct vhx_msg msg;

	fixture_open(&f, RING);
	expect_rest(f.b);
	assert_int_equal(send_pattern(&f, f.a, 1, 10), 0);
	assert_int_equal(vhx_port_prepare_wait(f.b), 1);
	assert_int_equal(vhx_port_peek(f.b, &msg), 1);
	assert_int_equal(vhx_port_prepare_wait(f.b), 1);
	vhx_port_consume(f.b);
	expect_rest(f.b);
	fixture_close(&f);
}

static void test_sleeper_is_woken_once_for_many_messages(void **state)
{
	struct fixture f;

	fixture_open(&f, RING);
	drain(&f, f.b);
	expect_rest(f.b);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(send_pattern(&f, f.a, i, 10), 0);
	assert_true(port_sleep(f.b));
	assert_int_equal(vhx_port_event(f.b), 0);
	for (uint32_t i = 0; i < 20; i++)
		expect_pattern(&f, f.b, i, 10);
	if (f.a->ops->caps & VHX_PORT_SLEEP_FLAG) {
		assert_int_equal(f.a->stats.wakes_sent, 1);
		assert_int_equal(f.b->stats.wakes_taken, 1);
	} else {
		/*
		 * How many of them become one is the hypervisor's affair; and one that comes for another port
		 * meanwhile counts as well.
		 */
		assert_int_equal(f.a->stats.wakes_sent, 20);
		assert_true(f.b->stats.wakes_taken >= 1);
	}
	fixture_close(&f);
}

static void test_awake_peer_is_not_woken(void **state)
{
	struct fixture f;

	fixture_open(&f, RING);
	if (!(f.a->ops->caps & VHX_PORT_SLEEP_FLAG)) {
		fixture_close(&f);
		skip();
	}
	for (uint32_t i = 0; i < 200; i++) {
		assert_int_equal(send_pattern(&f, f.a, i, 10), 0);
		expect_pattern(&f, f.b, i, 10);
		expect_nothing(f.b);
	}
	assert_int_equal(f.a->stats.wakes_sent, 0);
	fixture_close(&f);
}

/* Two threads, each asleep whenever it has nothing to do. A lost wakeup ends in the hang guard. */
static uint32_t ping_rounds = 20000; /* likewise */

struct player {
	struct vhx_port *port;
	uint32_t received;
	bool serves;
	bool failed;
};

static bool player_send(struct player *pl, uint32_t seq)
{
	struct iovec iov = { .iov_base = &seq, .iov_len = sizeof(seq) };

	return vhx_port_send(pl->port, 1, &iov, 1) == 0;
}

static bool player_drain(struct player *pl)
{
	struct vhx_msg msg;
	uint32_t seq;
	int ret;

	while ((ret = vhx_port_peek(pl->port, &msg)) == 1) {
		if (msg.len != sizeof(seq))
			return false;
		vhx_port_read(pl->port, 0, &seq, sizeof(seq));
		vhx_port_consume(pl->port);
		if (seq != pl->received++)
			return false;
		if (pl->serves && pl->received == ping_rounds)
			return true;
		if (!player_send(pl, pl->serves ? pl->received : seq))
			return false;
	}
	return ret == 0;
}

static bool player_wait(struct player *pl)
{
	int ready = vhx_port_prepare_wait(pl->port);

	if (ready)
		return ready == 1;
	return port_sleep(pl->port) && vhx_port_event(pl->port) == 0;
}

static void *player_run(void *arg)
{
	struct player *pl = arg;

	if (pl->serves && !player_send(pl, 0))
		pl->failed = true;
	while (!pl->failed && pl->received < ping_rounds) {
		if (!player_drain(pl))
			pl->failed = true;
		else if (pl->received < ping_rounds && !player_wait(pl))
			pl->failed = true;
	}
	return NULL;
}

static void test_no_lost_wakeup_in_ping_pong(void **state)
{
	struct fixture f;
	struct player one, two;
	pthread_t thread;

	fixture_open(&f, RING);
	one = (struct player){ .port = f.a, .serves = true };
	two = (struct player){ .port = f.b };
	assert_int_equal(pthread_create(&thread, NULL, player_run, &two), 0);
	player_run(&one);
	pthread_join(thread, NULL);
	assert_false(one.failed);
	assert_false(two.failed);
	if (f.a->ops->caps & VHX_PORT_SLEEP_FLAG)
		assert_true(f.a->stats.wakes_sent <= f.a->stats.sends);
	fixture_close(&f);
}

/* One thread sends more than the ring holds, the other consumes: both block, over and over. */
static uint32_t stream_messages = 30000; /* likewise */

static void *stream_consumer(void *arg)
{
	struct player *pl = arg;
	struct vhx_msg msg;

	while (!pl->failed && pl->received < stream_messages) {
		int ret = vhx_port_peek(pl->port, &msg);

		if (ret == 1) {
			pl->failed = msg.type != pl->received++;
			vhx_port_consume(pl->port);
		} else if (ret < 0 || !player_wait(pl)) {
			pl->failed = true;
		}
	}
	/* What was consumed is published on the way to sleep. */
	vhx_port_prepare_wait(pl->port);
	return NULL;
}

static void test_no_lost_wakeup_in_full_ring(void **state)
{
	struct fixture f;
	struct player producer, consumer;
	pthread_t thread;
	uint32_t sent = 0;

	fixture_open(&f, SMALL_RING);
	producer = (struct player){ .port = f.a };
	consumer = (struct player){ .port = f.b };
	assert_int_equal(pthread_create(&thread, NULL, stream_consumer, &consumer), 0);
	while (sent < stream_messages && !producer.failed) {
		uint32_t len = (sent * 7919u) % 3000;
		int err = send_pattern(&f, f.a, sent, len);

		if (!err)
			sent++;
		else if (err != -EAGAIN || !player_wait(&producer))
			producer.failed = true;
	}
	pthread_join(thread, NULL);
	assert_false(producer.failed);
	assert_false(consumer.failed);
	if (f.a->ops->caps & VHX_PORT_SLEEP_FLAG) {
		assert_true(f.a->stats.wakes_sent <= f.a->stats.sends);
		assert_true(f.b->stats.wakes_sent <= f.a->stats.would_blocks);
	}
	fixture_close(&f);
}

/* ---- in place ---- */

static void test_four_of_the_largest_fit(void **state)
{
	struct fixture f;

	fixture_open(&f, SMALL_RING);
	assert_true(4 * vhx_footprint(f.a->max_message) <= f.a->tx_ring_len);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(send_pattern(&f, f.a, i, f.a->max_message), 0);
	fixture_close(&f);
}

static bool can_reserve(struct fixture *f)
{
	void *buf;

	if (f->a->ops->caps & VHX_PORT_RESERVE)
		return true;
	assert_int_equal(vhx_port_reserve(f->a, 1, &buf), -EOPNOTSUPP);
	fixture_close(f);
	return false;
}

static void test_reserve_commit_shorter_and_cancel(void **state)
{
	struct fixture f;
	void *buf;

	fixture_open(&f, SMALL_RING);
	if (!can_reserve(&f))
		skip();
	for (uint32_t round = 0; round < 500; round++) {
		uint32_t len = round * 5 % f.a->max_message;

		assert_int_equal(vhx_port_reserve(f.a, f.a->max_message, &buf), 0);
		memset(buf, 0xee, f.a->max_message);
		vhx_port_cancel(f.a);
		expect_nothing(f.b);
		assert_int_equal(vhx_port_reserve(f.a, f.a->max_message, &buf), 0);
		pattern_fill(buf, round, len);
		assert_int_equal(vhx_port_commit(f.a, round, len), 0);
		expect_pattern(&f, f.b, round, len);
	}
	fixture_close(&f);
}

static void test_reserve_would_block_then_event(void **state)
{
	struct fixture f;
	void *buf;

	fixture_open(&f, SMALL_RING);
	if (!can_reserve(&f))
		skip();
	fill_ring(&f, f.a, 100);
	assert_int_equal(vhx_port_reserve(f.a, 2000, &buf), -EAGAIN);
	expect_rest(f.a);
	drain(&f, f.b);
	assert_true(port_sleep(f.a));
	assert_int_equal(vhx_port_event(f.a), 0);
	assert_int_equal(vhx_port_reserve(f.a, 2000, &buf), 0);
	vhx_port_cancel(f.a);
	fixture_close(&f);
}

static void test_reservation_open_beside_reading(void **state)
{
	struct fixture f;
	void *buf;

	/* Traffic the other way goes on, however long a reservation is open. */
	fixture_open(&f, SMALL_RING);
	if (!can_reserve(&f))
		skip();
	assert_int_equal(vhx_port_reserve(f.a, 1000, &buf), 0);
	for (uint32_t i = 0; i < 300; i++) {
		assert_int_equal(send_pattern(&f, f.b, i, 700), 0);
		expect_pattern(&f, f.a, i, 700);
		expect_nothing(f.a);
		expect_nothing(f.b);
	}
	pattern_fill(buf, 77, 1000);
	assert_int_equal(vhx_port_commit(f.a, 77, 1000), 0);
	expect_pattern(&f, f.b, 77, 1000);
	fixture_close(&f);
}

/* ---- the peer's death ---- */

/* Until the death shows: by itself where the provider has liveness, else at the next send. */
static void expect_gone(struct fixture *f, struct vhx_port *p)
{
	struct vhx_msg msg;

	if (p->ops->caps & VHX_PORT_LIVENESS) {
		for (int i = 0; i < 100 && vhx_port_event(p) == 0; i++)
			assert_true(port_sleep(p));
		assert_int_equal(vhx_port_event(p), -EPIPE);
	} else {
		assert_int_equal(send_pattern(f, p, 1, 1), -EPIPE);
	}
	/* For ever, and without a hang. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send_pattern(f, p, 1, 1), -EPIPE);
		assert_int_equal(vhx_port_peek(p, &msg), -EPIPE);
		assert_int_equal(vhx_port_prepare_wait(p), 1);
		assert_int_equal(vhx_port_event(p), -EPIPE);
	}
	assert_true(vhx_port_ready(p));
}

static void close_peer(struct fixture *f)
{
	vhx_port_close(f->b);
	f->b = NULL;
}

static void test_peer_gone_idle(void **state)
{
	struct fixture f;

	fixture_open(&f, RING);
	expect_rest(f.a);
	close_peer(&f);
	expect_gone(&f, f.a);
	fixture_close(&f);
}

static void test_peer_gone_mid_stream(void **state)
{
	struct fixture f;

	fixture_open(&f, SMALL_RING);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(send_pattern(&f, f.a, i, 100), 0);
		assert_int_equal(send_pattern(&f, f.b, i, 100), 0);
	}
	expect_pattern(&f, f.b, 0, 100);
	for (uint32_t i = 0; i < 5; i++)
		expect_pattern(&f, f.a, i, 100);
	close_peer(&f);
	expect_gone(&f, f.a);
	fixture_close(&f);
}

static void test_peer_gone_with_unread_messages(void **state)
{
	struct fixture f;

	fixture_open(&f, SMALL_RING);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(send_pattern(&f, f.b, i, 100 + i), 0);
	expect_pattern(&f, f.a, 0, 100);
	close_peer(&f);
	/* Found out first, then read: what was published stays readable. */
	while (send_pattern(&f, f.a, 1, 1) == 0 && vhx_port_event(f.a) == 0)
		;
	for (uint32_t i = 1; i < 5; i++)
		expect_pattern(&f, f.a, i, 100 + i);
	expect_gone(&f, f.a);
	fixture_close(&f);
}

static void test_peer_gone_with_full_ring(void **state)
{
	struct fixture f;

	fixture_open(&f, SMALL_RING);
	fill_ring(&f, f.a, 100);
	expect_rest(f.a);
	close_peer(&f);
	expect_gone(&f, f.a);
	fixture_close(&f);
}

static void test_peer_gone_with_reservation_open(void **state)
{
	struct fixture f;
	void *buf;

	for (int cancel = 0; cancel < 2; cancel++) {
		fixture_open(&f, SMALL_RING);
		if (!can_reserve(&f))
			skip();
		assert_int_equal(vhx_port_reserve(f.a, 500, &buf), 0);
		close_peer(&f);
		memset(buf, 1, 500);
		assert_int_equal(vhx_port_event(f.a), -EPIPE);
		if (cancel)
			vhx_port_cancel(f.a);
		else
			assert_int_equal(vhx_port_commit(f.a, 1, 500), -EPIPE);
		expect_gone(&f, f.a);
		fixture_close(&f);
	}
}

static void test_close_with_reservation_and_peeked_message(void **state)
{
	struct fixture f;
	struct vhx_msg msg;
	void *buf;

	fixture_open(&f, SMALL_RING);
	assert_int_equal(send_pattern(&f, f.b, 1, 10), 0);
	assert_int_equal(vhx_port_peek(f.a, &msg), 1);
	if (f.a->ops->caps & VHX_PORT_RESERVE)
		assert_int_equal(vhx_port_reserve(f.a, 500, &buf), 0);
	vhx_port_close(f.a);
	f.a = NULL;
	expect_gone(&f, f.b);
	fixture_close(&f);
}

static void test_close_null(void **state)
{
	vhx_port_close(NULL);
}

/* ---- meeting ---- */

static void meet_by_event(struct vhx_port *p)
{
	if (vhx_port_ready(p))
		return;
	expect_rest(p);
	assert_true(port_sleep(p));
	assert_int_equal(vhx_port_event(p), 0);
}

static void test_opening_would_block_and_meeting_is_an_event(void **state)
{
	struct vhx_port *ends[2];
	struct vhx_msg msg;
	void *buf;

	if (!provider->unmet)
		skip();
	assert_int_equal(provider->unmet(RING, ends), 0);
	for (int i = 0; i < 2; i++) {
		assert_false(vhx_port_ready(ends[i]));
		assert_int_equal(vhx_port_send(ends[i], 1, NULL, 0), -EAGAIN);
		if (ends[i]->ops->caps & VHX_PORT_RESERVE)
			assert_int_equal(vhx_port_reserve(ends[i], 1, &buf), -EAGAIN);
		assert_int_equal(vhx_port_peek(ends[i], &msg), 0);
	}
	/* Words are exchanged by events alone, an answer to each at most. */
	for (int round = 0; round < 4; round++)
		meet_by_event(ends[round % 2]);
	for (int i = 0; i < 2; i++) {
		assert_true(vhx_port_ready(ends[i]));
		assert_int_equal(vhx_port_send(ends[i], 1, NULL, 0), 0);
	}
	vhx_port_close(ends[0]);
	vhx_port_close(ends[1]);
}

static void test_peer_gone_before_meeting(void **state)
{
	struct vhx_port *ends[2];
	struct vhx_msg msg;
	int ret = 0;

	if (!provider->unmet)
		skip();
	assert_int_equal(provider->unmet(RING, ends), 0);
	vhx_port_close(ends[1]);
	/* Its offer may still be accepted; then its death follows. */
	for (int i = 0; i < 4 && ret == 0; i++) {
		assert_true(port_sleep(ends[0]));
		ret = vhx_port_event(ends[0]);
	}
	/* Who waits for whoever comes may forget the one that did, and go on waiting. */
	if (ret == 0 && ends[0]->ops->caps & VHX_PORT_PATIENT) {
		assert_false(vhx_port_ready(ends[0]));
		ret = -EAGAIN;
	} else {
		assert_int_equal(ret, -EPIPE);
		assert_true(vhx_port_ready(ends[0]));
		assert_int_equal(vhx_port_peek(ends[0], &msg), -EPIPE);
	}
	assert_int_equal(vhx_port_send(ends[0], 1, NULL, 0), ret);
	vhx_port_close(ends[0]);
}

static void test_messages_of_a_peer_that_died_before_we_met(void **state)
{
	struct vhx_port *ends[2];
	struct vhx_msg msg;
	int ret;

	if (!provider->unmet)
		skip();
	assert_int_equal(provider->unmet(RING, ends), 0);
	assert_int_equal(vhx_port_event(ends[1]), 0);
	if (!vhx_port_ready(ends[1])) {
		/* Who waits for an answer before he sends leaves no messages behind. */
		assert_int_equal(vhx_port_send(ends[1], 42, NULL, 0), -EAGAIN);
		vhx_port_close(ends[0]);
		vhx_port_close(ends[1]);
		skip();
	}
	assert_int_equal(vhx_port_send(ends[1], 42, NULL, 0), 0);
	vhx_port_close(ends[1]);
	do {
		assert_true(port_sleep(ends[0]));
		ret = vhx_port_event(ends[0]);
	} while (!ret);
	assert_int_equal(ret, -EPIPE);
	assert_int_equal(vhx_port_peek(ends[0], &msg), 1);
	assert_int_equal(msg.type, 42);
	vhx_port_consume(ends[0]);
	assert_int_equal(vhx_port_peek(ends[0], &msg), -EPIPE);
	vhx_port_close(ends[0]);
}

/* ---- counters, writer ---- */

static void test_counters(void **state)
{
	struct fixture f;
	uint64_t bytes = 0;

	fixture_open(&f, RING);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(send_pattern(&f, f.a, i, i * 11), 0);
		expect_pattern(&f, f.b, i, i * 11);
		bytes += i * 11;
	}
	assert_int_equal(f.a->stats.tx_messages, 40);
	assert_int_equal(f.a->stats.tx_bytes, bytes);
	assert_int_equal(f.a->stats.sends, 40);
	assert_int_equal(f.a->stats.rx_messages, 0);
	assert_int_equal(f.b->stats.rx_messages, 40);
	assert_int_equal(f.b->stats.rx_bytes, bytes);
	assert_int_equal(f.b->stats.sends, 0);
	assert_int_equal(f.a->stats.would_blocks, 0);
	fill_ring(&f, f.a, 1000);
	assert_true(f.a->stats.would_blocks >= 1);
	assert_true(f.a->memory >= RING);
	assert_true(f.b->memory >= RING);
	fixture_close(&f);
}

static void test_writer_builds_one_message(void **state)
{
	struct fixture f;
	struct vhx_writer w;
	uint8_t *late;

	fixture_open(&f, RING);
	assert_int_equal(vhx_writer_init(&w, f.a), 0);
	assert_int_equal(vhx_writer_begin(&w, 1, f.a->max_message + 1), -EMSGSIZE);
	assert_int_equal(vhx_writer_begin(&w, 600, 600), 0);
	pattern_fill(f.out, 600, 600);
	late = vhx_writer_take(&w, 8);
	assert_non_null(late);
	assert_true(vhx_writer_put(&w, f.out + 8, 500));
	assert_int_equal(vhx_writer_room(&w), 92);
	assert_null(vhx_writer_space(&w, 93));
	assert_false(vhx_writer_put(&w, f.out, 93));
	memcpy(vhx_writer_space(&w, 92), f.out + 508, 92);
	vhx_writer_advance(&w, 92);
	memcpy(late, f.out, 8);
	assert_int_equal(vhx_writer_len(&w), 600);
	assert_int_equal(vhx_writer_commit(&w), 0);
	assert_false(vhx_writer_open(&w));
	expect_pattern(&f, f.b, 600, 600);
	vhx_writer_fini(&w);
	fixture_close(&f);
}

static void test_writer_cancel_truncate_and_fini_while_open(void **state)
{
	struct fixture f;
	struct vhx_writer w;

	fixture_open(&f, RING);
	assert_int_equal(vhx_writer_init(&w, f.a), 0);
	assert_int_equal(vhx_writer_begin(&w, 1, 100), 0);
	assert_true(vhx_writer_put(&w, f.out, 50));
	vhx_writer_cancel(&w);
	expect_nothing(f.b);
	assert_int_equal(vhx_writer_begin(&w, 2, 100), 0);
	pattern_fill(f.out, 2, 100);
	assert_true(vhx_writer_put(&w, f.out, 50));
	vhx_writer_truncate(&w, 20);
	assert_int_equal(vhx_writer_commit(&w), 0);
	expect_pattern(&f, f.b, 2, 20);
	assert_int_equal(vhx_writer_begin(&w, 3, 100), 0);
	vhx_writer_fini(&w);
	assert_int_equal(send_pattern(&f, f.a, 4, 10), 0);
	expect_pattern(&f, f.b, 4, 10);
	fixture_close(&f);
}

static void test_writer_in_full_ring_sends_later(void **state)
{
	struct fixture f;
	struct vhx_writer w;
	int err;

	fixture_open(&f, SMALL_RING);
	assert_int_equal(vhx_writer_init(&w, f.a), 0);
	fill_ring(&f, f.a, 100);
	err = vhx_writer_begin(&w, 9, 100);
	if (!err) {
		pattern_fill(f.out, 9, 100);
		assert_true(vhx_writer_put(&w, f.out, 100));
		err = vhx_writer_commit(&w);
	}
	assert_int_equal(err, -EAGAIN);
	drain(&f, f.b);
	if (!vhx_writer_open(&w)) {
		assert_int_equal(vhx_writer_begin(&w, 9, 100), 0);
		pattern_fill(f.out, 9, 100);
		assert_true(vhx_writer_put(&w, f.out, 100));
	}
	assert_int_equal(vhx_writer_commit(&w), 0);
	expect_pattern(&f, f.b, 9, 100);
	vhx_writer_fini(&w);
	fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_messages_whole_in_order_never_merged),
	cmocka_unit_test(test_both_ways_at_once),
	cmocka_unit_test(test_message_empty_one_byte_and_maximum),
	cmocka_unit_test(test_message_type_all_values),
	cmocka_unit_test(test_message_too_big),
	cmocka_unit_test(test_gather_up_to_iov_max),
	cmocka_unit_test(test_read_in_pieces_and_repeated_peek),
	cmocka_unit_test(test_wrap_at_every_offset),
	cmocka_unit_test(test_long_run_of_mixed_lengths),
	cmocka_unit_test(test_ring_completely_full_then_drained),
	cmocka_unit_test(test_four_of_the_largest_fit),
	cmocka_unit_test(test_full_both_ways_drains_without_sending),
	cmocka_unit_test(test_room_is_there_when_a_later_message_arrives),
	cmocka_unit_test(test_would_block_then_writable_event),
	cmocka_unit_test(test_peer_drains_between_check_and_wait),
	cmocka_unit_test(test_writable_event_for_the_largest_that_was_refused),
	cmocka_unit_test(test_consumer_gives_room_before_it_sleeps),
	cmocka_unit_test(test_small_send_does_not_end_the_wait_of_a_large_one),
	cmocka_unit_test(test_prepare_wait_sees_message_and_peeked_message),
	cmocka_unit_test(test_sleeper_is_woken_once_for_many_messages),
	cmocka_unit_test(test_awake_peer_is_not_woken),
	cmocka_unit_test(test_no_lost_wakeup_in_ping_pong),
	cmocka_unit_test(test_no_lost_wakeup_in_full_ring),
	cmocka_unit_test(test_reserve_commit_shorter_and_cancel),
	cmocka_unit_test(test_reserve_would_block_then_event),
	cmocka_unit_test(test_reservation_open_beside_reading),
	cmocka_unit_test(test_peer_gone_idle),
	cmocka_unit_test(test_peer_gone_mid_stream),
	cmocka_unit_test(test_peer_gone_with_unread_messages),
	cmocka_unit_test(test_peer_gone_with_full_ring),
	cmocka_unit_test(test_peer_gone_with_reservation_open),
	cmocka_unit_test(test_close_with_reservation_and_peeked_message),
	cmocka_unit_test(test_close_null),
	cmocka_unit_test(test_opening_would_block_and_meeting_is_an_event),
	cmocka_unit_test(test_peer_gone_before_meeting),
	cmocka_unit_test(test_messages_of_a_peer_that_died_before_we_met),
	cmocka_unit_test(test_counters),
	cmocka_unit_test(test_writer_builds_one_message),
	cmocka_unit_test(test_writer_cancel_truncate_and_fini_while_open),
	cmocka_unit_test(test_writer_in_full_ring_sends_later),
};

int main(int argc, char **argv)
{
	int failed;

	provider = argc >= 2 && argc <= 4 ? provider_find(argv[1]) : NULL;
	if (!provider) {
		fprintf(stderr, "usage: %s PROVIDER [ROUNDS [DOMID]]\n", argv[0]);
		return 2;
	}
	if (argc >= 3) {
		ping_rounds = stream_messages = wrap_offsets = (uint32_t)atoi(argv[2]);
		full_rounds = 1;
	}
	if (argc == 4 && far_connect((uint16_t)atoi(argv[3]))) {
		fprintf(stderr, "%s: no ring for domain %s\n", argv[0], argv[3]);
		return 1;
	}
	failed = cmocka_run_group_tests_name(provider->name, tests, NULL, NULL);
	far_disconnect();
	return failed;
}
