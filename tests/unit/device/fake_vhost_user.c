// SPDX-License-Identifier: BSD-3-Clause
#include "fake_vhost_user.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vhx/endian.h>

#include "vhost_user/notifier.h"

static int map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	return vhx_vu_memory_map(ctx, addr, len, iov, max);
}

static struct vhx_ring_mem mem_of[1];

void fake_peer_init(struct fake_peer *p)
{
	vhx_le64 capacity = vhx_le64_of((64u << 20) / 512);
	unsigned int i;

	memset(p, 0, sizeof(*p));
	p->features = 1ull << 9 | 1ull << 11 | VHX_VU_F_VERSION_1 | VHX_VU_F_INDIRECT_DESC |
		      VHX_VU_F_EVENT_IDX | VHX_VU_F_RING_PACKED | VHX_VU_F_PROTOCOL_FEATURES;
	p->protocol = VHX_VU_P_MQ | VHX_VU_P_REPLY_ACK | VHX_VU_P_BACKEND_REQ | VHX_VU_P_CONFIG;
	p->queue_num = 1;
	p->config_len = 60;
	memcpy(p->config, &capacity, sizeof(capacity));
	p->sock = p->mem_fd = p->backend_fd = p->inflight_fd = -1;
	for (i = 0; i < FAKE_RINGS; i++)
		p->rings[i].kick = p->rings[i].call = -1;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void fake_peer_leave(struct fake_peer *p)
{
	unsigned int i;

	fd_close(&p->sock);
	fd_close(&p->mem_fd);
	fd_close(&p->backend_fd);
	vhx_vu_memory_clear(&p->memory);
	vhx_vu_message_reset(&p->in);
	for (i = 0; i < FAKE_RINGS; i++) {
		fd_close(&p->rings[i].kick);
		fd_close(&p->rings[i].call);
		p->rings[i].placed = p->rings[i].enabled = p->rings[i].running = false;
	}
}

/* Answers */

static void fds_send(struct fake_peer *p, const struct vhx_vu_header *h, const void *payload)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	vhx_vu_message_send(p->sock, h, payload, fds[0]);
	close(fds[0]);
	close(fds[1]);
}

static void lie_send(struct fake_peer *p, struct vhx_vu_header *h, const void *payload)
{
	static const uint8_t zeroes[64];
	enum fake_lie lie = p->lie;

	p->lie = FAKE_HONEST;
	switch (lie) {
	case FAKE_REQUEST:
		h->request ^= 1;
		break;
	case FAKE_SIZE:
		h->size = h->size + 4 <= sizeof(zeroes) ? h->size + 4 : 4;
		payload = zeroes;
		break;
	case FAKE_NO_REPLY_FLAG:
		h->flags &= ~VHX_VU_FLAG_REPLY;
		break;
	case FAKE_VERSION:
		h->flags ^= 3;
		break;
	case FAKE_TWICE:
		vhx_vu_message_send(p->sock, h, payload, -1);
		break;
	case FAKE_DESCRIPTORS:
		fds_send(p, h, payload);
		return;
	case FAKE_LEAVES:
		fake_peer_leave(p);
		return;
	default:
		break;
	}
	vhx_vu_message_send(p->sock, h, payload, -1);
}

static void answer(struct fake_peer *p, uint32_t request, const void *payload, uint32_t len, int fd)
{
	struct vhx_vu_header h = { request, VHX_VU_VERSION | VHX_VU_FLAG_REPLY, len };

	if (p->lie && request == p->lie_about)
		lie_send(p, &h, payload);
	else
		vhx_vu_message_send(p->sock, &h, payload, fd);
}

static void answer_u64(struct fake_peer *p, uint32_t request, uint64_t value)
{
	answer(p, request, &value, sizeof(value), -1);
}

