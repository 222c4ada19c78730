// SPDX-License-Identifier: BSD-3-Clause
/* Streams on the model hypervisor: the whole life of one, and what a peer may do to it. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <vhx/argo_stream.h>

#include "node.h"

#define PORT 0x1234u

static struct nodes nodes;

/* What is not found by an event is not found in the time of a test, unless one wants to look. */
static int setup(void **state)
{
	nodes_open(&nodes, true);
	for (int i = A; i < NODES; i++)
		assert_int_equal(vhx_argo_driver_set_probe(&nodes.driver[i], 3600000), 0);
	return 0;
}

static int teardown(void **state)
{
	nodes_close(&nodes);
	return 0;
}

static struct vhx_argo_listener *listen_at(uint16_t domid, uint16_t partner)
{
	struct vhx_argo_listener *l;

	assert_int_equal(vhx_argo_listener_open(&nodes.driver[domid], PORT, partner, &l), 0);
	return l;
}

static struct vhx_argo_stream *connect_to(uint16_t from, uint16_t to)
{
	struct vhx_argo_stream *s;

	assert_int_equal(vhx_argo_stream_connect(&nodes.driver[from], to, PORT, &s), 0);
	return s;
}

static struct vhx_argo_stream *accept_of(struct vhx_argo_listener *l, uint16_t domid)
{
	struct vhx_argo_stream *s;

	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[domid], &s), 0);
	return s;
}

/* A connects to B. */
struct pair {
	struct vhx_argo_listener *listener;
	struct vhx_argo_stream *a, *b;
};

static struct pair pair_open(void)
{
	struct pair p = { .listener = listen_at(B, A) };

	p.a = connect_to(A, B);
	assert_int_equal(vhx_argo_stream_connected(p.a), 0);
	p.b = accept_of(p.listener, B);
	assert_int_equal(vhx_argo_stream_wait(p.a, GUARD_MS), 0);
	assert_int_equal(vhx_argo_stream_connected(p.a), 1);
	assert_int_equal(vhx_argo_stream_connected(p.b), 1);
	return p;
}

static void pair_close(struct pair *p)
{
	vhx_argo_stream_close(p->a);
	vhx_argo_stream_close(p->b);
	vhx_argo_listener_close(p->listener);
}

static struct vhx_argo_stream_stats stats_of(const struct vhx_argo_stream *s)
{
	struct vhx_argo_stream_stats stats;

	vhx_argo_stream_stats(s, &stats, sizeof(stats));
	return stats;
}

static bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

