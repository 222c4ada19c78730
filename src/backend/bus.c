// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a frontend asks of a backend as such: which devices there are, what they are called, that one be its own,
 * whether anybody is there. All answers are given at once.
 */
#include <string.h>

#include "backend/state.h"

struct vhx_backend_device *vhx_backend_device_named(const struct vhx_backend *b, const char *name)
{
	uint32_t i;

	for (i = 0; i < b->slot_cnt; i++) {
		struct vhx_backend_device *bdev = vhx_backend_device_at(b, i);

		if (bdev && !strcmp(bdev->dev->id, name))
			return bdev;
	}
	return NULL;
}

_Static_assert(VHX_DEVICE_PEER_MAX == VHX_PEER_ADDRESS_MAX, "the same texts");

/* Whoever a device is not for does not hear of it. */
static bool is_for(const struct vhx_backend_device *bdev, const struct backend_channel *ch)
{
	const struct vhx_peer *peer = &ch->link.port->peer;
	const char *only = bdev->dev->peer;

	return !only[0] || !strcmp(only, peer->address) || !strcmp(only, peer->alias);
}

static struct vhx_backend_device *device_for(const struct backend_channel *ch, uint32_t num)
{
	struct vhx_backend_device *bdev = vhx_backend_device_at(ch->backend, num);

	return bdev && is_for(bdev, ch) ? bdev : NULL;
}

/* VHX_ATTACH_OK and *@bdev, or why there is none. "": the only one. */
static uint32_t device_find(const struct backend_channel *ch, const char *name,
			    struct vhx_backend_device **bdev)
{
	struct vhx_backend_device *found;
	uint32_t i, cnt = 0;

	for (i = 0; i < ch->backend->slot_cnt; i++) {
		found = device_for(ch, i);
		if (!found || (name[0] && strcmp(found->dev->id, name)))
			continue;
		*bdev = found;
		cnt++;
	}
	if (cnt > 1)
		return VHX_ATTACH_AMBIGUOUS;
	if (cnt)
		return VHX_ATTACH_OK;
	found = vhx_backend_device_named(ch->backend, name);
	if (found)
		vhx_backend_log(ch->backend, VHX_LOG_WARNING, "%s: refused to %s: it is for %s",
				name, ch->link.port->peer.text, found->dev->peer);
	return VHX_ATTACH_UNKNOWN;
}

static uint32_t bdev_take(struct vhx_backend_device *bdev, struct backend_channel *ch)
{
	const struct vhx_peer *peer = &ch->link.port->peer;

	if (bdev->state == BDEV_ATTACHED && bdev->channel == ch)
		return VHX_ATTACH_OK;
	if (bdev->state != BDEV_FREE) {
		vhx_backend_log(ch->backend, VHX_LOG_WARNING, "%s: refused to %s: %s",
				bdev->dev->id, peer->text,
				bdev->state == BDEV_ATTACHED
					? "another channel has it"
					: "its last user's I/O is still ending");
		return VHX_ATTACH_BUSY;
	}
	bdev->state = BDEV_ATTACHED;
	bdev->channel = ch;
	/* What comes from here on is for this one. */
	ch->removed &= ~(1ull << bdev->dev_num);
	vhx_backend_log(ch->backend, VHX_LOG_INFO, "%s: attached by %s", bdev->dev->id, peer->text);
	return VHX_ATTACH_OK;
}

static void attach(struct backend_channel *ch, const struct vhx_control *req)
{
	const struct virtio_msg_vhx_attach *a = (const void *)req->payload;
	struct vhx_backend_device *bdev = NULL;
	struct virtio_msg_vhx_attach_resp *out;
	struct vhx_control resp;
	uint32_t error;

	if (a->name[VHX_NAME_LEN - 1]) {
		vhx_link_fail(&ch->link, -EPROTO);
		return;
	}
	error = device_find(ch, (const char *)a->name, &bdev);
	if (!error)
		error = bdev_take(bdev, ch);
	out = vhx_control_response(&resp, req, sizeof(*out));
	out->error = vhx_le32_of(error);
	if (!error) {
		out->dev_num = vhx_le16_of(bdev->dev_num);
		memcpy(out->cache_id, bdev->dev->cache_id, sizeof(out->cache_id));
		memcpy(out->name, bdev->dev->id, sizeof(out->name));
	}
	vhx_link_control(&ch->link, &resp);
}

