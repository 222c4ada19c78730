/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a VDUSE device may see of its driver's memory: regions of I/O virtual addresses, each asked of the kernel
 * when it is first used, and mapped.
 */
#ifndef VHX_VDUSE_MEMORY_H
#define VHX_VDUSE_MEMORY_H

#include <sys/uio.h>

#include "vduse/control.h"

/*
 * Up to three areas of each queue are regions of their own, and the bounce buffer is one; or it is the memory of a
 * virtual machine, which is a few.
 */
#define VHX_VDUSE_REGIONS_MAX (3 * VHX_VDUSE_QUEUES_MAX + 64)

struct vhx_vduse_region {
	uint64_t start, last; /* both inclusive */
	uint8_t *data; /* of start */
	void *base; /* what mmap returned: data rounded down to the file's page size */
	size_t base_len;
};

struct vhx_vduse_memory {
	int fd; /* the device's */
	struct vhx_vduse_region regions[VHX_VDUSE_REGIONS_MAX]; /* sorted, disjoint */
	unsigned int cnt;
	unsigned int hit; /* region found last: most lookups go where the one before went */
};

void vhx_vduse_memory_init(struct vhx_vduse_memory *m, int fd);
/* Unmaps all; it can be used again. */
void vhx_vduse_memory_clear(struct vhx_vduse_memory *m);

/* I/O virtual addresses -> iovecs, as struct vhx_ring_mem.map. */
int vhx_vduse_memory_map(struct vhx_vduse_memory *m, uint64_t iova, uint64_t len, struct iovec *iov,
			 unsigned int max);
/* The process address of [iova, iova + len), which has to lie in one region; or NULL. */
void *vhx_vduse_memory_at(struct vhx_vduse_memory *m, uint64_t iova, uint64_t len);

#endif
