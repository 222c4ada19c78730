// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A message is gathered into private memory, spoiled there, and sent by the inner port, which does not know;
 * or the window is written to after a clean one was published, so that what the peer has seen of it, and what it
 * will see, differ. There is no reserve: all goes by way of send.
 *
 * Messages are spoiled by tables: any message by its bytes and its length, USED also field by field, since
 * random bytes seldom get past the first check. A few old messages are kept, to be sent again in another
 * epoch or another life.
 */
#include "mutator.h"

#include <stdlib.h>
#include <string.h>

#include <vhx/wire.h>

#include "exchange/ivshmem.h"
#include "exchange/section.h"
#include "util/checked.h"

#define OLD_MAX 8u

struct message {
	uint32_t type, len;
	uint8_t *bytes;
};

struct mutator {
	struct vhx_port port;
	struct vhx_port *inner;
	struct vhx_mutator_config cfg;
	uint32_t seen; /* messages of the target */
	struct message msg; /* room for the largest one */
	struct message old[OLD_MAX];
};

static struct mutator *to_mutator(struct vhx_port *p)
{
	return vhx_container_of(p, struct mutator, port);
}

static uint32_t below(struct mutator *m, uint32_t n)
{
	return vhx_random_below(m->cfg.random, n);
}

/* Values on which checks turn. */
static uint32_t nasty(struct mutator *m, uint32_t was)
{
	static const uint32_t values[] = {
		0,	1,	 2,	     3,		 8,	     15,	 16,	    17,
		63,	64,	 255,	     256,	 512,	     4095,	 4096,	    4097,
		0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffe, 0xffffffff
	};

	switch (below(m, 5)) {
	case 0:
		return was + 1;
	case 1:
		return was - 1;
	case 2:
		return was ^ (1u << below(m, 32));
	case 3:
		return vhx_random_next(m->cfg.random);
	default:
		return values[below(m, VHX_ARRAY_SIZE(values))];
	}
}

static void word_spoil(struct mutator *m, uint32_t off, uint32_t width)
{
	uint32_t v = 0;

	if (off + width > m->msg.len)
		return;
	memcpy(&v, m->msg.bytes + off, width);
	v = nasty(m, v);
	memcpy(m->msg.bytes + off, &v, width);
}

/* Any message */

static void spoil_bit(struct mutator *m)
{
	uint32_t len = (uint32_t)vhx_min_u64(m->msg.len, 64);

	m->msg.bytes[below(m, len)] ^= (uint8_t)(1u << below(m, 8));
}

static void spoil_any_bit(struct mutator *m)
{
	m->msg.bytes[below(m, m->msg.len)] ^= (uint8_t)(1u << below(m, 8));
}

static void spoil_word(struct mutator *m)
{
	uint32_t words = (uint32_t)vhx_min_u64(m->msg.len, 128) / 4;

	word_spoil(m, 4 * below(m, words), 4);
}

static void spoil_cut(struct mutator *m)
{
	m->msg.len = below(m, m->msg.len);
}

static void spoil_grow(struct mutator *m)
{
	uint32_t more = (uint32_t)vhx_min_u64(1 + below(m, 64), m->inner->max_message - m->msg.len);

	memset(m->msg.bytes + m->msg.len, (int)below(m, 256), more);
	m->msg.len += more;
}

static void spoil_type(struct mutator *m)
{
	m->msg.type = below(m, 2) ? below(m, 8) : nasty(m, m->msg.type);
}

static void spoil_incarnations(struct mutator *m)
{
	word_spoil(m, below(m, 2) * 4, 4);
}

static void spoil_ack(struct mutator *m)
{
	word_spoil(m, offsetof(struct vhx_msg_header, ack), 4);
}

/* Another message in its place; its own incarnations would only have it dropped. */
static void spoil_old(struct mutator *m)
{
	const struct message *old = &m->old[below(m, OLD_MAX)];
	uint8_t header[sizeof(struct vhx_msg_header)];

	if (!old->bytes || m->msg.len < sizeof(header))
		return;
	memcpy(header, m->msg.bytes, sizeof(header));
	memcpy(m->msg.bytes, old->bytes, old->len);
	m->msg.type = old->type;
	m->msg.len = old->len;
	if (below(m, 4) && m->msg.len >= sizeof(header))
		memcpy(m->msg.bytes, header, sizeof(header));
}

