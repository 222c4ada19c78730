// SPDX-License-Identifier: BSD-3-Clause
/*
 * Layout of HELLO, AVAIL, USED and CREDIT, byte by byte as a second implementer would write them, and
 * every reason to refuse one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

static void test_header_bytes(void **state)
{
	static const uint8_t bytes[] = {
		0x04, 0x03, 0x02, 0x01, /* src_inc */
		0x14, 0x13, 0x12, 0x11, /* dst_inc */
		0x24, 0x23, 0x22, 0x21, /* ack */
		0x00, 0x00, 0x00, 0x00, /* reserved */
	};
	struct vhx_header h = { 0x01020304, 0x11121314, 0x21222324 }, back;
	struct vhx_msg_header wire;

	memset(&wire, 0xff, sizeof(wire));
	vhx_header_encode(&wire, &h);
	assert_int_equal(sizeof(wire), sizeof(bytes));
	assert_memory_equal(&wire, bytes, sizeof(bytes));
	assert_int_equal(vhx_header_decode(&wire, &back), 0);
	assert_memory_equal(&back, &h, sizeof(h));
}

static void test_header_reserved_not_zero(void **state)
{
	struct vhx_header h = { .src_inc = 1 }, back;
	struct vhx_msg_header wire;

	vhx_header_encode(&wire, &h);
	((uint8_t *)&wire)[15] = 1;
	assert_int_equal(vhx_header_decode(&wire, &back), -EPROTO);
}

static void test_header_sender_without_incarnation(void **state)
{
	struct vhx_header h = { .dst_inc = 1, .ack = 2 }, back;
	struct vhx_msg_header wire;

	vhx_header_encode(&wire, &h);
	assert_int_equal(vhx_header_decode(&wire, &back), -EPROTO);
}

static const uint8_t hello_bytes[] = {
	0x01, 0x00, 0x00, 0x00, /* src_inc */
	0x02, 0x00, 0x00, 0x00, /* dst_inc */
	0x00, 0x00, 0x00, 0x00, /* ack */
	0x00, 0x00, 0x00, 0x00, /* reserved */
	0x56, 0x48, 0x58, 0x31, /* magic: "VHX1" */
	0x01, 0x00, /* version_min */
	0x03, 0x00, /* version_max */
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* offered */
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* accepted */
	0x00, 0x00, 0x08, 0x00, /* ring_len: 512 KiB */
	0xf0, 0xff, 0x01, 0x00, /* max_message */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* reserved */
};

static void test_hello_bytes(void **state)
{
	struct vhx_header h = { .src_inc = 1, .dst_inc = 2 }, h_back;
	struct vhx_hello_body b = {
		.version_min = 1,
		.version_max = 3,
		.offered = 0x0102030405060708,
		.accepted = 0x1112131415161718,
		.ring_len = 512 << 10,
		.max_message = 0x1fff0,
	};
	struct vhx_hello_body back;
	struct vhx_hello wire;

	memset(&wire, 0xff, sizeof(wire));
	vhx_hello_encode(&wire, &h, &b);
	assert_int_equal(sizeof(wire), sizeof(hello_bytes));
	assert_memory_equal(&wire, hello_bytes, sizeof(hello_bytes));
	assert_int_equal(vhx_header_decode(&wire.header, &h_back), 0);
	assert_memory_equal(&h_back, &h, sizeof(h));
	assert_int_equal(vhx_hello_decode(&wire, &back), 0);
	memset(&wire, 0xff, sizeof(wire));
	vhx_hello_encode(&wire, &h_back, &back);
	assert_memory_equal(&wire, hello_bytes, sizeof(hello_bytes));
}

/* The good HELLO with @n bytes at @off replaced. */
static int hello_with(size_t off, const void *bytes, size_t n)
{
	struct vhx_hello_body b;
	struct vhx_hello wire;

	memcpy(&wire, hello_bytes, sizeof(wire));
	memcpy((uint8_t *)&wire + off, bytes, n);
	return vhx_hello_decode(&wire, &b);
}

static void test_hello_wrong_magic(void **state)
{
	assert_int_equal(hello_with(16, "VHX2", 4), -EPROTO);
	assert_int_equal(hello_with(16, "\0\0\0\0", 4), -EPROTO);
}

static void test_hello_versions_upside_down(void **state)
{
	assert_int_equal(hello_with(20, "\2\0\1\0", 4), -EPROTO);
}

static void test_hello_no_common_version(void **state)
{
	assert_int_equal(hello_with(20, "\2\0\4\0", 4), -EPROTONOSUPPORT);
	assert_int_equal(hello_with(20, "\0\0\0\0", 4), -EPROTONOSUPPORT);
	assert_int_equal(hello_with(20, "\1\0\1\0", 4), 0);
	assert_int_equal(hello_with(20, "\0\0\xff\xff", 4), 0);
}

