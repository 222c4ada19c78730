/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Little-endian integers of the wire. In user space each width is a struct of its own, so that a
 * forgotten conversion does not compile; in the kernel they are the types that sparse checks.
 */
#ifndef VHX_UAPI_ENDIAN_H
#define VHX_UAPI_ENDIAN_H

#ifdef __KERNEL__ /* the kernel has its own words for these */

#include <linux/types.h>

typedef __le16 vhx_le16;
typedef __le32 vhx_le32;
typedef __le64 vhx_le64;

#else

#include <endian.h>
#include <stdint.h>

typedef struct {
	uint16_t v;
} vhx_le16;

typedef struct {
	uint32_t v;
} vhx_le32;

typedef struct {
	uint64_t v;
} vhx_le64;

static inline uint16_t vhx_le16_get(vhx_le16 x)
{
	return le16toh(x.v);
}

static inline uint32_t vhx_le32_get(vhx_le32 x)
{
	return le32toh(x.v);
}

static inline uint64_t vhx_le64_get(vhx_le64 x)
{
	return le64toh(x.v);
}

static inline vhx_le16 vhx_le16_of(uint16_t v)
{
	return (vhx_le16){ htole16(v) };
}

static inline vhx_le32 vhx_le32_of(uint32_t v)
{
	return (vhx_le32){ htole32(v) };
}

static inline vhx_le64 vhx_le64_of(uint64_t v)
{
	return (vhx_le64){ htole64(v) };
}

#endif
#endif
