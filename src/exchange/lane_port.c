// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ports over a lane and a socket.
 *
 * States, by `status`: -EAGAIN (OPENING: the peer's section is not there yet), 0 (READY), -EPIPE or
 * -EPROTO (GONE, for ever). After -EPIPE what the peer published before its death is still read; after
 * -EPROTO nothing of it is believed any more.
 *
 * Wakes are packets of one byte. They are sent and received with MSG_DONTWAIT, whatever the mode of the
 * descriptor is: a peer that shares it can change its flags, but neither hang the waker nor the reader. If
 * the peer's queue is full, then it has wakes that it has not read, and needs no more: it looks at the
 * indices after it has taken them. Packets are received without room for control data, so the kernel
 * drops descriptors that a peer attaches to them.
 *
 * A hostile peer can send packets without end, which costs VHX_LANE_PORT_WAKE_BATCH per event, or an empty
 * one, which reads like an end of file and ends its own port.
 */
#include "exchange/lane_port.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct vhx_lane_port *to_lane_port(struct vhx_port *p)
{
	return vhx_container_of(p, struct vhx_lane_port, port);
}

int vhx_lane_port_fail(struct vhx_lane_port *lp, int err)
{
	if (lp->status == 0 || lp->status == -EAGAIN)
		lp->status = err;
	/* A port that is gone counts as ready, so that its reason is asked for. */
	if (!lp->port.max_message)
		lp->port.max_message = vhx_lane_max_message(lp->own.ring_len);
	return lp->status;
}

void vhx_lane_port_init(struct vhx_lane_port *lp, const struct vhx_port_ops *ops, int sock)
{
	lp->port.ops = ops;
	lp->port.fd = sock;
	lp->port.peer.uid = lp->port.peer.gid = lp->port.peer.pid = UINT32_MAX;
	lp->status = -EAGAIN;
}

int vhx_lane_port_new(const struct vhx_port_ops *ops, int sock, uint32_t ring_len,
		      struct vhx_lane_port **port, int *memfd)
{
	struct vhx_lane_port *lp = calloc(1, sizeof(*lp));
	int err;

	if (!lp) {
		close(sock);
		return -ENOMEM;
	}
	err = vhx_section_create(ring_len, &lp->own, memfd);
	if (err) {
		close(sock);
		free(lp);
		return err;
	}
	vhx_lane_port_init(lp, ops, sock);
	lp->port.memory = sizeof(*lp) + vhx_section_size(ring_len);
	*port = lp;
	return 0;
}

void vhx_lane_port_join(struct vhx_lane_port *lp)
{
	vhx_lane_init(&lp->lane, &lp->own, &lp->theirs);
	lp->joined = true;
	lp->status = 0;
	lp->port.max_message = lp->lane.max_message;
	lp->port.tx_ring_len = lp->own.ring_len - VHX_SLOT;
	lp->port.rx_ring_len = lp->theirs.ring_len - VHX_SLOT;
}

/*
 * Never blocks and never fails the caller: a death is told by event(). A full queue is the peer's to read. A wake that got
 * lost otherwise, for want of memory, would leave both ends asleep: then the port ends.
 */
void vhx_lane_port_raise(struct vhx_lane_port *lp)
{
	static const char wake;

	if (send(lp->port.fd, &wake, sizeof(wake), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(wake))
		lp->port.stats.wakes_sent += lp->joined;
	else if (errno != EAGAIN && errno != EINTR)
		vhx_lane_port_fail(lp, -EPIPE);
}

static inline void wake_if_due(struct vhx_lane_port *lp)
{
	if (vhx_unlikely(vhx_lane_wake_due(&lp->lane)))
		vhx_lane_port_raise(lp);
}

/* The lane gave up. Stale words of a peer that has left are no breach. */
static int lane_refused(struct vhx_lane_port *lp, int err)
{
	if (err == -EPROTO && lp->left && lp->left(lp))
		err = -EPIPE;
	return vhx_lane_port_fail(lp, err);
}

/* A refusal is counted if it is for lack of room, and final if the peer broke the rules. */
static int send_refused(struct vhx_lane_port *lp, int err)
{
	if (err == -EAGAIN)
		lp->port.stats.would_blocks++;
	else if (err == -EPROTO)
		return lane_refused(lp, err);
	return err;
}

static void send_done(struct vhx_lane_port *lp, uint32_t len)
{
	lp->port.stats.sends++;
	lp->port.stats.tx_messages++;
	lp->port.stats.tx_bytes += len;
	wake_if_due(lp);
}

int vhx_lane_port_send(struct vhx_port *p, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	struct vhx_lane_port *lp = to_lane_port(p);
	uint32_t len;
	int err = lp->status;

	if (vhx_likely(!err))
		err = vhx_lane_send(&lp->lane, type, iov, cnt, &len);
	if (vhx_unlikely(err))
		return send_refused(lp, err);
	send_done(lp, len);
	return 0;
}

int vhx_lane_port_reserve(struct vhx_port *p, uint32_t len, void **buf)
{
	struct vhx_lane_port *lp = to_lane_port(p);
	int err = lp->status;

	if (vhx_likely(!err))
		err = vhx_lane_reserve(&lp->lane, len, buf);
	return vhx_unlikely(err) ? send_refused(lp, err) : 0;
}

int vhx_lane_port_commit(struct vhx_port *p, uint32_t type, uint32_t len)
{
	struct vhx_lane_port *lp = to_lane_port(p);

	if (vhx_unlikely(lp->status)) {
		vhx_lane_cancel(&lp->lane);
		return lp->status;
	}
	vhx_lane_commit(&lp->lane, type, len);
	send_done(lp, len);
	return 0;
}

void vhx_lane_port_cancel(struct vhx_port *p)
{
	vhx_lane_cancel(&to_lane_port(p)->lane);
}

int vhx_lane_port_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	struct vhx_lane_port *lp = to_lane_port(p);
	int status = lp->status;
	int ret;

	if (vhx_unlikely(!lp->joined || status == -EPROTO))
		return status == -EAGAIN ? 0 : status;
	/* The status was taken before the index is loaded: nothing published before a death is missed. */
	ret = vhx_lane_peek(&lp->lane, msg);
	wake_if_due(lp);
	if (vhx_unlikely(ret < 0))
		return lane_refused(lp, ret);
	return ret ? ret : status;
}

void vhx_lane_port_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	vhx_lane_read(&to_lane_port(p)->lane, off, dst, len);
}

