// SPDX-License-Identifier: BSD-3-Clause
/*
 * Answers that leave out most of what a guest has room for, on a device whose drivers do not go by the length: the rest
 * becomes zero. The guest names one buffer again and again, so that the room is a hundred times its memory; filling it
 * holds up nobody, and completions keep the order of the answers.
 */
#include "lab.h"

#include "frontend/fdev.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define FIRST 2 /* the queues */
#define OTHER 3
#define PIECE (1u << 20)
#define PIECES 64u
#define SMALL 300u
#define REQUESTS 4u

struct guest_request {
	uint8_t out[HEAD];
	struct iovec out_iov;
	struct iovec in[PIECES];
	uint32_t in_cnt, in_len;
};

struct queue {
	struct fill *f;
	struct vhx_fqueue *q;
	struct guest_request requests[REQUESTS];
	uint32_t cnt, begun;
};

static struct fill {
	struct lab w;
	const struct vhx_device_ops *plain;
	struct vhx_device_ops ops;
	struct vhx_loop_hook hook;
	struct queue queues[4];
	uint8_t buffer[PIECE], end[SMALL];
	uint64_t pass, pass_max; /* bytes written for the guest */
	uint32_t done[2 * REQUESTS], done_cnt; /* seeds */
	uint32_t given_back;
	bool gaps;
} fill;

static void describe(struct guest_request *r, uint16_t id, struct vhx_frequest *req)
{
	*req = (struct vhx_frequest){
		.id = id,
		.out = &r->out_iov,
		.out_cnt = 1,
		.out_len = HEAD,
		.in = r->in,
		.in_cnt = r->in_cnt,
		.in_len = r->in_len,
	};
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct queue *s = ctx;

	if (s->begun == s->cnt)
		return 0;
	describe(&s->requests[s->begun], (uint16_t)s->begun, req);
	s->begun++;
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	struct queue *s = ctx;

	describe(&s->requests[id], id, req);
	return 0;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct queue *s = ctx;
	struct lab_head head;

	memcpy(&head, s->requests[id].out, sizeof(head));
	s->f->done[s->f->done_cnt++] = vhx_le32_get(head.seed);
}

static void source_written(void *ctx, const void *p, uint64_t len)
{
	struct queue *s = ctx;

	s->f->pass += len;
}

static void source_flush(void *ctx)
{
}

static bool source_arm(void *ctx)
{
	struct queue *s = ctx;

	return s->begun != s->cnt;
}

static void source_disarm(void *ctx)
{
}

static void source_broken(void *ctx, int reason)
{
	fail();
}

static const struct vhx_fsource_ops source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.written = source_written,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_disarm,
	.broken = source_broken,
};

static bool pass_count(struct vhx_loop_hook *hook)
{
	fill.pass_max = vhx_max_u64(fill.pass_max, fill.pass);
	fill.pass = 0;
	return false;
}

/* Two small pieces of the answer, with much left out before each. */
static int fill_submit(struct vhx_device *dev, struct vhx_request *req)
{
	const uint32_t at[] = { PIECE * 20, PIECE * 40 };
	bool later;
	uint32_t i;

	if (!fill.gaps || req->in_len == SMALL)
		return fill.plain->submit(dev, req);
	for (i = 0; i < VHX_ARRAY_SIZE(at); i++) {
		uint8_t *p = vhx_request_in_reserve(req, at[i], 16, &later);

		assert_non_null(p);
		memset(p, 1, 16);
		vhx_request_in_commit(req, 16);
	}
	vhx_request_complete(req, 0, NULL, 0, 0, 0);
	return 0;
}

static void take_over(void)
{
	struct lab_device *d = fill.w.dev[0];

	fill.plain = d->dev.ops;
	fill.ops = *fill.plain;
	fill.ops.submit = fill_submit;
	d->dev.ops = &fill.ops;
	d->answer = LAB_SILENT;
}

