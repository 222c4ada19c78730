/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log records. Libraries never print: they hand a record to the sink that the program gave them. A
 * NULL sink swallows everything.
 *
 * What a peer can trigger goes through vhx_log_limited(): a token bucket, so that a hostile peer cannot
 * fill a disk; what was suppressed is counted and said with the next record that passes.
 */
#ifndef VHX_UTIL_LOG_H
#define VHX_UTIL_LOG_H

#include "util/base.h"

/* Values are syslog's, so that journald understands them. */
enum vhx_log_level {
	VHX_LOG_ERROR = 3,
	VHX_LOG_WARNING = 4,
	VHX_LOG_NOTICE = 5,
	VHX_LOG_INFO = 6,
	VHX_LOG_DEBUG = 7,
};

struct vhx_log {
	/* @text is one line without its newline. */
	void (*emit)(void *ctx, enum vhx_log_level level, const char *text);
	void *ctx;
	enum vhx_log_level level; /* less urgent records are not formatted at all */
};

/* Ten records at once, then one a second. */
#define VHX_LOG_BURST 10
#define VHX_LOG_REFILL_NS 1000000000ull

struct vhx_log_limit {
	uint64_t refill_ns;
	uint32_t used;
	uint32_t suppressed;
};

void vhx_log(const struct vhx_log *log, enum vhx_log_level level, const char *fmt, ...)
	VHX_PRINTF(3, 4);
void vhx_log_limited(const struct vhx_log *log, struct vhx_log_limit *limit, uint64_t now_ns,
		     enum vhx_log_level level, const char *fmt, ...) VHX_PRINTF(5, 6);

#endif
