// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `argo` on the model hypervisor: lives, meeting and death, hostile partners, and each answer of the
 * hypervisor. The contract itself is tests/conformance.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../conformance/pairs.h"
#include "exchange/argo_model.h"

#define RING (64u << 10)
#define PROBE_NS 1000000u
#define GUARD_MS 20000

enum { BE = 1, FE = 2 };

struct side {
	struct vhx_port *port;
	int obstacle;
	unsigned int obstacles, closed;
};

struct host {
	struct vhx_argo_hv *hv;
	struct side be, fe;
};

static bool send_denied;

static int policy(uint16_t src, uint16_t dst)
{
	return send_denied ? -EPERM : 0;
}

static void obstacle(void *ctx, int err)
{
	struct side *s = ctx;

	s->obstacle = err;
	s->obstacles++;
}

static void closed(void *ctx)
{
	((struct side *)ctx)->closed++;
}

static void domain_create(struct host *h, uint16_t domid)
{
	assert_int_equal(vhx_argo_domain_create(h->hv, domid, true, NULL), 0);
}

static void host_open(struct host *h)
{
	static const struct vhx_argo_hv_config config = { .enabled = true, .may_send = policy };

	*h = (struct host){ .hv = vhx_argo_hv_new(&config) };
	assert_non_null(h->hv);
	send_denied = false;
	domain_create(h, BE);
	domain_create(h, FE);
}

static struct vhx_argo_config side_config(struct host *h, uint16_t domid)
{
	bool be = domid == BE;

	return (struct vhx_argo_config){
		.port = be ? VHX_ARGO_PORT_BE : VHX_ARGO_PORT_FE,
		.peer_port = be ? VHX_ARGO_PORT_FE : VHX_ARGO_PORT_BE,
		.partner = be ? FE : BE,
		.ring_len = RING,
		.watcher = { obstacle, closed, be ? &h->be : &h->fe },
	};
}

static void side_open_with(struct host *h, uint16_t domid, struct vhx_argo_config *cfg)
{
	struct side *s = domid == BE ? &h->be : &h->fe;

	assert_int_equal(vhx_argo_model_dev_open(h->hv, domid, &cfg->dev), 0);
	assert_int_equal(vhx_argo_open(cfg, &s->port), 0);
}

static void side_open(struct host *h, uint16_t domid)
{
	struct vhx_argo_config cfg = side_config(h, domid);

	side_open_with(h, domid, &cfg);
}

static void side_close(struct side *s)
{
	vhx_port_close(s->port);
	s->port = NULL;
}

static void host_close(struct host *h)
{
	side_close(&h->be);
	side_close(&h->fe);
	vhx_argo_hv_unref(h->hv);
}

/* An event, or the timer. */
static int turn(struct vhx_port *p)
{
	assert_true(port_sleep(p));
	return vhx_port_event(p);
}

static bool usable(const struct side *s)
{
	struct vhx_msg msg;

	return vhx_port_ready(s->port) && vhx_port_peek(s->port, &msg) >= 0;
}

/* Whoever has something to do does it, until both have met. */
static void meet(struct host *h)
{
	struct vhx_port *ports[2] = { h->be.port, h->fe.port };

	for (int i = 0; i < 1000 && !(usable(&h->be) && usable(&h->fe)); i++) {
		struct pollfd fds[2] = { { ports[0]->fd, POLLIN, 0 }, { ports[1]->fd, POLLIN, 0 } };

		assert_true(poll(fds, 2, GUARD_MS) > 0);
		for (int k = 0; k < 2; k++) {
			if (fds[k].revents)
				vhx_port_event(ports[k]);
		}
	}
	assert_true(usable(&h->be));
	assert_true(usable(&h->fe));
}

static void host_met(struct host *h)
{
	host_open(h);
	side_open(h, BE);
	side_open(h, FE);
	meet(h);
}

