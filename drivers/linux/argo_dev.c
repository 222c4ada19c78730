// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * /dev/argo: Argo for programs. vhx/argo.h, section 3, describes it for them.
 *
 * Objects. An open file is an endpoint. It has at most one ring, which it gets with BIND and
 * keeps, with its memory, until its last close; mappings of the ring hold the file. Only the
 * hypervisor and we write there: mappings are read-only for ever.
 *
 *   plain -BIND-> bound <-CHECK, resume-> lost
 *                   ^-------BIND----------'
 *
 * What a program can send or see is its domain's, not another program's: no endpoint takes the
 * port of another one's ring, and the ports of the transport are for those whose opener was
 * trusted.
 *
 * Locking. file->lock serialises ioctls; user memory is not touched under it, because mmap() comes
 * with the lock of the address space, which a fault needs. The event and poll() look at single
 * words: rx_ptr, flags, events. mmap() looks at @rx.ring, stored with release, once.
 *
 * A refused send. Its size is noted in @want, until one as large has gone; the next event adds
 * FILE_RETRY, and wakes. An
 * event that came while the hypercall was on its way is found by @events. The hypervisor promises
 * none for EBUSY and ENOMEM, and the timer stands in.
 *
 * A hostile program. It has memory pinned within its limit, a share of the domain's rings,
 * hypercalls at the rate at which it makes system calls, and for each of them one message of
 * bounded size. Addresses that the hypervisor reads are checked to be its own. What it does to its
 * own rx_ptr, it does to itself.
 */
#include <linux/anon_inodes.h>
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <asm/barrier.h>

#include "argo.h"
#include "compat.h"

/* Of one SENDV: the hypervisor copies it in one go, under the lock of the receiver's ring. */
#define MESSAGE_MAX SZ_1M

/* Times that user memory is made present for one message; it may go again in between. */
#define FAULT_TRIES 4u

#define RETRY_MS 10u

enum file_flag {
	FILE_BOUND,
	FILE_LOST,
	FILE_RETRY, /* what was refused is worth trying again, and nobody did */
};

/* A message with private copies of all that user space gave. */
struct file_message {
	struct argo_send_addr addr;
	u32 type;
	unsigned int nr;
	u32 len;
	struct argo_iov iov[ARGO_IOVS_MAX];
};

struct argo_file {
	struct mutex lock; /* of ioctls */
	struct argo_rx rx;
	bool trusted; /* its opener had CAP_SYS_ADMIN */
	struct list_head node; /* of files; files_lock */

	unsigned long flags; /* enum file_flag */
	u32 rx_ptr; /* READ_ONCE() by the event and poll() */
	u32 want; /* the largest that was refused, plus one; 0: none. READ_ONCE() likewise */
	atomic_t events;
	wait_queue_head_t wait;
	struct delayed_work timer;

	struct mm_struct *mm; /* whose limit the ring counts against */
	struct hmx_argo_stats stats;
	struct file_message last; /* LAST_WORDS; last.addr.dst.port 0: none */
	u8 last_bytes[HMX_ARGO_LAST_WORDS_MAX];
};

static const struct file_operations argo_fops;

static DEFINE_MUTEX(files_lock);
static LIST_HEAD(files);
static bool files_barred; /* files_lock: a shutdown is under way */

static struct argo_file *to_file(struct argo_rx *rx)
{
	return container_of(rx, struct argo_file, rx);
}

/* Events */

static bool file_has_message(const struct argo_file *f)
{
	/* Acquire: where it is our own look; programs load it again, likewise. */
	return virt_load_acquire(&f->rx.ring->tx_ptr) != READ_ONCE(f->rx_ptr);
}

/* A send that was refused may be tried again. */
static bool file_retry(struct argo_file *f)
{
	return READ_ONCE(f->want) && !test_and_set_bit(FILE_RETRY, &f->flags);
}

