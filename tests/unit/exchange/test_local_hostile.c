// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `local` against a peer that is not our code: what it offers, what it writes into its section and
 * what it does to the socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../fds.h"
#include "exchange/lane_port.h"
#include "exchange/local.h"
#include "util/unix_fds.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define RING (16u << 10)
#define HANG_GUARD_S 60
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

/* What send(2) fails with; 0: it does what it does. */
static int send_errno;

ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
	if (!send_errno)
		return __real_send(fd, buf, len, flags);
	errno = send_errno;
	return -1;
}

/* The offer, written down a second time: the layout is part of what is tested. */
struct raw_offer {
	uint32_t magic, version, ring_len, reserved[5];
};

static struct raw_offer good_offer(void)
{
	return (struct raw_offer){ .magic = 0x4f584856, .version = 1, .ring_len = RING };
}

struct raw_peer {
	struct vhx_port *port; /* ours, under test */
	int sock; /* the peer's end */
	int memfd;
	struct vhx_section_header *header; /* the peer's section, writable */
	uint8_t *data;
	int fds_before;
};

static size_t file_len(void)
{
	return (size_t)sysconf(_SC_PAGESIZE) + RING;
}

static void raw_open(struct raw_peer *r)
{
	int socks[2];

	memset(r, 0, sizeof(*r));
	r->memfd = -1;
	r->fds_before = fds_open();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	r->sock = socks[1];
	assert_int_equal(vhx_local_open(socks[0], RING, &r->port), 0);
}

static void raw_close(struct raw_peer *r)
{
	vhx_port_close(r->port);
	close(r->sock);
	if (r->header)
		munmap(r->header, file_len());
	if (r->memfd >= 0)
		close(r->memfd);
	assert_int_equal(fds_open(), r->fds_before);
}

static void raw_file(struct raw_peer *r, size_t len, bool allocate, int seals)
{
	r->memfd = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(r->memfd >= 0);
	assert_int_equal(ftruncate(r->memfd, (off_t)len), 0);
	if (allocate)
		assert_int_equal(fallocate(r->memfd, 0, 0, (off_t)len), 0);
	r->header = mmap(NULL, file_len(), PROT_READ | PROT_WRITE, MAP_SHARED, r->memfd, 0);
	assert_true(r->header != MAP_FAILED);
	r->data = (uint8_t *)r->header + sysconf(_SC_PAGESIZE);
	if (allocate && len >= file_len()) {
		r->header->magic.v = VHX_SECTION_MAGIC;
		r->header->version.v = VHX_SECTION_VERSION;
		r->header->ring_len.v = RING;
	}
	/* A file can't be sealed against writing while it is mapped so. */
	if (seals & F_SEAL_WRITE) {
		munmap(r->header, file_len());
		r->header = NULL;
	}
	if (seals)
		assert_int_equal(fcntl(r->memfd, F_ADD_SEALS, seals), 0);
}

static void raw_offer(struct raw_peer *r, const void *bytes, size_t len, const int *fds,
		      unsigned int cnt)
{
	struct iovec iov = { .iov_base = vhx_unconst(bytes), .iov_len = len };

	assert_int_equal(fds_send(r->sock, &iov, 1, fds, cnt), (ssize_t)len);
}

/* A peer that has done all as it should, until now. */
static void raw_meet(struct raw_peer *r)
{
	struct raw_offer offer = good_offer();

	raw_open(r);
	raw_file(r, file_len(), true, SEALS);
	raw_offer(r, &offer, sizeof(offer), &r->memfd, 1);
	assert_int_equal(vhx_port_event(r->port), 0);
	assert_true(vhx_port_ready(r->port));
}

static void expect_refused(struct raw_peer *r)
{
	struct vhx_msg msg;

	assert_int_equal(vhx_port_event(r->port), -EPROTO);
	assert_int_equal(vhx_port_event(r->port), -EPROTO);
	assert_int_equal(vhx_port_peek(r->port, &msg), -EPROTO);
	assert_int_equal(vhx_port_send(r->port, 1, NULL, 0), -EPROTO);
	assert_int_equal(vhx_port_prepare_wait(r->port), 1);
	assert_true(vhx_port_ready(r->port));
}

