// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Out. A packet goes to the end at once and its request ends: whether it arrives is the network's affair. What the end
 * has no room for is held, in order; the driver's window and ring fill up, and its network stack waits: nothing is
 * lost here, and nothing grows. The header is the driver's word on what is unfinished in the packet; what it may
 * not say, by the features that it chose, costs it the packet.
 *
 * In. A packet is read with the oldest posted request's place in the outgoing message in front, and a buffer of our
 * own behind it. Most fit into the first: read where they are sent from, and done. One that does not is in
 *
 *   packet.bytes, with off 0   until there are buffers for all of it, or WAIT_NS is over and it is lost; without
 *                              MRG_RXBUF one that a buffer has no room for is lost at once
 *   packet.bytes, off > 0      on its way: a group has begun, and has buffers and bytes to end
 *
 * Nothing is read without a posted request, so that the packets of a guest that does not listen wait, and are lost, in
 * the kernel's queue. All that a turn of the loop finds leaves in one message; a turn takes BURST_MAX packets, and
 * the rest is for the next one, behind other devices.
 *
 * A hostile driver can fill its window, and post buffers that nothing fits into: those come back empty. What it sends
 * is bytes for the end. A hostile peer can send: each packet costs a filter or a place, and one burst a turn.
 */
#include "device/net_pair.h"

#include <stdlib.h>
#include <string.h>

#define BURST_MAX 256
#define WAIT_NS (1000 * 1000000ull)
#define AGAIN_NS 1u /* the next turn of the loop */

static const uint32_t hdr_len = sizeof(struct virtio_net_hdr);

static struct vhx_request *oldest(const struct vhx_list *list)
{
	return vhx_list_first_entry(list, struct vhx_request, node);
}

static void take_out(struct vhx_request *req, uint32_t used_len)
{
	vhx_list_del(&req->node);
	vhx_request_complete(req, 0, NULL, 0, 0, used_len);
}

/* Out */

static bool header_allowed(const struct vhx_net_rules *rules, const struct virtio_net_hdr *hdr)
{
	uint8_t gso = hdr->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN && !rules->ecn)
		return false;
	if (gso >= 32 || !(rules->gso >> gso & 1))
		return false;
	return rules->csum || !(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

/* What goes to the end: a copy, with nothing that means something in the other direction only. */
static bool header_read(const struct vhx_net_pair *pair, const struct vhx_request *req,
			struct virtio_net_hdr *hdr)
{
	if (!pair->used || req->too_big || req->out_len < hdr_len + VHX_ETHER_HEADER_LEN)
		return false;
	vhx_request_out_read(req, 0, hdr, hdr_len);
	if (!header_allowed(pair->rules, hdr))
		return false;
	hdr->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->num_buffers = vhx_le16_of(0);
	return true;
}

static void lost_out(struct vhx_net_pair *pair, const struct vhx_request *req)
{
	pair->lost_out++;
	vhx_log_limited(
		pair->dev->log, &pair->limit, vhx_loop_now(pair->dev->loop), VHX_LOG_WARNING,
		"%s: queue pair %u: a packet of %u bytes that the driver must not send is lost",
		pair->dev->id, pair->index, req->out_len);
}

/* 0: the request may end. -EAGAIN. */
static int packet_send(struct vhx_net_pair *pair, const struct vhx_request *req)
{
	struct iovec iov[VHX_NET_IOV_MAX];
	struct virtio_net_hdr hdr;
	unsigned int cnt;

	if (!header_read(pair, req, &hdr)) {
		lost_out(pair, req);
		return 0;
	}
	cnt = vhx_request_out_iov(req, hdr_len, iov, VHX_NET_IOV_MAX);
	return vhx_net_end_send(pair->end, pair->index, &hdr, iov, (int)cnt);
}

void vhx_net_pair_pump_out(struct vhx_net_pair *pair)
{
	while (!vhx_list_empty(&pair->held)) {
		if (packet_send(pair, oldest(&pair->held)))
			break;
		take_out(oldest(&pair->held), 0);
	}
	vhx_net_end_want_out(pair->end, pair->index, !vhx_list_empty(&pair->held));
}

void vhx_net_pair_transmit(struct vhx_net_pair *pair, struct vhx_request *req)
{
	vhx_list_init(&req->node);
	if (vhx_list_empty(&pair->held) && !packet_send(pair, req)) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return;
	}
	vhx_list_add_tail(&pair->held, &req->node);
	vhx_net_end_want_out(pair->end, pair->index, true);
}

/* In */

static void packet_forget(struct vhx_net_pair *pair)
{
	pair->packet.len = 0;
	pair->packet.off = 0;
	pair->packet.request_off = 0;
	vhx_loop_timer_cancel(pair->dev->loop, &pair->wait);
}

