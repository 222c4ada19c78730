// SPDX-License-Identifier: BSD-3-Clause
/*
 * Confinement is for good, so each test is a process of its own: confined, it tries, and its exit status says how
 * that went. Ways to other processes are tried in tests/e2e/uml_confined.sh, with other processes.
 */
#include "confine/confine.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/io.h"
#include "util/unix_socket.h"

#define DATA_LEN 4096

static char folder[] = "/tmp/vhx-confine.XXXXXX";

/* What the child knows before it is confined. */
struct scene {
	enum vhx_confine_mode mode;
	const struct vhx_confine_role *role;
	const char *removes;
	int (*run)(void *arg); /* the child's exit status */
	void *arg;
};

static int confined(const struct scene *scene)
{
	struct vhx_confine_config cfg = {
		.mode = scene->mode,
		.role = scene->role ?: &vhx_confine_backend,
		.removes = &scene->removes,
		.removes_cnt = scene->removes ? 1 : 0,
	};
	struct vhx_error err;

	if (vhx_confine_begin(cfg.mode, &err) || vhx_confine(&cfg, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return 100;
	}
	return scene->run(scene->arg);
}

/* The wait status of the child. */
static int play(const struct scene *scene)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(confined(scene));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_good(const struct scene *scene)
{
	int status = play(scene);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int opens(void *arg)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? 0 : errno;
}

static void test_open_is_refused_and_the_process_goes_on(void **state)
{
	struct scene scene = { .mode = VHX_CONFINE_ON, .run = opens };

	assert_int_equal(WEXITSTATUS(play(&scene)), EPERM);
}

static void test_off_and_log_refuse_nothing(void **state)
{
	struct scene scene = { .mode = VHX_CONFINE_OFF, .run = opens };

	assert_good(&scene);
	scene.mode = VHX_CONFINE_LOG;
	assert_good(&scene);
}

static int executes(void *arg)
{
	execl("/bin/true", "true", (char *)NULL);
	return 1;
}

static void test_door_ends_the_process(void **state)
{
	struct scene scene = { .mode = VHX_CONFINE_ON, .run = executes };
	int status = play(&scene);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static int fails_an_assertion(void *arg)
{
	abort();
}

static void test_abort_still_ends_with_its_own_signal(void **state)
{
	struct scene scene = { .mode = VHX_CONFINE_ON, .run = fails_an_assertion };
	int status = play(&scene);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* From outside: begin() alone is enough, and it is the first thing that a program does. */
static void test_not_dumpable_from_the_beginning(void **state)
{
	struct vhx_error err;
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(vhx_confine_begin(VHX_CONFINE_ON, &err) || prctl(PR_GET_DUMPABLE) ||
		      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Sockets */

static int connects(void *arg)
{
	int fd = vhx_unix_connect(arg, SOCK_STREAM, NULL);

	return fd >= 0 ? 0 : -fd;
}

static void test_connect_is_for_frontends_only(void **state)
{
	struct vhx_unix_listener l;
	char path[64];
	struct scene scene = { .mode = VHX_CONFINE_ON, .run = connects, .arg = path };

	snprintf(path, sizeof(path), "%s/monitor", folder);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, NULL), 0);
	assert_int_equal(WEXITSTATUS(play(&scene)), EPERM);
	scene.role = &vhx_confine_frontend;
	assert_good(&scene);
	vhx_unix_unlisten(&l);
}

static int unlistens(void *arg)
{
	struct vhx_unix_listener *l = arg;

	vhx_unix_unlisten(l);
	return access(l->path, F_OK) && errno == EPERM ? 0 : 1; /* access is refused, too */
}

static int removes(void *arg)
{
	return unlink(arg) ? errno : 0;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1u) > 0;
}

static void test_own_socket_is_removed_and_no_other_file(void **state)
{
	struct vhx_unix_listener l;
	char path[64], other[] = "/tmp/vhx-confine-other.XXXXXX";
	struct scene scene = {
		.mode = VHX_CONFINE_ON, .removes = path, .run = unlistens, .arg = &l
	};
	int fd = mkstemp(other);

	if (!has_landlock()) {
		print_message("no Landlock: nothing is removed at all\n");
		unlink(other);
		close(fd);
		return;
	}
	snprintf(path, sizeof(path), "%s/own", folder);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, NULL), 0);
	assert_good(&scene);
	assert_int_equal(access(path, F_OK), -1);
	vhx_unix_unlisten(&l);
	scene.run = removes;
	scene.arg = other;
	assert_int_equal(WEXITSTATUS(play(&scene)), EACCES);
	assert_int_equal(access(other, F_OK), 0);
	unlink(other);
	close(fd);
}

