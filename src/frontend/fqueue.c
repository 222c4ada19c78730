// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A queue pulls requests from its source and pushes answers back. core's flight table knows what is in
 * flight, in order; here are the bytes.
 *
 *   STOPPED -> RUNNING -> DRAINING -> STOPPED
 *                            |  (time is up)
 *                            +-> FENCING -> STOPPED
 *
 * Sending. `cursor` separates flight.order into what was sent whole and what was not. It rests on the list's
 * head until next() yields a request, which is appended and sent; if credit or the window ends in the
 * middle, the cursor stays, and the next pass goes on. After the backend's death everything is unsent
 * again: the cursor goes back to the first entry, and again() walks each chain afresh. Replay is not a
 * mode, only a cursor that has gone back.
 *
 * Out bytes are copied from guest memory straight into the outgoing message, once; the first few, by which
 * the request's kind is told, are copied to `peek` and sent from there, so that what was judged is what is
 * sent. In bytes go from the message straight into the guest's buffer, after flight has checked where they
 * belong; what a hostile backend writes after the check can change their values, never their place.
 *
 * Requests that are about other queues' (devtype.h: about_others; scsi has them) come behind all that the driver
 * made available before them, on whatever queue. When the cursor stands on one, each other queue has up to as many
 * requests `ahead` of it as it has entries; it goes when each of them has sent so many, or all there were. Else the backend
 * would say that a command is over which it only gets afterwards, and the driver would have given its memory
 * to something else by then.
 *
 * Completions of one pass become visible at once (ops->flush), GROUPed ones never apart: they stay in flight until the
 * last one came, and are asked again like any other if it never does.
 *
 * Drivers of some types do not go by the length of an answer, so that what a backend leaves out of it becomes zero. That
 * can be 4 GiB of a guest that names one buffer many times, again and again: a pass writes VHX_FDEV_FILL_BYTES of them
 * per device. An answer that needs more is held, and all later ones of the device behind it, so that completions keep
 * the order of the answers; the passes that follow go on where the last one ended. What is held is in flight to all
 * others: a death or a reset finds it not answered, and a stop waits for it.
 *
 * A queue that stops with something in flight that nobody answers in time gives it back to the source, if that can
 * take it: whoever goes on with the ring, we or another frontend, does it as we would for a replaced backend. So a
 * virtual machine may be paused, saved or migrated while its backend is away. It cannot take what a younger request of
 * the same ring has overtaken, since a ring's position is one number; and what may not be done twice is not given back.
 * These end with errors.
 *
 * Posted requests, those without out bytes, lie with the backend until it has something to say, which can be
 * for ever. They have told it nothing, so nothing is lost by asking again: they go to a replaced backend whatever the
 * type of the device, and a queue that stops does not wait for them. It goes to FENCING as soon as there is nothing
 * else, and what comes back unanswered is given back.
 */
#include <stdlib.h>
#include <string.h>

#include "frontend/fdev.h"

void vhx_fqueue_init(struct vhx_fqueue *q, struct vhx_fdev *fdev, uint16_t index)
{
	*q = (struct vhx_fqueue){ .fdev = fdev, .index = index };
	vhx_list_init(&q->timer.node);
}

static struct vhx_driver_queue *driver_queue(struct vhx_fqueue *q)
{
	return &q->fdev->driver.queues[q->index];
}

static struct vhx_flight_slot *cursor_slot(const struct vhx_fqueue *q)
{
	return vhx_list_entry(q->cursor, struct vhx_flight_slot, node);
}

static bool cursor_at_end(const struct vhx_fqueue *q)
{
	return q->cursor == &q->flight.order;
}

static void cursor_set(struct vhx_fqueue *q, struct vhx_list *to)
{
	q->cursor = to;
	q->have_current = false;
	q->behind = false;
}

static void cursor_advance(struct vhx_fqueue *q)
{
	cursor_set(q, q->cursor->next);
	q->ahead -= q->ahead != 0;
}

/* Completion */

static void request_finish(struct vhx_fqueue *q, uint16_t id, uint32_t used_len)
{
	vhx_flight_end(&q->flight, id);
	vhx_fcommands_end(q, id, false);
	q->fdev->stats.completed++;
	q->ops->complete(q->ctx, id, used_len);
	q->used_due = true;
}

/* Where bytes for the guest come from: private memory, the message that is being taken, or nowhere. */
struct in_source {
	const uint8_t *bytes; /* NULL: the link's message */
	struct vhx_link *link; /* NULL as well: zeroes */
	uint32_t msg_off;
};

static void in_source_read(struct in_source *src, uint8_t *to, uint32_t len)
{
	if (src->bytes) {
		memcpy(to, src->bytes, len);
		src->bytes += len;
		return;
	}
	if (!src->link) {
		memset(to, 0, len);
		return;
	}
	vhx_link_read(src->link, src->msg_off, to, len);
	src->msg_off += len;
}

