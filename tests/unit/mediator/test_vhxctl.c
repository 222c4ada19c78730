// SPDX-License-Identifier: BSD-3-Clause
/* vhxctl (argv[1]) against a control socket that answers what each test says. */
#include "util/unix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HANG_GUARD_S 60

static const char *vhxctl;
static char dir[64], path[96];
static struct vhx_unix_listener listener;
static char request[256], output[8192], complaint[1024];

static int setup(void **state)
{
	struct vhx_error error;

	alarm(HANG_GUARD_S);
	strcpy(dir, "/tmp/vhx-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/control", dir);
	return vhx_unix_listen(&listener, path, SOCK_STREAM, 0600, &error);
}

static int teardown(void **state)
{
	vhx_unix_unlisten(&listener);
	return rmdir(dir);
}

static void read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	close(fd);
}

static pid_t spawn(char *const argv[], int out, int err)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
		execv(vhxctl, argv);
	_exit(127);
}

/* Takes one client's request, and sends @len bytes, as far as the client wants them. */
static void answer_once(const char *answer, size_t len)
{
	struct pollfd p = { .fd = listener.fd, .events = POLLIN };
	size_t off = 0;
	ssize_t n;
	int fd;

	assert_int_equal(poll(&p, 1, -1), 1);
	fd = vhx_unix_accept(listener.fd);
	assert_true(fd >= 0);
	fcntl(fd, F_SETFL, 0);
	n = recv(fd, request, sizeof(request) - 1, 0);
	assert_true(n > 0);
	request[n] = '\0';
	while (off < len && (n = send(fd, answer + off, len - off, MSG_NOSIGNAL)) > 0)
		off += (size_t)n;
	close(fd);
}

/* Runs `vhxctl stats PATH [option]`; returns its exit code. */
static int run(const char *option, const char *answer, size_t len)
{
	char *argv[] = { (char *)"vhxctl", (char *)"stats", path, (char *)option, NULL };
	int out[2], err[2], status = -1;
	pid_t pid;

	assert_int_equal(pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	pid = spawn(argv, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	if (answer)
		answer_once(answer, len);
	read_all(out[0], output, sizeof(output));
	read_all(err[0], complaint, sizeof(complaint));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void check_complaint(const char *expected)
{
	char text[512];

	snprintf(text, sizeof(text), "vhxctl: %s: %s\n", path, expected);
	assert_string_equal(complaint, text);
	assert_string_equal(output, "");
}

static const char good[] = "{\"program\":\"vhx-test\",\"version\":\"1\",\"pid\":7,\"memory\":4096,"
			   "\"channels\":[],\"devices\":[{\"id\":\"disk0\",\"type\":\"blk\","
			   "\"state\":\"a\\u001bb\",\"requests\":18446744073709551615},7]}\n";

static void test_json_when_not_on_a_terminal(void **state)
{
	assert_int_equal(run(NULL, good, strlen(good)), 0);
	assert_string_equal(request, "{\"command\":\"stats\"}\n");
	assert_string_equal(output, good);
	assert_string_equal(complaint, "");
}

static void test_table_on_request(void **state)
{
	assert_int_equal(run("--table", good, strlen(good)), 0);
	assert_string_equal(
		output,
		"vhx-test 1, pid 7, 4096 bytes allocated\n\n"
		"DEVICE  TYPE  STATE              REQUESTS  COMPLETED  ERRORS  BYTES OUT  BYTES IN"
		"  COPIED  REPLAYS\n"
		"disk0   blk   a?b    18446744073709551615          -       -          -         -"
		"       -        -\n"
		"-       -     -                         -          -       -          -         -"
		"       -        -\n");
}

static void test_error_of_the_program(void **state)
{
	static const char answer[] = "{\"error\":\"no\\nway\"}\n";

	assert_int_equal(run(NULL, answer, strlen(answer)), 1);
	check_complaint("no?way");
}

static void test_answers_that_are_none(void **state)
{
	static const char *const bad[] = { "hello\n", "[]\n", "{\"a\":", "7", "null", "\n" };
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++) {
		assert_int_equal(run(NULL, bad[i], strlen(bad[i])), 1);
		check_complaint("the answer is not a JSON object");
	}
}

static void test_hang_up_without_an_answer(void **state)
{
	assert_int_equal(run(NULL, "", 0), 1);
	check_complaint("Connection reset by peer");
}

static void test_endless_answer(void **state)
{
	size_t len = 8 << 20;
	char *answer = malloc(len);

	assert_non_null(answer);
	memset(answer, ' ', len);
	assert_int_equal(run(NULL, answer, len), 1);
	check_complaint("Message too long");
	free(answer);
}

static void test_nobody_there(void **state)
{
	vhx_unix_unlisten(&listener);
	assert_int_equal(run(NULL, NULL, 0), 1);
	check_complaint("No such file or directory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_json_when_not_on_a_terminal),
		TEST(test_table_on_request),
		TEST(test_error_of_the_program),
		TEST(test_answers_that_are_none),
		TEST(test_hang_up_without_an_answer),
		TEST(test_endless_answer),
		TEST(test_nobody_there),
	};

	if (argc < 2)
		return 77;
	vhxctl = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
