// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "argo_cases.h"

enum argo_action {
	ARGO_CASE,
	ARGO_REGISTER,
	ARGO_UNREGISTER,
	ARGO_SENDV,
	ARGO_NOTIFY, /* without an argument */
	ARGO_QUERY, /* with entries */
	ARGO_CALL, /* any, as it is */
	ARGO_READ, /* a message is there as it was sent; frees its place */
	ARGO_EMPTY, /* no message is there */
	ARGO_SET_RX, /* as an owner that writes nonsense */
	ARGO_EVENT, /* was raised */
	ARGO_QUIET, /* was not */
	ARGO_ACTION_CNT_,
};

/* A domain, as steps name it. */
enum argo_who { SELF, PEER, ANY, NOBODY, WHO_CNT_ };

/* An argument that is an address. */
enum argo_arg { RIGHT, NONE, UNREADABLE, SOME };

/* Members that a row does not name are 0, which is the usual thing. */
struct argo_step {
	enum argo_action action;
	const char *name; /* of a case */
	unsigned int needs; /* of a case */
	bool peer; /* the other domain's step */
	int expect; /* the result; for a call that succeeds in sending, the bytes */
	enum argo_who who; /* partner of a ring, destination of a message */
	uint32_t port;
	uint32_t src_port;
	enum argo_who src; /* whom the sender claims to be: SELF or other */
	uint32_t len; /* of a ring, or of each iov */
	uint32_t times; /* so often, rings each with the next port; 0 is once */
	uint32_t pages; /* 0: what len needs */
	uint32_t flags; /* of a registration; of a query, what comes back */
	uint32_t type;
	uint32_t iovs; /* 0: one. NO_IOVS: none */
	uint32_t cmd;
	uint64_t arg3, arg4;
	enum argo_arg arg1, arg2;
	uint16_t pad; /* of the first structure */
	uint16_t dst_pad;
	uint32_t iov_pad;
	bool bad_iov; /* the last one's bytes are unreadable */
	bool bad_frame; /* of a ring */
};

#define NO_IOVS 0xffu
#define DENIED INT32_MIN /* as access control says it */
#define PORT 0x7e570001u
#define NOBODY_DOMID 0x7000u /* below the reserved ones, and never reached by a lab */
#define PAGE 4032u /* with its header exactly one page */
#define SMALL 112u /* room for one message of 16 bytes thrice, and a slot */
#define BIG ARGO_RING_LEN_MAX

#define CASE(text, need)                                         \
	{                                                        \
		.action = ARGO_CASE, .name = text, .needs = need \
	}
#define REG(...)                                                                \
	{                                                                       \
		.action = ARGO_REGISTER, .port = PORT, .len = PAGE, __VA_ARGS__ \
	}
#define UNREG(...)                                                   \
	{                                                            \
		.action = ARGO_UNREGISTER, .port = PORT, __VA_ARGS__ \
	}
#define SEND(...)                                                                            \
	{                                                                                    \
		.action = ARGO_SENDV, .port = PORT, .src_port = 5, .type = 0x11, __VA_ARGS__ \
	}
#define WAKE(...)                                  \
	{                                          \
		.action = ARGO_NOTIFY, __VA_ARGS__ \
	}
#define ASK(...)                                                \
	{                                                       \
		.action = ARGO_QUERY, .port = PORT, __VA_ARGS__ \
	}
#define CALL(...)                                \
	{                                        \
		.action = ARGO_CALL, __VA_ARGS__ \
	}
#define READ(...)                                                                           \
	{                                                                                   \
		.action = ARGO_READ, .port = PORT, .src_port = 5, .type = 0x11, __VA_ARGS__ \
	}
#define EMPTY(...)                                              \
	{                                                       \
		.action = ARGO_EMPTY, .port = PORT, __VA_ARGS__ \
	}
#define SET_RX(...)                                              \
	{                                                        \
		.action = ARGO_SET_RX, .port = PORT, __VA_ARGS__ \
	}
#define EVENT                        \
	{                            \
		.action = ARGO_EVENT \
	}
#define QUIET                        \
	{                            \
		.action = ARGO_QUIET \
	}

