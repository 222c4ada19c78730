// SPDX-License-Identifier: BSD-3-Clause
/*
 * hmx-hostile IMAGE [SPOILS [SEED]]: what does the guest driver make of a backend that lies?
 *
 * Runs as root inside a guest with virtio_hmx and hmx_test. A real backend serves IMAGE over a window to the kernel
 * that it runs on, while processes use the disk that appears; but its messages and the words of the window are
 * spoiled (mutator.h), at least SPOILS times (1000) in as many lives as that takes. Then the same backend,
 * honest, serves a disk that has to work. Exits with 0 if no process was ever shown stale memory and the honest
 * disk was sound. That the kernel has nothing to complain of is for the caller to look up.
 *
 * A *seat* is one open of /dev/hmx_test: a channel of the kernel's. Several lives of the backend use one
 * seat, for the kernel to reconnect; then the seat is taken away, sometimes under a living backend, and all that
 * is in flight has to end with an error for this to go on. New seats also begin without the pause that the driver
 * makes between lives.
 *
 * Nothing here passes or fails by a time: a life that was spoiled is cut off after a while, lest the driver wait
 * for its own time-outs.
 */
#include <vhx/hmx_test.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "device/blk.h"
#include "disk_user.h"
#include "exchange/ivshmem.h"
#include "exchange/section.h"
#include "mutator.h"

#define WINDOW_SIZE (1u << 20)
#define USERS 2
#define REPORT_SEATS 100
#define LIVES_PER_SEAT 6
/* A life after its first spoil, and one in which nothing is spoiled. */
#define SPOILED_LIFE_NS 40000000ull
#define LIFE_NS 200000000ull
/* One life in so many is left in peace, for the disk to be of use. */
#define PEACE_ONE_IN 12
#define BYTES 64 /* events taken at once */

struct hostile {
	struct vhx_loop *loop;
	struct vhx_backend *backend;
	struct vhx_random random;
	uint64_t spoils, spoils_wanted;
	uint64_t lives, seats;
	bool honest;
	/* The seat */
	int window;
	uint8_t *bytes;
	struct vhx_loop_fd bell; /* /dev/hmx_test */
	uint32_t lives_left;
	/* The life */
	struct vhx_loop_fd wire; /* our end of the backend's socket; -1: no life */
	struct vhx_loop_timer end;
	bool cut;
	struct vhx_disk_user_stats *users;
};