static void expect_bytes(struct vhx_argo_stream *s, const char *text)
{
	char buf[64];

	assert_int_equal(vhx_argo_stream_recv(s, buf, sizeof(buf)), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

/* What comes next, other than -EAGAIN. */
static int64_t next(struct vhx_argo_stream *s)
{
	char buf[64];
	int64_t ret;

	while ((ret = vhx_argo_stream_recv(s, buf, sizeof(buf))) == -EAGAIN)
		assert_int_equal(vhx_argo_stream_wait(s, GUARD_MS), 0);
	return ret;
}

static void test_bytes_go_both_ways_and_ends_are_said_one_by_one(void **state)
{
	struct pair p = pair_open();
	struct vhx_argo_address peer;
	char c;

	vhx_argo_stream_peer(p.a, &peer);
	assert_int_equal(peer.domid, B);
	assert_int_not_equal(peer.port, PORT);
	assert_int_equal(vhx_argo_stream_recv(p.a, &c, 0), -EINVAL);
	assert_int_equal(vhx_argo_stream_recv(p.b, &c, 1), -EAGAIN);
	assert_int_equal(vhx_argo_stream_send(p.a, "one", 3), 3);
	assert_int_equal(vhx_argo_stream_send(p.a, "two", 3), 3);
	assert_int_equal(vhx_argo_stream_wait(p.b, GUARD_MS), 0);
	expect_bytes(p.b, "onetwo");
	assert_int_equal(vhx_argo_stream_shutdown(p.a), 0);
	assert_int_equal(vhx_argo_stream_shutdown(p.a), 0);
	assert_int_equal(vhx_argo_stream_send(p.a, "x", 1), -EPIPE);
	assert_int_equal(vhx_argo_stream_recv(p.b, &c, 1), 0);
	assert_int_equal(vhx_argo_stream_recv(p.b, &c, 1), 0);
	/* A half that is closed leaves the other one as it is. */
	assert_int_equal(vhx_argo_stream_send(p.b, "back", 4), 4);
	assert_int_equal(vhx_argo_stream_shutdown(p.b), 0);
	vhx_argo_stream_close(p.b);
	p.b = NULL;
	expect_bytes(p.a, "back");
	assert_int_equal(next(p.a), 0);
	assert_int_equal(stats_of(p.a).strays, 0);
	pair_close(&p);
}

static void test_bytes_are_read_in_pieces_of_any_size(void **state)
{
	struct pair p = pair_open();
	uint8_t out[1000], in[1000];
	size_t got = 0, n = 1;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	assert_int_equal(vhx_argo_stream_send(p.a, out, 300), 300);
	assert_int_equal(vhx_argo_stream_send(p.a, out + 300, 700), 700);
	while (got < sizeof(in)) {
		size_t want = n++ % 50 + 1;
		int64_t ret = vhx_argo_stream_recv(p.b, in + got,
						   want < 1000 - got ? want : 1000 - got);

		assert_true(ret > 0);
		got += (size_t)ret;
	}
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(stats_of(p.b).rx_frames, 2);
	pair_close(&p);
}

static void test_nobody_listens(void **state)
{
	struct vhx_argo_stream *s;

	assert_int_equal(vhx_argo_stream_connect(&nodes.driver[A], B, PORT, &s), -ECONNREFUSED);
	assert_int_equal(vhx_argo_stream_connect(&nodes.driver[A], 9, PORT, &s), -ESRCH);
}

static void test_a_listener_that_closes_refuses_who_waits(void **state)
{
	struct vhx_argo_listener *l = listen_at(B, A);
	struct vhx_argo_stream *s = connect_to(A, B), *t = connect_to(A, B);

	assert_int_equal(vhx_argo_stream_send(s, "x", 1), -EAGAIN);
	vhx_argo_listener_close(l);
	assert_int_equal(next(s), -ECONNREFUSED);
	assert_int_equal(vhx_argo_stream_connected(s), -ECONNREFUSED);
	assert_int_equal(vhx_argo_stream_connected(t), -ECONNREFUSED);
	vhx_argo_stream_close(s);
	vhx_argo_stream_close(t);
}

/* What was accepted does not hang on the listener, although its answer is read after that is gone. */
static void test_a_listener_that_answered_may_go(void **state)
{
	struct pair p = { .listener = listen_at(B, A) };

	assert_int_equal(vhx_argo_driver_set_probe(&nodes.driver[A], 1), 0);
	p.a = connect_to(A, B);
	assert_int_equal(vhx_argo_stream_connected(p.a), 0);
	poll(NULL, 0, 5);
	p.b = accept_of(p.listener, B);
	vhx_argo_listener_close(p.listener);
	p.listener = NULL;
	assert_int_equal(vhx_argo_stream_connected(p.a), 1);
	assert_int_equal(vhx_argo_stream_send(p.b, "hi", 2), 2);
	expect_bytes(p.a, "hi");
	pair_close(&p);
}

static void test_who_gave_up_is_passed_over(void **state)
{
	struct vhx_argo_listener *l = listen_at(B, VHX_ARGO_ANYBODY);
	struct vhx_argo_stream *s = connect_to(A, B), *c = connect_to(C, B), *b;
	struct vhx_argo_address peer;

	vhx_argo_stream_close(s);
	b = accept_of(l, B);
	vhx_argo_stream_peer(b, &peer);
	assert_int_equal(peer.domid, C);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &s), -EAGAIN);
	vhx_argo_stream_close(b);
	vhx_argo_stream_close(c);
	vhx_argo_listener_close(l);
}

static void test_listeners_wait_by_their_descriptor(void **state)
{
	struct vhx_argo_listener *l = listen_at(B, A);
	struct vhx_argo_stream *s, *b;

	assert_int_equal(vhx_argo_listener_port(l), PORT);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &b), -EAGAIN);
	assert_false(readable(vhx_argo_listener_fileno(l)));
	s = connect_to(A, B);
	assert_int_equal(vhx_argo_listener_wait(l, GUARD_MS), 0);
	b = accept_of(l, B);
	vhx_argo_stream_close(s);
	assert_int_equal(next(b), -ECONNRESET);
	vhx_argo_stream_close(b);
	vhx_argo_listener_close(l);
}

static void test_a_close_without_an_end_resets(void **state)
{
	struct pair p = pair_open();
	char buf[8];

	assert_int_equal(vhx_argo_stream_send(p.a, "last", 4), 4);
	vhx_argo_stream_close(p.a);
	p.a = NULL;
	/* What was sent is read first. */
	assert_int_equal(vhx_argo_stream_recv(p.b, buf, 2), 2);
	assert_int_equal(vhx_argo_stream_recv(p.b, buf, 8), 2);
	assert_int_equal(vhx_argo_stream_recv(p.b, buf, 8), -ECONNRESET);
	assert_int_equal(vhx_argo_stream_send(p.b, "x", 1), -ECONNRESET);
	assert_int_equal(vhx_argo_stream_shutdown(p.b), -ECONNRESET);
	pair_close(&p);
}

static void test_sending_to_who_is_gone_resets(void **state)
{
	struct pair p = pair_open();

	assert_int_equal(vhx_argo_stream_send(p.a, "last", 4), 4);
	vhx_argo_domain_destroy(nodes.hv, A);
	assert_int_equal(vhx_argo_stream_send(p.b, "x", 1), -ECONNRESET);
	expect_bytes(p.b, "last");
	assert_int_equal(next(p.b), -ECONNRESET);
	pair_close(&p);
}

