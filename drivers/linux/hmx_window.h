/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Two sections in one window (docs/wire.md, sections 13 and 14): everything of a port but how the
 * window came to be and how the peer's event is raised. hmx_ivshmem and hmx_test embed this.
 */
#ifndef HMX_WINDOW_H
#define HMX_WINDOW_H

#include <vhx/section.h>

#include "hmx.h"

struct hmx_window;

/**
 * struct hmx_window_ops - what the embedding provider does
 * @ring: raises the peer's event. Mostly under hmx_port.lock; interrupts may be off
 */
struct hmx_window_ops {
	void (*ring)(struct hmx_window *w);
};

/**
 * struct hmx_window - a window, seen from the guest's side
 * @port: for hmx_port_register(); the provider sets parent, owner and peer
 * @ops: set by the provider
 * @base: set by the provider: cacheable memory, mapped while the port is registered
 * @size: set by the provider: bytes of the window
 *
 * The rest is window.c's, and protected by hmx_port.lock where nothing else is said.
 */
struct hmx_window {
	struct hmx_port port;
	const struct hmx_window_ops *ops;
	void *base;
	size_t size;

	/* Since hmx_window_init() */
	struct hmx_port_ops port_ops;
	struct vhx_section_header *own;
	const struct vhx_section_header *peer;
	u8 *tx_data;
	const u8 *rx_data;
	u32 ring_len; /* of both sections */

	/* The life */
	bool closed;	/* between close() and open(); READ_ONCE() in hmx_window_event() */
	bool barred;	/* no life begins any more */
	bool lost;	/* the memory is not written any more */
	bool begun;	/* our state in the window is not GONE */
	bool joined;	/* the peer's indices count; READ_ONCE() likewise */
	int status;	/* -EAGAIN: opening; 0: ready; or why it is gone */
	u32 inc;	/* ours */
	u32 answered;	/* the peer's that our peer_inc names, 0: none */

	/* Of the life, all 0 when it begins. Sending */
	u32 tx_idx;	 /* produced; what own->tx_idx was last set to */
	u32 tx_done_idx; /* the peer's rx_idx as last checked */
	u32 want;	 /* footprint that found no room and is waited for, 0: none */

	/* Receiving; rx_idx and msg are stable between peek() and consume() */
	u32 rx_idx;	      /* consumed */
	u32 rx_published_idx; /* what own->rx_idx was last set to */
	u32 rx_avail_idx;     /* the peer's tx_idx as last checked */
	struct hmx_msg msg;   /* the peeked message, where peeked is not 0 */
	u32 peeked;	      /* its footprint */

	/* Sleeping and waking */
	u32 data_word, space_word;   /* what our words were last set to */
	u32 data_woken, space_woken; /* the peer's words that we last woke for */
};

/**
 * hmx_window_init() - looks whether a window is one of ours, and makes a port of it
 * @w: zeroed but for ops, base and size
 * @provider: name for struct hmx_port_ops; stays the caller's
 *
 * Nothing is written to the window. Return: 0, or -ENODEV: no host has laid it out.
 */
int hmx_window_init(struct hmx_window *w, const char *provider);

/**
 * hmx_window_event() - the peer has raised our event
 * @w: the window, at any time after hmx_window_init() and while its memory is there
 *
 * Any context. Passed on to the transport while the port is open.
 */
void hmx_window_event(struct hmx_window *w);

/**
 * hmx_window_leave() - ends the use of the window for good, ahead of hmx_port_unregister()
 * @w: the window; its port is registered
 * @present: its memory is still there: then the peer is told. Else nothing is written any more
 *
 * For a shutdown, and for a device that was pulled out. The port is gone (-EPIPE) then, and does
 * not open again. Any context.
 */
void hmx_window_leave(struct hmx_window *w, bool present);

#endif
