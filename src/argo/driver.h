/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where endpoints come from: /dev/argo, or whatever a test puts in its place.
 */
#ifndef VHX_ARGO_DRIVER_H
#define VHX_ARGO_DRIVER_H

#include "vhx/argo_endpoint.h"

#include "exchange/argo_dev.h"

struct vhx_argo_driver {
	int (*endpoint)(struct vhx_argo_driver *driver, struct vhx_argo_dev **dev);
	int device; /* of /dev/argo, or -1 */
	void *ctx; /* of @endpoint */
	uint16_t domid;
	uint32_t ring_len;
	uint64_t probe_ns;
};

/* With the defaults of endpoints, and without a device. */
void vhx_argo_driver_init(struct vhx_argo_driver *driver);

#endif
