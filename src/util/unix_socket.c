// SPDX-License-Identifier: BSD-3-Clause
/*
 * Taking a path over.
 *
 * bind(2) fails when the name exists, and a server that was killed leaves its name behind. So a name that
 * is taken is tried: whoever accepts, or is merely too busy to (EAGAIN), or may not be asked (EACCES), is alive.
 * Only ECONNREFUSED on a file that is a socket means dead.
 *
 * Between that verdict and the unlink another process may have done the same and put its own, live socket
 * there. Therefore the file is first renamed to a private name, which takes exactly one file whoever
 * made it; if that one is not the file that was judged, or answers now, it goes back. A socket is
 * dead to others between its bind and its listen: whoever finds after listen() that its file went away
 * starts over. So of any number of servers that start at once on one path, one is left and the others hear
 * that it is in use.
 *
 * The mode. Linux gives the file of a bound socket the mode of the socket's own inode, which fchmod()
 * sets before: the file is never, not for a moment, more open than asked, and no process-wide umask is
 * touched.
 */
#include "util/unix_socket.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections that wait to be accepted. */
#define LISTEN_BACKLOG 64
/* Others who start on the same path at the same time, each costing one try. */
#define LISTEN_TRIES 8
/* sd_listen_fds(3): the first inherited descriptor. */
#define INHERITED_FIRST 3
/* More than any unit passes; a bound for a number that comes from the environment. */
#define INHERITED_MAX 64

