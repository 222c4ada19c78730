// SPDX-License-Identifier: BSD-3-Clause
/* Engine "vhx": this process embeds libvhx. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/blk_layout.h"
#include "load.h"
#include "vhx/vhx.h"

#define PATIENCE_MS 10000

struct vhx_io {
	struct load_io *io;
	struct virtio_blk_outhdr head;
	uint8_t status;
	struct iovec out[2], in[2];
};

struct client {
	struct load *load;
	struct vhx_conn *conn;
	struct vhx_dev *dev;
	struct vhx_vq *vq;
	struct vhx_io ios[LOAD_DEPTH_MAX];
};

static void say(void *ctx, int level, const char *text)
{
	fprintf(stderr, "vhx-load: %s\n", text);
}

static void submit(struct load *l, struct load_io *io)
{
	struct client *c = l->client;
	struct vhx_io *v = &c->ios[io->index];
	struct iovec data = { io->data, io->len };
	int ret;

	v->io = io;
	v->head.type = vhx_le32_of(io->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
	v->head.sector = vhx_le64_of(io->off / VIRTIO_BLK_SECTOR);
	v->status = 0xff;
	v->out[0] = (struct iovec){ &v->head, sizeof(v->head) };
	v->out[1] = v->in[0] = data;
	v->in[io->write ? 0 : 1] = (struct iovec){ &v->status, 1 };
	ret = vhx_vq_submit(c->vq, v->out, io->write ? 2 : 1, v->in, io->write ? 1 : 2, v);
	if (ret)
		abort(); /* the queue is as deep as the job */
}

static void done(void *ctx, const struct vhx_completion *completion)
{
	struct client *c = ctx;
	struct vhx_io *v = completion->user;
	int err = completion->result < 0 || v->status ? -EIO : 0;

	if (load_done(c->load, v->io, err))
		submit(c->load, v->io);
	else if (!load_busy(c->load))
		vhx_conn_stop(c->conn);
}

static int device_open(struct load *l, struct client *c)
{
	uint64_t sectors;
	unsigned int depth = 1;
	int ret;

	ret = vhx_dev_open(c->conn, l->settings->device, &c->dev);
	if (!ret)
		ret = vhx_dev_wait(c->dev, PATIENCE_MS);
	if (!ret)
		ret = vhx_dev_set_features(c->dev, vhx_dev_features(c->dev));
	while (depth < l->settings->depth)
		depth *= 2;
	if (!ret)
		ret = vhx_vq_start(c->dev, 0, depth, &c->vq);
	if (!ret)
		ret = vhx_dev_read_config(c->dev, 0, &sectors, sizeof(sectors));
	if (ret)
		return ret;
	l->capacity = sectors * VIRTIO_BLK_SECTOR;
	vhx_vq_set_callback(c->vq, done, c);
	return 0;
}

static int engine_open(struct load *l)
{
	struct client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	l->client = c;
	c->load = l;
	ret = vhx_conn_new(&c->conn);
	if (!ret)
		ret = vhx_conn_set_log(c->conn, 4, say, NULL);
	if (!ret)
		ret = vhx_conn_set_poll(c->conn, (unsigned int)l->settings->poll_us);
	if (!ret)
		ret = vhx_conn_connect(c->conn, l->settings->target);
	if (!ret)
		ret = device_open(l, c);
	if (ret)
		fprintf(stderr, "vhx-load: %s: %s\n", l->settings->target, strerror(-ret));
	return ret;
}

static int engine_run(struct load *l)
{
	struct client *c = l->client;

	return vhx_conn_run(c->conn);
}

static void engine_counters(struct load *l, struct load_counters *out)
{
	const struct client *c = l->client;
	struct vhx_conn_stats stats;

	vhx_conn_stats(c->conn, &stats, sizeof(stats));
	out->sends = stats.tx_messages + stats.rx_messages;
	out->credits = stats.credits_sent;
	out->wakes = stats.wakes_sent + stats.wakes_taken;
}

static void engine_close(struct load *l)
{
	struct client *c = l->client;

	if (c)
		vhx_conn_free(c->conn);
	free(c);
}

const struct load_engine load_vhx = {
	.name = "vhx",
	.open = engine_open,
	.memory = load_memory,
	.submit = submit,
	.run = engine_run,
	.counters = engine_counters,
	.close = engine_close,
};
