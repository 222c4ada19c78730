// SPDX-License-Identifier: BSD-3-Clause
/* What vhx-argo-cat does with its descriptors, on both ends of a model host, each in a thread. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../argo/node.h"
#include "relay/relay.h"

#define PORT 0x1234u

static struct nodes nodes;

/* In place of the C library's: how often anybody asked. */
static atomic_uint polls;

int poll(struct pollfd *fds, nfds_t cnt, int timeout_ms)
{
	struct timespec timeout = {
		.tv_sec = timeout_ms / 1000,
		.tv_nsec = timeout_ms % 1000 * 1000000L,
	};

	polls++;
	return ppoll(fds, cnt, timeout_ms < 0 ? NULL : &timeout, NULL);
}

static void pause_ms(unsigned int ms)
{
	const struct timespec pause = { .tv_nsec = ms * 1000000L };

	nanosleep(&pause, NULL);
}

/* All there is to do has been done; who goes on asking does so thousands of times. */
static void expect_sleep(void)
{
	unsigned int before;

	pause_ms(50);
	before = polls;
	pause_ms(200);
	assert_in_range(polls - before, 0, 100);
}

/* One vhx-argo-cat. The test has the other ends of its input and output. */
struct cat {
	struct vhx_relay_config cfg;
	struct vhx_argo_stream *stream; /* or: */
	struct vhx_relay_datagrams d;
	struct vhx_relay_counts counts;
	int in, out; /* the test's ends */
	int result;
	pthread_t thread;
};

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	nodes_open(&nodes, true);
	return 0;
}

static int teardown(void **state)
{
	nodes_close(&nodes);
	return 0;
}

static void *cat_run(void *ctx)
{
	struct cat *c = ctx;

	if (c->stream)
		c->result = vhx_relay_stream(&c->cfg, c->stream, &c->counts);
	else
		c->result = vhx_relay_dgrams(&c->cfg, &c->d, &c->counts);
	/* As its process would: the reader is told, and the peer. */
	close(c->cfg.out);
	close(c->cfg.in);
	vhx_argo_stream_close(c->stream);
	return NULL;
}

static void cat_pipes(struct cat *c)
{
	int in[2], out[2];

	*c = (struct cat){ .cfg = { .quit_ms = -1 } };
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	c->cfg.in = in[0];
	c->in = in[1];
	c->out = out[0];
	c->cfg.out = out[1];
}

static void cat_start(struct cat *c)
{
	assert_int_equal(pthread_create(&c->thread, NULL, cat_run, c), 0);
}

/* Its input ends. */
static void cat_eof(struct cat *c)
{
	close(c->in);
	c->in = -1;
}

static void cat_end(struct cat *c, int result)
{
	pthread_join(c->thread, NULL);
	assert_int_equal(c->result, result);
	if (c->in >= 0)
		close(c->in);
	close(c->out);
}

/* A connects to B; not started yet. */
static void cats_connect(struct cat *a, struct cat *b)
{
	struct vhx_argo_listener *l;

	cat_pipes(a);
	cat_pipes(b);
	assert_int_equal(vhx_argo_listener_open(&nodes.driver[B], PORT, A, &l), 0);
	assert_int_equal(vhx_argo_stream_connect(&nodes.driver[A], B, PORT, &a->stream), 0);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &b->stream), 0);
	vhx_argo_listener_close(l);
}

static void write_text(struct cat *c, const char *text)
{
	assert_int_equal(write(c->in, text, strlen(text)), strlen(text));
}

