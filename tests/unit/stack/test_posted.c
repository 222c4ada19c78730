// SPDX-License-Identifier: BSD-3-Clause
/*
 * Posted requests: receive buffers that lie with the device until it has data. A scripted device of two queues:
 * on the first one it keeps what is posted and fills it when the test says so, in groups if wanted; the second
 * one serves as ever. They cost nothing until answered, outlive a backend, and hold nobody up who wants to stop.
 */
#include "lab.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define POSTED 0 /* the queues */
#define SERVED 1

static struct post {
	const struct vhx_device_ops *plain; /* what serves the other queue */
	struct vhx_list held;
	uint32_t held_cnt;
	uint32_t due; /* to be filled */
	uint32_t group; /* completions that belong together; 0: none do */
	uint32_t filled, stalls, restarts, rooms;
	uint32_t too_big;
	struct vhx_device_limits limits[2];
	bool has_limits;
} post;

static void post_run(void);

/* A piece of the oldest posted request. False: no room. priv[0]: bytes that are out. */
static bool post_piece(struct vhx_request *req, uint32_t seed)
{
	uint32_t at = (uint32_t)req->priv[0];
	uint32_t len = (uint32_t)vhx_min_u64(req->in_len - at, vhx_request_in_reserve_max(req));
	vhx_le32 told = vhx_le32_of(seed);
	bool later;
	uint8_t *p = vhx_request_in_reserve(req, at, len, &later);

	if (!p) {
		assert_true(later);
		return false;
	}
	lab_fill(p, seed, at, len);
	if (!at)
		memcpy(p, &told, sizeof(told));
	vhx_request_in_commit(req, len);
	req->priv[0] += len;
	return true;
}

static void post_run(void)
{
	while (post.due && post.held_cnt) {
		struct vhx_request *req = vhx_list_first_entry(&post.held, struct vhx_request,
							       node);

		while (req->priv[0] < req->in_len) {
			if (post_piece(req, post.filled + 1))
				continue;
			post.stalls++;
			return;
		}
		vhx_list_del(&req->node);
		post.held_cnt--;
		post.due--;
		post.filled++;
		req->group = post.group && post.filled % post.group;
		vhx_request_complete(req, 0, NULL, 0, 0, req->in_len);
	}
}

static void post_feed(uint32_t cnt)
{
	post.due += cnt;
	post_run();
}

static int post_submit(struct vhx_device *dev, struct vhx_request *req)
{
	if (vhx_queue_index(req->queue) != POSTED)
		return post.plain->submit(dev, req);
	assert_int_equal(req->out_len, 0);
	post.too_big += req->too_big;
	vhx_list_init(&req->node);
	vhx_list_add_tail(&post.held, &req->node);
	post.held_cnt++;
	return 0;
}

static void post_drop_all(void)
{
	while (post.held_cnt) {
		struct vhx_request *req = vhx_list_first_entry(&post.held, struct vhx_request,
							       node);

		vhx_list_del(&req->node);
		post.held_cnt--;
		vhx_request_drop(req);
	}
}

static void post_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	if (vhx_queue_index(queue) != POSTED) {
		post.plain->reset(dev, queue);
		return;
	}
	post_drop_all();
	vhx_queue_quiesced(queue);
}

static void post_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	assert_int_equal(vhx_queue_index(queue), POSTED);
	post.rooms++;
	post_run();
}

static void post_restarted(struct vhx_device *dev)
{
	assert_int_equal(post.held_cnt, 0);
	post.restarts++;
}

static void post_limits(const struct vhx_device *dev, uint16_t index,
			struct vhx_device_limits *limits)
{
	assert_true(index < 2);
	if (post.has_limits)
		*limits = post.limits[index];
	else if (index == POSTED)
		limits->max_staged = 0;
}

static int post_set_features(struct vhx_device *dev, uint64_t features)
{
	return post.plain->set_features(dev, features);
}

static void post_close(struct vhx_device *dev)
{
	post_drop_all();
	post.plain->close(dev);
}

static const struct vhx_device_ops post_ops = {
	.name = "post",
	.device_id = LAB_NET,
	.head_len = sizeof(struct lab_head),
	.queue_limits = post_limits,
	.submit = post_submit,
	.room = post_room,
	.reset = post_reset,
	.restarted = post_restarted,
	.set_features = post_set_features,
	.close = post_close,
};

