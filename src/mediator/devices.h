/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From what the operator said of a device to the device model that serves it: one row per type. Options
 * are in config/spec_TYPE.c, models in src/device; neither knows the other.
 */
#ifndef VHX_MEDIATOR_DEVICES_H
#define VHX_MEDIATOR_DEVICES_H

#include "backend/device.h"
#include "config/device_spec.h"
#include "confine/confine.h"

/* What all models of a program are made with. */
struct vhx_device_env {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	uint32_t ring_size; /* a request larger than that never travels in one message */
	enum vhx_confine_mode sandbox; /* of processes that a device needs beside it */
};

/*
 * Makes the model of @spec; opens what it names. 0 and *@dev, to be ended by its ops->close() or given to a
 * backend; or negative with one line that names the device.
 */
int vhx_device_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		   struct vhx_device **dev, struct vhx_error *err);

/*
 * For a device that is added to a program that opens nothing any more: @fd came with @spec, or -1, none did. The
 * image of a disk is that and nothing else, whatever number the text names. 0, or -EINVAL with a text.
 */
int vhx_device_take_fd(struct vhx_device_spec *spec, int fd, struct vhx_error *err);

#endif
