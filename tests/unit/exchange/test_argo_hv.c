// SPDX-License-Identifier: BSD-3-Clause
/* The model hypervisor: each documented check, in its order, with its error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "exchange/argo_hv.h"
#include "exchange/argo_model.h"

#define RING_LEN 4032u /* with its header exactly one page */

enum { DOM_A = 1, DOM_B = 2, DOM_PLAIN = 3, DOM_NONE = 99 };

struct host {
	struct vhx_argo_hv *hv;
	int event_a, event_b;
	struct argo_ring *ring; /* B's, for A, on port 7 */
};

static int64_t op(struct host *h, uint16_t dom, unsigned int cmd, void *arg1, void *arg2,
		  uint64_t arg3, uint64_t arg4)
{
	return vhx_argo_op(h->hv, dom, cmd, arg1, arg2, arg3, arg4);
}

static struct argo_ring *ring_alloc(uint32_t len)
{
	return test_calloc(1, sizeof(struct argo_ring) + len);
}

static struct argo_register_ring b_ring(void)
{
	return (struct argo_register_ring){ .port = 7, .partner = DOM_A, .len = RING_LEN };
}

static void host_open_with(struct host *h, const struct vhx_argo_hv_config *config)
{
	h->hv = vhx_argo_hv_new(config);
	assert_non_null(h->hv);
	assert_int_equal(vhx_argo_domain_create(h->hv, DOM_A, true, &h->event_a), 0);
	assert_int_equal(vhx_argo_domain_create(h->hv, DOM_B, true, &h->event_b), 0);
	assert_int_equal(vhx_argo_domain_create(h->hv, DOM_PLAIN, false, NULL), 0);
	h->ring = ring_alloc(RING_LEN);
}

static void host_open(struct host *h)
{
	static const struct vhx_argo_hv_config config = { .enabled = true };
	struct argo_register_ring reg = b_ring();

	host_open_with(h, &config);
	assert_int_equal(op(h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h->ring, 1, 0), 0);
}

static void host_close(struct host *h)
{
	vhx_argo_hv_unref(h->hv);
	test_free(h->ring);
}

static int64_t send_len(struct host *h, uint32_t len)
{
	static uint8_t bytes[RING_LEN];
	struct argo_send_addr addr = {
		.src = { .port = 1, .domid = DOM_A },
		.dst = { .port = 7, .domid = DOM_B },
	};
	struct vhx_argo_iov iov = { .base = bytes, .len = len };

	return (int32_t)op(h, DOM_A, ARGO_OP_SENDV, &addr, &iov, 1, 0x11);
}

/* How often the event was raised since it was last asked. */
static uint64_t events(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* ---- all operations ---- */

static void test_common_checks(void **state)
{
	static const struct vhx_argo_hv_config off = { .enabled = false };
	struct host h;

	host_open(&h);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, NULL, NULL, 1ull << 32, 0), -EINVAL);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, NULL, NULL, 0, 1ull << 32), -EINVAL);
	assert_int_equal(op(&h, DOM_A, 0, NULL, NULL, 0, 0), -EOPNOTSUPP);
	assert_int_equal(op(&h, DOM_A, 5, NULL, NULL, 0, 0), -EOPNOTSUPP);
	assert_int_equal(op(&h, DOM_A, UINT32_MAX, NULL, NULL, 0, 0), -EOPNOTSUPP);
	host_close(&h);
	host_open_with(&h, &off);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), -EOPNOTSUPP);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, NULL, NULL, 1ull << 32, 0), -EINVAL);
	host_close(&h);
}

static void test_domain_twice_and_too_many(void **state)
{
	struct host h;
	int err = 0;

	host_open(&h);
	assert_int_equal(vhx_argo_domain_create(h.hv, DOM_A, true, NULL), -EEXIST);
	for (uint16_t dom = 100; !err; dom++)
		err = vhx_argo_domain_create(h.hv, dom, true, NULL);
	assert_int_equal(err, -ENOSPC);
	vhx_argo_domain_destroy(h.hv, DOM_NONE);
	host_close(&h);
}