/* Moves @len bytes to @off of a request's device-writable bytes. */
static void in_copy(struct vhx_fqueue *q, const struct vhx_fbuffer *b, uint32_t off,
		    struct in_source *src, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < b->in_cnt && len; i++) {
		uint32_t n;
		uint8_t *to;

		if (off >= b->in[i].iov_len) {
			off -= (uint32_t)b->in[i].iov_len;
			continue;
		}
		n = (uint32_t)vhx_min_u64(len, b->in[i].iov_len - off);
		to = (uint8_t *)b->in[i].iov_base + off;
		in_source_read(src, to, n);
		if (q->ops->written)
			q->ops->written(q->ctx, to, n);
		len -= n;
		off = 0;
	}
}

static void in_write(struct vhx_fqueue *q, const struct vhx_fbuffer *b, uint32_t off,
		     const void *bytes, uint32_t len)
{
	struct in_source src = { .bytes = bytes };

	in_copy(q, b, off, &src, len);
}

static void in_receive(struct vhx_fqueue *q, const struct vhx_fbuffer *b, uint32_t off,
		       struct vhx_link *l, uint32_t msg_off, uint32_t len)
{
	struct in_source src = { .link = l, .msg_off = msg_off };

	in_copy(q, b, off, &src, len);
}

/* The answer that a request's type has when nobody else has one. Returns its used_len. */
static uint32_t ending_write(struct vhx_fqueue *q, uint16_t id)
{
	const struct vhx_flight_slot *s = &q->slots[id];
	const struct vhx_fbuffer *b = &q->buffers[id];
	struct vhx_devtype_request r = {
		.queue = q->index,
		.queues = q->fdev->driver.id.num_queues,
		.out_len = s->out_len,
		.in_len = s->in_len,
		.peek = b->peek,
		.peek_len = b->peek_len,
	};
	struct vhx_devtype_ending e;

	vhx_devtype_end(q->fdev->type, &r, &e);
	if (e.len)
		in_write(q, b, e.off, e.bytes, e.len);
	return e.used_len;
}

/* In bytes that did not come, of a driver that does not go by the length of an answer */

/* Zeroes from *@off on, up to @end, as far as the pass has some left. True: all of them. */
static bool in_zero(struct vhx_fqueue *q, const struct vhx_fbuffer *b, uint32_t *off, uint32_t end)
{
	uint32_t n = (uint32_t)vhx_min_u64(end - *off, q->fdev->fill_left);
	struct in_source zeroes = { 0 };

	in_copy(q, b, *off, &zeroes, n);
	q->fdev->fill_left -= n;
	*off += n;
	return *off == end;
}

/* All that did not come of an answer which is over. False: not in this pass. */
static bool in_fill(struct vhx_fqueue *q, uint16_t id)
{
	struct vhx_fbuffer *b = &q->buffers[id];

	if (!q->fdev->type->fill || b->spoilt)
		return true;
	return in_zero(q, b, &b->gap_off, b->gap_end) &&
	       in_zero(q, b, &b->in_next, q->slots[id].in_len);
}

/* A chunk begins at @end. One gap can be put off; a backend that leaves more of them large has no answer. */
static void gap_fill(struct vhx_fqueue *q, struct vhx_fbuffer *b, uint32_t end)
{
	uint32_t len = end - b->in_next;
	struct in_source zeroes = { 0 };

	if (len <= VHX_FQUEUE_GAP_SMALL) {
		in_copy(q, b, b->in_next, &zeroes, len);
	} else if (len <= q->fdev->fill_left) {
		in_zero(q, b, &b->in_next, end);
	} else if (b->gap_off == b->gap_end) {
		b->gap_off = b->in_next;
		b->gap_end = end;
	} else {
		b->spoilt = true;
	}
}

/* A request that no backend will answer: the type's table says how it ends. */
static void request_fail(struct vhx_fqueue *q, uint16_t id)
{
	uint32_t used_len = ending_write(q, id);

	q->fdev->stats.errors++;
	request_finish(q, id, used_len);
}

static void held_forget(struct vhx_fqueue *q)
{
	struct vhx_list *pos;

	vhx_list_for_each (pos, &q->flight.order) {
		struct vhx_flight_slot *s = vhx_list_entry(pos, struct vhx_flight_slot, node);
		struct vhx_fbuffer *b = &q->buffers[vhx_flight_id(&q->flight, s)];

		if (b->held)
			vhx_list_del(&b->held_node);
		b->held = false;
	}
}

