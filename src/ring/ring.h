/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtqueues, split and packed, over memory that somebody else writes (VirtIO 1.3, sections 2.6 to
 * 2.8).
 *
 * Two sides. struct vhx_vring is the device's: it pops descriptor chains that a driver made
 * available and pushes them back used. struct vhx_vdriver (ring/driver.h) is the driver's. Neither
 * does I/O, nor allocates, nor knows what a request means.
 *
 * Trust. Everything in the ring and in indirect tables belongs to the peer, who may change it at
 * any moment: each field is read once into a private copy, checked, and only the copy is used. All
 * addresses go through struct vhx_ring_mem. A malformed chain breaks the ring (vhx_vring.broken,
 * with a name for what was wrong): pop returns -EPROTO from then on, until vhx_vring_init().
 * Nothing else happens.
 */
#ifndef VHX_RING_RING_H
#define VHX_RING_RING_H

#include <sys/uio.h>

#include "util/base.h"

/* VirtIO 2.6: at most 32768 entries. */
#define VHX_RING_SIZE_MAX 32768u

/*
 * Longest indirect table, where the queue is not longer. 2.7.5.3.1 allows as many descriptors as the queue has;
 * but Linux builds them up to what the device announces (seg_max), whatever size the VMM gave the queue.
 */
#define VHX_RING_INDIRECT_MAX 1024u

enum vhx_ring_feature {
	VHX_RING_F_INDIRECT = 1 << 0, /* VIRTIO_F_INDIRECT_DESC */
	VHX_RING_F_EVENT_IDX = 1 << 1, /* VIRTIO_F_EVENT_IDX */
	VHX_RING_F_PACKED = 1 << 2, /* VIRTIO_F_RING_PACKED */
	VHX_RING_F_IN_ORDER = 1 << 3, /* VIRTIO_F_IN_ORDER */
};

/* Those among the feature bits of a device, and the bits for them. */
uint32_t vhx_ring_features(uint64_t bits);
uint64_t vhx_ring_feature_bits(uint32_t features);

/*
 * What is wrong with a chain, in the order in which it is looked for; each has a test by its name.
 */
enum vhx_ring_fault {
	VHX_RING_OK,
	VHX_RING_AVAIL_OVERRUN, /* more entries made available than the queue has */
	VHX_RING_HEAD_RANGE, /* head index not below the queue size */
	VHX_RING_HEAD_BUSY, /* head made available again before it was used */
	VHX_RING_NEXT_RANGE, /* next index not below the table's size */
	VHX_RING_LOOP, /* chain longer than the table: so does a loop end */
	VHX_RING_INDIRECT_OFF, /* indirect descriptor without the feature */
	VHX_RING_INDIRECT_NESTED, /* indirect within indirect */
	VHX_RING_INDIRECT_NEXT, /* indirect and next in one descriptor; packed: or in one chain */
	VHX_RING_INDIRECT_LEN, /* table empty, odd, or too long */
	VHX_RING_INDIRECT_UNMAPPED, /* table outside guest memory */
	VHX_RING_READ_AFTER_WRITE, /* device-readable descriptor behind a device-writable one */
	VHX_RING_ADDRESS_WRAP, /* address + length leaves 64 bits */
	VHX_RING_UNMAPPED, /* buffer outside guest memory */
	VHX_RING_TOO_MANY_SEGMENTS, /* more segments than any caller has room for (UINT16_MAX) */
	VHX_RING_LEN_WRAP, /* sum of all lengths leaves 32 bits */
	VHX_RING_BUFFER_ID, /* packed: buffer id not below the queue size, or in use */
	/* What a device can do wrong; only struct vhx_vdriver looks for these. */
	VHX_RING_USED_OVERRUN, /* more entries used than were available */
	VHX_RING_USED_ID, /* id not below the queue size, or not with the device */
	VHX_RING_USED_LEN, /* more bytes said to be written than the chain has room for */
	VHX_RING_FAULT_CNT_,
};

const char *vhx_ring_fault_name(enum vhx_ring_fault fault);

