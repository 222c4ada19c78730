#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# format.sh ROOT: what clang-format would change in C files. It reports; the style is the reviewer's,
# and tables are laid out by hand. One run for all files: starting it for each costs more than the work.
cd "$1" || exit 1
command -v clang-format >/dev/null || { echo "SKIP: package clang-format is missing"; exit 77; }
find src include tools tests -name '*.[ch]' -print0 | sort -z | xargs -0 clang-format --dry-run 2>&1 |
	sed -n 's/^\([^ :]*\.[ch]\):[0-9]*:[0-9]*: warning: .*/\1/p' | sort | uniq -c |
	while read -r n f; do
		echo "$f: $n places"
	done
echo "reported, not gated"
