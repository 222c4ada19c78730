// SPDX-License-Identifier: BSD-3-Clause
#include "node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int model_endpoint(struct vhx_argo_driver *driver, struct vhx_argo_dev **dev)
{
	return vhx_argo_model_dev_open(driver->ctx, driver->domid, dev);
}

void nodes_begin(struct nodes *n, uint16_t domid)
{
	assert_int_equal(vhx_argo_domain_create(n->hv, domid, true, NULL), 0);
}

void nodes_open(struct nodes *n, bool permissive)
{
	const struct vhx_argo_hv_config config = { .enabled = true, .mac_permissive = permissive };

	n->hv = vhx_argo_hv_new(&config);
	assert_non_null(n->hv);
	for (uint16_t i = A; i < NODES; i++) {
		struct vhx_argo_driver *d = &n->driver[i];

		nodes_begin(n, i);
		vhx_argo_driver_init(d);
		d->endpoint = model_endpoint;
		d->ctx = n->hv;
		d->domid = i;
	}
}

void nodes_close(struct nodes *n)
{
	vhx_argo_hv_unref(n->hv);
}

int raw_send(struct nodes *n, uint16_t from, uint32_t from_port, uint16_t to, uint32_t to_port,
	     uint32_t type, const void *bytes, uint32_t len)
{
	struct argo_send_addr addr = {
		.src = { .port = from_port, .domid = from },
		.dst = { .port = to_port, .domid = to },
	};
	struct vhx_argo_iov iov = { .base = bytes, .len = len };

	return (int32_t)vhx_argo_op(n->hv, from, ARGO_OP_SENDV, &addr, &iov, 1, type);
}
