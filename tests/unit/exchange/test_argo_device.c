// SPDX-License-Identifier: BSD-3-Clause
/* An endpoint on /dev/argo, with a kernel that is this test: its ioctls, as far as waiting for room goes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "exchange/argo_device.h"

#define RING_LEN 4032u

/* What drivers/linux/argo_dev.c keeps of an endpoint. */
static struct {
	bool full; /* the peer's ring */
	uint32_t want; /* the largest that was refused, plus one */
	bool retry; /* so that the descriptor is readable */
	unsigned int consumes;
} kernel;

/* The event of the domain. */
static void kernel_event(void)
{
	kernel.retry = kernel.retry || kernel.want;
}

static int kernel_send(const struct hmx_argo_sendv *send)
{
	const struct hmx_argo_iov *iov = (const struct hmx_argo_iov *)(uintptr_t)send->iov;
	bool retry = kernel.retry;

	kernel.retry = false;
	if (kernel.full) {
		if (kernel.want <= iov->len)
			kernel.want = iov->len + 1;
		errno = EAGAIN;
		return -1;
	}
	if (iov->len + 1 >= kernel.want)
		kernel.want = 0;
	else
		kernel.retry = retry;
	return (int)iov->len;
}

static int kernel_consume(struct hmx_argo_consume *consume)
{
	kernel.consumes++;
	if (kernel.retry)
		kernel.want = 0;
	kernel.retry = false;
	consume->tx_ptr = consume->rx_ptr;
	return 0;
}

/* In place of the C library's. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case HMX_ARGO_NEW:
		return memfd_create("argo", MFD_CLOEXEC);
	case HMX_ARGO_INFO:
		*(struct hmx_argo_info *)arg = (struct hmx_argo_info){ .domid = 1 };
		return 0;
	case HMX_ARGO_BIND:
		return ftruncate(fd, sizeof(struct argo_ring) + RING_LEN);
	case HMX_ARGO_SENDV:
		return kernel_send(arg);
	case HMX_ARGO_CONSUME:
		return kernel_consume(arg);
	default:
		errno = ENOTTY;
		return -1;
	}
}

static int setup(void **state)
{
	const struct vhx_argo_ring_id id = { .port = 1, .partner = 2, .len = RING_LEN };
	const struct argo_ring *ring;
	struct vhx_argo_dev *dev;

	kernel.full = kernel.retry = false;
	kernel.want = kernel.consumes = 0;
	assert_int_equal(vhx_argo_device_endpoint(-1, &dev), 0);
	assert_int_equal(dev->ops->bind(dev, &id, &ring), 0);
	*state = dev;
	return 0;
}

static int teardown(void **state)
{
	vhx_argo_dev_close(*state);
	return 0;
}

static int send_len(struct vhx_argo_dev *dev, size_t len)
{
	const struct argo_addr dst = { .port = 1, .domid = 2 };
	static char bytes[64];
	struct iovec iov = { bytes, len };

	return dev->ops->send(dev, &dst, 1, &iov, 1);
}

static void consume(struct vhx_argo_dev *dev)
{
	uint32_t tx_ptr;

	assert_int_equal(dev->ops->consume(dev, 16, HMX_ARGO_NOTIFY_NEVER, &tx_ptr), 0);
}

/* The event that makes the descriptor readable may come after any number of other calls. */
static void test_the_event_of_a_refused_send_is_taken_after_a_consume(void **state)
{
	struct vhx_argo_dev *dev = *state;

	kernel.full = true;
	assert_int_equal(send_len(dev, 32), -EAGAIN);
	consume(dev);
	dev->ops->event(dev);
	kernel_event();
	assert_true(kernel.retry);
	dev->ops->event(dev);
	assert_false(kernel.retry);
}

static void test_a_smaller_send_leaves_the_event_of_a_larger_one(void **state)
{
	struct vhx_argo_dev *dev = *state;

	kernel.full = true;
	assert_int_equal(send_len(dev, 32), -EAGAIN);
	assert_int_equal(send_len(dev, 8), -EAGAIN);
	kernel.full = false;
	assert_int_equal(send_len(dev, 8), 0);
	kernel_event();
	assert_true(kernel.retry);
	dev->ops->event(dev);
	assert_false(kernel.retry);
}

static void test_an_event_costs_no_call_where_nothing_waits(void **state)
{
	struct vhx_argo_dev *dev = *state;

	dev->ops->event(dev);
	kernel.full = true;
	assert_int_equal(send_len(dev, 32), -EAGAIN);
	kernel.full = false;
	assert_int_equal(send_len(dev, 32), 0);
	dev->ops->event(dev);
	assert_int_equal(kernel.consumes, 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_the_event_of_a_refused_send_is_taken_after_a_consume),
		CASE(test_a_smaller_send_leaves_the_event_of_a_larger_one),
		CASE(test_an_event_costs_no_call_where_nothing_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