/* As many bytes as are expected, with nothing behind them yet. */
static void read_text(struct cat *c, const char *text)
{
	char buf[64];
	size_t got = 0;

	while (got < strlen(text)) {
		ssize_t n = read(c->out, buf + got, sizeof(buf) - got);

		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(got, strlen(text));
	assert_memory_equal(buf, text, got);
}

static void read_end(struct cat *c)
{
	char buf;

	assert_int_equal(read(c->out, &buf, 1), 0);
}

static void test_with_shut_each_direction_ends_for_itself(void **state)
{
	struct cat a, b;

	cats_connect(&a, &b);
	a.cfg.shut = b.cfg.shut = true;
	cat_start(&a);
	cat_start(&b);
	write_text(&a, "there");
	read_text(&b, "there");
	cat_eof(&a);
	write_text(&b, "and back");
	read_text(&a, "and back");
	cat_eof(&b);
	cat_end(&a, 0);
	cat_end(&b, 0);
	assert_int_equal(a.counts.sent, 5);
	assert_int_equal(a.counts.received, 8);
}

/* The receiver of a file: its own input is nothing, or a terminal that does not end. */
static void test_without_shut_the_peers_end_is_the_end(void **state)
{
	for (int terminal = 0; terminal < 2; terminal++) {
		struct cat a, b;

		cats_connect(&a, &b);
		a.cfg.shut = true;
		if (!terminal)
			cat_eof(&b);
		cat_start(&a);
		cat_start(&b);
		write_text(&a, "file");
		cat_eof(&a);
		read_text(&b, "file");
		read_end(&b);
		cat_end(&a, 0);
		cat_end(&b, 0);
	}
}

static void test_quit_does_not_wait_for_the_peer(void **state)
{
	struct cat a, b;

	cats_connect(&a, &b);
	a.cfg.quit_ms = 0;
	cat_start(&a);
	write_text(&a, "file");
	cat_eof(&a);
	cat_end(&a, 0);
	cat_start(&b);
	read_text(&b, "file");
	read_end(&b);
	cat_end(&b, 0);
}

/* A file takes all that comes at once, so that there is no moment without anything to do. */
static void test_quit_ends_while_the_peer_goes_on(void **state)
{
	static uint8_t bytes[900000];
	struct cat a, b;
	int64_t sent;

	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[B], 1 << 20), 0);
	cats_connect(&a, &b);
	sent = vhx_argo_stream_send(a.stream, bytes, sizeof(bytes));
	assert_true(sent > (int64_t)sizeof(bytes) / 2);
	close(b.cfg.out);
	b.cfg.out = memfd_create("out", MFD_CLOEXEC);
	b.cfg.quit_ms = 0;
	cat_eof(&b);
	cat_start(&b);
	cat_end(&b, 0);
	assert_true(b.counts.received > 0 && b.counts.received < (uint64_t)sent);
	vhx_argo_stream_close(a.stream);
	close(a.cfg.in);
	close(a.cfg.out);
	close(a.in);
	close(a.out);
}

static void test_a_peer_that_breaks_off_is_a_failure(void **state)
{
	struct cat a, b;

	cats_connect(&a, &b);
	cat_start(&b);
	assert_int_equal(vhx_argo_stream_send(a.stream, "last", 4), 4);
	read_text(&b, "last");
	vhx_argo_stream_close(a.stream);
	cat_end(&b, -ECONNRESET);
	assert_int_equal(b.counts.failed, VHX_RELAY_PEER);
	close(a.cfg.in);
	close(a.cfg.out);
	close(a.in);
	close(a.out);
}

/* It ends, and is closed, while most of what it said is in our ring. */
static void test_what_the_peer_said_before_it_went_is_taken(void **state)
{
	static uint8_t bytes[100000], got[sizeof(bytes)];

	for (int more = 0; more < 2; more++) {
		size_t len = 0;
		struct cat a, b;

		cats_connect(&a, &b);
		assert_int_equal(vhx_argo_stream_send(a.stream, bytes, sizeof(bytes)),
				 sizeof(bytes));
		assert_int_equal(vhx_argo_stream_shutdown(a.stream), 0);
		vhx_argo_stream_close(a.stream);
		b.cfg.shut = true;
		if (more)
			write_text(&b, "for nobody");
		cat_eof(&b);
		cat_start(&b);
		while (len < sizeof(got)) {
			ssize_t n = read(b.out, got + len, sizeof(got) - len);

			assert_true(n > 0);
			len += (size_t)n;
		}
		read_end(&b);
		cat_end(&b, more ? -ECONNRESET : 0);
		close(a.cfg.in);
		close(a.cfg.out);
		close(a.in);
		close(a.out);
	}
}

/* It is gone, as it may, while our input goes on. */
static void test_a_peer_that_ended_keeps_nobody_awake(void **state)
{
	struct cat a, b;

	cats_connect(&a, &b);
	b.cfg.shut = true;
	cat_start(&b);
	assert_int_equal(vhx_argo_stream_send(a.stream, "last", 4), 4);
	read_text(&b, "last");
	/* It waits for more, before it hears of the end. */
	pause_ms(50);
	assert_int_equal(vhx_argo_stream_shutdown(a.stream), 0);
	pause_ms(50);
	vhx_argo_stream_close(a.stream);
	expect_sleep();
	cat_eof(&b);
	cat_end(&b, 0);
	close(a.cfg.in);
	close(a.cfg.out);
	close(a.in);
	close(a.out);
}