static void file_event(struct argo_rx *rx)
{
	struct argo_file *f = to_file(rx);
	bool wanted;

	atomic_inc(&f->events);
	/* Before the look at want: pairs with file_refused(). */
	smp_mb__after_atomic();
	wanted = file_retry(f);
	wanted |= file_has_message(f);
	if (!wanted)
		return;
	f->stats.events++;
	wake_up_interruptible_poll(&f->wait, EPOLLIN | EPOLLOUT);
}

static void file_timer(struct work_struct *work)
{
	struct argo_file *f = container_of(to_delayed_work(work), struct argo_file, timer);

	if (file_retry(f))
		wake_up_interruptible_poll(&f->wait, EPOLLIN | EPOLLOUT);
}

/* An endpoint without a ring gets no events, so that only the timer helps it. */
static void file_refused(struct argo_file *f, int err, u32 len, int events)
{
	f->stats.refused++;
	WRITE_ONCE(f->want, max(f->want, len + 1));
	/* Pairs with file_event(). */
	smp_mb();
	if (atomic_read(&f->events) != events)
		file_retry(f);
	else if (err != -EAGAIN || !test_bit(FILE_BOUND, &f->flags))
		schedule_delayed_work(&f->timer, msecs_to_jiffies(RETRY_MS));
}

static void file_lose(struct argo_file *f)
{
	set_bit(FILE_LOST, &f->flags);
	wake_up_interruptible_poll(&f->wait, EPOLLIN | EPOLLHUP);
}

static __poll_t argo_poll(struct file *file, poll_table *table)
{
	struct argo_file *f = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &f->wait, table);
	if (test_bit(FILE_RETRY, &f->flags))
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM;
	else if (!READ_ONCE(f->want))
		mask |= EPOLLOUT | EPOLLWRNORM;
	if (!test_bit(FILE_BOUND, &f->flags))
		return mask;
	/* Pairs with the release of the flag in file_bind(). */
	smp_rmb();
	if (file_has_message(f))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (test_bit(FILE_LOST, &f->flags))
		mask |= EPOLLHUP;
	return mask;
}

/* The ring */

static bool port_is_reserved(u32 port)
{
	return (port & VHX_ARGO_PORT_MASK) == VHX_ARGO_PORT_RESERVED;
}

static void file_uncharge(struct argo_file *f)
{
	if (!f->mm)
		return;
	account_locked_vm(f->mm, f->rx.nr_pages, false);
	mmdrop(f->mm);
	f->mm = NULL;
}

/* The partner of file_uncharge(). Those who are trusted are so with memory, too. */
static int file_charge(struct argo_file *f)
{
	int err;

	if (f->trusted)
		return 0;
	err = account_locked_vm(current->mm, f->rx.nr_pages, true);
	if (err)
		return err;
	f->mm = current->mm;
	mmgrab(f->mm);
	return 0;
}

/* The first BIND. The memory stays until the last close, whatever the hypervisor says. */
static int file_ring_make(struct argo_file *f, const struct hmx_argo_bind *bind)
{
	struct argo_rx *rx = &f->rx;
	int err;

	rx->port = bind->port;
	rx->partner = bind->partner;
	rx->event = file_event;
	rx->kind = "program";
	err = argo_rx_alloc(rx, bind->len);
	if (err)
		return err;
	err = file_charge(f);
	if (err)
		goto free;
	err = argo_rx_claim(rx, !f->trusted);
	if (err)
		goto uncharge;
	return 0;

uncharge:
	file_uncharge(f);
free:
	argo_rx_free(rx);
	return err;
}

static void file_ring_unmake(struct argo_file *f)
{
	argo_rx_release(&f->rx);
	file_uncharge(f);
	argo_rx_free(&f->rx);
}

