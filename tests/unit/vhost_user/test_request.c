// SPDX-License-Identifier: BSD-3-Clause
/* Each request, well and badly formed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_user/server_state.h"
#include "vu_client.h"

static struct vhx_vu_queue *queue(struct env *e, uint16_t index)
{
	return vhx_vu_server_queue(e->owner.server, index);
}

/* Every row of the table: a payload one byte too short or long, a descriptor too few or many. */
static void test_each_request_with_wrong_size_or_descriptors(void **state)
{
	static uint8_t junk[sizeof(union vhx_vu_payload) + 1];
	struct env *e = *state;
	int fds[VHX_VU_FDS_MAX + 1];

	for (unsigned int i = 0; i < VHX_ARRAY_SIZE(fds); i++)
		fds[i] = e->mem_fd;
	for (uint32_t id = 1; id <= VHX_VU_GET_STATUS; id++) {
		const struct vhx_vu_row *row = vhx_vu_row_find(id);

		if (!row)
			continue;
		if (row->size_min && row->reply != VHX_VU_REPLY_STATUS) {
			client_put(e->sock, id, 0, junk, row->size_min - 1, fds, row->fds_min);
			if (!row->soft)
				assert_true(client_closed(e));
			env_reconnect(e);
		}
		client_put(e->sock, id, 0, junk, row->size_max + 1, fds, row->fds_min);
		if (!row->soft && row->reply != VHX_VU_REPLY_STATUS)
			assert_true(client_closed(e));
		env_reconnect(e);
		client_put(e->sock, id, 0, junk, row->size_min, fds, row->fds_max + 1u);
		if (!row->soft && row->reply != VHX_VU_REPLY_STATUS)
			assert_true(client_closed(e));
		env_reconnect(e);
	}
	client_start(e); /* and it still serves */
}

static void test_unknown_request_ends_the_connection(void **state)
{
	struct env *e = *state;

	client_put(e->sock, 4711, 0, "abcd", 4, NULL, 0);
	assert_true(client_closed(e));
	assert_int_equal(e->owner.gone, 1);
}

static void test_unknown_request_is_refused_in_band(void **state)
{
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	assert_int_not_equal(client_ack(e, 4711, "abcd", 4, &e->mem_fd, 1), 0);
	assert_int_equal(client_get(e, VHX_VU_GET_QUEUE_NUM), QUEUES);
}

static void test_need_reply_without_the_feature_is_silent(void **state)
{
	struct env *e = *state;
	struct answer a;

	client_put(e->sock, VHX_VU_SET_OWNER, VHX_VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	server_run(e);
	assert_false(client_answer(e, &a));
	assert_true(e->owner.conn_fd >= 0);
}

static void test_features_offered_and_accepted(void **state)
{
	struct env *e = *state;
	uint64_t offered = client_get(e, VHX_VU_GET_FEATURES);

	assert_int_equal(offered, F_DEVICE | F_VERSION_1 | F_PROTOCOL | F_LOG_ALL | F_IN_ORDER |
					  F_PACKED | 3ull << 28);
	client_negotiate(e, F_VERSION_1 | F_PROTOCOL | F_LOG_ALL | F_DEVICE);
	assert_int_equal(e->owner.features, F_VERSION_1 | F_DEVICE);
	assert_int_not_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, offered | 1ull << 33, -1), 0);
	assert_int_not_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, 1, -1), 0);
}

static void test_protocol_features_not_offered_are_refused(void **state)
{
	struct env *e = *state;
	uint64_t bad = 1ull << 63;

	client_send(e, VHX_VU_SET_PROTOCOL_FEATURES, &bad, sizeof(bad), NULL, 0);
	assert_true(client_closed(e));
}

static void test_features_change_under_running_rings(void **state)
{
	struct env *e = *state;
	uint64_t f = F_VERSION_1 | F_PROTOCOL | F_DEVICE;

	client_start(e);
	assert_int_not_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, f | F_PACKED, -1), 0);
	assert_int_not_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, f & ~F_DEVICE, -1), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, f | F_LOG_ALL, -1), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, f, -1), 0);
	assert_int_equal(e->owner.starts, QUEUES);
	assert_int_equal(e->owner.stops, 0);
}

static void test_rings_start_enabled_without_protocol_features(void **state)
{
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1);
	assert_int_equal(client_mem_table(e), 0);
	client_queue_setup(e, 0);
	assert_true(queue(e, 0)->started);
}

