/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a bridge: all that the back-end behind it can reach. It is made for that, never the guest's, and
 * holds rings and the payload of requests in flight.
 */
#ifndef VHX_DEVICE_BRIDGE_MEMORY_H
#define VHX_DEVICE_BRIDGE_MEMORY_H

#include "util/base.h"

struct vhx_bridge_memory {
	int fd; /* sealed: its size is for ever */
	uint8_t *base;
	uint64_t len; /* whole pages */
	/* Where the back-end finds the first byte: a number, and no address of anybody. */
	uint64_t addr;
};

/* 0 or a negative errno. */
int vhx_bridge_memory_init(struct vhx_bridge_memory *m, uint64_t len);
void vhx_bridge_memory_fini(struct vhx_bridge_memory *m);

#endif
