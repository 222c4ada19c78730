/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of system calls; for filter.c. */
#ifndef VHX_CONFINE_CALLS_H
#define VHX_CONFINE_CALLS_H

#include <seccomp.h>

#include "util/base.h"

/* Let through, where a mask is given only if the bits of one argument under it are @value. */
struct vhx_call {
	int nr;
	unsigned int arg;
	uint64_t mask;
	uint64_t value;
};

struct vhx_calls {
	const struct vhx_call *rows;
	unsigned int cnt;
};

/* By the number of the bit of VHX_CALLS_*. */
const struct vhx_calls *vhx_calls_group(unsigned int bit);
/* Removing a file: only where Landlock says which. */
const struct vhx_calls *vhx_calls_remove(void);
/* No program here ever makes these; who does is not our code any more, and ends. */
const struct vhx_calls *vhx_calls_doors(void);

#endif
