// SPDX-License-Identifier: BSD-3-Clause
/*
 * Packed virtqueue, device side (VirtIO 1.3, 2.8).
 *
 * One ring holds what the driver made available and what the device used. The device reads it at
 * avail_idx and writes at used_idx, each with a wrap counter; used_idx moves on by as many entries
 * as the chain took that it completes. When chains complete in another order, a used descriptor so
 * lies over one of a chain that is still in flight, and the driver may refill what follows.
 * Therefore pop copies the ring's descriptors of each chain into a pool, a list through the slots:
 * rewalk reads those.
 *
 * desc_busy counts the entries from used_published to avail_idx, which is all that the driver can
 * have filled and does not know to be used. A chain that would bring it over the size is the
 * driver's fault; so used_idx never overtakes avail_idx, and the pool never runs dry.
 *
 * A successor of this process has the copies from elsewhere (adopt). In the ring it may find used
 * descriptors that were pushed and not published: all but the first, which push withheld, lie open
 * there, and only that one keeps the driver from them. So adopt makes those entries available
 * again.
 *
 * flush publishes a batch by writing the flags of its first descriptor, which push withheld: the
 * driver stops there until then.
 */
#include "ring/position.h"
#include "ring/vring.h"

static struct vhx_packed_desc *packed_desc(const struct vhx_vring *r, uint16_t pos)
{
	return (struct vhx_packed_desc *)r->cfg.desc + vhx_pos_idx(pos);
}

static int packed_init(struct vhx_vring *r)
{
	uint16_t size = r->cfg.size;
	int32_t busy = vhx_pos_distance(r->used_idx, r->avail_idx, size);

	if (vhx_pos_idx(r->avail_idx) >= size || vhx_pos_idx(r->used_idx) >= size || busy < 0 ||
	    busy > size)
		return -EINVAL;
	r->desc_busy = busy;
	for (uint32_t i = 0; i < size; i++)
		r->cfg.slots[i].copy_next = i + 1;
	return 0;
}

/* 2.8.1: available means that the two bits differ and that AVAIL is this lap's. */
static bool flags_available(uint16_t flags, uint16_t pos)
{
	return (flags & VHX_PACKED_BITS) == vhx_packed_avail_bits(pos);
}

/* Where a walk over the ring keeps its copies; nothing of it counts before packed_commit(). */
struct packed_cursor {
	uint16_t head_flags; /* acquired by pop */
	uint16_t id; /* of the last descriptor so far */
	uint16_t cnt;
	uint16_t copy; /* pool entry for the next one */
	uint16_t copy_last;
};

static void copy_store(struct vhx_ring_slot *slot, const struct vhx_ring_desc *d)
{
	slot->copy_addr = d->addr;
	slot->copy_len = d->len;
	slot->copy_flags = d->flags;
	slot->copy_id = d->next;
}

static void cursor_add(struct vhx_vring *r, struct packed_cursor *c, const struct vhx_ring_desc *d)
{
	c->id = d->next;
	c->cnt++;
	c->copy_last = c->copy;
	copy_store(&r->cfg.slots[c->copy], d);
	c->copy = r->cfg.slots[c->copy].copy_next;
}

static int packed_fetch(struct vhx_walk *w, void *table, struct vhx_ring_desc *d)
{
	struct packed_cursor *c = table;
	struct vhx_vring *r = w->r;
	const struct vhx_packed_desc *p = packed_desc(r, w->at);

	if (!w->left)
		return r->desc_busy ? VHX_RING_AVAIL_OVERRUN : VHX_RING_LOOP;
	w->left--;
	vhx_packed_desc_load(p, c->cnt ? vhx_le16_load(&p->flags) : c->head_flags, d);
	cursor_add(r, c, d);
	w->at = vhx_pos_add(w->at, 1, r->cfg.size);
	w->more = d->flags & VIRTQ_DESC_F_NEXT;
	return 0;
}

/* The chain is the caller's from here on. */
static void packed_commit(struct vhx_vring *r, const struct packed_cursor *c)
{
	struct vhx_ring_slot *slot = &r->cfg.slots[c->id];

	slot->desc_cnt = c->cnt;
	slot->copy_first = r->copy_free;
	slot->copy_last = c->copy_last;
	r->copy_free = c->copy;
	r->desc_busy += c->cnt;
	r->avail_idx = vhx_pos_add(r->avail_idx, c->cnt, r->cfg.size);
	vhx_vring_take(r, c->id);
}

