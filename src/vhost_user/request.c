// SPDX-License-Identifier: BSD-3-Clause
/*
 * What each vhost-user request does: one handler each, and the table that says which payload and
 * which descriptors it may have and how it is answered. The dispatcher (server.c) has checked both
 * against the table before a handler runs; payload bytes that did not come read as zero.
 *
 * A handler returns 0, or -EINPROGRESS after it set s->resume, or another negative errno: the
 * request is refused and what was there before stays in force. (Where the request itself was fine
 * and only completed a queue that then could not start, its value is kept and the queue stays
 * stopped.)
 *
 * Tolerated: a memory table padded beyond its regions (User-Mode Linux), RESET_OWNER (deprecated:
 * ignored, as the document advises), SET_LOG_FD (signalling it is optional: the descriptor is
 * closed), REM_MEM_REG with a descriptor. Refused: what would need a feature that we do not offer.
 */
#include <unistd.h>

#include "util/checked.h"
#include "vhost_user/notifier.h"
#include "vhost_user/server_state.h"

/* Bits 24 to 49 belong to rings and transport (VirtIO 6): the device's own are outside. */
#define DEVICE_FEATURES (~(((1ull << 26) - 1) << 24))

#define PROTOCOL_FEATURES                                                               \
	(VHX_VU_P_MQ | VHX_VU_P_LOG_SHMFD | VHX_VU_P_REPLY_ACK | VHX_VU_P_BACKEND_REQ | \
	 VHX_VU_P_CONFIG | VHX_VU_P_INFLIGHT_SHMFD | VHX_VU_P_RESET_DEVICE |            \
	 VHX_VU_P_CONFIGURE_MEM_SLOTS | VHX_VU_P_STATUS)

static void reply_u64(struct vhx_vu_server *s, uint64_t value)
{
	s->reply.payload.u64 = value;
	s->reply.len = sizeof(value);
}

static int features_offered(struct vhx_vu_server *s, uint64_t *features)
{
	uint64_t device = 0;
	int ret = s->cfg.ops->get_features(s->cfg.ctx, &device);

	if (ret)
		return ret;
	*features = (device & DEVICE_FEATURES) | vhx_ring_feature_bits(s->cfg.ring_features) |
		    VHX_VU_F_VERSION_1 | VHX_VU_F_PROTOCOL_FEATURES | VHX_VU_F_LOG_ALL;
	return 0;
}

static int get_features(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	uint64_t features;
	int ret = features_offered(s, &features);

	if (!ret)
		reply_u64(s, features);
	return ret;
}

/* Rings of a front-end that does not know SET_VRING_ENABLE are enabled from the start. */
static int queues_start(struct vhx_vu_server *s)
{
	int ret = 0;

	for (uint16_t i = 0; !ret && i < s->queue_num; i++) {
		if (!(s->features & VHX_VU_F_PROTOCOL_FEATURES))
			s->vqs[i].enabled = true;
		ret = vhx_vu_vq_try_start(&s->vqs[i]);
	}
	return ret;
}

static int queues_count(struct vhx_vu_server *s)
{
	uint16_t num = 0;
	int ret;

	if (s->queue_num)
		return 0;
	ret = s->cfg.ops->get_queue_num(s->cfg.ctx, &num);
	if (ret)
		return ret;
	if (!num)
		return -ENODEV;
	s->queue_num = (uint16_t)vhx_min_u64(num, VHX_VU_QUEUES_MAX);
	return 0;
}

/* Everything that counts as features of the device and its rings. */
static uint64_t features_proper(uint64_t features)
{
	return features & ~(VHX_VU_F_LOG_ALL | VHX_VU_F_PROTOCOL_FEATURES);
}

