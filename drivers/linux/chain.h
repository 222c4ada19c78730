/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Walking a chain of descriptors (VirtIO 2.7.5): one algorithm, for what is sent and for what is
 * written back. No state but the position, which the caller keeps.
 */
#ifndef HMX_CHAIN_H
#define HMX_CHAIN_H

#include "virtio_hmx.h"

/* The ring of a device with VERSION_1, which we insist on, is little-endian. */

static inline u16 ring16(__virtio16 v)
{
	return __virtio16_to_cpu(true, v);
}

static inline u32 ring32(__virtio32 v)
{
	return __virtio32_to_cpu(true, v);
}

static inline u64 ring64(__virtio64 v)
{
	return __virtio64_to_cpu(true, v);
}

/* What is left of one descriptor. */
struct hmx_segment {
	u8 *addr;
	u32 len;
	bool write;
	bool more; /* another descriptor follows it */
	u16 next;
};

struct hmx_chain {
	u32 out_len, in_len;
	u32 cost;
	u32 cnt; /* descriptors */
	u8 peek[HMX_TYPE_PEEK];
	u32 peek_len;
};

/* At the beginning of the chain with head descriptor @head. */
struct hmx_position hmx_chain_start(const struct hmx_queue *q, u16 head);
/* 1: @seg is what is left of the descriptor at @p; 0: the chain has ended; -EINVAL: it is bad. */
int hmx_chain_look(const struct hmx_queue *q, struct hmx_position *p, struct hmx_segment *seg);
/* @n bytes of @seg, which was looked at, are done. */
static inline void hmx_chain_advance(struct hmx_position *p, const struct hmx_segment *seg, u32 n)
{
	p->off += n;
	if (n < seg->len)
		return;
	p->off = 0;
	p->left--;
	p->at = seg->next;
	p->more = seg->more;
}

/*
 * The next writable bytes at @p, @skip further on. 1, 0 or -EINVAL as hmx_chain_look(); @skip is
 * what could not be skipped yet.
 */
int hmx_chain_in(const struct hmx_queue *q, struct hmx_position *p, u32 *skip,
		 struct hmx_segment *seg);
/*
 * 0, or -EINVAL. Looks at every descriptor of the chain, and at no address but those of what it
 * peeks at.
 */
int hmx_chain_measure(const struct hmx_queue *q, u16 head, struct hmx_chain *c);

#endif
