// SPDX-License-Identifier: BSD-3-Clause
/*
 * argo-abi: the cases of tests/conformance/argo_cases.c from a domain of a real Xen, through /dev/argo_raw.
 *
 *   argo-abi [-d ERRNO] SELF PEER OFFER...   runs the cases that need no more than what is offered; SELF and
 *                                            PEER are domain numbers, OFFER is a word of offers[]
 *   argo-abi agent SELF PEER                 the other domain: performs its steps when PEER asks, until PEER ends
 *
 * With "pair", "lone" or "spoil" only the cases that need it run. With "pair" an agent is there: the two talk over
 * rings of their own, which count. Prints a line per fault and a last one with the numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef uint16_t domid_t; /* which the next one expects to be there */
#include <xen/evtchn.h>

#include "../conformance/argo_cases.h"
#include "argo_raw/uapi.h"

#define TALK_PORT 0x7e57c001u
#define TALK_LEN 4032u
#define TALK_CLEAR UINT32_MAX /* in place of a step */
#define TALK_END (UINT32_MAX - 1)
/* A guard against hangs: a busy machine emulates the other domain. */
#define PATIENCE_MS 240000

struct answer {
	int32_t err;
	char why[124];
};

static const struct {
	const char *word;
	unsigned int bit;
} offers[] = {
	{ "on", ARGO_ON },	     { "off", ARGO_OFF },	  { "permissive", ARGO_PERMISSIVE },
	{ "strict", ARGO_STRICT },   { "pair", ARGO_PAIR },	  { "lone", ARGO_LONE },
	{ "allowed", ARGO_ALLOWED }, { "refused", ARGO_REFUSED }, { "spoil", ARGO_SPOIL },
};

/* This domain. */
struct raw {
	int fd; /* for calls */
	int event_fd;
	struct argo_side side;
	struct argo_frames talk; /* the ring for what the other side says */
};

static void die(const char *what)
{
	fprintf(stderr, "argo-abi: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t raw_op(void *ctx, unsigned int cmd, const void *arg1, const void *arg2,
		      uint64_t arg3, uint64_t arg4)
{
	struct raw *raw = ctx;
	struct argo_raw_call call = {
		.cmd = cmd,
		.arg1 = (uintptr_t)arg1,
		.arg2 = (uintptr_t)arg2,
		.arg3 = arg3,
		.arg4 = arg4,
	};

	if (ioctl(raw->fd, ARGO_RAW_CALL, &call))
		die("hypercall");
	return call.result;
}

/* Where a ring's frames are noted, and how to let go of them: behind its numbers. */
struct frames_note {
	int fd;
	uint32_t pages;
	uint64_t frames[];
};

static struct frames_note *note_of(const struct argo_frames *frames)
{
	return (void *)((char *)(uintptr_t)frames->arg2 - offsetof(struct frames_note, frames));
}

static size_t note_size(uint32_t pages)
{
	return sizeof(struct frames_note) + pages * sizeof(uint64_t);
}

static void *locked_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED || mlock(p, size))
		die("memory");
	return p;
}

static int raw_frames_new(void *ctx, uint32_t pages, struct argo_frames *frames)
{
	struct frames_note *note = locked_memory(note_size(pages));
	struct argo_raw_pages arg = { .frames = (uintptr_t)note->frames, .cnt = pages };

	(void)ctx;
	note->pages = pages;
	note->fd = open("/dev/argo_raw", O_RDWR | O_CLOEXEC);
	if (note->fd < 0 || ioctl(note->fd, ARGO_RAW_PAGES, &arg))
		die("pages");
	frames->ring = mmap(NULL, (size_t)pages * ARGO_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, note->fd, 0);
	if (frames->ring == MAP_FAILED)
		die("mmap");
	frames->arg2 = note->frames;
	return 0;
}

static void raw_frames_free(void *ctx, struct argo_frames *frames)
{
	struct frames_note *note = note_of(frames);

	(void)ctx;
	munmap(frames->ring, (size_t)note->pages * ARGO_PAGE_SIZE);
	close(note->fd);
	munmap(note, note_size(note->pages));
}

