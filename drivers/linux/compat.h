/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Differences between the kernels that the modules are built for, 6.1 and later. All of them are
 * here; the sources are written for the newest.
 */
#ifndef HMX_COMPAT_H
#define HMX_COMPAT_H

#include <linux/device/class.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

/* A descriptor's address must be usable as a pointer, for as long as the request lasts. */
#if defined(CONFIG_HIGHMEM) || !defined(CONFIG_64BIT)
#error "virtio_hmx needs a 64-bit kernel, whose memory is always mapped"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define hmx_class_create(name) class_create(name)
#else
#define hmx_class_create(name) class_create(THIS_MODULE, name)
#endif

/*
 * HMX_DEFINE_FIND_VQS(name, find) defines the find_vqs of struct virtio_config_ops as @name, in
 * terms of
 *
 *	int find(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
 *		 struct virtqueue_info infos[]);
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)

#define HMX_DEFINE_FIND_VQS(name, find)                                                         \
static int name(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],         \
		struct virtqueue_info infos[], struct irq_affinity *desc)                       \
{                                                                                               \
	return find(vdev, nvqs, vqs, infos);                                                    \
}

#else

struct virtqueue_info {
	const char *name; /* NULL: the driver has no use for this queue */
	vq_callback_t *callback;
	bool ctx;
};

static inline struct virtqueue_info *hmx_infos_new(unsigned int nvqs, vq_callback_t *callbacks[],
						   const char *const names[], const bool *ctx)
{
	struct virtqueue_info *infos = kcalloc(nvqs, sizeof(*infos), GFP_KERNEL);
	unsigned int i;

	for (i = 0; infos && i < nvqs; i++) {
		infos[i].name = names[i];
		infos[i].callback = callbacks[i];
		infos[i].ctx = ctx && ctx[i];
	}
	return infos;
}

#define HMX_DEFINE_FIND_VQS(name, find)                                                         \
static int name(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],         \
		vq_callback_t *callbacks[], const char *const names[], const bool *ctx,         \
		struct irq_affinity *desc)                                                      \
{                                                                                               \
	struct virtqueue_info *infos = hmx_infos_new(nvqs, callbacks, names, ctx);              \
	int ret = infos ? find(vdev, nvqs, vqs, infos) : -ENOMEM;                               \
												\
	kfree(infos);                                                                           \
	return ret;                                                                             \
}

#endif

/* From 6.18 on a device brings the mapping of its addresses itself; before, through its parent. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define HMX_HAVE_VIRTIO_MAP 1
#endif

#endif