static int file_bind_first(struct argo_file *f, struct hmx_argo_bind *bind)
{
	int err = file_ring_make(f, bind);

	if (err)
		return err;
	err = argo_rx_register(&f->rx);
	if (err) {
		file_ring_unmake(f);
		return err;
	}
	bind->port = f->rx.port;
	/* All of rx before the flag: pairs with the barriers in argo_poll() and argo_mmap(). */
	smp_wmb();
	set_bit(FILE_BOUND, &f->flags);
	return 0;
}

static int file_bind_anew(struct argo_file *f, struct hmx_argo_bind *bind)
{
	int err;

	if ((bind->port && bind->port != f->rx.port) || bind->partner != f->rx.partner ||
	    bind->len != f->rx.len)
		return -EBUSY;
	/* Before anything can come: file_event() must not take it for what was read. */
	WRITE_ONCE(f->rx_ptr, 0);
	err = argo_rx_register(&f->rx);
	if (err) {
		file_lose(f);
		return err;
	}
	bind->port = f->rx.port;
	clear_bit(FILE_LOST, &f->flags);
	return 0;
}

static int file_bind(struct argo_file *f, void *arg)
{
	struct hmx_argo_bind *bind = arg;

	if (bind->pad[0] || bind->pad[1] || bind->pad[2])
		return -EINVAL;
	if (port_is_reserved(bind->port) && !f->trusted)
		return -EPERM;
	if (READ_ONCE(files_barred))
		return -ESHUTDOWN;
	return test_bit(FILE_BOUND, &f->flags) ? file_bind_anew(f, bind) : file_bind_first(f, bind);
}

static int file_consume(struct argo_file *f, void *arg)
{
	struct hmx_argo_consume *consume = arg;
	struct argo_rx *rx = &f->rx;
	u32 held;

	if (!test_bit(FILE_BOUND, &f->flags))
		return -ENOTCONN;
	if (consume->rx_ptr >= rx->len || consume->rx_ptr % ARGO_SLOT_SIZE || consume->pad)
		return -EINVAL;
	held = argo_rx_distance(rx, f->rx_ptr, consume->rx_ptr);
	WRITE_ONCE(f->rx_ptr, consume->rx_ptr);
	/* Pairs with the hypervisor's load of rx_ptr: the program's loads are over. */
	virt_store_release(&rx->ring->rx_ptr, consume->rx_ptr);
	/* Pairs with the hypervisor's barrier between tx_ptr and its load of rx_ptr. */
	virt_mb();
	/* Pairs with the hypervisor's store of tx_ptr. */
	consume->tx_ptr = virt_load_acquire(&rx->ring->tx_ptr);
	if (test_and_clear_bit(FILE_RETRY, &f->flags))
		WRITE_ONCE(f->want, 0);
	held += argo_rx_distance(rx, consume->rx_ptr, consume->tx_ptr);
	if (consume->notify_above == HMX_ARGO_NOTIFY_NEVER ||
	    (consume->notify_above && held <= consume->notify_above))
		return 0;
	return argo_notify(&rx->calls) ?: 1;
}

static int file_check(struct argo_file *f, void *arg)
{
	int ret;

	if (!test_bit(FILE_BOUND, &f->flags))
		return -ENOTCONN;
	/* A look for a ring that is not there registers it. */
	if (READ_ONCE(files_barred))
		return -ESHUTDOWN;
	ret = argo_rx_check(&f->rx);
	if (ret < 0)
		file_lose(f);
	return ret;
}

static int argo_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct argo_file *f = file->private_data;

	if (!test_bit(FILE_BOUND, &f->flags))
		return -ENOTCONN;
	/* Pairs with the barrier in file_bind_first(). */
	smp_rmb();
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	hmx_vm_flags_clear(vma, VM_MAYWRITE);
	return remap_vmalloc_range(vma, f->rx.ring, vma->vm_pgoff);
}

/* Sending */

