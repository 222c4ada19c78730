// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Device types of VirtIO 5: how a request ends that no backend will answer, whether it may be sent
 * again to the next one, which requests make data durable (docs/wire.md, section 11), and how
 * drivers wait for their queues. A type without a row is not replayed, and its requests end with
 * nothing written. Pure functions.
 */
#include <linux/kernel.h>
#include <uapi/linux/fuse.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>
#include <uapi/linux/virtio_crypto.h>
#include <uapi/linux/virtio_gpio.h>
#include <uapi/linux/virtio_i2c.h>
#include <uapi/linux/virtio_snd.h>
#include <scsi/scsi_proto.h>

#include "virtio_hmx.h"

/* 5.6.2 */
#define SCSI_VQ_EVENT 1
#define SCSI_VQ_REQUEST 2

static enum hmx_kind blk_kind(u16 vq, const u8 *out, u32 len)
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

/* 5.6.6.1: the operation code of a command, behind address, id and three bytes of attributes. */
static enum hmx_kind scsi_kind(u16 vq, const u8 *out, u32 len)
{
	const u32 opcode = offsetof(struct virtio_scsi_cmd_req, cdb);

	if (vq < SCSI_VQ_REQUEST || len <= opcode)
		return HMX_KIND_PLAIN;
	switch (out[opcode]) {
	case WRITE_6:
	case WRITE_10:
	case WRITE_12:
	case WRITE_16:
	case WRITE_VERIFY:
	case WRITE_VERIFY_12:
	case WRITE_VERIFY_16:
	case WRITE_SAME:
	case WRITE_SAME_16:
	case COMPARE_AND_WRITE:
	case UNMAP:
		return HMX_KIND_WRITE;
	case SYNCHRONIZE_CACHE:
	case SYNCHRONIZE_CACHE_16:
		return HMX_KIND_FLUSH_PART;
	default:
		return HMX_KIND_PLAIN;
	}
}

/* Status GOOD in a response OK. */
static bool scsi_flushed(const u8 *in, u32 len)
{
	const u32 status = offsetof(struct virtio_scsi_cmd_resp, status);
	const u32 response = offsetof(struct virtio_scsi_cmd_resp, response);

	return len > response && !in[status] && in[response] == VIRTIO_SCSI_S_OK;
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

/*
 * How requests end that no backend answers. A request has out bytes: posted ones do not end. What
 * is not listed below has no answer that its driver would look at.
 */

/* The last in byte. */
static void end_last(const struct hmx_request *r, struct hmx_ending *e, u8 status)
{
	e->len = 1;
	e->off = r->in_len - 1;
	e->bytes[0] = status;
}

/* The first in bytes, which then count as written. */
static void end_first(struct hmx_ending *e, const void *bytes, u32 len)
{
	e->len = len;
	e->used_len = len;
	memcpy(e->bytes, bytes, len);
}

static void blk_end(const struct hmx_request *r, struct hmx_ending *e)
{
	end_last(r, e, VIRTIO_BLK_S_IOERR);
}

/* Only the control queue has answers. */
static void net_end(const struct hmx_request *r, struct hmx_ending *e)
{
	end_last(r, e, VIRTIO_NET_ERR);
}

/* 5.6.6.1: commands begin with their response; those of the control queue end with it. */
static void scsi_end(const struct hmx_request *r, struct hmx_ending *e)
{
	u8 resp[offsetofend(struct virtio_scsi_cmd_resp, response)] = {
		[offsetof(struct virtio_scsi_cmd_resp, response)] = VIRTIO_SCSI_S_TRANSPORT_FAILURE,
	};

	if (!r->vq)
		end_last(r, e, VIRTIO_SCSI_S_FAILURE);
	else if (r->in_len >= sizeof(resp))
		end_first(e, resp, sizeof(resp));
}

/* Rlerror of 9P2000.L: size[4] type[1] tag[2] ecode[4]. A request has its tag behind its type. */
#define P9_RLERROR 7
#define P9_TAG 5
#define P9_EIO 5

static void p9_end(const struct hmx_request *r, struct hmx_ending *e)
{
	u8 resp[11] = { sizeof(resp), 0, 0, 0, P9_RLERROR, 0, 0, P9_EIO };

	if (r->peek_len < P9_TAG + 2 || r->in_len < sizeof(resp))
		return;
	memcpy(resp + P9_TAG, r->peek + P9_TAG, 2);
	end_first(e, resp, sizeof(resp));
}

/* 5.9.7: of the requests for the control queue, the last one, one has more than a status. */
static void crypto_end(const struct hmx_request *r, struct hmx_ending *e)
{
	if (r->vq + 1 != r->vqs || r->in_len != sizeof(struct virtio_crypto_session_input)) {
		end_last(r, e, VIRTIO_CRYPTO_ERR);
		return;
	}
	e->len = sizeof(__le32);
	e->off = offsetof(struct virtio_crypto_session_input, status);
	e->bytes[0] = VIRTIO_CRYPTO_ERR;
}

/* 5.14.6: control requests begin with their status; messages of PCM end with it. */
static void sound_end(const struct hmx_request *r, struct hmx_ending *e)
{
	struct virtio_snd_pcm_status status = {
		.status = cpu_to_le32(VIRTIO_SND_S_IO_ERR),
	};

	if (!r->vq && r->in_len >= sizeof(status.status))
		end_first(e, &status.status, sizeof(status.status));
	if (!r->vq || r->in_len < sizeof(status))
		return;
	e->len = sizeof(status);
	e->off = r->in_len - sizeof(status);
	memcpy(e->bytes, &status, sizeof(status));
}

/* 5.11: a FUSE reply begins with its header, and says which request it is for. */
static void fs_end(const struct hmx_request *r, struct hmx_ending *e)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = -EIO };
	const u32 unique = offsetof(struct fuse_in_header, unique);

	if (r->peek_len < unique + sizeof(out.unique) || r->in_len < sizeof(out))
		return;
	memcpy(&out.unique, r->peek + unique, sizeof(out.unique));
	end_first(e, &out, sizeof(out));
}

