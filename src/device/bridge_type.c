// SPDX-License-Identifier: BSD-3-Clause
#include "device/bridge_type.h"

#include <string.h>

#include "device/blk_layout.h"
#include "util/checked.h"

/* 5.2.4: as blk.c announces it. */
#define BLK_SEGS 254u

#define BIT(n) (1ull << (n))
#define BITS(first, last) (BIT((last) + 1) - BIT(first))
/* VirtIO 2.2: the device's own. */
#define ALL_DEVICE_BITS (BITS(0, 23) | ~(BIT(50) - 1))

static const struct vhx_bridge_type types[] = {
	/*
	 * 5.1.3. CSUM, GUEST_CSUM, MTU, MAC, segmentation, MRG_RXBUF, STATUS. The control queue is for a VMM to
	 * serve, and no back-end does: of what needs it there is MQ, bridge_net.c.
	 */
	{ .device_id = 1,
	  .features = BITS(0, 1) | BIT(3) | BIT(5) | BITS(7, 16),
	  .config_len = 12,
	  .queues = 2,
	  .local_config = true,
	  .paired = true,
	  .merges = true },
	/* 5.2.3: down to WRITE_ZEROES. */
	{ .device_id = 2,
	  .features = BITS(1, 2) | BITS(4, 6) | BITS(9, 14),
	  .config_len = 60,
	  .queues = 1,
	  .queues_step = 1,
	  .framing = { .out_heads = { 16 }, .in_tail = 1 } },
	{ .device_id = 3,
	  .features = BITS(0, 0) | BIT(2),
	  .undefined = BITS(3, 23),
	  .config_len = 12,
	  .queues = 2 },
	{ .device_id = 4, .features = 0, .undefined = BITS(1, 23), .queues = 1 },
	{ .device_id = 8,
	  .features = BITS(0, 2),
	  .undefined = BITS(4, 23),
	  .config_len = 36,
	  .queues = 3,
	  .queues_step = 1,
	  .framing = { .out_heads = { 51 }, .in_head = 108 } },
	{ .device_id = 18, .features = ALL_DEVICE_BITS, .config_len = 136, .queues = 2 },
	{ .device_id = 19,
	  .features = BITS(0, 2),
	  .undefined = BITS(3, 23),
	  .config_len = 8,
	  .queues = 3 },
	{ .device_id = 20,
	  .features = BITS(0, 5),
	  .config_len = 56,
	  .queues = 2,
	  .queues_step = 1 },
	{ .device_id = 25, .features = ALL_DEVICE_BITS, .config_len = 12, .queues = 4 },
	/* 5.11: notifications would want a queue more. A FUSE request and its largest argument structure. */
	{ .device_id = 26,
	  .features = 0,
	  .undefined = BITS(1, 23),
	  .config_len = 40,
	  .queues = 2,
	  .queues_step = 1,
	  .framing = { .out_heads = { 40, 40 }, .in_head = 16 },
	  .local_config = true },
	{ .device_id = 34,
	  .features = ALL_DEVICE_BITS,
	  .queues = 1,
	  .framing = { .out_heads = { 8 }, .in_tail = 1 } },
	{ .device_id = 36, .features = ALL_DEVICE_BITS, .config_len = 2, .queues = 3 },
	{ .device_id = 41, .features = ALL_DEVICE_BITS, .config_len = 8, .queues = 2 },
};

static const struct vhx_bridge_type other = {
	.features = ALL_DEVICE_BITS,
	.queues = 1,
	.queues_step = 1,
};

const struct vhx_bridge_type *vhx_bridge_type_find(uint32_t device_id)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		if (types[i].device_id == device_id)
			return &types[i];
	}
	return &other;
}

/* As many as fit a ring twice, each time with their heads. */
static uint64_t pieces_max(uint16_t ring_size)
{
	const unsigned int heads = 2 * VHX_BRIDGE_HEADS_MAX;

	return ring_size > heads ? vhx_min_u64((ring_size - heads) / 2, VHX_BRIDGE_PIECES_MAX) : 1;
}

/* 0 says nothing, and lengths that no disk can work with are not believed. */
struct vhx_bridge_payload vhx_bridge_blk_payload(uint64_t features, const uint8_t *bytes,
						 uint16_t ring_size)
{
	struct vhx_bridge_payload p = VHX_BRIDGE_PAYLOAD_WHOLE;
	uint64_t pieces = pieces_max(ring_size);
	struct virtio_blk_config config;
	uint32_t piece, segs;

	memcpy(&config, bytes, sizeof(config));
	piece = features & BIT(VIRTIO_BLK_F_SIZE_MAX) ? vhx_le32_get(config.size_max) : 0;
	segs = features & BIT(VIRTIO_BLK_F_SEG_MAX) ? vhx_le32_get(config.seg_max) : 0;
	if (piece && piece < VHX_BRIDGE_REQUEST_MAX)
		p.piece = (uint32_t)vhx_max_u64(piece, VIRTIO_BLK_SECTOR);
	p.pieces = (uint16_t)vhx_max_u64(vhx_min_u64(pieces, segs ? segs : pieces), 1);
	return p;
}

bool vhx_bridge_payload_suits(const struct vhx_bridge_payload *first,
			      const struct vhx_bridge_payload *next)
{
	uint64_t used = vhx_min_u64(first->pieces,
				    vhx_div_round_up_u64(VHX_BRIDGE_REQUEST_MAX, first->piece));

	return next->piece >= first->piece && next->pieces >= used;
}

void vhx_bridge_blk_config_fit(const struct vhx_device *dev,
			       const struct vhx_bridge_payload *payload, uint8_t *bytes)
{
	uint32_t max = (uint32_t)vhx_min_u64(VHX_BRIDGE_REQUEST_MAX,
					     (uint64_t)payload->piece * payload->pieces);
	struct virtio_blk_config config = { 0 };
	uint32_t segs;

	memcpy(&config, bytes, dev->config_len);
	/* Drivers want a page in a segment, so there are fewer of them where the device takes little. */
	segs = (uint32_t)vhx_min_u64(dev->queue_size_max - 2, BLK_SEGS);
	segs = (uint32_t)vhx_max_u64(vhx_min_u64(segs, max / VHX_PAGE), 1);
	config.seg_max = vhx_le32_of(segs);
	config.size_max = vhx_le32_of(max < VHX_PAGE ? max : max / segs / VHX_PAGE * VHX_PAGE);
	config.num_queues = vhx_le16_of(dev->num_queues);
	memcpy(bytes, &config, dev->config_len);
}
