// SPDX-License-Identifier: BSD-3-Clause
/* The device's state machine, request by request: what each changes, and what an invalid one does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/vdev.h"

#define QUEUES 3
#define QUEUE_MAX 128
#define CONFIG_LEN 300
#define FEATURES (VHX_FEATURES_CROSSING | 0x55)
#define S_FEATURES_OK (VHX_STATUS_ACKNOWLEDGE | VHX_STATUS_DRIVER | VHX_STATUS_FEATURES_OK)

/* A device, what it was told, and how it behaves. */
static struct {
	struct vhx_vdev d;
	struct vhx_control req, resp;
	uint8_t config[CONFIG_LEN];
	uint64_t features_told;
	int features_ret, config_ret;
	int set_features, set_config, opened, queue_resets, device_resets;
	uint16_t opened_index, opened_size, reset_index;
	uint32_t opened_epoch;
	bool reset_at_once, reset_answered;
} w;

static int on_set_features(void *ctx, uint64_t features)
{
	w.set_features++;
	w.features_told = features;
	return w.features_ret;
}

static int on_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	w.set_config++;
	assert_true(vhx_range_within(off, len, CONFIG_LEN));
	if (!w.config_ret)
		memcpy(w.config + off, buf, len);
	return w.config_ret;
}

static void on_queue_open(void *ctx, uint16_t index, uint16_t size, uint32_t epoch)
{
	w.opened++;
	w.opened_index = index;
	w.opened_size = size;
	w.opened_epoch = epoch;
}

static void on_queue_reset(void *ctx, uint16_t index)
{
	w.queue_resets++;
	w.reset_index = index;
	if (w.reset_at_once)
		w.reset_answered = vhx_vdev_queue_reset_done(&w.d, index, &w.resp);
}

static void on_device_reset(void *ctx)
{
	w.device_resets++;
	if (w.reset_at_once)
		w.reset_answered = vhx_vdev_reset_done(&w.d, &w.resp);
}

static void on_limits(void *ctx, uint16_t index, struct vhx_vdev_limits *l)
{
	*l = (struct vhx_vdev_limits){ 1000, 2000, 16, 10u + index };
}

static const struct vhx_vdev_ops ops = {
	.set_features = on_set_features,
	.set_config = on_set_config,
	.queue_open = on_queue_open,
	.queue_reset = on_queue_reset,
	.device_reset = on_device_reset,
	.limits = on_limits,
};

static int device_new(void **state)
{
	memset(&w, 0, sizeof(w));
	vhx_vdev_init(&w.d, &ops, &w);
	w.d.device_id = 2;
	memset(w.d.uuid, 0xab, sizeof(w.d.uuid));
	w.d.features = FEATURES;
	w.d.num_queues = QUEUES;
	w.d.queue_size_max = QUEUE_MAX;
	w.d.config = w.config;
	w.d.config_len = CONFIG_LEN;
	for (uint32_t i = 0; i < CONFIG_LEN; i++)
		w.config[i] = (uint8_t)(i * 7);
	return 0;
}

static void *begin(uint8_t msg_id, uint16_t len)
{
	static uint16_t token;
	void *payload = vhx_control_request(&w.req, false, msg_id, 5, len);

	w.req.token = ++token;
	return payload;
}

/* NULL: no answer. */
static const void *ask(void)
{
	if (!vhx_vdev_request(&w.d, &w.req, &w.resp))
		return NULL;
	assert_true(w.resp.response);
	assert_int_equal(w.resp.token, w.req.token);
	assert_int_equal(w.resp.dev_num, 5);
	assert_int_equal(w.resp.msg_id, w.req.msg_id);
	return w.resp.payload;
}

static int status_set(uint32_t status)
{
	struct virtio_msg_status *s = begin(VIRTIO_MSG_SET_DEVICE_STATUS, sizeof(*s));
	const struct virtio_msg_status *r;

	s->status = vhx_le32_of(status);
	r = ask();
	return r ? (int)vhx_le32_get(r->status) : -1;
}

