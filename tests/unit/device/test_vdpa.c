// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bridge to a vDPA device, between a driver that is the fake backend's and a device that hangs. What all tests end
 * with: the loop's thread made no call of a device that was shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"
#include "fake_vdpa.h"
#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vhx/endian.h>

#include "device/vdpa.h"

#define BLK 2
#define TURNS 4000
#define WRITEBACK 32u
#define F_FLUSH (1ull << 9)

/* A device of the loop, its driver's queues, and what is behind it. */
struct end {
	struct vhx_device *dev;
	struct vhx_queue queues[FAKE_VDPA_RINGS];
	struct fake_vdpa peer;
};

static struct vhx_loop *loop;
static struct end a, b;
static struct vhx_error error;
static int fds_before;
static char lines[4096];

static void line_take(void *ctx, enum vhx_log_level level, const char *text)
{
	size_t len = strlen(lines);

	snprintf(lines + len, sizeof(lines) - len, "%s\n", text);
}

static const struct vhx_log line_log = { .emit = line_take, .level = VHX_LOG_WARNING };

static int end_try(struct end *e, const struct vhx_vdpa_config *config)
{
	struct vhx_vdpa_config cfg = *config;
	uint16_t i;

	for (i = 0; i < FAKE_VDPA_RINGS; i++)
		e->queues[i] = (struct vhx_queue){ .index = i };
	cfg.id = e == &a ? "a" : "b";
	cfg.path = FAKE_VDPA_PATH;
	cfg.queue_size = 256;
	fake_vdpa_next(&e->peer);
	return vhx_vdpa_new(loop, &cfg, &line_log, &e->dev, &error);
}

static void end_open(struct end *e, bool split)
{
	const struct vhx_vdpa_config cfg = { .split = split };

	assert_int_equal(end_try(e, &cfg), 0);
	e->peer.calls_by_loop = 0;
	assert_int_equal(e->dev->ops->set_features(e->dev, e->dev->features), 0);
}

static void turn(void)
{
	unsigned int i;

	assert_int_equal(vhx_loop_once(loop, 1), 0);
	for (i = 0; i < FAKE_VDPA_RINGS; i++) {
		if (a.dev)
			fake_room(a.dev, &a.queues[i]);
		if (b.dev)
			fake_room(b.dev, &b.queues[i]);
	}
}

#define turn_until(cond)                               \
	do {                                           \
		unsigned int turns_ = 0;               \
		while (!(cond)) {                      \
			turn();                        \
			assert_true(++turns_ < TURNS); \
		}                                      \
	} while (0)

/* Some turns in which nothing is expected. */
static void turns(void)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		turn();
}

static void end_close(struct end *e)
{
	e->dev->ops->close(e->dev);
	e->dev = NULL;
	assert_int_equal(fake_vdpa_get(&e->peer, calls_by_loop), 0);
}

static void closed_at_last(struct end *e)
{
	turn_until(fake_vdpa_get(&e->peer, fd) < 0);
}

static int test_setup(void **state)
{
	fake_init();
	lines[0] = '\0';
	fake_vdpa_init(&b.peer);
	fake_vdpa_init(&a.peer);
	a.dev = NULL;
	b.dev = NULL;
	fds_before = fds_open();
	return vhx_loop_new(0, &loop);
}

/* Closes what is open. A worker that was left ends soon after its call. */
static int test_teardown(void **state)
{
	unsigned int tries = 0;

	if (a.dev)
		end_close(&a);
	if (b.dev)
		end_close(&b);
	assert_int_equal(fake.in_flight, 0);
	vhx_loop_free(loop);
	while (fds_open() != fds_before) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		assert_true(++tries < TURNS);
	}
	return 0;
}

/* A chain that the device has taken. */
struct taken {
	struct vhx_chain chain;
	struct iovec out[16], in[16];
};

