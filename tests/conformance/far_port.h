/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port in another domain, made one of this process by argo-agent there: every call is one to the agent. So the
 * tests of the exchange can be held against two domains. A peeked message comes along with its bytes, and
 * consume() looks for the next one, which stays the next.
 */
#ifndef VHX_TESTS_CONFORMANCE_FAR_PORT_H
#define VHX_TESTS_CONFORMANCE_FAR_PORT_H

#include "exchange/exchange.h"

/* Where the agent is. Once, before any port. */
int far_connect(uint16_t domid);
/* Tells the agent to end. */
void far_disconnect(void);
/* The domain, or -ENOTCONN. */
int far_domain(uint16_t *domid);

/* A frontend's port for this domain, which has met nobody yet. At most one at a time. */
int far_port_open(bool kernel, uint32_t ring_len, struct vhx_port **port);

bool far_port_is(const struct vhx_port *p);
/* As port_sleep(). */
bool far_port_sleep(struct vhx_port *p);

#endif
