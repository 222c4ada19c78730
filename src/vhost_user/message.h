/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the vhost-user socket: numbers, layouts, and how they come in and go out. Numbers are
 * in host byte order, as the protocol says.
 */
#ifndef VHX_VHOST_USER_MESSAGE_H
#define VHX_VHOST_USER_MESSAGE_H

#include "util/base.h"
#include "vhost_user/server.h"

/* Requests of the front-end that we know; gaps are features that we do not offer. */
enum vhx_vu_request {
	VHX_VU_GET_FEATURES = 1,
	VHX_VU_SET_FEATURES = 2,
	VHX_VU_SET_OWNER = 3,
	VHX_VU_RESET_OWNER = 4,
	VHX_VU_SET_MEM_TABLE = 5,
	VHX_VU_SET_LOG_BASE = 6,
	VHX_VU_SET_LOG_FD = 7,
	VHX_VU_SET_VRING_NUM = 8,
	VHX_VU_SET_VRING_ADDR = 9,
	VHX_VU_SET_VRING_BASE = 10,
	VHX_VU_GET_VRING_BASE = 11,
	VHX_VU_SET_VRING_KICK = 12,
	VHX_VU_SET_VRING_CALL = 13,
	VHX_VU_SET_VRING_ERR = 14,
	VHX_VU_GET_PROTOCOL_FEATURES = 15,
	VHX_VU_SET_PROTOCOL_FEATURES = 16,
	VHX_VU_GET_QUEUE_NUM = 17,
	VHX_VU_SET_VRING_ENABLE = 18,
	VHX_VU_SET_BACKEND_REQ_FD = 21,
	VHX_VU_IOTLB_MSG = 22,
	VHX_VU_GET_CONFIG = 24,
	VHX_VU_SET_CONFIG = 25,
	VHX_VU_GET_INFLIGHT_FD = 31,
	VHX_VU_SET_INFLIGHT_FD = 32,
	VHX_VU_RESET_DEVICE = 34,
	VHX_VU_GET_MAX_MEM_SLOTS = 36,
	VHX_VU_ADD_MEM_REG = 37,
	VHX_VU_REM_MEM_REG = 38,
	VHX_VU_SET_STATUS = 39,
	VHX_VU_GET_STATUS = 40,
};

/* The one request of a back-end, on the channel of SET_BACKEND_REQ_FD, that we send or heed. */
#define VHX_VU_BACKEND_CONFIG_CHANGE 2u

/* Header flags. */
#define VHX_VU_VERSION 1u
#define VHX_VU_VERSION_MASK 3u
#define VHX_VU_FLAG_REPLY (1u << 2)
#define VHX_VU_FLAG_NEED_REPLY (1u << 3)

/* Feature bits that are the protocol's or the rings', and not the device's. */
#define VHX_VU_F_LOG_ALL (1ull << 26)
#define VHX_VU_F_INDIRECT_DESC (1ull << 28)
#define VHX_VU_F_EVENT_IDX (1ull << 29)
#define VHX_VU_F_PROTOCOL_FEATURES (1ull << 30)
#define VHX_VU_F_VERSION_1 (1ull << 32)
#define VHX_VU_F_RING_PACKED (1ull << 34)
#define VHX_VU_F_IN_ORDER (1ull << 35)

/* Protocol feature bits. */
#define VHX_VU_P_MQ (1ull << 0)
#define VHX_VU_P_LOG_SHMFD (1ull << 1)
#define VHX_VU_P_REPLY_ACK (1ull << 3)
#define VHX_VU_P_BACKEND_REQ (1ull << 5)
#define VHX_VU_P_CONFIG (1ull << 9)
#define VHX_VU_P_INFLIGHT_SHMFD (1ull << 12)
#define VHX_VU_P_RESET_DEVICE (1ull << 13)
#define VHX_VU_P_CONFIGURE_MEM_SLOTS (1ull << 15)
#define VHX_VU_P_STATUS (1ull << 16)

/* Of a u64 that names a ring: index in bits 7:0, bit 8: no descriptor comes along. */
#define VHX_VU_VRING_INDEX_MASK 0xffull
#define VHX_VU_VRING_NOFD (1ull << 8)

#define VHX_VU_VRING_ADDR_F_LOG 1u