static int set_features(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	uint64_t wanted = m->payload.u64, offered;
	bool running = vhx_vu_vq_any_started(s);
	int ret = features_offered(s, &offered);

	if (!ret)
		ret = queues_count(s);
	if (ret)
		return ret;
	if (wanted & ~offered)
		return -EINVAL;
	/* Migration sends them again, with or without LOG_ALL, while the rings run. */
	if (running && features_proper(wanted ^ s->features))
		return -EBUSY;
	if (!running)
		ret = s->cfg.ops->set_features(s->cfg.ctx, features_proper(wanted));
	if (ret)
		return ret;
	s->features = wanted;
	s->features_set = true;
	return queues_start(s);
}

static int get_protocol_features(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	reply_u64(s, PROTOCOL_FEATURES);
	return 0;
}

static int set_protocol_features(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	if (m->payload.u64 & ~PROTOCOL_FEATURES)
		return -EINVAL;
	s->protocol_features = m->payload.u64;
	return 0;
}

static int owner_ignore(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	return 0;
}

/* Guest memory */

static int region_add(struct vhx_vu_memory *memory, const struct vhx_vu_mem_region *r, int fd)
{
	return vhx_vu_memory_add(memory, r->gpa, r->uva, r->size, r->off, fd);
}

static int table_build(struct vhx_vu_memory *memory, const struct vhx_vu_message *m)
{
	const struct vhx_vu_mem_table *t = &m->payload.table;
	int ret = 0;

	if (t->cnt > VHX_VU_TABLE_REGIONS_MAX || m->fd_cnt != t->cnt ||
	    m->hdr.size < offsetof(struct vhx_vu_mem_table, regions) + t->cnt * sizeof(*t->regions))
		return -EINVAL;
	for (uint32_t i = 0; !ret && i < t->cnt; i++)
		ret = region_add(memory, &t->regions[i], m->fds[i]);
	return ret;
}

static int queues_check(const struct vhx_vu_server *s, const struct vhx_vu_memory *memory)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < s->queue_num; i++)
		ret = vhx_vu_vq_check(&s->vqs[i], memory);
	return ret;
}

static void queues_remap(struct vhx_vu_server *s)
{
	for (unsigned int i = 0; i < s->queue_num; i++)
		vhx_vu_vq_remap(&s->vqs[i], s->memory);
}

/*
 * The new table is built beside the old one, so that a refused request changes nothing; running
 * rings move over, since memory hot-plug sends a table without stopping them.
 */
static int set_mem_table(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	struct vhx_vu_memory *old = s->memory;
	int ret;

	ret = table_build(s->memory_next, m);
	if (!ret)
		ret = queues_check(s, s->memory_next);
	if (ret) {
		vhx_vu_memory_clear(s->memory_next);
		return ret;
	}
	s->memory = s->memory_next;
	s->memory_next = old;
	queues_remap(s);
	/* Old pointers still work while the owner walks its chains again in the new table. */
	s->cfg.ops->mem_changed(s->cfg.ctx);
	vhx_vu_memory_clear(old);
	return 0;
}

static int get_max_mem_slots(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	reply_u64(s, VHX_VU_REGIONS_MAX);
	return 0;
}

/*
 * No pointer dies, so the owner need not know. QEMU 7.2 says each region once per queue pair of a network device, and
 * takes each back as often.
 */
static int add_mem_reg(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_mem_region *w = &m->payload.region.region;
	const struct vhx_vu_region *r = vhx_vu_memory_find(s->memory, w->gpa, w->uva, w->size);

	if (r && vhx_vu_map_is(&r->map, m->fds[0], w->off))
		return 0;
	return region_add(s->memory, w, m->fds[0]);
}

static bool ring_within(const struct vhx_vu_vq *vq, const struct vhx_vu_region *r)
{
	const struct vhx_vring_config *cfg = &vq->pub.ring.cfg;
	const void *areas[] = { cfg->desc, cfg->driver, cfg->device };

	for (size_t i = 0; vq->pub.started && i < VHX_ARRAY_SIZE(areas); i++) {
		if ((uintptr_t)areas[i] - (uintptr_t)r->map.data < r->size)
			return true;
	}
	return false;
}

