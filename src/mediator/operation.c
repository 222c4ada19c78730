// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/operation.h"

#include <string.h>

static int control_open(struct vhx_operation *o, const struct vhx_operation_config *cfg,
			struct vhx_error *err)
{
	const struct vhx_control_config control = {
		.path = cfg->program->control.path,
		.policy = &cfg->program->control.policy,
		.commands = cfg->commands,
		.commands_cnt = cfg->commands_cnt,
		.ctx = cfg->ctx,
		.log = cfg->program->log,
	};
	int ret;

	if (!control.path[0])
		return 0;
	ret = vhx_control_open(cfg->program->loop, &control, &o->control, err);
	if (!ret)
		vhx_program_removes(cfg->program, control.path);
	return ret;
}

static int metrics_open(struct vhx_operation *o, const struct vhx_operation_config *cfg,
			struct vhx_error *err)
{
	const struct vhx_program_settings *settings = cfg->settings;
	const struct vhx_metrics_config metrics = {
		.address = settings->metrics,
		.stats = cfg->stats,
		.ctx = cfg->ctx,
	};
	int ret;

	if (!metrics.address)
		return 0;
	ret = vhx_metrics_open(cfg->program->loop, &metrics, &o->metrics, err);
	if (!ret && vhx_metrics_path(o->metrics))
		vhx_program_removes(cfg->program, vhx_metrics_path(o->metrics));
	return ret;
}

static int reload_open(struct vhx_operation *o, const struct vhx_operation_config *cfg,
		       struct vhx_error *err)
{
	const struct vhx_reload_config reload = {
		.program = cfg->program,
		.source = cfg->source,
		.settings = cfg->settings,
		.apply = cfg->apply,
		.ctx = cfg->ctx,
	};
	int ret = vhx_reload_open(&o->reload, &reload);

	if (ret)
		vhx_error_set(err, "reload: %s", strerror(-ret));
	return ret;
}

int vhx_operation_open(struct vhx_operation *o, const struct vhx_operation_config *cfg,
		       struct vhx_error *err)
{
	int ret = control_open(o, cfg, err);

	if (!ret)
		ret = metrics_open(o, cfg, err);
	if (!ret)
		ret = reload_open(o, cfg, err);
	return ret;
}

void vhx_operation_close(struct vhx_operation *o)
{
	vhx_metrics_close(o->metrics);
	vhx_control_close(o->control);
	vhx_reload_close(&o->reload);
}
