// SPDX-License-Identifier: BSD-3-Clause
#include "raw.h"

#include <string.h>

#include "lab.h"

void raw_open(struct raw *r, struct vhx_port *port)
{
	struct vhx_channel_config cfg;

	r->port = port;
	assert_true(vhx_port_ready(port));
	cfg = (struct vhx_channel_config){
		.inc = 0x5eed,
		.tx_ring_len = port->tx_ring_len,
		.rx_ring_len = port->rx_ring_len,
		.max_message = port->max_message,
	};
	vhx_channel_init(&r->channel, &cfg);
	r->up = false;
	r->gone = 0;
}

void raw_close(struct raw *r)
{
	vhx_port_close(r->port);
	r->port = NULL;
}

static int iov_send(struct raw *r, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	int ret = vhx_port_send(r->port, type, iov, cnt);

	if (ret && ret != -EAGAIN)
		r->gone = ret;
	return ret;
}

int raw_bytes(struct raw *r, uint32_t type, const void *bytes, uint32_t len)
{
	struct iovec iov = { (void *)bytes, len };

	return iov_send(r, type, &iov, 1);
}

int raw_body(struct raw *r, uint32_t type, const void *body, uint32_t len)
{
	struct vhx_msg_header header;
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)body, len } };
	int ret;

	vhx_channel_header(&r->channel, &header);
	ret = iov_send(r, type, iov, len ? 2 : 1);
	if (!ret)
		vhx_credit_sent(&r->channel.credit, (uint32_t)sizeof(header) + len);
	return ret;
}

int raw_control(struct raw *r, const struct vhx_control *c)
{
	uint8_t wire[VIRTIO_MSG_MAX];

	return raw_body(r, VHX_MSG_CONTROL, wire, vhx_control_encode(wire, c));
}

int raw_data(struct raw *r, uint32_t type, const struct vhx_queue_key *key, const void *records,
	     uint32_t len)
{
	static uint8_t body[RAW_MESSAGE_MAX + sizeof(struct vhx_queue_header)];
	struct vhx_queue_header qh;

	vhx_queue_encode(&qh, key);
	memcpy(body, &qh, sizeof(qh));
	memcpy(body + sizeof(qh), records, len);
	return raw_body(r, type, body, (uint32_t)sizeof(qh) + len);
}

static void hello_send(struct raw *r)
{
	struct vhx_hello hello;

	if (vhx_channel_hello(&r->channel, &hello) &&
	    !raw_bytes(r, VHX_MSG_HELLO, &hello, sizeof(hello)))
		vhx_channel_hello_sent(&r->channel);
}

static void deliver(struct raw *r, uint32_t type, uint32_t len)
{
	struct vhx_queue_header qh;
	struct vhx_queue_key key;
	struct vhx_control c;

	if (type == VHX_MSG_CONTROL) {
		assert_int_equal(vhx_control_decode(r->in + sizeof(struct vhx_msg_header),
						    len - (uint32_t)sizeof(struct vhx_msg_header),
						    &c),
				 0);
		r->control(r, &c);
		return;
	}
	memcpy(&qh, r->in + sizeof(struct vhx_msg_header), sizeof(qh));
	vhx_queue_decode(&qh, &key);
	r->data(r, type, &key, len);
}

static void message_take(struct raw *r, const struct vhx_msg *msg)
{
	struct vhx_hello start = { 0 };
	bool room = false;
	int verdict;

	assert_true(msg->len <= sizeof(r->in));
	vhx_port_read(r->port, 0, r->in, msg->len);
	vhx_port_consume(r->port);
	memcpy(&start, r->in, vhx_min_u64(msg->len, sizeof(start)));
	verdict = vhx_channel_receive(&r->channel, msg->type, msg->len, &start, &room);
	assert_true(verdict >= 0);
	r->up |= verdict == VHX_CHANNEL_UP;
	hello_send(r);
	if (verdict == VHX_CHANNEL_DELIVER)
		deliver(r, msg->type, msg->len);
}

bool raw_step(struct raw *r)
{
	bool any = false;
	struct vhx_msg msg;
	int ret;

	if (r->gone || r->deaf)
		return false;
	hello_send(r);
	vhx_port_event(r->port);
	while ((ret = vhx_port_peek(r->port, &msg)) == 1 && !r->gone) {
		message_take(r, &msg);
		any = true;
	}
	if (ret < 0)
		r->gone = ret;
	if (!r->gone && r->up && vhx_credit_owed(&r->channel.credit))
		raw_body(r, VHX_MSG_CREDIT, NULL, 0);
	vhx_port_prepare_wait(r->port);
	return any;
}

/* Records */

static void record_put(struct raw_records *m, const void *record, const void *chunk, uint32_t len)
{
	assert_true(m->len + 16 + len + 8 <= sizeof(m->bytes));
	memcpy(m->bytes + m->len, record, 16);
	m->len += 16;
	memset(m->bytes + m->len, 0, vhx_chunk_padded(len));
	if (chunk)
		memcpy(m->bytes + m->len, chunk, len);
	m->len += vhx_chunk_padded(len);
}

void raw_used(struct raw_records *m, const struct vhx_used *u, const void *chunk)
{
	struct vhx_used_record wire;

	vhx_used_encode(&wire, u);
	record_put(m, &wire, chunk, u->chunk_len);
}

void raw_avail(struct raw_records *m, const struct vhx_avail *a, const void *chunk)
{
	struct vhx_avail_record wire;

	vhx_avail_encode(&wire, a);
	record_put(m, &wire, chunk, a->chunk_len);
}

/* The backend */

static struct raw_backend *backend_of(void *ctx)
{
	return ctx;
}

static int vdev_set_features(void *ctx, uint64_t features)
{
	return 0;
}