/* Nobody tells of a domain's end: who waits looks. */
static void test_the_end_of_the_peers_domain_is_found(void **state)
{
	struct pair p;
	char c;

	assert_int_equal(vhx_argo_driver_set_probe(&nodes.driver[B], 1), 0);
	p = pair_open();
	assert_int_equal(vhx_argo_stream_recv(p.b, &c, 1), -EAGAIN);
	vhx_argo_domain_destroy(nodes.hv, A);
	assert_int_equal(next(p.b), -ECONNRESET);
	assert_true(stats_of(p.b).probes > 0);
	pair_close(&p);
}

static void test_the_end_is_found_with_a_full_ring(void **state)
{
	static uint8_t bytes[4096];
	struct pair p;
	int64_t ret;

	assert_int_equal(vhx_argo_driver_set_probe(&nodes.driver[B], 1), 0);
	p = pair_open();
	while ((ret = vhx_argo_stream_send(p.b, bytes, sizeof(bytes))) > 0)
		;
	assert_int_equal(ret, -EAGAIN);
	vhx_argo_domain_destroy(nodes.hv, A);
	while ((ret = vhx_argo_stream_send(p.b, bytes, 1)) == -EAGAIN)
		assert_int_equal(vhx_argo_stream_wait(p.b, GUARD_MS), 0);
	assert_int_equal(ret, -ECONNRESET);
	pair_close(&p);
}

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

static int64_t pattern_send(struct vhx_argo_stream *s, uint64_t from, size_t len)
{
	static _Thread_local uint8_t bytes[100000];

	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(from + i);
	return vhx_argo_stream_send(s, bytes, len);
}

static int64_t pattern_recv(struct vhx_argo_stream *s, uint64_t from, size_t len)
{
	static _Thread_local uint8_t bytes[100000];
	int64_t ret = vhx_argo_stream_recv(s, bytes, len);

	for (int64_t i = 0; i < ret; i++) {
		if (bytes[i] != pattern(from + (uint64_t)i))
			return -EBADMSG;
	}
	return ret;
}

/* The receiver reads when the sender is refused. Both wait by their descriptors alone. */
static void test_a_full_ring_is_back_pressure(void **state)
{
	const uint64_t total = 1 << 20;
	uint64_t sent = 0, got = 0;
	struct vhx_argo_stream_stats a, b;
	struct pair p = pair_open();
	int64_t ret;

	while (got < total) {
		while (sent < total && (ret = pattern_send(p.a, sent, 3001)) > 0)
			sent += (uint64_t)ret;
		if (sent < total) {
			assert_int_equal(ret, -EAGAIN);
			assert_false(readable(vhx_argo_stream_fileno(p.a)));
		}
		while ((ret = pattern_recv(p.b, got, 5000)) > 0)
			got += (uint64_t)ret;
		assert_int_equal(ret, -EAGAIN);
		assert_int_equal(got, sent);
		if (sent < total)
			assert_int_equal(vhx_argo_stream_wait(p.a, GUARD_MS), 0);
	}
	a = stats_of(p.a);
	b = stats_of(p.b);
	assert_true(a.refused >= total / VHX_ARGO_STREAM_RING_DEFAULT - 1);
	assert_true(b.notifies >= a.refused && b.notifies < b.rx_frames);
	assert_int_equal(a.tx_bytes, sent);
	assert_int_equal(b.rx_bytes, sent);
	pair_close(&p);
}

/* The sender was not told to wait, and does not: it reads. */
static void test_a_send_that_went_in_part_waits_for_no_room(void **state)
{
	static uint8_t bytes[1 << 20];
	struct pair p = pair_open();
	int64_t sent = vhx_argo_stream_send(p.a, bytes, sizeof(bytes));

	assert_true(sent > 0 && sent < (int64_t)sizeof(bytes));
	assert_int_equal(vhx_argo_stream_recv(p.a, bytes, 1), -EAGAIN);
	while (sent)
		sent -= vhx_argo_stream_recv(p.b, bytes, sizeof(bytes));
	assert_int_equal(vhx_argo_stream_recv(p.b, bytes, 1), -EAGAIN);
	for (int i = 0; i < 2; i++)
		assert_int_equal(vhx_argo_stream_recv(p.a, bytes, 1), -EAGAIN);
	assert_false(readable(vhx_argo_stream_fileno(p.a)));
	pair_close(&p);
}

/* A receiver that keeps up owes nobody a notify. */
static void test_no_notify_without_need(void **state)
{
	struct pair p = pair_open();
	uint64_t got = 0;

	for (unsigned int i = 0; i < 1000; i++) {
		assert_int_equal(pattern_send(p.a, got, 500), 500);
		assert_int_equal(pattern_recv(p.b, got, 500), 500);
		assert_int_equal(pattern_recv(p.b, got, 500), -EAGAIN);
		got += 500;
	}
	assert_int_equal(stats_of(p.b).notifies, 0);
	pair_close(&p);
}