static bool take(struct end *e, uint16_t index, struct taken *t)
{
	t->chain = (struct vhx_chain){ .out = t->out, .in = t->in, .out_max = 16, .in_max = 16 };
	return fake_vdpa_pop(&e->peer, index, &t->chain);
}

#define take_one(e, index, t) turn_until(take(e, index, t))

static struct fake_request *blk_send(struct end *e, uint32_t type, uint32_t out_len,
				     uint32_t in_len, uint8_t fill)
{
	uint8_t *out = calloc(1, 16 + (size_t)out_len);
	vhx_le32 t = vhx_le32_of(type);
	struct fake_request *r;

	assert_non_null(out);
	memcpy(out, &t, sizeof(t));
	memset(out + 16, fill, out_len);
	r = fake_request_new(e->dev, &e->queues[0], out, 16 + out_len, in_len + 1);
	free(out);
	fake_submit(r);
	return r;
}

static struct fake_request *blk_read(struct end *e, uint32_t len)
{
	return blk_send(e, 0, 0, len, 0);
}

static void finish(struct end *e, uint16_t index, struct taken *t, uint8_t status)
{
	struct iovec *last = &t->in[t->chain.in_cnt - 1];

	((uint8_t *)last->iov_base)[last->iov_len - 1] = status;
	fake_vdpa_push(&e->peer, index, t->chain.id, t->chain.in_len);
}

static void ended_with(struct fake_request *r, uint8_t status)
{
	assert_true(r->completed);
	assert_true(r->sent[r->req.in_len - 1]);
	assert_int_equal(r->answer[r->req.in_len - 1], status);
	fake_request_free(r);
}

static bool over(const struct fake_request *r)
{
	return r->completed || r->dropped;
}

/* Serves whatever comes until @r has ended. */
static void serve_until(struct end *e, struct fake_request *r)
{
	struct taken t;

	turn_until((take(e, 0, &t) ? finish(e, 0, &t, 0) : (void)0, over(r)));
}

static void read_is_served(struct end *e)
{
	struct fake_request *r = blk_read(e, 512);

	serve_until(e, r);
	ended_with(r, 0);
}

/* Its config */

static void test_config_write_reaches_the_device(void **state)
{
	const uint8_t one = 1;

	end_open(&a, false);
	assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &one, 1), 0);
	assert_int_equal(a.dev->config[WRITEBACK], 1);
	turn_until(fake_vdpa_get(&a.peer, config[WRITEBACK]) == 1);
	turns();
	assert_int_equal(a.dev->config[WRITEBACK], 1);
	assert_int_equal(fake.config_changes, 1);
	assert_string_equal(lines, "");
}

/* The driver reads what the device has, and is told of it. */
static void test_config_write_that_the_device_does_not_take(void **state)
{
	const uint8_t one = 1;

	end_open(&a, false);
	turns();
	fake.config_changes = 0;
	fake_vdpa_set(&a.peer, write_ignored, true);
	assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &one, 1), 0);
	turn_until(fake.config_changes == 1);
	assert_int_equal(a.dev->config[WRITEBACK], 0);
	a.peer.fails = VHOST_VDPA_SET_CONFIG;
	fake_vdpa_set(&a.peer, fails_errno, EIO);
	assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &one, 1), 0);
	turn_until(fake.config_changes == 2);
	assert_int_equal(a.dev->config[WRITEBACK], 0);
	assert_string_equal(lines,
			    "a: /dev/null refused a write of its config: Input/output error\n");
}

/* A device that hangs */

#define hangs(e) turn_until(fake_vdpa_get(&(e)->peer, hanging) == 1)
#define still_hangs(e) assert_int_equal(fake_vdpa_get(&(e)->peer, hanging), 1)

