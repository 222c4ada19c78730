// SPDX-License-Identifier: BSD-3-Clause
/*
 * Engine "vhost-user": the driver of a vhost-user-blk device, its "guest memory" a memfd of this process.
 * Split ring, INDIRECT and EVENT_IDX, eventfds: what a VMM's guest does, without the guest.
 *
 * The memfd: ring areas | indirect tables | heads and statuses | data. Guest address = offset in it.
 *
 * Some back-ends make the descriptors that they are passed non-blocking, for both sides: so poll first.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device/blk_layout.h"
#include "load.h"
#include "ring/driver.h"
#include "ring/layout.h"
#include "vhost_user/message.h"

#define RING_SIZE 256u
#define SEGS_MAX 3u /* head, data, status */
#define PAGE 4096u
#define UVA_BASE 0x100000000ull
#define ANSWER_SECONDS 20

#define F_INDIRECT (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_PROTOCOL (1ull << 30)
#define F_VERSION_1 (1ull << 32)
#define F_WANTED (F_INDIRECT | F_EVENT_IDX | F_PROTOCOL | F_VERSION_1 | 1ull << VIRTIO_BLK_F_FLUSH)

/* One per I/O, where the device can reach it. */
struct shared_io {
	struct virtio_blk_outhdr head;
	uint8_t status;
	uint8_t padding[15];
};

struct client {
	int sock, mem_fd, kick, call;
	uint8_t *mem;
	uint64_t mem_len, data_off;
	uint64_t desc_off, driver_off, device_off, indirect_off, shared_off;
	struct vhx_vdriver ring;
	struct vhx_vdriver_slot slots[RING_SIZE];
	struct load_io *by_id[RING_SIZE];
	struct load_counters counters;
};

/* The socket */

static int put(const struct client *c, uint32_t request, const void *payload, uint32_t len, int fd)
{
	struct vhx_vu_header hdr = { .request = request, .flags = VHX_VU_VERSION, .size = len };

	return vhx_vu_message_send(c->sock, &hdr, payload, fd);
}

static int answer(const struct client *c, uint32_t request, void *payload, uint32_t len)
{
	struct vhx_vu_header hdr;

	if (recv(c->sock, &hdr, sizeof(hdr), MSG_WAITALL) != sizeof(hdr) || hdr.size != len ||
	    hdr.request != request || recv(c->sock, payload, len, MSG_WAITALL) != (ssize_t)len)
		return -EPROTO;
	return 0;
}

static int put_u64(const struct client *c, uint32_t request, uint64_t value, int fd)
{
	return put(c, request, &value, sizeof(value), fd);
}

static int put_state(const struct client *c, uint32_t request, uint32_t num)
{
	struct vhx_vu_vring_state state = { .num = num };

	return put(c, request, &state, sizeof(state), -1);
}

static int get_u64(const struct client *c, uint32_t request, uint64_t *value)
{
	int ret = put(c, request, NULL, 0, -1);

	return ret ? ret : answer(c, request, value, sizeof(*value));
}

