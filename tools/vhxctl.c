// SPDX-License-Identifier: BSD-3-Clause
/* vhxctl: asks a running program through its control socket. */
#include "config/options.h"
#include "ctl/ask.h"
#include "ctl/device.h"
#include "ctl/peer.h"
#include "ctl/reload.h"
#include "ctl/table.h"
#include "ctl/top.h"
#include "ctl/trace.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS_PER_S 1000u
#define INTERVAL_S_DEFAULT 1u
#define INTERVAL_S_MAX 3600u
/* As the programs have it: VHX_TRACE_SNAP_MAX. */
#define SNAP_MAX 4096u
/* Two words of the command, the path, and what is done it to. */
#define OPERANDS_MAX 4u

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1, /* nobody there, or no good answer */
	EXIT_USAGE = 2,
};

struct settings {
	bool json;
	bool table;
	uint64_t interval_s;
	uint64_t count;
	const char *write;
	uint64_t snap;
	uint64_t seconds;
};

static struct settings settings = { .interval_s = INTERVAL_S_DEFAULT };

static const struct vhx_option rows[] = {
	{ .name = "json",
	  .help = "stats: one JSON object, as the program sent it\n(default if not to a terminal)",
	  .kind = VHX_OPTION_FLAG,
	  .offset = offsetof(struct settings, json) },
	{ .name = "table",
	  .help = "stats: tables for people (default on a terminal)",
	  .kind = VHX_OPTION_FLAG,
	  .offset = offsetof(struct settings, table) },
	{ .name = "interval",
	  .metavar = "S",
	  .help = "top: seconds between two screens (default 1)",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = offsetof(struct settings, interval_s),
	  .bounds = { 1, INTERVAL_S_MAX, false } },
	{ .name = "count",
	  .metavar = "N",
	  .help = "top: end after N screens",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = offsetof(struct settings, count),
	  .bounds = { 1, UINT32_MAX, false } },
	{ .name = "write",
	  .metavar = "FILE",
	  .help = "trace: into this file (-w FILE; - is standard output)",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, write) },
	{ .name = "snap",
	  .metavar = "N",
	  .help = "trace: keep N bytes of each payload (default 0)",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = offsetof(struct settings, snap),
	  .bounds = { 0, SNAP_MAX, false } },
	{ .name = "seconds",
	  .metavar = "N",
	  .help = "trace: end after N seconds",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = offsetof(struct settings, seconds),
	  .bounds = { 1, UINT32_MAX, false } },
};

static const struct vhx_options options = {
	.program = "vhxctl",
	.usage = "stats|top|trace|reload|device add|remove|peer add|remove PATH [ARGUMENT] [OPTION...]",
	.summary = "Asks the vhx-backend or vhx-frontend whose --control is PATH: its counters "
		   "(stats),\n"
		   "a live screen of them (top), or a recording of its messages for Wireshark "
		   "(trace).\n"
		   "Has it read its configuration again: reload PATH [FILE].\n"
		   "Changes a running backend: device add PATH TYPE[,KEY=VALUE...] as for its "
		   "--device,\n"
		   "device remove PATH ID; peer add or remove PATH DOMID for a domain of Xen.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
	.operands_max = OPERANDS_MAX,
};

static int fail(int code, const char *text)
{
	fprintf(stderr, "vhxctl: %s\n", text);
	return code;
}

/* stats */

