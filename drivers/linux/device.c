// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A device is what is *wanted* of it (by its driver, through virtio_config_ops) and what is
 * *applied* at the backend. The walk leads from one to the other (walk.c).
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
 */
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <uapi/linux/virtio_net.h>

#include "walk.h"

/* What an op waits for the walk at most: longer than one answer may take. Then the channel ends. */
#define OP_MS 10000u

/* What virtio_ring does and hmx_queue understands. */
#define FEATURES_VRING (BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX))

/* The control queue of a net device, and all that needs it. */
#define FEATURES_NET_CONTROL                                                         \
	(BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | \
	 BIT_ULL(VIRTIO_NET_F_CTRL_RX) | BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |           \
	 BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT_ULL(VIRTIO_NET_F_MQ) |           \
	 BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT_ULL(VIRTIO_NET_F_NOTF_COAL) |     \
	 BIT_ULL(VIRTIO_NET_F_HASH_REPORT) | BIT_ULL(VIRTIO_NET_F_RSS))

atomic_t hmx_devices_alive = ATOMIC_INIT(0);
DECLARE_WAIT_QUEUE_HEAD(hmx_devices_wait);

static spinlock_t *lock_of(const struct hmx_device *dev)
{
	return &dev->ch->port->lock;
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

void hmx_device_fail_locked(struct hmx_device *dev, const char *why)
{
	dev->cut = false;
	if (dev->failed)
		return;
	dev->failed = true;
	dev->failed_why = why;
	wake_up(&dev->wait);
	hmx_channel_kick(dev->ch);
}

void hmx_device_fail(struct hmx_device *dev, const char *why)
{
	unsigned long flags;

	spin_lock_irqsave(lock_of(dev), flags);
	hmx_device_fail_locked(dev, why);
	spin_unlock_irqrestore(lock_of(dev), flags);
}

void hmx_device_gone(struct hmx_device *dev)
{
	unsigned long flags;

	spin_lock_irqsave(lock_of(dev), flags);
	hmx_walk_lost(dev);
	dev->walk->unusable = true;
	dev->gone = true;
	/* What it said before it went may still be on its way. */
	dev->ch->forgotten = true;
	hmx_device_fail_locked(dev, NULL);
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
			hmx_device_fail_locked(ch->devices[i], NULL);
	}
	spin_unlock_irqrestore(&ch->port->lock, flags);
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
	unsigned int vq;

	if (key->vq >= dev->id.num_queues)
		return -EPROTO;
	/* It is the backend's: a CPU that runs ahead of the check stays within the table, too. */
	vq = array_index_nospec(key->vq, HMX_QUEUES_MAX);
	s = &dev->vq_states[vq];
	q = queue_get(dev, vq);
	/* Answers to a life of the queue that is over. */
	if (!q || !s->open || s->recycle || s->epoch != key->epoch || READ_ONCE(dev->failed)) {
		dev->stale++;
		return 0;
	}
	return hmx_queue_receive(q, rx);
}

/*
 * The last queue first: a driver that hears of a command through a queue about others (type.c),
 * which are the first ones, finds it at its end.
 */
