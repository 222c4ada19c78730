// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A request lives in the slot of its id from the first AVAIL record to the last byte of its answer. core's
 * intake says what the peer may do to it; here is where its bytes are and who has it:
 *
 *   RECEIVING -> submit() -> DEVICE -> complete() -> [all sent] -> free
 *                  |  ^                    |
 *                  v  | room, in order     v no room
 *                WAITING                 SENDING -> [room] -> free
 *
 * Room is credit. It comes back with the peer's messages, so both lists are worked off in vhx_queue_pump(), which
 * runs in every pass; `sending` first, since that frees staging. A new request goes behind those that
 * wait: order is kept.
 *
 * In place: a reservation is a record in the link's open message that is not kept yet. Committing keeps
 * it; if the request is completed while that message is still open and the record is its newest, the
 * completion is written into the same record. Otherwise it takes a record of its own.
 *
 * Posted requests stay in DEVICE until data comes for them, which costs nothing: no staging is taken before
 * the device asks for it. When it is refused room then, there is nobody to return -EAGAIN to: the refusal is
 * noted, and each pass calls ops->room() until the device was served or asks no more. Asking once a pass is also
 * what keeps its turn among the queues of the channel (link/turn.h).
 *
 * Answers to requests that are about other queues' (core/devtype.h: about_others) go behind those answers that the other
 * queues had to give before: a driver that hears that a command is over takes its buffers back. Those are counted,
 * as `ahead`, when such an answer is the next one of its queue, and each that was sent is one less.
 *
 * Reset: requests that we hold are dropped on the spot; those with the device come back through
 * complete() or drop() until the device says that it is quiesced. Nothing of a closed queue is ever sent: its
 * epoch is over.
 *
 * A hostile driver's end can fill its own table and window and stop there. It pays with its own staging.
 */
#include "backend/queue.h"

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"

static struct vhx_backend_request *request_of(struct vhx_request *req)
{
	return vhx_container_of(req, struct vhx_backend_request, req);
}

/* Copying between a run and a flat piece */

static void run_write(struct vhx_link *l, uint32_t msg_off, const struct iovec *iov, uint32_t off,
		      uint32_t len)
{
	uint32_t page = off / VHX_PAGE, within = off % VHX_PAGE;

	while (len) {
		uint32_t n = (uint32_t)vhx_min_u64(len, VHX_PAGE - within);

		vhx_link_read(l, msg_off, (uint8_t *)iov[page].iov_base + within, n);
		msg_off += n;
		len -= n;
		within = 0;
		page++;
	}
}

/* @lead: bytes that the first page holds instead of all; 0: it is as the others. */
static void run_read(const struct iovec *iov, uint32_t lead, uint32_t off, uint8_t *dst,
		     uint32_t len)
{
	uint32_t page, within;

	if (len && off < lead) {
		uint32_t n = (uint32_t)vhx_min_u64(len, lead - off);

		memcpy(dst, (uint8_t *)iov->iov_base + off, n);
		dst += n;
		len -= n;
		off = lead;
	}
	off -= lead;
	iov += lead != 0;
	page = off / VHX_PAGE;
	within = off % VHX_PAGE;
	while (len) {
		uint32_t n = (uint32_t)vhx_min_u64(len, VHX_PAGE - within);

		memcpy(dst, (uint8_t *)iov[page].iov_base + within, n);
		dst += n;
		len -= n;
		within = 0;
		page++;
	}
}

/* Open and close */

