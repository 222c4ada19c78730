// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A live queue is a source for its frontend queue: next() pops a chain from the ring, again() walks one once
 * more. The segments of a chain's device-writable part must last until the answer: short ones have an array of
 * their own id, long ones take one of a few large arrays; when those are used up, nothing is popped until one
 * comes back. The device-readable part is needed only while the request is being sent, so one scratch array
 * serves all.
 *
 *   idle --start--> live --stop--> live and stopping --the frontend's queue has stopped--> idle
 *                    '------------------kill---------------------^
 *
 * Whoever owns the ring decides about these; here nothing is allocated but at a start, and nothing of the ring is
 * touched in idle.
 *
 * Kicks. The descriptor is the VMM's, which can make it readable for ever: by leaving a pipe or a socket, by giving one
 * that cannot be read, or an eventfd that counts down by one. None of them keeps the loop awake. An eventfd wakes it when
 * it is written to, and not because it was not read empty. What is no eventfd, and has ended or gives nothing where it
 * said that there is something, is let go of: the queue is told of as in error and runs on without kicks, until the
 * VMM gives another descriptor. A queue that has none by the VMM's own word is looked at every
 * VHX_GUEST_QUEUE_POLL_NS; so is one whose descriptor the kernel has no room to watch.
 */
#include "mediator/guest_queue.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "util/checked.h"

#define SEGS_INLINE 4u
/* More segments than descriptors come of buffers that straddle memory regions. */
#define SEGS_SPLIT 16u
/* Chains of small queues with long indirect tables: what block devices announce fits with room to spare. */
#define SEGS_MIN 256u
#define NO_ARRAY UINT16_MAX

/* The source: from the ring to the frontend's queue */

static struct iovec *in_array(struct vhx_guest_queue *q, uint16_t id)
{
	if (q->large_of[id] == NO_ARRAY)
		return q->small + (size_t)id * SEGS_INLINE;
	return q->large + (size_t)q->large_of[id] * q->segs_max;
}

static void in_array_release(struct vhx_guest_queue *q, uint16_t id)
{
	if (q->large_of[id] == NO_ARRAY)
		return;
	q->large_free[q->large_free_cnt++] = q->large_of[id];
	q->large_of[id] = NO_ARRAY;
	if (!q->blocked)
		return;
	q->blocked = false;
	vhx_fqueue_kick(q->fq);
}

/* A chain was walked into the topmost free large array: keeps it there, or moves it where it is small. */
static void in_array_settle(struct vhx_guest_queue *q, const struct vhx_chain *chain)
{
	if (chain->in_cnt > SEGS_INLINE) {
		q->large_of[chain->id] = q->large_free[--q->large_free_cnt];
		return;
	}
	q->large_of[chain->id] = NO_ARRAY;
	if (chain->in_cnt)
		memcpy(in_array(q, chain->id), chain->in, chain->in_cnt * sizeof(*chain->in));
}

static void request_fill(struct vhx_guest_queue *q, const struct vhx_chain *chain,
			 struct vhx_frequest *req)
{
	*req = (struct vhx_frequest){
		.id = chain->id,
		.out = chain->out,
		.out_cnt = chain->out_cnt,
		.out_len = chain->out_len,
		.in = in_array(q, chain->id),
		.in_cnt = chain->in_cnt,
		.in_len = chain->in_len,
	};
}

static int chain_take(struct vhx_guest_queue *q, struct vhx_chain *chain)
{
	uint16_t id;

	if (q->resubmitting) {
		if (q->cfg.ops->resubmit(q->cfg.ring, &id))
			return vhx_vring_rewalk(q->cfg.vring, id, chain) ?: 1;
		q->resubmitting = false;
	}
	return q->cfg.ops->pop(q->cfg.ring, chain);
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct vhx_guest_queue *q = ctx;
	struct vhx_chain chain = {
		.out = q->out,
		.out_max = q->segs_max,
		.in_max = q->segs_max,
	};
	int ret;

	if (!q->large_free_cnt) {
		q->blocked = true;
		return 0;
	}
	chain.in = q->large + (size_t)q->large_free[q->large_free_cnt - 1] * q->segs_max;
	ret = chain_take(q, &chain);
	if (ret <= 0)
		return ret;
	in_array_settle(q, &chain);
	request_fill(q, &chain, req);
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	struct vhx_guest_queue *q = ctx;
	struct vhx_chain chain = {
		.out = q->out,
		.out_max = q->segs_max,
		.in = in_array(q, id),
		.in_max = q->large_of[id] == NO_ARRAY ? SEGS_INLINE : q->segs_max,
	};
	int ret = vhx_vring_rewalk(q->cfg.vring, id, &chain);

	/* A chain that grew since it was popped is one that the driver changed under our hands. */
	if (ret)
		return ret;
	request_fill(q, &chain, req);
	return 0;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct vhx_guest_queue *q = ctx;

	in_array_release(q, id);
	q->cfg.ops->push(q->cfg.ring, id, used_len);
}