/* Adds one piece; the copy is complete, so that nothing is looked at twice. */
static int message_add(struct file_message *m, const struct argo_iov *iov)
{
	if (iov->pad)
		return -EINVAL;
	if (!iov->len)
		return 0;
	if (iov->len > MESSAGE_MAX - m->len)
		return -EMSGSIZE;
	if (!access_ok(u64_to_user_ptr(iov->base), iov->len))
		return -EFAULT;
	m->iov[m->nr++] = *iov;
	m->len += iov->len;
	return 0;
}

static int message_copy(struct file_message *m, const struct hmx_argo_sendv *arg)
{
	struct argo_iov iov[ARGO_IOVS_MAX];
	unsigned int i;
	int err = 0;

	/* What a program gives is what the hypervisor takes. */
	static_assert(sizeof(struct hmx_argo_iov) == sizeof(struct argo_iov));
	static_assert(offsetof(struct hmx_argo_iov, len) == offsetof(struct argo_iov, len));

	if (arg->nr_iov > ARGO_IOVS_MAX || arg->pad[0] || arg->pad[1] || arg->pad[2])
		return -EINVAL;
	if (copy_from_user(iov, u64_to_user_ptr(arg->iov), arg->nr_iov * sizeof(*iov)))
		return -EFAULT;
	memset(m, 0, sizeof(*m));
	for (i = 0; i < arg->nr_iov && !err; i++)
		err = message_add(m, &iov[i]);
	m->type = arg->type;
	m->addr.src.port = arg->src_port;
	m->addr.src.domid = ARGO_DOMID_ANY;
	m->addr.dst.port = arg->dst_port;
	m->addr.dst.domid = arg->dst_domid;
	return err;
}

/* May this endpoint send it? Fills in the source where it was left open. Under the lock. */
static int message_allow(const struct argo_file *f, struct file_message *m)
{
	u32 own = test_bit(FILE_BOUND, &f->flags) ? f->rx.port : 0;

	if (!m->addr.src.port)
		m->addr.src.port = own;
	if (f->trusted)
		return 0;
	if (port_is_reserved(m->addr.src.port) || port_is_reserved(m->addr.dst.port))
		return -EPERM;
	if (m->addr.src.port != own && argo_port_claimed(m->addr.src.port))
		return -EPERM;
	return 0;
}

static int message_send(struct argo_file *f, struct file_message *m)
{
	bool retry = test_and_clear_bit(FILE_RETRY, &f->flags);
	int events = atomic_read(&f->events);
	int ret;

	ret = argo_send(&f->rx.calls, &m->addr, m->iov, m->nr, m->type, true);
	if (ret >= 0) {
		f->stats.tx_messages++;
		f->stats.tx_bytes += m->len;
	}
	if (ret == -EAGAIN || ret == -EBUSY || ret == -ENOMEM) {
		file_refused(f, ret, m->len, events);
	} else if (ret < 0 || m->len + 1 >= f->want) {
		WRITE_ONCE(f->want, 0);
		clear_bit(FILE_RETRY, &f->flags);
	} else if (retry) {
		/* A smaller one that fits doesn't end the wait of a larger one. */
		set_bit(FILE_RETRY, &f->flags);
	}
	return ret;
}

/* The hypervisor doesn't wait for a page. */
static int message_fault_in(const struct file_message *m)
{
	unsigned int i;

	for (i = 0; i < m->nr; i++) {
		if (fault_in_readable(u64_to_user_ptr(m->iov[i].base), m->iov[i].len))
			return -EFAULT;
	}
	return 0;
}

static int file_sendv(struct argo_file *f, const void __user *uarg)
{
	struct hmx_argo_sendv arg;
	struct file_message m;
	unsigned int tries;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	ret = message_copy(&m, &arg);
	if (ret)
		return ret;
	for (tries = 0; tries < FAULT_TRIES; tries++) {
		ret = message_fault_in(&m);
		if (ret)
			return ret;
		mutex_lock(&f->lock);
		ret = message_allow(f, &m);
		if (!ret)
			ret = message_send(f, &m);
		mutex_unlock(&f->lock);
		if (ret != -EFAULT)
			return ret;
	}
	return ret;
}

