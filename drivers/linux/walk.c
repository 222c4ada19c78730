// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The walk from what is applied of a device to what is wanted of it. Whenever the two differ, it
 * names the one control request that brings them closer; at most one is outstanding. The steps are
 * tried in the order of a table, which is that of VirtIO 3.1.1: first start, a late queue, a reset,
 * and bringing a replaced backend to where the dead one was are all the same walk
 * (src/core/driver.c is the same in user space).
 *
 *   attach -> info -> features -> config      once per channel
 *   queue sizes                               once: then the device is *known*
 *   reset -> ACKNOWLEDGE, DRIVER -> features -> FEATURES_OK -> queues -> DRIVER_OK
 *   queue reset, late queues, config          while it runs
 *
 * All of it is the channel's work, under the lock.
 *
 * Return of a backend. It must be the same device (id, uuid, queues, config length, features in
 * use). If its cache identity changed and writes completed since the last good FLUSH, or a FLUSH
 * failed, then replay would hide a loss: the device fails (docs/wire.md, section 11).
 *
 * What a hostile backend can do: every answer is checked against its request; one that contradicts
 * it ends the channel. Sizes are bounded before they are believed (config space, queues, entries).
 */
#include <linux/jiffies.h>
#include <linux/sched.h>

#include "walk.h"

/* docs/wire.md, section 6: an answer takes at most so long, or the channel ends. */
#define CONTROL_MS 5000u
/* The same: a device that is BUSY, until its last user's I/O has ended, is asked for after this; */
#define BUSY_MS 100u
/* and one that somebody else has, or that is not there, after this. */
#define MISSING_MS 1000u

/* Entries of a queue: what a driver can use; and it bounds what a backend can make us allocate. */
#define QUEUE_SIZE_MAX 1024u

/*
 * A config that changes while it is read in parts is read from the start again, so often: it has
 * two parts at most, and to change between them each time is to be hostile.
 */
#define CONFIG_TRIES 16

/* Tokens: a device's place in its channel above, a sequence below. */
#define TOKEN_SHIFT 10
#define TOKEN_SEQUENCE (BIT(TOKEN_SHIFT) - 1)

/* What the work has to do after a response, without the lock. */
#define EVENT_KNOWN BIT(0)
#define EVENT_CONFIG BIT(1)
#define EVENT_GONE BIT(2)
#define EVENT_RUNNING BIT(3)
#define EVENT_REFUSED BIT(4)

static spinlock_t *lock_of(const struct hmx_device *dev)
{
	return &dev->ch->port->lock;
}

bool hmx_device_attached(const struct hmx_device *dev)
{
	return dev->walk->attached;
}

/* The steps. Under the lock. Each is due when its part of `applied` differs from `wanted`. */

static void *request_begin(struct hmx_device *dev, u8 msg_id, u16 payload_len)
{
	return hmx_control_begin(&dev->walk->request, false, msg_id, dev->dev_num, payload_len);
}

static bool next_attach(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_vhx_attach *a;

	if (w->attached)
		return false;
	a = hmx_control_begin(&w->request, true, VIRTIO_MSG_BUS_VHX_ATTACH, 0, sizeof(*a));
	memcpy(a->name, dev->name, sizeof(a->name));
	return true;
}

static bool next_info(struct hmx_device *dev, struct hmx_walk *w)
{
	if (w->have_info)
		return false;
	request_begin(dev, VIRTIO_MSG_GET_DEVICE_INFO, 0);
	return true;
}

static bool next_features(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_features *f;

	if (w->have_features)
		return false;
	f = request_begin(dev, VIRTIO_MSG_GET_DEVICE_FEATURES, sizeof(*f));
	f->num_blocks = cpu_to_le32(2);
	return true;
}

static void config_request(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_get_config *g = request_begin(dev, VIRTIO_MSG_GET_CONFIG, sizeof(*g));

	g->offset = cpu_to_le32(w->config_got);
	g->length = cpu_to_le32(min(dev->id.config_len - w->config_got, CONFIG_CHUNK_MAX));
}

static bool next_config(struct hmx_device *dev, struct hmx_walk *w)
{
	if (w->have_config)
		return false;
	config_request(dev, w);
	return true;
}

