/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A writer builds one message at a time on a port: in place where the port can reserve, else in a bounce
 * buffer that it was given at set-up. Its user need not know which.
 *
 * Bytes are write-only: in place they are shared with the peer from the start, so nothing may be read
 * back from the pointers that are handed out. What is known late (a count, a length) is written late,
 * through the pointer that vhx_writer_take() gave for it.
 *
 * An open message counts as the port's reservation: commit or cancel it before anything else is sent and
 * before the next wait.
 */
#ifndef VHX_EXCHANGE_WRITER_H
#define VHX_EXCHANGE_WRITER_H

#include <string.h>

#include "exchange/exchange.h"

struct vhx_writer {
	struct vhx_port *port;
	uint8_t *bounce; /* NULL where the port reserves */
	uint8_t *buf; /* the open message, NULL: none */
	uint32_t type;
	uint32_t len; /* bytes so far */
	uint32_t cap; /* bytes it may grow to */
};

/* @port is READY, stays the caller's and outlives the writer. 0 or -ENOMEM. */
int vhx_writer_init(struct vhx_writer *w, struct vhx_port *port);

/* Cancels what is open. May be called on a zeroed writer. */
void vhx_writer_fini(struct vhx_writer *w);

/* Bytes that the writer allocated. */
uint64_t vhx_writer_memory(const struct vhx_writer *w);

/*
 * Opens a message of at most @cap bytes; none is open. 0, or what vhx_port_reserve() returns; -EMSGSIZE
 * if @cap is beyond the port's max_message.
 */
int vhx_writer_begin(struct vhx_writer *w, uint32_t type, uint32_t cap);

/*
 * Sends what is open. 0 or an error of vhx_port_send(). After -EAGAIN, which only a port without
 * reservations gives, the message is still open and may be committed again later.
 */
int vhx_writer_commit(struct vhx_writer *w);

/* Drops what is open, if anything. */
void vhx_writer_cancel(struct vhx_writer *w);

static inline bool vhx_writer_open(const struct vhx_writer *w)
{
	return w->buf != NULL;
}

static inline uint32_t vhx_writer_len(const struct vhx_writer *w)
{
	return w->len;
}

static inline uint32_t vhx_writer_room(const struct vhx_writer *w)
{
	return w->cap - w->len;
}

/*
 * The next @len bytes, to be filled in place, or NULL if there is no room. They become part of the
 * message by vhx_writer_advance(), as far as they were filled.
 */
static inline void *vhx_writer_space(struct vhx_writer *w, uint32_t len)
{
	return len <= vhx_writer_room(w) ? w->buf + w->len : NULL;
}

static inline void vhx_writer_advance(struct vhx_writer *w, uint32_t len)
{
	assert(len <= vhx_writer_room(w));
	w->len += len;
}

/* Both at once: @len bytes of the message that may be filled until the commit, or NULL. */
static inline void *vhx_writer_take(struct vhx_writer *w, uint32_t len)
{
	void *at = vhx_writer_space(w, len);

	if (at)
		w->len += len;
	return at;
}

/* Appends a copy. False, and nothing appended, if there is no room. */
static inline bool vhx_writer_put(struct vhx_writer *w, const void *src, uint32_t len)
{
	void *at = vhx_writer_take(w, len);

	if (!at)
		return false;
	if (len)
		memcpy(at, src, len);
	return true;
}

/* Gives back the bytes from @len on: for a record that turned out not to fit. */
static inline void vhx_writer_truncate(struct vhx_writer *w, uint32_t len)
{
	assert(len <= w->len);
	w->len = len;
}

#endif
