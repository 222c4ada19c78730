// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * There is no sequence logic. A table has a row per request of the protocol: when it is due, what it says, what its
 * answer means. As long as no answer is outstanding, the first row that is due is sent; its being sent, or
 * answered, makes it due no longer. So the order of a start is the order of the table, and a reconnection is the
 * same start.
 *
 *   disconnected --connect--> [identify rows] --identified()--> [start and stop rows, as rings are wanted]
 *        ^                                                              |
 *        +--------------------- disconnect, by the owner ---------------+
 *
 * A ring goes up step by step (size, base, addresses, call, kick, enable) and comes down in one, GET_VRING_BASE,
 * whose answer says that the back-end touches it no more. Features change only while no ring is up.
 *
 * A request without an answer of its own is acknowledged where the back-end can (REPLY_ACK). Where it cannot, its
 * having been sent has to do.
 *
 * A hostile back-end can answer wrongly or not at all, at any time. Answers are copied by the codec; each is
 * checked for the request that it answers, its length and its index. Numbers that it gives (features, queues, config) are
 * the owner's to judge. Descriptors that it sends are closed, but for that of GET_INFLIGHT_FD, which is kept and
 * given back, never mapped. Its own requests are answered "no", except that its config changed, which
 * makes us read it again, once at a time.
 */
#include "vhost_user/client.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What we make use of, where it is offered. */
#define PROTOCOL_USED                                                                \
	(VHX_VU_P_MQ | VHX_VU_P_REPLY_ACK | VHX_VU_P_BACKEND_REQ | VHX_VU_P_CONFIG | \
	 VHX_VU_P_INFLIGHT_SHMFD)

/* Requests of the back-end that are read in one go: whoever sends more waits for his turn. */
#define BACKEND_REQUESTS_MAX 16

enum ring_step {
	RING_IDLE,
	RING_SIZED,
	RING_BASED,
	RING_PLACED,
	RING_CALLED,
	RING_KICKED,
	RING_ENABLED,
};

enum once {
	ONCE_FEATURES,
	ONCE_PROTOCOL_GET,
	ONCE_PROTOCOL_SET,
	ONCE_OWNER,
	ONCE_QUEUE_NUM,
	ONCE_BACKEND,
	ONCE_MEMORY,
	ONCE_DRIVER_FEATURES,
	ONCE_INFLIGHT,
};

struct vhx_vu_step {
	uint32_t request;
	bool (*due)(struct vhx_vu_client *c);
	/* The payload into @p, a descriptor into *@fd. Its length. */
	uint32_t (*fill)(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd);
	/* The answer. 0 or negative. NULL: there is none but an acknowledgement. */
	int (*answer)(struct vhx_vu_client *c, struct vhx_vu_message *m);
	/* It is done: sent, acknowledged or answered. */
	void (*taken)(struct vhx_vu_client *c);
	/* An acknowledgement may say no. NULL: then the back-end is of no use. */
	void (*refused)(struct vhx_vu_client *c);
};

static bool once_due(const struct vhx_vu_client *c, enum once what)
{
	return !(c->done >> what & 1);
}

static void once_taken(struct vhx_vu_client *c, enum once what)
{
	c->done |= 1u << what;
}

static bool has_protocol(const struct vhx_vu_client *c)
{
	return c->features & VHX_VU_F_PROTOCOL_FEATURES;
}

static uint32_t fill_nothing(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	return 0;
}

static int u64_get(const struct vhx_vu_message *m, uint64_t *value)
{
	if (m->hdr.size != sizeof(*value))
		return -EPROTO;
	*value = m->payload.u64;
	return 0;
}

/* Identify */

static bool features_due(struct vhx_vu_client *c)
{
	return once_due(c, ONCE_FEATURES);
}

static int features_answer(struct vhx_vu_client *c, struct vhx_vu_message *m)
{
	once_taken(c, ONCE_FEATURES);
	return u64_get(m, &c->features);
}

static bool protocol_get_due(struct vhx_vu_client *c)
{
	return has_protocol(c) && once_due(c, ONCE_PROTOCOL_GET);
}

static int protocol_get_answer(struct vhx_vu_client *c, struct vhx_vu_message *m)
{
	uint64_t offered = 0;
	int ret = u64_get(m, &offered);

	once_taken(c, ONCE_PROTOCOL_GET);
	c->protocol = offered & PROTOCOL_USED;
	if (!c->cfg.inflight)
		c->protocol &= ~VHX_VU_P_INFLIGHT_SHMFD;
	return ret;
}

