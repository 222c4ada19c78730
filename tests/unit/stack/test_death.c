// SPDX-License-Identifier: BSD-3-Clause
/* Backends die and come back, at each step of a load: what the guest may notice of it, and what not. */
#include <stdio.h>

#include <vhx/wire.h>

#include "core/flight.h"
#include "lab.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define LOAD 60u
/* Rounds after which a backend dies: the load is over before the last of them. */
#define STEPS 40u

static void die(struct lab *w)
{
	lab_close_backend(w);
}

/*
 * The frontend has noticed, if it can: by itself, or because nobody answers its PINGs while it waits for
 * something. Then the pauses between its attempts have grown to a second.
 */
static void noticed(struct lab *w)
{
	int i;

	lab_settle(w);
	for (i = 0; !lab_has(VHX_PORT_LIVENESS) && i < VHX_PING_MISSES + 3; i++)
		lab_wait(w, VHX_PING_NS);
}

static void load(struct lab *w)
{
	lab_source_plan(&w->src[0], LOAD, LAB_WRITE, HEAD + 3000, 3000);
	lab_source_plan(&w->src[0], 0, LAB_READ, HEAD, 9000);
	lab_source_plan(&w->src[0], 0, LAB_WRITE, HEAD + 9000, 0);
}

static void open_small(struct lab *w, uint32_t device_id)
{
	struct lab_config cfg = lab_default;

	cfg.ring_len = 16u << 10;
	cfg.staging = 64u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.queue_size = 32;
	cfg.device_id = device_id;
	lab_open(w, &cfg);
	lab_start(w, 0);
}

/* Each life's submissions come in the order in which the requests became available. */
static void assert_in_order(const struct lab_device *d)
{
	uint32_t i;

	for (i = 1; i < d->log_cnt; i++)
		assert_true(d->log[i] > d->log[i - 1]);
}

static void die_at(uint32_t rounds, enum lab_answer answer)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = answer;
	load(&w);
	lab_after(&w, rounds, die);
	lab_settle(&w);
	if (w.be)
		w.then = NULL;
	else
		noticed(&w);
	if (!w.be)
		lab_open_backend(&w);
	lab_finish(&w, &w.src[0], LOAD);
	assert_int_equal(w.src[0].ok, LOAD);
	assert_int_equal(w.src[0].broken, 0);
	assert_in_order(w.dev[0]);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_death_at_each_step_is_not_noticed(void **state)
{
	uint32_t i;

	for (i = 0; i < STEPS; i++) {
		die_at(i, LAB_IN_PLACE);
		die_at(i, LAB_STAGED);
	}
}

/* Two lives before the third does it all; the queue is stopped and started in none. */
static void test_second_death_during_the_return(void **state)
{
	struct lab w;
	uint32_t i;

	for (i = 0; i < STEPS; i++) {
		open_small(&w, LAB_BLK);
		lab_settle(&w);
		load(&w);
		lab_after(&w, 3, die);
		lab_settle(&w);
		assert_null(w.be);
		noticed(&w);
		lab_open_backend(&w);
		lab_after(&w, i, die);
		lab_wait(&w, LAB_S);
		if (w.be)
			w.then = NULL;
		else
			noticed(&w);
		if (!w.be)
			lab_open_backend(&w);
		lab_finish(&w, &w.src[0], LOAD);
		assert_int_equal(w.src[0].ok, LOAD);
		lab_close(&w);
	}
}

/* Each time another queue's reset is not answered, and the channel is given up: that speaks against no request. */
static void test_impatience_is_not_held_against_requests(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;
	uint32_t i;

	cfg.queues = 2;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 1, LAB_READ, HEAD, 100);
	for (i = 0; i <= VHX_FLIGHT_DEATHS_MAX; i++) {
		lab_start(&w, 1);
		lab_source_plan(&w.src[1], 1, LAB_READ, HEAD, 100);
		lab_settle(&w);
		assert_int_equal(w.dev[0]->held_cnt, 2);
		w.dev[0]->slow_reset = true;
		assert_int_equal(vhx_fqueue_stop(w.src[1].q), -EINPROGRESS);
		lab_wait(&w, VHX_FQUEUE_DRAIN_NS);
		lab_wait(&w, VHX_FQUEUE_DRAIN_NS);
		assert_int_equal(w.fdev[0].stopped[1], i + 1);
		w.dev[0]->slow_reset = false;
		lab_device_quiesce(w.dev[0]);
		lab_wait(&w, LAB_S);
		lab_wait(&w, LAB_S);
	}
	assert_int_equal(w.connects, 1 + i);
	assert_int_equal(w.src[0].visible, 0);
	lab_device_release_all(w.dev[0]);
	lab_finish(&w, &w.src[0], 1);
	assert_int_equal(w.src[0].ok, 1);
	lab_close(&w);
}

