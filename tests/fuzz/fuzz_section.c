// SPDX-License-Identifier: BSD-3-Clause
/*
 * A lane whose peer writes anything at any time into its section, between any two of our calls.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exchange/lane.h"

#define RING (4u << 10)

/* Made once: the peer's section as the peer maps it, and our view of it. */
static struct vhx_section own, peer, view;

static void sections_make(void)
{
	int fds[2];

	if (own.header)
		return;
	if (vhx_section_create(RING, &own, &fds[0]) || vhx_section_create(RING, &peer, &fds[1]) ||
	    vhx_section_map(fds[1], RING, &view))
		abort();
	close(fds[0]);
	close(fds[1]);
}

static void sections_clear(void)
{
	memset(peer.data, 0, RING);
	peer.header->tx_idx.v = 0;
	peer.header->rx_idx.v = 0;
	peer.header->data_word.v = 0;
	peer.header->space_word.v = 0;
	own.header->tx_idx.v = 0;
	own.header->rx_idx.v = 0;
}

static uint32_t *peer_word(uint8_t which)
{
	uint32_t *words[] = { &peer.header->tx_idx.v, &peer.header->rx_idx.v,
			      &peer.header->data_word.v, &peer.header->space_word.v };

	return words[which % VHX_ARRAY_SIZE(words)];
}

/* Seldom: most values end the lane at once. */
static int do_word_set(struct vhx_lane *l, struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);

	if (which < 0xf0)
		return 0;
	*peer_word(which) = fuzz_u32(in);
	return 0;
}

static int do_word_add(struct vhx_lane *l, struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);

	*peer_word(which) += fuzz_u8(in) % 32 * VHX_SLOT;
	return 0;
}

/* What an honest peer does: a message, and all of ours taken. */
static int do_honest(struct vhx_lane *l, struct fuzz_input *in)
{
	uint32_t tx = peer.header->tx_idx.v;
	uint32_t header[4] = { fuzz_u16(in) % (RING / 4 - 32), fuzz_u8(in), 0, 0 };

	for (size_t i = 0; i < sizeof(header); i++)
		peer.data[(tx + i) % RING] = ((uint8_t *)header)[i];
	peer.header->tx_idx.v = tx + vhx_footprint(header[0]);
	peer.header->rx_idx.v = own.header->tx_idx.v;
	return 0;
}

static int do_data(struct vhx_lane *l, struct fuzz_input *in)
{
	uint16_t at = fuzz_u16(in);

	peer.data[at % RING] = fuzz_u8(in);
	return 0;
}

/* A slot header where we are about to read one. */
static int do_slot(struct vhx_lane *l, struct fuzz_input *in)
{
	uint32_t len = fuzz_u16(in);

	memcpy(peer.data + l->rx_idx % RING, &len, sizeof(len));
	return 0;
}

static int do_send(struct vhx_lane *l, struct fuzz_input *in)
{
	static uint8_t bytes[RING];
	struct iovec iov = { .iov_base = bytes, .iov_len = fuzz_u16(in) % RING };
	uint32_t len;

	return vhx_lane_send(l, 1, &iov, 1, &len);
}

static int do_reserve(struct vhx_lane *l, struct fuzz_input *in)
{
	uint32_t len = fuzz_u16(in) % RING;
	void *buf;
	int err = vhx_lane_reserve(l, len, &buf);

	if (err)
		return err;
	memset(buf, 0x5a, len);
	if (fuzz_u8(in) % 2)
		vhx_lane_commit(l, 2, len / 2);
	else
		vhx_lane_cancel(l);
	return 0;
}

static int do_receive(struct vhx_lane *l, struct fuzz_input *in)
{
	uint8_t *bytes;
	struct vhx_msg msg;
	int ret = vhx_lane_peek(l, &msg);

	if (ret != 1)
		return ret;
	FUZZ_CHECK(msg.len <= l->max_message);
	/* Exactly as long, so that a sanitizer sees a byte too much. */
	bytes = malloc(msg.len ? msg.len : 1);
	if (!bytes)
		abort();
	if (fuzz_u8(in) % 2)
		do_slot(l, in);
	vhx_lane_read(l, 0, bytes, msg.len);
	free(bytes);
	if (fuzz_u8(in) % 4)
		vhx_lane_consume(l);
	return 0;
}

static int do_wait(struct vhx_lane *l, struct fuzz_input *in)
{
	int ret = vhx_lane_prepare_wait(l);

	vhx_lane_awake(l);
	return ret < 0 ? ret : 0;
}

static int (*const steps[])(struct vhx_lane *l, struct fuzz_input *in) = {
	do_word_set, do_word_add, do_data,   do_slot,	 do_send,    do_reserve,
	do_receive,  do_wait,	  do_honest, do_receive, do_receive, do_honest,
};

static void check_invariants(const struct vhx_lane *l)
{
	FUZZ_CHECK(l->tx_idx - l->tx_done_idx <= RING - VHX_SLOT);
	FUZZ_CHECK(l->rx_avail_idx - l->rx_idx <= RING - VHX_SLOT);
	FUZZ_CHECK(l->tx_idx % VHX_SLOT == 0 && l->rx_idx % VHX_SLOT == 0);
	FUZZ_CHECK(l->peeked <= l->rx_avail_idx - l->rx_idx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	struct vhx_lane lane;
	int ret = 0;

	sections_make();
	sections_clear();
	vhx_lane_init(&lane, &own, &view);
	while (in.len && ret != -EPROTO) {
		ret = steps[fuzz_u8(&in) % VHX_ARRAY_SIZE(steps)](&lane, &in);
		vhx_lane_wake_due(&lane);
		check_invariants(&lane);
	}
	return 0;
}

/* Slots announced and taken, with sends and waits between. */
static const uint8_t seed_receive[] = { 3, 20, 0, 1, 0, 3, 6, 0, 1, 3, 0, 0, 1, 0, 1, 6, 0, 1, 7 };
static const uint8_t seed_honest[] = { 8,  20, 0, 1, 6, 0, 1,  4, 9, 1, 11,
				       40, 2,  9, 9, 0, 1, 10, 0, 1, 7 };
static const uint8_t seed_send[] = { 4, 200, 3, 4, 200, 3, 5,  200, 3,	 1, 4, 200, 3,
				     4, 200, 3, 7, 1,	1, 62, 5,   100, 0, 0, 7 };

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_receive, sizeof(seed_receive) },
	{ seed_honest, sizeof(seed_honest) },
	{ seed_send, sizeof(seed_send) },
	{ NULL, 0 },
};