/* vhx_guest_queue_end() follows, and with it the arrays go. */
static bool source_give_back(void *ctx)
{
	struct vhx_guest_queue *q = ctx;

	return !q->cfg.ops->give_back(q->cfg.ring);
}

static void source_written(void *ctx, const void *p, uint64_t len)
{
	struct vhx_guest_queue *q = ctx;

	if (q->cfg.ops->written)
		q->cfg.ops->written(q->cfg.ring, p, len);
}

static void source_flush(void *ctx)
{
	struct vhx_guest_queue *q = ctx;

	q->cfg.ops->flush(q->cfg.ring);
}

static bool source_arm(void *ctx)
{
	struct vhx_guest_queue *q = ctx;

	return !q->blocked && vhx_vring_enable_kick(q->cfg.vring);
}

static void source_disarm(void *ctx)
{
	struct vhx_guest_queue *q = ctx;

	vhx_vring_disable_kick(q->cfg.vring);
}

static void source_broken(void *ctx, int reason)
{
	struct vhx_guest_queue *q = ctx;
	const struct vhx_vring *ring = q->cfg.vring;

	vhx_log(q->cfg.log, VHX_LOG_WARNING, "%s: queue %u broken by the guest: %s", q->cfg.label,
		q->cfg.index, ring->broken ? vhx_ring_fault_name(ring->broken) : strerror(-reason));
	if (q->cfg.ops->error)
		q->cfg.ops->error(q->cfg.ring);
}

static const struct vhx_fsource_ops source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.give_back = source_give_back,
	.written = source_written,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_disarm,
	.broken = source_broken,
};

/* Start and stop */

/* Without one, until the VMM gives another. */
static void kick_end(struct vhx_guest_queue *q)
{
	struct vhx_loop *loop = q->cfg.loop;

	vhx_loop_fd_del(loop, &q->kick);
	vhx_log_limited(q->cfg.log, &q->log_limit, vhx_loop_now(loop), VHX_LOG_WARNING,
			"%s: queue %u: its kick descriptor has ended", q->cfg.label, q->cfg.index);
	if (q->cfg.ops->error)
		q->cfg.ops->error(q->cfg.ring);
}

static void kick_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_guest_queue *q = vhx_container_of(w, struct vhx_guest_queue, kick);
	bool kicked;

	if (!q->live)
		return;
	kicked = q->cfg.ops->kicked(q->cfg.ring);
	if (kicked)
		vhx_fqueue_kick(q->fq);
	/* An eventfd has no end, and kicks that lie close together are one. */
	if (w->events & EPOLLET)
		return;
	if (!kicked || events & (EPOLLHUP | EPOLLRDHUP))
		kick_end(q);
}

/* An anonymous inode has no type bits, and eventfds are the only ones that kicks come on. */
static bool kick_is_eventfd(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && !(st.st_mode & S_IFMT);
}

static int kick_watch(struct vhx_guest_queue *q, int fd)
{
	q->kick = (struct vhx_loop_fd){
		.fd = fd,
		.events = EPOLLIN | (kick_is_eventfd(fd) ? EPOLLET : EPOLLRDHUP),
		.ready = kick_ready,
	};
	return vhx_loop_fd_add(q->cfg.loop, &q->kick);
}

static void poll_due(struct vhx_loop_timer *t)
{
	struct vhx_guest_queue *q = vhx_container_of(t, struct vhx_guest_queue, poll);

	if (q->cfg.vring->broken)
		return;
	vhx_fqueue_kick(q->fq);
	vhx_loop_timer_arm(q->cfg.loop, t, VHX_GUEST_QUEUE_POLL_NS);
}

