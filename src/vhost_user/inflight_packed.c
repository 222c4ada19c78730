// SPDX-License-Identifier: BSD-3-Clause
/*
 * Inflight tracking of packed rings.
 *
 * Used descriptors are written over those of chains that are still in flight, so the region keeps a
 * copy of each: entries, which are on a free list, or in the list of one chain, whose first entry
 * holds what there is to know of it. The lists share one link, next. The protocol's order of
 * stores:
 *
 *   pop:     at the first free entry, still on the list: num = 0, counter, inflight = 1; then per
 *            descriptor: last (with the last one), num, the copy, free_head = the entry behind;
 *            then old_free_head = free_head
 *   publish: per chain: next of its last entry = free_head, free_head = its first entry;
 *            then used = where the batch ends; then the ring's flags (src/ring);
 *            then inflight = 0 of the batch, old_free_head = free_head, old_used = used
 *
 * The stores of a pop and of a publication must not mix, since both begin at old_free_head. So a
 * push is noted only here, privately, and all of a batch is written around the flush.
 *
 * A successor finds the two heads apart when a pop or a publication did not end, and the two used
 * positions apart when it was a publication that had come to the ring's flags, or was about to:
 * which of the two, the descriptor at old_used tells. Where it is available still, or the
 * positions are equal, all goes back to the old ones; else forth to the new ones. Then the entries
 * on the free list are not in flight, and all others are the chains to submit again.
 *
 * The four words of the positions lie together and are written in one store, index and wrap counter
 * together: one after the other could end between them. And they are compared together: a batch as
 * long as the ring comes back to its own index.
 *
 * An entry is free or in one chain, each chain is one by its own flags, the chains together are not
 * longer than the ring, ids are unique: a region in which it is otherwise was not left by us. All
 * of this is looked at in a copy, before anything is written.
 */
#include <stdlib.h>
#include <string.h>

#include "ring/layout.h"
#include "ring/position.h"
#include "util/barrier.h"
#include "vhost_user/inflight_format.h"

struct packed_entry {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
_Static_assert(sizeof(struct packed_entry) == 32, "packed entry");
_Static_assert(offsetof(struct packed_entry, counter) == 8, "packed entry");
_Static_assert(offsetof(struct packed_entry, addr) == 24, "packed entry");

/* The positions, and the padding that makes one store of them. */
union packed_used {
	struct {
		uint16_t idx;
		uint16_t old_idx;
		uint8_t wrap;
		uint8_t old_wrap;
		uint8_t padding[2];
	};
	uint64_t word;
};
_Static_assert(sizeof(union packed_used) == 8, "packed positions");

struct packed_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	union packed_used used;
	uint8_t padding[5];
	struct packed_entry desc[];
};
_Static_assert(offsetof(struct packed_region, free_head) == 12, "packed region");
_Static_assert(offsetof(struct packed_region, used) == 16, "packed region");
_Static_assert(offsetof(struct packed_region, desc) == 32, "packed region");
_Static_assert(offsetof(struct packed_region, version) ==
		       offsetof(struct vhx_vu_inflight_head, version),
	       "packed region");
_Static_assert(offsetof(struct packed_region, desc_num) ==
		       offsetof(struct vhx_vu_inflight_head, desc_num),
	       "packed region");

static void used_store(struct packed_region *r, uint16_t pos, uint16_t old)
{
	const union packed_used used = {
		.idx = vhx_pos_idx(pos),
		.old_idx = vhx_pos_idx(old),
		.wrap = vhx_pos_wrap(pos),
		.old_wrap = vhx_pos_wrap(old),
	};

	vhx_store_release(&r->used.word, used.word);
}

static void packed_init(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring)
{
	struct packed_region *r = iq->region;

	for (uint16_t i = 0; i < iq->desc_num; i++) {
		iq->next[i] = (uint16_t)(i + 1);
		r->desc[i] = (struct packed_entry){ .next = (uint16_t)(i + 1) };
	}
	vhx_store_relaxed(&r->free_head, 0);
	vhx_store_relaxed(&r->old_free_head, 0);
	used_store(r, ring->used, ring->used);
	iq->used = ring->used;
}

/* Recovery: a copy of the region, and what was made of it. */

struct packed_look {
	struct packed_entry *desc;
	struct vhx_vu_inflight_left *left;
	bool *seen; /* on the free list, or in a chain */
	uint16_t seen_cnt;
	uint16_t free_head;
	uint16_t free_cnt;
	bool forth; /* the last batch counts */
};

