// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A guest ties one vhost-user server to one frontend device. The server says what the VMM wants, the device
 * what the backend can; answers come from the device's cache, so that no request of a VMM waits for a
 * backend. The exceptions (a queue's stop, a reset) end by the bounds of frontend.h.
 *
 * Before the backend was ever there nothing is known of the device. A VMM that connects then is kept in the
 * socket's backlog for VHX_GUEST_PATIENCE_NS and then refused; one that comes later is served at once.
 *
 * The VMM's memory map can change under requests in flight: they are walked again while old and new map
 * are both there. A chain that is not in the new one breaks its queue.
 */
#include "mediator/guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mediator/guest_queue.h"
#include "util/checked.h"
#include "vhost_user/server.h"

struct guest_queue {
	struct vhx_guest *guest;
	struct vhx_vu_queue *vq;
	struct vhx_guest_queue queue;
	bool asked; /* the VMM waits for its stop */
};

struct vhx_guest {
	struct vhx_guest_config cfg;
	struct vhx_fdev *fdev;
	struct vhx_vu_server *server;
	struct vhx_loop_fd listen, conn;
	struct vhx_loop_timer patience;
	struct vhx_unix_guard guard;
	struct vhx_log_limit log_limit;
	uint8_t status;
	bool draining; /* the program ends */
	uint32_t stopping; /* queues whose stop is waited for */
	struct guest_queue queues[VHX_VU_QUEUES_MAX];
};

/* The ring, with the VMM's inflight region and dirty log */

static int ring_pop(void *ring, struct vhx_chain *chain)
{
	return vhx_vu_queue_pop(((struct guest_queue *)ring)->vq, chain);
}

static void ring_push(void *ring, uint16_t id, uint32_t used_len)
{
	vhx_vu_queue_push(((struct guest_queue *)ring)->vq, id, used_len);
}

static void ring_flush(void *ring)
{
	vhx_vu_queue_flush(((struct guest_queue *)ring)->vq);
}

static int ring_give_back(void *ring)
{
	return vhx_vu_queue_give_back(((struct guest_queue *)ring)->vq);
}

static bool ring_kicked(void *ring)
{
	return vhx_vu_queue_kicked(((struct guest_queue *)ring)->vq);
}

static int ring_resubmit(void *ring, uint16_t *id)
{
	return vhx_vu_queue_resubmit(((struct guest_queue *)ring)->vq, id);
}

static void ring_written(void *ring, const void *p, uint64_t len)
{
	vhx_vu_server_dirty(((struct guest_queue *)ring)->guest->server, p, len);
}

static void ring_error(void *ring)
{
	vhx_vu_queue_error(((struct guest_queue *)ring)->vq);
}

static const struct vhx_guest_ring_ops ring_ops = {
	.pop = ring_pop,
	.push = ring_push,
	.flush = ring_flush,
	.give_back = ring_give_back,
	.kicked = ring_kicked,
	.resubmit = ring_resubmit,
	.written = ring_written,
	.error = ring_error,
};

/* Queues come and go */

static struct guest_queue *guest_queue(struct vhx_guest *g, const struct vhx_vu_queue *vq)
{
	return &g->queues[vq->index];
}

static int guest_queue_start(void *ctx, struct vhx_vu_queue *vq)
{
	struct vhx_guest *g = ctx;
	struct guest_queue *gq = guest_queue(g, vq);
	struct vhx_guest_queue_config cfg = {
		.loop = g->cfg.loop,
		.log = g->cfg.log,
		.label = g->cfg.label,
		.fdev = g->fdev,
		.ops = &ring_ops,
		.ring = gq,
		.vring = &vq->ring,
		.index = vq->index,
		.size = vq->size,
		.kick_fd = vq->kick_fd,
	};

	gq->vq = vq;
	return vhx_guest_queue_start(&gq->queue, &cfg);
}

/* By the VMM, and by the end of the program, which may come upon each other. */
static int queue_stop(struct guest_queue *gq)
{
	int ret;

	if (gq->queue.stopping)
		return -EINPROGRESS;
	ret = vhx_guest_queue_stop(&gq->queue);
	if (ret == -EINPROGRESS)
		gq->guest->stopping++;
	return ret;
}

/* 0 also if it was lost with its memory: see guest_mem_changed(). */
static int guest_queue_stop(void *ctx, struct vhx_vu_queue *vq)
{
	struct guest_queue *gq = guest_queue(ctx, vq);
	int ret = queue_stop(gq);

	gq->asked = ret == -EINPROGRESS;
	return ret;
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
	struct vhx_guest *g = ctx;
	struct guest_queue *gq = &g->queues[index];
	bool asked = gq->asked;

	vhx_guest_queue_end(&gq->queue);
	gq->asked = false;
	assert(g->stopping);
	g->stopping--;
	if (asked)
		vhx_vu_server_finish(g->server, 0);
}

static void queues_kill(struct vhx_guest *g)
{
	uint32_t i;

	for (i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		vhx_guest_queue_kill(&g->queues[i].queue);
		g->queues[i].asked = false;
	}
	g->stopping = 0;
}

static void guest_queue_fds(void *ctx, struct vhx_vu_queue *vq)
{
	vhx_guest_queue_watch(&guest_queue(ctx, vq)->queue, vq->kick_fd);
}

static void guest_mem_changed(void *ctx)
{
	struct vhx_guest *g = ctx;
	uint32_t i;

	for (i = 0; i < VHX_VU_QUEUES_MAX; i++)
		vhx_guest_queue_refetch(&g->queues[i].queue);
}

/* The device as the VMM sees it */

static int guest_get_features(void *ctx, uint64_t *features)
{
	struct vhx_guest *g = ctx;

	*features = vhx_fdev_identity(g->fdev)->features & ~VHX_FEATURES_RING;
	return 0;
}

static int guest_set_features(void *ctx, uint64_t features)
{
	struct vhx_guest *g = ctx;

	return vhx_fdev_set_features(g->fdev, features);
}

static int guest_get_queue_num(void *ctx, uint16_t *num)
{
	struct vhx_guest *g = ctx;

	*num = vhx_fdev_identity(g->fdev)->num_queues;
	return 0;
}

/* QEMU asks for all the config that it knows of, which may be more than there is: the rest is zero. */
static int guest_get_config(void *ctx, uint32_t off, void *buf, uint32_t len)
{
	const struct vhx_guest *g = ctx;
	const struct vhx_driver_identity *id = vhx_fdev_identity(g->fdev);
	uint32_t n = off < id->config_len ? (uint32_t)vhx_min_u64(len, id->config_len - off) : 0;

	memset(buf, 0, len);
	if (n)
		memcpy(buf, id->config + off, n);
	return 0;
}

static int guest_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	struct vhx_guest *g = ctx;

	return vhx_fdev_write_config(g->fdev, off, buf, len);
}

