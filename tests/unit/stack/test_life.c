// SPDX-License-Identifier: BSD-3-Clause
/* Queues and devices begin, stop, are reset and are given up, at any moment and with requests in flight. */
#include "lab.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))

/* Ten requests with the device, five of them with their answers' bytes to come. */
static void open_held(struct lab *w, const struct lab_config *cfg)
{
	lab_open(w, cfg);
	w->dev[0]->answer = LAB_HOLD;
	lab_start(w, 0);
	lab_source_plan(&w->src[0], 10, LAB_READ, HEAD, 5000);
	lab_settle(w);
	assert_int_equal(w->dev[0]->held_cnt, 10);
}

static void forget(struct lab_source *s)
{
	uint32_t i;

	for (i = 0; i < s->size; i++)
		s->slots[i].busy = false;
	s->in_flight = 0;
	s->todo = 0;
	s->hidden = s->visible = 0;
	s->ok = s->errors = s->empty = 0;
}

static void serves_again(struct lab *w, uint16_t size)
{
	w->dev[0]->answer = LAB_STAGED;
	forget(&w->src[0]);
	lab_start_of(w, 0, 0, 0, size);
	lab_source_plan(&w->src[0], 20, LAB_WRITE, HEAD + 100, 100);
	lab_finish(w, &w->src[0], 20);
	assert_int_equal(w->src[0].ok, 20);
}

static void test_reset_is_answered_when_the_device_is_quiet(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	w.dev[0]->slow_reset = true;
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	w.src[0].gone = true;
	lab_settle(&w);
	assert_int_equal(w.dev[0]->reset_cnt, 1);
	lab_wait(&w, LAB_S);
	assert_int_equal(w.fdev[0].resets_done, 0);
	/* Half of what it has is completed now, which nobody may see. */
	lab_device_quiesce(w.dev[0]);
	assert_int_equal(w.dev[0]->held_cnt, 0);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].resets_done, 1);
	assert_int_equal(w.connects, 1);
	w.dev[0]->slow_reset = false;
	serves_again(&w, 256);
	lab_close(&w);
}

static void reset_now(struct lab *w)
{
	if (vhx_fdev_reset(w->fdev[0].fdev))
		w->src[0].gone = true;
}

/* Answers that wait for credit, or lie in the ring, when the reset comes. */
static void test_reset_overtakes_answers_on_their_way(void **state)
{
	struct lab_config cfg = lab_default;
	uint32_t rounds;
	struct lab w;

	cfg.ring_len = 16u << 10;
	for (rounds = 0; rounds < 24; rounds++) {
		lab_open(&w, &cfg);
		w.dev[0]->answer = rounds & 1 ? LAB_STAGED : LAB_IN_PLACE;
		lab_start(&w, 0);
		lab_settle(&w);
		lab_source_plan(&w.src[0], 100, LAB_WRITE, HEAD + 3000, 3000);
		lab_after(&w, rounds / 2, reset_now);
		lab_settle(&w);
		assert_int_equal(w.fdev[0].resets_done, 1);
		assert_int_equal(w.connects, 1);
		serves_again(&w, 256);
		lab_close(&w);
	}
}

/* A new start before the old reset was even sent must not make it vanish. */
static void test_reset_is_answered_though_a_queue_starts_at_once(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	forget(&w.src[0]);
	w.dev[0]->answer = LAB_STAGED;
	lab_start(&w, 0);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].resets_done, 1);
	lab_source_plan(&w.src[0], 20, LAB_WRITE, HEAD + 100, 100);
	lab_finish(&w, &w.src[0], 20);
	lab_close(&w);
}

static void test_reset_without_a_channel_ends_at_once(void **state)
{
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_held(&w, &lab_default);
	lab_close_backend(&w);
	lab_settle(&w);
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), 0);
	w.src[0].gone = true;
	lab_open_backend(&w);
	lab_wait(&w, LAB_S);
	assert_int_equal(w.dev[0]->log_cnt, 0);
	serves_again(&w, 256);
	lab_close(&w);
}

static void test_channel_that_dies_ends_a_reset(void **state)
{
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_held(&w, &lab_default);
	w.dev[0]->slow_reset = true;
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	w.src[0].gone = true;
	lab_settle(&w);
	assert_int_equal(w.fdev[0].resets_done, 0);
	lab_close_backend(&w);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].resets_done, 1);
	lab_close(&w);
}

