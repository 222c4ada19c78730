// SPDX-License-Identifier: BSD-3-Clause
/*
 * A vhost-user server under a hostile VMM, through a real socket. The input is a program: messages
 * with headers and payloads of any kind (sensible values more often than not), descriptors of
 * several kinds, and what the owner does meanwhile (finish, drop, pop). Checked: the server never
 * blocks or crashes, no descriptor is left over, and the next VMM is served.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vhost_user/message.h"
#include "vhost_user/server.h"

#define GUEST_LEN 0x10000u
#define QUEUES 3u
#define STEPS_MAX 64

struct world {
	struct fuzz_input in;
	struct vhx_vu_server *s;
	int listen_fd, conn_fd, peer;
	bool stalled;
	struct vhx_vu_queue *running[VHX_VU_QUEUES_MAX];
	uint8_t script; /* what ops return */
};

static int mem_fd, event_fd;

static int op_result(struct world *w)
{
	static const int results[] = { 0, 0, 0, 0, 0, -EINPROGRESS, -EINPROGRESS, -EIO };

	return results[w->script++ % 8];
}

static int no_wait(int ret)
{
	return ret == -EINPROGRESS ? 0 : ret;
}

static int get_features(void *ctx, uint64_t *features)
{
	*features = 1 << 9;
	return 0;
}

static int set_features(void *ctx, uint64_t features)
{
	return no_wait(op_result(ctx));
}

static int get_queue_num(void *ctx, uint16_t *num)
{
	*num = QUEUES;
	return 0;
}

static int get_config(void *ctx, uint32_t off, void *buf, uint32_t len)
{
	FUZZ_CHECK(off + len <= VHX_VU_CONFIG_MAX);
	memset(buf, 1, len);
	return no_wait(op_result(ctx));
}

static int set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	FUZZ_CHECK(off + len <= VHX_VU_CONFIG_MAX);
	return no_wait(op_result(ctx));
}

static int queue_start(void *ctx, struct vhx_vu_queue *q)
{
	struct world *w = ctx;

	FUZZ_CHECK(q->index < QUEUES && !w->running[q->index]);
	w->running[q->index] = q;
	return 0;
}

static int queue_stop(void *ctx, struct vhx_vu_queue *q)
{
	struct world *w = ctx;
	int ret = op_result(w);

	FUZZ_CHECK(w->running[q->index] == q && q->started);
	if (!ret || ret == -EINPROGRESS)
		w->running[q->index] = NULL;
	return ret;
}

static void queue_fds(void *ctx, struct vhx_vu_queue *q)
{
	FUZZ_CHECK(q->started);
}

static int set_status(void *ctx, uint8_t status)
{
	return status ? 0 : op_result(ctx);
}

static uint8_t get_status(void *ctx)
{
	return 1;
}

static int reset(void *ctx)
{
	return op_result(ctx);
}

static void mem_changed(void *ctx)
{
}

static void connected(void *ctx)
{
}

static void gone(void *ctx)
{
	struct world *w = ctx;

	memset(w->running, 0, sizeof(w->running));
}

static void watch(void *ctx, int listen_fd, int conn_fd, bool stalled)
{
	struct world *w = ctx;

	w->listen_fd = listen_fd;
	w->conn_fd = conn_fd;
	w->stalled = stalled;
}

static const struct vhx_vu_ops ops = {
	get_features, set_features, get_queue_num, get_config, set_config,
	queue_start,  queue_stop,   queue_fds,	   set_status, get_status,
	reset,	      mem_changed,  connected,	   gone,       watch,
};

static void connect_peer(struct world *w)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);

	FUZZ_CHECK(w->listen_fd >= 0);
	FUZZ_CHECK(!getsockname(w->listen_fd, (struct sockaddr *)&addr, &len));
	w->peer = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(!connect(w->peer, (struct sockaddr *)&addr, len));
	vhx_vu_server_accept(w->s);
	FUZZ_CHECK(w->conn_fd >= 0);
}

