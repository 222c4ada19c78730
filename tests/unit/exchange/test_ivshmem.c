// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `ivshmem`: lives that begin and end at any moment, and a peer that is not our code. The test stands
 * where the window's owner does: it has the window, and passes the events on, or loses them with a side.
 *
 * test_ivshmem [guest | kernel]: trust is tried on the host, or on the guest; with `kernel` the guest's side is
 * that of the running kernel throughout.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vhx/section.h>

#include "../../conformance/kernel_port.h"
#include "exchange/ivshmem.h"
#include "util/barrier.h"

#define SIZE VHX_WINDOW_SIZE_MIN
#define HOST VHX_WINDOW_HOST
#define GUEST VHX_WINDOW_GUEST
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* Who is at the guest's side, and which side the tests of trust are about. */
static bool kernel;
static int ours = HOST;

struct side {
	struct vhx_port *port;
	int sock; /* the owner's end */
	uint32_t life; /* counts */
	uint32_t sent;
	/* What came: all of one life of the other side, in order. */
	uint32_t from, received;
};

struct world {
	int window;
	uint8_t *map;
	struct vhx_section_header *header[2];
	struct side side[2];
	uint32_t random;
};

static void world_open(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->window = vhx_ivshmem_window_create(SIZE);
	assert_true(w->window >= 0);
	w->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->window, 0);
	assert_true(w->map != MAP_FAILED);
	w->header[HOST] = (void *)w->map;
	w->header[GUEST] = (void *)(w->map + SIZE / 2);
}

static void side_close(struct world *w, int s)
{
	struct side *side = &w->side[s];

	if (!side->port)
		return;
	vhx_port_close(side->port);
	close(side->sock);
	side->port = NULL;
}

static void world_close(struct world *w)
{
	side_close(w, HOST);
	side_close(w, GUEST);
	munmap(w->map, SIZE);
	close(w->window);
}

static int open_side(struct world *w, int s, int sock, struct vhx_port **port)
{
	if (kernel && s == GUEST)
		return kernel_port_open(sock, w->window, SIZE, port);
	return vhx_ivshmem_open(sock, w->window, SIZE, (uint32_t)s, port);
}

