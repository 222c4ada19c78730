// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Packets are the pairs' (net_pair.c), and the end's (net_end.c). Here is what ties them to queues, and what the
 * driver says of them: features, and commands on the control queue (VirtIO 5.1.6.5).
 *
 *   queues      2i and 2i + 1 belong to pair i; the control queue is behind the last pair if the driver took MQ,
 *               else behind the first
 *   pair 0      is used always; another one when the driver said so (MQ), or, as long as it said nothing, when it
 *               has posted buffers there: a VMM between us and the driver may keep the control queue for itself
 *   link        up while somebody is at the end (STATUS)
 *   announce    a backend that is new, or an end that came back, asks the guest to make itself heard, so that the
 *               network's switches learn where it is; the driver acknowledges that
 *
 * A driver that has been talking to a predecessor of this backend does not repeat its commands; its frontend may
 * (frontend/commands.c). If none does, what is lost is a filter, which let less through than comes now; of the
 * number of pairs see above.
 *
 * A hostile driver can choose and command as it likes: all of it is a few bits and two bounded lists.
 */
#include "device/net.h"

#include <stdlib.h>
#include <string.h>

#include "device/identity.h"
#include "device/net_pair.h"

/* MAC_TABLE_SET with two full lists. Longer ones arrive cut, and are then taken as "too many". */
#define COMMAND_MAX                       \
	(sizeof(struct virtio_net_ctrl) + \
	 2 * (sizeof(vhx_le32) + VHX_NET_FILTER_MAX * VHX_ETHER_ADDRESS_LEN))

#define BIT(name) (1ull << VIRTIO_NET_F_##name)

#define FEATURES                                                                           \
	(BIT(MRG_RXBUF) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_RX_EXTRA) | \
	 BIT(GUEST_ANNOUNCE) | BIT(CTRL_MAC_ADDR))
#define FEATURES_OFFLOAD                                                                 \
	(BIT(CSUM) | BIT(HOST_TSO4) | BIT(HOST_TSO6) | BIT(HOST_ECN) | BIT(GUEST_CSUM) | \
	 BIT(GUEST_TSO4) | BIT(GUEST_TSO6) | BIT(GUEST_ECN))

struct net {
	struct vhx_device dev;
	uint8_t mac[VHX_ETHER_ADDRESS_LEN]; /* the operator's */
	uint64_t features; /* negotiated */
	bool told; /* the driver said how many pairs it uses */
	bool announce_due;
	unsigned int pair_cnt;
	struct vhx_net_rules rules;
	struct vhx_net_end end;
	struct vhx_net_pair pairs[VHX_NET_PAIRS_MAX];
};

static struct net *net_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct net, dev);
}

static bool has(const struct net *net, unsigned int feature)
{
	return net->features >> feature & 1;
}

/* The config space */

static struct virtio_net_config *config_of(struct net *net)
{
	return (struct virtio_net_config *)(void *)net->dev.config;
}

static void mac_set(struct net *net, const uint8_t *mac)
{
	memcpy(config_of(net)->mac, mac, VHX_ETHER_ADDRESS_LEN);
	memcpy(net->rules.filter.mac, mac, VHX_ETHER_ADDRESS_LEN);
}

/* Sets and clears bits of the status; the driver hears of it. */
static void status_change(struct net *net, unsigned int set, unsigned int clear)
{
	struct virtio_net_config *config = config_of(net);
	unsigned int status = vhx_le16_get(config->status);
	unsigned int wanted = (status & ~clear) | set;

	if (wanted == status)
		return;
	config->status = vhx_le16_of((uint16_t)wanted);
	vhx_device_config_changed(&net->dev);
}

static void announce(struct net *net)
{
	if (!net->announce_due || !has(net, VIRTIO_NET_F_GUEST_ANNOUNCE) || !net->end.online)
		return;
	net->announce_due = false;
	status_change(net, VIRTIO_NET_S_ANNOUNCE, 0);
}