/* The bound is five seconds; then a backend that does not end its reset is cut off. */
static void test_reset_that_is_never_answered_is_cut_off(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	w.dev[0]->slow_reset = true;
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	w.src[0].gone = true;
	lab_settle(&w);
	lab_wait(&w, 6 * LAB_S);
	assert_int_equal(w.fdev[0].resets_done, 1);
	/* The device is busy to the next channel until it is quiet. */
	lab_wait(&w, LAB_S);
	forget(&w.src[0]);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 20, LAB_WRITE, HEAD, 0);
	lab_wait(&w, LAB_S);
	assert_int_equal(w.src[0].in_flight, 0);
	lab_device_quiesce(w.dev[0]);
	w.dev[0]->slow_reset = false;
	w.dev[0]->answer = LAB_STAGED;
	lab_finish(&w, &w.src[0], 20);
	lab_close(&w);
}

static void test_stop_waits_for_the_last_answer(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	assert_int_equal(vhx_fqueue_stop(w.src[0].q), -EINPROGRESS);
	lab_source_plan(&w.src[0], 5, LAB_READ, HEAD, 100);
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 10);
	while (w.dev[0]->held_cnt) {
		assert_int_equal(w.fdev[0].stopped[0], 0);
		lab_device_release(w.dev[0], w.dev[0]->held_cnt - 1);
		lab_settle(&w);
	}
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.src[0].ok, 10);
	assert_int_equal(w.src[0].visible, 10);
	serves_again(&w, 256);
	lab_close(&w);
}

static void test_stop_of_an_idle_queue_is_done_at_once(void **state)
{
	struct lab w;

	lab_open(&w, &lab_default);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 10, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 10);
	assert_int_equal(vhx_fqueue_stop(w.src[0].q), 0);
	lab_settle(&w);
	serves_again(&w, 256);
	lab_close(&w);
}

/* Fenced off after two seconds: the backend resets the queue, and the requests end with an error. */
static void test_stop_fences_a_device_that_keeps_its_requests(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	assert_int_equal(vhx_fqueue_stop(w.src[0].q), -EINPROGRESS);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.dev[0]->resets_seen, 1);
	assert_int_equal(w.dev[0]->held_cnt, 0);
	assert_int_equal(w.src[0].errors, 10);
	assert_int_equal(w.src[0].visible, 10);
	assert_int_equal(w.connects, 1);
	serves_again(&w, 256);
	lab_close(&w);
}

/* And two seconds later the channel is cut, if it does not even end the reset. */
static void test_stop_cuts_off_a_device_that_resists(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	w.dev[0]->slow_reset = true;
	assert_int_equal(vhx_fqueue_stop(w.src[0].q), -EINPROGRESS);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 0);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.src[0].errors, 10);
	w.src[0].gone = true;
	lab_device_quiesce(w.dev[0]);
	w.dev[0]->slow_reset = false;
	lab_wait(&w, LAB_S);
	w.src[0].gone = false;
	serves_again(&w, 256);
	lab_close(&w);
}

static void test_stop_without_a_backend_ends_with_errors(void **state)
{
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_held(&w, &lab_default);
	lab_close_backend(&w);
	lab_settle(&w);
	assert_int_equal(vhx_fqueue_stop(w.src[0].q), -EINPROGRESS);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.src[0].errors, 10);
	lab_close(&w);
}

static bool source_give_back(void *ctx)
{
	struct lab_source *s = ctx;
	uint16_t i;

	/* What was answered before came first. */
	assert_int_equal(s->hidden, 0);
	for (i = 0; i < s->size; i++)
		s->slots[i].busy = false;
	s->in_flight = 0;
	return true;
}

/* Ten requests that a device keeps, of a source that takes back what nobody answers. */
static void open_giving(struct lab *w, uint32_t device_id, struct vhx_fsource_ops *ops)
{
	struct lab_config cfg = lab_default;

	cfg.device_id = device_id;
	*ops = lab_source_ops;
	ops->give_back = source_give_back;
	lab_open(w, &cfg);
	lab_start(w, 0);
	vhx_fqueue_kill(w->src[0].q);
	assert_int_equal(vhx_fqueue_start(w->fdev[0].fdev, 0, 256, ops, &w->src[0], &w->src[0].q),
			 0);
	w->src[0].armed = false;
	w->dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w->src[0], 10, LAB_WRITE, HEAD + 100, 0);
	lab_settle(w);
	assert_int_equal(w->dev[0]->held_cnt, 10);
	assert_int_equal(vhx_fqueue_stop(w->src[0].q), -EINPROGRESS);
	lab_settle(w);
}

