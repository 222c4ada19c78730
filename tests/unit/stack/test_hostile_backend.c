// SPDX-License-Identifier: BSD-3-Clause
/*
 * A backend that lies. Whatever it sends, no request ends wrongly; its channel ends, and an honest
 * backend that comes after it finishes the load.
 */
#include "lab.h"

#include "raw.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define LOAD 8u
#define IN_LEN 501u

struct hostile {
	struct lab w;
	struct raw_backend b;
	bool connected;
};

static void take_port(void *ctx, struct vhx_port *port)
{
	struct hostile *h = ctx;

	/* It tries once. */
	assert_false(h->connected);
	h->connected = true;
	raw_backend_open(&h->b, port);
}

static void settle(struct hostile *h)
{
	do
		lab_settle(&h->w);
	while (h->connected && raw_step(&h->b.raw));
}

static void open_hostile(struct hostile *h)
{
	struct lab_config cfg = lab_default;

	cfg.ring_len = 32u << 10;
	cfg.staging = 128u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.queue_size = 32;
	memset(h, 0, sizeof(*h));
	h->w = (struct lab){ .cfg = cfg, .uuid = 0x11, .cache_id = 0x22 };
	assert_int_equal(vhx_loop_new(0, &h->w.loop), 0);
	h->w.hook.run = NULL;
	h->w.intercept = take_port;
	h->w.intercept_ctx = h;
	lab_open_frontend(&h->w);
	settle(h);
	assert_true(vhx_fdev_known(h->w.fdev[0].fdev));
	lab_start(&h->w, 0);
	lab_source_plan(&h->w.src[0], LOAD, LAB_READ, HEAD, IN_LEN - 1);
	settle(h);
	assert_int_equal(h->b.request_cnt, LOAD);
}

static bool channel_over(struct hostile *h)
{
	return strcmp(vhx_frontend_state(h->w.fe), "established") != 0;
}

/* The channel is over; an honest backend takes its place, and finishes. */
static void close_hostile(struct hostile *h)
{
	settle(h);
	assert_true(channel_over(h));
	raw_close(&h->b.raw);
	h->w.intercept = NULL;
	lab_open_backend(&h->w);
	lab_finish(&h->w, &h->w.src[0], LOAD);
	assert_int_equal(h->w.src[0].ok, LOAD);
	assert_int_equal(h->w.src[0].errors, 0);
	lab_close(&h->w);
}

static void send_used(struct hostile *h, const struct raw_records *m)
{
	raw_data(&h->b.raw, VHX_MSG_USED, &h->b.key, m->bytes, m->len);
}

static struct vhx_used used_of(struct hostile *h, uint32_t i)
{
	return (struct vhx_used){ .id = h->b.requests[i].id };
}

/* The honest answer to request @i, in one record. */
static void answer(struct hostile *h, struct raw_records *m, uint32_t i)
{
	static uint8_t bytes[IN_LEN];
	struct vhx_used u = used_of(h, i);

	lab_fill(bytes, ~h->b.requests[i].seed, 0, IN_LEN - 1);
	bytes[IN_LEN - 1] = LAB_OK;
	u.flags = VHX_USED_COMPLETE;
	u.used_len = u.chunk_len = IN_LEN;
	raw_used(m, &u, bytes);
}

/* One record that is wrong in itself. */
static void breach(uint16_t id, struct vhx_used u, bool own_id)
{
	static const uint8_t bytes[4096];
	struct raw_records m = { .len = 0 };
	struct hostile h;

	open_hostile(&h);
	u.id = own_id ? h.b.requests[0].id : id;
	raw_used(&m, &u, bytes);
	send_used(&h, &m);
	settle(&h);
	assert_int_equal(h.w.src[0].visible, 0);
	close_hostile(&h);
}

/* All is well, it says, over bytes that it never sent, or says nothing at all. */
static void success_without_the_bytes(struct vhx_used u)
{
	static const uint8_t ok = LAB_OK;
	struct raw_records m = { .len = 0 };
	struct hostile h;

	open_hostile(&h);
	u.id = h.b.requests[0].id;
	u.flags = VHX_USED_COMPLETE;
	raw_used(&m, &u, &ok);
	send_used(&h, &m);
	settle(&h);
	assert_int_equal(h.w.src[0].visible, 1);
	assert_int_equal(h.w.src[0].errors, 1);
	assert_int_equal(h.w.src[0].ok, 0);
	assert_false(channel_over(&h));
	raw_close(&h.b.raw);
	lab_close(&h.w);
}

