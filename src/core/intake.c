// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: intake.h. */
#include "core/intake.h"

void vhx_intake_init(struct vhx_intake *t, struct vhx_intake_slot *slots, uint16_t size,
		     uint32_t max_out, uint32_t max_in, uint32_t head_len, uint32_t window)
{
	uint32_t i;

	*t = (struct vhx_intake){
		.slots = slots,
		.size = size,
		.receiving = -1,
		.max_out = max_out,
		.max_in = max_in,
		.head_len = head_len,
		.window = window,
	};
	for (i = 0; i < size; i++)
		slots[i] = (struct vhx_intake_slot){ 0 };
}

static uint32_t units(const struct vhx_intake *t, uint32_t len)
{
	if (len <= t->head_len)
		return 0;
	return (uint32_t)vhx_div_round_up_u64(len - t->head_len, VHX_WINDOW_UNIT);
}

static int first_check(const struct vhx_intake *t, const struct vhx_avail *a)
{
	bool over = a->out_len > t->max_out || a->in_len > t->max_in;

	if (t->receiving >= 0 || t->slots[a->id].state != VHX_INTAKE_FREE)
		return -EPROTO;
	/* TOO_BIG and nothing else is how a request over the limits comes. */
	return over == !!(a->flags & VHX_AVAIL_TOO_BIG) ? 0 : -EPROTO;
}

static int first_book(struct vhx_intake *t, const struct vhx_avail *a)
{
	bool too_big = a->flags & VHX_AVAIL_TOO_BIG;
	uint32_t cost = units(t, too_big ? a->chunk_len : a->out_len);

	if (cost > t->window - t->window_used)
		return -EPROTO;
	t->window_used += cost;
	t->slots[a->id] = (struct vhx_intake_slot){
		.state = VHX_INTAKE_RECEIVING,
		.too_big = too_big,
		.out_len = a->out_len,
		.in_len = a->in_len,
		.window = cost,
	};
	t->receiving = a->id;
	t->count++;
	return 0;
}

static int next_check(const struct vhx_intake *t, const struct vhx_avail *a)
{
	const struct vhx_intake_slot *s = &t->slots[a->id];

	if (t->receiving != a->id || s->out_len != a->out_len || s->in_len != a->in_len)
		return -EPROTO;
	return a->chunk_len <= s->out_len - s->received ? 0 : -EPROTO;
}

int vhx_intake_record(struct vhx_intake *t, const struct vhx_avail *a, uint32_t *off)
{
	struct vhx_intake_slot *s;
	int ret;

	if (a->id >= t->size)
		return -EPROTO;
	if (a->flags & VHX_AVAIL_FIRST)
		ret = first_check(t, a) ?: first_book(t, a);
	else
		ret = next_check(t, a);
	if (ret)
		return ret;
	s = &t->slots[a->id];
	*off = s->received;
	s->received += a->chunk_len;
	if (!s->too_big && s->received < s->out_len)
		return 0;
	s->state = VHX_INTAKE_HELD;
	t->receiving = -1;
	return 1;
}

void vhx_intake_end(struct vhx_intake *t, uint16_t id)
{
	struct vhx_intake_slot *s = &t->slots[id];

	assert(id < t->size && s->state != VHX_INTAKE_FREE);
	t->window_used -= s->window;
	if (t->receiving == id)
		t->receiving = -1;
	*s = (struct vhx_intake_slot){ 0 };
	t->count--;
}
