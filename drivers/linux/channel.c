// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A channel is one backend over one port. It outlives every backend: lives come and go, devices
 * stay.
 *
 *   CLOSED   removed or frozen: nothing runs
 *   WAITING  no port: `reopen` is armed, with back-off (10 ms to 1 s)
 *   OPENING  the port is open and waits for its peer, for as long as that takes
 *   HELLO    the ports have met: HELLO goes both ways, within 5 s
 *   UP       control and data flow
 *
 *   CLOSED -start-> WAITING -> OPENING -> HELLO -> UP
 *   from each of the last three a failure leads to WAITING, from all of them stop to CLOSED
 *
 * Who does what. Opening, closing and taking messages happen on the channel's ordered workqueue, so
 * they exclude each other. Sending happens wherever somebody has something to send, under the lock.
 * A failure is only noted (hmx_channel_fail()); the work ends the life at the end of its pass,
 * once. Nothing is freed under a caller's feet.
 *
 * A pass: take a bounded number of messages, show drivers what was completed, send what is due
 * (control of each device, then starved queues, then the others), tell the peer what was consumed,
 * wait. What is left over makes the work queue itself again.
 *
 * What a hostile backend can do: end its channel, or let it starve. A message's header is copied,
 * then judged; a control message likewise, whole. Messages per pass, waiting control messages and
 * devices are bounded; a silent one is found out by time-outs while something is outstanding.
 */
#include <linux/minmax.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "virtio_hmx.h"

/*
 * Messages per pass, so that what they completed is shown before the next ones are taken. A backend
 * answers a batch in few messages; one that floods gets no longer a pass for it.
 */
#define CHANNEL_BURST 64

/*
 * Pauses between lives: short enough for a backend that is restarted to be missed by nobody, and in
 * the end seldom enough to cost nothing while there is none (docs/wire.md, section 15, has the
 * same). A life that lasted the longest pause makes the next pause the shortest.
 */
#define BACKOFF_MIN_MS 10u
#define BACKOFF_MAX_MS 1000u

/* docs/wire.md: section 4, VHX_LINK_HELLO_NS; section 14, VHX_PING_NS */
#define HELLO_MS 5000u
#define PING_MS 5000u

/* docs/wire.md, section 4: VHX_CHANNEL_RING_MIN, VHX_CHANNEL_MESSAGE_MIN */
#define RING_MIN 8192u
#define MESSAGE_MIN 512u

static const char *const state_names[HMX_STATE_CNT_] = {
	[HMX_CLOSED] = "closed", [HMX_WAITING] = "waiting", [HMX_OPENING] = "opening",
	[HMX_HELLO] = "hello",	 [HMX_UP] = "up",
};

const char *hmx_channel_state_name(enum hmx_channel_state state)
{
	return state_names[state];
}

void hmx_channel_kick(struct hmx_channel *ch)
{
	queue_work(ch->wq, &ch->work);
}

void hmx_channel_sync(struct hmx_channel *ch)
{
	flush_work(&ch->work);
}

void hmx_channel_remind(struct hmx_channel *ch, unsigned int ms)
{
	unsigned long due = jiffies + msecs_to_jiffies(ms);

	lockdep_assert_held(&ch->port->lock);
	if (!delayed_work_pending(&ch->tick) || time_before(due, ch->tick.timer.expires))
		mod_delayed_work(ch->wq, &ch->tick, msecs_to_jiffies(ms));
}

void hmx_channel_fail(struct hmx_channel *ch, int reason)
{
	if (ch->state <= HMX_WAITING)
		return;
	if (!ch->error)
		ch->error = reason;
	hmx_channel_kick(ch);
}

/* Arrival: HELLO */

static int hello_limits_take(struct hmx_channel *ch, const struct vhx_hello *hello)
{
	u32 ring = le32_to_cpu(hello->ring_len), message = le32_to_cpu(hello->max_message);

	if (ring < RING_MIN || message < MESSAGE_MIN)
		return -EPROTO;
	ch->credit.tx_ring = min(ch->credit.tx_ring, ring);
	ch->max_message = min3(ch->max_message, message,
			       hmx_credit_message_max(ch->credit.tx_ring));
	return 0;
}

