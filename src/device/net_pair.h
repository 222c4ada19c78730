/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One pair of queues of a network device, and their line at the host's end. Private to net.c and net_pair.c.
 *
 *   guest -> host   request -> its header is judged -> the end, or held until that has room
 *   host -> guest   the end -> the oldest posted request, or several of them where they can be merged
 */
#ifndef VHX_DEVICE_NET_PAIR_H
#define VHX_DEVICE_NET_PAIR_H

#include "backend/device.h"
#include "device/net_end.h"
#include "device/net_filter.h"

/* What the driver has chosen; all pairs of a device share it. */
struct vhx_net_rules {
	bool mergeable; /* a packet may fill several receive buffers */
	bool csum; /* the driver may leave checksums to us */
	bool ecn;
	uint32_t gso; /* a bit for each VIRTIO_NET_HDR_GSO_ that it may use */
	struct vhx_net_filter filter;
};

struct vhx_net_pair {
	struct vhx_device *dev;
	struct vhx_net_end *end;
	const struct vhx_net_rules *rules;
	unsigned int index;
	bool used; /* the driver takes packets here */
	bool no_room; /* ops->room is awaited */
	struct vhx_list posted; /* receive requests, oldest first */
	struct vhx_list held; /* packets that the end has no room for */
	/* A packet that does not fit the oldest posted request alone. */
	struct {
		uint8_t *bytes; /* VHX_NET_PACKET_MAX */
		uint32_t len; /* 0: there is none */
		uint32_t off; /* so much of it was sent */
		uint32_t request_off; /* of that, so much in the oldest posted request */
	} packet;
	struct vhx_loop_timer wait; /* for buffers for it */
	struct vhx_loop_timer again; /* there is more to receive */
	struct vhx_log_limit limit;
	uint64_t lost_in, lost_out; /* packets */
};

/* @pair has dev, end, rules and index. 0 or -ENOMEM. */
int vhx_net_pair_init(struct vhx_net_pair *pair);
/* Drops what it holds. */
void vhx_net_pair_fini(struct vhx_net_pair *pair);

/* A packet or a receive buffer: taken. */
void vhx_net_pair_transmit(struct vhx_net_pair *pair, struct vhx_request *req);
void vhx_net_pair_post(struct vhx_net_pair *pair, struct vhx_request *req);

/* Moves what can be moved. */
void vhx_net_pair_pump_in(struct vhx_net_pair *pair);
void vhx_net_pair_pump_out(struct vhx_net_pair *pair);
/* Everything of this pass was posted. */
void vhx_net_pair_kick(struct vhx_net_pair *pair);

/* Does the driver take packets here? */
void vhx_net_pair_use(struct vhx_net_pair *pair, bool used);
/* A queue of the pair is reset: what it holds of it is dropped. */
void vhx_net_pair_reset_in(struct vhx_net_pair *pair);
void vhx_net_pair_reset_out(struct vhx_net_pair *pair);

#endif
