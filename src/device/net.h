/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net (VirtIO 5.1): an Ethernet interface of the guest, and its other end on the host.
 */
#ifndef VHX_DEVICE_NET_H
#define VHX_DEVICE_NET_H

#include "backend/device.h"
#include "util/error.h"

#define VHX_NET_PAIRS_MAX \
	16u /* receive and transmit queues; 33 queues, of 64 that a device may have */
#define VHX_NET_QUEUE_SIZE_MAX 1024u

struct vhx_net_config {
	const char *id;
	const char *end; /* "tap:vm0", see device/net_end.h */
	uint8_t mac[6]; /* all zero: the driver takes one of its own choice */
	uint16_t mtu; /* told to the driver; 0: not */
	uint16_t pairs; /* of queues; 0: 1. More than one need a tap */
	bool offload; /* checksums and segmentation, where the end can */
	uint16_t queue_size; /* 0: VHX_NET_QUEUE_SIZE_MAX */
};

/*
 * Opens the end. 0; what opening it says, or -ENOMEM, with one line that starts with the id. Copies @config.
 * @log and @loop must outlive the device, which its ops->close() ends.
 */
int vhx_net_new(struct vhx_loop *loop, const struct vhx_net_config *config,
		const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