static int address_fill(struct sockaddr_un *sun, const char *path, struct vhx_error *err)
{
	size_t len = strlen(path);

	if (!len) {
		vhx_error_set(err, "the path of the socket is empty");
		return -EINVAL;
	}
	if (len >= sizeof(sun->sun_path)) {
		vhx_error_set(err, "%s: the path of a socket is at most %zu bytes long", path,
			      sizeof(sun->sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, path, len + 1);
	return 0;
}

static int socket_open(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int socket_connect(const struct sockaddr_un *sun, int type)
{
	int fd = socket_open(type);
	int ret;

	if (fd < 0)
		return fd;
	if (!connect(fd, (const struct sockaddr *)sun, sizeof(*sun)))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

int vhx_unix_connect(const char *path, int type, struct vhx_error *err)
{
	struct sockaddr_un sun;
	int ret;

	ret = address_fill(&sun, path, err);
	if (ret)
		return ret;
	ret = socket_connect(&sun, type);
	if (ret < 0)
		vhx_error_set(err, "%s: %s", path, strerror(-ret));
	return ret;
}

int vhx_unix_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int in_use(const char *path, pid_t pid, struct vhx_error *err)
{
	if (pid > 0)
		vhx_error_set(err, "%s: in use by pid %d", path, (int)pid);
	else
		vhx_error_set(err, "%s: in use", path);
	return -EADDRINUSE;
}

/* Who called listen() on the other end; 0 where the kernel cannot say (another pid namespace). */
static pid_t peer_pid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ? 0 : cred.pid;
}

/*
 * Does nobody listen any more on the socket file that @file_fd (O_PATH) holds? By descriptor, so that it is the
 * same file whatever its name is now. True, or false and who does, if that is known.
 */
static bool is_dead(int file_fd, int type, pid_t *pid)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d", file_fd);
	fd = socket_connect(&sun, type);
	*pid = 0;
	if (fd == -ECONNREFUSED)
		return true;
	if (fd >= 0) {
		*pid = peer_pid(fd);
		close(fd);
	}
	return false;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* rename() that replaces nothing. File systems without the flag get the two-step form. */
static int file_move(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL)
		return -errno;
	if (link(from, to))
		return -errno;
	return unlink(from) ? -errno : 0;
}

/*
 * Removes @path if it still is the file that @file_fd holds, and still dead. 0: the name may be free now,
 * try again.
 */
static int dead_remove(const char *path, int file_fd, int type)
{
	char aside[VHX_UNIX_PATH_MAX + 16];
	struct stat judged, moved;
	pid_t pid;
	int ret;

	snprintf(aside, sizeof(aside), "%s.%d~", path, (int)getpid());
	ret = file_move(path, aside);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	if (!fstat(file_fd, &judged) && !lstat(aside, &moved) && same_file(&judged, &moved) &&
	    is_dead(file_fd, type, &pid))
		return unlink(aside) ? -errno : 0;
	return file_move(aside, path);
}

static int stale_clear_file(const char *path, int file_fd, int type, struct vhx_error *err)
{
	struct stat st;
	pid_t pid;
	int ret;

	if (fstat(file_fd, &st) || !S_ISSOCK(st.st_mode)) {
		vhx_error_set(err, "%s: exists and is not a socket", path);
		return -EEXIST;
	}
	if (!is_dead(file_fd, type, &pid))
		return in_use(path, pid, err);
	ret = dead_remove(path, file_fd, type);
	if (ret)
		vhx_error_set(err, "%s: cannot replace the stale socket: %s", path, strerror(-ret));
	return ret;
}

/* The name is taken: by whom? 0: it was stale and is gone, bind again. */
static int stale_clear(const char *path, int type, struct vhx_error *err)
{
	int file_fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int ret;

	if (file_fd < 0 && errno == ENOENT)
		return 0;
	if (file_fd < 0) {
		ret = -errno;
		vhx_error_set(err, "%s: %s", path, strerror(-ret));
		return ret;
	}
	ret = stale_clear_file(path, file_fd, type, err);
	close(file_fd);
	return ret;
}

/* Is the file at the listener's path the one that its bind made? */
static bool file_is_ours(const struct vhx_unix_listener *l)
{
	struct stat st;

	return !lstat(l->path, &st) && st.st_dev == l->dev && st.st_ino == l->ino;
}

/* bind and listen, with the file remembered. -EAGAIN: somebody took it for stale in between. */
static int bind_and_listen(struct vhx_unix_listener *l, const struct sockaddr_un *sun)
{
	struct stat st;

	if (bind(l->fd, (const struct sockaddr *)sun, sizeof(*sun)))
		return -errno;
	if (lstat(l->path, &st))
		return errno == ENOENT ? -EAGAIN : -errno;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (listen(l->fd, LISTEN_BACKLOG))
		return -errno;
	return file_is_ours(l) ? 0 : -EAGAIN;
}

/* -EAGAIN: worth another try. The text in @err is set for everything else. */
static int listen_try(struct vhx_unix_listener *l, const struct sockaddr_un *sun, int type,
		      mode_t mode, struct vhx_error *err)
{
	int ret = socket_open(type);

	if (ret >= 0) {
		l->fd = ret;
		ret = fchmod(l->fd, mode) ? -errno : bind_and_listen(l, sun);
		if (!ret)
			return 0;
		close(l->fd);
		l->fd = -1;
	}
	if (ret == -EADDRINUSE) {
		ret = stale_clear(l->path, type, err);
		return ret ? ret : -EAGAIN;
	}
	vhx_error_set(err, "%s: cannot listen: %s", l->path, strerror(-ret));
	return ret;
}

int vhx_unix_listen(struct vhx_unix_listener *l, const char *path, int type, mode_t mode,
		    struct vhx_error *err)
{
	struct sockaddr_un sun;
	int tries = LISTEN_TRIES;
	int ret;

	*l = (struct vhx_unix_listener){ .fd = -1 };
	ret = address_fill(&sun, path, err);
	if (ret)
		return ret;
	memcpy(l->path, sun.sun_path, sizeof(l->path));
	l->fd = vhx_unix_inherited(path, type);
	if (l->fd >= 0)
		return 0;
	do
		ret = listen_try(l, &sun, type, mode, err);
	while (ret == -EAGAIN && --tries);
	if (ret == -EAGAIN)
		return in_use(path, 0, err);
	l->owned = !ret;
	return ret;
}

int vhx_unix_listener_steal(struct vhx_unix_listener *l)
{
	int fd = l->fd;

	l->fd = -1;
	return fd;
}

void vhx_unix_unlisten(struct vhx_unix_listener *l)
{
	/* The file goes first: a path with nobody behind it is what a successor takes for stale. */
	if (l->owned && file_is_ours(l))
		unlink(l->path);
	l->owned = false;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

/* The variable as a positive number up to @max; 0 for anything else. */
static long environment_number(const char *name, long max)
{
	const char *text = getenv(name);
	char *end;
	long v;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	v = strtol(text, &end, 10);
	return errno || *end || v > max ? 0 : v;
}

static int option_int(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -1 : value;
}

static bool listens_on(int fd, const char *path, int type)
{
	struct sockaddr_un sun = { 0 };
	socklen_t len = sizeof(sun);
	char bound[VHX_UNIX_PATH_MAX + 1] = "";

	if (option_int(fd, SO_TYPE) != type || option_int(fd, SO_ACCEPTCONN) != 1)
		return false;
	if (getsockname(fd, (struct sockaddr *)&sun, &len) || sun.sun_family != AF_UNIX)
		return false;
	memcpy(bound, sun.sun_path, sizeof(sun.sun_path));
	return *bound && !strcmp(bound, path);
}

int vhx_unix_inherited(const char *path, int type)
{
	long cnt = environment_number("LISTEN_FDS", INHERITED_MAX);
	int fd;

	if (environment_number("LISTEN_PID", INT_MAX) != getpid())
		return -ENOENT;
	for (fd = INHERITED_FIRST; fd < INHERITED_FIRST + cnt; fd++) {
		if (!listens_on(fd, path, type))
			continue;
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK))
			return -errno;
		return fd;
	}
	return -ENOENT;
}
