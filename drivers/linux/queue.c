// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A queue owns a split ring that virtio_ring made in ordinary memory, and plays its device side: it
 * takes chains from the ring and sends them as AVAIL, and gives them back when USED says so
 * (docs/wire.md, sections 8 and 9). A chain is known by its head descriptor, which is the request's
 * id on the wire.
 *
 * Its files, by purpose: here the ring, its slots and when the driver is told; pump.c sends,
 * answer.c receives, ending.c ends what no backend answers, early.c takes output at once. chain.c
 * walks a chain, for all of them.
 *
 * Objects. hmx_queue belongs to device.c, which makes and frees it; it owns the ring and one slot
 * per head. A slot is FREE, or in flight from when its chain was taken until its completion was
 * accepted. Slots in flight are linked in the order in which they became available.
 *
 *   FREE --hmx_queue_take()--> taken --first--> begun --last record--> whole --COMPLETE--> FREE
 *                                ^-------hmx_queue_interrupted()-------|
 *                                '--answered, in a group without an end <--GROUP
 *
 * `cursor` separates the order into what was sent whole and the rest; NULL: all was. Where credit,
 * the window or the budget ends, the cursor stays, and the next pump goes on there. After a
 * backend's death all is unsent: the cursor goes back to the oldest. So replay is not a mode, only
 * a cursor that has gone back; chains are still in the ring, where they are walked afresh.
 *
 * Completions marked GROUP are shown with those that follow, up to the first one without the mark:
 * the buffers of a packet that virtio_net merges. Until then their slots stay in flight, in
 * hmx_queue.group as well, and what ends them otherwise finds them unanswered: half a group is
 * never seen.
 *
 * Locks. "The lock" is hmx_port.lock. Under it: taking and sending, in notify or in the work; the
 * order, the cursor, the window. The receiving half of a slot and the used ring belong to the
 * channel's work alone. A slot that is in flight and sent whole stays so until the work ends it; so
 * the work judges a record under the lock, and copies its bytes without it. The ring's own words
 * pair with virtio_ring's on another CPU (smp_*: both are ours).
 *
 * A hostile backend can answer what is in flight, in any order, with any bytes, or not at all. It
 * can not have more bytes claimed than it sent, nor have a request end twice, nor be heard after
 * the queue was closed. Anything else ends its channel.
 *
 * The driver is of the same kernel and trusted, but may have bugs: chains are bounded by the length
 * of their table, and addresses are checked. A bad one breaks the device, with one line, and takes
 * nobody along.
 */
#include <linux/bottom_half.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "queue.h"

int hmx_queue_break(struct hmx_queue *q, const char *what)
{
	if (!q->broken)
		q->broken_why = what;
	q->broken = true;
	return -EINVAL;
}

/* Slots */

struct hmx_slot *hmx_slot_begin(struct hmx_queue *q, u16 id, const struct hmx_chain *c)
{
	struct hmx_slot *s = &q->slots[id];

	s->out_len = c->out_len;
	s->in_len = c->in_len;
	s->sent = 0;
	s->window = 0;
	s->begun = false;
	s->deaths = 0;
	s->early = false;
	s->kind = hmx_type_kind(q->dev->type, q->index, c->peek, c->peek_len);
	s->in_next = 0;
	s->in_prefix = 0;
	s->in_pos = hmx_chain_start(q, id);
	s->status = q->dev->type->status_error;
	s->status_came = false;
	list_add_tail(&s->node, &q->order);
	return s;
}

/* Nobody will end the group. What was answered in it is in flight, as if it was not. */
void hmx_group_forget(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;

	list_for_each_entry_safe(s, next, &q->group, group)
		list_del_init(&s->group);
}

void hmx_slot_end(struct hmx_queue *q, struct hmx_slot *s)
{
	hmx_slot_window_give(q, s);
	list_del_init(&s->node);
	if (s->early)
		hmx_early_trim(q);
}

