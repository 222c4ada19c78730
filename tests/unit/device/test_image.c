// SPDX-License-Identifier: BSD-3-Clause
/*
 * Images: what is refused and how it is said, identity, and the lock, among ourselves and with QEMU's tools.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/image.h"

#define HANG_GUARD_S 120
#define IMAGE_LEN (1024 * 1024)

struct env {
	char dir[32], path[64];
	struct vhx_error err;
};

static int set_up(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	int fd;

	assert_non_null(e);
	alarm(HANG_GUARD_S);
	strcpy(e->dir, "vhx-image-XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	snprintf(e->path, sizeof(e->path), "%s/img", e->dir);
	fd = open(e->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, IMAGE_LEN), 0);
	close(fd);
	*state = e;
	return 0;
}

static int tear_down(void **state)
{
	struct env *e = *state;

	unlink(e->path);
	rmdir(e->path);
	rmdir(e->dir);
	free(e);
	alarm(0);
	return 0;
}

static int open_path(struct env *e, struct vhx_image *img, bool readonly)
{
	struct vhx_image_config c = { .path = e->path, .fd = -1, .readonly = readonly };

	memset(&e->err, 0, sizeof(e->err));
	return vhx_image_open(img, &c, &e->err);
}

static int open_fd(struct env *e, struct vhx_image *img, int fd, bool readonly)
{
	struct vhx_image_config c = { .fd = fd, .readonly = readonly };

	memset(&e->err, 0, sizeof(e->err));
	return vhx_image_open(img, &c, &e->err);
}

static void assert_refused(struct env *e, int error, const char *text)
{
	struct vhx_image img;

	assert_int_equal(open_path(e, &img, false), error);
	assert_int_equal(img.fd, -1);
	if (!strstr(e->err.text, text) || !strstr(e->err.text, e->path))
		fail_msg("\"%s\" lacks \"%s\"", e->err.text, text);
	vhx_image_close(&img);
}

static void test_missing(void **state)
{
	struct env *e = *state;

	unlink(e->path);
	assert_refused(e, -ENOENT, "No such file");
}

static void test_directory(void **state)
{
	struct env *e = *state;
	struct vhx_image img;

	unlink(e->path);
	assert_int_equal(mkdir(e->path, 0700), 0);
	assert_refused(e, -EISDIR, "is a directory");
	assert_int_equal(open_path(e, &img, true), -EISDIR);
}

static void test_fifo_does_not_hang(void **state)
{
	struct env *e = *state;
	struct vhx_image img;

	unlink(e->path);
	assert_int_equal(mkfifo(e->path, 0600), 0);
	assert_refused(e, -EINVAL, "neither a regular file nor a block device");
	assert_int_equal(open_path(e, &img, true), -EINVAL);
}

static void test_character_device(void **state)
{
	struct vhx_image_config c = { .path = "/dev/zero", .fd = -1 };
	struct vhx_image img;

	assert_int_equal(vhx_image_open(&img, &c, NULL), -EINVAL);
}

static void test_empty(void **state)
{
	struct env *e = *state;

	assert_int_equal(truncate(e->path, 0), 0);
	assert_refused(e, -EINVAL, "empty");
}

static void test_odd_size(void **state)
{
	struct env *e = *state;

	assert_int_equal(truncate(e->path, IMAGE_LEN + 100), 0);
	assert_refused(e, -EINVAL, "1048676 bytes is not a multiple of 512");
	assert_int_equal(truncate(e->path, 511), 0);
	assert_refused(e, -EINVAL, "511 bytes is not a multiple of 512");
}

static void test_descriptor_opened_for_reading_only(void **state)
{
	struct env *e = *state;
	struct vhx_image img;
	int fd = open(e->path, O_RDONLY);

	assert_int_equal(open_fd(e, &img, fd, false), -EACCES);
	assert_non_null(strstr(e->err.text, "not open for writing"));
	/* It still is the caller's. */
	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_int_equal(open_fd(e, &img, fd, true), 0);
	vhx_image_close(&img);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_descriptor_flags_that_would_spoil_writes(void **state)
{
	struct env *e = *state;
	struct vhx_image img;
	int fd = open(e->path, O_RDWR | O_APPEND | O_NONBLOCK);

	assert_int_equal(open_fd(e, &img, fd, false), 0);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK), 0);
	vhx_image_close(&img);
}

static void test_descriptor_that_is_no_file(void **state)
{
	struct env *e = *state;
	struct vhx_image img;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(open_fd(e, &img, sv[0], false), -EINVAL);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(open_fd(e, &img, sv[0], false), -EBADF);
}

