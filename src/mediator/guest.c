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
 * Queues. Each live queue is a source for its frontend queue: next() pops a chain from the ring, again()
 * walks one once more. The segments of a chain's device-writable part must last until the answer: short
 * ones have an array of their own id, long ones take one of a few large arrays; when those are used up,
 * nothing is popped until one comes back. The device-readable part is needed only while the request is
 * being sent, so one scratch array serves all.
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

#include "util/checked.h"
#include "vhost_user/server.h"

#define SEGS_INLINE 4u
/* Requests of more than SEGS_INLINE writable segments in flight per queue. */
#define SEGS_LARGE_CNT 32u
/* More segments than descriptors come of buffers that straddle memory regions. */
#define SEGS_SPLIT 16u
/* Chains of small queues with long indirect tables: what block devices announce fits with room to spare. */
#define SEGS_MIN 256u
#define NO_ARRAY UINT16_MAX

struct guest_queue {
	struct vhx_guest *guest;
	struct vhx_vu_queue *vq;
	struct vhx_fqueue *fq;
	struct vhx_loop_fd kick;
	bool live;
	bool stopping; /* live, and takes nothing new */
	bool resubmitting; /* a predecessor's requests come first */
	bool blocked; /* no large array was left */
	uint16_t size;
	uint16_t segs_max;
	struct iovec *out;
	struct iovec *small; /* SEGS_INLINE per id */
	struct iovec *large; /* SEGS_LARGE_CNT arrays of segs_max */
	uint16_t *large_of; /* per id: its large array, or NO_ARRAY */
	uint16_t large_free[SEGS_LARGE_CNT];
	uint16_t large_free_cnt;
	uint64_t memory;
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

/* The source: from the ring to the frontend's queue */

static struct iovec *in_array(struct guest_queue *gq, uint16_t id)
{
	if (gq->large_of[id] == NO_ARRAY)
		return gq->small + (size_t)id * SEGS_INLINE;
	return gq->large + (size_t)gq->large_of[id] * gq->segs_max;
}

static void in_array_release(struct guest_queue *gq, uint16_t id)
{
	if (gq->large_of[id] == NO_ARRAY)
		return;
	gq->large_free[gq->large_free_cnt++] = gq->large_of[id];
	gq->large_of[id] = NO_ARRAY;
	if (!gq->blocked)
		return;
	gq->blocked = false;
	vhx_fqueue_kick(gq->fq);
}

/* A chain was walked into the topmost free large array: keeps it there, or moves it where it is small. */
static void in_array_settle(struct guest_queue *gq, const struct vhx_chain *chain)
{
	if (chain->in_cnt > SEGS_INLINE) {
		gq->large_of[chain->id] = gq->large_free[--gq->large_free_cnt];
		return;
	}
	gq->large_of[chain->id] = NO_ARRAY;
	if (chain->in_cnt)
		memcpy(in_array(gq, chain->id), chain->in, chain->in_cnt * sizeof(*chain->in));
}

static void request_fill(struct guest_queue *gq, const struct vhx_chain *chain,
			 struct vhx_frequest *req)
{
	*req = (struct vhx_frequest){
		.id = chain->id,
		.out = chain->out,
		.out_cnt = chain->out_cnt,
		.out_len = chain->out_len,
		.in = in_array(gq, chain->id),
		.in_cnt = chain->in_cnt,
		.in_len = chain->in_len,
	};
}

static int chain_take(struct guest_queue *gq, struct vhx_chain *chain)
{
	uint16_t id;

	if (gq->resubmitting) {
		if (vhx_vu_queue_resubmit(gq->vq, &id))
			return vhx_vring_rewalk(&gq->vq->ring, id, chain) ?: 1;
		gq->resubmitting = false;
	}
	return vhx_vu_queue_pop(gq->vq, chain);
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct guest_queue *gq = ctx;
	struct vhx_chain chain = {
		.out = gq->out,
		.out_max = gq->segs_max,
		.in_max = gq->segs_max,
	};
	int ret;

	if (!gq->large_free_cnt) {
		gq->blocked = true;
		return 0;
	}
	chain.in = gq->large + (size_t)gq->large_free[gq->large_free_cnt - 1] * gq->segs_max;
	ret = chain_take(gq, &chain);
	if (ret <= 0)
		return ret;
	in_array_settle(gq, &chain);
	request_fill(gq, &chain, req);
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	struct guest_queue *gq = ctx;
	struct vhx_chain chain = {
		.out = gq->out,
		.out_max = gq->segs_max,
		.in = in_array(gq, id),
		.in_max = gq->large_of[id] == NO_ARRAY ? SEGS_INLINE : gq->segs_max,
	};
	int ret = vhx_vring_rewalk(&gq->vq->ring, id, &chain);

	/* A chain that grew since it was popped is one that the driver changed under our hands. */
	if (ret)
		return ret;
	request_fill(gq, &chain, req);
	return 0;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct guest_queue *gq = ctx;

	in_array_release(gq, id);
	vhx_vu_queue_push(gq->vq, id, used_len);
}

/* queue_end() follows, and with it the arrays go. */
static bool source_give_back(void *ctx)
{
	struct guest_queue *gq = ctx;

	return !vhx_vring_give_back(&gq->vq->ring);
}

static void source_written(void *ctx, const void *p, uint64_t len)
{
	struct guest_queue *gq = ctx;

	vhx_vu_server_dirty(gq->guest->server, p, len);
}

static void source_flush(void *ctx)
{
	struct guest_queue *gq = ctx;

	vhx_vu_queue_flush(gq->vq);
}

static bool source_arm(void *ctx)
{
	struct guest_queue *gq = ctx;

	return !gq->blocked && vhx_vring_enable_kick(&gq->vq->ring);
}

static void source_disarm(void *ctx)
{
	struct guest_queue *gq = ctx;

	vhx_vring_disable_kick(&gq->vq->ring);
}

static void source_broken(void *ctx, int reason)
{
	struct guest_queue *gq = ctx;
	const struct vhx_vring *ring = &gq->vq->ring;

	vhx_log(gq->guest->cfg.log, VHX_LOG_WARNING, "%s: queue %u broken by the guest: %s",
		gq->guest->cfg.label, gq->vq->index,
		ring->broken ? vhx_ring_fault_name(ring->broken) : strerror(-reason));
	vhx_vu_queue_error(gq->vq);
}

static const struct vhx_fsource_ops source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.give_back = source_give_back,
	.written = source_written,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_disarm,
	.broken = source_broken,
};

