// SPDX-License-Identifier: BSD-3-Clause
/*
 * A frontend that lies. Its channel ends and its device becomes free again; the device of another channel
 * never stops working, and what it makes the backend allocate and log is bounded.
 */
#include "lab.h"

#include <stdio.h>

#include "link/link.h"
#include "raw.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define SIZE 16u

struct hostile {
	struct lab w;
	struct raw_frontend f;
	struct vhx_queue_key key;
	uint32_t others; /* answers that the honest one has had */
	uint32_t busy; /* ATTACHes that were answered so */
	struct vhx_log log;
	uint32_t lines;
	char line[256]; /* the last one */
};

static void line_keep(void *ctx, enum vhx_log_level level, const char *text)
{
	struct hostile *h = ctx;

	h->lines++;
	snprintf(h->line, sizeof(h->line), "%s", text);
}

static void settle(struct hostile *h)
{
	do
		lab_settle(&h->w);
	while (raw_frontend_step(&h->f));
}

static void connect_raw(struct hostile *h)
{
	struct vhx_port *ends[2];

	assert_int_equal(lab_provider->pair(h->w.cfg.ring_len, ends), 0);
	assert_int_equal(vhx_backend_add_port(h->w.be, ends[1]), 0);
	raw_frontend_open(&h->f, ends[0], "one", SIZE);
	settle(h);
}

/* A backend with two devices: the first one is the hostile peer's, an honest one uses the second. */
static void open_hostile(struct hostile *h, enum lab_answer answer)
{
	struct lab_config cfg = lab_default;

	cfg.ring_len = 32u << 10;
	cfg.staging = 64u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.two_devices = cfg.only_second = true;
	h->log = (struct vhx_log){ line_keep, h, VHX_LOG_DEBUG };
	cfg.log = &h->log;
	h->others = 0;
	lab_open(&h->w, &cfg);
	h->w.dev[0]->answer = answer;
	lab_start_of(&h->w, 1, 0, 1, 64);
	connect_raw(h);
	assert_true(h->f.running);
	h->key = (struct vhx_queue_key){ .dev = h->f.driver.dev_num,
					 .epoch = h->f.driver.queues[0].epoch };
}

static void others_work(struct hostile *h)
{
	lab_source_plan(&h->w.src[1], 50, LAB_WRITE, HEAD + 5000, 5000);
	h->others += 50;
	lab_finish(&h->w, &h->w.src[1], h->others);
	assert_int_equal(h->w.src[1].ok, h->others);
}

/* @one: what comes after it, if the device is free for it, is served. */
static void close_hostile(struct hostile *h)
{
	others_work(h);
	assert_int_equal(vhx_backend_channel_count(h->w.be), 1);
	raw_close(&h->f.raw);
	connect_raw(h);
	assert_true(h->f.running);
	others_work(h);
	raw_close(&h->f.raw);
	lab_close(&h->w);
}

static void send_avail(struct hostile *h, const struct raw_records *m)
{
	raw_data(&h->f.raw, VHX_MSG_AVAIL, &h->key, m->bytes, m->len);
}

static void breach(struct vhx_avail a)
{
	struct raw_records m = { .len = 0 };
	struct hostile h;

	open_hostile(&h, LAB_HOLD);
	raw_avail(&m, &a, NULL);
	send_avail(&h, &m);
	settle(&h);
	assert_int_equal(h.w.dev[0]->log_cnt, 0);
	close_hostile(&h);
}

static void test_id_beyond_the_queue(void **state)
{
	breach((struct vhx_avail){ .id = SIZE, .flags = VHX_AVAIL_FIRST, .in_len = 1 });
	breach((struct vhx_avail){ .id = 0xffff, .flags = VHX_AVAIL_FIRST, .in_len = 1 });
}

static void test_continuation_of_nothing(void **state)
{
	breach((struct vhx_avail){ .out_len = 16, .chunk_len = 16 });
}

static void test_request_over_the_limits_without_saying_so(void **state)
{
	breach((struct vhx_avail){ .flags = VHX_AVAIL_FIRST, .out_len = (16u << 10) + 1 });
	breach((struct vhx_avail){ .flags = VHX_AVAIL_FIRST, .in_len = (16u << 10) + 1 });
	breach((struct vhx_avail){
		.flags = VHX_AVAIL_FIRST, .in_len = UINT32_MAX, .out_len = UINT32_MAX });
}

static void test_too_big_that_is_not(void **state)
{
	breach((struct vhx_avail){ .flags = VHX_AVAIL_FIRST | VHX_AVAIL_TOO_BIG, .in_len = 1 });
}

