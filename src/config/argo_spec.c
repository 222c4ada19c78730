// SPDX-License-Identifier: BSD-3-Clause
#include "config/argo_spec.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "config/number.h"

#define SCHEME "argo"
#define UUID_LEN 36u

bool vhx_argo_spec_matches(const char *text)
{
	size_t len = strlen(SCHEME);

	return !strncmp(text, SCHEME, len) && (!text[len] || text[len] == ':');
}

int vhx_argo_domid_parse(const char *text, uint16_t *domid, struct vhx_error *err)
{
	static const struct vhx_number_bounds bounds = { 0, VHX_ARGO_SPEC_DOMID_MAX, false };
	uint64_t v;
	int ret = vhx_number_parse(text, &bounds, &v, err);

	if (!ret)
		*domid = (uint16_t)v;
	return ret;
}

static int peer_parse(const char *value, struct vhx_argo_spec *spec, struct vhx_error *err)
{
	int ret = vhx_argo_domid_parse(value, &spec->domid, err);

	if (ret)
		vhx_error_prefix(err, "argo:peer");
	return ret;
}

static int name_parse(const char *value, struct vhx_argo_spec *spec, struct vhx_error *err)
{
	size_t len = strlen(value);

	if (!len || len >= sizeof(spec->text)) {
		vhx_error_set(err, "argo:name: a name of a domain has 1 to %zu letters",
			      sizeof(spec->text) - 1);
		return len ? -ENAMETOOLONG : -EINVAL;
	}
	memcpy(spec->text, value, len + 1);
	return 0;
}

/* A letter of a UUID at @i, in lower case; 0: it cannot be there. */
static char uuid_letter(char c, size_t i)
{
	if (i == 8 || i == 13 || i == 18 || i == 23)
		return c == '-' ? c : '\0';
	return isxdigit((unsigned char)c) ? (char)tolower((unsigned char)c) : '\0';
}

static int uuid_parse(const char *value, struct vhx_argo_spec *spec, struct vhx_error *err)
{
	bool valid = strlen(value) == UUID_LEN;
	size_t i;

	for (i = 0; valid && i < UUID_LEN; i++) {
		spec->text[i] = uuid_letter(value[i], i);
		valid = spec->text[i] != '\0';
	}
	if (valid)
		return 0;
	vhx_error_set(err, "argo:uuid: '%s' is no UUID", value);
	return -EINVAL;
}

static int any_parse(const char *value, struct vhx_argo_spec *spec, struct vhx_error *err)
{
	if (!*value)
		return 0;
	vhx_error_set(err, "argo:any takes nothing, not '%s'", value);
	return -EINVAL;
}

static const struct {
	const char *prefix;
	enum vhx_argo_spec_kind kind;
	int (*parse)(const char *value, struct vhx_argo_spec *spec, struct vhx_error *err);
} selectors[] = {
	{ "peer=", VHX_ARGO_SPEC_DOMID, peer_parse },
	{ "name:", VHX_ARGO_SPEC_NAME, name_parse },
	{ "uuid:", VHX_ARGO_SPEC_UUID, uuid_parse },
	{ "any", VHX_ARGO_SPEC_ANY, any_parse },
};

int vhx_argo_spec_parse(const char *text, struct vhx_argo_spec *spec, struct vhx_error *err)
{
	const char *selector = text + strlen(SCHEME);
	size_t i, len;

	*spec = (struct vhx_argo_spec){ .kind = VHX_ARGO_SPEC_NONE };
	if (vhx_argo_spec_matches(text) && !*selector)
		return 0;
	for (i = 0; vhx_argo_spec_matches(text) && i < VHX_ARRAY_SIZE(selectors); i++) {
		len = strlen(selectors[i].prefix);
		if (strncmp(selector + 1, selectors[i].prefix, len))
			continue;
		spec->kind = selectors[i].kind;
		return selectors[i].parse(selector + 1 + len, spec, err);
	}
	vhx_error_set(
		err,
		"'%s' is not argo, argo:peer=DOMID, argo:name:NAME, argo:uuid:UUID or argo:any",
		text);
	return -EINVAL;
}

void vhx_argo_spec_print(const struct vhx_argo_spec *spec, char *text, size_t max)
{
	size_t i;

	snprintf(text, max, "%s", SCHEME);
	for (i = 0; i < VHX_ARRAY_SIZE(selectors); i++) {
		if (selectors[i].kind != spec->kind)
			continue;
		if (spec->kind == VHX_ARGO_SPEC_DOMID)
			snprintf(text, max, "%s:%s%u", SCHEME, selectors[i].prefix, spec->domid);
		else
			snprintf(text, max, "%s:%s%s", SCHEME, selectors[i].prefix, spec->text);
	}
}
