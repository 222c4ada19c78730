// SPDX-License-Identifier: BSD-3-Clause
/* The control socket and those who misuse it. Both ends share this thread; the loop is stepped. */
#include "mediator/control.h"

#include "util/unix_socket.h"

#include <fcntl.h>
#include <json-c/json.h>
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

#include "../fds.h"

/* Kills a test that hangs; nothing waits for it otherwise. */
#define HANG_GUARD_S 60
/* Far more than a socket buffer takes. */
#define BIG_LEN (900u << 10)

struct fixture {
	char dir[64], path[96];
	struct vhx_loop *loop;
	struct vhx_control_socket *control;
	struct vhx_control_config cfg;
	unsigned int runs;
	int kept; /* -1: none */
	char answer[BIG_LEN + 4096];
};

static struct vhx_error error;

static int command_stats(void *ctx, struct json_object *into)
{
	struct fixture *f = ctx;

	f->runs++;
	return json_object_object_add(into, "runs", json_object_new_int((int)f->runs)) ? -ENOMEM
										       : 0;
}

static int command_broken(void *ctx, struct json_object *into)
{
	return -EIO;
}

static int add_text(struct json_object *into, size_t len)
{
	char *text = malloc(len);
	int ret;

	if (!text)
		return -ENOMEM;
	memset(text, 'x', len);
	ret = json_object_object_add(into, "text", json_object_new_string_len(text, (int)len));
	free(text);
	return ret ? -ENOMEM : 0;
}

static int command_big(void *ctx, struct json_object *into)
{
	return add_text(into, BIG_LEN);
}

static int command_too_big(void *ctx, struct json_object *into)
{
	return add_text(into, VHX_CONTROL_REPLY_MAX);
}

/* Says what it was given. With a descriptor named "keep" it keeps that one, open in f->kept. */
static int command_set(void *ctx, struct vhx_control_request *req, struct json_object *into,
		       struct vhx_error *err)
{
	const char *name, *value;
	const struct vhx_control_argument rows[] = {
		{ .name = "name", .value = &name },
		{ .name = "value", .value = &value, .optional = true },
	};
	struct fixture *f = ctx;
	int ret = vhx_control_arguments(req, rows, VHX_ARRAY_SIZE(rows), err);

	if (ret)
		return ret;
	f->runs++;
	if (!strcmp(name, "fail")) {
		vhx_error_set(err, "no \xff %s", value ?: "");
		return -EIO;
	}
	if (!strcmp(name, "keep")) {
		f->kept = req->fd;
		req->fd = -1;
	}
	return json_object_object_add(into, name, json_object_new_string(value ?: "none"));
}

static const struct vhx_control_command commands[] = {
	{ .name = "stats", .run = command_stats },
	{ .name = "broken", .run = command_broken },
	{ .name = "big", .run = command_big },
	{ .name = "too-big", .run = command_too_big },
	{ .name = "set", .change = command_set },
};

