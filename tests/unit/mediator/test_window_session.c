// SPDX-License-Identifier: BSD-3-Clause
/*
 * A guest's disk through a window: vhx-backend (argv[1]) and vhx-ivshmem (argv[2]) as they are installed, a
 * QEMU that speaks the client's side of its protocol and has doorbells made of eventfds, and in it a guest: our
 * frontend over a port of the guest's side.
 */
#include <endian.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <vhx/section.h>

#include "exchange/ivshmem.h"
#include "frontend/frontend.h"
#include "util/unix_fds.h"
#include "util/unix_socket.h"

#define HANG_GUARD_S 60
#define WINDOW_SIZE (1u << 20)
#define BLOCK 16384u
#define BLOCKS 64u
#define DEPTH 16u

#define BLK_IN 0u /* VirtIO 5.2.6 */
#define BLK_OUT 1u
#define BLK_FLUSH 4u

static const char *backend_program, *helper_program;

struct blk_head {
	uint32_t type, reserved;
	uint64_t sector;
};

struct io {
	struct blk_head head;
	uint8_t data[BLOCK], status;
	struct iovec out[2], in[2];
	bool busy;
};

struct program {
	pid_t pid;
	int lines; /* its standard error */
};

struct world {
	char dir[64], image[96], backend_path[96], qemu_path[96], control_path[96];
	char listen[128], device[160], connect[128], spec[128];
	struct program backend, helper;
	/* QEMU */
	int qemu, window;
	int ring; /* the host's doorbell */
	struct vhx_loop_fd interrupt; /* the guest's */
	/* The guest */
	struct vhx_loop *loop;
	struct vhx_loop_fd
		port_end; /* where its port raises events and is raised; fd -1: no port */
	struct vhx_frontend *fe;
	struct vhx_fdev *fdev;
	struct vhx_fqueue *queue;
	bool known;
	/* The driver */
	struct io io[DEPTH];
	uint32_t type, next_block, end_block, done, errors;
	uint32_t kill_at; /* completions after which the backend dies, 0: it lives */
	uint8_t seed;
};

static uint8_t pattern(const struct world *w, uint32_t block, uint32_t at)
{
	return (uint8_t)(w->seed + block * 31 + at * 7 + (at >> 8));
}

/* ---- programs ---- */

/* Reads until the line that ends a start, or the end: what was said. */
static void lines_read(struct program *p, char *said, size_t size)
{
	size_t len = 0;
	ssize_t n = 1;

	said[0] = '\0';
	while (n > 0 && !strstr(said, "ready")) {
		n = read(p->lines, said + len, size - 1 - len);
		assert_true(n >= 0);
		len += (size_t)n;
		said[len] = '\0';
	}
}

/* False: it ended with a line that says that the image is locked. */
static bool program_start(struct program *p, const char *const argv[])
{
	char said[4096];
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (!p->pid) {
		/* None is left behind by a test that fails. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], STDERR_FILENO);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(pipes[1]);
	p->lines = pipes[0];
	lines_read(p, said, sizeof(said));
	if (strstr(said, "ready")) {
		/* Nobody reads what follows; a full pipe must not hold it up. */
		fcntl(p->lines, F_SETPIPE_SZ, 1 << 20);
		return true;
	}
	assert_non_null(strstr(said, "locked"));
	assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
	close(p->lines);
	return false;
}

static void program_end(struct program *p, int signal)
{
	int status;

	kill(p->pid, signal);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	if (signal == SIGTERM)
		assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	close(p->lines);
}

static void backend_start(struct world *w)
{
	const char *argv[] = {
		backend_program, "--listen", w->listen, "--device", w->device, NULL
	};

	/* The lock is held until the last write of one that was killed has ended: as its supervisor, try again. */
	while (!program_start(&w->backend, argv))
		;
}

static void helper_start(struct world *w)
{
	const char *argv[] = { helper_program, "--connect", w->connect,	     "--qemu",
			       w->spec,	       "--control", w->control_path, NULL };

	assert_true(program_start(&w->helper, argv));
}

/* ---- QEMU ---- */

static int64_t message_take(int sock, int *fd)
{
	uint64_t bytes;
	struct vhx_unix_fds fds = { .fds = fd, .max = 1 };

	*fd = -1;
	assert_int_equal(vhx_unix_recv_fds(sock, &bytes, sizeof(bytes), MSG_WAITALL, &fds),
			 sizeof(bytes));
	return (int64_t)le64toh(bytes);
}

