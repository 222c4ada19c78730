// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Output of drivers that spin for its used entry with interrupts off, as virtio_console does for
 * hvc (type.c knows who). The channel's work may never run meanwhile. So the bytes of a chain are
 * copied when the driver notifies, and the chain is given back before the notify returns; requests
 * are made of the copies.
 *
 * Objects. Such a queue owns a ring of bytes. A request is a run of them, in a slot that stands for
 * no chain: its number is any that is not in flight. Of a stream, chains are added to the youngest
 * request while nothing of it was sent, since they tend to have 16 bytes; messages keep their
 * bounds. Requests are freed in their order: what an answered one had is free when the ones before
 * it are.
 *
 *   chain --hmx_early_take()--> bytes in the ring, chain given back
 *     request: FREE -> growing --first record--> begun -> sent whole --COMPLETE--> FREE
 *                         ^------interrupted--------'  (what was begun is lost)
 *
 * What finds no room is dropped and counted. To wait for room would stop the CPU for as long as the
 * backend likes. So without a backend the first EARLY_SIZE bytes are kept, and reach the next one.
 *
 * Everything here is under the lock, in any context: no allocation, and no line in the log, which
 * could come back here.
 *
 * A hostile backend can keep requests for itself: then output is dropped.
 */
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "queue.h"

/*
 * A power of two. What is kept of a console that nobody takes from: a screen of the kernel's last
 * words, and what one notify may copy.
 */
#define EARLY_SIZE SZ_32K
/*
 * A request of a stream, at most: what came while one was under way goes in few messages, and what
 * dies with a backend that was sent one is little.
 */
#define EARLY_REQUEST_MAX 2048u

struct hmx_early {
	u32 head, tail; /* free-running: next byte, oldest byte in use */
	u16 rover; /* where to look for a free slot */
	u8 bytes[EARLY_SIZE];
};

int hmx_early_init(struct hmx_queue *q)
{
	q->impatient = q->patience == HMX_PATIENCE_NONE || q->patience == HMX_PATIENCE_NONE_STREAM;
	if (!q->impatient && q->patience != HMX_PATIENCE_TOLD)
		return 0;
	q->early = kvzalloc(sizeof(*q->early), GFP_KERNEL);
	return q->early ? 0 : -ENOMEM;
}

void hmx_early_fini(struct hmx_queue *q)
{
	kvfree(q->early);
	q->early = NULL;
}

void hmx_early_rewind(struct hmx_queue *q)
{
	if (!q->early)
		return;
	q->early->head = 0;
	q->early->tail = 0;
}

void hmx_early_trim(struct hmx_queue *q)
{
	struct hmx_slot *s;

	q->early->tail = q->early->head;
	list_for_each_entry(s, &q->order, node) {
		if (!s->early)
			continue;
		q->early->tail = s->early_at;
		break;
	}
}

/* A run at the end of the ring's memory goes on at its beginning. */
static u32 early_straight(u32 at, u32 len)
{
	return min(len, EARLY_SIZE - at % EARLY_SIZE);
}

static u32 early_room(const struct hmx_early *e)
{
	return EARLY_SIZE - (e->head - e->tail);
}

static void early_put(struct hmx_early *e, const u8 *src, u32 len)
{
	u32 n = early_straight(e->head, len);

	memcpy(e->bytes + e->head % EARLY_SIZE, src, n);
	memcpy(e->bytes, src + n, len - n);
	e->head += len;
}

static struct hmx_slot *early_begin(struct hmx_queue *q)
{
	const struct hmx_chain none = { 0 };
	struct hmx_early *e = q->early;
	struct hmx_slot *s;
	u16 i;

	for (i = 0; i < q->size && !hmx_slot_free(&q->slots[e->rover % q->size]); i++)
		e->rover++;
	if (i == q->size)
		return NULL;
	s = hmx_slot_begin(q, e->rover++ % q->size, &none);
	s->early = true;
	s->early_at = e->head;
	if (!q->cursor)
		hmx_cursor_set(q, s);
	return s;
}

/* One that takes more bytes of a stream: nothing of it was sent, nor is its window counted. */
static struct hmx_slot *early_grow(struct hmx_queue *q)
{
	struct hmx_slot *s;

	if (list_empty(&q->order))
		return early_begin(q);
	s = list_last_entry(&q->order, struct hmx_slot, node);
	if (s->early && !s->begun && !s->window && s->out_len < EARLY_REQUEST_MAX)
		return s;
	return early_begin(q);
}

/* Takes up to @len bytes; returns how many. */
static u32 stream_put(struct hmx_queue *q, const u8 *src, u32 len)
{
	struct hmx_slot *s;
	u32 n, done = 0;

	while (done < len && early_room(q->early)) {
		s = early_grow(q);
		if (!s)
			break;
		n = min3(len - done, EARLY_REQUEST_MAX - s->out_len, early_room(q->early));
		early_put(q->early, src + done, n);
		s->out_len += n;
		done += n;
	}
	return done;
}

/* 0, or -EINVAL: the chain has a bad address. */
static int stream_copy(struct hmx_queue *q, u16 head)
{
	struct hmx_position p = hmx_chain_start(q, head);
	struct hmx_segment seg;
	int ret;

	while ((ret = hmx_chain_look(q, &p, &seg)) > 0 && !seg.write) {
		q->stats.dropped += seg.len - stream_put(q, seg.addr, seg.len);
		hmx_chain_advance(&p, &seg, seg.len);
	}
	return min(ret, 0);
}

/* All of it, or nothing. Returns as stream_copy(). */
static int message_copy(struct hmx_queue *q, u16 head, const struct hmx_chain *c)
{
	struct hmx_position p = hmx_chain_start(q, head);
	struct hmx_segment seg;
	struct hmx_slot *s;
	int ret;

	s = c->out_len && c->out_len <= early_room(q->early) ? early_begin(q) : NULL;
	if (!s) {
		q->stats.dropped += c->out_len;
		return 0;
	}
	while ((ret = hmx_chain_look(q, &p, &seg)) > 0 && !seg.write) {
		early_put(q->early, seg.addr, seg.len);
		s->out_len += seg.len;
		hmx_chain_advance(&p, &seg, seg.len);
	}
	return min(ret, 0);
}

static int early_take_one(struct hmx_queue *q)
{
	struct hmx_chain c;
	u16 head;
	int ret = hmx_queue_head(q, &head);

	if (ret <= 0)
		return ret;
	if (hmx_chain_measure(q, head, &c))
		return hmx_queue_break(q, "a bad chain of descriptors");
	q->last_avail++;
	q->stats.chains++;
	q->stats.bytes_out += c.out_len;
	if (q->patience == HMX_PATIENCE_NONE)
		ret = message_copy(q, head, &c);
	else
		ret = stream_copy(q, head);
	if (ret)
		return hmx_queue_break(q, "a bad chain of descriptors");
	hmx_used_put(q, head, 0);
	return 1;
}

void hmx_early_take(struct hmx_queue *q)
{
	do {
		while (early_take_one(q) > 0)
			;
	} while (!q->broken && hmx_queue_arm(q));
}

u32 hmx_early_append(struct hmx_queue *q, const struct hmx_slot *s, u32 len)
{
	struct hmx_tx *tx = &q->dev->ch->tx;
	u32 done = 0;

	while (done < len) {
		u32 at = s->early_at + s->sent + done;
		u32 n = early_straight(at, len - done);
		u32 taken = hmx_tx_ref(tx, q->early->bytes + at % EARLY_SIZE, n);

		done += taken;
		if (taken < n)
			break;
	}
	return done;
}
