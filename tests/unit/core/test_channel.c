// SPDX-License-Identifier: BSD-3-Clause
/*
 * HELLO in every order, lies in it, and what may come before, between and after. The ends here are two
 * state machines and two queues of messages that outlive them, as a ring in shared memory does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/channel.h"

#define RING (64u << 10)
#define MESSAGE (16u << 10)

struct message {
	uint32_t type, len;
	struct vhx_hello start;
};

struct end {
	struct vhx_channel c;
	struct message in[4096];
	uint32_t head, tail;
	int ups;
};

static struct end ends[2];

static void end_start(struct end *e, uint32_t inc)
{
	struct vhx_channel_config cfg = {
		.inc = inc,
		.tx_ring_len = RING,
		.rx_ring_len = RING,
		.max_message = MESSAGE,
		.features = 0xff0,
	};

	vhx_channel_init(&e->c, &cfg);
}

static void message_put(struct end *to, uint32_t type, uint32_t len, const void *start)
{
	struct message *m = &to->in[to->tail++];

	assert_true(to->tail <= VHX_ARRAY_SIZE(to->in));
	m->type = type;
	m->len = len;
	memset(&m->start, 0, sizeof(m->start));
	memcpy(&m->start, start, len < sizeof(m->start) ? len : sizeof(m->start));
}

static bool hello_send(struct end *from, struct end *to)
{
	struct vhx_hello hello;

	if (!vhx_channel_hello(&from->c, &hello))
		return false;
	message_put(to, VHX_MSG_HELLO, sizeof(hello), &hello);
	vhx_channel_hello_sent(&from->c);
	return true;
}

static void body_send(struct end *from, struct end *to, uint32_t type, uint32_t len)
{
	struct vhx_msg_header header;

	vhx_channel_header(&from->c, &header);
	vhx_credit_sent(&from->c.credit, len);
	message_put(to, type, sizeof(header), &header);
	to->in[to->tail - 1].len = len;
}

static int receive_one(struct end *e)
{
	struct message *m = &e->in[e->head++];
	bool room = false;
	int ret;

	assert_true(e->head <= e->tail);
	ret = vhx_channel_receive(&e->c, m->type, m->len, &m->start, &room);
	if (ret == VHX_CHANNEL_UP)
		e->ups++;
	assert_true((ret < 0) == (e->c.state == VHX_CHANNEL_DEAD));
	return ret;
}

static void run(void)
{
	bool moved;

	do {
		moved = false;
		for (int i = 0; i < 2; i++) {
			moved |= hello_send(&ends[i], &ends[!i]);
			while (ends[i].head < ends[i].tail) {
				assert_true(receive_one(&ends[i]) >= 0);
				hello_send(&ends[i], &ends[!i]);
				moved = true;
			}
		}
	} while (moved);
}

static void assert_up(void)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ends[i].c.state, VHX_CHANNEL_ESTABLISHED);
		assert_int_equal(ends[i].c.peer_inc, ends[!i].c.inc);
		assert_int_equal(ends[i].c.accepted, ends[!i].c.accepted);
		assert_int_equal(ends[i].c.accepted, ends[0].c.offered & ends[1].c.offered);
	}
}

static int ends_reset(void **state)
{
	memset(ends, 0, sizeof(ends));
	end_start(&ends[0], 0xa);
	end_start(&ends[1], 0xb);
	return 0;
}

/* A HELLO as somebody else than our encoder would build it. */
static struct vhx_hello_body body_good(void)
{
	return (struct vhx_hello_body){
		.version_min = 1,
		.version_max = 1,
		.offered = 0xff0,
		.ring_len = RING,
		.max_message = MESSAGE,
	};
}

static int hello_give(struct end *e, uint32_t src, uint32_t dst, const struct vhx_hello_body *b)
{
	struct vhx_header h = { .src_inc = src, .dst_inc = dst };
	struct vhx_hello hello;

	vhx_hello_encode(&hello, &h, b);
	message_put(e, VHX_MSG_HELLO, sizeof(hello), &hello);
	return receive_one(e);
}

static int header_give(struct end *e, uint32_t type, uint32_t len, struct vhx_header h)
{
	struct vhx_msg_header header;

	vhx_header_encode(&header, &h);
	message_put(e, type, sizeof(header), &header);
	e->in[e->tail - 1].len = len;
	return receive_one(e);
}

