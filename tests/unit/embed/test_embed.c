// SPDX-License-Identifier: BSD-3-Clause
/* libvhx against a backend with a disk in a second process. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "device/blk.h"
#include "exchange/local.h"
#include "vhx/vhx.h"

#define IMAGE_LEN (1u << 20)
#define BLOCK 4096u
#define DEPTH 8u
#define HANG_GUARD_MS 20000

struct disk_head {
	uint32_t type, reserved;
	uint64_t sector;
};

struct io {
	struct disk_head head;
	uint8_t data[BLOCK];
	uint8_t status;
	struct iovec out[2], in[2];
	unsigned int done;
	int64_t result;
};

struct world {
	pid_t backend;
	struct vhx_conn *conn;
	struct vhx_dev *dev;
	struct vhx_vq *vq;
	unsigned int events[VHX_EVENT_LOST + 1];
	unsigned int resubmit;
	int refused;
	struct io io[DEPTH + 1];
};

static void backend_main(int sock)
{
	struct vhx_blk_config blk = { .id = "disk", .num_queues = 2 };
	struct vhx_backend_config cfg = { .staging = 1u << 20 };
	struct vhx_backend *backend;
	struct vhx_device *dev;
	struct vhx_port *port;
	struct vhx_error err;

	blk.fd = memfd_create("image", MFD_CLOEXEC);
	if (blk.fd < 0 || ftruncate(blk.fd, IMAGE_LEN) || vhx_loop_new(0, &cfg.loop) ||
	    vhx_blk_new(cfg.loop, &blk, NULL, &dev, &err) || vhx_backend_new(&cfg, &backend) ||
	    vhx_backend_add_device(backend, dev) ||
	    vhx_local_open(sock, VHX_LOCAL_RING_DEFAULT, &port) ||
	    vhx_backend_add_port(backend, port))
		_exit(1);
	vhx_loop_run(cfg.loop);
	_exit(1);
}

static void event(void *ctx, enum vhx_event e)
{
	struct world *w = ctx;

	w->events[e]++;
}

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int socks[2];

	assert_non_null(w);
	*state = w;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	w->backend = fork();
	assert_true(w->backend >= 0);
	if (!w->backend) {
		close(socks[0]);
		backend_main(socks[1]);
	}
	close(socks[1]);
	assert_int_equal(vhx_conn_new(&w->conn), 0);
	assert_int_equal(vhx_conn_connect_fd(w->conn, socks[0]), 0);
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	vhx_conn_free(w->conn);
	kill(w->backend, SIGKILL);
	waitpid(w->backend, NULL, 0);
	free(w);
	return 0;
}

static void device_open(struct world *w)
{
	assert_int_equal(vhx_dev_open(w->conn, "disk", &w->dev), 0);
	vhx_dev_set_events(w->dev, event, w);
	assert_int_equal(vhx_dev_wait(w->dev, HANG_GUARD_MS), 0);
}

static void queue_start(struct world *w)
{
	device_open(w);
	assert_int_equal(vhx_vq_start(w->dev, 0, DEPTH, &w->vq), 0);
}

static int submit(struct world *w, unsigned int i, bool write, uint64_t block)
{
	struct io *io = &w->io[i];

	io->head = (struct disk_head){ .type = write, .sector = block * (BLOCK / 512) };
	io->status = 0xff;
	io->out[0] = (struct iovec){ &io->head, sizeof(io->head) };
	io->out[1] = (struct iovec){ io->data, BLOCK };
	io->in[0] = write ? (struct iovec){ &io->status, 1 } : io->out[1];
	io->in[1] = (struct iovec){ &io->status, 1 };
	return vhx_vq_submit(w->vq, io->out, write ? 2 : 1, io->in, write ? 1 : 2, io);
}

static unsigned int reap(struct world *w, unsigned int want)
{
	struct vhx_completion c[2];
	unsigned int got = 0, n, i;

	while (got < want) {
		n = vhx_vq_poll(w->vq, c, 2);
		for (i = 0; i < n; i++) {
			struct io *io = c[i].user;

			io->done++;
			io->result = c[i].result;
		}
		got += n;
		if (!n)
			assert_int_equal(vhx_conn_wait(w->conn, HANG_GUARD_MS), 0);
	}
	return got;
}

static void test_identity_is_known_after_wait(void **state)
{
	struct world *w = *state;
	uint64_t capacity = 0;

	assert_int_equal(vhx_dev_open(w->conn, "", &w->dev), 0);
	assert_int_equal(vhx_dev_read_config(w->dev, 0, &capacity, 8), -EAGAIN);
	vhx_dev_set_events(w->dev, event, w);
	assert_int_equal(vhx_dev_wait(w->dev, HANG_GUARD_MS), 0);
	assert_int_equal(w->events[VHX_EVENT_KNOWN], 1);
	assert_string_equal(vhx_dev_name(w->dev), "disk");
	assert_int_equal(vhx_dev_type(w->dev), 2);
	assert_int_equal(vhx_dev_queue_count(w->dev), 2);
	assert_int_equal(vhx_dev_read_config(w->dev, 0, &capacity, 8), 0);
	assert_int_equal(capacity, IMAGE_LEN / 512);
	assert_int_equal(vhx_dev_read_config(w->dev, vhx_dev_config_len(w->dev), &capacity, 1),
			 -EINVAL);
}

static void test_unknown_name_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(vhx_dev_open(w->conn, "tape", &w->dev), 0);
	assert_int_equal(vhx_dev_wait(w->dev, HANG_GUARD_MS), -ENODEV);
}

static void test_feature_not_offered_is_refused(void **state)
{
	struct world *w = *state;

	device_open(w);
	assert_int_equal(vhx_dev_features(w->dev) & 1ull << 9, 1ull << 9);
	assert_int_equal(vhx_dev_set_features(w->dev, 1ull << 63), -EINVAL);
	assert_int_equal(vhx_dev_set_features(w->dev, 1ull << 28), -EINVAL);
	assert_int_equal(vhx_dev_set_features(w->dev, 1ull << 9), 0);
}

static void test_queue_of_odd_shape_is_refused(void **state)
{
	struct world *w = *state;

	device_open(w);
	assert_int_equal(vhx_vq_start(w->dev, 2, DEPTH, &w->vq), -EINVAL);
	assert_int_equal(vhx_vq_start(w->dev, 0, 3, &w->vq), -EINVAL);
	assert_int_equal(vhx_vq_start(w->dev, 0, 2 * VHX_VQ_DEPTH_MAX, &w->vq), -EINVAL);
	assert_int_equal(vhx_vq_start(w->dev, 0, DEPTH, &w->vq), 0);
	assert_int_equal(vhx_vq_start(w->dev, 0, DEPTH, &w->vq), -EBUSY);
	assert_int_equal(vhx_dev_set_features(w->dev, 0), -EBUSY);
}

static void test_data_written_is_read_back(void **state)
{
	struct world *w = *state;

	queue_start(w);
	memset(w->io[0].data, 0x5a, BLOCK);
	assert_int_equal(submit(w, 0, true, 3), 0);
	reap(w, 1);
	assert_int_equal(w->io[0].status, 0);
	assert_int_equal(submit(w, 1, false, 3), 0);
	reap(w, 1);
	assert_int_equal(w->io[1].status, 0);
	assert_int_equal(w->io[1].result, BLOCK + 1);
	assert_memory_equal(w->io[1].data, w->io[0].data, BLOCK);
}

static void test_depth_is_a_limit(void **state)
{
	struct world *w = *state;
	unsigned int i;

	queue_start(w);
	for (i = 0; i < DEPTH; i++)
		assert_int_equal(submit(w, i, false, i), 0);
	assert_int_equal(submit(w, DEPTH, false, 0), -EAGAIN);
	assert_int_equal(vhx_vq_count(w->vq), DEPTH);
	reap(w, DEPTH);
	assert_int_equal(vhx_vq_count(w->vq), 0);
	assert_int_equal(submit(w, DEPTH, false, 0), 0);
	reap(w, 1);
}

static void test_request_without_bytes_is_refused(void **state)
{
	struct world *w = *state;
	struct iovec big[2] = { { w->io, UINT32_MAX }, { w->io, 1 } };

	queue_start(w);
	assert_int_equal(vhx_vq_submit(w->vq, NULL, 0, NULL, 0, NULL), -EINVAL);
	assert_int_equal(vhx_vq_submit(w->vq, big, 2, NULL, 0, NULL), -EINVAL);
	assert_int_equal(vhx_vq_count(w->vq), 0);
}

static void done(void *ctx, const struct vhx_completion *c)
{
	struct world *w = ctx;
	struct io *io = c->user;

	io->done++;
	io->result = c->result;
	if (w->refused)
		w->refused = vhx_vq_stop(w->vq) == -EDEADLK && vhx_dev_reset(w->dev) == -EDEADLK &&
			     vhx_conn_wait(w->conn, 0) == -EDEADLK;
	if (c->result == -ECANCELED)
		return;
	if (w->resubmit) {
		w->resubmit--;
		assert_int_equal(submit(w, (unsigned int)(io - w->io), false, 0), 0);
	} else if (!vhx_vq_count(w->vq)) {
		vhx_conn_stop(w->conn);
	}
}

static void test_callbacks_may_submit_and_stop(void **state)
{
	struct world *w = *state;
	struct vhx_conn_stats stats;
	unsigned int i, sum = 0;

	queue_start(w);
	vhx_vq_set_callback(w->vq, done, w);
	w->resubmit = 1000;
	w->refused = 1;
	for (i = 0; i < DEPTH; i++)
		assert_int_equal(submit(w, i, false, i), 0);
	assert_int_equal(vhx_conn_run(w->conn), 0);
	for (i = 0; i < DEPTH; i++)
		sum += w->io[i].done;
	assert_int_equal(sum, 1000 + DEPTH);
	assert_int_equal(w->refused, 1);
	vhx_conn_stats(w->conn, &stats, sizeof(stats));
	assert_true(stats.rx_bytes > (uint64_t)(1000 + DEPTH) * BLOCK);
	assert_true(stats.memory >= 1u << 20);
}

static void test_own_loop_polls_the_descriptor(void **state)
{
	struct world *w = *state;
	struct vhx_completion c;
	fd_set set;

	queue_start(w);
	assert_int_equal(submit(w, 0, false, 0), 0);
	assert_int_equal(vhx_conn_dispatch(w->conn), 0);
	while (!vhx_vq_poll(w->vq, &c, 1)) {
		struct timeval guard = { .tv_sec = HANG_GUARD_MS / 1000 };

		FD_ZERO(&set);
		FD_SET(vhx_conn_fileno(w->conn), &set);
		assert_int_equal(select(vhx_conn_fileno(w->conn) + 1, &set, NULL, NULL, &guard), 1);
		assert_int_equal(vhx_conn_dispatch(w->conn), 0);
	}
	assert_ptr_equal(c.user, &w->io[0]);
}

static void test_reset_cancels_what_is_in_flight(void **state)
{
	struct world *w = *state;
	unsigned int i;
	int ret;

	queue_start(w);
	vhx_vq_set_callback(w->vq, done, w);
	for (i = 0; i < DEPTH; i++)
		assert_int_equal(submit(w, i, false, i), 0);
	ret = vhx_dev_reset(w->dev);
	assert_true(ret == 0 || ret == -EINPROGRESS);
	for (i = 0; i < DEPTH; i++) {
		assert_int_equal(w->io[i].done, 1);
		assert_int_equal(w->io[i].result, -ECANCELED);
	}
	assert_int_equal(vhx_dev_wait(w->dev, HANG_GUARD_MS), 0);
	assert_int_equal(vhx_vq_start(w->dev, 0, DEPTH, &w->vq), 0);
	assert_int_equal(submit(w, 0, false, 0), 0);
	w->io[0].done = 0;
	reap(w, 1);
	assert_int_equal(w->io[0].status, 0);
}

static void test_stop_waits_for_what_was_sent(void **state)
{
	struct world *w = *state;
	unsigned int i, whole = 0;
	int ret;

	queue_start(w);
	vhx_vq_set_callback(w->vq, done, w);
	w->resubmit = 2 * DEPTH;
	for (i = 0; i < DEPTH; i++)
		assert_int_equal(submit(w, i, false, i), 0);
	while (w->resubmit)
		assert_int_equal(vhx_conn_wait(w->conn, HANG_GUARD_MS), 0);
	ret = vhx_vq_stop(w->vq);
	if (ret == -EINPROGRESS) {
		assert_int_equal(submit(w, DEPTH, false, 0), -ESHUTDOWN);
		assert_int_equal(vhx_vq_stop(w->vq), -EALREADY);
		assert_int_equal(vhx_dev_wait(w->dev, HANG_GUARD_MS), 0);
		assert_int_equal(w->events[VHX_EVENT_STOPPED], 1);
	} else {
		assert_int_equal(ret, 0);
	}
	for (i = 0; i < DEPTH; i++)
		whole += w->io[i].done;
	assert_int_equal(whole, 3 * DEPTH);
	assert_int_equal(vhx_vq_start(w->dev, 0, DEPTH, &w->vq), 0);
}

static void test_loss_is_told_and_reset_ends_requests(void **state)
{
	struct world *w = *state;

	queue_start(w);
	vhx_vq_set_callback(w->vq, done, w);
	kill(w->backend, SIGKILL);
	assert_int_equal(submit(w, 0, false, 0), 0);
	while (!w->events[VHX_EVENT_LOST])
		assert_int_equal(vhx_conn_wait(w->conn, HANG_GUARD_MS), 0);
	assert_int_equal(vhx_dev_reset(w->dev), 0);
	assert_int_equal(w->io[0].done, 1);
}

static void test_settings_after_connect_are_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(vhx_conn_connect(w->conn, "unix:/nowhere"), -EISCONN);
	assert_int_equal(vhx_conn_set_poll(w->conn, 1), -EISCONN);
	assert_int_equal(vhx_conn_set_ring_size(w->conn, 1u << 20), -EISCONN);
}

static void test_addresses(void **state)
{
	char lengthy[300];
	struct vhx_conn *conn;
	struct vhx_dev *dev;

	memset(lengthy, 'x', sizeof(lengthy) - 1);
	memcpy(lengthy, "unix:", 5);
	lengthy[sizeof(lengthy) - 1] = '\0';
	assert_int_equal(vhx_conn_new(&conn), 0);
	assert_int_equal(vhx_conn_fileno(conn), -ENOTCONN);
	assert_int_equal(vhx_dev_open(conn, "", &dev), -ENOTCONN);
	assert_int_equal(vhx_conn_connect(conn, "/tmp/x"), -EINVAL);
	assert_int_equal(vhx_conn_connect(conn, "unix:"), -EINVAL);
	assert_int_equal(vhx_conn_connect(conn, lengthy), -ENAMETOOLONG);
	assert_int_equal(vhx_conn_set_ring_size(conn, 3000), -EINVAL);
	/* Nobody is there: that is no error, it may come. */
	assert_int_equal(vhx_conn_connect(conn, "unix:/nonexistent/vhx.sock"), 0);
	assert_int_equal(vhx_dev_open(conn, "", &dev), 0);
	assert_int_equal(vhx_dev_wait(dev, 30), -ETIMEDOUT);
	vhx_conn_free(conn);
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, world_open, world_close)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		WORLD(test_identity_is_known_after_wait),
		WORLD(test_unknown_name_is_refused),
		WORLD(test_feature_not_offered_is_refused),
		WORLD(test_queue_of_odd_shape_is_refused),
		WORLD(test_data_written_is_read_back),
		WORLD(test_depth_is_a_limit),
		WORLD(test_request_without_bytes_is_refused),
		WORLD(test_callbacks_may_submit_and_stop),
		WORLD(test_own_loop_polls_the_descriptor),
		WORLD(test_reset_cancels_what_is_in_flight),
		WORLD(test_stop_waits_for_what_was_sent),
		WORLD(test_loss_is_told_and_reset_ends_requests),
		WORLD(test_settings_after_connect_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
