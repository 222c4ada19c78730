// SPDX-License-Identifier: BSD-3-Clause
/*
 * A vDPA device's ioctls: which of them are made, in which order, and what becomes of one that fails. The kernel's side is
 * here: ioctl and write are wrapped, on a descriptor of /dev/null.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fds.h"

#include <linux/vhost.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device/vhost_vdpa.h"

#define PATH "/dev/null"
#define CALLS_MAX 64
#define NEVER CALLS_MAX
#define FEATURES 0x1122334455667788ull
#define S_ALL_OK 0x0fu

/* The device as the kernel would show it, and what was asked of it. */
static struct {
	unsigned long calls[CALLS_MAX];
	unsigned int cnt;
	unsigned int fail_at; /* this call, counted from 0, fails with fail_errno */
	int fail_errno;
	uint64_t backend_features, features_set;
	uint32_t queues;
	bool no_queues; /* an old kernel, which does not know the question */
	uint8_t status, status_never; /* bits that it does not take */
	struct vhost_vring_state num, base;
	struct vhost_vring_addr addr;
	struct vhost_vring_file kick, call;
	uint32_t config_off, config_len;
	struct vhost_msg_v2 iotlb[4];
	unsigned int iotlb_cnt;
	size_t write_short; /* so many bytes of the next write are not taken */
} peer;

static struct vhx_vhost_vdpa v;
static struct vhx_error error;
static int fds_before;

static void config_answer(struct vhost_vdpa_config *c)
{
	peer.config_off = c->off;
	peer.config_len = c->len;
	memset(c->buf, 0xc5, c->len);
}

static int answer(unsigned long request, void *arg)
{
	switch (request) {
	case VHOST_GET_BACKEND_FEATURES:
		*(uint64_t *)arg = peer.backend_features;
		return 0;
	case VHOST_VDPA_GET_DEVICE_ID:
		*(uint32_t *)arg = 2;
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = FEATURES;
		return 0;
	case VHOST_SET_FEATURES:
		peer.features_set = *(uint64_t *)arg;
		return 0;
	case VHOST_VDPA_GET_VRING_NUM:
		*(uint16_t *)arg = 256;
		return 0;
	case VHOST_VDPA_GET_CONFIG_SIZE:
		*(uint32_t *)arg = 60;
		return 0;
	case VHOST_VDPA_GET_IOVA_RANGE:
		*(struct vhost_vdpa_iova_range *)arg =
			(struct vhost_vdpa_iova_range){ .first = 0x1000, .last = 0xffffff };
		return 0;
	case VHOST_VDPA_GET_VQS_COUNT:
		*(uint32_t *)arg = peer.queues;
		return peer.no_queues ? ENOTTY : 0;
	case VHOST_VDPA_SET_STATUS:
		peer.status = *(uint8_t *)arg & (uint8_t)~peer.status_never;
		return 0;
	case VHOST_VDPA_GET_STATUS:
		*(uint8_t *)arg = peer.status;
		return 0;
	case VHOST_VDPA_GET_CONFIG:
	case VHOST_VDPA_SET_CONFIG:
		config_answer(arg);
		return 0;
	case VHOST_SET_VRING_NUM:
		peer.num = *(struct vhost_vring_state *)arg;
		return 0;
	case VHOST_SET_VRING_BASE:
		peer.base = *(struct vhost_vring_state *)arg;
		return 0;
	case VHOST_SET_VRING_ADDR:
		peer.addr = *(struct vhost_vring_addr *)arg;
		return 0;
	case VHOST_SET_VRING_KICK:
		peer.kick = *(struct vhost_vring_file *)arg;
		return 0;
	case VHOST_SET_VRING_CALL:
		peer.call = *(struct vhost_vring_file *)arg;
		return 0;
	default:
		return 0;
	}
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	int err = peer.fail_errno;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	assert_int_equal(fd, v.fd);
	assert_true(peer.cnt < CALLS_MAX);
	peer.calls[peer.cnt++] = request;
	if (peer.cnt - 1 != peer.fail_at)
		err = answer(request, arg);
	errno = err;
	return err ? -1 : 0;
}

ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	size_t less = peer.write_short;

	if (fd != v.fd)
		return __real_write(fd, buf, len);
	assert_int_equal(len, sizeof(struct vhost_msg_v2));
	assert_true(peer.iotlb_cnt < 4);
	memcpy(&peer.iotlb[peer.iotlb_cnt++], buf, len);
	peer.write_short = 0;
	errno = 0;
	return (ssize_t)(len - less);
}

static int peer_setup(void **state)
{
	memset(&peer, 0, sizeof(peer));
	peer.fail_at = NEVER;
	peer.backend_features = 1ull << VHOST_BACKEND_F_IOTLB_MSG_V2;
	peer.queues = 3;
	fds_before = fds_open();
	return 0;
}

static int peer_teardown(void **state)
{
	vhx_vhost_vdpa_close(&v);
	assert_int_equal(fds_open(), fds_before);
	return 0;
}

