// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A packet is made flat behind the buffer, then copied into it whole or not at all, so that the stream never has half
 * a block. One thread, that of the loop, puts and takes.
 *
 * Bytes of a message are read a second time here. A peer can change what it has sent, so a trace can differ from what
 * was acted upon; whatever it reads, lengths are bounded by the message's own, which is a private copy.
 */
#include "link/trace.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vhx/endian.h>
#include <vhx/wire.h>

#include "loop/loop.h"
#include "wire/wire.h"

#define NS_PER_S 1000000000ull

/* pcapng: block types, options */
#define PCAPNG_SECTION 0x0a0d0d0au
#define PCAPNG_INTERFACE 1u
#define PCAPNG_PACKET 6u
#define PCAPNG_MAGIC 0x1a2b3c4du
#define PCAPNG_OPT_END 0u
#define PCAPNG_OPT_TSRESOL 9u
#define PCAPNG_OPT_DROPCOUNT 4u
#define PCAPNG_TSRESOL_NS 9u
#define LINKTYPE_USER0 147u

/* docs/trace.md */
#define TRACE_VERSION 1u
#define TRACE_RECEIVED 1u
#define TRACE_BACKEND 2u
#define TRACE_CUT 4u

struct trace_header {
	uint8_t version;
	uint8_t flags;
	vhx_le16 channel;
	vhx_le32 type;
	vhx_le32 len;
	vhx_le32 snap;
};

struct interface_block {
	vhx_le32 type, total;
	vhx_le16 linktype, reserved;
	vhx_le32 snap_len;
	vhx_le16 tsresol_option, tsresol_len;
	uint8_t tsresol[4];
	vhx_le32 end_option;
	vhx_le32 total_again;
};

struct packet_block {
	vhx_le32 type, total, interface, time_high, time_low, captured, original;
};

struct packet_end {
	vhx_le16 drop_option, drop_len;
	vhx_le32 dropped[2]; /* a 64-bit number at a 32-bit boundary */
	vhx_le32 end_option;
	vhx_le32 total_again;
};

_Static_assert(sizeof(struct trace_header) == 16, "pseudo header");
_Static_assert(sizeof(struct interface_block) == 32, "interface");
_Static_assert(sizeof(struct packet_block) == 28 && sizeof(struct packet_end) == 20, "packet");
_Static_assert(sizeof(struct vhx_avail_record) == sizeof(struct vhx_used_record) &&
		       offsetof(struct vhx_avail_record, chunk_len) ==
			       offsetof(struct vhx_used_record, chunk_len),
	       "records are walked alike");

/* HELLO and the largest control message are kept whole. */
#define CONTROL_KEPT 512u
/* 3: padding */
#define SCRATCH_LEN                                                                         \
	(sizeof(struct packet_block) + sizeof(struct trace_header) + VHX_TRACE_PACKET_MAX + \
	 sizeof(struct packet_end) + 3)

struct vhx_trace vhx_trace_none;

static uint32_t room(const struct vhx_trace *t)
{
	return VHX_TRACE_BUFFER - (uint32_t)(t->tail - t->head);
}

static void buffer_put(struct vhx_trace *t, const void *bytes, size_t len)
{
	size_t at = t->tail % VHX_TRACE_BUFFER;
	size_t first = vhx_min_u64(len, VHX_TRACE_BUFFER - at);

	memcpy(t->buffer + at, bytes, first);
	memcpy(t->buffer, (const uint8_t *)bytes + first, len - first);
	t->tail += len;
	t->ready(t->ctx);
}

static void preamble_put(struct vhx_trace *t)
{
	vhx_le32 section[7] = {
		vhx_le32_of(PCAPNG_SECTION),  vhx_le32_of(sizeof(section)),
		vhx_le32_of(PCAPNG_MAGIC),    vhx_le32_of(1), /* version 1.0 */
		vhx_le32_of(UINT32_MAX),      vhx_le32_of(UINT32_MAX), /* of unknown length */
		vhx_le32_of(sizeof(section)),
	};
	const struct interface_block interface = {
		.type = vhx_le32_of(PCAPNG_INTERFACE),
		.total = vhx_le32_of(sizeof(interface)),
		.linktype = vhx_le16_of(LINKTYPE_USER0),
		.tsresol_option = vhx_le16_of(PCAPNG_OPT_TSRESOL),
		.tsresol_len = vhx_le16_of(1),
		.tsresol = { PCAPNG_TSRESOL_NS },
		.total_again = vhx_le32_of(sizeof(interface)),
	};

	buffer_put(t, section, sizeof(section));
	buffer_put(t, &interface, sizeof(interface));
}

static uint64_t epoch_find(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec - vhx_loop_clock();
}

int vhx_trace_start(struct vhx_trace *t, uint32_t snap, void (*ready)(void *ctx), void *ctx)
{
	if (t->buffer)
		return -EBUSY;
	*t = (struct vhx_trace){ .snap = snap, .ready = ready, .ctx = ctx };
	t->buffer = malloc(VHX_TRACE_BUFFER + SCRATCH_LEN);
	if (!t->buffer)
		return -ENOMEM;
	t->epoch_ns = epoch_find();
	preamble_put(t);
	t->on = true;
	return 0;
}

void vhx_trace_stop(struct vhx_trace *t)
{
	t->on = false;
}

void vhx_trace_fini(struct vhx_trace *t)
{
	free(t->buffer);
	*t = (struct vhx_trace){ 0 };
}

/* What is kept of a message */

struct kept {
	uint8_t *bytes;
	uint32_t len;
	bool cut;
};

