/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one who starts backends for a confined frontend, which can neither open an image nor run a program any
 * more: a process of its own, forked before a peer is heard.
 */
#ifndef VHX_MEDIATOR_SPAWNER_H
#define VHX_MEDIATOR_SPAWNER_H

#include "mediator/attendant.h"
#include "mediator/spawn.h"

struct vhx_spawner {
	struct vhx_attendant attendant;
};

/*
 * Forks it. What @cfg points to is what every backend will be started with; nothing that happens in this process
 * later changes it. 0 or a negative errno.
 */
int vhx_spawner_open(const struct vhx_spawn_config *cfg, struct vhx_spawner *s);

/*
 * How did the last backend end? 0: *@status as of waitpid(2), told once; -ECHILD: there is none; -EBUSY: it lives;
 * -EPIPE: the spawner is gone.
 */
int vhx_spawner_reap(const struct vhx_spawner *s, int *status);

/* 0: *@sock is the channel to a new backend, the caller's. Negative with a text. The last one has been reaped. */
int vhx_spawner_start(const struct vhx_spawner *s, int *sock, struct vhx_error *err);

/* Waits for the end of the backend, whose channel is closed, and of the spawner. May be repeated. */
void vhx_spawner_close(struct vhx_spawner *s);

#endif
