// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/control.h"

#include <json-c/json.h>
#include <string.h>

static const struct vhx_control_argument *argument_find(const struct vhx_control_argument *rows,
							unsigned int rows_cnt, const char *name)
{
	unsigned int i;

	for (i = 0; i < rows_cnt; i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	return NULL;
}

/* @row: NULL if nobody knows an argument of this name. */
static int argument_read(const struct vhx_control_argument *row, struct json_object *value,
			 struct vhx_error *err)
{
	const char *text;

	if (!row) {
		vhx_error_set(err, "there is an argument that it does not take");
		return -EINVAL;
	}
	text = json_object_get_string(value);
	if (json_object_is_type(value, json_type_string) && *text &&
	    strlen(text) == (size_t)json_object_get_string_len(value)) {
		*row->value = text;
		return 0;
	}
	vhx_error_set(err, "argument '%s' is no text", row->name);
	return -EINVAL;
}

static int members_read(struct json_object *object, const struct vhx_control_argument *rows,
			unsigned int rows_cnt, struct vhx_error *err)
{
	struct json_object_iterator at = json_object_iter_begin(object);
	struct json_object_iterator end = json_object_iter_end(object);
	int ret = 0;

	for (; !ret && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
		const char *name = json_object_iter_peek_name(&at);

		if (strcmp(name, "command"))
			ret = argument_read(argument_find(rows, rows_cnt, name),
					    json_object_iter_peek_value(&at), err);
	}
	return ret;
}

int vhx_control_arguments(const struct vhx_control_request *req,
			  const struct vhx_control_argument *rows, unsigned int rows_cnt,
			  struct vhx_error *err)
{
	unsigned int i;
	int ret;

	for (i = 0; i < rows_cnt; i++)
		*rows[i].value = NULL;
	ret = req->object ? members_read(req->object, rows, rows_cnt, err) : 0;
	for (i = 0; !ret && i < rows_cnt; i++) {
		if (*rows[i].value || rows[i].optional)
			continue;
		vhx_error_set(err, "argument '%s' is missing", rows[i].name);
		ret = -EINVAL;
	}
	return ret;
}
