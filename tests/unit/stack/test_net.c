// SPDX-License-Identifier: BSD-3-Clause
/*
 * The network device behind a whole stack, with a stream as its end: what a burst of packets costs, each way, and
 * that a merged packet arrives as one.
 */
#include "lab.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/net.h"
#include "device/net_layout.h"

#define HDR ((uint32_t)sizeof(struct virtio_net_hdr))
#define PREFIX 4u
#define BUFFERS 64u
#define BUFFER_LEN 1526u /* Linux': a header, and a frame of 1514 */
#define BURST 32u
#define FRAME_MAX 1514u

enum { RX, TX, QUEUES };

/* A driver's queue: requests @begun of @wanted, with the bytes of each in a place of its own. */
struct queue {
	struct vhx_fqueue *q;
	bool is_tx;
	uint32_t wanted, begun, completed, visible;
	uint32_t len; /* TX: of a frame */
	struct iovec iov[BUFFERS];
	uint8_t bytes[BUFFERS][HDR + FRAME_MAX];
	uint16_t order[BUFFERS];
	uint32_t used[BUFFERS];
};

static struct lab w;
static struct vhx_device *dev;
static struct vhx_fdev *fdev;
static struct queue queues[QUEUES];
static int peer;

static void request_fill(struct queue *s, uint16_t id, struct vhx_frequest *req)
{
	s->iov[id] = (struct iovec){ s->bytes[id], s->is_tx ? HDR + s->len : BUFFER_LEN };
	*req = (struct vhx_frequest){ .id = id };
	if (s->is_tx) {
		memset(s->bytes[id], 0, HDR);
		memset(s->bytes[id] + HDR, id + 1, s->len);
		req->out = &s->iov[id];
		req->out_cnt = 1;
		req->out_len = HDR + s->len;
	} else {
		req->in = &s->iov[id];
		req->in_cnt = 1;
		req->in_len = BUFFER_LEN;
	}
}

static int queue_next(void *ctx, struct vhx_frequest *req)
{
	struct queue *s = ctx;

	if (s->begun == s->wanted)
		return 0;
	request_fill(s, (uint16_t)(s->begun++ % BUFFERS), req);
	return 1;
}

static int queue_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	request_fill(ctx, id, req);
	return 0;
}

static void queue_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct queue *s = ctx;

	s->order[s->completed % BUFFERS] = id;
	s->used[id] = used_len;
	s->completed++;
}

static void queue_flush(void *ctx)
{
	struct queue *s = ctx;

	s->visible = s->completed;
}

static bool queue_arm(void *ctx)
{
	const struct queue *s = ctx;

	return s->begun < s->wanted;
}

static void queue_disarm(void *ctx)
{
}

static void queue_broken(void *ctx, int reason)
{
	fail_msg("the queue is broken: %d", reason);
}

static const struct vhx_fsource_ops queue_ops = {
	.next = queue_next,
	.again = queue_again,
	.complete = queue_complete,
	.flush = queue_flush,
	.arm = queue_arm,
	.disarm = queue_disarm,
	.broken = queue_broken,
};

static void nothing(void *ctx)
{
}

static void nothing_written(void *ctx, bool refused)
{
}

static void nothing_stopped(void *ctx, uint16_t index)
{
}

static void no_such_device(void *ctx, int reason)
{
	fail_msg("the device is unusable: %d", reason);
}

static const struct vhx_fdev_ops net_ops = {
	.known = nothing,
	.config_changed = nothing,
	.config_written = nothing_written,
	.queue_stopped = nothing_stopped,
	.reset_done = nothing,
	.unusable = no_such_device,
};

static int setup(void **state)
{
	struct vhx_net_config cfg = { .id = "n0", .queue_size = BUFFERS };
	struct vhx_error err = { "" };
	char end[16];
	uint16_t i;
	int fds[2];

	lab_open(&w, &lab_default);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	peer = fds[1];
	snprintf(end, sizeof(end), "fd:%d", fds[0]);
	cfg.end = end;
	if (vhx_net_new(w.loop, &cfg, NULL, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(vhx_backend_add_device(w.be, dev), 0);
	assert_int_equal(vhx_fdev_new(w.fe, "n0", &net_ops, NULL, &fdev), 0);
	lab_settle(&w);
	assert_true(vhx_fdev_known(fdev));
	assert_int_equal(vhx_fdev_set_features(fdev, 1ull << VIRTIO_NET_F_MRG_RXBUF), 0);
	for (i = 0; i < QUEUES; i++) {
		queues[i] = (struct queue){ .is_tx = i == TX };
		assert_int_equal(vhx_fqueue_start(fdev, i, BUFFERS, &queue_ops, &queues[i],
						  &queues[i].q),
				 0);
	}
	queues[RX].wanted = BUFFERS;
	lab_settle(&w);
	return 0;
}

static int teardown(void **state)
{
	lab_close(&w);
	close(peer);
	return 0;
}

static void peer_send(uint32_t cnt, uint32_t len)
{
	static uint8_t bytes[128 << 10];
	uint8_t *p = bytes;
	uint32_t i;

	assert_true(cnt * (PREFIX + len) <= sizeof(bytes));
	for (i = 0; i < cnt; i++, p += PREFIX + len) {
		const uint8_t prefix[] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16),
					   (uint8_t)(len >> 8), (uint8_t)len };

		memcpy(p, prefix, PREFIX);
		memset(p + PREFIX, (int)i + 1, len);
	}
	assert_int_equal(write(peer, bytes, cnt * (PREFIX + len)), cnt * (PREFIX + len));
}

