// SPDX-License-Identifier: BSD-3-Clause
/*
 * A virtio driver for the lab, of the types that the lab's kernel has no driver for: it makes any request
 * that it is told to, and shows what came of it. /sys/kernel/debug/hmx_probe/VIRTIO_NAME has
 *
 *   ask     write "VQ OUT IN ACTION [SEGMENTS]": a request of OUT out bytes, which begin with ACTION, and IN in
 *           bytes, poisoned, in so many segments. The write ends with the request
 *   behind  write "VQ ACTION": a request on VQ, of which the device is not told; one on queue 0, of which it is; then it is
 *           told of the first. The write ends with both
 *   post    write "VQ IN": a buffer that nobody waits for; it is posted again whenever it comes back
 *   resize  write "VQ ENTRIES": the queue is reset, and what was in it taken back
 *   config  write "OFF BYTE": a byte of the config space
 *   break   write "VQ": a chain that does not exist is made available
 *   hold    write anything: the device, and its parent, are held until the file release is written to
 *   result  read: "completed|recycled used=N in=HEX": of the last ask, its first and last 16 in bytes
 *   posts   read: how often posted buffers came back
 *
 * Beside the devices, the file release: write anything. The config's first byte is the number of queues; where the second
 * one is not 0 the driver asks in its probe, as disks do for their partitions, and waits for the answer. One user at a time
 * asks.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#define QUEUES_MAX 64u
#define POISON 0xa5
#define SHOWN 16u
#define HELD_MAX 16u

struct buffer {
	u8 *out, *in;
	u32 out_len, in_len, used_len, segments;
	bool posted, recycled;
	struct completion done;
};

struct probe {
	struct virtio_device *vdev;
	struct virtqueue *vqs[QUEUES_MAX];
	unsigned int cnt;
	spinlock_t lock; /* of the rings */
	struct mutex ask; /* one at a time */
	char result[160];
	u64 posts;
	struct dentry *dir;
};

static struct dentry *root;

/* Of who holds devices longer than anybody would. */
static DEFINE_MUTEX(held_lock);
static struct device *held[HELD_MAX];
static unsigned int held_cnt;

static void buffer_free(struct buffer *b)
{
	if (!b)
		return;
	kvfree(b->out);
	kfree(b->in);
	kfree(b);
}

static struct buffer *buffer_new(u32 out_len, u32 in_len, u32 segments)
{
	struct buffer *b = kzalloc(sizeof(*b), GFP_KERNEL);

	if (!b)
		return NULL;
	init_completion(&b->done);
	b->out_len = out_len;
	b->in_len = in_len;
	b->segments = segments;
	b->out = kzalloc(max(out_len, 16u), GFP_KERNEL);
	b->in = kmalloc(max(in_len, 1u), GFP_KERNEL);
	if (b->out && b->in) {
		memset(b->in, POISON, in_len);
		return b;
	}
	buffer_free(b);
	return NULL;
}

/* Under the lock. The device is not told yet. */
static int buffer_put(struct virtqueue *vq, struct buffer *b)
{
	struct scatterlist *sg, *sgs[2], out;
	u32 each = b->in_len / b->segments, i;
	unsigned int outs = 0, ins = 0;
	int ret;

	sg = kmalloc_array(b->segments, sizeof(*sg), GFP_ATOMIC);
	if (!sg)
		return -ENOMEM;
	sg_init_table(sg, b->segments);
	for (i = 0; i < b->segments; i++)
		sg_set_buf(&sg[i], b->in + i * each,
			   i + 1 < b->segments ? each : b->in_len - i * each);
	sg_init_one(&out, b->out, b->out_len ?: 1);
	if (b->out_len)
		sgs[outs++] = &out;
	if (b->in_len)
		sgs[outs + ins++] = sg;
	ret = virtqueue_add_sgs(vq, sgs, outs, ins, b, GFP_ATOMIC);
	kfree(sg);
	return ret;
}

/* Under the lock. */
static int buffer_add(struct virtqueue *vq, struct buffer *b)
{
	int ret = buffer_put(vq, b);

	if (!ret)
		virtqueue_kick(vq);
	return ret;
}

static void probe_done(struct virtqueue *vq)
{
	struct probe *p = vq->vdev->priv;
	struct buffer *b;
	unsigned long flags;
	u32 len;

	spin_lock_irqsave(&p->lock, flags);
	while ((b = virtqueue_get_buf(vq, &len))) {
		b->used_len = len;
		if (!b->posted) {
			complete(&b->done);
			continue;
		}
		p->posts++;
		if (buffer_add(vq, b))
			buffer_free(b);
	}
	spin_unlock_irqrestore(&p->lock, flags);
}

