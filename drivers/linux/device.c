// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A device is what is *wanted* of it (by its driver, through virtio_config_ops) and what is
 * *applied* at the backend. Whenever the two differ, the walk names the one control request that
 * brings them closer; at most one is outstanding. The steps are tried in the order of a table,
 * which is that of VirtIO 3.1.1: first start, a late queue, a reset, and bringing a replaced
 * backend to where the dead one was are all the same walk (src/core/driver.c is the same in user
 * space).
 *
 *   attach -> info -> features -> config      once per channel
 *   queue sizes                               once: then the device is *known*
 *   reset -> ACKNOWLEDGE, DRIVER -> features -> FEATURES_OK -> queues -> DRIVER_OK
 *   queue reset, late queues, config          while it runs
 *
 * States:
 *
 *   attaching --> known --hmx_device_register()--> registered --hmx_device_remove()--> freed with
 *                                                                              its last reference
 *   failed: requests end with an error, for good. gone: the backend has it no more.
 *
 * Contexts. Config ops note what is wanted under the lock, kick the channel's work, and wait until
 * it is applied: for a bounded time, and only while there is a channel. Without one they succeed
 * from what is known, and the walk applies it when a backend is back. The work alone makes and
 * takes control messages; what it applies changes under the lock. Two things ops must not return
 * before: a reset, and the reset of a queue, since drivers then take back their buffers. A queue is
 * fenced on our side first (hmx_queue.live, hmx_channel_sync()), so that nothing of the backend
 * reaches those buffers, whatever it answers.
 *
 * Return of a backend. It must be the same device (id, uuid, queues, config length, features in
 * use). If its cache identity changed and writes completed since the last good FLUSH, or a FLUSH
 * failed, then replay would hide a loss: the device fails (docs/wire.md, section 11).
 *
 * What a hostile backend can do: every answer is checked against its request; one that contradicts
 * it ends the channel. Sizes are bounded before they are believed (config space, queues, entries).
 */
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_net.h>

#include "virtio_hmx.h"

/* docs/wire.md, section 6 */
#define CONTROL_MS 5000u
#define BUSY_MS 100u
#define MISSING_MS 1000u
/* What an op waits for the walk at most: longer than one answer may take. Then the channel ends. */
#define OP_MS 10000u

/* Entries of a queue: what a driver can use; and it bounds what a backend can make us allocate. */
#define QUEUE_SIZE_MAX 1024u

/* A config that changes while it is read in parts is read from the start again, so often. */
#define CONFIG_TRIES 16
#define CONFIG_CHUNK_MAX 244u /* VHX_CONTROL_CONFIG_MAX */

/* Tokens: a device's place in its channel above, a sequence below. */
#define TOKEN_SHIFT 10
#define TOKEN_SEQUENCE (BIT(TOKEN_SHIFT) - 1)

/*
 * docs/wire.md, section 7: bits that belong to who owns the vring, and the two that cross all the
 * same.
 */
#define FEATURES_RING GENMASK_ULL(49, 24)
#define FEATURES_CROSSING (BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_RESET))
/* What virtio_ring does and hmx_queue understands. */
#define FEATURES_VRING (BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX))

/* The control queue of a net device, and all that needs it. */
#define FEATURES_NET_CONTROL \
	(BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | \
	 BIT_ULL(VIRTIO_NET_F_CTRL_RX) | BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) | \
	 BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT_ULL(VIRTIO_NET_F_MQ) | \
	 BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT_ULL(VIRTIO_NET_F_NOTF_COAL) | \
	 BIT_ULL(VIRTIO_NET_F_HASH_REPORT) | BIT_ULL(VIRTIO_NET_F_RSS))

/* A write of the config space. */
struct config_write {
	bool set;
	u32 off, len;
	u8 bytes[CONFIG_CHUNK_MAX];
};

struct hmx_walk {
	/* Wanted, beside what is in struct hmx_device */
	struct config_write write; /* asked for, not answered yet */
	struct config_write kept;  /* the last one accepted: a replaced backend gets it, too */
	bool config_stale;
	/* Applied */
	bool attached, have_info, have_features, have_config;
	u16 sizes_got; /* queues whose size was asked; for good */
	u8 status;
	bool features_set, reset_done;
	bool kept_done;	   /* @kept holds at this backend */
	bool keeping;	   /* the outstanding SET_CONFIG is for that */
	bool config_reading; /* again, after it was read once */
	u8 config_tries;
	u64 applied_features;
	u32 config_got, config_generation;
	u8 config_new[HMX_CONFIG_MAX];
	/* The outstanding request */
	bool waiting;
	struct hmx_control request;
	u16 token;
	u16 queue; /* that the request is about */
	unsigned long until;
	/* A pause, for ATTACH */
	bool paused;
	unsigned long resume;
	bool unusable;	    /* no step but a reset is taken any more */
	bool needs_running; /* it ran when the last channel was lost */
};

