// SPDX-License-Identifier: BSD-3-Clause
/*
 * Credit over the whole stack: nothing stalls, nobody starves, and no ring is ever found full, whatever the
 * proportions of rings and requests.
 */
#include "lab.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))

static void test_one_way_console_output(void **state)
{
	struct lab_config cfg = lab_default;
	uint64_t bytes = 0, credits;
	struct lab w;
	uint32_t i;

	cfg.ring_len = 64u << 10;
	cfg.staging = 64u << 10;
	cfg.device_id = LAB_NET;
	cfg.queue_size = 64;
	cfg.max_out = 8192;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	for (i = 1; i <= 50; i++) {
		lab_source_plan(&w.src[0], 100, LAB_WRITE, 1000, 0);
		lab_finish(&w, &w.src[0], 100 * i);
		bytes += 100 * 1000;
	}
	/* At most one per quarter of a ring that was consumed, each way. */
	credits = vhx_frontend_credits_sent(w.fe) + lab_be_credits(&w);
	assert_true(credits <= 2 * bytes * 5 / 4 / (cfg.ring_len / 4));
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_net_rx_with_a_silent_guest(void **state)
{
	struct lab_config cfg = lab_default;
	uint64_t sends;
	struct lab w;
	uint32_t i;

	cfg.ring_len = 32u << 10;
	cfg.staging = 4u << 20;
	cfg.device_id = LAB_NET;
	cfg.queue_size = 1024;
	cfg.max_in = 2048;
	lab_open(&w, &cfg);
	w.dev[0]->answer = LAB_HOLD;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 1024, LAB_READ, 0, 1500);
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 1024);
	sends = lab_fe_stats(&w).sends;
	for (i = 1; i <= 1024; i++) {
		lab_device_release(w.dev[0], 0);
		lab_settle(&w);
		assert_int_equal(w.src[0].visible, i);
	}
	/* All that the guest's side has said meanwhile is that it has room. */
	assert_int_equal(lab_fe_stats(&w).sends - sends, vhx_frontend_credits_sent(w.fe));
	assert_true(vhx_frontend_credits_sent(w.fe) >= 1024 * 1500 / cfg.ring_len);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void reads_outstanding(enum lab_answer answer)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.ring_len = 512u << 10;
	cfg.staging = 8u << 20;
	cfg.queue_size = 32;
	lab_open(&w, &cfg);
	w.dev[0]->answer = answer;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 32, LAB_READ, HEAD, 128u << 10);
	lab_settle(&w);
	if (answer == LAB_HOLD) {
		assert_int_equal(w.src[0].in_flight, 32);
		lab_device_release_all(w.dev[0]);
	}
	lab_finish(&w, &w.src[0], 32);
	assert_int_equal(w.src[0].ok, 32);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_4_mib_of_reads_through_a_512_kib_ring(void **state)
{
	reads_outstanding(LAB_HOLD);
	reads_outstanding(LAB_STAGED);
	reads_outstanding(LAB_IN_PLACE);
}

static void test_1_mib_write_over_a_128_kib_ring(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.ring_len = 128u << 10;
	cfg.staging = 128u << 10;
	cfg.max_out = (1u << 20) + HEAD;
	cfg.queue_size = 8;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 8, LAB_WRITE, (1u << 20) + HEAD, 0);
	lab_finish(&w, &w.src[0], 8);
	assert_int_equal(w.src[0].ok, 8);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void both_full(uint32_t ring_len, enum lab_answer answer)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.ring_len = ring_len;
	cfg.staging = ring_len;
	cfg.max_out = 4 * ring_len;
	cfg.max_in = 4 * ring_len;
	cfg.queue_size = 16;
	lab_open(&w, &cfg);
	w.dev[0]->answer = answer;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 150, LAB_WRITE, 4 * ring_len, 4 * ring_len - 1);
	lab_source_plan(&w.src[0], 150, LAB_READ, HEAD, 4 * ring_len - 1);
	lab_source_plan(&w.src[0], 150, LAB_WRITE, 4 * ring_len, 0);
	lab_finish(&w, &w.src[0], 450);
	assert_int_equal(w.src[0].ok, 450);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_full_rings_both_ways_16k(void **state)
{
	both_full(16u << 10, LAB_IN_PLACE);
	both_full(16u << 10, LAB_STAGED);
}