static void probe_recycle(struct virtqueue *vq, void *buf)
{
	struct buffer *b = buf;

	b->recycled = true;
	if (b->posted)
		buffer_free(b);
	else
		complete(&b->done);
}

static void result_set(struct probe *p, const struct buffer *b)
{
	u32 n = min(b->in_len, SHOWN);

	snprintf(p->result, sizeof(p->result), "%s used=%u in=%*phN last=%*phN\n",
		 b->recycled ? "recycled" : "completed", b->used_len, n, b->in, n,
		 b->in + b->in_len - n);
}

static struct virtqueue *probe_vq(struct probe *p, u32 index)
{
	return index < p->cnt ? p->vqs[index] : NULL;
}

static ssize_t command_get(char *text, size_t size, const char __user *buf, size_t len)
{
	ssize_t n = strncpy_from_user(text, buf, min(len, size - 1));

	if (n >= 0)
		text[n] = '\0';
	return n;
}

static ssize_t ask_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;
	u32 vq, out, in, action, segments = 1;
	struct buffer *b;
	char text[64];
	int ret;

	ret = command_get(text, sizeof(text), buf, len);
	if (ret < 0)
		return ret;
	if (sscanf(text, "%u %u %u %u %u", &vq, &out, &in, &action, &segments) < 4 ||
	    !probe_vq(p, vq) || !segments || segments > max(in, 1u))
		return -EINVAL;
	b = buffer_new(out, in, segments);
	if (!b)
		return -ENOMEM;
	b->out[0] = action;
	/* What types answer with: 9p has a tag of two bytes there, FUSE a word of eight. */
	if (out >= 16)
		memcpy(b->out + 5, "\x34\x12\0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8", 11);
	mutex_lock(&p->ask);
	spin_lock_irq(&p->lock);
	ret = buffer_add(p->vqs[vq], b);
	spin_unlock_irq(&p->lock);
	if (!ret) {
		wait_for_completion(&b->done);
		result_set(p, b);
	}
	mutex_unlock(&p->ask);
	buffer_free(b);
	return ret ?: len;
}

/* Both were made available: the second one was told of first. */
static int behind_add(struct probe *p, struct virtqueue *vq, struct buffer *first,
		      struct buffer *second)
{
	int ret;

	spin_lock_irq(&p->lock);
	ret = buffer_put(vq, first);
	if (!ret)
		ret = buffer_add(p->vqs[0], second);
	if (!ret)
		virtqueue_kick(vq);
	spin_unlock_irq(&p->lock);
	return ret;
}

static ssize_t behind_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct buffer *first = buffer_new(64, 16, 1), *second = buffer_new(64, 16, 1);
	struct probe *p = file->private_data;
	ssize_t ret = -ENOMEM;
	char text[64];
	u32 vq, action;

	if (!first || !second)
		goto free;
	ret = command_get(text, sizeof(text), buf, len);
	if (ret < 0)
		goto free;
	ret = -EINVAL;
	if (sscanf(text, "%u %u", &vq, &action) != 2 || !probe_vq(p, vq) || !vq)
		goto free;
	first->out[0] = action;
	second->out[0] = action;
	mutex_lock(&p->ask);
	ret = behind_add(p, p->vqs[vq], first, second);
	/* Rings with room do not refuse: neither is in one then. */
	if (!ret) {
		wait_for_completion(&second->done);
		wait_for_completion(&first->done);
		ret = len;
	}
	mutex_unlock(&p->ask);
free:
	buffer_free(first);
	buffer_free(second);
	return ret;
}

static ssize_t post_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;
	struct buffer *b;
	char text[64];
	u32 vq, in;
	int ret;

	ret = command_get(text, sizeof(text), buf, len);
	if (ret < 0)
		return ret;
	if (sscanf(text, "%u %u", &vq, &in) != 2 || !probe_vq(p, vq))
		return -EINVAL;
	b = buffer_new(0, in, 1);
	if (!b)
		return -ENOMEM;
	b->posted = true;
	spin_lock_irq(&p->lock);
	ret = buffer_add(p->vqs[vq], b);
	spin_unlock_irq(&p->lock);
	if (ret)
		buffer_free(b);
	return ret ?: len;
}

