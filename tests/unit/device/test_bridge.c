// SPDX-License-Identifier: BSD-3-Clause
/* The bridge, between a driver that is the fake backend's and a vhost-user back-end that lies in each way it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"
#include "fake_vhost_user.h"
#include "../fds.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <vhx/endian.h>

#include "device/vhost_user.h"

#define BLK 2
#define FS 26
#define NET 1
#define MIB (1u << 20)
#define TURNS 2000
/* docs/bridge.md */
#define ANSWER_S 30

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queues[FAKE_RINGS];
static struct fake_peer peer;
static struct vhx_error error;
static int fds_before;

static time_t skipped_s; /* nobody here waits for seconds */

int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	int ret = __real_clock_gettime(id, t);

	t->tv_sec += skipped_s;
	return ret;
}

static int open_config(const struct vhx_bridge_config *config)
{
	struct vhx_bridge_config cfg = *config;
	uint16_t i;

	fake_init();
	for (i = 0; i < FAKE_RINGS; i++)
		queues[i] = (struct vhx_queue){ .index = i };
	cfg.id = "b0";
	cfg.name = "/run/b.sock";
	cfg.connector = (struct vhx_bridge_connector){ .connect = fake_peer_connect, .ctx = &peer };
	fds_before = fds_open();
	assert_int_equal(vhx_loop_new(0, &loop), 0);
	return vhx_bridge_new(loop, &cfg, NULL, &dev, &error);
}

static void open_device(uint32_t device_id, bool split, bool host_cache)
{
	struct vhx_bridge_config cfg = {
		.device_id = device_id, .split = split, .host_cache = host_cache, .tag = "shared"
	};

	assert_int_equal(open_config(&cfg), 0);
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
}

static void loop_close(void)
{
	fake_peer_leave(&peer);
	if (peer.inflight_fd >= 0)
		close(peer.inflight_fd);
	peer.inflight_fd = -1;
	vhx_loop_free(loop);
	assert_int_equal(fds_open(), fds_before);
}

static void close_device(void)
{
	dev->ops->close(dev);
	assert_int_equal(fake.in_flight, 0);
	loop_close();
}

static void turn(void)
{
	unsigned int i;

	fake_peer_serve(&peer);
	assert_int_equal(vhx_loop_once(loop, 1), 0);
	for (i = 0; i < FAKE_RINGS; i++)
		fake_room(dev, &queues[i]);
}

#define turn_until(cond)                               \
	do {                                           \
		unsigned int turns_ = 0;               \
		while (!(cond)) {                      \
			turn();                        \
			assert_true(++turns_ < TURNS); \
		}                                      \
	} while (0)

/* A chain that the back-end has taken. */
struct taken {
	struct vhx_chain chain;
	struct iovec out[16], in[16];
};

static bool take(uint16_t index, struct taken *t)
{
	t->chain = (struct vhx_chain){ .out = t->out, .in = t->in, .out_max = 16, .in_max = 16 };
	fake_peer_serve(&peer);
	return fake_peer_pop(&peer, index, &t->chain);
}

#define take_one(index, t) turn_until(take(index, t))

static uint8_t *blk_header(uint8_t *out, uint32_t type, uint64_t sector)
{
	vhx_le32 t = vhx_le32_of(type);
	vhx_le64 s = vhx_le64_of(sector);

	memset(out, 0, 16);
	memcpy(out, &t, sizeof(t));
	memcpy(out + 8, &s, sizeof(s));
	return out;
}

static struct fake_request *blk_read(uint32_t len)
{
	uint8_t out[16];
	struct fake_request *r = fake_request_new(dev, &queues[0], blk_header(out, 0, 8), 16,
						  len + 1);

	fake_submit(r);
	return r;
}

static struct fake_request *blk_send(uint32_t type, uint32_t len, uint8_t fill)
{
	uint8_t *out = malloc(16 + (size_t)len);
	struct fake_request *r;

	assert_non_null(out);
	memset(blk_header(out, type, 8) + 16, fill, len);
	r = fake_request_new(dev, &queues[0], out, 16 + len, 1);
	free(out);
	fake_submit(r);
	return r;
}

static void status_put(struct taken *t, uint8_t status)
{
	struct iovec *last = &t->in[t->chain.in_cnt - 1];

	((uint8_t *)last->iov_base)[last->iov_len - 1] = status;
}

static void finish(uint16_t index, struct taken *t, uint8_t status, uint32_t used_len)
{
	status_put(t, status);
	fake_peer_push(&peer, index, t->chain.id, used_len);
}

/* Serves whatever comes, as a disk of one value, until @r has ended. */
static void serve_until(struct fake_request *r)
{
	struct taken t;

	turn_until((take(0, &t) ? finish(0, &t, 0, t.chain.in_len) : (void)0,
		    r->completed || r->dropped));
}

static void ended_with(struct fake_request *r, uint8_t status)
{
	assert_true(r->completed);
	assert_true(r->sent[r->req.in_len - 1]);
	assert_int_equal(r->answer[r->req.in_len - 1], status);
	fake_request_free(r);
}

/* The way of a request */

