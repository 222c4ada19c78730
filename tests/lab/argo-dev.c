// SPDX-License-Identifier: BSD-3-Clause
/*
 * argo-dev [--mac-permissive] [ROUNDS]: /dev/argo by what vhx/argo.h promises of it, and by what it refuses.
 *
 * Runs as root in any domain of a Xen with Argo; messages go from the domain to itself. Prints a line for each
 * test, then hammers the device from several processes with ROUNDS (2000) random calls each, most of them
 * nonsense. Exits with 0 if all tests passed. That the kernel has nothing to complain of is for the caller to look
 * up. Nothing here passes or fails by a time.
 */
#include <vhx/argo.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HANG_GUARD_MS 20000
#define NOBODY 65534
#define ABSENT_DOMAIN 0x7000
#define ABSENT_PORT 0x12345u
#define RING_LEN (16u * 4096u - 64u)
#define HAMMERS 3

struct end {
	int fd;
	uint32_t port, len, rx_ptr;
	struct argo_ring *ring;
};

static uint16_t self;
static bool permissive;
static unsigned int failures;

#define CHECK(what)                                                                   \
	do {                                                                          \
		if (!(what)) {                                                        \
			printf("  line %d: %s (errno %d)\n", __LINE__, #what, errno); \
			return false;                                                 \
		}                                                                     \
	} while (0)

/* ---- an endpoint ---- */

static int call(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

static int end_open(struct end *e)
{
	*e = (struct end){ .fd = open(HMX_ARGO_DEVICE, O_RDWR | O_CLOEXEC) };
	return e->fd < 0 ? -errno : 0;
}

static int end_bind(struct end *e, uint32_t port, uint16_t partner, uint32_t len)
{
	struct hmx_argo_bind bind = { .port = port, .partner = partner, .len = len };
	int ret = call(e->fd, HMX_ARGO_BIND, &bind);

	if (ret)
		return ret;
	e->port = bind.port;
	e->len = len;
	e->rx_ptr = 0;
	return 0;
}

static int end_map(struct end *e)
{
	void *p = mmap(NULL, e->len + sizeof(struct argo_ring), PROT_READ, MAP_SHARED, e->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	e->ring = p;
	return 0;
}

/* Bound to any port for messages of our own, and mapped. */
static int end_make(struct end *e, uint32_t len)
{
	int ret = end_open(e);

	if (!ret)
		ret = end_bind(e, 0, self, len);
	return ret ? ret : end_map(e);
}

static void end_close(struct end *e)
{
	if (e->ring)
		munmap(e->ring, e->len + sizeof(struct argo_ring));
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
	e->ring = NULL;
}

static int send_iov(int fd, uint32_t src, uint32_t dst, uint32_t type,
		    const struct hmx_argo_iov *iov, unsigned int cnt)
{
	struct hmx_argo_sendv s = {
		.iov = (uintptr_t)iov,
		.nr_iov = cnt,
		.type = type,
		.src_port = src,
		.dst_port = dst,
		.dst_domid = self,
	};

	return call(fd, HMX_ARGO_SENDV, &s);
}

static int send_bytes(int fd, uint32_t dst, uint32_t type, const void *bytes, uint32_t len)
{
	struct hmx_argo_iov iov = { .addr = (uintptr_t)bytes, .len = len };

	return send_iov(fd, 0, dst, type, &iov, 1);
}

static int consume(struct end *e, uint32_t rx_ptr, uint32_t notify_above)
{
	struct hmx_argo_consume c = { .rx_ptr = rx_ptr, .notify_above = notify_above };
	int ret = call(e->fd, HMX_ARGO_CONSUME, &c);

	if (ret >= 0)
		e->rx_ptr = rx_ptr;
	return ret;
}

static short polled(int fd, short events, int timeout)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, timeout) == 1 ? p.revents : 0;
}

static void ring_copy(const struct end *e, uint32_t at, void *dst, uint32_t len)
{
	const uint8_t *data = (const uint8_t *)(e->ring + 1);

	for (uint32_t i = 0; i < len; i++)
		((uint8_t *)dst)[i] = data[(at + i) % e->len];
}

/* The next message into @bytes of @cap; its length, or -1: none. Consumes it. */
static int take(struct end *e, struct argo_message *header, void *bytes, uint32_t cap)
{
	uint32_t tx = __atomic_load_n(&e->ring->tx_ptr, __ATOMIC_ACQUIRE), len;

	if (tx == e->rx_ptr)
		return -1;
	ring_copy(e, e->rx_ptr, header, sizeof(*header));
	len = header->len - (uint32_t)sizeof(*header);
	ring_copy(e, e->rx_ptr + (uint32_t)sizeof(*header), bytes, len < cap ? len : cap);
	if (consume(e, (e->rx_ptr + ((header->len + 15) & ~15u)) % e->len, HMX_ARGO_NOTIFY_NEVER) <
	    0)
		return -1;
	return (int)len;
}

/* ---- tests ---- */

static bool test_info(void)
{
	struct hmx_argo_info info = { 0 };
	struct end e;

	CHECK(!end_open(&e));
	CHECK(!call(e.fd, HMX_ARGO_INFO, &info));
	CHECK(info.domid < ARGO_DOMID_ANY && info.iovs_max == ARGO_IOVS_MAX);
	CHECK(info.ring_len_max == ARGO_RING_LEN_MAX && info.message_max >= VHX_ARGO_SEND_MAX);
	self = info.domid;
	CHECK(call(e.fd, _IO('H', 0x3f), NULL) == -ENOTTY);
	end_close(&e);
	return true;
}

static bool test_ring_is_read_only(void)
{
	struct end e;

	CHECK(!end_open(&e));
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, e.fd, 0) == MAP_FAILED && errno == ENOTCONN);
	CHECK(!end_bind(&e, 0, self, RING_LEN));
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, e.fd, 0) == MAP_FAILED);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, e.fd, 0) == MAP_FAILED);
	CHECK(mmap(NULL, RING_LEN + 64 + 4096, PROT_READ, MAP_SHARED, e.fd, 0) == MAP_FAILED);
	CHECK(!end_map(&e));
	CHECK(mprotect(e.ring, 4096, PROT_READ | PROT_WRITE) && errno == EACCES);
	end_close(&e);
	return true;
}

