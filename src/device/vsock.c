// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Connections are places of a fixed table, found by the pair of ports. Their bytes and credit are vsock_conn.c's, how
 * they begin on the host is vsock_host.c's; here are the packets.
 *
 *   the guest connects   ASKED --connector has it--> OPEN          --nobody is there--> ENDING
 *   the host connects    GREETING --"CONNECT P"--> REQUESTED --RESPONSE--> OPEN
 *   the host is done     OPEN --SHUTDOWN of both directions--> CLOSING --RST, or CLOSE_NS--> free
 *   the guest is done    OPEN --SHUTDOWN of both directions--> ENDING --RST sent--> free, or LINGERING with bytes
 *   anything that does not belong: ENDING, and its socket is closed at once
 *
 * rx, queue 0. Nothing is queued for the guest: a connection remembers by bits what it owes, and stands in the list of
 * turns while that, or a byte of its socket, can go. With a receive buffer and room in the message each turn is one
 * packet. Sockets are read only then.
 *
 * tx, queue 1. A packet is done when submit returns: its bytes are on the host or within the credit that we gave for
 * them. The one thing it can need beyond that is an RST for a connection that does not exist. Those are the additional
 * resources of 5.10.6.1, STRAYS_MAX of them; when they are used up the queue waits until the guest takes some.
 *
 * event, queue 2. A device that has just begun cannot know what the guest holds open: of a predecessor, or of a
 * channel that was lost. So its first event is a transport reset, and the guest ends what it has.
 *
 * A hostile guest can use up its connections and its buffers, and get RSTs. It cannot say more than that. It is
 * known by one number, and packets with another source are dropped; another destination than the host is
 * nobody's. A host program that does not read stops its own connection; one that says nothing loses its place.
 */
#include "device/vsock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "device/identity.h"
#include "device/vsock_conn.h"
#include "device/vsock_host.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUE_CNT };

#define HDR_LEN ((uint32_t)sizeof(struct virtio_vsock_hdr))
/* What Linux sends at most. */
#define PAYLOAD_MAX (64u * 1024)
#define NS_PER_S 1000000000ull
/* For a client to say which port it wants, and for the guest to answer. */
#define GREETING_NS (10 * NS_PER_S)
#define RESPONSE_NS (10 * NS_PER_S)
/* For the guest to confirm a SHUTDOWN: as long as Linux waits for that. */
#define CLOSE_NS (8 * NS_PER_S)
/* For a host program to take the last bytes of a guest that has left. Then another may have their place. */
#define LINGER_NS (30 * NS_PER_S)
#define STRAYS_MAX 64u
/* Packets to the guest per pass: the loop has others. */
#define PACKETS_MAX 64
/* Of host ports, given to connections of the host; below are those that guests know. */
#define PORT_FIRST (1u << 30)

/* A packet that no connection answers. */
struct stray {
	uint64_t cid; /* that the guest had sent to */
	uint32_t guest_port, host_port;
	uint16_t type;
};

struct vsock {
	struct vhx_device dev;
	uint32_t cid;
	uint32_t buffer;
	bool seqpacket; /* negotiated */
	struct vhx_vsock_host host;
	struct vhx_vsock_conn *conns;
	struct vhx_list *chains; /* by hash of the ports */
	uint32_t conn_cnt, chain_cnt;
	struct vhx_list free;
	struct vhx_list overdue; /* lingering for long: as good as free when there is no other */
	struct vhx_list turns; /* connections with something for the guest */
	struct vhx_list asking; /* those that wait for the connector's turn */
	uint32_t next_port;
	struct stray strays[STRAYS_MAX];
	unsigned int stray_head, stray_cnt;
	struct vhx_list posted, held, events; /* requests of the three queues */
	bool no_room; /* ops->room is awaited */
	bool reset_due;
	struct vhx_loop_hook hook;
	struct vhx_log_limit limit;
};

static struct vsock *vsock_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct vsock, dev);
}

#define complain(v, level, ...)                                                                  \
	vhx_log_limited((v)->dev.log, &(v)->limit, vhx_loop_now((v)->dev.loop), VHX_LOG_##level, \
			__VA_ARGS__)

/* The table of connections */

static struct vhx_list *chain_of(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	uint32_t h = guest_port * 2654435761u ^ host_port * 2246822519u;

	return &v->chains[(h >> 16 ^ h) & (v->chain_cnt - 1)];
}

static struct vhx_vsock_conn *conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	struct vhx_list *chain = chain_of(v, guest_port, host_port), *pos;

	vhx_list_for_each (pos, chain) {
		struct vhx_vsock_conn *c = vhx_list_entry(pos, struct vhx_vsock_conn, node);

		if (c->guest_port == guest_port && c->host_port == host_port)
			return c;
	}
	return NULL;
}

static void conn_enter(struct vsock *v, struct vhx_vsock_conn *c, uint32_t guest_port,
		       uint32_t host_port)
{
	c->guest_port = guest_port;
	c->host_port = host_port;
	vhx_list_add_tail(chain_of(v, guest_port, host_port), &c->node);
}

