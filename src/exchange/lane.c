// SPDX-License-Identifier: BSD-3-Clause
/*
 * Lanes: the rings inside two sections, and the protocol by which their ends sleep and wake.
 *
 * Objects. Each end owns one section and writes nothing else: its messages and tx_idx, and also rx_idx,
 * which counts what it took from the *peer's* section, and the two words that ask for wakes. A lane
 * holds private copies of everything that its end publishes and never reads any of it back. It belongs
 * to one thread.
 *
 * Ring. Slots of VHX_SLOT bytes; a message is a 16-byte header {len, type, 8 zero bytes} and its bytes,
 * rounded up to slots. Indices run freely, their difference is what the ring holds. One slot stays
 * free. The double mapping makes every message contiguous. tx_idx moves once per message, after its last
 * byte; rx_idx may lag behind: it moves when a quarter of the ring has been consumed, when the reader
 * finds nothing more, with every message that it sends itself, and before it sleeps.
 *
 * Order, by word (publisher -> reader):
 *   tx_idx      release in lane_publish_tx() -> acquire in lane_refresh_avail(): the message's bytes come
 *               with the index.
 *   rx_idx      release in lane_store_rx() -> acquire in lane_refresh_done(): the reader's loads are
 *               over before the sender writes there again.
 *   data_word   stored before the full fence of vhx_lane_prepare_wait(), tx_idx loaded after it; its
 *               partner is lane_publish_tx(), which stores tx_idx, fences, and loads the word. At least
 *               one of the two sees the other's store, so either the sleeper stays up or it is woken.
 *   space_word  the same between vhx_lane_prepare_wait() and whoever calls lane_store_rx(), with rx_idx.
 *
 * A word is odd while its owner sleeps and has a new value each time. The waker remembers the value that
 * it last woke for: one sleep costs at most one wake per word, however much is published meanwhile.
 *
 * A hostile peer may write anything at any time into its section. Each of its words is loaded once and
 * checked before use: an index may only move forward, by whole slots, and not beyond what the ring
 * allows; a message must lie within what was announced. Anything else is -EPROTO, and the caller gives
 * the lane up. Words can at most make us raise its event once per send of ours. Message bytes are not
 * looked at here.
 */
#include "exchange/lane.h"

#include <string.h>

#include "util/barrier.h"
#include "util/checked.h"

_Static_assert(sizeof(struct vhx_slot_header) == VHX_SLOT_HEADER, "slot header");

/* What of a ring may be filled. */
static uint32_t ring_usable(uint32_t ring_len)
{
	return ring_len - VHX_SLOT;
}

uint32_t vhx_lane_max_message(uint32_t ring_len)
{
	return (uint32_t)vhx_min_u64(ring_len / 4 - VHX_SLOT_HEADER - VHX_SLOT,
				     VHX_LANE_MESSAGE_MAX);
}

void vhx_lane_init(struct vhx_lane *l, const struct vhx_section *own,
		   const struct vhx_section *peer)
{
	*l = (struct vhx_lane){
		.own = own->header,
		.tx_data = own->data,
		.tx_ring_len = own->ring_len,
		.peer = peer->header,
		.rx_data = peer->data,
		.rx_ring_len = peer->ring_len,
		.max_message = (uint32_t)vhx_min_u64(vhx_lane_max_message(own->ring_len),
						     vhx_lane_max_message(peer->ring_len)),
	};
}

/* Does the peer sleep on @word, unknown to us so far? */
static bool word_asks(uint32_t word, uint32_t *woken)
{
	if (!(word & 1) || word == *woken)
		return false;
	*woken = word;
	return true;
}

/* A value that the peer has not seen, odd. */
static uint32_t word_next_odd(uint32_t word)
{
	return (word + 1) | 1;
}

static uint32_t lane_free(const struct vhx_lane *l)
{
	return ring_usable(l->tx_ring_len) - (l->tx_idx - l->tx_done_idx);
}

/* Looks where the peer is in our ring. It may only have come closer to what we produced. */
static int lane_refresh_done(struct vhx_lane *l)
{
	/* Acquire: pairs with the release in the peer's lane_store_rx(). */
	uint32_t idx = vhx_word_load_acquire(&l->peer->rx_idx);

	if (idx % VHX_SLOT || l->tx_idx - idx > l->tx_idx - l->tx_done_idx)
		return -EPROTO;
	l->tx_done_idx = idx;
	return 0;
}

