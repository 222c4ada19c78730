// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhx-argo-cat: standard input and output, and a program in another domain of a Xen host; over libvhx-argo.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <vhx/argo.h>

#include "config/options.h"
#include "confine/confine.h"
#include "relay/relay.h"

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

#define RING_LEN_DEFAULT 131008u
/* Between two attempts to connect, in milliseconds. */
#define RETRY_MS 100
/* More than anybody can want to wait, in seconds; milliseconds of it fit an int. */
#define SECONDS_MAX 1000000u
#define UNSET UINT64_MAX

struct settings {
	bool listen, datagrams, keep, shut, retry, verbose;
	const char *peer;
	uint64_t quit, wait, count, ring_len;
	int sandbox; /* enum vhx_confine_mode */
};

static const struct vhx_choice sandboxes[] = {
	{ "on", VHX_CONFINE_ON },
	{ "off", VHX_CONFINE_OFF },
	{ "log", VHX_CONFINE_LOG },
	{ NULL, 0 },
};

#define FIELD(member) offsetof(struct settings, member)

static const struct vhx_option rows[] = {
	{ .name = "listen",
	  .letter = 'l',
	  .kind = VHX_OPTION_FLAG,
	  .offset = FIELD(listen),
	  .help = "wait for a stream, or for datagrams, at PORT" },
	{ .name = "peer",
	  .letter = 'p',
	  .metavar = "DOMID",
	  .kind = VHX_OPTION_STRING,
	  .offset = FIELD(peer),
	  .help = "listen: from this domain, or any (default), which Xen\nmay not allow" },
	{ .name = "keep",
	  .letter = 'k',
	  .kind = VHX_OPTION_FLAG,
	  .offset = FIELD(keep),
	  .help = "listen: serve one stream after the other" },
	{ .name = "datagrams",
	  .letter = 'u',
	  .kind = VHX_OPTION_FLAG,
	  .offset = FIELD(datagrams),
	  .help = "datagrams in place of a stream: one per read of input" },
	{ .name = "count",
	  .letter = 'W',
	  .metavar = "N",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = FIELD(count),
	  .bounds = { 1, UINT64_MAX - 1 },
	  .help = "datagrams: end after N were received" },
	{ .name = "shut",
	  .letter = 'N',
	  .kind = VHX_OPTION_FLAG,
	  .offset = FIELD(shut),
	  .help = "the end of input is the end of what is sent, and the\nprogram ends when both "
		  "directions have; datagrams: ends\nwith the input" },
	{ .name = "quit",
	  .letter = 'q',
	  .metavar = "SECONDS",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = FIELD(quit),
	  .bounds = { 0, SECONDS_MAX },
	  .help = "after the end of input, which is told to a stream, stay\nso long at the most" },
	{ .name = "wait",
	  .letter = 'w',
	  .metavar = "SECONDS",
	  .kind = VHX_OPTION_NUMBER,
	  .offset = FIELD(wait),
	  .bounds = { 0, SECONDS_MAX },
	  .help = "so long for a stream to be there (default: for ever)" },
	{ .name = "retry",
	  .letter = 'r',
	  .kind = VHX_OPTION_FLAG,
	  .offset = FIELD(retry),
	  .help = "connect again while nobody listens" },
	{ .name = "ring-len",
	  .metavar = "SIZE",
	  .kind = VHX_OPTION_SIZE,
	  .offset = FIELD(ring_len),
	  .bounds = { 4096, 16777152 },
	  .help = "bytes of the ring to receive in, a multiple of 16\n(default 131008)" },
	{ .name = "verbose",
	  .letter = 'v',
	  .kind = VHX_OPTION_FLAG,
	  .offset = FIELD(verbose),
	  .help = "say who is there, and how much went" },
	{ .name = "sandbox",
	  .metavar = "MODE",
	  .kind = VHX_OPTION_CHOICE,
	  .offset = FIELD(sandbox),
	  .choices = sandboxes,
	  .help = "on (default): give up what is not needed before a peer is\nheard; log: only let "
		  "the kernel log it; off" },
};

static const struct vhx_options options = {
	.program = "vhx-argo-cat",
	.usage = "[options] DOMID PORT\n       vhx-argo-cat --listen [options] PORT",
	.summary =
		"Connects standard input and output to a program in another domain of a Xen host.",
	.rows = rows,
	.rows_cnt = VHX_ARRAY_SIZE(rows),
	.operands_max = 2,
};

struct cat {
	struct settings s;
	struct vhx_argo_driver *driver;
	uint32_t port;
	uint16_t domid; /* of the peer, or VHX_ARGO_ANYBODY */
	struct vhx_relay_config relay;
	uint64_t deadline_ms; /* for a stream to be there */
};

static int fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s: %s\n", options.program, what, strerror(-err));
	return EXIT_FAILED;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* For poll(), -1: for ever. */
