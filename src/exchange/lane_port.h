/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port made of a lane and a SOCK_SEQPACKET unix socket that carries the wakes, and for some the news of
 * the peer's death: what `local`, `loop` and `ivshmem` are once their ends have met. Internal to this layer.
 *
 * The socket is polled level-triggered: one event takes a bounded number of wakes from it.
 */
#ifndef VHX_EXCHANGE_LANE_PORT_H
#define VHX_EXCHANGE_LANE_PORT_H

#include "exchange/exchange.h"
#include "exchange/lane.h"
#include "exchange/section.h"

#define VHX_LANE_PORT_CAPS (VHX_PORT_RESERVE | VHX_PORT_LIVENESS | VHX_PORT_SLEEP_FLAG)

/* Wakes taken per event: a correct peer has at most two under way, the rest waits its turn. */
#define VHX_LANE_PORT_WAKE_BATCH 16u

struct vhx_lane_port {
	struct vhx_port port; /* port.fd is the socket */
	struct vhx_lane lane; /* valid once joined */
	struct vhx_section own, theirs;
	int status; /* 0 READY, -EAGAIN OPENING, -EPIPE or -EPROTO GONE */
	bool joined; /* both sections are mapped, and the peer's indices are this peer's */
	/* An index made no sense: has the peer left, rather than broken a rule? NULL: it has not. */
	bool (*left)(struct vhx_lane_port *lp);
};

/* A port that owns @sock, in state OPENING, for providers that bring their own sections. */
void vhx_lane_port_init(struct vhx_lane_port *lp, const struct vhx_port_ops *ops, int sock);

/*
 * A port that owns @sock (also when this fails) and a new section of @ring_len bytes, in state OPENING.
 * *@memfd is the section's file, the caller's to close. 0, or -EINVAL, -ENOMEM, -EMFILE, ...
 */
int vhx_lane_port_new(const struct vhx_port_ops *ops, int sock, uint32_t ring_len,
		      struct vhx_lane_port **port, int *memfd);

/* Both sections are mapped: OPENING -> READY. */
void vhx_lane_port_join(struct vhx_lane_port *lp);

/*
 * Raises the peer's event; and takes the events that came, 0 or -EPIPE at the end of the socket. Those of
 * the meeting are not counted.
 */
void vhx_lane_port_raise(struct vhx_lane_port *lp);
int vhx_lane_port_take(struct vhx_lane_port *lp);

/* Any state -> GONE, with the first reason given; returns the reason that stands. */
int vhx_lane_port_fail(struct vhx_lane_port *lp, int err);

/* The ops of a port, for the providers' tables. All but close expect what exchange.h says. */
int vhx_lane_port_send(struct vhx_port *p, uint32_t type, const struct iovec *iov,
		       unsigned int cnt);
int vhx_lane_port_reserve(struct vhx_port *p, uint32_t len, void **buf);
int vhx_lane_port_commit(struct vhx_port *p, uint32_t type, uint32_t len);
void vhx_lane_port_cancel(struct vhx_port *p);
int vhx_lane_port_peek(struct vhx_port *p, struct vhx_msg *msg);
void vhx_lane_port_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len);
void vhx_lane_port_consume(struct vhx_port *p);
int vhx_lane_port_prepare_wait(struct vhx_port *p);
int vhx_lane_port_event(struct vhx_port *p);
/* Frees the port: who embeds it has it first. */
void vhx_lane_port_close(struct vhx_port *p);

#endif
