// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. A fixed table of peers, and the door that `any` opens. A peer has at most one port, which its owner
 * took over and closes when the channel ends; then the next one begins, after a pause.
 *
 *   FREE --add, knock--> PAUSED --now, or the timer--> OPEN --the port is closed--> PAUSED
 *                           `--remove--> FREE            `--remove--> LEAVING --closed--> FREE
 *
 * A peer by name or UUID without a domain stays PAUSED; one whose domain has changed leaves the port of the old one
 * and begins with the new. One that knocked by itself is FREE when its port is closed: if it is still there, it
 * knocks again.
 *
 * Every line of the log is said once for a state that lasts: a peer tells what it waits for when that changes.
 *
 * A hostile domain that comes and goes costs a ring's registration per VHX_ARGO_PEERS_PAUSE_NS; with `any`, one place
 * in the table.
 */
#include "mediator/argo_peers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "exchange/argo_door.h"

struct peer {
	struct vhx_argo_peers *peers;
	bool used;
	bool knocked; /* it came by itself */
	bool leaving; /* the operator wants it gone */
	bool again; /* it knocked while it had a port */
	struct vhx_argo_spec spec;
	uint16_t domid; /* ARGO_DOMID_ANY: not known */
	struct vhx_port *port; /* its owner's; NULL: none */
	struct vhx_loop_timer timer;
	int told; /* the obstacle that the log knows of */
};

struct vhx_argo_peers {
	struct vhx_argo_peers_config cfg;
	struct peer table[VHX_ARGO_PEERS_MAX];
	struct vhx_argo_door door; /* dev NULL: there is none */
	struct vhx_loop_fd watch; /* of the door */
	struct vhx_loop_timer again;
	struct vhx_log_limit lines;
};

/* What the hypervisor, or the device, says */

static const struct {
	int err;
	enum vhx_log_level level;
	const char *text;
} reasons[] = {
	{ -ESRCH, VHX_LOG_NOTICE, "there is no such domain" },
	{ -ECONNREFUSED, VHX_LOG_INFO, "waits for its frontend" },
	{ -EPERM, VHX_LOG_WARNING, "the hypervisor's policy refuses it" },
	{ -EACCES, VHX_LOG_WARNING, "the hypervisor's policy refuses it" },
	{ -EADDRINUSE, VHX_LOG_WARNING, "another program serves it" },
	{ -EEXIST, VHX_LOG_WARNING, "another program serves it" },
	{ -ENOSYS, VHX_LOG_ERROR, "this Xen was built without Argo" },
	{ -EOPNOTSUPP, VHX_LOG_ERROR, "Argo is off: Xen wants argo=1 on its command line" },
	{ -ENODEV, VHX_LOG_ERROR, "this domain may not use Argo" },
	{ -ENOSPC, VHX_LOG_WARNING, "this domain has as many rings as Xen allows" },
};

static const char *reason_text(int err, enum vhx_log_level *level)
{
	size_t i;

	*level = VHX_LOG_WARNING;
	for (i = 0; i < VHX_ARRAY_SIZE(reasons); i++) {
		if (reasons[i].err != err)
			continue;
		*level = reasons[i].level;
		return reasons[i].text;
	}
	return strerror(-err);
}

static void peer_tell(struct peer *peer, int err)
{
	enum vhx_log_level level;
	const char *text;

	if (err == peer->told)
		return;
	peer->told = err;
	if (!err)
		return;
	text = reason_text(err, &level);
	vhx_log_limited(peer->peers->cfg.log, &peer->peers->lines,
			vhx_loop_now(peer->peers->cfg.loop), level, "domain %u: %s", peer->domid,
			text);
}

/* Peers */

static struct peer *peer_by_domid(struct vhx_argo_peers *p, uint16_t domid)
{
	size_t i;

	for (i = 0; i < VHX_ARGO_PEERS_MAX; i++) {
		if (p->table[i].used && p->table[i].domid == domid)
			return &p->table[i];
	}
	return NULL;
}

static void peer_due(struct vhx_loop_timer *t);

static struct peer *peer_take(struct vhx_argo_peers *p)
{
	size_t i;

	for (i = 0; i < VHX_ARGO_PEERS_MAX; i++) {
		struct peer *peer = &p->table[i];

		if (peer->used)
			continue;
		peer->used = true;
		*peer = (struct peer){
			.peers = p,
			.used = true,
			.domid = ARGO_DOMID_ANY,
			.timer = { .expired = peer_due },
		};
		vhx_list_init(&peer->timer.node);
		return peer;
	}
	return NULL;
}

static void peer_drop(struct peer *peer)
{
	vhx_loop_timer_cancel(peer->peers->cfg.loop, &peer->timer);
	peer->used = false;
}

static void peer_pause(struct peer *peer)
{
	vhx_loop_timer_arm(peer->peers->cfg.loop, &peer->timer, VHX_ARGO_PEERS_PAUSE_NS);
}