static int hello_check(u32 len, const struct vhx_hello *hello)
{
	u16 min = le16_to_cpu(hello->version_min), max = le16_to_cpu(hello->version_max);

	if (len < offsetof(struct vhx_hello, offered) ||
	    le32_to_cpu(hello->magic) != VHX_WIRE_MAGIC || min > max)
		return -EPROTO;
	if (min > VHX_WIRE_VERSION || max < VHX_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	/*
	 * After the version, since another one may be longer. We offer no feature, so none was
	 * accepted.
	 */
	if (len != sizeof(*hello) || hello->header.ack || hello->reserved || hello->accepted)
		return -EPROTO;
	return 0;
}

static void channel_up(struct hmx_channel *ch)
{
	struct hmx_credit *c = &ch->credit;

	*c = (struct hmx_credit){ .tx_ring = c->tx_ring, .rx_ring = c->rx_ring };
	ch->state = HMX_UP;
	ch->up_since = jiffies;
	ch->heard = jiffies;
	ch->misses = 0;
	ch->stats.lives++;
	hmx_scan_kick(ch, true);
}

/* Under the lock. The table of docs/wire.md, section 4. */
static int hello_receive(struct hmx_channel *ch, u32 len, const struct vhx_hello *hello)
{
	u32 src = le32_to_cpu(hello->header.src_inc), dst = le32_to_cpu(hello->header.dst_inc);
	int ret;

	/* Before a look at the rest: what a dead incarnation was told is not for us to judge. */
	if (dst && dst != ch->inc) {
		ch->stats.stale++;
		return 0;
	}
	ret = hello_check(len, hello);
	if (ret)
		return ret;
	if (ch->met && src != ch->peer_inc)
		return -ECONNRESET;
	if (!ch->met) {
		ret = hello_limits_take(ch, hello);
		if (ret)
			return ret;
		ch->met = true;
		ch->peer_inc = src;
		ch->hello_due = true;
	}
	if (dst && ch->state == HMX_HELLO)
		channel_up(ch);
	return 0;
}

/* Arrival: control */

/* What a frontend takes: payloads of @len bytes, or with a @tail, of at least so many. */
struct control_rule {
	bool bus, response;
	u8 msg_id;
	u16 len;
	bool tail;
};

static const struct control_rule control_rules[] = {
	{ false, true, VIRTIO_MSG_GET_DEVICE_INFO, sizeof(struct virtio_msg_device_info) },
	{ false, true, VIRTIO_MSG_GET_DEVICE_FEATURES, sizeof(struct virtio_msg_features), true },
	{ false, true, VIRTIO_MSG_SET_DRIVER_FEATURES, 0 },
	{ false, true, VIRTIO_MSG_GET_CONFIG, sizeof(struct virtio_msg_config), true },
	{ false, true, VIRTIO_MSG_SET_CONFIG, sizeof(struct virtio_msg_config), true },
	{ false, true, VIRTIO_MSG_SET_DEVICE_STATUS, sizeof(struct virtio_msg_status) },
	{ false, true, VIRTIO_MSG_GET_VQUEUE, sizeof(struct virtio_msg_get_vqueue_resp) },
	{ false, true, VIRTIO_MSG_SET_VQUEUE, 0 },
	{ false, true, VIRTIO_MSG_RESET_VQUEUE, 0 },
	{ false, true, VIRTIO_MSG_VHX_QUEUE_OPEN, sizeof(struct virtio_msg_vhx_queue_open_resp) },
	{ false, false, VIRTIO_MSG_EVENT_CONFIG, sizeof(struct virtio_msg_event_config), true },
	{ true, true, VIRTIO_MSG_BUS_GET_DEVICES, sizeof(struct virtio_msg_get_devices_resp),
	  true },
	{ true, true, VIRTIO_MSG_BUS_VHX_ATTACH, sizeof(struct virtio_msg_vhx_attach_resp) },
	{ true, true, VIRTIO_MSG_BUS_VHX_GET_NAME, sizeof(struct virtio_msg_vhx_get_name_resp) },
	{ true, false, VIRTIO_MSG_BUS_PING, sizeof(struct virtio_msg_ping) },
	{ true, false, VIRTIO_MSG_BUS_EVENT_DEVICE, sizeof(struct virtio_msg_event_device) },
};

static const struct control_rule *control_rule(const struct hmx_control *c)
{
	const struct control_rule *r;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(control_rules); i++) {
		r = &control_rules[i];
		if (r->bus == c->bus && r->response == c->response && r->msg_id == c->msg_id)
			return r;
	}
	return NULL;
}

