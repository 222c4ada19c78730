// SPDX-License-Identifier: BSD-3-Clause
#include "config/vduse_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_defaults_and_values(void **state)
{
	struct vhx_vduse_spec spec;
	struct vhx_error err;

	assert_int_equal(vhx_vduse_spec_parse("vhx0", &spec, &err), 0);
	assert_string_equal(spec.name, "vhx0");
	assert_string_equal(spec.id, "");
	assert_int_equal(spec.queue_size, 256);
	assert_false(spec.packed);
	assert_int_equal(
		vhx_vduse_spec_parse("a-b_c.d,id=disk0,queue-size=1024,packed", &spec, &err), 0);
	assert_string_equal(spec.name, "a-b_c.d");
	assert_string_equal(spec.id, "disk0");
	assert_int_equal(spec.queue_size, 1024);
	assert_true(spec.packed);
}

static void test_what_is_refused_is_named(void **state)
{
	static const char *const wrong[][2] = {
		{ "", "name" },
		{ ",id=a", "name" },
		{ "control", "control" },
		{ "../a", "'../a'" },
		{ "a/b", "'a/b'" },
		{ "a,queue-size=100", "queue-size" },
		{ "a,queue-size=8", "queue-size" },
		{ "a,queue-size=2048", "queue-size" },
		{ "a,id=b/c", "'b/c'" },
		{ "a,pakced", "packed" },
		{ "a,id=b,id=c", "twice" },
		{ "0123456789012345678901234567890123456789012345678901234567890123", "63" },
	};
	struct vhx_vduse_spec spec;
	struct vhx_error err;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		assert_true(vhx_vduse_spec_parse(wrong[i][0], &spec, &err) < 0);
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