static int status_get(void)
{
	const struct virtio_msg_status *r;

	begin(VIRTIO_MSG_GET_DEVICE_STATUS, 0);
	r = ask();
	return (int)vhx_le32_get(r->status);
}

static void features_set(uint32_t index, uint32_t cnt, const uint32_t *words, uint32_t present)
{
	struct virtio_msg_features *f = begin(VIRTIO_MSG_SET_DRIVER_FEATURES,
					      (uint16_t)(sizeof(*f) + 4 * present));
	vhx_le32 *to = (void *)(f + 1);

	f->block_index = vhx_le32_of(index);
	f->num_blocks = vhx_le32_of(cnt);
	for (uint32_t i = 0; i < present; i++)
		to[i] = vhx_le32_of(words[i]);
	assert_non_null(ask());
	assert_int_equal(w.resp.payload_len, 0);
}

static void features_take(uint64_t features)
{
	uint32_t words[2] = { (uint32_t)features, (uint32_t)(features >> 32) };

	features_set(0, 2, words, 2);
}

static void vqueue_set(uint32_t index, uint32_t size, uint32_t flags)
{
	struct virtio_msg_set_vqueue *v = begin(VIRTIO_MSG_SET_VQUEUE, sizeof(*v));

	v->index = vhx_le32_of(index);
	v->size = vhx_le32_of(size);
	v->flags = vhx_le32_of(flags);
	assert_non_null(ask());
}

static const struct virtio_msg_get_vqueue_resp *vqueue_get(uint32_t index)
{
	struct virtio_msg_vq_index *v = begin(VIRTIO_MSG_GET_VQUEUE, sizeof(*v));

	v->index = vhx_le32_of(index);
	return ask();
}

static const struct virtio_msg_vhx_queue_open_resp *queue_open(uint32_t index, uint32_t epoch)
{
	struct virtio_msg_vhx_queue_open *o = begin(VIRTIO_MSG_VHX_QUEUE_OPEN, sizeof(*o));

	o->index = vhx_le32_of(index);
	o->epoch = vhx_le32_of(epoch);
	return ask();
}

static bool queue_reset(uint32_t index)
{
	struct virtio_msg_vq_index *v = begin(VIRTIO_MSG_RESET_VQUEUE, sizeof(*v));

	v->index = vhx_le32_of(index);
	return ask();
}

static void features_ok(void)
{
	features_take(FEATURES);
	assert_int_equal(status_set(S_FEATURES_OK), S_FEATURES_OK);
}

static void queue_up(uint32_t index)
{
	vqueue_set(index, 64, VIRTIO_MSG_VQ_ENABLE);
	assert_int_equal(vhx_le32_get(queue_open(index, 9)->error), 0);
}

static void test_device_info(void **state)
{
	const struct virtio_msg_device_info *i;

	begin(VIRTIO_MSG_GET_DEVICE_INFO, 0);
	i = ask();
	assert_int_equal(w.resp.payload_len, 44);
	assert_int_equal(vhx_le32_get(i->device_id), 2);
	assert_memory_equal(i->uuid, w.d.uuid, 16);
	assert_int_equal(vhx_le32_get(i->num_feature_blocks), 2);
	assert_int_equal(vhx_le32_get(i->config_size), CONFIG_LEN);
	assert_int_equal(vhx_le32_get(i->max_virtqueues), QUEUES);
	assert_int_equal(vhx_le32_get(i->admin_vq_count), 0);
}

static uint32_t features_get(uint32_t index, uint32_t cnt, const vhx_le32 **words)
{
	struct virtio_msg_features *f = begin(VIRTIO_MSG_GET_DEVICE_FEATURES, sizeof(*f));
	const struct virtio_msg_features *r;

	f->block_index = vhx_le32_of(index);
	f->num_blocks = vhx_le32_of(cnt);
	r = ask();
	*words = (const void *)(r + 1);
	assert_int_equal(vhx_le32_get(r->block_index), index);
	assert_int_equal(w.resp.payload_len, 8 + 4 * vhx_le32_get(r->num_blocks));
	return vhx_le32_get(r->num_blocks);
}

