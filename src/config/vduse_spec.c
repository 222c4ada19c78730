// SPDX-License-Identifier: BSD-3-Clause
#include "config/vduse_spec.h"

#include <string.h>

#include "config/device_type.h"
#include "config/keyval.h"

static const struct vhx_key keys[] = {
	{ "id", VHX_KEY_TEXT, offsetof(struct vhx_vduse_spec, id), .text_max = VHX_SPEC_ID_MAX,
	  .check = vhx_spec_id_check },
	{ "queue-size", VHX_KEY_NUMBER, offsetof(struct vhx_vduse_spec, queue_size),
	  .bounds = { VHX_SPEC_VDUSE_QUEUE_SIZE_MIN, VHX_SPEC_VDUSE_QUEUE_SIZE_MAX, true } },
	{ "packed", VHX_KEY_FLAG, offsetof(struct vhx_vduse_spec, packed) },
};

/* The kernel makes a file of that name, beside its own. */
static int name_copy(char into[VHX_SPEC_ID_MAX], const char *name, struct vhx_error *err)
{
	size_t len = strlen(name);

	if (!len || !strcmp(name, "control")) {
		vhx_error_set(err, "--vduse: '%s' is no name for a device", name);
		return -EINVAL;
	}
	if (len >= VHX_SPEC_ID_MAX) {
		vhx_error_set(err, "--vduse: a name is at most %u bytes long, not %zu",
			      VHX_SPEC_ID_MAX - 1, len);
		return -ENAMETOOLONG;
	}
	memcpy(into, name, len + 1);
	return vhx_spec_id_check(name, err);
}

int vhx_vduse_spec_parse(const char *text, struct vhx_vduse_spec *spec, struct vhx_error *err)
{
	struct vhx_fields fields = { text };
	char name[VHX_VALUE_MAX];
	int ret;

	*spec = (struct vhx_vduse_spec){ .queue_size = VHX_SPEC_VDUSE_QUEUE_SIZE_DEFAULT };
	ret = vhx_fields_next(&fields, name, err);
	if (ret < 0)
		return ret;
	ret = name_copy(spec->name, ret ? name : "", err);
	return ret ? ret : vhx_keys_parse(&fields, keys, VHX_ARRAY_SIZE(keys), spec, err);
}