static void conn_free(struct vsock *v, struct vhx_vsock_conn *c);

/* NULL: there are too many. */
static struct vhx_vsock_conn *conn_new(struct vsock *v, enum vhx_vsock_state state, bool seqpacket)
{
	struct vhx_vsock_conn *c;

	if (vhx_list_empty(&v->free) && !vhx_list_empty(&v->overdue))
		conn_free(v, vhx_list_first_entry(&v->overdue, struct vhx_vsock_conn, node));
	if (vhx_list_empty(&v->free)) {
		complain(v, WARNING, "%s: more than %u connections: refused", v->dev.id,
			 v->conn_cnt);
		return NULL;
	}
	c = vhx_list_first_entry(&v->free, struct vhx_vsock_conn, node);
	vhx_list_del(&c->node);
	c->state = state;
	c->seqpacket = seqpacket;
	c->buf_alloc = v->buffer;
	if (seqpacket)
		c->buf_alloc = (uint32_t)vhx_min_u64(v->buffer, VHX_VSOCK_MESSAGE_MAX);
	return c;
}

static void conn_expired(struct vhx_loop_timer *t);
static void conn_retry(struct vhx_loop_timer *t);
static void conn_ready(struct vhx_loop_fd *w, uint32_t events);

static void conn_blank(struct vsock *v, struct vhx_vsock_conn *c, uint32_t life)
{
	*c = (struct vhx_vsock_conn){
		.dev = &v->dev,
		.life = life,
		.watch = { .fd = -1, .ready = conn_ready },
		.timer = { .expired = conn_expired },
		.retry = { .expired = conn_retry },
	};
	vhx_list_init(&c->node);
	vhx_list_init(&c->turn);
	vhx_list_init(&c->timer.node);
	vhx_list_init(&c->retry.node);
	vhx_list_add_tail(&v->free, &c->node);
}

static void conn_free(struct vsock *v, struct vhx_vsock_conn *c)
{
	vhx_loop_timer_cancel(v->dev.loop, &c->timer);
	vhx_vsock_conn_clear(c);
	vhx_list_del(&c->node);
	vhx_list_del(&c->turn);
	conn_blank(v, c, c->life + 1);
}

static void conn_timer(struct vhx_vsock_conn *c, uint64_t ns)
{
	vhx_loop_timer_cancel(c->dev->loop, &c->timer);
	if (ns)
		vhx_loop_timer_arm(c->dev->loop, &c->timer, ns);
}

/* What is due to the guest */

static bool data_due(const struct vhx_vsock_conn *c)
{
	return (c->readable || c->message) && c->state == VHX_VSOCK_OPEN &&
	       !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
	       !(c->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND);
}

static uint16_t open_due(const struct vhx_vsock_conn *c)
{
	if (c->owe & VHX_VSOCK_OWE(RESPONSE))
		return VIRTIO_VSOCK_OP_RESPONSE;
	if (data_due(c) && vhx_vsock_conn_credit(c))
		return VIRTIO_VSOCK_OP_RW;
	if (c->owe & VHX_VSOCK_OWE(SHUTDOWN))
		return VIRTIO_VSOCK_OP_SHUTDOWN;
	if (c->owe & VHX_VSOCK_OWE(CREDIT_UPDATE))
		return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	return data_due(c) && !c->asked ? VIRTIO_VSOCK_OP_CREDIT_REQUEST : VIRTIO_VSOCK_OP_INVALID;
}

/* The next packet of a connection; INVALID: there is none. */
static uint16_t conn_due(const struct vhx_vsock_conn *c)
{
	switch (c->state) {
	case VHX_VSOCK_REQUESTED:
		return c->owe & VHX_VSOCK_OWE(REQUEST) ? VIRTIO_VSOCK_OP_REQUEST
						       : VIRTIO_VSOCK_OP_INVALID;
	case VHX_VSOCK_OPEN:
	case VHX_VSOCK_CLOSING:
		return open_due(c);
	case VHX_VSOCK_ENDING:
		return VIRTIO_VSOCK_OP_RST;
	default:
		return VIRTIO_VSOCK_OP_INVALID;
	}
}

static void turn_update(struct vsock *v, struct vhx_vsock_conn *c)
{
	if (c->state == VHX_VSOCK_ASKED)
		return;
	if (!conn_due(c))
		vhx_list_del(&c->turn);
	else if (vhx_list_empty(&c->turn))
		vhx_list_add_tail(&v->turns, &c->turn);
}

/* Ends */

/* The guest gets an RST, and bytes that are kept for the host still go there. */
static void conn_end(struct vsock *v, struct vhx_vsock_conn *c)
{
	conn_timer(c, 0);
	vhx_list_del(&c->turn);
	c->state = VHX_VSOCK_ENDING;
	if (!vhx_vsock_conn_kept(c))
		vhx_vsock_conn_clear(c);
	turn_update(v, c);
}

/* And nothing goes anywhere any more. */
static void conn_abort(struct vsock *v, struct vhx_vsock_conn *c)
{
	vhx_vsock_conn_clear(c);
	conn_end(v, c);
}

