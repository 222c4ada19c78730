// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A bridge is a device of the backend; its client (vhost_user/client.c) has the conversation with the
 * back-end, its queues (bridge_queue.c) have the rings and the requests. Here is what ties them: when rings are to
 * run, what the driver and the back-end are told of each other, and what happens when either goes.
 *
 *   OFFLINE --connector--> IDENTIFYING --same device as before?--> ONLINE --socket ends, breach, timeout--> OFFLINE
 *
 * Rings run from the first request of a driver on: then its features are known, and there is nothing earlier that
 * a device model is told. All of them start at once, since back-ends exist that wait for all.
 *
 * Reset of a queue. Its driver waits until nothing can touch the medium any more. So requests that the back-end owes
 * an answer come back first; then the ring is stopped, and the answer to that says that posted buffers are free
 * as well. A back-end that does not come to an end keeps its device busy, nothing else.
 *
 * The back-end's end. What it used before is taken; what was in flight is given to its successor if the type can bear
 * it, else ends with the type's error. Where the back-end has a record of what it had in flight (INFLIGHT_SHMFD) the
 * ring goes on as it is and the successor finds it there. Writes that had completed without a flush may have died
 * with it, if it keeps some itself (qcow2, caches): then the device fails until its driver resets it, which is better
 * than to lose them silently.
 *
 * Time. Nothing here waits, but for the identification at the start, before there is a peer. An answer that does not
 * come within ANSWER_NS ends the connection.
 *
 * A hostile back-end has a socket, two eventfds per ring and the bridge's memory. What it says is checked by the
 * client and the ring; a breach ends the connection, and the pauses between connections keep it from keeping us busy.
 * It can clear O_NONBLOCK of the eventfds: vhost_user/notifier.c never goes by that.
 */
#include "device/vhost_user.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vhx/endian.h>

#include "device/blk_layout.h"
#include "device/bridge_net.h"
#include "device/bridge_queue.h"
#include "device/identity.h"
#include "device/image.h"
#include "device/net.h"
#include "util/checked.h"
#include "vhost_user/client.h"
#include "vhost_user/notifier.h"

#define NS_PER_MS 1000000ull
#define RETRY_MIN_NS (20 * NS_PER_MS)
#define RETRY_MAX_NS (1000 * NS_PER_MS)
/* Storage may take its time to let go of a ring. */
#define ANSWER_NS (30000 * NS_PER_MS)

#define VIRTIO_ID_FS 26

#define RING_BITS (VHX_VU_F_INDIRECT_DESC | VHX_VU_F_EVENT_IDX | VHX_VU_F_RING_PACKED)

struct bridge;

struct bridge_ring {
	struct bridge *b;
	struct vhx_bridge_queue q;
	struct vhx_loop_fd call;
	int kick_fd;
	bool run; /* the driver wants it served */
	bool ready; /* the ring in memory is one that the back-end has or gets */
	struct vhx_queue *resetting;
};

struct bridge {
	struct vhx_device dev;
	struct vhx_device_ops ops;
	struct vhx_bridge_config cfg;
	char name[256];
	const struct vhx_devtype *type;
	const struct vhx_bridge_type *traits;
	struct vhx_vu_client client;
	struct vhx_bridge_memory memory;
	struct vhx_bridge_payload payload; /* of the back-end that was met first */
	struct vhx_bridge_writes writes;
	struct vhx_bridge_net net;
	struct vhx_loop_fd sock, backend;
	struct vhx_loop_timer answer, retry;
	uint64_t retry_ns;
	struct vhx_log_limit limit;
	uint64_t ring_bits; /* of the back-end that was met first, and of all that follow */
	uint64_t crossing; /* device bits that back-ends have to have, likewise */
	uint64_t features; /* negotiated */
	unsigned int resumptions; /* since something last came back */
	bool open; /* the device is complete */
	bool begun; /* the driver has sent something */
	bool kick_due; /* in this pass */
	bool turning; /* the client runs */
	bool unlike; /* this back-end serves another device */
	bool resumes; /* rings go on as the last back-end left them */
	bool failed; /* writes may be lost: nothing is served any more */
	uint16_t ring_cnt; /* queues of the back-end; the device may have one more, which is ours */
	struct bridge_ring rings[VHX_BRIDGE_QUEUES_MAX];
	struct vhx_bridge_queue *queues[VHX_BRIDGE_QUEUES_MAX]; /* those of @rings */
};

static struct bridge *bridge_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct bridge, dev);
}

