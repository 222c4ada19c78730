// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Some types have a queue for commands that set state: of net which frames it wants and how many queues it uses. The state
 * dies with a backend, and no driver says its commands twice. So the frontend remembers of each thing that can be
 * set (core/devtype.c says what a command sets) the last command that the device did, and tells the next backend.
 *
 *   IDLE -- a backend begins to run, and there are commands --> TELLING -- the last one is answered --> IDLE
 *     ^------------ its channel or queue ends, the driver resets the device ---------'
 *
 * Remembering. A command counts when its answer says OK. So a queue of this kind has one request under way at a
 * time, whose bytes are read from the driver once, into `bytes`, and sent from there. One that is too long to
 * be remembered takes what it replaces along: nobody is told what does not hold any more.
 *
 * Telling. Before anything else, while all queues of the device stand still, so that no packet comes by a filter that
 * is not there yet. The driver's requests cannot interfere: of a queue that has just been opened the backend has none,
 * so any id is free. There is a flight table of one slot for it, and an answer of one byte.
 *
 * Hostile backend. Its answers are checked as all others are. If it refuses a command, the log says so and the next one
 * follows: what it says of itself can be wrong in other ways as well. One that does not answer is given up
 * (VHX_FDEV_CONTROL_NS), and after three in a row that died or fell silent nobody is told any more.
 *
 * Hostile driver. What it can make us keep is bounded (VHX_FCOMMANDS_MAX, VHX_FCOMMAND_BYTES_MAX).
 */
#include "frontend/commands.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/fdev.h"

/* What every command ends with: VirtIO 5.1.6.5. */
#define COMMAND_ANSWER_LEN 1u
#define COMMAND_OK 0

static void telling_end(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;

	vhx_loop_timer_cancel(vhx_fdev_loop(fdev), &c->timer);
	if (c->sent)
		vhx_flight_end(&c->flight, 0);
	c->telling = false;
	c->sent = false;
}

static void answer_expired(struct vhx_loop_timer *t)
{
	struct vhx_fcommands *c = vhx_container_of(t, struct vhx_fcommands, timer);
	struct vhx_link *l = vhx_fdev_link(vhx_container_of(c, struct vhx_fdev, commands));

	if (l)
		vhx_link_fail(l, -ETIMEDOUT);
}

void vhx_fcommands_init(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;

	vhx_list_init(&c->timer.node);
	c->timer.expired = answer_expired;
}

/* Remembering */

static void kept_drop(struct vhx_fdev *fdev, uint32_t at)
{
	struct vhx_fcommands *c = &fdev->commands;

	fdev->memory -= c->kept[at].len;
	free(c->kept[at].bytes);
	c->cnt--;
	memmove(&c->kept[at], &c->kept[at + 1], (c->cnt - at) * sizeof(c->kept[0]));
}

void vhx_fcommands_forget(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;

	telling_end(fdev);
	while (c->cnt)
		kept_drop(fdev, c->cnt - 1);
	c->pending = false;
	c->due = false;
	c->deaths = 0;
}

static void kept_forget(struct vhx_fdev *fdev, uint32_t what)
{
	uint32_t i;

	for (i = 0; i < fdev->commands.cnt; i++) {
		if (fdev->commands.kept[i].what == what) {
			kept_drop(fdev, i);
			return;
		}
	}
}

/* The newest is the last: some of them are about what an earlier one has set. */
static bool kept_add(struct vhx_fdev *fdev, uint32_t what)
{
	struct vhx_fcommands *c = &fdev->commands;
	struct vhx_fcommand *k = &c->kept[c->cnt];

	if (c->cnt == VHX_FCOMMANDS_MAX)
		return false;
	k->bytes = malloc(c->len);
	if (!k->bytes)
		return false;
	memcpy(k->bytes, c->bytes, c->len);
	k->what = what;
	k->len = c->len;
	fdev->memory += c->len;
	c->cnt++;
	return true;
}

static bool queue_commands(const struct vhx_fdev *fdev, uint16_t index)
{
	const struct vhx_driver *d = &fdev->driver;

	return fdev->type->commands && fdev->type->commands(d->features, index, d->id.num_queues);
}

bool vhx_fcommands_busy(const struct vhx_fqueue *q)
{
	return q->fdev->commands.pending && queue_commands(q->fdev, q->index);
}

void vhx_fcommands_begin(struct vhx_fqueue *q, uint16_t id)
{
	struct vhx_fcommands *c = &q->fdev->commands;

	if (vhx_likely(!q->fdev->type->commands) || !queue_commands(q->fdev, q->index) ||
	    !q->current.out_len)
		return;
	c->pending = true;
	c->id = id;
	c->len = vhx_frequest_gather(&q->current, 0, c->bytes, sizeof(c->bytes));
	c->whole = c->len == q->current.out_len;
	/* What was judged is what is sent, and what is kept. */
	memcpy(c->bytes, q->peek, vhx_min_u64(c->len, q->peek_len));
}

const uint8_t *vhx_fcommands_bytes(const struct vhx_fqueue *q, uint16_t id, uint32_t *len)
{
	const struct vhx_fcommands *c = &q->fdev->commands;

	if (!vhx_fcommands_busy(q) || c->id != id)
		return NULL;
	*len = c->len;
	return c->bytes;
}

void vhx_fcommands_end(struct vhx_fqueue *q, uint16_t id, bool ok)
{
	struct vhx_fcommands *c = &q->fdev->commands;
	struct vhx_devtype_command what;

	if (!vhx_fcommands_busy(q) || c->id != id)
		return;
	c->pending = false;
	if (!ok || !q->fdev->type->command(c->bytes, c->len, &what))
		return;
	kept_forget(q->fdev, what.what);
	if (what.clears || (c->whole && kept_add(q->fdev, what.what)))
		return;
	vhx_fdev_warn(q->fdev,
		      "a command is too long or one too many: no other backend is told of it");
}

