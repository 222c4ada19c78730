// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: liveness.h. */
#include "frontend/liveness.h"

static void ping_send(struct vhx_liveness *lv)
{
	struct virtio_msg_ping *ping;
	struct vhx_control req;

	ping = vhx_control_request(&req, true, VIRTIO_MSG_BUS_PING, 0, sizeof(*ping));
	ping->data = vhx_le32_of(++lv->pings);
	vhx_link_control(lv->link, &req);
}

static void silence(struct vhx_liveness *lv)
{
	if (lv->pings < VHX_PING_MISSES) {
		ping_send(lv);
		vhx_loop_timer_arm(lv->link->loop, &lv->timer, VHX_PING_NS);
		return;
	}
	lv->gone = true;
	vhx_link_fail(lv->link, -ETIMEDOUT);
}

static void look(struct vhx_liveness *lv)
{
	lv->rx_messages = lv->link->port->stats.rx_messages;
	lv->pings = 0;
	vhx_loop_timer_arm(lv->link->loop, &lv->timer, VHX_PING_NS);
}

static void expired(struct vhx_loop_timer *t)
{
	struct vhx_liveness *lv = vhx_container_of(t, struct vhx_liveness, timer);

	if (!lv->outstanding(lv))
		return;
	if (lv->link->port->stats.rx_messages != lv->rx_messages)
		look(lv);
	else
		silence(lv);
}

void vhx_liveness_init(struct vhx_liveness *lv, bool (*outstanding)(struct vhx_liveness *lv))
{
	*lv = (struct vhx_liveness){ .outstanding = outstanding, .timer = { .expired = expired } };
	vhx_list_init(&lv->timer.node);
}

void vhx_liveness_start(struct vhx_liveness *lv, struct vhx_link *link)
{
	lv->gone = false;
	lv->link = link->port->ops->caps & VHX_PORT_LIVENESS ? NULL : link;
}

void vhx_liveness_pass(struct vhx_liveness *lv)
{
	if (lv->link && !lv->timer.due_ns && !lv->gone && lv->outstanding(lv))
		look(lv);
}

void vhx_liveness_stop(struct vhx_liveness *lv)
{
	if (lv->link)
		vhx_loop_timer_cancel(lv->link->loop, &lv->timer);
	lv->link = NULL;
}
