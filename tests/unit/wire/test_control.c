// SPDX-License-Identifier: BSD-3-Clause
/*
 * virtio-msg framing: header bytes, and for every message in each direction the payload sizes that are
 * taken. The sizes stand here as numbers of the draft's table, not as sizeof.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/control.h"

#define PAYLOAD_MAX 256

static void test_control_bytes(void **state)
{
	static const uint8_t bytes[] = {
		0x00, /* type: request, transport */
		0x05, /* GET_CONFIG */
		0x02, 0x01, /* dev_num */
		0x04, 0x03, /* token */
		0x10, 0x00, /* msg_size: header and payload */
		0x08, 0x00, 0x00, 0x00, /* offset */
		0x24, 0x00, 0x00, 0x00, /* length */
	};
	struct virtio_msg_get_config *g;
	uint8_t wire[VIRTIO_MSG_MAX];
	struct vhx_control c, back;

	g = vhx_control_request(&c, false, VIRTIO_MSG_GET_CONFIG, 0x0102, sizeof(*g));
	g->offset = vhx_le32_of(8);
	g->length = vhx_le32_of(36);
	c.token = 0x0304;
	assert_int_equal(vhx_control_encode(wire, &c), sizeof(bytes));
	assert_memory_equal(wire, bytes, sizeof(bytes));
	assert_int_equal(vhx_control_decode(wire, sizeof(bytes), &back), 0);
	assert_false(back.bus || back.response);
	assert_int_equal(back.msg_id, VIRTIO_MSG_GET_CONFIG);
	assert_int_equal(back.dev_num, 0x0102);
	assert_int_equal(back.token, 0x0304);
	assert_int_equal(back.payload_len, 8);
	assert_memory_equal(back.payload, bytes + 8, 8);
}

static void test_response_carries_token_and_device(void **state)
{
	static const uint8_t bytes[] = {
		0x03, /* type: response, bus */
		0x03, /* PING */
		0x00, 0x00, 0xaa, 0x55, /* token, copied */
		0x0c, 0x00, 0x78, 0x56, 0x34, 0x12,
	};
	struct vhx_control req, resp;
	struct virtio_msg_ping *p;
	uint8_t wire[VIRTIO_MSG_MAX];

	vhx_control_request(&req, true, VIRTIO_MSG_BUS_PING, 0, sizeof(*p));
	req.token = 0x55aa;
	p = vhx_control_response(&resp, &req, sizeof(*p));
	p->data = vhx_le32_of(0x12345678);
	assert_int_equal(vhx_control_encode(wire, &resp), sizeof(bytes));
	assert_memory_equal(wire, bytes, sizeof(bytes));
}

static void test_attach_response_bytes(void **state)
{
	struct virtio_msg_vhx_attach_resp a = {
		.error = vhx_le32_of(VHX_ATTACH_BUSY),
		.dev_num = vhx_le16_of(0x0708),
		.cache_id = { [0] = 0x11, [15] = 0x22 },
		.name = "disk0",
	};
	uint8_t bytes[88] = {
		2, 0, 0, 0, 8, 7, 0, 0, [8] = 0x11, [23] = 0x22, [24] = 'd', 'i', 's', 'k', '0'
	};

	assert_int_equal(sizeof(a), sizeof(bytes));
	assert_memory_equal(&a, bytes, sizeof(bytes));
}

static void test_queue_open_bytes(void **state)
{
	struct virtio_msg_vhx_queue_open_resp o = {
		.index = vhx_le32_of(1),
		.epoch = vhx_le32_of(2),
		.error = vhx_le32_of(3),
		.max_out = vhx_le32_of(4),
		.max_in = vhx_le32_of(5),
		.head_len = vhx_le32_of(6),
		.window = vhx_le32_of(7),
	};
	static const uint8_t bytes[32] = { 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0,
					   0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0 };

	assert_int_equal(sizeof(o), sizeof(bytes));
	assert_memory_equal(&o, bytes, sizeof(bytes));
}