/* A virtual machine that is paused while its backend is away sees no error when it goes on. */
static void test_stop_without_a_backend_gives_requests_back(void **state)
{
	struct vhx_fsource_ops ops;
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_giving(&w, LAB_BLK, &ops);
	lab_close_backend(&w);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.src[0].in_flight, 0);
	assert_int_equal(w.src[0].visible, 0);
	assert_int_equal(vhx_fdev_stats(w.fdev[0].fdev)->errors, 0);
	lab_close(&w);
}

static void test_stop_gives_back_what_a_device_keeps(void **state)
{
	struct vhx_fsource_ops ops;
	struct lab w;

	open_giving(&w, LAB_BLK, &ops);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.dev[0]->held_cnt, 0);
	assert_int_equal(w.src[0].in_flight, 0);
	assert_int_equal(w.src[0].visible, 0);
	lab_close(&w);
}

/* What may not be done twice is not given back. */
static void test_stop_gives_back_nothing_of_a_type_without_replay(void **state)
{
	struct vhx_fsource_ops ops;
	struct lab w;

	open_giving(&w, LAB_NET, &ops);
	lab_wait(&w, VHX_FQUEUE_DRAIN_NS + LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.src[0].visible, 10);
	assert_int_equal(vhx_fdev_stats(w.fdev[0].fdev)->errors, 10);
	lab_close(&w);
}

/* A backend that comes back in time still answers what a stopping queue waits for. */
static void test_stop_is_replayed_to_a_new_backend(void **state)
{
	struct lab w;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_held(&w, &lab_default);
	assert_int_equal(vhx_fqueue_stop(w.src[0].q), -EINPROGRESS);
	lab_settle(&w);
	lab_close_backend(&w);
	lab_settle(&w);
	lab_open_backend(&w);
	lab_wait(&w, 100 * LAB_MS);
	assert_int_equal(w.fdev[0].stopped[0], 1);
	assert_int_equal(w.src[0].ok, 10);
	lab_close(&w);
}

/* Sizes differ, so that ids of before are out of range. */
static void kill_and_start(struct lab *w)
{
	static uint16_t kills;

	vhx_fqueue_kill(w->src[0].q);
	forget(&w->src[0]);
	lab_start_of(w, 0, 0, 0, ++kills & 1 ? 17 : 256);
}

/* Killed and started again under load, each time a round later: what was sent before is never heard of. */
static void test_kill_and_restart_drops_stale_answers(void **state)
{
	struct lab_config cfg = lab_default;
	uint32_t i;
	struct lab w;

	cfg.ring_len = 64u << 10;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	lab_settle(&w);
	for (i = 0; i < 90; i++) {
		w.dev[0]->answer = i % 3 ? LAB_STAGED : LAB_IN_PLACE;
		lab_source_plan(&w.src[0], 300, LAB_WRITE, HEAD + 2000, 2000);
		lab_after(&w, i % 13, kill_and_start);
		lab_settle(&w);
		while (w.then)
			lab_turn(&w);
	}
	lab_source_plan(&w.src[0], 300, LAB_READ, HEAD, 2000);
	lab_finish(&w, &w.src[0], 300);
	assert_int_equal(w.src[0].ok, 300);
	assert_int_equal(w.connects, 1);
	assert_true(vhx_fdev_stats(w.fdev[0].fdev)->stale > 0);
	lab_close(&w);
}

static void test_killed_queue_resets_the_backend_s(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	w.dev[0]->slow_reset = true;
	vhx_fqueue_kill(w.src[0].q);
	w.src[0].gone = true;
	lab_settle(&w);
	assert_int_equal(w.dev[0]->reset_cnt, 1);
	/* Started again, it waits for that. */
	forget(&w.src[0]);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 5, LAB_READ, HEAD, 100);
	lab_settle(&w);
	assert_int_equal(w.src[0].in_flight, 0);
	w.dev[0]->answer = LAB_STAGED;
	w.dev[0]->slow_reset = false;
	lab_device_quiesce(w.dev[0]);
	lab_finish(&w, &w.src[0], 5);
	lab_close(&w);
}

