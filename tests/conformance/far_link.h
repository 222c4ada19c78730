/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the conformance suite in one domain and argo-agent in another: calls and their answers, one at a time,
 * each a message of Argo between rings of their own. Both are of one build, so that layouts are those of C.
 */
#ifndef VHX_TESTS_CONFORMANCE_FAR_LINK_H
#define VHX_TESTS_CONFORMANCE_FAR_LINK_H

#include "exchange/exchange.h"

/* The most that a call or an answer carries besides its struct: no message of the suite is larger. */
#define FAR_BYTES_MAX (64u << 10)

enum far_op {
	FAR_OPEN,
	FAR_CLOSE,
	FAR_SEND,
	FAR_PEEK,
	FAR_CONSUME,
	FAR_PREPARE_WAIT,
	FAR_EVENT,
	FAR_SLEEP,
	FAR_QUIT,
};

struct far_call {
	uint32_t op;
	uint32_t ring_len; /* OPEN: a frontend's port for the suite's domain */
	uint32_t kernel; /* OPEN: the kernel's */
	uint32_t type; /* SEND; its bytes follow */
	uint32_t pieces; /* SEND: the iovecs that they are cut into */
};

/* Of PEEK and CONSUME: what is the next message, whose bytes follow. */
struct far_answer {
	int32_t ret;
	uint32_t type, len;
	/* The port after that. */
	uint32_t max_message, tx_ring_len, rx_ring_len;
	uint64_t memory;
	struct vhx_port_stats stats;
};

struct far_link;

/* The agent's end, or the suite's. With @domid there is one link at most. */
int far_link_open(uint16_t domid, bool agent, struct far_link **link);
void far_link_close(struct far_link *link);

/* One message of @head and @len bytes. Waits for a peer that does not listen yet, within a guard. */
int far_link_send(struct far_link *link, const void *head, uint32_t head_len, const void *bytes,
		  uint32_t len);

/* The next one: *@head, and up to FAR_BYTES_MAX bytes, whose number is the result. -ETIMEDOUT. */
int far_link_receive(struct far_link *link, void *head, uint32_t head_len, void *bytes);

#endif
