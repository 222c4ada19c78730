/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-vsock (VirtIO 5.10): sockets of the guest, and unix sockets as their other ends on the host.
 *
 *   guest connects to CID 2, port P   -> PATH_P is connected to
 *   PATH is connected to              -> "CONNECT P\n", answered by "OK N\n", is a connection to port P of the guest
 *
 * For sockets of type SOCK_SEQPACKET, PATH.seq takes the place of PATH.
 */
#ifndef VHX_DEVICE_VSOCK_H
#define VHX_DEVICE_VSOCK_H

#include "backend/device.h"
#include "util/error.h"
#include "util/unix_socket.h"

/* Connections that a device has at a time: each one costs a descriptor and, with a slow reader, a buffer. */
#define VHX_VSOCK_CONNECTIONS_MAX 1024u
#define VHX_VSOCK_CONNECTIONS_DEFAULT 256u
/* What a guest may send ahead of the reader of a connection, and what is kept for that reader. */
#define VHX_VSOCK_BUFFER_MIN 4096u
#define VHX_VSOCK_BUFFER_MAX (1024u * 1024)
#define VHX_VSOCK_BUFFER_DEFAULT (128u * 1024)
/* A message has to fit what a unix socket takes at once, 208 KiB by default, with room for its own overhead. */
#define VHX_VSOCK_MESSAGE_MAX (128u * 1024)
#define VHX_VSOCK_QUEUE_SIZE_MAX 1024u
#define VHX_VSOCK_CID_DEFAULT 3u
/* Behind the path: ".seq", "_", ten digits. */
#define VHX_VSOCK_PATH_MAX (VHX_UNIX_PATH_MAX - 15)

struct vhx_vsock_config {
	const char *id;
	const char *path; /* below VHX_VSOCK_PATH_MAX bytes, with its NUL */
	uint32_t guest_cid; /* 0: VHX_VSOCK_CID_DEFAULT */
	bool seqpacket;
	uint16_t connections; /* 0: VHX_VSOCK_CONNECTIONS_DEFAULT */
	uint32_t buffer; /* 0: VHX_VSOCK_BUFFER_DEFAULT */
	int connector; /* a socket to who connects, see device/vsock_connect.h; -1: nobody does */
	uint16_t queue_size; /* 0: VHX_VSOCK_QUEUE_SIZE_MAX */
};

/*
 * Listens on the paths. 0; what listening says, or -ENOMEM, with one line that starts with the id. Copies @config
 * and, on success, takes the connector over. @log and @loop must outlive the device, which its ops->close() ends.
 */
int vhx_vsock_new(struct vhx_loop *loop, const struct vhx_vsock_config *config,
		  const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