static void interrupted(struct vhx_loop_fd *watch, uint32_t events)
{
	struct world *w = vhx_container_of(watch, struct world, interrupt);
	uint64_t cnt;

	if (read(watch->fd, &cnt, sizeof(cnt)) == sizeof(cnt) && w->port_end.fd >= 0)
		send(w->port_end.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void qemu_start(struct world *w)
{
	int fd;

	w->qemu = vhx_unix_connect(w->qemu_path, SOCK_STREAM, NULL);
	assert_true(w->qemu >= 0);
	assert_int_equal(fcntl(w->qemu, F_SETFL, 0), 0);
	assert_int_equal(message_take(w->qemu, &fd), 0);
	assert_int_equal(message_take(w->qemu, &fd), 1);
	assert_int_equal(message_take(w->qemu, &w->window), -1);
	assert_int_equal(message_take(w->qemu, &w->ring), 0);
	assert_int_equal(message_take(w->qemu, &w->interrupt.fd), 1);
	assert_true(w->window >= 0 && w->ring >= 0 && w->interrupt.fd >= 0);
	w->interrupt.events = EPOLLIN;
	w->interrupt.ready = interrupted;
	assert_int_equal(vhx_loop_fd_add(w->loop, &w->interrupt), 0);
}

static void qemu_end(struct world *w)
{
	vhx_loop_fd_del(w->loop, &w->interrupt);
	close(w->interrupt.fd);
	close(w->ring);
	close(w->window);
	close(w->qemu);
}

/* ---- the guest ---- */

static void port_end_close(struct world *w)
{
	if (w->port_end.fd < 0)
		return;
	vhx_loop_fd_del(w->loop, &w->port_end);
	close(w->port_end.fd);
	w->port_end.fd = -1;
}

/* What the port raises rings the doorbell. */
static void port_raised(struct vhx_loop_fd *watch, uint32_t events)
{
	struct world *w = vhx_container_of(watch, struct world, port_end);
	const uint64_t one = 1;
	char byte;
	ssize_t n;

	while ((n = recv(watch->fd, &byte, 1, MSG_DONTWAIT)) == 1)
		assert_int_equal(write(w->ring, &one, sizeof(one)), sizeof(one));
	if (n == 0)
		port_end_close(w);
}

/* A life of the guest's driver. */
static int guest_connect(void *ctx, struct vhx_port **port)
{
	struct world *w = ctx;
	int socks[2];

	port_end_close(w);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	w->port_end =
		(struct vhx_loop_fd){ .fd = socks[1], .events = EPOLLIN, .ready = port_raised };
	assert_int_equal(vhx_loop_fd_add(w->loop, &w->port_end), 0);
	return vhx_ivshmem_open(socks[0], w->window, WINDOW_SIZE, VHX_WINDOW_GUEST, port);
}

static void request_fill(struct vhx_frequest *req, uint16_t id, struct io *io)
{
	bool write = io->head.type == BLK_OUT, flush = io->head.type == BLK_FLUSH;

	io->out[0] = (struct iovec){ &io->head, sizeof(io->head) };
	io->out[1] = (struct iovec){ io->data, BLOCK };
	io->in[0] = write || flush ? (struct iovec){ &io->status, 1 } : io->out[1];
	io->in[1] = (struct iovec){ &io->status, 1 };
	*req = (struct vhx_frequest){
		.id = id,
		.out = io->out,
		.in = io->in,
		.out_cnt = write ? 2 : 1,
		.in_cnt = write || flush ? 1 : 2,
		.out_len = (uint32_t)sizeof(io->head) + (write ? BLOCK : 0),
		.in_len = write || flush ? 1 : BLOCK + 1,
	};
}

/* A free request, where there is something to ask for; else DEPTH. */
static uint32_t io_free(const struct world *w)
{
	uint32_t id;

	for (id = 0; id < DEPTH && w->io[id].busy; id++)
		;
	return w->next_block == w->end_block ? DEPTH : id;
}

static int source_next(void *ctx, struct vhx_frequest *req)
{
	struct world *w = ctx;
	uint32_t id = io_free(w), i;

	if (id == DEPTH)
		return 0;
	w->io[id].busy = true;
	w->io[id].status = 0xff;
	w->io[id].head = (struct blk_head){
		.type = htole32(w->type), .sector = htole64((uint64_t)w->next_block * (BLOCK / 512))
	};
	for (i = 0; i < BLOCK; i++)
		w->io[id].data[i] = w->type == BLK_OUT ? pattern(w, w->next_block, i) : 0;
	w->next_block++;
	request_fill(req, (uint16_t)id, &w->io[id]);
	return 1;
}

static int source_again(void *ctx, uint16_t id, struct vhx_frequest *req)
{
	struct world *w = ctx;

	assert_true(w->io[id].busy);
	request_fill(req, id, &w->io[id]);
	return 0;
}

static void source_complete(void *ctx, uint16_t id, uint32_t used_len)
{
	struct world *w = ctx;
	struct io *io = &w->io[id];
	uint32_t block = (uint32_t)(le64toh(io->head.sector) / (BLOCK / 512)), i;

	assert_true(io->busy);
	io->busy = false;
	w->done++;
	w->errors += io->status != 0;
	if (w->type != BLK_IN || io->status)
		return;
	assert_int_equal(used_len, BLOCK + 1);
	for (i = 0; i < BLOCK; i++)
		assert_int_equal(io->data[i], pattern(w, block, i));
}

static void source_flush(void *ctx)
{
}

static bool source_arm(void *ctx)
{
	return io_free(ctx) != DEPTH;
}

static void source_disarm(void *ctx)
{
}

static void source_broken(void *ctx, int reason)
{
	fail_msg("source: %s", strerror(-reason));
}

static const struct vhx_fsource_ops source_ops = {
	.next = source_next,
	.again = source_again,
	.complete = source_complete,
	.flush = source_flush,
	.arm = source_arm,
	.disarm = source_disarm,
	.broken = source_broken,
};

static void fdev_known(void *ctx)
{
	struct world *w = ctx;

	w->known = true;
}

static void fdev_config(void *ctx)
{
}

static void fdev_config_written(void *ctx, bool refused)
{
}

static void fdev_queue_stopped(void *ctx, uint16_t index)
{
}

static void fdev_unusable(void *ctx, int reason)
{
	fail_msg("unusable: %s", strerror(-reason));
}

static const struct vhx_fdev_ops fdev_ops = {
	.known = fdev_known,
	.config_changed = fdev_config,
	.config_written = fdev_config_written,
	.queue_stopped = fdev_queue_stopped,
	.reset_done = fdev_config,
	.unusable = fdev_unusable,
};

static void turn(struct world *w)
{
	assert_int_equal(vhx_loop_once(w->loop, -1), 0);
}

static void guest_start(struct world *w)
{
	struct vhx_frontend_config cfg = {
		.loop = w->loop, .connect = guest_connect, .ctx = w, .peer = "window"
	};

	w->known = false;
	assert_int_equal(vhx_frontend_new(&cfg, &w->fe), 0);
	assert_int_equal(vhx_fdev_new(w->fe, "disk0", &fdev_ops, w, &w->fdev), 0);
	vhx_frontend_start(w->fe);
	while (!w->known)
		turn(w);
	assert_int_equal(vhx_fdev_set_features(w->fdev, vhx_fdev_identity(w->fdev)->features), 0);
	assert_int_equal(vhx_fqueue_start(w->fdev, 0, DEPTH, &source_ops, w, &w->queue), 0);
}

static void guest_end(struct world *w)
{
	vhx_frontend_free(w->fe);
	port_end_close(w);
}

static void run(struct world *w, uint32_t type, uint32_t blocks)
{
	w->type = type;
	w->next_block = 0;
	w->end_block = blocks;
	w->done = 0;
	w->errors = 0;
	vhx_fqueue_kick(w->queue);
	while (w->done < blocks) {
		turn(w);
		if (!w->kill_at || w->done < w->kill_at)
			continue;
		w->kill_at = 0;
		program_end(&w->backend, SIGKILL);
		backend_start(w);
	}
	assert_int_equal(w->errors, 0);
}

static void image_is_as_written(struct world *w)
{
	static uint8_t found[BLOCK];
	int fd = open(w->image, O_RDONLY | O_CLOEXEC);
	uint32_t block, i;

	assert_true(fd >= 0);
	for (block = 0; block < BLOCKS; block++) {
		assert_int_equal(pread(fd, found, BLOCK, (off_t)block * BLOCK), BLOCK);
		for (i = 0; i < BLOCK; i++)
			assert_int_equal(found[i], pattern(w, block, i));
	}
	close(fd);
}

/* A counter of the helper's, as vhxctl gets it. */
static long helper_counter(struct world *w, const char *name)
{
	int sock = vhx_unix_connect(w->control_path, SOCK_STREAM, NULL);
	char answer[4096], key[64], *at;
	size_t len = 0;
	ssize_t n;

	assert_true(sock >= 0);
	assert_int_equal(fcntl(sock, F_SETFL, 0), 0);
	assert_int_equal(write(sock, "stats\n", 6), 6);
	while ((n = read(sock, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	close(sock);
	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(answer, key);
	assert_non_null(at);
	return strtol(at + strlen(key), NULL, 10);
}

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int fd;

	alarm(HANG_GUARD_S);
	assert_non_null(w);
	*state = w;
	w->seed = 1;
	w->port_end.fd = -1;
	snprintf(w->dir, sizeof(w->dir), "/tmp/vhx-session-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->image, sizeof(w->image), "%s/image", w->dir);
	snprintf(w->backend_path, sizeof(w->backend_path), "%s/be", w->dir);
	snprintf(w->qemu_path, sizeof(w->qemu_path), "%s/qemu", w->dir);
	snprintf(w->control_path, sizeof(w->control_path), "%s/ctl", w->dir);
	snprintf(w->listen, sizeof(w->listen), "unix:%s", w->backend_path);
	snprintf(w->connect, sizeof(w->connect), "unix:%s", w->backend_path);
	snprintf(w->device, sizeof(w->device), "blk,id=disk0,file=%s", w->image);
	snprintf(w->spec, sizeof(w->spec), "%s,size=1M", w->qemu_path);
	fd = open(w->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, BLOCK * BLOCKS), 0);
	close(fd);
	assert_int_equal(vhx_loop_new(0, &w->loop), 0);
	helper_start(w);
	backend_start(w);
	qemu_start(w);
	guest_start(w);
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	guest_end(w);
	qemu_end(w);
	program_end(&w->helper, SIGTERM);
	program_end(&w->backend, SIGTERM);
	vhx_loop_free(w->loop);
	unlink(w->image);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static void test_whole_session(void **state)
{
	struct world *w = *state;

	run(w, BLK_OUT, BLOCKS);
	run(w, BLK_FLUSH, 1);
	image_is_as_written(w);
	run(w, BLK_IN, BLOCKS);
	assert_int_equal(helper_counter(w, "backend_connects"), 1);
	assert_true(helper_counter(w, "wakes_to_guest") > 0);
	assert_true(helper_counter(w, "wakes_to_backend") > 0);
}

static void test_backend_killed_and_replaced_under_load(void **state)
{
	struct world *w = *state;
	uint32_t kill_at;

	for (kill_at = 1; kill_at < BLOCKS - DEPTH; kill_at += 13) {
		w->seed++;
		w->kill_at = kill_at;
		run(w, BLK_OUT, BLOCKS);
		run(w, BLK_IN, BLOCKS);
		image_is_as_written(w);
	}
	assert_true(helper_counter(w, "backend_connects") >= 2);
}

static void test_driver_that_is_loaded_again(void **state)
{
	struct world *w = *state;

	run(w, BLK_OUT, BLOCKS);
	guest_end(w);
	guest_start(w);
	run(w, BLK_IN, BLOCKS);
	assert_int_equal(helper_counter(w, "guests"), 1);
}

static void test_qemu_that_goes_and_another_that_comes(void **state)
{
	struct world *w = *state;

	run(w, BLK_OUT, BLOCKS);
	guest_end(w);
	qemu_end(w);
	/* The helper has noticed when it answers this: one QEMU at a time. */
	while (helper_counter(w, "memory") > (long)WINDOW_SIZE)
		;
	qemu_start(w);
	guest_start(w);
	run(w, BLK_IN, BLOCKS);
	assert_int_equal(helper_counter(w, "guests"), 2);
	assert_int_equal(helper_counter(w, "guests_refused"), 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
	const struct CMUnitTest tests[] = {
		TEST(test_whole_session),
		TEST(test_backend_killed_and_replaced_under_load),
		TEST(test_driver_that_is_loaded_again),
		TEST(test_qemu_that_goes_and_another_that_comes),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s BACKEND HELPER\n", argv[0]);
		return 2;
	}
	backend_program = argv[1];
	helper_program = argv[2];
	return cmocka_run_group_tests_name("window session", tests, NULL, NULL);
}
