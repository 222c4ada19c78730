/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies in the memory of a virtqueue (VirtIO 1.3, 2.7 split, 2.8 packed), and the only ways to
 * touch it: one relaxed access per field, so that the compiler can neither tear nor repeat it.
 * Order between fields is the caller's, through acquire and release on the field that publishes the
 * others.
 */
#ifndef VHX_RING_LAYOUT_H
#define VHX_RING_LAYOUT_H

#include <vhx/endian.h>

#include "util/barrier.h"
#include "util/base.h"

#define VIRTQ_DESC_F_NEXT 1u
#define VIRTQ_DESC_F_WRITE 2u
#define VIRTQ_DESC_F_INDIRECT 4u
#define VIRTQ_DESC_F_AVAIL (1u << 7) /* packed */
#define VIRTQ_DESC_F_USED (1u << 15) /* packed */

#define VIRTQ_AVAIL_F_NO_INTERRUPT 1u
#define VIRTQ_USED_F_NO_NOTIFY 1u

#define RING_EVENT_FLAGS_ENABLE 0u
#define RING_EVENT_FLAGS_DISABLE 1u
#define RING_EVENT_FLAGS_DESC 2u

/* Both formats, and the entries of indirect tables. */
#define VHX_DESC_LEN 16u

struct vhx_split_desc {
	vhx_le64 addr;
	vhx_le32 len;
	vhx_le16 flags;
	vhx_le16 next;
};

/* Behind ring[size] lies used_event. */
struct vhx_split_avail {
	vhx_le16 flags;
	vhx_le16 idx;
	vhx_le16 ring[];
};

struct vhx_split_used_elem {
	vhx_le32 id;
	vhx_le32 len;
};

/* Behind ring[size] lies avail_event. */
struct vhx_split_used {
	vhx_le16 flags;
	vhx_le16 idx;
	struct vhx_split_used_elem ring[];
};

struct vhx_packed_desc {
	vhx_le64 addr;
	vhx_le32 len;
	vhx_le16 id;
	vhx_le16 flags;
};

/*
 * Event suppression: bits 14:0 offset and bit 15 wrap counter, then flags in bits 17:16. One word,
 * so that offset and flags are always seen together.
 */
struct vhx_packed_event {
	vhx_le32 word;
};

static_assert(sizeof(struct vhx_split_desc) == VHX_DESC_LEN, "2.7.5");
static_assert(offsetof(struct vhx_split_desc, len) == 8, "2.7.5");
static_assert(offsetof(struct vhx_split_desc, flags) == 12, "2.7.5");
static_assert(offsetof(struct vhx_split_desc, next) == 14, "2.7.5");
static_assert(sizeof(struct vhx_split_avail) == 4, "2.7.6");
static_assert(offsetof(struct vhx_split_avail, idx) == 2, "2.7.6");
static_assert(sizeof(struct vhx_split_used_elem) == 8, "2.7.8");
static_assert(sizeof(struct vhx_split_used) == 4, "2.7.8");
static_assert(offsetof(struct vhx_split_used, idx) == 2, "2.7.8");
static_assert(sizeof(struct vhx_packed_desc) == VHX_DESC_LEN, "2.8.13");
static_assert(offsetof(struct vhx_packed_desc, len) == 8, "2.8.13");
static_assert(offsetof(struct vhx_packed_desc, id) == 12, "2.8.13");
static_assert(offsetof(struct vhx_packed_desc, flags) == 14, "2.8.13");
static_assert(sizeof(struct vhx_packed_event) == 4, "2.8.14");

static inline uint16_t vhx_le16_load(const vhx_le16 *p)
{
	return le16toh(vhx_load_relaxed(&p->v));
}

static inline uint16_t vhx_le16_load_acquire(const vhx_le16 *p)
{
	return le16toh(vhx_load_acquire(&p->v));
}

static inline uint32_t vhx_le32_load(const vhx_le32 *p)
{
	return le32toh(vhx_load_relaxed(&p->v));
}

static inline uint64_t vhx_le64_load(const vhx_le64 *p)
{
	return le64toh(vhx_load_relaxed(&p->v));
}

static inline void vhx_le16_store(vhx_le16 *p, uint16_t v)
{
	vhx_store_relaxed(&p->v, htole16(v));
}

static inline void vhx_le16_store_release(vhx_le16 *p, uint16_t v)
{
	vhx_store_release(&p->v, htole16(v));
}

static inline void vhx_le32_store(vhx_le32 *p, uint32_t v)
{
	vhx_store_relaxed(&p->v, htole32(v));
}

static inline void vhx_le64_store(vhx_le64 *p, uint64_t v)
{
	vhx_store_relaxed(&p->v, htole64(v));
}

/* A private copy of a descriptor of either format, in this machine's byte order. */
struct vhx_ring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* packed: buffer id */
};

static inline void vhx_split_desc_load(const struct vhx_split_desc *from, struct vhx_ring_desc *d)
{
	d->addr = vhx_le64_load(&from->addr);
	d->len = vhx_le32_load(&from->len);
	d->flags = vhx_le16_load(&from->flags);
	d->next = vhx_le16_load(&from->next);
}

/* @flags comes from the caller, who may have had to acquire it first. */
static inline void vhx_packed_desc_load(const struct vhx_packed_desc *from, uint16_t flags,
					struct vhx_ring_desc *d)
{
	d->addr = vhx_le64_load(&from->addr);
	d->len = vhx_le32_load(&from->len);
	d->flags = flags;
	d->next = vhx_le16_load(&from->id);
}

/* Where the two event indices of a split ring are (2.7.7, 2.7.10). */
static inline vhx_le16 *vhx_split_used_event(struct vhx_split_avail *avail, uint16_t size)
{
	return &avail->ring[size];
}

static inline vhx_le16 *vhx_split_avail_event(struct vhx_split_used *used, uint16_t size)
{
	return (vhx_le16 *)(void *)&used->ring[size];
}

#endif
