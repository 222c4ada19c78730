// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 *   read a request -> handle -> write its answer              one after the other, the kernel's thread waits
 *
 * Status. The driver's side calls us for each change of the status, and sees it only if we agree. So FEATURES_OK is
 * where features are judged, DRIVER_OK where rings are opened, and 0 where all is given up.
 *
 *   0 --FEATURES_OK--> negotiated --DRIVER_OK--> running --0, perhaps after a while--> 0
 *
 * Memory is asked for when it is used (memory.c), and forgotten when the kernel says that it changed (UPDATE_IOTLB, of
 * vhost_vdpa) and with a reset. Both come from a driver that may still write into its rings meanwhile; what it has in
 * flight is walked again, or forgotten.
 *
 * A process that asked the kernel for something can be killed while it waits for us; then nobody wants our answer,
 * and writing it fails. That is no error.
 */
#include "vduse/device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "vduse/device_state.h"

#define NS_PER_SEC 1000000000ull

/* Requests handled per event: the rest is still readable afterwards. */
#define REQUESTS_PER_EVENT 16

static int ring_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	const struct vhx_vduse_device *d = ctx;

	return vhx_vduse_memory_map(d->memory, addr, len, iov, max);
}

void vhx_vduse_queue_refused(struct vhx_vduse_vq *vq, int err)
{
	struct vhx_vduse_device *d = vq->dev;
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	vhx_log_limited(d->cfg.log, &d->limit, (uint64_t)ts.tv_sec * NS_PER_SEC, VHX_LOG_WARNING,
			"%s: queue %u cannot start: %s", d->cfg.name, vq->pub.index,
			strerror(-err));
}

/* Requests */

static int features_negotiate(struct vhx_vduse_device *d)
{
	uint64_t features;
	uint16_t i;
	int ret;

	if (ioctl(d->fd, VDUSE_DEV_GET_FEATURES, &features))
		return -errno;
	if (features & ~d->cfg.features)
		return -EINVAL;
	ret = d->cfg.ops->set_features(d->cfg.ctx, features);
	if (ret)
		return ret;
	d->features = features;
	for (i = 0; i < d->cfg.queues; i++)
		vhx_vduse_vq_forget(&d->vqs[i]);
	return 0;
}

static int queues_start(struct vhx_vduse_device *d)
{
	uint16_t i;
	int ret;

	for (i = 0; i < d->cfg.queues; i++) {
		ret = vhx_vduse_vq_try_start(&d->vqs[i]);
		if (ret) {
			vhx_vduse_queue_refused(&d->vqs[i], ret);
			return ret;
		}
	}
	return 0;
}

/* 0 or -EINPROGRESS. Whatever the kernel does meanwhile: of before, nothing is used any more. */
static int reset(struct vhx_vduse_device *d)
{
	int ret = d->cfg.ops->reset(d->cfg.ctx);
	uint16_t i;

	for (i = 0; i < d->cfg.queues; i++)
		vhx_vduse_vq_reset(&d->vqs[i]);
	vhx_vduse_memory_clear(d->memory);
	d->status = 0;
	d->config_irq_owed = false;
	return ret;
}

static int set_status(struct vhx_vduse_device *d, const struct vduse_dev_request *req,
		      struct vduse_dev_response *resp)
{
	uint8_t new = req->s.status &(uint8_t)~d->status;
	int ret = 0;

	if (!req->s.status) {
		d->reset_id = req->request_id;
		return reset(d);
	}
	if (new &VHX_VDUSE_S_FEATURES_OK)
		ret = features_negotiate(d);
	if (!ret && (new &VHX_VDUSE_S_DRIVER_OK))
		ret = req->s.status & VHX_VDUSE_S_FEATURES_OK ? queues_start(d) : -EINVAL;
	if (!ret)
		d->status = req->s.status;
	return ret;
}

static int get_vq_state(struct vhx_vduse_device *d, const struct vduse_dev_request *req,
			struct vduse_dev_response *resp)
{
	uint32_t index = req->vq_state.index;

	if (index >= d->cfg.queues)
		return -EINVAL;
	resp->vq_state.index = index;
	return vhx_vduse_vq_state(&d->vqs[index], &resp->vq_state);
}

/* Which range it is does not matter: what is still right is found again at its next use. */
static int update_iotlb(struct vhx_vduse_device *d, const struct vduse_dev_request *req,
			struct vduse_dev_response *resp)
{
	struct vhx_vduse_memory *old = d->memory;
	uint16_t i;

	d->memory = old == d->memories ? &d->memories[1] : d->memories;
	for (i = 0; i < d->cfg.queues; i++) {
		struct vhx_vduse_vq *vq = &d->vqs[i];

		if (vq->pub.started && vhx_vduse_vq_remap(vq))
			d->cfg.ops->queue_lost(d->cfg.ctx, &vq->pub);
	}
	d->cfg.ops->mem_changed(d->cfg.ctx);
	vhx_vduse_memory_clear(old);
	return 0;
}

static int (*const handlers[])(struct vhx_vduse_device *d, const struct vduse_dev_request *req,
			       struct vduse_dev_response *resp) = {
	[VDUSE_GET_VQ_STATE] = get_vq_state,
	[VDUSE_SET_STATUS] = set_status,
	[VDUSE_UPDATE_IOTLB] = update_iotlb,
};

