// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Xen's Argo: the four hypercalls, the one event of the domain, and the rings that it is for.
 *
 * Objects. A ring (struct argo_rx) belongs to who receives in it, a port of the provider or an
 * open file of the device: memory, and a registration at the hypervisor under (port, partner). The
 * core lists all rings of the domain, each pair once, and keeps nothing else about them.
 *
 *   free -alloc-> memory -claim-> listed -register-> registered
 *     ^--free------' ^---release----' ^---unregister----'
 *
 * The hypervisor drops a registration by itself, and without a word, when the partner ends. That it
 * refuses to look says nothing of the ring: `registered` stays until the hypervisor has let go.
 *
 * Events. VIRQ_ARGO has one owner in a domain, is bound on vCPU 0, and says no more than "look":
 * the interrupt calls each ring's event(), which looks. The list is walked under RCU;
 * argo_rx_release() waits for walks. The hypervisor knows one wait of the domain for room in a
 * ring, whoever of us waits, and takes an answer that there is room for the end of it: whoever got
 * one calls all events in place of the one that will not come.
 *
 * Locking. argo_lock covers changes of the list. All else is the owner's, under a lock of its own.
 * The hypercalls sleep nowhere and may be made in any context.
 *
 * Memory. The hypervisor writes into a ring's pages until it is unregistered, so they are freed
 * only then; where it refuses to let go of a ring, its pages stay for ever. A kernel that is
 * started by kexec finds no ring registered.
 *
 * What others can do. A domain that may send to us can raise our event as often as it makes
 * hypercalls. What comes in is judged by who receives it.
 */
#include <linux/debugfs.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/random.h>
#include <linux/rculist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <asm/barrier.h>
#include <asm/xen/hypercall.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "argo.h"
#include "compat.h"

/* Of the hypervisor's 128, so many stay for the transport, whatever programs do. */
#define ARGO_PROGRAM_RINGS (ARGO_RINGS_MAX - 32u)

/* Ports that nobody asked for by number: above those that programs are known to choose. */
#define ARGO_PORT_FREE_FIRST 0x80000000u
#define ARGO_PORT_FREE_LAST 0xf0000000u
#define ARGO_PORT_TRIES 64u

u16 argo_domid;

static DEFINE_MUTEX(argo_lock);
static LIST_HEAD(argo_rings); /* changed under argo_lock, walked under RCU too */
static unsigned int argo_program_rings; /* in the list; argo_lock */
static atomic64_t argo_calls[ARGO_OPS];
static atomic64_t argo_virqs;
static int argo_irq;
static struct platform_device *argo_pdev;
static struct dentry *argo_debugfs;

static const char *const argo_op_names[ARGO_OPS] = {
	[ARGO_OP_REGISTER_RING] = "register_ring",
	[ARGO_OP_UNREGISTER_RING] = "unregister_ring",
	[ARGO_OP_SENDV] = "sendv",
	[ARGO_OP_NOTIFY] = "notify",
	[ARGO_OP_QUERY] = "query",
};

/* Hypercalls */

static void argo_count(struct argo_calls *calls, unsigned int op)
{
	calls->op[op]++;
	atomic64_inc(&argo_calls[op]);
}

/*
 * Errors of sendv arrive zero-extended, as a number of 32 bits: so all are taken as such. No
 * success is a larger number.
 */
static int argo_call(struct argo_calls *calls, unsigned int op, const void *arg1, const void *arg2,
		     unsigned long arg3, unsigned long arg4)
{
	argo_count(calls, op);
	return (int)hmx_xen_call(ARGO_HYPERCALL, op, (unsigned long)arg1, (unsigned long)arg2, arg3,
				 arg4);
}

int argo_send(struct argo_calls *calls, const struct argo_send_addr *addr,
	      const struct argo_iov *iov, unsigned int nr, u32 type, bool user)
{
	if (!user)
		return argo_call(calls, ARGO_OP_SENDV, addr, iov, nr, type);
	argo_count(calls, ARGO_OP_SENDV);
	/* The hypervisor reaches what the kernel may reach: user memory has to be opened to it. */
	return (int)privcmd_call(ARGO_HYPERCALL, ARGO_OP_SENDV, (unsigned long)addr,
				 (unsigned long)iov, nr, type);
}

int argo_notify(struct argo_calls *calls)
{
	return argo_call(calls, ARGO_OP_NOTIFY, NULL, NULL, 0, 0);
}

