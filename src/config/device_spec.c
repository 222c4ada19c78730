// SPDX-License-Identifier: BSD-3-Clause
#include "config/device_type.h"

#include <stdio.h>
#include <string.h>

/* Where the text of a key begins. */
#define HELP_COLUMN 28

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int vhx_spec_id_check(const char *id, struct vhx_error *err)
{
	const char *p;

	for (p = id; *p; p++) {
		if (is_letter_or_digit(*p) || (p > id && strchr("-_.", *p)))
			continue;
		vhx_error_set(err, "'%s' may have letters, digits and, after the first, any of -_.",
			      id);
		return -EINVAL;
	}
	return 0;
}

int vhx_spec_peer_check(const char *peer, struct vhx_error *err)
{
	struct vhx_argo_spec spec;
	int ret = vhx_argo_spec_parse(peer, &spec, err);

	if (ret || (spec.kind != VHX_ARGO_SPEC_NONE && spec.kind != VHX_ARGO_SPEC_ANY))
		return ret;
	vhx_error_set(err, "'%s' does not say whom; leave it out for everybody", peer);
	return -EINVAL;
}

/* So that the same peer has the same text. */
static void peer_settle(struct vhx_device_spec *spec)
{
	struct vhx_argo_spec peer;
	struct vhx_error ignored;

	if (spec->peer[0] && !vhx_argo_spec_parse(spec->peer, &peer, &ignored))
		vhx_argo_spec_print(&peer, spec->peer, sizeof(spec->peer));
}

/* In the order of --help. */
static const struct vhx_device_type *const types[] = {
	&vhx_blk_type,	&vhx_console_type, &vhx_net_type,  &vhx_rng_type,
	&vhx_scsi_type, &vhx_bridge_type,  &vhx_vdpa_type, &vhx_vsock_type,
};

static const struct vhx_device_type *type_find(const char *name, struct vhx_error *err)
{
	char list[128] = "";
	unsigned int i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		size_t len = strlen(list);

		if (!strcmp(types[i]->name, name))
			return types[i];
		snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", types[i]->name);
	}
	vhx_error_set(err, "unknown device type '%s'; known: %s", name, list);
	return NULL;
}

int vhx_device_spec_parse(const char *text, struct vhx_device_spec *spec, struct vhx_error *err)
{
	struct vhx_fields fields = { text };
	const struct vhx_device_type *type;
	char name[VHX_VALUE_MAX];
	int ret;

	ret = vhx_fields_next(&fields, name, err);
	if (ret < 0)
		return ret;
	type = type_find(name, err);
	if (!type)
		return -EINVAL;
	memset(spec, 0, sizeof(*spec));
	spec->type = type;
	snprintf(spec->id, sizeof(spec->id), "%s", type->name);
	type->defaults(spec);
	ret = vhx_keys_parse(&fields, type->keys, type->keys_cnt, spec, err);
	if (!ret && type->check)
		ret = type->check(spec, err);
	if (ret)
		vhx_error_prefix(err, "%s", type->name);
	else
		peer_settle(spec);
	return ret;
}

static void key_help(const struct vhx_key *key, FILE *out)
{
	int n = fprintf(out, "    %s%s%s", key->name, key->metavar ? "=" : "",
			key->metavar ? key->metavar : "");

	fprintf(out, "%*s%s\n", n < HELP_COLUMN ? HELP_COLUMN - n : 1, "", key->help);
}

void vhx_device_types_help(FILE *out)
{
	unsigned int i, j;

	fprintf(out, "\nDevices, --device TYPE[,KEY=VALUE...]:\n");
	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		fprintf(out, "  %s: %s\n", types[i]->name, types[i]->help);
		for (j = 0; j < types[i]->keys_cnt; j++)
			if (types[i]->keys[j].help)
				key_help(&types[i]->keys[j], out);
	}
}

const char *vhx_device_spec_type(const struct vhx_device_spec *spec)
{
	return spec->type->name;
}

const char *vhx_device_spec_path(const struct vhx_device_spec *spec, unsigned int i)
{
	return spec->type->path ? spec->type->path(spec, i) : NULL;
}

int vhx_device_specs_check(const struct vhx_device_spec *specs, unsigned int cnt,
			   struct vhx_error *err)
{
	unsigned int i, j;

	for (i = 0; i < cnt; i++) {
		for (j = 0; j < i; j++) {
			if (strcmp(specs[i].id, specs[j].id))
				continue;
			vhx_error_set(err, "two devices have the id '%s'", specs[i].id);
			return -EEXIST;
		}
	}
	return 0;
}

static const struct vhx_key vhost_user_keys[] = {
	{ "id", VHX_KEY_TEXT, offsetof(struct vhx_vhost_user_spec, id), .text_max = VHX_SPEC_ID_MAX,
	  .check = vhx_spec_id_check },
	VHX_SOCKET_ACCESS_KEYS(struct vhx_vhost_user_spec, access),
};

int vhx_vhost_user_spec_parse(const char *text, struct vhx_vhost_user_spec *spec,
			      struct vhx_error *err)
{
	struct vhx_fields fields = { text };
	char path[VHX_VALUE_MAX];
	int ret;

	memset(spec, 0, sizeof(*spec));
	ret = vhx_fields_next(&fields, path, err);
	if (ret < 0)
		return ret;
	ret = vhx_socket_path_copy(spec->path, path, err);
	if (ret)
		return ret;
	ret = vhx_keys_parse(&fields, vhost_user_keys, VHX_ARRAY_SIZE(vhost_user_keys), spec, err);
	return ret ? ret : vhx_socket_access_resolve(&spec->access, &spec->policy, err);
}
