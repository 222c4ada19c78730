/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors by which driver and device notify each other (kick, call, err): shared with the
 * VMM.
 */
#ifndef VHX_VHOST_USER_NOTIFIER_H
#define VHX_VHOST_USER_NOTIFIER_H

#include "util/base.h"

/* Is @fd of a kind that can notify without ever holding us up? 0 or -EINVAL. */
int vhx_vu_notifier_check(int fd);

/* Raises the notification; does nothing for -1 or while an older one is still unread. */
void vhx_vu_notifier_raise(int fd);

/* Takes what was raised. True: something was. */
bool vhx_vu_notifier_clear(int fd);

#endif