/* One offer of @fd that has to be refused. */
static void refuse_fd(struct raw_peer *r, int fd)
{
	struct raw_offer offer = good_offer();

	raw_offer(r, &offer, sizeof(offer), &fd, 1);
	expect_refused(r);
	raw_close(r);
}

/* ---- offers ---- */

static void test_offer_accepted(void **state)
{
	struct raw_peer r;

	raw_meet(&r);
	assert_int_equal(r.port->peer.pid, getpid());
	assert_int_equal(r.port->peer.uid, getuid());
	raw_close(&r);
}

static void test_section_seals_missing_or_surplus(void **state)
{
	static const int wrong[] = {
		0,
		F_SEAL_SHRINK,
		F_SEAL_SHRINK | F_SEAL_GROW,
		F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE,
		F_SEAL_GROW | F_SEAL_FUTURE_WRITE,
		SEALS | F_SEAL_SEAL,
		SEALS | F_SEAL_WRITE,
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct raw_peer r;

		raw_open(&r);
		raw_file(&r, file_len(), true, wrong[i]);
		refuse_fd(&r, r.memfd);
	}
}

static void test_section_hugetlb(void **state)
{
	struct raw_peer r;
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0)
		skip();
	/* No huge page has to be there: the file alone is refused. */
	raw_open(&r);
	r.memfd = -1;
	fcntl(fd, F_ADD_SEALS, SEALS);
	refuse_fd(&r, fd);
	close(fd);
}

static void test_section_sparse(void **state)
{
	struct raw_peer r;
	long page = sysconf(_SC_PAGESIZE);

	raw_open(&r);
	raw_file(&r, file_len(), false, SEALS);
	refuse_fd(&r, r.memfd);
	/* One hole is enough. */
	raw_open(&r);
	raw_file(&r, file_len(), true, 0);
	assert_int_equal(
		fallocate(r.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * page, page), 0);
	assert_int_equal(fcntl(r.memfd, F_ADD_SEALS, SEALS), 0);
	refuse_fd(&r, r.memfd);
}

static void test_section_size_not_as_announced(void **state)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t wrong[] = { page,		 file_len() - page, file_len() - 1,
				 file_len() + 1, file_len() + page, 2 * file_len() };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct raw_peer r;

		raw_open(&r);
		raw_file(&r, wrong[i], true, SEALS);
		refuse_fd(&r, r.memfd);
	}
}