static int send_text(struct vhx_port *p, uint32_t type)
{
	char text[] = "text";
	struct iovec iov = { .iov_base = text, .iov_len = 4 };

	return vhx_port_send(p, type, &iov, 1);
}

static void expect_text(struct vhx_port *p, uint32_t type)
{
	struct vhx_msg msg;
	char text[4];

	assert_int_equal(vhx_port_peek(p, &msg), 1);
	assert_int_equal(msg.type, type);
	assert_int_equal(msg.len, 4);
	vhx_port_read(p, 0, text, 4);
	assert_memory_equal(text, "text", 4);
	vhx_port_consume(p);
}

static void expect_exchange(struct host *h)
{
	for (uint32_t i = 1; i < 5; i++) {
		assert_int_equal(send_text(h->be.port, i), 0);
		assert_int_equal(send_text(h->fe.port, 10 + i), 0);
		expect_text(h->fe.port, i);
		expect_text(h->be.port, 10 + i);
	}
}

/* Anything that @domid may send to the backend's ring, as any program there could. */
static int raw_send(struct host *h, uint16_t domid, uint32_t from, uint32_t type, const void *bytes,
		    uint32_t len)
{
	struct argo_send_addr addr = {
		.src = { .port = from, .domid = domid },
		.dst = { .port = VHX_ARGO_PORT_BE, .domid = BE },
	};
	struct vhx_argo_iov iov = { .base = bytes, .len = len };

	return (int32_t)vhx_argo_op(h->hv, domid, ARGO_OP_SENDV, &addr, &iov, 1, type);
}

static struct vhx_argo_meet meet_of(uint32_t inc)
{
	return (struct vhx_argo_meet){
		.version = vhx_le32_of(VHX_ARGO_VERSION),
		.state = vhx_le32_of(VHX_ARGO_HERE),
		.inc = vhx_le32_of(inc),
		.ring_len = vhx_le32_of(RING),
	};
}

/* ---- meeting ---- */

static void test_either_side_may_start_first(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct host h;

		host_open(&h);
		side_open(&h, first ? BE : FE);
		for (int i = 0; i < 3; i++)
			turn((first ? &h.be : &h.fe)->port);
		side_open(&h, first ? FE : BE);
		meet(&h);
		expect_exchange(&h);
		host_close(&h);
	}
}

static void test_partner_that_does_not_exist_is_waited_for(void **state)
{
	struct host h;

	host_open(&h);
	vhx_argo_domain_destroy(h.hv, FE);
	side_open(&h, BE);
	assert_int_equal(h.be.obstacle, -ESRCH);
	for (int i = 0; i < 3; i++)
		assert_int_equal(turn(h.be.port), 0);
	assert_false(vhx_port_ready(h.be.port));
	assert_int_equal(h.be.obstacles, 1);
	domain_create(&h, FE);
	side_open(&h, FE);
	meet(&h);
	assert_int_equal(h.be.obstacle, 0);
	expect_exchange(&h);
	host_close(&h);
}

static void test_partner_reborn_while_we_wait(void **state)
{
	struct host h;

	/* It never had a word with us, and takes our ring with it: nothing tells us so. */
	host_open(&h);
	side_open(&h, BE);
	vhx_argo_domain_destroy(h.hv, FE);
	domain_create(&h, FE);
	side_open(&h, FE);
	meet(&h);
	expect_exchange(&h);
	host_close(&h);
}

static void test_rings_of_different_size(void **state)
{
	struct vhx_argo_config cfg;
	struct host h;

	host_open(&h);
	cfg = side_config(&h, BE);
	cfg.ring_len = 16u << 10;
	side_open_with(&h, BE, &cfg);
	side_open(&h, FE);
	meet(&h);
	assert_int_equal(h.be.port->max_message, (16u << 10) / 4 - 32);
	assert_int_equal(h.fe.port->max_message, h.be.port->max_message);
	assert_int_equal(h.fe.port->tx_ring_len, (16u << 10) - 16);
	assert_int_equal(h.be.port->tx_ring_len, RING - 16);
	expect_exchange(&h);
	host_close(&h);
}

