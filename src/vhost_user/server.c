// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vhost-user server: one listening socket, one VMM at a time, requests in order.
 *
 * Objects. The server owns the listening socket, the VMM's connection, the channel for requests of
 * our own, every descriptor that came with a message (until a queue takes it), memory tables, dirty
 * log, inflight region and queues. Its owner is reached through cfg.ops only. Everything runs on
 * the owner's thread; nothing here blocks.
 *
 * States of the connection:
 *
 *   idle --accept--> serving <--finish-- stalled
 *     ^                 |  '--EINPROGRESS--^ |
 *     '------- drop ----+-------------------'
 *
 * idle:    the listening socket is watched; queues are blank. A VMM that comes when the process has
 *   no descriptor left is refused: left in the backlog it would keep the loop awake.
 * serving: the connection is watched; a second VMM waits in the listen backlog until this one is
 *   gone.
 * stalled: a request waits for the owner (s->row and s->resume say which and how it goes on);
 *   nothing is read, so requests stay in order. Only finish and drop leave this state.
 *
 * Drop: the owner is told (gone) while rings and memory are still mapped; when its op returns it
 * has let go of all of them, and they are closed. A drop wanted by an op from within a handler is
 * carried out when the handler has returned.
 *
 * Hostile VMM. It can send any bytes and descriptors, stop reading, or leave at any point. A
 * message that breaks the framing, or a request that cannot be refused in band, ends its connection
 * and nothing else. One event handles at most REQUESTS_PER_EVENT requests, so that a flood of them
 * starves no other user of the thread. It can truncate memory that it shared without a seal (see
 * map.c).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/unix_socket.h"
#include "vhost_user/server_state.h"

/* Then the loop looks at other descriptors; ours is still readable. */
#define REQUESTS_PER_EVENT 16

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void server_say(struct vhx_vu_server *s, enum vhx_log_level level, const char *what,
		       const char *detail, int err)
{
	vhx_log_limited(s->cfg.log, &s->limit, now_ns(), level, "%s: %s%s%s%s%s", s->cfg.name, what,
			*detail ? " " : "", detail, err ? ": " : "", err ? strerror(-err) : "");
}

static void server_watch(struct vhx_vu_server *s)
{
	s->cfg.ops->watch(s->cfg.ctx, s->conn_fd < 0 ? s->listen_fd : -1, s->conn_fd,
			  s->resume != NULL);
}

bool vhx_vu_server_logging(const struct vhx_vu_server *s)
{
	return s->features & VHX_VU_F_LOG_ALL && s->dirty.map.data;
}

/* The accessor for payload. */
static int payload_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	struct vhx_vu_server *s = ctx;

	return vhx_vu_memory_map(s->memory, addr, len, iov, max);
}

static void payload_dirty(void *ctx, uint64_t addr, uint64_t len)
{
	struct vhx_vu_server *s = ctx;

	if (vhx_vu_server_logging(s))
		vhx_vu_dirty_mark(&s->dirty, addr, len);
}

static void connection_init(struct vhx_vu_server *s)
{
	s->conn_fd = -1;
	s->backend_fd = -1;
	s->reply.fd = -1;
	s->row = NULL;
	s->resume = NULL;
	s->stopping = NULL;
	s->drop_wanted = false;
	s->features = 0;
	s->protocol_features = 0;
	s->features_set = false;
	s->queue_num = 0;
}

static void reply_close(struct vhx_vu_server *s)
{
	if (s->reply.fd >= 0)
		close(s->reply.fd);
	s->reply.fd = -1;
}

/* Everything that the VMM gave; the owner has let go of it. */
static void connection_fini(struct vhx_vu_server *s)
{
	reply_close(s);
	vhx_vu_message_reset(&s->msg);
	for (size_t i = 0; i < VHX_VU_QUEUES_MAX; i++)
		vhx_vu_vq_fini(&s->vqs[i]);
	vhx_vu_inflight_fini(&s->inflight);
	vhx_vu_dirty_fini(&s->dirty);
	vhx_vu_memory_clear(s->memory);
	if (s->backend_fd >= 0)
		close(s->backend_fd);
	close(s->conn_fd);
	connection_init(s);
}

static void server_disconnect(struct vhx_vu_server *s)
{
	/* So that calls from within gone find nothing to end or to finish. */
	s->dispatching = true;
	s->resume = NULL;
	s->cfg.ops->gone(s->cfg.ctx);
	s->dispatching = false;
	connection_fini(s);
	server_watch(s);
}