static void fdev_config_written(void *ctx, bool refused)
{
	struct vhx_guest *g = ctx;

	if (refused)
		vhx_log_limited(g->cfg.log, &g->log_limit, vhx_loop_now(g->cfg.loop),
				VHX_LOG_WARNING, "%s: the backend refused a config write",
				g->cfg.label);
}

static int guest_reset(void *ctx)
{
	struct vhx_guest *g = ctx;

	queues_kill(g);
	return vhx_fdev_reset(g->fdev);
}

static void fdev_reset_done(void *ctx)
{
	struct vhx_guest *g = ctx;

	vhx_vu_server_finish(g->server, 0);
}

static int guest_set_status(void *ctx, uint8_t status)
{
	struct vhx_guest *g = ctx;

	g->status = status;
	return status ? 0 : guest_reset(g);
}

static uint8_t guest_get_status(void *ctx)
{
	struct vhx_guest *g = ctx;

	return g->status;
}

static void guest_connected(void *ctx)
{
	struct vhx_guest *g = ctx;

	g->status = 0;
}

static void guest_gone(void *ctx)
{
	struct vhx_guest *g = ctx;

	queues_kill(g);
	g->status = 0;
	vhx_fdev_abandon(g->fdev);
}

/* Descriptors */

static void watch_set(struct vhx_guest *g, struct vhx_loop_fd *w, int fd)
{
	if (w->fd == fd)
		return;
	vhx_loop_fd_del(g->cfg.loop, w);
	w->fd = fd;
	if (fd >= 0 && vhx_loop_fd_add(g->cfg.loop, w))
		vhx_log(g->cfg.log, VHX_LOG_ERROR, "%s: socket cannot be watched", g->cfg.label);
}

static void guest_watch(void *ctx, int listen_fd, int conn_fd, bool stalled)
{
	struct vhx_guest *g = ctx;

	if (g->draining)
		return;
	watch_set(g, &g->listen, listen_fd);
	watch_set(g, &g->conn, stalled ? -1 : conn_fd);
	if (listen_fd < 0 && conn_fd < 0 && g->cfg.over)
		g->cfg.over(g->cfg.ctx);
}

static int guest_admit(void *ctx, int sock)
{
	struct vhx_guest *g = ctx;

	return vhx_unix_guard_admit(&g->guard, sock, vhx_loop_now(g->cfg.loop));
}

static void conn_ready(struct vhx_loop_fd *w, uint32_t events)
{
	vhx_vu_server_event(vhx_container_of(w, struct vhx_guest, conn)->server);
}

static void listen_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_guest *g = vhx_container_of(w, struct vhx_guest, listen);

	if (vhx_fdev_known(g->fdev)) {
		vhx_vu_server_accept(g->server);
		return;
	}
	/* Nothing to present yet. Look again when the backend came, or when patience ends. */
	vhx_loop_fd_modify(g->cfg.loop, w, 0);
	if (!g->patience.due_ns)
		vhx_loop_timer_arm(g->cfg.loop, &g->patience, VHX_GUEST_PATIENCE_NS);
}

