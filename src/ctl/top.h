/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A live screen of a program's channels and devices.
 */
#ifndef VHX_CTL_TOP_H
#define VHX_CTL_TOP_H

#include "util/base.h"
#include "util/error.h"

struct vhx_ctl_top_config {
	const char *path; /* the control socket */
	uint64_t interval_ms;
	uint64_t count; /* samples to show, 0: until the user ends it */
};

/*
 * Until q, SIGINT, SIGTERM or @count. Standard output need not be a terminal: then screens follow each other as plain
 * text. 0; or negative with a text: the program did not answer the first time.
 */
int vhx_ctl_top(const struct vhx_ctl_top_config *cfg, struct vhx_error *err);

#endif
