// SPDX-License-Identifier: BSD-3-Clause
/* The network device on real sockets: packets both ways, commands, and ends that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device/net.h"
#include "device/net_layout.h"

#define QUEUES 5
#define HDR ((uint32_t)sizeof(struct virtio_net_hdr))
#define BIT(name) (1ull << VIRTIO_NET_F_##name)
#define FRAME 100u

enum { RX, TX, CONTROL };

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queues[QUEUES];
static char dir[64], path[100], text[512];
static int peer;
static struct vhx_net_config cfg;

static int setup(void **state)
{
	unsigned int i;

	strcpy(dir, "/tmp/vhx-net.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	cfg = (struct vhx_net_config){ .id = "n0", .end = text, .offload = true };
	memcpy(cfg.mac, "\x52\x54\0\1\2\3", 6);
	for (i = 0; i < QUEUES; i++)
		queues[i] = (struct vhx_queue){ .index = (uint16_t)i };
	fake_init();
	peer = -1;
	assert_int_equal(vhx_loop_new(0, &loop), 0);
	return 0;
}

static int teardown(void **state)
{
	vhx_loop_free(loop);
	if (peer >= 0)
		close(peer);
	unlink(path);
	return rmdir(dir);
}

static void open_device(uint64_t features)
{
	struct vhx_error err = { "" };

	if (vhx_net_new(loop, &cfg, NULL, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(dev->ops->set_features(dev, features), 0);
}

/* Its other end is @peer. */
static void open_pair(int type, uint64_t features)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, fds), 0);
	peer = fds[1];
	fcntl(peer, F_SETFL, O_NONBLOCK);
	snprintf(text, sizeof(text), "fd:%d", fds[0]);
	open_device(features);
}

static void close_device(void)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++) {
		queues[i].quiesced = 0;
		dev->ops->reset(dev, &queues[i]);
		assert_int_equal(queues[i].quiesced, 1);
	}
	dev->ops->close(dev);
	assert_int_equal(fake.in_flight, 0);
}

/* Turns the loop until nothing is left to do at once. */
static void settle(void)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(loop), .events = POLLIN };
	unsigned int i = 0;

	do {
		assert_int_equal(vhx_loop_once(loop, 0), 0);
		assert_true(++i < 100000);
	} while (poll(&pfd, 1, 1) == 1);
}

static void fill(uint8_t *p, uint32_t len, uint8_t seed)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)(seed + i * 7 + (i >> 8));
	memcpy(p, cfg.mac, sizeof(cfg.mac));
}

static struct fake_request *post(uint32_t in_len)
{
	struct fake_request *r = fake_request_new(dev, &queues[RX], "", 0, in_len);

	fake_submit(r);
	return r;
}

static struct fake_request *packet(const struct virtio_net_hdr *hdr, uint32_t len, uint8_t seed)
{
	uint8_t *bytes = malloc(HDR + len);
	struct fake_request *r;

	memcpy(bytes, hdr, HDR);
	fill(bytes + HDR, len, seed);
	r = fake_request_new(dev, &queues[TX], bytes, HDR + len, 0);
	free(bytes);
	fake_submit(r);
	return r;
}

static const struct virtio_net_hdr plain;

/* As a peer of a stream would. */
static void peer_send(uint32_t len, uint8_t seed)
{
	uint8_t *bytes = malloc(4 + len);
	uint8_t prefix[] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
			     (uint8_t)len };

	memcpy(bytes, prefix, 4);
	fill(bytes + 4, len, seed);
	assert_int_equal(write(peer, bytes, 4 + len), 4 + len);
	free(bytes);
}

static void peer_reads(void *p, uint32_t len)
{
	uint8_t *to = p;

	while (len) {
		ssize_t n = read(peer, to, len);

		if (n < 0 && errno == EAGAIN)
			settle();
		else
			assert_true(n > 0);
		to += n > 0 ? n : 0;
		len -= n > 0 ? (uint32_t)n : 0;
	}
}