/* A device that ends all its I/O when one queue is reset completes for queues whose turn is yet to come. */
static void test_reset_of_one_queue_completes_requests_of_others(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;
	uint16_t i;

	cfg.queues = 3;
	lab_open(&w, &cfg);
	w.dev[0]->answer = LAB_HOLD;
	w.dev[0]->drains_all = true;
	for (i = 0; i < 3; i++) {
		lab_start(&w, i);
		lab_source_plan(&w.src[i], 10, LAB_READ, HEAD, 5000);
	}
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 30);
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	for (i = 0; i < 3; i++)
		w.src[i].gone = true;
	lab_settle(&w);
	assert_int_equal(w.fdev[0].resets_done, 1);
	lab_close(&w);
}

static void test_lost_channel_completes_requests_of_all_queues(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;
	uint16_t i;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	cfg.queues = 3;
	lab_open(&w, &cfg);
	w.dev[0]->answer = LAB_HOLD;
	w.dev[0]->drains_all = true;
	for (i = 0; i < 3; i++) {
		lab_start(&w, i);
		lab_source_plan(&w.src[i], 10, LAB_READ, HEAD, 5000);
	}
	lab_settle(&w);
	vhx_frontend_free(w.fe);
	w.fe = NULL;
	lab_settle(&w);
	assert_int_equal(w.dev[0]->held_cnt, 0);
	assert_int_equal(vhx_backend_channel_count(w.be), 0);
	lab_close(&w);
}

/* What the device still has when the backend ends is dropped by its close(). */
static void test_backend_ends_with_requests_in_flight(void **state)
{
	struct lab w;

	open_held(&w, &lab_default);
	lab_close_backend(&w);
	lab_close(&w);
}

static void test_config_change_is_told(void **state)
{
	struct lab w;

	lab_open(&w, &lab_default);
	lab_start(&w, 0);
	lab_settle(&w);
	lab_device_change_config(w.dev[0], 0x55);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].config_changes, 1);
	assert_int_equal(vhx_fdev_identity(w.fdev[0].fdev)->config[31], 0x55);
	lab_close(&w);
}

/* More changes than there is room for, and a frontend that does not look meanwhile: the last one counts. */
static void test_many_config_changes_end_with_the_last(void **state)
{
	struct lab w;
	uint32_t i;

	lab_open(&w, &lab_default);
	lab_start(&w, 0);
	lab_settle(&w);
	for (i = 0; i < 50000; i++)
		lab_device_change_config(w.dev[0], (uint8_t)i);
	lab_settle(&w);
	assert_int_equal(vhx_fdev_identity(w.fdev[0].fdev)->config[0], (uint8_t)49999);
	assert_int_equal(w.connects, 1);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_config_write_and_its_refusal(void **state)
{
	uint8_t bytes[3] = { 1, 2, 3 };
	struct lab w;

	lab_open(&w, &lab_default);
	lab_start(&w, 0);
	lab_settle(&w);
	assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 4, bytes, 3), 0);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].config_written, 1);
	assert_int_equal(w.fdev[0].refused, 0);
	assert_memory_equal(w.dev[0]->dev.config + 4, bytes, 3);
	assert_memory_equal(vhx_fdev_identity(w.fdev[0].fdev)->config + 4, bytes, 3);
	w.dev[0]->refuse_config = true;
	bytes[0] = 9;
	assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 4, bytes, 3), 0);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].config_written, 2);
	assert_int_equal(w.fdev[0].refused, 1);
	assert_int_equal(vhx_fdev_identity(w.fdev[0].fdev)->config[4], 1);
	assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 31, bytes, 2), -EINVAL);
	lab_close(&w);
}

/* A driver writes two fields in a row, and its VMM would not be told of a refusal. */
static void test_config_write_behind_one_under_way(void **state)
{
	uint8_t first[2] = { 1, 2 }, second[2] = { 3, 4 };
	struct lab w;
	uint32_t i;

	lab_open(&w, &lab_default);
	lab_start(&w, 0);
	lab_settle(&w);
	assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 4, first, 2), 0);
	assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 5, second, 2), 0);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].config_written, 2);
	assert_int_equal(w.dev[0]->dev.config[4], 1);
	assert_int_equal(w.dev[0]->dev.config[5], 3);
	assert_int_equal(w.dev[0]->dev.config[6], 4);
	assert_memory_equal(vhx_fdev_identity(w.fdev[0].fdev)->config, w.dev[0]->dev.config, 8);
	/* What waits is bounded. */
	for (i = 0; i < 1 + VHX_DRIVER_WRITES_MAX; i++)
		assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 4, first, 2), 0);
	assert_int_equal(vhx_fdev_write_config(w.fdev[0].fdev, 4, first, 2), -EBUSY);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].config_written, 3 + VHX_DRIVER_WRITES_MAX);
	lab_close(&w);
}

