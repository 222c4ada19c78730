// SPDX-License-Identifier: BSD-3-Clause
/*
 * A relay of a stream. Each direction is carried as far as it goes; when neither goes on, it sleeps. Bytes that were read
 * are sent before the end that was read behind them. Where the peer went meanwhile, what it said before is still taken to
 * its place, up to its end or to the error that stands there.
 */
#include "relay/pump.h"

/* As much as a ring of the usual size holds of it. */
#define BUFFER_LEN 65536u

struct relay {
	struct vhx_pump pump;
	struct vhx_argo_stream *stream;
	bool ends; /* our direction is to be ended when all is sent */
	bool ended; /* it was */
	bool peer_ended;
	int error; /* of sending: nothing more is sent */
};

static struct relay *to_relay(struct vhx_pump *p)
{
	return vhx_container_of(p, struct relay, pump);
}

/* 1: went on; 0: cannot now; negative. */
static int send_step(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
	int64_t n = vhx_argo_stream_send(r->stream, p->tx + p->tx_off, p->tx_len - p->tx_off);

	if (n == -EAGAIN)
		return vhx_pump_again(p);
	if (n < 0) {
		r->error = (int)n;
		return 1;
	}
	p->counts->sent += (uint64_t)n;
	p->tx_off += (size_t)n;
	if (p->tx_off == p->tx_len)
		p->tx_len = 0;
	return 1;
}

static int end_step(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
	int err = vhx_argo_stream_shutdown(r->stream);

	if (err == -EAGAIN)
		return vhx_pump_again(p);
	r->error = err;
	r->ended = true;
	vhx_pump_quit(p);
	return 1;
}

/* From in to the peer. */
static int forth(struct vhx_pump *p)
{
	struct relay *r = to_relay(p);
	int ret;

	if (r->ended || r->error)
		return 0;
	if (p->tx_len)
		return send_step(r);
	if (r->ends)
		return end_step(r);
	ret = vhx_pump_read(p);
	if (p->in_ended && (p->cfg->shut || p->cfg->quit_ms >= 0))
		r->ends = true;
	return ret;
}

/* From the peer to out. */
static int back(struct vhx_pump *p)
{
	struct relay *r = to_relay(p);
	int64_t n;

	if (p->rx_len)
		return vhx_pump_write(p);
	if (r->peer_ended)
		return 0;
	n = vhx_argo_stream_recv(r->stream, p->rx, BUFFER_LEN);
	if (n == -EAGAIN)
		return vhx_pump_again(p);
	if (n < 0)
		return vhx_pump_fail(p, VHX_RELAY_PEER, (int)n);
	p->counts->received += (uint64_t)n;
	p->rx_len = (size_t)n;
	if (!n) {
		r->peer_ended = true;
		/* Without --shut that is the end of all, also of what nobody has read of in. */
		r->ends |= !p->cfg->shut;
		p->in_ended |= r->ends;
	}
	return 1;
}

static bool is_over(struct vhx_pump *p)
{
	const struct relay *r = to_relay(p);

	return (r->ended || r->error) && r->peer_ended && !p->rx_len;
}

static const struct vhx_pump_ops ops = { .forth = forth, .back = back, .is_over = is_over };

int vhx_relay_stream(const struct vhx_relay_config *cfg, struct vhx_argo_stream *stream,
		     struct vhx_relay_counts *counts)
{
	struct relay r = { .stream = stream };
	int err = vhx_pump_init(&r.pump, cfg, BUFFER_LEN, BUFFER_LEN, counts);

	if (err)
		return err;
	err = vhx_pump_run(&r.pump, &ops, vhx_argo_stream_fileno(stream));
	/* Of a peer that said all and went, nothing was lost unless there was more for it. */
	if (!err && r.pump.tx_len)
		err = vhx_pump_fail(&r.pump, VHX_RELAY_PEER, r.error);
	vhx_pump_fini(&r.pump);
	return err;
}
