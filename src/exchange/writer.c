// SPDX-License-Identifier: BSD-3-Clause
#include "exchange/writer.h"

#include <stdlib.h>

int vhx_writer_init(struct vhx_writer *w, struct vhx_port *port)
{
	assert(vhx_port_ready(port));
	*w = (struct vhx_writer){ .port = port };
	if (port->ops->caps & VHX_PORT_RESERVE)
		return 0;
	w->bounce = malloc(port->max_message);
	return w->bounce ? 0 : -ENOMEM;
}

void vhx_writer_fini(struct vhx_writer *w)
{
	vhx_writer_cancel(w);
	free(w->bounce);
	*w = (struct vhx_writer){ 0 };
}

uint64_t vhx_writer_memory(const struct vhx_writer *w)
{
	return w->bounce ? w->port->max_message : 0;
}

int vhx_writer_begin(struct vhx_writer *w, uint32_t type, uint32_t cap)
{
	void *buf = w->bounce;

	assert(!w->buf);
	if (cap > w->port->max_message)
		return -EMSGSIZE;
	if (!w->bounce) {
		int err = vhx_port_reserve(w->port, cap, &buf);

		if (err)
			return err;
	}
	w->buf = buf;
	w->type = type;
	w->len = 0;
	w->cap = cap;
	return 0;
}

static int commit_bounce(struct vhx_writer *w)
{
	struct iovec iov = { .iov_base = w->bounce, .iov_len = w->len };

	return vhx_port_send(w->port, w->type, &iov, 1);
}

int vhx_writer_commit(struct vhx_writer *w)
{
	int err;

	assert(w->buf);
	err = w->bounce ? commit_bounce(w) : vhx_port_commit(w->port, w->type, w->len);
	if (err != -EAGAIN)
		w->buf = NULL;
	return err;
}

void vhx_writer_cancel(struct vhx_writer *w)
{
	if (!w->buf)
		return;
	if (!w->bounce)
		vhx_port_cancel(w->port);
	w->buf = NULL;
}
