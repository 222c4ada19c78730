/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel: two ends that have said HELLO to each other, and the credit between them. Sans I/O: it is
 * told what arrived and says what to do.
 *
 *   HELLO_SENT   we have said HELLO into the void (dst_inc 0), or are about to
 *   MET          the peer's incarnation is known, and our answer names it
 *   ESTABLISHED  the peer has named ours: both know each other, messages flow
 *   DEAD         broken: the caller closes the port
 *
 * Either end may start first and either may restart: a HELLO with dst_inc 0 comes from a peer that
 * was just born. On a provider whose ring outlives a process, messages of a dead incarnation may still lie
 * in it; they are dropped and counted, never interpreted. A peer reborn behind an established channel
 * ends the channel; the caller opens the next one.
 */
#ifndef VHX_CORE_CHANNEL_H
#define VHX_CORE_CHANNEL_H

#include "core/credit.h"
#include "wire/wire.h"

enum vhx_channel_state {
	VHX_CHANNEL_HELLO_SENT,
	VHX_CHANNEL_MET,
	VHX_CHANNEL_ESTABLISHED,
	VHX_CHANNEL_DEAD,
	VHX_CHANNEL_STATE_CNT_,
};

/* What the caller does with a message that arrived. */
enum vhx_channel_verdict {
	VHX_CHANNEL_DROP,    /* stale, optional, or dealt with: nothing */
	VHX_CHANNEL_DELIVER, /* hand its body on */
	VHX_CHANNEL_UP,	     /* dealt with, and the channel is established now */
};

struct vhx_channel {
	enum vhx_channel_state state;
	uint32_t inc, peer_inc;
	uint64_t offered, accepted;
	uint32_t max_message;	 /* that we may send: ours, and after HELLO what both and the ring allow */
	uint32_t rx_max_message; /* that we take, as our HELLOs say */
	uint32_t ring_len;	 /* of our incoming ring */
	bool hello_due;
	struct vhx_credit credit;
	uint32_t tx_ring; /* as the provider says; the peer's HELLO may lower it */
	uint64_t stale;	  /* messages of other incarnations */
};

/* Below this a channel could not even carry its own control traffic beside data. */
#define VHX_CHANNEL_RING_MIN (2 * VHX_CREDIT_RESERVE)
/* A control message and its header must fit, and a record with something in it. */
#define VHX_CHANNEL_MESSAGE_MIN 512u

struct vhx_channel_config {
	uint32_t inc; /* random, not 0 */
	uint32_t tx_ring_len, rx_ring_len;
	uint32_t max_message;
	uint64_t features;
};

void vhx_channel_init(struct vhx_channel *c, const struct vhx_channel_config *cfg);

/* True: @hello is filled and has to be sent; call vhx_channel_hello_sent() when it was. */
bool vhx_channel_hello(struct vhx_channel *c, struct vhx_hello *hello);
void vhx_channel_hello_sent(struct vhx_channel *c);

/* Fills the header of a message about to be sent. */
void vhx_channel_header(struct vhx_channel *c, struct vhx_msg_header *header);

/*
 * A message of @type and @len bytes arrived; @start holds its first bytes as a private copy: the
 * header, or all of a HELLO. Returns a verdict, or -EPROTO, -EPROTONOSUPPORT, -ECONNRESET (the peer was
 * reborn): the channel is DEAD. *@room is set when credit came back.
 */
int vhx_channel_receive(struct vhx_channel *c, uint32_t type, uint32_t len,
			const struct vhx_hello *start, bool *room);

const char *vhx_channel_state_name(enum vhx_channel_state state);

#endif
