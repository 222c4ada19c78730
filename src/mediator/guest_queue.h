/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One virtqueue of a guest as the source of a frontend's queue, however the ring came to us.
 */
#ifndef VHX_MEDIATOR_GUEST_QUEUE_H
#define VHX_MEDIATOR_GUEST_QUEUE_H

#include "frontend/frontend.h"
#include "ring/ring.h"
#include "util/log.h"

/* Requests of more than a few writable segments in flight per queue. */
#define VHX_GUEST_QUEUE_LARGE_CNT 32u

/*
 * How often a queue without a kick descriptor is looked at: what its requests wait for at the most, and a thousand looks
 * a second while it is idle, which are about 1 % of a CPU.
 */
#define VHX_GUEST_QUEUE_POLL_NS 1000000ull

/* The ring, with whatever its owner keeps beside it. */
struct vhx_guest_ring_ops {
	/* As vhx_vring_pop() and vhx_vring_push(). */
	int (*pop)(void *ring, struct vhx_chain *chain);
	void (*push)(void *ring, uint16_t id, uint32_t used_len);
	/* Publishes what was pushed, and notifies the driver where it wants that. */
	void (*flush)(void *ring);
	/* As vhx_vring_give_back(). */
	int (*give_back)(void *ring);
	/* The kick descriptor is readable: takes the notification. True: there was one. */
	bool (*kicked)(void *ring);
	/*
	 * One after the other, in their old order, the chains that a predecessor of this process left in flight: 1
	 * and *@id, or 0. May be NULL: there was none.
	 */
	int (*resubmit)(void *ring, uint16_t *id);
	/* Bytes at @p were written for the guest. May be NULL. */
	void (*written)(void *ring, const void *p, uint64_t len);
	/* The guest broke it. May be NULL. */
	void (*error)(void *ring);
};

struct vhx_guest_queue_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	const char *label; /* of the device, for the log */
	struct vhx_fdev *fdev;
	const struct vhx_guest_ring_ops *ops;
	void *ring; /* of @ops */
	struct vhx_vring *vring; /* the same, started */
	uint16_t index, size;
	int kick_fd; /* -1: none, the queue is polled */
};

/* Embedded; zero before the first start. */
struct vhx_guest_queue {
	struct vhx_guest_queue_config cfg;
	struct vhx_fqueue *fq;
	struct vhx_loop_fd kick;
	struct vhx_loop_timer poll; /* in place of a kick */
	struct vhx_log_limit log_limit;
	bool live;
	bool stopping; /* live, and takes nothing new */
	bool resubmitting; /* a predecessor's requests come first */
	bool blocked; /* no large array was left */
	uint16_t segs_max;
	struct iovec *out;
	struct iovec *small; /* a few per id */
	struct iovec *large; /* VHX_GUEST_QUEUE_LARGE_CNT arrays of segs_max */
	uint16_t *large_of; /* per id: its large array, or none */
	uint16_t large_free[VHX_GUEST_QUEUE_LARGE_CNT];
	uint16_t large_free_cnt;
	uint64_t memory;
};

/* The ring runs: requests are taken from it, and its kick descriptor is watched. As vhx_fqueue_start(). */
int vhx_guest_queue_start(struct vhx_guest_queue *q, const struct vhx_guest_queue_config *cfg);
/* Another kick descriptor; -1: none, and from now on the queue is polled. */
void vhx_guest_queue_watch(struct vhx_guest_queue *q, int kick_fd);
/* As vhx_fqueue_stop(). After -EINPROGRESS, queue_stopped is answered with vhx_guest_queue_end(). */
int vhx_guest_queue_stop(struct vhx_guest_queue *q);
/* The frontend's queue has stopped: lets go of the ring. May be repeated. */
void vhx_guest_queue_end(struct vhx_guest_queue *q);
/* Stops at once, with requests in flight forgotten. May be repeated. */
void vhx_guest_queue_kill(struct vhx_guest_queue *q);
/* The ring's memory moved: walks what is in flight again. What cannot be walked breaks the queue and kills it. */
void vhx_guest_queue_refetch(struct vhx_guest_queue *q);

#endif