static int rem_mem_reg(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_mem_region *w = &m->payload.region.region;
	struct vhx_vu_region *r = vhx_vu_memory_find(s->memory, w->gpa, w->uva, w->size);
	struct vhx_vu_map map;

	/* Taken back before, see add_mem_reg(). */
	if (!r)
		return 0;
	for (unsigned int i = 0; i < s->queue_num; i++) {
		if (ring_within(&s->vqs[i], r))
			return -EBUSY;
	}
	map = vhx_vu_memory_remove(s->memory, r);
	s->cfg.ops->mem_changed(s->cfg.ctx);
	vhx_vu_map_close(&map);
	return 0;
}

static int set_log_base(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_log_desc *l = &m->payload.log;

	if (!(s->protocol_features & VHX_VU_P_LOG_SHMFD))
		return -EOPNOTSUPP;
	if (m->hdr.size < sizeof(*l) || m->fd_cnt != 1)
		return -EINVAL;
	return vhx_vu_dirty_set(&s->dirty, m->fds[0], l->off, l->size);
}

/* Queues */

static int vq_find(struct vhx_vu_server *s, uint64_t index, struct vhx_vu_vq **vq)
{
	int ret = queues_count(s);

	if (ret)
		return ret;
	if (index >= s->queue_num)
		return -EINVAL;
	*vq = &s->vqs[index];
	return 0;
}

static int get_queue_num(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	int ret = queues_count(s);

	reply_u64(s, s->queue_num);
	return ret;
}

static int set_vring_num(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	uint32_t num = m->payload.state.num;
	struct vhx_vu_vq *vq;
	int ret = vq_find(s, m->payload.state.index, &vq);

	if (ret)
		return ret;
	if (!num || num > VHX_VU_QUEUE_SIZE_MAX)
		return -EINVAL;
	if (vq->pub.started && num != vq->pub.size)
		return -EBUSY;
	vq->pub.size = (uint16_t)num;
	return vhx_vu_vq_try_start(vq);
}

static bool addr_same(const struct vhx_vu_vring_addr *a, const struct vhx_vu_vring_addr *b)
{
	return a->desc == b->desc && a->used == b->used && a->avail == b->avail;
}

/* The ring adds offsets within the device area to the log address: the sums must not wrap. */
static bool addr_flags_ok(const struct vhx_vu_vring_addr *a)
{
	uint64_t end;

	if (!(a->flags & VHX_VU_VRING_ADDR_F_LOG))
		return !a->flags;
	return a->flags == VHX_VU_VRING_ADDR_F_LOG &&
	       vhx_add_u64(a->log, vhx_ring_device_len(VHX_VU_QUEUE_SIZE_MAX, 0), &end);
}

static int set_vring_addr(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_vring_addr *addr = &m->payload.addr;
	struct vhx_vu_vq *vq;
	int ret = vq_find(s, addr->index, &vq);

	if (ret)
		return ret;
	if (!addr_flags_ok(addr))
		return -EINVAL;
	/* Migration sends the same addresses again, with or without the log flag. */
	if (vq->pub.started && !addr_same(addr, &vq->addr))
		return -EBUSY;
	vq->addr = *addr;
	vq->addr_set = true;
	vhx_vu_vq_relog(vq);
	return vhx_vu_vq_try_start(vq);
}

static int set_vring_base(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	struct vhx_vu_vq *vq;
	int ret = vq_find(s, m->payload.state.index, &vq);

	if (ret)
		return ret;
	if (vq->pub.started)
		return -EBUSY;
	vq->base = m->payload.state.num;
	vq->base_set = true;
	return vhx_vu_vq_try_start(vq);
}

