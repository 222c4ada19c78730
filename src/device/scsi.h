/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-scsi (VirtIO 5.6): one target whose logical units are raw files or block devices.
 */
#ifndef VHX_DEVICE_SCSI_H
#define VHX_DEVICE_SCSI_H

#include "backend/device.h"
#include "device/io.h"
#include "util/error.h"

#define VHX_SCSI_LUNS_MAX 16u
/* Request queues: a device has 64, of which two are for control and events. */
#define VHX_SCSI_QUEUES_MAX 62u
#define VHX_SCSI_QUEUE_SIZE_MAX 1024u
#define VHX_SCSI_QUEUE_SIZE_DEFAULT 256u
#define VHX_SCSI_SERIAL_MAX 36u
/* Largest payload of a command. The upper bound is what one readv(2) takes, less a page for the response. */
#define VHX_SCSI_DATA_MIN 4096u
#define VHX_SCSI_DATA_DEFAULT (1024u * 1024)
#define VHX_SCSI_DATA_MAX (4092u * 1024)

struct vhx_scsi_config {
	const char *id;
	struct {
		const char *path;
		const char *
			serial; /* at most VHX_SCSI_SERIAL_MAX bytes; NULL: made from the identity of the medium */
		bool readonly;
	} luns[VHX_SCSI_LUNS_MAX];
	unsigned int lun_cnt; /* LUN 0 to lun_cnt - 1 */
	bool direct;
	bool handover; /* images are locked only while a driver uses them; see medium.c */
	bool no_discard; /* units are not thin: no UNMAP, WRITE SAME never deallocates */
	uint16_t num_queues; /* of requests; 0: 1 */
	uint16_t queue_size; /* power of 2, at least 4; 0: default */
	uint32_t max_request; /* bytes of data, 0: default */
	enum vhx_io_kind io;
};

/*
 * Opens, checks and locks the images; copies what it needs of the config. As vhx_blk_new() otherwise: @err is one line
 * that starts with the id, and names the unit.
 */
int vhx_scsi_new(struct vhx_loop *loop, const struct vhx_scsi_config *config,
		 const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