static bool test_message_of_eight_pieces(void)
{
	struct hmx_argo_iov iov[ARGO_IOVS_MAX + 1] = { 0 };
	struct argo_message header;
	char got[64] = "";
	struct end a, b;

	CHECK(!end_make(&a, RING_LEN) && !end_make(&b, RING_LEN));
	CHECK(!polled(b.fd, POLLIN, 0) && polled(b.fd, POLLOUT, 0) == POLLOUT);
	for (int i = 0; i < 9; i++)
		iov[i] = (struct hmx_argo_iov){ .addr = (uintptr_t) "abcdefgh",
						.len = (uint32_t)(i % 3) };
	CHECK(send_iov(a.fd, 0, b.port, 7, iov, 9) == -EINVAL);
	CHECK(send_iov(a.fd, 0, b.port, 7, iov, 8) == 7);
	CHECK(polled(b.fd, POLLIN, HANG_GUARD_MS) == POLLIN);
	CHECK(take(&b, &header, got, sizeof(got)) == 7);
	CHECK(!memcmp(got, "aabaaba", 7) && header.type == 7);
	CHECK(header.src.domid == self && header.src.port == a.port && !header.src.pad);
	CHECK(!polled(b.fd, POLLIN, 0));
	CHECK(send_iov(a.fd, 0, b.port, 8, NULL, 0) == 0);
	CHECK(take(&b, &header, got, sizeof(got)) == 0 && header.type == 8);
	iov[0].pad = 1;
	CHECK(send_iov(a.fd, 0, b.port, 7, iov, 1) == -EINVAL);
	end_close(&a);
	end_close(&b);
	return true;
}

