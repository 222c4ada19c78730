// SPDX-License-Identifier: BSD-3-Clause
/*
 * The event loop: what a callback may do to other callbacks, order, sleeping and waking. Times are only ever
 * used as guards against a hang and as lower bounds, never as a measure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop.h"
#include "util/barrier.h"

#define MS 1000000ull
#define HANG_GUARD_S 60

/* The loop's clock, real or moving by a fixed step with every reading. */
static uint64_t fake_step_ns;
static uint64_t fake_ns = 1;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (!fake_step_ns)
		return __real_clock_gettime(id, ts);
	fake_ns += fake_step_ns;
	ts->tv_sec = (time_t)(fake_ns / (1000 * MS));
	ts->tv_nsec = (long)(fake_ns % (1000 * MS));
	return 0;
}

static int set_up(void **state)
{
	struct vhx_loop *loop;

	alarm(HANG_GUARD_S);
	if (vhx_loop_new(0, &loop) < 0)
		return -1;
	*state = loop;
	return 0;
}

static int tear_down(void **state)
{
	vhx_loop_free(*state);
	alarm(0);
	return 0;
}

/* A descriptor that is readable from the start, and counts how often it was reported. */
struct source {
	struct vhx_loop_fd w;
	struct vhx_loop *loop;
	struct source *victim; /* deleted when this one is ready */
	bool again; /* and added again */
	int calls;
};

static void source_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct source *s = vhx_container_of(w, struct source, w);

	assert_true(events & EPOLLIN);
	s->calls++;
	if (!s->victim)
		return;
	vhx_loop_fd_del(s->loop, &s->victim->w);
	vhx_loop_fd_del(s->loop, &s->victim->w);
	if (s->again)
		assert_int_equal(vhx_loop_fd_add(s->loop, &s->victim->w), 0);
}

static void source_init(struct source *s, struct vhx_loop *loop)
{
	memset(s, 0, sizeof(*s));
	s->loop = loop;
	s->w.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	s->w.events = EPOLLIN;
	s->w.ready = source_ready;
	assert_true(s->w.fd >= 0);
	assert_int_equal(vhx_loop_fd_add(loop, &s->w), 0);
}

static void source_fini(struct source *s)
{
	vhx_loop_fd_del(s->loop, &s->w);
	close(s->w.fd);
}

static void test_fd_ready_is_reported(void **state)
{
	struct source s;

	source_init(&s, *state);
	assert_int_equal(vhx_loop_once(*state, -1), 0);
	assert_int_equal(s.calls, 1);
	source_fini(&s);
	assert_int_equal(vhx_loop_once(*state, 0), 0);
	assert_int_equal(s.calls, 1);
}

static void test_fd_deletes_itself(void **state)
{
	struct source s;

	source_init(&s, *state);
	s.victim = &s;
	vhx_loop_once(*state, 0);
	vhx_loop_once(*state, 0);
	assert_int_equal(s.calls, 1);
	source_fini(&s);
}

/* Both are in one batch; whichever comes first removes the other, which must not be called any more. */
static void test_fd_deleted_in_same_batch_is_not_called(void **state)
{
	struct source a, b;

	source_init(&a, *state);
	source_init(&b, *state);
	a.victim = &b;
	b.victim = &a;
	vhx_loop_once(*state, 0);
	assert_int_equal(a.calls + b.calls, 1);
	source_fini(&a);
	source_fini(&b);
}

static void test_fd_memory_freed_in_same_batch(void **state)
{
	struct source *s[2];
	int i, left;

	for (i = 0; i < 2; i++) {
		s[i] = malloc(sizeof(*s[i]));
		assert_non_null(s[i]);
		source_init(s[i], *state);
	}
	s[0]->victim = s[1];
	s[1]->victim = s[0];
	vhx_loop_once(*state, 0);
	left = s[0]->calls ? 0 : 1;
	source_fini(s[!left]);
	free(s[!left]);
	s[left]->victim = NULL;
	vhx_loop_once(*state, 0);
	source_fini(s[left]);
	free(s[left]);
}