/* The guest has had its last packet. */
static void conn_over(struct vsock *v, struct vhx_vsock_conn *c)
{
	if (!vhx_vsock_conn_kept(c)) {
		conn_free(v, c);
		return;
	}
	vhx_list_del(&c->node);
	vhx_list_del(&c->turn);
	c->state = VHX_VSOCK_LINGERING;
	conn_timer(c, LINGER_NS);
}

/* The host sends no more, or has left altogether. */
static void host_over(struct vhx_vsock_conn *c)
{
	unsigned int shut = VIRTIO_VSOCK_SHUTDOWN_SEND;

	if (c->hung_up)
		shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	if (shut & ~c->host_shut)
		c->owe |= VHX_VSOCK_OWE(SHUTDOWN);
	c->host_shut |= shut;
}

static void conn_expired(struct vhx_loop_timer *t)
{
	struct vhx_vsock_conn *c = vhx_container_of(t, struct vhx_vsock_conn, timer);
	struct vsock *v = vsock_of(c->dev);

	if (c->state == VHX_VSOCK_GREETING)
		conn_free(v, c);
	else if (c->state == VHX_VSOCK_LINGERING)
		vhx_list_add_tail(&v->overdue, &c->node);
	else
		conn_abort(v, c);
}

/* Packets to the guest */

static void hdr_fill(struct vsock *v, struct vhx_vsock_conn *c, uint16_t op, uint32_t len,
		     uint32_t flags, struct virtio_vsock_hdr *hdr)
{
	*hdr = (struct virtio_vsock_hdr){
		.src_cid = vhx_le64_of(VIRTIO_VSOCK_CID_HOST),
		.dst_cid = vhx_le64_of(v->cid),
		.src_port = vhx_le32_of(c->host_port),
		.dst_port = vhx_le32_of(c->guest_port),
		.len = vhx_le32_of(len),
		.type = vhx_le16_of(c->seqpacket ? VIRTIO_VSOCK_TYPE_SEQPACKET
						 : VIRTIO_VSOCK_TYPE_STREAM),
		.op = vhx_le16_of(op),
		.flags = vhx_le32_of(flags),
		.buf_alloc = vhx_le32_of(c->buf_alloc),
		.fwd_cnt = vhx_le32_of(c->fwd_cnt),
	};
	c->fwd_told = c->fwd_cnt;
	c->owe &= ~VHX_VSOCK_OWE(CREDIT_UPDATE);
}

/* A buffer that has no room for a head is given back as it is. False: it was such a one. */
static bool head_send(struct vsock *v, const struct virtio_vsock_hdr *hdr)
{
	struct vhx_request *req = vhx_list_first_entry(&v->posted, struct vhx_request, node);
	uint32_t len = req->in_len < HDR_LEN ? 0 : HDR_LEN;

	vhx_list_del(&req->node);
	vhx_request_complete(req, 0, hdr, 0, len, len);
	return len;
}

static void stray_send(struct vsock *v)
{
	const struct stray *s = &v->strays[v->stray_head];
	struct virtio_vsock_hdr hdr = {
		.src_cid = vhx_le64_of(s->cid),
		.dst_cid = vhx_le64_of(v->cid),
		.src_port = vhx_le32_of(s->host_port),
		.dst_port = vhx_le32_of(s->guest_port),
		.type = vhx_le16_of(s->type),
		.op = vhx_le16_of(VIRTIO_VSOCK_OP_RST),
	};

	if (!head_send(v, &hdr))
		return;
	v->stray_head = (v->stray_head + 1) % STRAYS_MAX;
	v->stray_cnt--;
}

static void control_sent(struct vsock *v, struct vhx_vsock_conn *c, uint16_t op)
{
	c->owe &= ~(1u << op);
	if (op == VIRTIO_VSOCK_OP_RST) {
		conn_over(v, c);
	} else if (op == VIRTIO_VSOCK_OP_CREDIT_REQUEST) {
		c->asked = true;
	} else if (op == VIRTIO_VSOCK_OP_SHUTDOWN && c->state == VHX_VSOCK_OPEN &&
		   c->host_shut == VIRTIO_VSOCK_SHUTDOWN_BOTH) {
		c->state = VHX_VSOCK_CLOSING;
		conn_timer(c, CLOSE_NS);
	}
}

static void control_send(struct vsock *v, struct vhx_vsock_conn *c, uint16_t op)
{
	struct virtio_vsock_hdr hdr;

	hdr_fill(v, c, op, 0, op == VIRTIO_VSOCK_OP_SHUTDOWN ? c->host_shut : 0, &hdr);
	if (head_send(v, &hdr))
		control_sent(v, c, op);
}

/* What came instead of bytes. */
static void read_failed(struct vsock *v, struct vhx_vsock_conn *c, int ret)
{
	if (ret == -EPIPE) {
		host_over(c);
	} else if (ret) {
		complain(v, NOTICE, "%s: port %u: a message from the host: %s", v->dev.id,
			 c->guest_port, strerror(-ret));
		conn_abort(v, c);
	}
}

