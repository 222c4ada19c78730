// SPDX-License-Identifier: BSD-3-Clause
#include <string.h>

#include "config/device_type.h"

static bool hex_byte(const char *p, uint8_t *byte)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *high = p[0] ? strchr(digits, p[0]) : NULL;
	const char *low = high && p[1] ? strchr(digits, p[1]) : NULL;

	if (!low)
		return false;
	*byte = (uint8_t)((high - digits) % 16 * 16 + (low - digits) % 16);
	return true;
}

int vhx_mac_parse(const char *text, uint8_t mac[VHX_SPEC_MAC_LEN])
{
	unsigned int i;

	for (i = 0; i < VHX_SPEC_MAC_LEN; i++) {
		char end = i + 1 < VHX_SPEC_MAC_LEN ? ':' : 0;

		if (!hex_byte(text + 3 * i, &mac[i]) || text[3 * i + 2] != end)
			return -EINVAL;
	}
	return 0;
}

int vhx_mac_check(const char *text, struct vhx_error *err)
{
	static const uint8_t none[VHX_SPEC_MAC_LEN];
	uint8_t mac[VHX_SPEC_MAC_LEN];

	if (vhx_mac_parse(text, mac) || !memcmp(mac, none, sizeof(none))) {
		vhx_error_set(err, "'%s' is no address like 52:54:00:12:34:56", text);
		return -EINVAL;
	}
	if (!(mac[0] & 1))
		return 0;
	vhx_error_set(err, "'%s' is the address of a group, not of an interface", text);
	return -EINVAL;
}

static const struct vhx_key net_keys[] = {
	VHX_SPEC_KEY_ID,
	VHX_SPEC_KEY_PEER,
	{ "end", VHX_KEY_TEXT, VHX_SPEC_FIELD(net.end), .text_max = VHX_SPEC_NET_END_MAX,
	  .required = true, .metavar = "END",
	  .help = "tap:NAME, stream:PATH, listen:PATH, dgram:LOCAL:REMOTE or fd:N[:N...]" },
	{ "mac", VHX_KEY_TEXT, VHX_SPEC_FIELD(net.mac), .text_max = VHX_SPEC_MAC_TEXT_MAX,
	  .check = vhx_mac_check, .metavar = "ADDRESS",
	  .help = "of the guest's interface (default: the guest makes one up)" },
	{ "mtu", VHX_KEY_NUMBER, VHX_SPEC_FIELD(net.mtu),
	  .bounds = { VHX_SPEC_MTU_MIN, VHX_SPEC_MTU_MAX }, .metavar = "N",
	  .help = "tell the guest (default: it takes 1500)" },
	{ "queues", VHX_KEY_NUMBER, VHX_SPEC_FIELD(net.pairs),
	  .bounds = { 1, VHX_SPEC_NET_PAIRS_MAX }, .metavar = "N",
	  .help = "pairs of queues, of a tap (default 1)" },
	{ "offload", VHX_KEY_SWITCH, VHX_SPEC_FIELD(net.offload), .metavar = "on|off",
	  .help = "checksums and segmentation by the host, with a tap (default on)" },
	VHX_SPEC_KEY_QUEUE_SIZE(net.queue_size),
};

static void net_defaults(struct vhx_device_spec *spec)
{
	spec->net.pairs = 1;
	spec->net.offload = true;
	spec->net.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

/* The socket that it listens on; that of a datagram end is bound, and found stale by the next. */
static const char *net_path(const struct vhx_device_spec *spec, unsigned int i)
{
	static const char listen[] = "listen:";

	if (i || strncmp(spec->net.end, listen, strlen(listen)))
		return NULL;
	return spec->net.end + strlen(listen);
}

const struct vhx_device_type vhx_net_type = {
	.name = "net",
	.help = "a network interface",
	.keys = net_keys,
	.keys_cnt = VHX_ARRAY_SIZE(net_keys),
	.defaults = net_defaults,
	.path = net_path,
};
