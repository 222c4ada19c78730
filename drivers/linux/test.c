// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * /dev/hmx_test: windows that a process of the same system serves. For the lab, never packaged:
 * it lets the whole driver run in a kernel without PCI or a hypervisor, User-Mode Linux with
 * KASAN for one. vhx/hmx_test.h describes it.
 *
 * Objects. Each open file has at most one window: pages of a memfd, pinned and mapped. It is
 * either a port registered with the transport, or a bare one (test_port.c), which ioctls drive
 * under hmx_test.lock. The file owns all of it; its last close takes the port away first, then the
 * memory.
 *
 * Events. The peer's is a counter that read() takes, ours is a write(). ring() comes with a
 * spinlock held and interrupts off; the counter and the wait queue are made for that.
 *
 * The process is root's (the device has mode 0600), but what it writes into the window is as
 * hostile as any peer's: finding that out is what it is for. Truncating the file takes no page
 * away from us.
 */
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

#include <vhx/hmx_test.h>

#include "hmx_window.h"
#include "test_port.h"

enum test_use {
	TEST_UNUSED,
	TEST_CHANNEL,
	TEST_PORT,
	TEST_LEFT, /* was a channel; the memory is there still */
};

struct hmx_test {
	struct hmx_window window;
	struct mutex lock; /* of ioctls */
	enum test_use use; /* stored with release */
	struct hmx_test_port bare; /* of TEST_PORT */
	atomic64_t rings; /* of the peer, not taken yet */
	wait_queue_head_t wait; /* for rings */
	struct page **pages;
	unsigned int nr_pages;
};

static struct miscdevice test_misc;

static void test_ring(struct hmx_window *w)
{
	struct hmx_test *t = container_of(w, struct hmx_test, window);

	atomic64_inc(&t->rings);
	wake_up_interruptible_poll(&t->wait, EPOLLIN);
}

static const struct hmx_window_ops test_window_ops = {
	.ring = test_ring,
};

/* The memory */

static void test_unpin(struct hmx_test *t)
{
	while (t->nr_pages)
		put_page(t->pages[--t->nr_pages]);
	kvfree(t->pages);
	t->pages = NULL;
}

/* The partner of test_unpin(). */
static int test_pin(struct hmx_test *t, struct file *file, unsigned int nr)
{
	struct page *page;

	t->pages = kvcalloc(nr, sizeof(*t->pages), GFP_KERNEL);
	if (!t->pages)
		return -ENOMEM;
	while (t->nr_pages < nr) {
		page = shmem_read_mapping_page(file->f_mapping, t->nr_pages);
		if (IS_ERR(page)) {
			test_unpin(t);
			return PTR_ERR(page);
		}
		t->pages[t->nr_pages++] = page;
	}
	return 0;
}

static void test_unmap(struct hmx_test *t)
{
	vunmap(t->window.base);
	t->window.base = NULL;
	test_unpin(t);
}

/* The partner of test_unmap(). */
static int test_map_file(struct hmx_test *t, struct file *file, u32 size)
{
	int err;

	if (file_inode(file)->i_sb->s_magic != TMPFS_MAGIC || !S_ISREG(file_inode(file)->i_mode))
		return -EINVAL;
	if (!size || size % PAGE_SIZE || size > VHX_WINDOW_SIZE_MAX ||
	    i_size_read(file_inode(file)) < size)
		return -EINVAL;
	err = test_pin(t, file, size / PAGE_SIZE);
	if (err)
		return err;
	t->window.size = size;
	t->window.base = vmap(t->pages, t->nr_pages, VM_MAP, PAGE_KERNEL);
	if (t->window.base)
		return 0;
	test_unpin(t);
	return -ENOMEM;
}

static int test_map(struct hmx_test *t, const struct hmx_test_window *arg)
{
	struct file *file = fget(arg->fd);
	int err;

	if (!file)
		return -EBADF;
	err = test_map_file(t, file, arg->size);
	fput(file);
	return err;
}

static int test_start(struct hmx_test *t, enum test_use use)
{
	struct hmx_port *port = &t->window.port;
	int err;

	memset(&t->window.port, 0, sizeof(t->window.port));
	t->window.ops = &test_window_ops;
	err = hmx_window_init(&t->window, "test");
	if (err)
		return err;
	port->parent = test_misc.this_device;
	port->owner = THIS_MODULE;
	snprintf(port->peer, sizeof(port->peer), "process %d", task_tgid_nr(current));
	if (use == TEST_CHANNEL)
		return hmx_port_register(port);
	spin_lock_init(&port->lock);
	t->bare = (struct hmx_test_port){ .port = port, .rings = &t->rings };
	return 0;
}