/* One event stands for messages and for room: whichever call takes it, the other is not forgotten. */
static void test_a_call_does_not_take_the_others_event(void **state)
{
	static uint8_t bytes[8192];
	struct pair p = pair_open();
	int64_t ret;

	while ((ret = vhx_argo_stream_send(p.a, bytes, sizeof(bytes))) > 0)
		;
	assert_int_equal(ret, -EAGAIN);
	assert_int_equal(vhx_argo_stream_recv(p.a, bytes, 1), -EAGAIN);
	while ((ret = vhx_argo_stream_recv(p.b, bytes, sizeof(bytes))) > 0)
		;
	/* Room: the reader takes the event, and finds nothing, or a byte. */
	assert_int_equal(vhx_argo_stream_recv(p.a, bytes, 1), -EAGAIN);
	assert_true(readable(vhx_argo_stream_fileno(p.a)));
	assert_int_equal(vhx_argo_stream_send(p.b, "x", 1), 1);
	assert_int_equal(vhx_argo_stream_recv(p.a, bytes, 1), 1);
	assert_int_equal(vhx_argo_stream_recv(p.a, bytes, 1), -EAGAIN);
	assert_true(readable(vhx_argo_stream_fileno(p.a)));
	/* A message: the sender takes the event. */
	assert_int_equal(vhx_argo_stream_send(p.b, "y", 1), 1);
	assert_int_equal(vhx_argo_stream_send(p.a, "z", 1), 1);
	assert_true(readable(vhx_argo_stream_fileno(p.a)));
	expect_bytes(p.a, "y");
	pair_close(&p);
}

struct transfer {
	struct vhx_argo_stream *stream;
	uint64_t total;
	int64_t result; /* bytes that came, or an error */
};

static void *transfer_run(void *ctx)
{
	struct transfer *t = ctx;
	uint64_t sent = 0, got = 0;
	int64_t ret = 0;
	bool ended = false;

	while (!ended || sent < t->total) {
		bool idle = true;

		if (sent < t->total) {
			ret = pattern_send(t->stream, sent,
					   vhx_min_u64(1 + sent % 70000, t->total - sent));
			if (ret > 0) {
				sent += (uint64_t)ret;
				idle = false;
			}
		} else {
			ret = vhx_argo_stream_shutdown(t->stream);
		}
		if (ret < 0 && ret != -EAGAIN)
			break;
		if (!ended) {
			ret = pattern_recv(t->stream, got, 1 + (size_t)(got % 50000));
			if (ret < 0 && ret != -EAGAIN)
				break;
			ended = ret == 0;
			if (ret > 0)
				got += (uint64_t)ret;
			idle &= ret == -EAGAIN;
		}
		if (idle && vhx_argo_stream_wait(t->stream, GUARD_MS) == -ETIMEDOUT) {
			ret = -ETIMEDOUT;
			break;
		}
	}
	while (ended && (ret = vhx_argo_stream_shutdown(t->stream)) == -EAGAIN)
		vhx_argo_stream_wait(t->stream, GUARD_MS);
	t->result = ended && !ret ? (int64_t)got : ret;
	return NULL;
}

/* Both ways at once through rings that are small, two streams at a time, each end in a thread of its own. */
static void test_streams_at_once(void **state)
{
	enum { STREAMS = 2, ENDS = 2 * STREAMS };
	const uint64_t total = 8 << 20;
	struct transfer t[ENDS];
	pthread_t threads[ENDS];
	struct vhx_argo_listener *l = listen_at(B, A);

	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[B], 16384), 0);
	for (int i = 0; i < STREAMS; i++) {
		t[2 * i] = (struct transfer){ .stream = connect_to(A, B), .total = total };
		t[2 * i + 1] = (struct transfer){ .stream = accept_of(l, B), .total = total };
	}
	for (int i = 0; i < ENDS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, transfer_run, &t[i]), 0);
	for (int i = 0; i < ENDS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < ENDS; i++) {
		assert_int_equal(t[i].result, total);
		vhx_argo_stream_close(t[i].stream);
	}
	vhx_argo_listener_close(l);
}

static void test_a_domain_with_itself(void **state)
{
	struct vhx_argo_listener *l = listen_at(A, A);
	struct vhx_argo_stream *s = connect_to(A, A), *t = accept_of(l, A);

	assert_int_equal(vhx_argo_stream_connected(s), 1);
	assert_int_equal(vhx_argo_stream_send(s, "me", 2), 2);
	expect_bytes(t, "me");
	vhx_argo_stream_close(s);
	vhx_argo_stream_close(t);
	vhx_argo_listener_close(l);
}

