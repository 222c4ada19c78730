// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * An end has up to two watches, one per direction, on descriptors of their own, so that each is in the loop only
 * while its direction is wanted: a level-triggered loop must not be shown what nobody will take.
 *
 * pty. Both sides are held open. The kernel then keeps what was written while no program has the other side open
 * (12 KiB or so), nothing is lost when one closes it, and there is no hang-up to tell apart from an end. It
 * is always online. Its size, and that of a terminal on stdio, is looked at once a second: a pty's master is told
 * by nothing, and signals are the program's, not a device's.
 *
 * socket. One client is served; others wait in the backlog, since the listener is watched only without one. While
 * its input is not wanted the client is watched edge-triggered, which shows its leaving once. A client that has
 * left is online until its last bytes were read; a client that only shut its sending half down stays. A guest that reads
 * nothing must not keep everybody out by that: after a while such a client's place is the next one's, and what it had sent
 * is forgotten. As long as no other comes, it is still read.
 *
 * stdio. Descriptors 0 and 1 are opened anew through /proc, so that O_NONBLOCK is ours alone and not that of the
 * shell that shares them; sockets cannot be, and get it all the same. Files are not, which never wait: what is written
 * goes where the shell's next line would, and what is read comes from there. A terminal is set to raw mode, but keeps its
 * signals: Ctrl-C ends the program.
 *
 * A file takes no watch. One that is read (stdio) is looked at every 10 ms while its bytes are wanted. One that cannot
 * be written (a full disk) is tried again once a second. A pipe whose reader has gone is nobody: output stays with
 * the port.
 *
 * Nothing here trusts what is read: it is bytes. Paths come from the operator.
 */
#include "device/console_end.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE_CHECK_NS (1000 * 1000000ull)
#define RETRY_NS (1000 * 1000000ull)
#define LOOK_NS (10 * 1000000ull)
/* For a guest to read what a client left behind: one that is busy takes seconds, one that boots does not read at all. */
#define LINGER_NS (10 * 1000000000ull)

struct vhx_console_kind {
	const char *name;
	bool takes_path, needs_path;
	size_t path_max;
	int (*open)(struct vhx_console_end *e, const char *path, struct vhx_error *err);
	void (*close)(struct vhx_console_end *e);
	bool has_window;
};

/* Watches */

static void watch_set(struct vhx_console_end *e, struct vhx_loop_fd *w, bool *set, uint32_t events)
{
	if (w->fd < 0 || (!events && !*set))
		return;
	if (!events) {
		vhx_loop_fd_del(e->loop, w);
		*set = false;
	} else if (*set) {
		vhx_loop_fd_modify(e->loop, w, events);
	} else {
		w->events = events;
		*set = !vhx_loop_fd_add(e->loop, w);
	}
}

static bool is_socket(const struct vhx_console_end *e)
{
	return e->listener.fd >= 0;
}

static void watches_update(struct vhx_console_end *e)
{
	uint32_t in = e->want_in && !e->eof ? EPOLLIN : 0;

	/* Only to hear of a client's leaving, once. */
	if (!in && is_socket(e) && !e->hung_up)
		in = EPOLLET;
	watch_set(e, &e->in, &e->in_set, in);
	watch_set(e, &e->out, &e->out_set, e->want_out && !e->hung_up ? EPOLLOUT : 0);
	watch_set(e, &e->accept, &e->accept_set, e->in.fd < 0 || e->overdue ? EPOLLIN : 0);
	if (e->want_out && e->out.fd >= 0 && !e->out_set && !e->hung_up && !e->retry.due_ns)
		vhx_loop_timer_arm(e->loop, &e->retry, RETRY_NS);
	if (e->want_in && !e->eof && e->in.fd >= 0 && !e->in_set && !e->look.due_ns)
		vhx_loop_timer_arm(e->loop, &e->look, LOOK_NS);
}

static void retry_expired(struct vhx_loop_timer *t)
{
	struct vhx_console_end *e = vhx_container_of(t, struct vhx_console_end, retry);

	if (e->want_out)
		e->events->writable(e);
}

static void look_expired(struct vhx_loop_timer *t)
{
	struct vhx_console_end *e = vhx_container_of(t, struct vhx_console_end, look);

	if (e->want_in)
		e->events->readable(e);
}

void vhx_console_end_want_in(struct vhx_console_end *e, bool want)
{
	e->want_in = want;
	watches_update(e);
}

void vhx_console_end_want_out(struct vhx_console_end *e, bool want)
{
	e->want_out = want;
	watches_update(e);
}

