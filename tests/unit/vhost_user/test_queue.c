// SPDX-License-Identifier: BSD-3-Clause
/*
 * Requests through a ring in guest memory: driver at one end, server at the other. Migration log
 * and inflight tracking, with a back-end that dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "ring/driver.h"
#include "vhost_user/dirty.h"
#include "vu_client.h"

#define SEGS 4

struct guest {
	struct vhx_vdriver driver;
	struct vhx_vdriver_slot slots[QUEUE_SIZE];
};

static struct vhx_vu_queue *queue(struct env *e)
{
	return vhx_vu_server_queue(e->owner.server, 0);
}

static void guest_init(struct guest *g, struct env *e, uint32_t features)
{
	struct vhx_vdriver_config cfg = {
		.size = QUEUE_SIZE,
		.features = features,
		.desc = e->mem + DESC_AT,
		.driver = e->mem + AVAIL_AT,
		.device = e->mem + USED_AT,
		.slots = g->slots,
	};

	memset(g, 0, sizeof(*g));
	assert_int_equal(vhx_vdriver_init(&g->driver, &cfg), 0);
}

/* One request: 8 bytes for the device, 8 from it. The id that the driver gave it. */
static uint16_t guest_add(struct guest *g, uint64_t at)
{
	struct vhx_vdriver_seg segs[2] = { { at, 8 }, { at + 0x100, 8 } };
	int id = vhx_vdriver_add(&g->driver, segs, 1, 1);

	assert_true(id >= 0);
	vhx_vdriver_publish(&g->driver);
	return (uint16_t)id;
}

static bool chain_pop(struct env *e, struct vhx_chain *c, struct iovec *segs)
{
	*c = (struct vhx_chain){ .out = segs, .in = segs + SEGS, .out_max = SEGS, .in_max = SEGS };
	return vhx_vu_queue_pop(queue(e), c) == 1;
}

static uint16_t pop_id(struct env *e)
{
	struct iovec segs[2 * SEGS];
	struct vhx_chain c;

	assert_true(chain_pop(e, &c, segs));
	return c.id;
}

static void start(struct env *e, uint64_t features)
{
	client_negotiate(e, F_VERSION_1 | F_PROTOCOL | features);
	assert_int_equal(client_mem_table(e), 0);
	client_queue_setup(e, 0);
}

static void enable(struct env *e)
{
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
}

static void test_request_there_and_back(void **state)
{
	struct env *e = *state;
	struct iovec segs[2 * SEGS];
	struct vhx_chain c;
	struct guest g;
	uint32_t len;
	uint16_t id;
	uint64_t v;

	guest_init(&g, e, 0);
	start(e, 0);
	enable(e);
	assert_int_equal(read(e->call[0], &v, sizeof(v)), sizeof(v)); /* the one at the start */
	guest_add(&g, BUFFER_AT);
	memcpy(e->mem + BUFFER_AT, "question", 8);
	assert_true(chain_pop(e, &c, segs));
	assert_memory_equal(c.out[0].iov_base, "question", 8);
	memcpy(c.in[0].iov_base, "answered", 8);
	vhx_vu_queue_push(queue(e), c.id, 8);
	assert_int_equal(vhx_vdriver_get_used(&g.driver, &id, &len), 0);
	vhx_vu_queue_flush(queue(e));
	assert_int_equal(vhx_vdriver_get_used(&g.driver, &id, &len), 1);
	assert_int_equal(len, 8);
	assert_memory_equal(e->mem + BUFFER_AT + 0x100, "answered", 8);
	assert_int_equal(read(e->call[0], &v, sizeof(v)), sizeof(v));
	assert_int_equal(client_base(e, 0), 1);
}

/* The log covers guest memory: 64 pages. */
static uint64_t log_take(int log)
{
	uint64_t bits = 0, none = 0;

	assert_int_equal(pread(log, &bits, sizeof(bits), 0), sizeof(bits));
	assert_int_equal(pwrite(log, &none, sizeof(none), 0), sizeof(none));
	return bits;
}

