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
		  size_t rx_max)
{
	struct stat st;

	*p = (struct vhx_pump){
		.cfg = cfg,
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

int vhx_pump_read(struct vhx_pump *p)
{
	ssize_t n;

	if (!p->in_ready || p->in_ended || p->tx_len)
		return 0;
	p->in_ready = false;
	n = read(p->cfg->in, p->tx, p->tx_max);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
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
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
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

int vhx_pump_wait(struct vhx_pump *p, int fd, bool idle)
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
