/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layouts of VirtIO 5.3 (console device), little-endian, and nothing else.
 */
#ifndef VHX_DEVICE_CONSOLE_LAYOUT_H
#define VHX_DEVICE_CONSOLE_LAYOUT_H

#include "util/base.h"
#include "vhx/endian.h"

#define VIRTIO_ID_CONSOLE 3

/* 5.3.3, bit numbers */
#define VIRTIO_CONSOLE_F_SIZE 0
#define VIRTIO_CONSOLE_F_MULTIPORT 1
#define VIRTIO_CONSOLE_F_EMERG_WRITE 2

/* 5.3.4 */
struct virtio_console_config {
	vhx_le16 cols;
	vhx_le16 rows;
	vhx_le32 max_nr_ports;
	vhx_le32 emerg_wr;
};

_Static_assert(sizeof(struct virtio_console_config) == 12, "5.3.4");

/* 5.3.2: two queues per port, and those of the control messages behind port 0's. */
#define VIRTIO_CONSOLE_CONTROL_RX 2u
#define VIRTIO_CONSOLE_CONTROL_TX 3u

/* 5.3.6.2 */
struct virtio_console_control {
	vhx_le32 id;
	vhx_le16 event;
	vhx_le16 value;
};

_Static_assert(sizeof(struct virtio_console_control) == 8, "5.3.6.2");

#define VIRTIO_CONSOLE_DEVICE_READY 0u
#define VIRTIO_CONSOLE_DEVICE_ADD 1u
#define VIRTIO_CONSOLE_DEVICE_REMOVE 2u
#define VIRTIO_CONSOLE_PORT_READY 3u
#define VIRTIO_CONSOLE_CONSOLE_PORT 4u
#define VIRTIO_CONSOLE_RESIZE 5u
#define VIRTIO_CONSOLE_PORT_OPEN 6u
#define VIRTIO_CONSOLE_PORT_NAME 7u

struct virtio_console_resize {
	vhx_le16 cols;
	vhx_le16 rows;
};

#endif