static int file_last_words(struct argo_file *f, const void __user *uarg)
{
	u8 bytes[HMX_ARGO_LAST_WORDS_MAX];
	struct hmx_argo_sendv arg;
	struct file_message m;
	unsigned int i;
	u32 off = 0;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	ret = message_copy(&m, &arg);
	if (!ret && m.len > sizeof(bytes))
		ret = -EMSGSIZE;
	if (ret)
		return ret;
	for (i = 0; i < m.nr; i++) {
		if (copy_from_user(bytes + off, u64_to_user_ptr(m.iov[i].base), m.iov[i].len))
			return -EFAULT;
		off += m.iov[i].len;
	}
	m.nr = m.len ? 1 : 0;
	m.iov[0] = (struct argo_iov){ .base = (unsigned long)f->last_bytes, .len = m.len };
	mutex_lock(&f->lock);
	ret = message_allow(f, &m);
	if (!ret) {
		memcpy(f->last_bytes, bytes, m.len);
		f->last = m;
	}
	mutex_unlock(&f->lock);
	return ret;
}

/* The other ioctls */

static int file_info(struct argo_file *f, void *arg)
{
	*(struct hmx_argo_info *)arg = (struct hmx_argo_info){
		.domid = argo_domid,
		.ring_len_max = ARGO_RING_LEN_MAX,
		.message_max = MESSAGE_MAX,
		.iovs_max = ARGO_IOVS_MAX,
	};
	return 0;
}

static int file_notify(struct argo_file *f, void *arg)
{
	return argo_notify(&f->rx.calls);
}

static int file_query(struct argo_file *f, void *arg)
{
	struct hmx_argo_query *query = arg;
	struct argo_ring_data_ent ent = {
		.ring = { .port = query->port, .domid = query->domid },
		.space = query->space,
	};
	int err = argo_ask(&f->rx.calls, &ent);

	if (!err && (ent.flags & ARGO_RING_SUFFICIENT))
		argo_event_all();
	query->flags = ent.flags;
	query->max_message = ent.max_message;
	return err;
}

static int file_stats(struct argo_file *f, void *arg)
{
	struct hmx_argo_stats *stats = arg;
	const u64 *op = f->rx.calls.op;

	*stats = f->stats;
	stats->registers = op[ARGO_OP_REGISTER_RING];
	stats->unregisters = op[ARGO_OP_UNREGISTER_RING];
	stats->sendvs = op[ARGO_OP_SENDV];
	stats->notifies = op[ARGO_OP_NOTIFY];
	return 0;
}

/* Those whose argument is copied in and out around them, and that run under the lock. */
union file_arg {
	struct hmx_argo_info info;
	struct hmx_argo_bind bind;
	struct hmx_argo_consume consume;
	struct hmx_argo_query query;
	struct hmx_argo_stats stats;
};

static const struct file_op {
	unsigned int cmd;
	int (*run)(struct argo_file *f, void *arg);
} file_ops[] = {
	{ HMX_ARGO_CONSUME, file_consume }, { HMX_ARGO_INFO, file_info },
	{ HMX_ARGO_BIND, file_bind },	    { HMX_ARGO_NOTIFY, file_notify },
	{ HMX_ARGO_QUERY, file_query },	    { HMX_ARGO_CHECK, file_check },
	{ HMX_ARGO_STATS, file_stats },
};

static int file_run(struct argo_file *f, const struct file_op *op, void __user *uarg)
{
	union file_arg arg = {};
	int ret;

	if ((_IOC_DIR(op->cmd) & _IOC_WRITE) && copy_from_user(&arg, uarg, _IOC_SIZE(op->cmd)))
		return -EFAULT;
	mutex_lock(&f->lock);
	ret = op->run(f, &arg);
	mutex_unlock(&f->lock);
	if (ret >= 0 && (_IOC_DIR(op->cmd) & _IOC_READ) &&
	    copy_to_user(uarg, &arg, _IOC_SIZE(op->cmd)))
		return -EFAULT;
	return ret;
}

