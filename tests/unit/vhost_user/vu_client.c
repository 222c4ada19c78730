// SPDX-License-Identifier: BSD-3-Clause
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "../fds.h"
#include "util/unix_fds.h"
#include "vu_client.h"

/* The owner */

static int own_get_features(void *ctx, uint64_t *features)
{
	struct owner *o = ctx;

	*features = F_DEVICE | 1ull << 33; /* the second is not a device's to offer */
	return o->features_ret;
}

static int own_set_features(void *ctx, uint64_t features)
{
	struct owner *o = ctx;

	o->features = features;
	return 0;
}

static int own_get_queue_num(void *ctx, uint16_t *num)
{
	struct owner *o = ctx;

	*num = o->queue_num;
	return 0;
}

static int own_get_config(void *ctx, uint32_t off, void *buf, uint32_t len)
{
	struct owner *o = ctx;

	memcpy(buf, o->config + off, len);
	return o->config_ret;
}

static int own_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	struct owner *o = ctx;

	if (!o->config_ret)
		memcpy(o->config + off, buf, len);
	return o->config_ret;
}

static int own_queue_start(void *ctx, struct vhx_vu_queue *q)
{
	struct owner *o = ctx;

	assert_true(q->started);
	if (o->start_ret)
		return o->start_ret;
	o->starts++;
	o->running[q->index] = q;
	if (o->drop_in_start)
		vhx_vu_server_drop(o->server);
	return 0;
}

static int own_queue_stop(void *ctx, struct vhx_vu_queue *q)
{
	struct owner *o = ctx;

	assert_ptr_equal(o->running[q->index], q);
	if (!o->stop_ret || o->stop_ret == -EINPROGRESS) {
		o->stops++;
		o->running[q->index] = NULL;
	}
	return o->stop_ret;
}

static void own_queue_fds(void *ctx, struct vhx_vu_queue *q)
{
	struct owner *o = ctx;

	o->fd_changes++;
}

static int own_set_status(void *ctx, uint8_t status)
{
	struct owner *o = ctx;

	o->status = status;
	return o->status_ret;
}

static uint8_t own_get_status(void *ctx)
{
	struct owner *o = ctx;

	return o->status;
}

static int own_reset(void *ctx)
{
	struct owner *o = ctx;

	for (unsigned int i = 0; i < VHX_VU_QUEUES_MAX; i++)
		assert_null(o->running[i]);
	o->resets++;
	return o->reset_ret;
}

static void own_mem_changed(void *ctx)
{
	struct owner *o = ctx;
	const struct vhx_ring_mem *mem = vhx_vu_server_mem(o->server);
	struct iovec iov;

	o->mem_changes++;
	o->moved_found = mem->map(mem->ctx, o->moved_probe, 1, &iov, 1);
}

static void own_connected(void *ctx)
{
	struct owner *o = ctx;

	o->connected++;
}

static void own_gone(void *ctx)
{
	struct owner *o = ctx;

	o->gone++;
	memset(o->running, 0, sizeof(o->running));
}

static void own_watch(void *ctx, int listen_fd, int conn_fd, bool stalled)
{
	struct owner *o = ctx;

	o->listen_fd = listen_fd;
	o->conn_fd = conn_fd;
	o->stalled = stalled;
}

static const struct vhx_vu_ops own_ops = {
	.get_features = own_get_features,
	.set_features = own_set_features,
	.get_queue_num = own_get_queue_num,
	.get_config = own_get_config,
	.set_config = own_set_config,
	.queue_start = own_queue_start,
	.queue_stop = own_queue_stop,
	.queue_fds = own_queue_fds,
	.set_status = own_set_status,
	.get_status = own_get_status,
	.reset = own_reset,
	.mem_changed = own_mem_changed,
	.connected = own_connected,
	.gone = own_gone,
	.watch = own_watch,
};

/* The environment */

