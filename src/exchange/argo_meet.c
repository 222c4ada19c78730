// SPDX-License-Identifier: BSD-3-Clause
#include "exchange/argo_meet.h"

#include "exchange/exchange.h"

bool vhx_argo_ring_len_valid(uint32_t len)
{
	return len >= VHX_ARGO_RING_MIN && len <= VHX_ARGO_RING_MAX && len % VHX_SLOT == 0;
}

void vhx_argo_meet_encode(struct vhx_argo_meet *wire, const struct vhx_argo_life *life)
{
	*wire = (struct vhx_argo_meet){
		.version = vhx_le32_of(VHX_ARGO_VERSION),
		.state = vhx_le32_of(life->state),
		.inc = vhx_le32_of(life->inc),
		.peer_inc = vhx_le32_of(life->peer_inc),
		.ring_len = vhx_le32_of(life->ring_len),
	};
}

static bool reserved_is_zero(const struct vhx_argo_meet *wire)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wire->reserved); i++)
		bits |= vhx_le32_get(wire->reserved[i]);
	return !bits;
}

bool vhx_argo_meet_read(const struct vhx_argo_reader *r, struct vhx_argo_life *life)
{
	struct vhx_argo_meet wire;

	if (r->msg.len != sizeof(wire))
		return false;
	vhx_argo_reader_read(r, 0, &wire, sizeof(wire));
	*life = (struct vhx_argo_life){
		.state = vhx_le32_get(wire.state),
		.inc = vhx_le32_get(wire.inc),
		.peer_inc = vhx_le32_get(wire.peer_inc),
		.ring_len = vhx_le32_get(wire.ring_len),
	};
	return vhx_le32_get(wire.version) == VHX_ARGO_VERSION && reserved_is_zero(&wire) &&
	       life->state <= VHX_ARGO_HERE && life->inc && vhx_argo_ring_len_valid(life->ring_len);
}
