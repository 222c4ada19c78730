/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole stack in one process: sources -> frontend -> exchange -> backend -> device, both ends on one loop in
 * one thread, so that a test decides what happens and when. The clock can be moved on; allocations are
 * counted. Whatever the device gets and whatever the source gets back is checked, byte by byte.
 *
 * A request's out bytes begin with a struct lab_head, as far as they go; its answer is a pattern made of
 * the head's seed and, on types that have one, a status byte at the end.
 */
#ifndef VHX_TESTS_STACK_LAB_H
#define VHX_TESTS_STACK_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <vhx/endian.h>

#include "../../conformance/pairs.h"
#include "backend/backend.h"
#include "backend/device.h"
#include "frontend/frontend.h"

#define LAB_NET 1 /* device ids, for the table in core/devtype.c */
#define LAB_BLK 2
#define LAB_BALLOON 5
#define LAB_SCSI 8
#define LAB_FLUSH_FEATURE (1ull << 9) /* VIRTIO_BLK_F_FLUSH: completed writes are volatile */

#define LAB_READ 0 /* VirtIO 5.2.6 */
#define LAB_WRITE 1
#define LAB_FLUSH 4

#define LAB_OK 0
#define LAB_IOERR 1

#define LAB_POISON 0xee
#define LAB_LOG_MAX 65536u
#define LAB_QUEUES_MAX 8u
#define LAB_MS 1000000ull
#define LAB_S (1000 * LAB_MS)

struct lab_head {
	vhx_le32 type;
	vhx_le32 seed;
	uint8_t zero[8];
};

uint8_t lab_byte(uint32_t seed, uint32_t at);
void lab_fill(uint8_t *p, uint32_t seed, uint32_t from, uint32_t len);
bool lab_same(const uint8_t *p, uint32_t seed, uint32_t from, uint32_t len);

/* The provider under test: an argument of the program. */
extern const struct provider *lab_provider;
bool lab_has(uint32_t cap);

/*
 * Calls of malloc and the like so far; and the clock, which stands still until a test moves it, or is the
 * real one from lab_clock_real() on.
 */
uint64_t lab_allocations(void);
void lab_clock_skip(uint64_t ns);
void lab_clock_real(void);

/* The device */

enum lab_answer {
	LAB_IN_PLACE, /* into the outgoing message while it is submitted */
	LAB_STAGED, /* by staging, completed while it is submitted */
	LAB_HOLD, /* kept until lab_device_release() */
	LAB_BY_SIZE, /* staged if it is large, else in place */
	LAB_STATUS, /* the status alone, which is an error */
	LAB_SILENT, /* not a byte, not even a status */
	LAB_LED, /* as LAB_STAGED, the first bytes in a page of their own */
	LAB_ANSWER_CNT_,
};

#define LAB_BY_SIZE_LEN 4096u
#define LAB_LEAD 12u

struct lab_device {
	struct vhx_device dev;
	bool has_status;
	enum lab_answer answer;
	unsigned int refuse; /* so many submissions end with -EAGAIN */
	unsigned int in_place_max; /* largest piece that is asked for at once; 0: all there is */
	uint8_t status; /* of what it answers */
	uint8_t flush_status;
	bool slow_reset; /* a reset ends in lab_device_quiesce() */
	bool drains_all; /* a reset completes what other queues have there, too */
	struct vhx_list held; /* vhx_request.node */
	uint32_t held_cnt;
	struct vhx_queue *resets[LAB_QUEUES_MAX];
	uint32_t reset_cnt, resets_seen;
	uint32_t next_seed; /* for answers to requests without a head */
	uint32_t submits, refusals, kicks;
	uint32_t too_big;
	uint32_t *log; /* seeds, in order of submission */
	uint32_t log_cnt;
	bool closed; /* then its memory is the backend's no more */
	bool refuse_config;
	uint64_t features_set;
};

struct lab_device *lab_device_new(const char *id, uint32_t device_id);
/* Completes the held request at place @at of the list, in full. */
void lab_device_release(struct lab_device *d, uint32_t at);
void lab_device_release_all(struct lab_device *d);
void lab_device_quiesce(struct lab_device *d);
/* What the device still has of @d's config, changed and told. */
void lab_device_change_config(struct lab_device *d, uint8_t value);

/* The source */

struct lab_slot {
	bool busy;
	uint32_t seq, type, seed;
	uint32_t out_len, in_len;
	uint8_t *out, *in;
	struct iovec out_iov[4], in_iov[4];
	uint32_t out_cnt, in_cnt;
	uint32_t completions;
};

