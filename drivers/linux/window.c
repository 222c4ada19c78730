// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Two sections in one window: rings, lives, sleeping and waking, from the guest's side. The wire
 * is docs/wire.md, sections 13 and 14.
 *
 * Objects. The memory belongs to the provider that embeds struct hmx_window, and outlives the
 * lives in it. Each open() begins a *life* of our side with an incarnation of its own. We write
 * our section only, and keep private copies of all that we publish: nothing of ours is read back,
 * but for the incarnation of the life before ours, which must not come again.
 *
 *   status   joined
 *   -EAGAIN  no      opening: own state INIT, then READY once the peer was seen and answered
 *   0        yes     ready: the peer is READY too and answers us. Once in a life
 *   -EPIPE   yes     gone, but what the peer published before it left can still be read
 *   -EPIPE   no      gone, and the indices may be those of another life; or closed
 *   -EPROTO  no      gone: the peer broke a rule
 *
 * Locking. All under hmx_port.lock but read(), which looks at what its caller's own peek() and
 * consume() change; and hmx_window_event(), which reads @closed within an RCU read section:
 * close() sets it, waits for such sections, and so has no event under way when it returns.
 *
 * Ring. A message is a slot header and its bytes, rounded up to slots. Indices run freely. A slot
 * header never wraps, since indices are multiples of its size; bytes may, and are copied in two
 * parts then.
 *
 * Order, by word (publisher -> reader). The peer runs on another machine, so virt_*() throughout:
 *   tx_idx      release in tx_publish() -> acquire in the peer's copy of rx_refresh(): the
 *               message's bytes come with the index.
 *   rx_idx      release in rx_store() -> acquire in tx_refresh(): the reader's loads are over
 *               before the sender writes there again.
 *   data_word   stored before the full barrier of window_prepare_wait(), tx_idx loaded after it;
 *               the publisher stores tx_idx, has a full barrier, and loads the word. At least one
 *               of the two sees the other's store.
 *   space_word  the same with rx_idx: in window_prepare_wait(), and in tx_room(), because who
 *               sends need not be who sleeps.
 *   inc         stored before all other words of a new life. So whoever takes a word of the new
 *               life with acquire, and then inc, finds the new inc: a fresh tx_idx is believed
 *               only if the life is still the one that we joined.
 *
 * A hostile peer may write anything anywhere in the window at any time, also into our section.
 * Each word of its own is loaded once and checked: an index moves forward only, by whole slots,
 * within what the ring allows; a message lies within what was announced. It can end its own
 * channel, and make us raise its event once per send.
 */
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/string.h>

#include <asm/barrier.h>

#include "hmx_window.h"

#define LANE_MESSAGE_MAX ((256u << 10) + (4u << 10)) /* the wire's VHX_LANE_MESSAGE_MAX */
#define WINDOW_SEGS_MAX 1024u /* bounds the time with interrupts off */

/* The peer's words about its life, of one moment. */
struct life {
	bool steady; /* not in the middle of a change; else an event follows */
	u32 state, inc, peer_inc;
};

static struct hmx_window *to_window(struct hmx_port *port)
{
	return container_of(port, struct hmx_window, port);
}

/* The words of a section: each is loaded and stored once and whole. */

static u32 word_load(const vhx_le32 *word)
{
	return le32_to_cpu(READ_ONCE(*word));
}

static u32 word_load_acquire(const vhx_le32 *word)
{
	/* Partners: at each caller. */
	return le32_to_cpu(virt_load_acquire(word));
}

static void word_store(vhx_le32 *word, u32 val)
{
	WRITE_ONCE(*word, cpu_to_le32(val));
}

static void word_store_release(vhx_le32 *word, u32 val)
{
	/* Partners: at each caller. */
	virt_store_release(word, cpu_to_le32(val));
}

static void window_ring(struct hmx_window *w)
{
	if (w->lost)
		return;
	w->ops->ring(w);
	w->port.stats.wakes_sent += w->joined;
}

/* The first reason counts. Returns it. */
static int window_fail(struct hmx_window *w, int err)
{
	if (err == -EPROTO)
		WRITE_ONCE(w->joined, false);
	if (!w->status || w->status == -EAGAIN)
		w->status = err;
	return w->status;
}

/* Lives */

static u32 life_inc(u32 last)
{
	u32 inc;

	do {
		inc = get_random_u32();
	} while (!inc || inc == last);
	return inc;
}