int vhx_queue_open(struct vhx_queue *q, const struct vhx_queue_key *key, uint16_t size,
		   const struct vhx_queue_limits *limits)
{
	struct vhx_staging_config staging = {
		.out_pages = limits->out_pages,
		.in_pages = limits->in_pages,
		.request_pages = limits->request_pages,
	};
	int ret;
	uint32_t i;

	assert(q->state == VHX_QUEUE_CLOSED);
	q->slots = calloc(size, sizeof(*q->slots));
	q->requests = calloc(size, sizeof(*q->requests));
	if (!q->slots || !q->requests) {
		ret = -ENOMEM;
		goto free_tables;
	}
	ret = vhx_staging_init(&q->staging, &staging);
	if (ret)
		goto free_tables;
	for (i = 0; i < size; i++) {
		vhx_list_init(&q->requests[i].link);
		vhx_list_init(&q->requests[i].req.node);
	}
	vhx_intake_init(&q->intake, q->slots, size, limits->max_out, limits->max_in,
			limits->head_len, limits->out_pages);
	vhx_list_init(&q->waiting);
	vhx_list_init(&q->sending);
	q->last.owner = NULL;
	q->sending_cnt = 0;
	q->behind = false;
	q->ahead = 0;
	q->submitting = false;
	q->room_wanted = false;
	q->head_len = limits->head_len;
	q->key = *key;
	q->size = size;
	q->memory = q->staging.memory + size * (sizeof(*q->slots) + sizeof(*q->requests));
	q->state = VHX_QUEUE_OPEN;
	return 0;

free_tables:
	free(q->slots);
	free(q->requests);
	q->slots = NULL;
	q->requests = NULL;
	return ret;
}

void vhx_queue_close(struct vhx_queue *q)
{
	if (q->state == VHX_QUEUE_CLOSED)
		return;
	vhx_staging_fini(&q->staging);
	free(q->slots);
	free(q->requests);
	q->slots = NULL;
	q->requests = NULL;
	q->memory = 0;
	q->state = VHX_QUEUE_CLOSED;
}

static void request_free(struct vhx_queue *q, struct vhx_backend_request *r)
{
	vhx_list_del(&r->link);
	vhx_staging_put(&q->staging, &r->out, false);
	vhx_staging_put(&q->staging, &r->in, true);
	if (r->held == VHX_HELD_SENDING) {
		q->sending_cnt--;
		q->ahead -= q->ahead != 0;
	}
	r->held = VHX_HELD_NONE;
	if (q->last.owner == r)
		q->last.owner = NULL;
	vhx_intake_end(&q->intake, r->req.id);
}

/* The way in */

static void request_begin(struct vhx_queue *q, uint16_t id)
{
	const struct vhx_intake_slot *s = &q->slots[id];
	struct vhx_backend_request *r = &q->requests[id];
	uint32_t stored = vhx_intake_stored(s);

	r->req.dev = vhx_backend_queue_device(q);
	r->req.queue = q;
	r->req.id = id;
	r->req.too_big = s->too_big;
	r->req.group = false;
	r->req.out_len = s->out_len;
	r->req.in_len = s->in_len;
	r->req.head_len = q->head_len;
	r->req.in = NULL;
	r->req.in_cnt = 0;
	memset(r->req.priv, 0, sizeof(r->req.priv));
	r->out.iov = NULL;
	r->out.cnt = 0;
	r->in.iov = NULL;
	r->in.cnt = 0;
	r->in_lead = 0;
	if (stored > q->head_len)
		vhx_staging_get_out(&q->staging, stored - q->head_len, &r->out);
	r->req.out = r->out.iov;
	r->req.out_cnt = r->out.cnt;
}

static void chunk_store(struct vhx_queue *q, struct vhx_link *l, struct vhx_backend_request *r,
			uint32_t msg_off, uint32_t off, uint32_t len)
{
	uint32_t n;

	vhx_backend_queue_stats(q)->bytes_copied += len;
	if (off < q->head_len) {
		n = (uint32_t)vhx_min_u64(len, q->head_len - off);
		vhx_link_read(l, msg_off, r->req.head + off, n);
		msg_off += n;
		off += n;
		len -= n;
	}
	if (len)
		run_write(l, msg_off, r->out.iov, off - q->head_len, len);
}

/* 0: the device has it. -EAGAIN: it waits. */
static int request_submit(struct vhx_queue *q, struct vhx_backend_request *r)
{
	struct vhx_device *dev = vhx_backend_queue_device(q);
	int ret;

	r->held = VHX_HELD_DEVICE;
	q->submitting = true;
	ret = dev->ops->submit(dev, &r->req);
	q->submitting = false;
	if (!ret)
		return 0;
	assert(ret == -EAGAIN);
	r->held = VHX_HELD_WAITING;
	return ret;
}

