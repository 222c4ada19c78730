/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unix sockets by path, SOCK_STREAM or SOCK_SEQPACKET. All descriptors are non-blocking and
 * close-on-exec.
 */
#ifndef VHX_UTIL_UNIX_SOCKET_H
#define VHX_UTIL_UNIX_SOCKET_H

#include <sys/stat.h>
#include <sys/un.h>

#include "util/base.h"
#include "util/error.h"
#include "util/unix_guard.h"

/* With its NUL; what connect(2) of every other program takes as well. */
#define VHX_UNIX_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

struct vhx_unix_listener {
	int fd; /* -1: closed */
	char path[VHX_UNIX_PATH_MAX];
	dev_t dev; /* of the file that bind made; 0 when the socket was inherited */
	ino_t ino;
	bool owned; /* this process made the file and removes it */
};

/*
 * Listens on @path. The file is never more open than @mode, whatever the umask. A socket that is
 * there but answers no longer is replaced; one that answers, or anything else of that name, is left
 * alone. A socket that systemd passed for this very path (LISTEN_FDS) is used as it is.
 *
 * 0; -EADDRINUSE with "... in use by pid N", -EEXIST (no socket), -ENAMETOOLONG, -EACCES, ...
 */
int vhx_unix_listen(struct vhx_unix_listener *l, const char *path, int type, mode_t mode,
		    struct vhx_error *err);

/*
 * The same with a policy's mode and group; NULL: the default policy. Nobody can connect before both are
 * set. -EPERM: the group is none of ours.
 */
int vhx_unix_listen_policy(struct vhx_unix_listener *l, const char *path, int type,
			   const struct vhx_unix_policy *policy, struct vhx_error *err);

/* Closes, and removes the file if it still is the one that this listener made. May be repeated. */
void vhx_unix_unlisten(struct vhx_unix_listener *l);

/*
 * Hands the descriptor over to somebody who closes it. The file is still removed by
 * vhx_unix_unlisten(), which is best called first: once the descriptor is closed, a successor may
 * take the path.
 */
int vhx_unix_listener_steal(struct vhx_unix_listener *l);

/* The next connection, or -EAGAIN and what accept(2) says. */
int vhx_unix_accept(int listen_fd);

/*
 * A descriptor held in reserve for vhx_unix_accept_spare(), or -1, which it copes with. The caller
 * closes it in the end.
 */
int vhx_unix_spare_open(void);

/*
 * As vhx_unix_accept(), for a listener that is watched all the time: a connection that cannot be
 * taken for want of descriptors or memory is ended, and the error is returned. Its peer sees the
 * end of the stream.
 */
int vhx_unix_accept_spare(int listen_fd, int *spare);

/*
 * A connected descriptor. Never waits: -EAGAIN when the backlog is full, -ENOENT or -ECONNREFUSED
 * when nobody is there: all three are worth another try later.
 */
int vhx_unix_connect(const char *path, int type, struct vhx_error *err);

/*
 * The inherited listening socket of @type bound to @path, from LISTEN_PID and LISTEN_FDS
 * (sd_listen_fds(3)), or -ENOENT. The variables stay as they are; a socket is found again until it
 * is closed.
 */
int vhx_unix_inherited(const char *path, int type);

#endif
