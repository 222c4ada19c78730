// SPDX-License-Identifier: BSD-3-Clause
/*
 * Virtqueues of a vhost-user device.
 *
 * A queue collects what the VMM says of it, in any order, and starts by itself once all is there:
 * size, addresses, base, a kick descriptor (or the word that there is none), enabled, and features.
 *
 *   collecting --all there--> started --stop--> collecting
 *
 * collecting: nobody touches the ring. Ring addresses are user addresses and are translated only at
 *   the start, against the memory table of that moment.
 * started: pub.ring is live, the owner pops and pushes. Addresses, size, base and ring features
 *   stay as they are; descriptors, the log flag and (through remap) the mapping may change.
 * stop: comes from GET_VRING_BASE (forgets the kick descriptor, so that a new one is needed to
 *   start), from disabling (keeps everything, so that enabling goes on where it stopped), from a
 *   device reset and from the end of the connection. The position at the stop becomes the new base;
 *   requests that the owner gave back lie behind it, and are popped again after the next start.
 *
 * What was given back stays in the inflight region until the VMM is told the base that covers it: one that never is,
 * since this process ends, relies on the region. Then a split ring's is emptied, and the next start knows the order
 * of all that it pops, so that it can be given back once more. That of a packed ring stays: only the region knows its
 * position for sure.
 *
 * With an inflight region, a ring continues behind what a predecessor had popped: used position
 * plus requests in flight, whatever base the VMM gives. A VMM whose back-end died can know the used
 * position only, and that of a packed ring not even, since it lies nowhere in the ring: it gives
 * the base of some start before. So there the region says it, once a predecessor has left one.
 *
 * Hostile VMM or guest: areas are checked against the table (length, alignment) before the ring
 * sees them; ring contents are src/ring's business; descriptors are notifier.c's.
 */
#include <endian.h>
#include <stdlib.h>
#include <unistd.h>

#include "ring/layout.h"
#include "util/barrier.h"
#include "util/checked.h"
#include "vhost_user/notifier.h"
#include "vhost_user/server_state.h"

/* Index 0, wrap counter 1: where every packed ring begins (VirtIO 2.8.1). */
#define PACKED_BASE_FRESH 0x8000u

/* The three areas of a ring, found in a memory table. */
struct vq_areas {
	void *desc, *driver, *device;
	uint64_t desc_gpa, driver_gpa, device_gpa;
};

static struct vhx_vu_vq *vq_of(struct vhx_vu_queue *q)
{
	return vhx_container_of(q, struct vhx_vu_vq, pub);
}

bool vhx_vu_vq_packed(const struct vhx_vu_vq *vq)
{
	return vq->server->features & VHX_VU_F_RING_PACKED;
}

/* The ring's accessor: bytes of the ring itself, logged only while this ring's log flag is set. */
static int ring_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	struct vhx_vu_vq *vq = ctx;

	return vhx_vu_memory_map(vq->server->memory, addr, len, iov, max);
}

static void ring_dirty(void *ctx, uint64_t addr, uint64_t len)
{
	struct vhx_vu_vq *vq = ctx;

	if (vhx_vu_server_logging(vq->server) && (vq->addr.flags & VHX_VU_VRING_ADDR_F_LOG))
		vhx_vu_dirty_mark(&vq->server->dirty, addr, len);
}

void vhx_vu_vq_init(struct vhx_vu_vq *vq, struct vhx_vu_server *s, uint16_t index)
{
	*vq = (struct vhx_vu_vq){
		.pub = { .index = index, .kick_fd = -1, .call_fd = -1, .err_fd = -1 },
		.server = s,
		.mem = { .map = ring_map, .dirty = ring_dirty, .ctx = vq },
	};
}

static void fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vhx_vu_vq_fini(struct vhx_vu_vq *vq)
{
	fd_drop(&vq->pub.kick_fd);
	fd_drop(&vq->pub.call_fd);
	fd_drop(&vq->pub.err_fd);
	vhx_vu_inflight_detach(&vq->inflight);
	free(vq->slots);
	vhx_vu_vq_init(vq, vq->server, vq->pub.index);
}

void vhx_vu_vq_reset(struct vhx_vu_vq *vq)
{
	assert(!vq->pub.started);
	fd_drop(&vq->pub.kick_fd);
	vq->pub.size = 0;
	vq->addr_set = false;
	vq->base_set = false;
	vq->kick_set = false;
	vq->enabled = vq->server->features_set &&
		      !(vq->server->features & VHX_VU_F_PROTOCOL_FEATURES);
}

