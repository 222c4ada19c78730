// SPDX-License-Identifier: BSD-3-Clause
#include "util/histogram.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_bucket_is_the_next_power_of_two(void **state)
{
	struct vhx_histogram h = { 0 };

	vhx_histogram_add(&h, 0);
	vhx_histogram_add(&h, 1);
	vhx_histogram_add(&h, 1023);
	vhx_histogram_add(&h, 1024);
	assert_int_equal(h.buckets[0], 1);
	assert_int_equal(h.buckets[1], 1);
	assert_int_equal(h.buckets[10], 1);
	assert_int_equal(h.buckets[11], 1);
	assert_int_equal(h.sum_ns, 2048);
	assert_int_equal(vhx_histogram_count(&h), 4);
}

static void test_longest_times_share_the_last_bucket(void **state)
{
	struct vhx_histogram h = { 0 };

	vhx_histogram_add(&h, 1ull << 39);
	vhx_histogram_add(&h, UINT64_MAX / 2);
	assert_int_equal(h.buckets[VHX_HISTOGRAM_BUCKETS - 1], 2);
	assert_int_equal(vhx_histogram_count(&h), 2);
}

static void test_quantiles_are_within_their_bucket(void **state)
{
	struct vhx_histogram h = { 0 };
	unsigned int i;

	assert_int_equal(vhx_histogram_quantile(&h, 500), 0);
	for (i = 0; i < 99; i++)
		vhx_histogram_add(&h, 3000);
	vhx_histogram_add(&h, 1000000);
	assert_in_range(vhx_histogram_quantile(&h, 500), 2048, 4096);
	assert_in_range(vhx_histogram_quantile(&h, 990), 2048, 4096);
	assert_in_range(vhx_histogram_quantile(&h, 999), 524288, 1048576);
	assert_in_range(vhx_histogram_quantile(&h, 1000), 524288, 1048576);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket_is_the_next_power_of_two),
		cmocka_unit_test(test_longest_times_share_the_last_bucket),
		cmocka_unit_test(test_quantiles_are_within_their_bucket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