/*
 * The accessor to guest memory. @map translates [addr, addr + len), which is known not to wrap,
 * into at most @max iovecs of this process and returns how many, or -EFAULT (not all of it is guest
 * memory), or -E2BIG (more than @max). @dirty, where set, is told of every guest byte written,
 * after the write.
 */
struct vhx_ring_mem {
	int (*map)(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max);
	void (*dirty)(void *ctx, uint64_t addr, uint64_t len);
	void *ctx;
};

/*
 * One popped chain. The caller provides the two arrays; pop fills them. Zero-length descriptors
 * take no segment.
 */
struct vhx_chain {
	struct iovec *out; /* device-readable */
	struct iovec *in; /* device-writable */
	uint16_t out_max, in_max; /* room, set by the caller */
	uint16_t out_cnt, in_cnt;
	uint32_t out_len, in_len;
	uint16_t id; /* below the queue size, unique among the chains in flight */
};

/*
 * Private to src/ring, one per queue entry, in two independent roles. By id: what is kept of a
 * chain between pop and push. As a member of a pool (packed only): a private copy of one ring
 * descriptor of a chain in flight, because a device that completes out of order writes its used
 * descriptors over the driver's.
 */
struct vhx_ring_slot {
	uint64_t taken; /* which pop it was, counted from init */
	uint32_t used_len;
	uint16_t next; /* IN_ORDER: the chain popped after this one */
	uint16_t desc_cnt; /* packed: ring entries that the chain takes */
	uint16_t copy_first, copy_last; /* packed: its descriptors in the pool */
	uint8_t state;

	uint16_t copy_next;
	uint16_t copy_flags;
	uint16_t copy_id;
	uint32_t copy_len;
	uint64_t copy_addr;
};

/*
 * One ring descriptor of a packed chain as the driver wrote it, kept outside of the ring for a
 * successor of this process.
 */
struct vhx_ring_copy {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t id; /* in the last one of a chain: the chain's */
};

struct vhx_vring_config {
	uint16_t size; /* split: a power of two */
	uint32_t features; /* enum vhx_ring_feature */
	/*
	 * Guest-independent addresses of the three areas, each wholly mapped and aligned (2.6,
	 * 2.8).
	 */
	void *desc; /* descriptor table, or packed descriptor ring */
	void *driver; /* avail ring, or driver event suppression */
	void *device; /* used ring, or device event suppression */
	uint64_t device_addr; /* what dirty() is told for the device area */
	uint64_t desc_addr; /* and for the packed descriptor ring */
	const struct vhx_ring_mem *mem;
	struct vhx_ring_slot *slots; /* @size of them, the caller's memory */
};

struct vhx_vring_ops;

struct vhx_vring {
	struct vhx_vring_config cfg;
	const struct vhx_vring_ops *ops; /* split or packed */
	enum vhx_ring_fault broken;
	/*
	 * Device's private positions. Split: free-running 16 bit. Packed: index in bits 14:0, wrap
	 * counter in bit 15 (the form of vhost's vring state and of VIRTIO_F_NOTIFICATION_DATA).
	 */
	uint16_t avail_idx; /* next to pop */
	uint16_t used_idx; /* next to write used */
	uint16_t used_published; /* the driver may have seen everything before it as used */
	uint16_t in_flight; /* chains popped or adopted, whose used entry is not written yet */
	uint16_t order_head, order_tail; /* IN_ORDER: oldest and newest chain in flight */
	uint16_t avail_seen; /* split: avail index when it was last read; checked */
	uint16_t desc_busy; /* packed: ring entries from used_published to avail_idx */
	uint16_t desc_pushed; /* packed: of those, written used since the last flush */
	uint16_t first_flags; /* packed: withheld flags of the first of those */
	uint16_t copy_free; /* packed: head of the pool's free list */
	uint64_t taken; /* chains popped or adopted since init */
	uint64_t adopted; /* so many of them were: the ring does not tell their place */
	bool signalled_valid; /* EVENT_IDX: a notification was decided on since init */
	bool kick_off; /* the last word to the driver was "no notifications" */
};

/*
 * Starts a ring at the given positions (split: both free-running; packed: the form above). Slots
 * are cleared: chains popped before are forgotten. Nothing in the shared areas is read or written.
 * 0 or -EINVAL (size, alignment; packed: positions that no ring of this size can have).
 */