static void post_take_over(struct lab *w)
{
	post.plain = w->dev[0]->dev.ops;
	w->dev[0]->dev.ops = &post_ops;
	w->dev[0]->answer = LAB_STAGED;
	vhx_list_init(&post.held);
}

static struct lab_config config(uint32_t ring_len, uint32_t max_in)
{
	struct lab_config cfg = lab_default;

	cfg.device_id = LAB_NET;
	cfg.queues = 2;
	cfg.ring_len = ring_len;
	cfg.staging = 64u << 10;
	cfg.max_out = 16u << 10;
	cfg.max_in = max_in;
	return cfg;
}

static void post_open(struct lab *w, const struct lab_config *cfg, uint32_t posted, uint32_t len)
{
	post = (struct post){ .has_limits = post.has_limits,
			      .limits = { post.limits[0], post.limits[1] } };
	lab_open(w, cfg);
	post_take_over(w);
	lab_start(w, POSTED);
	lab_start(w, SERVED);
	lab_source_plan(&w->src[POSTED], posted, LAB_READ, 0, len);
	lab_settle(w);
	assert_int_equal(post.held_cnt, posted);
}

static void post_close_lab(struct lab *w)
{
	lab_close(w);
	post.has_limits = false;
}

/* 16 MiB are posted through a ring of 64 KiB, and the other queue does not notice. */
static void test_posted_requests_cost_nothing_until_answered(void **state)
{
	struct lab_config cfg = config(64u << 10, 64u << 10);
	struct lab w;

	post_open(&w, &cfg, 256, 64u << 10);
	lab_source_plan(&w.src[SERVED], 300, LAB_WRITE, HEAD + 3000, 3000);
	lab_finish(&w, &w.src[SERVED], 300);
	assert_int_equal(w.src[SERVED].ok, 300);
	assert_int_equal(w.src[POSTED].visible, 0);
	/* One page per way for what is over the limits, and the share of the other queue. */
	assert_true(vhx_backend_memory(w.be) < (3u << 20));
	post_feed(256);
	lab_finish(&w, &w.src[POSTED], 256);
	assert_int_equal(w.src[POSTED].ok, 256);
	/* All of it came by way of ops->room: the ring has no place for as much at once. */
	assert_true(post.stalls > 0 && post.rooms >= post.stalls);
	lab_assert_never_full(&w);
	post_close_lab(&w);
}

/* Both directions at once, on one ring. */
static void test_posted_queue_and_served_queue_take_turns(void **state)
{
	struct lab_config cfg = config(32u << 10, 16u << 10);
	struct lab w;

	post_open(&w, &cfg, 256, 9000);
	lab_source_plan(&w.src[SERVED], 300, LAB_WRITE, HEAD + 9000, 9000);
	post_feed(256);
	lab_finish(&w, &w.src[SERVED], 300);
	lab_finish(&w, &w.src[POSTED], 256);
	assert_int_equal(w.src[POSTED].ok, 256);
	assert_int_equal(w.src[SERVED].ok, 300);
	lab_assert_never_full(&w);
	post_close_lab(&w);
}

static void groups_are_whole(struct lab_source *s)
{
	struct lab *w = s->ctx;

	assert_int_equal(w->src[POSTED].visible % 4, 0);
}

/* Groups of four that do not fit one message: what is seen is seen as a whole. */
static void test_group_becomes_visible_at_once(void **state)
{
	struct lab_config cfg = config(32u << 10, 16u << 10);
	struct lab w;
	uint32_t i;

	post_open(&w, &cfg, 256, 9000);
	w.src[POSTED].on_complete = groups_are_whole;
	w.src[POSTED].ctx = &w;
	post.group = 4;
	post_feed(256);
	for (i = 0; i < 10000 && w.src[POSTED].visible < 256; i++) {
		lab_turn(&w);
		assert_int_equal(w.src[POSTED].visible % 4, 0);
	}
	lab_finish(&w, &w.src[POSTED], 256);
	assert_int_equal(w.src[POSTED].ok, 256);
	assert_true(w.src[POSTED].flushes <= 64);
	post_close_lab(&w);
}

/* Small ones: the whole group is one message, in which each completion shares the record of its bytes. */
static void test_small_group_is_one_message(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct vhx_port_stats before;
	struct lab w;

	post_open(&w, &cfg, 64, 100);
	before = lab_be_stats(&w);
	post.group = 8;
	post_feed(8);
	lab_finish(&w, &w.src[POSTED], 8);
	assert_int_equal(lab_be_stats(&w).tx_messages - before.tx_messages, 1);
	assert_int_equal(lab_be_stats(&w).tx_bytes - before.tx_bytes, 24 + 8 * (16 + 104));
	assert_int_equal(w.src[POSTED].flushes, 1);
	post_close_lab(&w);
}

