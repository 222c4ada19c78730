// SPDX-License-Identifier: BSD-3-Clause
/* What ties a vhost-user server to a device of the frontend; the two themselves, and the queues, are this test's. */
#include "mediator/guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "mediator/guest_queue.h"
#include "vhost_user/server.h"

#define QUEUES 2

static struct vhx_loop *loop;
static struct vhx_guest *guest;
/* The frontend's device */
static const struct vhx_fdev_ops *fdev_ops;
static void *fdev_ctx;
/* The server */
static struct vhx_vu_config server;
static struct vhx_vu_queue queues[QUEUES];
static unsigned int finished;

int __wrap_vhx_fdev_new(struct vhx_frontend *fe, const char *name, const struct vhx_fdev_ops *ops,
			void *ctx, struct vhx_fdev **out);
int __wrap_vhx_guest_queue_start(struct vhx_guest_queue *q,
				 const struct vhx_guest_queue_config *cfg);
int __wrap_vhx_guest_queue_stop(struct vhx_guest_queue *q);
void __wrap_vhx_guest_queue_end(struct vhx_guest_queue *q);
void __wrap_vhx_guest_queue_kill(struct vhx_guest_queue *q);
int __wrap_vhx_vu_server_new(const struct vhx_vu_config *cfg, int listen_fd,
			     struct vhx_vu_server **out);
void __wrap_vhx_vu_server_free(struct vhx_vu_server *s);
void __wrap_vhx_vu_server_finish(struct vhx_vu_server *s, int result);

int __wrap_vhx_fdev_new(struct vhx_frontend *fe, const char *name, const struct vhx_fdev_ops *ops,
			void *ctx, struct vhx_fdev **out)
{
	fdev_ops = ops;
	fdev_ctx = ctx;
	*out = NULL;
	return 0;
}

int __wrap_vhx_guest_queue_start(struct vhx_guest_queue *q,
				 const struct vhx_guest_queue_config *cfg)
{
	q->live = true;
	return 0;
}

/* There is something in flight, and a queue is stopped once. */
int __wrap_vhx_guest_queue_stop(struct vhx_guest_queue *q)
{
	assert_true(q->live && !q->stopping);
	q->stopping = true;
	return -EINPROGRESS;
}

void __wrap_vhx_guest_queue_end(struct vhx_guest_queue *q)
{
	q->live = false;
	q->stopping = false;
}

void __wrap_vhx_guest_queue_kill(struct vhx_guest_queue *q)
{
	__wrap_vhx_guest_queue_end(q);
}

int __wrap_vhx_vu_server_new(const struct vhx_vu_config *cfg, int listen_fd,
			     struct vhx_vu_server **out)
{
	server = *cfg;
	close(listen_fd);
	*out = NULL;
	return 0;
}

void __wrap_vhx_vu_server_free(struct vhx_vu_server *s)
{
}

void __wrap_vhx_vu_server_finish(struct vhx_vu_server *s, int result)
{
	finished++;
}

static int guest_setup(void **state)
{
	struct vhx_guest_config cfg = { .device = "", .label = "guest" };
	int fd = dup(STDERR_FILENO);
	uint16_t i;

	if (fd < 0 || vhx_loop_new(0, &loop))
		return -1;
	cfg.loop = loop;
	finished = 0;
	if (vhx_guest_new(&cfg, fd, &guest))
		return -1;
	for (i = 0; i < QUEUES; i++) {
		queues[i] = (struct vhx_vu_queue){ .index = i, .size = 16, .kick_fd = -1 };
		if (server.ops->queue_start(server.ctx, &queues[i]))
			return -1;
	}
	return 0;
}

static int guest_teardown(void **state)
{
	vhx_guest_free(guest);
	vhx_loop_free(loop);
	return 0;
}

/* A queue that it did not ask for has stopped: its own may still write to the guest's memory. */
static void test_vmm_is_not_told_of_a_stop_that_the_end_of_the_program_wanted(void **state)
{
	assert_int_equal(server.ops->queue_stop(server.ctx, &queues[0]), -EINPROGRESS);
	assert_int_equal(vhx_guest_drain(guest), 2);
	fdev_ops->queue_stopped(fdev_ctx, 1);
	assert_int_equal(finished, 0);
	assert_int_equal(vhx_guest_drain(guest), 1);
	fdev_ops->queue_stopped(fdev_ctx, 0);
	assert_int_equal(finished, 1);
	assert_int_equal(vhx_guest_drain(guest), 0);
}

/* A reset goes from queue to queue, and comes to one that is being stopped. */
static void test_vmm_stops_a_queue_that_the_end_of_the_program_stops_already(void **state)
{
	assert_int_equal(server.ops->queue_stop(server.ctx, &queues[0]), -EINPROGRESS);
	assert_int_equal(vhx_guest_drain(guest), 2);
	fdev_ops->queue_stopped(fdev_ctx, 0);
	assert_int_equal(finished, 1);
	assert_int_equal(server.ops->queue_stop(server.ctx, &queues[1]), -EINPROGRESS);
	assert_int_equal(vhx_guest_drain(guest), 1);
	fdev_ops->queue_stopped(fdev_ctx, 1);
	assert_int_equal(finished, 2);
	assert_int_equal(vhx_guest_drain(guest), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_vmm_is_not_told_of_a_stop_that_the_end_of_the_program_wanted),
		T(test_vmm_stops_a_queue_that_the_end_of_the_program_stops_already),
	};

	return cmocka_run_group_tests_name("guest", tests, NULL, NULL);
}