/* False: no room in the message now. */
static bool data_send(struct vsock *v, struct vhx_vsock_conn *c)
{
	struct vhx_request *req = vhx_list_first_entry(&v->posted, struct vhx_request, node);
	uint32_t room = (uint32_t)vhx_min_u64(req->in_len, vhx_request_in_reserve_max(req));
	struct virtio_vsock_hdr hdr;
	uint32_t len, flags;
	uint8_t *p;
	int n;

	if (room <= HDR_LEN) {
		vhx_list_del(&req->node);
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return true;
	}
	len = (uint32_t)vhx_min_u64(room - HDR_LEN, vhx_vsock_conn_credit(c));
	len = (uint32_t)vhx_min_u64(len, PAYLOAD_MAX);
	p = vhx_request_in_reserve(req, 0, HDR_LEN + len, &v->no_room);
	if (!p)
		return false;
	n = vhx_vsock_conn_read(c, p + HDR_LEN, len, &flags);
	if (n <= 0) {
		vhx_request_in_commit(req, 0);
		read_failed(v, c, n);
		return true;
	}
	hdr_fill(v, c, VIRTIO_VSOCK_OP_RW, (uint32_t)n, flags, &hdr);
	memcpy(p, &hdr, sizeof(hdr));
	vhx_request_in_commit(req, HDR_LEN + (uint32_t)n);
	vhx_list_del(&req->node);
	vhx_request_complete(req, 0, NULL, 0, 0, HDR_LEN + (uint32_t)n);
	return true;
}

/* One packet of the connection whose turn it is. False: no room now. */
static bool turn_take(struct vsock *v)
{
	struct vhx_vsock_conn *c = vhx_list_first_entry(&v->turns, struct vhx_vsock_conn, turn);
	uint16_t op = conn_due(c);
	bool sent = true;

	vhx_list_del(&c->turn);
	if (op == VIRTIO_VSOCK_OP_RW)
		sent = data_send(v, c);
	else if (op == VIRTIO_VSOCK_OP_REQUEST && c->seqpacket && !v->seqpacket)
		conn_free(v, c); /* what the guest did not agree to; it is not asked */
	else
		control_send(v, c, op);
	turn_update(v, c);
	return sent;
}

static void held_take(struct vsock *v);

/* True: something was done, and there may be more. */
static bool pump(struct vsock *v)
{
	int i;

	for (i = 0; i < PACKETS_MAX && !v->no_room && !vhx_list_empty(&v->posted); i++) {
		if (v->stray_cnt)
			stray_send(v);
		else if (vhx_list_empty(&v->turns) || !turn_take(v))
			break;
	}
	held_take(v);
	return i > 0;
}

static bool vsock_run(struct vhx_loop_hook *h)
{
	return pump(vhx_container_of(h, struct vsock, hook));
}

/* The socket of a connection */

/* Negative: nothing would be heard of it. The descriptor is the connection's all the same. */
static int watch_begin(struct vhx_vsock_conn *c, int fd)
{
	c->watch.fd = fd;
	c->watch.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	return vhx_loop_fd_add(c->dev->loop, &c->watch);
}

static uint32_t port_new(struct vsock *v, uint32_t guest_port)
{
	uint32_t port;

	/* There are fewer connections than ports. */
	do {
		port = v->next_port;
		v->next_port = port == 2 * PORT_FIRST - 1 ? PORT_FIRST : port + 1;
	} while (conn_find(v, guest_port, port));
	return port;
}

static void greeting_step(struct vsock *v, struct vhx_vsock_conn *c)
{
	uint32_t port;
	int ret = vhx_vsock_greeting_read(c->watch.fd, c->seqpacket, &port);

	if (ret < 0) {
		conn_free(v, c);
	} else if (ret) {
		conn_enter(v, c, port, port_new(v, port));
		c->state = VHX_VSOCK_REQUESTED;
		c->owe = VHX_VSOCK_OWE(REQUEST);
		conn_timer(c, RESPONSE_NS);
	}
}

/* The client has left before the guest answered. */
static void requested_step(struct vsock *v, struct vhx_vsock_conn *c)
{
	if (!c->hung_up)
		return;
	if (c->owe & VHX_VSOCK_OWE(REQUEST))
		conn_free(v, c);
	else
		conn_abort(v, c);
}

/*
 * A quarter at a time, or what there is once the guest believes that it has less than that left. It may have begun a
 * message that needs it all, of which nothing reaches the host before its end; Linux waits, and never asks.
 */
static void credit_owe(struct vhx_vsock_conn *c)
{
	uint32_t untold = c->fwd_cnt - c->fwd_told, quarter = c->buf_alloc / 4;

	if (untold >= quarter || (untold && c->rx_cnt - c->fwd_told > c->buf_alloc - quarter))
		c->owe |= VHX_VSOCK_OWE(CREDIT_UPDATE);
}

static void open_step(struct vsock *v, struct vhx_vsock_conn *c)
{
	if (vhx_vsock_conn_flush(c)) {
		conn_abort(v, c);
		return;
	}
	credit_owe(c);
	if (c->hung_up && !data_due(c))
		host_over(c);
}

