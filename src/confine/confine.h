/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Confinement of a program that will talk to hostile peers: what it keeps after it has opened all that it
 * needs, and before it reads the first byte of a peer. docs/confinement.md draws it on one page.
 *
 * A role says which groups of system calls a program needs from then on; all others are refused. The groups
 * are the rows of calls.c. What a role has to open, it opens before.
 */
#ifndef VHX_CONFINE_CONFINE_H
#define VHX_CONFINE_CONFINE_H

#include "util/base.h"
#include "util/error.h"
#include "util/log.h"

enum vhx_confine_mode {
	VHX_CONFINE_OFF,
	VHX_CONFINE_ON,
	VHX_CONFINE_LOG, /* what would be refused is done, and the kernel's audit log says so */
};

/* Groups of system calls; a role is some of them or'ed. */
#define VHX_CALLS_BASE (1u << 0) /* memory, time, signals of its own, descriptors that it holds */
#define VHX_CALLS_LOOP (1u << 1) /* epoll, eventfd */
#define VHX_CALLS_THREADS (1u << 2) /* further threads of this process */
#define VHX_CALLS_SOCKET (1u << 3) /* talk on sockets that are connected */
#define VHX_CALLS_ACCEPT (1u << 4)
#define VHX_CALLS_CONNECT (1u << 5) /* to other unix sockets: never for a backend, see calls.c */
#define VHX_CALLS_SECTION (1u << 6) /* make memfds, judge a peer's */
#define VHX_CALLS_STORAGE (1u << 7) /* I/O on images that are open, an io_uring that exists */
#define VHX_CALLS_GUEST (1u << 8) /* a VMM's memory and notifications */
#define VHX_CALLS_CHILD (1u << 9) /* wait for the end of a child */
#define VHX_CALLS_TERMINAL (1u << 10) /* terminals that are open: their size and modes */
#define VHX_CALLS_HTTP (1u << 11) /* what libmicrohttpd says to a TCP socket */
#define VHX_CALLS_TAP (1u << 12) /* taps that are open: their offloads and queues */
#define VHX_CALLS_ARGO (1u << 13) /* endpoints of Argo, by a device that is open */
#define VHX_CALLS_VDUSE (1u << 14) /* VDUSE devices that are open */
#define VHX_CALLS_VDPA (1u << 15) /* vDPA devices that are open */
#define VHX_CALLS_CNT 16u

struct vhx_confine_role {
	const char *name;
	uint32_t calls;
};

/* What the shipped programs are; one table each, so that tests confine others in the same way. */
extern const struct vhx_confine_role vhx_confine_backend;
extern const struct vhx_confine_role vhx_confine_backend_argo; /* that has opened the device */
extern const struct vhx_confine_role vhx_confine_frontend;
extern const struct vhx_confine_role vhx_confine_frontend_argo;
extern const struct vhx_confine_role vhx_confine_ivshmem;
extern const struct vhx_confine_role vhx_confine_argo_cat; /* that has opened the device */
/* Of the process that talks to a service manager for them. */
extern const struct vhx_confine_role vhx_confine_notifier;
/* Of the process that connects, to sockets of one path, for a backend (mediator/connector.h). */
extern const struct vhx_confine_role vhx_confine_connector;

/* Folders of files that are removed at the end of the program, each one a rule of Landlock. */
#define VHX_CONFINE_REMOVES_MAX 64u

struct vhx_confine_config {
	enum vhx_confine_mode mode;
	const struct vhx_confine_role *role;
	/* Their folders are the only ones where a file may still be removed. */
	const char *const *removes;
	unsigned int removes_cnt;
	const struct vhx_log *log;
};

/*
 * The part that does not have to wait: no new privileges, and no other process of this user looks into
 * this one (/proc/PID/mem, ptrace, core dumps). First thing of a program. 0 or negative with a text.
 */
int vhx_confine_begin(enum vhx_confine_mode mode, struct vhx_error *err);

/*
 * The rest, for good: capabilities, Landlock where the kernel has it, system calls. The process has one
 * thread; those that it starts later are confined as it is. 0; or negative with a text: then go no further.
 */
int vhx_confine(const struct vhx_confine_config *cfg, struct vhx_error *err);

#endif
