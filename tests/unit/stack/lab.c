// SPDX-License-Identifier: BSD-3-Clause
#include "lab.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>

/* Turns of the loop that no test needs; more of them are a busy loop. */
#define TURNS_MAX 200000u
/* Moves of the clock that no return of a backend needs. */
#define WAITS_MAX 400u

const struct provider *lab_provider;

bool lab_has(uint32_t cap)
{
	struct vhx_port *ends[2];
	bool has;

	assert_int_equal(lab_provider->pair(64u << 10, ends), 0);
	has = ends[0]->ops->caps & cap;
	vhx_port_close(ends[0]);
	vhx_port_close(ends[1]);
	return has;
}

/* Allocations and time */

static uint64_t allocations;
static uint64_t clock_ns = 1000 * LAB_S;
static bool clock_frozen = true;

void *__real_malloc(size_t len);
void *__real_calloc(size_t cnt, size_t len);
void *__real_realloc(void *p, size_t len);
int __real_clock_gettime(clockid_t id, struct timespec *ts);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t cnt, size_t len);
void *__wrap_realloc(void *p, size_t len);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			   struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			   struct itimerspec *old);

void *__wrap_malloc(size_t len)
{
	__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
	return __real_malloc(len);
}

void *__wrap_calloc(size_t cnt, size_t len)
{
	__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
	return __real_calloc(cnt, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
	return __real_realloc(p, len);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (!clock_frozen || id != CLOCK_MONOTONIC)
		return __real_clock_gettime(id, ts);
	ts->tv_sec = (time_t)(clock_ns / LAB_S);
	ts->tv_nsec = (long)(clock_ns % LAB_S);
	return 0;
}

/* Timers are looked at in every turn; waking anybody for them is real time's business. */
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			   struct itimerspec *old)
{
	return clock_frozen ? 0 : __real_timerfd_settime(fd, flags, value, old);
}

uint64_t lab_allocations(void)
{
	return __atomic_load_n(&allocations, __ATOMIC_RELAXED);
}

void lab_clock_real(void)
{
	clock_frozen = false;
}

void lab_clock_skip(uint64_t ns)
{
	clock_ns += ns;
}

/* Patterns */

uint8_t lab_byte(uint32_t seed, uint32_t at)
{
	return (uint8_t)(seed * 31 + at * 7 + (at >> 8));
}

void lab_fill(uint8_t *p, uint32_t seed, uint32_t from, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		p[i] = lab_byte(seed, from + i);
}

bool lab_same(const uint8_t *p, uint32_t seed, uint32_t from, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i++) {
		if (p[i] != lab_byte(seed, from + i))
			return false;
	}
	return true;
}

/* The device */

static struct lab_device *device_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct lab_device, dev);
}

static uint32_t status_len(const struct lab_device *d, const struct vhx_request *req)
{
	return d->has_status && req->in_len;
}

static uint32_t head_get(const struct vhx_request *req, struct lab_head *head)
{
	uint32_t len = (uint32_t)vhx_min_u64(req->out_len, sizeof(*head));

	memset(head, 0, sizeof(*head));
	memcpy(head, req->head, len);
	return vhx_le32_get(head->seed);
}

static void out_check(const struct vhx_request *req, uint32_t seed)
{
	uint32_t at = sizeof(struct lab_head), i;

	for (i = 0; i < req->out_cnt; i++) {
		assert_true(
			lab_same(req->out[i].iov_base, seed, at, (uint32_t)req->out[i].iov_len));
		at += (uint32_t)req->out[i].iov_len;
	}
	if (req->out_len > sizeof(struct lab_head) && !req->too_big)
		assert_int_equal(at, req->out_len);
}

/* The seed of the answer: the request's, or the next one where the answer has to tell it. */
static uint32_t answer_seed(struct lab_device *d, struct vhx_request *req)
{
	struct lab_head head;

	return req->out_len ? ~head_get(req, &head) : d->next_seed++;
}

