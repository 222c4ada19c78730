// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device's side of a virtqueue, the part that both formats share.
 *
 * Objects. A struct vhx_vring belongs to one thread. It owns its positions and the slots; the three
 * areas belong to the driver, who may write any byte of them at any time.
 *
 * A chain is FREE (the driver's), then POPPED (the caller's), and FREE again when its used entry is
 * written. With IN_ORDER a chain that is pushed before an older one is DONE meanwhile. pop wants
 * FREE, rewalk POPPED, push POPPED, adopt FREE. What pop finds in another state is the driver's
 * fault and breaks the ring; the others assert, for their ids come from our own tables.
 *
 * Order. pop acquires what the driver's publish releases (split: avail index; packed: flags of the
 * first descriptor). flush releases what the driver's get_used acquires (split: used index; packed:
 * flags of the first used descriptor). Between publishing and looking whether the other side wants
 * to hear of it, and between asking to hear of news and looking for them, stands a full fence, on
 * both sides.
 *
 * A hostile driver can make its own chains fail, get its buffers mixed up, and miss notifications.
 * Each pop is bounded by the size of the queue plus that of one indirect table.
 */
#include "ring/vring.h"

#include <string.h>

static const char *const fault_names[] = {
	[VHX_RING_OK] = "ok",
	[VHX_RING_AVAIL_OVERRUN] = "more entries available than the queue has",
	[VHX_RING_HEAD_RANGE] = "head out of range",
	[VHX_RING_HEAD_BUSY] = "head already in flight",
	[VHX_RING_NEXT_RANGE] = "next out of range",
	[VHX_RING_LOOP] = "chain longer than its table",
	[VHX_RING_INDIRECT_OFF] = "indirect descriptor without the feature",
	[VHX_RING_INDIRECT_NESTED] = "indirect table within an indirect table",
	[VHX_RING_INDIRECT_NEXT] = "indirect table in a chain that goes on",
	[VHX_RING_INDIRECT_LEN] = "length of an indirect table",
	[VHX_RING_INDIRECT_UNMAPPED] = "indirect table outside guest memory",
	[VHX_RING_READ_AFTER_WRITE] = "readable descriptor behind a writable one",
	[VHX_RING_ADDRESS_WRAP] = "buffer wraps the address space",
	[VHX_RING_UNMAPPED] = "buffer outside guest memory",
	[VHX_RING_TOO_MANY_SEGMENTS] = "too many segments",
	[VHX_RING_LEN_WRAP] = "chain of 4 GiB or more",
	[VHX_RING_BUFFER_ID] = "buffer id out of range or in flight",
	[VHX_RING_USED_OVERRUN] = "more entries used than were available",
	[VHX_RING_USED_ID] = "used id out of range or not in flight",
	[VHX_RING_USED_LEN] = "used length beyond the chain",
};

static_assert(VHX_ARRAY_SIZE(fault_names) == VHX_RING_FAULT_CNT_, "a name for each fault");

const char *vhx_ring_fault_name(enum vhx_ring_fault fault)
{
	return (unsigned int)fault < VHX_RING_FAULT_CNT_ ? fault_names[fault] : "unknown";
}

static const struct {
	enum vhx_ring_feature feature;
	unsigned int bit;
} feature_bits[] = {
	{ VHX_RING_F_INDIRECT, 28 },
	{ VHX_RING_F_EVENT_IDX, 29 },
	{ VHX_RING_F_PACKED, 34 },
	{ VHX_RING_F_IN_ORDER, 35 },
};

uint32_t vhx_ring_features(uint64_t bits)
{
	uint32_t features = 0;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(feature_bits); i++) {
		if (bits >> feature_bits[i].bit & 1)
			features |= feature_bits[i].feature;
	}
	return features;
}

uint64_t vhx_ring_feature_bits(uint32_t features)
{
	uint64_t bits = 0;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(feature_bits); i++) {
		if (features & feature_bits[i].feature)
			bits |= 1ull << feature_bits[i].bit;
	}
	return bits;
}

/* The first fault stays: it is the cause of what comes after. */
int vhx_vring_break(struct vhx_vring *r, enum vhx_ring_fault fault)
{
	if (!r->broken)
		r->broken = fault;
	return -EPROTO;
}

static bool config_valid(const struct vhx_vring_config *cfg)
{
	bool packed = cfg->features & VHX_RING_F_PACKED;

	if (!cfg->size || cfg->size > VHX_RING_SIZE_MAX)
		return false;
	if (!packed && !vhx_is_power_of_2(cfg->size))
		return false;
	/* 2.7, 2.8.13, 2.8.14 */
	return (uintptr_t)cfg->desc % VHX_DESC_LEN == 0 &&
	       (uintptr_t)cfg->driver % (packed ? 4 : 2) == 0 && (uintptr_t)cfg->device % 4 == 0;
}

int vhx_vring_init(struct vhx_vring *r, const struct vhx_vring_config *cfg, uint16_t avail_idx,
		   uint16_t used_idx)
{
	if (!config_valid(cfg))
		return -EINVAL;
	*r = (struct vhx_vring){
		.cfg = *cfg,
		.ops = cfg->features & VHX_RING_F_PACKED ? &vhx_packed_ops : &vhx_split_ops,
		.avail_idx = avail_idx,
		.used_idx = used_idx,
		.used_published = used_idx,
	};
	memset(cfg->slots, 0, cfg->size * sizeof(*cfg->slots));
	return r->ops->init(r);
}