static void test_first_end_speaks_first(void **state)
{
	hello_send(&ends[0], &ends[1]);
	assert_int_equal(receive_one(&ends[1]), VHX_CHANNEL_DROP);
	assert_int_equal(ends[1].c.state, VHX_CHANNEL_MET);
	run();
	assert_up();
	assert_int_equal(ends[0].ups + ends[1].ups, 2);
}

static void test_second_end_speaks_first(void **state)
{
	hello_send(&ends[1], &ends[0]);
	receive_one(&ends[0]);
	run();
	assert_up();
}

static void test_both_speak_at_once(void **state)
{
	hello_send(&ends[0], &ends[1]);
	hello_send(&ends[1], &ends[0]);
	run();
	assert_up();
	/* One each into the void, and one each that names the other. Nobody answers an answer. */
	assert_int_equal(ends[0].tail + ends[1].tail, 4);
}

static void test_answer_overtakes_nothing(void **state)
{
	/* The second end met the first before it ever spoke: its one HELLO names it at once. */
	hello_send(&ends[0], &ends[1]);
	receive_one(&ends[1]);
	hello_send(&ends[1], &ends[0]);
	assert_int_equal(receive_one(&ends[0]), VHX_CHANNEL_UP);
	assert_true(ends[0].c.hello_due);
	run();
	assert_up();
}

static void test_hello_that_was_not_sent_stays_due(void **state)
{
	struct vhx_hello hello;

	assert_true(vhx_channel_hello(&ends[0].c, &hello));
	assert_true(vhx_channel_hello(&ends[0].c, &hello));
	vhx_channel_hello_sent(&ends[0].c);
	assert_false(vhx_channel_hello(&ends[0].c, &hello));
}

static void test_features_are_the_intersection(void **state)
{
	ends[0].c.offered = 0x0ff0;
	ends[1].c.offered = 0x3fc3f;
	run();
	assert_up();
	assert_int_equal(ends[0].c.accepted, 0x0c30);
}

static void test_limits_are_the_smaller_ones(void **state)
{
	struct vhx_hello_body b = body_good();

	b.ring_len = 32 << 10;
	b.max_message = 4096;
	hello_give(&ends[0], 7, 0, &b);
	b.accepted = 0xff0;
	assert_int_equal(hello_give(&ends[0], 7, 0xa, &b), VHX_CHANNEL_UP);
	assert_int_equal(ends[0].c.max_message, 4096);
	assert_int_equal(ends[0].c.credit.tx_ring, 32 << 10);
	assert_int_equal(ends[0].c.credit.rx_ring, RING);
}

static void test_peer_with_larger_limits_does_not_raise_ours(void **state)
{
	struct vhx_hello_body b = body_good();

	b.ring_len = UINT32_MAX;
	b.max_message = UINT32_MAX;
	hello_give(&ends[0], 7, 0, &b);
	assert_int_equal(ends[0].c.max_message, MESSAGE);
	assert_int_equal(ends[0].c.tx_ring, RING);
}

/* A ring that could never hold the largest message beside the reserve lowers the largest message. */
static void test_small_ring_lowers_the_largest_message(void **state)
{
	struct vhx_hello_body b = body_good();

	b.ring_len = VHX_CHANNEL_RING_MIN;
	assert_int_equal(hello_give(&ends[0], 7, 0, &b), VHX_CHANNEL_DROP);
	assert_true(ends[0].c.max_message <= vhx_credit_message_max(VHX_CHANNEL_RING_MIN));
	assert_true(ends[0].c.max_message >= VHX_CHANNEL_MESSAGE_MIN);
}

static void test_both_hellos_announce_the_same_limits(void **state)
{
	struct vhx_hello_body b = body_good(), first, second;
	struct vhx_hello hello;

	assert_true(vhx_channel_hello(&ends[0].c, &hello));
	assert_int_equal(vhx_hello_decode(&hello, &first), 0);
	vhx_channel_hello_sent(&ends[0].c);
	b.ring_len = VHX_CHANNEL_RING_MIN;
	b.max_message = VHX_CHANNEL_MESSAGE_MIN;
	b.offered = 0x10;
	hello_give(&ends[0], 7, 0, &b);
	assert_true(vhx_channel_hello(&ends[0].c, &hello));
	assert_int_equal(vhx_hello_decode(&hello, &second), 0);
	assert_int_equal(second.max_message, first.max_message);
	assert_int_equal(second.ring_len, first.ring_len);
	assert_int_equal(second.offered, first.offered);
	assert_int_equal(second.accepted, 0x10);
}

