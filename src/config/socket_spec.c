// SPDX-License-Identifier: BSD-3-Clause
#include "config/socket_spec.h"

#include <stdlib.h>
#include <string.h>

#include "config/account.h"

#define UNIX_PREFIX "unix:"
/* The permissions of a file; what else a mode has makes no sense for a socket. */
#define MODE_MAX 0777

static int mode_parse(const char *text, mode_t *mode)
{
	char *end;
	unsigned long v = strtoul(text, &end, 8);

	if (*text < '0' || *text > '7' || *end || v > MODE_MAX)
		return -EINVAL;
	*mode = (mode_t)v;
	return 0;
}

int vhx_socket_mode_check(const char *text, struct vhx_error *err)
{
	mode_t mode;

	if (!mode_parse(text, &mode))
		return 0;
	vhx_error_set(err, "'%s' is no mode such as 0660", text);
	return -EINVAL;
}

struct list {
	const char *key, *what;
	int (*find)(const char *name, uint32_t *id);
	uint32_t *ids;
	unsigned int *cnt;
};

static int list_add(const struct list *l, const char *name, struct vhx_error *err)
{
	if (*l->cnt >= VHX_UNIX_ALLOW_MAX) {
		vhx_error_set(err, "%s: more than %u", l->key, VHX_UNIX_ALLOW_MAX);
		return -E2BIG;
	}
	if (l->find(name, &l->ids[*l->cnt])) {
		vhx_error_set(err, "%s: there is no %s '%s'", l->key, l->what, name);
		return -ENOENT;
	}
	++*l->cnt;
	return 0;
}

static int list_resolve(const struct list *l, const char *text, struct vhx_error *err)
{
	char name[VHX_ACCOUNT_NAME_MAX];
	int ret = 0;

	while (!ret && *text) {
		size_t len = strcspn(text, ":");

		if (!len || len >= sizeof(name)) {
			vhx_error_set(err, "%s: '%s' is no list such as vm1:1002", l->key, text);
			return -EINVAL;
		}
		memcpy(name, text, len);
		name[len] = '\0';
		ret = list_add(l, name, err);
		text += len + (text[len] == ':');
	}
	return ret;
}

int vhx_socket_access_resolve(const struct vhx_socket_access *access,
			      struct vhx_unix_policy *policy, struct vhx_error *err)
{
	const struct list uids = { "allow-uid", "user", vhx_account_user, policy->uids,
				   &policy->uids_cnt };
	const struct list gids = { "allow-gid", "group", vhx_account_group, policy->gids,
				   &policy->gids_cnt };
	int ret;

	*policy = vhx_unix_policy_default;
	memcpy(policy->label, access->allow_label, sizeof(policy->label));
	if (access->mode[0])
		(void)mode_parse(access->mode, &policy->mode); /* was checked */
	if (access->group[0] && vhx_account_group(access->group, &policy->group)) {
		vhx_error_set(err, "group: there is no group '%s'", access->group);
		return -ENOENT;
	}
	ret = list_resolve(&uids, access->allow_uid, err);
	return ret ? ret : list_resolve(&gids, access->allow_gid, err);
}

static const struct vhx_key keys[] = {
	VHX_SOCKET_ACCESS_KEYS(
		struct { struct vhx_socket_access access; }, access),
};

int vhx_socket_path_spec_parse(const char *text, struct vhx_socket_spec *spec,
			       struct vhx_error *err)
{
	struct vhx_fields fields = { text };
	struct vhx_socket_access access = { 0 };
	char path[VHX_VALUE_MAX];
	int ret = vhx_fields_next(&fields, path, err);

	if (ret < 0)
		return ret;
	ret = vhx_socket_path_copy(spec->path, path, err);
	if (!ret)
		ret = vhx_keys_parse(&fields, keys, VHX_ARRAY_SIZE(keys), &access, err);
	return ret ? ret : vhx_socket_access_resolve(&access, &spec->policy, err);
}

int vhx_socket_spec_parse(const char *text, struct vhx_socket_spec *spec, struct vhx_error *err)
{
	size_t len = strlen(UNIX_PREFIX);

	if (strncmp(text, UNIX_PREFIX, len)) {
		vhx_error_set(err, "'%s' is not an address; it looks like unix:PATH", text);
		return -EINVAL;
	}
	if (!text[len]) {
		vhx_error_set(err, "'%s' lacks the path", text);
		return -EINVAL;
	}
	return vhx_socket_path_spec_parse(text + len, spec, err);
}
