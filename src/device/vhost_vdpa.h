/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vDPA device as /dev/vhost-vdpa-N shows it (linux/vhost.h): a VirtIO device of which we are the driver. Knows
 * ioctls, and nothing of rings' contents or requests.
 *
 * Calls that change the status go through to the device, and wait for it: hardware answers at once, a VDUSE device
 * when its process does, within the kernel's patience with that. Meanwhile any other call on the file waits as well.
 */
#ifndef VHX_DEVICE_VHOST_VDPA_H
#define VHX_DEVICE_VHOST_VDPA_H

#include "util/base.h"
#include "util/error.h"

/* VirtIO 2.1 */
#define VHX_VDPA_S_NEEDS_RESET 0x40u

struct vhx_vhost_vdpa {
	int fd; /* -1: closed */
	uint32_t device_id; /* VirtIO 5 */
	uint64_t features; /* all that it offers */
	uint32_t config_len;
	uint16_t queues;
	uint16_t ring_size_max;
	uint64_t iova_first, iova_last; /* addresses that it can reach */
	bool mapped;
};

/* A ring as its driver laid it out. */
struct vhx_vhost_vdpa_ring {
	uint16_t index, size;
	uint32_t base; /* where the device begins, in vhost's form */
	uint64_t desc, driver, device; /* addresses of the device's */
	int kick_fd, call_fd;
};

/* 0 and all of @v; or negative with a text that names @path. The device is reset. */
int vhx_vhost_vdpa_open(struct vhx_vhost_vdpa *v, const char *path, struct vhx_error *err);
/* The kernel resets the device. May be repeated. */
void vhx_vhost_vdpa_close(struct vhx_vhost_vdpa *v);

/* Readable when the config, or the status, has changed. */
int vhx_vhost_vdpa_config_call(struct vhx_vhost_vdpa *v, int event_fd);
int vhx_vhost_vdpa_config_get(const struct vhx_vhost_vdpa *v, void *buf, uint32_t len);
int vhx_vhost_vdpa_config_set(const struct vhx_vhost_vdpa *v, uint32_t off, const void *buf,
			      uint32_t len);

/* The status, or negative. */
int vhx_vhost_vdpa_status(const struct vhx_vhost_vdpa *v);
/* Up to FEATURES_OK. -EINVAL: the device does not agree. */
int vhx_vhost_vdpa_negotiate(const struct vhx_vhost_vdpa *v, uint64_t features);
/* All that it can reach: @len bytes at @base, which it finds at @iova. Anew after a reset, the same each time. */
int vhx_vhost_vdpa_map(struct vhx_vhost_vdpa *v, uint64_t iova, void *base, uint64_t len);
int vhx_vhost_vdpa_ring(const struct vhx_vhost_vdpa *v, const struct vhx_vhost_vdpa_ring *ring);
/* DRIVER_OK. -EIO: the device does not come up. */
int vhx_vhost_vdpa_run(const struct vhx_vhost_vdpa *v);
/* When it returns 0, the device does nothing any more, and knows nothing of before. */
int vhx_vhost_vdpa_reset(const struct vhx_vhost_vdpa *v);

#endif
