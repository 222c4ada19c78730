// SPDX-License-Identifier: BSD-3-Clause
/* The entropy device: every answer is the generator's, in order, and never more than the quota. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "device/rng.h"

/* No test waits so long: what is not answered by then was held. */
#define AGES_MS (24u * 60 * 60 * 1000)

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queue;

/* The generator: real, but for so many calls that find it empty; counts what it gave. */
static unsigned int dry;
static int generator_error;
static uint64_t given;
static unsigned int short_len;

ssize_t __real_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	ssize_t n;

	assert_true(flags & GRND_NONBLOCK);
	if (generator_error || dry) {
		dry -= dry > 0;
		errno = generator_error ?: EAGAIN;
		return -1;
	}
	n = __real_getrandom(buf, short_len && len > short_len ? short_len : len, flags);
	if (n > 0)
		given += (uint64_t)n;
	return n;
}

static void open_device(uint32_t max_bytes, uint32_t period_ms)
{
	struct vhx_rng_config cfg = { .id = "r0", .max_bytes = max_bytes, .period_ms = period_ms };
	struct vhx_error err;

	fake_init();
	queue = (struct vhx_queue){ 0 };
	dry = short_len = 0;
	assert_int_equal(vhx_loop_new(0, &loop), 0);
	assert_int_equal(vhx_rng_new(loop, &cfg, NULL, &dev, &err), 0);
	given = 0;
}

static void close_device(void)
{
	dev->ops->close(dev);
	assert_int_equal(fake.in_flight, 0);
	vhx_loop_free(loop);
}

static struct fake_request *ask(uint32_t in_len)
{
	struct fake_request *r = fake_request_new(dev, &queue, "", 0, in_len);

	fake_submit(r);
	return r;
}

/* Not the poison that the fake leaves: sixteen random bytes of one value are none. */
static bool random_looking(const struct fake_request *r, uint32_t len)
{
	uint32_t i;

	for (i = 1; i < len; i++) {
		if (r->answer[i] != r->answer[0])
			return true;
	}
	return false;
}

static void test_request_is_filled(void **state)
{
	static const uint32_t lens[] = { 1, 16, 64, 4095, 4096 };
	struct fake_request *r;
	size_t i;

	open_device(0, 0);
	for (i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		r = ask(lens[i]);
		assert_true(r->completed);
		assert_int_equal(r->used_len, lens[i]);
		assert_true(lens[i] < 16 || random_looking(r, lens[i]));
		fake_request_free(r);
	}
	close_device();
}

static void test_two_answers_differ(void **state)
{
	struct fake_request *a, *b;

	open_device(0, 0);
	a = ask(64);
	b = ask(64);
	assert_memory_not_equal(a->answer, b->answer, 64);
	fake_request_free(a);
	fake_request_free(b);
	close_device();
}

/* The device may write less than there is room for, and says how much. */
static void test_large_request_gets_a_prefix(void **state)
{
	struct fake_request *r;

	open_device(0, 0);
	r = ask(1u << 20);
	assert_int_equal(r->used_len, VHX_RNG_ANSWER_MAX);
	assert_int_equal(given, VHX_RNG_ANSWER_MAX);
	fake_request_free(r);
	fake.reserve_max = 100;
	r = ask(1000);
	assert_int_equal(r->used_len, 100);
	fake_request_free(r);
	fake.reserve_max = UINT32_MAX;
	short_len = 7;
	r = ask(1000);
	assert_int_equal(r->used_len, 7);
	fake_request_free(r);
	close_device();
}

/* 5.4.6.1 forbids both to drivers; an answer they get all the same. */
static void test_request_of_out_bytes_or_without_room(void **state)
{
	struct fake_request *r;

	open_device(0, 0);
	r = ask(0);
	assert_true(r->completed);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
	r = fake_request_new(dev, &queue, "seed", 4, 32);
	assert_true(r->req.too_big);
	fake_submit(r);
	assert_int_equal(r->used_len, 32);
	fake_request_free(r);
	close_device();
}

