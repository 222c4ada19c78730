/* SPDX-License-Identifier: BSD-3-Clause */
/* The seccomp filter of a role. */
#ifndef VHX_CONFINE_FILTER_H
#define VHX_CONFINE_FILTER_H

#include "confine/confine.h"

/*
 * For this thread, those that it starts, and all others of the process. @removing: files may be removed.
 * 0 or a negative errno.
 */
int vhx_filter_install(const struct vhx_confine_role *role, bool log_only, bool removing);

#endif
