/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator says of a VDUSE device, as a plain struct:
 *
 *   --vduse vhx0,id=disk0,queue-size=128        -> struct vhx_vduse_spec
 */
#ifndef VHX_CONFIG_VDUSE_SPEC_H
#define VHX_CONFIG_VDUSE_SPEC_H

#include "config/device_spec.h"

#define VHX_SPEC_VDUSE_QUEUE_SIZE_DEFAULT 256u
/* Shorter ones cannot hold a request of the usual drivers. */
#define VHX_SPEC_VDUSE_QUEUE_SIZE_MIN 16u
#define VHX_SPEC_VDUSE_QUEUE_SIZE_MAX 1024u

struct vhx_vduse_spec {
	char name[VHX_SPEC_ID_MAX]; /* of /dev/vduse/NAME, and of the vDPA device */
	char id[VHX_SPEC_ID_MAX]; /* of the backend's device; empty: its only one */
	uint32_t queue_size;
	bool packed;
};

/* `NAME[,id=ID][,queue-size=N][,packed]`. 0; -EINVAL, -ERANGE, -ENAMETOOLONG with one line. */
int vhx_vduse_spec_parse(const char *text, struct vhx_vduse_spec *spec, struct vhx_error *err);

#endif