static int vdev_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	memcpy(backend_of(ctx)->config + off, buf, len);
	return 0;
}

static void vdev_queue_open(void *ctx, uint16_t index, uint16_t size, uint32_t epoch)
{
	backend_of(ctx)->key = (struct vhx_queue_key){ .vq = index, .epoch = epoch };
	backend_of(ctx)->request_cnt = 0;
}

static void vdev_queue_reset(void *ctx, uint16_t index)
{
	struct vhx_control resp;

	if (vhx_vdev_queue_reset_done(&backend_of(ctx)->vdev, index, &resp))
		raw_control(ctx, &resp);
}

static void vdev_device_reset(void *ctx)
{
	struct vhx_control resp;

	if (vhx_vdev_reset_done(&backend_of(ctx)->vdev, &resp))
		raw_control(ctx, &resp);
}

static void vdev_limits(void *ctx, uint16_t index, struct vhx_vdev_limits *limits)
{
	*limits = backend_of(ctx)->limits;
}

static const struct vhx_vdev_ops vdev_ops = {
	.set_features = vdev_set_features,
	.set_config = vdev_set_config,
	.queue_open = vdev_queue_open,
	.queue_reset = vdev_queue_reset,
	.device_reset = vdev_device_reset,
	.limits = vdev_limits,
};

static void backend_attach(struct raw_backend *b, const struct vhx_control *req)
{
	struct virtio_msg_vhx_attach_resp *a;
	struct vhx_control resp;

	a = vhx_control_response(&resp, req, sizeof(*a));
	memset(a->cache_id, 0x22, sizeof(a->cache_id));
	raw_control(&b->raw, &resp);
}

static void backend_control(struct raw *r, const struct vhx_control *c)
{
	struct raw_backend *b = vhx_container_of(r, struct raw_backend, raw);
	struct vhx_control resp;

	if (b->mute)
		return;
	if (c->bus)
		backend_attach(b, c);
	else if (vhx_vdev_request(&b->vdev, c, &resp))
		raw_control(r, &resp);
}

static void request_note(struct raw_backend *b, const struct vhx_avail *a, const uint8_t *chunk)
{
	struct raw_request *req;
	struct lab_head head;

	if (a->flags & VHX_AVAIL_FIRST) {
		memcpy(&head, chunk, sizeof(head));
		b->requests[b->request_cnt++] = (struct raw_request){
			.id = a->id,
			.seed = vhx_le32_get(head.seed),
			.out_len = a->out_len,
			.in_len = a->in_len,
		};
	}
	req = &b->requests[b->request_cnt - 1];
	req->received += a->chunk_len;
}

static void backend_data(struct raw *r, uint32_t type, const struct vhx_queue_key *key,
			 uint32_t len)
{
	struct raw_backend *b = vhx_container_of(r, struct raw_backend, raw);
	uint32_t off = VHX_DATA_HEADER_LEN;
	struct vhx_avail_record wire;
	struct vhx_avail a;

	while (off < len) {
		memcpy(&wire, r->in + off, sizeof(wire));
		off += (uint32_t)sizeof(wire);
		assert_int_equal(vhx_avail_decode(&wire, len - off, &a), 0);
		request_note(b, &a, r->in + off);
		off += vhx_chunk_padded(a.chunk_len);
	}
}

/* The same device as the lab's first. */
void raw_backend_open(struct raw_backend *b, struct vhx_port *port)
{
	memset(b, 0, sizeof(*b));
	vhx_vdev_init(&b->vdev, &vdev_ops, b);
	b->vdev.device_id = LAB_BLK;
	memset(b->vdev.uuid, 0x11, sizeof(b->vdev.uuid));
	b->vdev.features = VHX_FEATURES_CROSSING;
	b->vdev.num_queues = 1;
	b->vdev.queue_size_max = 1024;
	b->vdev.config = b->config;
	b->vdev.config_len = sizeof(b->config);
	b->limits = (struct vhx_vdev_limits){
		.max_out = 16u << 10,
		.max_in = 16u << 10,
		.head_len = sizeof(struct lab_head),
		.window = 64,
	};
	b->raw.control = backend_control;
	b->raw.data = backend_data;
	raw_open(&b->raw, port);
}

_Static_assert(offsetof(struct raw_backend, raw) == 0, "the ops' context is both");

/* The frontend */

static void frontend_control(struct raw *r, const struct vhx_control *c)
{
	struct raw_frontend *f = vhx_container_of(r, struct raw_frontend, raw);
	enum vhx_driver_event event;
	int ret;

	f->responses += c->response;
	if (!c->response)
		return;
	ret = vhx_driver_response(&f->driver, c, &event);
	if (ret)
		f->refused = ret;
	f->running |= event == VHX_DRIVER_RUNNING;
}

static void frontend_data(struct raw *r, uint32_t type, const struct vhx_queue_key *key,
			  uint32_t len)
{
	vhx_container_of(r, struct raw_frontend, raw)->used_records++;
}

void raw_frontend_open(struct raw_frontend *f, struct vhx_port *port, const char *name,
		       uint16_t size)
{
	memset(f, 0, sizeof(*f));
	vhx_driver_init(&f->driver, name);
	f->driver.active = true;
	f->driver.features = VHX_FEATURES_CROSSING;
	f->driver.queues[0].wanted = true;
	f->driver.queues[0].size = size;
	f->raw.control = frontend_control;
	f->raw.data = frontend_data;
	raw_open(&f->raw, port);
}

bool raw_frontend_step(struct raw_frontend *f)
{
	const struct vhx_control *req;
	bool any = raw_step(&f->raw);

	if (f->raw.up && !f->raw.gone && !f->refused && vhx_driver_next(&f->driver, &req)) {
		raw_control(&f->raw, req);
		any = true;
	}
	return any;
}