int vhx_vring_init(struct vhx_vring *r, const struct vhx_vring_config *cfg, uint16_t avail_idx,
		   uint16_t used_idx);

/*
 * Takes the next chain. 1: @chain is filled; 0: nothing available; -EPROTO: the ring is broken;
 * -ENOBUFS: well-formed as far as it was read, but with more segments than the caller's arrays hold
 * (out_max, in_max): nothing was taken, pop again with larger ones. A caller with arrays of
 * UINT16_MAX never sees it: there the ring breaks (VHX_RING_TOO_MANY_SEGMENTS). @chain's counts and
 * lengths are meaningful after 1 only.
 */
int vhx_vring_pop(struct vhx_vring *r, struct vhx_chain *chain);

/*
 * Walks a chain that was popped before and not yet pushed once more (to send it again after the
 * other side died). Split, and indirect tables: the descriptors are read and checked afresh.
 * Packed: the ring's own descriptors come from a private copy, for used ones may lie over them by
 * now. 0, -EPROTO, -ENOBUFS.
 */
int vhx_vring_rewalk(struct vhx_vring *r, uint16_t id, struct vhx_chain *chain);

/*
 * Split only: marks @id as in flight without popping it: an inflight region said that it was before
 * this process started. With IN_ORDER in the order of submission. The positions given to
 * vhx_vring_init() already count it: avail_idx is beyond it. 0 or -EINVAL (packed ring, id out of
 * range or in flight, more than lie between the two positions).
 */
int vhx_vring_adopt(struct vhx_vring *r, uint16_t id);

/*
 * Packed only: copies the ring descriptors of a chain that is in flight. @copies has room for as
 * many as the queue has entries. Returns how many there are.
 */
uint16_t vhx_vring_copies(const struct vhx_vring *r, uint16_t id, struct vhx_ring_copy *copies);

/*
 * Packed only: takes a chain that a predecessor popped and did not complete. Its descriptors, as
 * they once came from vhx_vring_copies(), are not trusted more than those of the ring. Like a pop
 * of @cnt entries it moves avail_idx: give vhx_vring_init() the used position for both, and adopt
 * in the order of submission. The entries are made available anew in the ring, because a
 * predecessor that died between push and flush left used ones there, which the driver could come
 * across later. 0 or -EINVAL (split ring; not one chain by its NEXT flags; id out of range or in
 * flight; more entries than are left).
 */
int vhx_vring_adopt_packed(struct vhx_vring *r, const struct vhx_ring_copy *copies, uint16_t cnt);

/*
 * Returns a chain used. It becomes visible to the driver with the next vhx_vring_flush(), together
 * with all others pushed since the last one: one used-index update. With IN_ORDER completions are
 * held back until all older ones are there. @id must be in flight (asserted). Works on a broken
 * ring too.
 */
void vhx_vring_push(struct vhx_vring *r, uint16_t id, uint32_t used_len);

/*
 * The end of this ring, with chains in flight that nobody has answered: moves avail_idx back over all of them, so
 * that whoever goes on from there pops them again. 0; or -EBUSY, nothing was done: younger ones were pushed
 * before them, or a predecessor had popped some of them. After 0, vhx_vring_flush() may be called, and nothing else.
 */
int vhx_vring_give_back(struct vhx_vring *r);

/* Publishes what was pushed. True: the driver wants a notification. */
bool vhx_vring_flush(struct vhx_vring *r);

/*
 * Asks the driver for no more notifications (advisory), or for one at the next chain. enable
 * returns true when chains came in meanwhile: pop again before sleeping. (A broken ring has none.)
 */
void vhx_vring_disable_kick(struct vhx_vring *r);
bool vhx_vring_enable_kick(struct vhx_vring *r);

/* Bytes of the three areas for a queue of @size entries (2.6, 2.8). */
uint64_t vhx_ring_desc_len(uint16_t size, uint32_t features);
uint64_t vhx_ring_driver_len(uint16_t size, uint32_t features);
uint64_t vhx_ring_device_len(uint16_t size, uint32_t features);

#endif
