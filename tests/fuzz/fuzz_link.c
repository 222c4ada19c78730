// SPDX-License-Identifier: BSD-3-Clause
/*
 * Both ends against a peer that says anything: a backend with a device, or a frontend with a load in flight,
 * at the other end of a loop port. The peer is brought to a running queue, correctly, and then the input is
 * its program: control and data messages, plausible ones and others. Checked: requests end once and within
 * their bounds, and no order of messages does harm.
 */
#include "fuzz.h"

#include <string.h>

#include "backend/backend.h"
#include "core/channel.h"
#include "core/driver.h"
#include "core/vdev.h"
#include "exchange/loopback.h"
#include "frontend/frontend.h"
#include "wire/control.h"
#include "wire/wire.h"

#define RING_LEN (16u << 10)
#define SIZE 16u
#define LEN_MAX 6000u
#define MESSAGE_MAX 3072u
/* Bounds the time of one input. */
#define STEPS_MAX 256
/* Exchanges that bring a peer to a running queue, and some more. */
#define HANDSHAKE_MAX 40

struct peer {
	struct vhx_port *port;
	struct vhx_channel channel;
	bool up, gone;
	uint8_t in[RING_LEN];
	/* One of the two is used */
	struct vhx_driver driver;
	struct vhx_vdev vdev;
	uint8_t config[32];
};

struct target_device {
	struct vhx_device dev;
	struct vhx_list held;
	uint8_t policy;
};

struct target_source {
	bool busy[SIZE];
	uint32_t in_len[SIZE];
	uint8_t out[64], in[SIZE][LEN_MAX];
	struct iovec out_iov, in_iov[SIZE];
	struct vhx_fqueue *q;
	uint32_t next;
};

struct world {
	struct fuzz_input in;
	struct peer peer;
	bool backend_side; /* the target is a backend */
	struct vhx_backend *be;
	struct vhx_frontend *fe;
	struct vhx_fdev *fdev;
	struct target_device dev;
	struct target_source src;
	struct vhx_port *fe_end;
};

static struct vhx_loop *loop;

/* The device */

static int device_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct target_device *d = vhx_container_of(dev, struct target_device, dev);
	bool later;
	void *p;

	FUZZ_CHECK(req->id < SIZE && (req->too_big || req->out_len <= dev->max_out));
	if (d->policy & 1 && req->in_len) {
		p = vhx_request_in_reserve(req, 0, (req->in_len + 1) / 2, &later);
		if (!p && later)
			return -EAGAIN;
		if (p) {
			memset(p, 0x5a, (req->in_len + 1) / 2);
			vhx_request_in_commit(req, (req->in_len + 1) / 2);
			vhx_request_complete(req, 0, NULL, 0, 0, (req->in_len + 1) / 2);
			return 0;
		}
	}
	if (!req->too_big && req->in_len && vhx_request_in_buffer(req, 0, req->in_len))
		return -EAGAIN;
	vhx_list_init(&req->node);
	vhx_list_add_tail(&d->held, &req->node);
	return 0;
}

static void device_release(struct target_device *d)
{
	struct vhx_request *req;

	if (vhx_list_empty(&d->held))
		return;
	req = vhx_list_first_entry(&d->held, struct vhx_request, node);
	vhx_list_del(&req->node);
	vhx_request_complete(req, req->in_cnt ? req->in_len : 0, NULL, 0, 0,
			     req->in_cnt ? req->in_len : 0);
}

static void device_kick(struct vhx_device *dev)
{
}

static void device_drop(struct target_device *d, const struct vhx_queue *queue)
{
	struct vhx_list *pos, *tmp;

	vhx_list_for_each_safe (pos, tmp, &d->held) {
		struct vhx_request *req = vhx_list_entry(pos, struct vhx_request, node);

		if (queue && req->queue != queue)
			continue;
		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

static void device_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	device_drop(vhx_container_of(dev, struct target_device, dev), queue);
	vhx_queue_quiesced(queue);
}

static int device_set_features(struct vhx_device *dev, uint64_t features)
{
	return features & 1 ? -EINVAL : 0;
}

static int device_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	FUZZ_CHECK(off <= dev->config_len && len <= dev->config_len - off);
	memcpy(dev->config + off, buf, len);
	return 0;
}

