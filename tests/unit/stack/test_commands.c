// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a driver has set by commands, and a backend that comes in another's place: it is told of that before anything else.
 * The device is a scripted network device, whose control queue keeps a list of what it was told.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/flight.h"
#include "lab.h"

#define RX 0 /* the queues of one pair, and of commands */
#define TX 1
#define CONTROL 2
#define NET_F_CTRL_VQ (1ull << 17)
#define SIZE 8u

/* The device's side */

#define TOLD_MAX 64u

static struct script {
	const struct vhx_device_ops *plain;
	struct vhx_device_ops ops;
	char told[TOLD_MAX][64]; /* bytes of commands in this life, as hexadecimal; "packet" */
	uint32_t cnt;
	uint8_t answer;
	bool silent; /* commands get no answer */
	struct vhx_request *unanswered;
} script;

static void told_add(const char *text)
{
	assert_true(script.cnt < TOLD_MAX);
	snprintf(script.told[script.cnt++], sizeof(script.told[0]), "%s", text);
}

static void told_command(const struct vhx_request *req)
{
	uint8_t bytes[16];
	uint32_t len = vhx_request_out_read(req, 0, bytes, sizeof(bytes)), i;
	char text[64] = "";

	for (i = 0; i < len; i++)
		snprintf(text + 2 * (size_t)i, sizeof(text) - 2 * (size_t)i, "%02x", bytes[i]);
	told_add(text);
}

static int script_submit(struct vhx_device *dev, struct vhx_request *req)
{
	if (vhx_queue_index(req->queue) != CONTROL) {
		told_add("packet");
		return script.plain->submit(dev, req);
	}
	told_command(req);
	if (script.silent) {
		assert_null(script.unanswered);
		script.unanswered = req;
		return 0;
	}
	vhx_request_complete(req, 0, &script.answer, 0, 1, 1);
	return 0;
}

static void unanswered_drop(void)
{
	struct vhx_request *req = script.unanswered;

	script.unanswered = NULL;
	if (req)
		vhx_request_drop(req);
}

static void script_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	if (vhx_queue_index(queue) == CONTROL)
		unanswered_drop();
	script.plain->reset(dev, queue);
}

static void script_close(struct vhx_device *dev)
{
	unanswered_drop();
	script.plain->close(dev);
}

static void script_take_over(struct lab *w)
{
	assert_null(script.unanswered);
	script = (struct script){ .plain = w->dev[0]->dev.ops };
	script.ops = *script.plain;
	script.ops.submit = script_submit;
	script.ops.reset = script_reset;
	script.ops.close = script_close;
	w->dev[0]->dev.ops = &script.ops;
	w->dev[0]->answer = LAB_STAGED;
}

static void assert_told(uint32_t at, const char *text)
{
	assert_true(at < script.cnt);
	assert_string_equal(script.told[at], text);
}

/* The driver's side of the control queue */

static struct commander {
	struct vhx_fqueue *q;
	struct iovec out[SIZE], in[SIZE];
	uint8_t bytes[SIZE][2048], answers[SIZE];
	uint32_t wanted, begun, ended;
} commander;

static int commander_next(void *ctx, struct vhx_frequest *req)
{
	uint32_t id = commander.begun % SIZE;

	if (commander.begun == commander.wanted)
		return 0;
	commander.begun++;
	*req = (struct vhx_frequest){
		.id = (uint16_t)id,
		.out = &commander.out[id],
		.in = &commander.in[id],
		.out_cnt = 1,
		.in_cnt = 1,
		.out_len = (uint32_t)commander.out[id].iov_len,
		.in_len = 1,
	};
	return 1;
}

static int commander_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	fail_msg("a command is not for another backend");
	return -EINVAL;
}

static void commander_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	commander.ended++;
}

static void commander_flush(void *ctx)
{
}

static bool commander_arm(void *ctx)
{
	return commander.begun != commander.wanted;
}

static void commander_broken(void *ctx, int reason)
{
	fail_msg("the control queue is broken: %d", reason);
}

