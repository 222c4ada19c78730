// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a driver can do wrong: one test per enum vhx_ring_fault, written into the ring by hand, for
 * both formats where both have it. Then what looks wrong and is not.
 */
#include "ringlab.h"

#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define INDIRECT VIRTQ_DESC_F_INDIRECT

#define BUF LAB_BASE
#define TABLE (LAB_BASE + 0x1000)
#define NOWHERE 0x10ull

/* Each test runs on a ring of 8 with everything on; @state points at its features. */
static const uint32_t split_all = VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX;
static const uint32_t packed_all = VHX_RING_F_PACKED | VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX;

static struct lab *fault_lab(void **state)
{
	return lab_new(8, *(const uint32_t *)*state);
}

static void fault_expect(struct lab *lab, enum vhx_ring_fault fault)
{
	lab_go(lab, 0);
	lab_assert_fault(lab, fault);
	lab_free(lab);
}

static void test_avail_overrun(void **state)
{
	struct lab *lab = fault_lab(state);
	struct vhx_split_avail *avail = lab->driver;

	avail->idx = vhx_le16_of(9);
	lab_assert_fault(lab, VHX_RING_AVAIL_OVERRUN);
	lab_free(lab);
}

static void test_avail_overrun_with_chains_in_flight(void **state)
{
	struct lab *lab = fault_lab(state);
	struct vhx_split_avail *avail = lab->driver;

	for (uint16_t i = 0; i < 2; i++) {
		lab_desc(lab, i, BUF, 4, 0, 0);
		lab_offer(lab, i);
		assert_int_equal(lab_pop(lab), 1);
	}
	avail->idx = vhx_le16_of(9);
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_AVAIL_OVERRUN);
	/* What is in flight can still be completed. */
	vhx_vring_push(&lab->r, 1, 0);
	vhx_vring_push(&lab->r, 0, 0);
	assert_true(vhx_vring_flush(&lab->r));
	lab_free(lab);
}

static void test_avail_overrun_index_goes_back(void **state)
{
	struct lab *lab = fault_lab(state);
	struct vhx_split_avail *avail = lab->driver;

	for (uint16_t i = 0; i < 3; i++) {
		lab_desc(lab, i, BUF, 4, 0, 0);
		lab_offer(lab, i);
		assert_int_equal(lab_pop(lab), 1);
	}
	avail->idx = vhx_le16_of(2);
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_AVAIL_OVERRUN);
	lab_free(lab);
}

/* All eight entries are with the device; the driver claims that the first is available again. */
static void test_avail_overrun_packed(void **state)
{
	struct lab *lab = fault_lab(state);

	for (uint16_t i = 0; i < 8; i++) {
		lab_desc(lab, i, BUF, 4, 0, i);
		assert_int_equal(lab_pop(lab), 1);
	}
	assert_int_equal(lab_pop(lab), 0);
	lab->raw_idx ^= VHX_POS_WRAP;
	lab_desc(lab, 0, BUF, 4, 0, 0);
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_AVAIL_OVERRUN);
	lab_free(lab);
}

/* Used, but the driver can't know yet: the room is not its own before flush. */
static void test_avail_overrun_packed_before_flush(void **state)
{
	struct lab *lab = fault_lab(state);

	for (uint16_t i = 0; i < 8; i++) {
		lab_desc(lab, i, BUF, 4, 0, i);
		assert_int_equal(lab_pop(lab), 1);
	}
	vhx_vring_push(&lab->r, 3, 0);
	lab->raw_idx ^= VHX_POS_WRAP;
	lab_desc(lab, 0, BUF, 4, 0, 3);
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_AVAIL_OVERRUN);
	lab_free(lab);
}

static void test_head_range(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_offer(lab, 8);
	lab_assert_fault(lab, VHX_RING_HEAD_RANGE);
	lab_free(lab);
}

static void test_head_busy(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 3, BUF, 4, 0, 0);
	lab_offer(lab, 3);
	lab_offer(lab, 3);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_HEAD_BUSY);
	lab_free(lab);
}

static void test_next_range(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, BUF, 4, NEXT, 8);
	fault_expect(lab, VHX_RING_NEXT_RANGE);
}

static void test_next_range_in_indirect_table(void **state)
{
	struct lab *lab = fault_lab(state);

	/* Inside the queue's size, outside the table's. */
	lab_table_desc(lab, TABLE, 0, BUF, 4, NEXT, 2);
	lab_desc(lab, 0, TABLE, 2 * VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_NEXT_RANGE);
}

