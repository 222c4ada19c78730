// SPDX-License-Identifier: BSD-3-Clause
/* Where back-ends connect: one after the other, nobody at all, and who may. */
#include "mediator/awaiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/unix_socket.h"

static char dir[64], path[80];
static struct vhx_error err;

static int setup(void **state)
{
	strcpy(dir, "/tmp/vhx-awaiter.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/b", dir);
	return 0;
}

/* Nothing is left in it. */
static int teardown(void **state)
{
	return rmdir(dir);
}

static int call_in(void)
{
	struct vhx_error ignored;
	int fd = vhx_unix_connect(path, SOCK_STREAM, &ignored);

	assert_true(fd >= 0);
	return fd;
}

static void says(int from, int to, const char *word)
{
	char got[8] = { 0 };

	assert_int_equal(send(from, word, strlen(word), 0), strlen(word));
	assert_int_equal(recv(to, got, sizeof(got), 0), strlen(word));
	assert_string_equal(got, word);
}

static void test_back_ends_come_one_after_the_other(void **state)
{
	struct vhx_awaiter *a;
	int first, second, end;

	assert_int_equal(vhx_awaiter_new(path, 10000, &a, &err), 0);
	first = call_in();
	second = call_in();
	end = vhx_awaiter_connect(a, &err);
	assert_true(end >= 0);
	says(first, end, "first");
	close(end);
	close(first);
	end = vhx_awaiter_connect(a, &err);
	assert_true(end >= 0);
	says(second, end, "second");
	close(end);
	close(second);
	vhx_awaiter_free(a);
}

/* A loop calls it: only the first call may wait, and that one did. */
static void test_nobody_is_not_waited_for_twice(void **state)
{
	struct vhx_awaiter *a;
	char text[160];

	snprintf(text, sizeof(text), "%s: no back-end has connected", path);
	assert_int_equal(vhx_awaiter_new(path, 1, &a, &err), 0);
	assert_int_equal(vhx_awaiter_connect(a, &err), -EAGAIN);
	assert_string_equal(err.text, text);
	/* With a patience of its own this would be the end of the test, by the clock of the runner. */
	for (unsigned int i = 0; i < 100000; i++)
		assert_int_equal(vhx_awaiter_connect(a, &err), -EAGAIN);
	vhx_awaiter_free(a);
}

static void test_socket_is_its_users_alone(void **state)
{
	struct vhx_awaiter *a, *other;
	struct stat st;

	assert_int_equal(vhx_awaiter_new(path, 0, &a, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(vhx_awaiter_new(path, 0, &other, &err), -EADDRINUSE);
	vhx_awaiter_free(a);
	assert_int_equal(stat(path, &st), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_back_ends_come_one_after_the_other, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nobody_is_not_waited_for_twice, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_socket_is_its_users_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
