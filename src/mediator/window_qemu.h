/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A window for an unpatched QEMU: the server's side of the protocol by which `-device ivshmem-doorbell` gets
 * its memory and its eventfds. We are peer 0, the guest is peer 1. One QEMU at a time, and each gets a window of
 * its own.
 */
#ifndef VHX_MEDIATOR_WINDOW_QEMU_H
#define VHX_MEDIATOR_WINDOW_QEMU_H

#include "mediator/window_relay.h"
#include "util/error.h"
#include "util/unix_guard.h"

/* Interrupt vectors that a device can be told of; only the first is ever raised. */
#define VHX_WINDOW_VECTORS_MAX 8u

struct vhx_window_qemu;

struct vhx_window_qemu_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	const char *path; /* of the socket that QEMU connects to */
	const struct vhx_unix_policy *policy; /* who may be the QEMU; NULL: our user; stays valid */
	const char *backend; /* path of the backend's socket; stays valid */
	uint32_t size; /* of windows */
	uint32_t vectors; /* 1 to VHX_WINDOW_VECTORS_MAX */
};

struct vhx_window_qemu_stats {
	struct vhx_window_relay_stats relay;
	uint64_t guests; /* QEMUs served so far */
	uint64_t refused; /* a second one while one was there */
	const char *guest; /* "connected", "waiting" */
	const char *backend; /* the same; "idle" without a guest */
	uint64_t memory;
};

/* 0, or a negative errno with a text: see vhx_unix_listen(). */
int vhx_window_qemu_open(const struct vhx_window_qemu_config *cfg, struct vhx_window_qemu **qemu,
			 struct vhx_error *err);
/* May be called on NULL. */
void vhx_window_qemu_close(struct vhx_window_qemu *q);
/* Takes @sock over, connected and of type SOCK_STREAM, as if it had been accepted. */
void vhx_window_qemu_accept(struct vhx_window_qemu *q, int sock);
void vhx_window_qemu_stats(const struct vhx_window_qemu *q, struct vhx_window_qemu_stats *stats);

#endif
