/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Control messages: virtio-msg, draft v2 (not ratified), and the extensions of virtio-hmx in its
 * implementation-defined range. Layouts that differ between revisions of the draft belong to
 * VIRTIO_MSG_DRAFT; no other file knows them.
 */
#ifndef VHX_UAPI_VIRTIO_MSG_H
#define VHX_UAPI_VIRTIO_MSG_H

#include <vhx/endian.h>

#define VIRTIO_MSG_DRAFT 2

struct virtio_msg_header {
	uint8_t type;
	uint8_t msg_id;
	vhx_le16 dev_num;
	vhx_le16 token; /* chosen by the requester, copied into the response */
	vhx_le16 msg_size; /* with this header */
};

#define VIRTIO_MSG_TYPE_RESPONSE 0x1
#define VIRTIO_MSG_TYPE_BUS 0x2

/* Largest message that either side sends or takes, with its header (the draft's recommendation). */
#define VIRTIO_MSG_MAX 264u

/* Transport messages */
#define VIRTIO_MSG_GET_DEVICE_INFO 0x02
#define VIRTIO_MSG_GET_DEVICE_FEATURES 0x03
#define VIRTIO_MSG_SET_DRIVER_FEATURES 0x04
#define VIRTIO_MSG_GET_CONFIG 0x05
#define VIRTIO_MSG_SET_CONFIG 0x06
#define VIRTIO_MSG_GET_DEVICE_STATUS 0x07
#define VIRTIO_MSG_SET_DEVICE_STATUS 0x08
#define VIRTIO_MSG_GET_VQUEUE 0x09
#define VIRTIO_MSG_SET_VQUEUE 0x0a
#define VIRTIO_MSG_RESET_VQUEUE 0x0b
#define VIRTIO_MSG_GET_SHM 0x0c
#define VIRTIO_MSG_EVENT_CONFIG 0x40
#define VIRTIO_MSG_VHX_QUEUE_OPEN 0x80

/* Bus messages */
#define VIRTIO_MSG_BUS_GET_DEVICES 0x02
#define VIRTIO_MSG_BUS_PING 0x03
#define VIRTIO_MSG_BUS_EVENT_DEVICE 0x40
#define VIRTIO_MSG_BUS_VHX_ATTACH 0x80
#define VIRTIO_MSG_BUS_VHX_GET_NAME 0x81

struct virtio_msg_device_info {
	vhx_le32 device_id;
	vhx_le32 vendor_id;
	uint8_t uuid[16];
	vhx_le32 num_feature_blocks;
	vhx_le32 config_size;
	vhx_le32 max_virtqueues;
	vhx_le32 admin_vq_start;
	vhx_le32 admin_vq_count;
};

/* GET_DEVICE_FEATURES request; with num_blocks words behind it its response and SET_DRIVER_FEATURES. */
struct virtio_msg_features {
	vhx_le32 block_index;
	vhx_le32 num_blocks;
};

struct virtio_msg_get_config {
	vhx_le32 offset;
	vhx_le32 length;
};

/* GET_CONFIG response, SET_CONFIG both ways; length bytes follow. */
struct virtio_msg_config {
	vhx_le32 generation;
	vhx_le32 offset;
	vhx_le32 length;
};

struct virtio_msg_status {
	vhx_le32 status;
};

struct virtio_msg_vq_index {
	vhx_le32 index;
};

struct virtio_msg_get_vqueue_resp {
	vhx_le32 index;
	vhx_le32 max_size;
	vhx_le32 cur_size;
	vhx_le32 flags; /* bit 0: enabled */
	vhx_le64 descriptor, driver, device; /* always 0: no address crosses the boundary */
};

struct virtio_msg_set_vqueue {
	vhx_le32 index;
	vhx_le32 flags; /* bits 1:0: 1 enable */
	vhx_le32 size;
	vhx_le32 reserved;
	vhx_le64 descriptor, driver, device; /* 0 */
};

#define VIRTIO_MSG_VQ_ENABLE 0x1

struct virtio_msg_shm {
	vhx_le32 shmid;
	vhx_le32 reserved;
	vhx_le64 length;
	vhx_le64 address;
};