static bool protocol_set_due(struct vhx_vu_client *c)
{
	return has_protocol(c) && once_due(c, ONCE_PROTOCOL_SET);
}

static uint32_t protocol_set_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->u64 = c->protocol;
	return sizeof(p->u64);
}

static void protocol_set_taken(struct vhx_vu_client *c)
{
	once_taken(c, ONCE_PROTOCOL_SET);
}

static bool queue_num_due(struct vhx_vu_client *c)
{
	return vhx_vu_client_has(c, VHX_VU_P_MQ) && once_due(c, ONCE_QUEUE_NUM);
}

static int queue_num_answer(struct vhx_vu_client *c, struct vhx_vu_message *m)
{
	once_taken(c, ONCE_QUEUE_NUM);
	return u64_get(m, &c->queue_num);
}

static bool backend_due(struct vhx_vu_client *c)
{
	return c->backend_peer >= 0 && vhx_vu_client_has(c, VHX_VU_P_BACKEND_REQ) &&
	       once_due(c, ONCE_BACKEND);
}

static uint32_t backend_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	*fd = c->backend_peer;
	return 0;
}

static void backend_taken(struct vhx_vu_client *c)
{
	once_taken(c, ONCE_BACKEND);
	close(c->backend_peer);
	c->backend_peer = -1;
}

static bool owner_due(struct vhx_vu_client *c)
{
	return once_due(c, ONCE_OWNER);
}

static void owner_taken(struct vhx_vu_client *c)
{
	once_taken(c, ONCE_OWNER);
}

/* The config space */

static bool config_get_due(struct vhx_vu_client *c)
{
	return c->config_due && c->cfg.config_len && vhx_vu_client_has(c, VHX_VU_P_CONFIG);
}

static uint32_t config_get_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->config.off = 0;
	p->config.size = c->cfg.config_len;
	p->config.flags = 0;
	c->config_due = false;
	return VHX_VU_CONFIG_HDR + c->cfg.config_len;
}

static int config_get_answer(struct vhx_vu_client *c, struct vhx_vu_message *m)
{
	const struct vhx_vu_config_space *space = &m->payload.config;

	/* Its way to say that it cannot is an answer of no length. */
	if (m->hdr.size != VHX_VU_CONFIG_HDR + c->cfg.config_len || space->off ||
	    space->size != c->cfg.config_len)
		return m->hdr.size ? -EPROTO : -EREMOTEIO;
	memcpy(c->config, space->data, c->cfg.config_len);
	if (c->identified)
		c->cfg.ops->config_read(c->cfg.ctx);
	return 0;
}

static bool config_set_due(struct vhx_vu_client *c)
{
	unsigned int i;

	for (i = 0; i < c->writes_cnt; i++) {
		c->at = (uint16_t)i;
		if (c->writes[i].due)
			return c->identified && vhx_vu_client_has(c, VHX_VU_P_CONFIG);
	}
	return false;
}

static uint32_t config_set_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	struct vhx_vu_client_write *w = &c->writes[c->at];

	p->config.off = w->off;
	p->config.size = w->len;
	p->config.flags = 0;
	memcpy(p->config.data, w->bytes, w->len);
	w->due = false;
	return VHX_VU_CONFIG_HDR + w->len;
}

static void config_set_refused(struct vhx_vu_client *c)
{
	c->config_due = true;
}

/* Rings */

static bool ring_at(struct vhx_vu_client *c, enum ring_step step)
{
	uint16_t i;

	if (!c->driver_ready || !c->identified)
		return false;
	for (i = 0; i < c->cfg.num_rings; i++) {
		c->at = i;
		if (c->rings[i].wanted && c->rings[i].step == (unsigned int)step)
			return true;
	}
	return false;
}

static void ring_step_taken(struct vhx_vu_client *c)
{
	c->rings[c->at].step++;
	if (vhx_vu_client_ring_running(c, c->at))
		c->cfg.ops->ring_running(c->cfg.ctx, c->at);
}

static bool ring_stop_due(struct vhx_vu_client *c)
{
	uint16_t i;

	for (i = 0; i < c->cfg.num_rings; i++) {
		c->at = i;
		if (!c->rings[i].wanted && c->rings[i].step != RING_IDLE)
			return true;
	}
	return false;
}

