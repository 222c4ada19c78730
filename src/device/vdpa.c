// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. The device at the other end (vhost_vdpa.c) is ours alone for as long as this one lives; its queues
 * (bridge_queue.c) have the rings and the requests. Here is what ties them.
 *
 *   STOPPED --first request--> RUNNING --reset of some queues--> DRAINING --nothing is owed--> STOPPED
 *      |                          '-------- reset of all queues, breach, NEEDS_RESET ------------^
 *      '--the device does not come up--> FAILED --its driver begins again--> STOPPED
 *
 * STOPPED: the device was reset and touches nothing. With the first request of a driver its features are known, and it
 * is started: status, memory, rings, DRIVER_OK.
 * RUNNING: requests go back and forth.
 * DRAINING: a vDPA device can be reset as a whole only. So that the queues which go on lose nothing, nothing new is
 * given to it until it owes no answer, or for DRAIN_NS; posted buffers it gives back by the reset. Then those queues
 * go on in new rings.
 * FAILED: requests end with the error of their type.
 *
 * A device that asks for it (NEEDS_RESET), or breaks a ring, is reset and started again; what it had in flight goes to
 * it once more if the type can bear that, else ends with an error.
 *
 * Time. The ioctls that change the status wait for the device: hardware answers at once; a VDUSE device as fast as its
 * process. Whoever binds one to a backend has that trust in it, or a backend process of its own for it.
 *
 * A hostile device has the bridge's memory and three kinds of eventfd that only the kernel writes. What it says in the
 * ring is checked there. Its config is copied; what it was at first does not change in length.
 */
#include "device/vdpa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vhx/endian.h>

#include "device/blk_layout.h"
#include "device/bridge_queue.h"
#include "device/identity.h"
#include "device/image.h"
#include "device/net_layout.h"
#include "device/vhost_vdpa.h"
#include "util/checked.h"

#define NS_PER_MS 1000000ull
/* A queue that is reset waits so long for what others of the device still owe. */
#define DRAIN_NS (5000 * NS_PER_MS)
/* A device that was reset because of a breach of its own is not started again at once, but with growing pauses. */
#define RETRY_MIN_NS (20 * NS_PER_MS)
#define RETRY_MAX_NS (1000 * NS_PER_MS)

/* VirtIO 6: of rings and transport. */
#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_ACCESS_PLATFORM (1ull << 33)
#define F_RING_PACKED (1ull << 34)
#define F_ORDER_PLATFORM (1ull << 36)
#define RING_BITS (F_INDIRECT_DESC | F_EVENT_IDX | F_RING_PACKED)
/* Addresses are those that we map; memory is ordered as for any device. */
#define PLATFORM_BITS (F_VERSION_1 | F_ACCESS_PLATFORM | F_ORDER_PLATFORM)

struct vdpa;

struct vdpa_ring {
	struct vdpa *v;
	struct vhx_bridge_queue q;
	struct vhx_loop_fd call;
	int kick_fd;
	struct vhx_queue *resetting;
};

enum vdpa_state {
	VDPA_STOPPED,
	VDPA_RUNNING,
	VDPA_DRAINING,
	VDPA_FAILED,
};

struct vdpa {
	struct vhx_device dev;
	struct vhx_device_ops ops;
	struct vhx_vhost_vdpa peer;
	struct vhx_vdpa_config cfg;
	char path[256];
	const struct vhx_devtype *type;
	const struct vhx_bridge_type *traits;
	struct vhx_bridge_memory memory;
	struct vhx_bridge_writes writes;
	struct vhx_loop_fd config_call;
	struct vhx_loop_timer drain, retry;
	uint64_t retry_ns;
	struct vhx_log_limit limit;
	uint64_t ring_bits; /* of the device */
	uint64_t crossing; /* its device bits that the driver may choose from */
	uint64_t features; /* chosen */
	enum vdpa_state state;
	bool kick_due; /* in this pass */
	struct vdpa_ring rings[VHX_VDPA_QUEUES_MAX];
	struct vhx_bridge_queue *queues[VHX_VDPA_QUEUES_MAX]; /* those of @rings */
};

static struct vdpa *vdpa_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct vdpa, dev);
}