static void test_quota_cuts_the_last_answer_and_holds_the_rest(void **state)
{
	struct fake_request *r[4];
	unsigned int i;

	open_device(100, AGES_MS);
	for (i = 0; i < 4; i++)
		r[i] = ask(64);
	assert_int_equal(r[0]->used_len, 64);
	assert_int_equal(r[1]->used_len, 36);
	assert_false(r[2]->completed || r[3]->completed);
	assert_int_equal(given, 100);
	assert_int_equal(fake.in_flight, 2);
	dev->ops->reset(dev, &queue);
	assert_int_equal(queue.quiesced, 1);
	assert_true(r[2]->dropped && r[3]->dropped);
	/* A driver that begins again has no new quota. */
	for (i = 0; i < 4; i++)
		fake_request_free(r[i]);
	r[0] = ask(1);
	assert_false(r[0]->completed);
	close_device();
	fake_request_free(r[0]);
}

static void test_each_period_has_its_quota(void **state)
{
	struct fake_request *r[10];
	unsigned int i;

	open_device(64, 1);
	for (i = 0; i < 10; i++)
		r[i] = ask(64);
	assert_true(given <= 64);
	for (i = 0; i < 10; i++) {
		fake_wait(r[i]);
		assert_int_equal(r[i]->used_len, 64);
		assert_int_equal(r[i]->order, i + 1);
		assert_true(given <= 64 * (i + 1));
		fake_request_free(r[i]);
	}
	close_device();
}

static void test_generator_that_is_not_ready_is_asked_again(void **state)
{
	struct fake_request *a, *b;

	open_device(0, 0);
	dry = 2;
	a = ask(16);
	b = ask(16);
	assert_false(a->completed || b->completed);
	fake_wait(b);
	assert_true(a->completed && a->order < b->order);
	assert_int_equal(a->used_len, 16);
	fake_request_free(a);
	fake_request_free(b);
	close_device();
}

static void test_message_without_room_is_waited_for(void **state)
{
	struct fake_request *a, *b;

	open_device(64, 1);
	fake.later = 3;
	a = ask(64);
	assert_int_equal(a->used_len, 64);
	b = ask(64);
	assert_false(b->completed);
	/* Now it is the timer that finds no room, and ops->room that finds some. */
	fake.later = 1;
	while (!queue.room_wanted)
		assert_int_equal(vhx_loop_once(loop, -1), 0);
	assert_false(b->completed);
	fake_room(dev, &queue);
	assert_true(b->completed);
	fake_request_free(a);
	fake_request_free(b);
	close_device();
}

static void test_same_name_is_the_same_device(void **state)
{
	struct vhx_rng_config cfg = { .id = "r0" };
	struct vhx_device *same, *other;
	struct vhx_error err;

	open_device(0, 0);
	assert_int_equal(vhx_rng_new(loop, &cfg, NULL, &same, &err), 0);
	cfg.id = "r1";
	assert_int_equal(vhx_rng_new(loop, &cfg, NULL, &other, &err), 0);
	assert_memory_equal(dev->uuid, same->uuid, sizeof(dev->uuid));
	assert_memory_equal(dev->cache_id, same->cache_id, sizeof(dev->cache_id));
	assert_memory_not_equal(dev->uuid, other->uuid, sizeof(dev->uuid));
	same->ops->close(same);
	other->ops->close(other);
	close_device();
}

static void test_kernel_without_generator_is_one_line(void **state)
{
	struct vhx_rng_config cfg = { .id = "r0" };
	struct vhx_device *d;
	struct vhx_error err;

	generator_error = ENOSYS;
	assert_int_equal(vhx_rng_new(NULL, &cfg, NULL, &d, &err), -ENOSYS);
	generator_error = 0;
	assert_string_equal(err.text, "r0: getrandom: Function not implemented");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_is_filled),
		cmocka_unit_test(test_two_answers_differ),
		cmocka_unit_test(test_large_request_gets_a_prefix),
		cmocka_unit_test(test_request_of_out_bytes_or_without_room),
		cmocka_unit_test(test_quota_cuts_the_last_answer_and_holds_the_rest),
		cmocka_unit_test(test_each_period_has_its_quota),
		cmocka_unit_test(test_generator_that_is_not_ready_is_asked_again),
		cmocka_unit_test(test_message_without_room_is_waited_for),
		cmocka_unit_test(test_same_name_is_the_same_device),
		cmocka_unit_test(test_kernel_without_generator_is_one_line),
	};

	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