static void reads_and_writes(bool split)
{
	struct fake_request *w, *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, split, true);
	w = blk_send(1, 8192, 0x5a);
	take_one(0, &t);
	assert_int_equal(peer.driver_features >> 34 & 1, !split);
	assert_int_equal(t.chain.out_len, 16 + 8192);
	/* Framed as drivers do: a header, data, a status. */
	assert_int_equal(t.chain.out_cnt, 2);
	assert_int_equal(t.out[0].iov_len, 16);
	assert_int_equal(t.chain.in_cnt, 1);
	assert_int_equal(t.in[0].iov_len, 1);
	assert_int_equal(((uint8_t *)t.out[0].iov_base)[0], 1);
	assert_int_equal(((uint8_t *)t.out[1].iov_base)[8191], 0x5a);
	assert_int_equal((uintptr_t)t.out[1].iov_base % VHX_PAGE, 0);
	finish(0, &t, 0, 1);
	turn_until(w->completed);
	ended_with(w, 0);

	r = blk_read(70000);
	take_one(0, &t);
	assert_int_equal(t.chain.in_cnt, 2);
	assert_int_equal(t.in[0].iov_len, 70000);
	memset(t.in[0].iov_base, 0x77, 70000);
	finish(0, &t, 0, 70001);
	turn_until(r->completed);
	assert_int_equal(r->used_len, 70001);
	assert_int_equal(r->answer[0], 0x77);
	assert_int_equal(r->answer[69999], 0x77);
	ended_with(r, 0);
	close_device();
}

static void test_reads_and_writes_by_a_split_ring(void **state)
{
	reads_and_writes(true);
}

static void test_reads_and_writes_by_a_packed_ring(void **state)
{
	reads_and_writes(false);
}

/* Drivers go by the status: so a short length with success is all, and with an error nothing but the status. */
static void test_careless_used_length(void **state)
{
	struct fake_request *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, false, true);
	r = blk_read(4096);
	take_one(0, &t);
	memset(t.in[0].iov_base, 0x31, 4096);
	finish(0, &t, 0, 1);
	turn_until(r->completed);
	assert_int_equal(r->used_len, 4097);
	assert_int_equal(r->answer[4095], 0x31);
	ended_with(r, 0);
	r = blk_read(4096);
	take_one(0, &t);
	finish(0, &t, 1, 0);
	turn_until(r->completed);
	assert_int_equal(r->used_len, 0);
	assert_false(r->sent[0]);
	ended_with(r, 1);
	close_device();
}

/* More than fits the memory at once, and the largest that a driver may send, each way. */
static void test_more_than_there_is_room_for(void **state)
{
	struct fake_request *r[12];
	unsigned int i;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	fake.reserve_max = 65536;
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++)
		r[i] = i % 2 ? blk_read(MIB) : blk_send(1, MIB, (uint8_t)i);
	for (i = 0; i < VHX_ARRAY_SIZE(r); i++) {
		serve_until(r[i]);
		ended_with(r[i], 0);
	}
	close_device();
}

static void test_more_than_the_ring_has_entries(void **state)
{
	enum { CNT = 700 };
	static struct fake_request *r[CNT];
	unsigned int i;

	fake_peer_init(&peer);
	peer.features &= ~VHX_VU_F_INDIRECT_DESC;
	open_device(BLK, true, true);
	for (i = 0; i < CNT; i++)
		r[i] = blk_send(1, 512, (uint8_t)i);
	for (i = 0; i < CNT; i++) {
		serve_until(r[i]);
		ended_with(r[i], 0);
	}
	close_device();
}

static void test_answer_waits_for_room(void **state)
{
	struct fake_request *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	fake.reserve_max = 1000;
	fake.later = 3;
	fake.later_skip = 1;
	r = blk_read(4096);
	take_one(0, &t);
	memset(t.in[0].iov_base, 0x44, 4096);
	finish(0, &t, 0, 4097);
	turn_until(r->completed);
	assert_int_equal(r->answer[4095], 0x44);
	ended_with(r, 0);
	close_device();
}

static void test_too_large_a_request_ends_with_an_error(void **state)
{
	struct fake_request *r;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	r = blk_read(2 * MIB);
	assert_true(r->completed);
	ended_with(r, 1);
	close_device();
}

