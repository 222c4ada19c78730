/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two descriptors of a relay, each with the bytes that wait for the other side.
 */
#ifndef VHX_RELAY_PUMP_H
#define VHX_RELAY_PUMP_H

#include "relay/relay.h"

struct vhx_pump {
	const struct vhx_relay_config *cfg;
	uint8_t *tx, *rx; /* read on in, to be sent; received, to be written on out */
	size_t tx_len, tx_off, rx_len, rx_off;
	size_t tx_max;
	bool in_ended;
	bool in_ready, out_ready; /* as poll() said last */
	bool out_patient; /* a write of it never blocks: a file */
	bool quits; /* quit_ms runs, */
	uint64_t quits_from; /* since then, in milliseconds of CLOCK_MONOTONIC */
};

/* 0, -ENOMEM. */
int vhx_pump_init(struct vhx_pump *p, const struct vhx_relay_config *cfg, size_t tx_max,
		  size_t rx_max);
void vhx_pump_fini(struct vhx_pump *p);

/* Reads, if nothing waits to be sent and there is something. 1, 0, negative. */
int vhx_pump_read(struct vhx_pump *p);
/* Writes what was received, as far as that does not block. 1: something went; 0; negative. */
int vhx_pump_write(struct vhx_pump *p);
/* All that was there to be sent, and to be said, was: from now on quit_ms counts. */
void vhx_pump_quit(struct vhx_pump *p);

/*
 * After each turn: which descriptors are ready that something can be done with? With @idle, sleeps until one is, @fd too;
 * a peer that never lets us sleep keeps us from none of them. @fd: the endpoint's if a call in this turn said -EAGAIN, or
 * -1: it means nothing then, and may be readable for ever. 0; -ETIME: after quit_ms.
 */
int vhx_pump_wait(struct vhx_pump *p, int fd, bool idle);

#endif
