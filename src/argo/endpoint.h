/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What datagram endpoints, listeners and streams have in common: a ring, the means to send, and one descriptor
 * that is readable when a call which said -EAGAIN is worth repeating.
 */
#ifndef VHX_ARGO_ENDPOINT_PRIVATE_H
#define VHX_ARGO_ENDPOINT_PRIVATE_H

#include "argo/driver.h"

/* Messages of no use that one call looks at. Then it is the program's turn. */
#define VHX_AEP_BURST 64u

struct vhx_aep {
	struct vhx_argo_dev *dev;
	struct vhx_argo_reader reader;
	uint32_t port;
	int wait_fd; /* epoll, of dev->fd and timer_fd */
	int timer_fd;
	uint32_t interest; /* events of dev->fd that wait_fd tells of */
	bool receives, sends; /* what the owner waits for */
	bool room; /* there was an event since a send was refused */
	uint64_t probe_ns;
	uint64_t probe_at; /* when the peer is to be looked for; 0: nobody waits */
	uint64_t
		retry_at; /* when a send is to be tried again that no event will tell of; 0: there is none */
	uint64_t timer_at; /* of timer_fd; 0: not set */
	uint64_t notifies;
};

/*
 * Registers a ring at @port, or at any that is free if 0, whose senders keep to @message_max bytes, or notify() is
 * called whenever it is read; @probe_ns: time between probes. 0, or errno as of vhx_argo_dgram_open().
 */
int vhx_aep_open(struct vhx_aep *ep, struct vhx_argo_driver *driver, uint32_t port,
		 uint16_t partner, uint32_t message_max, uint64_t probe_ns);
void vhx_aep_close(struct vhx_aep *ep);

/* 1: the first message, which stays until it is consumed; 0: there is none, and senders know that; negative. */
int vhx_aep_peek(struct vhx_aep *ep, const struct vhx_argo_message **msg);
/* Of somebody who is there, then: the next probe is far again. */
void vhx_aep_consume(struct vhx_aep *ep);
/* Of a stranger, of which nothing follows. */
void vhx_aep_drop(struct vhx_aep *ep);

/* 0, or what the hypervisor says; -EAGAIN where it is a matter of room. */
int vhx_aep_send(struct vhx_aep *ep, const struct argo_addr *dst, uint32_t type,
		 const struct iovec *iov, unsigned int cnt);

/* Is it time to look for the peer? If so, the next time begins. */
bool vhx_aep_due(struct vhx_aep *ep);
/* The ring went with the partner's domain, as far as the driver knows. */
bool vhx_aep_lost(const struct vhx_aep *ep);

/*
 * The descriptor tells of messages if ep->receives, of room if ep->sends, and when a probe is due. @hurry: at once. To
 * be called before -EAGAIN is returned. 0, negative.
 */
int vhx_aep_arm(struct vhx_aep *ep, bool hurry);
/* poll() for it. 0, -ETIMEDOUT, -EINTR. */
int vhx_aep_wait(const struct vhx_aep *ep, int timeout_ms);

#endif
