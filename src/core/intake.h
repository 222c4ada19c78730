/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a backend's queue accepts from the driver's side: the state of each request id and the rules for
 * AVAIL records. Sans I/O; one fixed table per queue, indexed by id.
 *
 *   FREE       may begin
 *   RECEIVING  its out bytes are still coming; at most one per queue
 *   HELD       all there: with the device, or waiting for it, or on its way back
 *
 * A peer can send nonsense and end its channel; it cannot make a slot be used twice at once, receive
 * more than the limits announced, or hold more staging than its window.
 */
#ifndef VHX_CORE_INTAKE_H
#define VHX_CORE_INTAKE_H

#include "wire/wire.h"

enum vhx_intake_state {
	VHX_INTAKE_FREE,
	VHX_INTAKE_RECEIVING,
	VHX_INTAKE_HELD,
};

struct vhx_intake_slot {
	uint8_t state;
	bool too_big;
	uint32_t out_len, in_len;
	uint32_t received;
	uint32_t window; /* units held */
};

struct vhx_intake {
	struct vhx_intake_slot *slots;
	uint16_t size;
	int32_t receiving; /* id, or -1 */
	uint32_t count;	   /* slots not FREE */
	uint32_t max_out, max_in, head_len;
	uint32_t window, window_used;
};

void vhx_intake_init(struct vhx_intake *t, struct vhx_intake_slot *slots, uint16_t size,
		     uint32_t max_out, uint32_t max_in, uint32_t head_len, uint32_t window);

/*
 * Checks a record and books it. 0: its chunk belongs at offset *@off of the request, more will come;
 * 1: the same, and the request is complete now. -EPROTO.
 */
int vhx_intake_record(struct vhx_intake *t, const struct vhx_avail *a, uint32_t *off);

/* Bytes of out that a request stores: all of it, or what a TOO_BIG one brought. */
static inline uint32_t vhx_intake_stored(const struct vhx_intake_slot *s)
{
	return s->too_big ? s->received : s->out_len;
}

void vhx_intake_end(struct vhx_intake *t, uint16_t id);

#endif