static void control_start(struct fixture *f)
{
	assert_int_equal(vhx_control_open(f->loop, &f->cfg, &f->control, &error), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || vhx_loop_new(0, &f->loop))
		return -1;
	f->kept = -1;
	strcpy(f->dir, "/tmp/vhx-test-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/control", f->dir);
	f->cfg = (struct vhx_control_config){ .path = f->path,
					      .commands = commands,
					      .commands_cnt = VHX_ARRAY_SIZE(commands),
					      .ctx = f };
	*state = f;
	alarm(HANG_GUARD_S);
	control_start(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int gone;

	vhx_control_close(f->control);
	vhx_loop_free(f->loop);
	gone = rmdir(f->dir); /* fails if the socket was left */
	free(f);
	return gone;
}

static int client_open(struct fixture *f)
{
	int fd = vhx_unix_connect(f->path, SOCK_STREAM, &error);

	assert_true(fd >= 0);
	return fd;
}

static void client_send(int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Steps the loop until the server closes @fd; what came is in f->answer. */
static void client_drain(struct fixture *f, int fd)
{
	size_t len = 0;
	ssize_t n = -1;

	while (n) {
		vhx_loop_once(f->loop, 1);
		n = recv(fd, f->answer + len, sizeof(f->answer) - 1 - len, MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			break; /* a reset: the server closed with something of ours unread */
		if (n > 0)
			len += (size_t)n;
	}
	f->answer[len] = '\0';
	close(fd);
}

static const char *ask_bytes(struct fixture *f, const void *bytes, size_t len)
{
	int fd = client_open(f);

	client_send(fd, bytes, len);
	client_drain(f, fd);
	return f->answer;
}

static const char *ask(struct fixture *f, const char *text)
{
	return ask_bytes(f, text, strlen(text));
}

static void test_plain_word_and_json(void **state)
{
	assert_string_equal(ask(*state, "stats\n"), "{\"runs\":1}\n");
	assert_string_equal(ask(*state, "stats \r\n"), "{\"runs\":2}\n");
	assert_string_equal(ask(*state, "{\"command\":\"stats\"}\n"), "{\"runs\":3}\n");
	assert_string_equal(ask(*state, "{\"x\":[1],\"command\":\"stats\"} \n"), "{\"runs\":4}\n");
}

static void test_bytes_behind_the_line_are_ignored(void **state)
{
	assert_string_equal(ask(*state, "stats\nstats\n"), "{\"runs\":1}\n");
}

static void test_end_of_stream_ends_the_request(void **state)
{
	struct fixture *f = *state;
	int fd = client_open(f);

	client_send(fd, "stats", 5);
	shutdown(fd, SHUT_WR);
	client_drain(f, fd);
	assert_string_equal(f->answer, "{\"runs\":1}\n");
}

static void test_request_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	int fd = client_open(f);
	const char *p;

	for (p = "{\"command\":\"stats\"}\n"; *p; p++) {
		client_send(fd, p, 1);
		vhx_loop_once(f->loop, 0);
	}
	client_drain(f, fd);
	assert_string_equal(f->answer, "{\"runs\":1}\n");
}

static void test_every_bad_request_has_its_answer(void **state)
{
	static const struct {
		const char *request, *answer;
	} bad[] = {
		{ "\n", "{\"error\":\"the request is empty\"}\n" },
		{ "  \r\n", "{\"error\":\"the request is empty\"}\n" },
		{ "wibble\n", "{\"error\":\"unknown command 'wibble'\"}\n" },
		{ "sta\xff\"\x1b[m\n", "{\"error\":\"unknown command 'sta?\\\"?[m'\"}\n" },
		{ "{\"command\":\"wibble\"}\n", "{\"error\":\"unknown command 'wibble'\"}\n" },
		{ "{}\n", "{\"error\":\"the request has no command\"}\n" },
		{ "{\"command\":7}\n", "{\"error\":\"the request has no command\"}\n" },
		{ "{\"command\":null}\n", "{\"error\":\"the request has no command\"}\n" },
		{ "{\"command\":\n", "{\"error\":\"the request is not a JSON object\"}\n" },
		{ "{\"command\":\"stats\"}x\n",
		  "{\"error\":\"the request is not a JSON object\"}\n" },
		{ "{\"command\":[[[[[[[[[[[]]]]]]]]]]]}\n",
		  "{\"error\":\"the request is not a JSON object\"}\n" },
		{ "broken\n", "{\"error\":\"broken: Input/output error\"}\n" },
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++)
		assert_string_equal(ask(f, bad[i].request), bad[i].answer);
	assert_string_equal(ask_bytes(f, "st\0ats\n", 7),
			    "{\"error\":\"the request has a NUL byte\"}\n");
	assert_int_equal(f->runs, 0);
}

static void test_request_at_and_over_the_limit(void **state)
{
	struct fixture *f = *state;
	char text[VHX_CONTROL_REQUEST_MAX + 1];

	memset(text, ' ', sizeof(text));
	memcpy(text, "stats", 5);
	text[VHX_CONTROL_REQUEST_MAX - 1] = '\n';
	assert_string_equal(ask_bytes(f, text, VHX_CONTROL_REQUEST_MAX), "{\"runs\":1}\n");
	text[VHX_CONTROL_REQUEST_MAX - 1] = ' ';
	text[VHX_CONTROL_REQUEST_MAX] = '\n';
	assert_string_equal(ask_bytes(f, text, sizeof(text)),
			    "{\"error\":\"the request is too long\"}\n");
}

static void test_big_answer_leaves_in_pieces(void **state)
{
	struct fixture *f = *state;
	size_t len = strlen(ask(f, "big\n"));

	assert_int_equal(len, BIG_LEN + strlen("{\"text\":\"\"}\n"));
	assert_int_equal(f->answer[len - 1], '\n');
}

static void test_answer_over_the_limit_is_not_sent(void **state)
{
	assert_string_equal(ask(*state, "too-big\n"), "");
	assert_string_equal(ask(*state, "stats\n"), "{\"runs\":1}\n");
}

/* As @setup, with a time-out that is over at once. */
static void restart_impatient(struct fixture *f)
{
	vhx_control_close(f->control);
	f->control = NULL;
	f->cfg.timeout_ns = 1000000;
	control_start(f);
}

static void test_silent_client_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fd;

	restart_impatient(f);
	fd = client_open(f);
	client_drain(f, fd);
	assert_string_equal(f->answer, "");
}

static void test_half_request_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fd;

	restart_impatient(f);
	fd = client_open(f);
	client_send(fd, "sta", 3);
	client_drain(f, fd);
	assert_string_equal(f->answer, "");
}

