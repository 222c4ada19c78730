// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhx-backend: serves devices to frontends that meet it on unix sockets. It never sees guest memory: what it
 * knows of a guest is the bytes of its requests.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/backend.h"
#include "config/argo_spec.h"
#include "config/device_spec.h"
#include "device/image.h"
#include "exchange/argo_device.h"
#include "mediator/argo_peers.h"
#include "mediator/devices.h"
#include "mediator/operation.h"
#include "mediator/program.h"
#include "mediator/reception.h"
#include "mediator/stats.h"
#include "mediator/tracer.h"
#include "mediator/xen_names.h"
#include "util/unix_socket.h"

/* Staging follows the ring: a small one is asked for where memory is dear. */
#define STAGING_MAX (2u << 20)
/* No descriptor is inherited unless it is named. */
#define NO_FD UINT64_MAX

struct settings {
	struct vhx_program_settings common;
	struct vhx_option_list listen;
	struct vhx_option_list devices;
	uint64_t channel_fd;
};

static const struct vhx_option rows[] = {
	{ .name = "listen",
	  .metavar = "ADDRESS",
	  .kind = VHX_OPTION_LIST,
	  .offset = offsetof(struct settings, listen),
	  .traits = VHX_OPTION_LIVE_KEYS,
	  .help = "meet frontends; may be repeated.\n"
		  "unix:PATH[,KEY=VALUE...]: on this socket; keys, here and of other\n"
		  "sockets: mode, group, allow-uid, allow-gid, allow-label.\n"
		  "argo[:peer=DOMID|name:NAME|uuid:UUID|any]: domains of this Xen host" },
	{ .name = "channel-fd",
	  .metavar = "N",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = offsetof(struct settings, channel_fd),
	  .bounds = { 0, INT32_MAX, false },
	  .help = "serve one frontend on this inherited, connected descriptor, then exit" },
	{ .name = "device",
	  .metavar = "SPEC",
	  .kind = VHX_OPTION_LIST,
	  .offset = offsetof(struct settings, devices),
	  .help = "serve a device, TYPE[,KEY=VALUE...], see below; may be repeated" },
	VHX_PROGRAM_OPTIONS(struct settings),
};

static const struct vhx_options options = {
	.program = "vhx-backend",
	.usage = "--listen ADDRESS --device SPEC...",
	.summary = "Serves VirtIO devices by message exchange, without access to guest memory.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
	.help_more = vhx_device_types_help,
};

struct listener {
	struct server *server;
	struct vhx_socket_spec spec;
	struct vhx_unix_listener sock;
	struct vhx_unix_guard guard;
	struct vhx_loop_fd watch;
	struct vhx_log_limit limit;
	int spare_fd;
};

struct server {
	struct vhx_program program;
	const struct settings *settings;
	struct vhx_backend *backend;
	struct vhx_reception *reception;
	struct vhx_tracer tracer;
	struct vhx_source source;
	struct vhx_operation operation;
	struct listener listeners[VHX_OPTION_LIST_MAX];
	unsigned int listener_cnt;
	struct vhx_log_limit refusals;
	int argo_fd; /* the device of hmx_argo; -1: not asked for */
	struct vhx_argo_peers *peers; /* NULL likewise */
	struct vhx_xen_name wanted[VHX_OPTION_LIST_MAX];
	unsigned int wanted_cnt;
	struct vhx_xen_names *names; /* NULL: none are wanted */
};

static bool has_work(const struct settings *s)
{
	return (s->devices.cnt || s->common.control) && (s->listen.cnt || s->channel_fd != NO_FD);
}

static int specs_parse(const struct settings *s, struct vhx_device_spec *specs,
		       struct vhx_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < s->devices.cnt; i++)
		ret = vhx_device_spec_parse(s->devices.items[i], &specs[i], err);
	return ret ? ret : vhx_device_specs_check(specs, s->devices.cnt, err);
}

static const char nothing[] = "nothing to do: give --listen and --device or --control (see --help)";

