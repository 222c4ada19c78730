// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Ports have their streams (console_port.c); here is what ties them to queues, and the conversation about them
 * over the control queues (VirtIO 5.3.6.2), which there is only with MULTIPORT, that is with more than one port:
 *
 *   driver: DEVICE_READY -> we: PORT_ADD of each -> driver: PORT_READY -> we: CONSOLE_PORT, RESIZE, NAME, OPEN
 *   driver: PORT_OPEN -> input may flow                 ends that come and go: OPEN; windows that change: RESIZE
 *
 * What the driver is owed is a set of bits per port and not a list of messages, so it is bounded and the newest
 * state is what is told. A message goes as the tail of a posted control request, which takes no reservation.
 *
 * A driver that has been talking to a predecessor of this backend says none of that again. It shows by using a
 * port before DEVICE_READY, and is then told of all ports anew, which drivers know from waking up of hibernation:
 * they answer PORT_READY. Which ports it has open it does not repeat; all are taken to be.
 *
 * The window of port 0 is that of its end, or what the operator said; without MULTIPORT the driver reads it in the
 * config.
 *
 * A hostile driver can open, close and add as it likes: each message of its is checked for its port and changes
 * bits.
 */
#include "device/console.h"

#include <stdlib.h>
#include <string.h>

#include "device/console_layout.h"
#include "device/console_port.h"
#include "device/identity.h"
#include "util/checked.h"

/* A message with a name. */
#define MESSAGE_MAX (sizeof(struct virtio_console_control) + VHX_CONSOLE_NAME_MAX)

_Static_assert(MESSAGE_MAX <= VHX_TAIL_MAX, "a control message is one tail");

/* Messages that a port may be owed, in the order in which they go. */
enum owed {
	OWED_ADD,
	OWED_CONSOLE,
	OWED_RESIZE,
	OWED_NAME,
	OWED_OPEN,
	OWED_CNT_,
};

struct console {
	struct vhx_device dev;
	struct vhx_console_config cfg;
	bool multiport; /* negotiated */
	bool ready; /* DEVICE_READY came, or must have come to a predecessor */
	struct vhx_list control; /* posted requests for our messages */
	unsigned int port_cnt;
	struct vhx_console_port ports[VHX_CONSOLE_PORTS_MAX];
};

static struct console *console_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct console, dev);
}

static struct vhx_console_port *port_of(struct vhx_console_end *e)
{
	return vhx_container_of(e, struct vhx_console_port, end);
}

/* What the driver is told */

static void size_get(const struct vhx_console_port *port, struct virtio_console_resize *size)
{
	const struct console *con = console_of(port->dev);
	bool known = port->end.cols && port->end.rows;

	size->cols = vhx_le16_of(known ? port->end.cols : con->cfg.cols);
	size->rows = vhx_le16_of(known ? port->end.rows : con->cfg.rows);
}

static uint32_t add_fill(const struct vhx_console_port *port, uint16_t *value, uint8_t *extra)
{
	return 0;
}

static uint32_t console_fill(const struct vhx_console_port *port, uint16_t *value, uint8_t *extra)
{
	*value = 1;
	return 0;
}

static uint32_t resize_fill(const struct vhx_console_port *port, uint16_t *value, uint8_t *extra)
{
	struct virtio_console_resize size;

	size_get(port, &size);
	memcpy(extra, &size, sizeof(size));
	return sizeof(size);
}

/* Without its NUL. */
static uint32_t name_fill(const struct vhx_console_port *port, uint16_t *value, uint8_t *extra)
{
	*value = 1;
	memcpy(extra, port->name, strlen(port->name));
	return (uint32_t)strlen(port->name);
}

static uint32_t open_fill(const struct vhx_console_port *port, uint16_t *value, uint8_t *extra)
{
	*value = port->end.online;
	return 0;
}

static const struct {
	uint16_t event;
	uint32_t (*fill)(const struct vhx_console_port *port, uint16_t *value, uint8_t *extra);
} owed_table[] = {
	[OWED_ADD] = { VIRTIO_CONSOLE_DEVICE_ADD, add_fill },
	[OWED_CONSOLE] = { VIRTIO_CONSOLE_CONSOLE_PORT, console_fill },
	[OWED_RESIZE] = { VIRTIO_CONSOLE_RESIZE, resize_fill },
	[OWED_NAME] = { VIRTIO_CONSOLE_PORT_NAME, name_fill },
	[OWED_OPEN] = { VIRTIO_CONSOLE_PORT_OPEN, open_fill },
};

