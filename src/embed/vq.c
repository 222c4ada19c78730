// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A queue is a source of the frontend. A request has a slot from submit until it is handed back; the slot's
 * number is its id. Two rings of ids, each as long as there are slots, so that neither can overflow:
 *
 *   free -- submit --> fresh -- next() --> in flight -- complete() --> done -- callback, poll --> free
 *                        |                                              ^
 *                        +--------------- stop: -ECANCELED -------------+
 *
 * Callbacks are made by flush(), which ends each pass's completions: what they submit is taken by the
 * same pass. complete() itself would be too early, there the frontend is in the middle of a message.
 *
 * Ids are handed out last in, first out: the tables' hot part is as large as the depth in use.
 */
#include "embed/embed.h"

#include <stdlib.h>

struct vq_slot {
	const struct iovec *out, *in;
	unsigned int out_cnt, in_cnt;
	uint32_t out_len, in_len;
	void *user;
	int64_t result;
};

struct vq_ring {
	uint16_t *ids;
	uint32_t head, tail; /* free-running */
};

struct vhx_vq {
	struct vhx_dev *dev;
	struct vhx_fqueue *fq; /* NULL: the frontend knows it no more */
	uint16_t index;
	uint32_t depth;
	bool stopping;
	bool kicked; /* the frontend was told of what is fresh */
	vhx_done_fn *done_fn;
	void *ctx;
	struct vq_slot *slots;
	uint16_t *free_ids;
	uint32_t free_cnt;
	struct vq_ring fresh, done;
};

static void ring_put(const struct vhx_vq *vq, struct vq_ring *r, uint16_t id)
{
	assert(r->tail - r->head < vq->depth);
	r->ids[r->tail++ & (vq->depth - 1)] = id;
}

static bool ring_get(const struct vhx_vq *vq, struct vq_ring *r, uint16_t *id)
{
	if (r->head == r->tail)
		return false;
	*id = r->ids[r->head++ & (vq->depth - 1)];
	return true;
}

static bool done_take(struct vhx_vq *vq, struct vhx_completion *c)
{
	uint16_t id;

	if (!ring_get(vq, &vq->done, &id))
		return false;
	c->user = vq->slots[id].user;
	c->result = vq->slots[id].result;
	vq->free_ids[vq->free_cnt++] = id;
	return true;
}

/* Hands completions back, where there is a callback. */
static void done_call(struct vhx_vq *vq)
{
	struct vhx_conn *conn = vq->dev->conn;
	struct vhx_completion c;
	bool outer = conn->inside;

	if (!vq->done_fn)
		return;
	conn->inside = true;
	while (done_take(vq, &c))
		vq->done_fn(vq->ctx, &c);
	conn->inside = outer;
}

/* The source */

static void request_fill(const struct vhx_vq *vq, uint16_t id, struct vhx_frequest *req)
{
	const struct vq_slot *s = &vq->slots[id];

	*req = (struct vhx_frequest){
		.id = id,
		.out = s->out,
		.in = s->in,
		.out_cnt = s->out_cnt,
		.in_cnt = s->in_cnt,
		.out_len = s->out_len,
		.in_len = s->in_len,
	};
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct vhx_vq *vq = ctx;
	uint16_t id;

	if (!ring_get(vq, &vq->fresh, &id)) {
		vq->kicked = false;
		return 0;
	}
	request_fill(vq, id, req);
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	request_fill(ctx, id, req);
	return 0;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct vhx_vq *vq = ctx;

	vq->slots[id].result = used_len;
	ring_put(vq, &vq->done, id);
}

static void source_flush(void *ctx)
{
	done_call(ctx);
}

static bool source_arm(void *ctx)
{
	const struct vhx_vq *vq = ctx;

	return vq->fresh.head != vq->fresh.tail;
}

static void source_disarm(void *ctx)
{
}

/* next() and again() never fail. */
static void source_broken(void *ctx, int reason)
{
}

static const struct vhx_fsource_ops source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_disarm,
	.broken = source_broken,
};

/* Life */

void vhx_evq_free(struct vhx_vq *vq)
{
	if (!vq)
		return;
	free(vq->slots);
	free(vq->free_ids);
	free(vq->fresh.ids);
	free(vq->done.ids);
	free(vq);
}

static struct vhx_vq *vq_new(struct vhx_dev *dev, unsigned int index, unsigned int depth)
{
	struct vhx_vq *vq = calloc(1, sizeof(*vq));

	if (!vq)
		return NULL;
	vq->dev = dev;
	vq->index = (uint16_t)index;
	vq->depth = depth;
	vq->slots = calloc(depth, sizeof(*vq->slots));
	vq->free_ids = calloc(depth, sizeof(*vq->free_ids));
	vq->fresh.ids = calloc(depth, sizeof(*vq->fresh.ids));
	vq->done.ids = calloc(depth, sizeof(*vq->done.ids));
	if (!vq->slots || !vq->free_ids || !vq->fresh.ids || !vq->done.ids) {
		vhx_evq_free(vq);
		return NULL;
	}
	while (vq->free_cnt < depth) {
		vq->free_ids[vq->free_cnt] = (uint16_t)(depth - 1 - vq->free_cnt);
		vq->free_cnt++;
	}
	return vq;
}

