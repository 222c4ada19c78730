// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/reload.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ask.h"

int vhx_ctl_reload(const char *path, const char *file, struct vhx_error *err)
{
	struct vhx_ctl_request req = { .command = "reload", .fd = -1 };
	int ret;

	if (file) {
		req.fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (req.fd < 0) {
			ret = -errno;
			vhx_error_set(err, "%s: %s", file, strerror(-ret));
			return ret;
		}
	}
	ret = vhx_ctl_change(path, &req, err);
	if (req.fd >= 0)
		close(req.fd);
	return ret;
}
