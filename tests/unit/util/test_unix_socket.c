// SPDX-License-Identifier: BSD-3-Clause
/* Listening on a path: stale and live sockets, foreign files, modes, inheritance. */
#include "util/unix_socket.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define INHERITED_FD 3
#define DESCRIPTORS_MAX 128

static char dir[64];
static char path[96];
static struct vhx_error error;

static int setup(void **state)
{
	strcpy(dir, "/tmp/vhx-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/s", dir);
	return 0;
}

/* Fails if anything but the socket was left, a lock for example. */
static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

/* A socket file with nobody behind it, as a killed server leaves it. */
static void leave_stale(int type)
{
	struct vhx_unix_listener l;

	assert_int_equal(vhx_unix_listen(&l, path, type, 0600, &error), 0);
	close(vhx_unix_listener_steal(&l));
	assert_int_equal(access(path, F_OK), 0);
}

static mode_t file_mode(void)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void check_talks(int type)
{
	struct vhx_unix_listener l;
	int client, server;
	char c = 0;

	assert_int_equal(vhx_unix_listen(&l, path, type, 0600, &error), 0);
	client = vhx_unix_connect(path, type, &error);
	assert_true(client >= 0);
	server = vhx_unix_accept(l.fd);
	assert_true(server >= 0);
	assert_int_equal(send(client, "x", 1, 0), 1);
	assert_int_equal(recv(server, &c, 1, 0), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(vhx_unix_accept(l.fd), -EAGAIN);
	assert_true(fcntl(client, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
	close(client);
	close(server);
	vhx_unix_unlisten(&l);
	assert_int_equal(access(path, F_OK), -1);
	vhx_unix_unlisten(&l);
}

static void test_both_types_talk(void **state)
{
	check_talks(SOCK_STREAM);
	check_talks(SOCK_SEQPACKET);
}

/* Lowers the limit and fills the table. Returns how many were taken. */
static unsigned int descriptors_take(int held[DESCRIPTORS_MAX], struct rlimit *old)
{
	struct rlimit low;
	unsigned int cnt = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, old), 0);
	low = (struct rlimit){ DESCRIPTORS_MAX, old->rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (cnt < DESCRIPTORS_MAX && (held[cnt] = dup(STDERR_FILENO)) >= 0)
		cnt++;
	return cnt;
}

static void descriptors_give(const int *held, unsigned int cnt, const struct rlimit *old)
{
	while (cnt--)
		close(held[cnt]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, old), 0);
}

static void test_connection_without_descriptors_is_ended(void **state)
{
	struct vhx_unix_listener l;
	struct rlimit old;
	int held[DESCRIPTORS_MAX], clients[2], rets[3], spare, fd;
	unsigned int cnt, i;
	char c;

	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), 0);
	spare = vhx_unix_spare_open();
	assert_true(spare >= 0);
	for (i = 0; i < 2; i++)
		clients[i] = vhx_unix_connect(path, SOCK_STREAM, &error);
	cnt = descriptors_take(held, &old);
	for (i = 0; i < 3; i++)
		rets[i] = vhx_unix_accept_spare(l.fd, &spare);
	descriptors_give(held, cnt, &old);
	assert_int_equal(rets[0], -EMFILE);
	assert_int_equal(rets[1], -EMFILE);
	/* Linux looks for a descriptor before it looks for a connection. */
	assert_true(rets[2] == -EMFILE || rets[2] == -EAGAIN);
	assert_int_equal(vhx_unix_accept(l.fd), -EAGAIN);
	for (i = 0; i < 2; i++) {
		assert_int_equal(recv(clients[i], &c, 1, 0), 0);
		close(clients[i]);
	}
	/* And serves when there are some again. */
	assert_true(spare >= 0);
	clients[0] = vhx_unix_connect(path, SOCK_STREAM, &error);
	fd = vhx_unix_accept_spare(l.fd, &spare);
	assert_true(fd >= 0);
	close(fd);
	close(clients[0]);
	close(spare);
	vhx_unix_unlisten(&l);
}

