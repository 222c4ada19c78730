/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a VMM does for a network back-end, and so a bridge to one: the config space, and the control queue, by which a
 * driver says how many pairs of queues it uses (VirtIO 5.1.5, 5.1.6.5.6). No back-end sees either.
 */
#ifndef VHX_DEVICE_BRIDGE_NET_H
#define VHX_DEVICE_BRIDGE_NET_H

#include "backend/device.h"
#include "device/net_layout.h"

struct vhx_bridge_net {
	uint8_t mac[6]; /* zeroes: none */
	uint16_t mtu; /* 0: not told */
	uint16_t pairs; /* of the device */
	uint64_t features; /* negotiated */
	uint32_t used; /* pairs that the back-end is to serve, by bit */
	bool told; /* the driver said how many */
};

/* A driver that has said nothing yet: one pair. */
void vhx_bridge_net_reset(struct vhx_bridge_net *net);

/* Of what a back-end offers and can cross, what drivers are offered. */
uint64_t vhx_bridge_net_features(const struct vhx_bridge_net *net, uint64_t features);
/* The config space, 12 bytes. */
void vhx_bridge_net_config_make(const struct vhx_bridge_net *net, bool link, uint8_t *bytes);

/* Is this queue the control queue, or none of the back-end's at all? */
bool vhx_bridge_net_is_control(const struct vhx_bridge_net *net, uint16_t index);
/* Does and completes what came there. True: other pairs are used now. */
bool vhx_bridge_net_command(struct vhx_bridge_net *net, struct vhx_request *req);
/*
 * A buffer or a packet came on this queue. A driver that said nothing may be behind a VMM that keeps the control queue
 * for itself: what it posts to is used. True: that is one more pair.
 */
bool vhx_bridge_net_seen(struct vhx_bridge_net *net, uint16_t index);

static inline bool vhx_bridge_net_uses(const struct vhx_bridge_net *net, uint16_t index)
{
	return net->used >> index / 2 & 1;
}

#endif
