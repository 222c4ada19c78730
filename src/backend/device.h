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
 * Posted requests. A driver gives receive buffers (net, console, vsock, events) long before there is
 * anything to put in: they arrive complete, with out_len 0. A device takes them (submit returns 0), keeps
 * them in a list of its own by @node, oldest first, and ends one whenever it has data. They cost neither
 * credit nor staging until then, and as many can be posted as the queue has entries. Data comes with a
 * file event or from another queue's request, so there is no submit to return -EAGAIN from:
 *
 *   data ---> vhx_request_in_reserve() ---> commit ---> vhx_request_complete()
 *                      |
 *                      +--> NULL and *later: leave the data where it is (stop reading its source), keep the
 *                           request, and try again in ops->room()
 *
 * vhx_request_in_buffer(), when it says -EAGAIN outside of submit, ends in ops->room() too. A small answer can
 * do without both: up to VHX_TAIL_MAX bytes go as the tail of vhx_request_complete(), which never fails.
 *
 * Back-pressure the other way: a device that cannot take a request's out bytes yet keeps the request. The
 * driver's window ends, then its ring is full, and nothing is lost.
 *
 * Reset. reset(q) asks that nothing of the queue can touch the medium any more; requests that are still
 * with the device are completed or dropped by it first, then vhx_queue_quiesced() is called. The answer
 * to the driver waits for that. Posted requests are dropped: nobody hears of a reset queue's completions.
 * When all queues ended, by a reset of the device or because its driver's channel is lost, ops->restarted() says
 * so: the next driver knows nothing of what the last one told.
 */
#ifndef VHX_BACKEND_DEVICE_H
#define VHX_BACKEND_DEVICE_H

#include <sys/uio.h>

#include "loop/loop.h"
#include "util/base.h"
#include "util/list.h"
#include "util/log.h"

#define VHX_DEVICE_ID_MAX 64u /* name given by the operator, with its NUL */
#define VHX_DEVICE_PEER_MAX 144u
#define VHX_DEVICE_CONFIG_MAX 256u /* largest config space of the types that we know */
#define VHX_REQUEST_HEAD_MAX 64u /* out bytes kept apart, so that the rest is page-aligned */
#define VHX_PAGE 4096u

struct vhx_device;
struct vhx_queue; /* backend's; opaque to devices */

