// SPDX-License-Identifier: BSD-3-Clause
/* The dirty log: exactly the bits of the pages that were written, and nothing outside the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_user/dirty.h"
#include "vu_client.h"

#define LOG_LEN 8u /* covers 64 pages */

static void marked(uint64_t gpa, uint64_t len, uint64_t expected)
{
	struct vhx_vu_dirty d = { 0 };
	uint64_t bits[3];
	int fd = memfd_of(sizeof(bits));

	/* A log in the middle of the file: the words around it have to stay clean. */
	assert_int_equal(vhx_vu_dirty_set(&d, fd, 8, LOG_LEN), 0);
	vhx_vu_dirty_mark(&d, gpa, len);
	assert_int_equal(pread(fd, bits, sizeof(bits), 0), sizeof(bits));
	assert_int_equal(bits[0], 0);
	assert_int_equal(bits[1], expected);
	assert_int_equal(bits[2], 0);
	vhx_vu_dirty_fini(&d);
	close(fd);
}

static void test_one_byte_marks_one_page(void **state)
{
	marked(0, 1, 1);
	marked(0xfff, 1, 1);
	marked(0x1000, 1, 2);
	marked(0x3ffff, 1, 1ull << 63);
}

static void test_span_marks_each_page(void **state)
{
	marked(0xfff, 2, 3);
	marked(0x1000, 0x1000, 2);
	marked(0x1000, 0x1001, 6);
	marked(0x7000, 0x2000, 3ull << 7);
	marked(0, 0x40000, UINT64_MAX);
	marked(0x5800, 0x20000, 0x1ffffffffull << 5);
}

static void test_nothing_written_marks_nothing(void **state)
{
	marked(0x1000, 0, 0);
}

static void test_outside_of_log_is_ignored(void **state)
{
	marked(0x40000, 0x1000, 0);
	marked(0x3f000, 0x10000, 1ull << 63);
	marked(UINT64_MAX, 1, 0);
	marked(UINT64_MAX - 5, 100, 0);
	marked(0x3f000, UINT64_MAX, 1ull << 63);
}

static void test_bits_of_others_stay(void **state)
{
	struct vhx_vu_dirty d = { 0 };
	uint64_t bits = 0x8000000000000001;
	int fd = memfd_of(8);

	assert_int_equal(pwrite(fd, &bits, 8, 0), 8);
	assert_int_equal(vhx_vu_dirty_set(&d, fd, 0, 8), 0);
	vhx_vu_dirty_mark(&d, 0x4000, 1);
	assert_int_equal(pread(fd, &bits, 8, 0), 8);
	assert_int_equal(bits, 0x8000000000000011);
	vhx_vu_dirty_fini(&d);
	close(fd);
}

static void test_log_longer_than_its_file(void **state)
{
	struct vhx_vu_dirty d = { 0 };
	int fd = memfd_of(8);

	assert_int_equal(vhx_vu_dirty_set(&d, fd, 0, 9), -ERANGE);
	assert_int_equal(vhx_vu_dirty_set(&d, fd, 8, 1), -ERANGE);
	assert_int_equal(vhx_vu_dirty_set(&d, fd, 0, 0), -EINVAL);
	vhx_vu_dirty_mark(&d, 0, 1); /* no log: nothing to write to */
	assert_null(d.map.data);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_byte_marks_one_page),
		cmocka_unit_test(test_span_marks_each_page),
		cmocka_unit_test(test_nothing_written_marks_nothing),
		cmocka_unit_test(test_outside_of_log_is_ignored),
		cmocka_unit_test(test_bits_of_others_stay),
		cmocka_unit_test(test_log_longer_than_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
