/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exchange contract: moving whole messages between two domains.
 *
 * A *port* is one end of a connected, ordered, reliable, bidirectional exchange. A message is
 * {type, bytes}: sent whole or not at all, delivered in order, exactly once, never merged. This layer
 * knows nothing of VirtIO. tests/conformance holds every provider to what is written here.
 *
 * Ownership and threads: a port belongs to one thread, which makes all calls on it. The creator of a
 * port owns it and ends it with vhx_port_close(), which may be called in any state and on NULL.
 *
 * States of a port:
 *   OPENING  the two ends have not met yet: nothing to read, sends would block. Where caps has
 *            VHX_PORT_PATIENT the peer may be somebody who has yet to start: whoever limits the time that
 *            the other end has to say something begins to count when the port becomes READY
 *   READY    messages flow
 *   GONE     the peer left or broke the rules: sends and peeks return the reason, for ever
 *
 * Errors, all negative errno:
 *   -EAGAIN    would block. A later event on the descriptor is guaranteed, also when the peer drains
 *              between the attempt and vhx_port_prepare_wait(). A sender may simply try again then.
 *   -EMSGSIZE  larger than vhx_port.max_message: can never be sent
 *   -EPIPE     the peer is gone
 *   -EPROTO    the peer broke the rules of the exchange: the port is GONE from here on
 * No call ever blocks, and draining never depends on being able to send.
 *
 * Waiting. Before sleeping on vhx_port.fd (for readability), call vhx_port_prepare_wait(): 1 means
 * that there is work already, do not sleep; 0 that a wake will come. When the descriptor is readable
 * call vhx_port_event(), then drain.
 *
 * Reading. vhx_port_peek() describes the next message without touching its bytes, vhx_port_read()
 * copies bytes out, vhx_port_consume() releases it. The bytes are the peer's, who may still change them:
 * fetch each one once and check the copy. The description (type and length) is already a private copy.
 * What was consumed before a send is room for the peer by the time that message arrives; without one, at
 * the latest when peek finds nothing more or before the wait.
 *
 * In place. Where caps has VHX_PORT_RESERVE, vhx_port_reserve() hands out @len contiguous bytes of the
 * next slot, to be filled by the sender without a copy. One reservation at a time; commit or cancel it
 * before anything else is sent and before the next wait. The bytes are shared from the start: write
 * them, never read them back.
 */
#ifndef VHX_EXCHANGE_EXCHANGE_H
#define VHX_EXCHANGE_EXCHANGE_H

#include <sys/uio.h>

#include "util/base.h"

/*
 * What a message costs of its ring, on every provider: Argo's rule of a 16-byte header and 16-byte
 * slots. Credit counts in this unit.
 */
#define VHX_SLOT 16u
#define VHX_SLOT_HEADER 16u

static inline uint32_t vhx_footprint(uint32_t len)
{
	return VHX_SLOT_HEADER + ((len + VHX_SLOT - 1) & ~(VHX_SLOT - 1));
}

enum vhx_port_caps {
	VHX_PORT_RESERVE = 1 << 0, /* reserve and commit work */
	VHX_PORT_LIVENESS = 1 << 1, /* peer death is reported by itself (native) */
	VHX_PORT_SLEEP_FLAG = 1 << 2, /* a peer that is awake is not woken */
	VHX_PORT_PATIENT = 1 << 3, /* OPENING may last for ever: the peer need not have started */
	/* A wake costs the peer an exit of its virtual machine, and is passed on by a third party. */
	VHX_PORT_WAKE_DEAR = 1 << 4,
};

struct vhx_msg {
	uint32_t type;
	uint32_t len;
};

struct vhx_port_stats {
	uint64_t tx_messages, tx_bytes;
	uint64_t rx_messages, rx_bytes;
	uint64_t sends; /* calls into the mediator that moved a message: hypercalls, publishes */
	uint64_t wakes_sent; /* times the peer's event was raised */
	uint64_t wakes_taken;
	uint64_t would_blocks;
};

