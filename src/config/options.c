// SPDX-License-Identifier: BSD-3-Clause
#include "config/options.h"

#include "config/nearest.h"

#include <string.h>

/* The value column of --help starts here; longer option names get a line of their own. */
#define HELP_COLUMN 28

static const struct vhx_option common_rows[] = {
	{ .name = "help", .help = "print this text" },
	{ .name = "version", .help = "print the version" },
};

/* What vhx_options_parse() knows while it walks argv. */
struct walk {
	const struct vhx_options *options;
	char *const *argv;
	int argc;
	int next; /* index in argv of what was not looked at yet */
	char *into;
	uint64_t seen; /* rows that were given */
	struct vhx_error *err;
};

/* The program's rows first, then the common ones. */
static const struct vhx_option *row_at(const struct vhx_options *o, unsigned int i)
{
	return i < o->rows_cnt ? &o->rows[i] : &common_rows[i - o->rows_cnt];
}

static unsigned int rows_total(const struct vhx_options *o)
{
	return o->rows_cnt + (unsigned int)VHX_ARRAY_SIZE(common_rows);
}

static const char *row_name(const void *table, unsigned int i)
{
	return row_at(table, i)->name;
}

static const struct vhx_option *row_find(const struct vhx_options *o, const char *name, size_t len,
					 unsigned int *index)
{
	unsigned int i;

	for (i = 0; i < rows_total(o); i++) {
		const struct vhx_option *row = row_at(o, i);

		if (strlen(row->name) == len && !memcmp(row->name, name, len)) {
			*index = i;
			return row;
		}
	}
	return NULL;
}

static const struct vhx_option *letter_find(const struct vhx_options *o, char letter,
					    unsigned int *index)
{
	for (*index = 0; *index < o->rows_cnt; ++*index) {
		if (o->rows[*index].letter == letter)
			return &o->rows[*index];
	}
	return NULL;
}

static int unknown_option(const struct walk *w, const char *arg, const char *name, size_t len)
{
	char word[64];
	const char *near = NULL;

	if (len < sizeof(word)) {
		memcpy(word, name, len);
		word[len] = '\0';
		near = vhx_word_nearest(word, row_name, w->options, rows_total(w->options));
	}
	if (near)
		vhx_error_set(w->err, "unknown option %.*s; did you mean --%s?",
			      (int)(name - arg + (ptrdiff_t)len), arg, near);
	else
		vhx_error_set(w->err, "unknown option %.*s; --help lists them",
			      (int)(name - arg + (ptrdiff_t)len), arg);
	return -EINVAL;
}

int vhx_choice_parse(const char *text, const struct vhx_choice *choices, int *value,
		     struct vhx_error *err)
{
	const struct vhx_choice *c;
	char list[128] = "";
	size_t len = 0;

	for (c = choices; c->name; c++) {
		if (!strcmp(c->name, text)) {
			*value = c->value;
			return 0;
		}
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
						len ? ", " : "", c->name);
	}
	vhx_error_set(err, "'%s' is none of %s", text, list);
	return -EINVAL;
}

static int list_add(struct vhx_option_list *list, unsigned int max, const char *value,
		    struct vhx_error *err)
{
	if (list->cnt >= max) {
		vhx_error_set(err, "given more than %u times", max);
		return -E2BIG;
	}
	list->items[list->cnt++] = value;
	return 0;
}

static int store_flag(const struct vhx_option *row, void *field, const char *value,
		      struct vhx_error *err)
{
	*(bool *)field = true;
	return 0;
}

static int store_string(const struct vhx_option *row, void *field, const char *value,
			struct vhx_error *err)
{
	*(const char **)field = value;
	return 0;
}

static int store_number(const struct vhx_option *row, void *field, const char *value,
			struct vhx_error *err)
{
	return vhx_number_parse(value, &row->bounds, field, err);
}

static int store_size(const struct vhx_option *row, void *field, const char *value,
		      struct vhx_error *err)
{
	return vhx_size_parse(value, &row->bounds, field, err);
}

static int store_choice(const struct vhx_option *row, void *field, const char *value,
			struct vhx_error *err)
{
	return vhx_choice_parse(value, row->choices, field, err);
}

static int store_list(const struct vhx_option *row, void *field, const char *value,
		      struct vhx_error *err)
{
	return list_add(field, VHX_OPTION_LIST_MAX, value, err);
}

static int (*const store[])(const struct vhx_option *row, void *field, const char *value,
			    struct vhx_error *err) = {
	[VHX_OPTION_FLAG] = store_flag,	    [VHX_OPTION_STRING] = store_string,
	[VHX_OPTION_NUMBER] = store_number, [VHX_OPTION_SIZE] = store_size,
	[VHX_OPTION_CHOICE] = store_choice, [VHX_OPTION_LIST] = store_list,
};

/* Finds the value of @row: behind '=' (@inline_value) or the next argument. */
static int value_take(struct walk *w, const struct vhx_option *row, const char *inline_value,
		      const char **value)
{
	*value = inline_value;
	if (row->kind == VHX_OPTION_FLAG) {
		if (!inline_value)
			return 0;
		vhx_error_set(w->err, "--%s takes no value", row->name);
		return -EINVAL;
	}
	if (!inline_value && w->next < w->argc)
		*value = w->argv[w->next++];
	if (*value && **value)
		return 0;
	vhx_error_set(w->err, "--%s needs a value (%s)", row->name, row->metavar);
	return -EINVAL;
}