/* Makes sure of room for @need bytes, or remembers that it is wanted. */
static int lane_room(struct vhx_lane *l, uint32_t need)
{
	int err;

	if (vhx_unlikely(lane_free(l) < need)) {
		err = lane_refresh_done(l);
		if (err)
			return err;
	}
	if (vhx_unlikely(lane_free(l) < need)) {
		l->want = (uint32_t)vhx_max_u64(l->want, need);
		return -EAGAIN;
	}
	if (l->want <= need)
		l->want = 0; /* a smaller one that fits doesn't end the wait of a larger one */
	return 0;
}

static uint8_t *tx_slot(const struct vhx_lane *l)
{
	return l->tx_data + (l->tx_idx & (l->tx_ring_len - 1));
}

/* Stores rx_idx if it has moved: the caller fences, then asks the peer's space word. */
static bool lane_store_rx(struct vhx_lane *l)
{
	if (l->rx_published_idx == l->rx_idx)
		return false;
	l->rx_published_idx = l->rx_idx;
	/* Release: pairs with the acquire in the peer's lane_refresh_done(). */
	vhx_word_store_release(&l->own->rx_idx, l->rx_idx);
	return true;
}

static void lane_wake_for_space(struct vhx_lane *l)
{
	if (word_asks(vhx_word_load_relaxed(&l->peer->space_word), &l->space_woken))
		l->wake_due = true;
}

static void lane_publish_tx(struct vhx_lane *l, uint32_t type, uint32_t len)
{
	struct vhx_slot_header header = { .len = vhx_le32_of(len), .type = vhx_le32_of(type) };
	bool moved;

	/* First: a message that tells what was consumed must not arrive before the room is there. */
	moved = lane_store_rx(l);
	memcpy(tx_slot(l), &header, sizeof(header));
	l->tx_idx += vhx_footprint(len);
	/* Release: pairs with the acquire in the peer's lane_refresh_avail(). */
	vhx_word_store_release(&l->own->tx_idx, l->tx_idx);
	/* Pairs with the fence in the peer's vhx_lane_prepare_wait(). */
	vhx_fence_full();
	if (word_asks(vhx_word_load_relaxed(&l->peer->data_word), &l->data_woken))
		l->wake_due = true;
	if (moved)
		lane_wake_for_space(l);
}

static int iov_total(const struct iovec *iov, unsigned int cnt, uint32_t max, uint32_t *total)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		if (!vhx_add_u64(sum, iov[i].iov_len, &sum))
			return -EMSGSIZE;
	}
	if (sum > max)
		return -EMSGSIZE;
	*total = (uint32_t)sum;
	return 0;
}