/* ---- register and unregister ---- */

static void test_register_arguments(void **state)
{
	struct argo_register_ring reg = b_ring(), bad;
	struct host h;

	host_open(&h);
	reg.port = 8;
	/* In order: page count, array, flag, struct, contents. */
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, NULL, NULL, 4097, 2), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, NULL, NULL, 1, 2), -EFAULT);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, NULL, h.ring, 1, 2), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, NULL, h.ring, 1, 1), -EFAULT);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 2, 0), -EINVAL);
	bad = reg;
	bad.pad = 1;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &bad, h.ring, 1, 0), -EINVAL);
	for (uint32_t len = 0; len < 48; len++) {
		bad = reg;
		bad.len = len;
		assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &bad, h.ring, 1, 0),
				 -EINVAL);
	}
	bad.len = 56;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &bad, h.ring, 1, 0), -EINVAL);
	bad.len = 0x1000000 + 16;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &bad, h.ring, 4096, 0), -EINVAL);
	/* The nominal maximum needs a page more than is allowed. */
	bad.len = 0x1000000;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &bad, h.ring, 4097, 0), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &bad, h.ring, 4096, 0), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), 0);
	host_close(&h);
}

static void test_register_smallest_ring(void **state)
{
	struct argo_register_ring reg = { .port = 9, .partner = DOM_A, .len = 48 };
	struct argo_send_addr addr = { .src = { .domid = DOM_A },
					   .dst = { .port = 9, .domid = DOM_B } };
	struct argo_ring *ring = ring_alloc(48);
	struct vhx_argo_iov iov = { .base = "0123456789abcdefg", .len = 17 };
	struct host h;

	host_open(&h);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, ring, 1, 0), 0);
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &addr, &iov, 1, 0), -EMSGSIZE);
	iov.len = 16;
	assert_int_equal(op(&h, DOM_A, ARGO_OP_SENDV, &addr, &iov, 1, 0), 16);
	assert_int_equal(ring->tx_ptr, 32);
	host_close(&h);
	test_free(ring);
}

static void test_register_partner(void **state)
{
	static const struct vhx_argo_hv_config permissive = { .enabled = true,
							   .mac_permissive = true };
	struct argo_register_ring reg = b_ring();
	struct host h;

	host_open(&h);
	reg.partner = ARGO_DOMID_ANY;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -EPERM);
	reg.partner = DOM_NONE;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -ESRCH);
	/* An unknown partner is found before the caller's lack of state. */
	assert_int_equal(op(&h, DOM_PLAIN, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -ESRCH);
	reg.partner = DOM_PLAIN;
	assert_int_equal(op(&h, DOM_PLAIN, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -ENODEV);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -ECONNREFUSED);
	host_close(&h);
	host_open_with(&h, &permissive);
	reg.partner = ARGO_DOMID_ANY;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), 0);
	assert_int_equal(send_len(&h, 10), 10);
	host_close(&h);
}

static void test_register_again(void **state)
{
	struct argo_register_ring reg = b_ring();
	struct argo_ring *other = ring_alloc(RING_LEN);
	struct host h;

	host_open(&h);
	assert_int_equal(send_len(&h, 10), 10);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 1), -EEXIST);
	reg.len = RING_LEN - 16;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -EEXIST);
	/* The visible tx_ptr is kept if it can be right, else the ring restarts at rx_ptr. */
	reg.len = RING_LEN;
	other->tx_ptr = 64;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, other, 1, 0), 0);
	assert_int_equal(other->tx_ptr, 64);
	other->tx_ptr = 65;
	other->rx_ptr = 100;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, other, 1, 0), 0);
	assert_int_equal(other->tx_ptr, 112);
	other->tx_ptr = RING_LEN;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, other, 1, 0), 0);
	assert_int_equal(other->tx_ptr, 112);
	host_close(&h);
	test_free(other);
}