static void test_device_features_by_block(void **state)
{
	const vhx_le32 *words;

	assert_int_equal(features_get(0, 2, &words), 2);
	assert_int_equal(vhx_le32_get(words[0]), (uint32_t)FEATURES);
	assert_int_equal(vhx_le32_get(words[1]), FEATURES >> 32);
	assert_int_equal(features_get(1, 1, &words), 1);
	assert_int_equal(vhx_le32_get(words[0]), FEATURES >> 32);
}

static void test_feature_blocks_beyond_the_last_read_as_zero(void **state)
{
	const vhx_le32 *words;

	assert_int_equal(features_get(1, 3, &words), 3);
	assert_int_equal(vhx_le32_get(words[1]) | vhx_le32_get(words[2]), 0);
	assert_int_equal(features_get(UINT32_MAX, 2, &words), 2);
	assert_int_equal(vhx_le32_get(words[0]) | vhx_le32_get(words[1]), 0);
}

static void test_more_feature_blocks_than_fit_are_cut(void **state)
{
	const vhx_le32 *words;

	assert_int_equal(features_get(0, UINT32_MAX, &words), (264 - 8 - 8) / 4);
}

static void test_status_sequence(void **state)
{
	assert_int_equal(status_get(), 0);
	assert_int_equal(status_set(VHX_STATUS_ACKNOWLEDGE), VHX_STATUS_ACKNOWLEDGE);
	assert_int_equal(status_set(VHX_STATUS_DRIVER), 3);
	features_take(FEATURES);
	assert_int_equal(status_set(11), 11);
	assert_int_equal(w.features_told, FEATURES);
	assert_int_equal(status_set(15), 15);
	assert_int_equal(w.set_features, 1);
	assert_int_equal(status_get(), 15);
}

static void test_status_bits_are_only_added(void **state)
{
	features_ok();
	assert_int_equal(status_set(VHX_STATUS_DRIVER_OK), 15);
	assert_int_equal(status_set(VHX_STATUS_FAILED), 15 | VHX_STATUS_FAILED);
}

static void test_status_wider_than_a_byte_is_no_reset(void **state)
{
	features_ok();
	assert_int_equal(status_set(0x100), S_FEATURES_OK);
	assert_int_equal(status_set(0x104), S_FEATURES_OK);
	assert_int_equal(w.device_resets, 0);
}

static void test_features_ok_refused(void **state)
{
	/* A bit that was not offered */
	features_take(FEATURES | 0x2);
	assert_int_equal(status_set(S_FEATURES_OK), 3);
	/* No VERSION_1 */
	features_take(0x55);
	assert_int_equal(status_set(S_FEATURES_OK), 3);
	assert_int_equal(w.set_features, 0);
	/* The model itself */
	w.features_ret = -EINVAL;
	features_take(FEATURES);
	assert_int_equal(status_set(S_FEATURES_OK), 3);
	assert_int_equal(w.set_features, 1);
	w.features_ret = 0;
	assert_int_equal(status_set(S_FEATURES_OK), S_FEATURES_OK);
}

static void test_features_are_fixed_by_features_ok(void **state)
{
	features_ok();
	features_take(VHX_FEATURE_VERSION_1);
	assert_true(w.d.driver_features == FEATURES);
}

static void test_driver_features_by_block(void **state)
{
	uint32_t words[64] = { 0x11111111, 0x22222222, 0x33333333 };

	features_set(1, 1, words, 1);
	assert_true(w.d.driver_features == 0x1111111100000000);
	features_set(0, 3, words, 3);
	assert_true(w.d.driver_features == 0x2222222211111111);
	/* Blocks beyond ours, words that are announced and not there, words that wrap around */
	features_set(2, 2, words, 2);
	features_set(0, UINT32_MAX, words, 0);
	features_set(UINT32_MAX, 3, words, 3);
	assert_true(w.d.driver_features == 0x2222222211111111);
	features_set(0, UINT32_MAX, words + 2, 1);
	assert_true(w.d.driver_features == 0x2222222233333333);
}

