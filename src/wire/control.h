/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control messages: virtio-msg headers and sizes. A table knows, for each message in each direction,
 * how long it may be; payload structs are those of vhx/virtio_msg.h, laid over the private copy.
 */
#ifndef VHX_WIRE_CONTROL_H
#define VHX_WIRE_CONTROL_H

#include <string.h>

#include <vhx/virtio_msg.h>

#include "util/checked.h"

#define VHX_CONTROL_PAYLOAD_MAX (VIRTIO_MSG_MAX - sizeof(struct virtio_msg_header))
/* Config bytes that one message carries. */
#define VHX_CONTROL_CONFIG_MAX (VHX_CONTROL_PAYLOAD_MAX - sizeof(struct virtio_msg_config))

/* A control message in private memory. */
struct vhx_control {
	bool bus, response;
	uint8_t msg_id;
	uint16_t dev_num;
	uint16_t token;
	uint16_t payload_len;
	_Alignas(8) uint8_t payload[VHX_CONTROL_PAYLOAD_MAX];
};

/* Bytes on the wire, virtio-msg header included. */
static inline uint32_t vhx_control_len(const struct vhx_control *c)
{
	return (uint32_t)sizeof(struct virtio_msg_header) + c->payload_len;
}

/* @wire has room for VIRTIO_MSG_MAX bytes. Returns the length. */
uint32_t vhx_control_encode(void *wire, const struct vhx_control *c);

/*
 * @wire: @len bytes, private. 0: @c is a known message with a payload of a legal size. -ENOMSG: not a message
 * that we know, or of an illegal size: discarded silently, as virtio-msg asks. -EPROTO: not even a header.
 */
int vhx_control_decode(const void *wire, uint32_t len, struct vhx_control *c);

/* A request of @payload_len zero bytes, to be filled in. Returns the payload. */
void *vhx_control_request(struct vhx_control *c, bool bus, uint8_t msg_id, uint16_t dev_num,
			  uint16_t payload_len);
/* Turns @req's header into its response. */
void *vhx_control_response(struct vhx_control *resp, const struct vhx_control *req,
			   uint16_t payload_len);

#endif