#define vdpa_log(v, level, ...)                                                          \
	vhx_log_limited((v)->dev.log, &(v)->limit, vhx_loop_now((v)->dev.loop), (level), \
			__VA_ARGS__)

/* The config space */

static void config_update(struct vdpa *v)
{
	uint8_t bytes[VHX_DEVICE_CONFIG_MAX] = { 0 };

	if (vhx_vhost_vdpa_config_get(&v->peer, bytes, v->dev.config_len))
		return;
	if (v->type->device_id == VIRTIO_ID_BLOCK)
		vhx_bridge_blk_config_fit(&v->dev, bytes);
	if (!memcmp(v->dev.config, bytes, v->dev.config_len))
		return;
	memcpy(v->dev.config, bytes, v->dev.config_len);
	vhx_device_config_changed(&v->dev);
}

/* Start */

static uint32_t ring_features(const struct vdpa *v)
{
	return (v->ring_bits & F_INDIRECT_DESC ? VHX_RING_F_INDIRECT : 0) |
	       (v->ring_bits & F_EVENT_IDX ? VHX_RING_F_EVENT_IDX : 0) |
	       (v->ring_bits & F_RING_PACKED ? VHX_RING_F_PACKED : 0);
}

static int ring_start(struct vdpa *v, uint16_t index)
{
	struct vdpa_ring *r = &v->rings[index];
	struct vhx_vhost_vdpa_ring ring = {
		.index = index,
		.size = r->q.cfg.size,
		.base = vhx_bridge_queue_base(&r->q),
		.kick_fd = r->kick_fd,
		.call_fd = r->call.fd,
	};

	r->q.merges = v->traits->merges && !(index & 1) &&
		      v->features >> VIRTIO_NET_F_MRG_RXBUF & 1;
	vhx_bridge_queue_areas(&r->q, &ring.desc, &ring.driver, &ring.device);
	return vhx_vhost_vdpa_ring(&v->peer, &ring);
}

static int device_start(struct vdpa *v)
{
	uint64_t features = (v->features & v->crossing) | v->ring_bits |
			    (v->peer.features & PLATFORM_BITS);
	uint16_t i;
	int ret;

	ret = vhx_vhost_vdpa_negotiate(&v->peer, features);
	if (!ret)
		ret = vhx_vhost_vdpa_map(&v->peer, v->memory.addr, v->memory.base, v->memory.len);
	for (i = 0; !ret && i < v->dev.num_queues; i++)
		ret = ring_start(v, i);
	/* A reset has made some devices forget it. */
	if (!ret)
		ret = vhx_vhost_vdpa_config_call(&v->peer, v->config_call.fd);
	return ret ? ret : vhx_vhost_vdpa_run(&v->peer);
}

static void waiting_fail(struct vdpa *v)
{
	uint16_t i;

	for (i = 0; i < v->dev.num_queues; i++)
		vhx_bridge_queue_fail_waiting(&v->rings[i].q);
}

static void device_fail(struct vdpa *v, int err)
{
	vhx_log(v->dev.log, VHX_LOG_ERROR, "%s: failed: %s: %s%s", v->dev.id, v->path,
		strerror(-err),
		err == -ENOMEM ? " (does the limit of locked memory allow it?)" : "");
	v->state = VDPA_FAILED;
	waiting_fail(v);
}

static struct vdpa_ring *ring_of(struct vhx_bridge_queue *q)
{
	return vhx_container_of(q, struct vdpa_ring, q);
}

static void queue_push(struct vhx_bridge_queue *q)
{
	struct vdpa_ring *r = ring_of(q);
	const uint64_t one = 1;

	if (r->v->state == VDPA_RUNNING && !r->resetting && vhx_bridge_queue_push(q))
		(void)!write(r->kick_fd, &one, sizeof(one));
}

static void queue_answer(struct vhx_bridge_queue *q)
{
	if (!ring_of(q)->resetting)
		vhx_bridge_queue_answer(q);
}

static void ring_push(struct vdpa_ring *r)
{
	vhx_bridge_queue_go(&r->q, queue_push);
}

static void rings_push(struct vdpa *v)
{
	uint16_t i;

	for (i = 0; i < v->dev.num_queues; i++)
		ring_push(&v->rings[i]);
}