static uint32_t ring_index_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->state = (struct vhx_vu_vring_state){ .index = c->at };
	return sizeof(p->state);
}

static int ring_stop_answer(struct vhx_vu_client *c, struct vhx_vu_message *m)
{
	if (m->hdr.size != sizeof(m->payload.state) || m->payload.state.index != c->at)
		return -EPROTO;
	c->rings[c->at].step = RING_IDLE;
	c->cfg.ops->ring_stopped(c->cfg.ctx, c->at);
	return 0;
}

/* Before the first ring of a driver: none is up, so its features may be new ones. */
static bool start_due(struct vhx_vu_client *c, enum once what)
{
	return once_due(c, what) && ring_at(c, RING_IDLE);
}

static bool driver_features_due(struct vhx_vu_client *c)
{
	return start_due(c, ONCE_DRIVER_FEATURES);
}

static uint32_t driver_features_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->u64 = c->driver_features | (c->features & VHX_VU_F_PROTOCOL_FEATURES);
	return sizeof(p->u64);
}

static void driver_features_taken(struct vhx_vu_client *c)
{
	once_taken(c, ONCE_DRIVER_FEATURES);
}

static bool memory_due(struct vhx_vu_client *c)
{
	return start_due(c, ONCE_MEMORY);
}

static uint32_t memory_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->table.cnt = 1;
	p->table.padding = 0;
	p->table.regions[0] = (struct vhx_vu_mem_region){
		.gpa = c->cfg.mem_addr,
		.size = c->cfg.mem_len,
		.uva = c->cfg.mem_addr,
	};
	*fd = c->cfg.mem_fd;
	return offsetof(struct vhx_vu_mem_table, regions) + sizeof(p->table.regions[0]);
}

static void memory_taken(struct vhx_vu_client *c)
{
	once_taken(c, ONCE_MEMORY);
}

static bool inflight_due(struct vhx_vu_client *c)
{
	return vhx_vu_client_has(c, VHX_VU_P_INFLIGHT_SHMFD) && start_due(c, ONCE_INFLIGHT);
}

static bool inflight_get_due(struct vhx_vu_client *c)
{
	return inflight_due(c) && c->inflight_fd < 0;
}

static uint32_t inflight_get_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->inflight = (struct vhx_vu_inflight_desc){ .queue_num = c->cfg.num_rings,
						     .queue_size = c->inflight_queue_size };
	return sizeof(p->inflight);
}

static int inflight_get_answer(struct vhx_vu_client *c, struct vhx_vu_message *m)
{
	if (m->hdr.size < VHX_VU_INFLIGHT_LEN || m->fd_cnt != 1)
		return -EPROTO;
	c->inflight = (struct vhx_vu_inflight_desc){
		.mmap_size = m->payload.inflight.mmap_size,
		.mmap_off = m->payload.inflight.mmap_off,
		.queue_num = c->cfg.num_rings,
		.queue_size = c->inflight_queue_size,
	};
	c->inflight_fd = vhx_vu_message_take_fd(m, 0);
	return 0;
}

static bool inflight_set_due(struct vhx_vu_client *c)
{
	return inflight_due(c) && c->inflight_fd >= 0;
}

static uint32_t inflight_set_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->inflight = c->inflight;
	*fd = c->inflight_fd;
	return sizeof(p->inflight);
}

static void inflight_set_taken(struct vhx_vu_client *c)
{
	once_taken(c, ONCE_INFLIGHT);
}

static bool ring_num_due(struct vhx_vu_client *c)
{
	return ring_at(c, RING_IDLE);
}

static uint32_t ring_num_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->state = (struct vhx_vu_vring_state){ .index = c->at, .num = c->rings[c->at].size };
	return sizeof(p->state);
}

static bool ring_base_due(struct vhx_vu_client *c)
{
	return ring_at(c, RING_SIZED);
}

static uint32_t ring_base_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->state = (struct vhx_vu_vring_state){ .index = c->at, .num = c->rings[c->at].base };
	return sizeof(p->state);
}

static bool ring_addr_due(struct vhx_vu_client *c)
{
	return ring_at(c, RING_BASED);
}

static uint32_t ring_addr_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	const struct vhx_vu_client_ring *r = &c->rings[c->at];

	p->addr = (struct vhx_vu_vring_addr){
		.index = c->at,
		.desc = r->desc,
		.used = r->device,
		.avail = r->driver,
	};
	return sizeof(p->addr);
}

