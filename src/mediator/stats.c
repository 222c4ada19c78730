// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/stats.h"

#include <json-c/json.h>
#include <unistd.h>

#include "exchange/argo.h"

#define PORT(member)                                             \
	{                                                        \
#member, offsetof(struct vhx_port_stats, member) \
	}
#define DEVICE(member)                                             \
	{                                                          \
#member, offsetof(struct vhx_stats_device, member) \
	}
#define CHANNEL(member)                                             \
	{                                                           \
#member, offsetof(struct vhx_stats_channel, member) \
	}

static const struct vhx_stats_counter port_counters[] = {
	PORT(tx_messages), PORT(rx_messages), PORT(tx_bytes),	 PORT(rx_bytes),
	PORT(sends),	   PORT(wakes_sent),  PORT(wakes_taken), PORT(would_blocks),
};

#define ARGO(member)                                                     \
	{                                                                \
		"argo_" #member, offsetof(struct vhx_argo_calls, member) \
	}

/* Hypercalls besides those of messages, which are the sends. */
static const struct vhx_stats_counter argo_counters[] = {
	ARGO(registers), ARGO(meets), ARGO(refused), ARGO(notifies), ARGO(queries), ARGO(checks),
};

static const struct vhx_stats_counter channel_counters[] = {
	CHANNEL(credits_sent),
};

static const struct vhx_stats_counter device_counters[] = {
	DEVICE(requests), DEVICE(completed),	DEVICE(errors),	 DEVICE(bytes_out),
	DEVICE(bytes_in), DEVICE(bytes_copied), DEVICE(replays),
};

/* Takes @value over, NULL included: that is how json-c says that there was no memory. */
static int value_add(struct json_object *into, const char *name, struct json_object *value)
{
	if (value && !json_object_object_add(into, name, value))
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

int vhx_stats_add_text(struct json_object *into, const char *name, const char *text)
{
	return value_add(into, name, json_object_new_string(text));
}

int vhx_stats_add_counters(struct json_object *into, const struct vhx_stats_counter *table,
			   unsigned int cnt, const void *base)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < cnt; i++) {
		const uint64_t *v = (const void *)((const char *)base + table[i].offset);

		ret = value_add(into, table[i].name, json_object_new_uint64(*v));
	}
	return ret;
}

int vhx_stats_begin(struct json_object *into, const char *program, uint64_t memory)
{
	int ret;

	ret = vhx_stats_add_text(into, "program", program);
	if (!ret)
		ret = vhx_stats_add_text(into, "version", VHX_VERSION);
	if (!ret)
		ret = value_add(into, "pid", json_object_new_int64(getpid()));
	if (!ret)
		ret = value_add(into, "memory", json_object_new_uint64(memory));
	if (!ret)
		ret = value_add(into, "channels", json_object_new_array());
	if (!ret)
		ret = value_add(into, "devices", json_object_new_array());
	return ret;
}

/* A new object at the end of the array @name, which keeps it; NULL without memory. */
static struct json_object *array_append(struct json_object *into, const char *name)
{
	struct json_object *array = json_object_object_get(into, name);
	struct json_object *item = json_object_new_object();

	assert(array);
	if (item && !json_object_array_add(array, item))
		return item;
	json_object_put(item);
	return NULL;
}

static int port_add(struct json_object *into, const struct vhx_port *port)
{
	int ret;

	ret = vhx_stats_add_text(into, "peer", port->peer.text);
	if (!ret)
		ret = vhx_stats_add_text(into, "provider", port->ops->name);
	if (!ret)
		ret = vhx_stats_add_counters(into, port_counters, VHX_ARRAY_SIZE(port_counters),
					     &port->stats);
	return ret;
}

/* Of a port of that provider. */
static int argo_add(struct json_object *item, const struct vhx_port *port)
{
	const struct vhx_argo_calls *calls = vhx_argo_port_calls(port);

	return calls ? vhx_stats_add_counters(item, argo_counters, VHX_ARRAY_SIZE(argo_counters),
					      calls)
		     : 0;
}

int vhx_stats_add_channel(struct json_object *into, const struct vhx_stats_channel *channel)
{
	struct json_object *item = array_append(into, "channels");
	int ret;

	if (!item)
		return -ENOMEM;
	ret = vhx_stats_add_text(item, "state", channel->state);
	if (!ret && channel->port)
		ret = port_add(item, channel->port);
	if (!ret && channel->port)
		ret = argo_add(item, channel->port);
	if (!ret)
		ret = vhx_stats_add_counters(item, channel_counters,
					     VHX_ARRAY_SIZE(channel_counters), channel);
	return ret;
}

/* All buckets, empty ones too: the position is the meaning, see util/histogram.h. */
static int latency_add(struct json_object *into, const struct vhx_histogram *h)
{
	struct json_object *latency = json_object_new_object();
	struct json_object *buckets = json_object_new_array();
	unsigned int i;
	int ret;

	ret = value_add(into, "latency", latency);
	if (ret)
		goto put_buckets;
	ret = value_add(latency, "sum_ns", json_object_new_uint64(h->sum_ns));
	for (i = 0; !ret && buckets && i < VHX_HISTOGRAM_BUCKETS; i++)
		ret = json_object_array_add(buckets, json_object_new_uint64(h->buckets[i]));
	if (!ret)
		return value_add(latency, "buckets", buckets);
put_buckets:
	json_object_put(buckets);
	return -ENOMEM;
}

int vhx_stats_add_device(struct json_object *into, const struct vhx_stats_device *device)
{
	struct json_object *item = array_append(into, "devices");
	int ret;

	if (!item)
		return -ENOMEM;
	ret = vhx_stats_add_text(item, "id", device->id);
	if (!ret)
		ret = vhx_stats_add_text(item, "type", device->type);
	if (!ret)
		ret = vhx_stats_add_text(item, "state", device->state);
	if (!ret)
		ret = vhx_stats_add_counters(item, device_counters, VHX_ARRAY_SIZE(device_counters),
					     device);
	if (!ret && device->latency)
		ret = latency_add(item, device->latency);
	return ret;
}