bool vhx_vu_vq_any_started(const struct vhx_vu_server *s)
{
	for (size_t i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		if (s->vqs[i].pub.started)
			return true;
	}
	return false;
}

static bool aligned(const void *p, uintptr_t to)
{
	return !((uintptr_t)p & (to - 1));
}

/* Alignments: VirtIO 2.6 (16, 2, 4) and 2.8.10 (16, 4, 4). */
static int areas_find(const struct vhx_vu_vq *vq, const struct vhx_vu_memory *m, struct vq_areas *a)
{
	uint32_t f = vhx_ring_features(vq->server->features);
	uint16_t size = vq->pub.size;

	a->desc = vhx_vu_memory_user(m, vq->addr.desc, vhx_ring_desc_len(size, f), &a->desc_gpa);
	a->driver = vhx_vu_memory_user(m, vq->addr.avail, vhx_ring_driver_len(size, f),
				       &a->driver_gpa);
	a->device = vhx_vu_memory_user(m, vq->addr.used, vhx_ring_device_len(size, f),
				       &a->device_gpa);
	if (!a->desc || !a->driver || !a->device)
		return -EFAULT;
	if (!aligned(a->desc, 16) || !aligned(a->driver, vhx_vu_vq_packed(vq) ? 4 : 2) ||
	    !aligned(a->device, 4))
		return -EINVAL;
	return 0;
}

/* By which guest address writes to the device area are logged. */
static uint64_t device_log_addr(const struct vhx_vu_vq *vq, uint64_t gpa)
{
	return vq->addr.flags & VHX_VU_VRING_ADDR_F_LOG ? vq->addr.log : gpa;
}

int vhx_vu_vq_check(const struct vhx_vu_vq *vq, const struct vhx_vu_memory *m)
{
	struct vq_areas a;

	return vq->pub.started ? areas_find(vq, m, &a) : 0;
}

void vhx_vu_vq_remap(struct vhx_vu_vq *vq, const struct vhx_vu_memory *m)
{
	struct vhx_vring_config *cfg = &vq->pub.ring.cfg;
	struct vq_areas a;
	int ret;

	if (!vq->pub.started)
		return;
	ret = areas_find(vq, m, &a);
	assert(!ret); /* vhx_vu_vq_check() said so */
	if (ret)
		return;
	cfg->desc = a.desc;
	cfg->driver = a.driver;
	cfg->device = a.device;
	cfg->desc_addr = a.desc_gpa;
	cfg->device_addr = device_log_addr(vq, a.device_gpa);
}

/*
 * The ring stays where it is. To look for it afresh could find another region, which came later and lies over the same
 * user addresses, or be told that there is no place for a ring.
 */
void vhx_vu_vq_relog(struct vhx_vu_vq *vq)
{
	struct vhx_vring_config *cfg = &vq->pub.ring.cfg;
	uint64_t gpa, left;

	if (vq->pub.started &&
	    vhx_vu_memory_guest(vq->server->memory, cfg->device, &gpa, &left))
		cfg->device_addr = device_log_addr(vq, gpa);
}

static int slots_reserve(struct vhx_vu_vq *vq)
{
	if (vq->slot_cnt == vq->pub.size)
		return 0;
	free(vq->slots);
	vq->slots = calloc(vq->pub.size, sizeof(*vq->slots));
	vq->slot_cnt = vq->slots ? vq->pub.size : 0;
	return vq->slots ? 0 : -ENOMEM;
}

/* idx of a split used ring, behind its flags (VirtIO 2.6.8). Partner: the last flush's release. */
static uint16_t used_idx_read(const void *device)
{
	return le16toh(vhx_load_acquire((const uint16_t *)device + 1));
}

static bool packed_position_ok(const struct vhx_vu_vq *vq, uint16_t position)
{
	return (position & 0x7fff) < vq->pub.size;
}

/*
 * Linux' virtio_uml says base 0 for every ring, which for a packed one means "wrap counters 0". A
 * ring that is truly there has gone round once, so all its descriptors were used, and used
 * descriptors of the first round have their USED bit set, as have available ones of the second
 * (VirtIO 2.8.1). Otherwise it is a fresh ring, whose counters are 1.
 */
