/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Turns: who may open the next message when credit has run out.
 *
 * Those who were refused wait in the order in which they were, and a new message is opened for the first of them
 * only; so nobody starves, not even who needs much room beside others who need little. Who waits asks again
 * in every pass; who does not has lost its turn.
 */
#ifndef VHX_LINK_TURN_H
#define VHX_LINK_TURN_H

#include "util/list.h"

/* One per queue, kept by its owner for as long as the link is open; zero at first. */
struct vhx_link_turn {
	struct vhx_list node;
	bool waiting;
};

struct vhx_link_turns {
	struct vhx_list waiting; /* the first one is next */
	bool asked; /* the first one did, in this pass */
	bool moved; /* it was served, and others may be now */
};

void vhx_link_turns_init(struct vhx_link_turns *t);
/* Nobody waits any more. */
void vhx_link_turns_clear(struct vhx_link_turns *t);

/* May @turn try now? Asking counts as such. */
bool vhx_link_turns_ask(struct vhx_link_turns *t, const struct vhx_link_turn *turn);
/* How the try ended, or that there was none. */
void vhx_link_turns_served(struct vhx_link_turns *t, struct vhx_link_turn *turn);
void vhx_link_turns_refused(struct vhx_link_turns *t, struct vhx_link_turn *turn);

/* The end of a pass. True: somebody may go on at once. */
bool vhx_link_turns_pass(struct vhx_link_turns *t);

#endif