static uint64_t start_step(struct env *e, int step)
{
	struct vhx_vu_vring_addr addr = client_ring_addr(0);

	switch (step) {
	case 0:
		return client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, QUEUE_SIZE);
	case 1:
		return client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 0);
	case 2:
		return client_ack(e, VHX_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	case 3:
		return client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]);
	case 4:
		return client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1);
	default:
		return client_ack_u64(e, VHX_VU_SET_FEATURES, F_VERSION_1 | F_PROTOCOL, -1);
	}
}

static void test_queue_starts_whatever_comes_last(void **state)
{
	struct env *e = *state;

	for (int first = 0; first < 6; first++) {
		client_negotiate_protocol(e);
		assert_int_equal(client_mem_table(e), 0);
		for (int i = 0; i < 6; i++) {
			assert_false(queue(e, 0)->started);
			assert_int_equal(start_step(e, (first + i) % 6), 0);
		}
		assert_true(queue(e, 0)->started);
		env_reconnect(e);
	}
}

static void test_ring_index_out_of_range(void **state)
{
	static const uint32_t requests[] = { VHX_VU_SET_VRING_NUM, VHX_VU_SET_VRING_BASE,
					     VHX_VU_SET_VRING_ENABLE };
	struct env *e = *state;
	struct vhx_vu_vring_addr addr = client_ring_addr(0);
	struct vhx_vu_vring_state s = { QUEUES, 0 };

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	for (size_t i = 0; i < VHX_ARRAY_SIZE(requests); i++) {
		assert_int_not_equal(client_ack_state(e, requests[i], QUEUES, 1), 0);
		assert_int_not_equal(client_ack_state(e, requests[i], UINT32_MAX, 1), 0);
	}
	addr.index = QUEUES;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	for (uint32_t r = VHX_VU_SET_VRING_KICK; r <= VHX_VU_SET_VRING_ERR; r++)
		assert_int_not_equal(client_ack_u64(e, r, QUEUES, e->kick[0]), 0);
	/* no way to refuse this one in band */
	client_send(e, VHX_VU_GET_VRING_BASE, &s, sizeof(s), NULL, 0);
	assert_true(client_closed(e));
}

static void test_ring_size_zero_or_too_large(void **state)
{
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, 0), 0);
	assert_int_not_equal(
		client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, VHX_VU_QUEUE_SIZE_MAX + 1), 0);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, 0x10000), 0);
}

static void start_refused(struct env *e, uint32_t size, struct vhx_vu_vring_addr addr)
{
	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	assert_int_equal(client_mem_table(e), 0);
	client_queue_setup(e, 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, size), 0);
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_false(queue(e, 0)->started);
	assert_int_equal(e->owner.starts, 0);
	env_reconnect(e);
}

static void test_ring_outside_of_memory_or_misaligned(void **state)
{
	struct env *e = *state;
	struct vhx_vu_vring_addr a = client_ring_addr(0);

	start_refused(e, 3, a); /* split: not a power of two */
	a.desc = GUEST_UVA + GUEST_SIZE - 16;
	start_refused(e, QUEUE_SIZE, a);
	a = client_ring_addr(0);
	a.avail = GUEST_UVA - 2;
	start_refused(e, QUEUE_SIZE, a);
	a = client_ring_addr(0);
	a.used = UINT64_MAX - 3;
	start_refused(e, QUEUE_SIZE, a);
	a = client_ring_addr(0);
	a.desc += 8;
	start_refused(e, QUEUE_SIZE, a);
	a = client_ring_addr(0);
	a.avail += 1;
	start_refused(e, QUEUE_SIZE, a);
	a = client_ring_addr(0);
	a.used += 2;
	start_refused(e, QUEUE_SIZE, a);
}

static void test_ring_address_flags_unknown(void **state)
{
	struct env *e = *state;
	struct vhx_vu_vring_addr a = client_ring_addr(0);

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	a.flags = 2;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
}

static void test_ring_log_address_wraps(void **state)
{
	struct env *e = *state;
	struct vhx_vu_vring_addr a = client_ring_addr(0);

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	a.log = UINT64_MAX - 8;
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	a.flags = VHX_VU_VRING_ADDR_F_LOG;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
}

