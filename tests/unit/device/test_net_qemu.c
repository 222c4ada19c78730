// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sockets of the network device against QEMU's: a QEMU without a machine joins its -netdev stream and -netdev dgram in
 * a hub, and frames go from a device at the one through QEMU to a device at the other. Skipped without QEMU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/net.h"
#include "device/net_layout.h"

#define HDR ((uint32_t)sizeof(struct virtio_net_hdr))
#define QEMU "/usr/bin/qemu-system-x86_64"
#define SKIPPED 77
#define FRAMES 50
#define PATIENCE_MS 60000

static struct vhx_loop *loop;
static char dir[64], stream[96], local[96], remote[96];
static struct vhx_queue rx = { .index = 0 }, tx = { .index = 1 };
static pid_t qemu;

static struct vhx_device *device_open(const char *fmt, const char *a, const char *b)
{
	struct vhx_net_config cfg = { .id = "n0" };
	struct vhx_error err = { "" };
	struct vhx_device *dev;
	char end[256];

	snprintf(end, sizeof(end), "%s:%s%s%s", fmt, a, b ? ":" : "", b ? b : "");
	cfg.end = end;
	if (vhx_net_new(loop, &cfg, NULL, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(dev->ops->set_features(dev, 0), 0);
	return dev;
}

static void device_close(struct vhx_device *dev)
{
	dev->ops->reset(dev, &rx);
	dev->ops->reset(dev, &tx);
	dev->ops->close(dev);
}

static unsigned int link_up(struct vhx_device *dev)
{
	return dev->config[offsetof(struct virtio_net_config, status)] & VIRTIO_NET_S_LINK_UP;
}

static void qemu_start(bool server)
{
	char s[320], d[320];

	snprintf(s, sizeof(s), "stream,id=s,server=%s,addr.type=unix,addr.path=%s",
		 server ? "on" : "off", stream);
	snprintf(d, sizeof(d),
		 "dgram,id=d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", remote,
		 local);
	qemu = fork();
	if (!qemu) {
		execl(QEMU, QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-netdev",
		      s, "-netdev", d, "-netdev", "hubport,id=a,hubid=0,netdev=s", "-netdev",
		      "hubport,id=b,hubid=0,netdev=d", NULL);
		_exit(127);
	}
}

static void file_wait(const char *path)
{
	unsigned int ms;

	for (ms = 0; access(path, F_OK); ms += 10) {
		assert_true(ms < PATIENCE_MS);
		assert_int_equal(waitpid(qemu, NULL, WNOHANG), 0);
		usleep(10000);
	}
}

static void qemu_end(void)
{
	kill(qemu, SIGKILL);
	waitpid(qemu, NULL, 0);
	unlink(stream);
	unlink(remote);
}

static void frame_fill(uint8_t *p, uint32_t len, uint8_t seed)
{
	memset(p, seed, len);
	memset(p, 0xff, VHX_ETHER_ADDRESS_LEN);
}

/* A frame out at @from arrives at @to. */
static void frame_through(struct vhx_device *from, struct vhx_device *to, uint32_t len,
			  uint8_t seed)
{
	uint8_t bytes[HDR + 1514];
	struct fake_request *in = fake_request_new(to, &rx, "", 0, sizeof(bytes)), *out;
	unsigned int ms;

	fake_submit(in);
	memset(bytes, 0, HDR);
	frame_fill(bytes + HDR, len, seed);
	out = fake_request_new(from, &tx, bytes, HDR + len, 0);
	fake_submit(out);
	for (ms = 0; !in->completed; ms += 10) {
		assert_true(ms < PATIENCE_MS);
		assert_int_equal(vhx_loop_once(loop, 10), 0);
	}
	assert_int_equal(in->used_len, HDR + len);
	assert_memory_equal(in->answer + HDR, bytes + HDR, len);
	assert_true(out->completed);
	fake_request_free(in);
	fake_request_free(out);
}

static void frames_both_ways(struct vhx_device *a, struct vhx_device *b)
{
	uint32_t i;

	for (i = 0; i < FRAMES; i++) {
		frame_through(a, b, 60 + i * 29, (uint8_t)(2 * i));
		frame_through(b, a, 1514 - i * 29, (uint8_t)(2 * i + 1));
	}
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/vhx-net.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(stream, sizeof(stream), "%s/stream", dir);
	snprintf(local, sizeof(local), "%s/local", dir);
	snprintf(remote, sizeof(remote), "%s/remote", dir);
	fake_init();
	return vhx_loop_new(0, &loop);
}

static int teardown(void **state)
{
	qemu_end();
	vhx_loop_free(loop);
	return rmdir(dir);
}

/* QEMU connects to us; and when it ends, the link goes down at both. */
static void test_qemu_connects(void **state)
{
	struct vhx_device *a = device_open("listen", stream, NULL), *b;
	struct fake_request *posted;

	qemu_start(false);
	file_wait(remote);
	b = device_open("dgram", local, remote);
	while (!link_up(a))
		assert_int_equal(vhx_loop_once(loop, 1000), 0);
	frames_both_ways(a, b);
	posted = fake_request_new(a, &rx, "", 0, 2000);
	fake_submit(posted);
	kill(qemu, SIGKILL);
	while (link_up(a))
		assert_int_equal(vhx_loop_once(loop, 1000), 0);
	device_close(a);
	device_close(b);
	fake_request_free(posted);
}

static void test_qemu_is_connected_to(void **state)
{
	struct vhx_device *a, *b;

	qemu_start(true);
	file_wait(stream);
	file_wait(remote);
	a = device_open("stream", stream, NULL);
	b = device_open("dgram", local, remote);
	frames_both_ways(a, b);
	device_close(a);
	device_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_qemu_connects, setup, teardown),
		cmocka_unit_test_setup_teardown(test_qemu_is_connected_to, setup, teardown),
	};

	if (access(QEMU, X_OK)) {
		printf("SKIP: package qemu-system-x86 is missing\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
