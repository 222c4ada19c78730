// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: link.h. States, of which each implies the ones before it:
 *
 *   opened    the port exists; it may still be meeting its peer
 *   started   the port is ready, so ring sizes are known and HELLO goes out
 *   up        both have said HELLO; ops->up was called
 *   failed    l->error is set; nothing is sent or taken any more; the pass ends in ops->down
 *
 * Order on the wire: HELLO before all else; control and data in the order of the calls, because an open
 * data message is sent before a control message is. A control message that finds no room waits, and
 * then all later ones wait behind it; data may overtake it (only responses and events wait, and none of
 * them promises an order against data).
 *
 * Credit: every message tells the newest acknowledgement, written when it leaves. What is left to
 * tell after a pass goes as a bare CREDIT once it is a quarter of the ring.
 */
#include "link/link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

_Static_assert(VHX_SLOT == 16 && VHX_SLOT_HEADER == 16, "credit counts in the exchange's footprint");
_Static_assert(sizeof(struct vhx_avail_record) == sizeof(struct vhx_used_record), "one place");

#define RECORD_LEN ((uint32_t)sizeof(struct vhx_used_record))

void vhx_link_fail(struct vhx_link *l, int reason)
{
	assert(reason < 0);
	if (!l->error)
		l->error = reason;
}

/* Tracing. Each caller looks at l->trace->on first: one predictable branch where nobody traces. */

static void rx_read(void *ctx, uint32_t off, void *dst, uint32_t len)
{
	vhx_port_read(ctx, off, dst, len);
}

static void rx_trace(struct vhx_link *l, const struct vhx_msg *msg)
{
	const struct vhx_trace_message m = {
		.type = msg->type, .len = msg->len, .received = true, .read = rx_read, .ctx = l->port
	};

	vhx_trace_put(l->trace, &l->trace_point, &m);
}

static void tx_trace(struct vhx_link *l, uint32_t type, const void *bytes, uint32_t len)
{
	const struct vhx_trace_message m = { .type = type, .len = len, .bytes = bytes };

	vhx_trace_put(l->trace, &l->trace_point, &m);
}

