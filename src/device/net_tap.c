// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A tap interface of the host. With IFF_VNET_HDR the kernel speaks VirtIO's own header, so that a packet whose
 * checksum is not computed yet, or one of 64 KiB that is to be cut into segments, crosses as it is: the work is done
 * by who has to, or by nobody. The kernel checks headers of packets that it is given; what it may give, TUNSETOFFLOAD
 * tells it: what the driver takes.
 *
 * Each queue pair has a descriptor, and the kernel spreads its packets over those that are attached. A pair that the
 * driver does not use is detached: packets would wait there for nobody. Its descriptor is not watched, since a
 * detached one always has an error to report.
 *
 * A tap takes what it is given, or drops it: its queue is the network's, not ours. Where the operator has limited
 * it (TUNSETSNDBUF) it says -EAGAIN, and the packet is kept.
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device/net_end.h"

#define TUN_PATH "/dev/net/tun"

static const struct {
	unsigned int feature; /* what the driver takes */
	unsigned int flag; /* what the kernel may give then */
} offloads[] = {
	{ VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
	{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
	{ VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
	{ VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
};

static void tap_set_offload(struct vhx_net_end *e, uint64_t features)
{
	unsigned int flags = 0, i;

	for (i = 0; i < VHX_ARRAY_SIZE(offloads); i++) {
		if (features >> offloads[i].feature & 1)
			flags |= offloads[i].flag;
	}
	/* Of the interface, not of a queue. What it does not like whole it does not do at all. */
	if (ioctl(e->lines[0].watch.fd, TUNSETOFFLOAD, flags))
		ioctl(e->lines[0].watch.fd, TUNSETOFFLOAD, 0);
}

static void tap_set_pair(struct vhx_net_end *e, unsigned int pair, bool used)
{
	struct ifreq ifr = { .ifr_flags = used ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	if (pair)
		ioctl(e->lines[pair].watch.fd, TUNSETQUEUE, &ifr);
}

static ssize_t tap_receive(struct vhx_net_end *e, unsigned int pair, const struct iovec *iov,
			   int cnt)
{
	ssize_t n = readv(e->lines[pair].watch.fd, iov, cnt);

	if (n >= 0)
		return n;
	return errno == EBADFD || errno == EFAULT ? -EPIPE : 0;
}

static int tap_send(struct vhx_net_end *e, unsigned int pair, const struct virtio_net_hdr *hdr,
		    const struct iovec *iov, int cnt)
{
	struct iovec all[VHX_NET_IOV_MAX + 1];

	all[0] = (struct iovec){ vhx_unconst(hdr), sizeof(*hdr) };
	memcpy(all + 1, iov, (size_t)cnt * sizeof(*iov));
	if (writev(e->lines[pair].watch.fd, all, cnt + 1) >= 0)
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	/* EIO: it is down. EINVAL: the kernel does not like the header. Lost, either way. */
	return errno == EBADFD ? -EPIPE : 0;
}

static const char *attach_reason(int error)
{
	switch (error) {
	case EPERM:
		return "no right to make or attach it (an interface of one's own: ip tuntap add "
		       "mode tap user)";
	case EBUSY:
		return "another program has it";
	case EINVAL:
		return "it is no tap, or was made with another number of queues (ip tuntap add "
		       "multi_queue)";
	default:
		return strerror(error);
	}
}

static int attach(int fd, struct ifreq *ifr, bool several)
{
	ifr->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (several)
		ifr->ifr_flags |= IFF_MULTI_QUEUE;
	if (!ioctl(fd, TUNSETIFF, ifr))
		return 0;
	/* One that may have several queues can be used with one as well. */
	if (errno != EINVAL || several)
		return -errno;
	ifr->ifr_flags |= IFF_MULTI_QUEUE;
	return ioctl(fd, TUNSETIFF, ifr) ? -errno : 0;
}

static int lines_open(struct vhx_net_end *e, const char *name, struct vhx_error *err)
{
	struct ifreq ifr = { 0 };
	unsigned int i;
	int fd, ret;

	if (strlen(name) >= sizeof(ifr.ifr_name)) {
		vhx_error_set(err, "tap %s: a name of an interface has at most %zu letters", name,
			      sizeof(ifr.ifr_name) - 1);
		return -EINVAL;
	}
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	for (i = 0; i < e->pairs; i++) {
		fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0) {
			ret = -errno;
			vhx_error_set(err, "%s: %s", TUN_PATH, strerror(-ret));
			return ret;
		}
		vhx_net_end_line_set(e, i, fd);
		ret = attach(fd, &ifr, e->pairs > 1);
		if (ret) {
			vhx_error_set(err, "tap %s: %s", name, attach_reason(-ret));
			return ret;
		}
	}
	snprintf(e->text, sizeof(e->text), "tap %s", ifr.ifr_name);
	return 0;
}

static int lines_inherited(struct vhx_net_end *e, struct vhx_error *err)
{
	struct ifreq ifr = { 0 };
	unsigned int i;

	for (i = 0; i < e->pairs; i++) {
		if (!ioctl(e->lines[i].watch.fd, TUNGETIFF, &ifr) && ifr.ifr_flags & IFF_TAP &&
		    ifr.ifr_flags & IFF_VNET_HDR && ifr.ifr_flags & IFF_NO_PI)
			continue;
		vhx_error_set(err,
			      "descriptor %d: not a tap with the flags IFF_VNET_HDR and IFF_NO_PI",
			      e->lines[i].watch.fd);
		return -EINVAL;
	}
	snprintf(e->text, sizeof(e->text), "tap %s", ifr.ifr_name);
	return 0;
}

static bool little_endian(void)
{
	vhx_le16 one = vhx_le16_of(1);
	uint16_t native;

	memcpy(&native, &one, sizeof(native));
	return native == 1;
}

static int tap_open(struct vhx_net_end *e, const char *rest, struct vhx_error *err)
{
	int size = sizeof(struct virtio_net_hdr), one = 1, ret;
	unsigned int i;

	ret = rest ? lines_open(e, rest, err) : lines_inherited(e, err);
	for (i = 0; !ret && i < e->pairs; i++) {
		int fd = e->lines[i].watch.fd;

		/* The byte order is the processor's where the kernel does not know the second. */
		if (ioctl(fd, TUNSETVNETHDRSZ, &size) ||
		    (ioctl(fd, TUNSETVNETLE, &one) && !little_endian())) {
			ret = -errno;
			vhx_error_set(err, "%s: %s", e->text, strerror(-ret));
		}
	}
	if (ret)
		return ret;
	e->online = true;
	tap_set_offload(e, 0);
	return 0;
}

static void tap_close(struct vhx_net_end *e)
{
}

const struct vhx_net_end_ops vhx_net_tap_ops = {
	.name = "tap",
	.offload = true,
	.open = tap_open,
	.close = tap_close,
	.receive = tap_receive,
	.send = tap_send,
	.set_offload = tap_set_offload,
	.set_pair = tap_set_pair,
};
