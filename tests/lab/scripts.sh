#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# scripts.sh: shellcheck over every shell script of the project, as many at a time as there are CPUs.
cd "$(dirname "$0")/../.." || exit 1
grep -lZrE '^#!/bin/(ba)?sh|^# shellcheck shell=' packaging tests tools .ci |
	xargs -0 -n 8 -P "$(nproc)" shellcheck -x