static bool ring_call_due(struct vhx_vu_client *c)
{
	return ring_at(c, RING_PLACED);
}

static uint32_t ring_call_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->u64 = c->at;
	*fd = c->rings[c->at].call_fd;
	return sizeof(p->u64);
}

static bool ring_kick_due(struct vhx_vu_client *c)
{
	return ring_at(c, RING_CALLED);
}

static uint32_t ring_kick_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	p->u64 = c->at;
	*fd = c->rings[c->at].kick_fd;
	return sizeof(p->u64);
}

/* Without the protocol's features a ring is enabled from its start. */
static bool ring_enable_due(struct vhx_vu_client *c)
{
	return has_protocol(c) && ring_at(c, RING_KICKED);
}

static uint32_t ring_enable_fill(struct vhx_vu_client *c, union vhx_vu_payload *p, int *fd)
{
	struct vhx_vu_client_ring *r = &c->rings[c->at];

	r->told_disabled = r->disabled;
	p->state = (struct vhx_vu_vring_state){ .index = c->at, .num = !r->disabled };
	return sizeof(p->state);
}

/* It runs, and its owner has changed its mind. */
static bool ring_reenable_due(struct vhx_vu_client *c)
{
	uint16_t i;

	if (!has_protocol(c))
		return false;
	for (i = 0; i < c->cfg.num_rings; i++) {
		const struct vhx_vu_client_ring *r = &c->rings[i];

		c->at = i;
		if (r->step == RING_ENABLED && r->disabled != r->told_disabled)
			return true;
	}
	return false;
}

/* In the order of a start. */
static const struct vhx_vu_step steps[] = {
	{ VHX_VU_GET_FEATURES, features_due, fill_nothing, features_answer },
	{ VHX_VU_GET_PROTOCOL_FEATURES, protocol_get_due, fill_nothing, protocol_get_answer },
	{ VHX_VU_SET_PROTOCOL_FEATURES, protocol_set_due, protocol_set_fill, NULL,
	  protocol_set_taken },
	{ VHX_VU_GET_QUEUE_NUM, queue_num_due, fill_nothing, queue_num_answer },
	{ VHX_VU_SET_BACKEND_REQ_FD, backend_due, backend_fill, NULL, backend_taken },
	{ VHX_VU_SET_OWNER, owner_due, fill_nothing, NULL, owner_taken },
	{ VHX_VU_GET_CONFIG, config_get_due, config_get_fill, config_get_answer },
	{ VHX_VU_SET_CONFIG, config_set_due, config_set_fill, NULL, NULL, config_set_refused },
	{ VHX_VU_GET_VRING_BASE, ring_stop_due, ring_index_fill, ring_stop_answer },
	{ VHX_VU_SET_FEATURES, driver_features_due, driver_features_fill, NULL,
	  driver_features_taken },
	{ VHX_VU_SET_MEM_TABLE, memory_due, memory_fill, NULL, memory_taken },
	{ VHX_VU_GET_INFLIGHT_FD, inflight_get_due, inflight_get_fill, inflight_get_answer },
	{ VHX_VU_SET_INFLIGHT_FD, inflight_set_due, inflight_set_fill, NULL, inflight_set_taken },
	{ VHX_VU_SET_VRING_NUM, ring_num_due, ring_num_fill, NULL, ring_step_taken },
	{ VHX_VU_SET_VRING_BASE, ring_base_due, ring_base_fill, NULL, ring_step_taken },
	{ VHX_VU_SET_VRING_ADDR, ring_addr_due, ring_addr_fill, NULL, ring_step_taken },
	{ VHX_VU_SET_VRING_CALL, ring_call_due, ring_call_fill, NULL, ring_step_taken },
	{ VHX_VU_SET_VRING_KICK, ring_kick_due, ring_kick_fill, NULL, ring_step_taken },
	{ VHX_VU_SET_VRING_ENABLE, ring_enable_due, ring_enable_fill, NULL, ring_step_taken },
	{ VHX_VU_SET_VRING_ENABLE, ring_reenable_due, ring_enable_fill },
};

/* The next step, or NULL: all is as it is wanted. */
static const struct vhx_vu_step *step_next(struct vhx_vu_client *c)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(steps); i++) {
		if (steps[i].due(c))
			return &steps[i];
	}
	return NULL;
}

