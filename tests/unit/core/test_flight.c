// SPDX-License-Identifier: BSD-3-Clause
/* What a backend may answer, and what it may not; the window; order and deaths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/flight.h"

#define SIZE 8
#define HEAD 16
#define WINDOW 4

static struct vhx_flight f;
static struct vhx_flight_slot slots[SIZE];

static int flight_new(void **state)
{
	vhx_flight_init(&f, slots, SIZE);
	vhx_flight_limits(&f, WINDOW, HEAD);
	return 0;
}

/* A request that was sent whole. */
static void request_sent(uint16_t id, uint32_t out_len, uint32_t in_len)
{
	assert_int_equal(vhx_flight_begin(&f, id, out_len, in_len), 0);
	slots[id].begun = true;
	slots[id].sent = out_len;
}

static int chunk(uint16_t id, uint32_t off, uint32_t len)
{
	return vhx_flight_used(&f, &(struct vhx_used){ .id = id, .in_off = off, .chunk_len = len });
}

static int complete(uint16_t id, uint32_t off, uint32_t len, uint32_t used_len)
{
	return vhx_flight_used(&f, &(struct vhx_used){ .id = id,
						       .flags = VHX_USED_COMPLETE,
						       .in_off = off,
						       .chunk_len = len,
						       .used_len = used_len });
}

static void test_begin_of_a_bad_id(void **state)
{
	assert_int_equal(vhx_flight_begin(&f, SIZE, 0, 0), -EINVAL);
	assert_int_equal(vhx_flight_begin(&f, UINT16_MAX, 0, 0), -EINVAL);
	assert_int_equal(vhx_flight_begin(&f, 3, 0, 0), 0);
	assert_int_equal(vhx_flight_begin(&f, 3, 0, 0), -EINVAL);
	vhx_flight_end(&f, 3);
	assert_int_equal(vhx_flight_begin(&f, 3, 0, 0), 0);
	assert_int_equal(f.count, 1);
}

static void test_answer_to_an_id_that_is_not_in_flight(void **state)
{
	assert_int_equal(complete(0, 0, 0, 0), -EPROTO);
	assert_int_equal(complete(SIZE, 0, 0, 0), -EPROTO);
	assert_int_equal(complete(UINT16_MAX, 0, 0, 0), -EPROTO);
	request_sent(0, 16, 1);
	assert_int_equal(complete(0, 0, 1, 1), 0);
	vhx_flight_end(&f, 0);
	assert_int_equal(complete(0, 0, 1, 1), -EPROTO);
}

static void test_answer_before_the_question_was_asked(void **state)
{
	vhx_flight_begin(&f, 0, 16, 1);
	assert_int_equal(complete(0, 0, 1, 0), -EPROTO);
	slots[0].begun = true;
	slots[0].sent = 15;
	assert_int_equal(complete(0, 0, 1, 0), -EPROTO);
	slots[0].sent = 16;
	assert_int_equal(complete(0, 0, 1, 0), 0);
	/* Without out bytes as well */
	vhx_flight_begin(&f, 1, 0, 1);
	assert_int_equal(complete(1, 0, 1, 0), -EPROTO);
	slots[1].begun = true;
	assert_int_equal(complete(1, 0, 1, 0), 0);
}

static void test_chunk_beyond_in_len(void **state)
{
	request_sent(0, 16, 100);
	assert_int_equal(chunk(0, 0, 101), -EPROTO);
	assert_int_equal(chunk(0, 100, 1), -EPROTO);
	assert_int_equal(chunk(0, UINT32_MAX, 2), -EPROTO);
	assert_int_equal(chunk(0, 99, 1), 0);
	request_sent(1, 16, 0);
	assert_int_equal(chunk(1, 0, 1), -EPROTO);
	assert_int_equal(complete(1, 0, 0, 0), 0);
}

