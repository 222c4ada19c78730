/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inflight tracking: which requests are out, noted in memory that the VMM keeps, so that a
 * successor of this process can submit them again (vhost-user, "Inflight I/O tracking").
 */
#ifndef VHX_VHOST_USER_INFLIGHT_H
#define VHX_VHOST_USER_INFLIGHT_H

#include "ring/ring.h"
#include "vhost_user/map.h"

/* The region of a connection, divided evenly among its queues. */
struct vhx_vu_inflight {
	struct vhx_vu_map map; /* data NULL: no tracking */
	uint64_t stride;
	uint16_t queue_num;
	uint16_t queue_size;
};

struct vhx_vu_inflight_format;

/* What a queue says of its ring when it starts. */
struct vhx_vu_inflight_ring {
	const void *desc; /* packed: the descriptor ring */
	uint16_t size;
	/*
	 * Split: what the used ring says. Packed (in the form of struct vhx_vring's): what the VMM
	 * says, good for a region that is new.
	 */
	uint16_t used;
	bool packed;
	bool in_order;
};

/* One queue's part while the queue runs. Nothing of it is read back from the region. */
struct vhx_vu_inflight_queue {
	const struct vhx_vu_inflight_format *format; /* NULL: not tracked */
	void *region;
	uint16_t size; /* of the ring */
	uint16_t desc_num; /* entries of the region, not less */
	bool in_order;
	uint64_t counter; /* of the next request */
	uint16_t *tables; /* one allocation for all that follow, @desc_num of each */
	uint16_t *resubmit; /* what the predecessor left, oldest first */
	uint16_t *batch; /* pushed and not yet published */
	uint16_t *order; /* IN_ORDER: popped and not yet in a batch, a ring */
	uint16_t *done; /* IN_ORDER: by id, pushed but waiting for an older one */
	uint16_t *next; /* packed: the entry behind this one */
	uint16_t *last; /* packed: the last entry of the chain that begins here */
	uint16_t *head; /* packed: by id, the first entry of its chain */
	uint16_t resubmit_cnt, resubmit_next;
	uint16_t batch_cnt;
	uint16_t order_head, order_cnt;
	uint16_t free_head; /* packed */
	uint16_t used; /* packed: where the ring goes on, and what was published last */
	bool recovered; /* the region was there before: what it says of positions counts */
	/* Packed: room for all descriptors of the ring. At first those of resubmit, in order. */
	struct vhx_ring_copy *copies;
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

/*
 * All that was in flight in this stopped queue, of a split ring, lies behind the base that the VMM is told: in flight is
 * nothing, from one moment to the next.
 */
void vhx_vu_inflight_given_back(struct vhx_vu_inflight *inf, uint16_t index);

/* The device was reset: nothing is in flight any more, for any queue. */
void vhx_vu_inflight_reset(struct vhx_vu_inflight *inf);

/*
 * A queue starts. Finishes what the predecessor left half done and collects what it left in flight:
 * iq->resubmit, and for a packed ring iq->copies and iq->used, the position at which the ring has
 * to start. 0, -EINVAL (queue does not fit the region), -EPROTO (the region contradicts itself; it
 * was not changed), -ENOMEM.
 */
int vhx_vu_inflight_attach(const struct vhx_vu_inflight *inf, uint16_t index,
			   const struct vhx_vu_inflight_ring *ring,
			   struct vhx_vu_inflight_queue *iq);
void vhx_vu_inflight_detach(struct vhx_vu_inflight_queue *iq);

/*
 * In step with the ring: after pop (packed: @copies are the @cnt descriptors of the chain); after
 * push; before flush, with the used position that it will publish; after flush.
 */
void vhx_vu_inflight_popped(struct vhx_vu_inflight_queue *iq, uint16_t id,
			    const struct vhx_ring_copy *copies, uint16_t cnt);
void vhx_vu_inflight_pushed(struct vhx_vu_inflight_queue *iq, uint16_t id);
void vhx_vu_inflight_publish(struct vhx_vu_inflight_queue *iq, uint16_t used);
void vhx_vu_inflight_published(struct vhx_vu_inflight_queue *iq, uint16_t used);

#endif
