// SPDX-License-Identifier: BSD-3-Clause
/* A build without libsystemd tells nobody. */
#include "mediator/notifier.h"

int vhx_notifier_open(struct vhx_notifier *n, struct vhx_loop *loop)
{
	*n = (struct vhx_notifier){ .loop = loop, .attendant.sock = -1 };
	return 0;
}

void vhx_notifier_ready(struct vhx_notifier *n, vhx_notifier_status_fn *status, void *ctx)
{
}

void vhx_notifier_reloading(struct vhx_notifier *n)
{
}

void vhx_notifier_reloaded(struct vhx_notifier *n)
{
}

void vhx_notifier_close(struct vhx_notifier *n)
{
}
