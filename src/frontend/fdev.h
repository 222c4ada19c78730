/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices and queues of a frontend. Private to src/frontend.
 */
#ifndef VHX_FRONTEND_FDEV_H
#define VHX_FRONTEND_FDEV_H

#include "core/devtype.h"
#include "core/flight.h"
#include "frontend/commands.h"
#include "frontend/frontend.h"
#include "link/link.h"

/* A control request is answered within this, or the channel is given up. */
#define VHX_FDEV_CONTROL_NS (5 * 1000000000ull)
/* The whole of a reset that somebody waits for, whatever else the backend answers meanwhile. */
#define VHX_FDEV_RESET_NS (4 * 1000000000ull)
/* Pauses before asking for a device again that is still taken, or that a new backend does not have. */
#define VHX_FDEV_BUSY_NS (100 * 1000000ull)
#define VHX_FDEV_MISSING_NS (1000 * 1000000ull)

/* Chunks up to this size pass through a private copy, so that a status in them can be looked at. */
#define VHX_FQUEUE_LOOK_MAX 128u

/*
 * Zeroes that a pass writes into one device's requests, for in bytes that did not come: some 50 us, so that other devices
 * and the loop's descriptors do not wait for a request of 4 GiB.
 */
#define VHX_FDEV_FILL_BYTES (256u << 10)
/* Gaps up to this size cost no more than the record that skips them, and are not counted. */
#define VHX_FQUEUE_GAP_SMALL 512u

enum vhx_fqueue_state {
	VHX_FQUEUE_STOPPED,
	VHX_FQUEUE_RUNNING,
	VHX_FQUEUE_DRAINING, /* takes nothing new */
	VHX_FQUEUE_FENCING, /* and sends nothing: the backend was asked to reset the queue */
};

struct vhx_fbuffer {
	const struct iovec *in;
	uint32_t in_cnt;
	uint8_t status; /* the last in byte, once it came */
	bool status_came;
	bool through; /* a write that was sent while completed ones are on the medium */
	uint8_t peek_len;
	uint8_t peek[VHX_DEVTYPE_PEEK]; /* its first out bytes, read once */
	uint32_t in_next; /* in bytes up to here have come, or were skipped */
	uint32_t gap_off, gap_end; /* bytes before in_next that are still to become zero */
	bool spoilt; /* there are more of them than that: it ends with an error */
	uint64_t flush_mark; /* FLUSH: writes that had completed when it was sent */
	uint32_t used_len; /* of an answer that is not complete()d yet: */
	/* Held until its in bytes are filled, and all that was answered before it is through. */
	bool held;
	bool held_in_group;
	uint16_t queue;
	struct vhx_list held_node; /* vhx_fdev.held */
	/* In a group that has not ended: the next one of it. */
	bool grouped;
	uint16_t group_next;
};

struct vhx_fqueue {
	struct vhx_fdev *fdev;
	uint16_t index;
	uint16_t size;
	enum vhx_fqueue_state state;
	const struct vhx_fsource_ops *ops;
	void *ctx;
	struct vhx_flight flight;
	struct vhx_flight_slot *slots;
	struct vhx_fbuffer *buffers;
	/* First slot of flight.order that is not sent whole; the list's head if there is none. */
	struct vhx_list *cursor;
	struct vhx_frequest current; /* the cursor's, where @have_current */
	bool have_current;
	uint8_t peek[VHX_DEVTYPE_PEEK]; /* its first out bytes, read once */
	uint32_t peek_len;
	bool kicked; /* the source may have something */
	bool armed;
	bool broken; /* the source has failed: it is asked for nothing more */
	bool used_due; /* completions wait for ops->flush */
	/* Of a queue whose requests are about others: what was available on them when its cursor's came is counted. */
	bool behind;
	uint32_t ahead; /* requests here that such a one has to let pass, at most */
	uint32_t group_cnt; /* answers that wait for the end of their group, */
	uint16_t group_first, group_last; /* and their ids */
	struct vhx_link_turn turn;
	struct vhx_loop_timer timer; /* DRAINING, FENCING */
};