#define bridge_log(b, level, ...)                                                        \
	vhx_log_limited((b)->dev.log, &(b)->limit, vhx_loop_now((b)->dev.loop), (level), \
			__VA_ARGS__)

static bool online(const struct bridge *b)
{
	return b->client.identified && !b->unlike;
}

/* The config space */

static void fs_config_make(const struct bridge *b, uint8_t *bytes)
{
	vhx_le32 queues = vhx_le32_of(b->dev.num_queues - 1u);

	memcpy(bytes, b->cfg.tag, VHX_BRIDGE_TAG_LEN);
	memcpy(bytes + VHX_BRIDGE_TAG_LEN, &queues, sizeof(queues));
}

/* What the driver wrote, and the back-end will be told, is already so. */
static void config_overlay(const struct bridge *b, uint8_t *bytes)
{
	unsigned int i;

	for (i = 0; i < b->client.writes_cnt; i++) {
		const struct vhx_vu_client_write *w = &b->client.writes[i];

		if (w->due)
			memcpy(bytes + w->off, w->bytes, w->len);
	}
}

static void config_update(struct bridge *b)
{
	uint8_t bytes[VHX_DEVICE_CONFIG_MAX] = { 0 };

	if (!b->traits->local_config)
		memcpy(bytes, b->client.config, b->dev.config_len);
	if (b->type->device_id == VIRTIO_ID_BLOCK)
		vhx_bridge_blk_config_fit(&b->dev, &b->payload, bytes);
	else if (b->type->device_id == VIRTIO_ID_NET)
		vhx_bridge_net_config_make(&b->net, online(b), bytes);
	else if (b->type->device_id == VIRTIO_ID_FS)
		fs_config_make(b, bytes);
	config_overlay(b, bytes);
	if (!memcmp(b->dev.config, bytes, b->dev.config_len))
		return;
	memcpy(b->dev.config, bytes, b->dev.config_len);
	if (b->open)
		vhx_device_config_changed(&b->dev);
}

/* Requests and rings */

static void ring_fail_waiting(struct bridge_ring *r)
{
	vhx_bridge_queue_fail_waiting(&r->q);
}

/* With no back-end: who can wait for the next one does. */
static void waiting_judge(struct bridge *b)
{
	uint16_t i;

	if (!b->failed && (b->type->replay || b->client.sock >= 0))
		return;
	for (i = 0; i < b->ring_cnt; i++)
		ring_fail_waiting(&b->rings[i]);
}

static struct bridge_ring *ring_of(struct vhx_bridge_queue *q)
{
	return vhx_container_of(q, struct bridge_ring, q);
}

static void queue_push(struct vhx_bridge_queue *q)
{
	struct bridge_ring *r = ring_of(q);

	if (r->ready && !r->resetting && vhx_bridge_queue_push(q))
		vhx_vu_notifier_raise(r->kick_fd);
}

static void queue_answer(struct vhx_bridge_queue *q)
{
	if (!ring_of(q)->resetting)
		vhx_bridge_queue_answer(q);
}

static void ring_push(struct bridge_ring *r)
{
	vhx_bridge_queue_go(&r->q, queue_push);
}

/* The back-end has a ring that its driver does not use, and puts nothing into it. */
static bool ring_disabled(const struct bridge *b, uint16_t index)
{
	return b->traits->paired && !vhx_bridge_net_uses(&b->net, index);
}

static void rings_enable(struct bridge *b)
{
	uint16_t i;

	for (i = 0; i < b->ring_cnt; i++)
		b->client.rings[i].disabled = ring_disabled(b, i);
}

static void ring_start(struct bridge *b, uint16_t index)
{
	struct vhx_vu_client_ring *cr = &b->client.rings[index];
	struct bridge_ring *r = &b->rings[index];

	if (!r->ready)
		vhx_bridge_queue_restart(&r->q, vhx_ring_features(b->ring_bits), false);
	r->ready = true;
	r->q.merges = b->traits->merges && !(index & 1) &&
		      b->features >> VIRTIO_NET_F_MRG_RXBUF & 1;
	cr->size = r->q.cfg.size;
	cr->base = vhx_bridge_queue_base(&r->q);
	vhx_bridge_queue_areas(&r->q, &cr->desc, &cr->driver, &cr->device);
	cr->kick_fd = r->kick_fd;
	cr->call_fd = r->call.fd;
	cr->disabled = ring_disabled(b, index);
	vhx_vu_client_ring_start(&b->client, index);
	ring_push(r);
}

