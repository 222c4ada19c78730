// SPDX-License-Identifier: BSD-3-Clause
/*
 * Virtqueues of a VDUSE device.
 *
 *   idle --the driver made it ready--> started --reset of the device--> idle
 *                                         '-----its memory is gone----> lost --reset of the device--> idle
 *
 * The kernel does not say when a queue becomes ready: all that are, when DRIVER_OK is set, start then; one that comes
 * later (vhost_vdpa allows it) starts with its first kick. That is why the kick descriptors are with the kernel
 * from DRIVER_OK on, whether a queue is ready or not.
 *
 * idle: nobody touches the ring. Its position at the end stays, for the kernel to ask for: VMMs do that behind the reset.
 * With FEATURES_OK the next life begins, and that is forgotten: a queue that was not started in it is where its driver
 * has put it.
 * started: pub.ring is live, the owner pops and pushes.
 * lost: as idle, but no kick starts it. Where it was is known here alone; the kernel knows where it began, and from there
 * all that is in the ring would be done once more.
 *
 * Notifications. The kernel takes them only while its own idea of the status has DRIVER_OK, which it gets a moment
 * after our answer: those that it refuses are owed, and tried again.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ring/layout.h"
#include "util/barrier.h"
#include "util/checked.h"
#include "vduse/device_state.h"

#define PACKED_COUNTER_SHIFT 15
#define PACKED_INDEX_MASK 0x7fffu

static struct vhx_vduse_vq *vq_of(struct vhx_vduse_queue *q)
{
	return vhx_container_of(q, struct vhx_vduse_vq, pub);
}

int vhx_vduse_vq_init(struct vhx_vduse_vq *vq, struct vhx_vduse_device *d, uint16_t index)
{
	struct vduse_vq_config cfg = { .index = index, .max_size = d->cfg.queue_size };

	vq->pub.index = index;
	vq->dev = d;
	vq->pub.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vq->pub.kick_fd < 0)
		return -errno;
	return ioctl(d->fd, VDUSE_VQ_SETUP, &cfg) ? -errno : 0;
}

void vhx_vduse_vq_fini(struct vhx_vduse_vq *vq)
{
	if (vq->pub.kick_fd >= 0)
		close(vq->pub.kick_fd);
	free(vq->slots);
}

/* The three areas, in the memory of this moment. vhx_vring_init() looks at their alignment. */
static int areas_find(struct vhx_vduse_vq *vq, struct vhx_vring_config *cfg)
{
	struct vhx_vduse_memory *m = vq->dev->memory;
	uint32_t f = vhx_ring_features(vq->dev->features);
	uint16_t size = vq->pub.size;

	cfg->desc = vhx_vduse_memory_at(m, vq->desc, vhx_ring_desc_len(size, f));
	cfg->driver = vhx_vduse_memory_at(m, vq->driver, vhx_ring_driver_len(size, f));
	cfg->device = vhx_vduse_memory_at(m, vq->device, vhx_ring_device_len(size, f));
	cfg->desc_addr = vq->desc;
	cfg->device_addr = vq->device;
	return cfg->desc && cfg->driver && cfg->device ? 0 : -EFAULT;
}

static int slots_reserve(struct vhx_vduse_vq *vq)
{
	if (vq->slot_cnt == vq->pub.size)
		return 0;
	free(vq->slots);
	vq->slots = calloc(vq->pub.size, sizeof(*vq->slots));
	vq->slot_cnt = vq->slots ? vq->pub.size : 0;
	return vq->slots ? 0 : -ENOMEM;
}

/* As vhx_vring has positions of packed rings. */
static uint16_t packed_position(uint16_t counter, uint16_t idx)
{
	return (uint16_t)((counter & 1) << PACKED_COUNTER_SHIFT | (idx & PACKED_INDEX_MASK));
}

/* Where the driver wants it to begin. A split ring says itself how much of it was used. */
static void positions(const struct vhx_vduse_vq *vq, const struct vduse_vq_info *info,
		      const struct vhx_vring_config *cfg, uint16_t *avail, uint16_t *used)
{
	const struct vhx_split_used *ring = cfg->device;

	if (vhx_vduse_packed(vq->dev)) {
		*avail = packed_position(info->packed.last_avail_counter,
					 info->packed.last_avail_idx);
		*used = packed_position(info->packed.last_used_counter, info->packed.last_used_idx);
	} else {
		*avail = info->split.avail_index;
		/* Partner: the release of the last flush, by a predecessor. */
		*used = vhx_le16_load_acquire(&ring->idx);
	}
}