static void answer_fill(const struct vhx_request *req, uint8_t *p, uint32_t seed, uint32_t from,
			uint32_t len)
{
	vhx_le32 told = vhx_le32_of(seed);

	lab_fill(p, seed, from, len);
	if (!req->out_len && !from)
		memcpy(p, &told, sizeof(told));
}

static uint8_t answer_status(const struct lab_device *d, const struct vhx_request *req)
{
	struct lab_head head;

	head_get(req, &head);
	return vhx_le32_get(head.type) == LAB_FLUSH ? d->flush_status : d->status;
}

static void answer_staged(struct lab_device *d, struct vhx_request *req)
{
	uint32_t data = req->in_len - status_len(d, req), i, at = 0;
	uint8_t status = answer_status(d, req);
	uint32_t seed = answer_seed(d, req);

	for (i = 0; i < req->in_cnt; i++) {
		answer_fill(req, req->in[i].iov_base, seed, at, (uint32_t)req->in[i].iov_len);
		at += (uint32_t)req->in[i].iov_len;
	}
	assert_int_equal(at, data);
	vhx_request_complete(req, data, &status, data, status_len(d, req), req->in_len);
}

static int submit_staged(struct lab_device *d, struct vhx_request *req)
{
	uint32_t data = req->in_len - status_len(d, req);

	if (data && vhx_request_in_buffer(req, 0, data))
		return -EAGAIN;
	answer_staged(d, req);
	return 0;
}

static int submit_led(struct lab_device *d, struct vhx_request *req)
{
	uint32_t data = req->in_len - status_len(d, req);
	uint32_t lead = (uint32_t)vhx_min_u64(data, LAB_LEAD);

	if (data && vhx_request_in_buffer_led(req, 0, lead, data - lead))
		return -EAGAIN;
	answer_staged(d, req);
	return 0;
}

static int submit_hold(struct lab_device *d, struct vhx_request *req)
{
	uint32_t data = req->in_len - status_len(d, req);

	if (data && vhx_request_in_buffer(req, 0, data))
		return -EAGAIN;
	vhx_list_init(&req->node);
	vhx_list_add_tail(&d->held, &req->node);
	d->held_cnt++;
	return 0;
}

/* The largest piece that one reservation can have is found by bisection, below @refused. */
static int piece_learn(struct lab_device *d, struct vhx_request *req, uint32_t at, uint32_t refused)
{
	uint32_t fits = 0, try;
	bool later;

	while (refused - fits > 8) {
		try = fits + (refused - fits) / 2;
		if (vhx_request_in_reserve(req, at, try, &later)) {
			vhx_request_in_commit(req, 0);
			fits = try;
		} else if (later) {
			return -EAGAIN;
		} else {
			refused = try;
		}
	}
	assert_true(fits);
	d->in_place_max = fits;
	return 0;
}

static void piece_fill(struct lab_device *d, const struct vhx_request *req, uint8_t *p, uint32_t at,
		       uint32_t len)
{
	uint32_t data = req->in_len - status_len(d, req);

	if (at < data)
		answer_fill(req, p, (uint32_t)req->priv[1], at,
			    (uint32_t)vhx_min_u64(len, data - at));
	if (at + len > data)
		p[data - at] = answer_status(d, req);
	vhx_request_in_commit((struct vhx_request *)req, len);
}

/* priv[0]: bytes that went out in place already; priv[1]: the seed, which must not change in between. */
static int submit_in_place(struct lab_device *d, struct vhx_request *req)
{
	if (!req->priv[0] && req->in_len > status_len(d, req))
		req->priv[1] = answer_seed(d, req);
	while (req->priv[0] < req->in_len) {
		uint32_t at = (uint32_t)req->priv[0], len = req->in_len - at;
		bool later;
		uint8_t *p;

		if (d->in_place_max)
			len = (uint32_t)vhx_min_u64(len, d->in_place_max);
		p = vhx_request_in_reserve(req, at, len, &later);
		if (!p && (later || piece_learn(d, req, at, len)))
			return -EAGAIN;
		if (!p)
			continue;
		piece_fill(d, req, p, at, len);
		req->priv[0] += len;
	}
	vhx_request_complete(req, 0, NULL, 0, 0, req->in_len);
	return 0;
}