/* The counters of struct hmx_window that belong to a life are its last members. */
static void life_begin(struct hmx_window *w)
{
	struct vhx_section_header *own = w->own;

	w->inc = life_inc(word_load(&own->inc));
	w->answered = 0;
	memset_startat(w, 0, tx_idx);

	word_store(&own->magic, VHX_SECTION_MAGIC);
	word_store(&own->version, VHX_SECTION_VERSION);
	word_store(&own->ring_len, w->ring_len);
	word_store(&own->state, VHX_WINDOW_GONE);
	/* Pairs, like those below, with the acquire loads of the peer. */
	virt_wmb();
	word_store(&own->inc, w->inc);
	/* As above. */
	virt_wmb();
	word_store(&own->peer_inc, 0);
	word_store(&own->tx_idx, 0);
	word_store(&own->rx_idx, 0);
	word_store(&own->data_word, 0);
	word_store(&own->space_word, 0);
	word_store_release(&own->state, VHX_WINDOW_INIT);
	w->status = -EAGAIN;
	w->begun = true;
	window_ring(w);
}

static struct life life_of_peer(const struct hmx_window *w)
{
	struct life life;

	/* Acquire, each: pairs with the order in which a life is begun and answered. */
	life.inc = word_load_acquire(&w->peer->inc);
	life.state = word_load_acquire(&w->peer->state);
	life.peer_inc = word_load_acquire(&w->peer->peer_inc);
	life.steady = word_load(&w->peer->inc) == life.inc;
	return life;
}

static void life_answer(struct hmx_window *w, u32 inc)
{
	w->answered = inc;
	word_store(&w->own->peer_inc, inc);
	/* Pairs with the acquire in the peer's copy of life_of_peer(). */
	word_store_release(&w->own->state, VHX_WINDOW_READY);
	window_ring(w);
}

static bool life_joins(const struct hmx_window *w, const struct life *peer)
{
	return peer->steady && peer->state == VHX_WINDOW_READY && peer->inc == w->answered &&
	       peer->peer_inc == w->inc;
}

static void window_join(struct hmx_window *w)
{
	WRITE_ONCE(w->joined, true);
	w->status = 0;
	w->port.tx_ring_len = w->ring_len - HMX_SLOT;
	w->port.rx_ring_len = w->ring_len - HMX_SLOT;
	/* Four of the largest fit at once, also with one slot free. */
	w->port.max_message = min(w->ring_len / 4 - 2 * HMX_SLOT, LANE_MESSAGE_MAX);
}

/* Opening: looks at the peer, answers it if it is new, joins it if it answers us. */
static void life_meet(struct hmx_window *w)
{
	struct life peer = life_of_peer(w);

	if (!peer.steady || !peer.inc)
		return;
	if (peer.state != VHX_WINDOW_INIT && peer.state != VHX_WINDOW_READY)
		return;
	if (peer.inc != w->answered)
		life_answer(w, peer.inc);
	if (life_joins(w, &peer))
		window_join(w);
}

/* 0, or why the port is gone: the life that we joined is over, if not worse. */
static int life_check(struct hmx_window *w)
{
	struct life peer = life_of_peer(w);

	if (likely(life_joins(w, &peer)))
		return w->status;
	if (!peer.steady || peer.inc != w->answered)
		WRITE_ONCE(w->joined, false);
	return window_fail(w, -EPIPE);
}

/* A word made no sense. That is a breach only if it is a word of the life that we joined. */
static int life_breach(struct hmx_window *w)
{
	life_check(w);
	return window_fail(w, -EPROTO);
}

/* Sleeping and waking */

/* Does the peer sleep on @word, unknown to us so far? */
static bool word_asks(u32 word, u32 *woken)
{
	if (!(word & 1) || word == *woken)
		return false;
	*woken = word;
	return true;
}

/* Odd, and not what it is now. */
static u32 word_next_odd(u32 word)
{
	return (word + 1) | 1;
}

static void set_data_word(struct hmx_window *w, u32 word)
{
	w->data_word = word;
	word_store(&w->own->data_word, word);
}

static void set_space_word(struct hmx_window *w, u32 word)
{
	w->space_word = word;
	word_store(&w->own->space_word, word);
}

/* No events for what will be seen without. */
static void window_awake(struct hmx_window *w)
{
	if (w->data_word & 1)
		set_data_word(w, w->data_word + 1);
	if (w->space_word & 1)
		set_space_word(w, w->space_word + 1);
}