static void test_chunks_backwards_or_twice(void **state)
{
	request_sent(0, 16, 100);
	assert_int_equal(chunk(0, 10, 10), 0);
	assert_int_equal(chunk(0, 10, 10), -EPROTO);
	assert_int_equal(chunk(0, 19, 1), -EPROTO);
	assert_int_equal(chunk(0, 0, 1), -EPROTO);
	assert_int_equal(chunk(0, 20, 80), 0);
	assert_int_equal(chunk(0, 99, 1), -EPROTO);
}

static void test_used_len_over_bytes_that_never_came(void **state)
{
	request_sent(0, 16, 4097);
	assert_int_equal(complete(0, 4096, 1, 1), -EPROTO);
	assert_int_equal(complete(0, 4096, 1, 4097), -EPROTO);
	assert_int_equal(chunk(0, 4096, 1), 0);
	assert_int_equal(complete(0, 0, 0, 1), -EPROTO);
	vhx_flight_rewind(&f, false);
	slots[0].begun = true;
	slots[0].sent = 16;
	assert_int_equal(chunk(0, 0, 4000), 0);
	/* A gap, then the status byte: only what stands before the gap counts. */
	assert_int_equal(complete(0, 4096, 1, 4001), -EPROTO);
}

static void test_refused_record_leaves_no_trace(void **state)
{
	request_sent(0, 16, 100);
	assert_int_equal(complete(0, 0, 50, 51), -EPROTO);
	assert_int_equal(complete(0, 50, 1, 1), -EPROTO);
	assert_int_equal(complete(0, 0, 50, 50), 0);
}

static void test_used_len_up_to_the_gap(void **state)
{
	request_sent(0, 16, 4097);
	assert_int_equal(chunk(0, 0, 4000), 0);
	assert_int_equal(complete(0, 4096, 1, 4000), 0);
}

static void test_failed_read_costs_one_byte(void **state)
{
	request_sent(0, 16, 4097);
	assert_int_equal(complete(0, 4096, 1, 0), 0);
}

static void test_whole_answer_in_pieces(void **state)
{
	request_sent(0, 16, 4097);
	assert_int_equal(chunk(0, 0, 1), 0);
	assert_int_equal(chunk(0, 1, 4095), 0);
	assert_int_equal(complete(0, 4096, 1, 4097), 0);
}

static void test_used_len_beyond_in_len(void **state)
{
	request_sent(0, 16, 8);
	assert_int_equal(complete(0, 0, 8, 9), -EPROTO);
	request_sent(1, 16, 8);
	assert_int_equal(complete(1, 0, 8, UINT32_MAX), -EPROTO);
}

static void test_cost(void **state)
{
	assert_int_equal(vhx_flight_cost(&f, 0), 0);
	assert_int_equal(vhx_flight_cost(&f, HEAD), 0);
	assert_int_equal(vhx_flight_cost(&f, HEAD + 1), 1);
	assert_int_equal(vhx_flight_cost(&f, HEAD + 4096), 1);
	assert_int_equal(vhx_flight_cost(&f, HEAD + 4097), 2);
	assert_int_equal(vhx_flight_cost(&f, UINT32_MAX), 1 << 20);
}

static void test_window_is_given_back_at_the_end(void **state)
{
	vhx_flight_begin(&f, 0, 0, 0);
	vhx_flight_begin(&f, 1, 0, 0);
	assert_true(vhx_flight_window_take(&f, 0, 3));
	assert_false(vhx_flight_window_take(&f, 1, 2));
	assert_true(vhx_flight_window_take(&f, 1, 1));
	assert_int_equal(f.window_used, WINDOW);
	vhx_flight_end(&f, 0);
	assert_int_equal(f.window_used, 1);
	vhx_flight_end(&f, 1);
	assert_int_equal(f.window_used, 0);
}

