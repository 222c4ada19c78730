// SPDX-License-Identifier: BSD-3-Clause
/* Framing, partial messages, requests that take time, and VMMs that come and go. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "../fds.h"
#include "vu_client.h"

/* The limit that is set where a test wants none left. */
#define DESCRIPTORS_MAX 128

static void raw_header(struct env *e, uint32_t request, uint32_t flags, uint32_t size)
{
	struct vhx_vu_header h = { request, flags, size };

	assert_int_equal(send(e->sock, &h, sizeof(h), MSG_NOSIGNAL), sizeof(h));
}

static void test_header_of_another_version(void **state)
{
	raw_header(*state, VHX_VU_SET_OWNER, 2, 0);
	assert_true(client_closed(*state));
}

static void test_header_says_reply(void **state)
{
	raw_header(*state, VHX_VU_SET_OWNER, VHX_VU_VERSION | VHX_VU_FLAG_REPLY, 0);
	assert_true(client_closed(*state));
}

static void test_payload_larger_than_any(void **state)
{
	raw_header(*state, VHX_VU_SET_MEM_TABLE, VHX_VU_VERSION, sizeof(union vhx_vu_payload) + 1);
	assert_true(client_closed(*state));
	env_reconnect(*state);
	raw_header(*state, VHX_VU_SET_MEM_TABLE, VHX_VU_VERSION, UINT32_MAX);
	assert_true(client_closed(*state));
}

static void test_more_descriptors_than_any_message_has(void **state)
{
	struct env *e = *state;
	int fds[VHX_VU_FDS_MAX + 1];

	for (size_t i = 0; i < VHX_ARRAY_SIZE(fds); i++)
		fds[i] = e->mem_fd;
	client_put(e->sock, VHX_VU_SET_OWNER, 0, NULL, 0, fds, VHX_ARRAY_SIZE(fds));
	assert_true(client_closed(e)); /* the teardown counts descriptors */
}

static void test_descriptors_on_each_byte(void **state)
{
	struct env *e = *state;
	struct vhx_vu_header h = { VHX_VU_SET_OWNER, VHX_VU_VERSION, 0 };
	int fds[8];

	for (size_t i = 0; i < VHX_ARRAY_SIZE(fds); i++)
		fds[i] = e->mem_fd;
	for (size_t i = 0; i < sizeof(h); i++) {
		struct iovec iov = { (uint8_t *)&h + i, 1 };

		if (fds_send(e->sock, &iov, 1, fds, VHX_ARRAY_SIZE(fds)) < 0)
			break;
		server_run(e);
	}
	assert_true(client_closed(e));
}

static void test_message_byte_by_byte(void **state)
{
	struct env *e = *state;
	struct {
		struct vhx_vu_header h;
		struct vhx_vu_config_space c;
	} m = { { VHX_VU_GET_CONFIG, VHX_VU_VERSION, VHX_VU_CONFIG_HDR + 8 }, { 4, 8, 0, { 0 } } };
	struct answer a;

	for (size_t i = 0; i < sizeof(m.h) + m.h.size; i++) {
		assert_false(client_answer(e, &a));
		assert_int_equal(send(e->sock, (uint8_t *)&m + i, 1, 0), 1);
		server_run(e);
	}
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.size, VHX_VU_CONFIG_HDR + 8);
}

static void test_many_messages_at_once(void **state)
{
	struct env *e = *state;
	struct answer a;

	for (int i = 0; i < 100; i++)
		client_put(e->sock, VHX_VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	server_run(e);
	for (int i = 0; i < 100; i++)
		assert_true(client_answer(e, &a));
	assert_false(client_answer(e, &a));
}

static void test_client_leaves_within_a_message(void **state)
{
	struct env *e = *state;
	struct vhx_vu_header h = { VHX_VU_SET_MEM_TABLE, VHX_VU_VERSION, 40 };

	for (size_t len = 0; len <= sizeof(h); len++) {
		int gone = e->owner.gone;

		if (len)
			assert_int_equal(send(e->sock, &h, len, 0), len);
		env_reconnect(e);
		assert_int_equal(e->owner.gone, gone + 1);
	}
	client_start(e);
}

/* After each step of setting up two queues: nothing leaks, the next VMM is served. */
static void session(struct env *e, int steps)
{
	struct vhx_vu_vring_addr addr = client_ring_addr(0);

	for (int step = 0; step < steps; step++) {
		switch (step) {
		case 0:
			client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
			break;
		case 1:
			client_mem_table(e);
			break;
		case 2:
			client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, QUEUE_SIZE);
			break;
		case 3:
			client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 0);
			break;
		case 4:
			client_ack(e, VHX_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
			break;
		case 5:
			client_ack_u64(e, VHX_VU_SET_VRING_CALL, 0, e->call[0]);
			break;
		case 6:
			client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]);
			break;
		case 7:
			client_ack_u64(e, VHX_VU_SET_VRING_ERR, 0, e->call[0]);
			break;
		case 8:
			client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1);
			break;
		case 9:
			client_base(e, 0);
			break;
		}
	}
}