static void test_loop(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 1, BUF, 4, NEXT, 0);
	lab_desc(lab, 0, BUF, 4, NEXT, 1);
	fault_expect(lab, VHX_RING_LOOP);
}

static void test_loop_of_empty_descriptors(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, BUF, 0, NEXT, 0);
	fault_expect(lab, VHX_RING_LOOP);
}

static void test_loop_in_indirect_table(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, NEXT, 1);
	lab_table_desc(lab, TABLE, 1, BUF, 4, NEXT, 0);
	lab_desc(lab, 0, TABLE, 2 * VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_LOOP);
}

/* A packed chain can't point back, but it can have no end. */
static void test_loop_packed(void **state)
{
	struct lab *lab = fault_lab(state);

	for (int i = 7; i >= 0; i--)
		lab_desc(lab, i, BUF, 4, NEXT, 0);
	fault_expect(lab, VHX_RING_LOOP);
}

static void test_indirect_off(void **state)
{
	uint32_t features = *(const uint32_t *)*state & ~VHX_RING_F_INDIRECT;
	struct lab *lab = lab_new(8, features);

	lab_table_desc(lab, TABLE, 0, BUF, 4, 0, 0);
	lab_desc(lab, 0, TABLE, VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_OFF);
}

static void test_indirect_nested(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, TABLE, VHX_DESC_LEN, INDIRECT, 0);
	lab_desc(lab, 0, TABLE, VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_NESTED);
}

static void test_indirect_next(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, 0, 0);
	lab_desc(lab, 1, BUF, 4, 0, 0);
	lab_desc(lab, 0, TABLE, VHX_DESC_LEN, INDIRECT | NEXT, 1);
	fault_expect(lab, VHX_RING_INDIRECT_NEXT);
}

static void test_indirect_next_direct_then_indirect_packed(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, 0, 0);
	lab_desc(lab, 1, TABLE, VHX_DESC_LEN, INDIRECT, 0);
	lab_desc(lab, 0, BUF, 4, NEXT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_NEXT);
}

static void test_indirect_table_empty(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, TABLE, 0, INDIRECT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_LEN);
}

static void test_indirect_table_odd_length(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, 0, 0);
	lab_desc(lab, 0, TABLE, VHX_DESC_LEN + 1, INDIRECT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_LEN);
}

/* Linux does so where the VMM's queue is shorter than the device's seg_max: it is served. */
static void test_indirect_table_longer_than_queue(void **state)
{
	struct lab *lab = fault_lab(state);

	for (uint16_t i = 0; i < 9; i++)
		lab_table_desc(lab, TABLE, i, BUF, 4, i < 8 ? NEXT : 0, (uint16_t)(i + 1));
	lab_desc(lab, 0, TABLE, 9 * VHX_DESC_LEN, INDIRECT, 0);
	lab_go(lab, 0);
	assert_int_equal(vhx_vring_pop(&lab->r, &lab->chain), 1);
	assert_int_equal(lab->chain.out_len, 36);
	lab_free(lab);
}

static void test_indirect_table_too_long(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, 0, 0);
	lab_desc(lab, 0, TABLE, (VHX_RING_INDIRECT_MAX + 1) * VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_LEN);
}

static void test_indirect_unmapped(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, LAB_BASE + LAB_LEN - VHX_DESC_LEN, 2 * VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_INDIRECT_UNMAPPED);
}

static void test_read_after_write(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 1, BUF, 4, 0, 0);
	lab_desc(lab, 0, BUF, 4, NEXT | WRITE, 1);
	fault_expect(lab, VHX_RING_READ_AFTER_WRITE);
}

static void test_read_after_write_in_indirect_table(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, NEXT | WRITE, 1);
	lab_table_desc(lab, TABLE, 1, BUF, 4, 0, 0);
	lab_desc(lab, 0, TABLE, 2 * VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_READ_AFTER_WRITE);
}

static void test_address_wrap(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, UINT64_MAX - 3, 8, 0, 0);
	fault_expect(lab, VHX_RING_ADDRESS_WRAP);
}

static void test_address_wrap_of_indirect_table(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, UINT64_MAX - VHX_DESC_LEN, 2 * VHX_DESC_LEN, INDIRECT, 0);
	fault_expect(lab, VHX_RING_ADDRESS_WRAP);
}