static void test_hello_of_later_version_with_other_layout(void **state)
{
	uint8_t tail[36];

	memset(tail, 0xff, sizeof(tail));
	memcpy(tail, "\2\0\2\0", 4);
	/* Not a breach: reserved is not looked at, it may mean something there. */
	assert_int_equal(hello_with(20, tail, sizeof(tail)), -EPROTONOSUPPORT);
}

static void test_hello_reserved_not_zero(void **state)
{
	assert_int_equal(hello_with(48, "\1", 1), -EPROTO);
	assert_int_equal(hello_with(55, "\x80", 1), -EPROTO);
}

static void test_queue_header_bytes(void **state)
{
	static const uint8_t bytes[] = {
		0x02, 0x01, /* dev */
		0x04, 0x03, /* vq */
		0x08, 0x07, 0x06, 0x05, /* epoch */
	};
	struct vhx_queue_key key = { 0x0102, 0x0304, 0x05060708 }, back;
	struct vhx_queue_header wire;

	vhx_queue_encode(&wire, &key);
	assert_int_equal(sizeof(wire), sizeof(bytes));
	assert_memory_equal(&wire, bytes, sizeof(bytes));
	vhx_queue_decode(&wire, &back);
	assert_memory_equal(&back, &key, sizeof(key));
}

static void test_avail_bytes(void **state)
{
	static const uint8_t bytes[] = {
		0x34, 0x12, /* id */
		0x01, 0x00, /* flags: FIRST */
		0x10, 0x10, 0x00, 0x00, /* out_len: 4112 */
		0x01, 0x00, 0x00, 0x00, /* in_len */
		0x08, 0x00, 0x00, 0x00, /* chunk_len */
	};
	struct vhx_avail a = { 0x1234, VHX_AVAIL_FIRST, 4112, 1, 8 }, back;
	struct vhx_avail_record wire;

	memset(&wire, 0xff, sizeof(wire));
	vhx_avail_encode(&wire, &a);
	assert_int_equal(sizeof(wire), sizeof(bytes));
	assert_memory_equal(&wire, bytes, sizeof(bytes));
	assert_int_equal(vhx_avail_decode(&wire, 8, &back), 0);
	assert_memory_equal(&back, &a, sizeof(a));
}

static int avail_check(struct vhx_avail a, uint32_t left)
{
	struct vhx_avail_record wire;
	struct vhx_avail back;
	int ret;

	vhx_avail_encode(&wire, &a);
	ret = vhx_avail_decode(&wire, left, &back);
	if (!ret)
		assert_memory_equal(&back, &a, sizeof(a));
	return ret;
}

#define FIRST VHX_AVAIL_FIRST
#define TOO_BIG VHX_AVAIL_TOO_BIG

static void test_avail_good_ones(void **state)
{
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, 0, 0, 0 }, 0), 0);
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, 64, 0, 0 }, 0), 0);
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, 64, 9, 64 }, 64), 0);
	assert_int_equal(avail_check((struct vhx_avail){ 0, 0, 64, 9, 1 }, 100), 0);
	assert_int_equal(avail_check((struct vhx_avail){ UINT16_MAX, FIRST, UINT32_MAX, UINT32_MAX,
							 UINT32_MAX },
				     UINT32_MAX),
			 0);
	assert_int_equal(
		avail_check((struct vhx_avail){ 0, FIRST | TOO_BIG, UINT32_MAX, 1, 64 }, 64), 0);
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST | TOO_BIG, 0, UINT32_MAX, 0 }, 0),
			 0);
}

static void test_avail_unknown_flag(void **state)
{
	for (uint32_t bit = 4; bit < 0x10000; bit <<= 1)
		assert_int_equal(
			avail_check((struct vhx_avail){ 0, (uint16_t)(FIRST | bit), 8, 0, 8 }, 8),
			-EPROTO);
}

static void test_avail_chunk_beyond_message(void **state)
{
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, 64, 0, 64 }, 63), -EPROTO);
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, UINT32_MAX, 0, UINT32_MAX }, 8),
			 -EPROTO);
}

static void test_avail_chunk_beyond_out(void **state)
{
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, 8, 0, 9 }, 100), -EPROTO);
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST, 0, 100, 1 }, 100), -EPROTO);
	assert_int_equal(avail_check((struct vhx_avail){ 0, 0, 8, 0, 9 }, 100), -EPROTO);
}

static void test_avail_empty_continuation(void **state)
{
	assert_int_equal(avail_check((struct vhx_avail){ 0, 0, 8, 0, 0 }, 100), -EPROTO);
}

static void test_avail_too_big_continuation(void **state)
{
	assert_int_equal(avail_check((struct vhx_avail){ 0, TOO_BIG, 8, 0, 8 }, 100), -EPROTO);
}

static void test_avail_too_big_with_too_many_bytes(void **state)
{
	assert_int_equal(avail_check((struct vhx_avail){ 0, FIRST | TOO_BIG, 1000, 0, 65 }, 100),
			 -EPROTO);
}

