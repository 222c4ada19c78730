/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Xen's Argo in one process: endpoints on the model hypervisor, for provider `argo` and all else that stands on
 * struct vhx_argo_dev. Four operations with the errors, the waiter rules, the 8 iovecs, the single event per
 * domain and the lack of in-place sending that the real one has, so that the ops table stays honest where no
 * hypervisor is in reach.
 */
#ifndef VHX_EXCHANGE_ARGO_MODEL_H
#define VHX_EXCHANGE_ARGO_MODEL_H

#include "exchange/argo.h"
#include "exchange/argo_hv.h"

/* An endpoint in the existing domain @domid. Takes a reference. 0, -ENOMEM, -EMFILE, -ENOSPC. */
int vhx_argo_model_dev_open(struct vhx_argo_hv *hv, uint16_t domid, struct vhx_argo_dev **dev);

/*
 * Two domains of a host of their own, and a port of provider `argo` in each, with rings of @ring_len bytes: at
 * least 4 KiB, a multiple of 16, and not quite Argo's 16 MiB, which no page count reaches. A domain ends with its
 * port. 0, -EINVAL, -ENOMEM, -EMFILE.
 */
int vhx_argo_model_unmet(uint32_t ring_len, struct vhx_port *ends[2]);
/* The same, and both are READY. */
int vhx_argo_model_pair(uint32_t ring_len, struct vhx_port *ends[2]);

#endif
