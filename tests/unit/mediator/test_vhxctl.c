// SPDX-License-Identifier: BSD-3-Clause
/* vhxctl (argv[1]) against a control socket that answers what each test says. */
#include "util/unix_fds.h"
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

/* What came with the request, or -1. */
static int passed;

static ssize_t request_take(int fd)
{
	struct vhx_unix_fds fds = { .fds = &passed, .max = 1 };

	passed = -1;
	return vhx_unix_recv_fds(fd, request, sizeof(request) - 1, 0, &fds);
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
	n = request_take(fd);
	assert_true(n > 0);
	request[n] = '\0';
	while (off < len && (n = send(fd, answer + off, len - off, MSG_NOSIGNAL)) > 0)
		off += (size_t)n;
	close(fd);
}

/* Runs vhxctl; returns its exit code. */
static int run_argv(char *const argv[], const char *answer, size_t len)
{
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

/* `vhxctl stats PATH [option]` */
static int run(const char *option, const char *answer, size_t len)
{
	char *argv[] = { (char *)"vhxctl", (char *)"stats", path, (char *)option, NULL };

	return run_argv(argv, answer, len);
}

/* `vhxctl device VERB PATH ARGUMENT`; @answer NULL: it does not get as far as asking. */
static int change(const char *verb, const char *argument, const char *answer)
{
	char *argv[] = { (char *)"vhxctl", (char *)"device", (char *)verb, path, (char *)argument, NULL };

	return run_argv(argv, answer, answer ? strlen(answer) : 0);
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

static void test_device_add_sends_the_image(void **state)
{
	char image[128], spec[192], expected[256];
	struct stat st, sent;
	int fd;

	snprintf(image, sizeof(image), "%s/d.img", dir);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	snprintf(spec, sizeof(spec), "blk,id=a,file=%s", image);
	snprintf(expected, sizeof(expected), "{\"command\":\"device-add\",\"spec\":\"%s\"}\n", spec);
	assert_int_equal(change("add", spec, "{}\n"), 0);
	assert_string_equal(request, expected);
	assert_string_equal(complaint, "");
	assert_int_equal(fstat(fd, &st) | fstat(passed, &sent), 0);
	assert_int_equal(sent.st_ino, st.st_ino);
	assert_int_equal(fcntl(passed, F_GETFL) & O_ACCMODE, O_RDWR);
	close(passed);
	strcat(spec, ",readonly");
	assert_int_equal(change("add", spec, "{}\n"), 0);
	assert_int_equal(fcntl(passed, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(passed);
	close(fd);
	unlink(image);
}

static void test_device_without_an_image_sends_none(void **state)
{
	assert_int_equal(change("add", "rng", "{}\n"), 0);
	assert_string_equal(request, "{\"command\":\"device-add\",\"spec\":\"rng\"}\n");
	assert_int_equal(passed, -1);
}

static void test_device_remove(void **state)
{
	assert_int_equal(change("remove", "a\"b", "{}\n"), 0);
	assert_string_equal(request, "{\"command\":\"device-remove\",\"id\":\"a\\\"b\"}\n");
	assert_int_equal(change("remove", "a", "{\"error\":\"no\\nsuch\"}\n"), 1);
	check_complaint("no?such");
}

static void test_device_spec_that_is_none_is_not_sent(void **state)
{
	assert_int_equal(change("add", "wibble", NULL), 1);
	assert_non_null(strstr(complaint, "wibble"));
	assert_int_equal(change("add", "blk,file=/nonexistent/x", NULL), 1);
	assert_string_equal(complaint, "vhxctl: /nonexistent/x: No such file or directory\n");
}

static void test_command_lines_that_are_none(void **state)
{
	assert_int_equal(change("add", NULL, NULL), 2);
	assert_int_equal(change("wibble", "a", NULL), 2);
	assert_string_equal(complaint, "vhxctl: unknown command 'device wibble'; --help lists them\n");
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
		TEST(test_device_add_sends_the_image),
		TEST(test_device_without_an_image_sends_none),
		TEST(test_device_remove),
		TEST(test_device_spec_that_is_none_is_not_sent),
		TEST(test_command_lines_that_are_none),
		TEST(test_nobody_there),
	};

	if (argc < 2)
		return 77;
	vhxctl = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
