// SPDX-License-Identifier: BSD-3-Clause
/*
 * Taking a path over.
 *
 * bind(2) fails when the name exists, and a server that was killed leaves its name behind. So a
 * name that is taken is tried: whoever accepts, or is merely too busy to (EAGAIN), or may not be
 * asked (EACCES), is alive. Only ECONNREFUSED on a file that is a socket means dead, and then the
 * file is removed.
 *
 * Two servers that start at once must not both find the same corpse, or one removes the socket that
 * the other has just made; nor may one look between the other's bind and listen, when nobody
 * answers yet. So all of this, from the first bind to listen, happens under a lock: a file beside
 * the socket, mode 0600, held by flock(2), so that it ends with its holder. It is removed before it
 * is let go, and whoever gets the lock checks that what he locked still has the name; so nothing is
 * left behind. Programs that are not ours don't know the lock; they are safe once they listen.
 *
 * The mode. Linux gives the file of a bound socket the mode of the socket's own inode, which
 * fchmod() sets before: the file is never, not for a moment, more open than asked, and no
 * process-wide umask is touched. A group, and bits that the umask took away, are set between bind(2) and
 * listen(2): until then nobody can connect.
 *
 * Accepting without descriptors. A connection that accept(2) fails on stays in the backlog and the
 * listening socket readable, so that a level-triggered loop calls again and again. One descriptor
 * is therefore held in reserve: it is given up, the connection taken in its place and closed, and
 * the reserve renewed. Another thread or, where the system's table of files is full, another
 * process may take what was given up; then the reserve is missing until it can be had again.
 */
#include "util/unix_socket.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Connections that wait to be accepted. */
#define LISTEN_BACKLOG 64
/* Others who start on the same path hold the lock for a few system calls, never for this long. */
#define LOCK_TRIES 200
#define LOCK_PAUSE_NS 10000000
#define LOCK_NAME_MAX (VHX_UNIX_PATH_MAX + 8)
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

