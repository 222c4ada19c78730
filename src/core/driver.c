// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: driver.h. The steps below are tried in order; the first one that is due makes its
 * request. A step is due when its part of `applied` differs from `wanted`, so that the order of the table
 * is the order of VirtIO 3.1.1 and nothing else needs to know it.
 */
#include "core/driver.h"

#include "core/devtype.h"

#include <vhx/wire.h>

/*
 * A token counts in its low bits and keeps what the caller put into the others: devices that share a channel
 * are told apart by it while they have no numbers yet.
 */
#define TOKEN_SEQUENCE ((1u << VHX_DRIVER_TOKEN_SHIFT) - 1)

void vhx_driver_init(struct vhx_driver *d, const char *name)
{
	size_t len = strlen(name);

	assert(len < sizeof(d->name));
	memset(d, 0, sizeof(*d));
	memcpy(d->name, name, len);
}

static void queue_closed(struct vhx_driver_queue *q)
{
	q->enabled = false;
	q->open = false;
	q->recycle = false;
}

/* Where none is under way, the oldest of those that wait is. */
static void config_write_advance(struct vhx_driver *d)
{
	if (d->config_write.set || !d->config_waiting_cnt)
		return;
	d->config_write = d->config_waiting[0];
	d->config_waiting_cnt--;
	memmove(d->config_waiting, d->config_waiting + 1,
		d->config_waiting_cnt * sizeof(d->config_waiting[0]));
}

int vhx_driver_write_config(struct vhx_driver *d, uint32_t off, const void *buf, uint32_t len)
{
	struct vhx_driver_write *w;

	assert(len <= sizeof(w->bytes));
	if (d->config_waiting_cnt == VHX_DRIVER_WRITES_MAX)
		return -EBUSY;
	w = &d->config_waiting[d->config_waiting_cnt++];
	w->off = off;
	w->len = len;
	memcpy(w->bytes, buf, len);
	w->orphan = false;
	w->set = true;
	config_write_advance(d);
	return 0;
}

void vhx_driver_lost(struct vhx_driver *d)
{
	uint32_t i;

	d->attached = false;
	d->have_info = false;
	d->have_features = false;
	d->have_config = false;
	d->config_got = 0;
	d->config_stale = false;
	d->config_reading = false;
	d->config_tries = 0;
	d->config_keeping = false;
	d->config_kept_done = false;
	/* Its answer will not come, and nobody wishes for it to be sent again. */
	d->config_write.set &= !d->config_write.orphan;
	config_write_advance(d);
	d->status = 0;
	d->features_set = false;
	d->reset_done = false;
	d->waiting = false;
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		queue_closed(&d->queues[i]);
}

static void *request_begin(struct vhx_driver *d, uint8_t msg_id, uint16_t payload_len)
{
	return vhx_control_request(&d->request, false, msg_id, d->dev_num, payload_len);
}

static bool next_attach(struct vhx_driver *d)
{
	struct virtio_msg_vhx_attach *a;

	if (d->attached)
		return false;
	a = vhx_control_request(&d->request, true, VIRTIO_MSG_BUS_VHX_ATTACH, 0, sizeof(*a));
	memcpy(a->name, d->name, sizeof(a->name));
	return true;
}

static bool next_info(struct vhx_driver *d)
{
	if (d->have_info)
		return false;
	request_begin(d, VIRTIO_MSG_GET_DEVICE_INFO, 0);
	return true;
}

static bool next_features(struct vhx_driver *d)
{
	struct virtio_msg_features *f;

	if (d->have_features)
		return false;
	f = request_begin(d, VIRTIO_MSG_GET_DEVICE_FEATURES, sizeof(*f));
	f->num_blocks = vhx_le32_of(2);
	return true;
}

static void config_request(struct vhx_driver *d)
{
	struct virtio_msg_get_config *g = request_begin(d, VIRTIO_MSG_GET_CONFIG, sizeof(*g));
	uint32_t left = d->id.config_len - d->config_got;

	g->offset = vhx_le32_of(d->config_got);
	g->length = vhx_le32_of((uint32_t)vhx_min_u64(left, VHX_CONTROL_CONFIG_MAX));
}

static bool next_config(struct vhx_driver *d)
{
	if (d->have_config)
		return false;
	config_request(d);
	return true;
}

/* Last of all: a backend whose config never rests holds up nothing but this. */
static bool next_config_again(struct vhx_driver *d)
{
	if (!d->config_stale && !d->config_reading)
		return false;
	if (!d->config_reading) {
		d->config_stale = false;
		d->config_got = 0;
		d->config_tries = 0;
	}
	d->config_reading = d->id.config_len != 0;
	if (d->config_reading)
		config_request(d);
	return d->config_reading;
}