static void test_success_without_the_bytes_is_an_error(void **state)
{
	success_without_the_bytes((struct vhx_used){ .in_off = IN_LEN - 1, .chunk_len = 1 });
}

static void test_answer_without_a_status_is_an_error(void **state)
{
	success_without_the_bytes((struct vhx_used){ .chunk_len = 0 });
}

static uint16_t id_not_in_flight(void)
{
	/* The source numbers by 7 modulo 32: 8 requests never reach this one. */
	return 1;
}

static void test_used_for_an_id_not_in_flight(void **state)
{
	breach(id_not_in_flight(), (struct vhx_used){ .flags = VHX_USED_COMPLETE }, false);
}

static void test_used_for_an_id_beyond_the_queue(void **state)
{
	breach(32, (struct vhx_used){ .flags = VHX_USED_COMPLETE }, false);
	breach(0xffff, (struct vhx_used){ .flags = VHX_USED_COMPLETE }, false);
}

static void test_chunk_beyond_in_len(void **state)
{
	breach(0, (struct vhx_used){ .chunk_len = IN_LEN + 1 }, true);
	breach(0, (struct vhx_used){ .in_off = IN_LEN, .chunk_len = 1 }, true);
	breach(0, (struct vhx_used){ .in_off = UINT32_MAX, .chunk_len = 2 }, true);
}

static void test_used_len_over_bytes_never_sent(void **state)
{
	breach(0, (struct vhx_used){ .flags = VHX_USED_COMPLETE, .used_len = 1 }, true);
	breach(0, (struct vhx_used){ .flags = VHX_USED_COMPLETE, .used_len = 100, .chunk_len = 99 },
	       true);
	/* A gap at the beginning. */
	breach(0,
	       (struct vhx_used){
		       .flags = VHX_USED_COMPLETE, .used_len = 100, .in_off = 1, .chunk_len = 99 },
	       true);
	breach(0, (struct vhx_used){ .flags = VHX_USED_COMPLETE, .used_len = UINT32_MAX }, true);
}

static void test_flags_that_mean_nothing(void **state)
{
	breach(0, (struct vhx_used){ .flags = 0x8000 | VHX_USED_COMPLETE }, true);
	breach(0, (struct vhx_used){ .flags = VHX_USED_GROUP, .chunk_len = 8 }, true);
	breach(0, (struct vhx_used){ .flags = 0 }, true);
}

/* What is hostile about the rest needs more than one record. */

static void send_twice(struct hostile *h)
{
	struct raw_records m = { .len = 0 };

	answer(h, &m, 0);
	answer(h, &m, 0);
	send_used(h, &m);
}

static void send_backwards(struct hostile *h)
{
	struct vhx_used u = used_of(h, 0);
	struct raw_records m = { .len = 0 };

	u.in_off = 100;
	u.chunk_len = 50;
	raw_used(&m, &u, NULL);
	u.in_off = 0;
	raw_used(&m, &u, NULL);
	send_used(h, &m);
}

static void send_overlap(struct hostile *h)
{
	struct vhx_used u = used_of(h, 0);
	struct raw_records m = { .len = 0 };

	u.chunk_len = 50;
	raw_used(&m, &u, NULL);
	u.in_off = 49;
	raw_used(&m, &u, NULL);
	send_used(h, &m);
}

static void send_wrong_device(struct hostile *h)
{
	struct raw_records m = { .len = 0 };

	h->b.key.dev = 3;
	answer(h, &m, 0);
	send_used(h, &m);
}

static void send_wrong_queue(struct hostile *h)
{
	struct raw_records m = { .len = 0 };

	h->b.key.vq = 1;
	answer(h, &m, 0);
	send_used(h, &m);
}

static void send_avail(struct hostile *h)
{
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST };
	struct raw_records m = { .len = 0 };

	raw_avail(&m, &a, NULL);
	raw_data(&h->b.raw, VHX_MSG_AVAIL, &h->b.key, m.bytes, m.len);
}

static void send_torn_record(struct hostile *h)
{
	struct raw_records m = { .len = 0 };

	answer(h, &m, 0);
	m.len = 12;
	send_used(h, &m);
}