static void device_close(struct vhx_device *dev)
{
	device_drop(vhx_container_of(dev, struct target_device, dev), NULL);
}

static const struct vhx_device_ops device_ops = {
	.name = "fuzz",
	.device_id = 2,
	.head_len = 16,
	.submit = device_submit,
	.kick = device_kick,
	.reset = device_reset,
	.set_features = device_set_features,
	.set_config = device_set_config,
	.close = device_close,
};

/* The source */

static void source_describe(struct target_source *s, uint16_t id, struct vhx_frequest *req)
{
	*req = (struct vhx_frequest){
		.id = id,
		.out = &s->out_iov,
		.out_cnt = 1,
		.out_len = (uint32_t)s->out_iov.iov_len,
		.in = &s->in_iov[id],
		.in_cnt = 1,
		.in_len = s->in_len[id],
	};
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct target_source *s = ctx;
	uint16_t id = (uint16_t)(s->next % SIZE);

	if (s->busy[id])
		return 0;
	s->in_len[id] = 1 + s->next * 991 % (LEN_MAX - 1);
	s->in_iov[id] = (struct iovec){ s->in[id], s->in_len[id] };
	s->out_iov = (struct iovec){ s->out, sizeof(s->out) };
	s->busy[id] = true;
	s->next++;
	source_describe(s, id, req);
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	struct target_source *s = ctx;

	FUZZ_CHECK(id < SIZE && s->busy[id]);
	source_describe(s, id, req);
	return 0;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct target_source *s = ctx;

	FUZZ_CHECK(id < SIZE && s->busy[id] && used_len <= s->in_len[id]);
	s->busy[id] = false;
}

static void source_written(void *ctx, const void *p, uint64_t len)
{
	struct target_source *s = ctx;
	uintptr_t off = (uintptr_t)p - (uintptr_t)s->in;
	uint32_t id = (uint32_t)(off / LEN_MAX);

	FUZZ_CHECK(id < SIZE && s->busy[id] && off % LEN_MAX + len <= s->in_len[id]);
}

static void source_flush(void *ctx)
{
}

static bool source_arm(void *ctx)
{
	struct target_source *s = ctx;

	return !s->busy[s->next % SIZE];
}

static void source_broken(void *ctx, int reason)
{
	FUZZ_CHECK(false);
}

static const struct vhx_fsource_ops source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.written = source_written,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_flush,
	.broken = source_broken,
};

static void fdev_event(void *ctx)
{
}

static void fdev_known(void *ctx)
{
	struct world *w = ctx;

	FUZZ_CHECK(!vhx_fdev_set_features(w->fdev, 0));
}

static void fdev_config_written(void *ctx, bool refused)
{
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
}

static void fdev_unusable(void *ctx, int reason)
{
}

static const struct vhx_fdev_ops fdev_ops = {
	.known = fdev_known,
	.config_changed = fdev_event,
	.config_written = fdev_config_written,
	.queue_stopped = fdev_queue_stopped,
	.reset_done = fdev_event,
	.unusable = fdev_unusable,
};

/* The peer */

static void peer_bytes(struct peer *p, uint32_t type, const void *body, uint32_t len)
{
	struct vhx_msg_header header = { 0 };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)body, len } };

	if (p->gone || !p->up)
		return;
	vhx_channel_header(&p->channel, &header);
	if (!vhx_port_send(p->port, type, iov, len ? 2 : 1))
		vhx_credit_sent(&p->channel.credit, (uint32_t)sizeof(header) + len);
}

static void peer_control(struct peer *p, const struct vhx_control *c)
{
	uint8_t wire[VIRTIO_MSG_MAX];

	peer_bytes(p, VHX_MSG_CONTROL, wire, vhx_control_encode(wire, c));
}

static void peer_hello(struct peer *p)
{
	struct vhx_hello hello;
	struct iovec iov = { &hello, sizeof(hello) };

	if (p->channel.state != VHX_CHANNEL_DEAD && vhx_channel_hello(&p->channel, &hello) &&
	    !vhx_port_send(p->port, VHX_MSG_HELLO, &iov, 1))
		vhx_channel_hello_sent(&p->channel);
}

