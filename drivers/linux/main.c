// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The module, the channels that providers register, and which devices there are.
 *
 * Discovery. When a channel is up, and after each EVENT_DEVICE, the scan asks the backend for its
 * devices and their names (docs/wire.md, section 6, bus messages). Names are what counts; numbers
 * belong to one run of a backend. A name that is new gets a device, whose walk attaches it; when
 * the walk knows all of it, the scan registers it with the virtio core. A device whose name is no
 * more there is failed, then removed.
 *
 * A device that the backend takes away is gone with the message that says so (channel.c). One that
 * has come back under its name before the scan saw that has another number, or is listed again
 * after the old one was removed.
 *
 * The scan is a work of its own, since binding and unbinding drivers waits for the channel's work.
 * Only it, and who has cancelled it, changes hmx_channel.devices. It waits for answers of the
 * backend for a bounded time. A driver's probe can wait for I/O; that ends at the latest when the
 * device is failed, as the removal of a channel does if there is no backend, or one that lets the
 * probe wait.
 *
 * Who removes or freezes a channel bars the scan under the lock, then waits for its end. One that
 * begins later, asked for by who had not seen that yet, touches nothing: the table is another's.
 *
 * References. A channel's device is the parent of its virtio devices. Their memory lives until the
 * last user lets go of it; the module waits for that when it is unloaded.
 *
 * What a hostile backend can do: list names. At most HMX_DEVICES_MAX are looked at, of plain
 * characters, and of device types that can be carried (type.c); the questions of a scan and their
 * time are bounded, and there is a pause between listings.
 */
#include <linux/ctype.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "virtio_hmx.h"

/* GET_DEVICES answers with this many numbers at most. */
#define LIST_COUNT 64u
/*
 * Questions of one scan, and how long all of them may take: names of as many devices as there may
 * be, and rounds to find their numbers.
 */
#define LIST_ASKS (4 * HMX_DEVICES_MAX)
#define LIST_MS 10000u
/*
 * From one listing to the next, whatever the backend says: less than anybody notices of a new
 * device, and a backend that cries change without end costs ten listings a second.
 */
#define LIST_PAUSE_MS 100u
/* After a device could not be made for want of memory: time for others to give some back. */
#define RETRY_MS 1000u

/*
 * Lines about devices: what a backend with as many as there may be has to say when all of them come
 * and go, and then no more for a while.
 */
#define LINES_MS 10000u
#define LINES_MAX (2 * HMX_DEVICES_MAX)

/*
 * So long may a driver's probe wait for requests of which none ends, when its channel is removed:
 * as long as a driver that leaves (device.c).
 */
#define PROBE_MS 10000u

/*
 * So long may requests wait without an answer for a freeze to begin all the same: as long as an
 * answer to a control request may take.
 */
#define FREEZE_MS 5000u

static char *wanted_names[HMX_DEVICES_MAX];
static unsigned int wanted_cnt;
module_param_array_named(devices, wanted_names, charp, &wanted_cnt, 0444);
MODULE_PARM_DESC(devices, "names of the devices to take (default: all that the backends have)");

static DEFINE_IDA(channel_ids);
static atomic_t channels_alive = ATOMIC_INIT(0);

static struct class hmx_class = {
	.name = "hmx",
	.dev_groups = hmx_channel_groups,
};

/* Discovery */

/* What the backend has, each name once. */
struct hmx_list {
	unsigned int cnt, asks;
	unsigned long until;
	u64 life; /* that it is of */
	u16 nums[HMX_DEVICES_MAX];
	char names[HMX_DEVICES_MAX][VHX_NAME_LEN];
};

static void scan_arm(struct hmx_channel *ch, unsigned long delay)
{
	if (!READ_ONCE(ch->removing) && !READ_ONCE(ch->frozen))
		mod_delayed_work(system_long_wq, &ch->scan, delay);
}

void hmx_scan_kick(struct hmx_channel *ch, bool list)
{
	if (list)
		WRITE_ONCE(ch->list_due, true);
	scan_arm(ch, 0);
}

/* Names become those of files; so they are plain. */
static bool name_is_plain(const u8 *name)
{
	unsigned int i;

	if (!name[0] || name[0] == '.')
		return false;
	for (i = 0; i < VHX_NAME_LEN && name[i]; i++) {
		if (!isascii(name[i]) || !isgraph(name[i]) || name[i] == '/')
			return false;
	}
	return i < VHX_NAME_LEN;
}

