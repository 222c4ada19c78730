// SPDX-License-Identifier: BSD-3-Clause
#include <string.h>

#include "config/device_type.h"

static int socket_check(const char *text, struct vhx_error *err)
{
	char path[VHX_UNIX_PATH_MAX];

	return vhx_socket_path_copy(path, text, err);
}

static int cache_check(const char *text, struct vhx_error *err)
{
	if (!strcmp(text, "host") || !strcmp(text, "own"))
		return 0;
	vhx_error_set(err, "'%s' is neither host nor own", text);
	return -EINVAL;
}

static const struct vhx_key bridge_keys[] = {
	VHX_SPEC_KEY_ID,
	{ "type", VHX_KEY_TEXT, VHX_SPEC_FIELD(bridge.type), .text_max = VHX_SPEC_TYPE_NAME_MAX,
	  .required = true, .metavar = "TYPE",
	  .help = "blk, net, fs, ... or the number of VirtIO 5" },
	{ "socket", VHX_KEY_TEXT, VHX_SPEC_FIELD(bridge.socket), .text_max = VHX_UNIX_PATH_MAX,
	  .required = true, .check = socket_check, .metavar = "PATH",
	  .help = "where the back-end listens" },
	{ "server", VHX_KEY_FLAG, VHX_SPEC_FIELD(bridge.server),
	  .help = "listen there, the back-end connects" },
	{ "queues", VHX_KEY_NUMBER, VHX_SPEC_FIELD(bridge.queues),
	  .bounds = { 1, VHX_SPEC_QUEUES_MAX }, .metavar = "N",
	  .help = "virtqueues, pairs for net (default: as the back-end or type has)" },
	{ "packed", VHX_KEY_SWITCH, VHX_SPEC_FIELD(bridge.packed), .metavar = "on|off",
	  .help = "packed rings where the back-end has them (default on)" },
	{ "cache", VHX_KEY_TEXT, VHX_SPEC_FIELD(bridge.cache), .text_max = 8, .check = cache_check,
	  .metavar = "host|own",
	  .help = "who has completed writes: the kernel, or the back-end (default)" },
	{ "tag", VHX_KEY_TEXT, VHX_SPEC_FIELD(bridge.tag), .text_max = VHX_SPEC_TAG_MAX,
	  .metavar = "NAME", .help = "fs: what guests mount" },
	{ "mac", VHX_KEY_TEXT, VHX_SPEC_FIELD(bridge.mac), .text_max = VHX_SPEC_MAC_TEXT_MAX,
	  .check = vhx_mac_check, .metavar = "ADDRESS",
	  .help = "net: of the guest's interface (default: the guest makes one up)" },
	{ "mtu", VHX_KEY_NUMBER, VHX_SPEC_FIELD(bridge.mtu),
	  .bounds = { VHX_SPEC_MTU_MIN, VHX_SPEC_MTU_MAX }, .metavar = "N",
	  .help = "net: tell the guest (default: it takes 1500)" },
	VHX_SPEC_KEY_QUEUE_SIZE(bridge.queue_size),
};

static void bridge_defaults(struct vhx_device_spec *spec)
{
	spec->bridge.packed = true;
	spec->bridge.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

static bool type_is(const struct vhx_bridge_spec *s, const char *name, const char *number)
{
	return !strcmp(s->type, name) || !strcmp(s->type, number);
}

/* Keys that only one type has a use for. */
static int bridge_check(const struct vhx_device_spec *spec, struct vhx_error *err)
{
	const struct vhx_bridge_spec *s = &spec->bridge;
	const char *wrong = NULL;

	if (type_is(s, "fs", "26") && !s->tag[0]) {
		vhx_error_set(err, "type=fs needs tag=NAME, what guests mount");
		return -EINVAL;
	}
	if (!type_is(s, "fs", "26") && s->tag[0])
		wrong = "tag is for type=fs";
	else if (!type_is(s, "net", "1") && s->mac[0])
		wrong = "mac is for type=net";
	else if (!type_is(s, "net", "1") && s->mtu)
		wrong = "mtu is for type=net";
	else if (!type_is(s, "blk", "2") && s->cache[0])
		wrong = "cache is for type=blk";
	if (!wrong)
		return 0;
	vhx_error_set(err, "%s", wrong);
	return -EINVAL;
}

static const char *bridge_path(const struct vhx_device_spec *spec, unsigned int i)
{
	return i || !spec->bridge.server ? NULL : spec->bridge.socket;
}

const struct vhx_device_type vhx_bridge_type = {
	.name = "vhost-user",
	.help = "what a vhost-user back-end serves, on memory of the bridge's own",
	.keys = bridge_keys,
	.keys_cnt = VHX_ARRAY_SIZE(bridge_keys),
	.defaults = bridge_defaults,
	.check = bridge_check,
	.path = bridge_path,
};