static void one_request(struct env *e, struct guest *g, bool dirty)
{
	struct iovec segs[2 * SEGS];
	struct vhx_chain c;
	uint32_t len;
	uint16_t id;

	guest_add(g, BUFFER_AT);
	assert_true(chain_pop(e, &c, segs));
	if (dirty)
		vhx_vu_server_dirty(e->owner.server, c.in[0].iov_base, 8);
	vhx_vu_queue_push(queue(e), c.id, 8);
	vhx_vu_queue_flush(queue(e));
	assert_int_equal(vhx_vdriver_get_used(&g->driver, &id, &len), 1);
}

static void log_ring(struct env *e, bool on, uint64_t at)
{
	struct vhx_vu_vring_addr a = client_ring_addr(0);

	a.flags = on ? VHX_VU_VRING_ADDR_F_LOG : 0;
	a.log = at;
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
}

#define PAGE_BIT(gpa) (1ull << ((gpa) >> VHX_VU_LOG_PAGE_SHIFT))

static void test_log_marks_exactly_what_was_written(void **state)
{
	const uint64_t f = F_VERSION_1 | F_PROTOCOL;
	struct vhx_vu_log_desc l = { 8, 0 };
	struct env *e = *state;
	struct guest g;
	int log = memfd_of(8);

	guest_init(&g, e, 0);
	start(e, 0);
	enable(e);
	assert_int_equal(client_ack(e, VHX_VU_SET_LOG_BASE, &l, sizeof(l), &log, 1), 0);
	one_request(e, &g, true);
	assert_int_equal(log_take(log), 0); /* the feature is what switches it on */

	/* while the ring runs */
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, f | F_LOG_ALL, -1), 0);
	one_request(e, &g, true);
	assert_int_equal(log_take(log), PAGE_BIT(BUFFER_AT));
	log_ring(e, true, USED_AT);
	one_request(e, &g, true);
	assert_int_equal(log_take(log), PAGE_BIT(BUFFER_AT) | PAGE_BIT(USED_AT));
	log_ring(e, true, 0x20000); /* an address of the VMM's choice */
	one_request(e, &g, false);
	assert_int_equal(log_take(log), PAGE_BIT(0x20000));
	log_ring(e, true, 1ull << 40); /* outside of the log */
	one_request(e, &g, false);
	assert_int_equal(log_take(log), 0);
	log_ring(e, false, 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, f, -1), 0);
	one_request(e, &g, true);
	assert_int_equal(log_take(log), 0);
	assert_int_equal(e->owner.starts, 1);
	close(log);
}

static void test_payload_by_guest_address_marks_the_log(void **state)
{
	struct vhx_vu_log_desc l = { 8, 0 };
	struct env *e = *state;
	const struct vhx_ring_mem *mem = vhx_vu_server_mem(e->owner.server);
	int log = memfd_of(8);

	start(e, F_LOG_ALL);
	mem->dirty(mem->ctx, 0x5000, 1); /* no log yet */
	assert_int_equal(client_ack(e, VHX_VU_SET_LOG_BASE, &l, sizeof(l), &log, 1), 0);
	mem->dirty(mem->ctx, 0x5fff, 2);
	vhx_vu_server_dirty(e->owner.server, &log, 8); /* not guest memory */
	assert_int_equal(log_take(log), PAGE_BIT(0x5000) | PAGE_BIT(0x6000));
	close(log);
}

/* Inflight */

struct region {
	int fd;
	struct vhx_vu_inflight_desc desc;
};

static void region_get(struct env *e, struct region *r)
{
	struct vhx_vu_inflight_desc d = { .queue_num = 1, .queue_size = QUEUE_SIZE };
	struct answer a;

	client_send(e, VHX_VU_GET_INFLIGHT_FD, &d, sizeof(d), NULL, 0);
	assert_true(client_answer(e, &a));
	r->fd = a.fd;
	r->desc = a.payload.inflight;
}

static void region_set(struct env *e, struct region *r)
{
	assert_int_equal(
		client_ack(e, VHX_VU_SET_INFLIGHT_FD, &r->desc, sizeof(r->desc), &r->fd, 1), 0);
}

/* What a VMM does with a new back-end: it knows the used index only. */
static void successor_start(struct env *e, struct region *r, uint64_t features, uint16_t base)
{
	env_reconnect(e);
	start(e, features);
	region_set(e, r);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
	enable(e);
}