int memfd_of(uint64_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

int client_connect(struct env *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", e->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fd >= 0 && poll(&p, 1, 0) == 1;
}

void server_run(struct env *e)
{
	struct owner *o = &e->owner;

	for (;;) {
		if (readable(o->listen_fd))
			vhx_vu_server_accept(o->server);
		else if (!o->stalled && readable(o->conn_fd))
			vhx_vu_server_event(o->server);
		else
			return;
	}
}

void env_reconnect(struct env *e)
{
	if (e->sock >= 0)
		close(e->sock);
	server_run(e);
	e->sock = client_connect(e);
	server_run(e);
}

int env_setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	struct vhx_vu_config cfg = {
		.ops = &own_ops,
		.ctx = &e->owner,
		.name = "test",
		.ring_features = VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX | VHX_RING_F_PACKED |
				 VHX_RING_F_IN_ORDER,
	};

	signal(SIGPIPE, SIG_IGN);
	alarm(120); /* a hang guard, nothing more */
	e->fds_before = fds_open();
	strcpy(e->dir, "/tmp/vhx-vu-XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	snprintf(e->path, sizeof(e->path), "%s/vu", e->dir);
	e->owner.queue_num = QUEUES;
	e->owner.conn_fd = -1;
	assert_int_equal(vhx_vu_server_new(&cfg, listen_at(e->path), &e->owner.server), 0);
	assert_true(e->owner.listen_fd >= 0);
	e->mem_fd = memfd_of(GUEST_SIZE);
	e->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, e->mem_fd, 0);
	assert_ptr_not_equal(e->mem, MAP_FAILED);
	for (int i = 0; i < QUEUES; i++) {
		e->kick[i] = eventfd(0, EFD_CLOEXEC);
		e->call[i] = eventfd(0, EFD_CLOEXEC);
	}
	e->sock = client_connect(e);
	server_run(e);
	assert_int_equal(e->owner.connected, 1);
	*state = e;
	return 0;
}

int env_teardown(void **state)
{
	struct env *e = *state;
	int before = e->fds_before, after;

	vhx_vu_server_free(e->owner.server);
	if (e->sock >= 0)
		close(e->sock);
	for (int i = 0; i < QUEUES; i++) {
		close(e->kick[i]);
		close(e->call[i]);
	}
	munmap(e->mem, GUEST_SIZE);
	close(e->mem_fd);
	unlink(e->path);
	rmdir(e->dir);
	free(e);
	after = fds_open();
	alarm(0);
	if (before != after)
		print_error("descriptors: %d before, %d after\n", before, after);
	return before == after ? 0 : -1;
}

/* The front-end */

void client_put(int sock, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
		const int *fds, unsigned int fd_cnt)
{
	struct vhx_vu_header hdr = { request, VHX_VU_VERSION | flags, len };
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { (void *)payload, len } };

	assert_int_equal(fds_send(sock, iov, 2, fds, fd_cnt), sizeof(hdr) + len);
}

void client_send(struct env *e, uint32_t request, const void *payload, uint32_t len, const int *fds,
		 unsigned int fd_cnt)
{
	client_put(e->sock, request, 0, payload, len, fds, fd_cnt);
	server_run(e);
}

bool client_answer(struct env *e, struct answer *a)
{
	struct vhx_unix_fds fds = { .fds = &a->fd, .max = 1 };

	memset(a, 0, sizeof(*a));
	a->fd = -1;
	if (vhx_unix_recv_fds(e->sock, &a->hdr, sizeof(a->hdr), MSG_DONTWAIT, &fds) !=
	    sizeof(a->hdr))
		return false;
	assert_int_equal(a->hdr.flags, VHX_VU_VERSION | VHX_VU_FLAG_REPLY);
	assert_true(a->hdr.size <= sizeof(a->payload));
	if (a->hdr.size)
		assert_int_equal(recv(e->sock, &a->payload, a->hdr.size, MSG_DONTWAIT),
				 a->hdr.size);
	return true;
}

