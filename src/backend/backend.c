// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A backend owns devices and channels, for its own life and for the life of the peer. A device
 * is attached to at most one channel; its VirtIO state (core's vdev) and its queues live beside it and
 * outlast the channel, because I/O in flight does: when a channel goes down, its devices are
 *
 *   FREE -> ATTACHED -> (channel lost) DRAINING -> FREE
 *
 * A device that the operator removes is found by nobody any more, drains if need be, and is freed when it is
 * FREE; its number is given again only when all others have been. A frontend that had it is told, and what it
 * has sent meanwhile is stale.
 *
 * A device that drains is busy to everybody, so that no new driver can start before nothing of the old one
 * can touch the medium.
 *
 * Resets of a device are resets of its open queues; the driver's answer goes when the last one is closed.
 * They are counted in bdev->closing. A queue reset by the driver that a device reset overtakes is answered by
 * the latter.
 *
 * Everything happens on the loop's thread. What a channel's peer can do ends at its own channel: all
 * errors become vhx_link_fail(). Every line of the log here is one that a peer can bring about, as often as
 * it likes, so all share one limit.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/state.h"
#include "core/devtype.h"

static const char *const bdev_state_names[] = { "free", "attached", "draining" };

_Static_assert(VHX_VDEV_QUEUES_MAX <= 64, "bdev_cut() has a bit per queue");
_Static_assert(VHX_ARRAY_SIZE(bdev_state_names) == BDEV_STATE_CNT_, "a name per state");

/* What a queue asks for */

struct vhx_link *vhx_backend_queue_link(struct vhx_queue *q)
{
	return q->bdev->channel ? &q->bdev->channel->link : NULL;
}

struct vhx_device *vhx_backend_queue_device(struct vhx_queue *q)
{
	return q->bdev->dev;
}

struct vhx_queue *vhx_backend_queue_beside(struct vhx_queue *q, uint16_t index)
{
	return index < q->bdev->dev->num_queues ? &q->bdev->queues[index] : NULL;
}

struct vhx_backend_stats *vhx_backend_queue_stats(struct vhx_queue *q)
{
	return &q->bdev->stats;
}

static void bdev_respond(struct vhx_backend_device *bdev, const struct vhx_control *resp)
{
	if (bdev->channel)
		vhx_link_control(&bdev->channel->link, resp);
}

static void bdev_reset_done(struct vhx_backend_device *bdev)
{
	struct vhx_control resp;

	bdev->resetting = false;
	if (bdev->dev->ops->restarted)
		bdev->dev->ops->restarted(bdev->dev);
	if (vhx_vdev_reset_done(&bdev->vdev, &resp))
		bdev_respond(bdev, &resp);
	if (bdev->state != BDEV_DRAINING)
		return;
	bdev->state = BDEV_FREE;
	bdev->backend->device_over |= bdev->removing;
	vhx_backend_log(bdev->backend, VHX_LOG_DEBUG, "%s: free", bdev->dev->id);
}

void vhx_backend_queue_closed(struct vhx_queue *q)
{
	struct vhx_backend_device *bdev = q->bdev;
	struct vhx_control resp;

	assert(bdev->closing);
	bdev->closing--;
	if (vhx_vdev_queue_reset_done(&bdev->vdev, q->index, &resp))
		bdev_respond(bdev, &resp);
	if (bdev->resetting && !bdev->closing)
		bdev_reset_done(bdev);
}

/* vdev's ops */

static int bdev_set_features(void *ctx, uint64_t features)
{
	struct vhx_backend_device *bdev = ctx;

	return bdev->dev->ops->set_features(bdev->dev, features & ~VHX_FEATURES_RING);
}

static int bdev_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	struct vhx_backend_device *bdev = ctx;

	return bdev->dev->ops->set_config(bdev->dev, off, buf, len);
}

static uint32_t pages(uint32_t bytes)
{
	return (uint32_t)vhx_div_round_up_u64(bytes, VHX_PAGE);
}

static void bdev_device_limits(const struct vhx_device *dev, uint16_t index,
			       struct vhx_device_limits *limits)
{
	*limits = (struct vhx_device_limits){
		.max_out = dev->max_out,
		.max_in = dev->max_in,
		.head_len = dev->ops->head_len,
		.max_staged = dev->max_in,
	};
	if (dev->ops->queue_limits)
		dev->ops->queue_limits(dev, index, limits);
	assert(limits->head_len <= VHX_REQUEST_HEAD_MAX);
}