struct vhx_fdev {
	struct vhx_frontend *fe;
	const struct vhx_fdev_ops *ops;
	void *ctx;
	struct vhx_driver driver;
	const struct vhx_devtype *type;
	bool failed; /* requests end with an error from here on */
	bool unusable;
	bool oversize; /* failed and unusable for the size of a queue alone, which the next driver need not choose */
	bool reset_waits; /* reset_done is owed */
	bool stuck; /* a stop ran out of time: the next ones do not wait again before it has run again */
	bool needs_running; /* negotiation restarts: say "running" again */
	bool lost; /* a channel was, since it was last judged what that means */
	struct vhx_loop_timer control_timer;
	struct vhx_loop_timer retry_timer;
	struct vhx_loop_timer reset_timer;
	struct vhx_log_limit log_limit;
	/* Durability: writes completed, how many of them the last good FLUSH covers, and a bad one. */
	uint64_t writes_done, writes_flushed;
	bool flush_failed;
	struct vhx_fcommands commands;
	struct vhx_fdev_stats stats;
	struct vhx_list held; /* answers that wait, in their order, whatever their queue */
	uint32_t fill_left; /* zeroes that this pass may still write */
	uint64_t memory;
	uint16_t queue_cnt; /* those that were ever started lie below: a pass looks no further */
	struct vhx_fqueue queues[VHX_VDEV_QUEUES_MAX];
};

/* fqueue.c */
void vhx_fqueue_init(struct vhx_fqueue *q, struct vhx_fdev *fdev, uint16_t index);
/* Sends what can be sent. */
void vhx_fqueue_pump(struct vhx_fqueue *q);
/* A USED message of its epoch. */
void vhx_fqueue_receive(struct vhx_fqueue *q, struct vhx_link *l, uint32_t len);
void vhx_fqueue_flush(struct vhx_fqueue *q);
/* A pass begins: fills what answers wait for, and takes those that are through. */
void vhx_fqueue_fill(struct vhx_fdev *fdev);
/* True: the source has something after all. */
bool vhx_fqueue_arm(struct vhx_fqueue *q);
/* The backend opened the queue: its limits are known. */
void vhx_fqueue_opened(struct vhx_fqueue *q);
enum vhx_fqueue_interruption {
	VHX_FQUEUE_RESET, /* the backend answered a reset of the device */
	VHX_FQUEUE_CUT, /* the channel is gone: we gave up waiting */
	VHX_FQUEUE_DEATH, /* the channel is gone: the backend's doing, and perhaps a request's */
};

/* The backend can do nothing more for what is in flight. */
void vhx_fqueue_interrupted(struct vhx_fqueue *q, enum vhx_fqueue_interruption why);
/* The backend answered the queue's reset. */
void vhx_fqueue_closed(struct vhx_fqueue *q);
/* Ends everything in flight with an error. */
void vhx_fqueue_fail_all(struct vhx_fqueue *q);

/*
 * Calls @take for each record of the USED message of @len bytes that @l has; its chunk is at @off. A message that is not
 * well-formed, or an error of @take's, ends the channel.
 */
typedef int vhx_fused_handler(void *ctx, struct vhx_link *l, const struct vhx_used *u,
			      uint32_t off);
void vhx_fused_walk(struct vhx_link *l, uint32_t len, vhx_fused_handler *take, void *ctx);

/* Copies up to @len of a request's out bytes, from @off on. Returns how many. */
uint32_t vhx_frequest_gather(const struct vhx_frequest *r, uint32_t off, void *dst, uint32_t len);

/* frontend.c */
/* Says, not more often than a log can bear. */
void vhx_fdev_warn(struct vhx_fdev *fdev, const char *text);
struct vhx_link *vhx_fdev_link(struct vhx_fdev *fdev); /* NULL: no usable channel */
struct vhx_loop *vhx_fdev_loop(struct vhx_fdev *fdev);

#endif
