// SPDX-License-Identifier: BSD-3-Clause
#include "config/device_type.h"

/* A day: what is longer is no period any more. */
#define PERIOD_MS_MAX (24u * 60 * 60 * 1000)

static const struct vhx_key rng_keys[] = {
	VHX_SPEC_KEY_ID,
	VHX_SPEC_KEY_PEER,
	{ "max-bytes", VHX_KEY_NUMBER, VHX_SPEC_FIELD(rng.max_bytes), .bounds = { 1, UINT32_MAX },
	  .metavar = "N", .help = "most bytes per period (default: no limit)" },
	{ "period", VHX_KEY_NUMBER, VHX_SPEC_FIELD(rng.period_ms), .bounds = { 1, PERIOD_MS_MAX },
	  .metavar = "MS", .help = "length of a period, with max-bytes (default 1000)" },
	VHX_SPEC_KEY_QUEUE_SIZE(rng.queue_size),
};

static void rng_defaults(struct vhx_device_spec *spec)
{
	spec->rng.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

static int rng_check(const struct vhx_device_spec *spec, struct vhx_error *err)
{
	if (!spec->rng.period_ms || spec->rng.max_bytes)
		return 0;
	vhx_error_set(err, "period without max-bytes limits nothing");
	return -EINVAL;
}

const struct vhx_device_type vhx_rng_type = {
	.name = "rng",
	.help = "entropy from the host's generator",
	.keys = rng_keys,
	.keys_cnt = VHX_ARRAY_SIZE(rng_keys),
	.defaults = rng_defaults,
	.check = rng_check,
};
