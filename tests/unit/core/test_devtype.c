// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/devtype.h"

static void test_blk_fails_with_ioerr_and_is_replayed(void **state)
{
	const struct vhx_devtype *type = vhx_devtype_find(2);

	assert_string_equal(type->name, "blk");
	assert_true(type->replay && type->has_status);
	assert_int_equal(type->status_ok, 0);
	assert_int_equal(type->status_error, 1);
}

static void test_blk_kinds(void **state)
{
	static const struct {
		uint8_t type;
		enum vhx_request_kind kind;
	} rows[] = {
		{ 0, VHX_KIND_PLAIN }, /* IN */
		{ 1, VHX_KIND_WRITE }, /* OUT */
		{ 4, VHX_KIND_FLUSH },	{ 8, VHX_KIND_PLAIN }, /* GET_ID */
		{ 11, VHX_KIND_WRITE }, /* DISCARD */
		{ 13, VHX_KIND_WRITE }, /* WRITE_ZEROES */
		{ 14, VHX_KIND_PLAIN },
	};
	const struct vhx_devtype *type = vhx_devtype_find(2);

	for (size_t i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		uint8_t out[VHX_DEVTYPE_PEEK] = { rows[i].type };

		assert_int_equal(type->kind(0, out, sizeof(out)), rows[i].kind);
		/* Little-endian, all four bytes of it */
		out[3] = 1;
		assert_int_equal(type->kind(0, out, sizeof(out)), VHX_KIND_PLAIN);
	}
}

static void test_blk_request_shorter_than_its_type(void **state)
{
	static const uint8_t out[3] = { 1 };

	for (uint32_t len = 0; len <= sizeof(out); len++)
		assert_int_equal(vhx_devtype_find(2)->kind(0, out, len), VHX_KIND_PLAIN);
}

static void test_only_disks_and_rng_are_replayed(void **state)
{
	for (uint32_t id = 0; id < 100; id++)
		assert_int_equal(vhx_devtype_find(id)->replay, id == 2 || id == 4 || id == 8);
	/* Of scsi not its control queue. */
	assert_false(vhx_devtype_replays(vhx_devtype_find(8), 0));
	assert_true(vhx_devtype_replays(vhx_devtype_find(8), 1));
	assert_true(vhx_devtype_replays(vhx_devtype_find(8), 2));
	assert_true(vhx_devtype_replays(vhx_devtype_find(2), 0));
	assert_false(vhx_devtype_replays(vhx_devtype_find(3), 5));
}

static void test_scsi_kinds(void **state)
{
	static const uint8_t writes[] = { 0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae,
					  0x8e, 0x41, 0x93, 0x89, 0x42 };
	static const uint8_t flushes[] = { 0x35, 0x91 };
	static const uint8_t others[] = { 0x00, 0x08, 0x12, 0x28, 0xa8, 0x88 };
	const struct vhx_devtype *type = vhx_devtype_find(8);
	uint8_t out[VHX_DEVTYPE_PEEK] = { 0 };
	size_t i;

	for (i = 0; i < sizeof(writes); i++) {
		out[19] = writes[i];
		assert_int_equal(type->kind(2, out, sizeof(out)), VHX_KIND_WRITE);
		/* Not a command, and cut off in front of its CDB. */
		assert_int_equal(type->kind(0, out, sizeof(out)), VHX_KIND_PLAIN);
		assert_int_equal(type->kind(2, out, 19), VHX_KIND_PLAIN);
	}
	for (i = 0; i < sizeof(flushes); i++) {
		out[19] = flushes[i];
		assert_int_equal(type->kind(3, out, sizeof(out)), VHX_KIND_FLUSH_PART);
	}
	for (i = 0; i < sizeof(others); i++) {
		out[19] = others[i];
		assert_int_equal(type->kind(2, out, sizeof(out)), VHX_KIND_PLAIN);
	}
}

static void test_scsi_flush_is_judged_by_its_response(void **state)
{
	const struct vhx_devtype *type = vhx_devtype_find(8);
	uint8_t in[108] = { 0 };

	assert_true(type->flushed(in, sizeof(in)));
	assert_true(type->flushed(in, 12));
	assert_false(type->flushed(in, 11));
	in[10] = 2; /* CHECK CONDITION */
	assert_false(type->flushed(in, sizeof(in)));
	in[10] = 0;
	in[11] = 9; /* FAILURE */
	assert_false(type->flushed(in, sizeof(in)));
}

