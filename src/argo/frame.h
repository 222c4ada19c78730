/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frames of streams: bytes in, what they mean out. docs/argo-streams.md. No state, no I/O.
 */
#ifndef VHX_ARGO_FRAME_H
#define VHX_ARGO_FRAME_H

#include <vhx/argo_stream.h>

#include "exchange/argo_ring.h"

struct vhx_aframe_greeting {
	uint32_t version;
	uint32_t frame_max;
	uint64_t key;
};

struct vhx_aframe {
	uint32_t kind;
	uint32_t reason; /* of RST */
	uint64_t key; /* that the receiver is to know */
	uint32_t len; /* DATA: bytes that follow the header */
	struct vhx_aframe_greeting greeting; /* SYN, ACK */
};

/* A header with its greeting, as it travels: what SYN and ACK are, and more than enough for the others. */
struct vhx_aframe_bytes {
	struct vhx_argo_frame frame;
	struct vhx_argo_greeting greeting;
};

/*
 * Of the message that @r has peeked at: its header is copied once. 0; -ENOMSG: it is no frame at all, or too short to have
 * a key; -EPROTO: f->key is valid, and the frame breaks a rule.
 */
int vhx_aframe_read(const struct vhx_argo_reader *r, const struct vhx_argo_message *msg,
		    struct vhx_aframe *f);

/* @f as it travels; the bytes of DATA come behind it. Returns its length. */
size_t vhx_aframe_write(const struct vhx_aframe *f, struct vhx_aframe_bytes *bytes);

/* What a receiver with a ring of @ring_len bytes says as its frame_max. */
uint32_t vhx_aframe_max(uint32_t ring_len);

#endif
