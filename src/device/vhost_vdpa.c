// SPDX-License-Identifier: BSD-3-Clause
#include "device/vhost_vdpa.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util/checked.h"

/* VirtIO 2.1 */
#define S_ACKNOWLEDGE 1u
#define S_DRIVER 2u
#define S_DRIVER_OK 4u
#define S_FEATURES_OK 8u

/* Larger ones are of no type that is known. */
#define CONFIG_MAX 4096u

#define BACKEND_FEATURES (1ull << VHOST_BACKEND_F_IOTLB_MSG_V2)

static int call(const struct vhx_vhost_vdpa *v, unsigned long request, void *arg)
{
	return ioctl(v->fd, request, arg) < 0 ? -errno : 0;
}

static int backend_features(const struct vhx_vhost_vdpa *v)
{
	uint64_t features = 0;
	int ret = call(v, VHOST_GET_BACKEND_FEATURES, &features);

	features &= BACKEND_FEATURES;
	if (ret)
		return ret;
	return features == BACKEND_FEATURES ? call(v, VHOST_SET_BACKEND_FEATURES, &features)
					    : -EOPNOTSUPP;
}

/* Kernels before 5.19 do not say how many queues there are. */
static uint16_t queues_ask(const struct vhx_vhost_vdpa *v)
{
	uint32_t queues = 0;

	if (call(v, VHOST_VDPA_GET_VQS_COUNT, &queues))
		return 1;
	return (uint16_t)vhx_min_u64(queues, UINT16_MAX);
}

static int identify(struct vhx_vhost_vdpa *v)
{
	struct vhost_vdpa_iova_range range = { 0 };
	int ret;

	ret = ioctl(v->fd, VHOST_SET_OWNER) ? -errno : 0;
	if (!ret)
		ret = backend_features(v);
	if (!ret)
		ret = vhx_vhost_vdpa_reset(v);
	if (!ret)
		ret = call(v, VHOST_VDPA_GET_DEVICE_ID, &v->device_id);
	if (!ret)
		ret = call(v, VHOST_GET_FEATURES, &v->features);
	if (!ret)
		ret = call(v, VHOST_VDPA_GET_VRING_NUM, &v->ring_size_max);
	if (!ret)
		ret = call(v, VHOST_VDPA_GET_CONFIG_SIZE, &v->config_len);
	if (!ret)
		ret = call(v, VHOST_VDPA_GET_IOVA_RANGE, &range);
	v->iova_first = range.first;
	v->iova_last = range.last;
	v->queues = queues_ask(v);
	return ret;
}

int vhx_vhost_vdpa_open(struct vhx_vhost_vdpa *v, const char *path, struct vhx_error *err)
{
	int ret;

	*v = (struct vhx_vhost_vdpa){ .fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK) };
	if (v->fd < 0) {
		ret = -errno;
		vhx_error_set(err, "%s: %s%s", path, strerror(-ret),
			      ret == -ENOENT ? " (is the device bound to vhost_vdpa?)" : "");
		return ret;
	}
	ret = identify(v);
	if (!ret)
		return 0;
	vhx_error_set(err, "%s: %s", path,
		      ret == -ENOTTY ? "this is no vDPA device" : strerror(-ret));
	vhx_vhost_vdpa_close(v);
	return ret;
}

