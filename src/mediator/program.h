/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the long-running programs share: start-up, signals, common options.
 */
#ifndef VHX_MEDIATOR_PROGRAM_H
#define VHX_MEDIATOR_PROGRAM_H

#include "config/options.h"
#include "config/socket_spec.h"
#include "confine/confine.h"
#include "exchange/local.h"
#include "loop/loop.h"
#include "mediator/log_stderr.h"
#include "mediator/notifier.h"

enum vhx_exit {
	VHX_EXIT_OK = 0,
	VHX_EXIT_FAILED = 1, /* nothing can be served */
	VHX_EXIT_USAGE = 2,
};

/* Embedded in a program's own settings as `common`, its first member; VHX_PROGRAM_OPTIONS() are its rows, or some. */
struct vhx_program_settings {
	const char *config, *check; /* a file; see source.h */
	const char *control;
	const char *metrics;
	uint64_t ring_size;
	uint64_t poll_us;
	int log_level;
	int sandbox; /* enum vhx_confine_mode */
};

/* on, off, log. */
extern const struct vhx_choice vhx_program_sandboxes[];

/* A second of spinning is more than anybody can want. */
#define VHX_PROGRAM_POLL_US_MAX 1000000u
/* Nobody said: what suits the peers. */
#define VHX_PROGRAM_POLL_AUTO UINT64_MAX

#define VHX_PROGRAM_OPTION_CONFIG(type)                                                            \
	{ .name = "config", .metavar = "FILE", .kind = VHX_OPTION_STRING,                          \
	  .offset = offsetof(type, common.config), .traits = VHX_OPTION_COMMAND_LINE,              \
	  .help = "read options from FILE first, lines of NAME = VALUE" },                         \
	{ .name = "check", .metavar = "FILE", .kind = VHX_OPTION_STRING,                           \
	  .offset = offsetof(type, common.check), .traits = VHX_OPTION_COMMAND_LINE,               \
	  .help = "only say whether FILE is a good one" }

#define VHX_PROGRAM_OPTION_CONTROL(type)                                                           \
	{ .name = "control", .metavar = "SOCKET", .kind = VHX_OPTION_STRING,                         \
	  .offset = offsetof(type, common.control), .traits = VHX_OPTION_LIVE_KEYS,                \
	  .help = "answer vhxctl on this unix socket" }

#define VHX_PROGRAM_OPTION_LOG(type)                                                               \
	{ .name = "log-level", .metavar = "LEVEL", .kind = VHX_OPTION_CHOICE,                      \
	  .offset = offsetof(type, common.log_level), .choices = vhx_log_levels,                   \
	  .traits = VHX_OPTION_LIVE,                                                               \
	  .help = "error, warning, notice, info (default) or debug" }

#define VHX_PROGRAM_OPTION_SANDBOX(type)                                                           \
	{ .name = "sandbox", .metavar = "MODE", .kind = VHX_OPTION_CHOICE,                         \
	  .offset = offsetof(type, common.sandbox), .choices = vhx_program_sandboxes,              \
	  .help = "on (default): give up what is not needed before a peer is\n"                    \
		  "heard; log: only let the kernel log it; off" }

#define VHX_PROGRAM_OPTIONS(type)                                                                  \
	VHX_PROGRAM_OPTION_CONFIG(type),                                                           \
	VHX_PROGRAM_OPTION_CONTROL(type),                                                          \
	{ .name = "metrics", .metavar = "ADDRESS", .kind = VHX_OPTION_STRING,                      \
	  .offset = offsetof(type, common.metrics),                                                \
	  .help = "answer Prometheus at /metrics of unix:PATH or tcp:ADDR:PORT" },                 \
	{ .name = "ring-size", .metavar = "SIZE", .kind = VHX_OPTION_SIZE,                         \
	  .offset = offsetof(type, common.ring_size),                                              \
	  .bounds = { VHX_LOCAL_RING_MIN, VHX_LOCAL_RING_MAX, true },                              \
	  .help = "bytes of the section that this end sends in (default 1M);\n"                    \
		  "smaller ones take less memory and lower the limits" },                          \
	{ .name = "poll-us", .metavar = "N", .kind = VHX_OPTION_NUMBER,                            \
	  .offset = offsetof(type, common.poll_us),                                                \
	  .bounds = { 0, VHX_PROGRAM_POLL_US_MAX, false }, .traits = VHX_OPTION_LIVE,              \
	  .help = "look for work up to N microseconds before sleeping\n"                     \
		  "(default 32, or 400 for peers behind a window; 0 on a single CPU)" },              \
	VHX_PROGRAM_OPTION_LOG(type),                                                              \
	VHX_PROGRAM_OPTION_SANDBOX(type)

struct vhx_program {
	struct vhx_log_stderr sink;
	const struct vhx_log *log;
	struct vhx_loop *loop;
	int exit_code;
	struct vhx_socket_spec control; /* of the settings, parsed; its path is "" where there is none */
	enum vhx_confine_mode sandbox;
	struct vhx_notifier notifier;
	const char *removes[VHX_CONFINE_REMOVES_MAX];
	unsigned int removes_cnt;
};

void vhx_program_defaults(struct vhx_program_settings *s);
/* The bound of the loop that @s asks for. */
uint64_t vhx_program_poll_ns(const struct vhx_program_settings *s);

/*
 * Log, the first part of the confinement, loop, the limit of open files, which is raised as far as
 * allowed, and signals: SIGTERM and SIGINT stop the loop, SIGPIPE is ignored. One program per process. 0 or negative.
 */
int vhx_program_init(struct vhx_program *p, const char *name, const struct vhx_program_settings *s);
void vhx_program_fini(struct vhx_program *p);

/*
 * The file at @path is this program's to remove at its end; the text stays valid. Beyond files in
 * VHX_CONFINE_REMOVES_MAX different folders, they stay behind.
 */
void vhx_program_removes(struct vhx_program *p, const char *path);

/*
 * All is open: from here on the program is confined to @role, unless the operator said otherwise. Before
 * the loop runs, since nothing of a peer has been read until then. 0; or negative, and the line is said.
 */
int vhx_program_confine(struct vhx_program *p, const struct vhx_confine_role *role);

/* It serves: says so, in the log and to a service manager, which from now on is told of @status as well. */
void vhx_program_ready(struct vhx_program *p, vhx_notifier_status_fn *status, void *ctx);

/* Ends the run with an error code. */
void vhx_program_fail(struct vhx_program *p);

#endif
