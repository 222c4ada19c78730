/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Processes that use the virtio disks of this kernel, whatever becomes of them: for lab programs that serve such
 * a disk themselves, well or badly.
 */
#ifndef VHX_LAB_DISK_USER_H
#define VHX_LAB_DISK_USER_H

#include <sys/types.h>

#include "util/base.h"

/* Shared with the processes. Each counter has one writer or is atomic. */
struct vhx_disk_user_stats {
	_Atomic uint64_t opens, reads, writes, flushes, errors;
	_Atomic uint64_t exposed; /* answers with bytes that were in the buffer before */
};

/* What a sector is filled with by everybody here; never what a buffer is filled with before a read. */
void vhx_disk_pattern(void *sector, uint64_t number);

/*
 * A process that reads and writes at random places, each read into a buffer full of a canary, opens whatever disk
 * there is again when one fails, until it is killed. Returns its pid, or negative.
 */
pid_t vhx_disk_user_start(struct vhx_disk_user_stats *stats, uint64_t seed);

/* A process that waits for a disk, fills all of it, syncs, reads it back and exits with 0 if that is the same. */
pid_t vhx_disk_verify_start(void);

#endif
