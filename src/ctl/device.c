// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/device.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "config/device_spec.h"
#include "ctl/ask.h"

/* -1: a device that needs none. O_NONBLOCK: the path may be a FIFO, which would wait for its other end. */
static int image_open(const struct vhx_device_spec *spec, int *fd, struct vhx_error *err)
{
	const struct vhx_blk_spec *blk = &spec->blk;
	int ret;

	*fd = -1;
	if (strcmp(vhx_device_spec_type(spec), "blk"))
		return 0;
	if (blk->fd >= 0)
		*fd = fcntl(blk->fd, F_DUPFD_CLOEXEC, 0);
	else
		*fd = open(blk->file, (blk->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY |
					      O_NONBLOCK);
	if (*fd >= 0)
		return 0;
	ret = -errno;
	if (blk->fd >= 0)
		vhx_error_set(err, "descriptor %d: %s", blk->fd, strerror(-ret));
	else
		vhx_error_set(err, "%s: %s", blk->file, strerror(-ret));
	return ret;
}

int vhx_ctl_device_add(const char *path, const char *spec, struct vhx_error *err)
{
	static struct vhx_device_spec parsed; /* large */
	const struct vhx_ctl_argument argument = { "spec", spec };
	struct vhx_ctl_request req = {
		.command = "device-add", .arguments = &argument, .arguments_cnt = 1
	};
	int ret = vhx_device_spec_parse(spec, &parsed, err);

	if (!ret)
		ret = image_open(&parsed, &req.fd, err);
	if (ret)
		return ret;
	ret = vhx_ctl_change(path, &req, err);
	if (req.fd >= 0)
		close(req.fd);
	return ret;
}

int vhx_ctl_device_remove(const char *path, const char *id, struct vhx_error *err)
{
	const struct vhx_ctl_argument argument = { "id", id };
	const struct vhx_ctl_request req = {
		.command = "device-remove", .arguments = &argument, .arguments_cnt = 1, .fd = -1
	};

	return vhx_ctl_change(path, &req, err);
}
