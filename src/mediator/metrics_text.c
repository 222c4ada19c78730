// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/metrics_text.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/base.h"
#include "util/histogram.h"

#define NS_PER_S 1e9
/* Buckets that are shown: 1 us to 17 s. What is shorter is in the first, what is longer in +Inf. */
#define LE_FIRST 10u
#define LE_LAST 34u

struct family {
	const char *key; /* in the object */
	const char *name;
	const char *help;
};

static const struct family channel_families[] = {
	{ "tx_messages", "vhx_channel_tx_messages_total", "Messages sent." },
	{ "rx_messages", "vhx_channel_rx_messages_total", "Messages received." },
	{ "tx_bytes", "vhx_channel_tx_bytes_total", "Bytes of messages sent." },
	{ "rx_bytes", "vhx_channel_rx_bytes_total", "Bytes of messages received." },
	{ "sends", "vhx_channel_sends_total",
	  "Times that messages were made visible to the peer." },
	{ "wakes_sent", "vhx_channel_wakes_sent_total", "Times that the peer had to be woken." },
	{ "wakes_taken", "vhx_channel_wakes_taken_total", "Times that this end was woken." },
	{ "would_blocks", "vhx_channel_would_blocks_total", "Messages that waited for room." },
	{ "credits_sent", "vhx_channel_credits_sent_total", "Messages that only returned room." },
};

static const struct family device_families[] = {
	{ "requests", "vhx_device_requests_total", "Requests that came." },
	{ "completed", "vhx_device_completed_total", "Requests that were answered." },
	{ "errors", "vhx_device_errors_total", "Requests that were answered with an error." },
	{ "bytes_out", "vhx_device_out_bytes_total", "Bytes that drivers sent with requests." },
	{ "bytes_in", "vhx_device_in_bytes_total", "Bytes that drivers got back." },
	{ "bytes_copied", "vhx_device_copied_bytes_total", "Bytes that the program copied." },
	{ "replays", "vhx_device_replays_total", "Requests sent again to a new backend." },
};

/* Into quotes: whatever is no printable ASCII is a question mark. */
static void label_put(FILE *out, const char *name, const char *value, bool first)
{
	const char *c;

	fprintf(out, "%s%s=\"", first ? "" : ",", name);
	for (c = value; *c; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', out);
		fputc(*c >= ' ' && *c <= '~' ? *c : '?', out);
	}
	fputc('"', out);
}

static const char *text_of(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(object, key));

	return text ? text : "";
}

static void head_put(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void channel_labels(FILE *out, struct json_object *channel, size_t i)
{
	fprintf(out, "{channel=\"%zu\"", i);
	label_put(out, "provider", text_of(channel, "provider"), false);
	label_put(out, "peer", text_of(channel, "peer"), false);
}

static void device_labels(FILE *out, struct json_object *device, size_t i)
{
	fputc('{', out);
	label_put(out, "device", text_of(device, "id"), true);
	label_put(out, "type", text_of(device, "type"), false);
}

typedef void labels_fn(FILE *out, struct json_object *object, size_t i);

static void families_put(FILE *out, struct json_object *array, const struct family *families,
			 unsigned int cnt, labels_fn *labels)
{
	struct json_object *object, *value;
	unsigned int f;
	size_t i;

	for (f = 0; f < cnt; f++) {
		head_put(out, families[f].name, "counter", families[f].help);
		for (i = 0; i < json_object_array_length(array); i++) {
			object = json_object_array_get_idx(array, i);
			if (!json_object_object_get_ex(object, families[f].key, &value))
				continue;
			fputs(families[f].name, out);
			labels(out, object, i);
			fprintf(out, "} %" PRIu64 "\n", json_object_get_uint64(value));
		}
	}
}

/* 1 at the state that each is in. */
static void states_put(FILE *out, struct json_object *array, const char *name, const char *help,
		       labels_fn *labels)
{
	size_t i;

	head_put(out, name, "gauge", help);
	for (i = 0; i < json_object_array_length(array); i++) {
		struct json_object *object = json_object_array_get_idx(array, i);

		fputs(name, out);
		labels(out, object, i);
		label_put(out, "state", text_of(object, "state"), false);
		fputs("} 1\n", out);
	}
}

static void latency_put(FILE *out, struct json_object *device, struct json_object *latency)
{
	static const char name[] = "vhx_device_latency_seconds";
	struct json_object *buckets = json_object_object_get(latency, "buckets");
	uint64_t count = 0;
	unsigned int i;

	for (i = 0; i < VHX_HISTOGRAM_BUCKETS; i++) {
		count += json_object_get_uint64(json_object_array_get_idx(buckets, i));
		if (i < LE_FIRST || i > LE_LAST)
			continue;
		fprintf(out, "%s_bucket", name);
		device_labels(out, device, 0);
		fprintf(out, ",le=\"%.9g\"} %" PRIu64 "\n", (double)(1ull << i) / NS_PER_S, count);
	}
	fprintf(out, "%s_bucket", name);
	device_labels(out, device, 0);
	fprintf(out, ",le=\"+Inf\"} %" PRIu64 "\n%s_sum", count, name);
	device_labels(out, device, 0);
	fprintf(out, "} %.9f\n%s_count",
		(double)json_object_get_uint64(json_object_object_get(latency, "sum_ns")) /
			NS_PER_S,
		name);
	device_labels(out, device, 0);
	fprintf(out, "} %" PRIu64 "\n", count);
}

static void latencies_put(FILE *out, struct json_object *devices)
{
	struct json_object *device, *latency;
	size_t i;

	head_put(out, "vhx_device_latency_seconds", "histogram",
		 "From the message that brought a request to its answer.");
	for (i = 0; i < json_object_array_length(devices); i++) {
		device = json_object_array_get_idx(devices, i);
		if (json_object_object_get_ex(device, "latency", &latency))
			latency_put(out, device, latency);
	}
}

static void program_put(FILE *out, struct json_object *stats)
{
	head_put(out, "vhx_build_info", "gauge", "Which program this is, always 1.");
	fputs("vhx_build_info{", out);
	label_put(out, "program", text_of(stats, "program"), true);
	label_put(out, "version", text_of(stats, "version"), false);
	fputs("} 1\n", out);
	head_put(out, "vhx_memory_bytes", "gauge", "Memory allocated for devices and channels.");
	fprintf(out, "vhx_memory_bytes %" PRIu64 "\n",
		json_object_get_uint64(json_object_object_get(stats, "memory")));
}

int vhx_metrics_text(struct json_object *stats, char **text, size_t *len)
{
	struct json_object *channels = json_object_object_get(stats, "channels");
	struct json_object *devices = json_object_object_get(stats, "devices");
	FILE *out = open_memstream(text, len);
	bool failed;

	if (!out)
		return -ENOMEM;
	program_put(out, stats);
	states_put(out, channels, "vhx_channel_state", "State of each channel.", channel_labels);
	families_put(out, channels, channel_families, VHX_ARRAY_SIZE(channel_families),
		     channel_labels);
	states_put(out, devices, "vhx_device_state", "State of each device.", device_labels);
	families_put(out, devices, device_families, VHX_ARRAY_SIZE(device_families), device_labels);
	latencies_put(out, devices);
	failed = ferror(out);
	if (!fclose(out) && !failed)
		return 0;
	free(*text);
	return -ENOMEM;
}