static void peer_answer(struct world *w, const struct vhx_control *c)
{
	struct vhx_control resp;
	enum vhx_driver_event event;

	if (w->backend_side) {
		vhx_driver_response(&w->peer.driver, c, &event);
		return;
	}
	if (c->response)
		return;
	if (c->bus && c->msg_id == VIRTIO_MSG_BUS_VHX_ATTACH)
		vhx_control_response(&resp, c, sizeof(struct virtio_msg_vhx_attach_resp));
	else if (c->bus || vhx_vdev_request(&w->peer.vdev, c, &resp) <= 0)
		return;
	peer_control(&w->peer, &resp);
}

static void peer_take(struct world *w, const struct vhx_msg *msg)
{
	struct peer *p = &w->peer;
	struct vhx_hello start = { 0 };
	struct vhx_control c;
	bool room = false;
	int verdict;

	FUZZ_CHECK(msg->len <= sizeof(p->in));
	vhx_port_read(p->port, 0, p->in, msg->len);
	vhx_port_consume(p->port);
	memcpy(&start, p->in, vhx_min_u64(msg->len, sizeof(start)));
	verdict = vhx_channel_receive(&p->channel, msg->type, msg->len, &start, &room);
	/* The target itself is correct, whatever it hears. */
	FUZZ_CHECK(verdict >= 0);
	p->up |= verdict == VHX_CHANNEL_UP;
	peer_hello(p);
	if (verdict == VHX_CHANNEL_DELIVER && msg->type == VHX_MSG_CONTROL &&
	    !vhx_control_decode(p->in + sizeof(struct vhx_msg_header),
				msg->len - (uint32_t)sizeof(struct vhx_msg_header), &c))
		peer_answer(w, &c);
}

static void peer_step(struct world *w)
{
	struct vhx_msg msg;
	int ret = 0;

	peer_hello(&w->peer);
	vhx_port_event(w->peer.port);
	while (w->peer.channel.state != VHX_CHANNEL_DEAD &&
	       (ret = vhx_port_peek(w->peer.port, &msg)) == 1)
		peer_take(w, &msg);
	w->peer.gone |= ret < 0;
}

static void peer_open(struct peer *p, struct vhx_port *port)
{
	struct vhx_channel_config cfg = {
		.inc = 7,
		.tx_ring_len = port->tx_ring_len,
		.rx_ring_len = port->rx_ring_len,
		.max_message = port->max_message,
	};

	p->port = port;
	vhx_channel_init(&p->channel, &cfg);
}

/* A correct life up to here. */
static void handshake(struct world *w)
{
	const struct vhx_control *req;
	int i;

	for (i = 0; i < HANDSHAKE_MAX; i++) {
		vhx_loop_once(loop, 0);
		peer_step(w);
		if (w->backend_side && w->peer.up && !w->peer.gone &&
		    vhx_driver_next(&w->peer.driver, &req))
			peer_control(&w->peer, req);
	}
}

/* The program */

static void do_run(struct world *w)
{
	vhx_loop_once(loop, 0);
}

static void do_step(struct world *w)
{
	peer_step(w);
}

static void do_release(struct world *w)
{
	if (w->backend_side)
		device_release(&w->dev);
	else
		vhx_fqueue_kick(w->src.q);
}

static void do_policy(struct world *w)
{
	w->dev.policy = fuzz_u8(&w->in);
}

static void do_bytes(struct world *w)
{
	uint8_t body[256];
	uint32_t type = 1 + fuzz_u8(&w->in) % 6, len = fuzz_u8(&w->in), i;

	for (i = 0; i < len; i++)
		body[i] = fuzz_u8(&w->in);
	peer_bytes(&w->peer, type, body, len);
}

static void do_control(struct world *w)
{
	uint8_t flags = fuzz_u8(&w->in), id = fuzz_u8(&w->in), i;
	uint32_t len = fuzz_u8(&w->in) % 100;
	struct vhx_control c;
	uint8_t *payload = vhx_control_request(&c, flags & 1, id & 0x40 ? id | 0x80 : id % 16,
					       flags >> 6 == 3, (uint16_t)len);

	c.response = flags & 2;
	c.token = w->peer.driver.token;
	for (i = 0; i < len; i++)
		payload[i] = fuzz_u8(&w->in);
	peer_control(&w->peer, &c);
}

