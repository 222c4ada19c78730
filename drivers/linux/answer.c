// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * USED to chains (docs/wire.md, section 9). All of it is the channel's work.
 *
 * A record is copied once and judged in two steps: by itself, and, under the lock, against the slot
 * that it answers. Then its bytes go from the message into the posted buffers, without the lock: a
 * slot in flight that was sent whole stays so until the work ends it, and a reset waits for the
 * work (hmx_channel_sync()). Last, under the lock again, a completion takes the slot out of flight
 * and puts the chain into the used ring; hmx_queue_flush() shows it.
 *
 * A hostile backend chooses bytes and order, and that is all: places follow from the chain, lengths
 * from what came. Drivers that look at a status only get an error where bytes are missing; those
 * that look at neither length nor status find zeroes.
 */
#include <linux/nospec.h>

#include "queue.h"

/* @left: bytes of the message behind the record. What can be judged without the slot. */
static int used_decode(const struct vhx_used_record *wire, u32 left, struct hmx_used *u)
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
static int slot_answer(struct hmx_slot *s, const struct hmx_used *u, u32 *gap)
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
static int answer_accept(struct hmx_queue *q, const struct hmx_used *u, u32 *gap)
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

/* The first bytes of an answer, as the driver sees them: how many there are. */
static u32 answer_look(struct hmx_queue *q, const struct hmx_slot *s, u8 look[HMX_TYPE_PEEK])
{
	struct hmx_position p = hmx_chain_start(q, hmx_slot_id(q, s));
	struct hmx_segment seg;
	u32 len = 0, skip = 0;

	while (len < min_t(u32, s->in_prefix, HMX_TYPE_PEEK) &&
	       hmx_chain_in(q, &p, &skip, &seg) > 0) {
		u32 n = min_t(u32, seg.len, HMX_TYPE_PEEK - len);

		memcpy(look + len, seg.addr, n);
		hmx_chain_advance(&p, &seg, n);
		len += n;
	}
	return min(len, s->in_prefix);
}

static void answer_judge(struct hmx_queue *q, struct hmx_slot *s)
{
	const struct hmx_type *type = q->dev->type;

	if (type->flushed && s->kind == HMX_KIND_FLUSH_PART) {
		u8 first[HMX_TYPE_PEEK];

		s->status = type->flushed(first, answer_look(q, s, first)) ? type->status_ok :
									     type->status_error;
	}
	if (type->fill)
		in_fill(q, s, s->in_len - s->in_next);
	if (answer_sound(type, s))
		return;
	s->status = type->status_error;
	hmx_ending_make(q, hmx_slot_id(q, s));
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
	if (s->kind != HMX_KIND_FLUSH && s->kind != HMX_KIND_FLUSH_PART)
		return;
	if (s->status != dev->type->status_ok)
		dev->flush_failed = true;
	else if (s->kind == HMX_KIND_FLUSH)
		dev->writes_flushed = max(dev->writes_flushed, s->flush_mark);
}

/* They may say how long the driver will wait for another queue. */
static void answer_listen(struct hmx_queue *q, const struct hmx_slot *s)
{
	u8 look[HMX_TYPE_PEEK];
	int told;

	if (!q->dev->type->told)
		return;
	told = hmx_type_told(q->dev->type, q->dev->features, q->index, look,
			     answer_look(q, s, look));
	if (told >= 0)
		hmx_device_hurry(q->dev, told);
}

/* Without the lock, or of a queue that keeps it: the bytes of an accepted record. */
static int record_copy(struct hmx_queue *q, struct hmx_slot *s, struct hmx_rx *rx,
		       const struct hmx_used *u, u32 gap)
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
	hmx_slot_end(q, s);
	/* Its chain went back when it was taken. */
	if (s->early)
		return;
	durability_note(q, s);
	hmx_commands_note(q, s);
	answer_listen(q, s);
	hmx_used_put(q, hmx_slot_id(q, s), s->used_len);
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
static void record_end(struct hmx_queue *q, struct hmx_slot *s, const struct hmx_used *u)
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
static int record_receive_locked(struct hmx_queue *q, struct hmx_rx *rx, const struct hmx_used *u)
{
	struct hmx_slot *s = &q->slots[u->id];
	u32 gap = 0;
	int ret;

	spin_lock_irq(hmx_queue_lock(q));
	if (hmx_commands_await(q))
		ret = hmx_commands_answer(q, rx, u);
	else
		ret = answer_accept(q, u, &gap);
	if (ret > 0 && record_copy(q, s, rx, u, gap))
		hmx_queue_break(q, "a chain that is bad, or changed under way");
	else if (ret > 0)
		record_end(q, s, u);
	spin_unlock_irq(hmx_queue_lock(q));
	return ret;
}

static int record_receive(struct hmx_queue *q, struct hmx_rx *rx, const struct hmx_used *u)
{
	struct hmx_slot *s = &q->slots[u->id];
	u32 gap = 0;
	int ret, err;

	spin_lock_irq(hmx_queue_lock(q));
	ret = answer_accept(q, u, &gap);
	spin_unlock_irq(hmx_queue_lock(q));
	if (ret <= 0)
		return ret;
	err = record_copy(q, s, rx, u, gap);
	spin_lock_irq(hmx_queue_lock(q));
	if (err)
		hmx_queue_break(q, "a chain that is bad, or changed under way");
	else
		record_end(q, s, u);
	spin_unlock_irq(hmx_queue_lock(q));
	return ret;
}

/* 0, or -EPROTO. What was not read of the message is skipped. */
static int record_apply(struct hmx_queue *q, struct hmx_rx *rx, struct hmx_used *u)
{
	u32 end = rx->off + u->chunk_len;
	int ret;

	if (u->id >= q->size)
		return -EPROTO;
	/* A CPU that runs ahead of this check stays within the slots, too. */
	u->id = array_index_nospec(u->id, q->size);
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
	struct hmx_used u;
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
