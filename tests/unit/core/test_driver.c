// SPDX-License-Identifier: BSD-3-Clause
/*
 * The driver's walk against a device: the two state machines in a loop, with every message through its
 * encoding. Then with requests and answers lost, wrong, late and hostile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <vhx/wire.h>

#include "core/driver.h"

#define QUEUES 4
#define QUEUE_MAX 256
#define CONFIG_LEN 250 /* more than one message holds */
#define FEATURES (VHX_FEATURES_CROSSING | 0x25)
#define STEPS_MAX 200
#define RUNNING 15

/* The walk of a first start with two queues, request by request. */
static const uint8_t first_start[] = {
	VIRTIO_MSG_BUS_VHX_ATTACH,	VIRTIO_MSG_GET_DEVICE_INFO,
	VIRTIO_MSG_GET_DEVICE_FEATURES, VIRTIO_MSG_GET_CONFIG,
	VIRTIO_MSG_GET_CONFIG,		VIRTIO_MSG_SET_DEVICE_STATUS,
	VIRTIO_MSG_SET_DEVICE_STATUS,	VIRTIO_MSG_SET_DRIVER_FEATURES,
	VIRTIO_MSG_SET_DEVICE_STATUS,	VIRTIO_MSG_SET_VQUEUE,
	VIRTIO_MSG_VHX_QUEUE_OPEN,	VIRTIO_MSG_SET_VQUEUE,
	VIRTIO_MSG_VHX_QUEUE_OPEN,	VIRTIO_MSG_SET_DEVICE_STATUS,
};

static struct {
	struct vhx_driver d;
	struct vhx_vdev v;
	struct vhx_control resp;
	bool answered;
	uint8_t config[CONFIG_LEN];
	struct virtio_msg_vhx_attach_resp attach;
	uint8_t asked[STEPS_MAX]; /* msg_ids */
	int steps;
	int events[VHX_DRIVER_CONFIG_WRITTEN + 1];
	struct vhx_vdev_limits limits;
	int config_ret, features_ret;
	bool config_wants_features; /* byte 20 begins anew with the features, and is written after them only */
} w;

static int on_set_features(void *ctx, uint64_t features)
{
	if (w.config_wants_features)
		w.config[20] = 0;
	return w.features_ret;
}

static int on_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	if (w.config_wants_features &&
	    (!(w.v.status & VHX_STATUS_FEATURES_OK) || !(w.v.driver_features & 1)))
		return -EINVAL;
	if (!w.config_ret)
		memcpy(w.config + off, buf, len);
	return w.config_ret;
}

static void on_queue_open(void *ctx, uint16_t index, uint16_t size, uint32_t epoch)
{
}

static void on_queue_reset(void *ctx, uint16_t index)
{
	w.answered = vhx_vdev_queue_reset_done(&w.v, index, &w.resp);
}

static void on_device_reset(void *ctx)
{
	w.answered = vhx_vdev_reset_done(&w.v, &w.resp);
}

static void on_limits(void *ctx, uint16_t index, struct vhx_vdev_limits *l)
{
	*l = w.limits;
}

static const struct vhx_vdev_ops ops = {
	.set_features = on_set_features,
	.set_config = on_set_config,
	.queue_open = on_queue_open,
	.queue_reset = on_queue_reset,
	.device_reset = on_device_reset,
	.limits = on_limits,
};

static int world_new(void **state)
{
	memset(&w, 0, sizeof(w));
	vhx_vdev_init(&w.v, &ops, &w);
	w.v.device_id = 2;
	memset(w.v.uuid, 0xcd, sizeof(w.v.uuid));
	w.v.features = FEATURES;
	w.v.num_queues = QUEUES;
	w.v.queue_size_max = QUEUE_MAX;
	w.v.config = w.config;
	w.v.config_len = CONFIG_LEN;
	for (uint32_t i = 0; i < CONFIG_LEN; i++)
		w.config[i] = (uint8_t)(3 * i);
	w.attach.dev_num = vhx_le16_of(11);
	memcpy(w.attach.name, "disk0", 6);
	w.limits = (struct vhx_vdev_limits){ 1 << 20, 1 << 20, 16, 256 };
	vhx_driver_init(&w.d, "disk0");
	return 0;
}