/* 128 rings of a domain: the listener has one, and what it does not accept stays. */
static void test_no_ring_is_left(void **state)
{
	static struct vhx_argo_dgram *others[ARGO_RINGS_MAX];
	struct vhx_argo_listener *l = listen_at(B, A);
	struct vhx_argo_stream *s = connect_to(A, B), *b;
	unsigned int n = 0;
	int err;

	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[B], 4096), 0);
	while (!(err = vhx_argo_dgram_open(&nodes.driver[B], 0, A, &others[n])))
		n++;
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &b), -ENOSPC);
	vhx_argo_dgram_close(others[--n]);
	b = accept_of(l, B);
	assert_int_equal(vhx_argo_stream_connected(s), 1);
	while (n)
		vhx_argo_dgram_close(others[--n]);
	vhx_argo_stream_close(s);
	vhx_argo_stream_close(b);
	vhx_argo_listener_close(l);
}

/* ---- a peer that speaks for itself ---- */

struct packet {
	struct vhx_argo_frame frame;
	union {
		struct vhx_argo_greeting greeting;
		char data[48];
	};
};

/* An end in B whose peer in A is this test, at port 7. */
struct raw {
	struct vhx_argo_listener *listener;
	struct vhx_argo_stream *s;
	struct vhx_argo_dgram *tap; /* what B's end says */
	struct vhx_argo_address at; /* B's end */
	uint64_t key; /* that B's end chose */
};

static struct packet packet(uint32_t kind, uint64_t key)
{
	return (struct packet){
		.frame = { .kind = vhx_le32_of(kind), .key = vhx_le64_of(key) },
	};
}

static struct packet syn(void)
{
	struct packet p = packet(VHX_ARGO_SYN, 0);

	p.greeting.version = vhx_le32_of(VHX_ARGO_STREAM_VERSION);
	p.greeting.frame_max = vhx_le32_of(4096);
	p.greeting.key = vhx_le64_of(0xfeed);
	return p;
}

static int knock(const struct packet *p, uint32_t len)
{
	return raw_send(&nodes, A, 7, B, PORT, VHX_ARGO_STREAM, p, len);
}

/* What B said next, to us. */
static int64_t heard(struct raw *r, struct packet *p)
{
	struct vhx_argo_address from;
	int64_t len = vhx_argo_dgram_recv(r->tap, &from, p, sizeof(*p));

	if (len >= 0) {
		assert_int_equal(from.type, VHX_ARGO_STREAM);
		assert_int_equal(vhx_le64_get(p->frame.key), 0xfeed);
		r->at = from;
	}
	return len;
}

static struct raw raw_open(void)
{
	struct raw r = { .listener = listen_at(B, A) };
	struct packet p = syn();

	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[A], 7, B, &r.tap), 0);
	assert_int_equal(knock(&p, 40), 40);
	r.s = accept_of(r.listener, B);
	assert_int_equal(heard(&r, &p), 40);
	assert_int_equal(vhx_le32_get(p.frame.kind), VHX_ARGO_ACK);
	r.key = vhx_le64_get(p.greeting.key);
	assert_true(r.key != 0);
	return r;
}

static void raw_close(struct raw *r)
{
	vhx_argo_stream_close(r->s);
	vhx_argo_dgram_close(r->tap);
	vhx_argo_listener_close(r->listener);
}

static void say(struct raw *r, const struct packet *p, uint32_t len)
{
	assert_int_equal(raw_send(&nodes, A, 7, B, r->at.port, VHX_ARGO_STREAM, p, len), len);
}

static void expect_rst(struct raw *r, uint32_t reason)
{
	struct packet p;

	assert_int_equal(heard(r, &p), 16);
	assert_int_equal(vhx_le32_get(p.frame.kind), VHX_ARGO_RST);
	assert_int_equal(vhx_le32_get(p.frame.reason), reason);
}

/* Each ends the stream, once, with an answer. */
static void test_a_breach_ends_the_stream(void **state)
{
	static const struct {
		uint32_t kind, reason, len;
		bool after_fin;
	} breaches[] = {
		{ 0, 0, 16, false },
		{ 6, 0, 16, false },
		{ UINT32_MAX, 0, 16, false },
		{ VHX_ARGO_SYN, 0, 40, false },
		{ VHX_ARGO_ACK, 0, 40, false },
		{ VHX_ARGO_ACK, 0, 16, false },
		{ VHX_ARGO_DATA, 0, 16, false },
		{ VHX_ARGO_DATA, 1, 17, false },
		{ VHX_ARGO_FIN, 0, 17, false },
		{ VHX_ARGO_FIN, 1, 16, false },
		{ VHX_ARGO_RST, 0, 16, false },
		{ VHX_ARGO_RST, 1, 17, false },
		{ VHX_ARGO_DATA, 0, 17, true },
		{ VHX_ARGO_FIN, 0, 16, true },
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(breaches); i++) {
		struct raw r = raw_open();
		struct packet p = packet(VHX_ARGO_FIN, r.key);

		if (breaches[i].after_fin) {
			say(&r, &p, 16);
			assert_int_equal(next(r.s), 0);
		}
		p = syn();
		p.frame = packet(breaches[i].kind, r.key).frame;
		p.frame.reason = vhx_le32_of(breaches[i].reason);
		say(&r, &p, breaches[i].len);
		assert_int_equal(vhx_argo_stream_send(r.s, "x", 1), -EPROTO);
		assert_int_equal(next(r.s), breaches[i].after_fin ? 0 : -EPROTO);
		expect_rst(&r, VHX_ARGO_RST_PROTOCOL);
		assert_int_equal(heard(&r, &p), -EAGAIN);
		raw_close(&r);
	}
}

