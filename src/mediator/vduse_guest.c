// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A VDUSE guest ties one VDUSE device to one frontend device, as guest.c does with a vhost-user server. The driver's
 * side is a driver of this kernel, or whoever has opened /dev/vhost-vdpa-N.
 *
 *   waiting --the backend is known--> made --vdpa dev add, which is the operator's--> bound
 *
 * The kernel wants to know all of a device when it is made, so that it is made when the backend has said that. From
 * then on it stays: a backend that is replaced is the frontend's business, as ever.
 *
 * A driver that is bound waits for its device without bound, and the kernel gives up a device that answers no
 * request for 30 s. So what is bound outlives this process badly: `vdpa dev del` comes first.
 *
 * Notifications that the kernel does not take yet (vduse/queue.c) are tried again after a pause, which grows.
 */
#include "mediator/vduse_guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/devtype.h"
#include "mediator/guest_queue.h"
#include "util/checked.h"
#include "vduse/device.h"

/* The first is about what the kernel takes to look at our answer; the last is there if it never does. */
#define OWED_PAUSE_MIN_NS 1000000ull
#define OWED_PAUSE_MAX_NS 1000000000ull

/* VirtIO 6: what rings and transport of a VDUSE device need, and what ours can. */
#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_ACCESS_PLATFORM (1ull << 33) /* addresses are those of the VDUSE domain */
#define F_RING_PACKED (1ull << 34)
#define F_IN_ORDER (1ull << 35)

struct vduse_queue {
	struct vhx_vduse_guest *guest;
	struct vhx_vduse_queue *vq;
	struct vhx_guest_queue queue;
	struct vhx_loop_fd early; /* its kick, while the queue does not run */
};

struct vhx_vduse_guest {
	struct vhx_vduse_guest_config cfg;
	struct vhx_fdev *fdev;
	struct vhx_vduse_device *dev; /* NULL: not made yet */
	struct vhx_loop_fd conn;
	struct vhx_loop_timer owed;
	uint64_t owed_pause_ns;
	bool draining; /* the program ends */
	uint32_t stopping; /* queues whose stop is waited for */
	uint16_t queue_cnt;
	struct vduse_queue queues[VHX_VDUSE_QUEUES_MAX];
};

/* The ring */

static int ring_pop(void *ring, struct vhx_chain *chain)
{
	return vhx_vring_pop(&((struct vduse_queue *)ring)->vq->ring, chain);
}

static void ring_push(void *ring, uint16_t id, uint32_t used_len)
{
	vhx_vring_push(&((struct vduse_queue *)ring)->vq->ring, id, used_len);
}

static void owed_watch(struct vhx_vduse_guest *g)
{
	if (g->owed.due_ns || !vhx_vduse_device_owes(g->dev))
		return;
	g->owed_pause_ns = OWED_PAUSE_MIN_NS;
	vhx_loop_timer_arm(g->cfg.loop, &g->owed, g->owed_pause_ns);
}

static void owed_expired(struct vhx_loop_timer *t)
{
	struct vhx_vduse_guest *g = vhx_container_of(t, struct vhx_vduse_guest, owed);

	if (!vhx_vduse_device_notify_again(g->dev))
		return;
	g->owed_pause_ns = vhx_min_u64(2 * g->owed_pause_ns, OWED_PAUSE_MAX_NS);
	vhx_loop_timer_arm(g->cfg.loop, t, g->owed_pause_ns);
}

static void ring_flush(void *ring)
{
	struct vduse_queue *vq = ring;

	vhx_vduse_queue_flush(vq->vq);
	owed_watch(vq->guest);
}

static int ring_give_back(void *ring)
{
	return vhx_vring_give_back(&((struct vduse_queue *)ring)->vq->ring);
}

static bool ring_kicked(void *ring)
{
	return vhx_vduse_queue_kicked(((struct vduse_queue *)ring)->vq);
}

static const struct vhx_guest_ring_ops ring_ops = {
	.pop = ring_pop,
	.push = ring_push,
	.flush = ring_flush,
	.give_back = ring_give_back,
	.kicked = ring_kicked,
};

/* Queues come and go */

/* Of a queue that is not started: perhaps the driver has made it ready since. */
static void early_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vduse_queue *q = vhx_container_of(w, struct vduse_queue, early);

	vhx_vduse_queue_kicked(q->vq);
}

static void early_watch(struct vduse_queue *q, bool on)
{
	struct vhx_vduse_guest *g = q->guest;

	vhx_loop_fd_del(g->cfg.loop, &q->early);
	if (on && vhx_loop_fd_add(g->cfg.loop, &q->early))
		vhx_log(g->cfg.log, VHX_LOG_WARNING, "%s: queue %u: kick cannot be watched",
			g->cfg.spec->name, q->vq->index);
}

