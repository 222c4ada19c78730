// SPDX-License-Identifier: BSD-3-Clause
/*
 * A VDUSE device against a kernel that is this test: its end of a socket pair is the device's file, and ioctl is
 * wrapped. Rings and buffers lie in memfds, as those of a user of vhost_vdpa do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/vduse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring/layout.h"
#include "vduse/device.h"
#include "vduse/memory.h"

#define QUEUES 2
#define SIZE 8u
#define PAGE 4096u
/* Where everything of a driver is, in a file of 4 pages. */
#define IOVA 0x10000ull
#define AREA_LEN (4 * PAGE)
#define DRIVER_OFF 1024u
#define DEVICE_OFF 2048u
#define DATA_OFF PAGE
#define REGIONS 4

#define F_VERSION_1 (1ull << 32)
#define F_PACKED (1ull << 34)
#define OFFERED (F_VERSION_1 | F_PACKED | 1)

#define S_ACKNOWLEDGE 1u
#define S_FEATURES_OK 8u
#define S_DRIVER_OK 4u

struct kernel_region {
	uint64_t start, last, offset;
	int fd;
	uint8_t perm;
};

static struct {
	int fd; /* of the device */
	uint64_t features;
	struct vduse_vq_info info[QUEUES];
	int kick[QUEUES];
	uint16_t max_size[QUEUES];
	unsigned int irqs[QUEUES], config_irqs, lookups;
	bool deaf; /* has not seen DRIVER_OK yet */
	uint8_t config[8];
	struct kernel_region regions[REGIONS];
} kernel;

struct owner {
	int sock; /* the kernel's end */
	struct vhx_vduse_device *dev;
	struct vhx_vduse_queue *started[QUEUES];
	unsigned int resets, mem_changes, lost;
	uint64_t features;
	int reset_result;
	const volatile uint8_t *old; /* has to be readable in mem_changed */
	uint8_t old_seen;
};

static int lookup(struct vduse_iotlb_entry *e)
{
	size_t i;

	kernel.lookups++;
	for (i = 0; i < REGIONS; i++) {
		const struct kernel_region *r = &kernel.regions[i];

		if (!r->perm || e->last < r->start || e->start > r->last)
			continue;
		e->start = r->start;
		e->last = r->last;
		e->offset = r->offset;
		e->perm = r->perm;
		return dup(r->fd);
	}
	errno = EINVAL;
	return -1;
}

static int deaf(void)
{
	errno = EINVAL;
	return kernel.deaf ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const struct vduse_config_data *config;
	struct vduse_vq_eventfd *kick;
	struct vduse_vq_config *setup;
	struct vduse_vq_info *info;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	assert_int_equal(fd, kernel.fd);
	switch (request) {
	case VDUSE_VQ_SETUP:
		setup = arg;
		kernel.max_size[setup->index] = setup->max_size;
		return 0;
	case VDUSE_VQ_SETUP_KICKFD:
		kick = arg;
		kernel.kick[kick->index] = kick->fd;
		return 0;
	case VDUSE_VQ_GET_INFO:
		info = arg;
		*info = kernel.info[info->index];
		return 0;
	case VDUSE_VQ_INJECT_IRQ:
		kernel.irqs[*(uint32_t *)arg] += !kernel.deaf;
		return deaf();
	case VDUSE_DEV_INJECT_CONFIG_IRQ:
		kernel.config_irqs += !kernel.deaf;
		return deaf();
	case VDUSE_DEV_GET_FEATURES:
		memcpy(arg, &kernel.features, sizeof(kernel.features));
		return 0;
	case VDUSE_DEV_SET_CONFIG:
		config = arg;
		assert_in_range(config->offset + config->length, 1, sizeof(kernel.config));
		memcpy(kernel.config + config->offset, config->buffer, config->length);
		return 0;
	case VDUSE_IOTLB_GET_FD:
		return lookup(arg);
	default:
		fail_msg("unexpected ioctl %lx", request);
		return -1;
	}
}

/* The owner */

static int owner_set_features(void *ctx, uint64_t features)
{
	((struct owner *)ctx)->features = features;
	return 0;
}

