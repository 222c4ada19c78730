// SPDX-License-Identifier: BSD-3-Clause
/* The socket device on real sockets: connections both ways, credit to the byte, and what does not belong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fds.h"
#include "fake_backend.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "device/vsock.h"
#include "device/vsock_conn.h"
#include "device/vsock_connect.h"
#include "device/vsock_layout.h"

#define HDR ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define CID 42u
#define GUEST_PORT 7000u
#define HOST_PORT 1000u
#define BUFFER 4096u
#define RX_LEN 4096u
#define POSTED_MAX 512u
#define OP(name) VIRTIO_VSOCK_OP_##name
#define BOTH VIRTIO_VSOCK_SHUTDOWN_BOTH
#define SEQPACKET (1ull << VIRTIO_VSOCK_F_SEQPACKET)

enum { RX, TX, EVENT, QUEUES };

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queues[QUEUES];
static char dir[64], path[80], text[100];
static int connector; /* this end is the test's */
static struct vhx_vsock_config cfg;
/* Receive buffers in the order of their posting; those that were looked at are freed. */
static struct fake_request *posted[POSTED_MAX];
static unsigned int posted_cnt, seen_cnt;
/* What the guest says of itself in each packet */
static uint32_t guest_buf_alloc, guest_fwd_cnt;
static uint16_t guest_type;
static uint64_t guest_src, guest_dst;
static uint64_t skipped_ns;
static bool unwatched; /* no descriptor can be watched any more */
static bool no_memory; /* for what is sent */

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

/* The clock can be moved on: nothing here waits for seconds. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = __real_clock_gettime(id, ts);

	ts->tv_sec += (time_t)(skipped_ns / 1000000000u);
	return ret;
}

int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);

/* As where the user's watches are used up. */
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (!unwatched || op != EPOLL_CTL_ADD)
		return __real_epoll_ctl(epoll, op, fd, event);
	errno = ENOSPC;
	return -1;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (!no_memory)
		return __real_sendmsg(fd, msg, flags);
	errno = ENOBUFS;
	return -1;
}

static int setup(void **state)
{
	unsigned int i;
	int fds[2];

	strcpy(dir, "/tmp/vhx-vsock.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/v", dir);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	connector = fds[1];
	cfg = (struct vhx_vsock_config){ .id = "v0",
					 .path = path,
					 .guest_cid = CID,
					 .seqpacket = true,
					 .connections = 4,
					 .buffer = BUFFER,
					 .connector = fds[0] };
	for (i = 0; i < QUEUES; i++)
		queues[i] = (struct vhx_queue){ .index = (uint16_t)i };
	fake_init();
	posted_cnt = seen_cnt = 0;
	guest_buf_alloc = 1u << 16;
	guest_fwd_cnt = 0;
	guest_type = VIRTIO_VSOCK_TYPE_STREAM;
	guest_src = CID;
	guest_dst = VIRTIO_VSOCK_CID_HOST;
	skipped_ns = 0;
	unwatched = no_memory = false;
	assert_int_equal(vhx_loop_new(0, &loop), 0);
	return 0;
}

static int teardown(void **state)
{
	vhx_loop_free(loop);
	if (connector >= 0)
		close(connector);
	return rmdir(dir);
}

static void open_device(uint64_t features)
{
	struct vhx_error err = { "" };

	if (vhx_vsock_new(loop, &cfg, NULL, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(dev->ops->set_features(dev, features), 0);
}

static void queues_reset(void)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++) {
		queues[i].quiesced = 0;
		dev->ops->reset(dev, &queues[i]);
		assert_int_equal(queues[i].quiesced, 1);
	}
	while (seen_cnt < posted_cnt)
		fake_request_free(posted[seen_cnt++]);
	posted_cnt = seen_cnt = 0;
}

static void close_device(void)
{
	queues_reset();
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

static void time_passes(unsigned int seconds)
{
	skipped_ns += seconds * 1000000000ull;
	settle();
}

/* The guest's side */

static void post(unsigned int cnt, uint32_t payload)
{
	while (cnt--) {
		assert_true(posted_cnt < POSTED_MAX);
		posted[posted_cnt++] = fake_request_new(dev, &queues[RX], "", 0,
							payload ? HDR + payload : 0);
		fake_submit(posted[posted_cnt - 1]);
	}
}

static struct fake_request *packet_raw(const struct virtio_vsock_hdr *hdr, const void *payload,
				       uint32_t len)
{
	uint8_t *bytes = malloc(HDR + len + 1);
	struct fake_request *r;

	memcpy(bytes, hdr, HDR);
	if (len)
		memcpy(bytes + HDR, payload, len);
	r = fake_request_new(dev, &queues[TX], bytes, HDR + len, 0);
	free(bytes);
	fake_submit(r);
	return r;
}

static struct virtio_vsock_hdr head(uint16_t op, uint32_t flags, uint32_t len)
{
	return (struct virtio_vsock_hdr){
		.src_cid = vhx_le64_of(guest_src),
		.dst_cid = vhx_le64_of(guest_dst),
		.src_port = vhx_le32_of(GUEST_PORT),
		.dst_port = vhx_le32_of(HOST_PORT),
		.len = vhx_le32_of(len),
		.type = vhx_le16_of(guest_type),
		.op = vhx_le16_of(op),
		.flags = vhx_le32_of(flags),
		.buf_alloc = vhx_le32_of(guest_buf_alloc),
		.fwd_cnt = vhx_le32_of(guest_fwd_cnt),
	};
}

static void says_on(uint32_t guest_port, uint32_t host_port, uint16_t op, uint32_t flags,
		    const void *payload, uint32_t len)
{
	struct virtio_vsock_hdr hdr = head(op, flags, len);
	struct fake_request *r;

	hdr.src_port = vhx_le32_of(guest_port);
	hdr.dst_port = vhx_le32_of(host_port);
	r = packet_raw(&hdr, payload, len);
	assert_true(r->completed);
	fake_request_free(r);
}

static void says(uint16_t op, uint32_t flags, const void *payload, uint32_t len)
{
	says_on(GUEST_PORT, HOST_PORT, op, flags, payload, len);
}

struct heard {
	struct virtio_vsock_hdr hdr;
	uint8_t bytes[RX_LEN];
	uint32_t len, flags, buf_alloc, fwd_cnt, guest_port, host_port;
};

static unsigned int pending(void)
{
	unsigned int i;

	for (i = seen_cnt; i < posted_cnt && posted[i]->completed; i++)
		;
	return i - seen_cnt;
}

/* The next packet to the guest. */
static void hears(uint16_t op, struct heard *h)
{
	struct fake_request *r = posted[seen_cnt];

	settle();
	assert_true(seen_cnt < posted_cnt);
	assert_true(r->completed);
	assert_true(r->used_len >= HDR);
	memcpy(&h->hdr, r->answer, HDR);
	h->len = vhx_le32_get(h->hdr.len);
	assert_int_equal(r->used_len, HDR + h->len);
	memcpy(h->bytes, r->answer + HDR, h->len);
	assert_int_equal(vhx_le16_get(h->hdr.op), op);
	assert_int_equal(vhx_le64_get(h->hdr.dst_cid), CID);
	assert_int_equal(vhx_le64_get(h->hdr.src_cid), guest_dst);
	assert_int_equal(vhx_le16_get(h->hdr.type), guest_type);
	h->flags = vhx_le32_get(h->hdr.flags);
	h->buf_alloc = vhx_le32_get(h->hdr.buf_alloc);
	h->fwd_cnt = vhx_le32_get(h->hdr.fwd_cnt);
	h->guest_port = vhx_le32_get(h->hdr.dst_port);
	h->host_port = vhx_le32_get(h->hdr.src_port);
	seen_cnt++;
	fake_request_free(r);
}

static void hears_nothing(void)
{
	settle();
	assert_int_equal(pending(), 0);
}

/* The host's side */

static void asked_for(struct vhx_vsock_ask *ask)
{
	settle();
	assert_int_equal(recv(connector, ask, sizeof(*ask), 0), sizeof(*ask));
}

/* Answers with a socket whose other end is returned; -1 with a failure. */
static int answers(const struct vhx_vsock_ask *ask, int32_t result)
{
	struct vhx_vsock_answer answer = { .tag = ask->tag, .result = result };
	struct iovec iov = { &answer, sizeof(answer) };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[2] = { -1, -1 };

	if (!result) {
		assert_int_equal(socketpair(AF_UNIX,
					    SOCK_NONBLOCK |
						    (ask->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM),
					    0, fds),
				 0);
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fds[0], sizeof(int));
	}
	assert_int_equal(sendmsg(connector, &msg, 0), sizeof(answer));
	if (fds[0] >= 0)
		close(fds[0]);
	settle();
	return fds[1];
}