static void bdev_queue_limits(const struct vhx_backend_device *bdev, uint16_t index,
			      struct vhx_queue_limits *limits)
{
	uint32_t share = pages(bdev->backend->cfg.staging / bdev->dev->num_queues);
	struct vhx_device_limits d;
	uint32_t out, in;

	bdev_device_limits(bdev->dev, index, &d);
	/* A request over the limits brings its first bytes, which may be more than the largest within them. */
	out = (uint32_t)vhx_max_u64(d.max_out, VHX_TOO_BIG_BYTES);
	out = pages(out > d.head_len ? out - d.head_len : 0);
	in = pages(d.max_staged);
	*limits = (struct vhx_queue_limits){
		.max_out = d.max_out,
		.max_in = d.max_in,
		.head_len = d.head_len,
		/* Receive queues get no payload: what a TOO_BIG request brings is all that they must hold. */
		.out_pages = d.max_out > d.head_len ? (uint32_t)vhx_max_u64(share, out) : out,
		.in_pages = in ? (uint32_t)vhx_max_u64(share, in) : 0,
		.request_pages = (uint32_t)vhx_max_u64(vhx_max_u64(out, in), 1),
	};
}

static void bdev_queue_open(void *ctx, uint16_t index, uint16_t size, uint32_t epoch)
{
	struct vhx_backend_device *bdev = ctx;
	struct vhx_queue_key key = { .dev = bdev->dev_num, .vq = index, .epoch = epoch };
	struct vhx_queue_limits limits;

	bdev_queue_limits(bdev, index, &limits);
	if (vhx_queue_open(&bdev->queues[index], &key, size, &limits))
		vhx_link_fail(&bdev->channel->link, -ENOMEM);
}

static void bdev_vdev_limits(void *ctx, uint16_t index, struct vhx_vdev_limits *out)
{
	struct vhx_queue_limits limits;

	bdev_queue_limits(ctx, index, &limits);
	*out = (struct vhx_vdev_limits){
		.max_out = limits.max_out,
		.max_in = limits.max_in,
		.head_len = limits.head_len,
		.window = limits.out_pages,
	};
}

static void bdev_queue_reset(void *ctx, uint16_t index)
{
	struct vhx_backend_device *bdev = ctx;
	struct vhx_queue *q = &bdev->queues[index];

	bdev->closing++;
	if (q->state != VHX_QUEUE_OPEN) {
		vhx_backend_queue_closed(q);
		return;
	}
	vhx_queue_cut(q);
	vhx_queue_quiesce(q);
}

/* All open queues at once. Returns a bit for each. */
static uint64_t bdev_cut(struct vhx_backend_device *bdev)
{
	uint64_t cut = 0;
	uint32_t i;

	for (i = 0; i < bdev->dev->num_queues; i++) {
		if (bdev->queues[i].state != VHX_QUEUE_OPEN)
			continue;
		vhx_queue_cut(&bdev->queues[i]);
		cut |= 1ull << i;
	}
	return cut;
}

static void bdev_device_reset(void *ctx)
{
	struct vhx_backend_device *bdev = ctx;
	uint64_t cut = bdev_cut(bdev);
	uint32_t i;

	bdev->resetting = true;
	/* One more than there are, so that none of the synchronous ones ends it early. */
	bdev->closing++;
	for (i = 0; i < bdev->dev->num_queues; i++) {
		if (!(cut >> i & 1))
			continue;
		bdev->closing++;
		vhx_queue_quiesce(&bdev->queues[i]);
	}
	bdev->closing--;
	if (!bdev->closing)
		bdev_reset_done(bdev);
}

static const struct vhx_vdev_ops bdev_vdev_ops = {
	.set_features = bdev_set_features,
	.set_config = bdev_set_config,
	.queue_open = bdev_queue_open,
	.queue_reset = bdev_queue_reset,
	.device_reset = bdev_device_reset,
	.limits = bdev_vdev_limits,
};

/* The channel's control messages */

static struct vhx_backend_device *device_by_num(struct backend_channel *ch, uint16_t dev_num)
{
	struct vhx_backend_device *bdev;

	bdev = vhx_backend_device_at(ch->backend, dev_num);
	return bdev && bdev->state == BDEV_ATTACHED && bdev->channel == ch ? bdev : NULL;
}

static void channel_control(struct vhx_link *l, const struct vhx_control *req)
{
	struct backend_channel *ch = l->ctx;
	struct vhx_backend_device *bdev;
	struct vhx_control resp;

	/* We ask nothing, so a response answers nothing. */
	if (req->response)
		return;
	if (req->bus) {
		vhx_backend_bus_request(ch, req);
		return;
	}
	bdev = device_by_num(ch, req->dev_num);
	if (bdev && vhx_vdev_request(&bdev->vdev, req, &resp))
		vhx_link_control(l, &resp);
}