static int owner_queue_start(void *ctx, struct vhx_vduse_queue *q)
{
	((struct owner *)ctx)->started[q->index] = q;
	return 0;
}

static int owner_reset(void *ctx)
{
	struct owner *o = ctx;

	o->resets++;
	memset(o->started, 0, sizeof(o->started));
	return o->reset_result;
}

static void owner_mem_changed(void *ctx)
{
	struct owner *o = ctx;

	o->mem_changes++;
	if (o->old)
		o->old_seen = *o->old;
}

static void owner_queue_lost(void *ctx, struct vhx_vduse_queue *q)
{
	struct owner *o = ctx;

	o->lost++;
	o->started[q->index] = NULL;
}

static const struct vhx_vduse_ops owner_ops = {
	.set_features = owner_set_features,
	.queue_start = owner_queue_start,
	.reset = owner_reset,
	.mem_changed = owner_mem_changed,
	.queue_lost = owner_queue_lost,
};

static void log_emit(void *ctx, enum vhx_log_level level, const char *line)
{
}

static const struct vhx_log quiet = { .emit = log_emit };

/* A file of the driver's, mapped; the descriptor stays in *@fd. */
static uint8_t *file_new(uint64_t len, int *fd)
{
	uint8_t *p;

	*fd = memfd_create("driver", MFD_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(ftruncate(*fd, (off_t)len), 0);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_true(p != MAP_FAILED);
	return p;
}

static uint8_t *area; /* the driver's view of its memory */

static void driver_set_up(unsigned int index)
{
	kernel.info[index] = (struct vduse_vq_info){
		.index = index,
		.num = SIZE,
		.desc_addr = IOVA,
		.driver_addr = IOVA + DRIVER_OFF,
		.device_addr = IOVA + DEVICE_OFF,
		.ready = 1,
	};
}

static int set_up(void **state)
{
	struct owner *o = test_calloc(1, sizeof(*o));
	struct vhx_vduse_config cfg = {
		.ops = &owner_ops,
		.ctx = o,
		.log = &quiet,
		.name = "test",
		.features = OFFERED,
		.queues = QUEUES,
		.queue_size = 2 * SIZE,
		.config_len = sizeof(kernel.config),
	};
	int ends[2];

	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	kernel.fd = ends[0];
	kernel.features = F_VERSION_1;
	area = file_new(AREA_LEN, &kernel.regions[0].fd);
	kernel.regions[0].start = IOVA;
	kernel.regions[0].last = IOVA + AREA_LEN - 1;
	kernel.regions[0].perm = VDUSE_ACCESS_RW;
	driver_set_up(0);
	o->sock = ends[1];
	assert_int_equal(vhx_vduse_device_new(&cfg, ends[0], &o->dev), 0);
	assert_int_equal(kernel.max_size[1], 2 * SIZE);
	*state = o;
	return 0;
}

static int tear_down(void **state)
{
	struct owner *o = *state;

	vhx_vduse_device_free(o->dev);
	close(o->sock);
	munmap(area, AREA_LEN);
	close(kernel.regions[0].fd);
	test_free(o);
	return 0;
}

/* The kernel asks. -EAGAIN: no answer yet. */
static int answer_take(struct owner *o, uint32_t id, struct vduse_dev_response *resp)
{
	if (recv(o->sock, resp, sizeof(*resp), 0) != sizeof(*resp))
		return -errno;
	assert_int_equal(resp->request_id, id);
	return (int)resp->result;
}

static int ask(struct owner *o, struct vduse_dev_request *req, struct vduse_dev_response *resp)
{
	static uint32_t id;

	req->request_id = ++id;
	assert_int_equal(send(o->sock, req, sizeof(*req), 0), sizeof(*req));
	assert_int_equal(vhx_vduse_device_event(o->dev, false), 0);
	return answer_take(o, id, resp);
}

static int set_status(struct owner *o, uint8_t status)
{
	struct vduse_dev_request req = { .type = VDUSE_SET_STATUS, .s.status = status };
	struct vduse_dev_response resp;

	return ask(o, &req, &resp);
}

static int run(struct owner *o)
{
	int ret = set_status(o, S_FEATURES_OK);

	return ret ? ret : set_status(o, S_FEATURES_OK | S_DRIVER_OK);
}

/* The driver makes a buffer available, as the n-th. */
static void driver_add(uint16_t n, uint64_t addr, uint32_t len, uint16_t flags)
{
	struct vhx_split_desc *desc = (void *)area;
	struct vhx_split_avail *avail = (void *)(area + DRIVER_OFF);
	uint16_t head = n % SIZE;

	vhx_le64_store(&desc[head].addr, addr);
	vhx_le32_store(&desc[head].len, len);
	vhx_le16_store(&desc[head].flags, flags);
	vhx_le16_store(&avail->ring[head], head);
	vhx_le16_store_release(&avail->idx, (uint16_t)(n + 1));
}

static int pop(struct vhx_vduse_queue *q, struct iovec *iov, struct vhx_chain *chain)
{
	*chain = (struct vhx_chain){ .out = iov, .in = iov + 4, .out_max = 4, .in_max = 4 };
	return vhx_vring_pop(&q->ring, chain);
}

/* Tests */

static void test_a_request(void **state)
{
	struct vhx_split_used *used = (void *)(area + DEVICE_OFF);
	struct owner *o = *state;
	struct vhx_chain chain;
	struct iovec iov[8];

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(o->features, F_VERSION_1);
	assert_non_null(o->started[0]);
	assert_null(o->started[1]);
	memcpy(area + DATA_OFF, "hello", 5);
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	assert_int_equal(chain.out_len, 5);
	assert_memory_equal(iov[0].iov_base, "hello", 5);
	vhx_vring_push(&o->started[0]->ring, chain.id, 0);
	vhx_vduse_queue_flush(o->started[0]);
	assert_int_equal(vhx_le16_load(&used->idx), 1);
	assert_int_equal(kernel.irqs[0], 1);
	/* Rings and payload are one region: asked for once. */
	assert_int_equal(kernel.lookups, 1);
}

static void test_features_not_offered_are_refused(void **state)
{
	struct owner *o = *state;

	kernel.features = F_VERSION_1 | 2;
	assert_int_equal(set_status(o, S_FEATURES_OK), VDUSE_REQ_RESULT_FAILED);
	assert_int_equal(o->features, 0);
	kernel.features = F_VERSION_1 | 1;
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(o->features, F_VERSION_1 | 1);
}

static void test_driver_ok_without_features_ok_is_refused(void **state)
{
	struct owner *o = *state;

	assert_int_equal(set_status(o, S_DRIVER_OK), VDUSE_REQ_RESULT_FAILED);
	assert_null(o->started[0]);
}

static void test_forged_rings_are_refused(void **state)
{
	static const struct {
		uint32_t num;
		uint64_t desc, driver, device;
	} forged[] = {
		{ 0, IOVA, IOVA + DRIVER_OFF, IOVA + DEVICE_OFF },
		{ 4 * SIZE, IOVA, IOVA + DRIVER_OFF, IOVA + DEVICE_OFF }, /* more than offered */
		{ UINT32_MAX, IOVA, IOVA + DRIVER_OFF, IOVA + DEVICE_OFF },
		{ SIZE - 1, IOVA, IOVA + DRIVER_OFF, IOVA + DEVICE_OFF }, /* no power of two */
		{ SIZE, IOVA - PAGE, IOVA + DRIVER_OFF, IOVA + DEVICE_OFF }, /* nowhere */
		{ SIZE, IOVA, IOVA + AREA_LEN - 2, IOVA + DEVICE_OFF }, /* over the end */
		{ SIZE, IOVA, IOVA + DRIVER_OFF, UINT64_MAX - 1 }, /* wraps */
		{ SIZE, IOVA + 1, IOVA + DRIVER_OFF, IOVA + DEVICE_OFF }, /* not aligned */
	};
	struct owner *o = *state;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(forged); i++) {
		kernel.info[0].num = forged[i].num;
		kernel.info[0].desc_addr = forged[i].desc;
		kernel.info[0].driver_addr = forged[i].driver;
		kernel.info[0].device_addr = forged[i].device;
		assert_int_equal(run(o), VDUSE_REQ_RESULT_FAILED);
		assert_null(o->started[0]);
		assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	}
	driver_set_up(0);
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
}