static void base_reply(struct vhx_vu_server *s, struct vhx_vu_vq *vq)
{
	s->reply.payload.state = (struct vhx_vu_vring_state){ vq->pub.index, vq->base };
	s->reply.len = sizeof(s->reply.payload.state);
	if (vq->given_back && !vhx_vu_vq_packed(vq))
		vhx_vu_inflight_given_back(&s->inflight, vq->pub.index);
	vq->given_back = false;
	if (vq->pub.kick_fd >= 0)
		close(vq->pub.kick_fd);
	vq->pub.kick_fd = -1;
	vq->kick_set = false;
}

static int base_resume(struct vhx_vu_server *s, int result)
{
	if (result)
		return result;
	vhx_vu_vq_stopped(s->stopping);
	base_reply(s, s->stopping);
	return 0;
}

static int get_vring_base(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	int ret = vq_find(s, m->payload.state.index, &s->stopping);

	if (!ret)
		ret = vhx_vu_vq_stop(s->stopping);
	if (ret == -EINPROGRESS)
		s->resume = base_resume;
	if (!ret)
		base_reply(s, s->stopping);
	return ret;
}

static int enable_resume(struct vhx_vu_server *s, int result)
{
	if (result)
		return result;
	vhx_vu_vq_stopped(s->stopping);
	s->stopping->enabled = false;
	return 0;
}

static int set_vring_enable(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	struct vhx_vu_vq *vq;
	int ret = vq_find(s, m->payload.state.index, &vq);

	if (ret)
		return ret;
	if (m->payload.state.num > 1)
		return -EINVAL;
	if (m->payload.state.num) {
		vq->enabled = true;
		return vhx_vu_vq_try_start(vq);
	}
	s->stopping = vq;
	ret = vhx_vu_vq_stop(vq);
	if (ret == -EINPROGRESS)
		s->resume = enable_resume;
	if (!ret)
		vq->enabled = false;
	return ret;
}

/*
 * The queue that a u64 names, and the descriptor that came with it, or -1 where the VMM says so. For a kick that means
 * that the owner polls the ring, for a call that the driver does, and errors then go unsaid.
 */
static int vring_fd(struct vhx_vu_server *s, struct vhx_vu_message *m, struct vhx_vu_vq **vq,
		    int *fd)
{
	uint64_t word = m->payload.u64;
	int ret = vq_find(s, word & VHX_VU_VRING_INDEX_MASK, vq);

	if (ret)
		return ret;
	if (word & ~(VHX_VU_VRING_INDEX_MASK | VHX_VU_VRING_NOFD) ||
	    m->fd_cnt != (word & VHX_VU_VRING_NOFD ? 0 : 1))
		return -EINVAL;
	*fd = -1;
	if (!m->fd_cnt)
		return 0;
	ret = vhx_vu_notifier_check(m->fds[0]);
	if (!ret)
		*fd = vhx_vu_message_take_fd(m, 0);
	return ret;
}

/* The owner is told while the old descriptor is still open, so that it can stop watching it. */
static void fd_replace(struct vhx_vu_vq *vq, int *slot, int fd)
{
	const struct vhx_vu_config *cfg = &vq->server->cfg;
	int old = *slot;

	*slot = fd;
	if (vq->pub.started)
		cfg->ops->queue_fds(cfg->ctx, &vq->pub);
	if (old >= 0)
		close(old);
}

static int set_vring_kick(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	struct vhx_vu_vq *vq;
	int fd, ret = vring_fd(s, m, &vq, &fd);

	if (ret)
		return ret;
	fd_replace(vq, &vq->pub.kick_fd, fd);
	vq->kick_set = true;
	return vhx_vu_vq_try_start(vq);
}

static int set_vring_call(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	struct vhx_vu_vq *vq;
	int fd, ret = vring_fd(s, m, &vq, &fd);

	if (ret)
		return ret;
	fd_replace(vq, &vq->pub.call_fd, fd);
	/* What was signalled on the old one may never be read. */
	if (vq->pub.started)
		vhx_vu_queue_call(&vq->pub);
	return 0;
}

