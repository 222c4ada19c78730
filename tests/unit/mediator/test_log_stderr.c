// SPDX-License-Identifier: BSD-3-Clause
/* The programs' log sink, on a pipe in place of standard error. */
#include "mediator/log_stderr.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	int read_fd, write_fd;
	struct vhx_log_stderr sink;
	char text[4096];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fds[2];

	if (!f || pipe2(fds, O_CLOEXEC))
		return -1;
	f->read_fd = fds[0];
	f->write_fd = fds[1];
	fcntl(f->read_fd, F_SETFL, O_NONBLOCK);
	unsetenv("JOURNAL_STREAM");
	vhx_log_stderr_init(&f->sink, "vhx-test", VHX_LOG_INFO);
	f->sink.fd = f->write_fd;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->read_fd);
	close(f->write_fd);
	free(f);
	return 0;
}

static const char *written(struct fixture *f)
{
	ssize_t n = read(f->read_fd, f->text, sizeof(f->text) - 1);

	f->text[n > 0 ? n : 0] = '\0';
	return f->text;
}

static void test_one_line_per_record(void **state)
{
	struct fixture *f = *state;

	vhx_log(&f->sink.log, VHX_LOG_INFO, "disk0: %s", "ready");
	vhx_log(&f->sink.log, VHX_LOG_DEBUG, "not wanted");
	vhx_log(&f->sink.log, VHX_LOG_ERROR, "two\nlines \x1b[31m");
	assert_string_equal(written(f), "vhx-test: disk0: ready\nvhx-test: two?lines ?[31m\n");
}

static void test_journal_gets_the_priority(void **state)
{
	struct fixture *f = *state;

	f->sink.journal = true;
	vhx_log(&f->sink.log, VHX_LOG_WARNING, "disk0: gone");
	assert_string_equal(written(f), "<4>disk0: gone\n");
}

static void journal_stream_set(unsigned long long ino)
{
	char text[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + ino);
	setenv("JOURNAL_STREAM", text, 1);
}

static void test_journal_is_told_by_its_inode(void **state)
{
	struct fixture *f = *state;

	journal_stream_set(0);
	vhx_log_stderr_init(&f->sink, "vhx-test", VHX_LOG_INFO);
	assert_true(f->sink.journal);
	journal_stream_set(1);
	vhx_log_stderr_init(&f->sink, "vhx-test", VHX_LOG_INFO);
	assert_false(f->sink.journal);
	setenv("JOURNAL_STREAM", "nonsense", 1);
	vhx_log_stderr_init(&f->sink, "vhx-test", VHX_LOG_INFO);
	assert_false(f->sink.journal);
	unsetenv("JOURNAL_STREAM");
}

static void test_reader_that_does_not_read_blocks_nobody(void **state)
{
	struct fixture *f = *state;
	uint64_t lost;
	int i;

	for (i = 0; i < 10000; i++)
		vhx_log(&f->sink.log, VHX_LOG_INFO, "record %d of very many", i);
	lost = f->sink.lost;
	assert_true(lost > 0);
	while (*written(f))
		;
	vhx_log(&f->sink.log, VHX_LOG_INFO, "after");
	assert_int_equal(f->sink.lost, 0);
	assert_string_equal(strchr(written(f), ' ') + strspn(strchr(f->text, ' '), " 0123456789"),
			    "log records were lost\nvhx-test: after\n");
}

static void test_long_record_is_cut_to_one_line(void **state)
{
	struct fixture *f = *state;
	char text[8192];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	f->sink.log.emit(f->sink.log.ctx, VHX_LOG_INFO, text);
	assert_true(strlen(written(f)) <= 1024);
	assert_ptr_equal(strchr(f->text, '\n'), f->text + strlen(f->text) - 1);
}

static void test_levels_by_name(void **state)
{
	struct vhx_error error;
	int level = 0;

	assert_int_equal(vhx_choice_parse("debug", vhx_log_levels, &level, &error), 0);
	assert_int_equal(level, VHX_LOG_DEBUG);
	assert_int_equal(vhx_choice_parse("error", vhx_log_levels, &level, &error), 0);
	assert_int_equal(level, VHX_LOG_ERROR);
	assert_int_equal(vhx_choice_parse("7", vhx_log_levels, &level, &error), -EINVAL);
	assert_string_equal(error.text, "'7' is none of error, warning, notice, info, debug");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_line_per_record),
		TEST(test_journal_gets_the_priority),
		TEST(test_journal_is_told_by_its_inode),
		TEST(test_reader_that_does_not_read_blocks_nobody),
		TEST(test_long_record_is_cut_to_one_line),
		TEST(test_levels_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
