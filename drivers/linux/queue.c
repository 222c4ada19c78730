// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A queue owns a split ring that virtio_ring made in ordinary memory, and plays its device side: it
 * takes chains from the ring and sends them as AVAIL, and gives them back when USED says so
 * (docs/wire.md, sections 8 and 9). A chain is known by its head descriptor, which is the request's
 * id on the wire.
 *
 * Objects. hmx_queue belongs to device.c, which makes and frees it; it owns the ring and one slot
 * per head. A slot is FREE, or in flight from when its chain was taken until its completion was
 * accepted. Slots in flight are linked in the order in which they became available.
 *
 *   FREE --queue_take()--> taken --first--> begun --last record--> sent whole --COMPLETE--> FREE
 *                            ^---------hmx_queue_interrupted()----------|
 *                            '-------------- answered, in a group that has not ended <--GROUP--'
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
 * Interrupts are off while a pump runs. A notify copies at most HMX_NOTIFY_BYTES, every descriptor
 * counted as HMX_DESC_COST, but for the last chain that it measures: some 30 us, less than many a
 * driver's own lock.
 *
 * A hostile backend can answer what is in flight, in any order, with any bytes. Its records are
 * copied once, then judged against the slot. Chunks go to the place in the chain that we work out,
 * and only within the in bytes. It can not have more bytes claimed than it sent, nor have a request
 * end twice, nor be heard after the queue was closed. Anything else ends its channel.
 *
 * The driver is of the same kernel and trusted, but may have bugs: chains are bounded by the length
 * of their table, and addresses are checked. A bad one breaks the device, with one line, and takes
 * nobody along.
 */
#include <linux/bottom_half.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "chain.h"

/* What a driver that spins for a queue is made to wait at most: docs/wire.md, section 6. */
#define HURRY_MS 5000u

/* Largest chunk: that of the largest message that any provider moves. */
#define CHUNK_MAX (SZ_256K + SZ_8K)

/*
 * A request that was in flight in so many deaths of a backend ends with an error (docs/wire.md,
 * section 11).
 */
#define DEATHS_MAX 3

static spinlock_t *queue_lock(const struct hmx_queue *q)
{
	return &q->dev->ch->port->lock;
}

int hmx_queue_break(struct hmx_queue *q, const char *what)
{
	if (!q->broken)
		q->broken_why = what;
	q->broken = true;
	return -EINVAL;
}

/* Slots */

static u16 slot_id(const struct hmx_queue *q, const struct hmx_slot *s)
{
	return s - q->slots;
}

bool hmx_slot_free(const struct hmx_slot *s)
{
	return list_empty(&s->node);
}

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
	s->kind = hmx_type_kind(q->dev->type, c->peek, c->peek_len);
	s->in_next = 0;
	s->in_prefix = 0;
	s->in_pos = hmx_chain_start(q, id);
	s->status = q->dev->type->status_error;
	s->status_came = false;
	list_add_tail(&s->node, &q->order);
	return s;
}

/* Posted requests of most types end with their driver only, which would post them again. */
static bool slot_ends(const struct hmx_queue *q, const struct hmx_slot *s)
{
	return s->out_len || q->dev->type->posted_end;
}

static void slot_window_give(struct hmx_queue *q, struct hmx_slot *s)
{
	q->window_used -= s->window;
	s->window = 0;
}

/* Nobody will end the group. What was answered in it is in flight, as if it was not. */
static void group_forget(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;

	list_for_each_entry_safe(s, next, &q->group, group)
		list_del_init(&s->group);
}

static void slot_end(struct hmx_queue *q, struct hmx_slot *s)
{
	slot_window_give(q, s);
	list_del_init(&s->node);
	if (s->early)
		hmx_early_trim(q);
}

static void slot_rewind(struct hmx_queue *q, struct hmx_slot *s, bool death)
{
	slot_window_give(q, s);
	if (death && s->begun)
		s->deaths++;
	s->begun = false;
	s->sent = 0;
	s->in_next = 0;
	s->in_prefix = 0;
	s->in_pos = hmx_chain_start(q, slot_id(q, s));
	s->status = q->dev->type->status_error;
	s->status_came = false;
}