static void send_torn_chunk(struct hostile *h)
{
	struct raw_records m = { .len = 0 };

	answer(h, &m, 0);
	m.len -= 16;
	send_used(h, &m);
}

static void send_no_queue_header(struct hostile *h)
{
	raw_body(&h->b.raw, VHX_MSG_USED, "abc", 3);
}

static void send_unknown_type(struct hostile *h)
{
	raw_body(&h->b.raw, 77, "abc", 3);
}

static void send_empty(struct hostile *h)
{
	raw_bytes(&h->b.raw, VHX_MSG_USED, NULL, 0);
}

static void send_short_header(struct hostile *h)
{
	raw_bytes(&h->b.raw, VHX_MSG_CREDIT, "12345678", 8);
}

static void send_long_credit(struct hostile *h)
{
	raw_body(&h->b.raw, VHX_MSG_CREDIT, "12345678", 8);
}

static void send_false_ack(struct hostile *h)
{
	h->b.raw.channel.credit.consumed += 1u << 20;
	raw_body(&h->b.raw, VHX_MSG_CREDIT, NULL, 0);
}

static void send_reserved_set(struct hostile *h)
{
	struct vhx_msg_header header;

	vhx_channel_header(&h->b.raw.channel, &header);
	header.reserved = vhx_le32_of(1);
	raw_bytes(&h->b.raw, VHX_MSG_CREDIT, &header, sizeof(header));
}

static void send_reborn(struct hostile *h)
{
	struct vhx_hello_body b = {
		.version_min = 1, .version_max = 1, .ring_len = 32768, .max_message = 8192
	};
	struct vhx_header head = { .src_inc = 0xbad };
	struct vhx_hello hello;

	vhx_hello_encode(&hello, &head, &b);
	raw_bytes(&h->b.raw, VHX_MSG_HELLO, &hello, sizeof(hello));
}

static void send_garbage_control(struct hostile *h)
{
	uint8_t bytes[40];

	memset(bytes, 0xa5, sizeof(bytes));
	raw_body(&h->b.raw, VHX_MSG_CONTROL, bytes, sizeof(bytes));
}

static void send_long_control(struct hostile *h)
{
	static uint8_t bytes[4000];

	raw_body(&h->b.raw, VHX_MSG_CONTROL, bytes, sizeof(bytes));
}

/* It takes none of the answers that it asks for. */
static void send_pings(struct hostile *h)
{
	struct vhx_control c;
	uint32_t i;

	h->b.raw.deaf = true;
	for (i = 0; i < 2000 && !h->b.raw.gone; i++) {
		vhx_control_request(&c, true, VIRTIO_MSG_BUS_PING, 0,
				    sizeof(struct virtio_msg_ping));
		if (raw_control(&h->b.raw, &c) == -EAGAIN)
			lab_settle(&h->w);
	}
	h->b.raw.deaf = false;
}

static const struct {
	void (*send)(struct hostile *h);
	uint32_t answered; /* rightly, before it lied */
} lies[] = {
	{ send_twice, 1 },	  { send_backwards, 0 },       { send_overlap, 0 },
	{ send_wrong_device, 0 }, { send_wrong_queue, 0 },     { send_avail, 0 },
	{ send_torn_record, 0 },  { send_torn_chunk, 0 },      { send_no_queue_header, 0 },
	{ send_unknown_type, 0 }, { send_empty, 0 },	       { send_short_header, 0 },
	{ send_long_credit, 0 },  { send_false_ack, 0 },       { send_reserved_set, 0 },
	{ send_reborn, 0 },	  { send_garbage_control, 0 }, { send_long_control, 0 },
	{ send_pings, 0 },
};

static void test_lies_end_the_channel(void **state)
{
	struct hostile h;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lies); i++) {
		open_hostile(&h);
		lies[i].send(&h);
		settle(&h);
		if (!channel_over(&h))
			print_error("lie %zu was believed\n", i);
		assert_int_equal(h.w.src[0].ok, lies[i].answered);
		close_hostile(&h);
	}
}

