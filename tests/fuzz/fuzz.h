/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fuzz target is one file that defines these two. Linked with standalone.c it is a program that
 * any compiler builds; linked with -fsanitize=fuzzer the same file is a libFuzzer target.
 */
#ifndef VHX_FUZZ_H
#define VHX_FUZZ_H

#include <string.h>

#include <stddef.h>
#include <stdint.h>

/* A good beginning for mutation; the list ends with a NULL. */
struct vhx_fuzz_seed {
	const void *data;
	size_t len;
};

extern const struct vhx_fuzz_seed vhx_fuzz_seeds[];

/* Always returns 0; what is wrong traps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Unlike assert() also there when NDEBUG is set. */
#define FUZZ_CHECK(cond)                  \
	do {                              \
		if (!(cond))              \
			__builtin_trap(); \
	} while (0)

/* Takes an input apart; at its end there are zeroes. */
struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t low = fuzz_u8(in);

	return low | fuzz_u8(in) << 8;
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t low = fuzz_u16(in);

	return low | (uint32_t)fuzz_u16(in) << 16;
}

static inline uint64_t fuzz_u64(struct fuzz_input *in)
{
	uint64_t low = fuzz_u32(in);

	return low | (uint64_t)fuzz_u32(in) << 32;
}

/* Up to @max bytes, of a length that the input says; what it does not have any more is zero. */
static inline uint32_t fuzz_bytes(struct fuzz_input *in, uint8_t *to, uint32_t max)
{
	uint32_t len = fuzz_u16(in) % (max + 1);
	uint32_t here = len < in->len ? len : (uint32_t)in->len;

	if (here)
		memcpy(to, in->data, here);
	memset(to + here, 0, len - here);
	in->data += here;
	in->len -= here;
	return len;
}

#endif
