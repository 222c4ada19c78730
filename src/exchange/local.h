/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Provider `local`: two processes on one kernel, one memfd section per direction, a unix
 * SOCK_SEQPACKET socket for the meeting, the wakes and the news of the peer's death.
 */
#ifndef VHX_EXCHANGE_LOCAL_H
#define VHX_EXCHANGE_LOCAL_H

#include "exchange/exchange.h"

#define VHX_LOCAL_RING_MIN (16u << 10)
#define VHX_LOCAL_RING_MAX (64u << 20)
#define VHX_LOCAL_RING_DEFAULT (1u << 20)

/*
 * Takes ownership of @sock (connected, SOCK_SEQPACKET), also when it fails. @ring_len: size of the
 * section that this end writes; a power of two in [VHX_LOCAL_RING_MIN, VHX_LOCAL_RING_MAX], a multiple of
 * the page size. The port is OPENING until the peer's offer has arrived.
 * 0 and *@port, or -EINVAL, -ENOMEM, -EMFILE, -EPIPE (the peer has left already), ...
 *
 * Poll the descriptor level-triggered. If this end cannot map what the peer offered, for lack of memory or
 * of mappings, the port is GONE with that errno.
 */
int vhx_local_open(int sock, uint32_t ring_len, struct vhx_port **port);

#endif