_Static_assert(VHX_ARRAY_SIZE(owed_table) == OWED_CNT_, "a message per bit");

/* One posted request is used up. True: by the message. */
static bool message_send(struct console *con, struct vhx_console_port *port, enum owed what)
{
	struct vhx_request *req = vhx_list_first_entry(&con->control, struct vhx_request, node);
	uint8_t message[MESSAGE_MAX];
	struct virtio_console_control head = { .id = vhx_le32_of(port->index),
					       .event = vhx_le16_of(owed_table[what].event) };
	uint16_t value = 0;
	uint32_t len = owed_table[what].fill(port, &value, message + sizeof(head));

	head.value = vhx_le16_of(value);
	memcpy(message, &head, sizeof(head));
	len += (uint32_t)sizeof(head);
	vhx_list_del(&req->node);
	if (req->in_len < len) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return false;
	}
	vhx_request_complete(req, 0, message, 0, len, len);
	return true;
}

static void control_pump(struct console *con)
{
	unsigned int i, what;

	for (i = 0; i < con->port_cnt; i++) {
		struct vhx_console_port *port = &con->ports[i];

		while (port->pending && !vhx_list_empty(&con->control)) {
			what = (unsigned int)__builtin_ctz(port->pending);
			if (message_send(con, port, what))
				port->pending &= ~(1u << what);
		}
	}
}

static void port_owe(struct vhx_console_port *port, unsigned int bits)
{
	struct console *con = console_of(port->dev);

	if (!con->multiport || !con->ready)
		return;
	port->pending |= bits;
	control_pump(con);
}

static void ports_add(struct console *con)
{
	unsigned int i;

	con->ready = true;
	for (i = 0; i < con->port_cnt; i++)
		port_owe(&con->ports[i], 1u << OWED_ADD);
}

/* What the driver tells */

static void port_judge(struct vhx_console_port *port)
{
	const struct console *con = console_of(port->dev);

	vhx_console_port_accept(port, !con->multiport || (port->ready && port->open));
}

static void device_ready(struct console *con, uint32_t id, bool yes)
{
	if (yes)
		ports_add(con);
}

static void port_ready(struct console *con, uint32_t id, bool yes)
{
	struct vhx_console_port *port;

	if (id >= con->port_cnt)
		return;
	port = &con->ports[id];
	port->ready = yes;
	if (yes)
		port_owe(port, (id ? 0 : 1u << OWED_CONSOLE | 1u << OWED_RESIZE) |
				       (port->name[0] ? 1u << OWED_NAME : 0) | 1u << OWED_OPEN);
	port_judge(port);
}

static void port_open(struct console *con, uint32_t id, bool yes)
{
	if (id >= con->port_cnt)
		return;
	con->ports[id].open = yes;
	port_judge(&con->ports[id]);
}

static const struct {
	uint16_t event;
	void (*handle)(struct console *con, uint32_t id, bool yes);
} driver_events[] = {
	{ VIRTIO_CONSOLE_DEVICE_READY, device_ready },
	{ VIRTIO_CONSOLE_PORT_READY, port_ready },
	{ VIRTIO_CONSOLE_PORT_OPEN, port_open },
};

static void control_receive(struct console *con, struct vhx_request *req)
{
	struct virtio_console_control head;
	bool whole = vhx_request_out_read(req, 0, &head, sizeof(head)) == sizeof(head);
	size_t i;

	vhx_request_complete(req, 0, NULL, 0, 0, 0);
	for (i = 0; whole && i < VHX_ARRAY_SIZE(driver_events); i++) {
		if (driver_events[i].event == vhx_le16_get(head.event))
			driver_events[i].handle(con, vhx_le32_get(head.id),
						vhx_le16_get(head.value));
	}
}

/* See above: it has been introduced to the ports of a predecessor. */
static void predecessor_adopt(struct console *con)
{
	unsigned int i;

	for (i = 0; i < con->port_cnt; i++)
		con->ports[i].open = true;
	ports_add(con);
}

/* Queues */

