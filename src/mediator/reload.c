// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 *   read anew -> compare, row by row -> check -> commit
 *
 * Each row of the options says whether it can change (enum vhx_option_trait). One that differs and cannot refuses the
 * whole, with its name: an operator who believes that half of a file is in force is worse off than one who knows that
 * none is. Names of users and groups cannot be looked up by a confined program: old ones are remembered
 * (config/account.h), new ones are numbers.
 *
 * A signal handler may do little: it writes to an eventfd, which the loop watches.
 */
#include "mediator/reload.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mediator/control.h"

static int hangup_fd = -1;

static void hangup_handler(int sig)
{
	const uint64_t one = 1;
	int saved = errno;

	if (write(hangup_fd, &one, sizeof(one)) < 0)
		errno = saved; /* it is full: there is one already */
	errno = saved;
}

/* The first row that differs and must not, or NULL; *@changes counts those that may. */
static const struct vhx_option *row_fixed(const struct vhx_reload *r, const void *wanted,
					  unsigned int *changes)
{
	const struct vhx_options *o = r->cfg.source->type->options;
	unsigned int i;

	*changes = 0;
	for (i = 0; i < o->rows_cnt; i++) {
		if (!vhx_option_differs(&o->rows[i], r->cfg.settings, wanted))
			continue;
		if (!(o->rows[i].traits & (VHX_OPTION_LIVE | VHX_OPTION_LIVE_KEYS)))
			return &o->rows[i];
		++*changes;
	}
	return NULL;
}

static void common_apply(struct vhx_program *p, const struct vhx_program_settings *wanted)
{
	p->sink.log.level = (enum vhx_log_level)wanted->log_level;
	vhx_loop_poll_limit(p->loop, vhx_program_poll_ns(wanted));
}

static int settings_apply(struct vhx_reload *r, const void *wanted, struct vhx_error *err)
{
	const struct vhx_source_type *type = r->cfg.source->type;
	const struct vhx_option *fixed;
	unsigned int changes;
	int ret;

	fixed = row_fixed(r, wanted, &changes);
	if (fixed) {
		vhx_error_set(err, "%s cannot change while the program runs: restart it",
			      fixed->name);
		return -EBUSY;
	}
	ret = type->check ? type->check(wanted, err) : 0;
	if (!ret)
		ret = r->cfg.apply(r->cfg.ctx, wanted, false, err);
	if (ret)
		return ret;
	r->cfg.apply(r->cfg.ctx, wanted, true, err);
	common_apply(r->cfg.program, wanted);
	memcpy(r->cfg.settings, wanted, type->settings_len);
	vhx_log(r->cfg.program->log, VHX_LOG_NOTICE, "reloaded: %u options changed", changes);
	return 0;
}

int vhx_reload_run(struct vhx_reload *r, int fd, struct vhx_error *err)
{
	void *wanted = malloc(r->cfg.source->type->settings_len);
	int ret;

	if (!wanted) {
		vhx_error_set(err, "out of memory");
		return -ENOMEM;
	}
	vhx_notifier_reloading(&r->cfg.program->notifier);
	ret = vhx_source_again(r->cfg.source, fd, wanted, err);
	if (!ret)
		ret = settings_apply(r, wanted, err);
	if (ret)
		vhx_log(r->cfg.program->log, VHX_LOG_WARNING, "not reloaded: %s", err->text);
	vhx_notifier_reloaded(&r->cfg.program->notifier);
	free(wanted);
	return ret;
}

static void hangup_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_reload *r = vhx_container_of(w, struct vhx_reload, hangup);
	struct vhx_error err;
	uint64_t cnt;

	if (read(w->fd, &cnt, sizeof(cnt)) == sizeof(cnt))
		vhx_reload_run(r, -1, &err);
}

int vhx_reload_open(struct vhx_reload *r, const struct vhx_reload_config *cfg)
{
	struct sigaction hangup = { .sa_handler = hangup_handler, .sa_flags = SA_RESTART };
	int ret;

	*r = (struct vhx_reload){ .cfg = *cfg, .hangup = { .fd = -1 } };
	if (!cfg->source->path)
		return 0;
	r->hangup = (struct vhx_loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					  .events = EPOLLIN,
					  .ready = hangup_ready };
	if (r->hangup.fd < 0)
		return -errno;
	ret = vhx_loop_fd_add(cfg->program->loop, &r->hangup);
	if (ret)
		return ret;
	hangup_fd = r->hangup.fd;
	sigaction(SIGHUP, &hangup, NULL);
	return 0;
}

void vhx_reload_close(struct vhx_reload *r)
{
	if (!r->cfg.program || r->hangup.fd < 0)
		return;
	signal(SIGHUP, SIG_IGN);
	hangup_fd = -1;
	vhx_loop_fd_del(r->cfg.program->loop, &r->hangup);
	close(r->hangup.fd);
	r->hangup.fd = -1;
}

int vhx_reload_policy(struct vhx_unix_policy *live, const struct vhx_unix_policy *wanted,
		      bool commit, const char *name, struct vhx_error *err)
{
	if (live->mode != wanted->mode || live->group != wanted->group) {
		vhx_error_set(err,
			      "%s: mode and group cannot change while the program runs: restart it",
			      name);
		return -EBUSY;
	}
	if (commit)
		*live = *wanted;
	return 0;
}

int vhx_reload_control(struct vhx_reload *r, const struct vhx_program_settings *wanted, bool commit,
		       struct vhx_error *err)
{
	const struct vhx_program_settings *old = r->cfg.settings;
	struct vhx_socket_spec *live = &r->cfg.program->control;
	struct vhx_socket_spec spec;
	int ret;

	if (!old->control && !wanted->control)
		return 0;
	if (!old->control || !wanted->control) {
		vhx_error_set(err, "control cannot change while the program runs: restart it");
		return -EBUSY;
	}
	if (!strcmp(old->control, wanted->control))
		return 0;
	ret = vhx_socket_path_spec_parse(wanted->control, &spec, err);
	if (ret)
		return ret;
	if (strcmp(spec.path, live->path)) {
		vhx_error_set(err,
			      "control: the path cannot change while the program runs: restart it");
		return -EBUSY;
	}
	return vhx_reload_policy(&live->policy, &spec.policy, commit, "control", err);
}

int vhx_reload_change(struct vhx_reload *r, struct vhx_control_request *req, struct vhx_error *err)
{
	int ret = vhx_control_arguments(req, NULL, 0, err);

	return ret ? ret : vhx_reload_run(r, req->fd, err);
}
