/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration files: the options of a program, one a line, without their dashes.
 *
 *   # a comment
 *   listen = unix:/run/vhx-backend/disks.sock
 *   device = blk,id=disk0,file=/srv/vm1.img
 *   log-level = warning
 *
 * A flag stands alone. A value is all that follows the = but for blanks around it; nothing is quoted.
 */
#ifndef VHX_CONFIG_FILE_H
#define VHX_CONFIG_FILE_H

#include "config/options.h"

/* Bytes of a file: every list full of long paths fits. */
#define VHX_CONFIG_FILE_MAX 32768u

/* All of @fd from its beginning, with a NUL, to be freed: 0 and *@text, or negative with a text that names @name. */
int vhx_config_read(int fd, const char *name, char **text, struct vhx_error *err);

/*
 * Reads the options of @text into the struct at @into, as vhx_options_parse() does; strings point into @text,
 * which is cut up. 0, or negative with "NAME:LINE: ...".
 */
int vhx_config_parse(const struct vhx_options *options, const char *name, char *text, void *into,
		     struct vhx_error *err);

#endif
