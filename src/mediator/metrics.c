// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * libmicrohttpd does HTTP, in the loop's thread and on a listening socket of ours. It has an epoll descriptor of its
 * own, which the loop watches; and it names a time after which it wants to run all the same, for its timeouts and for
 * what it left undone, which a timer of the loop is armed with after each run.
 *
 * A hostile client has had to reach the socket. It can take one of VHX_METRICS_CLIENTS_MAX places for
 * VHX_METRICS_TIMEOUT_S and VHX_METRICS_CLIENT_MEMORY bytes for its headers, and make us format the counters as often
 * as it likes, one scrape at a time between the devices' work. Bodies of requests are refused.
 */
#include "mediator/metrics.h"

#include <json-c/json.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/address.h"
#include "config/socket_spec.h"
#include "mediator/metrics_text.h"
#include "util/unix_socket.h"

#define NS_PER_MS 1000000ull
#define BACKLOG 8
#define UNIX_PREFIX "unix:"
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct vhx_metrics {
	struct vhx_loop *loop;
	struct vhx_metrics_config cfg;
	struct vhx_unix_listener listener; /* of a unix address */
	struct MHD_Daemon *daemon;
	struct vhx_loop_fd watch;
	struct vhx_loop_timer timer;
};

/* Requests */

static enum MHD_Result answer(struct MHD_Connection *conn, unsigned int status,
			      struct MHD_Response *response)
{
	enum MHD_Result ret;

	if (!response)
		return MHD_NO;
	ret = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return ret;
}

static enum MHD_Result answer_plain(struct MHD_Connection *conn, unsigned int status,
				    const char *text)
{
	return answer(conn, status,
		      MHD_create_response_from_buffer(strlen(text), vhx_unconst(text),
						      MHD_RESPMEM_PERSISTENT));
}

static int scrape(struct vhx_metrics *m, char **text, size_t *len)
{
	struct json_object *stats = json_object_new_object();
	int ret = stats ? m->cfg.stats(m->cfg.ctx, stats) : -ENOMEM;

	if (!ret)
		ret = vhx_metrics_text(stats, text, len);
	json_object_put(stats);
	return ret;
}

static enum MHD_Result answer_metrics(struct vhx_metrics *m, struct MHD_Connection *conn)
{
	struct MHD_Response *response;
	char *text;
	size_t len;

	if (scrape(m, &text, &len))
		return answer_plain(conn, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	else
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
	return answer(conn, MHD_HTTP_OK, response);
}

/* Called when the headers are there, and for each piece of a body. */
static enum MHD_Result request(void *ctx, struct MHD_Connection *conn, const char *url,
			       const char *method, const char *version, const char *body,
			       size_t *body_len, void **conn_ctx)
{
	if (*body_len)
		return MHD_NO;
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return answer_plain(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
	if (strcmp(url, "/metrics"))
		return answer_plain(conn, MHD_HTTP_NOT_FOUND, "/metrics only\n");
	return answer_metrics(ctx, conn);
}

/* The loop */

static void metrics_run(struct vhx_metrics *m)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(m->daemon);
	vhx_loop_timer_cancel(m->loop, &m->timer);
	if (MHD_get_timeout(m->daemon, &ms) == MHD_YES)
		vhx_loop_timer_arm(m->loop, &m->timer, ms * NS_PER_MS);
}

static void metrics_ready(struct vhx_loop_fd *w, uint32_t events)
{
	metrics_run(vhx_container_of(w, struct vhx_metrics, watch));
}

static void metrics_expired(struct vhx_loop_timer *t)
{
	metrics_run(vhx_container_of(t, struct vhx_metrics, timer));
}

/* Life */

static int tcp_listen(const struct vhx_listen_address *address)
{
	const int on = 1;
	int ret, fd = socket(address->sockaddr.ss_family,
			     SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (const struct sockaddr *)&address->sockaddr, address->sockaddr_len) ||
	    listen(fd, BACKLOG)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* libmicrohttpd accepts, and shows us nobody: the file alone says who may. */
static int unix_listen(struct vhx_metrics *m, struct vhx_error *err)
{
	struct vhx_socket_spec spec;
	int ret = vhx_socket_spec_parse(m->cfg.address, &spec, err);

	if (ret)
		return ret;
	if (spec.policy.uids_cnt || spec.policy.gids_cnt || spec.policy.label[0]) {
		vhx_error_set(err, "--metrics: who connects is not looked at: use mode and group");
		return -EINVAL;
	}
	ret = vhx_unix_listen_policy(&m->listener, spec.path, SOCK_STREAM, &spec.policy, err);
	return ret ? ret : vhx_unix_listener_steal(&m->listener);
}

/* A descriptor of the caller's, or negative with a text. */
static int metrics_listen(struct vhx_metrics *m, struct vhx_error *err)
{
	struct vhx_listen_address address;
	int ret;

	if (!strncmp(m->cfg.address, UNIX_PREFIX, strlen(UNIX_PREFIX)))
		return unix_listen(m, err);
	ret = vhx_listen_address_parse(m->cfg.address, &address, err);
	if (ret)
		return ret;
	ret = tcp_listen(&address);
	if (ret < 0)
		vhx_error_set(err, "%s: %s", m->cfg.address, strerror(-ret));
	return ret;
}

/* Takes @fd over. */
static int daemon_start(struct vhx_metrics *m, int fd)
{
	const union MHD_DaemonInfo *info;

	m->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, request, m,
				     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				     VHX_METRICS_CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
				     VHX_METRICS_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				     (size_t)VHX_METRICS_CLIENT_MEMORY, MHD_OPTION_END);
	if (!m->daemon) {
		close(fd);
		return -ENOMEM;
	}
	info = MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -EOPNOTSUPP;
	m->watch = (struct vhx_loop_fd){ .fd = info->epoll_fd,
					 .events = EPOLLIN,
					 .ready = metrics_ready };
	return vhx_loop_fd_add(m->loop, &m->watch);
}

int vhx_metrics_open(struct vhx_loop *loop, const struct vhx_metrics_config *cfg,
		     struct vhx_metrics **metrics, struct vhx_error *err)
{
	struct vhx_metrics *m = calloc(1, sizeof(*m));
	int fd, ret;

	if (!m) {
		vhx_error_set(err, "%s: %s", cfg->address, strerror(ENOMEM));
		return -ENOMEM;
	}
	m->loop = loop;
	m->cfg = *cfg;
	m->listener.fd = -1;
	m->watch.fd = -1;
	m->timer.expired = metrics_expired;
	fd = metrics_listen(m, err);
	if (fd < 0) {
		ret = fd;
		goto close_metrics;
	}
	ret = daemon_start(m, fd);
	if (ret) {
		vhx_error_set(err, "%s: HTTP server: %s", cfg->address, strerror(-ret));
		goto close_metrics;
	}
	*metrics = m;
	return 0;

close_metrics:
	vhx_metrics_close(m);
	return ret;
}

const char *vhx_metrics_path(const struct vhx_metrics *m)
{
	return m->listener.owned ? m->listener.path : NULL;
}

void vhx_metrics_close(struct vhx_metrics *m)
{
	if (!m)
		return;
	vhx_loop_timer_cancel(m->loop, &m->timer);
	vhx_loop_fd_del(m->loop, &m->watch);
	/* The name first: once the descriptor is closed, a successor may take it. */
	vhx_unix_unlisten(&m->listener);
	if (m->daemon)
		MHD_stop_daemon(m->daemon);
	free(m);
}
