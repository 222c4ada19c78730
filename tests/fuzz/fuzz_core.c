// SPDX-License-Identifier: BSD-3-Clause
/*
 * The state machines of core under a peer that says anything at any time. The first byte chooses: a
 * channel; a device, with arbitrary requests while its resets end when they like; a driver, with
 * arbitrary answers; the tables of requests in flight, beside a second, slower bookkeeping.
 */
#include "fuzz.h"

#include <string.h>

#include "core/channel.h"
#include "core/driver.h"
#include "core/flight.h"
#include "core/intake.h"

#define QUEUES 4u
#define CONFIG_LEN 200u
#define SIZE 8u

static uint32_t fuzz_below(struct fuzz_input *in, uint32_t n)
{
	return fuzz_u8(in) % n;
}

/* Small, at an edge, or anything. */
static uint32_t fuzz_value(struct fuzz_input *in)
{
	uint8_t kind = fuzz_u8(in);

	if (kind < 128)
		return kind % 32;
	return kind < 192 ? fuzz_u16(in) : fuzz_u32(in);
}

/* A control message with plausible size and words, or not. */
static bool fuzz_control(struct fuzz_input *in, bool response, struct vhx_control *c)
{
	static const uint8_t payload_lens[] = { 0, 4, 8, 12, 16, 32, 40, 44 };
	uint8_t wire[VIRTIO_MSG_MAX];
	struct vhx_control raw = { .response = response };
	vhx_le32 *words = (void *)raw.payload;
	uint32_t i;

	raw.msg_id = (uint8_t)(1 + fuzz_below(in, 13));
	if (raw.msg_id == 13)
		raw.msg_id = VIRTIO_MSG_VHX_QUEUE_OPEN;
	raw.payload_len = payload_lens[fuzz_below(in, sizeof(payload_lens))];
	for (i = 0; i < raw.payload_len / 4u; i++)
		words[i] = vhx_le32_of(fuzz_value(in));
	return !vhx_control_decode(wire, vhx_control_encode(wire, &raw), c);
}

/* A channel: whatever comes, it ends or goes on, and its counters stay in order. */

static void check_credit(const struct vhx_credit *c)
{
	uint32_t bare = vhx_credit_bare_room(c);

	FUZZ_CHECK(vhx_credit_data_room(c) <= vhx_credit_control_room(c));
	FUZZ_CHECK(vhx_credit_control_room(c) <= bare && bare <= c->tx_ring);
	FUZZ_CHECK(c->sent - c->acked <= c->tx_ring);
}

static void channel_send(struct fuzz_input *in, struct vhx_channel *c)
{
	uint32_t room = vhx_credit_data_room(&c->credit), len;
	struct vhx_msg_header header;

	if (room < sizeof(header))
		return;
	len = sizeof(header) + fuzz_u32(in) % (room - (uint32_t)sizeof(header) + 1);
	vhx_channel_header(c, &header);
	vhx_credit_sent(&c->credit, len);
	check_credit(&c->credit);
}

static uint32_t channel_input(struct fuzz_input *in, struct vhx_channel *c, struct vhx_hello *start,
			      uint32_t *type)
{
	struct vhx_header h = { fuzz_below(in, 3), fuzz_below(in, 3),
				c->credit.acked + fuzz_below(in, 3) * 16 };
	struct vhx_hello_body b = {
		.version_min = (uint16_t)(fuzz_u8(in) > 250),
		.version_max = 1,
		.offered = fuzz_below(in, 4),
		.accepted = fuzz_below(in, 4),
		.ring_len = fuzz_value(in) << 10,
		.max_message = fuzz_value(in) << 8,
	};
	uint8_t kind = fuzz_u8(in);

	vhx_hello_encode(start, &h, &b);
	*type = kind < 240 ? kind % 6 : fuzz_u32(in);
	if (*type == VHX_MSG_HELLO && kind & 0x80)
		start->header.ack = vhx_le32_of(0);
	if (kind % 16 == 15)
		((uint8_t *)start)[fuzz_below(in, sizeof(*start))] ^= fuzz_u8(in);
	return *type == VHX_MSG_HELLO && kind & 0x80 ? sizeof(*start) : fuzz_u16(in);
}

