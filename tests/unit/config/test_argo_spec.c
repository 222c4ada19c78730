// SPDX-License-Identifier: BSD-3-Clause
#include "config/argo_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define UUID "0f5a2c1e-7d3b-4c66-9e51-a0b1c2d3e4f5"

static void test_every_kind(void **state)
{
	struct vhx_argo_spec spec;
	struct vhx_error err;

	assert_int_equal(vhx_argo_spec_parse("argo", &spec, &err), 0);
	assert_int_equal(spec.kind, VHX_ARGO_SPEC_NONE);
	assert_int_equal(vhx_argo_spec_parse("argo:peer=7", &spec, &err), 0);
	assert_int_equal(spec.kind, VHX_ARGO_SPEC_DOMID);
	assert_int_equal(spec.domid, 7);
	assert_int_equal(vhx_argo_spec_parse("argo:name:web,1", &spec, &err), 0);
	assert_int_equal(spec.kind, VHX_ARGO_SPEC_NAME);
	assert_string_equal(spec.text, "web,1");
	assert_int_equal(vhx_argo_spec_parse("argo:uuid:0F5A2C1E-7d3b-4c66-9e51-a0b1c2d3e4f5",
					     &spec, &err),
			 0);
	assert_int_equal(spec.kind, VHX_ARGO_SPEC_UUID);
	assert_string_equal(spec.text, UUID);
	assert_int_equal(vhx_argo_spec_parse("argo:any", &spec, &err), 0);
	assert_int_equal(spec.kind, VHX_ARGO_SPEC_ANY);
}

static void test_what_is_refused_is_named(void **state)
{
	static const char *const wrong[][2] = {
		{ "argo:", "argo:peer=DOMID" },
		{ "argo:3", "argo:peer=DOMID" },
		{ "argon", "argo:peer=DOMID" },
		{ "arg", "argo:peer=DOMID" },
		{ "argo:peer=", "number" },
		{ "argo:peer=-1", "number" },
		{ "argo:peer=32752", "32751" },
		{ "argo:name:", "letters" },
		{ "argo:uuid:" UUID "0", "UUID" },
		{ "argo:uuid:0f5a2c1e07d3b-4c66-9e51-a0b1c2d3e4f5", "UUID" },
		{ "argo:uuid:0f5a2c1e-7d3b-4c66-9e51-a0b1c2d3e4fg", "UUID" },
		{ "argo:any,peer=1", "nothing" },
	};
	char name[200] = "argo:name:";
	struct vhx_argo_spec spec;
	struct vhx_error err;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		assert_true(vhx_argo_spec_parse(wrong[i][0], &spec, &err) < 0);
		assert_non_null(strstr(err.text, wrong[i][1]));
	}
	memset(name + strlen(name), 'x', 150);
	assert_int_equal(vhx_argo_spec_parse(name, &spec, &err), -ENAMETOOLONG);
}

static void test_other_addresses_are_not_of_this_kind(void **state)
{
	assert_true(vhx_argo_spec_matches("argo"));
	assert_true(vhx_argo_spec_matches("argo:nonsense"));
	assert_false(vhx_argo_spec_matches("argonaut"));
	assert_false(vhx_argo_spec_matches("unix:argo"));
	assert_false(vhx_argo_spec_matches(""));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_what_is_refused_is_named),
		cmocka_unit_test(test_other_addresses_are_not_of_this_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
