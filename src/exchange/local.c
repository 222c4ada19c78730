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
#include <sys/stat.h>
#include <unistd.h>

#include "exchange/lane_port.h"
#include "exchange/offer.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

_Static_assert(VHX_LOCAL_RING_MIN >= VHX_SECTION_RING_MIN, "bounds");
_Static_assert(VHX_LOCAL_RING_MAX <= VHX_SECTION_RING_MAX, "bounds");

#define SECTION_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

static bool ring_len_allowed(uint32_t ring_len)
{
	return ring_len >= VHX_LOCAL_RING_MIN && ring_len <= VHX_LOCAL_RING_MAX &&
	       vhx_section_ring_len_valid(ring_len);
}

/* Is @fd a file whose mapping can never fault and that nobody else can get to write? */
static bool section_file_safe(int fd, uint32_t ring_len)
{
	uint64_t size = vhx_section_size(ring_len);
	struct stat st;

	return vhx_offer_file_sealed(fd, size, SECTION_SEALS) && !fstat(fd, &st) &&
	       (uint64_t)st.st_blocks * 512 >= size;
}

static int section_adopt(struct vhx_lane_port *lp, uint32_t ring_len, int fd)
{
	if (!ring_len_allowed(ring_len) || !section_file_safe(fd, ring_len))
		return -EPROTO;
	return vhx_section_map(fd, ring_len, &lp->theirs);
}

/* OPENING: the peer's offer is what counts. */
static int local_meet(struct vhx_lane_port *lp)
{
	uint32_t ring_len;
	int err, fd;

	err = vhx_offer_receive(lp->port.fd, VHX_OFFER_SECTION, &ring_len, &fd);
	if (err == -EAGAIN)
		return 0;
	if (err)
		return vhx_lane_port_fail(lp, err);
	err = section_adopt(lp, ring_len, fd);
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

static int seal_and_offer(struct vhx_lane_port *lp, uint32_t ring_len, int memfd)
{
	if (fcntl(memfd, F_ADD_SEALS, SECTION_SEALS))
		return -errno;
	return vhx_offer_send(lp->port.fd, VHX_OFFER_SECTION, ring_len, memfd);
}

int vhx_local_open(int sock, uint32_t ring_len, struct vhx_port **port)
{
	struct vhx_peer peer;
	struct vhx_lane_port *lp;
	int err, memfd;

	err = ring_len_allowed(ring_len) ? vhx_offer_identify(sock, &peer) : -EINVAL;
	if (err) {
		close(sock);
		return err;
	}
	err = vhx_lane_port_new(&local_ops, sock, ring_len, &lp, &memfd);
	if (err)
		return err;
	lp->port.peer = peer;
	err = seal_and_offer(lp, ring_len, memfd);
	close(memfd);
	if (err) {
		vhx_port_close(&lp->port);
		return err;
	}
	*port = &lp->port;
	return 0;
}
