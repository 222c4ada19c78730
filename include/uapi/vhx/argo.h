/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Xen's Argo: its interface (1), the provider `argo` of virtio-hmx on it (2; docs/wire.md, section 15), and
 * /dev/argo, which offers Argo to the programs of a domain (3; hmx_argo(4)).
 *
 * Argo has one writer of a ring, the hypervisor, and knows no byte order but that of the domain.
 */
#ifndef VHX_UAPI_ARGO_H
#define VHX_UAPI_ARGO_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include <vhx/endian.h>

/* ---- 1. The hypervisor's interface ---- */

#define ARGO_HYPERCALL 39
#define ARGO_VIRQ 11 /* of the domain, bound on vCPU 0; raised by each message, and by notify */

#define ARGO_OP_REGISTER_RING 1
#define ARGO_OP_UNREGISTER_RING 2
#define ARGO_OP_SENDV 3
#define ARGO_OP_NOTIFY 4

#define ARGO_DOMID_ANY 0x7ff4 /* as partner: everybody; as source: the caller */
#define ARGO_REGISTER_FAIL_EXIST 0x1u

#define ARGO_PAGE_SIZE 4096u
#define ARGO_PAGES_MAX 4096u /* of a ring, header included */
#define ARGO_SLOT_SIZE 16u /* each message begins on such a boundary of the data area */
#define ARGO_RING_LEN_MIN 48u
#define ARGO_RING_LEN_MAX (ARGO_PAGES_MAX * ARGO_PAGE_SIZE - 64u) /* that can be registered */
#define ARGO_IOVS_MAX 8u
#define ARGO_NOTIFY_MAX 256u /* entries of one notify call */
#define ARGO_RINGS_MAX 128u /* of a domain */

/* Flags of struct argo_ring_data_ent. */
#define ARGO_RING_EXISTS 0x1u
#define ARGO_RING_SHARED 0x2u /* with other senders */
#define ARGO_RING_EMPTY 0x4u
#define ARGO_RING_SUFFICIENT 0x8u /* there is the room that was asked for */
#define ARGO_RING_EMSGSIZE 0x10u /* there never will be */
#define ARGO_RING_EBUSY 0x20u /* not now, and no event is promised */

struct argo_addr {
	__u32 port;
	__u16 domid;
	__u16 pad; /* 0, as all others */
};

struct argo_send_addr {
	struct argo_addr src;
	struct argo_addr dst;
};

struct argo_iov { /* of 64-bit domains */
	__u64 base; /* a virtual address of the caller */
	__u32 len;
	__u32 pad;
};

struct argo_register_ring {
	__u32 port;
	__u16 partner;
	__u16 pad;
	__u32 len; /* of the data area */
};

struct argo_unregister_ring {
	__u32 port;
	__u16 partner;
	__u16 pad;
};

/* The start of a ring's first page; the data area of len bytes follows it. */
struct argo_ring {
	__u32 rx_ptr; /* where the owner reads next */
	__u32 tx_ptr; /* where the hypervisor writes next; equal: the ring is empty */
	__u8 reserved[56];
};

/* Before the bytes of each message, in the data area; it never wraps, the bytes may. */
struct argo_message {
	__u32 len; /* this header included; the next message begins at the next slot after so many */
	struct argo_addr
		src; /* the domain is as the hypervisor knows it, the port as the sender says */
	__u32 type;
};

struct argo_ring_data_ent {
	struct argo_addr ring;
	__u16 flags; /* out */
	__u16 pad;
	__u32 space; /* bytes that are to be sent */
	__u32 max_message; /* out */
};

struct argo_ring_data {
	__u32 nent;
	__u32 pad; /* entries follow */
};

#ifndef __cplusplus /* which has another word for it */
_Static_assert(sizeof(struct argo_addr) == 8, "argo address");
_Static_assert(sizeof(struct argo_send_addr) == 16, "argo addresses");
_Static_assert(sizeof(struct argo_iov) == 16, "argo iov");
_Static_assert(sizeof(struct argo_register_ring) == 12, "argo registration");
_Static_assert(sizeof(struct argo_unregister_ring) == 8, "argo unregistration");
_Static_assert(sizeof(struct argo_ring) == 64, "argo ring");
_Static_assert(sizeof(struct argo_message) == 16, "argo message");
_Static_assert(sizeof(struct argo_ring_data_ent) == 20, "argo ring data entry");
_Static_assert(sizeof(struct argo_ring_data) == 8, "argo ring data");
#endif