/* Through the wire, as it would come in. */
static void pass_over(const struct vhx_control *from, struct vhx_control *to)
{
	uint8_t wire[VIRTIO_MSG_MAX];

	assert_int_equal(vhx_control_decode(wire, vhx_control_encode(wire, from), to), 0);
}

static void device_answer(const struct vhx_control *req)
{
	struct vhx_control arrived;

	pass_over(req, &arrived);
	w.answered = false;
	if (arrived.bus) {
		struct virtio_msg_vhx_attach_resp *a = vhx_control_response(&w.resp, &arrived,
									    sizeof(*a));

		assert_int_equal(arrived.msg_id, VIRTIO_MSG_BUS_VHX_ATTACH);
		assert_memory_equal(arrived.payload, w.d.name, VHX_NAME_LEN);
		*a = w.attach;
		w.answered = true;
		return;
	}
	assert_int_equal(arrived.dev_num, vhx_le16_get(w.attach.dev_num));
	if (vhx_vdev_request(&w.v, &arrived, &w.resp))
		w.answered = true;
	assert_true(w.answered);
}

/* The next request goes to the device; its answer waits in w.resp. False: none is due. */
static bool ask(void)
{
	const struct vhx_control *req;

	if (!vhx_driver_next(&w.d, &req))
		return false;
	assert_true(w.steps < STEPS_MAX);
	w.asked[w.steps++] = req->msg_id;
	device_answer(req);
	return true;
}

static int answer(void)
{
	enum vhx_driver_event event;
	struct vhx_control arrived;
	int ret;

	pass_over(&w.resp, &arrived);
	ret = vhx_driver_response(&w.d, &arrived, &event);
	if (!ret)
		w.events[event]++;
	return ret;
}

/* To where nothing is due. Returns the steps it took. */
static int settle(void)
{
	int before = w.steps;

	while (ask())
		assert_int_equal(answer(), 0);
	assert_false(w.d.waiting);
	return w.steps - before;
}

static void queue_want(uint16_t index, uint16_t size)
{
	w.d.queues[index].wanted = true;
	w.d.queues[index].size = size;
}

static void start(void)
{
	settle();
	w.d.features = w.d.id.features;
	w.d.active = true;
	queue_want(0, 128);
	queue_want(2, 64);
}

/* Both sides agree on all that is wanted. */
static void assert_running(void)
{
	assert_int_equal(w.v.status, RUNNING);
	assert_int_equal(w.d.status, RUNNING);
	assert_true(w.v.driver_features == w.d.features);
	assert_memory_equal(w.d.id.config, w.config, CONFIG_LEN);
	for (uint16_t i = 0; i < QUEUES; i++) {
		const struct vhx_driver_queue *q = &w.d.queues[i];

		assert_int_equal(vhx_driver_queue_live(&w.d, i), q->wanted);
		assert_int_equal(w.v.queues[i].open, q->wanted);
		if (!q->wanted)
			continue;
		assert_int_equal(w.v.queues[i].size, q->size);
		assert_int_equal(w.v.queues[i].epoch, q->epoch);
		assert_memory_equal(&q->limits, &w.limits, sizeof(w.limits));
	}
}

static void channel_lost(void)
{
	vhx_driver_lost(&w.d);
	vhx_vdev_orphan(&w.v);
}

static void test_first_start_is_this_walk(void **state)
{
	start();
	assert_int_equal(w.events[VHX_DRIVER_KNOWN], 1);
	settle();
	assert_int_equal(w.steps, VHX_ARRAY_SIZE(first_start));
	assert_memory_equal(w.asked, first_start, sizeof(first_start));
	assert_running();
	assert_int_equal(w.events[VHX_DRIVER_QUEUE_OPEN], 2);
	assert_int_equal(w.events[VHX_DRIVER_RUNNING], 1);
	assert_string_equal(w.d.id.name, "disk0");
}

static void test_only_one_request_at_a_time(void **state)
{
	const struct vhx_control *req;

	assert_true(ask());
	assert_false(vhx_driver_next(&w.d, &req));
}

static void test_ring_features_do_not_cross(void **state)
{
	w.v.features |= VHX_FEATURES_RING;
	settle();
	assert_true(w.d.id.features == FEATURES);
}

static void test_device_without_config(void **state)
{
	w.v.config_len = 0;
	start();
	assert_int_equal(w.events[VHX_DRIVER_KNOWN], 1);
	settle();
	assert_int_equal(w.d.status, RUNNING);
}

