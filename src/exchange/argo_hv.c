// SPDX-License-Identifier: BSD-3-Clause
/*
 * The model hypervisor.
 *
 * Objects. A host has a fixed table of domains; a domain owns its rings, found by (port, partner), and an
 * eventfd; a ring has a private copy of tx_ptr and its waiters, at most one per sending domain: the payload
 * that the sender waits to find room for. Ring memory belongs to the guest, stays the caller's and must outlive
 * the registration.
 *
 * Locking. One mutex for the whole host, held for an entire operation. So an operation happens at once, as a
 * guest sees it.
 *
 * Order. tx_ptr is stored with release after a message's bytes, the guest loads it with acquire; rx_ptr
 * the other way round. A refused send must not miss an owner that drains just then: the fence between the last
 * tx_ptr and the load of rx_ptr pairs with the one in argo_model.c between rx_ptr and tx_ptr.
 *
 * A hostile guest. Its pointers and lengths are checked in the order of the real interface; rx_ptr is
 * rounded and taken as 0 if it lies outside; tx_ptr is read at registration only. A guest that lies
 * about its own ring only harms what it receives.
 */
#include "exchange/argo_hv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/barrier.h"
#include "util/list.h"

#define SLOT 16u

struct waiter {
	uint16_t domid;
	uint32_t len;
};

struct ring {
	struct vhx_list node; /* of its owner's rings */
	uint32_t port;
	uint16_t partner;
	uint32_t len;
	uint32_t tx_ptr; /* the one that counts */
	struct argo_ring *mem;
	struct waiter waiters[VHX_ARGO_WAITERS_MAX];
	uint32_t waiter_cnt;
};

struct domain {
	bool exists;
	bool uses_argo;
	uint16_t domid;
	int event_fd;
	int listeners[VHX_ARGO_LISTENERS_MAX];
	uint32_t listener_cnt;
	struct vhx_list rings;
	uint32_t ring_cnt;
};

struct vhx_argo_hv {
	pthread_mutex_t lock;
	uint32_t refs;
	struct vhx_argo_hv_config config;
	struct domain domains[VHX_ARGO_DOMAINS_MAX];
};

static uint32_t round_up_slot(uint32_t v)
{
	return (v + SLOT - 1) & ~(SLOT - 1);
}

/* ---- rings: the space rules of the interface ---- */

/* Untrusted: rounded, and 0 if it is outside. */
static uint32_t ring_rx_ptr(const struct ring *r)
{
	/* Acquire: pairs with the owner's release of rx_ptr, its reads are over. */
	uint32_t rx = vhx_load_acquire(&r->mem->rx_ptr);

	if (rx >= r->len)
		return 0;
	rx = round_up_slot(rx);
	return rx >= r->len ? 0 : rx;
}

static uint32_t ring_free(const struct ring *r)
{
	uint32_t rx;

	/* Pairs with the fence in argo_model.c between its rx_ptr and its look at tx_ptr. */
	vhx_fence_full();
	rx = ring_rx_ptr(r);
	if (rx == r->tx_ptr)
		return r->len;
	return rx > r->tx_ptr ? rx - r->tx_ptr : r->len - (r->tx_ptr - rx);
}

/* The largest payload that is promised to fit now. */
static uint32_t ring_space(const struct ring *r)
{
	uint32_t left = ring_free(r);

	return left > 2 * SLOT ? left - 2 * SLOT : 0;
}

static uint32_t ring_message_max(const struct ring *r)
{
	return r->len - 2 * SLOT;
}

static bool ring_accepts(const struct ring *r, uint32_t len)
{
	return round_up_slot(len) + SLOT < ring_free(r);
}

static uint32_t ring_copy_in(struct ring *r, uint32_t at, const void *src, uint32_t len)
{
	uint32_t first = (uint32_t)vhx_min_u64(len, r->len - at);
	uint8_t *data = (uint8_t *)(r->mem + 1);

	memcpy(data + at, src, first);
	memcpy(data, (const uint8_t *)src + first, len - first);
	return (at + len) % r->len;
}

