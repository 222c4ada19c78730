// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * What a channel sends: messages that credit covers (docs/wire.md, section 5), control messages
 * that wait for room, and the open data message. Sending happens wherever somebody has something to
 * send, always under the lock; nothing here sleeps or takes another one.
 *
 * Order on the wire: HELLO before all else; control and data in the order of the calls. A control
 * message that finds no room waits, and all later ones behind it; data may overtake it.
 *
 * The open data message exists within one holding of the lock. Its segments are either in `head`,
 * private memory of the channel, or in place; the provider copies both once, at the commit.
 *
 * A hostile backend can keep its credit to itself, and starves. What waits for room is bounded.
 */
#include <linux/minmax.h>
#include <linux/slab.h>

#include "virtio_hmx.h"

/* docs/wire.md, section 12, VHX_LINK_PENDING_MAX */
#define PENDING_MAX 128u
/*
 * While something is outstanding time-outs are looked for this often: the least of them is 5 s, so
 * that none is late by more than a fifth.
 */
#define TICK_MS 1000u

/* docs/wire.md, section 5: of the reserve, what control leaves to CREDIT: eight bare ones. */
#define CREDIT_BARE_RESERVE 256u
/* The same: who has consumed one part in so many without telling owes a bare CREDIT. */
#define CREDIT_OWED_SHARE 4u

/*
 * Up to here a piece is copied into the message's head, above it is sent from where it lies.
 * Measured from 0 to 1 MiB (docs/performance.md, "What a request in one message saves"), the limit
 * changes no count of messages, only what is copied: 256 bytes keep the head of a request, 16 bytes
 * of a disk's, in one segment with its record, and no sector, 512, is copied twice.
 */
#define TX_INLINE_MAX 256u
/* Segments that each message keeps for what follows a piece: its padding, with the next records. */
#define TX_SEGS_KEPT 2u

/* Something is outstanding from now on. */
void hmx_tick_arm(struct hmx_channel *ch)
{
	queue_delayed_work(ch->wq, &ch->tick, msecs_to_jiffies(TICK_MS));
}

/* Credit: docs/wire.md, section 5 */

static u32 credit_free(const struct hmx_credit *c, u32 reserve)
{
	u32 in_flight = c->sent - c->acked;

	if (c->tx_ring < reserve || in_flight >= c->tx_ring - reserve)
		return 0;
	return c->tx_ring - reserve - in_flight;
}

/* The largest message whose footprint fits @space. */
static u32 message_within(u32 space)
{
	return space < 2 * HMX_SLOT ? 0 : ALIGN_DOWN(space, HMX_SLOT) - HMX_SLOT;
}

/*
 * The largest that can go sooner or later, also while the peer keeps to itself what it has
 * consumed.
 */
u32 hmx_credit_message_max(u32 tx_ring)
{
	return message_within(tx_ring - tx_ring / CREDIT_OWED_SHARE - VHX_CREDIT_RESERVE);
}

int hmx_credit_acked(struct hmx_credit *c, u32 ack)
{
	if (ack - c->acked > c->sent - c->acked)
		return -EPROTO;
	c->acked = ack;
	return 0;
}

static bool credit_owed(const struct hmx_credit *c)
{
	return c->consumed - c->told >= c->rx_ring / CREDIT_OWED_SHARE;
}

/* Sending */

static int message_send(struct hmx_channel *ch, u32 type, const struct kvec *segs, unsigned int nr,
			u32 len)
{
	int ret = ch->port->ops->send(ch->port, type, segs, nr, len);

	if (ret && ret != -EAGAIN)
		hmx_channel_fail(ch, ret);
	return ret;
}

/*
 * A message that counts: credit said that there is room, so a ring that is full breaks the rules.
 */
static int counted_send(struct hmx_channel *ch, u32 type, const struct kvec *segs, unsigned int nr,
			u32 len)
{
	int ret = message_send(ch, type, segs, nr, len);

	if (ret) {
		hmx_channel_fail(ch, -EPROTO);
		return ret;
	}
	ch->credit.told = ch->credit.consumed;
	ch->credit.sent += hmx_footprint(len);
	return 0;
}

static void header_fill(const struct hmx_channel *ch, struct vhx_msg_header *h)
{
	h->src_inc = cpu_to_le32(ch->inc);
	h->dst_inc = cpu_to_le32(ch->peer_inc);
	h->ack = cpu_to_le32(ch->credit.consumed);
	h->reserved = 0;
}

