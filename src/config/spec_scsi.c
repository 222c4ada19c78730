// SPDX-License-Identifier: BSD-3-Clause
#include "config/device_type.h"

/* INQUIRY hands it to the guest as text, and udev makes names of it. */
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

#define LUN_FILE(n) \
	"lun" #n, VHX_KEY_TEXT, VHX_SPEC_FIELD(scsi.luns[n].file), .text_max = VHX_SPEC_LUN_PATH_MAX
#define LUN_READONLY(n) "readonly" #n, VHX_KEY_FLAG, VHX_SPEC_FIELD(scsi.luns[n].readonly)
#define LUN_SERIAL(n)                                                   \
	"serial" #n, VHX_KEY_TEXT, VHX_SPEC_FIELD(scsi.luns[n].serial), \
		.text_max = VHX_SPEC_LUN_SERIAL_MAX, .check = serial_check
#define LUN(n)                                \
	{ LUN_FILE(n) }, { LUN_READONLY(n) }, \
	{                                     \
		LUN_SERIAL(n)                 \
	}

/* Rows without a help text are like the first of their kind. */
static const struct vhx_key scsi_keys[] = {
	VHX_SPEC_KEY_ID,
	{ LUN_FILE(0), .metavar = "PATH", .required = true,
	  .help = "logical unit 0: raw image or block device" },
	{ LUN_READONLY(0), .help = "refuse to write to it" },
	{ LUN_SERIAL(0), .metavar = "TEXT", .help = "its serial number for the guest" },
	LUN(1),
	LUN(2),
	LUN(3),
	LUN(4),
	LUN(5),
	LUN(6),
	LUN(7),
	LUN(8),
	LUN(9),
	LUN(10),
	LUN(11),
	LUN(12),
	LUN(13),
	LUN(14),
	LUN(15),
	{ "direct", VHX_KEY_FLAG, VHX_SPEC_FIELD(scsi.direct),
	  .help = "go past the host's page cache" },
	{ "handover", VHX_KEY_FLAG, VHX_SPEC_FIELD(scsi.handover),
	  .help = "lock images only while a guest uses them (live migration)" },
	{ "discard", VHX_KEY_SWITCH, VHX_SPEC_FIELD(scsi.discard), .metavar = "on|off",
	  .help = "offer UNMAP (default on)" },
	{ "num-queues", VHX_KEY_NUMBER, VHX_SPEC_FIELD(scsi.num_queues),
	  .bounds = { 1, VHX_SPEC_SCSI_QUEUES_MAX }, .metavar = "N",
	  .help = "request queues (default 1)" },
	VHX_SPEC_KEY_QUEUE_SIZE(scsi.queue_size),
};

_Static_assert(VHX_ARRAY_SIZE(scsi_keys) <= VHX_KEYS_MAX, "keys");

static void scsi_defaults(struct vhx_device_spec *spec)
{
	spec->scsi.discard = true;
	spec->scsi.num_queues = 1;
	spec->scsi.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

static int scsi_check(const struct vhx_device_spec *spec, struct vhx_error *err)
{
	const struct vhx_scsi_spec *s = &spec->scsi;
	unsigned int i;

	for (i = 1; i < VHX_SPEC_LUNS_MAX; i++) {
		if (s->luns[i].file[0] && !s->luns[i - 1].file[0]) {
			vhx_error_set(err, "lun%u is given, but not lun%u", i, i - 1);
			return -EINVAL;
		}
		if ((s->luns[i].serial[0] || s->luns[i].readonly) && !s->luns[i].file[0]) {
			vhx_error_set(err, "%s%u is given, but not lun%u",
				      s->luns[i].readonly ? "readonly" : "serial", i, i);
			return -EINVAL;
		}
	}
	return 0;
}

const struct vhx_device_type vhx_scsi_type = {
	.name = "scsi",
	.help = "disks behind one controller, as lun0, readonly0, serial0 to lun15, readonly15, "
		"serial15",
	.keys = scsi_keys,
	.keys_cnt = VHX_ARRAY_SIZE(scsi_keys),
	.defaults = scsi_defaults,
	.check = scsi_check,
};