static void channel_data(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
			 uint32_t len)
{
	struct backend_channel *ch = l->ctx;
	struct vhx_backend_device *bdev = device_by_num(ch, key->dev);
	struct vhx_queue *q;

	if (type == VHX_MSG_AVAIL && !bdev && key->dev < VHX_BACKEND_DEVICES_MAX &&
	    ch->removed >> key->dev & 1)
		return; /* sent before the frontend heard of the removal */
	if (type != VHX_MSG_AVAIL || !bdev || key->vq >= bdev->dev->num_queues) {
		vhx_link_fail(l, -EPROTO);
		return;
	}
	q = &bdev->queues[key->vq];
	/* What a driver sent before it heard of its own reset is normal, and stale. */
	if (q->state != VHX_QUEUE_OPEN || q->key.epoch != key->epoch) {
		bdev->stats.stale++;
		return;
	}
	/* VirtIO 3.1.2: nothing is consumed before DRIVER_OK. */
	if (!(bdev->vdev.status & VHX_STATUS_DRIVER_OK)) {
		vhx_link_fail(l, -EPROTO);
		return;
	}
	vhx_queue_receive(q, l, len);
}

static void queues_pump(struct vhx_backend_device *bdev, bool about_others)
{
	uint32_t i;

	for (i = 0; i < bdev->dev->num_queues; i++) {
		struct vhx_queue *q = &bdev->queues[i];

		if (q->state == VHX_QUEUE_OPEN && q->about_others == about_others)
			vhx_queue_pump(q);
	}
}

static void bdev_pump(struct vhx_backend_device *bdev)
{
	queues_pump(bdev, false);
	/* Their answers are behind what has just been sent. */
	queues_pump(bdev, true);
	if (bdev->dev->ops->kick)
		bdev->dev->ops->kick(bdev->dev);
}

static bool channel_pump(struct vhx_link *l)
{
	struct backend_channel *ch = l->ctx;
	struct vhx_backend *b = ch->backend;
	uint32_t i;

	for (i = 0; i < b->slot_cnt; i++) {
		struct vhx_backend_device *bdev = b->devices[(ch->next + i) % b->slot_cnt];

		if (bdev && bdev->channel == ch)
			bdev_pump(bdev);
	}
	ch->next++;
	return false;
}

static void channel_up(struct vhx_link *l)
{
	struct backend_channel *ch = l->ctx;

	vhx_backend_log(ch->backend, VHX_LOG_INFO, "channel: up with %s", l->port->peer.text);
}

static void bdev_orphan(struct vhx_backend_device *bdev)
{
	bdev->channel = NULL;
	bdev->state = BDEV_DRAINING;
	/* A reset that runs already ends in bdev_reset_done() all the same. */
	if (!bdev->resetting)
		bdev_device_reset(bdev);
}

static void channel_down(struct vhx_link *l, int reason)
{
	struct backend_channel *ch = l->ctx;
	struct vhx_backend *b = ch->backend;
	bool normal = reason == -EPIPE;
	uint32_t i;

	vhx_backend_log(b, normal ? VHX_LOG_INFO : VHX_LOG_WARNING, "channel: down: %s",
			normal ? "the frontend left" : strerror(-reason));
	for (i = 0; i < b->slot_cnt; i++) {
		if (b->devices[i] && b->devices[i]->channel == ch)
			bdev_orphan(b->devices[i]);
	}
	vhx_list_del(&ch->node);
	vhx_list_add_tail(&b->dead, &ch->node);
	b->channel_cnt--;
}

static const struct vhx_link_ops channel_ops = {
	.up = channel_up,
	.control = channel_control,
	.data = channel_data,
	.pump = channel_pump,
	.down = channel_down,
};

static void bdev_free(struct vhx_backend_device *bdev)
{
	uint32_t i;

	bdev->dev->backend = NULL;
	bdev->channel = NULL;
	/* So that the device can end or drop what it still has. */
	bdev_cut(bdev);
	bdev->dev->ops->close(bdev->dev);
	for (i = 0; i < bdev->vdev.num_queues; i++)
		vhx_queue_close(&bdev->queues[i]);
	free(bdev->queues);
	free(bdev);
}