static void ending_step(struct vsock *v, struct vhx_vsock_conn *c)
{
	int ret = c->watch.fd < 0 ? 0 : vhx_vsock_conn_flush(c);

	if (c->state == VHX_VSOCK_LINGERING && (ret || !vhx_vsock_conn_kept(c)))
		conn_free(v, c);
	else if (ret || !vhx_vsock_conn_kept(c))
		vhx_vsock_conn_clear(c);
}

static void (*const steps[])(struct vsock *v, struct vhx_vsock_conn *c) = {
	[VHX_VSOCK_GREETING] = greeting_step, [VHX_VSOCK_REQUESTED] = requested_step,
	[VHX_VSOCK_OPEN] = open_step,	      [VHX_VSOCK_ENDING] = ending_step,
	[VHX_VSOCK_LINGERING] = ending_step,
};

static void conn_step(struct vsock *v, struct vhx_vsock_conn *c)
{
	if (c->state < VHX_ARRAY_SIZE(steps) && steps[c->state])
		steps[c->state](v, c);
	turn_update(v, c);
}

static void conn_retry(struct vhx_loop_timer *t)
{
	struct vhx_vsock_conn *c = vhx_container_of(t, struct vhx_vsock_conn, retry);

	c->retries++;
	conn_step(vsock_of(c->dev), c);
}

static void conn_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_vsock_conn *c = vhx_container_of(w, struct vhx_vsock_conn, watch);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if (events & (EPOLLHUP | EPOLLERR))
		c->hung_up = true;
	conn_step(vsock_of(c->dev), c);
}

/* Packets of the guest */

static void stray_add(struct vsock *v, const struct vhx_vsock_packet *p)
{
	assert(v->stray_cnt < STRAYS_MAX);
	v->strays[(v->stray_head + v->stray_cnt++) % STRAYS_MAX] = (struct stray){
		.cid = p->dst_cid,
		.guest_port = p->src_port,
		.host_port = p->dst_port,
		.type = p->type,
	};
}

static uint64_t tag_of(const struct vsock *v, const struct vhx_vsock_conn *c)
{
	return (uint64_t)(c - v->conns) << 32 | c->life;
}

static void asking_go_on(struct vsock *v)
{
	while (!vhx_list_empty(&v->asking)) {
		struct vhx_vsock_conn *c = vhx_list_first_entry(&v->asking, struct vhx_vsock_conn,
								turn);
		int ret = vhx_vsock_host_ask(&v->host, tag_of(v, c), c->host_port, c->seqpacket);

		if (ret == -EAGAIN)
			return;
		vhx_list_del(&c->turn);
		if (ret)
			conn_abort(v, c);
	}
}

static void peer_credit(struct vhx_vsock_conn *c, const struct vhx_vsock_packet *p)
{
	c->peer_buf_alloc = p->buf_alloc;
	c->peer_fwd_cnt = p->fwd_cnt;
	if (vhx_vsock_conn_credit(c))
		c->asked = false;
}

/* A connection that the guest asks for. */
static void guest_connect(struct vsock *v, const struct vhx_vsock_packet *p)
{
	struct vhx_vsock_conn *c = conn_new(v, VHX_VSOCK_ASKED,
					    p->type == VIRTIO_VSOCK_TYPE_SEQPACKET);

	if (!c) {
		stray_add(v, p);
		return;
	}
	conn_enter(v, c, p->src_port, p->dst_port);
	peer_credit(c, p);
	vhx_list_add_tail(&v->asking, &c->turn);
	asking_go_on(v);
}

/* Handlers: false, it does not belong where it came. */

static bool response_take(struct vsock *v, struct vhx_vsock_conn *c,
			  const struct vhx_vsock_packet *p, const struct vhx_request *req)
{
	if (c->state != VHX_VSOCK_REQUESTED || c->owe)
		return false;
	conn_timer(c, 0);
	c->state = VHX_VSOCK_OPEN;
	return !vhx_vsock_greeting_answer(c->watch.fd, c->host_port);
}

static bool shutdown_take(struct vsock *v, struct vhx_vsock_conn *c,
			  const struct vhx_vsock_packet *p, const struct vhx_request *req)
{
	if (c->state < VHX_VSOCK_OPEN || !(p->flags & VIRTIO_VSOCK_SHUTDOWN_BOTH))
		return false;
	vhx_vsock_conn_guest_shut(c, p->flags & VIRTIO_VSOCK_SHUTDOWN_BOTH);
	if (c->guest_shut == VIRTIO_VSOCK_SHUTDOWN_BOTH)
		conn_end(v, c);
	else
		open_step(v, c);
	return true;
}

static bool data_take(struct vsock *v, struct vhx_vsock_conn *c, const struct vhx_vsock_packet *p,
		      const struct vhx_request *req)
{
	bool end = p->flags & VIRTIO_VSOCK_SEQ_EOM;

	if (c->state == VHX_VSOCK_CLOSING)
		return true;
	if (c->state != VHX_VSOCK_OPEN || c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND ||
	    p->len > c->buf_alloc - (c->rx_cnt - c->fwd_cnt) ||
	    vhx_vsock_conn_take(c, req, HDR_LEN, p->len, end))
		return false;
	credit_owe(c);
	return true;
}

