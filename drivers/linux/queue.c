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
 *                            ^---------hmx_queue_interrupted()----------'
 *
 * `cursor` separates the order into what was sent whole and the rest; NULL: all was. Where credit,
 * the window or the budget ends, the cursor stays, and the next pump goes on there. After a
 * backend's death all is unsent: the cursor goes back to the oldest. So replay is not a mode, only
 * a cursor that has gone back; chains are still in the ring, where they are walked afresh.
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

#include "compat.h"
#include "virtio_hmx.h"

/*
 * Longest indirect table. A driver may not make it longer than the ring, but Linux' drivers go by
 * the device's seg_max instead.
 */
#define INDIRECT_MAX 1024u

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

/* The ring of a device with VERSION_1, which we insist on, is little-endian. */

static u16 ring16(__virtio16 v)
{
	return __virtio16_to_cpu(true, v);
}

static u32 ring32(__virtio32 v)
{
	return __virtio32_to_cpu(true, v);
}

static u64 ring64(__virtio64 v)
{
	return __virtio64_to_cpu(true, v);
}

/* Under the lock. The device is told by the work: it takes locks of the driver's. */
static int queue_break(struct hmx_queue *q, const char *what)
{
	if (!q->broken)
		dev_err(&q->dev->vdev.dev, "queue %u: %s\n", q->index, what);
	q->broken = true;
	return -EINVAL;
}

/* Chains */

/* What is left of one descriptor. */
struct segment {
	u8 *addr;
	u32 len;
	bool write;
	bool more; /* another descriptor follows it */
	u16 next;
};

static struct hmx_position chain_start(const struct hmx_queue *q, u16 head)
{
	return (struct hmx_position){
		.table = q->vring->desc,
		.len = q->vring->num,
		.left = q->vring->num,
		.at = head,
		.more = true,
	};
}

/* VirtIO 2.7.5.3: a table in place of the rest of the chain. Tables do not nest. */
static int table_enter(const struct hmx_queue *q, struct hmx_position *p)
{
	const struct vring_desc *d = &p->table[p->at];
	u32 len = ring32(d->len), cnt = len / sizeof(*d);
	const void *table;

	if (p->table != q->vring->desc || ring16(d->flags) & VRING_DESC_F_NEXT)
		return -EINVAL;
	if (!cnt || len % sizeof(*d) || cnt > max_t(u32, q->size, INDIRECT_MAX))
		return -EINVAL;
	table = hmx_map_addr(q->dev, ring64(d->addr), len);
	if (!table)
		return -EINVAL;
	*p = (struct hmx_position){ .table = table, .len = cnt, .left = cnt, .more = true };
	return 0;
}

/* 1: @seg is what is left of the descriptor at @p; 0: the chain has ended; -EINVAL: it is bad. */
static int position_look(const struct hmx_queue *q, struct hmx_position *p, struct segment *seg)
{
	const struct vring_desc *d;
	u16 flags;

	if (!p->more)
		return 0;
	if (p->at >= p->len || !p->left)
		return -EINVAL;
	if (ring16(p->table[p->at].flags) & VRING_DESC_F_INDIRECT && table_enter(q, p))
		return -EINVAL;
	d = &p->table[p->at];
	flags = ring16(d->flags);
	seg->len = ring32(d->len);
	if (flags & VRING_DESC_F_INDIRECT || p->off > seg->len)
		return -EINVAL;
	seg->addr = hmx_map_addr(q->dev, ring64(d->addr), seg->len);
	if (!seg->addr)
		return -EINVAL;
	seg->addr += p->off;
	seg->len -= p->off;
	seg->write = flags & VRING_DESC_F_WRITE;
	seg->more = flags & VRING_DESC_F_NEXT;
	seg->next = ring16(d->next);
	return 1;
}

/* @n bytes of @seg, which was looked at, are done. */
static void position_advance(struct hmx_position *p, const struct segment *seg, u32 n)
{
	p->off += n;
	if (n < seg->len)
		return;
	p->off = 0;
	p->left--;
	p->at = seg->next;
	p->more = seg->more;
}

struct chain {
	u32 out_len, in_len;
	u32 cost;
	u8 peek[HMX_TYPE_PEEK];
	u32 peek_len;
};

