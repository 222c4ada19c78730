/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside inflight tracking: what its two layouts give to inflight.c. Private to inflight*.c.
 */
#ifndef VHX_VHOST_USER_INFLIGHT_FORMAT_H
#define VHX_VHOST_USER_INFLIGHT_FORMAT_H

#include "vhost_user/inflight.h"

/* How a queue's part begins in either layout. */
struct vhx_vu_inflight_head {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
};

struct vhx_vu_inflight_format {
	uint32_t head_len, entry_len;
	/* Makes an empty region; version and desc_num are the caller's. */
	void (*init)(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring);
	/* 0, -EPROTO, -ENOMEM. */
	int (*recover)(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring);
	void (*popped)(struct vhx_vu_inflight_queue *iq, uint16_t id,
		       const struct vhx_ring_copy *copies, uint16_t cnt);
	/* @id joins iq->batch behind what is there already. */
	void (*pushed)(struct vhx_vu_inflight_queue *iq, uint16_t id);
	/* Around a flush, with a batch that is not empty. */
	void (*publish)(struct vhx_vu_inflight_queue *iq, uint16_t used);
	void (*published)(struct vhx_vu_inflight_queue *iq, uint16_t used);
};

extern const struct vhx_vu_inflight_format vhx_vu_inflight_split;
extern const struct vhx_vu_inflight_format vhx_vu_inflight_packed;

/* An entry that is in flight, by its counter. */
struct vhx_vu_inflight_left {
	uint64_t counter;
	uint16_t entry;
};

/* Oldest first. */
void vhx_vu_inflight_sort(struct vhx_vu_inflight_left *left, uint16_t cnt);

#endif