/* Telling */

static void telling_begin(struct vhx_fdev *fdev, uint16_t index)
{
	const struct vhx_vdev_limits *limits = &fdev->driver.queues[index].limits;
	struct vhx_fcommands *c = &fdev->commands;

	c->telling = true;
	c->queue = index;
	c->at = 0;
	c->refused = 0;
	vhx_flight_init(&c->flight, &c->slot, 1);
	vhx_flight_limits(&c->flight, limits->window, limits->head_len);
}

/* Without its queue nobody can be told; it may come later. */
void vhx_fcommands_running(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;
	uint16_t i;

	if (!c->due || !c->cnt || c->telling || fdev->failed)
		return;
	for (i = 0; i < fdev->queue_cnt; i++) {
		if (queue_commands(fdev, i) && fdev->queues[i].state == VHX_FQUEUE_RUNNING &&
		    vhx_driver_queue_live(&fdev->driver, i)) {
			telling_begin(fdev, i);
			return;
		}
	}
}

static void telling_done(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;

	if (c->refused)
		vhx_fdev_warn(fdev, "the backend refuses what another one has done for the driver");
	telling_end(fdev);
	c->due = false;
	c->deaths = 0;
}

/* 0; -EAGAIN; -EMSGSIZE: never. */
static int command_send(struct vhx_fdev *fdev, struct vhx_link *l, const struct vhx_fcommand *k)
{
	const struct vhx_driver_queue *dq = &fdev->driver.queues[fdev->commands.queue];
	struct vhx_queue_key key = { fdev->driver.dev_num, fdev->commands.queue, dq->epoch };
	struct vhx_avail a = { .flags = VHX_AVAIL_FIRST,
			       .out_len = k->len,
			       .in_len = COMMAND_ANSWER_LEN,
			       .chunk_len = k->len };
	struct vhx_fcommands *c = &fdev->commands;
	struct vhx_link_place place;
	int ret;

	if (k->len > dq->limits.max_out || k->len > vhx_link_chunk_max(l))
		return -EMSGSIZE;
	ret = vhx_link_record(l, VHX_MSG_AVAIL, &key, &c->turn, k->len, &place);
	if (ret)
		return ret;
	vhx_avail_encode(place.record, &a);
	memcpy(place.chunk, k->bytes, k->len);
	vhx_link_record_end(l, k->len);
	return 0;
}

static void command_sent(struct vhx_fdev *fdev, uint32_t len)
{
	struct vhx_fcommands *c = &fdev->commands;
	int ret = vhx_flight_begin(&c->flight, 0, len, COMMAND_ANSWER_LEN);

	assert(!ret);
	(void)ret;
	/* A queue's window covers its largest request, and has nothing else in it. */
	vhx_flight_window_take(&c->flight, 0, vhx_flight_cost(&c->flight, len));
	c->slot.begun = true;
	c->slot.sent = len;
	c->answer = !COMMAND_OK;
	c->sent = true;
	fdev->stats.replays++;
	vhx_loop_timer_arm(vhx_fdev_loop(fdev), &c->timer, VHX_FDEV_CONTROL_NS);
}

void vhx_fcommands_pump(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;
	struct vhx_link *l = vhx_fdev_link(fdev);
	int ret;

	while (l && c->telling && !c->sent && c->at < c->cnt) {
		ret = command_send(fdev, l, &c->kept[c->at]);
		if (!ret) {
			command_sent(fdev, c->kept[c->at].len);
			return;
		}
		if (ret != -EMSGSIZE)
			return;
		c->refused++;
		c->at++;
	}
	if (c->telling && !c->sent && c->at == c->cnt)
		telling_done(fdev);
}

static int record_receive(void *ctx, struct vhx_link *l, const struct vhx_used *u, uint32_t msg_off)
{
	struct vhx_fdev *fdev = ctx;
	struct vhx_fcommands *c = &fdev->commands;

	if (!c->sent || (u->flags & VHX_USED_GROUP) || vhx_flight_used(&c->flight, u))
		return -EPROTO;
	if (u->chunk_len)
		vhx_link_read(l, msg_off, &c->answer, COMMAND_ANSWER_LEN);
	if (!(u->flags & VHX_USED_COMPLETE))
		return 0;
	vhx_loop_timer_cancel(vhx_fdev_loop(fdev), &c->timer);
	vhx_flight_end(&c->flight, 0);
	c->sent = false;
	c->refused += c->answer != COMMAND_OK;
	c->at++;
	return 0;
}

void vhx_fcommands_receive(struct vhx_fdev *fdev, struct vhx_link *l, uint32_t len)
{
	vhx_fused_walk(l, len, record_receive, fdev);
}

void vhx_fcommands_lost(struct vhx_fdev *fdev)
{
	struct vhx_fcommands *c = &fdev->commands;

	if (c->sent && ++c->deaths == VHX_FLIGHT_DEATHS_MAX) {
		vhx_fdev_warn(fdev,
			      "backends die of what the driver has set: the next one is not told");
		vhx_fcommands_forget(fdev);
	}
	telling_end(fdev);
	c->due = true;
}

void vhx_fcommands_queue_gone(struct vhx_fqueue *q)
{
	struct vhx_fcommands *c = &q->fdev->commands;

	if (vhx_fcommands_busy(q))
		c->pending = false;
	if (c->telling && c->queue == q->index)
		telling_end(q->fdev);
}
