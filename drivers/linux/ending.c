// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * How requests end that no backend answers. There are four occasions:
 *
 *   a driver that spins        it is answered at once, or after HURRY_MS by a timer
 *   a device that has failed   what is in flight, and what comes, until it is reset or removed
 *   a broken ring              what is in flight, before the virtqueue is broken
 *   a backend that is gone     requests of types that are not replayed, and those that were in
 *                              flight in too many deaths; all others are unsent again
 *
 * What a driver reads then is its type's error (type.c), written into the chain, which is looked at
 * again for that. Posted requests of most types do not end, since their drivers would post them
 * again at once: they stay in flight, unsent.
 *
 * Where there may be many, they are taken out of the order first and end one by one, so that the
 * lock is not held for all. A driver that spins has few.
 */
#include <linux/ktime.h>

#include "queue.h"

/* What a driver that spins for a queue is made to wait at most: docs/wire.md, section 6. */
#define HURRY_MS 5000u

/*
 * A request that was in flight in so many deaths of a backend ends with an error (docs/wire.md,
 * section 11).
 */
#define DEATHS_MAX 3

static struct hmx_request request_of(const struct hmx_queue *q, const struct hmx_chain *c)
{
	struct hmx_request r = {
		.vq = q->index,
		.vqs = q->dev->vq_cnt,
		.out_len = c->out_len,
		.in_len = c->in_len,
		.peek_len = c->peek_len,
	};

	memcpy(r.peek, c->peek, sizeof(r.peek));
	return r;
}

u32 hmx_ending_write(const struct hmx_queue *q, u16 head, const struct hmx_chain *c)
{
	struct hmx_position p = hmx_chain_start(q, head);
	struct hmx_request r = request_of(q, c);
	struct hmx_segment seg;
	struct hmx_ending e;
	u32 done = 0, skip;

	hmx_type_end(q->dev->type, &r, &e);
	skip = e.off;
	while (done < e.len && hmx_chain_in(q, &p, &skip, &seg) > 0) {
		u32 n = min(seg.len, e.len - done);

		memcpy(seg.addr, e.bytes + done, n);
		hmx_chain_advance(&p, &seg, n);
		done += n;
	}
	return done == e.len ? e.used_len : 0;
}

/* The chain is looked at again: what its type wants to know of it is kept nowhere. */
u32 hmx_ending_make(const struct hmx_queue *q, u16 head)
{
	struct hmx_chain c;

	return hmx_chain_measure(q, head, &c) ? 0 : hmx_ending_write(q, head, &c);
}

/* Of who spins: under the lock */

static void flight_end(struct hmx_queue *q, struct hmx_slot *s)
{
	u16 id = hmx_slot_id(q, s);

	hmx_slot_end(q, s);
	q->stats.errors++;
	if (!s->early)
		hmx_used_put(q, id, hmx_ending_make(q, id));
}

/* All of it ends: few, since such a driver waits for each. */
static void queue_end_now(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;
	u32 cost = 0;

	hmx_group_forget(q);
	list_for_each_entry_safe(s, next, &q->order, node)
		flight_end(q, s);
	hmx_cursor_set(q, NULL);
	while (!q->broken && (hmx_queue_take(q, &cost) > 0 || hmx_queue_arm(q))) {
		if (q->cursor)
			flight_end(q, q->cursor);
		hmx_cursor_set(q, NULL);
	}
	q->flush_due |= hmx_queue_publish(q);
}

void hmx_queue_hurry(struct hmx_queue *q)
{
	q->hurry_until = ktime_add_ms(ktime_get(), HURRY_MS);
	if (!hmx_device_reachable(q->dev) || q->dev->failed)
		queue_end_now(q);
	else if (!hrtimer_is_queued(&q->hurry))
		hrtimer_start(&q->hurry, q->hurry_until, HRTIMER_MODE_ABS);
}

/*
 * From the interrupt itself, as nothing later may come: who spins does it with bottom halves off
 * (virtio_net under netif_addr_lock_bh()), on the CPU that has the timer. Not so with PREEMPT_RT,
 * where the lock sleeps and the timer's mode means a thread.
 */
static enum hrtimer_restart hurry_over(struct hrtimer *t)
{
	struct hmx_queue *q = container_of(t, struct hmx_queue, hurry);
	unsigned long flags;

	spin_lock_irqsave(hmx_queue_lock(q), flags);
	if (!q->live || (list_empty(&q->order) && !hmx_queue_waiting(q)))
		goto unlock;
	if (ktime_before(ktime_get(), q->hurry_until)) {
		hrtimer_start(t, q->hurry_until, HRTIMER_MODE_ABS);
		goto unlock;
	}
	/* What was sent may still be answered: not in this life. */
	hmx_channel_fail(q->dev->ch, -ETIMEDOUT);
	queue_end_now(q);
	hmx_channel_kick(q->dev->ch);
unlock:
	spin_unlock_irqrestore(hmx_queue_lock(q), flags);
	return HRTIMER_NORESTART;
}