void hmx_hello_send(struct hmx_channel *ch)
{
	struct vhx_hello hello = {
		.header = { .src_inc = cpu_to_le32(ch->inc), .dst_inc = cpu_to_le32(ch->peer_inc) },
		.magic = cpu_to_le32(VHX_WIRE_MAGIC),
		.version_min = cpu_to_le16(VHX_WIRE_VERSION),
		.version_max = cpu_to_le16(VHX_WIRE_VERSION),
		.ring_len = cpu_to_le32(ch->credit.rx_ring),
		.max_message = cpu_to_le32(ch->rx_max_message),
	};
	struct kvec seg = { &hello, sizeof(hello) };

	if (ch->error || !ch->hello_due)
		return;
	if (!message_send(ch, VHX_MSG_HELLO, &seg, 1, sizeof(hello)))
		ch->hello_due = false;
}

void hmx_credit_send(struct hmx_channel *ch)
{
	struct vhx_msg_header h;
	struct kvec seg = { &h, sizeof(h) };

	if (!hmx_channel_usable(ch) || !credit_owed(&ch->credit) ||
	    message_within(credit_free(&ch->credit, 0)) < sizeof(h))
		return;
	header_fill(ch, &h);
	if (!counted_send(ch, VHX_MSG_CREDIT, &seg, 1, sizeof(h)))
		ch->stats.credits_sent++;
}

/* Control */

struct pending_control {
	struct list_head node;
	struct hmx_control c;
};

void *hmx_control_begin(struct hmx_control *c, bool bus, u8 msg_id, u16 dev_num, u16 payload_len)
{
	memset(c, 0, sizeof(*c));
	c->bus = bus;
	c->msg_id = msg_id;
	c->dev_num = dev_num;
	c->payload_len = payload_len;
	return c->payload;
}

static int control_send(struct hmx_channel *ch, const struct hmx_control *c)
{
	struct {
		struct vhx_msg_header h;
		struct virtio_msg_header m;
	} head;
	struct kvec segs[2] = {
		{ &head, sizeof(head) },
		{ (void *)c->payload, c->payload_len },
	};
	u32 len = sizeof(head) + c->payload_len;

	if (message_within(credit_free(&ch->credit, CREDIT_BARE_RESERVE)) < len)
		return -EAGAIN;
	header_fill(ch, &head.h);
	head.m = (struct virtio_msg_header){
		.type = (c->bus ? VIRTIO_MSG_TYPE_BUS : 0) |
			(c->response ? VIRTIO_MSG_TYPE_RESPONSE : 0),
		.msg_id = c->msg_id,
		.dev_num = cpu_to_le16(c->dev_num),
		.token = cpu_to_le16(c->token),
		.msg_size = cpu_to_le16(sizeof(head.m) + c->payload_len),
	};
	return counted_send(ch, VHX_MSG_CONTROL, segs, c->payload_len ? 2 : 1, len);
}

static void pending_add(struct hmx_channel *ch, const struct hmx_control *c)
{
	struct pending_control *p;

	if (ch->pending_cnt == PENDING_MAX) {
		hmx_channel_fail(ch, -ENOBUFS);
		return;
	}
	/* Without a line in the log: it could come back here. */
	p = kmalloc(sizeof(*p), GFP_ATOMIC | __GFP_NOWARN);
	if (!p) {
		hmx_channel_fail(ch, -ENOMEM);
		return;
	}
	p->c = *c;
	list_add_tail(&p->node, &ch->pending);
	ch->pending_cnt++;
}

static void pending_drop(struct hmx_channel *ch, struct pending_control *p)
{
	list_del(&p->node);
	kfree(p);
	ch->pending_cnt--;
}

void hmx_pending_send(struct hmx_channel *ch)
{
	struct pending_control *p, *next;

	list_for_each_entry_safe(p, next, &ch->pending, node) {
		if (!hmx_channel_usable(ch) || control_send(ch, &p->c))
			return;
		pending_drop(ch, p);
	}
}

void hmx_pending_clear(struct hmx_channel *ch)
{
	struct pending_control *p, *next;

	list_for_each_entry_safe(p, next, &ch->pending, node) pending_drop(ch, p);
}

void hmx_channel_control(struct hmx_channel *ch, const struct hmx_control *c)
{
	if (ch->state != HMX_UP || ch->error)
		return;
	if (!c->response)
		hmx_tick_arm(ch);
	if (ch->pending_cnt || ch->hello_due || control_send(ch, c) == -EAGAIN)
		pending_add(ch, c);
}

