/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which frames a driver wants to see (VirtIO 5.1.6.5.1 and 5.1.6.5.2), by their destination. A filter only saves a
 * guest work: one that knows too little lets everything through.
 */
#ifndef VHX_DEVICE_NET_FILTER_H
#define VHX_DEVICE_NET_FILTER_H

#include "device/net_layout.h"

/* Of unicast and of multicast addresses each; who names more gets all of the kind. */
#define VHX_NET_FILTER_MAX 64u

struct vhx_net_addresses {
	uint8_t addresses[VHX_NET_FILTER_MAX][VHX_ETHER_ADDRESS_LEN];
	uint32_t cnt;
	bool all; /* too many to remember */
};

struct vhx_net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	uint8_t mac
		[VHX_ETHER_ADDRESS_LEN]; /* all zero: not known, then all unicast is let through */
	struct vhx_net_addresses uni, multi;
};

/* As a driver finds it: everything passes. @mac is kept. */
void vhx_net_filter_reset(struct vhx_net_filter *f);

/* One command of the class VIRTIO_NET_CTRL_RX. False: there is none of that number. */
bool vhx_net_filter_mode(struct vhx_net_filter *f, uint8_t command, bool on);

/*
 * The two lists of MAC_TABLE_SET, from the @len bytes that came of @total that the driver made. False: they are
 * not well-formed, and nothing was changed.
 */
bool vhx_net_filter_table(struct vhx_net_filter *f, const uint8_t *bytes, uint32_t len,
			  uint32_t total);

bool vhx_net_filter_passes(const struct vhx_net_filter *f,
			   const uint8_t destination[VHX_ETHER_ADDRESS_LEN]);

#endif
