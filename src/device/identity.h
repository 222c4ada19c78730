/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who a device is that has no medium, whose name is all that outlives a backend, or several.
 */
#ifndef VHX_DEVICE_IDENTITY_H
#define VHX_DEVICE_IDENTITY_H

#include "backend/device.h"

/*
 * Sets id, uuid and cache_id of @dev, whose ops are set. The uuid is made of type and id, so that a backend that
 * is started again brings the same device back; nothing completed is ever lost, so the cache_id never changes.
 */
void vhx_device_identify(struct vhx_device *dev, const char *id);

/* Makes @part, and its place among others, part of the identity of a whole, which begins as zeroes. */
void vhx_identity_combine(uint8_t whole[16], const uint8_t part[16]);

#endif
