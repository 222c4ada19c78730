// SPDX-License-Identifier: BSD-3-Clause
/*
 * A socket device between a guest and programs of the host that all do anything: packets of any head and length,
 * buffers of any room, clients that say anything, connections that are refused, read, written, shut and closed at any
 * time, and resets.
 */
#include "fuzz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"
#include "device/vsock.h"
#include "device/vsock_connect.h"
#include "device/vsock_layout.h"

#define QUEUES 3u
#define PEERS_MAX 8u
#define BUFFER_MAX 2048u
#define STEPS_MAX 200u
#define CID 3u

static struct fuzz_device d;
static int connector, peers[PEERS_MAX];
static char dir[64], path[80];

static void folder_remove(void)
{
	rmdir(dir);
}

static void device_make(struct fuzz_input *in)
{
	struct vhx_vsock_config cfg = { .id = "v0",
					.path = path,
					.seqpacket = true,
					.connections = 4,
					.buffer = VHX_VSOCK_BUFFER_MIN };
	struct vhx_error err;
	unsigned int i;
	int fds[2];

	if (!dir[0]) {
		strcpy(dir, "/tmp/vhx-fuzz.XXXXXX");
		if (!mkdtemp(dir) || atexit(folder_remove))
			abort();
		snprintf(path, sizeof(path), "%s/v", dir);
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds))
		abort();
	connector = fds[1];
	cfg.connector = fds[0];
	fuzz_device_begin(&d);
	for (i = 0; i < PEERS_MAX; i++)
		peers[i] = -1;
	if (vhx_vsock_new(d.loop, &cfg, NULL, &d.dev, &err))
		abort();
	d.dev->ops->set_features(d.dev, fuzz_u8(in) & d.dev->features);
}

/* Mostly such as a guest would send, on few ports, so that they meet. */
static void do_packet(struct fuzz_input *in)
{
	uint8_t bytes[sizeof(struct virtio_vsock_hdr) + BUFFER_MAX] = { 0 };
	uint32_t len = fuzz_u8(in) < 0xc0 ? fuzz_u8(in) : fuzz_u16(in) % BUFFER_MAX;
	uint8_t odd = fuzz_u8(in);
	/* A host port that was given out, or one that the guest chose. */
	uint32_t port = fuzz_u8(in) & 1 ? (1u << 30) + fuzz_u8(in) % 4 : fuzz_u8(in) % 3;
	struct virtio_vsock_hdr hdr = {
		.src_cid = vhx_le64_of(odd == 1 ? fuzz_u8(in) : CID),
		.dst_cid = vhx_le64_of(odd == 2 ? fuzz_u8(in) : VIRTIO_VSOCK_CID_HOST),
		.src_port = vhx_le32_of(fuzz_u8(in) % 3),
		.dst_port = vhx_le32_of(port),
		.len = vhx_le32_of(odd == 3 ? fuzz_u32(in) : len),
		.type = vhx_le16_of(odd == 4 ? fuzz_u16(in) : (uint16_t)(1 + (fuzz_u8(in) & 1))),
		.op = vhx_le16_of(odd == 5 ? fuzz_u16(in) : fuzz_u8(in) % 8),
		.flags = vhx_le32_of(fuzz_u8(in) % 4),
		.buf_alloc = vhx_le32_of(fuzz_u16(in)),
		.fwd_cnt = vhx_le32_of(fuzz_u8(in)),
	};

	memcpy(bytes, &hdr, sizeof(hdr));
	len += (uint32_t)sizeof(hdr);
	if (odd == 6)
		len = fuzz_u8(in) % len;
	fuzz_device_give(&d, 1, bytes, len, 0);
}

static void do_post(struct fuzz_input *in)
{
	fuzz_device_give(&d, 0, (const uint8_t *)"", 0, fuzz_u16(in) % BUFFER_MAX);
}

static void do_event(struct fuzz_input *in)
{
	fuzz_device_give(&d, 2, (const uint8_t *)"", 0, fuzz_u8(in) % 8);
}

static unsigned int peer_place(void)
{
	unsigned int i;

	for (i = 0; i < PEERS_MAX && peers[i] >= 0; i++)
		;
	return i;
}