static void i2c_end(const struct hmx_request *r, struct hmx_ending *e)
{
	end_last(r, e, VIRTIO_I2C_MSG_ERR);
}

/* 5.21: the result of a transmission, or of a control message. */
#define CAN_RESULT_NOT_OK 1

static void can_end(const struct hmx_request *r, struct hmx_ending *e)
{
	end_last(r, e, CAN_RESULT_NOT_OK);
}

/* 5.18.6, 5.18.8: a request fails; one that waits for an interrupt is returned without. */
static void gpio_end(const struct hmx_request *r, struct hmx_ending *e)
{
	u8 status = r->vq ? VIRTIO_GPIO_IRQ_STATUS_INVALID : VIRTIO_GPIO_STATUS_ERR;

	end_first(e, &status, sizeof(status));
}

void hmx_type_end(const struct hmx_type *type, const struct hmx_request *r, struct hmx_ending *e)
{
	*e = (struct hmx_ending){ 0 };
	if (type->end && r->out_len && r->in_len)
		type->end(r, e);
}

/* How drivers wait for queues */

/*
 * 5.1.2: the control queue is the last one. virtio_net waits for its answer with the CPU in its
 * hands, and everybody who wants to configure a network behind it.
 */
static enum hmx_patience net_patience(u64 features, u16 vq, u16 vqs)
{
	if (features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ) && vq + 1 == vqs)
		return HMX_PATIENCE_SHORT;
	return HMX_PATIENCE_LONG;
}

/*
 * 5.3.2: output has odd numbers, and so has what the driver says about ports. virtio_console spins
 * for both, if it is output of a console; with MULTIPORT the backend tells which ports are.
 */
#define CONSOLE_CONTROL_IN 2u
#define CONSOLE_CONTROL_OUT 3u

static enum hmx_patience console_patience(u64 features, u16 vq, u16 vqs)
{
	bool multiport = features & BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT);

	if (!(vq & 1))
		return HMX_PATIENCE_LONG;
	if (vq == CONSOLE_CONTROL_OUT)
		return HMX_PATIENCE_NONE;
	return multiport ? HMX_PATIENCE_TOLD : HMX_PATIENCE_NONE_STREAM;
}

