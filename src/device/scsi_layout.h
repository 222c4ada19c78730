/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layouts of VirtIO 5.6 (SCSI host device), little-endian, and nothing else. What a CDB and the data of a command
 * look like, big-endian, is scsi_cdb.h.
 */
#ifndef VHX_DEVICE_SCSI_LAYOUT_H
#define VHX_DEVICE_SCSI_LAYOUT_H

#include "util/base.h"
#include "vhx/endian.h"

#define VIRTIO_ID_SCSI 8

/* 5.6.2, queues */
#define VIRTIO_SCSI_CONTROLQ 0u
#define VIRTIO_SCSI_EVENTQ 1u
#define VIRTIO_SCSI_REQUESTQ 2u /* the first of them */

/* 5.6.3, bit numbers */
#define VIRTIO_SCSI_F_INOUT 0
#define VIRTIO_SCSI_F_HOTPLUG 1
#define VIRTIO_SCSI_F_CHANGE 2
#define VIRTIO_SCSI_F_T10_PI 3

/* 5.6.4: what a reset makes of the two fields that a driver may write */
#define VIRTIO_SCSI_SENSE_DEFAULT 96u
#define VIRTIO_SCSI_CDB_DEFAULT 32u

#define VIRTIO_SCSI_LUN_LEN 8u

struct virtio_scsi_config {
	vhx_le32 num_queues;
	vhx_le32 seg_max;
	vhx_le32 max_sectors;
	vhx_le32 cmd_per_lun;
	vhx_le32 event_info_size;
	vhx_le32 sense_size;
	vhx_le32 cdb_size;
	vhx_le16 max_channel;
	vhx_le16 max_target;
	vhx_le32 max_lun;
};

/* 5.6.6.1: the readable head of a command, and what it is answered with in front of its data */
struct virtio_scsi_cmd_req {
	uint8_t lun[VIRTIO_SCSI_LUN_LEN];
	uint8_t id[8]; /* a number, little-endian; not aligned */
	uint8_t task_attr;
	uint8_t prio;
	uint8_t crn;
	uint8_t cdb[VIRTIO_SCSI_CDB_DEFAULT];
};

struct virtio_scsi_cmd_resp { /* sense_size bytes of sense follow */
	vhx_le32 sense_len;
	vhx_le32 resid;
	vhx_le16 status_qualifier;
	uint8_t status;
	uint8_t response;
};

/* 5.6.6.1, 5.6.6.2: response */
#define VIRTIO_SCSI_S_OK 0u
#define VIRTIO_SCSI_S_FUNCTION_COMPLETE 0u
#define VIRTIO_SCSI_S_OVERRUN 1u
#define VIRTIO_SCSI_S_ABORTED 2u
#define VIRTIO_SCSI_S_BAD_TARGET 3u
#define VIRTIO_SCSI_S_RESET 4u
#define VIRTIO_SCSI_S_FAILURE 9u
#define VIRTIO_SCSI_S_FUNCTION_SUCCEEDED 10u
#define VIRTIO_SCSI_S_FUNCTION_REJECTED 11u
#define VIRTIO_SCSI_S_INCORRECT_LUN 12u

/* 5.6.6.2: requests of the control queue */
#define VIRTIO_SCSI_T_TMF 0u
#define VIRTIO_SCSI_T_AN_QUERY 1u
#define VIRTIO_SCSI_T_AN_SUBSCRIBE 2u

#define VIRTIO_SCSI_T_TMF_ABORT_TASK 0u
#define VIRTIO_SCSI_T_TMF_ABORT_TASK_SET 1u
#define VIRTIO_SCSI_T_TMF_CLEAR_ACA 2u
#define VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET 3u
#define VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET 4u
#define VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET 5u
#define VIRTIO_SCSI_T_TMF_QUERY_TASK 6u
#define VIRTIO_SCSI_T_TMF_QUERY_TASK_SET 7u

struct virtio_scsi_ctrl_tmf {
	vhx_le32 type;
	vhx_le32 subtype;
	uint8_t lun[VIRTIO_SCSI_LUN_LEN];
	uint8_t id[8];
};

struct virtio_scsi_ctrl_an {
	vhx_le32 type;
	uint8_t lun[VIRTIO_SCSI_LUN_LEN];
	vhx_le32 event_requested;
};

struct virtio_scsi_ctrl_an_resp { /* 5 bytes: what C adds is not sent */
	vhx_le32 event_actual;
	uint8_t response;
};

#define VIRTIO_SCSI_AN_RESP_LEN 5u

/* 5.6.6.3 */
#define VIRTIO_SCSI_T_PARAM_CHANGE 3u

struct virtio_scsi_event {
	vhx_le32 event;
	uint8_t lun[VIRTIO_SCSI_LUN_LEN];
	vhx_le32 reason;
};

#define VIRTIO_SCSI_AT(type, member, at) \
	_Static_assert(offsetof(struct type, member) == (at), #type "." #member)

_Static_assert(sizeof(struct virtio_scsi_config) == 36, "virtio_scsi_config");
VIRTIO_SCSI_AT(virtio_scsi_config, max_sectors, 8);
VIRTIO_SCSI_AT(virtio_scsi_config, sense_size, 20);
VIRTIO_SCSI_AT(virtio_scsi_config, cdb_size, 24);
VIRTIO_SCSI_AT(virtio_scsi_config, max_target, 30);
VIRTIO_SCSI_AT(virtio_scsi_config, max_lun, 32);
_Static_assert(sizeof(struct virtio_scsi_cmd_req) == 51, "virtio_scsi_cmd_req");
VIRTIO_SCSI_AT(virtio_scsi_cmd_req, id, 8);
VIRTIO_SCSI_AT(virtio_scsi_cmd_req, cdb, 19);
_Static_assert(sizeof(struct virtio_scsi_cmd_resp) == 12, "virtio_scsi_cmd_resp");
VIRTIO_SCSI_AT(virtio_scsi_cmd_resp, status, 10);
VIRTIO_SCSI_AT(virtio_scsi_cmd_resp, response, 11);
_Static_assert(sizeof(struct virtio_scsi_ctrl_tmf) == 24, "virtio_scsi_ctrl_tmf");
VIRTIO_SCSI_AT(virtio_scsi_ctrl_tmf, id, 16);
_Static_assert(sizeof(struct virtio_scsi_ctrl_an) == 16, "virtio_scsi_ctrl_an");
VIRTIO_SCSI_AT(virtio_scsi_ctrl_an_resp, response, 4);
_Static_assert(sizeof(struct virtio_scsi_event) == 16, "virtio_scsi_event");
VIRTIO_SCSI_AT(virtio_scsi_event, reason, 12);

#endif
