// SPDX-License-Identifier: BSD-3-Clause
/*
 * Notifications both ways, and what flush writes: the arithmetic of event indices against a slow
 * model, suppression with its recheck, one used-index update per flush, and what is told dirty in
 * which order.
 */
#include "ringlab.h"

#define BUF LAB_BASE

/* By the words of 2.7.10.2: was the entry at @event one of those from @old to @new - 1? */
static bool slow_split_due(uint16_t event, uint16_t new, uint16_t old)
{
	for (uint16_t i = old; i != new; i++)
		if (i == event)
			return true;
	return false;
}

static void test_split_event_due(void **state)
{
	static const uint16_t bases[] = { 0, 1, 100, 32766, 32768, 65530, 65535 };

	for (size_t b = 0; b < VHX_ARRAY_SIZE(bases); b++)
		for (int cnt = 0; cnt < 12; cnt++)
			for (int ev = -15; ev < 15; ev++) {
				uint16_t old = bases[b], new = old + cnt, event = old + ev;

				assert_int_equal(vhx_split_event_due(event, new, old),
						 slow_split_due(event, new, old));
			}
}

static bool slow_packed_due(uint16_t event, uint16_t old, uint16_t cnt, uint16_t size)
{
	for (uint16_t pos = old; cnt; cnt--, pos = vhx_pos_add(pos, 1, size))
		if (pos == event)
			return true;
	return false;
}

/* All positions of both laps, all distances, all events. */
static void test_packed_event_due(void **state)
{
	for (uint16_t size = 1; size < 10; size++)
		for (uint16_t o = 0; o < 2 * size; o++)
			for (uint16_t e = 0; e < 2 * size; e++)
				for (uint16_t cnt = 0; cnt <= size; cnt++) {
					uint16_t old = vhx_pos_add(0, o % size, size) |
						       (o < size ? 0 : VHX_POS_WRAP);
					uint16_t ev = e % size | (e < size ? 0 : VHX_POS_WRAP);
					uint16_t new = vhx_pos_add(old, cnt, size);

					assert_int_equal(vhx_packed_event_due(ev, new, old, size),
							 slow_packed_due(ev, old, cnt, size));
					assert_int_equal(vhx_pos_distance(old, new, size), cnt);
				}
}

/* One request through the ring; what each end says about notifying. */
struct round {
	bool kick, call;
};

static struct round one_round(struct lab *lab)
{
	struct vhx_vdriver_seg seg = { BUF, 8 };
	struct round round;
	uint32_t used_len;
	uint16_t id;

	assert_true(vhx_vdriver_add(&lab->d, &seg, 0, 1) >= 0);
	round.kick = vhx_vdriver_publish(&lab->d);
	assert_int_equal(lab_pop(lab), 1);
	vhx_vring_push(&lab->r, lab->chain.id, 8);
	round.call = vhx_vring_flush(&lab->r);
	assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 1);
	assert_int_equal(used_len, 8);
	return round;
}

static const uint32_t split_flags = 0;
static const uint32_t split_event = VHX_RING_F_EVENT_IDX;
static const uint32_t packed_flags = VHX_RING_F_PACKED;
static const uint32_t packed_event = VHX_RING_F_PACKED | VHX_RING_F_EVENT_IDX;

static struct lab *event_lab(void **state)
{
	return lab_new(8, *(const uint32_t *)*state);
}

static void test_kick_suppression(void **state)
{
	struct lab *lab = event_lab(state);

	assert_false(vhx_vring_enable_kick(&lab->r));
	assert_true(one_round(lab).kick);
	vhx_vring_disable_kick(&lab->r);
	for (int i = 0; i < 20; i++)
		assert_false(one_round(lab).kick);
	assert_false(vhx_vring_enable_kick(&lab->r));
	assert_true(one_round(lab).kick);
	lab_free(lab);
}

