// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Output. A request ends when all its bytes were taken: by the end itself, or by the buffer while the end takes no
 * more. When the buffer is full too, the request stays, the driver's window and ring fill up, and the guest waits:
 * nothing is lost, and nothing grows. (Linux' console driver waits busily. Who would rather lose old output than
 * stop a guest that nobody looks at says so, and then the buffer always has room.) Order: buffer before held
 * requests, those in their own order.
 *
 * Input is read from the end straight into the outgoing message, when a receive request is there for it, the
 * driver's side is open, and the message has room. Otherwise it is not read, and its writer waits.
 *
 * A hostile driver can fill its own buffer and window. A hostile writer at the end can keep one bounded batch per
 * pass busy.
 */
#include "device/console_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads per pass: one port does not starve the others. */
#define READS_MAX 16
/* One read; a driver's buffers are a page. */
#define READ_LEN_MAX (32u * 1024)
#define IOV_MAX_CNT 34 /* VHX_CONSOLE_OUT_MAX in pages, and an end at either side */

/* The buffer */

static uint32_t buffer_room(const struct vhx_console_buffer *b)
{
	return b->size - b->len;
}

static void buffer_take(struct vhx_console_buffer *b, uint32_t len)
{
	b->head = (b->head + len) % b->size;
	b->len -= len;
}

static int buffer_iov(const struct vhx_console_buffer *b, struct iovec iov[2])
{
	uint32_t first = (uint32_t)vhx_min_u64(b->len, b->size - b->head);

	iov[0] = (struct iovec){ b->bytes + b->head, first };
	iov[1] = (struct iovec){ b->bytes, b->len - first };
	return b->len > first ? 2 : 1;
}

/* How many of @len bytes there is room for, after making some where that is allowed. */
static uint32_t buffer_make_room(struct vhx_console_buffer *b, uint32_t len)
{
	uint32_t want = (uint32_t)vhx_min_u64(len, b->size);

	if (b->drop && want > buffer_room(b)) {
		b->dropped += want - buffer_room(b);
		buffer_take(b, want - buffer_room(b));
	}
	return (uint32_t)vhx_min_u64(len, buffer_room(b));
}

static void buffer_put(struct vhx_console_buffer *b, const uint8_t *bytes, uint32_t len)
{
	while (len) {
		uint32_t at = (b->head + b->len) % b->size;
		uint32_t n = (uint32_t)vhx_min_u64(len, b->size - at);

		memcpy(b->bytes + at, bytes, n);
		b->len += n;
		bytes += n;
		len -= n;
	}
}

/* Output */

static void waiting_note(struct vhx_console_port *port, bool waits)
{
	if (waits && !port->waiting_said)
		vhx_log_limited(port->dev->log, &port->limit, vhx_loop_now(port->dev->loop),
				VHX_LOG_NOTICE,
				"%s: port %u: nobody takes its output: the guest waits",
				port->dev->id, port->index);
	port->waiting_said = waits;
}

static void buffer_write(struct vhx_console_port *port)
{
	struct vhx_console_buffer *b = &port->buffer;
	struct iovec iov[2];
	uint32_t n;

	while (b->len) {
		n = (uint32_t)vhx_console_end_write(&port->end, iov, buffer_iov(b, iov));
		if (!n)
			return;
		buffer_take(b, n);
	}
}

/* Bytes of a request from @off on, straight to the end. */
static uint32_t request_write(struct vhx_console_port *port, const struct vhx_request *req,
			      uint32_t off)
{
	struct iovec iov[IOV_MAX_CNT];
	unsigned int cnt = vhx_request_out_iov(req, off, iov, IOV_MAX_CNT);

	return cnt ? (uint32_t)vhx_console_end_write(&port->end, iov, (int)cnt) : 0;
}

/* And into the buffer. */
static uint32_t request_keep(struct vhx_console_port *port, const struct vhx_request *req,
			     uint32_t off)
{
	uint32_t len = buffer_make_room(&port->buffer, req->out_len - off), done = 0;
	struct iovec iov;

	while (done < len && vhx_request_out_iov(req, off + done, &iov, 1)) {
		uint32_t n = (uint32_t)vhx_min_u64(len - done, iov.iov_len);

		buffer_put(&port->buffer, iov.iov_base, n);
		done += n;
	}
	return done;
}

/* True: all of it is taken. */
static bool request_output(struct vhx_console_port *port, struct vhx_request *req)
{
	uint32_t off = (uint32_t)req->priv[0], n;

	while (off < req->out_len) {
		n = port->buffer.len ? 0 : request_write(port, req, off);
		if (!n)
			n = request_keep(port, req, off);
		if (!n)
			break;
		off += n;
	}
	req->priv[0] = off;
	return off == req->out_len;
}