static void test_an_output_that_is_full_keeps_nobody_awake(void **state)
{
	static uint8_t bytes[256 << 10];
	struct cat a, b;

	cats_connect(&a, &b);
	cat_start(&b);
	/* As much as a pipe, and the relay, and some of the ring. */
	for (int64_t n, sent = 0; sent < 150000; sent += n < 0 ? 0 : n) {
		n = vhx_argo_stream_send(a.stream, bytes, 1000);
		assert_true(n > 0 || n == -EAGAIN);
		pause_ms(1);
	}
	expect_sleep();
	vhx_argo_stream_close(a.stream);
	while (read(b.out, bytes, sizeof(bytes)) > 0)
		;
	cat_end(&b, -ECONNRESET);
	close(a.cfg.in);
	close(a.cfg.out);
	close(a.in);
	close(a.out);
}

/* The peer has ended, and has no room for our end. */
static void test_input_that_nobody_reads_keeps_nobody_awake(void **state)
{
	struct vhx_argo_address at;
	struct cat a, b;
	char byte;

	cats_connect(&a, &b);
	assert_int_equal(vhx_argo_stream_connected(a.stream), 1);
	vhx_argo_stream_peer(b.stream, &at);
	while (raw_send(&nodes, B, 1, A, at.port, 1, "", 0) == 0)
		;
	assert_int_equal(vhx_argo_stream_shutdown(a.stream), 0);
	cat_start(&b);
	pause_ms(50);
	write_text(&b, "for nobody");
	expect_sleep();
	while (vhx_argo_stream_recv(a.stream, &byte, 1) == -EAGAIN)
		assert_int_equal(vhx_argo_stream_wait(a.stream, GUARD_MS), 0);
	cat_end(&b, 0);
	vhx_argo_stream_close(a.stream);
	close(a.cfg.in);
	close(a.cfg.out);
	close(a.in);
	close(a.out);
}

/* Bytes that nobody takes are not said to have been. */
static void test_an_output_that_is_gone_is_a_failure(void **state)
{
	struct cat a, b;

	cats_connect(&a, &b);
	a.cfg.shut = true;
	close(b.out);
	b.out = dup(0);
	cat_start(&a);
	cat_start(&b);
	write_text(&a, "nobody reads it");
	cat_end(&b, -EPIPE);
	assert_int_equal(b.counts.failed, VHX_RELAY_OUT);
	cat_end(&a, -ECONNRESET);
	assert_int_equal(a.counts.failed, VHX_RELAY_PEER);
}

struct filling {
	int fd;
	size_t len;
};

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

static void *fill(void *ctx)
{
	struct filling *f = ctx;
	uint8_t buf[4096];

	for (size_t i = 0; i < f->len; i += sizeof(buf)) {
		for (size_t k = 0; k < sizeof(buf); k++)
			buf[k] = pattern(i + k);
		if (write(f->fd, buf, sizeof(buf)) != sizeof(buf))
			break;
	}
	close(f->fd);
	return NULL;
}

/* Much through pipes that are read late, both ways at once. */
static void test_slow_readers_lose_nothing(void **state)
{
	const size_t len = 4 << 20;
	struct filling f[2];
	pthread_t fillers[2];
	size_t got[2] = { 0 };
	uint8_t buf[4096];
	struct cat cats[2];

	cats_connect(&cats[0], &cats[1]);
	for (int i = 0; i < 2; i++) {
		cats[i].cfg.shut = true;
		f[i] = (struct filling){ cats[i].in, len };
		cats[i].in = -1;
		assert_int_equal(pthread_create(&fillers[i], NULL, fill, &f[i]), 0);
		cat_start(&cats[i]);
	}
	for (unsigned int turn = 0; got[0] < len || got[1] < len; turn++) {
		unsigned int i = turn % 2;
		ssize_t n = got[i] < len ? read(cats[i].out, buf, 1 + turn % sizeof(buf)) : 0;

		assert_true(n >= 0);
		for (ssize_t k = 0; k < n; k++)
			assert_int_equal(buf[k], pattern(got[i] + (size_t)k));
		got[i] += (size_t)n;
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(fillers[i], NULL);
		read_end(&cats[i]);
		cat_end(&cats[i], 0);
		assert_int_equal(cats[i].counts.sent, len);
	}
}