static void test_a_frame_above_what_was_agreed_ends_the_stream(void **state)
{
	static struct {
		struct packet p;
		uint8_t rest[VHX_ARGO_STREAM_RING_DEFAULT / 4];
	} big;
	struct raw r = raw_open();
	uint32_t most = VHX_ARGO_STREAM_RING_DEFAULT / 4 & ~15u;

	big.p = packet(VHX_ARGO_DATA, r.key);
	say(&r, &big.p, most);
	say(&r, &big.p, most + 1);
	for (uint64_t got = 0; got < most - 16;) {
		int64_t ret = next(r.s);

		assert_true(ret > 0);
		got += (uint64_t)ret;
	}
	assert_int_equal(next(r.s), -EPROTO);
	raw_close(&r);
}

/* Whoever does not know the key says nothing, however much it is. */
static void test_strangers_are_not_heard(void **state)
{
	struct raw r = raw_open();
	struct packet p = packet(VHX_ARGO_DATA, r.key);

	for (unsigned int i = 0; i < 500; i++) {
		uint32_t kind = i % 7;
		struct packet q = packet(kind, r.key ^ 1ull << i % 64);

		assert_int_equal(raw_send(&nodes, A, 7, B, r.at.port, VHX_ARGO_STREAM, &q,
					  16 + i % 32),
				 16 + i % 32);
		assert_int_equal(raw_send(&nodes, A, 7, B, r.at.port,
					  i % 2 ? VHX_ARGO_DGRAM : VHX_ARGO_STREAM, &p, i % 16),
				 i % 16);
	}
	strcpy(p.data, "heard");
	say(&r, &p, 16 + 5);
	/* A call looks at so many of them; then it is the program's turn. */
	assert_int_equal(vhx_argo_stream_recv(r.s, p.data, 5), -EAGAIN);
	assert_true(readable(vhx_argo_stream_fileno(r.s)));
	assert_int_equal(next(r.s), 5);
	assert_int_equal(stats_of(r.s).strays, 1000);
	assert_int_equal(heard(&r, &p), -EAGAIN);
	raw_close(&r);
}

/* However they lie between what is heard, a call looks at so many of them. */
static void test_strangers_between_bytes_are_passed_in_bursts(void **state)
{
	struct raw r = raw_open();
	struct packet p = packet(VHX_ARGO_DATA, r.key), stray = packet(VHX_ARGO_DATA, ~r.key);
	char buf[20];
	int64_t got = 0, n;

	for (unsigned int i = 0; i < sizeof(buf); i++) {
		for (unsigned int k = 0; k < 50; k++)
			say(&r, &stray, 17);
		say(&r, &p, 17);
	}
	n = vhx_argo_stream_recv(r.s, buf, sizeof(buf));
	assert_true(n > 0);
	assert_true(stats_of(r.s).strays <= 64);
	for (got = n; got < (int64_t)sizeof(buf); got += n)
		n = next(r.s);
	assert_int_equal(stats_of(r.s).strays, 50 * sizeof(buf));
	raw_close(&r);
}

/* Others in the peer's domain do not stand for it. */
static void test_strangers_do_not_hide_that_the_peer_is_gone(void **state)
{
	const struct timespec longer_than_a_probe = { .tv_nsec = 2000000 };
	struct packet p = packet(VHX_ARGO_DATA, 1);
	int64_t ret = -EAGAIN;
	struct raw r;
	char c;

	assert_int_equal(vhx_argo_driver_set_probe(&nodes.driver[B], 1), 0);
	r = raw_open();
	vhx_argo_dgram_close(r.tap);
	r.tap = NULL;
	for (int i = 0; i < 100 && ret == -EAGAIN; i++) {
		say(&r, &p, 17);
		ret = vhx_argo_stream_recv(r.s, &c, 1);
		nanosleep(&longer_than_a_probe, NULL);
	}
	assert_int_equal(ret, -ECONNRESET);
	raw_close(&r);
}