static int ring_open(struct vhx_vduse_vq *vq, const struct vduse_vq_info *info)
{
	struct vhx_vring_config cfg = {
		.size = (uint16_t)info->num,
		.features = vhx_ring_features(vq->dev->features),
		.mem = &vq->dev->ring_mem,
	};
	uint16_t avail, used;
	int ret;

	if (!info->num || info->num > vq->dev->cfg.queue_size)
		return -EINVAL;
	vq->pub.size = (uint16_t)info->num;
	vq->desc = info->desc_addr;
	vq->driver = info->driver_addr;
	vq->device = info->device_addr;
	ret = areas_find(vq, &cfg);
	if (!ret)
		ret = slots_reserve(vq);
	if (ret)
		return ret;
	cfg.slots = vq->slots;
	positions(vq, info, &cfg, &avail, &used);
	return vhx_vring_init(&vq->pub.ring, &cfg, avail, used);
}

int vhx_vduse_vq_try_start(struct vhx_vduse_vq *vq)
{
	struct vhx_vduse_device *d = vq->dev;
	struct vduse_vq_eventfd kick = { .index = vq->pub.index, .fd = vq->pub.kick_fd };
	struct vduse_vq_info info = { .index = vq->pub.index };
	int ret;

	if (vq->pub.started || vq->lost)
		return 0;
	/* First the descriptor: a queue that becomes ready after the look at it will be kicked. */
	if (ioctl(d->fd, VDUSE_VQ_SETUP_KICKFD, &kick) || ioctl(d->fd, VDUSE_VQ_GET_INFO, &info))
		return -errno;
	if (!info.ready)
		return 0;
	ret = ring_open(vq, &info);
	if (ret)
		return ret;
	vq->pub.started = true;
	ret = d->cfg.ops->queue_start(d->cfg.ctx, &vq->pub);
	if (ret)
		vq->pub.started = false;
	return ret;
}

static void position_keep(struct vhx_vduse_vq *vq)
{
	vq->avail_idx = vq->pub.ring.avail_idx;
	vq->used_idx = vq->pub.ring.used_idx;
	vq->stopped = true;
}

void vhx_vduse_vq_reset(struct vhx_vduse_vq *vq)
{
	if (vq->pub.started)
		position_keep(vq);
	vq->pub.started = false;
	vq->lost = false;
	vq->irq_owed = false;
}

void vhx_vduse_vq_forget(struct vhx_vduse_vq *vq)
{
	vq->stopped = false;
}

int vhx_vduse_vq_remap(struct vhx_vduse_vq *vq)
{
	struct vhx_vring_config cfg = vq->pub.ring.cfg;
	int ret = areas_find(vq, &cfg);

	if (ret) {
		position_keep(vq);
		vq->pub.started = false;
		vq->lost = true;
		return ret;
	}
	vq->pub.ring.cfg = cfg;
	return 0;
}

/* Of one that has not run: what the driver set, which the kernel keeps. */
static int state_set(const struct vhx_vduse_vq *vq, struct vduse_vq_state *state)
{
	struct vduse_vq_info info = { .index = vq->pub.index };

	if (ioctl(vq->dev->fd, VDUSE_VQ_GET_INFO, &info))
		return -errno;
	if (vhx_vduse_packed(vq->dev))
		state->packed = info.packed;
	else
		state->split = info.split;
	return 0;
}

int vhx_vduse_vq_state(const struct vhx_vduse_vq *vq, struct vduse_vq_state *state)
{
	uint16_t avail = vq->pub.started ? vq->pub.ring.avail_idx : vq->avail_idx;
	uint16_t used = vq->pub.started ? vq->pub.ring.used_idx : vq->used_idx;

	if (!vq->pub.started && !vq->stopped)
		return state_set(vq, state);
	if (!vhx_vduse_packed(vq->dev)) {
		state->split.avail_index = avail;
		return 0;
	}
	state->packed.last_avail_counter = avail >> PACKED_COUNTER_SHIFT;
	state->packed.last_avail_idx = avail & PACKED_INDEX_MASK;
	state->packed.last_used_counter = used >> PACKED_COUNTER_SHIFT;
	state->packed.last_used_idx = used & PACKED_INDEX_MASK;
	return 0;
}

bool vhx_vduse_vq_notify(struct vhx_vduse_vq *vq)
{
	uint32_t index = vq->pub.index;

	vq->irq_owed = ioctl(vq->dev->fd, VDUSE_VQ_INJECT_IRQ, &index) && errno == EINVAL;
	return !vq->irq_owed;
}

bool vhx_vduse_queue_kicked(struct vhx_vduse_queue *q)
{
	struct vhx_vduse_vq *vq = vq_of(q);
	struct vhx_vduse_device *d = vq->dev;
	uint64_t cnt;
	int ret;

	if (read(q->kick_fd, &cnt, sizeof(cnt)) != sizeof(cnt))
		return false;
	if (q->started || !(d->status & VHX_VDUSE_S_DRIVER_OK))
		return q->started;
	ret = vhx_vduse_vq_try_start(vq);
	if (ret)
		vhx_vduse_queue_refused(vq, ret);
	return false;
}

void vhx_vduse_queue_flush(struct vhx_vduse_queue *q)
{
	if (vhx_vring_flush(&q->ring))
		vhx_vduse_vq_notify(vq_of(q));
}
