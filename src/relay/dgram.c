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
};

static struct relay *to_relay(struct vhx_pump *p)
{
	return vhx_container_of(p, struct relay, pump);
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
		return vhx_pump_again(p);
	if (err)
		return vhx_pump_fail(p, VHX_RELAY_PEER, err);
	p->counts->sent++;
	p->tx_len = 0;
	return 1;
}

static int forth(struct vhx_pump *p)
{
	int ret;

	if (p->tx_len)
		return send_step(to_relay(p));
	ret = vhx_pump_read(p);
	if (p->in_ended && ret)
		vhx_pump_quit(p);
	return ret;
}

static bool is_enough(const struct relay *r)
{
	return r->d->count && r->pump.counts->received == r->d->count;
}

static int back(struct vhx_pump *p)
{
	struct relay *r = to_relay(p);
	struct vhx_argo_address from;
	int64_t n;

	if (p->rx_len)
		return vhx_pump_write(p);
	if (is_enough(r))
		return 0;
	n = vhx_argo_dgram_recv(r->d->dgram, &from, p->rx, r->d->len_max);
	if (n == -EAGAIN)
		return vhx_pump_again(p);
	if (n < 0)
		return vhx_pump_fail(p, VHX_RELAY_PEER, (int)n);
	if (n > r->d->len_max)
		return vhx_pump_fail(p, VHX_RELAY_PEER, -EMSGSIZE);
	p->counts->received++;
	p->rx_len = (size_t)n;
	if (!r->to.port)
		r->to = from;
	return 1;
}

static bool is_over(struct vhx_pump *p)
{
	if (p->rx_len)
		return false;
	return is_enough(to_relay(p)) || (p->in_ended && p->cfg->shut && !p->tx_len);
}

static const struct vhx_pump_ops ops = { .forth = forth, .back = back, .is_over = is_over };

int vhx_relay_dgrams(const struct vhx_relay_config *cfg, const struct vhx_relay_datagrams *d,
		     struct vhx_relay_counts *counts)
{
	struct relay r = { .d = d, .to = d->to };
	int err = vhx_pump_init(&r.pump, cfg, PIECE_MAX, d->len_max, counts);

	if (err)
		return err;
	err = vhx_pump_run(&r.pump, &ops, vhx_argo_dgram_fileno(d->dgram));
	vhx_pump_fini(&r.pump);
	return err;
}
