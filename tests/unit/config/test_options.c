// SPDX-License-Identifier: BSD-3-Clause
/* Command lines: what is stored where, and the one line that each kind of mistake gets. */
#include "config/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct settings {
	bool quiet;
	const char *control;
	uint64_t poll_us;
	uint64_t ring_size;
	int level;
	struct vhx_option_list devices;
};

static const struct vhx_choice levels[] = { { "error", 3 }, { "info", 6 }, { NULL, 0 } };

#define FIELD(member) offsetof(struct settings, member)

static const struct vhx_option rows[] = {
	{ "quiet", NULL, "say less", VHX_OPTION_FLAG, FIELD(quiet), .letter = 'q' },
	{ "control", "PATH", "control socket", VHX_OPTION_STRING, FIELD(control) },
	{ "poll-us", "N", "spin", VHX_OPTION_NUMBER, FIELD(poll_us), .bounds = { 0, 1000 },
	  .letter = 'p' },
	{ "ring-size", "SIZE", "ring\nsecond line", VHX_OPTION_SIZE, FIELD(ring_size),
	  .bounds = { 16 << 10, 64 << 20, true } },
	{ "log-level", "LEVEL", "level", VHX_OPTION_CHOICE, FIELD(level), .choices = levels },
	{ "device", "SPEC", "a device", VHX_OPTION_LIST, FIELD(devices) },
	{ "a-name-that-is-quite-long", "VALUE", "text", VHX_OPTION_STRING, FIELD(control) },
};

static const struct vhx_options options = {
	.program = "vhx-test",
	.usage = "[options] [NAME]",
	.summary = "Tests.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
	.operands_max = 1,
};

static struct settings into;
static struct vhx_option_list operands;
static struct vhx_error error;

/* Parses a NULL-terminated line. */
static int parse(const char *const *words)
{
	char *argv[16] = { (char *)"vhx-test" };
	int argc = 1;

	while (*words && argc < 16)
		argv[argc++] = (char *)*words++;
	memset(&into, 0, sizeof(into));
	memset(&operands, 0, sizeof(operands));
	error.text[0] = '\0';
	return vhx_options_parse(&options, argc, argv, &into, &operands, &error);
}

#define LINE(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_every_kind_is_stored(void **state)
{
	const char *const *line = LINE("--quiet", "--control", "/c", "--poll-us=20", "--ring-size",
				       "512K", "--log-level=info", "--device=a", "--device", "b");

	assert_int_equal(parse(line), 0);
	assert_true(into.quiet);
	assert_string_equal(into.control, "/c");
	assert_int_equal(into.poll_us, 20);
	assert_int_equal(into.ring_size, 512 << 10);
	assert_int_equal(into.level, 6);
	assert_int_equal(into.devices.cnt, 2);
	assert_string_equal(into.devices.items[0], "a");
	assert_string_equal(into.devices.items[1], "b");
}

static void test_a_letter_stands_for_its_name(void **state)
{
	assert_int_equal(parse(LINE("-p", "20", "-q", "x")), 0);
	assert_true(into.quiet);
	assert_int_equal(into.poll_us, 20);
	assert_string_equal(operands.items[0], "x");
}

static void test_value_may_hold_equals_and_dashes(void **state)
{
	assert_int_equal(parse(LINE("--device=blk,file=x", "--control", "--odd")), 0);
	assert_string_equal(into.devices.items[0], "blk,file=x");
	assert_string_equal(into.control, "--odd");
}

static void test_double_dash_ends_options(void **state)
{
	assert_int_equal(parse(LINE("--", "--quiet")), 0);
	assert_false(into.quiet);
	assert_int_equal(operands.cnt, 1);
	assert_string_equal(operands.items[0], "--quiet");
}

static void test_single_dash_is_an_operand(void **state)
{
	assert_int_equal(parse(LINE("-")), 0);
	assert_string_equal(operands.items[0], "-");
}

static void test_help_and_version_win_over_later_faults(void **state)
{
	assert_int_equal(parse(LINE("--help", "--nonsense")), VHX_OPTIONS_HELP);
	assert_int_equal(parse(LINE("--version", "--nonsense")), VHX_OPTIONS_VERSION);
}