static bool name_is_wanted(const char *name)
{
	unsigned int i;

	for (i = 0; i < wanted_cnt; i++) {
		if (!strcmp(wanted_names[i], name))
			return true;
	}
	return !wanted_cnt;
}

/* Its place in the list, or -ENOENT. */
static int name_find(const struct hmx_list *list, const char *name)
{
	unsigned int i;

	for (i = 0; i < list->cnt; i++) {
		if (!strcmp(list->names[i], name))
			return i;
	}
	return -ENOENT;
}

static void name_add(struct hmx_channel *ch, struct hmx_list *list, const u8 *name, u16 dev_num)
{
	if (!name_is_plain(name)) {
		dev_warn_ratelimited(&ch->dev, "a device has no plain name: not taken\n");
		return;
	}
	if (list->cnt == HMX_DEVICES_MAX || !name_is_wanted(name) || name_find(list, name) >= 0)
		return;
	list->nums[list->cnt] = dev_num;
	strscpy(list->names[list->cnt++], name, VHX_NAME_LEN);
}

/* A question of this scan, as long as it may ask any. */
static int list_question(struct hmx_channel *ch, struct hmx_list *list, struct hmx_control *c)
{
	if (list->asks++ == LIST_ASKS)
		return -EPROTO;
	if (time_after(jiffies, list->until))
		return -ETIMEDOUT;
	return hmx_channel_ask(ch, c);
}

static int name_ask(struct hmx_channel *ch, struct hmx_list *list, u16 dev_num)
{
	const struct virtio_msg_vhx_get_name_resp *resp;
	struct virtio_msg_vhx_get_name *req;
	struct hmx_control c;
	int ret;

	req = hmx_control_begin(&c, true, VIRTIO_MSG_BUS_VHX_GET_NAME, 0, sizeof(*req));
	req->dev_num = cpu_to_le16(dev_num);
	ret = list_question(ch, list, &c);
	if (ret)
		return ret;
	resp = (const void *)c.payload;
	/* It went meanwhile. */
	if (resp->error)
		return 0;
	if (le16_to_cpu(resp->dev_num) != dev_num || resp->name[VHX_NAME_LEN - 1])
		return -EPROTO;
	name_add(ch, list, resp->name, dev_num);
	return 0;
}

static int names_ask(struct hmx_channel *ch, struct hmx_list *list,
		     const struct virtio_msg_get_devices_resp *resp)
{
	const u8 *bits = (const u8 *)(resp + 1);
	unsigned int i, count = le16_to_cpu(resp->count);
	int ret;

	for (i = 0; i < count && list->cnt < HMX_DEVICES_MAX; i++) {
		if (!(bits[i / BITS_PER_BYTE] & BIT(i % BITS_PER_BYTE)))
			continue;
		ret = name_ask(ch, list, le16_to_cpu(resp->offset) + i);
		if (ret)
			return ret;
	}
	return 0;
}

/* One round: *@offset is where the next one begins, 0: that was all. */
static int list_round(struct hmx_channel *ch, struct hmx_list *list, u16 *offset)
{
	const struct virtio_msg_get_devices_resp *resp;
	struct virtio_msg_get_devices *req;
	struct hmx_control c;
	u16 next;
	int ret;

	req = hmx_control_begin(&c, true, VIRTIO_MSG_BUS_GET_DEVICES, 0, sizeof(*req));
	req->offset = cpu_to_le16(*offset);
	req->count = cpu_to_le16(LIST_COUNT);
	ret = list_question(ch, list, &c);
	if (ret)
		return ret;
	resp = (const void *)c.payload;
	next = le16_to_cpu(resp->next_offset);
	if (le16_to_cpu(resp->offset) != *offset || le16_to_cpu(resp->count) > LIST_COUNT ||
	    c.payload_len < sizeof(*resp) + DIV_ROUND_UP(le16_to_cpu(resp->count), BITS_PER_BYTE) ||
	    (next && next <= *offset))
		return -EPROTO;
	*offset = next;
	return names_ask(ch, list, resp);
}

