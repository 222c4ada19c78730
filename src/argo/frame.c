// SPDX-License-Identifier: BSD-3-Clause
#include "argo/frame.h"

static bool greets(uint32_t kind)
{
	return kind == VHX_ARGO_SYN || kind == VHX_ARGO_ACK;
}

/* Which version it is of is for the receiver to judge: it may want to answer. */
static int greeting_read(const struct vhx_argo_reader *r, const struct vhx_argo_message *msg,
			 struct vhx_aframe_greeting *g)
{
	struct vhx_argo_greeting wire;

	if (msg->len != sizeof(struct vhx_aframe_bytes))
		return -EPROTO;
	vhx_argo_reader_read(r, sizeof(struct vhx_argo_frame), &wire, sizeof(wire));
	*g = (struct vhx_aframe_greeting){
		.version = vhx_le32_get(wire.version),
		.frame_max = vhx_le32_get(wire.frame_max),
		.key = vhx_le64_get(wire.key),
	};
	if (vhx_le32_get(wire.reserved[0]) || vhx_le32_get(wire.reserved[1]))
		return -EPROTO;
	if (!g->key || g->frame_max < VHX_ARGO_FRAME_MIN)
		return -EPROTO;
	g->frame_max = (uint32_t)vhx_min_u64(g->frame_max, VHX_ARGO_FRAME_MAX);
	return 0;
}

static int body_check(const struct vhx_aframe *f)
{
	switch (f->kind) {
	case VHX_ARGO_DATA:
		return f->len && !f->reason ? 0 : -EPROTO;
	case VHX_ARGO_FIN:
		return !f->len && !f->reason ? 0 : -EPROTO;
	case VHX_ARGO_RST:
		return !f->len && f->reason ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

int vhx_aframe_read(const struct vhx_argo_reader *r, const struct vhx_argo_message *msg,
		    struct vhx_aframe *f)
{
	struct vhx_argo_frame wire;

	if (msg->type != VHX_ARGO_STREAM || msg->len < sizeof(wire))
		return -ENOMSG;
	vhx_argo_reader_read(r, 0, &wire, sizeof(wire));
	*f = (struct vhx_aframe){
		.kind = vhx_le32_get(wire.kind),
		.reason = vhx_le32_get(wire.reason),
		.key = vhx_le64_get(wire.key),
		.len = msg->len - (uint32_t)sizeof(wire),
	};
	if (!greets(f->kind))
		return body_check(f);
	return f->reason ? -EPROTO : greeting_read(r, msg, &f->greeting);
}

size_t vhx_aframe_write(const struct vhx_aframe *f, struct vhx_aframe_bytes *bytes)
{
	bytes->frame = (struct vhx_argo_frame){
		.kind = vhx_le32_of(f->kind),
		.reason = vhx_le32_of(f->reason),
		.key = vhx_le64_of(f->key),
	};
	if (!greets(f->kind))
		return sizeof(bytes->frame);
	bytes->greeting = (struct vhx_argo_greeting){
		.version = vhx_le32_of(f->greeting.version),
		.frame_max = vhx_le32_of(f->greeting.frame_max),
		.key = vhx_le64_of(f->greeting.key),
	};
	return sizeof(*bytes);
}

uint32_t vhx_aframe_max(uint32_t ring_len)
{
	uint32_t quarter = ring_len / 4 & ~(ARGO_SLOT_SIZE - 1);

	return (uint32_t)vhx_min_u64(quarter, VHX_ARGO_FRAME_MAX);
}
