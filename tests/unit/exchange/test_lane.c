// SPDX-License-Identifier: BSD-3-Clause
/* What ports can't easily bring a lane to, and what a section is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "exchange/lane.h"
#include "util/barrier.h"

#define RING (4u << 10)

struct ends {
	struct vhx_section own[2], theirs[2];
	struct vhx_lane lane[2];
};

static void ends_open(struct ends *e, uint32_t first_len, uint32_t second_len)
{
	uint32_t lens[2] = { first_len, second_len };
	int fds[2];

	memset(e, 0, sizeof(*e));
	for (int i = 0; i < 2; i++)
		assert_int_equal(vhx_section_create(lens[i], &e->own[i], &fds[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(vhx_section_map(fds[!i], lens[!i], &e->theirs[i]), 0);
	for (int i = 0; i < 2; i++) {
		vhx_lane_init(&e->lane[i], &e->own[i], &e->theirs[i]);
		close(fds[i]);
	}
}

static void ends_close(struct ends *e)
{
	for (int i = 0; i < 2; i++) {
		vhx_section_unmap(&e->own[i]);
		vhx_section_unmap(&e->theirs[i]);
		vhx_section_unmap(&e->own[i]);
	}
}

/* As if @idx bytes had passed from the first to the second end. */
static void ends_advance(struct ends *e, uint32_t idx)
{
	struct vhx_lane *tx = &e->lane[0], *rx = &e->lane[1];

	tx->tx_idx = tx->tx_done_idx = idx;
	rx->rx_idx = rx->rx_published_idx = rx->rx_avail_idx = idx;
	vhx_store_relaxed(&tx->own->tx_idx.v, idx);
	vhx_store_relaxed(&rx->own->rx_idx.v, idx);
}

static void test_indices_wrap_at_four_gigabytes(void **state)
{
	struct ends e;
	uint8_t out[RING], in[RING];

	ends_open(&e, RING, RING);
	for (uint32_t start = 0; start < RING; start += VHX_SLOT) {
		ends_advance(&e, 0u - start);
		for (uint32_t i = 0; i < 20; i++) {
			struct iovec iov = { .iov_base = out, .iov_len = 500 + i };
			struct vhx_msg msg;
			uint32_t len;

			memset(out, (int)(start / 16 + i), sizeof(out));
			assert_int_equal(vhx_lane_send(&e.lane[0], i, &iov, 1, &len), 0);
			assert_int_equal(vhx_lane_peek(&e.lane[1], &msg), 1);
			assert_int_equal(msg.len, 500 + i);
			vhx_lane_read(&e.lane[1], 0, in, msg.len);
			assert_memory_equal(in, out, msg.len);
			vhx_lane_consume(&e.lane[1]);
		}
	}
	ends_close(&e);
}

static void test_full_ring_across_the_index_wrap(void **state)
{
	struct ends e;
	struct vhx_msg msg;
	uint32_t len, n = 0;

	ends_open(&e, RING, RING);
	ends_advance(&e, 0u - RING / 2);
	while (vhx_lane_send(&e.lane[0], n, NULL, 0, &len) == 0)
		n++;
	assert_int_equal(n, RING / VHX_SLOT - 1);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(vhx_lane_peek(&e.lane[1], &msg), 1);
		assert_int_equal(msg.type, i);
		vhx_lane_consume(&e.lane[1]);
	}
	assert_int_equal(vhx_lane_peek(&e.lane[1], &msg), 0);
	ends_close(&e);
}

static void test_rings_of_different_length(void **state)
{
	struct ends e;

	ends_open(&e, RING, 8 * RING);
	assert_int_equal(e.lane[0].max_message, e.lane[1].max_message);
	assert_int_equal(e.lane[0].max_message, vhx_lane_max_message(RING));
	ends_close(&e);
}

static void test_wake_word_woken_once_per_sleep(void **state)
{
	struct ends e;
	struct vhx_msg msg;
	uint32_t len;

	ends_open(&e, RING, RING);
	for (int sleep = 0; sleep < 5; sleep++) {
		assert_int_equal(vhx_lane_prepare_wait(&e.lane[1]), 0);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(vhx_lane_send(&e.lane[0], 1, NULL, 0, &len), 0);
			assert_int_equal(vhx_lane_wake_due(&e.lane[0]), i == 0);
		}
		vhx_lane_awake(&e.lane[1]);
		while (vhx_lane_peek(&e.lane[1], &msg) == 1)
			vhx_lane_consume(&e.lane[1]);
	}
	/* Two sleeps without a wake between them are two sleeps. */
	assert_int_equal(vhx_lane_prepare_wait(&e.lane[1]), 0);
	assert_int_equal(vhx_lane_send(&e.lane[0], 1, NULL, 0, &len), 0);
	assert_true(vhx_lane_wake_due(&e.lane[0]));
	assert_int_equal(vhx_lane_peek(&e.lane[1], &msg), 1);
	vhx_lane_consume(&e.lane[1]);
	assert_int_equal(vhx_lane_prepare_wait(&e.lane[1]), 0);
	assert_int_equal(vhx_lane_send(&e.lane[0], 1, NULL, 0, &len), 0);
	assert_true(vhx_lane_wake_due(&e.lane[0]));
	ends_close(&e);
}

static void test_max_message(void **state)
{
	for (uint32_t len = VHX_SECTION_RING_MIN; len <= VHX_SECTION_RING_MAX; len *= 2) {
		uint32_t max = vhx_lane_max_message(len);

		assert_true(max > 0 && max <= VHX_LANE_MESSAGE_MAX);
		assert_true(4 * vhx_footprint(max) <= len - VHX_SLOT);
	}
	assert_int_equal(vhx_lane_max_message(VHX_SECTION_RING_MAX), VHX_LANE_MESSAGE_MAX);
}

static void test_section_wrong_lengths(void **state)
{
	static const uint32_t wrong[] = { 0,	    1,	      RING - 1, RING + 1,
					  3 * RING, RING / 2, 1u << 31, UINT32_MAX };
	struct vhx_section s = { 0 };
	int fd;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		assert_int_equal(vhx_section_create(wrong[i], &s, &fd), -EINVAL);
		assert_int_equal(vhx_section_map(0, wrong[i], &s), -EPROTO);
	}
	vhx_section_unmap(&s);
}

static void test_section_data_is_mapped_twice(void **state)
{
	struct vhx_section s, r;
	int fd;

	assert_int_equal(vhx_section_create(RING, &s, &fd), 0);
	assert_int_equal(vhx_section_map(fd, RING, &r), 0);
	s.data[RING + 5] = 42;
	s.data[RING - 1] = 43;
	assert_int_equal(s.data[5], 42);
	assert_int_equal(r.data[5], 42);
	assert_int_equal(r.data[RING + 5], 42);
	assert_int_equal(r.data[2 * RING - 1], 43);
	vhx_section_unmap(&s);
	vhx_section_unmap(&r);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_indices_wrap_at_four_gigabytes),
	cmocka_unit_test(test_full_ring_across_the_index_wrap),
	cmocka_unit_test(test_rings_of_different_length),
	cmocka_unit_test(test_wake_word_woken_once_per_sleep),
	cmocka_unit_test(test_max_message),
	cmocka_unit_test(test_section_wrong_lengths),
	cmocka_unit_test(test_section_data_is_mapped_twice),
};

int main(void)
{
	return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