static int list_ask(struct hmx_channel *ch, struct hmx_list *list)
{
	u16 offset = 0;
	int ret;

	do {
		ret = list_round(ch, list, &offset);
	} while (!ret && offset && list->cnt < HMX_DEVICES_MAX);
	if (ret == -EPROTO || ret == -ETIMEDOUT) {
		spin_lock_irq(&ch->port->lock);
		hmx_channel_fail(ch, ret);
		spin_unlock_irq(&ch->port->lock);
	}
	return ret;
}

static struct hmx_device *device_by_name(struct hmx_channel *ch, const char *name)
{
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (ch->devices[i] && !strcmp(ch->devices[i]->name, name))
			return ch->devices[i];
	}
	return NULL;
}

/* 0, or -EAGAIN: the channel is being removed. */
static int device_publish(struct hmx_channel *ch, struct hmx_device *dev)
{
	int ret = -EAGAIN;

	spin_lock_irq(&ch->port->lock);
	if (!ch->removing && !ch->frozen) {
		ch->devices[dev->index] = dev;
		ret = 0;
	}
	spin_unlock_irq(&ch->port->lock);
	return ret;
}

/* 0, or -ENOMEM. */
static int device_add_named(struct hmx_channel *ch, const char *name)
{
	struct hmx_device *dev;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX && ch->devices[i]; i++)
		;
	if (i == HMX_DEVICES_MAX)
		return 0;
	dev = hmx_device_new(ch, i, name);
	if (!dev)
		return -ENOMEM;
	if (device_publish(ch, dev)) {
		hmx_device_remove(dev);
		return 0;
	}
	hmx_stats_device_add(dev);
	return 0;
}

/*
 * Is it what the list has under its name? Another number is another device. Of another life than
 * the list, it is not judged by it.
 */
static bool device_is_listed(struct hmx_channel *ch, const struct hmx_device *dev,
			     const struct hmx_list *list)
{
	int at = name_find(list, dev->name);
	bool same;

	spin_lock_irq(&ch->port->lock);
	same = ch->stats.lives != list->life || ch->state != HMX_UP ||
	       (at >= 0 && (!hmx_device_attached(dev) || dev->dev_num == list->nums[at]));
	spin_unlock_irq(&ch->port->lock);
	return same;
}

static void devices_settle_gone(struct hmx_channel *ch)
{
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (!ch->devices[i] || !READ_ONCE(ch->devices[i]->gone))
			continue;
		if (hmx_line_due(ch))
			dev_info(&ch->dev, "%s: removed: the backend has it no more\n",
				 ch->devices[i]->name);
		hmx_device_remove(ch->devices[i]);
	}
}

/* 0, or -ENOMEM: not all that is new was added. */
static int list_reconcile(struct hmx_channel *ch, const struct hmx_list *list)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (ch->devices[i] && !device_is_listed(ch, ch->devices[i], list))
			hmx_device_gone(ch->devices[i]);
	}
	devices_settle_gone(ch);
	for (i = 0; i < list->cnt && !ret; i++) {
		if (!device_by_name(ch, list->names[i]))
			ret = device_add_named(ch, list->names[i]);
	}
	/* Their walks begin. */
	hmx_channel_kick(ch);
	return ret;
}

/* How long it takes until the backend may be asked again, in jiffies. 0: now. */
static unsigned long list_pause(const struct hmx_channel *ch)
{
	return time_before(jiffies, ch->list_next) ? ch->list_next - jiffies : 0;
}

static void list_pause_begin(struct hmx_channel *ch, unsigned int ms)
{
	ch->list_next = jiffies + msecs_to_jiffies(ms);
}

static void scan_list(struct hmx_channel *ch)
{
	struct hmx_list *list = ch->list;

	if (!READ_ONCE(ch->list_due))
		return;
	if (list_pause(ch)) {
		scan_arm(ch, list_pause(ch));
		return;
	}
	WRITE_ONCE(ch->list_due, false);
	memset(list, 0, sizeof(*list));
	list->until = jiffies + msecs_to_jiffies(LIST_MS);
	list->life = READ_ONCE(ch->stats.lives);
	/* A channel that ended meanwhile is listed again when the next one is up. */
	if (!list_ask(ch, list) && list_reconcile(ch, list)) {
		list_pause_begin(ch, RETRY_MS);
		hmx_scan_kick(ch, true);
		return;
	}
	list_pause_begin(ch, LIST_PAUSE_MS);
}

static void device_refuse(struct hmx_device *dev, const char *why)
{
	if (hmx_line_due(dev->ch))
		dev_warn(&dev->ch->dev, "%s: %s device: not taken: %s\n", dev->name,
			 dev->type->name, why);
	dev->refused = true;
}

