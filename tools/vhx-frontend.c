// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhx-frontend: the trusted half. It holds the guest's memory map, which the VMM passed over vhost-user, and
 * carries requests to a backend that gets none of it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/address.h"
#include "config/argo_spec.h"
#include "config/device_spec.h"
#include "config/vduse_spec.h"
#include "core/devtype.h"
#include "exchange/argo.h"
#include "exchange/argo_device.h"
#include "frontend/frontend.h"
#include "mediator/guest.h"
#include "mediator/operation.h"
#include "mediator/program.h"
#include "mediator/spawner.h"
#include "mediator/stats.h"
#include "mediator/tracer.h"
#include "mediator/vduse_guest.h"
#include "util/unix_socket.h"

struct settings {
	struct vhx_program_settings common;
	const char *connect;
	const char *spawn;
	struct vhx_option_list vhost_user;
	struct vhx_option_list vduse;
	/* QEMU's conventions for vhost-user programs */
	const char *socket_path;
	const char *blk_file;
	uint64_t fd;
	bool read_only;
	bool print_capabilities;
};

/* No descriptor is inherited unless it is named. */
#define NO_FD UINT64_MAX
#define PRINT_CAPABILITIES "print-capabilities"

static const struct vhx_option rows[] = {
	{ .name = "connect",
	  .metavar = "ADDRESS",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, connect),
	  .help = "the backend: unix:PATH, its socket; argo:peer=DOMID, the one in that\n"
		  "domain of this Xen host" },
	{ .name = "spawn",
	  .metavar = "SPEC",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, spawn),
	  .help = "start an unprivileged backend for one device instead:\n"
		  "blk,file=IMAGE[,...], see vhx-backend" },
	{ .name = "vhost-user",
	  .metavar = "SOCKET[,id=NAME]",
	  .kind = VHX_OPTION_LIST,
	  .offset = offsetof(struct settings, vhost_user),
	  .traits = VHX_OPTION_LIVE_KEYS,
	  .help = "present the backend's device NAME (default: its only one) to\n"
		  "a VMM on this socket; may be repeated" },
	{ .name = "vduse",
	  .metavar = "NAME[,KEY=VALUE...]",
	  .kind = VHX_OPTION_LIST,
	  .offset = offsetof(struct settings, vduse),
	  .help = "present it to this kernel, as the VDUSE device NAME: id=, queue-size=N\n"
		  "(default 256), packed; may be repeated. Then, to bind it:\n"
		  "vdpa dev add name NAME mgmtdev vduse" },
	{ .name = "socket-path",
	  .metavar = "PATH",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, socket_path),
	  .help = "--vhost-user by the conventions for such programs" },
	{ .name = "fd",
	  .metavar = "N",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = offsetof(struct settings, fd),
	  .bounds = { 0, INT32_MAX, false },
	  .help = "the same on an inherited socket; a connected one ends the\n"
		  "program with its VMM" },
	{ .name = "blk-file",
	  .metavar = "PATH",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, blk_file),
	  .help = "--spawn of a disk by these conventions" },
	{ .name = "read-only",
	  .kind = VHX_OPTION_FLAG,
	  .offset = offsetof(struct settings, read_only),
	  .help = "and its image is not written to" },
	{ .name = PRINT_CAPABILITIES,
	  .kind = VHX_OPTION_FLAG,
	  .offset = offsetof(struct settings, print_capabilities),
	  .traits = VHX_OPTION_COMMAND_LINE,
	  .help = "what of them is there, as JSON" },
	VHX_PROGRAM_OPTIONS(struct settings),
};

static const struct vhx_options options = {
	.program = "vhx-frontend",
	.usage = "--connect ADDRESS --vhost-user SOCKET[,id=NAME]...",
	.summary =
		"Presents a backend's VirtIO devices to VMMs over vhost-user, or to this kernel.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
};

/* A hang guard: more than a queue's stop takes at the most. */
#define DRAIN_ROUND_MS 50
#define DRAIN_ROUNDS_MAX 100000u

struct presented {
	struct vhx_unix_listener sock;
	struct vhx_guest *guest;
	struct vhx_vhost_user_spec spec;
	struct vhx_vduse_guest *vduse; /* instead of the three above */
	struct vhx_vduse_spec vduse_spec;
};

