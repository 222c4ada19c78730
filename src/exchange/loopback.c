// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `loop`: two lane ports whose sections and socket never leave the process. Each end has its own
 * mappings of both sections and its own end of the socket pair; they share no other state, so that each
 * may be used and closed in a thread of its own.
 */
#include "exchange/loopback.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange/lane_port.h"

static const struct vhx_port_ops loopback_ops = {
	.name = "loop",
	.caps = VHX_LANE_PORT_CAPS,
	.iov_max = VHX_LANE_IOV_MAX,
	.send = vhx_lane_port_send,
	.reserve = vhx_lane_port_reserve,
	.commit = vhx_lane_port_commit,
	.cancel = vhx_lane_port_cancel,
	.peek = vhx_lane_port_peek,
	.read = vhx_lane_port_read,
	.consume = vhx_lane_port_consume,
	.prepare_wait = vhx_lane_port_prepare_wait,
	.event = vhx_lane_port_event,
	.close = vhx_lane_port_close,
};

static int join_ends(struct vhx_lane_port *lp[2], const int memfds[2], uint32_t ring_len)
{
	for (int i = 0; i < 2; i++) {
		int err = vhx_section_map(memfds[!i], ring_len, &lp[i]->theirs);

		if (err)
			return err;
	}
	for (int i = 0; i < 2; i++) {
		vhx_lane_port_join(lp[i]);
		snprintf(lp[i]->port.peer.text, sizeof(lp[i]->port.peer.text), "loop");
	}
	return 0;
}

int vhx_loopback_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	struct vhx_lane_port *lp[2];
	int socks[2], memfds[2];
	int err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return -errno;
	err = vhx_lane_port_new(&loopback_ops, socks[0], ring_len, &lp[0], &memfds[0]);
	if (err) {
		close(socks[1]);
		return err;
	}
	err = vhx_lane_port_new(&loopback_ops, socks[1], ring_len, &lp[1], &memfds[1]);
	if (err)
		goto close_first;
	err = join_ends(lp, memfds, ring_len);
	close(memfds[1]);
	if (err)
		goto close_second;
	close(memfds[0]);
	ends[0] = &lp[0]->port;
	ends[1] = &lp[1]->port;
	return 0;

close_second:
	vhx_port_close(&lp[1]->port);
close_first:
	close(memfds[0]);
	vhx_port_close(&lp[0]->port);
	return err;
}
