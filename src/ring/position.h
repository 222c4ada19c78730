/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arithmetic of positions, without memory: when an event index asks for a notification, and how a
 * packed position (index in bits 14:0, wrap counter in bit 15) moves round a ring of any size.
 */
#ifndef VHX_RING_POSITION_H
#define VHX_RING_POSITION_H

#include "ring/layout.h"

#define VHX_POS_WRAP (1u << 15)

/* Split (2.7.7.2, 2.7.10.2): did the index pass @event on its way from @old to @new? */
static inline bool vhx_split_event_due(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static inline uint16_t vhx_pos_idx(uint16_t pos)
{
	return pos & (VHX_POS_WRAP - 1);
}

static inline bool vhx_pos_wrap(uint16_t pos)
{
	return pos & VHX_POS_WRAP;
}

/* @cnt <= @size. */
static inline uint16_t vhx_pos_add(uint16_t pos, uint16_t cnt, uint16_t size)
{
	uint32_t idx = (uint32_t)vhx_pos_idx(pos) + cnt;
	uint16_t wrap = pos & VHX_POS_WRAP;

	if (idx < size)
		return idx | wrap;
	return (idx - size) | (wrap ^ VHX_POS_WRAP);
}

/*
 * @pos counted so that those of @ref's lap are as they are and those of the lap before are
 * negative.
 */
static inline int32_t vhx_pos_linear(uint16_t pos, uint16_t ref, uint16_t size)
{
	int32_t idx = vhx_pos_idx(pos);

	return vhx_pos_wrap(pos) == vhx_pos_wrap(ref) ? idx : idx - size;
}

/* Entries from @from on to @to, which is at most one lap ahead; negative: it is not. */
static inline int32_t vhx_pos_distance(uint16_t from, uint16_t to, uint16_t size)
{
	return (int32_t)vhx_pos_idx(to) - vhx_pos_linear(from, to, size);
}

/* Packed (2.8.10): does an entry from @old up to, not including, @new lie at @event? */
static inline bool vhx_packed_event_due(uint16_t event, uint16_t new, uint16_t old, uint16_t size)
{
	int32_t at = vhx_pos_linear(event, new, size);

	return at >= vhx_pos_linear(old, new, size) && at < (int32_t)vhx_pos_idx(new);
}

/*
 * What the other side's event suppression area says about a batch that went from @old to @new.
 * Values that the specification reserves count as "notify": the worst is a spurious one.
 */
static inline bool vhx_packed_notify_due(const struct vhx_packed_event *ev, bool event_idx,
					 uint16_t new, uint16_t old, uint16_t size)
{
	uint32_t word = vhx_le32_load(&ev->word);
	uint16_t flags = (word >> 16) & 3;

	if (flags == RING_EVENT_FLAGS_DISABLE)
		return false;
	if (flags == RING_EVENT_FLAGS_DESC && event_idx)
		return vhx_packed_event_due(word & 0xffff, new, old, size);
	return true;
}

static inline void vhx_packed_event_store(struct vhx_packed_event *ev, uint16_t flags, uint16_t pos)
{
	vhx_le32_store(&ev->word, (uint32_t)flags << 16 | pos);
}

/* Descriptor flags that mean "available" and "used" in the lap of @pos (2.8.1). */
static inline uint16_t vhx_packed_avail_bits(uint16_t pos)
{
	return vhx_pos_wrap(pos) ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
}

static inline uint16_t vhx_packed_used_bits(uint16_t pos)
{
	return vhx_pos_wrap(pos) ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0;
}

#define VHX_PACKED_BITS (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED)

#endif