/* Lengths that matter: small, at the limits, and any. */
static uint32_t some_len(struct world *w)
{
	static const uint32_t usual[] = { 0, 1, 16, 64, 65, 1000, 4096, LEN_MAX };
	uint8_t kind = fuzz_u8(&w->in);

	return kind & 0xf0 ? usual[kind % 8] : fuzz_u32(&w->in);
}

/* AVAIL and USED have the same shape: id, flags, out_len or in_off, in_len or used_len, chunk_len. */
static uint32_t put_record(struct world *w, uint8_t *at)
{
	struct vhx_avail_record *r = (void *)at;
	uint8_t how = fuzz_u8(&w->in);
	uint32_t small = fuzz_u8(&w->in), chunk = small;

	r->id = vhx_le16_of(how % SIZE);
	r->flags = vhx_le16_of(1);
	r->out_len = vhx_le32_of(w->backend_side ? small : 0);
	r->in_len = vhx_le32_of(w->backend_side ? 7 * small : small);
	if (how > 0xc0) {
		r->id = vhx_le16_of(fuzz_u8(&w->in) % (SIZE + 1));
		r->flags = vhx_le16_of(fuzz_u8(&w->in) % 5);
		r->out_len = vhx_le32_of(some_len(w));
		r->in_len = vhx_le32_of(some_len(w));
		chunk = some_len(w) % 1024;
	}
	r->chunk_len = vhx_le32_of(chunk);
	return (uint32_t)sizeof(*r) + vhx_chunk_padded(chunk);
}

static void do_data(struct world *w)
{
	_Alignas(8) static uint8_t body[MESSAGE_MAX + 2048];
	uint8_t how = fuzz_u8(&w->in);
	struct vhx_queue_key key = {
		.dev = how >> 6 == 3,
		.vq = (how >> 4 & 3) == 3,
		.epoch = (how & 8) && (how & 4) ? 0 : 1,
	};
	uint32_t off = sizeof(struct vhx_queue_header), cnt = 1 + how % 3;

	vhx_queue_encode((void *)body, &key);
	while (cnt-- && off < MESSAGE_MAX)
		off += put_record(w, body + off);
	off = (uint32_t)vhx_min_u64(off, MESSAGE_MAX);
	peer_bytes(&w->peer, w->backend_side ? VHX_MSG_AVAIL : VHX_MSG_USED, body, off);
}

static void do_credit(struct world *w)
{
	if (fuzz_u8(&w->in) == 0xff)
		w->peer.channel.credit.consumed += fuzz_u32(&w->in);
	peer_bytes(&w->peer, VHX_MSG_CREDIT, NULL, 0);
}

/* Chosen by a byte each; what is here several times is wanted more often. */
static void (*const ops[])(struct world *w) = {
	do_data,    do_data,  do_data,	  do_data,   do_run,	 do_run,
	do_step,    do_step,  do_run,	  do_step,   do_data,	 do_control,
	do_control, do_bytes, do_release, do_policy, do_release, do_credit,
};

/* Set-up */

static int world_connect(void *ctx, struct vhx_port **port)
{
	struct world *w = ctx;

	if (!w->fe_end)
		return -ECONNREFUSED;
	*port = w->fe_end;
	w->fe_end = NULL;
	return 0;
}

static int vdev_ok_features(void *ctx, uint64_t features)
{
	return 0;
}

static int vdev_ok_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	return 0;
}

static void vdev_ignore_open(void *ctx, uint16_t index, uint16_t size, uint32_t epoch)
{
}

static void vdev_queue_reset(void *ctx, uint16_t index)
{
	struct world *w = ctx;
	struct vhx_control resp;

	if (vhx_vdev_queue_reset_done(&w->peer.vdev, index, &resp))
		peer_control(&w->peer, &resp);
}

static void vdev_device_reset(void *ctx)
{
	struct world *w = ctx;
	struct vhx_control resp;

	if (vhx_vdev_reset_done(&w->peer.vdev, &resp))
		peer_control(&w->peer, &resp);
}

static void vdev_limits(void *ctx, uint16_t index, struct vhx_vdev_limits *limits)
{
	*limits = (struct vhx_vdev_limits){ LEN_MAX, LEN_MAX, 16, 8 };
}

