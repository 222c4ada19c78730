/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader of an Argo ring: what lies in it, message by message, and what is owed to those who send.
 *
 * The hypervisor alone writes messages into a ring, so nothing in it changes after it was published. Its
 * length fields are checked all the same, and each is fetched once.
 *
 * Room. A refused sender is recorded by the hypervisor and woken only by the ring owner's notify. Notifying after
 * each drain would cost a hypercall per pass. It is not needed as long as the ring cannot have refused anything:
 * a send fails only if the ring holds more than the *mark*, what it holds at most when the largest message still
 * fits. So when rx_ptr moves, with a full fence between its store and the load of tx_ptr, a notify is owed if
 * what the *old* rx_ptr left in the ring is beyond the mark. As long as that rx_ptr stands, every sender that
 * waits has seen at least so much. The hypervisor has the partner of the fence, between tx_ptr and rx_ptr. Who
 * stores rx_ptr judges this: struct vhx_argo_dev_ops, consume().
 *
 * A reader belongs to one thread.
 */
#ifndef VHX_EXCHANGE_ARGO_RING_H
#define VHX_EXCHANGE_ARGO_RING_H

#include <vhx/argo.h>

#include "util/base.h"

struct vhx_argo_message {
	struct argo_addr src;
	uint32_t type;
	uint32_t len; /* of the payload */
};

struct vhx_argo_reader {
	const struct argo_ring *ring;
	uint32_t ring_len;
	uint32_t mark; /* the most that the ring holds without having refused anything */
	uint32_t rx_ptr; /* consumed */
	uint32_t tx_seen; /* ring->tx_ptr as last loaded */
	uint32_t peeked; /* the footprint of the message at rx_ptr, 0: not looked at */
	uint32_t unpublished; /* consumed since the owner last stored ring->rx_ptr */
	struct vhx_argo_message msg;
};

/* An empty ring of @ring_len bytes of data, just registered, whose senders send at most @message_max. */
void vhx_argo_reader_init(struct vhx_argo_reader *r, const struct argo_ring *ring,
			  uint32_t ring_len, uint32_t message_max);
/* Senders agreed to send no more than @message_max from now on. */
void vhx_argo_reader_limit(struct vhx_argo_reader *r, uint32_t message_max);

/* Looks at the ring if need be. */
bool vhx_argo_reader_holds(struct vhx_argo_reader *r);
/* 1: the first message, which stays until it is consumed; 0: none as far as was looked; -EPROTO. */
int vhx_argo_reader_peek(struct vhx_argo_reader *r, const struct vhx_argo_message **msg);
/* Out of the peeked message's payload; the caller keeps within its length. */
void vhx_argo_reader_read(const struct vhx_argo_reader *r, uint32_t off, void *dst, uint32_t len);
void vhx_argo_reader_consume(struct vhx_argo_reader *r);

/* The owner has stored r->rx_ptr in the ring, and found its tx_ptr to be @tx_ptr after that. */
void vhx_argo_reader_published(struct vhx_argo_reader *r, uint32_t tx_ptr);

#endif