/* A row may say otherwise than its macro does: the later value counts. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"

/* The order within a case shows which check comes first. */
static const struct argo_step steps[] = {
	CASE("argo=0: nothing is supported", ARGO_OFF),
	CALL(.cmd = ARGO_OP_UNREGISTER_RING, .expect = -EOPNOTSUPP),
	CALL(.cmd = ARGO_OP_NOTIFY, .expect = -EOPNOTSUPP),
	CALL(.cmd = 99, .expect = -EOPNOTSUPP),
	CALL(.cmd = ARGO_OP_NOTIFY, .arg3 = 1ull << 32, .expect = -EINVAL),

	CASE("all: arguments of more than 32 bits, unknown operations", ARGO_ON),
	CALL(.cmd = ARGO_OP_NOTIFY, .arg3 = 1ull << 32, .expect = -EINVAL),
	CALL(.cmd = ARGO_OP_NOTIFY, .arg4 = 1ull << 32, .expect = -EINVAL),
	CALL(.cmd = 0, .expect = -EOPNOTSUPP),
	CALL(.cmd = 5, .expect = -EOPNOTSUPP),
	CALL(.cmd = 6, .expect = -EOPNOTSUPP),
	CALL(.cmd = UINT32_MAX, .expect = -EOPNOTSUPP),

	CASE("register: a ring, its exact place, and no more of it afterwards", ARGO_ON),
	REG(),
	UNREG(),
	UNREG(.expect = -ENOENT),
	CASE("register: smallest and odd lengths", ARGO_ON),
	REG(.len = 48),
	REG(.port = PORT + 1, .len = 47, .expect = -EINVAL),
	REG(.port = PORT + 1, .len = 32, .expect = -EINVAL),
	REG(.port = PORT + 1, .len = 0, .expect = -EINVAL),
	REG(.port = PORT + 1, .len = 56, .expect = -EINVAL),
	CASE("register: the page count is exact", ARGO_ON),
	REG(.pages = 2, .expect = -EINVAL),
	REG(.len = PAGE + 16, .pages = 1, .expect = -EINVAL),
	REG(.len = PAGE + 16, .pages = 2),
	CASE("register: 4096 pages are the most", ARGO_ON),
	REG(.len = BIG + 16, .pages = 4096, .expect = -EINVAL),
	REG(.len = BIG + 64, .pages = 4097, .expect = -EINVAL),
	REG(.len = BIG),
	SEND(.len = BIG - 32, .expect = BIG - 32),
	READ(.len = BIG - 32),
	SEND(.len = BIG - 31, .expect = -EMSGSIZE),
	CASE("register: padding and flags", ARGO_ON),
	REG(.pad = 1, .expect = -EINVAL),
	REG(.flags = 2, .expect = -EINVAL),
	REG(.flags = 0x80000000u, .expect = -EINVAL),
	REG(.flags = ARGO_REGISTER_FAIL_EXIST),
	CASE("register: unreadable arguments", ARGO_ON),
	REG(.arg1 = UNREADABLE, .expect = -EFAULT),
	REG(.arg2 = UNREADABLE, .expect = -EFAULT),
	REG(),
	CASE("register: frames that are none", ARGO_ON | ARGO_REAL),
	REG(.bad_frame = true, .expect = -EINVAL),
	UNREG(.expect = -ENOENT),
	CASE("register: a partner that does not exist", ARGO_ON),
	REG(.who = NOBODY, .expect = -ESRCH),
	CASE("register: everybody, where mac-permissive is off", ARGO_ON | ARGO_STRICT),
	REG(.who = ANY, .expect = -EPERM),
	CASE("register: everybody, where mac-permissive is on", ARGO_ON | ARGO_PERMISSIVE),
	REG(.who = ANY),
	SEND(.len = 5, .expect = 5),
	READ(.who = ANY, .len = 5),
	UNREG(.who = ANY),
	CASE("register: twice", ARGO_ON),
	REG(),
	REG(.flags = ARGO_REGISTER_FAIL_EXIST, .expect = -EEXIST),
	REG(.len = PAGE - 16, .expect = -EEXIST),
	SEND(.len = 32, .expect = 32),
	READ(.len = 32),
	CASE("register: 128 rings", ARGO_ON),
	REG(.times = ARGO_RINGS_MAX, .len = 48),
	REG(.port = PORT + ARGO_RINGS_MAX, .len = 48, .expect = -ENOSPC),
	/* Also where no ring is added. */
	REG(.len = 48, .flags = ARGO_REGISTER_FAIL_EXIST, .expect = -ENOSPC),
	UNREG(.port = PORT + 7),
	REG(.port = PORT + 7, .len = 48),

	CASE("unregister: arguments that are not for it, padding, no struct", ARGO_ON),
	REG(),
	CALL(.cmd = ARGO_OP_UNREGISTER_RING, .arg2 = SOME, .expect = -EINVAL),
	CALL(.cmd = ARGO_OP_UNREGISTER_RING, .arg3 = 1, .expect = -EINVAL),
	CALL(.cmd = ARGO_OP_UNREGISTER_RING, .arg4 = 1, .expect = -EINVAL),
	UNREG(.arg1 = UNREADABLE, .expect = -EFAULT),
	UNREG(.pad = 1, .expect = -EINVAL),
	UNREG(.port = PORT + 1, .expect = -ENOENT),
	UNREG(.who = NOBODY, .expect = -ENOENT),
	UNREG(.who = ANY, .expect = -ENOENT),
	UNREG(),

	CASE("sendv: a message to oneself, with its event", ARGO_ON),
	REG(),
	SEND(.len = 10, .expect = 10),
	EVENT,
	READ(.len = 10),
	EMPTY(),
	QUIET,
	CASE("sendv: the source may be named or left open, and its port is anything", ARGO_ON),
	REG(),
	SEND(.src = ANY, .src_port = 0xffffffffu, .type = 0xffffffffu, .len = 1, .expect = 1),
	READ(.src_port = 0xffffffffu, .type = 0xffffffffu, .len = 1),
	SEND(.src = NOBODY, .len = 1, .expect = -EPERM),
	EMPTY(),
	CASE("sendv: 0 to 8 iovs, empty ones among them", ARGO_ON),
	REG(),
	SEND(.iovs = NO_IOVS, .expect = 0),
	READ(.len = 0),
	SEND(.len = 0, .expect = 0),
	READ(.len = 0),
	SEND(.len = 3, .iovs = 8, .expect = 24),
	READ(.len = 24),
	SEND(.len = 3, .iovs = 9, .expect = -EINVAL),
	EVENT,
	EMPTY(),
	CASE("sendv: padding", ARGO_ON),
	REG(),
	SEND(.pad = 1, .len = 1, .expect = -EINVAL),
	SEND(.dst_pad = 1, .len = 1, .expect = -EINVAL),
	SEND(.iov_pad = 1, .len = 1, .expect = -EINVAL),
	EMPTY(),
	CASE("sendv: unreadable arguments", ARGO_ON),
	REG(),
	SEND(.arg1 = UNREADABLE, .expect = -EFAULT),
	SEND(.arg2 = UNREADABLE, .len = 1, .expect = -EFAULT),
	SEND(.bad_iov = true, .iovs = 2, .len = 100, .expect = -EFAULT),
	EMPTY(),
	QUIET,
	CASE("sendv: order of the checks", ARGO_ON),
	SEND(.arg1 = UNREADABLE, .iovs = 9, .expect = -EFAULT),
	SEND(.arg2 = UNREADABLE, .iovs = 9, .expect = -EINVAL),
	SEND(.pad = 1, .src = NOBODY, .len = 1, .expect = -EINVAL),
	SEND(.src = NOBODY, .who = NOBODY, .len = 1, .expect = -EPERM),
	SEND(.who = NOBODY, .iov_pad = 1, .len = 1, .expect = -ESRCH),
	SEND(.iov_pad = 1, .len = 1, .expect = -ECONNREFUSED),
	CASE("sendv: no ring, nobody", ARGO_ON),
	SEND(.len = 1, .expect = -ECONNREFUSED),
	REG(),
	SEND(.port = PORT + 1, .len = 1, .expect = -ECONNREFUSED),
	SEND(.who = NOBODY, .len = 1, .expect = -ESRCH),
	SEND(.who = ANY, .len = 1, .expect = -ESRCH),
	CASE("sendv: sizes", ARGO_ON),
	REG(),
	SEND(.len = 16777185, .expect = -EINVAL),
	SEND(.len = 16777184, .iovs = 2, .expect = -EMSGSIZE),
	SEND(.len = 16777184, .expect = -EMSGSIZE),
	SEND(.len = PAGE - 31, .expect = -EMSGSIZE),
	SEND(.len = PAGE - 32, .expect = PAGE - 32),
	READ(.len = PAGE - 32),
	CASE("sendv: a ring is full with a slot to spare; messages wrap", ARGO_ON),
	REG(.len = SMALL),
	SEND(.len = 16, .expect = 16),
	SEND(.len = 16, .expect = 16),
	SEND(.len = 16, .expect = 16, .type = 3),
	SEND(.len = 0, .expect = -EAGAIN),
	READ(.len = 16),
	SEND(.len = 1, .expect = 1),
	SEND(.len = 0, .expect = -EAGAIN),
	READ(.len = 16),
	READ(.len = 16, .type = 3),
	READ(.len = 1),
	EMPTY(),
	SEND(.len = 80, .expect = 80),
	READ(.len = 80),
	SEND(.len = 81, .expect = -EMSGSIZE),
	CASE("sendv: a refused one is woken by notify alone, when its size fits", ARGO_ON),
	REG(.len = SMALL),
	SEND(.len = 16, .expect = 16),
	SEND(.len = 16, .expect = 16),
	SEND(.len = 48, .expect = -EAGAIN),
	/* A smaller one does not lower what is waited for. */
	SEND(.len = 40, .expect = -EAGAIN),
	EVENT,
	READ(.len = 16),
	QUIET,
	WAKE(),
	EVENT,
	WAKE(),
	QUIET,
	SEND(.len = 48, .expect = 48),
	EVENT,
	SEND(.len = 48, .expect = -EAGAIN),
	READ(.len = 16),
	WAKE(),
	QUIET,
	READ(.len = 48),
	WAKE(),
	EVENT,
	CASE("sendv: success does not cancel a wait", ARGO_ON),
	REG(.len = SMALL),
	SEND(.len = 48, .expect = 48),
	SEND(.len = 32, .expect = -EAGAIN),
	SEND(.len = 0, .expect = 0),
	EVENT,
	READ(.len = 48),
	READ(.len = 0),
	QUIET,
	WAKE(),
	EVENT,
	CASE("sendv: an owner's rx_ptr is rounded up, and 0 where it is outside", ARGO_ON),
	REG(.len = SMALL),
	SEND(.len = 48, .expect = 48),
	SET_RX(.len = 50),
	ASK(.len = 1, .flags = ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT),
	SET_RX(.len = 0xffffffffu),
	ASK(.len = 17, .flags = ARGO_RING_EXISTS),

	CASE("notify: arguments that are not for it", ARGO_ON),
	WAKE(),
	CALL(.cmd = ARGO_OP_NOTIFY, .arg1 = NONE, .arg2 = SOME, .expect = -EINVAL),
	CALL(.cmd = ARGO_OP_NOTIFY, .arg1 = NONE, .arg3 = 1, .expect = -EINVAL),
	CALL(.cmd = ARGO_OP_NOTIFY, .arg1 = NONE, .arg4 = 1, .expect = -EINVAL),
	CASE("notify: an unreadable argument, which wakes nevertheless", ARGO_ON | ARGO_REAL),
	REG(.len = SMALL),
	SEND(.len = 48, .expect = 48),
	SEND(.len = 48, .expect = -EAGAIN),
	EVENT,
	READ(.len = 48),
	QUIET,
	CALL(.cmd = ARGO_OP_NOTIFY, .arg1 = UNREADABLE, .expect = -EFAULT),
	EVENT,
	CASE("notify: 256 entries, and not one more", ARGO_ON),
	REG(),
	ASK(.times = ARGO_NOTIFY_MAX, .len = 1,
	    .flags = ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT),
	ASK(.times = ARGO_NOTIFY_MAX + 1, .len = 1, .expect = -EACCES),
	CASE("notify: what an entry says", ARGO_ON),
	REG(.len = SMALL),
	ASK(.len = 0, .flags = ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT),
	ASK(.len = SMALL - 32, .flags = ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT),
	ASK(.len = SMALL - 31, .flags = ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_EMSGSIZE),
	SEND(.len = 16, .expect = 16),
	ASK(.len = 48, .flags = ARGO_RING_EXISTS | ARGO_RING_SUFFICIENT),
	ASK(.len = 49, .flags = ARGO_RING_EXISTS),
	ASK(.port = PORT + 1, .len = 1, .flags = 0),
	ASK(.who = NOBODY, .len = 1, .flags = 0),
	/* The wait of the one before the last three. */
	EVENT,
	READ(.len = 16),
	WAKE(),
	EVENT,
	CASE("notify: an entry that is told of room gives up its wait", ARGO_ON),
	REG(.len = SMALL),
	SEND(.len = 48, .expect = 48),
	SEND(.len = 40, .expect = -EAGAIN),
	EVENT,
	READ(.len = 48),
	SEND(.len = 48, .expect = 48),
	EVENT,
	ASK(.len = 16, .flags = ARGO_RING_EXISTS | ARGO_RING_SUFFICIENT),
	READ(.len = 48),
	WAKE(),
	QUIET,
	CASE("notify: whoever waits for room for no bytes is not told while exactly that is free",
	     ARGO_ON),
	REG(.len = SMALL),
	SEND(.times = 6, .expect = 0),
	SEND(.expect = -EAGAIN),
	EVENT,
	READ(),
	WAKE(),
	QUIET,
	SEND(.expect = 0),
	EVENT,
	READ(),
	READ(),
	WAKE(),
	EVENT,
	CASE("notify: a ring of everybody is shared", ARGO_ON | ARGO_PERMISSIVE),
	REG(.who = ANY),
	ASK(.len = 1,
	    .flags = ARGO_RING_EXISTS | ARGO_RING_SHARED | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT),

	CASE("two domains: a message each way", ARGO_ON | ARGO_PAIR | ARGO_ALLOWED),
	REG(.who = PEER),
	REG(.peer = true, .who = PEER),
	SEND(.who = PEER, .len = 100, .expect = 100),
	READ(.peer = true, .who = PEER, .len = 100),
	SEND(.peer = true, .who = PEER, .len = 200, .expect = 200),
	READ(.who = PEER, .len = 200),
	CASE("two domains: who may send to whose ring", ARGO_ON | ARGO_PAIR | ARGO_ALLOWED),
	REG(),
	SEND(.peer = true, .who = PEER, .len = 1, .expect = -ECONNREFUSED),
	EMPTY(),
	REG(.port = PORT + 1, .who = PEER),
	SEND(.port = PORT + 1, .len = 1, .expect = -ECONNREFUSED),
	ASK(.peer = true, .who = PEER, .len = 1, .flags = 0),
	CASE("two domains: nobody sends in another one's name", ARGO_ON | ARGO_PAIR | ARGO_ALLOWED),
	REG(.who = PEER),
	SEND(.peer = true, .who = PEER, .src = PEER, .len = 1, .expect = -EPERM),
	EMPTY(.who = PEER),
	CASE("two domains: a partner need not agree", ARGO_ON | ARGO_PAIR | ARGO_ALLOWED),
	REG(.who = PEER, .times = 4),
	UNREG(.peer = true, .who = PEER, .expect = -ENOENT),
	CASE("two domains: the exact partner's ring comes before that of everybody",
	     ARGO_ON | ARGO_PAIR | ARGO_PERMISSIVE | ARGO_ALLOWED),
	REG(.who = ANY),
	SEND(.peer = true, .who = PEER, .len = 3, .expect = 3),
	READ(.who = ANY, .src = PEER, .len = 3),
	REG(.who = PEER),
	SEND(.peer = true, .who = PEER, .len = 4, .expect = 4),
	READ(.who = PEER, .len = 4),
	EMPTY(.who = ANY),
	SEND(.len = 5, .expect = 5),
	READ(.who = ANY, .len = 5),
	CASE("two domains: full, and what the other one is told",
	     ARGO_ON | ARGO_PAIR | ARGO_ALLOWED),
	REG(.who = PEER, .len = SMALL),
	SEND(.peer = true, .who = PEER, .len = 48, .expect = 48),
	SEND(.peer = true, .who = PEER, .len = 48, .expect = -EAGAIN),
	ASK(.peer = true, .who = PEER, .len = 48, .flags = ARGO_RING_EXISTS),
	READ(.who = PEER, .len = 48),
	WAKE(),
	SEND(.peer = true, .who = PEER, .len = 48, .expect = 48),
	READ(.who = PEER, .len = 48),

	CASE("refused: neither a ring for the other domain nor a message to it",
	     ARGO_ON | ARGO_PAIR | ARGO_REFUSED),
	REG(.who = PEER, .expect = DENIED),
	SEND(.who = PEER, .len = 1, .expect = DENIED),
	ASK(.who = PEER, .len = 1, .expect = DENIED),
	REG(.peer = true, .who = PEER, .expect = DENIED),
	SEND(.peer = true, .who = PEER, .len = 1, .expect = DENIED),
	REG(),
	SEND(.len = 1, .expect = 1),
	READ(.len = 1),

	/* These leave the domain's count of rings too high. */
	CASE("register: again, which takes other pages and counts once more", ARGO_ON | ARGO_SPOIL),
	REG(),
	SEND(.len = 8, .expect = 8),
	REG(),
	EMPTY(),
	SEND(.len = 10, .expect = 10),
	READ(.len = 10),
	REG(.port = PORT + 1, .len = 48, .times = ARGO_RINGS_MAX - 2),
	REG(.port = PORT + ARGO_RINGS_MAX, .len = 48, .expect = -ENOSPC),
	CASE("register: again with frames that are none, which ends the ring that was",
	     ARGO_ON | ARGO_REAL | ARGO_SPOIL),
	REG(),
	SEND(.len = 8, .expect = 8),
	REG(.bad_frame = true, .expect = -EINVAL),
	SEND(.len = 8, .expect = -ECONNREFUSED),
	UNREG(.expect = -ENOENT),

	CASE("a domain that has ended", ARGO_ON | ARGO_LONE),
	REG(.who = PEER, .expect = -ESRCH),
	SEND(.who = PEER, .len = 1, .expect = -ESRCH),
	ASK(.who = PEER, .len = 1, .flags = 0),
};