static void test_ring_too_small(void **state)
{
	struct vhx_hello_body b = body_good();

	b.ring_len = VHX_CHANNEL_RING_MIN - 1;
	assert_int_equal(hello_give(&ends[0], 7, 0, &b), -EPROTO);
}

static void test_message_too_small(void **state)
{
	struct vhx_hello_body b = body_good();

	b.max_message = VHX_CHANNEL_MESSAGE_MIN - 1;
	assert_int_equal(hello_give(&ends[0], 7, 0, &b), -EPROTO);
}

static void test_no_common_version(void **state)
{
	struct vhx_hello_body b = body_good();

	b.version_min = 2;
	b.version_max = 3;
	assert_int_equal(hello_give(&ends[0], 7, 0, &b), -EPROTONOSUPPORT);
}

static void test_longer_hello_of_a_later_version(void **state)
{
	struct vhx_header h = { .src_inc = 7 };
	struct vhx_hello_body b = body_good();
	struct vhx_hello hello;

	b.version_min = b.version_max = 2;
	vhx_hello_encode(&hello, &h, &b);
	message_put(&ends[0], VHX_MSG_HELLO, sizeof(hello), &hello);
	ends[0].in[0].len = 100;
	assert_int_equal(receive_one(&ends[0]), -EPROTONOSUPPORT);
}

static void test_hello_of_wrong_length(void **state)
{
	struct vhx_header h = { .src_inc = 7 };
	struct vhx_hello_body b = body_good();
	struct vhx_hello hello;

	vhx_hello_encode(&hello, &h, &b);
	for (uint32_t len = 0; len < 100; len++) {
		if (len == sizeof(hello))
			continue;
		ends_reset(NULL);
		message_put(&ends[0], VHX_MSG_HELLO, len < sizeof(hello) ? len : sizeof(hello),
			    &hello);
		ends[0].in[0].len = len;
		assert_int_equal(receive_one(&ends[0]), -EPROTO);
	}
}

static void test_hello_that_acknowledges(void **state)
{
	struct vhx_header h = { .src_inc = 7, .ack = 16 };
	struct vhx_hello_body b = body_good();
	struct vhx_hello hello;

	vhx_hello_encode(&hello, &h, &b);
	message_put(&ends[0], VHX_MSG_HELLO, sizeof(hello), &hello);
	assert_int_equal(receive_one(&ends[0]), -EPROTO);
}

static void test_accepted_before_anything_was_offered(void **state)
{
	struct vhx_hello_body b = body_good();

	b.accepted = 0x10;
	assert_int_equal(hello_give(&ends[0], 7, 0, &b), -EPROTO);
}

static void test_lie_about_accepted(void **state)
{
	static const uint64_t lies[] = { 0, 0xff1, 0xff0 & ~0x10, UINT64_MAX };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(lies); i++) {
		struct vhx_hello_body b = body_good();

		ends_reset(NULL);
		hello_give(&ends[0], 7, 0, &b);
		b.accepted = lies[i];
		assert_int_equal(hello_give(&ends[0], 7, 0xa, &b), -EPROTO);
	}
}

static void test_hello_for_another_incarnation_is_stale(void **state)
{
	struct vhx_hello_body b = body_good();

	assert_int_equal(hello_give(&ends[0], 7, 0xdead, &b), VHX_CHANNEL_DROP);
	assert_int_equal(ends[0].c.stale, 1);
	assert_int_equal(ends[0].c.state, VHX_CHANNEL_HELLO_SENT);
	assert_int_equal(ends[0].c.peer_inc, 0);
}

/* What was said to a dead incarnation, perhaps by another version, is not judged. */
static void test_stale_hello_is_not_interpreted(void **state)
{
	struct vhx_hello_body b = body_good();

	b.version_min = b.version_max = 9;
	assert_int_equal(hello_give(&ends[0], 7, 0xdead, &b), VHX_CHANNEL_DROP);
	assert_int_equal(ends[0].c.stale, 1);
	run();
	assert_up();
}