static int die(const char *what)
{
	fprintf(stderr, "hmx-hostile: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void life_cut(struct vhx_loop_timer *t)
{
	vhx_container_of(t, struct hostile, end)->cut = true;
}

/* Events: counts on the one side, packets on the other */

static void kernel_ring(struct hostile *h)
{
	const uint64_t one = 1;

	if (write(h->bell.fd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		die("ringing the kernel");
}

static void bell_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct hostile *h = vhx_container_of(w, struct hostile, bell);
	static const char wake;
	uint64_t rings;

	if (read(w->fd, &rings, sizeof(rings)) != sizeof(rings) || h->wire.fd < 0)
		return;
	send(h->wire.fd, &wake, sizeof(wake), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void wire_ready(struct vhx_loop_fd *w, uint32_t events)
{
	struct hostile *h = vhx_container_of(w, struct hostile, wire);
	bool rung = false;
	ssize_t n = 1;
	char byte;
	int i;

	for (i = 0; n > 0 && i < BYTES; i++) {
		n = recv(w->fd, &byte, sizeof(byte), MSG_DONTWAIT);
		rung |= n > 0;
	}
	if (rung)
		kernel_ring(h);
	/* The backend has ended the life. */
	if (!n)
		h->cut = true;
}

/* Lives */

static void life_spoiled(void *ctx)
{
	struct hostile *h = ctx;

	if (h->end.due_ns > vhx_loop_now(h->loop) + SPOILED_LIFE_NS)
		vhx_loop_timer_cancel(h->loop, &h->end);
	if (!h->end.due_ns)
		vhx_loop_timer_arm(h->loop, &h->end, SPOILED_LIFE_NS);
}

static struct vhx_port *life_spoil(struct hostile *h, struct vhx_port *port)
{
	struct vhx_mutator_config cfg = {
		.random = &h->random,
		.target = 1 + vhx_random_below(&h->random, VHX_MUTATOR_TARGET_CNT_ - 1),
		.one_in = 1 + vhx_random_below(&h->random, 6),
		.window = h->bytes,
		.size = WINDOW_SIZE,
		.spoiled = &h->spoils,
		.after = life_spoiled,
		.ctx = h,
	};

	/* Every step of the start is reached in its turn: it has some thirty messages. */
	cfg.skip = vhx_random_below(&h->random, 40);
	if (!vhx_random_below(&h->random, PEACE_ONE_IN))
		cfg.target = VHX_MUTATOR_NOTHING;
	return vhx_mutator_new(port, &cfg);
}

static void life_begin(struct hostile *h)
{
	struct vhx_port *port;
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socks))
		die("socketpair");
	h->wire.fd = socks[0];
	if (vhx_loop_fd_add(h->loop, &h->wire))
		die("loop");
	errno = -vhx_ivshmem_open(socks[1], h->window, WINDOW_SIZE, VHX_WINDOW_HOST, &port);
	if (errno)
		die("opening the window");
	if (!h->honest)
		port = life_spoil(h, port);
	if (!port || vhx_backend_add_port(h->backend, port))
		die("starting a life");
	h->cut = false;
	h->lives++;
	if (!h->honest)
		vhx_loop_timer_arm(h->loop, &h->end, LIFE_NS);
}

static void loop_step(struct hostile *h)
{
	if (vhx_loop_once(h->loop, 20) < 0)
		die("loop");
}

/* Until the backend has noticed. As its socket ends here, it can ring no more: that is done for it. */
static void life_end(struct hostile *h)
{
	vhx_loop_timer_cancel(h->loop, &h->end);
	vhx_loop_fd_del(h->loop, &h->wire);
	close(h->wire.fd);
	h->wire.fd = -1;
	while (vhx_backend_channel_count(h->backend))
		loop_step(h);
	kernel_ring(h);
}

/* Seats */

static void seat_take(struct hostile *h)
{
	struct hmx_test_window w = { .size = WINDOW_SIZE };

	h->window = vhx_ivshmem_window_create(WINDOW_SIZE);
	if (h->window < 0)
		die("making a window");
	h->bytes = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, h->window, 0);
	if (h->bytes == MAP_FAILED)
		die("mapping the window");
	h->bell.fd = open(HMX_TEST_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	w.fd = h->window;
	if (h->bell.fd < 0 || ioctl(h->bell.fd, HMX_TEST_WINDOW, &w))
		die(HMX_TEST_DEVICE);
	if (vhx_loop_fd_add(h->loop, &h->bell))
		die("loop");
	h->lives_left = 1 + vhx_random_below(&h->random, LIVES_PER_SEAT);
	h->seats++;
}

/* Returns when the kernel has ended all that was in flight and given the disk up. */
static void seat_leave(struct hostile *h)
{
	vhx_loop_fd_del(h->loop, &h->bell);
	close(h->bell.fd);
	h->bell.fd = -1;
	munmap(h->bytes, WINDOW_SIZE);
	close(h->window);
}

static void seat_spoil(struct hostile *h)
{
	bool surprise = !vhx_random_below(&h->random, 3);

	seat_take(h);
	while (h->lives_left--) {
		life_begin(h);
		while (!h->cut)
			loop_step(h);
		if (!h->lives_left && surprise)
			break;
		life_end(h);
	}
	if (h->wire.fd < 0) {
		seat_leave(h);
		return;
	}
	/* The kernel's side goes first. What the backend still rings, nobody hears. */
	vhx_loop_timer_cancel(h->loop, &h->end);
	vhx_loop_fd_del(h->loop, &h->wire);
	seat_leave(h);
	close(h->wire.fd);
	h->wire.fd = -1;
	while (vhx_backend_channel_count(h->backend))
		loop_step(h);
}

/* The whole */

static void backend_make(struct hostile *h, const char *image)
{
	struct vhx_backend_config cfg = { .loop = h->loop, .staging = 2 * WINDOW_SIZE };
	struct vhx_blk_config blk = { .id = "disk", .path = image, .fd = -1 };
	struct vhx_device *dev;
	struct vhx_error err;

	if (vhx_backend_new(&cfg, &h->backend))
		die("backend");
	if (vhx_blk_new(h->loop, &blk, NULL, &dev, &err)) {
		fprintf(stderr, "hmx-hostile: %s\n", err.text);
		exit(1);
	}
	if (vhx_backend_add_device(h->backend, dev))
		die("device");
}

static void users_stop(const pid_t *pids, int cnt)
{
	int i;

	for (i = 0; i < cnt; i++)
		kill(pids[i], SIGKILL);
	for (i = 0; i < cnt; i++)
		waitpid(pids[i], NULL, 0);
}

static void report(const struct hostile *h)
{
	const struct vhx_disk_user_stats *u = h->users;

	printf("hmx-hostile: %llu spoils in %llu lives on %llu seats; opens %llu, reads %llu, "
	       "writes %llu, flushes %llu, errors %llu, exposed %llu\n",
	       (unsigned long long)h->spoils, (unsigned long long)h->lives,
	       (unsigned long long)h->seats, (unsigned long long)u->opens,
	       (unsigned long long)u->reads, (unsigned long long)u->writes,
	       (unsigned long long)u->flushes, (unsigned long long)u->errors,
	       (unsigned long long)u->exposed);
	fflush(stdout);
}

static void lie(struct hostile *h)
{
	pid_t pids[USERS];
	int i;

	for (i = 0; i < USERS; i++) {
		pids[i] = vhx_disk_user_start(h->users, h->random.state + (uint64_t)i + 1);
		if (pids[i] < 0)
			die("fork");
	}
	while (h->spoils < h->spoils_wanted && !h->users->exposed) {
		seat_spoil(h);
		if (h->seats % REPORT_SEATS == 0)
			report(h);
	}
	report(h);
	/* No seat, no disk: nothing holds them. */
	users_stop(pids, USERS);
}

/* The exit status of who verified the disk. */
static int be_honest(struct hostile *h)
{
	pid_t pid, got = 0;
	int status = 1;

	h->honest = true;
	seat_take(h);
	life_begin(h);
	pid = vhx_disk_verify_start();
	if (pid < 0)
		die("fork");
	while (!got) {
		loop_step(h);
		got = waitpid(pid, &status, WNOHANG);
	}
	life_end(h);
	seat_leave(h);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int main(int argc, char **argv)
{
	static struct hostile h = { .wire = { .fd = -1, .events = EPOLLIN, .ready = wire_ready },
				    .bell = { .fd = -1, .events = EPOLLIN, .ready = bell_ready },
				    .end = { .expired = life_cut } };
	int honest;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: hmx-hostile IMAGE [SPOILS [SEED]]\n");
		return 2;
	}
	h.spoils_wanted = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000;
	h.random.state = argc > 3 ? strtoull(argv[3], NULL, 0) | 1 : 1;
	h.users = mmap(NULL, sizeof(*h.users), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (h.users == MAP_FAILED || vhx_loop_new(0, &h.loop))
		die("start");
	backend_make(&h, argv[1]);
	lie(&h);
	honest = be_honest(&h);
	printf("hmx-hostile: honest disk: %s\n", honest ? "broken" : "sound");
	vhx_backend_free(h.backend);
	vhx_loop_free(h.loop);
	return h.users->exposed || honest ? 1 : 0;
}