static struct waiter *ring_waiter(struct ring *r, uint16_t domid)
{
	for (uint32_t i = 0; i < r->waiter_cnt; i++) {
		if (r->waiters[i].domid == domid)
			return &r->waiters[i];
	}
	return NULL;
}

static void ring_waiter_remove(struct ring *r, struct waiter *w)
{
	*w = r->waiters[--r->waiter_cnt];
}

/* A larger request raises what is waited for, a smaller one does not lower it. */
static int ring_wait(struct ring *r, uint16_t domid, uint32_t len)
{
	struct waiter *w = ring_waiter(r, domid);

	if (!w) {
		if (r->waiter_cnt == VHX_ARGO_WAITERS_MAX)
			return -EBUSY;
		w = &r->waiters[r->waiter_cnt++];
		*w = (struct waiter){ .domid = domid };
	}
	w->len = (uint32_t)vhx_max_u64(w->len, len);
	return 0;
}

/* ---- domains ---- */

static struct domain *domain_find(struct vhx_argo_hv *hv, uint16_t domid)
{
	for (size_t i = 0; i < VHX_ARGO_DOMAINS_MAX; i++) {
		if (hv->domains[i].exists && hv->domains[i].domid == domid)
			return &hv->domains[i];
	}
	return NULL;
}

/* Coalesces; a full counter is pending anyway. */
static void event_raise(int fd)
{
	uint64_t one = 1;
	ssize_t ret = write(fd, &one, sizeof(one));

	(void)ret;
}

/* VIRQ_ARGO. */
static void domain_signal(struct domain *d)
{
	event_raise(d->event_fd);
	for (uint32_t i = 0; i < d->listener_cnt; i++)
		event_raise(d->listeners[i]);
}

static struct ring *domain_ring(struct domain *d, uint32_t port, uint16_t partner)
{
	struct vhx_list *pos;

	vhx_list_for_each (pos, &d->rings) {
		struct ring *r = vhx_list_entry(pos, struct ring, node);

		if (r->port == port && r->partner == partner)
			return r;
	}
	return NULL;
}

/* Where a message from @src to @port goes: the exact partner's ring first, then the wildcard one. */
static struct ring *domain_ring_for(struct domain *d, uint32_t port, uint16_t src)
{
	struct ring *r = domain_ring(d, port, src);

	return r ? r : domain_ring(d, port, ARGO_DOMID_ANY);
}

static void ring_drop(struct domain *owner, struct ring *r)
{
	vhx_list_del(&r->node);
	owner->ring_cnt--;
	free(r);
}

static void domain_drop_rings(struct domain *d)
{
	while (!vhx_list_empty(&d->rings))
		ring_drop(d, vhx_list_first_entry(&d->rings, struct ring, node));
}

/* @d no longer knows of a domain that ended: its ring and its waits. */
static void domain_forget(struct domain *d, uint16_t gone)
{
	struct vhx_list *pos, *tmp;

	vhx_list_for_each_safe (pos, tmp, &d->rings) {
		struct ring *r = vhx_list_entry(pos, struct ring, node);
		struct waiter *w = ring_waiter(r, gone);

		if (w)
			ring_waiter_remove(r, w);
		if (r->partner == gone)
			ring_drop(d, r);
	}
}

static void domain_end(struct domain *d)
{
	domain_drop_rings(d);
	close(d->event_fd);
	d->exists = false;
}

static int domain_begin(struct domain *d, uint16_t domid, bool uses_argo)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	*d = (struct domain){
		.exists = true,
		.uses_argo = uses_argo,
		.domid = domid,
		.event_fd = fd,
	};
	vhx_list_init(&d->rings);
	return 0;
}

