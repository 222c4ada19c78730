/* SPDX-License-Identifier: BSD-3-Clause */
/* Domains of a model host, each with a driver for the endpoints of libvhx-argo. */
#ifndef VHX_TEST_ARGO_NODE_H
#define VHX_TEST_ARGO_NODE_H

#include "argo/driver.h"
#include "exchange/argo_model.h"

/* A guard against hangs, not an expectation. */
#define GUARD_MS 60000

enum { A = 1, B = 2, C = 3, NODES };

struct nodes {
	struct vhx_argo_hv *hv;
	struct vhx_argo_driver driver[NODES]; /* [0] is nobody's */
};

/* All domains, on a host with mac-permissive as @permissive. */
void nodes_open(struct nodes *n, bool permissive);
void nodes_close(struct nodes *n);
void nodes_begin(struct nodes *n, uint16_t domid);

/* A message as any program of the domain may send it; what the hypervisor says. */
int raw_send(struct nodes *n, uint16_t from, uint32_t from_port, uint16_t to, uint32_t to_port,
	     uint32_t type, const void *bytes, uint32_t len);

#endif
