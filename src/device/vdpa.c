// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. The device at the other end (vhost_vdpa.c) is ours alone for as long as this one lives; its queues
 * (bridge_queue.c) have the rings and the requests; a worker (vdpa_worker.c) makes its calls. Here is what ties them.
 *
 *   STOPPED --first request--> STARTING --up--> RUNNING --reset of some queues--> DRAINING --nothing is owed--+
 *      ^                        |     |            '---- reset of all queues, breach, NEEDS_RESET ----------+ |
 *      |                        |     '-------- its driver begins again --------------------------------+   | |
 *      |                        '--does not come up--> FAILED --its driver begins again--> STOPPED      v   v v
 *      '-------------------------- the device has let go -------------------------------------------- STOPPING
 *
 * STOPPED: the device was reset and touches nothing. With the first request of a driver its features are known, and it
 * is started: status, memory, rings, DRIVER_OK.
 * STARTING: the worker does that, once the call before is over. Requests wait; the rings are empty.
 * RUNNING: requests go back and forth.
 * DRAINING: a vDPA device can be reset as a whole only. So that the queues which go on lose nothing, nothing new is
 * given to it until it owes no answer, or for DRAIN_NS; posted buffers it gives back by the reset. Then those queues
 * go on in new rings.
 * STOPPING: the worker resets it, once the call before is over. Until that returned the device can write to the rings,
 * which are left as they are.
 * FAILED: requests end with the error of their type.
 *
 * A device that asks for it (NEEDS_RESET), or breaks a ring, is reset and started again; what it had in flight goes to
 * it once more if the type can bear that, else ends with an error.
 *
 * Time. The kernel makes calls wait for the device: hardware answers at once; a VDUSE device as fast as its process,
 * which can hang, for 30 s or for ever; and a call on the same file waits for the one before. So once the device is
 * shown to drivers the loop's thread makes none: a table says which call is due (job_next), the worker makes it, and its
 * event brings the answer. Meanwhile
 *   - a request waits;
 *   - the reset of a queue is answered at once if the device has nothing of the queue, else when the device has let go;
 *   - a write of the config is taken, up to WRITES_MAX of them, and told to the device in its turn. What the device has
 *     made of it is looked at then, and is what the driver reads;
 *   - features that are chosen count for the next start. A start that is under way for the last driver is undone;
 *   - an answer that nothing waits for any more is not looked at.
 * After PATIENCE_NS a line says what the device is waited for.
 *
 * Who owns what. Rings and requests are the loop's thread's, always. The file of the device, the memory and the eventfds
 * are the worker's, and live until its thread is through: a call that hangs still finds what it was told of when
 * this device is closed, and not what came to lie there later.
 *
 * A hostile device has the bridge's memory and three kinds of eventfd that only the kernel writes. What it says in the
 * ring is checked there. Its config is copied; what it was at first does not change in length. It can hang, and its
 * driver then waits, nobody else.
 */
#include "device/vdpa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <vhx/endian.h>

#include "device/blk_layout.h"
#include "device/bridge_queue.h"
#include "device/identity.h"
#include "device/image.h"
#include "device/net_layout.h"
#include "device/vdpa_worker.h"
#include "util/checked.h"

#define NS_PER_MS 1000000ull
/* A queue that is reset waits so long for what others of the device still owe. */
#define DRAIN_NS (5000 * NS_PER_MS)
/* A device that was reset because of a breach of its own is not started again at once, but with growing pauses. */
#define RETRY_MIN_NS (20 * NS_PER_MS)
#define RETRY_MAX_NS (1000 * NS_PER_MS)
/* A call that takes longer is told of. */
#define PATIENCE_NS (5000 * NS_PER_MS)
/* Writes of the config that wait for the device. */
#define WRITES_MAX 8u

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
	VDPA_STARTING,
	VDPA_RUNNING,
	VDPA_DRAINING,
	VDPA_STOPPING,
	VDPA_FAILED,
};

/* A write of the config that the device is to be told. */
struct vdpa_write {
	uint32_t off, len;
	uint8_t bytes[VHX_DEVICE_CONFIG_MAX];
};

