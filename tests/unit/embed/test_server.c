// SPDX-License-Identifier: BSD-3-Clause
/*
 * A model of the public device API against the public frontend API, in one process that gives each end its turns, so
 * that the test looks at both.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhx/device.h"

#define DEPTH 8u
#define HELD_MAX 64u
#define MAX_IN 16384u
#define TURNS_MAX 100000u

/* What the model does with a request. */
enum behaviour {
	ECHO, /* answers with the out bytes */
	HOLD, /* keeps it */
	STATUS, /* writes out[0] bytes, then a status */
};

struct world {
	struct vhx_server *server;
	struct vhx_model *model;
	struct vhx_conn *conn;
	struct vhx_dev *dev;
	struct vhx_vq *vq;
	enum behaviour behaviour;
	struct vhx_req *held[HELD_MAX];
	unsigned int held_cnt, resets, rooms, again, too_big;
	int reset_result, deadlock;
	uint64_t features;
	uint8_t config[8];
	unsigned int config_changes;
};

static int echo(struct world *w, struct vhx_req *req)
{
	static uint8_t bytes[2 * MAX_IN];
	size_t len = vhx_req_read(req, 0, bytes, sizeof(bytes));
	int ret;

	w->too_big += vhx_req_too_big(req);
	assert_int_equal(vhx_req_write(req, bytes, vhx_req_in_len(req) + 1), -ENOSPC);
	len = len < vhx_req_in_len(req) ? len : vhx_req_in_len(req);
	len = len < MAX_IN ? len : MAX_IN;
	ret = vhx_req_write(req, bytes, len / 2);
	if (!ret)
		ret = vhx_req_write(req, bytes + len / 2, len - len / 2);
	if (!ret)
		vhx_req_end(req);
	else
		w->again++;
	return ret;
}

static int status(struct vhx_req *req)
{
	uint8_t len, bytes[256];

	memset(bytes, 0xee, sizeof(bytes));
	assert_int_equal(vhx_req_read(req, 0, &len, 1), 1);
	assert_int_equal(vhx_req_write(req, bytes, len), 0);
	vhx_req_end_status(req, 0x77);
	return 0;
}

static int request(void *ctx, unsigned int vq, struct vhx_req *req)
{
	struct world *w = ctx;

	w->deadlock = vhx_server_dispatch(w->server);
	switch (w->behaviour) {
	case ECHO:
		return echo(w, req);
	case STATUS:
		return status(req);
	default:
		vhx_req_set_user(req, w);
		w->held[w->held_cnt++] = req;
		return 0;
	}
}

static void room(void *ctx, unsigned int vq)
{
	struct world *w = ctx;

	w->rooms++;
}

static int reset(void *ctx, unsigned int vq)
{
	struct world *w = ctx;

	w->resets++;
	if (!w->reset_result)
		w->held_cnt = 0;
	return w->reset_result;
}

static int features(void *ctx, uint64_t chosen)
{
	struct world *w = ctx;

	w->features = chosen;
	return 0;
}

static int config_write(void *ctx, size_t off, const void *buf, size_t len)
{
	return off == 4 ? 0 : -EINVAL;
}

static const struct vhx_model_ops ops = {
	.size = sizeof(ops),
	.request = request,
	.room = room,
	.reset = reset,
	.features = features,
	.config_write = config_write,
};

