// SPDX-License-Identifier: BSD-3-Clause
/*
 * The driver end against a device that breaks the rules, and against one that uses what IN_ORDER
 * allows.
 */
#include "ringlab.h"

#define BUF LAB_BASE

static const uint32_t split_all = VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX;
static const uint32_t packed_all = VHX_RING_F_PACKED | VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX;
static const uint32_t split_order = VHX_RING_F_IN_ORDER;
static const uint32_t packed_order = VHX_RING_F_PACKED | VHX_RING_F_IN_ORDER;

static struct lab *driver_lab(void **state)
{
	return lab_new(8, *(const uint32_t *)*state);
}

/* @cnt one-segment chains of @len writable bytes, shown to the device. */
static void submit(struct lab *lab, int cnt, uint32_t len, uint16_t *ids)
{
	struct vhx_vdriver_seg seg = { BUF, len };

	for (int i = 0; i < cnt; i++) {
		int id = vhx_vdriver_add(&lab->d, &seg, 0, 1);

		assert_true(id >= 0);
		ids[i] = id;
	}
	vhx_vdriver_publish(&lab->d);
}

/* A used entry by hand, at entry @at of the first lap. Split: it counts with raw_used_index(). */
static void raw_used(struct lab *lab, uint16_t at, uint32_t id, uint32_t len)
{
	struct vhx_packed_desc *desc = lab->desc;
	struct vhx_split_used *used = lab->device;

	if (!lab_packed(lab)) {
		used->ring[at].id = vhx_le32_of(id);
		used->ring[at].len = vhx_le32_of(len);
		return;
	}
	desc[at].id = vhx_le16_of(id);
	desc[at].len = vhx_le32_of(len);
	desc[at].flags = vhx_le16_of(VHX_PACKED_BITS | VIRTQ_DESC_F_WRITE);
}

static void raw_used_index(struct lab *lab, uint16_t idx)
{
	struct vhx_split_used *used = lab->device;

	if (!lab_packed(lab))
		used->idx = vhx_le16_of(idx);
}

static void expect(struct lab *lab, uint16_t want_id, uint32_t want_len)
{
	uint32_t used_len;
	uint16_t id;

	assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 1);
	assert_int_equal(id, want_id);
	assert_int_equal(used_len, want_len);
}

static void expect_fault(struct lab *lab, enum vhx_ring_fault fault)
{
	uint32_t used_len = 77;
	uint16_t id = 77;

	assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), -EPROTO);
	assert_int_equal(lab->d.broken, fault);
	assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), -EPROTO);
	assert_false(vhx_vdriver_enable_call(&lab->d));
	assert_int_equal(id, 77);
	assert_int_equal(used_len, 77);
	lab_free(lab);
}

static void test_used_overrun(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[2];

	submit(lab, 2, 8, ids);
	raw_used_index(lab, 3);
	expect_fault(lab, VHX_RING_USED_OVERRUN);
}

static void test_used_overrun_index_goes_back(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[2];

	submit(lab, 2, 8, ids);
	raw_used(lab, 0, ids[0], 8);
	raw_used_index(lab, 1);
	expect(lab, ids[0], 8);
	raw_used_index(lab, 0);
	expect_fault(lab, VHX_RING_USED_OVERRUN);
}

/* The batch names a chain newer than the index has come. */
static void test_used_overrun_batch_in_order(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[3];

	submit(lab, 3, 8, ids);
	raw_used(lab, 0, ids[2], 8);
	raw_used_index(lab, 2);
	expect(lab, ids[0], 8);
	expect(lab, ids[1], 8);
	expect_fault(lab, VHX_RING_USED_OVERRUN);
}

static void test_used_id_range(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[1];

	submit(lab, 1, 8, ids);
	raw_used(lab, 0, 8, 8);
	raw_used_index(lab, 1);
	expect_fault(lab, VHX_RING_USED_ID);
}