/* The window was there, the ring's credit was not; then the chain is fetched again with another length. */
static void test_window_taken_again_replaces_what_was_held(void **state)
{
	vhx_flight_begin(&f, 0, 0, 0);
	assert_true(vhx_flight_window_take(&f, 0, 3));
	assert_true(vhx_flight_window_take(&f, 0, 4));
	assert_int_equal(f.window_used, 4);
	assert_false(vhx_flight_window_take(&f, 0, 5));
	assert_int_equal(f.window_used, 4);
	assert_true(vhx_flight_window_take(&f, 0, 0));
	assert_int_equal(f.window_used, 0);
	vhx_flight_end(&f, 0);
	assert_int_equal(f.window_used, 0);
}

static void test_order_is_the_order_of_beginning(void **state)
{
	static const uint16_t ids[] = { 5, 2, 7, 0 };
	struct vhx_list *pos;
	size_t i = 0;

	for (size_t n = 0; n < VHX_ARRAY_SIZE(ids); n++)
		vhx_flight_begin(&f, ids[n], 0, 0);
	vhx_flight_begin(&f, 3, 0, 0);
	vhx_flight_end(&f, 3);
	vhx_flight_rewind(&f, true);
	vhx_list_for_each (pos, &f.order)
		assert_int_equal(vhx_flight_id(&f,
					       vhx_list_entry(pos, struct vhx_flight_slot, node)),
				 ids[i++]);
	assert_int_equal(i, VHX_ARRAY_SIZE(ids));
	assert_int_equal(f.count, VHX_ARRAY_SIZE(ids));
}

static void test_rewind_is_as_if_never_sent(void **state)
{
	request_sent(0, 5000, 100);
	assert_true(vhx_flight_window_take(&f, 0, 2));
	assert_int_equal(chunk(0, 0, 60), 0);
	vhx_flight_rewind(&f, false);
	assert_int_equal(f.window_used, 0);
	assert_int_equal(complete(0, 60, 40, 100), -EPROTO);
	slots[0].begun = true;
	slots[0].sent = 5000;
	/* Nothing of the dead backend's bytes counts for the new one. */
	assert_int_equal(complete(0, 60, 40, 100), -EPROTO);
	vhx_flight_limits(&f, 1, 0);
}

static void test_deaths_count_only_what_was_sent(void **state)
{
	request_sent(0, 1, 1);
	vhx_flight_begin(&f, 1, 1, 1);
	for (int i = 1; i <= VHX_FLIGHT_DEATHS_MAX; i++) {
		slots[0].begun = true;
		vhx_flight_rewind(&f, true);
		assert_int_equal(slots[0].deaths, i);
		slots[0].begun = true;
		vhx_flight_rewind(&f, false);
		assert_int_equal(slots[0].deaths, i);
	}
	assert_int_equal(slots[1].deaths, 0);
	vhx_flight_end(&f, 0);
	vhx_flight_begin(&f, 0, 1, 1);
	assert_int_equal(slots[0].deaths, 0);
}

#define T(name) cmocka_unit_test_setup(name, flight_new)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_begin_of_a_bad_id),
		T(test_answer_to_an_id_that_is_not_in_flight),
		T(test_answer_before_the_question_was_asked),
		T(test_chunk_beyond_in_len),
		T(test_chunks_backwards_or_twice),
		T(test_used_len_over_bytes_that_never_came),
		T(test_refused_record_leaves_no_trace),
		T(test_used_len_up_to_the_gap),
		T(test_failed_read_costs_one_byte),
		T(test_whole_answer_in_pieces),
		T(test_used_len_beyond_in_len),
		T(test_cost),
		T(test_window_is_given_back_at_the_end),
		T(test_window_taken_again_replaces_what_was_held),
		T(test_order_is_the_order_of_beginning),
		T(test_rewind_is_as_if_never_sent),
		T(test_deaths_count_only_what_was_sent),
	};

	return cmocka_run_group_tests_name("flight", tests, NULL, NULL);
}