static void spoil_by_loss(struct mutator *m)
{
	m->msg.len = 0;
}

static void (*const spoils[])(struct mutator *m) = {
	spoil_bit,  spoil_any_bit,	spoil_word, spoil_word, spoil_cut,     spoil_grow,
	spoil_type, spoil_incarnations, spoil_ack,  spoil_old,	spoil_by_loss,
};

/* USED */

/* Offset of one of the message's records; 0: there is none. */
static uint32_t record_pick(struct mutator *m)
{
	uint32_t off = VHX_DATA_HEADER_LEN, found = 0, cnt = 0;
	struct vhx_used_record r;

	while (off + sizeof(r) <= m->msg.len) {
		memcpy(&r, m->msg.bytes + off, sizeof(r));
		if (!below(m, ++cnt))
			found = off;
		off += (uint32_t)sizeof(r) + vhx_round_up_u32(vhx_le32_get(r.chunk_len), 8);
	}
	return found;
}

static void field_spoil(struct mutator *m, uint32_t field, uint32_t width)
{
	uint32_t off = record_pick(m);

	if (off)
		word_spoil(m, off + field, width);
}

static void used_id(struct mutator *m)
{
	field_spoil(m, offsetof(struct vhx_used_record, id), 2);
}

/* A legal number, and often one that is in flight. */
static void used_small_id(struct mutator *m)
{
	uint32_t off = record_pick(m);
	vhx_le16 id = vhx_le16_of((uint16_t)below(m, 16));

	if (off)
		memcpy(m->msg.bytes + off + offsetof(struct vhx_used_record, id), &id, sizeof(id));
}

static void used_flags(struct mutator *m)
{
	uint32_t off = record_pick(m);

	if (off)
		m->msg.bytes[off + offsetof(struct vhx_used_record, flags)] ^=
			(uint8_t)(1u << below(m, 3));
}

static void used_in_off(struct mutator *m)
{
	field_spoil(m, offsetof(struct vhx_used_record, in_off), 4);
}

static void used_len(struct mutator *m)
{
	field_spoil(m, offsetof(struct vhx_used_record, used_len), 4);
}

static void used_chunk_len(struct mutator *m)
{
	field_spoil(m, offsetof(struct vhx_used_record, chunk_len), 4);
}

/* All is well, says the status, and nothing else comes. */
static void used_status_only(struct mutator *m)
{
	uint32_t off = record_pick(m), chunk, in_off;
	struct vhx_used_record r;

	if (!off)
		return;
	memcpy(&r, m->msg.bytes + off, sizeof(r));
	chunk = vhx_le32_get(r.chunk_len);
	in_off = vhx_le32_get(r.in_off);
	if (!chunk)
		return;
	r.in_off = vhx_le32_of(in_off + chunk - 1);
	r.chunk_len = vhx_le32_of(1);
	r.used_len = vhx_le32_of(below(m, 2) ? 0 : vhx_le32_get(r.used_len));
	memcpy(m->msg.bytes + off, &r, sizeof(r));
	m->msg.bytes[off + sizeof(r)] = 0;
	m->msg.len = off + (uint32_t)sizeof(r) + 1;
}

/* Nothing comes at all. */
static void used_nothing(struct mutator *m)
{
	uint32_t off = record_pick(m);
	struct vhx_used_record r;

	if (!off)
		return;
	memcpy(&r, m->msg.bytes + off, sizeof(r));
	r.flags = vhx_le16_of(VHX_USED_COMPLETE);
	r.chunk_len = vhx_le32_of(0);
	if (below(m, 2))
		r.used_len = vhx_le32_of(0);
	memcpy(m->msg.bytes + off, &r, sizeof(r));
	m->msg.len = off + (uint32_t)sizeof(r);
}

static void used_queue(struct mutator *m)
{
	word_spoil(m, (uint32_t)sizeof(struct vhx_msg_header) + 2 * below(m, 2), 2);
}

static void used_epoch(struct mutator *m)
{
	word_spoil(m, VHX_DATA_HEADER_LEN - 4, 4);
}

static void (*const used_spoils[])(struct mutator *m) = {
	used_id,	used_small_id,	  used_flags,	used_in_off, used_len,
	used_chunk_len, used_status_only, used_nothing, used_queue,  used_epoch,
};