struct vdpa {
	struct vhx_device dev;
	struct vhx_device_ops ops;
	struct vhx_vdpa_worker *worker;
	const struct vhx_vhost_vdpa *peer; /* the worker's */
	struct vhx_bridge_memory *memory; /* likewise */
	struct vhx_vdpa_job *job; /* likewise, while no call is under way */
	struct vhx_loop_fd answer; /* of the worker */
	struct vhx_vdpa_config cfg;
	char path[256];
	const struct vhx_devtype *type;
	const struct vhx_bridge_type *traits;
	struct vhx_bridge_payload payload; /* as it was at first */
	struct vhx_bridge_writes writes;
	struct vhx_loop_fd config_call;
	struct vhx_loop_timer drain, retry, patience;
	uint64_t retry_ns;
	struct vhx_log_limit limit;
	uint64_t ring_bits; /* of the device */
	uint64_t crossing; /* its device bits that the driver may choose from */
	uint64_t features; /* chosen */
	enum vdpa_state state;
	bool kick_due; /* in this pass */
	bool shown; /* to drivers: the thread of the loop makes no call any more */
	bool breach; /* what it is stopped for */
	bool look_due; /* at its status and config */
	struct vdpa_write config_writes[WRITES_MAX]; /* oldest first */
	unsigned int config_writes_cnt;
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

/* As the device has it. */
static void config_take(struct vdpa *v, uint8_t *bytes)
{
	if (v->type->device_id == VIRTIO_ID_BLOCK)
		vhx_bridge_blk_config_fit(&v->dev, &v->payload, bytes);
	if (!memcmp(v->dev.config, bytes, v->dev.config_len))
		return;
	memcpy(v->dev.config, bytes, v->dev.config_len);
	vhx_device_config_changed(&v->dev);
}

/* Calls: which one is due, in the order in which they are looked for */

static void job_over(struct vdpa *v);

static void job_ask(struct vdpa *v, enum vhx_vdpa_call call)
{
	int ret;

	v->job->call = call;
	vhx_loop_timer_arm(v->dev.loop, &v->patience, PATIENCE_NS);
	ret = vhx_vdpa_worker_ask(v->worker);
	if (!ret)
		return;
	v->job->ret = ret;
	job_over(v);
}

static bool write_due(const struct vdpa *v)
{
	return v->config_writes_cnt;
}

static void write_fill(struct vdpa *v)
{
	const struct vdpa_write *w = &v->config_writes[0];

	v->job->off = w->off;
	v->job->len = w->len;
	memcpy(v->job->bytes, w->bytes, w->len);
	v->config_writes_cnt--;
	memmove(v->config_writes, v->config_writes + 1, v->config_writes_cnt * sizeof(*w));
}

static bool start_due(const struct vdpa *v)
{
	return v->state == VDPA_STARTING;
}

static void ring_fill(struct vdpa *v, uint16_t index)
{
	struct vhx_vhost_vdpa_ring *ring = &v->job->rings[index];
	struct vdpa_ring *r = &v->rings[index];

	*ring = (struct vhx_vhost_vdpa_ring){
		.index = index,
		.size = r->q.cfg.size,
		.base = vhx_bridge_queue_base(&r->q),
		.kick_fd = r->kick_fd,
		.call_fd = r->call.fd,
	};
	r->q.merges = v->traits->merges && !(index & 1) &&
		      v->features >> VIRTIO_NET_F_MRG_RXBUF & 1;
	vhx_bridge_queue_areas(&r->q, &ring->desc, &ring->driver, &ring->device);
}

static void start_fill(struct vdpa *v)
{
	uint16_t i;

	v->job->features = (v->features & v->crossing) | v->ring_bits |
			   (v->peer->features & PLATFORM_BITS);
	v->job->config_fd = v->config_call.fd;
	v->job->num_rings = v->dev.num_queues;
	for (i = 0; i < v->dev.num_queues; i++)
		ring_fill(v, i);
}

static bool stop_due(const struct vdpa *v)
{
	return v->state == VDPA_STOPPING;
}

static bool look_due(const struct vdpa *v)
{
	return v->look_due;
}

static void look_fill(struct vdpa *v)
{
	v->look_due = false;
	v->job->status = 0;
	v->job->len = v->dev.config_len;
}

static void write_done(struct vdpa *v);
static void start_done(struct vdpa *v);
static void stop_done(struct vdpa *v);
static void look_done(struct vdpa *v);

static const struct {
	enum vhx_vdpa_call call;
	bool (*due)(const struct vdpa *v);
	void (*fill)(struct vdpa *v); /* what the call takes, or NULL */
	void (*done)(struct vdpa *v);
	const char *name;
} jobs[] = {
	{ VHX_VDPA_WRITE, write_due, write_fill, write_done, "take a write of its config" },
	{ VHX_VDPA_START, start_due, start_fill, start_done, "start" },
	{ VHX_VDPA_STOP, stop_due, NULL, stop_done, "stop" },
	{ VHX_VDPA_LOOK, look_due, look_fill, look_done, "say its status" },
};

static void job_next(struct vdpa *v)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(jobs) && !vhx_vdpa_worker_busy(v->worker); i++) {
		if (!jobs[i].due(v))
			continue;
		if (jobs[i].fill)
			jobs[i].fill(v);
		job_ask(v, jobs[i].call);
		return;
	}
}

