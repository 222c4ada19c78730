// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * One thread owns a loop and everything on it; only vhx_loop_stop() may come from elsewhere. The loop owns
 * its epoll set, an eventfd (stop, and "more to do" for embedders) and a timerfd. Watches, timers and hooks
 * belong to those who embed them; the loop only links them.
 *
 *   settle: hooks, until none reports work -> spin -> prepare hooks     (loop_settle)
 *   sleep:  epoll_wait, without waiting if settle did not come to rest  (loop_sleep)
 *   dispatch: ready descriptors, then timers that are due               (loop_dispatch)
 *
 * vhx_loop_run() repeats these three. vhx_loop_once() settles a second time before it returns, because an
 * embedder sleeps elsewhere, on vhx_loop_fileno(), and must do so with the prepare hooks done.
 *
 * Deletion. Any callback may delete any watch, timer or hook, its own included, and free its memory:
 *   - of the batch that epoll_wait returned, entries of a deleted watch are blanked; a watch that is deleted
 *     and added again sees only what epoll reports from then on;
 *   - timers that are due move to a second list first, from which they can be cancelled like from the first;
 *     one that is armed again waits for the next iteration, so that a period of 0 cannot hang the loop;
 *   - the walk over hooks holds a cursor to the next one, which deletion moves on.
 *
 * Timers. A sorted list: a loop has a handful of them, and most are armed behind all others. The timerfd makes
 * them visible through vhx_loop_fileno(). It is set when a timer becomes due earlier than what it is set
 * to, and never to a later time: a timer that is pushed away again and again (a watchdog) costs no system
 * call, only one idle wakeup per period.
 *
 * Spinning. A wake across processes costs more than copying a page, so before a sleep the loop looks at the hooks
 * that have a poll function for a bounded time. Where that does not pay, it only takes the CPU from
 * whoever is to produce the work, so it has to be earned: a spin in vain is followed by sleeps without one,
 * one after the first failure, twice as many after each further one, up to a bound; then another try.
 * Each success halves the bound that was reached. Work that is there at the first look is no success,
 * and work that shows only after the time is up is a failure: in both cases somebody else ran on this CPU
 * meanwhile, perhaps the peer itself, and a sleep would have brought it as soon. So
 * an idle loop, and one that has no CPU to spare, spins once in LOOP_POLL_PENALTY_MAX sleeps. The bound of a
 * spin is what the loop was told, or else (VHX_LOOP_POLL_AUTO) that of the hook whose wakes are dearest: looking
 * for about as long as a wake costs loses half at the most against whoever knew beforehand when to sleep.
 */
#include "loop/loop.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "util/barrier.h"

/* Descriptors looked at per system call. A process serves tens of them, and the rest comes next. */
#define LOOP_EVENTS_MAX 64

/*
 * Sleeps between two tries where spinning never pays: less than 1 % of the time, if a sleep lasts for a
 * tenth of a spin, and a CPU that becomes free is found within as many wakes.
 */
#define LOOP_POLL_PENALTY_MAX 1024

/* Looks between two readings of the clock, which costs as much as ten looks. */
#define LOOP_POLL_BATCH 32

#define LOOP_NS_PER_S 1000000000ull

struct vhx_loop {
	int epoll_fd;
	struct vhx_loop_fd wake; /* an eventfd */
	struct vhx_loop_fd clock; /* a timerfd */
	uint64_t clock_due_ns; /* what it is set to, 0: nothing */
	bool stop; /* written by other threads and signal handlers */
	bool running;
	bool unsettled; /* a hook was added since the hooks ran: do not sleep */
	uint64_t now_ns;
	struct vhx_list timers; /* by due time */
	struct vhx_list hooks;
	struct vhx_list *cursor; /* next hook of the walk in progress */
	uint64_t poll_max_ns;
	unsigned int
		poll_penalty; /* sleeps without a spin after the next failure; 0: none failed */
	unsigned int poll_holdoff; /* such sleeps that are left */
	struct epoll_event events[LOOP_EVENTS_MAX];
	unsigned int event_cnt; /* of the batch in progress */
	struct vhx_loop_stats stats;
};

uint64_t vhx_loop_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * LOOP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/*
 * Descriptors
 */

int vhx_loop_fd_add(struct vhx_loop *loop, struct vhx_loop_fd *w)
{
	struct epoll_event ev = { .events = w->events, .data.ptr = w };

	assert(w->ready);
	w->active = false;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return -errno;
	w->active = true;
	return 0;
}

