// SPDX-License-Identifier: BSD-3-Clause
/* Notification descriptors never hold us up, whatever the VMM did to them. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_user/notifier.h"

static void test_raise_and_clear(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(vhx_vu_notifier_check(fd), 0);
	assert_false(vhx_vu_notifier_clear(fd));
	vhx_vu_notifier_raise(fd);
	vhx_vu_notifier_raise(fd);
	assert_true(vhx_vu_notifier_clear(fd));
	assert_false(vhx_vu_notifier_clear(fd));
	close(fd);
}

/* The descriptor is blocking: a plain write would wait here for ever. */
static void test_saturated_eventfd_does_not_block(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t most = UINT64_MAX - 1, value;

	assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
	vhx_vu_notifier_raise(fd);
	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, most);
	close(fd);
}

static void test_flags_stay_the_peers(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	int before = fcntl(fd, F_GETFL);

	assert_int_equal(vhx_vu_notifier_check(fd), 0);
	vhx_vu_notifier_raise(fd);
	vhx_vu_notifier_clear(fd);
	assert_int_equal(fcntl(fd, F_GETFL), before);
	close(fd);
}

static void test_full_pipe_does_not_block(void **state)
{
	uint64_t value;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(vhx_vu_notifier_check(fds[1]), 0);
	for (int i = 0; i < 20000; i++) /* more than any default pipe holds */
		vhx_vu_notifier_raise(fds[1]);
	assert_int_equal(read(fds[0], &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 1);
	close(fds[0]);
	vhx_vu_notifier_raise(fds[1]); /* no reader left */
	close(fds[1]);
}

static void test_empty_pipe_does_not_block(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_false(vhx_vu_notifier_clear(fds[0]));
	vhx_vu_notifier_raise(fds[1]);
	assert_true(vhx_vu_notifier_clear(fds[0]));
	assert_false(vhx_vu_notifier_clear(fds[0]));
	close(fds[0]);
	close(fds[1]);
}

static void test_socket_notifies(void **state)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(vhx_vu_notifier_check(fds[0]), 0);
	assert_false(vhx_vu_notifier_clear(fds[1]));
	vhx_vu_notifier_raise(fds[0]);
	assert_true(vhx_vu_notifier_clear(fds[1]));
	close(fds[0]);
	close(fds[1]);
}

static void test_other_kinds_are_refused(void **state)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(vhx_vu_notifier_check(file), -EINVAL);
	assert_int_equal(vhx_vu_notifier_check(null), -EINVAL);
	close(file);
	close(null);
}

static void test_none_is_fine(void **state)
{
	vhx_vu_notifier_raise(-1);
	assert_false(vhx_vu_notifier_clear(-1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raise_and_clear),
		cmocka_unit_test(test_saturated_eventfd_does_not_block),
		cmocka_unit_test(test_flags_stay_the_peers),
		cmocka_unit_test(test_full_pipe_does_not_block),
		cmocka_unit_test(test_empty_pipe_does_not_block),
		cmocka_unit_test(test_socket_notifies),
		cmocka_unit_test(test_other_kinds_are_refused),
		cmocka_unit_test(test_none_is_fine),
	};

	signal(SIGPIPE, SIG_IGN);
	alarm(60); /* a hang guard, nothing more */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
