/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * /dev/hmx_test: a process plays the host of a window for the kernel that it runs on. For the
 * lab; the module is never installed.
 *
 * Each open of it is one window, and the kernel is its guest (docs/wire.md, section 14). The
 * process makes the memory, lays out the host's header, and attaches it with one of two ioctls:
 *
 *   HMX_TEST_WINDOW  a channel of virtio_hmx: devices appear as a backend serves them
 *   HMX_TEST_PORT    a bare port, which the other ioctls drive
 *
 * The descriptor is also the pair of events, and behaves like two eventfds: read() of 8 bytes
 * takes the number of times that the kernel has rung (it blocks, or -EAGAIN; poll() says POLLIN),
 * write() of 8 bytes rings the kernel. The last close() takes the guest's side away.
 */
#ifndef VHX_UAPI_HMX_TEST_H
#define VHX_UAPI_HMX_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define HMX_TEST_DEVICE "/dev/hmx_test"

struct hmx_test_window {
	__s32 fd; /* a memfd; its pages stay pinned until the last close() */
	__u32 size; /* of the window, in bytes */
};

/*
 * The port after an operation: its limits, 0 until the peers have met, and its counters. @rings:
 * what a read() would have taken; it is taken.
 */
struct hmx_test_state {
	__u32 max_message;
	__u32 tx_ring_len;
	__u32 rx_ring_len;
	__u32 rings;
	__u64 tx_messages, tx_bytes;
	__u64 rx_messages, rx_bytes;
	__u64 sends, wakes_sent, wakes_taken, would_blocks;
};

/*
 * SEND: @len bytes at @addr, cut into @nr_segs pieces, as one message of @type. PEEK: fills in
 * @type and
 * @len. READ: @len bytes from @off on, to @addr. The others look at nothing here.
 */
struct hmx_test_op {
	__u64 addr;
	__u32 type;
	__u32 len;
	__u32 off;
	__u32 nr_segs; /* 1 to HMX_TEST_SEGS_MAX */
	struct hmx_test_state state; /* filled in, whatever the result */
};

#define HMX_TEST_SEGS_MAX 16u

/* 0, or an error: ENODEV: not a window; EBUSY: has one already. */
#define HMX_TEST_WINDOW _IOW('H', 0, struct hmx_test_window)
#define HMX_TEST_PORT _IOW('H', 1, struct hmx_test_window)

/* The port's operations, with their results (struct hmx_port_ops). ENOTCONN: no bare port. */
#define HMX_TEST_OPEN _IOWR('H', 2, struct hmx_test_op)
#define HMX_TEST_CLOSE _IOWR('H', 3, struct hmx_test_op)
#define HMX_TEST_SEND _IOWR('H', 4, struct hmx_test_op)
#define HMX_TEST_PEEK _IOWR('H', 5, struct hmx_test_op)
#define HMX_TEST_READ _IOWR('H', 6, struct hmx_test_op)
#define HMX_TEST_CONSUME _IOWR('H', 7, struct hmx_test_op)
#define HMX_TEST_PREPARE_WAIT _IOWR('H', 8, struct hmx_test_op)

/* Around a sleep of the system, which this is none of: its drivers. ENOTCONN: no window. */
#define HMX_TEST_FREEZE _IO('H', 9)
#define HMX_TEST_RESTORE _IO('H', 10)
/* The channel is removed as with a device that is there still: its backend is not given up first. ENOTCONN. */
#define HMX_TEST_LEAVE _IO('H', 11)

/*
 * /dev/hmx_argo_test: a bare port of the provider `argo` (docs/wire.md, section 15). ARGO_PORT makes it, then the
 * port's operations are as above. The descriptor tells of the port's own events: read() of 8 bytes takes
 * their number, without blocking; poll() says POLLIN when there are any.
 */
#define HMX_ARGO_TEST_DEVICE "/dev/hmx_argo_test"

struct hmx_argo_test_port {
	__u16 partner; /* may be our own domain */
	__u16 backend; /* 1: who serves; 0: the frontend */
	__u32 ring_len;
};

/* 0, or an error: EBUSY: has one already; EADDRINUSE: another one has this partner and role. */
#define HMX_ARGO_TEST_PORT _IOW('H', 9, struct hmx_argo_test_port)

#endif
