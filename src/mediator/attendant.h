/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process that does for a confined program what that gave up: forked before a peer is heard, spoken to over a
 * socketpair of packets, ended by the end of that.
 */
#ifndef VHX_MEDIATOR_ATTENDANT_H
#define VHX_MEDIATOR_ATTENDANT_H

#include <sys/types.h>

#include "util/base.h"

struct vhx_attendant {
	int sock; /* SOCK_SEQPACKET, blocking; -1: there is none */
	pid_t pid;
};

/*
 * Forks it, and runs @run in it until that returns. It has @sock, standard error and nothing else of what was open;
 * SIGINT, SIGTERM and SIGHUP are for the program and ignored here. 0 or a negative errno.
 */
int vhx_attendant_open(struct vhx_attendant *a, void (*run)(int sock, const void *ctx),
		       const void *ctx);

/*
 * A packet to it, and its answer, which is waited for: an attendant is the program's own, was never spoken to by a
 * peer, and answers at once. *@fd is the descriptor that came along, the caller's, or -1. 0; -EPIPE: it is gone.
 */
int vhx_attendant_ask(const struct vhx_attendant *a, const void *request, size_t request_len,
		      void *answer, size_t answer_len, int *fd);
/*
 * In the attendant: an answer, with @fd unless it is -1 or the system does not pass it. Who does not take it is gone,
 * which the next receive tells.
 */
void vhx_attendant_answer(int sock, const void *answer, size_t answer_len, int fd);

/* Ends it, and waits for that. May be repeated. */
void vhx_attendant_close(struct vhx_attendant *a);

#endif