static bool scan_barred(struct hmx_channel *ch)
{
	bool ret;

	spin_lock_irq(&ch->port->lock);
	ret = ch->removing || ch->frozen;
	spin_unlock_irq(&ch->port->lock);
	return ret;
}

/* With the look whether the scan is barred, so that who bars it sees the probe. */
static bool probe_begin(struct hmx_channel *ch, struct hmx_device *dev)
{
	bool ret;

	spin_lock_irq(&ch->port->lock);
	ret = !ch->removing && !ch->frozen;
	if (ret)
		ch->probing = dev;
	spin_unlock_irq(&ch->port->lock);
	return ret;
}

static void probe_end(struct hmx_channel *ch)
{
	spin_lock_irq(&ch->port->lock);
	ch->probing = NULL;
	spin_unlock_irq(&ch->port->lock);
	wake_up(&ch->idle_wait);
}

/* Its driver's probe is over on return, if it has one. */
static void device_offer(struct hmx_device *dev)
{
	struct hmx_channel *ch = dev->ch;
	int ret;

	if (!probe_begin(ch, dev))
		return;
	ret = hmx_device_register(dev);
	probe_end(ch);
	if (ret)
		hmx_device_remove(dev);
}

static void device_settle(struct hmx_device *dev)
{
	const char *refusal;

	if (!READ_ONCE(dev->id.known) || dev->registered || dev->refused || dev->failed)
		return;
	refusal = hmx_type_refusal(dev->type);
	if (refusal)
		device_refuse(dev, refusal);
	else
		device_offer(dev);
}

void hmx_scan_work(struct work_struct *work)
{
	struct hmx_channel *ch = container_of(to_delayed_work(work), struct hmx_channel, scan);
	unsigned int i;

	if (scan_barred(ch))
		return;
	devices_settle_gone(ch);
	scan_list(ch);
	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (scan_barred(ch))
			return;
		if (ch->devices[i])
			device_settle(ch->devices[i]);
	}
}

/* Does a driver's probe wait for requests, of which none has ended since *@seen was set? */
static bool probe_stuck(struct hmx_channel *ch, u64 *seen)
{
	struct hmx_device *dev;
	bool stuck;
	u64 now;

	spin_lock_irq(&ch->port->lock);
	dev = ch->probing;
	now = dev ? hmx_device_progress(dev) : 0;
	stuck = dev && !dev->failed && now == *seen && hmx_device_busy(dev);
	*seen = now;
	spin_unlock_irq(&ch->port->lock);
	return stuck;
}

/* The scan is barred. 0: it has ended; -EBUSY: in @ms a probe that it waits for has not moved. */
static int scan_end(struct hmx_channel *ch, unsigned int ms)
{
	u64 seen = 0;

	probe_stuck(ch, &seen);
	while (!wait_event_timeout(ch->idle_wait, !READ_ONCE(ch->probing), msecs_to_jiffies(ms))) {
		if (probe_stuck(ch, &seen))
			return -EBUSY;
	}
	cancel_delayed_work_sync(&ch->scan);
	return 0;
}

/* The same, whatever the backend does. */
static void scan_end_anyhow(struct hmx_channel *ch)
{
	if (!scan_end(ch, PROBE_MS))
		return;
	spin_lock_irq(&ch->port->lock);
	if (ch->probing)
		hmx_device_fail_locked(ch->probing, "its probe waits, and no request ends");
	spin_unlock_irq(&ch->port->lock);
	cancel_delayed_work_sync(&ch->scan);
}

/* Ports */

void hmx_port_event(struct hmx_port *port)
{
	struct hmx_channel *ch = READ_ONCE(port->channel);

	if (ch)
		hmx_channel_kick(ch);
}
EXPORT_SYMBOL_GPL(hmx_port_event);

static void channel_release(struct device *d)
{
	struct hmx_channel *ch = container_of(d, struct hmx_channel, dev);

	/* As device_free() */
	rcu_read_lock();
	ida_free(&channel_ids, ch->id);
	kfree(ch->list);
	kfree(ch);
	if (atomic_dec_and_test(&channels_alive))
		wake_up(&hmx_devices_wait);
	rcu_read_unlock();
}

