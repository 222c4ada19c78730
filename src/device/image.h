/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The medium of a block device: a raw file or a block device, opened, checked, locked and identified.
 */
#ifndef VHX_DEVICE_IMAGE_H
#define VHX_DEVICE_IMAGE_H

#include "util/base.h"
#include "util/error.h"

struct vhx_image_config {
	const char *path; /* what to open; with @fd, only for messages, and may be NULL */
	int fd; /* already open, or -1; O_DIRECT and O_NONBLOCK are set as needed here */
	bool readonly;
	bool direct;
	bool unlocked; /* the lock waits for vhx_image_claim() */
};

struct vhx_image {
	int fd; /* -1: closed. I/O and the lock go through it */
	bool readonly;
	bool direct; /* O_DIRECT: offsets, lengths and addresses are multiples of block_size */
	bool block_dev;
	bool in_memory; /* tmpfs, not direct: no access waits for a device, nothing to flush */
	bool nowait; /* preadv2(RWF_NOWAIT) works */
	uint64_t size; /* when it was opened */
	uint32_t block_size; /* smallest unit of access, at least 512 */
	uint32_t physical_size; /* what the medium writes at once, a multiple of it */
	uint32_t optimal_size; /* preferred length of an access, 0: nothing known */
	uint8_t uuid[16];
	uint8_t cache_id[16];
};

/*
 * Learns what it takes an open() to know, the identity of this boot: for a program that will open images, given as
 * descriptors, when it is confined.
 */
void vhx_image_prepare(void);

/* The cache identity of a medium @uuid whose completed writes are in this kernel's page cache. */
void vhx_image_identify_cached(const uint8_t uuid[16], uint8_t cache_id[16]);

/*
 * Fills @img. Takes config->fd over, but only on success. The lock is held from here to vhx_image_close(), or rather until
 * the last duplicate of the descriptor is gone.
 *
 * -EAGAIN: locked by somebody else, which may end. All others are for good: -ENOENT, -EACCES, -EISDIR,
 * -EINVAL (empty, odd size, wrong kind of file, no direct I/O there), ...
 */
int vhx_image_open(struct vhx_image *img, const struct vhx_image_config *config,
		   struct vhx_error *err);
/* May be repeated. */
void vhx_image_close(struct vhx_image *img);

/*
 * The lock, for an image that was opened unlocked: 0, or as vhx_image_open(), with a text. After -EAGAIN nothing is
 * held, and another try may do better. release() gives it back; no I/O is in flight then.
 */
int vhx_image_claim(struct vhx_image *img, struct vhx_error *err);
void vhx_image_release(struct vhx_image *img);

/* Current size, in bytes. */
int vhx_image_measure(const struct vhx_image *img, uint64_t *size);

#endif