static void entry_read(const struct packed_entry *from, struct packed_entry *e)
{
	*e = (struct packed_entry){
		.inflight = vhx_load_relaxed(&from->inflight),
		.next = vhx_load_relaxed(&from->next),
		.last = vhx_load_relaxed(&from->last),
		.num = vhx_load_relaxed(&from->num),
		.counter = vhx_load_relaxed(&from->counter),
		.id = vhx_load_relaxed(&from->id),
		.flags = vhx_load_relaxed(&from->flags),
		.len = vhx_load_relaxed(&from->len),
		.addr = vhx_load_relaxed(&from->addr),
	};
}

static bool available_still(const struct vhx_vu_inflight_ring *ring, uint16_t pos)
{
	const struct vhx_packed_desc *desc = ring->desc;
	/* Partner: the release of these flags by the driver, or by the last flush. */
	uint16_t flags = vhx_le16_load_acquire(&desc[vhx_pos_idx(pos)].flags);

	return (flags & VHX_PACKED_BITS) == vhx_packed_avail_bits(pos);
}

/* Back or forth? */
static int look_positions(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring,
			  struct packed_look *l)
{
	const struct packed_region *r = iq->region;
	union packed_used u = { .word = vhx_load_relaxed(&r->used.word) };
	uint16_t pos, old;

	if (u.idx >= iq->size || u.old_idx >= iq->size || u.wrap > 1 || u.old_wrap > 1)
		return -EPROTO;
	pos = u.idx | (u.wrap ? VHX_POS_WRAP : 0);
	old = u.old_idx | (u.old_wrap ? VHX_POS_WRAP : 0);
	l->forth = pos != old && !available_still(ring, old);
	iq->used = l->forth ? pos : old;
	l->free_head = vhx_load_relaxed(l->forth ? &r->free_head : &r->old_free_head);
	return 0;
}

/* Takes an entry of a list; false: there is none, or it was taken before. */
static bool look_take(const struct vhx_vu_inflight_queue *iq, struct packed_look *l, uint16_t at)
{
	if (at >= iq->desc_num || l->seen[at])
		return false;
	l->seen[at] = true;
	l->seen_cnt++;
	return true;
}

static int look_free(struct vhx_vu_inflight_queue *iq, struct packed_look *l)
{
	uint16_t at = l->free_head;

	while (at != iq->desc_num) {
		if (!look_take(iq, l, at))
			return -EPROTO;
		at = l->desc[at].next;
	}
	l->free_cnt = l->seen_cnt;
	return 0;
}

/* Walks the chain that begins at @head into @copies, which has @room. Its length, or -EPROTO. */
static int look_chain(struct vhx_vu_inflight_queue *iq, struct packed_look *l, uint16_t head,
		      struct vhx_ring_copy *copies, uint16_t room)
{
	const struct packed_entry *first = &l->desc[head], *e = first;
	uint16_t at = head;

	if (!first->num || first->num > room)
		return -EPROTO;
	for (uint16_t i = 0; i < first->num; i++) {
		if (i)
			at = e->next;
		if (!look_take(iq, l, at))
			return -EPROTO;
		e = &l->desc[at];
		if (!(e->flags & VIRTQ_DESC_F_NEXT) != (i + 1 == first->num))
			return -EPROTO;
		copies[i] = (struct vhx_ring_copy){ e->addr, e->len, e->flags, e->id };
	}
	if (at != first->last || e->id >= iq->size || iq->done[e->id])
		return -EPROTO;
	iq->done[e->id] = 1;
	iq->head[e->id] = head;
	iq->last[head] = at;
	iq->resubmit[iq->resubmit_cnt++] = e->id;
	return first->num;
}

static int look_chains(struct vhx_vu_inflight_queue *iq, struct packed_look *l)
{
	uint16_t cnt = 0, total = 0;
	int ret;

	for (uint16_t i = 0; i < iq->desc_num; i++) {
		if (l->desc[i].inflight && !l->seen[i])
			l->left[cnt++] = (struct vhx_vu_inflight_left){ l->desc[i].counter, i };
	}
	vhx_vu_inflight_sort(l->left, cnt);
	for (uint16_t i = 0; i < cnt; i++) {
		ret = look_chain(iq, l, l->left[i].entry, iq->copies + total, iq->size - total);
		if (ret < 0)
			return ret;
		total += ret;
	}
	/* It was borrowed to tell ids apart. */
	memset(iq->done, 0, iq->desc_num * sizeof(*iq->done));
	return l->seen_cnt == iq->desc_num ? 0 : -EPROTO;
}

static int look(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring,
		struct packed_look *l)
{
	const struct packed_region *r = iq->region;
	int ret = look_positions(iq, ring, l);