static bool waits(const struct vdpa *v)
{
	uint16_t i;

	for (i = 0; i < v->dev.num_queues; i++) {
		if (!vhx_list_empty(&v->rings[i].q.waiting))
			return true;
	}
	return false;
}

/* Where there is something to do, and nothing speaks against it. */
static void device_want(struct vdpa *v)
{
	int ret;

	if (v->state != VDPA_STOPPED || v->retry.due_ns || !waits(v))
		return;
	ret = device_start(v);
	if (ret) {
		(void)vhx_vhost_vdpa_reset(&v->peer);
		device_fail(v, ret);
		return;
	}
	v->state = VDPA_RUNNING;
	rings_push(v);
	/* While it was stopped, nobody said what changed. */
	config_update(v);
}

/* Stop */

static void ring_reset_end(struct vdpa_ring *r)
{
	struct vhx_queue *queue = r->resetting;

	vhx_bridge_queue_drop(&r->q);
	r->resetting = NULL;
	vhx_queue_quiesced(queue);
}

/*
 * The device lets go of all it has. Where that fails, it can still be at work, but on nothing except the bridge's
 * memory; it is not started again.
 */
static void device_stop(struct vdpa *v, bool breach)
{
	int ret = vhx_vhost_vdpa_reset(&v->peer);
	uint16_t i;

	vhx_loop_timer_cancel(v->dev.loop, &v->drain);
	v->state = VDPA_STOPPED;
	for (i = 0; i < v->dev.num_queues; i++)
		vhx_bridge_queue_restart(&v->rings[i].q, ring_features(v), breach);
	for (i = 0; i < v->dev.num_queues; i++) {
		if (v->rings[i].resetting)
			ring_reset_end(&v->rings[i]);
	}
	if (ret)
		device_fail(v, ret);
}

/* It did what it must not, or asks for it. */
static void device_restart(struct vdpa *v)
{
	device_stop(v, true);
	if (v->state != VDPA_STOPPED)
		return;
	vhx_loop_timer_arm(v->dev.loop, &v->retry, v->retry_ns);
	v->retry_ns = vhx_min_u64(2 * v->retry_ns, RETRY_MAX_NS);
}

static void retry_expired(struct vhx_loop_timer *t)
{
	device_want(vhx_container_of(t, struct vdpa, retry));
}

/* Does it owe an answer to a queue that goes on? */
static bool owes(const struct vdpa *v)
{
	uint16_t i;

	for (i = 0; i < v->dev.num_queues; i++) {
		if (!v->rings[i].resetting && v->rings[i].q.owed)
			return true;
	}
	return false;
}

static void drain_step(struct vdpa *v)
{
	if (v->state != VDPA_DRAINING || owes(v))
		return;
	device_stop(v, false);
	device_want(v);
}

static void drain_expired(struct vhx_loop_timer *t)
{
	struct vdpa *v = vhx_container_of(t, struct vdpa, drain);

	device_stop(v, false);
	device_want(v);
}

/* Events */

/* Takes what the device has used. False: it broke the ring, and the line is said. */
static bool queue_take(struct vhx_bridge_queue *q)
{
	struct vdpa_ring *r = ring_of(q);
	struct vdpa *v = r->v;
	int ret = vhx_bridge_queue_pull(q);

	if (r->resetting)
		vhx_bridge_queue_drop_waiting(q);
	if (ret > 0)
		v->retry_ns = RETRY_MIN_NS;
	if (ret >= 0)
		return true;
	vdpa_log(v, VHX_LOG_ERROR, "%s: queue %u: the device broke the ring: %s", v->dev.id,
		 q->cfg.index, vhx_ring_fault_name(q->ring.broken));
	return false;
}

static bool ring_pull(struct vdpa_ring *r)
{
	return vhx_bridge_queue_come(&r->q, queue_take, queue_answer);
}

static bool event_take(int fd)
{
	uint64_t cnt;

	return read(fd, &cnt, sizeof(cnt)) == sizeof(cnt);
}

static void call_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vdpa_ring *r = vhx_container_of(w, struct vdpa_ring, call);
	struct vdpa *v = r->v;

	if (!event_take(w->fd) || (v->state != VDPA_RUNNING && v->state != VDPA_DRAINING))
		return;
	if (!ring_pull(r)) {
		device_restart(v);
		return;
	}
	ring_push(r);
	drain_step(v);
}

