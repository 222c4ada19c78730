// SPDX-License-Identifier: BSD-3-Clause
#include "core/credit.h"

#include <vhx/wire.h>

/* DESIGN: a quarter of the ring may be consumed before a bare CREDIT is due. */
#define CREDIT_OWED_SHARE 4

/* Both are provider's rules; asserted equal where the two meet (src/link). */
#define SLOT 16u

/*
 * Of the reserve, what control leaves to CREDIT: eight of them. Not more can be unacknowledged at once,
 * because each answers a quarter of a ring and all that comes from the peer acknowledges.
 */
#define BARE_RESERVE 256u
_Static_assert(BARE_RESERVE < VHX_CREDIT_RESERVE, "control keeps the larger part");

static uint32_t footprint(uint32_t len)
{
	return SLOT + ((len + SLOT - 1) & ~(SLOT - 1));
}

/* The largest message whose footprint fits @space. */
static uint32_t message_within(uint32_t space)
{
	return space < 2 * SLOT ? 0 : (space & ~(SLOT - 1)) - SLOT;
}

void vhx_credit_init(struct vhx_credit *c, uint32_t tx_ring, uint32_t rx_ring)
{
	*c = (struct vhx_credit){ .tx_ring = tx_ring, .rx_ring = rx_ring };
}

static uint32_t space_left(const struct vhx_credit *c, uint32_t reserve)
{
	uint32_t in_flight = c->sent - c->acked;

	if (c->tx_ring < reserve || in_flight >= c->tx_ring - reserve)
		return 0;
	return c->tx_ring - reserve - in_flight;
}

uint32_t vhx_credit_data_room(const struct vhx_credit *c)
{
	return message_within(space_left(c, VHX_CREDIT_RESERVE));
}

uint32_t vhx_credit_control_room(const struct vhx_credit *c)
{
	return message_within(space_left(c, BARE_RESERVE));
}

uint32_t vhx_credit_bare_room(const struct vhx_credit *c)
{
	return message_within(space_left(c, 0));
}

uint32_t vhx_credit_message_max(uint32_t tx_ring)
{
	uint32_t untold = tx_ring / CREDIT_OWED_SHARE;

	if (tx_ring - untold < VHX_CREDIT_RESERVE)
		return 0;
	return message_within(tx_ring - untold - VHX_CREDIT_RESERVE);
}

void vhx_credit_sent(struct vhx_credit *c, uint32_t len)
{
	c->sent += footprint(len);
}

void vhx_credit_consumed(struct vhx_credit *c, uint32_t len)
{
	c->consumed += footprint(len);
}

void vhx_credit_hold(struct vhx_credit *c, uint32_t len)
{
	c->held = footprint(len);
}

void vhx_credit_release(struct vhx_credit *c)
{
	c->held = 0;
}

uint32_t vhx_credit_tell(struct vhx_credit *c)
{
	c->told = c->consumed - c->held;
	return c->told;
}

int vhx_credit_acked(struct vhx_credit *c, uint32_t ack)
{
	uint32_t step = ack - c->acked;

	if (step > c->sent - c->acked)
		return -EPROTO;
	c->acked = ack;
	return step != 0;
}

bool vhx_credit_owed(const struct vhx_credit *c)
{
	return c->consumed - c->told >= c->rx_ring / CREDIT_OWED_SHARE;
}
