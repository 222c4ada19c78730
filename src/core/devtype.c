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

static enum vhx_request_kind plain_kind(uint16_t queue, const uint8_t *out, uint32_t len)
{
	return VHX_KIND_PLAIN;
}

static enum vhx_request_kind blk_kind(uint16_t queue, const uint8_t *out, uint32_t len)
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

/* The last in byte. */
static void end_last(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e,
		     uint8_t status)
{
	e->len = 1;
	e->off = r->in_len - 1;
	e->bytes[0] = status;
}

/* The first in bytes, which then count as written. */
static void end_first(struct vhx_devtype_ending *e, const void *bytes, uint32_t len)
{
	e->len = len;
	e->used_len = len;
	memcpy(e->bytes, bytes, len);
}

/* 5.2.6, 5.22.6, 5.1.6.5 (of a net device only the control queue has answers), 5.25 */
#define STATUS_ERR 1

static void status_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	end_last(r, e, STATUS_ERR);
}

/* 5.1.2: the control queue is behind the last pair that there could be, or behind the only one. */
#define NET_F_CTRL_VQ (1ull << 17)
#define NET_F_MQ (1ull << 22)
#define NET_F_RSS (1ull << 60)

static bool net_commands(uint64_t features, uint16_t queue, uint16_t queues)
{
	if (!(features & NET_F_CTRL_VQ))
		return false;
	return queue == (features & (NET_F_MQ | NET_F_RSS) ? queues - 1 : 2);
}

/*
 * 5.1.6.5: class and command, and what the command says. To acknowledge an announcement (3) sets nothing, nor does
 * asking for the coalescing of a queue (6, 3).
 */
#define NET_CTRL_VLAN 2
#define NET_CTRL_VLAN_DEL 1
#define NET_CTRL_COAL 6
#define NET_CTRL_COAL_VQ_SET 2

static const uint8_t net_command_cnt[] = {
	6, /* of receive modes: each one */
	2, /* the address tables, and the address */
	2, /* a VLAN: its number tells which */
	0, 3, /* pairs in use, RSS, hash reports */
	1, /* receive offloads */
	3, /* coalescing, the last of all but one queue: its number tells which */
};

static bool net_command(const uint8_t *out, uint32_t len, struct vhx_devtype_command *c)
{
	uint8_t class, command;

	*c = (struct vhx_devtype_command){ 0 };
	if (len < 2)
		return false;
	class = out[0];
	command = out[1];
	if (class >= VHX_ARRAY_SIZE(net_command_cnt) || command >= net_command_cnt[class])
		return false;
	c->what = (uint32_t) class << 24 | (uint32_t)command << 16;
	if (class != NET_CTRL_VLAN && (class != NET_CTRL_COAL || command != NET_CTRL_COAL_VQ_SET))
		return true;
	if (len < 4)
		return false;
	/* What adds a VLAN and what takes it away are about the same. */
	if (class == NET_CTRL_VLAN)
		c->what = (uint32_t) class << 24;
	c->what |= out[2] | (uint32_t)out[3] << 8;
	c->clears = class == NET_CTRL_VLAN && command == NET_CTRL_VLAN_DEL;
	return true;
}

/* 5.6.6: commands begin with their response, in its 12th byte; those of the control queue end with it. */
#define SCSI_S_TRANSPORT_FAILURE 6
#define SCSI_S_FAILURE 9
#define SCSI_RESPONSE_LEN 12

/* 5.6.2, 5.6.6.1: a command has its CDB behind address, id and three bytes of attributes. */
#define SCSI_QUEUE_EVENT 1
#define SCSI_QUEUE_REQUEST 2
#define SCSI_CDB 19u
#define SCSI_STATUS 10

static enum vhx_request_kind scsi_kind(uint16_t queue, const uint8_t *out, uint32_t len)
{
	if (queue < SCSI_QUEUE_REQUEST || len <= SCSI_CDB)
		return VHX_KIND_PLAIN;
	switch (out[SCSI_CDB]) {
	case 0x0a: /* WRITE, of 6, 10, 12 and 16 bytes */
	case 0x2a:
	case 0xaa:
	case 0x8a:
	case 0x2e: /* WRITE AND VERIFY, of 10, 12, 16 */
	case 0xae:
	case 0x8e:
	case 0x41: /* WRITE SAME, of 10, 16 */
	case 0x93:
	case 0x89: /* COMPARE AND WRITE */
	case 0x42: /* UNMAP */
		return VHX_KIND_WRITE;
	case 0x35: /* SYNCHRONIZE CACHE, of 10, 16 */
	case 0x91:
		return VHX_KIND_FLUSH_PART;
	default:
		return VHX_KIND_PLAIN;
	}
}

/* Status GOOD in a response OK. */
static bool scsi_flushed(const uint8_t *in, uint32_t len)
{
	return len >= SCSI_RESPONSE_LEN && !in[SCSI_STATUS] && !in[SCSI_RESPONSE_LEN - 1];
}

static void scsi_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	static const uint8_t resp[SCSI_RESPONSE_LEN] = {
		[SCSI_RESPONSE_LEN - 1] = SCSI_S_TRANSPORT_FAILURE,
	};

	if (!r->queue)
		end_last(r, e, SCSI_S_FAILURE);
	else if (r->in_len >= sizeof(resp))
		end_first(e, resp, sizeof(resp));
}

/* Rlerror of 9P2000.L: size[4] type[1] tag[2] ecode[4]. A request has its tag behind its type. */
#define P9_RLERROR 7
#define P9_TAG 5u
#define P9_EIO 5

