// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Chains of descriptors, as the device reads them. The driver is of the same kernel and trusted,
 * but may have bugs: chains are bounded by the length of their table, and addresses are checked.
 */
#include <linux/overflow.h>

#include "chain.h"

/*
 * Longest indirect table that is walked, so that its request can end with an error; the longest one
 * that is carried is HMX_CHAIN_MAX. A driver may not make it longer than the ring, but Linux'
 * drivers go by the device's seg_max instead, and virtio_blk up to 32768 segments.
 */
#define INDIRECT_MAX 33000u

struct hmx_position hmx_chain_start(const struct hmx_queue *q, u16 head)
{
	return (struct hmx_position){
		.table = q->vring->desc,
		.len = q->vring->num,
		.left = q->vring->num,
		.at = head,
		.more = true,
	};
}

/* VirtIO 2.7.5.3: a table in place of the rest of the chain. Tables do not nest. */
static int table_enter(const struct hmx_queue *q, struct hmx_position *p)
{
	const struct vring_desc *d = &p->table[p->at];
	u32 len = ring32(d->len), cnt = len / sizeof(*d);
	const void *table;

	if (p->table != q->vring->desc || ring16(d->flags) & VRING_DESC_F_NEXT)
		return -EINVAL;
	if (!cnt || len % sizeof(*d) || cnt > max_t(u32, q->size, INDIRECT_MAX))
		return -EINVAL;
	table = hmx_map_addr(q->dev, ring64(d->addr), len);
	if (!table)
		return -EINVAL;
	*p = (struct hmx_position){ .table = table, .len = cnt, .left = cnt, .more = true };
	return 0;
}

/* As hmx_chain_look(), but of the whole descriptor, and without a look at its address. */
static int desc_look(const struct hmx_queue *q, struct hmx_position *p, struct hmx_segment *seg,
		     u64 *addr)
{
	const struct vring_desc *d;
	u16 flags;

	if (!p->more)
		return 0;
	if (p->at >= p->len || !p->left)
		return -EINVAL;
	if (ring16(p->table[p->at].flags) & VRING_DESC_F_INDIRECT && table_enter(q, p))
		return -EINVAL;
	d = &p->table[p->at];
	flags = ring16(d->flags);
	*addr = ring64(d->addr);
	seg->len = ring32(d->len);
	if (flags & VRING_DESC_F_INDIRECT || p->off > seg->len)
		return -EINVAL;
	seg->write = flags & VRING_DESC_F_WRITE;
	seg->more = flags & VRING_DESC_F_NEXT;
	seg->next = ring16(d->next);
	return 1;
}

int hmx_chain_look(const struct hmx_queue *q, struct hmx_position *p, struct hmx_segment *seg)
{
	u64 addr;
	int ret;

	ret = desc_look(q, p, seg, &addr);
	if (ret <= 0)
		return ret;
	seg->addr = hmx_map_addr(q->dev, addr, seg->len);
	if (!seg->addr)
		return -EINVAL;
	seg->addr += p->off;
	seg->len -= p->off;
	return 1;
}

static int chain_peek(const struct hmx_queue *q, struct hmx_chain *c, u64 addr, u32 len, u32 n)
{
	const void *bytes = hmx_map_addr(q->dev, addr, len);

	if (!bytes)
		return -EINVAL;
	memcpy(c->peek + c->peek_len, bytes, n);
	c->peek_len += n;
	return 0;
}

static int chain_add(const struct hmx_queue *q, struct hmx_chain *c, const struct hmx_segment *seg,
		     u64 addr)
{
	u32 n;

	c->cost += HMX_DESC_COST;
	c->cnt++;
	if (seg->write)
		return check_add_overflow(c->in_len, seg->len, &c->in_len) ? -EINVAL : 0;
	/* 2.7.4.2: what the device reads comes before what it writes. */
	if (c->in_len || check_add_overflow(c->out_len, seg->len, &c->out_len))
		return -EINVAL;
	n = min_t(u32, seg->len, sizeof(c->peek) - c->peek_len);
	return n ? chain_peek(q, c, addr, seg->len, n) : 0;
}

/*
 * Addresses are dear beside everything else of a descriptor, and each is looked at when its bytes
 * are: here only of what is peeked at.
 */
int hmx_chain_measure(const struct hmx_queue *q, u16 head, struct hmx_chain *c)
{
	struct hmx_position p = hmx_chain_start(q, head);
	struct hmx_segment seg;
	u64 addr;
	int ret;

	*c = (struct hmx_chain){ 0 };
	while ((ret = desc_look(q, &p, &seg, &addr)) > 0) {
		ret = chain_add(q, c, &seg, addr);
		if (ret)
			break;
		hmx_chain_advance(&p, &seg, seg.len);
	}
	return ret;
}

int hmx_chain_in(const struct hmx_queue *q, struct hmx_position *p, u32 *skip,
		 struct hmx_segment *seg)
{
	int ret;

	while ((ret = hmx_chain_look(q, p, seg)) > 0) {
		if (seg->write && *skip < seg->len)
			break;
		if (seg->write)
			*skip -= seg->len;
		hmx_chain_advance(p, seg, seg->len);
	}
	if (ret <= 0)
		return ret;
	hmx_chain_advance(p, seg, *skip);
	seg->addr += *skip;
	seg->len -= *skip;
	*skip = 0;
	return 1;
}
