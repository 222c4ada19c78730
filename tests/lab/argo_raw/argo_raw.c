// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * /dev/argo_raw: what a program needs to make Argo's hypercalls itself, right ones and wrong ones. For the lab,
 * never packaged; uapi.h describes it.
 *
 * Each open file owns pages for one ring. The hypervisor keeps a reference to the pages of a registered
 * ring, but their owner must not reuse them: a program unregisters its rings before it closes, and what
 * it forgets costs only the lab's guest.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/xen/hypercall.h>
#include <xen/page.h>
#include <xen/xen.h>

#include <vhx/argo.h>

#include "uapi.h"

/* What one may ask for: a ring of the largest size and a page that is too many. */
#define RAW_PAGES_MAX (ARGO_PAGES_MAX + 1)

struct argo_raw {
	struct mutex lock;
	void *pages;
	u32 cnt;
};

static int raw_call(void __user *uarg)
{
	struct argo_raw_call call;

	if (copy_from_user(&call, uarg, sizeof(call)))
		return -EFAULT;
	call.result = privcmd_call(ARGO_HYPERCALL, call.cmd, call.arg1, call.arg2, call.arg3,
				   call.arg4);
	return copy_to_user(uarg, &call, sizeof(call)) ? -EFAULT : 0;
}

static int raw_frames(const struct argo_raw *raw, u64 __user *frames)
{
	u32 i;

	for (i = 0; i < raw->cnt; i++) {
		struct page *page = vmalloc_to_page(raw->pages + i * PAGE_SIZE);

		if (put_user((u64)pfn_to_gfn(page_to_pfn(page)), &frames[i]))
			return -EFAULT;
	}
	return 0;
}

static int raw_pages(struct argo_raw *raw, void __user *uarg)
{
	struct argo_raw_pages arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.cnt > RAW_PAGES_MAX || arg.pad || raw->pages)
		return -EINVAL;
	raw->pages = vmalloc_user(arg.cnt * PAGE_SIZE);
	if (!raw->pages)
		return -ENOMEM;
	raw->cnt = arg.cnt;
	return raw_frames(raw, u64_to_user_ptr(arg.frames));
}

static long raw_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct argo_raw *raw = file->private_data;
	void __user *uarg = (void __user *)arg;
	long ret;

	if (cmd == ARGO_RAW_CALL)
		return raw_call(uarg);
	if (cmd != ARGO_RAW_PAGES)
		return -ENOTTY;
	mutex_lock(&raw->lock);
	ret = raw_pages(raw, uarg);
	mutex_unlock(&raw->lock);
	return ret;
}

static int raw_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct argo_raw *raw = file->private_data;
	int ret = -ENXIO;

	mutex_lock(&raw->lock);
	if (raw->pages)
		ret = remap_vmalloc_range(vma, raw->pages, vma->vm_pgoff);
	mutex_unlock(&raw->lock);
	return ret;
}

static int raw_open(struct inode *inode, struct file *file)
{
	struct argo_raw *raw = kzalloc(sizeof(*raw), GFP_KERNEL);

	if (!raw)
		return -ENOMEM;
	mutex_init(&raw->lock);
	file->private_data = raw;
	return nonseekable_open(inode, file);
}

static int raw_release(struct inode *inode, struct file *file)
{
	struct argo_raw *raw = file->private_data;

	vfree(raw->pages);
	kfree(raw);
	return 0;
}

static const struct file_operations raw_fops = {
	.owner = THIS_MODULE,
	.open = raw_open,
	.release = raw_release,
	.unlocked_ioctl = raw_ioctl,
	.mmap = raw_mmap,
};

static struct miscdevice raw_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "argo_raw",
	.fops = &raw_fops,
	.mode = 0600,
};

static int __init raw_init(void)
{
	return xen_domain() ? misc_register(&raw_device) : -ENODEV;
}

static void __exit raw_exit(void)
{
	misc_deregister(&raw_device);
}

module_init(raw_init);
module_exit(raw_exit);
MODULE_DESCRIPTION("Argo hypercalls from user space, for tests");
MODULE_LICENSE("Dual BSD/GPL");