static void test_too_big_with_too_many_bytes(void **state)
{
	breach((struct vhx_avail){ .flags = VHX_AVAIL_FIRST | VHX_AVAIL_TOO_BIG,
				   .in_len = 1u << 20,
				   .out_len = 65,
				   .chunk_len = 65 });
}

static void test_flags_that_mean_nothing(void **state)
{
	breach((struct vhx_avail){ .flags = VHX_AVAIL_FIRST | 0x80, .in_len = 1 });
}

/* What needs more than one record. */

static void send_in_flight_twice(struct hostile *h)
{
	struct vhx_avail a = { .id = 3, .flags = VHX_AVAIL_FIRST, .in_len = 10 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	raw_avail(&m, &a, NULL);
	send_avail(h, &m);
}

static void send_second_before_the_first_is_whole(struct hostile *h)
{
	struct vhx_avail a = { .id = 3, .flags = VHX_AVAIL_FIRST, .out_len = 32, .chunk_len = 16 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	a.id = 4;
	raw_avail(&m, &a, NULL);
	send_avail(h, &m);
}

static void send_lengths_that_change(struct hostile *h)
{
	struct vhx_avail a = { .id = 3, .flags = VHX_AVAIL_FIRST, .out_len = 64, .chunk_len = 16 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	a.flags = 0;
	a.out_len = 128;
	raw_avail(&m, &a, NULL);
	send_avail(h, &m);
}

static void send_more_than_out_len(struct hostile *h)
{
	struct vhx_avail a = { .id = 3, .flags = VHX_AVAIL_FIRST, .out_len = 64, .chunk_len = 32 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	a.flags = 0;
	a.chunk_len = 33;
	raw_avail(&m, &a, NULL);
	send_avail(h, &m);
}

/* 16 pages are the window; each of these takes four. */
static void send_over_the_window(struct hostile *h)
{
	static uint8_t bytes[4000];
	struct vhx_avail a = { .out_len = 16000, .chunk_len = 4000 };
	struct raw_records m;
	uint32_t i, j;

	for (i = 0; i < 5; i++) {
		for (j = 0; j < 4; j++) {
			m.len = 0;
			lab_fill(bytes, 0, j * 4000, 4000);
			if (!j)
				memset(bytes, 0, HEAD);
			a.id = (uint16_t)i;
			a.flags = j ? 0 : VHX_AVAIL_FIRST;
			raw_avail(&m, &a, bytes);
			send_avail(h, &m);
			settle(h);
		}
	}
}

static void send_torn_record(struct hostile *h)
{
	static const uint8_t bytes[8];

	raw_data(&h->f.raw, VHX_MSG_AVAIL, &h->key, bytes, sizeof(bytes));
}

static void send_torn_chunk(struct hostile *h)
{
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST, .out_len = 64, .chunk_len = 64 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	m.len -= 8;
	send_avail(h, &m);
}

static void send_used(struct hostile *h)
{
	struct vhx_used u = { .flags = VHX_USED_COMPLETE };
	struct raw_records m = { .len = 0 };

	raw_used(&m, &u, NULL);
	raw_data(&h->f.raw, VHX_MSG_USED, &h->key, m.bytes, m.len);
}

/* The honest one's device is on the same backend. */
static void send_to_another_s_device(struct hostile *h)
{
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST, .in_len = 100 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	h->key.dev = 1;
	send_avail(h, &m);
}

static void send_to_a_queue_that_is_not(struct hostile *h)
{
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST, .in_len = 100 };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	h->key.vq = 7;
	send_avail(h, &m);
}

static void send_attach_without_an_end(struct hostile *h)
{
	struct vhx_control c;

	memset(vhx_control_request(&c, true, VIRTIO_MSG_BUS_VHX_ATTACH, 0, VHX_NAME_LEN), 'x',
	       VHX_NAME_LEN);
	raw_control(&h->f.raw, &c);
}

static void send_false_ack(struct hostile *h)
{
	h->f.raw.channel.credit.consumed += 1u << 20;
	raw_body(&h->f.raw, VHX_MSG_CREDIT, NULL, 0);
}

/* Asks and asks, and takes no answer. */
static void send_flood(struct hostile *h)
{
	struct vhx_control c;
	uint32_t i;

	h->f.raw.deaf = true;
	for (i = 0; i < 5000; i++) {
		vhx_control_request(&c, false, VIRTIO_MSG_GET_DEVICE_INFO, h->key.dev, 0);
		c.token = (uint16_t)i;
		if (raw_control(&h->f.raw, &c) == -EAGAIN)
			lab_settle(&h->w);
	}
}

static void (*const lies[])(struct hostile *h) = {
	send_in_flight_twice,
	send_second_before_the_first_is_whole,
	send_lengths_that_change,
	send_more_than_out_len,
	send_over_the_window,
	send_torn_record,
	send_torn_chunk,
	send_used,
	send_to_another_s_device,
	send_to_a_queue_that_is_not,
	send_attach_without_an_end,
	send_false_ack,
	send_flood,
};

static void test_lies_end_the_channel(void **state)
{
	struct hostile h;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lies); i++) {
		open_hostile(&h, LAB_HOLD);
		lies[i](&h);
		lab_settle(&h.w);
		if (vhx_backend_channel_count(h.w.be) != 1)
			print_error("lie %zu was believed\n", i);
		h.f.raw.gone = -EPIPE;
		close_hostile(&h);
	}
}

static void test_flood_of_control_allocates_nothing(void **state)
{
	struct hostile h;
	uint64_t before, memory;

	open_hostile(&h, LAB_HOLD);
	before = lab_allocations();
	memory = vhx_backend_memory(h.w.be);
	send_flood(&h);
	assert_int_equal(lab_allocations(), before);
	assert_true(vhx_backend_memory(h.w.be) <= memory);
	h.f.raw.gone = -EPIPE;
	close_hostile(&h);
}

static void attach_answered(struct raw *r, const struct vhx_control *c)
{
	struct hostile *h = vhx_container_of(r, struct hostile, f.raw);
	struct virtio_msg_vhx_attach_resp a;

	memcpy(&a, c->payload, sizeof(a));
	h->busy += c->msg_id == VIRTIO_MSG_BUS_VHX_ATTACH && c->response &&
		   vhx_le32_get(a.error) == VHX_ATTACH_BUSY;
}

/* Wants the honest one's device @cnt times. */
static void attach_in_vain(struct hostile *h, uint32_t cnt)
{
	struct vhx_control c;
	uint32_t i;

	h->f.raw.control = attach_answered;
	h->busy = 0;
	for (i = 0; i < cnt; i++) {
		memcpy(vhx_control_request(&c, true, VIRTIO_MSG_BUS_VHX_ATTACH, 0, VHX_NAME_LEN),
		       "two", 4);
		assert_int_equal(raw_control(&h->f.raw, &c), 0);
		settle(h);
	}
	assert_int_equal(h->busy, cnt);
}

static void test_refused_attaches_do_not_fill_the_log(void **state)
{
	struct hostile h;

	open_hostile(&h, LAB_HOLD);
	lab_wait(&h.w, 2 * VHX_LOG_BURST * VHX_LOG_REFILL_NS);
	h.lines = 0;
	attach_in_vain(&h, 1000);
	assert_int_equal(h.lines, VHX_LOG_BURST);
	assert_non_null(strstr(h.line, "another channel has it"));
	/* What was kept back is told. */
	lab_wait(&h.w, VHX_LOG_REFILL_NS);
	attach_in_vain(&h, 1000);
	assert_int_equal(h.lines, VHX_LOG_BURST + 1);
	assert_non_null(strstr(h.line, "(990 like it suppressed)"));
	send_used(&h);
	close_hostile(&h);
}

static void test_channels_that_come_and_go_do_not_fill_the_log(void **state)
{
	struct hostile h;
	uint32_t i;

	open_hostile(&h, LAB_HOLD);
	h.lines = 0;
	for (i = 0; i < 50; i++) {
		send_used(&h);
		settle(&h);
		assert_int_equal(vhx_backend_channel_count(h.w.be), 1);
		raw_close(&h.f.raw);
		connect_raw(&h);
		assert_true(h.f.running);
	}
	assert_true(h.lines <= VHX_LOG_BURST);
	send_used(&h);
	close_hostile(&h);
}

/* Answers fill its ring, which it leaves: that costs it its own table, and nobody else anything. */
static void test_answers_that_are_not_taken(void **state)
{
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST, .in_len = 16u << 10 };
	struct hostile h;
	uint32_t i;

	open_hostile(&h, LAB_STAGED);
	h.f.raw.deaf = true;
	for (i = 0; i < SIZE; i++) {
		struct raw_records m = { .len = 0 };

		a.id = (uint16_t)i;
		raw_avail(&m, &a, NULL);
		send_avail(&h, &m);
	}
	lab_settle(&h.w);
	assert_true(h.w.dev[0]->submits < SIZE);
	others_work(&h);
	assert_int_equal(vhx_backend_channel_count(h.w.be), 2);
	/* And goes. */
	if (!lab_has(VHX_PORT_LIVENESS))
		send_false_ack(&h);
	raw_close(&h.f.raw);
	lab_settle(&h.w);
	assert_int_equal(vhx_backend_channel_count(h.w.be), 1);
	connect_raw(&h);
	assert_true(h.f.running);
	raw_close(&h.f.raw);
	lab_close(&h.w);
}

