/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A load generator for disks: one job, several ways to a disk (engines), the same account of all.
 *
 * The job hands out I/Os, an engine carries them, load_done() takes them back and says at once what comes
 * next, so that every engine keeps the depth full in the way that suits it best.
 */
#ifndef VHX_BENCH_LOAD_H
#define VHX_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#define LOAD_DEPTH_MAX 256u

struct load_io {
	unsigned int index; /* below the depth */
	bool write;
	uint64_t off;
	uint32_t len;
	uint8_t *data;
	/* The job's */
	uint64_t begun_ns;
	uint64_t block;
};

/* Where a count has no meaning for an engine it stays 0. */
struct load_counters {
	uint64_t sends; /* messages, both ways */
	uint64_t credits; /* of them, from here, those that carried only credit */
	uint64_t wakes; /* both ways */
};

struct load;

struct load_engine {
	const char *name;
	/* Connects to load_target() and learns the size of the disk. 0 or negative; it has printed why. */
	int (*open)(struct load *l);
	/* Memory for all data that is transferred. */
	uint8_t *(*memory)(struct load *l, uint64_t len);
	void (*submit)(struct load *l, struct load_io *io);
	/* Carries I/Os until load_busy() is false. 0 or negative. */
	int (*run)(struct load *l);
	void (*counters)(struct load *l, struct load_counters *c);
	void (*close)(struct load *l);
};

extern const struct load_engine load_vhx, load_vhost_user, load_nbd;

struct load_settings {
	int engine;
	const char *target;
	const char *device;
	uint64_t block_size;
	uint64_t depth;
	uint64_t area;
	int access;
	bool random;
	uint64_t run_ms;
	uint64_t warmup_ms;
	uint64_t seed;
	uint64_t cpu;
	uint64_t poll_us;
	const char *pids;
	bool verify;
};

struct load_pattern;

struct load {
	const struct load_settings *settings;
	const struct load_engine *engine;
	void *client; /* the engine's */
	uint64_t capacity; /* bytes; set by open */
	struct load_io *ios;
	/* Set before each phase */
	bool (*next)(struct load *l, struct load_io *io); /* false: the phase is over */
	uint64_t end_ns;
	/* Of the phase */
	unsigned int busy;
	uint64_t now_ns;
	uint64_t cnt, bytes;
	uint64_t cursor;
	uint64_t random_state;
	int error;
	uint32_t *histogram;
	struct load_pattern *pattern;
};

/* For an engine that can transfer any memory. NULL: there is none. */
uint8_t *load_memory(struct load *l, uint64_t len);

/* @io has ended, @err: 0 or negative. True: it is the next one, to be submitted. */
bool load_done(struct load *l, struct load_io *io, int err);

static inline bool load_busy(const struct load *l)
{
	return l->busy;
}

uint64_t load_random(struct load *l);

/* Data that tells where and when it was written. One generation per block of the job. */
int load_pattern_new(struct load *l, uint64_t block_cnt);
void load_pattern_free(struct load *l);
/* Picks what comes next in a phase, as load.next. */
bool load_pattern_fill(struct load *l, struct load_io *io);
bool load_pattern_mix(struct load *l, struct load_io *io);
bool load_pattern_check(struct load *l, struct load_io *io);
/* A read or write has ended. 0, or -EILSEQ: not what was written; it has said where. */
int load_pattern_done(struct load *l, const struct load_io *io);

#endif
