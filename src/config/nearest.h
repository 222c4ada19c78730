/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "Did you mean": the known word nearest to one that nobody knows.
 */
#ifndef VHX_CONFIG_NEAREST_H
#define VHX_CONFIG_NEAREST_H

#include "util/base.h"

/* @name_of gives the @i-th of @cnt words of @table. NULL when none is near enough to be said. */
const char *vhx_word_nearest(const char *text,
			     const char *(*name_of)(const void *table, unsigned int i),
			     const void *table, unsigned int cnt);

#endif
