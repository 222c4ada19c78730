// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `argo-model`: a port on Argo's four operations.
 *
 * Objects. Two domains on one model host, each with one ring that only the other may send to. A port owns
 * its domain, its ring memory and a reference to the host; nothing else is shared, so each end may
 * live in a thread of its own.
 *
 * States. READY from the start; GONE when a send is answered with ESRCH or ECONNREFUSED, for that is the only
 * way in which Argo tells of a death, or when the ring holds what the hypervisor would never write.
 *
 * Room. A refused sender is recorded by the hypervisor and woken only by the ring owner's notify. Notifying after
 * each drain would cost a hypercall per pass. It is not needed as long as the ring cannot have refused anything:
 * a send fails only if the ring holds more than `mark`, what it holds at most when the largest message still
 * fits. So when rx_ptr moves, with a full fence between its store and the load of tx_ptr, a notify follows if
 * what the *old* rx_ptr left in the ring is beyond the mark. As long as that rx_ptr stands, every sender that
 * waits has seen at least so much. The hypervisor has the partner of the fence, between tx_ptr and rx_ptr.
 *
 * The hypervisor alone writes the ring, so nothing in it changes after it was published; its length fields
 * are checked all the same. A hostile peer can send any bytes, and fill the ring, which is what credit is for.
 */
#include "exchange/argo_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exchange/argo_hv.h"
#include "util/barrier.h"
#include "util/checked.h"

/*
 * Xen copies a message under the lock of the ring, without preemption: this bounds how long. The other bound is
 * that four of the largest fit a ring, as on every provider.
 */
#define ARGO_MESSAGE_MAX (128u << 10)

/* The smallest ring of a port: messages of 992 bytes. Argo itself would take 48. */
#define ARGO_RING_MIN 4096u

#define ARGO_PORT 0x564858u /* "VHX" */

struct argo_port {
	struct vhx_port port; /* port.fd is the domain's event */
	struct vhx_argo_hv *hv;
	uint16_t domid, partner;
	struct vhx_argo_ring *ring; /* written by the hypervisor, but for rx_ptr */
	uint32_t ring_len;
	uint32_t mark; /* the most that the ring holds without having refused anything */
	uint32_t rx_ptr; /* consumed */
	uint32_t tx_seen; /* ring->tx_ptr as last loaded */
	struct vhx_msg msg;
	uint32_t peeked; /* the footprint of msg, 0: none */
	uint32_t unpublished; /* consumed since ring->rx_ptr was last set */
	int gone;
	bool retry; /* a refusal that promises no event: don't sleep on it */
	uint64_t notifies;
};

static struct argo_port *to_argo(struct vhx_port *p)
{
	return vhx_container_of(p, struct argo_port, port);
}

static uint32_t ring_distance(const struct argo_port *ap, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + ap->ring_len - from;
}

static int argo_fail(struct argo_port *ap, int err)
{
	if (!ap->gone)
		ap->gone = err;
	return ap->gone;
}

static void argo_look(struct argo_port *ap)
{
	/* Acquire: pairs with the hypervisor's release of tx_ptr. */
	ap->tx_seen = vhx_load_acquire(&ap->ring->tx_ptr);
}

static void argo_publish_rx(struct argo_port *ap)
{
	uint32_t held = ap->unpublished;

	if (!held)
		return;
	ap->unpublished = 0;
	/* Release: pairs with the hypervisor's acquire of rx_ptr. */
	vhx_store_release(&ap->ring->rx_ptr, ap->rx_ptr);
	/* Pairs with the hypervisor's fence between tx_ptr and rx_ptr. */
	vhx_fence_full();
	argo_look(ap);
	/* What the old rx_ptr made the ring hold, or more: it may have been filled again by now. */
	held += ring_distance(ap, ap->rx_ptr, ap->tx_seen);
	if (held <= ap->mark)
		return;
	ap->notifies++;
	vhx_argo_op(ap->hv, ap->domid, VHX_ARGO_NOTIFY, NULL, NULL, 0, 0);
}

/* ---- sending ---- */

static int iov_convert(const struct iovec *iov, unsigned int cnt, uint32_t max,
		       struct vhx_argo_iov *out, uint32_t *total)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		if (!vhx_add_u64(sum, iov[i].iov_len, &sum) || sum > max)
			return -EMSGSIZE;
		out[i] = (struct vhx_argo_iov){
			.base = iov[i].iov_base,
			.len = (uint32_t)iov[i].iov_len,
		};
	}
	*total = (uint32_t)sum;
	return 0;
}