static void test_replay_keeps_the_order_of_the_ring(void **state)
{
	struct lab w;
	uint32_t i;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 10, LAB_READ, HEAD, 100);
	lab_settle(&w);
	lab_device_release(w.dev[0], 3);
	lab_device_release(w.dev[0], 0);
	lab_settle(&w);
	die(&w);
	noticed(&w);
	lab_open_backend(&w);
	w.dev[0]->answer = LAB_HOLD;
	lab_wait(&w, LAB_S);
	assert_int_equal(w.dev[0]->log_cnt, 8);
	for (i = 0; i < 8; i++)
		assert_int_equal(w.dev[0]->log[i], w.src[0].again_log[i] + 0x1000);
	assert_in_order(w.dev[0]);
	assert_int_equal(vhx_fdev_stats(w.fdev[0].fdev)->replays, 8);
	lab_device_release_all(w.dev[0]);
	lab_finish(&w, &w.src[0], 10);
	lab_close(&w);
}

static void test_type_without_replay_ends_its_requests(void **state)
{
	struct lab w;

	open_small(&w, LAB_NET);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_settle(&w);
	die(&w);
	noticed(&w);
	assert_int_equal(w.src[0].visible, 10);
	assert_int_equal(vhx_fdev_stats(w.fdev[0].fdev)->errors, 10);
	lab_open_backend(&w);
	lab_source_plan(&w.src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_finish(&w, &w.src[0], 20);
	assert_int_equal(w.dev[0]->log_cnt, 10);
	lab_close(&w);
}

static void die_with_requests_held(struct lab *w, uint32_t times)
{
	while (times--) {
		w->dev[0]->answer = LAB_HOLD;
		lab_wait(w, 2 * LAB_S);
		assert_int_equal(w->dev[0]->held_cnt, 3);
		die(w);
		noticed(w);
		lab_open_backend(w);
	}
}

static void test_request_that_outlived_three_backends_ends_with_an_error(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	lab_source_plan(&w.src[0], 3, LAB_READ, HEAD, 100);
	die_with_requests_held(&w, 3);
	lab_source_plan(&w.src[0], 3, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 6);
	assert_int_equal(w.src[0].errors, 3);
	assert_int_equal(w.src[0].ok, 3);
	lab_close(&w);
}

static void test_request_that_outlived_two_backends_is_replayed(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	lab_source_plan(&w.src[0], 3, LAB_READ, HEAD, 100);
	die_with_requests_held(&w, 2);
	lab_finish(&w, &w.src[0], 3);
	assert_int_equal(w.src[0].ok, 3);
	lab_close(&w);
}

/* Ten writes, and a flush if so wished; then a backend without the first one's cache. */
static void cache_lost(struct lab *w, bool flush)
{
	open_small(w, LAB_BLK);
	lab_source_plan(&w->src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_finish(w, &w->src[0], 10);
	if (flush) {
		lab_source_plan(&w->src[0], 1, LAB_FLUSH, HEAD, 0);
		lab_finish(w, &w->src[0], 11);
	}
	w->dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w->src[0], 5, LAB_READ, HEAD, 100);
	lab_settle(w);
	die(w);
	noticed(w);
	w->cache_id++;
	lab_open_backend(w);
}

static void test_cache_lost_with_unflushed_writes_fails_the_device(void **state)
{
	struct lab w;

	cache_lost(&w, false);
	lab_finish(&w, &w.src[0], 15);
	assert_int_equal(w.src[0].errors, 5);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	/* And those to come, also with the next backend. */
	lab_source_plan(&w.src[0], 5, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 20);
	die(&w);
	noticed(&w);
	lab_open_backend(&w);
	lab_wait(&w, LAB_S);
	lab_source_plan(&w.src[0], 5, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 25);
	assert_int_equal(w.src[0].errors, 15);
	assert_int_equal(w.dev[0]->log_cnt, 0);
	lab_close(&w);
}

static void test_cache_lost_after_a_flush_is_not_noticed(void **state)
{
	struct lab w;

	cache_lost(&w, true);
	lab_finish(&w, &w.src[0], 16);
	assert_int_equal(w.src[0].ok, 16);
	lab_close(&w);
}

/* A write that began while the flush was under way is not covered by it. */
static void test_write_during_a_flush_is_not_flushed(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 1, LAB_FLUSH, HEAD, 0);
	lab_settle(&w);
	lab_source_plan(&w.src[0], 1, LAB_WRITE, HEAD + 100, 0);
	lab_settle(&w);
	lab_device_release(w.dev[0], 1);
	lab_settle(&w);
	lab_device_release(w.dev[0], 0);
	lab_finish(&w, &w.src[0], 2);
	die(&w);
	noticed(&w);
	w.cache_id++;
	lab_open_backend(&w);
	/* Where nobody tells, a death in idle time is found at the next use. */
	lab_source_plan(&w.src[0], 1, LAB_READ, HEAD, 100);
	lab_settle(&w);
	lab_wait(&w, LAB_S);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	lab_close(&w);
}