static void test_call_suppression(void **state)
{
	struct lab *lab = event_lab(state);

	assert_false(vhx_vdriver_enable_call(&lab->d));
	assert_true(one_round(lab).call);
	vhx_vdriver_disable_call(&lab->d);
	for (int i = 0; i < 20; i++)
		assert_false(one_round(lab).call);
	assert_false(vhx_vdriver_enable_call(&lab->d));
	assert_true(one_round(lab).call);
	lab_free(lab);
}

/* With EVENT_IDX one notification per request for one, however many follow. */
static void test_event_idx_asks_once(void **state)
{
	struct lab *lab = event_lab(state);

	one_round(lab);
	for (int i = 0; i < 100; i++) {
		assert_false(vhx_vring_enable_kick(&lab->r));
		assert_false(vhx_vdriver_enable_call(&lab->d));
		for (int j = 0; j < 5; j++) {
			struct round round = one_round(lab);

			assert_int_equal(round.kick, j == 0);
			assert_int_equal(round.call, j == 0);
		}
	}
	lab_free(lab);
}

/* After a start nobody knows what the driver was told: it is told. */
static void test_first_call_after_start(void **state)
{
	struct lab *lab = event_lab(state);

	assert_true(one_round(lab).call);
	assert_false(one_round(lab).call);
	lab_reinit(lab);
	assert_true(one_round(lab).call);
	lab_free(lab);
}

static void test_enable_kick_recheck(void **state)
{
	struct lab *lab = event_lab(state);
	struct vhx_vdriver_seg seg = { BUF, 8 };

	assert_true(vhx_vdriver_add(&lab->d, &seg, 1, 0) >= 0);
	assert_false(vhx_vring_enable_kick(&lab->r));
	vhx_vdriver_publish(&lab->d);
	assert_true(vhx_vring_enable_kick(&lab->r));
	assert_int_equal(lab_pop(lab), 1);
	assert_false(vhx_vring_enable_kick(&lab->r));
	lab_free(lab);
}

/* Popped from a batch that was looked at before: the rest of it counts as news too. */
static void test_enable_kick_recheck_within_batch(void **state)
{
	struct lab *lab = event_lab(state);
	struct vhx_vdriver_seg seg = { BUF, 8 };

	for (int i = 0; i < 2; i++)
		assert_true(vhx_vdriver_add(&lab->d, &seg, 1, 0) >= 0);
	vhx_vdriver_publish(&lab->d);
	assert_int_equal(lab_pop(lab), 1);
	assert_true(vhx_vring_enable_kick(&lab->r));
	assert_int_equal(lab_pop(lab), 1);
	assert_false(vhx_vring_enable_kick(&lab->r));
	lab_free(lab);
}

static void test_enable_call_recheck(void **state)
{
	struct lab *lab = event_lab(state);
	struct vhx_vdriver_seg seg = { BUF, 8 };
	uint32_t used_len;
	uint16_t id;

	assert_true(vhx_vdriver_add(&lab->d, &seg, 1, 0) >= 0);
	vhx_vdriver_publish(&lab->d);
	assert_int_equal(lab_pop(lab), 1);
	vhx_vring_push(&lab->r, lab->chain.id, 0);
	assert_false(vhx_vdriver_enable_call(&lab->d));
	vhx_vring_flush(&lab->r);
	assert_true(vhx_vdriver_enable_call(&lab->d));
	assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 1);
	assert_false(vhx_vdriver_enable_call(&lab->d));
	lab_free(lab);
}

static void pop_some(struct lab *lab, int cnt, uint16_t *ids)
{
	struct vhx_vdriver_seg seg = { BUF, 8 };

	for (int i = 0; i < cnt; i++)
		assert_true(vhx_vdriver_add(&lab->d, &seg, 0, 1) >= 0);
	vhx_vdriver_publish(&lab->d);
	for (int i = 0; i < cnt; i++) {
		assert_int_equal(lab_pop(lab), 1);
		ids[i] = lab->chain.id;
	}
}

