/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-blk (VirtIO 5.2) on a raw file or a block device.
 */
#ifndef VHX_DEVICE_BLK_H
#define VHX_DEVICE_BLK_H

#include "backend/device.h"
#include "device/io.h"
#include "util/error.h"

#define VHX_BLK_QUEUES_MAX 64u
#define VHX_BLK_QUEUE_SIZE_MAX 1024u
#define VHX_BLK_QUEUE_SIZE_DEFAULT 256u
/* Largest payload of a request. The upper bound is what one readv(2) takes: 1024 pages (IOV_MAX). */
#define VHX_BLK_DATA_MIN 4096u
#define VHX_BLK_DATA_DEFAULT (1024u * 1024)
#define VHX_BLK_DATA_MAX (4096u * 1024)

struct vhx_blk_config {
	const char *id;
	const char *path; /* image to open; with @fd >= 0 only for messages, and may be NULL */
	int fd; /* image that is open already, or -1 */
	bool readonly;
	bool direct;
	bool handover; /* the image is locked only while a driver uses it; see blk.c */
	bool no_discard; /* do not offer DISCARD; WRITE_ZEROES never deallocates */
	const char *serial; /* at most 20 bytes; NULL: made from the identity of the medium */
	uint16_t num_queues; /* 0: 1 */
	uint16_t queue_size; /* power of 2, at least 4; 0: default */
	uint32_t max_request; /* bytes of data, 0: default */
	enum vhx_io_kind io;
};

/*
 * Opens the image, checks and locks it. Takes config->fd over, but only on success; copies the rest.
 * @log and @loop must outlive the device. The device is ended with its ops->close(), which waits for
 * I/O that is still in flight and drops its requests.
 *
 * Errors as vhx_image_open(), and -EINVAL for a configuration that cannot be; @err says it in one
 * line that starts with the id.
 *
 * For the backend: priv[] of a request is zero when it is submitted for the first time, and kept
 * as it is when submit is repeated after -EAGAIN.
 */
int vhx_blk_new(struct vhx_loop *loop, const struct vhx_blk_config *config,
		const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
