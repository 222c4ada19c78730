// SPDX-License-Identifier: BSD-3-Clause
/*
 * Driver and device in two threads over one memory. Each sleeps only after it asked for a
 * notification and looked again; a lost one hangs the test, which the guard below turns into a
 * failure. ThreadSanitizer checks that each byte of payload is handed over by the indices alone.
 */
#include "ringlab.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#define REQUESTS 60000u
#define DEPTH 32u
#define OUT_LEN 24u
#define IN_LEN 40u
/* Only a hang takes so long. */
#define GUARD_S 120

/*
 * A doorbell that is polled, so that both sides meet within nanoseconds, where stores and loads
 * still overtake each other: a system call in between would hide a missing fence.
 */
struct bell {
	unsigned int rung;
	unsigned int heard;
};

struct pair {
	struct lab *lab;
	struct bell kick, call;
	bool hung;
};

static void bell_ring(struct bell *b)
{
	__atomic_fetch_add(&b->rung, 1, __ATOMIC_RELAXED);
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static bool pair_wait(struct pair *p, struct bell *b)
{
	time_t until = now_s() + GUARD_S;
	unsigned int rung, n = 0;

	while ((rung = vhx_load_relaxed(&b->rung)) == b->heard) {
		vhx_cpu_relax();
		if (++n % 256)
			continue;
		sched_yield();
		if (now_s() < until && !vhx_load_relaxed(&p->hung))
			continue;
		vhx_store_relaxed(&p->hung, true);
		return false;
	}
	b->heard = rung;
	return true;
}

/* The answer is each byte of the question plus one, and then some. */
static void serve(struct lab *lab, const struct vhx_chain *c)
{
	const uint8_t *out = c->out[0].iov_base;
	uint8_t *in = c->in[0].iov_base;

	for (uint32_t i = 0; i < IN_LEN; i++)
		in[i] = out[i % OUT_LEN] + 1;
	vhx_vring_push(&lab->r, c->id, IN_LEN);
}

static unsigned int device_pass(struct lab *lab)
{
	unsigned int n = 0;

	while (lab_pop(lab) > 0) {
		serve(lab, &lab->chain);
		n++;
	}
	return n;
}

static void *device_main(void *arg)
{
	struct pair *p = arg;
	struct lab *lab = p->lab;
	unsigned int done = 0;

	while (done < REQUESTS) {
		unsigned int n;

		vhx_vring_disable_kick(&lab->r);
		n = device_pass(lab);
		done += n;
		if (vhx_vring_flush(&lab->r))
			bell_ring(&p->call);
		if (!n && !vhx_vring_enable_kick(&lab->r) && !pair_wait(p, &p->kick))
			break;
	}
	return NULL;
}

/* Slot n of the payload: question, then answer. */
static uint64_t slot_addr(unsigned int slot)
{
	return LAB_BASE + (uint64_t)slot * 128;
}

static bool submit_one(struct lab *lab, unsigned int slot, uint32_t number, int *slot_of)
{
	struct vhx_vdriver_seg segs[2] = {
		{ slot_addr(slot), OUT_LEN },
		{ slot_addr(slot) + OUT_LEN, IN_LEN },
	};
	uint8_t *out = (uint8_t *)lab_at(lab, slot_addr(slot));
	int id;

	for (uint32_t i = 0; i < OUT_LEN; i++)
		out[i] = number * 7 + i;
	id = vhx_vdriver_add(&lab->d, segs, 1, 1);
	if (id < 0)
		return false;
	slot_of[id] = slot;
	return true;
}

static void check_answer(struct lab *lab, unsigned int slot, uint32_t used_len)
{
	const uint8_t *out = (uint8_t *)lab_at(lab, slot_addr(slot));

	assert_int_equal(used_len, IN_LEN);
	for (uint32_t i = 0; i < IN_LEN; i++)
		assert_int_equal(out[OUT_LEN + i], (uint8_t)(out[i % OUT_LEN] + 1));
}

struct driver {
	unsigned int free[DEPTH], free_cnt;
	unsigned int sent, done;
	int slot_of[DEPTH * 2];
};

static unsigned int driver_reap(struct pair *p, struct driver *d)
{
	unsigned int n = 0;
	uint32_t used_len;
	uint16_t id;

	while (vhx_vdriver_get_used(&p->lab->d, &id, &used_len) > 0) {
		check_answer(p->lab, d->slot_of[id], used_len);
		d->free[d->free_cnt++] = d->slot_of[id];
		n++;
	}
	d->done += n;
	return n;
}

static void driver_submit(struct pair *p, struct driver *d)
{
	while (d->free_cnt && d->sent < REQUESTS) {
		if (!submit_one(p->lab, d->free[d->free_cnt - 1], d->sent, d->slot_of))
			break;
		d->free_cnt--;
		d->sent++;
	}
	if (vhx_vdriver_publish(&p->lab->d))
		bell_ring(&p->kick);
}

static void driver_main(struct pair *p, unsigned int depth)
{
	struct driver d = { .free_cnt = depth };

	for (unsigned int i = 0; i < depth; i++)
		d.free[i] = i;
	while (d.done < REQUESTS) {
		driver_submit(p, &d);
		vhx_vdriver_disable_call(&p->lab->d);
		if (driver_reap(p, &d))
			continue;
		if (!vhx_vdriver_enable_call(&p->lab->d) && !pair_wait(p, &p->call))
			return;
	}
}

static void run(uint16_t size, uint32_t features, unsigned int depth)
{
	struct pair p = { .lab = lab_new(size, features) };
	pthread_t device;

	/* Not meant for two threads, and not needed here. */
	p.lab->mem.dirty = NULL;
	assert_int_equal(pthread_create(&device, NULL, device_main, &p), 0);
	driver_main(&p, depth);
	assert_int_equal(pthread_join(device, NULL), 0);
	assert_false(p.hung);
	assert_int_equal(p.lab->r.broken, VHX_RING_OK);
	assert_int_equal(p.lab->d.broken, VHX_RING_OK);
	lab_free(p.lab);
}

static void test_two_threads(void **state)
{
	uint32_t format = *(const uint32_t *)*state;

	for (uint32_t f = 0; f < 8; f++) {
		uint32_t features = format | (f & 1 ? VHX_RING_F_INDIRECT : 0) |
				    (f & 2 ? VHX_RING_F_EVENT_IDX : 0) |
				    (f & 4 ? VHX_RING_F_IN_ORDER : 0);

		/* With one request at a time both sides go to sleep all the time. */
		run(8, features, 1);
		run(f & 1 ? DEPTH : DEPTH / 4, features, DEPTH);
	}
}

static const uint32_t split = 0;
static const uint32_t packed = VHX_RING_F_PACKED;

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "test_two_threads/split", test_two_threads, NULL, NULL,
		  (void *)(uintptr_t)&split },
		{ "test_two_threads/packed", test_two_threads, NULL, NULL,
		  (void *)(uintptr_t)&packed },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
