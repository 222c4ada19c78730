// SPDX-License-Identifier: BSD-3-Clause
/*
 * Runs a fuzz target without a fuzzer: on files, on standard input, or on pseudo-random inputs, the
 * same ones for the same seed. Inputs are random bytes, or mutations of the target's seeds and of
 * earlier inputs.
 *
 * prog [--runs N] [--seed S] [FILE...]
 *
 * When a run traps, its number and seed were written to standard error by the signal handler: the
 * same command with --runs just above that number ends there.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Long enough for many steps of any target, short enough for thousands of runs a second. */
#define INPUT_MAX 4096u
/* Earlier inputs that are mutated further. */
#define POOL_CNT 16u

struct input {
	size_t len;
	uint8_t data[INPUT_MAX];
};

static struct input pool[POOL_CNT];
static unsigned int pool_cnt;
static uint64_t prng_state;
static unsigned long long run_no, run_seed;

/* splitmix64 */
static uint64_t prng(void)
{
	uint64_t z = (prng_state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint32_t below(uint32_t n)
{
	return prng() % n;
}

static void on_trap(int sig)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "signal %d at run %llu of seed %llu\n", sig, run_no,
			 run_seed);

	if (write(STDERR_FILENO, line, n) < 0)
		_exit(1);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void input_random(struct input *in)
{
	in->len = below(1 + below(INPUT_MAX));
	for (size_t i = 0; i < in->len; i++)
		in->data[i] = prng();
}

static void mutate_bit(struct input *in)
{
	in->data[below(in->len)] ^= 1u << below(8);
}

static void mutate_byte(struct input *in)
{
	in->data[below(in->len)] = prng();
}

static void mutate_edge(struct input *in)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0xfe };

	in->data[below(in->len)] = edges[below(sizeof(edges))];
}

static void mutate_truncate(struct input *in)
{
	in->len = 1 + below(in->len);
}

static void mutate_copy(struct input *in)
{
	size_t from = below(in->len), to = below(in->len);
	size_t room = in->len - (from > to ? from : to);

	memmove(in->data + to, in->data + from, 1 + below(room));
}

static void mutate_append(struct input *in)
{
	size_t n = below(64);

	for (; n && in->len < INPUT_MAX; n--)
		in->data[in->len++] = prng();
}

static void (*const mutators[])(struct input *in) = {
	mutate_bit, mutate_byte, mutate_edge, mutate_truncate, mutate_copy, mutate_append,
};

static void input_mutated(struct input *in)
{
	*in = pool[below(pool_cnt)];
	for (unsigned int n = 1 + below(8); n; n--) {
		if (!in->len)
			in->data[in->len++] = prng();
		mutators[below(sizeof(mutators) / sizeof(mutators[0]))](in);
	}
}

static void pool_put(const struct input *in)
{
	unsigned int at = pool_cnt < POOL_CNT ? pool_cnt++ : below(POOL_CNT);

	pool[at] = *in;
}

static void run_one(const uint8_t *data, size_t len)
{
	/* Exactly as long as it says, so that a sanitizer sees a read beyond the end. */
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static void run_seeds(void)
{
	static struct input in;

	for (const struct vhx_fuzz_seed *s = vhx_fuzz_seeds; s->data; s++) {
		in.len = s->len < INPUT_MAX ? s->len : INPUT_MAX;
		memcpy(in.data, s->data, in.len);
		pool_put(&in);
		run_one(in.data, in.len);
	}
}

static void run_random(unsigned long long runs)
{
	static struct input in;

	for (run_no = 0; run_no < runs; run_no++) {
		if (pool_cnt && below(3))
			input_mutated(&in);
		else
			input_random(&in);
		run_one(in.data, in.len);
		if (!below(8))
			pool_put(&in);
	}
}

static int run_file(FILE *f, const char *name)
{
	static uint8_t data[1 << 20];
	size_t len = fread(data, 1, sizeof(data), f);

	if (ferror(f)) {
		perror(name);
		return 1;
	}
	run_one(data, len);
	return 0;
}

static int run_path(const char *path)
{
	FILE *f = fopen(path, "rb");
	int ret;

	if (!f) {
		perror(path);
		return 1;
	}
	ret = run_file(f, path);
	fclose(f);
	return ret;
}

int main(int argc, char **argv)
{
	unsigned long long runs = 0;
	bool random = false;
	int files = 0, ret = 0;

	signal(SIGILL, on_trap);
	signal(SIGTRAP, on_trap);
	signal(SIGABRT, on_trap);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--runs") && i + 1 < argc) {
			runs = strtoull(argv[++i], NULL, 0);
			random = true;
		} else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			run_seed = strtoull(argv[++i], NULL, 0);
		} else {
			ret |= run_path(argv[i]);
			files++;
		}
	}
	if (!random)
		return files ? ret : run_file(stdin, "standard input");
	prng_state = run_seed;
	run_seeds();
	run_random(runs);
	printf("%llu runs of seed %llu\n", runs, run_seed);
	return ret;
}