/* Any kind of file would do; this one needs no path. */
int vhx_unix_spare_open(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static bool is_exhaustion(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS;
}

int vhx_unix_accept_spare(int listen_fd, int *spare)
{
	int fd = vhx_unix_accept(listen_fd);
	int refused;

	if (is_exhaustion(fd)) {
		if (*spare >= 0)
			close(*spare);
		refused = vhx_unix_accept(listen_fd);
		if (refused >= 0)
			close(refused);
		*spare = -1;
	}
	if (*spare < 0)
		*spare = vhx_unix_spare_open();
	return fd;
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

/* Does nobody listen on the socket at @sun any more? If somebody does, who, where known. */
static bool is_dead(const struct sockaddr_un *sun, int type, pid_t *pid)
{
	int fd = socket_connect(sun, type);

	*pid = 0;
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		return true;
	if (fd >= 0) {
		*pid = peer_pid(fd);
		close(fd);
	}
	return false;
}

/* The name is taken: by whom? 0: it was stale and is gone, bind again. */
static int stale_clear(const struct sockaddr_un *sun, int type, struct vhx_error *err)
{
	const char *path = sun->sun_path;
	struct stat st;
	pid_t pid;
	int ret;

	if (!lstat(path, &st) && !S_ISSOCK(st.st_mode)) {
		vhx_error_set(err, "%s: exists and is not a socket", path);
		return -EEXIST;
	}
	if (!is_dead(sun, type, &pid))
		return in_use(path, pid, err);
	if (!unlink(path) || errno == ENOENT)
		return 0;
	ret = -errno;
	vhx_error_set(err, "%s: cannot remove the stale socket: %s", path, strerror(-ret));
	return ret;
}

/* Is the file at the listener's path the one that its bind made? */
static bool file_is_ours(const struct vhx_unix_listener *l)
{
	struct stat st;

	return !lstat(l->path, &st) && st.st_dev == l->dev && st.st_ino == l->ino;
}

/* By the file, not by its name, which others may be able to replace. 0, or -1 with errno. */
static int file_adjust_fd(int fd, const struct vhx_unix_policy *policy)
{
	char name[32];
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	if (!S_ISSOCK(st.st_mode)) {
		errno = ENOENT;
		return -1;
	}
	if (policy->group != VHX_UNIX_GROUP_NONE &&
	    fchownat(fd, "", (uid_t)-1, policy->group, AT_EMPTY_PATH))
		return -1;
	if ((st.st_mode & ACCESSPERMS) == policy->mode)
		return 0;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return chmod(name, policy->mode);
}

/* What bind(2) cannot do: a group, and bits that the umask takes. */
static int file_adjust(const char *path, const struct vhx_unix_policy *policy)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int ret, err;

	if (fd < 0)
		return -1;
	ret = file_adjust_fd(fd, policy);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

/* -EADDRINUSE or another negative errno; nothing is left behind. */
static int bind_and_listen(struct vhx_unix_listener *l, const struct sockaddr_un *sun,
			   const struct vhx_unix_policy *policy)
{
	struct stat st;
	int ret;

	if (fchmod(l->fd, policy->mode) || bind(l->fd, (const struct sockaddr *)sun, sizeof(*sun)))
		return -errno;
	if (!file_adjust(l->path, policy) && !listen(l->fd, LISTEN_BACKLOG) && !lstat(l->path, &st)) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
		l->owned = true;
		return 0;
	}
	ret = -errno;
	unlink(l->path);
	return ret;
}

/* With the lock held. */
static int listen_locked(struct vhx_unix_listener *l, const struct sockaddr_un *sun,
			 const struct vhx_unix_policy *policy, int type, struct vhx_error *err)
{
	int ret = bind_and_listen(l, sun, policy);

	if (ret == -EADDRINUSE) {
		ret = stale_clear(sun, type, err);
		if (ret)
			return ret;
		ret = bind_and_listen(l, sun, policy);
	}
	if (ret)
		vhx_error_set(err, "%s: cannot listen: %s", l->path, strerror(-ret));
	return ret;
}

/* The name of the lock file of the socket at @path. */
static void lock_name(const char *path, char name[LOCK_NAME_MAX])
{
	snprintf(name, LOCK_NAME_MAX, "%s.lock", path);
}

static bool same_file(int fd, const char *name)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(name, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* One attempt: the descriptor that holds the lock, -EWOULDBLOCK, or a negative errno. */
static int lock_try(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int ret;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		ret = -errno;
	else if (same_file(fd, name))
		return fd;
	else
		ret = -EWOULDBLOCK;
	close(fd);
	return ret;
}

static int lock_take(const char *path, struct vhx_error *err)
{
	static const struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };
	char name[LOCK_NAME_MAX];
	int tries = LOCK_TRIES;
	int ret;

	lock_name(path, name);
	while ((ret = lock_try(name)) == -EWOULDBLOCK && --tries)
		nanosleep(&pause, NULL);
	if (ret == -EWOULDBLOCK)
		return in_use(path, 0, err);
	if (ret < 0)
		vhx_error_set(err, "%s: cannot listen: %s", path, strerror(-ret));
	return ret;
}

static void lock_release(const char *path, int fd)
{
	char name[LOCK_NAME_MAX];

	lock_name(path, name);
	unlink(name);
	close(fd);
}

static int listen_new(struct vhx_unix_listener *l, const struct sockaddr_un *sun, int type,
		      const struct vhx_unix_policy *policy, struct vhx_error *err)
{
	int lock_fd, ret;

	lock_fd = lock_take(l->path, err);
	if (lock_fd < 0)
		return lock_fd;
	l->fd = socket_open(type);
	if (l->fd < 0) {
		ret = l->fd;
		vhx_error_set(err, "%s: %s", l->path, strerror(-ret));
		goto out_unlock;
	}
	ret = listen_locked(l, sun, policy, type, err);
	if (!ret)
		goto out_unlock;
	close(l->fd);
	l->fd = -1;
out_unlock:
	lock_release(l->path, lock_fd);
	return ret;
}

int vhx_unix_listen_policy(struct vhx_unix_listener *l, const char *path, int type,
			   const struct vhx_unix_policy *policy, struct vhx_error *err)
{
	struct sockaddr_un sun;
	int ret;

	policy = policy ?: &vhx_unix_policy_default;
	*l = (struct vhx_unix_listener){ .fd = -1 };
	ret = address_fill(&sun, path, err);
	if (ret)
		return ret;
	memcpy(l->path, sun.sun_path, sizeof(l->path));
	l->fd = vhx_unix_inherited(path, type);
	return l->fd >= 0 ? 0 : listen_new(l, &sun, type, policy, err);
}

int vhx_unix_listen(struct vhx_unix_listener *l, const char *path, int type, mode_t mode,
		    struct vhx_error *err)
{
	const struct vhx_unix_policy policy = { .mode = mode, .group = VHX_UNIX_GROUP_NONE };

	return vhx_unix_listen_policy(l, path, type, &policy, err);
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
