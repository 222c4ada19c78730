// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * A vhx_control owns the listening socket and a fixed table of clients; all run in the thread of
 * the loop. A client slot is
 *
 *   FREE      fd is -1
 *   READING   collects bytes up to a newline, the end of the stream, or a full buffer
 *   WRITING   the answer, made in one go, leaves as the client takes it
 *
 * and goes back to FREE from either when the answer is out, the client hangs up, or its time is
 * over. The time runs from accept, so a client that sends or reads a byte now and then gains
 * nothing by it.
 *
 * While the table is full, and for a while after accept() failed for want of descriptors, the
 * listener is not watched: a level-triggered event that cannot be served would spin the loop.
 * Whoever connects then waits in the kernel's backlog.
 *
 * A hostile client (it had to pass the mode of the socket first) can hold a slot for the time-out,
 * and have a request of 4 KiB parsed; no answer is larger than VHX_CONTROL_REPLY_MAX. SIGPIPE is
 * not raised. Of descriptors that it attaches its slot keeps one; a second ends the request, and all are closed with
 * the slot, unless a command has taken the one over. Commands that change something ask the kernel who it is.
 */
#include "mediator/control.h"

#include "util/unix_fds.h"
#include "util/unix_socket.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Objects within objects that a request may have: today one level, and a few for what comes. */
#define REQUEST_DEPTH_MAX 8
/* Without descriptors or memory for a connection: try again after this long. */
#define ACCEPT_PAUSE_NS 1000000000ull
/* Letters of an unknown command that are worth repeating. */
#define ECHO_MAX 32

struct client {
	struct vhx_control_socket *control;
	struct vhx_loop_fd watch; /* fd -1: the slot is free */
	struct vhx_loop_timer timer;
	char request[VHX_CONTROL_REQUEST_MAX];
	size_t request_len;
	int fd; /* that came with the request, or -1 */
	bool fds_many; /* there were more */
	char *reply; /* NULL: READING */
	size_t reply_len, reply_off;
};

struct vhx_control_socket {
	struct vhx_loop *loop;
	struct vhx_control_config cfg;
	struct vhx_unix_listener listener;
	struct vhx_loop_fd watch; /* of the listener; inactive while no more clients are taken */
	struct vhx_loop_timer pause;
	struct vhx_unix_guard guard;
	struct client clients[VHX_CONTROL_CLIENTS_MAX];
};

static void listener_resume(struct vhx_control_socket *c)
{
	if (c->watch.active || c->pause.due_ns)
		return;
	if (vhx_loop_fd_add(c->loop, &c->watch))
		vhx_loop_timer_arm(c->loop, &c->pause, ACCEPT_PAUSE_NS);
}

/* The connection is given away. */
static int client_steal(struct client *cl)
{
	int fd = cl->watch.fd;

	vhx_loop_timer_cancel(cl->control->loop, &cl->timer);
	vhx_loop_fd_del(cl->control->loop, &cl->watch);
	cl->watch.fd = -1;
	return fd;
}

/* The slot is free again. */
static void client_reset(struct client *cl)
{
	if (cl->fd >= 0)
		close(cl->fd);
	cl->fd = -1;
	free(cl->reply);
	cl->reply = NULL;
	listener_resume(cl->control);
}

static void client_drop(struct client *cl)
{
	if (cl->watch.fd < 0)
		return;
	close(client_steal(cl));
	client_reset(cl);
}

static void client_write(struct client *cl)
{
	while (cl->reply_off < cl->reply_len) {
		ssize_t n = send(cl->watch.fd, cl->reply + cl->reply_off,
				 cl->reply_len - cl->reply_off, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN &&
		    !vhx_loop_fd_modify(cl->control->loop, &cl->watch, EPOLLOUT))
			return;
		if (n < 0)
			break;
		cl->reply_off += (size_t)n;
	}
	client_drop(cl);
}

