// SPDX-License-Identifier: BSD-3-Clause
/* What ties a VDUSE device to a device of the frontend; the two themselves are this test's. */
#include "mediator/vduse_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "mediator/guest_queue.h"
#include "vduse/device.h"

#define QUEUES 2
#define BLK 2u

static struct vhx_loop *loop;
static struct vhx_vduse_guest *guest;
/* The frontend's device */
static struct vhx_driver_identity identity;
static const struct vhx_fdev_ops *fdev_ops;
static void *fdev_ctx;
/* The VDUSE device */
static struct vhx_vduse_config device;
static struct vhx_vduse_queue queues[QUEUES];
static unsigned int kicks[QUEUES];
static bool requests_broken;
static int device_fd, reset_result;
static unsigned int events, finished;

int __wrap_vhx_fdev_new(struct vhx_frontend *fe, const char *name, const struct vhx_fdev_ops *ops,
			void *ctx, struct vhx_fdev **out);
const struct vhx_driver_identity *__wrap_vhx_fdev_identity(const struct vhx_fdev *fdev);
int __wrap_vhx_fdev_reset(struct vhx_fdev *fdev);
int __wrap_vhx_guest_queue_start(struct vhx_guest_queue *q,
				 const struct vhx_guest_queue_config *cfg);
void __wrap_vhx_guest_queue_kill(struct vhx_guest_queue *q);
void __wrap_vhx_guest_queue_refetch(struct vhx_guest_queue *q);
int __wrap_vhx_vduse_keeper_create(const struct vhx_vduse_keeper *k, unsigned int index,
				   const struct vhx_vduse_shape *shape, int *fd,
				   struct vhx_error *err);
int __wrap_vhx_vduse_keeper_destroy(const struct vhx_vduse_keeper *k, unsigned int index);
int __wrap_vhx_vduse_device_new(const struct vhx_vduse_config *cfg, int fd,
				struct vhx_vduse_device **dev);
void __wrap_vhx_vduse_device_free(struct vhx_vduse_device *d);
struct vhx_vduse_queue *__wrap_vhx_vduse_device_queue(struct vhx_vduse_device *d, uint16_t index);
bool __wrap_vhx_vduse_queue_kicked(struct vhx_vduse_queue *q);
int __wrap_vhx_vduse_device_event(struct vhx_vduse_device *d, bool error);
void __wrap_vhx_vduse_device_finish(struct vhx_vduse_device *d);

int __wrap_vhx_fdev_new(struct vhx_frontend *fe, const char *name, const struct vhx_fdev_ops *ops,
			void *ctx, struct vhx_fdev **out)
{
	fdev_ops = ops;
	fdev_ctx = ctx;
	*out = NULL;
	return 0;
}

const struct vhx_driver_identity *__wrap_vhx_fdev_identity(const struct vhx_fdev *fdev)
{
	return &identity;
}

int __wrap_vhx_fdev_reset(struct vhx_fdev *fdev)
{
	return reset_result;
}

int __wrap_vhx_guest_queue_start(struct vhx_guest_queue *q,
				 const struct vhx_guest_queue_config *cfg)
{
	assert_false(q->live);
	q->live = true;
	return 0;
}

void __wrap_vhx_guest_queue_kill(struct vhx_guest_queue *q)
{
	q->live = false;
}

/* Its requests cannot be walked any more. */
void __wrap_vhx_guest_queue_refetch(struct vhx_guest_queue *q)
{
	if (requests_broken)
		q->live = false;
}

int __wrap_vhx_vduse_keeper_create(const struct vhx_vduse_keeper *k, unsigned int index,
				   const struct vhx_vduse_shape *shape, int *fd,
				   struct vhx_error *err)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return 0;
}

int __wrap_vhx_vduse_keeper_destroy(const struct vhx_vduse_keeper *k, unsigned int index)
{
	return 0;
}

int __wrap_vhx_vduse_device_new(const struct vhx_vduse_config *cfg, int fd,
				struct vhx_vduse_device **dev)
{
	uint16_t i;

