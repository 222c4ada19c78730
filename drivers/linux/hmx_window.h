/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Two sections in one window (docs/wire.md, sections 13 and 14): everything of a port but how the window came
 * to be and how the peer's event is raised. hmx_ivshmem and hmx_test embed this.
 */
#ifndef HMX_WINDOW_H
#define HMX_WINDOW_H

#include <vhx/section.h>

#include "hmx.h"

struct hmx_window;

struct hmx_window_ops {
	/* Raises the peer's event. Under hmx_port.lock or not, interrupts may be off. */
	void (*ring)(struct hmx_window *w);
};

/* The fields below @size are hmx_window.c's. */
struct hmx_window {
	struct hmx_port port;
	const struct hmx_window_ops *ops;
	void *base;  /* cacheable memory, mapped while the port is registered */
	size_t size; /* of the window */
	bool closed; /* between close() and open() */
	int status;  /* -EAGAIN: opening; 0: ready; or why it is gone */
	struct vhx_section_header *own;
	const struct vhx_section_header *peer;
	u8 *tx_data;
	const u8 *rx_data;
	u32 ring_len;
	u32 inc, peer_inc;
	u32 tx_idx, tx_done_idx;
	u32 rx_idx, rx_published_idx, rx_avail_idx;
	u32 want; /* footprint that found no room */
	struct hmx_msg msg;
	u32 peeked; /* footprint of msg, 0: none */
	u32 data_word, space_word;	/* what our words were last set to */
	u32 data_woken, space_woken;	/* the peer's words that we last woke for */
};

/*
 * Checks that [base, base + size) is a window of ours: 0, or -ENODEV: nothing was written. Then fills in the
 * port's ops and what does not change. @w->ops, @w->base and @w->size are set, as are the port's parent,
 * owner and peer.
 */
int hmx_window_init(struct hmx_window *w, const char *provider);

/* The device is about to lose its memory, or has lost it: the section says GONE if it can still be written. */
void hmx_window_leave(struct hmx_window *w);

#endif