static void test_spare_that_is_missing_is_made_up_for(void **state)
{
	struct vhx_unix_listener l;
	int spare = -1;

	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), 0);
	assert_int_equal(vhx_unix_accept_spare(l.fd, &spare), -EAGAIN);
	assert_true(spare >= 0);
	close(spare);
	vhx_unix_unlisten(&l);
}

static void test_mode_does_not_need_the_umask(void **state)
{
	struct vhx_unix_listener l;
	mode_t old = umask(0);

	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), 0);
	assert_int_equal(file_mode(), 0600);
	vhx_unix_unlisten(&l);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0660, &error), 0);
	assert_int_equal(file_mode(), 0660);
	vhx_unix_unlisten(&l);
	umask(old);
}

static void test_mode_is_had_against_the_umask_too(void **state)
{
	struct vhx_unix_policy policy = { .mode = 0666, .group = VHX_UNIX_GROUP_NONE };
	struct vhx_unix_listener l;
	mode_t old = umask(077);

	assert_int_equal(vhx_unix_listen_policy(&l, path, SOCK_STREAM, &policy, &error), 0);
	umask(old);
	assert_int_equal(file_mode(), 0666);
	vhx_unix_unlisten(&l);
}

static void test_group_that_is_not_ours(void **state)
{
	struct vhx_unix_policy policy = { .mode = 0660, .group = 54321 };
	struct vhx_unix_listener l;

	if (!geteuid())
		return;
	assert_int_equal(vhx_unix_listen_policy(&l, path, SOCK_STREAM, &policy, &error), -EPERM);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_stale_socket_is_replaced(void **state)
{
	struct vhx_unix_listener l;

	leave_stale(SOCK_STREAM);
	assert_int_equal(vhx_unix_connect(path, SOCK_STREAM, &error), -ECONNREFUSED);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), 0);
	vhx_unix_unlisten(&l);
}

static void test_stale_socket_of_other_type_is_replaced(void **state)
{
	struct vhx_unix_listener l;

	leave_stale(SOCK_STREAM);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_SEQPACKET, 0600, &error), 0);
	vhx_unix_unlisten(&l);
}

static void test_live_socket_is_left_alone(void **state)
{
	struct vhx_unix_listener live, l;
	char text[160];

	assert_int_equal(vhx_unix_listen(&live, path, SOCK_STREAM, 0600, &error), 0);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), -EADDRINUSE);
	snprintf(text, sizeof(text), "%s: in use by pid %d", path, (int)getpid());
	assert_string_equal(error.text, text);
	assert_int_equal(l.fd, -1);
	vhx_unix_unlisten(&l);
	assert_int_equal(access(path, F_OK), 0);
	vhx_unix_unlisten(&live);
}

static void test_live_socket_of_other_type_is_left_alone(void **state)
{
	struct vhx_unix_listener live, l;

	assert_int_equal(vhx_unix_listen(&live, path, SOCK_SEQPACKET, 0600, &error), 0);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), -EADDRINUSE);
	vhx_unix_unlisten(&live);
}

static void test_live_socket_with_full_backlog_is_left_alone(void **state)
{
	struct vhx_unix_listener live, l;
	int clients[256], cnt = 0, fd;

	assert_int_equal(vhx_unix_listen(&live, path, SOCK_STREAM, 0600, &error), 0);
	while (cnt < 256 && (fd = vhx_unix_connect(path, SOCK_STREAM, &error)) >= 0)
		clients[cnt++] = fd;
	assert_int_equal(fd, -EAGAIN);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), -EADDRINUSE);
	while (cnt)
		close(clients[--cnt]);
	vhx_unix_unlisten(&live);
}

static void test_regular_file_is_left_alone(void **state)
{
	struct vhx_unix_listener l;
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), -EEXIST);
	assert_non_null(strstr(error.text, "exists and is not a socket"));
	assert_int_equal(access(path, F_OK), 0);
}