static int sock_connect(struct client *c, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval guard = { .tv_sec = ANSWER_SECONDS };

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	c->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->sock < 0 || connect(c->sock, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return setsockopt(c->sock, SOL_SOCKET, SO_RCVTIMEO, &guard, sizeof(guard)) ? -errno : 0;
}

static int features_settle(struct client *c)
{
	uint64_t features, protocol;
	int ret = put(c, VHX_VU_SET_OWNER, NULL, 0, -1);

	if (!ret)
		ret = get_u64(c, VHX_VU_GET_FEATURES, &features);
	if (!ret && (features & F_WANTED) != F_WANTED)
		ret = -EOPNOTSUPP;
	if (!ret)
		ret = get_u64(c, VHX_VU_GET_PROTOCOL_FEATURES, &protocol);
	if (!ret)
		ret = put_u64(c, VHX_VU_SET_PROTOCOL_FEATURES, protocol & VHX_VU_P_CONFIG, -1);
	return ret ? ret : put_u64(c, VHX_VU_SET_FEATURES, F_WANTED, -1);
}

static int capacity_get(struct load *l, struct client *c)
{
	struct vhx_vu_config_space config = { .size = sizeof(uint64_t) };
	uint32_t len = VHX_VU_CONFIG_HDR + config.size;
	vhx_le64 sectors;
	int ret = put(c, VHX_VU_GET_CONFIG, &config, len, -1);

	if (!ret)
		ret = answer(c, VHX_VU_GET_CONFIG, &config, len);
	if (ret)
		return ret;
	memcpy(&sectors, config.data, sizeof(sectors));
	l->capacity = vhx_le64_get(sectors) * VIRTIO_BLK_SECTOR;
	return 0;
}

/* Memory and ring */

static uint64_t area(uint64_t *at, uint64_t len)
{
	uint64_t off = *at;

	*at += (len + PAGE - 1) / PAGE * PAGE;
	return off;
}

static void layout(struct client *c, uint64_t data_len)
{
	uint64_t at = 0;

	c->desc_off = area(&at, vhx_ring_desc_len(RING_SIZE, 0));
	c->driver_off = area(&at, vhx_ring_driver_len(RING_SIZE, 0));
	c->device_off = area(&at, vhx_ring_device_len(RING_SIZE, 0));
	c->indirect_off = area(&at, (uint64_t)RING_SIZE * SEGS_MAX * sizeof(struct vhx_split_desc));
	c->shared_off = area(&at, LOAD_DEPTH_MAX * sizeof(struct shared_io));
	c->data_off = area(&at, data_len);
	c->mem_len = at;
}

static int memory_make(struct client *c)
{
	c->mem_fd = memfd_create("vhx-load", MFD_CLOEXEC);
	if (c->mem_fd < 0 || ftruncate(c->mem_fd, (off_t)c->mem_len))
		return -errno;
	c->mem = mmap(NULL, c->mem_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		      c->mem_fd, 0);
	if (c->mem == MAP_FAILED)
		return -errno;
	c->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return c->kick < 0 || c->call < 0 ? -errno : 0;
}

static int ring_make(struct client *c)
{
	struct vhx_vdriver_config cfg = {
		.size = RING_SIZE,
		.features = VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX,
		.desc = c->mem + c->desc_off,
		.driver = c->mem + c->driver_off,
		.device = c->mem + c->device_off,
		.indirect = c->mem + c->indirect_off,
		.indirect_addr = c->indirect_off,
		.indirect_max = SEGS_MAX,
		.slots = c->slots,
	};

	return vhx_vdriver_init(&c->ring, &cfg);
}

static int ring_announce(struct client *c)
{
	struct vhx_vu_mem_table table = {
		.cnt = 1,
		.regions = { { .gpa = 0, .size = c->mem_len, .uva = UVA_BASE } },
	};
	struct vhx_vu_vring_addr addr = {
		.desc = UVA_BASE + c->desc_off,
		.avail = UVA_BASE + c->driver_off,
		.used = UVA_BASE + c->device_off,
	};
	uint32_t table_len = offsetof(struct vhx_vu_mem_table, regions) + sizeof(table.regions[0]);
	int ret = put(c, VHX_VU_SET_MEM_TABLE, &table, table_len, c->mem_fd);

	if (!ret)
		ret = put_state(c, VHX_VU_SET_VRING_NUM, RING_SIZE);
	if (!ret)
		ret = put_state(c, VHX_VU_SET_VRING_BASE, 0);
	if (!ret)
		ret = put(c, VHX_VU_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	if (!ret)
		ret = put_u64(c, VHX_VU_SET_VRING_CALL, 0, c->call);
	if (!ret)
		ret = put_u64(c, VHX_VU_SET_VRING_KICK, 0, c->kick);
	return ret ? ret : put_state(c, VHX_VU_SET_VRING_ENABLE, 1);
}

static int engine_open(struct load *l)
{
	struct client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	l->client = c;
	c->sock = c->mem_fd = c->kick = c->call = -1;
	ret = sock_connect(c, l->settings->target);
	if (!ret)
		ret = features_settle(c);
	if (!ret)
		ret = capacity_get(l, c);
	if (ret)
		fprintf(stderr, "vhx-load: %s: %s\n", l->settings->target, strerror(-ret));
	return ret;
}

/* The ring is made here, because all memory has to be known when it is announced. */
static uint8_t *engine_memory(struct load *l, uint64_t len)
{
	struct client *c = l->client;
	int ret;

	layout(c, len);
	ret = memory_make(c);
	if (!ret)
		ret = ring_make(c);
	if (!ret)
		ret = ring_announce(c);
	return ret ? NULL : c->mem + c->data_off;
}

/* I/O */

static struct shared_io *shared_of(const struct client *c, const struct load_io *io)
{
	return (struct shared_io *)(void *)(c->mem + c->shared_off) + io->index;
}

static void submit(struct load *l, struct load_io *io)
{
	struct client *c = l->client;
	struct shared_io *s = shared_of(c, io);
	uint64_t addr = c->shared_off + io->index * sizeof(*s);
	struct vhx_vdriver_seg segs[SEGS_MAX] = {
		{ addr, sizeof(s->head) },
		{ (uint64_t)(io->data - c->mem), io->len },
		{ addr + offsetof(struct shared_io, status), 1 },
	};
	int id;

	s->head.type = vhx_le32_of(io->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
	s->head.sector = vhx_le64_of(io->off / VIRTIO_BLK_SECTOR);
	s->status = 0xff;
	id = vhx_vdriver_add(&c->ring, segs, io->write ? 2 : 1, io->write ? 1 : 2);
	if (id < 0)
		abort(); /* the ring is as long as the deepest job, and each I/O takes one entry */
	c->by_id[id] = io;
}

static void kick_if_wanted(struct client *c)
{
	const uint64_t one = 1;

	if (vhx_vdriver_publish(&c->ring) && write(c->kick, &one, sizeof(one)) == sizeof(one))
		c->counters.wakes++;
}

/* Takes what is used and submits what comes next. Their number. */
static int used_take(struct load *l, struct client *c)
{
	struct load_io *io;
	uint32_t used_len;
	uint16_t id;
	int cnt = 0, ret;

	while ((ret = vhx_vdriver_get_used(&c->ring, &id, &used_len)) > 0) {
		io = c->by_id[id];
		cnt++;
		if (load_done(l, io, shared_of(c, io)->status ? -EIO : 0))
			submit(l, io);
	}
	return ret < 0 ? ret : cnt;
}

static int call_wait(struct client *c)
{
	struct pollfd fds[2] = { { .fd = c->call, .events = POLLIN }, { .fd = c->sock } };
	uint64_t cnt;

	if (poll(fds, 2, -1) < 0 && errno != EINTR)
		return -errno;
	if (fds[1].revents)
		return -EPIPE;
	if (read(c->call, &cnt, sizeof(cnt)) == sizeof(cnt))
		c->counters.wakes++;
	return 0;
}

static int engine_run(struct load *l)
{
	struct client *c = l->client;
	int ret = 0;

	kick_if_wanted(c);
	while (load_busy(l) && ret >= 0) {
		vhx_vdriver_disable_call(&c->ring);
		ret = used_take(l, c);
		if (ret > 0)
			kick_if_wanted(c);
		if (ret == 0 && !vhx_vdriver_enable_call(&c->ring))
			ret = call_wait(c);
	}
	if (ret < 0)
		fprintf(stderr, "vhx-load: %s\n", strerror(-ret));
	return ret < 0 ? ret : 0;
}

static void engine_counters(struct load *l, struct load_counters *out)
{
	const struct client *c = l->client;

	*out = c->counters;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void engine_close(struct load *l)
{
	struct client *c = l->client;

	if (!c)
		return;
	fd_close(c->sock);
	fd_close(c->kick);
	fd_close(c->call);
	fd_close(c->mem_fd);
	if (c->mem && c->mem != MAP_FAILED)
		munmap(c->mem, c->mem_len);
	free(c);
}

const struct load_engine load_vhost_user = {
	.name = "vhost-user",
	.open = engine_open,
	.memory = engine_memory,
	.submit = submit,
	.run = engine_run,
	.counters = engine_counters,
	.close = engine_close,
};
