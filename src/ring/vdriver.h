/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the driver side: what driver_split.c and driver_packed.c give to driver.c.
 */
#ifndef VHX_RING_VDRIVER_H
#define VHX_RING_VDRIVER_H

#include "ring/driver.h"
#include "ring/layout.h"

/* A chain to add, counted and checked. */
struct vhx_vdriver_chain {
	const struct vhx_vdriver_seg *segs;
	unsigned int out_cnt, cnt;
	bool indirect;
};

struct vhx_vdriver_ops {
	/* Writes the chain, which is known to fit, and moves avail_idx. Returns its id. */
	uint16_t (*add)(struct vhx_vdriver *d, const struct vhx_vdriver_chain *c);
	/* There is something to publish. True: notify. */
	bool (*publish)(struct vhx_vdriver *d);
	/* Copies the used entry at used_idx: 1, 0, or -EPROTO. Leaves used_idx where it is. */
	int (*fetch)(struct vhx_vdriver *d, uint32_t *id, uint32_t *len);
	/*
	 * Moves used_idx over chain @id and frees its entries. False: the device had not come so
	 * far.
	 */
	bool (*release)(struct vhx_vdriver *d, uint16_t id);
	void (*disable_call)(struct vhx_vdriver *d);
	void (*enable_call)(struct vhx_vdriver *d);
	bool (*pending)(struct vhx_vdriver *d);
};

extern const struct vhx_vdriver_ops vhx_driver_split_ops;
extern const struct vhx_vdriver_ops vhx_driver_packed_ops;

static inline bool vhx_vdriver_has(const struct vhx_vdriver *d, enum vhx_ring_feature feature)
{
	return d->cfg.features & feature;
}

/* Flags of descriptor @i of a chain, as far as both formats have them in common. */
static inline uint16_t vhx_vdriver_desc_flags(const struct vhx_vdriver_chain *c, unsigned int i)
{
	return i < c->out_cnt ? 0 : VIRTQ_DESC_F_WRITE;
}

static inline uint64_t vhx_vdriver_table_off(const struct vhx_vdriver *d, uint16_t id)
{
	return (uint64_t)id * d->cfg.indirect_max * VHX_DESC_LEN;
}

#endif