/* Even ones are for input. */
static bool queue_is_input(uint16_t index)
{
	return !(index & 1);
}

static struct vhx_console_port *queue_port(struct console *con, uint16_t index)
{
	return &con->ports[index < VIRTIO_CONSOLE_CONTROL_RX ? 0 : index / 2 - 1];
}

static int console_submit(struct vhx_device *dev, struct vhx_request *req)
{
	uint16_t index = vhx_queue_index(req->queue);
	struct console *con = console_of(dev);

	if (index == VIRTIO_CONSOLE_CONTROL_TX) {
		control_receive(con, req);
		return 0;
	}
	if (index == VIRTIO_CONSOLE_CONTROL_RX) {
		vhx_list_init(&req->node);
		vhx_list_add_tail(&con->control, &req->node);
		control_pump(con);
		return 0;
	}
	if (con->multiport && !con->ready)
		predecessor_adopt(con);
	if (queue_is_input(index))
		vhx_console_port_post(queue_port(con, index), req);
	else
		vhx_console_port_output(queue_port(con, index), req);
	return 0;
}

static void console_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vhx_console_port *port = queue_port(console_of(dev), vhx_queue_index(queue));

	port->no_room = false;
	vhx_console_port_pump_in(port);
}

static void list_drop(struct vhx_list *list)
{
	while (!vhx_list_empty(list)) {
		struct vhx_request *req = vhx_list_first_entry(list, struct vhx_request, node);

		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

static void console_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	uint16_t index = vhx_queue_index(queue);
	struct console *con = console_of(dev);
	struct vhx_console_port *port;

	if (index == VIRTIO_CONSOLE_CONTROL_RX) {
		list_drop(&con->control);
	} else if (index != VIRTIO_CONSOLE_CONTROL_TX) {
		port = queue_port(con, index);
		list_drop(queue_is_input(index) ? &port->posted : &port->held);
		if (queue_is_input(index))
			port->no_room = false;
		vhx_console_port_pump_in(port);
		vhx_console_port_pump_out(port);
	}
	vhx_queue_quiesced(queue);
}

static void console_restarted(struct vhx_device *dev)
{
	struct console *con = console_of(dev);
	unsigned int i;

	con->multiport = false;
	con->ready = false;
	for (i = 0; i < con->port_cnt; i++) {
		con->ports[i].ready = false;
		con->ports[i].open = false;
		con->ports[i].pending = 0;
		vhx_console_port_accept(&con->ports[i], false);
	}
}

static int console_set_features(struct vhx_device *dev, uint64_t features)
{
	struct console *con = console_of(dev);
	unsigned int i;

	if (features & ~dev->features)
		return -EINVAL;
	con->multiport = features >> VIRTIO_CONSOLE_F_MULTIPORT & 1;
	for (i = 0; i < con->port_cnt; i++)
		port_judge(&con->ports[i]);
	return 0;
}

/* 5.3.4: emerg_wr alone is written, and its low byte is output whatever else was negotiated. */
static int console_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	const uint32_t at = offsetof(struct virtio_console_config, emerg_wr);

	if (off < at)
		return -EINVAL;
	if (off == at)
		vhx_console_port_emit(&console_of(dev)->ports[0], buf, 1);
	return 0;
}

static void console_queue_limits(const struct vhx_device *dev, uint16_t index,
				 struct vhx_device_limits *limits)
{
	limits->max_staged = 0;
	limits->max_in = UINT32_MAX;
	limits->max_out = VHX_CONSOLE_OUT_MAX;
	if (queue_is_input(index))
		limits->max_out = 0;
	if (index != VIRTIO_CONSOLE_CONTROL_TX)
		return;
	limits->max_out = VHX_REQUEST_HEAD_MAX;
	limits->head_len = VHX_REQUEST_HEAD_MAX;
}

/* Ends */

static void end_readable(struct vhx_console_end *e)
{
	vhx_console_port_pump_in(port_of(e));
}

static void end_writable(struct vhx_console_end *e)
{
	vhx_console_port_pump_out(port_of(e));
}

static void end_changed(struct vhx_console_end *e)
{
	struct vhx_console_port *port = port_of(e);

	vhx_log_limited(port->dev->log, &port->limit, vhx_loop_now(port->dev->loop), VHX_LOG_INFO,
			"%s: port %u: %s", port->dev->id, port->index,
			e->online ? "somebody connected" : "nobody is there");
	if (port->ready)
		port_owe(port, 1u << OWED_OPEN);
	vhx_console_port_pump_out(port);
}