static void resubmitted(struct env *e, const uint16_t *ids, unsigned int cnt)
{
	struct iovec segs[2 * SEGS];
	struct vhx_chain c = { .out = segs, .in = segs + SEGS, .out_max = SEGS, .in_max = SEGS };
	uint16_t id;

	for (unsigned int i = 0; i < cnt; i++) {
		assert_int_equal(vhx_vu_queue_resubmit(queue(e), &id), 1);
		assert_int_equal(id, ids[i]);
		assert_int_equal(vhx_vring_rewalk(&queue(e)->ring, id, &c), 0);
		assert_int_equal(c.out_len, 8);
	}
	assert_int_equal(vhx_vu_queue_resubmit(queue(e), &id), 0);
}

static void used_are(struct guest *g, const uint16_t *ids, unsigned int cnt)
{
	uint32_t len;
	uint16_t id;

	for (unsigned int i = 0; i < cnt; i++) {
		assert_int_equal(vhx_vdriver_get_used(&g->driver, &id, &len), 1);
		assert_int_equal(id, ids[i]);
	}
	assert_int_equal(vhx_vdriver_get_used(&g->driver, &id, &len), 0);
}

/* A ring that runs and keeps what is in flight in a region of its own. */
static void start_in_region(struct env *e, struct guest *g, struct region *r)
{
	guest_init(g, e, 0);
	start(e, 0);
	region_get(e, r);
	enable(e);
}

static void test_crash_with_requests_in_flight(void **state)
{
	struct env *e = *state;
	uint16_t ids[6], expected[3];
	struct region r;
	struct guest g;

	start_in_region(e, &g, &r);
	for (int i = 0; i < 6; i++)
		ids[i] = guest_add(&g, BUFFER_AT + i * 0x1000u);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pop_id(e), ids[i]);
	/* out of order: the third and the first are done */
	vhx_vu_queue_push(queue(e), ids[2], 8);
	vhx_vu_queue_push(queue(e), ids[0], 8);
	vhx_vu_queue_flush(queue(e));
	successor_start(e, &r, 0, 2);
	expected[0] = ids[1];
	expected[1] = ids[3];
	expected[2] = ids[4];
	resubmitted(e, expected, 3);
	/* what was never popped follows */
	assert_int_equal(pop_id(e), ids[5]);
	vhx_vu_queue_push(queue(e), ids[5], 8);
	for (int i = 0; i < 3; i++)
		vhx_vu_queue_push(queue(e), expected[i], 8);
	vhx_vu_queue_flush(queue(e));
	used_are(&g, (uint16_t[]){ ids[2], ids[0], ids[5], ids[1], ids[3], ids[4] }, 6);
	assert_int_equal(client_base(e, 0), 6);
	close(r.fd);
}