/* Messages that have no records: at most a header and a control message. */
static void tx_trace_iov(struct vhx_link *l, uint32_t type, const struct iovec *iov,
			 unsigned int cnt)
{
	uint8_t flat[sizeof(struct vhx_msg_header) + VIRTIO_MSG_MAX];
	uint32_t len = 0;
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		assert(iov[i].iov_len <= sizeof(flat) - len);
		memcpy(flat + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	tx_trace(l, type, flat, len);
}

static int link_send(struct vhx_link *l, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	int ret = vhx_port_send(l->port, type, iov, cnt);

	if (ret && ret != -EAGAIN)
		vhx_link_fail(l, ret);
	if (vhx_unlikely(l->trace->on) && !ret)
		tx_trace_iov(l, type, iov, cnt);
	return ret;
}

/* Sends a counted message that has no records. */
static int body_send(struct vhx_link *l, uint32_t type, void *body, uint32_t len)
{
	struct vhx_msg_header header;
	struct iovec iov[2] = { { &header, sizeof(header) }, { body, len } };
	uint32_t told = l->channel.credit.told;
	int ret;

	vhx_channel_header(&l->channel, &header);
	ret = link_send(l, type, iov, len ? 2 : 1);
	if (ret)
		l->channel.credit.told = told;
	else
		vhx_credit_sent(&l->channel.credit, (uint32_t)sizeof(header) + len);
	return ret;
}

static int control_send(struct vhx_link *l, const struct vhx_control *c)
{
	uint8_t wire[VIRTIO_MSG_MAX];
	uint32_t len = vhx_control_encode(wire, c);

	if (vhx_credit_control_room(&l->channel.credit) < sizeof(struct vhx_msg_header) + len)
		return -EAGAIN;
	return body_send(l, VHX_MSG_CONTROL, wire, len);
}

static struct vhx_control *pending_at(struct vhx_link *l, uint32_t i)
{
	return &l->pending[(l->pending_head + i) % VHX_LINK_PENDING_MAX];
}

/* A later one says all that the earlier one did. */
static bool event_supersedes(const struct vhx_control *c, const struct vhx_control *old)
{
	return c->msg_id == VIRTIO_MSG_EVENT_CONFIG && !c->bus && !c->response &&
	       old->msg_id == c->msg_id && !old->bus && !old->response &&
	       old->dev_num == c->dev_num;
}

static void pending_add(struct vhx_link *l, const struct vhx_control *c)
{
	uint32_t i;

	for (i = 0; i < l->pending_cnt; i++) {
		if (event_supersedes(c, pending_at(l, i))) {
			*pending_at(l, i) = *c;
			return;
		}
	}
	if (l->pending_cnt == VHX_LINK_PENDING_MAX) {
		vhx_link_fail(l, -ENOBUFS);
		return;
	}
	*pending_at(l, l->pending_cnt) = *c;
	l->pending_cnt++;
}

static void pending_send(struct vhx_link *l)
{
	while (l->pending_cnt && vhx_link_usable(l)) {
		if (control_send(l, pending_at(l, 0)))
			return;
		l->pending_head = (l->pending_head + 1) % VHX_LINK_PENDING_MAX;
		l->pending_cnt--;
	}
}

void vhx_link_control(struct vhx_link *l, const struct vhx_control *c)
{
	if (!l->up || l->error)
		return;
	vhx_link_flush(l);
	if (l->pending_cnt || l->channel.hello_due || control_send(l, c))
		pending_add(l, c);
}

/* Data */

uint32_t vhx_link_chunk_max(const struct vhx_link *l)
{
	uint32_t max = l->channel.max_message - (uint32_t)VHX_DATA_HEADER_LEN - RECORD_LEN;

	return max & ~(VHX_RECORD_ALIGN - 1);
}

void vhx_link_flush(struct vhx_link *l)
{
	const uint8_t *bytes = l->writer.buf;
	uint32_t len;
	int ret;

	if (!l->open)
		return;
	l->open = false;
	len = vhx_writer_len(&l->writer);
	if (len == VHX_DATA_HEADER_LEN || l->error) {
		vhx_writer_cancel(&l->writer);
		return;
	}
	vhx_channel_header(&l->channel, l->open_header);
	ret = vhx_writer_commit(&l->writer);
	if (ret) {
		/* Credit said that there is room: a peer whose ring is full all the same lied about it. */
		vhx_link_fail(l, ret == -EAGAIN ? -EPROTO : ret);
		return;
	}
	/* The slot stays as it is until the next message is begun. */
	if (vhx_unlikely(l->trace->on))
		tx_trace(l, l->open_type, bytes, len);
	vhx_credit_sent(&l->channel.credit, len);
	l->stats.data_messages++;
}

static int message_open(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
			uint32_t need)
{
	uint32_t room = vhx_credit_data_room(&l->channel.credit);
	uint32_t cap = (uint32_t)vhx_min_u64(room, l->channel.max_message);
	struct vhx_queue_header *header;
	int ret;

	if (cap < VHX_DATA_HEADER_LEN + need)
		return -EAGAIN;
	ret = vhx_writer_begin(&l->writer, type, cap);
	if (ret) {
		vhx_link_fail(l, ret == -EAGAIN ? -EPROTO : ret);
		return -EAGAIN;
	}
	l->open_header = vhx_writer_take(&l->writer, VHX_DATA_HEADER_LEN);
	if (!l->open_header) {
		/* Not with the room asked for above; said for those who read this function alone. */
		vhx_writer_cancel(&l->writer);
		return -EAGAIN;
	}
	header = (void *)((char *)l->open_header + sizeof(struct vhx_msg_header));
	vhx_queue_encode(header, key);
	l->open = true;
	l->open_type = type;
	l->open_key = *key;
	return 0;
}

static bool message_takes(const struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
			  uint32_t need)
{
	return l->open && l->open_type == type && l->open_key.dev == key->dev &&
	       l->open_key.vq == key->vq && l->open_key.epoch == key->epoch &&
	       vhx_writer_room(&l->writer) >= need && vhx_writer_len(&l->writer) < VHX_LINK_PACE;
}

/* message_open() for whose turn it is. */
static int turn_open(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
		     struct vhx_link_turn *turn, uint32_t need)
{
	int ret = -EAGAIN;

	if (vhx_link_turns_ask(&l->turns, turn))
		ret = message_open(l, type, key, need);
	if (ret)
		vhx_link_turns_refused(&l->turns, turn);
	else
		vhx_link_turns_served(&l->turns, turn);
	return ret;
}

int vhx_link_record(struct vhx_link *l, uint32_t type, const struct vhx_queue_key *key,
		    struct vhx_link_turn *turn, uint32_t chunk_len, struct vhx_link_place *place)
{
	uint32_t need = RECORD_LEN + vhx_chunk_padded(chunk_len);
	int ret;

	assert(chunk_len <= vhx_link_chunk_max(l));
	if (!vhx_link_usable(l))
		return -EAGAIN;
	if (!message_takes(l, type, key, need)) {
		vhx_link_flush(l);
		if (l->error)
			return -EAGAIN;
		ret = turn_open(l, type, key, turn, need);
		if (ret)
			return ret;
	}
	place->record = vhx_writer_space(&l->writer, need);
	place->chunk = (char *)place->record + RECORD_LEN;
	return 0;
}

void vhx_link_record_end(struct vhx_link *l, uint32_t chunk_len)
{
	uint32_t padded = vhx_chunk_padded(chunk_len);
	uint8_t *pad = vhx_writer_space(&l->writer, RECORD_LEN + padded);

	memset(pad + RECORD_LEN + chunk_len, 0, padded - chunk_len);
	vhx_writer_advance(&l->writer, RECORD_LEN + padded);
}

/* Arrival */

static int message_deliver(struct vhx_link *l, const struct vhx_msg *msg)
{
	uint8_t wire[VIRTIO_MSG_MAX];
	struct vhx_queue_header qh;
	struct vhx_queue_key key;
	struct vhx_control c;
	uint32_t len = msg->len - (uint32_t)sizeof(struct vhx_msg_header);
	int ret;

	if (msg->type == VHX_MSG_CONTROL) {
		if (len > sizeof(wire))
			return -EPROTO;
		vhx_port_read(l->port, sizeof(struct vhx_msg_header), wire, len);
		ret = vhx_control_decode(wire, len, &c);
		if (!ret)
			l->ops->control(l, &c);
		return ret == -ENOMSG ? 0 : ret;
	}
	if (len < sizeof(qh))
		return -EPROTO;
	vhx_port_read(l->port, sizeof(struct vhx_msg_header), &qh, sizeof(qh));
	vhx_queue_decode(&qh, &key);
	l->ops->data(l, msg->type, &key, msg->len);
	return 0;
}

static void hello_send(struct vhx_link *l)
{
	struct vhx_hello hello;
	struct iovec iov = { &hello, sizeof(hello) };

	if (l->error || !vhx_channel_hello(&l->channel, &hello))
		return;
	if (!link_send(l, VHX_MSG_HELLO, &iov, 1))
		vhx_channel_hello_sent(&l->channel);
}

static void message_take(struct vhx_link *l, const struct vhx_msg *msg)
{
	/* What follows the header of other messages is read by those who handle it, and by them only. */
	size_t look = msg->type == VHX_MSG_HELLO ? sizeof(struct vhx_hello) :
						   sizeof(struct vhx_msg_header);
	struct vhx_hello start = { 0 };
	bool room = false;
	int verdict, ret = 0;

	if (vhx_unlikely(l->trace->on))
		rx_trace(l, msg);
	vhx_port_read(l->port, 0, &start, (uint32_t)vhx_min_u64(msg->len, look));
	verdict = vhx_channel_receive(&l->channel, msg->type, msg->len, &start, &room);
	if (verdict == VHX_CHANNEL_DELIVER) {
		vhx_credit_hold(&l->channel.credit, msg->len);
		ret = message_deliver(l, msg);
		vhx_credit_release(&l->channel.credit);
	}
	vhx_port_consume(l->port);
	if (verdict < 0 || ret < 0) {
		vhx_link_fail(l, verdict < 0 ? verdict : ret);
		return;
	}
	if (verdict != VHX_CHANNEL_UP)
		return;
	vhx_loop_timer_cancel(l->loop, &l->hello_timer);
	l->up = true;
	/* The peer hears of us before it hears from the owner. */
	hello_send(l);
	l->ops->up(l);
}

/* True: the burst was used up, there may be more. */
static bool messages_take(struct vhx_link *l)
{
	struct vhx_msg msg;
	int i, ret;

	for (i = 0; i < VHX_LINK_BURST; i++) {
		if (l->error)
			return false;
		ret = vhx_port_peek(l->port, &msg);
		if (ret < 0)
			vhx_link_fail(l, ret);
		if (ret <= 0)
			return false;
		message_take(l, &msg);
		/* The answer to a HELLO goes before anything that the handlers above may send. */
		hello_send(l);
	}
	return true;
}

static void credit_send(struct vhx_link *l)
{
	if (vhx_link_usable(l) && vhx_credit_owed(&l->channel.credit) &&
	    vhx_credit_bare_room(&l->channel.credit) >= sizeof(struct vhx_msg_header) &&
	    !body_send(l, VHX_MSG_CREDIT, NULL, 0))
		l->stats.credits_sent++;
}

/* A peer that need not exist yet is not late before it does. */
static bool link_patient(const struct vhx_link *l)
{
	return l->port->ops->caps & VHX_PORT_PATIENT;
}

/* The port has met its peer: ring sizes are known. */
static void link_start(struct vhx_link *l)
{
	struct vhx_channel_config cfg = {
		.inc = l->inc,
		.tx_ring_len = l->port->tx_ring_len,
		.rx_ring_len = l->port->rx_ring_len,
		.max_message = l->port->max_message,
	};
	int ret;

	if (l->error || l->started || !vhx_port_ready(l->port))
		return;
	if (cfg.tx_ring_len < VHX_CHANNEL_RING_MIN || cfg.rx_ring_len < VHX_CHANNEL_RING_MIN) {
		vhx_link_fail(l, -EPROTO);
		return;
	}
	ret = vhx_writer_init(&l->writer, l->port);
	if (ret) {
		vhx_link_fail(l, ret);
		return;
	}
	l->writer_ready = true;
	l->started = true;
	vhx_channel_init(&l->channel, &cfg);
	if (link_patient(l))
		vhx_loop_timer_arm(l->loop, &l->hello_timer, VHX_LINK_HELLO_NS);
}

static void link_down(struct vhx_link *l)
{
	int reason = l->error;

	vhx_link_close(l);
	l->error = reason;
	l->ops->down(l, reason);
}

static bool link_run(struct vhx_loop_hook *hook)
{
	struct vhx_link *l = vhx_container_of(hook, struct vhx_link, hook);
	bool more = false;

	link_start(l);
	if (l->started) {
		hello_send(l);
		more = messages_take(l);
		pending_send(l);
		if (vhx_link_usable(l)) {
			more |= l->ops->pump(l);
			more |= vhx_link_turns_pass(&l->turns);
		}
		vhx_link_flush(l);
		credit_send(l);
	}
	if (!l->error)
		return more;
	link_down(l);
	return false;
}

static bool link_prepare(struct vhx_loop_hook *hook)
{
	struct vhx_link *l = vhx_container_of(hook, struct vhx_link, hook);
	int ret = vhx_port_prepare_wait(l->port);

	assert(!l->open);
	if (ret < 0)
		vhx_link_fail(l, ret);
	return ret != 0;
}

static bool link_poll(struct vhx_loop_hook *hook)
{
	struct vhx_link *l = vhx_container_of(hook, struct vhx_link, hook);
	struct vhx_msg msg;

	return l->up && vhx_port_peek(l->port, &msg) != 0;
}

static void link_ready(struct vhx_loop_fd *watch, uint32_t events)
{
	struct vhx_link *l = vhx_container_of(watch, struct vhx_link, watch);
	int ret = vhx_port_event(l->port);

	/* What the peer published before it died is still taken: peek reports the end after it. */
	if (ret < 0 && !l->started)
		vhx_link_fail(l, ret);
}

static void hello_expired(struct vhx_loop_timer *t)
{
	vhx_link_fail(vhx_container_of(t, struct vhx_link, hello_timer), -ETIMEDOUT);
}

static uint32_t incarnation_new(void)
{
	uint32_t inc;

	/* 0 stands for "not known"; one retry in four thousand million. */
	do {
		if (getrandom(&inc, sizeof(inc), 0) != sizeof(inc))
			inc = 1;
	} while (!inc);
	return inc;
}

int vhx_link_open(struct vhx_link *l, struct vhx_loop *loop, struct vhx_port *port,
		  const struct vhx_link_ops *ops, void *ctx)
{
	int ret;

	*l = (struct vhx_link){
		.ops = ops,
		.ctx = ctx,
		.loop = loop,
		.port = port,
		.inc = incarnation_new(),
		.watch = { .fd = port->fd, .events = EPOLLIN, .ready = link_ready },
		.hook = { .run = link_run, .prepare = link_prepare, .poll = link_poll },
		.hello_timer = { .expired = hello_expired },
		.trace = &vhx_trace_none,
	};
	if (port->ops->caps & VHX_PORT_WAKE_DEAR)
		l->hook.poll_ns = VHX_LINK_POLL_DEAR_NS;
	vhx_link_turns_init(&l->turns);
	vhx_list_init(&l->hook.node);
	vhx_list_init(&l->hello_timer.node);
	l->pending = calloc(VHX_LINK_PENDING_MAX, sizeof(*l->pending));
	if (!l->pending) {
		ret = -ENOMEM;
		goto close_port;
	}
	ret = vhx_loop_fd_add(loop, &l->watch);
	if (ret)
		goto free_pending;
	vhx_loop_hook_add(loop, &l->hook);
	if (!link_patient(l))
		vhx_loop_timer_arm(loop, &l->hello_timer, VHX_LINK_HELLO_NS);
	return 0;

free_pending:
	free(l->pending);
close_port:
	vhx_port_close(port);
	*l = (struct vhx_link){ 0 };
	return ret;
}

void vhx_link_set_trace(struct vhx_link *l, struct vhx_trace *trace, struct vhx_trace_point point)
{
	l->trace = trace ? trace : &vhx_trace_none;
	l->trace_point = point;
}

uint64_t vhx_link_memory(const struct vhx_link *l)
{
	if (!l->port)
		return 0;
	return l->port->memory + vhx_writer_memory(&l->writer) +
	       VHX_LINK_PENDING_MAX * sizeof(*l->pending);
}

void vhx_link_close(struct vhx_link *l)
{
	if (!l->port)
		return;
	if (l->open)
		vhx_writer_cancel(&l->writer);
	if (l->writer_ready)
		vhx_writer_fini(&l->writer);
	vhx_link_turns_clear(&l->turns);
	vhx_loop_timer_cancel(l->loop, &l->hello_timer);
	vhx_loop_hook_del(l->loop, &l->hook);
	vhx_loop_fd_del(l->loop, &l->watch);
	free(l->pending);
	vhx_port_close(l->port);
	l->pending = NULL;
	l->port = NULL;
	l->open = false;
	l->writer_ready = false;
	l->started = false;
	l->up = false;
}
