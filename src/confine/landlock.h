/* SPDX-License-Identifier: BSD-3-Clause */
/* Landlock: files and processes out of reach, whatever system call asks for them. */
#ifndef VHX_CONFINE_LANDLOCK_H
#define VHX_CONFINE_LANDLOCK_H

#include "util/base.h"

/*
 * For this thread and those that it starts: no file is opened, made, renamed or run any more; files may be
 * removed in the folders of @removes. No process outside is traced or looked into, nor, where the kernel
 * can say so, signalled. 0; -EOPNOTSUPP: the kernel has no Landlock; or another negative errno.
 */
int vhx_landlock_enforce(const char *const *removes, unsigned int removes_cnt);

#endif