static int start_allowed(const struct vhx_dev *dev, unsigned int index, unsigned int depth)
{
	if (dev->conn->inside)
		return -EDEADLK;
	if (!vhx_fdev_known(dev->fdev))
		return -EAGAIN;
	if (index >= vhx_dev_queue_count(dev) || !vhx_is_power_of_2(depth) ||
	    depth > VHX_VQ_DEPTH_MAX)
		return -EINVAL;
	return dev->queues[index] ? -EBUSY : 0;
}

int vhx_vq_start(struct vhx_dev *dev, unsigned int index, unsigned int depth, struct vhx_vq **out)
{
	struct vhx_vq *vq;
	int ret = start_allowed(dev, index, depth);

	if (!ret && !dev->features_set)
		ret = vhx_dev_set_features(dev, 0);
	if (ret)
		return ret;
	vq = vq_new(dev, index, depth);
	if (!vq)
		return -ENOMEM;
	ret = vhx_fqueue_start(dev->fdev, vq->index, (uint16_t)depth, &source_ops, vq, &vq->fq);
	if (ret) {
		vhx_evq_free(vq);
		return ret;
	}
	dev->queues[index] = vq;
	dev->queue_cnt++;
	*out = vq;
	return 0;
}

void vhx_vq_set_callback(struct vhx_vq *vq, vhx_done_fn *fn, void *ctx)
{
	vq->done_fn = fn;
	vq->ctx = ctx;
}

bool vhx_evq_ripe(const struct vhx_vq *vq)
{
	return vq && vq->done.head != vq->done.tail;
}

static void vq_remove(struct vhx_vq *vq)
{
	vq->dev->queues[vq->index] = NULL;
	vq->dev->queue_cnt--;
	vhx_evq_free(vq);
}

static void fresh_cancel(struct vhx_vq *vq)
{
	uint16_t id;

	while (ring_get(vq, &vq->fresh, &id)) {
		vq->slots[id].result = -ECANCELED;
		ring_put(vq, &vq->done, id);
	}
}

/* Those that are neither free nor done yet are in flight. */
static void flight_cancel(struct vhx_vq *vq)
{
	bool idle[VHX_VQ_DEPTH_MAX] = { false };
	uint32_t i;

	for (i = 0; i < vq->free_cnt; i++)
		idle[vq->free_ids[i]] = true;
	for (i = vq->done.head; i != vq->done.tail; i++)
		idle[vq->done.ids[i & (vq->depth - 1)]] = true;
	for (i = 0; i < vq->depth; i++) {
		if (idle[i])
			continue;
		vq->slots[i].result = -ECANCELED;
		ring_put(vq, &vq->done, (uint16_t)i);
	}
}

void vhx_evq_cancel(struct vhx_vq *vq)
{
	vq->stopping = true;
	fresh_cancel(vq);
	flight_cancel(vq);
	done_call(vq);
	vq_remove(vq);
}

void vhx_evq_stopped(struct vhx_vq *vq)
{
	done_call(vq);
	vq_remove(vq);
}

int vhx_vq_stop(struct vhx_vq *vq)
{
	struct vhx_dev *dev = vq->dev;
	int ret;

	if (dev->conn->inside)
		return -EDEADLK;
	if (vq->stopping)
		return -EALREADY;
	vq->stopping = true;
	fresh_cancel(vq);
	ret = vhx_fqueue_stop(vq->fq);
	if (ret == -EINPROGRESS) {
		dev->stopping++;
		done_call(vq);
		return ret;
	}
	vhx_evq_stopped(vq);
	return ret;
}

/* Requests */

static int iov_total(const struct iovec *iov, unsigned int cnt, uint32_t *total)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		if (iov[i].iov_len > UINT32_MAX - sum)
			return -EINVAL;
		sum += iov[i].iov_len;
	}
	*total = (uint32_t)sum;
	return 0;
}

int vhx_vq_submit(struct vhx_vq *vq, const struct iovec *out, unsigned int out_cnt,
		  const struct iovec *in, unsigned int in_cnt, void *user)
{
	struct vq_slot s = {
		.out = out,
		.in = in,
		.out_cnt = out_cnt,
		.in_cnt = in_cnt,
		.user = user,
	};
	uint16_t id;

	if (vq->stopping)
		return -ESHUTDOWN;
	if (iov_total(out, out_cnt, &s.out_len) || iov_total(in, in_cnt, &s.in_len) ||
	    (uint64_t)s.out_len + s.in_len == 0)
		return -EINVAL;
	if (!vq->free_cnt)
		return -EAGAIN;
	id = vq->free_ids[--vq->free_cnt];
	vq->slots[id] = s;
	ring_put(vq, &vq->fresh, id);
	if (!vq->kicked)
		vhx_fqueue_kick(vq->fq);
	vq->kicked = true;
	return 0;
}

unsigned int vhx_vq_poll(struct vhx_vq *vq, struct vhx_completion *completions, unsigned int max)
{
	unsigned int cnt = 0;

	while (cnt < max && done_take(vq, &completions[cnt]))
		cnt++;
	return cnt;
}

unsigned int vhx_vq_count(const struct vhx_vq *vq)
{
	return vq->depth - vq->free_cnt;
}