static int packed_pop(struct vhx_vring *r, struct vhx_chain *chain)
{
	struct packed_cursor c = { .copy = r->copy_free };
	struct vhx_walk w;
	int ret;

	/* Partner: the driver's release of these flags after the rest of the chain. */
	c.head_flags = vhx_le16_load_acquire(&packed_desc(r, r->avail_idx)->flags);
	if (!flags_available(c.head_flags, r->avail_idx))
		return 0;
	vhx_walk_begin(&w, r, chain);
	w.at = r->avail_idx;
	w.left = r->cfg.size - r->desc_busy;
	ret = vhx_walk_result(r, vhx_walk_table(&w, &c, packed_fetch, false));
	if (vhx_unlikely(ret))
		return ret;
	if (vhx_unlikely(c.id >= r->cfg.size || r->cfg.slots[c.id].state != VHX_SLOT_FREE))
		return vhx_vring_break(r, VHX_RING_BUFFER_ID);
	chain->id = c.id;
	packed_commit(r, &c);
	return 1;
}

static int copy_fetch(struct vhx_walk *w, void *table, struct vhx_ring_desc *d)
{
	const struct vhx_ring_slot *slot = &w->r->cfg.slots[w->at];

	*d = (struct vhx_ring_desc){
		.addr = slot->copy_addr,
		.len = slot->copy_len,
		.flags = slot->copy_flags,
		.next = slot->copy_id,
	};
	w->at = slot->copy_next;
	w->more = d->flags & VIRTQ_DESC_F_NEXT;
	return 0;
}

static int packed_rewalk(struct vhx_vring *r, uint16_t id, struct vhx_chain *chain)
{
	struct vhx_walk w;

	vhx_walk_begin(&w, r, chain);
	w.at = r->cfg.slots[id].copy_first;
	chain->id = id;
	return vhx_walk_result(r, vhx_walk_table(&w, NULL, copy_fetch, false));
}

uint16_t vhx_vring_copies(const struct vhx_vring *r, uint16_t id, struct vhx_ring_copy *copies)
{
	const struct vhx_ring_slot *slots = r->cfg.slots;
	uint16_t at = slots[id].copy_first;

	assert(vhx_vring_has(r, VHX_RING_F_PACKED) && slots[id].state != VHX_SLOT_FREE);
	for (uint16_t i = 0; i < slots[id].desc_cnt; i++) {
		copies[i] = (struct vhx_ring_copy){
			.addr = slots[at].copy_addr,
			.len = slots[at].copy_len,
			.flags = slots[at].copy_flags,
			.id = slots[at].copy_id,
		};
		at = slots[at].copy_next;
	}
	return slots[id].desc_cnt;
}

/* One chain, by the flags that end a walk over it, of an id that is free. */
static bool adoptable(const struct vhx_vring *r, const struct vhx_ring_copy *copies, uint16_t cnt)
{
	uint16_t id;

	if (!vhx_vring_has(r, VHX_RING_F_PACKED) || !cnt || cnt > r->cfg.size - r->desc_busy)
		return false;
	for (uint16_t i = 0; i < cnt; i++) {
		if (!(copies[i].flags & VIRTQ_DESC_F_NEXT) != (i + 1 == cnt))
			return false;
	}
	id = copies[cnt - 1].id;
	return id < r->cfg.size && r->cfg.slots[id].state == VHX_SLOT_FREE;
}

static void packed_dirty(struct vhx_vring *r, uint32_t from, uint32_t cnt)
{
	const struct vhx_ring_mem *mem = r->cfg.mem;

	if (cnt && mem->dirty)
		mem->dirty(mem->ctx, r->cfg.desc_addr + (uint64_t)from * VHX_DESC_LEN,
			   (uint64_t)cnt * VHX_DESC_LEN);
}

/*
 * The driver gets to these entries only over used ones before them, whose release in packed_flush()
 * comes later.
 */
static void packed_unuse(struct vhx_vring *r, uint16_t cnt)
{
	uint16_t pos = r->avail_idx;

	while (cnt--) {
		vhx_le16_store(&packed_desc(r, pos)->flags, vhx_packed_avail_bits(pos));
		packed_dirty(r, vhx_pos_idx(pos), 1);
		pos = vhx_pos_add(pos, 1, r->cfg.size);
	}
}