/* Queues come and go */

static void kick_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct guest_queue *gq = vhx_container_of(w, struct guest_queue, kick);

	if (gq->live && vhx_vu_queue_kicked(gq->vq))
		vhx_fqueue_kick(gq->fq);
}

static void kick_watch(struct guest_queue *gq)
{
	struct vhx_loop *loop = gq->guest->cfg.loop;

	vhx_loop_fd_del(loop, &gq->kick);
	gq->kick.fd = gq->vq->kick_fd;
	gq->kick.events = EPOLLIN;
	gq->kick.ready = kick_ready;
	if (gq->kick.fd >= 0 && vhx_loop_fd_add(loop, &gq->kick))
		vhx_log(gq->guest->cfg.log, VHX_LOG_WARNING, "%s: queue %u: kick cannot be watched",
			gq->guest->cfg.label, gq->vq->index);
}

static void arrays_free(struct guest_queue *gq)
{
	free(gq->out);
	free(gq->small);
	free(gq->large);
	free(gq->large_of);
	gq->out = NULL;
	gq->small = NULL;
	gq->large = NULL;
	gq->large_of = NULL;
	gq->memory = 0;
}

static int arrays_new(struct guest_queue *gq, uint16_t size)
{
	uint16_t i;

	gq->size = size;
	/* A chain has as many descriptors as the queue, or as an indirect table of a longer one. */
	gq->segs_max = (uint16_t)(vhx_max_u64(size, SEGS_MIN) + SEGS_SPLIT);
	gq->out = calloc(gq->segs_max, sizeof(*gq->out));
	gq->small = calloc((size_t)size * SEGS_INLINE, sizeof(*gq->small));
	gq->large = calloc((size_t)SEGS_LARGE_CNT * gq->segs_max, sizeof(*gq->large));
	gq->large_of = calloc(size, sizeof(*gq->large_of));
	if (!gq->out || !gq->small || !gq->large || !gq->large_of) {
		arrays_free(gq);
		return -ENOMEM;
	}
	for (i = 0; i < size; i++)
		gq->large_of[i] = NO_ARRAY;
	for (i = 0; i < SEGS_LARGE_CNT; i++)
		gq->large_free[i] = i;
	gq->large_free_cnt = SEGS_LARGE_CNT;
	gq->memory = (uint64_t)(gq->segs_max * (1 + SEGS_LARGE_CNT) + size * SEGS_INLINE) *
			     sizeof(struct iovec) +
		     size * sizeof(*gq->large_of);
	return 0;
}

