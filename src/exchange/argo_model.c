// SPDX-License-Identifier: BSD-3-Clause
/*
 * Endpoints on the model hypervisor: what hmx_argo is to a program, here as function calls.
 *
 * Objects. An endpoint owns its ring's memory and a reference to the host; its event is one that the domain
 * raises for all of its endpoints. Nothing else is shared, so each endpoint may live in a thread of its own. A ring
 * that is bound again gets memory of its own, since the hypervisor knows nothing of our readers.
 */
#include "exchange/argo_model.h"

#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "util/barrier.h"
#include "util/checked.h"

/* Where ports are that nobody chose. */
#define PORT_FREE_FIRST 0x80000000u
#define PORT_TRIES 16u

struct model_dev {
	struct vhx_argo_dev dev; /* dev.fd: the event */
	struct vhx_argo_hv *hv;
	struct argo_ring *ring; /* written by the hypervisor, but for rx_ptr; NULL: none */
	struct vhx_argo_ring_id id;
	bool ends_domain; /* with the endpoint */
};

static struct model_dev *to_model(struct vhx_argo_dev *dev)
{
	return vhx_container_of(dev, struct model_dev, dev);
}

/* The conversion restores the sign of errors, which come zero-extended from some operations. */
static int hypercall(struct model_dev *m, unsigned int cmd, void *arg1, void *arg2, uint64_t arg3,
		     uint64_t arg4)
{
	return (int32_t)vhx_argo_op(m->hv, m->dev.domid, cmd, arg1, arg2, arg3, arg4);
}

static size_t ring_mem_len(uint32_t ring_len)
{
	return sizeof(struct argo_ring) + ring_len;
}

static int ring_register(struct model_dev *m)
{
	struct argo_register_ring reg = {
		.port = m->id.port,
		.partner = m->id.partner,
		.len = m->id.len,
	};
	uint64_t pages = vhx_div_round_up_u64(ring_mem_len(m->id.len), ARGO_PAGE_SIZE);

	return hypercall(m, ARGO_OP_REGISTER_RING, &reg, m->ring, pages, ARGO_REGISTER_FAIL_EXIST);
}

static int ring_register_anywhere(struct model_dev *m)
{
	int err = -EEXIST;

	for (unsigned int i = 0; i < PORT_TRIES && err == -EEXIST; i++) {
		if (getrandom(&m->id.port, sizeof(m->id.port), 0) < 0)
			return -errno;
		m->id.port |= PORT_FREE_FIRST;
		err = ring_register(m);
	}
	return err;
}

static void ring_end(struct model_dev *m)
{
	struct argo_unregister_ring unreg = { .port = m->id.port, .partner = m->id.partner };

	if (!m->ring)
		return;
	hypercall(m, ARGO_OP_UNREGISTER_RING, &unreg, NULL, 0, 0);
	free(m->ring);
	m->ring = NULL;
}

static int model_bind(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		      const struct argo_ring **ring)
{
	struct model_dev *m = to_model(dev);
	int err;

	ring_end(m);
	m->ring = calloc(1, ring_mem_len(id->len));
	if (!m->ring)
		return -ENOMEM;
	m->id = *id;
	err = id->port ? ring_register(m) : ring_register_anywhere(m);
	if (err) {
		free(m->ring);
		m->ring = NULL;
		return err;
	}
	dev->port = m->id.port;
	*ring = m->ring;
	return 0;
}

static int model_send(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		      const struct iovec *iov, unsigned int cnt)
{
	struct model_dev *m = to_model(dev);
	struct argo_send_addr addr = {
		.src = { .port = m->id.port, .domid = ARGO_DOMID_ANY },
		.dst = *dst,
	};
	struct vhx_argo_iov buf[ARGO_IOVS_MAX];
	int ret;

	assert(cnt <= ARGO_IOVS_MAX);
	for (unsigned int i = 0; i < cnt; i++) {
		buf[i] = (struct vhx_argo_iov){
			.base = iov[i].iov_base,
			.len = (uint32_t)iov[i].iov_len,
		};
	}
	ret = hypercall(m, ARGO_OP_SENDV, &addr, buf, cnt, type);
	return ret < 0 ? ret : 0;
}

static uint32_t distance(uint32_t from, uint32_t to, uint32_t len)
{
	return to >= from ? to - from : to + len - from;
}