static int set_vring_err(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	struct vhx_vu_vq *vq;
	int fd, ret = vring_fd(s, m, &vq, &fd);

	if (!ret)
		fd_replace(vq, &vq->pub.err_fd, fd);
	return ret;
}

/* Device */

static int set_backend_req_fd(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	if (s->backend_fd >= 0)
		close(s->backend_fd);
	s->backend_fd = vhx_vu_message_take_fd(m, 0);
	return 0;
}

/* Signalling that the log changed is optional; the VMM reads it whenever it likes. */
static int log_fd_ignore(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	return 0;
}

static int iotlb_refuse(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	return -EOPNOTSUPP;
}

static bool config_range_ok(const struct vhx_vu_config_space *c)
{
	return c->size && vhx_range_within(c->off, c->size, VHX_VU_CONFIG_MAX);
}

/* A payload of no bytes is how the protocol says that it failed. */
static int get_config(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_config_space *c = &m->payload.config;
	struct vhx_vu_config_space *r = &s->reply.payload.config;

	s->reply.len = 0;
	if (!config_range_ok(c) || m->hdr.size > VHX_VU_CONFIG_HDR + c->size)
		return 0;
	*r = (struct vhx_vu_config_space){ .off = c->off, .size = c->size, .flags = c->flags };
	if (!s->cfg.ops->get_config(s->cfg.ctx, c->off, r->data, c->size))
		s->reply.len = VHX_VU_CONFIG_HDR + c->size;
	return 0;
}

static int set_config(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_config_space *c = &m->payload.config;

	if (!config_range_ok(c) || m->hdr.size != VHX_VU_CONFIG_HDR + c->size || c->flags > 1)
		return -EINVAL;
	return s->cfg.ops->set_config(s->cfg.ctx, c->off, c->data, c->size);
}

static void queues_reset(struct vhx_vu_server *s)
{
	for (size_t i = 0; i < VHX_VU_QUEUES_MAX; i++)
		vhx_vu_vq_reset(&s->vqs[i]);
	vhx_vu_inflight_reset(&s->inflight);
}

/* Stops one queue after the other, then does s->stopped. */
static int stop_all_resume(struct vhx_vu_server *s, int result);

static int stop_all(struct vhx_vu_server *s)
{
	for (size_t i = 0; i < VHX_VU_QUEUES_MAX; i++) {
		int ret;

		s->stopping = &s->vqs[i];
		ret = vhx_vu_vq_stop(s->stopping);
		if (ret == -EINPROGRESS)
			s->resume = stop_all_resume;
		if (ret)
			return ret;
	}
	return s->stopped(s);
}

static int stop_all_resume(struct vhx_vu_server *s, int result)
{
	if (result)
		return result;
	vhx_vu_vq_stopped(s->stopping);
	return stop_all(s);
}

static int reset_resume(struct vhx_vu_server *s, int result)
{
	if (!result)
		queues_reset(s);
	return result;
}

static int reset_stopped(struct vhx_vu_server *s)
{
	int ret = s->cfg.ops->reset(s->cfg.ctx);

	if (ret == -EINPROGRESS)
		s->resume = reset_resume;
	return ret == -EINPROGRESS ? ret : reset_resume(s, ret);
}

static int reset_device(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	s->stopped = reset_stopped;
	return stop_all(s);
}

static int status_zero_stopped(struct vhx_vu_server *s)
{
	int ret = s->cfg.ops->set_status(s->cfg.ctx, 0);

	if (ret == -EINPROGRESS)
		s->resume = reset_resume;
	return ret == -EINPROGRESS ? ret : reset_resume(s, ret);
}

static int set_status(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	if (m->payload.u64 > UINT8_MAX)
		return -EINVAL;
	if (m->payload.u64)
		return s->cfg.ops->set_status(s->cfg.ctx, (uint8_t)m->payload.u64);
	s->stopped = status_zero_stopped;
	return stop_all(s);
}

