/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device of a backend, presented to the host's own kernel as a VDUSE device: what guest.h is for a VMM.
 */
#ifndef VHX_MEDIATOR_VDUSE_GUEST_H
#define VHX_MEDIATOR_VDUSE_GUEST_H

#include "config/vduse_spec.h"
#include "frontend/frontend.h"
#include "mediator/vduse_keeper.h"
#include "util/log.h"

struct vhx_vduse_guest;

struct vhx_vduse_guest_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	struct vhx_frontend *frontend;
	const struct vhx_vduse_spec *spec; /* stays valid */
	const struct vhx_vduse_keeper *keeper;
	unsigned int index; /* of its name, at the keeper */
	/* The device cannot be served at all: called once. May be NULL. */
	void (*unusable)(void *ctx, int reason);
	void *ctx;
};

/* The VDUSE device is made when the backend has said what it is. */
int vhx_vduse_guest_new(const struct vhx_vduse_guest_config *cfg, struct vhx_vduse_guest **guest);
/* Before the frontend and the keeper. The VDUSE device goes, unless a driver is bound to it. */
void vhx_vduse_guest_free(struct vhx_vduse_guest *g);

/* As vhx_guest_drain(): how many queues are not stopped yet. The kernel is answered no more. */
uint32_t vhx_vduse_guest_drain(struct vhx_vduse_guest *g);

const struct vhx_fdev *vhx_vduse_guest_device(const struct vhx_vduse_guest *g);
uint64_t vhx_vduse_guest_memory(const struct vhx_vduse_guest *g);

#endif