/* Sizes are asked for once and for all, so that find_vqs() never waits. */
static bool next_size(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_vq_index *v;

	if (w->sizes_got == dev->id.num_queues)
		return false;
	w->queue = w->sizes_got;
	v = request_begin(dev, VIRTIO_MSG_GET_VQUEUE, sizeof(*v));
	v->index = cpu_to_le32(w->queue);
	return true;
}

bool hmx_walk_writing(const struct hmx_walk *w)
{
	return w->waiting && w->request.msg_id == VIRTIO_MSG_SET_CONFIG && !w->keeping;
}

/* Last of all: a backend whose config never rests holds up nothing but this. */
static bool next_config_again(struct hmx_device *dev, struct hmx_walk *w)
{
	if (!w->config_stale && !w->config_reading)
		return false;
	if (!w->config_reading) {
		w->config_stale = false;
		w->config_got = 0;
		w->config_tries = 0;
	}
	w->config_reading = dev->id.config_len;
	if (w->config_reading)
		config_request(dev, w);
	return w->config_reading;
}

static void status_request(struct hmx_device *dev, u8 status)
{
	struct virtio_msg_status *s = request_begin(dev, VIRTIO_MSG_SET_DEVICE_STATUS, sizeof(*s));

	s->status = cpu_to_le32(status);
}

/* The device is in use and should not be, or with other features, or was never reset by us. */
static bool next_reset(struct hmx_device *dev, struct hmx_walk *w)
{
	bool differs = w->features_set && w->applied_features != dev->features;

	if (dev->active ? w->reset_done && !differs : !w->status)
		return false;
	status_request(dev, 0);
	return true;
}