static void queue_start(uint16_t index)
{
	struct queue *s = &fill.queues[index];

	s->f = &fill;
	s->cnt = s->begun = 0;
	assert_int_equal(
		vhx_fqueue_start(fill.w.fdev[0].fdev, index, 16, &source_ops, s, &s->q), 0);
}

static void fill_open(void)
{
	struct lab_config cfg = lab_default;
	struct lab *w = &fill.w;

	memset(&fill, 0, sizeof(fill));
	cfg.device_id = LAB_SCSI;
	cfg.queues = 4;
	cfg.queue_size = 16;
	cfg.max_in = PIECE * PIECES + SMALL;
	lab_open(w, &cfg);
	take_over();
	fill.hook.run = pass_count;
	vhx_loop_hook_add(w->loop, &fill.hook);
	assert_int_equal(vhx_fdev_set_features(w->fdev[0].fdev,
					       vhx_fdev_identity(w->fdev[0].fdev)->features),
			 0);
	queue_start(FIRST);
	queue_start(OTHER);
	lab_settle(w);
	memset(fill.buffer, LAB_POISON, sizeof(fill.buffer));
	memset(fill.end, LAB_POISON, sizeof(fill.end));
}

static void fill_close(void)
{
	vhx_loop_hook_del(fill.w.loop, &fill.hook);
	lab_close(&fill.w);
}

static void ask(uint16_t index, uint32_t seed, uint32_t pieces)
{
	struct queue *s = &fill.queues[index];
	struct guest_request *r = &s->requests[s->cnt++];
	struct lab_head head = { .type = vhx_le32_of(LAB_READ), .seed = vhx_le32_of(seed) };
	uint32_t i;

	memcpy(r->out, &head, sizeof(head));
	r->out_iov = (struct iovec){ r->out, HEAD };
	for (i = 0; i < pieces; i++)
		r->in[i] = (struct iovec){ fill.buffer, PIECE };
	r->in_len = pieces * PIECE;
	if (pieces != PIECES)
		r->in[i++] = (struct iovec){ fill.end, SMALL };
	r->in_len += pieces != PIECES ? SMALL : 0;
	r->in_cnt = i;
	vhx_fqueue_kick(s->q);
}

/* Until the first answer is there, and not through. */
static void until_it_fills(void)
{
	unsigned int i;

	for (i = 0; i < 1000 && fill.buffer[0] == LAB_POISON; i++)
		lab_turn(&fill.w);
	assert_int_equal(fill.buffer[0], 0);
	assert_int_equal(fill.done_cnt, 0);
}

static void all_zero(void)
{
	uint32_t i;

	for (i = 0; i < PIECE; i++)
		assert_int_equal(fill.buffer[i], 0);
}

static void done_are(uint32_t cnt)
{
	uint32_t i;

	assert_int_equal(fill.done_cnt, cnt);
	for (i = 0; i < cnt; i++)
		assert_int_equal(fill.done[i], i + 1);
}

static void test_long_fill_holds_nobody_up_and_keeps_the_order(void **state)
{
	fill_open();
	ask(FIRST, 1, PIECES);
	ask(FIRST, 2, 0);
	until_it_fills();
	ask(FIRST, 3, PIECES - 1);
	ask(OTHER, 4, 0);
	lab_settle(&fill.w);
	done_are(4);
	all_zero();
	assert_int_equal(fill.end[SMALL - 1], 0);
	/* What comes before a pass counts on what the last one left. */
	assert_in_range(fill.pass_max, VHX_FDEV_FILL_BYTES, 2 * VHX_FDEV_FILL_BYTES);
	assert_int_equal(vhx_fdev_stats(fill.w.fdev[0].fdev)->errors, 0);
	fill_close();
}