static int net_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	struct net *net = net_of(dev);
	uint8_t mac[VHX_ETHER_ADDRESS_LEN];

	/* 5.1.4: the address alone is written, and with CTRL_MAC_ADDR not even that. */
	if (has(net, VIRTIO_NET_F_CTRL_MAC_ADDR) || off + len > sizeof(mac))
		return -EINVAL;
	memcpy(mac, config_of(net)->mac, sizeof(mac));
	memcpy(mac + off, buf, len);
	mac_set(net, mac);
	return 0;
}

/* Commands */

static void pairs_use(struct net *net, unsigned int cnt)
{
	unsigned int i;

	for (i = 0; i < net->pair_cnt; i++)
		vhx_net_pair_use(&net->pairs[i], i < cnt);
}

/* Bytes of a command: those that came, and how many the driver made. */
struct command {
	uint8_t number;
	const uint8_t *bytes;
	uint32_t len, total;
};

static bool rx_command(struct net *net, const struct command *c)
{
	return c->len >= 1 && vhx_net_filter_mode(&net->rules.filter, c->number, c->bytes[0]);
}

static bool mac_command(struct net *net, const struct command *c)
{
	if (c->number == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return vhx_net_filter_table(&net->rules.filter, c->bytes, c->len, c->total);
	if (c->number != VIRTIO_NET_CTRL_MAC_ADDR_SET || c->total != VHX_ETHER_ADDRESS_LEN)
		return false;
	mac_set(net, c->bytes);
	vhx_device_config_changed(&net->dev);
	return true;
}

static bool announce_command(struct net *net, const struct command *c)
{
	if (c->number != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
		return false;
	status_change(net, 0, VIRTIO_NET_S_ANNOUNCE);
	return true;
}

static bool mq_command(struct net *net, const struct command *c)
{
	vhx_le16 wire;
	unsigned int cnt;

	if (c->number != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || c->len < sizeof(wire))
		return false;
	memcpy(&wire, c->bytes, sizeof(wire));
	cnt = vhx_le16_get(wire);
	if (cnt < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || cnt > net->pair_cnt)
		return false;
	net->told = true;
	pairs_use(net, cnt);
	return true;
}

static const struct {
	uint8_t class;
	unsigned int feature; /* there is no such class without it */
	bool (*handle)(struct net *net, const struct command *c);
} classes[] = {
	{ VIRTIO_NET_CTRL_RX, VIRTIO_NET_F_CTRL_RX, rx_command },
	{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_F_CTRL_VQ, mac_command },
	{ VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_F_GUEST_ANNOUNCE, announce_command },
	{ VIRTIO_NET_CTRL_MQ, VIRTIO_NET_F_MQ, mq_command },
};

static bool command_do(struct net *net, const struct vhx_request *req)
{
	const uint32_t head = sizeof(struct virtio_net_ctrl);
	uint8_t bytes[COMMAND_MAX];
	uint32_t len = vhx_request_out_read(req, 0, bytes, sizeof(bytes));
	struct command c;
	size_t i;

	if (len < head)
		return false;
	c = (struct command){ .number = bytes[1],
			      .bytes = bytes + head,
			      .len = len - head,
			      .total = req->out_len - head };
	for (i = 0; i < VHX_ARRAY_SIZE(classes); i++) {
		if (classes[i].class == bytes[0] && has(net, classes[i].feature))
			return classes[i].handle(net, &c);
	}
	return false;
}

static void command_answer(struct net *net, struct vhx_request *req)
{
	const uint8_t ack = command_do(net, req) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	uint32_t len = req->in_len ? sizeof(ack) : 0;

	vhx_request_complete(req, 0, &ack, 0, len, len);
}

/* Queues */

static uint16_t control_index(const struct net *net)
{
	return (uint16_t)(has(net, VIRTIO_NET_F_MQ) ? 2 * net->pair_cnt : 2);
}

static int net_submit(struct vhx_device *dev, struct vhx_request *req)
{
	uint16_t index = vhx_queue_index(req->queue);
	struct net *net = net_of(dev);
	struct vhx_net_pair *pair;

	if (index == control_index(net) || index >= 2 * net->pair_cnt) {
		command_answer(net, req);
		return 0;
	}
	pair = &net->pairs[index / 2];
	if (index & 1) {
		vhx_net_pair_transmit(pair, req);
		return 0;
	}
	vhx_net_pair_post(pair, req);
	if (!net->told)
		vhx_net_pair_use(pair, true);
	announce(net);
	return 0;
}

static void net_kick(struct vhx_device *dev)
{
	struct net *net = net_of(dev);
	unsigned int i;

	for (i = 0; i < net->pair_cnt; i++)
		vhx_net_pair_kick(&net->pairs[i]);
}

static void net_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vhx_net_pair *pair = &net_of(dev)->pairs[vhx_queue_index(queue) / 2];

	pair->no_room = false;
	vhx_net_pair_pump_in(pair);
}

static void net_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	uint16_t index = vhx_queue_index(queue);
	struct net *net = net_of(dev);

	if (index < 2 * net->pair_cnt) {
		struct vhx_net_pair *pair = &net->pairs[index / 2];

		if (index & 1)
			vhx_net_pair_reset_out(pair);
		else
			vhx_net_pair_reset_in(pair);
		if (!(index & 1) && index && !net->told)
			vhx_net_pair_use(pair, false);
	}
	vhx_queue_quiesced(queue);
}