static bool next_acknowledge(struct hmx_device *dev, struct hmx_walk *w)
{
	if (!dev->active || (w->status & VIRTIO_CONFIG_S_DRIVER))
		return false;
	status_request(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	return true;
}

static bool next_set_features(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_features *f;
	vhx_le32 *words;

	if (!dev->active || w->features_set)
		return false;
	f = request_begin(dev, VIRTIO_MSG_SET_DRIVER_FEATURES, sizeof(*f) + 2 * sizeof(*words));
	f->num_blocks = cpu_to_le32(2);
	words = (vhx_le32 *)(f + 1);
	words[0] = cpu_to_le32(lower_32_bits(dev->features));
	words[1] = cpu_to_le32(upper_32_bits(dev->features));
	w->applied_features = dev->features;
	return true;
}

static bool next_features_ok(struct hmx_device *dev, struct hmx_walk *w)
{
	if (!dev->active || (w->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	status_request(dev, w->status | VIRTIO_CONFIG_S_FEATURES_OK);
	return true;
}

static void config_write_request(struct hmx_device *dev, const struct config_write *cw)
{
	struct virtio_msg_config *c;

	c = request_begin(dev, VIRTIO_MSG_SET_CONFIG, sizeof(*c) + cw->len);
	c->offset = cpu_to_le32(cw->off);
	c->length = cpu_to_le32(cw->len);
	memcpy(c + 1, cw->bytes, cw->len);
}

/*
 * A device in use is written to once its features are settled, since those may reset what was
 * written.
 */
static bool config_writable(const struct hmx_device *dev)
{
	return !dev->active || (dev->walk->status & VIRTIO_CONFIG_S_FEATURES_OK);
}

/*
 * What the driver last wrote, a cache that is off for example, goes to a replaced backend before
 * any request.
 */
static bool next_config_keep(struct hmx_device *dev, struct hmx_walk *w)
{
	if (!w->kept.set || w->kept_done || !config_writable(dev))
		return false;
	w->keeping = true;
	config_write_request(dev, &w->kept);
	return true;
}

static bool next_config_write(struct hmx_device *dev, struct hmx_walk *w)
{
	if (!w->write.set || !config_writable(dev))
		return false;
	config_write_request(dev, &w->write);
	return true;
}

/* Open, and not as it is wanted. */
bool hmx_vq_unfit(const struct hmx_vq_state *s)
{
	return s->open && (!s->wanted || s->recycle || s->applied_size != s->size);
}

static bool next_queue_close(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_vq_index *v;
	unsigned int i;

	for (i = 0; i < dev->id.num_queues; i++) {
		if (!hmx_vq_unfit(&dev->vq_states[i]))
			continue;
		w->queue = i;
		v = request_begin(dev, VIRTIO_MSG_RESET_VQUEUE, sizeof(*v));
		v->index = cpu_to_le32(i);
		return true;
	}
	return false;
}

static void queue_enable_request(struct hmx_device *dev, struct hmx_vq_state *s, u32 index)
{
	struct virtio_msg_set_vqueue *v;

	s->applied_size = s->size;
	v = request_begin(dev, VIRTIO_MSG_SET_VQUEUE, sizeof(*v));
	v->index = cpu_to_le32(index);
	v->flags = cpu_to_le32(VIRTIO_MSG_VQ_ENABLE);
	v->size = cpu_to_le32(s->size);
}

static void queue_open_request(struct hmx_device *dev, struct hmx_vq_state *s, u32 index)
{
	struct virtio_msg_vhx_queue_open *o;

	s->epoch++;
	o = request_begin(dev, VIRTIO_MSG_VHX_QUEUE_OPEN, sizeof(*o));
	o->index = cpu_to_le32(index);
	o->epoch = cpu_to_le32(s->epoch);
}

static bool next_queue_open(struct hmx_device *dev, struct hmx_walk *w)
{
	struct hmx_vq_state *s;
	unsigned int i;

	if (!dev->active)
		return false;
	for (i = 0; i < dev->id.num_queues; i++) {
		s = &dev->vq_states[i];
		if (!s->wanted || s->open)
			continue;
		w->queue = i;
		if (!s->enabled || s->applied_size != s->size)
			queue_enable_request(dev, s, i);
		else
			queue_open_request(dev, s, i);
		return true;
	}
	return false;
}

static bool next_driver_ok(struct hmx_device *dev, struct hmx_walk *w)
{
	if (!dev->active || !(dev->status & VIRTIO_CONFIG_S_DRIVER_OK) ||
	    (w->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return false;
	status_request(dev, w->status | VIRTIO_CONFIG_S_DRIVER_OK);
	return true;
}

static bool (*const steps[])(struct hmx_device *dev, struct hmx_walk *w) = {
	next_attach,	   next_info,	     next_features,	next_config,	  next_size,
	next_reset,	   next_acknowledge, next_set_features, next_features_ok, next_config_keep,
	next_config_write, next_queue_close, next_queue_open,	next_driver_ok,	  next_config_again,
};

static bool walk_resting(struct hmx_device *dev, struct hmx_walk *w)
{
	/* First of all: a channel that was stopped arms nothing. */
	if (w->waiting || !hmx_channel_usable(dev->ch))
		return true;
	if (w->paused && time_before(jiffies, w->resume)) {
		/* The work may have come for somebody else. */
		hmx_channel_remind(dev->ch, jiffies_to_msecs(w->resume - jiffies) + 1);
		return true;
	}
	w->paused = false;
	return false;
}

static bool walk_next(struct hmx_device *dev, struct hmx_walk *w)
{
	size_t i;

	if (w->unusable)
		return !dev->active && w->attached && next_reset(dev, w);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i](dev, w))
			return true;
	}
	return false;
}

/* Under the lock, in the work: sends the next request, if one is due. */
void hmx_walk_step(struct hmx_device *dev)
{
	struct hmx_walk *w = dev->walk;

	if (walk_resting(dev, w) || !walk_next(dev, w))
		return;
	/* The channel's sequence: an answer to who had this place before is nobody's. */
	w->token = dev->index << TOKEN_SHIFT | (++dev->ch->walk_token & TOKEN_SEQUENCE);
	w->request.token = w->token;
	w->waiting = true;
	w->until = jiffies + msecs_to_jiffies(CONTROL_MS);
	hmx_channel_control(dev->ch, &w->request);
}

/* Responses. Under the lock. 0 and *@events; or why the channel ends. */

static void walk_pause(struct hmx_device *dev, unsigned int ms)
{
	dev->walk->paused = true;
	dev->walk->resume = jiffies + msecs_to_jiffies(ms);
	hmx_channel_remind(dev->ch, ms);
}

/* From here on it is of no use; a driver that has it gets errors for answers. */
static void walk_unusable(struct hmx_device *dev, const char *why, unsigned int *events)
{
	dev->walk->unusable = true;
	hmx_device_fail_locked(dev, why);
	if (!dev->id.known) {
		dev->gone = true;
		*events |= EVENT_GONE;
	}
}

/*
 * BUSY is what a device is while its last user's I/O ends, which may have been us; so time can heal
 * it. UNKNOWN as well, if it was there before; the discovery removes what does not come back.
 */
static int attach_refused(struct hmx_device *dev, u32 error, unsigned int *events)
{
	switch (error) {
	case VHX_ATTACH_BUSY:
		walk_pause(dev, dev->id.known ? BUSY_MS : MISSING_MS);
		return 0;
	case VHX_ATTACH_UNKNOWN:
		if (dev->id.known)
			walk_pause(dev, MISSING_MS);
		else
			walk_unusable(dev, "the backend does not have it", events);
		return 0;
	default:
		return -EPROTO;
	}
}

static bool dev_num_taken(const struct hmx_device *dev, u16 dev_num)
{
	const struct hmx_device *other;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		other = dev->ch->devices[i];
		if (other && other != dev && other->walk->attached && other->dev_num == dev_num)
			return true;
	}
	return false;
}

static int attach_response(struct hmx_device *dev, struct hmx_walk *w, const struct hmx_control *c,
			   unsigned int *events)
{
	const struct virtio_msg_vhx_attach_resp *a = (const void *)c->payload;
	u16 dev_num = le16_to_cpu(a->dev_num);

	if (a->error)
		return attach_refused(dev, le32_to_cpu(a->error), events);
	if (a->name[VHX_NAME_LEN - 1] || dev_num_taken(dev, dev_num))
		return -EPROTO;
	w->attached = true;
	dev->dev_num = dev_num;
	if (dev->id.cache_known && memcmp(dev->id.cache_id, a->cache_id, sizeof(dev->id.cache_id)))
		dev->id.cache_changed = true;
	dev->id.cache_known = true;
	memcpy(dev->id.cache_id, a->cache_id, sizeof(dev->id.cache_id));
	return 0;
}

static int info_response(struct hmx_device *dev, struct hmx_walk *w, const struct hmx_control *c,
			 unsigned int *events)
{
	const struct virtio_msg_device_info *info = (const void *)c->payload;
	u32 queues = le32_to_cpu(info->max_virtqueues);
	u32 config_len = le32_to_cpu(info->config_size);
	struct hmx_identity *id = &dev->id;

	if (!queues || queues > HMX_QUEUES_MAX || config_len > HMX_CONFIG_MAX)
		return -EPROTO;
	/* A replaced backend must bring the same medium back, in the same shape. */
	if (id->known && (id->device_id != le32_to_cpu(info->device_id) ||
			  memcmp(id->uuid, info->uuid, sizeof(id->uuid)) ||
			  id->num_queues != queues || id->config_len != config_len)) {
		walk_unusable(dev, "the backend came back with another device", events);
		return 0;
	}
	if (!id->known) {
		id->device_id = le32_to_cpu(info->device_id);
		id->vendor_id = le32_to_cpu(info->vendor_id);
		memcpy(id->uuid, info->uuid, sizeof(id->uuid));
		id->num_queues = queues;
		id->config_len = config_len;
		w->sizes_got = 0;
	}
	w->have_info = true;
	w->have_config = !config_len;
	return 0;
}

static int features_response(struct hmx_device *dev, struct hmx_walk *w,
			     const struct hmx_control *c, unsigned int *events)
{
	const struct virtio_msg_features *f = (const void *)c->payload;
	const vhx_le32 *words = (const void *)(f + 1);
	u64 features;

	if (c->payload_len != sizeof(*f) + 2 * sizeof(*words))
		return -EPROTO;
	features = le32_to_cpu(words[0]) | (u64)le32_to_cpu(words[1]) << 32;
	/* Ring bits that a backend offers are none of its business: they do not cross. */
	features &= ~FEATURES_RING | FEATURES_CROSSING;
	if (FEATURES_CROSSING & ~features)
		return -EPROTO;
	if (dev->id.known && (dev->features & ~features)) {
		walk_unusable(dev, "the backend came back with fewer features", events);
		return 0;
	}
	if (!dev->id.known)
		dev->id.features = features;
	w->have_features = true;
	return 0;
}

static void config_take(struct hmx_device *dev, struct hmx_walk *w, unsigned int *events)
{
	unsigned long flags;

	hmx_type_config(hmx_type_find(dev->id.device_id), dev->id.features, w->config_new,
			dev->id.config_len);
	spin_lock_irqsave(&dev->config_lock, flags);
	if (memcmp(dev->config, w->config_new, dev->id.config_len)) {
		memcpy(dev->config, w->config_new, dev->id.config_len);
		dev->generation++;
		if (dev->id.known)
			*events |= EVENT_CONFIG;
	}
	spin_unlock_irqrestore(&dev->config_lock, flags);
}

static int config_response(struct hmx_device *dev, struct hmx_walk *w, const struct hmx_control *c,
			   unsigned int *events)
{
	const struct virtio_msg_config *cfg = (const void *)c->payload;
	u32 len = le32_to_cpu(cfg->length), generation = le32_to_cpu(cfg->generation);

	if (le32_to_cpu(cfg->offset) != w->config_got || !len ||
	    len > c->payload_len - sizeof(*cfg) || len > dev->id.config_len - w->config_got)
		return -EPROTO;
	/* 2.5: a change in between makes the parts inconsistent; begin again. */
	if (w->config_got && generation != w->config_generation) {
		w->config_got = 0;
		return ++w->config_tries < CONFIG_TRIES ? 0 : -EPROTO;
	}
	w->config_generation = generation;
	memcpy(w->config_new + w->config_got, cfg + 1, len);
	w->config_got += len;
	if (w->config_got < dev->id.config_len)
		return 0;
	w->have_config = true;
	w->config_reading = false;
	w->config_tries = 0;
	config_take(dev, w, events);
	return 0;
}

static int size_response(struct hmx_device *dev, struct hmx_walk *w, const struct hmx_control *c,
			 unsigned int *events)
{
	const struct virtio_msg_get_vqueue_resp *v = (const void *)c->payload;

	if (v->index != cpu_to_le32(w->queue) && v->max_size)
		return -EPROTO;
	dev->vq_states[w->queue].max_size = min(le32_to_cpu(v->max_size), QUEUE_SIZE_MAX);
	if (++w->sizes_got < dev->id.num_queues)
		return 0;
	dev->type = hmx_type_find(dev->id.device_id);
	dev->id.known = true;
	*events |= EVENT_KNOWN;
	return 0;
}

static int set_features_response(struct hmx_device *dev, struct hmx_walk *w,
				 const struct hmx_control *c, unsigned int *events)
{
	w->features_set = true;
	return 0;
}

static void queue_closed(struct hmx_vq_state *s)
{
	s->enabled = false;
	s->open = false;
	s->recycle = false;
}

static void queues_closed(struct hmx_device *dev)
{
	unsigned int i;

	for (i = 0; i < HMX_QUEUES_MAX; i++)
		queue_closed(&dev->vq_states[i]);
}

/*
 * Whenever it begins to run: what was lost may have been while it slept, or had no driver. The same
 * backend knows its own failures; a loss ends that knowledge.
 */
static void loss_judge(struct hmx_device *dev, struct hmx_walk *w)
{
	if (dev->id.cache_changed && dev->writes_done != dev->writes_flushed)
		hmx_device_fail_locked(dev,
				       "the backend came back without writes that had completed");
	else if (w->lost && dev->flush_failed)
		hmx_device_fail_locked(dev, "a flush failed before the backend came back");
	dev->id.cache_changed = false;
	w->lost = false;
}

static int reset_response(struct hmx_device *dev, struct hmx_walk *w, u32 status)
{
	if (status)
		return -EPROTO;
	w->status = 0;
	w->reset_done = true;
	w->features_set = false;
	w->kept_done = false;
	/* A reset may bring back what a driver has written over. */
	w->config_stale = true;
	queues_closed(dev);
	return 0;
}

static int status_response(struct hmx_device *dev, struct hmx_walk *w, const struct hmx_control *c,
			   unsigned int *events)
{
	const struct virtio_msg_status *asked = (const void *)w->request.payload;
	const struct virtio_msg_status *s = (const void *)c->payload;
	u8 want = le32_to_cpu(asked->status);
	u32 status = le32_to_cpu(s->status);

	if (!want)
		return reset_response(dev, w, status);
	/* It offered the features itself: not to confirm them is to be another device. */
	if ((want & ~status) & VIRTIO_CONFIG_S_FEATURES_OK) {
		walk_unusable(dev, "the backend refuses its own features", events);
		return 0;
	}
	if (want & ~status)
		return -EPROTO;
	if ((want & ~w->status) & VIRTIO_CONFIG_S_DRIVER_OK) {
		loss_judge(dev, w);
		*events |= EVENT_RUNNING;
	}
	w->status = want;
	return 0;
}

static int set_vqueue_response(struct hmx_device *dev, struct hmx_walk *w,
			       const struct hmx_control *c, unsigned int *events)
{
	dev->vq_states[w->queue].enabled = true;
	return 0;
}

/*
 * A window that does not cover the largest request, or what a TOO_BIG one brings, would never let
 * it go.
 */
static bool limits_serve(const struct hmx_limits *l)
{
	u32 largest = max(l->max_out, VHX_TOO_BIG_BYTES);
	u32 need = 0;

	if (largest > l->head_len)
		need = (largest - l->head_len - 1) / VHX_WINDOW_UNIT + 1;
	return l->window >= need;
}

static int queue_open_response(struct hmx_device *dev, struct hmx_walk *w,
			       const struct hmx_control *c, unsigned int *events)
{
	const struct virtio_msg_vhx_queue_open_resp *o = (const void *)c->payload;
	struct hmx_vq_state *s = &dev->vq_states[w->queue];
	struct hmx_queue *q = dev->queues[w->queue];
	struct hmx_limits *l = &s->limits;

	/* Another try would end the same: the size will not change by itself. */
	if (o->error) {
		walk_unusable(dev, "the backend refuses a queue", events);
		return 0;
	}
	if (le32_to_cpu(o->index) != w->queue || le32_to_cpu(o->epoch) != s->epoch)
		return -EPROTO;
	l->max_out = le32_to_cpu(o->max_out);
	l->max_in = le32_to_cpu(o->max_in);
	l->head_len = le32_to_cpu(o->head_len);
	l->window = le32_to_cpu(o->window);
	if (!limits_serve(l))
		return -EPROTO;
	s->open = true;
	if (q && !hmx_vq_unfit(s))
		hmx_queue_opened(q);
	return 0;
}

static int reset_vqueue_response(struct hmx_device *dev, struct hmx_walk *w,
				 const struct hmx_control *c, unsigned int *events)
{
	queue_closed(&dev->vq_states[w->queue]);
	return 0;
}

static int kept_response(struct hmx_device *dev, struct hmx_walk *w, u32 len, unsigned int *events)
{
	w->keeping = false;
	w->kept_done = true;
	if (!len)
		walk_unusable(dev, "the backend refuses what its predecessor took", events);
	return 0;
}

static int set_config_response(struct hmx_device *dev, struct hmx_walk *w,
			       const struct hmx_control *c, unsigned int *events)
{
	const struct virtio_msg_config *cfg = (const void *)c->payload;
	struct config_write *cw = w->keeping ? &w->kept : &w->write;
	u32 len = le32_to_cpu(cfg->length);

	/* All of it was written, or nothing. */
	if (len && len != cw->len)
		return -EPROTO;
	w->config_stale = true;
	if (w->keeping)
		return kept_response(dev, w, len, events);
	cw->set = false;
	/* What the last driver wrote was undone by its reset. */
	if (cw->orphan)
		return 0;
	if (!len) {
		*events |= EVENT_REFUSED;
		return 0;
	}
	w->kept = *cw;
	w->kept.set = dev->type->config_kept;
	w->kept_done = true;
	return 0;
}

static const struct {
	u8 msg_id;
	bool bus;
	int (*handle)(struct hmx_device *dev, struct hmx_walk *w, const struct hmx_control *c,
		      unsigned int *events);
} handlers[] = {
	{ VIRTIO_MSG_BUS_VHX_ATTACH, true, attach_response },
	{ VIRTIO_MSG_GET_DEVICE_INFO, false, info_response },
	{ VIRTIO_MSG_GET_DEVICE_FEATURES, false, features_response },
	{ VIRTIO_MSG_GET_CONFIG, false, config_response },
	{ VIRTIO_MSG_GET_VQUEUE, false, size_response },
	{ VIRTIO_MSG_SET_DRIVER_FEATURES, false, set_features_response },
	{ VIRTIO_MSG_SET_DEVICE_STATUS, false, status_response },
	{ VIRTIO_MSG_SET_VQUEUE, false, set_vqueue_response },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, false, queue_open_response },
	{ VIRTIO_MSG_RESET_VQUEUE, false, reset_vqueue_response },
	{ VIRTIO_MSG_SET_CONFIG, false, set_config_response },
};