static int settings_check(const void *settings_ctx, struct vhx_error *err)
{
	static struct vhx_device_spec specs[VHX_OPTION_LIST_MAX]; /* large */
	const struct settings *s = settings_ctx;
	int ret = specs_parse(s, specs, err);

	if (!ret && !has_work(s)) {
		vhx_error_set(err, "%s", nothing);
		ret = -EINVAL;
	}
	return ret;
}

static int sockets_check(const void *settings_ctx, struct vhx_error *err)
{
	const struct settings *s = settings_ctx;
	struct vhx_socket_spec spec;
	struct vhx_argo_spec argo;
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < s->listen.cnt; i++)
		ret = vhx_argo_spec_matches(s->listen.items[i])
			      ? vhx_argo_spec_parse(s->listen.items[i], &argo, err)
			      : vhx_socket_spec_parse(s->listen.items[i], &spec, err);
	return ret;
}

static const struct vhx_source_type source_type = {
	.options = &options,
	.settings_len = sizeof(struct settings),
	.check = settings_check,
	.check_sockets = sockets_check,
};

static struct settings settings;
static struct server server;

/* Devices */

/* The descriptor of @spec, where it has one, is the device's as soon as there is a device. */
static int device_add(struct server *s, const struct vhx_device_spec *spec, bool *taken,
		      struct vhx_error *err)
{
	struct vhx_device_env env = {
		.loop = s->program.loop,
		.log = s->program.log,
		.ring_size = (uint32_t)s->settings->common.ring_size,
		.sandbox = (enum vhx_confine_mode)s->settings->common.sandbox,
	};
	struct vhx_device *dev;
	int ret = vhx_device_new(&env, spec, &dev, err);

	*taken = !ret;
	if (ret)
		return ret;
	ret = vhx_backend_add_device(s->backend, dev);
	if (ret) {
		vhx_error_set(err, "%s: %s", spec->id,
			      ret == -EEXIST ? "there is a device of this id" : strerror(-ret));
		dev->ops->close(dev);
	}
	return ret;
}

static void device_removes(struct server *s, const struct vhx_device_spec *spec)
{
	unsigned int i;

	for (i = 0; i < VHX_SPEC_PATHS_MAX; i++) {
		const char *path = vhx_device_spec_path(spec, i);

		if (path)
			vhx_program_removes(&s->program, path);
	}
}

/* All of the command line is read before the first image is touched. */
static int devices_add(struct server *s)
{
	static struct vhx_device_spec specs[VHX_OPTION_LIST_MAX]; /* large */
	struct vhx_error err;
	unsigned int i;
	bool taken;
	int ret = specs_parse(s->settings, specs, &err);

	for (i = 0; !ret && i < s->settings->devices.cnt; i++) {
		ret = device_add(s, &specs[i], &taken, &err);
		device_removes(s, &specs[i]);
	}
	if (ret)
		vhx_log(s->program.log, VHX_LOG_ERROR, "%s", err.text);
	return ret;
}

/* Channels */

static void channel_add(void *ctx, struct vhx_port *port)
{
	struct server *s = ctx;
	int ret = vhx_backend_add_port(s->backend, port);

	if (ret)
		vhx_log_limited(s->program.log, &s->refusals, vhx_loop_now(s->program.loop),
				VHX_LOG_WARNING, "channel: refused: %s", strerror(-ret));
}

static void listener_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct listener *l = vhx_container_of(w, struct listener, watch);
	int sock = vhx_unix_accept_spare(l->sock.fd, &l->spare_fd);

	if (sock >= 0 &&
	    vhx_unix_guard_admit(&l->guard, sock, vhx_loop_now(l->server->program.loop)))
		close(sock);
	else if (sock >= 0)
		vhx_reception_add(l->server->reception, sock);
	else if (sock != -EAGAIN && sock != -ECONNABORTED && sock != -EINTR)
		vhx_log_limited(l->server->program.log, &l->limit,
				vhx_loop_now(l->server->program.loop), VHX_LOG_WARNING,
				"channel: refused: %s", strerror(-sock));
}

