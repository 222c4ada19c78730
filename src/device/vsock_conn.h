/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection of a vsock device: its socket on the host, the bytes that its reader there did not take yet, and
 * the credit of both directions (VirtIO 5.10.6.3). Private to vsock.c and vsock_conn.c.
 *
 *   guest -> host   packet -> the socket, as far as it takes -> the buffer, as large as the credit we gave
 *   host -> guest   the socket -> a receive buffer of the guest, as far as its credit reaches
 */
#ifndef VHX_DEVICE_VSOCK_CONN_H
#define VHX_DEVICE_VSOCK_CONN_H

#include "backend/device.h"
#include "device/vsock_layout.h"

enum vhx_vsock_state {
	VHX_VSOCK_FREE,
	VHX_VSOCK_GREETING, /* a client of ours, that has not said which port it wants */
	VHX_VSOCK_ASKED, /* the guest wants it, the connector is or will be asked */
	VHX_VSOCK_REQUESTED, /* the host wants it, the guest is or will be asked */
	VHX_VSOCK_OPEN,
	VHX_VSOCK_CLOSING, /* nothing goes either way any more; the guest is to confirm that */
	VHX_VSOCK_ENDING, /* the guest is owed an RST, its last packet */
	VHX_VSOCK_LINGERING, /* for the guest it is no more; the host is owed bytes */
};

/* What a guest is owed besides bytes, by the bit of the operation. */
#define VHX_VSOCK_OWE(op) (1u << VIRTIO_VSOCK_OP_##op)

/* The head of a packet, decoded. */
struct vhx_vsock_packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len;
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
};

/* Bytes that the host did not take: a ring. Behind it, for messages, one bit per byte: it is the last of one. */
struct vhx_vsock_buffer {
	uint8_t *bytes; /* NULL: nothing was ever kept */
	uint32_t head, len;
	uint32_t open; /* of @len: of a message that is not all here */
	uint32_t first; /* the length of the first message; 0: not looked for yet */
};

struct vhx_vsock_conn {
	struct vhx_list node; /* the device's: of a chain of its table, or of those that are free or overdue */
	struct vhx_list
		turn; /* the device's: of those with something for the guest, or to be asked for */
	struct vhx_device *dev;
	enum vhx_vsock_state state;
	bool seqpacket;
	uint32_t life; /* how often this place was used */
	uint32_t guest_port, host_port;
	struct vhx_loop_timer timer;
	struct vhx_loop_timer retry; /* of a write that the kernel had no memory for */
	unsigned int retries; /* since one succeeded */
	unsigned int owe;
	unsigned int guest_shut,
		host_shut; /* VIRTIO_VSOCK_SHUTDOWN_*, as the guest told, as we did or will */
	/* The socket, watched edge by edge */
	struct vhx_loop_fd watch;
	bool readable; /* until a read finds nothing */
	bool hung_up; /* nobody is at its other end; bytes may be left */
	bool ended; /* its reader has been told that no more comes */
	/* Guest to host. Counts wrap. */
	uint32_t buf_alloc;
	uint32_t rx_cnt, fwd_cnt, fwd_told;
	struct vhx_vsock_buffer buffer;
	/* Host to guest */
	uint32_t tx_cnt, peer_buf_alloc, peer_fwd_cnt;
	bool asked; /* for credit, and none came since */
	uint8_t *message; /* that is being sent; NULL: none */
	uint32_t message_len, message_off;
};

/* How many bytes the guest takes now. */
uint32_t vhx_vsock_conn_credit(const struct vhx_vsock_conn *c);

/*
 * Bytes of the guest's, @len from @off of its request on; @end: a message ends with them. They are within the credit.
 * 0; -ENOMEM, -EMSGSIZE: a message that no socket takes.
 */
int vhx_vsock_conn_take(struct vhx_vsock_conn *c, const struct vhx_request *req, uint32_t off,
			uint32_t len, bool end);

/* Moves what is kept to the host, as far as it takes it. 0 or -EMSGSIZE. */
int vhx_vsock_conn_flush(struct vhx_vsock_conn *c);

/*
 * Bytes for the guest, at most @max, which is within its credit and not 0. How many, and in *@flags what is to be
 * said of them; 0: none now; -EPIPE: the host has sent all that it will. -ENOMEM, -EMSGSIZE: a message that the guest
 * could never take.
 */
int vhx_vsock_conn_read(struct vhx_vsock_conn *c, void *buf, uint32_t max, uint32_t *flags);

/* The guest said what it will not do any more; what follows for the socket follows. */
void vhx_vsock_conn_guest_shut(struct vhx_vsock_conn *c, unsigned int flags);

/* Bytes that the host was not sent yet. */
bool vhx_vsock_conn_kept(const struct vhx_vsock_conn *c);

/* Closes the socket and forgets bytes. The socket was watched if @c->watch.fd is none of -1. */
void vhx_vsock_conn_clear(struct vhx_vsock_conn *c);

#endif
