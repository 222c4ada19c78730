// SPDX-License-Identifier: BSD-3-Clause
/*
 * Setting bits in the VMM's dirty log.
 *
 * A bit is set after the bytes it speaks of were written and before anything tells the guest of
 * them: the VMM clears the bit, then copies the page, so that a copy taken too early is taken
 * again. Setting is atomic because the VMM clears, and other back-ends set, neighbouring bits at
 * the same moment.
 *
 * Addresses may come from the VMM (log address of a ring): everything is held against the log's
 * size.
 */
#include "util/barrier.h"
#include "util/checked.h"
#include "vhost_user/dirty.h"

int vhx_vu_dirty_set(struct vhx_vu_dirty *d, int fd, uint64_t off, uint64_t len)
{
	struct vhx_vu_map map;
	int ret;

	ret = vhx_vu_map_open(&map, fd, off, len);
	if (ret < 0)
		return ret;
	vhx_vu_map_close(&d->map);
	d->map = map;
	return 0;
}

void vhx_vu_dirty_fini(struct vhx_vu_dirty *d)
{
	vhx_vu_map_close(&d->map);
}

void vhx_vu_dirty_mark(struct vhx_vu_dirty *d, uint64_t gpa, uint64_t len)
{
	uint64_t page = gpa >> VHX_VU_LOG_PAGE_SHIFT;
	uint64_t last, end;

	if (!d->map.data || !len)
		return;
	last = vhx_add_u64(gpa, len - 1, &end) ? end >> VHX_VU_LOG_PAGE_SHIFT : UINT64_MAX;
	while (page <= last && page / 8 < d->map.len) {
		uint64_t in_byte = vhx_min_u64(last - page, 7 - page % 8);
		uint8_t mask = (uint8_t)(((2u << in_byte) - 1) << page % 8);

		/* Release: the data first. Partner: the VMM's atomic exchange of the log word. */
		vhx_fetch_or_release(&d->map.data[page / 8], mask);
		page += in_byte + 1;
	}
}