static void test_repeated_hello_changes_nothing(void **state)
{
	struct vhx_hello_body b = body_good();

	hello_give(&ends[0], 7, 0, &b);
	vhx_channel_hello_sent(&ends[0].c);
	assert_int_equal(hello_give(&ends[0], 7, 0, &b), VHX_CHANNEL_DROP);
	assert_false(ends[0].c.hello_due);
	b.accepted = 0xff0;
	assert_int_equal(hello_give(&ends[0], 7, 0xa, &b), VHX_CHANNEL_UP);
	vhx_credit_sent(&ends[0].c.credit, 100);
	assert_int_equal(hello_give(&ends[0], 7, 0xa, &b), VHX_CHANNEL_DROP);
	assert_int_equal(ends[0].c.credit.sent, 128);
}

static void test_peer_reborn_in_each_state(void **state)
{
	for (int known = 1; known <= 2; known++) {
		struct vhx_hello_body b = body_good();

		ends_reset(NULL);
		hello_give(&ends[0], 7, 0, &b);
		b.accepted = 0xff0;
		if (known == 2)
			hello_give(&ends[0], 7, 0xa, &b);
		b.accepted = 0;
		assert_int_equal(hello_give(&ends[0], 8, 0, &b), -ECONNRESET);
	}
}

static void test_body_before_hello(void **state)
{
	struct vhx_hello_body b = body_good();

	/* From a life before ours. */
	assert_int_equal(header_give(&ends[0], VHX_MSG_USED, 100, (struct vhx_header){ 7, 9, 0 }),
			 VHX_CHANNEL_DROP);
	assert_int_equal(ends[0].c.stale, 1);
	/* From a peer that knows us, as it says, but has not said so. */
	hello_give(&ends[0], 7, 0, &b);
	assert_int_equal(header_give(&ends[0], VHX_MSG_USED, 100, (struct vhx_header){ 7, 0xa, 0 }),
			 -EPROTO);
}

static void test_bodies_of_other_incarnations_are_stale(void **state)
{
	uint32_t consumed;

	run();
	consumed = ends[0].c.credit.consumed;
	header_give(&ends[0], VHX_MSG_USED, 100, (struct vhx_header){ 0xb, 0xdead, 5000 });
	header_give(&ends[0], 77, 100, (struct vhx_header){ 0xdead, 0xa, 5000 });
	assert_int_equal(ends[0].c.stale, 2);
	assert_int_equal(ends[0].c.credit.consumed, consumed);
}

static void test_delivered_types(void **state)
{
	static const uint32_t types[] = { VHX_MSG_CONTROL, VHX_MSG_AVAIL, VHX_MSG_USED };

	run();
	for (size_t i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		body_send(&ends[0], &ends[1], types[i], 100);
		assert_int_equal(receive_one(&ends[1]), VHX_CHANNEL_DELIVER);
	}
	assert_int_equal(ends[1].c.credit.consumed, ends[0].c.credit.sent);
}

static void test_unknown_optional_type_is_skipped_and_counted(void **state)
{
	run();
	body_send(&ends[0], &ends[1], VHX_MSG_OPTIONAL_FIRST, 100);
	assert_int_equal(receive_one(&ends[1]), VHX_CHANNEL_DROP);
	body_send(&ends[0], &ends[1], VHX_MSG_OPTIONAL_LAST, 100);
	assert_int_equal(receive_one(&ends[1]), VHX_CHANNEL_DROP);
	assert_int_equal(ends[1].c.credit.consumed, ends[0].c.credit.sent);
	assert_int_equal(ends[1].c.state, VHX_CHANNEL_ESTABLISHED);
}

static void test_unknown_mandatory_type(void **state)
{
	static const uint32_t types[] = { 0, 6, 0x7fff, 0x10000, UINT32_MAX };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		ends_reset(NULL);
		run();
		body_send(&ends[0], &ends[1], types[i], 100);
		assert_int_equal(receive_one(&ends[1]), -EPROTO);
	}
}

static void test_message_shorter_than_a_header(void **state)
{
	run();
	body_send(&ends[0], &ends[1], VHX_MSG_CREDIT, 15);
	assert_int_equal(receive_one(&ends[1]), -EPROTO);
}

static void test_credit_with_a_body(void **state)
{
	run();
	body_send(&ends[0], &ends[1], VHX_MSG_CREDIT, 17);
	assert_int_equal(receive_one(&ends[1]), -EPROTO);
}