static void test_section_cannot_shrink_or_lose_pages_later(void **state)
{
	struct raw_peer r;
	long page = sysconf(_SC_PAGESIZE);

	raw_meet(&r);
	assert_int_equal(ftruncate(r.memfd, page), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fallocate(r.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page, page),
			 -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(madvise(r.data, (size_t)page, MADV_REMOVE), -1);
	raw_close(&r);
}

static void test_our_section_cannot_be_written_by_the_peer(void **state)
{
	struct raw_offer offer;
	struct raw_peer r;
	void *map;
	int fd;
	struct vhx_unix_fds fds = { .fds = &fd, .max = 1 };

	raw_open(&r);
	assert_int_equal(vhx_unix_recv_fds(r.sock, &offer, sizeof(offer), 0, &fds), sizeof(offer));
	assert_int_equal(offer.ring_len, RING);
	assert_int_equal(fds.cnt, 1);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
	assert_true(mmap(NULL, file_len(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
		    MAP_FAILED);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	map = mmap(NULL, file_len(), PROT_READ, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map, file_len(), PROT_READ | PROT_WRITE), -1);
	munmap(map, file_len());
	close(fd);
	raw_close(&r);
}

static void test_section_header_not_as_announced(void **state)
{
	for (int field = 0; field < 3; field++) {
		struct raw_peer r;

		raw_open(&r);
		raw_file(&r, file_len(), true, SEALS);
		(&r.header->magic.v)[field] ^= 1;
		refuse_fd(&r, r.memfd);
	}
}

static void test_offer_without_descriptor(void **state)
{
	struct raw_offer offer = good_offer();
	struct raw_peer r;

	raw_open(&r);
	raw_offer(&r, &offer, sizeof(offer), NULL, 0);
	expect_refused(&r);
	raw_close(&r);
}

static void test_offer_with_surplus_descriptors_leaks_none(void **state)
{
	static const size_t cnts[] = { 2, 3, 20, 32 };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(cnts); i++) {
		struct raw_offer offer = good_offer();
		struct raw_peer r;
		int fds[32];

		raw_open(&r);
		raw_file(&r, file_len(), true, SEALS);
		for (size_t n = 0; n < cnts[i]; n++)
			fds[n] = r.memfd;
		raw_offer(&r, &offer, sizeof(offer), fds, cnts[i]);
		expect_refused(&r);
		raw_close(&r);
	}
}

static void test_offer_of_a_file_that_is_no_memfd(void **state)
{
	static const char *const dirs[] = { "/tmp", "/dev/shm" };
	struct raw_peer r;
	int pipes[2];

	for (size_t i = 0; i < VHX_ARRAY_SIZE(dirs); i++) {
		int fd = open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

		if (fd < 0)
			continue;
		assert_int_equal(ftruncate(fd, (off_t)file_len()), 0);
		raw_open(&r);
		refuse_fd(&r, fd);
		close(fd);
	}
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	raw_open(&r);
	refuse_fd(&r, pipes[0]);
	raw_open(&r);
	refuse_fd(&r, r.sock);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_offer_fields(void **state)
{
	static const struct raw_offer wrong[] = {
		{ 0, 1, RING, { 0 } },
		{ 0x4f584856, 0, RING, { 0 } },
		{ 0x4f584856, 2, RING, { 0 } },
		{ 0x4f584856, 1, 0, { 0 } },
		{ 0x4f584856, 1, RING + 1, { 0 } },
		{ 0x4f584856, 1, RING + 4096, { 0 } },
		{ 0x4f584856, 1, RING / 2, { 0 } },
		{ 0x4f584856, 1, RING * 2, { 0 } },
		{ 0x4f584856, 1, 128u << 20, { 0 } },
		{ 0x4f584856, 1, UINT32_MAX, { 0 } },
		{ 0x4f584856, 1, 1u << 31, { 0 } },
		{ 0x4f584856, 1, RING, { 1 } },
		{ 0x4f584856, 1, RING, { 0, 0, 0, 0, 1 } },
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct raw_peer r;

		raw_open(&r);
		raw_file(&r, file_len(), true, SEALS);
		raw_offer(&r, &wrong[i], sizeof(wrong[i]), &r.memfd, 1);
		expect_refused(&r);
		raw_close(&r);
	}
}

static void test_offer_truncated_and_oversized(void **state)
{
	static const size_t lens[] = { 1, 12, sizeof(struct raw_offer) - 1,
				       sizeof(struct raw_offer) + 1, 4096 };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		struct raw_offer offer = good_offer();
		uint8_t bytes[4096] = { 0 };
		struct raw_peer r;

		memcpy(bytes, &offer, sizeof(offer));
		raw_open(&r);
		raw_file(&r, file_len(), true, SEALS);
		raw_offer(&r, bytes, lens[i], &r.memfd, 1);
		expect_refused(&r);
		raw_close(&r);
	}
}

static void test_open_wrong_ring_len_or_socket(void **state)
{
	static const uint32_t lens[] = {
		0, 1, RING / 2, RING + 1, RING * 3, 128u << 20, UINT32_MAX
	};
	int before = fds_open();
	struct vhx_port *port;
	int socks[2];

	for (size_t i = 0; i < VHX_ARRAY_SIZE(lens); i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
		assert_int_equal(vhx_local_open(socks[0], lens[i], &port), -EINVAL);
		close(socks[1]);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, socks), 0);
	assert_int_equal(vhx_local_open(socks[0], RING, &port), -EINVAL);
	close(socks[1]);
	assert_int_equal(fds_open(), before);
}

