/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvhx, the other side: a device of one's own, served to frontends that see it as any VirtIO device. What it
 * gets of a guest is the bytes of its requests.
 *
 * Objects. A server holds devices and the channels of the frontends that use them; vhx_server_free() ends all
 * of it. A model is a device that this program implements: an ops table and a pointer of its own. A request is
 * the library's, lent to the model from ops->request() until it is ended.
 *
 *   vhx_server_new -> vhx_model_add ... -> vhx_server_listen -> vhx_server_run
 *
 *   ops->request(req) -> vhx_req_read, vhx_req_write ... -> vhx_req_end        at once, or any time later
 *
 * A request is two byte strings: `out`, which the driver wrote, and room for an answer, `in`. VirtIO forbids a
 * device to rely on how the driver cut them into buffers. The answer is written from its start; some types end
 * it with a status byte, whose place is the last byte of `in`, however much was written: vhx_req_end_status().
 *
 * A request without `out` is a buffer that a driver posted in advance (received packets, input events): keep
 * it, and end it when there is something to tell.
 *
 * Threads. A server and all that belongs to it is used by one thread at a time. Only vhx_server_stop() may
 * come from another one, or from a signal handler. Progress is made, and callbacks come, inside vhx_server_run(),
 * _wait(), _dispatch() and _free() only; callbacks may use all vhx_req_*() and vhx_model_*() but vhx_model_add(),
 * and vhx_server_stop(). What is written and ended elsewhere leaves with the next of these calls.
 *
 * Whoever is at the other end of a channel can be hostile. Lengths are checked before a model sees them, the
 * bytes in `out` are a private copy, and there never are more requests at a model than its queues have entries.
 *
 * Errors are negative errno values. Nothing here prints or exits.
 */
#ifndef VHX_DEVICE_H
#define VHX_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhx/vhx.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vhx_server;
struct vhx_model;
struct vhx_req;

/*
 * Servers. What has the name of a connection's function in vhx.h does the same.
 */

/* 0, -ENOMEM, -EIO (no random numbers). */
VHX_API int vhx_server_new(struct vhx_server **server);
/* Ends channels and devices; each model's ops->reset() is called for what it holds. NULL is fine. */
VHX_API void vhx_server_free(struct vhx_server *server);

/* Before the first vhx_model_add(), vhx_server_listen() or vhx_server_add_fd(); else -EISCONN. */
VHX_API int vhx_server_set_log(struct vhx_server *server, int level, vhx_log_fn *fn, void *ctx);
VHX_API int vhx_server_set_ring_size(struct vhx_server *server, size_t bytes);
VHX_API int vhx_server_set_poll(struct vhx_server *server, unsigned int usec);

/* Most addresses of one server. */
#define VHX_SERVER_LISTENERS_MAX 16u

/*
 * Meets frontends at @address, "unix:PATH". The socket has mode 0600; one that systemd passed for this path is
 * used instead. Only processes of this one's own user are let in: to let others in, accept them elsewhere, and use
 * vhx_server_add_fd(). 0, -EINVAL, -ENAMETOOLONG, -EADDRINUSE, -EACCES, -ENOSPC, -ENOMEM, ...
 */
VHX_API int vhx_server_listen(struct vhx_server *server, const char *address);

/*
 * Serves the frontend at the other end of @fd, a connected socket of type SOCK_SEQPACKET; takes it over, also
 * when it fails. 0, -EBADF, -ENOSPC, -ENOMEM, ...
 */
VHX_API int vhx_server_add_fd(struct vhx_server *server, int fd);

/* Frontends that are there. */
VHX_API unsigned int vhx_server_channel_count(const struct vhx_server *server);

/* See vhx_conn_run(), _stop(), _wait(), _fileno(), _dispatch(). -EDEADLK from within a callback. */
VHX_API int vhx_server_run(struct vhx_server *server);
VHX_API void vhx_server_stop(struct vhx_server *server);
VHX_API int vhx_server_wait(struct vhx_server *server, int timeout_ms);
VHX_API int vhx_server_fileno(struct vhx_server *server);
VHX_API int vhx_server_dispatch(struct vhx_server *server);

/*
 * Models
 */

