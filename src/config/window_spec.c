// SPDX-License-Identifier: BSD-3-Clause
#include "config/window_spec.h"

#include <vhx/section.h>

#include "config/keyval.h"

static const struct vhx_key keys[] = {
	{ "size", VHX_KEY_SIZE, offsetof(struct vhx_window_spec, size),
	  .bounds = { VHX_WINDOW_SIZE_MIN, VHX_WINDOW_SIZE_MAX, true } },
	{ "vectors", VHX_KEY_NUMBER, offsetof(struct vhx_window_spec, vectors),
	  .bounds = { 1, VHX_SPEC_VECTORS_MAX, false } },
	VHX_SOCKET_ACCESS_KEYS(struct vhx_window_spec, access),
};

int vhx_window_spec_parse(const char *text, struct vhx_window_spec *spec, struct vhx_error *err)
{
	struct vhx_fields fields = { text };
	char path[VHX_VALUE_MAX];
	int ret;

	*spec = (struct vhx_window_spec){ .size = VHX_SPEC_WINDOW_SIZE_DEFAULT, .vectors = 1 };
	ret = vhx_fields_next(&fields, path, err);
	if (ret < 0)
		return ret;
	ret = vhx_socket_path_copy(spec->path, path, err);
	if (ret)
		return ret;
	ret = vhx_keys_parse(&fields, keys, VHX_ARRAY_SIZE(keys), spec, err);
	return ret ? ret : vhx_socket_access_resolve(&spec->access, &spec->policy, err);
}