static void side_open(struct world *w, int s)
{
	struct side *side = &w->side[s];
	int socks[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	side->sock = socks[1];
	assert_int_equal(open_side(w, s, socks[0], &side->port), 0);
	side->life++;
	side->sent = 0;
	side->from = 0;
	side->received = 0;
}

/* A process that dies leaves its words as they are, and nobody raises an event. */
static void side_crash(struct world *w, int s)
{
	struct vhx_section_header *h = w->header[s];
	uint32_t state;

	if (!w->side[s].port)
		return;
	state = h->state.v;
	side_close(w, s);
	h->state.v = state;
}

/* Passes on what side @s raised. */
static bool events_pass(struct world *w, int s)
{
	struct side *from = &w->side[s], *to = &w->side[!s];
	bool any = false;
	char byte;

	while (from->port && recv(from->sock, &byte, 1, MSG_DONTWAIT) == 1) {
		any = true;
		if (to->port)
			send(to->sock, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	return any;
}

struct letter {
	uint32_t life, seq;
};

static void side_send(struct world *w, int s)
{
	struct side *side = &w->side[s];
	struct letter letter = { side->life, side->sent };
	struct iovec iov = { &letter, sizeof(letter) };
	int err = vhx_port_send(side->port, 7, &iov, 1);

	assert_true(err == 0 || err == -EAGAIN || err == -EPIPE);
	if (!err)
		side->sent++;
}

static void side_receive(struct world *w, int s)
{
	struct side *side = &w->side[s];
	struct letter letter;
	struct vhx_msg msg;
	int ret;

	while ((ret = vhx_port_peek(side->port, &msg)) == 1) {
		assert_int_equal(msg.type, 7);
		assert_int_equal(msg.len, sizeof(letter));
		vhx_port_read(side->port, 0, &letter, sizeof(letter));
		vhx_port_consume(side->port);
		/* One life of a side hears of one life of the other, from its first word on. */
		if (!side->received)
			side->from = letter.life;
		assert_int_equal(letter.life, side->from);
		assert_int_equal(letter.seq, side->received);
		side->received++;
	}
	assert_true(ret == 0 || ret == -EPIPE);
}

/* What a program does with its end: take events, read, and begin a new life when this one is over (true). */
static bool side_run(struct world *w, int s)
{
	int err = vhx_port_event(w->side[s].port);

	assert_true(err == 0 || err == -EPIPE);
	side_receive(w, s);
	if (err) {
		side_close(w, s);
		side_open(w, s);
	}
	return err != 0;
}

/* Events go round until none is under way. */
static void world_settle(struct world *w)
{
	for (int rounds = 0; rounds < 100; rounds++) {
		bool any = false;

		for (int s = 0; s < 2; s++) {
			if (w->side[s].port)
				any |= side_run(w, s);
		}
		any |= events_pass(w, HOST);
		any |= events_pass(w, GUEST);
		if (!any)
			return;
	}
	fail_msg("events without end");
}

static void world_meet(struct world *w)
{
	side_open(w, HOST);
	side_open(w, GUEST);
	world_settle(w);
	assert_true(vhx_port_ready(w->side[HOST].port));
	assert_true(vhx_port_ready(w->side[GUEST].port));
}

static void expect_talk(struct world *w)
{
	for (int s = 0; s < 2; s++) {
		uint32_t before = w->side[!s].received;

		assert_true(vhx_port_ready(w->side[s].port));
		side_send(w, s);
		side_receive(w, !s);
		assert_int_equal(w->side[!s].received, before + 1);
		assert_int_equal(w->side[!s].from, w->side[s].life);
	}
}

static uint32_t random_next(struct world *w)
{
	w->random = w->random * 1664525u + 1013904223u;
	return w->random >> 8;
}

/* ---- lives ---- */

static void test_either_side_may_begin(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct world w;

		world_open(&w);
		side_open(&w, first);
		world_settle(&w);
		assert_false(vhx_port_ready(w.side[first].port));
		side_open(&w, !first);
		world_settle(&w);
		expect_talk(&w);
		world_close(&w);
	}
}

/* Steps of a meeting, one at a time, and a side that dies before any of them. */
static void test_restart_at_each_step_of_the_meeting(void **state)
{
	for (int step = 0; step < 8; step++) {
		for (int victim = 0; victim < 2; victim++) {
			for (int crash = 0; crash < 2; crash++) {
				struct world w;

				world_open(&w);
				side_open(&w, HOST);
				side_open(&w, GUEST);
				for (int i = 0; i < step; i++) {
					if (i % 2)
						side_run(&w, (i / 2) % 2);
					else
						events_pass(&w, (i / 2 + 1) % 2);
				}
				if (crash)
					side_crash(&w, victim);
				else
					side_close(&w, victim);
				side_open(&w, victim);
				world_settle(&w);
				expect_talk(&w);
				world_close(&w);
			}
		}
	}
}

static void test_restart_at_any_time(void **state)
{
	/* A call into the kernel takes its time. */
	for (uint32_t seed = 0; seed < (kernel ? 40 : 400); seed++) {
		struct world w;

		world_open(&w);
		w.random = seed;
		side_open(&w, HOST);
		side_open(&w, GUEST);
		for (int i = 0; i < 200; i++) {
			int s = random_next(&w) % 2;

			switch (random_next(&w) % 12) {
			case 0:
				side_crash(&w, s);
				side_open(&w, s);
				break;
			case 1:
				/* Its last events are lost or not. */
				if (random_next(&w) % 2)
					events_pass(&w, s);
				side_close(&w, s);
				side_open(&w, s);
				break;
			case 2:
			case 3:
			case 4:
				side_run(&w, s);
				break;
			case 5:
			case 6:
				events_pass(&w, s);
				break;
			case 7:
				vhx_port_prepare_wait(w.side[s].port);
				break;
			default:
				side_send(&w, s);
			}
		}
		world_settle(&w);
		expect_talk(&w);
		world_close(&w);
	}
}

static void test_both_sides_restart_at_once(void **state)
{
	struct world w;

	world_open(&w);
	world_meet(&w);
	side_send(&w, HOST);
	side_send(&w, GUEST);
	side_crash(&w, HOST);
	side_crash(&w, GUEST);
	side_open(&w, GUEST);
	side_open(&w, HOST);
	world_settle(&w);
	assert_int_equal(w.side[HOST].received + w.side[GUEST].received, 0);
	expect_talk(&w);
	world_close(&w);
}

static void test_window_full_of_an_older_use(void **state)
{
	struct world w;

	world_open(&w);
	for (int s = 0; s < 2; s++) {
		memset((uint8_t *)w.header[s] + 16, 0xa5, SIZE / 2 - 16);
		/* READY, with indices that make no sense, and answering somebody. */
		w.header[s]->state.v = htole32(VHX_WINDOW_READY);
	}
	side_open(&w, HOST);
	assert_int_equal(vhx_port_event(w.side[HOST].port), 0);
	assert_false(vhx_port_ready(w.side[HOST].port));
	side_open(&w, GUEST);
	world_settle(&w);
	expect_talk(&w);
	world_close(&w);
}

static void test_incarnation_differs_in_each_life(void **state)
{
	uint32_t last = 0;
	struct world w;

	world_open(&w);
	for (int i = 0; i < 50; i++) {
		side_open(&w, HOST);
		assert_int_not_equal(w.header[HOST]->inc.v, 0);
		assert_int_not_equal(w.header[HOST]->inc.v, last);
		last = w.header[HOST]->inc.v;
		side_close(&w, HOST);
		assert_int_equal(w.header[HOST]->state.v, VHX_WINDOW_GONE);
	}
	world_close(&w);
}

static void test_clean_leave_is_told_and_what_was_said_is_read(void **state)
{
	struct world w;

	world_open(&w);
	world_meet(&w);
	for (int i = 0; i < 5; i++)
		side_send(&w, HOST);
	assert_int_equal(vhx_port_prepare_wait(w.side[GUEST].port), 1);
	vhx_port_close(w.side[HOST].port);
	w.side[HOST].port = NULL;
	close(w.side[HOST].sock);
	/* No event yet: the death is found at the next use. */
	assert_int_equal(vhx_port_send(w.side[GUEST].port, 1, NULL, 0), -EPIPE);
	side_receive(&w, GUEST);
	assert_int_equal(w.side[GUEST].received, 5);
	assert_int_equal(vhx_port_event(w.side[GUEST].port), -EPIPE);
	world_close(&w);
}

static void test_gone_stored_by_the_owner_of_the_window(void **state)
{
	struct vhx_port *guest;
	struct world w;

	world_open(&w);
	world_meet(&w);
	guest = w.side[GUEST].port;
	side_send(&w, HOST);
	assert_int_equal(vhx_port_prepare_wait(guest), 1);
	side_crash(&w, HOST);
	assert_int_equal(vhx_port_event(guest), 0);
	vhx_store_release(&w.header[HOST]->state.v, htole32(VHX_WINDOW_GONE));
	/* The kernel tells a death after what came before it. */
	if (!kernel)
		assert_int_equal(vhx_port_event(guest), -EPIPE);
	side_receive(&w, GUEST);
	assert_int_equal(w.side[GUEST].received, 1);
	assert_int_equal(vhx_port_event(guest), -EPIPE);
	side_open(&w, HOST);
	world_settle(&w);
	expect_talk(&w);
	world_close(&w);
}

/* The next life of the peer begins with index 0: just what a ring at the end of the index range waits for. */
static void test_index_of_the_next_life_where_ours_wraps(void **state)
{
	struct vhx_port *host, *guest;
	uint64_t moved = 0;
	struct vhx_msg msg;
	struct world w;
	uint32_t len, step;
	void *buf;

	world_open(&w);
	world_meet(&w);
	host = w.side[HOST].port;
	guest = w.side[GUEST].port;
	len = host->max_message;
	step = vhx_footprint(len);
	while (moved + step < 1ull << 32) {
		assert_int_equal(vhx_port_reserve(host, len, &buf), 0);
		assert_int_equal(vhx_port_commit(host, 1, len), 0);
		assert_int_equal(vhx_port_peek(guest, &msg), 1);
		vhx_port_consume(guest);
		moved += step;
	}
	assert_int_equal(vhx_port_peek(guest, &msg), 0);
	side_crash(&w, HOST);
	side_open(&w, HOST);
	assert_int_equal(vhx_port_peek(guest, &msg), -EPIPE);
	assert_int_equal(vhx_port_prepare_wait(guest), 1);
	assert_int_equal(vhx_port_peek(guest, &msg), -EPIPE);
	world_close(&w);
}

static void test_socket_of_the_owner_ends(void **state)
{
	struct world w;

	for (int met = 0; met < 2; met++) {
		world_open(&w);
		side_open(&w, HOST);
		if (met) {
			side_open(&w, GUEST);
			world_settle(&w);
		}
		shutdown(w.side[HOST].sock, SHUT_RDWR);
		assert_int_equal(vhx_port_event(w.side[HOST].port), -EPIPE);
		assert_true(vhx_port_ready(w.side[HOST].port));
		world_close(&w);
	}
}

static void test_close_leaves_a_successor_alone(void **state)
{
	struct vhx_port *old;
	struct world w;
	int old_sock;

	world_open(&w);
	world_meet(&w);
	old = w.side[HOST].port;
	old_sock = w.side[HOST].sock;
	side_open(&w, HOST);
	vhx_port_close(old);
	close(old_sock);
	assert_int_equal(w.header[HOST]->state.v, VHX_WINDOW_READY);
	world_settle(&w);
	expect_talk(&w);
	world_close(&w);
}

/* ---- trust ---- */

static void test_guest_writes_nothing_before_it_knows_its_host(void **state)
{
	for (int field = 0; field < 3; field++) {
		struct vhx_port *port;
		uint8_t *before = test_malloc(SIZE);
		struct world w;
		int socks[2];

		world_open(&w);
		(&w.header[HOST]->magic.v)[field] ^= 1;
		memcpy(before, w.map, SIZE);
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
		assert_int_equal(open_side(&w, GUEST, socks[0], &port), kernel ? -ENODEV : -EPROTO);
		assert_memory_equal(w.map, before, SIZE);
		close(socks[1]);
		test_free(before);
		world_close(&w);
	}
}

/* The side under test, and one that is made of words. */
static void words_answer(struct world *w)
{
	struct vhx_section_header *h = w->header[!ours];

	h->inc.v = 0x1234;
	h->peer_inc.v = w->header[ours]->inc.v;
	h->state.v = VHX_WINDOW_READY;
}

static void words_meet(struct world *w)
{
	world_open(w);
	side_open(w, ours);
	words_answer(w);
	assert_int_equal(vhx_port_event(w->side[ours].port), 0);
	assert_true(vhx_port_ready(w->side[ours].port));
}

static void test_nothing_is_believed_before_the_join(void **state)
{
	static const struct {
		uint32_t state, inc;
		int peer_inc; /* 0: zero, 1: ours, 2: another */
	} words[] = {
		{ VHX_WINDOW_GONE, 5, 1 },  { VHX_WINDOW_INIT, 5, 1 },	{ VHX_WINDOW_READY, 5, 0 },
		{ VHX_WINDOW_READY, 5, 2 }, { VHX_WINDOW_READY, 0, 1 }, { 3, 5, 1 },
		{ UINT32_MAX, 5, 1 },
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(words); i++) {
		struct vhx_section_header *h;
		struct vhx_msg msg;
		struct world w;

		world_open(&w);
		side_open(&w, ours);
		h = w.header[!ours];
		h->inc.v = words[i].inc;
		h->peer_inc.v = words[i].peer_inc == 1 ? w.header[ours]->inc.v
				: words[i].peer_inc    ? ~w.header[ours]->inc.v
						       : 0;
		h->tx_idx.v = 64;
		h->rx_idx.v = 0xdeadbeef;
		h->data_word.v = 1;
		h->state.v = words[i].state;
		for (int n = 0; n < 3; n++) {
			assert_int_equal(vhx_port_event(w.side[ours].port), 0);
			assert_int_equal(vhx_port_prepare_wait(w.side[ours].port), 0);
			assert_int_equal(vhx_port_peek(w.side[ours].port, &msg), 0);
			assert_int_equal(vhx_port_send(w.side[ours].port, 1, NULL, 0), -EAGAIN);
			assert_false(vhx_port_ready(w.side[ours].port));
		}
		assert_int_equal(w.header[ours]->tx_idx.v, 0);
		world_close(&w);
	}
}

static void test_life_that_ends_in_any_way_is_no_breach(void **state)
{
	for (int how = 0; how < 5; how++) {
		for (int where = 0; where < 4; where++) {
			struct vhx_section_header *h;
			struct vhx_port *p;
			struct vhx_msg msg;
			struct world w;

			words_meet(&w);
			p = w.side[ours].port;
			h = w.header[!ours];
			/* Indices that make no sense, as those of another life do. */
			h->tx_idx.v = 7;
			h->rx_idx.v = 0x10000010;
			if (how == 0)
				h->state.v = VHX_WINDOW_GONE;
			else if (how == 1)
				h->state.v = VHX_WINDOW_INIT;
			else if (how == 2)
				h->inc.v ^= 1;
			else if (how == 3)
				h->peer_inc.v = 0;
			else
				h->state.v = 77;
			if (where == 0)
				assert_int_equal(vhx_port_event(p), -EPIPE);
			else if (where == 1)
				assert_int_equal(vhx_port_peek(p, &msg), -EPIPE);
			else if (where == 2)
				assert_int_equal(vhx_port_prepare_wait(p), 1);
			else
				assert_int_equal(vhx_port_send(p, 1, NULL, 0), -EPIPE);
			assert_int_equal(vhx_port_peek(p, &msg), -EPIPE);
			assert_int_equal(vhx_port_event(p), -EPIPE);
			world_close(&w);
		}
	}
}

static void test_index_that_breaks_the_rules(void **state)
{
	static const uint32_t wrong[] = { 1, 8, 0xfffffff0, 0x80000000, SIZE, SIZE / 4 };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct vhx_msg msg;
		struct world w;

		words_meet(&w);
		w.header[!ours]->tx_idx.v = wrong[i];
		assert_int_equal(vhx_port_peek(w.side[ours].port, &msg), -EPROTO);
		assert_int_equal(vhx_port_event(w.side[ours].port), -EPROTO);
		world_close(&w);
	}
}

/* On ivshmem the peer can write our section, too: we do not look there for what we know. */
static void test_own_section_overwritten_by_the_peer(void **state)
{
	struct vhx_section_header *own;
	struct world w;

	world_open(&w);
	world_meet(&w);
	own = w.header[ours];
	own->tx_idx.v = 0xffffffff;
	own->rx_idx.v = 0xffffffff;
	own->data_word.v = own->space_word.v = 0xffffffff;
	own->peer_inc.v = own->state.v = 0xffffffff;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(vhx_port_event(w.side[ours].port), 0);
		assert_int_equal(vhx_port_send(w.side[ours].port, 1, NULL, 0), 0);
		assert_int_equal(vhx_port_prepare_wait(w.side[ours].port), 0);
	}
	assert_int_equal(own->tx_idx.v, 3 * VHX_SLOT);
	world_close(&w);
}

