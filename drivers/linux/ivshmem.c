// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Windows of QEMU's ivshmem-doorbell: PCI 1AF4:1110. The backend is peer 0 and rings our vector
 * 0; what the window holds is window.c's matter (docs/wire.md, section 14).
 *
 *   BAR 0  registers: who we are, and the doorbell
 *   BAR 1  MSI-X
 *   BAR 2  the window, ordinary memory of the host
 *
 * The device moves no data by itself, and still must be a bus master: its interrupt is a memory
 * write.
 *
 * Other programs use this PCI id for their own memory. A window that no host of ours has laid out
 * is left alone, with one line that says why.
 *
 * Order. The interrupt is bound before the port is registered, so nothing that the peer says
 * after the first look at the window is missed; it is released after the port is gone. Before
 * registration and after close() hmx_window_event() ignores it.
 *
 * A peer may ring as often as it likes: each interrupt costs an atomic and a kick of the
 * channel's work. Neither side can see in a register whether the other one lives.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm.h>

#include "hmx_window.h"

#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110
#define IVSHMEM_REVISION 1 /* 0, of before QEMU 2.6, has other rules for its registers */

#define IVSHMEM_BAR_REGS 0
#define IVSHMEM_BAR_WINDOW 2

#define IVSHMEM_REG_POSITION 0x08 /* our peer id, or 0: not connected */
#define IVSHMEM_REG_DOORBELL 0x0c /* peer << 16 | vector */
#define IVSHMEM_REGS_LEN 0x10

#define IVSHMEM_PEER_HOST 0u
#define IVSHMEM_VECTOR 0u /* on both sides */

struct hmx_ivshmem {
	struct hmx_window window;
	struct pci_dev *pdev;
	void __iomem *regs;
};

static struct hmx_ivshmem *to_ivshmem(struct hmx_window *w)
{
	return container_of(w, struct hmx_ivshmem, window);
}

static void ivshmem_ring(struct hmx_window *w)
{
	/* Not the relaxed form: what was written to the window is there before the peer looks. */
	iowrite32(IVSHMEM_PEER_HOST << 16 | IVSHMEM_VECTOR,
		  to_ivshmem(w)->regs + IVSHMEM_REG_DOORBELL);
}

static const struct hmx_window_ops ivshmem_window_ops = {
	.ring = ivshmem_ring,
};

static irqreturn_t ivshmem_interrupt(int irq, void *data)
{
	struct hmx_ivshmem *iv = data;

	hmx_window_event(&iv->window);
	return IRQ_HANDLED;
}

static int ivshmem_refuse(struct pci_dev *pdev, const char *why)
{
	dev_info(&pdev->dev, "not a window of virtio-hmx: %s\n", why);
	return -ENODEV;
}

/* What can be told before anything of the device is touched. */
static int ivshmem_judge(struct pci_dev *pdev)
{
	if (pdev->revision != IVSHMEM_REVISION)
		return ivshmem_refuse(pdev, "unknown revision");
	if (pci_resource_len(pdev, IVSHMEM_BAR_REGS) < IVSHMEM_REGS_LEN)
		return ivshmem_refuse(pdev, "no registers");
	if (!(pci_resource_flags(pdev, IVSHMEM_BAR_WINDOW) & IORESOURCE_MEM) ||
	    !pci_resource_len(pdev, IVSHMEM_BAR_WINDOW))
		return ivshmem_refuse(pdev, "no memory");
	if (pci_msix_vec_count(pdev) <= 0)
		return ivshmem_refuse(pdev, "no interrupts (ivshmem-plain?)");
	return 0;
}

/* The partner of ivshmem_unmap(). */
static int ivshmem_map(struct hmx_ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;
	struct hmx_window *w = &iv->window;

	iv->regs = pci_iomap(pdev, IVSHMEM_BAR_REGS, 0);
	if (!iv->regs)
		return -ENOMEM;
	w->size = pci_resource_len(pdev, IVSHMEM_BAR_WINDOW);
	w->base = memremap(pci_resource_start(pdev, IVSHMEM_BAR_WINDOW), w->size, MEMREMAP_WB);
	if (!w->base) {
		pci_iounmap(pdev, iv->regs);
		return -ENOMEM;
	}
	return 0;
}

static void ivshmem_unmap(struct hmx_ivshmem *iv)
{
	memunmap(iv->window.base);
	pci_iounmap(iv->pdev, iv->regs);
}

/* The partner of ivshmem_unbind(). */
static int ivshmem_bind(struct hmx_ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;
	int err;

	pci_set_master(pdev);
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSIX);
	if (err < 0)
		goto clear_master;
	err = request_irq(pci_irq_vector(pdev, IVSHMEM_VECTOR), ivshmem_interrupt, 0,
			  pci_name(pdev), iv);
	if (err)
		goto free_vectors;
	return 0;