/* ---- 2. The provider ---- */

/* Ports whose lowest bytes are "VHX". The fourth byte is the role of who receives there. */
#define VHX_ARGO_PORT_BE 0x42584856u /* "VHXB" */
#define VHX_ARGO_PORT_FE 0x46584856u /* "VHXF" */
#define VHX_ARGO_PORT_MASK 0x00ffffffu
#define VHX_ARGO_PORT_RESERVED 0x00584856u

/* The type of the messages by which two sides meet and part; outside of the range of a channel's types. */
#define VHX_ARGO_MEET 0x4d584856u /* "VHXM" */
#define VHX_ARGO_VERSION 1u

#define VHX_ARGO_GONE 0u /* the life inc is over */
#define VHX_ARGO_HERE 1u /* the life inc has a ring of ring_len bytes */

struct vhx_argo_meet {
	vhx_le32 version;
	vhx_le32 state;
	vhx_le32 inc;
	vhx_le32 peer_inc; /* the peer's life that this answers; 0: none is known */
	vhx_le32 ring_len;
	vhx_le32 reserved[3];
};

#define VHX_ARGO_RING_MIN 4096u
#define VHX_ARGO_RING_MAX 16777152u /* ARGO_RING_LEN_MAX */
#define VHX_ARGO_RING_DEFAULT 1048512u /* 256 pages, header included */
/* Xen copies a message under the lock of its ring, without preemption: this bounds for how long. */
#define VHX_ARGO_SEND_MAX (128u << 10)
/* Between two attempts to meet. */
#define VHX_ARGO_RETRY_MIN_NS 10000000ull
#define VHX_ARGO_RETRY_MAX_NS 1000000000ull
#define VHX_ARGO_REFUSED_NS 10000000000ull /* where the hypervisor's policy forbids it */
/* Between two looks at whether the peer's ring is still there, and whether the own one is. */
#define VHX_ARGO_PROBE_NS 5000000000ull
#define VHX_ARGO_CHECK_NS 60000000000ull

#ifndef __cplusplus /* which has another word for it */
_Static_assert(sizeof(struct vhx_argo_meet) == 32, "meet");
_Static_assert(VHX_ARGO_RING_MAX == ARGO_RING_LEN_MAX, "largest ring");
#endif

/* ---- 3. The device ---- */

/*
 * Each open of it is an *endpoint*: it can send, and have one ring to receive in. What follows are its
 * ioctls. Their results are those of the hypervisor, negative error numbers as errno, and these besides:
 * EFAULT (an address of the caller), EINVAL (a reserved field is not 0; sizes), ENOTCONN (has no ring).
 * No ioctl waits for a peer.
 *
 * Receiving. BIND registers a ring. mmap(PROT_READ, MAP_SHARED, offset 0) shows it: struct argo_ring, and
 * the data behind it. Read tx_ptr with acquire, then messages up to it; CONSUME says how far that went.
 *
 * Waiting. poll(): POLLIN while the ring holds anything behind the rx_ptr of the last CONSUME, and after
 * a refused send as soon as it is worth trying again, until it was tried or CONSUME was called. POLLOUT unless a
 * SENDV was refused (EAGAIN, EBUSY, ENOMEM), none as large has gone since, and it is not worth trying again yet.
 * POLLHUP: the ring is gone (CHECK). An event between a look and poll() is not lost.
 *
 * Ports. Those of the transport (VHX_ARGO_PORT_RESERVED) are for endpoints whose opener had CAP_SYS_ADMIN.
 * No program sends with the port of another one's ring.
 *
 * Memory. The pages of a ring count against RLIMIT_MEMLOCK, but for openers with CAP_SYS_ADMIN.
 */
#define HMX_ARGO_DEVICE "/dev/argo"

struct hmx_argo_info {
	__u16 domid; /* our own */
	__u16 pad;
	__u32 ring_len_max;
	__u32 message_max; /* bytes of one SENDV */
	__u32 iovs_max;
};

/*
 * @port: 0: any that is free; it is filled in. @partner: ARGO_DOMID_ANY: everybody may send. BIND on an
 * endpoint that has a ring begins anew: the ring is unregistered, emptied, and registered again; the
 * arguments must be the same then (EBUSY). EADDRINUSE: another endpoint, or the transport, has this
 * port and partner. EPERM: a port of the transport, or the hypervisor's policy. ENOMEM: also the limit.
 */