/* EVENT_CONFIG also tells a status; there may be no config to read again. */
static void test_config_event_of_device_without_config(void **state)
{
	w.v.config_len = 0;
	start();
	settle();
	vhx_driver_config_event(&w.d);
	assert_int_equal(settle(), 0);
}

static void test_late_queue(void **state)
{
	start();
	settle();
	queue_want(3, 256);
	assert_false(vhx_driver_queue_live(&w.d, 3));
	assert_int_equal(settle(), 2);
	assert_running();
}

static void test_queue_closed_and_opened_again(void **state)
{
	uint32_t epoch;

	start();
	settle();
	epoch = w.d.queues[2].epoch;
	w.d.queues[2].wanted = false;
	assert_false(vhx_driver_queue_live(&w.d, 2));
	assert_int_equal(settle(), 1);
	assert_int_equal(w.events[VHX_DRIVER_QUEUE_CLOSED], 1);
	assert_running();
	queue_want(2, 32);
	settle();
	assert_running();
	assert_true(w.d.queues[2].epoch > epoch);
}

static void test_recycled_queue_is_closed_first(void **state)
{
	uint32_t epoch;

	start();
	settle();
	epoch = w.d.queues[0].epoch;
	w.d.queues[0].recycle = true;
	assert_false(vhx_driver_queue_live(&w.d, 0));
	assert_int_equal(settle(), 3);
	assert_int_equal(w.events[VHX_DRIVER_QUEUE_CLOSED], 1);
	assert_running();
	assert_true(w.d.queues[0].epoch > epoch);
}

/* A queue stopped and started with another size while any request of its opening is on its way. */
static void test_size_changed_while_the_queue_is_being_opened(void **state)
{
	for (int k = 0; k < 10; k++) {
		world_new(NULL);
		start();
		for (int i = 0; i < k; i++) {
			ask();
			answer();
		}
		ask();
		queue_want(0, 256);
		queue_want(2, 16);
		w.d.queues[0].recycle = w.d.queues[0].open;
		w.d.queues[2].recycle = w.d.queues[2].open;
		answer();
		settle();
		assert_running();
	}
}

static void test_queue_no_longer_wanted_while_being_opened(void **state)
{
	for (int k = 0; k < 10; k++) {
		world_new(NULL);
		start();
		for (int i = 0; i < k; i++) {
			ask();
			answer();
		}
		ask();
		w.d.queues[0].wanted = false;
		answer();
		settle();
		assert_running();
		queue_want(0, 128);
		settle();
		assert_running();
	}
}

static void test_features_changed_while_active(void **state)
{
	start();
	settle();
	w.d.features &= ~1ull;
	settle();
	assert_running();
	assert_int_equal(w.events[VHX_DRIVER_STOPPED], 2);
	assert_int_equal(w.events[VHX_DRIVER_RUNNING], 2);
}

static void test_features_changed_at_every_step(void **state)
{
	for (int k = 0; k < 9; k++) {
		world_new(NULL);
		start();
		for (int i = 0; i < k; i++) {
			ask();
			answer();
		}
		ask();
		w.d.features ^= 4;
		answer();
		settle();
		assert_running();
	}
}

static void test_stopped_at_every_step(void **state)
{
	for (int k = 0; k < 9; k++) {
		world_new(NULL);
		start();
		for (int i = 0; i < k; i++) {
			ask();
			answer();
		}
		ask();
		w.d.active = false;
		answer();
		settle();
		assert_int_equal(w.d.status, 0);
		assert_int_equal(w.v.status, 0);
		for (uint16_t i = 0; i < QUEUES; i++)
			assert_false(w.d.queues[i].open || w.v.queues[i].open);
		w.d.active = true;
		settle();
		assert_running();
	}
}

/* Before the answer of step @k, or before its request even arrived; then a new backend. */
static void lost_at(int k, bool asked)
{
	uint32_t epochs[2];
	int i;

	world_new(NULL);
	for (i = 0; i < 5 && i < k; i++) {
		ask();
		answer();
	}
	if (k > 5)
		start();
	for (; i < k; i++) {
		ask();
		assert_int_equal(answer(), 0);
	}
	if (asked)
		ask();
	epochs[0] = w.d.queues[0].epoch;
	epochs[1] = w.d.queues[2].epoch;
	channel_lost();
	for (uint16_t q = 0; q < QUEUES; q++)
		assert_false(vhx_driver_queue_live(&w.d, q));
	start();
	settle();
	assert_running();
	assert_true(w.d.queues[0].epoch > epochs[0] && w.d.queues[2].epoch > epochs[1]);
	assert_int_equal(w.events[VHX_DRIVER_KNOWN], 1);
}

