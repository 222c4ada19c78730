/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log sink of the programs: one line per record on standard error, "vhx-backend: disk0: ...".
 * Where standard error is the journal's, each line starts with its priority instead, as in
 * sd-daemon(3).
 */
#ifndef VHX_MEDIATOR_LOG_STDERR_H
#define VHX_MEDIATOR_LOG_STDERR_H

#include "config/options.h"
#include "util/log.h"

struct vhx_log_stderr {
	struct vhx_log log; /* what libraries get */
	const char *program;
	int fd;
	bool journal;
	uint64_t lost; /* records that a reader who does not read made us drop */
};

/* error, warning, notice, info, debug: for a row of kind VHX_OPTION_CHOICE. */
extern const struct vhx_choice vhx_log_levels[];

/* @program stays valid as long as the sink. */
void vhx_log_stderr_init(struct vhx_log_stderr *sink, const char *program,
			 enum vhx_log_level level);

#endif
