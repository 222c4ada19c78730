// SPDX-License-Identifier: BSD-3-Clause
/*
 * argo-junk DOMID stranger PORT COUNT: sends so many messages of random types and bytes to that port of a domain,
 * from a port of its own: nothing but MEETs among them would be looked at if it were the peer's.
 * argo-junk DOMID frontend|backend COUNT: meets whoever has the other role there, says something random, and
 * again, so many times: each is the end of a channel. It needs this domain's port of that role.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "exchange/argo.h"
#include "exchange/argo_device.h"

#define JUNK_MAX 3000u
#define GUARD_MS 120000
#define OWN_PORT 0x4002u

static uint8_t junk[JUNK_MAX];

static uint32_t fill(void)
{
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)rand();
	return (uint32_t)rand() % JUNK_MAX;
}

static int endpoint(struct vhx_argo_dev **dev)
{
	int device = vhx_argo_device_open();
	int err = device < 0 ? device : vhx_argo_device_endpoint(device, dev);

	if (device >= 0)
		close(device);
	return err;
}

/* Types of the provider, of channels, and others. */
static uint32_t type_any(void)
{
	return rand() % 3 ? (uint32_t)rand() % 8 : rand() % 2 ? VHX_ARGO_MEET : (uint32_t)rand();
}

/* 0 also if there is no room now: whoever reads it takes what he likes. */
static int send_one(struct vhx_argo_dev *dev, const struct argo_addr *dst)
{
	struct iovec iov = { .iov_base = junk, .iov_len = fill() };
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint32_t type = type_any();
	int err = 0;

	for (int ms = 0; ms < GUARD_MS; ms++) {
		err = dev->ops->send(dev, dst, type, &iov, 1);
		if (err != -EAGAIN)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int stranger(uint16_t domid, uint32_t port, unsigned int count)
{
	const struct argo_addr dst = { .port = port, .domid = domid };
	const struct vhx_argo_ring_id id = { .port = OWN_PORT, .partner = domid, .len = 4096 };
	const struct argo_ring *ring;
	struct vhx_argo_dev *dev;
	int err = endpoint(&dev);

	if (err)
		return err;
	err = dev->ops->bind(dev, &id, &ring);
	while (!err && count--)
		err = send_one(dev, &dst);
	vhx_argo_dev_close(dev);
	return err;
}

static int life_open(uint16_t domid, bool backend, struct vhx_port **port)
{
	struct vhx_argo_config cfg = {
		.port = backend ? VHX_ARGO_PORT_BE : VHX_ARGO_PORT_FE,
		.peer_port = backend ? VHX_ARGO_PORT_FE : VHX_ARGO_PORT_BE,
		.partner = domid,
		.ring_len = VHX_ARGO_RING_DEFAULT,
	};
	int err = endpoint(&cfg.dev);

	return err ? err : vhx_argo_open(&cfg, port);
}

/* Until they have met, or the peer is gone already. */
static int life_meet(struct vhx_port *p)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	while (!vhx_port_ready(p)) {
		if (poll(&pfd, 1, GUARD_MS) != 1)
			return -ETIMEDOUT;
		vhx_port_event(p);
	}
	return 0;
}

/* Says this and that until the peer has had enough. 0: it has. */
static int life_spoil(struct vhx_port *p)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
	struct vhx_msg msg;
	int ret = 0;

	while (ret != -EPIPE) {
		struct iovec iov = { .iov_base = junk, .iov_len = fill() };

		ret = vhx_port_send(p, (uint32_t)rand() % 8, &iov, 1);
		if (ret && ret != -EAGAIN && ret != -EPIPE)
			return ret;
		while (vhx_port_peek(p, &msg) == 1)
			vhx_port_consume(p);
		if (ret == -EAGAIN && !vhx_port_prepare_wait(p) && poll(&pfd, 1, GUARD_MS) != 1)
			return -ETIMEDOUT;
		ret = ret == -EPIPE ? ret : vhx_port_event(p);
	}
	return 0;
}

static int peer(uint16_t domid, bool backend, unsigned int count)
{
	struct vhx_port *p;
	int err = 0;

	while (!err && count--) {
		err = life_open(domid, backend, &p);
		if (err)
			break;
		err = life_meet(p);
		if (!err)
			err = life_spoil(p);
		vhx_port_close(p);
	}
	return err;
}

int main(int argc, char **argv)
{
	uint16_t domid = argc > 1 ? (uint16_t)atoi(argv[1]) : 0;
	int err = -EINVAL;

	srand(1);
	if (argc == 5 && !strcmp(argv[2], "stranger"))
		err = stranger(domid, (uint32_t)strtoul(argv[3], NULL, 0),
			       (unsigned int)atoi(argv[4]));
	else if (argc == 4 && (!strcmp(argv[2], "frontend") || !strcmp(argv[2], "backend")))
		err = peer(domid, argv[2][0] == 'b', (unsigned int)atoi(argv[3]));
	if (!err)
		return 0;
	fprintf(stderr, "argo-junk: %s\n", strerror(-err));
	return 1;
}