static uint8_t pattern(uint32_t seed, uint32_t i)
{
	return (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static bool test_bytes_survive_the_wrap(void)
{
	static uint8_t out[20000], in[20000];
	struct argo_message header;
	struct end e;

	CHECK(!end_make(&e, RING_LEN));
	for (uint32_t n = 0; n < 200; n++) {
		uint32_t len = n * 97 % sizeof(out);

		for (uint32_t i = 0; i < len; i++)
			out[i] = pattern(n, i);
		CHECK(send_bytes(e.fd, e.port, n, out, len) == (int)len);
		CHECK(take(&e, &header, in, sizeof(in)) == (int)len);
		CHECK(header.type == n && !memcmp(in, out, len));
	}
	end_close(&e);
	return true;
}

static bool test_pages_that_were_never_touched(void)
{
	uint8_t *p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	uint8_t *text = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, open("/proc/self/exe", O_RDONLY),
			     0);
	static uint8_t in[1 << 16];
	struct argo_message header;
	struct end e;

	CHECK(p != MAP_FAILED && text != MAP_FAILED);
	CHECK(!end_make(&e, 4 * RING_LEN));
	CHECK(send_bytes(e.fd, e.port, 1, p, 1 << 16) == 1 << 16);
	CHECK(take(&e, &header, in, sizeof(in)) == 1 << 16);
	for (uint32_t i = 0; i < sizeof(in); i++)
		CHECK(!in[i]);
	CHECK(send_bytes(e.fd, e.port, 1, text, 4096) == 4096);
	CHECK(take(&e, &header, in, sizeof(in)) == 4096 && !memcmp(in + 1, "ELF", 3));
	end_close(&e);
	munmap(p, 1 << 16);
	munmap(text, 4096);
	return true;
}

static bool test_addresses_that_are_not_ours(void)
{
	static const uint64_t bad[] = { 1,
					0xffffffff81000000ull,
					0xffff888000000000ull,
					0x7ffffffff000ull,
					0x800000000000ull,
					UINT64_MAX - 16 };
	uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct end e;

	CHECK(p != MAP_FAILED && !munmap(p + 4096, 4096));
	CHECK(!end_make(&e, RING_LEN));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct hmx_argo_iov iov = { .addr = bad[i], .len = 64 };

		CHECK(send_iov(e.fd, 0, e.port, 1, &iov, 1) == -EFAULT);
		CHECK(send_iov(e.fd, 0, e.port, 1, (void *)(uintptr_t)bad[i], 1) == -EFAULT);
		CHECK(call(e.fd, HMX_ARGO_SENDV, (void *)(uintptr_t)bad[i]) == -EFAULT);
		CHECK(call(e.fd, HMX_ARGO_BIND, (void *)(uintptr_t)bad[i]) == -EFAULT);
	}
	CHECK(send_bytes(e.fd, e.port, 1, p + 4000, 200) == -EFAULT);
	CHECK(__atomic_load_n(&e.ring->tx_ptr, __ATOMIC_ACQUIRE) == 0);
	end_close(&e);
	munmap(p, 4096);
	return true;
}

static bool test_too_large_for_ever(void)
{
	static uint8_t bytes[RING_LEN];
	struct hmx_argo_iov iov[2] = { { .addr = (uintptr_t)bytes, .len = RING_LEN } };
	struct hmx_argo_info info;
	struct end e;

	CHECK(!end_make(&e, RING_LEN));
	CHECK(!call(e.fd, HMX_ARGO_INFO, &info));
	CHECK(send_bytes(e.fd, e.port, 1, bytes, RING_LEN - 31) == -EMSGSIZE);
	CHECK(send_bytes(e.fd, e.port, 1, bytes, RING_LEN - 32) == (int)RING_LEN - 32);
	iov[0].len = info.message_max;
	iov[1] = (struct hmx_argo_iov){ .addr = (uintptr_t)bytes, .len = 1 };
	CHECK(send_iov(e.fd, 0, e.port, 1, iov, 2) == -EMSGSIZE);
	CHECK(polled(e.fd, POLLOUT, 0) == POLLOUT);
	end_close(&e);
	return true;
}

