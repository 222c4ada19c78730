// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: vdev.h. One handler per request, found in a table. */
#include "core/vdev.h"

void vhx_vdev_init(struct vhx_vdev *d, const struct vhx_vdev_ops *ops, void *ctx)
{
	*d = (struct vhx_vdev){ .ops = ops, .ctx = ctx };
}

static struct vhx_vdev_queue *queue_get(struct vhx_vdev *d, uint32_t index)
{
	return index < d->num_queues ? &d->queues[index] : NULL;
}

static int get_device_info(struct vhx_vdev *d, const struct vhx_control *req,
			   struct vhx_control *resp)
{
	struct virtio_msg_device_info *info = vhx_control_response(resp, req, sizeof(*info));

	info->device_id = vhx_le32_of(d->device_id);
	memcpy(info->uuid, d->uuid, sizeof(info->uuid));
	info->num_feature_blocks = vhx_le32_of(2);
	info->config_size = vhx_le32_of(d->config_len);
	info->max_virtqueues = vhx_le32_of(d->num_queues);
	return 1;
}

/* Blocks beyond the device's read as zero (virtio-msg). */
static uint32_t feature_block(uint64_t features, uint64_t index)
{
	return index < 2 ? (uint32_t)(features >> (32 * index)) : 0;
}

static int get_device_features(struct vhx_vdev *d, const struct vhx_control *req,
			       struct vhx_control *resp)
{
	const struct virtio_msg_features *f = (const void *)req->payload;
	uint32_t index = vhx_le32_get(f->block_index), i;
	uint32_t cnt = (uint32_t)vhx_min_u64(vhx_le32_get(f->num_blocks),
					     (VHX_CONTROL_PAYLOAD_MAX - sizeof(*f)) / 4);
	struct virtio_msg_features *out =
		vhx_control_response(resp, req, (uint16_t)(sizeof(*out) + 4 * cnt));
	vhx_le32 *words = (void *)(out + 1);

	out->block_index = f->block_index;
	out->num_blocks = vhx_le32_of(cnt);
	for (i = 0; i < cnt; i++)
		words[i] = vhx_le32_of(feature_block(d->features, (uint64_t)index + i));
	return 1;
}

static int set_driver_features(struct vhx_vdev *d, const struct vhx_control *req,
			       struct vhx_control *resp)
{
	const struct virtio_msg_features *f = (const void *)req->payload;
	const vhx_le32 *words = (const void *)(f + 1);
	uint32_t index = vhx_le32_get(f->block_index), i;
	uint32_t room = (uint32_t)(req->payload_len - sizeof(*f)) / 4;
	uint32_t cnt = (uint32_t)vhx_min_u64(vhx_le32_get(f->num_blocks), room);

	vhx_control_response(resp, req, 0);
	/* 2.2.1: the driver's choice is fixed once FEATURES_OK is set. */
	if (d->status & VHX_STATUS_FEATURES_OK)
		return 1;
	for (i = 0; i < cnt && index < 2 && i < 2 - index; i++) {
		uint32_t shift = 32 * (index + i);

		d->driver_features &= ~(0xffffffffull << shift);
		d->driver_features |= (uint64_t)vhx_le32_get(words[i]) << shift;
	}
	return 1;
}

static int get_config(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_get_config *g = (const void *)req->payload;
	uint32_t off = vhx_le32_get(g->offset), len = vhx_le32_get(g->length);
	struct virtio_msg_config *out;

	if (len > VHX_CONTROL_CONFIG_MAX || !vhx_range_within(off, len, d->config_len))
		len = 0;
	out = vhx_control_response(resp, req, (uint16_t)(sizeof(*out) + len));
	out->generation = vhx_le32_of(d->generation);
	out->offset = g->offset;
	out->length = vhx_le32_of(len);
	if (len)
		memcpy(out + 1, d->config + off, len);
	return 1;
}

