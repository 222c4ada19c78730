// SPDX-License-Identifier: BSD-3-Clause
#include "config/device_type.h"

/* VirtIO 5.10.4: 0 to 2 and the last one are nobody's or the host's. */
#define CID_MIN 3u
#define CID_MAX 0xfffffffeu
/* What the device keeps places for, and bytes of each. */
#define CONNECTIONS_MAX 1024u
#define BUFFER_MIN 4096u
#define BUFFER_MAX (1024u * 1024)

static const struct vhx_key vsock_keys[] = {
	VHX_SPEC_KEY_ID,
	VHX_SPEC_KEY_PEER,
	{ "uds-path", VHX_KEY_TEXT, VHX_SPEC_FIELD(vsock.uds_path),
	  .text_max = VHX_SPEC_VSOCK_PATH_MAX, .required = true, .metavar = "PATH",
	  .help = "the guest's connections to port P go to PATH_P; to PATH say CONNECT P" },
	{ "guest-cid", VHX_KEY_NUMBER, VHX_SPEC_FIELD(vsock.guest_cid),
	  .bounds = { CID_MIN, CID_MAX }, .metavar = "N",
	  .help = "the guest's address (default 3)" },
	{ "seqpacket", VHX_KEY_SWITCH, VHX_SPEC_FIELD(vsock.seqpacket), .metavar = "on|off",
	  .help = "sequenced packets, by PATH.seq (default on)" },
	{ "connections", VHX_KEY_NUMBER, VHX_SPEC_FIELD(vsock.connections),
	  .bounds = { 1, CONNECTIONS_MAX }, .metavar = "N",
	  .help = "most at a time (default 256)" },
	{ "buffer", VHX_KEY_NUMBER, VHX_SPEC_FIELD(vsock.buffer),
	  .bounds = { BUFFER_MIN, BUFFER_MAX, true }, .metavar = "N",
	  .help = "bytes kept for a slow reader, a power of two (default 131072)" },
	VHX_SPEC_KEY_QUEUE_SIZE(vsock.queue_size),
};

static void vsock_defaults(struct vhx_device_spec *spec)
{
	spec->vsock.seqpacket = true;
	spec->vsock.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

/* The second one, for sequenced packets, lies beside it. */
static const char *vsock_path(const struct vhx_device_spec *spec, unsigned int i)
{
	return i ? NULL : spec->vsock.uds_path;
}

const struct vhx_device_type vhx_vsock_type = {
	.name = "vsock",
	.help = "sockets of the guest, by unix sockets of the host",
	.keys = vsock_keys,
	.keys_cnt = VHX_ARRAY_SIZE(vsock_keys),
	.defaults = vsock_defaults,
	.path = vsock_path,
};