void hmx_cursor_set(struct hmx_queue *q, struct hmx_slot *s)
{
	q->cursor = s;
	if (s)
		q->out_pos = hmx_chain_start(q, slot_id(q, s));
}

static void cursor_advance(struct hmx_queue *q)
{
	struct hmx_slot *s = q->cursor;

	hmx_cursor_set(q, list_is_last(&s->node, &q->order) ? NULL : list_next_entry(s, node));
}

static void cursor_reset(struct hmx_queue *q)
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

/* Writes what a request's type has for an answer when nobody else has one. Returns its used_len. */
static u32 ending_write(const struct hmx_queue *q, u16 head, const struct hmx_request *r)
{
	struct hmx_position p = hmx_chain_start(q, head);
	struct hmx_segment seg;
	struct hmx_ending e;
	u32 done = 0, skip;

	hmx_type_end(q->dev->type, r, &e);
	skip = e.off;
	while (done < e.len && hmx_chain_in(q, &p, &skip, &seg) > 0) {
		u32 n = min(seg.len, e.len - done);

		memcpy(seg.addr, e.bytes + done, n);
		hmx_chain_advance(&p, &seg, n);
		done += n;
	}
	return done == e.len ? e.used_len : 0;
}

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

/*
 * Ends a request that no backend will answer as its type's table says (type.c). The chain is
 * looked at again: what its type wants to know of it is kept nowhere.
 */
static u32 ending_make(const struct hmx_queue *q, u16 head)
{
	struct hmx_request r;
	struct hmx_chain c;

	if (hmx_chain_measure(q, head, &c))
		return 0;
	r = request_of(q, &c);
	return ending_write(q, head, &r);
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
	struct hmx_request r = request_of(q, c);

	q->stats.errors++;
	hmx_used_put(q, head, ending_write(q, head, &r));
	q->flush_due = true;
}

/*
 * Under the lock: puts the cursor on the next chain of the ring. 1; 0: there is none; -EINVAL: the
 * queue is broken. @cost: of looking at it.
 */
static int queue_take(struct hmx_queue *q, u32 *cost)
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

static bool queue_event_idx(const struct hmx_queue *q)
{
	return virtio_has_feature(&q->dev->vdev, VIRTIO_RING_F_EVENT_IDX);
}

/* Under the lock: are there chains that were not taken? */
static bool queue_waiting(const struct hmx_queue *q)
{
	return ring16(READ_ONCE(q->vring->avail->idx)) != q->last_avail;
}

bool hmx_queue_busy(const struct hmx_queue *q)
{
	const struct vring *r = q->vring;
	const struct hmx_slot *s;
	struct hmx_chain c;
	u16 head;

	list_for_each_entry(s, &q->order, node) {
		if (slot_ends(q, s) && !s->early)
			return true;
	}
	if (!q->live || q->broken || !queue_waiting(q))
		return false;
	head = ring16(READ_ONCE(r->avail->ring[q->last_avail & (r->num - 1)]));
	if (head >= q->size || hmx_chain_measure(q, head, &c))
		return false;
	return c.out_len || q->dev->type->posted_end;
}

bool hmx_queue_arm(struct hmx_queue *q)
{
	const struct vring *r = q->vring;

	if (!queue_event_idx(q))
		return false;
	WRITE_ONCE(vring_avail_event(r), __cpu_to_virtio16(true, q->last_avail));
	/* Partner: virtio_ring's full barrier between its avail index and its look at our event. */
	smp_mb();
	return queue_waiting(q);
}

/* Sending: all under the lock */

static const struct hmx_limits *queue_limits(const struct hmx_queue *q)
{
	return &q->dev->vq_states[q->index].limits;
}

static bool slot_too_big(const struct hmx_queue *q, const struct hmx_slot *s)
{
	return s->out_len > queue_limits(q)->max_out || s->in_len > queue_limits(q)->max_in;
}

/* Units of the window for the cursor's request, at its first record. */
static bool window_take(struct hmx_queue *q, struct hmx_slot *s, u32 len)
{
	const struct hmx_limits *l = queue_limits(q);
	u32 units = len <= l->head_len ? 0
				       : DIV_ROUND_UP_ULL((u64)len - l->head_len, VHX_WINDOW_UNIT);

	if (q->window_used > l->window || units > l->window - q->window_used)
		return false;
	s->window = units;
	q->window_used += units;
	return true;
}

