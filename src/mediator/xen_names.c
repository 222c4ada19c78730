// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Xen's libxenstore waits for its daemon, and has a thread of its own for watches; neither suits a loop, nor a
 * confined program. So a process that was forked before the confinement has the library, loaded when it is needed
 * so that nobody else has to have it. It tells what changed, one packet each; nothing is ever said to it.
 *
 *   program <--found: index, domid--  follower  <--watches, values--> xenstored
 *
 * The first packet says whether it works. The follower ends when the program's end of the socket is closed, by
 * will or by death. What it reads was written by dom0's toolstack: a guest cannot write the names and paths that
 * are looked at. An answer is text that is compared, no more.
 *
 * A domain that was created has its name before xenstored says that it was introduced. Of two that have the same
 * for a moment, around a reboot, the newer one counts.
 */
#include "mediator/xen_names.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vhx/argo.h>

#define LIBRARY "libxenstore.so.4"
#define DOMAINS "/local/domain"
#define PATH_LEN_MAX 256

/* What of the library's interface is used; its name has its version. */
struct xs_handle;
struct library {
	struct xs_handle *(*open)(unsigned long flags);
	bool (*watch)(struct xs_handle *h, const char *path, const char *token);
	int (*fileno)(struct xs_handle *h);
	char **(*check_watch)(struct xs_handle *h);
	char **(*directory)(struct xs_handle *h, uint32_t transaction, const char *path,
			    unsigned int *cnt);
	void *(*read)(struct xs_handle *h, uint32_t transaction, const char *path,
		      unsigned int *len);
};

static const struct {
	const char *name;
	size_t offset;
} symbols[] = {
	{ "xs_open", offsetof(struct library, open) },
	{ "xs_watch", offsetof(struct library, watch) },
	{ "xs_fileno", offsetof(struct library, fileno) },
	{ "xs_check_watch", offsetof(struct library, check_watch) },
	{ "xs_directory", offsetof(struct library, directory) },
	{ "xs_read", offsetof(struct library, read) },
};

enum news_kind { NEWS_STARTED, NEWS_FAILED, NEWS_FOUND };

struct news {
	uint32_t kind;
	uint32_t index;
	int32_t value; /* the domain, or the error */
	struct vhx_error err;
};

struct follower {
	int sock;
	struct library lib;
	struct xs_handle *xs;
	struct vhx_xen_name names[VHX_XEN_NAMES_MAX];
	uint16_t domids[VHX_XEN_NAMES_MAX];
	uint32_t names_cnt;
};

struct vhx_xen_names {
	struct vhx_xen_names_config cfg;
	struct vhx_loop_fd watch;
	pid_t pid;
};

/* The follower */

static void news_send(const struct follower *f, const struct news *news)
{
	/* Whoever does not take it is gone, which the next wait tells. */
	(void)!send(f->sock, news, sizeof(*news), MSG_NOSIGNAL);
}

static int library_load(struct library *lib, struct vhx_error *err)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	size_t i;

	for (i = 0; handle && i < VHX_ARRAY_SIZE(symbols); i++) {
		void *symbol = dlsym(handle, symbols[i].name);

		if (!symbol)
			handle = NULL;
		memcpy((char *)lib + symbols[i].offset, &symbol, sizeof(symbol));
	}
	if (handle)
		return 0;
	vhx_error_set(err, "names of domains need Xen's " LIBRARY " (package libxenstore4)");
	return -ENOENT;
}

static int follower_start(struct follower *f, struct vhx_error *err)
{
	int ret = library_load(&f->lib, err);

	if (ret)
		return ret;
	f->xs = f->lib.open(0);
	if (f->xs && f->lib.watch(f->xs, "@introduceDomain", "") &&
	    f->lib.watch(f->xs, "@releaseDomain", ""))
		return 0;
	vhx_error_set(err,
		      "names of domains: xenstore does not answer; this has to be dom0, as root");
	return -ECONNREFUSED;
}

/* The text at @path equals @text. */
static bool value_is(struct follower *f, const char *path, const char *text)
{
	unsigned int len;
	char *value = f->lib.read(f->xs, 0, path, &len);
	bool equal = value && len == strlen(text) && !memcmp(value, text, len);

	free(value);
	return equal;
}

static bool domain_is(struct follower *f, const char *domid, const struct vhx_argo_spec *spec)
{
	bool uuid = spec->kind == VHX_ARGO_SPEC_UUID;
	char path[PATH_LEN_MAX], wanted[PATH_LEN_MAX];

	snprintf(path, sizeof(path), DOMAINS "/%s/%s", domid, uuid ? "vm" : "name");
	snprintf(wanted, sizeof(wanted), "%s%s", uuid ? "/vm/" : "", spec->text);
	return value_is(f, path, wanted);
}

static uint16_t domain_find(struct follower *f, char **domids, unsigned int cnt,
			    const struct vhx_argo_spec *spec)
{
	uint16_t domid, found = ARGO_DOMID_ANY;
	struct vhx_error ignored;
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		if (vhx_argo_domid_parse(domids[i], &domid, &ignored) ||
		    !domain_is(f, domids[i], spec))
			continue;
		if (found == ARGO_DOMID_ANY || domid > found)
			found = domid;
	}
	return found;
}

