/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator says of a window for QEMU, as a plain struct:
 *
 *   --qemu /run/vm1.ivshmem,size=16M        -> struct vhx_window_spec
 */
#ifndef VHX_CONFIG_WINDOW_SPEC_H
#define VHX_CONFIG_WINDOW_SPEC_H

#include "config/address.h"
#include "config/socket_spec.h"

#define VHX_SPEC_WINDOW_SIZE_DEFAULT (16u << 20)
/* More than the one that is used: what a device of QEMU may be given without complaint. */
#define VHX_SPEC_VECTORS_MAX 8u

struct vhx_window_spec {
	char path[VHX_UNIX_PATH_MAX]; /* of the socket that QEMU connects to */
	uint32_t size; /* a power of two within VHX_WINDOW_SIZE_MIN and _MAX */
	uint32_t vectors; /* of the device; default 1 */
	struct vhx_socket_access access;
	struct vhx_unix_policy policy; /* from access */
};

/* `SOCKET[,size=SIZE][,vectors=N]` and the keys of socket_spec.h. 0; -EINVAL, -ERANGE, -ENAMETOOLONG with one line. */
int vhx_window_spec_parse(const char *text, struct vhx_window_spec *spec, struct vhx_error *err);

#endif