/* The chunk that the cursor's next record is to carry, if the message has room for it. */
static u32 chunk_wanted(const struct hmx_queue *q, const struct hmx_slot *s)
{
	u32 heads = VHX_DATA_HEADER_LEN + sizeof(struct vhx_avail_record);
	u32 most = min_t(u32, ALIGN_DOWN(q->dev->ch->max_message - heads, VHX_RECORD_ALIGN),
			 CHUNK_MAX);

	if (slot_too_big(q, s))
		most = min_t(u32, most, VHX_TOO_BIG_BYTES);
	return min(s->out_len - s->sent, most);
}

/* Makes sure that the open message has room for a record and @len bytes. 0, -EAGAIN. */
static int message_open(struct hmx_queue *q, u32 len)
{
	struct hmx_channel *ch = q->dev->ch;
	struct hmx_key key = {
		.dev = q->dev->dev_num,
		.vq = q->index,
		.epoch = q->dev->vq_states[q->index].epoch,
	};
	u32 need = sizeof(struct vhx_avail_record) + ALIGN(len, VHX_RECORD_ALIGN);

	/* A record without a chunk as well needs a message that takes records. */
	if (ch->tx.open && hmx_tx_chunk_room(&ch->tx) >= max(len, 1u))
		return 0;
	if (ch->tx.open)
		hmx_tx_commit(&ch->tx);
	return hmx_tx_begin(ch, VHX_MSG_AVAIL, &key, max_t(u32, need, VHX_RECORD_ALIGN * 3), q);
}

/*
 * Appends up to @len out bytes of the cursor's request. Returns how many: a provider's message may
 * be full of segments before it is full of bytes.
 */
static u32 chain_append(struct hmx_queue *q, u32 len, u32 *cost)
{
	struct hmx_tx *tx = &q->dev->ch->tx;
	struct hmx_segment seg;
	u32 done = 0;

	while (done < len) {
		u32 n, taken;

		if (hmx_chain_look(q, &q->out_pos, &seg) <= 0 || seg.write) {
			hmx_queue_break(q, "a chain that changed under way");
			break;
		}
		n = min(seg.len, len - done);
		taken = hmx_tx_ref(tx, seg.addr, n);
		hmx_chain_advance(&q->out_pos, &seg, taken);
		done += taken;
		*cost += HMX_DESC_COST;
		if (taken < n)
			break;
	}
	return done;
}

static u32 chunk_append(struct hmx_queue *q, struct hmx_slot *s, u32 len, u32 *cost)
{
	struct hmx_tx *tx = &q->dev->ch->tx;
	u32 copied = tx->head_len, done;

	done = s->early ? hmx_early_append(q, s, len) : chain_append(q, len, cost);
	copied = tx->head_len - copied;
	q->stats.bytes_copied += copied;
	q->stats.bytes_by_ref += done - copied;
	*cost += done;
	return done;
}

/* The next record of the cursor's request, in the open message. */
static void record_append(struct hmx_queue *q, struct hmx_slot *s, u32 len, u32 *cost)
{
	struct hmx_tx *tx = &q->dev->ch->tx;
	bool too_big = slot_too_big(q, s);
	struct vhx_avail_record wire = {
		.id = cpu_to_le16(slot_id(q, s)),
		.flags = cpu_to_le16((s->begun ? 0 : VHX_AVAIL_FIRST) |
				     (too_big ? VHX_AVAIL_TOO_BIG : 0)),
		.out_len = cpu_to_le32(s->out_len),
		.in_len = cpu_to_le32(s->in_len),
	};
	struct vhx_avail_record *record = hmx_tx_put(tx, &wire, sizeof(wire));
	u32 done = chunk_append(q, s, len, cost);

	record->chunk_len = cpu_to_le32(done);
	hmx_tx_pad(tx);
	if (!s->begun) {
		s->flush_mark = q->dev->writes_done;
		s->through = s->kind == HMX_KIND_WRITE && hmx_device_writes_through(q->dev);
	}
	s->begun = true;
	s->sent = too_big ? s->out_len : s->sent + done;
}

/*
 * Sends the cursor's next record, if it costs at most @budget. Cost; -EAGAIN; -ENOSPC: over the
 * budget.
 */
