/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One port of a console device: a byte stream each way between two queues and an end on the host. Private to
 * console.c and console_port.c.
 *
 *   guest -> host   request -> the end, as far as it takes -> the buffer, as far as it has room -> held
 *   host -> guest   the end -> the oldest posted request; nothing is read without one
 */
#ifndef VHX_DEVICE_CONSOLE_PORT_H
#define VHX_DEVICE_CONSOLE_PORT_H

#include "backend/device.h"
#include "device/console.h"
#include "device/console_end.h"

/* Output that the end did not take yet: a ring. */
struct vhx_console_buffer {
	uint8_t *bytes;
	uint32_t size, head, len;
	bool drop; /* room is made by dropping the oldest */
	uint64_t dropped;
};

struct vhx_console_port {
	struct vhx_device *dev;
	unsigned int index;
	char name[VHX_CONSOLE_NAME_MAX];
	struct vhx_console_end end;
	struct vhx_console_buffer buffer;
	struct vhx_list posted; /* receive requests, oldest first */
	struct vhx_list held; /* output requests; priv[0]: bytes that are out or in the buffer */
	bool accepts; /* the guest takes input */
	bool no_room; /* ops->room is awaited */
	bool waiting_said; /* logged, until the end takes something again */
	struct vhx_log_limit limit;
	/* The control state, console.c's */
	bool ready, open; /* PORT_READY and PORT_OPEN of the driver */
	uint32_t pending; /* messages that the driver is owed */
};

/* Opens the end and allocates the buffer. @port is zero. Errors as vhx_console_end_open(). */
int vhx_console_port_open(struct vhx_console_port *port, const struct vhx_console_port_config *cfg,
			  uint32_t buffer, bool drop, const struct vhx_console_end_events *events,
			  struct vhx_error *err);
/* Drops what it holds. */
void vhx_console_port_close(struct vhx_console_port *port);

/* An output or a receive request: taken. */
void vhx_console_port_output(struct vhx_console_port *port, struct vhx_request *req);
void vhx_console_port_post(struct vhx_console_port *port, struct vhx_request *req);
/* A few bytes that have no request. */
void vhx_console_port_emit(struct vhx_console_port *port, const void *bytes, uint32_t len);

/* Moves what can be moved. */
void vhx_console_port_pump_in(struct vhx_console_port *port);
void vhx_console_port_pump_out(struct vhx_console_port *port);
/* Does the guest take input? */
void vhx_console_port_accept(struct vhx_console_port *port, bool accepts);

#endif