bool hmx_device_awaits(const struct hmx_device *dev, const struct hmx_control *c)
{
	const struct hmx_walk *w = dev->walk;

	return w->waiting && c->response && c->token == w->token && c->bus == w->request.bus &&
	       c->msg_id == w->request.msg_id && (c->bus || c->dev_num == w->request.dev_num);
}

static int response_take(struct hmx_device *dev, const struct hmx_control *c, unsigned int *events)
{
	size_t i;

	if (!hmx_device_awaits(dev, c))
		return 0;
	dev->walk->waiting = false;
	for (i = 0; i < ARRAY_SIZE(handlers); i++) {
		if (handlers[i].bus == c->bus && handlers[i].msg_id == c->msg_id)
			return handlers[i].handle(dev, dev->walk, c, events);
	}
	return 0;
}

static void events_act(struct hmx_device *dev, unsigned int events)
{
	if (events & (EVENT_KNOWN | EVENT_GONE))
		hmx_scan_kick(dev->ch, false);
	if (events & EVENT_REFUSED)
		dev_warn_ratelimited(&dev->ch->dev, "%s: a write of the config is refused\n",
				     dev->name);
	if (events & EVENT_RUNNING && !READ_ONCE(dev->failed))
		dev_info_ratelimited(&dev->ch->dev, "%s: running\n", dev->name);
	/* The virtio core has set a status: it is ready to be told. */
	if (events & EVENT_CONFIG && READ_ONCE(dev->status))
		virtio_config_changed(&dev->vdev);
}

