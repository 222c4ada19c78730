// SPDX-License-Identifier: BSD-3-Clause
#include "kernel_port.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vhx/argo.h>
#include <vhx/hmx_test.h>

#include "util/checked.h"

/* Above what any port takes; the kernel says so then. */
#define MESSAGE_MAX (1u << 20)

struct kernel_port {
	struct vhx_port port; /* port.fd is the socket, or dev itself */
	int dev;
	uint8_t *gather;
};

static struct kernel_port *to_kernel(struct vhx_port *p)
{
	return vhx_container_of(p, struct kernel_port, port);
}

/* What the kernel rang becomes one packet each: one ring is one wake. */
static void pass_rings(struct kernel_port *k, uint32_t rings)
{
	static const char packet;

	while (rings--)
		send(k->port.fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void take_state(struct kernel_port *k, const struct hmx_test_state *state)
{
	pass_rings(k, state->rings);
	if (state->max_message)
		k->port.max_message = state->max_message;
	k->port.tx_ring_len = state->tx_ring_len;
	k->port.rx_ring_len = state->rx_ring_len;
	k->port.stats = (struct vhx_port_stats){
		.tx_messages = state->tx_messages,
		.tx_bytes = state->tx_bytes,
		.rx_messages = state->rx_messages,
		.rx_bytes = state->rx_bytes,
		.sends = state->sends,
		.wakes_sent = state->wakes_sent,
		.wakes_taken = state->wakes_taken,
		.would_blocks = state->would_blocks,
	};
}

static int call(struct kernel_port *k, unsigned long request, struct hmx_test_op *op)
{
	int ret = ioctl(k->dev, request, op);
	int err = ret < 0 ? -errno : ret;

	take_state(k, &op->state);
	return err;
}

static int call_plain(struct kernel_port *k, unsigned long request)
{
	struct hmx_test_op op = { 0 };

	return call(k, request, &op);
}

static int gather(struct kernel_port *k, const struct iovec *iov, unsigned int cnt)
{
	uint32_t len = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		if (iov[i].iov_len > MESSAGE_MAX - len)
			return -EMSGSIZE;
		if (iov[i].iov_len)
			memcpy(k->gather + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	return (int)len;
}

static int kernel_send(struct vhx_port *p, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	struct kernel_port *k = to_kernel(p);
	struct hmx_test_op op = { .addr = (uintptr_t)k->gather, .type = type };
	int len;

	if (cnt > HMX_TEST_SEGS_MAX)
		return -EINVAL;
	len = gather(k, iov, cnt);
	if (len < 0)
		return len;
	op.len = (uint32_t)len;
	op.nr_segs = cnt ? cnt : 1;
	return call(k, HMX_TEST_SEND, &op);
}

static int look(struct vhx_port *p, struct vhx_msg *msg)
{
	struct hmx_test_op op = { 0 };
	int ret = call(to_kernel(p), HMX_TEST_PEEK, &op);

	if (ret == 1)
		*msg = (struct vhx_msg){ .type = op.type, .len = op.len };
	/* A port that is gone counts as ready, also if it never met its peer. */
	if (ret < 0 && !p->max_message)
		p->max_message = 1;
	return ret;
}

/* The kernel's peek() is what makes peers meet; here an event is. */
static int kernel_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	return vhx_port_ready(p) ? look(p, msg) : 0;
}

static void kernel_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	struct hmx_test_op op = { .addr = (uintptr_t)dst, .off = off, .len = len };

	if (call(to_kernel(p), HMX_TEST_READ, &op))
		abort();
}

static void kernel_consume(struct vhx_port *p)
{
	if (call_plain(to_kernel(p), HMX_TEST_CONSUME))
		abort();
}

static int kernel_prepare_wait(struct vhx_port *p)
{
	return call_plain(to_kernel(p), HMX_TEST_PREPARE_WAIT);
}

/* What the driver does on an event: it looks whether there is a message. */
static int kernel_event(struct vhx_port *p)
{
	struct kernel_port *k = to_kernel(p);
	uint64_t rings = 1;
	struct vhx_msg msg;
	char packet;
	int ret;

	while (recv(p->fd, &packet, sizeof(packet), MSG_DONTWAIT) == sizeof(packet)) {
		if (write(k->dev, &rings, sizeof(rings)) != sizeof(rings))
			abort();
	}
	ret = look(p, &msg);
	return ret < 0 ? ret : 0;
}

/* The kernel's answers whether a look is due; until the peers have met, a look is an event's affair. */
static int argo_prepare_wait(struct vhx_port *p)
{
	return vhx_port_ready(p) ? kernel_prepare_wait(p) : 0;
}

static int argo_event(struct vhx_port *p)
{
	struct kernel_port *k = to_kernel(p);
	struct vhx_msg msg;
	uint64_t events;
	int ret;

	if (read(k->dev, &events, sizeof(events)) < 0 && errno != EAGAIN)
		abort();
	ret = look(p, &msg);
	return ret < 0 ? ret : 0;
}

static void kernel_free(struct kernel_port *k)
{
	close(k->port.fd);
	if (k->dev >= 0 && k->dev != k->port.fd)
		close(k->dev);
	free(k->gather);
	free(k);
}

static void kernel_close(struct vhx_port *p)
{
	struct kernel_port *k = to_kernel(p);

	call_plain(k, HMX_TEST_CLOSE);
	kernel_free(k);
}

static const struct vhx_port_ops kernel_ops = {
	.name = "kernel",
	.caps = VHX_PORT_SLEEP_FLAG | VHX_PORT_PATIENT,
	.iov_max = HMX_TEST_SEGS_MAX,
	.send = kernel_send,
	.peek = kernel_peek,
	.read = kernel_read,
	.consume = kernel_consume,
	.prepare_wait = kernel_prepare_wait,
	.event = kernel_event,
	.close = kernel_close,
};

static const struct vhx_port_ops kernel_argo_ops = {
	.name = "kernel-argo",
	.caps = VHX_PORT_PATIENT,
	.iov_max = ARGO_IOVS_MAX,
	.send = kernel_send,
	.peek = kernel_peek,
	.read = kernel_read,
	.consume = kernel_consume,
	.prepare_wait = argo_prepare_wait,
	.event = argo_event,
	.close = kernel_close,
};

static int kernel_attach(struct kernel_port *k, int window, uint32_t size)
{
	struct hmx_test_window attach = { .fd = window, .size = size };
	int err;

	k->dev = open(HMX_TEST_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (k->dev < 0)
		return -errno;
	k->gather = malloc(MESSAGE_MAX);
	if (!k->gather)
		return -ENOMEM;
	err = ioctl(k->dev, HMX_TEST_PORT, &attach) ? -errno : 0;
	return err ? err : call_plain(k, HMX_TEST_OPEN);
}

int kernel_port_open(int sock, int window, uint32_t size, struct vhx_port **port)
{
	struct kernel_port *k = calloc(1, sizeof(*k));
	int err;

	if (!k) {
		close(sock);
		return -ENOMEM;
	}
	k->port.ops = &kernel_ops;
	k->port.fd = sock;
	k->port.memory = size / 2;
	err = kernel_attach(k, window, size);
	if (err) {
		kernel_free(k);
		return err;
	}
	*port = &k->port;
	return 0;
}

static int kernel_argo_attach(struct kernel_port *k, const struct hmx_argo_test_port *attach)
{
	int err;

	k->gather = malloc(MESSAGE_MAX);
	if (!k->gather)
		return -ENOMEM;
	err = ioctl(k->dev, HMX_ARGO_TEST_PORT, attach) ? -errno : 0;
	return err ? err : call_plain(k, HMX_TEST_OPEN);
}

int kernel_argo_open(uint16_t partner, bool backend, uint32_t ring_len, struct vhx_port **port)
{
	struct hmx_argo_test_port attach = { .partner = partner,
					     .backend = backend,
					     .ring_len = ring_len };
	struct kernel_port *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	k->port.ops = &kernel_argo_ops;
	k->port.memory = ring_len;
	k->dev = open(HMX_ARGO_TEST_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (k->dev < 0) {
		free(k);
		return -errno;
	}
	k->port.fd = k->dev;
	err = kernel_argo_attach(k, &attach);
	if (err) {
		kernel_free(k);
		return err;
	}
	*port = &k->port;
	return 0;
}