static struct domain *domain_slot(struct vhx_argo_hv *hv)
{
	for (size_t i = 0; i < VHX_ARGO_DOMAINS_MAX; i++) {
		if (!hv->domains[i].exists)
			return &hv->domains[i];
	}
	return NULL;
}

int vhx_argo_domain_create(struct vhx_argo_hv *hv, uint16_t domid, bool uses_argo, int *event_fd)
{
	struct domain *d;
	int err = -EEXIST;

	pthread_mutex_lock(&hv->lock);
	if (domain_find(hv, domid))
		goto unlock;
	err = -ENOSPC;
	d = domain_slot(hv);
	if (!d)
		goto unlock;
	err = domain_begin(d, domid, uses_argo);
	if (!err && event_fd)
		*event_fd = d->event_fd;
unlock:
	pthread_mutex_unlock(&hv->lock);
	return err;
}

int vhx_argo_domain_listen(struct vhx_argo_hv *hv, uint16_t domid)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct domain *d;
	bool added = false;

	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&hv->lock);
	d = domain_find(hv, domid);
	if (d && d->listener_cnt < VHX_ARGO_LISTENERS_MAX) {
		d->listeners[d->listener_cnt++] = fd;
		added = true;
	}
	pthread_mutex_unlock(&hv->lock);
	if (added)
		return fd;
	close(fd);
	return -ENOSPC;
}

static void listener_remove(struct domain *d, int fd)
{
	for (uint32_t i = 0; i < d->listener_cnt; i++) {
		if (d->listeners[i] == fd)
			d->listeners[i] = d->listeners[--d->listener_cnt];
	}
}

void vhx_argo_domain_unlisten(struct vhx_argo_hv *hv, uint16_t domid, int fd)
{
	struct domain *d;

	pthread_mutex_lock(&hv->lock);
	d = domain_find(hv, domid);
	if (d)
		listener_remove(d, fd);
	pthread_mutex_unlock(&hv->lock);
	close(fd);
}

void vhx_argo_domain_destroy(struct vhx_argo_hv *hv, uint16_t domid)
{
	struct domain *d;

	pthread_mutex_lock(&hv->lock);
	d = domain_find(hv, domid);
	if (d) {
		domain_end(d);
		for (size_t i = 0; i < VHX_ARGO_DOMAINS_MAX; i++) {
			if (hv->domains[i].exists)
				domain_forget(&hv->domains[i], domid);
		}
	}
	pthread_mutex_unlock(&hv->lock);
}

/* ---- the host ---- */

struct vhx_argo_hv *vhx_argo_hv_new(const struct vhx_argo_hv_config *config)
{
	struct vhx_argo_hv *hv = calloc(1, sizeof(*hv));

	if (!hv)
		return NULL;
	pthread_mutex_init(&hv->lock, NULL);
	hv->refs = 1;
	hv->config = *config;
	return hv;
}

struct vhx_argo_hv *vhx_argo_hv_ref(struct vhx_argo_hv *hv)
{
	pthread_mutex_lock(&hv->lock);
	hv->refs++;
	pthread_mutex_unlock(&hv->lock);
	return hv;
}

static void hv_free(struct vhx_argo_hv *hv)
{
	for (size_t i = 0; i < VHX_ARGO_DOMAINS_MAX; i++) {
		if (hv->domains[i].exists)
			domain_end(&hv->domains[i]);
	}
	pthread_mutex_destroy(&hv->lock);
	free(hv);
}

void vhx_argo_hv_unref(struct vhx_argo_hv *hv)
{
	bool last;

	if (!hv)
		return;
	pthread_mutex_lock(&hv->lock);
	last = --hv->refs == 0;
	pthread_mutex_unlock(&hv->lock);
	if (last)
		hv_free(hv);
}

/* ---- the four operations ---- */

struct call {
	struct vhx_argo_hv *hv;
	struct domain *caller;
	void *arg1, *arg2;
	uint32_t arg3, arg4;
};