/* The window */

static uint8_t *section(struct mutator *m, uint32_t side)
{
	return m->cfg.window + side * (m->cfg.size / 2);
}

static vhx_le32 *section_word(struct mutator *m, uint32_t side, uint32_t off)
{
	return (vhx_le32 *)(void *)(section(m, side) + off);
}

static void window_word(struct mutator *m)
{
	static const uint32_t words[] = {
		offsetof(struct vhx_section_header, tx_idx),
		offsetof(struct vhx_section_header, rx_idx),
		offsetof(struct vhx_section_header, data_word),
		offsetof(struct vhx_section_header, space_word),
		offsetof(struct vhx_section_header, state),
		offsetof(struct vhx_section_header, inc),
		offsetof(struct vhx_section_header, peer_inc),
		offsetof(struct vhx_section_header, ring_len),
	};
	/* The other side's section is the peer's own, which it must not read back. */
	uint32_t side = below(m, 8) ? VHX_WINDOW_HOST : VHX_WINDOW_GUEST;
	vhx_le32 *w = section_word(m, side, words[below(m, VHX_ARRAY_SIZE(words))]);

	vhx_word_store_release(w, nasty(m, vhx_word_load_relaxed(w)));
}

/* A step that looks like a message: the indices say so, the bytes are whatever lay there. */
static void window_index(struct mutator *m)
{
	vhx_le32 *w = section_word(m, VHX_WINDOW_HOST, offsetof(struct vhx_section_header, tx_idx));

	vhx_word_store_release(w, vhx_word_load_relaxed(w) + 16 * (1 + below(m, 64)));
}

/* What was just published: its slot header, or its bytes. */
static void window_published(struct mutator *m)
{
	uint32_t ring_len = vhx_ivshmem_ring_len(m->cfg.size);
	vhx_le32 *w = section_word(m, VHX_WINDOW_HOST, offsetof(struct vhx_section_header, tx_idx));
	uint32_t back = below(m, 2) ? vhx_footprint(m->msg.len) : 4 * below(m, 1024);
	uint32_t at = ((vhx_word_load_relaxed(w) - back) & (ring_len - 1)) & ~3u;
	uint8_t *data = section(m, VHX_WINDOW_HOST) + VHX_WINDOW_HEADER_LEN;

	at = (at + 4 * below(m, 12)) & (ring_len - 1);
	w = (vhx_le32 *)(void *)(data + at);
	vhx_word_store_release(w, nasty(m, vhx_word_load_relaxed(w)));
}

static void (*const window_spoils[])(struct mutator *m) = {
	window_word,
	window_index,
	window_published,
	window_published,
};

/* Choosing */

static bool is_target(const struct mutator *m)
{
	switch (m->cfg.target) {
	case VHX_MUTATOR_CONTROL:
		return m->msg.type == VHX_MSG_HELLO || m->msg.type == VHX_MSG_CONTROL;
	case VHX_MUTATOR_DATA:
		return m->msg.type == VHX_MSG_USED;
	case VHX_MUTATOR_WINDOW:
	case VHX_MUTATOR_ALL:
		return true;
	default:
		return false;
	}
}

static bool is_due(struct mutator *m)
{
	return is_target(m) && m->seen++ >= m->cfg.skip && !below(m, m->cfg.one_in);
}

static void message_spoil(struct mutator *m)
{
	if (m->msg.type == VHX_MSG_USED && below(m, 4))
		used_spoils[below(m, VHX_ARRAY_SIZE(used_spoils))](m);
	else
		spoils[below(m, VHX_ARRAY_SIZE(spoils))](m);
}

static void window_spoil(struct mutator *m)
{
	window_spoils[below(m, VHX_ARRAY_SIZE(window_spoils))](m);
}

static void message_keep(struct mutator *m)
{
	struct message *old = &m->old[below(m, OLD_MAX)];
	uint8_t *bytes;

	if (!m->msg.len)
		return;
	bytes = realloc(old->bytes, m->msg.len);
	if (!bytes)
		return;
	memcpy(bytes, m->msg.bytes, m->msg.len);
	*old = (struct message){ m->msg.type, m->msg.len, bytes };
}

