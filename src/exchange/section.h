/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A section (vhx/section.h): the memory through which one side speaks to the other. A header and a data
 * area, all of it written by one side only, its owner; the other side maps it read-only.
 *
 * The data area is mapped twice in a row, so that a message that wraps is contiguous for both sides.
 */
#ifndef VHX_EXCHANGE_SECTION_H
#define VHX_EXCHANGE_SECTION_H

#include <vhx/section.h>

#include "util/barrier.h"
#include "util/base.h"

/*
 * Bounds of a data area: the smallest page, and what still leaves free-running u32 indices twenty
 * times the room that their differences need.
 */
#define VHX_SECTION_RING_MIN (4u << 10)
#define VHX_SECTION_RING_MAX (64u << 20)

_Static_assert(sizeof(struct vhx_section_header) <= VHX_SECTION_RING_MIN, "one page");

/* The words of a section are read and written only by these: once, whole, in the section's byte order. */
#define vhx_word_load_relaxed(p) le32toh(vhx_load_relaxed(&(p)->v))
#define vhx_word_load_acquire(p) le32toh(vhx_load_acquire(&(p)->v))
#define vhx_word_store_relaxed(p, x) vhx_store_relaxed(&(p)->v, htole32(x))
#define vhx_word_store_release(p, x) vhx_store_release(&(p)->v, htole32(x))

/* A section as this process maps it. */
struct vhx_section {
	struct vhx_section_header *header; /* NULL: not mapped */
	uint8_t *data; /* ring_len bytes, twice */
	uint32_t ring_len;
	uint32_t header_len; /* from the header to the data */
};

/* Where a section lies: @header_len and @off are multiples of the page size. */
struct vhx_section_place {
	int fd;
	uint64_t off;
	uint32_t header_len;
	uint32_t ring_len;
};

/* A power of two within the bounds, and a multiple of the page size. */
bool vhx_section_ring_len_valid(uint32_t ring_len);

/* Bytes of the file behind a section: its header page and its data area. */
uint64_t vhx_section_size(uint32_t ring_len);

/*
 * Makes a section that this side owns: a memfd, unsealed, every page of it allocated and mapped
 * writable, the header filled in. 0, and *@fd for the caller to seal, pass on and close; or -EINVAL,
 * -ENOMEM, -ENOSPC, -EMFILE, ...
 */
int vhx_section_create(uint32_t ring_len, struct vhx_section *s, int *fd);

/*
 * Maps a peer's section read-only. The caller has checked the file: its kind, its seals and that it
 * has vhx_section_size(@ring_len) bytes. -EPROTO when the header does not say what was announced.
 */
int vhx_section_map(int fd, uint32_t ring_len, struct vhx_section *s);

/*
 * Maps a section that is a part of a file, writable or not, whatever its header says. The caller has
 * checked the file, which stays his. 0, or -ENOMEM, ...
 */
int vhx_section_map_place(const struct vhx_section_place *place, bool writable,
			  struct vhx_section *s);

/* The constant words of the header, as its owner writes them; and whether they are there. */
void vhx_section_header_init(struct vhx_section_header *h, uint32_t ring_len);
bool vhx_section_header_valid(const struct vhx_section_header *h, uint32_t ring_len);

/* May be called on one that is not mapped, and twice. */
void vhx_section_unmap(struct vhx_section *s);

#endif
