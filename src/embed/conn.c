// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A connection owns a loop and a frontend on it; both are made by the call that says where the backend is,
 * when their settings are known. The API is a thin layer: the states are the frontend's.
 *
 * A callback runs in the middle of a pass. What it may do is to add to a queue, which the same pass sends;
 * what would pull tables away under that pass is refused while `inside` is set.
 */
#include "embed/embed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange/local.h"

const char *vhx_version(void)
{
	return VHX_VERSION;
}

/* Work that a wait does not sleep over. */
static bool conn_prepare(struct vhx_loop_hook *hook)
{
	const struct vhx_conn *conn = vhx_container_of(hook, struct vhx_conn, hook);
	unsigned int i, j;

	for (i = 0; conn->waiting && i < conn->device_cnt; i++) {
		for (j = 0; j < VHX_VDEV_QUEUES_MAX; j++) {
			if (vhx_evq_ripe(conn->devices[i]->queues[j]))
				return true;
		}
	}
	return false;
}

static bool conn_run(struct vhx_loop_hook *hook)
{
	return false;
}

int vhx_conn_new(struct vhx_conn **out)
{
	struct vhx_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return -ENOMEM;
	conn->fd = -1;
	conn->ring_size = VHX_LOCAL_RING_DEFAULT;
	conn->poll_ns = VHX_LOOP_POLL_AUTO;
	conn->hook = (struct vhx_loop_hook){ .run = conn_run, .prepare = conn_prepare };
	*out = conn;
	return 0;
}

static void conn_close(struct vhx_conn *conn)
{
	vhx_frontend_free(conn->frontend);
	vhx_loop_free(conn->loop);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->frontend = NULL;
	conn->loop = NULL;
	conn->fd = -1;
}

void vhx_conn_free(struct vhx_conn *conn)
{
	unsigned int i;

	if (!conn)
		return;
	assert(!conn->inside);
	conn_close(conn);
	for (i = 0; i < conn->device_cnt; i++)
		vhx_edev_free(conn->devices[i]);
	free(conn);
}

/* Settings */

static void log_emit(void *ctx, enum vhx_log_level level, const char *text)
{
	const struct vhx_conn *conn = ctx;

	conn->log_fn(conn->log_ctx, (int)level, text);
}

int vhx_conn_set_log(struct vhx_conn *conn, int level, vhx_log_fn *fn, void *ctx)
{
	if (conn->loop)
		return -EISCONN;
	if (level < VHX_LOG_ERROR || level > VHX_LOG_DEBUG)
		return -EINVAL;
	conn->log_fn = fn;
	conn->log_ctx = ctx;
	conn->log = (struct vhx_log){ log_emit, conn, (enum vhx_log_level)level };
	return 0;
}

int vhx_conn_set_ring_size(struct vhx_conn *conn, size_t bytes)
{
	if (conn->loop)
		return -EISCONN;
	return vhx_embed_ring_size(bytes, &conn->ring_size);
}

int vhx_conn_set_poll(struct vhx_conn *conn, unsigned int usec)
{
	if (conn->loop)
		return -EISCONN;
	return vhx_embed_poll(usec, &conn->poll_ns);
}

/* Connecting */

static int socket_take(struct vhx_conn *conn)
{
	int fd;

	if (!conn->inherited)
		return vhx_unix_connect(conn->path, SOCK_SEQPACKET, NULL);
	fd = conn->fd;
	conn->fd = -1;
	return fd >= 0 ? fd : -ENOTCONN;
}

/* Called again only after a loss. */
static int conn_connect(void *ctx, struct vhx_port **port)
{
	struct vhx_conn *conn = ctx;
	unsigned int i;
	int sock, ret;

	for (i = 0; conn->connected_once && i < conn->device_cnt; i++)
		vhx_edev_event(conn->devices[i], VHX_EVENT_LOST);
	conn->connected_once = false;
	sock = socket_take(conn);
	if (sock < 0)
		return sock;
	ret = vhx_local_open(sock, conn->ring_size, port);
	conn->connected_once = !ret;
	return ret;
}

