// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"

#include <stdlib.h>
#include <string.h>

#include "util/checked.h"

struct fake fake;

void fake_init(void)
{
	fake = (struct fake){ .reserve_max = UINT32_MAX };
}

static struct fake_request *fake_of(struct vhx_request *req)
{
	struct fake_request *r = vhx_container_of(req, struct fake_request, req);

	assert_false(r->completed);
	assert_false(r->dropped);
	return r;
}

static void *pages_new(uint32_t len)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, VHX_PAGE, vhx_round_up_u32(len + 1, VHX_PAGE)), 0);
	return p;
}

static struct iovec *iov_new(uint8_t *pages, uint32_t len, unsigned int *cnt)
{
	struct iovec *iov;
	unsigned int i;

	*cnt = (len + VHX_PAGE - 1) / VHX_PAGE;
	iov = calloc(*cnt + 1, sizeof(*iov));
	assert_non_null(iov);
	for (i = 0; i < *cnt; i++) {
		iov[i].iov_base = pages + (size_t)i * VHX_PAGE;
		iov[i].iov_len = vhx_min_u64(len - i * VHX_PAGE, VHX_PAGE);
	}
	return iov;
}

struct fake_request *fake_request_new(struct vhx_device *dev, struct vhx_queue *queue,
				      const void *out, uint32_t out_len, uint32_t in_len)
{
	struct vhx_device_limits limits = { .max_out = dev->max_out,
					    .max_in = dev->max_in,
					    .head_len = dev->ops->head_len,
					    .max_staged = dev->max_in };
	struct fake_request *r = calloc(1, sizeof(*r));
	uint32_t head_len;

	assert_non_null(r);
	if (dev->ops->queue_limits)
		dev->ops->queue_limits(dev, queue->index, &limits);
	head_len = (uint32_t)vhx_min_u64(limits.head_len, out_len);
	r->req.head_len = limits.head_len;
	r->req.too_big = out_len > limits.max_out || in_len > limits.max_in;
	r->req.dev = dev;
	r->req.queue = queue;
	r->req.out_len = out_len;
	r->req.in_len = in_len;
	r->payload = pages_new(out_len - head_len);
	/* Of a posted request there may be no place for its bytes either. */
	if (head_len)
		memcpy(r->req.head, out, head_len);
	if (out_len > head_len)
		memcpy(r->payload, (const uint8_t *)out + head_len, out_len - head_len);
	r->out = iov_new(r->payload, out_len - head_len, &r->req.out_cnt);
	r->req.out = r->out;
	r->staging = pages_new(in_len);
	r->req.in = iov_new(r->staging, in_len, &r->req.in_cnt);
	r->answer = malloc((size_t)in_len + 1);
	r->sent = malloc((size_t)in_len + 1);
	assert_non_null(r->answer);
	assert_non_null(r->sent);
	fake_request_rearm(r);
	return r;
}

void fake_request_rearm(struct fake_request *r)
{
	memset(r->answer, 0xee, r->req.in_len);
	memset(r->sent, 0, r->req.in_len);
	r->req.group = false;
	memset(r->req.priv, 0, sizeof(r->req.priv));
	memset(&r->req.node, 0, sizeof(r->req.node));
	r->reserved = r->reserved_off = r->staged_off = r->staged_len = r->lead_len = 0;
	r->commits = 0;
	r->used_len = 0;
	r->completed = r->dropped = false;
	r->req.in_cnt = 0;
}

void fake_request_free(struct fake_request *r)
{
	assert_true(r->completed || r->dropped);
	free(r->out);
	free(r->req.in);
	free(r->payload);
	free(r->staging);
	free(r->answer);
	free(r->sent);
	free(r);
}

static void fake_send(struct fake_request *r, uint32_t off, const uint8_t *buf, uint32_t len)
{
	assert_true(vhx_range_within(off, len, r->req.in_len));
	if (buf)
		memcpy(r->answer + off, buf, len);
	memset(r->sent + off, 1, len);
}

/* What the backend does about a refusal that no submit can report. */
static void room_refused(struct vhx_request *req)
{
	if (fake.submitting)
		return;
	assert_non_null(req->dev->ops->room);
	req->queue->room_wanted++;
}

uint32_t vhx_request_in_reserve_max(const struct vhx_request *req)
{
	return fake.reserve_max;
}

uint16_t vhx_queue_index(const struct vhx_queue *queue)
{
	return queue->index;
}