static void test_cache_kept_with_unflushed_writes_is_not_noticed(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	lab_source_plan(&w.src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_finish(&w, &w.src[0], 10);
	die(&w);
	noticed(&w);
	lab_open_backend(&w);
	lab_source_plan(&w.src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_finish(&w, &w.src[0], 20);
	assert_int_equal(w.src[0].ok, 20);
	lab_close(&w);
}

/* The guest is told that it failed, and so it did. */
static void test_flush_without_a_status_is_a_failed_one(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = LAB_SILENT;
	lab_source_plan(&w.src[0], 1, LAB_FLUSH, HEAD, 0);
	lab_finish(&w, &w.src[0], 1);
	assert_int_equal(w.src[0].errors, 1);
	die(&w);
	noticed(&w);
	lab_open_backend(&w);
	lab_source_plan(&w.src[0], 1, LAB_READ, HEAD, 100);
	lab_settle(&w);
	lab_wait(&w, LAB_S);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	lab_close(&w);
}

/* Written by one driver, lost while there was none: the next one does not get the disk as if it was sound. */
static void test_cache_lost_between_two_drivers_fails_the_device(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	lab_source_plan(&w.src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_finish(&w, &w.src[0], 10);
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	lab_settle(&w);
	die(&w);
	/* Nothing is outstanding that an exchange without liveness could find this by. */
	lab_settle(&w);
	w.cache_id++;
	lab_open_backend(&w);
	assert_int_equal(vhx_fdev_set_features(w.fdev[0].fdev, LAB_FLUSH_FEATURE), 0);
	lab_start(&w, 0);
	noticed(&w);
	lab_wait(&w, LAB_S);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	lab_close(&w);
}

static void test_failed_flush_stays_failed(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	w.dev[0]->flush_status = LAB_IOERR;
	lab_source_plan(&w.src[0], 1, LAB_FLUSH, HEAD, 0);
	lab_settle(&w);
	die(&w);
	noticed(&w);
	lab_open_backend(&w);
	lab_wait(&w, LAB_S);
	/* The new one knows nothing of it and would call the next flush a success. */
	lab_source_plan(&w.src[0], 1, LAB_FLUSH, HEAD, 0);
	lab_finish(&w, &w.src[0], 2);
	assert_int_equal(w.src[0].errors, 1);
	assert_int_equal(w.dev[0]->log_cnt, 0);
	lab_close(&w);
}

static void test_other_medium_is_refused(void **state)
{
	struct lab w;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 5, LAB_WRITE, HEAD + 100, 0);
	lab_settle(&w);
	die(&w);
	noticed(&w);
	w.uuid++;
	lab_open_backend(&w);
	lab_finish(&w, &w.src[0], 5);
	assert_int_equal(w.src[0].errors, 5);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	/* Its owner has known it: it goes on, with errors, and so do other devices. */
	assert_int_equal(w.fdev[0].unusable, 0);
	assert_int_equal(w.dev[0]->log_cnt, 0);
	lab_close(&w);
}

static void test_backend_that_comes_late_is_waited_for(void **state)
{
	struct lab w;
	uint32_t i;

	open_small(&w, LAB_BLK);
	die(&w);
	noticed(&w);
	lab_source_plan(&w.src[0], 5, LAB_WRITE, HEAD + 100, 0);
	for (i = 0; i < 20; i++)
		lab_wait(&w, 300 * LAB_MS);
	assert_int_equal(w.src[0].visible, 0);
	lab_open_backend(&w);
	lab_wait(&w, LAB_S);
	lab_finish(&w, &w.src[0], 5);
	assert_int_equal(w.src[0].ok, 5);
	lab_close(&w);
}

/* The backend dies as soon as the channel is up, each time. */
static void test_channel_that_always_ends_is_retried_slowly(void **state)
{
	struct lab w;
	uint32_t i;

	open_small(&w, LAB_BLK);
	for (i = 0; i < 600; i++) {
		lab_wait(&w, 20 * LAB_MS);
		die(&w);
		lab_open_backend(&w);
	}
	if (w.connects == 1 && !lab_has(VHX_PORT_LIVENESS)) {
		lab_close(&w);
		skip(); /* nobody told of any of these deaths, in idle time */
	}
	/* Twelve seconds: pauses that double up to one second. */
	assert_in_range(w.connects, 10, 30);
	lab_close(&w);
}

/* The VMM's choice does not change by itself: one line, and requests that end, instead of a channel that never stays. */
static void test_queue_larger_than_the_backend_takes_fails_the_device(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.queue_size = 2048;
	cfg.max_out = cfg.max_in = 4096;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 5, LAB_WRITE, HEAD + 100, 0);
	lab_wait(&w, 5 * LAB_S);
	assert_int_equal(w.src[0].ok, 0);
	assert_int_equal(w.src[0].errors + w.src[0].empty, 5);
	assert_int_equal(w.connects, 1);
	lab_close(&w);
}

/* The medium is the old life's until its last request has let go of it. */
static void test_own_dead_channel_keeps_the_device_busy_while_it_drains(void **state)
{
	struct lab w;
	uint32_t i;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 5, LAB_WRITE, HEAD + 100, 0);
	lab_settle(&w);
	w.dev[0]->slow_reset = true;
	/* The frontend gives the channel up, the backend lives. */
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	w.src[0].gone = true;
	lab_settle(&w);
	lab_wait(&w, 6 * LAB_S);
	assert_int_equal(w.fdev[0].resets_done, 1);
	for (i = 0; i < 5; i++)
		lab_wait(&w, LAB_S);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "waiting");
	assert_int_equal(w.fdev[0].unusable, 0);
	lab_device_quiesce(w.dev[0]);
	lab_wait(&w, LAB_S);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "attached");
	lab_close(&w);
}

