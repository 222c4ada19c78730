/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Xen's Argo in Linux: what the core (argo_core.c) offers to the provider (argo_port.c) and to the
 * character device (argo_dev.c). The hypervisor's interface is vhx/argo.h, section 1.
 *
 * Errors of hypercalls are those of the hypervisor, which are Linux's.
 */
#ifndef HMX_ARGO_INTERNAL_H
#define HMX_ARGO_INTERNAL_H

#include <linux/device.h>
#include <linux/list.h>
#include <linux/types.h>

#include <vhx/argo.h>

#include "hmx_argo.h"

#define ARGO_OPS 5u /* numbers of operations are below */
#define ARGO_OP_QUERY 0u /* no number of the hypervisor's: a notify that asks */

/* Hypercalls by operation. Read without a lock. */
struct argo_calls {
	u64 op[ARGO_OPS];
};

/**
 * struct argo_rx - a ring of ours, and the event that belongs to it
 * @port: where it receives
 * @partner: whom from; ARGO_DOMID_ANY: everybody
 * @len: of the data area
 * @ring: its memory: the header, and the data behind it; also shown to processes
 * @event: something came, or a send may be tried again. From the interrupt of all rings, or any
 *	context, until argo_rx_release() returns
 * @kind: for people
 * @registered: the hypervisor has it, or may have it and write there. Owner's
 * @calls: what the owner has counted so far. Owner's
 *
 * Fields that are the owner's are protected by its lock.
 */
struct argo_rx {
	u32 port;
	u16 partner;
	u32 len;
	struct argo_ring *ring;
	void (*event)(struct argo_rx *rx);
	const char *kind;
	bool registered;
	struct argo_calls calls;

	/* The core's */
	struct list_head node;
	u64 *gfns;
	unsigned int nr_pages;
	bool program;
};

extern u16 argo_domid; /* our own; changes when the domain is restored */

/* Memory for a ring of @len bytes of data. Process context. 0, -EINVAL, -ENOMEM. */
int argo_rx_alloc(struct argo_rx *rx, u32 len);
/* Nothing where there is none, or where the hypervisor may still write. */
void argo_rx_free(struct argo_rx *rx);

/*
 * Makes (@rx->port, @rx->partner) ours, and @rx->event be called. Port 0: one that is free.
 * @program: its share of rings is bounded. Process context. 0, -EADDRINUSE, -ENOSPC.
 */
int argo_rx_claim(struct argo_rx *rx, bool program);
/* Unregistered before. On return no event is under way. The partner of argo_rx_claim(). */
void argo_rx_release(struct argo_rx *rx);
/* Does anybody here receive at @port? Process context. */
bool argo_port_claimed(u32 port);

static inline u8 *argo_rx_data(const struct argo_rx *rx)
{
	return (u8 *)(rx->ring + 1);
}

static inline u32 argo_rx_distance(const struct argo_rx *rx, u32 from, u32 to)
{
	return to >= from ? to - from : to + rx->len - from;
}

/*
 * Any context, from here on. Registers the ring, empty; what was registered there before goes.
 * The hypervisor's result.
 */
int argo_rx_register(struct argo_rx *rx);
/* 0, also where there was none; else the hypervisor may still have it. */
int argo_rx_unregister(struct argo_rx *rx);
/* 0: it is still there, as far as can be told; 1: it was not, and is again; or why not. */
int argo_rx_check(struct argo_rx *rx);

/*
 * Sends a message. Bases of @iov are our own addresses, or with @user those of the current process,
 * of which access_ok() was asked. The bytes sent, or an error of the hypervisor.
 */
int argo_send(struct argo_calls *calls, const struct argo_send_addr *addr,
	      const struct argo_iov *iov, unsigned int nr, u32 type, bool user);
/* Wakes whom our rings have refused. */
int argo_notify(struct argo_calls *calls);
/*
 * The same, and asks for one ring of others'; @ent is filled in. With ARGO_RING_SUFFICIENT the
 * waits of all of us there are over, and argo_event_all() is owed.
 */
int argo_ask(struct argo_calls *calls, struct argo_ring_data_ent *ent);
void argo_event_all(void);
/* 1: there is a ring that we may send to; 0; or an error. Waits for room there go on. */
int argo_query(struct argo_calls *calls, const struct argo_addr *addr);

/* argo_dev.c */
int argo_dev_init(struct device *parent);
void argo_dev_exit(void);

/* argo_port.c: of the parameter, and while the module is there. */
extern const struct attribute_group **argo_ports_groups; /* of the parent */
int argo_ports_init(struct device *parent);
void argo_ports_exit(void);
int argo_ports_freeze(void);
int argo_ports_restore(void);
/* For a shutdown: nobody receives any more. */
void argo_ports_leave(void);

/* For argo_core.c: after the domain was restored elsewhere, and at a shutdown. */
void argo_files_check(void);
void argo_files_leave(void);

#endif