static void test_crash_before_the_used_index_moved(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[2];

	start_in_region(e, &g, &r);
	for (int i = 0; i < 2; i++) {
		ids[i] = guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	vhx_vu_queue_push(queue(e), ids[0], 8); /* and no flush */
	successor_start(e, &r, 0, 0);
	resubmitted(e, ids, 2);
	close(r.fd);
}

static void test_crash_after_the_used_index_moved(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[4];

	start_in_region(e, &g, &r);
	for (int i = 0; i < 4; i++) {
		ids[i] = guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	vhx_vu_queue_push(queue(e), ids[3], 8);
	vhx_vu_queue_push(queue(e), ids[1], 8);
	/* the ring publishes, and the process dies before it can note so */
	vhx_vring_flush(&queue(e)->ring);
	successor_start(e, &r, 0, 2);
	resubmitted(e, (uint16_t[]){ ids[0], ids[2] }, 2);
	used_are(&g, (uint16_t[]){ ids[3], ids[1] }, 2);
	close(r.fd);
}

static void test_crash_twice(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[3];

	start_in_region(e, &g, &r);
	for (int i = 0; i < 2; i++) {
		ids[i] = guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	successor_start(e, &r, 0, 0);
	ids[2] = guest_add(&g, BUFFER_AT);
	pop_id(e);
	successor_start(e, &r, 0, 0);
	resubmitted(e, ids, 3);
	close(r.fd);
}

static void test_crash_in_order(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[4];

	guest_init(&g, e, VHX_RING_F_IN_ORDER);
	start(e, F_IN_ORDER);
	region_get(e, &r);
	enable(e);
	for (int i = 0; i < 4; i++) {
		ids[i] = guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	vhx_vu_queue_push(queue(e), ids[2], 8); /* held back behind 0 and 1 */
	vhx_vu_queue_push(queue(e), ids[0], 8);
	vhx_vring_flush(&queue(e)->ring);
	successor_start(e, &r, F_IN_ORDER, 1);
	resubmitted(e, ids + 1, 3);
	for (int i = 1; i < 4; i++)
		vhx_vu_queue_push(queue(e), ids[i], 8);
	vhx_vu_queue_flush(queue(e));
	used_are(&g, ids, 4);
	assert_int_equal(client_base(e, 0), 4);
	close(r.fd);
}

static void test_stop_without_drain_is_resubmitted(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t id;

	start_in_region(e, &g, &r);
	id = guest_add(&g, BUFFER_AT);
	pop_id(e);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 0), 0);
	enable(e);
	resubmitted(e, &id, 1);
	close(r.fd);
}

/* Three requests, of which the first is answered and the others are given back. */
static void give_back_two(struct env *e, struct guest *g, uint16_t ids[3])
{
	for (unsigned int i = 0; i < 3; i++) {
		ids[i] = guest_add(g, BUFFER_AT + 0x1000 * i);
		assert_int_equal(pop_id(e), ids[i]);
	}
	vhx_vu_queue_push(queue(e), ids[0], 8);
	vhx_vu_queue_flush(queue(e));
	assert_int_equal(vhx_vu_queue_give_back(queue(e)), 0);
}

/* A virtual machine that was paused goes on, twice with nobody who answers. */
static void test_given_back_requests_are_popped_again(void **state)
{
	struct env *e = *state;
	uint16_t ids[3];
	struct region r;
	struct guest g;

	start_in_region(e, &g, &r);
	give_back_two(e, &g, ids);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(client_base(e, 0), 1);
		assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 1), 0);
		assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]), 0);
		assert_true(queue(e)->started);
		resubmitted(e, NULL, 0);
		assert_int_equal(pop_id(e), ids[1]);
		assert_int_equal(pop_id(e), ids[2]);
		assert_int_equal(vhx_vu_queue_give_back(queue(e)), 0);
	}
	close(r.fd);
}

/* It was migrated: with its memory goes the base, and no region. */
static void test_given_back_requests_are_popped_by_another_frontend(void **state)
{
	struct env *e = *state;
	struct region r, other;
	uint16_t ids[3];
	struct guest g;

	start_in_region(e, &g, &r);
	give_back_two(e, &g, ids);
	assert_int_equal(client_base(e, 0), 1);
	env_reconnect(e);
	start(e, 0);
	region_get(e, &other);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 1), 0);
	enable(e);
	resubmitted(e, NULL, 0);
	assert_int_equal(pop_id(e), ids[1]);
	assert_int_equal(pop_id(e), ids[2]);
	close(r.fd);
	close(other.fd);
}

/* This process ends by itself: there the VMM knows the used index only, or takes what is available for the base. */
static void test_given_back_requests_that_the_vmm_did_not_hear_of(void **state)
{
	struct env *e = *state;
	uint16_t ids[3];
	struct region r;
	struct guest g;

	start_in_region(e, &g, &r);
	give_back_two(e, &g, ids);
	successor_start(e, &r, 0, 3);
	resubmitted(e, ids + 1, 2);
	close(r.fd);
}

