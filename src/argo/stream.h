/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of a stream that a listener accepts.
 */
#ifndef VHX_ARGO_STREAM_PRIVATE_H
#define VHX_ARGO_STREAM_PRIVATE_H

#include "argo/driver.h"
#include "argo/frame.h"

/*
 * With the connector at @peer, whose SYN has @greeting. 0; -ECONNREFUSED: it is gone by now; others as of
 * vhx_argo_stream_connect().
 */
int vhx_astream_accept(struct vhx_argo_driver *driver, const struct argo_addr *peer,
		       const struct vhx_aframe_greeting *greeting, struct vhx_argo_stream **stream);

#endif