/* Takes @answer over. */
static void client_reply(struct client *cl, struct json_object *answer)
{
	size_t len = 0;
	const char *text;

	text = json_object_to_json_string_length(
		answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (text && len < VHX_CONTROL_REPLY_MAX)
		cl->reply = malloc(len + 1);
	if (text && cl->reply) {
		memcpy(cl->reply, text, len);
		cl->reply[len] = '\n';
		cl->reply_len = len + 1;
	}
	json_object_put(answer);
	if (cl->reply)
		client_write(cl);
	else
		client_drop(cl);
}

/* Only ASCII goes back: what a client sent, and is told of, need not be UTF-8, and JSON has to be. */
static void client_reply_error(struct client *cl, const char *text)
{
	struct json_object *answer = json_object_new_object();
	struct json_object *value;
	struct vhx_error ascii;
	char *p;

	vhx_error_set(&ascii, "%s", text);
	for (p = ascii.text; *p; p++)
		*p = *p & 0x80 ? '?' : *p;
	value = json_object_new_string(ascii.text);

	if (answer && value && !json_object_object_add(answer, "error", value)) {
		client_reply(cl, answer);
		return;
	}
	json_object_put(value);
	json_object_put(answer);
	client_drop(cl);
}

static const struct vhx_control_command *command_find(const struct vhx_control_socket *c, const char *name)
{
	unsigned int i;

	for (i = 0; i < c->cfg.commands_cnt; i++)
		if (!strcmp(c->cfg.commands[i].name, name))
			return &c->cfg.commands[i];
	return NULL;
}

static void command_fail(struct client *cl, const struct vhx_control_command *command, int ret)
{
	struct vhx_error text;

	vhx_error_set(&text, "%s: %s", command->name, strerror(-ret));
	client_reply_error(cl, text.text);
}

/* The descriptor is taken out of the loop first: whoever takes it puts it in again. */
static void command_take(struct client *cl, const struct vhx_control_command *command,
			 struct json_object *request)
{
	struct vhx_control_socket *c = cl->control;
	int ret;

	vhx_loop_fd_del(c->loop, &cl->watch);
	ret = command->take(c->cfg.ctx, request, cl->watch.fd);
	if (!ret) {
		client_steal(cl);
		client_reset(cl);
		return;
	}
	if (vhx_loop_fd_add(c->loop, &cl->watch))
		client_drop(cl);
	else
		command_fail(cl, command, ret);
}

static void command_run(struct client *cl, const struct vhx_control_command *command)
{
	struct json_object *into = json_object_new_object();
	int ret;

	ret = into ? command->run(cl->control->cfg.ctx, into) : -ENOMEM;
	if (!ret) {
		client_reply(cl, into);
		return;
	}
	json_object_put(into);
	command_fail(cl, command, ret);
}

/* True: the client is our own user, or root. */
static bool client_may_change(const struct client *cl)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(cl->watch.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (!cred.uid || cred.uid == geteuid());
}

static int change_checked(struct client *cl, const struct vhx_control_command *command,
			  struct vhx_control_request *req, struct json_object *into,
			  struct vhx_error *err)
{
	if (client_may_change(cl))
		return command->change(cl->control->cfg.ctx, req, into, err);
	vhx_error_set(err, "only for the program's own user and root");
	return -EPERM;
}

static void command_change(struct client *cl, const struct vhx_control_command *command,
			   struct json_object *request)
{
	struct vhx_control_request req = { .object = request, .fd = cl->fd };
	struct json_object *into = json_object_new_object();
	struct vhx_error err;
	int ret;

	if (!into) {
		command_fail(cl, command, -ENOMEM);
		return;
	}
	ret = change_checked(cl, command, &req, into, &err);
	cl->fd = req.fd;
	if (!ret) {
		client_reply(cl, into);
		return;
	}
	json_object_put(into);
	vhx_error_prefix(&err, "%s", command->name);
	client_reply_error(cl, err.text);
}

/* @request: the object that the name came in, or NULL. */
static void command_dispatch(struct client *cl, const char *name, struct json_object *request)
{
	const struct vhx_control_command *command = command_find(cl->control, name);
	struct vhx_error text;

	if (command && command->take) {
		command_take(cl, command, request);
		return;
	}
	if (command && command->change) {
		command_change(cl, command, request);
		return;
	}
	if (command) {
		command_run(cl, command);
		return;
	}
	vhx_error_set(&text, "unknown command '%.*s'", ECHO_MAX, name);
	client_reply_error(cl, text.text);
}

/* The object of a request; NULL: not JSON, too deep, something behind it, or no object. */
static struct json_object *request_parse(const char *text, size_t len)
{
	struct json_tokener *tok = json_tokener_new_ex(REQUEST_DEPTH_MAX);
	struct json_object *request = NULL;

	if (!tok)
		return NULL;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	/* With its NUL, so that the end is known to be the end. */
	request = json_tokener_parse_ex(tok, text, (int)len + 1);
	if (json_tokener_get_error(tok) != json_tokener_success ||
	    !json_object_is_type(request, json_type_object)) {
		json_object_put(request);
		request = NULL;
	}
	json_tokener_free(tok);
	return request;
}

static void request_json(struct client *cl, const char *text, size_t len)
{
	struct json_object *request = request_parse(text, len);
	struct json_object *command = NULL;

	if (!request)
		client_reply_error(cl, "the request is not a JSON object");
	else if (!json_object_object_get_ex(request, "command", &command) ||
		 !json_object_is_type(command, json_type_string))
		client_reply_error(cl, "the request has no command");
	else
		command_dispatch(cl, json_object_get_string(command), request);
	json_object_put(request);
}

/* A whole line of @len bytes, without its newline. */
static void request_run(struct client *cl, size_t len)
{
	char *line = cl->request;

	while (len && (line[len - 1] == '\r' || line[len - 1] == ' '))
		len--;
	line[len] = '\0';
	if (cl->fds_many)
		client_reply_error(cl, "the request has more than one descriptor");
	else if (memchr(line, '\0', len))
		client_reply_error(cl, "the request has a NUL byte");
	else if (!len)
		client_reply_error(cl, "the request is empty");
	else if (line[0] == '{')
		request_json(cl, line, len);
	else
		command_dispatch(cl, line, NULL);
}

/* @n more bytes came, 0: the stream has ended. */
static void request_advance(struct client *cl, size_t n)
{
	char *newline = memchr(cl->request + cl->request_len, '\n', n);

	cl->request_len += n;
	if (newline)
		request_run(cl, (size_t)(newline - cl->request));
	else if (cl->request_len == sizeof(cl->request))
		client_reply_error(cl, "the request is too long");
	else if (!n && cl->request_len)
		request_run(cl, cl->request_len);
	else if (!n)
		client_drop(cl);
}

static void client_read(struct client *cl)
{
	/* The first of all its reads is kept. */
	struct vhx_unix_fds fds = { .fds = &cl->fd, .max = cl->fd < 0 };
	ssize_t n = vhx_unix_recv_fds(cl->watch.fd, cl->request + cl->request_len,
				      sizeof(cl->request) - cl->request_len, MSG_DONTWAIT, &fds);

	cl->fds_many |= fds.surplus;
	if (n >= 0)
		request_advance(cl, (size_t)n);
	else if (n != -EAGAIN && n != -EINTR)
		client_drop(cl);
}

static void client_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct client *cl = vhx_container_of(w, struct client, watch);

	/* Read first: a request may precede the hang-up that came with it. */
	if (!cl->reply && events & EPOLLIN)
		client_read(cl);
	else if (cl->reply && events & EPOLLOUT && !(events & EPOLLERR))
		client_write(cl);
	else
		client_drop(cl);
}