static void test_fd_added_again_sees_no_stale_event(void **state)
{
	struct source a, b;

	source_init(&a, *state);
	source_init(&b, *state);
	a.victim = &b;
	b.victim = &a;
	a.again = b.again = true;
	vhx_loop_once(*state, 0);
	assert_int_equal(a.calls + b.calls, 1);
	vhx_loop_once(*state, 0);
	assert_int_equal(a.calls + b.calls, 2);
	source_fini(&a);
	source_fini(&b);
}

static void test_fd_modify_masks_events(void **state)
{
	struct source s;

	source_init(&s, *state);
	assert_int_equal(vhx_loop_fd_modify(*state, &s.w, 0), 0);
	vhx_loop_once(*state, 0);
	assert_int_equal(s.calls, 0);
	assert_int_equal(vhx_loop_fd_modify(*state, &s.w, EPOLLIN), 0);
	vhx_loop_once(*state, 0);
	assert_int_equal(s.calls, 1);
	source_fini(&s);
	assert_int_equal(vhx_loop_fd_modify(*state, &s.w, EPOLLIN), -ENOENT);
}

static void test_fd_not_pollable_is_refused(void **state)
{
	struct vhx_loop_fd w = { .fd = -1, .events = EPOLLIN, .ready = source_ready };

	assert_int_equal(vhx_loop_fd_add(*state, &w), -EBADF);
	assert_false(w.active);
	vhx_loop_fd_del(*state, &w);
}

struct alarm_clock {
	struct vhx_loop_timer t;
	struct vhx_loop *loop;
	struct alarm_clock *victim;
	uint64_t again_ns;
	bool again;
	int calls;
	int order;
};

static int order_next;

static void alarm_expired(struct vhx_loop_timer *t)
{
	struct alarm_clock *a = vhx_container_of(t, struct alarm_clock, t);

	a->calls++;
	a->order = order_next++;
	assert_int_equal(t->due_ns, 0);
	if (a->victim)
		vhx_loop_timer_cancel(a->loop, &a->victim->t);
	if (a->again)
		vhx_loop_timer_arm(a->loop, &a->t, a->again_ns);
}

static void alarm_init(struct alarm_clock *a, struct vhx_loop *loop, uint64_t in_ns)
{
	memset(a, 0, sizeof(*a));
	a->loop = loop;
	a->t.expired = alarm_expired;
	vhx_loop_timer_arm(loop, &a->t, in_ns);
}

static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static void test_timer_wakes_a_sleep_and_not_early(void **state)
{
	uint64_t start = mono_ns();
	struct alarm_clock a;

	alarm_init(&a, *state, 5 * MS);
	while (!a.calls)
		assert_int_equal(vhx_loop_once(*state, -1), 0);
	assert_true(mono_ns() - start >= 5 * MS);
	assert_true(vhx_loop_now(*state) - start >= 5 * MS);
}

static void test_timers_expire_in_order_of_due_time(void **state)
{
	struct alarm_clock a[4];
	const uint64_t due[4] = { 4, 1, 3, 2 };
	int i;

	order_next = 0;
	for (i = 0; i < 4; i++)
		alarm_init(&a[i], *state, due[i] * MS);
	while (order_next < 4)
		vhx_loop_once(*state, -1);
	for (i = 0; i < 4; i++)
		assert_int_equal(a[i].order, due[i] - 1);
}

static void test_timer_cancelled_by_another_that_is_due_too(void **state)
{
	struct alarm_clock a, b;

	alarm_init(&a, *state, 0);
	alarm_init(&b, *state, 0);
	a.victim = &b;
	b.victim = &a;
	while (!a.calls)
		vhx_loop_once(*state, -1);
	vhx_loop_once(*state, 0);
	assert_int_equal(b.calls, 0);
	vhx_loop_timer_cancel(*state, &b.t);
}