static void test_register_too_many_rings(void **state)
{
	struct argo_register_ring reg = b_ring();
	struct host h;

	host_open(&h);
	for (uint32_t i = 1; i < ARGO_RINGS_MAX; i++) {
		reg.port = 1000 + i;
		assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), 0);
	}
	reg.port = 5;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), -ENOSPC);
	/* Before it is asked whether the ring exists. */
	reg.port = 7;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 1), -ENOSPC);
	host_close(&h);
}

static void test_unregister(void **state)
{
	struct argo_unregister_ring unreg = { .port = 7, .partner = DOM_A };
	struct host h;

	host_open(&h);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, NULL, h.ring, 0, 0), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, NULL, NULL, 1, 0), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, NULL, NULL, 0, 1), -EINVAL);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, NULL, NULL, 0, 0), -EFAULT);
	unreg.pad = 1;
	assert_int_equal(op(&h, DOM_PLAIN, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), -EINVAL);
	unreg.pad = 0;
	assert_int_equal(op(&h, DOM_PLAIN, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), -ENODEV);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), -ENOENT);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), 0);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), -ENOENT);
	assert_int_equal(send_len(&h, 1), -ECONNREFUSED);
	host_close(&h);
}

/* ---- sendv ---- */

static int64_t send_addr(struct host *h, uint16_t dom, struct argo_send_addr addr)
{
	return (int32_t)op(h, dom, ARGO_OP_SENDV, &addr, NULL, 0, 0);
}

static void test_sendv_addresses(void **state)
{
	struct argo_send_addr good = { .src = { .port = 1, .domid = DOM_A },
					   .dst = { .port = 7, .domid = DOM_B } };
	struct argo_send_addr bad;
	struct vhx_argo_iov iov[9] = { { 0 } };
	struct host h;

	host_open(&h);
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, NULL, iov, 9, 0), -EFAULT);
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &good, NULL, 9, 0), -EINVAL);
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &good, NULL, 1, 0), -EFAULT);
	bad = good;
	bad.src.pad = 1;
	assert_int_equal(send_addr(&h, DOM_A, bad), -EINVAL);
	bad = good;
	bad.dst.pad = 1;
	assert_int_equal(send_addr(&h, DOM_A, bad), -EINVAL);
	bad = good;
	bad.src.domid = DOM_B;
	assert_int_equal(send_addr(&h, DOM_A, bad), -EPERM);
	bad = good;
	bad.dst.domid = DOM_NONE;
	assert_int_equal(send_addr(&h, DOM_A, bad), -ESRCH);
	bad = good;
	bad.src.domid = ARGO_DOMID_ANY;
	assert_int_equal(send_addr(&h, DOM_PLAIN, bad), -ENODEV);
	bad = good;
	bad.dst.domid = DOM_PLAIN;
	assert_int_equal(send_addr(&h, DOM_A, bad), -ECONNREFUSED);
	bad = good;
	bad.dst.port = 8;
	assert_int_equal(send_addr(&h, DOM_A, bad), -ECONNREFUSED);
	/* B's ring is for A alone: B itself finds none. */
	bad = good;
	bad.src.domid = DOM_B;
	assert_int_equal(send_addr(&h, DOM_B, bad), -ECONNREFUSED);
	assert_int_equal(events(h.event_b), 0);
	bad = good;
	bad.src.domid = ARGO_DOMID_ANY;
	assert_int_equal(send_addr(&h, DOM_A, bad), 0);
	assert_int_equal(events(h.event_b), 1);
	host_close(&h);
}

static int deny_a_to_b(uint16_t src, uint16_t dst)
{
	return src == DOM_A && dst == DOM_B ? -EACCES : 0;
}

