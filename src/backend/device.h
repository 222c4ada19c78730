/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device model sees: requests, never a ring, a channel or a guest address.
 *
 * A device is one file in src/device with one const ops table. It gets requests, completes them in any
 * order, and lives in one thread, that of its loop. A request is two byte strings: what the driver wrote
 * (`out`, complete when the device sees it) and room for an answer (`in`, a capacity). VirtIO forbids a
 * device to rely on how they were framed.
 *
 * Life of a request, seen from the device:
 *
 *   submit(req) ---> [works] ---> vhx_request_complete()          buffers of req die here
 *        |                ^
 *        |                +--- vhx_request_in_reserve()/_commit(): bytes straight into the outgoing
 *        |                     message, for data that is there without waiting
 *        +--> -EAGAIN: no room for the answer now; the backend calls submit again, in order
 *
 * Reset. reset(q) asks that nothing of the queue can touch the medium any more; requests that are still
 * with the device are completed or dropped by it first, then vhx_queue_quiesced() is called. The answer
 * to the driver waits for that.
 */
#ifndef VHX_BACKEND_DEVICE_H
#define VHX_BACKEND_DEVICE_H

#include <sys/uio.h>

#include "loop/loop.h"
#include "util/base.h"
#include "util/list.h"
#include "util/log.h"

#define VHX_DEVICE_ID_MAX 64u	  /* name given by the operator, with its NUL */
#define VHX_DEVICE_CONFIG_MAX 256u /* largest config space of the types that we know */
#define VHX_REQUEST_HEAD_MAX 64u  /* out bytes kept apart, so that the rest is page-aligned */
#define VHX_PAGE 4096u

struct vhx_device;
struct vhx_queue; /* backend's; opaque to devices */

/* Device models embed nothing: the backend owns the memory of requests. */
struct vhx_request {
	struct vhx_device *dev;
	struct vhx_queue *queue;
	uint16_t id;
	bool too_big;	  /* over the announced limits: out holds the first bytes only */
	uint32_t out_len; /* bytes that the driver made readable */
	uint32_t in_len;  /* bytes that it made writable */
	/* The out bytes: the first min(out_len, head_len) in @head, the others in @out, whole pages each but
	 * the last. Private copies, the driver cannot change them. */
	uint8_t head[VHX_REQUEST_HEAD_MAX];
	const struct iovec *out;
	unsigned int out_cnt;
	/* For the device: a list of its own, and words for its own state: zero when submit first sees them. */
	struct vhx_list node;
	uint64_t priv[4];
	/* The staging that vhx_request_in_buffer() gave. */
	struct iovec *in;
	unsigned int in_cnt;
};

struct vhx_device_ops {
	const char *name;	/* "blk" */
	uint32_t device_id;	/* VirtIO 5: the device type */
	uint32_t head_len;	/* out bytes to keep apart, at most VHX_REQUEST_HEAD_MAX */
	/* 0: taken. -EAGAIN: see above; nothing was taken. Nothing else. */
	int (*submit)(struct vhx_device *dev, struct vhx_request *req);
	/* All requests of this pass were submitted: start what was gathered (one io_uring_enter). */
	void (*kick)(struct vhx_device *dev);
	/* Reset of one queue, see above. Calls vhx_queue_quiesced() now or later, exactly once. */
	void (*reset)(struct vhx_device *dev, struct vhx_queue *queue);
	/* The driver has chosen (FEATURES_OK). 0, or -EINVAL: FEATURES_OK is not confirmed. */
	int (*set_features)(struct vhx_device *dev, uint64_t features);
	/* The driver wrote [off, off + len) of the config space, already within its size. 0 or refused. */
	int (*set_config)(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len);
	void (*close)(struct vhx_device *dev);
};

/* Device models embed this first. The fields down to @log are set by the model before it is attached. */
struct vhx_device {
	const struct vhx_device_ops *ops;
	char id[VHX_DEVICE_ID_MAX];
	uint64_t features; /* device bits 0-23 and 50-63 that it offers */
	uint16_t num_queues;
	uint16_t queue_size_max;
	uint32_t max_out, max_in; /* largest request; larger ones arrive with too_big */
	uint8_t config[VHX_DEVICE_CONFIG_MAX]; /* config space, VirtIO little-endian layout */
	uint32_t config_len;
	uint8_t uuid[16];     /* stable over restarts of the backend: identifies the medium */
	uint8_t cache_id[16]; /* equal while completed, unflushed writes survive the backend's death */
	uint64_t memory;      /* bytes that the model allocated, for the stats */
	const struct vhx_log *log;
	struct vhx_loop *loop;
	struct vhx_backend_device *backend; /* NULL while not attached; the backend's */
};

/* The config space changed (resize): bumps the generation, tells the driver. Only from the loop's thread. */
void vhx_device_config_changed(struct vhx_device *dev);

/*
 * @len contiguous bytes at @in_off of the answer, in the outgoing message itself: fill them at once,
 * without waiting, then vhx_request_in_commit() with how many became valid (from the start; at most
 * @len) or 0 to cancel. Nothing else may be called in between. NULL: no room for @len now (or the
 * provider cannot): use vhx_request_in_buffer(), or return -EAGAIN from submit when *@later is set true: then
 * room is certain to come.
 */
void *vhx_request_in_reserve(struct vhx_request *req, uint32_t in_off, uint32_t len, bool *later);
void vhx_request_in_commit(struct vhx_request *req, uint32_t len);

/*
 * Staging for in bytes [in_off, in_off + len): whole pages in req->in, for data that must be waited for.
 * Sent with the completion. 0; or -EAGAIN, out of staging now: return -EAGAIN from submit, room will come.
 * At most once per request.
 */
int vhx_request_in_buffer(struct vhx_request *req, uint32_t in_off, uint32_t len);

/*
 * Ends the request. First @valid bytes of the staging, if any, go out; then @tail_len bytes of @tail at
 * @tail_off of the answer (a status byte; at most VHX_TAIL_MAX). @used_len: the prefix of `in` that was written
 * (2.7.8.2); never more than what was sent without a gap.
 */
#define VHX_TAIL_MAX 64u
void vhx_request_complete(struct vhx_request *req, uint32_t valid, const void *tail, uint32_t tail_off,
			  uint32_t tail_len, uint32_t used_len);

/* Drops a request during reset, unanswered. */
void vhx_request_drop(struct vhx_request *req);

/* Partner of ops->reset. */
void vhx_queue_quiesced(struct vhx_queue *queue);

#endif