/* Device models embed nothing: the backend owns the memory of requests. */
struct vhx_request {
	struct vhx_device *dev;
	struct vhx_queue *queue;
	uint16_t id;
	bool too_big; /* over the announced limits: out holds the first bytes only */
	/*
	 * For the device, false at first: the driver sees this completion not before the next one of its queue.
	 * A group is begun only by who is certain to end it; the last one of it is not marked.
	 */
	bool group;
	uint32_t out_len; /* bytes that the driver made readable */
	uint32_t in_len; /* bytes that it made writable */
	uint32_t head_len; /* the queue's: so many out bytes, if there are, lie apart */
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

/* What requests of one queue may be. */
struct vhx_device_limits {
	uint32_t max_out, max_in; /* largest request; larger ones arrive with too_big */
	uint32_t head_len; /* out bytes to keep apart, up to VHX_REQUEST_HEAD_MAX; 0: none */
	/* Most in bytes that vhx_request_in_buffer() is asked for at once; 0: never, and no staging is kept. */
	uint32_t max_staged;
};

struct vhx_device_ops {
	const char *name; /* "blk" */
	uint32_t device_id; /* VirtIO 5: the device type */
	uint32_t head_len; /* out bytes to keep apart, at most VHX_REQUEST_HEAD_MAX */
	/*
	 * Where queues differ. @limits comes with the device's max_out, max_in and head_len, and max_in for
	 * max_staged. The same answer for the life of the device. NULL: all queues are alike.
	 */
	void (*queue_limits)(const struct vhx_device *dev, uint16_t index,
			     struct vhx_device_limits *limits);
	/* 0: taken. -EAGAIN: see above; nothing was taken. Nothing else. */
	int (*submit)(struct vhx_device *dev, struct vhx_request *req);
	/* All requests of this pass were submitted: start what was gathered (one io_uring_enter). NULL: nothing is. */
	void (*kick)(struct vhx_device *dev);
	/*
	 * There may be room again on @queue, on which the device was refused outside of submit: each time it
	 * was, until it tries no more. NULL: it never reserves or buffers there.
	 */
	void (*room)(struct vhx_device *dev, struct vhx_queue *queue);
	/* Reset of one queue, see above. Calls vhx_queue_quiesced() now or later, exactly once. */
	void (*reset)(struct vhx_device *dev, struct vhx_queue *queue);
	/* All queues are closed and the driver is gone or begins again: forget what it told. May be NULL. */
	void (*restarted)(struct vhx_device *dev);
	/* The driver has chosen (FEATURES_OK). 0, or -EINVAL: FEATURES_OK is not confirmed. */
	int (*set_features)(struct vhx_device *dev, uint64_t features);
	/*
	 * The driver wrote [off, off + len) of the config space, already within its size. 0 or refused. The
	 * device changes its config itself, as far as the write does.
	 */
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
	uint32_t max_out, max_in; /* largest request, but see ops->queue_limits */
	uint8_t config[VHX_DEVICE_CONFIG_MAX]; /* config space, VirtIO little-endian layout */
	uint32_t config_len;
	uint8_t uuid[16]; /* stable over restarts of the backend: identifies the medium */
	uint8_t cache_id[16]; /* equal while completed, unflushed writes survive its death */
	uint64_t memory; /* bytes that the model allocated, for the stats */
	char peer
		[VHX_DEVICE_PEER_MAX]; /* the only one that may have it, as struct vhx_peer has it; empty: any */
	const struct vhx_log *log;
	struct vhx_loop *loop;
	struct vhx_backend_device *backend; /* NULL while not attached; the backend's */
};

/* The config space changed (resize): bumps the generation, tells the driver. Only from the loop's thread. */
void vhx_device_config_changed(struct vhx_device *dev);

/*
 * Out bytes from @off on, as far as they are there: copied to @dst, returns how many; or described by at most
 * @max iovecs, returns how many those are. They stay valid until the request ends.
 */
uint32_t vhx_request_out_read(const struct vhx_request *req, uint32_t off, void *dst, uint32_t len);
unsigned int vhx_request_out_iov(const struct vhx_request *req, uint32_t off, struct iovec *iov,
				 unsigned int max);

/*
 * @len contiguous bytes at @in_off of the answer, in the outgoing message itself: fill them at once,
 * without waiting, then vhx_request_in_commit() with how many became valid (from the start; at most
 * @len) or 0 to cancel. Nothing else may be called in between. NULL: no room for @len now (or the
 * provider cannot): use vhx_request_in_buffer(), or, when *@later is set true, return -EAGAIN from submit or
 * wait for ops->room(): then room is certain to come. A @len above vhx_request_in_reserve_max() is never to be
 * had at once. Pieces of one request come with growing offsets, in as many reservations as it takes.
 */
void *vhx_request_in_reserve(struct vhx_request *req, uint32_t in_off, uint32_t len, bool *later);
void vhx_request_in_commit(struct vhx_request *req, uint32_t len);
/* The largest @len that can be had; 0 while there is no channel. */
uint32_t vhx_request_in_reserve_max(const struct vhx_request *req);

/*
 * Staging for in bytes [in_off, in_off + len): whole pages in req->in, for data that must be waited for.
 * Sent with the completion. 0; or -EAGAIN, out of staging now: return -EAGAIN from submit, or wait for
 * ops->room(). At most once per request.
 */
int vhx_request_in_buffer(struct vhx_request *req, uint32_t in_off, uint32_t len);
/*
 * The same for @lead + @len bytes, of which the first @lead, at most a page, are req->in[0] and the others begin with a page: a
 * response in front of data that direct I/O reads. It takes a page more, which is for max_staged to say.
 */
int vhx_request_in_buffer_led(struct vhx_request *req, uint32_t in_off, uint32_t lead,
			      uint32_t len);

/*
 * Ends the request. First @valid bytes of the staging, if any, go out; then @tail_len bytes of @tail at
 * @tail_off of the answer (a status byte; at most VHX_TAIL_MAX). @used_len: the prefix of `in` that was written
 * (2.7.8.2); never more than what was sent without a gap.
 */
#define VHX_TAIL_MAX 64u
void vhx_request_complete(struct vhx_request *req, uint32_t valid, const void *tail,
			  uint32_t tail_off, uint32_t tail_len, uint32_t used_len);

/* Drops a request during reset, unanswered. */
void vhx_request_drop(struct vhx_request *req);

/* Its index at the device: 0 to num_queues - 1. */
uint16_t vhx_queue_index(const struct vhx_queue *queue);

/* Partner of ops->reset. */
void vhx_queue_quiesced(struct vhx_queue *queue);

#endif