static size_t job_row(const struct vdpa *v)
{
	size_t i = 0;

	while (jobs[i].call != v->job->call)
		i++;
	return i;
}

static void job_over(struct vdpa *v)
{
	vhx_loop_timer_cancel(v->dev.loop, &v->patience);
	jobs[job_row(v)].done(v);
	job_next(v);
}

static void patience_expired(struct vhx_loop_timer *t)
{
	struct vdpa *v = vhx_container_of(t, struct vdpa, patience);

	vdpa_log(v, VHX_LOG_WARNING, "%s: %s does not answer: it is to %s", v->dev.id, v->path,
		 jobs[job_row(v)].name);
}

/* Start */

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
	if (v->state != VDPA_STOPPED || v->retry.due_ns || !waits(v))
		return;
	v->state = VDPA_STARTING;
	job_next(v);
}

static void start_done(struct vdpa *v)
{
	/* Else it is stopped next, however this went. */
	if (v->state != VDPA_STARTING)
		return;
	if (v->job->ret) {
		device_fail(v, v->job->ret);
		return;
	}
	v->state = VDPA_RUNNING;
	rings_push(v);
	/* While it was stopped, nobody said what changed. */
	v->look_due = true;
}

/* Stop */

static void ring_reset_end(struct vdpa_ring *r)
{
	struct vhx_queue *queue = r->resetting;

	vhx_bridge_queue_drop(&r->q);
	r->resetting = NULL;
	vhx_queue_quiesced(queue);
}

static void device_stop(struct vdpa *v, bool breach)
{
	vhx_loop_timer_cancel(v->dev.loop, &v->drain);
	v->state = VDPA_STOPPING;
	v->breach = breach;
	job_next(v);
}

/* After a breach of its own. */
static void device_pause(struct vdpa *v)
{
	vhx_loop_timer_arm(v->dev.loop, &v->retry, v->retry_ns);
	v->retry_ns = vhx_min_u64(2 * v->retry_ns, RETRY_MAX_NS);
}

static bool ring_pull(struct vdpa_ring *r);

/*
 * The device has let go of all it had. Where it has not, it can still be at work, but on nothing except the bridge's
 * memory; it is not started again.
 */
static void stop_done(struct vdpa *v)
{
	int ret = v->job->ret;
	uint16_t i;

	assert(v->state == VDPA_STOPPING);
	/* What it has used up to then is not lost. */
	for (i = 0; !v->breach && i < v->dev.num_queues; i++)
		v->breach = !ring_pull(&v->rings[i]);
	v->state = VDPA_STOPPED;
	for (i = 0; i < v->dev.num_queues; i++)
		vhx_bridge_queue_restart(&v->rings[i].q, vhx_ring_features(v->ring_bits),
					 v->breach);
	for (i = 0; i < v->dev.num_queues; i++) {
		if (v->rings[i].resetting)
			ring_reset_end(&v->rings[i]);
	}
	if (ret)
		device_fail(v, ret);
	else if (v->breach)
		device_pause(v);
	else
		device_want(v);
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
}