/* Wants the rings that the driver wants. Never runs the client. */
static void rings_want(struct bridge *b)
{
	uint16_t i;

	if (!online(b) || b->failed)
		return;
	for (i = 0; i < b->ring_cnt; i++) {
		if (b->rings[i].run && !b->client.rings[i].wanted &&
		    vhx_vu_client_ring_idle(&b->client, i))
			ring_start(b, i);
	}
}

static void ring_reset_end(struct bridge_ring *r)
{
	struct vhx_queue *queue = r->resetting;

	r->ready = false;
	vhx_bridge_queue_drop(&r->q);
	r->resetting = NULL;
	if (queue)
		vhx_queue_quiesced(queue);
}

/* The next step of a reset that is possible. Never runs the client. */
static void ring_reset_step(struct bridge_ring *r)
{
	uint16_t index = (uint16_t)(r - r->b->rings);

	if (!r->resetting)
		return;
	if (vhx_vu_client_ring_idle(&r->b->client, index))
		ring_reset_end(r);
	else if (!r->q.owed || ring_disabled(r->b, index))
		vhx_vu_client_ring_stop(&r->b->client, index);
}

/* Connection */

static void bridge_lost(struct bridge *b, int reason);

static void watch_set(struct bridge *b, struct vhx_loop_fd *w, int fd)
{
	if (w->fd == fd)
		return;
	vhx_loop_fd_del(b->dev.loop, w);
	w->fd = fd;
	if (fd >= 0 && vhx_loop_fd_add(b->dev.loop, w))
		w->fd = -1;
}

static void watches_set(struct bridge *b)
{
	watch_set(b, &b->sock, b->client.sock);
	watch_set(b, &b->backend, b->client.backend_fd);
	if (!b->client.waiting)
		vhx_loop_timer_cancel(b->dev.loop, &b->answer);
	else if (!b->answer.due_ns)
		vhx_loop_timer_arm(b->dev.loop, &b->answer, ANSWER_NS);
}

/* Lets the client do what is due. Called from within it, it is under way already. */
static void client_turn(struct bridge *b)
{
	int ret;

	if (b->turning || b->client.sock < 0 || !b->open)
		return;
	b->turning = true;
	ret = vhx_vu_client_run(&b->client);
	b->turning = false;
	if (!ret && b->unlike)
		ret = -ENODEV;
	if (ret)
		bridge_lost(b, ret);
	else
		watches_set(b);
}

/* What the protocol and operators count: pairs of a network's, queues of others. */
static uint16_t unit(const struct bridge *b)
{
	return b->traits->paired ? 2 : 1;
}

static uint16_t queues_offered(const struct bridge *b)
{
	uint16_t most = b->traits->paired ? 2 * VHX_NET_PAIRS_MAX : VHX_BRIDGE_QUEUES_MAX;
	uint64_t num = vhx_min_u64(b->client.queue_num, most) * unit(b);

	if (b->traits->paired && !(b->client.features >> VIRTIO_NET_F_MQ & 1))
		num = 0;
	if (!num || (!b->traits->paired && !b->traits->queues_step))
		return b->traits->queues;
	return (uint16_t)vhx_min_u64(vhx_max_u64(num, b->traits->queues), most);
}

static struct vhx_bridge_payload payload_of(const struct bridge *b)
{
	return b->type->device_id == VIRTIO_ID_BLOCK
		       ? vhx_bridge_blk_payload(b->client.features, b->client.config,
						VHX_BRIDGE_RING_SIZE)
		       : VHX_BRIDGE_PAYLOAD_WHOLE;
}

/* Is what is cut for the first one too much for this one? */
static bool takes_less(const struct bridge *b)
{
	const struct vhx_bridge_payload p = payload_of(b);

	return !vhx_bridge_payload_suits(&b->payload, &p);
}

/* Is it what is wanted? NULL, or why not. The protocol does not say of which type a back-end is. */
static const char *unlikeness(const struct bridge *b)
{
	const struct vhx_vu_client *c = &b->client;

	if (c->features & b->traits->undefined)
		return "the back-end offers features that no device of this type has";

	if (!(c->features & VHX_VU_F_VERSION_1))
		return "the back-end knows nothing of VirtIO 1";
	if (!b->traits->local_config && b->traits->config_len &&
	    !vhx_vu_client_has(c, VHX_VU_P_CONFIG))
		return "the back-end has no config space, as one of this type has";
	if (!b->open)
		return NULL;
	if (b->crossing & ~c->features)
		return "the back-end lacks features of the one before it";
	if (b->ring_bits & ~c->features)
		return "the back-end lacks features of rings that the one before it had";
	if (queues_offered(b) < b->ring_cnt)
		return "the back-end has fewer queues than the one before it";
	if (takes_less(b))
		return "the back-end takes shorter requests than the one before it";
	return NULL;
}