static void test_ring_len_out_of_bounds(void **state)
{
	static const uint32_t wrong[] = { 0, 4080, 4097, VHX_ARGO_RING_MAX + 16 };
	struct vhx_argo_config cfg;
	struct vhx_port *port;
	struct host h;

	host_open(&h);
	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		cfg = side_config(&h, BE);
		cfg.ring_len = wrong[i];
		assert_int_equal(vhx_argo_model_dev_open(h.hv, BE, &cfg.dev), 0);
		assert_int_equal(vhx_argo_open(&cfg, &port), -EINVAL);
	}
	assert_int_equal(vhx_argo_ring_len(1u << 30), VHX_ARGO_RING_MAX);
	assert_int_equal(vhx_argo_ring_len(65543), 65536);
	host_close(&h);
}

static void test_argo_off_is_said_at_once(void **state)
{
	static const struct vhx_argo_hv_config off = { .enabled = false };
	struct host h = { .hv = vhx_argo_hv_new(&off) };
	struct vhx_argo_config cfg = side_config(&h, BE);
	struct vhx_port *port;

	domain_create(&h, BE);
	assert_int_equal(vhx_argo_model_dev_open(h.hv, BE, &cfg.dev), 0);
	assert_int_equal(vhx_argo_open(&cfg, &port), -EOPNOTSUPP);
	vhx_argo_hv_unref(h.hv);
}

static void test_policy_refuses_one_line_no_storm(void **state)
{
	struct host h;
	uint64_t meets;

	host_open(&h);
	send_denied = true;
	side_open(&h, BE);
	assert_int_equal(h.be.obstacle, -EPERM);
	assert_int_equal(h.be.obstacles, 1);
	meets = vhx_argo_port_calls(h.be.port)->meets;
	assert_int_equal(meets, 1);
	/* The next one is 10 s away: whatever else happens does not bring it nearer. */
	for (int i = 0; i < 100; i++)
		assert_int_equal(vhx_port_event(h.be.port), 0);
	assert_int_equal(vhx_argo_port_calls(h.be.port)->meets, meets);
	host_close(&h);
}

static void test_what_was_accepted_is_not_said_twice(void **state)
{
	struct host h;
	uint64_t meets;

	host_open(&h);
	side_open(&h, FE);
	side_open(&h, BE);
	meets = vhx_argo_port_calls(h.be.port)->meets;
	for (int i = 0; i < 100; i++)
		assert_int_equal(vhx_port_event(h.be.port), 0);
	assert_int_equal(vhx_argo_port_calls(h.be.port)->meets, meets);
	meet(&h);
	host_close(&h);
}

static void test_what_came_before_the_meeting_is_dropped(void **state)
{
	struct host h;

	host_open(&h);
	side_open(&h, BE);
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, 1, "old", 3) >= 0);
	side_open(&h, FE);
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, 2, "old", 3) >= 0);
	meet(&h);
	expect_exchange(&h);
	host_close(&h);
}

/* docs/wire.md, section 15: of a side that has not joined, nothing has ended. */
static void test_life_that_ends_before_the_meeting_is_forgotten(void **state)
{
	struct vhx_argo_meet other = meet_of(12345);
	struct host h;

	host_open(&h);
	side_open(&h, BE);
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &other, sizeof(other)) > 0);
	assert_int_equal(turn(h.be.port), 0);
	other.state = vhx_le32_of(VHX_ARGO_GONE);
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &other, sizeof(other)) > 0);
	assert_int_equal(turn(h.be.port), 0);
	side_open(&h, FE);
	meet(&h);
	expect_exchange(&h);
	host_close(&h);
}

/* ---- the end of a life ---- */