static int listener_add(struct server *s, const char *text)
{
	struct listener *l = &s->listeners[s->listener_cnt];
	struct vhx_error err;
	int ret;

	ret = vhx_socket_spec_parse(text, &l->spec, &err);
	if (!ret)
		ret = vhx_unix_listen_policy(&l->sock, l->spec.path, SOCK_SEQPACKET,
					     &l->spec.policy, &err);
	if (ret) {
		vhx_log(s->program.log, VHX_LOG_ERROR, "%s", err.text);
		return ret;
	}
	s->listener_cnt++;
	if (l->sock.owned)
		vhx_program_removes(&s->program, l->sock.path);
	l->spare_fd = vhx_unix_spare_open();
	l->server = s;
	l->guard = (struct vhx_unix_guard){ .policy = &l->spec.policy,
					    .name = l->spec.path,
					    .log = s->program.log };
	l->watch = (struct vhx_loop_fd){ .fd = l->sock.fd,
					 .events = EPOLLIN,
					 .ready = listener_ready };
	return vhx_loop_fd_add(s->program.loop, &l->watch);
}

/* Domains of this Xen host */

static int argo_endpoint(void *ctx, struct vhx_argo_dev **dev)
{
	struct server *s = ctx;

	return vhx_argo_device_endpoint(s->argo_fd, dev);
}

/* Opened once: a confined program opens nothing any more. */
static int argo_open(struct server *s, struct vhx_error *err)
{
	struct vhx_argo_peers_config cfg = {
		.loop = s->program.loop,
		.log = s->program.log,
		.ring_len = vhx_argo_ring_len(s->settings->common.ring_size),
		.endpoint = argo_endpoint,
		.met = channel_add,
		.ctx = s,
	};
	int ret;

	if (s->peers)
		return 0;
	s->argo_fd = vhx_argo_device_open();
	if (s->argo_fd < 0) {
		vhx_error_set(err, HMX_ARGO_DEVICE ": %s%s", strerror(-s->argo_fd),
			      s->argo_fd == -ENOENT ? " (is hmx_argo loaded?)" : "");
		return s->argo_fd;
	}
	ret = vhx_argo_peers_new(&cfg, &s->peers);
	if (ret)
		vhx_error_set(err, "%s", strerror(-ret));
	return ret;
}

static int argo_add(struct server *s, const char *text)
{
	struct vhx_argo_spec spec;
	struct vhx_error err;
	uint32_t index;
	int ret = vhx_argo_spec_parse(text, &spec, &err);

	if (!ret)
		ret = argo_open(s, &err);
	if (!ret)
		ret = vhx_argo_peers_add(s->peers, &spec, &index, &err);
	if (!ret && (spec.kind == VHX_ARGO_SPEC_NAME || spec.kind == VHX_ARGO_SPEC_UUID))
		s->wanted[s->wanted_cnt++] = (struct vhx_xen_name){ spec, index };
	if (ret)
		vhx_log(s->program.log, VHX_LOG_ERROR, "%s", err.text);
	return ret;
}

static void name_found(void *ctx, uint32_t index, uint16_t domid)
{
	struct server *s = ctx;

	vhx_argo_peers_found(s->peers, index, domid);
}

static void names_lost(void *ctx)
{
	struct server *s = ctx;

	vhx_log(s->program.log, VHX_LOG_ERROR,
		"xenstore is gone: names of domains are not followed any more");
}

static int names_open(struct server *s)
{
	const struct vhx_xen_names_config cfg = {
		.loop = s->program.loop,
		.names = s->wanted,
		.names_cnt = s->wanted_cnt,
		.found = name_found,
		.lost = names_lost,
		.ctx = s,
	};
	struct vhx_error err;
	int ret = s->wanted_cnt ? vhx_xen_names_open(&cfg, &s->names, &err) : 0;

	if (ret)
		vhx_log(s->program.log, VHX_LOG_ERROR, "%s", err.text);
	return ret;
}

static void listeners_close(struct server *s)
{
	unsigned int i;

	for (i = 0; i < s->listener_cnt; i++) {
		vhx_loop_fd_del(s->program.loop, &s->listeners[i].watch);
		vhx_unix_unlisten(&s->listeners[i].sock);
		if (s->listeners[i].spare_fd >= 0)
			close(s->listeners[i].spare_fd);
	}
}

/* The only frontend left, and no other can come. */
static void channel_over(void *ctx)
{
	struct server *s = ctx;

	vhx_loop_stop(s->program.loop);
}