struct client {
	struct vhx_program program;
	const struct settings *settings;
	struct vhx_address backend;
	struct vhx_argo_spec domain;
	int argo_fd; /* the device of hmx_argo; -1: not asked for */
	int argo_told; /* the obstacle that the log knows of */
	struct vhx_device_spec spawn_spec;
	char backend_program[4096];
	struct vhx_spawner spawner;
	unsigned int spawn_cnt;
	struct vhx_frontend *frontend;
	struct vhx_tracer tracer;
	struct vhx_source source;
	struct vhx_operation operation;
	/* In this order: --vhost-user, the one of the conventions, --vduse. */
	struct presented presented[2 * VHX_OPTION_LIST_MAX + 1];
	unsigned int presented_cnt;
	struct vhx_vduse_keeper_config keeper_cfg;
	struct vhx_vduse_keeper keeper;
};

/* What is wrong with them as a whole, or NULL. */
static const char *settings_fault(const struct settings *s)
{
	unsigned int sides = !!s->connect + !!s->spawn + !!s->blk_file;

	if (s->socket_path && s->fd != NO_FD)
		return "--socket-path and --fd exclude each other";
	if (sides != 1 ||
	    (!s->vhost_user.cnt && !s->vduse.cnt && !s->socket_path && s->fd == NO_FD))
		return "give --vhost-user or --vduse, and one of --connect and --spawn (see "
		       "--help)";
	return NULL;
}

static int spawn_check(const char *text, struct vhx_device_spec *spec, struct vhx_error *err)
{
	int ret = vhx_device_spec_parse(text, spec, err);

	if (ret)
		return ret;
	if (strcmp(vhx_device_spec_type(spec), "blk")) {
		vhx_error_set(err, "--spawn serves blk only; start vhx-backend for %s",
			      vhx_device_spec_type(spec));
		return -EINVAL;
	}
	if (!spec->blk.file[0]) {
		vhx_error_set(err, "--spawn needs file=");
		return -EINVAL;
	}
	return 0;
}

static int settings_check(const void *settings_ctx, struct vhx_error *err)
{
	static struct vhx_device_spec spec; /* large */
	const struct settings *s = settings_ctx;
	struct vhx_address address;
	struct vhx_vduse_spec vduse;
	unsigned int i;
	int ret = 0;

	const char *fault = settings_fault(s);

	if (fault) {
		vhx_error_set(err, "%s", fault);
		return -EINVAL;
	}
	for (i = 0; !ret && i < s->vduse.cnt; i++)
		ret = vhx_vduse_spec_parse(s->vduse.items[i], &vduse, err);
	if (ret)
		return ret;
	if (s->blk_file)
		return 0;
	if (s->spawn)
		return spawn_check(s->spawn, &spec, err);
	return vhx_address_parse(s->connect, &address, err);
}

static int sockets_check(const void *settings_ctx, struct vhx_error *err)
{
	static struct vhx_vhost_user_spec spec;
	const struct settings *s = settings_ctx;
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < s->vhost_user.cnt; i++)
		ret = vhx_vhost_user_spec_parse(s->vhost_user.items[i], &spec, err);
	return ret;
}

static const struct vhx_source_type source_type = {
	.options = &options,
	.settings_len = sizeof(struct settings),
	.check = settings_check,
	.check_sockets = sockets_check,
};

static struct settings settings;
static struct client client;

static const struct vhx_fdev *presented_device(const struct presented *p)
{
	return p->vduse ? vhx_vduse_guest_device(p->vduse) : vhx_guest_device(p->guest);
}

/* The way to the backend */

static int port_open(struct client *c, int sock, struct vhx_port **port)
{
	return vhx_local_open(sock, (uint32_t)c->settings->common.ring_size, port);
}

static int connect_unix(void *ctx, struct vhx_port **port)
{
	struct client *c = ctx;
	int sock = vhx_unix_connect(c->backend.path, SOCK_SEQPACKET, NULL);

	return sock < 0 ? sock : port_open(c, sock, port);
}

