// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `local`: how two processes on one kernel meet.
 *
 * Each end makes a section, allocates and maps all of it writable, and seals its file: no shrinking, no
 * growing, no new writable mapping. Then it sends one packet, the *offer*, with the file. It becomes READY when
 * it has accepted the peer's offer; neither end waits for the other, and offers cross.
 *
 *   OPENING --offer accepted--> READY --end of file--> GONE (-EPIPE)
 *      |                          `----broken rule---> GONE (-EPROTO)
 *      `------end of file, or an offer that is refused---> GONE
 *
 * The peer is hostile. A shared file is a door to SIGBUS, so that what it offers is accepted only if no
 * access to it can ever fault: a tmpfs file (hugetlb pages may be missing at fault time), sealed against
 * truncation and, by FUTURE_WRITE, against punched holes; of the announced size and without holes now, so
 * that its pages were paid for by their owner. Only one file descriptor is taken, all others are
 * closed. The offer is copied out of the socket, hence private.
 *
 * From READY on this is lane_port.c.
 */
#include "exchange/local.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "exchange/lane_port.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

_Static_assert(VHX_LOCAL_RING_MIN >= VHX_SECTION_RING_MIN, "bounds");
_Static_assert(VHX_LOCAL_RING_MAX <= VHX_SECTION_RING_MAX, "bounds");

#define SECTION_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

#define OFFER_MAGIC 0x4f584856u /* "VHXO" */
#define OFFER_VERSION 1u

/* Both ends run on one kernel: host byte order and one page size. */
struct offer {
	uint32_t magic;
	uint32_t version;
	uint32_t ring_len;
	uint32_t reserved[5];
};

_Static_assert(sizeof(struct offer) == 32, "offer layout");

/* Room for more than is accepted, so that a surplus is seen and closed. */
#define OFFER_CONTROL_LEN 256

static bool ring_len_allowed(uint32_t ring_len)
{
	return ring_len >= VHX_LOCAL_RING_MIN && ring_len <= VHX_LOCAL_RING_MAX &&
	       vhx_section_ring_len_valid(ring_len);
}

static int offer_send(int sock, uint32_t ring_len, int memfd)
{
	struct offer offer = { OFFER_MAGIC, OFFER_VERSION, ring_len, { 0 } };
	struct iovec iov = { .iov_base = &offer, .iov_len = sizeof(offer) };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &memfd, sizeof(int));
	return sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Keeps the first descriptor of a packet in *@fd, closes the others and returns how many there were. */
static unsigned int take_descriptors(struct msghdr *msg, int *fd)
{
	unsigned int total = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t cnt = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < cnt; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (total++)
				close(got);
			else
				*fd = got;
		}
	}
	return total;
}

/*
 * Takes one packet that has to be an offer. 0 and *@fd, the caller's; -EAGAIN if there is none yet;
 * -EPIPE at the end of file; -EPROTO if it is anything else.
 */
static int offer_receive(int sock, struct offer *offer, int *fd)
{
	struct iovec iov = { .iov_base = offer, .iov_len = sizeof(*offer) };
	union {
		struct cmsghdr align;
		char bytes[OFFER_CONTROL_LEN];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t len = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	unsigned int fds;

	if (len < 0) {
		/* ECONNRESET: the peer died before it read our offer; its own may still be queued. */
		return errno == EAGAIN || errno == EINTR || errno == ECONNRESET ? -EAGAIN : -EPIPE;
	}
	*fd = -1;
	fds = take_descriptors(&msg, fd);
	if (fds == 1 && len == sizeof(*offer) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return 0;
	if (fds)
		close(*fd);
	return len == 0 && !fds ? -EPIPE : -EPROTO;
}

static bool offer_valid(const struct offer *o)
{
	static const uint32_t zeroes[VHX_ARRAY_SIZE(o->reserved)];

	return o->magic == OFFER_MAGIC && o->version == OFFER_VERSION &&
	       ring_len_allowed(o->ring_len) && !memcmp(o->reserved, zeroes, sizeof(zeroes));
}

/* Is @fd a file whose mapping can never fault and that nobody else can get to write? */
static bool section_file_safe(int fd, uint32_t ring_len)
{
	uint64_t size = vhx_section_size(ring_len);
	struct statfs fs;
	struct stat st;
	int seals;

	if (fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return false;
	/* Systems that make every memfd non-executable add a seal of their own, which is harmless. */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & ~F_SEAL_EXEC) != SECTION_SEALS)
		return false;
	/* After the seals: what they fix can't change any more. */
	return !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size &&
	       (uint64_t)st.st_blocks * 512 >= size;
}

static int section_adopt(struct vhx_lane_port *lp, const struct offer *offer, int fd)
{
	if (!offer_valid(offer) || !section_file_safe(fd, offer->ring_len))
		return -EPROTO;
	return vhx_section_map(fd, offer->ring_len, &lp->theirs);
}

/* OPENING: the peer's offer is what counts. */
static int local_meet(struct vhx_lane_port *lp)
{
	struct offer offer;
	int err, fd;

	err = offer_receive(lp->port.fd, &offer, &fd);
	if (err == -EAGAIN)
		return 0;
	if (err)
		return vhx_lane_port_fail(lp, err);
	err = section_adopt(lp, &offer, fd);
	close(fd);
	if (err)
		return vhx_lane_port_fail(lp, err);
	vhx_lane_port_join(lp);
	return 0;
}

static int local_event(struct vhx_port *p)
{
	struct vhx_lane_port *lp = vhx_container_of(p, struct vhx_lane_port, port);

	return lp->status == -EAGAIN ? local_meet(lp) : vhx_lane_port_event(p);
}

static const struct vhx_port_ops local_ops = {
	.name = "local",
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
	.event = local_event,
	.close = vhx_lane_port_close,
};

static int check_socket(int sock)
{
	int type;
	socklen_t len = sizeof(type);

	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len))
		return -errno;
	return type == SOCK_SEQPACKET ? 0 : -EINVAL;
}

static int identify_peer(int sock, struct vhx_peer *peer)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	peer->pid = (uint32_t)cred.pid;
	snprintf(peer->text, sizeof(peer->text), "pid %u uid %u", peer->pid, peer->uid);
	return 0;
}

static int seal_and_offer(struct vhx_lane_port *lp, uint32_t ring_len, int memfd)
{
	if (fcntl(memfd, F_ADD_SEALS, SECTION_SEALS))
		return -errno;
	return offer_send(lp->port.fd, ring_len, memfd);
}

int vhx_local_open(int sock, uint32_t ring_len, struct vhx_port **port)
{
	struct vhx_lane_port *lp;
	int err, memfd;

	err = ring_len_allowed(ring_len) ? check_socket(sock) : -EINVAL;
	if (err) {
		close(sock);
		return err;
	}
	err = vhx_lane_port_new(&local_ops, sock, ring_len, &lp, &memfd);
	if (err)
		return err;
	err = identify_peer(sock, &lp->port.peer);
	if (!err)
		err = seal_and_offer(lp, ring_len, memfd);
	close(memfd);
	if (err) {
		vhx_port_close(&lp->port);
		return err;
	}
	*port = &lp->port;
	return 0;
}
