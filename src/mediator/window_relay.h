/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A window and its relay: who owns the memory that a guest shares with its backend, hands it to the backend
 * on the backend's ordinary socket, and carries events between that socket and the guest's bell. It
 * reads nothing of what is in the window (docs/wire.md, 14).
 */
#ifndef VHX_MEDIATOR_WINDOW_RELAY_H
#define VHX_MEDIATOR_WINDOW_RELAY_H

#include "loop/loop.h"
#include "util/log.h"

/* Packets taken from a backend per event, and turned into one ring of the guest's bell. */
#define VHX_WINDOW_RELAY_BATCH 16u
/* Pauses before the backend is connected again. */
#define VHX_WINDOW_RELAY_RETRY_MIN_NS (10 * 1000000ull)
#define VHX_WINDOW_RELAY_RETRY_MAX_NS (1000 * 1000000ull)

struct vhx_window_relay;

/*
 * Two descriptors that are like eventfds, or the same one twice; the caller's, non-blocking.
 * @in: readable when the guest has rung; reading a u64 takes it. @out: writing a u64 of 1 rings the guest.
 */
struct vhx_window_bell {
	int in, out;
};

struct vhx_window_relay_stats {
	uint64_t wakes_to_guest, wakes_to_backend;
	uint64_t connects; /* times that a backend took the window */
};

struct vhx_window_relay_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	const char *backend; /* path of its socket; stays valid */
	uint32_t size; /* of the window */
	struct vhx_window_bell bell;
	struct vhx_window_relay_stats *stats; /* the caller's: they outlive windows */
};

/* Makes a window and begins to look for the backend. 0, -EINVAL (size), -ENOMEM, -EMFILE, ... */
int vhx_window_relay_new(const struct vhx_window_relay_config *cfg,
			 struct vhx_window_relay **relay);
/* The backend sees the end of its socket. May be called on NULL. */
void vhx_window_relay_free(struct vhx_window_relay *r);
/* The memfd of the window, the relay's. */
int vhx_window_relay_window(const struct vhx_window_relay *r);
/* "connected" or "waiting", for people. */
const char *vhx_window_relay_state(const struct vhx_window_relay *r);

#endif