#pragma GCC diagnostic pop

struct run {
	struct argo_side *side;
	const struct argo_step *step;
	char *why;
	size_t why_len;
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, r->why_len, fmt, ap);
	va_end(ap);
	return -1;
}

static uint16_t who_domid(const struct argo_side *side, enum argo_who who)
{
	const uint16_t domids[WHO_CNT_] = {
		[SELF] = side->domid,
		[PEER] = side->peer,
		[ANY] = ARGO_DOMID_ANY,
		[NOBODY] = NOBODY_DOMID,
	};

	return domids[who];
}

static const void *argument(const struct run *r, enum argo_arg kind, const void *right)
{
	switch (kind) {
	case NONE:
		return NULL;
	case UNREADABLE:
		return r->side->unreadable;
	case SOME:
		return r->side->buffer;
	default:
		return right;
	}
}

static int64_t call(const struct run *r, unsigned int cmd, const void *arg1, const void *arg2,
		    uint64_t arg3, uint64_t arg4)
{
	const struct argo_side *side = r->side;
	int64_t ret = side->ops->op(side->ctx, cmd, argument(r, r->step->arg1, arg1),
				    argument(r, r->step->arg2, arg2), arg3, arg4);

	/* Errors of sendv come zero-extended; no result is larger than a positive int. */
	return (int32_t)ret;
}

