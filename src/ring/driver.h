/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of a virtqueue, split and packed: for load generators and tests, and for the
 * bridge that drives another back-end. The device at the other end is not trusted: what it writes used is
 * copied and checked.
 */
#ifndef VHX_RING_DRIVER_H
#define VHX_RING_DRIVER_H

#include "ring/ring.h"

/* One segment by the address that the device uses for it. */
struct vhx_vdriver_seg {
	uint64_t addr;
	uint32_t len;
};

struct vhx_vdriver_slot {
	uint32_t in_len;   /* bound for what the device may claim to have written */
	uint16_t desc_cnt; /* ring entries taken; 0: id is free */
	uint16_t first;	   /* split: head; packed: position */
	uint16_t next;	   /* free list, or order of submission for IN_ORDER */
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

struct vhx_vdriver {
	struct vhx_vdriver_config cfg;
	enum vhx_ring_fault broken;
	uint16_t avail_idx, used_idx; /* as in struct vhx_vring */
	uint16_t kicked;	      /* avail position at the last notification */
	uint16_t free_head, free_cnt; /* split: descriptors; packed: ids and ring entries */
	uint16_t id_cnt;
	uint16_t order_head, order_tail;
};

int vhx_vdriver_init(struct vhx_vdriver *d, const struct vhx_vdriver_config *cfg);

/*
 * Makes one chain available: @out_cnt readable segments, then @in_cnt writable ones, in @segs. Returns the
 * id (>= 0), or -ENOSPC (no descriptors free now), -EINVAL (no segment, or more than fit ever). The device
 * sees it with the next vhx_vdriver_publish().
 */
int vhx_vdriver_add(struct vhx_vdriver *d, const struct vhx_vdriver_seg *segs, unsigned int out_cnt,
		    unsigned int in_cnt);

/* Releases what was added. True: the device wants a notification. */
bool vhx_vdriver_publish(struct vhx_vdriver *d);

/* 1: a chain came back, *@id and *@used_len are set. 0: none. -EPROTO: the device broke the rules. */
int vhx_vdriver_get_used(struct vhx_vdriver *d, uint16_t *id, uint32_t *used_len);

void vhx_vdriver_disable_call(struct vhx_vdriver *d);
/* True: something was used meanwhile, look again before sleeping. */
bool vhx_vdriver_enable_call(struct vhx_vdriver *d);

#endif