/* The larger ones by staging. */
static int submit_by_size(struct lab_device *d, struct vhx_request *req)
{
	return (req->in_len > LAB_BY_SIZE ? submit_staged : submit_in_place)(d, req);
}

static int submit_status(struct lab_device *d, struct vhx_request *req)
{
	static const uint8_t error = LAB_IOERR;

	vhx_request_complete(req, 0, &error, req->in_len - status_len(d, req), status_len(d, req),
			     0);
	return 0;
}

static int submit_silent(struct lab_device *d, struct vhx_request *req)
{
	vhx_request_complete(req, 0, NULL, 0, 0, 0);
	return 0;
}

static int (*const submits[])(struct lab_device *d, struct vhx_request *req) = {
	[LAB_IN_PLACE] = submit_in_place, [LAB_STAGED] = submit_staged,
	[LAB_HOLD] = submit_hold,	  [LAB_BY_SIZE] = submit_by_size,
	[LAB_STATUS] = submit_status,	  [LAB_SILENT] = submit_silent,
	[LAB_LED] = submit_led,
};

_Static_assert(VHX_ARRAY_SIZE(submits) == LAB_ANSWER_CNT_, "a function per answer");

static int device_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct lab_device *d = device_of(dev);
	struct lab_head head;
	uint32_t seed = head_get(req, &head);
	int ret;

	if (d->refuse) {
		d->refuse--;
		d->refusals++;
		return -EAGAIN;
	}
	out_check(req, seed);
	if (req->too_big) {
		d->too_big++;
		d->submits++;
		return submit_status(d, req);
	}
	if (!req->priv[2]++ && d->log_cnt < LAB_LOG_MAX)
		d->log[d->log_cnt++] = seed;
	ret = submits[d->answer](d, req);
	if (ret)
		d->refusals++;
	else
		d->submits++;
	return ret;
}

static void device_kick(struct vhx_device *dev)
{
	device_of(dev)->kicks++;
}

static struct vhx_request *held_at(struct lab_device *d, uint32_t at)
{
	struct vhx_list *pos = d->held.next;

	while (at--)
		pos = pos->next;
	assert_true(pos != &d->held);
	return vhx_list_entry(pos, struct vhx_request, node);
}

static void held_complete(struct lab_device *d, struct vhx_request *req)
{
	vhx_list_del(&req->node);
	d->held_cnt--;
	answer_staged(d, req);
}

void lab_device_release(struct lab_device *d, uint32_t at)
{
	held_complete(d, held_at(d, at));
}

void lab_device_release_all(struct lab_device *d)
{
	while (d->held_cnt)
		lab_device_release(d, 0);
}

/* Every other one is completed all the same: a completion that comes during a reset goes nowhere. */
static void queue_let_go(struct lab_device *d, struct vhx_queue *queue)
{
	struct vhx_list *pos, *tmp;
	bool complete = false;

	vhx_list_for_each_safe (pos, tmp, &d->held) {
		struct vhx_request *req = vhx_list_entry(pos, struct vhx_request, node);

		if (req->queue != queue && !d->drains_all)
			continue;
		complete = !complete;
		if (complete || req->queue != queue) {
			held_complete(d, req);
			continue;
		}
		vhx_list_del(&req->node);
		d->held_cnt--;
		vhx_request_drop(req);
	}
}

static void device_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct lab_device *d = device_of(dev);

	d->resets_seen++;
	d->resets[d->reset_cnt++] = queue;
	if (!d->slow_reset)
		lab_device_quiesce(d);
}

