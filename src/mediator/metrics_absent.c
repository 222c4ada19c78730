// SPDX-License-Identifier: BSD-3-Clause
/* Built without libmicrohttpd or json-c. */
#include "mediator/metrics.h"

int vhx_metrics_open(struct vhx_loop *loop, const struct vhx_metrics_config *cfg,
		     struct vhx_metrics **metrics, struct vhx_error *err)
{
	vhx_error_set(err, "--metrics: this program was built without libmicrohttpd");
	return -EOPNOTSUPP;
}

const char *vhx_metrics_path(const struct vhx_metrics *metrics)
{
	return NULL;
}

void vhx_metrics_close(struct vhx_metrics *metrics)
{
}