bool client_closed(struct env *e)
{
	ssize_t n;
	char byte;

	server_run(e);
	n = recv(e->sock, &byte, 1, MSG_DONTWAIT);
	/* A reset says that our last bytes were not read; it is an end as well. */
	return e->owner.conn_fd < 0 && (!n || (n < 0 && errno != EAGAIN));
}

uint64_t client_ack(struct env *e, uint32_t request, const void *payload, uint32_t len,
		    const int *fds, unsigned int fd_cnt)
{
	struct answer a;

	client_put(e->sock, request, VHX_VU_FLAG_NEED_REPLY, payload, len, fds, fd_cnt);
	server_run(e);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.request, request);
	assert_int_equal(a.hdr.size, 8);
	return a.payload.u64;
}

uint64_t client_ack_u64(struct env *e, uint32_t request, uint64_t value, int fd)
{
	return client_ack(e, request, &value, sizeof(value), &fd, fd >= 0);
}

uint64_t client_ack_state(struct env *e, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhx_vu_vring_state state = { index, num };

	return client_ack(e, request, &state, sizeof(state), NULL, 0);
}

uint64_t client_get(struct env *e, uint32_t request)
{
	struct answer a;

	client_send(e, request, NULL, 0, NULL, 0);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.request, request);
	assert_int_equal(a.hdr.size, 8);
	return a.payload.u64;
}

void client_negotiate_protocol(struct env *e)
{
	uint64_t protocol = client_get(e, VHX_VU_GET_PROTOCOL_FEATURES);

	client_send(e, VHX_VU_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), NULL, 0);
}

void client_negotiate(struct env *e, uint64_t features)
{
	client_negotiate_protocol(e);
	assert_int_equal(client_ack(e, VHX_VU_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_FEATURES, features, -1), 0);
}

uint64_t client_mem_table(struct env *e)
{
	struct vhx_vu_mem_table t = {
		.cnt = 1,
		.regions = { { .gpa = 0, .size = GUEST_SIZE, .uva = GUEST_UVA } },
	};

	return client_ack(e, VHX_VU_SET_MEM_TABLE, &t, 8 + 32, &e->mem_fd, 1);
}

struct vhx_vu_vring_addr client_ring_addr(uint16_t index)
{
	uint64_t at = GUEST_UVA + index * RING_STEP;

	return (struct vhx_vu_vring_addr){
		.index = index,
		.desc = at + DESC_AT,
		.avail = at + AVAIL_AT,
		.used = at + USED_AT,
	};
}

void client_queue_setup(struct env *e, uint16_t index)
{
	struct vhx_vu_vring_addr addr = client_ring_addr(index);

	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_NUM, index, QUEUE_SIZE), 0);
	assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_BASE, index, 0), 0);
	assert_int_equal(client_ack(e, VHX_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_KICK, index, e->kick[index]), 0);
	assert_int_equal(client_ack_u64(e, VHX_VU_SET_VRING_CALL, index, e->call[index]), 0);
}

void client_start(struct env *e)
{
	client_negotiate(e, F_VERSION_1 | F_PROTOCOL | F_DEVICE);
	assert_int_equal(client_mem_table(e), 0);
	for (uint16_t i = 0; i < QUEUES; i++) {
		client_queue_setup(e, i);
		assert_false(vhx_vu_server_queue(e->owner.server, i)->started);
		assert_int_equal(client_ack_state(e, VHX_VU_SET_VRING_ENABLE, i, 1), 0);
		assert_true(vhx_vu_server_queue(e->owner.server, i)->started);
	}
}

uint32_t client_base(struct env *e, uint16_t index)
{
	struct vhx_vu_vring_state state = { index, 0 };
	struct answer a;

	client_send(e, VHX_VU_GET_VRING_BASE, &state, sizeof(state), NULL, 0);
	assert_true(client_answer(e, &a));
	assert_int_equal(a.hdr.request, VHX_VU_GET_VRING_BASE);
	assert_int_equal(a.payload.state.index, index);
	return a.payload.state.num;
}