static void test_access_control(void **state)
{
	static const struct vhx_argo_hv_config strict = { .enabled = true, .may_send = deny_a_to_b };
	struct argo_ring_data_ent ent = { .ring = { .port = 7, .domid = DOM_B } };
	struct vhx_argo_ring_data ask = { .nent = 1, .data = &ent };
	struct host h;

	host_open_with(&h, &strict);
	/* The hook is asked before it is looked whether a ring is there. */
	assert_int_equal(send_len(&h, 1), -EACCES);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, &ask, NULL, 0, 0), -EACCES);
	host_close(&h);
}

static void test_sendv_lengths(void **state)
{
	static uint8_t bytes[RING_LEN];
	struct argo_send_addr addr = { .src = { .domid = DOM_A },
					   .dst = { .port = 7, .domid = DOM_B } };
	struct vhx_argo_iov iov[8];
	struct host h;

	host_open(&h);
	memset(iov, 0, sizeof(iov));
	iov[7].pad = 1;
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &addr, iov, 8, 0), -EINVAL);
	iov[7].pad = 0;
	iov[7].len = VHX_ARGO_MESSAGE_MAX + 1;
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &addr, iov, 8, 0), -EINVAL);
	iov[7].len = VHX_ARGO_MESSAGE_MAX;
	iov[0].len = 1;
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &addr, iov, 8, 0), -EMSGSIZE);
	assert_int_equal(send_len(&h, RING_LEN - 31), -EMSGSIZE);
	iov[0].len = 0;
	iov[7].len = 5; /* without a base */
	assert_int_equal((int32_t)op(&h, DOM_A, ARGO_OP_SENDV, &addr, iov, 8, 0), -EFAULT);
	assert_int_equal(h.ring->tx_ptr, 0);
	assert_int_equal(events(h.event_b), 0);
	iov[7].base = bytes;
	assert_int_equal(op(&h, DOM_A, ARGO_OP_SENDV, &addr, iov, 8, 0), 5);
	assert_int_equal(send_len(&h, RING_LEN - 32), -EAGAIN);
	host_close(&h);
}

static void test_sendv_errors_come_zero_extended(void **state)
{
	struct argo_send_addr addr = { .src = { .domid = DOM_A },
					   .dst = { .port = 8, .domid = DOM_B } };
	struct host h;

	host_open(&h);
	assert_true(op(&h, DOM_A, ARGO_OP_SENDV, &addr, NULL, 0, 0) == 4294967185);
	host_close(&h);
}

static void test_sendv_header_and_wrap(void **state)
{
	struct argo_message header;
	struct host h;

	host_open(&h);
	assert_int_equal(send_len(&h, RING_LEN - 80), RING_LEN - 80);
	memcpy(&header, (uint8_t *)(h.ring + 1), sizeof(header));
	assert_int_equal(header.len, RING_LEN - 64);
	assert_int_equal(header.src.port, 1);
	assert_int_equal(header.src.domid, DOM_A);
	assert_int_equal(header.src.pad, 0);
	assert_int_equal(header.type, 0x11);
	assert_int_equal(h.ring->tx_ptr, RING_LEN - 64);
	h.ring->rx_ptr = h.ring->tx_ptr;
	/* The header ends at the end of the ring, the payload goes on at its start. */
	assert_int_equal(send_len(&h, 32), 32);
	assert_int_equal(h.ring->tx_ptr, RING_LEN - 16);
	h.ring->rx_ptr = h.ring->tx_ptr;
	assert_int_equal(send_len(&h, 20), 20);
	memcpy(&header, (uint8_t *)(h.ring + 1) + RING_LEN - 16, sizeof(header));
	assert_int_equal(header.len, 36);
	assert_int_equal(h.ring->tx_ptr, 32);
	host_close(&h);
}

