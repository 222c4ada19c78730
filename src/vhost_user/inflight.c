// SPDX-License-Identifier: BSD-3-Clause
/*
 * Inflight tracking in memory that the VMM keeps across deaths of this process: the region, and
 * what both layouts share. The order of stores that makes it worth something is in
 * inflight_split.c and inflight_packed.c.
 *
 * A queue's part of the region is new (version 0), or a predecessor left it. Either a ring is
 * tracked from its start to its stop, or not at all: a region can't come or go meanwhile.
 *
 * A push joins the batch that the next flush publishes. With IN_ORDER it waits in src/ring until
 * all older requests are pushed as well, and it joins the batch only then, since the batch must be
 * exactly what the flush covers.
 *
 * Stores are in program order as far as a process's own death goes, if only the compiler keeps
 * them so; release does. Their partner is always the successor's recovery, behind the kernel's
 * word that this process is dead.
 *
 * Hostile VMM: it can write the region at any time. It is sealed against shrinking; a successor
 * reads each field once, holds every index against its bound, and leaves a region alone that
 * contradicts itself; while a queue runs decisions are made on private copies only: nothing but
 * bookkeeping is ever read back.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/barrier.h"
#include "util/checked.h"
#include "vhost_user/inflight_format.h"

#define REGION_VERSION 1
/* Queues' parts start on cache lines. */
#define STRIDE_ALIGN 64u
/* resubmit, batch, order, done, next, last, head */
#define TABLES 7u

static const struct vhx_vu_inflight_format *format_of(bool packed)
{
	return packed ? &vhx_vu_inflight_packed : &vhx_vu_inflight_split;
}

static uint64_t region_len(uint16_t size, bool packed)
{
	const struct vhx_vu_inflight_format *f = format_of(packed);

	return f->head_len + (uint64_t)size * f->entry_len;
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
	struct vhx_vu_map map;
	uint64_t stride;
	int seals, ret;

	if (!queue_num)
		return -EINVAL;
	stride = len / queue_num;
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
		struct vhx_vu_inflight_head *head = region_at(inf, i);

		vhx_store_relaxed(&head->version, 0);
	}
}

void vhx_vu_inflight_given_back(struct vhx_vu_inflight *inf, uint16_t index)
{
	struct vhx_vu_inflight_head *head;

	if (!inf->map.data || index >= inf->queue_num)
		return;
	head = region_at(inf, index);
	/* Partner: the acquire in region_open(). */
	vhx_store_release(&head->version, 0);
}

static int left_compare(const void *a, const void *b)
{
	const struct vhx_vu_inflight_left *l = a, *r = b;

	if (l->counter != r->counter)
		return l->counter < r->counter ? -1 : 1;
	return l->entry < r->entry ? -1 : l->entry > r->entry;
}

void vhx_vu_inflight_sort(struct vhx_vu_inflight_left *left, uint16_t cnt)
{
	qsort(left, cnt, sizeof(*left), left_compare);
}

static int tables_alloc(struct vhx_vu_inflight_queue *iq, bool packed)
{
	uint16_t **tables[TABLES] = { &iq->resubmit, &iq->batch, &iq->order, &iq->done,
				      &iq->next,     &iq->last,	 &iq->head };

	iq->tables = calloc((size_t)iq->desc_num * TABLES, sizeof(*iq->tables));
	if (!iq->tables)
		return -ENOMEM;
	for (unsigned int i = 0; i < TABLES; i++)
		*tables[i] = iq->tables + (size_t)iq->desc_num * i;
	if (!packed)
		return 0;
	iq->copies = calloc(iq->size, sizeof(*iq->copies));
	return iq->copies ? 0 : -ENOMEM;
}

static void region_init(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring)
{
	struct vhx_vu_inflight_head *head = iq->region;

	vhx_store_relaxed(&head->features, 0);
	vhx_store_relaxed(&head->desc_num, iq->desc_num);
	iq->format->init(iq, ring);
	/* Last: a half-made region counts as none. Partner: the acquire in region_open(). */
	vhx_store_release(&head->version, REGION_VERSION);
}

static void resubmit_order(struct vhx_vu_inflight_queue *iq)
{
	for (uint16_t i = 0; iq->in_order && i < iq->resubmit_cnt; i++)
		iq->order[iq->order_cnt++] = iq->resubmit[i];
}

static int region_open(struct vhx_vu_inflight_queue *iq, const struct vhx_vu_inflight_ring *ring)
{
	struct vhx_vu_inflight_head *head = iq->region;
	uint16_t version = vhx_load_acquire(&head->version);
	int ret;

	if (!version) {
		region_init(iq, ring);
		return 0;
	}
	if (version != REGION_VERSION || vhx_load_relaxed(&head->desc_num) != iq->desc_num)
		return -EPROTO;
	ret = iq->format->recover(iq, ring);
	if (ret)
		return ret;
	iq->recovered = true;
	iq->counter = iq->resubmit_cnt;
	resubmit_order(iq);
	return 0;
}

int vhx_vu_inflight_attach(const struct vhx_vu_inflight *inf, uint16_t index,
			   const struct vhx_vu_inflight_ring *ring,
			   struct vhx_vu_inflight_queue *iq)
{
	int ret;

	if (index >= inf->queue_num || ring->size > inf->queue_size ||
	    inf->stride < region_len(inf->queue_size, ring->packed))
		return -EINVAL;
	*iq = (struct vhx_vu_inflight_queue){
		.format = format_of(ring->packed),
		.region = region_at(inf, index),
		.size = ring->size,
		.desc_num = inf->queue_size,
		.in_order = ring->in_order,
	};
	ret = tables_alloc(iq, ring->packed);
	if (!ret)
		ret = region_open(iq, ring);
	if (ret)
		vhx_vu_inflight_detach(iq);
	return ret;
}

void vhx_vu_inflight_detach(struct vhx_vu_inflight_queue *iq)
{
	free(iq->tables);
	free(iq->copies);
	*iq = (struct vhx_vu_inflight_queue){ 0 };
}

void vhx_vu_inflight_popped(struct vhx_vu_inflight_queue *iq, uint16_t id,
			    const struct vhx_ring_copy *copies, uint16_t cnt)
{
	if (!iq->format)
		return;
	assert(id < iq->size);
	iq->format->popped(iq, id, copies, cnt);
	if (!iq->in_order)
		return;
	assert(iq->order_cnt < iq->size);
	iq->order[(iq->order_head + iq->order_cnt) % iq->size] = id;
	iq->order_cnt++;
}

static void batch_add(struct vhx_vu_inflight_queue *iq, uint16_t id)
{
	assert(iq->batch_cnt < iq->size);
	iq->format->pushed(iq, id);
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
	if (!iq->format)
		return;
	assert(id < iq->size);
	if (!iq->in_order) {
		batch_add(iq, id);
		return;
	}
	iq->done[id] = 1;
	order_advance(iq);
}

void vhx_vu_inflight_publish(struct vhx_vu_inflight_queue *iq, uint16_t used)
{
	if (iq->batch_cnt)
		iq->format->publish(iq, used);
}

void vhx_vu_inflight_published(struct vhx_vu_inflight_queue *iq, uint16_t used)
{
	if (!iq->batch_cnt)
		return;
	iq->format->published(iq, used);
	iq->batch_cnt = 0;
}
