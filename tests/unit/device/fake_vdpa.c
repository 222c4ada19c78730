// SPDX-License-Identifier: BSD-3-Clause
#include "fake_vdpa.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <vhx/endian.h>

#include "util/checked.h"

#define DEVICES_MAX 2u
#define S_DRIVER_OK 4u
/* A hang ends by itself, so that a test which waits for it fails and does not hang as well. */
#define HANG_S 5

/* Of a worker's thread too, where cmocka's asserts cannot be. */
#define must(cond)                                                                 \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                   \
		}                                                                  \
	} while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct fake_vdpa *devices[DEVICES_MAX], *next;
static pthread_t loop_thread;
static unsigned int skipped_s; /* by the clock of that thread */
static struct timespec held_at; /* and no further; tv_sec 0: on and on */

void fake_vdpa_lock(void)
{
	pthread_mutex_lock(&lock);
}

void fake_vdpa_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void fake_vdpa_changed(void)
{
	pthread_cond_broadcast(&changed);
}

void fake_vdpa_skip(unsigned int s)
{
	skipped_s += s;
}

void fake_vdpa_hold(unsigned int ms)
{
	held_at.tv_sec = 0;
	if (!ms)
		return;
	clock_gettime(CLOCK_MONOTONIC, &held_at);
	held_at.tv_nsec += ms * 1000000l;
	held_at.tv_sec += held_at.tv_nsec / 1000000000l;
	held_at.tv_nsec %= 1000000000l;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	int ret = __real_clock_gettime(id, t);

	if (id != CLOCK_MONOTONIC || !pthread_equal(loop_thread, pthread_self()))
		return ret;
	t->tv_sec += skipped_s;
	if (held_at.tv_sec && is_later(t, &held_at))
		*t = held_at;
	return ret;
}

void fake_vdpa_next(struct fake_vdpa *p)
{
	fake_vdpa_lock();
	next = p;
	loop_thread = pthread_self();
	fake_vdpa_unlock();
}

void fake_vdpa_init(struct fake_vdpa *p)
{
	vhx_le64 capacity = vhx_le64_of(131072);

	*p = (struct fake_vdpa){
		.device_id = 2,
		.features = ~0ull,
		.queues = 1,
		.ring_size_max = FAKE_VDPA_RING_MAX,
		.iova_last = UINT64_MAX,
		.config_len = FAKE_VDPA_CONFIG,
		.fd = -1,
		.config_fd = -1,
	};
	memcpy(p->config, &capacity, sizeof(capacity));
	skipped_s = 0;
	fake_vdpa_next(p);
}

static struct fake_vdpa *device_of(int fd)
{
	unsigned int i;

	for (i = 0; i < DEVICES_MAX; i++) {
		if (devices[i] && devices[i]->fd == fd)
			return devices[i];
	}
	return NULL;
}

static void device_opened(struct fake_vdpa *p, int fd)
{
	unsigned int i = 0;

	must(p && p->fd < 0);
	while (devices[i] && devices[i] != p)
		must(++i < DEVICES_MAX);
	devices[i] = p;
	p->fd = fd;
}

/* With the lock held. */
static void hang(struct fake_vdpa *p, bool *while_set)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += HANG_S;
	p->hanging++;
	while (*while_set)
		*while_set = !pthread_cond_timedwait(&changed, &lock, &end) && *while_set;
	p->hanging--;
}

/* Its rings */

static void *bytes_of(struct fake_vdpa *p, uint64_t addr, uint64_t len)
{
	must(addr >= p->iova && vhx_range_within(addr - p->iova, len, p->len));
	return (uint8_t *)(uintptr_t)p->uaddr + (addr - p->iova);
}

static int map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	iov[0] = (struct iovec){ bytes_of(ctx, addr, len), len };
	return 1;
}

static uint32_t ring_features(const struct fake_vdpa *p)
{
	return (p->driver_features >> 28 & 1 ? VHX_RING_F_INDIRECT : 0) |
	       (p->driver_features >> 29 & 1 ? VHX_RING_F_EVENT_IDX : 0) |
	       (p->driver_features >> 34 & 1 ? VHX_RING_F_PACKED : 0);
}

static struct vhx_ring_mem mems[DEVICES_MAX];