/* 32 bits in a split ring: the upper ones count. */
static void test_used_id_range_upper_bits(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[1];

	submit(lab, 1, 8, ids);
	raw_used(lab, 0, 0x10000u | ids[0], 8);
	raw_used_index(lab, 1);
	expect_fault(lab, VHX_RING_USED_ID);
}

static void test_used_id_twice(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[2];

	submit(lab, 2, 8, ids);
	raw_used(lab, 0, ids[1], 8);
	raw_used(lab, 1, ids[1], 8);
	raw_used_index(lab, 2);
	expect(lab, ids[1], 8);
	expect_fault(lab, VHX_RING_USED_ID);
}

/* Added, but not shown to the device: it guessed. */
static void test_used_id_not_published(void **state)
{
	struct lab *lab = driver_lab(state);
	struct vhx_vdriver_seg seg = { BUF, 8 };
	uint16_t ids[1];
	int id;

	submit(lab, 1, 8, ids);
	id = vhx_vdriver_add(&lab->d, &seg, 0, 1);
	assert_true(id >= 0);
	raw_used(lab, 0, id, 8);
	raw_used_index(lab, 1);
	expect_fault(lab, VHX_RING_USED_ID);
}

static void test_used_len(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[1];

	submit(lab, 1, 8, ids);
	raw_used(lab, 0, ids[0], 9);
	raw_used_index(lab, 1);
	expect_fault(lab, VHX_RING_USED_LEN);
}

/* 2.8.4: the length of a used descriptor without WRITE is not to be looked at. */
static void test_used_len_without_write_packed(void **state)
{
	struct lab *lab = driver_lab(state);
	struct vhx_packed_desc *desc = lab->desc;
	uint16_t ids[1];

	submit(lab, 1, 8, ids);
	raw_used(lab, 0, ids[0], 12345);
	desc[0].flags = vhx_le16_of(VHX_PACKED_BITS);
	expect(lab, ids[0], 0);
	lab_free(lab);
}

/* 2.7.9, 2.8.8: one entry for three chains, and the next one where the fourth's would be. */
static void test_in_order_batch(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[5];

	submit(lab, 5, 8, ids);
	raw_used(lab, 0, ids[2], 3);
	raw_used(lab, 3, ids[4], 4);
	raw_used_index(lab, 5);
	expect(lab, ids[0], 8);
	expect(lab, ids[1], 8);
	expect(lab, ids[2], 3);
	expect(lab, ids[3], 8);
	expect(lab, ids[4], 4);
	assert_int_equal(lab->d.free_cnt, 8);
	lab_free(lab);
}

/* 2.7.5.1: with IN_ORDER descriptors are taken round the table. */
static void test_in_order_descriptors_round_the_table(void **state)
{
	struct lab *lab = driver_lab(state);
	const struct vhx_split_desc *desc = lab->desc;
	struct vhx_vdriver_seg segs[3] = { { BUF, 4 }, { BUF, 4 }, { BUF, 4 } };
	uint16_t at = 0;

	for (int n = 0; n < 50; n++) {
		assert_int_equal(vhx_vdriver_add(&lab->d, segs, 1, 2), at);
		assert_int_equal(vhx_le16_get(desc[at].next), (at + 1) % 8);
		assert_int_equal(vhx_le16_get(desc[(at + 1) % 8].next), (at + 2) % 8);
		vhx_vdriver_publish(&lab->d);
		assert_int_equal(lab_pop(lab), 1);
		vhx_vring_push(&lab->r, at, 8);
		vhx_vring_flush(&lab->r);
		expect(lab, at, 8);
		at = (at + 3) % 8;
	}
	lab_free(lab);
}

/* Held back until the older one is there, then both with one flush. */
static void test_in_order_push_out_of_order(void **state)
{
	struct lab *lab = driver_lab(state);
	uint16_t ids[3];

	submit(lab, 3, 8, ids);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lab_pop(lab), 1);
	vhx_vring_push(&lab->r, ids[2], 1);
	vhx_vring_push(&lab->r, ids[1], 2);
	assert_false(vhx_vring_flush(&lab->r));
	assert_int_equal(lab->r.in_flight, 3);
	vhx_vring_push(&lab->r, ids[0], 3);
	assert_int_equal(lab->r.in_flight, 0);
	vhx_vring_flush(&lab->r);
	expect(lab, ids[0], 3);
	expect(lab, ids[1], 2);
	expect(lab, ids[2], 1);
	lab_free(lab);
}