void vhx_vhost_vdpa_close(struct vhx_vhost_vdpa *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

int vhx_vhost_vdpa_config_call(struct vhx_vhost_vdpa *v, int event_fd)
{
	return call(v, VHOST_VDPA_SET_CONFIG_CALL, &event_fd);
}

static struct vhost_vdpa_config *config_new(uint32_t off, uint32_t len)
{
	struct vhost_vdpa_config *c;

	if (len > CONFIG_MAX)
		return NULL;
	c = calloc(1, sizeof(*c) + len);
	if (c) {
		c->off = off;
		c->len = len;
	}
	return c;
}

int vhx_vhost_vdpa_config_get(const struct vhx_vhost_vdpa *v, void *buf, uint32_t len)
{
	struct vhost_vdpa_config *c = config_new(0, len);
	int ret;

	if (!c)
		return -ENOMEM;
	ret = call(v, VHOST_VDPA_GET_CONFIG, c);
	if (!ret)
		memcpy(buf, c->buf, len);
	free(c);
	return ret;
}

int vhx_vhost_vdpa_config_set(const struct vhx_vhost_vdpa *v, uint32_t off, const void *buf,
			      uint32_t len)
{
	struct vhost_vdpa_config *c = config_new(off, len);
	int ret;

	if (!c)
		return -ENOMEM;
	memcpy(c->buf, buf, len);
	ret = call(v, VHOST_VDPA_SET_CONFIG, c);
	free(c);
	return ret;
}

int vhx_vhost_vdpa_status(const struct vhx_vhost_vdpa *v)
{
	uint8_t status;
	int ret = call(v, VHOST_VDPA_GET_STATUS, &status);

	return ret ? ret : status;
}

/* Sets it, and looks whether the device has it then. */
static int status_set(const struct vhx_vhost_vdpa *v, uint8_t status, int refusal)
{
	int ret = call(v, VHOST_VDPA_SET_STATUS, &status);

	if (ret)
		return ret;
	ret = vhx_vhost_vdpa_status(v);
	if (ret < 0)
		return ret;
	return (ret & status) == status && !(ret & VHX_VDPA_S_NEEDS_RESET) ? 0 : refusal;
}

int vhx_vhost_vdpa_negotiate(const struct vhx_vhost_vdpa *v, uint64_t features)
{
	int ret = status_set(v, S_ACKNOWLEDGE, -EIO);

	if (!ret)
		ret = status_set(v, S_ACKNOWLEDGE | S_DRIVER, -EIO);
	if (!ret)
		ret = call(v, VHOST_SET_FEATURES, &features);
	if (!ret)
		ret = status_set(v, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK, -EINVAL);
	return ret;
}

static int iotlb_write(const struct vhx_vhost_vdpa *v, const struct vhost_iotlb_msg *iotlb)
{
	struct vhost_msg_v2 msg = { .type = VHOST_IOTLB_MSG_V2, .iotlb = *iotlb };
	ssize_t len = write(v->fd, &msg, sizeof(msg));

	if (len < 0)
		return -errno;
	return len == sizeof(msg) ? 0 : -EIO;
}

int vhx_vhost_vdpa_map(struct vhx_vhost_vdpa *v, uint64_t iova, void *base, uint64_t len)
{
	struct vhost_iotlb_msg msg = {
		.iova = iova,
		.size = len,
		.uaddr = (uintptr_t)base,
		.perm = VHOST_ACCESS_RW,
		.type = VHOST_IOTLB_INVALIDATE,
	};
	int ret = v->mapped ? iotlb_write(v, &msg) : 0;

	v->mapped = false;
	msg.type = VHOST_IOTLB_UPDATE;
	if (!ret)
		ret = iotlb_write(v, &msg);
	v->mapped = !ret;
	return ret;
}

int vhx_vhost_vdpa_ring(const struct vhx_vhost_vdpa *v, const struct vhx_vhost_vdpa_ring *ring)
{
	struct vhost_vring_state state = { .index = ring->index, .num = ring->size };
	struct vhost_vring_addr addr = {
		.index = ring->index,
		.desc_user_addr = ring->desc,
		.avail_user_addr = ring->driver,
		.used_user_addr = ring->device,
	};
	struct vhost_vring_file file = { .index = ring->index, .fd = ring->kick_fd };
	int ret;

	ret = call(v, VHOST_SET_VRING_NUM, &state);
	state.num = ring->base;
	if (!ret)
		ret = call(v, VHOST_SET_VRING_BASE, &state);
	if (!ret)
		ret = call(v, VHOST_SET_VRING_ADDR, &addr);
	if (!ret)
		ret = call(v, VHOST_SET_VRING_KICK, &file);
	file.fd = ring->call_fd;
	if (!ret)
		ret = call(v, VHOST_SET_VRING_CALL, &file);
	state.num = 1;
	return ret ? ret : call(v, VHOST_VDPA_SET_VRING_ENABLE, &state);
}

int vhx_vhost_vdpa_run(const struct vhx_vhost_vdpa *v)
{
	return status_set(v, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, -EIO);
}

int vhx_vhost_vdpa_reset(const struct vhx_vhost_vdpa *v)
{
	uint8_t status = 0;

	return call(v, VHOST_VDPA_SET_STATUS, &status);
}
