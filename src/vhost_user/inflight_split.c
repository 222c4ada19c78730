// SPDX-License-Identifier: BSD-3-Clause
/*
 * Inflight tracking of split rings. The protocol's layout and order of stores are followed to the
 * letter, so that a death between any two of them loses nothing and repeats nothing:
 *
 *   pop:     counter, then inflight = 1
 *   push:    next = head of last batch, then head = id        (before the used index moves)
 *   publish: used index (src/ring), then inflight = 0 of the batch, then used_idx
 *
 * A successor compares used_idx with the used ring: a difference says how many entries of the last
 * batch were published without having been noted, and those are cleared first. What still is in
 * flight goes out again in the order of its counters; the counters are then renumbered from 0,
 * which keeps their order at every step and leaves no room for one that was forged near the end of
 * 64 bits.
 */
#include <stdlib.h>

#include "util/barrier.h"
#include "vhost_user/inflight_format.h"

struct split_entry {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
_Static_assert(sizeof(struct split_entry) == 16, "split entry");
_Static_assert(offsetof(struct split_entry, counter) == 8, "split entry");

struct split_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct split_entry desc[];
};
_Static_assert(sizeof(struct split_region) == 16, "split region");
_Static_assert(offsetof(struct split_region, version) ==
		       offsetof(struct vhx_vu_inflight_head, version),
	       "split region");
_Static_assert(offsetof(struct split_region, desc_num) ==
		       offsetof(struct vhx_vu_inflight_head, desc_num),
	       "split region");

static void split_init(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring)
{
	struct split_region *r = iq->region;

	for (uint16_t i = 0; i < iq->desc_num; i++)
		r->desc[i] = (struct split_entry){ 0 };
	vhx_store_relaxed(&r->last_batch_head, 0);
	vhx_store_relaxed(&r->used_idx, ring->used);
}

/* Takes the newest @cnt entries of the last batch out of @inflight: published, but not noted. */
static int batch_finish(const struct split_region *r, uint8_t *inflight, uint16_t size,
			uint16_t cnt)
{
	uint16_t id = vhx_load_relaxed(&r->last_batch_head);

	if (cnt > size)
		return -EPROTO;
	while (cnt--) {
		if (id >= size)
			return -EPROTO;
		inflight[id] = 0;
		id = vhx_load_relaxed(&r->desc[id].next);
	}
	return 0;
}

/* Our copy of the flags; how many are set. */
static uint16_t inflight_read(const struct split_region *r, uint8_t *inflight, uint16_t size)
{
	uint16_t cnt = 0;

	for (uint16_t i = 0; i < size; i++) {
		inflight[i] = vhx_load_relaxed(&r->desc[i].inflight);
		cnt += inflight[i] != 0;
	}
	return cnt;
}

static uint16_t split_collect(const struct split_region *r, const uint8_t *inflight, uint16_t size,
			      struct vhx_vu_inflight_left *left)
{
	uint16_t cnt = 0;

	for (uint16_t i = 0; i < size; i++) {
		if (!inflight[i])
			continue;
		left[cnt].entry = i;
		left[cnt].counter = vhx_load_relaxed(&r->desc[i].counter);
		cnt++;
	}
	vhx_vu_inflight_sort(left, cnt);
	return cnt;
}

/* Brings the region to what was decided. The batch is over before used_idx says so. */
static void split_settle(struct vhx_vu_inflight_queue *iq, const uint8_t *inflight,
			 const struct vhx_vu_inflight_left *left, uint16_t used_idx)
{
	struct split_region *r = iq->region;

	for (uint16_t i = 0; i < iq->size; i++) {
		if (!inflight[i])
			vhx_store_release(&r->desc[i].inflight, 0);
	}
	vhx_store_release(&r->used_idx, used_idx);
	for (uint16_t i = 0; i < iq->resubmit_cnt; i++) {
		iq->resubmit[i] = left[i].entry;
		vhx_store_release(&r->desc[left[i].entry].counter, i);
	}
}

static int split_recover(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring)
{
	struct split_region *r = iq->region;
	struct vhx_vu_inflight_left *left = calloc(iq->size, sizeof(*left));
	uint8_t *inflight = calloc(iq->size, sizeof(*inflight));
	int ret = left && inflight ? 0 : -ENOMEM;

	/* Nothing in flight: a ring that starts anew rightly has another used index. */
	if (!ret && inflight_read(r, inflight, iq->size))
		ret = batch_finish(r, inflight, iq->size,
				   (uint16_t)(ring->used - vhx_load_relaxed(&r->used_idx)));
	if (!ret) {
		iq->resubmit_cnt = split_collect(r, inflight, iq->size, left);
		split_settle(iq, inflight, left, ring->used);
	}
	free(inflight);
	free(left);
	return ret;
}

static void split_popped(struct vhx_vu_inflight_queue *iq, uint16_t id,
			 const struct vhx_ring_copy *copies, uint16_t cnt)
{
	struct split_region *r = iq->region;

	vhx_store_relaxed(&r->desc[id].counter, iq->counter++);
	vhx_store_release(&r->desc[id].inflight, 1);
}

static void split_pushed(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	uint16_t head = iq->batch_cnt ? iq->batch[iq->batch_cnt - 1] : 0;
	struct split_region *r = iq->region;

	/* Link first: the list is whole at any moment. */
	vhx_store_relaxed(&r->desc[id].next, head);
	vhx_store_release(&r->last_batch_head, id);
}

static void split_publish(struct vhx_vu_inflight_queue *iq, uint16_t used)
{
	/* All was noted as it was pushed. */
}

static void split_published(struct vhx_vu_inflight_queue *iq, uint16_t used)
{
	struct split_region *r = iq->region;

	for (uint16_t i = 0; i < iq->batch_cnt; i++)
		vhx_store_release(&r->desc[iq->batch[i]].inflight, 0);
	vhx_store_release(&r->used_idx, used);
}

const struct vhx_vu_inflight_format vhx_vu_inflight_split = {
	.head_len = sizeof(struct split_region),
	.entry_len = sizeof(struct split_entry),
	.init = split_init,
	.recover = split_recover,
	.popped = split_popped,
	.pushed = split_pushed,
	.publish = split_publish,
	.published = split_published,
};