static void test_channel_lost_at_every_step(void **state)
{
	for (int k = 0; k <= (int)VHX_ARRAY_SIZE(first_start); k++) {
		lost_at(k, false);
		lost_at(k, true);
	}
}

static void test_answer_of_the_dead_backend_is_ignored(void **state)
{
	start();
	ask();
	channel_lost();
	assert_int_equal(answer(), 0);
	assert_false(w.d.attached);
	ask();
	channel_lost();
	{
		struct vhx_control late = w.resp;

		ask();
		w.resp = late;
		assert_int_equal(answer(), 0);
		assert_true(w.d.waiting);
	}
}

static void test_answers_that_answer_nothing(void **state)
{
	struct vhx_control good;
	enum vhx_driver_event event;

	ask();
	answer();
	ask();
	good = w.resp;
	w.resp.token++;
	assert_int_equal(answer(), 0);
	w.resp = good;
	w.resp.dev_num++;
	assert_int_equal(answer(), 0);
	w.resp = good;
	w.resp.msg_id = VIRTIO_MSG_GET_DEVICE_FEATURES;
	assert_int_equal(vhx_driver_response(&w.d, &w.resp, &event), 0);
	w.resp = good;
	w.resp.bus = true;
	assert_int_equal(vhx_driver_response(&w.d, &w.resp, &event), 0);
	w.resp = good;
	w.resp.response = false;
	assert_int_equal(vhx_driver_response(&w.d, &w.resp, &event), 0);
	assert_true(w.d.waiting);
	assert_false(w.d.have_info);
	w.resp = good;
	assert_int_equal(answer(), 0);
	assert_true(w.d.have_info);
	/* Said twice */
	assert_int_equal(answer(), 0);
}

static void test_attach_errors(void **state)
{
	static const struct {
		uint32_t error;
		int ret;
	} rows[] = {
		{ VHX_ATTACH_UNKNOWN, -ENODEV },
		{ VHX_ATTACH_BUSY, -EBUSY },
		{ VHX_ATTACH_AMBIGUOUS, -ENOTUNIQ },
		{ 4, -EPROTO },
		{ UINT32_MAX, -EPROTO },
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		w.attach.error = vhx_le32_of(rows[i].error);
		ask();
		assert_int_equal(answer(), rows[i].ret);
		assert_false(w.d.attached || w.d.waiting);
	}
	w.attach.error = vhx_le32_of(0);
	start();
	settle();
	assert_running();
}

static void test_attach_name_without_end(void **state)
{
	memset(w.attach.name, 'x', sizeof(w.attach.name));
	ask();
	assert_int_equal(answer(), -EPROTO);
}

static void test_cache_identity_changed(void **state)
{
	start();
	settle();
	channel_lost();
	settle();
	assert_false(w.d.id.cache_changed);
	w.attach.cache_id[3] = 1;
	channel_lost();
	settle();
	assert_true(w.d.id.cache_changed);
}

/* To the answer that says @ret, on a new channel. */
static void attach_again_until(int ret)
{
	channel_lost();
	while (ask()) {
		int got = answer();

		if (got == ret)
			return;
		assert_int_equal(got, 0);
	}
	fail();
}

static void test_another_device_comes_back(void **state)
{
	start();
	settle();
	w.v.device_id++;
	attach_again_until(-ESTALE);
	w.v.device_id--;
	w.v.uuid[15]++;
	attach_again_until(-ESTALE);
	w.v.uuid[15]--;
	w.v.num_queues--;
	attach_again_until(-ESTALE);
	w.v.num_queues++;
	w.v.config_len--;
	attach_again_until(-ESTALE);
	w.v.config_len++;
	w.v.features &= ~4ull;
	attach_again_until(-ESTALE);
	w.v.features |= 4 | 8;
	channel_lost();
	settle();
	assert_running();
}

static void test_features_ok_not_confirmed(void **state)
{
	start();
	settle();
	w.features_ret = -EINVAL;
	attach_again_until(-ESTALE);
}

