// SPDX-License-Identifier: BSD-3-Clause
/*
 * Offers on the wire. Nothing here waits, whatever the mode of the socket is. The peer is hostile: it may
 * attach many descriptors (all but one are closed), none, or send anything else first; peeking leaves
 * descriptors where they are, since no room is given for them. The bytes are copied out, hence private.
 */
#include "exchange/offer.h"

#include "util/unix_fds.h"
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
	ssize_t n = vhx_unix_send_fd(sock, &iov, 1, fd, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? (int)n : 0;
}

/*
 * ECONNRESET: the peer died before it read what we sent; its own packets may still be queued, and the next call
 * gets at them.
 */
static int receive_error(int err)
{
	return err == -EAGAIN || err == -EINTR || err == -ECONNRESET ? -EAGAIN : -EPIPE;
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
		return receive_error(-errno);
	if (!len)
		return -EPIPE;
	if (len != sizeof(offer))
		return -EPROTO;
	*magic = offer.magic;
	return 0;
}

int vhx_offer_receive(int sock, uint32_t magic, uint32_t *size, int *fd)
{
	struct offer offer;
	struct vhx_unix_fds fds = { .fds = fd, .max = 1 };
	/* With MSG_TRUNC the length is that of the packet, also where it is too long. */
	ssize_t len = vhx_unix_recv_fds(sock, &offer, sizeof(offer), MSG_DONTWAIT | MSG_TRUNC,
					&fds);

	if (len < 0)
		return receive_error((int)len);
	if (fds.cnt && !fds.surplus && len == sizeof(offer) && offer_valid(&offer, magic)) {
		*size = offer.size;
		return 0;
	}
	if (fds.cnt)
		close(*fd);
	return len == 0 && !fds.cnt ? -EPIPE : -EPROTO;
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