static void bridge_identified(void *ctx)
{
	struct bridge *b = ctx;
	const char *why;

	if (!b->open)
		return;
	why = unlikeness(b);
	b->unlike = why;
	if (why) {
		bridge_log(b, VHX_LOG_ERROR, "%s: %s: %s", b->dev.id, b->name, why);
		return;
	}
	bridge_log(b, VHX_LOG_NOTICE, "%s: %s: connected again", b->dev.id, b->name);
	b->retry_ns = RETRY_MIN_NS;
	config_update(b);
	if (!b->resumes)
		vhx_vu_client_inflight_forget(&b->client);
	b->resumes = false;
	rings_want(b);
}

static void bridge_config_read(void *ctx)
{
	config_update(ctx);
}

/* A back-end may have looked for kicks before it was told to. */
static void bridge_ring_running(void *ctx, uint16_t index)
{
	struct bridge *b = ctx;

	vhx_vu_notifier_raise(b->rings[index].kick_fd);
}

static void bridge_ring_stopped(void *ctx, uint16_t index)
{
	struct bridge *b = ctx;

	/* Else it was one that the last driver never opened. */
	if (b->rings[index].resetting)
		ring_reset_end(&b->rings[index]);
	rings_want(b);
}

static const struct vhx_vu_client_ops client_ops = {
	.identified = bridge_identified,
	.config_read = bridge_config_read,
	.ring_running = bridge_ring_running,
	.ring_stopped = bridge_ring_stopped,
};

static const char *reason_text(int reason)
{
	switch (reason) {
	case -ENOTCONN:
	case -EPIPE:
	case -ECONNRESET:
		return "the back-end left";
	case -EPROTO:
		return "the back-end broke the protocol";
	case -EREMOTEIO:
		return "the back-end refused what it had offered";
	case -ETIMEDOUT:
		return "the back-end does not answer";
	case -ENODEV:
		return "the back-end serves another device";
	default:
		return strerror(-reason);
	}
}

/* Takes what the back-end has used. False: it broke the ring, and the line is said. */
static bool queue_take(struct vhx_bridge_queue *q)
{
	struct bridge_ring *r = ring_of(q);
	struct bridge *b = r->b;
	int ret;

	if (!r->ready)
		return true;
	ret = vhx_bridge_queue_pull(q);
	if (r->resetting)
		vhx_bridge_queue_drop_waiting(q);
	if (ret > 0)
		b->resumptions = 0;
	if (ret >= 0)
		return true;
	bridge_log(b, VHX_LOG_ERROR, "%s: queue %u: the back-end broke the ring: %s", b->dev.id,
		   (unsigned int)(r - b->rings), vhx_ring_fault_name(q->ring.broken));
	return false;
}

static bool ring_pull(struct bridge_ring *r)
{
	return vhx_bridge_queue_come(&r->q, queue_take, queue_answer);
}

/* Did completed writes die with it? */
static void writes_judge(struct bridge *b)
{
	bool back = !b->type->write_back ||
		    b->type->write_back(b->features, b->dev.config, b->dev.config_len);

	if (b->cfg.host_cache || !back || b->writes.done == b->writes.flushed || b->failed)
		return;
	b->failed = true;
	vhx_log(b->dev.log, VHX_LOG_ERROR,
		"%s: failed: the back-end ended with writes that were completed and not flushed",
		b->dev.id);
}

/* Are the rings as the back-end left them, and will its successor find what it had in flight? */
static bool can_resume(struct bridge *b, bool whole)
{
	/* A request that kills whoever has it is not passed on for ever. */
	return whole && !b->failed && b->client.inflight_fd >= 0 &&
	       b->resumptions++ < VHX_BRIDGE_DEATHS_MAX;
}

static void ring_lost(struct bridge_ring *r, bool resumes)
{
	if (r->resetting) {
		ring_reset_end(r);
		return;
	}
	if (resumes || !r->ready)
		return;
	vhx_bridge_queue_restart(&r->q, vhx_ring_features(r->b->ring_bits), true);
	r->ready = false;
}