static void fd_close(struct vhx_console_end *e, struct vhx_loop_fd *w, bool *set)
{
	watch_set(e, w, set, 0);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void fds_close(struct vhx_console_end *e)
{
	fd_close(e, &e->in, &e->in_set);
	fd_close(e, &e->out, &e->out_set);
}

/* Clients of a socket */

static void client_leave(struct vhx_console_end *e)
{
	vhx_loop_timer_cancel(e->loop, &e->linger);
	fds_close(e);
	e->hung_up = false;
	e->overdue = false;
	e->eof = false;
	e->online = false;
	watches_update(e);
}

/* It takes nothing more. What it sent before counts all the same. */
static void client_hang_up(struct vhx_console_end *e)
{
	int left = 0;

	if (!e->hung_up)
		vhx_loop_timer_arm(e->loop, &e->linger, LINGER_NS);
	e->hung_up = true;
	if (e->eof || ioctl(e->in.fd, FIONREAD, &left) || !left)
		client_leave(e);
	else
		watches_update(e);
}

static void linger_expired(struct vhx_loop_timer *t)
{
	struct vhx_console_end *e = vhx_container_of(t, struct vhx_console_end, linger);

	e->overdue = true;
	watches_update(e);
}

static void client_take(struct vhx_console_end *e, int fd)
{
	e->in.fd = fd;
	e->out.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (e->out.fd < 0) {
		client_leave(e);
	} else {
		e->online = true;
		watches_update(e);
	}
	e->events->changed(e);
}

static void accept_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_console_end *e = vhx_container_of(w, struct vhx_console_end, accept);
	int fd = vhx_unix_accept_spare(e->listener.fd, &e->spare_fd);

	if (fd < 0)
		return;
	if (e->overdue)
		client_leave(e);
	client_take(e, fd);
}

static void in_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_console_end *e = vhx_container_of(w, struct vhx_console_end, in);

	if (is_socket(e) && events & (EPOLLHUP | EPOLLERR))
		client_hang_up(e);
	if (w->fd < 0)
		e->events->changed(e);
	else if (e->want_in)
		e->events->readable(e);
}

static void out_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_console_end *e = vhx_container_of(w, struct vhx_console_end, out);

	if (is_socket(e) && events & (EPOLLHUP | EPOLLERR))
		client_hang_up(e);
	if (w->fd < 0)
		e->events->changed(e);
	else if (e->want_out && !e->hung_up)
		e->events->writable(e);
}

size_t vhx_console_end_read(struct vhx_console_end *e, void *buf, size_t len)
{
	ssize_t n;

	if (e->in.fd < 0)
		return 0;
	n = read(e->in.fd, buf, len);
	if (n > 0)
		return (size_t)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* The end of its input. A client that can still take output stays. */
	if (is_socket(e) && !e->hung_up && !n) {
		e->eof = true;
		watches_update(e);
	} else if (is_socket(e)) {
		client_leave(e);
	} else {
		fd_close(e, &e->in, &e->in_set);
	}
	return 0;
}

static ssize_t out_write(struct vhx_console_end *e, const struct iovec *iov, int cnt)
{
	struct msghdr msg = { .msg_iov = vhx_unconst(iov), .msg_iovlen = (size_t)cnt };

	return is_socket(e) ? sendmsg(e->out.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)
			    : writev(e->out.fd, iov, cnt);
}

size_t vhx_console_end_write(struct vhx_console_end *e, const struct iovec *iov, int cnt)
{
	ssize_t n;

	if (e->out.fd < 0 || e->hung_up)
		return 0;
	n = out_write(e, iov, cnt);
	if (n >= 0)
		return (size_t)n;
	if (errno == EAGAIN || errno == EINTR || errno == ENOSPC)
		return 0;
	if (is_socket(e)) {
		client_hang_up(e);
	} else if (errno == EPIPE || errno == EIO) {
		fd_close(e, &e->out, &e->out_set);
		e->online = false;
	}
	return 0;
}

/* Windows */

static bool size_read(struct vhx_console_end *e)
{
	struct winsize ws;

	if (e->out.fd < 0 || ioctl(e->out.fd, TIOCGWINSZ, &ws) ||
	    (ws.ws_col == e->cols && ws.ws_row == e->rows))
		return false;
	e->cols = ws.ws_col;
	e->rows = ws.ws_row;
	return true;
}

static void size_check_expired(struct vhx_loop_timer *t)
{
	struct vhx_console_end *e = vhx_container_of(t, struct vhx_console_end, size_check);

	vhx_loop_timer_arm(e->loop, t, SIZE_CHECK_NS);
	if (size_read(e))
		e->events->resized(e);
}

/* pty */

/* A link that a killed backend left points below /dev/pts, whoever has that name now. */
static bool link_is_stale(const char *path)
{
	static const char pts[] = "/dev/pts/";
	char target[64];
	ssize_t n = readlink(path, target, sizeof(target));

	return n > (ssize_t)strlen(pts) && !memcmp(target, pts, strlen(pts));
}

