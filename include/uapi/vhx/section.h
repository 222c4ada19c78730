/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Sections and windows: the shared memory of the providers that have any. docs/wire.md is the
 * specification (sections 13 and 14); this is its layout. Little-endian.
 *
 * A section is written by one side only, its owner: a header, and a data area of ring_len bytes in
 * which messages lie. `local` gives each section a memory object of its own. `ivshmem` lays both into
 * one window: side 0 (the host, which serves) in its first half, side 1 (the guest) in its second.
 */
#ifndef VHX_UAPI_SECTION_H
#define VHX_UAPI_SECTION_H

#include <vhx/endian.h>

#define VHX_SECTION_MAGIC 0x53584856u /* "VHXS" */
#define VHX_SECTION_VERSION 1u

/*
 * Indices are free-running byte counts in multiples of 16. Words that different events change, or that
 * different readers poll, are two cache lines apart: adjacent-line prefetch would tie neighbours together.
 */
#define VHX_SECTION_LINE 128

struct vhx_section_header {
	vhx_le32 magic;
	vhx_le32 version;
	vhx_le32 ring_len;
	vhx_le32 reserved;
	/* In a window only, 0 elsewhere: the owner's life, see section 14. */
	vhx_le32 state; /* VHX_WINDOW_* */
	vhx_le32 inc; /* incarnation: random, not 0, another one in each life */
	vhx_le32 peer_inc; /* the peer's life that this one answers; 0: none yet */
	uint8_t pad0[100];
	/* What the owner has produced into this section's data area. */
	vhx_le32 tx_idx;
	uint8_t pad1[124];
	/* What the owner has consumed from the data area of the other section. */
	vhx_le32 rx_idx;
	uint8_t pad2[124];
	/* Odd while the owner sleeps and wants to be woken for data. */
	vhx_le32 data_word;
	uint8_t pad3[124];
	/* Odd while the owner sleeps and wants to be woken for space. */
	vhx_le32 space_word;
	uint8_t pad4[124];
};

/* In the data area, before the bytes of each message. */
struct vhx_slot_header {
	vhx_le32 len;
	vhx_le32 type;
	vhx_le64 reserved;
};

#define VHX_WINDOW_HOST 0u
#define VHX_WINDOW_GUEST 1u

#define VHX_WINDOW_GONE 0u /* nobody, or not yet */
#define VHX_WINDOW_INIT 1u /* a new life: its indices are 0, and it waits to be answered */
#define VHX_WINDOW_READY 2u /* it answers peer_inc: between these two lives messages flow */

/* The largest page that either side may map with: the data area begins on it. */
#define VHX_WINDOW_HEADER_LEN (64u << 10)
/* A window is a power of two, as BARs are. */
#define VHX_WINDOW_SIZE_MIN (256u << 10)
#define VHX_WINDOW_SIZE_MAX (256u << 20)

_Static_assert(sizeof(struct vhx_section_header) == 640, "section layout");
_Static_assert(sizeof(struct vhx_slot_header) == 16, "slot layout");

#endif