static int listeners_open(struct server *s)
{
	const struct vhx_option_list *texts = &s->settings->listen;
	struct vhx_reception_config cfg = {
		.loop = s->program.loop,
		.log = s->program.log,
		.ring_len = (uint32_t)s->settings->common.ring_size,
		.met = channel_add,
		.ctx = s,
	};
	unsigned int i;
	int ret = vhx_reception_new(&cfg, &s->reception);

	for (i = 0; !ret && i < texts->cnt; i++)
		ret = vhx_argo_spec_matches(texts->items[i]) ? argo_add(s, texts->items[i])
							     : listener_add(s, texts->items[i]);
	return ret ? ret : names_open(s);
}

/* Whoever passed the descriptor on brings a section. */
static int inherited_open(struct server *s)
{
	struct vhx_port *port;
	int ret;

	if (s->settings->channel_fd == NO_FD)
		return 0;
	ret = vhx_local_open((int)s->settings->channel_fd, (uint32_t)s->settings->common.ring_size,
			     &port);
	if (!ret)
		ret = vhx_backend_add_port(s->backend, port);
	if (ret) {
		vhx_log(s->program.log, VHX_LOG_ERROR, "channel: refused: %s", strerror(-ret));
		return ret;
	}
	if (!s->settings->listen.cnt)
		vhx_backend_on_idle(s->backend, channel_over, s);
	return 0;
}

/* Stats */

struct stats_walk {
	struct json_object *into;
	int ret;
};

static void channel_stats(void *ctx, const struct vhx_port *port, const char *state,
			  uint64_t credits_sent)
{
	struct stats_walk *w = ctx;
	struct vhx_stats_channel channel = { .state = state,
					     .port = port,
					     .credits_sent = credits_sent };

	w->ret = w->ret ?: vhx_stats_add_channel(w->into, &channel);
}

static void device_stats(void *ctx, const struct vhx_device *dev, const char *state,
			 const struct vhx_backend_stats *stats)
{
	struct stats_walk *w = ctx;
	struct vhx_stats_device device = {
		.id = dev->id,
		.type = dev->ops->name,
		.state = state,
		.requests = stats->requests,
		.completed = stats->completed,
		.bytes_out = stats->bytes_out,
		.bytes_in = stats->bytes_in,
		.bytes_copied = stats->bytes_copied,
		.latency = &stats->latency,
	};

	w->ret = w->ret ?: vhx_stats_add_device(w->into, &device);
}

static const struct vhx_backend_visitor stats_visitor = {
	.channel = channel_stats,
	.device = device_stats,
};

static int stats_run(void *ctx, struct json_object *into)
{
	struct server *s = ctx;
	struct stats_walk w = { .into = into };

	w.ret = vhx_stats_begin(into, options.program, vhx_backend_memory(s->backend));
	vhx_backend_visit(s->backend, &stats_visitor, &w);
	return w.ret;
}

struct status_walk {
	unsigned int channels, devices, used;
};

static void channel_count(void *ctx, const struct vhx_port *port, const char *state,
			  uint64_t credits_sent)
{
	((struct status_walk *)ctx)->channels++;
}

static void device_count(void *ctx, const struct vhx_device *dev, const char *state,
			 const struct vhx_backend_stats *stats)
{
	struct status_walk *w = ctx;

	w->devices++;
	w->used += !strcmp(state, "attached");
}

static const struct vhx_backend_visitor status_visitor = {
	.channel = channel_count,
	.device = device_count,
};

static void status_tell(void *ctx, char text[VHX_NOTIFIER_STATUS_MAX])
{
	struct server *s = ctx;
	struct status_walk w = { 0 };

	vhx_backend_visit(s->backend, &status_visitor, &w);
	snprintf(text, VHX_NOTIFIER_STATUS_MAX, "%u of %u devices in use, %u frontends connected",
		 w.used, w.devices, w.channels);
}

/* Reload */

