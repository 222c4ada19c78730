// SPDX-License-Identifier: BSD-3-Clause
#include "far_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vhx/argo.h>

#include "far_link.h"

struct far_port {
	struct vhx_port port;
	bool peeked; /* answer and bytes are the next message */
	struct far_answer answer;
	uint8_t out[FAR_BYTES_MAX], in[FAR_BYTES_MAX];
};

static struct far_link *far_link;
static uint16_t far_domid;

static struct far_port *to_far(struct vhx_port *p)
{
	return vhx_container_of(p, struct far_port, port);
}

int far_connect(uint16_t domid)
{
	far_domid = domid;
	return far_link_open(domid, false, &far_link);
}

int far_domain(uint16_t *domid)
{
	*domid = far_domid;
	return far_link ? 0 : -ENOTCONN;
}

void far_disconnect(void)
{
	const struct far_call quit = { .op = FAR_QUIT };

	if (far_link)
		far_link_send(far_link, &quit, sizeof(quit), NULL, 0);
	far_link_close(far_link);
	far_link = NULL;
}

/* Without its agent no test can go on. */
static void far_lost(const char *what, int err)
{
	fprintf(stderr, "argo-agent in domain %u: %s: %s\n", far_domid, what, strerror(-err));
	abort();
}

static int call(struct far_port *f, const struct far_call *call, uint32_t len)
{
	struct vhx_port *p = &f->port;
	int ret = far_link_send(far_link, call, sizeof(*call), f->out, len);

	if (ret)
		far_lost("call", ret);
	ret = far_link_receive(far_link, &f->answer, sizeof(f->answer), f->in);
	if (ret < 0)
		far_lost("answer", ret);
	p->max_message = f->answer.max_message;
	p->tx_ring_len = f->answer.tx_ring_len;
	p->rx_ring_len = f->answer.rx_ring_len;
	p->memory = f->answer.memory;
	p->stats = f->answer.stats;
	return f->answer.ret;
}

static int call_plain(struct vhx_port *p, enum far_op op)
{
	const struct far_call plain = { .op = op };
	struct far_port *f = to_far(p);
	struct far_answer kept = f->answer;
	int ret;

	/* An answer without bytes leaves those of the peeked message. */
	ret = call(f, &plain, 0);
	if (f->peeked)
		f->answer = kept;
	return ret;
}

static int far_send(struct vhx_port *p, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	struct far_call send = { .op = FAR_SEND, .type = type, .pieces = cnt };
	struct far_port *f = to_far(p);
	struct far_answer kept = f->answer;
	uint32_t len = 0;
	int ret;

	if (cnt > ARGO_IOVS_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < cnt; i++) {
		if (iov[i].iov_len > FAR_BYTES_MAX - len)
			return -EMSGSIZE;
		if (iov[i].iov_len)
			memcpy(f->out + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	ret = call(f, &send, len);
	if (f->peeked)
		f->answer = kept;
	return ret;
}

/* A message that is there stays until it is consumed; that there was none does not last. */
static int look(struct far_port *f, enum far_op op)
{
	const struct far_call plain = { .op = op };
	int ret = call(f, &plain, 0);

	f->peeked = ret == 1;
	return ret;
}

static int far_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	struct far_port *f = to_far(p);
	int ret = f->peeked ? 1 : look(f, FAR_PEEK);

	if (ret == 1)
		*msg = (struct vhx_msg){ .type = f->answer.type, .len = f->answer.len };
	return ret;
}

static void far_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	memcpy(dst, to_far(p)->in + off, len);
}

static void far_consume(struct vhx_port *p)
{
	look(to_far(p), FAR_CONSUME);
}

static int far_prepare_wait(struct vhx_port *p)
{
	return call_plain(p, FAR_PREPARE_WAIT);
}

static int far_event(struct vhx_port *p)
{
	return call_plain(p, FAR_EVENT);
}

static void far_close(struct vhx_port *p)
{
	call_plain(p, FAR_CLOSE);
	free(to_far(p));
}

static const struct vhx_port_ops far_ops = {
	.name = "far",
	.caps = VHX_PORT_PATIENT,
	.iov_max = ARGO_IOVS_MAX,
	.send = far_send,
	.peek = far_peek,
	.read = far_read,
	.consume = far_consume,
	.prepare_wait = far_prepare_wait,
	.event = far_event,
	.close = far_close,
};

int far_port_open(bool kernel, uint32_t ring_len, struct vhx_port **port)
{
	const struct far_call open = { .op = FAR_OPEN, .kernel = kernel, .ring_len = ring_len };
	struct far_port *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->port.ops = &far_ops;
	f->port.fd = -1;
	err = call(f, &open, 0);
	if (err) {
		free(f);
		return err;
	}
	*port = &f->port;
	return 0;
}

bool far_port_is(const struct vhx_port *p)
{
	return p->ops == &far_ops;
}

bool far_port_sleep(struct vhx_port *p)
{
	return call_plain(p, FAR_SLEEP) == 1;
}
