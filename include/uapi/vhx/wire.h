/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * The messages of virtio-hmx, version 1. docs/wire.md is the specification; this is its layout.
 *
 *   HELLO    header | hello
 *   CONTROL  header | one virtio-msg message            (virtio_msg.h)
 *   AVAIL    header | queue | { avail record | bytes }   frontend to backend
 *   USED     header | queue | { used record | bytes }    backend to frontend
 *   CREDIT   header
 *
 * All integers are little-endian. Records begin on 8-byte boundaries of the message; the bytes behind a
 * record are padded with zeroes to the next one. Reserved fields are zero and are checked.
 */
#ifndef VHX_UAPI_WIRE_H
#define VHX_UAPI_WIRE_H

#include <vhx/endian.h>

#define VHX_WIRE_MAGIC 0x31584856u /* "VHX1" */
#define VHX_WIRE_VERSION 1

/* Message types, carried beside the bytes by every provider. */
#define VHX_MSG_HELLO 1
#define VHX_MSG_CONTROL 2
#define VHX_MSG_AVAIL 3
#define VHX_MSG_USED 4
#define VHX_MSG_CREDIT 5
/* Unknown types in this range are skipped; any other unknown type ends the channel. */
#define VHX_MSG_OPTIONAL_FIRST 0x8000
#define VHX_MSG_OPTIONAL_LAST 0xffff

/* Opens every message. */
struct vhx_msg_header {
	vhx_le32 src_inc; /* incarnation of the sender; never 0 */
	vhx_le32 dst_inc; /* of the receiver as the sender knows it; 0 in the first HELLO only */
	vhx_le32 ack;	  /* footprint of the peer's messages consumed, free-running; 0 in HELLO */
	vhx_le32 reserved;
};

struct vhx_hello {
	struct vhx_msg_header header;
	vhx_le32 magic;
	vhx_le16 version_min;
	vhx_le16 version_max;
	vhx_le64 offered;  /* feature mask */
	vhx_le64 accepted; /* what both offer; 0 while dst_inc is 0 */
	vhx_le32 ring_len; /* footprint that may be on its way to the sender at once */
	vhx_le32 max_message; /* largest message that the sender takes */
	vhx_le64 reserved;
};

/* Feature bits of HELLO. None is needed to talk; bits that are not known are not accepted. */
#define VHX_F_FRAMING 0 /* AVAIL records carry segment lengths (reserved, not offered yet) */

/* Behind the header of AVAIL and USED: one queue per message. */
struct vhx_queue_header {
	vhx_le16 dev;
	vhx_le16 vq;
	vhx_le32 epoch;
};

struct vhx_avail_record {
	vhx_le16 id;	/* below the queue size, not in flight */
	vhx_le16 flags;
	vhx_le32 out_len; /* device-readable bytes of the request, over all its records */
	vhx_le32 in_len;  /* device-writable bytes */
	vhx_le32 chunk_len; /* of out_len, behind this record; in order, without gaps */
};

#define VHX_AVAIL_FIRST 0x1   /* begins a request; its other records do not have it */
#define VHX_AVAIL_TOO_BIG 0x2 /* over the queue's limits: this record has its first bytes, none follow */

struct vhx_used_record {
	vhx_le16 id;
	vhx_le16 flags;
	vhx_le32 in_off; /* where in the device-writable bytes the chunk belongs; never decreasing */
	vhx_le32 used_len; /* with COMPLETE: prefix that was written; else 0 */
	vhx_le32 chunk_len;
};

#define VHX_USED_COMPLETE 0x1
#define VHX_USED_GROUP 0x2 /* with COMPLETE: becomes visible together with the next completion */

#define VHX_RECORD_ALIGN 8u

/* What a message needs before its first record. */
#define VHX_DATA_HEADER_LEN (sizeof(struct vhx_msg_header) + sizeof(struct vhx_queue_header))

/*
 * Part of each ring that data never uses: eight control messages of the largest size, HELLO, and the
 * CREDITs that can be unread at once (one per quarter of the other ring).
 */
#define VHX_CREDIT_RESERVE 4096u

/* The unit in which a queue's out-payload window is counted: staging pages of the backend. */
#define VHX_WINDOW_UNIT 4096u

/* Where a provider does not tell of the peer's death: silence while something is outstanding. */
#define VHX_PING_NS 5000000000ull
#define VHX_PING_MISSES 3

/* A TOO_BIG record carries at most this many first bytes. */
#define VHX_TOO_BIG_BYTES 64u

_Static_assert(sizeof(struct vhx_msg_header) == 16, "header");
_Static_assert(sizeof(struct vhx_hello) == 56, "hello");
_Static_assert(sizeof(struct vhx_queue_header) == 8, "queue header");
_Static_assert(sizeof(struct vhx_avail_record) == 16, "avail record");
_Static_assert(sizeof(struct vhx_used_record) == 16, "used record");

#endif