static void status_request(struct vhx_driver *d, uint8_t status)
{
	struct virtio_msg_status *s = request_begin(d, VIRTIO_MSG_SET_DEVICE_STATUS, sizeof(*s));

	s->status = vhx_le32_of(status);
}

/* Reset: the device is in use and should not be, or with other features, or was never reset by us. */
static bool next_reset(struct vhx_driver *d)
{
	bool differs = d->features_set && d->applied_features != d->features;

	if (d->active ? d->reset_done && !differs : !d->status)
		return false;
	status_request(d, 0);
	return true;
}

static bool next_acknowledge(struct vhx_driver *d)
{
	if (!d->active || (d->status & VHX_STATUS_DRIVER))
		return false;
	status_request(d, VHX_STATUS_ACKNOWLEDGE | VHX_STATUS_DRIVER);
	return true;
}

/* A driver of other features is another driver, and may not be one that could have written it. */
static void kept_judge(struct vhx_driver *d)
{
	if (!d->config_kept.set || d->config_kept_features == d->features)
		return;
	d->config_kept.set = false;
	d->config_stale = true;
}

static bool next_set_features(struct vhx_driver *d)
{
	struct virtio_msg_features *f;
	vhx_le32 *words;

	if (!d->active || d->features_set)
		return false;
	kept_judge(d);
	f = request_begin(d, VIRTIO_MSG_SET_DRIVER_FEATURES, sizeof(*f) + 8);
	f->num_blocks = vhx_le32_of(2);
	words = (void *)(f + 1);
	words[0] = vhx_le32_of((uint32_t)d->features);
	words[1] = vhx_le32_of((uint32_t)(d->features >> 32));
	d->applied_features = d->features;
	return true;
}

static bool next_features_ok(struct vhx_driver *d)
{
	if (!d->active || (d->status & VHX_STATUS_FEATURES_OK))
		return false;
	status_request(d, d->status | VHX_STATUS_FEATURES_OK);
	return true;
}

static void queue_request(struct vhx_driver *d, uint32_t index)
{
	struct vhx_driver_queue *q = &d->queues[index];
	struct virtio_msg_vhx_queue_open *o;
	struct virtio_msg_set_vqueue *v;

	d->event_queue = (uint16_t)index;
	if (!q->enabled || q->applied_size != q->size) {
		q->applied_size = q->size;
		v = request_begin(d, VIRTIO_MSG_SET_VQUEUE, sizeof(*v));
		v->index = vhx_le32_of(index);
		v->flags = vhx_le32_of(VIRTIO_MSG_VQ_ENABLE);
		v->size = vhx_le32_of(q->size);
		return;
	}
	q->epoch++;
	o = request_begin(d, VIRTIO_MSG_VHX_QUEUE_OPEN, sizeof(*o));
	o->index = vhx_le32_of(index);
	o->epoch = vhx_le32_of(q->epoch);
}

/* Open, and not as it is wanted: also when the source was replaced while the queue was being opened. */
static bool queue_unfit(const struct vhx_driver_queue *q)
{
	return q->open && (!q->wanted || q->recycle || q->applied_size != q->size);
}

static bool next_queue_close(struct vhx_driver *d)
{
	struct virtio_msg_vq_index *v;
	uint32_t i;

	for (i = 0; i < d->id.num_queues; i++) {
		if (!queue_unfit(&d->queues[i]))
			continue;
		d->event_queue = (uint16_t)i;
		v = request_begin(d, VIRTIO_MSG_RESET_VQUEUE, sizeof(*v));
		v->index = vhx_le32_of(i);
		return true;
	}
	return false;
}

static bool next_queue_open(struct vhx_driver *d)
{
	uint32_t i;

	if (!d->active)
		return false;
	for (i = 0; i < d->id.num_queues; i++) {
		if (d->queues[i].wanted && !d->queues[i].open) {
			queue_request(d, i);
			return true;
		}
	}
	return false;
}

static bool next_driver_ok(struct vhx_driver *d)
{
	if (!d->active || (d->status & VHX_STATUS_DRIVER_OK))
		return false;
	status_request(d, d->status | VHX_STATUS_DRIVER_OK);
	return true;
}