static uint32_t config_get(uint32_t off, uint32_t len)
{
	struct virtio_msg_get_config *g = begin(VIRTIO_MSG_GET_CONFIG, sizeof(*g));
	const struct virtio_msg_config *r;
	uint32_t got;

	g->offset = vhx_le32_of(off);
	g->length = vhx_le32_of(len);
	r = ask();
	got = vhx_le32_get(r->length);
	assert_int_equal(vhx_le32_get(r->offset), off);
	assert_int_equal(w.resp.payload_len, sizeof(*r) + got);
	if (got)
		assert_memory_equal(r + 1, w.config + off, got);
	return got;
}

static void test_get_config_chunks(void **state)
{
	assert_int_equal(config_get(0, 1), 1);
	assert_int_equal(config_get(0, 244), 244);
	assert_int_equal(config_get(244, 56), 56);
	assert_int_equal(config_get(299, 1), 1);
}

static void test_get_config_out_of_bounds(void **state)
{
	assert_int_equal(config_get(0, 245), 0);
	assert_int_equal(config_get(300, 1), 0);
	assert_int_equal(config_get(299, 2), 0);
	assert_int_equal(config_get(UINT32_MAX, 2), 0);
	assert_int_equal(config_get(0, UINT32_MAX), 0);
}

static uint32_t config_set(uint32_t off, uint32_t len, uint32_t present)
{
	struct virtio_msg_config *s = begin(VIRTIO_MSG_SET_CONFIG,
					    (uint16_t)(sizeof(*s) + present));
	const struct virtio_msg_config *r;

	s->offset = vhx_le32_of(off);
	s->length = vhx_le32_of(len);
	memset(s + 1, 0x5a, present);
	r = ask();
	assert_int_equal(w.resp.payload_len, sizeof(*r) + vhx_le32_get(r->length));
	return vhx_le32_get(r->length);
}

static void test_set_config(void **state)
{
	assert_int_equal(config_set(10, 4, 4), 4);
	assert_int_equal(w.config[10], 0x5a);
	assert_int_equal(w.config[13], 0x5a);
	assert_int_equal(w.config[14], (uint8_t)(14 * 7));
	assert_int_equal(config_set(0, 244, 244), 244);
}

static void test_set_config_refused_has_length_0(void **state)
{
	w.config_ret = -EPERM;
	assert_int_equal(config_set(10, 4, 4), 0);
	w.config_ret = 0;
	w.set_config = 0;
	/* More announced than there, and out of bounds: never asked of the model */
	assert_int_equal(config_set(10, 5, 4), 0);
	assert_int_equal(config_set(0, UINT32_MAX, 4), 0);
	assert_int_equal(config_set(298, 4, 4), 0);
	assert_int_equal(config_set(UINT32_MAX, 4, 4), 0);
	assert_int_equal(w.set_config, 0);
}

static void test_config_generation(void **state)
{
	const struct virtio_msg_event_config *e = (const void *)w.resp.payload;
	const struct virtio_msg_config *c = (const void *)w.resp.payload;
	uint32_t before = w.d.generation;

	status_set(VHX_STATUS_ACKNOWLEDGE);
	vhx_vdev_config_event(&w.d, 5, &w.resp);
	assert_int_equal(w.resp.msg_id, VIRTIO_MSG_EVENT_CONFIG);
	assert_false(w.resp.response);
	assert_int_equal(w.resp.dev_num, 5);
	assert_int_equal(vhx_le32_get(e->generation), before + 1);
	assert_int_equal(vhx_le32_get(e->device_status), VHX_STATUS_ACKNOWLEDGE);
	config_get(0, 1);
	assert_int_equal(vhx_le32_get(c->generation), before + 1);
	/* It survives a reset. */
	w.reset_at_once = true;
	status_set(0);
	config_get(0, 1);
	assert_int_equal(vhx_le32_get(c->generation), before + 1);
}

