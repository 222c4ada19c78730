// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhxctl: asks a running program through its control socket.
 *
 * The answer comes from a process that may be another user's or broken: its size and the time it
 * takes are bounded, its JSON is checked before any of it is shown, and control characters never
 * reach a terminal.
 */
#include "config/options.h"
#include "util/unix_socket.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* As large as any answer of ours (VHX_CONTROL_REPLY_MAX), with its newline and a NUL. */
#define REPLY_MAX ((1u << 20) + 2)
/* A little more than the program's own bound, so that its answer wins. */
#define TIMEOUT_MS 6000
/* Columns and text of one cell; longer text is cut. */
#define COLUMNS_MAX 16
#define CELL_MAX 64

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1, /* nobody there, or no good answer */
	EXIT_USAGE = 2,
};

struct settings {
	bool json;
	bool table;
};

static const struct vhx_option rows[] = {
	{ "json", NULL, "one JSON object, as the program sent it\n(default if not to a terminal)",
	  VHX_OPTION_FLAG, offsetof(struct settings, json) },
	{ "table", NULL, "tables for people (default on a terminal)", VHX_OPTION_FLAG,
	  offsetof(struct settings, table) },
};

static const struct vhx_options options = {
	.program = "vhxctl",
	.usage = "stats PATH [--json | --table]",
	.summary = "Shows the counters of the vhx-backend or vhx-frontend whose --control is PATH.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
	.operands_max = 2,
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Waits for @events on @fd until @deadline. 0, or -ETIMEDOUT. */
static int fd_wait(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = now_ms();
	int ret;

	ret = now < deadline ? poll(&p, 1, (int)(deadline - now)) : 0;
	if (ret < 0 && errno != EINTR)
		return -errno;
	return ret || now_ms() < deadline ? 0 : -ETIMEDOUT;
}

/* A short request fits the empty buffer of a fresh socket: it goes whole or the peer is gone. */
static int request_send(int fd, const char *command)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "{\"command\":\"%s\"}\n", command);
	ssize_t n = send(fd, line, (size_t)len, MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	return n == len ? 0 : -EIO;
}

/* Everything up to the end of the stream, with a NUL, in @buf of REPLY_MAX bytes. */
static int reply_receive(int fd, char *buf)
{
	uint64_t deadline = now_ms() + TIMEOUT_MS;
	size_t len = 0;
	int ret;

	while (len < REPLY_MAX - 1) {
		ssize_t n = recv(fd, buf + len, REPLY_MAX - 1 - len, 0);

		if (!n) {
			buf[len] = '\0';
			return len ? 0 : -ECONNRESET;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
		ret = n < 0 ? fd_wait(fd, POLLIN, deadline) : 0;
		if (ret)
			return ret;
	}
	return -EMSGSIZE;
}

/* A server whose backlog is full is busy, not gone: a few more tries within the time. */
static int control_connect(const char *path, struct vhx_error *err)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t deadline = now_ms() + TIMEOUT_MS;
	int fd;

	while ((fd = vhx_unix_connect(path, SOCK_STREAM, err)) == -EAGAIN && now_ms() < deadline)
		nanosleep(&pause, NULL);
	return fd;
}

static int answer_receive(int fd, const char *command, char *buf)
{
	int ret = request_send(fd, command);

	return ret ? ret : reply_receive(fd, buf);
}

/* NULL with a text: not JSON, or no object. */
static struct json_object *answer_parse(const char *path, const char *text, struct vhx_error *err)
{
	struct json_object *answer = json_tokener_parse(text);

	if (json_object_is_type(answer, json_type_object))
		return answer;
	json_object_put(answer);
	vhx_error_set(err, "%s: the answer is not a JSON object", path);
	return NULL;
}

/* The object that the program answered, to be put; NULL with a text. */
static struct json_object *control_ask(const char *path, const char *command, struct vhx_error *err)
{
	static char reply[REPLY_MAX];
	int fd = control_connect(path, err);
	int ret;

	if (fd < 0)
		return NULL;
	ret = answer_receive(fd, command, reply);
	close(fd);
	if (!ret)
		return answer_parse(path, reply, err);
	vhx_error_set(err, "%s: %s", path, strerror(-ret));
	return NULL;
}

/*
 * Tables
 */

struct column {
	const char *key; /* in the objects of the array */
	const char *title;
	bool number; /* aligned to the right */
};

static const struct column channel_columns[] = {
	{ "peer", "PEER" },
	{ "provider", "PROVIDER" },
	{ "state", "STATE" },
	{ "tx_messages", "TX MSGS", true },
	{ "rx_messages", "RX MSGS", true },
	{ "tx_bytes", "TX BYTES", true },
	{ "rx_bytes", "RX BYTES", true },
	{ "sends", "SENDS", true },
	{ "wakes_sent", "WAKES TX", true },
	{ "wakes_taken", "WAKES RX", true },
	{ "would_blocks", "BLOCKED", true },
	{ "credits_sent", "CREDITS", true },
};

static const struct column device_columns[] = {
	{ "id", "DEVICE" },
	{ "type", "TYPE" },
	{ "state", "STATE" },
	{ "requests", "REQUESTS", true },
	{ "completed", "COMPLETED", true },
	{ "errors", "ERRORS", true },
	{ "bytes_out", "BYTES OUT", true },
	{ "bytes_in", "BYTES IN", true },
	{ "bytes_copied", "COPIED", true },
	{ "replays", "REPLAYS", true },
};

