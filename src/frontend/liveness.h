/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Liveness by PING, for ports that do not tell of their peer's death. Private to src/frontend.
 *
 * While something is outstanding, a timer looks every VHX_PING_NS whether any message has come. If none has, it
 * sends PING; after VHX_PING_MISSES of them in silence the peer is gone. With nothing outstanding the timer runs
 * out and is armed again by the next pass that finds something: requests themselves never touch it. So
 * silence is noticed between one and two periods after it began.
 */
#ifndef VHX_FRONTEND_LIVENESS_H
#define VHX_FRONTEND_LIVENESS_H

#include "link/link.h"

struct vhx_liveness {
	struct vhx_link *link;
	struct vhx_loop_timer timer;
	/* Does the peer owe anything? */
	bool (*outstanding)(struct vhx_liveness *lv);
	uint64_t rx_messages; /* seen by the last look */
	uint32_t pings; /* sent since a message came */
	bool gone; /* the link was failed for it */
};

void vhx_liveness_init(struct vhx_liveness *lv, bool (*outstanding)(struct vhx_liveness *lv));
/* A new channel. @link stays valid until vhx_liveness_stop(). */
void vhx_liveness_start(struct vhx_liveness *lv, struct vhx_link *link);
/* In each pass of a channel that is up. */
void vhx_liveness_pass(struct vhx_liveness *lv);
/* The channel is over. May be repeated. */
void vhx_liveness_stop(struct vhx_liveness *lv);

#endif