void hmx_hurry_init(struct hmx_queue *q)
{
	hmx_hrtimer_setup(&q->hurry, hurry_over, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
}

/* Of a device that has failed, or a queue that is broken: the work, without the lock */

/* Ends requests that are in flight for nobody but us. */
static void requests_fail(struct hmx_queue *q, struct list_head *list)
{
	struct hmx_slot *s, *next;
	u32 used_len;
	u16 id;

	list_for_each_entry_safe(s, next, list, node) {
		id = hmx_slot_id(q, s);
		used_len = s->early ? 0 : hmx_ending_make(q, id);
		spin_lock_irq(hmx_queue_lock(q));
		list_del_init(&s->node);
		q->stats.errors++;
		if (!s->early)
			hmx_used_put(q, id, used_len);
		else
			hmx_early_trim(q);
		spin_unlock_irq(hmx_queue_lock(q));
	}
}

void hmx_queue_fail_flight(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;
	LIST_HEAD(list);

	spin_lock_irq(hmx_queue_lock(q));
	hmx_group_forget(q);
	list_for_each_entry_safe(s, next, &q->order, node) {
		if (!hmx_slot_ends(q, s))
			continue;
		hmx_slot_window_give(q, s);
		list_move_tail(&s->node, &list);
	}
	hmx_cursor_reset(q);
	spin_unlock_irq(hmx_queue_lock(q));
	requests_fail(q, &list);
}

static struct hmx_slot *queue_take_to_fail(struct hmx_queue *q, struct list_head *list)
{
	struct hmx_slot *s = NULL;
	u32 cost = 0;

	spin_lock_irq(hmx_queue_lock(q));
	if (q->impatient)
		hmx_early_take(q);
	while (!s && !q->broken && !q->impatient) {
		if (hmx_queue_take(q, &cost) > 0)
			s = q->cursor;
		else if (q->broken || !hmx_queue_arm(q))
			break;
	}
	/* A posted one stays in flight, on a device that nothing comes from any more. */
	if (s && hmx_slot_ends(q, s))
		list_move_tail(&s->node, list);
	if (s)
		hmx_cursor_set(q, NULL);
	spin_unlock_irq(hmx_queue_lock(q));
	return s;
}

/*
 * The driver gets none of them back before the flush, so they are at most as many as the ring has
 * entries.
 */
void hmx_queue_fail_ring(struct hmx_queue *q)
{
	LIST_HEAD(list);

	while (queue_take_to_fail(q, &list))
		requests_fail(q, &list);
}

/* Of a backend that is gone: the work, without the lock */

static void slot_rewind(struct hmx_queue *q, struct hmx_slot *s, bool death)
{
	hmx_slot_window_give(q, s);
	if (death && s->begun)
		s->deaths++;
	s->begun = false;
	s->sent = 0;
	s->in_next = 0;
	s->in_prefix = 0;
	s->in_pos = hmx_chain_start(q, hmx_slot_id(q, s));
	s->status = q->dev->type->status_error;
	s->status_came = false;
}

/* What told the dead backend something and may not be asked again, or was asked too often. */
static bool slot_hopeless(const struct hmx_queue *q, const struct hmx_slot *s, bool begun)
{
	/* Output that was taken from the driver, and that nobody has seen, waits for somebody. */
	if (s->early)
		return begun;
	if (!hmx_type_replays(q->dev->type, q->index))
		return s->out_len;
	return s->deaths >= DEATHS_MAX;
}

/*
 * Under the lock. Posted requests, those without out bytes, told the backend nothing: they go to
 * the next one whatever the type, and that one of them killed it nobody need believe.
 */
static void queue_unsend(struct hmx_queue *q, bool death, struct list_head *hopeless)
{
	struct hmx_slot *s, *next;

	hmx_group_forget(q);
	list_for_each_entry_safe(s, next, &q->order, node) {
		bool begun = s->begun;

		slot_rewind(q, s, death && hmx_type_replays(q->dev->type, q->index));
		if (slot_hopeless(q, s, begun))
			list_move_tail(&s->node, hopeless);
		else
			q->dev->replays += begun;
	}
	hmx_cursor_reset(q);
}

void hmx_queue_interrupted(struct hmx_queue *q, bool death)
{
	LIST_HEAD(hopeless);

	if (!READ_ONCE(q->live))
		return;
	spin_lock_irq(hmx_queue_lock(q));
	queue_unsend(q, death, &hopeless);
	spin_unlock_irq(hmx_queue_lock(q));
	requests_fail(q, &hopeless);
	spin_lock_irq(hmx_queue_lock(q));
	if (q->patience == HMX_PATIENCE_SHORT)
		queue_end_now(q);
	spin_unlock_irq(hmx_queue_lock(q));
	hmx_queue_flush(q);
}
