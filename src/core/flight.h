/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests that a frontend's queue has in flight. Sans I/O; one fixed table per queue, indexed by id.
 *
 * A slot is FREE, or ACTIVE from vhx_flight_begin() until a completion was accepted. Active slots are
 * linked in the order in which they became available, which is the order of replay. `sent` counts the
 * out bytes that are on their way; a request whose out bytes have not all left is the queue's
 * current one, and no other follows before it is through (wire.md: payload is complete before the next).
 *
 * What a backend may do to a slot is decided here: chunks come with growing offsets, inside in_len, and
 * used_len is covered by bytes that came without a gap. Everything else is -EPROTO: the guest must never see
 * stale memory as an answer.
 */
#ifndef VHX_CORE_FLIGHT_H
#define VHX_CORE_FLIGHT_H

#include "util/list.h"
#include "wire/wire.h"

/* A request that was in flight in this many deaths of a backend is completed with an error. */
#define VHX_FLIGHT_DEATHS_MAX 3

struct vhx_flight_slot {
	struct vhx_list node; /* in vhx_flight.order; self: FREE */
	uint32_t out_len, in_len;
	uint32_t sent;	   /* out bytes sent */
	uint32_t in_next;  /* chunks may not begin before this offset */
	uint32_t in_prefix; /* bytes that came from offset 0 on without a gap */
	uint32_t window;   /* units held of the queue's out window */
	uint8_t deaths;
	bool begun; /* its first record was sent */
	uint8_t kind; /* for the device type's table: what sort of request */
};

struct vhx_flight {
	struct vhx_flight_slot *slots;
	uint16_t size;
	uint32_t count;
	struct vhx_list order;
	uint32_t window, window_used; /* VHX_WINDOW_UNITs */
	uint32_t head_len;
};

/* @slots: @size of them, the caller's memory. */
void vhx_flight_init(struct vhx_flight *f, struct vhx_flight_slot *slots, uint16_t size);

/* The limits of a new opening of the queue. Nothing may be partly sent. */
void vhx_flight_limits(struct vhx_flight *f, uint32_t window, uint32_t head_len);

static inline bool vhx_flight_active(const struct vhx_flight *f, uint16_t id)
{
	return id < f->size && !vhx_list_empty(&f->slots[id].node);
}

static inline uint16_t vhx_flight_id(const struct vhx_flight *f, const struct vhx_flight_slot *s)
{
	return (uint16_t)(s - f->slots);
}

/* The source's id must be free and in range: -EINVAL otherwise (a source is trusted with its own ids). */
int vhx_flight_begin(struct vhx_flight *f, uint16_t id, uint32_t out_len, uint32_t in_len);

/*
 * Units that @out_len bytes cost; taking them, if they are there now, in place of what the request held
 * before: its length may be another one when it is fetched again. Given back at completion.
 */
uint32_t vhx_flight_cost(const struct vhx_flight *f, uint32_t out_len);
bool vhx_flight_window_take(struct vhx_flight *f, uint16_t id, uint32_t units);

/* Checks a USED record against its slot and notes its chunk. 0; -EPROTO: nothing was noted. */
int vhx_flight_used(struct vhx_flight *f, const struct vhx_used *u);

/* Ends a slot: accepted completion, or given up. */
void vhx_flight_end(struct vhx_flight *f, uint16_t id);

/* The backend died or was reset: all slots are as if never sent. @death: count it. */
void vhx_flight_rewind(struct vhx_flight *f, bool death);

#endif
