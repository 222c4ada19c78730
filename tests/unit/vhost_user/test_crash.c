// SPDX-License-Identifier: BSD-3-Clause
/*
 * A back-end that dies between any two of its stores. A first life works off requests, in a random
 * order and random batches; behind every store to the ring or to the inflight region all that
 * outlives the process is copied: ring, region, and the driver. From each copy a successor is
 * started and finishes. Each request must come back to the driver exactly once, and what is
 * submitted again must be what was not, in order and as the driver wrote it.
 *
 * The successor's own stores are looked at as well, for some of the copies: it may die in its turn.
 *
 * Built with VHX_TEST_STORES.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "ring/driver.h"
#include "util/barrier.h"
#include "vu_client.h"

#define REQUESTS_MAX 1024u
#define BUFFER_STEP 64u
#define SEGS_MAX 3u
#define AREA_LEN 0x200u
#define REGION_LEN 0x400u
#define PACKED_FRESH 0x80008000u
#define NO_REQUEST UINT16_MAX

/* What a guest knows. It outlives every back-end, as memory does. */
struct guest {
	struct vhx_vdriver driver;
	struct vhx_vdriver_slot slots[QUEUE_SIZE];
	uint16_t request[QUEUE_SIZE]; /* by id */
	uint8_t segs[REQUESTS_MAX];
	uint8_t back[REQUESTS_MAX];
	uint16_t added;
};

struct copy {
	struct guest guest;
	uint8_t desc[AREA_LEN], avail[AREA_LEN], used[AREA_LEN];
	uint8_t region[REGION_LEN];
};

struct copies {
	struct copy *at;
	unsigned int cnt, max;
};

struct lab {
	struct env *env;
	uint64_t features;
	uint64_t random;
	uint16_t size; /* of the ring; the region is for QUEUE_SIZE */
	struct guest guest;
	struct vhx_vu_inflight_desc desc;
	int region_fd;
	uint8_t *region;
	uint16_t held[QUEUE_SIZE]; /* ids that this life holds */
	uint16_t held_cnt;
	unsigned int unflushed;
	struct copies *record; /* NULL: nobody looks */
	unsigned int resubmitted;
};

static struct lab *lab_now;

static uint32_t below(struct lab *l, uint32_t n)
{
	l->random ^= l->random >> 12;
	l->random ^= l->random << 25;
	l->random ^= l->random >> 27;
	return (uint32_t)((l->random * 0x2545f4914f6cdd1dull) >> 33) % n;
}

static bool packed(const struct lab *l)
{
	return l->features & F_PACKED;
}

static struct vhx_vu_queue *queue(struct lab *l)
{
	return vhx_vu_server_queue(l->env->owner.server, 0);
}

/* The copies */

static void take(struct lab *l)
{
	struct copies *c = l->record;
	struct copy *to;

	if (!c)
		return;
	if (c->cnt == c->max) {
		c->max = c->max ? c->max * 2 : 256;
		c->at = realloc(c->at, c->max * sizeof(*c->at));
		assert_non_null(c->at);
	}
	to = &c->at[c->cnt++];
	to->guest = l->guest;
	memcpy(to->desc, l->env->mem + DESC_AT, AREA_LEN);
	memcpy(to->avail, l->env->mem + AVAIL_AT, AREA_LEN);
	memcpy(to->used, l->env->mem + USED_AT, AREA_LEN);
	memcpy(to->region, l->region, REGION_LEN);
}

static void put_back(struct lab *l, const struct copy *from)
{
	l->guest = from->guest;
	memcpy(l->env->mem + DESC_AT, from->desc, AREA_LEN);
	memcpy(l->env->mem + AVAIL_AT, from->avail, AREA_LEN);
	memcpy(l->env->mem + USED_AT, from->used, AREA_LEN);
	memcpy(l->region, from->region, REGION_LEN);
}

void vhx_test_stored(void)
{
	if (lab_now)
		take(lab_now);
}

/* The driver */

static void guest_init(struct lab *l)
{
	struct vhx_vdriver_config cfg = {
		.size = l->size,
		.features = (packed(l) ? VHX_RING_F_PACKED : 0) |
			    (l->features & F_IN_ORDER ? VHX_RING_F_IN_ORDER : 0),
		.desc = l->env->mem + DESC_AT,
		.driver = l->env->mem + AVAIL_AT,
		.device = l->env->mem + USED_AT,
		.slots = l->guest.slots,
	};

	assert_int_equal(vhx_vdriver_init(&l->guest.driver, &cfg), 0);
}

