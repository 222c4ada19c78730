// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhx-load: one job on one disk, and its account as one line of JSON.
 *
 * A timed job warms up, then counts. --verify writes a pattern everywhere, mixes reads and writes for the
 * time of the job, and reads all of it once more: each read is compared with the newest write of its block.
 */
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "config/options.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull
#define NO_CPU UINT64_MAX

/* Latencies: so many steps per power of two, 3 % each. */
#define STEP_BITS 5u
#define STEPS (1u << STEP_BITS)
#define BUCKETS (64u * STEPS)

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
};

/* Without libnbd there is one engine less. */
static const struct load_engine *const engines[] = {
	&load_vhx,
	&load_vhost_user,
#ifdef VHX_BENCH_NBD
	&load_nbd,
#endif
};

static const struct vhx_choice engine_choices[] = {
	{ "vhx", 0 },
	{ "vhost-user", 1 },
#ifdef VHX_BENCH_NBD
	{ "nbd", 2 },
#endif
	{ NULL, 0 },
};

static const struct vhx_choice access_choices[] = {
	{ "read", ACCESS_READ },
	{ "write", ACCESS_WRITE },
	{ NULL, 0 },
};

#define FIELD(f) offsetof(struct load_settings, f)
static const struct vhx_option rows[] = {
	{ "engine", "NAME", "vhx (default), vhost-user or nbd", VHX_OPTION_CHOICE, FIELD(engine),
	  .choices = engine_choices },
	{ "target", "ADDRESS", "unix:PATH for vhx, PATH for the others", VHX_OPTION_STRING,
	  FIELD(target) },
	{ "device", "NAME", "of the backend's devices (vhx)", VHX_OPTION_STRING, FIELD(device) },
	{ "access", "KIND", "read (default) or write", VHX_OPTION_CHOICE, FIELD(access),
	  .choices = access_choices },
	{ "random", NULL, "random offsets", VHX_OPTION_FLAG, FIELD(random) },
	{ "block-size",
	  "SIZE",
	  "of one I/O (default 4K)",
	  VHX_OPTION_SIZE,
	  FIELD(block_size),
	  { 512, 1u << 20, false } },
	{ "depth",
	  "N",
	  "I/Os in flight (default 1)",
	  VHX_OPTION_NUMBER,
	  FIELD(depth),
	  { 1, LOAD_DEPTH_MAX, false } },
	{ "area",
	  "SIZE",
	  "of the disk that is used (default: all)",
	  VHX_OPTION_SIZE,
	  FIELD(area),
	  { 0, INT64_MAX, false } },
	{ "run-ms",
	  "N",
	  "time that counts (default 1000)",
	  VHX_OPTION_NUMBER,
	  FIELD(run_ms),
	  { 1, 86400000, false } },
	{ "warmup-ms",
	  "N",
	  "and before it (default 100)",
	  VHX_OPTION_NUMBER,
	  FIELD(warmup_ms),
	  { 0, 86400000, false } },
	{ "seed",
	  "N",
	  "of random offsets (default 1)",
	  VHX_OPTION_NUMBER,
	  FIELD(seed),
	  { 0, INT64_MAX, false } },
	{ "cpu",
	  "N",
	  "run on this CPU",
	  VHX_OPTION_NUMBER,
	  FIELD(cpu),
	  { 0, CPU_SETSIZE - 1, false } },
	{ "poll-us",
	  "N",
	  "spin so long before a sleep (vhx)",
	  VHX_OPTION_NUMBER,
	  FIELD(poll_us),
	  { 0, 1000000, false } },
	{ "pids", "N[:N...]", "processes whose CPU time is counted as well", VHX_OPTION_STRING,
	  FIELD(pids) },
	{ "verify", NULL, "write a pattern and check what comes back", VHX_OPTION_FLAG,
	  FIELD(verify) },
};

static const struct vhx_options options = {
	.program = "vhx-load",
	.usage = "--engine NAME --target ADDRESS [OPTION]...",
	.summary = "Loads a disk and prints what it did as JSON.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
};