static void argo_obstacle(void *ctx, int err)
{
	struct client *c = ctx;

	if (err && err != c->argo_told)
		vhx_log(c->program.log, VHX_LOG_NOTICE, "domain %u: %s", c->domain.domid,
			err == -ECONNREFUSED ? "waits for its backend"
			: err == -ESRCH	     ? "there is no such domain"
					     : strerror(-err));
	c->argo_told = err;
}

/* A new life, from the device that was opened before the confinement. */
static int connect_argo(void *ctx, struct vhx_port **port)
{
	struct client *c = ctx;
	struct vhx_argo_config cfg = {
		.port = VHX_ARGO_PORT_FE,
		.peer_port = VHX_ARGO_PORT_BE,
		.partner = c->domain.domid,
		.ring_len = vhx_argo_ring_len(c->settings->common.ring_size),
		.watcher = { .obstacle = argo_obstacle, .ctx = c },
	};
	int ret = vhx_argo_device_endpoint(c->argo_fd, &cfg.dev);

	return ret ? ret : vhx_argo_open(&cfg, port);
}

/* It never served and says that it cannot: the next one would say the same. Its line has been printed. */
static bool child_is_hopeless(const struct client *c, int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) &&
	       !vhx_fdev_known(presented_device(&c->presented[0]));
}

static int connect_spawn(void *ctx, struct vhx_port **port)
{
	struct client *c = ctx;
	struct vhx_error err;
	int sock, status, ret;

	/* The last one has to be gone before the next may have the image. */
	ret = vhx_spawner_reap(&c->spawner, &status);
	if (ret == -EBUSY)
		return ret;
	if (!ret && child_is_hopeless(c, status)) {
		vhx_program_fail(&c->program);
		return -ECHILD;
	}
	ret = vhx_spawner_start(&c->spawner, &sock, &err);
	if (ret) {
		vhx_log(c->program.log, VHX_LOG_ERROR, "%s: %s", c->spawn_spec.id, err.text);
		return ret;
	}
	c->spawn_cnt++;
	return port_open(c, sock, port);
}

/* vhx-backend lies beside this program. */
static int backend_program_find(struct client *c)
{
	static const char name[] = "vhx-backend";
	ssize_t len = readlink("/proc/self/exe", c->backend_program,
			       sizeof(c->backend_program) - sizeof(name));
	char *slash;

	if (len < 0)
		return -errno;
	c->backend_program[len] = '\0';
	slash = strrchr(c->backend_program, '/');
	if (!slash)
		return -ENOENT;
	memcpy(slash + 1, name, sizeof(name));
	return access(c->backend_program, X_OK) ? -errno : 0;
}

static int spawner_open(struct client *c, struct vhx_error *err)
{
	struct vhx_spawn_config cfg = {
		.spec = &c->spawn_spec,
		.settings = &c->settings->common,
		.program = c->backend_program,
	};
	int ret = vhx_spawner_open(&cfg, &c->spawner);

	if (ret)
		vhx_error_set(err, "--spawn: %s", strerror(-ret));
	return ret;
}

/* By the conventions: a path is a path, with commas or without. */
static int spawn_blk_file(const struct settings *s, struct vhx_device_spec *spec,
			  struct vhx_error *err)
{
	char text[2 * VHX_VALUE_MAX + 32] = "blk,file=";
	size_t len = strlen(text);
	const char *p;

	for (p = s->blk_file; *p && len < 2 * VHX_VALUE_MAX; p++) {
		text[len++] = *p;
		if (*p == ',')
			text[len++] = *p;
	}
	snprintf(text + len, sizeof(text) - len, "%s", s->read_only ? ",readonly" : "");
	return spawn_check(text, spec, err);
}

static int spawn_prepare(struct client *c, struct vhx_error *err)
{
	const struct settings *s = c->settings;
	int ret = s->spawn ? spawn_check(s->spawn, &c->spawn_spec, err)
			   : spawn_blk_file(s, &c->spawn_spec, err);

	if (ret)
		return ret;
	ret = access(c->spawn_spec.blk.file, c->spawn_spec.blk.readonly ? R_OK : R_OK | W_OK);
	if (ret) {
		ret = -errno;
		vhx_error_set(err, "%s: image %s: %s", c->spawn_spec.id, c->spawn_spec.blk.file,
			      strerror(-ret));
		return ret;
	}
	ret = backend_program_find(c);
	if (ret) {
		vhx_error_set(err, "%s: %s", c->backend_program, strerror(-ret));
		return ret;
	}
	return spawner_open(c, err);
}