void *vhx_request_in_reserve(struct vhx_request *req, uint32_t in_off, uint32_t len, bool *later)
{
	struct fake_request *r = fake_of(req);

	assert_int_equal(r->reserved, 0);
	assert_true(len > 0 && vhx_range_within(in_off, len, req->in_len));
	if (len > fake.reserve_max)
		return NULL;
	if (fake.later_skip) {
		fake.later_skip--;
	} else if (fake.later) {
		fake.later--;
		*later = true;
		room_refused(req);
		return NULL;
	}
	r->reserved = len;
	r->reserved_off = in_off;
	return r->answer + in_off;
}

void vhx_request_in_commit(struct vhx_request *req, uint32_t len)
{
	struct fake_request *r = fake_of(req);

	assert_true(r->reserved > 0 && len <= r->reserved);
	fake_send(r, r->reserved_off, NULL, len);
	r->commits += len > 0;
	r->reserved = 0;
}

int vhx_request_in_buffer(struct vhx_request *req, uint32_t in_off, uint32_t len)
{
	return vhx_request_in_buffer_led(req, in_off, 0, len);
}

int vhx_request_in_buffer_led(struct vhx_request *req, uint32_t in_off, uint32_t lead, uint32_t len)
{
	uint32_t first = lead != 0, i;
	struct fake_request *r = fake_of(req);

	assert_int_equal(r->reserved, 0);
	assert_int_equal(r->staged_len, 0);
	assert_true(len > 0 && lead <= VHX_PAGE &&
		    vhx_range_within(in_off, lead + len, req->in_len));
	if (fake.no_staging) {
		fake.no_staging--;
		room_refused(req);
		return -EAGAIN;
	}
	r->staged_off = in_off;
	r->staged_len = lead + len;
	r->lead_len = lead;
	req->in_cnt = (len + VHX_PAGE - 1) / VHX_PAGE + first;
	if (lead)
		req->in[0] = (struct iovec){ r->lead, lead };
	for (i = first; i < req->in_cnt; i++) {
		req->in[i].iov_base = r->staging + (size_t)(i - first) * VHX_PAGE;
		req->in[i].iov_len = vhx_min_u64(len - (i - first) * VHX_PAGE, VHX_PAGE);
	}
	return 0;
}

void vhx_request_complete(struct vhx_request *req, uint32_t valid, const void *tail,
			  uint32_t tail_off, uint32_t tail_len, uint32_t used_len)
{
	struct fake_request *r = fake_of(req);
	uint32_t i;

	assert_int_equal(r->reserved, 0);
	assert_true(valid <= r->staged_len && tail_len <= VHX_TAIL_MAX);
	fake_send(r, r->staged_off, r->lead, (uint32_t)vhx_min_u64(valid, r->lead_len));
	if (valid > r->lead_len)
		fake_send(r, r->staged_off + r->lead_len, r->staging, valid - r->lead_len);
	fake_send(r, tail_off, tail, tail_len);
	assert_true(used_len <= req->in_len);
	for (i = 0; i < used_len; i++)
		assert_true(r->sent[i]);
	r->used_len = used_len;
	r->completed = true;
	r->order = ++fake.completions;
	fake.group_open = req->group ? fake.group_open + 1 : 0;
	fake.in_flight--;
}

void vhx_request_drop(struct vhx_request *req)
{
	fake_of(req)->dropped = true;
	fake.in_flight--;
}

void vhx_queue_quiesced(struct vhx_queue *queue)
{
	queue->quiesced++;
	queue->room_wanted = 0;
	if (fake.restarts)
		fake.restarts->ops->restarted(fake.restarts);
}

void vhx_device_config_changed(struct vhx_device *dev)
{
	fake.config_changes++;
}

void fake_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	if (!queue->room_wanted)
		return;
	queue->room_wanted = 0;
	dev->ops->room(dev, queue);
}

void fake_submit(struct fake_request *r)
{
	struct vhx_device *dev = r->req.dev;
	int ret, tries = 0;

	fake.in_flight++;
	fake.submitting = true;
	while ((ret = dev->ops->submit(dev, &r->req)) == -EAGAIN)
		assert_true(++tries < 1000);
	fake.submitting = false;
	assert_int_equal(ret, 0);
	if (dev->ops->kick)
		dev->ops->kick(dev);
}

void fake_wait(struct fake_request *r)
{
	while (!r->completed && !r->dropped)
		assert_int_equal(vhx_loop_once(r->req.dev->loop, -1), 0);
}