/* The clock is read at most once per message, by the first request in it that needs the time. */
static void request_arrived(struct vhx_queue *q, struct vhx_backend_request *r, uint64_t *now_ns)
{
	struct vhx_backend_stats *stats = vhx_backend_queue_stats(q);

	if (!*now_ns && r->req.out_len)
		*now_ns = vhx_loop_clock();
	r->arrived_ns = *now_ns;
	stats->requests++;
	stats->bytes_out += r->req.out_len;
	r->held = VHX_HELD_WAITING;
	if (!vhx_list_empty(&q->waiting) || request_submit(q, r))
		vhx_list_add_tail(&q->waiting, &r->link);
}

void vhx_queue_receive(struct vhx_queue *q, struct vhx_link *l, uint32_t len)
{
	uint32_t off = VHX_DATA_HEADER_LEN;
	struct vhx_avail_record wire;
	struct vhx_avail a;
	uint64_t now_ns = 0;
	uint32_t out_off;
	int ret;

	while (off < len && q->state == VHX_QUEUE_OPEN) {
		if (len - off < sizeof(wire))
			goto breach;
		vhx_link_read(l, off, &wire, sizeof(wire));
		off += (uint32_t)sizeof(wire);
		if (vhx_avail_decode(&wire, len - off, &a))
			goto breach;
		ret = vhx_intake_record(&q->intake, &a, &out_off);
		if (ret < 0)
			goto breach;
		if (a.flags & VHX_AVAIL_FIRST)
			request_begin(q, a.id);
		chunk_store(q, l, &q->requests[a.id], off, out_off, a.chunk_len);
		off += vhx_chunk_padded(a.chunk_len);
		if (ret)
			request_arrived(q, &q->requests[a.id], &now_ns);
	}
	return;

breach:
	vhx_link_fail(l, -EPROTO);
}

/* The way out */

static int record_open(struct vhx_queue *q, uint32_t chunk_len, struct vhx_link_place *place)
{
	return vhx_link_record(vhx_backend_queue_link(q), VHX_MSG_USED, &q->key, &q->turn,
			       chunk_len, place);
}

static void record_keep(struct vhx_queue *q, const struct vhx_link_place *place,
			const struct vhx_used *u)
{
	vhx_used_encode(place->record, u);
	vhx_link_record_end(vhx_backend_queue_link(q), u->chunk_len);
	vhx_backend_queue_stats(q)->bytes_in += u->chunk_len;
}

/* Outside of submit there is no -EAGAIN to return. */
static void room_refused(struct vhx_queue *q)
{
	q->room_wanted |= !q->submitting;
}

uint32_t vhx_request_in_reserve_max(const struct vhx_request *req)
{
	struct vhx_link *l = vhx_backend_queue_link(req->queue);

	return l ? vhx_link_chunk_max(l) : 0;
}

uint16_t vhx_queue_index(const struct vhx_queue *queue)
{
	return queue->index;
}

void *vhx_request_in_reserve(struct vhx_request *req, uint32_t in_off, uint32_t len, bool *later)
{
	struct vhx_queue *q = req->queue;
	struct vhx_link *l = vhx_backend_queue_link(q);

	*later = false;
	assert(vhx_range_within(in_off, len, req->in_len));
	if (q->state != VHX_QUEUE_OPEN || !l || len > vhx_link_chunk_max(l))
		return NULL;
	/* Answers that wait go first: one that needs much room would wait for ever otherwise. */
	if (!vhx_list_empty(&q->sending) || record_open(q, len, &q->last.place)) {
		*later = true;
		room_refused(q);
		return NULL;
	}
	q->last.owner = request_of(req);
	q->last.kept = false;
	q->last.used = (struct vhx_used){ .id = req->id, .in_off = in_off };
	return q->last.place.chunk;
}

