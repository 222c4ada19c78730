/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters for people. What a program answered is shown as text, and no control character of it reaches a terminal.
 */
#ifndef VHX_CTL_TABLE_H
#define VHX_CTL_TABLE_H

#include "util/base.h"

struct json_object;

/* Text of one cell with its NUL; longer text is cut. */
#define VHX_CTL_CELL_MAX 64u

/* What @object has under @key, as text for a terminal; "-" for nothing. */
void vhx_ctl_cell(struct json_object *object, const char *key, char cell[VHX_CTL_CELL_MAX]);

/* The answer to "stats" on standard output. */
void vhx_ctl_stats_print(struct json_object *answer);

#endif
