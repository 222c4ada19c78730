/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One queue of a bridge: requests on this side, a virtqueue of which we are the driver on the other, and the
 * bridge's memory between them. It does not know how the device at the other end is told of the ring.
 */
#ifndef VHX_DEVICE_BRIDGE_QUEUE_H
#define VHX_DEVICE_BRIDGE_QUEUE_H

#include "backend/device.h"
#include "core/devtype.h"
#include "device/bridge_memory.h"
#include "device/bridge_type.h"
#include "ring/driver.h"

/* Entries of a ring: enough to keep a device busy, and few enough for any. */
#define VHX_BRIDGE_RING_SIZE 256u
/*
 * Parts of a request that have a descriptor of their own, each way: three out, three in. What is cut into more, since its
 * device takes pieces only, does without an indirect table.
 */
#define VHX_BRIDGE_SEGS_MAX 8u
/* A request that was in flight in so many deaths of a back-end is ended with an error. */
#define VHX_BRIDGE_DEATHS_MAX 3u

/* Of a device: what has completed, and how much of it a flush has covered. */
struct vhx_bridge_writes {
	uint64_t done, flushed;
};

struct vhx_bridge_queue;

struct vhx_bridge_queue_config {
	uint16_t size; /* a power of two */
	uint32_t
		max_bytes; /* most that requests in flight take; at least the largest one, both ways */
	const struct vhx_devtype *type;
	const struct vhx_bridge_framing *framing;
	struct vhx_bridge_payload payload;
	struct vhx_bridge_writes *writes; /* of all queues of the device */
	struct vhx_bridge_queue **beside; /* all queues of the device, by index */
	uint16_t index, queues;
};

/* A part of a request, in the bridge's memory. */
struct vhx_bridge_part {
	uint8_t *bytes;
	uint32_t len;
};

struct vhx_bridge_flight {
	struct vhx_request *req; /* NULL: free */
	struct vhx_bridge_part in[3];
	unsigned int in_cnt;
	uint32_t page[2], pages[2]; /* runs of the arena, out and in */
	uint32_t prefix, used_len; /* of the answer: how much is sent, how much is said */
	uint32_t sent;
	uint8_t tail;
	bool has_tail;
	uint16_t next; /* free list */
};

struct vhx_bridge_queue {
	struct vhx_bridge_queue_config cfg;
	struct vhx_vdriver ring;
	uint8_t *base; /* its part of the bridge's memory */
	uint64_t addr;
	/* Requests, oldest first. */
	struct vhx_list waiting; /* not given to the device */
	struct vhx_list flying; /* given */
	struct vhx_list merging; /* back, and others of the same packet are not */
	struct vhx_list answering; /* back, and there was no room for the answer */
	uint32_t owed; /* requests of which the driver waits for an answer that are in flight */
	uint32_t merge_left; /* buffers of a packet that are to come */
	bool merges; /* receive buffers are merged (VIRTIO_NET_F_MRG_RXBUF) */
	bool kick_due;
	/*
	 * Where requests are about other queues' (core/devtype.h): what those have to give (0) and to answer (1) before
	 * the next such request was counted; and how much of that is left.
	 */
	bool behind[2];
	uint32_t ahead[2];
	struct vhx_vdriver_slot *slots;
	struct vhx_bridge_flight *flights; /* by cell */
	uint16_t *cell_of; /* by id of the ring */
	uint16_t free_cell;
	uint8_t *page_busy;
	uint32_t page_cnt, page_hint;
	uint64_t memory;
};

/* Bytes that it takes of a bridge's memory; whole pages. */
uint64_t vhx_bridge_queue_len(const struct vhx_bridge_queue_config *cfg);

/* With its part of @m, from @off on. 0 or -ENOMEM. */
int vhx_bridge_queue_init(struct vhx_bridge_queue *q, const struct vhx_bridge_queue_config *cfg,
			  const struct vhx_bridge_memory *m, uint64_t off);
/* The requests have ended. */
void vhx_bridge_queue_fini(struct vhx_bridge_queue *q);

/*
 * A new ring, empty, with these features (enum vhx_ring_feature); what was in flight waits again, in its order, or
 * ends: after too many deaths of a device, or where its type says so. @death: the device is gone.
 */
void vhx_bridge_queue_restart(struct vhx_bridge_queue *q, uint32_t features, bool death);

/*
 * Are its requests about other queues'? What waits in it can go, and be answered, when others have given and answered
 * what was older.
 */
static inline bool vhx_bridge_queue_about_others(const struct vhx_bridge_queue *q)
{
	return q->cfg.index < q->cfg.type->about_others;
}

/*
 * One of them, as far as it is concerned alone: its owner knows whether it may give or answer now, and tells the device.
 */
typedef void vhx_bridge_queue_step(struct vhx_bridge_queue *q);

/* @step for @q, then for the queues whose requests are about it, and may have waited for that. */
void vhx_bridge_queue_go(struct vhx_bridge_queue *q, vhx_bridge_queue_step *step);

/*
 * @take, which pulls, then @answer. Where @q's requests are about others', for those as well, and before: what the device
 * has used before such a request, it may call for later. False: @take failed for one.
 */
bool vhx_bridge_queue_come(struct vhx_bridge_queue *q, bool (*take)(struct vhx_bridge_queue *q),
			   vhx_bridge_queue_step *answer);

/* Where the device finds the ring: addresses of its three areas. */
void vhx_bridge_queue_areas(const struct vhx_bridge_queue *q, uint64_t *desc, uint64_t *driver,
			    uint64_t *device);
/* Where a successor of the device goes on with the ring as it is; the form of vhost. */
uint32_t vhx_bridge_queue_base(const struct vhx_bridge_queue *q);

/* Takes a request, to be given to the device by the next push. */
void vhx_bridge_queue_submit(struct vhx_bridge_queue *q, struct vhx_request *req);
/* Gives the device what waits and has room. True: it is to be notified. */
bool vhx_bridge_queue_push(struct vhx_bridge_queue *q);
/* Takes back what the device has used. How many that were; -EPROTO: it broke the ring. */
int vhx_bridge_queue_pull(struct vhx_bridge_queue *q);
/* Sends what is back, as far as there is room. */
void vhx_bridge_queue_answer(struct vhx_bridge_queue *q);

/* Ends what has not been given to the device, or all, as requests end that nobody answers. */
void vhx_bridge_queue_fail_waiting(struct vhx_bridge_queue *q);

/* During a reset: drops what the device does not have. */
void vhx_bridge_queue_drop_waiting(struct vhx_bridge_queue *q);
/* The device has let go: drops the rest. */
void vhx_bridge_queue_drop(struct vhx_bridge_queue *q);

#endif