static void port_obstacle(void *ctx, int err)
{
	peer_tell(ctx, err);
}

static void port_closed(void *ctx)
{
	struct peer *peer = ctx;

	peer->port = NULL;
	if (peer->leaving || (peer->knocked && !peer->again))
		peer_drop(peer);
	else
		peer_pause(peer);
}

static int peer_open(struct peer *peer)
{
	struct vhx_argo_peers *p = peer->peers;
	struct vhx_argo_config cfg = {
		.port = VHX_ARGO_PORT_BE,
		.peer_port = VHX_ARGO_PORT_FE,
		.partner = peer->domid,
		.ring_len = p->cfg.ring_len,
		.probe_ns = VHX_ARGO_PROBE_NS,
		.check_ns = VHX_ARGO_CHECK_NS,
		.watcher = { port_obstacle, port_closed, peer },
	};
	int ret = p->cfg.endpoint(p->cfg.ctx, &cfg.dev);

	if (!ret)
		ret = vhx_argo_open(&cfg, &peer->port);
	if (ret)
		return ret;
	if (peer->spec.kind == VHX_ARGO_SPEC_NAME || peer->spec.kind == VHX_ARGO_SPEC_UUID)
		vhx_argo_spec_print(&peer->spec, peer->port->peer.alias,
				    sizeof(peer->port->peer.alias));
	p->cfg.met(p->cfg.ctx, peer->port);
	return 0;
}

/* Later it is no more than a line, and another try. */
static void peer_reopen(struct peer *peer)
{
	int ret;

	peer->again = false;
	ret = peer->domid == ARGO_DOMID_ANY ? 0 : peer_open(peer);
	if (!ret)
		return;
	peer_tell(peer, ret);
	if (peer->knocked)
		peer_drop(peer);
	else
		peer_pause(peer);
}

static void peer_due(struct vhx_loop_timer *t)
{
	peer_reopen(vhx_container_of(t, struct peer, timer));
}

/* The door */

/* Its own ring would have taken this: it went with the life of the domain that it was for. */
static void knock_again(struct peer *peer)
{
	if (!peer->port || !vhx_port_ready(peer->port))
		return;
	peer->again = true;
	vhx_argo_leave(peer->port);
}

static void knock(struct vhx_argo_peers *p, uint16_t domid)
{
	struct peer *peer = peer_by_domid(p, domid);

	if (peer) {
		knock_again(peer);
		return;
	}
	peer = peer_take(p);
	if (!peer) {
		vhx_log_limited(p->cfg.log, &p->lines, vhx_loop_now(p->cfg.loop), VHX_LOG_WARNING,
				"domain %u: refused: %u domains are served", domid,
				VHX_ARGO_PEERS_MAX);
		return;
	}
	peer->knocked = true;
	peer->domid = domid;
	vhx_log_limited(p->cfg.log, &p->lines, vhx_loop_now(p->cfg.loop), VHX_LOG_INFO,
			"domain %u: comes", domid);
	peer_reopen(peer);
}

static void door_close(struct vhx_argo_peers *p)
{
	if (!p->door.dev)
		return;
	vhx_loop_fd_del(p->cfg.loop, &p->watch);
	vhx_loop_timer_cancel(p->cfg.loop, &p->again);
	vhx_argo_door_close(&p->door);
}

static void door_drain(struct vhx_argo_peers *p)
{
	uint16_t domid;
	int ret;

	while ((ret = vhx_argo_door_next(&p->door, &domid)) == 1)
		knock(p, domid);
	if (ret < 0) {
		vhx_log(p->cfg.log, VHX_LOG_ERROR,
			"argo:any: the ring is broken; nobody new is met");
		door_close(p);
	} else if (p->door.more) {
		vhx_loop_timer_arm(p->cfg.loop, &p->again, 1);
	}
}

static void door_ready(struct vhx_loop_fd *w, uint32_t events)
{
	door_drain(vhx_container_of(w, struct vhx_argo_peers, watch));
}

static void door_again(struct vhx_loop_timer *t)
{
	door_drain(vhx_container_of(t, struct vhx_argo_peers, again));
}

static int door_add(struct vhx_argo_peers *p, struct vhx_error *err)
{
	enum vhx_log_level ignored;
	struct vhx_argo_dev *dev;
	int ret = p->door.dev ? -EEXIST : p->cfg.endpoint(p->cfg.ctx, &dev);

	if (!ret)
		ret = vhx_argo_door_open(&p->door, dev);
	if (ret) {
		vhx_error_set(err, "argo:any: %s",
			      ret == -EPERM ? "Xen allows no rings for everybody: it wants "
					      "argo=1,mac-permissive=1"
					    : reason_text(ret, &ignored));
		return ret;
	}
	p->watch.fd = p->door.dev->fd;
	ret = vhx_loop_fd_add(p->cfg.loop, &p->watch);
	if (ret) {
		vhx_argo_door_close(&p->door);
		vhx_error_set(err, "argo:any: %s", strerror(-ret));
	}
	return ret;
}

