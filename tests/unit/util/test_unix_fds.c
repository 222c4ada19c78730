// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors over a socket, from a peer that sends as many as it likes. */
#include "util/unix_fds.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "../fds.h"

static int ours, peer;
static int pipe_ends[2];

static int setup(void **state)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, socks) ||
	    pipe2(pipe_ends, O_NONBLOCK))
		return -1;
	ours = socks[0];
	peer = socks[1];
	return 0;
}

static int teardown(void **state)
{
	close(ours);
	close(peer);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	return 0;
}

/* @cnt times the writing end of the pipe, which nobody else has then. */
static void peer_sends(unsigned int cnt)
{
	struct iovec iov = { vhx_unconst("bytes"), 5 };
	int fds[FDS_SENT_MAX];
	unsigned int i;

	for (i = 0; i < cnt; i++)
		fds[i] = pipe_ends[1];
	assert_int_equal(fds_send(peer, &iov, 1, fds, cnt), 5);
	close(pipe_ends[1]);
	pipe_ends[1] = -1;
}

static bool writing_end_is_open(void)
{
	char byte;

	return read(pipe_ends[0], &byte, 1) < 0;
}

static void receives(unsigned int sent, unsigned int max)
{
	int got[VHX_UNIX_FDS_MAX];
	struct vhx_unix_fds fds = { .fds = got, .max = max };
	char bytes[8];
	unsigned int i;

	peer_sends(sent);
	assert_int_equal(vhx_unix_recv_fds(ours, bytes, sizeof(bytes), 0, &fds), 5);
	assert_memory_equal(bytes, "bytes", 5);
	assert_int_equal(fds.cnt, vhx_min_u64(sent, max));
	assert_int_equal(fds.surplus, sent > max);
	assert_int_equal(writing_end_is_open(), fds.cnt > 0);
	for (i = 0; i < fds.cnt; i++) {
		assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		close(got[i]);
	}
	assert_false(writing_end_is_open());
}

static void test_one(void **state)
{
	receives(1, 1);
}

static void test_as_many_as_there_is_room_for(void **state)
{
	receives(VHX_UNIX_FDS_MAX, VHX_UNIX_FDS_MAX);
}

/* There is room for two where one is asked for: control messages are padded. */
static void test_a_second_one_is_closed(void **state)
{
	receives(2, 1);
}

static void test_a_surplus_is_closed(void **state)
{
	receives(FDS_SENT_MAX, VHX_UNIX_FDS_MAX);
}

static void test_none_is_wanted(void **state)
{
	receives(1, 0);
}

static void test_no_descriptor_is_left_for_one(void **state)
{
	struct rlimit none = { 0, 0 }, limit;
	struct vhx_unix_fds fds = { .fds = (int[1]){ -1 }, .max = 1 };
	char bytes[8];

	peer_sends(1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none.rlim_max = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(vhx_unix_recv_fds(ours, bytes, sizeof(bytes), 0, &fds), 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(fds.cnt, 0);
	assert_true(fds.surplus);
	assert_false(writing_end_is_open());
}

static void test_send_with_one_and_without(void **state)
{
	struct iovec iov[2] = { { vhx_unconst("two "), 4 }, { vhx_unconst("parts"), 5 } };
	int got;
	struct vhx_unix_fds fds = { .fds = &got, .max = 1 };
	char bytes[16];

	assert_int_equal(vhx_unix_send_fd(peer, iov, 2, pipe_ends[1], 0), 9);
	assert_int_equal(vhx_unix_send_fd(peer, iov, 1, -1, 0), 4);
	assert_int_equal(vhx_unix_recv_fds(ours, bytes, sizeof(bytes), 0, &fds), 9);
	assert_memory_equal(bytes, "two parts", 9);
	assert_int_equal(fds.cnt, 1);
	close(got);
	assert_int_equal(vhx_unix_recv_fds(ours, bytes, sizeof(bytes), 0, &fds), 4);
	assert_int_equal(fds.cnt, 0);
	assert_false(fds.surplus);
}

static void test_errors(void **state)
{
	struct iovec iov = { vhx_unconst("x"), 1 };
	int got;
	struct vhx_unix_fds fds = { .fds = &got, .max = 1, .cnt = 1, .surplus = true };
	char byte;

	assert_int_equal(vhx_unix_recv_fds(ours, &byte, 1, MSG_DONTWAIT, &fds), -EAGAIN);
	assert_int_equal(fds.cnt, 0);
	assert_false(fds.surplus);
	close(peer);
	peer = -1;
	assert_int_equal(vhx_unix_send_fd(ours, &iov, 1, -1, MSG_NOSIGNAL), -EPIPE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one),
		TEST(test_as_many_as_there_is_room_for),
		TEST(test_a_second_one_is_closed),
		TEST(test_a_surplus_is_closed),
		TEST(test_none_is_wanted),
		TEST(test_no_descriptor_is_left_for_one),
		TEST(test_send_with_one_and_without),
		TEST(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