/* Nothing is visible before flush, all is after it. */
static void test_one_used_update_per_flush(void **state)
{
	struct lab *lab = event_lab(state);
	uint32_t used_len;
	uint16_t ids[5], id;

	for (int n = 0; n < 7; n++) {
		pop_some(lab, 5, ids);
		for (int i = 0; i < 5; i++) {
			vhx_vring_push(&lab->r, ids[4 - i], i);
			assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 0);
		}
		vhx_vring_flush(&lab->r);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 1);
			assert_int_equal(id, ids[4 - i]);
			assert_int_equal(used_len, i);
		}
		/* Nothing was pushed: no update, no notification. */
		assert_false(vhx_vring_flush(&lab->r));
	}
	lab_free(lab);
}

/* The avail index is read once for a batch: what comes meanwhile waits until that is through. */
static void test_avail_index_read_once_per_batch(void **state)
{
	struct lab *lab = event_lab(state);
	struct vhx_split_avail *avail = lab->driver;
	struct vhx_vdriver_seg seg = { BUF, 8 };

	for (int i = 0; i < 3; i++)
		assert_true(vhx_vdriver_add(&lab->d, &seg, 1, 0) >= 0);
	vhx_vdriver_publish(&lab->d);
	assert_int_equal(lab_pop(lab), 1);
	/* Nonsense that only a second read would notice. */
	avail->idx = vhx_le16_of(1000);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab_pop(lab), 1);
	assert_int_equal(lab_pop(lab), -EPROTO);
	lab_free(lab);
}

static void assert_dirty(struct lab *lab, unsigned int i, uint64_t addr, uint64_t len)
{
	assert_true(i < lab->dirty_cnt);
	assert_int_equal(lab->dirty[i].addr, addr);
	assert_int_equal(lab->dirty[i].len, len);
}

static void test_dirty_split(void **state)
{
	struct lab *lab = event_lab(state);
	uint16_t ids[6];

	pop_some(lab, 6, ids);
	for (int i = 0; i < 6; i++)
		vhx_vring_push(&lab->r, ids[i], 0);
	vhx_vring_flush(&lab->r);
	assert_int_equal(lab->dirty_cnt, 2);
	/* The entries while the old index stands, the index after it moved. */
	assert_dirty(lab, 0, LAB_DEVICE_ADDR + 4, 6 * 8);
	assert_int_equal(lab->dirty[0].used_idx, 0);
	assert_dirty(lab, 1, LAB_DEVICE_ADDR + 2, 2);
	assert_int_equal(lab->dirty[1].used_idx, 6);

	for (int i = 0; i < 6; i++) {
		uint32_t used_len;
		uint16_t id;

		assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 1);
	}
	/* Round the end of the ring: two pieces. */
	lab->dirty_cnt = 0;
	pop_some(lab, 4, ids);
	for (int i = 0; i < 4; i++)
		vhx_vring_push(&lab->r, ids[i], 0);
	vhx_vring_flush(&lab->r);
	assert_int_equal(lab->dirty_cnt, 3);
	assert_dirty(lab, 0, LAB_DEVICE_ADDR + 4 + 6 * 8, 2 * 8);
	assert_dirty(lab, 1, LAB_DEVICE_ADDR + 4, 2 * 8);
	assert_dirty(lab, 2, LAB_DEVICE_ADDR + 2, 2);
	lab_free(lab);
}

static void test_dirty_packed(void **state)
{
	struct lab *lab = event_lab(state);
	uint16_t ids[3];

	pop_some(lab, 3, ids);
	for (int i = 0; i < 3; i++)
		vhx_vring_push(&lab->r, ids[i], 0);
	vhx_vring_flush(&lab->r);
	assert_int_equal(lab->dirty_cnt, 2);
	assert_dirty(lab, 0, LAB_DESC_ADDR, 3 * VHX_DESC_LEN);
	assert_false(lab->dirty[0].flags & VIRTQ_DESC_F_USED);
	assert_dirty(lab, 1, LAB_DESC_ADDR, VHX_DESC_LEN);
	assert_true(lab->dirty[1].flags & VIRTQ_DESC_F_USED);
	lab_free(lab);
}