static void peer_expect(uint32_t len, uint8_t seed)
{
	uint8_t *want = malloc(len + 1), *got = malloc(len + 1), prefix[4];

	peer_reads(prefix, 4);
	assert_int_equal(prefix[0] << 24 | prefix[1] << 16 | prefix[2] << 8 | prefix[3], len);
	peer_reads(got, len);
	fill(want, len, seed);
	assert_memory_equal(want, got, len);
	free(want);
	free(got);
}

/* The request holds a whole packet. */
static void expect_packet(struct fake_request *r, uint32_t len, uint8_t seed)
{
	struct virtio_net_hdr hdr = { .num_buffers = vhx_le16_of(1) };
	uint8_t *want = malloc(len);

	assert_true(r->completed);
	assert_int_equal(r->used_len, HDR + len);
	assert_memory_equal(r->answer, &hdr, HDR);
	fill(want, len, seed);
	assert_memory_equal(r->answer + HDR, want, len);
	free(want);
	fake_request_free(r);
}

static uint8_t command(uint8_t class, uint8_t number, const void *data, uint32_t len)
{
	uint8_t bytes[600] = { class, number }, ack;
	struct fake_request *r;

	memcpy(bytes + 2, data, len);
	r = fake_request_new(dev, &queues[CONTROL], bytes, 2 + len, 1);
	fake_submit(r);
	assert_true(r->completed);
	assert_int_equal(r->used_len, 1);
	ack = r->answer[0];
	fake_request_free(r);
	return ack;
}

static unsigned int status(void)
{
	return vhx_le16_get(((struct virtio_net_config *)(void *)dev->config)->status);
}

/* Packets */

static void test_packets_out(void **state)
{
	static const uint32_t lens[] = { 14, 60, 1514, 4096, 65550 };
	uint8_t i;

	open_pair(SOCK_STREAM, 0);
	for (i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		struct fake_request *r = packet(&plain, lens[i], i);

		peer_expect(lens[i], i);
		assert_true(r->completed);
		assert_int_equal(r->used_len, 0);
		fake_request_free(r);
	}
	close_device();
}

/* A peer that does not read: packets are held in order, none is torn, and nothing is lost. */
static void test_peer_that_does_not_read(void **state)
{
	enum { CNT = 200 };
	struct fake_request *r[CNT];
	unsigned int i, held = 0;
	int size = 4096;

	open_pair(SOCK_STREAM, 0);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (i = 0; i < CNT; i++) {
		r[i] = packet(&plain, 1000 + i, (uint8_t)i);
		held += !r[i]->completed;
	}
	settle();
	assert_true(held > 10);
	for (i = 0; i < CNT; i++)
		peer_expect(1000 + i, (uint8_t)i);
	for (i = 0; i < CNT; i++)
		fake_request_free(r[i]);
	close_device();
}

/* A reset takes the requests back, but not half a frame. */
static void test_reset_leaves_the_framing_whole(void **state)
{
	enum { CNT = 300 };
	struct fake_request *r[CNT];
	unsigned int i, sent = 0;

	open_pair(SOCK_STREAM, 0);
	for (i = 0; i < CNT; i++)
		r[i] = packet(&plain, 2000, (uint8_t)i);
	queues[TX].quiesced = 0;
	dev->ops->reset(dev, &queues[TX]);
	assert_int_equal(queues[TX].quiesced, 1);
	for (i = 0; i < CNT; i++) {
		assert_true(r[i]->completed || r[i]->dropped);
		sent += r[i]->completed;
		fake_request_free(r[i]);
	}
	assert_true(sent > 0 && sent < CNT);
	for (i = 0; i < sent; i++)
		peer_expect(2000, (uint8_t)i);
	r[0] = packet(&plain, 77, 77);
	peer_expect(77, 77);
	fake_request_free(r[0]);
	close_device();
}

static void test_packets_in(void **state)
{
	struct fake_request *r[3];
	unsigned int i;

	open_pair(SOCK_STREAM, 0);
	for (i = 0; i < 3; i++)
		r[i] = post(HDR + 1514);
	settle();
	peer_send(60, 1);
	peer_send(1514, 2);
	settle();
	expect_packet(r[0], 60, 1);
	expect_packet(r[1], 1514, 2);
	assert_false(r[2]->completed);
	/* One that is too long for a buffer, then one that is not. */
	peer_send(1515, 3);
	peer_send(61, 4);
	settle();
	expect_packet(r[2], 61, 4);
	close_device();
}