static bool fill(struct end *from, struct end *to)
{
	static uint8_t bytes[1000];
	int ret;

	do {
		ret = send_bytes(from->fd, to->port, 1, bytes, sizeof(bytes));
	} while (ret == sizeof(bytes));
	CHECK(ret == -EAGAIN);
	return true;
}

/*
 * A refused sender may be told to try again for nothing, since one event serves all: here, by that of its last
 * message. It tries until nobody tells it any more.
 */
static bool settle(struct end *from, struct end *to)
{
	static uint8_t bytes[1000];
	int tries = 0;

	while (polled(from->fd, POLLIN | POLLOUT, 200)) {
		CHECK(tries++ < 50);
		CHECK(send_bytes(from->fd, to->port, 1, bytes, sizeof(bytes)) == -EAGAIN);
	}
	return true;
}

static bool test_refused_sender_is_woken(void)
{
	static uint8_t bytes[1000];
	struct hmx_argo_stats stats;
	struct end a, b;
	uint32_t tx;

	CHECK(!end_make(&a, RING_LEN) && !end_make(&b, RING_LEN));
	CHECK(fill(&a, &b) && settle(&a, &b));
	tx = __atomic_load_n(&b.ring->tx_ptr, __ATOMIC_ACQUIRE);
	/* Who only drains wakes nobody. */
	CHECK(consume(&b, tx, HMX_ARGO_NOTIFY_NEVER) == 0);
	CHECK(!polled(a.fd, POLLIN | POLLOUT, 50));
	CHECK(!call(b.fd, HMX_ARGO_NOTIFY, NULL));
	CHECK(polled(a.fd, POLLIN | POLLOUT, HANG_GUARD_MS) == (POLLIN | POLLOUT));
	CHECK(send_bytes(a.fd, b.port, 1, bytes, sizeof(bytes)) == sizeof(bytes));
	CHECK(polled(a.fd, POLLIN | POLLOUT, 0) == POLLOUT);

	CHECK(fill(&a, &b) && settle(&a, &b));
	tx = __atomic_load_n(&b.ring->tx_ptr, __ATOMIC_ACQUIRE);
	/* Above what it held there is no call; from what it held there is. */
	CHECK(consume(&b, (b.rx_ptr + 16) % b.len, RING_LEN) == 0);
	CHECK(consume(&b, tx, RING_LEN / 2) == 1);
	CHECK(polled(a.fd, POLLIN, HANG_GUARD_MS) == POLLIN);
	CHECK(consume(&a, 0, HMX_ARGO_NOTIFY_NEVER) == 0 && !polled(a.fd, POLLIN, 0));
	CHECK(!call(a.fd, HMX_ARGO_STATS, &stats) && stats.refused >= 2 && stats.notifies == 0);
	CHECK(!call(b.fd, HMX_ARGO_STATS, &stats) && stats.notifies == 2 && stats.registers == 1);
	end_close(&a);
	end_close(&b);
	return true;
}

static bool test_small_send_does_not_end_the_wait_of_a_large_one(void)
{
	static uint8_t bytes[RING_LEN / 2];
	struct end a, b;
	uint32_t tx;

	CHECK(!end_make(&a, RING_LEN) && !end_make(&b, RING_LEN));
	CHECK(fill(&a, &b));
	CHECK(send_bytes(a.fd, b.port, 1, bytes, sizeof(bytes)) == -EAGAIN);
	CHECK(consume(&b, 1024, HMX_ARGO_NOTIFY_NEVER) == 0);
	CHECK(send_bytes(a.fd, b.port, 1, "x", 1) == 1);
	tx = __atomic_load_n(&b.ring->tx_ptr, __ATOMIC_ACQUIRE);
	CHECK(consume(&b, tx, 0) == 1);
	CHECK(polled(a.fd, POLLIN | POLLOUT, HANG_GUARD_MS) == (POLLIN | POLLOUT));
	/* Told, it stays so until it was tried. */
	CHECK(send_bytes(a.fd, b.port, 1, "x", 1) == 1 && polled(a.fd, POLLIN, 0) == POLLIN);
	CHECK(send_bytes(a.fd, b.port, 1, bytes, sizeof(bytes)) == sizeof(bytes));
	CHECK(polled(a.fd, POLLIN | POLLOUT, 0) == POLLOUT);
	end_close(&a);
	end_close(&b);
	return true;
}