void hmx_cursor_set(struct hmx_queue *q, struct hmx_slot *s)
{
	q->cursor = s;
	q->behind = false;
	if (s)
		q->out_pos = hmx_chain_start(q, hmx_slot_id(q, s));
}

void hmx_cursor_reset(struct hmx_queue *q)
{
	q->window_wait = false;
	hmx_cursor_set(q, list_first_entry_or_null(&q->order, struct hmx_slot, node));
}

/* The used ring: under the lock, and invisible until hmx_queue_publish() */

void hmx_used_put(struct hmx_queue *q, u16 id, u32 used_len)
{
	const struct vring *r = q->vring;
	vring_used_elem_t *e = &r->used->ring[q->used_idx & (r->num - 1)];

	e->id = __cpu_to_virtio32(true, id);
	e->len = __cpu_to_virtio32(true, used_len);
	q->used_idx++;
	q->stats.completed++;
}

/* The ring: taking */

int hmx_queue_head(struct hmx_queue *q, u16 *head)
{
	const struct vring *r = q->vring;
	u16 n;

	/* Partner: virtio_ring's barrier between a chain and the index that announces it. */
	n = ring16(smp_load_acquire(&r->avail->idx)) - q->last_avail;
	if (!n)
		return 0;
	if (n > q->size)
		return hmx_queue_break(q, "more chains than the ring has room for");
	*head = ring16(READ_ONCE(r->avail->ring[q->last_avail & (r->num - 1)]));
	if (*head >= q->size)
		return hmx_queue_break(q, "a chain that does not exist");
	return 1;
}

/* A chain that is not to be sent, since no backend could ask for it: the driver gets an error. */
static void chain_refuse(struct hmx_queue *q, u16 head, const struct hmx_chain *c)
{
	q->stats.errors++;
	hmx_used_put(q, head, hmx_ending_write(q, head, c));
	q->flush_due = true;
}

/*
 * Under the lock: puts the cursor on the next chain of the ring. 1; 0: there is none; -EINVAL: the
 * queue is broken. @cost: of looking at it.
 */
int hmx_queue_take(struct hmx_queue *q, u32 *cost)
{
	struct hmx_chain c;
	u16 head;
	int ret;

	while ((ret = hmx_queue_head(q, &head)) > 0) {
		if (!hmx_slot_free(&q->slots[head]))
			return hmx_queue_break(q, "a chain that is under way already");
		if (hmx_chain_measure(q, head, &c))
			return hmx_queue_break(q, "a bad chain of descriptors");
		q->last_avail++;
		q->stats.chains++;
		*cost += c.cost;
		if (c.cnt > max_t(u32, q->size, HMX_CHAIN_MAX)) {
			chain_refuse(q, head, &c);
			continue;
		}
		hmx_cursor_set(q, hmx_slot_begin(q, head, &c));
		q->stats.bytes_out += c.out_len;
		return 1;
	}
	return ret;
}

bool hmx_queue_busy(const struct hmx_queue *q)
{
	const struct vring *r = q->vring;
	const struct hmx_slot *s;
	struct hmx_chain c;
	u16 head;

	list_for_each_entry(s, &q->order, node) {
		if (hmx_slot_ends(q, s) && !s->early)
			return true;
	}
	if (!q->live || q->broken || !hmx_queue_waiting(q))
		return false;
	head = ring16(READ_ONCE(r->avail->ring[q->last_avail & (r->num - 1)]));
	if (head >= q->size || hmx_chain_measure(q, head, &c))
		return false;
	return c.out_len || q->dev->type->posted_end;
}

static bool queue_event_idx(const struct hmx_queue *q)
{
	return virtio_has_feature(&q->dev->vdev, VIRTIO_RING_F_EVENT_IDX);
}

bool hmx_queue_arm(struct hmx_queue *q)
{
	const struct vring *r = q->vring;

	if (!queue_event_idx(q))
		return false;
	WRITE_ONCE(vring_avail_event(r), __cpu_to_virtio16(true, q->last_avail));
	/* Partner: virtio_ring's full barrier between its avail index and its look at our event. */
	smp_mb();
	return hmx_queue_waiting(q);
}