static void test_full_rings_both_ways_32k(void **state)
{
	both_full(32u << 10, LAB_IN_PLACE);
	both_full(32u << 10, LAB_STAGED);
}

/* Odd lengths, so that messages end anywhere in the ring. */
static void test_every_length_through_a_small_ring(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;
	uint32_t len;

	cfg.ring_len = 16u << 10;
	cfg.staging = 16u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.queue_size = 16;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	for (len = 0; len < 9000; len += 37) {
		w.dev[0]->answer = len & 1 ? LAB_STAGED : LAB_IN_PLACE;
		lab_source_plan(&w.src[0], 4, LAB_WRITE, HEAD + len, len / 2);
		lab_finish(&w, &w.src[0], w.src[0].visible + 4);
	}
	lab_assert_never_full(&w);
	lab_close(&w);
}

/* The frontend has no credit left, for the backend's thread does not run: control goes all the same. */
static void test_control_passes_when_data_is_out_of_credit(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;
	uint8_t byte = 7;

	cfg.ring_len = 16u << 10;
	cfg.staging = 256u << 10;
	cfg.max_out = cfg.max_in = 64u << 10;
	cfg.queue_size = 64;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 600, LAB_WRITE, 64u << 10, (64u << 10) - 1);
	while (w.src[0].visible < 600) {
		uint32_t written = w.fdev[0].config_written;

		/* Each turn finds rings as full as they get; a config write goes through in few of them. */
		if (written == w.fdev[0].config_written)
			vhx_fdev_write_config(w.fdev[0].fdev, 0, &byte, 1);
		lab_turn(&w);
	}
	assert_true(w.fdev[0].config_written > 10);
	assert_int_equal(w.fdev[0].refused, 0);
	lab_device_change_config(w.dev[0], 9);
	lab_settle(&w);
	lab_assert_never_full(&w);
	lab_close(&w);
}

