// SPDX-License-Identifier: BSD-3-Clause
/*
 * Inflight tracking in memory that the VMM keeps across deaths of this process.
 *
 * Split rings follow the protocol's layout and order of stores to the letter, so that a death
 * between any two of them loses nothing and repeats nothing:
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
 *
 * With IN_ORDER a push waits in src/ring until all older requests are pushed as well; its entry
 * joins the batch only then, since the batch must be exactly what the next publication covers.
 *
 * Packed rings: the protocol's layout keeps a copy of every descriptor, because used descriptors
 * overwrite those of requests still in flight. src/ring can walk a chain only where the driver put
 * it, so nothing can be submitted again. We note per buffer id what is in flight, and refuse to
 * start a queue whose predecessor left something, rather than lose it silently.
 *
 * Hostile VMM: it can write the region at any time. It is sealed against shrinking, every index
 * read from it is held against the queue's size, every loop is bounded by the queue's size, and
 * while a queue runs decisions are made on private copies only: nothing but bookkeeping is ever
 * read back.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/barrier.h"
#include "util/checked.h"
#include "vhost_user/inflight.h"

#define REGION_VERSION 1
/* Queues' parts start on cache lines. */
#define STRIDE_ALIGN 64u

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

struct packed_entry {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
_Static_assert(sizeof(struct packed_entry) == 32, "packed entry");

struct packed_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[7];
	struct packed_entry desc[];
};
_Static_assert(offsetof(struct packed_region, desc) == 32, "packed region");
_Static_assert(offsetof(struct split_region, version) == offsetof(struct packed_region, version),
	       "reset need not know the layout");

static uint64_t region_len(uint16_t size, bool packed)
{
	return packed ? sizeof(struct packed_region) + (uint64_t)size * sizeof(struct packed_entry)
		      : sizeof(struct split_region) + (uint64_t)size * sizeof(struct split_entry);
}