/* Frames that are here before there are buffers for them. */
static void test_buffers_that_come_late(void **state)
{
	struct fake_request *r;
	unsigned int i;

	open_pair(SOCK_STREAM, 0);
	for (i = 0; i < 3; i++)
		peer_send(FRAME, (uint8_t)i);
	settle();
	for (i = 0; i < 3; i++) {
		r = post(2000);
		settle();
		expect_packet(r, FRAME, (uint8_t)i);
	}
	close_device();
}

/* The parts of a packet in @cnt buffers of @size, in one group. */
static void expect_merged(struct fake_request **r, unsigned int cnt, uint32_t size, uint32_t len,
			  uint8_t seed)
{
	struct virtio_net_hdr hdr = { .num_buffers = vhx_le16_of((uint16_t)cnt) };
	uint8_t *want = malloc(HDR + len);
	uint32_t off = 0, n;
	unsigned int i;

	memcpy(want, &hdr, HDR);
	fill(want + HDR, len, seed);
	for (i = 0; i < cnt; i++) {
		n = (uint32_t)vhx_min_u64(size, HDR + len - off);
		assert_true(r[i]->completed);
		assert_int_equal(r[i]->req.group, i + 1 < cnt);
		assert_int_equal(r[i]->used_len, n);
		assert_memory_equal(r[i]->answer, want + off, n);
		off += n;
	}
	assert_int_equal(off, HDR + len);
	free(want);
}

static void test_merged_buffers(void **state)
{
	struct fake_request *r[50];
	unsigned int i;

	open_pair(SOCK_STREAM, BIT(MRG_RXBUF));
	for (i = 0; i < 50; i++)
		r[i] = post(1526);
	settle();
	peer_send(4000, 1);
	peer_send(FRAME, 2);
	peer_send(65550, 3);
	settle();
	expect_merged(r, 3, 1526, 4000, 1);
	expect_merged(r + 3, 1, 1526, FRAME, 2);
	expect_merged(r + 4, 43, 1526, 65550, 3);
	assert_int_equal(fake.group_open, 0);
	assert_false(r[47]->completed);
	for (i = 0; i < 47; i++)
		fake_request_free(r[i]);
	close_device();
	for (i = 47; i < 50; i++)
		fake_request_free(r[i]);
}

/* A group is begun when it can be ended, and not before. */
static void test_packet_waits_for_its_buffers(void **state)
{
	struct fake_request *r[3];

	open_pair(SOCK_STREAM, BIT(MRG_RXBUF));
	r[0] = post(1000);
	settle();
	peer_send(2500, 1);
	settle();
	r[1] = post(1000);
	settle();
	assert_false(r[0]->completed);
	r[2] = post(1000);
	settle();
	expect_merged(r, 3, 1000, 2500, 1);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	fake_request_free(r[2]);
	close_device();
}

/* Whatever room there is, and whatever a message takes at once: the packet is the same. */
static void test_pieces_and_refusals(void **state)
{
	static const uint32_t maxes[] = { 12, 100, 1000, 1526 };
	struct fake_request *r[4];
	unsigned int m, skip, i;

	for (m = 0; m < VHX_ARRAY_SIZE(maxes); m++) {
		for (skip = 0; skip < 10; skip++) {
			open_pair(SOCK_STREAM, BIT(MRG_RXBUF));
			fake.reserve_max = maxes[m];
			fake.later = 3;
			fake.later_skip = skip;
			for (i = 0; i < 4; i++)
				r[i] = post(1526);
			peer_send(4000, 9);
			for (i = 0; i < 20; i++) {
				settle();
				fake_room(dev, &queues[RX]);
			}
			expect_merged(r, 3, 1526, 4000, 9);
			assert_false(r[3]->completed);
			close_device();
			for (i = 0; i < 4; i++)
				fake_request_free(r[i]);
			close(peer);
			fake_init();
		}
	}
	peer = -1;
}

