// SPDX-License-Identifier: BSD-3-Clause
#include "config/keyval.h"

#include "config/nearest.h"

#include <limits.h>
#include <string.h>

int vhx_fields_next(struct vhx_fields *f, char field[VHX_VALUE_MAX], struct vhx_error *err)
{
	const char *p = f->next;
	size_t len = 0;

	if (!p)
		return 0;
	for (; *p && (p[0] != ',' || p[1] == ','); p++) {
		if (len >= VHX_VALUE_MAX - 1) {
			vhx_error_set(err, "a value is longer than %u bytes", VHX_VALUE_MAX - 1);
			return -ENAMETOOLONG;
		}
		field[len++] = *p;
		p += *p == ',';
	}
	field[len] = '\0';
	f->next = *p ? p + 1 : NULL;
	return 1;
}

static int text_store(const struct vhx_key *key, void *field, const char *value,
		      struct vhx_error *err)
{
	int ret;

	if (strlen(value) >= key->text_max) {
		vhx_error_set(err, "longer than %u bytes", key->text_max - 1);
		return -ENAMETOOLONG;
	}
	ret = key->check ? key->check(value, err) : 0;
	if (!ret)
		memcpy(field, value, strlen(value) + 1);
	return ret;
}

static int switch_store(const struct vhx_key *key, void *field, const char *value,
			struct vhx_error *err)
{
	bool on = !strcmp(value, "on");

	if (!on && strcmp(value, "off")) {
		vhx_error_set(err, "'%s' is neither on nor off", value);
		return -EINVAL;
	}
	*(bool *)field = on;
	return 0;
}

static int number_store(const struct vhx_key *key, void *field, const char *value,
			struct vhx_error *err)
{
	uint64_t v;
	int ret;

	assert(key->bounds.max <= UINT32_MAX);
	ret = vhx_number_parse(value, &key->bounds, &v, err);
	if (!ret)
		*(uint32_t *)field = (uint32_t)v;
	return ret;
}

static int size_store(const struct vhx_key *key, void *field, const char *value,
		      struct vhx_error *err)
{
	uint64_t v;
	int ret;

	assert(key->bounds.max <= UINT32_MAX);
	ret = vhx_size_parse(value, &key->bounds, &v, err);
	if (!ret)
		*(uint32_t *)field = (uint32_t)v;
	return ret;
}

static int fd_store(const struct vhx_key *key, void *field, const char *value,
		    struct vhx_error *err)
{
	static const struct vhx_number_bounds bounds = { .max = INT_MAX };
	uint64_t v;
	int ret;

	ret = vhx_number_parse(value, &bounds, &v, err);
	if (!ret)
		*(int *)field = (int)v;
	return ret;
}

static int (*const store[])(const struct vhx_key *key, void *field, const char *value,
			    struct vhx_error *err) = {
	[VHX_KEY_TEXT] = text_store,	 [VHX_KEY_FLAG] = switch_store,
	[VHX_KEY_SWITCH] = switch_store, [VHX_KEY_NUMBER] = number_store,
	[VHX_KEY_SIZE] = size_store,	 [VHX_KEY_FD] = fd_store,
};

static const char *key_name(const void *table, unsigned int i)
{
	return ((const struct vhx_key *)table)[i].name;
}

static const struct vhx_key *key_find(const struct vhx_key *keys, unsigned int cnt,
				      const char *name, struct vhx_error *err)
{
	const char *near;
	unsigned int i;

	for (i = 0; i < cnt; i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	near = vhx_word_nearest(name, key_name, keys, cnt);
	if (!*name)
		vhx_error_set(err, "empty key");
	else if (near)
		vhx_error_set(err, "unknown key '%s'; did you mean '%s'?", name, near);
	else
		vhx_error_set(err, "unknown key '%s'", name);
	return NULL;
}

static int key_store(const struct vhx_key *key, void *into, const char *value,
		     struct vhx_error *err)
{
	int ret;

	if (!value && key->kind == VHX_KEY_FLAG)
		value = "on";
	if (!value || !*value) {
		vhx_error_set(err, "key '%s' needs a value", key->name);
		return -EINVAL;
	}
	ret = store[key->kind](key, (char *)into + key->offset, value, err);
	if (ret)
		vhx_error_prefix(err, "%s", key->name);
	return ret;
}

/* @field is cut apart at its first '='. */
static int field_parse(char *field, const struct vhx_key *keys, unsigned int cnt, uint64_t *seen,
		       void *into, struct vhx_error *err)
{
	char *value = strchr(field, '=');
	const struct vhx_key *key;
	uint64_t bit;

	if (value)
		*value++ = '\0';
	key = key_find(keys, cnt, field, err);
	if (!key)
		return -EINVAL;
	bit = 1ull << (key - keys);
	if (*seen & bit) {
		vhx_error_set(err, "key '%s' is given twice", key->name);
		return -EINVAL;
	}
	*seen |= bit;
	return key_store(key, into, value, err);
}

static int required_check(const struct vhx_key *keys, unsigned int cnt, uint64_t seen,
			  struct vhx_error *err)
{
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		if (keys[i].required && !(seen & 1ull << i)) {
			vhx_error_set(err, "key '%s' is missing", keys[i].name);
			return -EINVAL;
		}
	}
	return 0;
}

int vhx_keys_parse(struct vhx_fields *f, const struct vhx_key *keys, unsigned int keys_cnt,
		   void *into, struct vhx_error *err)
{
	char field[VHX_VALUE_MAX];
	uint64_t seen = 0;
	int ret;

	assert(keys_cnt <= VHX_KEYS_MAX);
	while ((ret = vhx_fields_next(f, field, err)) > 0) {
		ret = field_parse(field, keys, keys_cnt, &seen, into, err);
		if (ret)
			return ret;
	}
	return ret ? ret : required_check(keys, keys_cnt, seen, err);
}
