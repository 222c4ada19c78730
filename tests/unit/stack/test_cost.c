// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the protocol promises to cost (docs/wire.md): sends, wakes, copies and allocations per request,
 * counted on batches that are the same each time.
 */
#include "lab.h"

#define BATCH 32u
#define PAGE 4096u

/* Sends at most, and wakes, of a batch of 32: 0.13 and 0.2 per request. */
#define BATCH_SENDS 4u
#define BATCH_WAKES 6u

struct cost {
	uint64_t sends, credits, wakes, copied, allocations;
};

static struct cost cost_now(struct lab *w)
{
	struct vhx_port_stats fe = lab_fe_stats(w), be = lab_be_stats(w);

	return (struct cost){
		.sends = fe.sends + be.sends,
		.credits = vhx_frontend_credits_sent(w->fe) + lab_be_credits(w),
		.wakes = fe.wakes_sent + be.wakes_sent,
		.copied = vhx_fdev_stats(w->fdev[0].fdev)->bytes_copied +
			  lab_dev_stats(w, 0).bytes_copied,
		.allocations = lab_allocations(),
	};
}

static struct cost cost_of(struct lab *w, uint32_t cnt)
{
	struct cost before = cost_now(w), after;

	lab_finish(w, &w->src[0], w->src[0].visible + cnt);
	after = cost_now(w);
	assert_int_equal(w->src[0].errors, 0);
	assert_int_equal(after.allocations, before.allocations);
	return (struct cost){
		.sends = after.sends - before.sends,
		.credits = after.credits - before.credits,
		.wakes = after.wakes - before.wakes,
		.copied = after.copied - before.copied,
	};
}

static uint32_t out_of(uint32_t type)
{
	return sizeof(struct lab_head) + (type == LAB_WRITE ? PAGE : 0);
}

static void plan(struct lab *w, uint32_t cnt, uint32_t type, uint32_t len)
{
	uint32_t out = sizeof(struct lab_head) + (type == LAB_WRITE ? len : 0);

	lab_source_plan(&w->src[0], cnt, type, out, type == LAB_READ ? len : 0);
}

static void open_running(struct lab *w, enum lab_answer answer)
{
	lab_open(w, &lab_default);
	w->dev[0]->answer = answer;
	lab_start(w, 0);
	lab_settle(w);
	/* One of each kind first: set-up is not counted. */
	plan(w, 1, LAB_READ, PAGE);
	lab_finish(w, &w->src[0], 1);
}

static void batch_bound(struct lab *w)
{
	struct cost c = cost_of(w, BATCH);

	assert_true(c.sends <= BATCH_SENDS);
	if (lab_has(VHX_PORT_SLEEP_FLAG))
		assert_true(c.wakes <= BATCH_WAKES);
}

static void batch_run(uint32_t reads, uint32_t writes, enum lab_answer answer)
{
	struct lab w;

	open_running(&w, answer);
	if (reads)
		plan(&w, reads, LAB_READ, PAGE);
	if (writes)
		plan(&w, writes, LAB_WRITE, PAGE);
	batch_bound(&w);
	lab_close(&w);
}

static void test_batch_of_reads_in_place(void **state)
{
	batch_run(BATCH, 0, LAB_IN_PLACE);
}

static void test_batch_of_reads_staged(void **state)
{
	batch_run(BATCH, 0, LAB_STAGED);
}

static void test_batch_of_reads_led(void **state)
{
	batch_run(BATCH, 0, LAB_LED);
}

/* The id of a led answer is used again, by one without staging: no page is looked for. */
static void test_status_alone_behind_a_led_answer(void **state)
{
	struct lab w;

	open_running(&w, LAB_IN_PLACE);
	w.dev[0]->answer = LAB_LED;
	plan(&w, BATCH, LAB_READ, PAGE);
	lab_settle(&w);
	assert_int_equal(w.src[0].ok, 1 + BATCH);
	w.dev[0]->answer = LAB_STATUS;
	plan(&w, BATCH, LAB_READ, PAGE);
	lab_settle(&w);
	assert_int_equal(w.src[0].ok, 1 + BATCH);
	assert_int_equal(w.src[0].errors, BATCH);
	lab_close(&w);
}

static void test_batch_of_writes(void **state)
{
	batch_run(0, BATCH, LAB_IN_PLACE);
	batch_run(0, BATCH, LAB_STAGED);
}

static void test_batch_of_both(void **state)
{
	batch_run(BATCH / 2, BATCH / 2, LAB_IN_PLACE);
	batch_run(BATCH / 2, BATCH / 2, LAB_STAGED);
}