static void test_direct_is_told_apart(void **state)
{
	struct env *e = *state;
	struct vhx_image_config c = { .path = e->path, .fd = -1, .direct = true };
	struct vhx_image img;
	uint8_t cached[16], medium[16];

	assert_int_equal(open_path(e, &img, false), 0);
	memcpy(cached, img.cache_id, 16);
	memcpy(medium, img.uuid, 16);
	assert_int_equal(img.block_size, 512);
	vhx_image_close(&img);
	if (vhx_image_open(&img, &c, &e->err) < 0)
		skip(); /* no direct I/O here */
	assert_true(fcntl(img.fd, F_GETFL) & O_DIRECT);
	assert_false(img.in_memory || img.nowait);
	assert_memory_equal(img.uuid, medium, 16);
	assert_memory_not_equal(img.cache_id, cached, 16);
	vhx_image_close(&img);
}

static void test_identity_survives_reopening_and_resize(void **state)
{
	struct env *e = *state;
	struct vhx_image img, again;

	assert_int_equal(open_path(e, &img, false), 0);
	vhx_image_close(&img);
	vhx_image_close(&img);
	assert_int_equal(truncate(e->path, 2 * IMAGE_LEN), 0);
	assert_int_equal(open_path(e, &again, true), 0);
	assert_int_equal(again.size, 2 * IMAGE_LEN);
	assert_memory_equal(img.uuid, again.uuid, 16);
	assert_memory_equal(img.cache_id, again.cache_id, 16);
	vhx_image_close(&again);
}

static void test_identity_differs_between_images(void **state)
{
	struct env *e = *state;
	struct vhx_image a, b;
	char other[80];
	int fd;

	assert_int_equal(open_path(e, &a, false), 0);
	snprintf(other, sizeof(other), "%s.other", e->path);
	fd = open(other, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, IMAGE_LEN), 0);
	assert_int_equal(open_fd(e, &b, fd, false), 0);
	assert_memory_not_equal(a.uuid, b.uuid, 16);
	assert_memory_not_equal(a.cache_id, b.cache_id, 16);
	vhx_image_close(&a);
	vhx_image_close(&b);
	unlink(other);
}

/*
 * Lock
 */

static void test_lock_one_writer(void **state)
{
	struct env *e = *state;
	struct vhx_image a, b;

	assert_int_equal(open_path(e, &a, false), 0);
	assert_int_equal(open_path(e, &b, false), -EAGAIN);
	assert_non_null(strstr(e->err.text, "locked by this process"));
	assert_int_equal(open_path(e, &b, true), -EAGAIN);
	vhx_image_close(&a);
	assert_int_equal(open_path(e, &b, false), 0);
	vhx_image_close(&b);
}

static void test_lock_many_readers(void **state)
{
	struct env *e = *state;
	struct vhx_image a, b, c;

	assert_int_equal(open_path(e, &a, true), 0);
	assert_int_equal(open_path(e, &b, true), 0);
	assert_int_equal(open_path(e, &c, false), -EAGAIN);
	vhx_image_close(&a);
	assert_int_equal(open_path(e, &c, false), -EAGAIN);
	vhx_image_close(&b);
	assert_int_equal(open_path(e, &c, false), 0);
	vhx_image_close(&c);
}

static void test_lock_refused_leaves_nothing_behind(void **state)
{
	struct env *e = *state;
	struct vhx_image a, b;
	int fd = open(e->path, O_RDWR);

	assert_int_equal(open_path(e, &a, true), 0);
	assert_int_equal(open_fd(e, &b, fd, false), -EAGAIN);
	vhx_image_close(&a);
	assert_int_equal(open_path(e, &a, false), 0);
	vhx_image_close(&a);
	close(fd);
}

static void test_lock_goes_with_the_last_duplicate(void **state)
{
	struct env *e = *state;
	struct vhx_image a, b;
	int copy;

	assert_int_equal(open_path(e, &a, false), 0);
	copy = dup(a.fd);
	vhx_image_close(&a);
	assert_int_equal(open_path(e, &b, false), -EAGAIN);
	close(copy);
	assert_int_equal(open_path(e, &b, false), 0);
	vhx_image_close(&b);
}