static int time_left(const struct cat *c)
{
	uint64_t now = now_ms();

	if (c->deadline_ms == UNSET)
		return -1;
	return now < c->deadline_ms ? (int)(c->deadline_ms - now) : 0;
}

static void say_peer(const struct cat *c, const char *what, const struct vhx_argo_address *peer)
{
	if (c->s.verbose)
		fprintf(stderr, "%s: %s domain %u, port %u\n", options.program, what, peer->domid,
			peer->port);
}

static int relay_result(const struct cat *c, int err, const struct vhx_relay_counts *n)
{
	static const char *const sides[] = {
		[VHX_RELAY_PEER] = "peer",
		[VHX_RELAY_IN] = "standard input",
		[VHX_RELAY_OUT] = "standard output",
	};

	if (c->s.verbose)
		fprintf(stderr, "%s: %llu %s sent, %llu received\n", options.program,
			(unsigned long long)n->sent, c->s.datagrams ? "datagrams" : "bytes",
			(unsigned long long)n->received);
	return err ? fail(sides[n->failed], err) : EXIT_OK;
}

/* ---- streams ---- */

/* @stream is closed. */
static int stream_serve(const struct cat *c, struct vhx_argo_stream *stream)
{
	struct vhx_relay_counts counts;
	struct vhx_argo_address peer;
	int err;

	vhx_argo_stream_peer(stream, &peer);
	say_peer(c, "connected:", &peer);
	err = vhx_relay_stream(&c->relay, stream, &counts);
	vhx_argo_stream_close(stream);
	return relay_result(c, err, &counts);
}

static int connect_once(const struct cat *c, struct vhx_argo_stream **stream)
{
	int ret = vhx_argo_stream_connect(c->driver, c->domid, c->port, stream);

	if (ret)
		return ret;
	while (!(ret = vhx_argo_stream_connected(*stream))) {
		ret = vhx_argo_stream_wait(*stream, time_left(c));
		if (ret && ret != -EINTR)
			break;
	}
	if (ret > 0)
		return 0;
	vhx_argo_stream_close(*stream);
	return ret;
}

/* Who is not there yet may come. */
static bool is_absent(int err)
{
	return err == -ECONNREFUSED || err == -ESRCH || err == -ECONNRESET;
}

static int connect_run(const struct cat *c)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };
	struct vhx_argo_stream *stream;
	int err = connect_once(c, &stream);

	while (c->s.retry && is_absent(err) && time_left(c)) {
		nanosleep(&pause, NULL);
		err = connect_once(c, &stream);
	}
	return err ? fail("connect", err) : stream_serve(c, stream);
}

static int accept_one(const struct cat *c, struct vhx_argo_listener *listener,
		      struct vhx_argo_stream **stream)
{
	int err, waited = 0;

	while ((err = vhx_argo_listener_accept(listener, c->driver, stream)) == -EAGAIN) {
		if (waited && waited != -EINTR)
			return waited;
		waited = vhx_argo_listener_wait(listener, time_left(c));
	}
	return err;
}

static int open_failed(const struct cat *c, int err)
{
	if (err == -EPERM && c->domid == VHX_ARGO_ANYBODY)
		fprintf(stderr,
			"%s: Xen allows no ring for everybody (mac-permissive): name a domain by "
			"--peer\n",
			options.program);
	return fail(c->s.listen ? "listen" : "open", err);
}

static int listen_run(const struct cat *c)
{
	struct vhx_argo_listener *listener;
	struct vhx_argo_stream *stream;
	int code, err = vhx_argo_listener_open(c->driver, c->port, c->domid, &listener);

	if (err)
		return open_failed(c, err);
	do {
		err = accept_one(c, listener, &stream);
		code = err ? fail("accept", err) : stream_serve(c, stream);
	} while (c->s.keep && !err);
	vhx_argo_listener_close(listener);
	return code;
}

/* ---- datagrams ---- */

static int datagrams_run(const struct cat *c)
{
	struct vhx_relay_datagrams d = {
		.len_max = (uint32_t)c->s.ring_len,
		.count = c->s.count,
	};
	struct vhx_relay_counts counts;
	int err = vhx_argo_dgram_open(c->driver, c->s.listen ? c->port : 0, c->domid, &d.dgram);

	if (err)
		return open_failed(c, err);
	if (!c->s.listen)
		d.to = (struct vhx_argo_address){
			.port = c->port,
			.domid = c->domid,
			.type = VHX_ARGO_TYPE_DGRAM,
		};
	err = vhx_relay_dgrams(&c->relay, &d, &counts);
	vhx_argo_dgram_close(d.dgram);
	return relay_result(c, err, &counts);
}

/* ---- the command line ---- */

static int number(const char *what, const char *text, uint64_t max, uint64_t *value,
		  struct vhx_error *err)
{
	const struct vhx_number_bounds bounds = { .max = max };
	int ret = vhx_number_parse(text, &bounds, value, err);

	if (ret)
		vhx_error_prefix(err, "%s", what);
	return ret;
}