/* Nobody will end a group, or is there for what is held. What was answered so is in flight, as if it was not. */
static void answers_forget(struct vhx_fqueue *q)
{
	uint16_t id = q->group_first;

	held_forget(q);
	for (; q->group_cnt; q->group_cnt--) {
		q->buffers[id].grouped = false;
		id = q->buffers[id].group_next;
	}
}

void vhx_fqueue_fail_all(struct vhx_fqueue *q)
{
	struct vhx_flight_slot *s;

	if (q->state == VHX_FQUEUE_STOPPED)
		return;
	answers_forget(q);
	cursor_set(q, &q->flight.order);
	while (!vhx_list_empty(&q->flight.order)) {
		s = vhx_list_first_entry(&q->flight.order, struct vhx_flight_slot, node);
		request_fail(q, vhx_flight_id(&q->flight, s));
	}
	vhx_fqueue_flush(q);
}

/* What told the backend something, and will not be asked again. */
static void asked_fail(struct vhx_fqueue *q)
{
	struct vhx_list *pos, *tmp;

	vhx_list_for_each_safe (pos, tmp, &q->flight.order) {
		struct vhx_flight_slot *s = vhx_list_entry(pos, struct vhx_flight_slot, node);

		if (s->out_len)
			request_fail(q, vhx_flight_id(&q->flight, s));
	}
	vhx_fqueue_flush(q);
}

static bool all_posted(const struct vhx_fqueue *q)
{
	struct vhx_list *pos;

	vhx_list_for_each (pos, &q->flight.order) {
		if (vhx_list_entry(pos, struct vhx_flight_slot, node)->out_len)
			return false;
	}
	return true;
}

/* Whoever asks for it again does no more than we do after the death of a backend. */
static bool rest_give_back(struct vhx_fqueue *q)
{
	if (!q->flight.count || !q->ops->give_back || q->fdev->failed)
		return false;
	if (!vhx_devtype_replays(q->fdev->type, q->index) && !all_posted(q))
		return false;
	return q->ops->give_back(q->ctx);
}

/* The end of a queue whose backend can do nothing more for it. */
static void rest_end(struct vhx_fqueue *q)
{
	struct vhx_flight_slot *s;

	answers_forget(q);
	vhx_fqueue_flush(q);
	if (!rest_give_back(q)) {
		vhx_fqueue_fail_all(q);
		return;
	}
	cursor_set(q, &q->flight.order);
	while (!vhx_list_empty(&q->flight.order)) {
		s = vhx_list_first_entry(&q->flight.order, struct vhx_flight_slot, node);
		vhx_flight_end(&q->flight, vhx_flight_id(&q->flight, s));
	}
	vhx_fqueue_flush(q);
}

void vhx_fqueue_flush(struct vhx_fqueue *q)
{
	if (q->state == VHX_FQUEUE_STOPPED || !q->used_due)
		return;
	q->used_due = false;
	q->ops->flush(q->ctx);
}

/* What requests that are about other queues have to let pass */

static bool queue_about_others(const struct vhx_fqueue *q)
{
	return q->index < q->fdev->type->about_others;
}

static bool queue_sends(const struct vhx_fqueue *q)
{
	return (q->state == VHX_FQUEUE_RUNNING || q->state == VHX_FQUEUE_DRAINING) && !q->broken;
}

/* A chain takes an entry at least, so no queue can have more of them that are older. */
static void ahead_count(struct vhx_fqueue *q)
{
	struct vhx_fdev *fdev = q->fdev;
	uint16_t i;

	q->behind = true;
	for (i = fdev->type->about_others; i < fdev->queue_cnt; i++) {
		struct vhx_fqueue *other = &fdev->queues[i];

		other->ahead = other->size;
		other->kicked = true;
	}
}

/* May the cursor's request go, as far as other queues are concerned? */
static bool others_passed(struct vhx_fqueue *q)
{
	const struct vhx_fdev *fdev = q->fdev;
	uint16_t i;

	if (!queue_about_others(q) || cursor_slot(q)->begun)
		return true;
	if (!q->behind)
		ahead_count(q);
	for (i = fdev->type->about_others; i < fdev->queue_cnt; i++) {
		if (fdev->queues[i].ahead && queue_sends(&fdev->queues[i]))
			return false;
	}
	return true;
}

/* Start and stop */