static void test_late_queue_starts_with_its_kick(void **state)
{
	const uint64_t one = 1;
	struct owner *o = *state;
	struct vhx_vduse_queue *q = vhx_vduse_device_queue(o->dev, 1);

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_null(o->started[1]);
	assert_int_equal(kernel.kick[1], q->kick_fd);
	assert_int_equal(write(q->kick_fd, &one, sizeof(one)), sizeof(one));
	vhx_vduse_queue_kicked(q);
	assert_null(o->started[1]);
	driver_set_up(1);
	assert_int_equal(write(q->kick_fd, &one, sizeof(one)), sizeof(one));
	vhx_vduse_queue_kicked(q);
	assert_non_null(o->started[1]);
	/* From here on a kick is the owner's. */
	assert_int_equal(write(q->kick_fd, &one, sizeof(one)), sizeof(one));
	assert_true(vhx_vduse_queue_kicked(q));
	assert_false(vhx_vduse_queue_kicked(q));
}

static void test_interrupts_wait_until_the_kernel_has_seen_driver_ok(void **state)
{
	const uint8_t config[sizeof(kernel.config)] = { 1, 2, 3 };
	struct owner *o = *state;
	struct vhx_chain chain;
	struct iovec iov[8];

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	kernel.deaf = true;
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	vhx_vring_push(&o->started[0]->ring, chain.id, 0);
	vhx_vduse_queue_flush(o->started[0]);
	vhx_vduse_device_config(o->dev, config, sizeof(config));
	assert_memory_equal(kernel.config, config, sizeof(config));
	assert_true(vhx_vduse_device_owes(o->dev));
	assert_true(vhx_vduse_device_notify_again(o->dev));
	kernel.deaf = false;
	assert_false(vhx_vduse_device_notify_again(o->dev));
	assert_int_equal(kernel.irqs[0], 1);
	assert_int_equal(kernel.config_irqs, 1);
	/* What a reset makes moot is not owed. */
	kernel.deaf = true;
	driver_add(1, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	vhx_vring_push(&o->started[0]->ring, chain.id, 0);
	vhx_vduse_queue_flush(o->started[0]);
	assert_true(vhx_vduse_device_owes(o->dev));
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	assert_false(vhx_vduse_device_owes(o->dev));
}

static void test_reset_is_answered_when_the_backend_has(void **state)
{
	struct vduse_dev_request status = { .type = VDUSE_SET_STATUS, .request_id = 1000 };
	struct vduse_dev_response resp;
	struct owner *o = *state;

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	o->reset_result = -EINPROGRESS;
	assert_int_equal(send(o->sock, &status, sizeof(status), 0), sizeof(status));
	assert_int_equal(vhx_vduse_device_event(o->dev, false), 0);
	assert_int_equal(answer_take(o, 1000, &resp), -EAGAIN);
	assert_int_equal(o->resets, 1);
	/* What comes meanwhile is not read. */
	status.request_id = 1001;
	o->reset_result = 0;
	assert_int_equal(send(o->sock, &status, sizeof(status), 0), sizeof(status));
	assert_int_equal(vhx_vduse_device_event(o->dev, false), 0);
	assert_int_equal(o->resets, 1);
	vhx_vduse_device_finish(o->dev);
	assert_int_equal(answer_take(o, 1000, &resp), VDUSE_REQ_RESULT_OK);
	assert_int_equal(vhx_vduse_device_event(o->dev, false), 0);
	assert_int_equal(answer_take(o, 1001, &resp), VDUSE_REQ_RESULT_OK);
}

/* The kernel gives an address to other pages after a reset, and tells nobody. */
static void test_memory_is_forgotten_at_a_reset(void **state)
{
	struct owner *o = *state;
	struct vhx_chain chain;
	struct iovec iov[8];

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	munmap(area, AREA_LEN);
	close(kernel.regions[0].fd);
	area = file_new(AREA_LEN, &kernel.regions[0].fd);
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
}

static int update_iotlb(struct owner *o)
{
	struct vduse_dev_request req = { .type = VDUSE_UPDATE_IOTLB, .iova = { 0, UINT64_MAX } };
	struct vduse_dev_response resp;

	return ask(o, &req, &resp);
}

static void test_new_memory_under_a_running_queue(void **state)
{
	struct owner *o = *state;
	uint8_t *old = area;
	struct vhx_chain chain;
	struct iovec iov[8];

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	area[DATA_OFF] = 77;
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	o->old = iov[0].iov_base;
	/* The same bytes in another file. */
	close(kernel.regions[0].fd);
	area = file_new(AREA_LEN, &kernel.regions[0].fd);
	memcpy(area, old, AREA_LEN);
	area[DATA_OFF] = 88;
	munmap(old, AREA_LEN);
	assert_int_equal(update_iotlb(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(o->mem_changes, 1);
	assert_int_equal(o->old_seen, 77);
	assert_int_equal(o->lost, 0);
	driver_add(1, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	assert_int_equal(((uint8_t *)iov[0].iov_base)[0], 88);
	o->old = NULL;
	/* And then in none. */
	kernel.regions[0].perm = 0;
	assert_int_equal(update_iotlb(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(o->lost, 1);
	assert_null(o->started[0]);
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
}

static int state_of(struct owner *o, uint32_t index, struct vduse_vq_state *state)
{
	struct vduse_dev_request req = { .type = VDUSE_GET_VQ_STATE, .vq_state.index = index };
	struct vduse_dev_response resp;
	int ret = ask(o, &req, &resp);

	*state = resp.vq_state;
	return ret;
}

/* What the kernel knows of its position is where it began: all that is in the ring would be done again. */
static void test_queue_that_lost_its_memory_does_not_begin_again(void **state)
{
	const uint64_t one = 1;
	struct owner *o = *state;
	struct vduse_vq_state at;
	struct vhx_chain chain;
	struct iovec iov[8];
	struct vhx_vduse_queue *q;

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	q = o->started[0];
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(q, iov, &chain), 1);
	vhx_vring_push(&q->ring, chain.id, 0);
	vhx_vduse_queue_flush(q);
	/* Taken away and given back, in two steps. */
	kernel.regions[0].perm = 0;
	assert_int_equal(update_iotlb(o), VDUSE_REQ_RESULT_OK);
	assert_null(o->started[0]);
	kernel.regions[0].perm = VDUSE_ACCESS_RW;
	assert_int_equal(update_iotlb(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(write(q->kick_fd, &one, sizeof(one)), sizeof(one));
	assert_false(vhx_vduse_queue_kicked(q));
	assert_null(o->started[0]);
	assert_int_equal(state_of(o, 0, &at), VDUSE_REQ_RESULT_OK);
	assert_int_equal(at.split.avail_index, 1);
	/* A reset makes it a queue as any other. */
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	memset(area, 0, AREA_LEN);
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_non_null(o->started[0]);
}

static void test_state_of_a_split_ring(void **state)
{
	struct vduse_vq_state s;
	struct owner *o = *state;
	struct vhx_chain chain;
	struct iovec iov[8];

	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.split.avail_index, 1);
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.split.avail_index, 1);
	assert_int_equal(state_of(o, QUEUES, &s), VDUSE_REQ_RESULT_FAILED);
	assert_int_equal(state_of(o, UINT32_MAX, &s), VDUSE_REQ_RESULT_FAILED);
}

static void test_state_of_a_packed_ring(void **state)
{
	struct vduse_vq_state s;
	struct owner *o = *state;

	kernel.features = F_VERSION_1 | F_PACKED;
	kernel.info[0].packed = (struct vduse_vq_state_packed){ 1, 3, 1, 3 };
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.packed.last_avail_counter, 1);
	assert_int_equal(s.packed.last_avail_idx, 3);
	assert_int_equal(s.packed.last_used_counter, 1);
	assert_int_equal(s.packed.last_used_idx, 3);
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	/* A position that no ring of this size has. */
	kernel.info[0].packed.last_avail_idx = SIZE;
	assert_int_equal(run(o), VDUSE_REQ_RESULT_FAILED);
}

/* Which may be about to continue elsewhere: with the position of another driver's ring, it would do requests again. */
static void test_queue_that_never_ran_is_where_its_driver_put_it(void **state)
{
	struct vduse_vq_state s;
	struct owner *o = *state;
	struct vhx_chain chain;
	struct iovec iov[8];

	kernel.info[1].split.avail_index = 5;
	assert_int_equal(state_of(o, 1, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.split.avail_index, 5);
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	driver_add(0, IOVA + DATA_OFF, 5, 0);
	assert_int_equal(pop(o->started[0], iov, &chain), 1);
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	/* Before it chooses features, the next driver has set nothing. */
	kernel.info[0].ready = 0;
	kernel.info[0].split.avail_index = 7;
	assert_int_equal(set_status(o, S_ACKNOWLEDGE), VDUSE_REQ_RESULT_OK);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.split.avail_index, 1);
	assert_int_equal(set_status(o, S_ACKNOWLEDGE | S_FEATURES_OK), VDUSE_REQ_RESULT_OK);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.split.avail_index, 7);
	assert_int_equal(set_status(o, S_ACKNOWLEDGE | S_FEATURES_OK | S_DRIVER_OK),
			 VDUSE_REQ_RESULT_OK);
	assert_null(o->started[0]);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.split.avail_index, 7);
	/* Also as the packed ring that it is in the next life. */
	assert_int_equal(set_status(o, 0), VDUSE_REQ_RESULT_OK);
	kernel.features = F_VERSION_1 | F_PACKED;
	kernel.info[0].packed = (struct vduse_vq_state_packed){ 1, 0, 1, 0 };
	assert_int_equal(run(o), VDUSE_REQ_RESULT_OK);
	assert_int_equal(state_of(o, 0, &s), VDUSE_REQ_RESULT_OK);
	assert_int_equal(s.packed.last_avail_counter, 1);
	assert_int_equal(s.packed.last_avail_idx, 0);
	assert_int_equal(s.packed.last_used_counter, 1);
}

static void test_unknown_request_is_refused(void **state)
{
	struct vduse_dev_request req = { .type = 77 };
	struct vduse_dev_response resp;

	assert_int_equal(ask(*state, &req, &resp), VDUSE_REQ_RESULT_FAILED);
}

static void test_device_that_was_given_up(void **state)
{
	assert_int_equal(vhx_vduse_device_event(((struct owner *)*state)->dev, true), -EPIPE);
}

/* Memory alone */

static int map_at(uint64_t iova, uint64_t len, struct iovec *iov, unsigned int max)
{
	static struct vhx_vduse_memory m;
	int ret;

	vhx_vduse_memory_init(&m, kernel.fd);
	ret = vhx_vduse_memory_map(&m, iova, len, iov, max);
	vhx_vduse_memory_clear(&m);
	return ret;
}

static void test_files_that_are_not_taken(void **state)
{
	struct kernel_region *r = &kernel.regions[1];
	struct iovec iov[2];

	*r = (struct kernel_region){ .start = 0x100000,
				     .last = 0x100000 + PAGE - 1,
				     .perm = VDUSE_ACCESS_RW };
	/* An anonymous inode that is not the kernel's own. */
	r->fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(map_at(r->start, 16, iov, 2), -EFAULT);
	close(r->fd);
	/* A file that ends before the range does: SIGBUS. */
	r->fd = memfd_create("short", MFD_CLOEXEC);
	assert_int_equal(ftruncate(r->fd, PAGE - 1), 0);
	assert_int_equal(map_at(r->start, 16, iov, 2), -EFAULT);
	assert_int_equal(ftruncate(r->fd, PAGE), 0);
	assert_int_equal(map_at(r->start, 16, iov, 2), 1);
	r->offset = 1;
	assert_int_equal(map_at(r->start, 16, iov, 2), -EFAULT);
	r->offset = UINT64_MAX;
	assert_int_equal(map_at(r->start, 16, iov, 2), -EFAULT);
	r->offset = 0;
	/* Everything there is: its length is none. */
	r->start = 0;
	r->last = UINT64_MAX;
	kernel.regions[0].perm = 0;
	assert_int_equal(map_at(1, 16, iov, 2), -EFAULT);
	close(r->fd);
}

static void test_range_over_two_regions(void **state)
{
	static struct vhx_vduse_memory m;
	struct kernel_region *r = &kernel.regions[1];
	struct iovec iov[3];
	uint8_t *second;

	second = file_new(PAGE, &r->fd);
	r->start = IOVA + AREA_LEN;
	r->last = r->start + PAGE - 1;
	r->perm = VDUSE_ACCESS_RW;
	area[AREA_LEN - 1] = 1;
	second[0] = 2;
	vhx_vduse_memory_init(&m, kernel.fd);
	assert_int_equal(vhx_vduse_memory_map(&m, r->start - 1, 2, iov, 1), -E2BIG);
	assert_int_equal(vhx_vduse_memory_map(&m, r->start - 1, 2, iov, 3), 2);
	assert_int_equal(*(uint8_t *)iov[0].iov_base, 1);
	assert_int_equal(*(uint8_t *)iov[1].iov_base, 2);
	assert_null(vhx_vduse_memory_at(&m, r->start - 1, 2));
	assert_non_null(vhx_vduse_memory_at(&m, r->start - 1, 1));
	/* Over the last one's end, and one that overlaps what is known. */
	assert_int_equal(vhx_vduse_memory_map(&m, r->last, 2, iov, 3), -EFAULT);
	r->start = IOVA + AREA_LEN + PAGE;
	r->last = r->start + PAGE - 1;
	kernel.regions[2] = *r;
	kernel.regions[2].start -= 2 * PAGE;
	assert_int_equal(vhx_vduse_memory_map(&m, r->start, 1, iov, 3), 1);
	vhx_vduse_memory_clear(&m);
	munmap(second, PAGE);
	close(r->fd);
}

static void test_what_is_read_only_is_not_written(void **state)
{
	static struct vhx_vduse_memory m;
	uint8_t *p;

	kernel.regions[0].perm = VDUSE_ACCESS_RO;
	area[0] = 7;
	vhx_vduse_memory_init(&m, kernel.fd);
	p = vhx_vduse_memory_at(&m, IOVA, 1);
	assert_non_null(p);
	assert_int_equal(*p, 7);
	*p = 8;
	assert_int_equal(area[0], 7);
	vhx_vduse_memory_clear(&m);
}

static void test_what_vduse_carries(void **state)
{
	const uint64_t ctrl_vq = 1ull << 17, mq = 1ull << 22, mac = 1ull << 5, wce = 1ull << 11;

	assert_int_equal(vhx_vduse_device_features(1, ctrl_vq | mq | mac), mac);
	assert_int_equal(vhx_vduse_device_queues(1, 5), 2);
	assert_int_equal(vhx_vduse_device_features(2, wce | mq), mq);
	assert_int_equal(vhx_vduse_device_queues(2, 5), 5);
	assert_int_equal(vhx_vduse_device_features(26, wce), wce);
}

#define DEVICE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DEVICE_TEST(test_a_request),
		DEVICE_TEST(test_features_not_offered_are_refused),
		DEVICE_TEST(test_driver_ok_without_features_ok_is_refused),
		DEVICE_TEST(test_forged_rings_are_refused),
		DEVICE_TEST(test_late_queue_starts_with_its_kick),
		DEVICE_TEST(test_interrupts_wait_until_the_kernel_has_seen_driver_ok),
		DEVICE_TEST(test_reset_is_answered_when_the_backend_has),
		DEVICE_TEST(test_memory_is_forgotten_at_a_reset),
		DEVICE_TEST(test_new_memory_under_a_running_queue),
		DEVICE_TEST(test_queue_that_lost_its_memory_does_not_begin_again),
		DEVICE_TEST(test_state_of_a_split_ring),
		DEVICE_TEST(test_state_of_a_packed_ring),
		DEVICE_TEST(test_queue_that_never_ran_is_where_its_driver_put_it),
		DEVICE_TEST(test_unknown_request_is_refused),
		DEVICE_TEST(test_device_that_was_given_up),
		DEVICE_TEST(test_files_that_are_not_taken),
		DEVICE_TEST(test_range_over_two_regions),
		DEVICE_TEST(test_what_is_read_only_is_not_written),
		cmocka_unit_test(test_what_vduse_carries),
	};

	return cmocka_run_group_tests_name("vduse", tests, NULL, NULL);
}
