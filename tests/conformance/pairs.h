/* SPDX-License-Identifier: BSD-3-Clause */
/* The providers under test: how each makes two connected ports in this process. */
#ifndef VHX_TESTS_CONFORMANCE_PAIRS_H
#define VHX_TESTS_CONFORMANCE_PAIRS_H

#include "exchange/exchange.h"

struct provider {
	const char *name;
	/* Two ports that are READY. */
	int (*pair)(uint32_t ring_len, struct vhx_port *ends[2]);
	/* Two ports that have not met, where the provider has such a state, else NULL. */
	int (*unmet)(uint32_t ring_len, struct vhx_port *ends[2]);
};

const struct provider *provider_find(const char *name);

/* Sleeps until the port's descriptor is readable, at most 20 s (a guard against a hang): true if it is. */
bool port_sleep(struct vhx_port *p);

#endif