/* It dies with answers to its questions waiting for room: nobody spins, and its device becomes free. */
static void test_death_with_answers_waiting(void **state)
{
	struct vhx_control c;
	struct hostile h;
	uint32_t i;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	open_hostile(&h, LAB_HOLD);
	h.f.raw.deaf = true;
	for (i = 0; i < 500; i++) {
		vhx_control_request(&c, false, VIRTIO_MSG_GET_DEVICE_INFO, h.key.dev, 0);
		assert_int_equal(raw_control(&h.f.raw, &c), 0);
		if (i == 400)
			lab_settle(&h.w);
	}
	raw_close(&h.f.raw);
	lab_settle(&h.w);
	assert_int_equal(vhx_backend_channel_count(h.w.be), 1);
	connect_raw(&h);
	assert_true(h.f.running);
	raw_close(&h.f.raw);
	lab_close(&h.w);
}

/* Control alone may fill a ring, but not so that the room cannot be told any more. */
static void test_credit_finds_room_beside_control(void **state)
{
	struct vhx_control c;
	struct hostile h;
	uint32_t answers, i;
	uint64_t told;

	open_hostile(&h, LAB_HOLD);
	h.f.raw.deaf = true;
	/* Its ring is full of answers, of 80 bytes each, and more of them wait; where rings can't be so small, not quite. */
	answers = (h.f.raw.port->rx_ring_len - VHX_CREDIT_RESERVE) / 80 + 60;
	for (i = 0; i < vhx_min_u64(answers, 450); i++) {
		vhx_control_request(&c, false, VIRTIO_MSG_GET_DEVICE_INFO, h.key.dev, 0);
		assert_int_equal(raw_control(&h.f.raw, &c), 0);
		lab_settle(&h.w);
	}
	told = lab_be_credits(&h.w);
	for (i = 0; i < 600; i++) {
		assert_int_equal(raw_body(&h.f.raw, VHX_MSG_OPTIONAL_FIRST, "12345678", 8), 0);
		lab_settle(&h.w);
	}
	assert_true(lab_be_credits(&h.w) > told);
	h.f.raw.deaf = false;
	settle(&h);
	assert_int_equal(vhx_backend_channel_count(h.w.be), 2);
	send_used(&h);
	close_hostile(&h);
}

