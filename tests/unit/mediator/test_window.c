// SPDX-License-Identifier: BSD-3-Clause
/*
 * The helper between a QEMU and a backend, in this process: both are played by the test, on real sockets, as
 * correct or as rude as it wants.
 */
#include "mediator/window_qemu.h"

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <vhx/section.h>

#include "../fds.h"
#include "exchange/ivshmem.h"
#include "exchange/offer.h"
#include "util/unix_fds.h"
#include "util/unix_socket.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SIZE VHX_WINDOW_SIZE_MIN

static uint64_t skipped_ns;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

/* The clock can be moved on: nothing here waits for a back-off. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = __real_clock_gettime(id, ts);
	uint64_t ns = (uint64_t)ts->tv_nsec + skipped_ns;

	ts->tv_sec += (time_t)(ns / 1000000000u);
	ts->tv_nsec = (long)(ns % 1000000000u);
	return ret;
}

struct world {
	struct vhx_loop *loop;
	struct vhx_window_qemu *qemu;
	struct vhx_unix_listener backend; /* fd -1: nobody is there */
	char dir[64], backend_path[96], qemu_path[96];
	uint32_t vectors;
	int fds_before;
};

static void backend_listen(struct world *w)
{
	assert_int_equal(vhx_unix_listen(&w->backend, w->backend_path, SOCK_SEQPACKET, 0600, NULL),
			 0);
}

static void world_open(struct world *w, uint32_t vectors)
{
	struct vhx_window_qemu_config cfg = { .size = SIZE, .vectors = vectors };

	memset(w, 0, sizeof(*w));
	w->fds_before = fds_open();
	w->vectors = vectors;
	w->backend.fd = -1;
	snprintf(w->dir, sizeof(w->dir), "/tmp/vhx-window-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->backend_path, sizeof(w->backend_path), "%s/be", w->dir);
	snprintf(w->qemu_path, sizeof(w->qemu_path), "%s/qemu", w->dir);
	assert_int_equal(vhx_loop_new(0, &w->loop), 0);
	cfg.loop = w->loop;
	cfg.path = w->qemu_path;
	cfg.backend = w->backend_path;
	assert_int_equal(vhx_window_qemu_open(&cfg, &w->qemu, NULL), 0);
}

static void settle(struct world *w)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(w->loop), .events = POLLIN };

	do {
		assert_int_equal(vhx_loop_once(w->loop, 0), 0);
	} while (poll(&pfd, 1, 0) == 1);
}

static void wait_ns(struct world *w, uint64_t ns)
{
	skipped_ns += ns;
	settle(w);
}

static void world_close(struct world *w)
{
	vhx_window_qemu_close(w->qemu);
	vhx_unix_unlisten(&w->backend);
	vhx_loop_free(w->loop);
	assert_int_equal(rmdir(w->dir), 0);
	assert_int_equal(fds_open(), w->fds_before);
}

static struct vhx_window_qemu_stats stats_of(struct world *w)
{
	struct vhx_window_qemu_stats stats;

	vhx_window_qemu_stats(w->qemu, &stats);
	return stats;
}

/* QEMU's side of the protocol */

struct client {
	int sock;
	int window;
	int ring[8], own[8]; /* to raise the host's event, and to be raised */
	uint32_t ring_cnt, own_cnt;
	uint32_t messages;
};

/* One number and its descriptor (-1: none). False: there is none yet. */
static bool message_take(int sock, int64_t *value, int *fd)
{
	uint64_t bytes;
	struct vhx_unix_fds fds = { .fds = fd, .max = 1 };
	ssize_t n;

	*fd = -1;
	n = vhx_unix_recv_fds(sock, &bytes, sizeof(bytes), MSG_DONTWAIT, &fds);
	if (n < 0)
		return false;
	assert_int_equal(n, sizeof(bytes));
	assert_false(fds.surplus);
	*value = (int64_t)le64toh(bytes);
	return true;
}

