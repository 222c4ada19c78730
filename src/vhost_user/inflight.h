/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inflight tracking: which requests are out, noted in memory that the VMM keeps, so that a
 * successor of this process can submit them again (vhost-user, "Inflight I/O tracking").
 */
#ifndef VHX_VHOST_USER_INFLIGHT_H
#define VHX_VHOST_USER_INFLIGHT_H

#include "vhost_user/map.h"

/* The region of a connection, divided evenly among its queues. */
struct vhx_vu_inflight {
	struct vhx_vu_map map; /* data NULL: no tracking */
	uint64_t stride;
	uint16_t queue_num;
	uint16_t queue_size;
};

/* One queue's part while the queue runs. */
struct vhx_vu_inflight_queue {
	void *region; /* NULL: not tracked */
	uint16_t size;
	bool packed;
	bool in_order;
	uint64_t counter; /* of the next request */
	uint16_t *tables; /* one allocation for the four below, @size of each */
	uint16_t *resubmit; /* what the predecessor left, oldest first */
	uint16_t *batch; /* pushed and not yet published */
	uint16_t *order; /* IN_ORDER: popped and not yet in a batch, a ring */
	uint16_t *done; /* IN_ORDER: by id, pushed but waiting for an older one */
	uint16_t resubmit_cnt, resubmit_next;
	uint16_t batch_cnt;
	uint16_t order_head, order_cnt;
};

/*
 * Makes a region for @queue_num queues of @queue_size, sealed against resizing. 0 and the memfd in
 * *@fd, which the caller owns, or a negative errno.
 */
int vhx_vu_inflight_create(struct vhx_vu_inflight *inf, uint16_t queue_num, uint16_t queue_size,
			   bool packed, int *fd);

/*
 * Takes a region that the VMM kept; @fd stays the caller's. -EINVAL: counts and size do not fit
 * each other; -EPERM: it can shrink under us; or as vhx_vu_map_open().
 */
int vhx_vu_inflight_set(struct vhx_vu_inflight *inf, int fd, uint64_t off, uint64_t len,
			uint16_t queue_num, uint16_t queue_size);
void vhx_vu_inflight_fini(struct vhx_vu_inflight *inf);

/* The device was reset: nothing is in flight any more, for any queue. */
void vhx_vu_inflight_reset(struct vhx_vu_inflight *inf);

/*
 * A queue of @size starts; @used_idx is what its used ring says. Finishes what the predecessor left
 * half done and collects what it left in flight (iq->resubmit). 0, -EINVAL (queue does not fit the
 * region), -EPROTO (the region contradicts itself), -EOPNOTSUPP (packed, with requests in flight),
 * -ENOMEM.
 */
int vhx_vu_inflight_attach(const struct vhx_vu_inflight *inf, uint16_t index, uint16_t size,
			   bool packed, bool in_order, uint16_t used_idx,
			   struct vhx_vu_inflight_queue *iq);
void vhx_vu_inflight_detach(struct vhx_vu_inflight_queue *iq);

/* In step with the ring: after pop; before publishing what was pushed; after publishing it. */
void vhx_vu_inflight_popped(struct vhx_vu_inflight_queue *iq, uint16_t id);
void vhx_vu_inflight_pushed(struct vhx_vu_inflight_queue *iq, uint16_t id);
void vhx_vu_inflight_published(struct vhx_vu_inflight_queue *iq, uint16_t used_idx);

#endif