static void test_timer_with_period_zero_does_not_hang(void **state)
{
	struct alarm_clock a;

	alarm_init(&a, *state, 0);
	a.again = true;
	while (a.calls < 3)
		vhx_loop_once(*state, -1);
	vhx_loop_timer_cancel(*state, &a.t);
	vhx_loop_timer_cancel(*state, &a.t);
	vhx_loop_once(*state, 0);
	assert_int_equal(a.calls, 3);
}

static void test_timer_pushed_away_does_not_fire_at_the_old_time(void **state)
{
	struct alarm_clock a, guard;

	alarm_init(&a, *state, 2 * MS);
	vhx_loop_timer_arm(*state, &a.t, 3600 * 1000 * MS);
	alarm_init(&guard, *state, 10 * MS);
	while (!guard.calls)
		vhx_loop_once(*state, -1);
	assert_int_equal(a.calls, 0);
	vhx_loop_timer_cancel(*state, &a.t);
}

static void test_timer_never_is_not_now(void **state)
{
	struct alarm_clock a;

	alarm_init(&a, *state, UINT64_MAX);
	vhx_loop_once(*state, 5);
	assert_int_equal(a.calls, 0);
	vhx_loop_timer_cancel(*state, &a.t);
}

struct probe {
	struct vhx_loop_hook h;
	struct vhx_loop *loop;
	struct probe *victim;
	int work; /* runs that will report more */
	int runs;
	int prepares; /* calls of prepare */
	int object; /* prepares that will forbid a sleep */
	int looks; /* calls of poll */
	int hit_at; /* the look that finds work, 0: none */
};

static bool probe_run(struct vhx_loop_hook *h)
{
	struct probe *p = vhx_container_of(h, struct probe, h);

	p->runs++;
	if (p->victim)
		vhx_loop_hook_del(p->loop, &p->victim->h);
	return p->work && p->work-- > 0;
}

static bool probe_prepare(struct vhx_loop_hook *h)
{
	struct probe *p = vhx_container_of(h, struct probe, h);

	p->prepares++;
	return p->object && p->object-- > 0;
}

static bool probe_poll(struct vhx_loop_hook *h)
{
	struct probe *p = vhx_container_of(h, struct probe, h);

	return ++p->looks == p->hit_at;
}

static void probe_init(struct probe *p, struct vhx_loop *loop)
{
	memset(p, 0, sizeof(*p));
	p->loop = loop;
	p->h.run = probe_run;
	p->h.prepare = probe_prepare;
	vhx_loop_hook_add(loop, &p->h);
}

static void test_hook_runs_until_it_rests(void **state)
{
	struct probe p;

	probe_init(&p, *state);
	p.work = 3;
	vhx_loop_once(*state, 0);
	assert_int_equal(p.work, 0);
	assert_true(p.runs >= 4);
	assert_true(p.prepares >= 1);
	vhx_loop_hook_del(*state, &p.h);
	vhx_loop_hook_del(*state, &p.h);
}

static void test_hook_that_never_rests_does_not_starve_descriptors(void **state)
{
	struct source s;
	struct probe p;

	probe_init(&p, *state);
	p.work = INT32_MAX;
	source_init(&s, *state);
	vhx_loop_once(*state, -1);
	assert_int_equal(s.calls, 1);
	assert_int_equal(p.runs, 2 * VHX_LOOP_HOOK_ROUNDS);
	source_fini(&s);
	vhx_loop_hook_del(*state, &p.h);
}

static void test_hook_that_objects_forbids_the_sleep(void **state)
{
	struct probe p;

	probe_init(&p, *state);
	vhx_loop_once(*state, 0);
	p.runs = p.prepares = 0;
	p.object = VHX_LOOP_HOOK_ROUNDS;
	vhx_loop_once(*state, -1);
	assert_int_equal(p.object, 0);
	assert_true(p.runs > VHX_LOOP_HOOK_ROUNDS);
	vhx_loop_hook_del(*state, &p.h);
}

