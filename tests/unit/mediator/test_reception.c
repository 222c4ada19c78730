// SPDX-License-Identifier: BSD-3-Clause
/* Whoever connects to a backend: with an offer, with something else, with nothing. */
#include "mediator/reception.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <vhx/section.h>

#include "../fds.h"
#include "exchange/ivshmem.h"
#include "exchange/local.h"
#include "exchange/offer.h"

#define RING (64u << 10)
#define SIZE VHX_WINDOW_SIZE_MIN

static uint64_t skipped_ns;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

/* The clock can be moved on: nothing here waits five seconds. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = __real_clock_gettime(id, ts);

	ts->tv_sec += (time_t)(skipped_ns / 1000000000u);
	return ret;
}

struct world {
	struct vhx_loop *loop;
	struct vhx_reception *reception;
	struct vhx_port *port;
	uint32_t met;
	int fds_before;
};

static void met(void *ctx, struct vhx_port *port)
{
	struct world *w = ctx;

	w->met++;
	vhx_port_close(w->port);
	w->port = port;
}

static void world_open(struct world *w)
{
	struct vhx_reception_config cfg = { .ring_len = RING, .met = met, .ctx = w };

	memset(w, 0, sizeof(*w));
	w->fds_before = fds_open();
	assert_int_equal(vhx_loop_new(0, &w->loop), 0);
	cfg.loop = w->loop;
	assert_int_equal(vhx_reception_new(&cfg, &w->reception), 0);
}

static void settle(struct world *w)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(w->loop), .events = POLLIN };

	do {
		assert_int_equal(vhx_loop_once(w->loop, 0), 0);
	} while (poll(&pfd, 1, 0) == 1);
}

static void world_close(struct world *w)
{
	vhx_port_close(w->port);
	vhx_reception_free(w->reception);
	vhx_loop_free(w->loop);
	assert_int_equal(fds_open(), w->fds_before);
}

/* Our end of a connection that @w has accepted. */
static int connect_to(struct world *w)
{
	int socks[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	vhx_reception_add(w->reception, socks[0]);
	return socks[1];
}

static bool closed(int sock)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1 && pfd.revents & POLLHUP;
}

static void packet(int sock, const void *bytes, size_t len, int fd, unsigned int fd_cnt)
{
	struct iovec iov = { .iov_base = vhx_unconst(bytes), .iov_len = len };
	int fds[8];
	unsigned int i;

	for (i = 0; i < fd_cnt; i++)
		fds[i] = fd;
	assert_int_equal(fds_send(sock, &iov, 1, fds, fd_cnt), (ssize_t)len);
}

static void test_section_offered_becomes_a_local_port(void **state)
{
	struct vhx_port *ours;
	struct world w;

	world_open(&w);
	assert_int_equal(vhx_local_open(connect_to(&w), RING, &ours), 0);
	assert_int_equal(w.met, 0);
	assert_int_equal(vhx_reception_waiting(w.reception), 1);
	settle(&w);
	assert_int_equal(w.met, 1);
	assert_int_equal(vhx_reception_waiting(w.reception), 0);
	assert_string_equal(w.port->ops->name, "local");
	assert_int_equal(vhx_port_event(w.port), 0);
	assert_int_equal(vhx_port_event(ours), 0);
	assert_true(vhx_port_ready(w.port) && vhx_port_ready(ours));
	vhx_port_close(ours);
	world_close(&w);
}

static void test_window_offered_becomes_an_ivshmem_port(void **state)
{
	struct world w;
	int sock, window;

	world_open(&w);
	window = vhx_ivshmem_window_create(SIZE);
	sock = connect_to(&w);
	assert_int_equal(vhx_ivshmem_window_offer(sock, window, SIZE), 0);
	settle(&w);
	assert_int_equal(w.met, 1);
	assert_string_equal(w.port->ops->name, "ivshmem");
	assert_false(vhx_port_ready(w.port));
	close(window);
	close(sock);
	world_close(&w);
}

static void test_offer_that_came_before_it_was_accepted(void **state)
{
	struct vhx_port *ours;
	struct world w;
	int socks[2];

	world_open(&w);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	assert_int_equal(vhx_local_open(socks[1], RING, &ours), 0);
	vhx_reception_add(w.reception, socks[0]);
	assert_int_equal(w.met, 1);
	vhx_port_close(ours);
	world_close(&w);
}

