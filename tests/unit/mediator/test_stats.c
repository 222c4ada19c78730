// SPDX-License-Identifier: BSD-3-Clause
/* The shape of the counters, word for word: monitoring depends on it. */
#include "mediator/stats.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static const struct vhx_port_ops ops = { .name = "local" };

static const char *plain(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
}

static void test_program_without_channels(void **state)
{
	struct json_object *o = json_object_new_object();
	char text[256];

	assert_int_equal(vhx_stats_begin(o, "vhx-test", 4096), 0);
	snprintf(text, sizeof(text),
		 "{\"program\":\"vhx-test\",\"version\":\"" VHX_VERSION "\",\"pid\":%d,"
		 "\"memory\":4096,\"channels\":[],\"devices\":[]}",
		 (int)getpid());
	assert_string_equal(plain(o), text);
	json_object_put(o);
}

static void test_channel_shape(void **state)
{
	struct vhx_port port = {
		.ops = &ops,
		.peer.text = "pid 12 uid 1000",
		.stats = { 1, 2, 3, 4, 5, 6, 7, UINT64_MAX },
	};
	const struct vhx_stats_channel up = { "established", &port, 9 };
	const struct vhx_stats_channel down = { "connecting", NULL, 0 };
	struct json_object *o = json_object_new_object();

	assert_int_equal(vhx_stats_begin(o, "vhx-test", 0), 0);
	assert_int_equal(vhx_stats_add_channel(o, &up), 0);
	assert_int_equal(vhx_stats_add_channel(o, &down), 0);
	assert_string_equal(plain(json_object_object_get(o, "channels")),
			    "[{\"state\":\"established\",\"peer\":\"pid 12 uid 1000\","
			    "\"provider\":\"local\",\"tx_messages\":1,\"rx_messages\":3,"
			    "\"tx_bytes\":2,\"rx_bytes\":4,\"sends\":5,\"wakes_sent\":6,"
			    "\"wakes_taken\":7,\"would_blocks\":18446744073709551615,"
			    "\"credits_sent\":9},"
			    "{\"state\":\"connecting\",\"credits_sent\":0}]");
	json_object_put(o);
}

static void test_device_shape(void **state)
{
	const struct vhx_stats_device device = { "disk0", "blk", "running", 1, 2, 3, 4, 5, 6, 7 };
	struct json_object *o = json_object_new_object();

	assert_int_equal(vhx_stats_begin(o, "vhx-test", 0), 0);
	assert_int_equal(vhx_stats_add_device(o, &device), 0);
	assert_string_equal(plain(json_object_object_get(o, "devices")),
			    "[{\"id\":\"disk0\",\"type\":\"blk\",\"state\":\"running\","
			    "\"requests\":1,\"completed\":2,\"errors\":3,\"bytes_out\":4,"
			    "\"bytes_in\":5,\"bytes_copied\":6,\"replays\":7}]");
	json_object_put(o);
}

/* What Prometheus and vhxctl top compute with: the position of a bucket is its meaning. */
static void test_latency_shape(void **state)
{
	struct vhx_histogram latency = { .sum_ns = 5 };
	const struct vhx_stats_device device = {
		.id = "d", .type = "t", .state = "s", .latency = &latency
	};
	struct json_object *o = json_object_new_object(), *first, *h, *buckets;

	latency.buckets[3] = 1;
	latency.buckets[VHX_HISTOGRAM_BUCKETS - 1] = UINT64_MAX;
	assert_int_equal(vhx_stats_begin(o, "vhx-test", 0), 0);
	assert_int_equal(vhx_stats_add_device(o, &device), 0);
	first = json_object_array_get_idx(json_object_object_get(o, "devices"), 0);
	h = json_object_object_get(first, "latency");
	assert_int_equal(json_object_get_uint64(json_object_object_get(h, "sum_ns")), 5);
	buckets = json_object_object_get(h, "buckets");
	assert_int_equal(json_object_array_length(buckets), VHX_HISTOGRAM_BUCKETS);
	assert_int_equal(json_object_get_uint64(json_object_array_get_idx(buckets, 3)), 1);
	assert_true(json_object_get_uint64(json_object_array_get_idx(
			    buckets, VHX_HISTOGRAM_BUCKETS - 1)) == UINT64_MAX);
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_program_without_channels),
		cmocka_unit_test(test_channel_shape),
		cmocka_unit_test(test_device_shape),
		cmocka_unit_test(test_latency_shape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
