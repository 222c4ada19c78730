// SPDX-License-Identifier: BSD-3-Clause
/*
 * Credit of one side by itself, and two sides against each other: simulated rings that hold what the
 * footprint rule says, in which nothing may ever be found full and nobody may wait for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <vhx/wire.h>

#include "core/credit.h"

#define RING (64u << 10)
#define BARE ((uint32_t)sizeof(struct vhx_msg_header))

/* The exchange's rule, said again: 16 bytes in front, rounded up to 16. */
static uint32_t footprint(uint32_t len)
{
	return 16 + (len + 15) / 16 * 16;
}

static void test_fresh_room(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	assert_int_equal(vhx_credit_data_room(&c), RING - VHX_CREDIT_RESERVE - 16);
	assert_int_equal(vhx_credit_bare_room(&c), RING - 16);
	assert_true(vhx_credit_control_room(&c) < vhx_credit_bare_room(&c));
	assert_false(vhx_credit_owed(&c));
	assert_int_equal(vhx_credit_tell(&c), 0);
}

static void test_room_is_the_largest_message_that_fits(void **state)
{
	for (uint32_t ring = VHX_CREDIT_RESERVE; ring < VHX_CREDIT_RESERVE + 100; ring++) {
		struct vhx_credit c;
		uint32_t room;

		vhx_credit_init(&c, ring, ring);
		room = vhx_credit_data_room(&c);
		if (room)
			assert_true(footprint(room) <= ring - VHX_CREDIT_RESERVE);
		assert_true(footprint(room + 1) > ring - VHX_CREDIT_RESERVE);
	}
}

static void test_message_being_read_is_not_acknowledged(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	vhx_credit_consumed(&c, 100);
	vhx_credit_consumed(&c, RING / 4);
	vhx_credit_hold(&c, RING / 4);
	/* An answer leaves from within the reading: the ring still holds what is answered. */
	assert_int_equal(vhx_credit_tell(&c), footprint(100));
	vhx_credit_release(&c);
	assert_true(vhx_credit_owed(&c));
	assert_int_equal(vhx_credit_tell(&c), footprint(100) + footprint(RING / 4));
	assert_false(vhx_credit_owed(&c));
}

static void test_ring_smaller_than_the_reserve(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, VHX_CREDIT_RESERVE - 1, RING);
	assert_int_equal(vhx_credit_data_room(&c), 0);
	vhx_credit_init(&c, 0, 0);
	assert_int_equal(vhx_credit_data_room(&c), 0);
	assert_int_equal(vhx_credit_control_room(&c), 0);
	assert_int_equal(vhx_credit_bare_room(&c), 0);
}

static void test_data_never_uses_the_reserve(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	while (vhx_credit_data_room(&c))
		vhx_credit_sent(&c, vhx_credit_data_room(&c) < 100 ? 1 : 100);
	assert_true(c.sent <= RING - VHX_CREDIT_RESERVE);
	assert_true(c.sent > RING - VHX_CREDIT_RESERVE - footprint(1));
	assert_true(vhx_credit_control_room(&c) >= 8 * footprint(16 + 264) - 16);
}

static void test_control_never_uses_what_credit_needs(void **state)
{
	struct vhx_credit c;
	int cnt;

	vhx_credit_init(&c, RING, RING);
	while (vhx_credit_control_room(&c))
		vhx_credit_sent(&c, 1);
	for (cnt = 0; vhx_credit_bare_room(&c) >= BARE; cnt++)
		vhx_credit_sent(&c, BARE);
	assert_true(cnt >= 8);
	assert_true(c.sent <= RING);
}

static void test_accounting_over_the_32_bit_wrap(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	c.sent = c.acked = c.consumed = c.told = 0xffffff00;
	vhx_credit_sent(&c, 1000);
	assert_int_equal(c.sent, 0xffffff00 + footprint(1000));
	assert_int_equal(vhx_credit_data_room(&c),
			 RING - VHX_CREDIT_RESERVE - footprint(1000) - 16);
	assert_int_equal(vhx_credit_acked(&c, c.sent - 16), 1);
	assert_int_equal(vhx_credit_acked(&c, c.sent + 16), -EPROTO);
	assert_int_equal(vhx_credit_acked(&c, 0xffffff00), -EPROTO);
	assert_int_equal(vhx_credit_acked(&c, c.sent), 1);
	vhx_credit_consumed(&c, RING / 4);
	assert_true(vhx_credit_owed(&c));
	assert_int_equal(vhx_credit_tell(&c), 0xffffff00 + footprint(RING / 4));
	assert_false(vhx_credit_owed(&c));
}

