// SPDX-License-Identifier: BSD-3-Clause
/*
 * Xen's libxenstore as far as xen_names.c uses it: xenstore is a folder (FAKE_XENSTORE) whose files are the values,
 * and a byte in its FIFO "events" is an event.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define DOMAINS_MAX 64

struct xs_handle {
	int events;
};

EXPORT struct xs_handle *xs_open(unsigned long flags);
EXPORT bool xs_watch(struct xs_handle *h, const char *path, const char *token);
EXPORT int xs_fileno(struct xs_handle *h);
EXPORT char **xs_check_watch(struct xs_handle *h);
EXPORT char **xs_directory(struct xs_handle *h, uint32_t transaction, const char *path,
			   unsigned int *cnt);
EXPORT void *xs_read(struct xs_handle *h, uint32_t transaction, const char *path,
		     unsigned int *len);

static void place(char at[512], const char *path)
{
	snprintf(at, 512, "%s/%s", getenv("FAKE_XENSTORE"), path);
}

struct xs_handle *xs_open(unsigned long flags)
{
	struct xs_handle *h = malloc(sizeof(*h));
	char at[512];

	if (!getenv("FAKE_XENSTORE"))
		return NULL;
	place(at, "events");
	h->events = open(at, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return h->events < 0 ? NULL : h;
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
	return path[0] == '@';
}

int xs_fileno(struct xs_handle *h)
{
	return h->events;
}

char **xs_check_watch(struct xs_handle *h)
{
	char byte;

	return read(h->events, &byte, 1) == 1 ? calloc(2, sizeof(char *)) : NULL;
}

/* One block, as of the real one: pointers, then texts. */
char **xs_directory(struct xs_handle *h, uint32_t transaction, const char *path, unsigned int *cnt)
{
	char at[512], *texts, **list = calloc(DOMAINS_MAX, sizeof(char *) + 16);
	struct dirent *entry;
	DIR *dir;

	place(at, path);
	dir = opendir(at);
	texts = (char *)(list + DOMAINS_MAX);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || *cnt == DOMAINS_MAX)
			continue;
		list[*cnt] = memcpy(texts + 16 * *cnt, entry->d_name, strnlen(entry->d_name, 15));
		++*cnt;
	}
	if (dir)
		closedir(dir);
	return list;
}

void *xs_read(struct xs_handle *h, uint32_t transaction, const char *path, unsigned int *len)
{
	char at[512], *value = calloc(1, 256);
	int fd;
	ssize_t n;

	place(at, path);
	fd = open(at, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, value, 255);
	if (fd >= 0)
		close(fd);
	if (n >= 0) {
		*len = (unsigned int)n;
		return value;
	}
	free(value);
	return NULL;
}