int argo_ask(struct argo_calls *calls, struct argo_ring_data_ent *ent)
{
	struct {
		struct argo_ring_data data;
		struct argo_ring_data_ent ent;
	} ask = { .data.nent = 1, .ent = *ent };
	int err;

	/* The entry follows its header at once. */
	static_assert(sizeof(ask) == sizeof(ask.data) + sizeof(ask.ent));

	argo_count(calls, ARGO_OP_QUERY);
	err = (int)hmx_xen_call(ARGO_HYPERCALL, ARGO_OP_NOTIFY, (unsigned long)&ask, 0, 0, 0);
	*ent = ask.ent;
	return err;
}

/* For so many bytes there never is room: nobody's wait for any is ended, and none begins. */
int argo_query(struct argo_calls *calls, const struct argo_addr *addr)
{
	struct argo_ring_data_ent ent = { .ring = *addr, .space = U32_MAX };
	int err = argo_ask(calls, &ent);

	return err ?: !!(ent.flags & ARGO_RING_EXISTS);
}

/*
 * All pages are ours alone and stay where they are; those of a vmalloc area are ordinary ones. In a
 * PV domain frames are those of the machine, and others after the domain was saved and restored.
 */
static void argo_gfns_fill(struct argo_rx *rx)
{
	unsigned int i;

	for (i = 0; i < rx->nr_pages; i++)
		rx->gfns[i] = pfn_to_gfn(vmalloc_to_pfn((u8 *)rx->ring + i * ARGO_PAGE_SIZE));
}

static int argo_register(struct argo_rx *rx, u32 flags)
{
	struct argo_register_ring reg = {
		.port = rx->port,
		.partner = rx->partner,
		.len = rx->len,
	};

	argo_gfns_fill(rx);
	return argo_call(&rx->calls, ARGO_OP_REGISTER_RING, &reg, rx->gfns, rx->nr_pages, flags);
}

static int argo_unregister(struct argo_calls *calls, u32 port, u16 partner)
{
	struct argo_unregister_ring unreg = { .port = port, .partner = partner };

	return argo_call(calls, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0);
}

/* Rings */

int argo_rx_unregister(struct argo_rx *rx)
{
	int err = argo_unregister(&rx->calls, rx->port, rx->partner);

	if (err && err != -ENOENT)
		return err;
	rx->registered = false;
	return 0;
}

int argo_rx_register(struct argo_rx *rx)
{
	int err;

	/* To register over a registration costs one of the domain's rings each time. */
	err = argo_rx_unregister(rx);
	if (err)
		return err;
	WRITE_ONCE(rx->ring->rx_ptr, 0);
	WRITE_ONCE(rx->ring->tx_ptr, 0);
	err = argo_register(rx, ARGO_REGISTER_FAIL_EXIST);
	rx->registered = !err;
	return err;
}

/* What the hypervisor can lack before it has looked for the ring. */
static bool argo_did_not_look(int err)
{
	return err == -ENOSPC || err == -ENOMEM;
}

int argo_rx_check(struct argo_rx *rx)
{
	int err = argo_register(rx, ARGO_REGISTER_FAIL_EXIST);

	if (err == -EEXIST || (rx->registered && argo_did_not_look(err)))
		return 0;
	/* After any other error it may have it all the same: a policy comes first, too. */
	if (err)
		return err;
	rx->registered = true;
	return 1;
}

int argo_rx_alloc(struct argo_rx *rx, u32 len)
{
	/* The hypervisor counts in pages of 4 KiB, and so do we. */
	BUILD_BUG_ON(PAGE_SIZE != ARGO_PAGE_SIZE);

	if (len < ARGO_RING_LEN_MIN || len > ARGO_RING_LEN_MAX || len % ARGO_SLOT_SIZE)
		return -EINVAL;
	rx->nr_pages = DIV_ROUND_UP(len + (u32)sizeof(struct argo_ring), ARGO_PAGE_SIZE);
	rx->gfns = kvmalloc_array(rx->nr_pages, sizeof(*rx->gfns), GFP_KERNEL);
	if (!rx->gfns)
		return -ENOMEM;
	/* Zeroed: a process may look at it. */
	rx->ring = vmalloc_user(rx->nr_pages * (size_t)ARGO_PAGE_SIZE);
	if (!rx->ring) {
		kvfree(rx->gfns);
		rx->gfns = NULL;
		return -ENOMEM;
	}
	rx->len = len;
	return 0;
}

void argo_rx_free(struct argo_rx *rx)
{
	kvfree(rx->gfns);
	rx->gfns = NULL;
	if (rx->registered)
		pr_err("hmx_argo: the hypervisor keeps a ring; its memory is not used again\n");
	else
		vfree(rx->ring);
	rx->registered = false;
	rx->ring = NULL;
}

