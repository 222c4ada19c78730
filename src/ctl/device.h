/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of a running backend, added and removed by its operator.
 */
#ifndef VHX_CTL_DEVICE_H
#define VHX_CTL_DEVICE_H

#include "util/error.h"

/*
 * Adds the device of @spec, as --device has it, to the backend at @path. The image of a disk is opened here, with
 * the rights of whoever asks, and handed over as a descriptor: the backend opens nothing any more. 0 or
 * negative with a text.
 */
int vhx_ctl_device_add(const char *path, const char *spec, struct vhx_error *err);

/* Removes the device @id: its guest sees it go. 0 or negative with a text. */
int vhx_ctl_device_remove(const char *path, const char *id, struct vhx_error *err);

#endif
