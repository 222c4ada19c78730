// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhx-scale: what things cost on this machine right now, to read other figures against. Copies, a wake
 * across CPUs and on one CPU, and the exchange alone by provider and message size. One JSON object.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "exchange/argo_model.h"
#include "exchange/local.h"
#include "exchange/loopback.h"

#define NS_PER_S 1000000000ull
#define POINT_NS (60 * 1000000ull)
#define COLD_LEN (256u << 20) /* beyond any cache */
#define RING_LEN (2u << 20) /* takes the largest message */
#define TYPE_DATA 1u
#define TYPE_END 2u /* of a stream: answer it */
#define TYPE_STOP 3u
#define SIZE_MAX_ (256u << 10)

static unsigned int cpu_a, cpu_b;

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "vhx-scale: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint8_t *pages(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("memory");
	return p;
}

/* Copies: GB/s */

static double copy_gbs(size_t len, bool cold)
{
	static uint8_t *from, *to;
	size_t span = cold ? COLD_LEN : len, at = 0;
	uint64_t begin, now, bytes = 0;

	if (!from) {
		from = pages(COLD_LEN);
		to = pages(COLD_LEN);
	}
	memset(from, 0x5a, span);
	memcpy(to, from, span);
	begin = clock_ns();
	do {
		memcpy(to + at, from + at, len);
		at = at + 2 * len <= span ? at + len : 0;
		bytes += len;
		now = clock_ns();
	} while (now - begin < POINT_NS);
	return (double)bytes / (double)(now - begin);
}

static void copies(void)
{
	static const struct {
		const char *name;
		size_t len;
	} sizes[] = { { "4K", 4u << 10 }, { "64K", 64u << 10 }, { "1M", 1u << 20 } };
	size_t i;

	printf("\"memcpy_gbs\": {");
	for (i = 0; i < VHX_ARRAY_SIZE(sizes); i++)
		printf("%s\"hot %s\": %.1f, \"cold %s\": %.1f", i ? ", " : "", sizes[i].name,
		       copy_gbs(sizes[i].len, false), sizes[i].name, copy_gbs(sizes[i].len, true));
	printf("}, ");
}

/* Wakes: microseconds one way, by eventfd */

static void ping(int mine, int theirs, unsigned int cnt)
{
	uint64_t v = 1;

	while (cnt--) {
		if (write(theirs, &v, sizeof(v)) != sizeof(v) ||
		    read(mine, &v, sizeof(v)) != sizeof(v))
			die("ping");
		v = 1;
	}
}

static void pong(int mine, int theirs)
{
	uint64_t v;

	while (read(mine, &v, sizeof(v)) == sizeof(v)) {
		v = 1;
		if (write(theirs, &v, sizeof(v)) != sizeof(v))
			return;
	}
}

static double wake_us(unsigned int cpu)
{
	const unsigned int cnt = 1000;
	int a = eventfd(0, EFD_CLOEXEC), b = eventfd(0, EFD_CLOEXEC);
	uint64_t begin, end;
	pid_t child = fork();

	if (child < 0 || a < 0 || b < 0)
		die("wake");
	if (!child) {
		pin(cpu);
		pong(b, a);
		_exit(0);
	}
	pin(cpu_a);
	ping(a, b, cnt / 10);
	begin = clock_ns();
	ping(a, b, cnt);
	end = clock_ns();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(a);
	close(b);
	return (double)(end - begin) / cnt / 2 / 1000;
}

/* The exchange */

static void port_sleep(struct vhx_port *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };
	int ret = vhx_port_prepare_wait(p);

	if (ret)
		return;
	poll(&fd, 1, -1);
	vhx_port_event(p);
}

static int send_one(struct vhx_port *p, uint32_t type, void *buf, uint32_t len)
{
	struct iovec iov = { buf, len };
	int ret;

	while ((ret = vhx_port_send(p, type, &iov, 1)) == -EAGAIN)
		port_sleep(p);
	return ret;
}

