// SPDX-License-Identifier: BSD-3-Clause
/*
 * Requests that are about those of other queues, as task management of SCSI: the device gets them behind what its driver
 * made available before, on whatever queue, however long that waits for credit; and what comes later does not
 * hold them up. Their answers are behind those of the other queues in the same way.
 */
#include "lab.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define ABOUT 0 /* the queues */
#define SERVED 2
#define SERVED_TOO 3

static struct order {
	const struct vhx_device_ops *plain;
	struct vhx_device_ops ops;
	uint32_t served; /* requests of other queues that the device got in this life, once each, */
	uint32_t before[4]; /* and how many of them before each that is about them */
	uint32_t about;
	uint32_t heard;
} order;

static int order_submit(struct vhx_device *dev, struct vhx_request *req)
{
	bool again = req->priv[2];

	if (vhx_queue_index(req->queue) == ABOUT) {
		assert_true(order.about < VHX_ARRAY_SIZE(order.before));
		order.before[order.about++] = order.served;
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return 0;
	}
	order.served += !again;
	return order.plain->submit(dev, req);
}

static void order_take_over(struct lab *w, enum lab_answer answer)
{
	order = (struct order){ .plain = w->dev[0]->dev.ops };
	order.ops = *order.plain;
	order.ops.submit = order_submit;
	w->dev[0]->dev.ops = &order.ops;
	w->dev[0]->answer = answer;
}

static void order_open(struct lab *w, uint32_t ring_len, uint32_t staging, enum lab_answer answer)
{
	struct lab_config cfg = lab_default;

	cfg.device_id = LAB_SCSI;
	cfg.queues = 4;
	cfg.queue_size = 16;
	cfg.ring_len = ring_len;
	cfg.staging = staging;
	cfg.max_out = cfg.max_in = 16u << 10;
	lab_open(w, &cfg);
	order_take_over(w, answer);
	lab_start(w, ABOUT);
	lab_start(w, SERVED);
	lab_start(w, SERVED_TOO);
	lab_settle(w);
}

/* What ABOUT's requests answer with is nothing, also those that fail. */
static void ask_about(struct lab *w)
{
	lab_source_plan(&w->src[ABOUT], 1, LAB_WRITE, HEAD, 0);
}

/* All of it is seen by one pass, which looks at the first queue first. */
static void test_function_does_not_overtake_commands_on_other_queues(void **state)
{
	struct lab w;

	order_open(&w, 64u << 10, 64u << 10, LAB_STAGED);
	lab_source_plan(&w.src[SERVED], 5, LAB_WRITE, HEAD, 0);
	lab_source_plan(&w.src[SERVED_TOO], 7, LAB_WRITE, HEAD + 100, 0);
	ask_about(&w);
	lab_settle(&w);
	assert_int_equal(order.about, 1);
	assert_int_equal(order.before[0], 12);
	lab_close(&w);
}

/* The device does not take them, so that neither credit nor the window has room for all. */
static void test_function_does_not_overtake_commands_that_wait_for_credit(void **state)
{
	struct lab w;

	order_open(&w, 16u << 10, 64u << 10, LAB_HOLD);
	lab_source_plan(&w.src[SERVED], 16, LAB_WRITE, HEAD + 9000, 0);
	lab_source_plan(&w.src[SERVED_TOO], 16, LAB_WRITE, HEAD + 9000, 0);
	ask_about(&w);
	lab_settle(&w);
	assert_true(order.served < 32);
	assert_int_equal(order.about, 0);
	while (w.dev[0]->held_cnt) {
		lab_device_release_all(w.dev[0]);
		lab_settle(&w);
	}
	assert_int_equal(order.about, 1);
	assert_int_equal(order.before[0], 32);
	assert_int_equal(w.src[ABOUT].ok, 1);
	lab_assert_never_full(&w);
	lab_close(&w);
}