static void test_get_device_info_bytes(void **state)
{
	struct virtio_msg_device_info i = {
		.device_id = vhx_le32_of(2),
		.vendor_id = vhx_le32_of(1),
		.uuid = { [0] = 0xaa, [15] = 0xbb },
		.num_feature_blocks = vhx_le32_of(3),
		.config_size = vhx_le32_of(4),
		.max_virtqueues = vhx_le32_of(5),
		.admin_vq_start = vhx_le32_of(6),
		.admin_vq_count = vhx_le32_of(7),
	};
	static const uint8_t bytes[44] = {
		2,    0,	   0,	     0,	       1,	 0,	   0,	    0,
		0xaa, [23] = 0xbb, [24] = 3, [28] = 4, [32] = 5, [36] = 6, [40] = 7
	};

	assert_int_equal(sizeof(i), sizeof(bytes));
	assert_memory_equal(&i, bytes, sizeof(bytes));
}

struct size_row {
	bool bus, response;
	uint8_t msg_id;
	uint16_t min, max;
};

static const struct size_row sizes[] = {
	{ false, false, 0x02, 0, 0 }, /* GET_DEVICE_INFO */
	{ false, true, 0x02, 44, 44 },
	{ false, false, 0x03, 8, 8 }, /* GET_DEVICE_FEATURES */
	{ false, true, 0x03, 8, PAYLOAD_MAX },
	{ false, false, 0x04, 8, PAYLOAD_MAX }, /* SET_DRIVER_FEATURES */
	{ false, true, 0x04, 0, 0 },
	{ false, false, 0x05, 8, 8 }, /* GET_CONFIG */
	{ false, true, 0x05, 12, PAYLOAD_MAX },
	{ false, false, 0x06, 12, PAYLOAD_MAX }, /* SET_CONFIG */
	{ false, true, 0x06, 12, PAYLOAD_MAX },
	{ false, false, 0x07, 0, 0 }, /* GET_DEVICE_STATUS */
	{ false, true, 0x07, 4, 4 },
	{ false, false, 0x08, 4, 4 }, /* SET_DEVICE_STATUS */
	{ false, true, 0x08, 4, 4 },
	{ false, false, 0x09, 4, 4 }, /* GET_VQUEUE */
	{ false, true, 0x09, 40, 40 },
	{ false, false, 0x0a, 40, 40 }, /* SET_VQUEUE */
	{ false, true, 0x0a, 0, 0 },
	{ false, false, 0x0b, 4, 4 }, /* RESET_VQUEUE */
	{ false, true, 0x0b, 0, 0 },
	{ false, false, 0x0c, 4, 4 }, /* GET_SHM */
	{ false, true, 0x0c, 24, 24 },
	{ false, false, 0x40, 16, PAYLOAD_MAX }, /* EVENT_CONFIG */
	{ false, false, 0x80, 8, 8 }, /* VHX_QUEUE_OPEN */
	{ false, true, 0x80, 32, 32 },
	{ true, false, 0x02, 4, 4 }, /* GET_DEVICES */
	{ true, true, 0x02, 6, PAYLOAD_MAX },
	{ true, false, 0x03, 4, 4 }, /* PING */
	{ true, true, 0x03, 4, 4 },
	{ true, false, 0x40, 4, 4 }, /* EVENT_DEVICE */
	{ true, false, 0x80, 64, 64 }, /* VHX_ATTACH */
	{ true, true, 0x80, 88, 88 },
	{ true, false, 0x81, 4, 4 }, /* VHX_GET_NAME */
	{ true, true, 0x81, 72, 72 },
};

static const struct size_row *size_find(bool bus, bool response, uint8_t msg_id)
{
	for (size_t i = 0; i < VHX_ARRAY_SIZE(sizes); i++) {
		if (sizes[i].bus == bus && sizes[i].response == response &&
		    sizes[i].msg_id == msg_id)
			return &sizes[i];
	}
	return NULL;
}

static int size_try(bool bus, bool response, uint8_t msg_id, uint16_t payload_len)
{
	struct vhx_control c = {
		.bus = bus, .response = response, .msg_id = msg_id, .payload_len = payload_len
	};
	uint8_t wire[VIRTIO_MSG_MAX];
	struct vhx_control back;

	return vhx_control_decode(wire, vhx_control_encode(wire, &c), &back);
}

/* Every id, both layers, both directions, every size: taken exactly where the table says. */
static void test_every_message_of_every_size(void **state)
{
	for (uint32_t n = 0; n < 4 * 256; n++) {
		bool bus = n & 256, response = n & 512;
		const struct size_row *row = size_find(bus, response, (uint8_t)n);

		for (uint16_t len = 0; len <= PAYLOAD_MAX; len++) {
			bool good = row && len >= row->min && len <= row->max;

			assert_int_equal(size_try(bus, response, (uint8_t)n, len),
					 good ? 0 : -ENOMSG);
		}
	}
}