void lab_device_quiesce(struct lab_device *d)
{
	while (d->reset_cnt) {
		struct vhx_queue *queue = d->resets[--d->reset_cnt];

		queue_let_go(d, queue);
		vhx_queue_quiesced(queue);
	}
}

static int device_set_features(struct vhx_device *dev, uint64_t features)
{
	device_of(dev)->features_set = features;
	return 0;
}

static int device_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	if (device_of(dev)->refuse_config)
		return -EINVAL;
	memcpy(dev->config + off, buf, len);
	return 0;
}

/* Requests that it still has: dropped, as a device does that must not leave them behind. */
static void device_close(struct vhx_device *dev)
{
	struct lab_device *d = device_of(dev);

	while (d->held_cnt) {
		struct vhx_request *req = held_at(d, 0);

		vhx_list_del(&req->node);
		d->held_cnt--;
		vhx_request_drop(req);
	}
	free(d->log);
	free(d);
}

#define DEVICE_OPS(id)                                                                 \
	{                                                                              \
		.name = "lab", .device_id = (id), .head_len = sizeof(struct lab_head), \
		.submit = device_submit, .kick = device_kick, .reset = device_reset,   \
		.set_features = device_set_features, .set_config = device_set_config,  \
		.close = device_close,                                                 \
	}

static const struct vhx_device_ops net_ops = DEVICE_OPS(LAB_NET);
static const struct vhx_device_ops blk_ops = DEVICE_OPS(LAB_BLK);
static const struct vhx_device_ops balloon_ops = DEVICE_OPS(LAB_BALLOON);
static const struct vhx_device_ops scsi_ops = DEVICE_OPS(LAB_SCSI);

static const struct vhx_device_ops *ops_of(uint32_t device_id)
{
	switch (device_id) {
	case LAB_BALLOON:
		return &balloon_ops;
	case LAB_SCSI:
		return &scsi_ops;
	default:
		return device_id == LAB_BLK ? &blk_ops : &net_ops;
	}
}

struct lab_device *lab_device_new(const char *id, uint32_t device_id)
{
	struct lab_device *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->dev.ops = ops_of(device_id);
	d->has_status = device_id == LAB_BLK;
	d->log = calloc(LAB_LOG_MAX, sizeof(*d->log));
	assert_non_null(d->log);
	snprintf(d->dev.id, sizeof(d->dev.id), "%s", id);
	d->dev.config_len = 32;
	d->dev.features = d->has_status ? LAB_FLUSH_FEATURE : 0;
	d->next_seed = 1;
	vhx_list_init(&d->held);
	return d;
}

void lab_device_change_config(struct lab_device *d, uint8_t value)
{
	memset(d->dev.config, value, d->dev.config_len);
	vhx_device_config_changed(&d->dev);
}

/* The source */

void lab_source_init(struct lab_source *s, uint16_t size, uint32_t out_max, uint32_t in_max)
{
	uint16_t i;

	*s = (struct lab_source){ .size = size, .out_max = out_max, .in_max = in_max };
	s->slots = calloc(size, sizeof(*s->slots));
	s->memory = calloc(size, (size_t)out_max + in_max);
	s->again_log = calloc(LAB_LOG_MAX, sizeof(*s->again_log));
	assert_true(s->slots && s->memory && s->again_log);
	for (i = 0; i < size; i++) {
		s->slots[i].out = s->memory + i * ((size_t)out_max + in_max);
		s->slots[i].in = s->slots[i].out + out_max;
	}
}

void lab_source_fini(struct lab_source *s)
{
	free(s->slots);
	free(s->memory);
	free(s->again_log);
	*s = (struct lab_source){ 0 };
}