/* What the work has to do after a response, without the lock. */
#define EVENT_KNOWN BIT(0)
#define EVENT_CONFIG BIT(1)
#define EVENT_GONE BIT(2)
#define EVENT_RUNNING BIT(3)

atomic_t hmx_devices_alive = ATOMIC_INIT(0);
DECLARE_WAIT_QUEUE_HEAD(hmx_devices_wait);

static spinlock_t *lock_of(const struct hmx_device *dev)
{
	return &dev->ch->port->lock;
}

bool hmx_device_attached(const struct hmx_device *dev)
{
	return dev->walk->attached;
}

bool hmx_device_queue_live(const struct hmx_device *dev, u16 index)
{
	const struct hmx_vq_state *s = &dev->vq_states[index];

	return hmx_channel_usable(dev->ch) && !dev->failed && s->open && s->wanted && !s->recycle &&
	       s->applied_size == s->size && (dev->walk->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

const char *hmx_device_state(const struct hmx_device *dev)
{
	if (dev->failed)
		return "failed";
	if (!dev->walk->attached)
		return "waiting";
	if (dev->walk->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return "running";
	return dev->active ? "negotiating" : "attached";
}

/* Under the lock. */
static void device_fail(struct hmx_device *dev, const char *why)
{
	if (dev->failed)
		return;
	dev->failed = true;
	if (why)
		dev_err(&dev->ch->dev, "%s: failed: %s\n", dev->name, why);
	wake_up(&dev->wait);
	hmx_channel_kick(dev->ch);
}

void hmx_device_fail(struct hmx_device *dev, const char *why)
{
	unsigned long flags;

	spin_lock_irqsave(lock_of(dev), flags);
	device_fail(dev, why);
	spin_unlock_irqrestore(lock_of(dev), flags);
}

void hmx_devices_fail(struct hmx_channel *ch)
{
	unsigned long flags;
	unsigned int i;

	/* Entries are freed after they were cleared under the lock: what is seen here lives. */
	spin_lock_irqsave(&ch->port->lock, flags);
	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (ch->devices[i])
			device_fail(ch->devices[i], NULL);
	}
	spin_unlock_irqrestore(&ch->port->lock, flags);
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
	struct virtio_msg_status *s =
		request_begin(dev, VIRTIO_MSG_SET_DEVICE_STATUS, sizeof(*s));

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
static bool queue_unfit(const struct hmx_vq_state *s)
{
	return s->open && (!s->wanted || s->recycle || s->applied_size != s->size);
}

static bool next_queue_close(struct hmx_device *dev, struct hmx_walk *w)
{
	struct virtio_msg_vq_index *v;
	unsigned int i;

	for (i = 0; i < dev->id.num_queues; i++) {
		if (!queue_unfit(&dev->vq_states[i]))
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
	next_attach,	   next_info,	     next_features,	next_config,
	next_size,	   next_reset,	     next_acknowledge,	next_set_features,
	next_features_ok,  next_config_keep, next_config_write, next_queue_close,
	next_queue_open,   next_driver_ok,   next_config_again,
};

static bool walk_resting(struct hmx_device *dev, struct hmx_walk *w)
{
	if (w->paused && time_before(jiffies, w->resume))
		return true;
	w->paused = false;
	return w->waiting || !hmx_channel_usable(dev->ch);
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
static void walk_step(struct hmx_device *dev)
{
	struct hmx_walk *w = dev->walk;

	if (walk_resting(dev, w) || !walk_next(dev, w))
		return;
	w->token = dev->index << TOKEN_SHIFT | ((w->token + 1) & TOKEN_SEQUENCE);
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
	device_fail(dev, why);
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

/* Judged after a loss only: the same backend knows its own failures. */
static void loss_judge(struct hmx_device *dev, struct hmx_walk *w)
{
	if (w->needs_running && dev->id.cache_changed && dev->writes_done != dev->writes_flushed)
		device_fail(dev, "the backend came back without writes that had completed");
	else if (w->needs_running && dev->flush_failed)
		device_fail(dev, "a flush failed before the backend came back");
	dev->id.cache_changed = false;
	w->needs_running = false;
}

static int reset_response(struct hmx_device *dev, struct hmx_walk *w, u32 status)
{
	if (status)
		return -EPROTO;
	w->status = 0;
	w->reset_done = true;
	w->features_set = false;
	w->kept_done = false;
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
	if (q && !queue_unfit(s))
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
	if (!len) {
		dev_warn_ratelimited(&dev->ch->dev, "%s: a write of the config is refused\n",
				     dev->name);
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
		walk_step(dev);
	wake_up(&dev->wait);
	spin_unlock_irq(lock_of(dev));
	events_act(dev, events);
	return ret;
}

/* Data, and the passes of the work */

/* NULL: not live, by our own will. */
static struct hmx_queue *queue_get(struct hmx_device *dev, unsigned int index)
{
	struct hmx_queue *q;

	spin_lock_irq(lock_of(dev));
	q = dev->queues[index];
	if (q && !q->live)
		q = NULL;
	spin_unlock_irq(lock_of(dev));
	return q;
}

int hmx_device_used(struct hmx_device *dev, const struct hmx_key *key, struct hmx_rx *rx)
{
	const struct hmx_vq_state *s;
	struct hmx_queue *q;

	if (key->vq >= dev->id.num_queues)
		return -EPROTO;
	s = &dev->vq_states[key->vq];
	q = queue_get(dev, key->vq);
	/* Answers to a life of the queue that is over. */
	if (!q || !s->open || s->recycle || s->epoch != key->epoch || READ_ONCE(dev->failed)) {
		dev->stale++;
		return 0;
	}
	return hmx_queue_receive(q, rx);
}

void hmx_device_flush(struct hmx_device *dev)
{
	struct hmx_queue *q;
	unsigned int i;

	for (i = 0; i < dev->id.num_queues; i++) {
		q = READ_ONCE(dev->queues[i]) ? queue_get(dev, i) : NULL;
		if (q)
			hmx_queue_flush(q);
	}
}

static bool queue_pump(struct hmx_device *dev, struct hmx_queue *q)
{
	bool more = false;

	if (READ_ONCE(dev->failed)) {
		hmx_queue_fail_all(q);
		return false;
	}
	spin_lock_irq(lock_of(dev));
	/* Who waits for credit had its turn. */
	if (list_empty(&q->starved))
		more = hmx_queue_pump(q, HMX_PUMP_BYTES);
	spin_unlock_irq(lock_of(dev));
	return more && list_empty_careful(&q->starved);
}

bool hmx_device_pump(struct hmx_device *dev)
{
	struct hmx_queue *q;
	bool more = false;
	unsigned int i;

	spin_lock_irq(lock_of(dev));
	walk_step(dev);
	spin_unlock_irq(lock_of(dev));
	for (i = 0; i < dev->id.num_queues; i++) {
		q = READ_ONCE(dev->queues[i]) ? queue_get(dev, i) : NULL;
		if (q)
			more |= queue_pump(dev, q);
	}
	return more;
}

/* Under the lock: nothing is applied any more. What is wanted and known stays. */
static void walk_lost(struct hmx_device *dev, struct hmx_walk *w)
{
	if (w->status & VIRTIO_CONFIG_S_DRIVER_OK)
		w->needs_running = true;
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
	w->status = 0;
	w->features_set = false;
	w->reset_done = false;
	w->waiting = false;
	w->paused = false;
	queues_closed(dev);
}

void hmx_device_lost(struct hmx_device *dev, bool death)
{
	struct hmx_queue *q;
	unsigned int i;

	spin_lock_irq(lock_of(dev));
	walk_lost(dev, dev->walk);
	wake_up(&dev->wait);
	spin_unlock_irq(lock_of(dev));
	for (i = 0; i < dev->id.num_queues; i++) {
		q = READ_ONCE(dev->queues[i]) ? queue_get(dev, i) : NULL;
		if (q)
			hmx_queue_interrupted(q, death);
	}
	if (READ_ONCE(dev->failed))
		hmx_channel_kick(dev->ch);
}

bool hmx_device_overdue(const struct hmx_device *dev)
{
	return dev->walk->waiting && time_after(jiffies, dev->walk->until);
}

bool hmx_device_outstanding(const struct hmx_device *dev)
{
	const struct hmx_queue *q;
	unsigned int i;

	if (dev->walk->waiting)
		return true;
	for (i = 0; i < dev->id.num_queues; i++) {
		q = dev->queues[i];
		if (q && !list_empty(&q->order))
			return true;
	}
	return false;
}

/* Waiting for the walk, in process context */

/* Under the lock: is there anybody who could answer? */
static bool device_reachable(const struct hmx_device *dev)
{
	return hmx_channel_usable(dev->ch) && dev->walk->attached;
}

static bool status_asked(const struct hmx_walk *w)
{
	return w->waiting && w->request.msg_id == VIRTIO_MSG_SET_DEVICE_STATUS;
}

static bool reset_settled(const struct hmx_device *dev, unsigned int arg)
{
	return !dev->walk->status && !status_asked(dev->walk);
}

static bool features_settled(const struct hmx_device *dev, unsigned int arg)
{
	return dev->failed || (dev->walk->status & VIRTIO_CONFIG_S_FEATURES_OK);
}

static bool queue_settled(const struct hmx_device *dev, unsigned int index)
{
	return !dev->vq_states[index].open;
}

static bool write_settled(const struct hmx_device *dev, unsigned int arg)
{
	const struct hmx_walk *w = dev->walk;

	return dev->failed || (!w->write.set && !w->config_stale && !w->config_reading);
}

typedef bool (*settled_fn)(const struct hmx_device *dev, unsigned int arg);

static bool walk_settled(struct hmx_device *dev, settled_fn settled, unsigned int arg)
{
	unsigned long flags;
	bool ret;

	spin_lock_irqsave(lock_of(dev), flags);
	ret = !device_reachable(dev) || settled(dev, arg);
	spin_unlock_irqrestore(lock_of(dev), flags);
	return ret;
}

/* Until it is settled, or there is no channel. A backend that takes longer loses it. */
static void walk_wait(struct hmx_device *dev, settled_fn settled, unsigned int arg)
{
	struct hmx_channel *ch = dev->ch;

	might_sleep();
	hmx_channel_kick(ch);
	if (wait_event_timeout(dev->wait, walk_settled(dev, settled, arg), msecs_to_jiffies(OP_MS)))
		return;
	spin_lock_irq(lock_of(dev));
	hmx_channel_fail(ch, -ETIMEDOUT);
	spin_unlock_irq(lock_of(dev));
	wait_event_timeout(dev->wait, walk_settled(dev, settled, arg), msecs_to_jiffies(OP_MS));
}

/* Config ops */

static void config_get(struct virtio_device *vdev, unsigned int off, void *buf, unsigned int len)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	unsigned long flags;

	memset(buf, 0, len);
	spin_lock_irqsave(&dev->config_lock, flags);
	if (off < dev->id.config_len)
		memcpy(buf, dev->config + off, min(len, dev->id.config_len - off));
	spin_unlock_irqrestore(&dev->config_lock, flags);
}

static void config_set(struct virtio_device *vdev, unsigned int off, const void *buf,
		       unsigned int len)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	struct config_write *cw = &dev->walk->write;

	if (!len || len > CONFIG_CHUNK_MAX || off > dev->id.config_len ||
	    len > dev->id.config_len - off)
		return;
	mutex_lock(&dev->write_lock);
	/* One that found no backend and still waits for one has gone out of date. */
	walk_wait(dev, write_settled, 0);
	spin_lock_irq(lock_of(dev));
	cw->set = true;
	cw->off = off;
	cw->len = len;
	memcpy(cw->bytes, buf, len);
	spin_unlock_irq(lock_of(dev));
	walk_wait(dev, write_settled, 0);
	mutex_unlock(&dev->write_lock);
}

static u32 config_generation(struct virtio_device *vdev)
{
	return READ_ONCE(to_hmx_device(vdev)->generation);
}

static u8 status_get(struct virtio_device *vdev)
{
	return READ_ONCE(to_hmx_device(vdev)->status);
}

static void status_set(struct virtio_device *vdev, u8 status)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	bool negotiate;

	spin_lock_irq(lock_of(dev));
	negotiate = (status & ~dev->status) & VIRTIO_CONFIG_S_FEATURES_OK;
	dev->status = status;
	dev->active = status & VIRTIO_CONFIG_S_FEATURES_OK;
	spin_unlock_irq(lock_of(dev));
	if (!negotiate) {
		hmx_channel_kick(dev->ch);
		return;
	}
	walk_wait(dev, features_settled, 0);
	spin_lock_irq(lock_of(dev));
	if (dev->failed)
		dev->status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	spin_unlock_irq(lock_of(dev));
}

/*
 * Under the lock: nothing is taken from its ring any more, nor given to it once the work was
 * synced.
 */
static void queue_stop(struct hmx_device *dev, unsigned int index)
{
	struct hmx_queue *q = dev->queues[index];

	dev->vq_states[index].wanted = false;
	if (!q)
		return;
	q->live = false;
	list_del_init(&q->starved);
}

static void queues_stop(struct hmx_device *dev)
{
	unsigned int i;

	for (i = 0; i < HMX_QUEUES_MAX; i++)
		queue_stop(dev, i);
}

static void device_reset(struct virtio_device *vdev)
{
	struct hmx_device *dev = to_hmx_device(vdev);

	spin_lock_irq(lock_of(dev));
	queues_stop(dev);
	dev->status = 0;
	dev->active = false;
	/* Due also if it is used again before the backend could be asked. */
	dev->walk->reset_done = false;
	/* What the last driver wrote is nobody's wish any more. */
	dev->walk->kept.set = false;
	if (!dev->walk->waiting)
		dev->walk->write.set = false;
	spin_unlock_irq(lock_of(dev));
	hmx_channel_sync(dev->ch);
	walk_wait(dev, reset_settled, 0);
}

/* Under the lock. */
static void queue_start(struct hmx_device *dev, struct hmx_queue *q)
{
	struct hmx_vq_state *s = &dev->vq_states[q->index];

	s->wanted = true;
	s->size = q->size;
	/* Still open from before: its epoch is over, whatever is on its way. */
	s->recycle = s->open;
	q->live = true;
}

static struct virtqueue *queue_make(struct hmx_device *dev, unsigned int index, bool ctx,
				    vq_callback_t *callback, const char *name)
{
	struct hmx_queue *q;
	u16 size;

	if (index >= dev->id.num_queues || !dev->vq_states[index].max_size)
		return ERR_PTR(-ENOENT);
	size = rounddown_pow_of_two(dev->vq_states[index].max_size);
	q = hmx_queue_new(dev, index, size, ctx, callback, name);
	if (!q)
		return ERR_PTR(-ENOMEM);
	spin_lock_irq(lock_of(dev));
	dev->queues[index] = q;
	queue_start(dev, q);
	spin_unlock_irq(lock_of(dev));
	return q->vq;
}

static void queues_del(struct virtio_device *vdev)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	struct hmx_queue *q;
	unsigned int i;

	spin_lock_irq(lock_of(dev));
	queues_stop(dev);
	spin_unlock_irq(lock_of(dev));
	hmx_channel_sync(dev->ch);
	for (i = 0; i < HMX_QUEUES_MAX; i++) {
		spin_lock_irq(lock_of(dev));
		q = dev->queues[i];
		dev->queues[i] = NULL;
		spin_unlock_irq(lock_of(dev));
		if (q)
			hmx_queue_free(q);
	}
	hmx_channel_kick(dev->ch);
}

static int queues_find(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		       HMX_VQ_INFO_PARAMS, struct irq_affinity *desc)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	unsigned int i, index = 0;

	for (i = 0; i < nvqs; i++) {
		vqs[i] = NULL;
		if (!hmx_vq_name(i))
			continue;
		vqs[i] = queue_make(dev, index++, hmx_vq_ctx(i), hmx_vq_callback(i),
				    hmx_vq_name(i));
		if (IS_ERR(vqs[i])) {
			queues_del(vdev);
			return PTR_ERR(vqs[i]);
		}
	}
	hmx_channel_kick(dev->ch);
	return 0;
}

static void callbacks_synchronize(struct virtio_device *vdev)
{
	hmx_channel_sync(to_hmx_device(vdev)->ch);
}

static int queue_disable(struct virtqueue *vq)
{
	struct hmx_device *dev = to_hmx_device(vq->vdev);

	spin_lock_irq(lock_of(dev));
	queue_stop(dev, vq->index);
	spin_unlock_irq(lock_of(dev));
	hmx_channel_sync(dev->ch);
	walk_wait(dev, queue_settled, vq->index);
	return 0;
}

static int queue_enable(struct virtqueue *vq)
{
	struct hmx_device *dev = to_hmx_device(vq->vdev);
	struct hmx_queue *q = dev->queues[vq->index];

	hmx_queue_rewind(q);
	spin_lock_irq(lock_of(dev));
	queue_start(dev, q);
	spin_unlock_irq(lock_of(dev));
	hmx_channel_kick(dev->ch);
	return 0;
}

static u64 features_get(struct virtio_device *vdev)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	u64 features = dev->id.features | FEATURES_VRING;

	if (dev->handles)
		features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	if (HMX_NET_CONTROL_SPINS && num_possible_cpus() == 1 && vdev->id.device == VIRTIO_ID_NET)
		features &= ~FEATURES_NET_CONTROL;
	return features;
}

static int features_finalize(struct virtio_device *vdev)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	bool ring_reset = vdev->features & BIT_ULL(VIRTIO_F_RING_RESET);

	/*
	 * What the core gets from us and from the driver, without ring features that it does not
	 * know.
	 */
	vring_transport_features(vdev);
	if (ring_reset)
		vdev->features |= BIT_ULL(VIRTIO_F_RING_RESET);
	if (!(vdev->features & BIT_ULL(VIRTIO_F_VERSION_1))) {
		dev_err(&vdev->dev, "the driver is of the time before VirtIO 1.0\n");
		return -EINVAL;
	}
	spin_lock_irq(lock_of(dev));
	dev->features = (vdev->features & ~FEATURES_RING) | FEATURES_CROSSING;
	spin_unlock_irq(lock_of(dev));
	return 0;
}