static int judge(const struct run *r, int64_t ret)
{
	int expect = r->step->expect == DENIED ? r->side->denied : r->step->expect;

	if (ret != expect)
		return wrong(r, "the result is %lld and not %d", (long long)ret, expect);
	return 0;
}

static uint32_t pages_for(uint32_t len)
{
	return (uint32_t)((len + sizeof(struct argo_ring) + ARGO_PAGE_SIZE - 1) / ARGO_PAGE_SIZE);
}

static struct argo_side_ring *ring_find(struct argo_side *side, uint32_t port, uint16_t partner)
{
	for (size_t i = 0; i < ARGO_SIDE_RINGS; i++) {
		struct argo_side_ring *ring = &side->rings[i];

		if (ring->used && ring->port == port && ring->partner == partner)
			return ring;
	}
	return NULL;
}

static struct argo_side_ring *ring_slot(struct argo_side *side)
{
	for (size_t i = 0; i < ARGO_SIDE_RINGS; i++) {
		if (!side->rings[i].used)
			return &side->rings[i];
	}
	return NULL;
}

static void ring_drop(struct argo_side *side, struct argo_side_ring *ring)
{
	side->ops->frames_free(side->ctx, &ring->frames);
	ring->used = false;
}

/* Into the buffer, where the hypervisor can read them. */
#define IN_BUFFER(side, off, type) ((type *)(void *)((side)->buffer + (off)))

