// SPDX-License-Identifier: BSD-3-Clause
/*
 * Neither descriptor is made non-blocking: others may have them too. What poll() promises is kept to: one read(), and of
 * what is no file, a write() of what a pipe takes whole.
 */
#include "relay/pump.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000u
#define MS_PER_S 1000u

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * MS_PER_S + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

int vhx_pump_init(struct vhx_pump *p, const struct vhx_relay_config *cfg, size_t tx_max,
		  size_t rx_max, struct vhx_relay_counts *counts)
{
	struct stat st;

	*counts = (struct vhx_relay_counts){ 0 };
	*p = (struct vhx_pump){
		.cfg = cfg,
		.counts = counts,
		.tx_max = tx_max,
		.tx = malloc(tx_max),
		.rx = malloc(rx_max),
		.out_patient = !fstat(cfg->out, &st) && S_ISREG(st.st_mode),
	};
	if (p->tx && p->rx)
		return 0;
	vhx_pump_fini(p);
	return -ENOMEM;
}

void vhx_pump_fini(struct vhx_pump *p)
{
	free(p->tx);
	free(p->rx);
}

int vhx_pump_fail(struct vhx_pump *p, enum vhx_relay_side side, int err)
{
	p->counts->failed = side;
	return err;
}

int vhx_pump_again(struct vhx_pump *p)
{
	p->again = true;
	return 0;
}

/* @side said errno. */
static int errno_judge(struct vhx_pump *p, enum vhx_relay_side side)
{
	return errno == EINTR || errno == EAGAIN ? 0 : vhx_pump_fail(p, side, -errno);
}

int vhx_pump_read(struct vhx_pump *p)
{
	ssize_t n;

	if (!p->in_ready || p->in_ended || p->tx_len)
		return 0;
	p->in_ready = false;
	n = read(p->cfg->in, p->tx, p->tx_max);
	if (n < 0)
		return errno_judge(p, VHX_RELAY_IN);
	p->tx_off = 0;
	p->tx_len = (size_t)n;
	p->in_ended = !n;
	return 1;
}

int vhx_pump_write(struct vhx_pump *p)
{
	size_t len = p->rx_len - p->rx_off;
	ssize_t n;

	if (!len || !(p->out_ready || p->out_patient))
		return 0;
	p->out_ready = false;
	if (!p->out_patient)
		len = vhx_min_u64(len, PIPE_BUF);
	n = write(p->cfg->out, p->rx + p->rx_off, len);
	if (n < 0)
		return errno_judge(p, VHX_RELAY_OUT);
	p->rx_off += (size_t)n;
	if (p->rx_off == p->rx_len)
		p->rx_off = p->rx_len = 0;
	return 1;
}

void vhx_pump_quit(struct vhx_pump *p)
{
	p->quits = p->cfg->quit_ms >= 0;
	p->quits_from = now_ms();
}

/* For poll(). */
static int time_left(const struct vhx_pump *p)
{
	uint64_t since;

	if (!p->quits)
		return -1;
	since = now_ms() - p->quits_from;
	return since < (uint64_t)p->cfg->quit_ms ? p->cfg->quit_ms - (int)since : 0;
}

/* What was received already is written, as long as that goes on. */
static bool is_late(const struct vhx_pump *p, bool idle)
{
	return p->quits && !time_left(p) && (!p->rx_len || (idle && !p->out_ready));
}

/*
 * After each turn: which descriptors are ready that something can be done with? With @idle, sleeps until one is, @fd too;
 * a peer that never lets us sleep keeps us from none of them. @fd: the endpoint's if a call in this turn said -EAGAIN, or
 * -1: it means nothing then, and may be readable for ever. 0; -ETIME: after quit_ms.
 */
static int pump_wait(struct vhx_pump *p, int fd, bool idle)
{
	struct pollfd fds[3] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = p->in_ended || p->tx_len ? -1 : p->cfg->in, .events = POLLIN },
		{ .fd = p->rx_len ? p->cfg->out : -1, .events = POLLOUT },
	};

	if (poll(fds, VHX_ARRAY_SIZE(fds), idle ? time_left(p) : 0) < 0)
		return errno == EINTR ? 0 : -errno;
	/* Errors too: the call that follows says which. */
	p->in_ready = fds[1].revents;
	p->out_ready = fds[2].revents;
	return is_late(p, idle) ? -ETIME : 0;
}

int vhx_pump_run(struct vhx_pump *p, const struct vhx_pump_ops *ops, int fd)
{
	int there, here, err;

	while (!ops->is_over(p)) {
		p->again = false;
		there = ops->forth(p);
		if (there < 0)
			return there;
		here = ops->back(p);
		if (here < 0)
			return here;
		err = pump_wait(p, p->again ? fd : -1, !there && !here);
		/* What was asked for, as long as nothing that was received is lost by it. */
		if (err == -ETIME)
			return p->rx_len ? vhx_pump_fail(p, VHX_RELAY_OUT, -ETIMEDOUT) : 0;
		if (err)
			return vhx_pump_fail(p, VHX_RELAY_PEER, err);
	}
	return 0;
}
