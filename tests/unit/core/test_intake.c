// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a driver's end may send, and what it may not. Then both tables against each other: with random requests,
 * cut into records at random, they count the same window.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/flight.h"
#include "core/intake.h"

#define SIZE 8
#define HEAD 16
#define MAX_OUT (4 * 4096 + HEAD)
#define MAX_IN 8192
#define WINDOW 6
#define FIRST VHX_AVAIL_FIRST
#define TOO_BIG VHX_AVAIL_TOO_BIG

static struct vhx_intake t;
static struct vhx_intake_slot slots[SIZE];
static uint32_t off;

static int intake_new(void **state)
{
	vhx_intake_init(&t, slots, SIZE, MAX_OUT, MAX_IN, HEAD, WINDOW);
	return 0;
}

static int give(uint16_t id, uint16_t flags, uint32_t out_len, uint32_t in_len, uint32_t chunk)
{
	struct vhx_avail a = { id, flags, out_len, in_len, chunk };
	struct vhx_avail_record wire;
	struct vhx_avail back;

	/* Only what the decoder lets through gets here. */
	vhx_avail_encode(&wire, &a);
	assert_int_equal(vhx_avail_decode(&wire, chunk, &back), 0);
	return vhx_intake_record(&t, &back, &off);
}

static void test_request_in_one_record(void **state)
{
	assert_int_equal(give(3, FIRST, 100, 1, 100), 1);
	assert_int_equal(off, 0);
	assert_int_equal(slots[3].state, VHX_INTAKE_HELD);
	assert_int_equal(vhx_intake_stored(&slots[3]), 100);
	assert_int_equal(t.count, 1);
	vhx_intake_end(&t, 3);
	assert_int_equal(slots[3].state, VHX_INTAKE_FREE);
	assert_int_equal(t.count, 0);
	assert_int_equal(t.window_used, 0);
	assert_int_equal(give(3, FIRST, 0, 0, 0), 1);
}

static void test_request_in_pieces(void **state)
{
	assert_int_equal(give(3, FIRST, 5000, 1, 0), 0);
	assert_int_equal(slots[3].state, VHX_INTAKE_RECEIVING);
	assert_int_equal(give(3, 0, 5000, 1, 4000), 0);
	assert_int_equal(off, 0);
	assert_int_equal(give(3, 0, 5000, 1, 999), 0);
	assert_int_equal(off, 4000);
	assert_int_equal(give(3, 0, 5000, 1, 1), 1);
	assert_int_equal(off, 4999);
	assert_int_equal(t.window_used, 2);
}

static void test_id_beyond_the_queue(void **state)
{
	assert_int_equal(give(SIZE, FIRST, 0, 0, 0), -EPROTO);
	assert_int_equal(give(UINT16_MAX, FIRST, 0, 0, 0), -EPROTO);
	assert_int_equal(give(SIZE, 0, 1, 0, 1), -EPROTO);
}

static void test_id_in_flight_already(void **state)
{
	assert_int_equal(give(3, FIRST, 0, 0, 0), 1);
	assert_int_equal(give(3, FIRST, 0, 0, 0), -EPROTO);
	assert_int_equal(t.count, 1);
}

static void test_next_request_before_this_one_is_complete(void **state)
{
	assert_int_equal(give(3, FIRST, 10, 0, 9), 0);
	assert_int_equal(give(4, FIRST, 0, 0, 0), -EPROTO);
	assert_int_equal(give(3, FIRST, 10, 0, 1), -EPROTO);
}

static void test_continuation_of_nothing(void **state)
{
	assert_int_equal(give(3, 0, 10, 0, 1), -EPROTO);
	assert_int_equal(give(3, FIRST, 10, 0, 9), 0);
	assert_int_equal(give(4, 0, 10, 0, 1), -EPROTO);
	assert_int_equal(give(3, 0, 10, 0, 1), 1);
	assert_int_equal(give(3, 0, 10, 0, 1), -EPROTO);
}

static void test_continuation_with_other_lengths(void **state)
{
	assert_int_equal(give(3, FIRST, 10, 5, 1), 0);
	assert_int_equal(give(3, 0, 11, 5, 1), -EPROTO);
	assert_int_equal(give(3, 0, 10, 6, 1), -EPROTO);
	assert_int_equal(give(3, 0, 10, 5, 9), 1);
}

static void test_more_bytes_than_announced(void **state)
{
	assert_int_equal(give(3, FIRST, 10, 0, 9), 0);
	assert_int_equal(give(3, 0, 10, 0, 2), -EPROTO);
}

static void test_over_the_limits_without_too_big(void **state)
{
	assert_int_equal(give(3, FIRST, MAX_OUT + 1, 0, 0), -EPROTO);
	assert_int_equal(give(3, FIRST, 0, MAX_IN + 1, 0), -EPROTO);
	assert_int_equal(give(3, FIRST, UINT32_MAX, UINT32_MAX, 0), -EPROTO);
	assert_int_equal(give(3, FIRST, MAX_OUT, MAX_IN, 0), 0);
}

static void test_too_big_within_the_limits(void **state)
{
	assert_int_equal(give(3, FIRST | TOO_BIG, MAX_OUT, MAX_IN, 64), -EPROTO);
}

