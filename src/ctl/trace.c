// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * The program answers with a pcapng stream, or with an object that says why not: the first byte tells. To end, this
 * side shuts down its sending half, which makes the program stop and send the rest; so that the file ends with a
 * whole block. A program that does not is waited for END_MS at most.
 */
#include "ctl/trace.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/ask.h"

#define CHUNK 65536
#define END_MS 6000
#define MS_PER_S 1000
#define NEVER UINT64_MAX
/* The answer is not a stream but a text, of which so much is shown. */
#define REASON_MAX 512

static volatile sig_atomic_t ended;

static void end_handler(int sig)
{
	ended = 1;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* {"error":"..."} */
static int refused(const char *path, char *text, size_t len, struct vhx_error *err)
{
	struct json_object *answer, *reason;

	text[vhx_min_u64(len, REASON_MAX)] = '\0';
	answer = json_tokener_parse(text);
	if (json_object_is_type(answer, json_type_object) &&
	    json_object_object_get_ex(answer, "error", &reason))
		vhx_error_set(err, "%s: %s", path, json_object_get_string(reason));
	else
		vhx_error_set(err, "%s: the answer is no trace", path);
	json_object_put(answer);
	return -EPROTO;
}

/* Bytes, 0 at the end of the stream, -EINTR when it is time to look at @ended and the clock. */
static ssize_t stream_read(int sock, char *bytes, uint64_t deadline)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	uint64_t now = vhx_ctl_now_ms();
	uint64_t left = deadline > now ? deadline - now : 0;
	ssize_t n;

	if (poll(&p, 1, deadline == NEVER ? -1 : (int)vhx_min_u64(left, INT32_MAX)) <= 0)
		return -EINTR;
	n = recv(sock, bytes, CHUNK, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? -EINTR : -errno;
	return n;
}

static int stream_copy(const struct vhx_ctl_trace_config *cfg, int sock, int out, uint64_t *written,
		       struct vhx_error *err)
{
	static char bytes[CHUNK + 1];
	uint64_t deadline = cfg->seconds ? vhx_ctl_now_ms() + cfg->seconds * MS_PER_S : NEVER;
	bool ending = false;
	ssize_t n;
	int ret = 0;

	while (!ret) {
		n = stream_read(sock, bytes, deadline);
		if (!n)
			return 0;
		if (n > 0 && !*written && bytes[0] == '{')
			return refused(cfg->path, bytes, (size_t)n, err);
		if (n > 0)
			ret = write_all(out, bytes, (size_t)n);
		if (n > 0 && !ret)
			*written += (uint64_t)n;
		if (n < 0 && n != -EINTR)
			ret = (int)n;
		if (!ended && vhx_ctl_now_ms() < deadline)
			continue;
		if (ending)
			ret = vhx_ctl_now_ms() < deadline ? ret : -ETIMEDOUT;
		else
			deadline = vhx_ctl_now_ms() + END_MS;
		if (!ending)
			shutdown(sock, SHUT_WR);
		ending = true;
	}
	vhx_error_set(err, "%s: %s", cfg->file, strerror(-ret));
	return ret;
}

static int request_send(int sock, uint32_t snap)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "{\"command\":\"trace\",\"snap\":%u}\n", snap);

	return send(sock, line, (size_t)len, MSG_NOSIGNAL) == len ? 0 : -ECONNRESET;
}

static int file_open(const char *name, struct vhx_error *err)
{
	int fd = strcmp(name, "-")
			 ? open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600)
			 : dup(STDOUT_FILENO);
	int ret = -errno;

	if (fd >= 0)
		return fd;
	vhx_error_set(err, "%s: %s", name, strerror(-ret));
	return ret;
}

int vhx_ctl_trace(const struct vhx_ctl_trace_config *cfg, uint64_t *written, struct vhx_error *err)
{
	const struct sigaction end = { .sa_handler = end_handler };
	int sock, out, ret;

	*written = 0;
	/* Who cannot be asked leaves the file of the last time alone. */
	sock = vhx_ctl_connect(cfg->path, err);
	if (sock < 0)
		return sock;
	out = file_open(cfg->file, err);
	if (out < 0) {
		close(sock);
		return out;
	}
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	signal(SIGPIPE, SIG_IGN);
	ret = request_send(sock, cfg->snap);
	if (ret)
		vhx_error_set(err, "%s: %s", cfg->path, strerror(-ret));
	else
		ret = stream_copy(cfg, sock, out, written, err);
	close(out);
	close(sock);
	return ret;
}
