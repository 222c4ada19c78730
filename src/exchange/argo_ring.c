// SPDX-License-Identifier: BSD-3-Clause
#include "exchange/argo_ring.h"

#include <string.h>

#include "exchange/exchange.h"
#include "util/barrier.h"
#include "util/checked.h"

void vhx_argo_reader_limit(struct vhx_argo_reader *r, uint32_t message_max)
{
	r->mark = r->ring_len - 2 * VHX_SLOT - vhx_round_up_u32(message_max, VHX_SLOT);
}

void vhx_argo_reader_init(struct vhx_argo_reader *r, const struct argo_ring *ring,
			  uint32_t ring_len, uint32_t message_max)
{
	*r = (struct vhx_argo_reader){ .ring = ring, .ring_len = ring_len };
	vhx_argo_reader_limit(r, message_max);
}

static uint32_t distance(const struct vhx_argo_reader *r, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + r->ring_len - from;
}

static void look(struct vhx_argo_reader *r)
{
	/* Acquire: pairs with the hypervisor's release of tx_ptr. */
	r->tx_seen = vhx_load_acquire(&r->ring->tx_ptr);
}

bool vhx_argo_reader_holds(struct vhx_argo_reader *r)
{
	if (r->peeked || r->rx_ptr != r->tx_seen)
		return true;
	look(r);
	return r->rx_ptr != r->tx_seen;
}

static void copy_out(const struct vhx_argo_reader *r, uint32_t at, void *dst, uint32_t len)
{
	const uint8_t *data = (const uint8_t *)(r->ring + 1);
	uint32_t first;

	at %= r->ring_len;
	first = (uint32_t)vhx_min_u64(len, r->ring_len - at);
	memcpy(dst, data + at, first);
	memcpy((uint8_t *)dst + first, data, len - first);
}

static int fetch(struct vhx_argo_reader *r)
{
	struct argo_message header;
	uint32_t held, len;

	if (r->tx_seen >= r->ring_len || r->tx_seen % VHX_SLOT)
		return -EPROTO;
	held = distance(r, r->rx_ptr, r->tx_seen);
	copy_out(r, r->rx_ptr, &header, sizeof(header));
	/* No more than is there, which also keeps the rounding below from wrapping. */
	if (header.len < sizeof(header) || header.len > held)
		return -EPROTO;
	len = header.len - (uint32_t)sizeof(header);
	if (vhx_footprint(len) > held)
		return -EPROTO;
	r->msg = (struct vhx_argo_message){
		.src = header.src,
		.type = header.type,
		.len = len,
	};
	r->peeked = vhx_footprint(len);
	return 1;
}

int vhx_argo_reader_peek(struct vhx_argo_reader *r, const struct vhx_argo_message **msg)
{
	int ret = 1;

	if (r->rx_ptr == r->tx_seen)
		return 0;
	if (!r->peeked)
		ret = fetch(r);
	if (ret == 1)
		*msg = &r->msg;
	return ret;
}

void vhx_argo_reader_read(const struct vhx_argo_reader *r, uint32_t off, void *dst, uint32_t len)
{
	assert(r->peeked && vhx_range_within(off, len, r->msg.len));
	copy_out(r, r->rx_ptr + VHX_SLOT_HEADER + off, dst, len);
}

void vhx_argo_reader_consume(struct vhx_argo_reader *r)
{
	assert(r->peeked);
	r->rx_ptr = (r->rx_ptr + r->peeked) % r->ring_len;
	r->unpublished += r->peeked;
	r->peeked = 0;
}

void vhx_argo_reader_published(struct vhx_argo_reader *r, uint32_t tx_ptr)
{
	r->unpublished = 0;
	r->tx_seen = tx_ptr;
}