static const char *bus_name(struct virtio_device *vdev)
{
	return dev_name(&to_hmx_device(vdev)->ch->dev);
}

static const struct virtio_config_ops config_ops = {
	.get = config_get,
	.set = config_set,
	.generation = config_generation,
	.get_status = status_get,
	.set_status = status_set,
	.reset = device_reset,
	.find_vqs = queues_find,
	.del_vqs = queues_del,
	.synchronize_cbs = callbacks_synchronize,
	.get_features = features_get,
	.finalize_features = features_finalize,
	.bus_name = bus_name,
	.disable_vq_and_reset = queue_disable,
	.enable_vq_after_reset = queue_enable,
};

/* Life of a device */

static void device_free(struct hmx_device *dev)
{
	kfree(dev->walk);
	kfree(dev);
	if (atomic_dec_and_test(&hmx_devices_alive))
		wake_up(&hmx_devices_wait);
}

static void device_release(struct device *d)
{
	device_free(to_hmx_device(dev_to_virtio(d)));
}

struct hmx_device *hmx_device_new(struct hmx_channel *ch, unsigned int index, const char *name)
{
	struct hmx_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	dev->walk = kzalloc(sizeof(*dev->walk), GFP_KERNEL);
	if (!dev->walk) {
		kfree(dev);
		return NULL;
	}
	dev->ch = ch;
	dev->index = index;
	dev->type = hmx_type_find(0);
	strscpy(dev->name, name, sizeof(dev->name));
	init_waitqueue_head(&dev->wait);
	mutex_init(&dev->write_lock);
	spin_lock_init(&dev->config_lock);
	atomic_inc(&hmx_devices_alive);
	return dev;
}

