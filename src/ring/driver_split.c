// SPDX-License-Identifier: BSD-3-Clause
/*
 * Split virtqueue, driver side (VirtIO 1.3, 2.7). The id of a chain is its head. Free descriptors
 * form a list through the slots, which also links those of a chain; with IN_ORDER it stays the
 * circle that it was at the start.
 */
#include "ring/position.h"
#include "ring/vdriver.h"

static void desc_store(struct vhx_split_desc *desc, uint64_t addr, uint32_t len, uint16_t flags,
		       uint16_t next)
{
	vhx_le64_store(&desc->addr, addr);
	vhx_le32_store(&desc->len, len);
	vhx_le16_store(&desc->flags, flags);
	vhx_le16_store(&desc->next, next);
}

static void seg_store(struct vhx_split_desc *desc, const struct vhx_vdriver_chain *c,
		      unsigned int i, uint16_t next)
{
	bool last = i + 1 == c->cnt;
	uint16_t flags = vhx_vdriver_desc_flags(c, i) | (last ? 0 : VIRTQ_DESC_F_NEXT);

	desc_store(desc, c->segs[i].addr, c->segs[i].len, flags, last ? 0 : next);
}

/* Returns the descriptor behind the chain. */
static uint16_t split_add_direct(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c)
{
	struct vhx_split_desc *desc = d->cfg.desc;
	uint16_t at = d->free_head;

	for (unsigned int i = 0; i < c->cnt; i++) {
		uint16_t next = d->cfg.slots[at].next;

		seg_store(&desc[at], c, i, next);
		at = next;
	}
	return at;
}

static uint16_t split_add_indirect(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c)
{
	uint16_t head = d->free_head;
	uint64_t off = vhx_vdriver_table_off(d, head);
	struct vhx_split_desc *table = (void *)((char *)d->cfg.indirect + off);

	for (unsigned int i = 0; i < c->cnt; i++)
		seg_store(&table[i], c, i, i + 1);
	desc_store((struct vhx_split_desc *)d->cfg.desc + head, d->cfg.indirect_addr + off,
		   c->cnt * VHX_DESC_LEN, VIRTQ_DESC_F_INDIRECT, 0);
	return d->cfg.slots[head].next;
}

static uint16_t split_add(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c)
{
	struct vhx_split_avail *avail = d->cfg.driver;
	uint16_t head = d->free_head;

	d->free_head = c->indirect ? split_add_indirect(d, c) : split_add_direct(d, c);
	vhx_le16_store(&avail->ring[d->avail_idx & (d->cfg.size - 1)], head);
	d->avail_idx++;
	return head;
}

static bool split_publish(struct vhx_vdriver *d)
{
	struct vhx_split_avail *avail = d->cfg.driver;
	struct vhx_split_used *used = d->cfg.device;
	uint16_t old = d->avail_published;
	uint16_t event;

	/*
	 * Partner: the device's acquire of the avail index before it reads entries, descriptors and
	 * payload.
	 */
	vhx_le16_store_release(&avail->idx, d->avail_idx);
	d->avail_published = d->avail_idx;
	/* Partner: the device's fence between asking for kicks and its last look at the index. */
	vhx_fence_full();
	if (!vhx_vdriver_has(d, VHX_RING_F_EVENT_IDX))
		return !(vhx_le16_load(&used->flags) & VIRTQ_USED_F_NO_NOTIFY);
	event = vhx_le16_load(vhx_split_avail_event(used, d->cfg.size));
	return vhx_split_event_due(event, d->avail_idx, old);
}

static int split_look(struct vhx_vdriver *d)
{
	const struct vhx_split_used *used = d->cfg.device;
	/* Partner: the device's release of the used index after its entries and the payload. */
	uint16_t idx = vhx_le16_load_acquire(&used->idx);

	if (idx == d->used_idx)
		return 0;
	if ((uint16_t)(idx - d->used_idx) > (uint16_t)(d->avail_published - d->used_idx)) {
		d->broken = VHX_RING_USED_OVERRUN;
		return -EPROTO;
	}
	d->used_seen = idx;
	return 1;
}

static int split_fetch(struct vhx_vdriver *d, uint32_t *id, uint32_t *len)
{
	const struct vhx_split_used *used = d->cfg.device;
	const struct vhx_split_used_elem *e = &used->ring[d->used_idx & (d->cfg.size - 1)];
	int ret;

	if (d->used_idx == d->used_seen) {
		ret = split_look(d);
		if (ret <= 0)
			return ret;
	}
	*id = vhx_le32_load(&e->id);
	*len = vhx_le32_load(&e->len);
	return 1;
}

static bool split_release(struct vhx_vdriver *d, uint16_t id)
{
	struct vhx_vdriver_slot *slots = d->cfg.slots;
	uint16_t cnt = slots[id].desc_cnt;
	uint16_t tail = id;

	if (d->used_idx == d->used_seen)
		return false;
	d->used_idx++;
	d->free_cnt += cnt;
	if (vhx_vdriver_has(d, VHX_RING_F_IN_ORDER)) {
		d->order_head = (id + cnt) & (d->cfg.size - 1);
		return true;
	}
	while (--cnt)
		tail = slots[tail].next;
	slots[tail].next = d->free_head;
	d->free_head = id;
	return true;
}

/*
 * With EVENT_IDX an event index that is left where it is will not be passed again for 65536 chains.
 */
static void split_disable_call(struct vhx_vdriver *d)
{
	struct vhx_split_avail *avail = d->cfg.driver;

	if (!vhx_vdriver_has(d, VHX_RING_F_EVENT_IDX))
		vhx_le16_store(&avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

static void split_enable_call(struct vhx_vdriver *d)
{
	struct vhx_split_avail *avail = d->cfg.driver;

	if (vhx_vdriver_has(d, VHX_RING_F_EVENT_IDX))
		vhx_le16_store(vhx_split_used_event(avail, d->cfg.size), d->used_idx);
	else
		vhx_le16_store(&avail->flags, 0);
}

static bool split_pending(struct vhx_vdriver *d)
{
	const struct vhx_split_used *used = d->cfg.device;

	return d->used_seen != d->used_idx || vhx_le16_load(&used->idx) != d->used_idx;
}

const struct vhx_vdriver_ops vhx_driver_split_ops = {
	.add = split_add,
	.publish = split_publish,
	.fetch = split_fetch,
	.release = split_release,
	.disable_call = split_disable_call,
	.enable_call = split_enable_call,
	.pending = split_pending,
};