static void drain_expired(struct vhx_loop_timer *t)
{
	device_stop(vhx_container_of(t, struct vdpa, drain), false);
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
		device_stop(v, true);
		return;
	}
	ring_push(r);
	drain_step(v);
}

static void config_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vdpa *v = vhx_container_of(w, struct vdpa, config_call);

	if (!event_take(w->fd))
		return;
	v->look_due = true;
	job_next(v);
}

static void look_done(struct vdpa *v)
{
	int status = v->job->status;

	/* Where a write is to come, the device is looked at behind that. */
	if (!v->job->ret && !v->config_writes_cnt)
		config_take(v, v->job->bytes);
	/* In another state, the answer is one of before or is acted on already. */
	if (v->state != VDPA_RUNNING || status < 0 || !(status & VHX_VDPA_S_NEEDS_RESET))
		return;
	vdpa_log(v, VHX_LOG_WARNING, "%s: %s needs a reset", v->dev.id, v->path);
	device_stop(v, true);
}

static void write_done(struct vdpa *v)
{
	if (v->job->ret)
		vdpa_log(v, VHX_LOG_WARNING, "%s: %s refused a write of its config: %s", v->dev.id,
			 v->path, strerror(-v->job->ret));
	v->look_due = true;
}

static void answer_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vdpa *v = vhx_container_of(w, struct vdpa, answer);

	if (event_take(w->fd) && vhx_vdpa_worker_take(v->worker))
		job_over(v);
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

/* Can it still work on what came from this queue? */
static bool device_has(const struct vdpa_ring *r)
{
	switch (r->v->state) {
	case VDPA_RUNNING:
	case VDPA_DRAINING:
		return true;
	case VDPA_STOPPING:
		return !vhx_list_empty(&r->q.flying) || !vhx_list_empty(&r->q.merging);
	default:
		return false;
	}
}

static void vdpa_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vdpa *v = vdpa_of(dev);
	struct vdpa_ring *r = &v->rings[vhx_queue_index(queue)];

	r->resetting = queue;
	vhx_bridge_queue_drop_waiting(&r->q);
	if (!device_has(r)) {
		ring_reset_end(r);
		return;
	}
	if (v->state == VDPA_STOPPING)
		return;
	if (v->state == VDPA_RUNNING)
		vhx_loop_timer_arm(dev->loop, &v->drain, DRAIN_NS);
	v->state = VDPA_DRAINING;
	drain_step(v);
}

static void vdpa_restarted(struct vhx_device *dev)
{
	struct vdpa *v = vdpa_of(dev);

	vhx_loop_timer_cancel(dev->loop, &v->retry);
	v->retry_ns = RETRY_MIN_NS;
	v->writes = (struct vhx_bridge_writes){ 0 };
	if (v->state == VDPA_FAILED)
		v->state = VDPA_STOPPED;
	else if (v->state != VDPA_STOPPED && v->state != VDPA_STOPPING)
		device_stop(v, false);
}

static int vdpa_set_features(struct vhx_device *dev, uint64_t features)
{
	struct vdpa *v = vdpa_of(dev);

	if (features & ~dev->features)
		return -EINVAL;
	v->features = features;
	v->look_due = true;
	job_next(v);
	return 0;
}

/* The place of a write: that of one of the same bytes that waits, or a new one. NULL: there are too many. */
static struct vdpa_write *write_place(struct vdpa *v, uint32_t off, uint32_t len)
{
	unsigned int i;

	for (i = 0; i < v->config_writes_cnt; i++) {
		if (v->config_writes[i].off == off && v->config_writes[i].len == len)
			return &v->config_writes[i];
	}
	return i < WRITES_MAX ? &v->config_writes[v->config_writes_cnt++] : NULL;
}

static int vdpa_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	struct vdpa *v = vdpa_of(dev);
	struct vdpa_write *w = write_place(v, off, len);

	if (!w)
		return -EINVAL;
	w->off = off;
	w->len = len;
	memcpy(w->bytes, buf, len);
	memcpy(dev->config + off, buf, len);
	job_next(v);
	return 0;
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
}

