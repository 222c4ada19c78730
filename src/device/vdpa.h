/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bridge to a vDPA device of this machine: hardware that speaks VirtIO, or what a process serves by VDUSE. The
 * device works on the bridge's memory, never on a guest's.
 */
#ifndef VHX_DEVICE_VDPA_H
#define VHX_DEVICE_VDPA_H

#include "backend/device.h"
#include "util/error.h"

#define VHX_VDPA_QUEUES_MAX 64u

struct vhx_vdpa_config {
	const char *id;
	const char *path; /* /dev/vhost-vdpa-N */
	uint16_t queues; /* 0: as many as the device says */
	uint16_t queue_size; /* the driver's limit */
	bool split; /* no packed ring, even if the device has it */
};

/*
 * Opens the device, which nobody else has then, and asks it what it is. 0; -EOPNOTSUPP (a type that cannot be
 * bridged), -ENOENT, -EBUSY, ...: @err says it in one line that starts with the id. Copies @config. @log and
 * @loop outlive the device, which its ops->close() ends.
 */
int vhx_vdpa_new(struct vhx_loop *loop, const struct vhx_vdpa_config *config,
		 const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