static int cursor_step(struct hmx_queue *q, u32 budget)
{
	struct hmx_slot *s = q->cursor;
	u32 len = chunk_wanted(q, s), cost = 0;

	if (len > budget)
		return -ENOSPC;
	q->window_wait = false;
	if (!s->begun && !s->window && !window_take(q, s, slot_too_big(q, s) ? len : s->out_len)) {
		q->window_wait = true;
		q->stats.starved++;
		return -EAGAIN;
	}
	if (message_open(q, len))
		return -EAGAIN;
	record_append(q, s, len, &cost);
	if (s->sent == s->out_len)
		cursor_advance(q);
	return cost;
}

static bool queue_sendable(const struct hmx_queue *q)
{
	return q->live && !q->broken && !q->dev->failed && hmx_device_queue_live(q->dev, q->index);
}

/* As queue_take(), for the cursor that there is as well. */
static int queue_next(struct hmx_queue *q, u32 *cost)
{
	if (q->impatient)
		hmx_early_take(q);
	if (q->cursor)
		return 1;
	return q->impatient ? 0 : queue_take(q, cost);
}

/* True: there is more, but no budget for it. @first: what the first record may cost. */
static bool queue_send(struct hmx_queue *q, u32 budget, u32 first)
{
	while (!q->broken) {
		u32 cost = 0;
		int ret;

		if (!budget)
			return true;
		ret = queue_next(q, &cost);
		if (ret < 0 || (!ret && !hmx_queue_arm(q)))
			return false;
		budget -= min(budget, cost);
		if (!ret)
			continue;
		ret = cursor_step(q, max(budget, first));
		if (ret == -ENOSPC)
			return true;
		if (ret < 0)
			return false;
		budget -= min_t(u32, budget, ret);
		first = 0;
	}
	return false;
}

static bool queue_pump(struct hmx_queue *q, u32 budget, u32 first)
{
	struct hmx_tx *tx = &q->dev->ch->tx;
	bool more;

	if (!queue_sendable(q))
		return false;
	more = queue_send(q, budget, first);
	if (tx->open)
		hmx_tx_commit(tx);
	return more;
}

bool hmx_queue_pump(struct hmx_queue *q, u32 budget)
{
	return queue_pump(q, budget, CHUNK_MAX);
}

/* Under the lock: ends what is in flight, with an error. */
static void flight_end(struct hmx_queue *q, struct hmx_slot *s)
{
	u16 id = slot_id(q, s);

	slot_end(q, s);
	q->stats.errors++;
	if (!s->early)
		hmx_used_put(q, id, ending_make(q, id));
}

/*
 * Under the lock, of an impatient driver: all of it ends. There are few of them, since it waits for
 * each.
 */
static void queue_end_now(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;
	u32 cost = 0;

	group_forget(q);
	list_for_each_entry_safe(s, next, &q->order, node) flight_end(q, s);
	hmx_cursor_set(q, NULL);
	while (!q->broken && (queue_take(q, &cost) > 0 || hmx_queue_arm(q))) {
		if (q->cursor)
			flight_end(q, q->cursor);
		hmx_cursor_set(q, NULL);
	}
	q->flush_due |= hmx_queue_publish(q);
}

/*
 * Under the lock. Of who spins for this queue: without a backend it gets errors, and from one that
 * takes too long as well. The timer runs on the CPU that spins, if need be.
 */
static void queue_hurry(struct hmx_queue *q)
{
	q->hurry_until = jiffies + msecs_to_jiffies(HURRY_MS);
	if (!hmx_device_reachable(q->dev) || q->dev->failed)
		queue_end_now(q);
	else if (!timer_pending(&q->hurry))
		mod_timer(&q->hurry, q->hurry_until);
}