/* 0; -ENOMSG: not one for us; -EPROTO. */
static int control_decode(struct hmx_rx *rx, u32 len, struct hmx_control *c)
{
	const struct control_rule *rule;
	struct virtio_msg_header h;

	if (len < sizeof(h) || len > VIRTIO_MSG_MAX)
		return -EPROTO;
	hmx_rx_read(rx, &h, sizeof(h));
	if (le16_to_cpu(h.msg_size) != len)
		return -EPROTO;
	c->bus = h.type & VIRTIO_MSG_TYPE_BUS;
	c->response = h.type & VIRTIO_MSG_TYPE_RESPONSE;
	c->msg_id = h.msg_id;
	c->dev_num = le16_to_cpu(h.dev_num);
	c->token = le16_to_cpu(h.token);
	c->payload_len = len - sizeof(h);
	rule = control_rule(c);
	if (!rule || c->payload_len < rule->len || (!rule->tail && c->payload_len > rule->len))
		return -ENOMSG;
	hmx_rx_read(rx, c->payload, c->payload_len);
	return 0;
}

static struct hmx_device *device_by_num(struct hmx_channel *ch, u16 dev_num)
{
	struct hmx_device *dev;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		dev = READ_ONCE(ch->devices[i]);
		if (dev && hmx_device_attached(dev) && dev->dev_num == dev_num)
			return dev;
	}
	return NULL;
}

/* The answer to the scan, who sleeps. Under the lock. */
static void ask_answer(struct hmx_channel *ch, const struct hmx_control *c)
{
	if (!ch->asking || c->msg_id != ch->ask.msg_id || c->token != ch->ask.token)
		return;
	ch->ask = *c;
	ch->asking = false;
	ch->ask_error = 0;
	wake_up(&ch->ask_wait);
}

static int attach_answer(struct hmx_channel *ch, const struct hmx_control *c)
{
	struct hmx_device *dev;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		dev = READ_ONCE(ch->devices[i]);
		if (dev && hmx_device_awaits(dev, c))
			return hmx_device_control(dev, c);
	}
	return 0;
}

/*
 * What is removed is so from now on: a question about it would not be answered, and the number may
 * be another device's with the next message.
 */
static void event_device(struct hmx_channel *ch, const struct hmx_control *c)
{
	const struct virtio_msg_event_device *e = (const void *)c->payload;
	struct hmx_device *dev;

	dev = device_by_num(ch, le16_to_cpu(e->dev_num));
	if (dev && e->state == cpu_to_le16(VIRTIO_MSG_DEVICE_REMOVED))
		hmx_device_gone(dev);
	hmx_scan_kick(ch, true);
}

static int bus_receive(struct hmx_channel *ch, const struct hmx_control *c)
{
	struct hmx_control pong;

	if (c->response && c->msg_id == VIRTIO_MSG_BUS_VHX_ATTACH)
		return attach_answer(ch, c);
	if (c->msg_id == VIRTIO_MSG_BUS_EVENT_DEVICE) {
		event_device(ch, c);
		return 0;
	}
	spin_lock_irq(&ch->port->lock);
	if (c->response) {
		ask_answer(ch, c);
	} else {
		/* PING */
		pong = *c;
		pong.response = true;
		hmx_channel_control(ch, &pong);
	}
	spin_unlock_irq(&ch->port->lock);
	return 0;
}