static void run_channel(struct fuzz_input *in)
{
	struct vhx_channel_config cfg = {
		.inc = 1,
		.tx_ring_len = 64u << 10,
		.rx_ring_len = 32u << 10,
		.max_message = 8192,
		.features = 3,
	};
	struct vhx_channel c;

	vhx_channel_init(&c, &cfg);
	while (in->len && c.state != VHX_CHANNEL_DEAD) {
		enum vhx_channel_state before = c.state;
		struct vhx_hello start;
		bool room = false;
		uint32_t type, len = channel_input(in, &c, &start, &type);
		int ret;

		ret = vhx_channel_receive(&c, type, len, &start, &room);
		FUZZ_CHECK((ret < 0) == (c.state == VHX_CHANNEL_DEAD));
		FUZZ_CHECK(c.state >= before);
		FUZZ_CHECK((ret == VHX_CHANNEL_UP) ==
			   (ret >= 0 && c.state != before && c.state == VHX_CHANNEL_ESTABLISHED));
		FUZZ_CHECK(ret != VHX_CHANNEL_DELIVER || before == VHX_CHANNEL_ESTABLISHED);
		if (vhx_channel_hello(&c, &start))
			vhx_channel_hello_sent(&c);
		if (c.state != VHX_CHANNEL_ESTABLISHED)
			continue;
		FUZZ_CHECK(!(c.accepted & ~cfg.features));
		FUZZ_CHECK(c.max_message <= vhx_credit_message_max(c.credit.tx_ring));
		channel_send(in, &c);
	}
}

/* A device. What its ops may be told, and when a reset is answered. */

struct device {
	struct fuzz_input *in;
	struct vhx_vdev v;
	uint8_t config[CONFIG_LEN];
	bool device_resets, queue_resets[QUEUES];
	uint32_t answers;
};

static int on_set_features(void *ctx, uint64_t features)
{
	struct device *d = ctx;

	FUZZ_CHECK(!(features & ~d->v.features) && features & VHX_FEATURE_VERSION_1);
	return fuzz_below(d->in, 4) ? 0 : -EINVAL;
}

static int on_set_config(void *ctx, uint32_t off, const void *buf, uint32_t len)
{
	struct device *d = ctx;

	FUZZ_CHECK(vhx_range_within(off, len, CONFIG_LEN));
	if (!fuzz_below(d->in, 4))
		return -EPERM;
	memcpy(d->config + off, buf, len);
	return 0;
}

static void on_queue_open(void *ctx, uint16_t index, uint16_t size, uint32_t epoch)
{
	struct device *d = ctx;

	FUZZ_CHECK(index < QUEUES && size && size <= d->v.queue_size_max);
	FUZZ_CHECK(!d->device_resets && !d->queue_resets[index]);
	FUZZ_CHECK(d->v.status & VHX_STATUS_FEATURES_OK);
}

static void on_queue_reset(void *ctx, uint16_t index)
{
	struct device *d = ctx;

	FUZZ_CHECK(index < QUEUES && !d->queue_resets[index] && !d->device_resets);
	d->queue_resets[index] = true;
}

static void on_device_reset(void *ctx)
{
	struct device *d = ctx;

	FUZZ_CHECK(!d->device_resets);
	d->device_resets = true;
}

static void on_limits(void *ctx, uint16_t index, struct vhx_vdev_limits *l)
{
	*l = (struct vhx_vdev_limits){ 65536, 65536, 16, 32 };
}

static const struct vhx_vdev_ops device_ops = {
	.set_features = on_set_features,
	.set_config = on_set_config,
	.queue_open = on_queue_open,
	.queue_reset = on_queue_reset,
	.device_reset = on_device_reset,
	.limits = on_limits,
};

static void device_init(struct device *d, struct fuzz_input *in)
{
	*d = (struct device){ .in = in };
	vhx_vdev_init(&d->v, &device_ops, d);
	d->v.device_id = 2;
	d->v.features = VHX_FEATURES_CROSSING | 0xff;
	d->v.num_queues = QUEUES;
	d->v.queue_size_max = 128;
	d->v.config = d->config;
	d->v.config_len = CONFIG_LEN;
}

/* An answer is one that the other end decodes. */
static void check_response(const struct vhx_control *resp)
{
	uint8_t wire[VIRTIO_MSG_MAX];
	struct vhx_control back;

	FUZZ_CHECK(resp->response && resp->payload_len <= VHX_CONTROL_PAYLOAD_MAX);
	FUZZ_CHECK(!vhx_control_decode(wire, vhx_control_encode(wire, resp), &back));
}