static void config_write_request(struct vhx_driver *d, const struct vhx_driver_write *w)
{
	struct virtio_msg_config *c;

	c = request_begin(d, VIRTIO_MSG_SET_CONFIG, (uint16_t)(sizeof(*c) + w->len));
	c->offset = vhx_le32_of(w->off);
	c->length = vhx_le32_of(w->len);
	memcpy(c + 1, w->bytes, w->len);
}

/* A device in use is written to once its features are settled, since those may reset what was written. */
static bool config_writable(const struct vhx_driver *d)
{
	return !d->active || (d->status & VHX_STATUS_FEATURES_OK);
}

/*
 * What the driver last wrote, a cache that is off for example, goes to a replaced backend before any request; and to the
 * same one after a reset, which a VMM also does to a guest that it only pauses. Not before the features: they end what
 * was written, and without them it is refused.
 */
static bool next_config_keep(struct vhx_driver *d)
{
	if (!d->config_kept.set || d->config_kept_done || !d->active || !config_writable(d))
		return false;
	d->config_keeping = true;
	config_write_request(d, &d->config_kept);
	return true;
}

static bool next_config_write(struct vhx_driver *d)
{
	if (!d->config_write.set || !config_writable(d))
		return false;
	config_write_request(d, &d->config_write);
	return true;
}

static bool (*const steps[])(struct vhx_driver *d) = {
	next_attach,	  next_info,	     next_features,    next_config,	  next_reset,
	next_acknowledge, next_set_features, next_features_ok, next_config_keep,  next_config_write,
	next_queue_close, next_queue_open,   next_driver_ok,   next_config_again,
};

bool vhx_driver_next(struct vhx_driver *d, const struct vhx_control **req)
{
	size_t i;

	if (d->waiting)
		return false;
	for (i = 0; i < VHX_ARRAY_SIZE(steps); i++) {
		if (!steps[i](d))
			continue;
		d->token = (uint16_t)((d->token & ~TOKEN_SEQUENCE) |
				      ((d->token + 1) & TOKEN_SEQUENCE));
		d->request.token = d->token;
		d->waiting = true;
		*req = &d->request;
		return true;
	}
	return false;
}

static int attach_error(uint32_t error)
{
	static const int errors[] = {
		[VHX_ATTACH_OK] = 0,
		[VHX_ATTACH_UNKNOWN] = -ENODEV,
		[VHX_ATTACH_BUSY] = -EBUSY,
		[VHX_ATTACH_AMBIGUOUS] = -ENOTUNIQ,
	};

	return error < VHX_ARRAY_SIZE(errors) ? errors[error] : -EPROTO;
}

static int attach_response(struct vhx_driver *d, const struct vhx_control *resp,
			   enum vhx_driver_event *event)
{
	const struct virtio_msg_vhx_attach_resp *a = (const void *)resp->payload;
	int ret = attach_error(vhx_le32_get(a->error));

	if (ret)
		return ret;
	if (a->name[VHX_NAME_LEN - 1])
		return -EPROTO;
	d->attached = true;
	d->dev_num = vhx_le16_get(a->dev_num);
	if (d->id.cache_known && memcmp(d->id.cache_id, a->cache_id, sizeof(d->id.cache_id)))
		d->id.cache_changed = true;
	d->id.cache_known = true;
	memcpy(d->id.cache_id, a->cache_id, sizeof(d->id.cache_id));
	memcpy(d->id.name, a->name, sizeof(d->id.name));
	return 0;
}

static int info_response(struct vhx_driver *d, const struct vhx_control *resp,
			 enum vhx_driver_event *event)
{
	const struct virtio_msg_device_info *info = (const void *)resp->payload;
	uint32_t queues = vhx_le32_get(info->max_virtqueues);
	uint32_t config_len = vhx_le32_get(info->config_size);
	struct vhx_driver_identity *id = &d->id;

	if (!queues || queues > VHX_VDEV_QUEUES_MAX || config_len > VHX_DRIVER_CONFIG_MAX)
		return -EPROTO;
	/* A replaced backend must bring the same medium back, in the same shape. */
	if (id->known && (id->device_id != vhx_le32_get(info->device_id) ||
			  memcmp(id->uuid, info->uuid, sizeof(id->uuid)) ||
			  id->num_queues != queues || id->config_len != config_len))
		return -ESTALE;
	id->device_id = vhx_le32_get(info->device_id);
	memcpy(id->uuid, info->uuid, sizeof(id->uuid));
	id->num_queues = (uint16_t)queues;
	id->config_len = config_len;
	d->have_info = true;
	if (!config_len)
		d->have_config = true;
	return 0;
}

