/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* /dev/argo_raw, for the lab: Argo's hypercalls as a program makes them, and memory that can be a ring. */
#ifndef ARGO_RAW_UAPI_H
#define ARGO_RAW_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* One hypercall, with whatever arguments: addresses are the caller's. */
struct argo_raw_call {
	__u64 cmd, arg1, arg2, arg3, arg4;
	__s64 result; /* out, all of its bits */
};

/* Zeroed pages of this open file, instead of those before; mmap() shows them. @frames: an array for their numbers. */
struct argo_raw_pages {
	__u64 frames;
	__u32 cnt;
	__u32 pad;
};

#define ARGO_RAW_CALL _IOWR('H', 0x70, struct argo_raw_call)
#define ARGO_RAW_PAGES _IOW('H', 0x71, struct argo_raw_pages)

#endif