/* For the hypervisor, who was told that there is room has been told, whichever program of the domain it was. */
static bool test_answer_to_another_does_not_end_a_wait(void)
{
	static uint8_t bytes[1000];
	struct hmx_argo_query q = { .domid = self, .space = 16 };
	struct end a, b, other;
	uint32_t tx;

	CHECK(!end_make(&a, RING_LEN) && !end_make(&b, RING_LEN) && !end_open(&other));
	CHECK(fill(&a, &b) && settle(&a, &b));
	tx = __atomic_load_n(&b.ring->tx_ptr, __ATOMIC_ACQUIRE);
	CHECK(consume(&b, tx, HMX_ARGO_NOTIFY_NEVER) == 0);
	CHECK(!polled(a.fd, POLLIN | POLLOUT, 50));
	q.port = b.port;
	CHECK(!call(other.fd, HMX_ARGO_QUERY, &q) && (q.flags & ARGO_RING_SUFFICIENT));
	CHECK(polled(a.fd, POLLIN | POLLOUT, HANG_GUARD_MS) == (POLLIN | POLLOUT));
	CHECK(send_bytes(a.fd, b.port, 1, bytes, sizeof(bytes)) == sizeof(bytes));
	end_close(&a);
	end_close(&b);
	end_close(&other);
	return true;
}

static bool test_sender_without_a_ring_is_woken(void)
{
	struct end a, b;

	CHECK(!end_open(&a) && !end_make(&b, RING_LEN));
	CHECK(fill(&a, &b));
	CHECK(polled(a.fd, POLLOUT, HANG_GUARD_MS) == POLLOUT);
	end_close(&a);
	end_close(&b);
	return true;
}

static bool test_consume_is_checked(void)
{
	struct hmx_argo_consume c = { .pad = 1 };
	struct end e;

	CHECK(!end_open(&e) && consume(&e, 0, 0) == -ENOTCONN);
	CHECK(!end_bind(&e, 0, self, RING_LEN) && !end_map(&e));
	CHECK(consume(&e, 8, 0) == -EINVAL && consume(&e, RING_LEN, 0) == -EINVAL);
	CHECK(call(e.fd, HMX_ARGO_CONSUME, &c) == -EINVAL);
	CHECK(call(e.fd, HMX_ARGO_CHECK, NULL) == 0);
	end_close(&e);
	return true;
}

static bool test_nobody_there(void)
{
	struct hmx_argo_sendv s = { .dst_domid = ABSENT_DOMAIN, .dst_port = ABSENT_PORT };
	struct hmx_argo_query q = { .domid = self, .port = ABSENT_PORT };
	struct end e;

	CHECK(!end_make(&e, RING_LEN));
	CHECK(send_bytes(e.fd, ABSENT_PORT, 1, "x", 1) == -ECONNREFUSED);
	CHECK(call(e.fd, HMX_ARGO_SENDV, &s) == -ESRCH);
	CHECK(!call(e.fd, HMX_ARGO_QUERY, &q) && !q.flags);
	q.port = e.port;
	q.space = 100;
	CHECK(!call(e.fd, HMX_ARGO_QUERY, &q));
	CHECK(q.flags == (ARGO_RING_EXISTS | ARGO_RING_EMPTY | ARGO_RING_SUFFICIENT));
	CHECK(q.max_message == RING_LEN - 32);
	s.pad[1] = 1;
	CHECK(call(e.fd, HMX_ARGO_SENDV, &s) == -EINVAL);
	end_close(&e);
	return true;
}