static void test_config_changed_while_the_backend_was_away(void **state)
{
	start();
	settle();
	channel_lost();
	w.config[249] ^= 1;
	settle();
	assert_int_equal(w.events[VHX_DRIVER_CONFIG], 1);
	assert_running();
}

static void test_config_event(void **state)
{
	struct vhx_control event;

	start();
	settle();
	w.config[0] ^= 1;
	vhx_vdev_config_event(&w.v, 11, &event);
	vhx_driver_config_event(&w.d);
	assert_int_equal(settle(), 2);
	assert_int_equal(w.events[VHX_DRIVER_CONFIG], 1);
	assert_int_equal(w.d.id.generation, w.v.generation);
	assert_running();
	/* Without a change there is no event. */
	vhx_driver_config_event(&w.d);
	assert_int_equal(settle(), 2);
	assert_int_equal(w.events[VHX_DRIVER_CONFIG], 1);
}

/* Between the two parts of a read, once or several times. */
static void test_config_changes_in_the_middle_of_reading(void **state)
{
	struct vhx_control event;

	start();
	settle();
	vhx_driver_config_event(&w.d);
	for (int i = 0; i < 5; i++) {
		ask();
		assert_int_equal(answer(), 0);
		assert_true(w.d.config_reading);
		w.config[0]++;
		w.config[249]++;
		vhx_vdev_config_event(&w.v, 11, &event);
		vhx_driver_config_event(&w.d);
	}
	settle();
	assert_running();
	assert_int_equal(w.d.id.generation, w.v.generation);
}

static void test_config_write(void **state)
{
	start();
	settle();
	w.d.config_write.set = true;
	w.d.config_write.off = 20;
	w.d.config_write.len = 2;
	memcpy(w.d.config_write.bytes, "\xee\xdd", 2);
	settle();
	assert_int_equal(w.events[VHX_DRIVER_CONFIG_WRITTEN], 1);
	assert_false(w.d.config_refused);
	assert_int_equal(w.config[20], 0xee);
	assert_running();
	w.config_ret = -EPERM;
	w.d.config_write.set = true;
	w.d.config_write.bytes[0] = 0x77;
	settle();
	assert_int_equal(w.events[VHX_DRIVER_CONFIG_WRITTEN], 2);
	assert_true(w.d.config_refused);
	assert_int_equal(w.config[20], 0xee);
}

/* Byte 20 of the config, which is to be 0xee. */
static void config_write_want(void)
{
	w.d.config_write.set = true;
	w.d.config_write.off = 20;
	w.d.config_write.len = 1;
	w.d.config_write.bytes[0] = 0xee;
}

/* A cache that the guest switched off stays off, before the first request reaches the new backend. */
static void test_config_write_goes_to_a_replaced_backend(void **state)
{
	start();
	settle();
	config_write_want();
	settle();
	channel_lost();
	w.config[20] = 0;
	while (!(w.d.status & VHX_STATUS_DRIVER_OK)) {
		ask();
		assert_int_equal(answer(), 0);
	}
	assert_int_equal(w.config[20], 0xee);
	settle();
	assert_running();
	assert_int_equal(w.events[VHX_DRIVER_CONFIG_WRITTEN], 1);
	/* The VMM is gone, and with it what its guest wanted. */
	vhx_driver_forget_writes(&w.d);
	channel_lost();
	w.config[20] = 0;
	settle();
	assert_int_equal(w.config[20], 0);
}

/* A driver has written into the config, and its device was reset. */
static void write_and_reset(void)
{
	w.config_wants_features = true;
	start();
	settle();
	config_write_want();
	settle();
	w.d.active = false;
	settle();
}

/* A VMM resets the device of a guest that it only pauses: the features end what was written, and come again. */
static void test_config_write_is_told_again_behind_the_features(void **state)
{
	write_and_reset();
	w.d.active = true;
	settle();
	assert_int_equal(w.config[20], 0xee);
	assert_running();
}

/* A backend that has no features yet would refuse it, and be taken for another device. */
static void test_config_write_waits_for_the_features_of_a_replaced_backend(void **state)
{
	write_and_reset();
	channel_lost();
	settle();
	w.d.active = true;
	settle();
	assert_int_equal(w.config[20], 0xee);
	assert_running();
}