/* An abstract name that the kernel picks. */
static int listen_somewhere(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	FUZZ_CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&addr, sizeof(addr.sun_family)));
	FUZZ_CHECK(!listen(fd, 4));
	return fd;
}

/* A word that means something more often than not. */
static uint64_t word(struct fuzz_input *in)
{
	uint8_t kind = fuzz_u8(in);

	switch (kind % 6) {
	case 0:
		return fuzz_u8(in) & 3;
	case 1:
		return 0x1000ull * (fuzz_u8(in) & 15);
	case 2:
		return 1ull << (kind % 64);
	case 3:
		return UINT64_MAX - fuzz_u8(in);
	case 4:
		return 1ull << 30 | 1ull << 32 | (uint64_t)(kind & 1) << 34;
	default:
		return fuzz_u64(in);
	}
}

static uint32_t payload_fill(struct fuzz_input *in, union vhx_vu_payload *p)
{
	static const uint8_t lens[] = { 0, 8, 8, 8, 16, 20, 24, 40, 40, 72, 13 };
	uint32_t len = lens[fuzz_u8(in) % sizeof(lens)];

	for (uint32_t i = 0; i < 10; i++) {
		uint64_t v = word(in);

		memcpy(p->bytes + i * 8, &v, sizeof(v));
	}
	return len;
}

static void message_put(struct world *w)
{
	struct vhx_vu_header h = { fuzz_u8(&w->in) % 43, VHX_VU_VERSION, 0 };
	union vhx_vu_payload p = { 0 };
	char space[CMSG_SPACE(3 * sizeof(int))] = { 0 };
	uint8_t shape = fuzz_u8(&w->in);
	struct iovec iov[2] = { { &h, sizeof(h) }, { &p, 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	unsigned int fds = shape & 3;

	h.size = payload_fill(&w->in, &p);
	iov[1].iov_len = h.size;
	if (shape & 4)
		h.flags |= VHX_VU_FLAG_NEED_REPLY;
	if (shape == 0xff)
		h.flags = fuzz_u32(&w->in);
	if (shape == 0xfe)
		h.size = fuzz_u32(&w->in);
	if (fds) {
		struct cmsghdr *c;

		msg.msg_control = space;
		msg.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds * sizeof(int));
		for (unsigned int i = 0; i < fds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), shape & 8 ? &mem_fd : &event_fd,
			       sizeof(int));
	}
	if (sendmsg(w->peer, &msg, MSG_NOSIGNAL) < 0)
		return;
}

static void queues_work(struct world *w)
{
	struct iovec segs[16];

	for (unsigned int i = 0; i < QUEUES; i++) {
		struct vhx_chain c = { .out = segs, .in = segs + 8, .out_max = 8, .in_max = 8 };

		if (!w->running[i])
			continue;
		vhx_vu_queue_kicked(w->running[i]);
		if (vhx_vu_queue_pop(w->running[i], &c) != 1)
			continue;
		for (unsigned int k = 0; k < c.in_cnt; k++)
			vhx_vu_server_dirty(w->s, c.in[k].iov_base, c.in[k].iov_len);
		vhx_vu_queue_push(w->running[i], c.id, 1);
		vhx_vu_queue_flush(w->running[i]);
	}
}

