/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Command lines, driven by a table: one row per option says its name, what its value is, and where
 * in the program's own struct it goes. `--help` and `--version` belong to every program and need no
 * row.
 *
 *   --name value   --name=value   --flag   -l   --      the last ends the options
 *
 * Nothing is copied: strings point into argv. Defaults are what the struct held before. A value is
 * stored as soon as it is read, so after a failure the struct holds whatever came before the fault.
 */
#ifndef VHX_CONFIG_OPTIONS_H
#define VHX_CONFIG_OPTIONS_H

#include <stdio.h>

#include "config/number.h"
#include "util/base.h"
#include "util/error.h"

/* More devices, sockets or operands than one process is meant to serve. */
#define VHX_OPTION_LIST_MAX 64u
/* Rows of one table; "given twice" is remembered in a 64-bit map. */
#define VHX_OPTION_ROWS_MAX 64u

enum vhx_option_kind {
	VHX_OPTION_FLAG, /* bool, set to true; takes no value */
	VHX_OPTION_STRING, /* const char * */
	VHX_OPTION_NUMBER, /* uint64_t within bounds */
	VHX_OPTION_SIZE, /* uint64_t bytes within bounds, with suffixes */
	VHX_OPTION_CHOICE, /* int, the value of the choice */
	VHX_OPTION_LIST, /* struct vhx_option_list; may be given again and again */
};

/* A word and what it stands for; a table ends with a NULL name. */
struct vhx_choice {
	const char *name;
	int value;
};

struct vhx_option_list {
	const char *items[VHX_OPTION_LIST_MAX];
	unsigned int cnt;
};

/* What a row may be marked with. */
enum vhx_option_trait {
	VHX_OPTION_COMMAND_LINE = 1 << 0, /* has no place in a configuration file */
	VHX_OPTION_LIVE = 1 << 1, /* can change while the program runs */
	VHX_OPTION_LIVE_KEYS = 1 << 2, /* of a socket: who may connect can */
};

struct vhx_option {
	const char *name; /* without the dashes */
	const char *metavar; /* NULL for flags */
	const char *help; /* one or more lines, separated by \n */
	enum vhx_option_kind kind;
	size_t offset; /* of the field in the program's struct */
	struct vhx_number_bounds bounds; /* numbers and sizes */
	const struct vhx_choice *choices; /* choices */
	unsigned int traits; /* enum vhx_option_trait, or'ed */
	char letter; /* -l is the same as the name; 0: there is none */
};

struct vhx_options {
	const char *program; /* "vhx-backend" */
	const char *usage; /* what follows the name: "--listen unix:PATH --device SPEC" */
	const char *summary; /* one sentence for --help */
	const struct vhx_option *rows;
	unsigned int rows_cnt;
	void (*help_more)(FILE *out); /* what --help ends with; may be NULL */
	unsigned int operands_max; /* arguments that are no options; 0: none are taken */
};

/* Positive results of vhx_options_parse(): the user wants text, not work. */
enum vhx_options_result {
	VHX_OPTIONS_HELP = 1,
	VHX_OPTIONS_VERSION = 2,
};

/*
 * Reads argv[1..argc) into the struct at @into. @operands collects what is no option, and may be
 * NULL where operands_max is 0. 0; one of the above, at once, whatever else is on the line behind
 * it; or -EINVAL, -ERANGE, -E2BIG with one line in @err.
 */
int vhx_options_parse(const struct vhx_options *options, int argc, char *const argv[], void *into,
		      struct vhx_option_list *operands, struct vhx_error *err);

/*
 * One option by its name, as a configuration file has it: @value is NULL where there was none, and stays valid. @seen
 * remembers what was given, and is 0 before the first. Errors as above.
 */
int vhx_options_set(const struct vhx_options *options, const char *name, const char *value,
		    void *into, uint64_t *seen, struct vhx_error *err);

/* Has the option of @row another value in the struct at @a than in that at @b? */
bool vhx_option_differs(const struct vhx_option *row, const void *a, const void *b);

/* The two texts, written to the stream that the program names. */
void vhx_options_help(const struct vhx_options *options, FILE *out);
void vhx_options_version(const struct vhx_options *options, FILE *out);

/* The value of @text in @choices: 0, or -EINVAL with a text that lists them. */
int vhx_choice_parse(const char *text, const struct vhx_choice *choices, int *value,
		     struct vhx_error *err);

#endif
