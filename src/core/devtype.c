// SPDX-License-Identifier: BSD-3-Clause
#include "core/devtype.h"

#include <string.h>

#include <vhx/endian.h>

/* VirtIO 5.2.6 */
#define BLK_T_OUT 1
#define BLK_T_FLUSH 4
#define BLK_T_DISCARD 11
#define BLK_T_WRITE_ZEROES 13
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_CONFIG_WCE (1ull << 11)
#define BLK_CONFIG_WRITEBACK 32
#define BLK_S_OK 0
#define BLK_S_IOERR 1

static enum vhx_request_kind plain_kind(const uint8_t *out, uint32_t len)
{
	return VHX_KIND_PLAIN;
}

static enum vhx_request_kind blk_kind(const uint8_t *out, uint32_t len)
{
	vhx_le32 type;

	if (len < sizeof(type))
		return VHX_KIND_PLAIN;
	memcpy(&type, out, sizeof(type));
	switch (vhx_le32_get(type)) {
	case BLK_T_OUT:
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		return VHX_KIND_WRITE;
	case BLK_T_FLUSH:
		return VHX_KIND_FLUSH;
	default:
		return VHX_KIND_PLAIN;
	}
}

/* 5.2.5.2: without FLUSH the device writes through, with CONFIG_WCE the driver chooses. */
static bool blk_write_back(uint64_t features, const uint8_t *config, uint32_t config_len)
{
	if (!(features & BLK_F_FLUSH))
		return false;
	if (!(features & BLK_F_CONFIG_WCE) || config_len <= BLK_CONFIG_WRITEBACK)
		return true;
	return config[BLK_CONFIG_WRITEBACK];
}

#define PLAIN(id, text, cls)                                                          \
	{                                                                             \
		.device_id = (id), .name = (text), .class = (cls), .kind = plain_kind \
	}

/* Device types of VirtIO 5. */
static const struct vhx_devtype devtypes[] = {
	{ .device_id = 1,
	  .name = "net",
	  .class = VHX_CLASS_MESSAGE,
	  .config_kept = true,
	  .kind = plain_kind },
	{ .device_id = 2,
	  .name = "blk",
	  .class = VHX_CLASS_MESSAGE,
	  .replay = true,
	  .config_kept = true,
	  .has_status = true,
	  .status_error = BLK_S_IOERR,
	  .status_ok = BLK_S_OK,
	  .kind = blk_kind,
	  .write_back = blk_write_back },
	/* Its only field that a driver writes is emerg_wr, which is output. */
	PLAIN(3, "console", VHX_CLASS_MESSAGE),
	{ .device_id = 4,
	  .name = "rng",
	  .class = VHX_CLASS_MESSAGE,
	  .replay = true,
	  .kind = plain_kind },
	PLAIN(5, "balloon", VHX_CLASS_ADDRESS),
	PLAIN(8, "scsi", VHX_CLASS_MESSAGE),
	PLAIN(9, "9p", VHX_CLASS_MESSAGE),
	PLAIN(16, "gpu", VHX_CLASS_ADDRESS),
	{ .device_id = 18,
	  .name = "input",
	  .class = VHX_CLASS_MESSAGE,
	  .config_kept = true,
	  .kind = plain_kind },
	PLAIN(19, "vsock", VHX_CLASS_MESSAGE),
	PLAIN(20, "crypto", VHX_CLASS_MESSAGE),
	PLAIN(23, "iommu", VHX_CLASS_ADDRESS),
	PLAIN(24, "mem", VHX_CLASS_ADDRESS),
	PLAIN(25, "sound", VHX_CLASS_MESSAGE),
	PLAIN(26, "fs", VHX_CLASS_MESSAGE),
	PLAIN(27, "pmem", VHX_CLASS_SHARED),
	PLAIN(34, "i2c", VHX_CLASS_MESSAGE),
	PLAIN(36, "can", VHX_CLASS_MESSAGE),
	PLAIN(41, "gpio", VHX_CLASS_MESSAGE),
};

static const struct vhx_devtype unknown = { .name = "unknown",
					    .config_kept = true,
					    .kind = plain_kind };

const char *vhx_devtype_refusal(const struct vhx_devtype *type)
{
	switch (type->class) {
	case VHX_CLASS_ADDRESS:
		return "its requests carry guest addresses, which never cross to a backend";
	case VHX_CLASS_SHARED:
		return "it works by memory that guest and backend share, which they never do";
	default:
		return NULL;
	}
}

const struct vhx_devtype *vhx_devtype_find(uint32_t device_id)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(devtypes); i++) {
		if (devtypes[i].device_id == device_id)
			return &devtypes[i];
	}
	return &unknown;
}
