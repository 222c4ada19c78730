// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Chains to AVAIL (docs/wire.md, section 8): what a queue sends, and how much of it at once. All of
 * it is under the lock, with interrupts off: in notify, or in the channel's work.
 *
 * The cursor's request goes out record by record, in the one data message that is open (send.c); a
 * record carries as much as message, provider and budget have room for. A request begins when the
 * backend's window has room for all of it. What ends a pump is the end of the ring, of credit, of
 * the window, or of the budget; the cursor stays, and whoever gives back what was missing pumps
 * again: the work for credit (channel.c: starved) and for budget, hmx_queue_flush() for the window.
 *
 * A request that is about other queues' (type.c: about_others) goes behind all that its driver made
 * available before it. When the cursor stands on one, each other queue that has something to send
 * has up to as many requests `ahead` of it as it has entries; it goes when so many were sent, or
 * all there were. Else the backend would say that a command is over which it only gets afterwards.
 * Who waits so is pumped again behind the others, in the work.
 *
 * A notify copies at most HMX_NOTIFY_BYTES, every descriptor counted as HMX_DESC_COST, but for the
 * last chain that it measures: some 30 us, less than many a driver's own lock.
 *
 * A hostile backend can keep credit and window to itself: then its queues stand still.
 */
#include <linux/sizes.h>

#include "queue.h"

/* Largest chunk: that of the largest message that any provider moves. */
#define CHUNK_MAX (SZ_256K + SZ_8K)

static void cursor_advance(struct hmx_queue *q)
{
	struct hmx_slot *s = q->cursor;

	hmx_cursor_set(q, list_is_last(&s->node, &q->order) ? NULL : list_next_entry(s, node));
	q->ahead -= !!q->ahead;
}

/* What requests that are about other queues have to let pass */

static bool queue_about_others(const struct hmx_queue *q)
{
	return q->index < q->dev->type->about_others;
}

/* One that the backend can still get something of. */
static struct hmx_queue *queue_beside(const struct hmx_queue *q, u16 index)
{
	struct hmx_queue *other = q->dev->queues[index];

	return other && other->live && !other->broken ? other : NULL;
}

static void ahead_count(struct hmx_queue *q)
{
	struct hmx_queue *other;
	u16 i;

	q->behind = true;
	for (i = q->dev->type->about_others; i < q->dev->id.num_queues; i++) {
		other = queue_beside(q, i);
		if (other)
			other->ahead = other->cursor || hmx_queue_waiting(other) ? other->size : 0;
	}
}

/* May the cursor's request go, as far as other queues are concerned? */
static bool others_passed(struct hmx_queue *q)
{
	struct hmx_queue *other;
	u16 i;

	if (!queue_about_others(q))
		return true;
	if (!q->behind)
		ahead_count(q);
	for (i = q->dev->type->about_others; i < q->dev->id.num_queues; i++) {
		other = queue_beside(q, i);
		if (other && other->ahead)
			return false;
	}
	return true;
}

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
			hmx_queue_break(q, "a chain that is bad, or changed under way");
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
		.id = cpu_to_le16(hmx_slot_id(q, s)),
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
	if (!s->begun && !others_passed(q))
		return -EAGAIN;
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

/* As hmx_queue_take(), for the cursor that there is as well. */
static int queue_next(struct hmx_queue *q, u32 *cost)
{
	if (q->impatient)
		hmx_early_take(q);
	if (q->cursor)
		return 1;
	return q->impatient ? 0 : hmx_queue_take(q, cost);
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
		if (ret <= 0)
			q->ahead = 0;
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

	if (!queue_sendable(q) || hmx_commands_pump(q))
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

/* Is there a request of this device that this queue may have let wait, or that waits itself? */
static bool device_behind(const struct hmx_device *dev)
{
	u16 i;

	for (i = 0; i < dev->type->about_others; i++) {
		if (dev->queues[i] && hmx_queue_behind(dev->queues[i]))
			return true;
	}
	return false;
}

bool hmx_queue_pump_notified(struct hmx_queue *q)
{
	bool more = queue_pump(q, HMX_NOTIFY_BYTES, 0);

	return more || device_behind(q->dev);
}
