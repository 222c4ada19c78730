// SPDX-License-Identifier: BSD-3-Clause
/* What programs do to their process at start. */
#include "mediator/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>

#include <cmocka.h>

#define LOW 64

/* Starts a program with a low soft limit. Returns the limit that it then has. */
static rlim_t limit_after_init(rlim_t hard)
{
	struct vhx_program_settings settings;
	struct rlimit limit = { LOW, hard };
	struct vhx_program p;

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	vhx_program_defaults(&settings);
	assert_int_equal(vhx_program_init(&p, "test", &settings), 0);
	vhx_program_fini(&p);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(limit.rlim_max, hard);
	return limit.rlim_cur;
}

static void test_low_soft_limit_of_open_files_is_raised(void **state)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(limit_after_init(limit.rlim_max), vhx_min_u64(limit.rlim_max, 65536));
}

/* The last one: the hard limit stays. */
static void test_hard_limit_of_open_files_is_kept(void **state)
{
	assert_int_equal(limit_after_init(LOW + 1), LOW + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_low_soft_limit_of_open_files_is_raised),
		cmocka_unit_test(test_hard_limit_of_open_files_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