static const struct vhx_fsource_ops commander_ops = {
	.next = commander_next,
	.again = commander_again,
	.complete = commander_complete,
	.flush = commander_flush,
	.arm = commander_arm,
	.disarm = commander_flush,
	.broken = commander_broken,
};

static void command_queue(const void *bytes, uint32_t len)
{
	uint32_t id = commander.wanted++ % SIZE;

	assert_true(commander.wanted - commander.ended <= SIZE &&
		    len <= sizeof(commander.bytes[0]));
	memcpy(commander.bytes[id], bytes, len);
	commander.answers[id] = 0xee;
	commander.out[id] = (struct iovec){ commander.bytes[id], len };
	commander.in[id] = (struct iovec){ &commander.answers[id], 1 };
	vhx_fqueue_kick(commander.q);
}

#define COMMAND(...)                                      \
	do {                                              \
		const uint8_t bytes_[] = { __VA_ARGS__ }; \
		command_queue(bytes_, sizeof(bytes_));    \
	} while (0)

static uint8_t last_answer(void)
{
	assert_int_equal(commander.ended, commander.wanted);
	return commander.answers[(commander.wanted - 1) % SIZE];
}

static void start(struct lab *w)
{
	commander = (struct commander){ 0 };
	lab_start(w, RX);
	lab_start(w, TX);
	assert_int_equal(vhx_fqueue_start(w->fdev[0].fdev, CONTROL, SIZE, &commander_ops, NULL,
					  &commander.q),
			 0);
	lab_settle(w);
}

static void open_net(struct lab *w)
{
	struct lab_config cfg = lab_default;

	if (!lab_has(VHX_PORT_LIVENESS))
		skip();
	cfg.device_id = LAB_NET;
	cfg.queues = 3;
	cfg.queue_size = SIZE;
	cfg.features = NET_F_CTRL_VQ;
	lab_open(w, &cfg);
	script_take_over(w);
	start(w);
}

/* Another backend, which gives commands this answer, or none. */
static void come_back_with(struct lab *w, uint8_t answer, bool silent)
{
	lab_open_backend(w);
	script_take_over(w);
	script.answer = answer;
	script.silent = silent;
	lab_wait(w, LAB_S);
	lab_wait(w, LAB_S);
}

static void come_back(struct lab *w)
{
	come_back_with(w, 0, false);
}

static void die(struct lab *w)
{
	lab_close_backend(w);
	lab_settle(w);
}

static uint64_t replays(struct lab *w)
{
	return vhx_fdev_stats(w->fdev[0].fdev)->replays;
}

/* The last of what sets the same, in the order in which they were done; and no packet comes before. */
static void test_new_backend_is_told_what_commands_have_set(void **state)
{
	struct lab w;

	open_net(&w);
	COMMAND(0, 0, 1); /* promiscuous */
	COMMAND(0, 1, 1);
	COMMAND(0, 0, 0); /* and not any more */
	COMMAND(1, 1, 2, 3, 4, 5, 6, 7);
	lab_settle(&w);
	COMMAND(3, 0); /* acknowledges an announcement */
	COMMAND(2, 0, 7, 0); /* VLANs 7 and 8; 7 not any more */
	COMMAND(2, 0, 8, 0);
	COMMAND(2, 1, 7, 0);
	lab_settle(&w);
	assert_int_equal(script.cnt, 8);
	assert_int_equal(last_answer(), 0);
	die(&w);
	lab_source_plan(&w.src[TX], 2, LAB_WRITE, sizeof(struct lab_head), 0);
	come_back(&w);
	assert_told(0, "000101");
	assert_told(1, "000000");
	assert_told(2, "0101020304050607");
	assert_told(3, "02000800");
	assert_told(4, "packet");
	assert_int_equal(script.cnt, 6);
	assert_int_equal(replays(&w), 4);
	/* What it was told is known to the third as well, beside what came since. */
	COMMAND(4, 0, 2, 0);
	lab_settle(&w);
	die(&w);
	come_back(&w);
	assert_int_equal(script.cnt, 5);
	assert_told(4, "04000200");
	lab_close(&w);
}