static void test_what_is_no_syn_is_passed_over(void **state)
{
	struct vhx_argo_listener *l = listen_at(B, A);
	struct vhx_argo_stream *s;
	struct packet p = syn();

	knock(&p, 39);
	knock(&p, 41);
	knock(&p, 0);
	p.greeting.key = vhx_le64_of(0);
	knock(&p, 40);
	p = syn();
	p.greeting.reserved[1] = vhx_le32_of(1);
	knock(&p, 40);
	p = syn();
	p.greeting.frame_max = vhx_le32_of(VHX_ARGO_FRAME_MIN - 1);
	knock(&p, 40);
	p = syn();
	p.frame.key = vhx_le64_of(1);
	knock(&p, 40);
	p = syn();
	p.frame.kind = vhx_le32_of(VHX_ARGO_ACK);
	knock(&p, 40);
	p = syn();
	/* Nobody is at port 7: it is gone by the time that it is accepted. */
	knock(&p, 40);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &s), -EAGAIN);
	vhx_argo_listener_close(l);
}

/* It is passed over where there is no ring to be had, as anywhere else. */
static void test_who_knocked_and_went_costs_no_ring(void **state)
{
	static struct vhx_argo_dgram *others[ARGO_RINGS_MAX];
	struct vhx_argo_listener *l = listen_at(B, A);
	struct vhx_argo_stream *s;
	struct packet p = syn();
	unsigned int n = 0;

	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[B], 4096), 0);
	while (!vhx_argo_dgram_open(&nodes.driver[B], 0, A, &others[n]))
		n++;
	assert_int_equal(knock(&p, 40), 40);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &s), -EAGAIN);
	while (n)
		vhx_argo_dgram_close(others[--n]);
	vhx_argo_listener_close(l);
}

static void test_a_version_that_is_not_spoken_is_answered(void **state)
{
	struct raw r = raw_open();
	struct vhx_argo_stream *s;
	struct packet p = syn();

	p.greeting.version = vhx_le32_of(VHX_ARGO_STREAM_VERSION + 1);
	knock(&p, 40);
	assert_int_equal(vhx_argo_listener_accept(r.listener, &nodes.driver[B], &s), -EAGAIN);
	expect_rst(&r, VHX_ARGO_RST_PROTOCOL);
	raw_close(&r);
}

/* As the driver has it: readable until what came was consumed, or a send that was refused was given up. */
struct level {
	struct vhx_argo_dev dev;
	struct vhx_argo_dev *model;
	bool refused;
};

static struct level *to_level(struct vhx_argo_dev *dev)
{
	return vhx_container_of(dev, struct level, dev);
}

static int level_bind(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		      const struct argo_ring **ring)
{
	struct level *l = to_level(dev);
	int err = l->model->ops->bind(l->model, id, ring);

	dev->port = l->model->port;
	return err;
}

static int level_send(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		      const struct iovec *iov, unsigned int cnt)
{
	struct level *l = to_level(dev);
	int err = l->model->ops->send(l->model, dst, type, iov, cnt);

	l->refused = err == -EAGAIN;
	return err;
}

static int level_consume(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above,
			 uint32_t *tx_ptr)
{
	struct level *l = to_level(dev);

	l->model->ops->event(l->model);
	return l->model->ops->consume(l->model, rx_ptr, above, tx_ptr);
}

static bool level_event(struct vhx_argo_dev *dev)
{
	struct level *l = to_level(dev);

	return !l->refused || l->model->ops->event(l->model);
}

static void level_close(struct vhx_argo_dev *dev)
{
	vhx_argo_dev_close(to_level(dev)->model);
	free(to_level(dev));
}

static int level_endpoint(struct vhx_argo_driver *driver, struct vhx_argo_dev **dev)
{
	static const struct vhx_argo_dev_ops ops = {
		.bind = level_bind,
		.send = level_send,
		.consume = level_consume,
		.event = level_event,
		.close = level_close,
	};
	struct level *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	assert_int_equal(vhx_argo_model_dev_open(driver->ctx, driver->domid, &l->model), 0);
	l->dev = (struct vhx_argo_dev){ .ops = &ops, .fd = l->model->fd, .domid = driver->domid };
	*dev = &l->dev;
	return 0;
}

/* Who knocks with a version that we do not speak, and has no room for the answer, keeps nobody awake. */
static void test_an_answer_that_is_not_repeated_is_not_waited_for(void **state)
{
	struct vhx_argo_listener *l;
	struct vhx_argo_stream *s;
	struct vhx_argo_dgram *tap;
	struct packet p = syn();
	uint8_t buf[64];

	nodes.driver[B].endpoint = level_endpoint;
	l = listen_at(B, A);
	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[A], 4096), 0);
	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[A], 7, B, &tap), 0);
	while (raw_send(&nodes, B, 1, A, 7, 1, buf, 16) == 16)
		;
	p.greeting.version = vhx_le32_of(VHX_ARGO_STREAM_VERSION + 1);
	knock(&p, 40);
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &s), -EAGAIN);
	assert_false(readable(vhx_argo_listener_fileno(l)));
	/* The room that it was refused for is there. */
	while (vhx_argo_dgram_recv(tap, NULL, buf, sizeof(buf)) >= 0)
		;
	assert_true(readable(vhx_argo_listener_fileno(l)));
	assert_int_equal(vhx_argo_listener_accept(l, &nodes.driver[B], &s), -EAGAIN);
	assert_false(readable(vhx_argo_listener_fileno(l)));
	vhx_argo_dgram_close(tap);
	vhx_argo_listener_close(l);
}

