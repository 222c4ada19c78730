// SPDX-License-Identifier: BSD-3-Clause
/*
 * All decoders on arbitrary bytes: what one accepts holds what its header promises, and encodes to the
 * same bytes again.
 */
#include "fuzz.h"

#include <string.h>

#include "wire/control.h"
#include "wire/wire.h"

/* The next @len bytes, exactly as many, or NULL. */
static const void *take(struct fuzz_input *in, size_t len)
{
	const void *p = in->data;

	if (in->len < len)
		return NULL;
	in->data += len;
	in->len -= len;
	return p;
}

static void run_header(struct fuzz_input *in)
{
	const void *bytes = take(in, sizeof(struct vhx_msg_header));
	struct vhx_msg_header wire, again;
	struct vhx_header h;

	if (!bytes)
		return;
	memcpy(&wire, bytes, sizeof(wire));
	if (vhx_header_decode(&wire, &h))
		return;
	FUZZ_CHECK(h.src_inc);
	vhx_header_encode(&again, &h);
	FUZZ_CHECK(!memcmp(&wire, &again, sizeof(wire)));
}

static void run_hello(struct fuzz_input *in)
{
	const void *bytes = take(in, sizeof(struct vhx_hello));
	struct vhx_hello wire, again;
	struct vhx_hello_body b;
	struct vhx_header h;
	int ret;

	if (!bytes)
		return;
	memcpy(&wire, bytes, sizeof(wire));
	ret = vhx_hello_decode(&wire, &b);
	FUZZ_CHECK(ret == 0 || ret == -EPROTO || ret == -EPROTONOSUPPORT);
	if (ret || vhx_header_decode(&wire.header, &h))
		return;
	FUZZ_CHECK(b.version_min <= VHX_WIRE_VERSION && b.version_max >= VHX_WIRE_VERSION);
	vhx_hello_encode(&again, &h, &b);
	FUZZ_CHECK(!memcmp(&wire, &again, sizeof(wire)));
}

static void run_avail(struct fuzz_input *in)
{
	uint32_t left = fuzz_u16(in);
	const void *bytes = take(in, sizeof(struct vhx_avail_record));
	struct vhx_avail_record wire, again;
	struct vhx_avail a;

	if (!bytes)
		return;
	memcpy(&wire, bytes, sizeof(wire));
	if (vhx_avail_decode(&wire, left, &a))
		return;
	FUZZ_CHECK(a.chunk_len <= left && a.chunk_len <= a.out_len);
	FUZZ_CHECK(vhx_chunk_padded(a.chunk_len) >= a.chunk_len);
	FUZZ_CHECK(a.chunk_len || a.flags & VHX_AVAIL_FIRST);
	vhx_avail_encode(&again, &a);
	FUZZ_CHECK(!memcmp(&wire, &again, sizeof(wire)));
}

static void run_used(struct fuzz_input *in)
{
	uint32_t left = fuzz_u16(in);
	const void *bytes = take(in, sizeof(struct vhx_used_record));
	struct vhx_used_record wire, again;
	struct vhx_used u;

	if (!bytes)
		return;
	memcpy(&wire, bytes, sizeof(wire));
	if (vhx_used_decode(&wire, left, &u))
		return;
	FUZZ_CHECK(u.chunk_len <= left);
	FUZZ_CHECK(u.chunk_len || u.flags & VHX_USED_COMPLETE);
	FUZZ_CHECK(u.flags & VHX_USED_COMPLETE || !u.used_len);
	vhx_used_encode(&again, &u);
	FUZZ_CHECK(!memcmp(&wire, &again, sizeof(wire)));
}

/* The length of a message is the provider's word; now and then it agrees with what the message says. */
static void run_control(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	uint8_t wire[VIRTIO_MSG_MAX + 8] = { 0 }, again[VIRTIO_MSG_MAX];
	uint32_t want = how & 1 ? (uint32_t)sizeof(wire) : fuzz_u8(in);
	uint32_t len = (uint32_t)vhx_min_u64(in->len, want);
	struct vhx_control c;
	int ret;

	if (len)
		memcpy(wire, take(in, len), len);
	if (how & 2 && len >= 8) {
		wire[6] = (uint8_t)len;
		wire[7] = (uint8_t)(len >> 8);
	}
	ret = vhx_control_decode(wire, len, &c);
	FUZZ_CHECK(ret == 0 || ret == -EPROTO || ret == -ENOMSG);
	if (ret)
		return;
	FUZZ_CHECK(c.payload_len <= VHX_CONTROL_PAYLOAD_MAX && vhx_control_len(&c) == len);
	FUZZ_CHECK(vhx_control_encode(again, &c) == len);
	wire[0] &= VIRTIO_MSG_TYPE_BUS | VIRTIO_MSG_TYPE_RESPONSE;
	FUZZ_CHECK(!memcmp(wire, again, len));
}

static void (*const decoders[])(struct fuzz_input *in) = {
	run_header, run_hello, run_avail, run_used, run_control, run_control,
};

static const uint8_t seed_hello[] = {
	1,   1,	  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'V', 'H',
	'X', '1', 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   0,
	0,   0,	  0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,   0,
};
static const uint8_t seed_records[] = {
	2, 0, 1, 3, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0,
	3, 0, 1, 3, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0,
};
static const uint8_t seed_control[] = {
	4, 3, 0, 8, 0, 0, 7, 0, 12, 0, 15, 0, 0, 0,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_hello, sizeof(seed_hello) },
	{ seed_records, sizeof(seed_records) },
	{ seed_control, sizeof(seed_control) },
	{ NULL, 0 },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };

	while (in.len)
		decoders[fuzz_u8(&in) % VHX_ARRAY_SIZE(decoders)](&in);
	return 0;
}
