// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * The image is opened here, with our rights, and passed; the backend runs without any. What the child gets is
 * fixed by number: 0 and 1 are /dev/null, 2 is our standard error, 3 its end of the exchange, 4 the image. All
 * else is closed by close_range(2), whatever else this process had open. The program is opened here, too: whom the
 * child becomes may have no way through the folders to it.
 *
 * Between fork and exec only async-signal-safe calls are made. Everything that can fail for want of memory, the
 * argument vector included, is ready before the fork.
 */
#include "mediator/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_FD 3
#define IMAGE_FD 4
#define PROGRAM_FD 5 /* gone with the exec */
/* Debian's and everybody's "nobody". */
#define NOBODY 65534

#define ARG_MAX_LEN 256

struct spawn_args {
	char device[ARG_MAX_LEN];
	char ring[32];
	char poll[32];
	char level[16];
	char sandbox[8];
	char *argv[14];
};

/* The word for @value, which came of one. */
static const char *choice_name(const struct vhx_choice *c, int value)
{
	while (c->value != value && c[1].name)
		c++;
	return c->name;
}

static int args_make(struct spawn_args *a, const struct vhx_spawn_config *cfg)
{
	const struct vhx_blk_spec *blk = &cfg->spec->blk;
	const char *id = cfg->spec->id;
	int n = snprintf(a->device, sizeof(a->device),
			 "blk,id=%s,fd=%d%s%s%s,discard=%s,num-queues=%u,queue-size=%u%s%s", id,
			 IMAGE_FD, blk->readonly ? ",readonly" : "", blk->direct ? ",direct" : "",
			 blk->handover ? ",handover" : "",
			 blk->discard ? "on" : "off", blk->num_queues, blk->queue_size,
			 blk->serial[0] ? ",serial=" : "", blk->serial);
	char **argv = a->argv;

	/* An id or a serial with a comma in it would be read as two keys. */
	if (n < 0 || (size_t)n >= sizeof(a->device) || strchr(id, ',') || strchr(blk->serial, ','))
		return -EINVAL;
	snprintf(a->ring, sizeof(a->ring), "%llu", (unsigned long long)cfg->settings->ring_size);
	snprintf(a->poll, sizeof(a->poll), "%llu", (unsigned long long)cfg->settings->poll_us);
	snprintf(a->level, sizeof(a->level), "%s",
		 choice_name(vhx_log_levels, cfg->settings->log_level));
	snprintf(a->sandbox, sizeof(a->sandbox), "%s",
		 choice_name(vhx_program_sandboxes, cfg->settings->sandbox));
	*argv++ = (char *)"vhx-backend";
	*argv++ = (char *)"--channel-fd";
	*argv++ = (char *)"3";
	*argv++ = (char *)"--device";
	*argv++ = a->device;
	*argv++ = (char *)"--ring-size";
	*argv++ = a->ring;
	*argv++ = (char *)"--log-level";
	*argv++ = a->level;
	*argv++ = (char *)"--sandbox";
	*argv++ = a->sandbox;
	if (cfg->settings->poll_us != VHX_PROGRAM_POLL_AUTO) {
		*argv++ = (char *)"--poll-us";
		*argv++ = a->poll;
	}
	*argv = NULL;
	return 0;
}

/* A root frontend's child is nobody; any other's keeps its only uid, without a way to a better one. */
static int rights_drop(void)
{
	if (!geteuid() && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
			   setresuid(NOBODY, NOBODY, NOBODY)))
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Puts the descriptors at their numbers, past each other where they lie crosswise. */
static int descriptors_place(int channel, int image, int program)
{
	int null = open("/dev/null", O_RDWR);
	int high_channel = fcntl(channel, F_DUPFD, PROGRAM_FD + 1);
	int high_image = fcntl(image, F_DUPFD, PROGRAM_FD + 1);
	int high_program = fcntl(program, F_DUPFD, PROGRAM_FD + 1);

	if (null < 0 || high_channel < 0 || high_image < 0 || high_program < 0)
		return -1;
	if (dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return -1;
	if (dup2(high_channel, CHANNEL_FD) < 0 || dup2(high_image, IMAGE_FD) < 0 ||
	    dup3(high_program, PROGRAM_FD, O_CLOEXEC) < 0)
		return -1;
	return close_range(PROGRAM_FD + 1, ~0u, 0);
}

static void child_run(int program, int channel, int image, char *const argv[])
{
	static const char failed[] = "vhx-frontend: vhx-backend cannot be started\n";
	char *const environment[] = { NULL };

	/* Who starts us may ignore them, and that would outlast the exec. */
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (!descriptors_place(channel, image, program) && !rights_drop())
		fexecve(PROGRAM_FD, argv, environment);
	if (write(2, failed, sizeof(failed) - 1) < 0)
		_exit(VHX_EXIT_FAILED); /* nobody listens */
	_exit(VHX_EXIT_FAILED);
}

static int image_open(const struct vhx_blk_spec *blk, struct vhx_error *err)
{
	int flags = (blk->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | (blk->direct ? O_DIRECT : 0);
	int fd = open(blk->file, flags);

	if (fd >= 0)
		return fd;
	fd = -errno;
	vhx_error_set(err, "image %s: %s", blk->file, strerror(-fd));
	return fd;
}

int vhx_spawn(const struct vhx_spawn_config *cfg, int *sock, pid_t *pid, struct vhx_error *err)
{
	struct spawn_args args;
	int ends[2], image, program, ret;

	ret = args_make(&args, cfg);
	if (ret) {
		vhx_error_set(err, "the id or the serial cannot be passed on");
		return ret;
	}
	image = image_open(&cfg->spec->blk, err);
	if (image < 0)
		return image;
	program = open(cfg->program, O_RDONLY | O_CLOEXEC);
	if (program < 0) {
		ret = -errno;
		vhx_error_set(err, "%s: %s", cfg->program, strerror(-ret));
		goto close_image;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) {
		ret = -errno;
		vhx_error_set(err, "socketpair: %s", strerror(-ret));
		goto close_program;
	}
	*pid = fork();
	if (*pid < 0) {
		ret = -errno;
		vhx_error_set(err, "fork: %s", strerror(-ret));
		goto close_ends;
	}
	if (!*pid)
		child_run(program, ends[1], image, args.argv);
	close(ends[1]);
	close(program);
	close(image);
	*sock = ends[0];
	return 0;

close_ends:
	close(ends[0]);
	close(ends[1]);
close_program:
	close(program);
close_image:
	close(image);
	return ret;
}
