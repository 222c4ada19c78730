// SPDX-License-Identifier: BSD-3-Clause
/*
 * Split virtqueue, device side (VirtIO 1.3, 2.7).
 *
 * The avail index is read only when all that it announced last time is popped, so a batch costs one
 * access to the shared index. It is checked when it is read: from used_published, which is all that
 * the driver can know to have back, to the index there are at most as many chains as the queue has
 * entries, and the index never goes backwards. Used entries lie invisible beyond the used index
 * until flush moves it, once.
 */
#include "ring/position.h"
#include "ring/vring.h"

static struct vhx_split_avail *split_avail(const struct vhx_vring *r)
{
	return r->cfg.driver;
}

static struct vhx_split_used *split_used(const struct vhx_vring *r)
{
	return r->cfg.device;
}

static int split_init(struct vhx_vring *r)
{
	r->avail_seen = r->avail_idx;
	return 0;
}

/* 1: there is something to pop, 0: nothing. */
static int split_look(struct vhx_vring *r)
{
	uint16_t size = r->cfg.size;
	uint16_t out = r->avail_idx - r->used_published;
	/* Partner: the driver's release of the avail index after its entries and descriptors. */
	uint16_t idx = vhx_le16_load_acquire(&split_avail(r)->idx);

	if (idx == r->avail_idx)
		return 0;
	if (out > size || (uint16_t)(idx - r->avail_idx) > size - out)
		return vhx_vring_break(r, VHX_RING_AVAIL_OVERRUN);
	r->avail_seen = idx;
	return 1;
}

static int split_fetch(struct vhx_walk *w, void *table, struct vhx_ring_desc *d)
{
	if (w->at >= w->r->cfg.size)
		return VHX_RING_NEXT_RANGE;
	if (!w->left)
		return VHX_RING_LOOP;
	w->left--;
	vhx_split_desc_load((const struct vhx_split_desc *)table + w->at, d);
	w->at = d->next;
	w->more = d->flags & VIRTQ_DESC_F_NEXT;
	return 0;
}

static int split_walk(struct vhx_vring *r, uint16_t head, struct vhx_chain *chain)
{
	struct vhx_walk w;

	vhx_walk_begin(&w, r, chain);
	w.at = head;
	w.left = r->cfg.size;
	chain->id = head;
	return vhx_walk_result(r, vhx_walk_table(&w, r->cfg.desc, split_fetch, false));
}

static int split_pop(struct vhx_vring *r, struct vhx_chain *chain)
{
	uint16_t size = r->cfg.size;
	uint16_t head;
	int ret;

	if (r->avail_idx == r->avail_seen) {
		ret = split_look(r);
		if (ret <= 0)
			return ret;
	}
	head = vhx_le16_load(&split_avail(r)->ring[r->avail_idx & (size - 1)]);
	if (vhx_unlikely(head >= size))
		return vhx_vring_break(r, VHX_RING_HEAD_RANGE);
	if (vhx_unlikely(r->cfg.slots[head].state != VHX_SLOT_FREE))
		return vhx_vring_break(r, VHX_RING_HEAD_BUSY);
	ret = split_walk(r, head, chain);
	if (vhx_unlikely(ret))
		return ret;
	r->avail_idx++;
	vhx_vring_take(r, head);
	return 1;
}

static int split_rewalk(struct vhx_vring *r, uint16_t id, struct vhx_chain *chain)
{
	return split_walk(r, id, chain);
}

static void split_put_used(struct vhx_vring *r, uint16_t id, uint32_t used_len)
{
	struct vhx_split_used_elem *e = &split_used(r)->ring[r->used_idx & (r->cfg.size - 1)];

	vhx_le32_store(&e->id, id);
	vhx_le32_store(&e->len, used_len);
	r->used_idx++;
}

/* Entries [from, from + cnt) of the used ring, from below the size, cnt not above it. */
static void split_dirty_used(struct vhx_vring *r, uint32_t from, uint32_t cnt)
{
	const size_t elem = sizeof(struct vhx_split_used_elem);
	uint32_t tail = r->cfg.size - from;
	uint32_t n = cnt < tail ? cnt : tail;

	vhx_vring_dirty_device(r, sizeof(struct vhx_split_used) + from * elem, n * elem);
	if (cnt > n)
		vhx_vring_dirty_device(r, sizeof(struct vhx_split_used), (cnt - n) * elem);
}

static bool split_notify_due(struct vhx_vring *r, uint16_t old)
{
	struct vhx_split_avail *avail = split_avail(r);
	uint16_t event;

	if (!vhx_vring_has(r, VHX_RING_F_EVENT_IDX))
		return !(vhx_le16_load(&avail->flags) & VIRTQ_AVAIL_F_NO_INTERRUPT);
	event = vhx_le16_load(vhx_split_used_event(avail, r->cfg.size));
	/* Before the first one nobody knows up to where the driver was told. */
	if (!r->signalled_valid) {
		r->signalled_valid = true;
		return true;
	}
	return vhx_split_event_due(event, r->used_idx, old);
}

static bool split_flush(struct vhx_vring *r)
{
	struct vhx_split_used *used = split_used(r);
	uint16_t old = r->used_published;
	uint16_t cnt = r->used_idx - old;

	/*
	 * The check in split_look() keeps it so: no driver gets more popped than it knows to have.
	 */
	assert(cnt <= r->cfg.size);
	if (r->cfg.mem->dirty)
		split_dirty_used(r, old & (r->cfg.size - 1), cnt);
	/*
	 * Partner: the driver's acquire of the used index before it reads the entries and the
	 * payload.
	 */
	vhx_le16_store_release(&used->idx, r->used_idx);
	vhx_vring_dirty_device(r, offsetof(struct vhx_split_used, idx), sizeof(used->idx));
	r->used_published = r->used_idx;
	/*
	 * Partner: the driver's fence between asking for notifications and its last look at the
	 * index.
	 */
	vhx_fence_full();
	return split_notify_due(r, old);
}

static void split_set_flags(struct vhx_vring *r, uint16_t flags)
{
	struct vhx_split_used *used = split_used(r);

	vhx_le16_store(&used->flags, flags);
	vhx_vring_dirty_device(r, offsetof(struct vhx_split_used, flags), sizeof(used->flags));
}

/*
 * With EVENT_IDX an event index that is left where it is will not be passed again for 65536 chains.
 */
static void split_disable_kick(struct vhx_vring *r)
{
	if (!vhx_vring_has(r, VHX_RING_F_EVENT_IDX))
		split_set_flags(r, VIRTQ_USED_F_NO_NOTIFY);
}

static void split_enable_kick(struct vhx_vring *r)
{
	vhx_le16 *event;

	if (!vhx_vring_has(r, VHX_RING_F_EVENT_IDX)) {
		split_set_flags(r, 0);
		return;
	}
	event = vhx_split_avail_event(split_used(r), r->cfg.size);
	vhx_le16_store(event, r->avail_idx);
	vhx_vring_dirty_device(r, (uint64_t)((char *)event - (char *)r->cfg.device),
			       sizeof(*event));
}

static bool split_pending(struct vhx_vring *r)
{
	return r->avail_seen != r->avail_idx || vhx_le16_load(&split_avail(r)->idx) != r->avail_idx;
}

const struct vhx_vring_ops vhx_split_ops = {
	.init = split_init,
	.pop = split_pop,
	.rewalk = split_rewalk,
	.put_used = split_put_used,
	.flush = split_flush,
	.disable_kick = split_disable_kick,
	.enable_kick = split_enable_kick,
	.pending = split_pending,
};