/* A request that a dead backend lost never looks like one that succeeded. */
static void test_lost_requests_end_with_the_error_of_their_type(void **state)
{
	static const uint8_t peek[VHX_DEVTYPE_PEEK] = {
		40, 0, 0, 0, 3, 0x34, 0x12, 0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8,
	};
	static const struct {
		uint32_t id;
		uint16_t queue, queues;
		uint32_t in_len, off, len, used_len;
		uint8_t bytes[16];
	} rows[] = {
		{ 1, 2, 3, 1, 0, 1, 0, { 1 } }, /* net: ERR */
		{ 2, 0, 1, 513, 512, 1, 0, { 1 } }, /* blk: IOERR */
		{ 8, 0, 3, 5, 4, 1, 0, { 9 } }, /* scsi: FAILURE of a control request */
		{ 8, 2, 3, 620, 0, 12, 12, { [11] = 6 } }, /* and TRANSPORT_FAILURE of a command */
		{ 8, 2, 3, 11, 0, 0, 0, { 0 } },
		{ 9, 0, 1, 64, 0, 11, 11, { 11, 0, 0, 0, 7, 0x34, 0x12, 5 } }, /* 9p: Rlerror EIO */
		{ 9, 0, 1, 10, 0, 0, 0, { 0 } },
		{ 20, 0, 2, 65, 64, 1, 0, { 1 } }, /* crypto: ERR of data */
		{ 20, 1, 2, 16, 8, 4, 0, { 1 } }, /* of a new session */
		{ 20, 1, 2, 1, 0, 1, 0, { 1 } }, /* of the end of one */
		{ 25, 0, 4, 36, 0, 4, 4, { 0x03, 0x80 } }, /* sound: IO_ERR */
		{ 25, 2, 4, 8, 0, 8, 0, { 0x03, 0x80 } },
		{ 25, 3, 4, 108, 100, 8, 0, { 0x03, 0x80 } },
		{ 26,
		  1,
		  2,
		  100,
		  0,
		  16,
		  16, /* fs: EIO of this very request */
		  { 16, 0, 0, 0, 0xfb, 0xff, 0xff, 0xff, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
		    0xa8 } },
		{ 34, 0, 1, 5, 4, 1, 0, { 1 } }, /* i2c: ERR */
		{ 36, 0, 3, 1, 0, 1, 0, { 1 } }, /* can: NOT_OK */
		{ 41, 0, 2, 2, 0, 1, 1, { 1 } }, /* gpio: ERR */
		{ 41, 1, 2, 1, 0, 1, 1, { 0 } }, /* INVALID: no interrupt has come */
		{ 3, 1, 2, 4, 0, 0, 0, { 0 } }, /* console, and what is unknown: nothing */
		{ 99, 0, 1, 64, 0, 0, 0, { 0 } },
	};
	struct vhx_devtype_ending e;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		struct vhx_devtype_request r = {
			.queue = rows[i].queue,
			.queues = rows[i].queues,
			.out_len = 40,
			.in_len = rows[i].in_len,
			.peek = peek,
			.peek_len = sizeof(peek),
		};

		vhx_devtype_end(vhx_devtype_find(rows[i].id), &r, &e);
		assert_int_equal(e.off, rows[i].off);
		assert_int_equal(e.len, rows[i].len);
		assert_int_equal(e.used_len, rows[i].used_len);
		assert_memory_equal(e.bytes, rows[i].bytes, sizeof(e.bytes));
		assert_true(e.off + e.len <= r.in_len);
	}
}

/* Whatever the lengths, an ending lies within the request; posted ones get none. */
static void test_endings_stay_within_their_request(void **state)
{
	static const uint8_t peek[VHX_DEVTYPE_PEEK];
	struct vhx_devtype_ending e;
	uint32_t id, n;

	for (id = 0; id < 100; id++) {
		for (n = 0; n < 64 * 3 * 2; n++) {
			struct vhx_devtype_request r = {
				.queue = n / 64 % 3,
				.queues = 3,
				.out_len = n / 192,
				.in_len = n % 64,
				.peek = peek,
				.peek_len = r.out_len,
			};

			vhx_devtype_end(vhx_devtype_find(id), &r, &e);
			assert_true(e.len <= sizeof(e.bytes) && e.off + e.len <= r.in_len);
			assert_true(e.used_len <= e.off + e.len);
			assert_true(r.out_len || !e.len);
		}
	}
}

/* Guest addresses in the payload, or memory that both sides map, cannot be carried. */
static void test_types_of_addresses_and_shared_memory_are_refused(void **state)
{
	static const uint32_t refused[] = { 5, 16, 23, 24, 27 };
	uint32_t id, i;

	for (id = 0; id < 100; id++) {
		bool expected = false;

		for (i = 0; i < VHX_ARRAY_SIZE(refused); i++)
			expected |= refused[i] == id;
		assert_int_equal(!!vhx_devtype_refusal(vhx_devtype_find(id)), expected);
	}
}