/* Who may connect to a socket that is there. */
static int listener_apply(struct listener *l, const char *text, bool commit, struct vhx_error *err)
{
	struct vhx_socket_spec spec;
	int ret = vhx_socket_spec_parse(text, &spec, err);

	if (ret)
		return ret;
	if (strcmp(spec.path, l->spec.path)) {
		vhx_error_set(err,
			      "listen: the path cannot change while the program runs: restart it");
		return -EBUSY;
	}
	return vhx_reload_policy(&l->spec.policy, &spec.policy, commit, "listen", err);
}

/* Both lists are of one length; sockets are in the order of theirs, domains are none. */
static int listen_apply(struct server *s, const struct vhx_option_list *wanted, bool commit,
			struct vhx_error *err)
{
	const struct vhx_option_list *old = &s->settings->listen;
	unsigned int i, socket = 0;
	int ret = 0;

	for (i = 0; !ret && i < old->cnt; i++) {
		bool argo = vhx_argo_spec_matches(old->items[i]);

		if (strcmp(old->items[i], wanted->items[i]) && argo) {
			vhx_error_set(err,
				      "listen: %s cannot change while the program runs: restart it",
				      old->items[i]);
			ret = -EBUSY;
		} else if (strcmp(old->items[i], wanted->items[i])) {
			ret = listener_apply(&s->listeners[socket], wanted->items[i], commit, err);
		}
		socket += !argo;
	}
	return ret;
}

static int settings_apply(void *ctx, const void *wanted_ctx, bool commit, struct vhx_error *err)
{
	const struct settings *wanted = wanted_ctx;
	struct server *s = ctx;
	int ret = vhx_reload_control(&s->operation.reload, &wanted->common, commit, err);

	if (ret)
		return ret;
	if (wanted->listen.cnt != s->settings->listen.cnt) {
		vhx_error_set(err,
			      "listen: no socket comes or goes while the program runs: restart it");
		return -EBUSY;
	}
	return listen_apply(s, &wanted->listen, commit, err);
}

static int reload_change(void *ctx, struct vhx_control_request *req, struct json_object *into,
			 struct vhx_error *err)
{
	return vhx_reload_change(&((struct server *)ctx)->operation.reload, req, err);
}

static int trace_take(void *ctx, struct json_object *request, int fd)
{
	struct server *s = ctx;

	return vhx_tracer_take(&s->tracer, request, fd);
}

/* What the operator changes */

static int device_add_change(void *ctx, struct vhx_control_request *req, struct json_object *into,
			     struct vhx_error *err)
{
	static struct vhx_device_spec spec; /* large */
	const char *text;
	const struct vhx_control_argument arguments[] = { { .name = "spec", .value = &text } };
	struct server *s = ctx;
	bool taken = false;
	int ret;

	ret = vhx_control_arguments(req, arguments, VHX_ARRAY_SIZE(arguments), err);
	if (!ret)
		ret = vhx_device_spec_parse(text, &spec, err);
	if (!ret)
		ret = vhx_device_take_fd(&spec, req->fd, err);
	if (!ret)
		ret = device_add(s, &spec, &taken, err);
	if (taken)
		req->fd = -1;
	if (!ret)
		vhx_log(s->program.log, VHX_LOG_INFO, "%s: added", spec.id);
	return ret;
}

static int device_remove_change(void *ctx, struct vhx_control_request *req,
				struct json_object *into, struct vhx_error *err)
{
	const char *id;
	const struct vhx_control_argument arguments[] = { { .name = "id", .value = &id } };
	struct server *s = ctx;
	int ret;

	ret = vhx_control_arguments(req, arguments, VHX_ARRAY_SIZE(arguments), err);
	if (ret)
		return ret;
	ret = vhx_backend_remove_device(s->backend, id);
	if (ret)
		vhx_error_set(err, "there is no device '%s'", id);
	return ret;
}

static int peer_argument(struct server *s, const struct vhx_control_request *req, uint16_t *domid,
			 struct vhx_error *err)
{
	const char *text;
	const struct vhx_control_argument arguments[] = { { .name = "domain", .value = &text } };
	int ret = vhx_control_arguments(req, arguments, VHX_ARRAY_SIZE(arguments), err);

	if (!ret)
		ret = vhx_argo_domid_parse(text, domid, err);
	if (!ret && !s->peers) {
		vhx_error_set(err, "this backend was not started with --listen argo");
		ret = -EOPNOTSUPP;
	}
	return ret;
}

