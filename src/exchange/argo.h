/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Provider `argo`: one single-partner ring of Argo each way between two domains, docs/wire.md, section 15. The
 * peer need not exist when a port is opened; it is met whenever it comes.
 */
#ifndef VHX_EXCHANGE_ARGO_H
#define VHX_EXCHANGE_ARGO_H

#include "exchange/argo_dev.h"
#include "exchange/exchange.h"

/* Hypercalls of a port, by operation. Those of messages are the port's stats.sends. */
struct vhx_argo_calls {
	uint64_t registers;
	uint64_t meets; /* sendv for the meeting */
	uint64_t refused; /* sendv that moved nothing */
	uint64_t notifies;
	uint64_t queries; /* of the peer's ring */
	uint64_t checks; /* of our own */
};

struct vhx_argo_watcher {
	/*
	 * Why the peer is not met: 0 (it is, or nothing is known), or what the hypervisor says: -ESRCH: there is
	 * no such domain; -ECONNREFUSED: nobody listens there; -EPERM, -EACCES: its policy refuses; or what keeps
	 * us from a ring. Called when this changes, the first time from vhx_argo_open().
	 */
	void (*obstacle)(void *ctx, int err);
	/* The port is closed; it is not to be touched any more. */
	void (*closed)(void *ctx);
	void *ctx;
};

struct vhx_argo_config {
	struct vhx_argo_dev *dev; /* taken over */
	uint32_t port, peer_port;
	uint16_t partner;
	uint32_t ring_len; /* of our ring: a multiple of 16 from VHX_ARGO_RING_MIN on */
	uint64_t probe_ns; /* so often the peer is looked for, VHX_ARGO_PROBE_NS; 0: never */
	uint64_t check_ns; /* so often our own ring is, VHX_ARGO_CHECK_NS; in steps of probe_ns */
	struct vhx_argo_watcher watcher; /* its functions may be NULL */
};

/*
 * Begins a life. The port is OPENING until the peer begins one of its own, for ever if need be. Takes @cfg->dev
 * over, also when it fails. 0 and *@port; -EINVAL: the ring's length; -ENOMEM, -EMFILE; or what the hypervisor says
 * to a ring that no patience helps: -ENOSYS, -EOPNOTSUPP (no Argo here, off), -ENODEV, -ENOSPC, -EEXIST, ...
 */
int vhx_argo_open(const struct vhx_argo_config *cfg, struct vhx_port **port);

/* As if the peer had left: for the operator who wants it gone. The port is closed by its owner, as ever. */
void vhx_argo_leave(struct vhx_port *p);

/* Rounded down to what is allowed, at most @len and what Argo takes. */
uint32_t vhx_argo_ring_len(uint64_t len);

/* NULL: not a port of this provider. */
const struct vhx_argo_calls *vhx_argo_port_calls(const struct vhx_port *p);

#endif