static void test_files_are_copied_as_they_are(void **state)
{
	const size_t len = 3 << 20;
	struct cat a, b;
	int from = memfd_create("from", MFD_CLOEXEC), to = memfd_create("to", MFD_CLOEXEC);
	int kept = dup(to);
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(i);
	assert_int_equal(write(from, bytes, len), len);
	assert_int_equal(lseek(from, 0, SEEK_SET), 0);
	cats_connect(&a, &b);
	a.cfg.shut = true;
	close(a.cfg.in);
	a.cfg.in = from;
	close(b.cfg.out);
	b.cfg.out = to;
	cat_start(&a);
	cat_start(&b);
	cat_end(&a, 0);
	cat_end(&b, 0);
	memset(bytes, 0, len);
	assert_int_equal(lseek(kept, 0, SEEK_END), len);
	assert_int_equal(pread(kept, bytes, len, 0), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], pattern(i));
	close(kept);
	free(bytes);
}

/* ---- datagrams ---- */

static void cat_dgrams(struct cat *c, uint16_t domid, uint32_t port, uint16_t partner)
{
	cat_pipes(c);
	c->d.len_max = nodes.driver[domid].ring_len;
	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[domid], port, partner, &c->d.dgram), 0);
}

static void test_a_read_is_a_datagram_and_who_came_first_is_answered(void **state)
{
	struct cat a, b;

	cat_dgrams(&a, A, 0, B);
	cat_dgrams(&b, B, PORT, VHX_ARGO_ANYBODY);
	a.d.to = (struct vhx_argo_address){ .port = PORT, .domid = B, .type = VHX_ARGO_TYPE_DGRAM };
	a.d.count = 1;
	b.cfg.shut = true;
	cat_start(&a);
	/* Nobody is known yet to whom it goes. */
	write_text(&b, "answer");
	cat_start(&b);
	write_text(&a, "one");
	read_text(&b, "one");
	read_text(&a, "answer");
	cat_end(&a, 0);
	cat_eof(&b);
	cat_end(&b, 0);
	assert_int_equal(a.counts.sent, 1);
	assert_int_equal(a.counts.received, 1);
	vhx_argo_dgram_close(a.d.dgram);
	vhx_argo_dgram_close(b.d.dgram);
}

static void test_datagrams_to_nobody_fail(void **state)
{
	struct cat a;

	cat_dgrams(&a, A, 0, B);
	a.d.to = (struct vhx_argo_address){ .port = PORT, .domid = B, .type = VHX_ARGO_TYPE_DGRAM };
	write_text(&a, "x");
	cat_start(&a);
	cat_end(&a, -ECONNREFUSED);
	vhx_argo_dgram_close(a.d.dgram);
}

static void test_quit_ends_datagrams(void **state)
{
	struct cat a;

	cat_dgrams(&a, A, PORT, B);
	a.cfg.quit_ms = 1;
	cat_eof(&a);
	cat_start(&a);
	cat_end(&a, 0);
	vhx_argo_dgram_close(a.d.dgram);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_with_shut_each_direction_ends_for_itself),
		CASE(test_without_shut_the_peers_end_is_the_end),
		CASE(test_quit_does_not_wait_for_the_peer),
		CASE(test_quit_ends_while_the_peer_goes_on),
		CASE(test_a_peer_that_breaks_off_is_a_failure),
		CASE(test_what_the_peer_said_before_it_went_is_taken),
		CASE(test_a_peer_that_ended_keeps_nobody_awake),
		CASE(test_an_output_that_is_full_keeps_nobody_awake),
		CASE(test_input_that_nobody_reads_keeps_nobody_awake),
		CASE(test_an_output_that_is_gone_is_a_failure),
		CASE(test_slow_readers_lose_nothing),
		CASE(test_files_are_copied_as_they_are),
		CASE(test_a_read_is_a_datagram_and_who_came_first_is_answered),
		CASE(test_datagrams_to_nobody_fail),
		CASE(test_quit_ends_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