/* They told a backend nothing: the next one gets them, also of a type that is not replayed. */
static void test_posted_requests_outlive_the_backend(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;
	uint32_t i;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	post_open(&w, &cfg, 64, 1000);
	/* As often as it takes to give up a request that is to blame. */
	for (i = 0; i < 5; i++) {
		w.dev[0]->answer = LAB_HOLD;
		lab_source_plan(&w.src[SERVED], 1, LAB_WRITE, HEAD, 0);
		lab_settle(&w);
		lab_close_backend(&w);
		lab_settle(&w);
		/* What asked something has ended. */
		assert_int_equal(w.src[SERVED].visible, i + 1);
		lab_open_backend(&w);
		post_take_over(&w);
		lab_wait(&w, LAB_S);
		lab_wait(&w, LAB_S);
		assert_int_equal(post.held_cnt, 64);
	}
	assert_int_equal(w.src[POSTED].visible, 0);
	post_feed(64);
	lab_finish(&w, &w.src[POSTED], 64);
	assert_int_equal(w.src[POSTED].ok, 64);
	post_close_lab(&w);
}

/* The end of a group may die with its backend: then none of it was ever seen, and all of it is asked again. */
static void test_half_a_group_is_never_seen(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	post_open(&w, &cfg, 64, 1000);
	w.src[POSTED].on_complete = groups_are_whole;
	w.src[POSTED].ctx = &w;
	post.group = 4;
	post_feed(10);
	lab_settle(&w);
	assert_int_equal(w.src[POSTED].visible, 8);
	assert_int_equal(post.held_cnt, 54);
	lab_close_backend(&w);
	lab_settle(&w);
	assert_int_equal(w.src[POSTED].visible, 8);
	lab_open_backend(&w);
	post_take_over(&w);
	lab_wait(&w, LAB_S);
	lab_wait(&w, LAB_S);
	assert_int_equal(post.held_cnt, 56);
	post.filled = 8; /* the new backend begins its own groups */
	post_feed(56);
	lab_finish(&w, &w.src[POSTED], 64);
	assert_int_equal(w.src[POSTED].ok, 64);
	post_close_lab(&w);
}

static bool source_give_back(void *ctx)
{
	struct lab_source *s = ctx;
	uint16_t i;

	for (i = 0; i < s->size; i++)
		s->slots[i].busy = false;
	s->in_flight = 0;
	return true;
}

/* No clock is moved on: the queue is fenced off at once, by a reset of its own. */
static void test_stop_does_not_wait_for_posted_requests(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;

	post_open(&w, &cfg, 64, 1000);
	post_feed(10);
	lab_finish(&w, &w.src[POSTED], 10);
	assert_int_equal(vhx_fqueue_stop(w.src[POSTED].q), -EINPROGRESS);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].stopped[POSTED], 1);
	assert_int_equal(post.held_cnt, 0);
	/* This source cannot take them back: nothing was written, and that is said. */
	assert_int_equal(w.src[POSTED].visible, 64);
	assert_int_equal(w.src[POSTED].empty, 54);
	assert_int_equal(w.connects, 1);
	assert_int_equal(post.restarts, 1);
	post_close_lab(&w);
}

static void test_stopped_queue_gives_posted_requests_back(void **state)
{
	struct vhx_fsource_ops ops = lab_source_ops;
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;

	ops.give_back = source_give_back;
	post_open(&w, &cfg, 0, 0);
	vhx_fqueue_kill(w.src[POSTED].q);
	assert_int_equal(vhx_fqueue_start(w.fdev[0].fdev, POSTED, 256, &ops, &w.src[POSTED],
					  &w.src[POSTED].q),
			 0);
	w.src[POSTED].armed = false;
	lab_source_plan(&w.src[POSTED], 64, LAB_READ, 0, 1000);
	lab_settle(&w);
	assert_int_equal(post.held_cnt, 64);
	assert_int_equal(vhx_fqueue_stop(w.src[POSTED].q), -EINPROGRESS);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].stopped[POSTED], 1);
	assert_int_equal(w.src[POSTED].visible, 0);
	assert_int_equal(w.src[POSTED].in_flight, 0);
	post_close_lab(&w);
}