static void test_client_leaves_at_every_step(void **state)
{
	struct env *e = *state;
	int open_before = fds_open();

	for (int steps = 0; steps <= 10; steps++) {
		session(e, steps);
		env_reconnect(e);
		assert_int_equal(e->owner.gone, steps + 1);
		assert_int_equal(fds_open(), open_before);
		assert_false(vhx_vu_server_queue(e->owner.server, 0)->started);
	}
	client_start(e);
}

static void test_second_client_waits_for_the_first(void **state)
{
	struct env *e = *state;
	int first = e->sock, second = client_connect(e);
	struct answer a;

	client_put(second, VHX_VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	server_run(e);
	assert_int_equal(e->owner.connected, 1);
	client_start(e);
	e->sock = second;
	assert_false(client_answer(e, &a));
	close(first);
	server_run(e);
	assert_int_equal(e->owner.gone, 1);
	assert_int_equal(e->owner.connected, 2);
	assert_true(client_answer(e, &a));
}

static void test_client_that_does_not_read_is_dropped(void **state)
{
	struct env *e = *state;
	int i;

	for (i = 0; i < 100000 && e->owner.conn_fd >= 0; i++) {
		struct vhx_vu_header h = { VHX_VU_GET_FEATURES, VHX_VU_VERSION, 0 };

		if (send(e->sock, &h, sizeof(h), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(h))
			break;
		server_run(e);
	}
	assert_true(e->owner.conn_fd < 0);
	env_reconnect(e);
	client_start(e);
}

static void put_base(struct env *e, uint32_t index)
{
	struct vhx_vu_vring_state s = { index, 0 };

	client_send(e, VHX_VU_GET_VRING_BASE, &s, sizeof(s), NULL, 0);
}

static void test_base_waits_for_requests_in_flight(void **state)
{
	struct env *e = *state;
	struct answer a;

	client_start(e);
	e->owner.stop_ret = -EINPROGRESS;
	put_base(e, 0);
	assert_true(e->owner.stalled);
	/* what comes meanwhile is answered afterwards, in order */
	client_send(e, VHX_VU_GET_FEATURES, NULL, 0, NULL, 0);
	assert_false(client_answer(e, &a));
	vhx_vu_server_queue(e->owner.server, 0)->ring.avail_idx = 9;
	vhx_vu_server_finish(e->owner.server, 0);
	assert_false(e->owner.stalled);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.request, VHX_VU_GET_VRING_BASE);
	assert_int_equal(a.payload.state.num, 9);
	server_run(e);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.request, VHX_VU_GET_FEATURES);
}

static void test_disable_waits_for_requests_in_flight(void **state)
{
	struct env *e = *state;
	struct answer a;
	struct vhx_vu_vring_state s = { 0, 0 };

	client_start(e);
	e->owner.stop_ret = -EINPROGRESS;
	client_put(e->sock, VHX_VU_SET_VRING_ENABLE, VHX_VU_FLAG_NEED_REPLY, &s, sizeof(s), NULL,
		   0);
	server_run(e);
	assert_true(e->owner.stalled);
	assert_true(vhx_vu_server_queue(e->owner.server, 0)->started);
	vhx_vu_server_finish(e->owner.server, 0);
	assert_false(vhx_vu_server_queue(e->owner.server, 0)->started);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.payload.u64, 0);
}