/* What the hypervisor's refusal means to the caller. */
static int send_refused(struct argo_port *ap, int err)
{
	if (err == -ESRCH || err == -ECONNREFUSED)
		return argo_fail(ap, -EPIPE);
	if (err != -EAGAIN && err != -EBUSY && err != -ENOMEM)
		return err;
	if (err != -EAGAIN)
		ap->retry = true;
	ap->port.stats.would_blocks++;
	return -EAGAIN;
}

static int argo_send(struct vhx_port *p, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	struct argo_port *ap = to_argo(p);
	struct vhx_argo_send_addr addr = {
		.src = { .port = ARGO_PORT, .domid = ap->domid },
		.dst = { .port = ARGO_PORT, .domid = ap->partner },
	};
	struct vhx_argo_iov buf[VHX_ARGO_IOV_MAX];
	uint32_t total = 0;
	int ret;

	if (ap->gone)
		return ap->gone;
	if (cnt > VHX_ARGO_IOV_MAX)
		return -EINVAL;
	/* A message that tells what was consumed must not arrive before the room is there. */
	argo_publish_rx(ap);
	ret = iov_convert(iov, cnt, p->max_message, buf, &total);
	if (ret)
		return ret;
	/* Errors come zero-extended: the conversion to 32 bits restores their sign. */
	ret = (int32_t)vhx_argo_op(ap->hv, ap->domid, VHX_ARGO_SENDV, &addr, buf, cnt, type);
	if (ret < 0)
		return send_refused(ap, ret);
	ap->retry = false;
	p->stats.sends++;
	p->stats.wakes_sent++; /* every send raises the event */
	p->stats.tx_messages++;
	p->stats.tx_bytes += total;
	return 0;
}

/* ---- receiving ---- */

static void argo_copy_out(const struct argo_port *ap, uint32_t at, void *dst, uint32_t len)
{
	uint32_t first;

	at %= ap->ring_len;
	first = (uint32_t)vhx_min_u64(len, ap->ring_len - at);
	memcpy(dst, ap->ring->data + at, first);
	memcpy((uint8_t *)dst + first, ap->ring->data, len - first);
}

static int argo_fetch(struct argo_port *ap)
{
	uint32_t held = ring_distance(ap, ap->rx_ptr, ap->tx_seen);
	struct vhx_argo_message_header header;
	uint32_t len;

	argo_copy_out(ap, ap->rx_ptr, &header, sizeof(header));
	if (header.len < sizeof(header) || header.source.domid != ap->partner)
		return argo_fail(ap, -EPROTO);
	len = header.len - (uint32_t)sizeof(header);
	if (len > ap->port.max_message || vhx_footprint(len) > held)
		return argo_fail(ap, -EPROTO);
	ap->msg = (struct vhx_msg){ .type = header.message_type, .len = len };
	ap->peeked = vhx_footprint(len);
	return 1;
}

static bool argo_has_message(struct argo_port *ap)
{
	if (ap->peeked || ap->rx_ptr != ap->tx_seen)
		return true;
	argo_look(ap);
	return ap->rx_ptr != ap->tx_seen;
}

static int argo_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	struct argo_port *ap = to_argo(p);
	int ret = 1;

	if (ap->gone == -EPROTO)
		return ap->gone;
	if (!argo_has_message(ap)) {
		argo_publish_rx(ap); /* looks again, on the way */
		if (ap->rx_ptr == ap->tx_seen)
			return ap->gone;
	}
	if (!ap->peeked)
		ret = argo_fetch(ap);
	if (ret == 1)
		*msg = ap->msg;
	return ret;
}

static void argo_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	struct argo_port *ap = to_argo(p);

	assert(ap->peeked && vhx_range_within(off, len, ap->msg.len));
	argo_copy_out(ap, ap->rx_ptr + VHX_SLOT_HEADER + off, dst, len);
}

static void argo_consume(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);

	assert(ap->peeked);
	p->stats.rx_messages++;
	p->stats.rx_bytes += ap->msg.len;
	ap->rx_ptr = (ap->rx_ptr + ap->peeked) % ap->ring_len;
	ap->unpublished += ap->peeked;
	ap->peeked = 0;
	if (ap->unpublished >= ap->ring_len / 4)
		argo_publish_rx(ap);
}

/* ---- waiting ---- */

static int argo_prepare_wait(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);

	argo_publish_rx(ap);
	return ap->gone || ap->retry || argo_has_message(ap);
}

static int argo_event(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);
	uint64_t count;

	if (read(p->fd, &count, sizeof(count)) == sizeof(count))
		p->stats.wakes_taken++;
	return ap->gone;
}

/* ---- the life of a port ---- */

/* The domain ends, its ring with it; senders find nobody there. */
static void argo_close(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);

	vhx_argo_domain_destroy(ap->hv, ap->domid);
	vhx_argo_hv_unref(ap->hv);
	free(ap->ring);
	free(ap);
}