static ssize_t resize_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;
	u32 vq, entries;
	char text[64];
	int ret;

	ret = command_get(text, sizeof(text), buf, len);
	if (ret < 0)
		return ret;
	if (sscanf(text, "%u %u", &vq, &entries) != 2 || !probe_vq(p, vq))
		return -EINVAL;
	ret = virtqueue_resize(p->vqs[vq], entries, probe_recycle);
	return ret ?: len;
}

static ssize_t config_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;
	u32 off, value;
	char text[64];
	int ret;

	ret = command_get(text, sizeof(text), buf, len);
	if (ret < 0)
		return ret;
	if (sscanf(text, "%u %u", &off, &value) != 2)
		return -EINVAL;
	virtio_cwrite8(p->vdev, off, value);
	return len;
}

static ssize_t break_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;
	const struct vring *r;
	char text[64];
	u16 idx;
	u32 vq;
	int ret;

	ret = command_get(text, sizeof(text), buf, len);
	if (ret < 0)
		return ret;
	if (kstrtou32(text, 0, &vq) || !probe_vq(p, vq))
		return -EINVAL;
	spin_lock_irq(&p->lock);
	r = virtqueue_get_vring(p->vqs[vq]);
	idx = virtio16_to_cpu(p->vdev, r->avail->idx);
	r->avail->ring[idx & (r->num - 1)] = cpu_to_virtio16(p->vdev, U16_MAX);
	/* As virtio_ring does it. */
	smp_store_release(&r->avail->idx, cpu_to_virtio16(p->vdev, idx + 1));
	virtqueue_notify(p->vqs[vq]);
	spin_unlock_irq(&p->lock);
	return len;
}

static ssize_t hold_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;
	ssize_t ret = -ENOSPC;

	mutex_lock(&held_lock);
	if (held_cnt + 2 <= HELD_MAX) {
		held[held_cnt++] = get_device(&p->vdev->dev);
		held[held_cnt++] = get_device(p->vdev->dev.parent);
		ret = len;
	}
	mutex_unlock(&held_lock);
	return ret;
}

static ssize_t release_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	mutex_lock(&held_lock);
	while (held_cnt)
		put_device(held[--held_cnt]);
	mutex_unlock(&held_lock);
	return len;
}

static ssize_t result_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct probe *p = file->private_data;

	return simple_read_from_buffer(buf, len, pos, p->result, strlen(p->result));
}

static const struct file_operations ask_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = ask_write,
};

static const struct file_operations behind_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = behind_write,
};

static const struct file_operations post_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = post_write,
};

static const struct file_operations resize_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = resize_write,
};

static const struct file_operations config_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = config_write,
};

static const struct file_operations break_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = break_write,
};

static const struct file_operations hold_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = hold_write,
};

static const struct file_operations release_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = release_write,
};

static const struct file_operations result_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = result_read,
};

static void files_make(struct probe *p)
{
	p->dir = debugfs_create_dir(dev_name(&p->vdev->dev), root);
	debugfs_create_file("ask", 0200, p->dir, p, &ask_fops);
	debugfs_create_file("behind", 0200, p->dir, p, &behind_fops);
	debugfs_create_file("post", 0200, p->dir, p, &post_fops);
	debugfs_create_file("resize", 0200, p->dir, p, &resize_fops);
	debugfs_create_file("config", 0200, p->dir, p, &config_fops);
	debugfs_create_file("break", 0200, p->dir, p, &break_fops);
	debugfs_create_file("hold", 0200, p->dir, p, &hold_fops);
	debugfs_create_file("result", 0400, p->dir, p, &result_fops);
	debugfs_create_u64("posts", 0400, p->dir, &p->posts);
}

static int queues_make(struct probe *p)
{
	static const char *const names[QUEUES_MAX] = { [0 ... QUEUES_MAX - 1] = "probe" };
	static vq_callback_t *callbacks[QUEUES_MAX] = { [0 ... QUEUES_MAX - 1] = probe_done };

	return virtio_find_vqs(p->vdev, p->cnt, p->vqs, callbacks, names, NULL);
}

/* Posted buffers go with their queues. */
static void queues_end(struct probe *p)
{
	unsigned int i;
	void *buf;

	virtio_reset_device(p->vdev);
	for (i = 0; i < p->cnt; i++) {
		while ((buf = virtqueue_detach_unused_buf(p->vqs[i])))
			buffer_free(buf);
	}
	p->vdev->config->del_vqs(p->vdev);
}

