/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket of a program: one question, one JSON object, goodbye.
 *
 *   -> {"command":"stats"}\n   or the plain word   stats\n
 *   <- {"program":"vhx-frontend", ...}\n           or   {"error":"..."}\n
 *
 * A command with arguments takes them as further members, texts all of them, and may get one descriptor beside the
 * bytes (SCM_RIGHTS): a confined program opens nothing itself.
 *
 * For operators and monitoring on the same machine, as far as the policy of the socket lets them in
 * (by default our own user). Everything a client can make the program do or keep is bounded below.
 */
#ifndef VHX_MEDIATOR_CONTROL_H
#define VHX_MEDIATOR_CONTROL_H

#include "loop/loop.h"
#include "util/base.h"
#include "util/error.h"
#include "util/log.h"
#include "util/unix_guard.h"

#define VHX_CONTROL_CLIENTS_MAX 8u /* at once; further ones wait in the backlog */
#define VHX_CONTROL_REQUEST_MAX 4096u /* bytes of one request with its newline */
#define VHX_CONTROL_REPLY_MAX \
	(1u << 20) /* bytes of one answer: all channels and devices fit many times */
#define VHX_CONTROL_TIMEOUT_NS 5000000000ull /* from accept to the last byte of the answer */

struct json_object;
struct vhx_control_socket;

/* What a client asks for, besides the name of the command. */
struct vhx_control_request {
	struct json_object *object; /* NULL: a plain word */
	int fd; /* that came along; -1: none. A command that keeps it stores -1 */
};

/* One argument of a command: the member @name, a text that is not empty. */
struct vhx_control_argument {
	const char *name;
	const char **value; /* set to the text, which lives as long as the request; NULL if optional and not there */
	bool optional;
};

/*
 * Reads the arguments of @req, all of them: a member that no row names is as wrong as one that is missing, is no
 * text, is empty or has a NUL in it. 0, or -EINVAL with a text.
 */
int vhx_control_arguments(const struct vhx_control_request *req,
			  const struct vhx_control_argument *rows, unsigned int rows_cnt,
			  struct vhx_error *err);

struct vhx_control_command {
	const char *name;
	/*
	 * Puts the answer into the empty object @into, from the loop's thread, without waiting. 0,
	 * or a negative errno, which becomes {"error":"<name>: <reason>"}.
	 */
	int (*run)(void *ctx, struct json_object *into);
	/*
	 * Instead of run: does what @req says, and changes the program by it; so only for our own user and root,
	 * whomever else the policy lets in to look. 0, or a negative errno with a text: {"error":"<name>: <text>"}.
	 */
	int (*change)(void *ctx, struct vhx_control_request *req, struct json_object *into,
		      struct vhx_error *err);
	/*
	 * Instead of run: takes the client's connection over, and is what answers from then on. @request is the
	 * whole object, NULL for a plain word. 0, or a negative errno as above: @fd is not taken then.
	 */
	int (*take)(void *ctx, struct json_object *request, int fd);
};

struct vhx_control_config {
	const char *path;
	const struct vhx_unix_policy *policy; /* who may ask; NULL: our user; stays valid */
	const struct vhx_control_command *commands; /* stays valid while the socket is open */
	unsigned int commands_cnt;
	void *ctx; /* for the commands */
	const struct vhx_log *log;
	uint64_t timeout_ns; /* 0: VHX_CONTROL_TIMEOUT_NS */
};

/* 0, or a negative errno with a text: see vhx_unix_listen(). */
int vhx_control_open(struct vhx_loop *loop, const struct vhx_control_config *cfg,
		     struct vhx_control_socket **control, struct vhx_error *err);

/* Drops all clients and removes the socket. May be called on NULL, but not from a command. */
void vhx_control_close(struct vhx_control_socket *control);

#endif
