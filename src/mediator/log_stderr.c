// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Each record is one write(2), so that lines of processes that share standard error do not mix. The
 * data path logs from its own thread, which must not stop because somebody paused a terminal or a
 * pipe: the descriptor is asked first, and a record that has no room is dropped and counted; the
 * number is said with the next one that passes. O_NONBLOCK is not an option, it would change the
 * descriptor for its other owners.
 */
#include "mediator/log_stderr.h"

#include "util/error.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fits PIPE_BUF, below which a pipe that says it is writable does not block. */
#define LINE_MAX_LEN 1024

const struct vhx_choice vhx_log_levels[] = {
	{ "error", VHX_LOG_ERROR }, { "warning", VHX_LOG_WARNING }, { "notice", VHX_LOG_NOTICE },
	{ "info", VHX_LOG_INFO },   { "debug", VHX_LOG_DEBUG },	    { NULL, 0 },
};

/* JOURNAL_STREAM is "device:inode" of the journal's end; it stays set when that is redirected. */
static bool is_journal(int fd)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return text && sscanf(text, "%llu:%llu", &dev, &ino) == 2 && !fstat(fd, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

static void line_write(struct vhx_log_stderr *sink, enum vhx_log_level level, const char *text)
{
	char line[LINE_MAX_LEN];
	size_t len;

	if (sink->journal)
		snprintf(line, sizeof(line) - 1, "<%d>%s", (int)level, text);
	else
		snprintf(line, sizeof(line) - 1, "%s: %s", sink->program, text);
	vhx_text_sanitise(line);
	len = strlen(line);
	line[len++] = '\n';
	if (write(sink->fd, line, len) < 0)
		sink->lost++;
}

static void sink_emit(void *ctx, enum vhx_log_level level, const char *text)
{
	struct vhx_log_stderr *sink = ctx;
	char note[64];

	if (!has_room(sink->fd)) {
		sink->lost++;
		return;
	}
	if (sink->lost) {
		snprintf(note, sizeof(note), "%" PRIu64 " log records were lost", sink->lost);
		sink->lost = 0;
		line_write(sink, VHX_LOG_WARNING, note);
		if (!has_room(sink->fd)) {
			sink->lost++;
			return;
		}
	}
	line_write(sink, level, text);
}

void vhx_log_stderr_init(struct vhx_log_stderr *sink, const char *program, enum vhx_log_level level)
{
	*sink = (struct vhx_log_stderr){
		.log = { .emit = sink_emit, .ctx = sink, .level = level },
		.program = program,
		.fd = STDERR_FILENO,
		.journal = is_journal(STDERR_FILENO),
	};
}