static uint32_t pages_for(uint32_t len)
{
	return (uint32_t)((len + sizeof(struct argo_ring) + ARGO_PAGE_SIZE - 1) / ARGO_PAGE_SIZE);
}

static bool ring_len_valid(uint32_t len)
{
	return len >= ARGO_RING_LEN_MIN && len <= VHX_ARGO_RING_LEN_MAX && len % SLOT == 0;
}

/* The arguments of a registration, without regard to who is there. */
static int register_check(const struct call *c)
{
	const struct argo_register_ring *reg = c->arg1;

	if (c->arg3 > ARGO_PAGES_MAX)
		return -EINVAL;
	if (!c->arg2)
		return -EFAULT;
	if (c->arg4 & ~ARGO_REGISTER_FAIL_EXIST)
		return -EINVAL;
	if (!reg)
		return -EFAULT;
	if (reg->pad || !ring_len_valid(reg->len) || c->arg3 != pages_for(reg->len))
		return -EINVAL;
	return 0;
}

static int register_allowed(const struct call *c, uint16_t partner)
{
	if (!c->hv->config.may_register)
		return 0;
	return c->hv->config.may_register(c->caller->domid, partner);
}

static int register_check_partner(const struct call *c, uint16_t partner)
{
	struct domain *d = NULL;
	int err;

	if (partner == ARGO_DOMID_ANY) {
		if (!c->hv->config.mac_permissive)
			return -EPERM;
	} else {
		d = domain_find(c->hv, partner);
		if (!d)
			return -ESRCH;
		err = register_allowed(c, partner);
		if (err)
			return err;
	}
	if (!c->caller->uses_argo)
		return -ENODEV;
	return d && !d->uses_argo ? -ECONNREFUSED : 0;
}

/* Keeps the tx_ptr that the guest shows if it can be right, else starts where the guest reads. */
static void ring_place(struct ring *r, struct argo_ring *mem)
{
	uint32_t tx = vhx_load_relaxed(&mem->tx_ptr);

	r->mem = mem;
	r->tx_ptr = tx < r->len && tx % SLOT == 0 ? tx : ring_rx_ptr(r);
	vhx_store_relaxed(&mem->tx_ptr, r->tx_ptr);
}

static int64_t op_register(struct call *c)
{
	const struct argo_register_ring *reg = c->arg1;
	struct domain *d = c->caller;
	struct ring *r;
	int err = register_check(c);

	if (!err)
		err = register_check_partner(c, reg->partner);
	if (err)
		return err;
	if (d->ring_cnt >= ARGO_RINGS_MAX)
		return -ENOSPC;
	r = domain_ring(d, reg->port, reg->partner);
	if (r) {
		if ((c->arg4 & ARGO_REGISTER_FAIL_EXIST) || r->len != reg->len)
			return -EEXIST;
		/* The count goes up for a ring that was there before: what the real one does. */
		d->ring_cnt++;
		ring_place(r, c->arg2);
		return 0;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->port = reg->port;
	r->partner = reg->partner;
	r->len = reg->len;
	vhx_list_init(&r->node);
	vhx_list_add_tail(&d->rings, &r->node);
	d->ring_cnt++;
	ring_place(r, c->arg2);
	return 0;
}

static int64_t op_unregister(struct call *c)
{
	const struct argo_unregister_ring *unreg = c->arg1;
	struct ring *r;

	if (c->arg2 || c->arg3 || c->arg4)
		return -EINVAL;
	if (!unreg)
		return -EFAULT;
	if (unreg->pad)
		return -EINVAL;
	if (!c->caller->uses_argo)
		return -ENODEV;
	r = domain_ring(c->caller, unreg->port, unreg->partner);
	if (!r)
		return -ENOENT;
	ring_drop(c->caller, r);
	return 0;
}

static int sendv_check(const struct call *c)
{
	const struct argo_send_addr *addr = c->arg1;

	if (!addr)
		return -EFAULT;
	if (c->arg3 > ARGO_IOVS_MAX)
		return -EINVAL;
	if (c->arg3 && !c->arg2)
		return -EFAULT;
	if (addr->src.pad || addr->dst.pad)
		return -EINVAL;
	if (addr->src.domid != ARGO_DOMID_ANY && addr->src.domid != c->caller->domid)
		return -EPERM;
	return 0;
}

/* Where the message goes, by *@dst and *@ring. */
static int sendv_find(const struct call *c, struct domain **dst, struct ring **ring)
{
	const struct argo_send_addr *addr = c->arg1;
	int err;

	*dst = domain_find(c->hv, addr->dst.domid);
	if (!*dst)
		return -ESRCH;
	err = c->hv->config.may_send ? c->hv->config.may_send(c->caller->domid, (*dst)->domid) : 0;
	if (err)
		return err;
	if (!c->caller->uses_argo)
		return -ENODEV;
	if (!(*dst)->uses_argo)
		return -ECONNREFUSED;
	*ring = domain_ring_for(*dst, addr->dst.port, c->caller->domid);
	return *ring ? 0 : -ECONNREFUSED;
}

static int sendv_total(const struct vhx_argo_iov *iov, uint32_t cnt, uint32_t *total)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		if (iov[i].pad || iov[i].len > VHX_ARGO_MESSAGE_MAX)
			return -EINVAL;
		sum += iov[i].len;
	}
	if (sum > VHX_ARGO_MESSAGE_MAX)
		return -EMSGSIZE;
	*total = (uint32_t)sum;
	return 0;
}