/* Queues 0 and 1 are port 0's, 2 and 3 for control, then come the other ports'. */
static int console_told(u64 features, u16 vq, const u8 *in, u32 len)
{
	const struct virtio_console_control *c = (const void *)in;
	u32 id;

	if (!(features & BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT)) || vq != CONSOLE_CONTROL_IN ||
	    len < sizeof(*c))
		return -ENOENT;
	id = __virtio32_to_cpu(true, c->id);
	if (__virtio16_to_cpu(true, c->event) != VIRTIO_CONSOLE_CONSOLE_PORT || !c->value ||
	    id > HMX_QUEUES_MAX / 2)
		return -ENOENT;
	return id ? 2 * (id + 1) + 1 : 1;
}

/*
 * 5.1.6.5: class and command, and what the command says. To acknowledge an announcement sets
 * nothing, nor does asking for the coalescing of a queue.
 */
#define NET_COAL_VQ_SET 2

static const u8 net_commands[] = {
	[VIRTIO_NET_CTRL_RX] = 6, /* modes: each one */
	[VIRTIO_NET_CTRL_MAC] = 2, /* the address tables, and the address */
	[VIRTIO_NET_CTRL_VLAN] = 2, /* a VLAN: its number tells which */
	[VIRTIO_NET_CTRL_ANNOUNCE] = 0,
	[VIRTIO_NET_CTRL_MQ] = 3, /* pairs in use, RSS, hash reports */
	[VIRTIO_NET_CTRL_GUEST_OFFLOADS] = 1,
	[VIRTIO_NET_CTRL_NOTF_COAL] = 3, /* the last of all but one queue: its number tells which */
};

static bool net_command(const u8 *out, u32 len, struct hmx_setting *set)
{
	u8 class, command;

	*set = (struct hmx_setting){ 0 };
	if (len < sizeof(struct virtio_net_ctrl_hdr))
		return false;
	class = out[0];
	command = out[1];
	if (class >= ARRAY_SIZE(net_commands) || command >= net_commands[class])
		return false;
	set->what = class << 24 | command << 16;
	if (class != VIRTIO_NET_CTRL_VLAN &&
	    (class != VIRTIO_NET_CTRL_NOTF_COAL || command != NET_COAL_VQ_SET))
		return true;
	if (len < HMX_COMMAND_HEAD)
		return false;
	/* What adds a VLAN and what takes it away are about the same. */
	if (class == VIRTIO_NET_CTRL_VLAN)
		set->what = class << 24;
	set->what |= out[2] | out[3] << 8;
	set->clears = class == VIRTIO_NET_CTRL_VLAN && command == VIRTIO_NET_CTRL_VLAN_DEL;
	return true;
}

#define MESSAGE(id, text) .device_id = (id), .name = (text), .class = HMX_CLASS_MESSAGE