int hmx_device_register(struct hmx_device *dev)
{
	struct virtio_device *vdev = &dev->vdev;
	int ret;

	vdev->id.device = dev->id.device_id;
	vdev->id.vendor = dev->id.vendor_id;
	vdev->config = &config_ops;
	vdev->dev.parent = &dev->ch->dev;
	vdev->dev.release = device_release;
	dev->handles = hmx_map_setup(&dev->ch->dev, vdev);
	dev_info(&dev->ch->dev, "%s: %s device, %u queue(s)\n", dev->name, dev->type->name,
		 dev->id.num_queues);
	/* From here on the memory is the device core's; this is the scan's own reference. */
	ret = register_virtio_device(vdev);
	get_device(&vdev->dev);
	if (ret) {
		dev_err(&dev->ch->dev, "%s: cannot be registered: %d\n", dev->name, ret);
		put_device(&vdev->dev);
	}
	spin_lock_irq(lock_of(dev));
	dev->registered = !ret;
	spin_unlock_irq(lock_of(dev));
	return ret;
}

static void device_forget(struct hmx_device *dev)
{
	struct hmx_channel *ch = dev->ch;

	spin_lock_irq(lock_of(dev));
	ch->devices[dev->index] = NULL;
	ch->forgotten = true;
	spin_unlock_irq(lock_of(dev));
	hmx_channel_sync(ch);
}

void hmx_device_remove(struct hmx_device *dev)
{
	struct virtio_device *vdev = &dev->vdev;

	/* Its driver leaves: writes back, resets, deletes its queues; the walk still serves it. */
	if (dev->registered)
		unregister_virtio_device(vdev);
	hmx_stats_device_del(dev);
	device_forget(dev);
	if (vdev->dev.release)
		put_device(&vdev->dev);
	else
		device_free(dev);
}
