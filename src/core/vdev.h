/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's half of the VirtIO state machine: status, features, config generation, queue set-up and
 * reset (VirtIO 2.1, 2.2, 2.4 to 2.6, 3.1), driven by virtio-msg control messages. Sans I/O.
 *
 * Objects: one struct vhx_vdev per device, owned by the backend, which also owns the config bytes. What
 * has to happen outside (start a queue, stop everything, tell the model its features) goes through the
 * ops; none of them blocks.
 *
 * Resets take time: the medium must be untouchable before the driver hears of it. device_reset and
 * queue_reset therefore end later, in vhx_vdev_reset_done() and vhx_vdev_queue_reset_done(), which yield
 * the response. Until then the device is `resetting`; a second reset request waits for the same end and
 * has the answer, a queue's reset ends with the device's and has none of its own, and everything else that
 * comes is answered from the state as it is.
 *
 * A driver that breaks the sequence harms itself: invalid values change nothing and are answered as the
 * draft says; nothing here can fail.
 */
#ifndef VHX_CORE_VDEV_H
#define VHX_CORE_VDEV_H

#include "wire/control.h"

#define VHX_VDEV_QUEUES_MAX 64u /* bounds the tables; more than any guest of ours has CPUs for */

/* VirtIO 2.1 */
#define VHX_STATUS_ACKNOWLEDGE 1u
#define VHX_STATUS_DRIVER 2u
#define VHX_STATUS_DRIVER_OK 4u
#define VHX_STATUS_FEATURES_OK 8u
#define VHX_STATUS_NEEDS_RESET 64u
#define VHX_STATUS_FAILED 128u

/* Feature bits that cross the boundary besides the device's own (VirtIO 6). */
#define VHX_FEATURE_VERSION_1 (1ull << 32)
#define VHX_FEATURE_RING_RESET (1ull << 40)
/* Bits 24 to 49 belong to the side that owns the vring. */
#define VHX_FEATURES_RING (((1ull << 50) - 1) & ~((1ull << 24) - 1))
#define VHX_FEATURES_CROSSING (VHX_FEATURE_VERSION_1 | VHX_FEATURE_RING_RESET)

struct vhx_vdev_queue {
	uint16_t size; /* 0: not set up */
	bool enabled;
	bool open; /* QUEUE_OPEN was answered: data may come */
	bool resetting;
	uint32_t epoch;
	struct vhx_control reset_request; /* to be answered, while @resetting */
};

struct vhx_vdev_limits {
	uint32_t max_out, max_in, head_len, window;
};

struct vhx_vdev_ops {
	/* 0, or refused: FEATURES_OK will not be confirmed. */
	int (*set_features)(void *ctx, uint64_t features);
	int (*set_config)(void *ctx, uint32_t off, const void *buf, uint32_t len);
	void (*queue_open)(void *ctx, uint16_t index, uint16_t size, uint32_t epoch);
	/* Both end in their _done function, now or later. */
	void (*queue_reset)(void *ctx, uint16_t index);
	void (*device_reset)(void *ctx);
	void (*limits)(void *ctx, uint16_t index, struct vhx_vdev_limits *limits);
};

struct vhx_vdev {
	const struct vhx_vdev_ops *ops;
	void *ctx;
	uint32_t device_id;
	uint8_t uuid[16];
	uint64_t features; /* offered, with VERSION_1 and RING_RESET */
	uint64_t driver_features;
	uint8_t status;
	uint16_t num_queues, queue_size_max;
	const uint8_t *config;
	uint32_t config_len;
	uint32_t generation;
	bool resetting;
	struct vhx_control reset_request;
	struct vhx_vdev_queue queues[VHX_VDEV_QUEUES_MAX];
};

void vhx_vdev_init(struct vhx_vdev *d, const struct vhx_vdev_ops *ops, void *ctx);

/* A transport request for this device. 1: @resp is filled; 0: no answer now (a reset runs). */
int vhx_vdev_request(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp);

/* Partners of device_reset and queue_reset. True: @resp answers the driver. */
bool vhx_vdev_reset_done(struct vhx_vdev *d, struct vhx_control *resp);
bool vhx_vdev_queue_reset_done(struct vhx_vdev *d, uint16_t index, struct vhx_control *resp);

/* The driver is gone: back to the state after reset, without anybody to answer. */
void vhx_vdev_orphan(struct vhx_vdev *d);

/* The config changed: bumps the generation and fills the event for the driver. */
void vhx_vdev_config_event(struct vhx_vdev *d, uint16_t dev_num, struct vhx_control *event);

#endif