static void test_hook_deletes_itself_and_the_next(void **state)
{
	struct probe a, b, c;

	probe_init(&a, *state);
	probe_init(&b, *state);
	probe_init(&c, *state);
	a.victim = &b;
	c.victim = &c;
	vhx_loop_once(*state, 0);
	assert_int_equal(b.runs, 0);
	assert_int_equal(c.runs, 1);
	vhx_loop_hook_del(*state, &a.h);
	a.runs = 0;
	vhx_loop_once(*state, 0);
	assert_int_equal(a.runs, 0);
}

static void test_hook_added_is_run_without_an_event(void **state)
{
	struct probe p;

	probe_init(&p, *state);
	vhx_loop_once(*state, -1);
	assert_true(p.runs >= 1);
	vhx_loop_hook_del(*state, &p.h);
}

static void test_hook_del_before_add(void **state)
{
	struct vhx_loop_hook h = { .run = probe_run };

	vhx_loop_hook_del(*state, &h);
	assert_null(h.node.next);
}

static void test_embedder_sees_work_left_on_the_descriptor(void **state)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(*state), .events = POLLIN };
	struct alarm_clock a;
	struct probe p;

	assert_int_equal(poll(&pfd, 1, 0), 0);
	probe_init(&p, *state);
	p.work = INT32_MAX;
	vhx_loop_once(*state, 0);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	p.work = 0;
	vhx_loop_once(*state, 0);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	vhx_loop_hook_del(*state, &p.h);

	alarm_init(&a, *state, 1 * MS);
	assert_int_equal(poll(&pfd, 1, -1), 1);
	while (!a.calls)
		vhx_loop_once(*state, 0);
	assert_int_equal(poll(&pfd, 1, 0), 0);
}

static void test_stop_before_run_is_not_lost(void **state)
{
	vhx_loop_stop(*state);
	assert_int_equal(vhx_loop_run(*state), 0);
}

static void *stopper(void *arg)
{
	const struct timespec ts = { .tv_nsec = 5 * MS };

	nanosleep(&ts, NULL);
	vhx_loop_stop(arg);
	return NULL;
}

static void test_stop_from_another_thread(void **state)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&thread, NULL, stopper, *state), 0);
		assert_int_equal(vhx_loop_run(*state), 0);
		pthread_join(thread, NULL);
	}
}

static struct vhx_loop *signal_loop;

static void on_signal(int sig)
{
	vhx_loop_stop(signal_loop);
}

static void stop_by_signal(struct vhx_loop_timer *t)
{
	raise(SIGUSR1);
}

static void test_stop_from_a_signal_handler(void **state)
{
	struct vhx_loop_timer t = { .expired = stop_by_signal };

	signal_loop = *state;
	signal(SIGUSR1, on_signal);
	vhx_loop_timer_arm(*state, &t, 1 * MS);
	assert_int_equal(vhx_loop_run(*state), 0);
	signal(SIGUSR1, SIG_DFL);
}

static void spin_loop_new(struct vhx_loop **loop, struct probe *p, uint64_t max_ns)
{
	assert_int_equal(vhx_loop_new(max_ns, loop), 0);
	probe_init(p, *loop);
	p->h.poll = probe_poll;
	vhx_loop_once(*loop, 0);
	p->runs = p->looks = p->prepares = 0;
}