static void test_first_packets_that_offer_nothing(void **state)
{
	static const size_t lens[] = { 1, 31, 33, 4096 };
	uint32_t words[1024] = { VHX_OFFER_WINDOW, 1, SIZE };
	struct world w;
	size_t i;
	int fd;

	world_open(&w);
	fd = vhx_ivshmem_window_create(SIZE);
	for (i = 0; i < VHX_ARRAY_SIZE(lens) + 3; i++) {
		int sock = connect_to(&w);

		if (i < VHX_ARRAY_SIZE(lens)) {
			packet(sock, words, lens[i], fd, 1);
		} else if (i == VHX_ARRAY_SIZE(lens)) {
			packet(sock, words, 32, -1, 0); /* no descriptor */
		} else if (i == VHX_ARRAY_SIZE(lens) + 1) {
			packet(sock, words, 32, fd, 5); /* surplus ones */
		} else {
			uint32_t other[8] = { 0x12345678, 1, SIZE };

			packet(sock, other, 32, fd, 1);
		}
		settle(&w);
		assert_true(closed(sock));
		close(sock);
	}
	assert_int_equal(w.met, 0);
	assert_int_equal(vhx_reception_stats(w.reception)->refused, i);
	assert_int_equal(vhx_reception_waiting(w.reception), 0);
	close(fd);
	world_close(&w);
}

/* The rest of the seals is test_ivshmem's matter. */
static void test_windows_that_are_none(void **state)
{
	uint32_t offer[8] = { VHX_OFFER_WINDOW, 1, SIZE };
	struct world w;
	int round;

	world_open(&w);
	for (round = 0; round < 4; round++) {
		int fd = memfd_create("bad", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		int sock = connect_to(&w);

		assert_int_equal(fallocate(fd, 0, 0, round == 1 ? SIZE + 4096 : SIZE), 0);
		if (round)
			assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
		offer[2] = round == 2 ? SIZE * 2 : round == 3 ? 4096 : SIZE;
		packet(sock, offer, sizeof(offer), fd, 1);
		settle(&w);
		assert_true(closed(sock));
		close(sock);
		close(fd);
	}
	assert_int_equal(w.met, 0);
	assert_int_equal(vhx_reception_stats(w.reception)->refused, 4);
	world_close(&w);
}

static void test_silence_ends_after_its_time(void **state)
{
	struct world w;
	int sock;

	world_open(&w);
	sock = connect_to(&w);
	settle(&w);
	assert_false(closed(sock));
	skipped_ns += VHX_RECEPTION_NS - 1000000000u;
	settle(&w);
	assert_false(closed(sock));
	skipped_ns += 2000000000u;
	settle(&w);
	assert_true(closed(sock));
	assert_int_equal(vhx_reception_stats(w.reception)->silent, 1);
	close(sock);
	world_close(&w);
}

static void test_silent_crowd_does_not_keep_an_offer_out(void **state)
{
	int crowd[VHX_RECEPTION_MAX + 40];
	struct vhx_port *ours;
	struct world w;
	size_t i;

	world_open(&w);
	for (i = 0; i < VHX_ARRAY_SIZE(crowd); i++) {
		crowd[i] = connect_to(&w);
		settle(&w);
	}
	assert_int_equal(vhx_reception_waiting(w.reception), VHX_RECEPTION_MAX);
	assert_true(closed(crowd[0]));
	assert_false(closed(crowd[VHX_ARRAY_SIZE(crowd) - 1]));
	assert_int_equal(vhx_local_open(connect_to(&w), RING, &ours), 0);
	settle(&w);
	assert_int_equal(w.met, 1);
	assert_int_equal(vhx_reception_stats(w.reception)->silent, 41);
	for (i = 0; i < VHX_ARRAY_SIZE(crowd); i++)
		close(crowd[i]);
	settle(&w);
	assert_int_equal(vhx_reception_waiting(w.reception), 0);
	vhx_port_close(ours);
	world_close(&w);
}

static void test_end_of_file_is_no_line_and_no_refusal(void **state)
{
	struct world w;

	world_open(&w);
	close(connect_to(&w));
	settle(&w);
	assert_int_equal(vhx_reception_waiting(w.reception), 0);
	assert_int_equal(vhx_reception_stats(w.reception)->refused, 0);
	world_close(&w);
}

static void test_free_with_somebody_waiting(void **state)
{
	struct world w;
	int sock;

	world_open(&w);
	sock = connect_to(&w);
	vhx_reception_free(w.reception);
	w.reception = NULL;
	assert_true(closed(sock));
	close(sock);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section_offered_becomes_a_local_port),
		cmocka_unit_test(test_window_offered_becomes_an_ivshmem_port),
		cmocka_unit_test(test_offer_that_came_before_it_was_accepted),
		cmocka_unit_test(test_first_packets_that_offer_nothing),
		cmocka_unit_test(test_windows_that_are_none),
		cmocka_unit_test(test_silence_ends_after_its_time),
		cmocka_unit_test(test_silent_crowd_does_not_keep_an_offer_out),
		cmocka_unit_test(test_end_of_file_is_no_line_and_no_refusal),
		cmocka_unit_test(test_free_with_somebody_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