static struct vhx_model_config config_of(const char *id)
{
	static const uint8_t space[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	return (struct vhx_model_config){
		.size = sizeof(struct vhx_model_config),
		.id = id,
		.type = 42,
		.queues = 2,
		.depth = 16,
		.features = 1ull << 3 | 1ull << 55,
		.max_out = MAX_IN,
		.max_in = MAX_IN,
		.config = space,
		.config_len = sizeof(space),
	};
}

static void event(void *ctx, enum vhx_event e)
{
	struct world *w = ctx;

	w->config_changes += e == VHX_EVENT_CONFIG;
}

/* Both ends take turns until @done says so. */
static void turns(struct world *w, bool (*done)(struct world *w))
{
	unsigned int i;

	for (i = 0; i < TURNS_MAX; i++) {
		if (done(w))
			return;
		assert_int_equal(vhx_server_dispatch(w->server), 0);
		assert_int_equal(vhx_conn_dispatch(w->conn), 0);
	}
	fail_msg("nothing after %u turns", TURNS_MAX);
}

static bool known(struct world *w)
{
	return vhx_dev_wait(w->dev, 0) == 0;
}

static int world_open(void **state)
{
	struct vhx_model_config config = config_of("mine");
	struct world *w = calloc(1, sizeof(*w));
	int socks[2];

	assert_non_null(w);
	*state = w;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	assert_int_equal(vhx_server_new(&w->server), 0);
	assert_int_equal(vhx_model_add(w->server, &config, &ops, w, &w->model), 0);
	assert_int_equal(vhx_server_add_fd(w->server, socks[0]), 0);
	assert_int_equal(vhx_server_channel_count(w->server), 1);
	assert_int_equal(vhx_conn_new(&w->conn), 0);
	assert_int_equal(vhx_conn_connect_fd(w->conn, socks[1]), 0);
	assert_int_equal(vhx_dev_open(w->conn, "mine", &w->dev), 0);
	vhx_dev_set_events(w->dev, event, w);
	turns(w, known);
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	vhx_conn_free(w->conn);
	vhx_server_free(w->server);
	free(w);
	return 0;
}

static void queue_start(struct world *w)
{
	assert_int_equal(vhx_vq_start(w->dev, 0, DEPTH, &w->vq), 0);
}

static struct vhx_completion last;

static bool completed(struct world *w)
{
	return vhx_vq_poll(w->vq, &last, 1) == 1;
}

static bool one_held(struct world *w)
{
	return w->held_cnt == 1;
}

static void test_driver_sees_the_model(void **state)
{
	struct world *w = *state;
	uint8_t space[8];

	assert_int_equal(vhx_dev_type(w->dev), 42);
	assert_string_equal(vhx_dev_name(w->dev), "mine");
	assert_int_equal(vhx_dev_queue_count(w->dev), 2);
	assert_true(vhx_dev_features(w->dev) == (1ull << 3 | 1ull << 55));
	assert_int_equal(vhx_dev_read_config(w->dev, 0, space, sizeof(space)), 0);
	assert_int_equal(space[7], 8);
}

static void test_out_comes_back_as_in(void **state)
{
	struct world *w = *state;
	static uint8_t out_bytes[10000], in_bytes[12000];
	struct iovec out[2] = { { out_bytes, 1 }, { out_bytes + 1, sizeof(out_bytes) - 1 } };
	struct iovec in = { in_bytes, sizeof(in_bytes) };
	size_t i;

	for (i = 0; i < sizeof(out_bytes); i++)
		out_bytes[i] = (uint8_t)(i * 7);
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, out, 2, &in, 1, w), 0);
	turns(w, completed);
	assert_int_equal(last.result, sizeof(out_bytes));
	assert_memory_equal(out_bytes, in_bytes, sizeof(out_bytes));
	assert_int_equal(w->deadlock, -EDEADLK);
}

static void test_status_is_the_last_byte(void **state)
{
	struct world *w = *state;
	uint8_t want = 10, in_bytes[100] = { 0 };
	struct iovec out = { &want, 1 }, in = { in_bytes, sizeof(in_bytes) };

	w->behaviour = STATUS;
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, &out, 1, &in, 1, w), 0);
	turns(w, completed);
	/* A gap: only what lies before it counts as written. */
	assert_int_equal(last.result, 10);
	assert_int_equal(in_bytes[9], 0xee);
	assert_int_equal(in_bytes[99], 0x77);
	want = 99;
	assert_int_equal(vhx_vq_submit(w->vq, &out, 1, &in, 1, w), 0);
	turns(w, completed);
	assert_int_equal(last.result, 100);
	want = 100;
	assert_int_equal(vhx_vq_submit(w->vq, &out, 1, &in, 1, w), 0);
	turns(w, completed);
	assert_int_equal(last.result, 100);
	assert_int_equal(in_bytes[99], 0x77);
	/* No `in` at all: there is no place for one. */
	want = 0;
	assert_int_equal(vhx_vq_submit(w->vq, &out, 1, NULL, 0, w), 0);
	turns(w, completed);
	assert_int_equal(last.result, 0);
}

static void test_many_answers_wait_for_room(void **state)
{
	struct world *w = *state;
	static uint8_t bytes[DEPTH][MAX_IN];
	struct iovec out[DEPTH], in[DEPTH];
	unsigned int i, round;

	queue_start(w);
	for (round = 0; round < 40; round++) {
		for (i = 0; i < DEPTH; i++) {
			memset(bytes[i], (int)(round + i), MAX_IN / 2);
			out[i] = (struct iovec){ bytes[i], MAX_IN / 2 };
			in[i] = (struct iovec){ bytes[i] + MAX_IN / 2, MAX_IN / 2 };
			assert_int_equal(vhx_vq_submit(w->vq, &out[i], 1, &in[i], 1, NULL), 0);
		}
		for (i = 0; i < DEPTH; i++)
			turns(w, completed);
		for (i = 0; i < DEPTH; i++)
			assert_memory_equal(bytes[i], bytes[i] + MAX_IN / 2, MAX_IN / 2);
	}
}