static int control_receive(struct hmx_channel *ch, struct hmx_rx *rx)
{
	struct hmx_device *dev;
	struct hmx_control c;
	int ret = control_decode(rx, rx->len - rx->off, &c);

	if (ret)
		return ret == -ENOMSG ? 0 : ret;
	if (c.bus)
		return bus_receive(ch, &c);
	dev = device_by_num(ch, c.dev_num);
	return dev ? hmx_device_control(dev, &c) : 0;
}

/* Arrival: data */

static int used_receive(struct hmx_channel *ch, struct hmx_rx *rx)
{
	struct vhx_queue_header qh;
	struct hmx_device *dev;
	struct hmx_key key;

	if (rx->len - rx->off < sizeof(qh))
		return -EPROTO;
	hmx_rx_read(rx, &qh, sizeof(qh));
	key.dev = le16_to_cpu(qh.dev);
	key.vq = le16_to_cpu(qh.vq);
	key.epoch = le32_to_cpu(qh.epoch);
	dev = device_by_num(ch, key.dev);
	if (dev)
		return hmx_device_used(dev, &key, rx);
	if (!ch->forgotten)
		return -EPROTO;
	ch->stats.stale++;
	return 0;
}

/*
 * Under the lock. 1: hand the body on; 0: dealt with; or why the channel ends. *@counts: for
 * credit.
 */
static int message_judge(struct hmx_channel *ch, const struct hmx_msg *msg,
			 const struct vhx_hello *start, bool *counts)
{
	const struct vhx_msg_header *h = &start->header;
	int ret;

	if (msg->len < sizeof(*h) || h->reserved || !h->src_inc)
		return -EPROTO;
	if (msg->type == VHX_MSG_HELLO)
		return hello_receive(ch, msg->len, start);
	if (!ch->met || le32_to_cpu(h->dst_inc) != ch->inc ||
	    le32_to_cpu(h->src_inc) != ch->peer_inc) {
		ch->stats.stale++;
		return 0;
	}
	if (ch->state != HMX_UP)
		return -EPROTO;
	*counts = true;
	ret = hmx_credit_acked(&ch->credit, le32_to_cpu(h->ack));
	if (ret)
		return ret;
	ch->heard = jiffies;
	ch->misses = 0;
	if (msg->type == VHX_MSG_CONTROL || msg->type == VHX_MSG_USED)
		return 1;
	if (msg->type == VHX_MSG_CREDIT)
		return msg->len == sizeof(*h) ? 0 : -EPROTO;
	if (msg->type >= VHX_MSG_OPTIONAL_FIRST && msg->type <= VHX_MSG_OPTIONAL_LAST)
		return 0;
	return -EPROTO;
}

static int message_deliver(struct hmx_channel *ch, const struct hmx_msg *msg)
{
	struct hmx_rx rx = {
		.port = ch->port,
		.off = sizeof(struct vhx_msg_header),
		.len = msg->len,
	};

	return msg->type == VHX_MSG_CONTROL ? control_receive(ch, &rx) : used_receive(ch, &rx);
}

static void message_take(struct hmx_channel *ch, const struct hmx_msg *msg)
{
	/*
	 * What follows the header of other messages is read by those who handle it, and by them
	 * only.
	 */
	u32 look = msg->type == VHX_MSG_HELLO ? sizeof(struct vhx_hello)
					      : sizeof(struct vhx_msg_header);
	struct vhx_hello start = {};
	bool counts = false;
	int ret;

	ch->port->ops->read(ch->port, 0, &start, min(msg->len, look));
	spin_lock_irq(&ch->port->lock);
	ret = message_judge(ch, msg, &start, &counts);
	spin_unlock_irq(&ch->port->lock);
	if (ret > 0)
		ret = message_deliver(ch, msg);
	spin_lock_irq(&ch->port->lock);
	ch->port->ops->consume(ch->port);
	/* Not before its place is free: anybody's message tells it from here on. */
	if (counts)
		ch->credit.consumed += hmx_footprint(msg->len);
	if (ret < 0)
		hmx_channel_fail(ch, ret);
	/* The answer to a HELLO goes before anything else. */
	hmx_hello_send(ch);
	spin_unlock_irq(&ch->port->lock);
}