int vhx_fqueue_start(struct vhx_fdev *fdev, uint16_t index, uint16_t size,
		     const struct vhx_fsource_ops *ops, void *ctx, struct vhx_fqueue **out)
{
	struct vhx_driver_queue *dq;
	struct vhx_fqueue *q;

	if (index >= VHX_VDEV_QUEUES_MAX || !size ||
	    (fdev->driver.id.known && index >= fdev->driver.id.num_queues))
		return -EINVAL;
	q = &fdev->queues[index];
	if (q->state != VHX_FQUEUE_STOPPED)
		return -EBUSY;
	q->slots = calloc(size, sizeof(*q->slots));
	q->buffers = calloc(size, sizeof(*q->buffers));
	if (!q->slots || !q->buffers) {
		free(q->slots);
		free(q->buffers);
		return -ENOMEM;
	}
	vhx_flight_init(&q->flight, q->slots, size);
	fdev->memory += size * (sizeof(*q->slots) + sizeof(*q->buffers));
	fdev->queue_cnt = (uint16_t)vhx_max_u64(fdev->queue_cnt, index + 1u);
	q->size = size;
	q->ops = ops;
	q->ctx = ctx;
	cursor_set(q, &q->flight.order);
	q->kicked = true;
	q->armed = false;
	q->broken = false;
	q->used_due = false;
	q->ahead = 0;
	q->group_cnt = 0;
	q->state = VHX_FQUEUE_RUNNING;
	dq = driver_queue(q);
	dq->wanted = true;
	dq->size = size;
	/* Still open from before: its epoch is over, whatever is on its way. */
	dq->recycle = dq->open;
	fdev->driver.active = true;
	*out = q;
	return 0;
}

static void queue_release(struct vhx_fqueue *q)
{
	vhx_loop_timer_cancel(vhx_fdev_loop(q->fdev), &q->timer);
	vhx_fcommands_queue_gone(q);
	held_forget(q);
	q->fdev->memory -= q->size * (sizeof(*q->slots) + sizeof(*q->buffers));
	free(q->slots);
	free(q->buffers);
	q->slots = NULL;
	q->buffers = NULL;
	driver_queue(q)->wanted = false;
	q->state = VHX_FQUEUE_STOPPED;
}

static void queue_stopped(struct vhx_fqueue *q)
{
	rest_end(q);
	queue_release(q);
	q->fdev->ops->queue_stopped(q->fdev->ctx, q->index);
}

/* Is there anybody to fence off? Then closed, lost or timeout follows. */
static bool queue_fence(struct vhx_fqueue *q)
{
	if (!vhx_fdev_link(q->fdev) || !driver_queue(q)->open)
		return false;
	driver_queue(q)->wanted = false;
	q->state = VHX_FQUEUE_FENCING;
	vhx_loop_timer_arm(vhx_fdev_loop(q->fdev), &q->timer, VHX_FQUEUE_DRAIN_NS);
	return true;
}

static void queue_timeout(struct vhx_loop_timer *t)
{
	struct vhx_fqueue *q = vhx_container_of(t, struct vhx_fqueue, timer);
	struct vhx_link *l = vhx_fdev_link(q->fdev);

	if (q->state == VHX_FQUEUE_DRAINING && queue_fence(q))
		return;
	/* It does not even answer a reset: cut it off. Without a channel it can reach nobody. */
	q->fdev->stuck = true;
	if (l)
		vhx_link_fail(l, -ETIMEDOUT);
	queue_stopped(q);
}

int vhx_fqueue_stop(struct vhx_fqueue *q)
{
	assert(q->state == VHX_FQUEUE_RUNNING);
	if (!q->flight.count) {
		vhx_fqueue_flush(q);
		queue_release(q);
		return 0;
	}
	q->timer.expired = queue_timeout;
	if (all_posted(q) && queue_fence(q))
		return -EINPROGRESS;
	/* Queues are stopped one after another: only the first one waits for a backend that is not there. */
	if (all_posted(q) || (q->fdev->stuck && !driver_queue(q)->open)) {
		rest_end(q);
		queue_release(q);
		return 0;
	}
	q->state = VHX_FQUEUE_DRAINING;
	vhx_loop_timer_arm(vhx_fdev_loop(q->fdev), &q->timer, VHX_FQUEUE_DRAIN_NS);
	return -EINPROGRESS;
}

void vhx_fqueue_kill(struct vhx_fqueue *q)
{
	if (q->state != VHX_FQUEUE_STOPPED)
		queue_release(q);
}

void vhx_fqueue_kick(struct vhx_fqueue *q)
{
	q->kicked = true;
}

uint32_t vhx_fqueue_in_flight(const struct vhx_fqueue *q)
{
	return q->state == VHX_FQUEUE_STOPPED ? 0 : q->flight.count;
}

void vhx_fqueue_opened(struct vhx_fqueue *q)
{
	const struct vhx_vdev_limits *l = &driver_queue(q)->limits;

	if (q->state != VHX_FQUEUE_STOPPED)
		vhx_flight_limits(&q->flight, l->window, l->head_len);
}