/* Answers so far when the first of the queues is through: the others must have had their share. */
static void starve(uint32_t queues, uint32_t type, enum lab_answer answer, uint32_t in_place_max)
{
	struct lab_config cfg = lab_default;
	uint32_t cnt = 400, len = 12u << 10, i, turns = 0;
	bool done = false;
	struct lab w;

	cfg.ring_len = 16u << 10;
	cfg.staging = queues * (64u << 10);
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.queues = (uint16_t)queues;
	cfg.queue_size = 16;
	lab_open(&w, &cfg);
	w.dev[0]->answer = answer;
	w.dev[0]->in_place_max = in_place_max;
	for (i = 0; i < queues; i++) {
		lab_start(&w, (uint16_t)i);
		lab_source_plan(&w.src[i], cnt, type, HEAD + (type == LAB_WRITE ? len : 0),
				type == LAB_READ ? len : 0);
	}
	while (!done) {
		lab_turn(&w);
		for (i = 0; i < queues; i++)
			done |= w.src[i].visible == cnt;
		assert_true(++turns < 1000000);
	}
	for (i = 0; i < queues; i++)
		assert_true(w.src[i].visible >= cnt / 2);
	for (i = 0; i < queues; i++)
		lab_finish(&w, &w.src[i], cnt);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_starved_queues_take_turns_writing(void **state)
{
	starve(2, LAB_WRITE, LAB_STAGED, 0);
	starve(4, LAB_WRITE, LAB_IN_PLACE, 0);
}

static void test_starved_queues_take_turns_reading(void **state)
{
	starve(2, LAB_READ, LAB_STAGED, 0);
	starve(4, LAB_READ, LAB_STAGED, 0);
	starve(2, LAB_READ, LAB_IN_PLACE, 2048);
	starve(3, LAB_READ, LAB_IN_PLACE, 2048);
}

/* Queues that are deep for their ring: small requests alone can keep it full. */
static void open_deep(struct lab *w, uint16_t queues)
{
	struct lab_config cfg = lab_default;
	uint16_t i;

	cfg.ring_len = 16u << 10;
	cfg.staging = 256u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.queues = queues;
	cfg.queue_size = 128;
	lab_open(w, &cfg);
	for (i = 0; i < queues; i++)
		lab_start(w, i);
}

/* The 20 of queue 1 are through before half of the 20000 of queue 0 are. */
static void large_get_their_share(struct lab *w)
{
	while (w->src[1].visible < 20) {
		assert_true(w->src[0].visible < 10000);
		lab_turn(w);
	}
	lab_finish(w, &w->src[0], 20000);
	lab_assert_never_full(w);
	lab_close(w);
}

/* What needs a whole message's room waits beside what needs next to none, which never ends. */
static void test_large_answer_beside_a_stream_of_small_ones(void **state)
{
	struct lab w;

	open_deep(&w, 2);
	w.dev[0]->answer = LAB_STAGED;
	lab_source_plan(&w.src[0], 20000, LAB_READ, HEAD, 300);
	lab_source_plan(&w.src[1], 20, LAB_READ, HEAD, 16000);
	large_get_their_share(&w);
}

static void test_large_write_beside_a_stream_of_small_ones(void **state)
{
	struct lab w;

	open_deep(&w, 2);
	lab_source_plan(&w.src[0], 20000, LAB_WRITE, HEAD + 300, 0);
	lab_source_plan(&w.src[1], 20, LAB_WRITE, 16000, 0);
	large_get_their_share(&w);
}

/* The same on one queue, where small answers go in place and the large one is staged. */
static void test_staged_answer_beside_answers_in_place(void **state)
{
	struct lab w;

	open_deep(&w, 1);
	w.dev[0]->answer = LAB_BY_SIZE;
	w.src[0].odd = (struct lab_request){ LAB_READ, HEAD, 12001 };
	w.src[0].odd_seq = 1000;
	lab_source_plan(&w.src[0], 20000, LAB_READ, HEAD, 300);
	lab_finish(&w, &w.src[0], 20000);
	assert_true(w.src[0].latest <= 4 * 128);
	lab_assert_never_full(&w);
	lab_close(&w);
}

/* -EAGAIN from the device: every request is submitted in the end, in order. */
static void test_refused_submissions_keep_their_order(void **state)
{
	struct lab w;
	uint32_t i;

	lab_open(&w, &lab_default);
	w.dev[0]->answer = LAB_STAGED;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 200, LAB_WRITE, HEAD + 100, 100);
	w.dev[0]->refuse = 30;
	while (w.src[0].visible < 200) {
		lab_turn(&w);
		if (!w.dev[0]->refuse && w.src[0].visible > 40 && w.src[0].visible < 150)
			w.dev[0]->refuse = 3;
	}
	assert_int_equal(w.dev[0]->log_cnt, 200);
	for (i = 1; i < 200; i++)
		assert_int_equal(w.dev[0]->log[i], w.dev[0]->log[i - 1] + 1);
	lab_close(&w);
}

static void test_completions_in_any_order(void **state)
{
	struct lab w;
	uint32_t i;

	lab_open(&w, &lab_default);
	w.dev[0]->answer = LAB_HOLD;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 100, LAB_WRITE, HEAD + 1000, 1000);
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 100);
	for (i = 0; w.dev[0]->held_cnt; i++) {
		lab_device_release(w.dev[0], i * 37 % w.dev[0]->held_cnt);
		if (i % 3 == 0)
			lab_settle(&w);
	}
	lab_finish(&w, &w.src[0], 100);
	assert_int_equal(w.src[0].ok, 100);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_way_console_output),
		cmocka_unit_test(test_net_rx_with_a_silent_guest),
		cmocka_unit_test(test_4_mib_of_reads_through_a_512_kib_ring),
		cmocka_unit_test(test_1_mib_write_over_a_128_kib_ring),
		cmocka_unit_test(test_full_rings_both_ways_16k),
		cmocka_unit_test(test_full_rings_both_ways_32k),
		cmocka_unit_test(test_every_length_through_a_small_ring),
		cmocka_unit_test(test_control_passes_when_data_is_out_of_credit),
		cmocka_unit_test(test_starved_queues_take_turns_writing),
		cmocka_unit_test(test_starved_queues_take_turns_reading),
		cmocka_unit_test(test_large_answer_beside_a_stream_of_small_ones),
		cmocka_unit_test(test_large_write_beside_a_stream_of_small_ones),
		cmocka_unit_test(test_staged_answer_beside_answers_in_place),
		cmocka_unit_test(test_refused_submissions_keep_their_order),
		cmocka_unit_test(test_completions_in_any_order),
	};

	return cmocka_run_group_tests_name("stack: credit", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
