// SPDX-License-Identifier: BSD-3-Clause
#include "config/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLANKS " \t\r"

/* By the calls that every confined program has. */
static int read_all(int fd, char *buf, size_t max, size_t *len)
{
	ssize_t n;

	if (lseek(fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return -errno;
	for (*len = 0; *len < max; *len += (size_t)n) {
		n = read(fd, buf + *len, max - *len);
		if (n < 0)
			return -errno;
		if (!n)
			return 0;
	}
	return -EFBIG;
}

int vhx_config_read(int fd, const char *name, char **text, struct vhx_error *err)
{
	char *buf = malloc(VHX_CONFIG_FILE_MAX + 1);
	size_t len = 0;
	int ret = buf ? read_all(fd, buf, VHX_CONFIG_FILE_MAX + 1, &len) : -ENOMEM;

	if (!ret && memchr(buf, '\0', len))
		ret = -EINVAL;
	if (ret) {
		vhx_error_set(err, "%s: %s", name,
			      ret == -EINVAL ? "has a NUL byte" : strerror(-ret));
		free(buf);
		return ret;
	}
	buf[len] = '\0';
	*text = buf;
	return 0;
}

/* Without the blanks around it. */
static char *trim(char *s)
{
	size_t len;

	s += strspn(s, BLANKS);
	len = strlen(s);
	while (len && strchr(BLANKS, s[len - 1]))
		len--;
	s[len] = '\0';
	return s;
}

static int line_parse(const struct vhx_options *options, char *line, void *into, uint64_t *seen,
		      struct vhx_error *err)
{
	char *value;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	value = strchr(line, '=');
	if (value)
		*value++ = '\0';
	return vhx_options_set(options, trim(line), value ? trim(value) : NULL, into, seen, err);
}

int vhx_config_parse(const struct vhx_options *options, const char *name, char *text, void *into,
		     struct vhx_error *err)
{
	unsigned int number = 0;
	uint64_t seen = 0;
	char *line;
	int ret = 0;

	while (!ret && text) {
		line = text;
		text = strchr(line, '\n');
		if (text)
			*text++ = '\0';
		number++;
		ret = line_parse(options, line, into, &seen, err);
	}
	if (ret)
		vhx_error_prefix(err, "%s:%u", name, number);
	return ret;
}
