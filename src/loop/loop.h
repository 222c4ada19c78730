/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One event loop per thread: descriptors (epoll), timers, and hooks that run before every sleep. All
 * calls come from the loop's thread, except vhx_loop_stop(), which is also async-signal-safe.
 *
 * An iteration: sleep -> fds that are ready -> timers that are due -> hooks, in order of addition, until
 * none reports work -> prepare hooks (the wake protocol's "flag, fence, recheck") -> sleep. A hook that always
 * has work starves nobody: descriptors are looked at, without sleeping, every VHX_LOOP_HOOK_ROUNDS rounds.
 */
#ifndef VHX_LOOP_LOOP_H
#define VHX_LOOP_LOOP_H

#include "util/base.h"
#include "util/list.h"

#define VHX_LOOP_HOOK_ROUNDS 16

struct vhx_loop;

struct vhx_loop_fd {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT */
	void (*ready)(struct vhx_loop_fd *w, uint32_t events);
	bool active; /* the loop's */
};

struct vhx_loop_timer {
	struct vhx_list node;
	uint64_t due_ns; /* the loop's; 0: not armed */
	void (*expired)(struct vhx_loop_timer *t);
};

struct vhx_loop_hook {
	struct vhx_list node;
	/* Does a bounded amount of work; true: there is, or may be, more. */
	bool (*run)(struct vhx_loop_hook *h);
	/* About to sleep: true forbids it, there is work. May be NULL. */
	bool (*prepare)(struct vhx_loop_hook *h);
	/* While spinning: cheap look for new work without side effects. May be NULL. */
	bool (*poll)(struct vhx_loop_hook *h);
	/* How long looking is worth its while, where nobody told the loop; 0: VHX_LOOP_POLL_NS. */
	uint64_t poll_ns;
};

struct vhx_loop_stats {
	uint64_t iterations, sleeps, polls, poll_hits;
};

/* About half of what a wake across CPUs costs. */
#define VHX_LOOP_POLL_NS 32000u
/*
 * The bound to pass where nobody said otherwise: that of the hook for which looking is worth most, if this process
 * may use more than one CPU; else 0, since on one a spin only keeps the peer from running.
 */
#define VHX_LOOP_POLL_AUTO UINT64_MAX

/* @poll_max_ns: most time to spin before a sleep, 0: never spin. Adapts: see loop.c. */
int vhx_loop_new(uint64_t poll_max_ns, struct vhx_loop **loop);
void vhx_loop_free(struct vhx_loop *loop);
/* Another poll_max_ns, from the next sleep on. */
void vhx_loop_poll_limit(struct vhx_loop *loop, uint64_t poll_max_ns);

/* Runs until vhx_loop_stop(). 0 or a negative errno from epoll. */
int vhx_loop_run(struct vhx_loop *loop);
/* One iteration, sleeping at most @timeout_ms (-1: as long as it takes). For embedders and tests. */
int vhx_loop_once(struct vhx_loop *loop, int timeout_ms);
void vhx_loop_stop(struct vhx_loop *loop);

/* Monotonic time now, where that of the iteration is too old: one system call, or what the vDSO makes of it. */
uint64_t vhx_loop_clock(void);
/* Monotonic time of this iteration. */
uint64_t vhx_loop_now(const struct vhx_loop *loop);
const struct vhx_loop_stats *vhx_loop_stats(const struct vhx_loop *loop);
/* For embedders: readable when the loop has something to do. */
int vhx_loop_fileno(const struct vhx_loop *loop);

/* Watches are embedded by their owner. del may be repeated, and called from any callback. */
int vhx_loop_fd_add(struct vhx_loop *loop, struct vhx_loop_fd *w);
int vhx_loop_fd_modify(struct vhx_loop *loop, struct vhx_loop_fd *w, uint32_t events);
void vhx_loop_fd_del(struct vhx_loop *loop, struct vhx_loop_fd *w);

void vhx_loop_timer_arm(struct vhx_loop *loop, struct vhx_loop_timer *t, uint64_t in_ns);
void vhx_loop_timer_cancel(struct vhx_loop *loop, struct vhx_loop_timer *t);

void vhx_loop_hook_add(struct vhx_loop *loop, struct vhx_loop_hook *h);
void vhx_loop_hook_del(struct vhx_loop *loop, struct vhx_loop_hook *h);

#endif
