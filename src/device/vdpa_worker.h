/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls of a vDPA device, on a thread of its own: the kernel makes some of them wait for the device, which may
 * be a process that hangs. One call at a time.
 *
 *   idle --ask--> busy --the thread--> answered, its event is readable --take--> idle
 *
 * All that a call can reach is the worker's and lives as long as the thread: the file of the device, the memory, the
 * eventfds. So who owns the worker can leave it in the middle of a call.
 */
#ifndef VHX_DEVICE_VDPA_WORKER_H
#define VHX_DEVICE_VDPA_WORKER_H

#include "backend/device.h"
#include "device/bridge_memory.h"
#include "device/vdpa.h"
#include "device/vhost_vdpa.h"

enum vhx_vdpa_call {
	VHX_VDPA_START, /* features, rings, config_fd: up to DRIVER_OK, or reset again */
	VHX_VDPA_STOP, /* the device lets go of all that it has */
	VHX_VDPA_LOOK, /* the status, and @len bytes of the config */
	VHX_VDPA_WRITE, /* @len bytes of the config, from @off on */
	VHX_VDPA_CALL_CNT_,
};

/* A call, with copies of all that it takes. */
struct vhx_vdpa_job {
	enum vhx_vdpa_call call;
	int ret; /* 0 or a negative errno */
	uint64_t features;
	int config_fd;
	uint16_t num_rings;
	struct vhx_vhost_vdpa_ring rings[VHX_VDPA_QUEUES_MAX];
	int status; /* or a negative errno */
	uint32_t off, len;
	uint8_t bytes[VHX_DEVICE_CONFIG_MAX];
};

struct vhx_vdpa_worker;

/* What the owner sees of one. Its own to change until the first call; then to read, but for @peer.fd and what is mapped. */
struct vhx_vdpa_worker_view {
	struct vhx_vhost_vdpa peer;
	struct vhx_bridge_memory memory;
	struct vhx_vdpa_job job; /* while none is under way */
	int event_fd; /* readable: one was answered */
	uint64_t bytes; /* that it takes, without the memory */
};

/* Has no thread yet. NULL: there is no memory. */
struct vhx_vdpa_worker *vhx_vdpa_worker_new(void);
struct vhx_vdpa_worker_view *vhx_vdpa_worker_view(struct vhx_vdpa_worker *w);
/* Another eventfd that calls may tell the kernel of, or a negative errno. */
int vhx_vdpa_worker_event(struct vhx_vdpa_worker *w);

/* From the question until its answer is taken. */
bool vhx_vdpa_worker_busy(const struct vhx_vdpa_worker *w);
/* Makes the call of @job. 0; -EAGAIN: there is no thread to be had. */
int vhx_vdpa_worker_ask(struct vhx_vdpa_worker *w);
/* True: the call is over, and @job says how. */
bool vhx_vdpa_worker_take(struct vhx_vdpa_worker *w);

/*
 * Closes all, the device first, which resets it. Where that takes longer, or the call that is under way does, it is not
 * waited for: what the worker has ends with the thread then.
 */
#define VHX_VDPA_END_MS 200
void vhx_vdpa_worker_end(struct vhx_vdpa_worker *w);
/* The same for one whose device nobody was shown: here and now, without a thread. */
void vhx_vdpa_worker_abandon(struct vhx_vdpa_worker *w);

#endif
