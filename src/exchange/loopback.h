/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Provider `loop`: both ends in one process, for tests and fuzzing. The same sections as `local`, on
 * anonymous memory; both ends are READY at once.
 */
#ifndef VHX_EXCHANGE_LOOPBACK_H
#define VHX_EXCHANGE_LOOPBACK_H

#include "exchange/exchange.h"

/* Two connected ports; each is closed on its own and may belong to a thread of its own. */
int vhx_loopback_pair(uint32_t ring_len, struct vhx_port *ends[2]);

#endif