static bool peer_wants_data(struct hmx_window *w)
{
	return word_asks(word_load(&w->peer->data_word), &w->data_woken);
}

static bool peer_wants_space(struct hmx_window *w)
{
	return word_asks(word_load(&w->peer->space_word), &w->space_woken);
}

/* Receiving, as far as sending needs it */

/* Stores rx_idx. If it has moved, a full barrier and a look at the space word are due. */
static bool rx_store(struct hmx_window *w)
{
	if (w->rx_published_idx == w->rx_idx)
		return false;
	w->rx_published_idx = w->rx_idx;
	/* Pairs with the acquire in the peer's copy of tx_refresh(). */
	word_store_release(&w->own->rx_idx, w->rx_idx);
	return true;
}

static void rx_publish(struct hmx_window *w)
{
	if (!rx_store(w))
		return;
	/* Pairs with the barrier between the peer's space word and its load of rx_idx. */
	virt_mb();
	if (peer_wants_space(w))
		window_ring(w);
}

/* Sending */

static u32 tx_free(const struct hmx_window *w)
{
	return w->ring_len - HMX_SLOT - (w->tx_idx - w->tx_done_idx);
}

/* Looks where the peer is in our ring. It may only have come closer to what we produced. */
static int tx_refresh(struct hmx_window *w)
{
	/* Pairs with the release in the peer's copy of rx_store(). */
	u32 idx = word_load_acquire(&w->peer->rx_idx);

	if (idx % HMX_SLOT || w->tx_idx - idx > w->tx_idx - w->tx_done_idx)
		return life_breach(w);
	w->tx_done_idx = idx;
	return 0;
}

/* Not enough room was seen: asks for an event, and looks again. */
static int tx_await_room(struct hmx_window *w, u32 need)
{
	int err;

	w->want = max(w->want, need);
	set_space_word(w, word_next_odd(w->space_word));
	/* Pairs with the barrier in the peer's copies of rx_publish() and tx_publish(). */
	virt_mb();
	err = tx_refresh(w);
	if (err)
		return err;
	return tx_free(w) < need ? -EAGAIN : 0;
}

/* 0: there is room; -EAGAIN: an event comes when there is; or the port is gone. */
static int tx_room(struct hmx_window *w, u32 need)
{
	int err = 0;

	if (unlikely(tx_free(w) < need))
		err = tx_refresh(w);
	if (unlikely(!err && tx_free(w) < need))
		err = tx_await_room(w, need);
	/* A smaller one that fits doesn't end the wait of a larger one. */
	if (!err && w->want <= need)
		w->want = 0;
	return err;
}

/* Copies to the place @off bytes behind tx_idx. */
static void tx_put(struct hmx_window *w, u32 off, const void *src, u32 len)
{
	u32 at = (w->tx_idx + off) & (w->ring_len - 1);
	u32 first = min(len, w->ring_len - at);

	memcpy(w->tx_data + at, src, first);
	if (unlikely(first < len))
		memcpy(w->tx_data, src + first, len - first);
}

static void tx_publish(struct hmx_window *w, u32 footprint)
{
	bool moved, ring;

	/* First: a message that tells what was consumed must not come before the room is there. */
	moved = rx_store(w);
	w->tx_idx += footprint;
	/* Pairs with the acquire in the peer's copy of rx_refresh(). */
	word_store_release(&w->own->tx_idx, w->tx_idx);
	/* Pairs with the barrier between the peer's words and its loads of our indices. */
	virt_mb();
	ring = peer_wants_data(w);
	if (moved)
		ring |= peer_wants_space(w);
	if (ring)
		window_ring(w);
}

static int window_send(struct hmx_port *port, u32 type, const struct kvec *segs, unsigned int nr,
		       u32 len)
{
	struct vhx_slot_header slot = { .len = cpu_to_le32(len), .type = cpu_to_le32(type) };
	struct hmx_window *w = to_window(port);
	u32 off = sizeof(slot);
	unsigned int i;
	int err;

	err = w->status ? w->status : life_check(w);
	if (!err && len > port->max_message)
		return -EMSGSIZE;
	if (!err)
		err = tx_room(w, hmx_footprint(len));
	if (unlikely(err)) {
		port->stats.would_blocks += err == -EAGAIN;
		return err;
	}
	tx_put(w, 0, &slot, sizeof(slot));
	for (i = 0; i < nr; i++) {
		tx_put(w, off, segs[i].iov_base, segs[i].iov_len);
		off += segs[i].iov_len;
	}
	tx_publish(w, hmx_footprint(len));
	port->stats.tx_messages++;
	port->stats.tx_bytes += len;
	port->stats.sends++;
	return 0;
}

