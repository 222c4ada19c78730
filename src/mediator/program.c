// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/program.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define NS_PER_US 1000ull
/* Where the hard limit is none: what one process may take of the system's table of open files. */
#define DESCRIPTORS_MAX 65536u

const struct vhx_choice vhx_program_sandboxes[] = {
	{ "on", VHX_CONFINE_ON },
	{ "off", VHX_CONFINE_OFF },
	{ "log", VHX_CONFINE_LOG },
	{ NULL, 0 },
};

/* For the signal handler, which gets no context. */
static struct vhx_loop *signalled_loop;

static void stop_handler(int sig)
{
	if (signalled_loop)
		vhx_loop_stop(signalled_loop);
}

void vhx_program_defaults(struct vhx_program_settings *s)
{
	*s = (struct vhx_program_settings){
		.ring_size = VHX_LOCAL_RING_DEFAULT,
		.poll_us = VHX_PROGRAM_POLL_AUTO,
		.log_level = VHX_LOG_INFO,
		.sandbox = VHX_CONFINE_ON,
	};
}

uint64_t vhx_program_poll_ns(const struct vhx_program_settings *s)
{
	return s->poll_us == VHX_PROGRAM_POLL_AUTO ? VHX_LOOP_POLL_AUTO : s->poll_us * NS_PER_US;
}

/*
 * The soft limit is low for the sake of select(2), which is not used here, and each queue of a VMM
 * has descriptors. Where it cannot be raised the old one does, for fewer.
 */
static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= DESCRIPTORS_MAX)
		return;
	limit.rlim_cur = vhx_min_u64(limit.rlim_max, DESCRIPTORS_MAX);
	setrlimit(RLIMIT_NOFILE, &limit);
}

int vhx_program_init(struct vhx_program *p, const char *name, const struct vhx_program_settings *s)
{
	struct sigaction stop = { .sa_handler = stop_handler };
	struct vhx_error err;
	int ret;

	*p = (struct vhx_program){
		.exit_code = VHX_EXIT_OK,
		.sandbox = (enum vhx_confine_mode)s->sandbox,
	};
	vhx_log_stderr_init(&p->sink, name, (enum vhx_log_level)s->log_level);
	p->log = &p->sink.log;
	ret = vhx_confine_begin(p->sandbox, &err);
	if (!ret && s->control) {
		ret = vhx_socket_path_spec_parse(s->control, &p->control, &err);
		if (ret)
			vhx_error_prefix(&err, "--control");
	}
	if (ret) {
		vhx_log(p->log, VHX_LOG_ERROR, "%s", err.text);
		return ret;
	}
	descriptors_raise();
	ret = vhx_loop_new(vhx_program_poll_ns(s), &p->loop);
	if (ret) {
		vhx_log(p->log, VHX_LOG_ERROR, "cannot start: %s", strerror(-ret));
		return ret;
	}
	ret = vhx_notifier_open(&p->notifier, p->loop);
	if (ret) {
		vhx_log(p->log, VHX_LOG_ERROR, "cannot start: %s", strerror(-ret));
		vhx_loop_free(p->loop);
		return ret;
	}
	signalled_loop = p->loop;
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	return 0;
}

void vhx_program_fini(struct vhx_program *p)
{
	signalled_loop = NULL;
	vhx_notifier_close(&p->notifier);
	vhx_loop_free(p->loop);
}

static size_t folder_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) + 1 : 0;
}

void vhx_program_removes(struct vhx_program *p, const char *path)
{
	size_t len = folder_len(path);
	unsigned int i;

	for (i = 0; i < p->removes_cnt; i++) {
		if (folder_len(p->removes[i]) == len && !memcmp(p->removes[i], path, len))
			return;
	}
	if (p->removes_cnt < VHX_CONFINE_REMOVES_MAX)
		p->removes[p->removes_cnt++] = path;
}

int vhx_program_confine(struct vhx_program *p, const struct vhx_confine_role *role)
{
	struct vhx_confine_config cfg = {
		.mode = p->sandbox,
		.role = role,
		.removes = p->removes,
		.removes_cnt = p->removes_cnt,
		.log = p->log,
	};
	struct vhx_error err;
	int ret = vhx_confine(&cfg, &err);

	if (ret)
		vhx_log(p->log, VHX_LOG_ERROR, "%s", err.text);
	return ret;
}

void vhx_program_ready(struct vhx_program *p, vhx_notifier_status_fn *status, void *ctx)
{
	vhx_log(p->log, VHX_LOG_INFO, "ready");
	vhx_notifier_ready(&p->notifier, status, ctx);
}

void vhx_program_fail(struct vhx_program *p)
{
	p->exit_code = VHX_EXIT_FAILED;
	vhx_loop_stop(p->loop);
}