/* Any word, any time. What can come of it is the end of the port, or a message within its bounds. */
static void test_any_word_at_any_time(void **state)
{
	static uint8_t bytes[SIZE];

	for (uint32_t seed = 0; seed < (kernel ? 60 : 300); seed++) {
		struct vhx_port *p;
		struct world w;

		words_meet(&w);
		w.random = seed;
		p = w.side[ours].port;
		for (int i = 0; i < 300; i++) {
			uint32_t *words[] = {
				&w.header[!ours]->tx_idx.v,    &w.header[!ours]->rx_idx.v,
				&w.header[!ours]->data_word.v, &w.header[!ours]->space_word.v,
				&w.header[!ours]->state.v,     &w.header[!ours]->inc.v,
				&w.header[!ours]->peer_inc.v,  &w.header[ours]->tx_idx.v,
				&w.header[ours]->rx_idx.v
			};
			uint32_t which = random_next(&w) % 400;
			struct iovec iov = { bytes, random_next(&w) % 3000 };
			struct vhx_msg msg = { 0 };
			int ret;

			if (which < VHX_ARRAY_SIZE(words))
				*words[which] = random_next(&w);
			else if (which < 100)
				w.header[!ours]->tx_idx.v += VHX_SLOT * (which % 5);
			ret = vhx_port_peek(p, &msg);
			assert_true(ret == 0 || ret == 1 || ret == -EPIPE || ret == -EPROTO);
			if (ret == 1) {
				assert_true(msg.len <= p->max_message);
				vhx_port_read(p, 0, bytes, msg.len);
				vhx_port_consume(p);
			}
			ret = vhx_port_send(p, 1, &iov, 1);
			assert_true(ret == 0 || ret == -EAGAIN || ret == -EPIPE || ret == -EPROTO);
			ret = vhx_port_prepare_wait(p);
			assert_true(ret == 0 || ret == 1);
			vhx_port_event(p);
		}
		world_close(&w);
	}
}

