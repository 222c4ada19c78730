// SPDX-License-Identifier: BSD-3-Clause
/* The memory table, and what backs it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_user/memory.h"
#include "vu_client.h"

#define PAGE 0x1000u

struct table {
	struct vhx_vu_memory m;
	int fd;
};

static int table_setup(void **state)
{
	struct table *t = calloc(1, sizeof(*t));

	t->fd = memfd_of(64 * PAGE);
	*state = t;
	return 0;
}

static int table_teardown(void **state)
{
	struct table *t = *state;

	vhx_vu_memory_clear(&t->m);
	close(t->fd);
	free(t);
	return 0;
}

static int add(struct table *t, uint64_t gpa, uint64_t size, uint64_t off)
{
	return vhx_vu_memory_add(&t->m, gpa, gpa + GUEST_UVA, size, off, t->fd);
}

static void test_region_empty(void **state)
{
	assert_int_equal(add(*state, 0, 0, 0), -EINVAL);
}

static void test_region_address_wraps(void **state)
{
	struct table *t = *state;

	assert_int_equal(vhx_vu_memory_add(&t->m, UINT64_MAX - 1, 0, PAGE, 0, t->fd), -EINVAL);
	assert_int_equal(vhx_vu_memory_add(&t->m, 0, UINT64_MAX - 1, PAGE, 0, t->fd), -EINVAL);
	assert_int_equal(vhx_vu_memory_add(&t->m, 0, 0, PAGE, UINT64_MAX - 1, t->fd), -ERANGE);
	assert_int_equal(vhx_vu_memory_add(&t->m, 0, 0, UINT64_MAX, 0, t->fd), -ERANGE);
}

static void test_region_behind_end_of_file(void **state)
{
	assert_int_equal(add(*state, 0, 65 * PAGE, 0), -ERANGE);
	assert_int_equal(add(*state, 0, 2 * PAGE, 63 * PAGE), -ERANGE);
	assert_int_equal(add(*state, 0, PAGE, 63 * PAGE), 0);
}

static void test_region_overlaps(void **state)
{
	assert_int_equal(add(*state, 4 * PAGE, 4 * PAGE, 0), 0);
	assert_int_equal(add(*state, 4 * PAGE, PAGE, 0), -EEXIST);
	assert_int_equal(add(*state, 7 * PAGE, PAGE, 0), -EEXIST);
	assert_int_equal(add(*state, 3 * PAGE, 2 * PAGE, 0), -EEXIST);
	assert_int_equal(add(*state, 0, 64 * PAGE, 0), -EEXIST);
	assert_int_equal(add(*state, 3 * PAGE, PAGE, 0), 0);
	assert_int_equal(add(*state, 8 * PAGE, PAGE, 0), 0);
}

static void test_region_too_many(void **state)
{
	for (unsigned int i = 0; i < VHX_VU_REGIONS_MAX; i++)
		assert_int_equal(add(*state, 2 * i * PAGE, PAGE, 0), 0);
	assert_int_equal(add(*state, 1000 * PAGE, PAGE, 0), -ENOSPC);
}

static void test_region_not_a_regular_file(void **state)
{
	struct table *t = *state;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), pipes[2];

	assert_int_equal(vhx_vu_memory_add(&t->m, 0, 0, PAGE, 0, null), -EINVAL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vhx_vu_memory_add(&t->m, 0, 0, PAGE, 0, pipes[0]), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	close(null);
}

static void test_region_read_only_descriptor(void **state)
{
	struct table *t = *state;
	char path[] = "/tmp/vhx-ro-XXXXXX";
	int rw = mkstemp(path), ro = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(rw, PAGE), 0);
	assert_int_equal(vhx_vu_memory_add(&t->m, 0, 0, PAGE, 0, ro), -EACCES);
	unlink(path);
	close(rw);
	close(ro);
}

static void test_region_offset_not_on_a_page(void **state)
{
	struct table *t = *state;
	const char mark = 'x';
	struct iovec iov;

	assert_int_equal(pwrite(t->fd, &mark, 1, PAGE + 10 + 3), 1);
	assert_int_equal(add(t, 0, PAGE, PAGE + 10), 0);
	assert_int_equal(vhx_vu_memory_map(&t->m, 3, 1, &iov, 1), 1);
	assert_int_equal(*(char *)iov.iov_base, mark);
}

static void test_lookup_crosses_adjacent_regions(void **state)
{
	struct table *t = *state;
	struct iovec iov[3];

	assert_int_equal(add(t, 0, PAGE, 8 * PAGE), 0);
	assert_int_equal(add(t, PAGE, PAGE, 0), 0);
	assert_int_equal(add(t, 2 * PAGE, PAGE, 4 * PAGE), 0);
	assert_int_equal(vhx_vu_memory_map(&t->m, 10, 2 * PAGE, iov, 3), 3);
	assert_int_equal(iov[0].iov_len, PAGE - 10);
	assert_int_equal(iov[1].iov_len, PAGE);
	assert_int_equal(iov[2].iov_len, 10);
	assert_int_equal(vhx_vu_memory_map(&t->m, 10, 2 * PAGE, iov, 2), -E2BIG);
	assert_int_equal(vhx_vu_memory_map(&t->m, 10, 3 * PAGE, iov, 3), -EFAULT);
}

static void test_lookup_holes(void **state)
{
	struct table *t = *state;
	struct iovec iov;

	assert_int_equal(vhx_vu_memory_map(&t->m, 0, 1, &iov, 1), -EFAULT);
	assert_int_equal(add(t, 4 * PAGE, PAGE, 0), 0);
	assert_int_equal(add(t, 8 * PAGE, PAGE, 0), 0);
	/* twice each: through the search and past the remembered region */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vhx_vu_memory_map(&t->m, 4 * PAGE - 1, 1, &iov, 1), -EFAULT);
		assert_int_equal(vhx_vu_memory_map(&t->m, 4 * PAGE, 1, &iov, 1), 1);
		assert_int_equal(vhx_vu_memory_map(&t->m, 5 * PAGE, 1, &iov, 1), -EFAULT);
		assert_int_equal(vhx_vu_memory_map(&t->m, 9 * PAGE - 1, 1, &iov, 1), 1);
		assert_int_equal(vhx_vu_memory_map(&t->m, 9 * PAGE, 1, &iov, 1), -EFAULT);
		assert_int_equal(vhx_vu_memory_map(&t->m, UINT64_MAX, 1, &iov, 1), -EFAULT);
	}
}