static void test_running_ring_cannot_move(void **state)
{
	struct env *e = *state;
	struct vhx_vu_vring_addr a = client_ring_addr(0);

	client_start(e);
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	a.used += 64;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 1), 0);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, 8), 0);
	assert_true(queue(e, 0)->started);
}

static void test_kick_word_and_descriptor_disagree(void **state)
{
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	for (uint32_t r = VHX_VU_SET_VRING_KICK; r <= VHX_VU_SET_VRING_ERR; r++) {
		assert_int_not_equal(client_ack_u64(e, r, 0, -1), 0);
		assert_int_not_equal(client_ack_u64(e, r, VHX_VU_VRING_NOFD, e->kick[0]), 0);
		assert_int_not_equal(client_ack_u64(e, r, 1ull << 9, e->kick[0]), 0);
		assert_int_not_equal(client_ack_u64(e, r, 0, e->mem_fd), 0); /* a file */
		assert_int_equal(client_ack_u64(e, r, VHX_VU_VRING_NOFD, -1), 0);
		assert_int_equal(client_ack_u64(e, r, 0, e->kick[0]), 0);
	}
}

static void test_queue_polls_when_there_is_no_kick(void **state)
{
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	client_mem_table(e);
	client_queue_setup(e, 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, VHX_VU_VRING_NOFD, -1), 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(queue(e, 0)->started);
	assert_int_equal(queue(e, 0)->kick_fd, -1);
	assert_false(vhx_vu_queue_kicked(queue(e, 0)));
}

static void test_descriptors_replaced_while_running(void **state)
{
	struct env *e = *state;
	int fresh = eventfd(0, EFD_CLOEXEC);
	uint64_t v;

	client_start(e);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_CALL, 0, fresh), 0);
	assert_int_equal(e->owner.fd_changes, 1);
	/* called at once: a call on the old one may have been lost */
	assert_int_equal(read(fresh, &v, sizeof(v)), sizeof(v));
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, fresh), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_ERR, 0, fresh), 0);
	assert_int_equal(e->owner.fd_changes, 3);
	vhx_vu_queue_error(queue(e, 0));
	assert_true(vhx_vu_queue_kicked(queue(e, 0)));
	close(fresh);
}

static void test_owner_refuses_to_start(void **state)
{
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	client_mem_table(e);
	client_queue_setup(e, 0);
	e->owner.start_ret = -ENOMEM;
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_false(queue(e, 0)->started);
}

static void test_base_is_kept_over_disable_and_enable(void **state)
{
	struct env *e = *state;

	client_start(e);
	queue(e, 0)->ring.avail_idx = 5;
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 0), 0);
	assert_false(queue(e, 0)->started);
	assert_int_equal(e->owner.stops, 1);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(queue(e, 0)->started);
	assert_int_equal(queue(e, 0)->ring.avail_idx, 5);
	assert_int_equal(client_base(e, 0), 5);
}

static void test_base_stops_the_ring_until_a_new_kick(void **state)
{
	struct env *e = *state;

	client_start(e);
	assert_int_equal(client_base(e, 0), 0);
	assert_false(queue(e, 0)->started);
	assert_true(queue(e, 1)->started);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 3), 0);
	assert_int_equal(client_base(e, 0), 3);
	assert_false(queue(e, 0)->started);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]), 0);
	assert_true(queue(e, 0)->started);
	assert_int_equal(queue(e, 0)->ring.avail_idx, 3);
}

static void test_base_beyond_16_bits_on_a_split_ring(void **state)
{
	struct vhx_vu_vring_addr a = client_ring_addr(0);
	struct env *e = *state;

	client_negotiate(e, F_VERSION_1);
	client_mem_table(e);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, 0x10000), 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, 0, QUEUE_SIZE), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, 0, e->kick[0]), 0);
	assert_int_not_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_false(queue(e, 0)->started);
}

static void test_packed_base_carries_both_positions(void **state)
{
	struct env *e = *state;
	const uint32_t base = 0x80038004; /* used 3, available 4, both wrap counters set */

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL | F_PACKED);
	client_mem_table(e);
	client_queue_setup(e, 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, QUEUE_SIZE), 0);
	assert_int_not_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, 0, base), 0);
	assert_true(queue(e, 0)->started);
	assert_int_equal(queue(e, 0)->ring.avail_idx, 0x8004);
	assert_int_equal(queue(e, 0)->ring.used_idx, 0x8003);
	assert_int_equal(client_base(e, 0), base);
}