static void test_shorter_than_a_header(void **state)
{
	uint8_t wire[8] = { 0, VIRTIO_MSG_GET_DEVICE_INFO, 0, 0, 0, 0, 7, 0 };
	struct vhx_control c;

	for (uint32_t len = 0; len < sizeof(wire); len++)
		assert_int_equal(vhx_control_decode(wire, len, &c), -EPROTO);
}

static void test_size_field_differs_from_length(void **state)
{
	uint8_t wire[16] = { 0, VIRTIO_MSG_GET_DEVICE_INFO, 0, 0, 0, 0, 8, 0 };
	struct vhx_control c;

	assert_int_equal(vhx_control_decode(wire, 8, &c), 0);
	assert_int_equal(vhx_control_decode(wire, 9, &c), -EPROTO);
	wire[6] = 9;
	assert_int_equal(vhx_control_decode(wire, 8, &c), -EPROTO);
	wire[6] = 0;
	assert_int_equal(vhx_control_decode(wire, 8, &c), -EPROTO);
}

static void test_longer_than_the_largest(void **state)
{
	uint8_t wire[VIRTIO_MSG_MAX + 1] = { 0, VIRTIO_MSG_EVENT_CONFIG };
	struct vhx_control c;

	wire[6] = (uint8_t)VIRTIO_MSG_MAX;
	wire[7] = VIRTIO_MSG_MAX >> 8;
	assert_int_equal(vhx_control_decode(wire, VIRTIO_MSG_MAX, &c), 0);
	wire[6]++;
	assert_int_equal(vhx_control_decode(wire, VIRTIO_MSG_MAX + 1, &c), -EPROTO);
}

static void test_high_type_bits_are_ignored(void **state)
{
	uint8_t wire[8] = { 0xfc, VIRTIO_MSG_GET_DEVICE_INFO, 0, 0, 0, 0, 8, 0 };
	struct vhx_control c;

	assert_int_equal(vhx_control_decode(wire, 8, &c), 0);
	assert_false(c.bus || c.response);
}

static void test_config_chunk_is_what_one_message_holds(void **state)
{
	struct vhx_control c = { .msg_id = VIRTIO_MSG_GET_CONFIG, .response = true };

	assert_int_equal(VHX_CONTROL_CONFIG_MAX, 244);
	c.payload_len = sizeof(struct virtio_msg_config) + VHX_CONTROL_CONFIG_MAX;
	assert_int_equal(vhx_control_len(&c), VIRTIO_MSG_MAX);
}

static void test_request_and_response_begin_zeroed(void **state)
{
	static const uint8_t zeroes[VHX_CONTROL_PAYLOAD_MAX];
	struct vhx_control req, resp;

	memset(&req, 0xff, sizeof(req));
	memset(&resp, 0xff, sizeof(resp));
	vhx_control_request(&req, false, 1, 2, 3);
	assert_false(req.bus || req.response);
	assert_int_equal(req.token, 0);
	assert_memory_equal(req.payload, zeroes, sizeof(zeroes));
	req.token = 9;
	vhx_control_response(&resp, &req, 5);
	assert_true(resp.response);
	assert_int_equal(resp.token, 9);
	assert_int_equal(resp.dev_num, 2);
	assert_int_equal(resp.payload_len, 5);
	assert_memory_equal(resp.payload, zeroes, sizeof(zeroes));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control_bytes),
		cmocka_unit_test(test_response_carries_token_and_device),
		cmocka_unit_test(test_attach_response_bytes),
		cmocka_unit_test(test_queue_open_bytes),
		cmocka_unit_test(test_get_device_info_bytes),
		cmocka_unit_test(test_every_message_of_every_size),
		cmocka_unit_test(test_shorter_than_a_header),
		cmocka_unit_test(test_size_field_differs_from_length),
		cmocka_unit_test(test_longer_than_the_largest),
		cmocka_unit_test(test_high_type_bits_are_ignored),
		cmocka_unit_test(test_config_chunk_is_what_one_message_holds),
		cmocka_unit_test(test_request_and_response_begin_zeroed),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
