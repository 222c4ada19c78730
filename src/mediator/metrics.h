/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GET /metrics over HTTP, for Prometheus. Plain HTTP, no authentication: who may ask is decided by the socket, its
 * mode (unix, 0660) or its address (tcp: 127.0.0.1 unless the network is meant to read it).
 */
#ifndef VHX_MEDIATOR_METRICS_H
#define VHX_MEDIATOR_METRICS_H

#include "loop/loop.h"
#include "util/error.h"
#include "util/log.h"

/* At once; more wait in the backlog. */
#define VHX_METRICS_CLIENTS_MAX 8u
/* A client that neither sends its request nor takes the answer is dropped after so long. */
#define VHX_METRICS_TIMEOUT_S 10u
/* What one client can make the server hold for its request and headers. */
#define VHX_METRICS_CLIENT_MEMORY (16u << 10)

struct json_object;
struct vhx_metrics;

struct vhx_metrics_config {
	const char *address; /* unix:PATH[,mode=..][,group=..] or tcp:ADDRESS:PORT */
	/* As a control command: fills the counters, from the loop's thread. */
	int (*stats)(void *ctx, struct json_object *into);
	void *ctx;
};

/* 0, or a negative errno with a text; -EOPNOTSUPP where it was built without libmicrohttpd. */
int vhx_metrics_open(struct vhx_loop *loop, const struct vhx_metrics_config *cfg,
		     struct vhx_metrics **metrics, struct vhx_error *err);
/* The file of its socket, which vhx_metrics_close() removes; NULL for tcp and for one that was inherited. */
const char *vhx_metrics_path(const struct vhx_metrics *metrics);
/* Drops all clients. May be called on NULL, but not from stats(). */
void vhx_metrics_close(struct vhx_metrics *metrics);

#endif