static void test_memory_table_wrong_counts(void **state)
{
	struct env *e = *state;
	struct vhx_vu_mem_table t = { .cnt = 2,
				      .regions = { { 0, 0x1000, GUEST_UVA, 0 },
						   { 0x1000, 0x1000, GUEST_UVA + 0x1000, 0 } } };
	int fds[2] = { e->mem_fd, e->mem_fd };

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	assert_int_not_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 64, fds, 1), 0);
	assert_int_not_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 32, fds, 2), 0);
	t.cnt = VHX_VU_TABLE_REGIONS_MAX + 1;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 2), 0);
	t.cnt = UINT32_MAX;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 2), 0);
	t.cnt = 1; /* padded, as User-Mode Linux sends it */
	assert_int_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 64, fds, 1), 0);
	assert_int_equal(e->owner.mem_changes, 1);
}

/* Its owner walks chains again in the new table: it has to be there when the owner hears of it. */
static void test_memory_change_told_with_the_new_table_in_place(void **state)
{
	struct env *e = *state;
	struct vhx_vu_mem_table t = { .cnt = 1, .regions = { { 0, 0x2000, GUEST_UVA, 0 } } };

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	e->owner.moved_probe = 0x1000;
	assert_int_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 32, &e->mem_fd, 1), 0);
	assert_int_equal(e->owner.moved_found, 1);
	t.regions[0].size = 0x1000;
	assert_int_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 32, &e->mem_fd, 1), 0);
	assert_int_equal(e->owner.moved_found, -EFAULT);
}

static void test_memory_table_replaced_under_running_rings(void **state)
{
	struct env *e = *state;
	struct vhx_vu_mem_table t = { .cnt = 1, .regions = { { 0, 0x2000, GUEST_UVA, 0 } } };
	void *before;

	client_start(e);
	before = queue(e, 0)->ring.cfg.desc;
	/* rings would fall out of it: refused, and the old table stays */
	assert_int_not_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 32, &e->mem_fd, 1), 0);
	assert_ptr_equal(queue(e, 0)->ring.cfg.desc, before);
	assert_int_equal(e->owner.mem_changes, 1);
	assert_int_equal(client_mem_table(e), 0);
	assert_int_equal(e->owner.mem_changes, 2);
	e->mem[DESC_AT] = 0x5a;
	assert_int_equal(*(uint8_t *)queue(e, 0)->ring.cfg.desc, 0x5a);
	assert_int_equal(e->owner.stops, 0);
}

static void test_memory_slots_add_and_remove(void **state)
{
	struct env *e = *state;
	struct vhx_vu_mem_single r = { .region = { 0x100000, 0x1000, GUEST_UVA + 0x100000, 0 } };
	const struct vhx_ring_mem *mem = vhx_vu_server_mem(e->owner.server);
	struct iovec iov;

	client_start(e);
	assert_int_equal(client_get(e, VHX_VU_GET_MAX_MEM_SLOTS), VHX_VU_REGIONS_MAX);
	assert_int_equal(mem->map(mem->ctx, 0x100000, 16, &iov, 1), -EFAULT);
	assert_int_equal(client_ack(e, VHX_VU_ADD_MEM_REG, &r, sizeof(r), &e->mem_fd, 1), 0);
	assert_int_equal(mem->map(mem->ctx, 0x100000, 16, &iov, 1), 1);
	r.region.off = 0x1000;
	assert_int_not_equal(client_ack(e, VHX_VU_ADD_MEM_REG, &r, sizeof(r), &e->mem_fd, 1), 0);
	r.region.off = 0;
	/* with a descriptor, as some front-ends do */
	assert_int_equal(client_ack(e, VHX_VU_REM_MEM_REG, &r, sizeof(r), &e->mem_fd, 1), 0);
	assert_int_equal(mem->map(mem->ctx, 0x100000, 16, &iov, 1), -EFAULT);
	/* the rings are in this one */
	r.region = (struct vhx_vu_mem_region){ 0, GUEST_SIZE, GUEST_UVA, 0 };
	assert_int_not_equal(client_ack(e, VHX_VU_REM_MEM_REG, &r, sizeof(r), NULL, 0), 0);
	assert_true(queue(e, 0)->started);
}

/*
 * A region that came later lies over the user addresses of a running ring, before the one that the ring is in, and is
 * none in which a ring could be.
 */