static void test_unmapped(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, NOWHERE, 4, 0, 0);
	fault_expect(lab, VHX_RING_UNMAPPED);
}

static void test_unmapped_behind_the_last_byte(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, LAB_BASE + LAB_LEN - 4, 5, WRITE, 0);
	fault_expect(lab, VHX_RING_UNMAPPED);
}

static void test_claims_4_gib(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, LAB_BASE, UINT32_MAX, WRITE, 0);
	fault_expect(lab, VHX_RING_UNMAPPED);
}

/* Memory of which every 64 KiB lie elsewhere, and which has any address. Nobody touches it. */
static int crumbled_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	uint64_t n = len / 0x10000;

	if (n > max)
		return -E2BIG;
	for (uint64_t i = 0; i < n; i++)
		iov[i] = (struct iovec){ ctx, 0x10000 };
	return n;
}

static void test_too_many_segments(void **state)
{
	struct lab *lab = fault_lab(state);
	struct iovec *iov = calloc(UINT16_MAX, sizeof(*iov));

	assert_non_null(iov);
	lab->mem.map = crumbled_map;
	lab->chain.in = iov;
	lab->chain.in_max = UINT16_MAX;
	lab_desc(lab, 1, 0, 0x80000000, WRITE, 0);
	lab_desc(lab, 0, 0, 0x80000000, WRITE | NEXT, 1);
	fault_expect(lab, VHX_RING_TOO_MANY_SEGMENTS);
	free(iov);
}

/* Whole in each address, 4 GiB only in sum; and over both directions. */
static int any_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	*iov = (struct iovec){ ctx, len };
	return 1;
}

static void test_len_wrap(void **state)
{
	struct lab *lab = fault_lab(state);

	lab->mem.map = any_map;
	lab_desc(lab, 1, BUF, 0x80000000, 0, 0);
	lab_desc(lab, 0, BUF, 0x80000000, NEXT, 1);
	fault_expect(lab, VHX_RING_LEN_WRAP);
}

static void test_len_wrap_over_both_directions(void **state)
{
	struct lab *lab = fault_lab(state);

	lab->mem.map = any_map;
	lab_desc(lab, 1, BUF, 0x80000000, WRITE, 0);
	lab_desc(lab, 0, BUF, 0x80000000, NEXT, 1);
	fault_expect(lab, VHX_RING_LEN_WRAP);
}

static void test_buffer_id_range(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, BUF, 4, 0, 8);
	fault_expect(lab, VHX_RING_BUFFER_ID);
}

static void test_buffer_id_busy(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_desc(lab, 0, BUF, 4, 0, 5);
	lab_desc(lab, 1, BUF, 4, 0, 5);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_BUFFER_ID);
	lab_free(lab);
}

/* From here on: not faults. */

static void test_no_buffers_takes_nothing(void **state)
{
	struct lab *lab = fault_lab(state);
	uint16_t before = lab->r.avail_idx;

	lab_desc(lab, 1, BUF, 4, WRITE, 0);
	lab_desc(lab, 0, BUF, 4, NEXT, 1);
	lab_go(lab, 0);
	lab->chain.in_max = 0;
	assert_int_equal(lab_pop(lab), -ENOBUFS);
	assert_int_equal(lab->r.avail_idx, before);
	assert_int_equal(lab->r.in_flight, 0);
	lab->chain.in_max = 1;
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.out_cnt, 1);
	assert_int_equal(lab->chain.in_cnt, 1);
	lab_free(lab);
}

static void test_no_buffers_for_a_split_segment(void **state)
{
	struct lab *lab = fault_lab(state);

	/* One descriptor, but it lies over two regions. */
	lab_desc(lab, 0, LAB_BASE + LAB_REGION_LEN - 4, 8, 0, 0);
	lab_go(lab, 0);
	lab->chain.out_max = 1;
	assert_int_equal(lab_pop(lab), -ENOBUFS);
	lab->chain.out_max = 2;
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.out_cnt, 2);
	assert_int_equal(lab->chain.out_len, 8);
	assert_int_equal(lab->out[0].iov_len, 4);
	assert_ptr_equal(lab->out[1].iov_base, lab->regions[1]);
	lab_free(lab);
}

static void test_zero_length_takes_no_segment(void **state)
{
	struct lab *lab = fault_lab(state);

	/* Not even an address is looked at. */
	lab_desc(lab, 2, UINT64_MAX, 0, WRITE, 0);
	lab_desc(lab, 1, BUF, 4, NEXT, 2);
	lab_desc(lab, 0, NOWHERE, 0, NEXT, 1);
	lab_go(lab, 0);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.out_cnt, 1);
	assert_int_equal(lab->chain.in_cnt, 0);
	assert_int_equal(lab->chain.in_len, 0);
	lab_free(lab);
}