static void json_print(struct json_object *answer)
{
	puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int answer_print(const struct settings *s, struct json_object *answer)
{
	if (s->json || (!s->table && !isatty(STDOUT_FILENO)))
		json_print(answer);
	else
		vhx_ctl_stats_print(answer);
	if (fflush(stdout) || ferror(stdout))
		return fail(EXIT_FAILED, "cannot write to standard output");
	return EXIT_OK;
}

static int stats_run(const struct settings *s, const char *path)
{
	struct json_object *answer, *reason = NULL;
	struct vhx_error err;
	int code;

	if (s->json && s->table)
		return fail(EXIT_USAGE, "--json and --table exclude each other");
	answer = vhx_ctl_ask(path, "stats", &err);
	if (!answer)
		return fail(EXIT_FAILED, err.text);
	if (json_object_object_get_ex(answer, "error", &reason)) {
		vhx_error_set(&err, "%s: %s", path, json_object_get_string(reason));
		code = fail(EXIT_FAILED, err.text);
	} else {
		code = answer_print(s, answer);
	}
	json_object_put(answer);
	return code;
}

/* top */

static int top_run(const struct settings *s, const char *path)
{
	const struct vhx_ctl_top_config cfg = {
		.path = path,
		.interval_ms = s->interval_s * MS_PER_S,
		.count = s->count,
	};
	struct vhx_error err;

	return vhx_ctl_top(&cfg, &err) ? fail(EXIT_FAILED, err.text) : EXIT_OK;
}

/* trace */

static int trace_run(const struct settings *s, const char *path)
{
	const struct vhx_ctl_trace_config cfg = {
		.path = path,
		.file = s->write,
		.snap = (uint32_t)s->snap,
		.seconds = s->seconds,
	};
	struct vhx_error err;
	uint64_t written;

	if (!cfg.file)
		return fail(EXIT_USAGE, "trace needs -w FILE");
	if (vhx_ctl_trace(&cfg, &written, &err))
		return fail(EXIT_FAILED, err.text);
	fprintf(stderr, "%" PRIu64 " bytes\n", written);
	return EXIT_OK;
}

/* device */

static int device_add_run(const char *path, const char *spec)
{
	struct vhx_error err;

	return vhx_ctl_device_add(path, spec, &err) ? fail(EXIT_FAILED, err.text) : EXIT_OK;
}

static int device_remove_run(const char *path, const char *id)
{
	struct vhx_error err;

	return vhx_ctl_device_remove(path, id, &err) ? fail(EXIT_FAILED, err.text) : EXIT_OK;
}

/* peer */

static int peer_add_run(const char *path, const char *domain)
{
	struct vhx_error err;

	return vhx_ctl_peer_add(path, domain, &err) ? fail(EXIT_FAILED, err.text) : EXIT_OK;
}

static int peer_remove_run(const char *path, const char *domain)
{
	struct vhx_error err;

	return vhx_ctl_peer_remove(path, domain, &err) ? fail(EXIT_FAILED, err.text) : EXIT_OK;
}

/* reload */

static int reload_run(const char *path, const char *file)
{
	struct vhx_error err;

	return vhx_ctl_reload(path, file, &err) ? fail(EXIT_FAILED, err.text) : EXIT_OK;
}

static const struct command {
	const char *name, *verb; /* one word or two */
	int (*run)(const struct settings *s, const char *path);
	int (*change)(const char *path, const char *argument); /* instead: with one more operand */
	const char *argument; /* what that is */
	bool optional; /* it may be left out, and is NULL then */
} commands[] = {
	{ "stats", NULL, stats_run, NULL, NULL, false },
	{ "top", NULL, top_run, NULL, NULL, false },
	{ "trace", NULL, trace_run, NULL, NULL, false },
	{ "reload", NULL, NULL, reload_run, "file", true },
	{ "device", "add", NULL, device_add_run, "device, TYPE[,KEY=VALUE...],", false },
	{ "device", "remove", NULL, device_remove_run, "id", false },
	{ "peer", "add", NULL, peer_add_run, "number of the domain", false },
	{ "peer", "remove", NULL, peer_remove_run, "number of the domain", false },
};

/* *@known: another verb goes with this name. */
static const struct command *command_find(const char *name, const char *verb, bool *known)
{
	unsigned int i;

	*known = false;
	for (i = 0; i < VHX_ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		if (!commands[i].verb || (verb && !strcmp(commands[i].verb, verb)))
			return &commands[i];
		*known = true;
	}
	return NULL;
}

static int command_run(const struct settings *s, const struct command *command,
		       const char *const *operands, unsigned int cnt)
{
	unsigned int wanted = command->change ? 2 : 1;
	unsigned int least = wanted - command->optional;
	struct vhx_error err;

	if (!cnt)
		return fail(EXIT_USAGE, "the path of the control socket is missing");
	if (cnt < least) {
		vhx_error_set(&err, "the %s is missing", command->argument);
		return fail(EXIT_USAGE, err.text);
	}
	if (cnt > wanted) {
		vhx_error_set(&err, "one argument too many: '%s'", operands[wanted]);
		return fail(EXIT_USAGE, err.text);
	}
	return command->change ? command->change(operands[0], cnt > 1 ? operands[1] : NULL)
			       : command->run(s, operands[0]);
}

static int operands_run(const struct settings *s, const struct vhx_option_list *operands)
{
	const char *verb = operands->cnt > 1 ? operands->items[1] : NULL;
	const struct command *command;
	struct vhx_error err;
	unsigned int words;
	bool known;

	if (!operands->cnt)
		return fail(EXIT_USAGE, "which command? --help lists them");
	command = command_find(operands->items[0], verb, &known);
	if (!command) {
		vhx_error_set(&err, "unknown command '%s%s%s'; --help lists them",
			      operands->items[0], known && verb ? " " : "", known && verb ? verb : "");
		return fail(EXIT_USAGE, err.text);
	}
	words = command->verb ? 2 : 1;
	return command_run(s, command, operands->items + words, operands->cnt - words);
}

/* The short form that tcpdump and tshark have taught everybody. */
static void arguments_widen(char **argv)
{
	static char write[] = "--write";

	for (; *argv; argv++)
		if (!strcmp(*argv, "-w"))
			*argv = write;
}

int main(int argc, char **argv)
{
	struct vhx_option_list operands = { 0 };
	struct vhx_error err;
	int ret;

	arguments_widen(argv);
	ret = vhx_options_parse(&options, argc, argv, &settings, &operands, &err);
	if (ret < 0)
		return fail(EXIT_USAGE, err.text);
	if (ret == VHX_OPTIONS_HELP)
		vhx_options_help(&options, stdout);
	else if (ret == VHX_OPTIONS_VERSION)
		vhx_options_version(&options, stdout);
	else
		return operands_run(&settings, &operands);
	return fflush(stdout) ? fail(EXIT_FAILED, "cannot write to standard output") : EXIT_OK;
}