/* What it can answer before it is asked; it will be in this order. */
static void identify(struct fake_peer *p, uint32_t config_len)
{
	struct vhx_vu_config_space space = { .size = config_len };

	answer_u64(p, VHX_VU_GET_FEATURES, p->features);
	if (!(p->features & VHX_VU_F_PROTOCOL_FEATURES))
		return;
	answer_u64(p, VHX_VU_GET_PROTOCOL_FEATURES, p->protocol);
	if (p->protocol & VHX_VU_P_MQ)
		answer_u64(p, VHX_VU_GET_QUEUE_NUM, p->queue_num);
	if (p->protocol & VHX_VU_P_BACKEND_REQ && p->protocol & VHX_VU_P_REPLY_ACK && config_len)
		answer_u64(p, VHX_VU_SET_BACKEND_REQ_FD, 0);
	if (p->protocol & VHX_VU_P_REPLY_ACK)
		answer_u64(p, VHX_VU_SET_OWNER, 0);
	memcpy(space.data, p->config, config_len);
	if (p->protocol & VHX_VU_P_CONFIG && config_len)
		answer(p, VHX_VU_GET_CONFIG, &space, VHX_VU_CONFIG_HDR + config_len, -1);
}

int fake_peer_connect(void *ctx, struct vhx_error *err)
{
	struct fake_peer *p = ctx;
	int ends[2];

	if (p->absent) {
		vhx_error_set(err, "nobody is there");
		return -ECONNREFUSED;
	}
	fake_peer_leave(p);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
			 0);
	p->sock = ends[0];
	p->connections++;
	p->config_told = false;
	identify(p, p->protocol & VHX_VU_P_CONFIG ? p->config_len : 0);
	return ends[1];
}

/* Rings */

static void *area(struct fake_peer *p, uint64_t uva, uint64_t len)
{
	uint64_t gpa;
	void *at = vhx_vu_memory_user(&p->memory, uva, len, &gpa);

	assert_non_null(at);
	return at;
}

static void ring_run(struct fake_peer *p, struct fake_ring *r)
{
	uint32_t f = vhx_ring_features(p->driver_features);
	bool packed = f & VHX_RING_F_PACKED;
	uint16_t base = (uint16_t)r->base;
	struct vhx_vring_config cfg = {
		.size = r->size,
		.features = f,
		.mem = mem_of,
		.slots = r->slots,
	};

	mem_of[0] = (struct vhx_ring_mem){ .map = map, .ctx = &p->memory };
	cfg.desc = area(p, r->addr.desc, vhx_ring_desc_len(r->size, f));
	cfg.driver = area(p, r->addr.avail, vhx_ring_driver_len(r->size, f));
	cfg.device = area(p, r->addr.used, vhx_ring_device_len(r->size, f));
	assert_int_equal(vhx_vring_init(&r->ring, &cfg, base, packed ? r->base >> 16 : base), 0);
	r->running = true;
	vhx_vring_enable_kick(&r->ring);
}

bool fake_peer_pop(struct fake_peer *p, uint16_t index, struct vhx_chain *chain)
{
	struct fake_ring *r = &p->rings[index];
	int ret;

	if (!r->running)
		return false;
	vhx_vu_notifier_clear(r->kick);
	ret = vhx_vring_pop(&r->ring, chain);
	assert_true(ret >= 0);
	if (!ret)
		vhx_vring_enable_kick(&r->ring);
	return ret > 0;
}

void fake_peer_call(struct fake_peer *p, uint16_t index)
{
	vhx_vu_notifier_raise(p->rings[index].call);
}

void fake_peer_push(struct fake_peer *p, uint16_t index, uint16_t id, uint32_t used_len)
{
	struct fake_ring *r = &p->rings[index];

	vhx_vring_push(&r->ring, id, used_len);
	if (vhx_vring_flush(&r->ring))
		fake_peer_call(p, index);
}

/* Requests */

static struct fake_ring *ring_of(struct fake_peer *p, uint64_t index)
{
	assert_true(index < FAKE_RINGS);
	return &p->rings[index];
}

static void fd_take(struct fake_peer *p, int *fd)
{
	fd_close(fd);
	assert_int_equal(p->in.fd_cnt, 1);
	*fd = vhx_vu_message_take_fd(&p->in, 0);
}

static void memory_take(struct fake_peer *p)
{
	const struct vhx_vu_mem_region *r = &p->in.payload.table.regions[0];

	assert_int_equal(p->in.payload.table.cnt, 1);
	vhx_vu_memory_clear(&p->memory);
	fd_take(p, &p->mem_fd);
	assert_int_equal(vhx_vu_memory_add(&p->memory, r->gpa, r->uva, r->size, r->off, p->mem_fd),
			 0);
}