static int get_status(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	reply_u64(s, s->cfg.ops->get_status(s->cfg.ctx));
	return 0;
}

/* Inflight tracking: the region cannot change under a running queue. */

static int inflight_check(struct vhx_vu_server *s, const struct vhx_vu_inflight_desc *d)
{
	int ret = queues_count(s);

	if (ret)
		return ret;
	if (!d->queue_num || d->queue_num > s->queue_num || !d->queue_size ||
	    d->queue_size > VHX_VU_QUEUE_SIZE_MAX)
		return -EINVAL;
	return vhx_vu_vq_any_started(s) ? -EBUSY : 0;
}

static int get_inflight_fd(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_inflight_desc *d = &m->payload.inflight;
	int ret = inflight_check(s, d);

	if (!ret)
		ret = vhx_vu_inflight_create(&s->inflight, d->queue_num, d->queue_size,
					     s->features & VHX_VU_F_RING_PACKED, &s->reply.fd);
	if (ret)
		return ret;
	s->reply.payload.inflight = (struct vhx_vu_inflight_desc){
		.mmap_size = s->inflight.map.len,
		.queue_num = d->queue_num,
		.queue_size = d->queue_size,
	};
	s->reply.len = m->hdr.size;
	return 0;
}

static int set_inflight_fd(struct vhx_vu_server *s, struct vhx_vu_message *m)
{
	const struct vhx_vu_inflight_desc *d = &m->payload.inflight;
	int ret = inflight_check(s, d);

	if (ret)
		return ret;
	return vhx_vu_inflight_set(&s->inflight, m->fds[0], d->mmap_off, d->mmap_size, d->queue_num,
				   d->queue_size);
}

#define SIZE(min, max) .size_min = (min), .size_max = (max)
#define NONE SIZE(0, 0)
#define U64 SIZE(sizeof(uint64_t), sizeof(uint64_t))
#define SOME_U64 SIZE(0, sizeof(uint64_t)) /* nothing by the document; some send one */
#define STATE SIZE(sizeof(struct vhx_vu_vring_state), sizeof(struct vhx_vu_vring_state))
#define ADDR SIZE(sizeof(struct vhx_vu_vring_addr), sizeof(struct vhx_vu_vring_addr))
#define REGION SIZE(sizeof(struct vhx_vu_mem_single), sizeof(struct vhx_vu_mem_single))
#define TABLE SIZE(offsetof(struct vhx_vu_mem_table, regions), sizeof(struct vhx_vu_mem_table))
#define CONFIG SIZE(VHX_VU_CONFIG_HDR, sizeof(struct vhx_vu_config_space))
#define INFLIGHT SIZE(VHX_VU_INFLIGHT_LEN, sizeof(struct vhx_vu_inflight_desc))
#define LOG SIZE(sizeof(uint64_t), sizeof(struct vhx_vu_log_desc))
#define ANY SIZE(0, sizeof(union vhx_vu_payload))
#define FDS(min, max) .fds_min = (min), .fds_max = (max)
#define ROW(number, handler) .id = VHX_VU_##number, .name = #number, .handle = (handler)
#define REPLY(kind) .reply = VHX_VU_REPLY_##kind