static bool message_next(struct hmx_channel *ch, struct hmx_msg *msg)
{
	int ret = 0;

	spin_lock_irq(&ch->port->lock);
	if (!ch->error) {
		ret = ch->port->ops->peek(ch->port, msg);
		if (ret < 0)
			hmx_channel_fail(ch, ret);
	}
	spin_unlock_irq(&ch->port->lock);
	return ret > 0;
}

/* True: the burst was used up, there may be more. */
static bool messages_take(struct hmx_channel *ch)
{
	struct hmx_msg msg;
	int i;

	for (i = 0; i < CHANNEL_BURST; i++) {
		if (!message_next(ch, &msg))
			return false;
		message_take(ch, &msg);
	}
	return true;
}

/* The pass */

static void devices_flush(struct hmx_channel *ch)
{
	struct hmx_device *dev;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		dev = READ_ONCE(ch->devices[i]);
		if (dev)
			hmx_device_flush(dev);
	}
}

static bool devices_pump(struct hmx_channel *ch)
{
	struct hmx_device *dev;
	bool more = false;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		dev = READ_ONCE(ch->devices[i]);
		if (dev)
			more |= hmx_device_pump(dev);
	}
	return more;
}

/* Under the lock. True: the first of the starved had its turn, and it may be another's now. */
static bool starved_step(struct hmx_channel *ch)
{
	struct hmx_queue *q = list_first_entry_or_null(&ch->starved, struct hmx_queue, starved);

	if (!q || !hmx_channel_usable(ch))
		return false;
	ch->refused = false;
	hmx_queue_pump(q, HMX_PUMP_BYTES);
	if (ch->refused)
		return !list_empty(&ch->starved) && ch->starved.next != &q->starved;
	/* Served, or it wants nothing any more. */
	list_del_init(&q->starved);
	return true;
}

/* Each step either ends this, or uses up credit, or shortens the list. */
static void starved_pump(struct hmx_channel *ch)
{
	bool again;

	do {
		spin_lock_irq(&ch->port->lock);
		again = starved_step(ch);
		spin_unlock_irq(&ch->port->lock);
	} while (again);
}

static bool channel_pass(struct hmx_channel *ch)
{
	bool more;

	spin_lock_irq(&ch->port->lock);
	hmx_hello_send(ch);
	spin_unlock_irq(&ch->port->lock);
	more = messages_take(ch);
	devices_flush(ch);
	spin_lock_irq(&ch->port->lock);
	hmx_pending_send(ch);
	spin_unlock_irq(&ch->port->lock);
	starved_pump(ch);
	more |= devices_pump(ch);
	spin_lock_irq(&ch->port->lock);
	hmx_credit_send(ch);
	spin_unlock_irq(&ch->port->lock);
	return more;
}

static u32 incarnation_new(void)
{
	u32 inc;

	do {
		inc = get_random_u32();
	} while (!inc);
	return inc;
}

/* Process context: for the largest message of this life. Kept for the next ones. */
static int tx_reserve(struct hmx_channel *ch)
{
	u32 cap = min(ch->port->max_message, HMX_TX_MESSAGE_MAX);
	struct hmx_tx *tx = &ch->tx;

	if (tx->head_cap >= cap)
		return 0;
	kvfree(tx->head);
	tx->head_cap = 0;
	tx->head = kvmalloc(cap, GFP_KERNEL);
	if (!tx->head)
		return -ENOMEM;
	tx->head_cap = cap;
	return 0;
}