static void rules_set(struct net *net, uint64_t features)
{
	struct vhx_net_rules *r = &net->rules;

	net->features = features;
	r->mergeable = has(net, VIRTIO_NET_F_MRG_RXBUF);
	r->csum = has(net, VIRTIO_NET_F_CSUM);
	r->ecn = has(net, VIRTIO_NET_F_HOST_ECN);
	r->gso = 1u << VIRTIO_NET_HDR_GSO_NONE;
	if (has(net, VIRTIO_NET_F_HOST_TSO4))
		r->gso |= 1u << VIRTIO_NET_HDR_GSO_TCPV4;
	if (has(net, VIRTIO_NET_F_HOST_TSO6))
		r->gso |= 1u << VIRTIO_NET_HDR_GSO_TCPV6;
	vhx_net_end_set_offload(&net->end, features);
}

static void net_restarted(struct vhx_device *dev)
{
	struct net *net = net_of(dev);

	net->told = false;
	rules_set(net, 0);
	mac_set(net, net->mac);
	vhx_net_filter_reset(&net->rules.filter);
	pairs_use(net, 1);
	status_change(net, 0, VIRTIO_NET_S_ANNOUNCE);
}

static int net_set_features(struct vhx_device *dev, uint64_t features)
{
	if (features & ~dev->features)
		return -EINVAL;
	rules_set(net_of(dev), features);
	return 0;
}

/* Which of them is the control queue is known when the driver has chosen: with MQ the last one, else the third. */
static void net_queue_limits(const struct vhx_device *dev, uint16_t index,
			     struct vhx_device_limits *limits)
{
	limits->max_staged = 0;
	limits->max_in = UINT32_MAX;
	if (index & 1)
		return;
	limits->head_len = VHX_REQUEST_HEAD_MAX;
	limits->max_out = index == 2 || index == dev->num_queues - 1 ? COMMAND_MAX : 0;
}

/* The end */

static void end_readable(struct vhx_net_end *e, unsigned int pair)
{
	vhx_net_pair_pump_in(&vhx_container_of(e, struct net, end)->pairs[pair]);
}

static void end_writable(struct vhx_net_end *e, unsigned int pair)
{
	vhx_net_pair_pump_out(&vhx_container_of(e, struct net, end)->pairs[pair]);
}

static void end_changed(struct vhx_net_end *e)
{
	struct net *net = vhx_container_of(e, struct net, end);
	unsigned int i;

	vhx_log_limited(net->dev.log, &net->pairs[0].limit, vhx_loop_now(net->dev.loop),
			VHX_LOG_NOTICE, "%s: %s: %s", net->dev.id, e->text,
			e->online ? "connected" : "nobody is there any more: the link is down");
	net->announce_due |= e->online;
	status_change(net, e->online ? VIRTIO_NET_S_LINK_UP : 0,
		      e->online ? 0 : VIRTIO_NET_S_LINK_UP);
	announce(net);
	for (i = 0; i < net->pair_cnt; i++)
		vhx_net_pair_pump_out(&net->pairs[i]);
}

