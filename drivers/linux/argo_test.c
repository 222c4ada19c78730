// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * /dev/hmx_argo_test: bare ports of the provider `argo`, which a process drives by ioctls. For the
 * lab, never packaged. vhx/hmx_test.h describes it.
 *
 * Each open file has at most one port, under hmx_argo_test.lock. The port's event counts, and wakes
 * who polls. The last close takes the port away; no event is under way then.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include <vhx/hmx_test.h>

#include "hmx_argo.h"
#include "test_port.h"

struct hmx_argo_test {
	struct hmx_test_port bare; /* bare.port NULL: none */
	struct mutex lock; /* of ioctls */
	atomic64_t events; /* not taken yet */
	wait_queue_head_t wait; /* for them */
};

static void test_event(void *ctx)
{
	struct hmx_argo_test *t = ctx;

	atomic64_inc(&t->events);
	wake_up_interruptible_poll(&t->wait, EPOLLIN);
}

static int test_make(struct hmx_argo_test *t, const void __user *uarg)
{
	struct hmx_argo_config config = { .event = test_event, .ctx = t };
	struct hmx_argo_test_port arg;
	struct hmx_port *port;

	if (t->bare.port)
		return -EBUSY;
	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	config.partner = arg.partner;
	config.backend = arg.backend;
	config.ring_len = arg.ring_len;
	port = hmx_argo_port_new(&config);
	if (IS_ERR(port))
		return PTR_ERR(port);
	t->bare.port = port;
	return 0;
}

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	struct hmx_argo_test *t = file->private_data;
	long ret;

	mutex_lock(&t->lock);
	if (cmd == HMX_ARGO_TEST_PORT)
		ret = test_make(t, uarg);
	else if (!t->bare.port)
		ret = hmx_test_is_op(cmd) ? -ENOTCONN : -ENOTTY;
	else
		ret = hmx_test_port_ioctl(&t->bare, cmd, uarg);
	mutex_unlock(&t->lock);
	return ret;
}

static ssize_t test_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct hmx_argo_test *t = file->private_data;
	u64 events;

	if (len < sizeof(events))
		return -EINVAL;
	events = atomic64_xchg(&t->events, 0);
	if (!events)
		return -EAGAIN;
	return copy_to_user(buf, &events, sizeof(events)) ? -EFAULT : sizeof(events);
}

static __poll_t test_poll(struct file *file, poll_table *table)
{
	struct hmx_argo_test *t = file->private_data;

	poll_wait(file, &t->wait, table);
	return atomic64_read(&t->events) ? EPOLLIN : 0;
}

static int test_open(struct inode *inode, struct file *file)
{
	struct hmx_argo_test *t = kzalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	mutex_init(&t->lock);
	init_waitqueue_head(&t->wait);
	file->private_data = t;
	return stream_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct hmx_argo_test *t = file->private_data;

	if (t->bare.port) {
		t->bare.port->ops->close(t->bare.port);
		hmx_argo_port_free(t->bare.port);
	}
	mutex_destroy(&t->lock);
	kfree(t);
	return 0;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.read = test_read,
	.poll = test_poll,
	.unlocked_ioctl = test_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmx_argo_test",
	.fops = &test_fops,
	.mode = 0600,
};
module_misc_device(test_misc);

MODULE_DESCRIPTION("Bare ports of the provider argo, for tests");
MODULE_LICENSE("Dual BSD/GPL");
