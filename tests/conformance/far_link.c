// SPDX-License-Identifier: BSD-3-Clause
#include "far_link.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <vhx/argo.h>

#include "exchange/argo_device.h"

/* Of no use to anybody else in the lab. */
#define PORT_SUITE 0x4000u
#define PORT_AGENT 0x4001u
#define MESSAGE_TYPE 0x46415221u
#define RING_LEN (256u << 10)

/* Hang guards. The agent's is for tests of the suite that have nothing to do with it, too. */
#define START_GUARD_MS 120000
#define RECEIVE_GUARD_MS 300000
#define START_PAUSE_MS 100

struct far_link {
	struct vhx_argo_dev *dev;
	struct vhx_argo_reader reader;
	struct argo_addr peer;
};

static int link_bind(struct far_link *link, uint16_t domid, bool agent)
{
	struct vhx_argo_ring_id id = {
		.port = agent ? PORT_AGENT : PORT_SUITE,
		.partner = domid,
		.len = RING_LEN,
	};
	const struct argo_ring *ring;
	int err = link->dev->ops->bind(link->dev, &id, &ring);

	if (err)
		return err;
	link->peer = (struct argo_addr){ .port = agent ? PORT_SUITE : PORT_AGENT, .domid = domid };
	vhx_argo_reader_init(&link->reader, ring, RING_LEN, FAR_BYTES_MAX + 1024);
	return 0;
}

int far_link_open(uint16_t domid, bool agent, struct far_link **link)
{
	struct far_link *l = calloc(1, sizeof(*l));
	int device = vhx_argo_device_open();
	int err = l ? device : -ENOMEM;

	if (err >= 0)
		err = vhx_argo_device_endpoint(device, &l->dev);
	if (device >= 0)
		close(device);
	if (!err)
		err = link_bind(l, domid, agent);
	if (err) {
		far_link_close(l);
		return err;
	}
	*link = l;
	return 0;
}

void far_link_close(struct far_link *link)
{
	if (!link)
		return;
	vhx_argo_dev_close(link->dev);
	free(link);
}

static bool nobody_yet(int err)
{
	return err == -ECONNREFUSED || err == -ESRCH;
}

int far_link_send(struct far_link *link, const void *head, uint32_t head_len, const void *bytes,
		  uint32_t len)
{
	const struct iovec iov[2] = {
		{ .iov_base = (void *)head, .iov_len = head_len },
		{ .iov_base = (void *)bytes, .iov_len = len },
	};
	const struct timespec pause = { .tv_nsec = START_PAUSE_MS * 1000000l };
	unsigned int cnt = len ? 2 : 1;
	int err = 0;

	/* The ring has room for one call, and there is never a second. */
	for (int ms = 0; ms < START_GUARD_MS; ms += START_PAUSE_MS) {
		err = link->dev->ops->send(link->dev, &link->peer, MESSAGE_TYPE, iov, cnt);
		if (!nobody_yet(err))
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int link_wait(struct far_link *link)
{
	struct pollfd pfd = { .fd = link->dev->fd, .events = POLLIN };

	while (!vhx_argo_reader_holds(&link->reader)) {
		if (poll(&pfd, 1, RECEIVE_GUARD_MS) != 1)
			return -ETIMEDOUT;
		link->dev->ops->event(link->dev);
	}
	return 0;
}

int far_link_receive(struct far_link *link, void *head, uint32_t head_len, void *bytes)
{
	const struct vhx_argo_message *msg;
	uint32_t len, tx_ptr;
	int err = link_wait(link);

	if (!err)
		err = vhx_argo_reader_peek(&link->reader, &msg) == 1 ? 0 : -EPROTO;
	if (!err && (msg->len < head_len || msg->len - head_len > FAR_BYTES_MAX))
		err = -EPROTO;
	if (err)
		return err;
	len = msg->len - head_len;
	vhx_argo_reader_read(&link->reader, 0, head, head_len);
	vhx_argo_reader_read(&link->reader, head_len, bytes, len);
	vhx_argo_reader_consume(&link->reader);
	err = link->dev->ops->consume(link->dev, link->reader.rx_ptr, HMX_ARGO_NOTIFY_NEVER,
				      &tx_ptr);
	if (err < 0)
		return err;
	vhx_argo_reader_published(&link->reader, tx_ptr);
	return (int)len;
}
