/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An intrusive, circular, doubly linked list. A node that is on no list points to itself, so that
 * vhx_list_del() may be repeated.
 */
#ifndef VHX_UTIL_LIST_H
#define VHX_UTIL_LIST_H

#include "util/base.h"

struct vhx_list {
	struct vhx_list *next, *prev;
};

static inline void vhx_list_init(struct vhx_list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool vhx_list_empty(const struct vhx_list *l)
{
	return l->next == l;
}

static inline void vhx_list_add_tail(struct vhx_list *head, struct vhx_list *node)
{
	assert(vhx_list_empty(node));
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void vhx_list_add_head(struct vhx_list *head, struct vhx_list *node)
{
	vhx_list_add_tail(head->next, node);
}

static inline void vhx_list_del(struct vhx_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	vhx_list_init(node);
}

/* Moves all of @from, in order, to the end of @to. */
static inline void vhx_list_splice_tail(struct vhx_list *to, struct vhx_list *from)
{
	if (vhx_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	vhx_list_init(from);
}

#define vhx_list_entry(ptr, type, member) vhx_container_of(ptr, type, member)

#define vhx_list_first_entry(head, type, member) vhx_list_entry((head)->next, type, member)

#define vhx_list_for_each(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

/* Safe against removal of @pos, not of @tmp. */
#define vhx_list_for_each_safe(pos, tmp, head) \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head); \
	     (pos) = (tmp), (tmp) = (pos)->next)

#endif
