// SPDX-License-Identifier: BSD-3-Clause
/*
 * Endpoints on /dev/argo, the character device of hmx_argo: each an open file of its own. Its ring is mapped
 * read-only; the kernel stores rx_ptr.
 *
 * The descriptor is level-triggered: readable while the ring holds anything behind the last CONSUME, and
 * after a refused send once it is worth trying again, until the next SENDV or CONSUME. So an event need be taken
 * only in the second case, and only by those who do not try again. Whether there was one yet is not to be seen here:
 * a CONSUME before it takes nothing away, so a refusal is remembered until a send as large has gone.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exchange/argo_device.h"

struct char_dev {
	struct vhx_argo_dev dev; /* dev.fd: the open file */
	struct argo_ring *ring; /* NULL: none is mapped */
	uint32_t ring_len;
	uint32_t rx_ptr; /* of the last CONSUME */
	uint64_t refused; /* the largest send that was, and none as large has gone since, plus one; 0: none */
};

static struct char_dev *to_char(struct vhx_argo_dev *dev)
{
	return vhx_container_of(dev, struct char_dev, dev);
}

static int call(const struct char_dev *c, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(c->dev.fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

static size_t ring_mem_len(uint32_t ring_len)
{
	return sizeof(struct argo_ring) + ring_len;
}

static void ring_unmap(struct char_dev *c)
{
	if (c->ring)
		munmap(c->ring, ring_mem_len(c->ring_len));
	c->ring = NULL;
}

static int ring_map(struct char_dev *c, uint32_t ring_len)
{
	void *at = mmap(NULL, ring_mem_len(ring_len), PROT_READ, MAP_SHARED, c->dev.fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	c->ring = at;
	c->ring_len = ring_len;
	c->rx_ptr = 0;
	return 0;
}

static int char_bind(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		     const struct argo_ring **ring)
{
	struct char_dev *c = to_char(dev);
	struct hmx_argo_bind bind = { .port = id->port, .len = id->len, .partner = id->partner };
	int err;

	ring_unmap(c);
	err = call(c, HMX_ARGO_BIND, &bind);
	if (err >= 0)
		err = ring_map(c, id->len);
	if (err)
		return err;
	dev->port = bind.port;
	*ring = c->ring;
	return 0;
}

static int char_send(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		     const struct iovec *iov, unsigned int cnt)
{
	struct char_dev *c = to_char(dev);
	struct hmx_argo_iov pieces[ARGO_IOVS_MAX];
	struct hmx_argo_sendv send = {
		.iov = (uintptr_t)pieces,
		.nr_iov = cnt,
		.type = type,
		.dst_port = dst->port,
		.dst_domid = dst->domid,
	};
	uint64_t size = 1;
	int ret;

	assert(cnt <= ARGO_IOVS_MAX);
	for (unsigned int i = 0; i < cnt; i++) {
		pieces[i] = (struct hmx_argo_iov){
			.addr = (uintptr_t)iov[i].iov_base,
			.len = (uint32_t)iov[i].iov_len,
		};
		size += pieces[i].len;
	}
	ret = call(c, HMX_ARGO_SENDV, &send);
	/* As the kernel does: the wait of a larger one outlasts a smaller one that went. */
	if (ret == -EAGAIN || ret == -EBUSY || ret == -ENOMEM)
		c->refused = vhx_max_u64(c->refused, size);
	else if (ret < 0 || size >= c->refused)
		c->refused = 0;
	return ret < 0 ? ret : 0;
}

static int char_consume(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above, uint32_t *tx_ptr)
{
	struct char_dev *c = to_char(dev);
	struct hmx_argo_consume consume = { .rx_ptr = rx_ptr, .notify_above = above };
	int ret = call(c, HMX_ARGO_CONSUME, &consume);

	if (ret < 0)
		return ret;
	c->rx_ptr = rx_ptr;
	*tx_ptr = consume.tx_ptr;
	return ret;
}

/* For so many bytes there never is room: they are not waited for, in place of what somebody waits for. */
static int char_query(struct vhx_argo_dev *dev, const struct argo_addr *dst)
{
	struct hmx_argo_query query = {
		.port = dst->port,
		.domid = dst->domid,
		.space = UINT32_MAX,
	};
	int ret = call(to_char(dev), HMX_ARGO_QUERY, &query);

	return ret < 0 ? ret : !!(query.flags & ARGO_RING_EXISTS);
}

/* One that was registered again as it is may have missed messages. */
static int char_check(struct vhx_argo_dev *dev)
{
	return call(to_char(dev), HMX_ARGO_CHECK, NULL) == 0;
}

static int char_last_words(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
			   const void *words, uint32_t len)
{
	struct hmx_argo_iov piece = { .addr = (uintptr_t)words, .len = len };
	struct hmx_argo_sendv send = {
		.iov = (uintptr_t)&piece,
		.nr_iov = 1,
		.type = type,
		.dst_port = dst->port,
		.dst_domid = dst->domid,
	};

	return call(to_char(dev), HMX_ARGO_LAST_WORDS, &send);
}

static bool char_event(struct vhx_argo_dev *dev)
{
	struct char_dev *c = to_char(dev);
	uint32_t ignored;

	if (c->refused && c->ring)
		char_consume(dev, c->rx_ptr, HMX_ARGO_NOTIFY_NEVER, &ignored);
	return true;
}

/* The kernel says the last words, and ends the ring. */
static void char_close(struct vhx_argo_dev *dev)
{
	struct char_dev *c = to_char(dev);

	ring_unmap(c);
	close(dev->fd);
	free(c);
}

static const struct vhx_argo_dev_ops char_ops = {
	.bind = char_bind,
	.send = char_send,
	.consume = char_consume,
	.query = char_query,
	.check = char_check,
	.last_words = char_last_words,
	.event = char_event,
	.close = char_close,
};

/* Takes @fd over. */
static int char_new(int fd, struct vhx_argo_dev **dev)
{
	struct char_dev *c = calloc(1, sizeof(*c));
	struct hmx_argo_info info;
	int err = -ENOMEM;

	if (!c)
		goto close_fd;
	c->dev = (struct vhx_argo_dev){ .ops = &char_ops, .fd = fd };
	err = call(c, HMX_ARGO_INFO, &info);
	if (err < 0)
		goto free_dev;
	c->dev.domid = info.domid;
	*dev = &c->dev;
	return 0;

free_dev:
	free(c);
close_fd:
	close(fd);
	return err;
}

int vhx_argo_device_open(void)
{
	int fd = open(HMX_ARGO_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int vhx_argo_device_endpoint(int device, struct vhx_argo_dev **dev)
{
	int fd = ioctl(device, HMX_ARGO_NEW);

	return fd < 0 ? -errno : char_new(fd, dev);
}
