// SPDX-License-Identifier: BSD-3-Clause
#include "util/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_text_stays_one_harmless_line(void **state)
{
	struct vhx_error error;

	vhx_error_set(&error, "%s", "a\nb\r\x1b[2J\x7f");
	assert_string_equal(error.text, "a?b??[2J?");
	vhx_error_set(&error, "%s",
		      "\xc2\x9b"
		      "1m \xc3\xa4 \xc2");
	assert_string_equal(error.text, "??1m \xc3\xa4 \xc2");
}

static void test_long_text_is_cut(void **state)
{
	struct vhx_error error;
	char text[1000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	vhx_error_set(&error, "%s", text);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
	vhx_error_prefix(&error, "%s", text);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
	vhx_error_set(&error, "short");
	vhx_error_prefix(&error, "%.254s", text);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

static void test_prefix_goes_in_front(void **state)
{
	struct vhx_error error;

	vhx_error_set(&error, "file is missing");
	vhx_error_prefix(&error, "disk%d\n", 0);
	assert_string_equal(error.text, "disk0?: file is missing");
}

static void test_null_is_accepted(void **state)
{
	struct vhx_error *none = *state;

	assert_null(none);
	vhx_error_set(none, "x");
	vhx_error_prefix(none, "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_stays_one_harmless_line),
		cmocka_unit_test(test_long_text_is_cut),
		cmocka_unit_test(test_prefix_goes_in_front),
		cmocka_unit_test(test_null_is_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