static int link_make(struct vhx_console_end *e, const char *path, const char *name,
		     struct vhx_error *err)
{
	int ret;

	if (!path[0])
		return 0;
	if (link_is_stale(path))
		unlink(path);
	if (symlink(name, path)) {
		ret = -errno;
		vhx_error_set(err, "link %s: %s", path, strerror(-ret));
		return ret;
	}
	snprintf(e->path, sizeof(e->path), "%s", path);
	return 0;
}

/* Only the link that is still ours. */
static void pty_close(struct vhx_console_end *e)
{
	char name[64], target[64] = "";

	if (e->path[0] && !ptsname_r(e->in.fd, name, sizeof(name)) &&
	    readlink(e->path, target, sizeof(target) - 1) > 0 && !strcmp(target, name))
		unlink(e->path);
	if (e->slave >= 0)
		close(e->slave);
}

static int pty_pair(struct vhx_console_end *e, char *name, size_t len)
{
	struct termios t;

	e->in.fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (e->in.fd < 0 || grantpt(e->in.fd) || unlockpt(e->in.fd) ||
	    ptsname_r(e->in.fd, name, len))
		return -errno;
	e->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (e->slave < 0 || tcgetattr(e->slave, &t))
		return -errno;
	/* The guest's own terminal layer edits and echoes. */
	cfmakeraw(&t);
	if (tcsetattr(e->slave, TCSANOW, &t))
		return -errno;
	e->out.fd = fcntl(e->in.fd, F_DUPFD_CLOEXEC, 0);
	return e->out.fd < 0 ? -errno : 0;
}

static int pty_open(struct vhx_console_end *e, const char *path, struct vhx_error *err)
{
	char name[64];
	int ret = pty_pair(e, name, sizeof(name));

	if (ret) {
		vhx_error_set(err, "pty: %s", strerror(-ret));
		return ret;
	}
	e->online = true;
	return link_make(e, path, name, err);
}

/* socket */

static int socket_open(struct vhx_console_end *e, const char *path, struct vhx_error *err)
{
	int ret = vhx_unix_listen(&e->listener, path, SOCK_STREAM, 0600, err);

	if (!ret)
		e->accept.fd = e->listener.fd;
	e->spare_fd = vhx_unix_spare_open();
	return ret;
}

static void socket_close(struct vhx_console_end *e)
{
	watch_set(e, &e->accept, &e->accept_set, 0);
	if (e->listener.fd >= 0)
		vhx_unix_unlisten(&e->listener);
	e->listener.fd = -1;
	if (e->spare_fd >= 0)
		close(e->spare_fd);
}

/* stdio */

static bool stdio_taken;

static int stdio_reopen(int fd, int flags)
{
	char path[32];
	struct stat st;
	int copy;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return fcntl(fd, F_DUPFD_CLOEXEC, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (copy >= 0)
		return copy;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0)
		fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
	return copy;
}

static void stdio_raw(struct vhx_console_end *e)
{
	struct termios t;

	if (tcgetattr(e->in.fd, &e->saved))
		return;
	e->saved_set = true;
	t = e->saved;
	cfmakeraw(&t);
	t.c_lflag |= ISIG;
	tcsetattr(e->in.fd, TCSANOW, &t);
}

static int stdio_open(struct vhx_console_end *e, const char *path, struct vhx_error *err)
{
	int ret;

	if (stdio_taken) {
		vhx_error_set(err, "stdio is another port's already");
		return -EBUSY;
	}
	e->in.fd = stdio_reopen(STDIN_FILENO, O_RDONLY);
	e->out.fd = stdio_reopen(STDOUT_FILENO, O_WRONLY);
	if (e->in.fd < 0 || e->out.fd < 0) {
		ret = -errno;
		vhx_error_set(err, "stdio: %s", strerror(-ret));
		return ret;
	}
	stdio_taken = true;
	stdio_raw(e);
	e->online = true;
	return 0;
}

static void stdio_close(struct vhx_console_end *e)
{
	if (e->saved_set)
		tcsetattr(e->in.fd, TCSANOW, &e->saved);
	if (e->in.fd >= 0 || e->out.fd >= 0)
		stdio_taken = false;
}

/* file, null */

static int file_open(struct vhx_console_end *e, const char *path, struct vhx_error *err)
{
	int ret;

	e->out.fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
			 0600);
	if (e->out.fd < 0) {
		ret = -errno;
		vhx_error_set(err, "file %s: %s", path, strerror(-ret));
		return ret;
	}
	e->online = true;
	return 0;
}

static int null_open(struct vhx_console_end *e, const char *path, struct vhx_error *err)
{
	return file_open(e, "/dev/null", err);
}