void hmx_device_flush(struct hmx_device *dev)
{
	struct hmx_queue *q;
	unsigned int i;

	for (i = dev->id.num_queues; i--;) {
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

/* The reason of a failure, which was found out under the lock. */
static void device_report(struct hmx_device *dev)
{
	const char *why = READ_ONCE(dev->failed_why);

	if (!why)
		return;
	if (hmx_line_due(dev->ch))
		dev_err(&dev->ch->dev, "%s: failed: %s\n", dev->name, why);
	WRITE_ONCE(dev->failed_why, NULL);
}

static bool queues_pump(struct hmx_device *dev, unsigned int from, unsigned int to)
{
	struct hmx_queue *q;
	bool more = false;
	unsigned int i;

	for (i = from; i < to; i++) {
		q = READ_ONCE(dev->queues[i]) ? queue_get(dev, i) : NULL;
		if (q)
			more |= queue_pump(dev, q);
	}
	return more;
}

bool hmx_device_pump(struct hmx_device *dev)
{
	unsigned int cnt = dev->id.num_queues;
	unsigned int first = min_t(unsigned int, dev->type->about_others, cnt);
	bool more;

	device_report(dev);
	hmx_commands_report(dev);
	spin_lock_irq(lock_of(dev));
	hmx_walk_step(dev);
	spin_unlock_irq(lock_of(dev));
	more = queues_pump(dev, 0, first);
	more |= queues_pump(dev, first, cnt);
	/* Their requests lay behind what has just been sent. */
	return more | queues_pump(dev, 0, first);
}

void hmx_device_lost(struct hmx_device *dev, bool death)
{
	struct hmx_queue *q;
	unsigned int i;

	spin_lock_irq(lock_of(dev));
	hmx_walk_lost(dev);
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

bool hmx_device_outstanding(const struct hmx_device *dev)
{
	const struct hmx_queue *q;
	unsigned int i;

	if (dev->walk->waiting || (dev->commands.sent && !dev->failed))
		return true;
	for (i = 0; i < dev->id.num_queues; i++) {
		q = dev->queues[i];
		if (q && !list_empty(&q->order))
			return true;
	}
	return false;
}

u64 hmx_device_progress(const struct hmx_device *dev)
{
	u64 sum = 0;
	unsigned int i;

	for (i = 0; i < HMX_QUEUES_MAX; i++) {
		if (dev->queues[i])
			sum += dev->queues[i]->stats.completed;
	}
	return sum;
}

bool hmx_device_busy(const struct hmx_device *dev)
{
	unsigned int i;

	for (i = 0; i < HMX_QUEUES_MAX; i++) {
		if (dev->queues[i] && hmx_queue_busy(dev->queues[i]))
			return true;
	}
	return false;
}

bool hmx_device_writes_through(struct hmx_device *dev)
{
	const struct hmx_walk *w = dev->walk;
	unsigned long flags;
	bool ret;

	/* Between a write of the config and what came of it, it is not known. */
	if (!dev->type->write_back || w->write.set || w->config_stale || w->config_reading)
		return false;
	spin_lock_irqsave(&dev->config_lock, flags);
	ret = !dev->type->write_back(dev->features, dev->config, dev->id.config_len);
	spin_unlock_irqrestore(&dev->config_lock, flags);
	return ret;
}

void hmx_device_hurry(struct hmx_device *dev, unsigned int index)
{
	struct hmx_queue *q;

	if (index >= HMX_QUEUES_MAX)
		return;
	/* As in hmx_device_used(). */
	q = dev->queues[array_index_nospec(index, HMX_QUEUES_MAX)];
	if (!q || q->patience != HMX_PATIENCE_TOLD || q->impatient)
		return;
	q->impatient = true;
	q->flush_due = true;
	hmx_early_take(q);
}

/* Waiting for the walk, in process context */

bool hmx_device_reachable(const struct hmx_device *dev)
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
	ret = !hmx_device_reachable(dev) || settled(dev, arg);
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
	cw->orphan = false;
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
	hmx_commands_stop(q);
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
	/* What the last driver wrote, and told by commands, is nobody's wish any more. */
	hmx_commands_forget(dev);
	dev->walk->kept.set = false;
	if (hmx_walk_writing(dev->walk))
		dev->walk->write.orphan = true;
	else
		dev->walk->write.set = false;
	/* Its requests had to end for it to get here. Now the next driver may try. */
	if (dev->cut)
		dev->failed = false;
	dev->cut = false;
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

/*
 * Entries for a ring of up to @size, a power of two, of which @cnt are to be made: each gets its
 * share of what is left. 0: none is left.
 */
static u16 entries_take(struct hmx_channel *ch, u16 size, unsigned int cnt)
{
	u32 share;

	spin_lock_irq(&ch->port->lock);
	share = (HMX_ENTRIES_MAX - ch->entries) / cnt;
	if (share < size)
		size = share ? rounddown_pow_of_two(share) : 0;
	ch->entries += size;
	spin_unlock_irq(&ch->port->lock);
	return size;
}

/* The partner of entries_take(). */
static void entries_give(struct hmx_channel *ch, u16 size)
{
	spin_lock_irq(&ch->port->lock);
	ch->entries -= size;
	spin_unlock_irq(&ch->port->lock);
}

static struct virtqueue *queue_make(struct hmx_device *dev, unsigned int index, bool ctx,
				    vq_callback_t *callback, const char *name)
{
	struct hmx_queue *q;
	u16 size;

	if (index >= dev->id.num_queues || !dev->vq_states[index].max_size)
		return ERR_PTR(-ENOENT);
	size = entries_take(dev->ch, rounddown_pow_of_two(dev->vq_states[index].max_size),
			    dev->vq_cnt - index);
	if (!size)
		return ERR_PTR(-ENOSPC);
	q = hmx_queue_new(dev, index, size, ctx, callback, name);
	if (!q) {
		entries_give(dev->ch, size);
		return ERR_PTR(-ENOMEM);
	}
	spin_lock_irq(lock_of(dev));
	q->reserved = size;
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
		if (!q)
			continue;
		entries_give(dev->ch, q->reserved);
		hmx_queue_free(q);
	}
	hmx_channel_kick(dev->ch);
}

static int queues_find(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		       HMX_VQ_INFO_PARAMS, struct irq_affinity *desc)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	unsigned int i, index = 0;

	dev->vq_cnt = 0;
	for (i = 0; i < nvqs; i++)
		dev->vq_cnt += !!hmx_vq_name(i);
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

/* The driver, which has been found when features are asked for, and not each of its type. */
static bool control_spins(const struct virtio_device *vdev)
{
	const struct device_driver *drv = vdev->dev.driver;

	return HMX_NET_CONTROL_SPINS && num_online_cpus() == 1 && drv &&
	       !strcmp(drv->name, "virtio_net");
}

static u64 features_get(struct virtio_device *vdev)
{
	struct hmx_device *dev = to_hmx_device(vdev);
	u64 features = dev->id.features | FEATURES_VRING;

	if (dev->handles)
		features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	if (control_spins(vdev))
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

/* Drivers that leave */

/*
 * So long may a driver that leaves wait for requests of which none ends, OP_MS for the same reason:
 * longer than a control request may take, or a backend to be restarted.
 */
#define GUARD_MS 10000u

static void device_guard(struct work_struct *work)
{
	struct hmx_device *dev = container_of(to_delayed_work(work), struct hmx_device, guard);
	u64 seen;

	spin_lock_irq(lock_of(dev));
	seen = hmx_device_progress(dev);
	if (seen == dev->guard_seen && hmx_device_busy(dev) && !dev->failed) {
		hmx_device_fail_locked(dev, "its driver leaves, and no request ends");
		dev->cut = true;
	}
	dev->guard_seen = seen;
	spin_unlock_irq(lock_of(dev));
	schedule_delayed_work(&dev->guard, msecs_to_jiffies(GUARD_MS));
}

void hmx_device_guard(struct hmx_device *dev)
{
	spin_lock_irq(lock_of(dev));
	dev->guard_seen = hmx_device_progress(dev);
	spin_unlock_irq(lock_of(dev));
	schedule_delayed_work(&dev->guard, msecs_to_jiffies(GUARD_MS));
}

void hmx_device_unguard(struct hmx_device *dev)
{
	cancel_delayed_work_sync(&dev->guard);
}

/* Unbound by hand, with its module, or with the device: the core says so to who asks. */
static int device_notified(struct notifier_block *nb, unsigned long action, void *data)
{
	struct virtio_device *vdev = dev_to_virtio(data);

	if (vdev->config != &config_ops)
		return NOTIFY_DONE;
	if (action == BUS_NOTIFY_UNBIND_DRIVER)
		hmx_device_guard(to_hmx_device(vdev));
	if (action == BUS_NOTIFY_UNBOUND_DRIVER)
		hmx_device_unguard(to_hmx_device(vdev));
	return NOTIFY_OK;
}

static struct notifier_block device_notifier = { .notifier_call = device_notified };
static DEFINE_MUTEX(device_bus_lock);
/* The virtio bus, once a device was on it. It is known by its devices only. */
static HMX_BUS_TYPE *device_bus;

static void device_bus_watch(const struct device *d)
{
	mutex_lock(&device_bus_lock);
	if (!device_bus && !bus_register_notifier(d->bus, &device_notifier))
		device_bus = d->bus;
	mutex_unlock(&device_bus_lock);
}

void hmx_device_exit(void)
{
	if (device_bus)
		bus_unregister_notifier(device_bus, &device_notifier);
}

/* Life of a device */

/* Who unloads the module waits for the end of this, and not only for the count. */
static void device_free(struct hmx_device *dev)
{
	hmx_commands_forget(dev);
	rcu_read_lock();
	kfree(dev->walk);
	kfree(dev);
	if (atomic_dec_and_test(&hmx_devices_alive))
		wake_up(&hmx_devices_wait);
	rcu_read_unlock();
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
	hmx_commands_init(dev);
	mutex_init(&dev->write_lock);
	spin_lock_init(&dev->config_lock);
	INIT_DELAYED_WORK(&dev->guard, device_guard);
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
	vdev->dev.groups = hmx_device_groups;
	dev->handles = hmx_map_setup(&dev->ch->dev, vdev);
	if (hmx_line_due(dev->ch))
		dev_info(&dev->ch->dev, "%s: %s device, %u queue(s)\n", dev->name, dev->type->name,
			 dev->id.num_queues);
	/* From here on the memory is the device core's; this is the scan's own reference. */
	ret = register_virtio_device(vdev);
	get_device(&vdev->dev);
	if (!ret)
		device_bus_watch(&vdev->dev);
	if (ret) {
		if (hmx_line_due(dev->ch))
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
