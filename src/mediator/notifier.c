// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * sd_notify(3) makes a socket for each message and addresses it by name, which a confined program may not. So an
 * attendant does it, which is confined itself, to that. A program that was taken over can make it say what it
 * could say before, and nothing else: the words are the attendant's, the status is a text without control
 * characters.
 *
 *   program --kind, text--> attendant --sd_notify--> service manager        (NotifyAccess=all)
 *
 * The sign of life comes from the program's loop, at half the time that the watchdog allows: a loop that turns no
 * more sends none. An attendant that is gone, or a service manager that does not read, costs the notes and no more.
 */
#include "mediator/notifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "confine/confine.h"
#include "util/error.h"

#define NS_PER_US 1000ull
/* A manager that asks for signs of life more often than anybody can use them does not get a busy loop. */
#define ALIVE_PERIOD_MIN_NS 10000000ull
/* How old a status may be. */
#define STATUS_PERIOD_NS 2000000000ull

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

static void note_pass(struct note *note)
{
	if (note->kind >= VHX_ARRAY_SIZE(words))
		return;
	note->text[sizeof(note->text) - 1] = '\0';
	vhx_text_sanitise(note->text);
	if (words[note->kind])
		sd_notify(0, words[note->kind]);
	else
		sd_notifyf(0, "STATUS=%s", note->text);
}

static void process_run(int sock, const void *ctx)
{
	const struct vhx_confine_config cfg = { .mode = VHX_CONFINE_ON,
						.role = &vhx_confine_notifier };
	struct vhx_error err;
	struct note note;

	if (vhx_confine(&cfg, &err))
		return;
	while (recv(sock, &note, sizeof(note), 0) == sizeof(note))
		note_pass(&note);
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
		n->period_ns = vhx_max_u64(
			vhx_min_u64(n->period_ns, watchdog_us / 2 * NS_PER_US),
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