static int memfd_sealed(uint64_t len, int *fd)
{
	int ret;

	*fd = memfd_create("vhost-user-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return -errno;
	if (ftruncate(*fd, (off_t)len) < 0 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		ret = -errno;
		close(*fd);
		*fd = -1;
		return ret;
	}
	return 0;
}

int vhx_vu_inflight_create(struct vhx_vu_inflight *inf, uint16_t queue_num, uint16_t queue_size,
			   bool packed, int *fd)
{
	uint64_t len = region_len(queue_size, packed);
	int ret;

	len = (len + STRIDE_ALIGN - 1) & ~(uint64_t)(STRIDE_ALIGN - 1);
	ret = memfd_sealed(len * queue_num, fd);
	if (ret)
		return ret;
	ret = vhx_vu_inflight_set(inf, *fd, 0, len * queue_num, queue_num, queue_size);
	if (ret) {
		close(*fd);
		*fd = -1;
	}
	return ret;
}

/*
 * The stride is what the size says for each queue: whoever made the region divided it evenly, with
 * an alignment that the protocol leaves open.
 */
int vhx_vu_inflight_set(struct vhx_vu_inflight *inf, int fd, uint64_t off, uint64_t len,
			uint16_t queue_num, uint16_t queue_size)
{
	uint64_t stride = queue_num ? len / queue_num : 0;
	struct vhx_vu_map map;
	int seals, ret;

	if (stride < region_len(queue_size, false) || len % queue_num || stride % 8 || off % 8)
		return -EINVAL;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return -EPERM;
	ret = vhx_vu_map_open(&map, fd, off, len);
	if (ret)
		return ret;
	vhx_vu_inflight_fini(inf);
	inf->map = map;
	inf->stride = stride;
	inf->queue_num = queue_num;
	inf->queue_size = queue_size;
	return 0;
}

void vhx_vu_inflight_fini(struct vhx_vu_inflight *inf)
{
	vhx_vu_map_close(&inf->map);
}

static void *region_at(const struct vhx_vu_inflight *inf, uint16_t index)
{
	return inf->map.data + inf->stride * index;
}

void vhx_vu_inflight_reset(struct vhx_vu_inflight *inf)
{
	for (uint16_t i = 0; inf->map.data && i < inf->queue_num; i++) {
		struct split_region *r = region_at(inf, i);

		vhx_store_relaxed(&r->version, 0);
	}
}

/* Private copy of what the predecessor left, for sorting. */
struct left {
	uint64_t counter;
	uint16_t id;
};

static int left_compare(const void *a, const void *b)
{
	const struct left *l = a, *r = b;

	if (l->counter != r->counter)
		return l->counter < r->counter ? -1 : 1;
	return l->id < r->id ? -1 : l->id > r->id;
}

static void split_format(struct split_region *r, uint16_t desc_num, uint16_t used_idx)
{
	for (uint16_t i = 0; i < desc_num; i++)
		r->desc[i] = (struct split_entry){ 0 };
	r->features = 0;
	r->desc_num = desc_num;
	r->last_batch_head = 0;
	r->used_idx = used_idx;
	/* Last: a half-made region counts as none. Partner: the successor's read of version. */
	vhx_store_release(&r->version, REGION_VERSION);
}

/* Clears the newest @cnt entries of the last batch: published, but not noted. */
static int batch_finish(struct split_region *r, uint16_t size, uint16_t cnt)
{
	uint16_t id = vhx_load_relaxed(&r->last_batch_head);

	if (cnt > size)
		return -EPROTO;
	while (cnt--) {
		if (id >= size)
			return -EPROTO;
		vhx_store_relaxed(&r->desc[id].inflight, 0);
		id = vhx_load_relaxed(&r->desc[id].next);
	}
	return 0;
}

static uint16_t split_collect(struct split_region *r, uint16_t size, struct left *left)
{
	uint16_t cnt = 0;

	for (uint16_t i = 0; i < size; i++) {
		if (!vhx_load_relaxed(&r->desc[i].inflight))
			continue;
		left[cnt].id = i;
		left[cnt].counter = vhx_load_relaxed(&r->desc[i].counter);
		cnt++;
	}
	qsort(left, cnt, sizeof(*left), left_compare);
	return cnt;
}

static bool split_idle(struct split_region *r, uint16_t size)
{
	for (uint16_t i = 0; i < size; i++) {
		if (vhx_load_relaxed(&r->desc[i].inflight))
			return false;
	}
	return true;
}

static int split_recover(struct vhx_vu_inflight_queue *iq, uint16_t used_idx)
{
	struct split_region *r = iq->region;
	struct left *left;
	int ret;

	/* Nothing in flight: a ring that starts anew rightly has another used index. */
	if (!split_idle(r, iq->size)) {
		ret = batch_finish(r, iq->size,
				   (uint16_t)(used_idx - vhx_load_relaxed(&r->used_idx)));
		if (ret)
			return ret;
	}
	vhx_store_release(&r->used_idx, used_idx);
	left = calloc(iq->size, sizeof(*left));
	if (!left)
		return -ENOMEM;
	iq->resubmit_cnt = split_collect(r, iq->size, left);
	for (uint16_t i = 0; i < iq->resubmit_cnt; i++) {
		iq->resubmit[i] = left[i].id;
		vhx_store_release(&r->desc[left[i].id].counter, i);
		if (iq->in_order)
			iq->order[iq->order_cnt++] = left[i].id;
	}
	iq->counter = iq->resubmit_cnt;
	free(left);
	return 0;
}

static int split_attach(struct vhx_vu_inflight_queue *iq, uint16_t desc_num, uint16_t used_idx)
{
	struct split_region *r = iq->region;
	uint16_t version = vhx_load_acquire(&r->version);

	if (!version) {
		split_format(r, desc_num, used_idx);
		return 0;
	}
	if (version != REGION_VERSION || vhx_load_relaxed(&r->desc_num) != desc_num)
		return -EPROTO;
	return split_recover(iq, used_idx);
}

static int packed_attach(struct vhx_vu_inflight_queue *iq, uint16_t desc_num)
{
	struct packed_region *r = iq->region;
	uint16_t version = vhx_load_acquire(&r->version);

	for (uint16_t i = 0; i < desc_num; i++) {
		if (version && vhx_load_relaxed(&r->desc[i].inflight))
			return -EOPNOTSUPP;
		r->desc[i] = (struct packed_entry){ .next = (uint16_t)(i + 1) };
	}
	r->desc_num = desc_num;
	vhx_store_release(&r->version, REGION_VERSION);
	return 0;
}

static int tables_alloc(struct vhx_vu_inflight_queue *iq)
{
	iq->tables = calloc((size_t)iq->size * 4, sizeof(*iq->tables));
	if (!iq->tables)
		return -ENOMEM;
	iq->resubmit = iq->tables;
	iq->batch = iq->resubmit + iq->size;
	iq->order = iq->batch + iq->size;
	iq->done = iq->order + iq->size;
	return 0;
}

int vhx_vu_inflight_attach(const struct vhx_vu_inflight *inf, uint16_t index, uint16_t size,
			   bool packed, bool in_order, uint16_t used_idx,
			   struct vhx_vu_inflight_queue *iq)
{
	int ret;

	if (index >= inf->queue_num || size > inf->queue_size ||
	    inf->stride < region_len(inf->queue_size, packed))
		return -EINVAL;
	*iq = (struct vhx_vu_inflight_queue){
		.region = region_at(inf, index),
		.size = size,
		.packed = packed,
		.in_order = in_order,
	};
	ret = tables_alloc(iq);
	if (!ret && packed)
		ret = packed_attach(iq, inf->queue_size);
	else if (!ret)
		ret = split_attach(iq, inf->queue_size, used_idx);
	if (ret)
		vhx_vu_inflight_detach(iq);
	return ret;
}

void vhx_vu_inflight_detach(struct vhx_vu_inflight_queue *iq)
{
	free(iq->tables);
	*iq = (struct vhx_vu_inflight_queue){ 0 };
}

static uint8_t *entry_flag(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	struct split_region *split = iq->region;
	struct packed_region *packed = iq->region;

	return iq->packed ? &packed->desc[id].inflight : &split->desc[id].inflight;
}

void vhx_vu_inflight_popped(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	struct split_region *r = iq->region;

	if (!r || id >= iq->size)
		return;
	if (!iq->packed)
		vhx_store_relaxed(&r->desc[id].counter, iq->counter++);
	/* After the counter. Partner: the successor's collection. */
	vhx_store_release(entry_flag(iq, id), 1);
	if (iq->in_order && iq->order_cnt < iq->size) {
		iq->order[(iq->order_head + iq->order_cnt) % iq->size] = id;
		iq->order_cnt++;
	}
}

static void batch_add(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	struct split_region *r = iq->region;

	assert(iq->batch_cnt < iq->size);
	if (!iq->packed) {
		uint16_t head = iq->batch_cnt ? iq->batch[iq->batch_cnt - 1] : 0;

		/* Link first: the list is whole at any moment. Partner: the successor's walk. */
		vhx_store_relaxed(&r->desc[id].next, head);
		vhx_store_release(&r->last_batch_head, id);
	}
	iq->batch[iq->batch_cnt++] = id;
}

static void order_advance(struct vhx_vu_inflight_queue *iq)
{
	while (iq->order_cnt && iq->done[iq->order[iq->order_head]]) {
		uint16_t id = iq->order[iq->order_head];

		iq->done[id] = 0;
		iq->order_head = (uint16_t)((iq->order_head + 1) % iq->size);
		iq->order_cnt--;
		batch_add(iq, id);
	}
}

void vhx_vu_inflight_pushed(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	if (!iq->region || id >= iq->size)
		return;
	if (!iq->in_order) {
		batch_add(iq, id);
		return;
	}
	iq->done[id] = 1;
	order_advance(iq);
}

void vhx_vu_inflight_published(struct vhx_vu_inflight_queue *iq, uint16_t used_idx)
{
	struct split_region *r = iq->region;

	if (!r || !iq->batch_cnt)
		return;
	/* Releases in the order that the opening comment gives. Partner: split_recover(). */
	for (uint16_t i = 0; i < iq->batch_cnt; i++)
		vhx_store_release(entry_flag(iq, iq->batch[i]), 0);
	if (!iq->packed)
		vhx_store_release(&r->used_idx, used_idx);
	iq->batch_cnt = 0;
}