void vhx_vu_server_drop(struct vhx_vu_server *s)
{
	if (s->conn_fd < 0)
		return;
	if (s->dispatching)
		s->drop_wanted = true;
	else
		server_disconnect(s);
}

int vhx_vu_server_new(const struct vhx_vu_config *cfg, int listen_fd, struct vhx_vu_server **server)
{
	struct vhx_vu_server *s = calloc(1, sizeof(*s));
	int flags = fcntl(listen_fd, F_GETFL);

	if (!s)
		return -ENOMEM;
	s->memory = calloc(1, sizeof(*s->memory));
	s->memory_next = calloc(1, sizeof(*s->memory_next));
	if (!s->memory || !s->memory_next || flags < 0 ||
	    fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		free(s->memory_next);
		free(s->memory);
		free(s);
		return flags < 0 ? -EBADF : -ENOMEM;
	}
	s->cfg = *cfg;
	s->listen_fd = listen_fd;
	s->spare_fd = vhx_unix_spare_open();
	s->ring_mem = (struct vhx_ring_mem){ payload_map, payload_dirty, s };
	for (uint16_t i = 0; i < VHX_VU_QUEUES_MAX; i++)
		vhx_vu_vq_init(&s->vqs[i], s, i);
	connection_init(s);
	*server = s;
	server_watch(s);
	return 0;
}

void vhx_vu_server_free(struct vhx_vu_server *s)
{
	if (!s)
		return;
	if (s->conn_fd >= 0) {
		s->dispatching = true;
		s->cfg.ops->gone(s->cfg.ctx);
		connection_fini(s);
	}
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	free(s->memory_next);
	free(s->memory);
	free(s);
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) && value;
}

/* The next connection; or the only one, which somebody else has made. */
static int connection_next(struct vhx_vu_server *s)
{
	int fd;

	if (is_listening(s->listen_fd)) {
		fd = vhx_unix_accept_spare(s->listen_fd, &s->spare_fd);
		if (fd < 0 || !s->cfg.ops->admit || !s->cfg.ops->admit(s->cfg.ctx, fd))
			return fd;
		close(fd);
		return -EAGAIN;
	}
	fd = s->listen_fd;
	s->listen_fd = -1;
	return fd;
}

void vhx_vu_server_accept(struct vhx_vu_server *s)
{
	int fd;

	if (s->conn_fd >= 0)
		return;
	fd = connection_next(s);
	if (fd < 0) {
		if (fd != -EAGAIN && fd != -ECONNABORTED && fd != -EINTR)
			server_say(s, VHX_LOG_ERROR, "VMM refused", "", fd);
		return;
	}
	s->conn_fd = fd;
	server_say(s, VHX_LOG_INFO, "VMM connected", "", 0);
	s->dispatching = true;
	s->cfg.ops->connected(s->cfg.ctx);
	s->dispatching = false;
	if (s->drop_wanted)
		server_disconnect(s);
	else
		server_watch(s);
}

static int reply_send(struct vhx_vu_server *s, const void *payload, uint32_t len, int fd)
{
	struct vhx_vu_header hdr = {
		.request = s->msg.hdr.request,
		.flags = VHX_VU_VERSION | VHX_VU_FLAG_REPLY,
		.size = len,
	};

	return vhx_vu_message_send(s->conn_fd, &hdr, payload, fd);
}

/* Does the VMM hear of success and failure of this request? */
static bool status_wanted(const struct vhx_vu_server *s)
{
	return s->protocol_features & VHX_VU_P_REPLY_ACK &&
	       s->msg.hdr.flags & VHX_VU_FLAG_NEED_REPLY;
}

static int status_send(struct vhx_vu_server *s, int result)
{
	uint64_t status = result ? 1 : 0;

	return reply_send(s, &status, sizeof(status), -1);
}

static int request_answer(struct vhx_vu_server *s, int result)
{
	enum vhx_vu_reply_kind kind = s->row->reply;

	if (kind == VHX_VU_REPLY_BODY)
		return result ? result
			      : reply_send(s, &s->reply.payload, s->reply.len, s->reply.fd);
	if (kind == VHX_VU_REPLY_STATUS || status_wanted(s) ||
	    (kind == VHX_VU_REPLY_DONE && !result))
		return status_send(s, result);
	return s->row->soft ? 0 : result;
}