/* Firmware, for example, that does without the feature by which the system before it wrote. */
static void test_config_write_is_over_with_a_driver_of_other_features(void **state)
{
	write_and_reset();
	w.d.features &= ~1ull;
	w.d.active = true;
	settle();
	assert_int_equal(w.config[20], 0);
	assert_running();
	channel_lost();
	settle();
	assert_running();
}

/* Asked for while the walk was at something else, by a driver that has gone since. */
static void test_config_write_of_the_last_driver_is_not_sent(void **state)
{
	start();
	settle();
	vhx_driver_config_event(&w.d);
	ask();
	config_write_want();
	vhx_driver_forget_writes(&w.d);
	assert_int_equal(answer(), 0);
	settle();
	assert_int_not_equal(w.config[20], 0xee);
	assert_int_equal(w.events[VHX_DRIVER_CONFIG_WRITTEN], 0);
}

/* It was sent; what it left behind is not what the next driver wants. */
static void test_config_write_of_the_last_driver_is_not_kept(void **state)
{
	start();
	settle();
	config_write_want();
	ask();
	vhx_driver_forget_writes(&w.d);
	assert_int_equal(answer(), 0);
	channel_lost();
	w.config[20] = 0;
	settle();
	assert_int_equal(w.config[20], 0);
}

/* It was sent, and the backend died of it: the next one is not told for a driver that has gone. */
static void test_config_write_of_the_last_driver_is_not_sent_again(void **state)
{
	start();
	settle();
	config_write_want();
	ask();
	vhx_driver_forget_writes(&w.d);
	channel_lost();
	w.config[20] = 0;
	settle();
	assert_int_equal(w.config[20], 0);
	assert_int_equal(w.events[VHX_DRIVER_CONFIG_WRITTEN], 0);
}

/* Of a VMM that came while the write of the last one was under way; also if nothing answers that. */
static void test_config_write_waits_behind_that_of_the_last_driver(void **state)
{
	for (int lost = 0; lost < 2; lost++) {
		world_new(NULL);
		start();
		settle();
		assert_int_equal(vhx_driver_write_config(&w.d, 20, "\xee", 1), 0);
		assert_int_equal(vhx_driver_write_config(&w.d, 21, "\xee", 1), 0);
		ask();
		vhx_driver_forget_writes(&w.d);
		assert_int_equal(vhx_driver_write_config(&w.d, 22, "\xdd", 1), 0);
		if (lost)
			channel_lost();
		else
			assert_int_equal(answer(), 0);
		settle();
		assert_int_not_equal(w.config[21], 0xee);
		assert_int_equal(w.config[22], 0xdd);
		assert_running();
	}
}

static void test_config_write_waits_for_a_backend(void **state)
{
	start();
	settle();
	channel_lost();
	config_write_want();
	settle();
	assert_int_equal(w.config[20], 0xee);
	assert_int_equal(w.events[VHX_DRIVER_CONFIG_WRITTEN], 1);
}

static void test_config_that_never_rests_does_not_hold_up_a_reset(void **state)
{
	int i;

	start();
	settle();
	for (i = 0; i < 3; i++) {
		vhx_driver_config_event(&w.d);
		ask();
		assert_int_equal(answer(), 0);
	}
	w.d.active = false;
	for (i = 0; i < 3 && w.d.status; i++) {
		vhx_driver_config_event(&w.d);
		ask();
		assert_int_equal(answer(), 0);
	}
	assert_int_equal(w.d.status, 0);
}

/* Hostile answers. Each row spoils the answer to the nth request of its kind. */

static void info_no_queues(void *p)
{
	((struct virtio_msg_device_info *)p)->max_virtqueues = vhx_le32_of(0);
}

static void info_many_queues(void *p)
{
	((struct virtio_msg_device_info *)p)->max_virtqueues = vhx_le32_of(VHX_VDEV_QUEUES_MAX + 1);
}

static void info_16_bit_queues(void *p)
{
	((struct virtio_msg_device_info *)p)->max_virtqueues = vhx_le32_of(0x10001);
}

static void info_long_config(void *p)
{
	((struct virtio_msg_device_info *)p)->config_size = vhx_le32_of(VHX_DRIVER_CONFIG_MAX + 1);
}

static void features_short(void *p)
{
	w.resp.payload_len -= 4;
}

static void features_long(void *p)
{
	w.resp.payload_len += 4;
}

