/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lane: two sections, one per direction, and this end's private view of them. It is the whole of an
 * exchange except for how the two ends met and how one raises the other's event. Nothing here makes a
 * system call.
 *
 * Every function that may leave the peer to be woken says so by vhx_lane_wake_due(), which the caller
 * asks after it and answers by raising the peer's event.
 */
#ifndef VHX_EXCHANGE_LANE_H
#define VHX_EXCHANGE_LANE_H

#include "exchange/exchange.h"
#include "exchange/section.h"

/*
 * The largest message on any ring: a 256 KiB payload and a page for what describes it. Beyond that a
 * message would hold up the ones behind it for longer than a wake costs.
 */
#define VHX_LANE_MESSAGE_MAX ((256u << 10) + (4u << 10))

/* As many as the kernel takes in one call, so that no caller needs two limits. */
#define VHX_LANE_IOV_MAX 1024u

struct vhx_lane {
	/* Sending: our section, and the peer's index of what it took from it. */
	struct vhx_section_header *own;
	uint8_t *tx_data;
	uint32_t tx_ring_len;
	uint32_t tx_idx; /* produced; what own->tx_idx was last set to */
	uint32_t tx_done_idx; /* the peer's rx_idx as last checked */
	uint32_t reserved; /* footprint of the open reservation, 0: none */
	uint32_t want; /* footprint that found no room and is waited for, 0: none */

	/* Receiving: the peer's section, and our index into it. */
	const struct vhx_section_header *peer;
	const uint8_t *rx_data;
	uint32_t rx_ring_len;
	uint32_t rx_idx; /* consumed */
	uint32_t rx_published_idx; /* what own->rx_idx was last set to */
	uint32_t rx_avail_idx; /* the peer's tx_idx as last checked */
	struct vhx_msg msg; /* the peeked message, where peeked != 0 */
	uint32_t peeked; /* its footprint */

	/* Sleeping and waking. */
	uint32_t data_word, space_word; /* what our words were last set to */
	uint32_t data_woken, space_woken; /* the peer's words that we last woke for */
	bool wake_due;

	uint32_t max_message;
};

/* The largest message that a ring of @ring_len bytes takes: four of them fit at once. */
uint32_t vhx_lane_max_message(uint32_t ring_len);

/* @own and @peer stay mapped, and the caller's, for as long as the lane is used. */
void vhx_lane_init(struct vhx_lane *l, const struct vhx_section *own,
		   const struct vhx_section *peer);

/* 0, -EAGAIN, -EMSGSIZE, -EINVAL (too many iovecs), -EPROTO. */
int vhx_lane_send(struct vhx_lane *l, uint32_t type, const struct iovec *iov, unsigned int cnt,
		  uint32_t *len);

/* 0, -EAGAIN, -EMSGSIZE, -EPROTO. */
int vhx_lane_reserve(struct vhx_lane *l, uint32_t len, void **buf);
void vhx_lane_commit(struct vhx_lane *l, uint32_t type, uint32_t len);
void vhx_lane_cancel(struct vhx_lane *l);

/* 1, 0, -EPROTO. */
int vhx_lane_peek(struct vhx_lane *l, struct vhx_msg *msg);
void vhx_lane_read(const struct vhx_lane *l, uint32_t off, void *dst, uint32_t len);
void vhx_lane_consume(struct vhx_lane *l);

/* 1: do not sleep. 0: a wake will come. -EPROTO. */
int vhx_lane_prepare_wait(struct vhx_lane *l);

/* The sleeper is back: no wakes for what it will see by itself. */
void vhx_lane_awake(struct vhx_lane *l);

/* True once for every wake that is due to the peer. */
static inline bool vhx_lane_wake_due(struct vhx_lane *l)
{
	bool due = l->wake_due;

	l->wake_due = false;
	return due;
}

#endif