static int chain_add(struct chain *c, const struct segment *seg)
{
	u32 n;

	c->cost += HMX_DESC_COST;
	if (seg->write)
		return check_add_overflow(c->in_len, seg->len, &c->in_len) ? -EINVAL : 0;
	/* 2.7.4.2: what the device reads comes before what it writes. */
	if (c->in_len || check_add_overflow(c->out_len, seg->len, &c->out_len))
		return -EINVAL;
	n = min_t(u32, seg->len, sizeof(c->peek) - c->peek_len);
	memcpy(c->peek + c->peek_len, seg->addr, n);
	c->peek_len += n;
	return 0;
}

/* 0, or -EINVAL. Looks at every descriptor of the chain, and at each address. */
static int chain_measure(const struct hmx_queue *q, u16 head, struct chain *c)
{
	struct hmx_position p = chain_start(q, head);
	struct segment seg;
	int ret;

	*c = (struct chain){ 0 };
	while ((ret = position_look(q, &p, &seg)) > 0) {
		ret = chain_add(c, &seg);
		if (ret)
			break;
		position_advance(&p, &seg, seg.len);
	}
	return ret;
}

/*
 * The next writable bytes at @p, @skip further on. 1, 0 or -EINVAL as position_look(); @skip is
 * what could not be skipped yet.
 */
static int in_look(const struct hmx_queue *q, struct hmx_position *p, u32 *skip,
		   struct segment *seg)
{
	int ret;

	while ((ret = position_look(q, p, seg)) > 0) {
		if (seg->write && *skip < seg->len)
			break;
		if (seg->write)
			*skip -= seg->len;
		position_advance(p, seg, seg->len);
	}
	if (ret <= 0)
		return ret;
	position_advance(p, seg, *skip);
	seg->addr += *skip;
	seg->len -= *skip;
	*skip = 0;
	return 1;
}

/* Slots */

static u16 slot_id(const struct hmx_queue *q, const struct hmx_slot *s)
{
	return s - q->slots;
}

static bool slot_free(const struct hmx_slot *s)
{
	return list_empty(&s->node);
}

static void slot_begin(struct hmx_queue *q, u16 id, const struct chain *c)
{
	struct hmx_slot *s = &q->slots[id];

	s->out_len = c->out_len;
	s->in_len = c->in_len;
	s->sent = 0;
	s->window = 0;
	s->begun = false;
	s->deaths = 0;
	s->kind = q->dev->type->kind(c->peek, c->peek_len);
	s->in_next = 0;
	s->in_prefix = 0;
	s->in_pos = chain_start(q, id);
	s->status = q->dev->type->status_error;
	s->status_came = false;
	list_add_tail(&s->node, &q->order);
}

static void slot_window_give(struct hmx_queue *q, struct hmx_slot *s)
{
	q->window_used -= s->window;
	s->window = 0;
}

static void slot_end(struct hmx_queue *q, struct hmx_slot *s)
{
	slot_window_give(q, s);
	list_del_init(&s->node);
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
	s->in_pos = chain_start(q, slot_id(q, s));
	s->status = q->dev->type->status_error;
	s->status_came = false;
}

static void cursor_set(struct hmx_queue *q, struct hmx_slot *s)
{
	q->cursor = s;
	if (s)
		q->out_pos = chain_start(q, slot_id(q, s));
}

static void cursor_advance(struct hmx_queue *q)
{
	struct hmx_slot *s = q->cursor;

	cursor_set(q, list_is_last(&s->node, &q->order) ? NULL : list_next_entry(s, node));
}

static void cursor_reset(struct hmx_queue *q)
{
	q->window_wait = false;
	cursor_set(q, list_first_entry_or_null(&q->order, struct hmx_slot, node));
}

/* The ring: taking */

/*
 * Under the lock: puts the cursor on the next chain of the ring. 1; 0: there is none; -EINVAL: the
 * queue is broken. @cost: of looking at it.
 */