/* What a pass took of a flood, seen from a hook that wants its turn as well. */
struct bystander {
	struct vhx_loop_hook hook;
	const struct vhx_port *port;
	uint64_t taken, most;
};

static bool bystander_run(struct vhx_loop_hook *hook)
{
	struct bystander *b = vhx_container_of(hook, struct bystander, hook);
	uint64_t now = b->port->stats.rx_messages;

	if (now - b->taken > b->most)
		b->most = now - b->taken;
	b->taken = now;
	return false;
}

static void test_flood_of_messages_leaves_time_for_others(void **state)
{
	struct bystander b = { .hook.run = bystander_run };
	const unsigned int cnt = 4 * VHX_LINK_BURST;
	struct vhx_port *ends[2];
	struct hostile h;
	unsigned int i;

	open_hostile(&h, LAB_HOLD);
	raw_close(&h.f.raw);
	lab_settle(&h.w);
	assert_int_equal(lab_provider->pair(h.w.cfg.ring_len, ends), 0);
	assert_int_equal(vhx_backend_add_port(h.w.be, ends[1]), 0);
	raw_frontend_open(&h.f, ends[0], "one", SIZE);
	settle(&h);
	b.port = ends[1];
	b.taken = b.port->stats.rx_messages;
	vhx_loop_hook_add(h.w.loop, &b.hook);
	for (i = 0; i < cnt; i++)
		assert_int_equal(raw_body(&h.f.raw, VHX_MSG_OPTIONAL_FIRST, "12345678", 8), 0);
	lab_settle(&h.w);
	assert_true(b.port->stats.rx_messages >= cnt);
	assert_int_equal(b.most, VHX_LINK_BURST);
	vhx_loop_hook_del(h.w.loop, &b.hook);
	send_used(&h);
	close_hostile(&h);
}

