/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters as JSON: the shape that `vhxctl stats` and monitoring read.
 *
 *   {"program":"vhx-frontend","version":"..","pid":N,"memory":N,
 *    "channels":[{"peer":"pid 12 uid 1000","provider":"local","state":"established",
 *                 "tx_messages":N,...,"credits_sent":N}],     and of argo "argo_registers":N,...
 *    "devices":[{"id":"disk0","type":"blk","state":"running","requests":N,...,"replays":N,
 *                 "latency":{"sum_ns":N,"buckets":[N,...]}}]}
 *
 * Names stay once they are published; new ones may come.
 */
#ifndef VHX_MEDIATOR_STATS_H
#define VHX_MEDIATOR_STATS_H

#include "exchange/exchange.h"
#include "util/base.h"
#include "util/histogram.h"

struct json_object;

/* One uint64_t of a struct and its name in JSON. */
struct vhx_stats_counter {
	const char *name;
	size_t offset;
};

struct vhx_stats_channel {
	const char *state; /* "established" */
	const struct vhx_port *port; /* NULL while there is none: its counters are left out */
	uint64_t credits_sent; /* bare CREDIT messages, which core counts */
};

struct vhx_stats_device {
	const char *id;
	const char *type;
	const char *state;
	uint64_t requests; /* taken from the driver or the channel */
	uint64_t completed;
	uint64_t errors; /* completed with an error status */
	uint64_t bytes_out, bytes_in; /* payload of requests */
	uint64_t bytes_copied; /* by our own code */
	uint64_t replays; /* requests sent again after the backend came back */
	const struct vhx_histogram *latency; /* NULL: not measured at this end, and left out */
};

/*
 * All return 0 or -ENOMEM; on failure @into holds what came before and is to be put as usual.
 */

/* Adds program, version, pid, memory, and empty "channels" and "devices". */
int vhx_stats_begin(struct json_object *into, const char *program, uint64_t memory);

/* Appends to the arrays that vhx_stats_begin() made. */
int vhx_stats_add_channel(struct json_object *into, const struct vhx_stats_channel *channel);
int vhx_stats_add_device(struct json_object *into, const struct vhx_stats_device *device);

int vhx_stats_add_text(struct json_object *into, const char *name, const char *text);

/* The counters of the struct at @base that @table names. For what else a program counts. */
int vhx_stats_add_counters(struct json_object *into, const struct vhx_stats_counter *table,
			   unsigned int cnt, const void *base);

#endif
