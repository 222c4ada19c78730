// SPDX-License-Identifier: BSD-3-Clause
/*
 * A relay of datagrams. They have no end: it is over when in is (shut), so long after that (quit_ms), or after a number of
 * them.
 */
#include "relay/pump.h"

/* A datagram for any ring of the usual size. */
#define PIECE_MAX 32768u

struct relay {
	struct vhx_pump pump;
	const struct vhx_relay_datagrams *d;
	struct vhx_argo_address to;
	struct vhx_relay_counts *counts;
	bool waits; /* a call in this turn said -EAGAIN */
};

static int wait(struct relay *r)
{
	r->waits = true;
	return 0;
}

static int fail(struct relay *r, enum vhx_relay_side side, int err)
{
	r->counts->failed = side;
	return err;
}

/* 1: went on; 0: cannot now, or nobody is known to send to; negative. */
static int send_step(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
	int err;

	if (!r->to.port)
		return 0;
	err = vhx_argo_dgram_send(r->d->dgram, &r->to, p->tx, p->tx_len);
	if (err == -EAGAIN)
		return wait(r);
	if (err)
		return fail(r, VHX_RELAY_PEER, err);
	r->counts->sent++;
	p->tx_len = 0;
	return 1;
}

static int forth(struct relay *r)
{
	int ret;

	if (r->pump.tx_len)
		return send_step(r);
	ret = vhx_pump_read(&r->pump);
	if (r->pump.in_ended && ret)
		vhx_pump_quit(&r->pump);
	return ret < 0 ? fail(r, VHX_RELAY_IN, ret) : ret;
}

static bool is_enough(const struct relay *r)
{
	return r->d->count && r->counts->received == r->d->count;
}

static int back(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
	struct vhx_argo_address from;
	int64_t n;
	int ret;

	if (p->rx_len) {
		ret = vhx_pump_write(p);
		return ret < 0 ? fail(r, VHX_RELAY_OUT, ret) : ret;
	}
	if (is_enough(r))
		return 0;
	n = vhx_argo_dgram_recv(r->d->dgram, &from, p->rx, r->d->len_max);
	if (n == -EAGAIN)
		return wait(r);
	if (n < 0)
		return fail(r, VHX_RELAY_PEER, (int)n);
	if (n > r->d->len_max)
		return fail(r, VHX_RELAY_PEER, -EMSGSIZE);
	r->counts->received++;
	p->rx_len = (size_t)n;
	if (!r->to.port)
		r->to = from;
	return 1;
}

static bool is_over(const struct relay *r)
{
	if (r->pump.rx_len)
		return false;
	return is_enough(r) || (r->pump.in_ended && r->pump.cfg->shut && !r->pump.tx_len);
}

static int relay_run(struct relay *r)
{
	int there, here, err;

	while (!is_over(r)) {
		r->waits = false;
		there = forth(r);
		if (there < 0)
			return there;
		here = back(r);
		if (here < 0)
			return here;
		err = vhx_pump_wait(&r->pump, r->waits ? vhx_argo_dgram_fileno(r->d->dgram) : -1,
				    !there && !here);
		if (err == -ETIME)
			return r->pump.rx_len ? fail(r, VHX_RELAY_OUT, -ETIMEDOUT) : 0;
		if (err)
			return fail(r, VHX_RELAY_PEER, err);
	}
	return 0;
}

int vhx_relay_dgrams(const struct vhx_relay_config *cfg, const struct vhx_relay_datagrams *d,
		     struct vhx_relay_counts *counts)
{
	struct relay r = { .d = d, .to = d->to, .counts = counts };
	int err = vhx_pump_init(&r.pump, cfg, PIECE_MAX, d->len_max);

	*counts = (struct vhx_relay_counts){ 0 };
	if (err)
		return err;
	err = relay_run(&r);
	vhx_pump_fini(&r.pump);
	return err;
}