static void test_queue_setup(void **state)
{
	const struct virtio_msg_get_vqueue_resp *v;

	features_ok();
	vqueue_set(1, 100, VIRTIO_MSG_VQ_ENABLE);
	v = vqueue_get(1);
	assert_int_equal(vhx_le32_get(v->index), 1);
	assert_int_equal(vhx_le32_get(v->max_size), QUEUE_MAX);
	assert_int_equal(vhx_le32_get(v->cur_size), 100);
	assert_int_equal(vhx_le32_get(v->flags), VIRTIO_MSG_VQ_ENABLE);
	/* Another size before it is open */
	vqueue_set(1, QUEUE_MAX, VIRTIO_MSG_VQ_ENABLE);
	assert_int_equal(vhx_le32_get(vqueue_get(1)->cur_size), QUEUE_MAX);
}

static void test_get_vqueue_out_of_range_is_all_zero(void **state)
{
	static const uint8_t zeroes[40];

	assert_memory_equal(vqueue_get(QUEUES), zeroes, sizeof(zeroes));
	assert_int_equal(w.resp.payload_len, sizeof(zeroes));
	assert_memory_equal(vqueue_get(UINT32_MAX), zeroes, sizeof(zeroes));
}

static void test_invalid_queue_setup_changes_nothing(void **state)
{
	vqueue_set(0, 64, VIRTIO_MSG_VQ_ENABLE); /* before FEATURES_OK */
	assert_int_equal(w.d.queues[0].size, 0);
	features_ok();
	vqueue_set(0, 0, VIRTIO_MSG_VQ_ENABLE);
	vqueue_set(0, QUEUE_MAX + 1, VIRTIO_MSG_VQ_ENABLE);
	vqueue_set(0, 0x10040, VIRTIO_MSG_VQ_ENABLE);
	vqueue_set(0, 64, 0);
	vqueue_set(0, 64, 3);
	vqueue_set(QUEUES, 64, VIRTIO_MSG_VQ_ENABLE);
	vqueue_set(UINT32_MAX, 64, VIRTIO_MSG_VQ_ENABLE);
	for (int i = 0; i < QUEUES; i++)
		assert_false(w.d.queues[i].size || w.d.queues[i].enabled);
	queue_up(0);
	vqueue_set(0, 32, VIRTIO_MSG_VQ_ENABLE); /* open */
	assert_int_equal(w.d.queues[0].size, 64);
}

static void test_queue_open(void **state)
{
	const struct virtio_msg_vhx_queue_open_resp *o;

	features_ok();
	vqueue_set(2, 64, VIRTIO_MSG_VQ_ENABLE);
	o = queue_open(2, 0xdeadbeef);
	assert_int_equal(vhx_le32_get(o->index), 2);
	assert_int_equal(vhx_le32_get(o->epoch), 0xdeadbeef);
	assert_int_equal(vhx_le32_get(o->error), 0);
	assert_int_equal(vhx_le32_get(o->max_out), 1000);
	assert_int_equal(vhx_le32_get(o->max_in), 2000);
	assert_int_equal(vhx_le32_get(o->head_len), 16);
	assert_int_equal(vhx_le32_get(o->window), 12);
	assert_int_equal(w.opened_index, 2);
	assert_int_equal(w.opened_size, 64);
	assert_int_equal(w.opened_epoch, 0xdeadbeef);
}

