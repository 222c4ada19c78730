/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit: who may send how much, so that between correct peers no ring is ever found full.
 *
 * Each side counts the ring footprint (vhx_footprint's rule, the same for every provider) of what it sent
 * and of what it consumed since the channel was established, free-running in 32 bits. Every message
 * carries how much its sender has consumed; sent minus acknowledged is what may still lie in the peer's
 * ring. HELLO is not counted: it goes before there is anything to count.
 *
 * Data leaves VHX_CREDIT_RESERVE of the ring alone, so that CREDIT and control always fit. A side that has
 * consumed a quarter of its ring without telling, and has nothing else to send, owes a bare CREDIT.
 * A CREDIT is small and answers a quarter of a ring, so two sides cannot keep each other busy with them.
 *
 * A hostile peer can withhold acks, and starves its own channel; it can acknowledge what was never
 * sent, and ends it.
 */
#ifndef VHX_CORE_CREDIT_H
#define VHX_CORE_CREDIT_H

#include "util/base.h"

struct vhx_credit {
	uint32_t tx_ring;  /* footprint that may be in flight to the peer */
	uint32_t rx_ring;  /* and to us */
	uint32_t sent;	   /* free-running */
	uint32_t acked;	   /* of @sent */
	uint32_t consumed; /* free-running */
	uint32_t told;	   /* of @consumed */
	uint32_t held;	   /* of @consumed: a message that is still being read, and fills the ring */
};

void vhx_credit_init(struct vhx_credit *c, uint32_t tx_ring, uint32_t rx_ring);

/*
 * Largest message of data, of control, or CREDIT, that may be sent now; 0: none. In bytes. Each leaves
 * alone what is reserved for those behind it: an acknowledgement always finds room.
 */
uint32_t vhx_credit_data_room(const struct vhx_credit *c);
uint32_t vhx_credit_control_room(const struct vhx_credit *c);
uint32_t vhx_credit_bare_room(const struct vhx_credit *c);

/*
 * The largest message that always can go sooner or later over a ring of @tx_ring: also while the peer
 * keeps what it has consumed to itself because it is not a quarter of the ring yet.
 */
uint32_t vhx_credit_message_max(uint32_t tx_ring);

/* @len: bytes of the message, not its footprint. */
void vhx_credit_sent(struct vhx_credit *c, uint32_t len);
void vhx_credit_consumed(struct vhx_credit *c, uint32_t len);

/*
 * Around the reading of a message that was counted: answers may leave before the port lets go of it, and
 * must not tell the peer that its place is free.
 */
void vhx_credit_hold(struct vhx_credit *c, uint32_t len);
void vhx_credit_release(struct vhx_credit *c);

/* The value for the next header. */
uint32_t vhx_credit_tell(struct vhx_credit *c);

/* -EPROTO: acknowledges what was never sent, or takes an acknowledgement back. 1: room came back. */
int vhx_credit_acked(struct vhx_credit *c, uint32_t ack);

/* A bare CREDIT is due, unless something else is about to go out anyway. */
bool vhx_credit_owed(const struct vhx_credit *c);

#endif