static bool packed_base_forgotten(const struct vhx_vu_vq *vq, const void *desc)
{
	const struct vhx_packed_desc *first = desc;

	return !vq->base && !(le16toh(vhx_load_relaxed(&first->flags.v)) & VIRTQ_DESC_F_USED);
}

/* Where the ring goes on, in the form that vhx_vring_init() takes. */
static int positions(const struct vhx_vu_vq *vq, const void *desc, const void *device,
		     uint16_t *avail, uint16_t *used)
{
	*avail = (uint16_t)vq->base;
	if (vhx_vu_vq_packed(vq) && packed_base_forgotten(vq, desc)) {
		*avail = PACKED_BASE_FRESH;
		*used = PACKED_BASE_FRESH;
		return 0;
	}
	if (vhx_vu_vq_packed(vq)) {
		*used = (uint16_t)(vq->base >> 16);
		return packed_position_ok(vq, *avail) && packed_position_ok(vq, *used) ? 0
										       : -EINVAL;
	}
	if (vq->base > UINT16_MAX)
		return -EINVAL;
	*used = used_idx_read(device);
	return 0;
}

/* Split: the ring's position counts what is in flight; the region says what that is. */
static int adopt_split(struct vhx_vu_vq *vq)
{
	struct vhx_vu_inflight_queue *iq = &vq->inflight;
	int ret = 0;

	for (uint16_t i = 0; !ret && i < iq->resubmit_cnt; i++)
		ret = vhx_vring_adopt(&vq->pub.ring, iq->resubmit[i]);
	return ret;
}

/* Packed: each chain takes its entries behind the used position. */
static int adopt_packed(struct vhx_vu_vq *vq)
{
	struct vhx_vu_inflight_queue *iq = &vq->inflight;
	const struct vhx_ring_copy *copy = iq->copies;
	int ret = 0;

	for (uint16_t i = 0; !ret && i < iq->resubmit_cnt; i++) {
		uint16_t cnt = 1;

		while (copy[cnt - 1].flags & VIRTQ_DESC_F_NEXT)
			cnt++;
		ret = vhx_vring_adopt_packed(&vq->pub.ring, copy, cnt);
		copy += cnt;
	}
	return ret;
}

/* Starts the ring behind what a predecessor popped, and takes over what it left in flight. */
static int ring_open(struct vhx_vu_vq *vq, const struct vhx_vring_config *cfg, uint16_t avail,
		     uint16_t used)
{
	struct vhx_vu_inflight_queue *iq = &vq->inflight;
	bool packed = vhx_vu_vq_packed(vq);
	int ret;

	if (packed && iq->recovered)
		avail = used = iq->used;
	else if (iq->resubmit_cnt)
		avail = (uint16_t)(used + iq->resubmit_cnt);
	ret = vhx_vring_init(&vq->pub.ring, cfg, avail, used);
	if (ret)
		return ret;
	return packed ? adopt_packed(vq) : adopt_split(vq);
}

static int inflight_open(struct vhx_vu_vq *vq, const void *desc, uint16_t used)
{
	struct vhx_vu_server *s = vq->server;
	const struct vhx_vu_inflight_ring ring = {
		.desc = desc,
		.size = vq->pub.size,
		.used = used,
		.packed = vhx_vu_vq_packed(vq),
		.in_order = s->features & VHX_VU_F_IN_ORDER,
	};

	if (!s->inflight.map.data)
		return 0;
	return vhx_vu_inflight_attach(&s->inflight, vq->pub.index, &ring, &vq->inflight);
}

static int vq_open(struct vhx_vu_vq *vq)
{
	struct vhx_vring_config cfg;
	uint16_t avail, used;
	struct vq_areas a;
	int ret;

	ret = areas_find(vq, vq->server->memory, &a);
	if (!ret)
		ret = slots_reserve(vq);
	if (!ret)
		ret = positions(vq, a.desc, a.device, &avail, &used);
	if (!ret)
		ret = inflight_open(vq, a.desc, used);
	if (ret)
		return ret;
	cfg = (struct vhx_vring_config){
		.size = vq->pub.size,
		.features = vhx_ring_features(vq->server->features),
		.desc = a.desc,
		.driver = a.driver,
		.device = a.device,
		.device_addr = device_log_addr(vq, a.device_gpa),
		.desc_addr = a.desc_gpa,
		.mem = &vq->mem,
		.slots = vq->slots,
	};
	ret = ring_open(vq, &cfg, avail, used);
	if (ret)
		vhx_vu_inflight_detach(&vq->inflight);
	else if (vq->inflight.resubmit_cnt)
		vhx_log(vq->server->cfg.log, VHX_LOG_INFO,
			"%s: queue %u: %u requests of a predecessor go out again",
			vq->server->cfg.name, vq->pub.index, vq->inflight.resubmit_cnt);
	return ret;
}