static void test_reset_forgets_what_was_in_flight(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;

	start_in_region(e, &g, &r);
	guest_add(&g, BUFFER_AT);
	pop_id(e);
	assert_int_equal(client_ack(e, VHX_VU_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	guest_init(&g, e, 0);
	client_queue_setup(e, 0);
	enable(e);
	resubmitted(e, NULL, 0);
	assert_int_equal(queue(e)->ring.avail_idx, 0);
	close(r.fd);
}

/* In a split region: version at 8, desc_num 10, last batch 12, used_idx 14, entries from 16. */
static void region_poke(struct region *r, off_t off, const void *value, size_t len)
{
	assert_int_equal(pwrite(r->fd, value, len, off), len);
}

static void start_refused(struct env *e, struct region *r)
{
	env_reconnect(e);
	start(e, 0);
	region_set(e, r);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_false(queue(e)->started);
}

static void test_forged_region_is_refused(void **state)
{
	const uint16_t bad_version = 2, bad_num = QUEUE_SIZE * 2, bad_used = 7000, bad_id = 999;
	const uint16_t version = 1, num = QUEUE_SIZE, one_behind = UINT16_MAX, none = 0;
	const uint8_t in_flight = 1;
	struct env *e = *state;
	struct region r;
	uint16_t id;

	start(e, 0);
	region_get(e, &r);
	enable(e);
	region_poke(&r, 8, &bad_version, 2);
	start_refused(e, &r);
	region_poke(&r, 8, &version, 2);
	region_poke(&r, 10, &bad_num, 2);
	start_refused(e, &r);
	region_poke(&r, 10, &num, 2);
	region_poke(&r, 16 + 3 * 16, &in_flight, 1);
	region_poke(&r, 14, &bad_used, 2);
	start_refused(e, &r);
	region_poke(&r, 14, &one_behind, 2);
	region_poke(&r, 12, &bad_id, 2);
	start_refused(e, &r);
	region_poke(&r, 12, &none, 2);
	successor_start(e, &r, 0, 0);
	assert_int_equal(vhx_vu_queue_resubmit(queue(e), &id), 1);
	assert_int_equal(id, 3);
	close(r.fd);
}

static void test_forged_counters_stay_in_order(void **state)
{
	const uint64_t most = UINT64_MAX, less = UINT64_MAX - 1;
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[3];

	start_in_region(e, &g, &r);
	for (int i = 0; i < 2; i++) {
		ids[i] = guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	region_poke(&r, 16 + ids[0] * 16 + 8, &most, 8);
	region_poke(&r, 16 + ids[1] * 16 + 8, &less, 8);
	successor_start(e, &r, 0, 0);
	resubmitted(e, (uint16_t[]){ ids[1], ids[0] }, 2);
	ids[2] = guest_add(&g, BUFFER_AT);
	pop_id(e);
	successor_start(e, &r, 0, 0);
	resubmitted(e, (uint16_t[]){ ids[1], ids[0], ids[2] }, 3);
	close(r.fd);
}

/* Packed: a VMM has no idea where the ring is, and gives the base of the first start. */
static void packed_start(struct env *e, struct region *r)
{
	start(e, F_PACKED);
	if (r)
		region_set(e, r);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 0x80008000), 0);
}

static void packed_begin(struct env *e, struct guest *g, struct region *r)
{
	guest_init(g, e, VHX_RING_F_PACKED);
	packed_start(e, NULL);
	region_get(e, r);
	enable(e);
}

static void packed_successor(struct env *e, struct region *r)
{
	env_reconnect(e);
	packed_start(e, r);
	enable(e);
}

static void test_packed_crash_with_requests_in_flight(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[5];

	packed_begin(e, &g, &r);
	for (int i = 0; i < 4; i++) {
		ids[i] = guest_add(&g, BUFFER_AT + i * 0x1000u);
		pop_id(e);
	}
	/* The used descriptor of the third lies over the first, which only the region still has. */
	vhx_vu_queue_push(queue(e), ids[2], 8);
	vhx_vu_queue_flush(queue(e));
	used_are(&g, ids + 2, 1);
	ids[4] = guest_add(&g, BUFFER_AT + 0x4000);
	packed_successor(e, &r);
	resubmitted(e, (uint16_t[]){ ids[0], ids[1], ids[3] }, 3);
	assert_int_equal(pop_id(e), ids[4]);
	vhx_vu_queue_push(queue(e), ids[4], 8);
	vhx_vu_queue_push(queue(e), ids[0], 8);
	vhx_vu_queue_push(queue(e), ids[3], 8);
	vhx_vu_queue_push(queue(e), ids[1], 8);
	vhx_vu_queue_flush(queue(e));
	used_are(&g, (uint16_t[]){ ids[4], ids[0], ids[3], ids[1] }, 4);
	assert_int_equal(client_base(e, 0), 10u << 16 | 10 | 0x80008000);
	close(r.fd);
}

static void test_packed_crash_with_nothing_in_flight(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t id;

	packed_begin(e, &g, &r);
	id = guest_add(&g, BUFFER_AT);
	pop_id(e);
	vhx_vu_queue_push(queue(e), id, 8);
	vhx_vu_queue_flush(queue(e));
	used_are(&g, &id, 1);
	packed_successor(e, &r);
	resubmitted(e, NULL, 0);
	id = guest_add(&g, BUFFER_AT);
	assert_int_equal(pop_id(e), id);
	close(r.fd);
}

/* A VMM that pauses: it has the base from us, and the region says the same. */
static void test_packed_stop_and_go(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint32_t base;
	uint16_t id;

	packed_begin(e, &g, &r);
	for (int i = 0; i < 11; i++) {
		id = guest_add(&g, BUFFER_AT);
		assert_int_equal(pop_id(e), id);
		vhx_vu_queue_push(queue(e), id, 8);
		vhx_vu_queue_flush(queue(e));
		used_are(&g, &id, 1);
	}
	base = client_base(e, 0);
	assert_int_equal(base, (22 - QUEUE_SIZE) << 16 | (22 - QUEUE_SIZE));
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]), 0);
	assert_true(queue(e)->started);
	resubmitted(e, NULL, 0);
	id = guest_add(&g, BUFFER_AT);
	assert_int_equal(pop_id(e), id);
	close(r.fd);
}