/* A status at the end, with nothing before it. */
static void test_long_gap_holds_nobody_up(void **state)
{
	fill_open();
	fill.w.dev[0]->has_status = true;
	fill.w.dev[0]->answer = LAB_STATUS;
	ask(FIRST, 1, PIECES - 1);
	ask(FIRST, 2, PIECES - 1);
	lab_settle(&fill.w);
	done_are(2);
	all_zero();
	assert_int_equal(fill.end[SMALL - 2], 0);
	assert_int_equal(fill.end[SMALL - 1], LAB_IOERR);
	assert_in_range(fill.pass_max, VHX_FDEV_FILL_BYTES, 2 * VHX_FDEV_FILL_BYTES + SMALL);
	assert_int_equal(vhx_fdev_stats(fill.w.fdev[0].fdev)->errors, 0);
	fill_close();
}

/* Only one can be put off: such an answer is none. */
static void test_answer_with_two_long_gaps_is_an_error(void **state)
{
	if (!lab_has(VHX_PORT_RESERVE))
		skip();
	fill_open();
	fill.gaps = true;
	ask(FIRST, 1, PIECES);
	ask(FIRST, 2, 0);
	lab_settle(&fill.w);
	done_are(2);
	assert_int_equal(vhx_fdev_stats(fill.w.fdev[0].fdev)->errors, 1);
	assert_in_range(fill.pass_max, 1, 2 * VHX_FDEV_FILL_BYTES);
	fill_close();
}

static void test_queue_is_killed_while_an_answer_is_filled(void **state)
{
	fill_open();
	ask(FIRST, 1, PIECES);
	until_it_fills();
	ask(OTHER, 1, 0);
	vhx_fqueue_kill(fill.queues[FIRST].q);
	queue_start(FIRST);
	ask(FIRST, 2, 0);
	lab_settle(&fill.w);
	lab_wait(&fill.w, LAB_S);
	done_are(2);
	fill_close();
}

static void test_device_is_reset_while_an_answer_is_filled(void **state)
{
	fill_open();
	ask(FIRST, 1, PIECES);
	ask(OTHER, 1, 0);
	until_it_fills();
	assert_int_equal(vhx_fdev_reset(fill.w.fdev[0].fdev), -EINPROGRESS);
	lab_settle(&fill.w);
	assert_int_equal(fill.w.fdev[0].resets_done, 1);
	assert_int_equal(fill.done_cnt, 0);
	queue_start(FIRST);
	ask(FIRST, 1, 0);
	lab_settle(&fill.w);
	done_are(1);
	fill_close();
}

/* As if it was not answered. */
static void test_backend_dies_while_an_answer_is_filled(void **state)
{
	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	fill_open();
	ask(FIRST, 1, PIECES);
	ask(FIRST, 2, 0);
	until_it_fills();
	lab_close_backend(&fill.w);
	lab_settle(&fill.w);
	assert_int_equal(fill.done_cnt, 0);
	lab_open_backend(&fill.w);
	take_over();
	lab_wait(&fill.w, LAB_S);
	lab_wait(&fill.w, LAB_S);
	done_are(2);
	all_zero();
	assert_int_equal(vhx_fdev_stats(fill.w.fdev[0].fdev)->replays, 2);
	fill_close();
}

static void test_stop_waits_for_an_answer_that_is_filled(void **state)
{
	fill_open();
	ask(FIRST, 1, PIECES);
	until_it_fills();
	assert_int_equal(vhx_fqueue_stop(fill.queues[FIRST].q), -EINPROGRESS);
	lab_settle(&fill.w);
	assert_int_equal(fill.w.fdev[0].stopped[FIRST], 1);
	done_are(1);
	all_zero();
	assert_int_equal(vhx_fdev_stats(fill.w.fdev[0].fdev)->errors, 0);
	fill_close();
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_fill_holds_nobody_up_and_keeps_the_order),
		cmocka_unit_test(test_long_gap_holds_nobody_up),
		cmocka_unit_test(test_answer_with_two_long_gaps_is_an_error),
		cmocka_unit_test(test_queue_is_killed_while_an_answer_is_filled),
		cmocka_unit_test(test_device_is_reset_while_an_answer_is_filled),
		cmocka_unit_test(test_backend_dies_while_an_answer_is_filled),
		cmocka_unit_test(test_stop_waits_for_an_answer_that_is_filled),
	};

	return cmocka_run_group_tests_name("stack: fill", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
