// SPDX-License-Identifier: BSD-3-Clause
#include "config/device_type.h"

static const struct vhx_key vdpa_keys[] = {
	VHX_SPEC_KEY_ID,
	{ "path", VHX_KEY_TEXT, VHX_SPEC_FIELD(vdpa.path), .text_max = VHX_SPEC_VDPA_PATH_MAX,
	  .required = true, .metavar = "PATH", .help = "/dev/vhost-vdpa-N" },
	{ "queues", VHX_KEY_NUMBER, VHX_SPEC_FIELD(vdpa.queues),
	  .bounds = { 1, VHX_SPEC_QUEUES_MAX }, .metavar = "N",
	  .help = "virtqueues (default: as the device says, or its type has)" },
	{ "packed", VHX_KEY_SWITCH, VHX_SPEC_FIELD(vdpa.packed), .metavar = "on|off",
	  .help = "packed rings where the device has them (default on)" },
	VHX_SPEC_KEY_QUEUE_SIZE(vdpa.queue_size),
};

static void vdpa_defaults(struct vhx_device_spec *spec)
{
	spec->vdpa.packed = true;
	spec->vdpa.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

const struct vhx_device_type vhx_vdpa_type = {
	.name = "vdpa",
	.help = "what a vDPA device of this machine serves, on memory of the bridge's own",
	.keys = vdpa_keys,
	.keys_cnt = VHX_ARRAY_SIZE(vdpa_keys),
	.defaults = vdpa_defaults,
};
