// SPDX-License-Identifier: BSD-3-Clause
/*
 * The driver's side of a virtqueue, the part that both formats share.
 *
 * Objects. A struct vhx_vdriver belongs to one thread, and with it the descriptors, the available
 * part and the indirect tables: the device only reads those. Free lists and lengths are private, in
 * the slots; what was written for the device is never read back.
 *
 * An id is free (desc_cnt 0), added (not shown to the device yet), or in flight. get_used takes it
 * back only in flight, so that a device can't complete what it was never given, nor twice.
 *
 * With IN_ORDER one used entry may stand for a batch: it names the newest chain of it, and all
 * older ones are back as well. They are handed out one per call, oldest first.
 *
 * A hostile device can return wrong lengths within a chain's capacity, wrong contents, or nothing.
 * Anything else breaks this ring. Orders of memory access are paired as told in ring.c.
 */
#include "ring/vdriver.h"

#include <string.h>

#include "util/checked.h"

static bool config_valid(const struct vhx_vdriver_config *cfg)
{
	bool packed = cfg->features & VHX_RING_F_PACKED;

	if (!cfg->size || cfg->size > VHX_RING_SIZE_MAX)
		return false;
	if (!packed && !vhx_is_power_of_2(cfg->size))
		return false;
	if (cfg->indirect && (!cfg->indirect_max || (uintptr_t)cfg->indirect % sizeof(uint64_t)))
		return false;
	return (uintptr_t)cfg->desc % VHX_DESC_LEN == 0 &&
	       (uintptr_t)cfg->driver % (packed ? 4 : 2) == 0 && (uintptr_t)cfg->device % 4 == 0;
}

int vhx_vdriver_init(struct vhx_vdriver *d, const struct vhx_vdriver_config *cfg)
{
	bool packed = cfg->features & VHX_RING_F_PACKED;
	/* 2.8.1: wrap counters start at 1. */
	uint16_t start = packed ? 1u << 15 : 0;

	if (!config_valid(cfg))
		return -EINVAL;
	*d = (struct vhx_vdriver){
		.cfg = *cfg,
		.ops = packed ? &vhx_driver_packed_ops : &vhx_driver_split_ops,
		.avail_idx = start,
		.used_idx = start,
		.avail_published = start,
		.free_cnt = cfg->size,
	};
	memset(cfg->desc, 0, vhx_ring_desc_len(cfg->size, cfg->features));
	memset(cfg->driver, 0, vhx_ring_driver_len(cfg->size, cfg->features));
	memset(cfg->device, 0, vhx_ring_device_len(cfg->size, cfg->features));
	memset(cfg->slots, 0, cfg->size * sizeof(*cfg->slots));
	/*
	 * A circle, so that IN_ORDER on a split ring takes descriptors in ring order for ever
	 * (2.7.5.1).
	 */
	for (uint32_t i = 0; i < cfg->size; i++)
		cfg->slots[i].next = i + 1 < cfg->size ? i + 1 : 0;
	return 0;
}

/* Sums the writable part; false: all together is 4 GiB or more. */
static bool chain_lengths(const struct vhx_vdriver_seg *segs, unsigned int out_cnt,
			  unsigned int in_cnt, uint32_t *in_len)
{
	uint32_t sum = 0, out_len = 0;

	for (unsigned int i = 0; i < out_cnt + in_cnt; i++) {
		if (!vhx_add_u32(sum, segs[i].len, &sum))
			return false;
		if (i < out_cnt)
			out_len = sum;
	}
	*in_len = sum - out_len;
	return true;
}

static bool use_indirect(const struct vhx_vdriver *d, unsigned int cnt)
{
	return d->cfg.indirect && vhx_vdriver_has(d, VHX_RING_F_INDIRECT) && cnt > 1 &&
	       cnt <= d->cfg.indirect_max;
}

/* IN_ORDER: @id is the newest. In a split ring the order follows from the heads. */
static void order_append(struct vhx_vdriver *d, uint16_t id)
{
	if (!d->in_flight)
		d->order_head = id;
	else if (vhx_vdriver_has(d, VHX_RING_F_PACKED))
		d->cfg.slots[d->order_tail].next = id;
	d->order_tail = id;
}