/* What one measured phase was worth. */
struct account {
	uint64_t ns;
	uint64_t cpu_ns; /* of all processes */
	struct load_counters counters;
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint8_t *load_memory(struct load *l, uint64_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

uint64_t load_random(struct load *l)
{
	uint64_t x = l->random_state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	l->random_state = x;
	return x;
}

/* Latencies */

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < STEPS)
		return (unsigned int)ns;
	shift = 63u - (unsigned int)__builtin_clzll(ns) - STEP_BITS;
	return (shift + 1) * STEPS + (unsigned int)(ns >> shift) - STEPS;
}

static uint64_t bucket_ns(unsigned int bucket)
{
	unsigned int shift = bucket / STEPS;

	if (!shift)
		return bucket;
	return (uint64_t)(STEPS + bucket % STEPS) << (shift - 1);
}

static double percentile_us(const struct load *l, double share)
{
	uint64_t rank = (uint64_t)((double)l->cnt * share), seen = 0;
	unsigned int i;

	for (i = 0; i < BUCKETS; i++) {
		seen += l->histogram[i];
		if (seen > rank)
			return (double)bucket_ns(i) / NS_PER_US;
	}
	return 0;
}

/* CPU time */

static uint64_t thread_cpu_ns(const char *pid, const char *tid)
{
	char path[512];
	uint64_t ns = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64, &ns) != 1)
		ns = 0;
	fclose(f);
	return ns;
}

/* Of all threads that live: those of the servers we know stay. */
static uint64_t process_cpu_ns(const char *pid)
{
	char path[64];
	struct dirent *e;
	uint64_t ns = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((e = readdir(dir))) {
		if (e->d_name[0] != '.')
			ns += thread_cpu_ns(pid, e->d_name);
	}
	closedir(dir);
	return ns;
}

static uint64_t cpu_ns(const struct load *l)
{
	char pids[256], *save = NULL, *pid;
	uint64_t ns = process_cpu_ns("self");

	if (!l->settings->pids)
		return ns;
	snprintf(pids, sizeof(pids), "%s", l->settings->pids);
	for (pid = strtok_r(pids, ":", &save); pid; pid = strtok_r(NULL, ":", &save))
		ns += process_cpu_ns(pid);
	return ns;
}

/* The job */

static void io_aim(struct load *l, struct load_io *io)
{
	uint64_t blocks = l->settings->area / io->len;

	io->block = l->settings->random ? load_random(l) % blocks : l->cursor++ % blocks;
	io->off = io->block * io->len;
	io->write = l->settings->access == ACCESS_WRITE;
}

static bool timed_next(struct load *l, struct load_io *io)
{
	if (l->now_ns >= l->end_ns)
		return false;
	io_aim(l, io);
	return true;
}

static bool next(struct load *l, struct load_io *io)
{
	if (l->error || !l->next(l, io))
		return false;
	io->begun_ns = l->now_ns;
	return true;
}

bool load_done(struct load *l, struct load_io *io, int err)
{
	l->now_ns = clock_ns();
	l->cnt++;
	l->bytes += io->len;
	l->histogram[bucket_of(l->now_ns - io->begun_ns)]++;
	if (!err && l->pattern)
		err = load_pattern_done(l, io);
	if (err && !l->error)
		l->error = err;
	if (next(l, io))
		return true;
	l->busy--;
	return false;
}

static int phase(struct load *l, bool (*fn)(struct load *l, struct load_io *io), uint64_t ms)
{
	unsigned int i;

	l->next = fn;
	l->cnt = l->bytes = l->cursor = 0;
	memset(l->histogram, 0, BUCKETS * sizeof(*l->histogram));
	l->now_ns = clock_ns();
	l->end_ns = l->now_ns + ms * NS_PER_MS;
	for (i = 0; i < l->settings->depth && next(l, &l->ios[i]); i++) {
		l->busy++;
		l->engine->submit(l, &l->ios[i]);
	}
	return (l->busy ? l->engine->run(l) : 0) ?: l->error;
}

static void account_take(struct load *l, struct account *a)
{
	a->ns = clock_ns();
	a->cpu_ns = cpu_ns(l);
	l->engine->counters(l, &a->counters);
}

static double per_io(const struct load *l, uint64_t before, uint64_t after)
{
	return l->cnt ? (double)(after - before) / (double)l->cnt : 0;
}