static void config_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vdpa *v = vhx_container_of(w, struct vdpa, config_call);
	int status;

	if (!event_take(w->fd))
		return;
	status = vhx_vhost_vdpa_status(&v->peer);
	if (status >= 0 && (status & VHX_VDPA_S_NEEDS_RESET) && v->state == VDPA_RUNNING) {
		vdpa_log(v, VHX_LOG_WARNING, "%s: %s needs a reset", v->dev.id, v->path);
		device_restart(v);
	}
	config_update(v);
}

/* The device's ops */

static int vdpa_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct vdpa *v = vdpa_of(dev);

	vhx_bridge_queue_submit(&v->rings[vhx_queue_index(req->queue)].q, req);
	v->kick_due = true;
	return 0;
}

static void vdpa_kick(struct vhx_device *dev)
{
	struct vdpa *v = vdpa_of(dev);

	if (!v->kick_due)
		return;
	v->kick_due = false;
	if (v->state == VDPA_FAILED)
		waiting_fail(v);
	rings_push(v);
	device_want(v);
}

static void vdpa_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vdpa *v = vdpa_of(dev);
	struct vdpa_ring *r = &v->rings[vhx_queue_index(queue)];

	if (r->resetting)
		return;
	vhx_bridge_queue_go(&r->q, queue_answer);
	/* Its pages may be what others wait for. */
	ring_push(r);
}

static void vdpa_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vdpa *v = vdpa_of(dev);
	struct vdpa_ring *r = &v->rings[vhx_queue_index(queue)];

	r->resetting = queue;
	vhx_bridge_queue_drop_waiting(&r->q);
	if (v->state != VDPA_RUNNING && v->state != VDPA_DRAINING) {
		ring_reset_end(r);
		return;
	}
	if (v->state == VDPA_RUNNING)
		vhx_loop_timer_arm(dev->loop, &v->drain, DRAIN_NS);
	v->state = VDPA_DRAINING;
	drain_step(v);
}

static void vdpa_restarted(struct vhx_device *dev)
{
	struct vdpa *v = vdpa_of(dev);

	vhx_loop_timer_cancel(dev->loop, &v->retry);
	if (v->state == VDPA_RUNNING || v->state == VDPA_DRAINING)
		device_stop(v, false);
	v->state = VDPA_STOPPED;
	v->retry_ns = RETRY_MIN_NS;
	v->writes = (struct vhx_bridge_writes){ 0 };
}

static int vdpa_set_features(struct vhx_device *dev, uint64_t features)
{
	struct vdpa *v = vdpa_of(dev);

	if (features & ~dev->features)
		return -EINVAL;
	v->features = features;
	config_update(v);
	return 0;
}

static int vdpa_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	struct vdpa *v = vdpa_of(dev);
	int ret = vhx_vhost_vdpa_config_set(&v->peer, off, buf, len);

	if (!ret)
		memcpy(dev->config + off, buf, len);
	return ret ? -EINVAL : 0;
}

/* Answers are made in the message; there is nothing to stage. */
static void vdpa_queue_limits(const struct vhx_device *dev, uint16_t index,
			      struct vhx_device_limits *limits)
{
	limits->max_staged = 0;
}

static void ring_close(struct vdpa *v, struct vdpa_ring *r)
{
	if (!r->v)
		return;
	vhx_bridge_queue_drop(&r->q);
	vhx_bridge_queue_fini(&r->q);
	vhx_loop_fd_del(v->dev.loop, &r->call);
	if (r->call.fd >= 0)
		close(r->call.fd);
	if (r->kick_fd >= 0)
		close(r->kick_fd);
}

static void vdpa_close(struct vhx_device *dev)
{
	struct vdpa *v = vdpa_of(dev);
	uint16_t i;

	vhx_loop_timer_cancel(dev->loop, &v->drain);
	vhx_loop_timer_cancel(dev->loop, &v->retry);
	/* First of all: with it the kernel resets the device, and unmaps the memory. */
	vhx_vhost_vdpa_close(&v->peer);
	vhx_loop_fd_del(dev->loop, &v->config_call);
	if (v->config_call.fd >= 0)
		close(v->config_call.fd);
	for (i = 0; i < VHX_VDPA_QUEUES_MAX; i++)
		ring_close(v, &v->rings[i]);
	vhx_bridge_memory_fini(&v->memory);
	free(v);
}

