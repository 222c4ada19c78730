// SPDX-License-Identifier: BSD-3-Clause
/* The control socket and those who misuse it. Both ends share this thread; the loop is stepped. */
#include "mediator/control.h"

#include "util/unix_socket.h"

#include <json-c/json.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

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

static const struct vhx_control_command commands[] = {
	{ "stats", command_stats },
	{ "broken", command_broken },
	{ "big", command_big },
	{ "too-big", command_too_big },
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
		TEST(test_closed_with_clients_in_every_state),
		TEST(test_socket_is_the_owners_only),
		TEST(test_live_socket_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