/* Also when all are completed in a later pass, by one call. */
static void test_batch_held(void **state)
{
	struct lab w;

	open_running(&w, LAB_IN_PLACE);
	w.dev[0]->answer = LAB_HOLD;
	plan(&w, BATCH, LAB_READ, PAGE);
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, BATCH);
	lab_device_release_all(w.dev[0]);
	lab_settle(&w);
	assert_int_equal(w.src[0].ok, 1 + BATCH);
	lab_close(&w);
}

static void test_one_small_request_is_two_sends(void **state)
{
	static const uint32_t types[] = { LAB_READ, LAB_WRITE };
	struct lab w;
	struct cost c;
	uint32_t i;

	open_running(&w, LAB_IN_PLACE);
	for (i = 0; i < 2 * VHX_ARRAY_SIZE(types); i++) {
		w.dev[0]->answer = i & 1 ? LAB_STAGED : LAB_IN_PLACE;
		plan(&w, 1, types[i / 2], PAGE);
		c = cost_of(&w, 1);
		assert_int_equal(c.sends, 2 + c.credits);
	}
	lab_close(&w);
}

static uint32_t messages_of(struct lab *w, uint32_t len)
{
	uint32_t max = vhx_frontend_port(w->fe)->max_message;

	return (len + max - 1) / max;
}

static void test_large_request_is_few_sends(void **state)
{
	struct lab_config cfg = lab_default;
	uint32_t len = 1u << 20;
	enum lab_answer a;
	struct cost c;
	struct lab w;

	cfg.max_out = cfg.max_in = (1u << 20) + PAGE;
	cfg.queue_size = 8;
	for (a = LAB_IN_PLACE; a <= LAB_STAGED; a++) {
		lab_open(&w, &cfg);
		w.dev[0]->answer = a;
		lab_start(&w, 0);
		lab_settle(&w);
		plan(&w, 1, LAB_READ, len);
		c = cost_of(&w, 1);
		assert_true(c.sends - c.credits <= 2 + messages_of(&w, len));
		plan(&w, 1, LAB_WRITE, len);
		c = cost_of(&w, 1);
		assert_true(c.sends - c.credits <= 2 + messages_of(&w, len));
		lab_close(&w);
	}
}

/* Bytes of ours: what the backend stages is copied once into the message, and once out of it. */
static void test_payload_is_copied_twice_at_most(void **state)
{
	struct lab w;
	struct cost c;

	open_running(&w, LAB_STAGED);
	plan(&w, BATCH, LAB_READ, PAGE);
	c = cost_of(&w, BATCH);
	assert_int_equal(c.copied, 2 * BATCH * (PAGE + 1 + out_of(LAB_READ)));
	plan(&w, BATCH, LAB_WRITE, PAGE);
	c = cost_of(&w, BATCH);
	assert_int_equal(c.copied, 2 * BATCH * (1 + out_of(LAB_WRITE)));
	lab_close(&w);
}

static void test_payload_in_place_is_copied_once(void **state)
{
	struct lab w;
	struct cost c;

	open_running(&w, LAB_IN_PLACE);
	plan(&w, BATCH, LAB_READ, PAGE);
	c = cost_of(&w, BATCH);
	assert_int_equal(c.copied, BATCH * (PAGE + 1 + 2 * out_of(LAB_READ)));
	lab_close(&w);
}

/* A long run under scarcity of everything allocates nothing either. */
static void test_no_allocation_after_set_up(void **state)
{
	struct lab_config cfg = lab_default;
	uint64_t before;
	struct lab w;

	cfg.ring_len = 32u << 10;
	cfg.staging = 32u << 10;
	cfg.max_out = cfg.max_in = 64u << 10;
	cfg.queue_size = 64;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	lab_settle(&w);
	before = lab_allocations();
	plan(&w, 100, LAB_READ, 33000);
	plan(&w, 100, LAB_WRITE, 33000);
	lab_finish(&w, &w.src[0], 200);
	w.dev[0]->answer = LAB_STAGED;
	plan(&w, 200, LAB_READ, 33000);
	lab_finish(&w, &w.src[0], 400);
	assert_int_equal(lab_allocations(), before);
	assert_int_equal(w.src[0].ok, 400);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batch_of_reads_in_place),
		cmocka_unit_test(test_batch_of_reads_staged),
		cmocka_unit_test(test_batch_of_reads_led),
		cmocka_unit_test(test_status_alone_behind_a_led_answer),
		cmocka_unit_test(test_batch_of_writes),
		cmocka_unit_test(test_batch_of_both),
		cmocka_unit_test(test_batch_held),
		cmocka_unit_test(test_one_small_request_is_two_sends),
		cmocka_unit_test(test_large_request_is_few_sends),
		cmocka_unit_test(test_payload_is_copied_twice_at_most),
		cmocka_unit_test(test_payload_in_place_is_copied_once),
		cmocka_unit_test(test_no_allocation_after_set_up),
	};

	return cmocka_run_group_tests_name("stack: cost", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