static bool test_bind_is_checked(void)
{
	struct hmx_argo_bind bind = { .partner = self, .len = RING_LEN, .pad = { 0, 0, 1 } };
	struct end a, b;
	int ret;

	CHECK(!end_make(&a, RING_LEN) && !end_open(&b));
	CHECK(call(b.fd, HMX_ARGO_BIND, &bind) == -EINVAL);
	CHECK(end_bind(&b, 0, self, 32) == -EINVAL && end_bind(&b, 0, self, 100) == -EINVAL);
	CHECK(end_bind(&b, 0, self, ARGO_RING_LEN_MAX + 16) == -EINVAL);
	CHECK(end_bind(&b, 0, ABSENT_DOMAIN, RING_LEN) == -ESRCH);
	CHECK(end_bind(&b, a.port, self, RING_LEN) == -EADDRINUSE);
	ret = end_bind(&b, 0, ARGO_DOMID_ANY, RING_LEN);
	CHECK(ret == (permissive ? 0 : -EPERM));
	if (!permissive)
		CHECK(!end_bind(&b, 0, self, 48));
	CHECK(end_bind(&b, b.port + 1, self, b.len) == -EBUSY);
	end_close(&a);
	end_close(&b);
	return true;
}

static bool test_bind_begins_anew(void)
{
	struct argo_message header;
	char got[8];
	struct end e;

	CHECK(!end_make(&e, RING_LEN));
	for (int i = 0; i < 300; i++) {
		CHECK(send_bytes(e.fd, e.port, 1, "old", 3) == 3);
		CHECK(!end_bind(&e, e.port, self, RING_LEN));
		CHECK(!polled(e.fd, POLLIN, 0));
		CHECK(send_bytes(e.fd, e.port, 2, "new", 3) == 3);
		CHECK(take(&e, &header, got, sizeof(got)) == 3 && header.type == 2);
	}
	end_close(&e);
	return true;
}

/* Runs @body in a process of its own, which is nobody's. */
static bool as_nobody(bool (*body)(const struct end *trusted), const struct end *trusted)
{
	struct rlimit lock = { .rlim_cur = 1 << 20, .rlim_max = 1 << 20 };
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		bool good = !setrlimit(RLIMIT_MEMLOCK, &lock) && !setgid(NOBODY) &&
			    !setuid(NOBODY) && body(trusted);

		fflush(stdout);
		_exit(!good);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	return true;
}

static bool nobody_uses_ports(const struct end *trusted)
{
	struct end e, n = { .fd = -1 };

	CHECK(!end_open(&e));
	CHECK(end_bind(&e, VHX_ARGO_PORT_BE, self, 4096) == -EPERM);
	CHECK(end_bind(&e, 0x01000000u | VHX_ARGO_PORT_RESERVED, self, 4096) == -EPERM);
	CHECK(send_bytes(e.fd, VHX_ARGO_PORT_FE, 1, "x", 1) == -EPERM);
	CHECK(send_iov(e.fd, VHX_ARGO_PORT_BE, trusted->port, 1, NULL, 0) == -EPERM);
	CHECK(send_iov(e.fd, trusted->port, trusted->port, 1, NULL, 0) == -EPERM);
	CHECK(send_iov(e.fd, 0, trusted->port, 1, NULL, 0) == 0);
	/* What was opened by who may, may. */
	n.fd = call(trusted->fd, HMX_ARGO_NEW, NULL);
	CHECK(n.fd >= 0 && (fcntl(n.fd, F_GETFD) & FD_CLOEXEC));
	CHECK(!end_bind(&n, 0x02000000u | VHX_ARGO_PORT_RESERVED, self, 4096));
	CHECK(send_iov(n.fd, VHX_ARGO_PORT_BE, trusted->port, 1, NULL, 0) == 0);
	end_close(&n);
	n.fd = call(e.fd, HMX_ARGO_NEW, NULL);
	CHECK(n.fd >= 0 && end_bind(&n, VHX_ARGO_PORT_BE, self, 4096) == -EPERM);
	end_close(&n);
	end_close(&e);
	return true;
}

