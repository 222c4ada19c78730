/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connected channel at work: a port of the exchange, the core's channel on it, and the loop that
 * drives both. Frontend and backend differ in what they say to each other, not in this.
 *
 * A pass, once per loop iteration: take the messages that arrived (a bounded number), let the owner
 * produce, then send what is open, so that all that a pass found goes out as few messages.
 *
 * Data is appended to one open message: vhx_link_record() gives the place for a record and its chunk in
 * it, vhx_link_record_end() keeps it. What is written there is shared with the peer from the start: never
 * read it back. The message leaves when it is full, when another queue writes, when it has grown to
 * VHX_LINK_PACE (the peer then works while we fill the next), or at the end of the pass.
 *
 * Failure. Whoever finds the channel unusable calls vhx_link_fail() and returns; the link goes down at the
 * end of the pass, once, by ops->down. Nothing is freed under a caller's feet.
 */
#ifndef VHX_LINK_LINK_H
#define VHX_LINK_LINK_H

#include "core/channel.h"
#include "exchange/exchange.h"
#include "exchange/writer.h"
#include "link/trace.h"
#include "link/turn.h"
#include "loop/loop.h"
#include "util/log.h"
#include "wire/control.h"

/* An open message of this size is sent on, for the peer to begin: about what 4 us of copying yield. */
#define VHX_LINK_PACE (48u << 10)
/* Messages taken per pass, so that one channel does not starve the others of its loop. */
#define VHX_LINK_BURST 64
/*
 * How long to look for a message before sleeping, where nobody said otherwise and a wake is dear: an exit of a
 * virtual machine and two wakes of processes. Measured with guests under emulation, which take 100 to 300 us for a
 * request: with less, a backend sleeps between any two of them (docs/performance.md).
 */
#define VHX_LINK_POLL_DEAR_NS 400000u
/*
 * Control messages that wait for room: for each of the 64 devices that a channel can have, a response and an event.
 * A peer that lets more pile up asks without taking the answers, and ends its channel.
 */
#define VHX_LINK_PENDING_MAX 128
/* The other end has this long to say HELLO: from the opening of the port, a patient one from READY on. */
#define VHX_LINK_HELLO_NS (5 * 1000000000ull)

struct vhx_link;

struct vhx_link_ops {
	void (*up)(struct vhx_link *l);
	void (*control)(struct vhx_link *l, const struct vhx_control *c);
	/* AVAIL or USED for @key; its records lie in [VHX_DATA_HEADER_LEN, len), by vhx_link_read(). */
	void (*data)(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key, uint32_t len);
	/* Produce. True: there is more, and room for it. */
	bool (*pump)(struct vhx_link *l);
	/* The channel is over; @reason: negative errno. The port is closed already. */
	void (*down)(struct vhx_link *l, int reason);
};

struct vhx_link_stats {
	uint64_t credits_sent; /* bare ones */
	uint64_t data_messages;
};

struct vhx_link {
	const struct vhx_link_ops *ops;
	void *ctx;
	struct vhx_loop *loop;
	struct vhx_port *port;
	struct vhx_channel channel;
	bool started; /* the port is ready and the channel initialised */
	bool up;
	int error; /* 0, or why the link goes down */
	uint32_t inc;
	/* The open data message */
	struct vhx_writer writer;
	bool writer_ready;
	bool open;
	uint32_t open_type;
	struct vhx_queue_key open_key;
	void *open_header;
	struct vhx_link_turns turns; /* who was refused for want of room */
	/* Control messages that found no room */
	struct vhx_control *pending;
	uint32_t pending_head, pending_cnt;

	struct vhx_trace *trace; /* never NULL */
	struct vhx_trace_point trace_point;
	struct vhx_loop_fd watch;
	struct vhx_loop_hook hook;
	struct vhx_loop_timer hello_timer;
	struct vhx_link_stats stats;
};

/* Takes @port over. 0 or -ENOMEM (the port is closed then too). Draws the incarnation. */
int vhx_link_open(struct vhx_link *l, struct vhx_loop *loop, struct vhx_port *port,
		  const struct vhx_link_ops *ops, void *ctx);
/* Traced to @trace, which outlives the link, from now on whenever that is on; NULL: never. */
void vhx_link_set_trace(struct vhx_link *l, struct vhx_trace *trace, struct vhx_trace_point point);
/* Ends the link without calling down. May be repeated. */
void vhx_link_close(struct vhx_link *l);
/* The link goes down at the end of this pass. The first reason counts. */
void vhx_link_fail(struct vhx_link *l, int reason);
/* Up, and the peer has been told so: on a ring that outlives a process HELLO itself may have to wait for room. */
static inline bool vhx_link_usable(const struct vhx_link *l)
{
	return l->up && !l->error && !l->channel.hello_due;
}

/*
 * Queues or sends; never fails towards the caller. An event that waits already is replaced by a newer one
 * of its kind and device.
 */
void vhx_link_control(struct vhx_link *l, const struct vhx_control *c);

/* Copies out of the message that ops->data was called for. */
static inline void vhx_link_read(struct vhx_link *l, uint32_t off, void *dst, uint32_t len)
{
	vhx_port_read(l->port, off, dst, len);
}

struct vhx_link_place {
	void *record; /* 16 bytes, 8-aligned, write only */
	void *chunk;  /* write only */
};

/* The largest chunk that one record can carry. */
uint32_t vhx_link_chunk_max(const struct vhx_link *l);

/*
 * A place for one record and @chunk_len bytes (at most vhx_link_chunk_max()). 0; -EAGAIN: no room before
 * credit comes back, or not @turn's turn: ask again in the next pass. Either end it, or leave it: it is not sent
 * then.
 */
int vhx_link_record(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
		    struct vhx_link_turn *turn, uint32_t chunk_len, struct vhx_link_place *place);
/* Keeps the place's record and the first @chunk_len bytes of its chunk. */
void vhx_link_record_end(struct vhx_link *l, uint32_t chunk_len);

/* Sends the open message now. */
void vhx_link_flush(struct vhx_link *l);

/* Bytes allocated for the link, its port included. */
uint64_t vhx_link_memory(const struct vhx_link *l);

#endif