/* ---- windows and offers ---- */

static void test_window_is_sealed_and_laid_out(void **state)
{
	struct world w;

	world_open(&w);
	assert_int_equal(fcntl(w.window, F_GET_SEALS) & SEALS, SEALS);
	assert_int_equal(fcntl(w.window, F_ADD_SEALS, 0x10 /* FUTURE_WRITE */), -1);
	assert_int_equal(ftruncate(w.window, SIZE / 2), -1);
	assert_int_equal(w.header[HOST]->magic.v, htole32(VHX_SECTION_MAGIC));
	assert_int_equal(w.header[HOST]->version.v, htole32(VHX_SECTION_VERSION));
	assert_int_equal(w.header[HOST]->ring_len.v, htole32(SIZE / 4));
	assert_int_equal(w.header[HOST]->state.v, VHX_WINDOW_GONE);
	world_close(&w);
}

static void test_ring_len_follows_from_the_size(void **state)
{
	for (uint32_t size = VHX_WINDOW_SIZE_MIN; size <= VHX_WINDOW_SIZE_MAX; size *= 2) {
		uint32_t len = 1;

		while (2 * len <= size / 2 - VHX_WINDOW_HEADER_LEN)
			len *= 2;
		assert_int_equal(vhx_ivshmem_ring_len(size), len);
	}
}