static void test_reset_waits_for_each_queue_and_the_device(void **state)
{
	static const uint32_t requests[] = { VHX_VU_RESET_DEVICE, VHX_VU_SET_STATUS };
	struct env *e = *state;
	uint64_t zero = 0;
	struct answer a;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(requests); i++) {
		client_start(e);
		e->owner.stop_ret = e->owner.reset_ret = e->owner.status_ret = -EINPROGRESS;
		client_put(e->sock, requests[i], VHX_VU_FLAG_NEED_REPLY, &zero, i ? 8 : 0, NULL, 0);
		server_run(e);
		for (int waits = 0; waits < QUEUES + 1; waits++) {
			assert_false(client_answer(e, &a));
			assert_true(e->owner.stalled);
			vhx_vu_server_finish(e->owner.server, 0);
		}
		assert_false(e->owner.stalled);
		assert_true(client_answer(e, &a));
		assert_int_equal(a.payload.u64, 0);
		e->owner.stop_ret = e->owner.reset_ret = e->owner.status_ret = 0;
		env_reconnect(e);
	}
}

static void test_client_leaves_while_stalled(void **state)
{
	struct env *e = *state;

	client_start(e);
	e->owner.stop_ret = -EINPROGRESS;
	put_base(e, 0);
	assert_true(e->owner.stalled);
	vhx_vu_server_drop(e->owner.server);
	assert_int_equal(e->owner.gone, 1);
	vhx_vu_server_finish(e->owner.server, 0); /* too late: nothing waits for it */
	e->owner.stop_ret = 0;
	env_reconnect(e);
	client_start(e);
}

static void test_failed_stop_ends_the_connection(void **state)
{
	struct env *e = *state;

	client_start(e);
	e->owner.stop_ret = -EINPROGRESS;
	put_base(e, 0);
	vhx_vu_server_finish(e->owner.server, -EIO);
	assert_true(client_closed(e));
	e->owner.stop_ret = -EIO;
	env_reconnect(e);
	client_start(e);
	put_base(e, 0);
	assert_true(client_closed(e));
}

static void test_owner_drops_from_within_an_op(void **state)
{
	struct env *e = *state;
	struct vhx_vu_vring_state s = { 0, 1 };

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	client_mem_table(e);
	client_queue_setup(e, 0);
	e->owner.drop_in_start = true;
	client_send(e, VHX_VU_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0);
	assert_true(client_closed(e));
	assert_int_equal(e->owner.gone, 1);
}

static void test_free_while_serving(void **state)
{
	client_start(*state); /* the teardown frees the server, and counts descriptors */
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

static void test_client_that_comes_without_descriptors_left(void **state)
{
	struct env *e = *state;
	struct rlimit old, low;
	struct pollfd waiting;
	int held[DESCRIPTORS_MAX];
	size_t cnt = 0;

	close(e->sock);
	server_run(e);
	e->sock = client_connect(e);
	waiting = (struct pollfd){ .fd = e->owner.listen_fd, .events = POLLIN };
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){ DESCRIPTORS_MAX, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (cnt < DESCRIPTORS_MAX && (held[cnt] = dup(e->mem_fd)) >= 0)
		cnt++;
	vhx_vu_server_accept(e->owner.server);
	while (cnt)
		close(held[--cnt]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(poll(&waiting, 1, 0), 0);
	assert_int_equal(e->owner.connected, 1);
	assert_true(client_closed(e));
	env_reconnect(e);
	assert_int_equal(e->owner.connected, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_header_of_another_version),
		T(test_header_says_reply),
		T(test_payload_larger_than_any),
		T(test_more_descriptors_than_any_message_has),
		T(test_descriptors_on_each_byte),
		T(test_message_byte_by_byte),
		T(test_many_messages_at_once),
		T(test_client_leaves_within_a_message),
		T(test_client_leaves_at_every_step),
		T(test_second_client_waits_for_the_first),
		T(test_client_that_does_not_read_is_dropped),
		T(test_base_waits_for_requests_in_flight),
		T(test_disable_waits_for_requests_in_flight),
		T(test_reset_waits_for_each_queue_and_the_device),
		T(test_client_leaves_while_stalled),
		T(test_failed_stop_ends_the_connection),
		T(test_owner_drops_from_within_an_op),
		T(test_free_while_serving),
		T(test_client_that_comes_without_descriptors_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
