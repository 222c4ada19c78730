// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation: what can be seen of channels. Few facts for everybody in sysfs, one a file
 * (ABI/sysfs-hmx): of a channel in /sys/class/hmx/hmxN, of a device in that of the virtio device;
 * and counters for tests and for the curious in debugfs: a file for the
 * channel and one for each of its devices, one "name value" per line. Everything is read under the
 * lock. The removal of a file waits for its readers, so that whatever it shows is there; no more
 * locks are needed.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

#include "virtio_hmx.h"

static struct dentry *debugfs_root;

/* sysfs */

static ssize_t provider_show(struct device *d, struct device_attribute *attr, char *buf)
{
	struct hmx_channel *ch = dev_get_drvdata(d);

	return sysfs_emit(buf, "%s\n", ch->port->ops->name);
}
static DEVICE_ATTR_RO(provider);

static ssize_t peer_show(struct device *d, struct device_attribute *attr, char *buf)
{
	struct hmx_channel *ch = dev_get_drvdata(d);

	return sysfs_emit(buf, "%s\n", ch->port->peer);
}
static DEVICE_ATTR_RO(peer);

static ssize_t state_show(struct device *d, struct device_attribute *attr, char *buf)
{
	struct hmx_channel *ch = dev_get_drvdata(d);

	return sysfs_emit(buf, "%s\n", hmx_channel_state_name(READ_ONCE(ch->state)));
}
static DEVICE_ATTR_RO(state);

static struct attribute *channel_attrs[] = {
	&dev_attr_provider.attr,
	&dev_attr_peer.attr,
	&dev_attr_state.attr,
	NULL,
};

static const struct attribute_group channel_group = { .attrs = channel_attrs };

const struct attribute_group *hmx_channel_groups[] = { &channel_group, NULL };

static ssize_t hmx_name_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", to_hmx_device(dev_to_virtio(d))->name);
}
static DEVICE_ATTR_RO(hmx_name);

static ssize_t hmx_state_show(struct device *d, struct device_attribute *attr, char *buf)
{
	struct hmx_device *dev = to_hmx_device(dev_to_virtio(d));
	const char *state;

	spin_lock_irq(&dev->ch->port->lock);
	state = hmx_device_state(dev);
	spin_unlock_irq(&dev->ch->port->lock);
	return sysfs_emit(buf, "%s\n", state);
}
static DEVICE_ATTR_RO(hmx_state);

static struct attribute *device_attrs[] = {
	&dev_attr_hmx_name.attr,
	&dev_attr_hmx_state.attr,
	NULL,
};

static const struct attribute_group device_group = { .attrs = device_attrs };

const struct attribute_group *hmx_device_groups[] = { &device_group, NULL };

/* debugfs */

static void value_show(struct seq_file *s, const char *name, u64 value)
{
	seq_printf(s, "%s %llu\n", name, value);
}

static void port_show(struct seq_file *s, const struct hmx_port *port)
{
	const struct hmx_port_stats *st = &port->stats;

	value_show(s, "sends", st->sends);
	value_show(s, "tx_messages", st->tx_messages);
	value_show(s, "tx_bytes", st->tx_bytes);
	value_show(s, "rx_messages", st->rx_messages);
	value_show(s, "rx_bytes", st->rx_bytes);
	value_show(s, "wakes_sent", st->wakes_sent);
	value_show(s, "wakes_taken", atomic64_read(&st->wakes_taken));
	value_show(s, "would_blocks", st->would_blocks);
	value_show(s, "max_message", port->max_message);
	value_show(s, "tx_ring_len", port->tx_ring_len);
	value_show(s, "rx_ring_len", port->rx_ring_len);
}

static int channel_show(struct seq_file *s, void *unused)
{
	struct hmx_channel *ch = s->private;
	const struct hmx_channel_stats *st = &ch->stats;

	spin_lock_irq(&ch->port->lock);
	seq_printf(s, "state %s\n", hmx_channel_state_name(ch->state));
	value_show(s, "lives", st->lives);
	value_show(s, "data_messages", st->data_sent);
	value_show(s, "credits_sent", st->credits_sent);
	value_show(s, "pings", st->pings);
	value_show(s, "stale", st->stale);
	value_show(s, "credit_in_flight", ch->credit.sent - ch->credit.acked);
	value_show(s, "pending_control", ch->pending_cnt);
	port_show(s, ch->port);
	spin_unlock_irq(&ch->port->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(channel);

static void queue_value_show(struct seq_file *s, unsigned int i, const char *name, u64 value)
{
	seq_printf(s, "queue%u_%s %llu\n", i, name, value);
}

static void queue_show(struct seq_file *s, unsigned int i, const struct hmx_queue *q)
{
	const struct hmx_queue_stats *st = &q->stats;

	queue_value_show(s, i, "size", q->size);
	queue_value_show(s, i, "notifies", st->notifies);
	queue_value_show(s, i, "chains", st->chains);
	queue_value_show(s, i, "completed", st->completed);
	queue_value_show(s, i, "errors", st->errors);
	queue_value_show(s, i, "bytes_out", st->bytes_out);
	queue_value_show(s, i, "bytes_in", st->bytes_in);
	queue_value_show(s, i, "bytes_copied", st->bytes_copied);
	queue_value_show(s, i, "bytes_by_ref", st->bytes_by_ref);
	queue_value_show(s, i, "interrupts", st->interrupts);
	queue_value_show(s, i, "starved", st->starved);
	queue_value_show(s, i, "dropped", st->dropped);
}

static int device_show(struct seq_file *s, void *unused)
{
	struct hmx_device *dev = s->private;
	unsigned int i;

	spin_lock_irq(&dev->ch->port->lock);
	seq_printf(s, "name %s\n", dev->name);
	seq_printf(s, "type %s\n", dev->type->name);
	seq_printf(s, "state %s\n", hmx_device_state(dev));
	value_show(s, "device_id", dev->id.device_id);
	value_show(s, "queues", dev->id.num_queues);
	value_show(s, "handles", dev->handles);
	value_show(s, "replays", dev->replays);
	value_show(s, "stale", dev->stale);
	value_show(s, "commands_kept", dev->commands.cnt);
	value_show(s, "commands_told", dev->commands.told);
	value_show(s, "writes_done", dev->writes_done);
	value_show(s, "writes_flushed", dev->writes_flushed);
	for (i = 0; i < HMX_QUEUES_MAX; i++) {
		if (dev->queues[i])
			queue_show(s, i, dev->queues[i]);
	}
	spin_unlock_irq(&dev->ch->port->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(device);

void hmx_stats_device_add(struct hmx_device *dev)
{
	dev->debugfs = debugfs_create_file(dev->name, 0400, dev->ch->debugfs_devices, dev,
					   &device_fops);
}

void hmx_stats_device_del(struct hmx_device *dev)
{
	debugfs_remove(dev->debugfs);
	dev->debugfs = NULL;
}

void hmx_stats_channel_add(struct hmx_channel *ch)
{
	ch->debugfs = debugfs_create_dir(dev_name(&ch->dev), debugfs_root);
	ch->debugfs_devices = debugfs_create_dir("devices", ch->debugfs);
	debugfs_create_file("channel", 0400, ch->debugfs, ch, &channel_fops);
}

void hmx_stats_channel_del(struct hmx_channel *ch)
{
	debugfs_remove(ch->debugfs);
}

void hmx_stats_init(void)
{
	debugfs_root = debugfs_create_dir("virtio_hmx", NULL);
}

void hmx_stats_exit(void)
{
	debugfs_remove(debugfs_root);
}