static void answer(struct vhx_vduse_device *d, struct vduse_dev_response *resp, int result)
{
	resp->result = result ? VDUSE_REQ_RESULT_FAILED : VDUSE_REQ_RESULT_OK;
	/* Where it fails, who asked has gone. */
	(void)!write(d->fd, resp, sizeof(*resp));
}

static void handle(struct vhx_vduse_device *d, const struct vduse_dev_request *req)
{
	struct vduse_dev_response resp = { .request_id = req->request_id };
	int ret = -EOPNOTSUPP;

	if (req->type < VHX_ARRAY_SIZE(handlers))
		ret = handlers[req->type](d, req, &resp);
	if (ret == -EINPROGRESS)
		d->resetting = true;
	else
		answer(d, &resp, ret);
}

int vhx_vduse_device_fd(const struct vhx_vduse_device *d)
{
	return d->fd;
}

int vhx_vduse_device_event(struct vhx_vduse_device *d, bool error)
{
	struct vduse_dev_request req;
	unsigned int i;

	for (i = 0; i < REQUESTS_PER_EVENT && !d->resetting; i++) {
		ssize_t n = read(d->fd, &req, sizeof(req));

		if (n != sizeof(req))
			break;
		handle(d, &req);
	}
	return error ? -EPIPE : 0;
}

void vhx_vduse_device_finish(struct vhx_vduse_device *d)
{
	struct vduse_dev_response resp = { .request_id = d->reset_id };

	if (!d->resetting)
		return;
	d->resetting = false;
	answer(d, &resp, 0);
}

/* Towards the driver */

static void config_notify(struct vhx_vduse_device *d)
{
	d->config_irq_owed = ioctl(d->fd, VDUSE_DEV_INJECT_CONFIG_IRQ) && errno == EINVAL &&
			     (d->status & VHX_VDUSE_S_DRIVER_OK);
}

void vhx_vduse_device_config(struct vhx_vduse_device *d, const uint8_t *config, uint32_t len)
{
	union {
		struct vduse_config_data data;
		uint8_t bytes[sizeof(struct vduse_config_data) + VHX_VDUSE_CONFIG_MAX];
	} set = { .data.offset = 0 };

	if (len > d->cfg.config_len)
		len = d->cfg.config_len;
	if (!len)
		return;
	set.data.length = len;
	memcpy(set.bytes + sizeof(set.data), config, len);
	if (ioctl(d->fd, VDUSE_DEV_SET_CONFIG, &set))
		return;
	config_notify(d);
}

bool vhx_vduse_device_owes(struct vhx_vduse_device *d)
{
	uint16_t i;

	for (i = 0; i < d->cfg.queues; i++) {
		if (d->vqs[i].irq_owed)
			return true;
	}
	return d->config_irq_owed;
}

bool vhx_vduse_device_notify_again(struct vhx_vduse_device *d)
{
	uint16_t i;

	for (i = 0; i < d->cfg.queues; i++) {
		if (d->vqs[i].irq_owed)
			vhx_vduse_vq_notify(&d->vqs[i]);
	}
	if (d->config_irq_owed)
		config_notify(d);
	return vhx_vduse_device_owes(d);
}

struct vhx_vduse_queue *vhx_vduse_device_queue(struct vhx_vduse_device *d, uint16_t index)
{
	assert(index < d->cfg.queues);
	return &d->vqs[index].pub;
}

/* Life */

static void device_init(struct vhx_vduse_device *d, const struct vhx_vduse_config *cfg, int fd)
{
	uint16_t i;

	d->cfg = *cfg;
	d->fd = fd;
	d->ring_mem = (struct vhx_ring_mem){ .map = ring_map, .ctx = d };
	vhx_vduse_memory_init(&d->memories[0], fd);
	vhx_vduse_memory_init(&d->memories[1], fd);
	d->memory = d->memories;
	for (i = 0; i < VHX_VDUSE_QUEUES_MAX; i++)
		d->vqs[i].pub.kick_fd = -1;
}

int vhx_vduse_device_new(const struct vhx_vduse_config *cfg, int fd, struct vhx_vduse_device **out)
{
	struct vhx_vduse_device *d = calloc(1, sizeof(*d));
	int ret = 0;
	uint16_t i;

	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	assert(cfg->queues <= VHX_VDUSE_QUEUES_MAX);
	device_init(d, cfg, fd);
	for (i = 0; !ret && i < cfg->queues; i++)
		ret = vhx_vduse_vq_init(&d->vqs[i], d, i);
	if (ret) {
		vhx_vduse_device_free(d);
		return ret;
	}
	*out = d;
	return 0;
}

void vhx_vduse_device_free(struct vhx_vduse_device *d)
{
	uint16_t i;

	if (!d)
		return;
	for (i = 0; i < VHX_VDUSE_QUEUES_MAX; i++)
		vhx_vduse_vq_fini(&d->vqs[i]);
	vhx_vduse_memory_clear(d->memory);
	close(d->fd);
	free(d);
}
