/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front-end side of vhost-user: drives a back-end program that was written for a VMM. It knows the socket and
 * the order of requests, nothing of rings' contents, requests or devices. The owner does all waiting: it watches
 * @sock and @backend_fd, and bounds the time of an answer.
 *
 * Memory is one region, the owner's: the back-end gets a descriptor of it, and one number that serves as address in
 * both of the protocol's spaces. No address of this process is ever told.
 */
#ifndef VHX_VHOST_USER_CLIENT_H
#define VHX_VHOST_USER_CLIENT_H

#include "vhost_user/message.h"

/* Ranges of the config space that a driver has written, in its order; blk has one, net two. */
#define VHX_VU_CLIENT_WRITES_MAX 8u
#define VHX_VU_CLIENT_WRITE_LEN 16u

/* A ring as the owner wants it. */
struct vhx_vu_client_ring {
	uint16_t size;
	uint32_t
		base; /* SET_VRING_BASE: where the back-end begins, in the protocol's form of the format */
	uint64_t desc, driver, device; /* within the region */
	int kick_fd, call_fd; /* the owner's */
	bool wanted;
	bool disabled; /* the back-end has it, and puts nothing into it. Only with the protocol's features */
	bool told_disabled; /* the client's: what the back-end was told */
	unsigned int step; /* the client's: how far it is; 0: the back-end knows nothing of it */
};

struct vhx_vu_client_ops {
	/* Features, protocol, queue_num and config are those of this back-end now. */
	void (*identified)(void *ctx);
	/* The config was read again, because the back-end said that it changed or did not take a write. */
	void (*config_read)(void *ctx);
	/* The back-end has all of a ring that it needs to serve it. */
	void (*ring_running)(void *ctx, uint16_t index);
	/* The back-end has let go of a ring; its owner may touch it, or want it again. */
	void (*ring_stopped)(void *ctx, uint16_t index);
};

struct vhx_vu_client_config {
	const struct vhx_vu_client_ops *ops;
	void *ctx;
	uint16_t num_rings;
	uint32_t config_len; /* of the config space; 0: it is not asked for */
	int mem_fd;
	uint64_t mem_len;
	uint64_t mem_addr;
	bool inflight; /* let the back-end keep a record of what is in flight */
};

struct vhx_vu_client_write {
	uint32_t off, len;
	uint8_t bytes[VHX_VU_CLIENT_WRITE_LEN];
	bool due;
};

struct vhx_vu_client {
	struct vhx_vu_client_config cfg;
	int sock; /* -1: there is no back-end */
	int backend_fd; /* our end of the channel of SET_BACKEND_REQ_FD; -1: none */
	int backend_peer; /* the back-end's end until it has it */
	struct vhx_vu_message in, backend_in;
	const struct vhx_vu_step *waiting; /* whose answer is due; NULL: none */
	uint16_t at; /* the ring or the write that the step is about */
	uint32_t done; /* steps of a connection that have been taken, by bit */
	bool identified, config_due;
	/* Of the back-end */
	uint64_t features, protocol;
	uint64_t queue_num; /* 0: it did not say */
	uint8_t config[VHX_VU_CONFIG_MAX];
	/* Of the owner */
	uint64_t driver_features; /* what SET_FEATURES is to say, without the protocol's bit */
	bool driver_ready; /* driver_features are known, rings may be started */
	struct vhx_vu_client_ring rings[VHX_VU_QUEUES_MAX];
	struct vhx_vu_client_write writes[VHX_VU_CLIENT_WRITES_MAX];
	unsigned int writes_cnt;
	/* The back-end's record of what is in flight, which outlives it: never looked at here. */
	int inflight_fd; /* -1: none */
	struct vhx_vu_inflight_desc inflight;
	uint16_t inflight_queue_size;
};

void vhx_vu_client_init(struct vhx_vu_client *c, const struct vhx_vu_client_config *cfg);
void vhx_vu_client_fini(struct vhx_vu_client *c);

/* Begins with a back-end on a connected, non-blocking @sock, which is the client's from now on. */
void vhx_vu_client_connect(struct vhx_vu_client *c, int sock);
/* Ends with it: rings are nobody's, and what the driver wrote into the config is to be told again. */
void vhx_vu_client_disconnect(struct vhx_vu_client *c);

/*
 * Reads what is there, and sends what is due, one request at a time where an answer is. To be called whenever a
 * descriptor is readable and after anything wanted has changed. 0; -ENOTCONN (the back-end left), -EPROTO (it
 * broke the protocol), -EREMOTEIO (it refused what it had offered), or an errno of the socket. The owner then
 * disconnects.
 */
int vhx_vu_client_run(struct vhx_vu_client *c);

/* Wants a ring, whose fields but these are set, to be served; or not. */
void vhx_vu_client_ring_start(struct vhx_vu_client *c, uint16_t index);
void vhx_vu_client_ring_stop(struct vhx_vu_client *c, uint16_t index);
/* Does the back-end know nothing of it? */
bool vhx_vu_client_ring_idle(const struct vhx_vu_client *c, uint16_t index);
/* Is the back-end serving it? */
bool vhx_vu_client_ring_running(const struct vhx_vu_client *c, uint16_t index);

/* 0; -EOPNOTSUPP: the back-end takes none; -E2BIG, -ENOSPC: not of a driver of any type that is known. */
int vhx_vu_client_config_write(struct vhx_vu_client *c, uint32_t off, const void *bytes,
			       uint32_t len);
/* A new driver: what the last one wrote is over, and the config is what the back-end says. */
void vhx_vu_client_config_forget(struct vhx_vu_client *c);

/* The record of what is in flight is over: the rings begin anew. */
void vhx_vu_client_inflight_forget(struct vhx_vu_client *c);

static inline bool vhx_vu_client_has(const struct vhx_vu_client *c, uint64_t protocol)
{
	return c->protocol & protocol;
}

#endif