/* Queues end first, then the device; or its driver is gone. */
static void device_goes_on(struct device *d)
{
	uint16_t i = (uint16_t)fuzz_below(d->in, QUEUES);
	struct vhx_control resp;
	bool asked = d->v.resetting;

	if (d->queue_resets[i]) {
		d->queue_resets[i] = false;
		if (vhx_vdev_queue_reset_done(&d->v, i, &resp))
			check_response(&resp);
		FUZZ_CHECK(!d->v.queues[i].open && !d->v.queues[i].resetting);
		return;
	}
	for (i = 0; i < QUEUES; i++) {
		if (d->queue_resets[i])
			return;
	}
	if (!d->device_resets)
		return;
	d->device_resets = false;
	FUZZ_CHECK(vhx_vdev_reset_done(&d->v, &resp) == asked);
	if (asked)
		check_response(&resp);
	FUZZ_CHECK(!d->v.status && !d->v.resetting && !d->v.driver_features);
}

static void run_device(struct fuzz_input *in)
{
	struct vhx_control req, resp;
	struct device d;

	device_init(&d, in);
	while (in->len) {
		uint8_t status = d.v.status;

		if (!fuzz_below(in, 4))
			device_goes_on(&d);
		else if (fuzz_control(in, false, &req)) {
			if (vhx_vdev_request(&d.v, &req, &resp)) {
				check_response(&resp);
				FUZZ_CHECK(resp.msg_id == req.msg_id && resp.token == req.token);
			}
			FUZZ_CHECK((d.v.status & status) == status);
		}
		FUZZ_CHECK(d.v.resetting == d.device_resets);
	}
}

/* A driver. Whatever it is answered, it asks one thing at a time and keeps within its tables. */

/* The answer that is due, with the words that decide spoiled more or less. */
static void answer_fill(struct fuzz_input *in, const struct vhx_control *req,
			struct vhx_control *resp)
{
	static struct device d; /* answers as a device would */
	vhx_le32 *words = (void *)resp->payload;
	uint8_t spoil;

	device_init(&d, in);
	d.v.status = VHX_STATUS_ACKNOWLEDGE | VHX_STATUS_DRIVER | VHX_STATUS_FEATURES_OK;
	d.v.queues[0].enabled = d.v.queues[1].enabled = true;
	d.v.queues[0].size = d.v.queues[1].size = 64;
	if (req->bus) {
		vhx_control_response(resp, req, sizeof(struct virtio_msg_vhx_attach_resp));
	} else if (!vhx_vdev_request(&d.v, req, resp) &&
		   !vhx_vdev_queue_reset_done(&d.v, 0, resp) &&
		   !vhx_vdev_queue_reset_done(&d.v, 1, resp) && !vhx_vdev_reset_done(&d.v, resp)) {
		vhx_control_response(resp, req, 0);
	}
	for (spoil = fuzz_u8(in); spoil > 200; spoil -= 20)
		words[fuzz_below(in, 12)] = vhx_le32_of(fuzz_value(in));
	if (spoil == 200)
		resp->token ^= fuzz_u8(in);
}

static void check_driver(const struct vhx_driver *d)
{
	FUZZ_CHECK(d->id.num_queues <= VHX_VDEV_QUEUES_MAX);
	FUZZ_CHECK(d->id.config_len <= VHX_DRIVER_CONFIG_MAX);
	FUZZ_CHECK(d->config_got <= d->id.config_len);
	for (uint16_t i = 0; i < VHX_VDEV_QUEUES_MAX; i++) {
		const struct vhx_driver_queue *q = &d->queues[i];

		FUZZ_CHECK(!q->open || (d->attached && d->status & VHX_STATUS_FEATURES_OK));
		FUZZ_CHECK(!q->open || q->enabled);
		if (vhx_driver_queue_live(d, i))
			FUZZ_CHECK(q->applied_size == q->size);
	}
}

static void driver_wish(struct fuzz_input *in, struct vhx_driver *d)
{
	struct vhx_driver_queue *q = &d->queues[fuzz_below(in, 2)];
	uint8_t what = fuzz_u8(in);

	if (what & 1)
		d->active = what & 0xf0;
	if (what & 2) {
		q->wanted = what & 0xc0;
		q->size = (uint16_t)(1 + fuzz_below(in, 128));
		q->recycle = q->open && what & 0x20;
	}
	if (what & 4)
		d->features = (VHX_FEATURES_CROSSING | fuzz_u8(in)) & d->id.features;
	if (what & 8)
		vhx_driver_config_event(d);
	if (what == 0xff)
		vhx_driver_lost(d);
}

