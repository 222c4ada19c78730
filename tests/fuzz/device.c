// SPDX-License-Identifier: BSD-3-Clause
#include "device.h"

#include <stdlib.h>

#include "fuzz.h"
#include "loop/loop.h"

void fuzz_device_begin(struct fuzz_device *d)
{
	uint16_t i;

	if (!d->loop && vhx_loop_new(0, &d->loop))
		abort();
	fake_init();
	for (i = 0; i < FUZZ_QUEUES_MAX; i++)
		d->queues[i] = (struct vhx_queue){ .index = i };
}

static void requests_reap(struct fuzz_device *d)
{
	unsigned int i;

	for (i = 0; i < FUZZ_REQUESTS_MAX; i++) {
		if (!d->requests[i] || !(d->requests[i]->completed || d->requests[i]->dropped))
			continue;
		fake_request_free(d->requests[i]);
		d->requests[i] = NULL;
	}
}

void fuzz_device_give(struct fuzz_device *d, unsigned int queue, const uint8_t *out,
		      uint32_t out_len, uint32_t in_len)
{
	unsigned int i;

	requests_reap(d);
	for (i = 0; i < FUZZ_REQUESTS_MAX && d->requests[i]; i++)
		;
	if (i == FUZZ_REQUESTS_MAX)
		return;
	d->requests[i] = fake_request_new(d->dev, &d->queues[queue], out, out_len, in_len);
	fake_submit(d->requests[i]);
}

void fuzz_device_check_idle(struct fuzz_device *d)
{
	unsigned int i;

	requests_reap(d);
	for (i = 0; i < FUZZ_REQUESTS_MAX; i++)
		FUZZ_CHECK(!d->requests[i]);
	FUZZ_CHECK(!fake.in_flight);
}