static void features_legacy(void *p)
{
	((vhx_le32 *)p)[3] = vhx_le32_of(0);
}

static void config_empty(void *p)
{
	((struct virtio_msg_config *)p)->length = vhx_le32_of(0);
}

static void config_elsewhere(void *p)
{
	((struct virtio_msg_config *)p)->offset = vhx_le32_of(1);
}

static void config_longer_than_message(void *p)
{
	w.resp.payload_len--;
}

static void config_longer_than_config(void *p)
{
	((struct virtio_msg_config *)p)->length = vhx_le32_of(7);
	w.resp.payload_len++;
}

static void config_huge(void *p)
{
	((struct virtio_msg_config *)p)->length = vhx_le32_of(UINT32_MAX);
}

static void status_not_reset(void *p)
{
	((struct virtio_msg_status *)p)->status = vhx_le32_of(1);
}

static void status_wide(void *p)
{
	((struct virtio_msg_status *)p)->status = vhx_le32_of(0x100);
}

static void status_nothing(void *p)
{
	((struct virtio_msg_status *)p)->status = vhx_le32_of(0);
}

static void open_refused(void *p)
{
	((struct virtio_msg_vhx_queue_open_resp *)p)->error = vhx_le32_of(1);
}

static void open_other_queue(void *p)
{
	((struct virtio_msg_vhx_queue_open_resp *)p)->index = vhx_le32_of(0x10000);
}

static void open_other_epoch(void *p)
{
	((struct virtio_msg_vhx_queue_open_resp *)p)->epoch = vhx_le32_of(0);
}

static void open_small_window(void *p)
{
	((struct virtio_msg_vhx_queue_open_resp *)p)->window = vhx_le32_of(255);
}

static void open_window_below_too_big(void *p)
{
	struct virtio_msg_vhx_queue_open_resp *o = p;

	o->max_out = vhx_le32_of(16);
	o->window = vhx_le32_of(0);
}

static const struct {
	uint8_t msg_id;
	int nth;
	void (*spoil)(void *payload);
	int ret;
} hostile[] = {
	{ VIRTIO_MSG_GET_DEVICE_INFO, 0, info_no_queues, -EPROTO },
	{ VIRTIO_MSG_GET_DEVICE_INFO, 0, info_many_queues, -EPROTO },
	{ VIRTIO_MSG_GET_DEVICE_INFO, 0, info_16_bit_queues, -EPROTO },
	{ VIRTIO_MSG_GET_DEVICE_INFO, 0, info_long_config, -EPROTO },
	{ VIRTIO_MSG_GET_DEVICE_FEATURES, 0, features_short, -EPROTO },
	{ VIRTIO_MSG_GET_DEVICE_FEATURES, 0, features_long, -EPROTO },
	{ VIRTIO_MSG_GET_DEVICE_FEATURES, 0, features_legacy, -EPROTO },
	{ VIRTIO_MSG_GET_CONFIG, 0, config_empty, -EPROTO },
	{ VIRTIO_MSG_GET_CONFIG, 0, config_elsewhere, -EPROTO },
	{ VIRTIO_MSG_GET_CONFIG, 0, config_longer_than_message, -EPROTO },
	{ VIRTIO_MSG_GET_CONFIG, 1, config_longer_than_config, -EPROTO },
	{ VIRTIO_MSG_GET_CONFIG, 1, config_huge, -EPROTO },
	{ VIRTIO_MSG_SET_DEVICE_STATUS, 0, status_not_reset, -EPROTO },
	{ VIRTIO_MSG_SET_DEVICE_STATUS, 0, status_wide, -EPROTO },
	{ VIRTIO_MSG_SET_DEVICE_STATUS, 1, status_nothing, -EPROTO },
	{ VIRTIO_MSG_SET_DEVICE_STATUS, 2, status_nothing, -ESTALE },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, 0, open_refused, -EDOM },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, 0, open_other_queue, -EPROTO },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, 1, open_other_epoch, -EPROTO },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, 0, open_small_window, -EPROTO },
	{ VIRTIO_MSG_VHX_QUEUE_OPEN, 1, open_window_below_too_big, -EPROTO },
};