static void run_driver(struct fuzz_input *in)
{
	struct vhx_control resp;
	struct vhx_driver d;
	enum vhx_driver_event event;

	vhx_driver_init(&d, "");
	while (in->len) {
		const struct vhx_control *req;
		uint8_t wire[VIRTIO_MSG_MAX];
		struct vhx_control back;
		int ret = 0;

		driver_wish(in, &d);
		if (vhx_driver_next(&d, &req)) {
			FUZZ_CHECK(!vhx_control_decode(wire, vhx_control_encode(wire, req), &back));
			FUZZ_CHECK(!vhx_driver_next(&d, &req));
		}
		if (d.waiting && fuzz_u8(in) < 240)
			answer_fill(in, &d.request, &resp);
		else if (!fuzz_control(in, true, &resp))
			continue;
		if (vhx_control_decode(wire, vhx_control_encode(wire, &resp), &back))
			continue;
		ret = vhx_driver_response(&d, &back, &event);
		check_driver(&d);
		FUZZ_CHECK(ret <= 0);
		if (ret == -EPROTO || ret == -ESTALE)
			vhx_driver_lost(&d);
	}
}

/* Requests in flight. The model remembers bytes, not offsets. */

struct model {
	bool active, whole;
	uint32_t out_len, in_len, got;
	uint32_t units;
	bool came[512]; /* device-writable bytes */
	uint32_t last; /* none may come before this one */
};

struct tables {
	struct vhx_flight f;
	struct vhx_flight_slot sent[SIZE];
	struct vhx_intake t;
	struct vhx_intake_slot slots[SIZE];
	struct model m[SIZE];
};

static uint32_t model_units(uint32_t len)
{
	uint32_t units = 0;

	for (; len > 16 + units * VHX_WINDOW_UNIT; units++)
		;
	return units;
}

static void check_tables(const struct tables *w)
{
	uint32_t units = 0, cnt = 0;

	for (uint32_t i = 0; i < SIZE; i++) {
		FUZZ_CHECK(w->m[i].active == (w->slots[i].state != VHX_INTAKE_FREE));
		units += w->m[i].active ? w->m[i].units : 0;
		cnt += w->m[i].active;
	}
	FUZZ_CHECK(w->t.count == cnt && w->t.window_used == units && units <= w->t.window);
}

/* An arbitrary AVAIL record. Accepted: it fits the model. */
static void tables_avail(struct fuzz_input *in, struct tables *w)
{
	struct vhx_avail a = {
		.id = (uint16_t)fuzz_below(in, SIZE + 1),
		.flags = (uint16_t)fuzz_below(in, 4),
		.out_len = fuzz_u16(in),
		.in_len = fuzz_u16(in) % 600,
		.chunk_len = fuzz_u16(in),
	};
	struct vhx_avail_record wire;
	struct model *m = &w->m[a.id % SIZE];
	uint32_t off;
	int ret;

	if (m->active && !m->whole && fuzz_u8(in) & 3) {
		a.flags = 0;
		a.out_len = m->out_len;
		a.in_len = m->in_len;
	}
	vhx_avail_encode(&wire, &a);
	if (vhx_avail_decode(&wire, 65536, &a))
		return;
	ret = vhx_intake_record(&w->t, &a, &off);
	if (ret < 0)
		return;
	FUZZ_CHECK(a.id < SIZE);
	if (a.flags & VHX_AVAIL_FIRST) {
		bool big = a.flags & VHX_AVAIL_TOO_BIG;

		FUZZ_CHECK(!m->active && big == (a.out_len > 16384 || a.in_len > 512));
		for (uint32_t i = 0; i < SIZE; i++)
			FUZZ_CHECK(!w->m[i].active || w->m[i].whole);
		memset(m, 0, sizeof(*m));
		m->active = true;
		m->out_len = a.out_len;
		m->in_len = a.in_len;
		m->units = model_units(big ? a.chunk_len : a.out_len);
		m->whole = big;
	}
	FUZZ_CHECK(m->active && off == m->got && m->out_len == a.out_len && m->in_len == a.in_len);
	m->got += a.chunk_len;
	FUZZ_CHECK(m->got <= m->out_len);
	m->whole |= m->got == m->out_len;
	FUZZ_CHECK(ret == m->whole);
}

/* What the other end has taken whole is in flight at ours. */
static void tables_flight(struct tables *w, uint16_t id)
{
	struct model *m = &w->m[id];

	if (!m->active || !m->whole || vhx_flight_active(&w->f, id))
		return;
	FUZZ_CHECK(!vhx_flight_begin(&w->f, id, m->out_len, m->in_len));
	FUZZ_CHECK(vhx_flight_window_take(&w->f, id, m->units));
	w->sent[id].begun = true;
	w->sent[id].sent = m->out_len;
}