void vhx_guest_queue_watch(struct vhx_guest_queue *q, int kick_fd)
{
	struct vhx_loop *loop = q->cfg.loop;

	if (!q->live)
		return;
	vhx_loop_fd_del(loop, &q->kick);
	vhx_loop_timer_cancel(loop, &q->poll);
	if (kick_fd >= 0 && !kick_watch(q, kick_fd))
		return;
	if (kick_fd >= 0)
		vhx_log_limited(q->cfg.log, &q->log_limit, vhx_loop_now(loop), VHX_LOG_WARNING,
				"%s: queue %u: kick cannot be watched, so it is polled",
				q->cfg.label, q->cfg.index);
	q->poll.expired = poll_due;
	vhx_loop_timer_arm(loop, &q->poll, VHX_GUEST_QUEUE_POLL_NS);
}

static void arrays_free(struct vhx_guest_queue *q)
{
	free(q->out);
	free(q->small);
	free(q->large);
	free(q->large_of);
	q->out = NULL;
	q->small = NULL;
	q->large = NULL;
	q->large_of = NULL;
	q->memory = 0;
}

static int arrays_new(struct vhx_guest_queue *q, uint16_t size)
{
	uint16_t i;

	/* A chain has as many descriptors as the queue, or as an indirect table of a longer one. */
	q->segs_max = (uint16_t)(vhx_max_u64(size, SEGS_MIN) + SEGS_SPLIT);
	q->out = calloc(q->segs_max, sizeof(*q->out));
	q->small = calloc((size_t)size * SEGS_INLINE, sizeof(*q->small));
	q->large = calloc((size_t)VHX_GUEST_QUEUE_LARGE_CNT * q->segs_max, sizeof(*q->large));
	q->large_of = calloc(size, sizeof(*q->large_of));
	if (!q->out || !q->small || !q->large || !q->large_of) {
		arrays_free(q);
		return -ENOMEM;
	}
	for (i = 0; i < size; i++)
		q->large_of[i] = NO_ARRAY;
	for (i = 0; i < VHX_GUEST_QUEUE_LARGE_CNT; i++)
		q->large_free[i] = i;
	q->large_free_cnt = VHX_GUEST_QUEUE_LARGE_CNT;
	q->memory = (uint64_t)(q->segs_max * (1 + VHX_GUEST_QUEUE_LARGE_CNT) + size * SEGS_INLINE) *
			    sizeof(struct iovec) +
		    size * sizeof(*q->large_of);
	return 0;
}

int vhx_guest_queue_start(struct vhx_guest_queue *q, const struct vhx_guest_queue_config *cfg)
{
	int ret;

	assert(!q->live);
	ret = arrays_new(q, cfg->size);
	if (ret)
		return ret;
	q->cfg = *cfg;
	q->resubmitting = cfg->ops->resubmit;
	q->blocked = false;
	ret = vhx_fqueue_start(cfg->fdev, cfg->index, cfg->size, &source_ops, q, &q->fq);
	if (ret) {
		arrays_free(q);
		return ret;
	}
	q->live = true;
	vhx_guest_queue_watch(q, cfg->kick_fd);
	vhx_log(cfg->log, VHX_LOG_DEBUG, "%s: queue %u started, %u entries", cfg->label, cfg->index,
		cfg->size);
	return 0;
}

void vhx_guest_queue_end(struct vhx_guest_queue *q)
{
	if (!q->live)
		return;
	q->live = false;
	q->stopping = false;
	vhx_loop_fd_del(q->cfg.loop, &q->kick);
	vhx_loop_timer_cancel(q->cfg.loop, &q->poll);
	arrays_free(q);
}

int vhx_guest_queue_stop(struct vhx_guest_queue *q)
{
	int ret;

	if (!q->live)
		return 0;
	ret = vhx_fqueue_stop(q->fq);
	if (ret == -EINPROGRESS)
		q->stopping = true;
	else
		vhx_guest_queue_end(q);
	return ret;
}

void vhx_guest_queue_kill(struct vhx_guest_queue *q)
{
	if (!q->live)
		return;
	vhx_fqueue_kill(q->fq);
	vhx_guest_queue_end(q);
}

void vhx_guest_queue_refetch(struct vhx_guest_queue *q)
{
	if (!q->live || !vhx_fqueue_refetch(q->fq))
		return;
	source_broken(q, -EFAULT);
	vhx_guest_queue_kill(q);
}