static void packet_lose(struct vhx_net_pair *pair)
{
	pair->lost_in++;
	packet_forget(pair);
}

/* Posted requests that it fills; 0: there are not enough. */
static uint32_t buffers_for(const struct vhx_net_pair *pair, uint32_t len)
{
	struct vhx_list *pos;
	uint64_t room = 0;
	uint32_t cnt = 0;

	vhx_list_for_each (pos, &pair->posted) {
		room += vhx_list_entry(pos, struct vhx_request, node)->in_len;
		cnt++;
		if (room >= len)
			return cnt;
	}
	return 0;
}

/* The packet may begin: there are buffers for all of it. */
static bool packet_begin(struct vhx_net_pair *pair)
{
	uint32_t cnt = buffers_for(pair, pair->packet.len);
	vhx_le16 num_buffers = vhx_le16_of((uint16_t)cnt);

	if (cnt != 1 && !pair->rules->mergeable) {
		packet_lose(pair);
		return false;
	}
	if (!cnt) {
		if (!pair->wait.due_ns)
			vhx_loop_timer_arm(pair->dev->loop, &pair->wait, WAIT_NS);
		return false;
	}
	vhx_loop_timer_cancel(pair->dev->loop, &pair->wait);
	memcpy(pair->packet.bytes + offsetof(struct virtio_net_hdr, num_buffers), &num_buffers,
	       sizeof(num_buffers));
	return true;
}

/* Of the packet, as much as one place in the message takes. False: there is no room. */
static bool packet_piece(struct vhx_net_pair *pair, struct vhx_request *req)
{
	uint64_t len = vhx_min_u64(pair->packet.len - pair->packet.off,
				   req->in_len - pair->packet.request_off);
	bool later;
	void *p;

	len = vhx_min_u64(len, vhx_request_in_reserve_max(req));
	if (!len)
		return false;
	p = vhx_request_in_reserve(req, pair->packet.request_off, (uint32_t)len, &later);
	pair->no_room |= !p && later;
	if (!p)
		return false;
	memcpy(p, pair->packet.bytes + pair->packet.off, len);
	vhx_request_in_commit(req, (uint32_t)len);
	pair->packet.off += (uint32_t)len;
	pair->packet.request_off += (uint32_t)len;
	return true;
}

/* True: it is gone, for better or worse. */
static bool packet_deliver(struct vhx_net_pair *pair)
{
	if (!pair->packet.off && !packet_begin(pair))
		return !pair->packet.len;
	while (pair->packet.off < pair->packet.len) {
		struct vhx_request *req = oldest(&pair->posted);
		uint32_t used = pair->packet.request_off;

		if (used < req->in_len) {
			if (!packet_piece(pair, req))
				return false;
			used = pair->packet.request_off;
		}
		if (used < req->in_len && pair->packet.off < pair->packet.len)
			continue;
		req->group = pair->packet.off < pair->packet.len;
		pair->packet.request_off = 0;
		take_out(req, used);
	}
	packet_forget(pair);
	return true;
}

static bool packet_wanted(const struct vhx_net_pair *pair, const struct iovec iov[2], uint32_t len)
{
	uint8_t destination[VHX_ETHER_ADDRESS_LEN];
	uint32_t i;

	if (len < hdr_len + VHX_ETHER_HEADER_LEN)
		return false;
	for (i = 0; i < sizeof(destination); i++) {
		size_t at = hdr_len + i;

		destination[i] = at < iov[0].iov_len
					 ? ((const uint8_t *)iov[0].iov_base)[at]
					 : ((const uint8_t *)iov[1].iov_base)[at - iov[0].iov_len];
	}
	return vhx_net_filter_passes(&pair->rules->filter, destination);
}

/* @len bytes are in @iov, the first of which is the reservation. */
static void packet_arrived(struct vhx_net_pair *pair, struct vhx_request *req,
			   const struct iovec iov[2], uint32_t len)
{
	const vhx_le16 one = vhx_le16_of(1);

	if (!packet_wanted(pair, iov, len)) {
		vhx_request_in_commit(req, 0);
		pair->lost_in++;
	} else if (len <= iov[0].iov_len) {
		memcpy((uint8_t *)iov[0].iov_base + offsetof(struct virtio_net_hdr, num_buffers),
		       &one, sizeof(one));
		vhx_request_in_commit(req, len);
		take_out(req, len);
	} else {
		memcpy(pair->packet.bytes, iov[0].iov_base, iov[0].iov_len);
		vhx_request_in_commit(req, 0);
		pair->packet.len = len;
	}
}

