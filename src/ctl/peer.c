// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/peer.h"

#include "config/argo_spec.h"
#include "ctl/ask.h"

static int change(const char *path, const char *command, const char *domain, struct vhx_error *err)
{
	const struct vhx_ctl_argument argument = { "domain", domain };
	const struct vhx_ctl_request req = {
		.command = command, .arguments = &argument, .arguments_cnt = 1, .fd = -1
	};
	uint16_t ignored;
	int ret = vhx_argo_domid_parse(domain, &ignored, err);

	return ret ? ret : vhx_ctl_change(path, &req, err);
}

int vhx_ctl_peer_add(const char *path, const char *domain, struct vhx_error *err)
{
	return change(path, "peer-add", domain, err);
}

int vhx_ctl_peer_remove(const char *path, const char *domain, struct vhx_error *err)
{
	return change(path, "peer-remove", domain, err);
}
