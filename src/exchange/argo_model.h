/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Provider `argo-model`: Xen's Argo in one process. Four operations with the errors, the waiter rules,
 * the 8 iovecs, the single event per domain and the lack of in-place sending that the real one has, so
 * that the ops table stays honest where no hypervisor is in reach.
 */
#ifndef VHX_EXCHANGE_ARGO_MODEL_H
#define VHX_EXCHANGE_ARGO_MODEL_H

#include "exchange/exchange.h"

/*
 * Two domains with one single-partner ring each of @ring_len bytes, and a port in each. At least 4 KiB, a
 * multiple of 16, and not quite Argo's 16 MiB, which no page count reaches. 0, -EINVAL, -ENOMEM, -EMFILE.
 */
int vhx_argo_model_pair(uint32_t ring_len, struct vhx_port *ends[2]);

/* Notify calls that this end has made for senders that found its ring full. */
uint64_t vhx_argo_model_notifies(struct vhx_port *p);

#endif