static void test_dirty_suppression_areas(void **state)
{
	struct lab *lab = event_lab(state);
	bool packed = lab_packed(lab), event = lab->features & VHX_RING_F_EVENT_IDX;

	vhx_vring_enable_kick(&lab->r);
	assert_int_equal(lab->dirty_cnt, 1);
	if (packed)
		assert_dirty(lab, 0, LAB_DEVICE_ADDR, 4);
	else
		assert_dirty(lab, 0, LAB_DEVICE_ADDR + (event ? 4 + 8 * 8 : 0), 2);
	vhx_vring_disable_kick(&lab->r);
	/* Split with EVENT_IDX has nothing to say it with. */
	assert_int_equal(lab->dirty_cnt, !packed && event ? 1 : 2);
	/* Said once, nothing more is written. */
	vhx_vring_disable_kick(&lab->r);
	assert_int_equal(lab->dirty_cnt, !packed && event ? 1 : 2);
	lab_free(lab);
}

/* Values that the specification reserves mean "notify", never silence. */
static void test_packed_reserved_event_flags(void **state)
{
	struct lab *lab = event_lab(state);
	struct vhx_packed_event *ev = lab->driver;

	one_round(lab);
	ev->word = vhx_le32_of(3u << 16);
	assert_true(one_round(lab).call);
	ev->word = vhx_le32_of(RING_EVENT_FLAGS_DISABLE << 16);
	assert_false(one_round(lab).call);
	ev->word = vhx_le32_of(RING_EVENT_FLAGS_DESC << 16 | 7);
	/* DESC is a reserved value without EVENT_IDX. */
	assert_int_equal(one_round(lab).call, !(lab->features & VHX_RING_F_EVENT_IDX));
	lab_free(lab);
}

static void test_area_lengths(void **state)
{
	assert_int_equal(vhx_ring_desc_len(256, 0), 4096);
	assert_int_equal(vhx_ring_driver_len(256, 0), 6 + 2 * 256);
	assert_int_equal(vhx_ring_device_len(256, 0), 6 + 8 * 256);
	assert_int_equal(vhx_ring_desc_len(100, VHX_RING_F_PACKED), 1600);
	assert_int_equal(vhx_ring_driver_len(100, VHX_RING_F_PACKED), 4);
	assert_int_equal(vhx_ring_device_len(100, VHX_RING_F_PACKED), 4);
	assert_int_equal(vhx_ring_device_len(32768, 0), 6 + 8 * 32768);
}

#define ON(f, features)                                                       \
	{                                                                     \
#f "/" #features, f, NULL, NULL, (void *)(uintptr_t)&features \
	}
#define ON_ALL(f) ON(f, split_flags), ON(f, split_event), ON(f, packed_flags), ON(f, packed_event)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_event_due),
		cmocka_unit_test(test_packed_event_due),
		cmocka_unit_test(test_area_lengths),
		ON_ALL(test_kick_suppression),
		ON_ALL(test_call_suppression),
		ON(test_event_idx_asks_once, split_event),
		ON(test_event_idx_asks_once, packed_event),
		ON(test_first_call_after_start, split_event),
		ON_ALL(test_enable_kick_recheck),
		ON_ALL(test_enable_kick_recheck_within_batch),
		ON_ALL(test_enable_call_recheck),
		ON_ALL(test_one_used_update_per_flush),
		ON(test_avail_index_read_once_per_batch, split_flags),
		ON(test_dirty_split, split_flags),
		ON(test_dirty_packed, packed_flags),
		ON_ALL(test_dirty_suppression_areas),
		ON(test_packed_reserved_event_flags, packed_flags),
		ON(test_packed_reserved_event_flags, packed_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