/* The rest of a packet whose group had begun is not what the next buffers get. */
static void test_reset_within_a_group(void **state)
{
	struct fake_request *r[3], *next;
	unsigned int i;

	open_pair(SOCK_STREAM, BIT(MRG_RXBUF));
	for (i = 0; i < 3; i++)
		r[i] = post(1526);
	fake.later = 1;
	fake.later_skip = 3; /* one to find out that it is not enough, and two buffers */
	peer_send(4000, 1);
	settle();
	assert_true(r[0]->completed && r[1]->completed && !r[2]->completed);
	assert_int_equal(fake.group_open, 2);
	queues[RX].quiesced = 0;
	dev->ops->reset(dev, &queues[RX]);
	assert_int_equal(queues[RX].quiesced, 1);
	assert_true(r[2]->dropped);
	for (i = 0; i < 3; i++)
		fake_request_free(r[i]);
	next = post(1526);
	peer_send(FRAME, 2);
	settle();
	expect_packet(next, FRAME, 2);
	close_device();
}

static void test_buffers_without_room_for_a_header(void **state)
{
	struct fake_request *r[3];

	open_pair(SOCK_STREAM, BIT(MRG_RXBUF));
	r[0] = post(0);
	r[1] = post(HDR - 1);
	r[2] = post(2000);
	settle();
	peer_send(FRAME, 1);
	settle();
	assert_true(r[0]->completed && r[1]->completed);
	assert_int_equal(r[0]->used_len + r[1]->used_len, 0);
	expect_packet(r[2], FRAME, 1);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	close_device();
}

static void test_datagrams(void **state)
{
	uint8_t frame[FRAME], got[2000];
	struct fake_request *r;

	open_pair(SOCK_DGRAM, 0);
	r = packet(&plain, FRAME, 5);
	assert_true(r->completed);
	assert_int_equal(read(peer, got, sizeof(got)), FRAME);
	fill(frame, FRAME, 5);
	assert_memory_equal(got, frame, FRAME);
	fake_request_free(r);
	r = post(2000);
	settle();
	/* Neither nothing nor half a header is a frame. */
	assert_int_equal(send(peer, frame, 0, 0), 0);
	assert_int_equal(send(peer, frame, 13, 0), 13);
	assert_int_equal(send(peer, frame, FRAME, 0), FRAME);
	settle();
	expect_packet(r, FRAME, 5);
	close_device();
}

/* Headers: what the driver did not negotiate it must not use, and its packet is lost. */
static void test_headers_that_are_not_allowed(void **state)
{
	static const struct virtio_net_hdr bad[] = {
		{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM },
		{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV6 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_ECN },
		{ .gso_type = 3 },
		{ .gso_type = 0x7f },
		{ .gso_type = 0xff },
	};
	struct fake_request *r;
	unsigned int i;
	uint8_t byte;

	open_pair(SOCK_STREAM, 0);
	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++) {
		r = packet(&bad[i], FRAME, 1);
		assert_true(r->completed);
		fake_request_free(r);
	}
	/* Nor what is no packet. */
	r = packet(&plain, 13, 1);
	assert_true(r->completed);
	fake_request_free(r);
	r = fake_request_new(dev, &queues[TX], "", 0, 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	r = packet(&plain, VHX_ETHER_FRAME_MAX + 1, 1);
	assert_true(r->completed);
	fake_request_free(r);
	settle();
	assert_int_equal(read(peer, &byte, 1), -1);
	close_device();
}

/* Ends without the kernel's help offer none. */
static void test_sockets_offer_no_offload(void **state)
{
	open_pair(SOCK_STREAM, 0);
	assert_int_equal(dev->features & (BIT(CSUM) | BIT(GUEST_CSUM) | BIT(HOST_TSO4)), 0);
	assert_int_equal(dev->ops->set_features(dev, BIT(CSUM)), -EINVAL);
	close_device();
}

/* Commands */

