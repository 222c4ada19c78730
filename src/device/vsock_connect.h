/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a vsock device says to the process that connects for it, and what that one answers: packets on a socket of
 * type SOCK_SEQPACKET. A confined backend connects to nothing by itself; it can ask for a port, and nothing else. The
 * one asked knows the path, and makes of it and the port the only name that it connects to.
 */
#ifndef VHX_DEVICE_VSOCK_CONNECT_H
#define VHX_DEVICE_VSOCK_CONNECT_H

#include "util/base.h"

struct vhx_vsock_ask {
	uint64_t tag; /* the asker's own; the answer has it again */
	uint32_t port;
	uint32_t seqpacket; /* 0 or 1 */
};

struct vhx_vsock_answer {
	uint64_t tag;
	int32_t result; /* 0: a connected, non-blocking descriptor comes with it. Or a negative errno */
};

#endif