/* The open data message */

static void *tx_copy(struct hmx_tx *tx, const void *src, u32 len)
{
	void *dst = tx->head + tx->head_len;
	struct kvec *last = tx->nr ? &tx->segs[tx->nr - 1] : NULL;

	if (src)
		memcpy(dst, src, len);
	else
		memset(dst, 0, len);
	if (last && (u8 *)last->iov_base + last->iov_len == dst)
		last->iov_len += len;
	else
		tx->segs[tx->nr++] = (struct kvec){ dst, len };
	tx->head_len += len;
	tx->len += len;
	return dst;
}

/* For its turn: who was refused first goes first, also if others need less room. */
static int tx_refuse(struct hmx_channel *ch, struct hmx_queue *q)
{
	ch->refused = true;
	if (list_empty(&q->starved)) {
		list_add_tail(&q->starved, &ch->starved);
		q->stats.starved++;
	}
	return -EAGAIN;
}

static bool tx_turn(const struct hmx_channel *ch, const struct hmx_queue *q)
{
	return list_empty(&ch->starved) || ch->starved.next == &q->starved;
}

int hmx_tx_begin(struct hmx_channel *ch, u32 type, const struct hmx_key *key, u32 need,
		 struct hmx_queue *q)
{
	struct hmx_tx *tx = &ch->tx;
	struct vhx_queue_header qh = {
		.dev = cpu_to_le16(key->dev),
		.vq = cpu_to_le16(key->vq),
		.epoch = cpu_to_le32(key->epoch),
	};
	u32 cap;

	lockdep_assert_held(&ch->port->lock);
	if (tx->open)
		hmx_tx_commit(tx);
	/* Not starved: all queues are pumped when the channel is usable again. */
	if (!hmx_channel_usable(ch))
		return -EAGAIN;
	cap = min3(message_within(credit_free(&ch->credit, VHX_CREDIT_RESERVE)), ch->max_message,
		   tx->head_cap);
	if (!tx_turn(ch, q) || cap < VHX_DATA_HEADER_LEN || cap - VHX_DATA_HEADER_LEN < need)
		return tx_refuse(ch, q);
	list_del_init(&q->starved);
	tx->open = true;
	tx->type = type;
	tx->cap = cap;
	tx->len = 0;
	tx->head_len = 0;
	tx->nr = 0;
	tx_copy(tx, NULL, sizeof(struct vhx_msg_header));
	tx_copy(tx, &qh, sizeof(qh));
	return 0;
}

u32 hmx_tx_chunk_room(const struct hmx_tx *tx)
{
	u32 left = tx->cap - tx->len;

	if (!tx->open || left < sizeof(struct vhx_avail_record))
		return 0;
	return ALIGN_DOWN(left - (u32)sizeof(struct vhx_avail_record), VHX_RECORD_ALIGN);
}

void *hmx_tx_put(struct hmx_tx *tx, const void *src, u32 len)
{
	return tx_copy(tx, src, len);
}

u32 hmx_tx_ref(struct hmx_tx *tx, const void *src, u32 len)
{
	len = min(len, tx->cap - tx->len);
	if (!len)
		return 0;
	if (len <= TX_INLINE_MAX || tx->nr + TX_SEGS_KEPT >= tx->max_segs) {
		tx_copy(tx, src, len);
		return len;
	}
	tx->segs[tx->nr++] = (struct kvec){ (void *)src, len };
	tx->len += len;
	return len;
}

void hmx_tx_pad(struct hmx_tx *tx)
{
	u32 pad = min(ALIGN(tx->len, VHX_RECORD_ALIGN), tx->cap) - tx->len;

	if (pad)
		tx_copy(tx, NULL, pad);
}

void hmx_tx_commit(struct hmx_tx *tx)
{
	struct hmx_channel *ch = tx->ch;

	if (!tx->open)
		return;
	tx->open = false;
	if (tx->len == VHX_DATA_HEADER_LEN || ch->error)
		return;
	header_fill(ch, (struct vhx_msg_header *)tx->head);
	if (counted_send(ch, tx->type, tx->segs, tx->nr, tx->len))
		return;
	ch->stats.data_sent++;
	if (!ch->port->ops->native_liveness)
		hmx_tick_arm(ch);
}