static int test_attach(struct hmx_test *t, enum test_use use, const void __user *uarg)
{
	struct hmx_test_window arg;
	int err;

	if (t->use != TEST_UNUSED)
		return -EBUSY;
	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	err = test_map(t, &arg);
	if (err)
		return err;
	err = test_start(t, use);
	if (err) {
		test_unmap(t);
		return err;
	}
	/* Pairs with the acquire in test_write(). */
	smp_store_release(&t->use, use);
	return 0;
}

/* A bare port */

static int port_ioctl(struct hmx_test *t, unsigned int cmd, void __user *uarg)
{
	if (t->use != TEST_PORT)
		return hmx_test_is_op(cmd) ? -ENOTCONN : -ENOTTY;
	return hmx_test_port_ioctl(&t->bare, cmd, uarg);
}

/* A window: sleep without a sleep */

static int channel_sleep(struct hmx_test *t, unsigned int cmd)
{
	if (t->use != TEST_CHANNEL)
		return -ENOTCONN;
	if (cmd == HMX_TEST_FREEZE)
		return hmx_port_freeze(&t->window.port);
	return hmx_port_restore(&t->window.port);
}

static int channel_leave(struct hmx_test *t)
{
	if (t->use != TEST_CHANNEL)
		return -ENOTCONN;
	hmx_port_unregister(&t->window.port, true);
	/* As in test_attach(). */
	smp_store_release(&t->use, TEST_LEFT);
	return 0;
}

/* The file */

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	struct hmx_test *t = file->private_data;
	long ret;

	mutex_lock(&t->lock);
	if (cmd == HMX_TEST_WINDOW)
		ret = test_attach(t, TEST_CHANNEL, uarg);
	else if (cmd == HMX_TEST_PORT)
		ret = test_attach(t, TEST_PORT, uarg);
	else if (cmd == HMX_TEST_FREEZE || cmd == HMX_TEST_RESTORE)
		ret = channel_sleep(t, cmd);
	else if (cmd == HMX_TEST_LEAVE)
		ret = channel_leave(t);
	else
		ret = port_ioctl(t, cmd, uarg);
	mutex_unlock(&t->lock);
	return ret;
}

/* Takes the rings, or waits for one. */
static int test_take(struct hmx_test *t, bool block, u64 *rings)
{
	int err;

	while (!(*rings = atomic64_xchg(&t->rings, 0))) {
		if (!block)
			return -EAGAIN;
		err = wait_event_interruptible(t->wait, atomic64_read(&t->rings));
		if (err)
			return err;
	}
	return 0;
}

static ssize_t test_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct hmx_test *t = file->private_data;
	u64 rings;
	int err;

	if (len < sizeof(rings))
		return -EINVAL;
	err = test_take(t, !(file->f_flags & O_NONBLOCK), &rings);
	if (err)
		return err;
	return copy_to_user(buf, &rings, sizeof(rings)) ? -EFAULT : sizeof(rings);
}

static ssize_t test_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct hmx_test *t = file->private_data;

	if (len < sizeof(u64))
		return -EINVAL;
	/* Pairs with the release in test_attach(). */
	switch (smp_load_acquire(&t->use)) {
	case TEST_CHANNEL:
		hmx_window_event(&t->window);
		break;
	case TEST_PORT: /* has no channel that could be told */
		if (READ_ONCE(t->window.joined))
			atomic64_inc(&t->window.port.stats.wakes_taken);
		break;
	default:
		return -ENOTCONN;
	}
	return sizeof(u64);
}

static __poll_t test_poll(struct file *file, poll_table *table)
{
	struct hmx_test *t = file->private_data;

	poll_wait(file, &t->wait, table);
	return EPOLLOUT | (atomic64_read(&t->rings) ? EPOLLIN : 0);
}

static int test_open(struct inode *inode, struct file *file)
{
	struct hmx_test *t = kzalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	mutex_init(&t->lock);
	init_waitqueue_head(&t->wait);
	file->private_data = t;
	return stream_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct hmx_test *t = file->private_data;

	if (t->use == TEST_CHANNEL)
		hmx_port_unregister(&t->window.port, false);
	if (t->use == TEST_PORT)
		t->window.port.ops->close(&t->window.port);
	if (t->use != TEST_UNUSED)
		test_unmap(t);
	mutex_destroy(&t->lock);
	kfree(t);
	return 0;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.read = test_read,
	.write = test_write,
	.poll = test_poll,
	.unlocked_ioctl = test_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmx_test",
	.fops = &test_fops,
	.mode = 0600,
};
module_misc_device(test_misc);

MODULE_DESCRIPTION("Windows served by processes of the same system, for tests");
MODULE_LICENSE("Dual BSD/GPL");
