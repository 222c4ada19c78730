// SPDX-License-Identifier: BSD-3-Clause
#include "config/nearest.h"

#include <string.h>

/* Names are shorter than this; a longer word is certainly none of them. */
#define WORD_MAX 32u

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

/* Letters to insert, delete or replace to get from @a to @b, both shorter than WORD_MAX. */
static unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int row[WORD_MAX + 1];
	size_t a_len = strlen(a), b_len = strlen(b);
	size_t i, j;

	for (j = 0; j <= b_len; j++)
		row[j] = (unsigned int)j;
	for (i = 0; i < a_len; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i + 1;
		for (j = 0; j < b_len; j++) {
			unsigned int above = row[j + 1];

			row[j + 1] = min3(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
			diagonal = above;
		}
	}
	return row[b_len];
}

/* A beginning of a name is as good as one wrong letter: people abbreviate. */
static unsigned int word_distance(const char *text, const char *name)
{
	if (strlen(text) >= 2 && !strncmp(text, name, strlen(text)))
		return 1;
	return edit_distance(text, name);
}

const char *vhx_word_nearest(const char *text,
			     const char *(*name_of)(const void *table, unsigned int i),
			     const void *table, unsigned int cnt)
{
	/* A third of the letters may be wrong, or one of few; beyond that a suggestion confuses. */
	unsigned int best = strlen(text) < 6 ? 1 : (unsigned int)strlen(text) / 3;
	const char *found = NULL;
	unsigned int i;

	if (strlen(text) >= WORD_MAX)
		return NULL;
	for (i = 0; i < cnt; i++) {
		const char *name = name_of(table, i);
		unsigned int d;

		if (strlen(name) >= WORD_MAX)
			continue;
		d = word_distance(text, name);
		if (d < best || (d == best && !found)) {
			best = d;
			found = name;
		}
	}
	return found;
}
