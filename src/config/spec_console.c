// SPDX-License-Identifier: BSD-3-Clause
#include <string.h>

#include "config/device_type.h"

/* A terminal of more columns or rows than this is a typing error. */
#define CELLS_MAX 9999u
#define BUFFER_MAX (64u << 20)

/* Names appear in the guest's /sys and in udev rules. */
static int name_check(const char *name, struct vhx_error *err)
{
	const char *p;

	for (p = name; *p; p++) {
		if (*p > 0x20 && *p < 0x7f && *p != '/')
			continue;
		vhx_error_set(err, "'%s' is not printable ASCII without blanks and slashes", name);
		return -EINVAL;
	}
	return 0;
}

static int full_check(const char *value, struct vhx_error *err)
{
	if (!strcmp(value, "wait") || !strcmp(value, "drop"))
		return 0;
	vhx_error_set(err, "'%s' is neither wait nor drop", value);
	return -EINVAL;
}

#define PORT_END(n) \
	"port" #n, VHX_KEY_TEXT, VHX_SPEC_FIELD(console.ports[n].end), .text_max = VHX_SPEC_END_MAX
#define PORT_NAME(n)                                                    \
	"name" #n, VHX_KEY_TEXT, VHX_SPEC_FIELD(console.ports[n].name), \
		.text_max = VHX_SPEC_PORT_NAME_MAX, .check = name_check
#define PORT(n)              \
	{ PORT_END(n) },     \
	{                    \
		PORT_NAME(n) \
	}

/* Rows without a help text are like the first of their kind. */
static const struct vhx_key console_keys[] = {
	VHX_SPEC_KEY_ID,
	VHX_SPEC_KEY_PEER,
	{ PORT_END(0), .metavar = "END", .required = true,
	  .help = "the console: pty[:LINK], socket:PATH, stdio, file:PATH or null" },
	{ PORT_NAME(0), .metavar = "NAME", .help = "its name for the guest" },
	PORT(1),
	PORT(2),
	PORT(3),
	PORT(4),
	PORT(5),
	PORT(6),
	PORT(7),
	PORT(8),
	PORT(9),
	PORT(10),
	PORT(11),
	PORT(12),
	PORT(13),
	PORT(14),
	PORT(15),
	{ "cols", VHX_KEY_NUMBER, VHX_SPEC_FIELD(console.cols), .bounds = { 1, CELLS_MAX },
	  .metavar = "N", .help = "size of the console where its end has none" },
	{ "rows", VHX_KEY_NUMBER, VHX_SPEC_FIELD(console.rows), .bounds = { 1, CELLS_MAX },
	  .metavar = "N", .help = "the same" },
	{ "buffer", VHX_KEY_NUMBER, VHX_SPEC_FIELD(console.buffer), .bounds = { 1, BUFFER_MAX },
	  .metavar = "BYTES", .help = "output kept per port while nobody reads (default 65536)" },
	{ "full", VHX_KEY_TEXT, VHX_SPEC_FIELD(console.full),
	  .text_max = sizeof(((struct vhx_console_spec *)0)->full), .check = full_check,
	  .metavar = "wait|drop",
	  .help = "then the guest waits, or the oldest goes (default wait)" },
	VHX_SPEC_KEY_QUEUE_SIZE(console.queue_size),
};

static void console_defaults(struct vhx_device_spec *spec)
{
	spec->console.queue_size = VHX_SPEC_QUEUE_SIZE_DEFAULT;
}

static int console_check(const struct vhx_device_spec *spec, struct vhx_error *err)
{
	const struct vhx_console_spec *c = &spec->console;
	unsigned int i;

	if (!c->cols != !c->rows) {
		vhx_error_set(err, "cols and rows belong together");
		return -EINVAL;
	}
	for (i = 1; i < VHX_SPEC_PORTS_MAX; i++) {
		if (c->ports[i].end[0] && !c->ports[i - 1].end[0]) {
			vhx_error_set(err, "port%u is given, but not port%u", i, i - 1);
			return -EINVAL;
		}
		if (c->ports[i].name[0] && !c->ports[i].end[0]) {
			vhx_error_set(err, "name%u is given, but not port%u", i, i);
			return -EINVAL;
		}
	}
	return 0;
}

static const char *console_path(const struct vhx_device_spec *spec, unsigned int i)
{
	static const char *const kinds[] = { "pty:", "socket:" };
	const char *end = spec->console.ports[i].end;
	size_t k;

	for (k = 0; k < VHX_ARRAY_SIZE(kinds); k++) {
		if (!strncmp(end, kinds[k], strlen(kinds[k])))
			return end + strlen(kinds[k]);
	}
	return NULL;
}

const struct vhx_device_type vhx_console_type = {
	.name = "console",
	.help = "a console, and named byte streams as port1, name1 to port15, name15",
	.keys = console_keys,
	.keys_cnt = VHX_ARRAY_SIZE(console_keys),
	.defaults = console_defaults,
	.check = console_check,
	.path = console_path,
};
