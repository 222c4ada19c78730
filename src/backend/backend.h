/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A backend: named devices, and the channels of the frontends that use them. A device belongs to at most one
 * channel at a time; a channel may have several devices.
 */
#ifndef VHX_BACKEND_BACKEND_H
#define VHX_BACKEND_BACKEND_H

#include "backend/device.h"
#include "exchange/exchange.h"
#include "link/trace.h"
#include "loop/loop.h"
#include "util/histogram.h"
#include "util/log.h"

#define VHX_BACKEND_DEVICES_MAX 64u
#define VHX_BACKEND_CHANNELS_MAX 64u

struct vhx_backend;

struct vhx_backend_stats {
	uint64_t requests, completed;
	uint64_t bytes_out, bytes_in; /* payload, as the driver counts it */
	uint64_t bytes_copied; /* payload bytes that our own code copied */
	/* From the message that completed a request to its answer; not of posted ones, which have no out bytes. */
	struct vhx_histogram latency;
	uint64_t stale; /* messages of a dead epoch */
};

struct vhx_backend_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	struct vhx_trace *trace; /* outlives the backend; NULL: none */
	uint32_t staging; /* bytes per device and direction; raised to what one request needs */
};

int vhx_backend_new(const struct vhx_backend_config *cfg, struct vhx_backend **backend);
/* Closes channels and devices. Requests in flight are abandoned to the devices' close(). */
void vhx_backend_free(struct vhx_backend *b);

/*
 * Takes @dev over; frontends that are there are told. -EEXIST: the id is taken; -ENOSPC; -ENOMEM: @dev is
 * still the caller's.
 */
int vhx_backend_add_device(struct vhx_backend *b, struct vhx_device *dev);
/*
 * The device's requests end, its frontend is told, and it is closed when nothing of it can touch the medium any
 * more: at once or later. -ENOENT.
 */
int vhx_backend_remove_device(struct vhx_backend *b, const char *id);
/* Takes @port over, also when it fails: -ENOSPC, -ENOMEM. */
int vhx_backend_add_port(struct vhx_backend *b, struct vhx_port *port);
uint32_t vhx_backend_channel_count(const struct vhx_backend *b);
/* Calls @fn when the last channel has ended (a spawned backend has nothing more to do then). */
void vhx_backend_on_idle(struct vhx_backend *b, void (*fn)(void *ctx), void *ctx);

/* For the stats: one call per channel or device. */
struct vhx_backend_visitor {
	void (*channel)(void *ctx, const struct vhx_port *port, const char *state,
			uint64_t credits_sent);
	void (*device)(void *ctx, const struct vhx_device *dev, const char *state,
		       const struct vhx_backend_stats *stats);
};
void vhx_backend_visit(struct vhx_backend *b, const struct vhx_backend_visitor *v, void *ctx);
/* Bytes allocated for channels and queues, sections included. */
uint64_t vhx_backend_memory(const struct vhx_backend *b);

#endif
