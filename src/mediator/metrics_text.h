/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters in Prometheus' text format, version 0.0.4, made of the object that `vhxctl stats` gets: both tell the
 * same, and a scrape is the only time that it costs anything.
 */
#ifndef VHX_MEDIATOR_METRICS_TEXT_H
#define VHX_MEDIATOR_METRICS_TEXT_H

#include <stddef.h>

struct json_object;

/* *@text, with its NUL, is the caller's to free. 0, -ENOMEM. */
int vhx_metrics_text(struct json_object *stats, char **text, size_t *len);

#endif