static void expect_gone(struct vhx_port *p, int err)
{
	struct vhx_msg msg;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(vhx_port_peek(p, &msg), err);
		assert_int_equal(send_text(p, 1), err);
		assert_int_equal(vhx_port_event(p), err);
		assert_int_equal(vhx_port_prepare_wait(p), 1);
	}
}

static void test_peer_that_leaves_says_so(void **state)
{
	struct vhx_msg msg;
	struct host h;

	host_met(&h);
	assert_int_equal(send_text(h.fe.port, 7), 0);
	side_close(&h.fe);
	assert_int_equal(h.fe.closed, 1);
	assert_int_equal(turn(h.be.port), 0);
	expect_text(h.be.port, 7);
	assert_int_equal(vhx_port_peek(h.be.port, &msg), -EPIPE);
	expect_gone(h.be.port, -EPIPE);
	host_close(&h);
}

static void test_peer_restarted_unnoticed(void **state)
{
	struct argo_unregister_ring unreg = { .port = VHX_ARGO_PORT_FE, .partner = BE };
	struct vhx_port *dead;
	struct vhx_msg msg;
	struct host h;

	/* It dies without a word, and its next life finds us idle in the last one. */
	host_met(&h);
	dead = h.fe.port;
	assert_int_equal(vhx_argo_op(h.hv, FE, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), 0);
	side_open(&h, FE);
	assert_int_equal(turn(h.be.port), 0);
	assert_int_equal(vhx_port_peek(h.be.port, &msg), -EPIPE);
	side_close(&h.be);
	side_open(&h, BE);
	meet(&h);
	expect_exchange(&h);
	host_close(&h);
	/* Whose ring is that of another life by now, or nobody's. */
	vhx_port_close(dead);
}

static void test_another_life_of_the_peer_ends_ours(void **state)
{
	struct vhx_argo_meet other = meet_of(12345);
	struct vhx_msg msg;
	struct host h;

	host_met(&h);
	assert_int_equal(send_text(h.fe.port, 7), 0);
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &other, sizeof(other)) > 0);
	/* Not of the life that we joined. */
	assert_int_equal(send_text(h.fe.port, 8), 0);
	expect_text(h.be.port, 7);
	assert_int_equal(vhx_port_peek(h.be.port, &msg), -EPIPE);
	expect_gone(h.be.port, -EPIPE);
	host_close(&h);
}

static void test_goodbye_of_an_earlier_life_means_nothing(void **state)
{
	struct vhx_argo_meet other = meet_of(12345);
	struct host h;

	host_met(&h);
	other.state = vhx_le32_of(VHX_ARGO_GONE);
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &other, sizeof(other)) > 0);
	expect_exchange(&h);
	host_close(&h);
}

static void test_idle_death_is_found_by_the_probe(void **state)
{
	struct vhx_argo_config cfg;
	struct host h;

	for (int reborn = 0; reborn < 2; reborn++) {
		host_open(&h);
		cfg = side_config(&h, BE);
		cfg.probe_ns = PROBE_NS;
		cfg.check_ns = 3 * PROBE_NS;
		side_open_with(&h, BE, &cfg);
		side_open(&h, FE);
		meet(&h);
		for (int i = 0; i < 3; i++)
			assert_int_equal(turn(h.be.port), 0);
		assert_true(vhx_argo_port_calls(h.be.port)->queries > 0);
		vhx_argo_domain_destroy(h.hv, FE);
		/* Once more with a successor that has a ring, which our own dead one does not show. */
		if (reborn) {
			side_close(&h.fe);
			domain_create(&h, FE);
			side_open(&h, FE);
		}
		while (!turn(h.be.port))
			;
		expect_gone(h.be.port, -EPIPE);
		host_close(&h);
	}
}