/* What @object has under @key, as text for a terminal; "-" for nothing. */
static void cell_format(struct json_object *object, const char *key, char cell[CELL_MAX])
{
	struct json_object *value = NULL;
	const char *text = "-";

	if (json_object_is_type(object, json_type_object) &&
	    json_object_object_get_ex(object, key, &value) && value)
		text = json_object_get_string(value);
	snprintf(cell, CELL_MAX, "%s", text && *text ? text : "-");
	vhx_text_sanitise(cell);
}

static size_t column_width(const struct column *column, struct json_object *array)
{
	size_t width = strlen(column->title);
	char cell[CELL_MAX];
	size_t i;

	for (i = 0; i < json_object_array_length(array); i++) {
		cell_format(json_object_array_get_idx(array, i), column->key, cell);
		if (strlen(cell) > width)
			width = strlen(cell);
	}
	return width;
}

/* Two spaces between columns, none at the end of a line. */
static void cell_print(const struct column *column, const char *text, size_t width, bool last)
{
	if (column->number)
		printf("%*s", (int)width, text);
	else
		printf("%-*s", last ? 0 : (int)width, text);
	fputs(last ? "\n" : "  ", stdout);
}

static void table_print(const struct column *columns, unsigned int cnt, struct json_object *array)
{
	size_t width[COLUMNS_MAX];
	char cell[CELL_MAX];
	unsigned int c;
	size_t i;

	assert(cnt <= COLUMNS_MAX);
	for (c = 0; c < cnt; c++) {
		width[c] = column_width(&columns[c], array);
		cell_print(&columns[c], columns[c].title, width[c], c == cnt - 1);
	}
	for (i = 0; i < json_object_array_length(array); i++) {
		for (c = 0; c < cnt; c++) {
			cell_format(json_object_array_get_idx(array, i), columns[c].key, cell);
			cell_print(&columns[c], cell, width[c], c == cnt - 1);
		}
	}
}

/* The array @name as a table, if there is anything in it. */
static void section_print(struct json_object *answer, const char *name,
			  const struct column *columns, unsigned int cnt)
{
	struct json_object *array = NULL;

	if (!json_object_object_get_ex(answer, name, &array) ||
	    !json_object_is_type(array, json_type_array) || !json_object_array_length(array))
		return;
	putchar('\n');
	table_print(columns, cnt, array);
}

static void stats_print(struct json_object *answer)
{
	char program[CELL_MAX], version[CELL_MAX], pid[CELL_MAX], memory[CELL_MAX];

	cell_format(answer, "program", program);
	cell_format(answer, "version", version);
	cell_format(answer, "pid", pid);
	cell_format(answer, "memory", memory);
	printf("%s %s, pid %s, %s bytes allocated\n", program, version, pid, memory);
	section_print(answer, "channels", channel_columns, VHX_ARRAY_SIZE(channel_columns));
	section_print(answer, "devices", device_columns, VHX_ARRAY_SIZE(device_columns));
}

static void json_print(struct json_object *answer)
{
	puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

/*
 * Commands
 */

struct command {
	const char *name; /* also what the program is asked */
	void (*print)(struct json_object *answer); /* for people */
};

static const struct command commands[] = {
	{ "stats", stats_print },
};

static const struct command *command_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int fail(int code, const char *text)
{
	fprintf(stderr, "vhxctl: %s\n", text);
	return code;
}

static int answer_print(const struct settings *s, const struct command *command,
			struct json_object *answer)
{
	if (s->json || (!s->table && !isatty(STDOUT_FILENO)))
		json_print(answer);
	else
		command->print(answer);
	if (fflush(stdout) || ferror(stdout))
		return fail(EXIT_FAILED, "cannot write to standard output");
	return EXIT_OK;
}

static int command_run(const struct settings *s, const struct command *command, const char *path)
{
	struct json_object *answer, *reason = NULL;
	struct vhx_error err;
	int code;

	answer = control_ask(path, command->name, &err);
	if (!answer)
		return fail(EXIT_FAILED, err.text);
	if (json_object_object_get_ex(answer, "error", &reason)) {
		vhx_error_set(&err, "%s: %s", path, json_object_get_string(reason));
		code = fail(EXIT_FAILED, err.text);
	} else {
		code = answer_print(s, command, answer);
	}
	json_object_put(answer);
	return code;
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
	if (s->json && s->table)
		return fail(EXIT_USAGE, "--json and --table exclude each other");
	return command_run(s, command, operands->items[1]);
}

int main(int argc, char **argv)
{
	struct vhx_option_list operands = { 0 };
	struct settings s = { 0 };
	struct vhx_error err;
	int ret;

	ret = vhx_options_parse(&options, argc, argv, &s, &operands, &err);
	if (ret < 0)
		return fail(EXIT_USAGE, err.text);
	if (ret == VHX_OPTIONS_HELP)
		vhx_options_help(&options, stdout);
	else if (ret == VHX_OPTIONS_VERSION)
		vhx_options_version(&options, stdout);
	else
		return operands_run(&s, &operands);
	return fflush(stdout) ? fail(EXIT_FAILED, "cannot write to standard output") : EXIT_OK;
}
