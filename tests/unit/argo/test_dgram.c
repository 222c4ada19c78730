// SPDX-License-Identifier: BSD-3-Clause
/* Datagram endpoints on the model hypervisor. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node.h"

#define PORT 0x1234u

static struct nodes nodes;

static int setup(void **state)
{
	nodes_open(&nodes, true);
	return 0;
}

static int teardown(void **state)
{
	nodes_close(&nodes);
	return 0;
}

static struct vhx_argo_dgram *open_at(uint16_t domid, uint32_t port, uint16_t partner)
{
	struct vhx_argo_dgram *d;

	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[domid], port, partner, &d), 0);
	return d;
}

static struct vhx_argo_address address(uint16_t domid, uint32_t port)
{
	return (struct vhx_argo_address){ .port = port,
					  .domid = domid,
					  .type = VHX_ARGO_TYPE_DGRAM };
}

static bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

static void test_a_datagram_arrives_with_its_source(void **state)
{
	struct vhx_argo_dgram *a = open_at(A, 0, B), *b = open_at(B, PORT, A);
	struct vhx_argo_address to = address(B, PORT), from;
	char buf[16];

	assert_true(vhx_argo_dgram_port(a) >= 0x80000000u);
	assert_int_equal(vhx_argo_dgram_recv(b, &from, buf, sizeof(buf)), -EAGAIN);
	assert_false(readable(vhx_argo_dgram_fileno(b)));
	assert_int_equal(vhx_argo_dgram_send(a, &to, "hello", 5), 0);
	assert_int_equal(vhx_argo_dgram_wait(b, GUARD_MS), 0);
	assert_int_equal(vhx_argo_dgram_recv(b, &from, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(from.domid, A);
	assert_int_equal(from.port, vhx_argo_dgram_port(a));
	assert_int_equal(from.type, VHX_ARGO_TYPE_DGRAM);
	assert_int_equal(vhx_argo_dgram_send(b, &from, "", 0), 0);
	assert_int_equal(vhx_argo_dgram_recv(a, &from, buf, sizeof(buf)), 0);
	vhx_argo_dgram_close(a);
	vhx_argo_dgram_close(b);
}

static void test_other_types_pass_too(void **state)
{
	struct vhx_argo_dgram *b = open_at(B, PORT, A);
	struct vhx_argo_address from;
	char buf[4];

	assert_int_equal(raw_send(&nodes, A, 7, B, PORT, 0x6447724d, "longer", 6), 6);
	assert_int_equal(vhx_argo_dgram_recv(b, &from, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "long", 4);
	assert_int_equal(from.type, 0x6447724d);
	assert_int_equal(from.port, 7);
	assert_int_equal(vhx_argo_dgram_recv(b, NULL, buf, sizeof(buf)), -EAGAIN);
	vhx_argo_dgram_close(b);
}

/* Each is numbered; the sender is refused again and again, and waits by its descriptor alone. */
static void test_a_full_ring_loses_nothing(void **state)
{
	enum { COUNT = 5000 };
	struct vhx_argo_address to = address(B, PORT);
	struct vhx_argo_dgram *a, *b;
	unsigned int sent = 0, got = 0, refused = 0;
	uint32_t data[64] = { 0 };

	assert_int_equal(vhx_argo_driver_set_ring_len(&nodes.driver[B], 4096), 0);
	a = open_at(A, 0, B);
	b = open_at(B, PORT, A);
	while (got < COUNT) {
		while (sent < COUNT) {
			data[0] = sent;
			if (vhx_argo_dgram_send(a, &to, data, 4 + sent % 200) == -EAGAIN)
				break;
			sent++;
		}
		if (sent < COUNT) {
			refused++;
			assert_false(readable(vhx_argo_dgram_fileno(a)));
		}
		while (vhx_argo_dgram_recv(b, NULL, data, sizeof(data)) != -EAGAIN)
			assert_int_equal(data[0], got++);
		assert_int_equal(got, sent);
		if (refused && sent < COUNT)
			assert_int_equal(vhx_argo_dgram_wait(a, GUARD_MS), 0);
	}
	assert_true(refused > 10);
	vhx_argo_dgram_close(a);
	vhx_argo_dgram_close(b);
}

