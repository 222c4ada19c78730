// SPDX-License-Identifier: BSD-3-Clause
#include "config/address.h"

#include <string.h>

#define UNIX_PREFIX "unix:"

int vhx_socket_path_copy(char path[VHX_UNIX_PATH_MAX], const char *text, struct vhx_error *err)
{
	size_t len = strlen(text);

	if (!len) {
		vhx_error_set(err, "the path of the socket is missing");
		return -EINVAL;
	}
	if (len >= VHX_UNIX_PATH_MAX) {
		vhx_error_set(err, "the path of a socket is at most %zu bytes long, not %zu",
			      VHX_UNIX_PATH_MAX - 1, len);
		return -ENAMETOOLONG;
	}
	memcpy(path, text, len + 1);
	return 0;
}

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
	return vhx_socket_path_copy(address->path, path, err);
}