/* All that a back-end has. */
static void test_memory_is_sealed_and_no_address_is_told(void **state)
{
	struct fake_request *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	r = blk_read(512);
	take_one(0, &t);
	assert_int_equal(fcntl(peer.mem_fd, F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_equal(ftruncate(peer.mem_fd, 0), -1);
	assert_int_equal(peer.memory.cnt, 1);
	assert_int_equal(peer.memory.regions[0].gpa, peer.memory.regions[0].uva);
	assert_true(peer.memory.regions[0].uva < 1ull << 32);
	finish(0, &t, 0, 513);
	turn_until(r->completed);
	ended_with(r, 0);
	close_device();
}

/* Config */

static void test_config_is_the_back_ends_within_our_limits(void **state)
{
	vhx_le32 word;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	assert_memory_equal(dev->config, peer.config, 8);
	memcpy(&word, dev->config + 8, sizeof(word));
	assert_true(vhx_le32_get(word) >= VHX_PAGE);
	assert_int_equal(dev->features >> 1 & 3, 3);
	close_device();
}

static void test_config_change_is_heard(void **state)
{
	fake_peer_init(&peer);
	open_device(BLK, true, true);
	turn_until(peer.backend_fd >= 0);
	peer.config[0] = 99;
	assert_true(fake_peer_ask(&peer, VHX_VU_BACKEND_CONFIG_CHANGE, false));
	turn_until(fake.config_changes == 1);
	assert_int_equal(dev->config[0], 99);
	/* Nothing changed, so nobody is told. */
	assert_true(fake_peer_ask(&peer, VHX_VU_BACKEND_CONFIG_CHANGE, true));
	turn();
	turn();
	assert_int_equal(fake.config_changes, 1);
	close_device();
}

static void test_requests_of_a_back_end_are_refused(void **state)
{
	struct vhx_vu_message answer = { .reply = VHX_VU_FLAG_REPLY };

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	turn_until(peer.backend_fd >= 0);
	assert_true(fake_peer_ask(&peer, 3, true));
	turn_until(vhx_vu_message_recv(&answer, peer.backend_fd) == 1);
	assert_int_equal(answer.hdr.request, 3);
	assert_int_equal(answer.payload.u64, 1);
	/* Another version ends that channel, and nothing else. */
	assert_int_equal(write(peer.backend_fd, "\1\0\0\0\2\0\0\0\0\0\0\0", 12), 12);
	turn();
	turn();
	assert_int_equal(peer.connections, 1);
	close_device();
}

static void test_config_write_is_passed_on_and_repeated(void **state)
{
	const uint8_t off = 0;

	fake_peer_init(&peer);
	peer.config[32] = 1;
	open_device(BLK, true, true);
	assert_int_equal(dev->ops->set_config(dev, 32, &off, 1), 0);
	assert_int_equal(dev->config[32], 0);
	turn_until(peer.asked[VHX_VU_SET_CONFIG] == 1);
	assert_int_equal(peer.written.off, 32);
	assert_int_equal(peer.config[32], 0);
	peer.config[32] = 1;
	fake_peer_leave(&peer);
	turn_until(peer.asked[VHX_VU_SET_CONFIG] == 2);
	assert_int_equal(dev->config[32], 0);
	close_device();
}

/* Lies */

static const struct {
	uint32_t about;
	enum fake_lie lie;
} lies[] = {
	{ VHX_VU_SET_FEATURES, FAKE_REQUEST },	     { VHX_VU_SET_FEATURES, FAKE_SIZE },
	{ VHX_VU_SET_FEATURES, FAKE_NO_REPLY_FLAG }, { VHX_VU_SET_FEATURES, FAKE_VERSION },
	{ VHX_VU_SET_FEATURES, FAKE_TWICE },	     { VHX_VU_SET_FEATURES, FAKE_LEAVES },
	{ VHX_VU_SET_MEM_TABLE, FAKE_REFUSES },	     { VHX_VU_SET_MEM_TABLE, FAKE_LEAVES },
	{ VHX_VU_SET_VRING_NUM, FAKE_REFUSES },	     { VHX_VU_SET_VRING_ADDR, FAKE_SIZE },
};

/* Each ends that connection; the next back-end gets the request. */
static void test_lies_end_the_connection(void **state)
{
	struct fake_request *r;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lies); i++) {
		fake_peer_init(&peer);
		open_device(BLK, i % 2, true);
		peer.lie = lies[i].lie;
		peer.lie_about = lies[i].about;
		r = blk_read(4096);
		serve_until(r);
		if (peer.connections != 2)
			fail_msg("lie %zu: %u connections", i, peer.connections);
		ended_with(r, 0);
		close_device();
	}
}

static void test_descriptors_that_nobody_wants_are_closed(void **state)
{
	struct fake_request *r;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	peer.lie = FAKE_DESCRIPTORS;
	peer.lie_about = VHX_VU_SET_FEATURES;
	r = blk_read(4096);
	serve_until(r);
	assert_int_equal(peer.connections, 1);
	ended_with(r, 0);
	close_device();
}

/* What a back-end can say about a ring; it gets the request again, until it has ended three back-ends. */
static void ring_lie(void (*lie)(struct taken *t))
{
	struct fake_request *r;
	struct taken t;
	unsigned int n;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	r = blk_read(4096);
	for (n = 1; n <= 3; n++) {
		take_one(0, &t);
		status_put(&t, 0);
		lie(&t);
		fake_peer_call(&peer, 0);
		turn_until(peer.connections == n + 1 || r->completed);
	}
	turn_until(r->completed);
	ended_with(r, 1);
	/* And the device lives. */
	turn_until(peer.connections == 4);
	r = blk_read(512);
	serve_until(r);
	ended_with(r, 0);
	close_device();
}

static uint8_t *used_ring(void)
{
	uint64_t gpa;

	return vhx_vu_memory_user(&peer.memory, peer.rings[0].addr.used, 4 + 8, &gpa);
}

static void used_write(uint32_t id, uint32_t len, uint16_t idx)
{
	uint8_t *used = used_ring();
	vhx_le32 words[2] = { vhx_le32_of(id), vhx_le32_of(len) };
	vhx_le16 index = vhx_le16_of(idx);

	memcpy(used + 4, words, sizeof(words));
	memcpy(used + 2, &index, sizeof(index));
}

static void lie_id_range(struct taken *t)
{
	used_write(0xffffffff, 1, 1);
}

static void lie_id_free(struct taken *t)
{
	used_write(t->chain.id + 1u, 1, 1);
}

static void lie_length(struct taken *t)
{
	used_write(t->chain.id, 4098, 1);
}

static void lie_overrun(struct taken *t)
{
	used_write(t->chain.id, 1, 2);
}

static void lie_leave(struct taken *t)
{
	fake_peer_leave(&peer);
}

static void test_used_id_out_of_range(void **state)
{
	ring_lie(lie_id_range);
}

static void test_used_id_that_it_has_not(void **state)
{
	ring_lie(lie_id_free);
}

static void test_used_length_over_the_room(void **state)
{
	ring_lie(lie_length);
}

static void test_used_index_overrun(void **state)
{
	ring_lie(lie_overrun);
}

static void test_request_that_kills_back_ends(void **state)
{
	ring_lie(lie_leave);
}

