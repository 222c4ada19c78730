// SPDX-License-Identifier: BSD-3-Clause
#include "wire/control.h"

enum control_kind {
	KIND_REQUEST,
	KIND_RESPONSE,
};

/* Legal payload sizes: at least @min, at most @max. Messages with a tail check its length where used. */
struct control_rule {
	bool bus;
	uint8_t msg_id;
	enum control_kind kind;
	uint16_t min, max;
};

#define FIXED(type) sizeof(type), sizeof(type)
#define WITH_TAIL(type) sizeof(type), VHX_CONTROL_PAYLOAD_MAX
#define EMPTY 0, 0

static const struct control_rule rules[] = {
	{ false, VIRTIO_MSG_GET_DEVICE_INFO, KIND_REQUEST, EMPTY },
	{ false, VIRTIO_MSG_GET_DEVICE_INFO, KIND_RESPONSE, FIXED(struct virtio_msg_device_info) },
	{ false, VIRTIO_MSG_GET_DEVICE_FEATURES, KIND_REQUEST, FIXED(struct virtio_msg_features) },
	{ false, VIRTIO_MSG_GET_DEVICE_FEATURES, KIND_RESPONSE,
	  WITH_TAIL(struct virtio_msg_features) },
	{ false, VIRTIO_MSG_SET_DRIVER_FEATURES, KIND_REQUEST,
	  WITH_TAIL(struct virtio_msg_features) },
	{ false, VIRTIO_MSG_SET_DRIVER_FEATURES, KIND_RESPONSE, EMPTY },
	{ false, VIRTIO_MSG_GET_CONFIG, KIND_REQUEST, FIXED(struct virtio_msg_get_config) },
	{ false, VIRTIO_MSG_GET_CONFIG, KIND_RESPONSE, WITH_TAIL(struct virtio_msg_config) },
	{ false, VIRTIO_MSG_SET_CONFIG, KIND_REQUEST, WITH_TAIL(struct virtio_msg_config) },
	{ false, VIRTIO_MSG_SET_CONFIG, KIND_RESPONSE, WITH_TAIL(struct virtio_msg_config) },
	{ false, VIRTIO_MSG_GET_DEVICE_STATUS, KIND_REQUEST, EMPTY },
	{ false, VIRTIO_MSG_GET_DEVICE_STATUS, KIND_RESPONSE, FIXED(struct virtio_msg_status) },
	{ false, VIRTIO_MSG_SET_DEVICE_STATUS, KIND_REQUEST, FIXED(struct virtio_msg_status) },
	{ false, VIRTIO_MSG_SET_DEVICE_STATUS, KIND_RESPONSE, FIXED(struct virtio_msg_status) },
	{ false, VIRTIO_MSG_GET_VQUEUE, KIND_REQUEST, FIXED(struct virtio_msg_vq_index) },
	{ false, VIRTIO_MSG_GET_VQUEUE, KIND_RESPONSE, FIXED(struct virtio_msg_get_vqueue_resp) },
	{ false, VIRTIO_MSG_SET_VQUEUE, KIND_REQUEST, FIXED(struct virtio_msg_set_vqueue) },
	{ false, VIRTIO_MSG_SET_VQUEUE, KIND_RESPONSE, EMPTY },
	{ false, VIRTIO_MSG_RESET_VQUEUE, KIND_REQUEST, FIXED(struct virtio_msg_vq_index) },
	{ false, VIRTIO_MSG_RESET_VQUEUE, KIND_RESPONSE, EMPTY },
	{ false, VIRTIO_MSG_GET_SHM, KIND_REQUEST, FIXED(struct virtio_msg_vq_index) },
	{ false, VIRTIO_MSG_GET_SHM, KIND_RESPONSE, FIXED(struct virtio_msg_shm) },
	{ false, VIRTIO_MSG_EVENT_CONFIG, KIND_REQUEST, WITH_TAIL(struct virtio_msg_event_config) },
	{ false, VIRTIO_MSG_VHX_QUEUE_OPEN, KIND_REQUEST, FIXED(struct virtio_msg_vhx_queue_open) },
	{ false, VIRTIO_MSG_VHX_QUEUE_OPEN, KIND_RESPONSE,
	  FIXED(struct virtio_msg_vhx_queue_open_resp) },
	{ true, VIRTIO_MSG_BUS_GET_DEVICES, KIND_REQUEST, FIXED(struct virtio_msg_get_devices) },
	{ true, VIRTIO_MSG_BUS_GET_DEVICES, KIND_RESPONSE,
	  WITH_TAIL(struct virtio_msg_get_devices_resp) },
	{ true, VIRTIO_MSG_BUS_PING, KIND_REQUEST, FIXED(struct virtio_msg_ping) },
	{ true, VIRTIO_MSG_BUS_PING, KIND_RESPONSE, FIXED(struct virtio_msg_ping) },
	{ true, VIRTIO_MSG_BUS_EVENT_DEVICE, KIND_REQUEST, FIXED(struct virtio_msg_event_device) },
	{ true, VIRTIO_MSG_BUS_VHX_ATTACH, KIND_REQUEST, FIXED(struct virtio_msg_vhx_attach) },
	{ true, VIRTIO_MSG_BUS_VHX_ATTACH, KIND_RESPONSE,
	  FIXED(struct virtio_msg_vhx_attach_resp) },
	{ true, VIRTIO_MSG_BUS_VHX_GET_NAME, KIND_REQUEST, FIXED(struct virtio_msg_vhx_get_name) },
	{ true, VIRTIO_MSG_BUS_VHX_GET_NAME, KIND_RESPONSE,
	  FIXED(struct virtio_msg_vhx_get_name_resp) },
};