static void test_oversized_request_is_marked(void **state)
{
	struct world *w = *state;
	static uint8_t bytes[2 * MAX_IN];
	struct iovec out = { bytes, sizeof(bytes) }, in = { bytes, 16 };

	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, &out, 1, &in, 1, w), 0);
	turns(w, completed);
	assert_int_equal(w->too_big, 1);
	assert_int_equal(last.result, 16);
}

static void test_held_request_ends_from_outside(void **state)
{
	struct world *w = *state;
	uint8_t in_bytes[4] = { 0 };
	struct iovec in = { in_bytes, 4 };

	w->behaviour = HOLD;
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, NULL, 0, &in, 1, w), 0);
	turns(w, one_held);
	assert_int_equal(vhx_req_out_len(w->held[0]), 0);
	assert_ptr_equal(vhx_req_user(w->held[0]), w);
	assert_int_equal(vhx_req_write(w->held[0], "ok", 2), 0);
	vhx_req_end(w->held[0]);
	turns(w, completed);
	assert_int_equal(last.result, 2);
	assert_memory_equal(in_bytes, "ok\0\0", 4);
}

static void test_reset_forgets_what_is_held(void **state)
{
	struct world *w = *state;
	uint8_t in_bytes[4];
	struct iovec in = { in_bytes, 4 };
	int ret;

	w->behaviour = HOLD;
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, NULL, 0, &in, 1, w), 0);
	turns(w, one_held);
	ret = vhx_dev_reset(w->dev);
	assert_int_equal(ret, -EINPROGRESS);
	turns(w, known);
	assert_int_equal(w->resets, 1);
	assert_int_equal(w->held_cnt, 0);
	w->behaviour = ECHO;
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, &in, 1, NULL, 0, w), 0);
	turns(w, completed);
}

static void test_reset_waits_for_what_is_ended_later(void **state)
{
	struct world *w = *state;
	uint8_t in_bytes[4];
	struct iovec in = { in_bytes, 4 };
	unsigned int i;

	w->behaviour = HOLD;
	w->reset_result = -EINPROGRESS;
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, NULL, 0, &in, 1, w), 0);
	turns(w, one_held);
	assert_int_equal(vhx_dev_reset(w->dev), -EINPROGRESS);
	for (i = 0; i < 100; i++) {
		vhx_server_dispatch(w->server);
		vhx_conn_dispatch(w->conn);
	}
	assert_int_equal(w->resets, 1);
	assert_false(known(w));
	vhx_req_end(w->held[0]);
	turns(w, known);
}

static void test_features_chosen_are_told(void **state)
{
	struct world *w = *state;

	assert_int_equal(vhx_dev_set_features(w->dev, 1ull << 4), -EINVAL);
	assert_int_equal(vhx_dev_set_features(w->dev, 1ull << 55), 0);
	w->behaviour = ECHO;
	queue_start(w);
	turns(w, known);
	assert_int_equal(vhx_vq_submit(w->vq, &(struct iovec){ w->config, 1 }, 1, NULL, 0, w), 0);
	turns(w, completed);
	assert_true(w->features == 1ull << 55);
}

static bool config_changed(struct world *w)
{
	return w->config_changes;
}

/* The frontend reads the config anew after a write. */
static bool config_read_anew(struct world *w)
{
	uint8_t byte = 0;

	assert_int_equal(vhx_dev_read_config(w->dev, 4, &byte, 1), 0);
	return byte == 'y';
}

static void test_config_changes_both_ways(void **state)
{
	struct world *w = *state;
	uint8_t byte = 0;

	assert_int_equal(vhx_model_set_config(w->model, 8, "x", 1), -EINVAL);
	assert_int_equal(vhx_model_set_config(w->model, 2, "x", 1), 0);
	turns(w, config_changed);
	assert_int_equal(vhx_dev_read_config(w->dev, 2, &byte, 1), 0);
	assert_int_equal(byte, 'x');
	assert_int_equal(vhx_dev_write_config(w->dev, 4, "y", 1), 0);
	turns(w, known);
	turns(w, config_read_anew);
}

static void test_frontend_that_leaves_resets(void **state)
{
	struct world *w = *state;
	uint8_t in_bytes[4];
	struct iovec in = { in_bytes, 4 };
	unsigned int i;

	w->behaviour = HOLD;
	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, NULL, 0, &in, 1, w), 0);
	turns(w, one_held);
	vhx_conn_free(w->conn);
	w->conn = NULL;
	for (i = 0; i < TURNS_MAX && vhx_server_channel_count(w->server); i++)
		assert_int_equal(vhx_server_dispatch(w->server), 0);
	assert_int_equal(w->resets, 1);
	assert_int_equal(w->held_cnt, 0);
}