/* Acknowledgements are there as soon as the protocol's features are agreed on. */
static bool acknowledged(const struct vhx_vu_client *c)
{
	return vhx_vu_client_has(c, VHX_VU_P_REPLY_ACK) && !once_due(c, ONCE_PROTOCOL_SET);
}

static int step_send(struct vhx_vu_client *c, const struct vhx_vu_step *step)
{
	union vhx_vu_payload payload = { 0 };
	struct vhx_vu_header hdr = { .request = step->request, .flags = VHX_VU_VERSION };
	bool ack = !step->answer && acknowledged(c);
	int fd = -1, ret;

	hdr.size = step->fill(c, &payload, &fd);
	if (ack)
		hdr.flags |= VHX_VU_FLAG_NEED_REPLY;
	ret = vhx_vu_message_send(c->sock, &hdr, &payload, fd);
	if (ret)
		return ret;
	if (ack || step->answer)
		c->waiting = step;
	else if (step->taken)
		step->taken(c);
	return 0;
}

static int ack_take(struct vhx_vu_client *c, const struct vhx_vu_step *step)
{
	uint64_t result = 0;
	int ret = u64_get(&c->in, &result);

	if (ret)
		return ret;
	if (result && !step->refused)
		return -EREMOTEIO;
	if (result)
		step->refused(c);
	else if (step->taken)
		step->taken(c);
	return 0;
}

static int answer_take(struct vhx_vu_client *c)
{
	const struct vhx_vu_step *step = c->waiting;
	int ret;

	/* It answers what was asked, and nothing else. */
	if (!step || c->in.hdr.request != step->request)
		return -EPROTO;
	c->waiting = NULL;
	ret = step->answer ? step->answer(c, &c->in) : ack_take(c, step);
	vhx_vu_message_reset(&c->in);
	return ret;
}

static int steps_run(struct vhx_vu_client *c)
{
	const struct vhx_vu_step *step;
	int ret;

	while (!c->waiting) {
		step = step_next(c);
		if (step) {
			ret = step_send(c, step);
			if (ret)
				return ret;
		} else if (c->identified) {
			return 0;
		} else {
			c->identified = true;
			c->cfg.ops->identified(c->cfg.ctx);
		}
	}
	return 0;
}

/* The channel on which the back-end asks */

static void backend_end(struct vhx_vu_client *c)
{
	if (c->backend_fd >= 0)
		close(c->backend_fd);
	if (c->backend_peer >= 0)
		close(c->backend_peer);
	c->backend_fd = -1;
	c->backend_peer = -1;
	vhx_vu_message_reset(&c->backend_in);
}

static int backend_request(struct vhx_vu_client *c)
{
	const struct vhx_vu_header *h = &c->backend_in.hdr;
	struct vhx_vu_header reply = { .request = h->request,
				       .flags = VHX_VU_VERSION | VHX_VU_FLAG_REPLY,
				       .size = sizeof(uint64_t) };
	uint64_t result = h->request != VHX_VU_BACKEND_CONFIG_CHANGE;

	if (!result)
		c->config_due = true;
	if (!(h->flags & VHX_VU_FLAG_NEED_REPLY))
		return 0;
	return vhx_vu_message_send(c->backend_fd, &reply, &result, -1);
}

/* What goes wrong here ends this channel alone: the back-end can go on without. */
static void backend_run(struct vhx_vu_client *c)
{
	int ret = 1, i;

	for (i = 0; c->backend_fd >= 0 && ret > 0 && i < BACKEND_REQUESTS_MAX; i++) {
		ret = vhx_vu_message_recv(&c->backend_in, c->backend_fd);
		if (ret > 0 && backend_request(c))
			ret = -EPROTO;
		if (ret > 0)
			vhx_vu_message_reset(&c->backend_in);
	}
	if (ret < 0)
		backend_end(c);
}

