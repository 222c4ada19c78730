// SPDX-License-Identifier: BSD-3-Clause
#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Length of the control character at @p: C0, DEL, or C1 as UTF-8, which terminals obey too. */
static unsigned int control_len(const unsigned char *p)
{
	if (*p < 0x20 || *p == 0x7f)
		return 1;
	return *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0 ? 2 : 0;
}

void vhx_text_sanitise(char *text)
{
	while (*text) {
		unsigned int len = control_len((const unsigned char *)text);

		memset(text, '?', len);
		text += len ? len : 1;
	}
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
