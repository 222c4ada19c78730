// SPDX-License-Identifier: BSD-3-Clause
/*
 * argo-agent DOMID: the other end of the conformance suite that runs in that domain: rows "argo-far..." of
 * pairs.c. It has at most one port, and does with it what the calls say, until one says to end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vhx/argo.h>

#include "argo_end.h"
#include "far_link.h"

struct agent {
	struct far_link *link;
	uint16_t domid;
	struct vhx_port *port;
	uint32_t out_len; /* of the answer's bytes */
	uint8_t in[FAR_BYTES_MAX], out[FAR_BYTES_MAX];
};

static int port_open(struct agent *a, const struct far_call *call)
{
	const struct argo_end end = {
		.partner = a->domid,
		.kernel = call->kernel,
		.ring_len = call->ring_len,
	};

	return argo_end_open(&end, &a->port);
}

static void port_close(struct agent *a)
{
	vhx_port_close(a->port);
	a->port = NULL;
}

/* Cut into pieces of one length, but the last one. */
static int port_send(struct agent *a, const struct far_call *call, uint32_t len)
{
	uint32_t step = call->pieces ? len / call->pieces : 0;
	struct iovec iov[ARGO_IOVS_MAX];

	if (call->pieces > ARGO_IOVS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < call->pieces; i++) {
		iov[i].iov_base = a->in + i * step;
		iov[i].iov_len = i + 1 < call->pieces ? step : len - i * step;
	}
	return vhx_port_send(a->port, call->type, iov, call->pieces);
}

static int port_peek(struct agent *a, struct far_answer *answer)
{
	struct vhx_msg msg;
	int ret = vhx_port_peek(a->port, &msg);

	if (ret != 1)
		return ret;
	if (msg.len > FAR_BYTES_MAX)
		return -EMSGSIZE;
	answer->type = msg.type;
	answer->len = msg.len;
	vhx_port_read(a->port, 0, a->out, msg.len);
	a->out_len = msg.len;
	return 1;
}

static int agent_do(struct agent *a, const struct far_call *call, uint32_t len,
		    struct far_answer *answer)
{
	if (!a->port != (call->op == FAR_OPEN))
		return -ENOTCONN;
	switch (call->op) {
	case FAR_OPEN:
		return port_open(a, call);
	case FAR_CLOSE:
		port_close(a);
		return 0;
	case FAR_SEND:
		return port_send(a, call, len);
	case FAR_PEEK:
		return port_peek(a, answer);
	case FAR_CONSUME:
		vhx_port_consume(a->port);
		return port_peek(a, answer);
	case FAR_PREPARE_WAIT:
		return vhx_port_prepare_wait(a->port);
	case FAR_EVENT:
		return vhx_port_event(a->port);
	case FAR_SLEEP:
		return argo_end_sleep(a->port);
	default:
		return -ENOSYS;
	}
}

static void answer_port(const struct vhx_port *p, struct far_answer *answer)
{
	if (!p)
		return;
	answer->max_message = p->max_message;
	answer->tx_ring_len = p->tx_ring_len;
	answer->rx_ring_len = p->rx_ring_len;
	answer->memory = p->memory;
	answer->stats = p->stats;
}

/* 1: it was the last call. */
static int agent_serve(struct agent *a)
{
	struct far_answer answer = { 0 };
	struct far_call call;
	int len = far_link_receive(a->link, &call, sizeof(call), a->in);

	if (len < 0)
		return len;
	if (call.op == FAR_QUIT)
		return 1;
	a->out_len = 0;
	answer.ret = agent_do(a, &call, (uint32_t)len, &answer);
	answer_port(a->port, &answer);
	return far_link_send(a->link, &answer, sizeof(answer), a->out, a->out_len);
}

int main(int argc, char **argv)
{
	struct agent *a = calloc(1, sizeof(*a));
	int ret;

	if (argc != 2 || !a) {
		fprintf(stderr, "usage: %s DOMID\n", argv[0]);
		return 2;
	}
	a->domid = (uint16_t)atoi(argv[1]);
	ret = far_link_open(a->domid, true, &a->link);
	while (!ret)
		ret = agent_serve(a);
	vhx_port_close(a->port);
	far_link_close(a->link);
	free(a);
	if (ret == 1)
		return 0;
	fprintf(stderr, "argo-agent: %s\n", strerror(-ret));
	return 1;
}