static void bridge_lost(struct bridge *b, int reason)
{
	bool whole = true;
	uint16_t i;

	bridge_log(b, VHX_LOG_WARNING, "%s: %s: %s", b->dev.id, b->name, reason_text(reason));
	for (i = 0; i < b->ring_cnt; i++)
		whole &= ring_pull(&b->rings[i]);
	vhx_loop_fd_del(b->dev.loop, &b->sock);
	vhx_loop_fd_del(b->dev.loop, &b->backend);
	b->sock.fd = -1;
	b->backend.fd = -1;
	vhx_loop_timer_cancel(b->dev.loop, &b->answer);
	vhx_vu_client_disconnect(&b->client);
	b->unlike = false;
	writes_judge(b);
	b->resumes = can_resume(b, whole);
	for (i = 0; i < b->ring_cnt; i++)
		ring_lost(&b->rings[i], b->resumes);
	waiting_judge(b);
	if (b->traits->local_config)
		config_update(b);
	vhx_loop_timer_arm(b->dev.loop, &b->retry, b->retry_ns);
	b->retry_ns = vhx_min_u64(2 * b->retry_ns, RETRY_MAX_NS);
}

static void answer_expired(struct vhx_loop_timer *t)
{
	bridge_lost(vhx_container_of(t, struct bridge, answer), -ETIMEDOUT);
}

static void retry_expired(struct vhx_loop_timer *t)
{
	struct bridge *b = vhx_container_of(t, struct bridge, retry);
	struct vhx_error err;
	int sock = b->cfg.connector.connect(b->cfg.connector.ctx, &err);

	if (sock < 0) {
		vhx_loop_timer_arm(b->dev.loop, &b->retry, b->retry_ns);
		b->retry_ns = vhx_min_u64(2 * b->retry_ns, RETRY_MAX_NS);
		return;
	}
	vhx_vu_client_connect(&b->client, sock);
	client_turn(b);
}

static void sock_ready(struct vhx_loop_fd *w, uint32_t events)
{
	client_turn(vhx_container_of(w, struct bridge, sock));
}

static void backend_ready(struct vhx_loop_fd *w, uint32_t events)
{
	client_turn(vhx_container_of(w, struct bridge, backend));
}

static void call_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct bridge_ring *r = vhx_container_of(w, struct bridge_ring, call);
	struct bridge *b = r->b;

	vhx_vu_notifier_clear(w->fd);
	if (b->client.sock < 0)
		return;
	if (!ring_pull(r)) {
		bridge_lost(b, -EPROTO);
		return;
	}
	ring_push(r);
	ring_reset_step(r);
	client_turn(b);
}

/* The device's ops */

static void bridge_begin(struct bridge *b)
{
	uint16_t i;

	b->begun = true;
	for (i = 0; i < b->ring_cnt; i++)
		b->rings[i].run = true;
}

/* Queues that the back-end does not know of. */
static bool is_control(const struct bridge *b, uint16_t index)
{
	return b->traits->paired && vhx_bridge_net_is_control(&b->net, index);
}

static void control_submit(struct bridge *b, struct vhx_request *req)
{
	if (!vhx_bridge_net_command(&b->net, req))
		return;
	rings_enable(b);
	b->kick_due = true;
}

static int bridge_submit(struct vhx_device *dev, struct vhx_request *req)
{
	uint16_t index = vhx_queue_index(req->queue);
	struct bridge *b = bridge_of(dev);
	struct bridge_ring *r = &b->rings[index];

	if (is_control(b, index)) {
		control_submit(b, req);
		return 0;
	}
	if (b->traits->paired && vhx_bridge_net_seen(&b->net, index))
		rings_enable(b);
	vhx_bridge_queue_submit(&r->q, req);
	if (!b->begun)
		bridge_begin(b);
	r->run = true;
	r->q.kick_due = true;
	b->kick_due = true;
	return 0;
}

static void bridge_kick(struct vhx_device *dev)
{
	struct bridge *b = bridge_of(dev);
	uint16_t i;

	if (!b->kick_due)
		return;
	b->kick_due = false;
	for (i = 0; i < b->ring_cnt; i++) {
		struct bridge_ring *r = &b->rings[i];

		if (r->q.kick_due)
			ring_push(r);
		r->q.kick_due = false;
	}
	waiting_judge(b);
	rings_want(b);
	client_turn(b);
}