/* What a zero in the config means, and the largest that may be asked for, in bytes. */
#define VHX_MODEL_REQUEST_DEFAULT 65536u
#define VHX_MODEL_REQUEST_MAX 1048576u
#define VHX_MODEL_DEPTH_DEFAULT 256u

/* All is copied. Zero it first: what later versions add is zero for what this one does. */
struct vhx_model_config {
	size_t size; /* sizeof(struct vhx_model_config) */
	const char *id; /* what frontends ask for: letters, digits, - _ and . */
	uint32_t type; /* VirtIO 5: the device type, 1 to 63 */
	unsigned int queues; /* 1 to 64 */
	unsigned int depth; /* most entries of a queue: a power of two from 4 to VHX_VQ_DEPTH_MAX */
	uint64_t features; /* the type's own bits, 0 to 23 and 50 to 63 */
	uint32_t max_out, max_in; /* the largest request */
	const void *config; /* the config space, in its VirtIO layout; up to 256 bytes */
	size_t config_len;
	/* What a frontend knows the medium by when the server was replaced; zero: made of type and id. */
	uint8_t uuid[16];
};

struct vhx_model_ops {
	size_t size; /* sizeof(struct vhx_model_ops) */
	/*
	 * A request on queue @vq. 0: taken, it will be ended. -EAGAIN, only after vhx_req_write() has said so:
	 * not taken, it comes again, before those behind it.
	 */
	int (*request)(void *ctx, unsigned int vq, struct vhx_req *req);
	/* vhx_req_write() said -EAGAIN elsewhere than in request(): try again. NULL where that can't be. */
	void (*room)(void *ctx, unsigned int vq);
	/*
	 * Queue @vq is being reset, or its frontend is gone. 0: the model has forgotten its requests and will not
	 * touch them again; -EINPROGRESS: it ends each of them, here or later, and the driver waits for that.
	 * NULL where no request outlives request().
	 */
	int (*reset)(void *ctx, unsigned int vq);
	/* The driver chose among the features that were offered. 0, or -EINVAL: refused. NULL: fine. */
	int (*features)(void *ctx, uint64_t features);
	/* The driver wrote to the config space, within it. 0: the library stores it. -EINVAL; NULL: refused. */
	int (*config_write)(void *ctx, size_t off, const void *buf, size_t len);
};

/*
 * Adds a device; @ops and @ctx stay the caller's and outlive the server.
 * 0, -EINVAL (config or ops), -EEXIST (the id is taken), -ENOSPC, -ENOMEM, -EDEADLK. @model may be NULL.
 */
VHX_API int vhx_model_add(struct vhx_server *server, const struct vhx_model_config *config,
			  const struct vhx_model_ops *ops, void *ctx, struct vhx_model **model);

/* Changes part of the config space and tells the driver. 0, -EINVAL. */
VHX_API int vhx_model_set_config(struct vhx_model *model, size_t off, const void *buf, size_t len);

/*
 * Requests
 */

/* Bytes of `out` and `in`, as the driver has them. */
VHX_API size_t vhx_req_out_len(const struct vhx_req *req);
VHX_API size_t vhx_req_in_len(const struct vhx_req *req);

/* Larger than max_out or max_in: only the first bytes of `out` are there, and `in` takes max_in bytes. */
VHX_API bool vhx_req_too_big(const struct vhx_req *req);

/* Copies from `out`, from @off on. How many bytes there were, at most @len. */
VHX_API size_t vhx_req_read(const struct vhx_req *req, size_t off, void *buf, size_t len);

/*
 * Appends to the answer. 0; -ENOSPC: more than `in` takes, nothing was appended; -EAGAIN: no room now, only
 * ever before the first byte: see ops->request() and ops->room().
 */
VHX_API int vhx_req_write(struct vhx_req *req, const void *buf, size_t len);

/* Ends the request with what was written. */
VHX_API void vhx_req_end(struct vhx_req *req);

/* The same, and @status in the last byte of `in`; without any, there is none. */
VHX_API void vhx_req_end_status(struct vhx_req *req, uint8_t status);

/* A pointer of the model's, NULL at first, for the life of the request. */
VHX_API void vhx_req_set_user(struct vhx_req *req, void *user);
VHX_API void *vhx_req_user(const struct vhx_req *req);

#ifdef __cplusplus
}
#endif

#endif