int vhx_lane_send(struct vhx_lane *l, uint32_t type, const struct iovec *iov, unsigned int cnt,
		  uint32_t *len)
{
	uint8_t *at;
	int err;

	assert(!l->reserved);
	if (cnt > VHX_LANE_IOV_MAX)
		return -EINVAL;
	err = iov_total(iov, cnt, l->max_message, len);
	if (err)
		return err;
	err = lane_room(l, vhx_footprint(*len));
	if (err)
		return err;
	at = tx_slot(l) + VHX_SLOT_HEADER;
	for (unsigned int i = 0; i < cnt; i++) {
		if (!iov[i].iov_len)
			continue;
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	lane_publish_tx(l, type, *len);
	return 0;
}

int vhx_lane_reserve(struct vhx_lane *l, uint32_t len, void **buf)
{
	int err;

	assert(!l->reserved);
	if (len > l->max_message)
		return -EMSGSIZE;
	err = lane_room(l, vhx_footprint(len));
	if (err)
		return err;
	l->reserved = vhx_footprint(len);
	*buf = tx_slot(l) + VHX_SLOT_HEADER;
	return 0;
}

void vhx_lane_commit(struct vhx_lane *l, uint32_t type, uint32_t len)
{
	assert(l->reserved && vhx_footprint(len) <= l->reserved);
	l->reserved = 0;
	lane_publish_tx(l, type, len);
}

void vhx_lane_cancel(struct vhx_lane *l)
{
	l->reserved = 0;
}

static void lane_publish_rx(struct vhx_lane *l)
{
	if (!lane_store_rx(l))
		return;
	/* Pairs with the fence in the peer's vhx_lane_prepare_wait(). */
	vhx_fence_full();
	lane_wake_for_space(l);
}

/* Looks how far the peer has produced. Only called when all that was known of is consumed. */
static int lane_refresh_avail(struct vhx_lane *l)
{
	/* Acquire: pairs with the release in the peer's lane_publish_tx(). */
	uint32_t idx = vhx_word_load_acquire(&l->peer->tx_idx);

	if (idx % VHX_SLOT || idx - l->rx_idx > ring_usable(l->rx_ring_len))
		return -EPROTO;
	l->rx_avail_idx = idx;
	return 0;
}

/* Copies the next slot header once and judges the copy. */
static int lane_fetch_header(struct vhx_lane *l)
{
	const struct vhx_slot_header *slot =
		(const void *)(l->rx_data + (l->rx_idx & (l->rx_ring_len - 1)));
	uint32_t len = vhx_word_load_relaxed(&slot->len);
	uint32_t type = vhx_word_load_relaxed(&slot->type);

	if (len > l->max_message || vhx_load_relaxed(&slot->reserved.v) != 0)
		return -EPROTO;
	if (vhx_footprint(len) > l->rx_avail_idx - l->rx_idx)
		return -EPROTO;
	l->msg = (struct vhx_msg){ .type = type, .len = len };
	l->peeked = vhx_footprint(len);
	return 1;
}

static int lane_fetch(struct vhx_lane *l)
{
	int err;

	if (l->rx_idx != l->rx_avail_idx)
		return lane_fetch_header(l);
	err = lane_refresh_avail(l);
	if (err)
		return err;
	if (l->rx_idx != l->rx_avail_idx)
		return lane_fetch_header(l);
	lane_publish_rx(l);
	return 0;
}

int vhx_lane_peek(struct vhx_lane *l, struct vhx_msg *msg)
{
	int ret = l->peeked ? 1 : lane_fetch(l);

	if (ret == 1)
		*msg = l->msg;
	return ret;
}

void vhx_lane_read(const struct vhx_lane *l, uint32_t off, void *dst, uint32_t len)
{
	assert(l->peeked && vhx_range_within(off, len, l->msg.len));
	memcpy(dst, l->rx_data + (l->rx_idx & (l->rx_ring_len - 1)) + VHX_SLOT_HEADER + off, len);
}

void vhx_lane_consume(struct vhx_lane *l)
{
	assert(l->peeked);
	l->rx_idx += l->peeked;
	l->peeked = 0;
	if (l->rx_idx - l->rx_published_idx >= l->rx_ring_len / 4)
		lane_publish_rx(l);
}

static void lane_set_data_word(struct vhx_lane *l, uint32_t word)
{
	l->data_word = word;
	vhx_word_store_relaxed(&l->own->data_word, word);
}

static void lane_set_space_word(struct vhx_lane *l, uint32_t word)
{
	l->space_word = word;
	vhx_word_store_relaxed(&l->own->space_word, word);
}

void vhx_lane_awake(struct vhx_lane *l)
{
	if (l->data_word & 1)
		lane_set_data_word(l, l->data_word + 1);
	if (l->space_word & 1)
		lane_set_space_word(l, l->space_word + 1);
}

/* Is there a message, or the room that a send did not find? */
static int lane_has_work(struct vhx_lane *l)
{
	int err;

	if (l->peeked || l->rx_idx != l->rx_avail_idx)
		return 1;
	err = lane_refresh_avail(l);
	if (err)
		return err;
	if (l->rx_idx != l->rx_avail_idx)
		return 1;
	if (!l->want)
		return 0;
	err = lane_refresh_done(l);
	if (err || lane_free(l) < l->want)
		return err;
	l->want = 0;
	return 1;
}

int vhx_lane_prepare_wait(struct vhx_lane *l)
{
	int ret;

	lane_publish_rx(l);
	lane_set_data_word(l, word_next_odd(l->data_word));
	if (l->want)
		lane_set_space_word(l, word_next_odd(l->space_word));
	/* Pairs with the fences in the peer's lane_publish_tx() and lane_publish_rx(). */
	vhx_fence_full();
	ret = lane_has_work(l);
	if (ret)
		vhx_lane_awake(l);
	return ret;
}
