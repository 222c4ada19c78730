// SPDX-License-Identifier: BSD-3-Clause
#include "config/device_type.h"

/* GET_ID hands the serial to the guest as text. */
static int serial_check(const char *serial, struct vhx_error *err)
{
	const char *p;

	for (p = serial; *p; p++) {
		if (*p >= 0x20 && *p < 0x7f)
			continue;
		vhx_error_set(err, "'%s' is not printable ASCII", serial);
		return -EINVAL;
	}
	return 0;
}

static const struct vhx_key blk_keys[] = {
	VHX_SPEC_KEY_ID,
	VHX_SPEC_KEY_PEER,
	{ "file", VHX_KEY_TEXT, VHX_SPEC_FIELD(blk.file), .text_max = VHX_VALUE_MAX,
	  .metavar = "PATH", .help = "raw image or block device" },
	{ "fd", VHX_KEY_FD, VHX_SPEC_FIELD(blk.fd), .metavar = "N",
	  .help = "instead of file: inherited descriptor of the image" },
	{ "readonly", VHX_KEY_FLAG, VHX_SPEC_FIELD(blk.readonly), .help = "refuse to write" },
	{ "direct", VHX_KEY_FLAG, VHX_SPEC_FIELD(blk.direct),
	  .help = "go past the host's page cache" },
	{ "handover", VHX_KEY_FLAG, VHX_SPEC_FIELD(blk.handover),
	  .help = "lock the image only while a guest uses it (live migration)" },
	{ "discard", VHX_KEY_SWITCH, VHX_SPEC_FIELD(blk.discard), .metavar = "on|off",
	  .help = "offer discard where the image can (default on)" },
	{ "serial", VHX_KEY_TEXT, VHX_SPEC_FIELD(blk.serial), .text_max = VHX_SPEC_SERIAL_MAX,
	  .check = serial_check, .metavar = "TEXT", .help = "serial number for the guest" },
	{ "num-queues", VHX_KEY_NUMBER, VHX_SPEC_FIELD(blk.num_queues),
	  .bounds = { 1, VHX_SPEC_QUEUES_MAX }, .metavar = "N",
	  .help = "request queues (default 1)" },
	VHX_SPEC_KEY_QUEUE_SIZE(blk.queue_size),
};

static void blk_defaults(struct vhx_device_spec *spec)
{
	spec->blk.fd = -1;
	spec->blk.discard = true;
	spec->blk.num_queues = 1;
	spec->blk.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

static int blk_check(const struct vhx_device_spec *spec, struct vhx_error *err)
{
	bool file = spec->blk.file[0], fd = spec->blk.fd >= 0;

	if (file != fd)
		return 0;
	vhx_error_set(err, file ? "file and fd exclude each other" : "key 'file' is missing");
	return -EINVAL;
}

const struct vhx_device_type vhx_blk_type = {
	.name = "blk",
	.help = "a disk",
	.keys = blk_keys,
	.keys_cnt = VHX_ARRAY_SIZE(blk_keys),
	.defaults = blk_defaults,
	.check = blk_check,
};
