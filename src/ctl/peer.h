/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Domains that a running backend serves by Argo, added and removed by its operator.
 */
#ifndef VHX_CTL_PEER_H
#define VHX_CTL_PEER_H

#include "util/error.h"

/* The backend at @path serves the domain with the number @domain from now on. 0 or negative with a text. */
int vhx_ctl_peer_add(const char *path, const char *domain, struct vhx_error *err);

/* No more: its channel ends. 0 or negative with a text. */
int vhx_ctl_peer_remove(const char *path, const char *domain, struct vhx_error *err);

#endif