static void ring_run(struct fake_vdpa *p, struct fake_vdpa_ring *r)
{
	uint32_t f = ring_features(p);
	bool packed = f & VHX_RING_F_PACKED;
	uint16_t base = (uint16_t)r->base;
	struct vhx_ring_mem *mem = &mems[p == devices[1]];
	struct vhx_vring_config cfg = {
		.size = r->size, .features = f, .mem = mem, .slots = r->slots
	};

	*mem = (struct vhx_ring_mem){ .map = map, .ctx = p };
	cfg.desc = bytes_of(p, r->addr.desc_user_addr, vhx_ring_desc_len(r->size, f));
	cfg.driver = bytes_of(p, r->addr.avail_user_addr, vhx_ring_driver_len(r->size, f));
	cfg.device = bytes_of(p, r->addr.used_user_addr, vhx_ring_device_len(r->size, f));
	must(!vhx_vring_init(&r->ring, &cfg, base, packed ? r->base >> 16 : base));
	vhx_vring_enable_kick(&r->ring);
}

static void raise_event(int fd)
{
	const uint64_t one = 1;

	must(write(fd, &one, sizeof(one)) == sizeof(one));
}

static bool running(const struct fake_vdpa *p, uint16_t index)
{
	return p->status & S_DRIVER_OK && p->rings[index].enabled;
}

bool fake_vdpa_pop(struct fake_vdpa *p, uint16_t index, struct vhx_chain *chain)
{
	struct fake_vdpa_ring *r = &p->rings[index];
	int ret = 0;

	fake_vdpa_lock();
	if (running(p, index)) {
		ret = vhx_vring_pop(&r->ring, chain);
		must(ret >= 0);
		if (!ret)
			vhx_vring_enable_kick(&r->ring);
	}
	fake_vdpa_unlock();
	return ret > 0;
}

void fake_vdpa_push(struct fake_vdpa *p, uint16_t index, uint16_t id, uint32_t used_len)
{
	struct fake_vdpa_ring *r = &p->rings[index];

	fake_vdpa_lock();
	must(running(p, index));
	vhx_vring_push(&r->ring, id, used_len);
	vhx_vring_flush(&r->ring);
	raise_event(r->call);
	fake_vdpa_unlock();
}

void fake_vdpa_forge(struct fake_vdpa *p, uint16_t index, uint32_t id, uint32_t len, uint16_t cnt)
{
	struct fake_vdpa_ring *r = &p->rings[index];
	vhx_le16 idx = vhx_le16_of(r->ring.used_idx + cnt);
	vhx_le32 entry[2] = { vhx_le32_of(id), vhx_le32_of(len) };
	uint8_t *used;

	fake_vdpa_lock();
	must(running(p, index) && !(ring_features(p) & VHX_RING_F_PACKED));
	used = bytes_of(p, r->addr.used_user_addr, 4);
	memcpy(used + 4 + r->ring.used_idx % r->size * sizeof(entry), entry, sizeof(entry));
	memcpy(used + 2, &idx, sizeof(idx));
	raise_event(r->call);
	fake_vdpa_unlock();
}

void fake_vdpa_config_call(struct fake_vdpa *p)
{
	fake_vdpa_lock();
	must(p->config_fd >= 0);
	raise_event(p->config_fd);
	fake_vdpa_unlock();
}

/* Its calls */

static void device_reset(struct fake_vdpa *p)
{
	unsigned int i;

	p->resets++;
	for (i = 0; i < FAKE_VDPA_RINGS; i++)
		p->rings[i].enabled = false;
}

static void device_start(struct fake_vdpa *p)
{
	unsigned int i;

	p->starts++;
	for (i = 0; i < FAKE_VDPA_RINGS; i++) {
		if (p->rings[i].enabled)
			ring_run(p, &p->rings[i]);
	}
}

static void status_set(struct fake_vdpa *p, uint8_t status)
{
	hang(p, &p->hangs);
	status &= (uint8_t)~p->status_never;
	if (!status)
		device_reset(p);
	else if (status & ~p->status & S_DRIVER_OK)
		device_start(p);
	p->status = status;
}

static struct fake_vdpa_ring *ring_of(struct fake_vdpa *p, uint32_t index)
{
	must(index < p->queues && index < FAKE_VDPA_RINGS);
	return &p->rings[index];
}

static int config_call(struct fake_vdpa *p, struct vhost_vdpa_config *c, bool set)
{
	if (!c->len || !vhx_range_within(c->off, c->len, p->config_len))
		return EINVAL;
	if (!set)
		memcpy(c->buf, p->config + c->off, c->len);
	else if (!p->write_ignored)
		memcpy(p->config + c->off, c->buf, c->len);
	return 0;
}

