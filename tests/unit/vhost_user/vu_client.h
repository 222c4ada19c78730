/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Both ends of a vhost-user connection in one thread: a server with an owner that records what it
 * is asked, and a front-end that says exactly what a test wants it to say. Nothing here waits:
 * after each message the server is run until it has read everything, then the answer is there or
 * there is none.
 */
#ifndef VHX_TESTS_VU_CLIENT_H
#define VHX_TESTS_VU_CLIENT_H

#include "vhost_user/message.h"
#include "vhost_user/server.h"

#define GUEST_SIZE 0x40000u /* guest memory: one region at guest address 0 */
#define GUEST_UVA 0x700000000000ull
#define QUEUES 2
#define QUEUE_SIZE 16

/* Areas of ring 0 in guest memory; ring n is 0x4000 further on. */
#define RING_STEP 0x4000u
#define DESC_AT 0x1000u
#define AVAIL_AT 0x2000u
#define USED_AT 0x3000u
#define BUFFER_AT 0x10000u

struct owner {
	struct vhx_vu_server *server;
	int listen_fd, conn_fd;
	bool stalled;
	/* what the next ops return */
	int start_ret, stop_ret, reset_ret, status_ret, config_ret, features_ret;
	bool drop_in_start;
	uint16_t queue_num;
	/* what happened */
	int connected, gone, starts, stops, resets, mem_changes, fd_changes;
	uint64_t moved_probe; /* guest address looked up when the map changes */
	int moved_found;      /* iovecs that it then had, or an error */
	uint64_t features;
	uint8_t status;
	uint8_t config[VHX_VU_CONFIG_MAX];
	struct vhx_vu_queue *running[VHX_VU_QUEUES_MAX];
};

struct env {
	char dir[32], path[48];
	struct owner owner;
	int sock; /* the VMM's end */
	int mem_fd;
	uint8_t *mem;
	int kick[QUEUES], call[QUEUES];
	int fds_before; /* open descriptors before anything was made */
};

struct answer {
	struct vhx_vu_header hdr;
	union vhx_vu_payload payload;
	int fd;
};

/* cmocka fixtures; *state is a struct env. The teardown fails on leaked descriptors. */
int env_setup(void **state);
int env_teardown(void **state);

int memfd_of(uint64_t size);
int client_connect(struct env *e);
void env_reconnect(struct env *e);
void server_run(struct env *e);

/* Sends one message, its flags beside the version in @flags, without running the server. */
void client_put(int sock, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
		const int *fds, unsigned int fd_cnt);
/* The same, and runs the server. */
void client_send(struct env *e, uint32_t request, const void *payload, uint32_t len, const int *fds,
		 unsigned int fd_cnt);
/* Reads one answer: true if there was one. */
bool client_answer(struct env *e, struct answer *a);
bool client_closed(struct env *e);

/* Sends with need_reply; the status that came back. */
uint64_t client_ack(struct env *e, uint32_t request, const void *payload, uint32_t len,
		    const int *fds, unsigned int fd_cnt);
uint64_t client_ack_u64(struct env *e, uint32_t request, uint64_t value, int fd);
uint64_t client_ack_state(struct env *e, uint32_t request, uint32_t index, uint32_t num);
uint64_t client_get(struct env *e, uint32_t request);

/* Protocol features: all that are offered. */
void client_negotiate_protocol(struct env *e);
/* These, and features. */
void client_negotiate(struct env *e, uint64_t features);
uint64_t client_mem_table(struct env *e);
struct vhx_vu_vring_addr client_ring_addr(uint16_t index);
/* All of the above and queue @index, up to and including enabling it. */
void client_queue_setup(struct env *e, uint16_t index);
void client_start(struct env *e);
/* The base that GET_VRING_BASE answers. */
uint32_t client_base(struct env *e, uint16_t index);

#define F_VERSION_1 (1ull << 32)
#define F_PROTOCOL (1ull << 30)
#define F_LOG_ALL (1ull << 26)
#define F_IN_ORDER (1ull << 35)
#define F_PACKED (1ull << 34)
#define F_DEVICE (1ull << 9)

#endif
