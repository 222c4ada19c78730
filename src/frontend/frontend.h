/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frontend: one channel to a backend, which it connects, loses and connects again, and the devices
 * that it uses over it. Requests come from a *source* per queue: the vring of a guest, or a program
 * that embeds this library.
 *
 * All calls come from the loop's thread, and so do all callbacks. What a backend sends can be wrong in any
 * way; it ends the channel and reaches the source only as "completed with an error" or not at all.
 */
#ifndef VHX_FRONTEND_FRONTEND_H
#define VHX_FRONTEND_FRONTEND_H

#include <sys/uio.h>

#include "core/driver.h"
#include "exchange/exchange.h"
#include "link/trace.h"
#include "loop/loop.h"
#include "util/log.h"

#define VHX_FRONTEND_DEVICES_MAX 64u

struct vhx_frontend;
struct vhx_fdev;
struct vhx_fqueue;

/*
 * One request of a source. @out is read until the request has been sent, which is before the next call
 * of next() or again() on the same queue; @in is written until complete().
 */
struct vhx_frequest {
	uint16_t id; /* below the queue's size, not in flight */
	const struct iovec *out;
	const struct iovec *in;
	uint32_t out_cnt, in_cnt;
	uint32_t out_len, in_len;
};

struct vhx_fsource_ops {
	/* 1: @req is the next request. 0: none now. Negative: the source is broken; the queue stops. */
	int (*next)(void *ctx, struct vhx_frequest *req);
	/* The same once more for a request in flight, to be sent to another backend. 0 or negative. */
	int (*again)(void *ctx, uint16_t id, struct vhx_frequest *req);
	void (*complete)(void *ctx, uint16_t id, uint32_t used_len);
	/*
	 * The queue ends, and nobody has answered what is in flight, nor will: all of it as if next() had never
	 * given it. False: that cannot be, and they are completed as the device's type says. May be NULL.
	 */
	bool (*give_back)(void *ctx);
	/* Bytes at @p were written for the guest (dirty log). May be NULL. */
	void (*written)(void *ctx, const void *p, uint64_t len);
	/* Completions of this pass are through: make them visible at once. */
	void (*flush)(void *ctx);
	/* About to sleep: ask for a kick at the next request. True: there is one already. */
	bool (*arm)(void *ctx);
	/* A pass begins to take requests: no kicks are needed while it runs. */
	void (*disarm)(void *ctx);
	void (*broken)(void *ctx, int reason);
};

struct vhx_fdev_ops {
	/* The device is known, features, queues and config can be asked for: once, for the first time. */
	void (*known)(void *ctx);
	void (*config_changed)(void *ctx);
	void (*config_written)(void *ctx, bool refused);
	/* Ends vhx_fqueue_stop() and vhx_fdev_reset() that returned -EINPROGRESS. */
	void (*queue_stopped)(void *ctx, uint16_t index);
	void (*reset_done)(void *ctx);
	/* The device cannot be served: no such name, or not the device it was. One line was logged. */
	void (*unusable)(void *ctx, int reason);
};

struct vhx_fdev_stats {
	uint64_t requests, completed, errors;
	uint64_t bytes_out, bytes_in, bytes_copied;
	uint64_t replays; /* requests sent again */
	uint64_t stale; /* messages of a dead epoch */
};

struct vhx_frontend_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	/*
	 * Makes a new port to the backend: 0 or negative; called again, with back-off, until it works and after
	 * each loss. @peer names it for the log.
	 */
	int (*connect)(void *ctx, struct vhx_port **port);
	void *ctx;
	const char *peer;
	struct vhx_trace *trace; /* outlives the frontend; NULL: none */
};

int vhx_frontend_new(const struct vhx_frontend_config *cfg, struct vhx_frontend **fe);
void vhx_frontend_free(struct vhx_frontend *fe);
/* Connects now, or begins to try. */
void vhx_frontend_start(struct vhx_frontend *fe);

/* @name: the backend's name for the device, "" for its only one. */
int vhx_fdev_new(struct vhx_frontend *fe, const char *name, const struct vhx_fdev_ops *ops,
		 void *ctx, struct vhx_fdev **fdev);

/* Cached; valid once known. Never waits. */
const struct vhx_driver_identity *vhx_fdev_identity(const struct vhx_fdev *fdev);
bool vhx_fdev_known(const struct vhx_fdev *fdev);
/* Features for the next start: device bits; VERSION_1 and RING_RESET are added. -EINVAL: not offered. */
int vhx_fdev_set_features(struct vhx_fdev *fdev, uint64_t features);
/* Ends in config_written, in the order of the calls. -EBUSY: too many have not ended; -EINVAL: outside of the config. */
int vhx_fdev_write_config(struct vhx_fdev *fdev, uint32_t off, const void *buf, uint32_t len);
/* Forgets all requests in flight and resets the device. 0: done; -EINPROGRESS: reset_done follows. */
int vhx_fdev_reset(struct vhx_fdev *fdev);
/* The same without anybody who waits for the end. */
void vhx_fdev_abandon(struct vhx_fdev *fdev);
const struct vhx_fdev_stats *vhx_fdev_stats(const struct vhx_fdev *fdev);
const char *vhx_fdev_state(const struct vhx_fdev *fdev);

/* Starts a stopped queue of @size requests at most. 0, -EINVAL, -EBUSY, -ENOMEM. */
int vhx_fqueue_start(struct vhx_fdev *fdev, uint16_t index, uint16_t size,
		     const struct vhx_fsource_ops *ops, void *ctx, struct vhx_fqueue **q);
/*
 * Takes no more requests and waits for those in flight that have out bytes; then, or after
 * VHX_FQUEUE_DRAIN_NS, the backend is fenced off and all that is left is given back or ends with an error.
 * 0: stopped; -EINPROGRESS: queue_stopped follows within twice that time.
 */
#define VHX_FQUEUE_DRAIN_NS (2 * 1000000000ull)
int vhx_fqueue_stop(struct vhx_fqueue *q);
/* Stops at once; requests in flight are forgotten and the source is not called again. */
void vhx_fqueue_kill(struct vhx_fqueue *q);
/* The source has something. */
void vhx_fqueue_kick(struct vhx_fqueue *q);
/*
 * The source's memory moved: asks again() for every request in flight. 0; or the source's error, and
 * the queue has to be killed.
 */
int vhx_fqueue_refetch(struct vhx_fqueue *q);
uint32_t vhx_fqueue_in_flight(const struct vhx_fqueue *q);

/* For the stats. @port is NULL while there is no channel. */
const struct vhx_port *vhx_frontend_port(const struct vhx_frontend *fe);
const char *vhx_frontend_state(const struct vhx_frontend *fe);
uint64_t vhx_frontend_credits_sent(const struct vhx_frontend *fe);
uint64_t vhx_frontend_memory(const struct vhx_frontend *fe);

#endif
