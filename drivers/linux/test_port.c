// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * The operations of a bare port, one by one, for a process that drives it by ioctls: so that the
 * conformance suite of the exchange can hold the kernel's providers to its rules. The caller keeps
 * calls apart, as the transport would.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_port.h"

#define TEST_MESSAGE_MAX SZ_1M /* above all that a port takes, so that it can say so */

static int port_open(struct hmx_test_port *t, struct hmx_test_op *op)
{
	return t->port->ops->open(t->port);
}

static int port_close(struct hmx_test_port *t, struct hmx_test_op *op)
{
	t->port->ops->close(t->port);
	t->peeked = false;
	return 0;
}

/* All pieces but the last have the same length, so that most of them begin anywhere. */
static unsigned int port_cut(struct kvec *segs, u8 *buf, const struct hmx_test_op *op)
{
	u32 piece = op->len / op->nr_segs;
	unsigned int i;

	for (i = 0; i < op->nr_segs; i++) {
		segs[i].iov_base = buf + i * piece;
		segs[i].iov_len = piece;
	}
	segs[i - 1].iov_len = op->len - (i - 1) * piece;
	return i;
}

static int port_send_buf(struct hmx_port *port, const struct hmx_test_op *op, u8 *buf)
{
	struct kvec segs[HMX_TEST_SEGS_MAX];
	unsigned int nr = port_cut(segs, buf, op);
	unsigned long flags;
	int err;

	spin_lock_irqsave(&port->lock, flags);
	err = port->ops->send(port, op->type, segs, nr, op->len);
	spin_unlock_irqrestore(&port->lock, flags);
	return err;
}

static int port_send(struct hmx_test_port *t, struct hmx_test_op *op)
{
	u8 *buf;
	int err;

	if (!op->nr_segs || op->nr_segs > HMX_TEST_SEGS_MAX)
		return -EINVAL;
	if (op->len > TEST_MESSAGE_MAX)
		return -EMSGSIZE;
	buf = kvmalloc(op->len, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	if (copy_from_user(buf, u64_to_user_ptr(op->addr), op->len))
		err = -EFAULT;
	else
		err = port_send_buf(t->port, op, buf);
	kvfree(buf);
	return err;
}

static int port_peek(struct hmx_test_port *t, struct hmx_test_op *op)
{
	struct hmx_port *port = t->port;
	struct hmx_msg msg = {};
	unsigned long flags;
	int ret;

	spin_lock_irqsave(&port->lock, flags);
	ret = port->ops->peek(port, &msg);
	spin_unlock_irqrestore(&port->lock, flags);
	op->type = msg.type;
	op->len = msg.len;
	t->peeked = ret > 0;
	t->msg = msg;
	return ret;
}

static int port_read(struct hmx_test_port *t, struct hmx_test_op *op)
{
	u32 peeked = t->peeked ? t->msg.len : 0;
	int err = 0;
	void *buf;

	if (op->off > peeked || op->len > peeked - op->off)
		return -EINVAL;
	buf = kvmalloc(op->len, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	t->port->ops->read(t->port, op->off, buf, op->len);
	if (copy_to_user(u64_to_user_ptr(op->addr), buf, op->len))
		err = -EFAULT;
	kvfree(buf);
	return err;
}

static int port_consume(struct hmx_test_port *t, struct hmx_test_op *op)
{
	struct hmx_port *port = t->port;
	unsigned long flags;

	if (!t->peeked)
		return -EINVAL;
	spin_lock_irqsave(&port->lock, flags);
	port->ops->consume(port);
	spin_unlock_irqrestore(&port->lock, flags);
	t->peeked = false;
	return 0;
}

static int port_prepare_wait(struct hmx_test_port *t, struct hmx_test_op *op)
{
	struct hmx_port *port = t->port;
	unsigned long flags;
	int ret;

	spin_lock_irqsave(&port->lock, flags);
	ret = port->ops->prepare_wait(port);
	spin_unlock_irqrestore(&port->lock, flags);
	return ret;
}

static void port_state(struct hmx_test_port *t, struct hmx_test_state *state)
{
	const struct hmx_port *port = t->port;
	const struct hmx_port_stats *stats = &port->stats;

	*state = (struct hmx_test_state){
		.max_message = port->max_message,
		.tx_ring_len = port->tx_ring_len,
		.rx_ring_len = port->rx_ring_len,
		.rings = t->rings ? atomic64_xchg(t->rings, 0) : 0,
		.tx_messages = stats->tx_messages,
		.tx_bytes = stats->tx_bytes,
		.rx_messages = stats->rx_messages,
		.rx_bytes = stats->rx_bytes,
		.sends = stats->sends,
		.wakes_sent = stats->wakes_sent,
		.wakes_taken = atomic64_read(&stats->wakes_taken),
		.would_blocks = stats->would_blocks,
	};
}

static const struct {
	unsigned int cmd;
	int (*run)(struct hmx_test_port *t, struct hmx_test_op *op);
} port_ops[] = {
	{ HMX_TEST_OPEN, port_open },
	{ HMX_TEST_CLOSE, port_close },
	{ HMX_TEST_SEND, port_send },
	{ HMX_TEST_PEEK, port_peek },
	{ HMX_TEST_READ, port_read },
	{ HMX_TEST_CONSUME, port_consume },
	{ HMX_TEST_PREPARE_WAIT, port_prepare_wait },
};

static int op_find(unsigned int cmd)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(port_ops); i++) {
		if (port_ops[i].cmd == cmd)
			return i;
	}
	return -ENOTTY;
}

bool hmx_test_is_op(unsigned int cmd)
{
	return op_find(cmd) >= 0;
}
EXPORT_SYMBOL_GPL(hmx_test_is_op);

int hmx_test_port_ioctl(struct hmx_test_port *t, unsigned int cmd, void __user *uarg)
{
	struct hmx_test_op op;
	int ret, i = op_find(cmd);

	if (i < 0)
		return i;
	if (copy_from_user(&op, uarg, sizeof(op)))
		return -EFAULT;
	ret = port_ops[i].run(t, &op);
	port_state(t, &op.state);
	return copy_to_user(uarg, &op, sizeof(op)) ? -EFAULT : ret;
}
EXPORT_SYMBOL_GPL(hmx_test_port_ioctl);