static bool nobody_takes_memory(const struct end *trusted)
{
	enum { MANY = 200 };
	static struct end ends[MANY];
	unsigned int bound = 0;
	int ret = 0;

	(void)trusted;
	CHECK(!end_open(&ends[0]) && end_bind(&ends[0], 0, self, 1 << 20) == -ENOMEM);
	CHECK(!end_bind(&ends[0], 0, self, (1 << 20) - 64));
	CHECK(!end_open(&ends[1]) && end_bind(&ends[1], 0, self, 48) == -ENOMEM);
	end_close(&ends[0]);
	CHECK(!end_bind(&ends[1], 0, self, 48));
	end_close(&ends[1]);
	while (bound < MANY && !ret) {
		CHECK(!end_open(&ends[bound]));
		ret = end_bind(&ends[bound], 0, self, 48);
		bound += !ret;
	}
	CHECK(ret == -ENOSPC && bound > 64 && bound < ARGO_RINGS_MAX - 16);
	for (unsigned int i = 0; i <= bound; i++)
		end_close(&ends[i]);
	return true;
}

static bool test_rights_of_nobody(void)
{
	struct end e;
	struct stat st;

	CHECK(!stat(HMX_ARGO_DEVICE, &st) && (st.st_mode & 0777) == 0600);
	CHECK(!end_make(&e, RING_LEN));
	CHECK(!chmod(HMX_ARGO_DEVICE, 0666));
	CHECK(as_nobody(nobody_uses_ports, &e));
	CHECK(as_nobody(nobody_takes_memory, &e));
	CHECK(!chmod(HMX_ARGO_DEVICE, 0600));
	end_close(&e);
	return true;
}

