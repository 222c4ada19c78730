/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-rng, the entropy device (VirtIO 5.4), from the host kernel's generator.
 */
#ifndef VHX_DEVICE_RNG_H
#define VHX_DEVICE_RNG_H

#include "backend/device.h"
#include "util/error.h"

/* Most that one request gets; drivers ask for 32 to 4096 bytes and take what comes. */
#define VHX_RNG_ANSWER_MAX 4096u
#define VHX_RNG_QUEUE_SIZE_MAX 1024u

struct vhx_rng_config {
	const char *id;
	uint32_t max_bytes; /* per period; 0: without limit */
	uint32_t period_ms;
	uint16_t queue_size; /* 0: VHX_RNG_QUEUE_SIZE_MAX */
};

/*
 * 0, -ENOMEM, -ENOSYS (a kernel without getrandom); @err says it in one line that starts with the id.
 * Copies @config. @log and @loop must outlive the device, which its ops->close() ends.
 */
int vhx_rng_new(struct vhx_loop *loop, const struct vhx_rng_config *config,
		const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err);

#endif