static void guest_add(struct lab *l)
{
	struct guest *g = &l->guest;
	uint64_t at = BUFFER_AT + g->added * BUFFER_STEP;
	struct vhx_vdriver_seg segs[SEGS_MAX] = { { at, 8 }, { at + 16, 8 }, { at + 32, 8 } };
	unsigned int cnt = 1 + below(l, SEGS_MAX);
	int id;

	assert_true(g->added < REQUESTS_MAX);
	id = vhx_vdriver_add(&g->driver, segs, 1, cnt - 1);
	if (id < 0)
		return;
	memcpy(l->env->mem + at, &g->added, sizeof(g->added));
	g->segs[g->added] = (uint8_t)cnt;
	g->request[id] = g->added++;
	vhx_vdriver_publish(&g->driver);
}

static void guest_collect(struct lab *l)
{
	struct guest *g = &l->guest;
	uint32_t len;
	uint16_t id;
	int ret;

	while ((ret = vhx_vdriver_get_used(&g->driver, &id, &len)) == 1) {
		assert_int_equal(g->back[g->request[id]], 0);
		g->back[g->request[id]] = 1;
	}
	/* What is not in flight and used all the same breaks the driver's end. */
	assert_int_equal(ret, 0);
}

/* The device */

static void held_add(struct lab *l, uint16_t id)
{
	assert_true(l->held_cnt < QUEUE_SIZE);
	l->held[l->held_cnt++] = id;
}

/* Is the chain what the driver made of a request that is not back? Returns the request. */
static uint16_t check_chain(struct lab *l, const struct vhx_chain *c)
{
	const struct guest *g = &l->guest;
	uint16_t rq;

	assert_int_equal(c->out_cnt, 1);
	memcpy(&rq, c->out[0].iov_base, sizeof(rq));
	assert_true(rq < g->added);
	assert_int_equal(g->request[c->id], rq);
	assert_int_equal(c->in_cnt, g->segs[rq] - 1);
	return rq;
}

static struct vhx_chain chain_of(struct iovec *segs)
{
	return (struct vhx_chain){ .out = segs, .in = segs + 4, .out_max = 4, .in_max = 4 };
}

/* The request popped, or NO_REQUEST. */
static uint16_t device_pop(struct lab *l)
{
	struct iovec segs[8];
	struct vhx_chain c = chain_of(segs);
	int ret = vhx_vu_queue_pop(queue(l), &c);

	assert_true(ret >= 0);
	if (!ret)
		return NO_REQUEST;
	held_add(l, c.id);
	return check_chain(l, &c);
}

static void device_push(struct lab *l)
{
	uint32_t i;

	if (!l->held_cnt)
		return;
	i = below(l, l->held_cnt);
	vhx_vu_queue_push(queue(l), l->held[i], 0);
	l->held[i] = l->held[--l->held_cnt];
	l->unflushed++;
}

static void device_flush(struct lab *l)
{
	vhx_vu_queue_flush(queue(l));
	l->unflushed = 0;
}

static void step(struct lab *l)
{
	uint32_t what = below(l, 16);

	lab_now = l;
	if (what < 5)
		device_pop(l);
	else if (what < 9)
		device_push(l);
	else if (what < 11)
		device_flush(l);
	lab_now = NULL;
	if (what >= 11 && what < 14)
		guest_add(l);
	else if (what >= 14)
		guest_collect(l);
}

/* Lives */

static void queue_up(struct lab *l, uint32_t base)
{
	struct env *e = l->env;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL | l->features);
	assert_int_equal(client_mem_table(e), 0);
	client_queue_setup(e, 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, l->size), 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
	l->held_cnt = 0;
	l->unflushed = 0;
}

