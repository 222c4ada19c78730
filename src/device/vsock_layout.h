/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layouts of VirtIO 5.10 (socket device), little-endian, and nothing else.
 */
#ifndef VHX_DEVICE_VSOCK_LAYOUT_H
#define VHX_DEVICE_VSOCK_LAYOUT_H

#include "util/base.h"
#include "vhx/endian.h"

#define VIRTIO_ID_VSOCK 19

/* 5.10.3, bit numbers */
#define VIRTIO_VSOCK_F_STREAM 0
#define VIRTIO_VSOCK_F_SEQPACKET 1

/* 5.10.4 */
struct virtio_vsock_config {
	vhx_le64 guest_cid;
};

/* 5.10.4: whose numbers are not a guest's. */
#define VIRTIO_VSOCK_CID_HOST 2u
#define VIRTIO_VSOCK_CID_GUEST_MIN 3u
#define VIRTIO_VSOCK_CID_GUEST_MAX 0xfffffffeu

/* 5.10.6 */
struct virtio_vsock_hdr {
	vhx_le64 src_cid;
	vhx_le64 dst_cid;
	vhx_le32 src_port;
	vhx_le32 dst_port;
	vhx_le32 len;
	vhx_le16 type;
	vhx_le16 op;
	vhx_le32 flags;
	vhx_le32 buf_alloc;
	vhx_le32 fwd_cnt;
} __attribute__((packed));

_Static_assert(sizeof(struct virtio_vsock_hdr) == 44, "5.10.6");

enum virtio_vsock_type {
	VIRTIO_VSOCK_TYPE_STREAM = 1,
	VIRTIO_VSOCK_TYPE_SEQPACKET = 2,
};

enum virtio_vsock_op {
	VIRTIO_VSOCK_OP_INVALID,
	VIRTIO_VSOCK_OP_REQUEST,
	VIRTIO_VSOCK_OP_RESPONSE,
	VIRTIO_VSOCK_OP_RST,
	VIRTIO_VSOCK_OP_SHUTDOWN,
	VIRTIO_VSOCK_OP_RW,
	VIRTIO_VSOCK_OP_CREDIT_UPDATE,
	VIRTIO_VSOCK_OP_CREDIT_REQUEST,
	VIRTIO_VSOCK_OP_CNT,
};

/* 5.10.6.6.3, of SHUTDOWN: what its sender will not do any more. */
#define VIRTIO_VSOCK_SHUTDOWN_RCV 1u
#define VIRTIO_VSOCK_SHUTDOWN_SEND 2u
#define VIRTIO_VSOCK_SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* 5.10.6.6.4, of RW on a seqpacket socket: the last bytes of a message, and of a record. */
#define VIRTIO_VSOCK_SEQ_EOM 1u
#define VIRTIO_VSOCK_SEQ_EOR 2u

/* 5.10.6.7 */
struct virtio_vsock_event {
	vhx_le32 id;
};

#define VIRTIO_VSOCK_EVENT_TRANSPORT_RESET 0

#endif