static int answer_of_device(struct fake_vdpa *p, unsigned long request, void *arg)
{
	switch (request) {
	case VHOST_SET_OWNER:
	case VHOST_SET_BACKEND_FEATURES:
		return 0;
	case VHOST_GET_BACKEND_FEATURES:
		*(uint64_t *)arg = 1ull << VHOST_BACKEND_F_IOTLB_MSG_V2;
		return 0;
	case VHOST_VDPA_GET_DEVICE_ID:
		*(uint32_t *)arg = p->device_id;
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = p->features;
		return 0;
	case VHOST_SET_FEATURES:
		p->driver_features = *(uint64_t *)arg;
		return p->driver_features & ~p->features ? EINVAL : 0;
	case VHOST_VDPA_GET_VRING_NUM:
		*(uint16_t *)arg = p->ring_size_max;
		return 0;
	case VHOST_VDPA_GET_CONFIG_SIZE:
		*(uint32_t *)arg = p->config_len;
		return 0;
	case VHOST_VDPA_GET_IOVA_RANGE:
		*(struct vhost_vdpa_iova_range *)arg = (struct vhost_vdpa_iova_range){
			.first = p->iova_first, .last = p->iova_last
		};
		return 0;
	case VHOST_VDPA_GET_VQS_COUNT:
		*(uint32_t *)arg = p->queues;
		return 0;
	case VHOST_VDPA_SET_STATUS:
		status_set(p, *(uint8_t *)arg);
		return 0;
	case VHOST_VDPA_GET_STATUS:
		*(uint8_t *)arg = p->status;
		return 0;
	case VHOST_VDPA_GET_CONFIG:
		return config_call(p, arg, false);
	case VHOST_VDPA_SET_CONFIG:
		return config_call(p, arg, true);
	case VHOST_VDPA_SET_CONFIG_CALL:
		p->config_fd = *(int *)arg;
		return 0;
	default:
		return ENOTTY;
	}
}

static int answer_of_ring(struct fake_vdpa *p, unsigned long request, void *arg)
{
	const struct vhost_vring_state *state = arg;
	const struct vhost_vring_file *file = arg;
	struct fake_vdpa_ring *r;

	switch (request) {
	case VHOST_SET_VRING_NUM:
		must(state->num <= p->ring_size_max);
		ring_of(p, state->index)->size = (uint16_t)state->num;
		return 0;
	case VHOST_SET_VRING_BASE:
		ring_of(p, state->index)->base = state->num;
		return 0;
	case VHOST_SET_VRING_ADDR:
		r = ring_of(p, ((struct vhost_vring_addr *)arg)->index);
		r->addr = *(struct vhost_vring_addr *)arg;
		return 0;
	case VHOST_SET_VRING_KICK:
		ring_of(p, file->index)->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		ring_of(p, file->index)->call = file->fd;
		return 0;
	case VHOST_VDPA_SET_VRING_ENABLE:
		ring_of(p, state->index)->enabled = state->num;
		return 0;
	default:
		return answer_of_device(p, request, arg);
	}
}

static void call_count(struct fake_vdpa *p)
{
	p->calls++;
	p->calls_by_loop += pthread_equal(loop_thread, pthread_self()) != 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct fake_vdpa *p;
	va_list args;
	void *arg;
	int err;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	fake_vdpa_lock();
	if (request == VHOST_SET_OWNER)
		device_opened(next, fd);
	p = device_of(fd);
	must(p);
	call_count(p);
	err = p->fails_errno && p->fails == request ? p->fails_errno
						    : answer_of_ring(p, request, arg);
	fake_vdpa_unlock();
	errno = err;
	return err ? -1 : 0;
}

static void iotlb(struct fake_vdpa *p, const struct vhost_msg_v2 *msg)
{
	must(msg->type == VHOST_IOTLB_MSG_V2);
	p->iova = msg->iotlb.iova;
	p->uaddr = msg->iotlb.uaddr;
	p->len = msg->iotlb.type == VHOST_IOTLB_UPDATE ? msg->iotlb.size : 0;
	if (!p->len)
		return;
	/* A kernel takes hold of its pages: so they are there. */
	p->maps++;
	must(*(volatile uint8_t *)(uintptr_t)p->uaddr <= UINT8_MAX);
	must(*(volatile uint8_t *)(uintptr_t)(p->uaddr + p->len - 1) <= UINT8_MAX);
}

ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	struct fake_vdpa *p;

	/* Events are written with the lock held. */
	if (len != sizeof(struct vhost_msg_v2))
		return __real_write(fd, buf, len);
	fake_vdpa_lock();
	p = device_of(fd);
	must(p);
	call_count(p);
	iotlb(p, buf);
	fake_vdpa_unlock();
	return (ssize_t)len;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	struct fake_vdpa *p;

	fake_vdpa_lock();
	p = device_of(fd);
	if (p) {
		hang(p, &p->hangs_on_close);
		p->fd = -1;
		p->len = 0;
		p->status = 0;
	}
	fake_vdpa_unlock();
	return __real_close(fd);
}
