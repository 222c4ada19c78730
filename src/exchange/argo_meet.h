/* SPDX-License-Identifier: BSD-3-Clause */
/* The words by which two sides of provider `argo` meet and part: docs/wire.md, section 15. */
#ifndef VHX_EXCHANGE_ARGO_MEET_H
#define VHX_EXCHANGE_ARGO_MEET_H

#include "exchange/argo_ring.h"

/* What a MEET says, a copy. */
struct vhx_argo_life {
	uint32_t state; /* VHX_ARGO_HERE, VHX_ARGO_GONE */
	uint32_t inc;
	uint32_t peer_inc;
	uint32_t ring_len;
};

bool vhx_argo_ring_len_valid(uint32_t len);

void vhx_argo_meet_encode(struct vhx_argo_meet *wire, const struct vhx_argo_life *life);

/* The peeked message of @r, whose type is VHX_ARGO_MEET. False: it is not well-formed. */
bool vhx_argo_meet_read(const struct vhx_argo_reader *r, struct vhx_argo_life *life);

#endif