static void hostile_try(size_t row)
{
	int nth = hostile[row].nth;

	world_new(NULL);
	w.d.features = FEATURES;
	w.d.active = true;
	queue_want(0, 128);
	queue_want(2, 64);
	while (ask()) {
		if (w.d.request.bus || w.asked[w.steps - 1] != hostile[row].msg_id || nth--) {
			assert_int_equal(answer(), 0);
			continue;
		}
		hostile[row].spoil(w.resp.payload);
		assert_int_equal(answer(), hostile[row].ret);
		/* And the next backend is a good one. */
		channel_lost();
		settle();
		assert_running();
		return;
	}
	fail();
}

static void test_hostile_answers(void **state)
{
	for (size_t i = 0; i < VHX_ARRAY_SIZE(hostile); i++)
		hostile_try(i);
}

static void test_partial_config_write(void **state)
{
	struct virtio_msg_config *c = (void *)w.resp.payload;

	start();
	settle();
	w.d.config_write.set = true;
	w.d.config_write.len = 4;
	ask();
	c->length = vhx_le32_of(3);
	assert_int_equal(answer(), -EPROTO);
}

/* A device that claims bits nobody asked for does not run before it was told to. */
static void test_running_is_not_announced_early(void **state)
{
	struct virtio_msg_status *s = (void *)w.resp.payload;

	start();
	while (ask() && w.asked[w.steps - 1] != VIRTIO_MSG_SET_DRIVER_FEATURES) {
		if (w.asked[w.steps - 1] == VIRTIO_MSG_SET_DEVICE_STATUS && vhx_le32_get(s->status))
			s->status = vhx_le32_of(0xff);
		assert_int_equal(answer(), 0);
	}
	assert_int_equal(w.events[VHX_DRIVER_RUNNING], 0);
	assert_int_equal(answer(), 0);
	settle();
	assert_int_equal(w.events[VHX_DRIVER_RUNNING], 1);
	assert_running();
}

#define T(name) cmocka_unit_test_setup(name, world_new)

/* A channel tells its devices apart by the high bits: counting must not carry into them. */
static void test_token_keeps_the_bits_that_are_not_its_own(void **state)
{
	const struct vhx_control *req;
	struct vhx_driver d;
	int i;

	vhx_driver_init(&d, "");
	d.token = 5 << VHX_DRIVER_TOKEN_SHIFT;
	for (i = 0; i < 3000; i++) {
		assert_true(vhx_driver_next(&d, &req));
		assert_int_equal(req->token >> VHX_DRIVER_TOKEN_SHIFT, 5);
		vhx_driver_lost(&d);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_first_start_is_this_walk),
		T(test_only_one_request_at_a_time),
		T(test_ring_features_do_not_cross),
		T(test_device_without_config),
		T(test_config_event_of_device_without_config),
		T(test_late_queue),
		T(test_queue_closed_and_opened_again),
		T(test_recycled_queue_is_closed_first),
		T(test_size_changed_while_the_queue_is_being_opened),
		T(test_queue_no_longer_wanted_while_being_opened),
		T(test_features_changed_while_active),
		T(test_features_changed_at_every_step),
		T(test_stopped_at_every_step),
		T(test_channel_lost_at_every_step),
		T(test_answer_of_the_dead_backend_is_ignored),
		T(test_answers_that_answer_nothing),
		T(test_attach_errors),
		T(test_attach_name_without_end),
		T(test_cache_identity_changed),
		T(test_another_device_comes_back),
		T(test_features_ok_not_confirmed),
		T(test_config_changed_while_the_backend_was_away),
		T(test_config_event),
		T(test_config_changes_in_the_middle_of_reading),
		T(test_config_write),
		T(test_config_write_goes_to_a_replaced_backend),
		T(test_config_write_is_told_again_behind_the_features),
		T(test_config_write_waits_for_the_features_of_a_replaced_backend),
		T(test_config_write_is_over_with_a_driver_of_other_features),
		T(test_config_write_of_the_last_driver_is_not_sent),
		T(test_config_write_of_the_last_driver_is_not_kept),
		T(test_config_write_of_the_last_driver_is_not_sent_again),
		T(test_config_write_waits_behind_that_of_the_last_driver),
		T(test_config_write_waits_for_a_backend),
		T(test_config_that_never_rests_does_not_hold_up_a_reset),
		T(test_hostile_answers),
		T(test_partial_config_write),
		T(test_running_is_not_announced_early),
		T(test_token_keeps_the_bits_that_are_not_its_own),
	};

	return cmocka_run_group_tests_name("driver", tests, NULL, NULL);
}