struct hmx_argo_bind {
	__u32 port;
	__u32 len; /* of the data area; a multiple of 16 */
	__u16 partner;
	__u16 pad[3];
};

/*
 * Stores @rx_ptr, a multiple of 16 below len, and after a full fence loads @tx_ptr. Then who was refused is
 * woken by a notify call if the ring may have held more than @notify_above since the last CONSUME:
 * 0 always, HMX_ARGO_NOTIFY_NEVER. Result: 1 if that call was made, else 0.
 */
struct hmx_argo_consume {
	__u32 rx_ptr;
	__u32 notify_above;
	__u32 tx_ptr; /* out */
	__u32 pad;
};

#define HMX_ARGO_NOTIFY_NEVER 0xffffffffu

struct hmx_argo_iov {
	__u64 addr;
	__u32 len;
	__u32 pad;
};

/*
 * Result: the bytes sent. @src_port: 0 is that of the endpoint's ring. EMSGSIZE: never fits, or more than
 * message_max. EAGAIN, EBUSY, ENOMEM: does not fit now; poll() tells when to try again, in all three cases.
 * ECONNREFUSED, ESRCH: nobody receives there.
 */
struct hmx_argo_sendv {
	__u64 iov; /* array of struct hmx_argo_iov */
	__u32 nr_iov;
	__u32 type;
	__u32 src_port;
	__u32 dst_port;
	__u16 dst_domid;
	__u16 pad[3];
};

/* Asks for one ring that we may send to. @flags: ARGO_RING_*; 0: there is none. */
struct hmx_argo_query {
	__u32 port;
	__u16 domid;
	__u16 flags; /* out */
	__u32 space;
	__u32 max_message; /* out */
};

/* What this endpoint did, in hypercalls and messages. */
struct hmx_argo_stats {
	__u64 registers, unregisters, sendvs, notifies; /* hypercalls, those of QUERY apart */
	__u64 tx_messages, tx_bytes;
	__u64 refused; /* sends that did not fit */
	__u64 events; /* that found the ring not empty, or a send refused */
};

/* Of LAST_WORDS. */
#define HMX_ARGO_LAST_WORDS_MAX 64u

#define HMX_ARGO_INFO _IOR('H', 0x20, struct hmx_argo_info)
#define HMX_ARGO_BIND _IOWR('H', 0x21, struct hmx_argo_bind)
#define HMX_ARGO_CONSUME _IOWR('H', 0x22, struct hmx_argo_consume)
#define HMX_ARGO_SENDV _IOW('H', 0x23, struct hmx_argo_sendv)
/* Wakes all who were refused at any ring of this domain: notify without an argument. */
#define HMX_ARGO_NOTIFY _IO('H', 0x24)
#define HMX_ARGO_QUERY _IOWR('H', 0x25, struct hmx_argo_query)
/*
 * Is the ring still there? The hypervisor removes it without a word when its partner ends. 0: it is. 1: it was
 * not, and could be registered again as it is: messages may have been lost. Else it is gone: poll() says
 * POLLHUP, and BIND begins anew.
 */
#define HMX_ARGO_CHECK _IO('H', 0x26)
/*
 * A message of at most HMX_ARGO_LAST_WORDS_MAX bytes that is sent when the endpoint ends, in whatever way,
 * behind all others and before its ring goes; once, and in vain if it does not fit. dst_port 0: none.
 */
#define HMX_ARGO_LAST_WORDS _IOW('H', 0x27, struct hmx_argo_sendv)
#define HMX_ARGO_STATS _IOR('H', 0x28, struct hmx_argo_stats)
/*
 * Another endpoint, with what its opener may do; for programs that give up their rights. Result: its descriptor,
 * close-on-exec.
 */
#define HMX_ARGO_NEW _IO('H', 0x29)

#ifndef __cplusplus /* which has another word for it */
_Static_assert(sizeof(struct hmx_argo_info) == 16, "info");
_Static_assert(sizeof(struct hmx_argo_bind) == 16, "bind");
_Static_assert(sizeof(struct hmx_argo_consume) == 16, "consume");
_Static_assert(sizeof(struct hmx_argo_iov) == 16, "iov");
_Static_assert(sizeof(struct hmx_argo_sendv) == 32, "sendv");
_Static_assert(sizeof(struct hmx_argo_query) == 16, "query");
_Static_assert(sizeof(struct hmx_argo_stats) == 64, "stats");
#endif

#endif