static int register_one(const struct run *r, uint32_t port)
{
	static const uint64_t nonsense = UINT64_MAX >> 16;
	struct argo_register_ring *reg = IN_BUFFER(r->side, 0, struct argo_register_ring);
	const struct argo_step *s = r->step;
	uint32_t pages = s->pages ? s->pages : pages_for(s->len);
	struct argo_side_ring *ring = ring_slot(r->side);
	struct argo_side_ring *before = ring_find(r->side, port, who_domid(r->side, s->who));
	int64_t ret;

	if (!ring || r->side->ops->frames_new(r->side->ctx, pages, &ring->frames))
		return wrong(r, "no memory for a ring of %u pages", pages);
	*ring = (struct argo_side_ring){
		.used = true,
		.port = port,
		.partner = who_domid(r->side, s->who),
		.len = s->len,
		.frames = ring->frames,
	};
	*reg = (struct argo_register_ring){
		.port = port,
		.partner = ring->partner,
		.pad = s->pad,
		.len = s->len,
	};
	memcpy(r->side->buffer + 64, &nonsense, sizeof(nonsense));
	ret = call(r, ARGO_OP_REGISTER_RING, reg,
		   s->bad_frame ? r->side->buffer + 64 : ring->frames.arg2, pages, s->flags);
	if (ret)
		ring_drop(r->side, ring);
	/* Its pages were let go of: by a success, or with the ring itself. */
	if (before && (!ret || s->bad_frame))
		ring_drop(r->side, before);
	return judge(r, ret);
}