/* The request has its result: answer, and make ready for the next. */
static int request_end(struct vhx_vu_server *s, int result)
{
	int ret;

	if (result)
		server_say(s, VHX_LOG_WARNING, "refused", s->row->name, result);
	ret = request_answer(s, result);
	reply_close(s);
	vhx_vu_message_reset(&s->msg);
	s->row = NULL;
	return ret;
}

static int request_begin(struct vhx_vu_server *s)
{
	const struct vhx_vu_message *m = &s->msg;

	s->row = vhx_vu_row_find(m->hdr.request);
	if (!s->row)
		return -ENOSYS;
	if (m->hdr.size < s->row->size_min || m->hdr.size > s->row->size_max ||
	    m->fd_cnt < s->row->fds_min || m->fd_cnt > s->row->fds_max)
		return -EPROTO;
	s->reply.len = 0;
	return s->row->handle(s, &s->msg);
}

/* A VMM that asks for a status gets one for a request of unknown number, too. */
static const struct vhx_vu_row row_unknown = { .name = "unknown request" };

static int server_handle(struct vhx_vu_server *s, int result)
{
	if (result == -EINPROGRESS) {
		assert(s->resume);
		return 0;
	}
	if (!s->row)
		s->row = &row_unknown;
	return request_end(s, result);
}

/* Ends the connection if that is what became of it. */
static void server_settle(struct vhx_vu_server *s, int ret)
{
	if (ret == -ENOTCONN)
		server_say(s, VHX_LOG_INFO, "VMM left", "", 0);
	else if (ret)
		server_say(s, VHX_LOG_WARNING, "VMM dropped", "", ret);
	if (ret || s->drop_wanted)
		server_disconnect(s);
	else
		server_watch(s);
}

void vhx_vu_server_event(struct vhx_vu_server *s)
{
	bool was_stalled = s->resume != NULL;
	int ret = 0;

	if (s->conn_fd < 0 || was_stalled || s->dispatching)
		return;
	for (int i = 0; i < REQUESTS_PER_EVENT && !ret && !s->resume && !s->drop_wanted; i++) {
		ret = vhx_vu_message_recv(&s->msg, s->conn_fd);
		if (!ret)
			return;
		if (ret < 0)
			break;
		s->dispatching = true;
		ret = server_handle(s, request_begin(s));
		s->dispatching = false;
	}
	if (ret || s->resume || s->drop_wanted)
		server_settle(s, ret);
}

void vhx_vu_server_finish(struct vhx_vu_server *s, int result)
{
	int (*resume)(struct vhx_vu_server * s, int result) = s->resume;
	int ret;

	if (!resume || s->dispatching)
		return;
	assert(result != -EINPROGRESS);
	s->resume = NULL;
	s->dispatching = true;
	ret = server_handle(s, resume(s, result));
	s->dispatching = false;
	server_settle(s, ret);
}

/*
 * Sent without asking for an answer, so nothing is ever read from the channel. When it is full,
 * messages of the same kind are waiting in it: the VMM will read the config after this change
 * anyway.
 */
void vhx_vu_server_config_changed(struct vhx_vu_server *s)
{
	const uint64_t need = VHX_VU_P_BACKEND_REQ | VHX_VU_P_CONFIG;
	struct vhx_vu_header hdr = {
		.request = VHX_VU_BACKEND_CONFIG_CHANGE,
		.flags = VHX_VU_VERSION,
	};
	int ret;

	if (s->backend_fd < 0 || (s->protocol_features & need) != need)
		return;
	ret = vhx_vu_message_send(s->backend_fd, &hdr, NULL, -1);
	if (ret && ret != -EAGAIN)
		server_say(s, VHX_LOG_WARNING, "config change", "not sent", ret);
}

struct vhx_vu_queue *vhx_vu_server_queue(struct vhx_vu_server *s, uint16_t index)
{
	return index < VHX_VU_QUEUES_MAX ? &s->vqs[index].pub : NULL;
}

const struct vhx_ring_mem *vhx_vu_server_mem(struct vhx_vu_server *s)
{
	return &s->ring_mem;
}

void vhx_vu_server_dirty(struct vhx_vu_server *s, const void *p, uint64_t len)
{
	uint64_t gpa, left;

	if (vhx_likely(!vhx_vu_server_logging(s)))
		return;
	while (len && vhx_vu_memory_guest(s->memory, p, &gpa, &left)) {
		uint64_t part = vhx_min_u64(len, left);

		vhx_vu_dirty_mark(&s->dirty, gpa, part);
		p = (const uint8_t *)p + part;
		len -= part;
	}
}
