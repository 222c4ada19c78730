/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encoding and checking of messages. Pure functions over private copies: nothing here does I/O, keeps
 * state or allocates. Decoders take a copy that the peer cannot change any more, check everything that can be
 * checked without state, and fill a plain struct in host order; -EPROTO ends the channel. What needs state
 * (is this id in flight, does this chunk fit) is core's.
 */
#ifndef VHX_WIRE_WIRE_H
#define VHX_WIRE_WIRE_H

#include <vhx/wire.h>

#include "util/checked.h"

struct vhx_header {
	uint32_t src_inc, dst_inc, ack;
};

void vhx_header_encode(struct vhx_msg_header *wire, const struct vhx_header *h);
int vhx_header_decode(const struct vhx_msg_header *wire, struct vhx_header *h);

struct vhx_hello_body {
	uint16_t version_min, version_max;
	uint64_t offered, accepted;
	uint32_t ring_len, max_message;
};

void vhx_hello_encode(struct vhx_hello *wire, const struct vhx_header *h,
		      const struct vhx_hello_body *b);
/* -EPROTO: not ours, or broken. -EPROTONOSUPPORT: no common version. The header is not looked at. */
int vhx_hello_decode(const struct vhx_hello *wire, struct vhx_hello_body *b);

struct vhx_queue_key {
	uint16_t dev, vq;
	uint32_t epoch;
};

static inline void vhx_queue_encode(struct vhx_queue_header *wire, const struct vhx_queue_key *k)
{
	wire->dev = vhx_le16_of(k->dev);
	wire->vq = vhx_le16_of(k->vq);
	wire->epoch = vhx_le32_of(k->epoch);
}

static inline void vhx_queue_decode(const struct vhx_queue_header *wire, struct vhx_queue_key *k)
{
	k->dev = vhx_le16_get(wire->dev);
	k->vq = vhx_le16_get(wire->vq);
	k->epoch = vhx_le32_get(wire->epoch);
}

struct vhx_avail {
	uint16_t id, flags;
	uint32_t out_len, in_len, chunk_len;
};

struct vhx_used {
	uint16_t id, flags;
	uint32_t in_off, used_len, chunk_len;
};

void vhx_avail_encode(struct vhx_avail_record *wire, const struct vhx_avail *a);
void vhx_used_encode(struct vhx_used_record *wire, const struct vhx_used *u);

/*
 * @left: bytes of the message behind the record. Checked: flags known, chunk within @left and, for
 * AVAIL, within out_len. The next record begins vhx_chunk_padded(chunk_len) bytes further on.
 */
int vhx_avail_decode(const struct vhx_avail_record *wire, uint32_t left, struct vhx_avail *a);
int vhx_used_decode(const struct vhx_used_record *wire, uint32_t left, struct vhx_used *u);

/* @len is bounded by a message's length, so that this cannot wrap. */
static inline uint32_t vhx_chunk_padded(uint32_t len)
{
	return vhx_round_up_u32(len, VHX_RECORD_ALIGN);
}

#endif