/* Receiving */

/*
 * Looks how far the peer has produced, when all that was known of is consumed. A new value counts
 * if it is of the life that we joined; after the end of that life as long as no other one has
 * begun.
 */
static int rx_refresh(struct hmx_window *w)
{
	/* Pairs with the release in the peer's copy of tx_publish(). */
	u32 idx = word_load_acquire(&w->peer->tx_idx);

	if (idx == w->rx_avail_idx)
		return 0;
	life_check(w);
	if (!w->joined)
		return w->status;
	if (idx % HMX_SLOT || idx - w->rx_idx > w->ring_len - HMX_SLOT)
		return life_breach(w);
	w->rx_avail_idx = idx;
	return 0;
}

/* Loads the next slot header once and judges the copy. */
static int rx_fetch(struct hmx_window *w)
{
	const struct vhx_slot_header *slot =
		(const void *)(w->rx_data + (w->rx_idx & (w->ring_len - 1)));
	u32 len = word_load(&slot->len);
	u32 type = word_load(&slot->type);

	if (len > w->port.max_message || READ_ONCE(slot->reserved))
		return life_breach(w);
	if (hmx_footprint(len) > w->rx_avail_idx - w->rx_idx)
		return life_breach(w);
	w->msg.type = type;
	w->msg.len = len;
	w->peeked = hmx_footprint(len);
	return 1;
}

/* 1: a message is peeked; 0: none; or why the port is gone. */
static int rx_next(struct hmx_window *w)
{
	int err;

	if (w->peeked)
		return 1;
	if (w->rx_idx != w->rx_avail_idx)
		return rx_fetch(w);
	/* First the life, then the index: what came before the peer left is not overlooked. */
	life_check(w);
	if (!w->joined)
		return w->status;
	err = rx_refresh(w);
	if (err)
		return err;
	if (w->rx_idx != w->rx_avail_idx)
		return rx_fetch(w);
	rx_publish(w);
	return w->status;
}

static int window_peek(struct hmx_port *port, struct hmx_msg *msg)
{
	struct hmx_window *w = to_window(port);
	int ret;

	if (w->status == -EAGAIN)
		life_meet(w);
	if (!w->joined)
		return w->status == -EAGAIN ? 0 : w->status;
	window_awake(w);
	ret = rx_next(w);
	if (ret > 0)
		*msg = w->msg;
	return ret;
}

static void window_consume(struct hmx_port *port)
{
	struct hmx_window *w = to_window(port);

	port->stats.rx_messages++;
	port->stats.rx_bytes += w->msg.len;
	w->rx_idx += w->peeked;
	w->peeked = 0;
	if (w->rx_idx - w->rx_published_idx >= w->ring_len / 4)
		rx_publish(w);
}

static void window_read(struct hmx_port *port, u32 off, void *dst, u32 len)
{
	struct hmx_window *w = to_window(port);
	u32 at = (w->rx_idx + (u32)sizeof(struct vhx_slot_header) + off) & (w->ring_len - 1);
	u32 first = min(len, w->ring_len - at);

	memcpy(dst, w->rx_data + at, first);
	if (unlikely(first < len))
		memcpy(dst + first, w->rx_data, len - first);
}

/* Is there a message, the room that a send did not find, or an end to be told of? */
static int window_has_work(struct hmx_window *w)
{
	if (w->peeked || w->rx_idx != w->rx_avail_idx)
		return 1;
	if (rx_refresh(w) || w->rx_idx != w->rx_avail_idx || life_check(w))
		return 1;
	if (!w->want)
		return 0;
	if (tx_refresh(w))
		return 1;
	if (tx_free(w) < w->want)
		return 0;
	w->want = 0;
	return 1;
}

static int window_prepare_wait(struct hmx_port *port)
{
	struct hmx_window *w = to_window(port);

	if (w->status == -EAGAIN)
		return 0; /* until the peers have met, all events are raised */
	if (w->status)
		return 1;
	rx_publish(w);
	set_data_word(w, word_next_odd(w->data_word));
	if (w->want)
		set_space_word(w, word_next_odd(w->space_word));
	/* Pairs with the barriers in the peer's copies of tx_publish() and rx_publish(). */
	virt_mb();
	if (!window_has_work(w))
		return 0;
	window_awake(w);
	return 1;
}

