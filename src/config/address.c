// SPDX-License-Identifier: BSD-3-Clause
#include "config/address.h"

#include <string.h>

#define UNIX_PREFIX "unix:"

int vhx_address_parse(const char *text, struct vhx_address *address, struct vhx_error *err)
{
	const char *path = text + strlen(UNIX_PREFIX);

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX))) {
		vhx_error_set(err, "'%s' is not an address; it looks like unix:PATH", text);
		return -EINVAL;
	}
	if (!*path) {
		vhx_error_set(err, "'%s' lacks the path", text);
		return -EINVAL;
	}
	if (strlen(path) >= sizeof(address->path)) {
		vhx_error_set(err, "the path of a socket is at most %zu bytes long, not %zu",
			      sizeof(address->path) - 1, strlen(path));
		return -ENAMETOOLONG;
	}
	memcpy(address->path, path, strlen(path) + 1);
	return 0;
}
