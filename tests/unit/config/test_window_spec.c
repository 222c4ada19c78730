// SPDX-License-Identifier: BSD-3-Clause
#include "config/window_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_defaults_and_values(void **state)
{
	struct vhx_window_spec spec;
	struct vhx_error err;

	assert_int_equal(vhx_window_spec_parse("/run/a.sock", &spec, &err), 0);
	assert_string_equal(spec.path, "/run/a.sock");
	assert_int_equal(spec.size, 16u << 20);
	assert_int_equal(spec.vectors, 1);
	assert_int_equal(vhx_window_spec_parse("/a,,b,size=256K,vectors=8", &spec, &err), 0);
	assert_string_equal(spec.path, "/a,b");
	assert_int_equal(spec.size, 256u << 10);
	assert_int_equal(spec.vectors, 8);
	assert_int_equal(vhx_window_spec_parse("/a,size=256M", &spec, &err), 0);
	assert_int_equal(spec.size, 256u << 20);
}

static void test_what_is_refused_is_named(void **state)
{
	static const char *const wrong[][2] = {
		{ "", "path" },
		{ "/a,size=3M", "size" },
		{ "/a,size=128K", "size" },
		{ "/a,size=512M", "size" },
		{ "/a,size=x", "size" },
		{ "/a,vectors=0", "vectors" },
		{ "/a,vectors=9", "vectors" },
		{ "/a,sise=1M", "size" },
		{ "/a,size=1M,size=1M", "twice" },
	};
	struct vhx_window_spec spec;
	struct vhx_error err;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		assert_true(vhx_window_spec_parse(wrong[i][0], &spec, &err) < 0);
		assert_non_null(strstr(err.text, wrong[i][1]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_and_values),
		cmocka_unit_test(test_what_is_refused_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