/* Begin and end */

/* Has a host laid this window out? Not always the one that we saw last: after hibernation. */
static bool window_is_ours(const struct hmx_window *w)
{
	return word_load(&w->peer->magic) == VHX_SECTION_MAGIC &&
	       word_load(&w->peer->version) == VHX_SECTION_VERSION &&
	       word_load(&w->peer->ring_len) == w->ring_len;
}

static int window_open(struct hmx_port *port)
{
	struct hmx_window *w = to_window(port);
	unsigned long flags;
	int err = -ENODEV;

	spin_lock_irqsave(&port->lock, flags);
	if (!w->barred && window_is_ours(w)) {
		WRITE_ONCE(w->closed, false);
		life_begin(w);
		/* What happened before anybody could tell us is looked at once. */
		life_meet(w);
		err = 0;
	}
	spin_unlock_irqrestore(&port->lock, flags);
	return err;
}

/* The end of a life, told to the peer where it can be. */
static void window_quit(struct hmx_window *w)
{
	WRITE_ONCE(w->joined, false);
	window_fail(w, -EPIPE);
	if (!w->begun || w->lost)
		return;
	w->begun = false;
	/* Release: who sees it sees all that was published. */
	word_store_release(&w->own->state, VHX_WINDOW_GONE);
	window_ring(w);
}

static void window_close(struct hmx_port *port)
{
	struct hmx_window *w = to_window(port);
	unsigned long flags;

	WRITE_ONCE(w->closed, true);
	/* No event of ours is under way from here on: pairs with hmx_window_event(). */
	synchronize_rcu();
	spin_lock_irqsave(&port->lock, flags);
	window_quit(w);
	port->max_message = 0;
	port->tx_ring_len = 0;
	port->rx_ring_len = 0;
	spin_unlock_irqrestore(&port->lock, flags);
}

void hmx_window_event(struct hmx_window *w)
{
	/* A section that began before close() set this is waited for there. */
	rcu_read_lock();
	if (!READ_ONCE(w->closed)) {
		/* Those of the meeting are no use of the wake protocol, and not counted. */
		if (READ_ONCE(w->joined))
			atomic64_inc(&w->port.stats.wakes_taken);
		hmx_port_event(&w->port);
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(hmx_window_event);

void hmx_window_leave(struct hmx_window *w, bool present)
{
	unsigned long flags;

	spin_lock_irqsave(&w->port.lock, flags);
	w->barred = true;
	w->lost |= !present;
	window_quit(w);
	spin_unlock_irqrestore(&w->port.lock, flags);
	/* Whoever sleeps on the port is to see its end. */
	hmx_window_event(w);
}
EXPORT_SYMBOL_GPL(hmx_window_leave);

static const struct hmx_port_ops window_port_ops = {
	.max_segs = WINDOW_SEGS_MAX,
	.open = window_open,
	.close = window_close,
	.send = window_send,
	.peek = window_peek,
	.consume = window_consume,
	.prepare_wait = window_prepare_wait,
	.read = window_read,
};

int hmx_window_init(struct hmx_window *w, const char *provider)
{
	u8 *host = w->base, *guest = w->base + w->size / 2;

	if (!is_power_of_2(w->size) || w->size < VHX_WINDOW_SIZE_MIN ||
	    w->size > VHX_WINDOW_SIZE_MAX)
		return -ENODEV;
	w->peer = (const void *)host;
	w->rx_data = host + VHX_WINDOW_HEADER_LEN;
	w->own = (void *)guest;
	w->tx_data = guest + VHX_WINDOW_HEADER_LEN;
	/* Half of it is a power of two, and a header at most half of that: a quarter remains. */
	BUILD_BUG_ON(VHX_WINDOW_SIZE_MIN / 4 < VHX_WINDOW_HEADER_LEN);
	w->ring_len = w->size / 4;
	w->closed = true;
	w->status = -EPIPE;
	w->port_ops = window_port_ops;
	w->port_ops.name = provider;
	w->port.ops = &w->port_ops;
	return window_is_ours(w) ? 0 : -ENODEV;
}
EXPORT_SYMBOL_GPL(hmx_window_init);

MODULE_DESCRIPTION("Message exchange through a window of shared memory");
MODULE_LICENSE("Dual BSD/GPL");