/* A request of which the first out byte is 0. No memory for it, no request. */
static void probe_begin_busy(struct probe *p)
{
	struct buffer *b = buffer_new(64, 16, 1);
	int ret;

	if (!b)
		return;
	spin_lock_irq(&p->lock);
	ret = buffer_add(p->vqs[0], b);
	spin_unlock_irq(&p->lock);
	if (!ret)
		wait_for_completion(&b->done);
	buffer_free(b);
}

static int probe_start(struct virtio_device *vdev)
{
	struct probe *p = kzalloc(sizeof(*p), GFP_KERNEL);
	int ret;

	if (!p)
		return -ENOMEM;
	spin_lock_init(&p->lock);
	mutex_init(&p->ask);
	p->vdev = vdev;
	vdev->priv = p;
	p->cnt = clamp_t(u32, virtio_cread8(vdev, 0), 1, QUEUES_MAX);
	ret = queues_make(p);
	if (ret) {
		kfree(p);
		return ret;
	}
	virtio_device_ready(vdev);
	files_make(p);
	if (virtio_cread8(vdev, 1))
		probe_begin_busy(p);
	return 0;
}

/* Who asks is still waiting, and is answered: then its file goes. */
static void probe_stop(struct virtio_device *vdev)
{
	struct probe *p = vdev->priv;

	mutex_lock(&p->ask);
	mutex_unlock(&p->ask);
	debugfs_remove(p->dir);
	queues_end(p);
	kfree(p);
}

#ifdef CONFIG_PM_SLEEP

/* Nobody asks while it sleeps. */
static int probe_freeze(struct virtio_device *vdev)
{
	queues_end(vdev->priv);
	return 0;
}

static int probe_restore(struct virtio_device *vdev)
{
	struct probe *p = vdev->priv;
	int ret = queues_make(p);

	if (!ret)
		virtio_device_ready(vdev);
	return ret;
}

#endif

static const struct virtio_device_id ids[] = {
	{ 8, VIRTIO_DEV_ANY_ID },  { 20, VIRTIO_DEV_ANY_ID }, { 25, VIRTIO_DEV_ANY_ID },
	{ 34, VIRTIO_DEV_ANY_ID }, { 36, VIRTIO_DEV_ANY_ID }, { 41, VIRTIO_DEV_ANY_ID },
	{ 99, VIRTIO_DEV_ANY_ID }, { 9, VIRTIO_DEV_ANY_ID },  { 26, VIRTIO_DEV_ANY_ID },
	{ 18, VIRTIO_DEV_ANY_ID }, { 2, VIRTIO_DEV_ANY_ID },  { 1, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, ids);

/* Of a disk, and of a network; no other device that is served to us offers them. */
static const unsigned int features[] = { VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE,
					 VIRTIO_NET_F_CTRL_VQ };

static struct virtio_driver probe_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.id_table = ids,
	.probe = probe_start,
	.remove = probe_stop,
#ifdef CONFIG_PM_SLEEP
	.freeze = probe_freeze,
	.restore = probe_restore,
#endif
};

/* Drivers that a kernel may have built in for these types: off the bus as long as the probe is there. */
static const char *const rivals[] = { "virtio_blk", "virtio_scsi", "virtiofs",
						"virtio_net" };
static struct device_driver *rivals_off[ARRAY_SIZE(rivals)];

static void rivals_take(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		rivals_off[i] = driver_find(rivals[i], probe_driver.driver.bus);
		if (rivals_off[i])
			driver_unregister(rivals_off[i]);
	}
}

/* The partner of rivals_take(). */
static void rivals_give(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		if (rivals_off[i] && driver_register(rivals_off[i]))
			pr_warn("hmx_probe: %s does not come back\n", rivals[i]);
	}
}

static int __init probe_init(void)
{
	int ret;

	root = debugfs_create_dir("hmx_probe", NULL);
	debugfs_create_file("release", 0200, root, NULL, &release_fops);
	ret = register_virtio_driver(&probe_driver);
	if (ret)
		debugfs_remove(root);
	else
		rivals_take();
	return ret;
}

static void __exit probe_exit(void)
{
	unregister_virtio_driver(&probe_driver);
	rivals_give();
	debugfs_remove(root);
}

module_init(probe_init);
module_exit(probe_exit);
MODULE_DESCRIPTION("Requests of any kind, for tests");
MODULE_LICENSE("Dual BSD/GPL");
