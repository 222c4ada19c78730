// SPDX-License-Identifier: BSD-3-Clause
/*
 * Offers on the wire. Nothing here waits, whatever the mode of the socket is. The peer is hostile: it may
 * attach many descriptors (all but one are closed), none, or send anything else first; peeking leaves
 * descriptors where they are, since no room is given for them. The bytes are copied out, hence private.
 */
#include "exchange/offer.h"

#include "util/unix_guard.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

/* Both ends run on one kernel: host byte order. */
struct offer {
	uint32_t magic;
	uint32_t version;
	uint32_t size;
	uint32_t reserved[5];
};

_Static_assert(sizeof(struct offer) == 32, "offer layout");

/* Room for more than is accepted, so that a surplus is seen and closed. */
#define OFFER_CONTROL_LEN 256

static int check_socket(int sock)
{
	int type;
	socklen_t len = sizeof(type);

	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len))
		return -errno;
	return type == SOCK_SEQPACKET ? 0 : -EINVAL;
}

int vhx_offer_identify(int sock, struct vhx_peer *peer)
{
	char label[VHX_UNIX_LABEL_MAX];
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int err = check_socket(sock);

	if (err)
		return err;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	peer->pid = (uint32_t)cred.pid;
	vhx_unix_label(sock, label);
	snprintf(peer->text, sizeof(peer->text), "pid %u uid %u%s%.60s", peer->pid, peer->uid,
		 label[0] ? " label " : "", label);
	return 0;
}

int vhx_offer_send(int sock, uint32_t magic, uint32_t size, int fd)
{
	struct offer offer = { magic, VHX_OFFER_VERSION, size, { 0 } };
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
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/*
 * ECONNRESET: the peer died before it read what we sent; its own packets may still be queued, and the next call
 * gets at them.
 */
static int receive_error(void)
{
	return errno == EAGAIN || errno == EINTR || errno == ECONNRESET ? -EAGAIN : -EPIPE;
}

static bool offer_valid(const struct offer *o, uint32_t magic)
{
	static const uint32_t zeroes[VHX_ARRAY_SIZE(o->reserved)];

	return o->magic == magic && o->version == VHX_OFFER_VERSION &&
	       !memcmp(o->reserved, zeroes, sizeof(zeroes));
}

int vhx_offer_peek(int sock, uint32_t *magic)
{
	struct offer offer;
	ssize_t len = recv(sock, &offer, sizeof(offer), MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);

	if (len < 0)
		return receive_error();
	if (!len)
		return -EPIPE;
	if (len != sizeof(offer))
		return -EPROTO;
	*magic = offer.magic;
	return 0;
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

int vhx_offer_receive(int sock, uint32_t magic, uint32_t *size, int *fd)
{
	struct offer offer;
	struct iovec iov = { .iov_base = &offer, .iov_len = sizeof(offer) };
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

	if (len < 0)
		return receive_error();
	*fd = -1;
	fds = take_descriptors(&msg, fd);
	if (fds == 1 && len == sizeof(offer) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
	    offer_valid(&offer, magic)) {
		*size = offer.size;
		return 0;
	}
	if (fds)
		close(*fd);
	return len == 0 && !fds ? -EPIPE : -EPROTO;
}

bool vhx_offer_file_sealed(int fd, uint64_t size, int seals)
{
	struct statfs fs;
	struct stat st;
	int found;

	if (fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return false;
	/* Systems that make every memfd non-executable add a seal of their own, which is harmless. */
	found = fcntl(fd, F_GET_SEALS);
	if (found < 0 || (found & ~F_SEAL_EXEC) != seals)
		return false;
	/* After the seals: what they fix can't change any more. */
	return !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}