static void patience_ended(struct vhx_loop_timer *t)
{
	struct vhx_guest *g = vhx_container_of(t, struct vhx_guest, patience);
	int fd;

	vhx_loop_fd_modify(g->cfg.loop, &g->listen, EPOLLIN);
	if (vhx_fdev_known(g->fdev))
		return;
	fd = accept4(g->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	vhx_log(g->cfg.log, VHX_LOG_WARNING, "%s: VMM refused: the backend has not come yet",
		g->cfg.label);
	close(fd);
}

static void fdev_known(void *ctx)
{
	struct vhx_guest *g = ctx;

	vhx_loop_timer_cancel(g->cfg.loop, &g->patience);
	if (g->listen.fd >= 0)
		vhx_loop_fd_modify(g->cfg.loop, &g->listen, EPOLLIN);
}

static void fdev_config_changed(void *ctx)
{
	struct vhx_guest *g = ctx;

	vhx_vu_server_config_changed(g->server);
}

static void fdev_unusable(void *ctx, int reason)
{
	struct vhx_guest *g = ctx;

	if (g->cfg.unusable)
		g->cfg.unusable(g->cfg.ctx, reason);
}

static const struct vhx_fdev_ops guest_fdev_ops = {
	.known = fdev_known,
	.config_changed = fdev_config_changed,
	.config_written = fdev_config_written,
	.queue_stopped = fdev_queue_stopped,
	.reset_done = fdev_reset_done,
	.unusable = fdev_unusable,
};

static const struct vhx_vu_ops guest_vu_ops = {
	.get_features = guest_get_features,
	.set_features = guest_set_features,
	.get_queue_num = guest_get_queue_num,
	.get_config = guest_get_config,
	.set_config = guest_set_config,
	.queue_start = guest_queue_start,
	.queue_stop = guest_queue_stop,
	.queue_fds = guest_queue_fds,
	.set_status = guest_set_status,
	.get_status = guest_get_status,
	.reset = guest_reset,
	.mem_changed = guest_mem_changed,
	.admit = guest_admit,
	.connected = guest_connected,
	.gone = guest_gone,
	.watch = guest_watch,
};

static void guest_init(struct vhx_guest *g, const struct vhx_guest_config *cfg)
{
	uint32_t i;

	g->cfg = *cfg;
	g->guard = (struct vhx_unix_guard){ .policy = cfg->policy,
					    .name = cfg->label,
					    .log = cfg->log };
	g->listen = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = listen_ready };
	g->conn = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = conn_ready };
	g->patience.expired = patience_ended;
	vhx_list_init(&g->patience.node);
	for (i = 0; i < VHX_VU_QUEUES_MAX; i++)
		g->queues[i].guest = g;
}

int vhx_guest_new(const struct vhx_guest_config *cfg, int listen_fd, struct vhx_guest **out)
{
	struct vhx_vu_config vu = {
		.ops = &guest_vu_ops,
		.log = cfg->log,
		.name = cfg->label,
		.ring_features = VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX | VHX_RING_F_PACKED |
				 VHX_RING_F_IN_ORDER,
	};
	struct vhx_guest *g = calloc(1, sizeof(*g));
	int ret = -ENOMEM;

	if (!g)
		goto close_listen;
	guest_init(g, cfg);
	ret = vhx_fdev_new(cfg->frontend, cfg->device, &guest_fdev_ops, g, &g->fdev);
	if (ret)
		goto free_guest;
	vu.ctx = g;
	ret = vhx_vu_server_new(&vu, listen_fd, &g->server);
	if (ret)
		goto free_guest;
	*out = g;
	return 0;

free_guest:
	free(g);
close_listen:
	close(listen_fd);
	return ret;
}

void vhx_guest_free(struct vhx_guest *g)
{
	if (!g)
		return;
	queues_kill(g);
	vhx_loop_timer_cancel(g->cfg.loop, &g->patience);
	vhx_vu_server_free(g->server);
	vhx_loop_fd_del(g->cfg.loop, &g->listen);
	vhx_loop_fd_del(g->cfg.loop, &g->conn);
	free(g);
}

uint32_t vhx_guest_drain(struct vhx_guest *g)
{
	uint32_t i;

	if (g->draining)
		return g->stopping;
	g->draining = true;
	watch_set(g, &g->listen, -1);
	watch_set(g, &g->conn, -1);
	for (i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		if (g->queues[i].queue.live)
			queue_stop(&g->queues[i]);
	}
	return g->stopping;
}

const struct vhx_fdev *vhx_guest_device(const struct vhx_guest *g)
{
	return g->fdev;
}

uint64_t vhx_guest_memory(const struct vhx_guest *g)
{
	uint64_t memory = 0;
	uint32_t i;

	for (i = 0; i < VHX_VU_QUEUES_MAX; i++)
		memory += g->queues[i].queue.memory;
	return memory;
}