/* Under the lock: the peers' ports have met. */
static void hello_begin(struct hmx_channel *ch)
{
	const struct hmx_port *port = ch->port;

	if (port->tx_ring_len < RING_MIN || port->rx_ring_len < RING_MIN ||
	    port->max_message < MESSAGE_MIN) {
		hmx_channel_fail(ch, -EPROTO);
		return;
	}
	ch->inc = incarnation_new();
	ch->peer_inc = 0;
	ch->met = false;
	ch->credit = (struct hmx_credit){
		.tx_ring = port->tx_ring_len,
		.rx_ring = port->rx_ring_len,
	};
	ch->rx_max_message = port->max_message;
	ch->max_message = min(port->max_message, HMX_TX_MESSAGE_MAX);
	ch->hello_due = true;
	ch->hello_until = jiffies + msecs_to_jiffies(HELLO_MS);
	ch->state = HMX_HELLO;
	hmx_tick_arm(ch);
}

/* A step of the meeting of ports. True: they have met, go on. */
static bool port_meet(struct hmx_channel *ch)
{
	struct hmx_msg msg;
	bool met;
	int ret;

	message_next(ch, &msg);
	met = READ_ONCE(ch->port->max_message);
	ret = met ? tx_reserve(ch) : 0;
	spin_lock_irq(&ch->port->lock);
	if (ret)
		hmx_channel_fail(ch, ret);
	else if (met && !ch->error && ch->state == HMX_OPENING)
		hello_begin(ch);
	spin_unlock_irq(&ch->port->lock);
	return met;
}

/* End of a life */

static const char *down_reason(int reason)
{
	switch (reason) {
	case -EPIPE:
		return "the backend left";
	case -EPROTO:
		return "the backend broke the protocol";
	case -EPROTONOSUPPORT:
		return "the backend speaks another version of the protocol";
	case -ECONNRESET:
		return "the backend was restarted";
	case -ETIMEDOUT:
		return "the backend does not answer";
	case -EHOSTDOWN:
		return "the backend is silent";
	case -ENODEV:
		return "the exchange was removed";
	default:
		return "failure on this side";
	}
}

static void life_log(struct hmx_channel *ch, enum hmx_channel_state state, int reason)
{
	if (state == HMX_UP)
		dev_warn_ratelimited(&ch->dev, "down: %s (%d)\n", down_reason(reason), reason);
	else if (reason != -EPIPE)
		dev_warn_ratelimited(&ch->dev, "not connected: %s (%d)\n", down_reason(reason),
				     reason);
}

/* Under the lock: nobody sends from here on. */
static void life_end(struct hmx_channel *ch, enum hmx_channel_state next)
{
	struct hmx_queue *q, *tmp;

	ch->state = next;
	ch->error = 0;
	ch->met = false;
	ch->hello_due = false;
	ch->forgotten = false;
	hmx_pending_clear(ch);
	list_for_each_entry_safe(q, tmp, &ch->starved, starved) list_del_init(&q->starved);
	if (ch->asking) {
		ch->asking = false;
		ch->ask_error = -EPIPE;
		wake_up(&ch->ask_wait);
	}
}

static void devices_lost(struct hmx_channel *ch, bool death)
{
	struct hmx_device *dev;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		dev = READ_ONCE(ch->devices[i]);
		if (!dev)
			continue;
		if (READ_ONCE(ch->removing))
			hmx_device_fail(dev, "the backend left during the removal");
		hmx_device_lost(dev, death);
	}
}

static void port_close(struct hmx_channel *ch)
{
	if (ch->opened)
		ch->port->ops->close(ch->port);
	ch->opened = false;
}

static void reopen_arm(struct hmx_channel *ch)
{
	queue_delayed_work(ch->wq, &ch->reopen, msecs_to_jiffies(ch->backoff_ms));
	ch->backoff_ms = min(2 * ch->backoff_ms, BACKOFF_MAX_MS);
}

static void channel_down(struct hmx_channel *ch)
{
	enum hmx_channel_state state;
	int reason;

	spin_lock_irq(&ch->port->lock);
	state = ch->state;
	reason = ch->error;
	if (state != HMX_CLOSED)
		life_end(ch, HMX_WAITING);
	spin_unlock_irq(&ch->port->lock);
	/* hmx_channel_stop() goes on from here. */
	if (state == HMX_CLOSED)
		return;
	life_log(ch, state, reason);
	port_close(ch);
	/* Our own patience that ends speaks against no request. */
	devices_lost(ch, reason != -ETIMEDOUT);
	/* Lives that end as soon as they begin get no quicker ones after them. */
	if (state == HMX_UP && time_after(jiffies, ch->up_since + msecs_to_jiffies(BACKOFF_MAX_MS)))
		ch->backoff_ms = BACKOFF_MIN_MS;
	if (!READ_ONCE(ch->removing))
		reopen_arm(ch);
}

