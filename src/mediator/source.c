// SPDX-License-Identifier: BSD-3-Clause
/*
 * The command line is read twice: it names the file, and its options come after those of the file.
 *
 * A confined program opens nothing by name. So the descriptor of the file is kept; through it the file is read
 * again as long as it is the same one. Most editors put a new file in the place of the old one: then the descriptor
 * comes from who may open it (vhxctl reload).
 */
#include "mediator/source.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/file.h"
#include "mediator/program.h"

struct vhx_source_text {
	struct vhx_source_text *next;
	char *bytes;
};

/* Takes @bytes over, which have to outlive the settings. */
static int text_keep(struct vhx_source *s, char *bytes, struct vhx_error *err)
{
	struct vhx_source_text *t = malloc(sizeof(*t));

	if (!t) {
		free(bytes);
		vhx_error_set(err, "out of memory");
		return -ENOMEM;
	}
	*t = (struct vhx_source_text){ s->texts, bytes };
	s->texts = t;
	return 0;
}

static int file_parse(struct vhx_source *s, int fd, void *into, struct vhx_error *err)
{
	char *bytes;
	int ret = vhx_config_read(fd, s->path, &bytes, err);

	if (!ret)
		ret = text_keep(s, bytes, err);
	return ret ? ret : vhx_config_parse(s->type->options, s->path, bytes, into, err);
}

static int file_open(struct vhx_source *s, struct vhx_error *err)
{
	int ret;

	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (s->fd >= 0)
		return 0;
	ret = -errno;
	vhx_error_set(err, "%s: %s", s->path, strerror(-ret));
	return ret;
}

/* @into as the command line alone has it: begins anew, with the file first. */
static int layers_read(struct vhx_source *s, void *into, struct vhx_error *err)
{
	const struct vhx_program_settings *common = into;
	int ret;

	if (common->config && common->check) {
		vhx_error_set(err, "--config and --check exclude each other");
		return -EINVAL;
	}
	s->path = common->check ?: common->config;
	if (!s->path)
		return 0;
	ret = file_open(s, err);
	if (ret)
		return ret;
	memcpy(into, s->defaults, s->type->settings_len);
	ret = file_parse(s, s->fd, into, err);
	return ret ? ret : vhx_options_parse(s->type->options, s->argc, s->argv, into, NULL, err);
}

static int fail(const struct vhx_source *s, const struct vhx_error *err)
{
	fprintf(stderr, "%s: %s\n", s->type->options->program, err->text);
	return VHX_EXIT_USAGE;
}

static int check_all(const struct vhx_source *s, const void *into, struct vhx_error *err)
{
	const struct vhx_program_settings *common = into;
	struct vhx_socket_spec spec;
	int ret = s->type->check ? s->type->check(into, err) : 0;

	if (!ret && common->control)
		ret = vhx_socket_path_spec_parse(common->control, &spec, err);
	if (!ret && s->type->check_sockets)
		ret = s->type->check_sockets(into, err);
	return ret;
}

static int check_print(const struct vhx_source *s, const void *into)
{
	struct vhx_error err;

	if (check_all(s, into, &err)) {
		vhx_error_prefix(&err, "%s", s->path);
		return fail(s, &err);
	}
	printf("%s: good\n", s->path);
	return VHX_EXIT_OK;
}

bool vhx_source_read(struct vhx_source *s, const struct vhx_source_type *type, int argc,
		     char **argv, void *into, int *exit_code)
{
	const struct vhx_program_settings *common = into;
	struct vhx_error err;
	int ret;

	*s = (struct vhx_source){ .type = type, .argc = argc, .argv = argv, .fd = -1 };
	s->defaults = malloc(type->settings_len);
	if (s->defaults)
		memcpy(s->defaults, into, type->settings_len);
	else
		vhx_error_set(&err, "out of memory");
	ret = s->defaults ? vhx_options_parse(type->options, argc, argv, into, NULL, &err)
			  : -ENOMEM;
	if (!ret)
		ret = layers_read(s, into, &err);
	if (!ret && !common->check)
		return true;
	*exit_code = VHX_EXIT_OK;
	if (ret == VHX_OPTIONS_HELP)
		vhx_options_help(type->options, stdout);
	else if (ret == VHX_OPTIONS_VERSION)
		vhx_options_version(type->options, stdout);
	else
		*exit_code = ret ? fail(s, &err) : check_print(s, into);
	vhx_source_fini(s);
	return false;
}

static int file_again(struct vhx_source *s, void *into, struct vhx_error *err)
{
	struct stat st;

	if (s->fd < 0) {
		vhx_error_set(err,
			      "there is no configuration file: it was started without --config");
		return -ENOENT;
	}
	if (!fstat(s->fd, &st) && !st.st_nlink) {
		vhx_error_set(
			err,
			"%s: another file is in its place, which a confined program cannot open: "
			"vhxctl reload SOCKET FILE passes it on",
			s->path);
		return -ESTALE;
	}
	return file_parse(s, s->fd, into, err);
}

/* Whoever passed it could else have us wait for it. */
static int passed_check(int fd, struct vhx_error *err)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return 0;
	vhx_error_set(err, "what was passed is no regular file");
	return -EINVAL;
}

int vhx_source_again(struct vhx_source *s, int fd, void *into, struct vhx_error *err)
{
	int ret;

	if (!s->path)
		s->path = "configuration";
	memcpy(into, s->defaults, s->type->settings_len);
	if (fd < 0) {
		ret = file_again(s, into, err);
	} else {
		ret = passed_check(fd, err);
		if (!ret)
			ret = file_parse(s, fd, into, err);
	}
	return ret ? ret : vhx_options_parse(s->type->options, s->argc, s->argv, into, NULL, err);
}

void vhx_source_fini(struct vhx_source *s)
{
	struct vhx_source_text *t;

	if (!s->type)
		return;
	while ((t = s->texts)) {
		s->texts = t->next;
		free(t->bytes);
		free(t);
	}
	free(s->defaults);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct vhx_source){ .fd = -1 };
}