static int queue_take(struct hmx_queue *q, u32 *cost)
{
	const struct vring *r = q->vring;
	struct chain c;
	u16 head, n;

	/* Partner: virtio_ring's barrier between a chain and the index that announces it. */
	n = ring16(smp_load_acquire(&r->avail->idx)) - q->last_avail;
	if (!n)
		return 0;
	if (n > q->size)
		return queue_break(q, "more chains than the ring has room for");
	head = ring16(READ_ONCE(r->avail->ring[q->last_avail & (r->num - 1)]));
	if (head >= q->size || !slot_free(&q->slots[head]))
		return queue_break(q, "a chain that does not exist or is under way already");
	if (chain_measure(q, head, &c))
		return queue_break(q, "a bad chain of descriptors");
	slot_begin(q, head, &c);
	cursor_set(q, &q->slots[head]);
	q->last_avail++;
	q->stats.chains++;
	q->stats.bytes_out += c.out_len;
	*cost = c.cost;
	return 1;
}

static bool queue_event_idx(const struct hmx_queue *q)
{
	return virtio_has_feature(&q->dev->vdev, VIRTIO_RING_F_EVENT_IDX);
}

/*
 * All was taken: asks for the next notify. True: a chain has come meanwhile. Without EVENT_IDX the
 * driver notifies every time.
 */