static void test_refusals_have_their_reasons(void **state)
{
	struct vhx_argo_dgram *a = open_at(A, PORT, B), *b, *again;
	struct vhx_argo_address to = address(B, PORT);
	static char big[1 << 18];

	assert_int_equal(vhx_argo_dgram_send(a, &to, "x", 1), -ECONNREFUSED);
	to.domid = 9;
	assert_int_equal(vhx_argo_dgram_send(a, &to, "x", 1), -ESRCH);
	b = open_at(B, PORT, VHX_ARGO_ANYBODY);
	to = address(B, PORT);
	assert_int_equal(vhx_argo_dgram_send(a, &to, big, sizeof(big)), -EMSGSIZE);
	to.reserved = 1;
	assert_int_equal(vhx_argo_dgram_send(a, &to, "x", 1), -EINVAL);
	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[A], PORT, B, &again), -EADDRINUSE);
	assert_int_equal(vhx_argo_dgram_open(&nodes.driver[A], PORT, 9, &again), -ESRCH);
	vhx_argo_dgram_close(a);
	vhx_argo_dgram_close(b);
	vhx_argo_dgram_close(NULL);
}

static void test_a_ring_for_one_takes_nobody_elses(void **state)
{
	struct vhx_argo_dgram *b = open_at(B, PORT, A), *c = open_at(C, 0, B);
	struct vhx_argo_address to = address(B, PORT);

	assert_int_equal(vhx_argo_dgram_send(c, &to, "x", 1), -ECONNREFUSED);
	vhx_argo_dgram_close(b);
	vhx_argo_dgram_close(c);
}

static void test_everybody_where_xen_allows_it(void **state)
{
	struct vhx_argo_dgram *b = open_at(B, PORT, VHX_ARGO_ANYBODY), *a = open_at(A, 0, B),
			      *c = open_at(C, 0, B);
	struct vhx_argo_address to = address(B, PORT), from;
	struct nodes strict;
	char buf[1];

	assert_int_equal(vhx_argo_dgram_send(c, &to, "c", 1), 0);
	assert_int_equal(vhx_argo_dgram_send(a, &to, "a", 1), 0);
	assert_int_equal(vhx_argo_dgram_recv(b, &from, buf, 1), 1);
	assert_int_equal(from.domid, C);
	assert_int_equal(vhx_argo_dgram_recv(b, &from, buf, 1), 1);
	assert_int_equal(from.domid, A);
	vhx_argo_dgram_close(a);
	vhx_argo_dgram_close(b);
	vhx_argo_dgram_close(c);
	nodes_open(&strict, false);
	assert_int_equal(vhx_argo_dgram_open(&strict.driver[B], PORT, VHX_ARGO_ANYBODY, &b),
			 -EPERM);
	nodes_close(&strict);
}

static void test_the_end_of_the_partner_is_found(void **state)
{
	struct vhx_argo_dgram *b;

	assert_int_equal(vhx_argo_driver_set_probe(&nodes.driver[B], 1), 0);
	b = open_at(B, PORT, A);
	assert_int_equal(vhx_argo_dgram_recv(b, NULL, NULL, 0), -EAGAIN);
	vhx_argo_domain_destroy(nodes.hv, A);
	assert_int_equal(vhx_argo_dgram_wait(b, GUARD_MS), 0);
	assert_int_equal(vhx_argo_dgram_recv(b, NULL, NULL, 0), -ENOTCONN);
	vhx_argo_dgram_close(b);
}

static void test_settings_have_bounds(void **state)
{
	struct vhx_argo_driver *d = &nodes.driver[A];

	assert_int_equal(vhx_argo_driver_set_ring_len(d, 4080), -EINVAL);
	assert_int_equal(vhx_argo_driver_set_ring_len(d, 4100), -EINVAL);
	assert_int_equal(vhx_argo_driver_set_ring_len(d, 16777152), 0);
	assert_int_equal(vhx_argo_driver_set_ring_len(d, 16777168), -EINVAL);
	assert_int_equal(vhx_argo_driver_set_probe(d, 0), -EINVAL);
	assert_int_equal(vhx_argo_driver_set_probe(d, 3600001), -EINVAL);
	assert_int_equal(vhx_argo_driver_domid(d), A);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_a_datagram_arrives_with_its_source),
		CASE(test_other_types_pass_too),
		CASE(test_a_full_ring_loses_nothing),
		CASE(test_refusals_have_their_reasons),
		CASE(test_a_ring_for_one_takes_nobody_elses),
		CASE(test_everybody_where_xen_allows_it),
		CASE(test_the_end_of_the_partner_is_found),
		CASE(test_settings_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
