// SPDX-License-Identifier: BSD-3-Clause
/*
 * Indirect tables (VirtIO 1.3, 2.7.5.3 and 2.8.7), the rare part of the walker.
 *
 * A table lies anywhere in guest memory: at any alignment, and over more than one of its regions.
 * It is mapped once; then each descriptor is copied before it is looked at. All that a driver can
 * do by writing the table meanwhile is to change which of its own buffers the chain has: the walk
 * is bounded by the number of entries, which was taken from the private copy of the descriptor that
 * refers to the table.
 */
#include "ring/vring.h"

/*
 * Regions that one table may lie over. Regions are at least a page, usually gigabytes; the longest
 * table is 512 KiB, a usual one below a page. More is taken for a table that is not guest memory.
 */
#define TABLE_IOV_MAX 8

struct table {
	struct iovec iov[TABLE_IOV_MAX];
	int iov_cnt;
	uint16_t cnt; /* descriptors */
	bool whole; /* in one piece and aligned for direct access */
};

/* Byte by byte, for a descriptor that is not aligned or not in one piece. */
static void table_gather(const struct table *t, size_t off, uint8_t *to)
{
	int n = 0;

	for (size_t i = 0; i < VHX_DESC_LEN; i++, off++) {
		while (n < t->iov_cnt && off >= t->iov[n].iov_len)
			off -= t->iov[n++].iov_len;
		assert(n < t->iov_cnt);
		to[i] = vhx_load_relaxed((const uint8_t *)t->iov[n].iov_base + off);
	}
}

static int table_fetch_split(struct vhx_walk *w, void *table, struct vhx_ring_desc *d)
{
	const struct table *t = table;
	struct vhx_split_desc copy;

	if (w->at >= t->cnt)
		return VHX_RING_NEXT_RANGE;
	if (!w->left)
		return VHX_RING_LOOP;
	w->left--;
	if (vhx_likely(t->whole)) {
		vhx_split_desc_load((const struct vhx_split_desc *)t->iov[0].iov_base + w->at, d);
	} else {
		table_gather(t, (size_t)w->at * VHX_DESC_LEN, (uint8_t *)&copy);
		vhx_split_desc_load(&copy, d);
	}
	w->at = d->next;
	w->more = d->flags & VIRTQ_DESC_F_NEXT;
	return 0;
}

/* 2.8.7: all entries, in order; NEXT and the ids mean nothing. */
static int table_fetch_packed(struct vhx_walk *w, void *table, struct vhx_ring_desc *d)
{
	const struct table *t = table;
	struct vhx_packed_desc copy;
	const struct vhx_packed_desc *p = &copy;

	if (vhx_likely(t->whole))
		p = (const struct vhx_packed_desc *)t->iov[0].iov_base + w->at;
	else
		table_gather(t, (size_t)w->at * VHX_DESC_LEN, (uint8_t *)&copy);
	vhx_packed_desc_load(p, vhx_le16_load(&p->flags), d);
	w->more = ++w->at < t->cnt;
	return 0;
}

static uint32_t table_max(const struct vhx_walk *w)
{
	return (uint32_t)vhx_max_u64(w->r->cfg.size, VHX_RING_INDIRECT_MAX);
}

/* Are the two flags where the format allows them? */
static int table_check_ref(const struct vhx_walk *w, const struct vhx_ring_desc *ref)
{
	bool packed = vhx_vring_has(w->r, VHX_RING_F_PACKED);

	if (!vhx_vring_has(w->r, VHX_RING_F_INDIRECT))
		return VHX_RING_INDIRECT_OFF;
	/*
	 * 2.7.5.3.1. In a split ring a table may end a chain of others (2.7.5.3.2), in a packed one
	 * not (2.8.7).
	 */
	if (ref->flags & VIRTQ_DESC_F_NEXT || (packed && w->direct_cnt))
		return VHX_RING_INDIRECT_NEXT;
	if (!ref->len || ref->len % VHX_DESC_LEN || ref->len / VHX_DESC_LEN > table_max(w))
		return VHX_RING_INDIRECT_LEN;
	return 0;
}

static int table_map(const struct vhx_walk *w, const struct vhx_ring_desc *ref, struct table *t)
{
	const struct vhx_ring_mem *mem = w->r->cfg.mem;
	uint64_t end;

	if (!vhx_add_u64(ref->addr, ref->len, &end))
		return VHX_RING_ADDRESS_WRAP;
	t->iov_cnt = mem->map(mem->ctx, ref->addr, ref->len, t->iov, TABLE_IOV_MAX);
	if (t->iov_cnt < 0)
		return VHX_RING_INDIRECT_UNMAPPED;
	assert(t->iov_cnt > 0 && t->iov_cnt <= TABLE_IOV_MAX);
	t->cnt = ref->len / VHX_DESC_LEN;
	t->whole = t->iov_cnt == 1 && (uintptr_t)t->iov[0].iov_base % sizeof(uint64_t) == 0;
	return 0;
}

int vhx_walk_indirect(struct vhx_walk *w, const struct vhx_ring_desc *ref)
{
	struct table t;
	int ret;

	ret = table_check_ref(w, ref);
	if (ret)
		return ret;
	ret = table_map(w, ref, &t);
	if (ret)
		return ret;
	w->at = 0;
	w->left = t.cnt;
	ret = vhx_vring_has(w->r, VHX_RING_F_PACKED)
		      ? vhx_walk_table(w, &t, table_fetch_packed, true)
		      : vhx_walk_table(w, &t, table_fetch_split, true);
	/* Nothing follows a table, whatever its own last entry said. */
	w->more = false;
	return ret;
}

/* No room for @d. A caller that has all the room there can be will not come back with more. */
int vhx_walk_add_full(const struct vhx_chain *chain, const struct vhx_ring_desc *d)
{
	uint16_t max = d->flags & VIRTQ_DESC_F_WRITE ? chain->in_max : chain->out_max;

	return max == UINT16_MAX ? VHX_RING_TOO_MANY_SEGMENTS : -ENOBUFS;
}
