/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's end of a console port: a pseudo terminal, a socket with one client at a time, this process's
 * standard input and output, or a file. All of it is non-blocking; the owner says what it waits for.
 *
 *   pty[:LINK]     the master side; LINK is a symbolic link to the other one
 *   socket:PATH    a listening unix stream socket
 *   stdio          descriptors 0 and 1
 *   file:PATH      output is appended; there is no input
 *   null           output is forgotten; there is no input
 */
#ifndef VHX_DEVICE_CONSOLE_END_H
#define VHX_DEVICE_CONSOLE_END_H

#include <sys/types.h>
#include <sys/uio.h>
#include <termios.h>

#include "loop/loop.h"
#include "util/error.h"
#include "util/log.h"
#include "util/unix_socket.h"

#define VHX_CONSOLE_LINK_MAX 1024u /* path of a link or a file, with its NUL */

struct vhx_console_end;

/* The owner's, called from the loop only. A read or a write may change e->online as well. */
struct vhx_console_end_events {
	void (*readable)(struct vhx_console_end *e); /* while input is wanted */
	void (*writable)(struct vhx_console_end *e); /* while room is wanted: there may be some */
	void (*changed)(struct vhx_console_end *e); /* e->online did */
	void (*resized)(struct vhx_console_end *e); /* e->cols or e->rows did */
};

struct vhx_console_kind;

struct vhx_console_end {
	const struct vhx_console_kind *kind;
	const struct vhx_console_end_events *events;
	struct vhx_loop *loop;
	bool online; /* somebody is there, as far as can be told */
	uint16_t cols, rows; /* of its window; 0: it has none */
	/* Private */
	bool want_in, want_out;
	bool hung_up; /* the client has closed; what it sent is still to be read */
	bool overdue; /* it has closed long ago: the next one may have its place */
	bool eof; /* it has sent all that it will */
	int spare_fd;
	int slave; /* pty: kept open, so that nothing is lost while nobody else has it open */
	char path[VHX_CONSOLE_LINK_MAX]; /* pty: of the link */
	struct vhx_unix_listener listener;
	struct vhx_loop_fd accept, in, out;
	struct vhx_loop_timer size_check, retry, look, linger;
	bool accept_set, in_set, out_set; /* watched */
	struct termios saved; /* stdio */
	bool saved_set;
};

/* What can be told from the text alone. 0 or -EINVAL, -ENAMETOOLONG with a line. */
int vhx_console_end_check(const char *text, struct vhx_error *err);

/* 0; negative with a line in @err, and nothing is left open. @e is the caller's memory. */
int vhx_console_end_open(struct vhx_console_end *e, const char *text, struct vhx_loop *loop,
			 const struct vhx_console_end_events *events, struct vhx_error *err);
void vhx_console_end_close(struct vhx_console_end *e);

/* What the owner waits for. */
void vhx_console_end_want_in(struct vhx_console_end *e, bool want);
void vhx_console_end_want_out(struct vhx_console_end *e, bool want);

/* Bytes that were read: 0, none now (the end of a client's input among them). Never negative. */
size_t vhx_console_end_read(struct vhx_console_end *e, void *buf, size_t len);
/* Bytes that were taken: 0, none now. Nobody there takes none. */
size_t vhx_console_end_write(struct vhx_console_end *e, const struct iovec *iov, int cnt);

/* For the log: "pty /dev/pts/3", "socket /run/c". */
void vhx_console_end_describe(const struct vhx_console_end *e, char *text, size_t len);

#endif