static void test_queue_open_refused(void **state)
{
	features_ok();
	assert_int_equal(vhx_le32_get(queue_open(0, 1)->error), 1); /* not set up */
	assert_int_equal(vhx_le32_get(queue_open(QUEUES, 1)->error), 1);
	assert_int_equal(vhx_le32_get(queue_open(UINT32_MAX, 1)->error), 1);
	queue_up(0);
	assert_int_equal(vhx_le32_get(queue_open(0, 10)->error), 1); /* open already */
	assert_int_equal(w.d.queues[0].epoch, 9);
	queue_reset(0);
	assert_int_equal(vhx_le32_get(queue_open(0, 10)->error), 1); /* resetting */
	vqueue_set(1, 64, VIRTIO_MSG_VQ_ENABLE);
	status_set(0);
	assert_int_equal(vhx_le32_get(queue_open(1, 10)->error), 1); /* the device is */
	assert_int_equal(w.opened, 1);
}

static void test_queue_reset_that_ends_later(void **state)
{
	struct vhx_control later;
	uint16_t token;

	features_ok();
	queue_up(1);
	assert_false(queue_reset(1));
	token = w.req.token;
	assert_int_equal(w.reset_index, 1);
	assert_int_equal(status_get(), S_FEATURES_OK); /* others are served */
	assert_true(vhx_vdev_queue_reset_done(&w.d, 1, &later));
	assert_int_equal(later.token, token);
	assert_int_equal(later.msg_id, VIRTIO_MSG_RESET_VQUEUE);
	assert_true(later.response);
	assert_int_equal(vhx_le32_get(vqueue_get(1)->flags), 0);
	queue_up(1);
	assert_int_equal(w.opened, 2);
}

static void test_queue_reset_that_ends_at_once(void **state)
{
	features_ok();
	queue_up(1);
	w.reset_at_once = true;
	assert_false(queue_reset(1));
	assert_true(w.reset_answered);
	assert_int_equal(w.resp.token, w.req.token);
	assert_false(w.d.queues[1].resetting || w.d.queues[1].enabled);
}

static void test_repeated_queue_reset_is_one(void **state)
{
	struct vhx_control later;

	features_ok();
	queue_up(1);
	queue_reset(1);
	queue_reset(1);
	assert_int_equal(w.queue_resets, 1);
	assert_true(vhx_vdev_queue_reset_done(&w.d, 1, &later));
	assert_int_equal(later.token, w.req.token);
	assert_false(vhx_vdev_queue_reset_done(&w.d, 1, &later));
}

static void test_queue_reset_of_no_queue(void **state)
{
	features_ok();
	assert_true(queue_reset(QUEUES));
	assert_int_equal(w.queue_resets, 0);
}

/* An answer would say that the queue is fenced. */
static void test_queue_reset_that_nobody_does_is_not_answered(void **state)
{
	features_take(FEATURES & ~VHX_FEATURE_RING_RESET);
	status_set(S_FEATURES_OK);
	queue_up(0);
	assert_false(queue_reset(0));
	status_set(0);
	assert_false(queue_reset(0));
	assert_int_equal(w.queue_resets, 0);
}

static void test_device_reset_that_ends_later(void **state)
{
	const struct virtio_msg_status *s;
	struct vhx_control later;
	uint16_t token;

	features_ok();
	queue_up(0);
	assert_int_equal(status_set(0), -1);
	token = w.req.token;
	/* Answered from the state as it is; nothing is added to it. */
	assert_int_equal(status_get(), S_FEATURES_OK);
	assert_int_equal(status_set(15), S_FEATURES_OK);
	assert_int_equal(w.d.status, S_FEATURES_OK);
	assert_true(vhx_vdev_reset_done(&w.d, &later));
	s = (const void *)later.payload;
	assert_int_equal(later.token, token);
	assert_int_equal(vhx_le32_get(s->status), 0);
	assert_int_equal(status_get(), 0);
	assert_true(w.d.driver_features == 0);
	assert_false(w.d.queues[0].open || w.d.queues[0].enabled || w.d.queues[0].size);
	features_ok();
	queue_up(0);
}

static void test_device_reset_that_ends_at_once(void **state)
{
	features_ok();
	w.reset_at_once = true;
	assert_int_equal(status_set(0), -1);
	assert_true(w.reset_answered);
	assert_int_equal(w.resp.token, w.req.token);
	assert_int_equal(status_get(), 0);
}