/* The guest is connected to the host; its socket there. */
static int guest_connects(void)
{
	struct vhx_vsock_ask ask;
	struct heard h;
	int peer;

	says(OP(REQUEST), 0, NULL, 0);
	asked_for(&ask);
	assert_int_equal(ask.port, HOST_PORT);
	assert_int_equal(ask.seqpacket, guest_type == VIRTIO_VSOCK_TYPE_SEQPACKET);
	peer = answers(&ask, 0);
	hears(OP(RESPONSE), &h);
	assert_int_equal(h.buf_alloc, cfg.buffer);
	assert_int_equal(h.fwd_cnt, 0);
	assert_int_equal(h.guest_port, GUEST_PORT);
	assert_int_equal(h.host_port, HOST_PORT);
	return peer;
}

static int host_socket(const char *suffix, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s%s", path, suffix);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static void fill(uint8_t *p, uint32_t len, uint32_t seed)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)((seed + i) * 7 + ((seed + i) >> 8));
}

/* All that comes, up to @max bytes; it goes on where @seed says. */
static uint32_t host_reads(int fd, uint32_t max, uint32_t seed)
{
	uint8_t got[1024], want[1024];
	unsigned int waits = 0;
	uint32_t sum = 0;
	ssize_t n;

	while (sum < max && waits < 2) {
		n = read(fd, got, vhx_min_u64(sizeof(got), max - sum));
		if (n <= 0) {
			settle();
			waits++;
			continue;
		}
		waits = 0;
		fill(want, (uint32_t)n, seed + sum);
		assert_memory_equal(got, want, n);
		sum += (uint32_t)n;
	}
	settle();
	return sum;
}

static bool host_at_end(int fd)
{
	char byte;

	settle();
	return recv(fd, &byte, 1, MSG_PEEK) == 0;
}

/* Fills what the kernel keeps between the two, so that the next byte is the device's to keep. */
static uint32_t fill_socket(int peer)
{
	uint32_t sent = 0, before;
	uint8_t bytes[1024];
	struct heard h = { .len = 0 };

	post(1, RX_LEN);
	for (;;) {
		fill(bytes, sizeof(bytes), sent);
		says(OP(RW), 0, bytes, sizeof(bytes));
		sent += sizeof(bytes);
		before = pending();
		says(OP(CREDIT_REQUEST), 0, NULL, 0);
		post(1, RX_LEN);
		while (pending()) {
			hears(OP(CREDIT_UPDATE), &h);
			post(1, RX_LEN);
		}
		if (h.fwd_cnt < sent)
			return sent;
		assert_true(before < 2 && sent < (4u << 20));
	}
}

/* Connections */

