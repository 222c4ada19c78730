/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-console (VirtIO 5.3): port 0 is a console, further ones are named byte streams.
 */
#ifndef VHX_DEVICE_CONSOLE_H
#define VHX_DEVICE_CONSOLE_H

#include "backend/device.h"
#include "util/error.h"

#define VHX_CONSOLE_PORTS_MAX 16u
#define VHX_CONSOLE_NAME_MAX \
	48u /* of a port, with its NUL: a message of it fits a completion's tail */
#define VHX_CONSOLE_QUEUE_SIZE_MAX 1024u
/* A write(2) of Linux' driver brings 32 KiB at most; splice(2) brings 64. */
#define VHX_CONSOLE_OUT_MAX (128u * 1024)
#define VHX_CONSOLE_BUFFER_DEFAULT (64u * 1024)

struct vhx_console_port_config {
	const char *end; /* "pty:/run/c", see device/console_end.h */
	const char *name; /* NULL or "": none */
};

struct vhx_console_config {
	const char *id;
	struct vhx_console_port_config ports[VHX_CONSOLE_PORTS_MAX];
	unsigned int port_cnt; /* at least 1 */
	uint16_t cols, rows; /* of port 0 where its end has no window; 0: not told */
	uint32_t buffer; /* bytes of output kept per port; 0: default */
	bool drop; /* when that is full, the oldest output goes; else the guest waits */
	uint16_t queue_size; /* 0: VHX_CONSOLE_QUEUE_SIZE_MAX */
};

/*
 * Opens all ends. 0; what opening them says, or -ENOMEM, with one line that starts with the id and names the
 * port. Copies @config. @log and @loop must outlive the device, which its ops->close() ends.
 */
int vhx_console_new(struct vhx_loop *loop, const struct vhx_console_config *config,
		    const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
