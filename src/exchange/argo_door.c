// SPDX-License-Identifier: BSD-3-Clause
/*
 * Everybody may fill this ring, and keep others from knocking for as long as it stays full. So it is small, drained
 * whole, and those who were refused are always notified.
 */
#include "exchange/argo_door.h"

#include "exchange/argo_meet.h"

/* 63 knocks. Who finds it full tries again. */
#define DOOR_RING_LEN 4032u
/* Messages looked at in one call: a ring full of the smallest. */
#define DOOR_BURST 252u

int vhx_argo_door_open(struct vhx_argo_door *door, struct vhx_argo_dev *dev)
{
	struct vhx_argo_ring_id id = {
		.port = VHX_ARGO_PORT_BE,
		.partner = ARGO_DOMID_ANY,
		.len = DOOR_RING_LEN,
	};
	const struct argo_ring *ring;
	int err = dev->ops->bind(dev, &id, &ring);

	*door = (struct vhx_argo_door){ .dev = err ? NULL : dev };
	if (err)
		vhx_argo_dev_close(dev);
	else
		vhx_argo_reader_init(&door->reader, ring, id.len, sizeof(struct vhx_argo_meet));
	return err;
}

void vhx_argo_door_close(struct vhx_argo_door *door)
{
	vhx_argo_dev_close(door->dev);
	door->dev = NULL;
}

static void door_publish(struct vhx_argo_door *door)
{
	uint32_t tx_ptr;

	if (door->reader.unpublished &&
	    door->dev->ops->consume(door->dev, door->reader.rx_ptr, 0, &tx_ptr) >= 0)
		vhx_argo_reader_published(&door->reader, tx_ptr);
}

static bool knocks(const struct vhx_argo_door *door, const struct vhx_argo_message *msg)
{
	struct vhx_argo_life life;

	return msg->src.port == VHX_ARGO_PORT_FE && msg->type == VHX_ARGO_MEET &&
	       vhx_argo_meet_read(&door->reader, &life) && life.state == VHX_ARGO_HERE;
}

int vhx_argo_door_next(struct vhx_argo_door *door, uint16_t *domid)
{
	const struct vhx_argo_message *msg;
	unsigned int i;
	bool found;
	int ret;

	for (i = 0; i < DOOR_BURST; i++) {
		if (!vhx_argo_reader_holds(&door->reader)) {
			door->dev->ops->event(door->dev);
			door_publish(door);
			if (!vhx_argo_reader_holds(&door->reader))
				break;
		}
		ret = vhx_argo_reader_peek(&door->reader, &msg);
		if (ret < 0)
			return ret;
		*domid = msg->src.domid;
		found = knocks(door, msg);
		vhx_argo_reader_consume(&door->reader);
		if (found)
			return 1;
	}
	door->more = i == DOOR_BURST;
	door_publish(door);
	return 0;
}
