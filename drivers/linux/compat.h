/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Where kernels differ: 6.1 is the oldest one. Nothing else asks for a version.
 */
#ifndef HMX_COMPAT_H
#define HMX_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/version.h>
#include <linux/virtio_config.h>

#if defined(CONFIG_HIGHMEM) || !defined(CONFIG_64BIT)
#error "virtio_hmx reaches buffers by their linear address: 64 bits, and no CONFIG_HIGHMEM"
#endif

/* What find_vqs() is told of each queue: three arrays, or since 6.11 one of structures. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define HMX_VQ_INFO_PARAMS \
	vq_callback_t *vq_callbacks[], const char *const vq_names[], const bool *vq_ctx
#define hmx_vq_callback(i) (vq_callbacks[i])
#define hmx_vq_name(i) (vq_names[i])
#define hmx_vq_ctx(i) (vq_ctx && vq_ctx[i])
#else
#define HMX_VQ_INFO_PARAMS struct virtqueue_info vq_infos[]
#define hmx_vq_callback(i) (vq_infos[i].callback)
#define hmx_vq_name(i) (vq_infos[i].name)
#define hmx_vq_ctx(i) (vq_infos[i].ctx)
#endif

/*
 * Before 6.7 virtio_net spins for the answer to a control command without giving up the CPU. Where
 * there is just one, nobody is left to fetch the answer.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#define HMX_NET_CONTROL_SPINS true
#else
#define HMX_NET_CONTROL_SPINS false
#endif

/* One call since 6.13, which soon became the only one. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void hmx_hrtimer_setup(struct hrtimer *timer,
				     enum hrtimer_restart (*function)(struct hrtimer *),
				     clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#else
#define hmx_hrtimer_setup hrtimer_setup
#endif

/* Buses became constants in 6.9. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
#define HMX_BUS_TYPE struct bus_type
#else
#define HMX_BUS_TYPE const struct bus_type
#endif

/* Since 6.18 a device brings the mapping of its addresses itself; before, its parent does. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define HMX_HAVE_VIRTIO_MAP 1
#endif

/* The queue of schedule_work() has been renamed, and the old name is going. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define hmx_system_wq system_wq
#else
#define hmx_system_wq system_percpu_wq
#endif

/* A hypercall of five arguments by its number, where addresses are the kernel's. */
#ifdef CONFIG_XEN
#ifdef CONFIG_X86
#define hmx_xen_call xen_single_call
#else
#define hmx_xen_call privcmd_call
#endif
#endif

/* Flags of a mapping are set by functions since 6.3. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define hmx_vm_flags_clear(vma, flags) ((vma)->vm_flags &= ~(flags))
#else
#define hmx_vm_flags_clear vm_flags_clear
#endif

#endif