void vhx_console_port_pump_out(struct vhx_console_port *port)
{
	bool online = port->end.online;

	buffer_write(port);
	while (!vhx_list_empty(&port->held)) {
		struct vhx_request *req = vhx_list_first_entry(&port->held, struct vhx_request,
							       node);

		if (!request_output(port, req))
			break;
		vhx_list_del(&req->node);
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
	}
	waiting_note(port, !vhx_list_empty(&port->held));
	vhx_console_end_want_out(&port->end, port->buffer.len || !vhx_list_empty(&port->held));
	if (port->end.online != online)
		port->end.events->changed(&port->end);
}

void vhx_console_port_output(struct vhx_console_port *port, struct vhx_request *req)
{
	if (req->too_big) {
		vhx_log_limited(port->dev->log, &port->limit, vhx_loop_now(port->dev->loop),
				VHX_LOG_WARNING, "%s: port %u: output of %u bytes at once is lost",
				port->dev->id, port->index, req->out_len);
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return;
	}
	vhx_list_init(&req->node);
	vhx_list_add_tail(&port->held, &req->node);
	vhx_console_port_pump_out(port);
}

void vhx_console_port_emit(struct vhx_console_port *port, const void *bytes, uint32_t len)
{
	buffer_put(&port->buffer, bytes, buffer_make_room(&port->buffer, len));
	vhx_console_port_pump_out(port);
}

/* Input */

/* True: the oldest posted request was answered. */
static bool input_step(struct vhx_console_port *port)
{
	struct vhx_request *req = vhx_list_first_entry(&port->posted, struct vhx_request, node);
	uint32_t len = (uint32_t)vhx_min_u64(req->in_len, READ_LEN_MAX), n = 0;
	bool later = false;
	void *p;

	len = (uint32_t)vhx_min_u64(len, vhx_request_in_reserve_max(req));
	if (len) {
		p = vhx_request_in_reserve(req, 0, len, &later);
		if (!p) {
			port->no_room = later;
			return false;
		}
		n = (uint32_t)vhx_console_end_read(&port->end, p, len);
		vhx_request_in_commit(req, n);
	}
	if (!n && req->in_len)
		return false;
	vhx_list_del(&req->node);
	vhx_request_complete(req, 0, NULL, 0, 0, n);
	return true;
}

void vhx_console_port_pump_in(struct vhx_console_port *port)
{
	bool online = port->end.online;
	unsigned int i;

	for (i = 0; i < READS_MAX && port->accepts && !port->no_room; i++) {
		if (vhx_list_empty(&port->posted) || !input_step(port))
			break;
	}
	vhx_console_end_want_in(&port->end,
				port->accepts && !port->no_room && !vhx_list_empty(&port->posted));
	if (port->end.online != online)
		port->end.events->changed(&port->end);
}

void vhx_console_port_accept(struct vhx_console_port *port, bool accepts)
{
	if (port->accepts == accepts)
		return;
	port->accepts = accepts;
	vhx_console_port_pump_in(port);
}

void vhx_console_port_post(struct vhx_console_port *port, struct vhx_request *req)
{
	bool first = vhx_list_empty(&port->posted);

	vhx_list_init(&req->node);
	vhx_list_add_tail(&port->posted, &req->node);
	/* Reading is left to the loop: this may be one of many. */
	if (first)
		vhx_console_end_want_in(&port->end, port->accepts && !port->no_room);
}

int vhx_console_port_open(struct vhx_console_port *port, const struct vhx_console_port_config *cfg,
			  uint32_t buffer, bool drop, const struct vhx_console_end_events *events,
			  struct vhx_error *err)
{
	vhx_list_init(&port->posted);
	vhx_list_init(&port->held);
	snprintf(port->name, sizeof(port->name), "%s", cfg->name ?: "");
	port->buffer = (struct vhx_console_buffer){ .bytes = malloc(buffer),
						    .size = buffer,
						    .drop = drop };
	if (!port->buffer.bytes) {
		vhx_error_set(err, "out of memory");
		return -ENOMEM;
	}
	return vhx_console_end_open(&port->end, cfg->end, port->dev->loop, events, err);
}

static void list_drop(struct vhx_list *list)
{
	while (!vhx_list_empty(list)) {
		struct vhx_request *req = vhx_list_first_entry(list, struct vhx_request, node);

		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

void vhx_console_port_close(struct vhx_console_port *port)
{
	list_drop(&port->posted);
	list_drop(&port->held);
	vhx_console_end_close(&port->end);
	free(port->buffer.bytes);
	port->buffer.bytes = NULL;
}
