// SPDX-License-Identifier: BSD-3-Clause
/* Who passes a guard. What the kernel says of the peer is the test's: getsockopt is wrapped. */
#include "util/unix_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct ucred peer;
static const char *peer_label;
static unsigned int records;
static char last[512];

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len);

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
	assert_int_equal(level, SOL_SOCKET);
	if (option == SO_PEERCRED) {
		assert_true(*len >= sizeof(peer));
		memcpy(value, &peer, sizeof(peer));
		return 0;
	}
	assert_int_equal(option, SO_PEERSEC);
	errno = peer_label ? ERANGE : ENOPROTOOPT;
	if (!peer_label || strlen(peer_label) > *len)
		return -1;
	memcpy(value, peer_label, strlen(peer_label));
	return 0;
}

static void record(void *ctx, enum vhx_log_level level, const char *text)
{
	records++;
	snprintf(last, sizeof(last), "%s", text);
}

static const struct vhx_log sink = { .emit = record, .level = VHX_LOG_WARNING };
static struct vhx_unix_policy policy;
static struct vhx_unix_guard guard;

static int setup(void **state)
{
	policy = vhx_unix_policy_default;
	guard = (struct vhx_unix_guard){ .policy = &policy, .name = "/run/s", .log = &sink };
	peer = (struct ucred){ .pid = 7, .uid = geteuid(), .gid = getegid() };
	peer_label = NULL;
	records = 0;
	return 0;
}

static int admit(void)
{
	return vhx_unix_guard_admit(&guard, 0, 0);
}

static void test_own_user_passes(void **state)
{
	assert_int_equal(admit(), 0);
	assert_int_equal(records, 0);
}

static void test_another_user_is_refused_with_a_line(void **state)
{
	peer.uid = geteuid() + 1;
	peer.gid = 55;
	assert_int_equal(admit(), -EACCES);
	assert_int_equal(guard.refused, 1);
	assert_non_null(strstr(last, "/run/s: refused pid 7 uid "));
	assert_non_null(strstr(last, " gid 55"));
}

static void test_another_user_passes_by_uid_or_gid(void **state)
{
	peer.uid = geteuid() + 1;
	peer.gid = 55;
	policy.uids[policy.uids_cnt++] = 4;
	policy.uids[policy.uids_cnt++] = peer.uid;
	assert_int_equal(admit(), 0);
	policy.uids_cnt = 1;
	assert_int_equal(admit(), -EACCES);
	policy.gids[policy.gids_cnt++] = 55;
	assert_int_equal(admit(), 0);
}

static void test_root_is_another_user(void **state)
{
	if (!geteuid())
		return;
	peer.uid = 0;
	assert_int_equal(admit(), -EACCES);
}

static void test_without_a_policy_only_our_user(void **state)
{
	guard.policy = NULL;
	assert_int_equal(admit(), 0);
	peer.uid++;
	assert_int_equal(admit(), -EACCES);
}

static void test_label_is_asked_of_everybody(void **state)
{
	strcpy(policy.label, "*:svirt_t:*");
	assert_int_equal(admit(), -EACCES);
	assert_non_null(strstr(last, "no label"));
	peer_label = "system_u:system_r:httpd_t:s0";
	assert_int_equal(admit(), -EACCES);
	assert_non_null(strstr(last, "label system_u:system_r:httpd_t:s0: its label"));
	peer_label = "system_u:system_r:svirt_t:s0:c1,c2";
	assert_int_equal(admit(), 0);
	/* And does not stand in for the user. */
	peer.uid++;
	assert_int_equal(admit(), -EACCES);
}

static void test_label_too_long_is_none(void **state)
{
	static char label[VHX_UNIX_LABEL_MAX + 8];
	char text[VHX_UNIX_LABEL_MAX];

	memset(label, 'a', sizeof(label) - 1);
	peer_label = label;
	assert_int_equal(vhx_unix_label(0, text), 0);
	strcpy(policy.label, "*");
	assert_int_equal(admit(), -EACCES);
}

static void test_flood_of_refusals_is_limited(void **state)
{
	unsigned int i;

	peer.uid++;
	for (i = 0; i < 1000; i++)
		assert_int_equal(admit(), -EACCES);
	assert_int_equal(guard.refused, 1000);
	assert_int_equal(records, VHX_LOG_BURST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_own_user_passes, setup),
		cmocka_unit_test_setup(test_another_user_is_refused_with_a_line, setup),
		cmocka_unit_test_setup(test_another_user_passes_by_uid_or_gid, setup),
		cmocka_unit_test_setup(test_root_is_another_user, setup),
		cmocka_unit_test_setup(test_without_a_policy_only_our_user, setup),
		cmocka_unit_test_setup(test_label_is_asked_of_everybody, setup),
		cmocka_unit_test_setup(test_label_too_long_is_none, setup),
		cmocka_unit_test_setup(test_flood_of_refusals_is_limited, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