static void test_guest_connects_and_bytes_go_both_ways(void **state)
{
	struct heard h;
	int peer;

	open_device(SEQPACKET);
	post(8, RX_LEN);
	peer = guest_connects();
	says(OP(RW), 0, "hello", 5);
	assert_int_equal(read(peer, text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(write(peer, "welcome", 7), 7);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 7);
	assert_memory_equal(h.bytes, "welcome", 7);
	assert_int_equal(h.fwd_cnt, 5);
	close(peer);
	close_device();
}

static void test_nobody_listens_at_the_port(void **state)
{
	struct vhx_vsock_ask ask;
	struct heard h;

	open_device(0);
	post(8, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	hears_nothing();
	asked_for(&ask);
	answers(&ask, -ENOENT);
	hears(OP(RST), &h);
	/* The ports are free again. */
	close(guest_connects());
	close_device();
}

static void test_connector_that_ended_refuses_all(void **state)
{
	struct heard h;

	open_device(0);
	post(8, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	hears_nothing();
	close(connector);
	connector = -1;
	hears(OP(RST), &h);
	says(OP(REQUEST), 0, NULL, 0);
	hears(OP(RST), &h);
	close_device();
}

static void test_second_descriptor_of_an_answer_is_closed(void **state)
{
	struct vhx_vsock_ask ask;
	struct vhx_vsock_answer answer = { 0 };
	struct iovec iov = { &answer, sizeof(answer) };
	int first[2], second[2];
	char byte;

	open_device(0);
	post(8, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	asked_for(&ask);
	answer.tag = ask.tag;
	assert_int_equal(socketpair(AF_UNIX, SOCK_NONBLOCK | SOCK_STREAM, 0, first), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_NONBLOCK | SOCK_STREAM, 0, second), 0);
	assert_int_equal(fds_send(connector, &iov, 1, (int[]){ first[0], second[0] }, 2),
			 sizeof(answer));
	close(first[0]);
	close(second[0]);
	settle();
	assert_int_equal(recv(second[1], &byte, 1, 0), 0);
	close(first[1]);
	close(second[1]);
	close_device();
}

/* A late answer is for nobody, and its descriptor is closed. */
static void test_guest_gives_up_before_the_answer(void **state)
{
	struct vhx_vsock_ask ask, again;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	asked_for(&ask);
	says(OP(RST), 0, NULL, 0);
	says(OP(REQUEST), 0, NULL, 0);
	asked_for(&again);
	assert_true(again.tag != ask.tag);
	peer = answers(&ask, 0);
	assert_true(host_at_end(peer));
	hears_nothing();
	close(peer);
	close(answers(&again, 0));
	close_device();
}

static int host_connects(const char *suffix, int type, uint32_t *host_port)
{
	struct heard h;
	int fd = host_socket(suffix, type);

	assert_int_equal(write(fd, "CONNECT 7000\n", 13), 13);
	hears(OP(REQUEST), &h);
	assert_int_equal(h.guest_port, GUEST_PORT);
	assert_int_equal(h.buf_alloc, BUFFER);
	*host_port = h.host_port;
	return fd;
}

static void test_host_connects(void **state)
{
	uint32_t port, second;
	struct heard h;
	int fd, other;

	open_device(0);
	post(8, RX_LEN);
	fd = host_connects("", SOCK_STREAM, &port);
	assert_int_equal(read(fd, text, sizeof(text)), -1);
	says_on(GUEST_PORT, port, OP(RESPONSE), 0, NULL, 0);
	memset(text, 0, sizeof(text));
	assert_true(read(fd, text, sizeof(text)) > 0);
	assert_int_equal(strtoul(text + 3, NULL, 10), port);
	assert_memory_equal(text, "OK ", 3);
	says_on(GUEST_PORT, port, OP(RW), 0, "hi", 2);
	assert_int_equal(read(fd, text, sizeof(text)), 2);
	/* A second one has a port of its own; the guest does not want it. */
	other = host_connects("", SOCK_STREAM, &second);
	assert_true(second != port);
	says_on(GUEST_PORT, second, OP(RST), 0, NULL, 0);
	assert_true(host_at_end(other));
	close(other);
	close(fd);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, BOTH);
	close_device();
}

/* Bytes behind the line belong to the connection. */
static void test_host_does_not_wait_for_ok(void **state)
{
	struct heard h;
	int fd;

	open_device(0);
	post(8, RX_LEN);
	fd = host_socket("", SOCK_STREAM);
	assert_int_equal(write(fd, "CONN", 4), 4);
	hears_nothing();
	assert_int_equal(write(fd, "ECT 7000\nearly", 14), 14);
	hears(OP(REQUEST), &h);
	says_on(GUEST_PORT, h.host_port, OP(RESPONSE), 0, NULL, 0);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 5);
	assert_memory_equal(h.bytes, "early", 5);
	close(fd);
	close_device();
}

static void test_greetings_that_are_none(void **state)
{
	static const char *const lines[] = {
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT 4294967296\n",
		"CONNECT -1\n",
		"connect 1\n",
		"CONNECT 1 \n",
		"CONNECT  1\n",
		"\n",
		"CONNECT 0x10\n",
		"GET / HTTP/1.1\r\n\r\n",
		"CONNECT 7000 ........................",
	};
	size_t i;
	int fd;

	open_device(0);
	post(8, RX_LEN);
	for (i = 0; i < VHX_ARRAY_SIZE(lines); i++) {
		fd = host_socket("", SOCK_STREAM);
		assert_int_equal(write(fd, lines[i], strlen(lines[i])), strlen(lines[i]));
		settle();
		/* What was not read makes its end an ECONNRESET. */
		assert_true(read(fd, text, sizeof(text)) <= 0 && errno != EAGAIN);
		close(fd);
	}
	hears_nothing();
	close_device();
}

static void test_silent_client_and_silent_guest_lose_their_places(void **state)
{
	uint32_t port;
	struct heard h;
	int fd[4], i;

	open_device(0);
	post(8, RX_LEN);
	for (i = 0; i < 4; i++)
		fd[i] = host_socket("", SOCK_STREAM);
	settle();
	time_passes(11);
	for (i = 0; i < 4; i++) {
		assert_true(host_at_end(fd[i]));
		close(fd[i]);
	}
	fd[0] = host_connects("", SOCK_STREAM, &port);
	time_passes(11);
	hears(OP(RST), &h);
	assert_int_equal(h.host_port, port);
	assert_true(host_at_end(fd[0]));
	close(fd[0]);
	close_device();
}

static void test_connections_are_bounded(void **state)
{
	struct vhx_vsock_ask ask;
	struct heard h;
	uint32_t i;
	int fd;

	open_device(0);
	post(8, RX_LEN);
	for (i = 0; i < 4; i++)
		says_on(GUEST_PORT + i, HOST_PORT, OP(REQUEST), 0, NULL, 0);
	says_on(GUEST_PORT + i, HOST_PORT, OP(REQUEST), 0, NULL, 0);
	hears(OP(RST), &h);
	assert_int_equal(h.guest_port, GUEST_PORT + 4);
	fd = host_socket("", SOCK_STREAM);
	assert_true(host_at_end(fd));
	close(fd);
	for (i = 0; i < 4; i++) {
		asked_for(&ask);
		answers(&ask, -ECONNREFUSED);
		hears(OP(RST), &h);
	}
	close(guest_connects());
	close_device();
}

/* No more than so many are asked for at once; the others come after them. */
static void test_asking_is_bounded(void **state)
{
	struct vhx_vsock_ask ask;
	unsigned int i, asks = 0, rounds = 0;
	struct heard h;

	cfg.connections = 100;
	open_device(0);
	post(101, RX_LEN);
	for (i = 0; i < 100; i++)
		says_on(GUEST_PORT + i, HOST_PORT, OP(REQUEST), 0, NULL, 0);
	settle();
	while (asks < 100) {
		assert_true(++rounds < 200);
		while (recv(connector, &ask, sizeof(ask), 0) == sizeof(ask)) {
			asks++;
			if (asks % 2)
				continue;
			answers(&ask, -ENOENT);
		}
		settle();
		if (asks < 100 && asks % 2)
			answers(&ask, -ENOENT);
	}
	for (i = 0; i < 50; i++)
		hears(OP(RST), &h);
	close_device();
}

/* Credit */

static void test_guest_is_told_of_credit_before_it_runs_out(void **state)
{
	uint8_t bytes[BUFFER / 4];
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	fill(bytes, sizeof(bytes), 0);
	says(OP(RW), 0, bytes, sizeof(bytes) - 1);
	hears_nothing();
	fill(bytes, 1, sizeof(bytes) - 1);
	says(OP(RW), 0, bytes, 1);
	hears(OP(CREDIT_UPDATE), &h);
	assert_int_equal(h.fwd_cnt, sizeof(bytes));
	assert_int_equal(h.buf_alloc, BUFFER);
	says(OP(CREDIT_REQUEST), 0, NULL, 0);
	hears(OP(CREDIT_UPDATE), &h);
	assert_int_equal(host_reads(peer, BUFFER, 0), sizeof(bytes));
	close(peer);
	close_device();
}

/* As much as was promised, to the byte, while the host reads nothing; then all of it arrives. */
static void test_all_of_the_credit_and_not_a_byte_more(void **state)
{
	uint32_t sent, room;
	uint8_t bytes[BUFFER];
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	sent = fill_socket(peer);
	says(OP(CREDIT_REQUEST), 0, NULL, 0);
	hears(OP(CREDIT_UPDATE), &h);
	room = h.buf_alloc - (sent - h.fwd_cnt);
	assert_true(room < BUFFER && room > 0);
	fill(bytes, room, sent);
	says(OP(RW), 0, bytes, room);
	sent += room;
	hears_nothing();
	assert_int_equal(host_reads(peer, UINT32_MAX, 0), sent);
	hears(OP(CREDIT_UPDATE), &h);
	assert_int_equal(h.fwd_cnt, sent);
	close(peer);
	close_device();
}

static void test_a_byte_beyond_the_credit_ends_the_connection(void **state)
{
	uint8_t bytes[BUFFER + 1];
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	fill(bytes, sizeof(bytes), 0);
	says(OP(RW), 0, bytes, BUFFER + 1);
	hears(OP(RST), &h);
	assert_true(host_at_end(peer));
	close(peer);
	close_device();
}

static void test_host_sends_only_what_the_guest_has_room_for(void **state)
{
	uint8_t bytes[300], want[300];
	struct heard h;
	int peer;

	guest_buf_alloc = 100;
	open_device(0);
	post(16, RX_LEN);
	peer = guest_connects();
	fill(bytes, sizeof(bytes), 0);
	assert_int_equal(write(peer, bytes, sizeof(bytes)), sizeof(bytes));
	hears(OP(RW), &h);
	assert_int_equal(h.len, 100);
	fill(want, 100, 0);
	assert_memory_equal(h.bytes, want, 100);
	/* Asked once, whatever happens meanwhile. */
	hears(OP(CREDIT_REQUEST), &h);
	says(OP(CREDIT_UPDATE), 0, NULL, 0);
	hears_nothing();
	guest_fwd_cnt = 30;
	says(OP(CREDIT_UPDATE), 0, NULL, 0);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 30);
	hears(OP(CREDIT_REQUEST), &h);
	/* A guest that counts what it was never sent, or shrinks, gets nothing. */
	guest_fwd_cnt = 1000;
	says(OP(CREDIT_UPDATE), 0, NULL, 0);
	guest_fwd_cnt = 30;
	guest_buf_alloc = 50;
	says(OP(CREDIT_UPDATE), 0, NULL, 0);
	hears_nothing();
	guest_fwd_cnt = 130;
	guest_buf_alloc = 1000;
	says(OP(CREDIT_UPDATE), 0, NULL, 0);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 170);
	fill(want, 170, 130);
	assert_memory_equal(h.bytes, want, 170);
	close(peer);
	close_device();
}