/* Slowness is no silence. */
static void test_slow_device_behind_a_backend_that_answers_pings(void **state)
{
	struct lab w;
	uint32_t i;

	open_small(&w, LAB_BLK);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 3, LAB_READ, HEAD, 100);
	/* A device that takes a minute, and a backend that answers PING. */
	for (i = 0; i < 12; i++)
		lab_wait(&w, VHX_PING_NS);
	assert_int_equal(w.connects, 1);
	assert_string_equal(vhx_frontend_state(w.fe), "established");
	lab_device_release_all(w.dev[0]);
	lab_finish(&w, &w.src[0], 3);
	assert_int_equal(w.src[0].ok, 3);
	lab_close(&w);
}

/* No request, no timer: the frontend of an idle guest never wakes by itself. */
static void test_idle_channel_has_no_pings(void **state)
{
	uint64_t before;
	struct lab w;
	uint32_t i;

	open_small(&w, LAB_BLK);
	lab_source_plan(&w.src[0], 3, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 3);
	lab_wait(&w, VHX_PING_NS);
	before = lab_fe_stats(&w).tx_messages;
	for (i = 0; i < 12; i++)
		lab_wait(&w, VHX_PING_NS);
	assert_int_equal(lab_fe_stats(&w).tx_messages, before);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_death_at_each_step_is_not_noticed),
		cmocka_unit_test(test_second_death_during_the_return),
		cmocka_unit_test(test_impatience_is_not_held_against_requests),
		cmocka_unit_test(test_replay_keeps_the_order_of_the_ring),
		cmocka_unit_test(test_type_without_replay_ends_its_requests),
		cmocka_unit_test(test_request_that_outlived_three_backends_ends_with_an_error),
		cmocka_unit_test(test_request_that_outlived_two_backends_is_replayed),
		cmocka_unit_test(test_cache_lost_with_unflushed_writes_fails_the_device),
		cmocka_unit_test(test_cache_lost_after_a_flush_is_not_noticed),
		cmocka_unit_test(test_write_during_a_flush_is_not_flushed),
		cmocka_unit_test(test_cache_kept_with_unflushed_writes_is_not_noticed),
		cmocka_unit_test(test_failed_flush_stays_failed),
		cmocka_unit_test(test_flush_without_a_status_is_a_failed_one),
		cmocka_unit_test(test_cache_lost_between_two_drivers_fails_the_device),
		cmocka_unit_test(test_other_medium_is_refused),
		cmocka_unit_test(test_backend_that_comes_late_is_waited_for),
		cmocka_unit_test(test_channel_that_always_ends_is_retried_slowly),
		cmocka_unit_test(test_queue_larger_than_the_backend_takes_fails_the_device),
		cmocka_unit_test(test_slow_device_behind_a_backend_that_answers_pings),
		cmocka_unit_test(test_idle_channel_has_no_pings),
		cmocka_unit_test(test_own_dead_channel_keeps_the_device_busy_while_it_drains),
	};

	return cmocka_run_group_tests_name("stack: death", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