static int set_config(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_config *s = (const void *)req->payload;
	uint32_t off = vhx_le32_get(s->offset), len = vhx_le32_get(s->length);
	struct virtio_msg_config *out;

	/* Length 0 in the answer says refused; never partial. */
	if (len > req->payload_len - sizeof(*s) || !vhx_range_within(off, len, d->config_len) ||
	    d->ops->set_config(d->ctx, off, s + 1, len))
		len = 0;
	out = vhx_control_response(resp, req, (uint16_t)(sizeof(*out) + len));
	out->generation = vhx_le32_of(d->generation);
	out->offset = s->offset;
	out->length = vhx_le32_of(len);
	if (len)
		memcpy(out + 1, d->config + off, len);
	return 1;
}

static void status_respond(struct vhx_vdev *d, const struct vhx_control *req,
			   struct vhx_control *resp)
{
	struct virtio_msg_status *s = vhx_control_response(resp, req, sizeof(*s));

	s->status = vhx_le32_of(d->status);
}

static int get_status(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	status_respond(d, req, resp);
	return 1;
}

static bool features_acceptable(struct vhx_vdev *d)
{
	return !(d->driver_features & ~d->features) &&
	       (d->driver_features & VHX_FEATURE_VERSION_1) &&
	       !d->ops->set_features(d->ctx, d->driver_features);
}

static int device_reset(struct vhx_vdev *d, const struct vhx_control *req)
{
	bool running = d->resetting;

	d->reset_request = *req;
	d->resetting = true;
	if (!running)
		d->ops->device_reset(d->ctx);
	return 0;
}

static int set_status(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_status *s = (const void *)req->payload;
	uint32_t value = vhx_le32_get(s->status);
	uint8_t status = d->status;

	if (!value)
		return device_reset(d, req);
	/* 2.1.1: bits are only ever added; FEATURES_OK only when the choice is one we can serve. */
	if (!d->resetting && value <= UINT8_MAX)
		status |= (uint8_t)value;
	if ((status & ~d->status & VHX_STATUS_FEATURES_OK) && !features_acceptable(d))
		status &= (uint8_t)~VHX_STATUS_FEATURES_OK;
	d->status = status;
	status_respond(d, req, resp);
	return 1;
}

static int get_vqueue(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_vq_index *v = (const void *)req->payload;
	struct vhx_vdev_queue *q = queue_get(d, vhx_le32_get(v->index));
	struct virtio_msg_get_vqueue_resp *out = vhx_control_response(resp, req, sizeof(*out));

	if (!q)
		return 1;
	out->index = v->index;
	out->max_size = vhx_le32_of(d->queue_size_max);
	out->cur_size = vhx_le32_of(q->size);
	out->flags = vhx_le32_of(q->enabled ? VIRTIO_MSG_VQ_ENABLE : 0);
	return 1;
}

static int set_vqueue(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_set_vqueue *v = (const void *)req->payload;
	struct vhx_vdev_queue *q = queue_get(d, vhx_le32_get(v->index));
	uint32_t size = vhx_le32_get(v->size);

	vhx_control_response(resp, req, 0);
	/* An invalid update changes nothing and is answered like a valid one; GET_VQUEUE tells. */
	if (!q || q->open || q->resetting || !size || size > d->queue_size_max ||
	    vhx_le32_get(v->flags) != VIRTIO_MSG_VQ_ENABLE ||
	    !(d->status & VHX_STATUS_FEATURES_OK))
		return 1;
	q->size = (uint16_t)size;
	q->enabled = true;
	return 1;
}

static int queue_open(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_vhx_queue_open *o = (const void *)req->payload;
	uint32_t index = vhx_le32_get(o->index);
	struct vhx_vdev_queue *q = queue_get(d, index);
	struct virtio_msg_vhx_queue_open_resp *out = vhx_control_response(resp, req, sizeof(*out));
	struct vhx_vdev_limits limits;

	out->index = o->index;
	out->epoch = o->epoch;
	if (!q || !q->enabled || q->open || q->resetting || d->resetting) {
		out->error = vhx_le32_of(1);
		return 1;
	}
	q->open = true;
	q->epoch = vhx_le32_get(o->epoch);
	d->ops->queue_open(d->ctx, (uint16_t)index, q->size, q->epoch);
	d->ops->limits(d->ctx, (uint16_t)index, &limits);
	out->max_out = vhx_le32_of(limits.max_out);
	out->max_in = vhx_le32_of(limits.max_in);
	out->head_len = vhx_le32_of(limits.head_len);
	out->window = vhx_le32_of(limits.window);
	return 1;
}

