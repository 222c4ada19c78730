/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Datagrams and byte streams between programs of two domains, as messages of Argo: docs/argo-streams.md.
 */
#ifndef VHX_UAPI_ARGO_STREAM_H
#define VHX_UAPI_ARGO_STREAM_H

#include <vhx/argo.h>

/* Types of Argo's messages. */
#define VHX_ARGO_DGRAM 0x44584856u /* "VHXD": nothing but the program's bytes */
#define VHX_ARGO_STREAM 0x53584856u /* "VHXS": begins with struct vhx_argo_frame */

#define VHX_ARGO_STREAM_VERSION 1u

/* What a frame is. */
#define VHX_ARGO_SYN 1u /* to a listener: a greeting follows */
#define VHX_ARGO_ACK \
	2u /* to the connector, from the port of the accepted stream: a greeting follows */
#define VHX_ARGO_DATA 3u /* at least one byte follows */
#define VHX_ARGO_FIN 4u /* there will be no more DATA */
#define VHX_ARGO_RST 5u /* the stream is over, for a reason */

/* Reasons of RST. */
#define VHX_ARGO_RST_CLOSED 1u /* the sender closed it, or died, before both had said FIN */
#define VHX_ARGO_RST_REFUSED 2u /* the listener does not take this SYN */
#define VHX_ARGO_RST_PROTOCOL 3u /* the receiver of the RST broke a rule */

struct vhx_argo_frame {
	vhx_le32 kind;
	vhx_le32 reason; /* of RST, else 0 */
	vhx_le64 key; /* that the receiver chose, and told the sender; 0 in SYN */
};

struct vhx_argo_greeting {
	vhx_le32 version;
	vhx_le32
		frame_max; /* bytes of the largest message that is to be sent here, frame included */
	vhx_le64 key; /* of the frames that are to be sent here: random, not 0 */
	vhx_le32 reserved[2];
};

/* Bounds of frame_max. Xen copies a message under the lock of its ring, without preemption. */
#define VHX_ARGO_FRAME_MIN 256u
#define VHX_ARGO_FRAME_MAX VHX_ARGO_SEND_MAX

/* 32 pages, the ring's header included. */
#define VHX_ARGO_STREAM_RING_DEFAULT 131008u

/* Between two looks of a waiting end whether its peer is still there. */
#define VHX_ARGO_STREAM_PROBE_NS 5000000000ull

_Static_assert(sizeof(struct vhx_argo_frame) == 16, "frame");
_Static_assert(sizeof(struct vhx_argo_greeting) == 24, "greeting");
_Static_assert(VHX_ARGO_STREAM_RING_DEFAULT == 32 * ARGO_PAGE_SIZE - sizeof(struct argo_ring),
	       "default ring");

#endif