static bool credit_update_take(struct vsock *v, struct vhx_vsock_conn *c,
			       const struct vhx_vsock_packet *p, const struct vhx_request *req)
{
	return c->state >= VHX_VSOCK_OPEN;
}

static bool credit_request_take(struct vsock *v, struct vhx_vsock_conn *c,
				const struct vhx_vsock_packet *p, const struct vhx_request *req)
{
	c->owe |= VHX_VSOCK_OWE(CREDIT_UPDATE);
	return c->state >= VHX_VSOCK_OPEN;
}

static bool (*const handlers[VIRTIO_VSOCK_OP_CNT])(struct vsock *v, struct vhx_vsock_conn *c,
						   const struct vhx_vsock_packet *p,
						   const struct vhx_request *req) = {
	[VIRTIO_VSOCK_OP_RESPONSE] = response_take,
	[VIRTIO_VSOCK_OP_SHUTDOWN] = shutdown_take,
	[VIRTIO_VSOCK_OP_RW] = data_take,
	[VIRTIO_VSOCK_OP_CREDIT_UPDATE] = credit_update_take,
	[VIRTIO_VSOCK_OP_CREDIT_REQUEST] = credit_request_take,
};

static void conn_packet(struct vsock *v, struct vhx_vsock_conn *c, const struct vhx_vsock_packet *p,
			const struct vhx_request *req)
{
	if (c->state == VHX_VSOCK_ENDING)
		return;
	peer_credit(c, p);
	if (p->op >= VIRTIO_VSOCK_OP_CNT || !handlers[p->op] || !handlers[p->op](v, c, p, req)) {
		complain(v, NOTICE, "%s: port %u: an operation %u of %u bytes does not belong",
			 v->dev.id, c->guest_port, p->op, p->len);
		conn_abort(v, c);
		return;
	}
	turn_update(v, c);
}

/* One that it had closed before is not cut off by that: its patience ended before it took our RST. */
static void guest_reset(struct vsock *v, struct vhx_vsock_conn *c)
{
	if (c->state == VHX_VSOCK_ENDING)
		conn_over(v, c);
	else
		conn_free(v, c);
}

static bool packet_decode(const struct vhx_request *req, struct vhx_vsock_packet *p)
{
	struct virtio_vsock_hdr hdr;

	if (vhx_request_out_read(req, 0, &hdr, sizeof(hdr)) < sizeof(hdr))
		return false;
	*p = (struct vhx_vsock_packet){
		.src_cid = vhx_le64_get(hdr.src_cid),
		.dst_cid = vhx_le64_get(hdr.dst_cid),
		.src_port = vhx_le32_get(hdr.src_port),
		.dst_port = vhx_le32_get(hdr.dst_port),
		.len = vhx_le32_get(hdr.len),
		.type = vhx_le16_get(hdr.type),
		.op = vhx_le16_get(hdr.op),
		.flags = vhx_le32_get(hdr.flags),
		.buf_alloc = vhx_le32_get(hdr.buf_alloc),
		.fwd_cnt = vhx_le32_get(hdr.fwd_cnt),
	};
	/* All of its bytes are here, or none of them count. */
	if (req->too_big || p->len > req->out_len - HDR_LEN)
		p->op = VIRTIO_VSOCK_OP_INVALID;
	return true;
}

/* 5.10.6.4.1: of the types, and of whom it is for. */
static bool is_ours(const struct vsock *v, const struct vhx_vsock_packet *p)
{
	return p->dst_cid == VIRTIO_VSOCK_CID_HOST &&
	       (p->type == VIRTIO_VSOCK_TYPE_STREAM ||
		(p->type == VIRTIO_VSOCK_TYPE_SEQPACKET && v->seqpacket));
}

static void packet_take(struct vsock *v, const struct vhx_request *req)
{
	struct vhx_vsock_packet p;
	struct vhx_vsock_conn *c;

	if (!packet_decode(req, &p) || p.src_cid != v->cid) {
		complain(v, NOTICE, "%s: a packet that is not the guest's is dropped", v->dev.id);
		return;
	}
	c = is_ours(v, &p) ? conn_find(v, p.src_port, p.dst_port) : NULL;
	if (c && c->seqpacket != (p.type == VIRTIO_VSOCK_TYPE_SEQPACKET))
		c = NULL;
	if (c && p.op == VIRTIO_VSOCK_OP_RST)
		guest_reset(v, c);
	else if (c)
		conn_packet(v, c, &p, req);
	else if (p.op == VIRTIO_VSOCK_OP_REQUEST && is_ours(v, &p) &&
		 !conn_find(v, p.src_port, p.dst_port))
		guest_connect(v, &p);
	else if (p.op != VIRTIO_VSOCK_OP_RST)
		stray_add(v, &p);
}

