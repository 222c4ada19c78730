/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvhx-argo: datagrams and byte streams between programs of two domains of a Xen host, by Argo. The kernel needs
 * hmx_argo; hmx_argo(4).
 *
 * Objects. A driver is the way to Argo, and what endpoints are made with. Datagram endpoints, listeners and
 * streams each have a ring of their own, in which they receive; they live on without their driver.
 *
 *   vhx_argo_driver_open -> vhx_argo_dgram_open -> vhx_argo_dgram_send, vhx_argo_dgram_recv
 *                        -> vhx_argo_stream_connect -> vhx_argo_stream_send, vhx_argo_stream_recv
 *                        -> vhx_argo_listener_open -> vhx_argo_listener_accept -> ...
 *
 * Waiting. Nothing blocks but the functions called wait. What cannot be done now says -EAGAIN, and the endpoint's
 * descriptor (fileno) becomes readable when that call, with the same intent, is worth another try: poll() it
 * with POLLIN, then repeat every call whose last word was -EAGAIN. What else is between them does not matter.
 * The descriptor is only for that.
 *
 * Threads. An endpoint is used by one thread at a time; endpoints are independent of each other.
 *
 * A peer. Its domain is known for sure, its port is what it says. It cannot crash, block or grow this program.
 *
 * Errors are negative errno values. Nothing here prints or exits.
 */
#ifndef VHX_ARGO_ENDPOINT_H
#define VHX_ARGO_ENDPOINT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VHX_API __attribute__((visibility("default")))

struct vhx_argo_driver;
struct vhx_argo_dgram;
struct vhx_argo_listener;
struct vhx_argo_stream;

/* As the domain that may send to an endpoint: every one, which Xen allows with mac-permissive=1 only. */
#define VHX_ARGO_ANYBODY 0x7ff4u

/* The message type of datagrams, unless both ends agreed on another one. */
#define VHX_ARGO_TYPE_DGRAM 0x44584856u

struct vhx_argo_address {
	uint32_t port;
	uint16_t domid;
	uint16_t reserved; /* 0 */
	uint32_t type; /* Argo's message_type; of datagrams only */
};

/* "0.1.0": of the library that is linked, not of this header. */
VHX_API const char *vhx_argo_version(void);

/*
 * Drivers
 */

/* 0; -ENOENT: hmx_argo is not loaded; -EACCES, -EMFILE, -ENOMEM. */
VHX_API int vhx_argo_driver_open(struct vhx_argo_driver **driver);
/* NULL is fine. */
VHX_API void vhx_argo_driver_close(struct vhx_argo_driver *driver);
/* The number of this domain. */
VHX_API uint16_t vhx_argo_driver_domid(const struct vhx_argo_driver *driver);

/*
 * Bytes of the rings of endpoints that are made from now on: a multiple of 16 from 4096 to 16777152, by default
 * 131008, which is 32 pages with the ring's header. 0, -EINVAL.
 */
VHX_API int vhx_argo_driver_set_ring_len(struct vhx_argo_driver *driver, uint32_t bytes);

/*
 * So often an endpoint that waits looks whether its peer is still there; a program's end is told at once, a domain's is
 * not. In milliseconds, 1 to 3600000, default 5000. For endpoints that are made from now on. 0, -EINVAL.
 */
VHX_API int vhx_argo_driver_set_probe(struct vhx_argo_driver *driver, unsigned int ms);

/*
 * Datagrams
 *
 * Each arrives once and whole, and in the order of its sender.
 */

/*
 * Receives at @port (0: any that is free) what @partner sends, or VHX_ARGO_ANYBODY. 0; -EADDRINUSE; -ESRCH: there is
 * no such domain; -ECONNREFUSED: it does not use Argo; -EPERM, -EACCES: not with Xen's policy, or a port of
 * virtio-hmx; -ENOSPC: the domain has no ring left; -ENOMEM, also by RLIMIT_MEMLOCK; -EMFILE.
 */
VHX_API int vhx_argo_dgram_open(struct vhx_argo_driver *driver, uint32_t port, uint16_t partner,
				struct vhx_argo_dgram **dgram);
/* What was not read is gone. NULL is fine. */
VHX_API void vhx_argo_dgram_close(struct vhx_argo_dgram *dgram);
VHX_API uint32_t vhx_argo_dgram_port(const struct vhx_argo_dgram *dgram);

/*
 * 0: it is in the ring of whoever receives there. -EAGAIN: that is full; -EMSGSIZE: it never fits; -ECONNREFUSED: nobody
 * receives there; -ESRCH: there is no such domain; -EPERM, -EACCES. None of them ends the endpoint.
 */
VHX_API int vhx_argo_dgram_send(struct vhx_argo_dgram *dgram, const struct vhx_argo_address *to,
				const void *buf, size_t len);