static void test_packed_given_back_requests_go_out_again(void **state)
{
	struct env *e = *state;
	uint16_t ids[3];
	struct region r;
	struct guest g;
	uint32_t base;

	packed_begin(e, &g, &r);
	give_back_two(e, &g, ids);
	base = client_base(e, 0);
	assert_int_equal(base, 0x80028002);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]), 0);
	assert_true(queue(e)->started);
	resubmitted(e, ids + 1, 2);
	/* As long as these are in flight. */
	assert_int_equal(vhx_vu_queue_give_back(queue(e)), -EBUSY);
	for (unsigned int i = 1; i < 3; i++)
		vhx_vu_queue_push(queue(e), ids[i], 8);
	vhx_vu_queue_flush(queue(e));
	used_are(&g, ids, 3);
	ids[0] = guest_add(&g, BUFFER_AT);
	assert_int_equal(pop_id(e), ids[0]);
	assert_int_equal(vhx_vu_queue_give_back(queue(e)), 0);
	close(r.fd);
}

static void test_packed_reset_forgets_what_was_in_flight(void **state)
{
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t id;

	packed_begin(e, &g, &r);
	guest_add(&g, BUFFER_AT);
	pop_id(e);
	assert_int_equal(client_ack(e, VHX_VU_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	guest_init(&g, e, VHX_RING_F_PACKED);
	client_queue_setup(e, 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 0x80008000), 0);
	enable(e);
	resubmitted(e, NULL, 0);
	id = guest_add(&g, BUFFER_AT);
	assert_int_equal(pop_id(e), id);
	close(r.fd);
}

/* In a packed region entries of 32 bytes begin at 32. */
#define PACKED_AT(entry, off) (32 + (entry)*32 + (off))

/*
 * Two chains of two in flight, in entries 0, 1 and 2, 3; the free list begins at 4. Each of these
 * alone makes the region one that no back-end leaves.
 */
static const struct {
	off_t off;
	uint16_t value;
	uint16_t len;
} packed_lies[] = {
	{ 8, 2, 2 }, /* version */
	{ 10, QUEUE_SIZE * 2, 2 }, /* desc_num */
	{ 14, QUEUE_SIZE + 1, 2 }, /* old_free_head */
	{ 14, UINT16_MAX, 2 },
	{ 14, 5, 2 }, /* 4 is free and on no list */
	{ 14, 1, 2 }, /* into a chain */
	{ 16, QUEUE_SIZE, 2 }, /* used_idx */
	{ 18, QUEUE_SIZE, 2 }, /* old_used_idx */
	{ 20, 2, 1 }, /* wrap counters */
	{ 21, 0xff, 1 },
	{ PACKED_AT(0, 0), 0, 1 }, /* not in flight, not free */
	{ PACKED_AT(1, 0), 1, 1 }, /* in flight within a chain */
	{ PACKED_AT(0, 2), 0, 2 }, /* next: a loop in a chain */
	{ PACKED_AT(0, 2), QUEUE_SIZE, 2 },
	{ PACKED_AT(0, 2), UINT16_MAX, 2 },
	{ PACKED_AT(0, 2), 3, 2 }, /* into another chain */
	{ PACKED_AT(0, 2), 7, 2 }, /* into the free list */
	{ PACKED_AT(8, 2), 8, 2 }, /* loops in the free list */
	{ PACKED_AT(8, 2), 4, 2 },
	{ PACKED_AT(8, 2), 0, 2 }, /* the free list runs into a chain */
	{ PACKED_AT(8, 2), QUEUE_SIZE, 2 }, /* it ends early */
	{ PACKED_AT(8, 2), QUEUE_SIZE + 1, 2 },
	{ PACKED_AT(0, 4), 0, 2 }, /* last */
	{ PACKED_AT(0, 4), UINT16_MAX, 2 },
	{ PACKED_AT(0, 6), 0, 2 }, /* num */
	{ PACKED_AT(0, 6), 1, 2 },
	{ PACKED_AT(0, 6), 3, 2 },
	{ PACKED_AT(0, 6), UINT16_MAX, 2 },
	{ PACKED_AT(1, 16), QUEUE_SIZE, 2 }, /* id */
	{ PACKED_AT(1, 16), 1, 2 }, /* of both */
	{ PACKED_AT(0, 18), 0, 2 }, /* flags: ends before its end */
	{ PACKED_AT(1, 18), 1, 2 }, /* does not end */
};

static void lie_put(uint8_t *at, uint16_t value, uint16_t len)
{
	if (len == 1)
		*at = (uint8_t)value;
	else
		memcpy(at, &value, len);
}

static void packed_refused(struct env *e, struct region *r)
{
	env_reconnect(e);
	packed_start(e, r);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_false(queue(e)->started);
}

static void test_packed_forged_region_is_refused(void **state)
{
	uint8_t before[1024], after[1024];
	struct env *e = *state;
	struct region r;
	struct guest g;
	uint16_t ids[2];
	ssize_t len;

	packed_begin(e, &g, &r);
	for (int i = 0; i < 2; i++) {
		ids[i] = guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	assert_int_equal(ids[1], 1);
	env_reconnect(e);
	len = pread(r.fd, before, sizeof(before), 0);
	assert_true(len >= PACKED_AT(QUEUE_SIZE, 0));
	for (size_t i = 0; i < sizeof(packed_lies) / sizeof(packed_lies[0]); i++) {
		memcpy(after, before, (size_t)len);
		lie_put(after + packed_lies[i].off, packed_lies[i].value, packed_lies[i].len);
		region_poke(&r, 0, after, (size_t)len);
		packed_refused(e, &r);
		/* and nothing was changed: a better back-end may still make sense of it */
		region_poke(&r, packed_lies[i].off, before + packed_lies[i].off,
			    packed_lies[i].len);
		assert_int_equal(pread(r.fd, after, sizeof(after), 0), len);
		assert_memory_equal(before, after, (size_t)len);
	}
	packed_successor(e, &r);
	resubmitted(e, ids, 2);
	close(r.fd);
}

/* All that runs is walked, completed and published: whatever was made of the region, it holds. */
static void work_off(struct env *e)
{
	struct iovec segs[2 * SEGS];
	struct vhx_chain c;
	uint16_t id;

	while (queue(e)->started && vhx_vu_queue_resubmit(queue(e), &id)) {
		c = (struct vhx_chain){
			.out = segs, .in = segs + SEGS, .out_max = SEGS, .in_max = SEGS
		};
		vhx_vring_rewalk(&queue(e)->ring, id, &c);
		vhx_vu_queue_push(queue(e), id, 0);
	}
	while (queue(e)->started && chain_pop(e, &c, segs))
		vhx_vu_queue_push(queue(e), c.id, 0);
	if (queue(e)->started)
		vhx_vu_queue_flush(queue(e));
}

/* Bytes of the two regions are changed before the start, and some while the queue runs. */
static void garbage(struct env *e, uint64_t features, uint32_t base)
{
	static uint8_t ring[USED_AT + 0x1000 - DESC_AT];
	uint8_t before[1024], bytes[1024];
	uint64_t random = 1234567;
	struct region r;
	struct guest g;
	int started = 0;
	ssize_t len;

	guest_init(&g, e, features & F_PACKED ? VHX_RING_F_PACKED : 0);
	start(e, features);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
	region_get(e, &r);
	enable(e);
	for (int i = 0; i < 3; i++) {
		guest_add(&g, BUFFER_AT);
		pop_id(e);
	}
	env_reconnect(e);
	len = pread(r.fd, before, sizeof(before), 0);
	memcpy(ring, e->mem + DESC_AT, sizeof(ring));
	for (int i = 0; i < 2000; i++) {
		memcpy(bytes, before, (size_t)len);
		for (int n = i % 5; n >= 0; n--) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			bytes[(random >> 33) % len] = (random >> 20) & (i & 1 ? 0x0f : 0xff);
		}
		region_poke(&r, 0, bytes, (size_t)len);
		memcpy(e->mem + DESC_AT, ring, sizeof(ring));
		env_reconnect(e);
		start(e, features);
		region_set(e, &r);
		assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
		client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1);
		started += queue(e)->started;
		memset(bytes, (int)random, (size_t)len);
		region_poke(&r, 0, bytes, (size_t)len);
		work_off(e);
	}
	assert_in_range(started, 100, 1990);
	close(r.fd);
}