void vhx_fqueue_interrupted(struct vhx_fqueue *q, enum vhx_fqueue_interruption why)
{
	bool replays = vhx_devtype_replays(q->fdev->type, q->index);

	if (q->state == VHX_FQUEUE_STOPPED)
		return;
	answers_forget(q);
	vhx_fcommands_queue_gone(q);
	if (q->state == VHX_FQUEUE_FENCING) {
		queue_stopped(q);
		return;
	}
	if (!replays && why != VHX_FQUEUE_RESET)
		asked_fail(q);
	/* That a posted one kills backends, nobody need believe where only those are left. */
	vhx_flight_rewind(&q->flight, why == VHX_FQUEUE_DEATH && replays);
	cursor_set(q, q->flight.order.next);
	if (q->state == VHX_FQUEUE_DRAINING && all_posted(q))
		queue_stopped(q);
}

void vhx_fqueue_closed(struct vhx_fqueue *q)
{
	if (q->state == VHX_FQUEUE_FENCING)
		queue_stopped(q);
}

int vhx_fqueue_refetch(struct vhx_fqueue *q)
{
	struct vhx_list *pos;
	struct vhx_frequest req;
	int ret;

	if (q->state == VHX_FQUEUE_STOPPED)
		return 0;
	q->have_current = false;
	vhx_list_for_each (pos, &q->flight.order) {
		struct vhx_flight_slot *s = vhx_list_entry(pos, struct vhx_flight_slot, node);
		uint16_t id = vhx_flight_id(&q->flight, s);

		ret = q->ops->again(q->ctx, id, &req);
		if (!ret && req.in_len != s->in_len)
			ret = -EINVAL;
		if (ret)
			return ret;
		q->buffers[id].in = req.in;
		q->buffers[id].in_cnt = req.in_cnt;
	}
	return 0;
}

/* Sending */

uint32_t vhx_frequest_gather(const struct vhx_frequest *r, uint32_t off, void *dst, uint32_t len)
{
	uint32_t done = 0, i;

	for (i = 0; i < r->out_cnt && done < len; i++) {
		uint32_t n;

		if (off >= r->out[i].iov_len) {
			off -= (uint32_t)r->out[i].iov_len;
			continue;
		}
		n = (uint32_t)vhx_min_u64(len - done, r->out[i].iov_len - off);
		memcpy((uint8_t *)dst + done, (const uint8_t *)r->out[i].iov_base + off, n);
		done += n;
		off = 0;
	}
	return done;
}

static void chunk_copy(struct vhx_fqueue *q, uint16_t id, uint32_t off, uint8_t *dst, uint32_t len)
{
	uint32_t n = 0, head_len = q->peek_len;
	const uint8_t *head = vhx_fcommands_bytes(q, id, &head_len);

	if (!head)
		head = q->peek;
	if (off < head_len) {
		n = (uint32_t)vhx_min_u64(len, head_len - off);
		memcpy(dst, head + off, n);
	}
	if (n < len)
		vhx_frequest_gather(&q->current, off + n, dst + n, len - n);
	q->fdev->stats.bytes_copied += len;
}

/*
 * Is a write that is sent now on the medium when it completes? Between a write of the config and what came of it,
 * that is not known.
 */
static bool writes_through(const struct vhx_fdev *fdev)
{
	const struct vhx_driver *d = &fdev->driver;

	return fdev->type->write_back && !d->config_write.set && !d->config_stale &&
	       !d->config_reading &&
	       !fdev->type->write_back(d->features, d->id.config, d->id.config_len);
}

static void current_set(struct vhx_fqueue *q, uint16_t id)
{
	struct vhx_flight_slot *s = &q->slots[id];
	struct vhx_fbuffer *b = &q->buffers[id];

	q->peek_len = vhx_frequest_gather(&q->current, 0, q->peek, sizeof(q->peek));
	s->kind = (uint8_t)q->fdev->type->kind(q->index, q->peek, q->peek_len);
	b->in = q->current.in;
	b->in_cnt = q->current.in_cnt;
	b->status = q->fdev->type->status_error;
	b->status_came = false;
	b->in_next = 0;
	b->gap_off = b->gap_end = 0;
	b->spoilt = false;
	b->peek_len = (uint8_t)q->peek_len;
	memcpy(b->peek, q->peek, sizeof(b->peek));
	b->through = s->kind == VHX_KIND_WRITE && writes_through(q->fdev);
	b->flush_mark = q->fdev->writes_done;
	b->grouped = false;
	q->have_current = true;
	vhx_fcommands_begin(q, id);
}

static void source_broken(struct vhx_fqueue *q, int reason)
{
	q->broken = true;
	q->ops->broken(q->ctx, reason);
}