/* The status was set by the thread of the loop, which waited for it. */
static void test_start_that_hangs_holds_up_no_other_device(void **state)
{
	struct fake_request *r;
	int i;

	end_open(&a, false);
	end_open(&b, false);
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	for (i = 0; i < 10; i++)
		read_is_served(&b);
	still_hangs(&a);
	assert_false(over(r));
	fake_vdpa_set(&a.peer, hangs, false);
	serve_until(&a, r);
	ended_with(r, 0);
}

static void test_reset_that_hangs_holds_up_no_other_device(void **state)
{
	struct fake_request *r, *next;
	struct taken t;
	int i;

	end_open(&a, false);
	end_open(&b, false);
	r = blk_read(&a, 512);
	take_one(&a, 0, &t);
	fake_vdpa_set(&a.peer, hangs, true);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	hangs(&a);
	for (i = 0; i < 10; i++)
		read_is_served(&b);
	still_hangs(&a);
	fake_vdpa_skip(6);
	turn();
	assert_string_equal(lines, "a: /dev/null does not answer: it is to stop\n");
	/* It may still write what was read into the memory. */
	assert_int_equal(a.queues[0].quiesced, 0);
	assert_false(over(r));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	a.dev->ops->restarted(a.dev);
	next = blk_read(&a, 512);
	serve_until(&a, next);
	ended_with(next, 0);
}

/* The queue's end comes while the device is being reset for another reason. */
static void test_queue_is_reset_while_the_reset_hangs(void **state)
{
	struct fake_request *given, *waiting;
	struct taken t;

	end_open(&a, true);
	given = blk_read(&a, 512);
	take_one(&a, 0, &t);
	turns();
	fake_vdpa_set(&a.peer, hangs, true);
	fake_vdpa_forge(&a.peer, 0, 65535, 0, 1);
	hangs(&a);
	waiting = blk_read(&a, 512);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	turns();
	assert_int_equal(a.queues[0].quiesced, 0);
	assert_true(waiting->dropped && !over(given));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(given->dropped);
	fake_request_free(given);
	fake_request_free(waiting);
	a.dev->ops->restarted(a.dev);
	read_is_served(&a);
}