static void test_garbage_in_a_split_region(void **state)
{
	garbage(*state, 0, 0);
}

static void test_garbage_in_a_packed_region(void **state)
{
	garbage(*state, F_PACKED, 0x80008000);
}

static void test_queue_beyond_the_region_is_refused(void **state)
{
	struct env *e = *state;
	struct vhx_vu_inflight_desc d = { .queue_num = 1, .queue_size = QUEUE_SIZE / 2 };
	struct answer a;

	start(e, 0);
	client_send(e, VHX_VU_GET_INFLIGHT_FD, &d, sizeof(d), NULL, 0);
	assert_true(client_answer(e, &a));
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	close(a.fd);
}

static void test_region_cannot_change_under_a_running_queue(void **state)
{
	struct env *e = *state;
	struct region r;

	start(e, 0);
	region_get(e, &r);
	enable(e);
	assert_int_not_equal(
		client_ack(e, VHX_VU_SET_INFLIGHT_FD, &r.desc, sizeof(r.desc), &r.fd, 1), 0);
	close(r.fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_request_there_and_back),
		T(test_log_marks_exactly_what_was_written),
		T(test_payload_by_guest_address_marks_the_log),
		T(test_crash_with_requests_in_flight),
		T(test_crash_before_the_used_index_moved),
		T(test_crash_after_the_used_index_moved),
		T(test_crash_twice),
		T(test_crash_in_order),
		T(test_stop_without_drain_is_resubmitted),
		T(test_given_back_requests_are_popped_again),
		T(test_given_back_requests_are_popped_by_another_frontend),
		T(test_given_back_requests_that_the_vmm_did_not_hear_of),
		T(test_reset_forgets_what_was_in_flight),
		T(test_forged_region_is_refused),
		T(test_forged_counters_stay_in_order),
		T(test_packed_crash_with_requests_in_flight),
		T(test_packed_crash_with_nothing_in_flight),
		T(test_packed_stop_and_go),
		T(test_packed_given_back_requests_go_out_again),
		T(test_packed_reset_forgets_what_was_in_flight),
		T(test_packed_forged_region_is_refused),
		T(test_garbage_in_a_split_region),
		T(test_garbage_in_a_packed_region),
		T(test_queue_beyond_the_region_is_refused),
		T(test_region_cannot_change_under_a_running_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