static void test_tx_ptr_is_private_and_rx_ptr_never_trusted(void **state)
{
	struct host h;

	host_open(&h);
	assert_int_equal(send_len(&h, 16), 16);
	h.ring->tx_ptr = 1600;
	assert_int_equal(send_len(&h, 16), 16);
	assert_int_equal(h.ring->tx_ptr, 64);
	/* Outside: taken as 0. Odd: rounded up, here to tx_ptr, so that the ring is empty. */
	h.ring->rx_ptr = UINT32_MAX;
	assert_int_equal(send_len(&h, RING_LEN - 64 - 32 + 1), -EAGAIN);
	h.ring->rx_ptr = 49;
	assert_int_equal(send_len(&h, RING_LEN - 32), RING_LEN - 32);
	host_close(&h);
}

static void test_one_slot_stays_free(void **state)
{
	struct host h;
	uint32_t n = 0;

	host_open(&h);
	while (send_len(&h, 0) == 0)
		n++;
	assert_int_equal(n, RING_LEN / 16 - 1);
	assert_int_equal(send_len(&h, 0), -EAGAIN);
	assert_int_equal(events(h.event_b), n);
	host_close(&h);
}

/* ---- waiting and notify ---- */

static void fill(struct host *h)
{
	while (send_len(h, 240) == 240)
		;
	assert_int_equal(send_len(h, 240), -EAGAIN);
}

static void test_waiter_is_woken_only_by_the_owners_notify(void **state)
{
	struct host h;

	host_open(&h);
	fill(&h);
	h.ring->rx_ptr = h.ring->tx_ptr;
	assert_int_equal(events(h.event_a), 0);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), 0);
	assert_int_equal(events(h.event_a), 0);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), 0);
	assert_int_equal(events(h.event_a), 1);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), 0);
	assert_int_equal(events(h.event_a), 0);
	host_close(&h);
}

static void test_waiter_waits_for_its_largest_request(void **state)
{
	struct host h;

	host_open(&h);
	fill(&h);
	assert_int_equal(send_len(&h, 1000), -EAGAIN);
	assert_int_equal(send_len(&h, 240), -EAGAIN);
	h.ring->rx_ptr = 512;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), 0);
	assert_int_equal(events(h.event_a), 0);
	/* A success cancels nothing. */
	assert_int_equal(send_len(&h, 16), 16);
	h.ring->rx_ptr = 1536;
	/* Even a call that fails wakes. */
	assert_int_equal(op(&h, DOM_B, ARGO_OP_NOTIFY, &(struct vhx_argo_ring_data){ .nent = 257 },
			    NULL, 0, 0),
			 -EACCES);
	assert_int_equal(events(h.event_a), 1);
	host_close(&h);
}

static void test_waiters_of_a_wildcard_ring_run_out(void **state)
{
	static const struct vhx_argo_hv_config permissive = { .enabled = true,
							   .mac_permissive = true };
	struct argo_register_ring reg = b_ring();
	struct argo_send_addr addr = { .src = { .domid = ARGO_DOMID_ANY },
					   .dst = { .port = 7, .domid = DOM_B } };
	struct argo_ring_data_ent ent = { .ring = { .port = 7, .domid = DOM_B },
					      .space = 16 };
	struct vhx_argo_ring_data ask = { .nent = 1, .data = &ent };
	struct host h;
	int fds[VHX_ARGO_WAITERS_MAX + 1];

	reg.partner = ARGO_DOMID_ANY;
	host_open_with(&h, &permissive);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_REGISTER_RING, &reg, h.ring, 1, 0), 0);
	while (send_len(&h, 0) == 0)
		;
	/* A itself waits already, for its message without a payload. */
	for (uint16_t i = 0; i < VHX_ARGO_WAITERS_MAX; i++) {
		bool last = i == VHX_ARGO_WAITERS_MAX - 1;

		assert_int_equal(vhx_argo_domain_create(h.hv, 100 + i, true, &fds[i]), 0);
		assert_int_equal((int32_t)op(&h, 100 + i, ARGO_OP_SENDV, &addr, NULL, 0, 0),
				 last ? -EBUSY : -EAGAIN);
	}
	assert_int_equal(op(&h, 100 + VHX_ARGO_WAITERS_MAX - 1, ARGO_OP_NOTIFY, &ask, NULL, 0, 0),
			 0);
	assert_int_equal(ent.flags, ARGO_RING_EXISTS | ARGO_RING_SHARED | ARGO_RING_EBUSY);
	/* All that fit are woken at once, and no one else. */
	h.ring->rx_ptr = 64;
	assert_int_equal(op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), 0);
	for (uint16_t i = 0; i < VHX_ARGO_WAITERS_MAX; i++)
		assert_int_equal(events(fds[i]), i < VHX_ARGO_WAITERS_MAX - 1);
	assert_int_equal(events(h.event_a), 1);
	host_close(&h);
}

