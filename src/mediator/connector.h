/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who connects to unix sockets for a vsock device of a confined backend: a process of its own, forked before a peer is
 * heard. It can be asked for a port P, and connects to PATH_P, or to PATH.seq_P, and to nothing else.
 */
#ifndef VHX_MEDIATOR_CONNECTOR_H
#define VHX_MEDIATOR_CONNECTOR_H

#include "confine/confine.h"

/*
 * 0: *@sock is where it is asked (device/vsock_connect.h), the caller's; it ends when that is closed. Or a negative
 * errno. @path stays valid in it; it is confined as @mode says.
 */
int vhx_connector_start(const char *path, enum vhx_confine_mode mode, int *sock);

#endif