void lab_source_plan(struct lab_source *s, uint32_t cnt, uint32_t type, uint32_t out_len,
		     uint32_t in_len)
{
	assert_true(s->plan_cnt < VHX_ARRAY_SIZE(s->plan) || !s->todo);
	if (!s->todo)
		s->plan_cnt = 0;
	in_len += s->has_status;
	assert_true(out_len <= s->out_max && in_len <= s->in_max);
	s->plan[s->plan_cnt++] = (struct lab_request){ type, out_len, in_len };
	s->todo += cnt;
	if (s->q)
		vhx_fqueue_kick(s->q);
}

/* Pieces of odd lengths: framing must not matter. */
static uint32_t pieces(struct iovec *iov, uint8_t *p, uint32_t len)
{
	static const uint32_t cuts[] = { 16, 1001, 4096 };
	uint32_t cnt = 0, i;

	for (i = 0; i < VHX_ARRAY_SIZE(cuts) && len > cuts[i]; i++) {
		iov[cnt++] = (struct iovec){ p, cuts[i] };
		p += cuts[i];
		len -= cuts[i];
	}
	if (len)
		iov[cnt++] = (struct iovec){ p, len };
	return cnt;
}

static void slot_fill(struct lab_source *s, struct lab_slot *slot, const struct lab_request *r)
{
	struct lab_head head = { .type = vhx_le32_of(r->type) };

	slot->busy = true;
	slot->completions = 0;
	slot->seq = s->seq++;
	slot->type = r->type;
	slot->seed = 0x1000 + slot->seq;
	slot->out_len = r->out_len;
	slot->in_len = r->in_len;
	head.seed = vhx_le32_of(slot->seed);
	lab_fill(slot->out, slot->seed, 0, r->out_len);
	memcpy(slot->out, &head, vhx_min_u64(sizeof(head), r->out_len));
	memset(slot->in, LAB_POISON, r->in_len);
	slot->out_cnt = pieces(slot->out_iov, slot->out, r->out_len);
	slot->in_cnt = pieces(slot->in_iov, slot->in, r->in_len);
}

static void slot_describe(const struct lab_source *s, const struct lab_slot *slot,
			  struct vhx_frequest *req)
{
	*req = (struct vhx_frequest){
		.id = (uint16_t)(slot - s->slots),
		.out = slot->out_iov,
		.in = slot->in_iov,
		.out_cnt = slot->out_cnt,
		.in_cnt = slot->in_cnt,
		.out_len = slot->out_len,
		.in_len = slot->in_len,
	};
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct lab_source *s = ctx;
	uint16_t i;

	assert_false(s->gone);
	if (!s->todo || s->in_flight == s->size)
		return 0;
	/* Ids come in no particular order. */
	for (i = (uint16_t)(s->seq * 7 % s->size); s->slots[i].busy;
	     i = (uint16_t)((i + 1) % s->size))
		;
	if (s->seq && s->seq == s->odd_seq)
		slot_fill(s, &s->slots[i], &s->odd);
	else
		slot_fill(s, &s->slots[i], &s->plan[s->seq % s->plan_cnt]);
	s->todo--;
	s->in_flight++;
	slot_describe(s, &s->slots[i], req);
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	struct lab_source *s = ctx;

	assert_false(s->gone);
	assert_true(id < s->size && s->slots[id].busy);
	s->agains++;
	if (s->again_error)
		return s->again_error;
	if (s->again_cnt < LAB_LOG_MAX)
		s->again_log[s->again_cnt++] = s->slots[id].seq;
	slot_describe(s, &s->slots[id], req);
	return 0;
}

static bool untouched(const uint8_t *p, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i++) {
		if (p[i] != LAB_POISON)
			return false;
	}
	return true;
}

