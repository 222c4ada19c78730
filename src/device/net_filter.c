// SPDX-License-Identifier: BSD-3-Clause
#include "device/net_filter.h"

#include <string.h>

void vhx_net_filter_reset(struct vhx_net_filter *f)
{
	struct vhx_net_filter clear = { .promisc = true };

	memcpy(clear.mac, f->mac, sizeof(clear.mac));
	*f = clear;
}

bool vhx_net_filter_mode(struct vhx_net_filter *f, uint8_t command, bool on)
{
	switch (command) {
	case VIRTIO_NET_CTRL_RX_PROMISC:
		f->promisc = on;
		return true;
	case VIRTIO_NET_CTRL_RX_ALLMULTI:
		f->allmulti = on;
		return true;
	case VIRTIO_NET_CTRL_RX_ALLUNI:
		f->alluni = on;
		return true;
	case VIRTIO_NET_CTRL_RX_NOMULTI:
		f->nomulti = on;
		return true;
	case VIRTIO_NET_CTRL_RX_NOUNI:
		f->nouni = on;
		return true;
	case VIRTIO_NET_CTRL_RX_NOBCAST:
		f->nobcast = on;
		return true;
	default:
		return false;
	}
}

/*
 * One list at *@off: its length, and the addresses. Those that did not come are too many to remember. False:
 * there is no such list.
 */
static bool list_read(struct vhx_net_addresses *list, const uint8_t *bytes, uint32_t len,
		      uint32_t total, uint64_t *off)
{
	vhx_le32 wire;
	uint64_t end;

	if (*off + sizeof(wire) > total)
		return false;
	*list = (struct vhx_net_addresses){ .all = true };
	if (*off + sizeof(wire) > len)
		return true; /* the first list was so long that this one did not come */
	memcpy(&wire, bytes + *off, sizeof(wire));
	*off += sizeof(wire);
	end = *off + (uint64_t)vhx_le32_get(wire) * VHX_ETHER_ADDRESS_LEN;
	if (end > total)
		return false;
	if (end <= len && vhx_le32_get(wire) <= VHX_NET_FILTER_MAX) {
		list->all = false;
		list->cnt = vhx_le32_get(wire);
		memcpy(list->addresses, bytes + *off, list->cnt * VHX_ETHER_ADDRESS_LEN);
	}
	*off = end;
	return true;
}

bool vhx_net_filter_table(struct vhx_net_filter *f, const uint8_t *bytes, uint32_t len,
			  uint32_t total)
{
	struct vhx_net_addresses uni, multi;
	uint64_t off = 0;

	if (!list_read(&uni, bytes, len, total, &off) ||
	    !list_read(&multi, bytes, len, total, &off))
		return false;
	f->uni = uni;
	f->multi = multi;
	return true;
}

static bool is_listed(const struct vhx_net_addresses *list, const uint8_t *address)
{
	uint32_t i;

	for (i = 0; i < list->cnt; i++) {
		if (!memcmp(list->addresses[i], address, VHX_ETHER_ADDRESS_LEN))
			return true;
	}
	return list->all;
}

static bool unicast_passes(const struct vhx_net_filter *f, const uint8_t *destination)
{
	static const uint8_t unknown[VHX_ETHER_ADDRESS_LEN];

	if (f->nouni)
		return false;
	return f->alluni || !memcmp(f->mac, unknown, sizeof(f->mac)) ||
	       !memcmp(f->mac, destination, sizeof(f->mac)) || is_listed(&f->uni, destination);
}

bool vhx_net_filter_passes(const struct vhx_net_filter *f,
			   const uint8_t destination[VHX_ETHER_ADDRESS_LEN])
{
	static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (f->promisc)
		return true;
	if (!(destination[0] & 1))
		return unicast_passes(f, destination);
	if (!memcmp(destination, broadcast, sizeof(broadcast)))
		return !f->nobcast;
	return !f->nomulti && (f->allmulti || is_listed(&f->multi, destination));
}
