// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: see channel.h for the states. HELLO is symmetric. An end sends it with dst_inc 0
 * until it has heard of the peer, then once more naming the peer; it answers exactly two things, a HELLO
 * that names nobody and the first one that names it, so that two ends cannot answer each other for
 * ever. Both compute the accepted features from the two offers and check that the other came to the same.
 *
 * Lengths in the header's favour: a message shorter than a header, or of a type that no range covers, is a
 * breach. What a hostile peer can do here is end its own channel.
 */
#include "core/channel.h"

static const char *const state_names[] = {
	[VHX_CHANNEL_HELLO_SENT] = "hello",
	[VHX_CHANNEL_MET] = "met",
	[VHX_CHANNEL_ESTABLISHED] = "established",
	[VHX_CHANNEL_DEAD] = "dead",
};

_Static_assert(VHX_ARRAY_SIZE(state_names) == VHX_CHANNEL_STATE_CNT_, "a name per state");

const char *vhx_channel_state_name(enum vhx_channel_state state)
{
	return state_names[state];
}

void vhx_channel_init(struct vhx_channel *c, const struct vhx_channel_config *cfg)
{
	assert(cfg->inc);
	*c = (struct vhx_channel){
		.state = VHX_CHANNEL_HELLO_SENT,
		.inc = cfg->inc,
		.offered = cfg->features,
		.max_message = cfg->max_message,
		.rx_max_message = cfg->max_message,
		.ring_len = cfg->rx_ring_len,
		.tx_ring = cfg->tx_ring_len,
		.hello_due = true,
	};
}

bool vhx_channel_hello(struct vhx_channel *c, struct vhx_hello *hello)
{
	struct vhx_header h = { .src_inc = c->inc, .dst_inc = c->peer_inc };
	struct vhx_hello_body b = {
		.version_min = VHX_WIRE_VERSION,
		.version_max = VHX_WIRE_VERSION,
		.offered = c->offered,
		.accepted = c->accepted,
		.ring_len = c->ring_len,
		.max_message = c->rx_max_message,
	};

	if (!c->hello_due || c->state == VHX_CHANNEL_DEAD)
		return false;
	vhx_hello_encode(hello, &h, &b);
	return true;
}

void vhx_channel_hello_sent(struct vhx_channel *c)
{
	c->hello_due = false;
}

void vhx_channel_header(struct vhx_channel *c, struct vhx_msg_header *header)
{
	struct vhx_header h = {
		.src_inc = c->inc,
		.dst_inc = c->peer_inc,
		.ack = vhx_credit_tell(&c->credit),
	};

	assert(c->state == VHX_CHANNEL_ESTABLISHED);
	vhx_header_encode(header, &h);
}

static int channel_die(struct vhx_channel *c, int error)
{
	c->state = VHX_CHANNEL_DEAD;
	return error;
}

static int peer_limits_take(struct vhx_channel *c, const struct vhx_hello_body *b)
{
	if (b->ring_len < VHX_CHANNEL_RING_MIN || b->max_message < VHX_CHANNEL_MESSAGE_MIN)
		return -EPROTO;
	c->tx_ring = (uint32_t)vhx_min_u64(c->tx_ring, b->ring_len);
	c->max_message = (uint32_t)vhx_min_u64(c->max_message, b->max_message);
	/* A message that the ring has no room for at all times could wait for ever. */
	c->max_message = (uint32_t)vhx_min_u64(c->max_message, vhx_credit_message_max(c->tx_ring));
	c->accepted = c->offered & b->offered;
	return 0;
}

static int hello_meet(struct vhx_channel *c, const struct vhx_header *h,
		      const struct vhx_hello_body *b)
{
	int ret = peer_limits_take(c, b);

	if (ret)
		return channel_die(c, ret);
	c->peer_inc = h->src_inc;
	c->state = VHX_CHANNEL_MET;
	c->hello_due = true;
	return VHX_CHANNEL_DROP;
}

static int hello_check(uint32_t len, const struct vhx_header *h, const struct vhx_hello *hello,
		       struct vhx_hello_body *b)
{
	int ret;

	if (len < offsetof(struct vhx_hello, offered))
		return -EPROTO;
	ret = vhx_hello_decode(hello, b);
	if (ret)
		return ret;
	/* After the version, since another one may be longer. */
	if (len != sizeof(*hello) || h->ack)
		return -EPROTO;
	/* Nobody can have accepted what he was not offered yet. */
	return !h->dst_inc && b->accepted ? -EPROTO : 0;
}

static int hello_receive(struct vhx_channel *c, uint32_t len, const struct vhx_header *h,
			 const struct vhx_hello *hello)
{
	struct vhx_hello_body b;
	int ret;

	/* Before a look at the rest: what a dead incarnation was told is not for us to judge. */
	if (h->dst_inc && h->dst_inc != c->inc) {
		c->stale++;
		return VHX_CHANNEL_DROP;
	}
	ret = hello_check(len, h, hello, &b);
	if (ret)
		return channel_die(c, ret);
	if (c->peer_inc && h->src_inc != c->peer_inc)
		return channel_die(c, -ECONNRESET);
	if (!c->peer_inc) {
		ret = hello_meet(c, h, &b);
		if (ret < 0)
			return ret;
	}
	if (!h->dst_inc || c->state == VHX_CHANNEL_ESTABLISHED)
		return VHX_CHANNEL_DROP;
	if (b.accepted != c->accepted)
		return channel_die(c, -EPROTO);
	vhx_credit_init(&c->credit, c->tx_ring, c->ring_len);
	c->state = VHX_CHANNEL_ESTABLISHED;
	return VHX_CHANNEL_UP;
}

static int body_receive(struct vhx_channel *c, uint32_t type, uint32_t len,
			const struct vhx_header *h, bool *room)
{
	int ret;

	if (h->dst_inc != c->inc || h->src_inc != c->peer_inc) {
		c->stale++;
		return VHX_CHANNEL_DROP;
	}
	if (c->state != VHX_CHANNEL_ESTABLISHED)
		return channel_die(c, -EPROTO);
	ret = vhx_credit_acked(&c->credit, h->ack);
	if (ret < 0)
		return channel_die(c, ret);
	*room |= ret > 0;
	vhx_credit_consumed(&c->credit, len);
	if (type == VHX_MSG_CREDIT)
		return len == sizeof(struct vhx_msg_header) ? VHX_CHANNEL_DROP
							    : channel_die(c, -EPROTO);
	if (type == VHX_MSG_CONTROL || type == VHX_MSG_AVAIL || type == VHX_MSG_USED)
		return VHX_CHANNEL_DELIVER;
	if (type >= VHX_MSG_OPTIONAL_FIRST && type <= VHX_MSG_OPTIONAL_LAST)
		return VHX_CHANNEL_DROP;
	return channel_die(c, -EPROTO);
}

int vhx_channel_receive(struct vhx_channel *c, uint32_t type, uint32_t len,
			const struct vhx_hello *start, bool *room)
{
	struct vhx_header h;
	int ret;

	assert(c->state != VHX_CHANNEL_DEAD);
	if (len < sizeof(struct vhx_msg_header))
		return channel_die(c, -EPROTO);
	ret = vhx_header_decode(&start->header, &h);
	if (ret)
		return channel_die(c, ret);
	if (type == VHX_MSG_HELLO)
		return hello_receive(c, len, &h, start);
	return body_receive(c, type, len, &h, room);
}
