/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvhx: VirtIO devices of a backend in another process, for a VMM or any other program to embed. The
 * backend sees the bytes of requests and nothing else of this program's memory.
 *
 * Objects. A connection holds one channel to one backend and everything on it; vhx_conn_free() ends
 * all of it. Devices live as long as their connection, queues until they are stopped or the device is
 * reset.
 *
 *   vhx_conn_new -> vhx_conn_connect -> vhx_dev_open -> vhx_dev_wait -> vhx_dev_set_features
 *     -> vhx_vq_start -> vhx_vq_submit ... completions ... -> vhx_vq_stop, vhx_dev_reset
 *
 * Threads. A connection and all that belongs to it is used by one thread at a time; connections are
 * independent of each other. Only vhx_conn_stop() may come from another thread or a signal handler.
 *
 * Progress is made inside vhx_conn_run(), vhx_conn_wait(), vhx_conn_dispatch() and vhx_dev_wait(), and
 * only there: vhx_vq_submit() notes a request, the next of these sends it, together with all others.
 *
 * Callbacks are made from within these four. They may submit, poll, read the config and call
 * vhx_conn_stop(); anything that starts, stops, resets, waits or frees says -EDEADLK there.
 *
 * Errors are negative errno values. Nothing here prints, exits, or blocks except where it says "waits".
 */
#ifndef VHX_VHX_H
#define VHX_VHX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VHX_API __attribute__((visibility("default")))

struct vhx_conn;
struct vhx_dev;
struct vhx_vq;

/* "0.1.0": of the library that is linked, not of this header. */
VHX_API const char *vhx_version(void);

/*
 * Connections
 */

/* 0, -ENOMEM. */
VHX_API int vhx_conn_new(struct vhx_conn **conn);

/* Closes the channel. Requests that have not completed are forgotten, without a callback. NULL is fine. */
VHX_API void vhx_conn_free(struct vhx_conn *conn);

/*
 * One line of text for an event, at a syslog level (3 error ... 7 debug) of @level or more urgent. Without
 * this, nothing is said. Before connecting.
 */
typedef void vhx_log_fn(void *ctx, int level, const char *text);
VHX_API int vhx_conn_set_log(struct vhx_conn *conn, int level, vhx_log_fn *fn, void *ctx);

/*
 * Bytes of the section that this end sends in: a power of two, 16 KiB to 64 MiB, default 1 MiB.
 * Before connecting. 0, -EINVAL, -EISCONN.
 */
VHX_API int vhx_conn_set_ring_size(struct vhx_conn *conn, size_t bytes);

/*
 * Look for answers up to so many microseconds before sleeping; default 32, or 0 where the process has only
 * one CPU. It saves a wake per request where a CPU is to spare, and adapts: what does not pay is not
 * done for long. Before connecting.
 */
VHX_API int vhx_conn_set_poll(struct vhx_conn *conn, unsigned int usec);

/*
 * Connects to a backend that listens at @address, "unix:PATH"; now, or when it comes, and again after a loss,
 * in which case requests in flight are sent again where their device type allows it.
 * 0, -EINVAL, -ENAMETOOLONG, -EISCONN, -ENOMEM.
 */
VHX_API int vhx_conn_connect(struct vhx_conn *conn, const char *address);

/*
 * The same over @fd, a connected SOCK_SEQPACKET socket whose other end a backend has (--channel-fd).
 * Takes @fd over, also when it fails. There is no second try: after a loss (VHX_EVENT_LOST) requests end with
 * vhx_dev_reset().
 */
VHX_API int vhx_conn_connect_fd(struct vhx_conn *conn, int fd);

/* Makes progress until vhx_conn_stop(): waits. 0 or a negative errno. */
VHX_API int vhx_conn_run(struct vhx_conn *conn);
VHX_API void vhx_conn_stop(struct vhx_conn *conn);

/*
 * Makes progress once; waits for it at most @timeout_ms, -1: for ever. Returns early when a queue without a
 * callback has completions. 0 or a negative errno.
 */
VHX_API int vhx_conn_wait(struct vhx_conn *conn, int timeout_ms);

/*
 * For a program with a loop of its own: when vhx_conn_fileno() is readable, and after submitting, call
 * vhx_conn_dispatch(), which never waits. The descriptor stays the connection's and the same; -ENOTCONN.
 */
VHX_API int vhx_conn_fileno(const struct vhx_conn *conn);
VHX_API int vhx_conn_dispatch(struct vhx_conn *conn);

/* All counters start at 0 with the connection and with each new channel, and only grow until then. */
struct vhx_conn_stats {
	uint64_t tx_messages, tx_bytes;
	uint64_t rx_messages, rx_bytes;
	uint64_t sends; /* calls into the exchange that moved messages */
	uint64_t credits_sent; /* messages that carried nothing but credit */
	uint64_t wakes_sent, wakes_taken;
	uint64_t would_blocks;
	uint64_t sleeps; /* of the loop */
	uint64_t polls, poll_hits;
	uint64_t memory; /* bytes allocated for channel and queues */
};

/* Fills the first @size bytes (sizeof *stats): later versions may know more. */
VHX_API void vhx_conn_stats(const struct vhx_conn *conn, struct vhx_conn_stats *stats, size_t size);

/*
 * Devices
 */