static int reset_vqueue(struct vhx_vdev *d, const struct vhx_control *req,
			struct vhx_control *resp)
{
	const struct virtio_msg_vq_index *v = (const void *)req->payload;
	uint32_t index = vhx_le32_get(v->index);
	struct vhx_vdev_queue *q = queue_get(d, index);

	if (!q) {
		vhx_control_response(resp, req, 0);
		return 1;
	}
	/* An answer says that the queue is fenced, and here nobody would see to that: silence. */
	if (!(d->driver_features & VHX_FEATURE_RING_RESET) || d->resetting)
		return 0;
	q->reset_request = *req;
	if (!q->resetting) {
		q->resetting = true;
		d->ops->queue_reset(d->ctx, (uint16_t)index);
	}
	return 0;
}

/* Memory regions are what this transport exists to avoid: length 0, there is none. */
static int get_shm(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	const struct virtio_msg_vq_index *v = (const void *)req->payload;
	struct virtio_msg_shm *out = vhx_control_response(resp, req, sizeof(*out));

	out->shmid = v->index;
	return 1;
}

typedef int (*vdev_handler)(struct vhx_vdev *d, const struct vhx_control *req,
			    struct vhx_control *resp);

static const struct {
	uint8_t msg_id;
	vdev_handler handle;
} handlers[] = {
	{ VIRTIO_MSG_GET_DEVICE_INFO, get_device_info },
	{ VIRTIO_MSG_GET_DEVICE_FEATURES, get_device_features },
	{ VIRTIO_MSG_SET_DRIVER_FEATURES, set_driver_features },
	{ VIRTIO_MSG_GET_CONFIG, get_config },
	{ VIRTIO_MSG_SET_CONFIG, set_config },
	{ VIRTIO_MSG_GET_DEVICE_STATUS, get_status },
	{ VIRTIO_MSG_SET_DEVICE_STATUS, set_status },
	{ VIRTIO_MSG_GET_VQUEUE, get_vqueue },
	{ VIRTIO_MSG_SET_VQUEUE, set_vqueue },
	{ VIRTIO_MSG_RESET_VQUEUE, reset_vqueue },
	{ VIRTIO_MSG_GET_SHM, get_shm },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, queue_open },
};

int vhx_vdev_request(struct vhx_vdev *d, const struct vhx_control *req, struct vhx_control *resp)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(handlers); i++) {
		if (handlers[i].msg_id == req->msg_id)
			return handlers[i].handle(d, req, resp);
	}
	return 0;
}

static void queue_clear(struct vhx_vdev_queue *q)
{
	q->size = 0;
	q->enabled = false;
	q->open = false;
	q->resetting = false;
}

void vhx_vdev_orphan(struct vhx_vdev *d)
{
	uint32_t i;

	for (i = 0; i < d->num_queues; i++)
		queue_clear(&d->queues[i]);
	d->status = 0;
	d->driver_features = 0;
	d->resetting = false;
}

bool vhx_vdev_reset_done(struct vhx_vdev *d, struct vhx_control *resp)
{
	bool answer = d->resetting;

	vhx_vdev_orphan(d);
	if (answer)
		status_respond(d, &d->reset_request, resp);
	return answer;
}

bool vhx_vdev_queue_reset_done(struct vhx_vdev *d, uint16_t index, struct vhx_control *resp)
{
	struct vhx_vdev_queue *q = &d->queues[index];
	bool answer = q->resetting;

	assert(index < d->num_queues);
	queue_clear(q);
	/* A device reset that overtook the queue's answers for both. */
	if (!answer || d->resetting)
		return false;
	vhx_control_response(resp, &q->reset_request, 0);
	return true;
}

void vhx_vdev_config_event(struct vhx_vdev *d, uint16_t dev_num, struct vhx_control *event)
{
	struct virtio_msg_event_config *e;

	d->generation++;
	e = vhx_control_request(event, false, VIRTIO_MSG_EVENT_CONFIG, dev_num, sizeof(*e));
	e->device_status = vhx_le32_of(d->status);
	e->generation = vhx_le32_of(d->generation);
}
