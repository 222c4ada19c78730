// SPDX-License-Identifier: BSD-3-Clause
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>

/* A longer line is cut: no record needs more, and the buffer is on the stack. */
#define LOG_LINE_MAX 512

static bool log_wants(const struct vhx_log *log, enum vhx_log_level level)
{
	return log && log->emit && level <= log->level;
}

void vhx_log(const struct vhx_log *log, enum vhx_log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;

	if (!log_wants(log, level))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log->emit(log->ctx, level, line);
}

static bool limit_passes(struct vhx_log_limit *limit, uint64_t now_ns)
{
	uint64_t tokens = (now_ns - limit->refill_ns) / VHX_LOG_REFILL_NS;

	if (tokens) {
		limit->used -= (uint32_t)vhx_min_u64(tokens, limit->used);
		limit->refill_ns = now_ns;
	}
	if (limit->used >= VHX_LOG_BURST) {
		limit->suppressed++;
		return false;
	}
	limit->used++;
	return true;
}

void vhx_log_limited(const struct vhx_log *log, struct vhx_log_limit *limit, uint64_t now_ns,
		     enum vhx_log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;

	if (!log_wants(log, level) || !limit_passes(limit, now_ns))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (limit->suppressed)
		vhx_log(log, level, "%s (%u like it suppressed)", line, limit->suppressed);
	else
		log->emit(log->ctx, level, line);
	limit->suppressed = 0;
}
