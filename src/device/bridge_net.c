// SPDX-License-Identifier: BSD-3-Clause
#include "device/bridge_net.h"

#include <string.h>

#define BIT(name) (1ull << VIRTIO_NET_F_##name)

static bool has(const struct vhx_bridge_net *net, unsigned int feature)
{
	return net->features >> feature & 1;
}

void vhx_bridge_net_reset(struct vhx_bridge_net *net)
{
	net->features = 0;
	net->used = 1;
	net->told = false;
}

uint64_t vhx_bridge_net_features(const struct vhx_bridge_net *net, uint64_t features)
{
	static const uint8_t none[sizeof(net->mac)];

	features &= ~(BIT(MAC) | BIT(MTU));
	features |= BIT(STATUS);
	if (memcmp(net->mac, none, sizeof(none)))
		features |= BIT(MAC);
	if (net->mtu)
		features |= BIT(MTU);
	if (net->pairs > 1)
		features |= BIT(CTRL_VQ) | BIT(MQ);
	return features;
}

void vhx_bridge_net_config_make(const struct vhx_bridge_net *net, bool link, uint8_t *bytes)
{
	struct virtio_net_config config = { 0 };

	memcpy(config.mac, net->mac, sizeof(config.mac));
	config.status = vhx_le16_of(link ? VIRTIO_NET_S_LINK_UP : 0);
	config.max_virtqueue_pairs = vhx_le16_of(net->pairs);
	config.mtu = vhx_le16_of(net->mtu);
	memcpy(bytes, &config, sizeof(config));
}

/* 5.1.2: behind all pairs with MQ, else behind the first. */
bool vhx_bridge_net_is_control(const struct vhx_bridge_net *net, uint16_t index)
{
	if (index >= 2 * net->pairs)
		return true;
	return index == 2 && has(net, VIRTIO_NET_F_CTRL_VQ) && !has(net, VIRTIO_NET_F_MQ);
}

static bool command_do(struct vhx_bridge_net *net, const struct vhx_request *req)
{
	struct {
		struct virtio_net_ctrl head;
		vhx_le16 pairs;
	} c;
	uint16_t cnt;

	if (vhx_request_out_read(req, 0, &c, sizeof(c)) != sizeof(c) ||
	    !has(net, VIRTIO_NET_F_MQ) || c.head.class != VIRTIO_NET_CTRL_MQ ||
	    c.head.command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return false;
	cnt = vhx_le16_get(c.pairs);
	if (cnt < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || cnt > net->pairs)
		return false;
	net->told = true;
	net->used = (uint32_t)((1ull << cnt) - 1);
	return true;
}

bool vhx_bridge_net_command(struct vhx_bridge_net *net, struct vhx_request *req)
{
	bool done = command_do(net, req);
	const uint8_t ack = done ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	uint32_t len = req->in_len ? sizeof(ack) : 0;

	vhx_request_complete(req, 0, &ack, 0, len, len);
	return done;
}

bool vhx_bridge_net_seen(struct vhx_bridge_net *net, uint16_t index)
{
	if (net->told || vhx_bridge_net_uses(net, index))
		return false;
	net->used |= 1u << index / 2;
	return true;
}