/* Takes an event if one is there in time, and unmasks it: what came meanwhile comes then. */
static bool event_take(const struct raw *raw, int ms)
{
	struct pollfd p = { .fd = raw->event_fd, .events = POLLIN };
	uint32_t port;

	if (poll(&p, 1, ms) != 1)
		return false;
	if (read(raw->event_fd, &port, sizeof(port)) != sizeof(port))
		die("event");
	if (write(raw->event_fd, &port, sizeof(port)) != sizeof(port))
		die("event");
	return true;
}

static bool raw_event(void *ctx, bool want)
{
	const struct raw *raw = ctx;

	if (!event_take(raw, want ? PATIENCE_MS : 0))
		return false;
	while (event_take(raw, 0))
		;
	return true;
}

static const struct argo_domain_ops raw_ops = {
	.op = raw_op,
	.frames_new = raw_frames_new,
	.frames_free = raw_frames_free,
	.event = raw_event,
};

static void event_open(struct raw *raw)
{
	struct ioctl_evtchn_bind_virq bind = { .virq = ARGO_VIRQ };

	raw->event_fd = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (raw->event_fd < 0 || ioctl(raw->event_fd, IOCTL_EVTCHN_BIND_VIRQ, &bind) < 0)
		die("VIRQ_ARGO");
}

static void raw_open(struct raw *raw, const char *self, const char *peer)
{
	*raw = (struct raw){ .fd = open("/dev/argo_raw", O_RDWR | O_CLOEXEC) };
	if (raw->fd < 0)
		die("/dev/argo_raw");
	event_open(raw);
	raw->side = (struct argo_side){
		.ops = &raw_ops,
		.ctx = raw,
		.domid = (uint16_t)strtoul(self, NULL, 10),
		.peer = (uint16_t)strtoul(peer, NULL, 10),
		.denied = -EPERM,
		.unreadable = (const void *)0x1000, /* never mapped */
		.buffer = locked_memory(ARGO_SIDE_BUFFER),
	};
}

/* ---- what the two programs say to each other ---- */

static void talk_open(struct raw *raw)
{
	struct argo_register_ring *reg = (void *)raw->side.buffer;

	raw_frames_new(raw, 1, &raw->talk);
	*reg = (struct argo_register_ring){ .port = TALK_PORT,
					    .partner = raw->side.peer,
					    .len = TALK_LEN };
	errno = (int)-raw_op(raw, ARGO_OP_REGISTER_RING, reg, raw->talk.arg2, 1, 0);
	if (errno)
		die("ring for the other domain");
}