static void test_used_bytes(void **state)
{
	static const uint8_t bytes[] = {
		0x34, 0x12, /* id */
		0x03, 0x00, /* flags: COMPLETE, GROUP */
		0x00, 0x10, 0x00, 0x00, /* in_off: 4096 */
		0x01, 0x10, 0x00, 0x00, /* used_len: 4097 */
		0x01, 0x00, 0x00, 0x00, /* chunk_len */
	};
	struct vhx_used u = { 0x1234, VHX_USED_COMPLETE | VHX_USED_GROUP, 4096, 4097, 1 }, back;
	struct vhx_used_record wire;

	memset(&wire, 0xff, sizeof(wire));
	vhx_used_encode(&wire, &u);
	assert_int_equal(sizeof(wire), sizeof(bytes));
	assert_memory_equal(&wire, bytes, sizeof(bytes));
	assert_int_equal(vhx_used_decode(&wire, 1, &back), 0);
	assert_memory_equal(&back, &u, sizeof(u));
}

static int used_check(struct vhx_used u, uint32_t left)
{
	struct vhx_used_record wire;
	struct vhx_used back;
	int ret;

	vhx_used_encode(&wire, &u);
	ret = vhx_used_decode(&wire, left, &back);
	if (!ret)
		assert_memory_equal(&back, &u, sizeof(u));
	return ret;
}

#define COMPLETE VHX_USED_COMPLETE
#define GROUP VHX_USED_GROUP

static void test_used_good_ones(void **state)
{
	assert_int_equal(used_check((struct vhx_used){ 0, COMPLETE, 0, 0, 0 }, 0), 0);
	assert_int_equal(used_check((struct vhx_used){ 0, COMPLETE | GROUP, 9, 8, 7 }, 7), 0);
	assert_int_equal(used_check((struct vhx_used){ 0, 0, UINT32_MAX, 0, 1 }, 1), 0);
}

static void test_used_unknown_flag(void **state)
{
	for (uint32_t bit = 4; bit < 0x10000; bit <<= 1)
		assert_int_equal(
			used_check((struct vhx_used){ 0, (uint16_t)(COMPLETE | bit), 0, 0, 8 }, 8),
			-EPROTO);
}

static void test_used_chunk_beyond_message(void **state)
{
	assert_int_equal(used_check((struct vhx_used){ 0, COMPLETE, 0, 8, 9 }, 8), -EPROTO);
	assert_int_equal(used_check((struct vhx_used){ 0, 0, 0, 0, UINT32_MAX }, 8), -EPROTO);
}

static void test_used_says_nothing(void **state)
{
	assert_int_equal(used_check((struct vhx_used){ 0, 0, 0, 0, 0 }, 8), -EPROTO);
}

static void test_used_group_without_complete(void **state)
{
	assert_int_equal(used_check((struct vhx_used){ 0, GROUP, 0, 0, 8 }, 8), -EPROTO);
}

static void test_used_length_without_complete(void **state)
{
	assert_int_equal(used_check((struct vhx_used){ 0, 0, 0, 8, 8 }, 8), -EPROTO);
}

static void test_chunk_padding(void **state)
{
	assert_int_equal(vhx_chunk_padded(0), 0);
	assert_int_equal(vhx_chunk_padded(1), 8);
	assert_int_equal(vhx_chunk_padded(8), 8);
	assert_int_equal(vhx_chunk_padded(9), 16);
	/* Records begin on 8-byte boundaries because all that stands before them is a multiple. */
	assert_int_equal(VHX_DATA_HEADER_LEN, 24);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_bytes),
		cmocka_unit_test(test_header_reserved_not_zero),
		cmocka_unit_test(test_header_sender_without_incarnation),
		cmocka_unit_test(test_hello_bytes),
		cmocka_unit_test(test_hello_wrong_magic),
		cmocka_unit_test(test_hello_versions_upside_down),
		cmocka_unit_test(test_hello_no_common_version),
		cmocka_unit_test(test_hello_of_later_version_with_other_layout),
		cmocka_unit_test(test_hello_reserved_not_zero),
		cmocka_unit_test(test_queue_header_bytes),
		cmocka_unit_test(test_avail_bytes),
		cmocka_unit_test(test_avail_good_ones),
		cmocka_unit_test(test_avail_unknown_flag),
		cmocka_unit_test(test_avail_chunk_beyond_message),
		cmocka_unit_test(test_avail_chunk_beyond_out),
		cmocka_unit_test(test_avail_empty_continuation),
		cmocka_unit_test(test_avail_too_big_continuation),
		cmocka_unit_test(test_avail_too_big_with_too_many_bytes),
		cmocka_unit_test(test_used_bytes),
		cmocka_unit_test(test_used_good_ones),
		cmocka_unit_test(test_used_unknown_flag),
		cmocka_unit_test(test_used_chunk_beyond_message),
		cmocka_unit_test(test_used_says_nothing),
		cmocka_unit_test(test_used_group_without_complete),
		cmocka_unit_test(test_used_length_without_complete),
		cmocka_unit_test(test_chunk_padding),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