static struct hmx_channel *channel_new(struct hmx_port *port)
{
	struct hmx_channel *ch = kzalloc(sizeof(*ch), GFP_KERNEL);

	if (!ch)
		return NULL;
	/* The scan's own, so that a listing never fails for want of memory. */
	ch->list = kzalloc(sizeof(*ch->list), GFP_KERNEL);
	if (!ch->list)
		goto free;
	ch->id = ida_alloc(&channel_ids, GFP_KERNEL);
	if (ch->id < 0)
		goto free_list;
	atomic_inc(&channels_alive);
	device_initialize(&ch->dev);
	ch->dev.class = &hmx_class;
	ch->dev.parent = port->parent;
	ch->dev.release = channel_release;
	dev_set_drvdata(&ch->dev, ch);
	ch->list_next = jiffies;
	ratelimit_state_init(&ch->lines, msecs_to_jiffies(LINES_MS), LINES_MAX);
	return ch;

free_list:
	kfree(ch->list);
free:
	kfree(ch);
	return NULL;
}

int hmx_port_register(struct hmx_port *port)
{
	struct hmx_channel *ch;
	int ret;

	if (!port->ops || port->ops->max_segs < 2)
		return -EINVAL;
	spin_lock_init(&port->lock);
	ch = channel_new(port);
	if (!ch)
		return -ENOMEM;
	ret = hmx_channel_init(ch, port);
	if (ret)
		goto put;
	ret = dev_set_name(&ch->dev, "hmx%d", ch->id);
	if (ret)
		goto fini;
	ret = device_add(&ch->dev);
	if (ret)
		goto fini;
	WRITE_ONCE(port->channel, ch);
	hmx_stats_channel_add(ch);
	hmx_channel_start(ch);
	return 0;

fini:
	hmx_channel_fini(ch);
put:
	put_device(&ch->dev);
	return ret;
}
EXPORT_SYMBOL_GPL(hmx_port_register);

/* Under the lock: whoever listens to the backend does so no more. */
static void ask_end(struct hmx_channel *ch)
{
	if (!ch->asking)
		return;
	ch->asking = false;
	ch->ask_error = -EPIPE;
	wake_up(&ch->ask_wait);
}

/* Nothing is added any more. True: a backend is there. */
static bool channel_detach(struct hmx_channel *ch, bool present)
{
	bool up;

	spin_lock_irq(&ch->port->lock);
	ch->removing = true;
	/* Who cannot be reached is not waited for. */
	if (!present)
		hmx_channel_fail(ch, -ENODEV);
	up = hmx_channel_usable(ch);
	ask_end(ch);
	spin_unlock_irq(&ch->port->lock);
	return up;
}

void hmx_port_unregister(struct hmx_port *port, bool present)
{
	struct hmx_channel *ch = port->channel;
	unsigned int i;

	/* A backend that leaves from here on fails the devices as well: channel.c. */
	if (!channel_detach(ch, present))
		hmx_devices_fail(ch);
	scan_end_anyhow(ch);
	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (ch->devices[i])
			hmx_device_remove(ch->devices[i]);
	}
	hmx_stats_channel_del(ch);
	hmx_channel_stop(ch);
	/* The work may have asked for one more before it saw the removal. */
	cancel_delayed_work_sync(&ch->scan);
	WRITE_ONCE(port->channel, NULL);
	hmx_channel_fini(ch);
	device_unregister(&ch->dev);
}
EXPORT_SYMBOL_GPL(hmx_port_unregister);

/* Sleep of the system */

#ifdef CONFIG_PM_SLEEP

/* Those before @end, in their order. 0, or the first error of a driver. */
static int devices_thaw(struct hmx_channel *ch, unsigned int end)
{
	int err, ret = 0;
	unsigned int i;

	for (i = 0; i < end; i++) {
		if (!ch->devices[i] || !ch->devices[i]->registered)
			continue;
		err = virtio_device_restore(&ch->devices[i]->vdev);
		if (err)
			dev_err(&ch->dev, "%s: not restored: %d\n", ch->devices[i]->name, err);
		ret = ret ?: err;
	}
	return ret;
}

static int device_freeze(struct hmx_device *dev)
{
	int ret;

	hmx_device_guard(dev);
	ret = virtio_device_freeze(&dev->vdev);
	hmx_device_unguard(dev);
	return ret;
}

