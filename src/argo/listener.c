// SPDX-License-Identifier: BSD-3-Clause
/*
 * A listener's ring is its backlog: a SYN stays in it until it is accepted, so that nobody who knocks costs memory. A
 * full one refuses further SYNs, whose senders wait. What is no SYN is thrown away.
 */
#include <stdlib.h>

#include "argo/endpoint.h"
#include "argo/stream.h"

struct vhx_argo_listener {
	struct vhx_aep ep;
	bool bound_to_one; /* partner */
};

int vhx_argo_listener_open(struct vhx_argo_driver *driver, uint32_t port, uint16_t partner,
			   struct vhx_argo_listener **listener)
{
	struct vhx_argo_listener *l = malloc(sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->bound_to_one = partner != VHX_ARGO_ANYBODY;
	/* Whoever was refused is told whenever the ring is read: not all who knock know how large a SYN is. */
	err = vhx_aep_open(&l->ep, driver, port, partner, driver->ring_len - 2 * ARGO_SLOT_SIZE,
			   driver->probe_ns);
	if (err)
		free(l);
	else
		*listener = l;
	return err;
}

/* In vain if there is no room for it: then that end looks for us, some time. */
static void refuse(struct vhx_argo_listener *l, const struct argo_addr *to, uint64_t key,
		   uint32_t reason)
{
	struct vhx_aframe rst = { .kind = VHX_ARGO_RST, .reason = reason, .key = key };
	struct vhx_aframe_bytes bytes;
	struct iovec iov = { &bytes, vhx_aframe_write(&rst, &bytes) };

	vhx_aep_send(&l->ep, to, VHX_ARGO_STREAM, &iov, 1);
}

/* Is the message at the head a SYN that can be accepted? One of a version that we do not speak is answered. */
static bool is_syn(struct vhx_argo_listener *l, const struct vhx_argo_message *msg,
		   struct vhx_aframe *f)
{
	if (vhx_aframe_read(&l->ep.reader, msg, f) || f->kind != VHX_ARGO_SYN || f->key)
		return false;
	if (f->greeting.version == VHX_ARGO_STREAM_VERSION)
		return true;
	refuse(l, &msg->src, f->greeting.key, VHX_ARGO_RST_PROTOCOL);
	return false;
}

/* 1: the first SYN, which is not consumed; 0: there is none as far as was looked, which may be *@more to do. */
static int syn_find(struct vhx_argo_listener *l, struct argo_addr *from, struct vhx_aframe *f,
		    bool *more)
{
	const struct vhx_argo_message *msg;
	int ret;

	*more = false;
	for (unsigned int i = 0; i < VHX_AEP_BURST; i++) {
		ret = vhx_aep_peek(&l->ep, &msg);
		if (ret <= 0)
			return ret;
		*from = msg->src;
		from->pad = 0;
		if (is_syn(l, msg, f))
			return 1;
		vhx_aep_consume(&l->ep);
	}
	*more = true;
	return 0;
}

static int listener_await(struct vhx_argo_listener *l, bool more)
{
	struct vhx_aep *ep = &l->ep;
	int err;

	ep->receives = true;
	if (vhx_aep_lost(ep) ||
	    (vhx_aep_due(ep) && l->bound_to_one && !ep->dev->ops->check(ep->dev)))
		return -ENOTCONN;
	err = vhx_aep_arm(ep, more);
	return err ? err : -EAGAIN;
}

/* Who knocked and went costs no ring. One that may not be asked for is found out by the answer. */
static bool is_there(struct vhx_argo_listener *l, const struct argo_addr *from)
{
	return l->ep.dev->ops->query(l->ep.dev, from) != 0;
}

/* Of what an accepted SYN may come to, what is about us, and not about who sent it. */
static bool is_ours(int err)
{
	return err == -ENOSPC || err == -ENOMEM || err == -EMFILE || err == -ENFILE;
}

int vhx_argo_listener_accept(struct vhx_argo_listener *listener, struct vhx_argo_driver *driver,
			     struct vhx_argo_stream **stream)
{
	struct argo_addr from;
	struct vhx_aframe f;
	unsigned int i;
	bool more;
	int ret;

	for (i = 0; i < VHX_AEP_BURST; i++) {
		ret = syn_find(listener, &from, &f, &more);
		if (ret < 0)
			return ret;
		if (!ret)
			break;
		ret = -ECONNREFUSED;
		if (is_there(listener, &from))
			ret = vhx_astream_accept(driver, &from, &f.greeting, stream);
		if (is_ours(ret))
			return ret;
		vhx_aep_consume(&listener->ep);
		if (!ret)
			return 0;
	}
	return listener_await(listener, more || i == VHX_AEP_BURST);
}

/* A ring full of SYNs has an end. */
void vhx_argo_listener_close(struct vhx_argo_listener *listener)
{
	struct argo_addr from;
	struct vhx_aframe f;
	uint32_t left;
	bool more;

	if (!listener)
		return;
	left = listener->ep.reader.ring_len / sizeof(struct vhx_aframe_bytes);
	while (left-- && syn_find(listener, &from, &f, &more) == 1) {
		refuse(listener, &from, f.greeting.key, VHX_ARGO_RST_REFUSED);
		vhx_aep_consume(&listener->ep);
	}
	vhx_aep_close(&listener->ep);
	free(listener);
}

uint32_t vhx_argo_listener_port(const struct vhx_argo_listener *listener)
{
	return listener->ep.port;
}

int vhx_argo_listener_fileno(const struct vhx_argo_listener *listener)
{
	return listener->ep.wait_fd;
}

int vhx_argo_listener_wait(struct vhx_argo_listener *listener, int timeout_ms)
{
	return vhx_aep_wait(&listener->ep, timeout_ms);
}
