// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: flight.h. */
#include "core/flight.h"

void vhx_flight_init(struct vhx_flight *f, struct vhx_flight_slot *slots, uint16_t size)
{
	uint32_t i;

	*f = (struct vhx_flight){ .slots = slots, .size = size };
	vhx_list_init(&f->order);
	for (i = 0; i < size; i++) {
		slots[i] = (struct vhx_flight_slot){ 0 };
		vhx_list_init(&slots[i].node);
	}
}

void vhx_flight_limits(struct vhx_flight *f, uint32_t window, uint32_t head_len)
{
	assert(!f->window_used);
	f->window = window;
	f->head_len = head_len;
}

int vhx_flight_begin(struct vhx_flight *f, uint16_t id, uint32_t out_len, uint32_t in_len)
{
	struct vhx_flight_slot *s;

	if (id >= f->size || vhx_flight_active(f, id))
		return -EINVAL;
	s = &f->slots[id];
	s->out_len = out_len;
	s->in_len = in_len;
	s->sent = 0;
	s->in_next = 0;
	s->in_prefix = 0;
	s->window = 0;
	s->deaths = 0;
	s->begun = false;
	s->kind = 0;
	vhx_list_add_tail(&f->order, &s->node);
	f->count++;
	return 0;
}

uint32_t vhx_flight_cost(const struct vhx_flight *f, uint32_t out_len)
{
	if (out_len <= f->head_len)
		return 0;
	return (uint32_t)vhx_div_round_up_u64(out_len - f->head_len, VHX_WINDOW_UNIT);
}

bool vhx_flight_window_take(struct vhx_flight *f, uint16_t id, uint32_t units)
{
	struct vhx_flight_slot *s = &f->slots[id];
	uint32_t others = f->window_used - s->window;

	if (units > f->window - others)
		return false;
	f->window_used = others + units;
	s->window = units;
	return true;
}

static bool chunk_fits(const struct vhx_flight_slot *s, const struct vhx_used *u)
{
	return !u->chunk_len || (u->in_off >= s->in_next &&
				 vhx_range_within(u->in_off, u->chunk_len, s->in_len));
}

int vhx_flight_used(struct vhx_flight *f, const struct vhx_used *u)
{
	struct vhx_flight_slot *s;
	uint32_t prefix;

	if (!vhx_flight_active(f, u->id))
		return -EPROTO;
	s = &f->slots[u->id];
	/* An answer before the question was asked whole cannot be one. */
	if (!s->begun || s->sent < s->out_len || !chunk_fits(s, u))
		return -EPROTO;
	prefix = s->in_prefix + (u->in_off == s->in_prefix ? u->chunk_len : 0);
	if (u->used_len > prefix)
		return -EPROTO;
	s->in_prefix = prefix;
	if (u->chunk_len)
		s->in_next = u->in_off + u->chunk_len;
	return 0;
}

static void window_give(struct vhx_flight *f, struct vhx_flight_slot *s)
{
	f->window_used -= s->window;
	s->window = 0;
}

void vhx_flight_end(struct vhx_flight *f, uint16_t id)
{
	struct vhx_flight_slot *s = &f->slots[id];

	assert(vhx_flight_active(f, id));
	window_give(f, s);
	vhx_list_del(&s->node);
	f->count--;
}

void vhx_flight_rewind(struct vhx_flight *f, bool death)
{
	struct vhx_list *pos;

	vhx_list_for_each(pos, &f->order) {
		struct vhx_flight_slot *s = vhx_list_entry(pos, struct vhx_flight_slot, node);

		window_give(f, s);
		if (death && s->begun)
			s->deaths++;
		s->begun = false;
		s->sent = 0;
		s->in_next = 0;
		s->in_prefix = 0;
	}
}