static int argo_open(struct client *c, struct vhx_error *err)
{
	int ret = vhx_argo_spec_parse(c->settings->connect, &c->domain, err);

	if (!ret && c->domain.kind != VHX_ARGO_SPEC_DOMID) {
		vhx_error_set(err, "--connect: it takes argo:peer=DOMID, not '%s'",
			      c->settings->connect);
		ret = -EINVAL;
	}
	if (ret)
		return ret;
	c->argo_fd = vhx_argo_device_open();
	if (c->argo_fd >= 0)
		return 0;
	vhx_error_set(err, HMX_ARGO_DEVICE ": %s%s", strerror(-c->argo_fd),
		      c->argo_fd == -ENOENT ? " (is hmx_argo loaded?)" : "");
	return c->argo_fd;
}

static int frontend_open(struct client *c, struct vhx_error *err)
{
	struct vhx_frontend_config cfg = {
		.loop = c->program.loop,
		.log = c->program.log,
		.ctx = c,
		.trace = &c->tracer.trace,
	};
	int ret;

	if (!c->settings->connect) {
		ret = spawn_prepare(c, err);
		cfg.connect = connect_spawn;
		cfg.peer = "its own backend";
	} else if (vhx_argo_spec_matches(c->settings->connect)) {
		ret = argo_open(c, err);
		cfg.connect = connect_argo;
		cfg.peer = c->settings->connect;
	} else {
		ret = vhx_address_parse(c->settings->connect, &c->backend, err);
		cfg.connect = connect_unix;
		cfg.peer = c->backend.path;
	}
	if (ret)
		return ret;
	ret = vhx_frontend_new(&cfg, &c->frontend);
	if (ret)
		vhx_error_set(err, "%s", strerror(-ret));
	return ret;
}

/* The way to VMMs */

static void device_unusable(void *ctx, int reason)
{
	vhx_program_fail(&((struct client *)ctx)->program);
}

static const char *presented_id(const struct presented *p)
{
	return p->vduse_spec.name[0] ? p->vduse_spec.id : p->spec.id;
}

static const char *presented_name(const struct presented *p)
{
	return p->vduse_spec.name[0] ? p->vduse_spec.name : p->spec.path;
}

/* One device goes to one VMM: two sockets for it are a mistake that is better told at once. */
static int present_check(const struct client *c, const struct presented *last,
			 struct vhx_error *err)
{
	unsigned int i;

	for (i = 0; i < c->presented_cnt; i++) {
		const char *id = presented_id(&c->presented[i]);

		if (id[0] && presented_id(last)[0] && strcmp(id, presented_id(last)))
			continue;
		vhx_error_set(err, "%s and %s present the same device",
			      presented_name(&c->presented[i]), presented_name(last));
		return -EINVAL;
	}
	return 0;
}

/* Its only VMM has gone: nobody else can come. */
static void device_over(void *ctx)
{
	struct client *c = ctx;

	if (c->presented_cnt == 1)
		vhx_loop_stop(c->program.loop);
}

static int guest_open(struct client *c, struct presented *p, int sock, struct vhx_error *err)
{
	struct vhx_guest_config cfg = {
		.loop = c->program.loop,
		.log = c->program.log,
		.frontend = c->frontend,
		.device = p->spec.id,
		.policy = &p->spec.policy,
		.label = p->spec.id[0] ? p->spec.id : p->spec.path,
		.unusable = device_unusable,
		.over = device_over,
		.ctx = c,
	};
	int ret = vhx_guest_new(&cfg, sock, &p->guest);

	if (ret)
		vhx_error_set(err, "%s: %s", p->spec.path, strerror(-ret));
	return ret;
}