/* Another VMM, or the driver's next life, may have chosen better. */
static void test_queue_that_is_too_large_fails_one_life_of_the_driver(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.queue_size = 2048;
	lab_open(&w, &cfg);
	lab_start(&w, 0);
	lab_settle(&w);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	w.src[0].gone = true;
	vhx_fdev_abandon(w.fdev[0].fdev);
	lab_settle(&w);
	lab_start_of(&w, 0, 0, 1, 64);
	lab_source_plan(&w.src[1], 20, LAB_READ, HEAD, 5000);
	lab_finish(&w, &w.src[1], 20);
	assert_int_equal(vhx_fdev_stats(w.fdev[0].fdev)->errors, 0);
	assert_int_equal(w.connects, 1);
	lab_close(&w);
}

static void test_two_devices_on_one_channel(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.two_devices = true;
	cfg.device_id = LAB_NET;
	cfg.ring_len = 32u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	lab_open(&w, &cfg);
	assert_true(vhx_fdev_known(w.fdev[1].fdev));
	lab_start_of(&w, 0, 0, 0, 64);
	lab_start_of(&w, 1, 0, 1, 64);
	lab_source_plan(&w.src[0], 300, LAB_WRITE, 5000, 500);
	lab_source_plan(&w.src[1], 300, LAB_READ, HEAD, 5000);
	lab_finish(&w, &w.src[0], 300);
	lab_finish(&w, &w.src[1], 300);
	assert_int_equal(w.connects, 1);
	/* One is reset, the other one goes on. */
	lab_source_plan(&w.src[1], 300, LAB_READ, HEAD, 5000);
	lab_turn(&w);
	vhx_fdev_abandon(w.fdev[0].fdev);
	w.src[0].gone = true;
	lab_finish(&w, &w.src[1], 600);
	lab_assert_never_full(&w);
	lab_close(&w);
}

static void test_device_of_another_channel_is_refused(void **state)
{
	struct lab w, other = { 0 };

	lab_open(&w, &lab_default);
	other.cfg = w.cfg;
	other.loop = w.loop;
	other.be = w.be;
	lab_open_frontend(&other);
	lab_settle(&w);
	assert_int_equal(other.fdev[0].unusable, 1);
	assert_int_equal(other.fdev[0].unusable_reason, -EBUSY);
	assert_int_equal(other.fdev[0].known, 0);
	vhx_frontend_free(other.fe);
	serves_again(&w, 64);
	lab_close(&w);
}

/* Guest addresses are its payload: not offered to a VMM, and said so; the backend's others are served. */
static void test_device_of_guest_addresses_is_refused(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w = { .uuid = 0x11, .cache_id = 0x22 };

	cfg.device_id = LAB_BALLOON;
	cfg.two_devices = true;
	w.cfg = cfg;
	assert_int_equal(vhx_loop_new(0, &w.loop), 0);
	vhx_list_init(&w.hook.node);
	lab_open_backend(&w);
	lab_open_frontend(&w);
	lab_settle(&w);
	assert_int_equal(w.fdev[0].known, 0);
	assert_int_equal(w.fdev[0].unusable, 1);
	assert_int_equal(w.fdev[0].unusable_reason, -EOPNOTSUPP);
	assert_int_equal(w.fdev[1].known, 1);
	lab_start_of(&w, 1, 0, 0, 64);
	lab_source_plan(&w.src[0], 20, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 20);
	lab_close(&w);
}