static void test_log_flag_of_a_ring_over_which_another_region_came(void **state)
{
	struct vhx_vu_mem_table t = { .cnt = 1,
				      .regions = { { 0x1000000, GUEST_SIZE, GUEST_UVA, 0 } } };
	struct vhx_vu_mem_single r = { .region = { 0, 0x10000, GUEST_UVA - 8, 0 } };
	struct vhx_vu_vring_addr a = client_ring_addr(0);
	struct env *e = *state;
	int other = memfd_of(0x10000);
	void *desc;

	client_start(e);
	desc = queue(e, 0)->ring.cfg.desc;
	assert_int_equal(client_ack(e, VHX_VU_SET_MEM_TABLE, &t,
				    offsetof(struct vhx_vu_mem_table, regions) +
					    sizeof(t.regions[0]),
				    &e->mem_fd, 1),
			 0);
	assert_ptr_not_equal(queue(e, 0)->ring.cfg.desc, desc);
	desc = queue(e, 0)->ring.cfg.desc;
	assert_int_equal(client_ack(e, VHX_VU_ADD_MEM_REG, &r, sizeof(r), &other, 1), 0);
	a.flags = VHX_VU_VRING_ADDR_F_LOG;
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_ptr_equal(queue(e, 0)->ring.cfg.desc, desc);
	a.flags = 0;
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_true(queue(e, 0)->ring.cfg.device_addr == 0x1000000 + USED_AT);
	close(other);
}

/* QEMU 7.2, for each queue pair of a network device */
static void test_memory_slot_told_and_taken_back_twice(void **state)
{
	struct env *e = *state;
	struct vhx_vu_mem_single r = { .region = { 0x100000, 0x1000, GUEST_UVA + 0x100000, 0 } };
	const struct vhx_ring_mem *mem = vhx_vu_server_mem(e->owner.server);
	int other = memfd_create("other", 0);
	struct iovec iov;

	assert_true(other >= 0);
	assert_int_equal(ftruncate(other, 0x1000), 0);
	client_start(e);
	for (int i = 0; i < 2; i++)
		assert_int_equal(client_ack(e, VHX_VU_ADD_MEM_REG, &r, sizeof(r), &e->mem_fd, 1),
				 0);
	/* the same addresses in another file are another region */
	assert_int_not_equal(client_ack(e, VHX_VU_ADD_MEM_REG, &r, sizeof(r), &other, 1), 0);
	assert_int_equal(mem->map(mem->ctx, 0x100000, 16, &iov, 1), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(client_ack(e, VHX_VU_REM_MEM_REG, &r, sizeof(r), NULL, 0), 0);
		assert_int_equal(mem->map(mem->ctx, 0x100000, 16, &iov, 1), -EFAULT);
	}
	close(other);
}

static uint32_t config_get(struct env *e, uint32_t off, uint32_t size, uint32_t len,
			   struct answer *a)
{
	struct vhx_vu_config_space c = { .off = off, .size = size };

	client_send(e, VHX_VU_GET_CONFIG, &c, VHX_VU_CONFIG_HDR + len, NULL, 0);
	assert_true(client_answer(e, a));
	return a->hdr.size;
}

static void test_config_read(void **state)
{
	struct env *e = *state;
	struct answer a;

	e->owner.config[10] = 0x77;
	assert_int_equal(config_get(e, 8, 4, 4, &a), VHX_VU_CONFIG_HDR + 4);
	assert_int_equal(a.payload.config.data[2], 0x77);
	assert_int_equal(config_get(e, 0, 256, 256, &a), VHX_VU_CONFIG_HDR + 256);
	assert_int_equal(config_get(e, 8, 4, 0, &a), VHX_VU_CONFIG_HDR + 4);
	/* an answer of no bytes says that it failed */
	assert_int_equal(config_get(e, 253, 4, 4, &a), 0);
	assert_int_equal(config_get(e, UINT32_MAX, 4, 4, &a), 0);
	assert_int_equal(config_get(e, 0, UINT32_MAX, 4, &a), 0);
	assert_int_equal(config_get(e, 0, 0, 0, &a), 0);
	e->owner.config_ret = -EINVAL;
	assert_int_equal(config_get(e, 8, 4, 4, &a), 0);
}