static void device_open(void)
{
	assert_int_equal(vhx_vhost_vdpa_open(&v, PATH, &error), 0);
}

/* From here on, calls are counted anew. */
static void calls_forget(void)
{
	peer.cnt = 0;
}

static void assert_calls(const unsigned long *calls, unsigned int cnt)
{
	assert_int_equal(peer.cnt, cnt);
	assert_memory_equal(peer.calls, calls, cnt * sizeof(*calls));
}

static void test_open_owns_and_resets_before_it_asks(void **state)
{
	static const unsigned long calls[] = {
		VHOST_SET_OWNER,	  VHOST_GET_BACKEND_FEATURES, VHOST_SET_BACKEND_FEATURES,
		VHOST_VDPA_SET_STATUS,	  VHOST_VDPA_GET_DEVICE_ID,   VHOST_GET_FEATURES,
		VHOST_VDPA_GET_VRING_NUM, VHOST_VDPA_GET_CONFIG_SIZE, VHOST_VDPA_GET_IOVA_RANGE,
		VHOST_VDPA_GET_VQS_COUNT,
	};

	peer.status = S_ALL_OK;
	device_open();
	assert_calls(calls, VHX_ARRAY_SIZE(calls));
	assert_int_equal(peer.status, 0);
	assert_int_equal(v.device_id, 2);
	assert_true(v.features == FEATURES);
	assert_int_equal(v.ring_size_max, 256);
	assert_int_equal(v.config_len, 60);
	assert_int_equal(v.queues, 3);
	assert_int_equal(v.iova_first, 0x1000);
	assert_int_equal(v.iova_last, 0xffffff);
}

/* Each call but the last one, which old kernels do not know. */
static void test_open_fails_at_each_call(void **state)
{
	for (peer.fail_at = 0; peer.fail_at < 9; peer.fail_at++) {
		calls_forget();
		peer.fail_errno = EBUSY;
		assert_int_equal(vhx_vhost_vdpa_open(&v, PATH, &error), -EBUSY);
		assert_string_equal(error.text, PATH ": Device or resource busy");
		assert_int_equal(v.fd, -1);
		assert_int_equal(fds_open(), fds_before);
	}
}

static void test_open_of_what_is_no_device(void **state)
{
	peer.fail_at = 0;
	peer.fail_errno = ENOTTY;
	assert_int_equal(vhx_vhost_vdpa_open(&v, PATH, &error), -ENOTTY);
	assert_string_equal(error.text, PATH ": this is no vDPA device");
	assert_int_equal(vhx_vhost_vdpa_open(&v, "/nonexistent/vdpa", &error), -ENOENT);
	assert_non_null(strstr(error.text, "is the device bound to vhost_vdpa?"));
}

static void test_open_wants_mappings(void **state)
{
	peer.backend_features = ~(1ull << VHOST_BACKEND_F_IOTLB_MSG_V2);
	assert_int_equal(vhx_vhost_vdpa_open(&v, PATH, &error), -EOPNOTSUPP);
	assert_int_equal(v.fd, -1);
}

static void test_number_of_queues(void **state)
{
	peer.no_queues = true;
	device_open();
	assert_int_equal(v.queues, 1);
	vhx_vhost_vdpa_close(&v);
	peer.no_queues = false;
	peer.queues = UINT32_MAX;
	calls_forget();
	device_open();
	assert_int_equal(v.queues, UINT16_MAX);
}

static void test_config(void **state)
{
	uint8_t config[4097] = { 0 };

	device_open();
	assert_int_equal(vhx_vhost_vdpa_config_get(&v, config, 60), 0);
	assert_int_equal(peer.config_off, 0);
	assert_int_equal(peer.config_len, 60);
	assert_int_equal(config[59], 0xc5);
	assert_int_equal(config[60], 0);
	assert_int_equal(vhx_vhost_vdpa_config_set(&v, 32, config, 1), 0);
	assert_int_equal(peer.config_off, 32);
	assert_int_equal(peer.config_len, 1);
	calls_forget();
	assert_int_equal(vhx_vhost_vdpa_config_get(&v, config, sizeof(config)), -ENOMEM);
	assert_int_equal(vhx_vhost_vdpa_config_set(&v, 0, config, sizeof(config)), -ENOMEM);
	assert_int_equal(peer.cnt, 0);
}

static void test_status_grows_step_by_step(void **state)
{
	static const unsigned long calls[] = {
		VHOST_VDPA_SET_STATUS, VHOST_VDPA_GET_STATUS, VHOST_VDPA_SET_STATUS,
		VHOST_VDPA_GET_STATUS, VHOST_SET_FEATURES,    VHOST_VDPA_SET_STATUS,
		VHOST_VDPA_GET_STATUS,
	};

	device_open();
	calls_forget();
	assert_int_equal(vhx_vhost_vdpa_negotiate(&v, 0x55), 0);
	assert_calls(calls, VHX_ARRAY_SIZE(calls));
	assert_int_equal(peer.features_set, 0x55);
	assert_int_equal(vhx_vhost_vdpa_status(&v), 0x0b);
	assert_int_equal(vhx_vhost_vdpa_run(&v), 0);
	assert_int_equal(vhx_vhost_vdpa_status(&v), S_ALL_OK);
	assert_int_equal(vhx_vhost_vdpa_reset(&v), 0);
	assert_int_equal(vhx_vhost_vdpa_status(&v), 0);
}

