// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A frame per datagram of a unix socket: what QEMU's -netdev dgram speaks. The socket is bound to LOCAL, where the
 * peer sends to, and connected to REMOTE, so that the kernel takes datagrams from that peer alone, and tells
 * when there is room for more. A descriptor that was inherited is connected already.
 *
 * A peer that closed its socket is found out when something is sent to it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/net_end.h"

/* Where packets are in sequence (SOCK_SEQPACKET), nothing is what is received of a peer that left, without end. */
static bool ends_with_nothing(const struct vhx_net_end *e)
{
	socklen_t len = sizeof(int);
	int type;

	return !getsockopt(e->lines[0].watch.fd, SOL_SOCKET, SO_TYPE, &type, &len) &&
	       type == SOCK_SEQPACKET;
}

static ssize_t dgram_receive(struct vhx_net_end *e, unsigned int pair, const struct iovec *iov,
			     int cnt)
{
	const size_t hdr_len = sizeof(struct virtio_net_hdr);
	struct msghdr msg = { .msg_iovlen = (size_t)cnt };
	struct iovec all[2];
	ssize_t n;

	assert(cnt <= 2 && iov[0].iov_len >= hdr_len);
	memcpy(all, iov, (size_t)cnt * sizeof(*iov));
	memset(all[0].iov_base, 0, hdr_len);
	all[0].iov_base = (uint8_t *)all[0].iov_base + hdr_len;
	all[0].iov_len -= hdr_len;
	msg.msg_iov = all;
	n = recvmsg(e->lines[0].watch.fd, &msg, MSG_DONTWAIT);
	if (n > 0)
		return n + (ssize_t)hdr_len;
	/* An empty one is no frame, and too short to be passed on. */
	if (!n)
		return ends_with_nothing(e) ? -EPIPE : (ssize_t)hdr_len;
	return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
}

static int dgram_send(struct vhx_net_end *e, unsigned int pair, const struct virtio_net_hdr *hdr,
		      const struct iovec *iov, int cnt)
{
	struct msghdr msg = { .msg_iov = vhx_unconst(iov), .msg_iovlen = (size_t)cnt };

	if (sendmsg(e->lines[0].watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	switch (errno) {
	case EAGAIN:
	case EINTR:
		return -EAGAIN;
	case EMSGSIZE:
	case ENOBUFS:
	case ENOMEM:
		return 0; /* lost */
	default:
		return -EPIPE;
	}
}

/* "LOCAL:REMOTE" */
static int paths_split(const char *rest, struct sockaddr_un *local, struct sockaddr_un *remote,
		       struct vhx_error *err)
{
	const char *colon = strchr(rest, ':');
	size_t len = colon ? (size_t)(colon - rest) : 0;

	if (!len || !colon[1]) {
		vhx_error_set(err, "dgram: two sockets are needed, dgram:LOCAL:REMOTE");
		return -EINVAL;
	}
	if (len >= sizeof(local->sun_path) || strlen(colon + 1) >= sizeof(remote->sun_path)) {
		vhx_error_set(err, "dgram: the path of a socket is at most %zu bytes long",
			      sizeof(local->sun_path) - 1);
		return -ENAMETOOLONG;
	}
	local->sun_family = AF_UNIX;
	memcpy(local->sun_path, rest, len);
	remote->sun_family = AF_UNIX;
	memcpy(remote->sun_path, colon + 1, strlen(colon + 1));
	return 0;
}

static bool is_stale(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) &&
		     errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return stale;
}

/* Never more open than 0600, whatever the umask. One that nobody holds any more is replaced. */
static int local_bind(struct vhx_net_end *e, int fd, const struct sockaddr_un *local)
{
	mode_t mask;
	int ret;

	if (is_stale(local))
		unlink(local->sun_path);
	mask = umask(0177);
	ret = bind(fd, (const struct sockaddr *)local, sizeof(*local)) ? -errno : 0;
	umask(mask);
	if (!ret)
		snprintf(e->local, sizeof(e->local), "%s", local->sun_path);
	return ret;
}

static int dgram_open(struct vhx_net_end *e, const char *rest, struct vhx_error *err)
{
	struct sockaddr_un local = { 0 }, remote = { 0 };
	int fd, ret;

	e->online = true;
	if (!rest)
		return 0;
	ret = paths_split(rest, &local, &remote, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		vhx_error_set(err, "dgram: %s", strerror(errno));
		return -errno;
	}
	vhx_net_end_line_set(e, 0, fd);
	ret = local_bind(e, fd, &local);
	if (ret) {
		vhx_error_set(err, "%s: %s", local.sun_path, strerror(-ret));
		return ret;
	}
	if (connect(fd, (struct sockaddr *)&remote, sizeof(remote))) {
		ret = -errno;
		vhx_error_set(err, "%s: %s", remote.sun_path, strerror(-ret));
	}
	return ret;
}

static void dgram_close(struct vhx_net_end *e)
{
	if (e->local[0])
		unlink(e->local);
	e->local[0] = 0;
}

const struct vhx_net_end_ops vhx_net_dgram_ops = {
	.name = "dgram",
	.open = dgram_open,
	.close = dgram_close,
	.receive = dgram_receive,
	.send = dgram_send,
};