static void peer_expect(uint32_t cnt, uint32_t len)
{
	uint8_t bytes[PREFIX + FRAME_MAX], want[FRAME_MAX];
	uint32_t i;

	for (i = 0; i < cnt; i++) {
		assert_int_equal(recv(peer, bytes, PREFIX + len, MSG_WAITALL), PREFIX + len);
		memset(want, (int)i + 1, len);
		assert_memory_equal(bytes + PREFIX, want, len);
	}
}

/* The buffers, in the order in which they came back, from the @at-th on. Where the packet ends. */
static uint32_t packet_expect(uint32_t at, uint32_t len, uint8_t byte)
{
	struct queue *s = &queues[RX];
	struct virtio_net_hdr hdr;
	uint8_t want[BUFFER_LEN];
	uint32_t off = 0, cnt;

	memset(want, byte, sizeof(want));
	memcpy(&hdr, s->bytes[s->order[at]], sizeof(hdr));
	cnt = vhx_le16_get(hdr.num_buffers);
	assert_int_equal(cnt, (HDR + len + BUFFER_LEN - 1) / BUFFER_LEN);
	for (; cnt; cnt--, at++) {
		uint32_t skip = off ? 0 : HDR, used = s->used[s->order[at]];

		assert_memory_equal(s->bytes[s->order[at]] + skip, want, used - skip);
		off += used;
	}
	assert_int_equal(off, HDR + len);
	return at;
}

/* 32 packets that the driver made known at once are one message, and so are their completions. */
static void test_burst_out_is_one_send_each_way(void **state)
{
	struct vhx_port_stats fe = lab_fe_stats(&w), be = lab_be_stats(&w);
	uint64_t allocations = lab_allocations();

	queues[TX].len = 1000;
	queues[TX].wanted = BURST;
	vhx_fqueue_kick(queues[TX].q);
	lab_settle(&w);
	assert_int_equal(queues[TX].visible, BURST);
	assert_int_equal(lab_fe_stats(&w).sends - fe.sends, 1);
	assert_int_equal(lab_be_stats(&w).sends - be.sends, 1);
	assert_int_equal(lab_allocations(), allocations);
	peer_expect(BURST, 1000);
}

/* 32 packets that a peer sent at once are one message, into buffers that were posted before. */
static void test_burst_in_is_one_send(void **state)
{
	struct vhx_port_stats fe = lab_fe_stats(&w), be = lab_be_stats(&w);
	uint64_t allocations = lab_allocations();
	uint32_t i, at = 0;

	peer_send(BURST, 1000);
	lab_settle(&w);
	assert_int_equal(queues[RX].visible, BURST);
	assert_int_equal(lab_be_stats(&w).sends - be.sends, 1);
	assert_int_equal(lab_fe_stats(&w).sends - fe.sends, 0);
	assert_int_equal(lab_allocations(), allocations);
	for (i = 0; i < BURST; i++)
		at = packet_expect(at, 1000, (uint8_t)(i + 1));
	assert_int_equal(at, BURST);
}

/* A packet of many buffers among others: what the driver sees begins and ends with packets. */
static void test_merged_packet_arrives_as_one(void **state)
{
	uint32_t at;

	peer_send(1, 60);
	peer_send(1, 65000);
	peer_send(1, 60);
	lab_settle(&w);
	at = packet_expect(0, 60, 1);
	at = packet_expect(at, 65000, 1);
	at = packet_expect(at, 60, 1);
	assert_int_equal(queues[RX].visible, at);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_burst_out_is_one_send_each_way, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_burst_in_is_one_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merged_packet_arrives_as_one, setup, teardown),
	};

	return cmocka_run_group_tests_name("stack: net", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
