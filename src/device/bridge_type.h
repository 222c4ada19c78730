/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a bridge has to know of a device type beyond core/devtype.h: what of a back-end's features it can carry, how
 * large the config space is, and how drivers frame requests. One row per type; a type without one is carried as it
 * is.
 */
#ifndef VHX_DEVICE_BRIDGE_TYPE_H
#define VHX_DEVICE_BRIDGE_TYPE_H

#include "backend/device.h"

/*
 * VirtIO forbids a device to rely on framing, and some do all the same: so requests are framed as Linux' drivers
 * do it. Lengths of the parts that have a descriptor of their own; 0: there is none.
 */
struct vhx_bridge_framing {
	uint16_t out_heads[2];
	uint16_t in_head, in_tail;
};

#define VHX_BRIDGE_HEAD_MAX 128u /* of any part of any type */

struct vhx_bridge_type {
	uint32_t device_id;
	uint64_t features; /* device bits that can cross, of those that a back-end offers */
	uint64_t undefined; /* that no device of this type has: who offers them is another one */
	uint32_t config_len;
	uint16_t queues; /* of a device as most have it */
	uint16_t queues_step; /* more than that come in so many */
	struct vhx_bridge_framing framing;
	bool local_config; /* VMMs, not back-ends, say what the config space holds */
	bool paired; /* queues are pairs, and GET_QUEUE_NUM counts those: bridge_net.h */
	bool merges; /* VIRTIO_NET_F_MRG_RXBUF: packets that span receive buffers */
};

/* Payload of the largest request: what FUSE calls max_pages, 256, and what blk devices announce. */
#define VHX_BRIDGE_REQUEST_MAX (1u << 20)
/* What goes before and behind it: headers of every type fit a page. */
#define VHX_BRIDGE_REQUEST_HEADERS VHX_PAGE

/* Pieces of payload, each way, that a request is cut into for a disk at most; and what is not payload. */
#define VHX_BRIDGE_PIECES_MAX 32u
#define VHX_BRIDGE_HEADS_MAX 2u

/* What a device takes for the payload of one request, each way: so many descriptors, each of so many bytes. */
struct vhx_bridge_payload {
	uint32_t piece;
	uint16_t pieces;
};

/* That of most: no limit, and so it is one piece. */
#define VHX_BRIDGE_PAYLOAD_WHOLE ((struct vhx_bridge_payload){ UINT32_MAX, VHX_BRIDGE_PIECES_MAX })

/*
 * That of a disk, by the features that it offers and its own config space (VHX_DEVICE_CONFIG_MAX bytes); both ways
 * together fit the ring.
 */
struct vhx_bridge_payload vhx_bridge_blk_payload(uint64_t features, const uint8_t *bytes,
						 uint16_t ring_size);

/* Does a device that takes @next take what is cut for @first? */
bool vhx_bridge_payload_suits(const struct vhx_bridge_payload *first,
			      const struct vhx_bridge_payload *next);

/* The config space of a disk, in @bytes: what it says of requests is about those that our driver builds. */
void vhx_bridge_blk_config_fit(const struct vhx_device *dev,
			       const struct vhx_bridge_payload *payload, uint8_t *bytes);

/* Never NULL. */
const struct vhx_bridge_type *vhx_bridge_type_find(uint32_t device_id);

#endif
