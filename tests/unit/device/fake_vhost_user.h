/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user back-end in the thread of the test, at the other end of a socket pair. It is a real one, with rings of
 * its own over the memory that it is given (ring/ring.h, vhost_user/memory.h); and each of its answers can be made
 * a lie.
 */
#ifndef VHX_TESTS_FAKE_VHOST_USER_H
#define VHX_TESTS_FAKE_VHOST_USER_H

#include "ring/ring.h"
#include "util/error.h"
#include "vhost_user/memory.h"
#include "vhost_user/message.h"

#define FAKE_RINGS 8u
#define FAKE_RING_MAX 1024u

/* What it does wrong, when it next has the chance. */
enum fake_lie {
	FAKE_HONEST,
	FAKE_REQUEST, /* answers another request */
	FAKE_SIZE, /* an answer of another length */
	FAKE_NO_REPLY_FLAG,
	FAKE_VERSION,
	FAKE_INDEX, /* of a ring */
	FAKE_REFUSES, /* an acknowledgement that says no */
	FAKE_TWICE, /* and one more that nobody waits for */
	FAKE_DESCRIPTORS, /* with which nobody can do anything */
	FAKE_LEAVES,
	FAKE_LIES_CNT_,
};

struct fake_ring {
	struct vhx_vring ring;
	struct vhx_ring_slot slots[FAKE_RING_MAX];
	struct vhx_vu_vring_addr addr;
	uint16_t size;
	uint32_t base;
	int kick, call;
	bool placed, enabled, running;
};

struct fake_peer {
	/* What it is */
	uint64_t features, protocol;
	uint64_t queue_num;
	uint8_t config[VHX_VU_CONFIG_MAX];
	uint32_t config_len; /* of its type, if it has CONFIG */
	/* What it is told */
	uint64_t driver_features, driver_protocol;
	struct vhx_vu_memory memory;
	int mem_fd, backend_fd, inflight_fd;
	struct fake_ring rings[FAKE_RINGS];
	struct vhx_vu_config_space written;
	unsigned int asked[64]; /* by request */
	bool config_told; /* to this connection */
	unsigned int connections;
	/* What it does */
	uint32_t lie_about; /* a request */
	enum fake_lie lie;
	bool absent; /* nobody listens */
	bool silent; /* it reads nothing */
	int sock; /* -1: not connected */
	struct vhx_vu_message in;
};

/* A blk back-end with a disk of 64 MiB and one queue, all features. */
void fake_peer_init(struct fake_peer *p);
/* Ends its life: nothing of it is left but what it is. */
void fake_peer_leave(struct fake_peer *p);

/* The connector of a bridge; @ctx: the peer. Answers to the identification are waiting already. */
int fake_peer_connect(void *ctx, struct vhx_error *err);

/* Answers what was asked. */
void fake_peer_serve(struct fake_peer *p);

/* Takes a chain of ring @index: true, and the caller's arrays are filled. */
bool fake_peer_pop(struct fake_peer *p, uint16_t index, struct vhx_chain *chain);
/* Gives it back, and calls. */
void fake_peer_push(struct fake_peer *p, uint16_t index, uint16_t id, uint32_t used_len);
void fake_peer_call(struct fake_peer *p, uint16_t index);

/* A request of its own, on its channel. True: there is one. */
bool fake_peer_ask(struct fake_peer *p, uint32_t request, bool reply);

#endif
