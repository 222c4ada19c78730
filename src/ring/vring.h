/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the device side: what split.c and packed.c give to ring.c, and the walker that all of them
 * share.
 *
 * The walker is written once, over an accessor that copies the next descriptor of a chain and says
 * whether another one follows. There are five of them: table of a split ring, packed ring, private
 * copies of a packed chain, and indirect tables of either format. It is inline so that the accessor
 * is a direct call.
 */
#ifndef VHX_RING_VRING_H
#define VHX_RING_VRING_H

#include "ring/layout.h"
#include "ring/ring.h"
#include "util/checked.h"

/* States of a slot in its role as a chain. */
enum vhx_slot_state {
	VHX_SLOT_FREE, /* the id is the driver's */
	VHX_SLOT_POPPED, /* with the caller: may be rewalked or pushed */
	VHX_SLOT_DONE, /* IN_ORDER: pushed, but an older one was not yet */
};

/*
 * Functions that return int: 1, 0, -ENOBUFS as their public callers do, or -EPROTO after
 * vhx_vring_break(). @put_used writes one used entry at used_idx, invisible until @flush.
 */
struct vhx_vring_ops {
	int (*init)(struct vhx_vring *r);
	int (*pop)(struct vhx_vring *r, struct vhx_chain *chain);
	int (*rewalk)(struct vhx_vring *r, uint16_t id, struct vhx_chain *chain);
	void (*put_used)(struct vhx_vring *r, uint16_t id, uint32_t used_len);
	bool (*flush)(struct vhx_vring *r);
	void (*disable_kick)(struct vhx_vring *r);
	void (*enable_kick)(struct vhx_vring *r);
	bool (*pending)(struct vhx_vring *r);
};

extern const struct vhx_vring_ops vhx_split_ops;
extern const struct vhx_vring_ops vhx_packed_ops;

int vhx_vring_break(struct vhx_vring *r, enum vhx_ring_fault fault);
void vhx_vring_take(struct vhx_vring *r, uint16_t id);

static inline bool vhx_vring_has(const struct vhx_vring *r, enum vhx_ring_feature feature)
{
	return r->cfg.features & feature;
}

/* Bytes at @off of the device area were written. */
static inline void vhx_vring_dirty_device(struct vhx_vring *r, uint64_t off, uint64_t len)
{
	const struct vhx_ring_mem *mem = r->cfg.mem;

	if (mem->dirty)
		mem->dirty(mem->ctx, r->cfg.device_addr + off, len);
}

/* One walk over one chain. */
struct vhx_walk {
	struct vhx_vring *r;
	struct vhx_chain *chain;
	uint16_t at; /* the accessor's: next descriptor */
	uint16_t left; /* descriptors that the chain may still have */
	uint16_t direct_cnt; /* ring descriptors seen so far */
	bool more; /* set by the accessor: another one follows */
	bool writable; /* a device-writable one was seen */
};

/* Copies the descriptor at w->at and moves on. Returns 0 or an enum vhx_ring_fault. */
typedef int (*vhx_fetch_fn)(struct vhx_walk *w, void *table, struct vhx_ring_desc *d);

int vhx_walk_indirect(struct vhx_walk *w, const struct vhx_ring_desc *ref);
int vhx_walk_add_full(const struct vhx_chain *chain, const struct vhx_ring_desc *d);

static inline int vhx_walk_map(struct vhx_walk *w, const struct vhx_ring_desc *d)
{
	const struct vhx_ring_mem *mem = w->r->cfg.mem;
	bool in = d->flags & VIRTQ_DESC_F_WRITE;
	struct vhx_chain *c = w->chain;
	uint16_t *cnt = in ? &c->in_cnt : &c->out_cnt;
	uint16_t room = (in ? c->in_max : c->out_max) - *cnt;
	int n;

	if (!room)
		return vhx_walk_add_full(c, d);
	n = mem->map(mem->ctx, d->addr, d->len, (in ? c->in : c->out) + *cnt, room);
	if (vhx_unlikely(n < 0))
		return n == -E2BIG ? vhx_walk_add_full(c, d) : VHX_RING_UNMAPPED;
	assert(n > 0 && n <= room);
	*cnt += n;
	return 0;
}

/* Appends what one descriptor describes to the chain. 0, a fault, or -ENOBUFS. */
static inline int vhx_walk_add(struct vhx_walk *w, const struct vhx_ring_desc *d)
{
	bool in = d->flags & VIRTQ_DESC_F_WRITE;
	struct vhx_chain *c = w->chain;
	uint64_t end;
	uint32_t sum;
	int ret;

	/* 2.7.4.2: all readable ones come first. */
	if (w->writable && !in)
		return VHX_RING_READ_AFTER_WRITE;
	w->writable = in;
	if (!d->len)
		return 0;
	if (!vhx_add_u64(d->addr, d->len, &end))
		return VHX_RING_ADDRESS_WRAP;
	ret = vhx_walk_map(w, d);
	if (ret)
		return ret;
	/* 2.7.5: not more than 2^32 bytes in all; each part's sum fits when that of both does. */
	if (!vhx_add_u32(c->out_len + c->in_len, d->len, &sum))
		return VHX_RING_LEN_WRAP;
	*(in ? &c->in_len : &c->out_len) += d->len;
	return 0;
}

/* The walker. 0, a fault, or -ENOBUFS. Ends after w->left descriptors at the latest. */
static inline __attribute__((always_inline)) int vhx_walk_table(struct vhx_walk *w, void *table,
								vhx_fetch_fn fetch, bool indirect)
{
	struct vhx_ring_desc d;
	int ret;

	do {
		ret = fetch(w, table, &d);
		if (vhx_unlikely(ret))
			return ret;
		if (vhx_likely(!(d.flags & VIRTQ_DESC_F_INDIRECT)))
			ret = vhx_walk_add(w, &d);
		else if (indirect)
			ret = VHX_RING_INDIRECT_NESTED;
		else
			ret = vhx_walk_indirect(w, &d);
		if (vhx_unlikely(ret))
			return ret;
		if (!indirect)
			w->direct_cnt++;
	} while (w->more);
	return 0;
}

static inline void vhx_walk_begin(struct vhx_walk *w, struct vhx_vring *r, struct vhx_chain *chain)
{
	*w = (struct vhx_walk){ .r = r, .chain = chain };
	chain->out_cnt = 0;
	chain->in_cnt = 0;
	chain->out_len = 0;
	chain->in_len = 0;
}

/* A walk's result in the form of pop and rewalk. */
static inline int vhx_walk_result(struct vhx_vring *r, int ret)
{
	return vhx_unlikely(ret > 0) ? vhx_vring_break(r, ret) : ret;
}

#endif