/* What the operator says */

static bool spec_equal(const struct vhx_argo_spec *a, const struct vhx_argo_spec *b)
{
	return a->kind == b->kind && a->domid == b->domid && !strcmp(a->text, b->text);
}

static struct peer *peer_by_spec(struct vhx_argo_peers *p, const struct vhx_argo_spec *spec)
{
	size_t i;

	for (i = 0; i < VHX_ARGO_PEERS_MAX; i++) {
		if (p->table[i].used && spec_equal(&p->table[i].spec, spec))
			return &p->table[i];
	}
	return spec->kind == VHX_ARGO_SPEC_DOMID ? peer_by_domid(p, spec->domid) : NULL;
}

/* Whoever leaves stays; whoever came by itself is expected from now on. */
static int peer_again(struct peer *peer, const struct vhx_argo_spec *spec, struct vhx_error *err)
{
	if (!peer->leaving && !peer->knocked) {
		vhx_error_set(err, "this domain is served already");
		return -EEXIST;
	}
	peer->leaving = peer->knocked = false;
	peer->spec = *spec;
	return 0;
}

static int peer_begin(struct peer *peer, struct vhx_error *err)
{
	enum vhx_log_level ignored;
	int ret;

	peer->domid = peer->spec.domid;
	ret = peer_open(peer);
	if (ret) {
		vhx_error_set(err, "domain %u: %s", peer->domid, reason_text(ret, &ignored));
		peer_drop(peer);
	}
	return ret;
}

int vhx_argo_peers_add(struct vhx_argo_peers *p, const struct vhx_argo_spec *spec, uint32_t *index,
		       struct vhx_error *err)
{
	struct peer *peer;

	if (spec->kind == VHX_ARGO_SPEC_NONE)
		return 0;
	if (spec->kind == VHX_ARGO_SPEC_ANY)
		return door_add(p, err);
	peer = peer_by_spec(p, spec);
	if (peer)
		return peer_again(peer, spec, err);
	peer = peer_take(p);
	if (!peer) {
		vhx_error_set(err, "%u domains are served, which is the most", VHX_ARGO_PEERS_MAX);
		return -ENOSPC;
	}
	peer->spec = *spec;
	if (index)
		*index = (uint32_t)(peer - p->table);
	return spec->kind == VHX_ARGO_SPEC_DOMID ? peer_begin(peer, err) : 0;
}

int vhx_argo_peers_remove(struct vhx_argo_peers *p, uint16_t domid, struct vhx_error *err)
{
	struct peer *peer = peer_by_domid(p, domid);

	if (!peer || peer->leaving || peer->spec.kind != VHX_ARGO_SPEC_DOMID) {
		vhx_error_set(err, "no domain %u was added", domid);
		return -ENOENT;
	}
	if (peer->port) {
		peer->leaving = true;
		vhx_argo_leave(peer->port);
	} else {
		peer_drop(peer);
	}
	return 0;
}

void vhx_argo_peers_found(struct vhx_argo_peers *p, uint32_t index, uint16_t domid)
{
	struct peer *peer = &p->table[index];

	assert(index < VHX_ARGO_PEERS_MAX && peer->used);
	if (domid == peer->domid)
		return;
	peer->domid = domid;
	peer->told = 0;
	vhx_log(p->cfg.log, VHX_LOG_INFO,
		domid == ARGO_DOMID_ANY ? "%s: is gone" : "%s: is domain %u", peer->spec.text,
		domid);
	/* The port of the old one: when it is closed the new one begins. */
	if (peer->port)
		vhx_argo_leave(peer->port);
	else
		peer_reopen(peer);
}

uint32_t vhx_argo_peers_count(const struct vhx_argo_peers *p)
{
	uint32_t i, cnt = 0;

	for (i = 0; i < VHX_ARGO_PEERS_MAX; i++)
		cnt += p->table[i].used;
	return cnt;
}

int vhx_argo_peers_new(const struct vhx_argo_peers_config *cfg, struct vhx_argo_peers **peers)
{
	struct vhx_argo_peers *p = calloc(1, sizeof(*p));
	size_t i;

	if (!p)
		return -ENOMEM;
	p->cfg = *cfg;
	for (i = 0; i < VHX_ARGO_PEERS_MAX; i++)
		vhx_list_init(&p->table[i].timer.node);
	p->watch = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = door_ready };
	p->again.expired = door_again;
	vhx_list_init(&p->again.node);
	*peers = p;
	return 0;
}

void vhx_argo_peers_free(struct vhx_argo_peers *p)
{
	size_t i;

	if (!p)
		return;
	door_close(p);
	for (i = 0; i < VHX_ARGO_PEERS_MAX; i++) {
		assert(!p->table[i].port);
		vhx_loop_timer_cancel(p->cfg.loop, &p->table[i].timer);
	}
	free(p);
}
