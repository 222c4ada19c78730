// SPDX-License-Identifier: BSD-3-Clause
/* What the ring of the io_uring engine refuses, to whoever has it in hand. */
#include "device/io_uring.c"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct vhx_io *io;
	int ret = vhx_io_uring_new(8, eventfd(0, EFD_CLOEXEC), &io);

	if (ret) {
		print_message("SKIP: io_uring: %s\n", strerror(-ret));
		exit(77);
	}
	*state = io;
	return 0;
}

static int teardown(void **state)
{
	struct vhx_io *io = *state;

	io->ops->free(io);
	return 0;
}

static struct io_uring *ring_of(void **state)
{
	return &uring_of(*state)->ring;
}

static struct io_uring_sqe *entry(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		abort();
	return sqe;
}

static int run(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	assert_true(io_uring_submit_and_wait(ring, 1) >= 0);
	assert_int_equal(io_uring_wait_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static void test_open_is_refused(void **state)
{
	struct io_uring *ring = ring_of(state);

	io_uring_prep_openat(entry(ring), AT_FDCWD, "/dev/null", O_RDONLY, 0);
	assert_int_equal(run(ring), -EACCES);
}

static void test_connect_and_socket_are_refused(void **state)
{
	struct sockaddr sa = { .sa_family = AF_UNIX };
	struct io_uring *ring = ring_of(state);
	struct io_uring_sqe *sqe;

	io_uring_prep_connect(entry(ring), 0, &sa, sizeof(sa));
	assert_int_equal(run(ring), -EACCES);
	sqe = entry(ring);
	io_uring_prep_rw(45 /* IORING_OP_SOCKET, 5.19 */, sqe, AF_UNIX, NULL, 0, SOCK_STREAM);
	assert_true(run(ring) < 0);
}

static void test_nothing_is_registered_any_more(void **state)
{
	struct io_uring *ring = ring_of(state);
	int fd = 0;

	assert_int_equal(ring_register(ring, IORING_REGISTER_FILES, &fd, 1), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(ring_register(ring, IORING_REGISTER_PERSONALITY, NULL, 0), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(ring_register(ring, IORING_REGISTER_RESTRICTIONS, NULL, 0), -1);
}

static void test_reads_are_let_through(void **state)
{
	struct io_uring *ring = ring_of(state);
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char byte = 1;
	struct iovec iov = { &byte, 1 };

	io_uring_prep_readv(entry(ring), fd, &iov, 1, 0);
	assert_int_equal(run(ring), 1);
	assert_int_equal(byte, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connect_and_socket_are_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_registered_any_more, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_reads_are_let_through, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