/* What asked something is waited for, and only then are the others fenced off. */
static void test_stop_waits_for_what_asked(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;

	cfg.staging = 1u << 20;
	post_open(&w, &cfg, 0, 0);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[SERVED], 10, LAB_READ, 0, 1000);
	lab_source_plan(&w.src[SERVED], 10, LAB_WRITE, HEAD, 10);
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 20);
	assert_int_equal(vhx_fqueue_stop(w.src[SERVED].q), -EINPROGRESS);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].stopped[SERVED], 0);
	/* Every other one asked. */
	while (w.dev[0]->held_cnt > 10) {
		assert_int_equal(w.fdev[0].stopped[SERVED], 0);
		lab_device_release(w.dev[0], 20 - w.dev[0]->held_cnt + 1);
		lab_settle(&w);
	}
	assert_int_equal(w.fdev[0].stopped[SERVED], 1);
	assert_int_equal(w.src[SERVED].ok, 10);
	assert_int_equal(w.src[SERVED].empty, 10);
	post_close_lab(&w);
}

/* Limits are the queue's own: what is too big for the one is not for the other. */
static void test_each_queue_has_its_own_limits(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;

	post.has_limits = true;
	post.limits[POSTED] = (struct vhx_device_limits){ .max_in = 128 };
	post.limits[SERVED] = (struct vhx_device_limits){
		.max_out = 8192, .max_in = 8192, .head_len = HEAD, .max_staged = 8192
	};
	post_open(&w, &cfg, 10, 128);
	assert_int_equal(post.too_big, 0);
	lab_source_plan(&w.src[POSTED], 10, LAB_READ, 0, 129);
	lab_source_plan(&w.src[SERVED], 20, LAB_WRITE, 8192, 8192);
	lab_finish(&w, &w.src[SERVED], 20);
	assert_int_equal(w.src[SERVED].ok, 20);
	assert_int_equal(post.too_big, 10);
	/* A posted one is as good as any other, however much room it has. */
	post_feed(20);
	lab_finish(&w, &w.src[POSTED], 20);
	assert_int_equal(w.src[POSTED].ok, 20);
	post_close_lab(&w);
}

/* A control queue: requests that fit their heads take no page, and that is no failure. */
static void test_queue_without_staging_opens(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;

	post.has_limits = true;
	post.limits[POSTED] = (struct vhx_device_limits){ .max_in = 128 };
	post.limits[SERVED] = (struct vhx_device_limits){ .max_out = VHX_REQUEST_HEAD_MAX,
							  .head_len = VHX_REQUEST_HEAD_MAX };
	post_open(&w, &cfg, 10, 128);
	lab_source_plan(&w.src[SERVED], 20, LAB_WRITE, HEAD, 0);
	lab_finish(&w, &w.src[SERVED], 20);
	assert_int_equal(w.src[SERVED].ok, 20);
	post_close_lab(&w);
}

/* The driver's device is reset, and then its channel lost: each time the device is told once. */
static void test_device_hears_of_every_new_start(void **state)
{
	struct lab_config cfg = config(64u << 10, 16u << 10);
	struct lab w;
	uint32_t before;

	post_open(&w, &cfg, 10, 128);
	before = post.restarts;
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	w.src[POSTED].gone = true;
	w.src[SERVED].gone = true;
	lab_settle(&w);
	assert_int_equal(post.restarts, before + 1);
	if (!lab_has(VHX_PORT_LIVENESS)) {
		post_close_lab(&w);
		return;
	}
	vhx_frontend_free(w.fe);
	w.fe = NULL;
	lab_settle(&w);
	assert_int_equal(post.restarts, before + 2);
	post_close_lab(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_posted_requests_cost_nothing_until_answered),
		cmocka_unit_test(test_posted_queue_and_served_queue_take_turns),
		cmocka_unit_test(test_group_becomes_visible_at_once),
		cmocka_unit_test(test_small_group_is_one_message),
		cmocka_unit_test(test_posted_requests_outlive_the_backend),
		cmocka_unit_test(test_half_a_group_is_never_seen),
		cmocka_unit_test(test_stop_does_not_wait_for_posted_requests),
		cmocka_unit_test(test_stopped_queue_gives_posted_requests_back),
		cmocka_unit_test(test_stop_waits_for_what_asked),
		cmocka_unit_test(test_each_queue_has_its_own_limits),
		cmocka_unit_test(test_queue_without_staging_opens),
		cmocka_unit_test(test_device_hears_of_every_new_start),
	};

	return cmocka_run_group_tests_name("stack: posted", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