static void held_take(struct vsock *v)
{
	while (!vhx_list_empty(&v->held) && v->stray_cnt < STRAYS_MAX) {
		struct vhx_request *req = vhx_list_first_entry(&v->held, struct vhx_request, node);

		vhx_list_del(&req->node);
		packet_take(v, req);
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
	}
}

/* The host */

static void host_accepted(struct vhx_vsock_host *h, int fd, bool seqpacket)
{
	struct vsock *v = vhx_container_of(h, struct vsock, host);
	struct vhx_vsock_conn *c = conn_new(v, VHX_VSOCK_GREETING, seqpacket);

	if (!c) {
		close(fd);
		return;
	}
	conn_timer(c, GREETING_NS);
	if (watch_begin(c, fd))
		conn_free(v, c);
}

static void host_answered(struct vhx_vsock_host *h, uint64_t tag, int fd)
{
	struct vsock *v = vhx_container_of(h, struct vsock, host);
	struct vhx_vsock_conn *c = tag >> 32 < v->conn_cnt ? &v->conns[tag >> 32] : NULL;

	if (!c || c->state != VHX_VSOCK_ASKED || tag_of(v, c) != tag) {
		if (fd >= 0)
			close(fd);
	} else if (fd < 0 || watch_begin(c, fd)) {
		conn_abort(v, c);
	} else {
		c->state = VHX_VSOCK_OPEN;
		c->owe = VHX_VSOCK_OWE(RESPONSE);
		turn_update(v, c);
	}
	asking_go_on(v);
}

static void host_forsaken(struct vhx_vsock_host *h)
{
	struct vsock *v = vhx_container_of(h, struct vsock, host);
	uint32_t i;

	vhx_log(v->dev.log, VHX_LOG_ERROR,
		"%s: the process that connects for it has ended: the guest reaches nobody any more",
		v->dev.id);
	for (i = 0; i < v->conn_cnt; i++) {
		if (v->conns[i].state == VHX_VSOCK_ASKED)
			conn_abort(v, &v->conns[i]);
	}
}

static const struct vhx_vsock_host_events host_events = {
	.accepted = host_accepted,
	.answered = host_answered,
	.forsaken = host_forsaken,
};

/* Queues */

/* What the guest holds open is over; of this life, too. */
static void event_send(struct vsock *v)
{
	static const struct virtio_vsock_event event = { { VIRTIO_VSOCK_EVENT_TRANSPORT_RESET } };
	struct vhx_request *req = vhx_list_first_entry(&v->events, struct vhx_request, node);
	uint32_t i, len = req->in_len < sizeof(event) ? 0 : sizeof(event);

	vhx_list_del(&req->node);
	vhx_request_complete(req, 0, &event, 0, len, len);
	v->reset_due = !len;
	for (i = 0; len && i < v->conn_cnt; i++) {
		struct vhx_vsock_conn *c = &v->conns[i];

		if ((c->state == VHX_VSOCK_OPEN && !(c->owe & VHX_VSOCK_OWE(RESPONSE))) ||
		    c->state == VHX_VSOCK_CLOSING)
			conn_free(v, c);
	}
}

static int vsock_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct vsock *v = vsock_of(dev);
	struct vhx_list *const lists[QUEUE_CNT] = { &v->posted, &v->held, &v->events };
	uint16_t index = vhx_queue_index(req->queue);

	vhx_list_init(&req->node);
	vhx_list_add_tail(lists[index], &req->node);
	if (index == QUEUE_TX)
		held_take(v);
	else if (index == QUEUE_EVENT && v->reset_due)
		event_send(v);
	return 0;
}

static void vsock_kick(struct vhx_device *dev)
{
	pump(vsock_of(dev));
}

static void vsock_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vsock *v = vsock_of(dev);

	v->no_room = false;
	pump(v);
}

static void list_drop(struct vhx_list *list)
{
	while (!vhx_list_empty(list)) {
		struct vhx_request *req = vhx_list_first_entry(list, struct vhx_request, node);

		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

static void vsock_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vsock *v = vsock_of(dev);
	struct vhx_list *const lists[QUEUE_CNT] = { &v->posted, &v->held, &v->events };

	list_drop(lists[vhx_queue_index(queue)]);
	if (vhx_queue_index(queue) == QUEUE_RX)
		v->no_room = false;
	vhx_queue_quiesced(queue);
}

/* What the host is still owed outlives the guest's driver. */
static void vsock_restarted(struct vhx_device *dev)
{
	struct vsock *v = vsock_of(dev);
	uint32_t i;

	for (i = 0; i < v->conn_cnt; i++) {
		struct vhx_vsock_conn *c = &v->conns[i];

		if (c->state == VHX_VSOCK_ENDING)
			conn_over(v, c);
		else if (c->state != VHX_VSOCK_FREE && c->state != VHX_VSOCK_LINGERING)
			conn_free(v, c);
	}
	v->stray_cnt = 0;
	v->seqpacket = false;
	v->reset_due = true;
}

static int vsock_set_features(struct vhx_device *dev, uint64_t features)
{
	if (features & ~dev->features)
		return -EINVAL;
	vsock_of(dev)->seqpacket = features >> VIRTIO_VSOCK_F_SEQPACKET & 1;
	return 0;
}

/* 5.10.4: guest_cid is read-only. */
static int vsock_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	return -EINVAL;
}