static int do_register(const struct run *r)
{
	uint32_t times = r->step->times ? r->step->times : 1;
	int err = 0;

	for (uint32_t i = 0; i < times && !err; i++)
		err = register_one(r, r->step->port + i);
	return err;
}

static int do_unregister(const struct run *r)
{
	struct argo_unregister_ring *unreg = IN_BUFFER(r->side, 0, struct argo_unregister_ring);
	const struct argo_step *s = r->step;
	struct argo_side_ring *ring;
	int64_t ret;

	*unreg = (struct argo_unregister_ring){
		.port = s->port,
		.partner = who_domid(r->side, s->who),
		.pad = s->pad,
	};
	ring = ring_find(r->side, unreg->port, unreg->partner);
	ret = call(r, ARGO_OP_UNREGISTER_RING, unreg, NULL, 0, 0);
	if (!ret && ring)
		ring_drop(r->side, ring);
	return judge(r, ret);
}

/* Byte @i of each message: no two places in a ring look alike. */
static char pattern(uint32_t i)
{
	return (char)(i * 7 + (i >> 8) + 1);
}

static int do_sendv(const struct run *r)
{
	struct argo_send_addr *addr = IN_BUFFER(r->side, 0, struct argo_send_addr);
	struct argo_iov *iov = IN_BUFFER(r->side, 64, struct argo_iov);
	const struct argo_step *s = r->step;
	uint32_t cnt = s->iovs == NO_IOVS ? 0 : s->iovs ? s->iovs : 1;
	char *bytes = r->side->buffer + 4096;

	*addr = (struct argo_send_addr){
		.src = { .port = s->src_port, .domid = who_domid(r->side, s->src), .pad = s->pad },
		.dst = { .port = s->port, .domid = who_domid(r->side, s->who), .pad = s->dst_pad },
	};
	for (uint32_t i = 0; i < cnt; i++) {
		const char *base = bytes + (s->len <= PAGE ? (size_t)i * s->len : 0);

		if (s->bad_iov && i == cnt - 1)
			base = r->side->unreadable;
		iov[i] = (struct argo_iov){ .base = (uintptr_t)base,
					    .len = s->len,
					    .pad = s->iov_pad };
	}
	for (uint32_t i = 0; i < s->len * (s->len <= PAGE ? cnt : 1); i++)
		bytes[i] = pattern(i);
	for (uint32_t i = 1; i < s->times; i++) {
		if (judge(r, call(r, ARGO_OP_SENDV, addr, iov, cnt, s->type)))
			return -1;
	}
	return judge(r, call(r, ARGO_OP_SENDV, addr, iov, cnt, s->type));
}