static void test_write_flag_of_table_reference_is_ignored(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, NEXT, 1);
	lab_table_desc(lab, TABLE, 1, BUF + 4, 6, WRITE, 0);
	lab_desc(lab, 0, TABLE, 2 * VHX_DESC_LEN, INDIRECT | WRITE, 0);
	lab_go(lab, 0);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.out_len, 4);
	assert_int_equal(lab->chain.in_len, 6);
	lab_free(lab);
}

static void test_direct_then_indirect_split(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF + 4, 6, WRITE, 0);
	lab_desc(lab, 1, TABLE, VHX_DESC_LEN, INDIRECT, 0);
	lab_desc(lab, 0, BUF, 4, NEXT, 1);
	lab_go(lab, 0);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.out_len, 4);
	assert_int_equal(lab->chain.in_len, 6);
	lab_free(lab);
}

/* In a packed table NEXT means nothing: all entries count. */
static void test_next_in_table_is_ignored_packed(void **state)
{
	struct lab *lab = fault_lab(state);

	lab_table_desc(lab, TABLE, 0, BUF, 4, 0, 77);
	lab_table_desc(lab, TABLE, 1, BUF, 6, NEXT | WRITE, 99);
	lab_desc(lab, 0, TABLE, 2 * VHX_DESC_LEN, INDIRECT, 2);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.id, 2);
	assert_int_equal(lab->chain.out_len, 4);
	assert_int_equal(lab->chain.in_len, 6);
	lab_free(lab);
}

/*
 * A table that begins @skew bytes before a region ends: unaligned, in two pieces, entries cut in
 * the middle.
 */
static void test_table_across_regions(void **state)
{
	for (unsigned int skew = 1; skew < 5 * VHX_DESC_LEN; skew++) {
		uint64_t table = LAB_BASE + 2 * LAB_REGION_LEN - skew;
		struct lab *lab = fault_lab(state);

		for (uint16_t i = 0; i < 4; i++)
			lab_table_desc(lab, table, i, BUF + 8 * i, 3 + i, i < 3 ? NEXT : 0, i + 1);
		lab_desc(lab, 0, table, 4 * VHX_DESC_LEN, INDIRECT, 0);
		lab_go(lab, 0);
		assert_int_equal(lab_pop(lab), 1);
		assert_int_equal(lab->chain.out_cnt, 4);
		for (uint16_t i = 0; i < 4; i++) {
			assert_ptr_equal(lab->out[i].iov_base, lab_at(lab, BUF + 8 * i));
			assert_int_equal(lab->out[i].iov_len, 3 + i);
		}
		lab_free(lab);
	}
}

static void test_longest_chain(void **state)
{
	struct lab *lab = fault_lab(state);

	for (int i = 7; i >= 0; i--)
		lab_desc(lab, i, BUF, 4, i < 7 ? NEXT : 0, lab_packed(lab) ? 6 : i + 1);
	lab_go(lab, 0);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab->chain.out_cnt, 8);
	assert_int_equal(lab->chain.id, lab_packed(lab) ? 6 : 0);
	assert_int_equal(lab_pop(lab), 0);
	lab_free(lab);
}

static void test_sizes(void **state)
{
	static const struct {
		uint32_t size, features;
		int ret;
	} t[] = {
		{ 0, 0, -EINVAL },
		{ 3, 0, -EINVAL },
		{ 1, 0, 0 },
		{ 32768, 0, 0 },
		{ 32769, VHX_RING_F_PACKED, -EINVAL },
		{ 0, VHX_RING_F_PACKED, -EINVAL },
		{ 3, VHX_RING_F_PACKED, 0 },
		{ 32768, VHX_RING_F_PACKED, 0 },
	};
	struct vhx_ring_slot *slots = calloc(32768, sizeof(*slots));
	struct vhx_ring_mem mem = { .map = any_map };
	char area[64] __attribute__((aligned(16)));
	struct vhx_vring r;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(t); i++) {
		struct vhx_vring_config cfg = { t[i].size, t[i].features, area, area, area, 0,
						0,	   &mem,	  slots };

		assert_int_equal(vhx_vring_init(&r, &cfg, 0, 0), t[i].ret);
		cfg.desc = area + 8;
		assert_int_equal(vhx_vring_init(&r, &cfg, 0, 0), -EINVAL);
	}
	free(slots);
}