static void answer_check(struct lab_source *s, const struct lab_slot *slot, uint32_t used_len)
{
	uint32_t data = slot->in_len - (s->has_status && slot->in_len);
	vhx_le32 told;

	assert_int_equal(used_len, slot->in_len);
	if (slot->out_len) {
		assert_true(lab_same(slot->in, ~slot->seed, 0, data));
	} else {
		memcpy(&told, slot->in, sizeof(told));
		assert_true(vhx_le32_get(told) > s->last_in_seq);
		s->last_in_seq = vhx_le32_get(told);
		assert_true(lab_same(slot->in + 4, s->last_in_seq, 4, data - 4));
	}
	s->ok++;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct lab_source *s = ctx;
	struct lab_slot *slot = &s->slots[id];

	assert_false(s->gone);
	assert_true(id < s->size && slot->busy);
	assert_int_equal(slot->completions++, 0);
	if (used_len || (!slot->in_len && s->has_status)) {
		answer_check(s, slot, used_len);
	} else if (s->has_status) {
		assert_int_equal(slot->in[slot->in_len - 1], LAB_IOERR);
		s->errors++;
	} else if (slot->in_len) {
		assert_true(untouched(slot->in, slot->in_len));
		s->empty++;
	} else {
		s->ok++;
	}
	slot->busy = false;
	s->latest = (uint32_t)vhx_max_u64(s->latest, s->seq - slot->seq);
	s->in_flight--;
	s->hidden++;
	if (s->todo)
		vhx_fqueue_kick(s->q);
	if (s->on_complete)
		s->on_complete(s);
}

static void source_written(void *ctx, const void *p, uint64_t len)
{
	struct lab_source *s = ctx;
	const uint8_t *at = p;

	assert_false(s->gone);
	assert_true(at >= s->memory &&
		    at + len <= s->memory + s->size * ((size_t)s->out_max + s->in_max));
}

static void source_flush(void *ctx)
{
	struct lab_source *s = ctx;

	assert_false(s->gone);
	s->visible += s->hidden;
	s->hidden = 0;
	s->flushes++;
}

static bool source_arm(void *ctx)
{
	struct lab_source *s = ctx;

	assert_false(s->gone || s->armed);
	if (s->todo && s->in_flight < s->size)
		return true;
	s->armed = true;
	return false;
}

static void source_disarm(void *ctx)
{
	struct lab_source *s = ctx;

	assert_true(s->armed && !s->gone);
	s->armed = false;
}

static void source_broken(void *ctx, int reason)
{
	struct lab_source *s = ctx;

	assert_true(reason < 0);
	s->broken++;
}

const struct vhx_fsource_ops lab_source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.written = source_written,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_disarm,
	.broken = source_broken,
};

/* The frontend's devices */

static void fdev_known(void *ctx)
{
	((struct lab_fdev *)ctx)->known++;
}

static void fdev_config_changed(void *ctx)
{
	((struct lab_fdev *)ctx)->config_changes++;
}

static void fdev_config_written(void *ctx, bool refused)
{
	struct lab_fdev *f = ctx;

	f->config_written++;
	f->refused += refused;
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
	((struct lab_fdev *)ctx)->stopped[index]++;
}

static void fdev_reset_done(void *ctx)
{
	((struct lab_fdev *)ctx)->resets_done++;
}

static void fdev_unusable(void *ctx, int reason)
{
	struct lab_fdev *f = ctx;

	f->unusable++;
	f->unusable_reason = reason;
}

static const struct vhx_fdev_ops fdev_ops = {
	.known = fdev_known,
	.config_changed = fdev_config_changed,
	.config_written = fdev_config_written,
	.queue_stopped = fdev_queue_stopped,
	.reset_done = fdev_reset_done,
	.unusable = fdev_unusable,
};

/* The world */

const struct lab_config lab_default = {
	.ring_len = 1u << 20,
	.staging = 2u << 20,
	.device_id = LAB_BLK,
	.queues = 1,
	.queue_size = 256,
	.max_out = (128u << 10) + sizeof(struct lab_head),
	.max_in = (128u << 10) + 1,
};