static int do_notify(const struct run *r)
{
	return judge(r, call(r, ARGO_OP_NOTIFY, NULL, NULL, 0, 0));
}

static int do_query(const struct run *r)
{
	struct argo_ring_data *data = IN_BUFFER(r->side, 0, struct argo_ring_data);
	struct argo_ring_data_ent *ent = IN_BUFFER(r->side, sizeof(*data),
						   struct argo_ring_data_ent);
	const struct argo_step *s = r->step;
	uint32_t cnt = s->times ? s->times : 1;
	const struct argo_side_ring *ring = NULL;
	int64_t ret;

	*data = (struct argo_ring_data){ .nent = cnt };
	for (uint32_t i = 0; i < cnt; i++)
		ent[i] = (struct argo_ring_data_ent){
			.ring = { .port = s->port, .domid = who_domid(r->side, s->who) },
			.flags = 0xffff,
			.space = s->len,
			.max_message = 0x5a5a,
		};
	ret = call(r, ARGO_OP_NOTIFY, data, NULL, 0, 0);
	if (ret || s->expect)
		return judge(r, ret);
	if (s->who == SELF)
		ring = ring_find(r->side, s->port, r->side->domid);
	for (uint32_t i = 0; i < cnt; i++) {
		if (ent[i].flags != s->flags)
			return wrong(r, "entry %u has flags %#x and not %#x", i, ent[i].flags,
				     s->flags);
		if (!s->flags && ent[i].max_message != 0x5a5a)
			return wrong(r, "entry %u of no ring has a size", i);
		if (ring && ent[i].max_message != ring->len - 32)
			return wrong(r, "entry %u has size %u", i, ent[i].max_message);
	}
	return 0;
}

static int do_call(const struct run *r)
{
	struct argo_unregister_ring *unreg = IN_BUFFER(r->side, 0, struct argo_unregister_ring);

	*unreg = (struct argo_unregister_ring){ .port = PORT, .partner = r->side->domid };
	return judge(r, call(r, r->step->cmd, unreg, NULL, r->step->arg3, r->step->arg4));
}

static char ring_byte(const struct argo_side_ring *ring, uint32_t at)
{
	return ((const char *)(ring->frames.ring + 1))[at % ring->len];
}

static void ring_bytes(const struct argo_side_ring *ring, uint32_t at, void *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *)to)[i] = ring_byte(ring, at + (uint32_t)i);
}

/* From whom a message in this ring must be. */
static uint16_t read_domid(const struct run *r)
{
	if (r->step->src != SELF)
		return who_domid(r->side, r->step->src);
	return r->step->who == PEER ? r->side->peer : r->side->domid;
}