static void channel_reopen(struct work_struct *work)
{
	struct hmx_channel *ch = container_of(to_delayed_work(work), struct hmx_channel, reopen);
	int ret;

	if (READ_ONCE(ch->state) != HMX_WAITING || READ_ONCE(ch->removing))
		return;
	ret = ch->port->ops->open(ch->port);
	if (ret) {
		dev_warn_once(&ch->dev, "cannot open the exchange: %d; trying again\n", ret);
		reopen_arm(ch);
		return;
	}
	ch->opened = true;
	spin_lock_irq(&ch->port->lock);
	if (ch->state == HMX_WAITING)
		ch->state = HMX_OPENING;
	spin_unlock_irq(&ch->port->lock);
	/* Scan once, whatever events there were. */
	hmx_channel_kick(ch);
}

/* True: there is work, do not wait. */
static bool port_wait(struct hmx_channel *ch)
{
	int ret;

	spin_lock_irq(&ch->port->lock);
	ret = ch->error ? 1 : ch->port->ops->prepare_wait(ch->port);
	if (ret < 0)
		hmx_channel_fail(ch, ret);
	spin_unlock_irq(&ch->port->lock);
	return ret;
}

static void channel_work(struct work_struct *work)
{
	struct hmx_channel *ch = container_of(work, struct hmx_channel, work);
	enum hmx_channel_state before = READ_ONCE(ch->state);
	bool more = false;

	/* Without a backend there is still an answer for requests of failed devices. */
	switch (before) {
	case HMX_OPENING:
		more = port_meet(ch) | devices_pump(ch);
		break;
	case HMX_HELLO:
	case HMX_UP:
		more = channel_pass(ch);
		break;
	default:
		devices_pump(ch);
		wake_up(&ch->idle_wait);
		return;
	}
	wake_up(&ch->idle_wait);
	if (before == HMX_HELLO && READ_ONCE(ch->state) == HMX_UP)
		dev_info_ratelimited(&ch->dev, "up with %s\n", ch->port->peer);
	if (READ_ONCE(ch->error))
		channel_down(ch);
	else if (more || port_wait(ch))
		hmx_channel_kick(ch);
}

/* Time-outs */

/* Under the lock. True: something is outstanding. */
static bool devices_judge(struct hmx_channel *ch)
{
	bool outstanding = ch->asking;
	struct hmx_device *dev;
	unsigned int i;

	for (i = 0; i < HMX_DEVICES_MAX; i++) {
		dev = ch->devices[i];
		if (!dev)
			continue;
		if (hmx_device_overdue(dev))
			hmx_channel_fail(ch, -ETIMEDOUT);
		outstanding |= hmx_device_outstanding(dev);
	}
	return outstanding;
}

/* Under the lock, and something is outstanding. */
static void silence_judge(struct hmx_channel *ch)
{
	struct virtio_msg_ping *ping;
	struct hmx_control c;

	if (ch->port->ops->native_liveness ||
	    time_before(jiffies, ch->heard + msecs_to_jiffies(PING_MS)))
		return;
	if (ch->misses == VHX_PING_MISSES) {
		hmx_channel_fail(ch, -EHOSTDOWN);
		return;
	}
	ch->misses++;
	ch->heard = jiffies;
	ch->stats.pings++;
	ping = hmx_control_begin(&c, true, VIRTIO_MSG_BUS_PING, 0, sizeof(*ping));
	ping->data = cpu_to_le32(ch->misses);
	hmx_channel_control(ch, &c);
}