/* With as many rings as a domain may have, the hypervisor does not say of one whether it is there. */
static void test_a_domain_full_of_rings_loses_none(void **state)
{
	struct argo_ring *pages = aligned_alloc(ARGO_PAGE_SIZE, ARGO_PAGE_SIZE);
	struct argo_register_ring reg = { .port = 1, .partner = FE, .len = ARGO_RING_LEN_MIN };
	struct vhx_argo_config cfg;
	struct host h;

	assert_non_null(pages);
	memset(pages, 0, ARGO_PAGE_SIZE);
	host_open(&h);
	cfg = side_config(&h, BE);
	cfg.probe_ns = cfg.check_ns = PROBE_NS;
	side_open_with(&h, BE, &cfg);
	side_open(&h, FE);
	meet(&h);
	while (!vhx_argo_op(h.hv, BE, ARGO_OP_REGISTER_RING, &reg, pages, 1, 0))
		reg.port++;
	assert_int_equal(reg.port, ARGO_RINGS_MAX);
	for (int i = 0; i < 3; i++)
		assert_int_equal(turn(h.be.port), 0);
	assert_true(vhx_argo_port_calls(h.be.port)->checks > 0);
	expect_exchange(&h);
	host_close(&h);
	free(pages);
}

static void test_policy_that_turns_is_found_by_the_probe(void **state)
{
	struct vhx_argo_config cfg;
	struct host h;

	host_open(&h);
	cfg = side_config(&h, BE);
	cfg.probe_ns = PROBE_NS;
	cfg.check_ns = 1000000 * PROBE_NS;
	side_open_with(&h, BE, &cfg);
	side_open(&h, FE);
	meet(&h);
	assert_int_equal(turn(h.be.port), 0);
	send_denied = true;
	while (!turn(h.be.port))
		;
	send_denied = false;
	expect_gone(h.be.port, -EPIPE);
	host_close(&h);
}