static const struct control_rule *rule_find(bool bus, bool response, uint8_t msg_id)
{
	enum control_kind kind = response ? KIND_RESPONSE : KIND_REQUEST;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(rules); i++) {
		if (rules[i].bus == bus && rules[i].msg_id == msg_id && rules[i].kind == kind)
			return &rules[i];
	}
	return NULL;
}

uint32_t vhx_control_encode(void *wire, const struct vhx_control *c)
{
	struct virtio_msg_header h = {
		.type = (uint8_t)((c->bus ? VIRTIO_MSG_TYPE_BUS : 0) |
				  (c->response ? VIRTIO_MSG_TYPE_RESPONSE : 0)),
		.msg_id = c->msg_id,
		.dev_num = vhx_le16_of(c->dev_num),
		.token = vhx_le16_of(c->token),
		.msg_size = vhx_le16_of((uint16_t)vhx_control_len(c)),
	};

	memcpy(wire, &h, sizeof(h));
	memcpy((uint8_t *)wire + sizeof(h), c->payload, c->payload_len);
	return vhx_control_len(c);
}

int vhx_control_decode(const void *wire, uint32_t len, struct vhx_control *c)
{
	const struct control_rule *rule;
	struct virtio_msg_header h;

	if (len < sizeof(h) || len > VIRTIO_MSG_MAX)
		return -EPROTO;
	memcpy(&h, wire, sizeof(h));
	if (vhx_le16_get(h.msg_size) != len)
		return -EPROTO;
	/* Bits 7:2 of the type are ignored on receipt, as the draft has it. */
	c->bus = h.type & VIRTIO_MSG_TYPE_BUS;
	c->response = h.type & VIRTIO_MSG_TYPE_RESPONSE;
	c->msg_id = h.msg_id;
	c->dev_num = vhx_le16_get(h.dev_num);
	c->token = vhx_le16_get(h.token);
	c->payload_len = (uint16_t)(len - sizeof(h));
	rule = rule_find(c->bus, c->response, c->msg_id);
	if (!rule || c->payload_len < rule->min || c->payload_len > rule->max)
		return -ENOMSG;
	memcpy(c->payload, (const uint8_t *)wire + sizeof(h), c->payload_len);
	return 0;
}

void *vhx_control_request(struct vhx_control *c, bool bus, uint8_t msg_id, uint16_t dev_num,
			  uint16_t payload_len)
{
	assert(payload_len <= VHX_CONTROL_PAYLOAD_MAX);
	memset(c, 0, sizeof(*c));
	c->bus = bus;
	c->msg_id = msg_id;
	c->dev_num = dev_num;
	c->payload_len = payload_len;
	return c->payload;
}

void *vhx_control_response(struct vhx_control *resp, const struct vhx_control *req,
			   uint16_t payload_len)
{
	vhx_control_request(resp, req->bus, req->msg_id, req->dev_num, payload_len);
	resp->response = true;
	resp->token = req->token;
	return resp->payload;
}
