/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Endpoints of the kernel: the character device of hmx_argo.
 */
#ifndef VHX_EXCHANGE_ARGO_DEVICE_H
#define VHX_EXCHANGE_ARGO_DEVICE_H

#include "exchange/argo_dev.h"

/*
 * Opens the device, once: endpoints can be had from the descriptor also when nothing can be opened any more. It;
 * -ENOENT: hmx_argo is not loaded; -EACCES, -ENODEV, ...
 */
int vhx_argo_device_open(void);

/* A new endpoint with the rights of who opened @device, which stays the caller's. 0, -EMFILE, -ENOMEM, ... */
int vhx_argo_device_endpoint(int device, struct vhx_argo_dev **dev);

#endif