static int world_connect(void *ctx, struct vhx_port **port)
{
	struct lab *w = ctx;
	struct vhx_port *ends[2];

	if (w->refuse_connect || (!w->be && !w->intercept))
		return -ECONNREFUSED;
	assert_int_equal(lab_provider->pair(w->cfg.ring_len, ends), 0);
	w->connects++;
	*port = ends[0];
	if (w->intercept)
		w->intercept(w->intercept_ctx, ends[1]);
	else
		assert_int_equal(vhx_backend_add_port(w->be, ends[1]), 0);
	return 0;
}

static struct lab_device *device_add(struct lab *w, uint32_t i, uint32_t device_id)
{
	static const char *const names[] = { "one", "two" };
	struct lab_device *d = lab_device_new(names[i], device_id);

	d->dev.num_queues = w->cfg.queues;
	d->dev.features |= i ? 0 : w->cfg.features;
	d->dev.queue_size_max = 1024;
	d->dev.max_out = w->cfg.max_out;
	d->dev.max_in = w->cfg.max_in;
	memset(d->dev.uuid, w->uuid + (int)i, sizeof(d->dev.uuid));
	memset(d->dev.cache_id, w->cache_id, sizeof(d->dev.cache_id));
	assert_int_equal(vhx_backend_add_device(w->be, &d->dev), 0);
	return d;
}

void lab_open_backend(struct lab *w)
{
	struct vhx_backend_config cfg = { .loop = w->loop,
					  .log = w->cfg.log,
					  .staging = w->cfg.staging };

	assert_int_equal(vhx_backend_new(&cfg, &w->be), 0);
	w->dev[0] = device_add(w, 0, w->cfg.device_id);
	if (w->cfg.two_devices)
		w->dev[1] = device_add(w, 1, LAB_BLK);
}

void lab_close_backend(struct lab *w)
{
	w->would_blocks += lab_be_stats(w).would_blocks;
	vhx_backend_free(w->be);
	w->be = NULL;
	w->dev[0] = w->dev[1] = NULL;
}

void lab_open_frontend(struct lab *w)
{
	struct vhx_frontend_config cfg = {
		.loop = w->loop, .connect = world_connect, .ctx = w, .peer = "lab"
	};

	assert_int_equal(vhx_frontend_new(&cfg, &w->fe), 0);
	if (!w->cfg.only_second)
		assert_int_equal(
			vhx_fdev_new(w->fe, "one", &fdev_ops, &w->fdev[0], &w->fdev[0].fdev), 0);
	if (w->cfg.two_devices)
		assert_int_equal(
			vhx_fdev_new(w->fe, "two", &fdev_ops, &w->fdev[1], &w->fdev[1].fdev), 0);
	vhx_frontend_start(w->fe);
}

static bool world_round(struct vhx_loop_hook *hook)
{
	struct lab *w = vhx_container_of(hook, struct lab, hook);
	void (*then)(struct lab * w) = w->then;

	if (!then || w->rounds--)
		return false;
	w->then = NULL;
	then(w);
	return true;
}

void lab_after(struct lab *w, uint32_t rounds, void (*then)(struct lab *w))
{
	w->rounds = rounds;
	w->then = then;
}

void lab_open(struct lab *w, const struct lab_config *cfg)
{
	*w = (struct lab){ .cfg = *cfg, .uuid = 0x11, .cache_id = 0x22 };
	assert_int_equal(vhx_loop_new(0, &w->loop), 0);
	w->hook.run = world_round;
	vhx_loop_hook_add(w->loop, &w->hook);
	lab_open_backend(w);
	lab_open_frontend(w);
	lab_settle(w);
	assert_true(vhx_fdev_known(w->fdev[cfg->only_second].fdev));
}

void lab_close(struct lab *w)
{
	uint32_t i;

	vhx_frontend_free(w->fe);
	if (w->be)
		vhx_backend_free(w->be);
	vhx_loop_hook_del(w->loop, &w->hook);
	vhx_loop_free(w->loop);
	for (i = 0; i < LAB_QUEUES_MAX; i++)
		lab_source_fini(&w->src[i]);
	*w = (struct lab){ 0 };
}