/* True: the cursor is on a request of which all is known. */
static bool next_take(struct vhx_fqueue *q)
{
	int ret;

	if (q->state != VHX_FQUEUE_RUNNING || !q->kicked)
		return false;
	ret = q->ops->next(q->ctx, &q->current);
	if (ret > 0 &&
	    vhx_flight_begin(&q->flight, q->current.id, q->current.out_len, q->current.in_len))
		ret = -EINVAL;
	if (ret < 0)
		source_broken(q, ret);
	if (ret <= 0) {
		q->kicked = false;
		return false;
	}
	q->fdev->stats.requests++;
	q->fdev->stats.bytes_out += q->current.out_len;
	q->cursor = &q->slots[q->current.id].node;
	current_set(q, q->current.id);
	return true;
}

static bool again_take(struct vhx_fqueue *q)
{
	struct vhx_flight_slot *s = cursor_slot(q);
	uint16_t id = vhx_flight_id(&q->flight, s);
	int ret = q->ops->again(q->ctx, id, &q->current);

	/* Half of a request has gone already: the other half must belong to it. */
	if (!ret && s->begun &&
	    (s->out_len != q->current.out_len || s->in_len != q->current.in_len))
		ret = -EINVAL;
	if (ret < 0) {
		source_broken(q, ret);
		return false;
	}
	s->out_len = q->current.out_len;
	s->in_len = q->current.in_len;
	current_set(q, id);
	return true;
}

static int record_send(struct vhx_fqueue *q, struct vhx_link *l, struct vhx_avail *a, uint32_t off)
{
	struct vhx_queue_key key = {
		.dev = q->fdev->driver.dev_num,
		.vq = q->index,
		.epoch = driver_queue(q)->epoch,
	};
	struct vhx_link_place place;
	int ret = vhx_link_record(l, VHX_MSG_AVAIL, &key, &q->turn, a->chunk_len, &place);

	if (ret)
		return ret;
	vhx_avail_encode(place.record, a);
	chunk_copy(q, a->id, off, place.chunk, a->chunk_len);
	vhx_link_record_end(l, a->chunk_len);
	return 0;
}

static bool current_too_big(struct vhx_fqueue *q)
{
	const struct vhx_vdev_limits *limits = &driver_queue(q)->limits;

	return q->current.out_len > limits->max_out || q->current.in_len > limits->max_in;
}

/* Sends the next record of the cursor's request. 0, -EAGAIN. */
static int cursor_step(struct vhx_fqueue *q, struct vhx_link *l)
{
	struct vhx_flight_slot *s = cursor_slot(q);
	bool too_big = current_too_big(q);
	uint32_t max = too_big ? VHX_TOO_BIG_BYTES : vhx_link_chunk_max(l);
	struct vhx_avail a = {
		.id = vhx_flight_id(&q->flight, s),
		.flags = (uint16_t)((s->begun ? 0 : VHX_AVAIL_FIRST) |
				    (too_big ? VHX_AVAIL_TOO_BIG : 0)),
		.out_len = s->out_len,
		.in_len = s->in_len,
		.chunk_len = (uint32_t)vhx_min_u64(s->out_len - s->sent, max),
	};
	uint32_t cost = vhx_flight_cost(&q->flight, too_big ? a.chunk_len : s->out_len);
	int ret;

	if (!s->begun && !vhx_flight_window_take(&q->flight, a.id, cost))
		return -EAGAIN;
	ret = record_send(q, l, &a, s->sent);
	if (ret)
		return ret;
	q->fdev->stats.replays += !s->begun && s->deaths;
	s->begun = true;
	s->sent = too_big ? s->out_len : s->sent + a.chunk_len;
	return 0;
}

static int cursor_send(struct vhx_fqueue *q, struct vhx_link *l)
{
	struct vhx_flight_slot *s = cursor_slot(q);
	int ret;

	do {
		ret = cursor_step(q, l);
		if (ret)
			return ret;
	} while (s->sent < s->out_len);
	cursor_advance(q);
	return 0;
}

/* A device that failed, or a request that outlived too many backends: an error, now. */
static bool cursor_hopeless(struct vhx_fqueue *q)
{
	return q->fdev->failed || cursor_slot(q)->deaths >= VHX_FLIGHT_DEATHS_MAX;
}

static void cursor_fail(struct vhx_fqueue *q)
{
	uint16_t id = vhx_flight_id(&q->flight, cursor_slot(q));

	cursor_advance(q);
	request_fail(q, id);
}

/* May requests go out? Not before the backend was told what the driver has set. */
static bool queue_live(const struct vhx_fqueue *q)
{
	return vhx_fdev_link(q->fdev) && !q->fdev->commands.telling &&
	       vhx_driver_queue_live(&q->fdev->driver, q->index);
}