void vhx_request_in_commit(struct vhx_request *req, uint32_t len)
{
	struct vhx_queue *q = req->queue;

	assert(q->last.owner == request_of(req) && !q->last.kept);
	if (!len) {
		q->last.owner = NULL;
		return;
	}
	q->last.used.chunk_len = len;
	q->last.kept = true;
	q->last.message = vhx_backend_queue_link(q)->stats.data_messages;
	record_keep(q, &q->last.place, &q->last.used);
}

int vhx_request_in_buffer_led(struct vhx_request *req, uint32_t in_off, uint32_t lead, uint32_t len)
{
	struct vhx_backend_request *r = request_of(req);
	int ret;

	assert(vhx_range_within(in_off, (uint64_t)lead + len, req->in_len) && !r->in.iov);
	ret = vhx_staging_get_in(&req->queue->staging, lead, len, &r->in);
	assert(ret != -E2BIG);
	if (ret) {
		room_refused(req->queue);
		return ret;
	}
	r->in_base = in_off;
	r->in_lead = lead;
	req->in = r->in.iov;
	req->in_cnt = r->in.cnt;
	return 0;
}

int vhx_request_in_buffer(struct vhx_request *req, uint32_t in_off, uint32_t len)
{
	return vhx_request_in_buffer_led(req, in_off, 0, len);
}

static uint16_t completion_flags(const struct vhx_backend_request *r)
{
	return VHX_USED_COMPLETE | (r->req.group ? VHX_USED_GROUP : 0);
}

/* Writes the completion into the request's last record, if that has not left yet. */
static bool complete_in_place(struct vhx_queue *q, struct vhx_backend_request *r)
{
	struct vhx_link *l = vhx_backend_queue_link(q);

	if (q->last.owner != r || !q->last.kept || r->valid || r->tail_len || !l->open ||
	    l->stats.data_messages != q->last.message)
		return false;
	q->last.used.flags = completion_flags(r);
	q->last.used.used_len = r->used_len;
	vhx_used_encode(q->last.place.record, &q->last.used);
	return true;
}

/* One record of the answer. 0: sent; 1: it was the last one; -EAGAIN. */
static int answer_step(struct vhx_queue *q, struct vhx_backend_request *r)
{
	uint32_t left = r->valid - r->sent;
	uint32_t max = vhx_link_chunk_max(vhx_backend_queue_link(q));
	struct vhx_used u = { .id = r->req.id, .in_off = r->in_base + r->sent };
	struct vhx_link_place place;
	uint32_t staged = (uint32_t)vhx_min_u64(left, max);
	bool tail = staged == left && (!left || (r->tail_off == r->in_base + r->valid &&
						 r->tail_len <= max - staged));

	if (!left)
		u.in_off = r->tail_off;
	u.chunk_len = staged + (tail ? r->tail_len : 0);
	if (record_open(q, u.chunk_len, &place))
		return -EAGAIN;
	run_read(r->in.iov, r->in_lead, r->sent, place.chunk, staged);
	if (tail) {
		memcpy((uint8_t *)place.chunk + staged, r->tail, r->tail_len);
		u.flags = completion_flags(r);
		u.used_len = r->used_len;
	}
	vhx_backend_queue_stats(q)->bytes_copied += u.chunk_len;
	r->sent += staged;
	record_keep(q, &place, &u);
	return tail;
}

/* Posted requests waited for an event, not for us. */
static void answer_count(struct vhx_queue *q, const struct vhx_backend_request *r)
{
	struct vhx_backend_stats *stats = vhx_backend_queue_stats(q);

	stats->completed++;
	if (r->req.out_len)
		vhx_histogram_add(&stats->latency, vhx_loop_clock() - r->arrived_ns);
}

static void ahead_count(struct vhx_queue *q)
{
	struct vhx_queue *other;
	uint16_t i;

	q->behind = true;
	for (i = 0; (other = vhx_backend_queue_beside(q, i)); i++)
		other->ahead = other->about_others ? 0 : other->sending_cnt;
}