static void test_open_when_the_peer_has_left(void **state)
{
	int before = fds_open();
	struct vhx_port *port;
	int socks[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	close(socks[1]);
	assert_int_equal(vhx_local_open(socks[0], RING, &port), -EPIPE);
	assert_int_equal(fds_open(), before);
}

static void raw_slot(struct raw_peer *r, uint32_t at, uint32_t len, uint32_t type,
		     uint64_t reserved)
{
	memcpy(r->data + at, &len, 4);
	memcpy(r->data + at + 4, &type, 4);
	memcpy(r->data + at + 8, &reserved, 8);
}

static void test_peer_dies_with_our_offer_unread(void **state)
{
	struct raw_offer offer = good_offer();
	struct raw_peer r;
	struct vhx_msg msg;
	int ret;

	/* The socket tells of its death first, yet its offer and its message are there. */
	raw_open(&r);
	raw_file(&r, file_len(), true, SEALS);
	raw_slot(&r, 0, 0, 42, 0);
	r.header->tx_idx.v = 16;
	raw_offer(&r, &offer, sizeof(offer), &r.memfd, 1);
	close(r.sock);
	for (int i = 0; (ret = vhx_port_event(r.port)) == 0; i++)
		assert_true(i < 10);
	assert_int_equal(ret, -EPIPE);
	assert_int_equal(vhx_port_peek(r.port, &msg), 1);
	assert_int_equal(msg.type, 42);
	vhx_port_consume(r.port);
	assert_int_equal(vhx_port_peek(r.port, &msg), -EPIPE);
	r.sock = dup(r.memfd);
	raw_close(&r);
}

/* ---- indices and slots ---- */

static void expect_broken(struct raw_peer *r)
{
	struct vhx_msg msg;

	assert_int_equal(vhx_port_peek(r->port, &msg), -EPROTO);
	assert_int_equal(vhx_port_peek(r->port, &msg), -EPROTO);
	assert_int_equal(vhx_port_send(r->port, 1, NULL, 0), -EPROTO);
	assert_int_equal(vhx_port_event(r->port), -EPROTO);
	assert_int_equal(vhx_port_prepare_wait(r->port), 1);
}

static void test_index_of_producer_out_of_range(void **state)
{
	static const uint32_t wrong[] = { RING, RING + 16, UINT32_MAX & ~15u, 1u << 31, 1,
					  8,	17,	   RING - 1 };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct raw_peer r;

		raw_meet(&r);
		raw_slot(&r, 0, 0, 1, 0);
		r.header->tx_idx.v = wrong[i];
		/* Found by whoever looks first. */
		if (i % 2)
			assert_int_equal(vhx_port_prepare_wait(r.port), 1);
		expect_broken(&r);
		raw_close(&r);
	}
}

static void test_index_of_producer_moves_back(void **state)
{
	struct raw_peer r;
	struct vhx_msg msg;

	raw_meet(&r);
	raw_slot(&r, 0, 100, 5, 0);
	r.header->tx_idx.v = vhx_footprint(100);
	assert_int_equal(vhx_port_peek(r.port, &msg), 1);
	vhx_port_consume(r.port);
	r.header->tx_idx.v = 16;
	expect_broken(&r);
	raw_close(&r);
}

static void test_slot_header_out_of_range(void **state)
{
	static const struct {
		uint32_t len;
		uint32_t announced;
		uint64_t reserved;
	} wrong[] = {
		{ 17, 32, 0 },
		{ 1, 16, 0 },
		{ RING / 4, RING - 16, 0 },
		{ RING, RING - 16, 0 },
		{ UINT32_MAX, RING - 16, 0 },
		{ UINT32_MAX - 14, RING - 16, 0 },
		{ UINT32_MAX - 31, 16, 0 },
		{ 16, 32, 1 },
		{ 16, 32, 1ull << 63 },
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct raw_peer r;

		raw_meet(&r);
		raw_slot(&r, 0, wrong[i].len, 1, wrong[i].reserved);
		r.header->tx_idx.v = wrong[i].announced;
		expect_broken(&r);
		raw_close(&r);
	}
}