static void bridge_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct bridge *b = bridge_of(dev);
	struct bridge_ring *r = &b->rings[vhx_queue_index(queue)];

	if (r->resetting || is_control(b, vhx_queue_index(queue)))
		return;
	vhx_bridge_queue_go(&r->q, queue_answer);
	/* Its pages may be what others wait for. */
	ring_push(r);
}

static void bridge_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct bridge *b = bridge_of(dev);
	struct bridge_ring *r = &b->rings[vhx_queue_index(queue)];

	if (is_control(b, vhx_queue_index(queue))) {
		vhx_queue_quiesced(queue);
		return;
	}
	r->run = false;
	r->resetting = queue;
	vhx_bridge_queue_drop_waiting(&r->q);
	ring_reset_step(r);
	client_turn(b);
}

static void bridge_restarted(struct vhx_device *dev)
{
	struct bridge *b = bridge_of(dev);
	uint16_t i;

	/* Those that the driver never opened are stopped as well. */
	for (i = 0; i < b->ring_cnt; i++) {
		b->rings[i].run = false;
		b->rings[i].ready = false;
		vhx_vu_client_ring_stop(&b->client, i);
	}
	b->begun = false;
	b->failed = false;
	b->resumes = false;
	b->writes = (struct vhx_bridge_writes){ 0 };
	vhx_bridge_net_reset(&b->net);
	vhx_vu_client_inflight_forget(&b->client);
	vhx_vu_client_config_forget(&b->client);
	client_turn(b);
}

static int bridge_set_features(struct vhx_device *dev, uint64_t features)
{
	struct bridge *b = bridge_of(dev);

	if (features & ~dev->features)
		return -EINVAL;
	b->features = features;
	b->net.features = features;
	b->client.driver_features = (features & b->crossing) | VHX_VU_F_VERSION_1 | b->ring_bits;
	b->client.driver_ready = true;
	return 0;
}

static int bridge_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	struct bridge *b = bridge_of(dev);
	int ret;

	if (b->traits->local_config)
		return -EINVAL;
	ret = vhx_vu_client_config_write(&b->client, off, buf, len);
	if (ret)
		return ret;
	memcpy(dev->config + off, buf, len);
	client_turn(b);
	return 0;
}

/* Answers are made in the message; there is nothing to stage. */
static void bridge_queue_limits(const struct vhx_device *dev, uint16_t index,
				struct vhx_device_limits *limits)
{
	limits->max_staged = 0;
}

static void ring_close(struct bridge *b, struct bridge_ring *r)
{
	if (!r->b)
		return;
	vhx_bridge_queue_drop(&r->q);
	vhx_bridge_queue_fini(&r->q);
	vhx_loop_fd_del(b->dev.loop, &r->call);
	if (r->call.fd >= 0)
		close(r->call.fd);
	if (r->kick_fd >= 0)
		close(r->kick_fd);
}

static void bridge_close(struct vhx_device *dev)
{
	struct bridge *b = bridge_of(dev);
	uint16_t i;

	vhx_loop_timer_cancel(dev->loop, &b->answer);
	vhx_loop_timer_cancel(dev->loop, &b->retry);
	vhx_loop_fd_del(dev->loop, &b->sock);
	vhx_loop_fd_del(dev->loop, &b->backend);
	vhx_vu_client_fini(&b->client);
	for (i = 0; i < VHX_BRIDGE_QUEUES_MAX; i++)
		ring_close(b, &b->rings[i]);
	vhx_bridge_memory_fini(&b->memory);
	if (b->cfg.connector.release)
		b->cfg.connector.release(b->cfg.connector.ctx);
	free(b);
}

static const struct vhx_device_ops bridge_ops = {
	.queue_limits = bridge_queue_limits,
	.submit = bridge_submit,
	.kick = bridge_kick,
	.room = bridge_room,
	.reset = bridge_reset,
	.restarted = bridge_restarted,
	.set_features = bridge_set_features,
	.set_config = bridge_set_config,
	.close = bridge_close,
};

/* Making one */

