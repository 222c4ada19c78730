// SPDX-License-Identifier: BSD-3-Clause
#include "wire/wire.h"

void vhx_header_encode(struct vhx_msg_header *wire, const struct vhx_header *h)
{
	wire->src_inc = vhx_le32_of(h->src_inc);
	wire->dst_inc = vhx_le32_of(h->dst_inc);
	wire->ack = vhx_le32_of(h->ack);
	wire->reserved = vhx_le32_of(0);
}

int vhx_header_decode(const struct vhx_msg_header *wire, struct vhx_header *h)
{
	if (vhx_le32_get(wire->reserved) || !vhx_le32_get(wire->src_inc))
		return -EPROTO;
	h->src_inc = vhx_le32_get(wire->src_inc);
	h->dst_inc = vhx_le32_get(wire->dst_inc);
	h->ack = vhx_le32_get(wire->ack);
	return 0;
}

void vhx_hello_encode(struct vhx_hello *wire, const struct vhx_header *h,
		      const struct vhx_hello_body *b)
{
	vhx_header_encode(&wire->header, h);
	wire->magic = vhx_le32_of(VHX_WIRE_MAGIC);
	wire->version_min = vhx_le16_of(b->version_min);
	wire->version_max = vhx_le16_of(b->version_max);
	wire->offered = vhx_le64_of(b->offered);
	wire->accepted = vhx_le64_of(b->accepted);
	wire->ring_len = vhx_le32_of(b->ring_len);
	wire->max_message = vhx_le32_of(b->max_message);
	wire->reserved = vhx_le64_of(0);
}

int vhx_hello_decode(const struct vhx_hello *wire, struct vhx_hello_body *b)
{
	if (vhx_le32_get(wire->magic) != VHX_WIRE_MAGIC)
		return -EPROTO;
	b->version_min = vhx_le16_get(wire->version_min);
	b->version_max = vhx_le16_get(wire->version_max);
	if (b->version_min > b->version_max)
		return -EPROTO;
	/* A later version may lay out the rest otherwise: look no further without a common one. */
	if (b->version_min > VHX_WIRE_VERSION || b->version_max < VHX_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if (vhx_le64_get(wire->reserved))
		return -EPROTO;
	b->offered = vhx_le64_get(wire->offered);
	b->accepted = vhx_le64_get(wire->accepted);
	b->ring_len = vhx_le32_get(wire->ring_len);
	b->max_message = vhx_le32_get(wire->max_message);
	return 0;
}

void vhx_avail_encode(struct vhx_avail_record *wire, const struct vhx_avail *a)
{
	wire->id = vhx_le16_of(a->id);
	wire->flags = vhx_le16_of(a->flags);
	wire->out_len = vhx_le32_of(a->out_len);
	wire->in_len = vhx_le32_of(a->in_len);
	wire->chunk_len = vhx_le32_of(a->chunk_len);
}

int vhx_avail_decode(const struct vhx_avail_record *wire, uint32_t left, struct vhx_avail *a)
{
	a->id = vhx_le16_get(wire->id);
	a->flags = vhx_le16_get(wire->flags);
	a->out_len = vhx_le32_get(wire->out_len);
	a->in_len = vhx_le32_get(wire->in_len);
	a->chunk_len = vhx_le32_get(wire->chunk_len);
	if (a->flags & ~(VHX_AVAIL_FIRST | VHX_AVAIL_TOO_BIG))
		return -EPROTO;
	if (a->chunk_len > left || a->chunk_len > a->out_len)
		return -EPROTO;
	/* A continuation that carries nothing could be repeated for ever. */
	if (!(a->flags & VHX_AVAIL_FIRST) && (!a->chunk_len || a->flags))
		return -EPROTO;
	if ((a->flags & VHX_AVAIL_TOO_BIG) && a->chunk_len > VHX_TOO_BIG_BYTES)
		return -EPROTO;
	return 0;
}

void vhx_used_encode(struct vhx_used_record *wire, const struct vhx_used *u)
{
	wire->id = vhx_le16_of(u->id);
	wire->flags = vhx_le16_of(u->flags);
	wire->in_off = vhx_le32_of(u->in_off);
	wire->used_len = vhx_le32_of(u->used_len);
	wire->chunk_len = vhx_le32_of(u->chunk_len);
}

int vhx_used_decode(const struct vhx_used_record *wire, uint32_t left, struct vhx_used *u)
{
	u->id = vhx_le16_get(wire->id);
	u->flags = vhx_le16_get(wire->flags);
	u->in_off = vhx_le32_get(wire->in_off);
	u->used_len = vhx_le32_get(wire->used_len);
	u->chunk_len = vhx_le32_get(wire->chunk_len);
	if (u->flags & ~(VHX_USED_COMPLETE | VHX_USED_GROUP))
		return -EPROTO;
	if (u->chunk_len > left)
		return -EPROTO;
	if (!(u->flags & VHX_USED_COMPLETE) && (!u->chunk_len || u->flags || u->used_len))
		return -EPROTO;
	return 0;
}