/* Calls without end, and nothing used: they cost a look each. */
static void test_calls_for_nothing(void **state)
{
	struct fake_request *r;
	struct taken t;
	unsigned int i;

	fake_peer_init(&peer);
	open_device(BLK, false, true);
	r = blk_read(512);
	take_one(0, &t);
	for (i = 0; i < 100; i++) {
		fake_peer_call(&peer, 0);
		turn();
	}
	assert_false(r->completed);
	finish(0, &t, 0, 513);
	turn_until(r->completed);
	ended_with(r, 0);
	close_device();
}

/* The end of a back-end */

static void test_requests_wait_for_the_next_back_end(void **state)
{
	struct fake_request *first, *second;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, false, true);
	first = blk_send(1, 512, 1);
	take_one(0, &t);
	peer.absent = true;
	fake_peer_leave(&peer);
	turn();
	second = blk_send(1, 512, 2);
	turn();
	assert_false(first->completed || second->completed);
	peer.absent = false;
	take_one(0, &t);
	assert_int_equal(((uint8_t *)t.out[1].iov_base)[0], 1);
	finish(0, &t, 0, 1);
	take_one(0, &t);
	assert_int_equal(((uint8_t *)t.out[1].iov_base)[0], 2);
	finish(0, &t, 0, 1);
	turn_until(second->completed);
	ended_with(first, 0);
	ended_with(second, 0);
	close_device();
}

static void turns(void)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		turn();
}

/* A back-end that is alive and takes no message costs nobody more than its answer's time. */
static void test_back_end_that_never_answers_is_left(void **state)
{
	struct fake_request *r;

	fake_peer_init(&peer);
	open_device(BLK, false, true);
	peer.silent = true;
	r = blk_read(512);
	turns();
	skipped_s += ANSWER_S - 5;
	turns();
	assert_int_equal(peer.connections, 1);
	assert_false(r->completed);
	skipped_s += 5;
	peer.absent = true;
	turns();
	peer.silent = peer.absent = false;
	skipped_s++;
	serve_until(r);
	assert_int_equal(peer.connections, 2);
	ended_with(r, 0);
	close_device();
}

static void test_unlike_back_end_is_not_used(void **state)
{
	struct fake_request *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	peer.features &= ~(1ull << 9);
	fake_peer_leave(&peer);
	r = blk_read(512);
	turn_until(peer.connections == 3);
	assert_false(take(0, &t));
	peer.features |= 1ull << 9;
	serve_until(r);
	ended_with(r, 0);
	close_device();
}

static void limits_set(uint32_t size_max, uint32_t seg_max)
{
	const vhx_le32 limits[2] = { vhx_le32_of(size_max), vhx_le32_of(seg_max) };

	memcpy(peer.config + 8, limits, sizeof(limits));
}

/* 5.2.4: of a segment, and of their number. A later one has to take as much. */
static void test_segments_are_no_longer_than_the_back_end_says(void **state)
{
	const vhx_le32 said[2] = { vhx_le32_of(4096), vhx_le32_of(4) };
	struct fake_request *r;
	struct taken t;
	unsigned int i;

	fake_peer_init(&peer);
	peer.features |= 1ull << 1 | 1ull << 2;
	limits_set(4096, 4);
	open_device(BLK, true, true);
	assert_memory_equal(dev->config + 8, said, sizeof(said));
	r = blk_read(4 * 4096);
	take_one(0, &t);
	assert_int_equal(t.chain.in_cnt, 5);
	for (i = 0; i < t.chain.in_cnt; i++)
		assert_true(t.in[i].iov_len <= 4096);
	limits_set(4096, 3);
	fake_peer_leave(&peer);
	turn_until(peer.connections == 3);
	assert_false(take(0, &t));
	limits_set(2048, 32);
	turn_until(peer.connections == 4);
	assert_false(take(0, &t));
	limits_set(MIB, 4);
	serve_until(r);
	ended_with(r, 0);
	close_device();
}

/* Writes that no flush has covered may be lost with a back-end that has them itself. */
static void test_unflushed_writes_fail_the_device(void **state)
{
	struct fake_request *r;

	fake_peer_init(&peer);
	peer.config[32] = 1;
	open_device(BLK, true, false);
	r = blk_send(1, 512, 1);
	serve_until(r);
	ended_with(r, 0);
	fake_peer_leave(&peer);
	turn_until(peer.connections == 2);
	r = blk_read(512);
	turn_until(r->completed);
	ended_with(r, 1);
	/* A driver that begins again is served. */
	dev->ops->reset(dev, &queues[0]);
	turn_until(queues[0].quiesced == 1);
	dev->ops->restarted(dev);
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
	r = blk_read(512);
	serve_until(r);
	ended_with(r, 0);
	close_device();
}

static void test_flushed_writes_are_kept(void **state)
{
	struct fake_request *r;

	fake_peer_init(&peer);
	peer.config[32] = 1;
	open_device(BLK, true, false);
	r = blk_send(1, 512, 1);
	serve_until(r);
	ended_with(r, 0);
	r = blk_send(4, 0, 0);
	serve_until(r);
	ended_with(r, 0);
	fake_peer_leave(&peer);
	r = blk_read(512);
	serve_until(r);
	ended_with(r, 0);
	close_device();
}

/* INFLIGHT_SHMFD: the successor gets the record, and the ring from where it was used. */
static void test_record_of_what_is_in_flight_is_given_back(void **state)
{
	struct fake_request *first, *second;
	struct taken t;

	fake_peer_init(&peer);
	peer.protocol |= VHX_VU_P_INFLIGHT_SHMFD;
	open_device(BLK, true, true);
	first = blk_read(512);
	serve_until(first);
	ended_with(first, 0);
	assert_int_equal(peer.asked[VHX_VU_GET_INFLIGHT_FD], 1);
	assert_int_equal(peer.asked[VHX_VU_SET_INFLIGHT_FD], 1);
	second = blk_read(512);
	take_one(0, &t);
	fake_peer_leave(&peer);
	turn_until(peer.asked[VHX_VU_SET_INFLIGHT_FD] == 2);
	assert_int_equal(peer.asked[VHX_VU_GET_INFLIGHT_FD], 1);
	turn_until(peer.rings[0].running);
	assert_int_equal(peer.rings[0].base, 1);
	serve_until(second);
	ended_with(second, 0);
	close_device();
}

