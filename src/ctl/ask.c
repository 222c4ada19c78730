// SPDX-License-Identifier: BSD-3-Clause
/*
 * The answer comes from a process that may be another user's or broken: its size and the time it takes are bounded,
 * and its JSON is checked before any of it is shown.
 */
#include "ctl/ask.h"

#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "util/unix_fds.h"
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

/* The line of @req, to be freed. NULL: no memory, or a text that JSON cannot have. */
static char *request_line(const struct vhx_ctl_request *req)
{
	struct json_object *object = json_object_new_object();
	char *line = NULL;
	unsigned int i;
	int ret;

	ret = json_object_object_add(object, "command", json_object_new_string(req->command));
	for (i = 0; !ret && i < req->arguments_cnt; i++)
		ret = json_object_object_add(object, req->arguments[i].name,
					     json_object_new_string(req->arguments[i].value));
	if (!ret && asprintf(&line, "%s\n", json_object_to_json_string_ext(
						    object, JSON_C_TO_STRING_PLAIN |
								    JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		line = NULL;
	json_object_put(object);
	return line;
}

/* A request fits the empty buffer of a fresh socket: it goes whole or the peer is gone. */
static int line_send(int sock, const char *line, int fd)
{
	struct iovec iov = { .iov_base = (char *)line, .iov_len = strlen(line) };
	ssize_t n = vhx_unix_send_fd(sock, &iov, 1, fd, MSG_NOSIGNAL);

	if (n < 0)
		return (int)n;
	return (size_t)n == iov.iov_len ? 0 : -EIO;
}

static int request_send(int sock, const struct vhx_ctl_request *req)
{
	char *line = request_line(req);
	int ret = line ? line_send(sock, line, req->fd) : -ENOMEM;

	free(line);
	return ret;
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

static int answer_receive(int sock, const struct vhx_ctl_request *req, char *buf)
{
	int ret = request_send(sock, req);

	return ret ? ret : reply_receive(sock, buf);
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

static struct json_object *answer_to(const char *path, const struct vhx_ctl_request *req,
				     struct vhx_error *err)
{
	static char reply[REPLY_MAX];
	int sock = vhx_ctl_connect(path, err);
	int ret;

	if (sock < 0)
		return NULL;
	ret = answer_receive(sock, req, reply);
	close(sock);
	if (!ret)
		return answer_parse(path, reply, err);
	vhx_error_set(err, "%s: %s", path, strerror(-ret));
	return NULL;
}

struct json_object *vhx_ctl_ask(const char *path, const char *command, struct vhx_error *err)
{
	const struct vhx_ctl_request req = { .command = command, .fd = -1 };

	return answer_to(path, &req, err);
}

int vhx_ctl_change(const char *path, const struct vhx_ctl_request *req, struct vhx_error *err)
{
	struct json_object *answer = answer_to(path, req, err), *reason = NULL;
	int ret = 0;

	if (!answer)
		return -EIO;
	if (json_object_object_get_ex(answer, "error", &reason)) {
		vhx_error_set(err, "%s: %s", path, json_object_get_string(reason));
		ret = -EPROTO;
	}
	json_object_put(answer);
	return ret;
}