/* Until it is reset, the device goes on: what it has answered by then is not given to it again. */
static void test_answer_that_comes_while_the_reset_hangs(void **state)
{
	struct fake_request *r, *w;
	struct taken tr, tw;

	a.peer.queues = 2;
	a.peer.config[34] = 2;
	end_open(&a, false);
	r = blk_read(&a, 512);
	take_one(&a, 0, &tr);
	w = fake_request_new(a.dev, &a.queues[1], (uint8_t[17]){ 1 }, 17, 1);
	fake_submit(w);
	take_one(&a, 1, &tw);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	fake_vdpa_set(&a.peer, hangs, true);
	fake_vdpa_skip(6);
	hangs(&a);
	finish(&a, 1, &tw, 0);
	turns();
	assert_false(over(w));
	fake_vdpa_set(&a.peer, hangs, false);
	turn_until(a.queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	ended_with(w, 0);
}

/* The device has nothing of it: its driver need not wait, and neither need the next one. */
static void test_driver_leaves_while_the_start_hangs(void **state)
{
	struct fake_request *r;

	end_open(&a, false);
	turns();
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	assert_int_equal(a.queues[0].quiesced, 1);
	assert_true(r->dropped);
	fake_request_free(r);
	a.dev->ops->restarted(a.dev);
	assert_int_equal(a.dev->ops->set_features(a.dev, F_FLUSH), 0);
	r = blk_read(&a, 512);
	a.dev->ops->reset(a.dev, &a.queues[0]);
	assert_int_equal(a.queues[0].quiesced, 2);
	assert_true(r->dropped);
	fake_request_free(r);
	r = blk_read(&a, 512);
	still_hangs(&a);
	fake_vdpa_set(&a.peer, hangs, false);
	serve_until(&a, r);
	ended_with(r, 0);
	/* The start of the first one was undone, and this is the second one's. */
	assert_int_equal(a.peer.starts, 2);
	assert_int_equal(a.peer.resets, 2);
	assert_true((a.peer.driver_features & 0xffffff) == F_FLUSH);
}

static void test_config_is_written_while_the_start_hangs(void **state)
{
	uint8_t value, i, refused = 0;
	struct fake_request *r;

	end_open(&a, false);
	turns();
	fake.config_changes = 0;
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	/* Of the same bytes the last one counts. */
	for (value = 1; value < 100; value++)
		assert_int_equal(a.dev->ops->set_config(a.dev, WRITEBACK, &value, 1), 0);
	for (i = 36; i < 56; i++)
		refused += a.dev->ops->set_config(a.dev, i, &value, 1) == -EINVAL;
	assert_int_equal(refused, 20 - 7);
	assert_int_equal(a.dev->config[WRITEBACK], 99);
	still_hangs(&a);
	fake_vdpa_set(&a.peer, hangs, false);
	serve_until(&a, r);
	ended_with(r, 0);
	turns();
	assert_int_equal(a.peer.config[WRITEBACK], 99);
	assert_int_equal(a.peer.config[42], 100);
	assert_int_equal(a.peer.config[43], 0);
	assert_int_equal(fake.config_changes, 0);
}

/* What the call was told of is there until it is through: the start maps the memory behind the hang. */
static void test_device_is_closed_while_the_start_hangs(void **state)
{
	struct fake_request *r;
	uint64_t before;

	end_open(&a, false);
	end_open(&b, false);
	fake_vdpa_set(&a.peer, hangs, true);
	r = blk_read(&a, 512);
	hangs(&a);
	before = vhx_loop_clock();
	end_close(&a);
	assert_true(vhx_loop_clock() - before < 1000000000ull);
	still_hangs(&a);
	assert_true(r->dropped);
	fake_request_free(r);
	read_is_served(&b);
	assert_true(fake_vdpa_get(&a.peer, fd) >= 0);
	fake_vdpa_set(&a.peer, hangs, false);
	closed_at_last(&a);
	assert_int_equal(a.peer.maps, 1);
	assert_int_equal(a.peer.starts, 1);
	assert_int_equal(a.peer.calls_by_loop, 0);
}

/* Closing the file resets the device, too. */
static void test_device_that_hangs_is_closed(void **state)
{
	uint64_t before;

	end_open(&a, false);
	end_open(&b, false);
	read_is_served(&a);
	turns();
	fake_vdpa_set(&a.peer, hangs_on_close, true);
	before = vhx_loop_clock();
	end_close(&a);
	assert_true(vhx_loop_clock() - before < 1000000000ull);
	still_hangs(&a);
	read_is_served(&b);
	fake_vdpa_set(&a.peer, hangs_on_close, false);
	closed_at_last(&a);
}

/* And not some time later; but for when this thread ran and the other did not. */
static void test_device_that_is_well_is_closed_when_close_returns(void **state)
{
	unsigned int closed = 0, i;

	for (i = 0; i < 20; i++) {
		end_open(&a, false);
		/* As is one that nobody has driven. */
		if (i % 2)
			read_is_served(&a);
		end_close(&a);
		closed += fake_vdpa_get(&a.peer, fd) < 0;
		closed_at_last(&a);
	}
	assert_true(closed >= 10);
}

#define T(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_config_write_reaches_the_device),
		T(test_config_write_that_the_device_does_not_take),
		T(test_start_that_hangs_holds_up_no_other_device),
		T(test_reset_that_hangs_holds_up_no_other_device),
		T(test_queue_is_reset_while_the_reset_hangs),
		T(test_answer_that_comes_while_the_reset_hangs),
		T(test_driver_leaves_while_the_start_hangs),
		T(test_config_is_written_while_the_start_hangs),
		T(test_device_is_closed_while_the_start_hangs),
		T(test_device_that_hangs_is_closed),
		T(test_device_that_is_well_is_closed_when_close_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
