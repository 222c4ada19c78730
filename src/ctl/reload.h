/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New settings for a program that runs.
 */
#ifndef VHX_CTL_RELOAD_H
#define VHX_CTL_RELOAD_H

#include "util/error.h"

/*
 * The program at @path reads its configuration again: @file, which is opened here and passed on, or, where that is
 * NULL, the one that it has open. 0; or negative with a text, and it keeps what it has.
 */
int vhx_ctl_reload(const char *path, const char *file, struct vhx_error *err);

#endif