union fd_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void fd_attach(struct msghdr *msg, union fd_control *control, int fd)
{
	msg->msg_control = control;
	msg->msg_controllen = sizeof(*control);
	control->header.cmsg_level = SOL_SOCKET;
	control->header.cmsg_type = SCM_RIGHTS;
	control->header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control->header), &fd, sizeof(int));
}

/* What the connector was asked is answered with a socket, with an error, or for another tag. */
static void do_answer(struct fuzz_input *in)
{
	static const int least = 1;
	unsigned int place = peer_place();
	union fd_control control = { .bytes = { 0 } };
	struct vhx_vsock_answer answer = { 0 };
	struct iovec iov = { &answer, sizeof(answer) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct vhx_vsock_ask ask;
	int fds[2] = { -1, -1 };
	uint8_t how = fuzz_u8(in);

	if (recv(connector, &ask, sizeof(ask), 0) != sizeof(ask))
		return;
	answer.tag = how == 1 ? fuzz_u32(in) : ask.tag;
	answer.result = how < 0xc0 ? 0 : -2;
	if (!answer.result && place < PEERS_MAX &&
	    !socketpair(AF_UNIX, SOCK_NONBLOCK | (ask.seqpacket ? SOCK_SEQPACKET : SOCK_STREAM), 0,
			fds)) {
		/* So that a peer which does not read is felt soon. */
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
		fd_attach(&msg, &control, fds[0]);
		peers[place] = fds[1];
	}
	(void)!sendmsg(connector, &msg, MSG_NOSIGNAL);
	if (fds[0] >= 0)
		close(fds[0]);
}

static void do_client(struct fuzz_input *in)
{
	static const char line[] = "CONNECT 1\nmore";
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	unsigned int place = peer_place();
	bool seqpacket = fuzz_u8(in) & 1;

	if (place == PEERS_MAX)
		return;
	peers[place] = socket(AF_UNIX, SOCK_NONBLOCK | (seqpacket ? SOCK_SEQPACKET : SOCK_STREAM),
			      0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s%s", path, seqpacket ? ".seq" : "");
	if (connect(peers[place], (struct sockaddr *)&sun, sizeof(sun)))
		abort();
	(void)!send(peers[place], line, fuzz_u8(in) % sizeof(line), MSG_NOSIGNAL);
}

static int peer_choose(struct fuzz_input *in)
{
	return peers[fuzz_u8(in) % PEERS_MAX];
}

static void do_write(struct fuzz_input *in)
{
	static const uint8_t bytes[2 * BUFFER_MAX];
	int fd = peer_choose(in);

	if (fd >= 0)
		(void)!send(fd, bytes, fuzz_u16(in) % sizeof(bytes), MSG_NOSIGNAL);
}

static void do_read(struct fuzz_input *in)
{
	uint8_t bytes[BUFFER_MAX];
	int fd = peer_choose(in);

	if (fd >= 0)
		(void)!recv(fd, bytes, 1 + fuzz_u16(in) % sizeof(bytes), 0);
}

static void do_shut(struct fuzz_input *in)
{
	int fd = peer_choose(in);

	if (fd >= 0)
		shutdown(fd, fuzz_u8(in) % 3);
}

static void do_leave(struct fuzz_input *in)
{
	unsigned int i = fuzz_u8(in) % PEERS_MAX;

	if (peers[i] >= 0)
		close(peers[i]);
	peers[i] = -1;
}

static void do_turn(struct fuzz_input *in)
{
	if (vhx_loop_once(d.loop, 0))
		abort();
}

static void queue_reset(struct vhx_queue *queue)
{
	queue->quiesced = 0;
	d.dev->ops->reset(d.dev, queue);
	FUZZ_CHECK(queue->quiesced == 1);
}

static void do_reset(struct fuzz_input *in)
{
	if (fuzz_u8(in) >= 0xc0)
		queue_reset(&d.queues[fuzz_u8(in) % QUEUES]);
}

static void do_restart(struct fuzz_input *in)
{
	unsigned int i;

	if (fuzz_u8(in) < 0xe0)
		return;
	for (i = 0; i < QUEUES; i++)
		queue_reset(&d.queues[i]);
	d.dev->ops->restarted(d.dev);
	d.dev->ops->set_features(d.dev, fuzz_u8(in) & d.dev->features);
}

static void do_room(struct fuzz_input *in)
{
	fake_room(d.dev, &d.queues[0]);
	fake.later = fuzz_u8(in) % 4;
	fake.reserve_max = fuzz_u16(in) | 1;
}

static void (*const steps[])(struct fuzz_input *in) = {
	do_packet, do_packet, do_packet, do_packet,  do_post, do_post, do_event,
	do_answer, do_answer, do_client, do_write,   do_read, do_shut, do_leave,
	do_turn,   do_turn,   do_reset,	 do_restart, do_room,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	unsigned int i;

	device_make(&in);
	for (i = 0; i < STEPS_MAX && in.len; i++)
		steps[fuzz_u8(&in) % VHX_ARRAY_SIZE(steps)](&in);
	for (i = 0; i < QUEUES; i++)
		queue_reset(&d.queues[i]);
	fuzz_device_check_idle(&d);
	d.dev->ops->close(d.dev);
	close(connector);
	for (i = 0; i < PEERS_MAX; i++) {
		if (peers[i] >= 0)
			close(peers[i]);
	}
	return 0;
}

/* A packet of @len bytes from the guest's port 1, to port 1, or to the first that was given out. */
#define PACKET(len, given, kind, op, flags) \
	0, 0, len, 7, given, given ? 0 : 1, 1, kind, op, flags, 0x7f, 0x7f, 0
#define BUFFERS 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4
#define TURN 14
#define CONNECTED(kind) PACKET(0, 0, kind, 1, 0), 7, 0, TURN
#define WRITE 10, 0, 2, 2

/* Bytes both ways, without room for a while, half-closed by either side. */
static const uint8_t streams[] = {
	3,
	BUFFERS,
	CONNECTED(0),
	PACKET(50, 0, 0, 5, 0),
	WRITE,
	TURN,
	18,
	2,
	0xff,
	0xff,
	WRITE,
	TURN,
	18,
	0,
	0xff,
	0xff,
	TURN,
	BUFFERS,
	12,
	0,
	1,
	TURN,
	PACKET(0, 0, 0, 4, 2),
	13,
	0,
	TURN,
};

/* A host that does not read, and a guest that closes meanwhile. */
static const uint8_t kept[] = {
	3,
	BUFFERS,
	CONNECTED(0),
	0,
	0xff,
	4,
	4,
	7,
	0,
	1,
	1,
	0,
	5,
	0,
	0x7f,
	0x7f,
	0,
	0,
	0xff,
	4,
	4,
	7,
	0,
	1,
	1,
	0,
	5,
	0,
	0x7f,
	0x7f,
	0,
	0,
	0xff,
	4,
	4,
	7,
	0,
	1,
	1,
	0,
	5,
	0,
	0x7f,
	0x7f,
	0,
	PACKET(0, 0, 0, 4, 3),
	TURN,
	11,
	0,
	4,
	4,
	TURN,
	11,
	0,
	4,
	4,
	TURN,
};

static const uint8_t messages[] = {
	3,
	BUFFERS,
	CONNECTED(1),
	PACKET(9, 0, 1, 5, 0),
	PACKET(9, 0, 1, 5, 1),
	WRITE,
	WRITE,
	TURN,
	TURN,
	PACKET(0, 0, 1, 7, 0),
	13,
	0,
	TURN,
};

static const uint8_t client[] = {
	3,
	BUFFERS,
	9,
	0,
	10,
	TURN,
	TURN,
	PACKET(0, 1, 0, 2, 0),
	TURN,
	PACKET(9, 1, 0, 5, 0),
	WRITE,
	TURN,
	PACKET(0, 1, 0, 3, 0),
	TURN,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = { { streams, sizeof(streams) },
						{ kept, sizeof(kept) },
						{ messages, sizeof(messages) },
						{ client, sizeof(client) },
						{ NULL, 0 } };