	device = *cfg;
	device_fd = fd;
	assert_int_equal(cfg->queues, QUEUES);
	for (i = 0; i < QUEUES; i++) {
		queues[i] = (struct vhx_vduse_queue){ .index = i, .size = 16 };
		queues[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		kicks[i] = 0;
	}
	/* Nobody looks into it. */
	*dev = (void *)queues;
	return 0;
}

void __wrap_vhx_vduse_device_free(struct vhx_vduse_device *d)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		close(queues[i].kick_fd);
	close(device_fd);
}

struct vhx_vduse_queue *__wrap_vhx_vduse_device_queue(struct vhx_vduse_device *d, uint16_t index)
{
	return &queues[index];
}

bool __wrap_vhx_vduse_queue_kicked(struct vhx_vduse_queue *q)
{
	uint64_t cnt;

	assert_int_equal(read(q->kick_fd, &cnt, sizeof(cnt)), sizeof(cnt));
	kicks[q->index]++;
	return false;
}

/* Leaves the request where it is. */
int __wrap_vhx_vduse_device_event(struct vhx_vduse_device *d, bool error)
{
	events++;
	return 0;
}

void __wrap_vhx_vduse_device_finish(struct vhx_vduse_device *d)
{
	finished++;
}

static void log_emit(void *ctx, enum vhx_log_level level, const char *line)
{
}

static int setup(void **state)
{
	static const struct vhx_log quiet = { .emit = log_emit };
	static const struct vhx_vduse_spec spec = { .name = "test", .queue_size = 16 };
	struct vhx_vduse_guest_config cfg = { .log = &quiet, .spec = &spec };

	assert_int_equal(vhx_loop_new(0, &loop), 0);
	cfg.loop = loop;
	identity = (struct vhx_driver_identity){ .device_id = BLK, .num_queues = QUEUES };
	requests_broken = false;
	reset_result = 0;
	events = finished = 0;
	assert_int_equal(vhx_vduse_guest_new(&cfg, &guest), 0);
	fdev_ops->known(fdev_ctx);
	return 0;
}

static int teardown(void **state)
{
	vhx_vduse_guest_free(guest);
	vhx_loop_free(loop);
	return 0;
}

static unsigned int kick(unsigned int index)
{
	const uint64_t one = 1;
	unsigned int before = kicks[index];

	assert_int_equal(write(queues[index].kick_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(vhx_loop_once(loop, 0), 0);
	return kicks[index] - before;
}

static void test_kick_of_a_queue_is_heard_until_it_runs(void **state)
{
	assert_int_equal(kick(0), 1);
	assert_int_equal(device.ops->queue_start(device.ctx, &queues[0]), 0);
	assert_int_equal(kick(0), 0);
	assert_int_equal(kick(1), 1);
	assert_int_equal(device.ops->reset(device.ctx), 0);
	assert_int_equal(kick(0), 1);
}

/* In its next life it may become ready late, and then the kick is all that tells. */
static void test_queue_whose_requests_broke_is_heard_after_a_reset(void **state)
{
	assert_int_equal(device.ops->queue_start(device.ctx, &queues[0]), 0);
	requests_broken = true;
	device.ops->mem_changed(device.ctx);
	assert_int_equal(device.ops->reset(device.ctx), 0);
	assert_int_equal(kick(0), 1);
}

/* Who asked for the reset was killed, and its successor asks already: it is heard when the reset is over. */
static void test_requests_during_a_reset_do_not_turn_the_loop(void **state)
{
	const uint64_t one = 1;
	unsigned int i;

	reset_result = -EINPROGRESS;
	assert_int_equal(device.ops->reset(device.ctx), -EINPROGRESS);
	assert_int_equal(write(device_fd, &one, sizeof(one)), sizeof(one));
	for (i = 0; i < 3; i++)
		assert_int_equal(vhx_loop_once(loop, 0), 0);
	assert_int_equal(events, 0);
	fdev_ops->reset_done(fdev_ctx);
	assert_int_equal(finished, 1);
	assert_int_equal(vhx_loop_once(loop, 0), 0);
	assert_int_equal(events, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kick_of_a_queue_is_heard_until_it_runs, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_queue_whose_requests_broke_is_heard_after_a_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests_during_a_reset_do_not_turn_the_loop,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("vduse_guest", tests, NULL, NULL);
}