/* True: a packet was received. */
static bool packet_receive(struct vhx_net_pair *pair, struct vhx_request *req)
{
	uint32_t len = (uint32_t)vhx_min_u64(req->in_len, VHX_NET_PACKET_MAX);
	struct iovec iov[2];
	bool later = false;
	ssize_t n;

	len = (uint32_t)vhx_min_u64(len, vhx_request_in_reserve_max(req));
	if (len < hdr_len)
		return false;
	iov[0].iov_base = vhx_request_in_reserve(req, 0, len, &later);
	pair->no_room |= !iov[0].iov_base && later;
	if (!iov[0].iov_base)
		return false;
	iov[0].iov_len = len;
	iov[1].iov_base = pair->packet.bytes + len;
	iov[1].iov_len = VHX_NET_PACKET_MAX - len;
	n = vhx_net_end_receive(pair->end, pair->index, iov, iov[1].iov_len ? 2 : 1);
	if (n > 0)
		packet_arrived(pair, req, iov, (uint32_t)n);
	else
		vhx_request_in_commit(req, 0);
	return n > 0;
}

static bool in_step(struct vhx_net_pair *pair)
{
	struct vhx_request *req;

	if (pair->packet.len)
		return packet_deliver(pair);
	req = oldest(&pair->posted);
	if (req->in_len >= hdr_len)
		return packet_receive(pair, req);
	take_out(req, 0); /* a packet cannot begin here */
	return true;
}

static bool in_wanted(const struct vhx_net_pair *pair)
{
	return pair->used && !pair->no_room && !vhx_list_empty(&pair->posted);
}

void vhx_net_pair_pump_in(struct vhx_net_pair *pair)
{
	unsigned int left = BURST_MAX;

	while (left && in_wanted(pair) && in_step(pair))
		left--;
	vhx_net_end_want_in(pair->end, pair->index, in_wanted(pair) && !pair->packet.len);
	if (!left && in_wanted(pair))
		vhx_loop_timer_arm(pair->dev->loop, &pair->again, AGAIN_NS);
}

void vhx_net_pair_post(struct vhx_net_pair *pair, struct vhx_request *req)
{
	vhx_list_init(&req->node);
	vhx_list_add_tail(&pair->posted, &req->node);
}

void vhx_net_pair_kick(struct vhx_net_pair *pair)
{
	if (!in_wanted(pair))
		return;
	if (pair->packet.len || vhx_net_end_buffered(pair->end))
		vhx_net_pair_pump_in(pair);
	else
		vhx_net_end_want_in(pair->end, pair->index, true);
}

static void wait_expired(struct vhx_loop_timer *t)
{
	struct vhx_net_pair *pair = vhx_container_of(t, struct vhx_net_pair, wait);

	packet_lose(pair);
	vhx_net_pair_pump_in(pair);
}

static void again_expired(struct vhx_loop_timer *t)
{
	vhx_net_pair_pump_in(vhx_container_of(t, struct vhx_net_pair, again));
}

/* Life */

void vhx_net_pair_use(struct vhx_net_pair *pair, bool used)
{
	if (pair->used == used)
		return;
	pair->used = used;
	/* A detached line has nothing to tell but that it is one. */
	if (!used)
		vhx_net_end_want_in(pair->end, pair->index, false);
	vhx_net_end_set_pair(pair->end, pair->index, used);
	if (used)
		vhx_net_pair_kick(pair);
}

static void list_drop(struct vhx_list *list)
{
	while (!vhx_list_empty(list)) {
		struct vhx_request *req = oldest(list);

		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

void vhx_net_pair_reset_in(struct vhx_net_pair *pair)
{
	list_drop(&pair->posted);
	packet_forget(pair);
	pair->no_room = false;
	vhx_net_end_want_in(pair->end, pair->index, false);
}

void vhx_net_pair_reset_out(struct vhx_net_pair *pair)
{
	list_drop(&pair->held);
	vhx_net_end_want_out(pair->end, pair->index, false);
}

int vhx_net_pair_init(struct vhx_net_pair *pair)
{
	vhx_list_init(&pair->posted);
	vhx_list_init(&pair->held);
	vhx_list_init(&pair->wait.node);
	vhx_list_init(&pair->again.node);
	pair->wait.expired = wait_expired;
	pair->again.expired = again_expired;
	pair->packet.bytes = malloc(VHX_NET_PACKET_MAX);
	return pair->packet.bytes ? 0 : -ENOMEM;
}

void vhx_net_pair_fini(struct vhx_net_pair *pair)
{
	vhx_loop_timer_cancel(pair->dev->loop, &pair->wait);
	vhx_loop_timer_cancel(pair->dev->loop, &pair->again);
	list_drop(&pair->posted);
	list_drop(&pair->held);
	free(pair->packet.bytes);
}