/* clang-format off */
static const struct vhx_vu_row rows[] = {
	{ ROW(GET_FEATURES, get_features),                   NONE,     FDS(0, 0),               REPLY(BODY) },
	{ ROW(SET_FEATURES, set_features),                   U64,      FDS(0, 0),               REPLY(ACK) },
	{ ROW(SET_OWNER, owner_ignore),                      NONE,     FDS(0, 0),               REPLY(ACK) },
	{ ROW(RESET_OWNER, owner_ignore),                    NONE,     FDS(0, 0),               REPLY(ACK) },
	{ ROW(SET_MEM_TABLE, set_mem_table),                 TABLE,    FDS(0, VHX_VU_FDS_MAX),  REPLY(ACK) },
	{ ROW(SET_LOG_BASE, set_log_base),                   LOG,      FDS(0, 1),               REPLY(DONE) },
	{ ROW(SET_LOG_FD, log_fd_ignore),                    SOME_U64, FDS(0, 1),               REPLY(ACK) },
	{ ROW(SET_VRING_NUM, set_vring_num),                 STATE,    FDS(0, 0),               REPLY(ACK) },
	{ ROW(SET_VRING_ADDR, set_vring_addr),               ADDR,     FDS(0, 0),               REPLY(ACK) },
	{ ROW(SET_VRING_BASE, set_vring_base),               STATE,    FDS(0, 0),               REPLY(ACK) },
	{ ROW(GET_VRING_BASE, get_vring_base),               STATE,    FDS(0, 0),               REPLY(BODY) },
	{ ROW(SET_VRING_KICK, set_vring_kick),               U64,      FDS(0, 1),               REPLY(ACK) },
	{ ROW(SET_VRING_CALL, set_vring_call),               U64,      FDS(0, 1),               REPLY(ACK) },
	{ ROW(SET_VRING_ERR, set_vring_err),                 U64,      FDS(0, 1),               REPLY(ACK) },
	{ ROW(GET_PROTOCOL_FEATURES, get_protocol_features), NONE,     FDS(0, 0),               REPLY(BODY) },
	{ ROW(SET_PROTOCOL_FEATURES, set_protocol_features), U64,      FDS(0, 0),               REPLY(ACK) },
	{ ROW(GET_QUEUE_NUM, get_queue_num),                 NONE,     FDS(0, 0),               REPLY(BODY) },
	{ ROW(SET_VRING_ENABLE, set_vring_enable),           STATE,    FDS(0, 0),               REPLY(ACK) },
	{ ROW(SET_BACKEND_REQ_FD, set_backend_req_fd),       SOME_U64, FDS(1, 1),               REPLY(ACK) },
	{ ROW(IOTLB_MSG, iotlb_refuse),                      ANY,      FDS(0, 0),               REPLY(STATUS) },
	{ ROW(GET_CONFIG, get_config),                       CONFIG,   FDS(0, 0),               REPLY(BODY) },
	{ ROW(SET_CONFIG, set_config),                       CONFIG,   FDS(0, 0),               REPLY(ACK), .soft = true },
	{ ROW(GET_INFLIGHT_FD, get_inflight_fd),             INFLIGHT, FDS(0, 0),               REPLY(BODY) },
	{ ROW(SET_INFLIGHT_FD, set_inflight_fd),             INFLIGHT, FDS(1, 1),               REPLY(ACK) },
	{ ROW(RESET_DEVICE, reset_device),                   NONE,     FDS(0, 0),               REPLY(ACK) },
	{ ROW(GET_MAX_MEM_SLOTS, get_max_mem_slots),         NONE,     FDS(0, 0),               REPLY(BODY) },
	{ ROW(ADD_MEM_REG, add_mem_reg),                     REGION,   FDS(1, 1),               REPLY(ACK) },
	{ ROW(REM_MEM_REG, rem_mem_reg),                     REGION,   FDS(0, 1),               REPLY(ACK) },
	{ ROW(SET_STATUS, set_status),                       U64,      FDS(0, 0),               REPLY(ACK) },
	{ ROW(GET_STATUS, get_status),                       NONE,     FDS(0, 0),               REPLY(BODY) },
};
/* clang-format on */

const struct vhx_vu_row *vhx_vu_row_find(uint32_t id)
{
	for (size_t i = 0; i < VHX_ARRAY_SIZE(rows); i++) {
		if (rows[i].id == id)
			return &rows[i];
	}
	return NULL;
}