static struct guest_queue *guest_queue(struct vhx_guest *g, const struct vhx_vu_queue *vq)
{
	return &g->queues[vq->index];
}

static int guest_queue_start(void *ctx, struct vhx_vu_queue *vq)
{
	struct vhx_guest *g = ctx;
	struct guest_queue *gq = guest_queue(g, vq);
	int ret;

	assert(!gq->live);
	ret = arrays_new(gq, vq->size);
	if (ret)
		return ret;
	gq->vq = vq;
	gq->resubmitting = true;
	gq->blocked = false;
	ret = vhx_fqueue_start(g->fdev, vq->index, vq->size, &source_ops, gq, &gq->fq);
	if (ret) {
		arrays_free(gq);
		return ret;
	}
	gq->live = true;
	kick_watch(gq);
	vhx_log(g->cfg.log, VHX_LOG_DEBUG, "%s: queue %u started, %u entries", g->cfg.label,
		vq->index, vq->size);
	return 0;
}

static void queue_end(struct guest_queue *gq)
{
	if (!gq->live)
		return;
	gq->live = false;
	gq->stopping = false;
	vhx_loop_fd_del(gq->guest->cfg.loop, &gq->kick);
	arrays_free(gq);
}

static int guest_queue_stop(void *ctx, struct vhx_vu_queue *vq)
{
	struct vhx_guest *g = ctx;
	struct guest_queue *gq = guest_queue(g, vq);
	int ret;

	/* It was lost with its memory: see guest_mem_changed(). */
	if (!gq->live)
		return 0;
	ret = vhx_fqueue_stop(gq->fq);
	if (ret == -EINPROGRESS) {
		gq->stopping = true;
		g->stopping++;
	} else {
		queue_end(gq);
	}
	return ret;
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
	struct vhx_guest *g = ctx;

	queue_end(&g->queues[index]);
	assert(g->stopping);
	g->stopping--;
	vhx_vu_server_finish(g->server, 0);
}

static void queues_kill(struct vhx_guest *g)
{
	uint32_t i;

	for (i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		if (!g->queues[i].live)
			continue;
		vhx_fqueue_kill(g->queues[i].fq);
		queue_end(&g->queues[i]);
	}
	g->stopping = 0;
}

static void guest_queue_fds(void *ctx, struct vhx_vu_queue *vq)
{
	struct guest_queue *gq = guest_queue(ctx, vq);

	if (gq->live)
		kick_watch(gq);
}

static void guest_mem_changed(void *ctx)
{
	struct vhx_guest *g = ctx;
	uint32_t i;

	for (i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		struct guest_queue *gq = &g->queues[i];

		if (!gq->live || !vhx_fqueue_refetch(gq->fq))
			continue;
		source_broken(gq, -EFAULT);
		vhx_fqueue_kill(gq->fq);
		queue_end(gq);
	}
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
	g->guard = (struct vhx_unix_guard){
		.policy = cfg->policy, .name = cfg->label, .log = cfg->log
	};
	g->listen = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = listen_ready };
	g->conn = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = conn_ready };
	g->patience.expired = patience_ended;
	vhx_list_init(&g->patience.node);
	for (i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		g->queues[i].guest = g;
		g->queues[i].kick.fd = -1;
	}
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
		if (g->queues[i].live && !g->queues[i].stopping)
			guest_queue_stop(g, g->queues[i].vq);
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
		memory += g->queues[i].memory;
	return memory;
}
