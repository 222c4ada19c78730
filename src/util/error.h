/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The words that go with a negative errno, for the operator who has to act on it. The caller owns
 * the text; a function that takes a struct vhx_error sets it whenever it fails, and only then.
 */
#ifndef VHX_UTIL_ERROR_H
#define VHX_UTIL_ERROR_H

#include "util/base.h"

struct vhx_error {
	char text[256]; /* one line, no newline */
};

/*
 * Formats into @err, which may be NULL. Longer text is cut. Control characters, which can only come
 * from what somebody typed or sent, become '?': the text stays one line and cannot drive a
 * terminal.
 */
void vhx_error_set(struct vhx_error *err, const char *fmt, ...) VHX_PRINTF(2, 3);

/* Puts "<prefix>: " in front of the text that is there. */
void vhx_error_prefix(struct vhx_error *err, const char *fmt, ...) VHX_PRINTF(2, 3);

/* The rule of vhx_error_set() for a string of the caller's, in place. */
void vhx_text_sanitise(char *text);

#endif
