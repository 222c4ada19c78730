// SPDX-License-Identifier: BSD-3-Clause
/*
 * The wake protocol, at its one dangerous moment: one thread goes to sleep while the other publishes. Both are
 * released at once, over and over. A wakeup is lost if the sleeper found nothing and the publisher saw no
 * sleeper.
 *
 * Built twice: as it is, where not one may be lost, and without the full fence (VHX_TEST_NO_FENCE), where one is
 * expected to be lost. Without it a store may wait in its processor's store buffer while the load behind
 * it is done. Whether that happens within the bounded number of tries is up to the machine: if it does not, the
 * second program exits 77, so that it can't fail by chance.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "exchange/lane.h"
#include "util/barrier.h"

#define RING VHX_SECTION_RING_MIN
#define TRIES_MAX 1000000u
#define SECONDS_MAX 4

struct duel {
	struct vhx_section sections[2], views[2];
	struct vhx_lane publisher, sleeper;
	/* What one try does, in two threads. */
	void (*publish)(struct duel *d);
	bool slept, woken;
	uint32_t turn; /* counts each thread's arrivals: even turns start a try, odd ones end it */
	uint32_t arrived;
	bool stop;
};

static void duel_make(struct duel *d)
{
	int fds[2];

	for (int i = 0; i < 2; i++) {
		if (vhx_section_create(RING, &d->sections[i], &fds[i]) ||
		    vhx_section_map(fds[i], RING, &d->views[i]))
			_exit(1);
		close(fds[i]);
	}
	vhx_lane_init(&d->publisher, &d->sections[0], &d->views[1]);
	vhx_lane_init(&d->sleeper, &d->sections[1], &d->views[0]);
}

static void duel_free(struct duel *d)
{
	for (int i = 0; i < 2; i++) {
		vhx_section_unmap(&d->sections[i]);
		vhx_section_unmap(&d->views[i]);
	}
}

/* Both threads leave together. Yields now and then: there may be one processor for the two. */
static void meet(struct duel *d)
{
	uint32_t turn = vhx_load_acquire(&d->turn);
	uint32_t spins = 0;

	if (__atomic_add_fetch(&d->arrived, 1, __ATOMIC_ACQ_REL) == 2) {
		vhx_store_relaxed(&d->arrived, 0);
		/* Release: pairs with the acquire of the other thread's loop below. */
		vhx_store_release(&d->turn, turn + 1);
		return;
	}
	while (vhx_load_acquire(&d->turn) == turn) {
		vhx_cpu_relax();
		if (++spins % 4096 == 0)
			sched_yield();
	}
}

/* A few instructions more or less, so that the two meet at every distance. */
static void stagger(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		vhx_cpu_relax();
}

static void publish_message(struct duel *d)
{
	uint32_t len;

	vhx_lane_send(&d->publisher, 1, NULL, 0, &len);
}

/* Consumes all but for the look that finds nothing more: a quarter of the ring is what publishes. */
static void publish_room(struct duel *d)
{
	struct vhx_msg msg;

	vhx_lane_peek(&d->publisher, &msg);
	vhx_lane_consume(&d->publisher);
}

static void *publisher_run(void *arg)
{
	struct duel *d = arg;

	for (uint32_t i = 0;; i++) {
		meet(d);
		if (d->stop)
			return NULL;
		stagger(i % 5);
		d->publish(d);
		d->woken = vhx_lane_wake_due(&d->publisher);
		meet(d);
	}
}

static void drain(struct vhx_lane *l)
{
	struct vhx_msg msg;

	while (vhx_lane_peek(l, &msg) == 1)
		vhx_lane_consume(l);
	vhx_lane_wake_due(l);
}

/* Fills the sleeper's ring with messages that each are a quarter of it, and one that finds no room. */
static void fill(struct duel *d)
{
	static uint8_t bytes[RING];
	struct iovec iov = { .iov_base = bytes, .iov_len = RING / 4 - VHX_SLOT_HEADER - VHX_SLOT };
	uint32_t len;

	drain(&d->publisher);
	while (vhx_lane_send(&d->sleeper, 1, &iov, 1, &len) == 0)
		;
	/* Room for the refused one comes with the publisher's second message: consume the first now. */
	publish_room(d);
}

static void prepare(struct duel *d)
{
	vhx_lane_awake(&d->sleeper);
	vhx_lane_wake_due(&d->sleeper);
	if (d->publish == publish_room)
		fill(d);
	else
		drain(&d->sleeper);
	vhx_lane_wake_due(&d->publisher);
}

/* Wakeups lost, at most one if @first ends it; *@tries: of how many. */
static uint32_t duel_run(void (*publish)(struct duel *d), bool first, uint32_t *tries)
{
	struct duel d = { .publish = publish };
	time_t end = time(NULL) + SECONDS_MAX;
	pthread_t thread;
	uint32_t lost = 0;
	uint32_t i;

	duel_make(&d);
	if (pthread_create(&thread, NULL, publisher_run, &d))
		_exit(1);
	for (i = 0; i < TRIES_MAX && time(NULL) < end && !(first && lost); i++) {
		prepare(&d);
		meet(&d);
		stagger(i / 5 % 5);
		d.slept = vhx_lane_prepare_wait(&d.sleeper) == 0;
		meet(&d);
		lost += d.slept && !d.woken;
	}
	d.stop = true;
	meet(&d);
	pthread_join(thread, NULL);
	duel_free(&d);
	*tries = i;
	return lost;
}

int main(void)
{
	static const struct {
		const char *name;
		void (*publish)(struct duel *d);
	} duels[] = { { "data", publish_message }, { "space", publish_room } };
#ifdef VHX_TEST_NO_FENCE
	const bool fence = false;
#else
	const bool fence = true;
#endif
	uint32_t lost = 0;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(duels); i++) {
		uint32_t tries, n = duel_run(duels[i].publish, !fence, &tries);

		printf("%s: %u of %u wakeups lost\n", duels[i].name, n, tries);
		lost += n;
	}
	if (fence)
		return lost ? 1 : 0;
	return lost ? 0 : 77;
}