static void test_window_of_a_wrong_size(void **state)
{
	static const uint32_t wrong[] = { 0,	       1,	 4096,	     SIZE / 2,
					  SIZE + 4096, 3 * SIZE, 512u << 20, UINT32_MAX };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++)
		assert_int_equal(vhx_ivshmem_window_create(wrong[i]), -EINVAL);
}

static int file_of(uint32_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static int accept_of(int fd, uint32_t size)
{
	struct vhx_port *port = NULL;
	int socks[2], ret;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	assert_int_equal(vhx_ivshmem_window_offer(socks[1], fd, size), 0);
	ret = vhx_ivshmem_accept(socks[0], &port);
	vhx_port_close(port);
	close(socks[1]);
	return ret;
}

static void test_offer_of_a_window(void **state)
{
	static const int wrong[] = { 0,
				     F_SEAL_SHRINK,
				     F_SEAL_GROW,
				     F_SEAL_SHRINK | F_SEAL_SEAL,
				     SEALS | F_SEAL_WRITE,
				     SEALS | 0x10 /* FUTURE_WRITE */,
				     SEALS | F_SEAL_SEAL | 0x10 };
	int fd = file_of(SIZE, SEALS);
	int pipes[2];

	assert_int_equal(accept_of(fd, SIZE), 0);
	assert_int_equal(accept_of(fd, 2 * SIZE), -EPROTO);
	assert_int_equal(accept_of(fd, SIZE / 2), -EPROTO);
	assert_int_equal(accept_of(fd, SIZE - 1), -EPROTO);
	assert_int_equal(accept_of(fd, 0), -EPROTO);
	/* A hole, which a fault would fill at our expense. */
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
	assert_int_equal(accept_of(fd, SIZE), -EPROTO);
	assert_int_equal(vhx_ivshmem_window_refill(fd, SIZE), 0);
	assert_int_equal(accept_of(fd, SIZE), 0);
	close(fd);
	fd = file_of(SIZE, SEALS | F_SEAL_SEAL);
	assert_int_equal(accept_of(fd, SIZE), 0);
	close(fd);
	fd = file_of(SIZE + 4096, SEALS);
	assert_int_equal(accept_of(fd, SIZE), -EPROTO);
	close(fd);
	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		fd = file_of(SIZE, wrong[i]);
		assert_int_equal(accept_of(fd, SIZE), -EPROTO);
		close(fd);
	}
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(accept_of(pipes[0], SIZE), -EPROTO);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_open_with_wrong_arguments_closes_the_socket(void **state)
{
	struct vhx_port *port;
	struct world w;
	char byte;

	world_open(&w);
	for (int i = 0; i < 4; i++) {
		int socks[2];

		assert_int_equal(
			socketpair(AF_UNIX, i == 3 ? SOCK_STREAM : SOCK_SEQPACKET, 0, socks), 0);
		assert_int_equal(vhx_ivshmem_open(socks[0], w.window,
						  i == 0   ? SIZE + 1
						  : i == 1 ? 2 * SIZE
							   : SIZE,
						  i == 2 ? 2 : HOST, &port),
				 i == 1 ? -EPROTO : -EINVAL);
		assert_int_equal(recv(socks[1], &byte, 1, MSG_DONTWAIT), 0);
		close(socks[1]);
	}
	world_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_either_side_may_begin),
		cmocka_unit_test(test_restart_at_each_step_of_the_meeting),
		cmocka_unit_test(test_restart_at_any_time),
		cmocka_unit_test(test_both_sides_restart_at_once),
		cmocka_unit_test(test_window_full_of_an_older_use),
		cmocka_unit_test(test_incarnation_differs_in_each_life),
		cmocka_unit_test(test_clean_leave_is_told_and_what_was_said_is_read),
		cmocka_unit_test(test_gone_stored_by_the_owner_of_the_window),
		cmocka_unit_test(test_index_of_the_next_life_where_ours_wraps),
		cmocka_unit_test(test_socket_of_the_owner_ends),
		cmocka_unit_test(test_close_leaves_a_successor_alone),
		cmocka_unit_test(test_guest_writes_nothing_before_it_knows_its_host),
		cmocka_unit_test(test_nothing_is_believed_before_the_join),
		cmocka_unit_test(test_life_that_ends_in_any_way_is_no_breach),
		cmocka_unit_test(test_index_that_breaks_the_rules),
		cmocka_unit_test(test_own_section_overwritten_by_the_peer),
		cmocka_unit_test(test_any_word_at_any_time),
		cmocka_unit_test(test_window_is_sealed_and_laid_out),
		cmocka_unit_test(test_ring_len_follows_from_the_size),
		cmocka_unit_test(test_window_of_a_wrong_size),
		cmocka_unit_test(test_offer_of_a_window),
		cmocka_unit_test(test_open_with_wrong_arguments_closes_the_socket),
	};

	if (argc > 1)
		ours = GUEST;
	kernel = argc > 1 && !strcmp(argv[1], "kernel");
	return cmocka_run_group_tests_name("ivshmem", tests, NULL, NULL);
}