/* Holds the image in a child until told to end. */
static pid_t child_hold(struct env *e, int *ctl)
{
	struct vhx_image img;
	int sv[2];
	pid_t pid;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		c = open_path(e, &img, false) == 0;
		if (write(sv[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(sv[0], &c, 1), 1);
	assert_int_equal(c, 1);
	close(sv[1]);
	*ctl = sv[0];
	return pid;
}

static void test_lock_names_the_holder_and_ends_with_it(void **state)
{
	struct env *e = *state;
	struct vhx_image img;
	char expected[64];
	int ctl;
	pid_t pid = child_hold(e, &ctl);

	assert_int_equal(open_path(e, &img, false), -EAGAIN);
	snprintf(expected, sizeof(expected), "locked by process %d (test_image)", pid);
	if (!strstr(e->err.text, expected) && !strstr(e->err.text, "locked by another process"))
		fail_msg("%s", e->err.text);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ctl);
	assert_int_equal(open_path(e, &img, false), 0);
	vhx_image_close(&img);
}

/*
 * With QEMU
 */

/* Runs qemu-io on the image. Its exit status, or 127: not installed. */
static int qemu_io(struct env *e, const char *options, const char *command)
{
	char line[512];
	int status;

	snprintf(line, sizeof(line), "qemu-io %s -f raw -c '%s' %s >%s/log 2>&1", options, command,
		 e->path, e->dir);
	status = system(line);
	snprintf(line, sizeof(line), "%s/log", e->dir);
	unlink(line);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void need_qemu_io(void)
{
	if (system("qemu-io --version >/dev/null 2>&1") != 0)
		skip();
}

static void test_qemu_is_refused_what_we_write(void **state)
{
	struct env *e = *state;
	struct vhx_image img;

	need_qemu_io();
	assert_int_equal(qemu_io(e, "", "read 0 512"), 0);
	assert_int_equal(open_path(e, &img, false), 0);
	assert_int_not_equal(qemu_io(e, "", "read 0 512"), 0);
	/* Its read-only mode shares writing with others, so that one is let in, as with a running QEMU. */
	assert_int_equal(qemu_io(e, "-r", "read 0 512"), 0);
	vhx_image_close(&img);
	assert_int_equal(qemu_io(e, "", "write 0 512"), 0);
}

static void test_qemu_may_read_what_we_read(void **state)
{
	struct env *e = *state;
	struct vhx_image img;

	need_qemu_io();
	assert_int_equal(open_path(e, &img, true), 0);
	assert_int_equal(qemu_io(e, "-r", "read 0 512"), 0);
	assert_int_not_equal(qemu_io(e, "", "read 0 512"), 0);
	vhx_image_close(&img);
}

/* A qemu-io that waits on its standard input, the image open; @in: close it to end it. */
static pid_t qemu_hold(struct env *e, bool readonly, int *in)
{
	int to[2], from[2];
	char buf[256], *at = buf;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		execlp("qemu-io", "qemu-io", "-f", "raw", e->path, readonly ? "-r" : NULL, NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	/* It has the image once it answers a command. */
	assert_int_equal(write(to[1], "length\n", 7), 7);
	do {
		n = read(from[0], at, sizeof(buf) - 1 - (size_t)(at - buf));
		assert_true(n > 0);
		at += n;
		*at = '\0';
	} while (!strstr(buf, "1 MiB"));
	close(from[0]);
	*in = to[1];
	return pid;
}

static void qemu_release(pid_t pid, int in)
{
	close(in);
	waitpid(pid, NULL, 0);
}

static void test_we_are_refused_what_qemu_writes(void **state)
{
	struct env *e = *state;
	struct vhx_image img;
	pid_t pid;
	int in;

	need_qemu_io();
	pid = qemu_hold(e, false, &in);
	assert_int_equal(open_path(e, &img, false), -EAGAIN);
	assert_non_null(strstr(e->err.text, "locked by"));
	assert_int_equal(open_path(e, &img, true), -EAGAIN);
	qemu_release(pid, in);
	assert_int_equal(open_path(e, &img, false), 0);
	vhx_image_close(&img);
}

static void test_we_may_read_what_qemu_reads(void **state)
{
	struct env *e = *state;
	struct vhx_image img;
	pid_t pid;
	int in;

	need_qemu_io();
	pid = qemu_hold(e, true, &in);
	assert_int_equal(open_path(e, &img, true), 0);
	vhx_image_close(&img);
	qemu_release(pid, in);
}

#define IMAGE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IMAGE_TEST(test_missing),
		IMAGE_TEST(test_directory),
		IMAGE_TEST(test_fifo_does_not_hang),
		IMAGE_TEST(test_character_device),
		IMAGE_TEST(test_empty),
		IMAGE_TEST(test_odd_size),
		IMAGE_TEST(test_descriptor_opened_for_reading_only),
		IMAGE_TEST(test_descriptor_flags_that_would_spoil_writes),
		IMAGE_TEST(test_descriptor_that_is_no_file),
		IMAGE_TEST(test_direct_is_told_apart),
		IMAGE_TEST(test_identity_survives_reopening_and_resize),
		IMAGE_TEST(test_identity_differs_between_images),
		IMAGE_TEST(test_lock_one_writer),
		IMAGE_TEST(test_lock_many_readers),
		IMAGE_TEST(test_lock_refused_leaves_nothing_behind),
		IMAGE_TEST(test_lock_goes_with_the_last_duplicate),
		IMAGE_TEST(test_lock_names_the_holder_and_ends_with_it),
		IMAGE_TEST(test_qemu_is_refused_what_we_write),
		IMAGE_TEST(test_qemu_may_read_what_we_read),
		IMAGE_TEST(test_we_are_refused_what_qemu_writes),
		IMAGE_TEST(test_we_may_read_what_qemu_reads),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