static void test_negotiation_fails_at_each_call(void **state)
{
	device_open();
	for (peer.fail_at = 0; peer.fail_at < 7; peer.fail_at++) {
		calls_forget();
		peer.fail_errno = ETIMEDOUT;
		assert_int_equal(vhx_vhost_vdpa_negotiate(&v, 1), -ETIMEDOUT);
		assert_int_equal(peer.cnt, peer.fail_at + 1);
	}
}

static void test_device_does_not_agree(void **state)
{
	device_open();
	peer.status_never = 8;
	assert_int_equal(vhx_vhost_vdpa_negotiate(&v, 1), -EINVAL);
	peer.status_never = 4;
	assert_int_equal(vhx_vhost_vdpa_negotiate(&v, 1), 0);
	assert_int_equal(vhx_vhost_vdpa_run(&v), -EIO);
	peer.status_never = 1;
	assert_int_equal(vhx_vhost_vdpa_negotiate(&v, 1), -EIO);
}

/* The kernel refuses a second mapping where there is one. */
static void test_mapping_is_replaced(void **state)
{
	uint8_t memory[1];

	device_open();
	assert_int_equal(vhx_vhost_vdpa_map(&v, 0x1000, memory, 4096), 0);
	assert_int_equal(peer.iotlb_cnt, 1);
	assert_int_equal(peer.iotlb[0].type, VHOST_IOTLB_MSG_V2);
	assert_int_equal(peer.iotlb[0].iotlb.type, VHOST_IOTLB_UPDATE);
	assert_int_equal(peer.iotlb[0].iotlb.iova, 0x1000);
	assert_int_equal(peer.iotlb[0].iotlb.size, 4096);
	assert_int_equal(peer.iotlb[0].iotlb.uaddr, (uintptr_t)memory);
	assert_int_equal(peer.iotlb[0].iotlb.perm, VHOST_ACCESS_RW);
	assert_int_equal(vhx_vhost_vdpa_map(&v, 0x1000, memory, 4096), 0);
	assert_int_equal(peer.iotlb_cnt, 3);
	assert_int_equal(peer.iotlb[1].iotlb.type, VHOST_IOTLB_INVALIDATE);
	assert_int_equal(peer.iotlb[2].iotlb.type, VHOST_IOTLB_UPDATE);
}

static void test_mapping_that_is_taken_in_part_is_none(void **state)
{
	uint8_t memory[1];

	device_open();
	peer.write_short = 1;
	assert_int_equal(vhx_vhost_vdpa_map(&v, 0x1000, memory, 4096), -EIO);
	assert_false(v.mapped);
}

static void test_ring(void **state)
{
	static const struct vhx_vhost_vdpa_ring ring = {
		.index = 2,
		.size = 128,
		.base = 0x80018001,
		.desc = 0x10000,
		.driver = 0x20000,
		.device = 0x30000,
		.kick_fd = 70,
		.call_fd = 71,
	};
	static const unsigned long calls[] = {
		VHOST_SET_VRING_NUM,  VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_VDPA_SET_VRING_ENABLE,
	};

	device_open();
	calls_forget();
	assert_int_equal(vhx_vhost_vdpa_ring(&v, &ring), 0);
	assert_calls(calls, VHX_ARRAY_SIZE(calls));
	assert_int_equal(peer.num.index, 2);
	assert_int_equal(peer.num.num, 128);
	assert_int_equal(peer.base.num, 0x80018001);
	assert_int_equal(peer.addr.desc_user_addr, 0x10000);
	assert_int_equal(peer.addr.avail_user_addr, 0x20000);
	assert_int_equal(peer.addr.used_user_addr, 0x30000);
	assert_int_equal(peer.kick.fd, 70);
	assert_int_equal(peer.call.fd, 71);
	for (peer.fail_at = 0; peer.fail_at < VHX_ARRAY_SIZE(calls); peer.fail_at++) {
		calls_forget();
		peer.fail_errno = EFAULT;
		assert_int_equal(vhx_vhost_vdpa_ring(&v, &ring), -EFAULT);
		assert_int_equal(peer.cnt, peer.fail_at + 1);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_open_owns_and_resets_before_it_asks),
		T(test_open_fails_at_each_call),
		T(test_open_of_what_is_no_device),
		T(test_open_wants_mappings),
		T(test_number_of_queues),
		T(test_config),
		T(test_status_grows_step_by_step),
		T(test_negotiation_fails_at_each_call),
		T(test_device_does_not_agree),
		T(test_mapping_is_replaced),
		T(test_mapping_that_is_taken_in_part_is_none),
		T(test_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