/* Under argo_lock. */
static bool argo_taken(u32 port, int partner)
{
	struct argo_rx *rx;

	list_for_each_entry(rx, &argo_rings, node) {
		if (rx->port == port && (partner < 0 || rx->partner == partner))
			return true;
	}
	return false;
}

bool argo_port_claimed(u32 port)
{
	bool taken;

	mutex_lock(&argo_lock);
	taken = argo_taken(port, -1);
	mutex_unlock(&argo_lock);
	return taken;
}

/* Under argo_lock. 0: none was found. */
static u32 argo_port_free(void)
{
	unsigned int i;
	u32 port;

	for (i = 0; i < ARGO_PORT_TRIES; i++) {
		port = ARGO_PORT_FREE_FIRST +
		       get_random_u32() % (ARGO_PORT_FREE_LAST - ARGO_PORT_FREE_FIRST);
		if ((port & VHX_ARGO_PORT_MASK) != VHX_ARGO_PORT_RESERVED && !argo_taken(port, -1))
			return port;
	}
	return 0;
}

/* Under argo_lock. */
static int argo_claim(struct argo_rx *rx, bool program)
{
	u32 port = rx->port ?: argo_port_free();

	if (!port || argo_taken(port, rx->partner))
		return -EADDRINUSE;
	if (program && argo_program_rings == ARGO_PROGRAM_RINGS)
		return -ENOSPC;
	rx->port = port;
	rx->program = program;
	argo_program_rings += program;
	list_add_tail_rcu(&rx->node, &argo_rings);
	return 0;
}

int argo_rx_claim(struct argo_rx *rx, bool program)
{
	int err;

	mutex_lock(&argo_lock);
	err = argo_claim(rx, program);
	mutex_unlock(&argo_lock);
	return err;
}

void argo_rx_release(struct argo_rx *rx)
{
	mutex_lock(&argo_lock);
	list_del_rcu(&rx->node);
	argo_program_rings -= rx->program;
	mutex_unlock(&argo_lock);
	/* No event of it is under way from here on: pairs with argo_event_all(). */
	synchronize_rcu();
}

/* The event */

void argo_event_all(void)
{
	struct argo_rx *rx;

	/* Pairs with argo_rx_release(). */
	rcu_read_lock();
	list_for_each_entry_rcu(rx, &argo_rings, node)
		rx->event(rx);
	rcu_read_unlock();
}

static irqreturn_t argo_interrupt(int irq, void *data)
{
	atomic64_inc(&argo_virqs);
	argo_event_all();
	return IRQ_HANDLED;
}

/* The partner of argo_unbind(). */
static int argo_bind(void)
{
	int irq = bind_virq_to_irqhandler(ARGO_VIRQ, 0, argo_interrupt, 0, "argo", &argo_irq);

	if (irq < 0) {
		pr_err("hmx_argo: another driver of this domain has Argo's event: %d\n", irq);
		return irq;
	}
	argo_irq = irq;
	return 0;
}

static void argo_unbind(void)
{
	unbind_from_irqhandler(argo_irq, &argo_irq);
}

/* The domain */

/*
 * Who we are. No hypercall says it; but an event channel that waits for ourselves is told of with
 * the true number.
 */
static int argo_domid_find(void)
{
	struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
	struct evtchn_status status = { .dom = DOMID_SELF };
	struct evtchn_close close;
	int err;

	err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
	if (err)
		return err;
	status.port = alloc.port;
	err = HYPERVISOR_event_channel_op(EVTCHNOP_status, &status);
	if (!err)
		argo_domid = status.u.unbound.dom;
	close.port = alloc.port;
	HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
	return err;
}

static const struct {
	int err;
	const char *text;
} argo_absences[] = {
	{ -ENOSYS, "this hypervisor was built without it" },
	{ -EOPNOTSUPP, "the hypervisor was started without argo=1" },
	{ -EPERM, "the hypervisor's policy does not allow it to this domain" },
	{ -EACCES, "the hypervisor's policy does not allow it to this domain" },
	{ -ENODEV, "this domain was made without it" },
};

/* What the hypervisor says of a ring that nobody has. */
static int argo_look(void)
{
	struct argo_calls calls = {};
	int err = argo_unregister(&calls, VHX_ARGO_PORT_RESERVED, argo_domid);
	unsigned int i;

	if (!err || err == -ENOENT)
		return 0;
	for (i = 0; i < ARRAY_SIZE(argo_absences); i++) {
		if (argo_absences[i].err == err)
			pr_info("hmx_argo: no Argo: %s\n", argo_absences[i].text);
	}
	return err == -ENOSYS || err == -EOPNOTSUPP ? -ENODEV : err;
}