static void test_slow_reader_stops_nobody_else(void **state)
{
	uint8_t bytes[64];
	struct vhx_vsock_ask ask;
	struct heard h;
	int slow, quick, i;

	open_device(0);
	post(8, RX_LEN);
	slow = guest_connects();
	fill_socket(slow);
	says_on(GUEST_PORT + 1, HOST_PORT, OP(REQUEST), 0, NULL, 0);
	asked_for(&ask);
	quick = answers(&ask, 0);
	hears(OP(RESPONSE), &h);
	for (i = 0; i < 100; i++) {
		fill(bytes, sizeof(bytes), (uint32_t)i * 64);
		says_on(GUEST_PORT + 1, HOST_PORT, OP(RW), 0, bytes, sizeof(bytes));
		assert_int_equal(host_reads(quick, 64, (uint32_t)i * 64), 64);
	}
	close(slow);
	close(quick);
	close_device();
}

/* Ends */

static void test_host_shuts_its_sending_half(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	assert_int_equal(write(peer, "last", 4), 4);
	shutdown(peer, SHUT_WR);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 4);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	/* The other half goes on. */
	says(OP(RW), 0, "more", 4);
	assert_int_equal(read(peer, text, sizeof(text)), 4);
	close(peer);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, BOTH);
	says(OP(RST), 0, NULL, 0);
	close(guest_connects());
	close_device();
}

static void test_guest_shuts_its_halves(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	says(OP(RW), 0, "last", 4);
	says(OP(SHUTDOWN), VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	assert_int_equal(read(peer, text, sizeof(text)), 4);
	assert_true(host_at_end(peer));
	assert_int_equal(write(peer, "more", 4), 4);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 4);
	says(OP(SHUTDOWN), VIRTIO_VSOCK_SHUTDOWN_RCV, NULL, 0);
	hears(OP(RST), &h);
	assert_int_equal(send(peer, "lost", 4, MSG_NOSIGNAL), -1);
	close(peer);
	close_device();
}