/* The port */

static void port_follow(struct mutator *m)
{
	m->port.max_message = m->inner->max_message;
	m->port.tx_ring_len = m->inner->tx_ring_len;
	m->port.rx_ring_len = m->inner->rx_ring_len;
	m->port.stats = m->inner->stats;
}

static int message_send(struct mutator *m)
{
	struct iovec iov = { .iov_base = m->msg.bytes, .iov_len = m->msg.len };

	return vhx_port_send(m->inner, m->msg.type, &iov, 1);
}

static void spoiled(struct mutator *m)
{
	++*m->cfg.spoiled;
	if (m->cfg.after)
		m->cfg.after(m->cfg.ctx);
}

/* A spoiled message that finds no room, or that the port refuses, is lost: the backend hears nothing of it. */
static int spoiled_send(struct mutator *m, bool in_window)
{
	int ret = 0;

	if (in_window)
		ret = message_send(m);
	else
		message_spoil(m);
	if (!in_window && m->msg.len) {
		message_send(m);
		if (!below(m, 8))
			message_send(m);
	}
	if (in_window)
		window_spoil(m);
	spoiled(m);
	return ret;
}

static int mutator_send(struct vhx_port *p, uint32_t type, const struct iovec *iov,
			unsigned int cnt)
{
	struct mutator *m = to_mutator(p);
	bool in_window;
	unsigned int i;
	int ret;

	m->msg.type = type;
	m->msg.len = 0;
	for (i = 0; i < cnt; i++) {
		memcpy(m->msg.bytes + m->msg.len, iov[i].iov_base, iov[i].iov_len);
		m->msg.len += (uint32_t)iov[i].iov_len;
	}
	if (m->cfg.edit && !m->cfg.edit(m->cfg.ctx, type, m->msg.bytes, m->msg.len))
		return 0;
	message_keep(m);
	if (is_due(m)) {
		in_window = m->cfg.target == VHX_MUTATOR_WINDOW ||
			    (m->cfg.target == VHX_MUTATOR_ALL && !below(m, 3));
		ret = spoiled_send(m, in_window);
	} else {
		ret = message_send(m);
	}
	port_follow(m);
	return ret;
}

static int mutator_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	int ret = vhx_port_peek(to_mutator(p)->inner, msg);

	port_follow(to_mutator(p));
	return ret;
}

static void mutator_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	vhx_port_read(to_mutator(p)->inner, off, dst, len);
}

static void mutator_consume(struct vhx_port *p)
{
	vhx_port_consume(to_mutator(p)->inner);
}

static int mutator_prepare_wait(struct vhx_port *p)
{
	int ret = vhx_port_prepare_wait(to_mutator(p)->inner);

	port_follow(to_mutator(p));
	return ret;
}

static int mutator_event(struct vhx_port *p)
{
	int ret = vhx_port_event(to_mutator(p)->inner);

	port_follow(to_mutator(p));
	return ret;
}

static void mutator_free(struct mutator *m)
{
	unsigned int i;

	for (i = 0; i < OLD_MAX; i++)
		free(m->old[i].bytes);
	free(m->msg.bytes);
	free(m);
}

static void mutator_close(struct vhx_port *p)
{
	struct mutator *m = to_mutator(p);

	vhx_port_close(m->inner);
	mutator_free(m);
}

static const struct vhx_port_ops mutator_ops = {
	.name = "mutator",
	.caps = VHX_PORT_SLEEP_FLAG | VHX_PORT_PATIENT,
	.iov_max = 64,
	.send = mutator_send,
	.peek = mutator_peek,
	.read = mutator_read,
	.consume = mutator_consume,
	.prepare_wait = mutator_prepare_wait,
	.event = mutator_event,
	.close = mutator_close,
};

struct vhx_port *vhx_mutator_new(struct vhx_port *inner, const struct vhx_mutator_config *cfg)
{
	struct mutator *m = calloc(1, sizeof(*m));

	if (m)
		m->msg.bytes = malloc(cfg->size);
	if (!m || !m->msg.bytes) {
		vhx_port_close(inner);
		free(m);
		return NULL;
	}
	m->cfg = *cfg;
	m->inner = inner;
	m->port = *inner;
	m->port.ops = &mutator_ops;
	return &m->port;
}