void vhx_lane_port_consume(struct vhx_port *p)
{
	struct vhx_lane_port *lp = to_lane_port(p);

	lp->port.stats.rx_messages++;
	lp->port.stats.rx_bytes += lp->lane.msg.len;
	vhx_lane_consume(&lp->lane);
	wake_if_due(lp);
}

int vhx_lane_port_prepare_wait(struct vhx_port *p)
{
	struct vhx_lane_port *lp = to_lane_port(p);
	int ret;

	if (lp->status)
		return lp->status == -EAGAIN ? 0 : 1;
	ret = vhx_lane_prepare_wait(&lp->lane);
	wake_if_due(lp);
	if (ret < 0)
		lane_refused(lp, ret);
	/* Where the peer is gone, peek says so: that is work too. */
	return ret || lp->status;
}

int vhx_lane_port_take(struct vhx_lane_port *lp)
{
	struct mmsghdr batch[VHX_LANE_PORT_WAKE_BATCH];
	char bytes[VHX_LANE_PORT_WAKE_BATCH];
	struct iovec iov[VHX_LANE_PORT_WAKE_BATCH];
	int cnt;

	memset(batch, 0, sizeof(batch));
	for (unsigned int i = 0; i < VHX_LANE_PORT_WAKE_BATCH; i++) {
		iov[i] = (struct iovec){ .iov_base = &bytes[i], .iov_len = 1 };
		batch[i].msg_hdr.msg_iov = &iov[i];
		batch[i].msg_hdr.msg_iovlen = 1;
	}
	cnt = recvmmsg(lp->port.fd, batch, VHX_LANE_PORT_WAKE_BATCH, MSG_DONTWAIT, NULL);
	if (cnt < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	for (int i = 0; i < cnt; i++) {
		if (!batch[i].msg_len)
			return -EPIPE;
		lp->port.stats.wakes_taken += lp->joined;
	}
	return 0;
}

int vhx_lane_port_event(struct vhx_port *p)
{
	struct vhx_lane_port *lp = to_lane_port(p);

	if (lp->status)
		return lp->status;
	vhx_lane_awake(&lp->lane);
	return vhx_lane_port_take(lp) ? vhx_lane_port_fail(lp, -EPIPE) : 0;
}

void vhx_lane_port_close(struct vhx_port *p)
{
	struct vhx_lane_port *lp = to_lane_port(p);

	vhx_section_unmap(&lp->own);
	vhx_section_unmap(&lp->theirs);
	close(lp->port.fd);
	free(lp);
}
