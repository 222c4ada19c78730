/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts a backend for one disk as a process of its own: it inherits its end of the exchange, the
 * image's descriptor and standard error, and nothing else; no rights, no environment, no way to get new ones.
 */
#ifndef VHX_MEDIATOR_SPAWN_H
#define VHX_MEDIATOR_SPAWN_H

#include <sys/types.h>

#include "config/device_spec.h"
#include "mediator/program.h"

struct vhx_spawn_config {
	const struct vhx_device_spec *spec; /* a blk with a file */
	const struct vhx_program_settings *settings; /* for the child too, but not its control socket */
	const char *program; /* path of vhx-backend */
};

/*
 * 0: *@sock is our end, connected, and *@pid the child's. Negative with a text. The child ends when our end
 * is closed; reap it.
 */
int vhx_spawn(const struct vhx_spawn_config *cfg, int *sock, pid_t *pid, struct vhx_error *err);

#endif