static void test_bytes_after_the_end_of_them_do_not_belong(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	says(OP(SHUTDOWN), VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	says(OP(RW), 0, "more", 4);
	hears(OP(RST), &h);
	close(peer);
	close_device();
}

static void test_closed_guest_still_owes_the_reader_its_bytes(void **state)
{
	uint32_t sent;
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	sent = fill_socket(peer);
	says(OP(SHUTDOWN), BOTH, NULL, 0);
	hears(OP(RST), &h);
	/* For the guest it is over: the ports can be used again at once. */
	close(guest_connects());
	assert_int_equal(host_reads(peer, UINT32_MAX, 0), sent);
	assert_true(host_at_end(peer));
	close(peer);
	close_device();
}

/* The guest's patience for our RST ended first, since it gave no buffer for it. */
static void test_guest_that_leaves_by_itself_still_owes_the_reader_its_bytes(void **state)
{
	uint32_t sent;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	sent = fill_socket(peer);
	queues_reset();
	says(OP(SHUTDOWN), BOTH, NULL, 0);
	says(OP(RST), 0, NULL, 0);
	assert_int_equal(host_reads(peer, UINT32_MAX, 0), sent);
	assert_true(host_at_end(peer));
	close(peer);
	close_device();
}

/* As long as nobody else needs the place. */
static void test_late_reader_of_a_guest_that_left_gets_its_bytes(void **state)
{
	uint32_t sent;
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	sent = fill_socket(peer);
	says(OP(SHUTDOWN), BOTH, NULL, 0);
	hears(OP(RST), &h);
	time_passes(3600);
	assert_int_equal(host_reads(peer, UINT32_MAX, 0), sent);
	assert_true(host_at_end(peer));
	close(peer);
	close_device();
}

static void test_reader_that_never_comes_loses_its_bytes(void **state)
{
	struct heard h;
	int peer;

	cfg.connections = 1;
	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	fill_socket(peer);
	says(OP(SHUTDOWN), BOTH, NULL, 0);
	hears(OP(RST), &h);
	time_passes(31);
	close(guest_connects());
	close(peer);
	close_device();
}

static void test_guest_that_does_not_confirm_gets_an_rst(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	close(peer);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, BOTH);
	time_passes(9);
	hears(OP(RST), &h);
	close_device();
}

static void test_both_sides_close_at_once(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	close(peer);
	hears(OP(SHUTDOWN), &h);
	says(OP(SHUTDOWN), BOTH, NULL, 0);
	hears(OP(RST), &h);
	hears_nothing();
	close(guest_connects());
	close_device();
}

/* Its socket is empty: no event will ever say that there is room in it. */
static void test_host_without_memory_for_a_moment_loses_nothing(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	no_memory = true;
	says(OP(RW), 0, "kept", 4);
	settle();
	time_passes(1);
	assert_int_equal(read(peer, text, sizeof(text)), -1);
	no_memory = false;
	time_passes(1);
	assert_int_equal(read(peer, text, sizeof(text)), 4);
	/* Also when its guest is gone by then. */
	no_memory = true;
	says(OP(RW), 0, "last", 4);
	says(OP(SHUTDOWN), BOTH, NULL, 0);
	hears(OP(RST), &h);
	no_memory = false;
	time_passes(1);
	assert_int_equal(read(peer, text, sizeof(text)), 4);
	assert_true(host_at_end(peer));
	close(peer);
	close_device();
}

static void test_host_without_memory_for_long_reads_no_more(void **state)
{
	struct heard h;
	unsigned int i;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	no_memory = true;
	says(OP(RW), 0, "lost", 4);
	for (i = 0; i < 100; i++)
		time_passes(1);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	assert_int_equal(h.fwd_cnt, 4);
	close(peer);
	close_device();
}

static void test_host_that_reads_no_more(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	shutdown(peer, SHUT_RD);
	says(OP(RW), 0, "lost", 4);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	/* Its bytes are gone, its credit is not. */
	says(OP(RW), 0, "lost", 4);
	says(OP(CREDIT_REQUEST), 0, NULL, 0);
	hears(OP(CREDIT_UPDATE), &h);
	assert_int_equal(h.fwd_cnt, 8);
	assert_int_equal(write(peer, "sent", 4), 4);
	hears(OP(RW), &h);
	close(peer);
	close_device();
}

/* Messages */

static void test_messages_keep_their_bounds(void **state)
{
	struct heard h;
	int peer;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(SEQPACKET);
	post(8, 64);
	peer = guest_connects();
	says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, "one", 3);
	says(OP(RW), 0, "tw", 2);
	settle();
	says(OP(RW), VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR, "o", 1);
	says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, NULL, 0);
	assert_int_equal(read(peer, text, sizeof(text)), 3);
	assert_int_equal(read(peer, text, sizeof(text)), 3);
	assert_memory_equal(text, "two", 3);
	assert_int_equal(read(peer, text, sizeof(text)), -1);
	/* Larger than a receive buffer: in two packets, of which the last ends it. */
	memset(text, 'x', 100);
	assert_int_equal(write(peer, text, 100), 100);
	assert_int_equal(write(peer, text, 1), 1);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 64);
	assert_int_equal(h.flags, 0);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 36);
	assert_int_equal(h.flags, VIRTIO_VSOCK_SEQ_EOM);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 1);
	assert_int_equal(h.flags, VIRTIO_VSOCK_SEQ_EOM);
	close(peer);
	close_device();
}

/* Many small messages for a reader that is late: each one is there, in order and in its bounds. */
static void test_messages_that_are_kept(void **state)
{
	unsigned int i, kept = 0, sent = 0;
	uint8_t bytes[3], got[8];
	struct heard h = { .fwd_cnt = 0 };
	uint32_t total = 0;
	int peer;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(SEQPACKET);
	post(2, RX_LEN);
	peer = guest_connects();
	while (kept < 1000) {
		uint32_t len = 1 + sent % 3;

		fill(bytes, len, sent);
		says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, bytes, len);
		sent++;
		total += len;
		says(OP(CREDIT_REQUEST), 0, NULL, 0);
		post(1, RX_LEN);
		hears(OP(CREDIT_UPDATE), &h);
		kept = total - h.fwd_cnt;
		assert_true(sent < 100000);
		if (seen_cnt > 400) {
			memmove(posted, posted + seen_cnt,
				(posted_cnt - seen_cnt) * sizeof(*posted));
			posted_cnt -= seen_cnt;
			seen_cnt = 0;
		}
	}
	for (i = 0; i < sent; i++) {
		if (i % 50 == 0)
			settle();
		assert_int_equal(read(peer, got, sizeof(got)), 1 + i % 3);
		fill(bytes, 1 + i % 3, i);
		assert_memory_equal(got, bytes, 1 + i % 3);
	}
	assert_int_equal(read(peer, got, sizeof(got)), -1);
	close(peer);
	close_device();
}