/* Storage: what a backend does with an image that it opened before. */

struct disk {
	struct vhx_loop *loop;
	struct vhx_io *io;
	struct vhx_io_op op;
	int fd;
};

static void op_done(struct vhx_io_op *op)
{
}

static int transfer(struct disk *d, enum vhx_io_code code, void *data)
{
	struct iovec iov = { data, DATA_LEN };

	d->op = (struct vhx_io_op){
		.code = code, .fd = d->fd, .iov = &iov, .iov_cnt = 1, .done = op_done
	};
	vhx_io_queue(d->io, &d->op);
	vhx_io_wait(d->io);
	return d->op.res;
}

static int writes_and_reads(void *arg)
{
	char out[DATA_LEN], in[DATA_LEN] = { 0 };
	struct disk *d = arg;

	memset(out, 0x5a, sizeof(out));
	if (transfer(d, VHX_IO_WRITEV, out) != DATA_LEN)
		return 1;
	if (transfer(d, VHX_IO_FDATASYNC, out) != 0)
		return 2;
	if (transfer(d, VHX_IO_READV, in) != DATA_LEN)
		return 3;
	return memcmp(in, out, DATA_LEN) ? 4 : 0;
}

static bool refuse_threads;
static unsigned int threads_started;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	int ret = refuse_threads ? EAGAIN : __real_pthread_create(thread, attr, run, arg);

	threads_started += !ret;
	return ret;
}

static int writes_and_reads_by_threads(void *arg)
{
	return writes_and_reads(arg) ?: threads_started ? 0 : 5;
}

static int writes_and_reads_alone(void *arg)
{
	refuse_threads = true;
	return writes_and_reads(arg) ?: threads_started ? 5 : 0;
}

static void disk_scene(enum vhx_io_kind kind, int (*run)(void *arg))
{
	struct disk d = { .fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) };
	struct scene scene = { .mode = VHX_CONFINE_ON, .run = run, .arg = &d };

	assert_true(d.fd >= 0);
	assert_int_equal(vhx_loop_new(0, &d.loop), 0);
	if (vhx_io_new(d.loop, kind, 8, &d.io)) {
		print_message("no such engine here\n");
	} else {
		assert_good(&scene);
		vhx_io_free(d.io);
	}
	vhx_loop_free(d.loop);
	close(d.fd);
}

static void test_images_by_threads_that_start_behind_the_door(void **state)
{
	disk_scene(VHX_IO_THREADS, writes_and_reads_by_threads);
}

static void test_images_without_a_thread(void **state)
{
	disk_scene(VHX_IO_THREADS, writes_and_reads_alone);
}

static void test_images_by_io_uring(void **state)
{
	disk_scene(VHX_IO_URING, writes_and_reads);
}

static int setup(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_is_refused_and_the_process_goes_on),
		cmocka_unit_test(test_off_and_log_refuse_nothing),
		cmocka_unit_test(test_door_ends_the_process),
		cmocka_unit_test(test_abort_still_ends_with_its_own_signal),
		cmocka_unit_test(test_not_dumpable_from_the_beginning),
		cmocka_unit_test(test_connect_is_for_frontends_only),
		cmocka_unit_test(test_own_socket_is_removed_and_no_other_file),
		cmocka_unit_test(test_images_by_threads_that_start_behind_the_door),
		cmocka_unit_test(test_images_without_a_thread),
		cmocka_unit_test(test_images_by_io_uring),
	};

#ifdef VHX_INSTRUMENTED
	print_message("SKIP: instrumented programs are not confined\n");
	return 77;
#endif
	return cmocka_run_group_tests(tests, setup, teardown);
}
