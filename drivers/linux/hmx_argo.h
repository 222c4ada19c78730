/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The provider `argo` (docs/wire.md, section 15): a port for each backend domain. The module makes
 * those of its parameter; hmx_argo_test makes bare ones.
 */
#ifndef HMX_ARGO_H
#define HMX_ARGO_H

#include "hmx.h"

/**
 * struct hmx_argo_config - what a port is to be
 * @partner: the peer's domain; may be our own
 * @backend: we are the one who serves; else the frontend
 * @ring_len: of our ring, VHX_ARGO_RING_MIN to VHX_ARGO_RING_MAX, a multiple of 16
 * @event: in place of hmx_port_event(), for ports that are not registered; any context
 * @ctx: for @event
 */
struct hmx_argo_config {
	u16 partner;
	bool backend;
	u32 ring_len;
	void (*event)(void *ctx);
	void *ctx;
};

/*
 * A closed port, not registered with the transport. Process context. -EINVAL, -ENOMEM, -ENOSPC,
 * -EADDRINUSE: this domain has such a port.
 */
struct hmx_port *hmx_argo_port_new(const struct hmx_argo_config *config);
/* @port: closed, not registered. May be NULL. */
void hmx_argo_port_free(struct hmx_port *port);

#endif
