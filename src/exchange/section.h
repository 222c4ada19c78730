/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A section: the memory through which one side speaks to the other. One header page and a data area,
 * all of it written by one side only, its owner; the other side maps it read-only.
 *
 * The data area is mapped twice in a row, so that a message that wraps is contiguous for both sides.
 */
#ifndef VHX_EXCHANGE_SECTION_H
#define VHX_EXCHANGE_SECTION_H

#include "util/base.h"

#define VHX_SECTION_MAGIC 0x53584856u /* "VHXS" */
#define VHX_SECTION_VERSION 1u

/*
 * Bounds of a data area: the smallest page, and what still leaves free-running u32 indices twenty
 * times the room that their differences need.
 */
#define VHX_SECTION_RING_MIN (4u << 10)
#define VHX_SECTION_RING_MAX (64u << 20)

/* Two cache lines: adjacent-line prefetch would tie neighbours together. */
#define VHX_SECTION_LINE 128

/*
 * The header page. Indices are free-running byte counts in multiples of VHX_SLOT. Words that different
 * events change, or that different readers poll, have lines of their own.
 */
struct vhx_section_header {
	uint32_t magic;
	uint32_t version;
	uint32_t ring_len;
	uint32_t reserved;
	/* What the owner has produced into this section's data area. */
	uint32_t tx_idx __attribute__((aligned(VHX_SECTION_LINE)));
	/* What the owner has consumed from the data area of the *other* section. */
	uint32_t rx_idx __attribute__((aligned(VHX_SECTION_LINE)));
	/* Odd while the owner sleeps and wants to be woken for data; see lane.c. */
	uint32_t data_word __attribute__((aligned(VHX_SECTION_LINE)));
	/* Odd while the owner sleeps and wants to be woken for space. */
	uint32_t space_word __attribute__((aligned(VHX_SECTION_LINE)));
};

_Static_assert(offsetof(struct vhx_section_header, tx_idx) == 128, "section layout");
_Static_assert(offsetof(struct vhx_section_header, rx_idx) == 256, "section layout");
_Static_assert(offsetof(struct vhx_section_header, data_word) == 384, "section layout");
_Static_assert(offsetof(struct vhx_section_header, space_word) == 512, "section layout");
_Static_assert(sizeof(struct vhx_section_header) <= VHX_SECTION_RING_MIN, "one page");

/* A section as this process maps it. */
struct vhx_section {
	struct vhx_section_header *header; /* NULL: not mapped */
	uint8_t *data; /* ring_len bytes, twice */
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

/* May be called on one that is not mapped, and twice. */
void vhx_section_unmap(struct vhx_section *s);

#endif