int vhx_vu_vq_try_start(struct vhx_vu_vq *vq)
{
	struct vhx_vu_server *s = vq->server;
	int ret;

	if (vq->pub.started || !vq->pub.size || !vq->addr_set || !vq->base_set || !vq->kick_set ||
	    !vq->enabled || !s->features_set)
		return 0;
	ret = vq_open(vq);
	if (ret)
		return ret;
	vq->pub.started = true;
	vq->given_back = false;
	ret = s->cfg.ops->queue_start(s->cfg.ctx, &vq->pub);
	if (ret) {
		vq->pub.started = false;
		vhx_vu_inflight_detach(&vq->inflight);
		return ret;
	}
	/* A predecessor may have died between publishing and calling; one too many harms nobody. */
	vhx_vu_queue_call(&vq->pub);
	return 0;
}

int vhx_vu_vq_stop(struct vhx_vu_vq *vq)
{
	struct vhx_vu_server *s = vq->server;
	int ret;

	if (!vq->pub.started)
		return 0;
	ret = s->cfg.ops->queue_stop(s->cfg.ctx, &vq->pub);
	if (!ret)
		vhx_vu_vq_stopped(vq);
	return ret;
}

void vhx_vu_vq_stopped(struct vhx_vu_vq *vq)
{
	const struct vhx_vring *r = &vq->pub.ring;

	vq->base = r->avail_idx;
	if (vhx_vu_vq_packed(vq))
		vq->base |= (uint32_t)r->used_idx << 16;
	vq->pub.started = false;
	vhx_vu_inflight_detach(&vq->inflight);
}

int vhx_vu_queue_pop(struct vhx_vu_queue *q, struct vhx_chain *chain)
{
	struct vhx_vu_inflight_queue *iq = &vq_of(q)->inflight;
	int ret = vhx_vring_pop(&q->ring, chain);
	uint16_t cnt = 0;

	if (ret != 1)
		return ret;
	if (iq->copies)
		cnt = vhx_vring_copies(&q->ring, chain->id, iq->copies);
	vhx_vu_inflight_popped(iq, chain->id, iq->copies, cnt);
	return 1;
}

void vhx_vu_queue_push(struct vhx_vu_queue *q, uint16_t id, uint32_t used_len)
{
	vhx_vu_inflight_pushed(&vq_of(q)->inflight, id);
	vhx_vring_push(&q->ring, id, used_len);
}

void vhx_vu_queue_flush(struct vhx_vu_queue *q)
{
	struct vhx_vu_inflight_queue *iq = &vq_of(q)->inflight;
	bool wanted;

	vhx_vu_inflight_publish(iq, q->ring.used_idx);
	wanted = vhx_vring_flush(&q->ring);
	vhx_vu_inflight_published(iq, q->ring.used_published);
	if (wanted)
		vhx_vu_queue_call(q);
}

int vhx_vu_queue_give_back(struct vhx_vu_queue *q)
{
	int ret = vhx_vring_give_back(&q->ring);

	vq_of(q)->given_back = !ret;
	return ret;
}

int vhx_vu_queue_resubmit(struct vhx_vu_queue *q, uint16_t *id)
{
	struct vhx_vu_inflight_queue *iq = &vq_of(q)->inflight;

	if (iq->resubmit_next == iq->resubmit_cnt)
		return 0;
	*id = iq->resubmit[iq->resubmit_next++];
	return 1;
}

bool vhx_vu_queue_kicked(struct vhx_vu_queue *q)
{
	return vhx_vu_notifier_clear(q->kick_fd);
}

void vhx_vu_queue_call(struct vhx_vu_queue *q)
{
	vhx_vu_notifier_raise(q->call_fd);
}

void vhx_vu_queue_error(struct vhx_vu_queue *q)
{
	vhx_vu_notifier_raise(q->err_fd);
}