static void test_index_of_consumer_wrong(void **state)
{
	static const uint32_t wrong[] = { 16 * 1024, 1, 48, UINT32_MAX & ~15u, 1u << 31 };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(wrong); i++) {
		struct raw_peer r;
		char byte = 'x';
		int err, n = 0;

		/* One message of 32 bytes is there: an index up to 32 would be right. */
		raw_meet(&r);
		assert_int_equal(vhx_port_send(r.port, 1, &(struct iovec){ &byte, 1 }, 1), 0);
		r.header->rx_idx.v = wrong[i];
		/* Nobody looks before the room runs out. */
		while ((err = vhx_port_send(r.port, 1, NULL, 0)) == 0)
			assert_true(++n < 2000);
		/* By then 48 bytes have been sent, and a peer that knew it in advance does no harm. */
		assert_int_equal(err, wrong[i] == 48 ? -EAGAIN : -EPROTO);
		raw_close(&r);
	}
}

static uint32_t fill_ring(struct raw_peer *r)
{
	char bytes[1000] = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	uint32_t sent = 0;
	int err;

	while ((err = vhx_port_send(r->port, 1, &iov, 1)) == 0)
		sent += vhx_footprint(sizeof(bytes));
	assert_int_equal(err, -EAGAIN);
	return sent;
}

static void test_index_of_consumer_ahead_or_back(void **state)
{
	for (int ahead = 0; ahead < 2; ahead++) {
		struct raw_peer r;
		uint32_t sent;

		raw_meet(&r);
		sent = fill_ring(&r);
		r.header->rx_idx.v = 4096;
		sent += fill_ring(&r);
		r.header->rx_idx.v = ahead ? sent + 64 : 4080;
		/* Found on the way to sleep, by the sender that waits for room. */
		assert_int_equal(vhx_port_prepare_wait(r.port), 1);
		assert_int_equal(vhx_port_event(r.port), -EPROTO);
		raw_close(&r);
	}
}

static void test_message_changed_after_it_was_described(void **state)
{
	struct raw_peer r;
	struct vhx_msg msg;
	uint8_t bytes[100];

	raw_meet(&r);
	raw_slot(&r, 0, 100, 5, 0);
	raw_slot(&r, 128, 3, 6, 0);
	r.header->tx_idx.v = 128 + 32;
	assert_int_equal(vhx_port_peek(r.port, &msg), 1);
	/* All of it grows, after the check: the description that was handed out stands. */
	raw_slot(&r, 0, UINT32_MAX, 99, 1);
	assert_int_equal(vhx_port_peek(r.port, &msg), 1);
	assert_int_equal(msg.len, 100);
	assert_int_equal(msg.type, 5);
	vhx_port_read(r.port, 0, bytes, 100);
	vhx_port_consume(r.port);
	assert_int_equal(vhx_port_peek(r.port, &msg), 1);
	assert_int_equal(msg.type, 6);
	assert_int_equal(msg.len, 3);
	raw_close(&r);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8 ^ *seed << 20;
}

static void scribble(struct raw_peer *r, uint32_t *seed)
{
	uint32_t *words[] = { &r->header->tx_idx.v, &r->header->rx_idx.v, &r->header->data_word.v,
			      &r->header->space_word.v };

	for (size_t i = 0; i < VHX_ARRAY_SIZE(words); i++) {
		if (next_random(seed) % 4 == 0)
			*words[i] += next_random(seed) % 64 * 16 + (next_random(seed) % 32 == 0);
	}
	for (int i = 0; i < 64; i++)
		r->data[next_random(seed) % RING] = (uint8_t)(next_random(seed) % 5 ? 0
										    : *seed >> 9);
}

static void test_random_sections(void **state)
{
	uint32_t seed = 7;
	uint64_t taken = 0;

	for (int life = 0; life < 300; life++) {
		struct raw_peer r;
		uint8_t bytes[RING];
		int ret = 0;

		raw_meet(&r);
		for (int step = 0; step < 200 && ret >= 0; step++) {
			struct vhx_msg msg;

			scribble(&r, &seed);
			vhx_port_send(r.port, 1, &(struct iovec){ bytes, 200 }, 1);
			ret = vhx_port_prepare_wait(r.port);
			ret = vhx_port_peek(r.port, &msg);
			if (ret == 1) {
				assert_true(msg.len <= r.port->max_message);
				vhx_port_read(r.port, 0, bytes, msg.len);
				vhx_port_consume(r.port);
				taken++;
			}
		}
		assert_true(ret >= 0 || ret == -EPROTO);
		raw_close(&r);
	}
	/* The garbage was not all refused at the door. */
	assert_true(taken > 100);
}

