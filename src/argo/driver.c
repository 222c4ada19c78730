// SPDX-License-Identifier: BSD-3-Clause
#include "argo/driver.h"

#include <stdlib.h>
#include <unistd.h>

#include <vhx/argo_stream.h>

#include "exchange/argo_device.h"

#define NS_PER_MS 1000000ull
#define PROBE_MS_MAX 3600000u

const char *vhx_argo_version(void)
{
	return VHX_VERSION;
}

void vhx_argo_driver_init(struct vhx_argo_driver *driver)
{
	*driver = (struct vhx_argo_driver){
		.device = -1,
		.ring_len = VHX_ARGO_STREAM_RING_DEFAULT,
		.probe_ns = VHX_ARGO_STREAM_PROBE_NS,
	};
}

static int device_endpoint(struct vhx_argo_driver *driver, struct vhx_argo_dev **dev)
{
	return vhx_argo_device_endpoint(driver->device, dev);
}

/* An endpoint that can be had now can be had later. */
static int driver_try(struct vhx_argo_driver *driver)
{
	struct vhx_argo_dev *dev;
	int err = driver->endpoint(driver, &dev);

	if (err)
		return err;
	driver->domid = dev->domid;
	vhx_argo_dev_close(dev);
	return 0;
}

int vhx_argo_driver_open(struct vhx_argo_driver **driver)
{
	struct vhx_argo_driver *d = malloc(sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	vhx_argo_driver_init(d);
	d->endpoint = device_endpoint;
	d->device = vhx_argo_device_open();
	err = d->device < 0 ? d->device : driver_try(d);
	if (err)
		vhx_argo_driver_close(d);
	else
		*driver = d;
	return err;
}

void vhx_argo_driver_close(struct vhx_argo_driver *driver)
{
	if (driver && driver->device >= 0)
		close(driver->device);
	free(driver);
}

uint16_t vhx_argo_driver_domid(const struct vhx_argo_driver *driver)
{
	return driver->domid;
}

int vhx_argo_driver_set_ring_len(struct vhx_argo_driver *driver, uint32_t bytes)
{
	if (bytes < VHX_ARGO_RING_MIN || bytes > VHX_ARGO_RING_MAX || bytes % ARGO_SLOT_SIZE)
		return -EINVAL;
	driver->ring_len = bytes;
	return 0;
}

int vhx_argo_driver_set_probe(struct vhx_argo_driver *driver, unsigned int ms)
{
	if (!ms || ms > PROBE_MS_MAX)
		return -EINVAL;
	driver->probe_ns = ms * NS_PER_MS;
	return 0;
}
