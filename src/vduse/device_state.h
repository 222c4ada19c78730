/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the device share. Private to src/vduse.
 */
#ifndef VHX_VDUSE_DEVICE_STATE_H
#define VHX_VDUSE_DEVICE_STATE_H

#include <linux/vduse.h>

#include "vduse/device.h"
#include "vduse/memory.h"

/* VirtIO 2.1 */
#define VHX_VDUSE_S_DRIVER_OK 4u
#define VHX_VDUSE_S_FEATURES_OK 8u

/* A feature bit that the rings own (VirtIO 6). */
#define VHX_VDUSE_F_RING_PACKED (1ull << 34)

struct vhx_vduse_vq {
	struct vhx_vduse_queue pub;
	struct vhx_vduse_device *dev;
	struct vhx_ring_slot *slots;
	uint16_t slot_cnt;
	uint64_t desc, driver, device; /* addresses of the three areas */
	uint16_t avail_idx, used_idx; /* where it was when it stopped; valid while @stopped */
	bool stopped; /* in this life, or in the last one as long as the next has not begun */
	bool irq_owed;
	bool lost; /* its memory went under it: over, until the driver resets the device */
};

struct vhx_vduse_device {
	struct vhx_vduse_config cfg;
	int fd;
	uint8_t status; /* as last set by the driver and granted */
	uint64_t features;
	bool resetting; /* the answer to @reset_id is owed; nothing is read until then */
	uint32_t reset_id;
	bool config_irq_owed;
	struct vhx_log_limit limit;
	struct vhx_ring_mem ring_mem;
	struct vhx_vduse_memory memories[2]; /* the second one while the first is replaced */
	struct vhx_vduse_memory *memory;
	struct vhx_vduse_vq vqs[VHX_VDUSE_QUEUES_MAX];
};

/* device.c */
void vhx_vduse_queue_refused(struct vhx_vduse_vq *vq, int err);

/* queue.c */
int vhx_vduse_vq_init(struct vhx_vduse_vq *vq, struct vhx_vduse_device *d, uint16_t index);
void vhx_vduse_vq_fini(struct vhx_vduse_vq *vq);
/* Starts it if the driver has set it up. 0 also if not; negative: it cannot run like this. */
int vhx_vduse_vq_try_start(struct vhx_vduse_vq *vq);
/* The device was reset. */
void vhx_vduse_vq_reset(struct vhx_vduse_vq *vq);
/* The next life has begun: nobody asks for where the last one stopped any more. */
void vhx_vduse_vq_forget(struct vhx_vduse_vq *vq);
/* Uses the device's new memory from now on. -EFAULT: the ring is not in it. */
int vhx_vduse_vq_remap(struct vhx_vduse_vq *vq);
/* Where it stands, in the kernel's form. 0 or negative. */
int vhx_vduse_vq_state(const struct vhx_vduse_vq *vq, struct vduse_vq_state *state);
/* True: the notification is with the kernel. */
bool vhx_vduse_vq_notify(struct vhx_vduse_vq *vq);

static inline bool vhx_vduse_packed(const struct vhx_vduse_device *d)
{
	return d->features & VHX_VDUSE_F_RING_PACKED;
}

#endif