/* Sends for the time of a point; returns how many. */
static uint64_t stream_send(struct vhx_port *p, uint32_t len, uint64_t *ns)
{
	static uint8_t buf[SIZE_MAX_];
	uint64_t begin, cnt = 0, now;

	memset(buf, 0x5a, sizeof(buf)); /* or all of it is one page of zeroes */
	begin = clock_ns();
	do {
		if (send_one(p, TYPE_DATA, buf, len))
			return 0;
		now = ++cnt % 16 ? begin : clock_ns();
	} while (now - begin < POINT_NS);
	send_one(p, TYPE_END, NULL, 0);
	/* The answer means that all of it was read. */
	for (;;) {
		struct vhx_msg msg;
		int ret = vhx_port_peek(p, &msg);

		if (ret)
			break;
		port_sleep(p);
	}
	*ns = clock_ns() - begin;
	vhx_port_consume(p);
	return cnt;
}

static void *stream_receive(void *arg)
{
	static uint8_t buf[SIZE_MAX_];
	struct vhx_port *p = arg;
	struct vhx_msg msg;
	int ret;

	pin(cpu_b);
	while ((ret = vhx_port_peek(p, &msg)) >= 0) {
		if (!ret) {
			port_sleep(p);
			continue;
		}
		vhx_port_read(p, 0, buf, msg.len);
		vhx_port_consume(p);
		if (msg.type == TYPE_STOP)
			break;
		if (msg.type == TYPE_END && send_one(p, TYPE_END, NULL, 0))
			break;
	}
	return NULL;
}

static struct vhx_port *local_port(int sock)
{
	struct vhx_port *p;

	if (vhx_local_open(sock, RING_LEN, &p))
		die("local");
	while (!vhx_port_ready(p))
		port_sleep(p);
	return p;
}

static struct vhx_port *local_start(pid_t *child)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		die("socketpair");
	*child = fork();
	if (*child < 0)
		die("fork");
	if (!*child) {
		close(socks[0]);
		stream_receive(local_port(socks[1]));
		_exit(0);
	}
	close(socks[1]);
	return local_port(socks[0]);
}

static void measure(const char *name, struct vhx_port *p)
{
	static const uint32_t sizes[] = { 64, 512, 4096, 16384, 65536, SIZE_MAX_ };
	uint64_t ns = 1, cnt;
	size_t i;

	pin(cpu_a);
	printf("\"%s\": [", name);
	for (i = 0; i < VHX_ARRAY_SIZE(sizes) && sizes[i] <= p->max_message; i++) {
		cnt = stream_send(p, sizes[i], &ns);
		printf("%s{\"size\": %u, \"per_s\": %.0f, \"gbs\": %.2f}", i ? ", " : "", sizes[i],
		       (double)cnt * NS_PER_S / (double)ns, (double)cnt * sizes[i] / (double)ns);
	}
	printf("]");
}

static void exchange_threads(const char *name, int (*pair)(uint32_t, struct vhx_port *[2]))
{
	struct vhx_port *ends[2];
	pthread_t thread;

	errno = -pair(RING_LEN, ends);
	if (errno)
		die(name);
	if (pthread_create(&thread, NULL, stream_receive, ends[1]))
		die(name);
	measure(name, ends[0]);
	/* Not every provider tells of a death by itself. */
	send_one(ends[0], TYPE_STOP, NULL, 0);
	pthread_join(thread, NULL);
	vhx_port_close(ends[0]);
	vhx_port_close(ends[1]);
}

static void exchange_processes(void)
{
	struct vhx_port *p;
	pid_t child;

	p = local_start(&child);
	measure("local", p);
	vhx_port_close(p);
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	cpu_a = argc > 1 ? (unsigned int)atoi(argv[1]) : 0;
	cpu_b = argc > 2 ? (unsigned int)atoi(argv[2]) : cpus > 1;
	setvbuf(stdout, NULL, _IONBF, 0); /* children inherit no half of a line */
	printf("{");
	copies();
	printf("\"wake_us\": {\"across CPUs\": %.1f, \"same CPU\": %.1f}, \"exchange\": {",
	       wake_us(cpu_b), wake_us(cpu_a));
	exchange_processes();
	printf(", ");
	exchange_threads("loop", vhx_loopback_pair);
	printf(", ");
	exchange_threads("argo-model", vhx_argo_model_pair);
	printf("}}\n");
	return EXIT_SUCCESS;
}