static int vduse_queue_start(void *ctx, struct vhx_vduse_queue *vq)
{
	struct vhx_vduse_guest *g = ctx;
	struct vduse_queue *q = &g->queues[vq->index];
	struct vhx_guest_queue_config cfg = {
		.loop = g->cfg.loop,
		.log = g->cfg.log,
		.label = g->cfg.spec->name,
		.fdev = g->fdev,
		.ops = &ring_ops,
		.ring = q,
		.vring = &vq->ring,
		.index = vq->index,
		.size = vq->size,
		.kick_fd = vq->kick_fd,
	};
	int ret;

	early_watch(q, false);
	ret = vhx_guest_queue_start(&q->queue, &cfg);
	if (ret)
		early_watch(q, true);
	return ret;
}

/* Also of one that had ended by itself, when its requests could not be walked again. */
static void vduse_queue_kill(struct vduse_queue *q)
{
	vhx_guest_queue_kill(&q->queue);
	early_watch(q, true);
}

static void queues_kill(struct vhx_vduse_guest *g)
{
	uint16_t i;

	for (i = 0; i < g->queue_cnt; i++)
		vduse_queue_kill(&g->queues[i]);
	g->stopping = 0;
}

static void vduse_queue_lost(void *ctx, struct vhx_vduse_queue *vq)
{
	struct vhx_vduse_guest *g = ctx;

	vhx_log(g->cfg.log, VHX_LOG_WARNING, "%s: queue %u lost its memory", g->cfg.spec->name,
		vq->index);
	vduse_queue_kill(&g->queues[vq->index]);
}

static void vduse_mem_changed(void *ctx)
{
	struct vhx_vduse_guest *g = ctx;
	uint16_t i;

	for (i = 0; i < g->queue_cnt; i++)
		vhx_guest_queue_refetch(&g->queues[i].queue);
}

static int vduse_set_features(void *ctx, uint64_t features)
{
	return vhx_fdev_set_features(((struct vhx_vduse_guest *)ctx)->fdev, features);
}

static int vduse_reset(void *ctx)
{
	struct vhx_vduse_guest *g = ctx;
	int ret;

	queues_kill(g);
	vhx_loop_timer_cancel(g->cfg.loop, &g->owed);
	ret = vhx_fdev_reset(g->fdev);
	/* What is asked meanwhile is not read: a loop that is shown it would not sleep. */
	if (ret == -EINPROGRESS)
		vhx_loop_fd_modify(g->cfg.loop, &g->conn, 0);
	return ret;
}

static const struct vhx_vduse_ops vduse_ops = {
	.set_features = vduse_set_features,
	.queue_start = vduse_queue_start,
	.reset = vduse_reset,
	.mem_changed = vduse_mem_changed,
	.queue_lost = vduse_queue_lost,
};

/* The device is made */

static void guest_unusable(struct vhx_vduse_guest *g, int reason)
{
	if (g->cfg.unusable)
		g->cfg.unusable(g->cfg.ctx, reason);
}

static void conn_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_vduse_guest *g = vhx_container_of(w, struct vhx_vduse_guest, conn);

	if (!vhx_vduse_device_event(g->dev, events & EPOLLERR))
		return;
	vhx_log(g->cfg.log, VHX_LOG_ERROR, "%s: the kernel has given the device up",
		g->cfg.spec->name);
	vhx_loop_fd_del(g->cfg.loop, w);
	queues_kill(g);
	vhx_fdev_abandon(g->fdev);
}

static void shape_fill(const struct vhx_vduse_guest *g, struct vhx_vduse_shape *shape)
{
	const struct vhx_driver_identity *id = vhx_fdev_identity(g->fdev);

	*shape = (struct vhx_vduse_shape){
		.device_id = id->device_id,
		.features = vhx_vduse_device_features(id->device_id,
						      id->features & ~VHX_FEATURES_RING) |
			    F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1 | F_ACCESS_PLATFORM |
			    F_IN_ORDER | (g->cfg.spec->packed ? F_RING_PACKED : 0),
		.queues = vhx_vduse_device_queues(id->device_id, id->num_queues),
		.config_len = id->config_len,
	};
	memcpy(shape->config, id->config, id->config_len);
}

static int device_open(struct vhx_vduse_guest *g, const struct vhx_vduse_shape *shape, int fd)
{
	struct vhx_vduse_config cfg = {
		.ops = &vduse_ops,
		.ctx = g,
		.log = g->cfg.log,
		.name = g->cfg.spec->name,
		.features = shape->features,
		.queues = shape->queues,
		.queue_size = (uint16_t)g->cfg.spec->queue_size,
		.config_len = shape->config_len,
	};
	int ret = vhx_vduse_device_new(&cfg, fd, &g->dev);
	uint16_t i;

	if (ret)
		return ret;
	g->queue_cnt = shape->queues;
	for (i = 0; i < g->queue_cnt; i++) {
		g->queues[i].vq = vhx_vduse_device_queue(g->dev, i);
		g->queues[i].early.fd = g->queues[i].vq->kick_fd;
		early_watch(&g->queues[i], true);
	}
	g->conn.fd = fd;
	return vhx_loop_fd_add(g->cfg.loop, &g->conn);
}

