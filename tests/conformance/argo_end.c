// SPDX-License-Identifier: BSD-3-Clause
#include "argo_end.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <vhx/argo.h>

#include "exchange/argo.h"
#include "exchange/argo_device.h"
#include "kernel_port.h"

#define HANG_GUARD_MS 20000

bool argo_end_sleep(struct vhx_port *p)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	return poll(&pfd, 1, HANG_GUARD_MS) == 1;
}

int argo_self(uint16_t *domid)
{
	struct hmx_argo_info info;
	int device = vhx_argo_device_open();
	int err;

	if (device < 0)
		return device;
	err = ioctl(device, HMX_ARGO_INFO, &info) ? -errno : 0;
	if (!err)
		*domid = info.domid;
	close(device);
	return err;
}

static int program_open(const struct argo_end *end, struct vhx_port **port)
{
	struct vhx_argo_config cfg = {
		.port = end->backend ? VHX_ARGO_PORT_BE : VHX_ARGO_PORT_FE,
		.peer_port = end->backend ? VHX_ARGO_PORT_FE : VHX_ARGO_PORT_BE,
		.partner = end->partner,
		.ring_len = end->ring_len,
	};
	int device = vhx_argo_device_open();
	int err;

	if (device < 0)
		return device;
	err = vhx_argo_device_endpoint(device, &cfg.dev);
	close(device);
	return err ? err : vhx_argo_open(&cfg, port);
}

int argo_end_open(const struct argo_end *end, struct vhx_port **port)
{
	if (end->kernel)
		return kernel_argo_open(end->partner, end->backend, end->ring_len, port);
	return program_open(end, port);
}