/* Has the server closed @fd? Without reading what is there. */
static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void test_client_that_does_not_read_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fd;

	restart_impatient(f);
	fd = client_open(f);
	client_send(fd, "big\n", 4);
	while (!hung_up(fd))
		vhx_loop_once(f->loop, 1);
	client_drain(f, fd);
	assert_true(strlen(f->answer) < BIG_LEN);
}

static void test_client_that_hangs_up_frees_its_slot(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	for (i = 0; i < 3 * VHX_CONTROL_CLIENTS_MAX; i++) {
		int fd = client_open(f);

		client_send(fd, "big\n", i % 2 ? 4 : 2);
		vhx_loop_once(f->loop, 0);
		vhx_loop_once(f->loop, 0);
		close(fd);
	}
	assert_string_equal(ask(f, "stats\n"), "{\"runs\":1}\n");
}

static void test_ninth_client_waits_for_a_slot(void **state)
{
	struct fixture *f = *state;
	int fds[VHX_CONTROL_CLIENTS_MAX], ninth;
	unsigned int i;

	for (i = 0; i < VHX_CONTROL_CLIENTS_MAX; i++) {
		fds[i] = client_open(f);
		vhx_loop_once(f->loop, 0);
	}
	ninth = client_open(f);
	client_send(ninth, "stats\n", 6);
	for (i = 0; i < 20; i++)
		vhx_loop_once(f->loop, 0);
	assert_int_equal(f->runs, 0);
	close(fds[0]);
	client_drain(f, ninth);
	assert_string_equal(f->answer, "{\"runs\":1}\n");
	for (i = 1; i < VHX_CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void test_full_table_does_not_spin(void **state)
{
	struct fixture *f = *state;
	int fds[VHX_CONTROL_CLIENTS_MAX + 1];
	struct pollfd p = { .fd = vhx_loop_fileno(f->loop), .events = POLLIN };
	unsigned int i;

	for (i = 0; i <= VHX_CONTROL_CLIENTS_MAX; i++)
		fds[i] = client_open(f);
	for (i = 0; i < 20; i++)
		vhx_loop_once(f->loop, 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	for (i = 0; i <= VHX_CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void test_arguments_are_the_ones_that_it_takes(void **state)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{ "{\"command\":\"set\",\"name\":\"a\",\"value\":\"b c\"}\n", "{\"a\":\"b c\"}\n" },
		{ "{\"name\":\"a\",\"command\":\"set\"}\n", "{\"a\":\"none\"}\n" },
		{ "set\n", "{\"error\":\"set: argument 'name' is missing\"}\n" },
		{ "{\"command\":\"set\",\"value\":\"b\"}\n",
		  "{\"error\":\"set: argument 'name' is missing\"}\n" },
		{ "{\"command\":\"set\",\"name\":\"\"}\n",
		  "{\"error\":\"set: argument 'name' is no text\"}\n" },
		{ "{\"command\":\"set\",\"name\":7}\n",
		  "{\"error\":\"set: argument 'name' is no text\"}\n" },
		{ "{\"command\":\"set\",\"name\":null}\n",
		  "{\"error\":\"set: argument 'name' is no text\"}\n" },
		{ "{\"command\":\"set\",\"name\":\"a\\u0000b\"}\n",
		  "{\"error\":\"set: argument 'name' is no text\"}\n" },
		{ "{\"command\":\"set\",\"name\":\"a\",\"wibble\":\"b\"}\n",
		  "{\"error\":\"set: there is an argument that it does not take\"}\n" },
		{ "{\"command\":\"set\",\"name\":\"fail\",\"value\":\"\xc3\x28\x1b\"}\n",
		  "{\"error\":\"set: no ? ?(?\"}\n" },
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(cases); i++)
		assert_string_equal(ask(f, cases[i].request), cases[i].answer);
	assert_int_equal(f->runs, 3);
}

/* As client_send(), with @cnt descriptors that are all @passed. */
static void client_send_fds(int fd, const char *text, int passed, unsigned int cnt)
{
	struct iovec iov = { .iov_base = vhx_unconst(text), .iov_len = strlen(text) };
	int fds[8];
	unsigned int i;

	for (i = 0; i < cnt; i++)
		fds[i] = passed;
	assert_int_equal(fds_send(fd, &iov, 1, fds, cnt), (ssize_t)iov.iov_len);
}

/* What was sent @cnt times was closed @cnt times: only then is a pipe at its end. */
static void check_fds(struct fixture *f, const char *request, unsigned int cnt, const char *answer,
		      bool kept)
{
	int fd = client_open(f), pipe_fds[2];
	char byte;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	client_send_fds(fd, request, pipe_fds[1], cnt);
	client_drain(f, fd);
	assert_string_equal(f->answer, answer);
	close(pipe_fds[1]);
	if (kept) {
		assert_true(f->kept >= 0);
		assert_int_equal(fcntl(f->kept, F_GETFD), FD_CLOEXEC);
		assert_int_equal(read(pipe_fds[0], &byte, 1), -1);
		close(f->kept);
		f->kept = -1;
	}
	assert_int_equal(f->kept, -1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
	close(pipe_fds[0]);
}

static void test_one_descriptor_goes_to_the_command_all_others_are_closed(void **state)
{
	static const char many[] = "{\"error\":\"the request has more than one descriptor\"}\n";
	static const char keep[] = "{\"command\":\"set\",\"name\":\"keep\"}\n";

	check_fds(*state, keep, 1, "{\"keep\":\"none\"}\n", true);
	check_fds(*state, keep, 2, many, false);
	check_fds(*state, keep, 8, many, false);
	check_fds(*state, "{\"command\":\"set\",\"name\":\"a\"}\n", 1, "{\"a\":\"none\"}\n", false);
	check_fds(*state, "{\"command\":\"set\"}\n", 1,
		  "{\"error\":\"set: argument 'name' is missing\"}\n", false);
	check_fds(*state, "stats\n", 1, "{\"runs\":3}\n", false);
	check_fds(*state, "wibble\n", 1, "{\"error\":\"unknown command 'wibble'\"}\n", false);
}

static void test_descriptors_one_by_one_are_too_many(void **state)
{
	struct fixture *f = *state;
	int fd = client_open(f);

	client_send_fds(fd, "sta", fd, 1);
	vhx_loop_once(f->loop, 0);
	vhx_loop_once(f->loop, 0);
	client_send_fds(fd, "ts\n", fd, 1);
	client_drain(f, fd);
	assert_string_equal(f->answer,
			    "{\"error\":\"the request has more than one descriptor\"}\n");
	assert_int_equal(f->runs, 0);
}

static void test_slot_forgets_the_descriptor_of_who_had_it(void **state)
{
	struct fixture *f = *state;
	int fd = client_open(f);

	client_send_fds(fd, "sta", fd, 2);
	vhx_loop_once(f->loop, 0);
	vhx_loop_once(f->loop, 0);
	close(fd);
	assert_string_equal(ask(f, "{\"command\":\"set\",\"name\":\"keep\"}\n"),
			    "{\"keep\":\"none\"}\n");
	assert_int_equal(f->kept, -1);
}

/* Runs as a user whom the policy lets in, but who is neither the program's nor root. */
static void stranger_ask(const char *path, const char *request, char *answer, size_t size)
{
	int fd;
	ssize_t n;

	if (setgid(65534) || setuid(65534))
		_exit(2);
	fd = vhx_unix_connect(path, SOCK_STREAM, NULL);
	if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		_exit(3);
	fcntl(fd, F_SETFL, 0);
	n = recv(fd, answer, size - 1, MSG_WAITALL);
	_exit(n > 0 && !strncmp(answer, "{\"error\":\"set: only for ", 24) ? 0 : 4);
}

static void test_who_may_only_look_changes_nothing(void **state)
{
	static const struct vhx_unix_policy open_policy = {
		.mode = 0666, .group = VHX_UNIX_GROUP_NONE, .uids = { 65534 }, .uids_cnt = 1
	};
	struct fixture *f = *state;
	char answer[256] = "";
	int status;
	pid_t pid;

	if (getuid())
		skip();
	vhx_control_close(f->control);
	f->control = NULL;
	f->cfg.policy = &open_policy;
	control_start(f);
	assert_int_equal(chmod(f->dir, 0711), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		stranger_ask(f->path, "{\"command\":\"set\",\"name\":\"a\"}\n", answer,
			     sizeof(answer));
	while (!waitpid(pid, &status, WNOHANG))
		vhx_loop_once(f->loop, 1);
	assert_int_equal(status, 0);
	assert_int_equal(f->runs, 0);
}

static void test_closed_with_clients_in_every_state(void **state)
{
	struct fixture *f = *state;
	int reading = client_open(f), writing = client_open(f);

	client_send(reading, "sta", 3);
	client_send(writing, "big\n", 4);
	vhx_loop_once(f->loop, 0);
	vhx_loop_once(f->loop, 0);
	vhx_loop_once(f->loop, 0);
	vhx_control_close(f->control);
	f->control = NULL;
	assert_true(hung_up(reading));
	assert_true(hung_up(writing));
	close(reading);
	close(writing);
}

static void test_socket_is_the_owners_only(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(lstat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_live_socket_is_not_taken(void **state)
{
	struct fixture *f = *state;
	struct vhx_control_socket *second;

	assert_int_equal(vhx_control_open(f->loop, &f->cfg, &second, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, "in use by pid"));
	assert_string_equal(ask(f, "stats\n"), "{\"runs\":1}\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_plain_word_and_json),
		TEST(test_bytes_behind_the_line_are_ignored),
		TEST(test_end_of_stream_ends_the_request),
		TEST(test_request_byte_by_byte),
		TEST(test_every_bad_request_has_its_answer),
		TEST(test_request_at_and_over_the_limit),
		TEST(test_big_answer_leaves_in_pieces),
		TEST(test_answer_over_the_limit_is_not_sent),
		TEST(test_silent_client_is_dropped),
		TEST(test_half_request_is_dropped),
		TEST(test_client_that_does_not_read_is_dropped),
		TEST(test_client_that_hangs_up_frees_its_slot),
		TEST(test_ninth_client_waits_for_a_slot),
		TEST(test_full_table_does_not_spin),
		TEST(test_arguments_are_the_ones_that_it_takes),
		TEST(test_one_descriptor_goes_to_the_command_all_others_are_closed),
		TEST(test_descriptors_one_by_one_are_too_many),
		TEST(test_slot_forgets_the_descriptor_of_who_had_it),
		TEST(test_who_may_only_look_changes_nothing),
		TEST(test_closed_with_clients_in_every_state),
		TEST(test_socket_is_the_owners_only),
		TEST(test_live_socket_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