#define VHX_PEER_ADDRESS_MAX 144u

/* Who is at the other end, as the provider knows it; never from the peer's own bytes. */
struct vhx_peer {
	char text[96]; /* for logs: "pid 12 uid 1000", "domain 3" */
	/* "argo:peer=3", where nobody else can have it, and the operator's word for it, "argo:name:web"; or empty */
	char address[VHX_PEER_ADDRESS_MAX];
	char alias[VHX_PEER_ADDRESS_MAX];
	uint32_t uid, gid, pid; /* local: SO_PEERCRED; UINT32_MAX where unknown */
};

struct vhx_port;

struct vhx_port_ops {
	const char *name;
	uint32_t caps;
	unsigned int iov_max; /* most iovecs that one send takes */
	int (*send)(struct vhx_port *p, uint32_t type, const struct iovec *iov, unsigned int cnt);
	int (*reserve)(struct vhx_port *p, uint32_t len, void **buf);
	int (*commit)(struct vhx_port *p, uint32_t type, uint32_t len);
	void (*cancel)(struct vhx_port *p);
	int (*peek)(struct vhx_port *p, struct vhx_msg *msg);
	void (*read)(struct vhx_port *p, uint32_t off, void *dst, uint32_t len);
	void (*consume)(struct vhx_port *p);
	int (*prepare_wait)(struct vhx_port *p);
	int (*event)(struct vhx_port *p);
	void (*close)(struct vhx_port *p);
};

/* Providers embed this first and fill it before handing the port out. */
struct vhx_port {
	const struct vhx_port_ops *ops;
	int fd; /* poll for readability; owned by the port */
	uint32_t max_message; /* both ways; valid once READY */
	uint32_t tx_ring_len; /* footprint bytes that the outgoing ring holds; valid once READY */
	/* What to grant the peer of the incoming one: all of it, or as much as it holds without refusing anything
	 * where a refusal costs a call later; valid once READY. */
	uint32_t rx_ring_len;
	uint64_t memory; /* bytes that this end allocated: sections and staging */
	struct vhx_peer peer;
	struct vhx_port_stats stats;
};

/* True once messages can flow; false while OPENING. A GONE port counts as ready: peek tells why. */
static inline bool vhx_port_ready(const struct vhx_port *p)
{
	return p->max_message != 0;
}

/* Gathers @cnt iovecs into one message. 0, or an error above. */
static inline int vhx_port_send(struct vhx_port *p, uint32_t type, const struct iovec *iov,
				unsigned int cnt)
{
	return p->ops->send(p, type, iov, cnt);
}

static inline int vhx_port_reserve(struct vhx_port *p, uint32_t len, void **buf)
{
	return p->ops->reserve ? p->ops->reserve(p, len, buf) : -EOPNOTSUPP;
}

/* Sends the first @len bytes of the reservation. Cannot fail for lack of space. */
static inline int vhx_port_commit(struct vhx_port *p, uint32_t type, uint32_t len)
{
	return p->ops->commit(p, type, len);
}

static inline void vhx_port_cancel(struct vhx_port *p)
{
	p->ops->cancel(p);
}

/* 1: @msg describes the next message. 0: there is none now. Negative: -EPIPE, -EPROTO. */
static inline int vhx_port_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	return p->ops->peek(p, msg);
}

/* The caller keeps [off, off + len) within the peeked length. */
static inline void vhx_port_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	p->ops->read(p, off, dst, len);
}

static inline void vhx_port_consume(struct vhx_port *p)
{
	p->ops->consume(p);
}

static inline int vhx_port_prepare_wait(struct vhx_port *p)
{
	return p->ops->prepare_wait(p);
}

/* 0, or -EPIPE/-EPROTO when the peer is gone. Messages published before its death stay readable. */
static inline int vhx_port_event(struct vhx_port *p)
{
	return p->ops->event(p);
}

static inline void vhx_port_close(struct vhx_port *p)
{
	if (p)
		p->ops->close(p);
}

#endif