static void p9_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	uint8_t resp[11] = { sizeof(resp), 0, 0, 0, P9_RLERROR, 0, 0, P9_EIO };

	if (r->peek_len < P9_TAG + 2 || r->in_len < sizeof(resp))
		return;
	memcpy(resp + P9_TAG, r->peek + P9_TAG, 2);
	end_first(e, resp, sizeof(resp));
}

/* 5.9.7: of the requests for the control queue, the last one, one has more than a status. */
#define CRYPTO_SESSION_LEN 16u
#define CRYPTO_SESSION_STATUS 8u

static void crypto_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	vhx_le32 status = vhx_le32_of(STATUS_ERR);

	if (r->queue + 1 != r->queues || r->in_len != CRYPTO_SESSION_LEN) {
		end_last(r, e, STATUS_ERR);
		return;
	}
	e->off = CRYPTO_SESSION_STATUS;
	e->len = sizeof(status);
	memcpy(e->bytes, &status, sizeof(status));
}

/* 5.14.6: control requests begin with their status; messages of PCM end with it, and a latency. */
#define SND_S_IO_ERR 0x8003
#define SND_PCM_STATUS_LEN 8u

static void sound_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	vhx_le32 status = vhx_le32_of(SND_S_IO_ERR);

	if (!r->queue && r->in_len >= sizeof(status))
		end_first(e, &status, sizeof(status));
	if (!r->queue || r->in_len < SND_PCM_STATUS_LEN)
		return;
	e->off = r->in_len - SND_PCM_STATUS_LEN;
	e->len = SND_PCM_STATUS_LEN;
	memcpy(e->bytes, &status, sizeof(status));
}

/* 5.11: a FUSE reply begins with its header {len, error, unique}; a request has its unique at 8. */
#define FUSE_EIO (-5)
#define FUSE_UNIQUE 8u

static void fs_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	struct {
		vhx_le32 len, error;
		uint8_t unique[8];
	} out = { .len = vhx_le32_of(sizeof(out)), .error = vhx_le32_of((uint32_t)FUSE_EIO) };

	if (r->peek_len < FUSE_UNIQUE + sizeof(out.unique) || r->in_len < sizeof(out))
		return;
	memcpy(out.unique, r->peek + FUSE_UNIQUE, sizeof(out.unique));
	end_first(e, &out, sizeof(out));
}

/* 5.18.6, 5.18.8: a request fails; one that waits for an interrupt is returned without (INVALID). */
static void gpio_end(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e)
{
	uint8_t status = r->queue ? 0 : STATUS_ERR;

	end_first(e, &status, sizeof(status));
}

void vhx_devtype_end(const struct vhx_devtype *type, const struct vhx_devtype_request *r,
		     struct vhx_devtype_ending *e)
{
	*e = (struct vhx_devtype_ending){ 0 };
	if (type->end && r->out_len && r->in_len)
		type->end(r, e);
}

/* Types with an error of their own, whose drivers do not go by the length of an answer. */
#define FILLED(id, text, how)                                                                \
	{                                                                                    \
		.device_id = (id), .name = (text), .class = VHX_CLASS_MESSAGE, .fill = true, \
		.end = (how), .kind = plain_kind                                             \
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
	  .commands = net_commands,
	  .command = net_command,
	  .end = status_end,
	  .kind = plain_kind },
	{ .device_id = 2,
	  .name = "blk",
	  .class = VHX_CLASS_MESSAGE,
	  .replay = true,
	  .config_kept = true,
	  .has_status = true,
	  .status_error = BLK_S_IOERR,
	  .status_ok = BLK_S_OK,
	  .end = status_end,
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
	/* A task management function ends commands for good: it is not for a backend that has not seen them. */
	{ .device_id = 8,
	  .name = "scsi",
	  .class = VHX_CLASS_MESSAGE,
	  .replay = true,
	  .replay_from = SCSI_QUEUE_EVENT,
	  .about_others = SCSI_QUEUE_EVENT,
	  .config_kept = true,
	  .status_error = 1,
	  .status_ok = 0,
	  .fill = true,
	  .end = scsi_end,
	  .kind = scsi_kind,
	  .flushed = scsi_flushed },
	FILLED(9, "9p", p9_end),
	PLAIN(16, "gpu", VHX_CLASS_ADDRESS),
	{ .device_id = 18,
	  .name = "input",
	  .class = VHX_CLASS_MESSAGE,
	  .config_kept = true,
	  .kind = plain_kind },
	PLAIN(19, "vsock", VHX_CLASS_MESSAGE),
	FILLED(20, "crypto", crypto_end),
	PLAIN(23, "iommu", VHX_CLASS_ADDRESS),
	PLAIN(24, "mem", VHX_CLASS_ADDRESS),
	FILLED(25, "sound", sound_end),
	FILLED(26, "fs", fs_end),
	PLAIN(27, "pmem", VHX_CLASS_SHARED),
	{ .device_id = 34,
	  .name = "i2c",
	  .class = VHX_CLASS_MESSAGE,
	  .has_status = true,
	  .status_error = STATUS_ERR,
	  .status_ok = 0,
	  .end = status_end,
	  .kind = plain_kind },
	FILLED(36, "can", status_end),
	FILLED(41, "gpio", gpio_end),
};

static const struct vhx_devtype unknown = { .name = "unknown",
					    .config_kept = true,
					    .kind = plain_kind };

bool vhx_devtype_replays(const struct vhx_devtype *type, uint16_t queue)
{
	return type->replay && queue >= type->replay_from;
}

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

const struct vhx_devtype *vhx_devtype_named(const char *name)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(devtypes); i++) {
		if (!strcmp(devtypes[i].name, name))
			return &devtypes[i];
	}
	return NULL;
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