/* A chain becomes the caller's. */
void vhx_vring_take(struct vhx_vring *r, uint16_t id)
{
	struct vhx_ring_slot *slots = r->cfg.slots;

	slots[id].state = VHX_SLOT_POPPED;
	slots[id].taken = r->taken++;
	if (vhx_vring_has(r, VHX_RING_F_IN_ORDER)) {
		if (r->in_flight)
			slots[r->order_tail].next = id;
		else
			r->order_head = id;
		r->order_tail = id;
	}
	r->in_flight++;
}

int vhx_vring_pop(struct vhx_vring *r, struct vhx_chain *chain)
{
	if (vhx_unlikely(r->broken))
		return -EPROTO;
	return r->ops->pop(r, chain);
}

int vhx_vring_rewalk(struct vhx_vring *r, uint16_t id, struct vhx_chain *chain)
{
	assert(id < r->cfg.size && r->cfg.slots[id].state == VHX_SLOT_POPPED);
	if (r->broken)
		return -EPROTO;
	return r->ops->rewalk(r, id, chain);
}

int vhx_vring_adopt(struct vhx_vring *r, uint16_t id)
{
	if (vhx_vring_has(r, VHX_RING_F_PACKED) || id >= r->cfg.size ||
	    r->cfg.slots[id].state != VHX_SLOT_FREE)
		return -EINVAL;
	/* Of these chains the driver knows that they are not back; there can't be others. */
	if (r->in_flight >= (uint16_t)(r->avail_idx - r->used_idx))
		return -EINVAL;
	vhx_vring_take(r, id);
	r->adopted++;
	return 0;
}

/* Are those in flight the last ones that were popped, and none of them DONE? */
static bool last_in_flight(const struct vhx_vring *r)
{
	const struct vhx_ring_slot *slot;
	uint16_t i;

	for (i = 0; i < r->cfg.size; i++) {
		slot = &r->cfg.slots[i];
		if (slot->state == VHX_SLOT_DONE)
			return false;
		if (slot->state == VHX_SLOT_POPPED && r->taken - slot->taken > r->in_flight)
			return false;
	}
	return true;
}

int vhx_vring_give_back(struct vhx_vring *r)
{
	/* Those that were adopted are the oldest, so that they are in flight if so many are. */
	if (r->broken || r->in_flight > r->taken - r->adopted || !last_in_flight(r))
		return -EBUSY;
	/* Packed: all before them is used, so they lie right behind, as their driver wrote them. */
	if (vhx_vring_has(r, VHX_RING_F_PACKED))
		r->avail_idx = r->used_idx;
	else
		r->avail_idx -= r->in_flight;
	r->in_flight = 0;
	return 0;
}

static void chain_finish(struct vhx_vring *r, uint16_t id, uint32_t used_len)
{
	r->cfg.slots[id].state = VHX_SLOT_FREE;
	r->in_flight--;
	r->ops->put_used(r, id, used_len);
}

/*
 * 2.7.9, 2.8.8: oldest first, as far as there is no gap. Each gets a used entry of its own, for its
 * length.
 */
static void chain_finish_in_order(struct vhx_vring *r)
{
	const struct vhx_ring_slot *slot;
	uint16_t id;

	while (r->in_flight) {
		id = r->order_head;
		slot = &r->cfg.slots[id];
		if (slot->state != VHX_SLOT_DONE)
			return;
		r->order_head = slot->next;
		chain_finish(r, id, slot->used_len);
	}
}

void vhx_vring_push(struct vhx_vring *r, uint16_t id, uint32_t used_len)
{
	struct vhx_ring_slot *slot = &r->cfg.slots[id];

	assert(id < r->cfg.size && slot->state == VHX_SLOT_POPPED);
	if (!vhx_vring_has(r, VHX_RING_F_IN_ORDER)) {
		chain_finish(r, id, used_len);
		return;
	}
	slot->used_len = used_len;
	slot->state = VHX_SLOT_DONE;
	chain_finish_in_order(r);
}

bool vhx_vring_flush(struct vhx_vring *r)
{
	if (r->used_idx == r->used_published)
		return false;
	return r->ops->flush(r);
}

void vhx_vring_disable_kick(struct vhx_vring *r)
{
	if (r->kick_off)
		return;
	r->kick_off = true;
	r->ops->disable_kick(r);
}

bool vhx_vring_enable_kick(struct vhx_vring *r)
{
	r->kick_off = false;
	r->ops->enable_kick(r);
	/*
	 * The driver's half: its fence between publishing and reading what was just written here.
	 */
	vhx_fence_full();
	return !r->broken && r->ops->pending(r);
}

uint64_t vhx_ring_desc_len(uint16_t size, uint32_t features)
{
	return (uint64_t)size * VHX_DESC_LEN;
}

uint64_t vhx_ring_driver_len(uint16_t size, uint32_t features)
{
	if (features & VHX_RING_F_PACKED)
		return sizeof(struct vhx_packed_event);
	return sizeof(struct vhx_split_avail) + ((uint64_t)size + 1) * sizeof(vhx_le16);
}

uint64_t vhx_ring_device_len(uint16_t size, uint32_t features)
{
	if (features & VHX_RING_F_PACKED)
		return sizeof(struct vhx_packed_event);
	return sizeof(struct vhx_split_used) + (uint64_t)size * sizeof(struct vhx_split_used_elem) +
	       sizeof(vhx_le16);
}