/* Resets */

static void test_reset_waits_for_what_is_owed(void **state)
{
	struct fake_request *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	r = blk_send(1, 512, 1);
	take_one(0, &t);
	dev->ops->reset(dev, &queues[0]);
	turn();
	turn();
	assert_int_equal(queues[0].quiesced, 0);
	assert_int_equal(peer.asked[VHX_VU_GET_VRING_BASE], 0);
	finish(0, &t, 0, 1);
	turn_until(queues[0].quiesced == 1);
	assert_int_equal(peer.asked[VHX_VU_GET_VRING_BASE], 1);
	assert_true(r->dropped);
	fake_request_free(r);
	close_device();
}

static void test_reset_ends_with_the_back_end(void **state)
{
	struct fake_request *r;
	struct taken t;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	r = blk_send(1, 512, 1);
	take_one(0, &t);
	dev->ops->reset(dev, &queues[0]);
	turn();
	assert_int_equal(queues[0].quiesced, 0);
	fake_peer_leave(&peer);
	turn_until(queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	close_device();
}

static void test_wrong_index_of_a_stopped_ring(void **state)
{
	struct fake_request *r;

	fake_peer_init(&peer);
	open_device(BLK, true, true);
	r = blk_read(512);
	serve_until(r);
	ended_with(r, 0);
	peer.lie = FAKE_INDEX;
	peer.lie_about = VHX_VU_GET_VRING_BASE;
	dev->ops->reset(dev, &queues[0]);
	turn_until(queues[0].quiesced == 1);
	turn_until(peer.connections == 2);
	close_device();
}

/* net */

static void open_net(void)
{
	fake_peer_init(&peer);
	peer.protocol &= ~(VHX_VU_P_CONFIG | VHX_VU_P_BACKEND_REQ);
	peer.features = (peer.features & ~0xffffffull) | 1ull << 15;
	open_device(NET, true, false);
}

static struct fake_request *post(uint32_t len)
{
	struct fake_request *r = fake_request_new(dev, &queues[0], "", 0, len);

	fake_submit(r);
	return r;
}

static void header_put(struct taken *t, uint16_t buffers)
{
	vhx_le16 cnt = vhx_le16_of(buffers);

	memset(t->in[0].iov_base, 0, 12);
	memcpy((uint8_t *)t->in[0].iov_base + 10, &cnt, sizeof(cnt));
}

static void test_merged_buffers_are_shown_at_once(void **state)
{
	struct fake_request *r[3];
	struct taken t[3];
	unsigned int i;

	open_net();
	for (i = 0; i < 3; i++)
		r[i] = post(1500);
	for (i = 0; i < 3; i++)
		take_one(0, &t[i]);
	header_put(&t[0], 2);
	fake_peer_push(&peer, 0, t[0].chain.id, 1500);
	turn();
	turn();
	assert_false(r[0]->completed);
	fake_peer_push(&peer, 0, t[1].chain.id, 100);
	turn_until(r[1]->completed);
	assert_true(r[0]->completed && r[0]->req.group && !r[1]->req.group);
	assert_int_equal(r[1]->used_len, 100);
	/* A number of buffers that no ring has is taken for one. */
	header_put(&t[2], 65535);
	fake_peer_push(&peer, 0, t[2].chain.id, 60);
	turn_until(r[2]->completed);
	for (i = 0; i < 3; i++)
		fake_request_free(r[i]);
	close_device();
}

/* Half a packet is nothing: the buffers are posted again. */
static void test_half_a_packet_is_not_shown(void **state)
{
	struct fake_request *r[2];
	struct taken t[2];
	unsigned int i;

	open_net();
	for (i = 0; i < 2; i++)
		r[i] = post(1500);
	for (i = 0; i < 2; i++)
		take_one(0, &t[i]);
	header_put(&t[0], 2);
	fake_peer_push(&peer, 0, t[0].chain.id, 1500);
	turn();
	fake_peer_leave(&peer);
	for (i = 0; i < 2; i++)
		take_one(0, &t[i]);
	assert_false(r[0]->completed || r[1]->completed);
	for (i = 0; i < 2; i++) {
		header_put(&t[i], 1);
		fake_peer_push(&peer, 0, t[i].chain.id, 64);
	}
	turn_until(r[0]->completed && r[1]->completed);
	for (i = 0; i < 2; i++)
		fake_request_free(r[i]);
	close_device();
}

static void test_link_is_down_without_a_back_end(void **state)
{
	struct fake_request *packet;
	uint8_t out[64] = { 0 };

	open_net();
	assert_int_equal(dev->config[6], 1);
	peer.absent = true;
	fake_peer_leave(&peer);
	turn_until(fake.config_changes == 1);
	assert_int_equal(dev->config[6], 0);
	packet = fake_request_new(dev, &queues[1], out, sizeof(out), 0);
	fake_submit(packet);
	turn_until(packet->completed);
	fake_request_free(packet);
	peer.absent = false;
	turn_until(fake.config_changes == 2);
	assert_int_equal(dev->config[6], 1);
	close_device();
}

/* Posted buffers come back with the ring; the control of the driver does not wait for data. */
static void test_reset_takes_posted_buffers_back(void **state)
{
	struct fake_request *r;
	struct taken t;

	open_net();
	r = post(1500);
	take_one(0, &t);
	dev->ops->reset(dev, &queues[0]);
	turn_until(queues[0].quiesced == 1);
	assert_true(r->dropped);
	fake_request_free(r);
	/* And the ring runs again. */
	r = post(1500);
	take_one(0, &t);
	header_put(&t, 1);
	fake_peer_push(&peer, 0, t.chain.id, 80);
	turn_until(r->completed);
	fake_request_free(r);
	close_device();
}

/* Two pairs of queues, and the control queue behind them, which the back-end does not see. */
static void open_pairs(void)
{
	struct vhx_bridge_config cfg = { .device_id = NET, .split = true, .queues = 2 };

	fake_peer_init(&peer);
	peer.protocol &= ~(VHX_VU_P_CONFIG | VHX_VU_P_BACKEND_REQ);
	peer.protocol |= VHX_VU_P_MQ;
	peer.queue_num = 2;
	peer.features = (peer.features & ~0xffffffull) | 1ull << 22 | 1ull << 15;
	assert_int_equal(open_config(&cfg), 0);
	assert_int_equal(dev->num_queues, 5);
	assert_int_equal(dev->config[8], 2);
	assert_int_equal(dev->features & (1ull << 22 | 1ull << 17), 1ull << 22 | 1ull << 17);
}

/* The answer to a command on this queue: 0 is yes, 1 no. */
static uint8_t command_at(uint16_t index, uint8_t class, uint16_t pairs, uint32_t len)
{
	const uint8_t out[4] = { class, 0, (uint8_t)pairs, (uint8_t)(pairs >> 8) };
	struct fake_request *r = fake_request_new(dev, &queues[index], out, len, 1);
	uint8_t ack;

	fake_submit(r);
	assert_true(r->completed && r->used_len == 1);
	ack = r->answer[0];
	fake_request_free(r);
	return ack;
}

static bool pair_enabled(uint16_t pair)
{
	bool rx = peer.rings[2 * pair].enabled, tx = peer.rings[2 * pair + 1].enabled;

	return rx && tx;
}

static struct fake_request *post_at(uint16_t index)
{
	struct fake_request *r = fake_request_new(dev, &queues[index], "", 0, 1500);

	fake_submit(r);
	return r;
}

static void test_pairs_are_those_that_the_driver_says(void **state)
{
	struct fake_request *r[2];
	struct taken t;

	open_pairs();
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
	r[0] = post_at(0);
	turn_until(pair_enabled(0) && peer.rings[3].running);
	assert_true(peer.driver_features >> 22 & 1);
	assert_false(peer.driver_features >> 17 & 1);
	assert_false(peer.rings[2].enabled || peer.rings[3].enabled);
	assert_int_equal(command_at(4, 4, 3, 4), 1);
	assert_int_equal(command_at(4, 4, 0, 4), 1);
	assert_int_equal(command_at(4, 4, 2, 3), 1);
	assert_int_equal(command_at(4, 0, 1, 4), 1);
	assert_int_equal(command_at(4, 4, 1, 4), 0);
	/* It said one, so what comes to another pair does not make it used. */
	r[1] = post_at(2);
	turn_until(take(2, &t));
	assert_false(peer.rings[2].enabled || peer.rings[3].enabled);
	assert_int_equal(command_at(4, 4, 2, 4), 0);
	turn_until(pair_enabled(1));
	/* The next back-end is told the same. */
	fake_peer_leave(&peer);
	turn_until(peer.connections == 2 && pair_enabled(0) && pair_enabled(1));
	assert_int_equal(command_at(4, 4, 1, 4), 0);
	turn_until(!peer.rings[2].enabled && !peer.rings[3].enabled);
	assert_true(pair_enabled(0));
	/* And the next driver begins with one. */
	assert_int_equal(command_at(4, 4, 2, 4), 0);
	dev->ops->reset(dev, &queues[0]);
	dev->ops->reset(dev, &queues[2]);
	dev->ops->reset(dev, &queues[4]);
	turn_until(queues[0].quiesced && queues[2].quiesced && queues[4].quiesced);
	dev->ops->restarted(dev);
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	r[0] = post_at(0);
	turn_until(pair_enabled(0) && peer.rings[3].running);
	assert_false(peer.rings[2].enabled || peer.rings[3].enabled);
	close_device();
	fake_request_free(r[0]);
}

/* As of a VMM that keeps the control queue for itself. */
static void test_pair_that_is_posted_to_is_used(void **state)
{
	struct fake_request *r[2];
	unsigned int i;

	open_pairs();
	assert_int_equal(dev->ops->set_features(dev, 1ull << 22 | 1ull << 15), 0);
	r[0] = post_at(0);
	turn_until(pair_enabled(0) && peer.rings[3].running);
	assert_false(peer.rings[2].enabled);
	r[1] = post_at(2);
	turn_until(pair_enabled(1));
	close_device();
	for (i = 0; i < 2; i++)
		fake_request_free(r[i]);
}

/* 5.1.2: a driver with the control queue and without MQ has it behind the first pair. */
static void test_control_queue_without_pairs_is_the_third(void **state)
{
	struct fake_request *r;

	open_pairs();
	assert_int_equal(dev->ops->set_features(dev, 1ull << 17), 0);
	r = post_at(0);
	turn_until(pair_enabled(0) && peer.rings[3].running);
	assert_int_equal(command_at(2, 4, 2, 4), 1);
	assert_false(peer.rings[2].enabled);
	close_device();
	fake_request_free(r);
}

/* A back-end need not send what lies in a pair that is not used: its reset does not wait for that. */
static void test_reset_of_a_pair_that_is_not_used_waits_for_nothing(void **state)
{
	struct fake_request *r, *packet;
	uint8_t out[64] = { 0 };
	struct taken t;

	open_pairs();
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
	r = post_at(0);
	assert_int_equal(command_at(4, 4, 2, 4), 0);
	packet = fake_request_new(dev, &queues[3], out, sizeof(out), 0);
	fake_submit(packet);
	take_one(3, &t);
	assert_int_equal(command_at(4, 4, 1, 4), 0);
	turn_until(!peer.rings[3].enabled);
	dev->ops->reset(dev, &queues[3]);
	turn_until(queues[3].quiesced == 1);
	assert_true(packet->dropped);
	fake_request_free(packet);
	close_device();
	fake_request_free(r);
}

static void test_back_end_with_fewer_pairs_is_not_used(void **state)
{
	struct fake_request *r;

	open_pairs();
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
	r = post_at(0);
	turn_until(pair_enabled(0));
	peer.queue_num = 1;
	fake_peer_leave(&peer);
	turn_until(peer.connections == 3);
	assert_false(pair_enabled(0));
	peer.queue_num = 2;
	turn_until(pair_enabled(0));
	close_device();
	fake_request_free(r);
}

/* fs: another life of the server knows nothing of what the last one handed out. */
static void test_fs_requests_end_with_an_error(void **state)
{
	struct fake_request *r;
	uint8_t out[56] = { [8] = 0x42 };
	struct taken t;
	vhx_le32 word;

	fake_peer_init(&peer);
	peer.protocol &= ~(VHX_VU_P_CONFIG | VHX_VU_P_BACKEND_REQ);
	peer.features &= ~0xffffffull;
	peer.queue_num = 2;
	open_device(FS, true, false);
	assert_string_equal((char *)dev->config, "shared");
	r = fake_request_new(dev, &queues[1], out, sizeof(out), 144);
	fake_submit(r);
	take_one(1, &t);
	assert_int_equal(t.out[0].iov_len, 40);
	assert_int_equal(t.in[0].iov_len, 16);
	fake_peer_leave(&peer);
	turn_until(r->completed);
	memcpy(&word, r->answer + 4, sizeof(word));
	assert_int_equal((int32_t)vhx_le32_get(word), -5);
	assert_int_equal(r->answer[8], 0x42);
	assert_int_equal(r->used_len, 16);
	fake_request_free(r);
	close_device();
}

/* scsi: functions of the control queue come to the back-end behind commands, and their answers behind theirs. */

#define SCSI 8
#define SCSI_REQUESTS 2 /* the first queue of them */

static void open_scsi(void)
{
	const struct vhx_bridge_config cfg = { .device_id = SCSI, .split = true, .queues = 4 };

	fake_peer_init(&peer);
	peer.features = (peer.features & ~0xffffffull) | 7;
	peer.queue_num = 4;
	peer.config_len = 36;
	assert_int_equal(open_config(&cfg), 0);
	assert_int_equal(dev->ops->set_features(dev, dev->features), 0);
}

static struct fake_request *scsi_send(uint16_t index, uint32_t len, uint32_t in_len)
{
	uint8_t *out = calloc(1, len);
	struct fake_request *r;

	assert_non_null(out);
	r = fake_request_new(dev, &queues[index], out, len, in_len);
	free(out);
	fake_submit(r);
	return r;
}

static void test_function_does_not_overtake_commands(void **state)
{
	struct fake_request *function, *r[6];
	struct taken t;
	unsigned int i;

	open_scsi();
	/* More than the memory has room for at once, and one on another queue. */
	for (i = 0; i < 5; i++)
		r[i] = scsi_send(SCSI_REQUESTS, MIB, 108);
	function = scsi_send(0, 24, 1);
	r[5] = scsi_send(SCSI_REQUESTS + 1, 51, 108);
	for (i = 0; i < 5; i++) {
		assert_false(take(0, &t));
		take_one(SCSI_REQUESTS, &t);
		fake_peer_push(&peer, SCSI_REQUESTS, t.chain.id, 108);
	}
	take_one(SCSI_REQUESTS + 1, &t);
	fake_peer_push(&peer, SCSI_REQUESTS + 1, t.chain.id, 108);
	take_one(0, &t);
	fake_peer_push(&peer, 0, t.chain.id, 1);
	turn_until(function->completed);
	for (i = 0; i < 6; i++) {
		assert_true(r[i]->completed);
		fake_request_free(r[i]);
	}
	fake_request_free(function);
	close_device();
}

/* The back-end calls for the function first; and there is no room for the answer of the command. */
static void test_function_does_not_end_before_commands(void **state)
{
	struct fake_request *function, *r;
	struct taken t, f;

	open_scsi();
	r = scsi_send(SCSI_REQUESTS, 51, 108 + 4096);
	function = scsi_send(0, 24, 1);
	take_one(SCSI_REQUESTS, &t);
	take_one(0, &f);
	fake.later = 3;
	fake.reserve_max = 1000;
	vhx_vring_push(&peer.rings[SCSI_REQUESTS].ring, t.chain.id, 108 + 4096);
	vhx_vring_flush(&peer.rings[SCSI_REQUESTS].ring);
	fake_peer_push(&peer, 0, f.chain.id, 1);
	turn_until((assert_false(function->completed && !r->completed), function->completed));
	fake_request_free(r);
	fake_request_free(function);
	close_device();
}

/* Starts */

static void refused(uint32_t device_id, uint16_t num, int ret, const char *text)
{
	struct vhx_bridge_config cfg = { .device_id = device_id, .queues = num };

	assert_int_equal(open_config(&cfg), ret);
	assert_string_equal(error.text, text);
	loop_close();
}

static void test_every_refusal_has_its_line(void **state)
{
	fake_peer_init(&peer);
	refused(16, 0, -EOPNOTSUPP,
		"b0: a gpu cannot be bridged: its requests carry guest addresses, which never "
		"cross to a backend");
	refused(27, 0, -EOPNOTSUPP,
		"b0: a pmem cannot be bridged: it works by memory that guest and backend share, "
		"which they never do");
	peer.absent = true;
	refused(BLK, 0, -ECONNREFUSED, "b0: nobody is there");
	peer.absent = false;
	refused(BLK, 3, -ERANGE, "b0: /run/b.sock: queues=3: the back-end has from 1 to 1");
	peer.protocol &= ~(VHX_VU_P_CONFIG | VHX_VU_P_BACKEND_REQ);
	peer.queue_num = UINT64_MAX;
	peer.features = (peer.features & ~0xffffffull) | 1ull << 22;
	refused(NET, 17, -ERANGE, "b0: /run/b.sock: queues=17: the back-end has from 1 to 16");
	peer.features &= ~(1ull << 22);
	refused(NET, 2, -ERANGE, "b0: /run/b.sock: queues=2: the back-end has from 1 to 1");
	fake_peer_init(&peer);
	peer.features &= ~VHX_VU_F_VERSION_1;
	refused(BLK, 0, -ENODEV, "b0: /run/b.sock: the back-end knows nothing of VirtIO 1");
	peer.features |= VHX_VU_F_VERSION_1;
	peer.protocol &= ~(VHX_VU_P_CONFIG | VHX_VU_P_BACKEND_REQ);
	refused(8, 0, -ENODEV,
		"b0: /run/b.sock: the back-end offers features that no device of this type has");
	refused(BLK, 0, -ENODEV,
		"b0: /run/b.sock: the back-end has no config space, as one of this type has");
	fake_peer_init(&peer);
	peer.lie = FAKE_SIZE;
	peer.lie_about = VHX_VU_GET_FEATURES;
	refused(BLK, 0, -EPROTO, "b0: /run/b.sock: the back-end broke the protocol");
	peer.lie = FAKE_LEAVES;
	peer.lie_about = VHX_VU_GET_FEATURES;
	refused(BLK, 0, -EPIPE, "b0: /run/b.sock: the back-end left");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_and_writes_by_a_split_ring),
		cmocka_unit_test(test_reads_and_writes_by_a_packed_ring),
		cmocka_unit_test(test_careless_used_length),
		cmocka_unit_test(test_more_than_there_is_room_for),
		cmocka_unit_test(test_more_than_the_ring_has_entries),
		cmocka_unit_test(test_answer_waits_for_room),
		cmocka_unit_test(test_too_large_a_request_ends_with_an_error),
		cmocka_unit_test(test_memory_is_sealed_and_no_address_is_told),
		cmocka_unit_test(test_config_is_the_back_ends_within_our_limits),
		cmocka_unit_test(test_config_change_is_heard),
		cmocka_unit_test(test_requests_of_a_back_end_are_refused),
		cmocka_unit_test(test_config_write_is_passed_on_and_repeated),
		cmocka_unit_test(test_lies_end_the_connection),
		cmocka_unit_test(test_descriptors_that_nobody_wants_are_closed),
		cmocka_unit_test(test_used_id_out_of_range),
		cmocka_unit_test(test_used_id_that_it_has_not),
		cmocka_unit_test(test_used_length_over_the_room),
		cmocka_unit_test(test_used_index_overrun),
		cmocka_unit_test(test_request_that_kills_back_ends),
		cmocka_unit_test(test_calls_for_nothing),
		cmocka_unit_test(test_requests_wait_for_the_next_back_end),
		cmocka_unit_test(test_back_end_that_never_answers_is_left),
		cmocka_unit_test(test_unlike_back_end_is_not_used),
		cmocka_unit_test(test_segments_are_no_longer_than_the_back_end_says),
		cmocka_unit_test(test_unflushed_writes_fail_the_device),
		cmocka_unit_test(test_flushed_writes_are_kept),
		cmocka_unit_test(test_record_of_what_is_in_flight_is_given_back),
		cmocka_unit_test(test_reset_waits_for_what_is_owed),
		cmocka_unit_test(test_reset_ends_with_the_back_end),
		cmocka_unit_test(test_wrong_index_of_a_stopped_ring),
		cmocka_unit_test(test_merged_buffers_are_shown_at_once),
		cmocka_unit_test(test_half_a_packet_is_not_shown),
		cmocka_unit_test(test_link_is_down_without_a_back_end),
		cmocka_unit_test(test_reset_takes_posted_buffers_back),
		cmocka_unit_test(test_pairs_are_those_that_the_driver_says),
		cmocka_unit_test(test_pair_that_is_posted_to_is_used),
		cmocka_unit_test(test_control_queue_without_pairs_is_the_third),
		cmocka_unit_test(test_reset_of_a_pair_that_is_not_used_waits_for_nothing),
		cmocka_unit_test(test_back_end_with_fewer_pairs_is_not_used),
		cmocka_unit_test(test_fs_requests_end_with_an_error),
		cmocka_unit_test(test_function_does_not_overtake_commands),
		cmocka_unit_test(test_function_does_not_end_before_commands),
		cmocka_unit_test(test_every_refusal_has_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