static void get_devices(struct backend_channel *ch, const struct vhx_control *req)
{
	const struct virtio_msg_get_devices *g = (const void *)req->payload;
	uint32_t off = vhx_le16_get(g->offset), cnt = vhx_le16_get(g->count), i;
	struct virtio_msg_get_devices_resp *out;
	struct vhx_control resp;
	uint8_t *bitmap;

	cnt = (uint32_t)vhx_min_u64(cnt & ~7u, VHX_BACKEND_DEVICES_MAX);
	out = vhx_control_response(&resp, req, (uint16_t)(sizeof(*out) + cnt / 8));
	out->offset = g->offset;
	out->count = vhx_le16_of((uint16_t)cnt);
	out->next_offset = vhx_le16_of(off + cnt < ch->backend->slot_cnt ? (uint16_t)(off + cnt)
									 : (uint16_t)0);
	bitmap = (uint8_t *)(out + 1);
	for (i = 0; i < cnt; i++) {
		if (device_for(ch, off + i))
			bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
	}
	vhx_link_control(&ch->link, &resp);
}

static void get_name(struct backend_channel *ch, const struct vhx_control *req)
{
	const struct virtio_msg_vhx_get_name *g = (const void *)req->payload;
	const struct vhx_backend_device *bdev = device_for(ch, vhx_le16_get(g->dev_num));
	struct virtio_msg_vhx_get_name_resp *out;
	struct vhx_control resp;

	out = vhx_control_response(&resp, req, sizeof(*out));
	out->error = vhx_le32_of(bdev ? VHX_ATTACH_OK : VHX_ATTACH_UNKNOWN);
	out->dev_num = g->dev_num;
	if (bdev)
		memcpy(out->name, bdev->dev->id, sizeof(out->name));
	vhx_link_control(&ch->link, &resp);
}

static void ping(struct backend_channel *ch, const struct vhx_control *req)
{
	struct vhx_control resp;

	memcpy(vhx_control_response(&resp, req, req->payload_len), req->payload, req->payload_len);
	vhx_link_control(&ch->link, &resp);
}

static const struct {
	uint8_t msg_id;
	void (*handle)(struct backend_channel *ch, const struct vhx_control *req);
} bus_handlers[] = {
	{ VIRTIO_MSG_BUS_GET_DEVICES, get_devices },
	{ VIRTIO_MSG_BUS_PING, ping },
	{ VIRTIO_MSG_BUS_VHX_ATTACH, attach },
	{ VIRTIO_MSG_BUS_VHX_GET_NAME, get_name },
};

void vhx_backend_bus_request(struct backend_channel *ch, const struct vhx_control *req)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(bus_handlers); i++) {
		if (bus_handlers[i].msg_id == req->msg_id)
			bus_handlers[i].handle(ch, req);
	}
}

void vhx_backend_bus_event(const struct vhx_backend_device *bdev, uint16_t state)
{
	struct virtio_msg_event_device *e;
	struct vhx_control event;
	struct vhx_list *pos;

	e = vhx_control_request(&event, true, VIRTIO_MSG_BUS_EVENT_DEVICE, 0, sizeof(*e));
	e->dev_num = vhx_le16_of(bdev->dev_num);
	e->state = vhx_le16_of(state);
	vhx_list_for_each (pos, &bdev->backend->channels) {
		struct backend_channel *ch = vhx_list_entry(pos, struct backend_channel, node);

		if (is_for(bdev, ch))
			vhx_link_control(&ch->link, &event);
	}
}