static int option_repeat_check(struct walk *w, const struct vhx_option *row, unsigned int index)
{
	uint64_t bit = 1ull << index;

	if (w->seen & bit && row->kind != VHX_OPTION_LIST) {
		vhx_error_set(w->err, "--%s: given twice", row->name);
		return -EINVAL;
	}
	w->seen |= bit;
	return 0;
}

static int option_store(struct walk *w, const struct vhx_option *row, unsigned int index,
			const char *inline_value)
{
	const char *value;
	int ret;

	ret = option_repeat_check(w, row, index);
	if (ret)
		return ret;
	ret = value_take(w, row, inline_value, &value);
	if (ret)
		return ret;
	ret = store[row->kind](row, w->into + row->offset, value, w->err);
	if (ret)
		vhx_error_prefix(w->err, "--%s", row->name);
	return ret;
}

/* @arg starts with a dash and is not "--" alone. */
static int option_parse(struct walk *w, const char *arg)
{
	const char *name = arg + (arg[1] == '-' ? 2 : 1);
	size_t len = strcspn(name, "=");
	const struct vhx_option *row = NULL;
	unsigned int index = 0;

	if (arg[1] == '-')
		row = row_find(w->options, name, len, &index);
	else if (!arg[2])
		row = letter_find(w->options, arg[1], &index);
	if (!row)
		return unknown_option(w, arg, name, len);
	if (row == &common_rows[0] && !name[len])
		return VHX_OPTIONS_HELP;
	if (row == &common_rows[1] && !name[len])
		return VHX_OPTIONS_VERSION;
	return option_store(w, row, index, name[len] ? name + len + 1 : NULL);
}

int vhx_options_set(const struct vhx_options *options, const char *name, const char *value,
		    void *into, uint64_t *seen, struct vhx_error *err)
{
	struct walk w = { .options = options, .into = into, .seen = *seen, .err = err };
	const struct vhx_option *row;
	unsigned int index;
	int ret;

	row = row_find(options, name, strlen(name), &index);
	if (!row)
		return unknown_option(&w, name, name, strlen(name));
	if (index >= options->rows_cnt || row->traits & VHX_OPTION_COMMAND_LINE) {
		vhx_error_set(err, "%s: only for the command line", name);
		return -EINVAL;
	}
	ret = option_store(&w, row, index, value);
	*seen = w.seen;
	return ret;
}

static bool text_differs(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) : a != b;
}

static bool list_differs(const struct vhx_option_list *a, const struct vhx_option_list *b)
{
	unsigned int i;

	if (a->cnt != b->cnt)
		return true;
	for (i = 0; i < a->cnt; i++) {
		if (strcmp(a->items[i], b->items[i]))
			return true;
	}
	return false;
}

bool vhx_option_differs(const struct vhx_option *row, const void *a, const void *b)
{
	const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;

	switch (row->kind) {
	case VHX_OPTION_FLAG:
		return *(const bool *)x != *(const bool *)y;
	case VHX_OPTION_STRING:
		return text_differs(*(const char *const *)x, *(const char *const *)y);
	case VHX_OPTION_CHOICE:
		return *(const int *)x != *(const int *)y;
	case VHX_OPTION_LIST:
		return list_differs((const void *)x, (const void *)y);
	default:
		return *(const uint64_t *)x != *(const uint64_t *)y;
	}
}

static int operand_add(struct walk *w, struct vhx_option_list *operands, const char *arg)
{
	if (operands && operands->cnt < w->options->operands_max)
		return list_add(operands, VHX_OPTION_LIST_MAX, arg, w->err);
	vhx_error_set(w->err, "unexpected argument '%s'", arg);
	return -EINVAL;
}

int vhx_options_parse(const struct vhx_options *options, int argc, char *const argv[], void *into,
		      struct vhx_option_list *operands, struct vhx_error *err)
{
	struct walk w = { options, argv, argc, 1, into, 0, err };
	bool only_operands = false;
	int ret = 0;

	assert(rows_total(options) <= VHX_OPTION_ROWS_MAX);
	while (!ret && w.next < argc) {
		const char *arg = argv[w.next++];

		if (only_operands || arg[0] != '-' || !arg[1])
			ret = operand_add(&w, operands, arg);
		else if (!strcmp(arg, "--"))
			only_operands = true;
		else
			ret = option_parse(&w, arg);
	}
	return ret;
}

/* Column where a row's text starts, or more when its name is long. */
static int help_label(const struct vhx_option *row, FILE *out)
{
	int column = fprintf(out, "  --%s", row->name);

	if (row->letter)
		column += fprintf(out, ", -%c", row->letter);
	if (row->metavar)
		column += fprintf(out, " %s", row->metavar);
	return column;
}

static void help_row(const struct vhx_option *row, FILE *out)
{
	const char *line = row->help;
	int column = help_label(row, out);

	if (column >= HELP_COLUMN) {
		fputc('\n', out);
		column = 0;
	}
	while (*line) {
		int len = (int)strcspn(line, "\n");

		fprintf(out, "%*s%.*s\n", HELP_COLUMN - column, "", len, line);
		column = 0;
		line += len + (line[len] == '\n');
	}
}

void vhx_options_help(const struct vhx_options *options, FILE *out)
{
	unsigned int i;

	fprintf(out, "Usage: %s %s\n%s\n\nOptions:\n", options->program, options->usage,
		options->summary);
	for (i = 0; i < rows_total(options); i++)
		help_row(row_at(options, i), out);
	if (options->help_more)
		options->help_more(out);
}

void vhx_options_version(const struct vhx_options *options, FILE *out)
{
	fprintf(out, "%s (virtio-hmx) %s\n", options->program, VHX_VERSION);
}