static bool queue_arm(struct hmx_queue *q)
{
	const struct vring *r = q->vring;

	if (!queue_event_idx(q))
		return false;
	WRITE_ONCE(vring_avail_event(r), __cpu_to_virtio16(true, q->last_avail));
	/* Partner: virtio_ring's full barrier between its avail index and its look at our event. */
	smp_mb();
	return ring16(READ_ONCE(r->avail->idx)) != q->last_avail;
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
	u32 units = len <= l->head_len ? 0 : DIV_ROUND_UP_ULL((u64)len - l->head_len,
							       VHX_WINDOW_UNIT);

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
static u32 chunk_append(struct hmx_queue *q, u32 len, u32 *cost)
{
	struct hmx_tx *tx = &q->dev->ch->tx;
	struct segment seg;
	u32 done = 0, copied = tx->head_len;

	while (done < len) {
		u32 n, taken;

		if (position_look(q, &q->out_pos, &seg) <= 0 || seg.write) {
			queue_break(q, "a chain that changed under way");
			break;
		}
		n = min(seg.len, len - done);
		taken = hmx_tx_ref(tx, seg.addr, n);
		position_advance(&q->out_pos, &seg, taken);
		done += taken;
		*cost += HMX_DESC_COST;
		if (taken < n)
			break;
	}
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
	u32 done = chunk_append(q, len, cost);

	record->chunk_len = cpu_to_le32(done);
	hmx_tx_pad(tx);
	if (!s->begun)
		s->flush_mark = q->dev->writes_done;
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
	return q->live && !q->broken && !q->dev->failed &&
	       hmx_device_queue_live(q->dev, q->index);
}

/* True: there is more, but no budget for it. @first: what the first record may cost. */
static bool queue_send(struct hmx_queue *q, u32 budget, u32 first)
{
	while (!q->broken) {
		u32 cost = 0;
		int ret;

		if (!budget)
			return true;
		ret = q->cursor ? 1 : queue_take(q, &cost);
		if (ret < 0 || (!ret && !queue_arm(q)))
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

/*
 * The driver has made chains available. Any context: often under its own lock, with interrupts off.
 */
static bool queue_notify(struct virtqueue *vq)
{
	struct hmx_queue *q = vq->priv;
	unsigned long flags;
	bool work;

	spin_lock_irqsave(queue_lock(q), flags);
	q->stats.notifies++;
	work = queue_pump(q, HMX_NOTIFY_BYTES, 0);
	/* What has to be told to the driver, or ends with an error, is the work's. */
	work |= q->broken || q->dev->failed;
	spin_unlock_irqrestore(queue_lock(q), flags);
	if (work)
		hmx_channel_kick(q->dev->ch);
	return true;
}

/* Completion: the work, without the lock */

/* Invisible until the index moves: hmx_queue_flush(). */
static void used_put(struct hmx_queue *q, u16 id, u32 used_len)
{
	const struct vring *r = q->vring;
	vring_used_elem_t *e = &r->used->ring[q->used_idx & (r->num - 1)];

	e->id = __cpu_to_virtio32(true, id);
	e->len = __cpu_to_virtio32(true, used_len);
	q->used_idx++;
	q->stats.completed++;
}

/*
 * Writes the last in byte of a request that ends otherwise than its backend said, or without one.
 */
static void status_write(struct hmx_queue *q, struct hmx_slot *s, u8 status)
{
	struct hmx_position p = chain_start(q, slot_id(q, s));
	struct segment seg;
	u32 skip = s->in_len - 1;

	s->status = status;
	if (in_look(q, &p, &skip, &seg) > 0)
		*seg.addr = status;
}

/*
 * A request that no backend will answer: the type's table says how it ends. The slot is not in
 * flight any more.
 */
static void request_fail(struct hmx_queue *q, struct hmx_slot *s)
{
	const struct hmx_type *type = q->dev->type;

	if (type->has_status && s->in_len)
		status_write(q, s, type->status_error);
	q->stats.errors++;
	used_put(q, slot_id(q, s), 0);
}

static void requests_fail(struct hmx_queue *q, struct list_head *list)
{
	struct hmx_slot *s, *next;

	list_for_each_entry_safe(s, next, list, node) {
		list_del_init(&s->node);
		request_fail(q, s);
	}
}

/* No group will be ended by anybody: its half is shown. */
static void queue_fail_flight(struct hmx_queue *q)
{
	LIST_HEAD(list);
	struct hmx_slot *s;

	spin_lock_irq(queue_lock(q));
	list_for_each_entry(s, &q->order, node)
		slot_window_give(q, s);
	list_splice_init(&q->order, &list);
	cursor_reset(q);
	spin_unlock_irq(queue_lock(q));
	requests_fail(q, &list);
	q->used_whole = q->used_idx;
}

static struct hmx_slot *queue_take_to_fail(struct hmx_queue *q)
{
	struct hmx_slot *s = NULL;
	u32 cost;

	spin_lock_irq(queue_lock(q));
	while (!s && !q->broken) {
		if (queue_take(q, &cost) > 0)
			s = q->cursor;
		else if (q->broken || !queue_arm(q))
			break;
	}
	if (s) {
		slot_end(q, s);
		cursor_set(q, NULL);
	}
	spin_unlock_irq(queue_lock(q));
	return s;
}

/*
 * The driver gets none of them back before the flush, so they are at most as many as the ring has
 * entries.
 */
static void queue_fail_ring(struct hmx_queue *q)
{
	struct hmx_slot *s;

	while ((s = queue_take_to_fail(q)))
		request_fail(q, s);
	q->used_whole = q->used_idx;
}

/* Moves the used index. True: the driver wants an interrupt. */
static bool used_publish(struct hmx_queue *q)
{
	const struct vring *r = q->vring;
	u16 old = q->used_told;

	if (q->used_whole == old)
		return false;
	q->used_told = q->used_whole;
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

static void queue_report(struct hmx_queue *q)
{
	if (!READ_ONCE(q->broken) || q->broken_told)
		return;
	q->broken_told = true;
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
	if (q->used_whole == q->used_told)
		return;
	if (used_publish(q))
		queue_interrupt(q);
	queue_window_pump(q);
}

void hmx_queue_fail_all(struct hmx_queue *q)
{
	if (!READ_ONCE(q->live))
		return;
	queue_fail_flight(q);
	queue_fail_ring(q);
	hmx_queue_flush(q);
}

/* What told the dead backend something and may not be asked again, or was asked too often. */
static bool slot_hopeless(const struct hmx_queue *q, const struct hmx_slot *s)
{
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

	list_for_each_entry_safe(s, next, &q->order, node) {
		bool begun = s->begun;

		slot_rewind(q, s, death && q->dev->type->replay);
		if (slot_hopeless(q, s))
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
	/* Nobody will end a group that is open. */
	q->used_whole = q->used_idx;
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
	if (slot_free(s) || !s->begun || s->sent < s->out_len)
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
 * Judges a record against its slot; the slot of an accepted completion is out of flight on return.
 * 1: @gap bytes of in lie between the last chunk and this one; 0: nobody waits for it any more;
 * -EPROTO.
 */
static int answer_accept(struct hmx_queue *q, const struct used *u, u32 *gap)
{
	struct hmx_slot *s = &q->slots[u->id];
	int ret = 0;

	spin_lock_irq(queue_lock(q));
	/* Of a queue that was closed, or a device given up, nobody waits for answers. */
	if (q->live && !q->broken && !q->dev->failed) {
		ret = slot_answer(s, u, gap) ?: 1;
		if (ret > 0 && u->flags & VHX_USED_COMPLETE)
			slot_end(q, s);
	}
	spin_unlock_irq(queue_lock(q));
	return ret;
}

static void queue_break_work(struct hmx_queue *q, const char *what)
{
	spin_lock_irq(queue_lock(q));
	queue_break(q, what);
	spin_unlock_irq(queue_lock(q));
}

/* Moves the record's chunk into the posted buffers, straight out of the message. */
static void chunk_receive(struct hmx_queue *q, struct hmx_slot *s, struct hmx_rx *rx, u32 gap,
			  u32 len)
{
	struct segment seg;

	while (len) {
		u32 n;

		if (in_look(q, &s->in_pos, &gap, &seg) <= 0) {
			queue_break_work(q, "a chain that changed under way");
			rx->off += len;
			return;
		}
		n = min(seg.len, len);
		hmx_rx_read(rx, seg.addr, n);
		position_advance(&s->in_pos, &seg, n);
		len -= n;
		/*
		 * The buffer is out of the peer's reach: what is looked at is what the driver will
		 * see.
		 */
		s->status = seg.addr[n - 1];
		q->stats.bytes_in += n;
	}
	s->status_came = s->in_next == s->in_len;
}

/*
 * Many drivers look at the status only. An answer without one, or one that says all is well over
 * bytes that never came, would hand them what was in their buffers before.
 */
static void answer_judge(struct hmx_queue *q, struct hmx_slot *s)
{
	const struct hmx_type *type = q->dev->type;

	if (!type->has_status || !s->in_len)
		return;
	if (s->status_came && (s->status != type->status_ok || s->in_prefix >= s->in_len - 1))
		return;
	status_write(q, s, type->status_error);
	q->stats.errors++;
}

static bool writes_are_volatile(struct hmx_device *dev)
{
	unsigned long flags;
	bool ret;

	if (!dev->type->write_back)
		return true;
	spin_lock_irqsave(&dev->config_lock, flags);
	ret = dev->type->write_back(dev->features, dev->config, dev->id.config_len);
	spin_unlock_irqrestore(&dev->config_lock, flags);
	return ret;
}

/* Keeps account of what is on stable storage. */
static void durability_note(struct hmx_queue *q, const struct hmx_slot *s)
{
	struct hmx_device *dev = q->dev;

	if (s->kind == HMX_KIND_PLAIN)
		return;
	spin_lock_irq(queue_lock(q));
	if (s->kind == HMX_KIND_WRITE) {
		dev->writes_done++;
		if (!writes_are_volatile(dev))
			dev->writes_flushed = dev->writes_done;
	} else if (s->status == dev->type->status_ok) {
		dev->writes_flushed = max(dev->writes_flushed, s->flush_mark);
	} else if (s->status_came) {
		dev->flush_failed = true;
	}
	spin_unlock_irq(queue_lock(q));
}

static int record_receive(struct hmx_queue *q, struct hmx_rx *rx, const struct used *u)
{
	struct hmx_slot *s;
	u32 gap = 0;
	int ret;

	if (u->id >= q->size)
		return -EPROTO;
	s = &q->slots[u->id];
	ret = answer_accept(q, u, &gap);
	if (ret <= 0) {
		rx->off += u->chunk_len;
		return ret;
	}
	if (u->chunk_len)
		chunk_receive(q, s, rx, gap, u->chunk_len);
	if (!(u->flags & VHX_USED_COMPLETE))
		return 0;
	answer_judge(q, s);
	durability_note(q, s);
	used_put(q, u->id, u->used_len);
	if (!(u->flags & VHX_USED_GROUP))
		q->used_whole = q->used_idx;
	return 0;
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
		ret = used_decode(&wire, rx->len - rx->off, &u) ?: record_receive(q, rx, &u);
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
	INIT_LIST_HEAD(&q->starved);
	return q;
}

static void queue_unalloc(struct hmx_queue *q)
{
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
	for (i = 0; i < q->max_size; i++) {
		q->slots[i] = (struct hmx_slot){ 0 };
		INIT_LIST_HEAD(&q->slots[i].node);
	}
	list_del_init(&q->starved);
	cursor_reset(q);
	q->window_used = 0;
	q->last_avail = 0;
	q->used_idx = 0;
	q->used_whole = 0;
	q->used_told = 0;
	q->broken = false;
	q->broken_told = false;
	spin_unlock_irq(queue_lock(q));
}
