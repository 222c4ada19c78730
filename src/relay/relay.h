/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Carries bytes between two descriptors of this process and an endpoint of libvhx-argo, with nothing but its public
 * interface: what vhx-argo-cat does.
 */
#ifndef VHX_RELAY_RELAY_H
#define VHX_RELAY_RELAY_H

#include "vhx/argo_endpoint.h"

#include "util/base.h"

struct vhx_relay_config {
	int in, out; /* stay the caller's */
	/*
	 * A stream: the end of @in is its end, and the relay ends with both directions. Else the end of @in is nothing
	 * that the peer need know, and the relay ends when the peer has no more to say. Datagrams: the relay ends with @in.
	 */
	bool shut;
	/* So long after the end of @in the relay ends at the latest; a stream is told of that end. -1: no limit. */
	int quit_ms;
};

/* What went wrong, and where. */
enum vhx_relay_side {
	VHX_RELAY_PEER,
	VHX_RELAY_IN,
	VHX_RELAY_OUT,
};

struct vhx_relay_counts {
	uint64_t sent, received; /* bytes, or datagrams */
	enum vhx_relay_side failed; /* valid after an error */
};

/*
 * Until its end: 0, when all that was read on either side is written on the other, or negative. *@stream stays the
 * caller's, to be closed.
 */
int vhx_relay_stream(const struct vhx_relay_config *cfg, struct vhx_argo_stream *stream,
		     struct vhx_relay_counts *counts);

struct vhx_relay_datagrams {
	struct vhx_argo_dgram *dgram;
	struct vhx_argo_address to; /* port 0: whoever sends first */
	uint32_t len_max; /* of a datagram that comes: the endpoint's ring is as long */
	uint64_t count; /* ends after so many were received; 0: no limit */
};

/* Each piece that a read() of @in gives is a datagram, and each that comes is written to @out. As above. */
int vhx_relay_dgrams(const struct vhx_relay_config *cfg, const struct vhx_relay_datagrams *d,
		     struct vhx_relay_counts *counts);

#endif