static void report(const struct load *l, const struct account *a, const struct account *b)
{
	double seconds = (double)(b->ns - a->ns) / NS_PER_S;

	printf("{\"requests\": %" PRIu64 ", \"iops\": %.0f, \"mbs\": %.1f, \"p50_us\": %.1f, "
	       "\"p99_us\": %.1f, \"cpu_us\": %.3f, \"sends\": %.4f, \"credits\": %.4f, "
	       "\"wakes\": %.4f}\n",
	       l->cnt, (double)l->cnt / seconds, (double)l->bytes / seconds / 1e6,
	       percentile_us(l, 0.5), percentile_us(l, 0.99),
	       per_io(l, a->cpu_ns, b->cpu_ns) / NS_PER_US,
	       per_io(l, a->counters.sends, b->counters.sends),
	       per_io(l, a->counters.credits, b->counters.credits),
	       per_io(l, a->counters.wakes, b->counters.wakes));
}

static int timed(struct load *l)
{
	struct account before, after;
	int ret = 0;

	if (l->settings->warmup_ms)
		ret = phase(l, timed_next, l->settings->warmup_ms);
	account_take(l, &before);
	if (!ret)
		ret = phase(l, timed_next, l->settings->run_ms);
	account_take(l, &after);
	if (!ret)
		report(l, &before, &after);
	return ret;
}

static int verify(struct load *l)
{
	uint64_t blocks = l->settings->area / l->settings->block_size, mixed;
	int ret;

	if (blocks <= l->settings->depth) {
		fprintf(stderr, "vhx-load: the area needs more blocks than the depth\n");
		return -EINVAL;
	}
	ret = load_pattern_new(l, blocks);
	if (!ret)
		ret = phase(l, load_pattern_fill, 0);
	if (!ret)
		ret = phase(l, load_pattern_mix, l->settings->run_ms);
	mixed = l->cnt;
	if (!ret)
		ret = phase(l, load_pattern_check, 0);
	if (!ret)
		printf("{\"verified_blocks\": %" PRIu64 ", \"mixed_requests\": %" PRIu64 "}\n",
		       blocks, mixed);
	return ret;
}

static int prepare(struct load *l, struct load_settings *s)
{
	uint8_t *data;
	unsigned int i;
	int ret = l->engine->open(l);

	if (ret)
		return ret;
	if (!s->area || s->area > l->capacity)
		s->area = l->capacity;
	l->ios = calloc(s->depth, sizeof(*l->ios));
	l->histogram = calloc(BUCKETS, sizeof(*l->histogram));
	data = l->engine->memory(l, s->depth * s->block_size);
	if (!l->ios || !l->histogram || !data)
		return -ENOMEM;
	if (s->area < s->block_size)
		return -EINVAL;
	memset(data, 0x5a, s->depth * s->block_size);
	for (i = 0; i < s->depth; i++) {
		l->ios[i].index = i;
		l->ios[i].len = (uint32_t)s->block_size;
		l->ios[i].data = data + i * s->block_size;
	}
	l->random_state = s->seed * 2 + 1;
	return 0;
}

static void pin(uint64_t cpu)
{
	cpu_set_t set;

	if (cpu == NO_CPU)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned int)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fprintf(stderr, "vhx-load: CPU %" PRIu64 ": %s\n", cpu, strerror(errno));
}

static int run(struct load_settings *s)
{
	struct load l = { .settings = s, .engine = engines[s->engine] };
	int ret;

	pin(s->cpu);
	ret = prepare(&l, s);
	if (!ret)
		ret = s->verify ? verify(&l) : timed(&l);
	if (ret)
		fprintf(stderr, "vhx-load: %s: %s\n", s->target, strerror(-ret));
	l.engine->close(&l);
	load_pattern_free(&l);
	free(l.ios);
	free(l.histogram);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct load_settings s = {
		.device = "",
		.block_size = 4096,
		.depth = 1,
		.run_ms = 1000,
		.warmup_ms = 100,
		.seed = 1,
		.cpu = NO_CPU,
	};
	struct vhx_error err = { "--target is missing" };
	int ret = vhx_options_parse(&options, argc, argv, &s, NULL, &err);

	if (ret == VHX_OPTIONS_HELP) {
		vhx_options_help(&options, stdout);
		return EXIT_SUCCESS;
	}
	if (ret == VHX_OPTIONS_VERSION) {
		vhx_options_version(&options, stdout);
		return EXIT_SUCCESS;
	}
	if (ret || !s.target) {
		fprintf(stderr, "vhx-load: %s\n", err.text);
		return 2;
	}
	return run(&s);
}