static void client_judge(struct client *c, int64_t value, int fd)
{
	switch (c->messages++) {
	case 0:
		assert_int_equal(value, 0);
		assert_int_equal(fd, -1);
		return;
	case 1:
		assert_int_equal(value, 1);
		assert_int_equal(fd, -1);
		return;
	case 2:
		assert_int_equal(value, -1);
		assert_true(fd >= 0);
		c->window = fd;
		return;
	}
	assert_true(fd >= 0);
	if (value == 0) {
		/* All of the host's come before our own. */
		assert_int_equal(c->own_cnt, 0);
		c->ring[c->ring_cnt++] = fd;
	} else {
		assert_int_equal(value, 1);
		c->own[c->own_cnt++] = fd;
	}
}

static void client_take(struct client *c)
{
	int64_t value;
	int fd;

	while (message_take(c->sock, &value, &fd))
		client_judge(c, value, fd);
}

static void client_init(struct client *c, int sock)
{
	memset(c, 0, sizeof(*c));
	c->sock = sock;
	c->window = -1;
}

static void client_connect(struct world *w, struct client *c)
{
	client_init(c, vhx_unix_connect(w->qemu_path, SOCK_STREAM, NULL));
	assert_true(c->sock >= 0);
	settle(w);
	client_take(c);
	assert_int_equal(c->messages, 3 + 2 * w->vectors);
	assert_int_equal(c->ring_cnt, w->vectors);
	assert_int_equal(c->own_cnt, w->vectors);
}

static void client_close(struct world *w, struct client *c)
{
	uint32_t i;

	close(c->sock);
	if (c->window >= 0)
		close(c->window);
	for (i = 0; i < c->ring_cnt; i++)
		close(c->ring[i]);
	for (i = 0; i < c->own_cnt; i++)
		close(c->own[i]);
	settle(w);
}

