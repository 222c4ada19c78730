/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A shared file range that the VMM passed, mapped: guest memory, dirty log, inflight region.
 */
#ifndef VHX_VHOST_USER_MAP_H
#define VHX_VHOST_USER_MAP_H

#include <sys/types.h>

#include "util/base.h"

struct vhx_vu_map {
	uint8_t *data; /* first byte asked for; NULL: nothing is mapped */
	uint64_t len; /* bytes asked for */
	void *base; /* what mmap returned: data rounded down to the file's page size */
	size_t base_len;
	dev_t dev; /* the file, and where in it data lies */
	ino_t ino;
	uint64_t off;
};

/*
 * Maps [off, off + len) of @fd, shared and writable; @fd stays the caller's. Any offset will do. 0,
 * -EINVAL (nothing to map, or not a regular file), -ERANGE (the range is not within the file), or
 * mmap's errno.
 */
int vhx_vu_map_open(struct vhx_vu_map *map, int fd, uint64_t off, uint64_t len);
void vhx_vu_map_close(struct vhx_vu_map *map);

/* Is @map what vhx_vu_map_open() would make of the same length at @off of @fd? */
bool vhx_vu_map_is(const struct vhx_vu_map *map, int fd, uint64_t off);

#endif