/* Devices that were removed, once nothing can touch their medium any more. */
static void devices_reap(struct vhx_backend *b)
{
	uint32_t i;

	b->device_over = false;
	for (i = 0; i < b->slot_cnt; i++) {
		struct vhx_backend_device *bdev = b->devices[i];

		if (!bdev || !bdev->removing || bdev->state != BDEV_FREE)
			continue;
		b->devices[i] = NULL;
		bdev_free(bdev);
	}
}

/* A link that went down is still on its caller's stack; its memory goes in the pass that follows. */
static bool reaper_run(struct vhx_loop_hook *hook)
{
	struct vhx_backend *b = vhx_container_of(hook, struct vhx_backend, reaper);
	struct backend_channel *ch;

	if (b->device_over)
		devices_reap(b);
	if (vhx_list_empty(&b->dead))
		return false;
	while (!vhx_list_empty(&b->dead)) {
		ch = vhx_list_first_entry(&b->dead, struct backend_channel, node);
		vhx_list_del(&ch->node);
		free(ch);
	}
	if (!b->channel_cnt && b->idle)
		b->idle(b->idle_ctx);
	return false;
}

static bool reaper_prepare(struct vhx_loop_hook *hook)
{
	struct vhx_backend *b = vhx_container_of(hook, struct vhx_backend, reaper);

	return b->device_over || !vhx_list_empty(&b->dead);
}

void vhx_device_config_changed(struct vhx_device *dev)
{
	struct vhx_backend_device *bdev = dev->backend;
	struct vhx_control event;

	if (!bdev)
		return;
	vhx_vdev_config_event(&bdev->vdev, bdev->dev_num, &event);
	bdev_respond(bdev, &event);
}

int vhx_backend_new(const struct vhx_backend_config *cfg, struct vhx_backend **backend)
{
	struct vhx_backend *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->cfg = *cfg;
	vhx_list_init(&b->channels);
	vhx_list_init(&b->dead);
	b->reaper = (struct vhx_loop_hook){ .run = reaper_run, .prepare = reaper_prepare };
	vhx_list_init(&b->reaper.node);
	vhx_loop_hook_add(cfg->loop, &b->reaper);
	*backend = b;
	return 0;
}

void vhx_backend_free(struct vhx_backend *b)
{
	struct backend_channel *ch;
	uint32_t i;

	if (!b)
		return;
	vhx_list_splice_tail(&b->dead, &b->channels);
	while (!vhx_list_empty(&b->dead)) {
		ch = vhx_list_first_entry(&b->dead, struct backend_channel, node);
		vhx_list_del(&ch->node);
		vhx_link_close(&ch->link);
		free(ch);
	}
	for (i = 0; i < b->slot_cnt; i++) {
		if (b->devices[i])
			bdev_free(b->devices[i]);
	}
	vhx_loop_hook_del(b->cfg.loop, &b->reaper);
	free(b);
}

/* A number that nobody has had, while there is one: frontends remember them for a while. */
static uint32_t slot_find(const struct vhx_backend *b)
{
	uint32_t i;

	if (b->slot_cnt < VHX_BACKEND_DEVICES_MAX)
		return b->slot_cnt;
	for (i = 0; i < VHX_BACKEND_DEVICES_MAX && b->devices[i]; i++)
		;
	return i;
}

static void bdev_init(struct vhx_backend_device *bdev, struct vhx_backend *b,
		      struct vhx_device *dev)
{
	const struct vhx_devtype *type = vhx_devtype_find(dev->ops->device_id);
	uint32_t i;

	bdev->backend = b;
	bdev->dev = dev;
	bdev->dev_num = (uint16_t)slot_find(b);
	vhx_vdev_init(&bdev->vdev, &bdev_vdev_ops, bdev);
	bdev->vdev.device_id = dev->ops->device_id;
	memcpy(bdev->vdev.uuid, dev->uuid, sizeof(bdev->vdev.uuid));
	bdev->vdev.features = (dev->features & ~VHX_FEATURES_RING) | VHX_FEATURES_CROSSING;
	bdev->vdev.num_queues = dev->num_queues;
	bdev->vdev.queue_size_max = dev->queue_size_max;
	bdev->vdev.config = dev->config;
	bdev->vdev.config_len = dev->config_len;
	for (i = 0; i < dev->num_queues; i++) {
		bdev->queues[i].bdev = bdev;
		bdev->queues[i].index = (uint16_t)i;
		bdev->queues[i].about_others = i < type->about_others;
	}
	dev->backend = bdev;
}