static uint64_t config_set(struct env *e, uint32_t off, uint32_t size, uint32_t flags, uint32_t len)
{
	struct vhx_vu_config_space c = { .off = off, .size = size, .flags = flags, .data = { 9 } };

	return client_ack(e, VHX_VU_SET_CONFIG, &c, VHX_VU_CONFIG_HDR + len, NULL, 0);
}

static void test_config_write(void **state)
{
	struct env *e = *state;
	struct vhx_vu_config_space c = { .off = 1, .size = 1, .data = { 3 } };

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	assert_int_equal(config_set(e, 32, 1, 0, 1), 0);
	assert_int_equal(e->owner.config[32], 9);
	assert_int_not_equal(config_set(e, 32, 4, 0, 1), 0);
	assert_int_not_equal(config_set(e, 32, 1, 0, 2), 0);
	assert_int_not_equal(config_set(e, 256, 1, 0, 1), 0);
	assert_int_not_equal(config_set(e, 32, 1, 2, 1), 0);
	e->owner.config_ret = -EPERM;
	assert_int_not_equal(config_set(e, 32, 1, 0, 1), 0);
	/* a guest that writes where it may not must not cost the VM its device */
	client_send(e, VHX_VU_SET_CONFIG, &c, VHX_VU_CONFIG_HDR + 1, NULL, 0);
	assert_int_equal(e->owner.config[1], 0);
	assert_true(e->owner.conn_fd >= 0);
}

static void test_config_change_is_told(void **state)
{
	struct env *e = *state;
	struct vhx_vu_header h;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	vhx_vu_server_config_changed(e->owner.server); /* no channel yet */
	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	assert_int_equal(client_ack(e, VHX_VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[0], 1), 0);
	vhx_vu_server_config_changed(e->owner.server);
	assert_int_equal(recv(pair[1], &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.request, VHX_VU_BACKEND_CONFIG_CHANGE);
	assert_int_equal(h.flags, VHX_VU_VERSION);
	assert_int_equal(h.size, 0);
	/* a VMM that never reads: neither a wait nor an end */
	for (int i = 0; i < 100000; i++)
		vhx_vu_server_config_changed(e->owner.server);
	assert_int_equal(client_get(e, VHX_VU_GET_QUEUE_NUM), QUEUES);
	close(pair[0]);
	close(pair[1]);
	vhx_vu_server_config_changed(e->owner.server);
}

static void test_status(void **state)
{
	struct env *e = *state;

	client_start(e);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_STATUS, 7, -1), 0);
	assert_int_equal(client_get(e, VHX_VU_GET_STATUS), 7);
	assert_int_not_equal(client_ack_u64(e, VHX_VU_SET_STATUS, 0x100, -1), 0);
	assert_true(queue(e, 0)->started);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_STATUS, 0, -1), 0);
	assert_int_equal(e->owner.stops, QUEUES);
	assert_false(queue(e, 0)->started);
}

static void test_reset_device(void **state)
{
	struct env *e = *state;

	client_start(e);
	assert_int_equal(client_ack(e, VHX_VU_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	assert_int_equal(e->owner.stops, QUEUES);
	assert_int_equal(e->owner.resets, 1);
	client_queue_setup(e, 0);
	assert_false(queue(e, 0)->started); /* disabled until enabled anew */
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(queue(e, 0)->started);
}

static void test_reset_owner_changes_nothing(void **state)
{
	struct env *e = *state;

	client_start(e);
	assert_int_equal(client_ack(e, VHX_VU_RESET_OWNER, NULL, 0, NULL, 0), 0);
	assert_true(queue(e, 0)->started);
}

static void test_iotlb_message_is_refused(void **state)
{
	struct env *e = *state;
	uint8_t message[32] = { 0 };
	struct answer a;

	client_send(e, VHX_VU_IOTLB_MSG, message, sizeof(message), NULL, 0);
	assert_true(client_answer(e, &a));
	assert_int_not_equal(a.payload.u64, 0);
}

static void test_log_base_and_descriptor(void **state)
{
	struct env *e = *state;
	struct vhx_vu_log_desc l = { 4096, 0 };
	struct answer a;
	int log = memfd_of(4096);

	/* not negotiated yet */
	client_send(e, VHX_VU_SET_LOG_BASE, &l, sizeof(l), &log, 1);
	assert_true(client_closed(e));
	env_reconnect(e);
	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	client_send(e, VHX_VU_SET_LOG_BASE, &l, sizeof(l), &log, 1);
	assert_true(client_answer(e, &a)); /* answered although it did not ask */
	assert_int_equal(a.payload.u64, 0);
	l.off = 1;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_LOG_BASE, &l, sizeof(l), &log, 1), 0);
	l.off = 0;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_LOG_BASE, &l, sizeof(l), NULL, 0), 0);
	assert_int_not_equal(client_ack(e, VHX_VU_SET_LOG_BASE, &l, 8, &log, 1), 0);
	assert_int_equal(client_ack(e, VHX_VU_SET_LOG_FD, NULL, 0, &e->kick[0], 1), 0);
	close(log);
}