static void channel_tick(struct work_struct *work)
{
	struct hmx_channel *ch = container_of(to_delayed_work(work), struct hmx_channel, tick);

	spin_lock_irq(&ch->port->lock);
	if (ch->state == HMX_HELLO) {
		if (time_after(jiffies, ch->hello_until))
			hmx_channel_fail(ch, -ETIMEDOUT);
		hmx_tick_arm(ch);
	} else if (ch->state == HMX_UP && devices_judge(ch)) {
		silence_judge(ch);
		hmx_tick_arm(ch);
	}
	spin_unlock_irq(&ch->port->lock);
	/* For walks that were to come back. */
	hmx_channel_kick(ch);
}

int hmx_channel_ask(struct hmx_channel *ch, struct hmx_control *c)
{
	int ret = -EPIPE;

	spin_lock_irq(&ch->port->lock);
	if (!hmx_channel_usable(ch) || ch->removing || ch->frozen)
		goto unlock;
	c->token = ++ch->ask_token;
	ch->ask = *c;
	ch->asking = true;
	hmx_channel_control(ch, c);
	spin_unlock_irq(&ch->port->lock);

	wait_event_timeout(ch->ask_wait, !READ_ONCE(ch->asking), msecs_to_jiffies(HELLO_MS));

	spin_lock_irq(&ch->port->lock);
	if (ch->asking) {
		ch->asking = false;
		ch->ask_error = -ETIMEDOUT;
		hmx_channel_fail(ch, -ETIMEDOUT);
	}
	*c = ch->ask;
	ret = ch->ask_error;
unlock:
	spin_unlock_irq(&ch->port->lock);
	return ret;
}

/* Life of the channel itself */

void hmx_channel_start(struct hmx_channel *ch)
{
	spin_lock_irq(&ch->port->lock);
	ch->state = HMX_WAITING;
	ch->backoff_ms = BACKOFF_MIN_MS;
	spin_unlock_irq(&ch->port->lock);
	queue_delayed_work(ch->wq, &ch->reopen, 0);
}

void hmx_channel_stop(struct hmx_channel *ch)
{
	spin_lock_irq(&ch->port->lock);
	life_end(ch, HMX_CLOSED);
	spin_unlock_irq(&ch->port->lock);
	/* What begins from here on finds CLOSED, touches no port, and arms nothing. */
	cancel_work_sync(&ch->work);
	cancel_delayed_work_sync(&ch->reopen);
	cancel_delayed_work_sync(&ch->tick);
	port_close(ch);
	/* No event comes any more. */
	cancel_work_sync(&ch->work);
	devices_lost(ch, false);
}

int hmx_channel_init(struct hmx_channel *ch, struct hmx_port *port)
{
	ch->port = port;
	ch->state = HMX_CLOSED;
	INIT_WORK(&ch->work, channel_work);
	INIT_DELAYED_WORK(&ch->scan, hmx_scan_work);
	INIT_DELAYED_WORK(&ch->reopen, channel_reopen);
	INIT_DELAYED_WORK(&ch->tick, channel_tick);
	INIT_LIST_HEAD(&ch->pending);
	INIT_LIST_HEAD(&ch->starved);
	init_waitqueue_head(&ch->ask_wait);
	init_waitqueue_head(&ch->idle_wait);
	ch->tx.ch = ch;
	ch->tx.max_segs = min(port->ops->max_segs, HMX_TX_SEGS);
	ch->tx.segs = kcalloc(ch->tx.max_segs, sizeof(*ch->tx.segs), GFP_KERNEL);
	if (!ch->tx.segs)
		return -ENOMEM;
	/* Disks are written to when memory is short. */
	ch->wq = alloc_ordered_workqueue("hmx%d", WQ_MEM_RECLAIM | WQ_HIGHPRI, ch->id);
	if (ch->wq)
		return 0;
	kfree(ch->tx.segs);
	ch->tx.segs = NULL;
	return -ENOMEM;
}

void hmx_channel_fini(struct hmx_channel *ch)
{
	if (ch->wq)
		destroy_workqueue(ch->wq);
	kvfree(ch->tx.head);
	kfree(ch->tx.segs);
}