static void vdpa_close(struct vhx_device *dev)
{
	struct vdpa *v = vdpa_of(dev);
	uint16_t i;

	vhx_loop_timer_cancel(dev->loop, &v->drain);
	vhx_loop_timer_cancel(dev->loop, &v->retry);
	vhx_loop_timer_cancel(dev->loop, &v->patience);
	vhx_loop_fd_del(dev->loop, &v->config_call);
	vhx_loop_fd_del(dev->loop, &v->answer);
	for (i = 0; i < VHX_VDPA_QUEUES_MAX; i++)
		ring_close(v, &v->rings[i]);
	/* With the file, the kernel resets the device and unmaps the memory; and that goes after it. */
	if (v->shown)
		vhx_vdpa_worker_end(v->worker);
	else
		vhx_vdpa_worker_abandon(v->worker);
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
	v->worker = vhx_vdpa_worker_new();
	if (!v->worker) {
		free(v);
		return NULL;
	}
	v->peer = &vhx_vdpa_worker_view(v->worker)->peer;
	v->memory = &vhx_vdpa_worker_view(v->worker)->memory;
	v->job = &vhx_vdpa_worker_view(v->worker)->job;
	v->cfg = *cfg;
	snprintf(v->path, sizeof(v->path), "%s", cfg->path);
	v->dev.log = log;
	v->dev.loop = loop;
	v->ops = vdpa_ops;
	v->dev.ops = &v->ops;
	v->config_call = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = config_ready };
	v->answer = (struct vhx_loop_fd){ .fd = vhx_vdpa_worker_view(v->worker)->event_fd,
					  .events = EPOLLIN,
					  .ready = answer_ready };
	vhx_list_init(&v->drain.node);
	vhx_list_init(&v->retry.node);
	vhx_list_init(&v->patience.node);
	v->drain.expired = drain_expired;
	v->retry.expired = retry_expired;
	v->patience.expired = patience_expired;
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

	v->type = vhx_devtype_find(v->peer->device_id);
	v->traits = vhx_bridge_type_find(v->peer->device_id);
	v->ops.name = v->type->name;
	v->ops.device_id = v->peer->device_id;
	vhx_device_identify(&v->dev, v->cfg.id);
	refusal = vhx_devtype_refusal(v->type);
	if (refusal) {
		vhx_error_set(err, "a %s cannot be bridged: %s", v->type->name, refusal);
		return -EOPNOTSUPP;
	}
	if (!(v->peer->features & F_VERSION_1))
		return say(err, -EOPNOTSUPP, "the device knows nothing of VirtIO 1");
	if (v->peer->config_len < v->traits->config_len)
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
	if (!(v->peer->features >> VIRTIO_BLK_F_MQ & 1) ||
	    vhx_vhost_vdpa_config_get(v->peer, &config, v->traits->config_len))
		return 1;
	return (uint16_t)vhx_max_u64(1,
				     vhx_min_u64(v->peer->queues, vhx_le16_get(config.num_queues)));
}

static int queues_choose(struct vdpa *v, struct vhx_error *err)
{
	uint16_t max = v->traits->queues_step
			       ? (uint16_t)vhx_min_u64(v->peer->queues, VHX_VDPA_QUEUES_MAX)
			       : v->traits->queues;

	v->dev.num_queues = queues_used(v);
	if (v->dev.num_queues >= v->traits->queues && v->dev.num_queues <= max &&
	    v->dev.num_queues <= v->peer->queues)
		return 0;
	vhx_error_set(err, "queues=%u: the device has %u, and one of its type from %u to %u",
		      v->dev.num_queues, v->peer->queues, v->traits->queues, max);
	return -ERANGE;
}

static void device_fill(struct vdpa *v)
{
	v->ring_bits = v->peer->features & RING_BITS;
	if (v->cfg.split)
		v->ring_bits &= ~F_RING_PACKED;
	v->crossing = v->peer->features & v->traits->features;
	v->payload = VHX_BRIDGE_PAYLOAD_WHOLE;
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
	w->fd = vhx_vdpa_worker_event(v->worker);
	return w->fd < 0 ? w->fd : vhx_loop_fd_add(v->dev.loop, w);
}

