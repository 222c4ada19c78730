// SPDX-License-Identifier: BSD-3-Clause
#include "util/unix_guard.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/error.h"

const struct vhx_unix_policy vhx_unix_policy_default = {
	.mode = 0600,
	.group = VHX_UNIX_GROUP_NONE,
};

size_t vhx_unix_label(int sock, char label[VHX_UNIX_LABEL_MAX])
{
	socklen_t len = VHX_UNIX_LABEL_MAX - 1;

	/* Some modules count a NUL, others do not. */
	memset(label, 0, VHX_UNIX_LABEL_MAX);
	if (getsockopt(sock, SOL_SOCKET, SO_PEERSEC, label, &len))
		label[0] = '\0';
	vhx_text_sanitise(label);
	return strlen(label);
}

static bool listed(const uint32_t *ids, unsigned int cnt, uint32_t id)
{
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		if (ids[i] == id)
			return true;
	}
	return false;
}

/* NULL: passes. */
static const char *judge(const struct vhx_unix_policy *p, const struct ucred *cred,
			 const char *label)
{
	if (cred->uid != geteuid() && !listed(p->uids, p->uids_cnt, cred->uid) &&
	    !listed(p->gids, p->gids_cnt, cred->gid))
		return "neither its user nor its group is allowed";
	if (p->label[0] && !label[0])
		return "it has no label";
	if (p->label[0] && fnmatch(p->label, label, 0))
		return "its label is not allowed";
	return NULL;
}

int vhx_unix_guard_admit(struct vhx_unix_guard *g, int sock, uint64_t now_ns)
{
	char label[VHX_UNIX_LABEL_MAX];
	struct ucred cred;
	socklen_t len = sizeof(cred);
	const char *why;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -EACCES;
	vhx_unix_label(sock, label);
	why = judge(g->policy ?: &vhx_unix_policy_default, &cred, label);
	if (!why)
		return 0;
	g->refused++;
	vhx_log_limited(g->log, &g->lines, now_ns, VHX_LOG_WARNING,
			"%s: refused pid %d uid %u gid %u%s%s: %s", g->name, (int)cred.pid,
			cred.uid, cred.gid, label[0] ? " label " : "", label, why);
	return -EACCES;
}