static bool sendv_readable(const struct vhx_argo_iov *iov, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (iov[i].len && !iov[i].base)
			return false;
	}
	return true;
}

/* All bytes first, then tx_ptr: a message is there whole or not at all. */
static void sendv_copy(const struct call *c, struct ring *r, uint32_t total)
{
	const struct argo_send_addr *addr = c->arg1;
	const struct vhx_argo_iov *iov = c->arg2;
	struct argo_message header = {
		.len = total + SLOT,
		.src = { .port = addr->src.port, .domid = c->caller->domid },
		.type = c->arg4,
	};
	uint32_t at = ring_copy_in(r, r->tx_ptr, &header, sizeof(header));

	for (uint32_t i = 0; i < c->arg3; i++) {
		if (iov[i].len)
			at = ring_copy_in(r, at, iov[i].base, iov[i].len);
	}
	r->tx_ptr = round_up_slot(at) % r->len;
	/* Release: pairs with the acquire in the owner's look at tx_ptr. */
	vhx_store_release(&r->mem->tx_ptr, r->tx_ptr);
}

static int64_t sendv_perform(struct call *c)
{
	struct domain *dst;
	struct ring *r;
	uint32_t total = 0;
	int err = sendv_check(c);

	if (!err)
		err = sendv_find(c, &dst, &r);
	if (!err)
		err = sendv_total(c->arg2, c->arg3, &total);
	if (err)
		return err;
	if (total > ring_message_max(r))
		return -EMSGSIZE;
	if (!ring_accepts(r, total)) {
		err = ring_wait(r, c->caller->domid, total);
		return err ? err : -EAGAIN;
	}
	if (!sendv_readable(c->arg2, c->arg3))
		return -EFAULT;
	sendv_copy(c, r, total);
	domain_signal(dst);
	return total;
}

/* The real one mixes a signed error with an unsigned length. */
static int64_t op_sendv(struct call *c)
{
	return (uint32_t)sendv_perform(c);
}

/* Wakes every waiter whose message fits by now, all of them at once. */
static void notify_ring(struct vhx_argo_hv *hv, struct ring *r)
{
	uint32_t space = ring_space(r);

	for (uint32_t i = 0; i < r->waiter_cnt && space;) {
		struct domain *d = domain_find(hv, r->waiters[i].domid);

		if (r->waiters[i].len > space) {
			i++;
			continue;
		}
		ring_waiter_remove(r, &r->waiters[i]);
		if (d)
			domain_signal(d);
	}
}