static void client_expired(struct vhx_loop_timer *t)
{
	struct client *cl = vhx_container_of(t, struct client, timer);

	vhx_log(cl->control->cfg.log, VHX_LOG_INFO, "control: a client that %s was dropped",
		cl->reply ? "does not read its answer" : "does not finish its request");
	client_drop(cl);
}

static struct client *client_free_slot(struct vhx_control_socket *c)
{
	unsigned int i;

	for (i = 0; i < VHX_CONTROL_CLIENTS_MAX; i++)
		if (c->clients[i].watch.fd < 0)
			return &c->clients[i];
	return NULL;
}

static void client_start(struct client *cl, int fd)
{
	struct vhx_control_socket *c = cl->control;

	cl->watch.fd = fd;
	cl->watch.events = EPOLLIN;
	cl->fds_many = false;
	cl->request_len = 0;
	cl->reply_len = 0;
	cl->reply_off = 0;
	if (vhx_loop_fd_add(c->loop, &cl->watch))
		client_drop(cl);
	else
		vhx_loop_timer_arm(c->loop, &cl->timer, c->cfg.timeout_ns);
}

/* One connection per event: the listener stays readable while there are more. */
static void listener_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_control_socket *c = vhx_container_of(w, struct vhx_control_socket, watch);
	struct client *cl = client_free_slot(c);
	int fd = cl ? vhx_unix_accept(c->listener.fd) : -ENOSPC;

	if (fd >= 0 && vhx_unix_guard_admit(&c->guard, fd, vhx_loop_now(c->loop))) {
		close(fd);
	} else if (fd >= 0) {
		client_start(cl, fd);
	} else if (fd != -EAGAIN && fd != -EINTR && fd != -ECONNABORTED && fd != -ENOSPC) {
		vhx_log(c->cfg.log, VHX_LOG_WARNING, "control: accept: %s", strerror(-fd));
		vhx_loop_timer_arm(c->loop, &c->pause, ACCEPT_PAUSE_NS);
	}
	if (c->pause.due_ns || !client_free_slot(c))
		vhx_loop_fd_del(c->loop, &c->watch);
}