/* [off, off + len) of the message, as far as there is room. */
static bool keep(struct kept *k, const struct vhx_trace_message *m, uint32_t off, uint32_t len)
{
	if (len > VHX_TRACE_PACKET_MAX - k->len) {
		k->cut = true;
		return false;
	}
	if (m->bytes)
		memcpy(k->bytes + k->len, m->bytes + off, len);
	else
		m->read(m->ctx, off, k->bytes + k->len, len);
	k->len += len;
	return true;
}

static void data_keep(struct kept *k, const struct vhx_trace_message *m, uint32_t snap)
{
	uint32_t off = (uint32_t)VHX_DATA_HEADER_LEN;
	struct vhx_used_record r;

	if (!keep(k, m, 0, off))
		return;
	while (m->len - off >= sizeof(r)) {
		uint32_t chunk, padded;

		if (!keep(k, m, off, sizeof(r)))
			return;
		/* The copy that is kept is the one that is walked by. */
		memcpy(&r, k->bytes + k->len - sizeof(r), sizeof(r));
		off += (uint32_t)sizeof(r);
		chunk = (uint32_t)vhx_min_u64(vhx_le32_get(r.chunk_len), m->len - off);
		if (!keep(k, m, off, (uint32_t)vhx_min_u64(chunk, snap)))
			return;
		padded = vhx_chunk_padded(chunk);
		off += (uint32_t)vhx_min_u64(padded, m->len - off);
	}
}

static void message_keep(struct kept *k, const struct vhx_trace_message *m, uint32_t snap)
{
	uint32_t whole = sizeof(struct vhx_msg_header) + snap;

	if ((m->type == VHX_MSG_AVAIL || m->type == VHX_MSG_USED) &&
	    m->len >= VHX_DATA_HEADER_LEN) {
		data_keep(k, m, snap);
		return;
	}
	if (m->type == VHX_MSG_HELLO || m->type == VHX_MSG_CONTROL || m->type == VHX_MSG_CREDIT)
		whole = CONTROL_KEPT;
	k->cut = m->len > whole;
	keep(k, m, 0, (uint32_t)vhx_min_u64(m->len, whole));
}

/* Writes what surrounds the @k that lies in its place already; returns the length of the block. */
static uint32_t packet_frame(struct vhx_trace *t, uint8_t *scratch,
			     const struct vhx_trace_point *point, const struct vhx_trace_message *m,
			     const struct kept *k)
{
	uint32_t captured = (uint32_t)sizeof(struct trace_header) + k->len;
	uint32_t padded = (captured + 3) & ~3u;
	uint32_t total = (uint32_t)(sizeof(struct packet_block) + sizeof(struct packet_end)) +
			 padded;
	uint64_t ns = t->epoch_ns + vhx_loop_clock();
	const struct packet_block block = {
		.type = vhx_le32_of(PCAPNG_PACKET),
		.total = vhx_le32_of(total),
		.time_high = vhx_le32_of((uint32_t)(ns >> 32)),
		.time_low = vhx_le32_of((uint32_t)ns),
		.captured = vhx_le32_of(captured),
		.original = vhx_le32_of((uint32_t)sizeof(struct trace_header) + m->len),
	};
	const struct trace_header header = {
		.version = TRACE_VERSION,
		.flags = (uint8_t)((m->received ? TRACE_RECEIVED : 0) |
				   (point->backend ? TRACE_BACKEND : 0) | (k->cut ? TRACE_CUT : 0)),
		.channel = vhx_le16_of(point->channel),
		.type = vhx_le32_of(m->type),
		.len = vhx_le32_of(m->len),
		.snap = vhx_le32_of(t->snap),
	};
	const struct packet_end end = {
		.drop_option = vhx_le16_of(PCAPNG_OPT_DROPCOUNT),
		.drop_len = vhx_le16_of(sizeof(end.dropped)),
		.dropped = { vhx_le32_of((uint32_t)t->dropped),
			     vhx_le32_of((uint32_t)(t->dropped >> 32)) },
		.total_again = vhx_le32_of(total),
	};

	memcpy(scratch, &block, sizeof(block));
	memcpy(scratch + sizeof(block), &header, sizeof(header));
	memset(scratch + sizeof(block) + captured, 0, padded - captured);
	memcpy(scratch + sizeof(block) + padded, &end, sizeof(end));
	return total;
}

void vhx_trace_put(struct vhx_trace *t, const struct vhx_trace_point *point,
		   const struct vhx_trace_message *m)
{
	uint8_t *scratch = t->buffer + VHX_TRACE_BUFFER;
	struct kept k = { .bytes = scratch + sizeof(struct packet_block) +
				   sizeof(struct trace_header) };
	uint32_t total;

	message_keep(&k, m, t->snap);
	total = packet_frame(t, scratch, point, m, &k);
	if (total > room(t)) {
		t->dropped++;
		return;
	}
	t->dropped = 0;
	buffer_put(t, scratch, total);
}

unsigned int vhx_trace_peek(const struct vhx_trace *t, struct iovec iov[2])
{
	size_t len = t->tail - t->head, at = t->head % VHX_TRACE_BUFFER;
	size_t first = vhx_min_u64(len, VHX_TRACE_BUFFER - at);

	iov[0] = (struct iovec){ t->buffer + at, first };
	iov[1] = (struct iovec){ t->buffer, len - first };
	return (first ? 1 : 0) + (len > first ? 1 : 0);
}

void vhx_trace_take(struct vhx_trace *t, size_t len)
{
	assert(len <= t->tail - t->head);
	t->head += len;
}
