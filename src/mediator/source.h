/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the settings of a program come from: defaults, then a configuration file, then the command line, each over
 * the one before; lists grow.
 */
#ifndef VHX_MEDIATOR_SOURCE_H
#define VHX_MEDIATOR_SOURCE_H

#include "config/options.h"

/* Files that were given instead of the first one are kept: settings point into them. */
struct vhx_source_text;

struct vhx_source_type {
	const struct vhx_options *options;
	size_t settings_len;
	/* Says what is wrong with @settings as far as that can be told without opening anything. May be NULL. */
	int (*check)(const void *settings, struct vhx_error *err);
	/* The same for what looks names of users up, which a confined program cannot: for --check alone. May be NULL. */
	int (*check_sockets)(const void *settings, struct vhx_error *err);
};

struct vhx_source {
	const struct vhx_source_type *type;
	int argc;
	char **argv;
	void *defaults; /* of the settings */
	const char *path; /* of the configuration file, or NULL */
	int fd; /* of it, or -1 */
	struct vhx_source_text *texts;
};

/*
 * Reads all of them into @into, which holds the defaults and begins with a struct vhx_program_settings. True: go on.
 * False: *@exit_code is what to exit with; help, version, the result of --check or the one line about what is wrong
 * has been printed.
 */
bool vhx_source_read(struct vhx_source *s, const struct vhx_source_type *type, int argc,
		     char **argv, void *into, int *exit_code);

/*
 * All once more, into @into, of settings_len bytes. @fd: a file instead of the one that is open, the caller's; -1: that
 * one as it is now, if it was not replaced. 0, or negative with a text. What earlier settings point to stays.
 */
int vhx_source_again(struct vhx_source *s, int fd, void *into, struct vhx_error *err);

/* May be called on one that was never read, if it was zero. */
void vhx_source_fini(struct vhx_source *s);

#endif