struct lab_request {
	uint32_t type, out_len, in_len;
};

struct lab_source {
	struct vhx_fqueue *q;
	uint16_t size;
	bool has_status;
	uint32_t out_max, in_max;
	struct lab_slot *slots;
	uint8_t *memory;
	/* What is to be requested: @todo of each pattern entry, in turn. */
	struct lab_request plan[4];
	uint32_t plan_cnt;
	uint32_t todo;
	struct lab_request odd; /* takes the place of request @odd_seq, if that is not 0 */
	uint32_t odd_seq;
	uint32_t seq;
	uint32_t in_flight;
	uint32_t ok, errors, empty; /* answers: right, the error status, nothing at all */
	uint32_t visible, hidden; /* completions flushed, and not yet */
	uint32_t flushes;
	uint32_t latest; /* most requests that were begun while one waited for its answer */
	uint32_t agains;
	uint32_t *again_log; /* seq, in order */
	uint32_t again_cnt;
	uint32_t last_in_seq; /* of answers that number themselves */
	uint32_t broken;
	int again_error;
	bool armed;
	bool gone; /* no call may come any more */
	void (*on_complete)(struct lab_source *s);
	void *ctx;
};

void lab_source_init(struct lab_source *s, uint16_t size, uint32_t out_max, uint32_t in_max);
void lab_source_fini(struct lab_source *s);
/* @cnt requests; @out_len and @in_len without status, which is added. */
void lab_source_plan(struct lab_source *s, uint32_t cnt, uint32_t type, uint32_t out_len,
		     uint32_t in_len);
extern const struct vhx_fsource_ops lab_source_ops;

/* The world */

struct lab_config {
	uint32_t ring_len, staging;
	uint32_t device_id; /* of device 0 */
	uint16_t queues, queue_size;
	uint32_t max_out, max_in;
	uint64_t features; /* that it offers beside its own */
	bool two_devices;
	bool only_second; /* the frontend leaves device 0 to somebody else */
	const struct vhx_log *log; /* the backend's */
};

struct lab_fdev {
	struct vhx_fdev *fdev;
	uint32_t known, config_changes, config_written, refused, resets_done, unusable;
	uint32_t stopped[LAB_QUEUES_MAX];
	int unusable_reason;
};

struct lab {
	struct lab_config cfg;
	struct vhx_loop *loop;
	struct vhx_backend *be;
	struct lab_device *dev[2]; /* owned by the backend */
	struct vhx_frontend *fe;
	struct lab_fdev fdev[2];
	struct lab_source src[LAB_QUEUES_MAX];
	uint32_t connects;
	bool refuse_connect;
	/* Set: new connections go there and not to the backend. */
	void (*intercept)(void *ctx, struct vhx_port *port);
	void *intercept_ctx;
	struct vhx_port *be_port; /* the newest, while it lives */
	uint8_t uuid, cache_id;
	uint64_t would_blocks; /* of ports that are gone */
	struct vhx_loop_hook hook;
	/* Called once, after so many more rounds of the loop's hooks, on nobody's stack. */
	void (*then)(struct lab *w);
	uint32_t rounds;
};

extern const struct lab_config lab_default;

/* Backend, frontend, devices; negotiated and known. */
void lab_open(struct lab *w, const struct lab_config *cfg);
void lab_close(struct lab *w);
/* The two halves, for tests that want another peer. */
void lab_open_backend(struct lab *w);
void lab_close_backend(struct lab *w);
void lab_open_frontend(struct lab *w);
/* A queue of device @dev, with source @index. */
void lab_start_of(struct lab *w, uint32_t dev, uint16_t index, uint32_t src, uint16_t size);
void lab_start(struct lab *w, uint16_t index);
/* Turns the loop until nothing is left to do. */
void lab_settle(struct lab *w);
void lab_turn(struct lab *w);
void lab_after(struct lab *w, uint32_t rounds, void (*then)(struct lab *w));
/* Moves the clock on and settles. */
void lab_wait(struct lab *w, uint64_t ns);
/* Settles until the source has had @cnt answers, moving the clock as need be; fails if they never come. */
void lab_finish(struct lab *w, struct lab_source *s, uint32_t cnt);

struct vhx_port_stats lab_fe_stats(struct lab *w);
struct vhx_port_stats lab_be_stats(struct lab *w);
uint64_t lab_be_credits(struct lab *w);
struct vhx_backend_stats lab_dev_stats(struct lab *w, uint32_t dev);
/* No ring was ever found full. */
void lab_assert_never_full(struct lab *w);

int lab_main(int argc, char **argv, int (*run)(void));

#endif