static void enable(struct lab *l)
{
	lab_now = l;
	assert_int_equal(client_ack_state(l->env, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	lab_now = NULL;
	assert_true(queue(l)->started);
}

static void first_life(struct lab *l)
{
	struct vhx_vu_inflight_desc d = { .queue_num = 1, .queue_size = QUEUE_SIZE };
	struct answer a;

	guest_init(l);
	queue_up(l, packed(l) ? PACKED_FRESH : 0);
	client_send(l->env, VHX_VU_GET_INFLIGHT_FD, &d, sizeof(d), NULL, 0);
	assert_true(client_answer(l->env, &a));
	l->region_fd = a.fd;
	l->desc = a.payload.inflight;
	assert_true(l->desc.mmap_size <= REGION_LEN);
	l->region = mmap(NULL, REGION_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, l->region_fd, 0);
	assert_ptr_not_equal(l->region, MAP_FAILED);
	enable(l);
}

/* All that a VMM can know: of a split ring the used index, of a packed one nothing. */
static uint32_t vmm_base(struct lab *l)
{
	uint16_t idx;

	memcpy(&idx, l->env->mem + USED_AT + 2, sizeof(idx));
	return packed(l) ? PACKED_FRESH : idx;
}

/* Older ones first, and none that the driver has back. Returns the last one, or NO_REQUEST. */
static uint16_t take_resubmitted(struct lab *l)
{
	struct iovec segs[8];
	struct vhx_chain c = chain_of(segs);
	uint16_t id, rq, last = NO_REQUEST;

	while (vhx_vu_queue_resubmit(queue(l), &id)) {
		assert_int_equal(vhx_vring_rewalk(&queue(l)->ring, id, &c), 0);
		rq = check_chain(l, &c);
		assert_true(last == NO_REQUEST || rq > last);
		assert_int_equal(l->guest.back[rq], 0);
		last = rq;
		held_add(l, id);
		l->resubmitted++;
	}
	return last;
}

/* Works on until nothing is left anywhere. */
static void finish(struct lab *l)
{
	uint16_t last = take_resubmitted(l), popped = NO_REQUEST, rq;

	while ((rq = device_pop(l)) != NO_REQUEST) {
		assert_true(last == NO_REQUEST || rq > last);
		assert_true(popped == NO_REQUEST || rq == popped + 1);
		popped = rq;
	}
	while (l->held_cnt || l->unflushed) {
		lab_now = l;
		if (below(l, 3))
			device_push(l);
		else
			device_flush(l);
		lab_now = NULL;
		guest_collect(l);
	}
	for (uint16_t i = 0; i < l->guest.added; i++)
		assert_int_equal(l->guest.back[i], 1);
	assert_int_equal(l->guest.driver.free_cnt, l->size);
	assert_int_equal(queue(l)->ring.broken, VHX_RING_OK);
}

/* And the ring is good for more. */
static void go_on(struct lab *l)
{
	for (int i = 0; i < 6; i++)
		guest_add(l);
	finish(l);
}

static void successor(struct lab *l, const struct copy *from, struct copies *record)
{
	env_reconnect(l->env);
	put_back(l, from);
	/* The driver may take what is used, and fill the ring, before the successor is there. */
	if (below(l, 2))
		guest_collect(l);
	for (unsigned int n = below(l, 2) * QUEUE_SIZE; n; n--)
		guest_add(l);
	queue_up(l, vmm_base(l));
	assert_int_equal(client_ack(l->env, VHX_VU_SET_INFLIGHT_FD, &l->desc, sizeof(l->desc),
				    &l->region_fd, 1),
			 0);
	l->record = record;
	enable(l);
	guest_collect(l);
	finish(l);
	l->record = NULL;
	go_on(l);
}

static void run(struct env *e, uint64_t features, uint16_t size, unsigned int steps)
{
	struct lab *l = calloc(1, sizeof(*l));
	struct copies first = { 0 }, second = { 0 };

	assert_non_null(l);
	l->env = e;
	l->features = features;
	l->size = size;
	l->random = 0x9e3779b97f4a7c15ull + features + size;
	env_reconnect(e);
	first_life(l);
	l->record = &first;
	for (unsigned int i = 0; i < steps; i++)
		step(l);
	l->record = NULL;
	assert_true(first.cnt > steps / 2);
	for (unsigned int i = 0; i < first.cnt; i++) {
		bool twice = i % 17 == 0;

		second.cnt = 0;
		successor(l, &first.at[i], twice ? &second : NULL);
		for (unsigned int j = 0; twice && j < second.cnt; j++)
			successor(l, &second.at[j], NULL);
	}
	assert_true(l->resubmitted > first.cnt / 4);
	free(first.at);
	free(second.at);
	munmap(l->region, REGION_LEN);
	close(l->region_fd);
	free(l);
}

static void test_split(void **state)
{
	run(*state, 0, QUEUE_SIZE, 1000);
}

static void test_split_in_order(void **state)
{
	run(*state, F_IN_ORDER, QUEUE_SIZE, 1000);
}

static void test_packed(void **state)
{
	run(*state, F_PACKED, QUEUE_SIZE, 1000);
}

static void test_packed_in_order(void **state)
{
	run(*state, F_PACKED | F_IN_ORDER, QUEUE_SIZE, 1000);
}

/* Batches that come back to their own index, and free entries that are never used. */
static void test_packed_short_ring(void **state)
{
	for (uint16_t size = 3; size < 8; size++)
		run(*state, F_PACKED, size, 200);
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_split),		 T(test_split_in_order),    T(test_packed),
		T(test_packed_in_order), T(test_packed_short_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