static const struct hmx_type types[] = {
	{
		MESSAGE(VIRTIO_ID_NET, "net"),
		.config_kept = true,
		.end = net_end,
		.patience = net_patience,
		.command = net_command,
	},
	{
		MESSAGE(VIRTIO_ID_BLOCK, "blk"),
		.replay = true,
		.config_kept = true,
		.has_status = true,
		.status_error = VIRTIO_BLK_S_IOERR,
		.status_ok = VIRTIO_BLK_S_OK,
		.end = blk_end,
		.kind = blk_kind,
		.write_back = blk_write_back,
		.segs_off = offsetof(struct virtio_blk_config, seg_max),
		.segs_feature = BIT_ULL(VIRTIO_BLK_F_SEG_MAX),
	},
	/* Its only field that a driver writes is emerg_wr, which is output. */
	{
		MESSAGE(VIRTIO_ID_CONSOLE, "console"),
		.patience = console_patience,
		.told = console_told,
	},
	{
		MESSAGE(VIRTIO_ID_RNG, "rng"),
		.replay = true,
		.posted_end = true,
	},
	{ .device_id = VIRTIO_ID_BALLOON, .name = "balloon", .class = HMX_CLASS_ADDRESS },
	{
		/* A function ends commands for good: not for a backend that has not seen them. */
		MESSAGE(VIRTIO_ID_SCSI, "scsi"),
		.replay = true,
		.replay_from = SCSI_VQ_EVENT,
		.about_others = SCSI_VQ_EVENT,
		.config_kept = true,
		.status_error = 1,
		.status_ok = 0,
		.fill = true,
		.end = scsi_end,
		.kind = scsi_kind,
		.flushed = scsi_flushed,
		.segs_off = offsetof(struct virtio_scsi_config, seg_max),
		.segs_feature = HMX_ALWAYS,
	},
	{
		MESSAGE(VIRTIO_ID_9P, "9p"),
		.fill = true,
		.end = p9_end,
	},
	{ .device_id = VIRTIO_ID_GPU, .name = "gpu", .class = HMX_CLASS_ADDRESS },
	{
		MESSAGE(VIRTIO_ID_INPUT, "input"),
		.config_kept = true,
	},
	{ MESSAGE(VIRTIO_ID_VSOCK, "vsock") },
	{
		MESSAGE(VIRTIO_ID_CRYPTO, "crypto"),
		.fill = true,
		.end = crypto_end,
	},
	{ .device_id = VIRTIO_ID_IOMMU, .name = "iommu", .class = HMX_CLASS_ADDRESS },
	{ .device_id = VIRTIO_ID_MEM, .name = "mem", .class = HMX_CLASS_ADDRESS },
	{
		MESSAGE(VIRTIO_ID_SOUND, "sound"),
		.fill = true,
		.end = sound_end,
	},
	{
		MESSAGE(VIRTIO_ID_FS, "fs"),
		.fill = true,
		.end = fs_end,
	},
	{ .device_id = VIRTIO_ID_PMEM, .name = "pmem", .class = HMX_CLASS_SHARED },
	{
		MESSAGE(VIRTIO_ID_I2C_ADAPTER, "i2c"),
		.has_status = true,
		.status_error = VIRTIO_I2C_MSG_ERR,
		.status_ok = VIRTIO_I2C_MSG_OK,
		.end = i2c_end,
	},
	{
		MESSAGE(VIRTIO_ID_CAN, "can"),
		.fill = true,
		.end = can_end,
	},
	{
		MESSAGE(VIRTIO_ID_GPIO, "gpio"),
		.fill = true,
		.end = gpio_end,
	},
};

static const struct hmx_type unknown = {
	.name = "unknown",
	.config_kept = true,
};

const char *hmx_type_refusal(const struct hmx_type *type)
{
	switch (type->class) {
	case HMX_CLASS_ADDRESS:
		return "its requests carry guest addresses, which never cross to a backend";
	case HMX_CLASS_SHARED:
		return "it works by memory that guest and backend share, which they never do";
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

enum hmx_kind hmx_type_kind(const struct hmx_type *type, u16 vq, const u8 *out, u32 len)
{
	return type->kind ? type->kind(vq, out, len) : HMX_KIND_PLAIN;
}

bool hmx_type_replays(const struct hmx_type *type, u16 vq)
{
	return type->replay && vq >= type->replay_from;
}

enum hmx_patience hmx_type_patience(const struct hmx_type *type, u64 features, u16 vq, u16 vqs)
{
	return type->patience ? type->patience(features, vq, vqs) : HMX_PATIENCE_LONG;
}

int hmx_type_told(const struct hmx_type *type, u64 features, u16 vq, const u8 *in, u32 len)
{
	return type->told ? type->told(features, vq, in, len) : -ENOENT;
}

void hmx_type_config(const struct hmx_type *type, u64 features, u8 *config, u32 len)
{
	u32 off = type->segs_off;
	__le32 segs;

	if (!off || (type->segs_feature != HMX_ALWAYS && !(features & type->segs_feature)) ||
	    len < off + sizeof(segs))
		return;
	memcpy(&segs, config + off, sizeof(segs));
	segs = cpu_to_le32(min_t(u32, le32_to_cpu(segs), HMX_SEGS_MAX));
	memcpy(config + off, &segs, sizeof(segs));
}