int hmx_device_control(struct hmx_device *dev, const struct hmx_control *c)
{
	unsigned int events = 0;
	int ret = 0;

	spin_lock_irq(lock_of(dev));
	if (c->response)
		ret = response_take(dev, c, &events);
	else
		dev->walk->config_stale = true; /* EVENT_CONFIG: the only one that gets here */
	/* At once, and not only at the end of the pass: a walk is a chain of round trips. */
	if (!ret)
		hmx_walk_step(dev);
	wake_up(&dev->wait);
	spin_unlock_irq(lock_of(dev));
	events_act(dev, events);
	return ret;
}

void hmx_walk_lost(struct hmx_device *dev)
{
	struct hmx_walk *w = dev->walk;

	w->lost |= w->attached;
	w->attached = false;
	w->have_info = false;
	w->have_features = false;
	w->have_config = false;
	w->config_got = 0;
	w->config_tries = 0;
	w->config_stale = false;
	w->config_reading = false;
	w->keeping = false;
	w->kept_done = false;
	/* Its answer will not come, and nobody wishes for it to be sent again. */
	if (w->write.orphan)
		w->write.set = false;
	w->status = 0;
	w->features_set = false;
	w->reset_done = false;
	w->waiting = false;
	w->paused = false;
	queues_closed(dev);
	hmx_commands_lost(dev);
}

bool hmx_device_overdue(const struct hmx_device *dev)
{
	if (hmx_commands_overdue(dev))
		return true;
	return dev->walk->waiting && time_after(jiffies, dev->walk->until);
}
