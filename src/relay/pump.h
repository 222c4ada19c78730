/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What relays have in common: two descriptors, each with the bytes that wait for the other side, and the turns in which
 * these go.
 */
#ifndef VHX_RELAY_PUMP_H
#define VHX_RELAY_PUMP_H

#include "relay/relay.h"

struct vhx_pump {
	const struct vhx_relay_config *cfg;
	struct vhx_relay_counts *counts;
	uint8_t *tx, *rx; /* read on in, to be sent; received, to be written on out */
	size_t tx_len, tx_off, rx_len, rx_off;
	size_t tx_max;
	bool in_ended;
	bool in_ready, out_ready; /* as poll() said last */
	bool out_patient; /* a write of it never blocks: a file */
	bool again; /* a call of the endpoint in this turn said -EAGAIN */
	bool quits; /* quit_ms runs, */
	uint64_t quits_from; /* since then, in milliseconds of CLOCK_MONOTONIC */
};

/* What a relay does in one turn, with its endpoint. */
struct vhx_pump_ops {
	/* From in to the peer, and back to out: 1: went on; 0: cannot now; negative, after vhx_pump_fail(). */
	int (*forth)(struct vhx_pump *p);
	int (*back)(struct vhx_pump *p);
	bool (*is_over)(struct vhx_pump *p);
};

/* *@counts begin at 0. 0, -ENOMEM. */
int vhx_pump_init(struct vhx_pump *p, const struct vhx_relay_config *cfg, size_t tx_max,
		  size_t rx_max, struct vhx_relay_counts *counts);
void vhx_pump_fini(struct vhx_pump *p);

/* For forth and back: what they return after an error of @side, and where a call of the endpoint said -EAGAIN. */
int vhx_pump_fail(struct vhx_pump *p, enum vhx_relay_side side, int err);
int vhx_pump_again(struct vhx_pump *p);
/* Reads, if nothing waits to be sent and there is something. 1, 0, negative: as forth and back. */
int vhx_pump_read(struct vhx_pump *p);
/* Writes what was received, as far as that does not block. Likewise. */
int vhx_pump_write(struct vhx_pump *p);
/* All that was there to be sent, and to be said, was: from now on quit_ms counts. */
void vhx_pump_quit(struct vhx_pump *p);

/*
 * Turns, until is_over, or until quit_ms has passed. 0; negative: an error, or what was received could not be written
 * in that time. @fd: the endpoint's.
 */
int vhx_pump_run(struct vhx_pump *p, const struct vhx_pump_ops *ops, int fd);

#endif