static void fdev_known(void *ctx)
{
	struct vhx_vduse_guest *g = ctx;
	struct vhx_vduse_shape shape;
	struct vhx_error err;
	int fd, ret;

	shape_fill(g, &shape);
	ret = vhx_vduse_keeper_create(g->cfg.keeper, g->cfg.index, &shape, &fd, &err);
	if (!ret) {
		ret = device_open(g, &shape, fd);
		if (ret)
			vhx_error_set(&err, "%s: %s", g->cfg.spec->name, strerror(-ret));
	}
	if (ret) {
		vhx_log(g->cfg.log, VHX_LOG_ERROR, "%s", err.text);
		guest_unusable(g, ret);
		return;
	}
	vhx_log(g->cfg.log, VHX_LOG_INFO,
		"%s: VDUSE device is there: vdpa dev add name %s mgmtdev vduse", g->cfg.spec->name,
		g->cfg.spec->name);
}

static void fdev_config_changed(void *ctx)
{
	struct vhx_vduse_guest *g = ctx;
	const struct vhx_driver_identity *id = vhx_fdev_identity(g->fdev);

	if (!g->dev)
		return;
	vhx_vduse_device_config(g->dev, id->config, id->config_len);
	owed_watch(g);
}

/* Nobody can write it. */
static void fdev_config_written(void *ctx, bool refused)
{
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
	struct vhx_vduse_guest *g = ctx;

	vhx_guest_queue_end(&g->queues[index].queue);
	assert(g->stopping);
	g->stopping--;
}

static void fdev_reset_done(void *ctx)
{
	struct vhx_vduse_guest *g = ctx;

	vhx_vduse_device_finish(g->dev);
	vhx_loop_fd_modify(g->cfg.loop, &g->conn, EPOLLIN);
}

static void fdev_unusable(void *ctx, int reason)
{
	guest_unusable(ctx, reason);
}

static const struct vhx_fdev_ops guest_fdev_ops = {
	.known = fdev_known,
	.config_changed = fdev_config_changed,
	.config_written = fdev_config_written,
	.queue_stopped = fdev_queue_stopped,
	.reset_done = fdev_reset_done,
	.unusable = fdev_unusable,
};

static void guest_init(struct vhx_vduse_guest *g, const struct vhx_vduse_guest_config *cfg)
{
	uint16_t i;

	g->cfg = *cfg;
	g->conn = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = conn_ready };
	g->owed.expired = owed_expired;
	vhx_list_init(&g->owed.node);
	for (i = 0; i < VHX_VDUSE_QUEUES_MAX; i++) {
		g->queues[i].guest = g;
		g->queues[i].early =
			(struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = early_ready };
	}
}

int vhx_vduse_guest_new(const struct vhx_vduse_guest_config *cfg, struct vhx_vduse_guest **out)
{
	struct vhx_vduse_guest *g = calloc(1, sizeof(*g));
	int ret;

	if (!g)
		return -ENOMEM;
	guest_init(g, cfg);
	ret = vhx_fdev_new(cfg->frontend, cfg->spec->id, &guest_fdev_ops, g, &g->fdev);
	if (ret) {
		free(g);
		return ret;
	}
	*out = g;
	return 0;
}

static void unwatch(struct vhx_vduse_guest *g)
{
	uint16_t i;

	vhx_loop_fd_del(g->cfg.loop, &g->conn);
	for (i = 0; i < g->queue_cnt; i++)
		vhx_loop_fd_del(g->cfg.loop, &g->queues[i].early);
}

void vhx_vduse_guest_free(struct vhx_vduse_guest *g)
{
	if (!g)
		return;
	queues_kill(g);
	vhx_loop_timer_cancel(g->cfg.loop, &g->owed);
	unwatch(g);
	if (g->dev) {
		vhx_vduse_device_free(g->dev);
		if (vhx_vduse_keeper_destroy(g->cfg.keeper, g->cfg.index) == -EBUSY)
			vhx_log(g->cfg.log, VHX_LOG_WARNING,
				"%s: a driver is bound to it, and waits for ever: vdpa dev del %s",
				g->cfg.spec->name, g->cfg.spec->name);
	}
	free(g);
}

uint32_t vhx_vduse_guest_drain(struct vhx_vduse_guest *g)
{
	uint16_t i;

	if (g->draining)
		return g->stopping;
	g->draining = true;
	unwatch(g);
	for (i = 0; i < g->queue_cnt; i++) {
		if (vhx_guest_queue_stop(&g->queues[i].queue) == -EINPROGRESS)
			g->stopping++;
	}
	return g->stopping;
}

const struct vhx_fdev *vhx_vduse_guest_device(const struct vhx_vduse_guest *g)
{
	return g->fdev;
}

uint64_t vhx_vduse_guest_memory(const struct vhx_vduse_guest *g)
{
	uint64_t memory = 0;
	uint16_t i;

	for (i = 0; i < g->queue_cnt; i++)
		memory += g->queues[i].queue.memory;
	return memory;
}