static void test_user_address_within_one_region(void **state)
{
	struct table *t = *state;
	uint64_t gpa = 0;

	assert_int_equal(add(t, 4 * PAGE, PAGE, 0), 0);
	assert_int_equal(add(t, 5 * PAGE, PAGE, 0), 0);
	assert_non_null(vhx_vu_memory_user(&t->m, GUEST_UVA + 5 * PAGE + 8, 16, &gpa));
	assert_int_equal(gpa, 5 * PAGE + 8);
	assert_null(vhx_vu_memory_user(&t->m, GUEST_UVA + 5 * PAGE - 8, 16, &gpa));
	assert_null(vhx_vu_memory_user(&t->m, GUEST_UVA + 6 * PAGE - 8, 16, &gpa));
	assert_null(vhx_vu_memory_user(&t->m, 4 * PAGE, 16, &gpa));
	assert_null(vhx_vu_memory_user(&t->m, UINT64_MAX - 3, 16, &gpa));
}

static void test_remove_keeps_the_others(void **state)
{
	struct table *t = *state;
	struct vhx_vu_region *r;
	struct iovec iov;

	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(add(t, i * PAGE, PAGE, i * PAGE), 0);
	assert_null(vhx_vu_memory_find(&t->m, PAGE, GUEST_UVA + PAGE, 2 * PAGE));
	r = vhx_vu_memory_find(&t->m, PAGE, GUEST_UVA + PAGE, PAGE);
	assert_non_null(r);
	vhx_vu_memory_remove(&t->m, r);
	assert_int_equal(vhx_vu_memory_map(&t->m, PAGE, 1, &iov, 1), -EFAULT);
	assert_int_equal(vhx_vu_memory_map(&t->m, 0, 1, &iov, 1), 1);
	assert_int_equal(vhx_vu_memory_map(&t->m, 2 * PAGE, 1, &iov, 1), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, table_setup, table_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_region_empty),
		T(test_region_address_wraps),
		T(test_region_behind_end_of_file),
		T(test_region_overlaps),
		T(test_region_too_many),
		T(test_region_not_a_regular_file),
		T(test_region_read_only_descriptor),
		T(test_region_offset_not_on_a_page),
		T(test_lookup_crosses_adjacent_regions),
		T(test_lookup_holes),
		T(test_user_address_within_one_region),
		T(test_remove_keeps_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