static void vsock_queue_limits(const struct vhx_device *dev, uint16_t index,
			       struct vhx_device_limits *limits)
{
	limits->max_staged = 0;
	limits->max_in = UINT32_MAX;
	if (index != QUEUE_TX)
		limits->max_out = 0;
}

/* Life */

static void vsock_close(struct vhx_device *dev)
{
	struct vsock *v = vsock_of(dev);
	uint32_t i;

	for (i = 0; v->conns && i < v->conn_cnt; i++) {
		if (v->conns[i].state != VHX_VSOCK_FREE)
			conn_free(v, &v->conns[i]);
	}
	list_drop(&v->posted);
	list_drop(&v->held);
	list_drop(&v->events);
	vhx_vsock_host_close(&v->host);
	vhx_loop_hook_del(dev->loop, &v->hook);
	free(v->conns);
	free(v->chains);
	free(v);
}

static const struct vhx_device_ops vsock_ops = {
	.name = "vsock",
	.device_id = VIRTIO_ID_VSOCK,
	.head_len = HDR_LEN,
	.queue_limits = vsock_queue_limits,
	.submit = vsock_submit,
	.kick = vsock_kick,
	.room = vsock_room,
	.reset = vsock_reset,
	.restarted = vsock_restarted,
	.set_features = vsock_set_features,
	.set_config = vsock_set_config,
	.close = vsock_close,
};

static void lists_init(struct vsock *v)
{
	vhx_list_init(&v->free);
	vhx_list_init(&v->overdue);
	vhx_list_init(&v->turns);
	vhx_list_init(&v->asking);
	vhx_list_init(&v->posted);
	vhx_list_init(&v->held);
	vhx_list_init(&v->events);
	vhx_list_init(&v->hook.node);
}

static int table_make(struct vsock *v, uint32_t connections)
{
	uint32_t i;

	v->conn_cnt = connections;
	for (v->chain_cnt = 1; v->chain_cnt < connections;)
		v->chain_cnt *= 2;
	v->conns = calloc(v->conn_cnt, sizeof(*v->conns));
	v->chains = calloc(v->chain_cnt, sizeof(*v->chains));
	if (!v->conns || !v->chains)
		return -ENOMEM;
	for (i = 0; i < v->chain_cnt; i++)
		vhx_list_init(&v->chains[i]);
	for (i = 0; i < v->conn_cnt; i++)
		conn_blank(v, &v->conns[i], 0);
	return 0;
}

static void device_fill(struct vsock *v, const struct vhx_vsock_config *cfg)
{
	struct virtio_vsock_config config = { .guest_cid = vhx_le64_of(v->cid) };

	v->dev.features = 1ull << VIRTIO_VSOCK_F_STREAM;
	if (cfg->seqpacket)
		v->dev.features |= 1ull << VIRTIO_VSOCK_F_SEQPACKET;
	v->dev.num_queues = QUEUE_CNT;
	v->dev.queue_size_max = cfg->queue_size ?: VHX_VSOCK_QUEUE_SIZE_MAX;
	v->dev.max_out = HDR_LEN + PAYLOAD_MAX;
	v->dev.max_in = UINT32_MAX;
	v->dev.config_len = sizeof(config);
	memcpy(v->dev.config, &config, sizeof(config));
	v->dev.memory = sizeof(*v) + v->conn_cnt * sizeof(*v->conns) +
			v->chain_cnt * sizeof(*v->chains);
}

int vhx_vsock_new(struct vhx_loop *loop, const struct vhx_vsock_config *config,
		  const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct vsock *v = calloc(1, sizeof(*v));
	int ret = -ENOMEM;

	if (!v)
		goto no_memory;
	lists_init(v);
	v->cid = config->guest_cid ?: VHX_VSOCK_CID_DEFAULT;
	v->buffer = config->buffer ?: VHX_VSOCK_BUFFER_DEFAULT;
	v->next_port = PORT_FIRST;
	v->reset_due = true;
	v->hook.run = vsock_run;
	v->dev.ops = &vsock_ops;
	v->dev.log = log;
	v->dev.loop = loop;
	vhx_device_identify(&v->dev, config->id);
	if (table_make(v, config->connections ?: VHX_VSOCK_CONNECTIONS_DEFAULT))
		goto no_memory;
	ret = vhx_vsock_host_open(&v->host, config->path, config->seqpacket, config->connector,
				  loop, &host_events, err);
	if (ret) {
		vhx_error_prefix(err, "%s", config->id);
		vsock_close(&v->dev);
		return ret;
	}
	device_fill(v, config);
	vhx_loop_hook_add(loop, &v->hook);
	*device = &v->dev;
	return 0;

no_memory:
	vhx_error_set(err, "%s: out of memory", config->id);
	if (v)
		vsock_close(&v->dev);
	return ret;
}