static const struct vhx_port_ops argo_ops = {
	.name = "argo-model",
	.caps = 0,
	.iov_max = VHX_ARGO_IOV_MAX,
	.send = argo_send,
	.peek = argo_peek,
	.read = argo_read,
	.consume = argo_consume,
	.prepare_wait = argo_prepare_wait,
	.event = argo_event,
	.close = argo_close,
};

uint64_t vhx_argo_model_notifies(struct vhx_port *p)
{
	return to_argo(p)->notifies;
}

static uint32_t message_max(uint32_t ring_len)
{
	uint32_t quarter = ring_len / 4 & ~(VHX_SLOT - 1);

	return (uint32_t)vhx_min_u64(ARGO_MESSAGE_MAX, quarter - 2 * VHX_SLOT);
}

static size_t ring_mem_len(uint32_t ring_len)
{
	return sizeof(struct vhx_argo_ring) + ring_len;
}

static struct argo_port *argo_alloc(struct vhx_argo_hv *hv, uint16_t domid, uint16_t partner,
				    uint32_t ring_len)
{
	struct argo_port *ap = calloc(1, sizeof(*ap));

	if (!ap)
		return NULL;
	ap->ring = calloc(1, ring_mem_len(ring_len));
	if (!ap->ring) {
		free(ap);
		return NULL;
	}
	ap->port.ops = &argo_ops;
	ap->port.max_message = message_max(ring_len);
	ap->port.tx_ring_len = ap->port.rx_ring_len = ring_len - VHX_SLOT;
	ap->port.memory = sizeof(*ap) + ring_mem_len(ring_len);
	ap->port.peer.uid = ap->port.peer.gid = ap->port.peer.pid = UINT32_MAX;
	snprintf(ap->port.peer.text, sizeof(ap->port.peer.text), "domain %u", partner);
	ap->mark = ring_len - 2 * VHX_SLOT - vhx_round_up_u32(ap->port.max_message, VHX_SLOT);
	ap->ring_len = ring_len;
	ap->domid = domid;
	ap->partner = partner;
	ap->hv = hv;
	return ap;
}

/* A port that is not yet reachable: its ring needs the other domain to exist. Takes a reference. */
static int argo_port_new(struct vhx_argo_hv *hv, uint16_t domid, uint16_t partner,
			 uint32_t ring_len, struct argo_port **port)
{
	struct argo_port *ap = argo_alloc(hv, domid, partner, ring_len);
	int err;

	if (!ap)
		return -ENOMEM;
	err = vhx_argo_domain_create(hv, domid, true, &ap->port.fd);
	if (err) {
		free(ap->ring);
		free(ap);
		return err;
	}
	vhx_argo_hv_ref(hv);
	*port = ap;
	return 0;
}

static int argo_register(struct argo_port *ap)
{
	struct vhx_argo_register_ring reg = {
		.port = ARGO_PORT,
		.partner = ap->partner,
		.len = ap->ring_len,
	};
	uint64_t pages = vhx_div_round_up_u64(ring_mem_len(ap->ring_len), VHX_ARGO_PAGE);

	return (int)vhx_argo_op(ap->hv, ap->domid, VHX_ARGO_REGISTER_RING, &reg, ap->ring, pages,
				VHX_ARGO_FAIL_EXIST);
}

static int argo_pair_open(struct vhx_argo_hv *hv, uint32_t ring_len, struct vhx_port *ends[2])
{
	struct argo_port *ap[2];
	int err = argo_port_new(hv, 1, 2, ring_len, &ap[0]);

	if (err)
		return err;
	err = argo_port_new(hv, 2, 1, ring_len, &ap[1]);
	if (err)
		goto close_first;
	err = argo_register(ap[0]);
	if (!err)
		err = argo_register(ap[1]);
	if (err)
		goto close_second;
	ends[0] = &ap[0]->port;
	ends[1] = &ap[1]->port;
	return 0;

close_second:
	vhx_port_close(&ap[1]->port);
close_first:
	vhx_port_close(&ap[0]->port);
	return err;
}

int vhx_argo_model_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	static const struct vhx_argo_config config = { .enabled = true };
	struct vhx_argo_hv *hv;
	int err;

	if (ring_len < ARGO_RING_MIN || ring_len > VHX_ARGO_RING_LEN_MAX || ring_len % VHX_SLOT)
		return -EINVAL;
	hv = vhx_argo_hv_new(&config);
	if (!hv)
		return -ENOMEM;
	err = argo_pair_open(hv, ring_len, ends);
	vhx_argo_hv_unref(hv);
	return err;
}
