/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * A bare port in the hands of a process: what the lab's modules have in common. Part of hmx_test.
 */
#ifndef HMX_TEST_PORT_H
#define HMX_TEST_PORT_H

#include <vhx/hmx_test.h>

#include "hmx.h"

/**
 * struct hmx_test_port - a port without a channel
 * @port: the provider's, closed at first
 * @rings: events raised for the process, that each operation takes; may be NULL
 * @peeked: whether @msg is the peeked message
 * @msg: see there
 */
struct hmx_test_port {
	struct hmx_port *port;
	atomic64_t *rings;
	bool peeked;
	struct hmx_msg msg;
};

bool hmx_test_is_op(unsigned int cmd);
/* What the operation returns, -ENOTTY: there is no such, -EFAULT. */
int hmx_test_port_ioctl(struct hmx_test_port *t, unsigned int cmd, void __user *uarg);

#endif