static int peer_add_change(void *ctx, struct vhx_control_request *req, struct json_object *into,
			   struct vhx_error *err)
{
	struct vhx_argo_spec spec = { .kind = VHX_ARGO_SPEC_DOMID };
	struct server *s = ctx;
	int ret = peer_argument(s, req, &spec.domid, err);

	return ret ? ret : vhx_argo_peers_add(s->peers, &spec, NULL, err);
}

static int peer_remove_change(void *ctx, struct vhx_control_request *req, struct json_object *into,
			      struct vhx_error *err)
{
	struct server *s = ctx;
	uint16_t domid;
	int ret = peer_argument(s, req, &domid, err);

	return ret ? ret : vhx_argo_peers_remove(s->peers, domid, err);
}

static const struct vhx_control_command commands[] = {
	{ .name = "stats", .run = stats_run },
	{ .name = "trace", .take = trace_take },
	{ .name = "device-add", .change = device_add_change },
	{ .name = "device-remove", .change = device_remove_change },
	{ .name = "peer-add", .change = peer_add_change },
	{ .name = "peer-remove", .change = peer_remove_change },
	{ .name = "reload", .change = reload_change },
};

static int operation_open(struct server *s)
{
	struct vhx_operation_config cfg = {
		.program = &s->program,
		.source = &s->source,
		.settings = &settings,
		.commands = commands,
		.commands_cnt = VHX_ARRAY_SIZE(commands),
		.stats = stats_run,
		.apply = settings_apply,
		.ctx = s,
	};
	struct vhx_error err;
	int ret = vhx_operation_open(&s->operation, &cfg, &err);

	if (ret)
		vhx_log(s->program.log, VHX_LOG_ERROR, "%s", err.text);
	return ret;
}

static int server_start(struct server *s)
{
	struct vhx_backend_config cfg = {
		.loop = s->program.loop,
		.log = s->program.log,
		.trace = &s->tracer.trace,
		.staging = (uint32_t)vhx_min_u64(2 * s->settings->common.ring_size, STAGING_MAX),
	};
	int ret;

	vhx_tracer_init(&s->tracer, s->program.loop);
	vhx_image_prepare();
	ret = vhx_backend_new(&cfg, &s->backend);
	/* Sockets first: who cannot have his socket need not touch an image. Nobody is answered before run. */
	if (!ret)
		ret = listeners_open(s);
	if (!ret)
		ret = devices_add(s);
	if (!ret)
		ret = inherited_open(s);
	if (!ret)
		ret = operation_open(s);
	if (!ret)
		ret = vhx_program_confine(&s->program, s->peers ? &vhx_confine_backend_argo
								: &vhx_confine_backend);
	return ret;
}

static void server_end(struct server *s)
{
	vhx_operation_close(&s->operation);
	listeners_close(s);
	vhx_reception_free(s->reception);
	vhx_xen_names_close(s->names);
	vhx_backend_free(s->backend);
	vhx_argo_peers_free(s->peers);
	if (s->argo_fd >= 0)
		close(s->argo_fd);
	vhx_tracer_fini(&s->tracer);
	vhx_program_fini(&s->program);
	vhx_source_fini(&s->source);
}

int main(int argc, char **argv)
{
	int code, ret;

	vhx_program_defaults(&settings.common);
	settings.channel_fd = NO_FD;
	if (!vhx_source_read(&server.source, &source_type, argc, argv, &settings, &code))
		return code;
	server.settings = &settings;
	server.argo_fd = -1;
	if (vhx_program_init(&server.program, options.program, &settings.common))
		return VHX_EXIT_FAILED;
	if (!has_work(&settings)) {
		vhx_log(server.program.log, VHX_LOG_ERROR, "%s", nothing);
		vhx_program_fini(&server.program);
		return VHX_EXIT_USAGE;
	}
	ret = server_start(&server);
	if (!ret) {
		vhx_program_ready(&server.program, status_tell, &server);
		ret = vhx_loop_run(server.program.loop);
	}
	server_end(&server);
	return ret ? VHX_EXIT_FAILED : server.program.exit_code;
}