static void names_look(struct follower *f)
{
	unsigned int cnt = 0;
	char **domids = f->lib.directory(f->xs, 0, DOMAINS, &cnt);
	uint32_t i;

	for (i = 0; domids && i < f->names_cnt; i++) {
		uint16_t domid = domain_find(f, domids, cnt, &f->names[i].spec);
		struct news news = { .kind = NEWS_FOUND,
				     .index = f->names[i].index,
				     .value = domid };

		if (domid == f->domids[i])
			continue;
		f->domids[i] = domid;
		news_send(f, &news);
	}
	free(domids);
}

/* True: something changed. False: nobody is interested any more. */
static bool follower_wait(struct follower *f)
{
	struct pollfd fds[2] = {
		{ .fd = f->sock, .events = 0 },
		{ .fd = f->lib.fileno(f->xs), .events = POLLIN },
	};
	char **event;

	while (poll(fds, 2, -1) < 0) {
		if (errno != EINTR)
			return false;
	}
	if (fds[0].revents || fds[1].revents & (POLLERR | POLLHUP | POLLNVAL))
		return false;
	while ((event = f->lib.check_watch(f->xs)))
		free(event);
	return true;
}

static void follower_run(struct follower *f)
{
	struct news first = { .kind = NEWS_STARTED };

	first.value = follower_start(f, &first.err);
	if (first.value)
		first.kind = NEWS_FAILED;
	news_send(f, &first);
	if (first.value)
		return;
	do {
		names_look(f);
	} while (follower_wait(f));
}

/* Nothing else of what was open before the fork is its own. */
_Noreturn static void follower_main(struct follower *f)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (dup3(f->sock, STDERR_FILENO + 1, O_CLOEXEC) >= 0)
		f->sock = STDERR_FILENO + 1;
	close_range((unsigned int)f->sock + 1, ~0u, 0);
	follower_run(f);
	_exit(0);
}

/* The program's side */

static void names_end(struct vhx_xen_names *n)
{
	vhx_loop_fd_del(n->cfg.loop, &n->watch);
	if (n->watch.fd >= 0)
		close(n->watch.fd);
	n->watch.fd = -1;
}

static void news_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct vhx_xen_names *n = vhx_container_of(w, struct vhx_xen_names, watch);
	struct news news;
	ssize_t len = recv(w->fd, &news, sizeof(news), MSG_DONTWAIT);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len == sizeof(news) && news.kind == NEWS_FOUND) {
		n->cfg.found(n->cfg.ctx, news.index, (uint16_t)news.value);
		return;
	}
	names_end(n);
	n->cfg.lost(n->cfg.ctx);
}

static pid_t follower_fork(const struct vhx_xen_names_config *cfg, int ends[2])
{
	static struct follower f; /* large; of the child */
	pid_t pid = fork();
	uint32_t i;

	if (pid)
		return pid;
	/* Its own end of it: else it would never see the end of the other. */
	close(ends[0]);
	f.sock = ends[1];
	f.names_cnt = cfg->names_cnt;
	for (i = 0; i < cfg->names_cnt; i++) {
		f.names[i] = cfg->names[i];
		f.domids[i] = ARGO_DOMID_ANY;
	}
	follower_main(&f);
}

/* Waits for the first packet, which comes as fast as xenstore answers. */
static int follower_ask(int sock, struct vhx_error *err)
{
	struct news first;
	ssize_t len;

	do {
		len = recv(sock, &first, sizeof(first), 0);
	} while (len < 0 && errno == EINTR);
	if (len != sizeof(first)) {
		vhx_error_set(err, "names of domains: the process that follows them ended");
		return -EPIPE;
	}
	if (first.kind == NEWS_STARTED)
		return 0;
	*err = first.err;
	return first.value;
}

static int fail(int ret, struct vhx_error *err)
{
	if (ret)
		vhx_error_set(err, "names of domains: %s", strerror(-ret));
	return ret;
}

static int names_start(struct vhx_xen_names *n, struct vhx_error *err)
{
	int ends[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return fail(-errno, err);
	n->watch.fd = ends[0];
	n->pid = follower_fork(&n->cfg, ends);
	ret = n->pid < 0 ? fail(-errno, err) : 0;
	close(ends[1]);
	if (!ret)
		ret = follower_ask(ends[0], err);
	return ret ? ret : fail(vhx_loop_fd_add(n->cfg.loop, &n->watch), err);
}

int vhx_xen_names_open(const struct vhx_xen_names_config *cfg, struct vhx_xen_names **names,
		       struct vhx_error *err)
{
	struct vhx_xen_names *n = calloc(1, sizeof(*n));
	int ret;

	assert(cfg->names_cnt <= VHX_XEN_NAMES_MAX);
	if (!n)
		return fail(-ENOMEM, err);
	n->cfg = *cfg;
	n->watch = (struct vhx_loop_fd){ .fd = -1, .events = EPOLLIN, .ready = news_ready };
	ret = names_start(n, err);
	if (ret) {
		vhx_xen_names_close(n);
		return ret;
	}
	n->cfg.names = NULL;
	*names = n;
	return 0;
}

void vhx_xen_names_close(struct vhx_xen_names *n)
{
	if (!n)
		return;
	names_end(n);
	if (n->pid > 0) {
		while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(n);
}