static void pause_expired(struct vhx_loop_timer *t)
{
	struct vhx_control_socket *c = vhx_container_of(t, struct vhx_control_socket, pause);

	if (client_free_slot(c))
		listener_resume(c);
}

static struct vhx_control_socket *control_new(struct vhx_loop *loop, const struct vhx_control_config *cfg)
{
	struct vhx_control_socket *c = calloc(1, sizeof(*c));
	unsigned int i;

	if (!c)
		return NULL;
	c->loop = loop;
	c->cfg = *cfg;
	c->cfg.timeout_ns = cfg->timeout_ns ? cfg->timeout_ns : VHX_CONTROL_TIMEOUT_NS;
	c->guard = (struct vhx_unix_guard){
		.policy = cfg->policy, .name = "control", .log = cfg->log
	};
	c->listener.fd = -1;
	c->watch.events = EPOLLIN;
	c->watch.ready = listener_ready;
	c->pause.expired = pause_expired;
	for (i = 0; i < VHX_CONTROL_CLIENTS_MAX; i++) {
		struct client *cl = &c->clients[i];

		cl->control = c;
		cl->watch.fd = -1;
		cl->fd = -1;
		cl->watch.ready = client_ready;
		cl->timer.expired = client_expired;
	}
	return c;
}

int vhx_control_open(struct vhx_loop *loop, const struct vhx_control_config *cfg,
		     struct vhx_control_socket **control, struct vhx_error *err)
{
	struct vhx_control_socket *c = control_new(loop, cfg);
	int ret;

	if (!c) {
		vhx_error_set(err, "%s: %s", cfg->path, strerror(ENOMEM));
		return -ENOMEM;
	}
	ret = vhx_unix_listen_policy(&c->listener, cfg->path, SOCK_STREAM, cfg->policy, err);
	if (ret)
		goto err_free;
	c->watch.fd = c->listener.fd;
	ret = vhx_loop_fd_add(loop, &c->watch);
	if (ret) {
		vhx_error_set(err, "%s: %s", cfg->path, strerror(-ret));
		goto err_unlisten;
	}
	*control = c;
	return 0;
err_unlisten:
	vhx_unix_unlisten(&c->listener);
err_free:
	free(c);
	return ret;
}

void vhx_control_close(struct vhx_control_socket *control)
{
	unsigned int i;

	if (!control)
		return;
	for (i = 0; i < VHX_CONTROL_CLIENTS_MAX; i++)
		client_drop(&control->clients[i]);
	vhx_loop_timer_cancel(control->loop, &control->pause);
	vhx_loop_fd_del(control->loop, &control->watch);
	vhx_unix_unlisten(&control->listener);
	free(control);
}