static const struct vhx_vdev_ops vdev_ops = {
	.set_features = vdev_ok_features,
	.set_config = vdev_ok_config,
	.queue_open = vdev_ignore_open,
	.queue_reset = vdev_queue_reset,
	.device_reset = vdev_device_reset,
	.limits = vdev_limits,
};

static void backend_open(struct world *w, struct vhx_port *ends[2])
{
	struct vhx_backend_config cfg = { .loop = loop, .staging = 32u << 10 };

	vhx_list_init(&w->dev.held);
	w->dev.dev = (struct vhx_device){
		.ops = &device_ops,
		.id = "fuzz",
		.num_queues = 1,
		.queue_size_max = SIZE,
		.max_out = LEN_MAX,
		.max_in = LEN_MAX,
		.config_len = 32,
	};
	FUZZ_CHECK(!vhx_backend_new(&cfg, &w->be));
	FUZZ_CHECK(!vhx_backend_add_device(w->be, &w->dev.dev));
	FUZZ_CHECK(!vhx_backend_add_port(w->be, ends[1]));
	vhx_driver_init(&w->peer.driver, "fuzz");
	w->peer.driver.active = true;
	w->peer.driver.features = VHX_FEATURES_CROSSING;
	w->peer.driver.queues[0].wanted = true;
	w->peer.driver.queues[0].size = SIZE;
	peer_open(&w->peer, ends[0]);
}

static void frontend_open(struct world *w, struct vhx_port *ends[2])
{
	struct vhx_frontend_config cfg = {
		.loop = loop, .connect = world_connect, .ctx = w, .peer = "fuzz"
	};

	w->fe_end = ends[0];
	vhx_vdev_init(&w->peer.vdev, &vdev_ops, w);
	w->peer.vdev.device_id = 2;
	w->peer.vdev.features = VHX_FEATURES_CROSSING;
	w->peer.vdev.num_queues = 1;
	w->peer.vdev.queue_size_max = SIZE;
	w->peer.vdev.config = w->peer.config;
	w->peer.vdev.config_len = sizeof(w->peer.config);
	FUZZ_CHECK(!vhx_frontend_new(&cfg, &w->fe));
	FUZZ_CHECK(!vhx_fdev_new(w->fe, "", &fdev_ops, w, &w->fdev));
	vhx_frontend_start(w->fe);
	FUZZ_CHECK(!vhx_fqueue_start(w->fdev, 0, SIZE, &source_ops, &w->src, &w->src.q));
	peer_open(&w->peer, ends[1]);
}

/* Requests staged and in place, with releases; completions. The numbers are places in ops. */
static const uint8_t seed_backend[] = {
	0, 15, 0, 0, 2,	 0, 64, 1,  32, 2, 200, 4, 6,  15,
	1, 0,  0, 3, 64, 4, 14, 14, 6,	0, 0,	0, 99, 4,
};
static const uint8_t seed_frontend[] = {
	1, 0, 1, 5, 1, 6, 2, 4, 6, 0, 0, 7, 40, 4, 14, 6, 4, 0, 0, 8, 100, 4, 6,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_backend, sizeof(seed_backend) },
	{ seed_frontend, sizeof(seed_frontend) },
	{ NULL, 0 },
};

/* First byte: bit 0: the target is a frontend; bit 1: without the handshake. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world w;
	struct vhx_port *ends[2];
	uint8_t mode;
	int i;

	memset(&w, 0, sizeof(w));
	w.in = (struct fuzz_input){ data, len };
	mode = fuzz_u8(&w.in);
	w.backend_side = !(mode & 1);
	if (!loop)
		FUZZ_CHECK(!vhx_loop_new(0, &loop));
	FUZZ_CHECK(!vhx_loopback_pair(RING_LEN, ends));
	if (w.backend_side)
		backend_open(&w, ends);
	else
		frontend_open(&w, ends);
	if (!(mode & 2))
		handshake(&w);
	for (i = 0; w.in.len && i < STEPS_MAX; i++)
		ops[fuzz_u8(&w.in) % VHX_ARRAY_SIZE(ops)](&w);
	vhx_loop_once(loop, 0);
	vhx_port_close(w.peer.port);
	vhx_loop_once(loop, 0);
	vhx_backend_free(w.be);
	vhx_frontend_free(w.fe);
	return 0;
}