static void test_ack_of_what_was_never_sent(void **state)
{
	run();
	assert_int_equal(header_give(&ends[0], VHX_MSG_CREDIT, 16,
				     (struct vhx_header){ 0xb, 0xa, 16 }),
			 -EPROTO);
}

static void test_credit_brings_room(void **state)
{
	struct message *m;
	bool room = false;

	run();
	body_send(&ends[0], &ends[1], VHX_MSG_AVAIL, 5000);
	receive_one(&ends[1]);
	body_send(&ends[1], &ends[0], VHX_MSG_CREDIT, 16);
	m = &ends[0].in[ends[0].head++];
	assert_int_equal(vhx_channel_receive(&ends[0].c, m->type, m->len, &m->start, &room),
			 VHX_CHANNEL_DROP);
	assert_true(room);
	assert_int_equal(ends[0].c.credit.acked, ends[0].c.credit.sent);
}

static uint32_t lcg_next(uint32_t *lcg)
{
	*lcg = *lcg * 1664525 + 1013904223;
	return *lcg >> 16;
}

/* Ends die at random moments, also of each other's deaths; their rings stay. Then they are let be. */
static void test_restarts_over_rings_that_stay(void **state)
{
	for (uint32_t seed = 0; seed < 500; seed++) {
		uint32_t lcg = seed, inc = 0x100;

		ends_reset(NULL);
		for (int step = 0; step < 400; step++) {
			int i = (int)(lcg_next(&lcg) & 1);
			uint32_t what = lcg_next(&lcg) % 8;

			if (step < 200 && !what)
				end_start(&ends[i], inc++);
			/* Bodies go behind the HELLO that is due. */
			if (what & 3)
				hello_send(&ends[i], &ends[!i]);
			if (what & 2 && ends[i].c.state == VHX_CHANNEL_ESTABLISHED)
				body_send(&ends[i], &ends[!i], VHX_MSG_CONTROL, 100);
			if (!(what & 4) || ends[i].head == ends[i].tail)
				continue;
			if (receive_one(&ends[i]) == -ECONNRESET)
				end_start(&ends[i], inc++);
			assert_int_not_equal(ends[i].c.state, VHX_CHANNEL_DEAD);
		}
		for (int step = 0; step < 1000; step++) {
			int i = step & 1;

			hello_send(&ends[i], &ends[!i]);
			if (ends[i].head < ends[i].tail && receive_one(&ends[i]) == -ECONNRESET)
				end_start(&ends[i], inc++);
		}
		assert_up();
	}
}

static void test_every_state_has_a_name(void **state)
{
	for (int i = 0; i < VHX_CHANNEL_STATE_CNT_; i++)
		assert_non_null(vhx_channel_state_name(i));
}

#define T(name) cmocka_unit_test_setup(name, ends_reset)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_first_end_speaks_first),
		T(test_second_end_speaks_first),
		T(test_both_speak_at_once),
		T(test_answer_overtakes_nothing),
		T(test_hello_that_was_not_sent_stays_due),
		T(test_features_are_the_intersection),
		T(test_limits_are_the_smaller_ones),
		T(test_peer_with_larger_limits_does_not_raise_ours),
		T(test_small_ring_lowers_the_largest_message),
		T(test_both_hellos_announce_the_same_limits),
		T(test_ring_too_small),
		T(test_message_too_small),
		T(test_no_common_version),
		T(test_longer_hello_of_a_later_version),
		T(test_hello_of_wrong_length),
		T(test_hello_that_acknowledges),
		T(test_accepted_before_anything_was_offered),
		T(test_lie_about_accepted),
		T(test_hello_for_another_incarnation_is_stale),
		T(test_stale_hello_is_not_interpreted),
		T(test_repeated_hello_changes_nothing),
		T(test_peer_reborn_in_each_state),
		T(test_body_before_hello),
		T(test_bodies_of_other_incarnations_are_stale),
		T(test_delivered_types),
		T(test_unknown_optional_type_is_skipped_and_counted),
		T(test_unknown_mandatory_type),
		T(test_message_shorter_than_a_header),
		T(test_credit_with_a_body),
		T(test_ack_of_what_was_never_sent),
		T(test_credit_brings_room),
		T(test_restarts_over_rings_that_stay),
		T(test_every_state_has_a_name),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