/* ---- the socket ---- */

static void test_wakes_never_hang_on_a_peer_that_does_not_read(void **state)
{
	struct raw_peer r;

	/* The peer takes our descriptor's O_NONBLOCK away, sleeps anew before each send, never reads. */
	raw_meet(&r);
	assert_int_equal(fcntl(r.port->fd, F_SETFL, 0), 0);
	alarm(HANG_GUARD_S);
	for (uint32_t i = 0; i < 20000; i++) {
		r.header->data_word.v = 2 * i + 1;
		assert_int_equal(vhx_port_send(r.port, 1, NULL, 0), 0);
		r.header->rx_idx.v += VHX_SLOT;
	}
	alarm(0);
	assert_true(r.port->stats.wakes_sent > 0);
	assert_true(r.port->stats.wakes_sent < 20000);
	raw_close(&r);
}

/* The peer sleeps, and would for ever: nobody knows that it was to be woken. */
static void test_wake_lost_for_want_of_memory_ends_the_port(void **state)
{
	static const struct {
		int error, ready;
	} cases[] = { { EAGAIN, 0 }, { ENOBUFS, -EPIPE }, { ENOMEM, -EPIPE } };
	struct raw_peer r;
	struct vhx_msg msg;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(cases); i++) {
		raw_meet(&r);
		r.header->data_word.v = 1;
		send_errno = cases[i].error;
		assert_int_equal(vhx_port_send(r.port, 1, NULL, 0), 0);
		send_errno = 0;
		assert_int_equal(vhx_port_peek(r.port, &msg), cases[i].ready);
		assert_int_equal(vhx_port_prepare_wait(r.port), cases[i].ready != 0);
		raw_close(&r);
	}
}

static void test_event_never_hangs_with_nonblock_taken_away(void **state)
{
	struct raw_peer r;
	struct vhx_msg msg;

	raw_meet(&r);
	assert_int_equal(fcntl(r.port->fd, F_SETFL, 0), 0);
	alarm(HANG_GUARD_S);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vhx_port_event(r.port), 0);
		assert_int_equal(vhx_port_peek(r.port, &msg), 0);
	}
	alarm(0);
	assert_int_equal(r.port->stats.wakes_taken, 0);
	raw_close(&r);
}

static void test_wake_flood_is_taken_in_bounded_pieces(void **state)
{
	struct raw_peer r;
	struct vhx_msg msg;
	uint64_t sent = 0, events = 0;

	raw_meet(&r);
	while (send(r.sock, "", 1, MSG_DONTWAIT) == 1)
		sent++;
	assert_true(sent > VHX_LANE_PORT_WAKE_BATCH);
	raw_slot(&r, 0, 0, 8, 0);
	r.header->tx_idx.v = 16;
	/* The flood hides no message. */
	assert_int_equal(vhx_port_event(r.port), 0);
	assert_int_equal(vhx_port_peek(r.port, &msg), 1);
	assert_true(r.port->stats.wakes_taken <= VHX_LANE_PORT_WAKE_BATCH);
	while (r.port->stats.wakes_taken < sent) {
		assert_int_equal(vhx_port_event(r.port), 0);
		assert_true(++events <= sent);
	}
	assert_true(events >= sent / VHX_LANE_PORT_WAKE_BATCH - 1);
	raw_close(&r);
}

static void test_descriptors_attached_to_wakes_leak_none(void **state)
{
	struct raw_peer r;
	int before;

	raw_meet(&r);
	before = fds_open();
	for (int i = 0; i < 40; i++) {
		int fds[3] = { r.memfd, r.sock, 0 };

		raw_offer(&r, "x", 1, fds, 3);
		assert_int_equal(vhx_port_event(r.port), 0);
	}
	assert_int_equal(fds_open(), before);
	assert_int_equal(r.port->stats.wakes_taken, 40);
	raw_close(&r);
}

