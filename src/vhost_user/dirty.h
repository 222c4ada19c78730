/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dirty log of live migration: one bit for each 4 KiB of guest memory, in memory shared with
 * the VMM, which reads and clears it while we set.
 */
#ifndef VHX_VHOST_USER_DIRTY_H
#define VHX_VHOST_USER_DIRTY_H

#include "vhost_user/map.h"

#define VHX_VU_LOG_PAGE_SHIFT 12 /* VHOST_LOG_PAGE is 0x1000 whatever the host's page size */

struct vhx_vu_dirty {
	struct vhx_vu_map map; /* data NULL: no log */
};

/* Replaces the log by [off, off + len) of @fd (the caller's). Errors as vhx_vu_map_open(). */
int vhx_vu_dirty_set(struct vhx_vu_dirty *d, int fd, uint64_t off, uint64_t len);
void vhx_vu_dirty_fini(struct vhx_vu_dirty *d);

/* Guest bytes [gpa, gpa + len) were written. What lies outside the log is ignored. */
void vhx_vu_dirty_mark(struct vhx_vu_dirty *d, uint64_t gpa, uint64_t len);

#endif
