// SPDX-License-Identifier: BSD-3-Clause
/* The receive filter of a network device, and the lists that a driver may send it. */
#include "device/net_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t own[] = { 0x52, 0x54, 0, 1, 2, 3 }, other[] = { 0x52, 0x54, 0, 9, 9, 9 };
static const uint8_t third[] = { 0x52, 0x54, 0, 7, 7, 7 };
static const uint8_t group[] = { 0x33, 0x33, 0, 0, 0, 1 }, group2[] = { 0x33, 0x33, 0, 0, 0, 2 };
static const uint8_t all[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static struct vhx_net_filter f;

static int setup(void **state)
{
	f = (struct vhx_net_filter){ 0 };
	memcpy(f.mac, own, sizeof(own));
	vhx_net_filter_reset(&f);
	return 0;
}

static void mode(uint8_t command, bool on)
{
	assert_true(vhx_net_filter_mode(&f, command, on));
}

static void test_at_first_everything_passes(void **state)
{
	assert_true(vhx_net_filter_passes(&f, own));
	assert_true(vhx_net_filter_passes(&f, other));
	assert_true(vhx_net_filter_passes(&f, group));
	assert_true(vhx_net_filter_passes(&f, all));
}

static void test_modes(void **state)
{
	mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_true(vhx_net_filter_passes(&f, own));
	assert_false(vhx_net_filter_passes(&f, other));
	assert_false(vhx_net_filter_passes(&f, group));
	assert_true(vhx_net_filter_passes(&f, all));
	mode(VIRTIO_NET_CTRL_RX_ALLMULTI, true);
	assert_true(vhx_net_filter_passes(&f, group));
	mode(VIRTIO_NET_CTRL_RX_NOMULTI, true);
	assert_false(vhx_net_filter_passes(&f, group));
	mode(VIRTIO_NET_CTRL_RX_ALLUNI, true);
	assert_true(vhx_net_filter_passes(&f, other));
	mode(VIRTIO_NET_CTRL_RX_NOUNI, true);
	assert_false(vhx_net_filter_passes(&f, own));
	mode(VIRTIO_NET_CTRL_RX_NOBCAST, true);
	assert_false(vhx_net_filter_passes(&f, all));
	assert_false(vhx_net_filter_mode(&f, VIRTIO_NET_CTRL_RX_NOBCAST + 1, true));
}

static void test_unknown_address_lets_unicast_through(void **state)
{
	memset(f.mac, 0, sizeof(f.mac));
	mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_true(vhx_net_filter_passes(&f, other));
	assert_false(vhx_net_filter_passes(&f, group));
}

/* @unis and @multis addresses, each the one given. Returns the length. */
static uint32_t table(uint8_t *out, uint32_t unis, const uint8_t *uni, uint32_t multis,
		      const uint8_t *multi)
{
	const uint32_t cnt[] = { unis, multis };
	const uint8_t *const address[] = { uni, multi };
	uint8_t *p = out;
	uint32_t i, j;

	for (i = 0; i < 2; i++) {
		vhx_le32 wire = vhx_le32_of(cnt[i]);

		memcpy(p, &wire, sizeof(wire));
		p += sizeof(wire);
		for (j = 0; j < cnt[i]; j++, p += VHX_ETHER_ADDRESS_LEN)
			memcpy(p, address[i], VHX_ETHER_ADDRESS_LEN);
	}
	return (uint32_t)(p - out);
}

static void test_table(void **state)
{
	uint8_t bytes[64];
	uint32_t len = table(bytes, 1, other, 2, group);

	mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_true(vhx_net_filter_table(&f, bytes, len, len));
	assert_true(vhx_net_filter_passes(&f, other));
	assert_true(vhx_net_filter_passes(&f, group));
	assert_false(vhx_net_filter_passes(&f, group2));
	len = table(bytes, 0, NULL, 0, NULL);
	assert_true(vhx_net_filter_table(&f, bytes, len, len));
	assert_false(vhx_net_filter_passes(&f, other));
	assert_false(vhx_net_filter_passes(&f, group));
}

static void test_too_many_are_all(void **state)
{
	static uint8_t bytes[2048];
	uint32_t len = table(bytes, 1, other, VHX_NET_FILTER_MAX + 1, group);

	mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_true(vhx_net_filter_table(&f, bytes, len, len));
	assert_true(vhx_net_filter_passes(&f, group2));
	assert_false(vhx_net_filter_passes(&f, third));
	/* Cut within the first list: nothing is known of either. */
	assert_true(vhx_net_filter_table(&f, bytes, 6, len));
	assert_true(vhx_net_filter_passes(&f, group2));
	assert_true(vhx_net_filter_passes(&f, third));
}

/* Whatever the lengths claim, and wherever it is cut: refused or read, within its bytes. */
static void test_lists_that_are_none(void **state)
{
	uint8_t good[64], *exact;
	uint32_t len = table(good, 2, other, 3, group), cut, i;
	static const uint32_t claims[] = { 7, 100, 0x2aaaaaab, 0xffffffff, 0x80000000 };

	for (cut = 0; cut < len; cut++) {
		exact = malloc(cut + 1);
		memcpy(exact, good, cut);
		assert_false(vhx_net_filter_table(&f, exact, cut, cut));
		free(exact);
	}
	for (i = 0; i < VHX_ARRAY_SIZE(claims); i++) {
		vhx_le32 wire = vhx_le32_of(claims[i]);

		memcpy(good, &wire, sizeof(wire));
		assert_false(vhx_net_filter_table(&f, good, len, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_at_first_everything_passes, setup),
		cmocka_unit_test_setup(test_modes, setup),
		cmocka_unit_test_setup(test_unknown_address_lets_unicast_through, setup),
		cmocka_unit_test_setup(test_table, setup),
		cmocka_unit_test_setup(test_too_many_are_all, setup),
		cmocka_unit_test_setup(test_lists_that_are_none, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
