// SPDX-License-Identifier: BSD-3-Clause
/* What a link makes of the provider below it. */
#include "link/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "exchange/ivshmem.h"
#include "exchange/loopback.h"

#include <vhx/section.h>

#define RING_LEN (64u << 10)

static const struct vhx_link_ops ops;

static uint64_t poll_of(struct vhx_port *port)
{
	struct vhx_loop *loop;
	struct vhx_link link;
	uint64_t ns;

	assert_int_equal(vhx_loop_new(0, &loop), 0);
	assert_int_equal(vhx_link_open(&link, loop, port, &ops, NULL), 0);
	ns = link.hook.poll_ns;
	vhx_link_close(&link);
	vhx_loop_free(loop);
	return ns;
}

static struct vhx_port *window_port(int *other)
{
	int window = vhx_ivshmem_window_create(VHX_WINDOW_SIZE_MIN), socks[2];
	struct vhx_port *port;

	assert_true(window >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	assert_int_equal(vhx_ivshmem_open(socks[0], window, VHX_WINDOW_SIZE_MIN, VHX_WINDOW_HOST,
					  &port),
			 0);
	close(window);
	*other = socks[1];
	return port;
}

/* A process is woken cheaply; a guest by an exit, an interrupt and a third process. */
static void test_look_is_longer_where_a_wake_is_dear(void **state)
{
	struct vhx_port *ends[2];
	int other;

	assert_int_equal(vhx_loopback_pair(RING_LEN, ends), 0);
	vhx_port_close(ends[1]);
	assert_int_equal(poll_of(ends[0]), 0);
	assert_int_equal(poll_of(window_port(&other)), VHX_LINK_POLL_DEAR_NS);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_look_is_longer_where_a_wake_is_dear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
