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

/* Device types of VirtIO 5. */
static const struct vhx_devtype devtypes[] = {
	{ .device_id = 1, .name = "net", .kind = plain_kind },
	{ .device_id = 2, .name = "blk", .replay = true, .has_status = true,
	  .status_error = BLK_S_IOERR, .status_ok = BLK_S_OK, .kind = blk_kind,
	  .write_back = blk_write_back },
	{ .device_id = 3, .name = "console", .kind = plain_kind },
	{ .device_id = 4, .name = "rng", .replay = true, .kind = plain_kind },
	{ .device_id = 8, .name = "scsi", .kind = plain_kind },
	{ .device_id = 19, .name = "vsock", .kind = plain_kind },
	{ .device_id = 26, .name = "fs", .kind = plain_kind },
};

static const struct vhx_devtype unknown = { .name = "unknown", .kind = plain_kind };

const struct vhx_devtype *vhx_devtype_find(uint32_t device_id)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(devtypes); i++) {
		if (devtypes[i].device_id == device_id)
			return &devtypes[i];
	}
	return &unknown;
}
