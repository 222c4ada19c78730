// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Device types of VirtIO 5: how a request ends that no backend will answer, whether it may be sent
 * again to the next one, and which requests make data durable (docs/wire.md, section 11). A type
 * without a row is not replayed, and its requests end with nothing written. Pure functions.
 */
#include <linux/kernel.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "virtio_hmx.h"

static enum hmx_kind plain_kind(const u8 *out, u32 len)
{
	return HMX_KIND_PLAIN;
}

static enum hmx_kind blk_kind(const u8 *out, u32 len)
{
	__le32 type;

	if (len < sizeof(type))
		return HMX_KIND_PLAIN;
	memcpy(&type, out, sizeof(type));
	switch (le32_to_cpu(type)) {
	case VIRTIO_BLK_T_OUT:
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return HMX_KIND_WRITE;
	case VIRTIO_BLK_T_FLUSH:
		return HMX_KIND_FLUSH;
	default:
		return HMX_KIND_PLAIN;
	}
}

/* 5.2.5.2: without FLUSH the device writes through, with CONFIG_WCE the driver chooses. */
static bool blk_write_back(u64 features, const u8 *config, u32 config_len)
{
	const u32 wce = offsetof(struct virtio_blk_config, wce);

	if (!(features & BIT_ULL(VIRTIO_BLK_F_FLUSH)))
		return false;
	if (!(features & BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE)) || config_len <= wce)
		return true;
	return config[wce];
}

#define TYPE(id, text, cls) \
	{ .device_id = (id), .name = (text), .class = (cls), .kind = plain_kind }

static const struct hmx_type types[] = {
	{
		.device_id = VIRTIO_ID_NET,
		.name = "net",
		.class = HMX_CLASS_MESSAGE,
		.config_kept = true,
		.kind = plain_kind,
	},
	{
		.device_id = VIRTIO_ID_BLOCK,
		.name = "blk",
		.class = HMX_CLASS_MESSAGE,
		.replay = true,
		.config_kept = true,
		.has_status = true,
		.status_error = VIRTIO_BLK_S_IOERR,
		.status_ok = VIRTIO_BLK_S_OK,
		.kind = blk_kind,
		.write_back = blk_write_back,
	},
	{
		.device_id = VIRTIO_ID_RNG,
		.name = "rng",
		.class = HMX_CLASS_MESSAGE,
		.replay = true,
		.kind = plain_kind,
	},
	{
		.device_id = VIRTIO_ID_INPUT,
		.name = "input",
		.class = HMX_CLASS_MESSAGE,
		.config_kept = true,
		.kind = plain_kind,
	},
	/* Its only field that a driver writes is emerg_wr, which is output. */
	TYPE(VIRTIO_ID_CONSOLE, "console", HMX_CLASS_SPINS),
	TYPE(VIRTIO_ID_BALLOON, "balloon", HMX_CLASS_ADDRESS),
	TYPE(VIRTIO_ID_SCSI, "scsi", HMX_CLASS_SILENT),
	TYPE(VIRTIO_ID_9P, "9p", HMX_CLASS_MESSAGE),
	TYPE(VIRTIO_ID_GPU, "gpu", HMX_CLASS_ADDRESS),
	TYPE(VIRTIO_ID_VSOCK, "vsock", HMX_CLASS_MESSAGE),
	TYPE(VIRTIO_ID_CRYPTO, "crypto", HMX_CLASS_SILENT),
	TYPE(VIRTIO_ID_IOMMU, "iommu", HMX_CLASS_ADDRESS),
	TYPE(VIRTIO_ID_MEM, "mem", HMX_CLASS_ADDRESS),
	TYPE(VIRTIO_ID_SOUND, "sound", HMX_CLASS_SILENT),
	TYPE(VIRTIO_ID_FS, "fs", HMX_CLASS_MESSAGE),
	TYPE(VIRTIO_ID_PMEM, "pmem", HMX_CLASS_SHARED),
	TYPE(VIRTIO_ID_I2C_ADAPTER, "i2c", HMX_CLASS_SILENT),
	TYPE(VIRTIO_ID_CAN, "can", HMX_CLASS_MESSAGE),
	TYPE(VIRTIO_ID_GPIO, "gpio", HMX_CLASS_SILENT),
};

static const struct hmx_type unknown = {
	.name = "unknown",
	.config_kept = true,
	.kind = plain_kind,
};

const char *hmx_type_refusal(const struct hmx_type *type)
{
	switch (type->class) {
	case HMX_CLASS_ADDRESS:
		return "its requests carry guest addresses, which never cross to a backend";
	case HMX_CLASS_SHARED:
		return "it works by memory that guest and backend share, which they never do";
	case HMX_CLASS_SPINS:
		return "its driver would wait for the backend with interrupts off";
	case HMX_CLASS_SILENT:
		return "a request that a backend loses would look like one that succeeded";
	default:
		return NULL;
	}
}

const struct hmx_type *hmx_type_find(u32 device_id)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i].device_id == device_id)
			return &types[i];
	}
	return &unknown;
}