static bool test_last_words(void)
{
	struct hmx_argo_iov iov = { .addr = (uintptr_t) "farewell", .len = 8 };
	struct hmx_argo_sendv s = {
		.iov = (uintptr_t)&iov, .nr_iov = 1, .type = 99, .dst_domid = self
	};
	struct argo_message header;
	char got[64];
	struct end e;
	int status;
	pid_t pid;

	CHECK(!end_make(&e, RING_LEN));
	s.dst_port = e.port;
	pid = fork();
	if (!pid) {
		struct end c;

		if (!end_open(&c) && !end_bind(&c, 0, self, 4096) &&
		    !call(c.fd, HMX_ARGO_LAST_WORDS, &s) &&
		    send_bytes(c.fd, e.port, 1, "alive", 5) == 5)
			pause();
		_exit(1);
	}
	CHECK(polled(e.fd, POLLIN, HANG_GUARD_MS) == POLLIN &&
	      take(&e, &header, got, sizeof(got)) == 5);
	CHECK(!polled(e.fd, POLLIN, 50));
	CHECK(!kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	CHECK(polled(e.fd, POLLIN, HANG_GUARD_MS) == POLLIN &&
	      take(&e, &header, got, sizeof(got)) == 8);
	CHECK(header.type == 99 && !memcmp(got, "farewell", 8));
	iov.len = HMX_ARGO_LAST_WORDS_MAX + 1;
	CHECK(call(e.fd, HMX_ARGO_LAST_WORDS, &s) == -EMSGSIZE);
	end_close(&e);
	return true;
}

static const struct {
	const char *name;
	bool (*run)(void);
} tests[] = {
	{ "info", test_info },
	{ "ring is read-only", test_ring_is_read_only },
	{ "message of eight pieces", test_message_of_eight_pieces },
	{ "bytes survive the wrap", test_bytes_survive_the_wrap },
	{ "pages that were never touched", test_pages_that_were_never_touched },
	{ "addresses that are not ours", test_addresses_that_are_not_ours },
	{ "too large for ever", test_too_large_for_ever },
	{ "refused sender is woken", test_refused_sender_is_woken },
	{ "small send does not end the wait of a large one",
	  test_small_send_does_not_end_the_wait_of_a_large_one },
	{ "answer to another does not end a wait", test_answer_to_another_does_not_end_a_wait },
	{ "sender without a ring is woken", test_sender_without_a_ring_is_woken },
	{ "consume is checked", test_consume_is_checked },
	{ "nobody there", test_nobody_there },
	{ "bind is checked", test_bind_is_checked },
	{ "bind begins anew", test_bind_begins_anew },
	{ "rights of nobody", test_rights_of_nobody },
	{ "last words", test_last_words },
};

/* ---- nonsense ---- */

/* A number that is likely to matter. */
static uint64_t odd_number(void)
{
	static const uint64_t some[] = { 0,
					 1,
					 16,
					 48,
					 64,
					 4032,
					 4096,
					 RING_LEN,
					 ARGO_DOMID_ANY,
					 1 << 20,
					 1ull << 32,
					 UINT32_MAX,
					 UINT64_MAX,
					 0xffff888000000000ull,
					 VHX_ARGO_PORT_BE };
	uint64_t n = some[(size_t)rand() % (sizeof(some) / sizeof(*some))];

	return rand() % 4 ? n : n + (uint64_t)rand() % 64;
}

static void nonsense(int fd)
{
	static const unsigned long requests[] = { HMX_ARGO_INFO,    HMX_ARGO_BIND,
						  HMX_ARGO_CONSUME, HMX_ARGO_SENDV,
						  HMX_ARGO_NOTIFY,  HMX_ARGO_QUERY,
						  HMX_ARGO_CHECK,   HMX_ARGO_LAST_WORDS,
						  HMX_ARGO_STATS };
	unsigned long request = requests[(size_t)rand() % (sizeof(requests) / sizeof(*requests))];
	struct hmx_argo_iov iov[8];
	uint64_t arg[16];

	for (size_t i = 0; i < 8; i++)
		iov[i] = (struct hmx_argo_iov){ .addr = rand() % 2 ? (uintptr_t)iov : odd_number(),
						.len = (uint32_t)odd_number() };
	for (size_t i = 0; i < 16; i++)
		arg[i] = odd_number();
	if (request == HMX_ARGO_SENDV && rand() % 2) {
		struct hmx_argo_sendv s = { .iov = (uintptr_t)iov,
					    .nr_iov = (uint32_t)rand() % 10,
					    .dst_domid = self,
					    .dst_port = 0x1000u + (uint32_t)rand() % 8 };

		ioctl(fd, request, &s);
	} else if (request == HMX_ARGO_BIND && rand() % 4) {
		struct hmx_argo_bind b = { .port = 0x1000u + (uint32_t)rand() % 8,
					   .partner = self,
					   .len = 8192 };

		ioctl(fd, request, &b);
	} else {
		ioctl(fd, request, arg);
	}
}

static void hammer(unsigned int seed, unsigned int rounds)
{
	int fds[4] = { -1, -1, -1, -1 };

	srand(seed);
	for (unsigned int n = 0; n < rounds; n++) {
		int *fd = &fds[rand() % 4];

		if (*fd < 0)
			*fd = open(HMX_ARGO_DEVICE, O_RDWR | O_CLOEXEC);
		nonsense(*fd);
		polled(*fd, POLLIN | POLLOUT, 0);
		if (rand() % 8 == 0) {
			void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, *fd, 0);

			close(*fd);
			*fd = rand() % 2 ? ioctl(fds[0], HMX_ARGO_NEW) : -1;
			if (p != MAP_FAILED)
				munmap(p, 4096);
		}
	}
	_exit(0);
}

static bool hammer_all(unsigned int rounds)
{
	int status;

	fflush(stdout);
	for (unsigned int i = 0; i < HAMMERS; i++) {
		if (!fork())
			hammer(i + 1, rounds);
	}
	for (unsigned int i = 0; i < HAMMERS; i++)
		CHECK(wait(&status) > 0 && WIFEXITED(status) && !WEXITSTATUS(status));
	return true;
}

static void report(const char *name, bool good)
{
	printf("%s argo-dev: %s\n", good ? "ok" : "not ok", name);
	failures += !good;
}

int main(int argc, char **argv)
{
	unsigned int rounds = 2000;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--mac-permissive"))
			permissive = true;
		else
			rounds = (unsigned int)atoi(argv[i]);
	}
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		report(tests[i].name, tests[i].run());
	report("random calls", hammer_all(rounds));
	/* It is all as before. */
	report("sound afterwards", test_bytes_survive_the_wrap());
	return failures ? 1 : 0;
}