/*
 * Under the lock. What a driver that waits with its CPU in its hands has to see before the notify
 * returns, or without the channel's work. False: nobody will look at this queue any more.
 */
static bool queue_serve(struct hmx_queue *q)
{
	if (q->impatient && q->live) {
		hmx_early_take(q);
		q->flush_due |= hmx_queue_publish(q);
	}
	if (q->patience == HMX_PATIENCE_SHORT && q->live)
		hmx_queue_hurry(q);
	if (!q->impatient && q->patience != HMX_PATIENCE_SHORT)
		return true;
	return q->live && !q->broken;
}

/*
 * The driver has made chains available. Any context: often under its own lock, with interrupts off.
 * False breaks the virtqueue, which ends the waiting of those who spin.
 */
static bool queue_notify(struct virtqueue *vq)
{
	struct hmx_queue *q = vq->priv;
	unsigned long flags;
	bool work, alive;

	spin_lock_irqsave(hmx_queue_lock(q), flags);
	q->stats.notifies++;
	work = hmx_queue_pump_notified(q);
	alive = queue_serve(q);
	/* What has to be told to the driver, or ends with an error, is the work's. */
	work |= q->flush_due || q->broken || q->dev->failed;
	spin_unlock_irqrestore(hmx_queue_lock(q), flags);
	if (work)
		hmx_channel_kick(q->dev->ch);
	return alive;
}

/* Completion: the work, without the lock */

