/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may connect to a unix socket: the mode and the group of its file say who can try, the guard looks at
 * who it was. Identity is the kernel's word (SO_PEERCRED, SO_PEERSEC), of the moment of connect(2).
 */
#ifndef VHX_UTIL_UNIX_GUARD_H
#define VHX_UTIL_UNIX_GUARD_H

#include <sys/types.h>

#include "util/base.h"
#include "util/log.h"

/* Users or groups of one list. */
#define VHX_UNIX_ALLOW_MAX 16u
/* Longer labels exist in no policy that is in use; one that does not fit is refused where a rule asks for it. */
#define VHX_UNIX_LABEL_MAX 256u
#define VHX_UNIX_GROUP_NONE ((gid_t)-1)

struct vhx_unix_policy {
	mode_t mode;
	gid_t group; /* of the file; VHX_UNIX_GROUP_NONE: as it comes */
	uint32_t uids[VHX_UNIX_ALLOW_MAX], gids[VHX_UNIX_ALLOW_MAX];
	unsigned int uids_cnt, gids_cnt;
	char label[VHX_UNIX_LABEL_MAX]; /* a shell pattern; "": any, or none */
};

/* 0600, and nobody but our own user. */
extern const struct vhx_unix_policy vhx_unix_policy_default;

/* At the place where connections are accepted; on one thread. */
struct vhx_unix_guard {
	const struct vhx_unix_policy *policy; /* NULL: the default */
	const char *name; /* of the socket, for the log */
	const struct vhx_log *log;
	struct vhx_log_limit lines;
	uint64_t refused;
};

/*
 * 0, or -EACCES with one line of audit, rate limited: our own user passes, and whom the policy names; where it
 * has a label, only under that one. @sock stays the caller's, who closes it.
 */
int vhx_unix_guard_admit(struct vhx_unix_guard *g, int sock, uint64_t now_ns);

/* The security label of the peer of @sock: its length, 0 where the system has none. */
size_t vhx_unix_label(int sock, char label[VHX_UNIX_LABEL_MAX]);

#endif
