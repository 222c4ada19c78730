/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the server share. Private to src/vhost_user.
 */
#ifndef VHX_VHOST_USER_SERVER_STATE_H
#define VHX_VHOST_USER_SERVER_STATE_H

#include "vhost_user/dirty.h"
#include "vhost_user/inflight.h"
#include "vhost_user/memory.h"
#include "vhost_user/message.h"
#include "vhost_user/server.h"

/* A virtqueue: what the VMM said of it so far, and what runs. */
struct vhx_vu_vq {
	struct vhx_vu_queue pub;
	struct vhx_vu_server *server;
	struct vhx_ring_mem mem; /* the ring's: dirty depends on this ring's log flag */
	struct vhx_ring_slot *slots;
	uint16_t slot_cnt;
	struct vhx_vu_inflight_queue inflight;
	struct vhx_vu_vring_addr addr;
	uint32_t base; /* in the protocol's form: packed has both positions in it */
	bool addr_set;
	bool base_set;
	bool kick_set; /* by a descriptor, or by the word that there is none */
	bool enabled;
	bool given_back; /* stopped, with requests behind its base that are still in the inflight region */
};

/* An answer with a body of its own; fd is closed once it is sent. */
struct vhx_vu_reply {
	union vhx_vu_payload payload;
	uint32_t len;
	int fd;
};

struct vhx_vu_row;

struct vhx_vu_server {
	struct vhx_vu_config cfg;
	int listen_fd;
	int spare_fd; /* in reserve, to end a connection that cannot be taken; -1: none */
	int conn_fd; /* -1: no VMM */
	int backend_fd; /* for requests of our own; -1: none */

	struct vhx_vu_message msg;
	struct vhx_vu_reply reply;
	/* The request that waits for finish(), and how it goes on then; NULL: none, not stalled. */
	const struct vhx_vu_row *row;
	int (*resume)(struct vhx_vu_server *s, int result);
	struct vhx_vu_vq *stopping; /* the queue whose stop is waited for */
	int (*stopped)(struct vhx_vu_server *s); /* what to do when all queues are stopped */

	bool dispatching; /* on the stack of a handler: a drop waits until it returns */
	bool drop_wanted;

	uint64_t features;
	uint64_t protocol_features;
	bool features_set;
	uint16_t queue_num; /* 0: not asked yet */

	struct vhx_ring_mem ring_mem; /* for payload */
	struct vhx_vu_memory *memory;
	struct vhx_vu_memory *memory_next; /* being built by SET_MEM_TABLE; else empty */
	struct vhx_vu_dirty dirty;
	struct vhx_vu_inflight inflight;
	struct vhx_vu_vq vqs[VHX_VU_QUEUES_MAX];
	struct vhx_log_limit limit;
};

/* queue.c */
void vhx_vu_vq_init(struct vhx_vu_vq *vq, struct vhx_vu_server *s, uint16_t index);
/* Forgets all, without asking the owner: the connection is over. */
void vhx_vu_vq_fini(struct vhx_vu_vq *vq);
/* Back to what it was at connection, queue stopped; descriptors for call and err stay. */
void vhx_vu_vq_reset(struct vhx_vu_vq *vq);
bool vhx_vu_vq_packed(const struct vhx_vu_vq *vq);
/* Starts the queue if all that it needs is there. 0 also if not; negative: it cannot run like this.
 */
int vhx_vu_vq_try_start(struct vhx_vu_vq *vq);
/* 0: stopped (or was not started); -EINPROGRESS: call vhx_vu_vq_stopped() after finish(). */
int vhx_vu_vq_stop(struct vhx_vu_vq *vq);
void vhx_vu_vq_stopped(struct vhx_vu_vq *vq);
/* Would the started queue find its ring in @m? 0 or -EFAULT. remap: use that memory from now on. */
int vhx_vu_vq_check(const struct vhx_vu_vq *vq, const struct vhx_vu_memory *m);
void vhx_vu_vq_remap(struct vhx_vu_vq *vq, const struct vhx_vu_memory *m);
/* Takes log flag and log address from vq->addr, while the queue runs. */
void vhx_vu_vq_relog(struct vhx_vu_vq *vq);
bool vhx_vu_vq_any_started(const struct vhx_vu_server *s);

/* server.c */
bool vhx_vu_server_logging(const struct vhx_vu_server *s);

/* request.c: what each request does */

enum vhx_vu_reply_kind {
	VHX_VU_REPLY_ACK, /* none, unless REPLY_ACK and need_reply ask for a status */
	VHX_VU_REPLY_DONE, /* a status on success; on failure as ACK */
	VHX_VU_REPLY_STATUS, /* always a status */
	VHX_VU_REPLY_BODY, /* s->reply; a failure has no form and ends the connection */
	VHX_VU_REPLY_CNT_,
};

struct vhx_vu_row {
	uint32_t id;
	const char *name;
	/* Negative: refused. -EINPROGRESS: s->resume is set and says how it goes on. */
	int (*handle)(struct vhx_vu_server *s, struct vhx_vu_message *m);
	uint32_t size_min, size_max;
	uint8_t fds_min, fds_max;
	enum vhx_vu_reply_kind reply;
	bool soft; /* a refusal that the VMM cannot be told of does not end the connection */
};

const struct vhx_vu_row *vhx_vu_row_find(uint32_t id);

#endif