static void test_repeated_device_reset_is_one(void **state)
{
	struct vhx_control later;

	status_set(0);
	status_set(0);
	assert_int_equal(w.device_resets, 1);
	assert_true(vhx_vdev_reset_done(&w.d, &later));
	assert_int_equal(later.token, w.req.token);
	status_set(0);
	assert_int_equal(w.device_resets, 2);
}

static void test_device_reset_overtakes_queue_reset(void **state)
{
	struct vhx_control later;

	features_ok();
	queue_up(0);
	queue_reset(0);
	status_set(0);
	assert_false(vhx_vdev_queue_reset_done(&w.d, 0, &later));
	assert_true(vhx_vdev_reset_done(&w.d, &later));
	assert_int_equal(later.msg_id, VIRTIO_MSG_SET_DEVICE_STATUS);
	assert_false(w.d.queues[0].resetting);
}

static void test_orphan_in_the_middle_of_resets(void **state)
{
	struct vhx_control later;

	features_ok();
	queue_up(0);
	queue_up(1);
	queue_reset(0);
	status_set(0);
	vhx_vdev_orphan(&w.d);
	assert_int_equal(w.d.status, 0);
	assert_false(w.d.resetting || w.d.queues[0].resetting || w.d.queues[1].open);
	/* The ends of what was under way answer nobody. */
	assert_false(vhx_vdev_queue_reset_done(&w.d, 0, &later));
	assert_false(vhx_vdev_reset_done(&w.d, &later));
	features_ok();
	queue_up(0);
}

static void test_get_shm_has_no_region(void **state)
{
	struct virtio_msg_vq_index *v = begin(VIRTIO_MSG_GET_SHM, sizeof(*v));
	const struct virtio_msg_shm *r;

	v->index = vhx_le32_of(3);
	r = ask();
	assert_int_equal(vhx_le32_get(r->shmid), 3);
	assert_true(vhx_le64_get(r->length) == 0 && vhx_le64_get(r->address) == 0);
}

static void test_events_from_a_driver_are_not_answered(void **state)
{
	begin(VIRTIO_MSG_EVENT_CONFIG, 16);
	assert_null(ask());
	begin(0x41, 8);
	assert_null(ask());
}

#define T(name) cmocka_unit_test_setup(name, device_new)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_device_info),
		T(test_device_features_by_block),
		T(test_feature_blocks_beyond_the_last_read_as_zero),
		T(test_more_feature_blocks_than_fit_are_cut),
		T(test_status_sequence),
		T(test_status_bits_are_only_added),
		T(test_status_wider_than_a_byte_is_no_reset),
		T(test_features_ok_refused),
		T(test_features_are_fixed_by_features_ok),
		T(test_driver_features_by_block),
		T(test_get_config_chunks),
		T(test_get_config_out_of_bounds),
		T(test_set_config),
		T(test_set_config_refused_has_length_0),
		T(test_config_generation),
		T(test_queue_setup),
		T(test_get_vqueue_out_of_range_is_all_zero),
		T(test_invalid_queue_setup_changes_nothing),
		T(test_queue_open),
		T(test_queue_open_refused),
		T(test_queue_reset_that_ends_later),
		T(test_queue_reset_that_ends_at_once),
		T(test_repeated_queue_reset_is_one),
		T(test_queue_reset_of_no_queue),
		T(test_queue_reset_that_nobody_does_is_not_answered),
		T(test_device_reset_that_ends_later),
		T(test_device_reset_that_ends_at_once),
		T(test_repeated_device_reset_is_one),
		T(test_device_reset_overtakes_queue_reset),
		T(test_orphan_in_the_middle_of_resets),
		T(test_get_shm_has_no_region),
		T(test_events_from_a_driver_are_not_answered),
	};

	return cmocka_run_group_tests_name("vdev", tests, NULL, NULL);
}
