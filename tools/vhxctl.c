// SPDX-License-Identifier: BSD-3-Clause
/* vhxctl: asks a running program through its control socket. */
#include "config/options.h"
#include "ctl/ask.h"
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
	.usage = "stats|top|trace PATH [OPTION...]",
	.summary = "Asks the vhx-backend or vhx-frontend whose --control is PATH: its counters "
		   "(stats),\n"
		   "a live screen of them (top), or a recording of its messages for Wireshark "
		   "(trace).",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
	.operands_max = 2,
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

static const struct command {
	const char *name;
	int (*run)(const struct settings *s, const char *path);
} commands[] = {
	{ "stats", stats_run },
	{ "top", top_run },
	{ "trace", trace_run },
};

static const struct command *command_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int operands_run(const struct settings *s, const struct vhx_option_list *operands)
{
	const struct command *command;
	struct vhx_error err;

	if (!operands->cnt)
		return fail(EXIT_USAGE, "which command? --help lists them");
	command = command_find(operands->items[0]);
	if (!command) {
		vhx_error_set(&err, "unknown command '%s'; --help lists them", operands->items[0]);
		return fail(EXIT_USAGE, err.text);
	}
	if (operands->cnt < 2)
		return fail(EXIT_USAGE, "the path of the control socket is missing");
	return command->run(s, operands->items[1]);
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
