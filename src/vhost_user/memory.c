// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guest memory table.
 *
 * Owner: the server, one table per connection; a second one exists while SET_MEM_TABLE builds the
 * next. Invariants: regions are sorted by guest address and disjoint, no range wraps 64 bits, each
 * lies wholly within the file that backs it. User addresses may overlap (a VMM may alias one memory
 * at two guest addresses); then the lower guest address wins, and whichever it is, the bytes are
 * the VMM's.
 *
 * Pointers that lookups return live until the region is removed or the table cleared; the server
 * tells its owner before that.
 */
#include <string.h>

#include "util/checked.h"
#include "vhost_user/memory.h"

/* Slot at which a region at @gpa belongs. */
static unsigned int region_slot(const struct vhx_vu_memory *m, uint64_t gpa)
{
	unsigned int lo = 0, hi = m->cnt;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (m->regions[mid].gpa <= gpa)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool region_overlaps(const struct vhx_vu_memory *m, unsigned int slot, uint64_t gpa,
			    uint64_t size)
{
	const struct vhx_vu_region *prev = slot ? &m->regions[slot - 1] : NULL;
	const struct vhx_vu_region *next = slot < m->cnt ? &m->regions[slot] : NULL;

	return (prev && gpa - prev->gpa < prev->size) || (next && next->gpa - gpa < size);
}

int vhx_vu_memory_add(struct vhx_vu_memory *m, uint64_t gpa, uint64_t uva, uint64_t size,
		      uint64_t off, int fd)
{
	struct vhx_vu_region *r;
	struct vhx_vu_map map;
	unsigned int slot;
	uint64_t end;
	int ret;

	if (m->cnt == VHX_VU_REGIONS_MAX)
		return -ENOSPC;
	if (!size || !vhx_add_u64(gpa, size, &end) || !vhx_add_u64(uva, size, &end))
		return -EINVAL;
	slot = region_slot(m, gpa);
	if (region_overlaps(m, slot, gpa, size))
		return -EEXIST;
	ret = vhx_vu_map_open(&map, fd, off, size);
	if (ret < 0)
		return ret;
	r = &m->regions[slot];
	memmove(r + 1, r, (m->cnt - slot) * sizeof(*r));
	*r = (struct vhx_vu_region){ .gpa = gpa, .uva = uva, .size = size, .map = map };
	m->cnt++;
	m->hit = slot;
	return 0;
}

struct vhx_vu_region *vhx_vu_memory_find(struct vhx_vu_memory *m, uint64_t gpa, uint64_t uva,
					 uint64_t size)
{
	for (unsigned int i = 0; i < m->cnt; i++) {
		struct vhx_vu_region *r = &m->regions[i];

		if (r->gpa == gpa && r->uva == uva && r->size == size)
			return r;
	}
	return NULL;
}

struct vhx_vu_map vhx_vu_memory_remove(struct vhx_vu_memory *m, struct vhx_vu_region *r)
{
	unsigned int slot = (unsigned int)(r - m->regions);
	struct vhx_vu_map map = r->map;

	assert(slot < m->cnt);
	m->cnt--;
	memmove(r, r + 1, (m->cnt - slot) * sizeof(*r));
	m->hit = 0;
	return map;
}

void vhx_vu_memory_clear(struct vhx_vu_memory *m)
{
	for (unsigned int i = 0; i < m->cnt; i++)
		vhx_vu_map_close(&m->regions[i].map);
	m->cnt = 0;
	m->hit = 0;
}

static const struct vhx_vu_region *region_of(struct vhx_vu_memory *m, uint64_t gpa)
{
	const struct vhx_vu_region *r = &m->regions[m->hit];
	unsigned int slot;

	if (vhx_likely(m->hit < m->cnt && gpa - r->gpa < r->size && gpa >= r->gpa))
		return r;
	slot = region_slot(m, gpa);
	if (!slot)
		return NULL;
	r = &m->regions[slot - 1];
	if (gpa - r->gpa >= r->size)
		return NULL;
	m->hit = slot - 1;
	return r;
}

int vhx_vu_memory_map(struct vhx_vu_memory *m, uint64_t gpa, uint64_t len, struct iovec *iov,
		      unsigned int max)
{
	unsigned int cnt = 0;

	while (len) {
		const struct vhx_vu_region *r = region_of(m, gpa);
		uint64_t off, part;

		if (!r)
			return -EFAULT;
		if (cnt == max)
			return -E2BIG;
		off = gpa - r->gpa;
		part = vhx_min_u64(len, r->size - off);
		iov[cnt].iov_base = r->map.data + off;
		iov[cnt].iov_len = (size_t)part;
		cnt++;
		gpa += part;
		len -= part;
	}
	return (int)cnt;
}

void *vhx_vu_memory_user(const struct vhx_vu_memory *m, uint64_t uva, uint64_t len, uint64_t *gpa)
{
	for (unsigned int i = 0; i < m->cnt; i++) {
		const struct vhx_vu_region *r = &m->regions[i];
		uint64_t off = uva - r->uva;

		if (uva < r->uva || !vhx_range_within(off, len, r->size))
			continue;
		*gpa = r->gpa + off;
		return r->map.data + off;
	}
	return NULL;
}

bool vhx_vu_memory_guest(const struct vhx_vu_memory *m, const void *p, uint64_t *gpa,
			 uint64_t *left)
{
	for (unsigned int i = 0; i < m->cnt; i++) {
		const struct vhx_vu_region *r = &m->regions[i];
		uint64_t off = (uintptr_t)p - (uintptr_t)r->map.data;

		if ((uintptr_t)p < (uintptr_t)r->map.data || off >= r->size)
			continue;
		*gpa = r->gpa + off;
		*left = r->size - off;
		return true;
	}
	return false;
}