static void test_answer_before_the_request_was_sent_whole(void **state)
{
	struct vhx_used u = { .flags = VHX_USED_COMPLETE };
	struct raw_records m = { .len = 0 };
	struct hostile h;
	uint32_t granted, i;

	open_hostile(&h);
	/* Nothing is acknowledged any more, so that one of these stops in the middle. */
	h.b.raw.deaf = true;
	granted = h.b.raw.port->rx_ring_len - VHX_CREDIT_RESERVE;
	lab_source_plan(&h.w.src[0], 5, LAB_WRITE, granted * 11 / 20, 0);
	settle(&h);
	assert_int_equal(h.w.src[0].in_flight, LOAD + 2);
	h.b.raw.deaf = false;
	h.b.raw.channel.credit.rx_ring = UINT32_MAX / 2;
	raw_step(&h.b.raw);
	for (i = 0; h.b.requests[i].received == h.b.requests[i].out_len; i++)
		assert_true(i + 1 < h.b.request_cnt);
	u.id = h.b.requests[i].id;
	raw_used(&m, &u, NULL);
	h.b.raw.channel.credit.consumed = h.b.raw.channel.credit.told;
	send_used(&h, &m);
	lab_settle(&h.w);
	assert_true(channel_over(&h));
	assert_int_equal(h.w.src[0].visible, 0);
	raw_close(&h.b.raw);
	h.w.intercept = NULL;
	lab_open_backend(&h.w);
	lab_finish(&h.w, &h.w.src[0], LOAD + 5);
	assert_int_equal(h.w.src[0].ok, LOAD + 5);
	lab_close(&h.w);
}

static void test_answer_of_another_epoch_is_dropped(void **state)
{
	struct raw_records m = { .len = 0 };
	struct hostile h;
	uint32_t i;

	open_hostile(&h);
	for (i = 0; i < LOAD; i++)
		answer(&h, &m, i);
	h.b.key.epoch--;
	send_used(&h, &m);
	settle(&h);
	assert_int_equal(h.w.src[0].visible, 0);
	assert_int_equal(vhx_fdev_stats(h.w.fdev[0].fdev)->stale, 1);
	assert_false(channel_over(&h));
	h.b.key.epoch++;
	send_used(&h, &m);
	settle(&h);
	assert_int_equal(h.w.src[0].visible, LOAD);
	raw_close(&h.b.raw);
	h.connected = false;
	h.w.refuse_connect = true;
	lab_close(&h.w);
}

/* Completions of a group become visible in one flush, which is the last one's. */
static void test_group_becomes_visible_at_once(void **state)
{
	struct raw_records m = { .len = 0 };
	struct hostile h;
	uint32_t i;

	open_hostile(&h);
	for (i = 0; i < 4; i++) {
		m.len = 0;
		answer(&h, &m, i);
		m.bytes[offsetof(struct vhx_used_record, flags)] |= i < 3 ? VHX_USED_GROUP : 0;
		send_used(&h, &m);
		settle(&h);
		assert_int_equal(h.w.src[0].visible, i < 3 ? 0 : 4);
	}
	assert_int_equal(h.w.src[0].flushes, 1);
	send_unknown_type(&h);
	close_hostile(&h);
}

/* A group that never ends is no answer: the next backend is asked all of it again. */
static void test_group_without_an_end(void **state)
{
	struct raw_records m = { .len = 0 };
	struct hostile h;
	uint32_t i;

	open_hostile(&h);
	for (i = 0; i < LOAD; i++) {
		m.len = 0;
		answer(&h, &m, i);
		m.bytes[offsetof(struct vhx_used_record, flags)] |= VHX_USED_GROUP;
		send_used(&h, &m);
	}
	settle(&h);
	assert_int_equal(h.w.src[0].visible, 0);
	/* What is over is not answered a second time. */
	m.len = 0;
	answer(&h, &m, 0);
	send_used(&h, &m);
	settle(&h);
	assert_int_equal(h.w.src[0].visible, 0);
	close_hostile(&h);
}

static void test_config_flood(void **state)
{
	struct vhx_control event;
	struct hostile h;
	uint64_t before;
	uint32_t i;

	open_hostile(&h);
	before = lab_allocations();
	for (i = 0; i < 20000; i++) {
		vhx_vdev_config_event(&h.b.vdev, 0, &event);
		if (raw_control(&h.b.raw, &event) == -EAGAIN)
			settle(&h);
	}
	settle(&h);
	assert_int_equal(lab_allocations(), before);
	assert_false(channel_over(&h));
	send_unknown_type(&h);
	close_hostile(&h);
}

