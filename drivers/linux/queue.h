/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Between the files that make a virtqueue: queue.c, whose theory of operation names objects and
 * locks, pump.c, answer.c, ending.c, early.c and commands.c. Everything is under the lock,
 * hmx_port.lock, where it does not say otherwise.
 */
#ifndef HMX_QUEUE_H
#define HMX_QUEUE_H

#include "chain.h"

static inline spinlock_t *hmx_queue_lock(const struct hmx_queue *q)
{
	return &q->dev->ch->port->lock;
}

static inline u16 hmx_slot_id(const struct hmx_queue *q, const struct hmx_slot *s)
{
	return s - q->slots;
}

static inline bool hmx_slot_free(const struct hmx_slot *s)
{
	return list_empty(&s->node);
}

/* Posted requests of most types end with their driver only, which would post them again. */
static inline bool hmx_slot_ends(const struct hmx_queue *q, const struct hmx_slot *s)
{
	return s->out_len || q->dev->type->posted_end;
}

static inline void hmx_slot_window_give(struct hmx_queue *q, struct hmx_slot *s)
{
	q->window_used -= s->window;
	s->window = 0;
}

/* A USED record in private memory. */
struct hmx_used {
	u16 id, flags;
	u32 in_off, used_len, chunk_len;
};

/* Are its requests commands, of which a replaced backend is told? */
static inline bool hmx_queue_commands(const struct hmx_queue *q)
{
	return q->dev->type->command && q->patience == HMX_PATIENCE_SHORT;
}

/* Are there chains that were not taken? */
static inline bool hmx_queue_waiting(const struct hmx_queue *q)
{
	return ring16(READ_ONCE(q->vring->avail->idx)) != q->last_avail;
}

/* queue.c */

/* -EINVAL, and the ring is left alone from now on. */
int hmx_queue_break(struct hmx_queue *q, const char *what);
/* 1 and the next head of the avail ring; 0: there is none; -EINVAL: the queue is broken. */
int hmx_queue_head(struct hmx_queue *q, u16 *head);
/* The same, and the cursor is on the chain, which is in flight now. @cost: of looking at it. */
int hmx_queue_take(struct hmx_queue *q, u32 *cost);
/*
 * All was taken: asks for the next notify. True: a chain has come meanwhile. Without EVENT_IDX the
 * driver notifies every time.
 */
bool hmx_queue_arm(struct hmx_queue *q);
/* Invisible until hmx_queue_publish() moves the used index. True: the driver wants an interrupt. */
void hmx_used_put(struct hmx_queue *q, u16 id, u32 used_len);
bool hmx_queue_publish(struct hmx_queue *q);
/* From FREE to in flight, the youngest; and back. */
struct hmx_slot *hmx_slot_begin(struct hmx_queue *q, u16 id, const struct hmx_chain *c);
void hmx_slot_end(struct hmx_queue *q, struct hmx_slot *s);
void hmx_cursor_set(struct hmx_queue *q, struct hmx_slot *s);
/* To the oldest. */
void hmx_cursor_reset(struct hmx_queue *q);
/* Nobody will end the group. What was answered in it is in flight, as if it was not. */
void hmx_group_forget(struct hmx_queue *q);

/* pump.c */

/* Does the cursor stand on a request that was found to be behind others, on other queues? */
static inline bool hmx_queue_behind(const struct hmx_queue *q)
{
	return q->live && q->cursor && q->behind;
}

/* hmx_queue_pump(), in notify: at the cost of HMX_NOTIFY_BYTES and no more. True: there is more. */
bool hmx_queue_pump_notified(struct hmx_queue *q);

/* commands.c */

/* A request was answered, and its chain is about to go back. */
void hmx_commands_note(struct hmx_queue *q, const struct hmx_slot *s);
/*
 * The queue's turn: tells the backend what it has not been told yet, if it is by this queue. True:
 * it has not been told of all; the device's queues stand still.
 */
bool hmx_commands_pump(struct hmx_queue *q);
/* Is what comes next on this queue about a command that it was told of; 0, or -EPROTO. */
bool hmx_commands_await(const struct hmx_queue *q);
int hmx_commands_answer(struct hmx_queue *q, struct hmx_rx *rx, const struct hmx_used *u);

/* ending.c */

/*
 * Writes what a request's type has for an answer when nobody else has one (type.c), and returns its
 * used_len: into a chain that was measured, and into one that is measured for it. Any context.
 */
u32 hmx_ending_write(const struct hmx_queue *q, u16 head, const struct hmx_chain *c);
u32 hmx_ending_make(const struct hmx_queue *q, u16 head);
/*
 * Of who spins for this queue: without a backend it gets errors, and from one that takes too long
 * as well.
 */
void hmx_hurry_init(struct hmx_queue *q);
void hmx_queue_hurry(struct hmx_queue *q);
/* The work, without the lock: with errors, all that is in flight; and all that is in the ring. */
void hmx_queue_fail_flight(struct hmx_queue *q);
void hmx_queue_fail_ring(struct hmx_queue *q);

#endif