/* On a socket that is made here. */
static int present_path(struct client *c, struct presented *p, struct vhx_error *err)
{
	int ret = present_check(c, p, err);

	if (ret)
		return ret;
	ret = vhx_unix_listen_policy(&p->sock, p->spec.path, SOCK_STREAM, &p->spec.policy, err);
	if (ret)
		return ret;
	c->presented_cnt++;
	if (p->sock.owned)
		vhx_program_removes(&c->program, p->sock.path);
	return guest_open(c, p, vhx_unix_listener_steal(&p->sock), err);
}

static int present(struct client *c, const char *text, struct vhx_error *err)
{
	struct presented *p = &c->presented[c->presented_cnt];
	int ret = vhx_vhost_user_spec_parse(text, &p->spec, err);

	return ret ? ret : present_path(c, p, err);
}

/* --socket-path and --fd: the path is a path and nothing else, the descriptor whoever passed it vouches for. */
static int present_conventional(struct client *c, struct vhx_error *err)
{
	struct presented *p = &c->presented[c->presented_cnt];
	const struct settings *s = c->settings;
	int ret = 0;

	p->spec.policy = vhx_unix_policy_default;
	p->sock.fd = -1;
	if (s->fd == NO_FD) {
		ret = vhx_socket_path_copy(p->spec.path, s->socket_path, err);
		return ret ? ret : present_path(c, p, err);
	}
	snprintf(p->spec.path, sizeof(p->spec.path), "descriptor %d", (int)s->fd);
	ret = present_check(c, p, err);
	if (!ret && fcntl((int)s->fd, F_SETFD, FD_CLOEXEC)) {
		ret = -errno;
		vhx_error_set(err, "--fd %d: %s", (int)s->fd, strerror(-ret));
	}
	if (ret)
		return ret;
	c->presented_cnt++;
	return guest_open(c, p, (int)s->fd, err);
}

/* The way to this kernel */

static int vduse_present(struct client *c, unsigned int i, struct vhx_error *err)
{
	struct presented *p = &c->presented[c->presented_cnt];
	struct vhx_vduse_guest_config cfg = {
		.loop = c->program.loop,
		.log = c->program.log,
		.frontend = c->frontend,
		.spec = &p->vduse_spec,
		.keeper = &c->keeper,
		.index = i,
		.unusable = device_unusable,
		.ctx = c,
	};
	int ret = vhx_vduse_spec_parse(c->settings->vduse.items[i], &p->vduse_spec, err);

	p->sock.fd = -1;
	if (!ret)
		ret = present_check(c, p, err);
	if (ret)
		return ret;
	memcpy(c->keeper_cfg.names[i], p->vduse_spec.name, sizeof(c->keeper_cfg.names[i]));
	ret = vhx_vduse_guest_new(&cfg, &p->vduse);
	if (ret) {
		vhx_error_set(err, "--vduse %s: %s", p->vduse_spec.name, strerror(-ret));
		return ret;
	}
	c->presented_cnt++;
	return 0;
}

static int vduse_open(struct client *c, struct vhx_error *err)
{
	unsigned int cnt = c->settings->vduse.cnt;
	unsigned int i;
	int ret;

	for (i = 0; i < cnt; i++) {
		ret = vduse_present(c, i, err);
		if (ret)
			return ret;
	}
	c->keeper_cfg.names_cnt = cnt;
	return cnt ? vhx_vduse_keeper_open(&c->keeper_cfg, &c->keeper, err) : 0;
}

static int presented_open(struct client *c, struct vhx_error *err)
{
	unsigned int i;
	int ret;

	for (i = 0; i < c->settings->vhost_user.cnt; i++) {
		ret = present(c, c->settings->vhost_user.items[i], err);
		if (ret)
			return ret;
	}
	if (c->settings->socket_path || c->settings->fd != NO_FD) {
		ret = present_conventional(c, err);
		if (ret)
			return ret;
	}
	return vduse_open(c, err);
}

/* Stats */

