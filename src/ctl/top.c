// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Two samples of the counters make one screen: rates are differences over the time between them, latencies are
 * those of the requests that ended in between. A sample of another process (its pid differs), or of a channel or
 * device that was not there before, has no differences, and shows none.
 *
 * A screen is written in one go over the last one, from the top left corner, each line cleared behind its end: nothing
 * flickers. The alternate screen and the terminal's line discipline are put back at every end but SIGKILL.
 *
 * The answer is not trusted: text goes through vhx_ctl_cell(), numbers that went backwards count as nothing.
 */
#include "ctl/top.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl/ask.h"
#include "ctl/table.h"
#include "util/histogram.h"

#define COLUMNS_DEFAULT 80
#define ROWS_DEFAULT 24
/* A line as it is made, before the terminal's width cuts it. */
#define LINE_MAX_ 512
#define NUMBER_MAX 16
#define KEY_QUIT 'q'
#define CTRL_C 3

struct sample {
	struct json_object *answer; /* NULL: none */
	uint64_t time_ms;
};

struct top {
	const struct vhx_ctl_top_config *cfg;
	struct sample old, now;
	struct vhx_error err; /* why there is no newer sample, or "" */
	bool terminal;
	bool keys;
	struct termios saved;
	unsigned int columns, rows; /* of the screen */
	unsigned int row; /* next to be written */
};

static volatile sig_atomic_t ended;

static void end_handler(int sig)
{
	ended = 1;
}

/* A new size interrupts the wait, and the next screen asks for it. */
static void size_handler(int sig)
{
}

/* Numbers */

static uint64_t number(struct json_object *object, const char *key)
{
	struct json_object *value;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &value))
		return 0;
	return json_object_get_uint64(value);
}

static uint64_t grown(uint64_t now, uint64_t old)
{
	return now > old ? now - old : 0;
}

/* 999, 1.2k, 45M: at most five characters. */
static const char *scaled(double value, char text[NUMBER_MAX])
{
	static const char units[] = " kMGTPE";
	unsigned int unit = 0;

	while (value >= 999.5 && unit < sizeof(units) - 2) {
		value /= 1000;
		unit++;
	}
	if (!unit)
		snprintf(text, NUMBER_MAX, "%.0f", value);
	else
		snprintf(text, NUMBER_MAX, "%.*f%c", value < 9.95 ? 1 : 0, value, units[unit]);
	return text;
}

static const char *time_scaled(uint64_t ns, char text[NUMBER_MAX])
{
	static const struct {
		double ns;
		const char *unit;
	} units[] = { { 1e9, "s" }, { 1e6, "ms" }, { 1e3, "us" } };
	unsigned int i = 0;

	while (i < VHX_ARRAY_SIZE(units) - 1 && (double)ns < units[i].ns)
		i++;
	snprintf(text, NUMBER_MAX, "%.*f%s", (double)ns < 9.95 * units[i].ns ? 1 : 0,
		 (double)ns / units[i].ns, units[i].unit);
	return text;
}

/* The screen */

static void line_put(struct top *t, const char *text)
{
	if (t->terminal && t->row >= t->rows)
		return;
	if (t->terminal)
		printf("%s%.*s\033[K", t->row ? "\r\n" : "", (int)t->columns, text);
	else
		printf("%s\n", text);
	t->row++;
}

