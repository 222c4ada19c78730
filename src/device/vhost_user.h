/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bridge: a device of any message-safe type, served by a vhost-user back-end program that was written for a VMM,
 * as if we were that VMM. docs/bridge.md draws it.
 */
#ifndef VHX_DEVICE_VHOST_USER_H
#define VHX_DEVICE_VHOST_USER_H

#include "backend/device.h"
#include "device/bridge_type.h"
#include "util/error.h"

#define VHX_BRIDGE_TAG_LEN 36u /* VirtIO 5.11.4 */
#define VHX_BRIDGE_QUEUES_MAX 64u
#define VHX_BRIDGE_QUEUE_SIZE_MAX 1024u

/* How the device comes to a connection: again and again, since back-ends end. */
struct vhx_bridge_connector {
	/* A connected, non-blocking stream socket; or negative, with a text. Must not wait, but for the first time. */
	int (*connect)(void *ctx, struct vhx_error *err);
	void (*release)(void *ctx); /* the device is over. NULL: nothing is to be done */
	void *ctx;
};

struct vhx_bridge_config {
	const char *id;
	uint32_t device_id; /* VirtIO 5 */
	const char *name; /* for the log: the socket's path */
	struct vhx_bridge_connector connector;
	uint16_t queues; /* 0: as many as the back-end says, or its type has */
	uint16_t queue_size; /* the driver's limit; 0: VHX_BRIDGE_QUEUE_SIZE_MAX */
	bool split; /* no packed ring, even if the back-end has it */
	/*
	 * Completed writes survive the end of the back-end, since they are the kernel's then. Otherwise a device with
	 * writes that no flush has covered fails when its back-end ends.
	 */
	bool host_cache;
	/* Where VMMs and not back-ends have the config space */
	char tag[VHX_BRIDGE_TAG_LEN + 1]; /* fs */
	uint8_t mac[6]; /* net; zeroes: none */
	uint16_t mtu; /* net; 0: not told */
};

/*
 * Connects, and asks the back-end what it is: for at most VHX_BRIDGE_START_MS. 0; -EOPNOTSUPP (a type that cannot be
 * bridged), -ECONNREFUSED, -ETIMEDOUT, -EPROTO, ...: @err says it in one line that starts with the id. The
 * connector is released then. Copies @config. @log and @loop outlive the device, which its ops->close() ends.
 */
#define VHX_BRIDGE_START_MS 10000
int vhx_bridge_new(struct vhx_loop *loop, const struct vhx_bridge_config *config,
		   const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