static void talk_close(struct raw *raw)
{
	struct argo_unregister_ring *unreg = (void *)raw->side.buffer;

	*unreg = (struct argo_unregister_ring){ .port = TALK_PORT, .partner = raw->side.peer };
	raw_op(raw, ARGO_OP_UNREGISTER_RING, unreg, NULL, 0, 0);
	raw_frames_free(raw, &raw->talk);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static void say(struct raw *raw, const void *bytes, uint32_t len)
{
	struct argo_send_addr *addr = (void *)raw->side.buffer;
	struct argo_iov *iov = (void *)(raw->side.buffer + 64);
	char *copy = raw->side.buffer + 128;
	int32_t ret = 0;

	memcpy(copy, bytes, len);
	*addr = (struct argo_send_addr){
		.src = { .port = TALK_PORT, .domid = raw->side.domid },
		.dst = { .port = TALK_PORT, .domid = raw->side.peer },
	};
	*iov = (struct argo_iov){ .base = (uintptr_t)copy, .len = len };
	/* The other one may not be there yet. */
	for (int ms = 0; ms < PATIENCE_MS; ms += 2) {
		ret = (int32_t)raw_op(raw, ARGO_OP_SENDV, addr, iov, 1, 0);
		if (ret != -ECONNREFUSED)
			break;
		nap();
	}
	errno = -ret;
	if (ret < 0)
		die("message to the other domain");
}

static void hear(struct raw *raw, void *bytes, uint32_t len)
{
	struct argo_ring *ring = raw->talk.ring;
	uint32_t rx = ring->rx_ptr, step = (len + 2 * ARGO_SLOT_SIZE - 1) & ~(ARGO_SLOT_SIZE - 1);
	int ms = 0;

	/* Acquire: what is before tx_ptr was written before it. */
	while (__atomic_load_n(&ring->tx_ptr, __ATOMIC_ACQUIRE) == rx) {
		errno = ETIMEDOUT;
		if (ms >= PATIENCE_MS)
			die("the other domain");
		nap();
		ms += 2;
	}
	for (uint32_t i = 0; i < len; i++)
		((char *)bytes)[i] =
			((char *)(ring + 1))[(rx + sizeof(struct argo_message) + i) % TALK_LEN];
	__atomic_store_n(&ring->rx_ptr, (rx + step) % TALK_LEN, __ATOMIC_RELEASE);
}

static struct answer ask(struct raw *raw, uint32_t what)
{
	struct answer a;

	say(raw, &what, sizeof(what));
	hear(raw, &a, sizeof(a));
	a.why[sizeof(a.why) - 1] = 0;
	return a;
}

static int agent(struct raw *raw)
{
	uint32_t what;

	talk_open(raw);
	do {
		struct answer a = { 0 };

		hear(raw, &what, sizeof(what));
		if (what < argo_step_cnt())
			a.err = argo_step_run(&raw->side, what, a.why, sizeof(a.why));
		else
			argo_side_clear(&raw->side);
		say(raw, &a, sizeof(a));
	} while (what != TALK_END);
	talk_close(raw);
	return 0;
}

/* ---- the cases ---- */

struct tally {
	unsigned int cases, steps, faults;
};

/* A run that offers something special is for the cases that need it: the others are of a run without. */
static bool case_wanted(unsigned int needs, unsigned int offered)
{
	const unsigned int special = ARGO_PAIR | ARGO_LONE | ARGO_SPOIL;

	if (offered & special && !(needs & offered & special))
		return false;
	return !(needs & ~(offered | ARGO_REAL));
}

static struct answer step(struct raw *raw, size_t i, unsigned int offered)
{
	struct answer a = { 0 };

	if (!argo_step_is_peer(i))
		a.err = argo_step_run(&raw->side, i, a.why, sizeof(a.why));
	else if (!(offered & ARGO_REFUSED))
		a = ask(raw, (uint32_t)i);
	/* Else the other domain runs the same case for itself. */
	return a;
}

static void clear(struct raw *raw, bool talks)
{
	argo_side_clear(&raw->side);
	if (talks)
		ask(raw, TALK_CLEAR);
}

static void run(struct raw *raw, unsigned int offered, struct tally *t)
{
	bool talks = offered & ARGO_PAIR && !(offered & ARGO_REFUSED), skip = true;
	const char *name = NULL;

	if (talks)
		talk_open(raw);
	for (size_t i = 0; i < argo_step_cnt(); i++) {
		unsigned int needs;
		const char *begins = argo_step_case(i, &needs);
		struct answer a;

		if (begins) {
			if (!skip)
				clear(raw, talks);
			name = begins;
			skip = !case_wanted(needs, offered);
			t->cases += !skip;
			continue;
		}
		if (skip)
			continue;
		a = step(raw, i, offered);
		t->steps++;
		if (!a.err)
			continue;
		printf("FAULT %s: step %zu: %s\n", name, i, a.why);
		t->faults++;
		clear(raw, talks);
		skip = true;
	}
	argo_side_clear(&raw->side);
	if (!talks)
		return;
	ask(raw, TALK_END);
	talk_close(raw);
}

static unsigned int offer(const char *word)
{
	for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
		if (!strcmp(word, offers[i].word))
			return offers[i].bit;
	}
	fprintf(stderr, "argo-abi: unknown offer '%s'\n", word);
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned int offered = 0;
	struct tally t = { 0 };
	int denied = -EPERM, at = 1;
	static struct raw raw;

	if (argc > 2 && !strcmp(argv[1], "-d")) {
		denied = -atoi(argv[2]);
		at = 3;
	}
	if (argc < at + 3) {
		fprintf(stderr, "usage: argo-abi [-d ERRNO] SELF PEER OFFER...\n       argo-abi "
				"agent SELF PEER\n");
		return 2;
	}
	if (!strcmp(argv[at], "agent")) {
		raw_open(&raw, argv[at + 1], argv[at + 2]);
		return agent(&raw);
	}
	for (int i = at + 2; i < argc; i++)
		offered |= offer(argv[i]);
	raw_open(&raw, argv[at], argv[at + 1]);
	raw.side.denied = denied;
	run(&raw, offered, &t);
	printf("ARGO-ABI %u cases, %u steps, %u faults\n", t.cases, t.steps, t.faults);
	return t.faults || !t.cases;
}