static void test_request_over_the_limits_is_the_device_s_to_refuse(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.max_out = cfg.max_in = 64u << 10;
	lab_open(&w, &cfg);
	w.dev[0]->dev.max_out = w.dev[0]->dev.max_in = 8u << 10;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 30, LAB_WRITE, HEAD + 100, 100);
	lab_source_plan(&w.src[0], 30, LAB_WRITE, 64u << 10, 0);
	lab_source_plan(&w.src[0], 30, LAB_READ, HEAD, 60000);
	lab_finish(&w, &w.src[0], 90);
	assert_int_equal(w.dev[0]->too_big, 60);
	assert_int_equal(w.src[0].ok, 30);
	assert_int_equal(w.src[0].errors, 60);
	lab_close(&w);
}

/* A status alone: the answer of a failed read costs one byte, and shows nothing else to the guest. */
static void test_error_is_a_status_and_nothing_else(void **state)
{
	struct lab w;
	uint64_t bytes;

	lab_open(&w, &lab_default);
	w.dev[0]->answer = LAB_STATUS;
	lab_start(&w, 0);
	lab_settle(&w);
	bytes = lab_be_stats(&w).tx_bytes;
	lab_source_plan(&w.src[0], 1, LAB_READ, HEAD, 128u << 10);
	lab_finish(&w, &w.src[0], 1);
	assert_int_equal(w.src[0].errors, 1);
	assert_true(lab_be_stats(&w).tx_bytes - bytes < 64);
	lab_close(&w);
}

/* A source that breaks is told so once and not asked again. */
static void test_broken_source_is_left_alone(void **state)
{
	struct lab w;
	uint32_t agains;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_held(&w, &lab_default);
	w.src[0].again_error = -EFAULT;
	lab_close_backend(&w);
	lab_open_backend(&w);
	lab_wait(&w, LAB_S);
	lab_wait(&w, LAB_S);
	agains = w.src[0].agains;
	assert_int_equal(w.src[0].broken, 1);
	lab_wait(&w, LAB_S);
	vhx_fqueue_kick(w.src[0].q);
	lab_wait(&w, LAB_S);
	assert_int_equal(w.src[0].agains, agains);
	assert_int_equal(w.src[0].broken, 1);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_is_answered_when_the_device_is_quiet),
		cmocka_unit_test(test_reset_overtakes_answers_on_their_way),
		cmocka_unit_test(test_reset_is_answered_though_a_queue_starts_at_once),
		cmocka_unit_test(test_reset_without_a_channel_ends_at_once),
		cmocka_unit_test(test_channel_that_dies_ends_a_reset),
		cmocka_unit_test(test_reset_that_is_never_answered_is_cut_off),
		cmocka_unit_test(test_stop_waits_for_the_last_answer),
		cmocka_unit_test(test_stop_of_an_idle_queue_is_done_at_once),
		cmocka_unit_test(test_stop_fences_a_device_that_keeps_its_requests),
		cmocka_unit_test(test_stop_cuts_off_a_device_that_resists),
		cmocka_unit_test(test_stop_without_a_backend_ends_with_errors),
		cmocka_unit_test(test_stop_without_a_backend_gives_requests_back),
		cmocka_unit_test(test_stop_gives_back_what_a_device_keeps),
		cmocka_unit_test(test_stop_gives_back_nothing_of_a_type_without_replay),
		cmocka_unit_test(test_stop_is_replayed_to_a_new_backend),
		cmocka_unit_test(test_kill_and_restart_drops_stale_answers),
		cmocka_unit_test(test_killed_queue_resets_the_backend_s),
		cmocka_unit_test(test_reset_of_one_queue_completes_requests_of_others),
		cmocka_unit_test(test_lost_channel_completes_requests_of_all_queues),
		cmocka_unit_test(test_backend_ends_with_requests_in_flight),
		cmocka_unit_test(test_config_change_is_told),
		cmocka_unit_test(test_many_config_changes_end_with_the_last),
		cmocka_unit_test(test_config_write_and_its_refusal),
		cmocka_unit_test(test_config_write_behind_one_under_way),
		cmocka_unit_test(test_queue_that_is_too_large_fails_one_life_of_the_driver),
		cmocka_unit_test(test_two_devices_on_one_channel),
		cmocka_unit_test(test_device_of_another_channel_is_refused),
		cmocka_unit_test(test_device_of_guest_addresses_is_refused),
		cmocka_unit_test(test_request_over_the_limits_is_the_device_s_to_refuse),
		cmocka_unit_test(test_error_is_a_status_and_nothing_else),
		cmocka_unit_test(test_broken_source_is_left_alone),
	};

	return cmocka_run_group_tests_name("stack: life", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