static void test_types_of_the_optional_range_are_skipped(void **state)
{
	struct hostile h;

	open_hostile(&h);
	raw_body(&h.b.raw, VHX_MSG_OPTIONAL_FIRST, "abc", 3);
	raw_body(&h.b.raw, VHX_MSG_OPTIONAL_LAST, NULL, 0);
	settle(&h);
	assert_false(channel_over(&h));
	send_unknown_type(&h);
	close_hostile(&h);
}

static void test_control_that_is_never_answered(void **state)
{
	struct hostile h;
	uint8_t byte = 1;

	open_hostile(&h);
	h.b.mute = true;
	assert_int_equal(vhx_fdev_write_config(h.w.fdev[0].fdev, 0, &byte, 1), 0);
	settle(&h);
	lab_clock_skip(4 * LAB_S);
	settle(&h);
	assert_false(channel_over(&h));
	lab_clock_skip(2 * LAB_S);
	h.w.refuse_connect = true;
	settle(&h);
	/* Not refused: the write goes to the next backend. */
	assert_int_equal(h.w.fdev[0].refused, 0);
	h.w.refuse_connect = false;
	close_hostile(&h);
}

static void test_hello_that_is_never_answered(void **state)
{
	struct hostile h;

	memset(&h, 0, sizeof(h));
	h.w = (struct lab){ .cfg = lab_default };
	assert_int_equal(vhx_loop_new(0, &h.w.loop), 0);
	h.w.intercept = take_port;
	h.w.intercept_ctx = &h;
	lab_open_frontend(&h.w);
	h.b.raw.deaf = true;
	settle(&h);
	assert_string_equal(vhx_frontend_state(h.w.fe), "connecting");
	h.w.refuse_connect = true;
	lab_wait(&h.w, 6 * LAB_S);
	assert_string_equal(vhx_frontend_state(h.w.fe), "waiting");
	raw_close(&h.b.raw);
	lab_close(&h.w);
}

/* It will not learn our version: one line, and the owner is told, instead of another try for ever. */
static void test_backend_of_another_version(void **state)
{
	struct vhx_hello_body b = {
		.version_min = 2, .version_max = 3, .ring_len = 32768, .max_message = 8192
	};
	struct vhx_header head = { .src_inc = 0xbad };
	struct vhx_hello hello;
	struct hostile h;

	memset(&h, 0, sizeof(h));
	h.w = (struct lab){ .cfg = lab_default };
	assert_int_equal(vhx_loop_new(0, &h.w.loop), 0);
	h.w.intercept = take_port;
	h.w.intercept_ctx = &h;
	lab_open_frontend(&h.w);
	h.b.raw.deaf = true;
	settle(&h);
	vhx_hello_encode(&hello, &head, &b);
	raw_bytes(&h.b.raw, VHX_MSG_HELLO, &hello, sizeof(hello));
	h.w.refuse_connect = true;
	settle(&h);
	assert_int_equal(h.w.fdev[0].unusable, 1);
	assert_int_equal(h.w.fdev[0].unusable_reason, -EPROTONOSUPPORT);
	raw_close(&h.b.raw);
	lab_close(&h.w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_success_without_the_bytes_is_an_error),
		cmocka_unit_test(test_answer_without_a_status_is_an_error),
		cmocka_unit_test(test_used_for_an_id_not_in_flight),
		cmocka_unit_test(test_used_for_an_id_beyond_the_queue),
		cmocka_unit_test(test_chunk_beyond_in_len),
		cmocka_unit_test(test_used_len_over_bytes_never_sent),
		cmocka_unit_test(test_flags_that_mean_nothing),
		cmocka_unit_test(test_lies_end_the_channel),
		cmocka_unit_test(test_answer_before_the_request_was_sent_whole),
		cmocka_unit_test(test_answer_of_another_epoch_is_dropped),
		cmocka_unit_test(test_group_becomes_visible_at_once),
		cmocka_unit_test(test_group_without_an_end),
		cmocka_unit_test(test_config_flood),
		cmocka_unit_test(test_types_of_the_optional_range_are_skipped),
		cmocka_unit_test(test_control_that_is_never_answered),
		cmocka_unit_test(test_hello_that_is_never_answered),
		cmocka_unit_test(test_backend_of_another_version),
	};

	return cmocka_run_group_tests_name("stack: hostile backend", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