enum vhx_event {
	VHX_EVENT_KNOWN = 0, /* type, features, queues and config can be asked for */
	VHX_EVENT_CONFIG = 1, /* the config space changed */
	VHX_EVENT_CONFIG_WRITTEN = 2, /* vhx_dev_write_config() is through */
	VHX_EVENT_CONFIG_REFUSED = 3, /* the backend did not take it */
	VHX_EVENT_RESET = 4, /* vhx_dev_reset() is through */
	VHX_EVENT_STOPPED = 5, /* vhx_vq_stop() is through */
	VHX_EVENT_UNUSABLE = 6, /* cannot be served: no such device, taken, or not the one it was */
	VHX_EVENT_LOST = 7, /* the channel is gone; see vhx_conn_connect() */
};
typedef void vhx_event_fn(void *ctx, enum vhx_event event);

/*
 * Asks for the backend's device of this name; "" for its only one. It is known later: vhx_dev_wait(), or
 * VHX_EVENT_KNOWN. 0, -ENOTCONN (not connecting), -ENAMETOOLONG, -ENOSPC, -ENOMEM, -EDEADLK.
 */
VHX_API int vhx_dev_open(struct vhx_conn *conn, const char *name, struct vhx_dev **dev);
VHX_API void vhx_dev_set_events(struct vhx_dev *dev, vhx_event_fn *fn, void *ctx);

/*
 * Waits until nothing about the device is under way: it is known, and resets, stops and config writes
 * are through. -1: for ever. 0, -ETIMEDOUT, the reason why it is unusable (-ENODEV, -EBUSY, -ENOTUNIQ, -ESTALE), -EDEADLK.
 */
VHX_API int vhx_dev_wait(struct vhx_dev *dev, int timeout_ms);

/* Of a known device. Before that: 0 and "". Features are the device's own (bits 0 to 23, 50 to 63). */
VHX_API uint32_t vhx_dev_type(const struct vhx_dev *dev);
VHX_API const char *vhx_dev_name(const struct vhx_dev *dev);
VHX_API uint64_t vhx_dev_features(const struct vhx_dev *dev);
VHX_API unsigned int vhx_dev_queue_count(const struct vhx_dev *dev);
VHX_API size_t vhx_dev_config_len(const struct vhx_dev *dev);

/* Copies from a cache of the config space, little-endian; never waits. 0, -EINVAL, -EAGAIN (not known). */
VHX_API int vhx_dev_read_config(const struct vhx_dev *dev, size_t off, void *buf, size_t len);

/* 0: an event follows. -EINVAL, -EBUSY (the last one is not through), -ENOTCONN, -EDEADLK. */
VHX_API int vhx_dev_write_config(struct vhx_dev *dev, size_t off, const void *buf, size_t len);

/*
 * Chooses features for the next start of the first queue, of vhx_dev_features(); default: none.
 * 0, -EINVAL (not offered), -EAGAIN (not known), -EBUSY (a queue is running), -EDEADLK.
 */
VHX_API int vhx_dev_set_features(struct vhx_dev *dev, uint64_t features);

/*
 * Ends all requests with -ECANCELED (callbacks are made from here), stops all queues, which are freed, and
 * resets the device. From the return on no buffer is touched any more; once it is through, nothing of the
 * requests can touch the medium.
 * 0; -EINPROGRESS: VHX_EVENT_RESET follows; -EDEADLK.
 */
VHX_API int vhx_dev_reset(struct vhx_dev *dev);

/* A little more for those who look: "waiting", "attached", "negotiating", "running", "failed". */
VHX_API const char *vhx_dev_state(const struct vhx_dev *dev);

/*
 * Queues and requests
 */

/* Most requests that one queue can hold. */
#define VHX_VQ_DEPTH_MAX 1024u

struct vhx_completion {
	void *user; /* as submitted */
	int64_t result; /* bytes of `in` that the device wrote, from the start; -ECANCELED */
};

/*
 * @depth: requests at most in the queue, a power of two up to VHX_VQ_DEPTH_MAX.
 * 0, -EAGAIN (the device is not known), -EINVAL, -EBUSY (it is running), -ENOMEM, -EDEADLK.
 */
VHX_API int vhx_vq_start(struct vhx_dev *dev, unsigned int index, unsigned int depth,
			 struct vhx_vq **vq);

/* With a callback completions are not kept for vhx_vq_poll(). Before the first request. */
typedef void vhx_done_fn(void *ctx, const struct vhx_completion *completion);
VHX_API void vhx_vq_set_callback(struct vhx_vq *vq, vhx_done_fn *fn, void *ctx);

/*
 * Adds one request: @out is what the device reads, @in is what it writes. Both arrays and what they
 * point at stay the caller's, unchanged and alive, until the request has completed. An unfinished request
 * of a device that failed completes with its type's error status and a result of 0.
 * 0; -EAGAIN: @depth requests are in the queue; -EINVAL: nothing to do, or 4 GiB; -ESHUTDOWN: being stopped.
 */
VHX_API int vhx_vq_submit(struct vhx_vq *vq, const struct iovec *out, unsigned int out_cnt,
			  const struct iovec *in, unsigned int in_cnt, void *user);

/* Takes up to @max completions that are there. Their number. */
VHX_API unsigned int vhx_vq_poll(struct vhx_vq *vq, struct vhx_completion *completions,
				 unsigned int max);

/* Requests that were submitted and have not been handed back. */
VHX_API unsigned int vhx_vq_count(const struct vhx_vq *vq);

/*
 * Takes no more requests; those not yet sent end with -ECANCELED, the others are waited for, some
 * seconds at most. The queue is freed when it has stopped and all completions were polled: don't use it after
 * VHX_EVENT_STOPPED, or after the 0 that this returns. Completions not polled by then are dropped.
 * 0; -EINPROGRESS: VHX_EVENT_STOPPED follows; -EALREADY; -EDEADLK.
 */
VHX_API int vhx_vq_stop(struct vhx_vq *vq);

#ifdef __cplusplus
}
#endif

#endif