static void nothing_close(struct vhx_console_end *e)
{
}

static const struct vhx_console_kind kinds[] = {
	{ .name = "pty",
	  .takes_path = true,
	  .path_max = VHX_CONSOLE_LINK_MAX,
	  .open = pty_open,
	  .close = pty_close,
	  .has_window = true },
	{ .name = "socket",
	  .takes_path = true,
	  .needs_path = true,
	  .path_max = VHX_UNIX_PATH_MAX,
	  .open = socket_open,
	  .close = socket_close },
	{ .name = "stdio", .open = stdio_open, .close = stdio_close, .has_window = true },
	{ .name = "file",
	  .takes_path = true,
	  .needs_path = true,
	  .path_max = VHX_CONSOLE_LINK_MAX,
	  .open = file_open,
	  .close = nothing_close },
	{ .name = "null", .open = null_open, .close = nothing_close },
};

/* The kind and where its path begins. NULL with a line. */
static const struct vhx_console_kind *kind_find(const char *text, const char **path,
						struct vhx_error *err)
{
	size_t len = strcspn(text, ":"), i;

	for (i = 0; i < VHX_ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i].name) != len || memcmp(kinds[i].name, text, len))
			continue;
		*path = text[len] ? text + len + 1 : text + len;
		return &kinds[i];
	}
	vhx_error_set(err, "'%s' is none of pty[:LINK], socket:PATH, stdio, file:PATH, null", text);
	return NULL;
}

static int path_check(const struct vhx_console_kind *kind, const char *path, struct vhx_error *err)
{
	if (!path[0] && kind->needs_path) {
		vhx_error_set(err, "%s needs a path, %s:PATH", kind->name, kind->name);
		return -EINVAL;
	}
	if (path[0] && !kind->takes_path) {
		vhx_error_set(err, "%s takes no path", kind->name);
		return -EINVAL;
	}
	if (path[0] && strlen(path) >= kind->path_max) {
		vhx_error_set(err, "the path of a %s is at most %zu bytes long", kind->name,
			      kind->path_max - 1);
		return -ENAMETOOLONG;
	}
	return 0;
}

int vhx_console_end_check(const char *text, struct vhx_error *err)
{
	const struct vhx_console_kind *kind;
	const char *path;

	kind = kind_find(text, &path, err);
	return kind ? path_check(kind, path, err) : -EINVAL;
}

int vhx_console_end_open(struct vhx_console_end *e, const char *text, struct vhx_loop *loop,
			 const struct vhx_console_end_events *events, struct vhx_error *err)
{
	const char *path;
	int ret;

	*e = (struct vhx_console_end){
		.events = events,
		.loop = loop,
		.slave = -1,
		.spare_fd = -1,
		.listener = { .fd = -1 },
		.accept = { .fd = -1, .ready = accept_ready },
		.in = { .fd = -1, .ready = in_ready },
		.out = { .fd = -1, .ready = out_ready },
		.size_check = { .expired = size_check_expired },
	};
	e->retry.expired = retry_expired;
	e->look.expired = look_expired;
	e->linger.expired = linger_expired;
	vhx_list_init(&e->size_check.node);
	vhx_list_init(&e->retry.node);
	vhx_list_init(&e->look.node);
	vhx_list_init(&e->linger.node);
	e->kind = kind_find(text, &path, err);
	if (!e->kind)
		return -EINVAL;
	ret = path_check(e->kind, path, err);
	if (!ret)
		ret = e->kind->open(e, path, err);
	if (ret) {
		vhx_console_end_close(e);
		return ret;
	}
	if (e->kind->has_window && isatty(e->out.fd)) {
		size_read(e);
		vhx_loop_timer_arm(loop, &e->size_check, SIZE_CHECK_NS);
	}
	watches_update(e);
	return 0;
}

void vhx_console_end_close(struct vhx_console_end *e)
{
	if (!e->kind)
		return;
	vhx_loop_timer_cancel(e->loop, &e->size_check);
	vhx_loop_timer_cancel(e->loop, &e->retry);
	vhx_loop_timer_cancel(e->loop, &e->look);
	vhx_loop_timer_cancel(e->loop, &e->linger);
	e->kind->close(e);
	fds_close(e);
	e->kind = NULL;
}

void vhx_console_end_describe(const struct vhx_console_end *e, char *text, size_t len)
{
	char name[64];

	if (e->slave >= 0 && !ptsname_r(e->in.fd, name, sizeof(name)))
		snprintf(text, len, "%s %s", e->kind->name, name);
	else if (e->listener.fd >= 0)
		snprintf(text, len, "%s %s", e->kind->name, e->listener.path);
	else
		snprintf(text, len, "%s", e->kind->name);
}