static const struct vhx_net_end_events end_events = {
	.readable = end_readable,
	.writable = end_writable,
	.changed = end_changed,
};

/* Life */

static void net_close(struct vhx_device *dev)
{
	struct net *net = net_of(dev);
	unsigned int i;

	for (i = 0; i < net->pair_cnt; i++)
		vhx_net_pair_fini(&net->pairs[i]);
	vhx_net_end_close(&net->end);
	free(net);
}

static const struct vhx_device_ops net_ops = {
	.name = "net",
	.device_id = VIRTIO_ID_NET,
	.head_len = sizeof(struct virtio_net_hdr),
	.queue_limits = net_queue_limits,
	.submit = net_submit,
	.kick = net_kick,
	.room = net_room,
	.reset = net_reset,
	.restarted = net_restarted,
	.set_features = net_set_features,
	.set_config = net_set_config,
	.close = net_close,
};

static void device_fill(struct net *net, const struct vhx_net_config *cfg)
{
	struct virtio_net_config *config = config_of(net);
	static const uint8_t none[VHX_ETHER_ADDRESS_LEN];

	net->dev.features = FEATURES;
	if (net->end.offload)
		net->dev.features |= FEATURES_OFFLOAD;
	if (memcmp(cfg->mac, none, sizeof(none)))
		net->dev.features |= BIT(MAC);
	if (cfg->mtu)
		net->dev.features |= BIT(MTU);
	if (net->pair_cnt > 1)
		net->dev.features |= BIT(MQ);
	net->dev.num_queues = (uint16_t)(2 * net->pair_cnt + 1);
	net->dev.queue_size_max = cfg->queue_size ?: VHX_NET_QUEUE_SIZE_MAX;
	net->dev.max_out = VHX_NET_PACKET_MAX;
	net->dev.max_in = UINT32_MAX;
	net->dev.config_len = sizeof(*config);
	net->dev.memory = sizeof(*net) + net->end.memory + net->pair_cnt * VHX_NET_PACKET_MAX;
	config->max_virtqueue_pairs = vhx_le16_of((uint16_t)net->pair_cnt);
	config->mtu = vhx_le16_of(cfg->mtu);
	if (net->end.online)
		config->status = vhx_le16_of(VIRTIO_NET_S_LINK_UP);
}

static int pairs_init(struct net *net, unsigned int cnt, struct vhx_error *err)
{
	unsigned int i;
	int ret;

	for (i = 0; i < cnt; i++) {
		struct vhx_net_pair *pair = &net->pairs[i];

		pair->dev = &net->dev;
		pair->end = &net->end;
		pair->rules = &net->rules;
		pair->index = i;
		pair->used = true;
		net->pair_cnt = i + 1;
		ret = vhx_net_pair_init(pair);
		if (ret) {
			vhx_error_set(err, "out of memory");
			return ret;
		}
	}
	return 0;
}

int vhx_net_new(struct vhx_loop *loop, const struct vhx_net_config *config,
		const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	unsigned int pairs = config->pairs ?: 1;
	struct net *net = calloc(1, sizeof(*net));
	int ret;

	assert(pairs <= VHX_NET_PAIRS_MAX);
	if (!net) {
		vhx_error_set(err, "%s: out of memory", config->id);
		return -ENOMEM;
	}
	net->dev.ops = &net_ops;
	net->dev.log = log;
	net->dev.loop = loop;
	memcpy(net->mac, config->mac, sizeof(net->mac));
	vhx_device_identify(&net->dev, config->id);
	ret = pairs_init(net, pairs, err);
	if (!ret)
		ret = vhx_net_end_open(&net->end, config->end, pairs, config->offload, loop,
				       &end_events, err);
	if (ret) {
		vhx_error_prefix(err, "%s", config->id);
		net_close(&net->dev);
		return ret;
	}
	device_fill(net, config);
	net->announce_due = true;
	net_restarted(&net->dev);
	vhx_log(log, VHX_LOG_INFO, "%s: %s", net->dev.id, net->end.text);
	*device = &net->dev;
	return 0;
}