/* May the next answer go, as far as other queues are concerned? */
static bool others_passed(struct vhx_queue *q)
{
	struct vhx_queue *other;
	uint16_t i;

	if (vhx_likely(!q->about_others))
		return true;
	if (!q->behind)
		ahead_count(q);
	for (i = 0; (other = vhx_backend_queue_beside(q, i)); i++) {
		if (other->ahead && other->state == VHX_QUEUE_OPEN)
			return false;
	}
	return true;
}

/* 0: the whole answer is on its way. -EAGAIN. */
static int answer_send(struct vhx_queue *q, struct vhx_backend_request *r)
{
	int ret;

	if (!others_passed(q))
		return -EAGAIN;
	ret = complete_in_place(q, r);
	while (!ret)
		ret = answer_step(q, r);
	if (ret < 0)
		return ret;
	q->behind = false;
	answer_count(q, r);
	request_free(q, r);
	return 0;
}

void vhx_request_complete(struct vhx_request *req, uint32_t valid, const void *tail,
			  uint32_t tail_off, uint32_t tail_len, uint32_t used_len)
{
	struct vhx_backend_request *r = request_of(req);
	struct vhx_queue *q = req->queue;

	assert(r->held == VHX_HELD_DEVICE && tail_len <= sizeof(r->tail));
	assert(vhx_range_within(tail_off, tail_len, req->in_len));
	if (q->state != VHX_QUEUE_OPEN) {
		request_free(q, r);
		return;
	}
	r->valid = valid;
	r->sent = 0;
	if (tail_len)
		memcpy(r->tail, tail, tail_len);
	r->tail_off = tail_off;
	r->tail_len = tail_len;
	r->used_len = used_len;
	r->held = VHX_HELD_SENDING;
	q->sending_cnt++;
	if (!vhx_list_empty(&q->sending) || answer_send(q, r))
		vhx_list_add_tail(&q->sending, &r->link);
}

void vhx_request_drop(struct vhx_request *req)
{
	struct vhx_backend_request *r = request_of(req);

	assert(r->held == VHX_HELD_DEVICE && req->queue->state != VHX_QUEUE_OPEN);
	request_free(req->queue, r);
}

bool vhx_queue_pump(struct vhx_queue *q)
{
	struct vhx_backend_request *r;

	while (!vhx_list_empty(&q->sending)) {
		r = vhx_list_first_entry(&q->sending, struct vhx_backend_request, link);
		if (answer_send(q, r))
			return false;
	}
	while (!vhx_list_empty(&q->waiting)) {
		r = vhx_list_first_entry(&q->waiting, struct vhx_backend_request, link);
		vhx_list_del(&r->link);
		if (!request_submit(q, r))
			continue;
		/* Back to the front: it keeps its turn. */
		vhx_list_add_tail(q->waiting.next, &r->link);
		return false;
	}
	if (q->room_wanted) {
		q->room_wanted = false;
		vhx_backend_queue_device(q)->ops->room(vhx_backend_queue_device(q), q);
	}
	return false;
}

/* Reset */

static void held_drop(struct vhx_queue *q)
{
	uint32_t i;

	for (i = 0; i < q->size; i++) {
		if (q->slots[i].state != VHX_INTAKE_FREE && q->requests[i].held != VHX_HELD_DEVICE)
			request_free(q, &q->requests[i]);
	}
}

void vhx_queue_cut(struct vhx_queue *q)
{
	assert(q->state == VHX_QUEUE_OPEN);
	q->state = VHX_QUEUE_RESETTING;
	q->room_wanted = false;
	q->last.owner = NULL;
	held_drop(q);
}

void vhx_queue_quiesce(struct vhx_queue *q)
{
	struct vhx_device *dev = vhx_backend_queue_device(q);

	assert(q->state == VHX_QUEUE_RESETTING && !q->quiescing);
	q->quiescing = true;
	dev->ops->reset(dev, q);
}

void vhx_queue_quiesced(struct vhx_queue *q)
{
	assert(q->quiescing && !q->intake.count);
	q->quiescing = false;
	vhx_queue_close(q);
	vhx_backend_queue_closed(q);
}