int vhx_loop_fd_modify(struct vhx_loop *loop, struct vhx_loop_fd *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (!w->active)
		return -ENOENT;
	if (events == w->events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		return -errno;
	w->events = events;
	return 0;
}

void vhx_loop_fd_del(struct vhx_loop *loop, struct vhx_loop_fd *w)
{
	unsigned int i;

	if (!w->active)
		return;
	w->active = false;
	for (i = 0; i < loop->event_cnt; i++) {
		if (loop->events[i].data.ptr == w)
			loop->events[i].data.ptr = NULL;
	}
	/* Fails only if the owner closed the descriptor already, which removed it as well. */
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
}

static void loop_dispatch_fds(struct vhx_loop *loop)
{
	unsigned int i;

	for (i = 0; i < loop->event_cnt; i++) {
		struct vhx_loop_fd *w = loop->events[i].data.ptr;
		uint32_t events = loop->events[i].events;

		if (!w)
			continue;
		/* Another callback may have lost interest meanwhile. */
		events &= w->events | EPOLLERR | EPOLLHUP;
		if (events)
			w->ready(w, events);
	}
	loop->event_cnt = 0;
}

/*
 * Timers
 */

static void clock_set(struct vhx_loop *loop, uint64_t due_ns)
{
	struct itimerspec its = {
		.it_value.tv_sec = (time_t)(due_ns / LOOP_NS_PER_S),
		.it_value.tv_nsec = (long)(due_ns % LOOP_NS_PER_S),
	};

	if (timerfd_settime(loop->clock.fd, TFD_TIMER_ABSTIME, &its, NULL) == 0)
		loop->clock_due_ns = due_ns;
}

/* Makes sure that the timerfd fires no later than the first timer. */
static void clock_update(struct vhx_loop *loop)
{
	const struct vhx_loop_timer *first;

	if (vhx_list_empty(&loop->timers))
		return;
	first = vhx_list_first_entry(&loop->timers, struct vhx_loop_timer, node);
	if (!loop->clock_due_ns || first->due_ns < loop->clock_due_ns)
		clock_set(loop, first->due_ns);
}

static void clock_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_loop *loop = vhx_container_of(w, struct vhx_loop, clock);
	uint64_t expirations;

	if (read(w->fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		loop->clock_due_ns = 0;
}

void vhx_loop_timer_cancel(struct vhx_loop *loop, struct vhx_loop_timer *t)
{
	if (!t->due_ns)
		return;
	t->due_ns = 0;
	vhx_list_del(&t->node);
}

void vhx_loop_timer_arm(struct vhx_loop *loop, struct vhx_loop_timer *t, uint64_t in_ns)
{
	struct vhx_list *pos;

	assert(t->expired);
	vhx_loop_timer_cancel(loop, t);
	/* Half the range is 292 years: "never" cannot wrap, nor overflow a timespec. */
	t->due_ns = vhx_loop_clock() + vhx_min_u64(in_ns, INT64_MAX / 2);
	for (pos = loop->timers.prev; pos != &loop->timers; pos = pos->prev) {
		if (vhx_list_entry(pos, struct vhx_loop_timer, node)->due_ns <= t->due_ns)
			break;
	}
	vhx_list_init(&t->node);
	vhx_list_add_tail(pos->next, &t->node); /* in front of pos->next is behind pos */
	clock_update(loop);
}

static void loop_dispatch_timers(struct vhx_loop *loop)
{
	struct vhx_loop_timer *t;
	struct vhx_list due;

	vhx_list_init(&due);
	while (!vhx_list_empty(&loop->timers)) {
		t = vhx_list_first_entry(&loop->timers, struct vhx_loop_timer, node);
		if (t->due_ns > loop->now_ns)
			break;
		vhx_list_del(&t->node);
		vhx_list_add_tail(&due, &t->node);
	}
	while (!vhx_list_empty(&due)) {
		t = vhx_list_first_entry(&due, struct vhx_loop_timer, node);
		vhx_loop_timer_cancel(loop, t);
		t->expired(t);
	}
	clock_update(loop);
}

/*
 * Hooks
 */

void vhx_loop_hook_add(struct vhx_loop *loop, struct vhx_loop_hook *h)
{
	assert(h->run);
	vhx_list_init(&h->node);
	vhx_list_add_tail(&loop->hooks, &h->node);
	loop->unsettled = true;
}

void vhx_loop_hook_del(struct vhx_loop *loop, struct vhx_loop_hook *h)
{
	if (!h->node.next)
		return;
	if (loop->cursor == &h->node)
		loop->cursor = h->node.next;
	vhx_list_del(&h->node);
}

static struct vhx_loop_hook *hook_next(struct vhx_loop *loop)
{
	struct vhx_list *pos = loop->cursor;

	if (pos == &loop->hooks) {
		loop->cursor = NULL;
		return NULL;
	}
	loop->cursor = pos->next;
	return vhx_list_entry(pos, struct vhx_loop_hook, node);
}

static bool hooks_run(struct vhx_loop *loop)
{
	struct vhx_loop_hook *h;
	bool more = false;

	loop->unsettled = false;
	loop->cursor = loop->hooks.next;
	while ((h = hook_next(loop)))
		more |= h->run(h);
	return more;
}

/* Asks all of them, also when one has objected: each must have its chance to raise its flag. */
static bool hooks_prepare(struct vhx_loop *loop)
{
	struct vhx_loop_hook *h;
	bool busy = false;

	loop->cursor = loop->hooks.next;
	while ((h = hook_next(loop))) {
		if (h->prepare)
			busy |= h->prepare(h);
	}
	return busy;
}

/*
 * Spinning
 */

/* One look. @able: some hook can be polled at all. */
static bool hooks_poll(struct vhx_loop *loop, bool *able)
{
	struct vhx_list *pos;

	*able = false;
	vhx_list_for_each (pos, &loop->hooks) {
		struct vhx_loop_hook *h = vhx_list_entry(pos, struct vhx_loop_hook, node);

		if (!h->poll)
			continue;
		*able = true;
		if (h->poll(h))
			return true;
	}
	return false;
}

/* Most time of one spin. */
static uint64_t poll_bound(const struct vhx_loop *loop)
{
	const struct vhx_list *pos;
	uint64_t ns = VHX_LOOP_POLL_NS;

	if (loop->poll_max_ns != VHX_LOOP_POLL_AUTO)
		return loop->poll_max_ns;
	vhx_list_for_each (pos, &loop->hooks) {
		const struct vhx_loop_hook *h = vhx_list_entry(pos, struct vhx_loop_hook, node);

		if (h->poll && h->poll_ns > ns)
			ns = h->poll_ns;
	}
	return ns;
}

static void poll_paid(struct vhx_loop *loop)
{
	loop->poll_penalty /= 2;
}

static void poll_failed(struct vhx_loop *loop)
{
	unsigned int next = loop->poll_penalty ? 2 * loop->poll_penalty : 1;

	loop->poll_penalty = next < LOOP_POLL_PENALTY_MAX ? next : LOOP_POLL_PENALTY_MAX;
	loop->poll_holdoff = loop->poll_penalty;
}

/* Not beyond the first timer, which nothing looks at during a spin. */
static uint64_t poll_end(const struct vhx_loop *loop, uint64_t start_ns)
{
	uint64_t end_ns = start_ns + poll_bound(loop);

	if (vhx_list_empty(&loop->timers))
		return end_ns;
	return vhx_min_u64(
		end_ns, vhx_list_first_entry(&loop->timers, struct vhx_loop_timer, node)->due_ns);
}

/* Looks until @end_ns, or until somebody stops the loop. True: a hook saw new work. */
static bool poll_until(struct vhx_loop *loop, uint64_t end_ns)
{
	unsigned int i;
	bool able;

	do {
		for (i = 0; i < LOOP_POLL_BATCH; i++) {
			vhx_cpu_relax();
			if (hooks_poll(loop, &able))
				return true;
		}
	} while (vhx_loop_clock() < end_ns && !vhx_load_relaxed(&loop->stop));
	return false;
}

/* Spins, if that has been worth it. True: a hook saw new work. */
static bool loop_spin(struct vhx_loop *loop)
{
	uint64_t end_ns;
	bool able, found;

	if (!loop->poll_max_ns)
		return false;
	if (loop->poll_holdoff) {
		loop->poll_holdoff--;
		return false;
	}
	found = hooks_poll(loop, &able);
	if (!able)
		return false;
	loop->stats.polls++;
	loop->stats.poll_hits += found;
	if (found)
		return true;
	end_ns = poll_end(loop, vhx_loop_clock());
	found = poll_until(loop, end_ns);
	loop->stats.poll_hits += found;
	if (found && vhx_loop_clock() < end_ns)
		poll_paid(loop);
	else
		poll_failed(loop);
	return found;
}

/*
 * The loop
 */

/*
 * Runs hooks until they rest and the prepare hooks agree to a sleep: true. False: there may be more to do,
 * and the descriptors were not looked at for VHX_LOOP_HOOK_ROUNDS rounds.
 */
static bool loop_settle(struct vhx_loop *loop, bool spin)
{
	int round;

	for (round = 0; round < VHX_LOOP_HOOK_ROUNDS; round++) {
		if (hooks_run(loop))
			continue;
		if (spin && loop_spin(loop))
			continue;
		if (!hooks_prepare(loop) && !loop->unsettled)
			return true;
	}
	return false;
}

/* Fills the batch. @timeout_ms as for epoll_wait(). */
static int loop_sleep(struct vhx_loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS_MAX, timeout_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	loop->event_cnt = n > 0 ? (unsigned int)n : 0;
	loop->now_ns = vhx_loop_clock();
	loop->stats.iterations++;
	if (timeout_ms)
		loop->stats.sleeps++;
	return 0;
}

static void loop_dispatch(struct vhx_loop *loop)
{
	loop_dispatch_fds(loop);
	loop_dispatch_timers(loop);
}

static int loop_iterate(struct vhx_loop *loop, int timeout_ms)
{
	bool added = loop->unsettled;
	int ret;

	if (!loop_settle(loop, timeout_ms != 0 && !added) || added)
		timeout_ms = 0;
	ret = loop_sleep(loop, timeout_ms);
	if (ret < 0)
		return ret;
	loop_dispatch(loop);
	return 0;
}

/* An addition to an eventfd that is neither read nor overflown by anyone else cannot fail. */
static void wake_raise(struct vhx_loop *loop)
{
	const uint64_t one = 1;
	ssize_t n = write(loop->wake.fd, &one, sizeof(one));

	(void)n;
}

static void wake_ready(struct vhx_loop_fd *w, uint32_t events)
{
	uint64_t cnt;
	ssize_t n = read(w->fd, &cnt, sizeof(cnt));

	(void)n;
}

int vhx_loop_run(struct vhx_loop *loop)
{
	int ret = 0;

	assert(!loop->running);
	loop->running = true;
	while (!ret && !vhx_load_relaxed(&loop->stop))
		ret = loop_iterate(loop, -1);
	vhx_store_relaxed(&loop->stop, false);
	loop->running = false;
	return ret;
}

int vhx_loop_once(struct vhx_loop *loop, int timeout_ms)
{
	int ret;

	assert(!loop->running);
	loop->running = true;
	ret = loop_iterate(loop, timeout_ms);
	if (!loop_settle(loop, false))
		wake_raise(loop);
	loop->running = false;
	return ret;
}

/* The eventfd orders this store before the sleeper's next look; relaxed is for tearing only. */
void vhx_loop_stop(struct vhx_loop *loop)
{
	int saved = errno;

	vhx_store_relaxed(&loop->stop, true);
	wake_raise(loop);
	errno = saved;
}

uint64_t vhx_loop_now(const struct vhx_loop *loop)
{
	return loop->now_ns;
}

const struct vhx_loop_stats *vhx_loop_stats(const struct vhx_loop *loop)
{
	return &loop->stats;
}

int vhx_loop_fileno(const struct vhx_loop *loop)
{
	return loop->epoll_fd;
}

/* Adds a descriptor that the loop owns itself; takes the errno of whoever made it. */
static int loop_own_fd(struct vhx_loop *loop, struct vhx_loop_fd *w, int fd,
		       void (*ready)(struct vhx_loop_fd *w, uint32_t events))
{
	int ret = errno;

	*w = (struct vhx_loop_fd){ .fd = fd, .events = EPOLLIN, .ready = ready };
	if (fd < 0)
		return -ret;
	return vhx_loop_fd_add(loop, w);
}

static int loop_open(struct vhx_loop *loop)
{
	int ret;

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	ret = loop_own_fd(loop, &loop->wake, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), wake_ready);
	if (ret < 0)
		return ret;
	return loop_own_fd(loop, &loop->clock,
			   timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
			   clock_ready);
}

static bool cpu_is_only(void)
{
	cpu_set_t cpus;

	/* More CPUs than the set can name are more than one. */
	return !sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1;
}

void vhx_loop_poll_limit(struct vhx_loop *loop, uint64_t poll_max_ns)
{
	if (poll_max_ns == VHX_LOOP_POLL_AUTO && cpu_is_only())
		poll_max_ns = 0;
	loop->poll_max_ns = poll_max_ns;
}

int vhx_loop_new(uint64_t poll_max_ns, struct vhx_loop **loop)
{
	struct vhx_loop *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	l->epoll_fd = l->wake.fd = l->clock.fd = -1;
	vhx_loop_poll_limit(l, poll_max_ns);
	vhx_list_init(&l->timers);
	vhx_list_init(&l->hooks);
	ret = loop_open(l);
	if (ret < 0) {
		vhx_loop_free(l);
		return ret;
	}
	l->now_ns = vhx_loop_clock();
	*loop = l;
	return 0;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vhx_loop_free(struct vhx_loop *loop)
{
	if (!loop)
		return;
	fd_close(loop->clock.fd);
	fd_close(loop->wake.fd);
	fd_close(loop->epoll_fd);
	free(loop);
}
