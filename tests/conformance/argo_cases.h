/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Argo answers, as a table of cases for any hypervisor that has it: the real one (tests/lab/argo-abi.c,
 * from two of its domains) and the model in src/exchange/argo_hv.h (test_argo_cases.c).
 *
 * A case is a list of steps, each one call of one of two domains and what it must come to. Both sides have
 * the table: a step is named by its index, so that the other domain can be asked for it over anything.
 */
#ifndef VHX_TESTS_CONFORMANCE_ARGO_CASES_H
#define VHX_TESTS_CONFORMANCE_ARGO_CASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhx/argo.h>

struct argo_step;

/* As hypervisors were started, and what only some can be asked for. A case names what it needs. */
#define ARGO_ON 0x1u /* argo=1 */
#define ARGO_OFF 0x2u
#define ARGO_PERMISSIVE 0x4u /* mac-permissive=1 */
#define ARGO_STRICT 0x8u
#define ARGO_REAL 0x10u /* addresses are those of a guest, rings are lists of frames */
#define ARGO_PAIR 0x20u /* there is a second domain */
#define ARGO_LONE 0x40u /* there was one, and it has ended */
#define ARGO_ALLOWED 0x80u /* access control lets the two domains exchange */
#define ARGO_REFUSED 0x100u
#define ARGO_SPOIL 0x200u /* the domain won't be needed any more */

/* A ring's memory, and what a registration calls it by. */
struct argo_frames {
	struct argo_ring *ring;
	const void *arg2;
};

/* A hypervisor, as one domain sees it. */
struct argo_domain_ops {
	int64_t (*op)(void *ctx, unsigned int cmd, const void *arg1, const void *arg2,
		      uint64_t arg3, uint64_t arg4);
	/* Zeroed memory for a ring of so many pages. 0 or -errno. */
	int (*frames_new)(void *ctx, uint32_t pages, struct argo_frames *frames);
	void (*frames_free)(void *ctx, struct argo_frames *frames);
	/* Was VIRQ_ARGO raised since the last question? Waits for it if @want. */
	bool (*event)(void *ctx, bool want);
};

#define ARGO_SIDE_RINGS 130u /* what the cases have at once, at most */

/* One domain's part in the cases. */
struct argo_side {
	const struct argo_domain_ops *ops;
	void *ctx;
	uint16_t domid, peer;
	int denied; /* the error of access control: -EPERM, or -EACCES of Flask */
	const void *unreadable; /* an address that faults */
	char *buffer; /* of ARGO_SIDE_BUFFER bytes that the hypervisor can read */
	struct argo_side_ring {
		bool used;
		uint32_t port;
		uint16_t partner;
		uint32_t len;
		struct argo_frames frames;
	} rings[ARGO_SIDE_RINGS];
};

/* The largest message, and room for what describes it. */
#define ARGO_SIDE_BUFFER ((16u << 20) + (64u << 10))

size_t argo_step_cnt(void);
/* Does the step begin a case? Its name, else NULL. *@needs: of ARGO_*. */
const char *argo_step_case(size_t i, unsigned int *needs);
/* Is it the other domain's? */
bool argo_step_is_peer(size_t i);
/* 0, or -1 with the reason in @why. */
int argo_step_run(struct argo_side *side, size_t i, char *why, size_t why_len);
/* After each case: unregisters and frees all rings of the side. */
void argo_side_clear(struct argo_side *side);

#endif