static struct argo_file *file_new(bool trusted)
{
	struct argo_file *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);

	if (!f)
		return NULL;
	mutex_init(&f->lock);
	init_waitqueue_head(&f->wait);
	INIT_DELAYED_WORK(&f->timer, file_timer);
	f->trusted = trusted;
	mutex_lock(&files_lock);
	list_add_tail(&f->node, &files);
	mutex_unlock(&files_lock);
	return f;
}

/* Nobody else has it any more, but for the event. */
static void file_end(struct argo_file *f)
{
	mutex_lock(&files_lock);
	list_del(&f->node);
	mutex_unlock(&files_lock);
	/* Once more: whose port it was may have changed since. */
	if (f->last.addr.dst.port && !message_allow(f, &f->last))
		argo_send(&f->rx.calls, &f->last.addr, f->last.iov, f->last.nr, f->last.type,
			  false);
	if (test_bit(FILE_BOUND, &f->flags)) {
		argo_rx_unregister(&f->rx);
		file_ring_unmake(f);
	}
	cancel_delayed_work_sync(&f->timer);
	mutex_destroy(&f->lock);
	kfree(f);
}

static int file_another(const struct argo_file *f)
{
	struct argo_file *other = file_new(f->trusted);
	int fd;

	if (!other)
		return -ENOMEM;
	fd = anon_inode_getfd("[argo]", &argo_fops, other, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		file_end(other);
	return fd;
}

static long argo_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	struct argo_file *f = file->private_data;
	unsigned int i;

	if (cmd == HMX_ARGO_SENDV)
		return file_sendv(f, uarg);
	for (i = 0; i < ARRAY_SIZE(file_ops); i++) {
		if (file_ops[i].cmd == cmd)
			return file_run(f, &file_ops[i], uarg);
	}
	if (cmd == HMX_ARGO_LAST_WORDS)
		return file_last_words(f, uarg);
	return cmd == HMX_ARGO_NEW ? file_another(f) : -ENOTTY;
}

/* The file */

static int argo_open(struct inode *inode, struct file *file)
{
	struct argo_file *f = file_new(capable(CAP_SYS_ADMIN));

	if (!f)
		return -ENOMEM;
	file->private_data = f;
	return stream_open(inode, file);
}

static int argo_release(struct inode *inode, struct file *file)
{
	file_end(file->private_data);
	return 0;
}

static const struct file_operations argo_fops = {
	.owner = THIS_MODULE,
	.open = argo_open,
	.release = argo_release,
	.poll = argo_poll,
	.mmap = argo_mmap,
	.unlocked_ioctl = argo_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice argo_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "argo",
	.fops = &argo_fops,
	.mode = 0600,
};

/* The system */

void argo_files_check(void)
{
	struct argo_file *f;

	mutex_lock(&files_lock);
	list_for_each_entry(f, &files, node) {
		mutex_lock(&f->lock);
		if (test_bit(FILE_BOUND, &f->flags) && argo_rx_check(&f->rx))
			file_lose(f);
		mutex_unlock(&f->lock);
	}
	mutex_unlock(&files_lock);
}

void argo_files_leave(void)
{
	struct argo_file *f;

	mutex_lock(&files_lock);
	WRITE_ONCE(files_barred, true);
	list_for_each_entry(f, &files, node) {
		mutex_lock(&f->lock);
		if (test_bit(FILE_BOUND, &f->flags)) {
			argo_rx_unregister(&f->rx);
			file_lose(f);
		}
		mutex_unlock(&f->lock);
	}
	mutex_unlock(&files_lock);
}

int argo_dev_init(struct device *parent)
{
	argo_misc.parent = parent;
	return misc_register(&argo_misc);
}

void argo_dev_exit(void)
{
	misc_deregister(&argo_misc);
}