static int device_stats(struct json_object *into, const struct vhx_fdev *fdev)
{
	const struct vhx_fdev_stats *stats = vhx_fdev_stats(fdev);
	const struct vhx_driver_identity *id = vhx_fdev_identity(fdev);
	struct vhx_stats_device device = {
		.id = id->name,
		.type = vhx_devtype_find(id->device_id)->name,
		.state = vhx_fdev_state(fdev),
		.requests = stats->requests,
		.completed = stats->completed,
		.errors = stats->errors,
		.bytes_out = stats->bytes_out,
		.bytes_in = stats->bytes_in,
		.bytes_copied = stats->bytes_copied,
		.replays = stats->replays,
	};

	return vhx_stats_add_device(into, &device);
}

static uint64_t client_memory(const struct client *c)
{
	uint64_t memory = vhx_frontend_memory(c->frontend);
	unsigned int i;

	for (i = 0; i < c->presented_cnt; i++) {
		const struct presented *p = &c->presented[i];

		memory += p->vduse ? vhx_vduse_guest_memory(p->vduse) : vhx_guest_memory(p->guest);
	}
	return memory;
}

static int stats_run(void *ctx, struct json_object *into)
{
	struct client *c = ctx;
	struct vhx_stats_channel channel = {
		.state = vhx_frontend_state(c->frontend),
		.port = vhx_frontend_port(c->frontend),
		.credits_sent = vhx_frontend_credits_sent(c->frontend),
	};
	unsigned int i;
	int ret;

	ret = vhx_stats_begin(into, options.program, client_memory(c));
	if (!ret)
		ret = vhx_stats_add_channel(into, &channel);
	for (i = 0; !ret && i < c->presented_cnt; i++)
		ret = device_stats(into, presented_device(&c->presented[i]));
	return ret;
}

static void status_tell(void *ctx, char text[VHX_NOTIFIER_STATUS_MAX])
{
	struct client *c = ctx;
	unsigned int i, running = 0;

	for (i = 0; i < c->presented_cnt; i++)
		running += !strcmp(vhx_fdev_state(presented_device(&c->presented[i])), "running");
	snprintf(text, VHX_NOTIFIER_STATUS_MAX, "backend %s, %u of %u devices in use",
		 vhx_frontend_state(c->frontend), running, c->presented_cnt);
}

/* Reload */

/* Who may be the VMM of the @i-th device. */
static int presented_apply(struct client *c, unsigned int i, const char *text, bool commit,
			   struct vhx_error *err)
{
	static struct vhx_vhost_user_spec spec;
	struct vhx_vhost_user_spec *live = &c->presented[i].spec;
	int ret = vhx_vhost_user_spec_parse(text, &spec, err);

	if (ret)
		return ret;
	if (strcmp(spec.path, live->path) || strcmp(spec.id, live->id)) {
		vhx_error_set(
			err,
			"vhost-user: path and id cannot change while the program runs: restart it");
		return -EBUSY;
	}
	return vhx_reload_policy(&live->policy, &spec.policy, commit, "vhost-user", err);
}

static int settings_apply(void *ctx, const void *wanted_ctx, bool commit, struct vhx_error *err)
{
	const struct settings *wanted = wanted_ctx;
	struct client *c = ctx;
	unsigned int i;
	int ret = vhx_reload_control(&c->operation.reload, &wanted->common, commit, err);

	if (!ret && wanted->vhost_user.cnt != c->settings->vhost_user.cnt) {
		vhx_error_set(
			err,
			"vhost-user: no socket comes or goes while the program runs: restart it");
		ret = -EBUSY;
	}
	for (i = 0; !ret && i < wanted->vhost_user.cnt; i++) {
		if (strcmp(wanted->vhost_user.items[i], c->settings->vhost_user.items[i]))
			ret = presented_apply(c, i, wanted->vhost_user.items[i], commit, err);
	}
	return ret;
}

static int reload_change(void *ctx, struct vhx_control_request *req, struct json_object *into,
			 struct vhx_error *err)
{
	return vhx_reload_change(&((struct client *)ctx)->operation.reload, req, err);
}

static int trace_take(void *ctx, struct json_object *request, int fd)
{
	struct client *c = ctx;

	return vhx_tracer_take(&c->tracer, request, fd);
}

static const struct vhx_control_command commands[] = {
	{ .name = "stats", .run = stats_run },
	{ .name = "trace", .take = trace_take },
	{ .name = "reload", .change = reload_change },
};