static const struct vhx_device_ops vdpa_ops = {
	.queue_limits = vdpa_queue_limits,
	.submit = vdpa_submit,
	.kick = vdpa_kick,
	.room = vdpa_room,
	.reset = vdpa_reset,
	.restarted = vdpa_restarted,
	.set_features = vdpa_set_features,
	.set_config = vdpa_set_config,
	.close = vdpa_close,
};

/* Making one */

static struct vdpa *vdpa_alloc(struct vhx_loop *loop, const struct vhx_vdpa_config *cfg,
			       const struct vhx_log *log)
{
	struct vdpa *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->cfg = *cfg;
	snprintf(v->path, sizeof(v->path), "%s", cfg->path);
	v->peer.fd = -1;
	v->memory.fd = -1;
	v->dev.log = log;
	v->dev.loop = loop;
	v->ops = vdpa_ops;
	v->dev.ops = &v->ops;
	v->config_call = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = config_ready };
	vhx_list_init(&v->drain.node);
	vhx_list_init(&v->retry.node);
	v->drain.expired = drain_expired;
	v->retry.expired = retry_expired;
	v->retry_ns = RETRY_MIN_NS;
	return v;
}

static int say(struct vhx_error *err, int ret, const char *text)
{
	vhx_error_set(err, "%s", text);
	return ret;
}

static int type_check(struct vdpa *v, struct vhx_error *err)
{
	const char *refusal;

	v->type = vhx_devtype_find(v->peer.device_id);
	v->traits = vhx_bridge_type_find(v->peer.device_id);
	v->ops.name = v->type->name;
	v->ops.device_id = v->peer.device_id;
	vhx_device_identify(&v->dev, v->cfg.id);
	refusal = vhx_devtype_refusal(v->type);
	if (refusal) {
		vhx_error_set(err, "a %s cannot be bridged: %s", v->type->name, refusal);
		return -EOPNOTSUPP;
	}
	if (!(v->peer.features & F_VERSION_1))
		return say(err, -EOPNOTSUPP, "the device knows nothing of VirtIO 1");
	if (v->peer.config_len < v->traits->config_len)
		return say(err, -EPROTO, "its config space is too small for one of its type");
	return 0;
}

/* A device has as many queues as its config says, or the operator. */
static uint16_t queues_used(const struct vdpa *v)
{
	struct virtio_blk_config config = { 0 };

	if (v->cfg.queues)
		return v->cfg.queues;
	if (v->type->device_id != VIRTIO_ID_BLOCK)
		return v->traits->queues;
	if (!(v->peer.features >> VIRTIO_BLK_F_MQ & 1) ||
	    vhx_vhost_vdpa_config_get(&v->peer, &config, v->traits->config_len))
		return 1;
	return (uint16_t)vhx_max_u64(1,
				     vhx_min_u64(v->peer.queues, vhx_le16_get(config.num_queues)));
}

static int queues_choose(struct vdpa *v, struct vhx_error *err)
{
	uint16_t max = v->traits->queues_step
			       ? (uint16_t)vhx_min_u64(v->peer.queues, VHX_VDPA_QUEUES_MAX)
			       : v->traits->queues;

	v->dev.num_queues = queues_used(v);
	if (v->dev.num_queues >= v->traits->queues && v->dev.num_queues <= max &&
	    v->dev.num_queues <= v->peer.queues)
		return 0;
	vhx_error_set(err, "queues=%u: the device has %u, and one of its type from %u to %u",
		      v->dev.num_queues, v->peer.queues, v->traits->queues, max);
	return -ERANGE;
}

static void device_fill(struct vdpa *v)
{
	v->ring_bits = v->peer.features & RING_BITS;
	if (v->cfg.split)
		v->ring_bits &= ~F_RING_PACKED;
	v->crossing = v->peer.features & v->traits->features;
	v->dev.features = v->crossing;
	if (v->type->device_id == VIRTIO_ID_BLOCK)
		v->dev.features |= 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX;
	v->dev.queue_size_max = v->cfg.queue_size;
	v->dev.max_out = VHX_BRIDGE_REQUEST_MAX + VHX_BRIDGE_REQUEST_HEADERS;
	v->dev.max_in = VHX_BRIDGE_REQUEST_MAX + VHX_BRIDGE_REQUEST_HEADERS;
	v->dev.config_len = v->traits->config_len;
	/* What completed is with the device, whatever becomes of this process. */
	vhx_image_identify_cached(v->dev.uuid, v->dev.cache_id);
}