static void test_channels_are_bounded(void **state)
{
	struct vhx_port *ours[VHX_BACKEND_CHANNELS_MAX], *ends[2];
	unsigned int cnt = 0;
	struct hostile h;

	open_hostile(&h, LAB_HOLD);
	while (vhx_backend_channel_count(h.w.be) < VHX_BACKEND_CHANNELS_MAX) {
		assert_int_equal(lab_provider->pair(h.w.cfg.ring_len, ends), 0);
		ours[cnt++] = ends[0];
		assert_int_equal(vhx_backend_add_port(h.w.be, ends[1]), 0);
	}
	assert_int_equal(lab_provider->pair(h.w.cfg.ring_len, ends), 0);
	assert_int_equal(vhx_backend_add_port(h.w.be, ends[1]), -ENOSPC);
	vhx_port_close(ends[0]);
	lab_settle(&h.w);
	others_work(&h);
	while (cnt)
		vhx_port_close(ours[--cnt]);
	/* Those that never said HELLO are gone after its time at the latest. */
	lab_wait(&h.w, VHX_LINK_HELLO_NS);
	assert_int_equal(vhx_backend_channel_count(h.w.be), 2);
	send_used(&h);
	close_hostile(&h);
}

/* Nothing of an epoch that is over reaches the device, and nobody is to blame. */
static void test_avail_of_another_epoch_is_dropped(void **state)
{
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST, .in_len = 100 };
	struct raw_records m = { .len = 0 };
	struct hostile h;

	open_hostile(&h, LAB_HOLD);
	raw_avail(&m, &a, NULL);
	h.key.epoch--;
	send_avail(&h, &m);
	settle(&h);
	assert_int_equal(h.w.dev[0]->log_cnt, 0);
	assert_int_equal(lab_dev_stats(&h.w, 0).stale, 1);
	assert_int_equal(vhx_backend_channel_count(h.w.be), 2);
	send_used(&h);
	close_hostile(&h);
}

static void test_device_of_another_channel_is_refused(void **state)
{
	struct hostile h;

	open_hostile(&h, LAB_HOLD);
	raw_close(&h.f.raw);
	if (!lab_has(VHX_PORT_LIVENESS)) {
		lab_close(&h.w);
		skip();
	}
	lab_settle(&h.w);
	{
		struct vhx_port *ends[2];

		assert_int_equal(lab_provider->pair(h.w.cfg.ring_len, ends), 0);
		assert_int_equal(vhx_backend_add_port(h.w.be, ends[1]), 0);
		raw_frontend_open(&h.f, ends[0], "two", SIZE);
		settle(&h);
	}
	assert_int_equal(h.f.refused, -EBUSY);
	others_work(&h);
	raw_close(&h.f.raw);
	lab_close(&h.w);
}

/* A request of nothing but its head, on a device that takes nothing else, and one that is too big for it. */
static void test_too_big_for_a_device_of_small_requests(void **state)
{
	struct lab_config cfg = lab_default;
	struct lab w;

	cfg.staging = 0;
	cfg.max_out = cfg.max_in = 4096;
	lab_open(&w, &cfg);
	w.dev[0]->dev.max_out = HEAD;
	w.dev[0]->dev.max_in = 1;
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 100, LAB_WRITE, HEAD, 0);
	lab_source_plan(&w.src[0], 100, LAB_WRITE, 4000, 0);
	lab_finish(&w, &w.src[0], 200);
	assert_int_equal(w.src[0].ok, 100);
	assert_int_equal(w.src[0].errors, 100);
	assert_int_equal(w.connects, 1);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_beyond_the_queue),
		cmocka_unit_test(test_continuation_of_nothing),
		cmocka_unit_test(test_request_over_the_limits_without_saying_so),
		cmocka_unit_test(test_too_big_that_is_not),
		cmocka_unit_test(test_too_big_with_too_many_bytes),
		cmocka_unit_test(test_flags_that_mean_nothing),
		cmocka_unit_test(test_lies_end_the_channel),
		cmocka_unit_test(test_flood_of_control_allocates_nothing),
		cmocka_unit_test(test_refused_attaches_do_not_fill_the_log),
		cmocka_unit_test(test_channels_that_come_and_go_do_not_fill_the_log),
		cmocka_unit_test(test_answers_that_are_not_taken),
		cmocka_unit_test(test_death_with_answers_waiting),
		cmocka_unit_test(test_credit_finds_room_beside_control),
		cmocka_unit_test(test_flood_of_messages_leaves_time_for_others),
		cmocka_unit_test(test_channels_are_bounded),
		cmocka_unit_test(test_avail_of_another_epoch_is_dropped),
		cmocka_unit_test(test_device_of_another_channel_is_refused),
		cmocka_unit_test(test_too_big_for_a_device_of_small_requests),
	};

	return cmocka_run_group_tests_name("stack: hostile frontend", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