static void test_symlink_is_not_followed(void **state)
{
	struct vhx_unix_listener l;

	assert_int_equal(symlink("/nonexistent", path), 0);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), -EEXIST);
}

static void test_missing_directory(void **state)
{
	struct vhx_unix_listener l;

	assert_int_equal(vhx_unix_listen(&l, "/nonexistent/s", SOCK_STREAM, 0600, &error), -ENOENT);
	assert_string_equal(error.text, "/nonexistent/s: cannot listen: No such file or directory");
	assert_int_equal(vhx_unix_connect("/nonexistent/s", SOCK_STREAM, &error), -ENOENT);
	assert_string_equal(error.text, "/nonexistent/s: No such file or directory");
}

static void test_path_too_long(void **state)
{
	struct vhx_unix_listener l;
	char text[VHX_UNIX_PATH_MAX + 1];

	memset(text, 'x', sizeof(text));
	text[VHX_UNIX_PATH_MAX] = '\0';
	assert_int_equal(vhx_unix_listen(&l, text, SOCK_STREAM, 0600, &error), -ENAMETOOLONG);
	assert_int_equal(vhx_unix_connect(text, SOCK_STREAM, &error), -ENAMETOOLONG);
	assert_int_equal(vhx_unix_listen(&l, "", SOCK_STREAM, 0600, &error), -EINVAL);
	assert_int_equal(vhx_unix_connect("", SOCK_STREAM, &error), -EINVAL);
}

static void test_stale_socket_on_longest_path(void **state)
{
	struct vhx_unix_listener l;
	char text[VHX_UNIX_PATH_MAX];
	size_t len = strlen(dir);

	memcpy(text, dir, len);
	text[len] = '/';
	memset(text + len + 1, 'x', sizeof(text) - len - 2);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(vhx_unix_listen(&l, text, SOCK_STREAM, 0600, &error), 0);
	close(vhx_unix_listener_steal(&l));
	assert_int_equal(vhx_unix_listen(&l, text, SOCK_STREAM, 0600, &error), 0);
	vhx_unix_unlisten(&l);
	assert_int_equal(access(text, F_OK), -1);
}

static void test_lock_of_a_dead_holder_is_taken_over(void **state)
{
	struct vhx_unix_listener l;
	char lock[128];
	int fd;

	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error), 0);
	assert_int_equal(access(lock, F_OK), -1);
	vhx_unix_unlisten(&l);
}

static void test_successors_file_is_not_removed(void **state)
{
	struct vhx_unix_listener old, successor;

	assert_int_equal(vhx_unix_listen(&old, path, SOCK_STREAM, 0600, &error), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(vhx_unix_listen(&successor, path, SOCK_STREAM, 0600, &error), 0);
	vhx_unix_unlisten(&old);
	assert_int_equal(access(path, F_OK), 0);
	vhx_unix_unlisten(&successor);
	assert_int_equal(access(path, F_OK), -1);
}

#define RACERS 6

/* Exits with 0 when it got the path; holds it until @hold closes. */
static void racer(int go, int done, int hold)
{
	struct vhx_unix_listener l;
	char c, result;

	while (read(go, &c, 1) < 0)
		;
	result = vhx_unix_listen(&l, path, SOCK_STREAM, 0600, NULL) ? 'n' : 'y';
	if (write(done, &result, 1) != 1)
		_exit(1);
	while (read(hold, &c, 1) > 0)
		;
	_exit(0);
}

/* Six servers start at once on a stale path: exactly one gets it, and it can be reached. */
static void race_once(void)
{
	int go[2], done[2], hold[2], winners = 0, i, fd;
	char c;

	leave_stale(SOCK_STREAM);
	assert_int_equal(pipe(go) | pipe(done) | pipe(hold), 0);
	for (i = 0; i < RACERS; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid) {
			close(go[1]);
			close(hold[1]);
			racer(go[0], done[1], hold[0]);
		}
	}
	close(go[1]);
	for (i = 0; i < RACERS; i++) {
		assert_int_equal(read(done[0], &c, 1), 1);
		winners += c == 'y';
	}
	fd = vhx_unix_connect(path, SOCK_STREAM, &error);
	close(hold[1]);
	while (wait(NULL) > 0)
		;
	close(go[0]);
	close(done[0]);
	close(done[1]);
	close(hold[0]);
	assert_int_equal(winners, 1);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
}