/*
 * Most of a quarter was taken and not told, and a message as large as the buffer begins: without that rest of the
 * credit it never ends, and drivers do not ask for it.
 */
static void test_large_message_behind_a_small_one_is_not_stuck(void **state)
{
	uint8_t bytes[BUFFER], got[BUFFER];
	uint32_t small = BUFFER / 4 - 1;
	struct heard h;
	int peer;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(SEQPACKET);
	post(8, RX_LEN);
	peer = guest_connects();
	fill(bytes, sizeof(bytes), 0);
	says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, bytes, small);
	hears_nothing();
	assert_int_equal(read(peer, got, sizeof(got)), small);
	/* As far as the credit that the guest knows of reaches. */
	says(OP(RW), 0, bytes, BUFFER - small);
	hears(OP(CREDIT_UPDATE), &h);
	assert_int_equal(h.fwd_cnt, small);
	says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, bytes + BUFFER - small, small);
	assert_int_equal(read(peer, got, sizeof(got)), BUFFER);
	assert_memory_equal(got, bytes, BUFFER);
	close(peer);
	close_device();
}

/* Its socket says ECONNRESET, once, in front of the messages that are still there. */
static void test_last_message_of_a_host_that_left_bytes_unread(void **state)
{
	struct heard h;
	int peer;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(SEQPACKET);
	post(8, RX_LEN);
	peer = guest_connects();
	says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, "unread", 6);
	assert_int_equal(write(peer, "last", 4), 4);
	close(peer);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 4);
	assert_memory_equal(h.bytes, "last", 4);
	hears(OP(SHUTDOWN), &h);
	assert_int_equal(h.flags, BOTH);
	close_device();
}

static void conn_takes(struct vhx_vsock_conn *c, const void *bytes, uint32_t len, bool end)
{
	struct fake_request *r = fake_request_new(dev, &queues[TX], bytes, len, 0);

	fake.in_flight++; /* as if it had been submitted */
	assert_int_equal(vhx_vsock_conn_take(c, &r->req, 0, len, end), 0);
	vhx_request_complete(&r->req, 0, NULL, 0, 0, 0);
	fake_request_free(r);
}

/*
 * A packet of one byte behind a large message that waits costs no look at all of that message: who looked again would
 * not find its end, since nothing is marked any more.
 */
static void test_message_that_waits_is_looked_at_once(void **state)
{
	const uint32_t large = 120u * 1024;
	struct vhx_vsock_conn c = {
		.state = VHX_VSOCK_OPEN, .seqpacket = true, .buf_alloc = VHX_VSOCK_MESSAGE_MAX
	};
	uint8_t *bytes = calloc(1, large);
	int fds[2], i;

	open_device(SEQPACKET);
	assert_int_equal(socketpair(AF_UNIX, SOCK_NONBLOCK | SOCK_SEQPACKET, 0, fds), 0);
	c.dev = dev;
	c.watch.fd = fds[0];
	while (!c.buffer.len) {
		conn_takes(&c, bytes, large / 2, false);
		conn_takes(&c, bytes, large / 2, true);
	}
	assert_int_equal(c.buffer.first, large);
	memset(c.buffer.bytes + c.buf_alloc, 0, c.buf_alloc / 8);
	for (i = 1; i <= 100; i++) {
		conn_takes(&c, bytes, 1, true);
		assert_int_equal(c.buffer.len, large + (uint32_t)i);
		assert_int_equal(c.buffer.first, large);
	}
	free(c.buffer.bytes);
	free(bytes);
	close(fds[0]);
	close(fds[1]);
	close_device();
}

static void test_small_messages_behind_a_large_one_come_through(void **state)
{
	const uint32_t large = 120u * 1024, small = 7u * 1024;
	uint8_t *bytes = calloc(1, large);
	struct heard h;
	uint32_t i;
	int peer;

	cfg.buffer = VHX_VSOCK_MESSAGE_MAX;
	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(SEQPACKET);
	post(8, RX_LEN);
	peer = guest_connects();
	/* The third one is more than the socket takes. */
	for (i = 0; i < 3; i++) {
		says(OP(RW), 0, bytes, large / 2);
		says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, bytes + large / 2, large / 2);
		if (i < 2)
			hears(OP(CREDIT_UPDATE), &h);
	}
	assert_int_equal(h.fwd_cnt, 2 * large);
	for (i = 0; i < small; i++)
		says(OP(RW), VIRTIO_VSOCK_SEQ_EOM, bytes, 1);
	for (i = 0; i < 3; i++) {
		assert_int_equal(read(peer, bytes, large), large);
		settle();
	}
	for (i = 0; i < small; i++) {
		if (i % 50 == 0)
			settle();
		assert_int_equal(read(peer, bytes, large), 1);
	}
	free(bytes);
	close(peer);
	close_device();
}

static void test_message_that_never_fits_ends_the_connection(void **state)
{
	uint8_t bytes[200] = { 0 };
	struct heard h;
	int peer;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	guest_buf_alloc = 199;
	open_device(SEQPACKET);
	post(8, RX_LEN);
	peer = guest_connects();
	assert_int_equal(write(peer, bytes, 200), 200);
	hears(OP(RST), &h);
	close(peer);
	close_device();
}

static void test_host_connects_for_messages(void **state)
{
	uint32_t port;
	int fd;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(SEQPACKET);
	post(8, RX_LEN);
	fd = host_connects(".seq", SOCK_SEQPACKET, &port);
	says_on(GUEST_PORT, port, OP(RESPONSE), 0, NULL, 0);
	assert_true(read(fd, text, sizeof(text)) > 0);
	says_on(GUEST_PORT, port, OP(RW), VIRTIO_VSOCK_SEQ_EOM, "m", 1);
	assert_int_equal(read(fd, text, sizeof(text)), 1);
	close(fd);
	close_device();
}

