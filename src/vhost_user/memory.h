/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's memory as the VMM announced it: up to VHX_VU_REGIONS_MAX regions, each with a guest
 * address, an address in the VMM's process ("user address", used for rings only), and our mapping.
 */
#ifndef VHX_VHOST_USER_MEMORY_H
#define VHX_VHOST_USER_MEMORY_H

#include <sys/uio.h>

#include "vhost_user/map.h"
#include "vhost_user/server.h"

struct vhx_vu_region {
	uint64_t gpa;
	uint64_t uva;
	uint64_t size;
	struct vhx_vu_map map;
};

struct vhx_vu_memory {
	struct vhx_vu_region regions[VHX_VU_REGIONS_MAX]; /* sorted by gpa, disjoint */
	unsigned int cnt;
	unsigned int hit; /* region found last: most lookups go where the one before went */
};

/*
 * Maps one more region from @fd, which stays the caller's. 0, -ENOSPC (no slot left), -EINVAL
 * (empty, or an address range that wraps), -EEXIST (guest addresses overlap another region), or as
 * vhx_vu_map_open().
 */
int vhx_vu_memory_add(struct vhx_vu_memory *m, uint64_t gpa, uint64_t uva, uint64_t size,
		      uint64_t off, int fd);

/* The region with exactly these three, or NULL. */
struct vhx_vu_region *vhx_vu_memory_find(struct vhx_vu_memory *m, uint64_t gpa, uint64_t uva,
					 uint64_t size);
/* Takes @r out of the table. Its mapping is the caller's now, to be closed. */
struct vhx_vu_map vhx_vu_memory_remove(struct vhx_vu_memory *m, struct vhx_vu_region *r);
void vhx_vu_memory_clear(struct vhx_vu_memory *m);

/* Guest addresses -> iovecs, as struct vhx_ring_mem.map. */
int vhx_vu_memory_map(struct vhx_vu_memory *m, uint64_t gpa, uint64_t len, struct iovec *iov,
		      unsigned int max);

/*
 * The process address of [uva, uva + len), which has to lie in one region, and its guest address in
 * *@gpa; or NULL.
 */
void *vhx_vu_memory_user(const struct vhx_vu_memory *m, uint64_t uva, uint64_t len, uint64_t *gpa);

/* The guest address of process address @p, and how many bytes follow it in its region. */
bool vhx_vu_memory_guest(const struct vhx_vu_memory *m, const void *p, uint64_t *gpa,
			 uint64_t *left);

#endif
