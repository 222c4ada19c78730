/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring of Argo without a hypervisor, for targets that put anything into it, and what its hypercalls answer.
 */
#ifndef VHX_FUZZ_ARGO_RING_H
#define VHX_FUZZ_ARGO_RING_H

#include "fuzz.h"
#include "vhx/argo.h"

#define FUZZ_ARGO_RING 4096u
#define FUZZ_ARGO_PARTNER 7u

struct fuzz_argo_ring {
	struct argo_ring head;
	uint8_t data[FUZZ_ARGO_RING];
};

/* A hypercall's answer: 0, or one of those errors that it may give. */
int fuzz_argo_answer(struct fuzz_input *in);
/* As ops->consume. */
int fuzz_argo_consume(struct fuzz_argo_ring *r, struct fuzz_input *in, uint32_t rx_ptr,
		      uint32_t *tx_ptr);

/* A message as the hypervisor would write it, whether or not there is room. */
void fuzz_argo_message(struct fuzz_argo_ring *r, uint32_t port, uint32_t type, const void *bytes,
		       uint32_t len);
/* What it would not write: a byte anywhere, an index to anywhere. */
void fuzz_argo_scribble(struct fuzz_argo_ring *r, struct fuzz_input *in);
void fuzz_argo_tx_ptr(struct fuzz_argo_ring *r, struct fuzz_input *in);

#endif