static const struct {
	const char *line[4];
	int ret;
	const char *text;
} faults[] = {
	{ { "--contrl", "x" }, -EINVAL, "unknown option --contrl; did you mean --control?" },
	{ { "--dev=x" }, -EINVAL, "unknown option --dev; did you mean --device?" },
	{ { "--wibble=3" }, -EINVAL, "unknown option --wibble; --help lists them" },
	{ { "-help" }, -EINVAL, "unknown option -help; did you mean --help?" },
	{ { "-x" }, -EINVAL, "unknown option -x; --help lists them" },
	{ { "-qp" }, -EINVAL, "unknown option -qp; --help lists them" },
	{ { "-p" }, -EINVAL, "--poll-us needs a value (N)" },
	{ { "-q", "--quiet" }, -EINVAL, "--quiet: given twice" },
	{ { "--=x" }, -EINVAL, "unknown option --; --help lists them" },
	{ { "--b\nad" }, -EINVAL, "unknown option --b?ad; --help lists them" },
	{ { "--quiet=yes" }, -EINVAL, "--quiet takes no value" },
	{ { "--help=yes" }, -EINVAL, "--help takes no value" },
	{ { "--control" }, -EINVAL, "--control needs a value (PATH)" },
	{ { "--control=" }, -EINVAL, "--control needs a value (PATH)" },
	{ { "--control", "" }, -EINVAL, "--control needs a value (PATH)" },
	{ { "--control=a", "--control=b" }, -EINVAL, "--control: given twice" },
	{ { "--quiet", "--quiet" }, -EINVAL, "--quiet: given twice" },
	{ { "--poll-us=x" }, -EINVAL, "--poll-us: 'x' is not a number" },
	{ { "--poll-us=-1" }, -EINVAL, "--poll-us: '-1' is not a number" },
	{ { "--poll-us=1k" }, -EINVAL, "--poll-us: '1k' is not a number" },
	{ { "--poll-us=1001" }, -ERANGE, "--poll-us: must be at most 1000" },
	{ { "--poll-us=99999999999999999999" },
	  -ERANGE,
	  "--poll-us: '99999999999999999999' is too large" },
	{ { "--ring-size=1X" },
	  -EINVAL,
	  "--ring-size: '1X' is not a size (a number, optionally with K, M, G or T)" },
	{ { "--ring-size=1KB" },
	  -EINVAL,
	  "--ring-size: '1KB' is not a size (a number, optionally with K, M, G or T)" },
	{ { "--ring-size=4K" }, -ERANGE, "--ring-size: must be at least 16K" },
	{ { "--ring-size=1G" }, -ERANGE, "--ring-size: must be at most 64M" },
	{ { "--ring-size=48K" }, -EINVAL, "--ring-size: must be a power of two" },
	{ { "--ring-size=99999999999T" }, -ERANGE, "--ring-size: '99999999999T' is too large" },
	{ { "--log-level=loud" }, -EINVAL, "--log-level: 'loud' is none of error, info" },
	{ { "one", "two" }, -EINVAL, "unexpected argument 'two'" },
};

static void test_every_fault_has_its_line(void **state)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(faults); i++) {
		assert_int_equal(parse(faults[i].line), faults[i].ret);
		assert_string_equal(error.text, faults[i].text);
	}
}

static void test_list_is_bounded(void **state)
{
	char *argv[VHX_OPTION_LIST_MAX + 2];
	int i;

	memset(&into, 0, sizeof(into));
	for (i = 0; i < (int)VHX_ARRAY_SIZE(argv); i++)
		argv[i] = (char *)"--device=x";
	assert_int_equal(vhx_options_parse(&options, i, argv, &into, NULL, &error), -E2BIG);
	assert_string_equal(error.text, "--device: given more than 64 times");
	assert_int_equal(into.devices.cnt, VHX_OPTION_LIST_MAX);
}

static void test_huge_option_name(void **state)
{
	char word[8192];

	memset(word, 'x', sizeof(word) - 1);
	word[0] = word[1] = '-';
	word[sizeof(word) - 1] = '\0';
	assert_int_equal(parse(LINE(word)), -EINVAL);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

static void test_help_text_comes_from_the_table(void **state)
{
	static const char expected[] = "Usage: vhx-test [options] [NAME]\n"
				       "Tests.\n"
				       "\n"
				       "Options:\n"
				       "  --quiet, -q               say less\n"
				       "  --control PATH            control socket\n"
				       "  --poll-us, -p N           spin\n"
				       "  --ring-size SIZE          ring\n"
				       "                            second line\n"
				       "  --log-level LEVEL         level\n"
				       "  --device SPEC             a device\n"
				       "  --a-name-that-is-quite-long VALUE\n"
				       "                            text\n"
				       "  --help                    print this text\n"
				       "  --version                 print the version\n";
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	vhx_options_help(&options, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void test_version_text(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	vhx_options_version(&options, out);
	fclose(out);
	assert_string_equal(text, "vhx-test (virtio-hmx) " VHX_VERSION "\n");
	free(text);
}

static void test_sizes_read_back_as_written(void **state)
{
	static const uint64_t sizes[] = {
		0, 1, 1000, 1024, 1536, 1ull << 20, 3ull << 30, 1ull << 62
	};
	static const struct vhx_number_bounds any = { .max = UINT64_MAX };
	char text[VHX_SIZE_TEXT_MAX];
	uint64_t back;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(sizes); i++) {
		assert_int_equal(
			vhx_size_parse(vhx_size_format(sizes[i], text), &any, &back, &error), 0);
		assert_true(back == sizes[i]);
	}
	assert_string_equal(vhx_size_format(1536, text), "1536");
	assert_string_equal(vhx_size_format(64 << 10, text), "64K");
}

static void test_size_suffix_either_case(void **state)
{
	static const struct vhx_number_bounds any = { .max = UINT64_MAX };
	uint64_t v;

	assert_int_equal(vhx_size_parse("2m", &any, &v, &error), 0);
	assert_int_equal(v, 2 << 20);
	assert_int_equal(vhx_size_parse("7", &any, &v, &error), 0);
	assert_int_equal(v, 7);
	assert_int_equal(vhx_size_parse("", &any, &v, &error), -EINVAL);
	assert_int_equal(vhx_size_parse("K", &any, &v, &error), -EINVAL);
	assert_int_equal(vhx_size_parse("1\x0b", &any, &v, &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_is_stored),
		cmocka_unit_test(test_a_letter_stands_for_its_name),
		cmocka_unit_test(test_value_may_hold_equals_and_dashes),
		cmocka_unit_test(test_double_dash_ends_options),
		cmocka_unit_test(test_single_dash_is_an_operand),
		cmocka_unit_test(test_help_and_version_win_over_later_faults),
		cmocka_unit_test(test_every_fault_has_its_line),
		cmocka_unit_test(test_list_is_bounded),
		cmocka_unit_test(test_huge_option_name),
		cmocka_unit_test(test_help_text_comes_from_the_table),
		cmocka_unit_test(test_version_text),
		cmocka_unit_test(test_sizes_read_back_as_written),
		cmocka_unit_test(test_size_suffix_either_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