int vhx_vdriver_add(struct vhx_vdriver *d, const struct vhx_vdriver_seg *segs, unsigned int out_cnt,
		    unsigned int in_cnt)
{
	struct vhx_vdriver_chain c = { .segs = segs, .out_cnt = out_cnt };
	struct vhx_vdriver_slot *slot;
	unsigned int need;
	uint32_t in_len;
	uint16_t id;

	if (out_cnt > d->cfg.size || in_cnt > d->cfg.size)
		return -EINVAL;
	c.cnt = out_cnt + in_cnt;
	if (!c.cnt || c.cnt > d->cfg.size || !chain_lengths(segs, out_cnt, in_cnt, &in_len))
		return -EINVAL;
	c.indirect = use_indirect(d, c.cnt);
	need = c.indirect ? 1 : c.cnt;
	if (need > d->free_cnt)
		return -ENOSPC;
	id = d->ops->add(d, &c);
	d->free_cnt -= need;
	slot = &d->cfg.slots[id];
	slot->in_len = in_len;
	slot->desc_cnt = need;
	slot->seq = d->added++;
	if (vhx_vdriver_has(d, VHX_RING_F_IN_ORDER))
		order_append(d, id);
	d->in_flight++;
	return id;
}

bool vhx_vdriver_publish(struct vhx_vdriver *d)
{
	if (d->published == d->added)
		return false;
	d->published = d->added;
	return d->ops->publish(d);
}

static int driver_break(struct vhx_vdriver *d, enum vhx_ring_fault fault)
{
	d->broken = fault;
	return -EPROTO;
}

/* Is @id a chain that the device was shown and that is not back? */
static bool with_device(const struct vhx_vdriver *d, uint32_t id)
{
	const struct vhx_vdriver_slot *slot;

	if (id >= d->cfg.size)
		return false;
	slot = &d->cfg.slots[id];
	/* Ages in chains: at most the queue's size, so 16 bits are enough. */
	return slot->desc_cnt &&
	       (uint16_t)(d->added - slot->seq) > (uint16_t)(d->added - d->published);
}

static int batch_fetch(struct vhx_vdriver *d)
{
	uint32_t id, len;
	int ret;

	ret = d->ops->fetch(d, &id, &len);
	if (ret <= 0)
		return ret;
	if (!with_device(d, id))
		return driver_break(d, VHX_RING_USED_ID);
	if (len > d->cfg.slots[id].in_len)
		return driver_break(d, VHX_RING_USED_LEN);
	d->batch_last = id;
	d->batch_len = len;
	d->batch_open = true;
	return 1;
}

/*
 * One chain of the open batch. Terminates: @batch_last is in flight, and the oldest one comes off
 * each time.
 */
static int batch_take(struct vhx_vdriver *d, uint16_t *id, uint32_t *used_len)
{
	uint16_t cur = vhx_vdriver_has(d, VHX_RING_F_IN_ORDER) ? d->order_head : d->batch_last;
	struct vhx_vdriver_slot *slot = &d->cfg.slots[cur];

	if (!d->ops->release(d, cur))
		return driver_break(d, VHX_RING_USED_OVERRUN);
	*id = cur;
	*used_len = cur == d->batch_last ? d->batch_len : slot->in_len;
	d->batch_open = cur != d->batch_last;
	slot->desc_cnt = 0;
	d->in_flight--;
	return 1;
}

int vhx_vdriver_get_used(struct vhx_vdriver *d, uint16_t *id, uint32_t *used_len)
{
	int ret;

	if (d->broken)
		return -EPROTO;
	if (!d->batch_open) {
		ret = batch_fetch(d);
		if (ret <= 0)
			return ret;
	}
	return batch_take(d, id, used_len);
}

void vhx_vdriver_disable_call(struct vhx_vdriver *d)
{
	d->ops->disable_call(d);
}

bool vhx_vdriver_enable_call(struct vhx_vdriver *d)
{
	d->ops->enable_call(d);
	/*
	 * The device's half: its fence between publishing and reading what was just written here.
	 */
	vhx_fence_full();
	return !d->broken && (d->batch_open || d->ops->pending(d));
}