static void tables_end(struct tables *w, uint16_t id)
{
	vhx_flight_end(&w->f, id);
	vhx_intake_end(&w->t, id);
	w->m[id].active = false;
}

/* An arbitrary USED record. Accepted: all of its prefix came, each byte at most once and in order. */
static void tables_used(struct fuzz_input *in, struct tables *w)
{
	struct vhx_used u = {
		.id = (uint16_t)fuzz_below(in, SIZE + 1),
		.flags = (uint16_t)fuzz_below(in, 4),
		.in_off = fuzz_u8(in) < 250 ? fuzz_u16(in) % 520 : fuzz_u32(in),
		.used_len = fuzz_u8(in) < 250 ? fuzz_u16(in) % 520 : fuzz_u32(in),
		.chunk_len = fuzz_u8(in) < 250 ? fuzz_u8(in) : fuzz_u32(in),
	};
	struct vhx_used_record wire;
	struct model *m;
	uint32_t i;

	if (u.id < SIZE && fuzz_u8(in) & 1)
		u.in_off = w->m[u.id].last;
	if (!(u.flags & VHX_USED_COMPLETE))
		u.used_len = 0;
	vhx_used_encode(&wire, &u);
	if (vhx_used_decode(&wire, 65536, &u) || vhx_flight_used(&w->f, &u))
		return;
	FUZZ_CHECK(u.id < SIZE);
	m = &w->m[u.id];
	FUZZ_CHECK(m->active && m->whole);
	for (i = 0; i < u.chunk_len; i++) {
		FUZZ_CHECK(u.in_off + i >= m->last && u.in_off + i < m->in_len);
		if (u.in_off + i < VHX_ARRAY_SIZE(m->came))
			m->came[u.in_off + i] = true;
	}
	if (u.chunk_len)
		m->last = u.in_off + u.chunk_len;
	FUZZ_CHECK(u.used_len <= m->in_len);
	for (i = 0; i < u.used_len && i < VHX_ARRAY_SIZE(m->came); i++)
		FUZZ_CHECK(m->came[i]);
	if (u.flags & VHX_USED_COMPLETE)
		tables_end(w, u.id);
}

static void run_tables(struct fuzz_input *in)
{
	static struct tables w;

	memset(&w, 0, sizeof(w));
	vhx_intake_init(&w.t, w.slots, SIZE, 16384, 512, 16, 8);
	vhx_flight_init(&w.f, w.sent, SIZE);
	vhx_flight_limits(&w.f, 8, 16);
	while (in->len) {
		if (fuzz_u8(in) & 1)
			tables_avail(in, &w);
		else
			tables_used(in, &w);
		check_tables(&w);
		for (uint16_t i = 0; i < SIZE; i++)
			tables_flight(&w, i);
	}
}

static void (*const machines[])(struct fuzz_input *in) = {
	run_channel,
	run_device,
	run_driver,
	run_tables,
};

/* HELLO twice, then bodies; features, status, queue, reset; a walk of nothing but good answers; a request. */
static const uint8_t seed_channel[] = {
	0,    2, 0, 0, 0, 3, 0, 63, 63, 0x85, 2,    1,	0, 0, 3, 3, 63, 63,
	0x85, 0, 2, 1, 0, 0, 3, 3,  63, 63,   0x04, 64, 0, 9, 9, 0, 0,
};
static const uint8_t seed_device[] = {
	1, 1, 3, 4, 0, 2, 5, 0xc1, 0, 1, 0, 0, 1,  7, 1, 11, 1, 9, 6, 0, 1, 8, 0, 0,
	0, 0, 0, 0, 0, 0, 1, 12,   2, 0, 7, 1, 10, 1, 0, 1,  7, 1, 0, 0, 0, 0, 0,
};
static const uint8_t seed_driver[256] = {
	2, 0, 7, 0x47, 64, 0xff, 0, 0, 0, 7, 0x47, 64, 0xff, 0,
};
static const uint8_t seed_tables[] = {
	3, 1, 2, 1, 100, 0, 20, 0, 100, 0, 0, 2, 1, 0, 0, 0, 20, 0, 0, 20, 1,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_channel, sizeof(seed_channel) },
	{ seed_device, sizeof(seed_device) },
	{ seed_driver, sizeof(seed_driver) },
	{ seed_tables, sizeof(seed_tables) },
	{ NULL, 0 },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };

	machines[fuzz_u8(&in) % VHX_ARRAY_SIZE(machines)](&in);
	return 0;
}