static void test_packed_positions(void **state)
{
	static const struct {
		uint16_t avail, used;
		int ret;
	} t[] = {
		{ 5, 5, 0 },
		{ 6, 4, 0 },
		{ 4, 6, -EINVAL },
		{ 4 | VHX_POS_WRAP, 6, 0 },
		{ 6 | VHX_POS_WRAP, 4, -EINVAL },
		{ 4 | VHX_POS_WRAP, 4, 0 },
		{ 7, 7, -EINVAL },
	};
	struct vhx_ring_slot slots[7];
	struct vhx_ring_mem mem = { .map = any_map };
	char area[7 * 16] __attribute__((aligned(16)));
	struct vhx_vring_config cfg = { 7, VHX_RING_F_PACKED, area, area, area, 0, 0, &mem, slots };
	struct vhx_vring r;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(t); i++)
		assert_int_equal(vhx_vring_init(&r, &cfg, t[i].avail, t[i].used), t[i].ret);
}

/* Copies of a predecessor come from memory that others write: no form of them may do harm. */
static void test_adopted_copies_that_are_no_chain(void **state)
{
	static const struct {
		struct vhx_ring_copy copies[3];
		uint16_t cnt;
	} bad[] = {
		{ .cnt = 0 },
		{ { { .flags = VIRTQ_DESC_F_NEXT } }, 1 }, /* does not end */
		{ { { .flags = 0 }, { .flags = 0 } }, 2 }, /* ends early */
		{ { { .flags = VIRTQ_DESC_F_NEXT }, { .flags = VIRTQ_DESC_F_NEXT } }, 2 },
		{ { { .id = 4 } }, 1 },
		{ { { .id = UINT16_MAX } }, 1 },
	};
	const struct vhx_ring_copy one = { .addr = LAB_BASE, .len = 8, .id = 3 };
	struct lab *lab = lab_new(4, VHX_RING_F_PACKED);
	uint16_t avail = lab->r.avail_idx;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(bad); i++)
		assert_int_equal(vhx_vring_adopt_packed(&lab->r, bad[i].copies, bad[i].cnt),
				 -EINVAL);
	assert_int_equal(lab->r.avail_idx, avail);
	assert_int_equal(vhx_vring_adopt_packed(&lab->r, &one, 1), 0);
	assert_int_equal(vhx_vring_adopt_packed(&lab->r, &one, 1), -EINVAL);
	assert_int_equal(lab->r.in_flight, 1);
	lab_free(lab);
	lab = lab_new(4, 0);
	assert_int_equal(vhx_vring_adopt_packed(&lab->r, &one, 1), -EINVAL);
	lab_free(lab);
}

static void test_adopted_chains_longer_than_the_ring(void **state)
{
	struct vhx_ring_copy copies[4] = { { .flags = VIRTQ_DESC_F_NEXT, .id = 9 },
					   { .flags = VIRTQ_DESC_F_NEXT, .id = 9 } };
	struct lab *lab = lab_new(4, VHX_RING_F_PACKED);

	assert_int_equal(vhx_vring_adopt_packed(&lab->r, copies, 3), 0);
	copies[1] = (struct vhx_ring_copy){ .id = 1 };
	assert_int_equal(vhx_vring_adopt_packed(&lab->r, copies, 2), -EINVAL);
	assert_int_equal(vhx_vring_adopt_packed(&lab->r, copies + 1, 1), 0);
	copies[1].id = 2;
	assert_int_equal(vhx_vring_adopt_packed(&lab->r, copies + 1, 1), -EINVAL);
	/* one lap: the same entry with the other wrap counter */
	assert_int_equal(lab->r.avail_idx, lab->r.used_idx ^ VHX_POS_WRAP);
	lab_free(lab);
}

/* What adopted copies describe is checked by the walk, as what the ring says. */
static void test_adopted_chain_outside_memory(void **state)
{
	const struct vhx_ring_copy copy = { .addr = UINT64_MAX, .len = 8 };
	struct lab *lab = lab_new(4, VHX_RING_F_PACKED);

	assert_int_equal(vhx_vring_adopt_packed(&lab->r, &copy, 1), 0);
	assert_int_equal(vhx_vring_rewalk(&lab->r, 0, &lab->chain), -EPROTO);
	assert_int_equal(lab->r.broken, VHX_RING_ADDRESS_WRAP);
	lab_free(lab);
}

