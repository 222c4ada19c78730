/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of a VDUSE device, as the kernel sees it (linux/vduse.h).
 *
 * A vhx_vduse_device owns the descriptor of one that exists. It answers the kernel's requests, knows the driver's
 * memory and the rings, and tells its owner through struct vhx_vduse_ops what the driver wants; it knows nothing of
 * exchanges or backends. The owner does all waiting: it watches the descriptors and says when they are ready.
 *
 * Time. The kernel gives a device up that does not answer within 30 s (its msg_timeout), for good. A reset may have
 * to wait for a backend: the op returns -EINPROGRESS, nothing is read until the owner calls
 * vhx_vduse_device_finish(), and the owner bounds that time.
 *
 * Trust. The requests are the kernel's. What the rings hold is the driver's, who is the kernel or, behind vhost_vdpa,
 * any process that may open that: every ring and address is checked as if it came from a guest.
 */
#ifndef VHX_VDUSE_DEVICE_H
#define VHX_VDUSE_DEVICE_H

#include "ring/ring.h"
#include "util/log.h"
#include "vduse/control.h"

struct vhx_vduse_device;

/* One virtqueue as the driver set it up. */
struct vhx_vduse_queue {
	struct vhx_vring ring; /* valid while @started */
	uint16_t index;
	uint16_t size;
	bool started;
	int kick_fd; /* ours, for as long as the device; readable: the driver notified */
};

struct vhx_vduse_ops {
	/* The driver's choice, a subset of what was offered. Negative: refused, and the driver is told. */
	int (*set_features)(void *ctx, uint64_t features);
	/* The queue is live: pop once now. Negative: it cannot be served. */
	int (*queue_start)(void *ctx, struct vhx_vduse_queue *q);
	/*
	 * The driver has reset the device: nobody touches its rings and its memory from here on. -EINPROGRESS: the
	 * driver must not go on yet.
	 */
	int (*reset)(void *ctx);
	/*
	 * Addresses mean other memory: the accessor knows the new one, pointers from the old one work until this
	 * returns. The owner walks again what it holds.
	 */
	void (*mem_changed)(void *ctx);
	/* With the new memory its ring is nowhere: the queue is over. */
	void (*queue_lost)(void *ctx, struct vhx_vduse_queue *q);
};

struct vhx_vduse_config {
	const struct vhx_vduse_ops *ops;
	void *ctx;
	const struct vhx_log *log;
	const char *name; /* for the log */
	uint64_t features; /* as offered */
	uint16_t queues;
	uint16_t queue_size; /* the most that a driver may choose */
	uint32_t config_len;
};

/* @fd is that of vhx_vduse_open(), taken over, also when it fails. The device can be bound when this returns. */
int vhx_vduse_device_new(const struct vhx_vduse_config *cfg, int fd, struct vhx_vduse_device **dev);
/* The driver is not told, and waits for a successor. */
void vhx_vduse_device_free(struct vhx_vduse_device *d);

/* To be watched for input, and -EPIPE from this when the kernel has given the device up. Never blocks. */
int vhx_vduse_device_fd(const struct vhx_vduse_device *d);
int vhx_vduse_device_event(struct vhx_vduse_device *d, bool error);
/* Ends a reset that returned -EINPROGRESS. */
void vhx_vduse_device_finish(struct vhx_vduse_device *d);

/* The whole config space as it is now; the driver is notified. */
void vhx_vduse_device_config(struct vhx_vduse_device *d, const uint8_t *config, uint32_t len);

struct vhx_vduse_queue *vhx_vduse_device_queue(struct vhx_vduse_device *d, uint16_t index);

/* The kick descriptor is readable: takes the notification, and starts the queue if it is there by now. */
bool vhx_vduse_queue_kicked(struct vhx_vduse_queue *q);
/* Publishes what was pushed into the ring, and notifies the driver where it wants that. */
void vhx_vduse_queue_flush(struct vhx_vduse_queue *q);

/*
 * The kernel refuses notifications until it has seen our answer to DRIVER_OK. True: some are still owed; call again
 * after a moment.
 */
bool vhx_vduse_device_owes(struct vhx_vduse_device *d);
bool vhx_vduse_device_notify_again(struct vhx_vduse_device *d);

#endif