static void base_answer(struct fake_peer *p)
{
	struct vhx_vu_vring_state state = p->in.payload.state;
	struct fake_ring *r = ring_of(p, state.index);

	r->running = r->placed = r->enabled = false;
	state.num = r->ring.avail_idx;
	if (p->lie == FAKE_INDEX && p->lie_about == VHX_VU_GET_VRING_BASE) {
		p->lie = FAKE_HONEST;
		state.index++;
	}
	answer(p, VHX_VU_GET_VRING_BASE, &state, sizeof(state), -1);
}

static void config_answer(struct fake_peer *p)
{
	struct vhx_vu_config_space space = p->in.payload.config;

	memcpy(space.data, p->config + space.off, space.size);
	answer(p, VHX_VU_GET_CONFIG, &space, VHX_VU_CONFIG_HDR + space.size, -1);
}

static void inflight_answer(struct fake_peer *p)
{
	struct vhx_vu_inflight_desc d = p->in.payload.inflight;
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	d.mmap_size = 4096;
	answer(p, VHX_VU_GET_INFLIGHT_FD, &d, sizeof(d), fd);
	close(fd);
}

/* True: it has an answer of its own. */
static bool request_do(struct fake_peer *p)
{
	const union vhx_vu_payload *m = &p->in.payload;

	switch (p->in.hdr.request) {
	case VHX_VU_GET_FEATURES:
	case VHX_VU_GET_PROTOCOL_FEATURES:
	case VHX_VU_GET_QUEUE_NUM:
		return true; /* answered already */
	case VHX_VU_GET_CONFIG:
		if (p->config_told)
			config_answer(p);
		p->config_told = true;
		return true;
	case VHX_VU_SET_PROTOCOL_FEATURES:
		p->driver_protocol = m->u64;
		break;
	case VHX_VU_SET_FEATURES:
		p->driver_features = m->u64;
		break;
	case VHX_VU_SET_BACKEND_REQ_FD:
		fd_take(p, &p->backend_fd);
		return true;
	case VHX_VU_SET_OWNER:
		return true;
	case VHX_VU_SET_MEM_TABLE:
		memory_take(p);
		break;
	case VHX_VU_SET_VRING_NUM:
		ring_of(p, m->state.index)->size = (uint16_t)m->state.num;
		break;
	case VHX_VU_SET_VRING_BASE:
		ring_of(p, m->state.index)->base = m->state.num;
		break;
	case VHX_VU_SET_VRING_ADDR:
		ring_of(p, m->addr.index)->addr = m->addr;
		break;
	case VHX_VU_SET_VRING_CALL:
		fd_take(p, &ring_of(p, m->u64)->call);
		break;
	case VHX_VU_SET_VRING_KICK:
		fd_take(p, &ring_of(p, m->u64)->kick);
		ring_run(p, ring_of(p, m->u64));
		break;
	case VHX_VU_SET_VRING_ENABLE:
		ring_of(p, m->state.index)->enabled = m->state.num;
		break;
	case VHX_VU_GET_VRING_BASE:
		base_answer(p);
		return true;
	case VHX_VU_SET_CONFIG:
		p->written = m->config;
		memcpy(p->config + m->config.off, m->config.data, m->config.size);
		break;
	case VHX_VU_GET_INFLIGHT_FD:
		inflight_answer(p);
		return true;
	case VHX_VU_SET_INFLIGHT_FD:
		fd_take(p, &p->inflight_fd);
		break;
	default:
		fail_msg("request %u", p->in.hdr.request);
	}
	return false;
}

void fake_peer_serve(struct fake_peer *p)
{
	while (p->sock >= 0 && !p->silent && vhx_vu_message_recv(&p->in, p->sock) == 1) {
		uint32_t request = p->in.hdr.request;

		p->asked[request]++;
		if (!request_do(p) && p->in.hdr.flags & VHX_VU_FLAG_NEED_REPLY)
			answer_u64(p, request, p->lie == FAKE_REFUSES && p->lie_about == request);
		vhx_vu_message_reset(&p->in);
	}
}

bool fake_peer_ask(struct fake_peer *p, uint32_t request, bool reply)
{
	struct vhx_vu_header h = { request, VHX_VU_VERSION, 0 };

	if (p->backend_fd < 0)
		return false;
	if (reply)
		h.flags |= VHX_VU_FLAG_NEED_REPLY;
	return !vhx_vu_message_send(p->backend_fd, &h, &h, -1);
}
