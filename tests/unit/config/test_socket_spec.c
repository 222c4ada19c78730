// SPDX-License-Identifier: BSD-3-Clause
/* What an operator writes of a socket. */
#include "config/socket_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct vhx_socket_spec spec;
static struct vhx_error err;

static void test_path_alone_is_for_our_user(void **state)
{
	assert_int_equal(vhx_socket_spec_parse("unix:/run/a", &spec, &err), 0);
	assert_string_equal(spec.path, "/run/a");
	assert_int_equal(spec.policy.mode, 0600);
	assert_true(spec.policy.group == VHX_UNIX_GROUP_NONE);
	assert_int_equal(spec.policy.uids_cnt, 0);
	assert_int_equal(spec.policy.gids_cnt, 0);
	assert_string_equal(spec.policy.label, "");
}

static void test_all_keys(void **state)
{
	assert_int_equal(
		vhx_socket_path_spec_parse("/run/a,,b,mode=0660,group=4242,allow-uid="
					   "root:1002,allow-gid=0:5,allow-label=*:svirt_t:*",
					   &spec, &err),
		0);
	assert_string_equal(spec.path, "/run/a,b");
	assert_int_equal(spec.policy.mode, 0660);
	assert_int_equal(spec.policy.group, 4242);
	assert_int_equal(spec.policy.uids_cnt, 2);
	assert_int_equal(spec.policy.uids[0], 0);
	assert_int_equal(spec.policy.uids[1], 1002);
	assert_int_equal(spec.policy.gids_cnt, 2);
	assert_int_equal(spec.policy.gids[1], 5);
	assert_string_equal(spec.policy.label, "*:svirt_t:*");
}

static void refused(const char *text, const char *word)
{
	assert_true(vhx_socket_spec_parse(text, &spec, &err) < 0);
	if (!strstr(err.text, word))
		fail_msg("'%s' does not name '%s'", err.text, word);
}

static void test_mistakes_are_named(void **state)
{
	refused("/run/a", "unix:PATH");
	refused("unix:", "path");
	refused("unix:/run/a,mode=0680", "0680");
	refused("unix:/run/a,mode=4755", "4755");
	refused("unix:/run/a,mode=rw", "rw");
	refused("unix:/run/a,group=no-such-group-here", "no-such-group-here");
	refused("unix:/run/a,allow-uid=no-such-user-here", "no-such-user-here");
	refused("unix:/run/a,allow-uid=1::2", "allow-uid");
	refused("unix:/run/a,allow-gid=4294967295", "4294967295");
	refused("unix:/run/a,allowuid=1", "allow-uid");
	refused("unix:/run/a,allow-uid=0:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16", "16");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path_alone_is_for_our_user),
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_mistakes_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