static int model_consume(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above,
			 uint32_t *tx_ptr)
{
	struct model_dev *m = to_model(dev);
	uint32_t old = vhx_load_relaxed(&m->ring->rx_ptr);
	uint32_t held = distance(old, rx_ptr, m->id.len);

	/* Release: pairs with the hypervisor's acquire of rx_ptr. */
	vhx_store_release(&m->ring->rx_ptr, rx_ptr);
	/* Pairs with the hypervisor's fence between tx_ptr and rx_ptr. */
	vhx_fence_full();
	*tx_ptr = vhx_load_acquire(&m->ring->tx_ptr);
	/* What the old rx_ptr made the ring hold, or more: it may have been filled again by now. */
	held += distance(rx_ptr, *tx_ptr, m->id.len);
	if (held <= above)
		return 0;
	hypercall(m, ARGO_OP_NOTIFY, NULL, NULL, 0, 0);
	return 1;
}

/* As argo_device.c does. */
static int model_query(struct vhx_argo_dev *dev, const struct argo_addr *dst)
{
	struct argo_ring_data_ent ent = { .ring = *dst, .space = UINT32_MAX };
	struct vhx_argo_ring_data ask = { .nent = 1, .data = &ent };
	int ret = hypercall(to_model(dev), ARGO_OP_NOTIFY, &ask, NULL, 0, 0);

	return ret < 0 ? ret : !!(ent.flags & ARGO_RING_EXISTS);
}

/* Registered already: EEXIST. For want of a place or of memory the hypervisor does not look, so that says nothing. */
static int model_check(struct vhx_argo_dev *dev)
{
	struct model_dev *m = to_model(dev);
	int err = m->ring ? ring_register(m) : -ENOENT;

	return err == -EEXIST || err == -ENOSPC || err == -ENOMEM;
}

static bool model_event(struct vhx_argo_dev *dev)
{
	uint64_t count;

	return read(dev->fd, &count, sizeof(count)) == sizeof(count);
}

static void model_close(struct vhx_argo_dev *dev)
{
	struct model_dev *m = to_model(dev);

	ring_end(m);
	vhx_argo_domain_unlisten(m->hv, dev->domid, dev->fd);
	if (m->ends_domain)
		vhx_argo_domain_destroy(m->hv, dev->domid);
	vhx_argo_hv_unref(m->hv);
	free(m);
}

static const struct vhx_argo_dev_ops model_ops = {
	.bind = model_bind,
	.send = model_send,
	.consume = model_consume,
	.query = model_query,
	.check = model_check,
	.event = model_event,
	.close = model_close,
};

int vhx_argo_model_dev_open(struct vhx_argo_hv *hv, uint16_t domid, struct vhx_argo_dev **dev)
{
	struct model_dev *m = calloc(1, sizeof(*m));
	int fd;

	if (!m)
		return -ENOMEM;
	fd = vhx_argo_domain_listen(hv, domid);
	if (fd < 0) {
		free(m);
		return fd;
	}
	m->dev = (struct vhx_argo_dev){
		.ops = &model_ops, .fd = fd, .one_event = true, .domid = domid
	};
	m->hv = vhx_argo_hv_ref(hv);
	*dev = &m->dev;
	return 0;
}

/* Two ports in one host */

static int end_open(struct vhx_argo_hv *hv, uint16_t domid, uint32_t ring_len,
		    struct vhx_port **port)
{
	struct vhx_argo_config cfg = {
		.port = domid == 1 ? VHX_ARGO_PORT_BE : VHX_ARGO_PORT_FE,
		.peer_port = domid == 1 ? VHX_ARGO_PORT_FE : VHX_ARGO_PORT_BE,
		.partner = domid == 1 ? 2 : 1,
		.ring_len = ring_len,
	};
	int err = vhx_argo_model_dev_open(hv, domid, &cfg.dev);

	if (err)
		return err;
	to_model(cfg.dev)->ends_domain = true;
	return vhx_argo_open(&cfg, port);
}

int vhx_argo_model_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	static const struct vhx_argo_hv_config config = { .enabled = true };
	struct vhx_argo_hv *hv = vhx_argo_hv_new(&config);
	int err;

	if (!hv)
		return -ENOMEM;
	err = vhx_argo_domain_create(hv, 1, true, NULL);
	if (!err)
		err = vhx_argo_domain_create(hv, 2, true, NULL);
	if (!err)
		err = end_open(hv, 1, ring_len, &ends[0]);
	if (!err) {
		err = end_open(hv, 2, ring_len, &ends[1]);
		if (err)
			vhx_port_close(ends[0]);
	}
	vhx_argo_hv_unref(hv);
	return err;
}

int vhx_argo_model_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = vhx_argo_model_unmet(ring_len, ends);

	if (err)
		return err;
	/* The second has greeted the first, who answers, and is answered. */
	vhx_port_event(ends[0]);
	vhx_port_event(ends[1]);
	vhx_port_event(ends[0]);
	assert(vhx_port_ready(ends[0]) && vhx_port_ready(ends[1]));
	return 0;
}