static void test_bad_models_are_refused(void **state)
{
	static const char *const ids[] = {
		"", "-x", "a/b", NULL,
		"0123456789012345678901234567890123456789012345678901234567890123"
	};
	struct vhx_model_ops none = { .size = sizeof(none) };
	struct vhx_model_config c;
	struct vhx_server *s;
	size_t i;

	assert_int_equal(vhx_server_new(&s), 0);
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		c = config_of(ids[i]);
		assert_int_equal(vhx_model_add(s, &c, &ops, NULL, NULL), -EINVAL);
	}
#define REFUSED(member, value)                                                     \
	do {                                                                       \
		c = config_of("x");                                                \
		c.member = value;                                                  \
		assert_int_equal(vhx_model_add(s, &c, &ops, NULL, NULL), -EINVAL); \
	} while (0)
	REFUSED(size, 8);
	REFUSED(type, 0);
	REFUSED(type, 64);
	REFUSED(queues, 0);
	REFUSED(queues, 65);
	REFUSED(depth, 3);
	REFUSED(depth, 2048);
	REFUSED(features, 1ull << 32);
	REFUSED(max_in, VHX_MODEL_REQUEST_MAX + 1);
	REFUSED(config_len, 257);
	REFUSED(config, NULL);
	c = config_of("x");
	assert_int_equal(vhx_model_add(s, &c, &none, NULL, NULL), -EINVAL);
	assert_int_equal(vhx_model_add(s, &c, &ops, NULL, NULL), 0);
	assert_int_equal(vhx_model_add(s, &c, &ops, NULL, NULL), -EEXIST);
	assert_int_equal(vhx_server_set_poll(s, 1), -EISCONN);
	assert_int_equal(vhx_server_listen(s, "tcp:1"), -EINVAL);
	assert_int_equal(vhx_server_listen(s, "unix:/nonexistent/x/y"), -ENOENT);
	assert_int_equal(vhx_server_add_fd(s, -1), -EBADF);
	vhx_server_free(s);
	vhx_server_free(NULL);
}

/* A program built when structs were shorter: what it does not know is zero. */
static void test_shorter_structs_of_older_programs(void **state)
{
	struct vhx_model_ops old_ops = ops;
	struct vhx_model_config c = config_of("old");
	struct vhx_server *s;

	old_ops.size = offsetof(struct vhx_model_ops, room);
	c.size = offsetof(struct vhx_model_config, uuid);
	memset(c.uuid, 0xff, sizeof(c.uuid));
	assert_int_equal(vhx_server_new(&s), 0);
	assert_int_equal(vhx_model_add(s, &c, &old_ops, NULL, NULL), 0);
	vhx_server_free(s);
}

#define OTHER_USER 65534

/* A child that connects as @uid, and exits with 0 when it is let in, 3 when the connection ends at once. */
static pid_t connect_as(const char *path, uid_t uid)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	pid_t pid = fork();
	char byte;
	int fd;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	memcpy(name.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (fd < 0 || setuid(uid) || connect(fd, (struct sockaddr *)&name, sizeof(name)))
		_exit(1);
	/* Who is let in hears the provider's offer. */
	_exit(recv(fd, &byte, 1, 0) > 0 ? 0 : 3);
}

static int status_of(struct vhx_server *s, pid_t pid)
{
	int status;

	while (!waitpid(pid, &status, WNOHANG))
		assert_int_equal(vhx_server_wait(s, 10), 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Even where the file's mode would let them. */
static void test_other_users_are_not_let_in(void **state)
{
	char dir[] = "/tmp/vhx-test-XXXXXX", address[64];
	struct vhx_server *s;

	if (getuid())
		skip();
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	snprintf(address, sizeof(address), "unix:%s/s", dir);
	assert_int_equal(vhx_server_new(&s), 0);
	assert_int_equal(vhx_server_listen(s, address), 0);
	assert_int_equal(chmod(address + 5, 0666), 0);
	assert_int_equal(status_of(s, connect_as(address + 5, 0)), 0);
	assert_int_equal(status_of(s, connect_as(address + 5, OTHER_USER)), 3);
	vhx_server_free(s);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, world_open, world_close)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_models_are_refused),
		cmocka_unit_test(test_shorter_structs_of_older_programs),
		cmocka_unit_test(test_other_users_are_not_let_in),
		WORLD(test_driver_sees_the_model),
		WORLD(test_out_comes_back_as_in),
		WORLD(test_status_is_the_last_byte),
		WORLD(test_many_answers_wait_for_room),
		WORLD(test_oversized_request_is_marked),
		WORLD(test_held_request_ends_from_outside),
		WORLD(test_reset_forgets_what_is_held),
		WORLD(test_reset_waits_for_what_is_ended_later),
		WORLD(test_features_chosen_are_told),
		WORLD(test_config_changes_both_ways),
		WORLD(test_frontend_that_leaves_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
