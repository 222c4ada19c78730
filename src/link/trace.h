/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trace of the messages of one end's channels, as pcapng blocks (docs/trace.md) in a bounded buffer that somebody
 * empties. It never waits: a message that does not fit is counted and left out, and the next one says how many were.
 *
 * Of a request's payload at most the snap length of each record's chunk is kept, by default nothing; control messages,
 * which are about devices and not about data, are kept whole.
 *
 * Off, it costs each message the look at `on`.
 */
#ifndef VHX_LINK_TRACE_H
#define VHX_LINK_TRACE_H

#include <sys/uio.h>

#include "util/base.h"

/* The buffer: some ten thousand messages of a few records. */
#define VHX_TRACE_BUFFER (1u << 20)
/* Most bytes of one message that are kept, its records included. */
#define VHX_TRACE_PACKET_MAX (32u << 10)
/* Most payload of one record that can be asked for. */
#define VHX_TRACE_SNAP_MAX 4096u

struct vhx_trace {
	bool on;
	uint32_t snap;
	uint64_t epoch_ns; /* of the monotonic clock's zero */
	uint8_t *buffer; /* VHX_TRACE_BUFFER, then the packet that is being made */
	uint64_t head, tail; /* free-running: what was taken, what was put */
	uint64_t dropped; /* since the last packet */
	/* There is something to take. */
	void (*ready)(void *ctx);
	void *ctx;
};

/* What a link without a trace points to. */
extern struct vhx_trace vhx_trace_none;

/* Which channel, and at which end of it this is. */
struct vhx_trace_point {
	uint16_t channel;
	bool backend;
};

/* Where a message's bytes are: contiguous, or to be had by @read. */
struct vhx_trace_message {
	uint32_t type, len;
	bool received;
	const uint8_t *bytes; /* NULL: use read */
	void (*read)(void *ctx, uint32_t off, void *dst, uint32_t len);
	void *ctx;
};

/* 0, -ENOMEM, -EBUSY: it is on. @snap is at most VHX_TRACE_SNAP_MAX. */
int vhx_trace_start(struct vhx_trace *t, uint32_t snap, void (*ready)(void *ctx), void *ctx);
/* No more messages; what is in the buffer stays. */
void vhx_trace_stop(struct vhx_trace *t);
/* Frees the buffer. May be repeated. */
void vhx_trace_fini(struct vhx_trace *t);

/* Only while on. */
void vhx_trace_put(struct vhx_trace *t, const struct vhx_trace_point *point,
		   const struct vhx_trace_message *m);

/* The bytes to be taken next, up to two pieces; their number. */
unsigned int vhx_trace_peek(const struct vhx_trace *t, struct iovec iov[2]);
void vhx_trace_take(struct vhx_trace *t, size_t len);

#endif