static int operation_open(struct client *c, struct vhx_error *err)
{
	struct vhx_operation_config cfg = {
		.program = &c->program,
		.source = &c->source,
		.settings = &settings,
		.commands = commands,
		.commands_cnt = VHX_ARRAY_SIZE(commands),
		.stats = stats_run,
		.apply = settings_apply,
		.ctx = c,
	};

	return vhx_operation_open(&c->operation, &cfg, err);
}

static int client_start(struct client *c)
{
	struct vhx_confine_role role;
	struct vhx_error err;
	int ret;

	vhx_tracer_init(&c->tracer, c->program.loop);
	ret = frontend_open(c, &err);
	if (!ret)
		ret = presented_open(c, &err);
	if (!ret)
		ret = operation_open(c, &err);
	if (ret) {
		vhx_log(c->program.log, VHX_LOG_ERROR, "%s", err.text);
		return ret;
	}
	role = c->argo_fd >= 0 ? vhx_confine_frontend_argo : vhx_confine_frontend;
	if (c->settings->vduse.cnt)
		role.calls |= VHX_CALLS_VDUSE;
	ret = vhx_program_confine(&c->program, &role);
	if (!ret)
		vhx_frontend_start(c->frontend);
	return ret;
}

static uint32_t presented_drain(const struct presented *p)
{
	return p->vduse ? vhx_vduse_guest_drain(p->vduse) : vhx_guest_drain(p->guest);
}

/* Lets what the guests wait for end, within the bound that a queue's stop has. */
static void client_drain(struct client *c)
{
	uint32_t left, rounds = DRAIN_ROUNDS_MAX;
	unsigned int i;

	do {
		left = 0;
		for (i = 0; i < c->presented_cnt; i++)
			left += presented_drain(&c->presented[i]);
	} while (left && rounds-- && vhx_loop_once(c->program.loop, DRAIN_ROUND_MS) >= 0);
}

static void client_end(struct client *c)
{
	unsigned int i;

	vhx_operation_close(&c->operation);
	for (i = 0; i < c->presented_cnt; i++) {
		vhx_unix_unlisten(&c->presented[i].sock);
		vhx_guest_free(c->presented[i].guest);
		vhx_vduse_guest_free(c->presented[i].vduse);
	}
	vhx_vduse_keeper_close(&c->keeper);
	vhx_frontend_free(c->frontend);
	if (c->argo_fd >= 0)
		close(c->argo_fd);
	vhx_tracer_fini(&c->tracer);
	/* Its channel is closed: the child ends by itself. */
	vhx_spawner_close(&c->spawner);
	vhx_program_fini(&c->program);
	vhx_source_fini(&c->source);
}

/* "Other options and arguments should be ignored". */
static bool capabilities_print(char **argv)
{
	for (; *argv; argv++) {
		if (strcmp(*argv, "--" PRINT_CAPABILITIES))
			continue;
		puts("{ \"type\": \"block\", \"features\": [ \"read-only\", \"blk-file\" ] }");
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *fault;
	int code, ret;

	if (capabilities_print(argv))
		return fflush(stdout) ? VHX_EXIT_FAILED : VHX_EXIT_OK;
	vhx_program_defaults(&settings.common);
	settings.fd = NO_FD;
	if (!vhx_source_read(&client.source, &source_type, argc, argv, &settings, &code))
		return code;
	client.settings = &settings;
	client.spawner.attendant.sock = -1;
	client.keeper.attendant.sock = -1;
	client.argo_fd = -1;
	if (vhx_program_init(&client.program, options.program, &settings.common))
		return VHX_EXIT_FAILED;
	fault = settings_fault(&settings);
	if (fault) {
		vhx_log(client.program.log, VHX_LOG_ERROR, "%s", fault);
		vhx_program_fini(&client.program);
		return VHX_EXIT_USAGE;
	}
	ret = client_start(&client);
	if (!ret) {
		vhx_program_ready(&client.program, status_tell, &client);
		ret = vhx_loop_run(client.program.loop);
		client_drain(&client);
	}
	client_end(&client);
	return ret ? VHX_EXIT_FAILED : client.program.exit_code;
}