static int conn_open(struct vhx_conn *conn)
{
	struct vhx_frontend_config cfg = {
		.log = conn->log_fn ? &conn->log : NULL,
		.connect = conn_connect,
		.ctx = conn,
		.peer = conn->inherited ? "the inherited socket" : conn->path,
	};
	int ret = vhx_loop_new(conn->poll_ns, &conn->loop);

	if (ret)
		return ret;
	cfg.loop = conn->loop;
	ret = vhx_frontend_new(&cfg, &conn->frontend);
	if (ret) {
		conn_close(conn);
		return ret;
	}
	vhx_loop_hook_add(conn->loop, &conn->hook);
	vhx_frontend_start(conn->frontend);
	return 0;
}

int vhx_conn_connect(struct vhx_conn *conn, const char *address)
{
	int ret;

	if (conn->loop)
		return -EISCONN;
	ret = vhx_embed_address(address, conn->path);
	return ret ? ret : conn_open(conn);
}

int vhx_conn_connect_fd(struct vhx_conn *conn, int fd)
{
	if (fd < 0)
		return -EBADF;
	if (conn->loop) {
		close(fd);
		return -EISCONN;
	}
	conn->fd = fd;
	conn->inherited = true;
	return conn_open(conn);
}

/* Progress */

static int conn_usable(const struct vhx_conn *conn)
{
	if (conn->inside)
		return -EDEADLK;
	return conn->loop ? 0 : -ENOTCONN;
}

int vhx_conn_run(struct vhx_conn *conn)
{
	return conn_usable(conn) ?: vhx_loop_run(conn->loop);
}

void vhx_conn_stop(struct vhx_conn *conn)
{
	if (conn->loop)
		vhx_loop_stop(conn->loop);
}

int vhx_conn_wait(struct vhx_conn *conn, int timeout_ms)
{
	int ret = conn_usable(conn);

	if (ret)
		return ret;
	conn->waiting = true;
	ret = vhx_loop_once(conn->loop, timeout_ms);
	conn->waiting = false;
	return ret;
}

int vhx_conn_fileno(const struct vhx_conn *conn)
{
	return conn->loop ? vhx_loop_fileno(conn->loop) : -ENOTCONN;
}

int vhx_conn_dispatch(struct vhx_conn *conn)
{
	return conn_usable(conn) ?: vhx_loop_once(conn->loop, 0);
}

/* Stats */

static void port_stats(const struct vhx_port_stats *from, struct vhx_conn_stats *to)
{
	to->tx_messages = from->tx_messages;
	to->tx_bytes = from->tx_bytes;
	to->rx_messages = from->rx_messages;
	to->rx_bytes = from->rx_bytes;
	to->sends = from->sends;
	to->wakes_sent = from->wakes_sent;
	to->wakes_taken = from->wakes_taken;
	to->would_blocks = from->would_blocks;
}

static void conn_stats(const struct vhx_conn *conn, struct vhx_conn_stats *to)
{
	const struct vhx_port *port = vhx_frontend_port(conn->frontend);
	const struct vhx_loop_stats *loop = vhx_loop_stats(conn->loop);

	if (port)
		port_stats(&port->stats, to);
	to->credits_sent = vhx_frontend_credits_sent(conn->frontend);
	to->sleeps = loop->sleeps;
	to->polls = loop->polls;
	to->poll_hits = loop->poll_hits;
	to->memory = vhx_frontend_memory(conn->frontend);
}

void vhx_conn_stats(const struct vhx_conn *conn, struct vhx_conn_stats *stats, size_t size)
{
	struct vhx_conn_stats all = { 0 };

	if (conn->loop)
		conn_stats(conn, &all);
	memset(stats, 0, size);
	memcpy(stats, &all, vhx_min_u64(size, sizeof(all)));
}
