/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device of a backend, presented to one VMM at a time on a vhost-user socket: the place where the
 * guest's rings meet the frontend's queues.
 */
#ifndef VHX_MEDIATOR_GUEST_H
#define VHX_MEDIATOR_GUEST_H

#include "frontend/frontend.h"
#include "util/log.h"
#include "util/unix_guard.h"

/* A VMM that came before the backend waits so long for its device; then its connection is closed. */
#define VHX_GUEST_PATIENCE_NS (4 * 1000000000ull)

struct vhx_guest;

struct vhx_guest_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	struct vhx_frontend *frontend;
	const char *device; /* the backend's name for it, or "" */
	const char *label;  /* for the log */
	const struct vhx_unix_policy *policy; /* who may be the VMM; NULL: our user; stays valid */
	/* The device cannot be served at all: called once. May be NULL. */
	void (*unusable)(void *ctx, int reason);
	/* It came with its only VMM, and that has gone: called once. May be NULL. */
	void (*over)(void *ctx);
	void *ctx;
};

/* @listen_fd, as vhx_vu_server_new() has it, is taken over, also when it fails. */
int vhx_guest_new(const struct vhx_guest_config *cfg, int listen_fd, struct vhx_guest **guest);
/* Before the frontend is freed. */
void vhx_guest_free(struct vhx_guest *g);

/*
 * The program ends: stops all queues as the VMM's GET_VRING_BASE would, so that answers still reach the
 * guest. Returns how many are not stopped yet; call again from the loop. The VMM is served no more.
 */
uint32_t vhx_guest_drain(struct vhx_guest *g);

const struct vhx_fdev *vhx_guest_device(const struct vhx_guest *g);
uint64_t vhx_guest_memory(const struct vhx_guest *g);

#endif
