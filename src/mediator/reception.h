/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reception of a backend: connections that have not said yet what they bring. Their first packet tells: a
 * section (`local`) or a window (`ivshmem`); it becomes a port. Nothing is allocated for a connection
 * before.
 */
#ifndef VHX_MEDIATOR_RECEPTION_H
#define VHX_MEDIATOR_RECEPTION_H

#include "exchange/exchange.h"
#include "loop/loop.h"
#include "util/log.h"

/* So many may be silent at once; the one that has been for longest makes room for the next. */
#define VHX_RECEPTION_MAX 64u
/* What has not sent its first packet by then is closed. */
#define VHX_RECEPTION_NS (5 * 1000000000ull)

struct vhx_reception;

struct vhx_reception_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	uint32_t ring_len; /* of our section, for `local` */
	/* Takes the port over; called from the loop. */
	void (*met)(void *ctx, struct vhx_port *port);
	void *ctx;
};

struct vhx_reception_stats {
	uint64_t met, refused, silent; /* silent: timed out or displaced */
};

/* 0 or -ENOMEM. */
int vhx_reception_new(const struct vhx_reception_config *cfg, struct vhx_reception **reception);
/* Closes all that wait. May be called on NULL. */
void vhx_reception_free(struct vhx_reception *r);
/* Takes @sock over: connected, SOCK_SEQPACKET. */
void vhx_reception_add(struct vhx_reception *r, int sock);
uint32_t vhx_reception_waiting(const struct vhx_reception *r);
const struct vhx_reception_stats *vhx_reception_stats(const struct vhx_reception *r);

#endif
