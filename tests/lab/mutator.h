/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port whose sender lies: it stands between a real backend and a real port, and spoils what goes out.
 * What comes in it lets pass. For lab programs that want to know what the peer makes of it.
 *
 * Which of the messages is spoiled, and how, follows from the seed alone.
 */
#ifndef VHX_LAB_MUTATOR_H
#define VHX_LAB_MUTATOR_H

#include "exchange/exchange.h"

/* Numbers that repeat with their seed (xorshift64*). The seed is not 0. */
struct vhx_random {
	uint64_t state;
};

static inline uint32_t vhx_random_next(struct vhx_random *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return (uint32_t)((r->state * 0x2545f4914f6cdd1dull) >> 32);
}

static inline uint32_t vhx_random_below(struct vhx_random *r, uint32_t n)
{
	return vhx_random_next(r) % n;
}

enum vhx_mutator_target {
	VHX_MUTATOR_NOTHING,
	VHX_MUTATOR_CONTROL, /* HELLO and CONTROL */
	VHX_MUTATOR_DATA, /* USED */
	VHX_MUTATOR_WINDOW, /* the words and bytes of the window, behind the port's back */
	VHX_MUTATOR_ALL,
	VHX_MUTATOR_TARGET_CNT_,
};

struct vhx_mutator_config {
	struct vhx_random *random;
	enum vhx_mutator_target target;
	uint32_t skip; /* so many messages of the target go unspoiled first */
	uint32_t one_in; /* then one in so many is spoiled */
	uint8_t *window; /* all of it, writable */
	uint32_t size;
	/* Before all that, and not counted: changes a message in place. False: it is lost. May be NULL. */
	bool (*edit)(void *ctx, uint32_t type, uint8_t *bytes, uint32_t len);
	uint64_t *spoiled; /* counts */
	void (*after)(void *ctx); /* something was spoiled. May be NULL */
	void *ctx;
};

/* Takes @inner over, also when it fails: NULL, no memory. */
struct vhx_port *vhx_mutator_new(struct vhx_port *inner, const struct vhx_mutator_config *cfg);

#endif
