// SPDX-License-Identifier: BSD-3-Clause
#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void vhx_text_sanitise(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

void vhx_error_set(struct vhx_error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	vhx_text_sanitise(err->text);
}

void vhx_error_prefix(struct vhx_error *err, const char *fmt, ...)
{
	struct vhx_error old;
	va_list ap;
	size_t len;

	if (!err)
		return;
	old = *err;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	vhx_text_sanitise(err->text);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", old.text);
}