static void test_waiter_without_payload_needs_reported_space(void **state)
{
	struct host h;

	host_open(&h);
	while (send_len(&h, 0) == 0)
		;
	/* 32 bytes are free and would hold it, but 0 are reported. */
	h.ring->rx_ptr = 16;
	op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0);
	assert_int_equal(events(h.event_a), 0);
	h.ring->rx_ptr = 32;
	op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0);
	assert_int_equal(events(h.event_a), 1);
	host_close(&h);
}

static uint16_t ask_flags(struct host *h, struct argo_addr ring, uint32_t space, uint32_t *max)
{
	struct argo_ring_data_ent ent = {
		.ring = ring,
		.flags = 0xffff,
		.space = space,
		.max_message = 12345,
	};
	struct vhx_argo_ring_data ask = { .nent = 1, .data = &ent };

	assert_int_equal(op(h, DOM_A, ARGO_OP_NOTIFY, &ask, NULL, 0, 0), 0);
	*max = ent.max_message;
	return ent.flags;
}

static void test_notify_entries(void **state)
{
	const struct argo_addr ring = { .port = 7, .domid = DOM_B };
	struct host h;
	uint32_t max;

	host_open(&h);
	assert_int_equal(ask_flags(&h, ring, 100, &max),
			 ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT);
	assert_int_equal(max, RING_LEN - 32);
	assert_int_equal(ask_flags(&h, ring, RING_LEN - 31, &max),
			 ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_EMSGSIZE);
	/* Nobody there: no flags, and the caller's own number comes back. */
	assert_int_equal(
		ask_flags(&h, (struct argo_addr){ .port = 8, .domid = DOM_B }, 1, &max), 0);
	assert_int_equal(max, 12345);
	assert_int_equal(
		ask_flags(&h, (struct argo_addr){ .port = 7, .domid = DOM_NONE }, 1, &max), 0);
	assert_int_equal(
		ask_flags(&h, (struct argo_addr){ .port = 7, .domid = DOM_PLAIN }, 1, &max), 0);
	fill(&h);
	assert_int_equal(ask_flags(&h, ring, 1000, &max), ARGO_RING_EXISTS);
	/* Waits now; asking again once there is room cancels that. */
	h.ring->rx_ptr = h.ring->tx_ptr;
	assert_int_equal(ask_flags(&h, ring, 1000, &max),
			 ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT);
	op(&h, DOM_B, ARGO_OP_NOTIFY, NULL, NULL, 0, 0);
	assert_int_equal(events(h.event_a), 0);
	host_close(&h);
}

static void test_notify_arguments(void **state)
{
	struct vhx_argo_ring_data ask = { .nent = 1 };
	struct host h;

	host_open(&h);
	assert_int_equal(op(&h, DOM_PLAIN, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), -ENODEV);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, NULL, NULL, 0, 0), 0);
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, &ask, NULL, 0, 0), -EFAULT);
	ask.nent = 0;
	assert_int_equal(op(&h, DOM_A, ARGO_OP_NOTIFY, &ask, NULL, 0, 0), 0);
	host_close(&h);
}

/* ---- teardown ---- */