bool hmx_queue_publish(struct hmx_queue *q)
{
	const struct vring *r = q->vring;
	u16 old = q->used_told;

	if (q->used_idx == old)
		return false;
	q->used_told = q->used_idx;
	/*
	 * Partner: virtio_ring's barrier between this index and the entries, and what lies in the
	 * buffers.
	 */
	smp_store_release(&r->used->idx, __cpu_to_virtio16(true, q->used_told));
	/*
	 * Partner: virtio_ring's full barrier between asking for interrupts and its last look at
	 * the index.
	 */
	smp_mb();
	if (!queue_event_idx(q))
		return !(ring16(READ_ONCE(r->avail->flags)) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(ring16(READ_ONCE(vring_used_event(r))), q->used_told, old);
}

/* As from an interrupt: what the driver raises meanwhile (NAPI) is run at once. */
static void queue_interrupt(struct hmx_queue *q)
{
	q->stats.interrupts++;
	local_bh_disable();
	vring_interrupt(0, q->vq);
	local_bh_enable();
}

/* Completions gave back what the cursor waited for. */
static void queue_window_pump(struct hmx_queue *q)
{
	bool more = false;

	spin_lock_irq(hmx_queue_lock(q));
	if (q->window_wait)
		more = hmx_queue_pump(q, HMX_PUMP_BYTES);
	spin_unlock_irq(hmx_queue_lock(q));
	if (more)
		hmx_channel_kick(q->dev->ch);
}

static void queue_show(struct hmx_queue *q)
{
	bool interrupt;

	spin_lock_irq(hmx_queue_lock(q));
	interrupt = hmx_queue_publish(q) || q->flush_due;
	q->flush_due = false;
	spin_unlock_irq(hmx_queue_lock(q));
	if (interrupt)
		queue_interrupt(q);
}

/* What is in flight ends first: nobody looks at a broken virtqueue any more. */
static void queue_report(struct hmx_queue *q)
{
	if (!READ_ONCE(q->broken) || q->broken_told)
		return;
	q->broken_told = true;
	dev_err(&q->dev->vdev.dev, "queue %u: %s\n", q->index, q->broken_why);
	hmx_queue_fail_flight(q);
	queue_show(q);
	virtio_break_device(&q->dev->vdev);
}

void hmx_queue_flush(struct hmx_queue *q)
{
	if (!READ_ONCE(q->live))
		return;
	queue_report(q);
	if (READ_ONCE(q->dev->failed)) {
		hmx_queue_fail_flight(q);
		hmx_queue_fail_ring(q);
	}
	if (READ_ONCE(q->used_idx) == READ_ONCE(q->used_told) && !READ_ONCE(q->flush_due))
		return;
	queue_show(q);
	queue_window_pump(q);
}

void hmx_queue_fail_all(struct hmx_queue *q)
{
	hmx_queue_flush(q);
}

/* Making and unmaking */

static struct hmx_queue *queue_alloc(struct hmx_device *dev, u16 index, u16 size)
{
	struct hmx_queue *q = kzalloc(sizeof(*q), GFP_KERNEL);

	if (!q)
		return NULL;
	q->dev = dev;
	q->index = index;
	q->slots = kvcalloc(size, sizeof(*q->slots), GFP_KERNEL);
	if (!q->slots) {
		kfree(q);
		return NULL;
	}
	INIT_LIST_HEAD(&q->order);
	INIT_LIST_HEAD(&q->group);
	INIT_LIST_HEAD(&q->starved);
	hmx_hurry_init(q);
	q->patience = hmx_type_patience(dev->type, dev->features, index, dev->vq_cnt);
	if (hmx_early_init(q))
		goto free;
	return q;

free:
	kvfree(q->slots);
	kfree(q);
	return NULL;
}

static void queue_unalloc(struct hmx_queue *q)
{
	hrtimer_cancel(&q->hurry);
	hmx_early_fini(q);
	kvfree(q->slots);
	kfree(q);
}

struct hmx_queue *hmx_queue_new(struct hmx_device *dev, u16 index, u16 size, bool ctx,
				vq_callback_t *callback, const char *name)
{
	struct hmx_queue *q;

	if (!size)
		return NULL;
	/* A split ring is a power of two; the wire does not ask for it. */
	size = rounddown_pow_of_two(size);
	q = queue_alloc(dev, index, size);
	if (!q)
		return NULL;
	q->vq = vring_create_virtqueue(index, size, SMP_CACHE_BYTES, &dev->vdev, true, true, ctx,
				       queue_notify, callback, name);
	if (!q->vq) {
		queue_unalloc(q);
		return NULL;
	}
	q->vq->priv = q;
	q->vring = virtqueue_get_vring(q->vq);
	q->max_size = virtqueue_get_vring_size(q->vq);
	q->vq->num_max = q->max_size;
	hmx_queue_rewind(q);
	return q;
}

void hmx_queue_free(struct hmx_queue *q)
{
	spin_lock_irq(hmx_queue_lock(q));
	list_del_init(&q->starved);
	spin_unlock_irq(hmx_queue_lock(q));
	vring_del_virtqueue(q->vq);
	queue_unalloc(q);
}

void hmx_queue_opened(struct hmx_queue *q)
{
	hmx_cursor_reset(q);
}

void hmx_queue_rewind(struct hmx_queue *q)
{
	u16 i;

	spin_lock_irq(hmx_queue_lock(q));
	q->size = min_t(u16, virtqueue_get_vring_size(q->vq), q->max_size);
	INIT_LIST_HEAD(&q->order);
	INIT_LIST_HEAD(&q->group);
	for (i = 0; i < q->max_size; i++) {
		q->slots[i] = (struct hmx_slot){ 0 };
		INIT_LIST_HEAD(&q->slots[i].node);
		INIT_LIST_HEAD(&q->slots[i].group);
	}
	list_del_init(&q->starved);
	hmx_cursor_reset(q);
	q->window_used = 0;
	q->ahead = 0;
	q->last_avail = 0;
	q->used_idx = 0;
	q->used_told = 0;
	q->flush_due = false;
	hmx_early_rewind(q);
	q->broken = false;
	q->broken_told = false;
	spin_unlock_irq(hmx_queue_lock(q));
}
