// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A frontend owns one link at a time and the devices on it. Devices and their queues outlive the
 * link: what the guest asked for and what it still waits for is theirs, what the backend knows of it
 * dies with the channel.
 *
 *   WAITING     no channel: the next attempt is armed, with back-off
 *   CONNECTING  a port exists, HELLO is under way
 *   UP          devices are negotiated (core's driver walks towards what is wanted), data flows
 *
 * Control. Each device has at most one request outstanding, sent by the pass that finds it due and timed. No
 * answer in time, or a wrong one, ends the channel: the next backend may do better.
 *
 * Return of a backend. The driver's walk starts from nothing; identity is compared on the way. Then the
 * question is whether what completed before its death survived it: if its cache identity changed and writes
 * have completed since the last good FLUSH, or a FLUSH failed before, then replay would hide a loss. The
 * device fails instead: every request, present and future, ends with an error.
 *
 * Order of a pass: link messages -> control -> queues, round-robin -> the link sends. A pass follows every
 * callback of the loop, so that the API only notes what is wanted.
 */
#include "frontend/frontend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/fdev.h"
#include "frontend/liveness.h"

#define RETRY_MIN_NS (10 * 1000000ull)
#define RETRY_MAX_NS (1000 * 1000000ull)

struct vhx_frontend {
	struct vhx_frontend_config cfg;
	struct vhx_link link;
	struct vhx_liveness liveness;
	bool linked; /* a port exists */
	bool said_waiting;
	struct vhx_log_limit log_limit;
	uint64_t retry_ns;
	uint64_t up_ns; /* when the channel came up, 0: it did not */
	struct vhx_loop_timer retry;
	struct vhx_loop_hook hook;
	struct vhx_fdev *devices[VHX_FRONTEND_DEVICES_MAX];
	uint32_t device_cnt;
	uint32_t next; /* device that is served first in the next pass */
};

struct vhx_link *vhx_fdev_link(struct vhx_fdev *fdev)
{
	struct vhx_frontend *fe = fdev->fe;

	return fe->linked && vhx_link_usable(&fe->link) ? &fe->link : NULL;
}

struct vhx_loop *vhx_fdev_loop(struct vhx_fdev *fdev)
{
	return fdev->fe->cfg.loop;
}

static const struct vhx_log *fdev_log(const struct vhx_fdev *fdev)
{
	return fdev->fe->cfg.log;
}

/* The name for people: the backend's, once it told. */
static const char *fdev_name(const struct vhx_fdev *fdev)
{
	if (fdev->driver.id.name[0])
		return fdev->driver.id.name;
	return fdev->driver.name[0] ? fdev->driver.name : "device";
}

void vhx_fdev_warn(struct vhx_fdev *fdev, const char *text)
{
	vhx_log_limited(fdev_log(fdev), &fdev->log_limit, vhx_loop_now(fdev->fe->cfg.loop),
			VHX_LOG_WARNING, "%s: %s", fdev_name(fdev), text);
}

/* Control */

static void control_next(struct vhx_fdev *fdev)
{
	const struct vhx_control *req;

	if (fdev->unusable || fdev->retry_timer.due_ns || !vhx_driver_next(&fdev->driver, &req))
		return;
	vhx_loop_timer_arm(fdev->fe->cfg.loop, &fdev->control_timer, VHX_FDEV_CONTROL_NS);
	vhx_link_control(&fdev->fe->link, req);
}

static void control_expired(struct vhx_loop_timer *t)
{
	struct vhx_fdev *fdev = vhx_container_of(t, struct vhx_fdev, control_timer);

	vhx_log(fdev_log(fdev), VHX_LOG_WARNING, "%s: the backend does not answer",
		fdev_name(fdev));
	if (vhx_fdev_link(fdev))
		vhx_link_fail(&fdev->fe->link, -ETIMEDOUT);
}

/* However busy the backend keeps us meanwhile: the VMM waits for this. */
static void reset_expired(struct vhx_loop_timer *t)
{
	struct vhx_fdev *fdev = vhx_container_of(t, struct vhx_fdev, reset_timer);

	vhx_log(fdev_log(fdev), VHX_LOG_WARNING, "%s: the backend does not end a reset",
		fdev_name(fdev));
	if (vhx_fdev_link(fdev))
		vhx_link_fail(&fdev->fe->link, -ETIMEDOUT);
}

static void retry_expired(struct vhx_loop_timer *t)
{
	/* Nothing to do: the pass that follows finds the attach due. */
}

static void fdev_fail(struct vhx_fdev *fdev, const char *why)
{
	vhx_log(fdev_log(fdev), VHX_LOG_ERROR, "%s: failed: %s", fdev_name(fdev), why);
	fdev->failed = true;
}

static void reset_finish(struct vhx_fdev *fdev)
{
	vhx_loop_timer_cancel(fdev->fe->cfg.loop, &fdev->reset_timer);
	if (!fdev->reset_waits)
		return;
	fdev->reset_waits = false;
	fdev->ops->reset_done(fdev->ctx);
}

static void fdev_unusable(struct vhx_fdev *fdev, int reason, const char *why)
{
	vhx_log(fdev_log(fdev), VHX_LOG_ERROR, "%s: %s", fdev_name(fdev), why);
	fdev->unusable = true;
	fdev->failed = true;
	fdev->oversize = false;
	reset_finish(fdev);
	/* A device that its owner has known goes on, with errors for answers; others never were. */
	if (!fdev->driver.id.known)
		fdev->ops->unusable(fdev->ctx, reason);
}

static void event_known(struct vhx_fdev *fdev)
{
	struct vhx_driver_identity *id = &fdev->driver.id;
	const char *refusal;
	char why[160];

	fdev->type = vhx_devtype_find(id->device_id);
	refusal = vhx_devtype_refusal(fdev->type);
	if (refusal) {
		id->known = false;
		snprintf(why, sizeof(why), "cannot be presented: it is a %s, and %s",
			 fdev->type->name, refusal);
		fdev_unusable(fdev, -EOPNOTSUPP, why);
		return;
	}
	vhx_log(fdev_log(fdev), VHX_LOG_INFO, "%s: %s device, %u queue%s", fdev_name(fdev),
		fdev->type->name, id->num_queues, id->num_queues == 1 ? "" : "s");
	fdev->ops->known(fdev->ctx);
}

static void event_config(struct vhx_fdev *fdev)
{
	vhx_log_limited(fdev_log(fdev), &fdev->log_limit, vhx_loop_now(fdev->fe->cfg.loop),
			VHX_LOG_INFO, "%s: config changed", fdev_name(fdev));
	fdev->ops->config_changed(fdev->ctx);
}

static void event_config_written(struct vhx_fdev *fdev)
{
	fdev->ops->config_written(fdev->ctx, fdev->driver.config_refused);
}

static void event_queue_open(struct vhx_fdev *fdev)
{
	vhx_fqueue_opened(&fdev->queues[fdev->driver.event_queue]);
	vhx_fcommands_running(fdev);
}

static void event_queue_closed(struct vhx_fdev *fdev)
{
	vhx_fqueue_closed(&fdev->queues[fdev->driver.event_queue]);
}

static void event_running(struct vhx_fdev *fdev)
{
	struct vhx_driver_identity *id = &fdev->driver.id;
	bool volatile_writes = fdev->writes_done != fdev->writes_flushed;

	/*
	 * Whenever it begins to run: what was lost may have been while it had no driver. The same backend knows its
	 * own failures; a loss ends that knowledge.
	 */
	if (id->cache_changed && volatile_writes)
		fdev_fail(fdev, "the backend came back without writes that had completed");
	else if (fdev->lost && fdev->flush_failed)
		fdev_fail(fdev, "a flush failed before the backend came back");
	id->cache_changed = false;
	if (!fdev->failed)
		vhx_log(fdev_log(fdev), VHX_LOG_INFO, "%s: running%s", fdev_name(fdev),
			fdev->needs_running ? " again" : "");
	fdev->needs_running = false;
	fdev->lost = false;
	fdev->stuck = false;
	vhx_fcommands_running(fdev);
}

static void event_stopped(struct vhx_fdev *fdev)
{
	uint32_t i;

	/* By a driver that begins anew; else by us, since this backend is new. */
	if (!fdev->lost)
		vhx_fcommands_forget(fdev);
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_fqueue_interrupted(&fdev->queues[i], VHX_FQUEUE_RESET);
	reset_finish(fdev);
}

static void (*const events[])(struct vhx_fdev *fdev) = {
	[VHX_DRIVER_KNOWN] = event_known,
	[VHX_DRIVER_CONFIG] = event_config,
	[VHX_DRIVER_QUEUE_OPEN] = event_queue_open,
	[VHX_DRIVER_QUEUE_CLOSED] = event_queue_closed,
	[VHX_DRIVER_RUNNING] = event_running,
	[VHX_DRIVER_STOPPED] = event_stopped,
	[VHX_DRIVER_CONFIG_WRITTEN] = event_config_written,
};

/* A refusal of ATTACH. Before the device was ever known it is final, unless time can heal it. */
static void attach_refused(struct vhx_fdev *fdev, int error)
{
	struct vhx_loop *loop = fdev->fe->cfg.loop;

	if (error == -EBUSY && fdev->driver.id.known) {
		vhx_loop_timer_arm(loop, &fdev->retry_timer, VHX_FDEV_BUSY_NS);
		return;
	}
	if (error == -EBUSY)
		fdev_unusable(fdev, error, "the backend says it is taken");
	else if (error == -ENOTUNIQ)
		fdev_unusable(fdev, error, "the backend has several devices: name one with id=");
	else if (!fdev->driver.id.known)
		fdev_unusable(fdev, error, "the backend has no such device");
	else
		vhx_loop_timer_arm(loop, &fdev->retry_timer, VHX_FDEV_MISSING_NS);
}

/* Another try would end the same: the VMM chose the size, and it will not change before a reset. */
static void queue_refused(struct vhx_fdev *fdev)
{
	uint16_t index = fdev->driver.event_queue;

	vhx_log_limited(fdev_log(fdev), &fdev->log_limit, vhx_loop_now(fdev->fe->cfg.loop),
			VHX_LOG_ERROR,
			"%s: failed: queue %u has %u entries, more than the backend takes",
			fdev_name(fdev), index, fdev->driver.queues[index].size);
	fdev->oversize = !fdev->failed;
	fdev->failed = true;
	fdev->unusable = true;
}

static void control_response(struct vhx_fdev *fdev, const struct vhx_control *resp)
{
	enum vhx_driver_event event;
	int ret = vhx_driver_response(&fdev->driver, resp, &event);

	if (!fdev->driver.waiting)
		vhx_loop_timer_cancel(fdev->fe->cfg.loop, &fdev->control_timer);
	if (ret == -EBUSY || ret == -ENODEV || ret == -ENOTUNIQ)
		attach_refused(fdev, ret);
	else if (ret == -EDOM)
		queue_refused(fdev);
	else if (ret == -ESTALE)
		fdev_unusable(fdev, ret, "the backend came back with another device");
	else if (ret < 0)
		vhx_link_fail(&fdev->fe->link, ret);
	else if (event != VHX_DRIVER_NONE)
		events[event](fdev);
}

/* The link's ops */

static void frontend_up(struct vhx_link *l)
{
	struct vhx_frontend *fe = l->ctx;

	vhx_log(fe->cfg.log, VHX_LOG_INFO, "channel: up with %s (%s)", fe->cfg.peer,
		l->port->peer.text);
	fe->up_ns = vhx_loop_now(fe->cfg.loop);
	fe->said_waiting = false;
}

static struct vhx_fdev *fdev_by_num(struct vhx_frontend *fe, uint16_t dev_num)
{
	uint32_t i;

	for (i = 0; i < fe->device_cnt; i++) {
		if (fe->devices[i]->driver.attached && fe->devices[i]->driver.dev_num == dev_num)
			return fe->devices[i];
	}
	return NULL;
}

static void fdev_lost(struct vhx_fdev *fdev, enum vhx_fqueue_interruption why)
{
	struct vhx_loop *loop = fdev->fe->cfg.loop;
	uint32_t i;

	vhx_loop_timer_cancel(loop, &fdev->control_timer);
	vhx_loop_timer_cancel(loop, &fdev->retry_timer);
	if (fdev->driver.status & VHX_STATUS_DRIVER_OK)
		fdev->needs_running = true;
	fdev->lost |= fdev->driver.attached;
	vhx_driver_lost(&fdev->driver);
	vhx_fcommands_lost(fdev);
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_fqueue_interrupted(&fdev->queues[i], why);
	reset_finish(fdev);
}

static void bus_response(struct vhx_frontend *fe, const struct vhx_control *c)
{
	uint32_t i;

	/* Ours had no token; that it came says all. */
	if (c->msg_id == VIRTIO_MSG_BUS_PING)
		return;
	/* Tokens are per device; the driver that waits for this one knows it. */
	for (i = 0; i < fe->device_cnt; i++) {
		const struct vhx_driver *d = &fe->devices[i]->driver;

		if (d->waiting && d->request.bus && d->token == c->token) {
			control_response(fe->devices[i], c);
			return;
		}
	}
}

/* The operator took it away. What the guest waits for ends as after a death, and nothing comes back. */
static void fdev_removed(struct vhx_fdev *fdev)
{
	fdev_lost(fdev, VHX_FQUEUE_DEATH);
	fdev_unusable(fdev, -ENODEV, "removed by the backend");
}

static void bus_request(struct vhx_frontend *fe, const struct vhx_control *c)
{
	const struct virtio_msg_event_device *e = (const void *)c->payload;
	struct vhx_control resp;
	struct vhx_fdev *fdev;

	if (c->msg_id == VIRTIO_MSG_BUS_PING) {
		memcpy(vhx_control_response(&resp, c, c->payload_len), c->payload, c->payload_len);
		vhx_link_control(&fe->link, &resp);
	} else if (c->msg_id == VIRTIO_MSG_BUS_EVENT_DEVICE) {
		fdev = fdev_by_num(fe, vhx_le16_get(e->dev_num));
		if (fdev && vhx_le16_get(e->state) == VIRTIO_MSG_DEVICE_REMOVED)
			fdev_removed(fdev);
	}
}

static void frontend_control(struct vhx_link *l, const struct vhx_control *c)
{
	struct vhx_frontend *fe = l->ctx;
	struct vhx_fdev *fdev;

	if (c->bus) {
		c->response ? bus_response(fe, c) : bus_request(fe, c);
		return;
	}
	fdev = fdev_by_num(fe, c->dev_num);
	if (!fdev)
		return;
	if (c->response)
		control_response(fdev, c);
	else if (c->msg_id == VIRTIO_MSG_EVENT_CONFIG)
		vhx_driver_config_event(&fdev->driver);
}

static void frontend_data(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
			  uint32_t len)
{
	struct vhx_frontend *fe = l->ctx;
	struct vhx_fdev *fdev = fdev_by_num(fe, key->dev);
	struct vhx_driver_queue *dq;

	if (type != VHX_MSG_USED || !fdev || key->vq >= fdev->driver.id.num_queues) {
		vhx_link_fail(l, -EPROTO);
		return;
	}
	dq = &fdev->driver.queues[key->vq];
	/* Answers to a life of the queue that is over. */
	if (!dq->open || dq->recycle || dq->epoch != key->epoch ||
	    fdev->queues[key->vq].state == VHX_FQUEUE_STOPPED) {
		fdev->stats.stale++;
		return;
	}
	if (fdev->commands.telling && fdev->commands.queue == key->vq)
		vhx_fcommands_receive(fdev, l, len);
	else
		vhx_fqueue_receive(&fdev->queues[key->vq], l, len);
}

static void queues_pump(struct vhx_fdev *fdev, uint32_t from, uint32_t to)
{
	uint32_t i;

	for (i = from; i < to; i++) {
		if (fdev->queues[i].state == VHX_FQUEUE_STOPPED)
			continue;
		vhx_fqueue_flush(&fdev->queues[i]);
		vhx_fqueue_pump(&fdev->queues[i]);
	}
}

/* A driver that hears of a command through another queue finds it at its end. */
static void queues_flush(struct vhx_fdev *fdev, uint32_t from)
{
	uint32_t i;

	for (i = from; from && i < fdev->queue_cnt; i++)
		vhx_fqueue_flush(&fdev->queues[i]);
}

static bool queues_behind(const struct vhx_fdev *fdev, uint32_t cnt)
{
	uint32_t i;

	for (i = 0; i < cnt; i++) {
		if (fdev->queues[i].state != VHX_FQUEUE_STOPPED && fdev->queues[i].behind)
			return true;
	}
	return false;
}

static void fdev_pump(struct vhx_fdev *fdev)
{
	uint32_t first = (uint32_t)vhx_min_u64(fdev->type->about_others, fdev->queue_cnt);

	if (vhx_fdev_link(fdev))
		control_next(fdev);
	vhx_fcommands_pump(fdev);
	vhx_fqueue_fill(fdev);
	queues_flush(fdev, first);
	queues_pump(fdev, 0, first);
	queues_pump(fdev, first, fdev->queue_cnt);
	/* Their requests lay behind what has just been sent. */
	if (queues_behind(fdev, first))
		queues_pump(fdev, 0, first);
}

static void frontend_pass(struct vhx_frontend *fe)
{
	uint32_t i;

	for (i = 0; i < fe->device_cnt; i++)
		fdev_pump(fe->devices[(fe->next + i) % fe->device_cnt]);
	fe->next++;
}

/* Is there an answer that another pass has to fill? */
static bool frontend_filling(const struct vhx_frontend *fe)
{
	uint32_t i;

	for (i = 0; i < fe->device_cnt; i++) {
		if (!vhx_list_empty(&fe->devices[i]->held))
			return true;
	}
	return false;
}

static bool frontend_pump(struct vhx_link *l)
{
	struct vhx_frontend *fe = l->ctx;

	frontend_pass(fe);
	vhx_liveness_pass(&fe->liveness);
	return frontend_filling(fe);
}

static void retry_arm(struct vhx_frontend *fe)
{
	vhx_loop_timer_arm(fe->cfg.loop, &fe->retry, fe->retry_ns);
	fe->retry_ns = vhx_min_u64(2 * fe->retry_ns, RETRY_MAX_NS);
}

static const char *down_reason(int reason)
{
	if (reason == -EPIPE)
		return "the backend left";
	if (reason == -EPROTONOSUPPORT)
		return "the backend speaks another version of the protocol";
	return strerror(-reason);
}

/* A backend of another version will not learn ours: who has never been served has nothing to wait for. */
static void version_judge(struct vhx_fdev *fdev, int reason)
{
	if (reason == -EPROTONOSUPPORT && !fdev->driver.id.known && !fdev->unusable)
		fdev_unusable(fdev, reason, "cannot be served by a backend of another version");
}

static void frontend_down(struct vhx_link *l, int reason)
{
	struct vhx_frontend *fe = l->ctx;
	/* Slow storage makes us give a channel up; that speaks against no request. Silence does. */
	bool cut = reason == -ETIMEDOUT && !fe->liveness.gone;
	uint32_t i;

	vhx_liveness_stop(&fe->liveness);
	vhx_log_limited(fe->cfg.log, &fe->log_limit, vhx_loop_now(fe->cfg.loop), VHX_LOG_WARNING,
			"channel: down: %s", down_reason(reason));
	fe->linked = false;
	for (i = 0; i < fe->device_cnt; i++) {
		fdev_lost(fe->devices[i], cut ? VHX_FQUEUE_CUT : VHX_FQUEUE_DEATH);
		version_judge(fe->devices[i], reason);
	}
	/* A backend whose channels end as soon as they are up gets no quicker retries, nor its log lines. */
	if (fe->up_ns && vhx_loop_now(fe->cfg.loop) - fe->up_ns >= RETRY_MAX_NS)
		fe->retry_ns = RETRY_MIN_NS;
	fe->up_ns = 0;
	retry_arm(fe);
}

static bool fdev_owed(const struct vhx_fdev *fdev)
{
	uint32_t i;

	if (fdev->driver.waiting || fdev->commands.sent)
		return true;
	for (i = 0; i < fdev->queue_cnt; i++) {
		if (vhx_fqueue_in_flight(&fdev->queues[i]))
			return true;
	}
	return false;
}

static bool frontend_owed(struct vhx_liveness *lv)
{
	const struct vhx_frontend *fe = vhx_container_of(lv, struct vhx_frontend, liveness);
	uint32_t i;

	for (i = 0; i < fe->device_cnt; i++) {
		if (fdev_owed(fe->devices[i]))
			return true;
	}
	return false;
}

static const struct vhx_link_ops frontend_link_ops = {
	.up = frontend_up,
	.control = frontend_control,
	.data = frontend_data,
	.pump = frontend_pump,
	.down = frontend_down,
};

static void connect_try(struct vhx_loop_timer *t)
{
	struct vhx_frontend *fe = vhx_container_of(t, struct vhx_frontend, retry);
	struct vhx_port *port;
	int ret = fe->cfg.connect(fe->cfg.ctx, &port);

	if (!ret)
		ret = vhx_link_open(&fe->link, fe->cfg.loop, port, &frontend_link_ops, fe);
	if (!ret) {
		vhx_link_set_trace(&fe->link, fe->cfg.trace, (struct vhx_trace_point){ 0 });
		fe->linked = true;
		vhx_liveness_start(&fe->liveness, &fe->link);
		return;
	}
	if (!fe->said_waiting)
		vhx_log(fe->cfg.log, VHX_LOG_NOTICE, "channel: waiting for %s: %s", fe->cfg.peer,
			strerror(-ret));
	fe->said_waiting = true;
	retry_arm(fe);
}

/* Without a channel there is no pump; a failed device still has answers to give. */
static bool frontend_run(struct vhx_loop_hook *hook)
{
	struct vhx_frontend *fe = vhx_container_of(hook, struct vhx_frontend, hook);

	if (!fe->linked || !fe->link.up)
		frontend_pass(fe);
	return false;
}

static bool frontend_prepare(struct vhx_loop_hook *hook)
{
	struct vhx_frontend *fe = vhx_container_of(hook, struct vhx_frontend, hook);
	bool work = false;
	uint32_t i, j;

	for (i = 0; i < fe->device_cnt; i++) {
		for (j = 0; j < fe->devices[i]->queue_cnt; j++)
			work |= vhx_fqueue_arm(&fe->devices[i]->queues[j]);
	}
	return work;
}

int vhx_frontend_new(const struct vhx_frontend_config *cfg, struct vhx_frontend **out)
{
	struct vhx_frontend *fe = calloc(1, sizeof(*fe));

	if (!fe)
		return -ENOMEM;
	fe->cfg = *cfg;
	fe->retry_ns = RETRY_MIN_NS;
	fe->retry.expired = connect_try;
	vhx_list_init(&fe->retry.node);
	vhx_liveness_init(&fe->liveness, frontend_owed);
	fe->hook = (struct vhx_loop_hook){ .run = frontend_run, .prepare = frontend_prepare };
	vhx_list_init(&fe->hook.node);
	vhx_loop_hook_add(cfg->loop, &fe->hook);
	*out = fe;
	return 0;
}

void vhx_frontend_start(struct vhx_frontend *fe)
{
	connect_try(&fe->retry);
}

static void fdev_free(struct vhx_fdev *fdev)
{
	struct vhx_loop *loop = fdev->fe->cfg.loop;
	uint32_t i;

	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_fqueue_kill(&fdev->queues[i]);
	vhx_fcommands_forget(fdev);
	vhx_loop_timer_cancel(loop, &fdev->control_timer);
	vhx_loop_timer_cancel(loop, &fdev->retry_timer);
	vhx_loop_timer_cancel(loop, &fdev->reset_timer);
	free(fdev);
}

void vhx_frontend_free(struct vhx_frontend *fe)
{
	uint32_t i;

	if (!fe)
		return;
	vhx_liveness_stop(&fe->liveness);
	if (fe->linked)
		vhx_link_close(&fe->link);
	for (i = 0; i < fe->device_cnt; i++)
		fdev_free(fe->devices[i]);
	vhx_loop_timer_cancel(fe->cfg.loop, &fe->retry);
	vhx_loop_hook_del(fe->cfg.loop, &fe->hook);
	free(fe);
}

int vhx_fdev_new(struct vhx_frontend *fe, const char *name, const struct vhx_fdev_ops *ops,
		 void *ctx, struct vhx_fdev **out)
{
	struct vhx_fdev *fdev;
	uint32_t i;

	if (strlen(name) >= VHX_NAME_LEN)
		return -ENAMETOOLONG;
	if (fe->device_cnt == VHX_FRONTEND_DEVICES_MAX)
		return -ENOSPC;
	fdev = calloc(1, sizeof(*fdev));
	if (!fdev)
		return -ENOMEM;
	fdev->fe = fe;
	fdev->ops = ops;
	fdev->ctx = ctx;
	fdev->type = vhx_devtype_find(0);
	vhx_driver_init(&fdev->driver, name);
	/* Tokens tell the devices of a channel apart while they have no numbers yet. */
	fdev->driver.token = (uint16_t)(fe->device_cnt << 10);
	fdev->control_timer.expired = control_expired;
	fdev->retry_timer.expired = retry_expired;
	fdev->reset_timer.expired = reset_expired;
	vhx_list_init(&fdev->held);
	fdev->fill_left = VHX_FDEV_FILL_BYTES;
	vhx_list_init(&fdev->control_timer.node);
	vhx_list_init(&fdev->retry_timer.node);
	vhx_list_init(&fdev->reset_timer.node);
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_fqueue_init(&fdev->queues[i], fdev, (uint16_t)i);
	vhx_fcommands_init(fdev);
	fe->devices[fe->device_cnt++] = fdev;
	*out = fdev;
	return 0;
}

const struct vhx_driver_identity *vhx_fdev_identity(const struct vhx_fdev *fdev)
{
	return &fdev->driver.id;
}

bool vhx_fdev_known(const struct vhx_fdev *fdev)
{
	return fdev->driver.id.known;
}

int vhx_fdev_set_features(struct vhx_fdev *fdev, uint64_t features)
{
	features = (features & ~VHX_FEATURES_RING) | VHX_FEATURES_CROSSING;
	if (features & ~(fdev->driver.id.features | VHX_FEATURES_CROSSING))
		return -EINVAL;
	fdev->driver.features = features;
	return 0;
}

int vhx_fdev_write_config(struct vhx_fdev *fdev, uint32_t off, const void *buf, uint32_t len)
{
	struct vhx_driver *d = &fdev->driver;

	if (!len || !vhx_range_within(off, len, d->id.config_len) || len > VHX_CONTROL_CONFIG_MAX)
		return -EINVAL;
	return vhx_driver_write_config(d, off, buf, len);
}

static void oversize_forget(struct vhx_fdev *fdev)
{
	if (!fdev->oversize)
		return;
	fdev->oversize = false;
	fdev->failed = false;
	fdev->unusable = false;
}

int vhx_fdev_reset(struct vhx_fdev *fdev)
{
	uint32_t i;

	oversize_forget(fdev);
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_fqueue_kill(&fdev->queues[i]);
	vhx_fcommands_forget(fdev);
	fdev->driver.active = false;
	if (!vhx_fdev_link(fdev) || !fdev->driver.status || fdev->unusable)
		return 0;
	vhx_loop_timer_arm(fdev->fe->cfg.loop, &fdev->reset_timer, VHX_FDEV_RESET_NS);
	/* Due also if a queue starts again before it could be sent. */
	fdev->driver.reset_done = false;
	fdev->reset_waits = true;
	return -EINPROGRESS;
}

void vhx_fdev_abandon(struct vhx_fdev *fdev)
{
	vhx_fdev_reset(fdev);
	vhx_driver_forget_writes(&fdev->driver);
	fdev->reset_waits = false;
}

const struct vhx_fdev_stats *vhx_fdev_stats(const struct vhx_fdev *fdev)
{
	return &fdev->stats;
}

const char *vhx_fdev_state(const struct vhx_fdev *fdev)
{
	if (fdev->failed)
		return "failed";
	if (!fdev->driver.attached)
		return "waiting";
	if (fdev->driver.status & VHX_STATUS_DRIVER_OK)
		return "running";
	return fdev->driver.active ? "negotiating" : "attached";
}

const struct vhx_port *vhx_frontend_port(const struct vhx_frontend *fe)
{
	return fe->linked ? fe->link.port : NULL;
}

const char *vhx_frontend_state(const struct vhx_frontend *fe)
{
	if (!fe->linked)
		return "waiting";
	return fe->link.up ? "established" : "connecting";
}

uint64_t vhx_frontend_credits_sent(const struct vhx_frontend *fe)
{
	return fe->linked ? fe->link.stats.credits_sent : 0;
}

uint64_t vhx_frontend_memory(const struct vhx_frontend *fe)
{
	uint64_t memory = sizeof(*fe) + (fe->linked ? vhx_link_memory(&fe->link) : 0);
	uint32_t i;

	for (i = 0; i < fe->device_cnt; i++)
		memory += sizeof(*fe->devices[i]) + fe->devices[i]->memory;
	return memory;
}
