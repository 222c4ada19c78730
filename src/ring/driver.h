/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of a virtqueue, split and packed: for load generators and tests, and for the
 * bridge that drives another back-end. The device at the other end is not trusted: what it writes
 * used is copied and checked.
 */
#ifndef VHX_RING_DRIVER_H
#define VHX_RING_DRIVER_H

#include "ring/ring.h"

/* One segment by the address that the device uses for it. */
struct vhx_vdriver_seg {
	uint64_t addr;
	uint32_t len;
};

/* Private to src/ring. */
struct vhx_vdriver_slot {
	uint32_t in_len; /* bound for what the device may claim to have written */
	uint16_t desc_cnt; /* ring entries taken; 0: id is free */
	uint16_t seq; /* number of the chain, free-running */
	uint16_t next; /* free list; split: within a chain; packed, IN_ORDER: the chain after */
};

struct vhx_vdriver_config {
	uint16_t size;
	uint32_t features;
	void *desc, *driver, *device; /* zeroed by init */
	/* Indirect tables, one of @indirect_max descriptors per id; NULL: direct only. */
	void *indirect;
	uint64_t indirect_addr;
	uint16_t indirect_max;
	struct vhx_vdriver_slot *slots; /* @size of them */
};

struct vhx_vdriver_ops;

struct vhx_vdriver {
	struct vhx_vdriver_config cfg;
	const struct vhx_vdriver_ops *ops; /* split or packed */
	enum vhx_ring_fault broken;
	uint16_t avail_idx, used_idx; /* as in struct vhx_vring */
	uint16_t avail_published; /* avail position that the device was last shown */
	uint16_t used_seen; /* split: used index when it was last read; checked */
	uint16_t added, published; /* chains, free-running */
	uint16_t in_flight;
	uint16_t free_head, free_cnt; /* split: descriptors; packed: ids, count of ring entries */
	uint16_t first_flags; /* packed: withheld flags of the first unpublished descriptor */
	uint16_t order_head, order_tail; /* IN_ORDER: oldest and newest chain in flight */
	uint16_t batch_last; /* what the last used entry said; IN_ORDER: for all older ones too */
	uint32_t batch_len;
	bool batch_open; /* chains of it are still to be returned */
};

/* Starts at index 0, areas zeroed. 0 or -EINVAL (size, alignment, indirect tables of no length). */
int vhx_vdriver_init(struct vhx_vdriver *d, const struct vhx_vdriver_config *cfg);

/*
 * Makes one chain available: @out_cnt readable segments, then @in_cnt writable ones, in @segs.
 * Returns the id (>= 0), below the size and unique until it comes back, or -ENOSPC (no descriptors
 * free now), -EINVAL (no segment, more than the queue's size, 4 GiB in all). The device sees it
 * with the next vhx_vdriver_publish().
 */
int vhx_vdriver_add(struct vhx_vdriver *d, const struct vhx_vdriver_seg *segs, unsigned int out_cnt,
		    unsigned int in_cnt);

/* Releases what was added. True: the device wants a notification. */
bool vhx_vdriver_publish(struct vhx_vdriver *d);

/*
 * 1: a chain came back, *@id and *@used_len are set; 0: none; -EPROTO: the device broke the rules,
 * @broken says which (VHX_RING_USED_*). With IN_ORDER a chain that the device skipped in a batch
 * counts as wholly written (2.7.9, 2.8.8).
 */
int vhx_vdriver_get_used(struct vhx_vdriver *d, uint16_t *id, uint32_t *used_len);

void vhx_vdriver_disable_call(struct vhx_vdriver *d);
/* True: something was used meanwhile, look again before sleeping. */
bool vhx_vdriver_enable_call(struct vhx_vdriver *d);

#endif