static void test_commands(void **state)
{
	const uint8_t on = 1, off = 0, mac[] = { 0x52, 0x54, 0, 7, 7, 7 };
	const vhx_le16 pairs = vhx_le16_of(1);
	static const uint8_t none[8];
	struct fake_request *r;

	open_pair(SOCK_STREAM, BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_MAC_ADDR));
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1),
			 VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 99, &on, 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 0),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, none, 8),
			 VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, none, 7),
			 VIRTIO_NET_ERR);
	/* MQ was not negotiated, and there is no class 77. */
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(77, 0, none, 8), VIRTIO_NET_ERR);
	r = post(2000);
	settle();
	memcpy(cfg.mac, mac, sizeof(mac));
	peer_send(FRAME, 1);
	settle();
	assert_false(r->completed);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 5),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
			 VIRTIO_NET_OK);
	assert_memory_equal(dev->config, mac, 6);
	peer_send(FRAME, 2);
	settle();
	expect_packet(r, FRAME, 2);
	close_device();
}

static void test_command_without_room_for_an_answer(void **state)
{
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_RX, 0 };
	struct fake_request *r;

	open_pair(SOCK_STREAM, BIT(CTRL_VQ) | BIT(CTRL_RX));
	r = fake_request_new(dev, &queues[CONTROL], bytes, 2, 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	r = fake_request_new(dev, &queues[CONTROL], "", 0, 1);
	fake_submit(r);
	assert_true(r->completed);
	assert_int_equal(r->answer[0], VIRTIO_NET_ERR);
	fake_request_free(r);
	close_device();
}

/* 5.1.4: the address is writable where there is no command for it; nothing else is. */
static void test_config_writes(void **state)
{
	const uint8_t mac[] = { 0x52, 0x54, 0, 7, 7, 7 };

	open_pair(SOCK_STREAM, 0);
	assert_int_equal(dev->ops->set_config(dev, 0, mac, 6), 0);
	assert_memory_equal(dev->config, mac, 6);
	assert_int_equal(dev->ops->set_config(dev, 5, mac, 2), -EINVAL);
	assert_int_equal(dev->ops->set_config(dev, 6, mac, 2), -EINVAL);
	close_device();
}

/* Once per backend the guest is asked to make itself heard, and the request ends when it did. */
static void test_announcement(void **state)
{
	struct fake_request *r;

	open_pair(SOCK_STREAM, BIT(CTRL_VQ) | BIT(STATUS) | BIT(GUEST_ANNOUNCE));
	assert_int_equal(status(), VIRTIO_NET_S_LINK_UP);
	r = post(2000);
	assert_int_equal(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(fake.config_changes, 1);
	assert_int_equal(command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 0),
			 VIRTIO_NET_OK);
	assert_int_equal(status(), VIRTIO_NET_S_LINK_UP);
	close_device();
	fake_request_free(r);
}

/* Ends that go */

static void expect_link_down(void)
{
	struct fake_request *r;

	settle();
	assert_int_equal(status() & VIRTIO_NET_S_LINK_UP, 0);
	assert_true(fake.config_changes > 0);
	r = packet(&plain, FRAME, 1);
	assert_true(r->completed);
	fake_request_free(r);
}

static void test_peer_that_leaves(void **state)
{
	struct fake_request *in, *out[300];
	unsigned int i;

	open_pair(SOCK_STREAM, BIT(STATUS));
	in = post(2000);
	for (i = 0; i < 300; i++)
		out[i] = packet(&plain, 2000, 1);
	assert_false(out[299]->completed);
	close(peer);
	peer = -1;
	expect_link_down();
	for (i = 0; i < 300; i++) {
		assert_true(out[i]->completed);
		fake_request_free(out[i]);
	}
	assert_false(in->completed);
	close_device();
	fake_request_free(in);
}

static void test_peer_of_sequenced_packets_that_leaves(void **state)
{
	struct fake_request *in;

	open_pair(SOCK_SEQPACKET, BIT(STATUS));
	in = post(2000);
	settle();
	close(peer);
	peer = -1;
	expect_link_down();
	assert_false(in->completed);
	close_device();
	fake_request_free(in);
}