free_vectors:
	pci_free_irq_vectors(pdev);
clear_master:
	pci_clear_master(pdev);
	return err;
}

static void ivshmem_unbind(struct hmx_ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;

	free_irq(pci_irq_vector(pdev, IVSHMEM_VECTOR), iv);
	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
}

/* Looks at what is mapped: are we somebody else than the host, and has the host been there? */
static int ivshmem_recognise(struct hmx_ivshmem *iv)
{
	struct hmx_port *port = &iv->window.port;
	struct pci_dev *pdev = iv->pdev;
	u32 position = ioread32(iv->regs + IVSHMEM_REG_POSITION);

	if (position == IVSHMEM_PEER_HOST)
		return ivshmem_refuse(pdev, "its server makes us peer 0, or has not made us any");
	iv->window.ops = &ivshmem_window_ops;
	if (hmx_window_init(&iv->window, "ivshmem"))
		return ivshmem_refuse(pdev, "nobody has laid it out");
	port->parent = &pdev->dev;
	port->owner = THIS_MODULE;
	snprintf(port->peer, sizeof(port->peer), "peer %u of %s", IVSHMEM_PEER_HOST,
		 pci_name(pdev));
	return 0;
}

static int ivshmem_start(struct hmx_ivshmem *iv)
{
	int err;

	err = ivshmem_map(iv);
	if (err)
		return err;
	err = ivshmem_recognise(iv);
	if (err)
		goto unmap;
	err = ivshmem_bind(iv);
	if (err)
		goto unmap;
	err = hmx_port_register(&iv->window.port);
	if (err)
		goto unbind;
	return 0;

unbind:
	ivshmem_unbind(iv);
unmap:
	ivshmem_unmap(iv);
	return err;
}

static int ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hmx_ivshmem *iv;
	int err;

	err = ivshmem_judge(pdev);
	if (err)
		return err;
	iv = kzalloc(sizeof(*iv), GFP_KERNEL);
	if (!iv)
		return -ENOMEM;
	iv->pdev = pdev;
	err = pci_enable_device_mem(pdev);
	if (err)
		goto free;
	err = pci_request_mem_regions(pdev, KBUILD_MODNAME);
	if (err)
		goto disable;
	pci_set_drvdata(pdev, iv);
	err = ivshmem_start(iv);
	if (err)
		goto release;
	return 0;

release:
	pci_set_drvdata(pdev, NULL);
	pci_release_mem_regions(pdev);
disable:
	pci_disable_device(pdev);
free:
	kfree(iv);
	return err;
}

static void ivshmem_remove(struct pci_dev *pdev)
{
	struct hmx_ivshmem *iv = pci_get_drvdata(pdev);
	bool present = pci_device_is_present(pdev);

	if (!present)
		hmx_window_leave(&iv->window, false);
	hmx_port_unregister(&iv->window.port, present);
	ivshmem_unbind(iv);
	ivshmem_unmap(iv);
	pci_release_mem_regions(pdev);
	pci_disable_device(pdev);
	kfree(iv);
}

/* Whoever comes after us (kexec, firmware) finds nobody in our section, as does the backend. */
static void ivshmem_shutdown(struct pci_dev *pdev)
{
	struct hmx_ivshmem *iv = pci_get_drvdata(pdev);

	hmx_window_leave(&iv->window, true);
}

static int ivshmem_suspend(struct device *dev)
{
	struct hmx_ivshmem *iv = dev_get_drvdata(dev);

	return hmx_port_freeze(&iv->window.port);
}

static int ivshmem_resume(struct device *dev)
{
	struct hmx_ivshmem *iv = dev_get_drvdata(dev);

	/* The PCI core has restored the BARs, MSI-X and bus mastering. */
	return hmx_port_restore(&iv->window.port);
}

static DEFINE_SIMPLE_DEV_PM_OPS(ivshmem_pm_ops, ivshmem_suspend, ivshmem_resume);

static const struct pci_device_id ivshmem_ids[] = {
	{ PCI_DEVICE(IVSHMEM_VENDOR, IVSHMEM_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, ivshmem_ids);

static struct pci_driver ivshmem_driver = {
	.name = KBUILD_MODNAME,
	.id_table = ivshmem_ids,
	.probe = ivshmem_probe,
	.remove = ivshmem_remove,
	.shutdown = ivshmem_shutdown,
	.driver.pm = pm_sleep_ptr(&ivshmem_pm_ops),
};
module_pci_driver(ivshmem_driver);

MODULE_DESCRIPTION("Message exchange with a backend through ivshmem");
MODULE_LICENSE("Dual BSD/GPL");
