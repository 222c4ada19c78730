// SPDX-License-Identifier: BSD-3-Clause
/* A datagram is a message as Argo has it: nothing is added to it, nothing is held back. */
#include <stdlib.h>

#include <vhx/argo_stream.h>

#include "argo/endpoint.h"

struct vhx_argo_dgram {
	struct vhx_aep ep;
	bool bound_to_one; /* partner, whose domain's end is the ring's */
};

/* What the ring is for is no business of one sender's size: whoever was refused is told whenever it is read. */
static uint32_t message_max(const struct vhx_argo_driver *driver)
{
	return driver->ring_len - 2 * ARGO_SLOT_SIZE;
}

int vhx_argo_dgram_open(struct vhx_argo_driver *driver, uint32_t port, uint16_t partner,
			struct vhx_argo_dgram **dgram)
{
	struct vhx_argo_dgram *d = malloc(sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->bound_to_one = partner != VHX_ARGO_ANYBODY;
	err = vhx_aep_open(&d->ep, driver, port, partner, message_max(driver), driver->probe_ns);
	if (err)
		free(d);
	else
		*dgram = d;
	return err;
}

void vhx_argo_dgram_close(struct vhx_argo_dgram *dgram)
{
	if (!dgram)
		return;
	vhx_aep_close(&dgram->ep);
	free(dgram);
}

uint32_t vhx_argo_dgram_port(const struct vhx_argo_dgram *dgram)
{
	return dgram->ep.port;
}

int vhx_argo_dgram_send(struct vhx_argo_dgram *dgram, const struct vhx_argo_address *to,
			const void *buf, size_t len)
{
	struct argo_addr dst = { .port = to->port, .domid = to->domid };
	struct iovec iov = { vhx_unconst(buf), len };
	int err;

	if (to->reserved)
		return -EINVAL;
	if (len > UINT32_MAX)
		return -EMSGSIZE;
	err = vhx_aep_send(&dgram->ep, &dst, to->type, &iov, 1);
	dgram->ep.sends = err == -EAGAIN;
	if (err == -EAGAIN)
		err = vhx_aep_arm(&dgram->ep, false) ?: -EAGAIN;
	return err;
}

/* Nothing is there. Will there be? */
static int dgram_await(struct vhx_argo_dgram *d)
{
	struct vhx_aep *ep = &d->ep;
	int err;

	ep->receives = true;
	if (vhx_aep_lost(ep) ||
	    (vhx_aep_due(ep) && d->bound_to_one && !ep->dev->ops->check(ep->dev)))
		return -ENOTCONN;
	err = vhx_aep_arm(ep, false);
	return err ? err : -EAGAIN;
}

int64_t vhx_argo_dgram_recv(struct vhx_argo_dgram *dgram, struct vhx_argo_address *from, void *buf,
			    size_t len)
{
	struct vhx_aep *ep = &dgram->ep;
	const struct vhx_argo_message *msg;
	uint32_t message_len;
	int ret = vhx_aep_peek(ep, &msg);

	if (ret < 0)
		return ret;
	if (!ret)
		return dgram_await(dgram);
	ep->receives = false;
	if (from)
		*from = (struct vhx_argo_address){
			.port = msg->src.port,
			.domid = msg->src.domid,
			.type = msg->type,
		};
	message_len = msg->len;
	vhx_argo_reader_read(&ep->reader, 0, buf, (uint32_t)vhx_min_u64(message_len, len));
	vhx_aep_consume(ep);
	return message_len;
}

int vhx_argo_dgram_fileno(const struct vhx_argo_dgram *dgram)
{
	return dgram->ep.wait_fd;
}

int vhx_argo_dgram_wait(struct vhx_argo_dgram *dgram, int timeout_ms)
{
	return vhx_aep_wait(&dgram->ep, timeout_ms);
}
