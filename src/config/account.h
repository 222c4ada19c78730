/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Users and groups, as the operator names them: by name, or by number.
 */
#ifndef VHX_CONFIG_ACCOUNT_H
#define VHX_CONFIG_ACCOUNT_H

#include "util/base.h"

/* With the NUL; useradd(8) takes names of up to 32 characters. */
#define VHX_ACCOUNT_NAME_MAX 64u

/*
 * 0, or -ENOENT. A name that was found once keeps its number where it cannot be looked up again: a confined program
 * reads no /etc/passwd, but the file that it reloads has the old names in it. Main thread only.
 */
int vhx_account_user(const char *name, uint32_t *uid);
int vhx_account_group(const char *name, uint32_t *gid);

#endif