/* Each that ends is followed by another one. */
static void test_later_commands_do_not_hold_up_a_function(void **state)
{
	struct lab w;

	order_open(&w, 16u << 10, 64u << 10, LAB_STAGED);
	lab_source_plan(&w.src[SERVED], 1000, LAB_WRITE, HEAD + 3000, 0);
	ask_about(&w);
	lab_finish(&w, &w.src[SERVED], 1000);
	assert_int_equal(order.about, 1);
	assert_in_range(order.before[0], 16, 100);
	/* The next one counts anew. */
	lab_source_plan(&w.src[SERVED], 10, LAB_WRITE, HEAD, 0);
	ask_about(&w);
	lab_settle(&w);
	assert_int_equal(order.about, 2);
	assert_int_equal(order.before[1], 1010);
	lab_close(&w);
}

/* What the driver has of the commands when it hears that the function has ended. */
static void count_visible(struct lab_source *s)
{
	struct lab *w = s->ctx;

	order.heard++;
	assert_int_equal(w->src[SERVED].ok, 16);
	assert_int_equal(w->src[SERVED_TOO].ok, 16);
}

/* Their data has to wait for room, which the answer of the function needs none of. */
static void test_function_does_not_end_before_the_commands_it_ended(void **state)
{
	struct lab w;
	uint32_t i;

	order_open(&w, 16u << 10, 1u << 20, LAB_HOLD);
	lab_source_plan(&w.src[SERVED], 16, LAB_READ, HEAD, 3000);
	lab_source_plan(&w.src[SERVED_TOO], 16, LAB_READ, HEAD, 3000);
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 32);
	w.src[ABOUT].on_complete = count_visible;
	w.src[ABOUT].ctx = &w;
	/* More than the ring has room for. */
	lab_device_release_all(w.dev[0]);
	ask_about(&w);
	for (i = 0; i < 10000 && !w.src[ABOUT].visible; i++) {
		lab_turn(&w);
		assert_true(!w.src[ABOUT].visible ||
			    w.src[SERVED].visible + w.src[SERVED_TOO].visible == 32);
	}
	assert_int_equal(order.heard, 1);
	lab_assert_never_full(&w);
	lab_close(&w);
}

/* A queue that stops sends nothing more that could be overtaken. */
static void test_function_does_not_wait_for_a_queue_that_stops(void **state)
{
	struct lab w;

	order_open(&w, 16u << 10, 64u << 10, LAB_HOLD);
	lab_source_plan(&w.src[SERVED], 16, LAB_WRITE, HEAD + 9000, 0);
	ask_about(&w);
	lab_settle(&w);
	assert_int_equal(order.about, 0);
	assert_int_equal(vhx_fqueue_stop(w.src[SERVED].q), -EINPROGRESS);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS);
	lab_settle(&w);
	assert_int_equal(order.about, 1);
	w.src[SERVED].gone = true;
	lab_close(&w);
}

/* A function is not for the next backend; commands are, and the next function is behind them again. */
static void test_function_after_a_death_is_behind_what_is_sent_again(void **state)
{
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	order_open(&w, 16u << 10, 64u << 10, LAB_HOLD);
	lab_source_plan(&w.src[SERVED], 16, LAB_WRITE, HEAD + 9000, 0);
	ask_about(&w);
	lab_settle(&w);
	lab_close_backend(&w);
	lab_settle(&w);
	assert_int_equal(order.about, 0);
	assert_int_equal(w.src[ABOUT].visible, 1);
	ask_about(&w);
	lab_settle(&w);
	lab_open_backend(&w);
	order_take_over(&w, LAB_STAGED);
	lab_wait(&w, LAB_S);
	lab_wait(&w, LAB_S);
	assert_int_equal(order.about, 1);
	assert_int_equal(order.before[0], 16);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_function_does_not_overtake_commands_on_other_queues),
		cmocka_unit_test(test_function_does_not_overtake_commands_that_wait_for_credit),
		cmocka_unit_test(test_later_commands_do_not_hold_up_a_function),
		cmocka_unit_test(test_function_does_not_end_before_the_commands_it_ended),
		cmocka_unit_test(test_function_does_not_wait_for_a_queue_that_stops),
		cmocka_unit_test(test_function_after_a_death_is_behind_what_is_sent_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
