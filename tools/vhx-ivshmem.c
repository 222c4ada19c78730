// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhx-ivshmem: gives a window of memory to a QEMU and to a backend, and carries the events between them. The
 * guest's memory is not in it, and nothing of what is in it is read here.
 */
#include <json-c/json.h>
#include <string.h>

#include "config/address.h"
#include "config/window_spec.h"
#include "mediator/operation.h"
#include "mediator/program.h"
#include "mediator/stats.h"
#include "mediator/window_qemu.h"

_Static_assert(VHX_SPEC_VECTORS_MAX <= VHX_WINDOW_VECTORS_MAX, "bounds");

struct settings {
	struct vhx_program_settings common;
	const char *connect;
	const char *qemu;
};

static const struct vhx_option rows[] = {
	{ .name = "connect",
	  .metavar = "unix:PATH",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, connect),
	  .help = "the backend's socket; tried again until it is there" },
	{ .name = "qemu",
	  .metavar = "SPEC",
	  .kind = VHX_OPTION_STRING,
	  .offset = offsetof(struct settings, qemu),
	  .traits = VHX_OPTION_LIVE_KEYS,
	  .help = "SOCKET[,size=SIZE][,vectors=N]: serve the ivshmem-doorbell device of\n"
		  "one QEMU on SOCKET, with a window of SIZE bytes (default 16M)" },
	VHX_PROGRAM_OPTION_CONFIG(struct settings),
	VHX_PROGRAM_OPTION_CONTROL(struct settings),
	VHX_PROGRAM_OPTION_LOG(struct settings),
	VHX_PROGRAM_OPTION_SANDBOX(struct settings),
};

static const struct vhx_options options = {
	.program = "vhx-ivshmem",
	.usage = "--connect unix:PATH --qemu SPEC",
	.summary = "Brings a guest of QEMU and a backend together in shared memory of their own.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
};

struct helper {
	struct vhx_program program;
	const struct settings *settings;
	struct vhx_address backend;
	struct vhx_window_spec spec;
	struct vhx_window_qemu *qemu;
	struct vhx_source source;
	struct vhx_operation operation;
};

static const char nothing[] = "nothing to do: give --connect and --qemu (see --help)";

static int settings_check(const void *settings_ctx, struct vhx_error *err)
{
	const struct settings *s = settings_ctx;
	struct vhx_address address;

	if (!s->connect || !s->qemu) {
		vhx_error_set(err, "%s", nothing);
		return -EINVAL;
	}
	return vhx_address_parse(s->connect, &address, err);
}

static int sockets_check(const void *settings_ctx, struct vhx_error *err)
{
	struct vhx_window_spec spec;

	return vhx_window_spec_parse(((const struct settings *)settings_ctx)->qemu, &spec, err);
}

static const struct vhx_source_type source_type = {
	.options = &options,
	.settings_len = sizeof(struct settings),
	.check = settings_check,
	.check_sockets = sockets_check,
};

static struct settings settings;
static struct helper helper;

#define COUNTER(name_, member)                                        \
	{                                                             \
		name_, offsetof(struct vhx_window_qemu_stats, member) \
	}

static const struct vhx_stats_counter counters[] = {
	COUNTER("wakes_to_guest", relay.wakes_to_guest),
	COUNTER("wakes_to_backend", relay.wakes_to_backend),
	COUNTER("backend_connects", relay.connects),
	COUNTER("guests", guests),
	COUNTER("guests_refused", refused),
};

static int stats_run(void *ctx, struct json_object *into)
{
	struct helper *h = ctx;
	struct vhx_window_qemu_stats stats;
	int ret;

	vhx_window_qemu_stats(h->qemu, &stats);
	ret = vhx_stats_begin(into, options.program, stats.memory);
	if (!ret)
		ret = vhx_stats_add_text(into, "guest", stats.guest);
	if (!ret)
		ret = vhx_stats_add_text(into, "backend", stats.backend);
	return ret ? ret : vhx_stats_add_counters(into, counters, VHX_ARRAY_SIZE(counters), &stats);
}

