/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What targets that feed a device model have in common: its loop, its queues, and the requests that it holds, from the
 * backend of its unit tests.
 */
#ifndef VHX_FUZZ_DEVICE_H
#define VHX_FUZZ_DEVICE_H

#include "../unit/device/fake_backend.h"

/* As many as a bridge has. */
#define FUZZ_QUEUES_MAX 8u
#define FUZZ_REQUESTS_MAX 64u

struct fuzz_device {
	struct vhx_loop *loop; /* lives as long as the program */
	struct vhx_device *dev; /* made and closed by the target */
	struct vhx_queue queues[FUZZ_QUEUES_MAX];
	struct fake_request *requests[FUZZ_REQUESTS_MAX];
};

/* As for a new input: a loop, a backend, and queues that nothing has happened to. */
void fuzz_device_begin(struct fuzz_device *d);
/* Submits one; without effect while the device holds as many as it may. */
void fuzz_device_give(struct fuzz_device *d, unsigned int queue, const uint8_t *out,
		      uint32_t out_len, uint32_t in_len);
/* After a reset of all queues: the device holds nothing any more. */
void fuzz_device_check_idle(struct fuzz_device *d);

#endif
