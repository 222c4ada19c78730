// SPDX-License-Identifier: BSD-3-Clause
/*
 * The answer comes from a process that may be another user's or broken: its size and the time it takes are bounded,
 * and its JSON is checked before any of it is shown.
 */
#include "ctl/ask.h"

#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "util/unix_socket.h"

/* As large as any answer of ours (VHX_CONTROL_REPLY_MAX), with its newline and a NUL. */
#define REPLY_MAX ((1u << 20) + 2)
/* A little more than the program's own bound, so that its answer wins. */
#define TIMEOUT_MS 6000

uint64_t vhx_ctl_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Waits for @events on @fd until @deadline. 0, or -ETIMEDOUT. */
static int fd_wait(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = vhx_ctl_now_ms();
	int ret;

	ret = now < deadline ? poll(&p, 1, (int)(deadline - now)) : 0;
	if (ret < 0 && errno != EINTR)
		return -errno;
	return ret || vhx_ctl_now_ms() < deadline ? 0 : -ETIMEDOUT;
}

/* A short request fits the empty buffer of a fresh socket: it goes whole or the peer is gone. */
static int request_send(int fd, const char *command)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "{\"command\":\"%s\"}\n", command);
	ssize_t n = send(fd, line, (size_t)len, MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	return n == len ? 0 : -EIO;
}

/* Everything up to the end of the stream, with a NUL, in @buf of REPLY_MAX bytes. */
static int reply_receive(int fd, char *buf)
{
	uint64_t deadline = vhx_ctl_now_ms() + TIMEOUT_MS;
	size_t len = 0;
	int ret;

	while (len < REPLY_MAX - 1) {
		ssize_t n = recv(fd, buf + len, REPLY_MAX - 1 - len, 0);

		if (!n) {
			buf[len] = '\0';
			return len ? 0 : -ECONNRESET;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
		ret = n < 0 ? fd_wait(fd, POLLIN, deadline) : 0;
		if (ret)
			return ret;
	}
	return -EMSGSIZE;
}

/* A server whose backlog is full is busy, not gone: a few more tries within the time. */
int vhx_ctl_connect(const char *path, struct vhx_error *err)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t deadline = vhx_ctl_now_ms() + TIMEOUT_MS;
	int fd;

	while ((fd = vhx_unix_connect(path, SOCK_STREAM, err)) == -EAGAIN &&
	       vhx_ctl_now_ms() < deadline)
		nanosleep(&pause, NULL);
	return fd;
}

static int answer_receive(int fd, const char *command, char *buf)
{
	int ret = request_send(fd, command);

	return ret ? ret : reply_receive(fd, buf);
}

/* NULL with a text: not JSON, or no object. */
static struct json_object *answer_parse(const char *path, const char *text, struct vhx_error *err)
{
	struct json_object *answer = json_tokener_parse(text);

	if (json_object_is_type(answer, json_type_object))
		return answer;
	json_object_put(answer);
	vhx_error_set(err, "%s: the answer is not a JSON object", path);
	return NULL;
}

struct json_object *vhx_ctl_ask(const char *path, const char *command, struct vhx_error *err)
{
	static char reply[REPLY_MAX];
	int fd = vhx_ctl_connect(path, err);
	int ret;

	if (fd < 0)
		return NULL;
	ret = answer_receive(fd, command, reply);
	close(fd);
	if (!ret)
		return answer_parse(path, reply, err);
	vhx_error_set(err, "%s: %s", path, strerror(-ret));
	return NULL;
}