/* One that failed has set nothing, and what an earlier one has set holds. */
static void test_failed_command_is_not_told(void **state)
{
	struct lab w;

	open_net(&w);
	COMMAND(0, 0, 1);
	lab_settle(&w);
	script.answer = 1;
	COMMAND(0, 0, 0);
	COMMAND(0, 1, 0);
	lab_settle(&w);
	/* Under way when the backend dies: its driver hears that it failed. */
	script.answer = 0;
	script.silent = true;
	COMMAND(0, 2, 1);
	lab_settle(&w);
	die(&w);
	assert_int_equal(last_answer(), 1);
	come_back(&w);
	assert_int_equal(script.cnt, 1);
	assert_told(0, "000001");
	lab_close(&w);
}

/* More than is remembered takes what it replaces along, and does no harm. */
static void test_long_command_is_not_told_nor_what_it_replaces(void **state)
{
	uint8_t table[2000] = { 1, 0 };
	struct lab w;

	open_net(&w);
	COMMAND(1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	COMMAND(0, 0, 0);
	lab_settle(&w);
	command_queue(table, sizeof(table));
	lab_settle(&w);
	assert_int_equal(last_answer(), 0);
	die(&w);
	come_back(&w);
	assert_int_equal(script.cnt, 1);
	assert_told(0, "000000");
	lab_close(&w);
}

/* The next driver of the device has set nothing. */
static void test_reset_forgets_what_was_set(void **state)
{
	struct lab w;

	open_net(&w);
	COMMAND(0, 0, 0);
	lab_settle(&w);
	assert_int_equal(vhx_fdev_reset(w.fdev[0].fdev), -EINPROGRESS);
	lab_settle(&w);
	start(&w);
	die(&w);
	come_back(&w);
	assert_int_equal(script.cnt, 0);
	lab_close(&w);
}

/* Commands that a driver makes meanwhile wait, and a backend that refuses does not hold them up. */
static void test_backend_that_refuses_goes_on(void **state)
{
	struct lab w;

	open_net(&w);
	COMMAND(0, 0, 0);
	COMMAND(0, 1, 1);
	lab_settle(&w);
	die(&w);
	COMMAND(0, 2, 1);
	come_back_with(&w, 1, false);
	assert_int_equal(script.cnt, 3);
	assert_told(0, "000000");
	assert_told(1, "000101");
	assert_told(2, "000201");
	assert_int_equal(last_answer(), 1);
	lab_close(&w);
}

/* Nobody has to die of it for ever; and one that says nothing is given up. */
static void test_backend_that_dies_of_what_was_set(void **state)
{
	struct lab w;
	uint32_t i;

	open_net(&w);
	COMMAND(0, 0, 0);
	lab_settle(&w);
	die(&w);
	for (i = 0; i < VHX_FLIGHT_DEATHS_MAX; i++) {
		come_back_with(&w, 0, true);
		assert_int_equal(script.cnt, 1);
		die(&w);
	}
	lab_source_plan(&w.src[TX], 1, LAB_WRITE, sizeof(struct lab_head), 0);
	come_back(&w);
	assert_int_equal(script.cnt, 1);
	assert_told(0, "packet");
	lab_close(&w);
}

static void test_backend_that_does_not_answer_is_given_up(void **state)
{
	uint32_t connects;
	struct lab w;

	open_net(&w);
	COMMAND(0, 0, 0);
	lab_settle(&w);
	die(&w);
	come_back_with(&w, 0, true);
	assert_int_equal(script.cnt, 1);
	connects = w.connects;
	lab_wait(&w, 6 * LAB_S);
	script.silent = false;
	lab_wait(&w, LAB_S);
	lab_wait(&w, LAB_S);
	assert_true(w.connects > connects);
	assert_int_equal(script.cnt, 2);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_backend_is_told_what_commands_have_set),
		cmocka_unit_test(test_failed_command_is_not_told),
		cmocka_unit_test(test_long_command_is_not_told_nor_what_it_replaces),
		cmocka_unit_test(test_reset_forgets_what_was_set),
		cmocka_unit_test(test_backend_that_refuses_goes_on),
		cmocka_unit_test(test_backend_that_dies_of_what_was_set),
		cmocka_unit_test(test_backend_that_does_not_answer_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