static void test_wakes_of_any_length(void **state)
{
	struct raw_peer r;
	char bytes[5000] = { 0 };

	raw_meet(&r);
	assert_int_equal(send(r.sock, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(vhx_port_event(r.port), 0);
	/* An empty packet can't be told from an end of file, and counts as one. */
	assert_int_equal(send(r.sock, bytes, 0, 0), 0);
	assert_int_equal(vhx_port_event(r.port), -EPIPE);
	raw_close(&r);
}

static void test_many_lives_leak_nothing(void **state)
{
	int before = fds_open();

	for (int i = 0; i < 200; i++) {
		struct raw_peer r;

		raw_meet(&r);
		raw_close(&r);
	}
	assert_int_equal(fds_open(), before);
}

/* ---- two processes ---- */

#define ECHOES 3000u

static int wait_readable(struct vhx_port *p)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
	int ready = vhx_port_prepare_wait(p);

	if (ready)
		return 0;
	if (poll(&pfd, 1, HANG_GUARD_S * 1000) != 1)
		return -ETIMEDOUT;
	return vhx_port_event(p);
}

static int next_message(struct vhx_port *p, struct vhx_msg *msg)
{
	int ret;

	while ((ret = vhx_port_peek(p, msg)) == 0) {
		ret = wait_readable(p);
		if (ret == -ETIMEDOUT)
			return ret;
	}
	return ret;
}

static int send_waiting(struct vhx_port *p, uint32_t type, const void *bytes, uint32_t len)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	int err;

	while ((err = vhx_port_send(p, type, &iov, 1)) == -EAGAIN) {
		if (wait_readable(p) == -ETIMEDOUT)
			return -ETIMEDOUT;
	}
	return err;
}

/* Sends its own view of where it maps, then echoes. Exits without a close. */
static void __attribute__((noreturn)) echo_child(int sock)
{
	static uint8_t bytes[RING];
	struct vhx_lane_port *lp;
	struct vhx_port *port;
	struct vhx_msg msg;
	uintptr_t maps[2];

	/* Takes every hole that the parent may use for a section: ours come to lie elsewhere. */
	for (int i = 0; i < 2000; i++)
		mmap(NULL, 2 * RING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vhx_local_open(sock, RING, &port))
		_exit(2);
	while (!vhx_port_ready(port)) {
		if (wait_readable(port))
			_exit(3);
	}
	lp = vhx_container_of(port, struct vhx_lane_port, port);
	maps[0] = (uintptr_t)lp->own.data;
	maps[1] = (uintptr_t)lp->theirs.data;
	if (send_waiting(port, 0, maps, sizeof(maps)))
		_exit(4);
	for (uint32_t i = 0; i < ECHOES; i++) {
		if (next_message(port, &msg) != 1)
			_exit(5);
		vhx_port_read(port, 0, bytes, msg.len);
		vhx_port_consume(port);
		if (send_waiting(port, msg.type, bytes, msg.len))
			_exit(6);
	}
	_exit(0);
}

static pid_t fork_peer(int *sock, void (*run)(int sock))
{
	int socks[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(socks[0]);
		run(socks[1]);
	}
	close(socks[1]);
	*sock = socks[0];
	return pid;
}