static int features_response(struct vhx_driver *d, const struct vhx_control *resp,
			     enum vhx_driver_event *event)
{
	const struct virtio_msg_features *f = (const void *)resp->payload;
	const vhx_le32 *words = (const void *)(f + 1);
	uint64_t features;

	if (resp->payload_len != sizeof(*f) + 8)
		return -EPROTO;
	features = vhx_le32_get(words[0]) | (uint64_t)vhx_le32_get(words[1]) << 32;
	/* Ring bits that a backend offers are none of its business: they do not cross. */
	features &= ~VHX_FEATURES_RING | VHX_FEATURES_CROSSING;
	if (!(features & VHX_FEATURE_VERSION_1))
		return -EPROTO;
	if (d->id.known && (d->features & ~features))
		return -ESTALE;
	if (!d->id.known)
		d->id.features = features;
	d->have_features = true;
	if (d->have_config && !d->id.known) {
		d->id.known = true;
		*event = VHX_DRIVER_KNOWN;
	}
	return 0;
}

static int config_response(struct vhx_driver *d, const struct vhx_control *resp,
			   enum vhx_driver_event *event)
{
	const struct virtio_msg_config *c = (const void *)resp->payload;
	uint32_t len = vhx_le32_get(c->length), generation = vhx_le32_get(c->generation);

	if (vhx_le32_get(c->offset) != d->config_got || !len ||
	    len > resp->payload_len - sizeof(*c) || len > d->id.config_len - d->config_got)
		return -EPROTO;
	/* 2.5: a change in between makes the parts inconsistent; begin again. */
	if (d->config_got && generation != d->config_generation) {
		d->config_got = 0;
		return ++d->config_tries < VHX_DRIVER_CONFIG_TRIES ? 0 : -EPROTO;
	}
	d->config_generation = generation;
	memcpy(d->config_new + d->config_got, c + 1, len);
	d->config_got += len;
	if (d->config_got < d->id.config_len)
		return 0;
	d->have_config = true;
	d->config_reading = false;
	d->id.generation = generation;
	if (!d->id.known)
		*event = VHX_DRIVER_KNOWN;
	else if (memcmp(d->id.config, d->config_new, d->id.config_len))
		*event = VHX_DRIVER_CONFIG;
	d->id.known = true;
	memcpy(d->id.config, d->config_new, d->id.config_len);
	return 0;
}

static int set_features_response(struct vhx_driver *d, const struct vhx_control *resp,
				 enum vhx_driver_event *event)
{
	d->features_set = true;
	return 0;
}

static void reset_apply(struct vhx_driver *d)
{
	uint32_t i;

	d->reset_done = true;
	d->features_set = false;
	d->config_kept_done = false;
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		queue_closed(&d->queues[i]);
}

static int status_response(struct vhx_driver *d, const struct vhx_control *resp,
			   enum vhx_driver_event *event)
{
	const struct virtio_msg_status *asked = (const void *)d->request.payload;
	const struct virtio_msg_status *s = (const void *)resp->payload;
	uint8_t want = (uint8_t)vhx_le32_get(asked->status);
	uint32_t status = vhx_le32_get(s->status);

	if (!want) {
		if (status)
			return -EPROTO;
		reset_apply(d);
		d->status = 0;
		*event = VHX_DRIVER_STOPPED;
		return 0;
	}
	/* It offered the features itself: not to confirm them is to be another device. */
	if ((want & ~status) & VHX_STATUS_FEATURES_OK)
		return -ESTALE;
	if (want & ~status)
		return -EPROTO;
	if ((want & VHX_STATUS_DRIVER_OK) && !(d->status & VHX_STATUS_DRIVER_OK))
		*event = VHX_DRIVER_RUNNING;
	d->status = want;
	return 0;
}

static int set_vqueue_response(struct vhx_driver *d, const struct vhx_control *resp,
			       enum vhx_driver_event *event)
{
	d->queues[d->event_queue].enabled = true;
	return 0;
}

static int queue_open_response(struct vhx_driver *d, const struct vhx_control *resp,
			       enum vhx_driver_event *event)
{
	const struct virtio_msg_vhx_queue_open_resp *o = (const void *)resp->payload;
	struct vhx_driver_queue *q = &d->queues[d->event_queue];
	struct vhx_vdev_limits *l = &q->limits;
	uint64_t largest, need;

