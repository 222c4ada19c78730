// SPDX-License-Identifier: BSD-3-Clause
#include "argo_ring.h"

#include <errno.h>

#include "util/base.h"

int fuzz_argo_answer(struct fuzz_input *in)
{
	static const int errs[] = { 0,	    0,	      0,      -EAGAIN,
				    -EBUSY, -ENOMEM,  -ESRCH, -ECONNREFUSED,
				    -EPERM, -EMSGSIZE };

	return errs[fuzz_u8(in) % VHX_ARRAY_SIZE(errs)];
}

int fuzz_argo_consume(struct fuzz_argo_ring *r, struct fuzz_input *in, uint32_t rx_ptr,
		      uint32_t *tx_ptr)
{
	FUZZ_CHECK(rx_ptr < FUZZ_ARGO_RING && rx_ptr % 16 == 0);
	r->head.rx_ptr = rx_ptr;
	*tx_ptr = r->head.tx_ptr;
	return fuzz_u8(in) % 2;
}

static void put(struct fuzz_argo_ring *r, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		r->data[(r->head.tx_ptr + i) % FUZZ_ARGO_RING] = ((const uint8_t *)bytes)[i];
}

void fuzz_argo_message(struct fuzz_argo_ring *r, uint32_t port, uint32_t type, const void *bytes,
		       uint32_t len)
{
	struct argo_message header = { .len = len + 16,
				       .src = { .port = port, .domid = FUZZ_ARGO_PARTNER },
				       .type = type };

	r->head.tx_ptr %= FUZZ_ARGO_RING;
	put(r, &header, sizeof(header));
	r->head.tx_ptr = (r->head.tx_ptr + 16) % FUZZ_ARGO_RING;
	put(r, bytes, len);
	r->head.tx_ptr = (r->head.tx_ptr + (len + 15) / 16 * 16) % FUZZ_ARGO_RING;
}

void fuzz_argo_scribble(struct fuzz_argo_ring *r, struct fuzz_input *in)
{
	r->data[fuzz_u16(in) % FUZZ_ARGO_RING] = fuzz_u8(in);
}

void fuzz_argo_tx_ptr(struct fuzz_argo_ring *r, struct fuzz_input *in)
{
	r->head.tx_ptr = fuzz_u8(in) % 8 ? fuzz_u16(in) % FUZZ_ARGO_RING & ~15u : fuzz_u32(in);
}