static void config_set(struct console *con)
{
	struct virtio_console_resize size;
	struct virtio_console_config config;

	size_get(&con->ports[0], &size);
	config = (struct virtio_console_config){
		.cols = size.cols,
		.rows = size.rows,
		.max_nr_ports = vhx_le32_of(con->port_cnt),
	};
	memcpy(con->dev.config, &config, sizeof(config));
	con->dev.config_len = sizeof(config);
}

static void end_resized(struct vhx_console_end *e)
{
	struct vhx_console_port *port = port_of(e);
	struct console *con = console_of(port->dev);

	if (port->index)
		return;
	config_set(con);
	if (port->ready)
		port_owe(port, 1u << OWED_RESIZE);
	vhx_device_config_changed(port->dev);
}

static const struct vhx_console_end_events end_events = {
	.readable = end_readable,
	.writable = end_writable,
	.changed = end_changed,
	.resized = end_resized,
};

/* Life */

static void console_close(struct vhx_device *dev)
{
	struct console *con = console_of(dev);
	unsigned int i;

	list_drop(&con->control);
	for (i = 0; i < con->port_cnt; i++)
		vhx_console_port_close(&con->ports[i]);
	free(con);
}

static const struct vhx_device_ops console_ops = {
	.name = "console",
	.device_id = VIRTIO_ID_CONSOLE,
	.queue_limits = console_queue_limits,
	.submit = console_submit,
	.room = console_room,
	.reset = console_reset,
	.restarted = console_restarted,
	.set_features = console_set_features,
	.set_config = console_set_config,
	.close = console_close,
};

static int ports_open(struct console *con, const struct vhx_console_config *cfg,
		      struct vhx_error *err)
{
	uint32_t buffer = cfg->buffer ?: VHX_CONSOLE_BUFFER_DEFAULT;
	unsigned int i;
	int ret;

	for (i = 0; i < cfg->port_cnt; i++) {
		con->ports[i].dev = &con->dev;
		con->ports[i].index = i;
		con->port_cnt = i + 1;
		ret = vhx_console_port_open(&con->ports[i], &cfg->ports[i], buffer, cfg->drop,
					    &end_events, err);
		if (ret) {
			vhx_error_prefix(err, "%s: port%u", cfg->id, i);
			return ret;
		}
		con->dev.memory += buffer;
	}
	return 0;
}

static void device_fill(struct console *con, const struct vhx_console_config *cfg)
{
	bool several = cfg->port_cnt > 1;

	con->dev.features = 1ull << VIRTIO_CONSOLE_F_SIZE | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
	if (several)
		con->dev.features |= 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
	con->dev.num_queues = (uint16_t)(several ? 2 * (cfg->port_cnt + 1) : 2);
	con->dev.queue_size_max = cfg->queue_size ?: VHX_CONSOLE_QUEUE_SIZE_MAX;
	con->dev.memory = sizeof(*con);
}

static void ports_log(const struct console *con)
{
	char what[160];
	unsigned int i;

	for (i = 0; i < con->port_cnt; i++) {
		vhx_console_end_describe(&con->ports[i].end, what, sizeof(what));
		vhx_log(con->dev.log, VHX_LOG_INFO, "%s: port %u is %s", con->dev.id, i, what);
	}
}

int vhx_console_new(struct vhx_loop *loop, const struct vhx_console_config *config,
		    const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct console *con = calloc(1, sizeof(*con));
	int ret;

	assert(config->port_cnt && config->port_cnt <= VHX_CONSOLE_PORTS_MAX);
	if (!con) {
		vhx_error_set(err, "%s: out of memory", config->id);
		return -ENOMEM;
	}
	con->cfg = *config;
	con->dev.ops = &console_ops;
	con->dev.log = log;
	con->dev.loop = loop;
	vhx_list_init(&con->control);
	vhx_device_identify(&con->dev, config->id);
	device_fill(con, config);
	ret = ports_open(con, config, err);
	if (ret) {
		console_close(&con->dev);
		return ret;
	}
	config_set(con);
	ports_log(con);
	*device = &con->dev;
	return 0;
}