static void test_one_of_many_starters_wins(void **state)
{
	int i;

	for (i = 0; i < 30; i++)
		race_once();
}

static void pass_descriptor(const char *cnt, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	setenv("LISTEN_FDS", cnt, 1);
	setenv("LISTEN_PID", text, 1);
}

/* In a child, so that its descriptors can be laid out as systemd does. 0: as expected. */
static int inherited_child(void)
{
	struct vhx_unix_listener l, again;
	int fd;

	if (vhx_unix_listen(&l, path, SOCK_STREAM, 0600, &error))
		return 1;
	fd = vhx_unix_listener_steal(&l);
	if (fd != INHERITED_FD && dup2(fd, INHERITED_FD) != INHERITED_FD)
		return 2;
	pass_descriptor("1", getpid());
	if (vhx_unix_inherited(path, SOCK_STREAM) != INHERITED_FD)
		return 3;
	if (vhx_unix_inherited(path, SOCK_SEQPACKET) != -ENOENT)
		return 4;
	if (vhx_unix_inherited("/other", SOCK_STREAM) != -ENOENT)
		return 5;
	if (!(fcntl(INHERITED_FD, F_GETFD) & FD_CLOEXEC))
		return 6;
	if (vhx_unix_listen(&again, path, SOCK_STREAM, 0600, &error) || again.fd != INHERITED_FD)
		return 7;
	vhx_unix_unlisten(&again);
	return access(path, F_OK) ? 8 : 0;
}

static void test_inherited_socket_is_used_and_kept(void **state)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(inherited_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_inherited_environment_of_others_is_ignored(void **state)
{
	static const char *const counts[] = { "", "x", "-1", "1x", "65", "99999999999999999999" };
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(counts); i++) {
		pass_descriptor(counts[i], getpid());
		assert_int_equal(vhx_unix_inherited(path, SOCK_STREAM), -ENOENT);
	}
	pass_descriptor("1", getpid() + 1);
	assert_int_equal(vhx_unix_inherited(path, SOCK_STREAM), -ENOENT);
	unsetenv("LISTEN_PID");
	assert_int_equal(vhx_unix_inherited(path, SOCK_STREAM), -ENOENT);
	unsetenv("LISTEN_FDS");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_both_types_talk),
		TEST(test_connection_without_descriptors_is_ended),
		TEST(test_spare_that_is_missing_is_made_up_for),
		TEST(test_mode_does_not_need_the_umask),
		TEST(test_mode_is_had_against_the_umask_too),
		TEST(test_group_that_is_not_ours),
		TEST(test_stale_socket_is_replaced),
		TEST(test_stale_socket_of_other_type_is_replaced),
		TEST(test_live_socket_is_left_alone),
		TEST(test_live_socket_of_other_type_is_left_alone),
		TEST(test_live_socket_with_full_backlog_is_left_alone),
		TEST(test_regular_file_is_left_alone),
		TEST(test_symlink_is_not_followed),
		TEST(test_missing_directory),
		TEST(test_path_too_long),
		TEST(test_stale_socket_on_longest_path),
		TEST(test_lock_of_a_dead_holder_is_taken_over),
		TEST(test_successors_file_is_not_removed),
		TEST(test_one_of_many_starters_wins),
		TEST(test_inherited_socket_is_used_and_kept),
		TEST(test_inherited_environment_of_others_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
