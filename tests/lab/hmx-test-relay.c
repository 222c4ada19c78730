// SPDX-License-Identifier: BSD-3-Clause
/*
 * hmx-test-relay BACKEND [SIZE [DEVICE]]: what vhx-ivshmem is to QEMU, for a guest driver on this very kernel.
 * Makes a window of SIZE bytes (1M), gives it to DEVICE (/dev/hmx_test), meets the backend on the unix socket
 * BACKEND and carries the events, until it is killed.
 */
#include <vhx/hmx_test.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mediator/program.h"
#include "mediator/window_relay.h"

static int device_open(const char *path)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fprintf(stderr, "hmx-test-relay: %s: %s\n", path, strerror(errno));
	return fd;
}

static int device_attach(int device, int window, uint32_t size)
{
	struct hmx_test_window w = { .fd = window, .size = size };

	if (!ioctl(device, HMX_TEST_WINDOW, &w))
		return 0;
	fprintf(stderr, "hmx-test-relay: HMX_TEST_WINDOW: %s\n", strerror(errno));
	return -errno;
}

static int relay_run(struct vhx_program *p, const char *backend, uint32_t size, int device)
{
	struct vhx_window_relay_stats stats = { 0 };
	struct vhx_window_relay_config cfg = {
		.loop = p->loop,
		.log = p->log,
		.backend = backend,
		.size = size,
		.bell = { device, device },
		.stats = &stats,
	};
	struct vhx_window_relay *relay;
	int ret = vhx_window_relay_new(&cfg, &relay);

	if (ret) {
		fprintf(stderr, "hmx-test-relay: %s\n", strerror(-ret));
		return ret;
	}
	ret = device_attach(device, vhx_window_relay_window(relay), size);
	if (!ret) {
		vhx_log(p->log, VHX_LOG_INFO, "ready");
		ret = vhx_loop_run(p->loop);
	}
	vhx_window_relay_free(relay);
	return ret;
}

int main(int argc, char **argv)
{
	struct vhx_program_settings settings;
	struct vhx_program program;
	uint32_t size = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1u << 20;
	int device, ret;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: hmx-test-relay BACKEND [SIZE [DEVICE]]\n");
		return VHX_EXIT_USAGE;
	}
	device = device_open(argc > 3 ? argv[3] : "/dev/hmx_test");
	if (device < 0)
		return VHX_EXIT_FAILED;
	vhx_program_defaults(&settings);
	settings.poll_us = 0;
	ret = vhx_program_init(&program, "hmx-test-relay", &settings);
	if (!ret) {
		ret = relay_run(&program, argv[1], size, device);
		vhx_program_fini(&program);
	}
	close(device);
	return ret ? VHX_EXIT_FAILED : VHX_EXIT_OK;
}