	/* Its largest queue is smaller than the one that the VMM chose. */
	if (vhx_le32_get(o->error))
		return -EDOM;
	if (vhx_le32_get(o->index) != d->event_queue || vhx_le32_get(o->epoch) != q->epoch)
		return -EPROTO;
	l->max_out = vhx_le32_get(o->max_out);
	l->max_in = vhx_le32_get(o->max_in);
	l->head_len = vhx_le32_get(o->head_len);
	l->window = vhx_le32_get(o->window);
	/* A window that does not cover the largest request, or what a TOO_BIG one brings, would never let it go. */
	largest = vhx_max_u64(l->max_out, VHX_TOO_BIG_BYTES);
	need = largest > l->head_len ? vhx_div_round_up_u64(largest - l->head_len, VHX_WINDOW_UNIT)
				     : 0;
	if (l->window < need)
		return -EPROTO;
	q->open = true;
	*event = VHX_DRIVER_QUEUE_OPEN;
	return 0;
}

static int reset_vqueue_response(struct vhx_driver *d, const struct vhx_control *resp,
				 enum vhx_driver_event *event)
{
	queue_closed(&d->queues[d->event_queue]);
	*event = VHX_DRIVER_QUEUE_CLOSED;
	return 0;
}

static int set_config_response(struct vhx_driver *d, const struct vhx_control *resp,
			       enum vhx_driver_event *event)
{
	const struct virtio_msg_config *c = (const void *)resp->payload;
	uint32_t len = vhx_le32_get(c->length);

	struct vhx_driver_write *w = d->config_keeping ? &d->config_kept : &d->config_write;

	/* All of it was written, or nothing. */
	if (len && len != w->len)
		return -EPROTO;
	d->config_stale = true;
	if (d->config_keeping) {
		d->config_keeping = false;
		d->config_kept_done = true;
		/* Its predecessor took it: this is not the same device. */
		return len ? 0 : -ESTALE;
	}
	d->config_refused = !len;
	w->set = false;
	if (len && !w->orphan && vhx_devtype_find(d->id.device_id)->config_kept) {
		d->config_kept = *w;
		d->config_kept.set = true;
		d->config_kept_features = d->features;
		d->config_kept_done = d->status & VHX_STATUS_FEATURES_OK;
	}
	config_write_advance(d);
	*event = VHX_DRIVER_CONFIG_WRITTEN;
	return 0;
}

typedef int (*driver_handler)(struct vhx_driver *d, const struct vhx_control *resp,
			      enum vhx_driver_event *event);

static const struct {
	bool bus;
	uint8_t msg_id;
	driver_handler handle;
} handlers[] = {
	{ true, VIRTIO_MSG_BUS_VHX_ATTACH, attach_response },
	{ false, VIRTIO_MSG_GET_DEVICE_INFO, info_response },
	{ false, VIRTIO_MSG_GET_DEVICE_FEATURES, features_response },
	{ false, VIRTIO_MSG_GET_CONFIG, config_response },
	{ false, VIRTIO_MSG_SET_DRIVER_FEATURES, set_features_response },
	{ false, VIRTIO_MSG_SET_DEVICE_STATUS, status_response },
	{ false, VIRTIO_MSG_SET_VQUEUE, set_vqueue_response },
	{ false, VIRTIO_MSG_VHX_QUEUE_OPEN, queue_open_response },
	{ false, VIRTIO_MSG_RESET_VQUEUE, reset_vqueue_response },
	{ false, VIRTIO_MSG_SET_CONFIG, set_config_response },
};

int vhx_driver_response(struct vhx_driver *d, const struct vhx_control *resp,
			enum vhx_driver_event *event)
{
	size_t i;

	*event = VHX_DRIVER_NONE;
	if (!d->waiting || !resp->response || resp->token != d->token ||
	    resp->bus != d->request.bus || resp->msg_id != d->request.msg_id ||
	    resp->dev_num != d->request.dev_num)
		return 0;
	d->waiting = false;
	for (i = 0; i < VHX_ARRAY_SIZE(handlers); i++) {
		if (handlers[i].bus == resp->bus && handlers[i].msg_id == resp->msg_id)
			return handlers[i].handle(d, resp, event);
	}
	return 0;
}

void vhx_driver_forget_writes(struct vhx_driver *d)
{
	d->config_kept.set = false;
	/* An outstanding one is answered to nobody. One that only waits is not sent after its driver's reset. */
	d->config_write.orphan = d->waiting && !d->config_keeping &&
				 d->request.msg_id == VIRTIO_MSG_SET_CONFIG;
	d->config_write.set &= d->config_write.orphan;
	d->config_waiting_cnt = 0;
}

void vhx_driver_config_event(struct vhx_driver *d)
{
	d->config_stale = true;
}
