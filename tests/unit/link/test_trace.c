// SPDX-License-Identifier: BSD-3-Clause
/* What a trace keeps and what it leaves out. With a file name: a session with every message, for tests/operate. */
#include "link/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vhx/virtio_msg.h>
#include <vhx/wire.h>

#define SECRET 0xa5
#define PREAMBLE 60u /* section and interface block */
#define FRAME 48u /* of a packet block with its drop count */
#define PSEUDO 16u

static unsigned int readies;

static void ready(void *ctx)
{
	readies++;
}

static void fail_ready(void *ctx)
{
	fail();
}

static void start(struct vhx_trace *t, uint32_t snap)
{
	memset(t, 0, sizeof(*t));
	assert_int_equal(vhx_trace_start(t, snap, ready, NULL), 0);
}

/* All that is in the buffer, in order, and the buffer empty. */
static size_t drain(struct vhx_trace *t, uint8_t *into, size_t size)
{
	struct iovec iov[2] = { { 0 } };
	unsigned int cnt = vhx_trace_peek(t, iov), i;
	size_t len = 0;

	for (i = 0; i < cnt; i++) {
		assert_true(iov[i].iov_len <= size - len);
		memcpy(into + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	vhx_trace_take(t, len);
	return len;
}

static uint32_t word(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put(struct vhx_trace *t, uint32_t type, const void *bytes, uint32_t len)
{
	const struct vhx_trace_point point = { .channel = 3, .backend = true };
	const struct vhx_trace_message m = { .type = type, .len = len, .bytes = bytes };

	vhx_trace_put(t, &point, &m);
}

/* AVAIL or USED with @cnt records of @chunk secret bytes each. Its length. */
static uint32_t data_make(uint8_t *m, unsigned int cnt, uint32_t chunk)
{
	uint32_t off = sizeof(struct vhx_msg_header) + sizeof(struct vhx_queue_header);
	unsigned int i;

	memset(m, 0, off);
	m[0] = m[4] = 1;
	for (i = 0; i < cnt; i++) {
		const struct vhx_used_record r = { .id = vhx_le16_of((uint16_t)i),
						   .chunk_len = vhx_le32_of(chunk) };

		memcpy(m + off, &r, sizeof(r));
		off += sizeof(r);
		memset(m + off, SECRET, chunk);
		memset(m + off + chunk, 0, -chunk & 7u);
		off += (chunk + 7) & ~7u;
	}
	return off;
}

static void test_blocks_frame_the_stream(void **state)
{
	static uint8_t out[4096];
	uint8_t credit[16] = { 1, 0, 0, 0, 1 };
	struct vhx_trace t;
	size_t len;

	readies = 0;
	start(&t, 0);
	assert_int_equal(vhx_trace_start(&t, 0, ready, NULL), -EBUSY);
	put(&t, VHX_MSG_CREDIT, credit, sizeof(credit));
	len = drain(&t, out, sizeof(out));
	assert_int_equal(len, PREAMBLE + FRAME + PSEUDO + sizeof(credit));
	assert_int_equal(readies, 3);
	assert_int_equal(word(out), 0x0a0d0d0a);
	assert_int_equal(word(out + 4), word(out + 24));
	assert_int_equal(word(out + PREAMBLE), 6);
	assert_int_equal(word(out + PREAMBLE + 4), len - PREAMBLE);
	assert_int_equal(word(out + len - 4), len - PREAMBLE);
	assert_int_equal(word(out + PREAMBLE + 20), PSEUDO + sizeof(credit));
	assert_int_equal(out[PREAMBLE + 28], 1);
	assert_int_equal(out[PREAMBLE + 29], 2);
	assert_int_equal(out[PREAMBLE + 30], 3);
	vhx_trace_fini(&t);
	vhx_trace_fini(&t);
}

static unsigned int secrets(const uint8_t *out, size_t len)
{
	unsigned int cnt = 0;

	while (len--)
		cnt += out[len] == SECRET;
	return cnt;
}

static void test_payload_stays_out_beyond_the_snap_length(void **state)
{
	static const uint32_t snaps[] = { 0, 1, 7, 100, VHX_TRACE_SNAP_MAX };
	static uint8_t m[8192], out[16384];
	uint32_t len = data_make(m, 3, 100);
	struct vhx_trace t;
	size_t i, got;

	for (i = 0; i < VHX_ARRAY_SIZE(snaps); i++) {
		start(&t, snaps[i]);
		got = drain(&t, out, sizeof(out));
		put(&t, VHX_MSG_USED, m, len);
		/* The clock must not look like a secret. */
		got = drain(&t, out, sizeof(out));
		memset(out + 12, 0, 8);
		assert_int_equal(secrets(out, got), 3 * vhx_min_u64(snaps[i], 100));
		assert_int_equal(word(out + 24), PSEUDO + len);
		vhx_trace_fini(&t);
	}
}

static void test_unknown_message_shows_its_header_only(void **state)
{
	static uint8_t m[1000], out[4096];
	struct vhx_trace t;
	size_t got;

	memset(m, SECRET, sizeof(m));
	memset(m, 0, 16);
	start(&t, 0);
	drain(&t, out, sizeof(out));
	put(&t, 0x8001, m, sizeof(m));
	got = drain(&t, out, sizeof(out));
	memset(out + 12, 0, 8);
	assert_int_equal(secrets(out, got), 0);
	vhx_trace_fini(&t);
}

/* Peers can say any length in a record, and change it between two looks. */
static void test_lying_records_end_the_walk(void **state)
{
	static const uint32_t lies[] = { 0, 1, 7, 8, 100, 0x7fffffff, 0xfffffff0, UINT32_MAX };
	static uint8_t out[VHX_TRACE_BUFFER];
	struct vhx_trace t;
	uint32_t len;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lies); i++) {
		for (len = 24; len < 24 + 16 + 40; len++) {
			/* Its own size, so that a read beyond it is one beyond the heap's. */
			uint8_t *m = calloc(1, len);
			const vhx_le32 lie = vhx_le32_of(lies[i]);

			if (len >= 40)
				memcpy(m + 24 + 12, &lie, sizeof(lie));
			start(&t, VHX_TRACE_SNAP_MAX);
			put(&t, VHX_MSG_AVAIL, m, len);
			assert_true(drain(&t, out, sizeof(out)) >= PREAMBLE + FRAME + PSEUDO + 24);
			vhx_trace_fini(&t);
			free(m);
		}
	}
}

static void test_large_message_is_cut(void **state)
{
	static uint8_t m[1u << 20], out[VHX_TRACE_BUFFER];
	uint32_t len = data_make(m, 40000, 8);
	struct vhx_trace t;
	size_t got;

	start(&t, 8);
	drain(&t, out, sizeof(out));
	put(&t, VHX_MSG_USED, m, len);
	got = drain(&t, out, sizeof(out));
	assert_true(got <= FRAME + PSEUDO + VHX_TRACE_PACKET_MAX);
	assert_int_equal(out[29], 2 | 4);
	assert_int_equal(word(out + 28 + 8), len);
	vhx_trace_fini(&t);
}

static void test_full_buffer_drops_and_says_how_many(void **state)
{
	static uint8_t m[65536], out[VHX_TRACE_BUFFER];
	uint32_t len = data_make(m, 1000, 16);
	unsigned int i, fit = 0;
	struct vhx_trace t;
	size_t got;

	start(&t, 0);
	for (i = 0; i < 200; i++) {
		uint64_t before = t.tail;

		put(&t, VHX_MSG_USED, m, len);
		fit += t.tail != before;
	}
	assert_in_range(fit, 40, 100);
	assert_int_equal(t.dropped, 200 - fit);
	drain(&t, out, sizeof(out));
	put(&t, VHX_MSG_USED, m, len);
	got = drain(&t, out, sizeof(out));
	/* Behind the packet: option 4, 8 bytes long. */
	assert_int_equal(word(out + got - 20), 4 | 8 << 16);
	assert_int_equal(word(out + got - 16), 200 - fit);
	assert_int_equal(t.dropped, 0);
	vhx_trace_fini(&t);
}

/* The buffer's end is no end: a long recording wraps many times, and every block comes out whole. */
static void test_stream_goes_on_across_the_wrap(void **state)
{
	static uint8_t m[4096], out[VHX_TRACE_BUFFER];
	uint32_t len = data_make(m, 7, 300);
	struct vhx_trace t;
	unsigned int i;
	size_t got;

	start(&t, 301);
	drain(&t, out, sizeof(out));
	for (i = 0; i < 3000; i++) {
		put(&t, VHX_MSG_USED, m, len);
		got = drain(&t, out, sizeof(out));
		assert_int_equal(word(out), 6);
		assert_int_equal(word(out + 4), got);
		assert_int_equal(word(out + got - 4), got);
		assert_memory_equal(out + 28 + PSEUDO, m, 24 + 16 + 300);
	}
	assert_true(t.tail > 2 * VHX_TRACE_BUFFER);
	vhx_trace_fini(&t);
}

static void test_none_is_off(void **state)
{
	assert_false(vhx_trace_none.on);
	vhx_trace_none.ready = fail_ready;
	vhx_trace_fini(&vhx_trace_none);
}

/* A session with every message */

static void control_put(struct vhx_trace *t, bool response, bool bus, uint8_t id, uint16_t len)
{
	uint8_t m[16 + VIRTIO_MSG_MAX] = { 1, 0, 0, 0, 1 };
	const struct virtio_msg_header h = {
		.type = (uint8_t)((response ? VIRTIO_MSG_TYPE_RESPONSE : 0) |
				  (bus ? VIRTIO_MSG_TYPE_BUS : 0)),
		.msg_id = id,
		.token = vhx_le16_of(7),
		.msg_size = vhx_le16_of((uint16_t)(sizeof(h) + len)),
	};

	memcpy(m + 16, &h, sizeof(h));
	put(t, VHX_MSG_CONTROL, m, 16 + (uint32_t)sizeof(h) + len);
}

#define LEN(type) sizeof(struct virtio_msg_##type)
static const struct {
	bool bus;
	uint8_t id;
	uint16_t request, response;
} controls[] = {
	{ false, VIRTIO_MSG_GET_DEVICE_INFO, 0, LEN(device_info) },
	{ false, VIRTIO_MSG_GET_DEVICE_FEATURES, LEN(features), LEN(features) + 8 },
	{ false, VIRTIO_MSG_SET_DRIVER_FEATURES, LEN(features) + 8, 0 },
	{ false, VIRTIO_MSG_GET_CONFIG, LEN(get_config), LEN(config) + 96 },
	{ false, VIRTIO_MSG_SET_CONFIG, LEN(config) + 1, LEN(config) + 1 },
	{ false, VIRTIO_MSG_GET_DEVICE_STATUS, 0, LEN(status) },
	{ false, VIRTIO_MSG_SET_DEVICE_STATUS, LEN(status), LEN(status) },
	{ false, VIRTIO_MSG_GET_VQUEUE, LEN(vq_index), LEN(get_vqueue_resp) },
	{ false, VIRTIO_MSG_SET_VQUEUE, LEN(set_vqueue), 0 },
	{ false, VIRTIO_MSG_RESET_VQUEUE, LEN(vq_index), 0 },
	{ false, VIRTIO_MSG_GET_SHM, 4, LEN(shm) },
	{ false, VIRTIO_MSG_EVENT_CONFIG, LEN(event_config), 0 },
	{ false, VIRTIO_MSG_VHX_QUEUE_OPEN, LEN(vhx_queue_open), LEN(vhx_queue_open_resp) },
	{ true, VIRTIO_MSG_BUS_GET_DEVICES, LEN(get_devices), LEN(get_devices_resp) + 8 },
	{ true, VIRTIO_MSG_BUS_PING, LEN(ping), LEN(ping) },
	{ true, VIRTIO_MSG_BUS_EVENT_DEVICE, LEN(event_device), 0 },
	{ true, VIRTIO_MSG_BUS_VHX_ATTACH, LEN(vhx_attach), LEN(vhx_attach_resp) },
	{ true, VIRTIO_MSG_BUS_VHX_GET_NAME, LEN(vhx_get_name), LEN(vhx_get_name_resp) },
};

static void session_make(struct vhx_trace *t)
{
	static uint8_t m[65536];
	size_t i;

	memset(m, 0, sizeof(struct vhx_hello));
	m[0] = 1;
	put(t, VHX_MSG_HELLO, m, sizeof(struct vhx_hello));
	for (i = 0; i < VHX_ARRAY_SIZE(controls); i++) {
		control_put(t, false, controls[i].bus, controls[i].id, controls[i].request);
		control_put(t, true, controls[i].bus, controls[i].id, controls[i].response);
	}
	put(t, VHX_MSG_AVAIL, m, data_make(m, 1, 16));
	put(t, VHX_MSG_AVAIL, m, data_make(m, 5, 1001));
	put(t, VHX_MSG_USED, m, data_make(m, 2, 4097));
	put(t, VHX_MSG_USED, m, data_make(m, 1, 0));
	put(t, VHX_MSG_USED, m, data_make(m, 2600, 8));
	put(t, VHX_MSG_CREDIT, m, sizeof(struct vhx_msg_header));
}

static int session_write(const char *name, uint32_t snap)
{
	static uint8_t out[VHX_TRACE_BUFFER];
	struct vhx_trace t = { 0 };
	FILE *file = fopen(name, "wb");
	size_t len;

	if (!file || vhx_trace_start(&t, snap, ready, NULL))
		return 1;
	session_make(&t);
	len = drain(&t, out, sizeof(out));
	vhx_trace_fini(&t);
	len -= fwrite(out, 1, len, file);
	return fclose(file) || len;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_frame_the_stream),
		cmocka_unit_test(test_payload_stays_out_beyond_the_snap_length),
		cmocka_unit_test(test_unknown_message_shows_its_header_only),
		cmocka_unit_test(test_lying_records_end_the_walk),
		cmocka_unit_test(test_large_message_is_cut),
		cmocka_unit_test(test_full_buffer_drops_and_says_how_many),
		cmocka_unit_test(test_stream_goes_on_across_the_wrap),
		cmocka_unit_test(test_none_is_off),
	};

	if (argc == 3)
		return session_write(argv[1], (uint32_t)strtoul(argv[2], NULL, 10));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