void lab_start_of(struct lab *w, uint32_t dev, uint16_t index, uint32_t src, uint16_t size)
{
	struct lab_source *s = &w->src[src];
	bool has_status = dev || w->cfg.device_id == LAB_BLK;

	if (!s->slots)
		lab_source_init(s, size, w->cfg.max_out, w->cfg.max_in);
	s->has_status = has_status;
	s->armed = false;
	s->gone = false;
	assert_int_equal(vhx_fdev_set_features(w->fdev[dev].fdev,
					       vhx_fdev_identity(w->fdev[dev].fdev)->features),
			 0);
	assert_int_equal(
		vhx_fqueue_start(w->fdev[dev].fdev, index, size, &lab_source_ops, s, &s->q), 0);
}

void lab_start(struct lab *w, uint16_t index)
{
	lab_start_of(w, 0, index, index, w->cfg.queue_size);
}

void lab_turn(struct lab *w)
{
	assert_int_equal(vhx_loop_once(w->loop, 0), 0);
}

void lab_settle(struct lab *w)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(w->loop), .events = POLLIN };
	uint32_t turns = 0;

	do {
		lab_turn(w);
		assert_true(++turns < TURNS_MAX);
	} while (poll(&pfd, 1, 0) == 1);
}

void lab_wait(struct lab *w, uint64_t ns)
{
	lab_clock_skip(ns);
	lab_settle(w);
}

void lab_finish(struct lab *w, struct lab_source *s, uint32_t cnt)
{
	uint32_t waits = 0;

	lab_settle(w);
	while (s->visible < cnt) {
		assert_true(++waits < WAITS_MAX);
		lab_wait(w, 100 * LAB_MS);
	}
	assert_int_equal(s->visible, cnt);
	assert_int_equal(s->hidden, 0);
}

struct vhx_port_stats lab_fe_stats(struct lab *w)
{
	const struct vhx_port *p = vhx_frontend_port(w->fe);

	return p ? p->stats : (struct vhx_port_stats){ 0 };
}

struct be_view {
	struct vhx_port_stats stats;
	uint64_t credits;
	struct vhx_backend_stats dev[2];
	uint32_t dev_cnt;
};

static void view_channel(void *ctx, const struct vhx_port *port, const char *state,
			 uint64_t credits_sent)
{
	struct be_view *v = ctx;

	v->stats = port->stats;
	v->credits = credits_sent;
}

static void view_device(void *ctx, const struct vhx_device *dev, const char *state,
			const struct vhx_backend_stats *stats)
{
	struct be_view *v = ctx;

	v->dev[v->dev_cnt++] = *stats;
}

static struct be_view be_view(struct lab *w)
{
	static const struct vhx_backend_visitor visitor = { view_channel, view_device };
	struct be_view v = { 0 };

	if (w->be)
		vhx_backend_visit(w->be, &visitor, &v);
	return v;
}

struct vhx_port_stats lab_be_stats(struct lab *w)
{
	return be_view(w).stats;
}

uint64_t lab_be_credits(struct lab *w)
{
	return be_view(w).credits;
}

struct vhx_backend_stats lab_dev_stats(struct lab *w, uint32_t dev)
{
	return be_view(w).dev[dev];
}

void lab_assert_never_full(struct lab *w)
{
	assert_int_equal(w->would_blocks, 0);
	assert_int_equal(lab_fe_stats(w).would_blocks, 0);
	assert_int_equal(lab_be_stats(w).would_blocks, 0);
}

int lab_main(int argc, char **argv, int (*run)(void))
{
	lab_provider = provider_find(argc > 1 ? argv[1] : "loop");
	if (!lab_provider) {
		fprintf(stderr, "%s: no such provider\n", argv[1]);
		return 2;
	}
	cmocka_set_message_output(CM_OUTPUT_STDOUT);
	return run();
}
