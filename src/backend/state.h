/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The objects of a backend, for the files that share them. Private to src/backend; backend.c says how they live.
 */
#ifndef VHX_BACKEND_STATE_H
#define VHX_BACKEND_STATE_H

#include "backend/backend.h"
#include "backend/queue.h"
#include "core/vdev.h"
#include "link/link.h"

enum bdev_state {
	BDEV_FREE,
	BDEV_ATTACHED,
	BDEV_DRAINING,
	BDEV_STATE_CNT_,
};

struct vhx_backend_device {
	struct vhx_backend *backend;
	struct vhx_device *dev;
	uint16_t dev_num;
	enum bdev_state state;
	struct backend_channel *channel; /* while ATTACHED */
	struct vhx_vdev vdev;
	bool removing; /* nobody finds it any more; freed as soon as it is FREE */
	bool resetting; /* all queues close for a device reset or a lost channel */
	uint32_t closing;
	struct vhx_queue *queues;
	struct vhx_backend_stats stats;
};

struct backend_channel {
	struct vhx_backend *backend;
	struct vhx_link link;
	struct vhx_list node;
	uint64_t
		removed; /* bit per device number: had, and removed by the operator; what is under way to it is stale */
	uint32_t next; /* device whose queues are pumped first: round-robin */
};

struct vhx_backend {
	struct vhx_backend_config cfg;
	struct vhx_backend_device *devices[VHX_BACKEND_DEVICES_MAX]; /* by number; NULL: none */
	uint32_t slot_cnt; /* numbers from here on were never given */
	uint32_t device_cnt; /* that can be found */
	bool device_over; /* one that is removing has become FREE */
	struct vhx_list channels;
	uint32_t channel_cnt;
	uint16_t channel_next; /* what a trace tells channels apart by */
	struct vhx_log_limit lines;
	struct vhx_loop_hook reaper;
	struct vhx_list dead; /* channels that went down in this pass */
	void (*idle)(void *ctx);
	void *idle_ctx;
};

/* For every line, see above. */
#define vhx_backend_log(b, level, ...) \
	vhx_log_limited((b)->cfg.log, &(b)->lines, vhx_loop_now((b)->cfg.loop), level, __VA_ARGS__)

/* Is there a device of this number that a frontend may hear of? NULL if not. */
static inline struct vhx_backend_device *vhx_backend_device_at(const struct vhx_backend *b,
							       uint32_t num)
{
	struct vhx_backend_device *bdev = num < b->slot_cnt ? b->devices[num] : NULL;

	return bdev && !bdev->removing ? bdev : NULL;
}

/* bus.c: a request that is not for a device. */
void vhx_backend_bus_request(struct backend_channel *ch, const struct vhx_control *req);
/* NULL: none has this name. */
struct vhx_backend_device *vhx_backend_device_named(const struct vhx_backend *b, const char *name);
/* Tells the channels that it is for; @state: VIRTIO_MSG_DEVICE_ADDED or _REMOVED. */
void vhx_backend_bus_event(const struct vhx_backend_device *bdev, uint16_t state);

#endif
