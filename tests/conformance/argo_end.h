/* SPDX-License-Identifier: BSD-3-Clause */
/* Ends of provider `argo` in this domain: a program's, over /dev/argo, or the kernel's, over /dev/hmx_argo_test. */
#ifndef VHX_TESTS_CONFORMANCE_ARGO_END_H
#define VHX_TESTS_CONFORMANCE_ARGO_END_H

#include "exchange/exchange.h"

struct argo_end {
	uint16_t partner; /* may be our own domain */
	bool kernel;
	bool backend; /* whose role this end has; the frontend's if not */
	uint32_t ring_len;
};

/* The number of this domain. */
int argo_self(uint16_t *domid);

/* A port that has met nobody yet. */
int argo_end_open(const struct argo_end *end, struct vhx_port **port);

/* Sleeps until the port's descriptor is readable, at most 20 s: true if it is. Of any port of this process. */
bool argo_end_sleep(struct vhx_port *p);

#endif