/* Looking at it */

static int hypercalls_show(struct seq_file *s, void *unused)
{
	unsigned int i;

	for (i = 0; i < ARGO_OPS; i++)
		seq_printf(s, "%s %lld\n", argo_op_names[i], atomic64_read(&argo_calls[i]));
	seq_printf(s, "virqs %lld\n", atomic64_read(&argo_virqs));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hypercalls);

static void ring_show(struct seq_file *s, const struct argo_rx *rx)
{
	unsigned int i;

	seq_printf(s, "port %08x partner %u len %u %s %sregistered rx_ptr %u tx_ptr %u", rx->port,
		   rx->partner, rx->len, rx->kind, rx->registered ? "" : "un",
		   READ_ONCE(rx->ring->rx_ptr), READ_ONCE(rx->ring->tx_ptr));
	for (i = 0; i < ARGO_OPS; i++)
		seq_printf(s, " %s %llu", argo_op_names[i], rx->calls.op[i]);
	seq_putc(s, '\n');
}

static int rings_show(struct seq_file *s, void *unused)
{
	struct argo_rx *rx;

	mutex_lock(&argo_lock);
	list_for_each_entry(rx, &argo_rings, node)
		ring_show(s, rx);
	mutex_unlock(&argo_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rings);

static void argo_debugfs_add(void)
{
	argo_debugfs = debugfs_create_dir("hmx_argo", NULL);
	debugfs_create_file("hypercalls", 0400, argo_debugfs, NULL, &hypercalls_fops);
	debugfs_create_file("rings", 0400, argo_debugfs, NULL, &rings_fops);
}

/* The module */

static int argo_suspend(struct device *dev)
{
	return argo_ports_freeze();
}

/* A domain that was saved and restored has another number, perhaps, and none of its rings. */
static int argo_resume(struct device *dev)
{
	int err = argo_domid_find();

	if (err)
		dev_err(dev, "who are we? %d\n", err);
	argo_files_check();
	return argo_ports_restore();
}

static DEFINE_SIMPLE_DEV_PM_OPS(argo_pm_ops, argo_suspend, argo_resume);

/* Whoever comes after us (kexec) finds no ring that points into its memory. */
static void argo_shutdown(struct platform_device *pdev)
{
	argo_ports_leave();
	argo_files_leave();
}

static struct platform_driver argo_driver = {
	.shutdown = argo_shutdown,
	.driver = {
		.name = "hmx_argo",
		.suppress_bind_attrs = true,
		.pm = pm_sleep_ptr(&argo_pm_ops),
	},
};

static int argo_parent_add(void)
{
	int err;

	argo_driver.driver.dev_groups = argo_ports_groups;
	err = platform_driver_register(&argo_driver);

	if (err)
		return err;
	argo_pdev = platform_device_register_simple("hmx_argo", PLATFORM_DEVID_NONE, NULL, 0);
	if (!IS_ERR(argo_pdev))
		return 0;
	platform_driver_unregister(&argo_driver);
	return PTR_ERR(argo_pdev);
}

static void argo_parent_del(void)
{
	platform_device_unregister(argo_pdev);
	platform_driver_unregister(&argo_driver);
}

static int argo_start(void)
{
	int err;

	err = argo_bind();
	if (err)
		return err;
	err = argo_ports_init(&argo_pdev->dev);
	if (err)
		goto unbind;
	/* The last that can fail: where a module can't start, nobody waits for its open files. */
	err = argo_dev_init(&argo_pdev->dev);
	if (err)
		goto ports_exit;
	return 0;

ports_exit:
	argo_ports_exit();
unbind:
	argo_unbind();
	return err;
}

static int __init argo_init(void)
{
	int err;

	if (!xen_domain())
		return -ENODEV;
	err = argo_domid_find();
	if (err)
		return err;
	err = argo_look();
	if (err)
		return err;
	err = argo_parent_add();
	if (err)
		return err;
	argo_debugfs_add();
	err = argo_start();
	if (err) {
		debugfs_remove(argo_debugfs);
		argo_parent_del();
	}
	return err;
}

static void __exit argo_exit(void)
{
	argo_dev_exit();
	argo_ports_exit();
	argo_unbind();
	debugfs_remove(argo_debugfs);
	argo_parent_del();
}

module_init(argo_init);
module_exit(argo_exit);

MODULE_DESCRIPTION("Xen's Argo, and message exchange with a backend in another domain by it");
MODULE_AUTHOR("The virtio-hmx authors");
MODULE_LICENSE("Dual BSD/GPL");