static struct bridge *bridge_alloc(struct vhx_loop *loop, const struct vhx_bridge_config *cfg,
				   const struct vhx_log *log)
{
	struct bridge *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->cfg = *cfg;
	b->type = vhx_devtype_find(cfg->device_id);
	b->traits = vhx_bridge_type_find(cfg->device_id);
	snprintf(b->name, sizeof(b->name), "%s", cfg->name);
	b->cfg.name = b->name;
	b->cfg.id = NULL;
	b->ops = bridge_ops;
	b->ops.name = b->type->name;
	b->ops.device_id = cfg->device_id;
	b->dev.ops = &b->ops;
	b->dev.log = log;
	b->dev.loop = loop;
	vhx_device_identify(&b->dev, cfg->id);
	b->sock = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = sock_ready };
	b->backend = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = backend_ready };
	vhx_list_init(&b->answer.node);
	vhx_list_init(&b->retry.node);
	b->answer.expired = answer_expired;
	b->retry.expired = retry_expired;
	b->retry_ns = RETRY_MIN_NS;
	b->memory.fd = -1;
	memcpy(b->net.mac, cfg->mac, sizeof(b->net.mac));
	b->net.mtu = cfg->mtu;
	vhx_bridge_net_reset(&b->net);
	return b;
}

static int say(struct vhx_error *err, int ret, const char *text)
{
	vhx_error_set(err, "%s", text);
	return ret;
}

/* Until the back-end has said what it is. */
static int identify(struct bridge *b, struct vhx_error *err)
{
	uint64_t end = vhx_loop_clock() + VHX_BRIDGE_START_MS * NS_PER_MS;
	int ret;

	for (;;) {
		struct pollfd p = { .fd = b->client.sock, .events = POLLIN };
		uint64_t now = vhx_loop_clock();

		ret = vhx_vu_client_run(&b->client);
		if (ret)
			return say(err, ret, reason_text(ret));
		if (b->client.identified)
			return 0;
		if (now >= end || !poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1))
			return say(err, -ETIMEDOUT, reason_text(-ETIMEDOUT));
	}
}

/* Back-ends say how many they could have; a device has as many as its config says, or the operator. */
static uint16_t queues_used(const struct bridge *b, uint16_t offered)
{
	struct virtio_blk_config config = { 0 };

	if (b->cfg.queues)
		return b->cfg.queues * unit(b);
	if (b->type->device_id != VIRTIO_ID_BLOCK || !(b->client.features >> VIRTIO_BLK_F_MQ & 1))
		return b->traits->queues;
	memcpy(&config, b->client.config, b->traits->config_len);
	return (uint16_t)vhx_max_u64(1, vhx_min_u64(offered, vhx_le16_get(config.num_queues)));
}

static int queues_choose(struct bridge *b, struct vhx_error *err)
{
	uint16_t offered = queues_offered(b);

	b->ring_cnt = queues_used(b, offered);
	b->net.pairs = b->ring_cnt / 2;
	b->dev.num_queues = b->ring_cnt + (b->traits->paired && b->net.pairs > 1);
	if (b->ring_cnt >= b->traits->queues && b->ring_cnt <= offered)
		return 0;
	vhx_error_set(err, "queues=%u: the back-end has from %u to %u", b->ring_cnt / unit(b),
		      b->traits->queues / unit(b), offered / unit(b));
	return -ERANGE;
}

static uint64_t features_make(const struct bridge *b)
{
	uint64_t features = b->client.features & b->traits->features;

	if (b->type->device_id == VIRTIO_ID_BLOCK)
		features |= 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX;
	if (b->type->device_id == VIRTIO_ID_NET)
		features = vhx_bridge_net_features(&b->net, features);
	return features;
}

/* What drivers and the back-end agree on, with nobody between. */
static uint64_t crossing_make(const struct bridge *b)
{
	uint64_t crossing = b->traits->features;

	if (b->traits->paired)
		crossing |= 1ull << VIRTIO_NET_F_MQ;
	return b->dev.features & b->client.features & crossing;
}

static void device_fill(struct bridge *b)
{
	b->ring_bits = b->client.features & RING_BITS;
	if (b->cfg.split)
		b->ring_bits &= ~VHX_VU_F_RING_PACKED;
	b->dev.features = features_make(b);
	b->crossing = crossing_make(b);
	b->payload = payload_of(b);
	b->dev.queue_size_max = b->cfg.queue_size ?: VHX_BRIDGE_QUEUE_SIZE_MAX;
	b->dev.max_out = VHX_BRIDGE_REQUEST_MAX + VHX_BRIDGE_REQUEST_HEADERS;
	b->dev.max_in = VHX_BRIDGE_REQUEST_MAX + VHX_BRIDGE_REQUEST_HEADERS;
	b->dev.config_len = b->traits->config_len;
	if (b->cfg.host_cache)
		vhx_image_identify_cached(b->dev.uuid, b->dev.cache_id);
	config_update(b);
}

