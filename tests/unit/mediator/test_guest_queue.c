// SPDX-License-Identifier: BSD-3-Clause
/* How a guest's queue is kicked: the descriptors are a VMM's, the ring and the frontend's queue are this test's. */
#include "mediator/guest_queue.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/notifier.h"

static struct vhx_loop *loop;
static struct vhx_guest_queue queue;
static struct vhx_vring vring;
static int kick_fd;
static unsigned int kicks, errors;

int __wrap_vhx_fqueue_start(struct vhx_fdev *fdev, uint16_t index, uint16_t size,
			    const struct vhx_fsource_ops *ops, void *ctx, struct vhx_fqueue **q);
void __wrap_vhx_fqueue_kick(struct vhx_fqueue *q);
void __wrap_vhx_fqueue_kill(struct vhx_fqueue *q);

int __wrap_vhx_fqueue_start(struct vhx_fdev *fdev, uint16_t index, uint16_t size,
			    const struct vhx_fsource_ops *ops, void *ctx, struct vhx_fqueue **q)
{
	*q = NULL;
	return 0;
}

void __wrap_vhx_fqueue_kick(struct vhx_fqueue *q)
{
	kicks++;
}

void __wrap_vhx_fqueue_kill(struct vhx_fqueue *q)
{
}

static bool ring_kicked(void *ring)
{
	return vhx_vu_notifier_clear(kick_fd);
}

static void ring_error(void *ring)
{
	errors++;
}

static const struct vhx_guest_ring_ops ring_ops = { .kicked = ring_kicked, .error = ring_error };

static int queue_setup(void **state)
{
	kicks = 0;
	errors = 0;
	queue = (struct vhx_guest_queue){ 0 };
	vring = (struct vhx_vring){ 0 };
	return vhx_loop_new(0, &loop);
}

static int queue_teardown(void **state)
{
	vhx_guest_queue_kill(&queue);
	vhx_loop_free(loop);
	return 0;
}

static void start(int fd)
{
	struct vhx_guest_queue_config cfg = {
		.loop = loop,
		.label = "guest",
		.ops = &ring_ops,
		.vring = &vring,
		.size = 16,
		.kick_fd = fd,
	};

	kick_fd = fd;
	assert_int_equal(vhx_guest_queue_start(&queue, &cfg), 0);
}

static bool loop_awake(void)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(loop), .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

/* True: it sleeps in the end. */
static bool loop_rests(void)
{
	unsigned int i;

	for (i = 0; i < 100 && loop_awake(); i++)
		assert_int_equal(vhx_loop_once(loop, 0), 0);
	return !loop_awake();
}

static void ended(unsigned int kicks_before)
{
	assert_true(loop_rests());
	assert_int_equal(kicks, kicks_before);
	assert_int_equal(errors, 1);
	/* Until there is another one. */
	kick_fd = eventfd(1, EFD_NONBLOCK);
	vhx_guest_queue_watch(&queue, kick_fd);
	assert_true(loop_rests());
	assert_int_equal(kicks, kicks_before + 1);
	assert_int_equal(errors, 1);
	vhx_guest_queue_kill(&queue);
	close(kick_fd);
}

static void test_pipe_at_its_end_keeps_nobody_awake(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	start(fds[0]);
	assert_true(loop_rests());
	assert_int_equal(errors, 0);
	assert_int_equal(write(fds[1], "kick", 4), 4);
	assert_true(loop_rests());
	assert_int_equal(kicks, 1);
	assert_int_equal(errors, 0);
	close(fds[1]);
	ended(1);
	close(fds[0]);
}

static void test_last_kick_of_a_pipe_counts(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "kick", 4), 4);
	close(fds[1]);
	start(fds[0]);
	ended(1);
	close(fds[0]);
}

static void socket_ends(int type, bool shut)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, fds), 0);
	start(fds[0]);
	if (shut)
		shutdown(fds[1], SHUT_WR);
	else
		close(fds[1]);
	ended(0);
	close(fds[0]);
	if (shut)
		close(fds[1]);
}

static void test_socket_at_its_end_keeps_nobody_awake(void **state)
{
	socket_ends(SOCK_STREAM, false);
}

static void test_socket_that_was_shut_keeps_nobody_awake(void **state)
{
	socket_ends(SOCK_STREAM, true);
}

static void test_packet_socket_at_its_end_keeps_nobody_awake(void **state)
{
	socket_ends(SOCK_SEQPACKET, false);
}

/* Somebody knocks, and nobody will accept: it is readable, and cannot be read. */
static void test_listening_socket_keeps_nobody_awake(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	int peer = socket(AF_UNIX, SOCK_STREAM, 0);

	/* A name that the kernel chooses. */
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr.sun_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (void *)&addr, &len), 0);
	start(fd);
	assert_true(loop_rests());
	assert_int_equal(errors, 0);
	assert_int_equal(connect(peer, (void *)&addr, len), 0);
	ended(0);
	close(peer);
	close(fd);
}

/* It stays readable for so many reads. */
static void test_eventfd_that_counts_down_keeps_nobody_awake(void **state)
{
	int fd = eventfd(1000000, EFD_SEMAPHORE | EFD_NONBLOCK);
	unsigned int before;

	start(fd);
	assert_true(loop_rests());
	before = kicks;
	assert_true(before > 0);
	assert_int_equal(eventfd_write(fd, 1), 0);
	assert_true(loop_rests());
	assert_true(kicks > before);
	assert_int_equal(errors, 0);
	close(fd);
}

static void wait_for_kicks(unsigned int cnt)
{
	unsigned int i;

	for (i = 0; i < 1000 && kicks < cnt; i++)
		assert_int_equal(vhx_loop_once(loop, 10), 0);
	assert_true(kicks >= cnt);
}

static void test_queue_without_a_kick_is_polled(void **state)
{
	unsigned int before;
	int fd;

	start(-1);
	wait_for_kicks(3);
	/* One that is given later ends that, */
	fd = eventfd(0, EFD_NONBLOCK);
	kick_fd = fd;
	vhx_guest_queue_watch(&queue, fd);
	before = kicks;
	assert_int_equal(vhx_loop_once(loop, 20), 0);
	assert_int_equal(vhx_loop_once(loop, 20), 0);
	assert_int_equal(kicks, before);
	/* and one that is taken back begins it again. */
	kick_fd = -1;
	vhx_guest_queue_watch(&queue, -1);
	close(fd);
	wait_for_kicks(before + 3);
}

static void test_broken_or_dead_queue_is_not_polled(void **state)
{
	start(-1);
	vring.broken = VHX_RING_UNMAPPED;
	assert_int_equal(vhx_loop_once(loop, 20), 0);
	assert_int_equal(vhx_loop_once(loop, 20), 0);
	assert_int_equal(kicks, 0);
	vring.broken = 0;
	vhx_guest_queue_watch(&queue, -1);
	vhx_guest_queue_kill(&queue);
	assert_int_equal(vhx_loop_once(loop, 20), 0);
	assert_int_equal(kicks, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_pipe_at_its_end_keeps_nobody_awake),
		T(test_last_kick_of_a_pipe_counts),
		T(test_socket_at_its_end_keeps_nobody_awake),
		T(test_socket_that_was_shut_keeps_nobody_awake),
		T(test_packet_socket_at_its_end_keeps_nobody_awake),
		T(test_listening_socket_keeps_nobody_awake),
		T(test_eventfd_that_counts_down_keeps_nobody_awake),
		T(test_queue_without_a_kick_is_polled),
		T(test_broken_or_dead_queue_is_not_polled),
	};

	return cmocka_run_group_tests_name("guest queue", tests, NULL, NULL);
}