static int read_check(const struct run *r, const struct argo_side_ring *ring, uint32_t rx)
{
	const struct argo_step *s = r->step;
	struct argo_message m;

	ring_bytes(ring, rx, &m, sizeof(m));
	if (m.len != s->len + sizeof(m))
		return wrong(r, "the message has %u bytes and not %zu", m.len, s->len + sizeof(m));
	if (m.src.port != s->src_port || m.src.domid != read_domid(r) || m.src.pad ||
	    m.type != s->type)
		return wrong(r, "it is from port %#x of domain %u, pad %u, type %#x", m.src.port,
			     m.src.domid, m.src.pad, m.type);
	for (uint32_t i = 0; i < s->len; i++) {
		if (ring_byte(ring, rx + (uint32_t)sizeof(m) + i) != pattern(i))
			return wrong(r, "byte %u of the message differs", i);
	}
	return 0;
}

static int do_read(const struct run *r)
{
	struct argo_side_ring *ring = ring_find(r->side, r->step->port,
						who_domid(r->side, r->step->who));
	uint32_t rx, len = (r->step->len + 2 * ARGO_SLOT_SIZE - 1) & ~(ARGO_SLOT_SIZE - 1);
	int err;

	if (!ring)
		return wrong(r, "there is no such ring");
	rx = ring->frames.ring->rx_ptr;
	/* Acquire: what is before tx_ptr was written before it. */
	if (__atomic_load_n(&ring->frames.ring->tx_ptr, __ATOMIC_ACQUIRE) == rx)
		return wrong(r, "there is no message");
	err = read_check(r, ring, rx);
	/* Release: it has been read. */
	__atomic_store_n(&ring->frames.ring->rx_ptr, (rx + len) % ring->len, __ATOMIC_RELEASE);
	return err;
}

static int do_empty(const struct run *r)
{
	struct argo_side_ring *ring = ring_find(r->side, r->step->port,
						who_domid(r->side, r->step->who));

	if (!ring)
		return wrong(r, "there is no such ring");
	if (__atomic_load_n(&ring->frames.ring->tx_ptr, __ATOMIC_ACQUIRE) !=
	    ring->frames.ring->rx_ptr)
		return wrong(r, "there is a message");
	return 0;
}

static int do_set_rx(const struct run *r)
{
	struct argo_side_ring *ring = ring_find(r->side, r->step->port,
						who_domid(r->side, r->step->who));

	if (!ring)
		return wrong(r, "there is no such ring");
	__atomic_store_n(&ring->frames.ring->rx_ptr, r->step->len, __ATOMIC_RELEASE);
	return 0;
}

static int do_event(const struct run *r)
{
	return r->side->ops->event(r->side->ctx, true) ? 0 : wrong(r, "there was no event");
}

static int do_quiet(const struct run *r)
{
	return r->side->ops->event(r->side->ctx, false) ? wrong(r, "there was an event") : 0;
}

static int (*const actions[ARGO_ACTION_CNT_])(const struct run *r) = {
	[ARGO_REGISTER] = do_register, [ARGO_UNREGISTER] = do_unregister, [ARGO_SENDV] = do_sendv,
	[ARGO_NOTIFY] = do_notify,     [ARGO_QUERY] = do_query,		  [ARGO_CALL] = do_call,
	[ARGO_READ] = do_read,	       [ARGO_EMPTY] = do_empty,		  [ARGO_SET_RX] = do_set_rx,
	[ARGO_EVENT] = do_event,       [ARGO_QUIET] = do_quiet,
};

size_t argo_step_cnt(void)
{
	return sizeof(steps) / sizeof(steps[0]);
}

const char *argo_step_case(size_t i, unsigned int *needs)
{
	*needs = steps[i].needs;
	return steps[i].name;
}

bool argo_step_is_peer(size_t i)
{
	return steps[i].peer;
}

int argo_step_run(struct argo_side *side, size_t i, char *why, size_t why_len)
{
	struct run r = { .side = side, .step = &steps[i], .why = why, .why_len = why_len };

	return actions[steps[i].action](&r);
}

void argo_side_clear(struct argo_side *side)
{
	struct argo_unregister_ring *unreg = IN_BUFFER(side, 0, struct argo_unregister_ring);

	for (size_t i = 0; i < ARGO_SIDE_RINGS; i++) {
		struct argo_side_ring *ring = &side->rings[i];

		if (!ring->used)
			continue;
		*unreg = (struct argo_unregister_ring){ .port = ring->port,
							.partner = ring->partner };
		side->ops->op(side->ctx, ARGO_OP_UNREGISTER_RING, unreg, NULL, 0, 0);
		ring_drop(side, ring);
	}
	side->ops->event(side->ctx, false);
}
