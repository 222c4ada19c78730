/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One queue of one device at the backend: requests on their way in, with the device, and on their way
 * out. Private to src/backend.
 *
 *   CLOSED     nothing is accepted
 *   OPEN       AVAILs of the current epoch are
 *   RESETTING  the device lets go of what it has; nothing is sent, nothing accepted; CLOSED follows
 */
#ifndef VHX_BACKEND_QUEUE_H
#define VHX_BACKEND_QUEUE_H

#include "backend/device.h"
#include "backend/staging.h"
#include "core/intake.h"
#include "link/link.h"

struct vhx_backend_device;

enum vhx_queue_state {
	VHX_QUEUE_CLOSED,
	VHX_QUEUE_OPEN,
	VHX_QUEUE_RESETTING,
};

enum vhx_held_by {
	VHX_HELD_NONE,
	VHX_HELD_WAITING, /* in queue.waiting: the device had no room for the answer */
	VHX_HELD_DEVICE,
	VHX_HELD_SENDING, /* in queue.sending: completed, not all of it sent */
};

/* A request and what the backend keeps of it. */
struct vhx_backend_request {
	struct vhx_request req;
	struct vhx_list link;
	enum vhx_held_by held;
	uint64_t arrived_ns;
	struct vhx_staging_run out, in;
	uint32_t in_base; /* where the staging belongs in the answer */
	uint32_t in_lead; /* bytes of it that have a page of their own, 0: none */
	/* The answer, once completed */
	uint32_t valid, sent; /* of the staging */
	uint8_t tail[VHX_TAIL_MAX];
	uint32_t tail_off, tail_len, used_len;
};

struct vhx_queue {
	struct vhx_backend_device *bdev;
	uint16_t index;
	uint16_t size;
	enum vhx_queue_state state;
	bool quiescing; /* ops->reset was called, vhx_queue_quiesced() was not */
	bool submitting; /* ops->submit is running: a refusal of room is its to report */
	bool room_wanted; /* a refusal was not: ops->room is due when there may be some */
	uint32_t head_len;
	struct vhx_queue_key key;
	struct vhx_intake intake;
	struct vhx_intake_slot *slots;
	struct vhx_backend_request *requests;
	struct vhx_staging staging;
	struct vhx_list waiting, sending;
	uint32_t sending_cnt; /* requests that are held so */
	/* Of a queue whose requests are about others': @behind is of the first answer that is sent, see queue.c */
	bool about_others, behind;
	uint32_t ahead;
	struct vhx_link_turn turn;
	/* The reservation, and the last record kept of one: completing it costs no further record. */
	struct {
		struct vhx_backend_request *owner; /* NULL: none */
		struct vhx_link_place place;
		struct vhx_used used;
		uint64_t message; /* link's data_messages while it was open */
		bool kept;
	} last;
	uint64_t memory;
};

struct vhx_queue_limits {
	uint32_t max_out, max_in, head_len;
	uint32_t out_pages, in_pages;
	uint32_t request_pages; /* most that one request takes, either way */
};

/* 0 or -ENOMEM. */
int vhx_queue_open(struct vhx_queue *q, const struct vhx_queue_key *key, uint16_t size,
		   const struct vhx_queue_limits *limits);
/* Frees everything; only when CLOSED or quiesced. */
void vhx_queue_close(struct vhx_queue *q);
/* An AVAIL message of this queue and epoch. */
void vhx_queue_receive(struct vhx_queue *q, struct vhx_link *l, uint32_t len);
/* Sends and submits what had to wait. True: progress was made and more may follow. */
bool vhx_queue_pump(struct vhx_queue *q);
/*
 * OPEN -> RESETTING: what the backend holds is dropped, and what the device completes from here on goes nowhere.
 * First for all queues that end together, since a device may complete requests of any queue meanwhile.
 */
void vhx_queue_cut(struct vhx_queue *q);
/* Asks the device to let go of a queue that was cut; ends in vhx_backend_queue_closed(). */
void vhx_queue_quiesce(struct vhx_queue *q);

/* Partners in backend.c */
struct vhx_link *vhx_backend_queue_link(struct vhx_queue *q);
struct vhx_device *vhx_backend_queue_device(struct vhx_queue *q);
struct vhx_backend_stats *vhx_backend_queue_stats(struct vhx_queue *q);
void vhx_backend_queue_closed(struct vhx_queue *q);
/* Queue @index of the same device; NULL: there is none. */
struct vhx_queue *vhx_backend_queue_beside(struct vhx_queue *q, uint16_t index);

#endif