static int domid_parse(struct cat *c, const char *text, struct vhx_error *err)
{
	uint64_t value = VHX_ARGO_ANYBODY;
	int ret = 0;

	if (!c->s.listen || strcmp(text, "any"))
		ret = number("DOMID", text, VHX_ARGO_ANYBODY - 1, &value, err);
	c->domid = (uint16_t)value;
	return ret;
}

static int operands_parse(struct cat *c, const struct vhx_option_list *operands,
			  struct vhx_error *err)
{
	unsigned int wanted = c->s.listen ? 1 : 2;
	const char *domid = c->s.listen ? c->s.peer : operands->items[0];
	uint64_t port;
	int ret;

	if (operands->cnt != wanted) {
		vhx_error_set(err, c->s.listen ? "give a PORT to listen at (see --help)"
					       : "give a DOMID and a PORT (see --help)");
		return -EINVAL;
	}
	ret = number("PORT", operands->items[wanted - 1], UINT32_MAX, &port, err);
	if (!ret && !port) {
		vhx_error_set(err, "PORT: 0 is none");
		ret = -EINVAL;
	}
	c->port = (uint32_t)port;
	return ret ? ret : domid_parse(c, domid ? domid : "any", err);
}

static int combination_check(const struct settings *s, struct vhx_error *err)
{
	const char *why = NULL;

	if (!s->listen && (s->peer || s->keep))
		why = "--peer and --keep are for --listen";
	else if (s->listen && s->retry)
		why = "--retry is for connecting";
	else if (s->datagrams && (s->keep || s->retry || s->wait != UNSET))
		why = "--keep, --retry and --wait are for streams";
	else if (!s->datagrams && s->count)
		why = "--count is for --datagrams";
	else if (s->ring_len % 16)
		why = "--ring-len: must be a multiple of 16";
	if (!why)
		return 0;
	vhx_error_set(err, "%s", why);
	return -EINVAL;
}

/* 0: go on; else *@code is the program's. */
static int settings_read(struct cat *c, int argc, char **argv, int *code)
{
	struct vhx_option_list operands = { .cnt = 0 };
	struct vhx_error err;
	int ret = vhx_options_parse(&options, argc, argv, &c->s, &operands, &err);

	*code = EXIT_OK;
	if (ret == VHX_OPTIONS_HELP)
		vhx_options_help(&options, stdout);
	if (ret == VHX_OPTIONS_VERSION)
		vhx_options_version(&options, stdout);
	if (!ret)
		ret = combination_check(&c->s, &err);
	if (!ret)
		ret = operands_parse(c, &operands, &err);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", options.program, err.text);
		*code = EXIT_USAGE;
	}
	return ret;
}

static void settings_apply(struct cat *c)
{
	c->relay = (struct vhx_relay_config){
		.in = STDIN_FILENO,
		.out = STDOUT_FILENO,
		.shut = c->s.shut,
		.quit_ms = c->s.quit == UNSET ? -1 : (int)(c->s.quit * 1000),
	};
	c->deadline_ms = c->s.wait == UNSET ? UNSET : now_ms() + c->s.wait * 1000;
}

static void say(void *ctx, enum vhx_log_level level, const char *text)
{
	fprintf(stderr, "%s: %s\n", options.program, text);
}

/* The device is the last thing that is opened. */
static int driver_open(struct cat *c)
{
	const struct vhx_log log = { .emit = say, .level = VHX_LOG_NOTICE };
	const struct vhx_confine_config confine = {
		.mode = (enum vhx_confine_mode)c->s.sandbox,
		.role = &vhx_confine_argo_cat,
		.log = &log,
	};
	struct vhx_error err;
	int ret;

	ret = vhx_confine_begin(confine.mode, &err);
	if (!ret) {
		ret = vhx_argo_driver_open(&c->driver);
		if (ret)
			return fail(HMX_ARGO_DEVICE, ret);
		ret = vhx_confine(&confine, &err);
	}
	if (ret) {
		fprintf(stderr, "%s: %s\n", options.program, err.text);
		return EXIT_FAILED;
	}
	ret = vhx_argo_driver_set_ring_len(c->driver, (uint32_t)c->s.ring_len);
	assert(!ret);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct cat c = {
		.s = {
			.quit = UNSET,
			.wait = UNSET,
			.ring_len = RING_LEN_DEFAULT,
			.sandbox = VHX_CONFINE_ON,
		},
	};
	int code;

	if (settings_read(&c, argc, argv, &code))
		return code;
	settings_apply(&c);
	/* A reader that is gone is an error of write(). */
	signal(SIGPIPE, SIG_IGN);
	code = driver_open(&c);
	if (code)
		return code;
	if (c.s.datagrams)
		code = datagrams_run(&c);
	else
		code = c.s.listen ? listen_run(&c) : connect_run(&c);
	vhx_argo_driver_close(c.driver);
	return code;
}
