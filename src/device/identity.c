// SPDX-License-Identifier: BSD-3-Clause
#include "device/identity.h"

#include <stdio.h>
#include <string.h>

#include <vhx/endian.h>

/* FNV-1a, 64 bits: spreads names, protects nothing. */
static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static uint64_t hash(uint64_t h, const char *text)
{
	return hash_bytes(h, text, strlen(text));
}

void vhx_device_identify(struct vhx_device *dev, const char *id)
{
	uint64_t h = hash(0xcbf29ce484222325ull, dev->ops->name);
	vhx_le64 words[2];

	snprintf(dev->id, sizeof(dev->id), "%s", id);
	h = hash(h ^ '/', id);
	words[0] = vhx_le64_of(h);
	words[1] = vhx_le64_of(hash(h ^ '/', id));
	memcpy(dev->uuid, words, sizeof(dev->uuid));
	memcpy(dev->cache_id, words, sizeof(dev->cache_id));
}

void vhx_identity_combine(uint8_t whole[16], const uint8_t part[16])
{
	vhx_le64 words[2];
	uint64_t h;

	h = hash_bytes(hash_bytes(0xcbf29ce484222325ull, whole, 16), part, 16);
	words[0] = vhx_le64_of(h);
	words[1] = vhx_le64_of(hash_bytes(h ^ '/', part, 16));
	memcpy(whole, words, 16);
}