static void test_probe_does_not_end_the_wait_of_a_send(void **state)
{
	struct vhx_argo_config cfg;
	struct vhx_msg msg;
	uint64_t queries;
	struct host h;

	host_open(&h);
	cfg = side_config(&h, BE);
	cfg.probe_ns = PROBE_NS;
	cfg.check_ns = 1000000 * PROBE_NS;
	side_open_with(&h, BE, &cfg);
	side_open(&h, FE);
	meet(&h);
	while (!send_text(h.be.port, 1))
		;
	queries = vhx_argo_port_calls(h.be.port)->queries;
	for (int i = 0; i < 5; i++)
		assert_int_equal(turn(h.be.port), 0);
	assert_int_equal(vhx_argo_port_calls(h.be.port)->queries, queries);
	/* It is woken, and goes, and then the peer is looked for again. */
	while (vhx_port_peek(h.fe.port, &msg) == 1)
		vhx_port_consume(h.fe.port);
	assert_int_equal(turn(h.be.port), 0);
	assert_int_equal(send_text(h.be.port, 1), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(turn(h.be.port), 0);
	assert_true(vhx_argo_port_calls(h.be.port)->queries > queries);
	host_close(&h);
}

static void test_nobody_is_asked_for_before_it_is_greeted_again(void **state)
{
	struct host h;

	host_open(&h);
	side_open(&h, BE);
	assert_int_equal(h.be.obstacle, -ECONNREFUSED);
	for (int i = 0; i < 4; i++)
		assert_int_equal(turn(h.be.port), 0);
	assert_int_equal(vhx_argo_port_calls(h.be.port)->meets, 1);
	assert_int_equal(vhx_argo_port_calls(h.be.port)->registers, 1);
	assert_true(vhx_argo_port_calls(h.be.port)->queries >= 4);
	side_open(&h, FE);
	meet(&h);
	expect_exchange(&h);
	host_close(&h);
}

/* ---- a hostile partner ---- */

static void test_foreign_ports_are_dropped(void **state)
{
	struct vhx_argo_meet other = meet_of(12345);
	struct host h;

	host_met(&h);
	for (int i = 0; i < 500; i++) {
		assert_true(raw_send(&h, FE, 0x1234, 1, "foreign", 7) > 0);
		assert_true(raw_send(&h, FE, 0x1234, VHX_ARGO_MEET, &other, sizeof(other)) > 0);
		if (i % 50 == 0) {
			struct vhx_msg msg;

			while (vhx_port_prepare_wait(h.be.port))
				assert_int_equal(vhx_port_peek(h.be.port, &msg), 0);
		}
	}
	for (struct vhx_msg msg; vhx_port_prepare_wait(h.be.port);)
		assert_int_equal(vhx_port_peek(h.be.port, &msg), 0);
	expect_exchange(&h);
	assert_int_equal(h.be.port->stats.rx_messages, 4);
	host_close(&h);
}

static void test_flood_before_the_meeting_is_taken_in_bursts(void **state)
{
	struct host h;
	uint64_t meets;
	int sent = 0;

	host_open(&h);
	side_open(&h, BE);
	while (raw_send(&h, FE, VHX_ARGO_PORT_FE, 1, "flood", 5) > 0)
		sent++;
	assert_int_equal(sent, (RING - 16) / 32);
	meets = vhx_argo_port_calls(h.be.port)->meets;
	turn(h.be.port);
	/* Most of it is still there, and the rest of the meeting is not put off by it. */
	assert_int_equal(raw_send(&h, FE, VHX_ARGO_PORT_FE, 1, h.hv, 32 * 80), -EAGAIN);
	side_open(&h, FE);
	meet(&h);
	assert_true(vhx_argo_port_calls(h.be.port)->notifies > 0);
	assert_true(vhx_argo_port_calls(h.be.port)->meets <= meets + 3);
	host_close(&h);
}

static void test_meets_that_are_not_well_formed(void **state)
{
	struct vhx_argo_meet wrong[6];
	struct host h;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++)
		wrong[i] = meet_of(12345);
	wrong[0].version = vhx_le32_of(2);
	wrong[1].state = vhx_le32_of(2);
	wrong[2].inc = vhx_le32_of(0);
	wrong[3].ring_len = vhx_le32_of(4095);
	wrong[4].ring_len = vhx_le32_of(UINT32_MAX & ~15u);
	wrong[5].reserved[2] = vhx_le32_of(1);
	host_open(&h);
	side_open(&h, BE);
	side_open(&h, FE);
	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &wrong[i], sizeof(wrong[i]));
		raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &wrong[i], (uint32_t)i);
	}
	meet(&h);
	expect_exchange(&h);
	host_close(&h);
	/* From the peer that we joined they are a breach. */
	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct vhx_msg msg;

		host_met(&h);
		raw_send(&h, FE, VHX_ARGO_PORT_FE, VHX_ARGO_MEET, &wrong[i], sizeof(wrong[i]));
		assert_int_equal(vhx_port_peek(h.be.port, &msg), -EPROTO);
		expect_gone(h.be.port, -EPROTO);
		host_close(&h);
	}
}

static void test_message_larger_than_agreed(void **state)
{
	struct vhx_argo_config cfg;
	struct vhx_msg msg;
	uint8_t bytes[8192];
	struct host h;

	/* Its own ring is small, ours would take more. */
	host_open(&h);
	cfg = side_config(&h, FE);
	cfg.ring_len = 4096;
	side_open_with(&h, FE, &cfg);
	side_open(&h, BE);
	meet(&h);
	memset(bytes, 1, sizeof(bytes));
	assert_true(raw_send(&h, FE, VHX_ARGO_PORT_FE, 5, bytes, 993) > 0);
	assert_int_equal(vhx_port_peek(h.be.port, &msg), -EPROTO);
	expect_gone(h.be.port, -EPROTO);
	host_close(&h);
}

static void test_meet_is_no_message_of_the_owner(void **state)
{
	struct host h;

	host_met(&h);
	assert_int_equal(send_text(h.be.port, VHX_ARGO_MEET), -EINVAL);
	expect_exchange(&h);
	host_close(&h);
}

/* ---- what the hypervisor says ---- */