static int ring_make(struct bridge *b, uint16_t index, const struct vhx_bridge_queue_config *cfg,
		     uint64_t off)
{
	struct bridge_ring *r = &b->rings[index];
	int ret;

	ret = vhx_bridge_queue_init(&r->q, cfg, &b->memory, off);
	if (ret)
		return ret;
	r->b = b;
	r->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->call = (struct vhx_loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					.events = EPOLLIN,
					.ready = call_ready };
	if (r->kick_fd < 0 || r->call.fd < 0)
		return -errno;
	b->dev.memory += r->q.memory;
	return vhx_loop_fd_add(b->dev.loop, &r->call);
}

static int rings_make(struct bridge *b)
{
	struct vhx_bridge_queue_config cfg = {
		.size = VHX_BRIDGE_RING_SIZE,
		.max_bytes = b->dev.max_out + b->dev.max_in,
		.type = b->type,
		.framing = &b->traits->framing,
		.payload = b->payload,
		.writes = &b->writes,
		.beside = b->queues,
		.queues = b->ring_cnt,
	};
	uint64_t len = vhx_bridge_queue_len(&cfg);
	uint16_t i;
	int ret;

	ret = vhx_bridge_memory_init(&b->memory, len * b->ring_cnt);
	for (i = 0; !ret && i < b->ring_cnt; i++) {
		cfg.index = i;
		ret = ring_make(b, i, &cfg, len * i);
	}
	b->dev.memory += sizeof(*b) + b->memory.len;
	return ret;
}

static int type_check(const struct bridge *b, struct vhx_error *err)
{
	const char *refusal = vhx_devtype_refusal(b->type);

	if (!refusal)
		return 0;
	vhx_error_set(err, "a %s cannot be bridged: %s", b->type->name, refusal);
	return -EOPNOTSUPP;
}

/* The memory is made when it is known how many queues there are; the client gets to know of it then. */
static void client_make(struct bridge *b)
{
	struct vhx_vu_client_config cfg = {
		.ops = &client_ops,
		.ctx = b,
		.num_rings = VHX_BRIDGE_QUEUES_MAX,
		.config_len = b->traits->local_config ? 0 : b->traits->config_len,
		.inflight = b->type->replay && b->type->write_back,
	};

	vhx_vu_client_init(&b->client, &cfg);
	b->client.inflight_queue_size = VHX_BRIDGE_RING_SIZE;
}

static int bridge_meet(struct bridge *b, struct vhx_error *err)
{
	const char *why = NULL;
	int ret;

	ret = b->cfg.connector.connect(b->cfg.connector.ctx, err);
	if (ret < 0)
		return ret;
	vhx_vu_client_connect(&b->client, ret);
	ret = identify(b, err);
	if (!ret)
		why = unlikeness(b);
	if (why)
		ret = say(err, -ENODEV, why);
	else if (!ret)
		ret = queues_choose(b, err);
	if (ret)
		vhx_error_prefix(err, "%s", b->name);
	return ret;
}

static int bridge_make(struct bridge *b, struct vhx_error *err)
{
	int ret = type_check(b, err);

	if (!ret)
		ret = bridge_meet(b, err);
	if (ret)
		return ret;
	device_fill(b);
	ret = rings_make(b);
	if (ret)
		return say(err, ret, strerror(-ret));
	b->client.cfg.num_rings = b->ring_cnt;
	b->client.cfg.mem_fd = b->memory.fd;
	b->client.cfg.mem_len = b->memory.len;
	b->client.cfg.mem_addr = b->memory.addr;
	b->open = true;
	watches_set(b);
	return 0;
}

int vhx_bridge_new(struct vhx_loop *loop, const struct vhx_bridge_config *config,
		   const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct bridge *b = bridge_alloc(loop, config, log);
	int ret;

	if (!b) {
		vhx_error_set(err, "%s: out of memory", config->id);
		if (config->connector.release)
			config->connector.release(config->connector.ctx);
		return -ENOMEM;
	}
	client_make(b);
	ret = bridge_make(b, err);
	if (ret) {
		vhx_error_prefix(err, "%s", b->dev.id);
		bridge_close(&b->dev);
		return ret;
	}
	vhx_log(log, VHX_LOG_INFO, "%s: %s: %s, %u queue%s, %s rings", b->dev.id, b->name,
		b->type->name, b->dev.num_queues, b->dev.num_queues == 1 ? "" : "s",
		b->ring_bits & VHX_VU_F_RING_PACKED ? "packed" : "split");
	*device = &b->dev;
	return 0;
}