static void queue_hurry_over(struct timer_list *t)
{
	struct hmx_queue *q = container_of(t, struct hmx_queue, hurry);
	unsigned long flags;

	spin_lock_irqsave(queue_lock(q), flags);
	if (!q->live || (list_empty(&q->order) && !queue_waiting(q)))
		goto unlock;
	if (time_before(jiffies, q->hurry_until)) {
		mod_timer(&q->hurry, q->hurry_until);
		goto unlock;
	}
	/* What was sent may still be answered: not in this life. */
	hmx_channel_fail(q->dev->ch, -ETIMEDOUT);
	queue_end_now(q);
	hmx_channel_kick(q->dev->ch);
unlock:
	spin_unlock_irqrestore(queue_lock(q), flags);
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
		queue_hurry(q);
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

	spin_lock_irqsave(queue_lock(q), flags);
	q->stats.notifies++;
	work = queue_pump(q, HMX_NOTIFY_BYTES, 0);
	alive = queue_serve(q);
	/* What has to be told to the driver, or ends with an error, is the work's. */
	work |= q->flush_due || q->broken || q->dev->failed;
	spin_unlock_irqrestore(queue_lock(q), flags);
	if (work)
		hmx_channel_kick(q->dev->ch);
	return alive;
}

/* Completion: the work, without the lock */

/* Ends requests that are in flight for nobody but us. */
static void requests_fail(struct hmx_queue *q, struct list_head *list)
{
	struct hmx_slot *s, *next;
	u32 used_len;
	u16 id;

	list_for_each_entry_safe(s, next, list, node) {
		id = slot_id(q, s);
		used_len = s->early ? 0 : ending_make(q, id);
		spin_lock_irq(queue_lock(q));
		list_del_init(&s->node);
		q->stats.errors++;
		if (!s->early)
			hmx_used_put(q, id, used_len);
		else
			hmx_early_trim(q);
		spin_unlock_irq(queue_lock(q));
	}
}

static void queue_fail_flight(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;
	LIST_HEAD(list);

	spin_lock_irq(queue_lock(q));
	group_forget(q);
	list_for_each_entry_safe(s, next, &q->order, node) {
		if (!slot_ends(q, s))
			continue;
		slot_window_give(q, s);
		list_move_tail(&s->node, &list);
	}
	cursor_reset(q);
	spin_unlock_irq(queue_lock(q));
	requests_fail(q, &list);
}

static struct hmx_slot *queue_take_to_fail(struct hmx_queue *q, struct list_head *list)
{
	struct hmx_slot *s = NULL;
	u32 cost = 0;

	spin_lock_irq(queue_lock(q));
	if (q->impatient)
		hmx_early_take(q);
	while (!s && !q->broken && !q->impatient) {
		if (queue_take(q, &cost) > 0)
			s = q->cursor;
		else if (q->broken || !hmx_queue_arm(q))
			break;
	}
	/* A posted one stays in flight, on a device that nothing comes from any more. */
	if (s && slot_ends(q, s))
		list_move_tail(&s->node, list);
	if (s)
		hmx_cursor_set(q, NULL);
	spin_unlock_irq(queue_lock(q));
	return s;
}

/*
 * The driver gets none of them back before the flush, so they are at most as many as the ring has
 * entries.
 */
static void queue_fail_ring(struct hmx_queue *q)
{
	LIST_HEAD(list);

	while (queue_take_to_fail(q, &list))
		requests_fail(q, &list);
}

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

	spin_lock_irq(queue_lock(q));
	if (q->window_wait)
		more = hmx_queue_pump(q, HMX_PUMP_BYTES);
	spin_unlock_irq(queue_lock(q));
	if (more)
		hmx_channel_kick(q->dev->ch);
}

static void queue_show(struct hmx_queue *q)
{
	bool interrupt;

	spin_lock_irq(queue_lock(q));
	interrupt = hmx_queue_publish(q) || q->flush_due;
	q->flush_due = false;
	spin_unlock_irq(queue_lock(q));
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
	queue_fail_flight(q);
	queue_show(q);
	virtio_break_device(&q->dev->vdev);
}