static void test_add_limits(void **state)
{
	struct lab *lab = driver_lab(state);
	struct vhx_vdriver_seg segs[9] = { { 0 } };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(segs); i++)
		segs[i] = (struct vhx_vdriver_seg){ BUF, 4 };
	assert_int_equal(vhx_vdriver_add(&lab->d, segs, 0, 0), -EINVAL);
	assert_int_equal(vhx_vdriver_add(&lab->d, segs, 5, 4), -EINVAL);
	assert_int_equal(vhx_vdriver_add(&lab->d, segs, UINT32_MAX, 2), -EINVAL);
	segs[0].len = UINT32_MAX;
	assert_int_equal(vhx_vdriver_add(&lab->d, segs, 1, 1), -EINVAL);
	segs[0].len = 4;
	/* An indirect table takes one entry, whatever is in it. */
	for (int i = 0; i < 8; i++)
		assert_true(vhx_vdriver_add(&lab->d, segs, 4, 4) >= 0);
	assert_int_equal(vhx_vdriver_add(&lab->d, segs, 1, 0), -ENOSPC);
	lab_free(lab);
}

static void test_driver_config(void **state)
{
	struct vhx_vdriver_slot slots[4];
	char area[64] __attribute__((aligned(16)));
	char event[2][64] __attribute__((aligned(16)));
	struct vhx_vdriver_config cfg = {
		.size = 4,
		.desc = area,
		.driver = event[0],
		.device = event[1],
		.slots = slots,
	};
	struct vhx_vdriver d;

	assert_int_equal(vhx_vdriver_init(&d, &cfg), 0);
	cfg.indirect = area;
	assert_int_equal(vhx_vdriver_init(&d, &cfg), -EINVAL);
	cfg.indirect = NULL;
	cfg.size = 3;
	assert_int_equal(vhx_vdriver_init(&d, &cfg), -EINVAL);
	cfg.features = VHX_RING_F_PACKED;
	assert_int_equal(vhx_vdriver_init(&d, &cfg), 0);
	cfg.driver = event[0] + 2;
	assert_int_equal(vhx_vdriver_init(&d, &cfg), -EINVAL);
}

#define ON(f, features)                                                       \
	{                                                                     \
#f "/" #features, f, NULL, NULL, (void *)(uintptr_t)&features \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(test_used_overrun, split_all),
		ON(test_used_overrun_index_goes_back, split_all),
		ON(test_used_overrun_batch_in_order, split_order),
		ON(test_used_id_range, split_all),
		ON(test_used_id_range, packed_all),
		ON(test_used_id_range, split_order),
		ON(test_used_id_range, packed_order),
		ON(test_used_id_range_upper_bits, split_all),
		ON(test_used_id_twice, split_all),
		ON(test_used_id_twice, packed_all),
		ON(test_used_id_not_published, split_all),
		ON(test_used_id_not_published, packed_all),
		ON(test_used_id_not_published, split_order),
		ON(test_used_id_not_published, packed_order),
		ON(test_used_len, split_all),
		ON(test_used_len, packed_all),
		ON(test_used_len, split_order),
		ON(test_used_len, packed_order),
		ON(test_used_len_without_write_packed, packed_all),
		ON(test_in_order_batch, split_order),
		ON(test_in_order_batch, packed_order),
		ON(test_in_order_descriptors_round_the_table, split_order),
		ON(test_in_order_push_out_of_order, split_order),
		ON(test_in_order_push_out_of_order, packed_order),
		ON(test_add_limits, split_all),
		ON(test_add_limits, packed_all),
		cmocka_unit_test(test_driver_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