static int devices_freeze(struct hmx_channel *ch)
{
	unsigned int i;
	int ret;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		if (!ch->devices[i] || !ch->devices[i]->registered)
			continue;
		ret = device_freeze(ch->devices[i]);
		if (ret) {
			devices_thaw(ch, i);
			return ret;
		}
	}
	return 0;
}

static void frozen_set(struct hmx_channel *ch, bool frozen)
{
	spin_lock_irq(&ch->port->lock);
	ch->frozen = frozen;
	if (frozen)
		ask_end(ch);
	spin_unlock_irq(&ch->port->lock);
}

/* Under the lock. */
static bool channel_busy(const struct hmx_channel *ch, u64 *progress)
{
	bool busy = false;
	unsigned int i;

	*progress = 0;
	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		/* Who failed ends by itself. */
		if (!ch->devices[i] || ch->devices[i]->failed)
			continue;
		*progress += hmx_device_progress(ch->devices[i]);
		busy |= hmx_device_busy(ch->devices[i]);
	}
	return busy;
}

/* True: nothing is to be waited for, or a request has ended since @before, or none can. */
static bool channel_moves(struct hmx_channel *ch, u64 before)
{
	u64 now;
	bool ret;

	spin_lock_irq(&ch->port->lock);
	ret = !channel_busy(ch, &now) || now != before || !hmx_channel_usable(ch);
	spin_unlock_irq(&ch->port->lock);
	return ret;
}

/*
 * Drivers wait for their requests before they sleep, with no end. 0: those end; -EBUSY: there is no
 * backend that would answer them, or one that does not.
 */
static int channel_drainable(struct hmx_channel *ch)
{
	bool busy, usable;
	u64 before, now;

	spin_lock_irq(&ch->port->lock);
	channel_busy(ch, &before);
	spin_unlock_irq(&ch->port->lock);
	wait_event_timeout(ch->idle_wait, channel_moves(ch, before), msecs_to_jiffies(FREEZE_MS));
	spin_lock_irq(&ch->port->lock);
	busy = channel_busy(ch, &now);
	usable = hmx_channel_usable(ch);
	spin_unlock_irq(&ch->port->lock);
	return busy && (!usable || now == before) ? -EBUSY : 0;
}

int hmx_port_freeze(struct hmx_port *port)
{
	struct hmx_channel *ch = port->channel;
	int ret;

	frozen_set(ch, true);
	ret = scan_end(ch, FREEZE_MS) ?: channel_drainable(ch) ?: devices_freeze(ch);
	if (ret) {
		frozen_set(ch, false);
		hmx_scan_kick(ch, true);
		return ret;
	}
	hmx_channel_stop(ch);
	return 0;
}
EXPORT_SYMBOL_GPL(hmx_port_freeze);

int hmx_port_restore(struct hmx_port *port)
{
	struct hmx_channel *ch = port->channel;
	int ret;

	hmx_channel_start(ch);
	ret = devices_thaw(ch, HMX_DEVICES_MAX);
	frozen_set(ch, false);
	hmx_scan_kick(ch, false);
	return ret;
}
EXPORT_SYMBOL_GPL(hmx_port_restore);

#else

int hmx_port_freeze(struct hmx_port *port)
{
	return -EOPNOTSUPP;
}
EXPORT_SYMBOL_GPL(hmx_port_freeze);

int hmx_port_restore(struct hmx_port *port)
{
	return -EOPNOTSUPP;
}
EXPORT_SYMBOL_GPL(hmx_port_restore);

#endif

static int __init hmx_init(void)
{
	int ret = class_register(&hmx_class);

	if (ret)
		return ret;
	hmx_stats_init();
	return 0;
}

/*
 * Providers hold this module, so all ports are unregistered; what may be left is memory that others
 * hold.
 */
static void __exit hmx_exit(void)
{
	wait_event(hmx_devices_wait,
		   !atomic_read(&hmx_devices_alive) && !atomic_read(&channels_alive));
	/* Partner: the read sections of those that counted down, who may not be through. */
	synchronize_rcu();
	hmx_device_exit();
	hmx_stats_exit();
	class_unregister(&hmx_class);
	ida_destroy(&channel_ids);
}

module_init(hmx_init);
module_exit(hmx_exit);

MODULE_DESCRIPTION("VirtIO transport over message exchange");
MODULE_AUTHOR("The virtio-hmx authors");
MODULE_LICENSE("Dual BSD/GPL");