void hmx_queue_flush(struct hmx_queue *q)
{
	if (!READ_ONCE(q->live))
		return;
	queue_report(q);
	if (READ_ONCE(q->dev->failed)) {
		queue_fail_flight(q);
		queue_fail_ring(q);
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

/* What told the dead backend something and may not be asked again, or was asked too often. */
static bool slot_hopeless(const struct hmx_queue *q, const struct hmx_slot *s, bool begun)
{
	/* Output that was taken from the driver, and that nobody has seen, waits for somebody. */
	if (s->early)
		return begun;
	if (!q->dev->type->replay)
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

	group_forget(q);
	list_for_each_entry_safe(s, next, &q->order, node) {
		bool begun = s->begun;

		slot_rewind(q, s, death && q->dev->type->replay);
		if (slot_hopeless(q, s, begun))
			list_move_tail(&s->node, hopeless);
		else
			q->dev->replays += begun;
	}
	cursor_reset(q);
}

void hmx_queue_interrupted(struct hmx_queue *q, bool death)
{
	LIST_HEAD(hopeless);

	if (!READ_ONCE(q->live))
		return;
	spin_lock_irq(queue_lock(q));
	queue_unsend(q, death, &hopeless);
	spin_unlock_irq(queue_lock(q));
	requests_fail(q, &hopeless);
	spin_lock_irq(queue_lock(q));
	if (q->patience == HMX_PATIENCE_SHORT)
		queue_end_now(q);
	spin_unlock_irq(queue_lock(q));
	hmx_queue_flush(q);
}

/* Receiving: the work */

/* A USED record in private memory. */
struct used {
	u16 id, flags;
	u32 in_off, used_len, chunk_len;
};

/* @left: bytes of the message behind the record. What can be judged without the slot. */
static int used_decode(const struct vhx_used_record *wire, u32 left, struct used *u)
{
	u->id = le16_to_cpu(wire->id);
	u->flags = le16_to_cpu(wire->flags);
	u->in_off = le32_to_cpu(wire->in_off);
	u->used_len = le32_to_cpu(wire->used_len);
	u->chunk_len = le32_to_cpu(wire->chunk_len);
	if (u->flags & ~(VHX_USED_COMPLETE | VHX_USED_GROUP) || u->chunk_len > left)
		return -EPROTO;
	if (!(u->flags & VHX_USED_COMPLETE) && (!u->chunk_len || u->flags || u->used_len))
		return -EPROTO;
	return 0;
}

/* What needs the slot. Notes the chunk; 0, or -EPROTO: nothing was noted. */
static int slot_answer(struct hmx_slot *s, const struct used *u, u32 *gap)
{
	u32 prefix = s->in_prefix;

	/* An answer before the question was asked whole cannot be one. */
	if (hmx_slot_free(s) || !s->begun || s->sent < s->out_len)
		return -EPROTO;
	/* Over, though its driver does not know. */
	if (!list_empty(&s->group))
		return -EPROTO;
	if (u->chunk_len) {
		if (u->in_off < s->in_next || u->in_off > s->in_len ||
		    u->chunk_len > s->in_len - u->in_off)
			return -EPROTO;
		if (u->in_off == prefix)
			prefix += u->chunk_len;
	}
	/* The driver is never told that stale memory is an answer. */
	if (u->used_len > prefix)
		return -EPROTO;
	s->in_prefix = prefix;
	if (!u->chunk_len)
		return 0;
	*gap = u->in_off - s->in_next;
	s->in_next = u->in_off + u->chunk_len;
	return 0;
}

/*
 * Under the lock: judges a record against its slot. 1: @gap bytes of in lie between the last chunk
 * and this one; 0: nobody waits for it any more; -EPROTO.
 */
static int answer_accept(struct hmx_queue *q, const struct used *u, u32 *gap)
{
	/* Of a queue that was closed, or a device given up, nobody waits for answers. */
	if (!q->live || q->broken || q->dev->failed)
		return 0;
	return slot_answer(&q->slots[u->id], u, gap) ?: 1;
}

/* In bytes that did not come: @len of them at the position. */
static int in_fill(struct hmx_queue *q, struct hmx_slot *s, u32 len)
{
	struct hmx_segment seg;
	u32 skip = 0;

	while (len) {
		u32 n;

		if (hmx_chain_in(q, &s->in_pos, &skip, &seg) <= 0)
			return -EINVAL;
		n = min(seg.len, len);
		memset(seg.addr, 0, n);
		hmx_chain_advance(&s->in_pos, &seg, n);
		len -= n;
	}
	return 0;
}

/*
 * Moves the record's chunk into the posted buffers, straight out of the message. 0, or -EINVAL: the
 * chain has changed.
 */
static int chunk_receive(struct hmx_queue *q, struct hmx_slot *s, struct hmx_rx *rx, u32 gap,
			 u32 len)
{
	struct hmx_segment seg;

	if (gap && q->dev->type->fill) {
		if (in_fill(q, s, gap))
			return -EINVAL;
		gap = 0;
	}
	while (len) {
		u32 n;

		if (hmx_chain_in(q, &s->in_pos, &gap, &seg) <= 0)
			return -EINVAL;
		n = min(seg.len, len);
		hmx_rx_read(rx, seg.addr, n);
		hmx_chain_advance(&s->in_pos, &seg, n);
		len -= n;
		/*
		 * The buffer is out of the peer's reach: what is looked at is what the driver will
		 * see.
		 */
		s->status = seg.addr[n - 1];
		q->stats.bytes_in += n;
	}
	s->status_came = s->in_next == s->in_len;
	return 0;
}

/*
 * Many drivers look at the status only. An answer without one, or one that says all is well over
 * bytes that never came, would hand them what was in their buffers before. False: it was made an
 * error.
 */
static bool answer_sound(const struct hmx_type *type, const struct hmx_slot *s)
{
	if (!type->has_status || !s->in_len)
		return true;
	return s->status_came && (s->status != type->status_ok || s->in_prefix >= s->in_len - 1);
}

static void answer_judge(struct hmx_queue *q, struct hmx_slot *s)
{
	const struct hmx_type *type = q->dev->type;

	if (type->fill)
		in_fill(q, s, s->in_len - s->in_next);
	if (answer_sound(type, s))
		return;
	s->status = type->status_error;
	ending_make(q, slot_id(q, s));
	q->stats.errors++;
}

/*
 * Keeps account of what is on stable storage. A write counts by the mode that it was sent under,
 * and a FLUSH that nobody confirms has failed.
 */
static void durability_note(struct hmx_queue *q, const struct hmx_slot *s)
{
	struct hmx_device *dev = q->dev;

	if (s->kind == HMX_KIND_WRITE)
		dev->writes_done += !s->through;
	if (s->kind != HMX_KIND_FLUSH)
		return;
	if (s->status == dev->type->status_ok)
		dev->writes_flushed = max(dev->writes_flushed, s->flush_mark);
	else
		dev->flush_failed = true;
}

/* The first bytes of an answer that may say how long the driver will wait for another queue. */
static void answer_listen(struct hmx_queue *q, const struct hmx_slot *s)
{
	struct hmx_position p = hmx_chain_start(q, slot_id(q, s));
	struct hmx_segment seg;
	u8 look[HMX_TYPE_PEEK];
	u32 len = 0, skip = 0;
	int told;

	if (!q->dev->type->told)
		return;
	while (len < min_t(u32, s->in_prefix, sizeof(look)) &&
	       hmx_chain_in(q, &p, &skip, &seg) > 0) {
		u32 n = min_t(u32, seg.len, sizeof(look) - len);

		memcpy(look + len, seg.addr, n);
		hmx_chain_advance(&p, &seg, n);
		len += n;
	}
	told = hmx_type_told(q->dev->type, q->dev->features, q->index, look,
			     min(len, s->in_prefix));
	if (told >= 0)
		hmx_device_hurry(q->dev, told);
}

/* Without the lock, or of a queue that keeps it: the bytes of an accepted record. */
static int record_copy(struct hmx_queue *q, struct hmx_slot *s, struct hmx_rx *rx,
		       const struct used *u, u32 gap)
{
	if (u->chunk_len && chunk_receive(q, s, rx, gap, u->chunk_len))
		return -EINVAL;
	if (u->flags & VHX_USED_COMPLETE && !s->early)
		answer_judge(q, s);
	return 0;
}

/* The end of a request that was answered. */
static void request_end(struct hmx_queue *q, struct hmx_slot *s)
{
	slot_end(q, s);
	/* Its chain went back when it was taken. */
	if (s->early)
		return;
	durability_note(q, s);
	answer_listen(q, s);
	hmx_used_put(q, slot_id(q, s), s->used_len);
}

static void group_end(struct hmx_queue *q)
{
	struct hmx_slot *s, *next;

	list_for_each_entry_safe(s, next, &q->group, group) {
		list_del_init(&s->group);
		request_end(q, s);
	}
}

/* Under the lock, of which one holding shows all of a group. */
static void record_end(struct hmx_queue *q, struct hmx_slot *s, const struct used *u)
{
	if (!(u->flags & VHX_USED_COMPLETE))
		return;
	s->used_len = u->used_len;
	if (u->flags & VHX_USED_GROUP) {
		list_add_tail(&s->group, &q->group);
		return;
	}
	group_end(q);
	request_end(q, s);
}

/*
 * Where a timer can end requests, that must not be between the judgment and the last byte. These
 * have short answers.
 */
static int record_receive_locked(struct hmx_queue *q, struct hmx_rx *rx, const struct used *u)
{
	struct hmx_slot *s = &q->slots[u->id];
	u32 gap = 0;
	int ret;

	spin_lock_irq(queue_lock(q));
	ret = answer_accept(q, u, &gap);
	if (ret > 0 && record_copy(q, s, rx, u, gap))
		hmx_queue_break(q, "a chain that changed under way");
	else if (ret > 0)
		record_end(q, s, u);
	spin_unlock_irq(queue_lock(q));
	return ret;
}

static int record_receive(struct hmx_queue *q, struct hmx_rx *rx, const struct used *u)
{
	struct hmx_slot *s = &q->slots[u->id];
	u32 gap = 0;
	int ret, err;

	spin_lock_irq(queue_lock(q));
	ret = answer_accept(q, u, &gap);
	spin_unlock_irq(queue_lock(q));
	if (ret <= 0)
		return ret;
	err = record_copy(q, s, rx, u, gap);
	spin_lock_irq(queue_lock(q));
	if (err)
		hmx_queue_break(q, "a chain that changed under way");
	else
		record_end(q, s, u);
	spin_unlock_irq(queue_lock(q));
	return ret;
}

/* 0, or -EPROTO. What was not read of the message is skipped. */
static int record_apply(struct hmx_queue *q, struct hmx_rx *rx, const struct used *u)
{
	u32 end = rx->off + u->chunk_len;
	int ret;

	if (u->id >= q->size)
		return -EPROTO;
	if (q->patience == HMX_PATIENCE_SHORT)
		ret = record_receive_locked(q, rx, u);
	else
		ret = record_receive(q, rx, u);
	rx->off = end;
	return min(ret, 0);
}

int hmx_queue_receive(struct hmx_queue *q, struct hmx_rx *rx)
{
	struct vhx_used_record wire;
	struct used u;
	int ret;

	while (rx->off < rx->len) {
		if (rx->len - rx->off < sizeof(wire))
			return -EPROTO;
		hmx_rx_read(rx, &wire, sizeof(wire));
		ret = used_decode(&wire, rx->len - rx->off, &u) ?: record_apply(q, rx, &u);
		if (ret)
			return ret;
		/* Padding may be missing at the end. */
		rx->off = ALIGN(rx->off, VHX_RECORD_ALIGN);
	}
	return 0;
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
	timer_setup(&q->hurry, queue_hurry_over, 0);
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
	hmx_timer_delete_sync(&q->hurry);
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
	spin_lock_irq(queue_lock(q));
	list_del_init(&q->starved);
	spin_unlock_irq(queue_lock(q));
	vring_del_virtqueue(q->vq);
	queue_unalloc(q);
}

void hmx_queue_opened(struct hmx_queue *q)
{
	cursor_reset(q);
}

void hmx_queue_rewind(struct hmx_queue *q)
{
	u16 i;

	spin_lock_irq(queue_lock(q));
	q->size = min_t(u16, virtqueue_get_vring_size(q->vq), q->max_size);
	INIT_LIST_HEAD(&q->order);
	INIT_LIST_HEAD(&q->group);
	for (i = 0; i < q->max_size; i++) {
		q->slots[i] = (struct hmx_slot){ 0 };
		INIT_LIST_HEAD(&q->slots[i].node);
		INIT_LIST_HEAD(&q->slots[i].group);
	}
	list_del_init(&q->starved);
	cursor_reset(q);
	q->window_used = 0;
	q->last_avail = 0;
	q->used_idx = 0;
	q->used_told = 0;
	q->flush_due = false;
	hmx_early_rewind(q);
	q->broken = false;
	q->broken_told = false;
	spin_unlock_irq(queue_lock(q));
}