/* Does the next request wait for the answer to the last one? */
static bool next_waits(const struct vhx_fqueue *q)
{
	return vhx_fcommands_busy(q) &&
	       (cursor_at_end(q) ||
		vhx_flight_id(&q->flight, cursor_slot(q)) != q->fdev->commands.id);
}

void vhx_fqueue_pump(struct vhx_fqueue *q)
{
	struct vhx_link *l = vhx_fdev_link(q->fdev);
	bool live = queue_live(q);
	uint32_t budget = q->size;

	if (q->state != VHX_FQUEUE_RUNNING && q->state != VHX_FQUEUE_DRAINING)
		return;
	if (!live && !q->fdev->failed)
		return;
	if (q->armed) {
		q->armed = false;
		q->ops->disarm(q->ctx);
	}
	while (budget-- && q->state != VHX_FQUEUE_STOPPED && !q->broken) {
		if (next_waits(q))
			break;
		if (cursor_at_end(q) && !next_take(q)) {
			q->ahead = 0;
			break;
		}
		if (!q->have_current && !again_take(q))
			break;
		if (cursor_hopeless(q))
			cursor_fail(q);
		else if (!live || !others_passed(q) || cursor_send(q, l))
			break;
	}
	vhx_fqueue_flush(q);
	if (q->state == VHX_FQUEUE_DRAINING && all_posted(q) &&
	    (!q->flight.count || !queue_fence(q)))
		queue_stopped(q);
}

bool vhx_fqueue_arm(struct vhx_fqueue *q)
{
	/* A queue that cannot send now is woken by credit, or by its channel; not by the driver. */
	if (q->state != VHX_FQUEUE_RUNNING || q->broken || !cursor_at_end(q) || q->armed)
		return false;
	if (next_waits(q) || (!q->fdev->failed && !queue_live(q)))
		return false;
	if (q->kicked)
		return true;
	if (q->ops->arm(q->ctx)) {
		q->kicked = true;
		return true;
	}
	q->armed = true;
	return false;
}

/* Receiving */

/* @look: @len in bytes at @off, the last ones of a chunk. */
static void status_look(struct vhx_fqueue *q, uint16_t id, uint32_t off, const uint8_t *look,
			uint32_t len)
{
	const struct vhx_devtype *type = q->fdev->type;
	struct vhx_fbuffer *b = &q->buffers[id];

	if (q->slots[id].kind == VHX_KIND_FLUSH_PART) {
		if (!off)
			b->status = type->flushed(look, len) ? type->status_ok : type->status_error;
	} else if (off + len == q->slots[id].in_len) {
		b->status = look[len - 1];
		b->status_came = true;
	}
}

static void chunk_receive(struct vhx_fqueue *q, struct vhx_link *l, const struct vhx_used *u,
			  uint32_t msg_off)
{
	struct vhx_fbuffer *b = &q->buffers[u->id];
	uint8_t look[VHX_FQUEUE_LOOK_MAX];
	uint32_t off = u->in_off, len = u->chunk_len;

	q->fdev->stats.bytes_copied += u->chunk_len;
	q->fdev->stats.bytes_in += u->chunk_len;
	if (q->fdev->type->fill)
		gap_fill(q, b, u->in_off);
	b->in_next = u->in_off + u->chunk_len;
	/* A status is looked at, so it is read once and given to the guest from here. So is a response of scsi. */
	if (u->chunk_len > sizeof(look)) {
		uint32_t bulk = u->chunk_len - sizeof(look);

		in_receive(q, b, u->in_off, l, msg_off, bulk);
		off += bulk;
		msg_off += bulk;
		len -= bulk;
	}
	vhx_link_read(l, msg_off, look, len);
	status_look(q, u->id, off, look, len);
	in_write(q, b, off, look, len);
}

/*
 * Many drivers look at the status only. An answer without one, or one that says all is well over bytes that never
 * came, would hand them what was in their buffers before.
 */
static void answer_judge(struct vhx_fqueue *q, uint16_t id)
{
	const struct vhx_devtype *type = q->fdev->type;
	const struct vhx_flight_slot *s = &q->slots[id];
	struct vhx_fbuffer *b = &q->buffers[id];

	if (!type->has_status || !s->in_len)
		return;
	if (b->status_came && (b->status != type->status_ok || s->in_prefix >= s->in_len - 1))
		return;
	b->status = type->status_error;
	ending_write(q, id);
	q->fdev->stats.errors++;
}