static int ring_make(struct vdpa *v, const struct vhx_bridge_queue_config *cfg, uint64_t off)
{
	struct vdpa_ring *r = &v->rings[cfg->index];
	int ret = vhx_bridge_queue_init(&r->q, cfg, v->memory, off);

	if (ret)
		return ret;
	r->v = v;
	r->call = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = call_ready };
	r->kick_fd = vhx_vdpa_worker_event(v->worker);
	if (r->kick_fd < 0)
		return r->kick_fd;
	v->dev.memory += r->q.memory;
	vhx_bridge_queue_restart(&r->q, vhx_ring_features(v->ring_bits), false);
	return event_new(v, &r->call);
}

/* The largest power of two that both take. */
static uint16_t ring_size(const struct vdpa *v)
{
	uint16_t size = VHX_BRIDGE_RING_SIZE;

	while (size > v->peer->ring_size_max && size > 2)
		size /= 2;
	return size;
}

static bool reaches(const struct vdpa *v)
{
	uint64_t first = v->memory->addr, last = first + v->memory->len - 1;

	return v->peer->iova_first <= first && last <= v->peer->iova_last;
}

/* Where the device wants it. */
static int memory_make(struct vdpa *v, uint64_t len)
{
	int ret = vhx_bridge_memory_init(v->memory, len);

	if (ret || reaches(v))
		return ret;
	v->memory->addr = vhx_div_round_up_u64(v->peer->iova_first, VHX_PAGE) * VHX_PAGE;
	return reaches(v) ? 0 : -ERANGE;
}

static int rings_make(struct vdpa *v)
{
	struct vhx_bridge_queue_config cfg = {
		.size = ring_size(v),
		.max_bytes = v->dev.max_out + v->dev.max_in,
		.type = v->type,
		.framing = &v->traits->framing,
		.payload = v->payload,
		.writes = &v->writes,
		.beside = v->queues,
		.queues = v->dev.num_queues,
	};
	uint64_t len = vhx_bridge_queue_len(&cfg);
	int ret = memory_make(v, len * v->dev.num_queues);

	for (; !ret && cfg.index < v->dev.num_queues; cfg.index++)
		ret = ring_make(v, &cfg, len * cfg.index);
	v->dev.memory += sizeof(*v) + v->memory->len + vhx_vdpa_worker_view(v->worker)->bytes;
	return ret;
}

/* Nobody has been shown another one. */
static int config_read(struct vdpa *v)
{
	uint8_t bytes[VHX_DEVICE_CONFIG_MAX] = { 0 };
	int ret = v->dev.config_len ? vhx_vhost_vdpa_config_get(v->peer, bytes, v->dev.config_len)
				    : 0;

	if (ret)
		return ret;
	if (v->type->device_id == VIRTIO_ID_BLOCK)
		v->payload = vhx_bridge_blk_payload(v->crossing, bytes, ring_size(v));
	config_take(v, bytes);
	return 0;
}

static int vdpa_make(struct vdpa *v, struct vhx_error *err)
{
	int ret = vhx_vhost_vdpa_open(&vhx_vdpa_worker_view(v->worker)->peer, v->path, err);

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
	ret = config_read(v);
	if (!ret)
		ret = rings_make(v);
	if (!ret)
		ret = event_new(v, &v->config_call);
	if (!ret)
		ret = vhx_loop_fd_add(v->dev.loop, &v->answer);
	if (ret)
		vhx_error_set(err, "%s: %s", v->path, strerror(-ret));
	return ret;
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
	v->shown = true;
	/* The caller's texts. */
	v->cfg.id = NULL;
	v->cfg.path = NULL;
	vhx_log(log, VHX_LOG_INFO, "%s: %s: %s, %u queue%s, %s rings", v->dev.id, v->path,
		v->type->name, v->dev.num_queues, v->dev.num_queues == 1 ? "" : "s",
		v->ring_bits & F_RING_PACKED ? "packed" : "split");
	*device = &v->dev;
	return 0;
}
