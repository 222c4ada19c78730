// SPDX-License-Identifier: BSD-3-Clause
/* Who connects for a vsock device: to one path and a number behind it, and what it is asked and answers. */
#include "mediator/connector.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/vsock_connect.h"
#include "mediator/attendant.h"
#include "util/unix_fds.h"
#include "util/unix_socket.h"

static char dir[64], path[80];
static int sock;

static int setup(void **state)
{
	strcpy(dir, "/tmp/vhx-connector.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/v", dir);
	return vhx_connector_start(path, VHX_CONFINE_ON, &sock);
}

static int teardown(void **state)
{
	char byte;

	/* Its other end is gone when it has ended: nobody has to wait for it. */
	if (sock >= 0) {
		shutdown(sock, SHUT_WR);
		assert_int_equal(recv(sock, &byte, 1, 0), 0);
		close(sock);
	}
	return rmdir(dir);
}

static void listen_at(struct vhx_unix_listener *l, const char *suffix, int type)
{
	char name[100];
	struct vhx_error err;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	if (vhx_unix_listen(l, name, type, 0600, &err))
		fail_msg("%s", err.text);
}

/* The result; the descriptor, or -1. */
static int32_t ask(uint64_t tag, uint32_t port, uint32_t seqpacket, int *fd)
{
	struct vhx_vsock_ask a = { .tag = tag, .port = port, .seqpacket = seqpacket };
	struct vhx_vsock_answer answer;
	struct vhx_unix_fds fds = { .fds = fd, .max = 1 };

	assert_int_equal(send(sock, &a, sizeof(a), 0), sizeof(a));
	*fd = -1;
	assert_int_equal(vhx_unix_recv_fds(sock, &answer, sizeof(answer), 0, &fds), sizeof(answer));
	assert_true(answer.tag == tag);
	assert_int_equal(*fd >= 0, !answer.result);
	return answer.result;
}

static void assert_connected(struct vhx_unix_listener *l, int fd)
{
	int peer = vhx_unix_accept(l->fd);
	char byte = 0;

	assert_true(peer >= 0);
	assert_int_equal(write(peer, "x", 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	/* What comes to a loop does not block it. */
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	close(peer);
	close(fd);
}

static void test_ports_are_names_behind_the_path(void **state)
{
	struct vhx_unix_listener stream, last, packets;
	int fd;

	listen_at(&stream, "_7", SOCK_STREAM);
	listen_at(&last, "_4294967295", SOCK_STREAM);
	listen_at(&packets, ".seq_7", SOCK_SEQPACKET);
	assert_int_equal(ask(1, 7, 0, &fd), 0);
	assert_connected(&stream, fd);
	assert_int_equal(ask(UINT64_MAX, UINT32_MAX, 0, &fd), 0);
	assert_connected(&last, fd);
	assert_int_equal(ask(2, 7, 1, &fd), 0);
	assert_connected(&packets, fd);
	vhx_unix_unlisten(&stream);
	vhx_unix_unlisten(&last);
	vhx_unix_unlisten(&packets);
}

static void test_nobody_there_is_an_answer(void **state)
{
	struct vhx_unix_listener stream;
	int fd;

	assert_int_equal(ask(1, 7, 0, &fd), -ENOENT);
	listen_at(&stream, "_7", SOCK_STREAM);
	/* Of another type, under a name that says so. */
	assert_int_equal(ask(2, 7, 1, &fd), -ENOENT);
	assert_int_equal(ask(3, 7, 0, &fd), 0);
	close(fd);
	vhx_unix_unlisten(&stream);
}

static void test_backlog_that_is_full_does_not_hold_it(void **state)
{
	struct vhx_unix_listener stream;
	int fds[5000], cnt = 0, fd;

	listen_at(&stream, "_7", SOCK_STREAM);
	assert_int_equal(listen(stream.fd, 2), 0);
	while (cnt < 5000 && !ask(1, 7, 0, &fds[cnt]))
		cnt++;
	assert_true(cnt > 0 && cnt < 10);
	assert_int_equal(ask(2, 7, 0, &fd), -EAGAIN);
	while (cnt)
		close(fds[--cnt]);
	vhx_unix_unlisten(&stream);
}

static void test_nonsense_ends_it(void **state)
{
	char byte = 0;

	assert_int_equal(send(sock, &byte, 1, 0), 1);
	assert_int_equal(recv(sock, &byte, 1, 0), 0);
	close(sock);
	sock = -1;
}

/* As with too many of a user's descriptors under way: who asked would wait for ever. */
static void test_descriptor_that_cannot_be_passed_is_an_answer_all_the_same(void **state)
{
	struct vhx_vsock_answer answer = { .tag = 5 };
	int ends[2], unopened = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	vhx_attendant_answer(ends[0], &answer, sizeof(answer), unopened);
	answer.tag = 0;
	assert_int_equal(recv(ends[1], &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.tag, 5);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ports_are_names_behind_the_path, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nobody_there_is_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backlog_that_is_full_does_not_hold_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nonsense_ends_it, setup, teardown),
		cmocka_unit_test(test_descriptor_that_cannot_be_passed_is_an_answer_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
