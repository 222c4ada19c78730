/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comma separated values, `first,key=value,flag`, into a plain struct, by a table of keys. A comma
 * within a value is written twice: `file=/a,,b` names the file "/a,b".
 */
#ifndef VHX_CONFIG_KEYVAL_H
#define VHX_CONFIG_KEYVAL_H

#include "config/number.h"
#include "util/base.h"
#include "util/error.h"

/* Rows of one table: "given twice" is remembered in a 64-bit map. */
#define VHX_KEYS_MAX 64u
/* One value with its NUL: a path is the longest thing that anybody names. */
#define VHX_VALUE_MAX 4096u

enum vhx_key_kind {
	VHX_KEY_TEXT, /* char[text_max], never empty */
	VHX_KEY_FLAG, /* bool: `key`, `key=on` or `key=off` */
	VHX_KEY_SWITCH, /* bool: `key=on` or `key=off` */
	VHX_KEY_NUMBER, /* uint32_t within bounds */
	VHX_KEY_SIZE, /* uint32_t bytes within bounds, with suffixes */
	VHX_KEY_FD, /* int: the number of a descriptor */
};

struct vhx_key {
	const char *name;
	enum vhx_key_kind kind;
	size_t offset; /* of the field in the struct */
	uint32_t text_max; /* texts: size of the field */
	bool required;
	struct vhx_number_bounds bounds; /* numbers and sizes */
	/* Texts: more rules, checked before the value is stored. May be NULL. */
	int (*check)(const char *value, struct vhx_error *err);
	const char *metavar, *help; /* for --help; a flag has no metavar; without help it is left out */
};

/* Where a reader of the fields of a text is. */
struct vhx_fields {
	const char *next; /* NULL at the end */
};

/*
 * The next field with `,,` folded into `,`. 1 and @field, 0 at the end, -ENAMETOOLONG.
 */
int vhx_fields_next(struct vhx_fields *f, char field[VHX_VALUE_MAX], struct vhx_error *err);

/*
 * Reads all remaining fields of @f into the struct at @into. 0; -EINVAL, -ERANGE, -ENAMETOOLONG
 * with one line that names the key. On failure the struct is half filled.
 */
int vhx_keys_parse(struct vhx_fields *f, const struct vhx_key *keys, unsigned int keys_cnt,
		   void *into, struct vhx_error *err);

#endif
