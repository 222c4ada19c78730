/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the scenarios of hmx-faults stand on: a backend of ours on /dev/hmx_test, which dies and comes back as it is
 * told, its devices, and the kernel's side of it, which hmx_probe asks and debugfs shows.
 *
 * All of it is one backend and one loop. Whoever asks the kernel for something that needs the backend does it in a
 * thread of its own, since the loop has to go on meanwhile. Nothing here returns an error: what must not happen ends
 * the program.
 */
#ifndef VHX_LAB_FAULTS_H
#define VHX_LAB_FAULTS_H

#include <pthread.h>

#include "backend/backend.h"
#include "backend/device.h"

#define DEBUG "/sys/kernel/debug/"
#define NAME_MAX_ 64
#define WINDOW_SIZE (1u << 20)

VHX_PRINTF(1, 2) __attribute__((noreturn)) void die(const char *fmt, ...);

/* Something that the kernel is asked for, in a thread. */
struct ask {
	pthread_t thread;
	char path[2 * NAME_MAX_], text[NAME_MAX_];
	unsigned long op; /* in place of a write */
	int result; /* 0 or an errno */
	bool over;
};

/* Devices: each does with a request what its first out byte says. */

enum action {
	HOLD, /* until the life ends */
	NOTHING, /* complete, nothing written */
	FULL, /* as many bytes of 0x11 as there is room for */
};

struct dumb {
	struct vhx_device dev;
	struct vhx_device_ops ops;
	struct vhx_list held;
	unsigned int held_cnt, posted_cnt; /* with out bytes, and without */
	unsigned int last_queues[2]; /* of the last requests, the newest first */
	bool refuses; /* what it has offered: so the driver fails it */
	/*
	 * A network, of whose packets only receive buffers are taken: what its requests were, in their order: the
	 * class of a command, or 'p' of a posted buffer. Commands are done, but for those of class @refused.
	 */
	bool net;
	char seen[32];
	unsigned int seen_cnt;
	uint8_t refused;
	bool silent; /* no command is answered any more */
	bool disk; /* every request succeeds, whatever its first byte, and the config can be written */
	unsigned int config_writes;
	/* Starts an unbind of its driver, @leaver, in the first write of the config, which is answered once it has left. */
	struct ask *leaving;
	char leaver[NAME_MAX_];
	bool lingers; /* what was reset may still touch the medium, until linger_end() */
	struct vhx_queue *pending[64];
	unsigned int pending_cnt;
};

extern struct vhx_loop *loop;
extern struct vhx_backend *backend;

struct dumb *device_add(uint32_t type, uint8_t queues, uint16_t size, uint32_t config_len);
/* One with a write cache that can be switched: type 2. */
struct dumb *disk_add(void);
/* One with a queue for commands, its third and last: type 1. */
struct dumb *net_add(void);
/* What was seen of it since the last call is @want, once that much was seen. */
void seen_expect(struct dumb *d, const char *want);
/* Answers the oldest held request, a posted one. @group: it belongs to the next ones. */
void posted_answer(struct dumb *d, bool group);
void linger_end(struct dumb *d);
void held_wait(const struct dumb *d);
void posted_wait(const struct dumb *d, unsigned int cnt);

/* Lives: one at a time */

/* What becomes of answers to the discovery, and beside it. */
enum listing {
	LIST_WELL,
	LIST_ENDLESS, /* there is always more */
	LIST_SILENT, /* they are lost */
	LIST_UNWRITTEN, /* they are well; but answers to writes of the config are lost */
	LIST_LYING, /* they are well; but data is about requests that nobody has made */
};

void seat_take(void);
void seat_leave(void);
void life_begin(enum listing listing);
void life_end(void);
/* Answers of this life to the discovery, given or lost. */
unsigned int listed(void);
/* HMX_TEST_FREEZE, HMX_TEST_RESTORE and HMX_TEST_LEAVE, with the backend there: 0 or an errno. */
int seat_do(unsigned long op);
/* The same, at once: the backend is not needed, or there is none. */
int seat_do_alone(unsigned long op);

#define loop_step() loop_step_at(__LINE__)
void loop_step_at(int line);
/* The next scenario may take as long again. */
void said(const char *what);

/* The kernel's side */

/* A word of a "name value" file below DEBUG; 0 if there is none. */
unsigned long value(const char *file, const char *name);
unsigned long lives(void);
bool state_is(uint32_t type, const char *state);
/* Lines of the kernel's log with @text. */
unsigned long logged(const char *text);
/* The virtio device of @type that hmx_probe has. False: none. */
bool probe_find(uint32_t type, char *name);
void running_wait(uint32_t type);

/* Writes @text to a file, in a thread. */
void file_begin(struct ask *a, const char *path, const char *text);
void probe_begin(struct ask *a, uint32_t type, const char *file, const char *text);
int ask_end(struct ask *a);
int file_do(const char *path, const char *text);
int probe_do(uint32_t type, const char *file, const char *text);
void probe_read(uint32_t type, const char *file, char *text, size_t size);
/* The result of the last ask has @want in it. */
void expect(const char *what, uint32_t type, const char *want);
/* How often posted buffers came back. */
unsigned long posts(uint32_t type);

#endif