static void test_fault_names(void **state)
{
	for (unsigned int i = 0; i < VHX_RING_FAULT_CNT_; i++) {
		assert_non_null(vhx_ring_fault_name(i));
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(vhx_ring_fault_name(i), vhx_ring_fault_name(j));
	}
	assert_string_equal(vhx_ring_fault_name(VHX_RING_FAULT_CNT_), "unknown");
	assert_string_equal(vhx_ring_fault_name(-1), "unknown");
}

#define SPLIT(f)                                                          \
	{                                                                 \
#f "/split", f, NULL, NULL, (void *)(uintptr_t)&split_all \
	}
#define PACKED(f)                                                           \
	{                                                                   \
#f "/packed", f, NULL, NULL, (void *)(uintptr_t)&packed_all \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SPLIT(test_avail_overrun),
		SPLIT(test_avail_overrun_with_chains_in_flight),
		SPLIT(test_avail_overrun_index_goes_back),
		PACKED(test_avail_overrun_packed),
		PACKED(test_avail_overrun_packed_before_flush),
		SPLIT(test_head_range),
		SPLIT(test_head_busy),
		SPLIT(test_next_range),
		SPLIT(test_next_range_in_indirect_table),
		SPLIT(test_loop),
		SPLIT(test_loop_of_empty_descriptors),
		SPLIT(test_loop_in_indirect_table),
		PACKED(test_loop_packed),
		SPLIT(test_indirect_off),
		PACKED(test_indirect_off),
		SPLIT(test_indirect_nested),
		PACKED(test_indirect_nested),
		SPLIT(test_indirect_next),
		PACKED(test_indirect_next),
		PACKED(test_indirect_next_direct_then_indirect_packed),
		SPLIT(test_indirect_table_empty),
		PACKED(test_indirect_table_empty),
		SPLIT(test_indirect_table_odd_length),
		PACKED(test_indirect_table_odd_length),
		SPLIT(test_indirect_table_longer_than_queue),
		PACKED(test_indirect_table_longer_than_queue),
		SPLIT(test_indirect_table_too_long),
		PACKED(test_indirect_table_too_long),
		SPLIT(test_indirect_unmapped),
		PACKED(test_indirect_unmapped),
		SPLIT(test_read_after_write),
		PACKED(test_read_after_write),
		SPLIT(test_read_after_write_in_indirect_table),
		PACKED(test_read_after_write_in_indirect_table),
		SPLIT(test_address_wrap),
		PACKED(test_address_wrap),
		SPLIT(test_address_wrap_of_indirect_table),
		PACKED(test_address_wrap_of_indirect_table),
		SPLIT(test_unmapped),
		PACKED(test_unmapped),
		SPLIT(test_unmapped_behind_the_last_byte),
		PACKED(test_unmapped_behind_the_last_byte),
		SPLIT(test_claims_4_gib),
		PACKED(test_claims_4_gib),
		SPLIT(test_too_many_segments),
		PACKED(test_too_many_segments),
		SPLIT(test_len_wrap),
		PACKED(test_len_wrap),
		SPLIT(test_len_wrap_over_both_directions),
		PACKED(test_len_wrap_over_both_directions),
		PACKED(test_buffer_id_range),
		PACKED(test_buffer_id_busy),
		SPLIT(test_no_buffers_takes_nothing),
		PACKED(test_no_buffers_takes_nothing),
		SPLIT(test_no_buffers_for_a_split_segment),
		PACKED(test_no_buffers_for_a_split_segment),
		SPLIT(test_zero_length_takes_no_segment),
		PACKED(test_zero_length_takes_no_segment),
		SPLIT(test_write_flag_of_table_reference_is_ignored),
		PACKED(test_write_flag_of_table_reference_is_ignored),
		SPLIT(test_direct_then_indirect_split),
		PACKED(test_next_in_table_is_ignored_packed),
		SPLIT(test_table_across_regions),
		PACKED(test_table_across_regions),
		SPLIT(test_longest_chain),
		PACKED(test_longest_chain),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_packed_positions),
		cmocka_unit_test(test_adopted_copies_that_are_no_chain),
		cmocka_unit_test(test_adopted_chains_longer_than_the_ring),
		cmocka_unit_test(test_adopted_chain_outside_memory),
		cmocka_unit_test(test_fault_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