/* Keeps account of what is on stable storage. A FLUSH that nobody confirms has failed. */
static void durability_note(struct vhx_fqueue *q, uint16_t id)
{
	struct vhx_fdev *fdev = q->fdev;

	switch (q->slots[id].kind) {
	case VHX_KIND_WRITE:
		fdev->writes_done += !q->buffers[id].through;
		break;
	case VHX_KIND_FLUSH_PART:
		fdev->flush_failed |= q->buffers[id].status != fdev->type->status_ok;
		break;
	case VHX_KIND_FLUSH:
		if (q->buffers[id].status == fdev->type->status_ok)
			fdev->writes_flushed = vhx_max_u64(fdev->writes_flushed,
							   q->buffers[id].flush_mark);
		else
			fdev->flush_failed = true;
		break;
	default:
		break;
	}
}

static void answer_accept(struct vhx_fqueue *q, uint16_t id, uint32_t used_len)
{
	if (q->buffers[id].spoilt) {
		q->buffers[id].status = q->fdev->type->status_error;
		durability_note(q, id);
		request_fail(q, id);
		return;
	}
	answer_judge(q, id);
	durability_note(q, id);
	vhx_fcommands_end(q, id, q->buffers[id].status_came && !q->buffers[id].status);
	request_finish(q, id, used_len);
}

static void group_add(struct vhx_fqueue *q, uint16_t id, uint32_t used_len)
{
	q->buffers[id].grouped = true;
	q->buffers[id].used_len = used_len;
	if (q->group_cnt++)
		q->buffers[q->group_last].group_next = id;
	else
		q->group_first = id;
	q->group_last = id;
}

static void group_accept(struct vhx_fqueue *q)
{
	uint16_t id = q->group_first;

	for (; q->group_cnt; q->group_cnt--) {
		struct vhx_fbuffer *b = &q->buffers[id];

		b->grouped = false;
		answer_accept(q, id, b->used_len);
		id = b->group_next;
	}
}

/* All of it has come, and is filled. */
static void answer_take(struct vhx_fqueue *q, uint16_t id, uint32_t used_len, bool in_group)
{
	if (in_group) {
		group_add(q, id, used_len);
		return;
	}
	group_accept(q);
	answer_accept(q, id, used_len);
}

static void answer_hold(struct vhx_fqueue *q, uint16_t id, uint32_t used_len, bool in_group)
{
	struct vhx_fbuffer *b = &q->buffers[id];

	b->held = true;
	b->held_in_group = in_group;
	b->used_len = used_len;
	b->queue = q->index;
	vhx_list_init(&b->held_node);
	vhx_list_add_tail(&q->fdev->held, &b->held_node);
}

void vhx_fqueue_fill(struct vhx_fdev *fdev)
{
	fdev->fill_left = VHX_FDEV_FILL_BYTES;
	while (!vhx_list_empty(&fdev->held)) {
		struct vhx_fbuffer *b = vhx_list_first_entry(&fdev->held, struct vhx_fbuffer,
							     held_node);
		struct vhx_fqueue *q = &fdev->queues[b->queue];
		uint16_t id = (uint16_t)(b - q->buffers);

		if (!in_fill(q, id))
			return;
		vhx_list_del(&b->held_node);
		b->held = false;
		answer_take(q, id, b->used_len, b->held_in_group);
	}
}

static int record_receive(void *ctx, struct vhx_link *l, const struct vhx_used *u, uint32_t msg_off)
{
	struct vhx_fqueue *q = ctx;
	int ret = vhx_flight_used(&q->flight, u);

	if (ret)
		return ret;
	/* Over, though its driver does not know. */
	if (q->buffers[u->id].grouped || q->buffers[u->id].held)
		return -EPROTO;
	if (u->chunk_len)
		chunk_receive(q, l, u, msg_off);
	if (!(u->flags & VHX_USED_COMPLETE))
		return 0;
	/* Behind those that wait: who hears of a command through another queue is to find it at its end. */
	if (vhx_list_empty(&q->fdev->held) && in_fill(q, u->id))
		answer_take(q, u->id, u->used_len, u->flags & VHX_USED_GROUP);
	else
		answer_hold(q, u->id, u->used_len, u->flags & VHX_USED_GROUP);
	return 0;
}

void vhx_fused_walk(struct vhx_link *l, uint32_t len, vhx_fused_handler *take, void *ctx)
{
	uint32_t off = VHX_DATA_HEADER_LEN;
	struct vhx_used_record wire;
	struct vhx_used u;

	while (off < len) {
		if (len - off < sizeof(wire))
			goto breach;
		vhx_link_read(l, off, &wire, sizeof(wire));
		off += (uint32_t)sizeof(wire);
		if (vhx_used_decode(&wire, len - off, &u) || take(ctx, l, &u, off))
			goto breach;
		off += vhx_chunk_padded(u.chunk_len);
	}
	return;

breach:
	vhx_link_fail(l, -EPROTO);
}

void vhx_fqueue_receive(struct vhx_fqueue *q, struct vhx_link *l, uint32_t len)
{
	vhx_fused_walk(l, len, record_receive, q);
}
