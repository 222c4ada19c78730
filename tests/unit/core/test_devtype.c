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

		assert_int_equal(type->kind(out, sizeof(out)), rows[i].kind);
		/* Little-endian, all four bytes of it */
		out[3] = 1;
		assert_int_equal(type->kind(out, sizeof(out)), VHX_KIND_PLAIN);
	}
}

static void test_blk_request_shorter_than_its_type(void **state)
{
	static const uint8_t out[3] = { 1 };

	for (uint32_t len = 0; len <= sizeof(out); len++)
		assert_int_equal(vhx_devtype_find(2)->kind(out, len), VHX_KIND_PLAIN);
}

static void test_only_blk_and_rng_are_replayed(void **state)
{
	for (uint32_t id = 0; id < 100; id++)
		assert_int_equal(vhx_devtype_find(id)->replay, id == 2 || id == 4);
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

static void test_unknown_type_has_a_row_all_the_same(void **state)
{
	const struct vhx_devtype *type = vhx_devtype_find(UINT32_MAX);

	assert_string_equal(type->name, "unknown");
	assert_false(type->replay || type->has_status);
	assert_int_equal(type->kind(NULL, 0), VHX_KIND_PLAIN);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blk_fails_with_ioerr_and_is_replayed),
		cmocka_unit_test(test_blk_kinds),
		cmocka_unit_test(test_blk_request_shorter_than_its_type),
		cmocka_unit_test(test_only_blk_and_rng_are_replayed),
		cmocka_unit_test(test_types_of_addresses_and_shared_memory_are_refused),
		cmocka_unit_test(test_console_config_is_not_written_again),
		cmocka_unit_test(test_unknown_type_has_a_row_all_the_same),
	};

	return cmocka_run_group_tests_name("devtype", tests, NULL, NULL);
}