static void test_ack_of_what_was_never_sent(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	assert_int_equal(vhx_credit_acked(&c, 16), -EPROTO);
	vhx_credit_sent(&c, 16);
	assert_int_equal(vhx_credit_acked(&c, 33), -EPROTO);
	assert_int_equal(vhx_credit_acked(&c, 32), 1);
	assert_int_equal(vhx_credit_acked(&c, 64), -EPROTO);
}

static void test_ack_taken_back(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	vhx_credit_sent(&c, 100);
	assert_int_equal(vhx_credit_acked(&c, 64), 1);
	assert_int_equal(vhx_credit_acked(&c, 48), -EPROTO);
}

static void test_ack_said_twice_brings_no_room(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	vhx_credit_sent(&c, 100);
	assert_int_equal(vhx_credit_acked(&c, 0), 0);
	assert_int_equal(vhx_credit_acked(&c, 64), 1);
	assert_int_equal(vhx_credit_acked(&c, 64), 0);
}

static void test_owed_at_a_quarter(void **state)
{
	struct vhx_credit c;

	vhx_credit_init(&c, RING, RING);
	while (c.consumed < RING / 4) {
		assert_false(vhx_credit_owed(&c));
		vhx_credit_consumed(&c, 16);
	}
	assert_true(vhx_credit_owed(&c));
	vhx_credit_tell(&c);
	assert_false(vhx_credit_owed(&c));
}

/* Two sides. A ring is a queue of message lengths with the acknowledgements they carry. */

struct message {
	uint32_t len, ack;
};

struct side {
	struct vhx_credit credit;
	struct message ring[RING / 16]; /* what is on its way to this side */
	uint32_t head, tail, filled;
	uint64_t credits_sent;
};

static void send(struct side *from, struct side *to, uint32_t len)
{
	struct message *m = &to->ring[to->tail++ % VHX_ARRAY_SIZE(to->ring)];

	m->len = len;
	m->ack = vhx_credit_tell(&from->credit);
	vhx_credit_sent(&from->credit, len);
	to->filled += footprint(len);
	/* The promise: between correct peers no ring is ever found full. */
	assert_true(to->filled <= from->credit.tx_ring);
}

static bool take(struct side *s)
{
	struct message *m;

	if (s->head == s->tail)
		return false;
	m = &s->ring[s->head++ % VHX_ARRAY_SIZE(s->ring)];
	assert_true(vhx_credit_acked(&s->credit, m->ack) >= 0);
	vhx_credit_consumed(&s->credit, m->len);
	s->filled -= footprint(m->len);
	return true;
}

/* Everything is read, and what is owed is sent, until nothing moves. Returns the rounds. */
static int settle(struct side *a, struct side *b)
{
	struct side *sides[2] = { a, b };
	int rounds = 0;
	bool moved;

	do {
		moved = false;
		for (int i = 0; i < 2; i++) {
			while (take(sides[i]))
				moved = true;
			if (!vhx_credit_owed(&sides[i]->credit))
				continue;
			assert_true(vhx_credit_bare_room(&sides[i]->credit) >= BARE);
			send(sides[i], sides[!i], BARE);
			sides[i]->credits_sent++;
			moved = true;
		}
		rounds++;
		assert_true(rounds < 1000);
	} while (moved);
	return rounds;
}

static void sides_init(struct side *a, struct side *b, uint32_t a_to_b, uint32_t b_to_a)
{
	*a = (struct side){ 0 };
	*b = (struct side){ 0 };
	vhx_credit_init(&a->credit, a_to_b, b_to_a);
	vhx_credit_init(&b->credit, b_to_a, a_to_b);
}

