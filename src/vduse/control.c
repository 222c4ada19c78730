// SPDX-License-Identifier: BSD-3-Clause
#include "vduse/control.h"

#include <fcntl.h>
#include <linux/vduse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))

/* VirtIO 5.2.3 and 5.1.3: what works by config writes, by a control queue, or by what needs one. */
#define BLK_LEFT_OUT BIT(11) /* CONFIG_WCE */
#define NET_LEFT_OUT                                                                            \
	(BIT(2) /* CTRL_GUEST_OFFLOADS */ | BIT(17) /* CTRL_VQ */ | BIT(18) /* CTRL_RX */ |     \
	 BIT(19) /* CTRL_VLAN */ | BIT(20) /* CTRL_RX_EXTRA */ | BIT(21) /* GUEST_ANNOUNCE */ | \
	 BIT(22) /* MQ */ | BIT(23) /* CTRL_MAC_ADDR */ | BIT(52) /* VQ_NOTF_COAL */ |          \
	 BIT(53) /* NOTF_COAL */ | BIT(57) /* HASH_REPORT */ | BIT(60) /* RSS */)

static const struct vduse_type {
	uint32_t device_id;
	uint64_t left_out;
	uint16_t queues_max; /* 0: all */
} types[] = {
	{ 1, NET_LEFT_OUT, 2 },
	{ 2, BLK_LEFT_OUT, 0 },
};

static const struct vduse_type *type_find(uint32_t device_id)
{
	static const struct vduse_type any;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		if (types[i].device_id == device_id)
			return &types[i];
	}
	return &any;
}

uint64_t vhx_vduse_device_features(uint32_t device_id, uint64_t features)
{
	return features & ~type_find(device_id)->left_out;
}

uint16_t vhx_vduse_device_queues(uint32_t device_id, uint16_t queues)
{
	uint16_t max = type_find(device_id)->queues_max;

	return max && queues > max ? max : queues;
}

int vhx_vduse_control_open(void)
{
	uint64_t version = VDUSE_API_VERSION;
	int fd = open(VHX_VDUSE_CONTROL, O_RDWR | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, VDUSE_SET_API_VERSION, &version))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static int create(int control, const struct vduse_dev_config *cfg)
{
	return ioctl(control, VDUSE_CREATE_DEV, cfg) ? -errno : 0;
}

int vhx_vduse_create(int control, const struct vhx_vduse_shape *shape)
{
	struct vduse_dev_config *cfg;
	int ret;

	assert(shape->config_len <= VHX_VDUSE_CONFIG_MAX);
	cfg = calloc(1, sizeof(*cfg) + shape->config_len);
	if (!cfg)
		return -ENOMEM;
	snprintf(cfg->name, sizeof(cfg->name), "%s", shape->name);
	cfg->device_id = shape->device_id;
	cfg->features = shape->features;
	cfg->vq_num = shape->queues;
	cfg->vq_align = (uint32_t)sysconf(_SC_PAGESIZE);
	cfg->config_size = shape->config_len;
	memcpy(cfg->config, shape->config, shape->config_len);
	ret = create(control, cfg);
	if (ret == -EEXIST)
		ret = vhx_vduse_destroy(control, shape->name) ?: create(control, cfg);
	free(cfg);
	return ret;
}

int vhx_vduse_destroy(int control, const char *name)
{
	char text[VDUSE_NAME_MAX] = "";

	snprintf(text, sizeof(text), "%s", name);
	return ioctl(control, VDUSE_DESTROY_DEV, text) ? -errno : 0;
}

int vhx_vduse_open(const char *name)
{
	char path[sizeof("/dev/vduse/") + VHX_VDUSE_NAME_MAX];
	int fd;

	snprintf(path, sizeof(path), "/dev/vduse/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}
