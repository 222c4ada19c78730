/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one who makes and removes VDUSE devices for a confined frontend, which can neither open them nor has the
 * capabilities any more: a process of its own, forked before a peer is heard.
 */
#ifndef VHX_MEDIATOR_VDUSE_KEEPER_H
#define VHX_MEDIATOR_VDUSE_KEEPER_H

#include "mediator/attendant.h"
#include "util/error.h"
#include "vduse/control.h"

#define VHX_VDUSE_KEEPER_MAX 64u

struct vhx_vduse_keeper_config {
	/* The only ones that it will ever make. */
	char names[VHX_VDUSE_KEEPER_MAX][VHX_VDUSE_NAME_MAX];
	unsigned int names_cnt;
};

struct vhx_vduse_keeper {
	struct vhx_attendant attendant;
};

/* Forks it. 0, or negative with a text: this kernel has no VDUSE, or it is not for us. */
int vhx_vduse_keeper_open(const struct vhx_vduse_keeper_config *cfg, struct vhx_vduse_keeper *k,
			  struct vhx_error *err);

/*
 * Makes the device with the @index-th name, whatever @shape calls it. 0: *@fd is its descriptor, the caller's.
 * Negative with a text.
 */
int vhx_vduse_keeper_create(const struct vhx_vduse_keeper *k, unsigned int index,
			    const struct vhx_vduse_shape *shape, int *fd, struct vhx_error *err);
/* Its descriptor has been closed. 0; -EBUSY: it is bound, and stays. */
int vhx_vduse_keeper_destroy(const struct vhx_vduse_keeper *k, unsigned int index);

/* Removes what can be removed of those that are left. May be repeated. */
void vhx_vduse_keeper_close(struct vhx_vduse_keeper *k);

#endif