static void test_domain_end_takes_rings_of_both_sides(void **state)
{
	struct argo_unregister_ring unreg = { .port = 7, .partner = DOM_A };
	struct host h;

	host_open(&h);
	vhx_argo_domain_destroy(h.hv, DOM_A);
	/* No event tells the owner, whose ring is gone. */
	assert_int_equal(events(h.event_b), 0);
	assert_int_equal(op(&h, DOM_B, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0), -ENOENT);
	host_close(&h);

	host_open(&h);
	vhx_argo_domain_destroy(h.hv, DOM_B);
	assert_int_equal(send_len(&h, 1), -ESRCH);
	host_close(&h);
}

/* ---- the port on top ---- */

static void test_port_ring_len(void **state)
{
	static const uint32_t wrong[] = { 0, 48, 4080, 4100, 0x1000000, 0x1000010, UINT32_MAX };
	struct vhx_port *ends[2];

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++)
		assert_int_equal(vhx_argo_model_pair(wrong[i], ends), -EINVAL);
	assert_int_equal(vhx_argo_model_pair(0x1000000 - 64, ends), 0);
	assert_int_equal(ends[0]->max_message, 128 << 10);
	vhx_port_close(ends[0]);
	vhx_port_close(ends[1]);
}

static void port_pass(struct vhx_port *from, struct vhx_port *to, uint32_t cnt)
{
	uint8_t bytes[1000] = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct vhx_msg msg;

	for (uint32_t i = 0; i < cnt; i++)
		assert_int_equal(vhx_port_send(from, i, &iov, 1), 0);
	for (uint32_t i = 0; i < cnt; i++) {
		assert_int_equal(vhx_port_peek(to, &msg), 1);
		vhx_port_consume(to);
	}
	assert_int_equal(vhx_port_peek(to, &msg), 0);
}

static void test_port_notifies_only_where_a_send_can_have_failed(void **state)
{
	struct vhx_port *ends[2];

	assert_int_equal(vhx_argo_model_pair(64 << 10, ends), 0);
	for (int i = 0; i < 200; i++)
		port_pass(ends[0], ends[1], 40);
	assert_int_equal(vhx_argo_port_calls(ends[1])->notifies, 0);
	/* Beyond three quarters the largest message might have been refused. */
	port_pass(ends[0], ends[1], 60);
	assert_true(vhx_argo_port_calls(ends[1])->notifies > 0);
	vhx_port_close(ends[0]);
	vhx_port_close(ends[1]);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_common_checks),
	cmocka_unit_test(test_domain_twice_and_too_many),
	cmocka_unit_test(test_register_arguments),
	cmocka_unit_test(test_register_smallest_ring),
	cmocka_unit_test(test_register_partner),
	cmocka_unit_test(test_register_again),
	cmocka_unit_test(test_register_too_many_rings),
	cmocka_unit_test(test_unregister),
	cmocka_unit_test(test_sendv_addresses),
	cmocka_unit_test(test_access_control),
	cmocka_unit_test(test_sendv_lengths),
	cmocka_unit_test(test_sendv_errors_come_zero_extended),
	cmocka_unit_test(test_sendv_header_and_wrap),
	cmocka_unit_test(test_tx_ptr_is_private_and_rx_ptr_never_trusted),
	cmocka_unit_test(test_one_slot_stays_free),
	cmocka_unit_test(test_waiter_is_woken_only_by_the_owners_notify),
	cmocka_unit_test(test_waiter_waits_for_its_largest_request),
	cmocka_unit_test(test_waiters_of_a_wildcard_ring_run_out),
	cmocka_unit_test(test_waiter_without_payload_needs_reported_space),
	cmocka_unit_test(test_notify_entries),
	cmocka_unit_test(test_notify_arguments),
	cmocka_unit_test(test_domain_end_takes_rings_of_both_sides),
	cmocka_unit_test(test_port_ring_len),
	cmocka_unit_test(test_port_notifies_only_where_a_send_can_have_failed),
};

int main(void)
{
	return cmocka_run_group_tests_name("argo_hv", tests, NULL, NULL);
}