static void test_too_big_is_complete_at_once(void **state)
{
	assert_int_equal(give(3, FIRST | TOO_BIG, UINT32_MAX, 1, 64), 1);
	assert_true(slots[3].too_big);
	assert_int_equal(vhx_intake_stored(&slots[3]), 64);
	assert_int_equal(t.window_used, 1);
	assert_int_equal(give(3, 0, UINT32_MAX, 1, 64), -EPROTO);
	assert_int_equal(give(4, FIRST | TOO_BIG, HEAD, UINT32_MAX, HEAD), 1);
	assert_int_equal(t.window_used, 1);
}

static void test_window_overrun(void **state)
{
	assert_int_equal(give(0, FIRST, MAX_OUT, 0, MAX_OUT), 1);
	assert_int_equal(give(1, FIRST, HEAD + 3 * 4096, 0, 0), -EPROTO);
	assert_int_equal(slots[1].state, VHX_INTAKE_FREE);
	assert_int_equal(give(1, FIRST, HEAD + 2 * 4096, 0, 1), 0);
	assert_int_equal(t.window_used, WINDOW);
	/* What fits the head costs nothing. */
	assert_int_equal(give(1, 0, HEAD + 2 * 4096, 0, HEAD + 2 * 4096 - 1), 1);
	assert_int_equal(give(2, FIRST, HEAD, MAX_IN, HEAD), 1);
	assert_int_equal(give(3, FIRST, HEAD + 1, 0, 0), -EPROTO);
}

static void test_end_in_the_middle_of_receiving(void **state)
{
	assert_int_equal(give(3, FIRST, 5000, 0, 1), 0);
	vhx_intake_end(&t, 3);
	assert_int_equal(t.window_used, 0);
	assert_int_equal(t.count, 0);
	assert_int_equal(give(3, 0, 5000, 0, 1), -EPROTO);
	assert_int_equal(give(4, FIRST, 0, 0, 0), 1);
}

/* Both sides, in step. */

static struct vhx_flight f;
static struct vhx_flight_slot sent[SIZE];
static uint32_t lcg;

static uint32_t below(uint32_t n)
{
	lcg = lcg * 1664525 + 1013904223;
	return (lcg >> 8) % n;
}

static uint32_t random_len(uint32_t max)
{
	static const uint32_t edges[] = { 0, 1, HEAD, HEAD + 1, HEAD + 4096, HEAD + 4097 };

	return below(2) ? below(max + max / 8) : edges[below(VHX_ARRAY_SIZE(edges))];
}

/* As a frontend sends it. False: the window has no room. */
static bool request_send(uint16_t id)
{
	uint32_t out_len = random_len(MAX_OUT), in_len = random_len(MAX_IN), n;
	bool too_big = out_len > MAX_OUT || in_len > MAX_IN;
	uint32_t whole = too_big ? (uint32_t)vhx_min_u64(out_len, VHX_TOO_BIG_BYTES) : out_len;
	uint16_t flags = (uint16_t)(FIRST | (too_big ? TOO_BIG : 0));
	struct vhx_flight_slot *s = &sent[id];
	int ret;

	assert_int_equal(vhx_flight_begin(&f, id, out_len, in_len), 0);
	if (!vhx_flight_window_take(&f, id, vhx_flight_cost(&f, whole))) {
		vhx_flight_end(&f, id);
		return false;
	}
	do {
		n = too_big ? whole : below(3) ? whole - s->sent : below(whole - s->sent + 1);
		if (s->begun && !n)
			continue;
		ret = give(id, flags, out_len, in_len, n);
		assert_int_equal(off, s->sent);
		s->begun = true;
		s->sent += n;
		flags = 0;
		assert_int_equal(ret, s->sent == whole);
		assert_int_equal(f.window_used, t.window_used);
	} while (s->sent < whole);
	s->sent = out_len;
	return true;
}

static void request_answer(uint16_t id)
{
	struct vhx_used u = { .id = id, .flags = VHX_USED_COMPLETE };

	u.chunk_len = u.used_len = sent[id].in_len;
	assert_int_equal(vhx_flight_used(&f, &u), 0);
	vhx_intake_end(&t, id);
	vhx_flight_end(&f, id);
}

static void test_both_sides_count_the_same_window(void **state)
{
	uint32_t refused = 0;

	vhx_flight_init(&f, sent, SIZE);
	vhx_flight_limits(&f, WINDOW, HEAD);
	lcg = 1;
	for (int i = 0; i < 100000; i++) {
		uint16_t id = (uint16_t)below(SIZE);

		if (vhx_flight_active(&f, id))
			request_answer(id);
		else
			refused += !request_send(id);
		assert_int_equal(f.window_used, t.window_used);
		assert_int_equal(f.count, t.count);
		assert_true(t.window_used <= WINDOW);
	}
	/* The window was the limit often enough to say something. */
	assert_true(refused > 1000);
}

#define T(name) cmocka_unit_test_setup(name, intake_new)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_request_in_one_record),
		T(test_request_in_pieces),
		T(test_id_beyond_the_queue),
		T(test_id_in_flight_already),
		T(test_next_request_before_this_one_is_complete),
		T(test_continuation_of_nothing),
		T(test_continuation_with_other_lengths),
		T(test_more_bytes_than_announced),
		T(test_over_the_limits_without_too_big),
		T(test_too_big_within_the_limits),
		T(test_too_big_is_complete_at_once),
		T(test_window_overrun),
		T(test_end_in_the_middle_of_receiving),
		T(test_both_sides_count_the_same_window),
	};

	return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