	for (uint16_t i = 0; i < iq->desc_num; i++)
		entry_read(&r->desc[i], &l->desc[i]);
	if (!ret)
		ret = look_free(iq, l);
	if (!ret)
		ret = look_chains(iq, l);
	return ret;
}

/*
 * Brings the region to what was decided, in an order that another successor could go on from: heads
 * before positions, as when going forth in the first place.
 */
static void settle(struct vhx_vu_inflight_queue *iq, const struct packed_look *l)
{
	struct packed_region *r = iq->region;
	uint16_t at = l->free_head;

	vhx_store_release(l->forth ? &r->old_free_head : &r->free_head, at);
	used_store(r, iq->used, iq->used);
	for (uint16_t i = 0; i < l->free_cnt; i++) {
		vhx_store_release(&r->desc[at].inflight, 0);
		at = l->desc[at].next;
	}
	/* Oldest first, each to at most what it was: the order holds at every step. */
	for (uint16_t i = 0; i < iq->resubmit_cnt; i++)
		vhx_store_release(&r->desc[l->left[i].entry].counter, i);
	for (uint16_t i = 0; i < iq->desc_num; i++)
		iq->next[i] = l->desc[i].next;
	iq->free_head = l->free_head;
}

static int packed_recover(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring)
{
	struct packed_look l = {
		.desc = calloc(iq->desc_num, sizeof(*l.desc)),
		.left = calloc(iq->desc_num, sizeof(*l.left)),
		.seen = calloc(iq->desc_num, sizeof(*l.seen)),
	};
	int ret = l.desc && l.left && l.seen ? look(iq, ring, &l) : -ENOMEM;

	if (!ret)
		settle(iq, &l);
	free(l.desc);
	free(l.left);
	free(l.seen);
	return ret;
}

/* While the queue runs */

static void copy_store(struct packed_entry *e, const struct vhx_ring_copy *copy)
{
	vhx_store_relaxed(&e->addr, copy->addr);
	vhx_store_relaxed(&e->len, copy->len);
	vhx_store_relaxed(&e->flags, copy->flags);
	vhx_store_relaxed(&e->id, copy->id);
}

static void packed_popped(struct vhx_vu_inflight_queue *iq, uint16_t id,
			  const struct vhx_ring_copy *copies, uint16_t cnt)
{
	struct packed_region *r = iq->region;
	uint16_t head = iq->free_head, at = head;
	struct packed_entry *first = &r->desc[head];

	vhx_store_relaxed(&first->num, 0);
	vhx_store_relaxed(&first->counter, iq->counter++);
	vhx_store_release(&first->inflight, 1);
	for (uint16_t i = 0; i < cnt; i++) {
		assert(at <
		       iq->desc_num); /* no chain is longer than what src/ring counts as free */
		if (i + 1 == cnt)
			vhx_store_release(&first->last, at);
		vhx_store_release(&first->num, (uint16_t)(i + 1));
		copy_store(&r->desc[at], &copies[i]);
		iq->last[head] = at;
		at = iq->next[at];
		vhx_store_release(&r->free_head, at);
	}
	vhx_store_release(&r->old_free_head, at);
	iq->head[id] = head;
	iq->free_head = at;
}

static void packed_pushed(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	/* Noted when the batch is published. */
}

static void packed_publish(struct vhx_vu_inflight_queue *iq, uint16_t used)
{
	struct packed_region *r = iq->region;

	for (uint16_t i = 0; i < iq->batch_cnt; i++) {
		uint16_t head = iq->head[iq->batch[i]];
		uint16_t last = iq->last[head];

		vhx_store_release(&r->desc[last].next, iq->free_head);
		vhx_store_release(&r->free_head, head);
		iq->next[last] = iq->free_head;
		iq->free_head = head;
	}
	used_store(r, used, iq->used);
}

static void packed_published(struct vhx_vu_inflight_queue *iq, uint16_t used)
{
	struct packed_region *r = iq->region;

	for (uint16_t i = 0; i < iq->batch_cnt; i++)
		vhx_store_release(&r->desc[iq->head[iq->batch[i]]].inflight, 0);
	vhx_store_release(&r->old_free_head, iq->free_head);
	used_store(r, used, used);
	iq->used = used;
}

const struct vhx_vu_inflight_format vhx_vu_inflight_packed = {
	.head_len = offsetof(struct packed_region, desc),
	.entry_len = sizeof(struct packed_entry),
	.init = packed_init,
	.recover = packed_recover,
	.popped = packed_popped,
	.pushed = packed_pushed,
	.publish = packed_publish,
	.published = packed_published,
};
