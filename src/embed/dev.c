// SPDX-License-Identifier: BSD-3-Clause
/* Devices of a connection. Theory of operation: conn.c. */
#include "embed/embed.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS_PER_S 1000

void vhx_edev_event(struct vhx_dev *dev, enum vhx_event event)
{
	bool outer = dev->conn->inside;

	if (!dev->events)
		return;
	dev->conn->inside = true;
	dev->events(dev->ctx, event);
	dev->conn->inside = outer;
}

/* What the frontend reports */

static void fdev_known(void *ctx)
{
	vhx_edev_event(ctx, VHX_EVENT_KNOWN);
}

static void fdev_config_changed(void *ctx)
{
	vhx_edev_event(ctx, VHX_EVENT_CONFIG);
}

static void fdev_config_written(void *ctx, bool refused)
{
	struct vhx_dev *dev = ctx;

	dev->writing_config = false;
	vhx_edev_event(dev, refused ? VHX_EVENT_CONFIG_REFUSED : VHX_EVENT_CONFIG_WRITTEN);
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
	struct vhx_dev *dev = ctx;

	dev->stopping--;
	vhx_evq_stopped(dev->queues[index]);
	vhx_edev_event(dev, VHX_EVENT_STOPPED);
}

static void fdev_reset_done(void *ctx)
{
	struct vhx_dev *dev = ctx;

	dev->resetting = false;
	vhx_edev_event(dev, VHX_EVENT_RESET);
}

static void fdev_unusable(void *ctx, int reason)
{
	struct vhx_dev *dev = ctx;

	dev->unusable = reason;
	vhx_edev_event(dev, VHX_EVENT_UNUSABLE);
}

static const struct vhx_fdev_ops fdev_ops = {
	.known = fdev_known,
	.config_changed = fdev_config_changed,
	.config_written = fdev_config_written,
	.queue_stopped = fdev_queue_stopped,
	.reset_done = fdev_reset_done,
	.unusable = fdev_unusable,
};

/* Life */

int vhx_dev_open(struct vhx_conn *conn, const char *name, struct vhx_dev **out)
{
	struct vhx_dev *dev;
	int ret;

	if (conn->inside)
		return -EDEADLK;
	if (!conn->loop)
		return -ENOTCONN;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->conn = conn;
	ret = vhx_fdev_new(conn->frontend, name, &fdev_ops, dev, &dev->fdev);
	if (ret) {
		free(dev);
		return ret;
	}
	conn->devices[conn->device_cnt++] = dev;
	*out = dev;
	return 0;
}

void vhx_edev_free(struct vhx_dev *dev)
{
	unsigned int i;

	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_evq_free(dev->queues[i]);
	free(dev);
}

void vhx_dev_set_events(struct vhx_dev *dev, vhx_event_fn *fn, void *ctx)
{
	dev->events = fn;
	dev->ctx = ctx;
}

static bool dev_busy(const struct vhx_dev *dev)
{
	return !vhx_fdev_known(dev->fdev) || dev->resetting || dev->writing_config || dev->stopping;
}

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * MS_PER_S + ts.tv_nsec / (1000000000 / MS_PER_S);
}

int vhx_dev_wait(struct vhx_dev *dev, int timeout_ms)
{
	int64_t end = clock_ms() + timeout_ms, left = timeout_ms;
	int ret = dev->conn->inside ? -EDEADLK : 0;

	while (!ret && !dev->unusable && dev_busy(dev)) {
		if (timeout_ms >= 0) {
			left = end - clock_ms();
			if (left <= 0)
				return -ETIMEDOUT;
		}
		ret = vhx_loop_once(dev->conn->loop, (int)left);
	}
	return ret ? ret : dev->unusable;
}

/* Identity and config */

uint32_t vhx_dev_type(const struct vhx_dev *dev)
{
	return vhx_fdev_known(dev->fdev) ? vhx_fdev_identity(dev->fdev)->device_id : 0;
}

const char *vhx_dev_name(const struct vhx_dev *dev)
{
	return vhx_fdev_known(dev->fdev) ? vhx_fdev_identity(dev->fdev)->name : "";
}

uint64_t vhx_dev_features(const struct vhx_dev *dev)
{
	if (!vhx_fdev_known(dev->fdev))
		return 0;
	return vhx_fdev_identity(dev->fdev)->features & ~VHX_FEATURES_RING & ~VHX_FEATURES_CROSSING;
}

unsigned int vhx_dev_queue_count(const struct vhx_dev *dev)
{
	return vhx_fdev_known(dev->fdev) ? vhx_fdev_identity(dev->fdev)->num_queues : 0;
}

size_t vhx_dev_config_len(const struct vhx_dev *dev)
{
	return vhx_fdev_known(dev->fdev) ? vhx_fdev_identity(dev->fdev)->config_len : 0;
}

int vhx_dev_read_config(const struct vhx_dev *dev, size_t off, void *buf, size_t len)
{
	const struct vhx_driver_identity *id = vhx_fdev_identity(dev->fdev);

	if (!vhx_fdev_known(dev->fdev))
		return -EAGAIN;
	if (off > id->config_len || len > id->config_len - off)
		return -EINVAL;
	memcpy(buf, id->config + off, len);
	return 0;
}

int vhx_dev_write_config(struct vhx_dev *dev, size_t off, const void *buf, size_t len)
{
	int ret;

	if (dev->conn->inside)
		return -EDEADLK;
	if (off > UINT32_MAX || len > UINT32_MAX)
		return -EINVAL;
	if (dev->writing_config)
		return -EBUSY;
	ret = vhx_fdev_write_config(dev->fdev, (uint32_t)off, buf, (uint32_t)len);
	if (!ret)
		dev->writing_config = true;
	return ret;
}

int vhx_dev_set_features(struct vhx_dev *dev, uint64_t features)
{
	int ret;

	if (dev->conn->inside)
		return -EDEADLK;
	if (!vhx_fdev_known(dev->fdev))
		return -EAGAIN;
	if (dev->queue_cnt)
		return -EBUSY;
	if (features & (VHX_FEATURES_RING | VHX_FEATURES_CROSSING))
		return -EINVAL;
	ret = vhx_fdev_set_features(dev->fdev, features);
	if (!ret)
		dev->features_set = true;
	return ret;
}

int vhx_dev_reset(struct vhx_dev *dev)
{
	unsigned int i;
	int ret;

	if (dev->conn->inside)
		return -EDEADLK;
	ret = vhx_fdev_reset(dev->fdev);
	dev->resetting = ret == -EINPROGRESS;
	dev->stopping = 0;
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++) {
		if (dev->queues[i])
			vhx_evq_cancel(dev->queues[i]);
	}
	return ret;
}

const char *vhx_dev_state(const struct vhx_dev *dev)
{
	return vhx_fdev_state(dev->fdev);
}
