// SPDX-License-Identifier: BSD-3-Clause
#include "device/holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A process with more descriptors than this is not searched to the end: this runs once per failed start. */
#define HOLDER_FDS_MAX 4096
#define HOLDER_NAME_LEN 32

static bool is_number(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

/* Does the descriptor's fdinfo have a line that starts with "lock:"? */
static bool fdinfo_has_lock(int proc_dir, const char *fd_name)
{
	char path[64], line[256];
	bool found = false;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "fdinfo/%.16s", fd_name);
	fd = openat(proc_dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return false;
	}
	while (!found && fgets(line, sizeof(line), f))
		found = strncmp(line, "lock:", 5) == 0;
	fclose(f);
	return found;
}

static bool is_file(int dir, const char *name, const struct stat *file)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) == 0 && st.st_dev == file->st_dev &&
	       st.st_ino == file->st_ino;
}

/* @skip: a descriptor not to look at, or -1. */
static bool process_holds(int proc_dir, const struct stat *file, int skip)
{
	int fd = openat(proc_dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool found = false;
	int n = 0;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && n++ < HOLDER_FDS_MAX && (e = readdir(d))) {
		if (!is_number(e->d_name) || (skip >= 0 && atoi(e->d_name) == skip))
			continue;
		found = is_file(dirfd(d), e->d_name, file) && fdinfo_has_lock(proc_dir, e->d_name);
	}
	closedir(d);
	return found;
}

static void process_name(int proc_dir, char *name, size_t len)
{
	int fd = openat(proc_dir, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, name, len - 1);

	if (fd >= 0)
		close(fd);
	name[n < 0 ? 0 : n] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

/* Is it process @pid? Then describes it. */
static bool process_try(int proc, const char *pid, const struct stat *file, int own_fd, char *text,
			size_t text_len)
{
	bool self = atol(pid) == (long)getpid();
	int dir = openat(proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[HOLDER_NAME_LEN];
	bool found;

	if (dir < 0)
		return false;
	found = process_holds(dir, file, self ? own_fd : -1);
	if (found && self) {
		snprintf(text, text_len, "this process");
	} else if (found) {
		process_name(dir, name, sizeof(name));
		snprintf(text, text_len, "process %.16s (%s)", pid, name);
	}
	close(dir);
	return found;
}

void vhx_holder_describe(int fd, char *text, size_t text_len)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct stat file;
	bool found = false;

	snprintf(text, text_len, "another process");
	if (!proc)
		return;
	if (fstat(fd, &file) == 0) {
		while (!found && (e = readdir(proc))) {
			if (is_number(e->d_name))
				found = process_try(dirfd(proc), e->d_name, &file, fd, text,
						    text_len);
		}
	}
	closedir(proc);
}
