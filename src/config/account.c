// SPDX-License-Identifier: BSD-3-Clause
#include "config/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>

#include "config/number.h"

/* Names that are kept: the operator's, of all sockets of a program, which take 16 users and 16 groups each. One more is not. */
#define KEPT_MAX 128u

struct names {
	unsigned int cnt;
	struct {
		char name[VHX_ACCOUNT_NAME_MAX];
		uint32_t id;
	} kept[KEPT_MAX];
};

static struct names users, groups;

static uint32_t *name_find(struct names *n, const char *name)
{
	unsigned int i;

	for (i = 0; i < n->cnt; i++) {
		if (!strcmp(n->kept[i].name, name))
			return &n->kept[i].id;
	}
	return NULL;
}

static void name_keep(struct names *n, const char *name, uint32_t id)
{
	uint32_t *old = name_find(n, name);
	size_t size = strlen(name) + 1;

	if (old) {
		*old = id;
		return;
	}
	if (n->cnt == KEPT_MAX || size > VHX_ACCOUNT_NAME_MAX)
		return;
	memcpy(n->kept[n->cnt].name, name, size);
	n->kept[n->cnt++].id = id;
}

static int number_of(const char *name, uint32_t *id)
{
	/* The last one is the "none" of chown(2). */
	static const struct vhx_number_bounds bounds = { .max = UINT32_MAX - 1 };
	struct vhx_error ignored;
	uint64_t v;

	if (vhx_number_parse(name, &bounds, &v, &ignored))
		return -ENOENT;
	*id = (uint32_t)v;
	return 0;
}

/* @found: *@id is what the system says of it. */
static int account_find(struct names *n, const char *name, bool found, uint32_t *id)
{
	const uint32_t *kept;

	if (found) {
		name_keep(n, name, *id);
		return 0;
	}
	kept = name_find(n, name);
	if (!kept)
		return number_of(name, id);
	*id = *kept;
	return 0;
}

int vhx_account_user(const char *name, uint32_t *uid)
{
	const struct passwd *pw = getpwnam(name);

	if (pw)
		*uid = pw->pw_uid;
	return account_find(&users, name, pw, uid);
}

int vhx_account_group(const char *name, uint32_t *gid)
{
	const struct group *gr = getgrnam(name);

	if (gr)
		*gid = gr->gr_gid;
	return account_find(&groups, name, gr, gid);
}