int vhx_backend_add_device(struct vhx_backend *b, struct vhx_device *dev)
{
	struct vhx_backend_device *bdev;

	assert(dev->num_queues && dev->num_queues <= VHX_VDEV_QUEUES_MAX);
	if (slot_find(b) == VHX_BACKEND_DEVICES_MAX)
		return -ENOSPC;
	if (dev->id[0] && vhx_backend_device_named(b, dev->id))
		return -EEXIST;
	bdev = calloc(1, sizeof(*bdev));
	if (!bdev)
		return -ENOMEM;
	bdev->queues = calloc(dev->num_queues, sizeof(*bdev->queues));
	if (!bdev->queues) {
		free(bdev);
		return -ENOMEM;
	}
	bdev_init(bdev, b, dev);
	b->devices[bdev->dev_num] = bdev;
	b->slot_cnt = (uint32_t)vhx_max_u64(b->slot_cnt, bdev->dev_num + 1u);
	b->device_cnt++;
	vhx_backend_bus_event(bdev, VIRTIO_MSG_DEVICE_ADDED);
	return 0;
}

int vhx_backend_remove_device(struct vhx_backend *b, const char *id)
{
	struct vhx_backend_device *bdev = id[0] ? vhx_backend_device_named(b, id) : NULL;

	if (!bdev)
		return -ENOENT;
	bdev->removing = true;
	b->device_cnt--;
	if (bdev->state == BDEV_FREE)
		b->device_over = true;
	if (bdev->state == BDEV_ATTACHED) {
		bdev->channel->removed |= 1ull << bdev->dev_num;
		bdev_orphan(bdev);
	}
	vhx_backend_bus_event(bdev, VIRTIO_MSG_DEVICE_REMOVED);
	vhx_log(b->cfg.log, VHX_LOG_INFO, "%s: removed", id);
	return 0;
}

int vhx_backend_add_port(struct vhx_backend *b, struct vhx_port *port)
{
	struct backend_channel *ch = NULL;
	int ret = -ENOSPC;

	if (b->channel_cnt < VHX_BACKEND_CHANNELS_MAX) {
		ch = calloc(1, sizeof(*ch));
		ret = -ENOMEM;
	}
	if (!ch) {
		vhx_port_close(port);
		return ret;
	}
	ch->backend = b;
	vhx_list_init(&ch->node);
	ret = vhx_link_open(&ch->link, b->cfg.loop, port, &channel_ops, ch);
	if (ret) {
		free(ch);
		return ret;
	}
	vhx_link_set_trace(&ch->link, b->cfg.trace,
			   (struct vhx_trace_point){ .channel = b->channel_next++,
						     .backend = true });
	vhx_list_add_tail(&b->channels, &ch->node);
	b->channel_cnt++;
	return 0;
}

uint32_t vhx_backend_channel_count(const struct vhx_backend *b)
{
	return b->channel_cnt;
}

void vhx_backend_on_idle(struct vhx_backend *b, void (*fn)(void *ctx), void *ctx)
{
	b->idle = fn;
	b->idle_ctx = ctx;
}

void vhx_backend_visit(struct vhx_backend *b, const struct vhx_backend_visitor *v, void *ctx)
{
	struct vhx_list *pos;
	uint32_t i;

	vhx_list_for_each (pos, &b->channels) {
		struct backend_channel *ch = vhx_list_entry(pos, struct backend_channel, node);
		const struct vhx_link *l = &ch->link;

		v->channel(ctx, l->port, vhx_channel_state_name(l->channel.state),
			   l->stats.credits_sent);
	}
	for (i = 0; i < b->slot_cnt; i++) {
		struct vhx_backend_device *bdev = b->devices[i];

		if (bdev)
			v->device(ctx, bdev->dev,
				  bdev->removing ? "removing" : bdev_state_names[bdev->state],
				  &bdev->stats);
	}
}

uint64_t vhx_backend_memory(const struct vhx_backend *b)
{
	const struct vhx_list *pos;
	uint64_t memory = sizeof(*b);
	uint32_t i, j;

	vhx_list_for_each (pos, &b->channels) {
		const struct backend_channel *ch = vhx_list_entry(pos, struct backend_channel,
								  node);

		memory += sizeof(*ch) + vhx_link_memory(&ch->link);
	}
	for (i = 0; i < b->slot_cnt; i++) {
		const struct vhx_backend_device *bdev = b->devices[i];

		if (!bdev)
			continue;
		memory += sizeof(*bdev) + bdev->dev->memory;
		for (j = 0; j < bdev->dev->num_queues; j++)
			memory += sizeof(bdev->queues[j]) + bdev->queues[j].memory;
	}
	return memory;
}