static void step(struct world *w)
{
	char sink[4096];

	switch (fuzz_u8(&w->in) % 16) {
	case 0:
		vhx_vu_server_finish(w->s, 0);
		break;
	case 1:
		vhx_vu_server_finish(w->s, -EIO);
		break;
	case 2:
		queues_work(w);
		break;
	case 3:
		vhx_vu_server_config_changed(w->s);
		break;
	default:
		message_put(w);
	}
	if (w->conn_fd >= 0 && !w->stalled)
		vhx_vu_server_event(w->s);
	if (recv(w->peer, sink, sizeof(sink), MSG_DONTWAIT) < 0 && w->conn_fd < 0) {
		close(w->peer);
		connect_peer(w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world w = { .in = { data, len }, .conn_fd = -1 };
	struct vhx_vu_config cfg = { .ops = &ops, .ctx = &w, .name = "fuzz", .ring_features = 15 };
	int probe, after;

	if (!mem_fd) {
		signal(SIGPIPE, SIG_IGN);
		mem_fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		event_fd = eventfd(0, EFD_CLOEXEC);
		FUZZ_CHECK(!ftruncate(mem_fd, GUEST_LEN));
		fcntl(mem_fd, F_ADD_SEALS, F_SEAL_SHRINK);
	}
	/* The lowest free number is the same before and after, or something was left open. */
	probe = dup(mem_fd);
	close(probe);
	FUZZ_CHECK(!vhx_vu_server_new(&cfg, listen_somewhere(), &w.s));
	connect_peer(&w);
	for (int i = 0; i < STEPS_MAX && w.in.len; i++)
		step(&w);
	vhx_vu_server_drop(w.s);
	close(w.peer);
	connect_peer(&w);
	vhx_vu_server_free(w.s);
	close(w.peer);
	after = dup(mem_fd);
	close(after);
	FUZZ_CHECK(probe == after);
	return 0;
}

/* One message: step, request, shape, which length, ten words. */
#define W(v)                                                                                     \
	5, (uint8_t)((v) >> 0), (uint8_t)((v) >> 8), (uint8_t)((v) >> 16), (uint8_t)((v) >> 24), \
		(uint8_t)((v) >> 32), (uint8_t)((v) >> 40), (uint8_t)((v) >> 48),                \
		(uint8_t)((v) >> 56)
#define Z 0, 0
#define MESSAGE(id, shape, len, a, b, c, d, e) 4, (id), (shape), (len), a, b, c, d, e, Z, Z, Z, Z, Z
#define NO_FD 4 /* need_reply */
#define EVENT_FD (4 | 1)
#define MEM_FD (4 | 8 | 1)
#define AREA(off) W(0x100000ull + (off))

/* A queue that runs, stops and runs again. */
static const uint8_t session[] = {
	MESSAGE(VHX_VU_SET_PROTOCOL_FEATURES, NO_FD, 1, W(0x1b22bull & ~0x2ull), Z, Z, Z, Z),
	MESSAGE(VHX_VU_SET_FEATURES, NO_FD, 1, W(0x140000000ull), Z, Z, Z, Z),
	MESSAGE(VHX_VU_SET_MEM_TABLE, MEM_FD, 7, W(1ull), Z, W(0x10000ull), W(0x100000ull), Z),
	MESSAGE(VHX_VU_GET_INFLIGHT_FD, NO_FD, 6, Z, Z, W(0x00080003ull), Z, Z),
	MESSAGE(VHX_VU_SET_VRING_NUM, NO_FD, 1, W(8ull << 32), Z, Z, Z, Z),
	MESSAGE(VHX_VU_SET_VRING_BASE, NO_FD, 1, Z, Z, Z, Z, Z),
	MESSAGE(VHX_VU_SET_VRING_ADDR, NO_FD, 7, Z, AREA(0), AREA(0x2000), AREA(0x1000), Z),
	MESSAGE(VHX_VU_SET_VRING_CALL, EVENT_FD, 1, Z, Z, Z, Z, Z),
	MESSAGE(VHX_VU_SET_VRING_KICK, EVENT_FD, 1, Z, Z, Z, Z, Z),
	MESSAGE(VHX_VU_SET_VRING_ENABLE, NO_FD, 1, W(1ull << 32), Z, Z, Z, Z),
	2,
	MESSAGE(VHX_VU_SET_MEM_TABLE, MEM_FD, 7, W(1ull), Z, W(0x10000ull), W(0x100000ull), Z),
	MESSAGE(VHX_VU_GET_VRING_BASE, NO_FD, 1, Z, Z, Z, Z, Z),
	0,
	MESSAGE(VHX_VU_SET_VRING_KICK, EVENT_FD, 1, Z, Z, Z, Z, Z),
	MESSAGE(VHX_VU_RESET_DEVICE, NO_FD, 0, Z, Z, Z, Z, Z),
	0,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ session, sizeof(session) },
	{ NULL, 0 },
};