/*
 * The length of the next one, of which up to @len bytes are stored; the rest is thrown away. *@from, unless NULL, is who sent
 * it. -EAGAIN: there is none; -ENOTCONN: the partner's domain has ended, and the endpoint with it.
 */
VHX_API int64_t vhx_argo_dgram_recv(struct vhx_argo_dgram *dgram, struct vhx_argo_address *from,
				    void *buf, size_t len);

VHX_API int vhx_argo_dgram_fileno(const struct vhx_argo_dgram *dgram);
/* Until the descriptor is readable; @timeout_ms, -1: for ever. 0, -ETIMEDOUT, -EINTR. */
VHX_API int vhx_argo_dgram_wait(struct vhx_argo_dgram *dgram, int timeout_ms);

/*
 * Listeners
 */

/* Of programs that connect to @port from the domain @partner, or VHX_ARGO_ANYBODY. Errors as of a datagram endpoint. */
VHX_API int vhx_argo_listener_open(struct vhx_argo_driver *driver, uint32_t port, uint16_t partner,
				   struct vhx_argo_listener **listener);
/* Refuses those that wait. NULL is fine. */
VHX_API void vhx_argo_listener_close(struct vhx_argo_listener *listener);
VHX_API uint32_t vhx_argo_listener_port(const struct vhx_argo_listener *listener);

/*
 * The next stream, made with @driver. 0; -EAGAIN: nobody waits; -ENOTCONN: the partner's domain has ended; -ENOSPC,
 * -ENOMEM, -EMFILE: it waits on.
 */
VHX_API int vhx_argo_listener_accept(struct vhx_argo_listener *listener,
				     struct vhx_argo_driver *driver,
				     struct vhx_argo_stream **stream);

VHX_API int vhx_argo_listener_fileno(const struct vhx_argo_listener *listener);
VHX_API int vhx_argo_listener_wait(struct vhx_argo_listener *listener, int timeout_ms);

/*
 * Streams
 */

/*
 * Begins to connect to the listener at @port of @domid; vhx_argo_stream_connected() tells when it is through. 0; errors
 * as of a datagram endpoint whose partner is @domid, and -ECONNREFUSED: nobody listens there.
 */
VHX_API int vhx_argo_stream_connect(struct vhx_argo_driver *driver, uint16_t domid, uint32_t port,
				    struct vhx_argo_stream **stream);

/* 1; 0: not yet, wait; -ECONNREFUSED, -ESRCH, -ECONNRESET, -EPROTO, -EPERM, -EACCES: it never will be. */
VHX_API int vhx_argo_stream_connected(struct vhx_argo_stream *stream);

/*
 * Without vhx_argo_stream_shutdown() before it, a stream that the peer has not ended either is reset: the peer reads
 * what was sent, then -ECONNRESET. NULL is fine.
 */
VHX_API void vhx_argo_stream_close(struct vhx_argo_stream *stream);

/* Who is at the other end. */
VHX_API void vhx_argo_stream_peer(const struct vhx_argo_stream *stream,
				  struct vhx_argo_address *peer);

/*
 * The bytes that are in the peer's ring now, at least 1 of @len. -EAGAIN: there is no room; -ECONNRESET: the peer is gone;
 * -EPIPE: after vhx_argo_stream_shutdown(); -EPROTO: it broke a rule; and why it never was connected.
 */
VHX_API int64_t vhx_argo_stream_send(struct vhx_argo_stream *stream, const void *buf, size_t len);

/*
 * Bytes read, at least 1 of @len; 0: there will be no more. -EAGAIN; -ECONNRESET: the peer is gone without having said
 * so, and all that it sent was read; -EINVAL: @len is 0; other errors as of sending.
 */
VHX_API int64_t vhx_argo_stream_recv(struct vhx_argo_stream *stream, void *buf, size_t len);

/* Sends no more: the peer reads 0 after what was sent. Repeat it after -EAGAIN. 0; errors as of sending. */
VHX_API int vhx_argo_stream_shutdown(struct vhx_argo_stream *stream);

VHX_API int vhx_argo_stream_fileno(const struct vhx_argo_stream *stream);
VHX_API int vhx_argo_stream_wait(struct vhx_argo_stream *stream, int timeout_ms);

/* All counters start at 0 and only grow. */
struct vhx_argo_stream_stats {
	uint64_t tx_frames, tx_bytes;
	uint64_t rx_frames, rx_bytes;
	uint64_t refused; /* sends for which there was no room */
	uint64_t notifies; /* calls that woke a peer who was refused */
	uint64_t strays; /* messages thrown away: they were not for this stream */
	uint64_t probes; /* looks for the peer */
};

/* Fills the first @size bytes (sizeof *stats): later versions may know more. */
VHX_API void vhx_argo_stream_stats(const struct vhx_argo_stream *stream,
				   struct vhx_argo_stream_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif
