// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A server owns a loop and a backend on it, both made by the first call that needs them, when their settings
 * are known. A model is one of the backend's devices whose ops are the program's, with a plainer contract:
 *
 *   answer      the first write takes staging for all that the request may answer, once; the end sends it.
 *               Its length is in the request itself (PRIV_WRITTEN).
 *   reset       requests that the program holds are in a list of their queue. What the program has
 *               forgotten is dropped here; what it still ends is waited for: the queue is quiesced when its
 *               list is empty.
 *
 *   queue: serving --reset: forgotten--> quiesced
 *             `--reset: -EINPROGRESS--> draining --last request ended--> quiesced
 *
 * A struct vhx_req is a struct vhx_request: the tag only differs because the program must not see inside.
 *
 * What a peer can do ends at the backend below. The program's own mistakes here are refused where they can be
 * seen (lengths, configs), and undefined where not (a request that was ended).
 */
#include "vhx/device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/vdev.h"
#include "embed/embed.h"
#include "exchange/local.h"
#include "util/unix_guard.h"
#include "util/unix_socket.h"

#define STAGING_MAX (2u << 20)
#define DEVICE_ID_TYPES 64u /* VirtIO 5; and what a transport numbers devices by */
#define DEPTH_MIN 4u
#define ID_FIRST "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define ID_REST ID_FIRST "-_."

enum request_priv {
	PRIV_WRITTEN, /* bytes of the answer */
	PRIV_USER,
};

enum model_queue_state {
	QUEUE_SERVING,
	QUEUE_DRAINING,
};

struct model_queue {
	enum model_queue_state state;
	struct vhx_queue *resetting; /* while DRAINING */
	struct vhx_list held;
};

struct vhx_model {
	struct vhx_device dev;
	struct vhx_device_ops device_ops; /* the type differs per model */
	struct vhx_model_ops ops;
	void *ctx;
	struct vhx_server *server;
	struct model_queue queues[VHX_VDEV_QUEUES_MAX];
};

struct server_listener {
	struct vhx_server *server;
	struct vhx_unix_listener sock;
	struct vhx_loop_fd watch;
	struct vhx_unix_guard guard;
	struct vhx_log_limit limit;
	int spare_fd;
};

struct vhx_server {
	struct vhx_loop *loop; /* NULL: settings may still change */
	struct vhx_backend *backend;
	struct vhx_log log;
	vhx_log_fn *log_fn;
	void *log_ctx;
	uint32_t ring_size;
	uint64_t poll_ns;
	bool inside; /* a callback is being made */
	uint8_t cache_id[16];
	struct server_listener listeners[VHX_SERVER_LISTENERS_MAX];
	unsigned int listener_cnt;
};

/* Requests */

static struct vhx_request *request_of(struct vhx_req *req)
{
	return (struct vhx_request *)req;
}

static const struct vhx_request *request_of_const(const struct vhx_req *req)
{
	return (const struct vhx_request *)req;
}

static struct vhx_model *model_of(const struct vhx_device *dev)
{
	return vhx_container_of(vhx_unconst(dev), struct vhx_model, dev);
}

size_t vhx_req_out_len(const struct vhx_req *req)
{
	return request_of_const(req)->out_len;
}

size_t vhx_req_in_len(const struct vhx_req *req)
{
	return request_of_const(req)->in_len;
}

bool vhx_req_too_big(const struct vhx_req *req)
{
	return request_of_const(req)->too_big;
}

void vhx_req_set_user(struct vhx_req *req, void *user)
{
	request_of(req)->priv[PRIV_USER] = (uintptr_t)user;
}

void *vhx_req_user(const struct vhx_req *req)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): it was stored as one */
	return (void *)(uintptr_t)request_of_const(req)->priv[PRIV_USER];
}

size_t vhx_req_read(const struct vhx_req *req, size_t off, void *buf, size_t len)
{
	if (off > UINT32_MAX)
		return 0;
	return vhx_request_out_read(request_of_const(req), (uint32_t)off, buf,
				    (uint32_t)vhx_min_u64(len, UINT32_MAX));
}

static uint32_t answer_max(const struct vhx_request *r)
{
	return (uint32_t)vhx_min_u64(r->in_len, r->dev->max_in);
}

static void pages_fill(const struct iovec *pages, uint64_t off, const uint8_t *from, size_t len)
{
	while (len) {
		uint64_t within = off % VHX_PAGE;
		size_t n = vhx_min_u64(len, VHX_PAGE - within);

		memcpy((uint8_t *)pages[off / VHX_PAGE].iov_base + within, from, n);
		from += n;
		off += n;
		len -= n;
	}
}

int vhx_req_write(struct vhx_req *req, const void *buf, size_t len)
{
	struct vhx_request *r = request_of(req);
	uint64_t *written = &r->priv[PRIV_WRITTEN];
	int ret;

	if (len > answer_max(r) - *written)
		return -ENOSPC;
	if (!len)
		return 0;
	if (!r->in_cnt) {
		ret = vhx_request_in_buffer(r, 0, answer_max(r));
		if (ret)
			return ret;
	}
	pages_fill(r->in, *written, buf, len);
	*written += len;
	return 0;
}

static void queue_quiesced(struct model_queue *q)
{
	struct vhx_queue *queue = q->resetting;

	q->state = QUEUE_SERVING;
	q->resetting = NULL;
	vhx_queue_quiesced(queue);
}

static void request_end(struct vhx_request *r, uint32_t valid, const void *tail, uint32_t tail_len)
{
	struct vhx_model *model = model_of(r->dev);
	struct model_queue *q = &model->queues[vhx_queue_index(r->queue)];
	uint32_t tail_off = r->in_len - tail_len;
	bool whole = valid == tail_off;

	vhx_list_del(&r->node);
	vhx_request_complete(r, valid, tail, tail_off, tail_len, whole ? valid + tail_len : valid);
	if (q->state == QUEUE_DRAINING && vhx_list_empty(&q->held))
		queue_quiesced(q);
}

void vhx_req_end(struct vhx_req *req)
{
	struct vhx_request *r = request_of(req);

	request_end(r, (uint32_t)r->priv[PRIV_WRITTEN], NULL, 0);
}

void vhx_req_end_status(struct vhx_req *req, uint8_t status)
{
	struct vhx_request *r = request_of(req);
	uint32_t status_len = r->in_len ? 1 : 0;

	request_end(r, (uint32_t)vhx_min_u64(r->priv[PRIV_WRITTEN], r->in_len - status_len),
		    &status, status_len);
}

/* What the backend calls. The program's callbacks are made with server->inside set. */

static bool callback_begin(struct vhx_model *model)
{
	bool outer = model->server->inside;

	model->server->inside = true;
	return outer;
}

static void callback_end(struct vhx_model *model, bool outer)
{
	model->server->inside = outer;
}

static int model_submit(struct vhx_device *dev, struct vhx_request *r)
{
	struct vhx_model *model = model_of(dev);
	uint16_t index = vhx_queue_index(r->queue);
	bool outer;
	int ret;

	vhx_list_add_tail(&model->queues[index].held, &r->node);
	outer = callback_begin(model);
	ret = model->ops.request(model->ctx, index, (struct vhx_req *)r);
	callback_end(model, outer);
	if (ret)
		vhx_list_del(&r->node);
	return ret ? -EAGAIN : 0;
}

static void model_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vhx_model *model = model_of(dev);
	bool outer;

	if (!model->ops.room)
		return;
	outer = callback_begin(model);
	model->ops.room(model->ctx, vhx_queue_index(queue));
	callback_end(model, outer);
}

static void held_drop(struct model_queue *q)
{
	while (!vhx_list_empty(&q->held)) {
		struct vhx_request *r = vhx_list_first_entry(&q->held, struct vhx_request, node);

		vhx_list_del(&r->node);
		vhx_request_drop(r);
	}
}

static void model_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	struct vhx_model *model = model_of(dev);
	struct model_queue *q = &model->queues[vhx_queue_index(queue)];
	bool outer;
	int ret = 0;

	if (model->ops.reset) {
		outer = callback_begin(model);
		ret = model->ops.reset(model->ctx, vhx_queue_index(queue));
		callback_end(model, outer);
	}
	q->resetting = queue;
	if (!ret)
		held_drop(q);
	/* From here on the end of the last request is the queue's. */
	q->state = QUEUE_DRAINING;
	if (vhx_list_empty(&q->held))
		queue_quiesced(q);
}

static int model_set_features(struct vhx_device *dev, uint64_t features)
{
	struct vhx_model *model = model_of(dev);
	bool outer;
	int ret;

	features &= ~(VHX_FEATURES_RING | VHX_FEATURES_CROSSING);
	if (features & ~dev->features)
		return -EINVAL;
	if (!model->ops.features)
		return 0;
	outer = callback_begin(model);
	ret = model->ops.features(model->ctx, features);
	callback_end(model, outer);
	return ret ? -EINVAL : 0;
}

static int model_set_device_config(struct vhx_device *dev, uint32_t off, const void *buf,
				   uint32_t len)
{
	struct vhx_model *model = model_of(dev);
	bool outer;
	int ret;

	if (!model->ops.config_write)
		return -EINVAL;
	outer = callback_begin(model);
	ret = model->ops.config_write(model->ctx, off, buf, len);
	callback_end(model, outer);
	if (ret)
		return -EINVAL;
	memcpy(dev->config + off, buf, len);
	return 0;
}

static void model_close(struct vhx_device *dev)
{
	free(model_of(dev));
}

static const struct vhx_device_ops model_device_ops = {
	.name = "model",
	.submit = model_submit,
	.room = model_room,
	.reset = model_reset,
	.set_features = model_set_features,
	.set_config = model_set_device_config,
	.close = model_close,
};

/* Models */

static bool id_valid(const char *id)
{
	size_t len = id ? strlen(id) : 0;

	return len && len < VHX_DEVICE_ID_MAX && strchr(ID_FIRST, id[0]) &&
	       strspn(id, ID_REST) == len;
}

static bool config_valid(const struct vhx_model_config *c)
{
	if (!id_valid(c->id) || !c->type || c->type >= DEVICE_ID_TYPES)
		return false;
	if (!c->queues || c->queues > VHX_VDEV_QUEUES_MAX)
		return false;
	if (!vhx_is_power_of_2(c->depth) || c->depth < DEPTH_MIN || c->depth > VHX_VQ_DEPTH_MAX)
		return false;
	if (c->features & (VHX_FEATURES_RING | VHX_FEATURES_CROSSING))
		return false;
	if (c->max_out > VHX_MODEL_REQUEST_MAX || c->max_in > VHX_MODEL_REQUEST_MAX)
		return false;
	return c->config_len <= VHX_DEVICE_CONFIG_MAX && (c->config || !c->config_len);
}

/* The parts of the caller's struct that it has, with defaults for what is zero. */
static int config_take(const struct vhx_model_config *from, struct vhx_model_config *to)
{
	if (from->size < offsetof(struct vhx_model_config, config_len))
		return -EINVAL;
	*to = (struct vhx_model_config){ 0 };
	memcpy(to, from, vhx_min_u64(from->size, sizeof(*to)));
	to->depth = to->depth ?: VHX_MODEL_DEPTH_DEFAULT;
	to->max_out = to->max_out ?: VHX_MODEL_REQUEST_DEFAULT;
	to->max_in = to->max_in ?: VHX_MODEL_REQUEST_DEFAULT;
	return config_valid(to) ? 0 : -EINVAL;
}

/* FNV-1a, twice: all it has to be is the same for the same device. */
static uint64_t text_hash(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3ull;
	return hash;
}

static void uuid_fill(struct vhx_device *dev, const struct vhx_model_config *c)
{
	static const uint8_t none[sizeof(dev->uuid)];
	uint64_t words[2];

	memcpy(dev->uuid, c->uuid, sizeof(dev->uuid));
	if (memcmp(c->uuid, none, sizeof(none)))
		return;
	words[0] = text_hash(0xcbf29ce484222325ull ^ c->type, c->id);
	words[1] = text_hash(words[0], c->id);
	memcpy(dev->uuid, words, sizeof(words));
}

static struct vhx_model *model_new(struct vhx_server *server, const struct vhx_model_config *c)
{
	struct vhx_model *model = calloc(1, sizeof(*model));
	unsigned int i;

	if (!model)
		return NULL;
	model->server = server;
	model->device_ops = model_device_ops;
	model->device_ops.device_id = c->type;
	for (i = 0; i < VHX_VDEV_QUEUES_MAX; i++)
		vhx_list_init(&model->queues[i].held);
	model->dev = (struct vhx_device){
		.ops = &model->device_ops,
		.features = c->features,
		.num_queues = (uint16_t)c->queues,
		.queue_size_max = (uint16_t)c->depth,
		.max_out = c->max_out,
		.max_in = c->max_in,
		.config_len = (uint32_t)c->config_len,
		.memory = sizeof(*model),
		.log = server->log_fn ? &server->log : NULL,
		.loop = server->loop,
	};
	memcpy(model->dev.id, c->id, strlen(c->id) + 1);
	if (c->config_len)
		memcpy(model->dev.config, c->config, c->config_len);
	uuid_fill(&model->dev, c);
	memcpy(model->dev.cache_id, server->cache_id, sizeof(model->dev.cache_id));
	return model;
}

static int server_open(struct vhx_server *server)
{
	struct vhx_backend_config cfg = {
		.log = server->log_fn ? &server->log : NULL,
		.staging = (uint32_t)vhx_min_u64(2ull * server->ring_size, STAGING_MAX),
	};
	int ret;

	if (server->inside)
		return -EDEADLK;
	if (server->loop)
		return 0;
	ret = vhx_loop_new(server->poll_ns, &server->loop);
	if (ret)
		return ret;
	cfg.loop = server->loop;
	ret = vhx_backend_new(&cfg, &server->backend);
	if (ret) {
		vhx_loop_free(server->loop);
		server->loop = NULL;
	}
	return ret;
}

int vhx_model_add(struct vhx_server *server, const struct vhx_model_config *config,
		  const struct vhx_model_ops *ops, void *ctx, struct vhx_model **out)
{
	struct vhx_model_config taken;
	struct vhx_model *model;
	int ret;

	if (ops->size < offsetof(struct vhx_model_ops, room) || !ops->request)
		return -EINVAL;
	ret = config_take(config, &taken);
	if (!ret)
		ret = server_open(server);
	if (ret)
		return ret;
	model = model_new(server, &taken);
	if (!model)
		return -ENOMEM;
	memcpy(&model->ops, ops, vhx_min_u64(ops->size, sizeof(model->ops)));
	model->ctx = ctx;
	ret = vhx_backend_add_device(server->backend, &model->dev);
	if (ret) {
		free(model);
		return ret;
	}
	if (out)
		*out = model;
	return 0;
}

int vhx_model_set_config(struct vhx_model *model, size_t off, const void *buf, size_t len)
{
	if (off > model->dev.config_len || len > model->dev.config_len - off)
		return -EINVAL;
	memcpy(model->dev.config + off, buf, len);
	vhx_device_config_changed(&model->dev);
	return 0;
}

/* Settings and life */

static void log_emit(void *ctx, enum vhx_log_level level, const char *text)
{
	const struct vhx_server *server = ctx;

	server->log_fn(server->log_ctx, (int)level, text);
}

int vhx_server_set_log(struct vhx_server *server, int level, vhx_log_fn *fn, void *ctx)
{
	if (server->loop)
		return -EISCONN;
	if (level < VHX_LOG_ERROR || level > VHX_LOG_DEBUG)
		return -EINVAL;
	server->log_fn = fn;
	server->log_ctx = ctx;
	server->log = (struct vhx_log){ log_emit, server, (enum vhx_log_level)level };
	return 0;
}

int vhx_server_set_ring_size(struct vhx_server *server, size_t bytes)
{
	if (server->loop)
		return -EISCONN;
	return vhx_embed_ring_size(bytes, &server->ring_size);
}

int vhx_server_set_poll(struct vhx_server *server, unsigned int usec)
{
	if (server->loop)
		return -EISCONN;
	return vhx_embed_poll(usec, &server->poll_ns);
}

int vhx_server_new(struct vhx_server **out)
{
	struct vhx_server *server = calloc(1, sizeof(*server));

	if (!server)
		return -ENOMEM;
	/* Nothing that this process has not written out itself outlives it. */
	if (getrandom(server->cache_id, sizeof(server->cache_id), 0) !=
	    (ssize_t)sizeof(server->cache_id)) {
		free(server);
		return -EIO;
	}
	server->ring_size = VHX_LOCAL_RING_DEFAULT;
	server->poll_ns = VHX_LOOP_POLL_AUTO;
	*out = server;
	return 0;
}

static void listener_close(struct server_listener *l)
{
	vhx_loop_fd_del(l->server->loop, &l->watch);
	vhx_unix_unlisten(&l->sock);
	if (l->spare_fd >= 0)
		close(l->spare_fd);
}

void vhx_server_free(struct vhx_server *server)
{
	unsigned int i;

	if (!server)
		return;
	assert(!server->inside);
	for (i = 0; i < server->listener_cnt; i++)
		listener_close(&server->listeners[i]);
	vhx_backend_free(server->backend);
	vhx_loop_free(server->loop);
	free(server);
}

/* Channels */

static int channel_add(struct vhx_server *server, int sock)
{
	struct vhx_port *port;
	int ret = vhx_local_open(sock, server->ring_size, &port);

	return ret ? ret : vhx_backend_add_port(server->backend, port);
}

static void listener_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct server_listener *l = vhx_container_of(w, struct server_listener, watch);
	int sock = vhx_unix_accept_spare(l->sock.fd, &l->spare_fd);
	int ret;

	if (sock >= 0 && vhx_unix_guard_admit(&l->guard, sock, vhx_loop_now(l->server->loop))) {
		close(sock);
		return;
	}
	ret = sock < 0 ? sock : channel_add(l->server, sock);
	if (ret && ret != -EAGAIN && ret != -ECONNABORTED && ret != -EINTR)
		vhx_log_limited(l->server->log_fn ? &l->server->log : NULL, &l->limit,
				vhx_loop_now(l->server->loop), VHX_LOG_WARNING,
				"channel: refused: %s", strerror(-ret));
}

int vhx_server_listen(struct vhx_server *server, const char *address)
{
	struct server_listener *l;
	struct vhx_error err;
	char path[VHX_UNIX_PATH_MAX];
	int ret = vhx_embed_address(address, path);

	if (!ret)
		ret = server_open(server);
	if (!ret && server->listener_cnt == VHX_SERVER_LISTENERS_MAX)
		ret = -ENOSPC;
	if (ret)
		return ret;
	l = &server->listeners[server->listener_cnt];
	ret = vhx_unix_listen(&l->sock, path, SOCK_SEQPACKET, 0600, &err);
	if (ret)
		return ret;
	l->server = server;
	l->guard = (struct vhx_unix_guard){
		.name = l->sock.path,
		.log = server->log_fn ? &server->log : NULL,
	};
	l->spare_fd = vhx_unix_spare_open();
	l->watch = (struct vhx_loop_fd){ .fd = l->sock.fd,
					 .events = EPOLLIN,
					 .ready = listener_ready };
	ret = vhx_loop_fd_add(server->loop, &l->watch);
	if (ret)
		listener_close(l);
	else
		server->listener_cnt++;
	return ret;
}

int vhx_server_add_fd(struct vhx_server *server, int fd)
{
	int ret;

	if (fd < 0)
		return -EBADF;
	ret = server_open(server);
	if (ret) {
		close(fd);
		return ret;
	}
	return channel_add(server, fd);
}

unsigned int vhx_server_channel_count(const struct vhx_server *server)
{
	return server->backend ? vhx_backend_channel_count(server->backend) : 0;
}

/* Progress */

int vhx_server_run(struct vhx_server *server)
{
	return server_open(server) ?: vhx_loop_run(server->loop);
}

void vhx_server_stop(struct vhx_server *server)
{
	if (server->loop)
		vhx_loop_stop(server->loop);
}

int vhx_server_wait(struct vhx_server *server, int timeout_ms)
{
	return server_open(server) ?: vhx_loop_once(server->loop, timeout_ms);
}

int vhx_server_fileno(struct vhx_server *server)
{
	return server_open(server) ?: vhx_loop_fileno(server->loop);
}

int vhx_server_dispatch(struct vhx_server *server)
{
	return vhx_server_wait(server, 0);
}
