/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The back-end side of vhost-user, as a VMM's front-end sees it (QEMU's docs/interop/vhost-user.rst).
 *
 * A vhx_vu_server owns a listening socket and serves one VMM at a time. It parses and checks requests,
 * holds the guest's memory map and the rings, and tells its owner through struct vhx_vu_ops what the VMM
 * wants; it knows nothing of exchanges or backends. The owner does all waiting: the server only says
 * which descriptors to watch and when to call it.
 *
 * Time. Requests are answered in order; most at once. GET_VRING_BASE, RESET_DEVICE and a status of 0 may
 * have to wait for requests in flight: the op returns -EINPROGRESS, the server stops reading, and the
 * owner calls vhx_vu_server_finish() when done. The owner bounds that time.
 *
 * Trust. The VMM owns the guest and this server serves it, so it is not an attacker of the guest; but a
 * broken or hostile VMM must not crash or block the process. Lengths, counts and descriptors are checked;
 * every received descriptor is owned and closed exactly once; a breach ends the connection only.
 */
#ifndef VHX_VHOST_USER_SERVER_H
#define VHX_VHOST_USER_SERVER_H

#include "ring/ring.h"
#include "util/log.h"

#define VHX_VU_QUEUES_MAX 64u	/* queues of one device; bounds the tables */
#define VHX_VU_REGIONS_MAX 64u	/* memory slots announced by GET_MAX_MEM_SLOTS */
#define VHX_VU_CONFIG_MAX 256u	/* VHOST_USER_MAX_CONFIG_SIZE */
#define VHX_VU_QUEUE_SIZE_MAX 1024u /* larger rings are refused: bounds slot tables */

struct vhx_vu_server;

/* One virtqueue as the VMM set it up. */
struct vhx_vu_queue {
	struct vhx_vring ring;	/* valid while @started */
	uint16_t index;
	uint16_t size;
	bool started;	/* rings mapped, base known, kick descriptor given, enabled */
	int kick_fd;	/* -1: none, the owner polls; readable: the driver notified */
	int call_fd;	/* -1: none, the driver polls */
	int err_fd;
};

/*
 * What the server asks of its owner. Ops return 0, or a negative errno that ends the connection (or is
 * answered in band where the protocol has a way), or -EINPROGRESS where said.
 */
struct vhx_vu_ops {
	/* Device features without the ring and protocol bits, which the server adds itself. */
	int (*get_features)(void *ctx, uint64_t *features);
	/* The VMM's choice (device bits, VERSION_1, and the ring bits for information). */
	int (*set_features)(void *ctx, uint64_t features);
	int (*get_queue_num)(void *ctx, uint16_t *num);
	int (*get_config)(void *ctx, uint32_t off, void *buf, uint32_t len);
	int (*set_config)(void *ctx, uint32_t off, const void *buf, uint32_t len);
	/* The queue is live: q->ring is initialised; watch q->kick_fd, or poll where there is none, and pop once now. */
	int (*queue_start)(void *ctx, struct vhx_vu_queue *q);
	/*
	 * Pop no more, let what is in flight end. May return -EINPROGRESS; after 0 or finish() nobody touches
	 * q->ring or guest memory for this queue again, and ring.avail_idx is the base to report.
	 */
	int (*queue_stop)(void *ctx, struct vhx_vu_queue *q);
	/* kick, call or err descriptor of a started queue was replaced. */
	void (*queue_fds)(void *ctx, struct vhx_vu_queue *q);
	/* Device status by VHOST_USER_SET_STATUS; 0 is a reset and may be -EINPROGRESS. */
	int (*set_status)(void *ctx, uint8_t status);
	uint8_t (*get_status)(void *ctx);
	/* VHOST_USER_RESET_DEVICE: all queues are stopped already. May be -EINPROGRESS. */
	int (*reset)(void *ctx);
	/*
	 * The memory map has changed: the accessor knows the new one, pointers from the old one work until this
	 * returns. The owner walks again what it holds. (Most front-ends stop the rings first.)
	 */
	void (*mem_changed)(void *ctx);
	/* A VMM came or went. After gone all queues are stopped without waiting. */
	void (*connected)(void *ctx);
	void (*gone)(void *ctx);
	/* Watch these: *@listen_fd and *@conn_fd may be -1; @stalled: do not read conn_fd now. */
	void (*watch)(void *ctx, int listen_fd, int conn_fd, bool stalled);
	/* Somebody has connected to the listening socket: 0, or -EACCES. NULL: whoever could is welcome. */
	int (*admit)(void *ctx, int sock);
};

