// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: turn.h. */
#include "link/turn.h"

void vhx_link_turns_init(struct vhx_link_turns *t)
{
	*t = (struct vhx_link_turns){ .asked = false };
	vhx_list_init(&t->waiting);
}

static bool turn_is_first(const struct vhx_link_turns *t, const struct vhx_link_turn *turn)
{
	return turn->waiting && t->waiting.next == &turn->node;
}

static void turn_end(struct vhx_link_turns *t, struct vhx_link_turn *turn)
{
	turn->waiting = false;
	vhx_list_del(&turn->node);
	t->asked = false;
	t->moved = true;
}

static void first_end(struct vhx_link_turns *t)
{
	turn_end(t, vhx_list_first_entry(&t->waiting, struct vhx_link_turn, node));
}

void vhx_link_turns_clear(struct vhx_link_turns *t)
{
	while (!vhx_list_empty(&t->waiting))
		first_end(t);
}

bool vhx_link_turns_ask(struct vhx_link_turns *t, const struct vhx_link_turn *turn)
{
	bool first = turn_is_first(t, turn);

	t->asked |= first;
	return first || vhx_list_empty(&t->waiting);
}

void vhx_link_turns_served(struct vhx_link_turns *t, struct vhx_link_turn *turn)
{
	if (turn->waiting)
		turn_end(t, turn);
}

void vhx_link_turns_refused(struct vhx_link_turns *t, struct vhx_link_turn *turn)
{
	if (turn->waiting)
		return;
	turn->waiting = true;
	vhx_list_init(&turn->node);
	vhx_list_add_tail(&t->waiting, &turn->node);
	t->asked |= turn_is_first(t, turn);
}

bool vhx_link_turns_pass(struct vhx_link_turns *t)
{
	bool again;

	if (!vhx_list_empty(&t->waiting) && !t->asked && !t->moved)
		first_end(t);
	again = t->moved && !vhx_list_empty(&t->waiting);
	t->asked = false;
	t->moved = false;
	return again;
}