static void test_messages_that_were_not_negotiated(void **state)
{
	struct heard h;

	guest_type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	open_device(0);
	post(8, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	hears(OP(RST), &h);
	close_device();
}

/* The rest of a message that is read in part is lost: so there must be none. */
static void test_greeting_is_a_message_of_its_own(void **state)
{
	int fd;

	open_device(SEQPACKET);
	post(8, RX_LEN);
	fd = host_socket(".seq", SOCK_SEQPACKET);
	assert_int_equal(write(fd, "CONNECT 7000\nlost", 17), 17);
	hears_nothing();
	assert_true(read(fd, text, sizeof(text)) <= 0 && errno != EAGAIN);
	close(fd);
	close_device();
}

/* 5.10.6: a guest hears of no type that it did not agree to. */
static void test_host_connects_for_messages_that_were_not_negotiated(void **state)
{
	int fd;

	open_device(0);
	post(8, RX_LEN);
	fd = host_socket(".seq", SOCK_SEQPACKET);
	assert_int_equal(write(fd, "CONNECT 7000\n", 13), 13);
	hears_nothing();
	assert_true(host_at_end(fd));
	close(fd);
	close_device();
}

/* What cannot be watched would never be heard of again. */
static void test_socket_that_cannot_be_watched_is_nobody(void **state)
{
	struct vhx_vsock_ask ask;
	struct heard h;

	open_device(0);
	post(8, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	asked_for(&ask);
	unwatched = true;
	close(answers(&ask, 0));
	unwatched = false;
	hears(OP(RST), &h);
	close(guest_connects());
	close_device();
}

/* What does not belong */

static void test_packets_of_no_connection_get_an_rst(void **state)
{
	static const uint16_t ops[] = { OP(INVALID),
					OP(RESPONSE),
					OP(SHUTDOWN),
					OP(RW),
					OP(CREDIT_UPDATE),
					OP(CREDIT_REQUEST),
					8,
					0xffff };
	struct heard h;
	size_t i;

	open_device(0);
	post(16, RX_LEN);
	for (i = 0; i < VHX_ARRAY_SIZE(ops); i++) {
		says(ops[i], BOTH, NULL, 0);
		hears(OP(RST), &h);
		assert_int_equal(h.guest_port, GUEST_PORT);
		assert_int_equal(h.host_port, HOST_PORT);
	}
	says(OP(RST), 0, NULL, 0);
	hears_nothing();
	guest_type = 3;
	says(OP(REQUEST), 0, NULL, 0);
	hears(OP(RST), &h);
	guest_type = VIRTIO_VSOCK_TYPE_STREAM;
	guest_dst = 77;
	says(OP(REQUEST), 0, NULL, 0);
	hears(OP(RST), &h);
	guest_dst = VIRTIO_VSOCK_CID_HOST;
	guest_src = CID + 1;
	says(OP(REQUEST), 0, NULL, 0);
	hears_nothing();
	close_device();
}

static void test_operations_out_of_place_end_the_connection(void **state)
{
	static const uint16_t ops[] = { OP(INVALID),  OP(REQUEST), OP(RESPONSE),
					OP(SHUTDOWN), 8,	   0xffff };
	struct vhx_vsock_ask ask;
	struct heard h;
	size_t i;
	int peer;

	open_device(0);
	for (i = 0; i < VHX_ARRAY_SIZE(ops); i++) {
		post(2, RX_LEN);
		peer = guest_connects();
		says(ops[i], 0, NULL, 0);
		hears(OP(RST), &h);
		assert_true(host_at_end(peer));
		close(peer);
	}
	/* Before there is an answer. */
	post(1, RX_LEN);
	says(OP(REQUEST), 0, NULL, 0);
	asked_for(&ask);
	says(OP(RW), 0, "early", 5);
	hears(OP(RST), &h);
	close_device();
}

static void test_lengths_that_lie(void **state)
{
	struct virtio_vsock_hdr hdr;
	struct fake_request *r;
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	hdr = head(OP(RW), 0, 6);
	r = packet_raw(&hdr, "hello", 5);
	assert_true(r->completed);
	fake_request_free(r);
	hears(OP(RST), &h);
	close(peer);
	/* Less than a head is nothing at all; more bytes than it counts are not looked at. */
	r = fake_request_new(dev, &queues[TX], &hdr, HDR - 1, 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	hears_nothing();
	peer = guest_connects();
	hdr = head(OP(RW), 0, 2);
	r = packet_raw(&hdr, "hello", 5);
	fake_request_free(r);
	assert_int_equal(read(peer, text, sizeof(text)), 2);
	close(peer);
	close_device();
}

static void test_packet_above_the_limit(void **state)
{
	struct heard h;
	uint8_t *bytes;
	uint32_t len;

	cfg.buffer = VHX_VSOCK_BUFFER_MAX;
	open_device(0);
	len = dev->max_out - HDR + 1;
	bytes = calloc(1, len);
	post(8, RX_LEN);
	says(OP(RW), 0, bytes, len);
	hears(OP(RST), &h);
	free(bytes);
	close_device();
}

static void test_receive_buffers_without_room(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(1, 0);
	post(1, RX_LEN);
	post(1, 0);
	post(4, RX_LEN);
	says(OP(RW), 0, NULL, 0);
	settle();
	assert_int_equal(posted[0]->used_len, 0);
	fake_request_free(posted[seen_cnt++]);
	hears(OP(RST), &h);
	says(OP(RW), 0, NULL, 0);
	settle();
	assert_int_equal(posted[2]->used_len, 0);
	fake_request_free(posted[seen_cnt++]);
	hears(OP(RST), &h);
	peer = guest_connects();
	close(peer);
	close_device();
}

/* The additional resources end, the queue waits, and goes on: no packet is lost. */
static void test_flood_of_strays_is_bounded(void **state)
{
	struct virtio_vsock_hdr hdr;
	struct fake_request *r[100];
	unsigned int i, done = 0;
	struct heard h;

	open_device(0);
	for (i = 0; i < 100; i++) {
		hdr = head(OP(RW), 0, 0);
		hdr.src_port = vhx_le32_of(i);
		r[i] = packet_raw(&hdr, NULL, 0);
		done += r[i]->completed;
	}
	assert_int_equal(done, 64);
	post(100, RX_LEN);
	for (i = 0; i < 100; i++) {
		hears(OP(RST), &h);
		assert_int_equal(h.guest_port, i);
		assert_true(r[i]->completed);
		fake_request_free(r[i]);
	}
	close_device();
}

/* Room in messages */

static void test_no_room_in_the_message(void **state)
{
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	peer = guest_connects();
	fake.later = 2;
	assert_int_equal(write(peer, "hello", 5), 5);
	hears_nothing();
	fake_room(dev, &queues[RX]);
	hears_nothing();
	fake_room(dev, &queues[RX]);
	hears(OP(RW), &h);
	assert_int_equal(h.len, 5);
	close(peer);
	close_device();
}

/* Lives */

static struct fake_request *post_event(void)
{
	struct fake_request *r = fake_request_new(dev, &queues[EVENT], "", 0,
						  sizeof(struct virtio_vsock_event));

	fake_submit(r);
	return r;
}

static void test_first_event_of_a_life_is_a_transport_reset(void **state)
{
	struct fake_request *r[3];
	struct heard h;
	int peer;

	open_device(0);
	post(8, RX_LEN);
	r[0] = post_event();
	r[1] = post_event();
	assert_true(r[0]->completed);
	assert_int_equal(r[0]->used_len, 4);
	assert_memory_equal(r[0]->answer, "\0\0\0\0", 4);
	assert_false(r[1]->completed);
	peer = guest_connects();
	queues_reset();
	dev->ops->restarted(dev);
	assert_true(host_at_end(peer));
	close(peer);
	assert_true(r[1]->dropped);
	assert_int_equal(dev->ops->set_features(dev, 0), 0);
	post(8, RX_LEN);
	r[2] = post_event();
	assert_true(r[2]->completed);
	/* What the predecessor's guest had is not known here. */
	says(OP(RW), 0, "old", 3);
	hears(OP(RST), &h);
	close(guest_connects());
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	fake_request_free(r[2]);
	close_device();
}

static void test_config_and_features(void **state)
{
	const uint8_t zero[8] = { 0 };

	open_device(0);
	assert_int_equal(dev->config_len, 8);
	assert_memory_equal(dev->config, "\x2a\0\0\0\0\0\0\0", 8);
	assert_int_equal(dev->num_queues, 3);
	assert_true(dev->features == 3);
	assert_int_equal(dev->ops->set_features(dev, 4), -EINVAL);
	assert_int_equal(dev->ops->set_config(dev, 0, zero, 8), -EINVAL);
	close_device();
}

static void test_without_messages(void **state)
{
	cfg.seqpacket = false;
	open_device(0);
	assert_true(dev->features == 1);
	snprintf(text, sizeof(text), "%s.seq", path);
	assert_int_equal(access(text, F_OK), -1);
	close_device();
}

static void test_path_in_use_is_one_line(void **state)
{
	struct vhx_vsock_config second;
	struct vhx_device *other;
	struct vhx_error err = { "" };

	open_device(0);
	second = cfg;
	second.id = "v1";
	second.connector = -1;
	assert_int_equal(vhx_vsock_new(loop, &second, NULL, &other, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "v1: "));
	assert_non_null(strstr(err.text, "in use"));
	close_device();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_guest_connects_and_bytes_go_both_ways),
		TEST(test_nobody_listens_at_the_port),
		TEST(test_connector_that_ended_refuses_all),
		TEST(test_second_descriptor_of_an_answer_is_closed),
		TEST(test_guest_gives_up_before_the_answer),
		TEST(test_host_connects),
		TEST(test_host_does_not_wait_for_ok),
		TEST(test_greetings_that_are_none),
		TEST(test_silent_client_and_silent_guest_lose_their_places),
		TEST(test_connections_are_bounded),
		TEST(test_asking_is_bounded),
		TEST(test_guest_is_told_of_credit_before_it_runs_out),
		TEST(test_all_of_the_credit_and_not_a_byte_more),
		TEST(test_a_byte_beyond_the_credit_ends_the_connection),
		TEST(test_host_sends_only_what_the_guest_has_room_for),
		TEST(test_slow_reader_stops_nobody_else),
		TEST(test_host_shuts_its_sending_half),
		TEST(test_guest_shuts_its_halves),
		TEST(test_bytes_after_the_end_of_them_do_not_belong),
		TEST(test_closed_guest_still_owes_the_reader_its_bytes),
		TEST(test_guest_that_leaves_by_itself_still_owes_the_reader_its_bytes),
		TEST(test_late_reader_of_a_guest_that_left_gets_its_bytes),
		TEST(test_reader_that_never_comes_loses_its_bytes),
		TEST(test_guest_that_does_not_confirm_gets_an_rst),
		TEST(test_both_sides_close_at_once),
		TEST(test_host_without_memory_for_a_moment_loses_nothing),
		TEST(test_host_without_memory_for_long_reads_no_more),
		TEST(test_host_that_reads_no_more),
		TEST(test_messages_keep_their_bounds),
		TEST(test_messages_that_are_kept),
		TEST(test_large_message_behind_a_small_one_is_not_stuck),
		TEST(test_last_message_of_a_host_that_left_bytes_unread),
		TEST(test_message_that_waits_is_looked_at_once),
		TEST(test_small_messages_behind_a_large_one_come_through),
		TEST(test_message_that_never_fits_ends_the_connection),
		TEST(test_host_connects_for_messages),
		TEST(test_messages_that_were_not_negotiated),
		TEST(test_greeting_is_a_message_of_its_own),
		TEST(test_host_connects_for_messages_that_were_not_negotiated),
		TEST(test_socket_that_cannot_be_watched_is_nobody),
		TEST(test_packets_of_no_connection_get_an_rst),
		TEST(test_operations_out_of_place_end_the_connection),
		TEST(test_lengths_that_lie),
		TEST(test_packet_above_the_limit),
		TEST(test_receive_buffers_without_room),
		TEST(test_flood_of_strays_is_bounded),
		TEST(test_no_room_in_the_message),
		TEST(test_first_event_of_a_life_is_a_transport_reset),
		TEST(test_config_and_features),
		TEST(test_without_messages),
		TEST(test_path_in_use_is_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