static void test_inflight_description(void **state)
{
	struct env *e = *state;
	struct vhx_vu_inflight_desc d = { .queue_num = QUEUES, .queue_size = QUEUE_SIZE };
	struct answer a;

	client_negotiate(e, F_VERSION_1 | F_PROTOCOL);
	client_send(e, VHX_VU_GET_INFLIGHT_FD, &d, VHX_VU_INFLIGHT_LEN, NULL, 0);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.size, VHX_VU_INFLIGHT_LEN);
	assert_true(a.fd >= 0);
	d = a.payload.inflight;
	assert_int_equal(d.queue_num, QUEUES);
	assert_true(d.mmap_size >= QUEUES * (16 + 16 * QUEUE_SIZE));
	assert_int_equal(client_ack(e, VHX_VU_SET_INFLIGHT_FD, &d, sizeof(d), &a.fd, 1), 0);
	d.mmap_size *= 2;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_INFLIGHT_FD, &d, sizeof(d), &a.fd, 1), 0);
	d.mmap_size = 64;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_INFLIGHT_FD, &d, sizeof(d), &a.fd, 1), 0);
	d = a.payload.inflight;
	d.queue_num = QUEUES + 1;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_INFLIGHT_FD, &d, sizeof(d), &a.fd, 1), 0);
	d = a.payload.inflight;
	d.queue_size = VHX_VU_QUEUE_SIZE_MAX + 1;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_INFLIGHT_FD, &d, sizeof(d), &a.fd, 1), 0);
	/* a file that could shrink under us */
	d = a.payload.inflight;
	assert_int_not_equal(client_ack(e, VHX_VU_SET_INFLIGHT_FD, &d, sizeof(d), &e->mem_fd, 1),
			     0);
	close(a.fd);
	d.queue_num = 0;
	client_send(e, VHX_VU_GET_INFLIGHT_FD, &d, sizeof(d), NULL, 0);
	assert_true(client_closed(e));
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_each_request_with_wrong_size_or_descriptors),
		T(test_unknown_request_ends_the_connection),
		T(test_unknown_request_is_refused_in_band),
		T(test_need_reply_without_the_feature_is_silent),
		T(test_features_offered_and_accepted),
		T(test_protocol_features_not_offered_are_refused),
		T(test_features_change_under_running_rings),
		T(test_rings_start_enabled_without_protocol_features),
		T(test_queue_starts_whatever_comes_last),
		T(test_ring_index_out_of_range),
		T(test_ring_size_zero_or_too_large),
		T(test_ring_outside_of_memory_or_misaligned),
		T(test_ring_address_flags_unknown),
		T(test_ring_log_address_wraps),
		T(test_running_ring_cannot_move),
		T(test_kick_word_and_descriptor_disagree),
		T(test_queue_polls_when_there_is_no_kick),
		T(test_descriptors_replaced_while_running),
		T(test_owner_refuses_to_start),
		T(test_base_is_kept_over_disable_and_enable),
		T(test_base_stops_the_ring_until_a_new_kick),
		T(test_base_beyond_16_bits_on_a_split_ring),
		T(test_packed_base_carries_both_positions),
		T(test_memory_table_wrong_counts),
		T(test_memory_change_told_with_the_new_table_in_place),
		T(test_memory_table_replaced_under_running_rings),
		T(test_memory_slots_add_and_remove),
		T(test_memory_slot_told_and_taken_back_twice),
		T(test_log_flag_of_a_ring_over_which_another_region_came),
		T(test_config_read),
		T(test_config_write),
		T(test_config_change_is_told),
		T(test_status),
		T(test_reset_device),
		T(test_reset_owner_changes_nothing),
		T(test_iotlb_message_is_refused),
		T(test_log_base_and_descriptor),
		T(test_inflight_description),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