static void status_tell(void *ctx, char text[VHX_NOTIFIER_STATUS_MAX])
{
	struct helper *h = ctx;
	struct vhx_window_qemu_stats stats;

	vhx_window_qemu_stats(h->qemu, &stats);
	snprintf(text, VHX_NOTIFIER_STATUS_MAX, "guest %s, backend %s", stats.guest, stats.backend);
}

/* Who may be the QEMU. */
static int settings_apply(void *ctx, const void *wanted_ctx, bool commit, struct vhx_error *err)
{
	const struct settings *wanted = wanted_ctx;
	struct helper *h = ctx;
	struct vhx_window_spec spec;
	int ret = vhx_reload_control(&h->operation.reload, &wanted->common, commit, err);

	if (ret || !strcmp(wanted->qemu, h->settings->qemu))
		return ret;
	ret = vhx_window_spec_parse(wanted->qemu, &spec, err);
	if (ret)
		return ret;
	if (strcmp(spec.path, h->spec.path) || spec.size != h->spec.size ||
	    spec.vectors != h->spec.vectors) {
		vhx_error_set(err,
			      "qemu: the window cannot change while the program runs: restart it");
		return -EBUSY;
	}
	return vhx_reload_policy(&h->spec.policy, &spec.policy, commit, "qemu", err);
}

static int reload_change(void *ctx, struct vhx_control_request *req, struct json_object *into,
			 struct vhx_error *err)
{
	return vhx_reload_change(&((struct helper *)ctx)->operation.reload, req, err);
}

static const struct vhx_control_command commands[] = {
	{ .name = "stats", .run = stats_run },
	{ .name = "reload", .change = reload_change },
};

static int operation_open(struct helper *h, struct vhx_error *err)
{
	struct vhx_operation_config cfg = {
		.program = &h->program,
		.source = &h->source,
		.settings = &settings,
		.commands = commands,
		.commands_cnt = VHX_ARRAY_SIZE(commands),
		.stats = stats_run,
		.apply = settings_apply,
		.ctx = h,
	};

	return vhx_operation_open(&h->operation, &cfg, err);
}

static int helper_start(struct helper *h)
{
	struct vhx_window_qemu_config cfg = {
		.loop = h->program.loop,
		.log = h->program.log,
		.path = h->spec.path,
		.policy = &h->spec.policy,
		.backend = h->backend.path,
	};
	struct vhx_error err;
	int ret;

	ret = vhx_address_parse(h->settings->connect, &h->backend, &err);
	if (!ret)
		ret = vhx_window_spec_parse(h->settings->qemu, &h->spec, &err);
	if (!ret) {
		cfg.size = h->spec.size;
		cfg.vectors = h->spec.vectors;
		ret = vhx_window_qemu_open(&cfg, &h->qemu, &err);
	}
	if (!ret)
		ret = operation_open(h, &err);
	if (ret) {
		vhx_log(h->program.log, VHX_LOG_ERROR, "%s", err.text);
		return ret;
	}
	vhx_program_removes(&h->program, h->spec.path);
	return vhx_program_confine(&h->program, &vhx_confine_ivshmem);
}

static void helper_end(struct helper *h)
{
	vhx_operation_close(&h->operation);
	vhx_window_qemu_close(h->qemu);
	vhx_program_fini(&h->program);
	vhx_source_fini(&h->source);
}

int main(int argc, char **argv)
{
	int code, ret;

	vhx_program_defaults(&settings.common);
	/* Nothing is worth a spin here: whoever waits for an event sleeps already. */
	settings.common.poll_us = 0;
	if (!vhx_source_read(&helper.source, &source_type, argc, argv, &settings, &code))
		return code;
	helper.settings = &settings;
	if (vhx_program_init(&helper.program, options.program, &settings.common))
		return VHX_EXIT_FAILED;
	if (!settings.connect || !settings.qemu) {
		vhx_log(helper.program.log, VHX_LOG_ERROR, "%s", nothing);
		vhx_program_fini(&helper.program);
		return VHX_EXIT_USAGE;
	}
	ret = helper_start(&helper);
	if (!ret) {
		vhx_program_ready(&helper.program, status_tell, &helper);
		ret = vhx_loop_run(helper.program.loop);
	}
	helper_end(&helper);
	return ret ? VHX_EXIT_FAILED : helper.program.exit_code;
}