static void test_spin_hit_runs_the_hooks_again(void **state)
{
	struct alarm_clock a;
	struct vhx_loop *loop;
	struct probe p;

	spin_loop_new(&loop, &p, 3600ull * 1000 * MS);
	p.hit_at = 1;
	alarm_init(&a, loop, 2 * MS); /* ends the second spin, which nothing hits */
	vhx_loop_once(loop, -1);
	assert_int_equal(vhx_loop_stats(loop)->poll_hits, 1);
	assert_int_equal(vhx_loop_stats(loop)->polls, 2);
	assert_true(p.runs >= 3);
	vhx_loop_timer_cancel(loop, &a.t);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_spin_is_never_done_with_maximum_zero(void **state)
{
	struct vhx_loop *loop;
	struct probe p;

	spin_loop_new(&loop, &p, 0);
	vhx_loop_once(loop, 1);
	assert_int_equal(p.looks, 0);
	assert_int_equal(vhx_loop_stats(loop)->polls, 0);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_spin_is_not_done_without_a_hook_to_poll(void **state)
{
	struct vhx_loop *loop;
	struct probe p;

	spin_loop_new(&loop, &p, 3600ull * 1000 * MS);
	p.h.poll = NULL;
	vhx_loop_once(loop, 1);
	assert_int_equal(vhx_loop_stats(loop)->polls, 0);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_spin_is_not_done_when_not_sleeping(void **state)
{
	struct vhx_loop *loop;
	struct probe p;

	spin_loop_new(&loop, &p, 3600ull * 1000 * MS);
	vhx_loop_once(loop, 0);
	assert_int_equal(p.looks, 0);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

/*
 * What a spin does is read off the number of looks, on a clock that moves by a fixed step with every
 * reading.
 */
#define STEP_NS 1000ull

static int looks_of_one_sleep(struct vhx_loop *loop, struct probe *p, int timeout_ms)
{
	p->looks = 0;
	fake_step_ns = STEP_NS;
	vhx_loop_once(loop, timeout_ms);
	fake_step_ns = 0;
	return p->looks;
}

static int sleeps_without_a_look(struct vhx_loop *loop, struct probe *p, int *looks)
{
	int cnt = 0;

	while (!(*looks = looks_of_one_sleep(loop, p, 1)))
		cnt++;
	return cnt;
}

static void test_spin_in_vain_is_done_less_and_less(void **state)
{
	struct vhx_loop *loop;
	struct probe p;
	int full, looks;

	spin_loop_new(&loop, &p, 64 * STEP_NS);
	full = looks_of_one_sleep(loop, &p, 1);
	assert_true(full > 64);
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 1);
	assert_int_equal(looks, full);
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 2);
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 4);
	/* One that pays, then one in vain: as far as before, not twice as far. */
	p.hit_at = 2;
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 8);
	assert_int_equal(looks, 2 + full);
	p.hit_at = 0;
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 8);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_work_at_the_first_look_does_not_pay_for_spinning(void **state)
{
	struct vhx_loop *loop;
	struct probe p;
	int looks;

	spin_loop_new(&loop, &p, 64 * STEP_NS);
	looks_of_one_sleep(loop, &p, 1);
	p.hit_at = 1;
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 1);
	p.hit_at = 0;
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 2);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_work_found_too_late_does_not_pay(void **state)
{
	struct vhx_loop *loop;
	struct probe p;
	int full, looks;

	spin_loop_new(&loop, &p, 64 * STEP_NS);
	full = looks_of_one_sleep(loop, &p, 1);
	/* In the last batch: when the clock is read next, the time is up. */
	p.hit_at = full;
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 1);
	assert_int_equal(looks, full);
	p.hit_at = 0;
	/* The first of two was the sleep that the work forbade. */
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 1);
	assert_int_equal(sleeps_without_a_look(loop, &p, &looks), 4);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_spin_ends_at_the_first_timer(void **state)
{
	struct alarm_clock a;
	struct vhx_loop *loop;
	struct probe p;

	spin_loop_new(&loop, &p, 3600ull * 1000 * MS);
	alarm_init(&a, loop, 2 * MS);
	while (!a.calls)
		vhx_loop_once(loop, -1);
	assert_true(p.looks >= 1);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

static void test_free_of_null(void **state)
{
	vhx_loop_free(NULL);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* A loop that was given no bound takes that of the hook which says most; one that was given one keeps it. */
static void test_bound_of_a_spin_is_the_most_that_a_hook_says(void **state)
{
	struct vhx_loop *loop;
	cpu_set_t cpus;
	struct probe p;
	int plain, dear;

	if (!sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1)
		skip();
	spin_loop_new(&loop, &p, VHX_LOOP_POLL_AUTO);
	plain = looks_of_one_sleep(loop, &p, 1);
	assert_true(plain >= (int)(VHX_LOOP_POLL_NS / STEP_NS));
	p.h.poll_ns = 4 * VHX_LOOP_POLL_NS;
	assert_int_equal(sleeps_without_a_look(loop, &p, &dear), 1);
	assert_true(dear > 3 * plain && dear < 5 * plain);
	vhx_loop_poll_limit(loop, VHX_LOOP_POLL_NS);
	assert_int_equal(sleeps_without_a_look(loop, &p, &dear), 2);
	assert_int_equal(dear, plain);
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

/* On a single CPU a spin only keeps the peer from running. */
static void test_default_spin_needs_a_second_cpu(void **state)
{
	struct vhx_loop *loop;
	cpu_set_t all, one;
	struct probe p;
	int cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	spin_loop_new(&loop, &p, VHX_LOOP_POLL_AUTO);
	assert_int_equal(looks_of_one_sleep(loop, &p, 1), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	if (CPU_COUNT(&all) > 1) {
		vhx_loop_poll_limit(loop, VHX_LOOP_POLL_AUTO);
		assert_true(looks_of_one_sleep(loop, &p, 1) > 0);
	}
	vhx_loop_hook_del(loop, &p.h);
	vhx_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_fd_ready_is_reported),
		LOOP_TEST(test_fd_deletes_itself),
		LOOP_TEST(test_fd_deleted_in_same_batch_is_not_called),
		LOOP_TEST(test_fd_memory_freed_in_same_batch),
		LOOP_TEST(test_fd_added_again_sees_no_stale_event),
		LOOP_TEST(test_fd_modify_masks_events),
		LOOP_TEST(test_fd_not_pollable_is_refused),
		LOOP_TEST(test_timer_wakes_a_sleep_and_not_early),
		LOOP_TEST(test_timers_expire_in_order_of_due_time),
		LOOP_TEST(test_timer_cancelled_by_another_that_is_due_too),
		LOOP_TEST(test_timer_with_period_zero_does_not_hang),
		LOOP_TEST(test_timer_pushed_away_does_not_fire_at_the_old_time),
		LOOP_TEST(test_timer_never_is_not_now),
		LOOP_TEST(test_hook_runs_until_it_rests),
		LOOP_TEST(test_hook_that_never_rests_does_not_starve_descriptors),
		LOOP_TEST(test_hook_that_objects_forbids_the_sleep),
		LOOP_TEST(test_hook_deletes_itself_and_the_next),
		LOOP_TEST(test_hook_added_is_run_without_an_event),
		LOOP_TEST(test_hook_del_before_add),
		LOOP_TEST(test_embedder_sees_work_left_on_the_descriptor),
		LOOP_TEST(test_stop_before_run_is_not_lost),
		LOOP_TEST(test_stop_from_another_thread),
		LOOP_TEST(test_stop_from_a_signal_handler),
		LOOP_TEST(test_spin_hit_runs_the_hooks_again),
		LOOP_TEST(test_spin_is_never_done_with_maximum_zero),
		LOOP_TEST(test_spin_is_not_done_without_a_hook_to_poll),
		LOOP_TEST(test_spin_is_not_done_when_not_sleeping),
		LOOP_TEST(test_spin_in_vain_is_done_less_and_less),
		LOOP_TEST(test_work_at_the_first_look_does_not_pay_for_spinning),
		LOOP_TEST(test_work_found_too_late_does_not_pay),
		LOOP_TEST(test_spin_ends_at_the_first_timer),
		LOOP_TEST(test_free_of_null),
		LOOP_TEST(test_bound_of_a_spin_is_the_most_that_a_hook_says),
		LOOP_TEST(test_default_spin_needs_a_second_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