/* The model's endpoint, whose sends of messages fail with what the test says, while it says so. */
struct faulty {
	struct vhx_argo_dev dev;
	struct vhx_argo_dev *real;
};

static int fault;

static struct vhx_argo_dev *real_of(struct vhx_argo_dev *dev)
{
	return vhx_container_of(dev, struct faulty, dev)->real;
}

static int faulty_bind(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		       const struct argo_ring **ring)
{
	return real_of(dev)->ops->bind(real_of(dev), id, ring);
}

static int faulty_send(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		       const struct iovec *iov, unsigned int cnt)
{
	if (fault && type != VHX_ARGO_MEET)
		return fault;
	return real_of(dev)->ops->send(real_of(dev), dst, type, iov, cnt);
}

static int faulty_consume(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above,
			  uint32_t *tx_ptr)
{
	return real_of(dev)->ops->consume(real_of(dev), rx_ptr, above, tx_ptr);
}

static int faulty_query(struct vhx_argo_dev *dev, const struct argo_addr *dst)
{
	return real_of(dev)->ops->query(real_of(dev), dst);
}

static int faulty_check(struct vhx_argo_dev *dev)
{
	return real_of(dev)->ops->check(real_of(dev));
}

static bool faulty_event(struct vhx_argo_dev *dev)
{
	return real_of(dev)->ops->event(real_of(dev));
}

static void faulty_close(struct vhx_argo_dev *dev)
{
	vhx_argo_dev_close(real_of(dev));
	test_free(vhx_container_of(dev, struct faulty, dev));
}

static const struct vhx_argo_dev_ops faulty_ops = {
	.bind = faulty_bind,
	.send = faulty_send,
	.consume = faulty_consume,
	.query = faulty_query,
	.check = faulty_check,
	.event = faulty_event,
	.close = faulty_close,
};

static void faulty_met(struct host *h)
{
	struct faulty *f = test_calloc(1, sizeof(*f));
	struct vhx_argo_config cfg;

	fault = 0;
	host_open(h);
	side_open(h, FE);
	assert_int_equal(vhx_argo_model_dev_open(h->hv, BE, &f->real), 0);
	f->dev = (struct vhx_argo_dev){ &faulty_ops, f->real->fd, BE };
	cfg = side_config(h, BE);
	cfg.dev = &f->dev;
	assert_int_equal(vhx_argo_open(&cfg, &h->be.port), 0);
	meet(h);
}

static void test_refusals_that_promise_no_event_end_by_the_timer(void **state)
{
	static const int errs[] = { -EBUSY, -ENOMEM };
	struct host h;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(errs); i++) {
		faulty_met(&h);
		fault = errs[i];
		assert_int_equal(send_text(h.be.port, 1), -EAGAIN);
		/* It sleeps, and is woken though nobody does anything. */
		assert_int_equal(vhx_port_prepare_wait(h.be.port), 0);
		assert_int_equal(turn(h.be.port), 0);
		assert_int_equal(send_text(h.be.port, 1), -EAGAIN);
		fault = 0;
		assert_int_equal(vhx_port_prepare_wait(h.be.port), 0);
		assert_int_equal(turn(h.be.port), 0);
		assert_int_equal(send_text(h.be.port, 1), 0);
		expect_text(h.fe.port, 1);
		assert_int_equal(h.be.port->stats.would_blocks, 2);
		host_close(&h);
	}
}

static void test_refusals_that_are_the_end(void **state)
{
	static const int errs[] = { -ESRCH, -ECONNREFUSED, -EPERM, -EACCES };
	struct host h;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(errs); i++) {
		faulty_met(&h);
		fault = errs[i];
		assert_int_equal(send_text(h.be.port, 1), -EPIPE);
		expect_gone(h.be.port, -EPIPE);
		host_close(&h);
	}
	/* Its ring is smaller than it said. */
	faulty_met(&h);
	fault = -EMSGSIZE;
	assert_int_equal(send_text(h.be.port, 1), -EPROTO);
	expect_gone(h.be.port, -EPROTO);
	host_close(&h);
}