static void size_take(struct top *t)
{
	struct winsize size;

	t->columns = COLUMNS_DEFAULT;
	t->rows = ROWS_DEFAULT;
	if (!t->terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		return;
	t->columns = size.ws_col;
	t->rows = size.ws_row;
}

/* Rows */

struct pair {
	struct json_object *now, *old; /* old: NULL where there is nothing to compare with */
	double seconds;
};

/* "-" where a rate would be made up. */
static const char *rate(const struct pair *p, const char *key, char text[NUMBER_MAX])
{
	if (!p->old || p->seconds <= 0)
		return "-";
	return scaled((double)grown(number(p->now, key), number(p->old, key)) / p->seconds, text);
}

static struct json_object *array_of(const struct sample *s, const char *name)
{
	struct json_object *array = NULL;

	if (!s->answer || !json_object_object_get_ex(s->answer, name, &array) ||
	    !json_object_is_type(array, json_type_array))
		return NULL;
	return array;
}

/* The one of @array that has the same text under @key as @item; the @skip first ones belong to others. */
static struct json_object *same_as(struct json_object *array, struct json_object *item,
				   const char *key, size_t skip)
{
	char wanted[VHX_CTL_CELL_MAX], text[VHX_CTL_CELL_MAX];
	size_t i;

	vhx_ctl_cell(item, key, wanted);
	for (i = 0; array && i < json_object_array_length(array); i++) {
		struct json_object *other = json_object_array_get_idx(array, i);

		vhx_ctl_cell(other, key, text);
		if (!strcmp(text, wanted) && !skip--)
			return other;
	}
	return NULL;
}

/* How many of @array before @i have the same text under @key. */
static size_t same_before(struct json_object *array, size_t i, const char *key)
{
	size_t cnt = 0;

	while (same_as(array, json_object_array_get_idx(array, i), key, cnt) !=
	       json_object_array_get_idx(array, i))
		cnt++;
	return cnt;
}

static void channel_line(struct top *t, const struct pair *p)
{
	char peer[VHX_CTL_CELL_MAX], state[VHX_CTL_CELL_MAX], line[LINE_MAX_];
	char n[8][NUMBER_MAX];

	vhx_ctl_cell(p->now, "peer", peer);
	vhx_ctl_cell(p->now, "state", state);
	snprintf(line, sizeof(line), "%-22.22s %-11.11s %6s %6s %6s %6s %6s %7s %7s %7s", peer,
		 state, rate(p, "tx_messages", n[0]), rate(p, "rx_messages", n[1]),
		 rate(p, "tx_bytes", n[2]), rate(p, "rx_bytes", n[3]), rate(p, "sends", n[4]),
		 rate(p, "wakes_sent", n[5]), rate(p, "credits_sent", n[6]),
		 rate(p, "would_blocks", n[7]));
	line_put(t, line);
}

/* What ended between the samples; false: nothing, or it is not measured at this end. */
static bool latency_between(const struct pair *p, struct vhx_histogram *h)
{
	struct json_object *now = NULL, *old = NULL, *now_b, *old_b;
	unsigned int i;

	memset(h, 0, sizeof(*h));
	if (!p->old || !json_object_object_get_ex(p->now, "latency", &now) ||
	    !json_object_object_get_ex(p->old, "latency", &old) ||
	    !json_object_object_get_ex(now, "buckets", &now_b) ||
	    !json_object_object_get_ex(old, "buckets", &old_b) ||
	    !json_object_is_type(now_b, json_type_array) ||
	    !json_object_is_type(old_b, json_type_array))
		return false;
	for (i = 0; i < VHX_HISTOGRAM_BUCKETS; i++)
		h->buckets[i] = grown(json_object_get_uint64(json_object_array_get_idx(now_b, i)),
				      json_object_get_uint64(json_object_array_get_idx(old_b, i)));
	return vhx_histogram_count(h);
}

static void device_line(struct top *t, const struct pair *p)
{
	static const unsigned int permilles[] = { 500, 990, 999 };
	char id[VHX_CTL_CELL_MAX], type[VHX_CTL_CELL_MAX], state[VHX_CTL_CELL_MAX], line[LINE_MAX_];
	char n[3][NUMBER_MAX], quantiles[3][NUMBER_MAX] = { "-", "-", "-" };
	struct vhx_histogram h;
	unsigned int i;

	vhx_ctl_cell(p->now, "id", id);
	vhx_ctl_cell(p->now, "type", type);
	vhx_ctl_cell(p->now, "state", state);
	if (latency_between(p, &h)) {
		for (i = 0; i < VHX_ARRAY_SIZE(permilles); i++)
			time_scaled(vhx_histogram_quantile(&h, permilles[i]), quantiles[i]);
	}
	snprintf(line, sizeof(line),
		 "%-16.16s %-7.7s %-9.9s %6s %6s %6s %5" PRIu64 " %7s %7s %7s %6" PRIu64, id, type,
		 state, rate(p, "requests", n[0]), rate(p, "bytes_out", n[1]),
		 rate(p, "bytes_in", n[2]),
		 grown(number(p->now, "requests"), number(p->now, "completed")), quantiles[0],
		 quantiles[1], quantiles[2], number(p->now, "errors"));
	line_put(t, line);
}

static void section_put(struct top *t, const char *name, const char *key, const char *title,
			void (*put)(struct top *t, const struct pair *p))
{
	struct json_object *now = array_of(&t->now, name), *old = array_of(&t->old, name);
	size_t i;

	line_put(t, "");
	line_put(t, title);
	for (i = 0; now && i < json_object_array_length(now); i++) {
		struct pair p = { .now = json_object_array_get_idx(now, i) };

		p.old = same_as(old, p.now, key, same_before(now, i, key));
		p.seconds = (double)(t->now.time_ms - t->old.time_ms) / 1000;
		put(t, &p);
	}
}

static uint64_t total(const struct sample *s, const char *name, const char *key)
{
	struct json_object *array = array_of(s, name);
	uint64_t sum = 0;
	size_t i;

	for (i = 0; array && i < json_object_array_length(array); i++)
		sum += number(json_object_array_get_idx(array, i), key);
	return sum;
}

static uint64_t total_grown(const struct top *t, const char *name, const char *key)
{
	return grown(total(&t->now, name, key), total(&t->old, name, key));
}

static void head_put(struct top *t)
{
	char program[VHX_CTL_CELL_MAX], version[VHX_CTL_CELL_MAX], pid[VHX_CTL_CELL_MAX];
	char line[LINE_MAX_], memory[NUMBER_MAX], wakes[NUMBER_MAX] = "-";
	uint64_t requests = total_grown(t, "devices", "requests");

	vhx_ctl_cell(t->now.answer, "program", program);
	vhx_ctl_cell(t->now.answer, "version", version);
	vhx_ctl_cell(t->now.answer, "pid", pid);
	if (t->old.answer && requests)
		snprintf(wakes, sizeof(wakes), "%.2f",
			 (double)(total_grown(t, "channels", "wakes_sent") +
				  total_grown(t, "channels", "wakes_taken")) /
				 (double)requests);
	snprintf(line, sizeof(line), "%s %s  pid %s  memory %s  wakes/request %s  every %g s%s",
		 program, version, pid, scaled((double)number(t->now.answer, "memory"), memory),
		 wakes, (double)t->cfg->interval_ms / 1000, t->keys ? "  q quits" : "");
	line_put(t, line);
}

static void screen_put(struct top *t)
{
	size_take(t);
	t->row = 0;
	if (t->terminal)
		fputs("\033[H", stdout);
	head_put(t);
	if (t->err.text[0])
		line_put(t, t->err.text);
	section_put(
		t, "channels", "peer",
		"CHANNEL                STATE         TX/s   RX/s TX B/s RX B/s SENDS/s WAKES/s "
		"CRED/s BLOCK/s",
		channel_line);
	section_put(
		t, "devices", "id",
		"DEVICE           TYPE    STATE      REQ/s  OUT/s   IN/s DEPTH     P50     P99   "
		"P99.9 ERRORS",
		device_line);
	if (t->terminal)
		fputs("\033[J", stdout);
	else
		putchar('\n');
	fflush(stdout);
}

/* Samples */

static bool sample_take(struct top *t)
{
	struct json_object *answer, *reason;

	t->err.text[0] = '\0';
	answer = vhx_ctl_ask(t->cfg->path, "stats", &t->err);
	if (answer && json_object_object_get_ex(answer, "error", &reason)) {
		vhx_error_set(&t->err, "%s: %s", t->cfg->path, json_object_get_string(reason));
		json_object_put(answer);
		answer = NULL;
	}
	if (!answer)
		return false;
	json_object_put(t->old.answer);
	t->old = t->now;
	t->now = (struct sample){ answer, vhx_ctl_now_ms() };
	if (number(t->old.answer, "pid") == number(t->now.answer, "pid"))
		return true;
	json_object_put(t->old.answer);
	t->old.answer = NULL;
	return true;
}

/* True: the user wants out. */
static bool key_quits(void)
{
	char key;

	/* A terminal that is gone quits as well. */
	return read(STDIN_FILENO, &key, 1) != 1 || key == KEY_QUIT || key == CTRL_C;
}

/* Waits out the interval. True: it is over; false: end. */
static bool interval_wait(struct top *t)
{
	uint64_t now = vhx_ctl_now_ms(), end = now + t->cfg->interval_ms;
	struct pollfd p = { .fd = t->keys ? STDIN_FILENO : -1, .events = POLLIN };

	for (; now < end && !ended; now = vhx_ctl_now_ms()) {
		int ret = poll(&p, 1, (int)(end - now));

		if (ret > 0 && (!(p.revents & POLLIN) || key_quits()))
			return false;
		if (ret < 0)
			screen_put(t);
	}
	return !ended;
}

/* The terminal */

static void terminal_begin(struct top *t)
{
	const struct sigaction end = { .sa_handler = end_handler };
	const struct sigaction size = { .sa_handler = size_handler };
	struct termios raw;

	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGHUP, &end, NULL);
	sigaction(SIGWINCH, &size, NULL);
	t->terminal = isatty(STDOUT_FILENO);
	t->keys = t->terminal && isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &t->saved);
	if (t->keys) {
		raw = t->saved;
		raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	if (t->terminal)
		fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

static void terminal_end(struct top *t)
{
	if (t->terminal)
		fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (t->keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
}

int vhx_ctl_top(const struct vhx_ctl_top_config *cfg, struct vhx_error *err)
{
	struct top t = { .cfg = cfg };
	uint64_t shown = 0;

	if (!sample_take(&t)) {
		*err = t.err;
		return -EIO;
	}
	terminal_begin(&t);
	do {
		if (shown)
			sample_take(&t);
		screen_put(&t);
	} while (++shown != cfg->count && interval_wait(&t));
	terminal_end(&t);
	json_object_put(t.old.answer);
	json_object_put(t.now.answer);
	return 0;
}