static void notify_room(struct call *c, struct ring *r, struct argo_ring_data_ent *ent)
{
	struct waiter *w = ring_waiter(r, c->caller->domid);

	if (ent->space > ring_message_max(r)) {
		ent->flags |= ARGO_RING_EMSGSIZE;
	} else if (ring_space(r) >= ent->space) {
		ent->flags |= ARGO_RING_SUFFICIENT;
		if (w)
			ring_waiter_remove(r, w);
	} else if (ring_wait(r, c->caller->domid, ent->space)) {
		ent->flags |= ARGO_RING_EBUSY;
	}
}

static int notify_entry(struct call *c, struct argo_ring_data_ent *ent)
{
	struct domain *d = domain_find(c->hv, ent->ring.domid);
	struct ring *r;

	ent->flags = 0;
	if (!d || !d->uses_argo)
		return 0;
	if (c->hv->config.may_send) {
		int err = c->hv->config.may_send(c->caller->domid, d->domid);

		if (err)
			return err;
	}
	r = domain_ring_for(d, ent->ring.port, c->caller->domid);
	if (!r)
		return 0;
	ent->flags = ARGO_RING_EXISTS;
	if (r->partner == ARGO_DOMID_ANY)
		ent->flags |= ARGO_RING_SHARED;
	if (ring_rx_ptr(r) == r->tx_ptr)
		ent->flags |= ARGO_RING_EMPTY;
	ent->max_message = ring_message_max(r);
	notify_room(c, r, ent);
	return 0;
}

static int64_t op_notify(struct call *c)
{
	struct vhx_argo_ring_data *ask = c->arg1;
	struct vhx_list *pos;
	int err = 0;

	if (c->arg2 || c->arg3 || c->arg4)
		return -EINVAL;
	if (!c->caller->uses_argo)
		return -ENODEV;
	vhx_list_for_each (pos, &c->caller->rings)
		notify_ring(c->hv, vhx_list_entry(pos, struct ring, node));
	if (!ask)
		return 0;
	if (ask->nent > ARGO_NOTIFY_MAX)
		return -EACCES;
	if (ask->nent && !ask->data)
		return -EFAULT;
	for (uint32_t i = 0; i < ask->nent && !err; i++)
		err = notify_entry(c, &ask->data[i]);
	return err;
}

static int64_t (*const operations[])(struct call *c) = {
	[ARGO_OP_REGISTER_RING] = op_register,
	[ARGO_OP_UNREGISTER_RING] = op_unregister,
	[ARGO_OP_SENDV] = op_sendv,
	[ARGO_OP_NOTIFY] = op_notify,
};

int64_t vhx_argo_op(struct vhx_argo_hv *hv, uint16_t caller, unsigned int cmd, void *arg1,
		    void *arg2, uint64_t arg3, uint64_t arg4)
{
	struct call c = { .hv = hv, .arg1 = arg1, .arg2 = arg2 };
	int64_t ret;

	if (arg3 > UINT32_MAX || arg4 > UINT32_MAX)
		return -EINVAL;
	if (!hv->config.enabled)
		return -EOPNOTSUPP;
	if (cmd >= VHX_ARRAY_SIZE(operations) || !operations[cmd])
		return -EOPNOTSUPP;
	c.arg3 = (uint32_t)arg3;
	c.arg4 = (uint32_t)arg4;
	pthread_mutex_lock(&hv->lock);
	c.caller = domain_find(hv, caller);
	/* A domain that ended makes no calls; what runs on in this process for it gets an error. */
	ret = c.caller ? operations[cmd](&c) : -ENODEV;
	pthread_mutex_unlock(&hv->lock);
	return ret;
}