static void test_credits_do_not_answer_each_other_for_ever(void **state)
{
	static struct side a, b;

	sides_init(&a, &b, RING, 2 * VHX_CREDIT_RESERVE);
	/* Both stand just below the line, so that one CREDIT sets the other off. */
	for (int i = 0; i < 200; i++) {
		a.credit.consumed = b.credit.sent = b.credit.acked = a.credit.told = 0;
		a.credit.consumed = a.credit.rx_ring / 4 - 16;
		b.credit.sent = a.credit.consumed;
		b.credit.consumed = b.credit.rx_ring / 4 - 16;
		a.credit.sent = b.credit.consumed;
		a.credit.acked = b.credit.told = 0;
		send(i & 1 ? &a : &b, i & 1 ? &b : &a, 1 + i);
		assert_true(settle(&a, &b) < 6);
	}
}

/* Data of random sizes one way; the other way only CREDITs. At least a quarter per CREDIT. */
static void test_one_way_data_is_never_stuck(void **state)
{
	static struct side a, b;
	uint64_t total = 0;
	uint32_t lcg = 1;

	sides_init(&a, &b, RING, 2 * VHX_CREDIT_RESERVE);
	for (int i = 0; i < 20000; i++) {
		uint32_t len = (lcg = lcg * 1664525 + 1013904223) >> 18;

		if (len > vhx_credit_data_room(&a.credit))
			settle(&a, &b);
		assert_true(len <= vhx_credit_data_room(&a.credit));
		send(&a, &b, len);
		total += footprint(len);
	}
	settle(&a, &b);
	assert_true(b.credits_sent <= total / (RING / 4));
	assert_true(a.credits_sent <= 1 + b.credits_sent / 32);
}

static void test_largest_message_always_goes_in_the_end(void **state)
{
	static struct side a, b;

	for (uint32_t ring = 2 * VHX_CREDIT_RESERVE; ring < RING; ring += 1008) {
		uint32_t max = vhx_credit_message_max(ring);

		assert_true(max >= 512);
		sides_init(&a, &b, ring, ring);
		/* However much the peer has consumed and not told of. */
		for (uint32_t untold = 0; untold < 200; untold++) {
			send(&a, &b, 1 + untold * 7 % 300);
			settle(&a, &b);
			assert_true(vhx_credit_data_room(&a.credit) >= max);
		}
	}
	assert_int_equal(vhx_credit_message_max(0), 0);
	assert_int_equal(vhx_credit_message_max(VHX_CREDIT_RESERVE), 0);
}

/* Both rings hold all data and control that they take, unread; then both sides wake up. */
static void test_rings_full_both_ways_come_free_again(void **state)
{
	static struct side a, b;
	struct side *sides[2] = { &a, &b };

	sides_init(&a, &b, 16384, 16384);
	for (int i = 0; i < 2; i++) {
		while (vhx_credit_data_room(&sides[i]->credit) >= 100)
			send(sides[i], sides[!i], 100);
		while (vhx_credit_control_room(&sides[i]->credit) >= 280)
			send(sides[i], sides[!i], 280);
		while (vhx_credit_control_room(&sides[i]->credit))
			send(sides[i], sides[!i], 1);
	}
	settle(&a, &b);
	for (int i = 0; i < 2; i++)
		assert_true(vhx_credit_data_room(&sides[i]->credit) >=
			    vhx_credit_message_max(16384));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fresh_room),
		cmocka_unit_test(test_room_is_the_largest_message_that_fits),
		cmocka_unit_test(test_message_being_read_is_not_acknowledged),
		cmocka_unit_test(test_ring_smaller_than_the_reserve),
		cmocka_unit_test(test_data_never_uses_the_reserve),
		cmocka_unit_test(test_control_never_uses_what_credit_needs),
		cmocka_unit_test(test_accounting_over_the_32_bit_wrap),
		cmocka_unit_test(test_ack_of_what_was_never_sent),
		cmocka_unit_test(test_ack_taken_back),
		cmocka_unit_test(test_ack_said_twice_brings_no_room),
		cmocka_unit_test(test_owed_at_a_quarter),
		cmocka_unit_test(test_credits_do_not_answer_each_other_for_ever),
		cmocka_unit_test(test_one_way_data_is_never_stuck),
		cmocka_unit_test(test_largest_message_always_goes_in_the_end),
		cmocka_unit_test(test_rings_full_both_ways_come_free_again),
	};

	return cmocka_run_group_tests_name("credit", tests, NULL, NULL);
}
