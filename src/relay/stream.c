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
	struct vhx_relay_counts *counts;
	bool ends; /* our direction is to be ended when all is sent */
	bool ended; /* it was */
	bool peer_ended;
	int error; /* of sending: nothing more is sent */
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

/* 1: went on; 0: cannot now; negative. */
static int send_step(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
	int64_t n = vhx_argo_stream_send(r->stream, p->tx + p->tx_off, p->tx_len - p->tx_off);

	if (n == -EAGAIN)
		return wait(r);
	if (n < 0) {
		r->error = (int)n;
		return 1;
	}
	r->counts->sent += (uint64_t)n;
	p->tx_off += (size_t)n;
	if (p->tx_off == p->tx_len)
		p->tx_len = 0;
	return 1;
}

static int end_step(struct relay *r)
{
	int err = vhx_argo_stream_shutdown(r->stream);

	if (err == -EAGAIN)
		return wait(r);
	r->error = err;
	r->ended = true;
	vhx_pump_quit(&r->pump);
	return 1;
}

/* From in to the peer. */
static int forth(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
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
	return ret < 0 ? fail(r, VHX_RELAY_IN, ret) : ret;
}

/* From the peer to out. */
static int back(struct relay *r)
{
	struct vhx_pump *p = &r->pump;
	int64_t n;
	int ret;

	if (p->rx_len) {
		ret = vhx_pump_write(p);
		return ret < 0 ? fail(r, VHX_RELAY_OUT, ret) : ret;
	}
	if (r->peer_ended)
		return 0;
	n = vhx_argo_stream_recv(r->stream, p->rx, BUFFER_LEN);
	if (n == -EAGAIN)
		return wait(r);
	if (n < 0)
		return fail(r, VHX_RELAY_PEER, (int)n);
	r->counts->received += (uint64_t)n;
	p->rx_len = (size_t)n;
	if (!n) {
		r->peer_ended = true;
		/* Without --shut that is the end of all, also of what nobody has read of in. */
		r->ends |= !p->cfg->shut;
		p->in_ended |= r->ends;
	}
	return 1;
}

static bool is_over(const struct relay *r)
{
	return (r->ended || r->error) && r->peer_ended && !r->pump.rx_len;
}

/* Of a peer that said all and went, nothing was lost unless there was more for it. */
static int relay_result(struct relay *r)
{
	return r->pump.tx_len ? fail(r, VHX_RELAY_PEER, r->error) : 0;
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
		err = vhx_pump_wait(&r->pump, r->waits ? vhx_argo_stream_fileno(r->stream) : -1,
				    !there && !here);
		/* What was asked for, as long as nothing that was received is lost by it. */
		if (err == -ETIME)
			return r->pump.rx_len ? fail(r, VHX_RELAY_OUT, -ETIMEDOUT) : 0;
		if (err)
			return fail(r, VHX_RELAY_PEER, err);
	}
	return relay_result(r);
}

int vhx_relay_stream(const struct vhx_relay_config *cfg, struct vhx_argo_stream *stream,
		     struct vhx_relay_counts *counts)
{
	struct relay r = { .stream = stream, .counts = counts };
	int err = vhx_pump_init(&r.pump, cfg, BUFFER_LEN, BUFFER_LEN);

	*counts = (struct vhx_relay_counts){ 0 };
	if (err)
		return err;
	err = relay_run(&r);
	vhx_pump_fini(&r.pump);
	return err;
}