static void test_two_processes_at_different_addresses(void **state)
{
	static uint8_t out[RING], in[RING];
	struct vhx_lane_port *lp;
	struct vhx_port *port;
	struct vhx_msg msg;
	uintptr_t maps[2];
	uint32_t seed = 3;
	int sock, status;
	pid_t pid = fork_peer(&sock, echo_child);

	assert_int_equal(vhx_local_open(sock, 4 * RING, &port), 0);
	lp = vhx_container_of(port, struct vhx_lane_port, port);
	assert_int_equal(next_message(port, &msg), 1);
	assert_int_equal(msg.len, sizeof(maps));
	vhx_port_read(port, 0, maps, sizeof(maps));
	vhx_port_consume(port);
	assert_true(maps[0] != (uintptr_t)lp->theirs.data);
	assert_true(maps[1] != (uintptr_t)lp->own.data);
	for (uint32_t i = 0; i < ECHOES; i++) {
		uint32_t len = next_random(&seed) % (port->max_message + 1);

		memset(out, (int)i, len);
		assert_int_equal(send_waiting(port, i, out, len), 0);
		assert_int_equal(next_message(port, &msg), 1);
		assert_int_equal(msg.type, i);
		assert_int_equal(msg.len, len);
		vhx_port_read(port, 0, in, len);
		vhx_port_consume(port);
		assert_memory_equal(in, out, len);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(next_message(port, &msg), -EPIPE);
	vhx_port_close(port);
}

/* Publishes for ever. */
static void __attribute__((noreturn)) stream_child(int sock)
{
	struct vhx_port *port;

	if (vhx_local_open(sock, RING, &port))
		_exit(2);
	while (!vhx_port_ready(port)) {
		if (wait_readable(port))
			_exit(3);
	}
	for (uint32_t i = 0; send_waiting(port, i, "mid-stream", 10) == 0; i++)
		;
	_exit(4);
}

static void test_peer_killed_in_mid_stream(void **state)
{
	struct vhx_port *port;
	struct vhx_msg msg;
	uint32_t seen = 0;
	int sock, status, ret;
	pid_t pid = fork_peer(&sock, stream_child);

	assert_int_equal(vhx_local_open(sock, RING, &port), 0);
	while ((ret = next_message(port, &msg)) == 1) {
		assert_int_equal(msg.type, seen);
		assert_int_equal(msg.len, 10);
		vhx_port_consume(port);
		if (++seen == 5000)
			kill(pid, SIGKILL);
	}
	assert_int_equal(ret, -EPIPE);
	assert_true(seen >= 5000);
	assert_int_equal(vhx_port_send(port, 1, NULL, 0), -EPIPE);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	vhx_port_close(port);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_offer_accepted),
	cmocka_unit_test(test_section_seals_missing_or_surplus),
	cmocka_unit_test(test_section_hugetlb),
	cmocka_unit_test(test_section_sparse),
	cmocka_unit_test(test_section_size_not_as_announced),
	cmocka_unit_test(test_section_cannot_shrink_or_lose_pages_later),
	cmocka_unit_test(test_our_section_cannot_be_written_by_the_peer),
	cmocka_unit_test(test_section_header_not_as_announced),
	cmocka_unit_test(test_offer_without_descriptor),
	cmocka_unit_test(test_offer_with_surplus_descriptors_leaks_none),
	cmocka_unit_test(test_offer_of_a_file_that_is_no_memfd),
	cmocka_unit_test(test_offer_fields),
	cmocka_unit_test(test_offer_truncated_and_oversized),
	cmocka_unit_test(test_open_wrong_ring_len_or_socket),
	cmocka_unit_test(test_open_when_the_peer_has_left),
	cmocka_unit_test(test_peer_dies_with_our_offer_unread),
	cmocka_unit_test(test_index_of_producer_out_of_range),
	cmocka_unit_test(test_index_of_producer_moves_back),
	cmocka_unit_test(test_slot_header_out_of_range),
	cmocka_unit_test(test_index_of_consumer_wrong),
	cmocka_unit_test(test_index_of_consumer_ahead_or_back),
	cmocka_unit_test(test_message_changed_after_it_was_described),
	cmocka_unit_test(test_random_sections),
	cmocka_unit_test(test_wakes_never_hang_on_a_peer_that_does_not_read),
	cmocka_unit_test(test_wake_lost_for_want_of_memory_ends_the_port),
	cmocka_unit_test(test_event_never_hangs_with_nonblock_taken_away),
	cmocka_unit_test(test_wake_flood_is_taken_in_bounded_pieces),
	cmocka_unit_test(test_descriptors_attached_to_wakes_leak_none),
	cmocka_unit_test(test_wakes_of_any_length),
	cmocka_unit_test(test_many_lives_leak_nothing),
	cmocka_unit_test(test_two_processes_at_different_addresses),
	cmocka_unit_test(test_peer_killed_in_mid_stream),
};

int main(void)
{
	return cmocka_run_group_tests_name("local_hostile", tests, NULL, NULL);
}
