// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * The service manager's socket is addressed by name, which a confined program may not. So an attendant does it, which is
 * connected before it is confined itself, to sending. A program that was taken over can make it say what it could say
 * before, and nothing else: the words are the attendant's, the status is a text without control characters.
 *
 *   program --kind, text--> attendant --sd_notify(3)'s words--> service manager        (NotifyAccess=all)
 *
 * The sign of life comes from the program's loop, at half the time that the watchdog allows: a loop that turns no
 * more sends none.
 *
 * A service manager that does not read makes the attendant wait, for as long as the program lives and LAST_WORDS_MS
 * more: sd_notify(3) itself would wait for ever, and the program's end with it. Meanwhile the program's notes gather in
 * the socketpair, and what has no room there is lost. So neither that nor an attendant that is gone costs more than
 * notes.
 */
#include "mediator/notifier.h"

#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "confine/confine.h"
#include "util/error.h"

#define NS_PER_US 1000ull
/* A manager that asks for signs of life more often than anybody can use them does not get a busy loop. */
#define ALIVE_PERIOD_MIN_NS 10000000ull
/* How old a status may be. */
#define STATUS_PERIOD_NS 2000000000ull
/* For how long the manager may keep a program's last words from being said. */
#define LAST_WORDS_MS 1000

enum note_kind {
	NOTE_READY,
	NOTE_STATUS,
	NOTE_ALIVE,
	NOTE_RELOADING,
	NOTE_STOPPING,
};

struct note {
	uint32_t kind;
	char text[VHX_NOTIFIER_STATUS_MAX];
};

static const char *const words[] = {
	[NOTE_READY] = "READY=1",	[NOTE_STATUS] = NULL,
	[NOTE_ALIVE] = "WATCHDOG=1",	[NOTE_RELOADING] = "RELOADING=1",
	[NOTE_STOPPING] = "STOPPING=1",
};

/* In the attendant. */

/* Connected to $NOTIFY_SOCKET, a path or an abstract name (@); or negative. */
static int manager_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *name = getenv("NOTIFY_SOCKET");
	size_t len = name ? strlen(name) : 0;
	int fd, ret;

	if (!len || len >= sizeof(addr.sun_path) || (name[0] != '/' && name[0] != '@'))
		return -EINVAL;
	memcpy(addr.sun_path, name, len);
	if (name[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (struct sockaddr *)&addr,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* False: the program, at the other end of @sock, has ended, and the manager does not read. */
static bool text_say(int manager, int sock, const char *text)
{
	struct pollfd fds[] = { { .fd = manager, .events = POLLOUT }, { .fd = sock } };

	while (send(manager, text, strlen(text), MSG_NOSIGNAL) < 0 && errno == EAGAIN) {
		if (poll(fds, VHX_ARRAY_SIZE(fds), -1) < 0)
			continue;
		/* Nothing else is asked of it: it has hung up. */
		if (fds[1].revents && poll(fds, 1, LAST_WORDS_MS) <= 0)
			return false;
	}
	return true;
}

static bool note_pass(int manager, int sock, struct note *note)
{
	char text[sizeof("STATUS=") + sizeof(note->text)];

	if (note->kind >= VHX_ARRAY_SIZE(words))
		return true;
	note->text[sizeof(note->text) - 1] = '\0';
	vhx_text_sanitise(note->text);
	if (words[note->kind])
		return text_say(manager, sock, words[note->kind]);
	snprintf(text, sizeof(text), "STATUS=%s", note->text);
	return text_say(manager, sock, text);
}

static void process_run(int sock, const void *ctx)
{
	const struct vhx_confine_config cfg = { .mode = VHX_CONFINE_ON,
						.role = &vhx_confine_notifier };
	int manager = manager_connect();
	struct vhx_error err;
	struct note note;

	/* Also where the program is not confined: its attendant has no part in that. */
	if (manager < 0 || vhx_confine_begin(cfg.mode, &err) || vhx_confine(&cfg, &err))
		return;
	while (recv(sock, &note, sizeof(note), 0) == sizeof(note)) {
		if (!note_pass(manager, sock, &note))
			return;
	}
}

/* In the program. */

static void note_send(struct vhx_notifier *n, enum note_kind kind, const char *text)
{
	struct note note = { .kind = kind };

	if (n->attendant.sock < 0)
		return;
	snprintf(note.text, sizeof(note.text), "%s", text);
	(void)send(n->attendant.sock, &note, sizeof(note), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void status_send(struct vhx_notifier *n)
{
	char text[VHX_NOTIFIER_STATUS_MAX] = "";

	if (!n->status)
		return;
	n->status(n->ctx, text);
	if (!strcmp(text, n->said))
		return;
	memcpy(n->said, text, sizeof(n->said));
	note_send(n, NOTE_STATUS, text);
}

static void period_over(struct vhx_loop_timer *t)
{
	struct vhx_notifier *n = vhx_container_of(t, struct vhx_notifier, timer);

	if (n->watched)
		note_send(n, NOTE_ALIVE, "");
	status_send(n);
	vhx_loop_timer_arm(n->loop, t, n->period_ns);
}

int vhx_notifier_open(struct vhx_notifier *n, struct vhx_loop *loop)
{
	uint64_t watchdog_us = 0;

	*n = (struct vhx_notifier){ .loop = loop, .attendant.sock = -1 };
	vhx_list_init(&n->timer.node);
	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	n->watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
	n->period_ns = STATUS_PERIOD_NS;
	if (n->watched)
		n->period_ns = vhx_max_u64(vhx_min_u64(n->period_ns, watchdog_us / 2 * NS_PER_US),
					   ALIVE_PERIOD_MIN_NS);
	n->timer.expired = period_over;
	return vhx_attendant_open(&n->attendant, process_run, NULL);
}

void vhx_notifier_ready(struct vhx_notifier *n, vhx_notifier_status_fn *status, void *ctx)
{
	if (n->attendant.sock < 0)
		return;
	n->status = status;
	n->ctx = ctx;
	status_send(n);
	note_send(n, NOTE_READY, "");
	vhx_loop_timer_arm(n->loop, &n->timer, n->period_ns);
}

void vhx_notifier_reloading(struct vhx_notifier *n)
{
	note_send(n, NOTE_RELOADING, "");
}

void vhx_notifier_reloaded(struct vhx_notifier *n)
{
	note_send(n, NOTE_READY, "");
}

void vhx_notifier_close(struct vhx_notifier *n)
{
	note_send(n, NOTE_STOPPING, "");
	if (n->loop)
		vhx_loop_timer_cancel(n->loop, &n->timer);
	vhx_attendant_close(&n->attendant);
}