static uint64_t event_take(int fd)
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static void event_raise(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static uint32_t packets_take(int sock)
{
	uint32_t n = 0;
	char bytes[8];
	ssize_t len;

	while ((len = recv(sock, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		assert_int_equal(len, 1);
		n++;
	}
	return n;
}

/* The helper's connection at the backend, its offer taken: the window. */
static int backend_accept(struct world *w, struct vhx_port **port)
{
	int sock = vhx_unix_accept(w->backend.fd);

	assert_true(sock >= 0);
	assert_int_equal(vhx_ivshmem_accept(dup(sock), port), 0);
	return sock;
}

/* ---- the server's protocol ---- */

static void test_protocol_for_each_number_of_vectors(void **state)
{
	uint32_t vectors;

	for (vectors = 1; vectors <= VHX_WINDOW_VECTORS_MAX; vectors++) {
		struct vhx_section_header *h;
		struct client c;
		struct world w;
		uint32_t i;

		world_open(&w, vectors);
		backend_listen(&w);
		client_connect(&w, &c);
		h = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, c.window, 0);
		assert_true(h != MAP_FAILED);
		assert_int_equal(h->magic.v, htole32(VHX_SECTION_MAGIC));
		assert_int_equal(h->ring_len.v, htole32(SIZE / 4));
		munmap(h, SIZE);
		/* Each vector of the host's rings the host. */
		for (i = 0; i < vectors; i++) {
			uint64_t before = stats_of(&w).relay.wakes_to_backend;

			event_raise(c.ring[i]);
			settle(&w);
			assert_int_equal(stats_of(&w).relay.wakes_to_backend, before + 1);
		}
		client_close(&w, &c);
		world_close(&w);
	}
}

/* A connection whose buffer takes a message now and then: all arrive, each descriptor once. */
static void test_messages_that_leave_little_by_little(void **state)
{
	int socks[2], least = 1;
	uint32_t rounds = 0, waits = 0;
	struct client c;
	struct world w;
	int64_t value;
	int fd;

	world_open(&w, 8);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
	assert_int_equal(setsockopt(socks[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
	client_init(&c, socks[1]);
	vhx_window_qemu_accept(w.qemu, socks[0]);
	while (c.messages < 3 + 2 * 8) {
		settle(&w);
		assert_true(++rounds < 100);
		if (message_take(c.sock, &value, &fd))
			client_judge(&c, value, fd);
		else
			waits++;
	}
	assert_int_equal(waits, 0);
	assert_int_equal(c.ring_cnt, 8);
	assert_int_equal(c.own_cnt, 8);
	client_close(&w, &c);
	world_close(&w);
}

static void test_qemu_that_leaves_in_the_middle(void **state)
{
	struct world w;
	uint32_t i;

	world_open(&w, 8);
	for (i = 0; i < 5; i++) {
		int socks[2], least = 1;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
		setsockopt(socks[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
		vhx_window_qemu_accept(w.qemu, socks[0]);
		if (i % 2)
			settle(&w);
		close(socks[1]);
		settle(&w);
		assert_string_equal(stats_of(&w).guest, "waiting");
	}
	assert_int_equal(stats_of(&w).guests, 5);
	world_close(&w);
}

static void test_qemu_that_speaks_is_no_qemu(void **state)
{
	struct client c;
	struct world w;

	world_open(&w, 1);
	client_connect(&w, &c);
	assert_int_equal(send(c.sock, "hello", 5, 0), 5);
	settle(&w);
	assert_string_equal(stats_of(&w).guest, "waiting");
	client_close(&w, &c);
	world_close(&w);
}

static void test_second_qemu_is_refused_and_the_first_goes_on(void **state)
{
	struct client c;
	struct world w;
	char byte;
	int second;

	world_open(&w, 1);
	client_connect(&w, &c);
	second = vhx_unix_connect(w.qemu_path, SOCK_STREAM, NULL);
	assert_true(second >= 0);
	settle(&w);
	assert_int_equal(recv(second, &byte, 1, MSG_DONTWAIT), 0);
	close(second);
	assert_int_equal(stats_of(&w).refused, 1);
	assert_string_equal(stats_of(&w).guest, "connected");
	client_close(&w, &c);
	world_close(&w);
}

static void test_next_qemu_gets_another_window(void **state)
{
	struct client one, two;
	struct world w;
	char bytes[4] = "old";
	char found[4];

	world_open(&w, 1);
	client_connect(&w, &one);
	assert_int_equal(pwrite(one.window, bytes, sizeof(bytes), SIZE / 2 + 4096), sizeof(bytes));
	close(one.sock);
	settle(&w);
	client_connect(&w, &two);
	assert_int_equal(pread(two.window, found, sizeof(found), SIZE / 2 + 4096), sizeof(found));
	assert_int_equal(found[0], 0);
	client_close(&w, &two);
	one.sock = -1;
	client_close(&w, &one);
	assert_int_equal(stats_of(&w).guests, 2);
	world_close(&w);
}

/* ---- the relay ---- */

static void test_events_go_both_ways_and_merge(void **state)
{
	struct vhx_port *port;
	struct client c;
	struct world w;
	int sock;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	sock = backend_accept(&w, &port);
	settle(&w);
	/* The beginning of the host's life. */
	assert_true(event_take(c.own[0]) >= 1);
	event_raise(c.ring[0]);
	event_raise(c.ring[0]);
	settle(&w);
	assert_int_equal(packets_take(sock), 1);
	assert_int_equal(send(sock, "x", 1, 0), 1);
	assert_int_equal(send(sock, "y", 1, 0), 1);
	settle(&w);
	assert_int_equal(event_take(c.own[0]), 1);
	vhx_port_close(port);
	close(sock);
	client_close(&w, &c);
	world_close(&w);
}

static void test_full_ways_hang_nobody(void **state)
{
	struct vhx_port *port;
	const uint64_t nearly_full = UINT64_MAX - 1;
	struct client c;
	struct world w;
	int sock, i;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	sock = backend_accept(&w, &port);
	settle(&w);
	event_take(c.own[0]);
	/* A guest that takes nothing, a backend that takes nothing. */
	assert_int_equal(write(c.own[0], &nearly_full, sizeof(nearly_full)), sizeof(nearly_full));
	for (i = 0; i < 5000; i++) {
		send(sock, "x", 1, MSG_DONTWAIT);
		event_raise(c.ring[0]);
		assert_int_equal(vhx_loop_once(w.loop, 0), 0);
	}
	settle(&w);
	assert_string_equal(stats_of(&w).backend, "connected");
	assert_true(packets_take(sock) > 0);
	vhx_port_close(port);
	close(sock);
	client_close(&w, &c);
	world_close(&w);
}

static void test_lost_backend_is_told_and_connected_again(void **state)
{
	struct vhx_section_header *h;
	struct vhx_port *port;
	struct client c;
	struct world w;
	int sock, round;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	h = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c.window, 0);
	assert_true(h != MAP_FAILED);
	for (round = 0; round < 4; round++) {
		sock = backend_accept(&w, &port);
		settle(&w);
		assert_int_equal(h->state.v, htole32(VHX_WINDOW_INIT));
		/* A death: the words stay as they are. */
		vhx_port_close(port);
		h->state.v = htole32(VHX_WINDOW_READY);
		settle(&w);
		event_take(c.own[0]);
		close(sock);
		settle(&w);
		assert_int_equal(h->state.v, htole32(VHX_WINDOW_GONE));
		assert_int_equal(event_take(c.own[0]), 1);
		assert_string_equal(stats_of(&w).backend, "waiting");
		wait_ns(&w, VHX_WINDOW_RELAY_RETRY_MAX_NS);
		assert_int_equal(stats_of(&w).relay.connects, round + 2);
	}
	munmap(h, SIZE);
	client_close(&w, &c);
	world_close(&w);
}

/* What a backend has of its window is its file. It leaves it as nobody takes it: who comes after it is served. */

static void window_seal(int window)
{
	(void)fcntl(window, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
}

static void window_punch(int window)
{
	assert_int_equal(fallocate(window, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE), 0);
}

static void next_backend_is_served(void (*spoil)(int window))
{
	struct vhx_port *port;
	struct client c;
	struct world w;
	int sock, window;
	uint32_t size;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	sock = vhx_unix_accept(w.backend.fd);
	assert_int_equal(vhx_offer_receive(sock, VHX_OFFER_WINDOW, &size, &window), 0);
	spoil(window);
	close(window);
	close(sock);
	settle(&w);
	wait_ns(&w, VHX_WINDOW_RELAY_RETRY_MAX_NS);
	sock = backend_accept(&w, &port);
	vhx_port_close(port);
	close(sock);
	client_close(&w, &c);
	world_close(&w);
}

static void test_backend_that_seals_the_window_ends_with_itself(void **state)
{
	next_backend_is_served(window_seal);
}

static void test_backend_that_punches_holes_ends_with_itself(void **state)
{
	next_backend_is_served(window_punch);
}

static void test_backend_that_comes_late(void **state)
{
	struct vhx_port *port;
	struct client c;
	struct world w;
	int i, sock;

	world_open(&w, 1);
	client_connect(&w, &c);
	for (i = 0; i < 20; i++) {
		wait_ns(&w, 300000000u);
		event_raise(c.ring[0]);
		settle(&w);
	}
	assert_int_equal(stats_of(&w).relay.connects, 0);
	assert_int_equal(stats_of(&w).relay.wakes_to_backend, 0);
	backend_listen(&w);
	wait_ns(&w, VHX_WINDOW_RELAY_RETRY_MAX_NS);
	assert_int_equal(stats_of(&w).relay.connects, 1);
	sock = backend_accept(&w, &port);
	vhx_port_close(port);
	close(sock);
	client_close(&w, &c);
	world_close(&w);
}

/* Its channel always ends at once: it is not connected more often than once a second for that. */
static void test_backend_that_always_leaves_is_retried_slowly(void **state)
{
	struct client c;
	struct world w;
	uint64_t before;
	int i, sock;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	for (i = 0; i < 400; i++) {
		sock = vhx_unix_accept(w.backend.fd);
		if (sock >= 0)
			close(sock);
		wait_ns(&w, 50000000u);
	}
	before = stats_of(&w).relay.connects;
	assert_true(before >= 8);
	assert_true(before <= 8 + 20 + 5);
	client_close(&w, &c);
	world_close(&w);
}

static void test_flood_of_packets_is_taken_in_bounded_pieces(void **state)
{
	struct vhx_port *port;
	struct client c;
	struct world w;
	int sock, sent = 0;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	sock = backend_accept(&w, &port);
	settle(&w);
	event_take(c.own[0]);
	while (send(sock, "x", 1, MSG_DONTWAIT) == 1)
		sent++;
	assert_true(sent > 2 * (int)VHX_WINDOW_RELAY_BATCH);
	assert_int_equal(vhx_loop_once(w.loop, 0), 0);
	assert_int_equal(send(sock, "x", 1, MSG_DONTWAIT), 1);
	settle(&w);
	assert_true(event_take(c.own[0]) <= (uint64_t)sent / VHX_WINDOW_RELAY_BATCH + 2);
	vhx_port_close(port);
	close(sock);
	client_close(&w, &c);
	world_close(&w);
}

static void test_backend_that_sends_an_empty_packet_has_left(void **state)
{
	struct vhx_port *port;
	struct client c;
	struct world w;
	int sock;

	world_open(&w, 1);
	backend_listen(&w);
	client_connect(&w, &c);
	sock = backend_accept(&w, &port);
	assert_int_equal(send(sock, "", 0, 0), 0);
	settle(&w);
	assert_string_equal(stats_of(&w).backend, "waiting");
	vhx_port_close(port);
	close(sock);
	client_close(&w, &c);
	world_close(&w);
}

/* Its descriptor is shared with a guest's VMM: what that does to it ends its own events, and spins nobody. */
static void test_broken_bell_is_left_alone(void **state)
{
	struct vhx_window_relay_stats stats = { 0 };
	struct vhx_window_relay_config cfg = { .backend = "/nowhere/be", .size = SIZE };
	struct vhx_window_relay *relay;
	int socks[2];

	assert_int_equal(vhx_loop_new(0, &cfg.loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, socks), 0);
	cfg.bell = (struct vhx_window_bell){ socks[0], socks[0] };
	cfg.stats = &stats;
	assert_int_equal(vhx_window_relay_new(&cfg, &relay), 0);
	assert_string_equal(vhx_window_relay_state(relay), "waiting");
	close(socks[1]);
	assert_int_equal(vhx_loop_once(cfg.loop, 0), 0);
	assert_int_equal(vhx_loop_once(cfg.loop, 0), 0);
	{
		struct pollfd pfd = { .fd = vhx_loop_fileno(cfg.loop), .events = POLLIN };

		assert_int_equal(poll(&pfd, 1, 0), 0);
	}
	vhx_window_relay_free(relay);
	close(socks[0]);
	vhx_loop_free(cfg.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol_for_each_number_of_vectors),
		cmocka_unit_test(test_messages_that_leave_little_by_little),
		cmocka_unit_test(test_qemu_that_leaves_in_the_middle),
		cmocka_unit_test(test_qemu_that_speaks_is_no_qemu),
		cmocka_unit_test(test_second_qemu_is_refused_and_the_first_goes_on),
		cmocka_unit_test(test_next_qemu_gets_another_window),
		cmocka_unit_test(test_events_go_both_ways_and_merge),
		cmocka_unit_test(test_full_ways_hang_nobody),
		cmocka_unit_test(test_lost_backend_is_told_and_connected_again),
		cmocka_unit_test(test_backend_that_seals_the_window_ends_with_itself),
		cmocka_unit_test(test_backend_that_punches_holes_ends_with_itself),
		cmocka_unit_test(test_backend_that_comes_late),
		cmocka_unit_test(test_backend_that_always_leaves_is_retried_slowly),
		cmocka_unit_test(test_flood_of_packets_is_taken_in_bounded_pieces),
		cmocka_unit_test(test_backend_that_sends_an_empty_packet_has_left),
		cmocka_unit_test(test_broken_bell_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