/* Not for a back-end that has us by surprise: without it its config is read when it connects. */
static void backend_open(struct vhx_vu_client *c)
{
	int ends[2];

	if (!c->cfg.config_len ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
		return;
	c->backend_fd = ends[0];
	c->backend_peer = ends[1];
}

int vhx_vu_client_run(struct vhx_vu_client *c)
{
	int ret;

	if (c->sock < 0)
		return 0;
	backend_run(c);
	for (;;) {
		ret = steps_run(c);
		if (ret || !c->waiting)
			break;
		ret = vhx_vu_message_recv(&c->in, c->sock);
		if (ret <= 0)
			return ret;
		ret = answer_take(c);
		if (ret)
			return ret;
	}
	/* Nothing is due from it; but it may have left. */
	if (!ret)
		ret = vhx_vu_message_recv(&c->in, c->sock);
	return ret > 0 ? -EPROTO : ret;
}

/* Life */

void vhx_vu_client_init(struct vhx_vu_client *c, const struct vhx_vu_client_config *cfg)
{
	*c = (struct vhx_vu_client){
		.cfg = *cfg,
		.sock = -1,
		.backend_fd = -1,
		.backend_peer = -1,
		.inflight_fd = -1,
		.in.reply = VHX_VU_FLAG_REPLY,
	};
	assert(cfg->config_len <= VHX_VU_CONFIG_MAX && cfg->num_rings <= VHX_VU_QUEUES_MAX);
}

void vhx_vu_client_fini(struct vhx_vu_client *c)
{
	vhx_vu_client_disconnect(c);
	vhx_vu_client_inflight_forget(c);
}

void vhx_vu_client_connect(struct vhx_vu_client *c, int sock)
{
	assert(c->sock < 0);
	c->sock = sock;
	c->config_due = true;
	backend_open(c);
}

void vhx_vu_client_disconnect(struct vhx_vu_client *c)
{
	unsigned int i;

	if (c->sock < 0)
		return;
	close(c->sock);
	c->sock = -1;
	backend_end(c);
	vhx_vu_message_reset(&c->in);
	c->waiting = NULL;
	c->done = 0;
	c->identified = false;
	c->features = 0;
	c->protocol = 0;
	c->queue_num = 0;
	for (i = 0; i < c->cfg.num_rings; i++) {
		c->rings[i].wanted = false;
		c->rings[i].step = RING_IDLE;
	}
	for (i = 0; i < c->writes_cnt; i++)
		c->writes[i].due = true;
}

void vhx_vu_client_ring_start(struct vhx_vu_client *c, uint16_t index)
{
	uint16_t i;

	assert(vhx_vu_client_ring_idle(c, index));
	for (i = 0; i < c->cfg.num_rings && vhx_vu_client_ring_idle(c, i) && !c->rings[i].wanted;
	     i++)
		;
	/* The first one: the driver may be another. */
	if (i == c->cfg.num_rings)
		c->done &= ~(1u << ONCE_DRIVER_FEATURES);
	c->rings[index].wanted = true;
}

void vhx_vu_client_ring_stop(struct vhx_vu_client *c, uint16_t index)
{
	c->rings[index].wanted = false;
}

bool vhx_vu_client_ring_idle(const struct vhx_vu_client *c, uint16_t index)
{
	return c->rings[index].step == RING_IDLE;
}

bool vhx_vu_client_ring_running(const struct vhx_vu_client *c, uint16_t index)
{
	return c->rings[index].step == (has_protocol(c) ? RING_ENABLED : RING_KICKED);
}

static struct vhx_vu_client_write *write_find(struct vhx_vu_client *c, uint32_t off, uint32_t len)
{
	unsigned int i;

	for (i = 0; i < c->writes_cnt; i++) {
		if (c->writes[i].off == off && c->writes[i].len == len)
			return &c->writes[i];
	}
	return c->writes_cnt < VHX_VU_CLIENT_WRITES_MAX ? &c->writes[c->writes_cnt++] : NULL;
}

int vhx_vu_client_config_write(struct vhx_vu_client *c, uint32_t off, const void *bytes,
			       uint32_t len)
{
	struct vhx_vu_client_write *w;

	if (c->identified && !vhx_vu_client_has(c, VHX_VU_P_CONFIG))
		return -EOPNOTSUPP;
	if (len > VHX_VU_CLIENT_WRITE_LEN)
		return -E2BIG;
	w = write_find(c, off, len);
	if (!w)
		return -ENOSPC;
	w->off = off;
	w->len = len;
	memcpy(w->bytes, bytes, len);
	w->due = true;
	return 0;
}

void vhx_vu_client_config_forget(struct vhx_vu_client *c)
{
	c->config_due |= c->writes_cnt > 0;
	c->writes_cnt = 0;
}

void vhx_vu_client_inflight_forget(struct vhx_vu_client *c)
{
	if (c->inflight_fd >= 0)
		close(c->inflight_fd);
	c->inflight_fd = -1;
	c->done &= ~(1u << ONCE_INFLIGHT);
}