int vhx_vring_adopt_packed(struct vhx_vring *r, const struct vhx_ring_copy *copies, uint16_t cnt)
{
	struct packed_cursor c = { .copy = r->copy_free };

	if (!adoptable(r, copies, cnt))
		return -EINVAL;
	for (uint16_t i = 0; i < cnt; i++) {
		const struct vhx_ring_desc d = {
			.addr = copies[i].addr,
			.len = copies[i].len,
			.flags = copies[i].flags,
			.next = copies[i].id,
		};

		cursor_add(r, &c, &d);
	}
	packed_unuse(r, cnt);
	packed_commit(r, &c);
	r->adopted++;
	return 0;
}

static void packed_put_used(struct vhx_vring *r, uint16_t id, uint32_t used_len)
{
	struct vhx_ring_slot *slot = &r->cfg.slots[id];
	struct vhx_packed_desc *d = packed_desc(r, r->used_idx);
	uint16_t flags = vhx_packed_used_bits(r->used_idx);

	/* 2.8.3: says that the length means something. */
	if (used_len)
		flags |= VIRTQ_DESC_F_WRITE;
	vhx_le16_store(&d->id, id);
	vhx_le32_store(&d->len, used_len);
	if (r->desc_pushed)
		vhx_le16_store(&d->flags, flags);
	else
		r->first_flags = flags;
	r->desc_pushed += slot->desc_cnt;
	r->used_idx = vhx_pos_add(r->used_idx, slot->desc_cnt, r->cfg.size);
	r->cfg.slots[slot->copy_last].copy_next = r->copy_free;
	r->copy_free = slot->copy_first;
}

/* All from the first used descriptor on; more than was written, but never another page's worth. */
static void packed_dirty_batch(struct vhx_vring *r)
{
	uint32_t from = vhx_pos_idx(r->used_published);
	uint32_t tail = r->cfg.size - from;
	uint32_t n = r->desc_pushed < tail ? r->desc_pushed : tail;

	packed_dirty(r, from, n);
	packed_dirty(r, 0, r->desc_pushed - n);
}

static bool packed_flush(struct vhx_vring *r)
{
	bool event_idx = vhx_vring_has(r, VHX_RING_F_EVENT_IDX) && r->signalled_valid;
	struct vhx_packed_desc *first = packed_desc(r, r->used_published);
	uint16_t old = r->used_published;
	bool dirty = r->cfg.mem->dirty;

	if (dirty)
		packed_dirty_batch(r);
	/*
	 * Partner: the driver's acquire of these flags before it reads the rest, and the payload.
	 */
	vhx_le16_store_release(&first->flags, r->first_flags);
	if (dirty)
		packed_dirty(r, vhx_pos_idx(old), 1);
	r->desc_busy -= r->desc_pushed;
	r->desc_pushed = 0;
	r->used_published = r->used_idx;
	r->signalled_valid = true;
	/*
	 * Partner: the driver's fence between asking for notifications and its last look at the
	 * ring.
	 */
	vhx_fence_full();
	return vhx_packed_notify_due(r->cfg.driver, event_idx, r->used_idx, old, r->cfg.size);
}

static void packed_set_event(struct vhx_vring *r, uint16_t flags, uint16_t pos)
{
	vhx_packed_event_store(r->cfg.device, flags, pos);
	vhx_vring_dirty_device(r, 0, sizeof(struct vhx_packed_event));
}

static void packed_disable_kick(struct vhx_vring *r)
{
	packed_set_event(r, RING_EVENT_FLAGS_DISABLE, 0);
}

static void packed_enable_kick(struct vhx_vring *r)
{
	if (vhx_vring_has(r, VHX_RING_F_EVENT_IDX))
		packed_set_event(r, RING_EVENT_FLAGS_DESC, r->avail_idx);
	else
		packed_set_event(r, RING_EVENT_FLAGS_ENABLE, 0);
}

static bool packed_pending(struct vhx_vring *r)
{
	uint16_t flags = vhx_le16_load(&packed_desc(r, r->avail_idx)->flags);

	return flags_available(flags, r->avail_idx);
}

const struct vhx_vring_ops vhx_packed_ops = {
	.init = packed_init,
	.pop = packed_pop,
	.rewalk = packed_rewalk,
	.put_used = packed_put_used,
	.flush = packed_flush,
	.disable_kick = packed_disable_kick,
	.enable_kick = packed_enable_kick,
	.pending = packed_pending,
};
