// SPDX-License-Identifier: BSD-3-Clause
/*
 * Packed virtqueue, driver side (VirtIO 1.3, 2.8). Ids come from a free list through the slots and
 * have nothing to do with positions. Of all descriptors added since the last publish only the flags
 * of the first are withheld: the device stops there. A used entry moves used_idx by what the chain
 * with its id took.
 */
#include "ring/position.h"
#include "ring/vdriver.h"

static void desc_store(struct vhx_packed_desc *desc, uint64_t addr, uint32_t len, uint16_t id)
{
	vhx_le64_store(&desc->addr, addr);
	vhx_le32_store(&desc->len, len);
	vhx_le16_store(&desc->id, id);
}

/* Puts one descriptor at avail_idx and moves on. */
static void packed_put(struct vhx_vdriver *d, uint64_t addr, uint32_t len, uint16_t id,
		       uint16_t flags)
{
	struct vhx_packed_desc *desc = (struct vhx_packed_desc *)d->cfg.desc +
				       vhx_pos_idx(d->avail_idx);

	desc_store(desc, addr, len, id);
	flags |= vhx_packed_avail_bits(d->avail_idx);
	if (d->avail_idx == d->avail_published)
		d->first_flags = flags;
	else
		vhx_le16_store(&desc->flags, flags);
	d->avail_idx = vhx_pos_add(d->avail_idx, 1, d->cfg.size);
}

static void packed_add_direct(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c, uint16_t id)
{
	for (unsigned int i = 0; i < c->cnt; i++) {
		uint16_t flags = vhx_vdriver_desc_flags(c, i);

		if (i + 1 < c->cnt)
			flags |= VIRTQ_DESC_F_NEXT;
		packed_put(d, c->segs[i].addr, c->segs[i].len, id, flags);
	}
}

static void packed_add_indirect(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c,
				uint16_t id)
{
	uint64_t off = vhx_vdriver_table_off(d, id);
	struct vhx_packed_desc *table = (void *)((char *)d->cfg.indirect + off);

	/* 2.8.7: WRITE is the only flag in a table, ids are reserved. */
	for (unsigned int i = 0; i < c->cnt; i++) {
		desc_store(&table[i], c->segs[i].addr, c->segs[i].len, 0);
		vhx_le16_store(&table[i].flags, vhx_vdriver_desc_flags(c, i));
	}
	packed_put(d, d->cfg.indirect_addr + off, c->cnt * VHX_DESC_LEN, id, VIRTQ_DESC_F_INDIRECT);
}

static uint16_t packed_add(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c)
{
	uint16_t id = d->free_head;

	d->free_head = d->cfg.slots[id].next;
	if (c->indirect)
		packed_add_indirect(d, c, id);
	else
		packed_add_direct(d, c, id);
	return id;
}

static bool packed_publish(struct vhx_vdriver *d)
{
	uint16_t old = d->avail_published;
	struct vhx_packed_desc *first = (struct vhx_packed_desc *)d->cfg.desc + vhx_pos_idx(old);

	/*
	 * Partner: the device's acquire of these flags before it reads the rest, and the payload.
	 */
	vhx_le16_store_release(&first->flags, d->first_flags);
	d->avail_published = d->avail_idx;
	/* Partner: the device's fence between asking for kicks and its last look at the ring. */
	vhx_fence_full();
	return vhx_packed_notify_due(d->cfg.device, vhx_vdriver_has(d, VHX_RING_F_EVENT_IDX),
				     d->avail_idx, old, d->cfg.size);
}

/* 2.8.1: used means that both bits are this lap's. */
static bool flags_used(uint16_t flags, uint16_t pos)
{
	return (flags & VHX_PACKED_BITS) == vhx_packed_used_bits(pos);
}

static int packed_fetch(struct vhx_vdriver *d, uint32_t *id, uint32_t *len)
{
	const struct vhx_packed_desc *desc = (const struct vhx_packed_desc *)d->cfg.desc +
					     vhx_pos_idx(d->used_idx);
	/* Partner: the device's release of these flags after id, length and the payload. */
	uint16_t flags = vhx_le16_load_acquire(&desc->flags);

	if (!flags_used(flags, d->used_idx))
		return 0;
	*id = vhx_le16_load(&desc->id);
	/* 2.8.4: without WRITE the length means nothing. */
	*len = flags & VIRTQ_DESC_F_WRITE ? vhx_le32_load(&desc->len) : 0;
	return 1;
}

static bool packed_release(struct vhx_vdriver *d, uint16_t id)
{
	struct vhx_vdriver_slot *slot = &d->cfg.slots[id];

	d->used_idx = vhx_pos_add(d->used_idx, slot->desc_cnt, d->cfg.size);
	d->free_cnt += slot->desc_cnt;
	d->order_head = slot->next;
	slot->next = d->free_head;
	d->free_head = id;
	return true;
}

static void packed_disable_call(struct vhx_vdriver *d)
{
	vhx_packed_event_store(d->cfg.driver, RING_EVENT_FLAGS_DISABLE, 0);
}

static void packed_enable_call(struct vhx_vdriver *d)
{
	if (vhx_vdriver_has(d, VHX_RING_F_EVENT_IDX))
		vhx_packed_event_store(d->cfg.driver, RING_EVENT_FLAGS_DESC, d->used_idx);
	else
		vhx_packed_event_store(d->cfg.driver, RING_EVENT_FLAGS_ENABLE, 0);
}

static bool packed_pending(struct vhx_vdriver *d)
{
	const struct vhx_packed_desc *desc = (const struct vhx_packed_desc *)d->cfg.desc +
					     vhx_pos_idx(d->used_idx);

	return flags_used(vhx_le16_load(&desc->flags), d->used_idx);
}

const struct vhx_vdriver_ops vhx_driver_packed_ops = {
	.add = packed_add,
	.publish = packed_publish,
	.fetch = packed_fetch,
	.release = packed_release,
	.disable_call = packed_disable_call,
	.enable_call = packed_enable_call,
	.pending = packed_pending,
};
