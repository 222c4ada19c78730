/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records a program's messages into a file.
 */
#ifndef VHX_CTL_TRACE_H
#define VHX_CTL_TRACE_H

#include "util/base.h"
#include "util/error.h"

struct vhx_ctl_trace_config {
	const char *path; /* the control socket */
	const char *file; /* made with mode 0600, "-": standard output */
	uint32_t snap; /* payload bytes of each record */
	uint64_t seconds; /* 0: until SIGINT, SIGTERM or the end of the program */
};

/* 0 and the bytes written, or negative with a text. What was recorded before a failure is in the file. */
int vhx_ctl_trace(const struct vhx_ctl_trace_config *cfg, uint64_t *written, struct vhx_error *err);

#endif