/* The document has room for 8 regions in a table; other front-ends send up to 32. */
#define VHX_VU_TABLE_REGIONS_MAX 32u
/* Descriptors of one message: one for each region of a table. */
#define VHX_VU_FDS_MAX VHX_VU_TABLE_REGIONS_MAX

struct vhx_vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, in bytes */
};
_Static_assert(sizeof(struct vhx_vu_header) == 12, "header");

struct vhx_vu_vring_state {
	uint32_t index;
	uint32_t num;
};
_Static_assert(sizeof(struct vhx_vu_vring_state) == 8, "vring state");

struct vhx_vu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* user addresses */
	uint64_t used; /* device area */
	uint64_t avail; /* driver area */
	uint64_t log; /* guest address by which writes to the device area are logged */
};
_Static_assert(sizeof(struct vhx_vu_vring_addr) == 40, "vring address");

struct vhx_vu_mem_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint64_t off;
};
_Static_assert(sizeof(struct vhx_vu_mem_region) == 32, "memory region");

struct vhx_vu_mem_table {
	uint32_t cnt;
	uint32_t padding;
	struct vhx_vu_mem_region regions[VHX_VU_TABLE_REGIONS_MAX];
};
_Static_assert(offsetof(struct vhx_vu_mem_table, regions) == 8, "memory table");

struct vhx_vu_mem_single {
	uint64_t padding;
	struct vhx_vu_mem_region region;
};
_Static_assert(sizeof(struct vhx_vu_mem_single) == 40, "single region");

struct vhx_vu_log_desc {
	uint64_t size;
	uint64_t off;
};
_Static_assert(sizeof(struct vhx_vu_log_desc) == 16, "log description");

struct vhx_vu_config_space {
	uint32_t off;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHX_VU_CONFIG_MAX];
};
#define VHX_VU_CONFIG_HDR 12u
_Static_assert(offsetof(struct vhx_vu_config_space, data) == VHX_VU_CONFIG_HDR, "config");

struct vhx_vu_inflight_desc {
	uint64_t mmap_size;
	uint64_t mmap_off;
	uint16_t queue_num;
	uint16_t queue_size;
};
/* Without its tail padding; front-ends send 20 or 24 bytes. */
#define VHX_VU_INFLIGHT_LEN 20u
_Static_assert(offsetof(struct vhx_vu_inflight_desc, queue_size) == 18, "inflight");
_Static_assert(sizeof(struct vhx_vu_inflight_desc) == 24, "inflight, padded");

union vhx_vu_payload {
	uint64_t u64;
	struct vhx_vu_vring_state state;
	struct vhx_vu_vring_addr addr;
	struct vhx_vu_mem_table table;
	struct vhx_vu_mem_single region;
	struct vhx_vu_log_desc log;
	struct vhx_vu_config_space config;
	struct vhx_vu_inflight_desc inflight;
	uint8_t bytes[1];
};

/* A message on its way in. Owns the descriptors in fds until somebody takes them. */
struct vhx_vu_message {
	uint32_t
		reply; /* VHX_VU_FLAG_REPLY where answers come in, 0 where requests do; the owner's */
	struct vhx_vu_header hdr;
	union vhx_vu_payload payload;
	size_t got; /* bytes of header and payload so far */
	int fds[VHX_VU_FDS_MAX];
	unsigned int fd_cnt;
};

/*
 * Reads on from where the last call stopped; never blocks, never reads beyond this message. 1:
 * complete; 0: more has to come; -ENOTCONN: the peer left between messages; -EPROTO: it broke the
 * framing (version, the reply flag where none is due or the want of it, size, too many descriptors, or
 * it left within a message); or recvmsg's errno.
 */
int vhx_vu_message_recv(struct vhx_vu_message *m, int sock);

/* Makes ready for the next one; closes descriptors that nobody took. */
void vhx_vu_message_reset(struct vhx_vu_message *m);

/* Descriptor @i, which the caller now owns. */
int vhx_vu_message_take_fd(struct vhx_vu_message *m, unsigned int i);

/*
 * Sends a whole message at once, with @fd unless that is -1, or fails: -EAGAIN when the socket is
 * full.
 */
int vhx_vu_message_send(int sock, const struct vhx_vu_header *hdr, const void *payload, int fd);

#endif