/* Config data may follow; we send none: the driver asks for what it wants. */
struct virtio_msg_event_config {
	vhx_le32 device_status;
	vhx_le32 generation;
	vhx_le32 offset;
	vhx_le32 length;
};

struct virtio_msg_get_devices {
	vhx_le16 offset;
	vhx_le16 count;
};

/* A bitmap of count bits follows. */
struct virtio_msg_get_devices_resp {
	vhx_le16 offset;
	vhx_le16 next_offset;
	vhx_le16 count;
};

struct virtio_msg_ping {
	vhx_le32 data;
};

struct virtio_msg_event_device {
	vhx_le16 dev_num;
	vhx_le16 state; /* VIRTIO_MSG_DEVICE_* */
};

#define VIRTIO_MSG_DEVICE_ADDED 1
#define VIRTIO_MSG_DEVICE_REMOVED 2

/*
 * Extension: takes a device for this channel, by the name that the operator gave it; the empty name
 * stands for the only device of a backend that has just one.
 */
#define VHX_NAME_LEN 64

struct virtio_msg_vhx_attach {
	uint8_t name[VHX_NAME_LEN]; /* zero-padded, at least one zero */
};

struct virtio_msg_vhx_attach_resp {
	vhx_le32 error; /* VHX_ATTACH_* */
	vhx_le16 dev_num;
	vhx_le16 reserved;
	uint8_t cache_id[16]; /* equal after a restart: completed, unflushed writes were not lost */
	uint8_t name[VHX_NAME_LEN];
};

#define VHX_ATTACH_OK 0
#define VHX_ATTACH_UNKNOWN 1   /* no such device */
#define VHX_ATTACH_BUSY 2      /* another channel has it, or it is being reset: try again later */
#define VHX_ATTACH_AMBIGUOUS 3 /* empty name, but several devices */

/*
 * Extension: the name of a device that GET_DEVICES listed. A driver that takes what there is finds it so;
 * numbers may change with a restart of the backend, names do not.
 */
struct virtio_msg_vhx_get_name {
	vhx_le16 dev_num;
	vhx_le16 reserved;
};

struct virtio_msg_vhx_get_name_resp {
	vhx_le32 error; /* VHX_ATTACH_OK or VHX_ATTACH_UNKNOWN */
	vhx_le16 dev_num;
	vhx_le16 reserved;
	uint8_t name[VHX_NAME_LEN];
};

/*
 * Extension: starts data on a queue that SET_VQUEUE enabled. The driver names the epoch that its AVAILs
 * will carry; the device answers with the limits.
 */
struct virtio_msg_vhx_queue_open {
	vhx_le32 index;
	vhx_le32 epoch;
};

struct virtio_msg_vhx_queue_open_resp {
	vhx_le32 index;
	vhx_le32 epoch;
	vhx_le32 error;	  /* 0, or 1: queue is not enabled */
	vhx_le32 max_out; /* bytes of one request */
	vhx_le32 max_in;
	vhx_le32 head_len; /* first out bytes of a request, which cost no window */
	/* VHX_WINDOW_UNITs of out payload in flight; covers max_out and a TOO_BIG's bytes at least once */
	vhx_le32 window;
	vhx_le32 reserved;
};

_Static_assert(sizeof(struct virtio_msg_header) == 8, "header");
_Static_assert(sizeof(struct virtio_msg_device_info) == 44, "device info");
_Static_assert(sizeof(struct virtio_msg_get_vqueue_resp) == 40, "get vqueue");
_Static_assert(sizeof(struct virtio_msg_set_vqueue) == 40, "set vqueue");
_Static_assert(sizeof(struct virtio_msg_shm) == 24, "shm");
_Static_assert(sizeof(struct virtio_msg_event_config) == 16, "event config");
_Static_assert(sizeof(struct virtio_msg_get_devices_resp) == 6, "get devices");
_Static_assert(sizeof(struct virtio_msg_vhx_attach_resp) == 88, "attach");
_Static_assert(sizeof(struct virtio_msg_vhx_get_name_resp) == 72, "get name");
_Static_assert(sizeof(struct virtio_msg_vhx_queue_open_resp) == 32, "queue open");

#endif