static int event_new(struct vdpa *v, struct vhx_loop_fd *w)
{
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return w->fd < 0 ? -errno : vhx_loop_fd_add(v->dev.loop, w);
}

static int ring_make(struct vdpa *v, const struct vhx_bridge_queue_config *cfg, uint64_t off)
{
	struct vdpa_ring *r = &v->rings[cfg->index];
	int ret = vhx_bridge_queue_init(&r->q, cfg, &v->memory, off);

	if (ret)
		return ret;
	r->v = v;
	r->call = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = call_ready };
	r->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->kick_fd < 0)
		return -errno;
	v->dev.memory += r->q.memory;
	vhx_bridge_queue_restart(&r->q, ring_features(v), false);
	return event_new(v, &r->call);
}

/* The largest power of two that both take. */
static uint16_t ring_size(const struct vdpa *v)
{
	uint16_t size = VHX_BRIDGE_RING_SIZE;

	while (size > v->peer.ring_size_max && size > 2)
		size /= 2;
	return size;
}

static bool reaches(const struct vdpa *v)
{
	uint64_t first = v->memory.addr, last = first + v->memory.len - 1;

	return v->peer.iova_first <= first && last <= v->peer.iova_last;
}

/* Where the device wants it. */
static int memory_make(struct vdpa *v, uint64_t len)
{
	int ret = vhx_bridge_memory_init(&v->memory, len);

	if (ret || reaches(v))
		return ret;
	v->memory.addr = vhx_div_round_up_u64(v->peer.iova_first, VHX_PAGE) * VHX_PAGE;
	return reaches(v) ? 0 : -ERANGE;
}

static int rings_make(struct vdpa *v)
{
	struct vhx_bridge_queue_config cfg = {
		.size = ring_size(v),
		.max_bytes = v->dev.max_out + v->dev.max_in,
		.type = v->type,
		.framing = &v->traits->framing,
		.writes = &v->writes,
		.beside = v->queues,
		.queues = v->dev.num_queues,
	};
	uint64_t len = vhx_bridge_queue_len(&cfg);
	int ret = memory_make(v, len * v->dev.num_queues);

	for (; !ret && cfg.index < v->dev.num_queues; cfg.index++)
		ret = ring_make(v, &cfg, len * cfg.index);
	v->dev.memory += sizeof(*v) + v->memory.len;
	return ret;
}

static int vdpa_make(struct vdpa *v, struct vhx_error *err)
{
	int ret = vhx_vhost_vdpa_open(&v->peer, v->path, err);

	if (ret)
		return ret;
	ret = type_check(v, err);
	if (!ret)
		ret = queues_choose(v, err);
	if (ret) {
		vhx_error_prefix(err, "%s", v->path);
		return ret;
	}
	device_fill(v);
	ret = rings_make(v);
	if (!ret)
		ret = event_new(v, &v->config_call);
	if (ret) {
		vhx_error_set(err, "%s: %s", v->path, strerror(-ret));
		return ret;
	}
	config_update(v);
	return 0;
}

int vhx_vdpa_new(struct vhx_loop *loop, const struct vhx_vdpa_config *config,
		 const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct vdpa *v = vdpa_alloc(loop, config, log);
	int ret;

	if (!v) {
		vhx_error_set(err, "%s: out of memory", config->id);
		return -ENOMEM;
	}
	ret = vdpa_make(v, err);
	if (ret) {
		vhx_error_prefix(err, "%s", config->id);
		vdpa_close(&v->dev);
		return ret;
	}
	/* The caller's texts. */
	v->cfg.id = NULL;
	v->cfg.path = NULL;
	vhx_log(log, VHX_LOG_INFO, "%s: %s: %s, %u queue%s, %s rings", v->dev.id, v->path,
		v->type->name, v->dev.num_queues, v->dev.num_queues == 1 ? "" : "s",
		v->ring_bits & F_RING_PACKED ? "packed" : "split");
	*device = &v->dev;
	return 0;
}
