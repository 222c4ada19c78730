/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making and removing VDUSE devices (Linux' Documentation/userspace-api/vduse.rst): VirtIO devices of which the
 * host's own kernel is the driver's side, and this process the device's.
 *
 * Needs the rights to /dev/vduse/control and to the device that it makes, and for a network device CAP_NET_ADMIN.
 */
#ifndef VHX_VDUSE_CONTROL_H
#define VHX_VDUSE_CONTROL_H

#include "util/base.h"

#define VHX_VDUSE_CONTROL "/dev/vduse/control"
#define VHX_VDUSE_NAME_MAX \
	64u /* with its NUL: the kernel takes more, names of vDPA devices are shorter */
#define VHX_VDUSE_CONFIG_MAX 256u /* largest config space of the device types known */
#define VHX_VDUSE_QUEUES_MAX 64u /* queues of one device; bounds the tables */
#define VHX_VDUSE_QUEUE_SIZE_MAX 1024u /* entries of one; bounds slot tables */

/* All that the kernel has to know of a device before it has a driver. */
struct vhx_vduse_shape {
	char name[VHX_VDUSE_NAME_MAX];
	uint32_t device_id; /* VirtIO 5 */
	uint64_t features;
	uint16_t queues;
	uint32_t config_len;
	uint8_t config[VHX_VDUSE_CONFIG_MAX];
};

/*
 * What of a device's own features VDUSE carries: a driver cannot write the config space, and there are no control
 * queues. Ring and transport bits are not its business.
 */
uint64_t vhx_vduse_device_features(uint32_t device_id, uint64_t features);
/* And how many of its queues a driver can use then. */
uint16_t vhx_vduse_device_queues(uint32_t device_id, uint16_t queues);

/* A descriptor for the calls below, or a negative errno. */
int vhx_vduse_control_open(void);

/*
 * Makes the device. A left-over of that name that nobody uses is replaced. 0; -EBUSY: one of that name is in use;
 * -EINVAL: this kernel takes no such device; -EPERM.
 */
int vhx_vduse_create(int control, const struct vhx_vduse_shape *shape);
/* 0; -EBUSY: it is bound to the vDPA bus, or somebody has it open. */
int vhx_vduse_destroy(int control, const char *name);

/* The device's own descriptor, non-blocking, for vhx_vduse_device_new(); one at a time. Or a negative errno. */
int vhx_vduse_open(const char *name);

#endif