/* No frame is larger than the peer said, and an answer that has no room waits for it. */
static void test_the_peers_limit_is_kept_and_its_full_ring_waited_for(void **state)
{
	struct raw r = { .listener = listen_at(B, A) };
	static uint8_t bytes[8192];
	uint8_t buf[8192];
	struct packet p = syn();
	int64_t n, got = 0;

	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[A], 4096), 0);
	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[A], 7, B, &r.tap), 0);
	while (raw_send(&nodes, B, 1, A, 7, 1, bytes, 16) == 16)
		;
	p.greeting.frame_max = vhx_le32_of(VHX_ARGO_FRAME_MIN);
	knock(&p, 40);
	r.s = accept_of(r.listener, B);
	assert_int_equal(vhx_argo_stream_connected(r.s), 0);
	assert_int_equal(vhx_argo_stream_send(r.s, bytes, sizeof(bytes)), -EAGAIN);
	assert_false(readable(vhx_argo_stream_fileno(r.s)));
	while ((n = vhx_argo_dgram_recv(r.tap, NULL, buf, sizeof(buf))) >= 0)
		assert_int_equal(n, 16);
	assert_int_equal(vhx_argo_stream_wait(r.s, GUARD_MS), 0);
	assert_true(vhx_argo_stream_send(r.s, bytes, sizeof(bytes)) > 0);
	assert_int_equal(heard(&r, &p), 40);
	assert_int_equal(vhx_le32_get(p.frame.kind), VHX_ARGO_ACK);
	while ((n = vhx_argo_dgram_recv(r.tap, NULL, buf, sizeof(buf))) >= 0) {
		assert_true(n <= VHX_ARGO_FRAME_MIN);
		got += n - 16;
	}
	assert_int_equal(got, stats_of(r.s).tx_bytes);
	raw_close(&r);
}

static void test_a_reset_is_told_in_full(void **state)
{
	static const struct {
		uint32_t reason;
		int err;
	} resets[] = {
		{ VHX_ARGO_RST_CLOSED, -ECONNRESET },
		{ VHX_ARGO_RST_REFUSED, -ECONNRESET },
		{ VHX_ARGO_RST_PROTOCOL, -EPROTO },
		{ 77, -ECONNRESET },
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(resets); i++) {
		struct raw r = raw_open();
		struct packet p = packet(VHX_ARGO_RST, r.key);

		p.frame.reason = vhx_le32_of(resets[i].reason);
		say(&r, &p, 16);
		assert_int_equal(next(r.s), resets[i].err);
		/* What comes behind it does not count. */
		p = packet(VHX_ARGO_DATA, r.key);
		say(&r, &p, 17);
		assert_int_equal(next(r.s), resets[i].err);
		assert_int_equal(heard(&r, &p), -EAGAIN);
		raw_close(&r);
	}
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_bytes_go_both_ways_and_ends_are_said_one_by_one),
		CASE(test_bytes_are_read_in_pieces_of_any_size),
		CASE(test_nobody_listens),
		CASE(test_a_listener_that_closes_refuses_who_waits),
		CASE(test_a_listener_that_answered_may_go),
		CASE(test_who_gave_up_is_passed_over),
		CASE(test_listeners_wait_by_their_descriptor),
		CASE(test_a_close_without_an_end_resets),
		CASE(test_sending_to_who_is_gone_resets),
		CASE(test_the_end_of_the_peers_domain_is_found),
		CASE(test_the_end_is_found_with_a_full_ring),
		CASE(test_a_full_ring_is_back_pressure),
		CASE(test_a_send_that_went_in_part_waits_for_no_room),
		CASE(test_no_notify_without_need),
		CASE(test_a_call_does_not_take_the_others_event),
		CASE(test_streams_at_once),
		CASE(test_a_domain_with_itself),
		CASE(test_no_ring_is_left),
		CASE(test_a_breach_ends_the_stream),
		CASE(test_a_frame_above_what_was_agreed_ends_the_stream),
		CASE(test_strangers_are_not_heard),
		CASE(test_strangers_between_bytes_are_passed_in_bursts),
		CASE(test_strangers_do_not_hide_that_the_peer_is_gone),
		CASE(test_what_is_no_syn_is_passed_over),
		CASE(test_who_knocked_and_went_costs_no_ring),
		CASE(test_a_version_that_is_not_spoken_is_answered),
		CASE(test_an_answer_that_is_not_repeated_is_not_waited_for),
		CASE(test_the_peers_limit_is_kept_and_its_full_ring_waited_for),
		CASE(test_a_reset_is_told_in_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