/* Its only writable field is emerg_wr: written again to a new backend, a character would be said twice. */
static void test_console_config_is_not_written_again(void **state)
{
	assert_false(vhx_devtype_find(3)->config_kept);
	assert_true(vhx_devtype_find(1)->config_kept);
	assert_true(vhx_devtype_find(2)->config_kept);
}

/* 5.1.2: where the control queue is depends on what the driver took. */
static void test_net_queue_of_commands(void **state)
{
	const struct vhx_devtype *net = vhx_devtype_find(1);
	const uint64_t ctrl = 1ull << 17, mq = 1ull << 22, rss = 1ull << 60;
	uint16_t q;

	for (q = 0; q < 9; q++) {
		assert_false(net->commands(mq, q, 9));
		assert_int_equal(net->commands(ctrl, q, 9), q == 2);
		assert_int_equal(net->commands(ctrl | mq, q, 9), q == 8);
		assert_int_equal(net->commands(ctrl | rss, q, 9), q == 8);
	}
	for (q = 0; q < 100; q++)
		assert_int_equal(!!vhx_devtype_find(q)->commands, q == 1);
}

static void test_net_commands_that_set_state(void **state)
{
	static const struct {
		uint8_t out[4];
		uint32_t len;
		bool sets, clears;
	} rows[] = {
		{ { 0, 0, 1 }, 3, true, false },    { { 0, 5, 1 }, 3, true, false },
		{ { 0, 6, 1 }, 3, false, false },   { { 1, 0 }, 2, true, false },
		{ { 1, 1 }, 2, true, false },	    { { 1, 2 }, 2, false, false },
		{ { 2, 0, 7, 0 }, 4, true, false }, { { 2, 1, 7, 0 }, 4, true, true },
		{ { 2, 0, 7 }, 3, false, false },   { { 3, 0 }, 2, false, false },
		{ { 4, 0, 2, 0 }, 4, true, false }, { { 5, 0 }, 2, true, false },
		{ { 6, 2, 1, 0 }, 4, true, false }, { { 6, 3, 1, 0 }, 4, false, false },
		{ { 7, 0 }, 2, false, false },	    { { 255, 255 }, 2, false, false },
		{ { 0 }, 1, false, false },	    { { 0 }, 0, false, false },
	};
	const struct vhx_devtype *net = vhx_devtype_find(1);
	struct vhx_devtype_command c, other;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		assert_int_equal(net->command(rows[i].out, rows[i].len, &c), rows[i].sets);
		assert_int_equal(rows[i].sets && c.clears, rows[i].clears);
	}
	/* Adding a VLAN and taking it away are about the same; another VLAN is not. */
	net->command((const uint8_t[]){ 2, 0, 7, 1 }, 4, &c);
	net->command((const uint8_t[]){ 2, 1, 7, 1 }, 4, &other);
	assert_int_equal(c.what, other.what);
	net->command((const uint8_t[]){ 2, 0, 7, 2 }, 4, &other);
	assert_int_not_equal(c.what, other.what);
	net->command((const uint8_t[]){ 1, 0, 7, 1 }, 4, &other);
	assert_int_not_equal(c.what, other.what);
}

static void test_unknown_type_has_a_row_all_the_same(void **state)
{
	const struct vhx_devtype *type = vhx_devtype_find(UINT32_MAX);

	assert_string_equal(type->name, "unknown");
	assert_false(type->replay || type->has_status);
	assert_int_equal(type->kind(0, NULL, 0), VHX_KIND_PLAIN);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blk_fails_with_ioerr_and_is_replayed),
		cmocka_unit_test(test_blk_kinds),
		cmocka_unit_test(test_blk_request_shorter_than_its_type),
		cmocka_unit_test(test_only_disks_and_rng_are_replayed),
		cmocka_unit_test(test_scsi_kinds),
		cmocka_unit_test(test_scsi_flush_is_judged_by_its_response),
		cmocka_unit_test(test_lost_requests_end_with_the_error_of_their_type),
		cmocka_unit_test(test_endings_stay_within_their_request),
		cmocka_unit_test(test_types_of_addresses_and_shared_memory_are_refused),
		cmocka_unit_test(test_console_config_is_not_written_again),
		cmocka_unit_test(test_net_queue_of_commands),
		cmocka_unit_test(test_net_commands_that_set_state),
		cmocka_unit_test(test_unknown_type_has_a_row_all_the_same),
	};

	return cmocka_run_group_tests_name("devtype", tests, NULL, NULL);
}