/* One domain has one wait for a ring, whoever of its programs asks. */
static void test_a_query_ends_nobodys_wait(void **state)
{
	struct vhx_argo_ring_id id = { .port = 5, .partner = FE, .len = 4096 };
	const struct argo_addr dst = { .port = 5, .domid = BE };
	struct vhx_argo_dev *owner, *sender, *asker;
	const struct argo_ring *ring;
	static char bytes[1000];
	struct iovec iov = { bytes, sizeof(bytes) };
	uint32_t tx_ptr;
	struct host h;
	int ret;

	host_open(&h);
	assert_int_equal(vhx_argo_model_dev_open(h.hv, BE, &owner), 0);
	assert_int_equal(vhx_argo_model_dev_open(h.hv, FE, &sender), 0);
	assert_int_equal(vhx_argo_model_dev_open(h.hv, FE, &asker), 0);
	assert_int_equal(owner->ops->bind(owner, &id, &ring), 0);
	while (!(ret = sender->ops->send(sender, &dst, 1, &iov, 1)))
		;
	assert_int_equal(ret, -EAGAIN);
	sender->ops->event(sender);
	/* Where there is room again, and nobody was told yet. */
	assert_int_equal(owner->ops->consume(owner, ring->tx_ptr, UINT32_MAX, &tx_ptr), 0);
	assert_int_equal(asker->ops->query(asker, &dst), 1);
	iov.iov_len = 16;
	assert_int_equal(asker->ops->send(asker, &dst, 1, &iov, 1), 0);
	assert_int_equal(owner->ops->consume(owner, ring->tx_ptr, 0, &tx_ptr), 1);
	assert_true(sender->ops->event(sender));
	vhx_argo_dev_close(asker);
	vhx_argo_dev_close(sender);
	vhx_argo_dev_close(owner);
	host_close(&h);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_either_side_may_start_first),
	cmocka_unit_test(test_partner_that_does_not_exist_is_waited_for),
	cmocka_unit_test(test_partner_reborn_while_we_wait),
	cmocka_unit_test(test_rings_of_different_size),
	cmocka_unit_test(test_ring_len_out_of_bounds),
	cmocka_unit_test(test_argo_off_is_said_at_once),
	cmocka_unit_test(test_policy_refuses_one_line_no_storm),
	cmocka_unit_test(test_what_was_accepted_is_not_said_twice),
	cmocka_unit_test(test_what_came_before_the_meeting_is_dropped),
	cmocka_unit_test(test_life_that_ends_before_the_meeting_is_forgotten),
	cmocka_unit_test(test_peer_that_leaves_says_so),
	cmocka_unit_test(test_peer_restarted_unnoticed),
	cmocka_unit_test(test_another_life_of_the_peer_ends_ours),
	cmocka_unit_test(test_goodbye_of_an_earlier_life_means_nothing),
	cmocka_unit_test(test_idle_death_is_found_by_the_probe),
	cmocka_unit_test(test_a_domain_full_of_rings_loses_none),
	cmocka_unit_test(test_policy_that_turns_is_found_by_the_probe),
	cmocka_unit_test(test_probe_does_not_end_the_wait_of_a_send),
	cmocka_unit_test(test_nobody_is_asked_for_before_it_is_greeted_again),
	cmocka_unit_test(test_foreign_ports_are_dropped),
	cmocka_unit_test(test_flood_before_the_meeting_is_taken_in_bursts),
	cmocka_unit_test(test_meets_that_are_not_well_formed),
	cmocka_unit_test(test_message_larger_than_agreed),
	cmocka_unit_test(test_meet_is_no_message_of_the_owner),
	cmocka_unit_test(test_refusals_that_promise_no_event_end_by_the_timer),
	cmocka_unit_test(test_refusals_that_are_the_end),
	cmocka_unit_test(test_a_query_ends_nobodys_wait),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