struct vhx_vu_config {
	const struct vhx_vu_ops *ops;
	void *ctx;
	const struct vhx_log *log;
	const char *name;	/* device id, for the log */
	uint32_t ring_features; /* enum vhx_ring_feature to offer */
};

/*
 * @listen_fd: a listening SOCK_STREAM unix socket, taken over on success (and made non-blocking); or one that is
 * connected to its only VMM already, which counts as accepted when that speaks, and passes no admit. Calls watch at
 * once; with no descriptor at all when that VMM has gone. The program ignores SIGPIPE: call descriptors may be pipes.
 */
int vhx_vu_server_new(const struct vhx_vu_config *cfg, int listen_fd, struct vhx_vu_server **server);
void vhx_vu_server_free(struct vhx_vu_server *s);

/* The watched descriptor is readable. Never blocks: a partial message waits for its rest. */
void vhx_vu_server_accept(struct vhx_vu_server *s);
void vhx_vu_server_event(struct vhx_vu_server *s);

/* Ends an op that returned -EINPROGRESS, with its result. */
void vhx_vu_server_finish(struct vhx_vu_server *s, int result);

/* Ends the VMM's connection; the next one is accepted. */
void vhx_vu_server_drop(struct vhx_vu_server *s);

/* Tells the VMM that the device's config changed (BACKEND_CONFIG_CHANGE_MSG), if it gave a channel. */
void vhx_vu_server_config_changed(struct vhx_vu_server *s);

struct vhx_vu_queue *vhx_vu_server_queue(struct vhx_vu_server *s, uint16_t index);

/* The memory accessor, for copying payload; its dirty op marks the dirty log while one is set. */
const struct vhx_ring_mem *vhx_vu_server_mem(struct vhx_vu_server *s);

/*
 * Guest bytes at process address @p were written (payload): marks the dirty log. Cheap when none is set.
 */
void vhx_vu_server_dirty(struct vhx_vu_server *s, const void *p, uint64_t len);

/*
 * The ring, with inflight tracking (INFLIGHT_SHMFD) kept in step where the VMM gave a region: same meaning
 * as vhx_vring_pop(), _push() and _flush(). flush also raises the call descriptor where the driver wants it.
 */
int vhx_vu_queue_pop(struct vhx_vu_queue *q, struct vhx_chain *chain);
void vhx_vu_queue_push(struct vhx_vu_queue *q, uint16_t id, uint32_t used_len);
void vhx_vu_queue_flush(struct vhx_vu_queue *q);

/*
 * As vhx_vring_give_back(), once all that was pushed is flushed and before the queue's stop is answered: the base that the
 * VMM is told then lies before all that was in flight.
 */
int vhx_vu_queue_give_back(struct vhx_vu_queue *q);

/*
 * After queue_start, and until it returns 0: yields, in their old order, the chains that a predecessor
 * of this process left in flight; the owner walks each with vhx_vring_rewalk(). 1 and *@id, or 0.
 */
int vhx_vu_queue_resubmit(struct vhx_vu_queue *q, uint16_t *id);

/*
 * The kick descriptor is readable: takes the notification. Never blocks, whatever the VMM did to the
 * descriptor's flags or counter. True: there was one. Pop after this, not before.
 */
bool vhx_vu_queue_kicked(struct vhx_vu_queue *q);

/* Signals the driver (call descriptor). Never blocks. */
void vhx_vu_queue_call(struct vhx_vu_queue *q);
/* Signals an error on the queue (err descriptor). */
void vhx_vu_queue_error(struct vhx_vu_queue *q);

#endif
