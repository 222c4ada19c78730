// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/table.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"

#define COLUMNS_MAX 16

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

void vhx_ctl_cell(struct json_object *object, const char *key, char cell[VHX_CTL_CELL_MAX])
{
	struct json_object *value = NULL;
	const char *text = "-";

	if (json_object_is_type(object, json_type_object) &&
	    json_object_object_get_ex(object, key, &value) && value)
		text = json_object_get_string(value);
	snprintf(cell, VHX_CTL_CELL_MAX, "%s", text && *text ? text : "-");
	vhx_text_sanitise(cell);
}

static size_t column_width(const struct column *column, struct json_object *array)
{
	size_t width = strlen(column->title);
	char cell[VHX_CTL_CELL_MAX];
	size_t i;

	for (i = 0; i < json_object_array_length(array); i++) {
		vhx_ctl_cell(json_object_array_get_idx(array, i), column->key, cell);
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
	char cell[VHX_CTL_CELL_MAX];
	unsigned int c;
	size_t i;

	assert(cnt <= COLUMNS_MAX);
	for (c = 0; c < cnt; c++) {
		width[c] = column_width(&columns[c], array);
		cell_print(&columns[c], columns[c].title, width[c], c == cnt - 1);
	}
	for (i = 0; i < json_object_array_length(array); i++) {
		for (c = 0; c < cnt; c++) {
			vhx_ctl_cell(json_object_array_get_idx(array, i), columns[c].key, cell);
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

void vhx_ctl_stats_print(struct json_object *answer)
{
	char program[VHX_CTL_CELL_MAX], version[VHX_CTL_CELL_MAX], pid[VHX_CTL_CELL_MAX],
		memory[VHX_CTL_CELL_MAX];

	vhx_ctl_cell(answer, "program", program);
	vhx_ctl_cell(answer, "version", version);
	vhx_ctl_cell(answer, "pid", pid);
	vhx_ctl_cell(answer, "memory", memory);
	printf("%s %s, pid %s, %s bytes allocated\n", program, version, pid, memory);
	section_print(answer, "channels", channel_columns, VHX_ARRAY_SIZE(channel_columns));
	section_print(answer, "devices", device_columns, VHX_ARRAY_SIZE(device_columns));
}