static void test_lengths_that_are_none(void **state)
{
	static const uint8_t bad[][4] = {
		{ 0, 0, 0, 0 }, { 0, 1, 0, 18 }, { 0xff, 0xff, 0xff, 0xff }, { 0x80, 0, 0, 60 }
	};
	struct fake_request *r;
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++) {
		open_pair(SOCK_STREAM, BIT(STATUS));
		r = post(2000);
		settle();
		peer_send(FRAME, 1);
		assert_int_equal(write(peer, bad[i], 4), 4);
		settle();
		expect_packet(r, FRAME, 1);
		r = post(2000);
		expect_link_down();
		close(peer);
		peer = -1;
		close_device();
		fake_request_free(r);
		fake.config_changes = 0;
	}
}

static int connect_peer(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	settle();
	return fd;
}

/* Half a frame from one peer and half from the next are no frame. */
static void test_peers_one_after_another(void **state)
{
	const uint8_t half[] = { 0, 0, 0, 100, 1, 2, 3 };
	struct fake_request *r;
	unsigned int i;

	snprintf(text, sizeof(text), "listen:%s", path);
	open_device(BIT(STATUS) | BIT(CTRL_VQ) | BIT(GUEST_ANNOUNCE));
	assert_int_equal(status(), 0);
	r = post(2000);
	for (i = 0; i < 3; i++) {
		peer = connect_peer();
		assert_int_equal(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
		command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 0);
		peer_send(FRAME, (uint8_t)i);
		settle();
		expect_packet(r, FRAME, (uint8_t)i);
		r = post(2000);
		assert_int_equal(write(peer, half, sizeof(half)), sizeof(half));
		settle();
		close(peer);
		settle();
		assert_int_equal(status(), 0);
	}
	peer = -1;
	close_device();
	fake_request_free(r);
}

static void test_ends_that_cannot_be(void **state)
{
	static const struct {
		const char *end, *says;
		uint16_t pairs;
	} bad[] = {
		{ "", "is none of tap:NAME" },
		{ "tap", "what to open is missing" },
		{ "tap:", "what to open is missing" },
		{ "bridge:br0", "is none of tap:NAME" },
		{ "tap:a-name-that-is-too-long", "at most 15 letters" },
		{ "stream:/nowhere/at/all", "No such file" },
		{ "dgram:/tmp/x", "two sockets are needed" },
		{ "dgram:/nowhere/a:/nowhere/b", "No such file" },
		{ "fd:", "what to open is missing" },
		{ "fd:x", "is not N[:N...]" },
		{ "fd:1:", "is not N[:N...]" },
		{ "fd:-1", "is not N[:N...]" },
		{ "fd:999999", "nobody passed it" },
		{ "fd:1:2", "1 queue pairs, but 2 descriptors" },
		{ "fd:0", "neither a tap nor a socket" },
		{ "listen:/tmp/vhx-net-unused", "only a tap has more", 2 },
	};
	struct vhx_error err;
	int null = open("/dev/null", O_RDONLY), in = dup(0);
	unsigned int i;

	dup2(null, 0);
	for (i = 0; i < VHX_ARRAY_SIZE(bad); i++) {
		cfg.end = bad[i].end;
		cfg.pairs = bad[i].pairs;
		assert_true(vhx_net_new(loop, &cfg, NULL, &dev, &err) < 0);
		if (!strstr(err.text, bad[i].says) || strncmp(err.text, "n0: ", 4))
			fail_msg("'%s' says '%s'", bad[i].end, err.text);
	}
	dup2(in, 0);
	close(in);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_packets_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_that_does_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_leaves_the_framing_whole, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_packets_in, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buffers_that_come_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merged_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packet_waits_for_its_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces_and_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_within_a_group, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buffers_without_room_for_a_header, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_datagrams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_headers_that_are_not_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sockets_offer_no_offload, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_command_without_room_for_an_answer, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_config_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_announcement, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_that_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_of_sequenced_packets_that_leaves, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_lengths_that_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peers_one_after_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_that_cannot_be, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
